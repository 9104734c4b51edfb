//! `coreset`: the images that are farthest from all that are labelled, one by one (Sener and Savarese 2018, Active Learning
//! for Convolutional Neural Networks: A Core-Set Approach).
//!
//! Each pick is the image whose nearest labelled or picked image is farthest, by Euclidean distance of features: k-center
//! greedy, whose largest remaining distance is at most twice the best one. Paper and released code:
//!
//! - Features are those of the current task model before its last layer, as in the paper: `space = "model"`. In round 0,
//!   when no model is trained, and with `space = "representation"`, they are the run's representation at unit length.
//! - Without any label the first image is drawn from the seed. One released code means to do that, and by a slip takes the
//!   first image of the data set, as another does on purpose.
//! - The paper goes on from the greedy answer to a smaller radius by mixed integer programmes, at a scale that nobody
//!   repeated. Like every later comparison, this is the greedy answer.

use coldstart_plugin_api::ops::KCenterArgs;
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::radius::Places;

/// Where distances are measured.
#[derive(Params)]
struct CoreSetParams {
    /// Whose features count. model: the current task model's, as in the paper. representation: the run's shared ones, which
    /// round 0 takes in any case.
    #[param(default = "model")]
    space: Space,
}

/// Whose features are compared.
#[derive(Params, Clone, Copy, PartialEq)]
enum Space {
    Model,
    Representation,
}

struct CoreSet {
    space: Space,
}

impl Strategy for CoreSet {
    type Params = CoreSetParams;

    fn new(params: CoreSetParams, _: &Host<'_>) -> Result<Self> {
        Ok(CoreSet { space: params.space })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let places = Places::of(request);
        let points = if self.space == Space::Model && request.round > 0 {
            let [embeddings] = host.predict(&places.pool)?.kept([Output::Embeddings])?;
            places.complete(embeddings)?
        } else {
            places.features(host, true)?
        };
        let args = KCenterArgs { k: request.budget as u64, stream: "first".to_owned() };
        let picks = points.k_center(&args, &places.labelled)?;
        Ok(Selection { ids: places.ids(&picks.positions)?, scores: picks.scores })
    }
}

export_plugin! {
    name: "coreset",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: CoreSet,
    criterion: REPRESENTATION,
    needs: [PREDICT_1, REPRESENT_1, NORMALIZE_1, K_CENTER_1],
    asks: [Embeddings],
    cite: "Sener and Savarese 2018, Active Learning for Convolutional Neural Networks: A Core-Set Approach",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    const LINE: [f32; 6] = [0.0, 1.0, 2.0, 5.0, 9.0, 10.0];

    fn on_a_line(line: &[f32]) -> TestHost {
        let rows: Vec<[f32; 1]> = line.iter().map(|x| [*x]).collect();
        TestHost::new(line.len() as u64).output(Output::Embeddings, &rows)
    }

    fn select(host: &TestHost, params: &str, budget: usize) -> Selection {
        let selection = host.select::<CoreSet>(params, budget).unwrap();
        assert_eq!(host.tensors_left(), 0);
        selection
    }

    /// By hand, with ties to the lowest id: 1 is as far from its nearest centre as 9 is at the end.
    #[test]
    fn the_farthest_come_first_and_ties_go_to_the_lowest_id() {
        let host = on_a_line(&LINE).labelled(&[0]);
        let selection = select(&host, "{}", 5);
        assert_eq!(selection.ids, [5, 3, 2, 1, 4]);
        assert_eq!(selection.scores, [10.0, 5.0, 2.0, 1.0, 1.0]);
    }

    #[test]
    fn any_budget_is_met_whatever_the_points() {
        for line in [&LINE[..], &[3.0; 6]] {
            for budget in [0, 1, 3, 4] {
                let mut ids = select(&on_a_line(line).labelled(&[1, 4]), "{}", budget).ids;
                ids.sort_unstable();
                ids.dedup();
                assert!(ids.len() == budget && ids.iter().all(|id| [0, 2, 3, 5].contains(id)), "{ids:?}");
            }
        }
        assert_eq!(select(&on_a_line(&[3.0; 6]).labelled(&[1, 4]), "{}", 4).ids, [0, 2, 3, 5]);
    }

    #[test]
    fn without_labels_the_seed_decides_where_it_begins() {
        let first = |seed| select(&TestHost::plausible(40, 3, 1).round(0).seed([seed; 32]), "{}", 5).ids;
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }

    /// Two directions, one of them labelled: at unit length nothing but the other direction is left.
    #[test]
    fn the_representation_counts_in_round_0_and_where_it_is_asked_for() {
        let rows = [[1.0, 0.0], [9.0, 0.0], [0.0, 0.5], [5.0, 0.0]];
        let host = || TestHost::new(4).representation(&rows).labelled(&[0]);
        for (host, params) in [(host().round(0), "{}"), (host(), r#"{"space": "representation"}"#)] {
            assert_eq!(select(&host, params, 1).ids, [2]);
            assert!(!host.calls().contains(&"model.predict/1".to_owned()));
        }
    }

    #[test]
    fn images_that_change_places_are_chosen_all_the_same() {
        let labelled = [2, 3, 5, 7];
        let still = select(&TestHost::plausible(60, 4, 1).labelled(&labelled), "{}", 10).ids;
        let moved = TestHost::plausible(60, 4, 1).shuffled(1);
        let labelled: Vec<u64> = (0..60).filter(|id| labelled.contains(&moved.image_of(*id))).collect();
        let moved = moved.labelled(&labelled);
        let images: Vec<u64> = select(&moved, "{}", 10).ids.iter().map(|id| moved.image_of(*id)).collect();
        assert_eq!(images, still);
    }
}
