//! `least-confidence`: the images whose most probable class is least probable.

use coldstart_plugin_api::prelude::*;

struct LeastConfidence;

impl Strategy for LeastConfidence {
    type Params = NoParams;

    fn new(_: NoParams, _: &Host<'_>) -> Result<Self> {
        Ok(LeastConfidence)
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let probs_nc = host.predict(&request.unlabelled)?.probabilities()?;
        let scores_n = probs_nc.rows().map(least_confidence).collect();
        Ok(Selection::highest(request, scores_n))
    }
}

/// 1 minus the highest probability.
fn least_confidence(probs_c: &[f32]) -> f32 {
    1.0 - probs_c.iter().copied().fold(0.0, f32::max)
}

export_plugin! {
    name: "least-confidence",
    publisher: "coldstart",
    roles: [Query],
    strategy: LeastConfidence,
    criterion: UNCERTAINTY,
    needs: [PREDICT_1],
    cite: "Lewis and Gale 1994, A Sequential Algorithm for Training Text Classifiers",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    #[test]
    fn score_equals_the_closed_form() {
        for (probs, expected) in [(&[0.5, 0.3, 0.15, 0.05][..], 0.5), (&[1.0, 0.0], 0.0), (&[1.0], 0.0)] {
            assert_eq!(least_confidence(probs), expected, "{probs:?}");
        }
    }

    #[test]
    fn the_least_confident_come_first_and_ties_go_to_the_lowest_id() {
        let host = TestHost::new(5).labelled(&[1]).probabilities(&[
            [0.9, 0.1],
            [0.5, 0.5],
            [0.6, 0.4],
            [0.4, 0.6],
            [1.0, 0.0],
        ]);
        assert_eq!(host.select::<LeastConfidence>("{}", 3).unwrap().ids, [2, 3, 0]);
    }
}
