//! A radius by purity: balls as large as pseudo-labels allow.

use crate::ops::KMeansArgs;
use crate::{Code, Error, Host, Request, Result, Tensor};

/// The share of pure balls in the paper.
pub const PURITY: f64 = 0.95;

/// A rule for the radius (Yehuda et al. 2022): the largest one at which enough balls hold a single pseudo-label, which is
/// the cluster that k-means puts a point into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Purity {
    /// The share of balls that must hold a single pseudo-label.
    pub share: f64,
    /// How many pseudo-labels: the classes. At least 2 are made, since a single one bounds nothing.
    pub clusters: usize,
    /// At most so many points have their balls looked at.
    pub sample: usize,
}

impl Purity {
    /// With this share and at most so many points looked at; without a number of pseudo-labels as many as the pool has classes.
    ///
    /// Errs as [`Host::pool`] does.
    pub fn new(share: f64, clusters: Option<u32>, sample: u32, host: &Host<'_>) -> Result<Purity> {
        let clusters = match clusters {
            Some(clusters) => clusters as usize,
            None => host.pool()?.classes.len(),
        };
        Ok(Purity { share, clusters, sample: sample as usize })
    }

    /// The radius for these points, whose clusters come from the call's stream `pseudo-labels` and whose sample comes from
    /// the request's stream `purity`; 0 where all points are the same.
    ///
    /// A ball is pure as long as its radius is no more than the distance to the nearest point of another pseudo-label, so the
    /// rule is an order statistic of these distances: exact where the points are no more than the sample, and else that of
    /// the sample's distances, each exact. Asks for [`KMEANS_1`](crate::ops::KMEANS_1), [`GATHER_1`](crate::ops::GATHER_1)
    /// and [`NEAREST_1`](crate::ops::NEAREST_1).
    pub fn radius(&self, points: &Tensor<'_, '_>, request: &Request) -> Result<f64> {
        let n = points.n_rows()?;
        let clusters = self.clusters.max(2).min(n);
        if clusters < 2 {
            return Ok(0.0);
        }
        let stream = "pseudo-labels".to_owned();
        let args = KMeansArgs { clusters: clusters as u32, iterations: 50, restarts: 1, tolerance: 0.0, stream };
        let label_n = points.kmeans(&args)?.of_point;
        if label_n.len() != n {
            return Err(Error::new(Code::HOST, format!("{} of {n} points are in a cluster", label_n.len())));
        }
        let mut sample: Vec<usize> = (0..n).collect();
        if self.sample < n {
            sample = request.rng("purity").sample(n, self.sample.max(1));
            sample.sort_unstable();
        }
        let mut apart = distances_to_another_label(points, &label_n, clusters, &sample)?;
        apart.sort_unstable_by(|a, b| b.total_cmp(a));
        // A share such as 0.95 is rarely a number of its own in binary: what is meant is never a point more.
        let n_pure = (self.share * apart.len() as f64 - 1e-9).ceil() as usize;
        Ok(apart.get(n_pure.saturating_sub(1)).filter(|apart| apart.is_finite()).map_or(0.0, |apart| f64::from(*apart)))
    }
}

/// For each sampled point the distance to the nearest point of another label; infinite where there is none.
///
/// Labels differ where a digit of theirs differs, so that the passes over the points grow with the logarithm of the labels.
pub(super) fn distances_to_another_label(
    points: &Tensor<'_, '_>,
    label_n: &[usize],
    n_labels: usize,
    sample: &[usize],
) -> Result<Vec<f32>> {
    const BASE: usize = 16;
    let mut apart = vec![f32::INFINITY; sample.len()];
    let mut unit = 1;
    while unit < n_labels {
        for digit in 0..BASE {
            let has = |i: usize| label_n[i] / unit % BASE == digit;
            let mine: Vec<usize> = (0..sample.len()).filter(|s| has(sample[*s])).collect();
            let others: Vec<usize> = (0..label_n.len()).filter(|i| !has(*i)).collect();
            if mine.is_empty() || others.is_empty() {
                continue;
            }
            let queries = points.gather(&mine.iter().map(|s| sample[*s]).collect::<Vec<_>>())?;
            let nearest = queries.nearest(points, 1, Some(&others))?;
            for (s, distance) in mine.iter().zip(nearest.distances_nk.elements()) {
                apart[*s] = apart[*s].min(*distance);
            }
        }
        unit *= BASE;
    }
    Ok(apart)
}
