//! A radius by coverage: balls as small as will do.

use super::Places;
use crate::ops::{CoverageAnswer, Kernel};
use crate::{Coverage, Request, Result, Tensor};

/// The share of the pool that has to be covered, unless somebody says otherwise.
const SHARE: f64 = 0.5;

/// The radius is found to this share of itself.
const PRECISION: f64 = 0.01;

/// The most radii that are tried.
const TRIES: u64 = 40;

/// Images looked at for each ball. Greedy picks fit the images that they are chosen for: with 20 for each ball, half of a sample
/// is 47 to 53 % of the pool (8000 images of Fashion-MNIST and of CIFAR-10, 10 to 200 balls).
const PER_BALL: usize = 20;

/// A pool of this size is looked at whole.
const WHOLE: usize = 5000;

/// A rule for the radius: the smallest one with which so many greedy balls cover a share of the pool.
///
/// Ours, since the paper's [`Purity`](super::Purity) bounds a radius from one side alone: where pseudo-labels mix, it is so small
/// that most balls hold their own centre and nothing else. The two go together: [`Covering::radius`] takes the larger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Covering {
    /// The share of the pool that has to be covered; with 0, any radius will do.
    pub share: f64,
    /// At most so many images, drawn from the seed, are looked at, unless 5000, or 20 for each ball, are more.
    pub sample: usize,
}

impl Covering {
    /// What two parameters ask for: the share that `coverage` says; without it none where `purity` is said, so that purity alone
    /// decides, and else half of the pool.
    pub fn asked(coverage: Option<f64>, purity: Option<f64>, sample: u32) -> Covering {
        let share = coverage.unwrap_or(if purity.is_some() { 0.0 } else { SHARE });
        Covering { share, sample: sample as usize }
    }

    /// The smallest radius, no less than `floor`, with which the balls of the labelled and `k` greedy ones cover the share.
    ///
    /// It is found by bisection over greedy coverings. Guaranteed: with the radius that comes back the share is covered, and with
    /// one at most 1 % smaller, which was tried, it is not; or the radius is `floor`, and the share is covered with it. A
    /// greedy covering need not grow with the radius everywhere, so that a smaller one that was not tried may cover it, too.
    /// In a pool of more than 5000 images all this is true of the images that were drawn for it, each of which stands for as many.
    ///
    /// `floor` also comes back where there is nothing to find: without a share or a ball, where the labelled and the picks
    /// themselves are the share, and where copies of the first image are.
    ///
    /// Asks for [`NEAREST_1`](crate::ops::NEAREST_1), [`GATHER_1`](crate::ops::GATHER_1) and
    /// [`COVERAGE_1`](crate::ops::COVERAGE_1), and draws from the request's stream `coverage`.
    pub fn radius(
        &self,
        points: &Tensor<'_, '_>,
        places: &Places,
        k: usize,
        floor: f64,
        request: &Request,
    ) -> Result<f64> {
        if self.share <= 0.0 || k == 0 || places.unlabelled.is_empty() {
            return Ok(floor);
        }
        let most = self.sample.max(WHOLE).max(PER_BALL.saturating_mul(k));
        let sample = Sample::of(places, most, request);
        match sample.positions.len() == places.pool.len() {
            true => self.smallest(points, &sample, k, floor),
            false => self.smallest(&points.gather(&sample.positions)?, &sample, k, floor),
        }
    }

    /// The radius for a sample, whose points these are.
    pub(super) fn smallest(&self, points: &Tensor<'_, '_>, sample: &Sample, k: usize, floor: f64) -> Result<f64> {
        if sample.share_of(k) >= self.share {
            return Ok(floor);
        }
        // Shares are sums: a rounding is no difference.
        let is_enough = |radius| -> Result<bool> { Ok(sample.covered(points, k, radius)? >= self.share - 1e-9) };
        if floor > 0.0 && is_enough(floor)? {
            return Ok(floor);
        }
        let (mut too_small, mut large) = (floor, self.of_one_ball(points)?);
        if large <= floor {
            return Ok(floor);
        }
        let mut tried = 0;
        while !is_enough(large)? && tried < TRIES {
            (too_small, large) = (large, 2.0 * large);
            tried += 1;
        }
        while large - too_small > PRECISION * large && tried < TRIES {
            points.host.progress("radius", tried, TRIES);
            let middle = (too_small + large) / 2.0;
            (too_small, large) = if is_enough(middle)? { (too_small, middle) } else { (middle, large) };
            tried += 1;
        }
        points.host.progress("radius", TRIES, TRIES);
        Ok(large)
    }

    /// A radius with which a single ball, that of the first point, covers the share; 0 where that many are its copies.
    fn of_one_ball(&self, points: &Tensor<'_, '_>) -> Result<f64> {
        let n = points.n_rows()?;
        let n_covered = ((self.share * n as f64).ceil() as usize).clamp(1, n);
        let nearest = points.gather(&[0])?.nearest(points, n_covered as u32, None)?;
        let farthest = nearest.distances_nk.elements().last().copied().unwrap_or(0.0);
        // A ball holds what is nearer than its radius, and distances are rounded.
        Ok(f64::from(farthest) * 1.001)
    }
}

/// Images that stand for a pool.
pub(super) struct Sample {
    /// Their positions in the pool, ascending.
    pub(super) positions: Vec<usize>,
    /// The places of the labelled among them.
    labelled: Vec<usize>,
    /// How many images of the pool each of the others stands for.
    weight: f64,
}

impl Sample {
    /// All labelled images, and of the others at most `most`.
    pub(super) fn of(places: &Places, most: usize, request: &Request) -> Sample {
        let Places { pool, labelled, unlabelled } = places;
        if unlabelled.len() <= most {
            return Sample { positions: (0..pool.len()).collect(), labelled: labelled.clone(), weight: 1.0 };
        }
        let drawn = request.rng("coverage").sample(unlabelled.len(), most);
        let others = drawn.into_iter().map(|i| unlabelled[i]);
        let mut positions: Vec<usize> = others.chain(labelled.iter().copied()).collect();
        positions.sort_unstable();
        let is_labelled = |place: &usize| labelled.binary_search(&positions[*place]).is_ok();
        let labelled = (0..positions.len()).filter(is_labelled).collect();
        Sample { positions, labelled, weight: unlabelled.len() as f64 / most as f64 }
    }

    /// The share of the pool that the labelled and `k` others are.
    fn share_of(&self, k: usize) -> f64 {
        let n_labelled = self.labelled.len() as f64;
        let n_others = (self.positions.len() - self.labelled.len()) as f64;
        (n_labelled + self.weight * k as f64) / (n_labelled + self.weight * n_others)
    }

    /// The share of the pool that the balls of the labelled and `k` greedy ones cover.
    fn covered(&self, points: &Tensor<'_, '_>, k: usize, radius: f64) -> Result<f64> {
        let weight_n = self.weights();
        let kernel = Kernel::TopHat { radius };
        let wanted = Coverage { centres: &self.labelled, weights: weight_n.as_deref(), ..Coverage::new(k, kernel) };
        let (_, CoverageAnswer { after, .. }) = points.coverage(&wanted)?;
        Ok(after)
    }

    /// What each image counts; absent where all count the same.
    fn weights(&self) -> Option<Vec<f32>> {
        if self.weight == 1.0 {
            return None;
        }
        let mut weight_n = vec![self.weight as f32; self.positions.len()];
        self.labelled.iter().for_each(|place| weight_n[*place] = 1.0);
        Some(weight_n)
    }
}
