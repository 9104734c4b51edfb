//! `dcom`: by coverage while little of the pool is covered, and by uncertainty once most is (Mishal and Weinshall 2024, DCoM:
//! Active Learning for All Learners).
//!
//! Each labelled image has a ball of its own, as large as the model's predictions in it agree with its label. The share of the
//! pool inside any ball says how competent the model is, and competence mixes two scores: `S` times the margin's uncertainty
//! plus `1 - S` times what a ball of mean radius adds to the coverage, both scaled to between 0 and 1 over the images that are
//! left at each pick. `S(c) = (1 + e^(-k (1 - a))) / (1 + e^(-k (c - a)))` with a = 0.8 and k = 50, to three decimals: below a
//! coverage of 0.7 it is next to 0, above 0.9 next to 1. Features are those of the run's representation at unit length.
//!
//! In each round the newly labelled images get their radius by bisection, up to 1.1 in steps of 0.05: the largest at which the
//! share of the ball that the model puts into the image's class is at least `0.2 c + 0.4`, c being the coverage with the
//! radius that they were chosen with. In round 0, without a model, it picks as probcover does. Where paper and released code
//! leave a choice:
//!
//! - The first radius is 0.75 in the code for CIFAR-10, with its own features. Here it is found as probcover finds it, for the
//!   budget of the first call, unless `radius` says it. Later picks have the mean radius of the labelled, as in the code.
//! - What labelled images cover lies within each one's own radius, as in the paper. The code looks the balls up in a graph that
//!   ends at the mean radius, when it takes away what is covered already: larger balls are cut to the mean.
//! - The code scales both terms over all images, with 0 for the labelled, and takes the last of equal ones. Here they are scaled
//!   over the images that are left, and equal ones go to the lowest id.
//! - A ball is never smaller than one step. The purity of a ball is that among at most `references` images.
//! - The code builds its graph in blocks of 700 images and drops the last block if it is not full; it sees images through the
//!   training's augmentation when it measures margins. Here no image is dropped, and all are seen as they are.

use coldstart_plugin_api::ops::Kernel;
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::radius::{Covering, PURITY, Places, Purity, Reach, cover};
use coldstart_plugin_api::wire;
use std::collections::BTreeMap;

mod balls;
mod competence;

use balls::Grid;

/// Images of which the model is asked at a time.
const BLOCK: usize = 8192;

/// How balls grow, and when uncertainty takes over.
#[derive(Params)]
struct DcomParams {
    /// The radius of a ball before a model is there, a Euclidean distance between features of length 1. Absent, the larger of the
    /// two that `purity` and `coverage` say.
    #[param(min = 0.000001, max = 2.0)]
    radius: Option<f64>,
    /// The share of the pool that the balls of the first picks cover, at least. Absent, 0.5; with `purity` 0, so that purity alone
    /// decides.
    #[param(min = 0.0, max = 1.0)]
    coverage: Option<f64>,
    /// The largest radius that the ball of a labelled image can get.
    #[param(default = 1.1, min = 0.01, max = 2.0)]
    largest: f64,
    /// Radii are multiples of this.
    #[param(default = 0.05, min = 0.001, max = 2.0)]
    resolution: f64,
    /// The coverage at which coverage and uncertainty count about the same: a in the formula.
    #[param(default = 0.8, min = 0.0, max = 1.0)]
    turning: f64,
    /// How sharply uncertainty takes over there: k in the formula.
    #[param(default = 50.0, min = 0.0, max = 1000.0)]
    steepness: f64,
    /// The share of balls that must hold a single pseudo-label in probcover's rule for the first radius. Absent, 0.95.
    #[param(min = 0.0, max = 1.0)]
    purity: Option<f64>,
    /// At most so many images, drawn from the seed, that are looked at for the first radius; for `coverage` no fewer than
    /// 5000, nor than 20 for each pick.
    #[param(default = 2000, min = 1)]
    sample: u32,
    /// At most so many images, drawn from the seed, among which the purity of a labelled image's ball is measured.
    #[param(default = 50000, min = 1)]
    references: u32,
    /// At most so many unlabelled images, drawn from the seed, that may be picked; never fewer than the budget. Time grows
    /// with this number times the pool.
    #[param(default = 50000, min = 1)]
    candidates: u32,
}

struct Dcom {
    params: DcomParams,
    grid: Grid,
    /// The radius before a model was there, once it was found.
    first_radius: Option<f64>,
    /// The radius of each labelled image, by its id.
    radii: BTreeMap<u64, f64>,
}

impl Strategy for Dcom {
    type Params = DcomParams;

    fn new(params: DcomParams, _: &Host<'_>) -> Result<Self> {
        if params.resolution > params.largest {
            let message = "`resolution` is larger than `largest`, so that there is no radius between";
            return Err(Error::new(Code::BAD_PARAMS, message));
        }
        let grid = Grid::new(params.resolution, params.largest);
        Ok(Dcom { params, grid, first_radius: None, radii: BTreeMap::new() })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let places = Places::of(request);
        let points = places.features(host, true)?;
        let candidates = places.candidates(self.params.candidates, request);
        if request.round == 0 || request.labelled.is_empty() {
            let radius = self.radius(&points, &places, request.budget, request, host)?;
            let picks = cover(&points, &places, radius, request.budget, candidates.as_deref())?;
            return places.selection(&picks, request);
        }
        let seen = Seen::of(&places, host)?;
        self.measure(&points, &places, &seen, request, host)?;
        let radii = self.radii_of(&request.labelled, self.grid.smallest());
        let coverage = covered(&points, &places.labelled, &radii)?;
        let competence = competence::rounded(coverage, self.params.turning, self.params.steepness);
        let radius = radii.iter().map(|radius| f64::from(*radius)).sum::<f64>() / radii.len() as f64;
        let wanted = Coverage {
            centres: &places.labelled,
            radii: Some(&radii),
            candidates: candidates.as_deref(),
            bonus: Some((&seen.margin_n, competence)),
            ..Coverage::new(request.budget, Kernel::TopHat { radius })
        };
        let (picks, covered) = points.coverage(&wanted)?;
        let reach = Reach::of(&points, &places, radius, picks.positions.len(), covered.after)?;
        reach.tell("larger balls would not be of one class, as the model sees it");
        places.selection(&picks, request)
    }

    fn save(&self) -> Result<Vec<u8>> {
        Ok(wire::encode(&(self.first_radius, &self.radii)))
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        (self.first_radius, self.radii) = wire::decode(state)?;
        Ok(())
    }
}

impl Dcom {
    /// The radius that `k` images are chosen with beside the labelled: the mean of those that are known, or else the first.
    fn radius(
        &mut self,
        points: &Tensor<'_, '_>,
        places: &Places,
        k: usize,
        request: &Request,
        host: &Host<'_>,
    ) -> Result<f64> {
        if !self.radii.is_empty() {
            return Ok(self.radii.values().sum::<f64>() / self.radii.len() as f64);
        }
        if let Some(radius) = self.params.radius.or(self.first_radius) {
            return Ok(radius);
        }
        let DcomParams { coverage, purity, sample, .. } = self.params;
        let pure = Purity::new(purity.unwrap_or(PURITY), None, sample, host)?.radius(points, request)?;
        let radius = Covering::asked(coverage, purity, sample).radius(points, places, k, pure, request)?;
        Ok(*self.first_radius.insert(radius.max(self.params.resolution)))
    }

    /// The radius that the images which are labelled by now were chosen with: where others chose them, the one that would have been
    /// found for so many.
    fn chosen_with(
        &mut self,
        points: &Tensor<'_, '_>,
        places: &Places,
        request: &Request,
        host: &Host<'_>,
    ) -> Result<f64> {
        self.radius(points, &places.before_labels(), places.labelled.len(), request, host)
    }

    fn radii_of(&self, ids: &[u64], otherwise: f64) -> Vec<f32> {
        ids.iter().map(|id| self.radii.get(id).copied().unwrap_or(otherwise) as f32).collect()
    }

    /// Give the newly labelled images their radii.
    fn measure(
        &mut self,
        points: &Tensor<'_, '_>,
        places: &Places,
        seen: &Seen,
        request: &Request,
        host: &Host<'_>,
    ) -> Result<()> {
        let mut new = places.labelled.clone();
        new.retain(|i| !self.radii.contains_key(&places.pool[*i]));
        if new.is_empty() {
            return Ok(());
        }
        let chosen_with = self.chosen_with(points, places, request, host)?;
        let coverage = covered(points, &places.labelled, &self.radii_of(&request.labelled, chosen_with))?;
        let ids = places.ids(&new)?;
        let labels: Vec<usize> = host.labels(&ids)?.into_iter().map(|label| label as usize).collect();
        let mut references: Vec<usize> = (0..places.pool.len()).collect();
        if (self.params.references as usize) < references.len() {
            references = request.rng("references").sample(places.pool.len(), self.params.references as usize);
            references.sort_unstable();
        }
        let purity_br = self.grid.purities(points, &new, &labels, &references, &seen.class_n)?;
        let level = 0.2 * coverage + 0.4;
        let radii = purity_br.iter().map(|purity_r| self.grid.largest_pure(purity_r, level));
        self.radii.extend(ids.into_iter().zip(radii));
        Ok(())
    }
}

/// What the model says of each image of the pool.
struct Seen {
    /// The most probable class.
    class_n: Vec<usize>,
    /// 1 minus the difference of the two highest probabilities.
    margin_n: Vec<f32>,
}

impl Seen {
    fn of(places: &Places, host: &Host<'_>) -> Result<Seen> {
        let (mut class_n, mut margin_n) = (Vec::new(), Vec::new());
        for ids in places.pool.chunks(BLOCK) {
            let probs_bc = host.predict(ids)?.probabilities()?;
            if probs_bc.n_rows() != ids.len() {
                return Err(Error::new(Code::HOST, format!("{} rows for {} images", probs_bc.n_rows(), ids.len())));
            }
            for probs_c in probs_bc.rows() {
                let (class, margin) = class_and_margin(probs_c);
                class_n.push(class);
                margin_n.push(margin);
            }
        }
        Ok(Seen { class_n, margin_n })
    }
}

/// The most probable class, and 1 minus the difference of the two highest probabilities.
fn class_and_margin(probs_c: &[f32]) -> (usize, f32) {
    let (mut class, mut first, mut second) = (0, 0.0f32, 0.0f32);
    for (c, p) in probs_c.iter().enumerate() {
        if *p > first {
            (class, first, second) = (c, *p, first);
        } else {
            second = second.max(*p);
        }
    }
    (class, 1.0 - (first - second))
}

/// The share of the pool inside any ball around these centres.
fn covered(points: &Tensor<'_, '_>, centres: &[usize], radii: &[f32]) -> Result<f64> {
    // The kernel is that of picks, of which there are none.
    let kernel = Kernel::TopHat { radius: 1.0 };
    let wanted = Coverage { centres, radii: Some(radii), candidates: Some(&[]), ..Coverage::new(0, kernel) };
    Ok(points.coverage(&wanted)?.1.before)
}

export_plugin! {
    name: "dcom",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: Dcom,
    criterion: STAGED,
    needs: [
        REPRESENT_1, NORMALIZE_1, COVERAGE_1, KMEANS_1, GATHER_1, NEAREST_1, PREDICT_1, LABELS_GET_1, KERNEL_SUMS_1,
    ],
    cite: "Mishal and Weinshall 2024, DCoM: Active Learning for All Learners",
}

#[cfg(test)]
mod tests;
