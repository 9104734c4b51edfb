//! `usl`: of every cluster the image that lies most densely and keeps away from what the other clusters give (Wang, Lian and
//! Yu 2022, Unsupervised Selective Labeling for More Effective Semi-Supervised Learning).
//!
//! The density of an image is the inverse of the mean squared distance to its nearest neighbours, of which it is the first
//! itself. The pool is cut into as many clusters as images are wanted, and each gives its densest one. Nine times more, each gives
//! the image of the highest density less `weight` times its repulsion: the running mean, with momentum 0.9, of the sum over the
//! other clusters' images of `1 / (squared distance)^alpha` within `horizon`.
//!
//! Rounds, weight, alpha, horizon and momentum are the released settings for CIFAR-10, whose horizon is no limit on the unit
//! sphere; for CIFAR-100 weight, alpha and horizon are 1. So is the density: the paper says the distance, the released code takes
//! its square and counts the image itself, and weight is set against that. `distance = "plain"` is the paper's, with a weight that
//! nobody has published for it. Departures:
//!
//! - The released number of neighbours is 400 for the 50 000 images of CIFAR, and 20 for the 1.3 million of ImageNet. A smaller
//!   pool has the same share of neighbours here, 0.8 % of its images, and no fewer than 10: 400 of 5000 images are no neighbourhood.
//!   `neighbours` says a number.
//! - Neighbours are sought among at most `references` images, drawn from the seed, and in a larger pool correspondingly fewer of
//!   them count.
//! - The network is the run's representation, not CLD's.
//! - A density is at most 100 000, where the code divides by 0 between copies.
//! - An empty cluster's image is replaced by the second best of the others, where the code returns fewer.

use coldstart_plugin_api::ops::{KMeansArgs, Kernel};
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::recipes::{clusters, features, in_turns, members, positions};

/// How density is measured and how images keep away from each other.
#[derive(Params)]
struct UslParams {
    /// Neighbours that a density looks at, the image itself among them. Absent, 0.8 % of the pool, but no fewer than 10 and no more
    /// than 400, the released number for 50 000 images.
    #[param(min = 2)]
    neighbours: Option<u32>,
    /// What the mean is taken of. squared: squared Euclidean distances, as in the released code. plain: distances, as in the paper.
    #[param(default = "squared")]
    distance: Distance,
    /// The most images among which neighbours are sought; it bounds the time, which grows with this number times the pool.
    #[param(default = 50000, min = 2)]
    references: u32,
    /// How often each cluster chooses.
    #[param(default = 10, min = 1)]
    rounds: u32,
    /// How much the repulsion counts beside the density.
    #[param(default = 0.5, min = 0.0)]
    weight: f64,
    /// The exponent of the squared distance in the repulsion.
    #[param(default = 0.5, min = 0.0, max = 10.0)]
    alpha: f64,
    /// The squared distance from which on images do not repel each other.
    #[param(default = 4.0, min = 0.0)]
    horizon: f64,
    /// The share of the old repulsion in the new one.
    #[param(default = 0.9, min = 0.0, max = 1.0)]
    momentum: f64,
    /// The most rounds of Lloyd's algorithm.
    #[param(default = 200, min = 1)]
    iterations: u32,
}

/// What a mean distance is the mean of.
#[derive(Params, Clone, Copy, PartialEq)]
enum Distance {
    Squared,
    Plain,
}

struct Usl {
    params: UslParams,
}

impl Strategy for Usl {
    type Params = UslParams;

    fn new(params: UslParams, _: &Host<'_>) -> Result<Self> {
        Ok(Usl { params })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        if request.budget == 0 {
            return Ok(Selection::of(Vec::new()));
        }
        let pool = request.pool();
        let points = features(host, &pool)?;
        let free = positions(&request.unlabelled, &pool);
        let density_n = self.density(&points, request, host)?;
        let args = KMeansArgs {
            clusters: request.budget as u32,
            iterations: self.params.iterations,
            restarts: 1,
            tolerance: 0.0,
            stream: "clusters".to_owned(),
        };
        let cluster_n = clusters(&points, &args)?;
        let score_n = self.score(&points, density_n, &members(&cluster_n, &free, request.budget), host)?;

        let cost_n: Vec<f32> = score_n.iter().map(|score| -score).collect();
        let picks = in_turns(&cluster_n, &cost_n, &free, &[], request.budget);
        Ok(Selection {
            ids: picks.iter().map(|i| pool[*i]).collect(),
            scores: picks.iter().map(|i| score_n[*i]).collect(),
        })
    }
}

/// Rows that are gathered at a time, so that no copy of the features is made.
const PART: usize = 16_384;

impl Usl {
    /// The inverse of each point's mean distance to its nearest references.
    fn density(&self, points: &Tensor<'_, '_>, request: &Request, host: &Host<'_>) -> Result<Vec<f32>> {
        let n = points.n_rows()?;
        let references = references(n, self.params.references as usize, request.rng("references"));
        let wanted = self.params.neighbours.map_or_else(|| share_of_neighbours(n), |neighbours| neighbours as usize);
        let k = neighbours(wanted, references.len(), n);
        let all: Vec<usize> = (0..n).collect();
        let mut density_n = Vec::with_capacity(n);
        for part in all.chunks(PART) {
            host.progress("density", density_n.len() as u64, n as u64);
            let near = points.gather(part)?.nearest(points, k as u32, Some(&references))?;
            expect(near.positions_nk.len() == part.len() * k && near.distances_nk.n_rows() == part.len())?;
            let rows = near.positions_nk.chunks_exact(k).zip(near.distances_nk.rows());
            density_n.extend(part.iter().zip(rows).map(|(point, (positions, distances))| {
                // A point is its own nearest where it is a reference, though not the first of many copies.
                let others = positions.iter().zip(distances).filter(|(position, _)| *position != point);
                self.inverse_mean(others.map(|(_, distance)| f64::from(*distance)).take(k - 1), k) as f32
            }));
        }
        Ok(density_n)
    }

    /// The inverse of the mean over `k` neighbours: the image itself, at no distance, and these others.
    fn inverse_mean(&self, distances: impl Iterator<Item = f64>, k: usize) -> f64 {
        let of = |distance: f64| match self.params.distance {
            Distance::Squared => distance * distance,
            Distance::Plain => distance,
        };
        1.0 / (distances.map(of).sum::<f64>() / k as f64).max(LEAST_DISTANCE)
    }

    /// The density of each point less its repulsion, after all rounds.
    fn score(
        &self,
        points: &Tensor<'_, '_>,
        density_n: Vec<f32>,
        members_k: &[Vec<usize>],
        host: &Host<'_>,
    ) -> Result<Vec<f32>> {
        let UslParams { weight, alpha, horizon, momentum, rounds, .. } = self.params;
        let members_k: Vec<&Vec<usize>> = members_k.iter().filter(|members| !members.is_empty()).collect();
        let mut repulsion_n = vec![0.0; density_n.len()];
        let mut score_n = density_n.clone();
        for round in 1..rounds {
            host.progress("repulsion", u64::from(round), u64::from(rounds));
            let chosen_k: Vec<usize> = members_k.iter().filter_map(|members| highest(&score_n, members)).collect();
            let chosen = points.gather(&chosen_k)?;
            for (cluster, members) in members_k.iter().enumerate() {
                let mut others_k = vec![1.0; chosen_k.len()];
                others_k[cluster] = 0.0;
                for part in members.chunks(PART) {
                    let kernel = Kernel::Power { alpha, horizon };
                    let sums = points.gather(part)?.kernel_sums(&chosen, kernel, Some(&others_k))?;
                    expect(sums.len() == part.len())?;
                    for (i, sum) in part.iter().zip(sums) {
                        repulsion_n[*i] = momentum * repulsion_n[*i] + (1.0 - momentum) * f64::from(sum);
                        score_n[*i] = (f64::from(density_n[*i]) - weight * repulsion_n[*i]) as f32;
                    }
                }
            }
        }
        expect(score_n.iter().all(|score| score.is_finite()))?;
        Ok(score_n)
    }
}

/// The least mean distance, so that the density of copies is a number.
const LEAST_DISTANCE: f64 = 1e-5;

/// At most `most` positions of `n`, ascending.
fn references(n: usize, most: usize, mut rng: Rng) -> Vec<usize> {
    if n <= most {
        return (0..n).collect();
    }
    let mut drawn = rng.sample(n, most);
    drawn.sort_unstable();
    drawn
}

/// The share of a pool that are neighbours: the released 400 of 50 000.
const NEIGHBOURS: f64 = 400.0 / 50_000.0;

/// That share of `n` images, within 10 and 400.
fn share_of_neighbours(n: usize) -> usize {
    ((NEIGHBOURS * n as f64).round() as usize).clamp(10, 400)
}

/// As many of the references as make the same share of them as `k` of `n` points, at least two where there are two: a point and
/// another.
fn neighbours(k: usize, n_references: usize, n: usize) -> usize {
    let share = (k as f64 * n_references as f64 / n as f64).round() as usize;
    share.max(2).min(n_references)
}

/// The member of the highest score, of equal ones the first.
fn highest(score_n: &[f32], members: &[usize]) -> Option<usize> {
    members.iter().copied().reduce(|best, i| if score_n[i] > score_n[best] { i } else { best })
}

fn expect(fits: bool) -> Result<()> {
    if fits { Ok(()) } else { Err(Error::new(Code::HOST, "the host's answer does not fit the points")) }
}

export_plugin! {
    name: "usl",
    publisher: "coldstart",
    roles: [Initial],
    strategy: Usl,
    criterion: REPRESENTATION,
    needs: [REPRESENT_1, NORMALIZE_1, KMEANS_1, GATHER_1, NEAREST_1, KERNEL_SUMS_1],
    cite: "Wang, Lian and Yu 2022, Unsupervised Selective Labeling for More Effective Semi-Supervised Learning",
}

#[cfg(test)]
mod tests;
