//! `var-ratio`: the images whose most probable class has least support from passes under dropout (Freeman 1965,
//! Elementary Applied Statistics; with dropout Gal, Islam and Ghahramani 2017, Deep Bayesian Active Learning with Image
//! Data).
//!
//! Two definitions go by the name of variation ratio, and `of` offers both: 1 minus the highest of the mean probabilities,
//! as in the code of Lüth et al. 2023 (the default), and 1 minus the share of passes that name the class most often
//! named, as in Gal et al. The votes of k passes give at most k different scores, so that most images tie, and the lowest
//! ids among them come first.
//!
//! Departure: dropout is before the last layer alone, the same for every image in a pass; batch norm stays as in any
//! prediction, and the network runs once for all passes.

use coldstart_plugin_api::ops::{Dropout, Measure};
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::recipes::reduced_passes;

/// The passes, and what is made of them.
#[derive(Params)]
struct VarRatioParams {
    /// Passes under dropout.
    #[param(default = 20, min = 2, max = 1000)]
    passes: u32,
    /// The probability that a feature is left out of a pass.
    #[param(default = 0.5, min = 0.01, max = 0.99)]
    p: f64,
    /// What the ratio is of. mean: 1 minus the highest mean probability. votes: 1 minus the share of passes that name the
    /// class most often named.
    #[param(default = "mean")]
    of: Of,
}

/// What the ratio is of.
#[derive(Params, Clone, Copy)]
enum Of {
    Mean,
    Votes,
}

struct VarRatio {
    dropout: Dropout,
    measure: Measure,
}

impl Strategy for VarRatio {
    type Params = VarRatioParams;

    fn new(VarRatioParams { passes, p, of }: VarRatioParams, _: &Host<'_>) -> Result<Self> {
        let measure = match of {
            Of::Mean => Measure::VariationRatio,
            Of::Votes => Measure::VoteRatio,
        };
        Ok(VarRatio { dropout: Dropout { passes, p, shared: true, clean: false }, measure })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let scores_n = reduced_passes(host, &request.unlabelled, self.dropout, self.measure)?;
        Ok(Selection::highest(request, scores_n))
    }
}

export_plugin! {
    name: "var-ratio",
    publisher: "coldstart",
    roles: [Query],
    strategy: VarRatio,
    criterion: DISAGREEMENT,
    needs: [PREDICT_3, REDUCE_1],
    asks: [Dropout],
    cite: "Gal, Islam and Ghahramani 2017, Deep Bayesian Active Learning with Image Data",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    const VOTES: &str = r#"{"passes": 3, "of": "votes"}"#;

    /// Means (.6, .4), (7/15, 8/15) and (.6, .4); votes 2 of 3, 2 of 3 (an equal pass votes for the lowest class) and 3 of 3.
    fn divided() -> TestHost {
        TestHost::new(3).passes(&[
            [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]],
            [[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]],
            [[0.6, 0.4], [0.6, 0.4], [0.6, 0.4]],
        ])
    }

    /// A mean of three f32 is off by less than 1e-6.
    #[test]
    fn both_definitions_equal_their_closed_forms() {
        for (params, first, expected) in
            [(r#"{"passes": 3}"#, 1, [7.0 / 15.0, 0.4, 0.4]), (VOTES, 0, [1.0 / 3.0, 1.0 / 3.0, 0.0])]
        {
            let selection = divided().select::<VarRatio>(params, 3).unwrap();
            assert_eq!(selection.ids[0], first, "{params}");
            for (score, expected) in selection.scores.iter().zip(expected) {
                assert!((score - expected).abs() < 1e-6, "{params}: {score} {expected}");
            }
        }
    }

    #[test]
    fn ties_go_to_the_lowest_id() {
        assert_eq!(divided().select::<VarRatio>(VOTES, 3).unwrap().ids, [0, 1, 2]);
    }

    #[test]
    fn labelled_images_are_never_chosen() {
        assert_eq!(divided().labelled(&[0]).select::<VarRatio>(VOTES, 1).unwrap().ids, [1]);
    }

    #[test]
    fn every_budget_is_met_on_every_pool() {
        for (what, host) in [
            ("plausible", TestHost::plausible(40, 4, 1)),
            ("undecided", TestHost::plausible(40, 4, 1).undecided()),
            ("one class", TestHost::plausible(40, 1, 1)),
        ] {
            let host = host.labelled(&[3, 17, 39]);
            for (params, budget) in [("mean", 0), ("mean", 1), ("mean", 36), ("mean", 37), ("votes", 1), ("votes", 37)]
            {
                let params = format!(r#"{{"of": "{params}"}}"#);
                let selection = host.select::<VarRatio>(&params, budget).unwrap();
                let mut ids = selection.ids.clone();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), budget, "{what}");
                assert!(ids.iter().all(|id| ![3, 17, 39].contains(id)), "{what}");
                assert!(selection.scores.iter().all(|score| score.is_finite()), "{what}");
                assert_eq!(host.select::<VarRatio>(&params, budget).unwrap(), selection, "{what}");
                assert_eq!(host.tensors_left(), 0);
            }
        }
    }

    #[test]
    fn a_permuted_pool_gives_the_permuted_answer() {
        let host = TestHost::plausible(60, 5, 2).shuffled(3);
        let images: Vec<u64> =
            host.select::<VarRatio>("{}", 20).unwrap().ids.into_iter().map(|id| host.image_of(id)).collect();
        assert_eq!(images, TestHost::plausible(60, 5, 2).select::<VarRatio>("{}", 20).unwrap().ids);
    }
}
