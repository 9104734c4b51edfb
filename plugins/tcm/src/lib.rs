//! `tcm`: typical images in the first rounds, uncertain ones later (Doucet, Estermann, Aczel and Wattenhofer 2024, Bridging
//! Diversity and Uncertainty in Active learning with Self-Supervised Pre-Training).
//!
//! The first rounds choose as TypiClust does (Hacohen, Dekel and Weinshall 2022): of every cluster the image in the densest
//! place, clusters without labels first. Later rounds choose the images whose two most probable classes are closest. The
//! authors published no code. They find that with self-supervised features the change should come early, and matters little
//! when; three rounds, round 0 among them, are another implementation's choice. What holds of `typiclust` holds of the
//! first rounds here.

use coldstart_plugin_api::ops::Measure;
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::recipes::{Typical, features, positions};

/// When the change comes, and how the first rounds choose.
#[derive(Params)]
struct TcmParams {
    /// How many rounds choose typical images, round 0 among them; with another initial strategy, one fewer here.
    #[param(default = 3, min = 1)]
    rounds: u32,
    /// The most clusters.
    #[param(default = 500, min = 1)]
    max_clusters: u32,
    /// Neighbours that a typicality looks at; at most half of the cluster.
    #[param(default = 20, min = 1)]
    neighbours: u32,
    /// What the mean is taken of. plain: Euclidean distances, as in TypiClust's paper. squared: their squares, as in its
    /// released code.
    #[param(default = "plain")]
    distance: Distance,
    /// The most images of one cluster whose typicality is computed; it bounds the time, which grows with this number times
    /// the size of the cluster.
    #[param(default = 20000, min = 1)]
    candidates: u32,
    /// The most rounds of Lloyd's algorithm.
    #[param(default = 100, min = 1)]
    iterations: u32,
    /// How often k-means starts anew, of which the best counts.
    #[param(default = 1, min = 1)]
    restarts: u32,
}

/// What a mean distance is the mean of.
#[derive(Params, Clone, Copy, PartialEq)]
enum Distance {
    Plain,
    Squared,
}

struct Tcm {
    rounds: u32,
    typical: Typical,
}

impl Strategy for Tcm {
    type Params = TcmParams;

    fn new(params: TcmParams, _: &Host<'_>) -> Result<Self> {
        let typical = Typical {
            max_clusters: params.max_clusters,
            neighbours: params.neighbours as usize,
            squared: params.distance == Distance::Squared,
            candidates: params.candidates as usize,
            iterations: params.iterations,
            restarts: params.restarts,
        };
        Ok(Tcm { rounds: params.rounds, typical })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        match request.budget {
            0 => Ok(Selection::of(Vec::new())),
            _ if request.round < self.rounds => self.most_typical(request, host),
            _ => least_certain(request, host),
        }
    }
}

impl Tcm {
    fn most_typical(&self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let pool = request.pool();
        let points = features(host, &pool)?;
        let labelled = positions(&request.labelled, &pool);
        let picks = self.typical.picks(&points, &labelled, request.budget, request.rng("candidates"))?;
        Ok(Selection { ids: picks.positions.iter().map(|i| pool[*i]).collect(), scores: picks.scores })
    }
}

fn least_certain(request: &Request, host: &Host<'_>) -> Result<Selection> {
    let [probs_nc] = host.predict(&request.unlabelled)?.kept([Output::Probabilities])?;
    let scores_n = probs_nc.reduce(Measure::Margin)?;
    if scores_n.len() != request.unlabelled.len() {
        let message = format!("the host gave {} margins of {} images", scores_n.len(), request.unlabelled.len());
        return Err(Error::new(Code::HOST, message));
    }
    Ok(Selection::highest(request, scores_n))
}

export_plugin! {
    name: "tcm",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: Tcm,
    criterion: STAGED,
    needs: [REPRESENT_1, NORMALIZE_1, KMEANS_1, GATHER_1, NEAREST_1, PREDICT_1, REDUCE_1],
    cite: "Doucet, Estermann, Aczel and Wattenhofer 2024, Bridging Diversity and Uncertainty in Active learning with Self-Supervised Pre-Training",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    fn ids(host: &TestHost, params: &str, budget: usize) -> Vec<u64> {
        let selection = host.select::<Tcm>(params, budget).unwrap();
        assert_eq!((selection.scores.len(), host.tensors_left()), (selection.ids.len(), 0));
        assert!(selection.scores.iter().all(|score| score.is_finite()));
        selection.ids
    }

    #[test]
    fn the_change_comes_after_the_first_rounds() {
        for (round, params, typical) in [
            (0, "{}", true),
            (2, "{}", true),
            (3, "{}", false),
            (0, r#"{"rounds": 1}"#, true),
            (1, r#"{"rounds": 1}"#, false),
        ] {
            let host = TestHost::plausible(30, 3, 1).labelled(&[2]).round(round);
            ids(&host, params, 4);
            let asked = |op: Op| host.calls().iter().any(|call| call == op.0);
            assert_eq!((asked(ops::REPRESENT_1), asked(ops::PREDICT_1)), (typical, !typical), "{round} {params}");
        }
    }

    /// The scores are 1 minus .5, .01, .01, .6 and .5.
    #[test]
    fn later_rounds_choose_the_closest_classes_and_ties_go_to_the_lowest_id() {
        let probs = [[0.7, 0.2, 0.1], [0.34, 0.33, 0.33], [0.45, 0.44, 0.11], [0.75, 0.15, 0.1], [0.7, 0.1, 0.2]];
        let host = TestHost::new(5).round(3).probabilities(&probs);
        let all = ids(&host, "{}", 5);
        assert_eq!((all[..2].iter().sum::<u64>(), &all[2..]), (3, &[0, 4, 3][..]));
        let undecided = TestHost::plausible(9, 3, 1).undecided().round(5).labelled(&[1]);
        assert_eq!(ids(&undecided, "{}", 3), [0, 2, 3]);
        assert_eq!(ids(&TestHost::plausible(9, 1, 1).round(5), "{}", 2), [0, 1], "with one class all are the same");
    }

    #[test]
    fn the_first_rounds_choose_the_densest_image() {
        let angles = [0.0f32, 0.1, 0.2, 0.25, 0.3, 0.4, 0.9];
        let host = TestHost::new(7).round(0).representation(&angles.map(|at| [at.cos(), at.sin()]));
        assert_eq!(ids(&host, "{}", 1), [3], "three neighbours: .05, .05 and .15");
    }

    #[test]
    fn every_budget_is_met_with_distinct_unlabelled_images() {
        for (round, labelled) in [(0, &[][..]), (1, &[0, 3, 7]), (3, &[0, 3, 7]), (9, &[])] {
            for host in [TestHost::plausible(30, 3, 1), TestHost::plausible(30, 3, 3).all_alike().undecided()] {
                let host = host.round(round).labelled(labelled);
                let left = 30 - labelled.len();
                for budget in [0, 1, 7, left - 1, left] {
                    let mut ids = ids(&host, "{}", budget);
                    assert!(ids.iter().all(|id| !labelled.contains(id)));
                    ids.sort_unstable();
                    ids.dedup();
                    assert_eq!(ids.len(), budget);
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_pool_does_not_matter() {
        for round in [2, 3] {
            let host = |seed| TestHost::plausible(60, 4, seed).round(round);
            let shuffled = host(5).shuffled(9);
            let params = r#"{"max_clusters": 1}"#;
            let images: Vec<u64> = ids(&shuffled, params, 30).into_iter().map(|id| shuffled.image_of(id)).collect();
            assert_eq!(ids(&host(5), params, 30), images);
            assert_eq!(ids(&host(5), "{}", 12), ids(&host(5), "{}", 12));
        }
    }
}
