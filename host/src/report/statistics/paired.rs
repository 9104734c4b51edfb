//! Two arms over the same seeds.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::ROUNDING;
use super::mean::{half_width, mean, standard_error};

/// Up to so many pairs every assignment of signs is tried: 32 768.
const MOST_FLIPPED: usize = 15;

/// What the paired differences of two arms say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::report) struct Paired {
    /// Pairs compared.
    pub(in crate::report) n: usize,
    /// Mean of the first minus the second.
    pub(in crate::report) difference: f64,
    /// Half the width of its 95 % t-interval.
    pub(in crate::report) half_width: f64,
    /// Student's t; infinite where all differences are the same but for 0.
    pub(in crate::report) t: f64,
    /// Two-sided, by Student's t with n - 1 degrees of freedom.
    pub(in crate::report) p: f64,
    /// Two-sided and exact: the share of the 2^n assignments of signs whose mean is as far from 0. None for more than 15
    /// pairs, where the t-test needs no such company.
    pub(in crate::report) p_flips: Option<f64>,
}

/// The paired t-test and the exact sign-flip test of pairs (first, second); none for fewer than two pairs.
///
/// Differences that are all 0, but for rounding, have p = 1, where SciPy has NaN.
pub(in crate::report) fn paired(pairs: &[(f64, f64)]) -> Option<Paired> {
    let difference = |(first, second): &(f64, f64)| Some(first - second).filter(|d| d.abs() > ROUNDING).unwrap_or(0.0);
    let differences: Vec<f64> = pairs.iter().map(difference).collect();
    let half_width = half_width(&differences)?;
    let (n, difference) = (differences.len(), mean(&differences));
    let t = if differences.iter().all(|d| *d == 0.0) { 0.0 } else { difference / standard_error(&differences) };
    let p = two_sided(t, n as f64 - 1.0)?;
    Some(Paired { n, difference, half_width, t, p, p_flips: sign_flips(&differences) })
}

fn two_sided(t: f64, freedom: f64) -> Option<f64> {
    if t.is_infinite() {
        return Some(0.0);
    }
    let student = StudentsT::new(0.0, 1.0, freedom).ok()?;
    Some((2.0 * student.cdf(-t.abs())).min(1.0))
}

fn sign_flips(differences: &[f64]) -> Option<f64> {
    let n = differences.len();
    if n > MOST_FLIPPED {
        return None;
    }
    let sum = |signs: u32| -> f64 {
        let signed = |(i, d): (usize, &f64)| if signs >> i & 1 == 1 { -d } else { *d };
        differences.iter().enumerate().map(signed).sum()
    };
    // Sums of the same numbers in another order differ in their last bits.
    let slack = 1e-12 * differences.iter().map(|d| d.abs()).sum::<f64>();
    let observed = sum(0).abs() - slack;
    let as_far = (0..1u32 << n).filter(|signs| sum(*signs).abs() >= observed).count();
    Some(as_far as f64 / f64::from(1u32 << n))
}

/// Holm's correction (1979): the p-values adjusted for being a family, in the same order.
pub(in crate::report) fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, &place) in order.iter().enumerate() {
        largest = largest.max(p_values[place] * (p_values.len() - rank) as f64).min(1.0);
        adjusted[place] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f64; 6] = [0.71, 0.69, 0.74, 0.70, 0.66, 0.72];
    const B: [f64; 6] = [0.68, 0.70, 0.69, 0.66, 0.65, 0.67];

    fn pairs(n: usize) -> Vec<(f64, f64)> {
        A.into_iter().zip(B).take(n).collect()
    }

    /// Made with SciPy 1.17 from the first n of `A` and `B`: `d.mean()`, `stats.sem(d) * stats.t.ppf(.975, n - 1)`,
    /// `stats.ttest_rel(a, b)` and `stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)`.
    const ROWS: [(usize, [f64; 5]); 4] = [
        (2, [0.01, 0.254_124_094_723, 0.5, 0.704_832_764_699, 1.0]),
        (3, [0.023_333_333_333, 0.075_891_660_672, 1.322_875_655_532, 0.316_869_948_936, 0.5]),
        (5, [0.024, 0.029_903_228_939, 2.228_344_058_125, 0.089_775_870_784, 0.1875]),
        (6, [0.028_333_333_333, 0.025_201_026_637, 2.890_086_703_902, 0.034_183_351_516, 0.093_75]),
    ];

    /// Tolerance: that of statrs' quantile and distribution.
    #[test]
    fn tests_are_those_of_scipy() {
        for (n, expected) in ROWS {
            let got = paired(&pairs(n)).unwrap();
            let numbers = [got.difference, got.half_width, got.t, got.p, got.p_flips.unwrap()];
            for (got, expected) in numbers.iter().zip(expected) {
                assert!((got - expected).abs() < 1e-8, "{n} pairs: {got} {expected}");
            }
        }
    }

    #[test]
    fn pairs_without_spread_have_an_answer() {
        let same = paired(&[(0.5, 0.5), (0.25, 0.25), (0.1 + 0.2, 0.3)]).unwrap();
        assert_eq!((same.t, same.p, same.p_flips), (0.0, 1.0, Some(1.0)));
        let shifted = paired(&[(0.75, 0.5), (0.5, 0.25), (1.0, 0.75)]).unwrap();
        assert_eq!((shifted.t, shifted.p, shifted.p_flips), (f64::INFINITY, 0.0, Some(0.25)));
        assert_eq!(paired(&[(0.75, 0.5)]), None);
        assert_eq!(paired(&[(0.1, 0.2); 16]).unwrap().p_flips, None);
    }

    /// Made with statsmodels 0.15: `multipletests(p_values, method="holm")[1]`. Tolerance: a rounding.
    #[test]
    fn holm_is_that_of_statsmodels() {
        let rows: [(&[f64], &[f64]); 4] = [
            (&[0.01, 0.04, 0.03, 0.005], &[0.03, 0.06, 0.06, 0.02]),
            (&[0.2, 0.9, 0.5], &[0.6, 1.0, 1.0]),
            (&[0.04], &[0.04]),
            (&[0.001, 0.001, 0.02, 0.6], &[0.004, 0.004, 0.04, 0.6]),
        ];
        for (p_values, expected) in rows {
            for (got, expected) in holm(p_values).iter().zip(expected) {
                assert!((got - expected).abs() < 1e-15, "{p_values:?}: {got} {expected}");
            }
        }
        assert!(holm(&[]).is_empty());
    }
}
