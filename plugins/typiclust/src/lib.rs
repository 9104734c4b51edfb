//! `typiclust`: of every cluster the image in the densest place, clusters without labels first (Hacohen, Dekel and
//! Weinshall 2022, Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets).
//!
//! The pool is cut into as many clusters as images are labelled or wanted, at most 500. Those of five images or fewer are
//! left out, the others sorted by their labelled images, fewest first, then by size. They take turns to give their most
//! typical image: typicality is the inverse of the mean distance to the 20 nearest images of the cluster, or to half of
//! them in a small cluster, without those that are labelled or have been given.
//!
//! The paper's distance is Euclidean, which is the default; the released code's search answers squared distances:
//! `distance = "squared"`. Departures: clusters are Lloyd's at any number, where the code goes over to mini-batches beyond 50;
//! of equal clusters the first comes first. Where the code fails, there is a rule: clusters with nothing left are passed
//! over, the small ones give when the others are empty, and an image alone has the typicality 0. In clusters of more than
//! `candidates` images so many are drawn to be candidates; their neighbours are sought in the whole cluster.

use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::recipes::{Typical, features, positions};

/// How the pool is clustered and how density is measured.
#[derive(Params)]
struct TypiClustParams {
    /// The most clusters.
    #[param(default = 500, min = 1)]
    max_clusters: u32,
    /// Neighbours that a typicality looks at; at most half of the cluster.
    #[param(default = 20, min = 1)]
    neighbours: u32,
    /// What the mean is taken of. plain: Euclidean distances, as in the paper. squared: their squares, as in the released
    /// code.
    #[param(default = "plain")]
    distance: Distance,
    /// The most images of one cluster whose typicality is computed; it bounds the time, which grows with this number times
    /// the size of the cluster.
    #[param(default = 20000, min = 1)]
    candidates: u32,
    /// The most rounds of Lloyd's algorithm.
    #[param(default = 100, min = 1)]
    iterations: u32,
    /// How often k-means starts anew, of which the best counts; the released code takes the best of 10 up to 50 clusters.
    #[param(default = 1, min = 1)]
    restarts: u32,
}

/// What a mean distance is the mean of.
#[derive(Params, Clone, Copy, PartialEq)]
enum Distance {
    Plain,
    Squared,
}

struct TypiClust {
    typical: Typical,
}

impl Strategy for TypiClust {
    type Params = TypiClustParams;

    fn new(params: TypiClustParams, _: &Host<'_>) -> Result<Self> {
        let typical = Typical {
            max_clusters: params.max_clusters,
            neighbours: params.neighbours as usize,
            squared: params.distance == Distance::Squared,
            candidates: params.candidates as usize,
            iterations: params.iterations,
            restarts: params.restarts,
        };
        Ok(TypiClust { typical })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        if request.budget == 0 {
            return Ok(Selection::of(Vec::new()));
        }
        let pool = request.pool();
        let points = features(host, &pool)?;
        let labelled = positions(&request.labelled, &pool);
        let picks = self.typical.picks(&points, &labelled, request.budget, request.rng("candidates"))?;
        Ok(Selection { ids: picks.positions.iter().map(|i| pool[*i]).collect(), scores: picks.scores })
    }
}

export_plugin! {
    name: "typiclust",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: TypiClust,
    criterion: REPRESENTATION,
    needs: [REPRESENT_1, NORMALIZE_1, KMEANS_1, GATHER_1, NEAREST_1],
    cite: "Hacohen, Dekel and Weinshall 2022, Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets",
}

#[cfg(test)]
mod tests;
