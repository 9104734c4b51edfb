//! `margin`: the images whose two most probable classes are closest.

use coldstart_plugin_api::prelude::*;

struct Margin;

impl Strategy for Margin {
    type Params = NoParams;

    fn new(_: NoParams, _: &Host<'_>) -> Result<Self> {
        Ok(Margin)
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let probs_nc = host.predict(&request.unlabelled)?.probabilities()?;
        let scores_n = probs_nc.rows().map(margin).collect();
        Ok(Selection::highest(request, scores_n))
    }
}

/// 1 minus the difference of the two highest probabilities, so that larger is more wanted; with a single class 0.
fn margin(probs_c: &[f32]) -> f32 {
    let (mut first, mut second) = (0.0f32, 0.0f32);
    for p in probs_c {
        if *p > first {
            (first, second) = (*p, first);
        } else {
            second = second.max(*p);
        }
    }
    1.0 - (first - second)
}

export_plugin! {
    name: "margin",
    publisher: "coldstart",
    roles: [Query],
    strategy: Margin,
    criterion: MARGIN,
    needs: [PREDICT_1],
    cite: "Scheffer, Decomain and Wrobel 2001, Active Hidden Markov Models for Information Extraction",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    /// Closed forms; one f32 subtraction rounds by less than 1e-7.
    #[test]
    fn score_equals_the_closed_form() {
        for (probs, expected) in [
            (&[0.5, 0.3, 0.15, 0.05][..], 0.8),
            (&[0.05, 0.5, 0.15, 0.3], 0.8),
            (&[0.4, 0.4, 0.2], 1.0),
            (&[1.0, 0.0], 0.0),
            (&[1.0], 0.0),
        ] {
            assert!((margin(probs) - expected).abs() < 1e-7, "{probs:?}");
        }
    }

    #[test]
    fn the_closest_come_first_and_ties_go_to_the_lowest_id() {
        let host =
            TestHost::new(4).probabilities(&[[0.7, 0.2, 0.1], [0.45, 0.44, 0.11], [0.34, 0.33, 0.33], [0.7, 0.1, 0.2]]);
        let ids = host.select::<Margin>("{}", 4).unwrap().ids;
        assert_eq!(&ids[2..], [0, 3]);
        assert_eq!(ids[..2].iter().sum::<u64>(), 3);
    }
}
