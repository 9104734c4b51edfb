//! How far a model can be trusted with its own uncertainty.

/// Competence at this coverage, between 0 and 1, to three decimals.
pub fn rounded(coverage: f64, turning: f64, steepness: f64) -> f64 {
    ((1000.0 * competence(coverage, turning, steepness)).round() / 1000.0).clamp(0.0, 1.0)
}

/// A logistic curve that turns at `turning` and reaches 1 at full coverage.
fn competence(coverage: f64, turning: f64, steepness: f64) -> f64 {
    let falling = |coverage: f64| 1.0 + (-steepness * (coverage - turning)).exp();
    falling(1.0) / falling(coverage)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out apart, to five decimals.
    #[test]
    fn competence_equals_the_closed_form() {
        for (coverage, expected) in
            [(0.70, 0.00669), (0.76, 0.11921), (0.80, 0.50002), (0.84, 0.88084), (0.90, 0.99335), (1.0, 1.0)]
        {
            assert!((competence(coverage, 0.8, 50.0) - expected).abs() < 5e-6, "{coverage}");
        }
        assert_eq!([0.0, 0.7, 0.76, 1.0].map(|coverage| rounded(coverage, 0.8, 50.0)), [0.0, 0.007, 0.119, 1.0]);
        assert_eq!((rounded(0.0, 1.0, 1000.0), rounded(0.3, 0.5, 0.0)), (0.0, 1.0));
    }
}
