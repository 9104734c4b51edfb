//! How sure the model is of its answer, and who is asked first.

use coldstart_plugin_api::prelude::*;

/// What counts as the model's confidence.
#[derive(Params, Clone, Copy)]
pub(crate) enum Confidence {
    /// The highest class probability.
    Softmax,
    /// The highest of the softmax of the logits divided by their Euclidean length: how the classes stand to each other, and
    /// not how far apart they are. Proportional logits tie.
    NormalisedLogits,
}

/// What the model says of an image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub id: u64,
    /// The most probable class; of equal ones the lowest.
    pub class: usize,
    pub confidence: f32,
}

/// The model's answers about images, the least confident first; equal ones by id.
pub(crate) fn least_confident_first(ids: &[u64], confidence: Confidence, host: &Host<'_>) -> Result<Vec<Answer>> {
    let outputs_nc = match confidence {
        Confidence::Softmax => host.predict(ids)?.probabilities()?,
        Confidence::NormalisedLogits => host.predict(ids)?.logits()?,
    };
    let answer = |(id, outputs_c): (&u64, &[f32])| {
        let class = (0..outputs_c.len()).fold(0, |best, c| if outputs_c[c] > outputs_c[best] { c } else { best });
        let confidence = match confidence {
            Confidence::Softmax => outputs_c[class],
            Confidence::NormalisedLogits => confidence_of_direction(outputs_c, outputs_c[class]),
        };
        Answer { id: *id, class, confidence }
    };
    let mut answers: Vec<Answer> = ids.iter().zip(outputs_nc.rows()).map(answer).collect();
    answers.sort_by(|a, b| a.confidence.total_cmp(&b.confidence).then(a.id.cmp(&b.id)));
    Ok(answers)
}

/// The highest of the softmax of `logits_c / |logits_c|`; logits that are all zero stay so.
fn confidence_of_direction(logits_c: &[f32], highest: f32) -> f32 {
    let length = logits_c.iter().map(|logit| f64::from(*logit).powi(2)).sum::<f64>().sqrt().max(1e-12);
    let shares = logits_c.iter().map(|logit| ((f64::from(*logit) - f64::from(highest)) / length).exp());
    (1.0 / shares.sum::<f64>()) as f32
}

/// The first `share` answers of each predicted class, then the overflow: all the others; both in their old order.
pub(crate) fn balanced(answers: Vec<Answer>, share: usize) -> Vec<Answer> {
    let n_classes = answers.iter().map(|answer| answer.class + 1).max().unwrap_or(0);
    let mut seen_c = vec![0; n_classes];
    let (mut within, overflow): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| {
        seen_c[answer.class] += 1;
        seen_c[answer.class] <= share
    });
    within.extend(overflow);
    within
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closed forms: (3, 4) / 5 = (.6, .8) gives 1 / (1 + e^-.2); one of ten classes alone gives e / (e + 9) = .2320;
    /// the highest that ten classes allow is at (3, -1/3, ... -1/3) / sqrt(10), e^(sqrt(10) / 3) / (.. + 9) = .2417 with
    /// the common factor out. f32 rounds them by less than 1e-7.
    #[test]
    fn confidence_of_a_direction_equals_the_closed_form() {
        let mut alone = [0.0; 10];
        alone[3] = 7.0;
        let mut most = [-1.0; 10];
        most[3] = 9.0;
        let e = std::f64::consts::E;
        let lead = (10.0 / 90f64.sqrt()).exp();
        for (logits, expected) in [
            (&[3.0, 4.0][..], 1.0 / (1.0 + (-0.2f64).exp())),
            (&[30.0, 40.0], 1.0 / (1.0 + (-0.2f64).exp())),
            (&alone, e / (e + 9.0)),
            (&most, lead / (lead + 9.0)),
            (&[0.0, 0.0, 0.0, 0.0], 0.25),
        ] {
            let highest = logits.iter().copied().fold(f32::MIN, f32::max);
            let confidence = f64::from(confidence_of_direction(logits, highest));
            assert!((confidence - expected).abs() < 1e-7, "{logits:?}: {confidence}, not {expected}");
        }
    }

    #[test]
    fn every_predicted_class_has_its_share_before_the_overflow() {
        let answers = |classes: &[(u64, usize)]| -> Vec<Answer> {
            classes.iter().map(|&(id, class)| Answer { id, class, confidence: 0.0 }).collect()
        };
        let given = [(5, 0), (1, 0), (2, 0), (7, 2), (3, 0), (8, 1), (4, 2), (6, 2)];
        for (share, expected) in [
            (0, [5, 1, 2, 7, 3, 8, 4, 6]),
            (1, [5, 7, 8, 1, 2, 3, 4, 6]),
            (2, [5, 1, 7, 8, 4, 2, 3, 6]),
            (9, [5, 1, 2, 7, 3, 8, 4, 6]),
        ] {
            let ids: Vec<u64> = balanced(answers(&given), share).into_iter().map(|answer| answer.id).collect();
            assert_eq!(ids, expected, "share {share}");
        }
    }
}
