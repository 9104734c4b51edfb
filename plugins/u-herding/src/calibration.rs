//! The temperature at which a model is as sure as it is right (Guo, Pleiss, Sun and Weinberger 2017, On Calibration of Modern
//! Neural Networks).

/// Confidences are compared with accuracies in so many bins of the same width.
const BINS: usize = 15;

/// The one of 1.0, 1.1 ... 20.0 with the least expected calibration error on images with these class scores and labels; of
/// several the lowest, and 1 without any image.
pub fn temperature(logits_bc: &[&[f32]], labels: &[u64]) -> f64 {
    let temperatures = (10..=200).map(|tenths| f64::from(tenths) / 10.0);
    let errors = temperatures.map(|temperature| (calibration_error(logits_bc, labels, temperature), temperature));
    errors.fold((f64::INFINITY, 1.0), |best, next| if next.0 < best.0 { next } else { best }).1
}

/// The mean over bins, weighted by their images, of the distance between mean confidence and accuracy.
fn calibration_error(logits_bc: &[&[f32]], labels: &[u64], temperature: f64) -> f64 {
    let mut bins = [0.0; BINS];
    for (logits_c, label) in logits_bc.iter().zip(labels) {
        let probs_c = softmax(logits_c, temperature);
        let most = (0..probs_c.len()).reduce(|most, c| if probs_c[c] > probs_c[most] { c } else { most });
        let Some(most) = most else { continue };
        let confidence = probs_c[most];
        let bin = ((confidence * BINS as f64) as usize).min(BINS - 1);
        bins[bin] += confidence - f64::from(u8::from(most as u64 == *label));
    }
    bins.iter().map(|surplus: &f64| surplus.abs()).sum::<f64>() / logits_bc.len().max(1) as f64
}

/// Class probabilities of these scores divided by a temperature.
pub fn softmax(logits_c: &[f32], temperature: f64) -> Vec<f64> {
    let highest = logits_c.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut probs_c: Vec<f64> = logits_c.iter().map(|l| (f64::from(l - highest) / temperature).exp()).collect();
    let sum: f64 = probs_c.iter().sum();
    probs_c.iter_mut().for_each(|p| *p /= sum);
    probs_c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities in f64: sums of three terms are right to a few 1e-16.
    #[test]
    fn softmax_equals_its_definition() {
        for (logits, temperature, expected) in [
            (&[0.0, 0.0][..], 1.0, &[0.5, 0.5][..]),
            (&[2.0, 0.0], 2.0, &[1.0 / (1.0 + (-1f64).exp()), 1.0 / (1.0 + 1f64.exp())]),
            (&[1e30, 0.0, -1e30], 1.0, &[1.0, 0.0, 0.0]),
            (&[5.0], 3.0, &[1.0]),
            (&[], 1.0, &[]),
        ] {
            let probs = softmax(logits, temperature);
            assert!(probs.iter().zip(expected).all(|(p, e)| (p - e).abs() < 1e-15), "{probs:?}");
            assert_eq!(probs.len(), expected.len());
        }
    }

    /// Two bins by hand: three images at 0.9 of which two are right, one at 0.6 that is wrong: (|2.7 - 2| + |0.6 - 0|) / 4.
    /// Logits are f32, so that the probabilities are right to 1e-7.
    #[test]
    fn the_error_equals_the_closed_form() {
        let scores = |p: f64| [(p / (1.0 - p)).ln() as f32, 0.0];
        let rows = [scores(0.9), scores(0.9), scores(0.9), scores(0.6)];
        let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
        assert!((calibration_error(&rows, &[0, 0, 1, 1], 1.0) - 1.3 / 4.0).abs() < 1e-6);
        assert_eq!(calibration_error(&[], &[], 1.0), 0.0);
    }

    /// Scores of (2, 0) and three of four right: 1 / (1 + exp(-2 / t)) is 3/4 at t = 2 / ln 3 = 1.82. All right: the surest.
    /// Always wrong: the least sure.
    #[test]
    fn the_temperature_makes_a_model_as_sure_as_it_is_right() {
        let rows = [&[2.0, 0.0][..]; 4];
        for (labels, expected) in [([0, 0, 0, 1], 1.8), ([0; 4], 1.0), ([1; 4], 20.0)] {
            assert_eq!(temperature(&rows, &labels), expected, "{labels:?}");
        }
        assert_eq!(temperature(&[], &[]), 1.0);
        assert_eq!(temperature(&[&[0.0, 0.0]], &[0]), 1.0);
    }
}
