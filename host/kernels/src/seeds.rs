//! Seeds drawn by squared distance: the start of k-means++, and BADGE's choice of gradients.

use crate::closest::{Closest, Cloud};
use crate::error::{Result, bad};
use crate::points::TILE;
use crate::{GoOn, check};
use coldstart_plugin_api::Rng;
use rayon::prelude::*;

/// Candidates drawn at once. More of them make fewer passes over the points, but later ones are refused more often.
const BLOCK: usize = 64;

/// The first of the points that k-means++ draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Any point, each as probable.
    Drawn,
    /// The point of the largest Euclidean length; of equal ones the lowest position.
    LargestNorm,
}

/// `k` positions drawn one by one, each with a chance in proportion to its squared distance to the nearest drawn before, in the
/// order drawn (Arthur and Vassilvitskii 2007).
///
/// None is drawn twice; where every distance is 0, any other point is as probable as the next. Errs when there are fewer
/// points, or when one is not finite.
pub fn kmeans_pp(cloud: &Cloud<'_>, k: usize, first: First, rng: &mut Rng, go_on: GoOn<'_>) -> Result<Vec<usize>> {
    cloud.check()?;
    Ok(draw(cloud, k, first, rng, go_on)?.0)
}

/// The same, with what is known of each point's closest one; the last few drawn may not be counted there yet.
///
/// A pass over the points is dear, a comparison of two points cheap. So a block of candidates is drawn from the chances
/// of now, and one after the other is accepted with the share of its chance that those accepted before it leave: distances
/// only fall, and so an accepted one has exactly the chance that drawing it after all of them would give it. The points
/// are then brought up to date with all accepted ones in one pass.
pub(crate) fn draw<'a>(
    cloud: &Cloud<'a>,
    k: usize,
    first: First,
    rng: &mut Rng,
    go_on: GoOn<'_>,
) -> Result<(Vec<usize>, Closest<'a>, Vec<usize>)> {
    let n = cloud.n();
    if k > n {
        return bad(format!("{n} points do not give {k} seeds"));
    }
    let mut closest = Closest::new(*cloud)?;
    if k == 0 {
        return Ok((Vec::new(), closest, Vec::new()));
    }
    let mut chosen = vec![match first {
        First::Drawn => rng.below(n as u64) as usize,
        First::LargestNorm => longest(closest.squares()),
    }];
    let mut fresh = chosen.clone();
    while chosen.len() < k {
        check(go_on)?;
        closest.add(&fresh)?;
        let chances = Chances::new(&closest.away_n);
        if chances.total == 0.0 {
            fresh.clear();
            chosen.extend(any_others(n, &chosen, k - chosen.len(), rng));
            break;
        }
        let candidates: Vec<usize> = (0..BLOCK).map(|_| chances.position(rng.uniform())).collect();
        fresh = accept(&closest, &candidates, k - chosen.len(), rng)?;
        chosen.extend(&fresh);
    }
    Ok((chosen, closest, fresh))
}

/// The candidates that are kept, in order; the first one always is.
fn accept(closest: &Closest<'_>, candidates: &[usize], at_most: usize, rng: &mut Rng) -> Result<Vec<usize>> {
    let gathered = closest.cloud.gather(candidates);
    let cloud = gathered.cloud()?;
    let mut accepted: Vec<usize> = Vec::new();
    for (j, i) in candidates.iter().enumerate() {
        let to_accepted = accepted.iter().map(|other| cloud.squared_distance(j, &cloud, *other));
        let before = closest.away_n[*i];
        let now = to_accepted.fold(before, f32::min);
        if rng.uniform() * f64::from(before) < f64::from(now) {
            accepted.push(j);
        }
        if accepted.len() == at_most {
            break;
        }
    }
    Ok(accepted.into_iter().map(|j| candidates[j]).collect())
}

fn longest(square_n: &[f32]) -> usize {
    let further = |best: usize, i: usize| if square_n[i] > square_n[best] { i } else { best };
    (0..square_n.len()).fold(0, further)
}

/// Some of the points that are not chosen, each as probable.
fn any_others(n: usize, chosen: &[usize], k: usize, rng: &mut Rng) -> Vec<usize> {
    let mut is_chosen = vec![false; n];
    chosen.iter().for_each(|i| is_chosen[*i] = true);
    let others: Vec<usize> = (0..n).filter(|i| !is_chosen[*i]).collect();
    rng.sample(others.len(), k).into_iter().map(|other| others[other]).collect()
}

/// Chances in proportion to weights, summed tile by tile.
struct Chances<'a> {
    weight_n: &'a [f32],
    tiles: Vec<f64>,
    total: f64,
}

impl Chances<'_> {
    fn new(weight_n: &[f32]) -> Chances<'_> {
        let sum = |weights: &[f32]| weights.iter().map(|weight| f64::from(*weight)).sum::<f64>();
        let tiles: Vec<f64> = weight_n.par_chunks(TILE).with_min_len(16).map(sum).collect();
        let total = tiles.iter().sum();
        Chances { weight_n, tiles, total }
    }

    /// The position below which a share of `at` of the total lies.
    fn position(&self, at: f64) -> usize {
        let mut left = at * self.total;
        for (tile, sum) in self.tiles.iter().enumerate() {
            if left < *sum {
                let start = tile * TILE;
                let weights = &self.weight_n[start..self.weight_n.len().min(start + TILE)];
                for (i, weight) in weights.iter().enumerate() {
                    left -= f64::from(*weight);
                    if left < 0.0 {
                        return start + i;
                    }
                }
                left = 0.0;
            } else {
                left -= sum;
            }
        }
        // Rounding may leave a rest behind the last point: then the last one with any weight is meant.
        self.weight_n.iter().rposition(|weight| *weight > 0.0).unwrap_or(0)
    }
}
