//! Means and their intervals.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The arithmetic mean; NaN for no values.
pub(in crate::report) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Half the width of the t-based 95 % interval of the mean; none for fewer than two values.
pub(in crate::report) fn half_width(values: &[f64]) -> Option<f64> {
    let student = StudentsT::new(0.0, 1.0, values.len() as f64 - 1.0).ok()?;
    Some(student.inverse_cdf(0.975) * standard_error(values))
}

/// The standard error of the mean, from the sample's deviation with n - 1.
pub(super) fn standard_error(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = mean(values);
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (variance / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with SciPy 1.17: `scipy.stats.t.interval(.95, n - 1, 0, scipy.stats.sem(values))[1]`. The tolerance is that of
    /// statrs' quantile, which ends its search there.
    #[test]
    fn intervals_are_those_of_scipy() {
        let rows: [(&[f64], Option<f64>); 5] = [
            (&[0.5], None),
            (&[0.4, 0.6], Some(1.270_620_473_617)),
            (&[1.0, 2.0, 3.0], Some(2.484_137_711_750)),
            (&[0.712, 0.698, 0.731, 0.705, 0.69], Some(0.019_383_484_603)),
            (&[0.25; 4], Some(0.0)),
        ];
        for (values, expected) in rows {
            match (half_width(values), expected) {
                (Some(got), Some(expected)) => assert!((got - expected).abs() < 1e-8, "{values:?}: {got} {expected}"),
                (got, expected) => assert_eq!(got, expected, "{values:?}"),
            }
        }
    }
}
