//! `bald`: the images on whose class a network disagrees with itself most, over passes under dropout (Houlsby, Huszár,
//! Ghahramani and Lengyel 2011, Bayesian Active Learning for Classification and Preference Learning; with dropout Gal,
//! Islam and Ghahramani 2017, Deep Bayesian Active Learning with Image Data).
//!
//! The score is the mutual information of an image's label and the weights: the entropy of the mean of the passes minus
//! their mean entropy, in nats.
//!
//! Released codes differ in what they drop. Here, as in Lüth et al. 2023, only features before the last layer are left
//! out, the same ones of every image in a pass, and batch norm stays as in any prediction: the network runs once for all
//! passes. The paper has dropout inside the network; the code released with BADGE even puts batch norm into training mode.

use coldstart_plugin_api::ops::{Dropout, Measure};
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::recipes::reduced_passes;

/// The passes.
#[derive(Params)]
struct BaldParams {
    /// Passes under dropout.
    #[param(default = 20, min = 2, max = 1000)]
    passes: u32,
    /// The probability that a feature is left out of a pass.
    #[param(default = 0.5, min = 0.01, max = 0.99)]
    p: f64,
}

struct Bald {
    dropout: Dropout,
}

impl Strategy for Bald {
    type Params = BaldParams;

    fn new(BaldParams { passes, p }: BaldParams, _: &Host<'_>) -> Result<Self> {
        Ok(Bald { dropout: Dropout { passes, p, shared: true, clean: false } })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let scores_n = reduced_passes(host, &request.unlabelled, self.dropout, Measure::Bald)?;
        Ok(Selection::highest(request, scores_n))
    }
}

export_plugin! {
    name: "bald",
    publisher: "coldstart",
    roles: [Query],
    strategy: Bald,
    criterion: DISAGREEMENT,
    needs: [PREDICT_3, REDUCE_1],
    asks: [Dropout],
    cite: "Houlsby, Huszár, Ghahramani and Lengyel 2011, Bayesian Active Learning for Classification and Preference Learning",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    /// Two images that three passes disagree on, one on which they agree.
    fn divided() -> TestHost {
        TestHost::new(4).passes(&[
            [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]],
            [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]],
            [[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]],
            [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]],
        ])
    }

    /// Entropies of numbers in f32 are off by a few roundings of 6e-8.
    #[test]
    fn scores_equal_the_closed_form_and_ties_go_to_the_lowest_id() {
        let selection = divided().select::<Bald>(r#"{"passes": 3}"#, 4).unwrap();
        assert_eq!(selection.ids, [2, 0, 3, 1]);
        for (score, expected) in selection.scores.iter().zip([0.1847125, 0.136692, 0.136692, 0.0]) {
            assert!((score - expected).abs() < 1e-6, "{score} {expected}");
        }
    }

    #[test]
    fn labelled_images_are_never_chosen() {
        assert_eq!(divided().labelled(&[0, 2]).select::<Bald>(r#"{"passes": 3}"#, 1).unwrap().ids, [3]);
    }

    #[test]
    fn every_budget_is_met_on_every_pool() {
        for (what, host) in [
            ("plausible", TestHost::plausible(40, 4, 1)),
            ("undecided", TestHost::plausible(40, 4, 1).undecided()),
            ("one class", TestHost::plausible(40, 1, 1)),
        ] {
            let host = host.labelled(&[3, 17, 39]);
            for budget in [0, 1, 36, 37] {
                let selection = host.select::<Bald>("{}", budget).unwrap();
                let mut ids = selection.ids.clone();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), budget, "{what}");
                assert!(ids.iter().all(|id| ![3, 17, 39].contains(id)), "{what}");
                assert!(selection.scores.iter().all(|score| score.is_finite() && *score >= 0.0), "{what}");
                assert_eq!(host.select::<Bald>("{}", budget).unwrap(), selection, "{what}");
                assert_eq!(host.tensors_left(), 0);
            }
        }
    }

    #[test]
    fn a_permuted_pool_gives_the_permuted_answer() {
        let host = TestHost::plausible(60, 5, 2).shuffled(3);
        let images: Vec<u64> =
            host.select::<Bald>("{}", 20).unwrap().ids.into_iter().map(|id| host.image_of(id)).collect();
        assert_eq!(images, TestHost::plausible(60, 5, 2).select::<Bald>("{}", 20).unwrap().ids);
    }

    #[test]
    fn blocks_change_nothing() {
        let n = 4096 + 7;
        let host = TestHost::plausible(n, 3, 4);
        let best = host.select::<Bald>(r#"{"passes": 2}"#, 5).unwrap();
        let last: Vec<u64> = (0..n).filter(|id| !best.ids[..4].contains(id)).collect();
        assert!(last.contains(&best.ids[4]));
        let among = TestHost::plausible(n, 3, 4).labelled(&best.ids[..4]);
        assert_eq!(among.select::<Bald>(r#"{"passes": 2}"#, 1).unwrap().ids, best.ids[4..]);
    }

    #[test]
    fn senseless_params_are_refused() {
        for params in [r#"{"passes": 1}"#, r#"{"p": 0}"#, r#"{"p": 1}"#] {
            assert_eq!(TestHost::new(2).select::<Bald>(params, 1).unwrap_err().code, Code::BAD_PARAMS, "{params}");
        }
    }
}
