//! `active-ft`: the images nearest to centres that gradient descent draws to the pool and away from each other (Xie, Lu,
//! Yan, Yang, Tomizuka and Zhan 2023, Active Finetuning: Exploiting Annotation Budget in the Pretraining-Finetuning
//! Paradigm).
//!
//! There is a centre for each image that is wanted. Features and centres count by their direction. An image pulls the
//! centre most similar to it, the harder the less it is ahead of that centre's neighbours; where the centres are is
//! settled by 300 steps of Adam on all images. Each centre in turn then takes its most similar image that is not taken.
//! The loss, its constants and the start at random images are the released code's. Where its parameters allow more:
//! `start = "farthest"` begins with images far from each other.
//!
//! Departures: a pool of more than `points` images is represented by so many of them, drawn once from the seed, in the
//! steps, though not in the choice of images at the end. The features are the run's shared representation. Images that are
//! labelled pull, and are not taken.

use coldstart_plugin_api::ops::KCenterArgs;
use coldstart_plugin_api::prelude::*;
use descent::Descent;
use std::collections::BTreeSet;

mod descent;

/// Similar images that are looked up for each centre at once: rarely are all of them taken by centres before it.
const NEAR: usize = 16;

/// The loss and the way down.
#[derive(Params)]
struct ActiveFtParams {
    /// Divides the cosines before they are compared.
    #[param(default = 0.07, min = 0.001)]
    temperature: f64,
    /// How much the centres count that lie near an image's own.
    #[param(default = 1.0, min = 0.0001)]
    balance: f64,
    /// The learning rate of Adam.
    #[param(default = 0.001, min = 0.0)]
    rate: f64,
    /// Steps of Adam, each over all images.
    #[param(default = 300, min = 0)]
    iterations: u32,
    /// How many images take part in the steps, drawn from the seed if the pool has more; never fewer than there are centres.
    #[param(default = 50000, min = 1)]
    points: u32,
    /// Where the centres begin. random: at images drawn from the seed. farthest: at one drawn image, then at the image
    /// farthest from all before it.
    #[param(default = "random")]
    start: Start,
}

/// Where the centres begin.
#[derive(Params, Clone, Copy)]
enum Start {
    Random,
    Farthest,
}

struct ActiveFt {
    params: ActiveFtParams,
}

impl Strategy for ActiveFt {
    type Params = ActiveFtParams;

    fn new(params: ActiveFtParams, _: &Host<'_>) -> Result<Self> {
        Ok(ActiveFt { params })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        if request.budget == 0 {
            return Ok(Selection::of(Vec::new()));
        }
        let pool = request.pool();
        let features_nd = host.representation(&pool)?.unit()?;
        let n_points = (self.params.points as usize).max(request.budget);
        let part = if n_points < pool.len() {
            let mut positions = request.rng("points").sample(pool.len(), n_points);
            positions.sort_unstable();
            Some(features_nd.gather(&positions)?)
        } else {
            None
        };
        let points = part.as_ref().unwrap_or(&features_nd);
        let start_bd = self.start(points, request)?;
        let centres_bd = self.descent().run(&start_bd, points, host)?;

        let unlabelled = |i: &usize| request.unlabelled.binary_search(&pool[*i]).is_ok();
        let free: Vec<usize> = (0..pool.len()).filter(unlabelled).collect();
        let taken = most_similar(&centres_bd, &features_nd, free, host)?;
        Ok(Selection {
            ids: taken.iter().map(|(i, _)| pool[*i]).collect(),
            scores: taken.iter().map(|(_, cosine)| *cosine).collect(),
        })
    }
}

impl ActiveFt {
    fn start(&self, points: &Tensor<'_, '_>, request: &Request) -> Result<Matrix> {
        let positions = match self.params.start {
            Start::Random => request.rng("centres").sample(points.n_rows()?, request.budget),
            Start::Farthest => {
                let args = KCenterArgs { k: request.budget as u64, stream: "centres".to_owned() };
                points.k_center(&args, &[])?.positions
            }
        };
        points.gather(&positions)?.read_matrix()
    }

    fn descent(&self) -> Descent {
        let ActiveFtParams { temperature, balance, rate, iterations, .. } = self.params;
        Descent { temperature, balance, rate, iterations }
    }
}

/// For each centre in turn the position of its most similar image that is still free, and the cosine.
///
/// A round looks up [`NEAR`] images for each centre that has none and serves centres until one finds all of its own taken: at
/// least as many as it looked up for each.
fn most_similar<'a>(
    centres_bd: &Matrix,
    features_nd: &Tensor<'_, 'a>,
    mut free: Vec<usize>,
    host: &Host<'a>,
) -> Result<Vec<(usize, f32)>> {
    let mut taken: Vec<(usize, f32)> = Vec::with_capacity(centres_bd.n_rows());
    while taken.len() < centres_bd.n_rows() && !free.is_empty() {
        let without = &centres_bd.elements()[taken.len() * centres_bd.n_cols()..];
        let without = host.points(&Matrix::new(without.to_vec(), centres_bd.n_cols())?)?;
        let k = free.len().min(NEAR);
        let near = without.nearest(features_nd, k as u32, Some(&free))?;
        let mut gone = BTreeSet::new();
        for (positions, distances) in near.positions_nk.chunks(k).zip(near.distances_nk.rows()) {
            let Some((i, distance)) = positions.iter().zip(distances).find(|(i, _)| !gone.contains(*i)) else { break };
            gone.insert(*i);
            taken.push((*i, 1.0 - distance * distance / 2.0));
        }
        free.retain(|i| !gone.contains(i));
    }
    Ok(taken)
}

export_plugin! {
    name: "active-ft",
    publisher: "coldstart",
    roles: [Initial],
    strategy: ActiveFt,
    criterion: REPRESENTATION,
    needs: [REPRESENT_1, NORMALIZE_1, GATHER_1, NEAREST_1, GROUP_SUMS_1, K_CENTER_1],
    cite: "Xie, Lu, Yan, Yang, Tomizuka and Zhan 2023, Active Finetuning: Exploiting Annotation Budget in the Pretraining-Finetuning Paradigm",
}

#[cfg(test)]
mod tests;
