//! `kmeans`: the images nearest to the centres of as many clusters as images are wanted (Pourahmadi, Nooralinejad and
//! Pirsiavash 2021, A Simple Baseline for Low-Budget Active Learning).
//!
//! The released code has two ways. In several batches, every round cuts the pool into budget clusters and takes the
//! unlabelled image nearest to each centre; this is the default. In a single batch, the pool is cut into as many clusters as
//! there are labels in all, and every label is bought anew: `clusters = "total"`. A run keeps its labels, so that here each
//! labelled image stands for a turn that its cluster has had.
//!
//! Where a cluster has no unlabelled image the released code returns fewer images than asked for. Here the clusters take
//! turns: once every one has given its nearest image, the missing ones are the second nearest, those nearest to their
//! centres first. Departures: features are at unit length; k-means starts from k-means++ seeds and not from random ones.

use coldstart_plugin_api::ops::KMeansArgs;
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::recipes::{features, nearest_to_centres, positions};

/// How the pool is clustered.
#[derive(Params)]
struct KMeansParams {
    /// How many clusters. budget: as many as images are wanted. total: as many as are labelled or wanted, each labelled
    /// image counting as its cluster's turn.
    #[param(default = "budget")]
    clusters: Clusters,
    /// The most rounds of Lloyd's algorithm; 20 in the released code.
    #[param(default = 20, min = 1)]
    iterations: u32,
    /// How often k-means starts anew, of which the best counts; 5 in the released code.
    #[param(default = 5, min = 1)]
    restarts: u32,
}

/// How many clusters.
#[derive(Params, Clone, Copy)]
enum Clusters {
    Budget,
    Total,
}

struct KMeans {
    params: KMeansParams,
}

impl Strategy for KMeans {
    type Params = KMeansParams;

    fn new(params: KMeansParams, _: &Host<'_>) -> Result<Self> {
        Ok(KMeans { params })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        if request.budget == 0 {
            return Ok(Selection::of(Vec::new()));
        }
        let pool = request.pool();
        let points = features(host, &pool)?;
        let free = positions(&request.unlabelled, &pool);
        let spent = match self.params.clusters {
            Clusters::Budget => Vec::new(),
            Clusters::Total => positions(&request.labelled, &pool),
        };
        let args = self.args(request.budget + spent.len());
        let picks = nearest_to_centres(&points, &args, &free, &spent, request.budget)?;
        Ok(Selection { ids: picks.positions.iter().map(|i| pool[*i]).collect(), scores: picks.scores })
    }
}

impl KMeans {
    fn args(&self, clusters: usize) -> KMeansArgs {
        let KMeansParams { iterations, restarts, .. } = self.params;
        KMeansArgs { clusters: clusters as u32, iterations, restarts, tolerance: 0.0, stream: "clusters".to_owned() }
    }
}

export_plugin! {
    name: "kmeans",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: KMeans,
    criterion: REPRESENTATION,
    needs: [REPRESENT_1, NORMALIZE_1, KMEANS_1, NEAREST_1],
    cite: "Pourahmadi, Nooralinejad and Pirsiavash 2021, A Simple Baseline for Low-Budget Active Learning",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    fn ids(host: &TestHost, params: &str, budget: usize) -> Vec<u64> {
        let selection = host.select::<KMeans>(params, budget).unwrap();
        assert_eq!((selection.scores.len(), host.tensors_left()), (selection.ids.len(), 0));
        selection.ids
    }

    /// Three groups of directions, whose middles are near 6.75, 94.3 and 180 degrees.
    fn fan() -> TestHost {
        let degrees = [0.0f32, 90.0, 180.0, 6.0, 11.0, 10.0, 180.0, 99.0, 94.0];
        TestHost::new(9).representation(&degrees.map(|at| [3.0 * at.to_radians().cos(), 3.0 * at.to_radians().sin()]))
    }

    #[test]
    fn clusters_give_the_unlabelled_image_nearest_to_their_centre() {
        for (labelled, params, expected) in [
            (&[][..], "{}", &[2, 8, 3][..]),
            (&[2, 3], "{}", &[6, 8, 5]),
            // A cluster that is labelled altogether is replaced by the next nearest of the others.
            (&[2, 6], "{}", &[8, 3, 5]),
            (&[], r#"{"clusters": "total"}"#, &[2, 8, 3]),
            // In a single batch labelled images are their clusters' turns.
            (&[2, 3], r#"{"clusters": "total"}"#, &[8]),
        ] {
            assert_eq!(ids(&fan().labelled(labelled), params, expected.len()), expected, "{labelled:?} {params}");
        }
        assert_eq!(fan().select::<KMeans>("{}", 3).unwrap().scores[0], 0.0);
    }

    #[test]
    fn every_budget_is_met_with_distinct_unlabelled_images() {
        for (host, labelled) in [
            (TestHost::plausible(30, 3, 1).round(0), &[][..]),
            (TestHost::plausible(30, 3, 1), &[0, 3, 7]),
            (TestHost::plausible(30, 1, 2), &[29]),
            (TestHost::plausible(30, 3, 3).all_alike(), &[4, 5]),
        ] {
            let host = host.labelled(labelled);
            let left = 30 - labelled.len();
            for params in ["{}", r#"{"clusters": "total"}"#] {
                for budget in [0, 1, 7, left - 1, left] {
                    let mut ids = ids(&host, params, budget);
                    assert!(ids.iter().all(|id| !labelled.contains(id)));
                    ids.sort_unstable();
                    ids.dedup();
                    assert_eq!(ids.len(), budget);
                }
            }
        }
    }

    #[test]
    fn images_that_are_all_the_same_go_to_the_lowest_id() {
        let host = TestHost::plausible(9, 2, 1).all_alike().labelled(&[1]);
        assert_eq!(ids(&host, "{}", 4), [0, 2, 3, 4]);
    }

    #[test]
    fn the_order_of_the_pool_does_not_matter() {
        let host = TestHost::plausible(40, 4, 5);
        let shuffled = TestHost::plausible(40, 4, 5).shuffled(9);
        assert_eq!(ids(&host, "{}", 1), [shuffled.image_of(ids(&shuffled, "{}", 1)[0])]);
        assert_eq!(ids(&host, "{}", 12), ids(&TestHost::plausible(40, 4, 5), "{}", 12));
    }
}
