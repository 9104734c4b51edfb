//! How unsure class probabilities are.

use coldstart_plugin_api::Params;

/// A measure of uncertainty.
#[derive(Params, Clone, Copy, Debug, PartialEq)]
pub enum Uncertainty {
    /// 1 minus the difference of the two highest probabilities.
    Margin,
    /// Minus the sum of p log p.
    Entropy,
    /// 1 minus the highest probability.
    LeastConfidence,
}

impl Uncertainty {
    /// Of these probabilities; larger is less sure. Of a single class nothing is unsure: 0.
    pub fn of(self, probs_c: &[f64]) -> f64 {
        let (mut first, mut second) = (0.0f64, 0.0f64);
        for p in probs_c {
            (first, second) = if *p > first { (*p, first) } else { (first, second.max(*p)) };
        }
        let uncertainty = match self {
            Uncertainty::Margin => 1.0 - (first - second),
            Uncertainty::LeastConfidence => 1.0 - first,
            Uncertainty::Entropy => -probs_c.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>(),
        };
        uncertainty.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closed forms; the entropy of the first row is known to seven digits, the others to some roundings of f64.
    #[test]
    fn measures_equal_the_closed_forms() {
        for (probs, margin, entropy, least) in [
            (&[0.5, 0.3, 0.15, 0.05][..], 0.8, 1.14212, 0.5),
            (&[0.05, 0.3, 0.5, 0.15], 0.8, 1.14212, 0.5),
            (&[0.5, 0.5], 1.0, 2f64.ln(), 0.5),
            (&[1.0, 0.0], 0.0, 0.0, 0.0),
            (&[1.0], 0.0, 0.0, 0.0),
        ] {
            let measures = [Uncertainty::Margin, Uncertainty::Entropy, Uncertainty::LeastConfidence];
            for (measure, expected) in measures.into_iter().zip([margin, entropy, least]) {
                assert!((measure.of(probs) - expected).abs() < 1e-7, "{measure:?} of {probs:?}");
            }
        }
    }
}
