//! `entropy`: the images whose predicted class distribution has the highest entropy.

use coldstart_plugin_api::prelude::*;

struct Entropy;

impl Strategy for Entropy {
    type Params = NoParams;

    fn new(_: NoParams, _: &Host<'_>) -> Result<Self> {
        Ok(Entropy)
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let probs_nc = host.predict(&request.unlabelled)?.probabilities()?;
        let scores_n = probs_nc.rows().map(entropy).collect();
        Ok(Selection::highest(request, scores_n))
    }
}

/// Entropy of a distribution in nats; a class of probability 0 adds nothing.
fn entropy(probs_c: &[f32]) -> f32 {
    -probs_c.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f32>()
}

export_plugin! {
    name: "entropy",
    publisher: "coldstart",
    roles: [Query],
    strategy: Entropy,
    criterion: UNCERTAINTY,
    needs: [PREDICT_1],
    cite: "Shannon 1948, A Mathematical Theory of Communication",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    /// Closed forms; f32 rounding of a sum of four terms stays below 1e-6.
    #[test]
    fn entropy_equals_the_closed_form() {
        for (probs, expected) in
            [(&[0.5, 0.3, 0.15, 0.05][..], 1.142_12), (&[0.25; 4], 4f32.ln()), (&[1.0, 0.0, 0.0], 0.0), (&[1.0], 0.0)]
        {
            assert!((entropy(probs) - expected).abs() < 1e-6, "{probs:?}");
        }
    }

    #[test]
    fn the_most_uncertain_come_first_and_ties_go_to_the_lowest_id() {
        let host = TestHost::new(5).labelled(&[1]).probabilities(&[
            [0.9, 0.1],
            [0.5, 0.5],
            [0.6, 0.4],
            [0.4, 0.6],
            [1.0, 0.0],
        ]);
        assert_eq!(host.select::<Entropy>("{}", 3).unwrap().ids, [2, 3, 0]);
        assert_eq!(host.tensors_left(), 0);
    }

    #[test]
    fn a_nan_of_the_model_is_an_error() {
        let host = TestHost::new(2).probabilities(&[[0.5, 0.5], [f32::NAN, 0.5]]);
        assert!(host.select::<Entropy>("{}", 1).unwrap_err().message.contains("NaN at row 1"));
    }

    #[test]
    fn without_a_model_it_says_so() {
        let error = TestHost::new(2).without(ops::PREDICT_1).select::<Entropy>("{}", 1).unwrap_err();
        assert_eq!(error.code, Code::UNSUPPORTED);
    }
}
