//! The exponential and the logarithm in a few operations without branches, so that a loop over them fills whole vectors.

use std::f32::consts::{LN_2, LOG2_E, SQRT_2};

/// 1.5 times 2^23: adding it leaves the nearest integer in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;
/// The first bits of ln 2, so that small integers times it are exact, and what is left of it.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// e to the power of `x`, within 3e-7 of its value for -87 <= x <= 88; 0 below, and above as if x were 88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let inside = x.clamp(-87.0, 88.0);
    let shifted = inside.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let rest = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, inside));
    // Taylor's series: |rest| <= ln 2 / 2, where its eighth term is 5e-9.
    let mut power = 1.0 / 5040.0f32;
    for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        power = power.mul_add(rest, factor);
    }
    let two_to_n = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if x < -87.0 { 0.0 } else { power * two_to_n }
}

/// The natural logarithm of a normal positive number, within 3e-7 of its value.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // x = 2^n m with m between the root of a half and the root of 2.
    let n = (x.to_bits().wrapping_sub((SQRT_2 / 2.0).to_bits()) as i32) >> 23;
    let m = f32::from_bits(x.to_bits().wrapping_sub((n as u32) << 23));
    // ln m = 2 artanh s with |s| <= 0.1716, where the series' term of s^11 is 2e-9 of its first.
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut series = 2.0 / 9.0f32;
    for factor in [2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0, 2.0] {
        series = series.mul_add(square, factor);
    }
    (n as f32).mul_add(LN_2, s * series)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some five roundings of 6e-8 each.
    const ROOM: f64 = 3e-7;

    #[test]
    fn the_exponential_is_that_of_double_precision() {
        for i in 0..=1_750_000 {
            let x = -87.0 + i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= ROOM * exact, "{x}");
        }
        assert_eq!([exp(0.0), exp(-0.0), exp(-88.0), exp(f32::NEG_INFINITY)], [1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_logarithm_is_that_of_double_precision() {
        let mut x = f32::MIN_POSITIVE;
        while x < 1e30 {
            let exact = f64::from(x).ln();
            assert!((f64::from(ln(x)) - exact).abs() <= ROOM * exact.abs(), "{x}");
            x *= 1.000_1;
        }
        assert_eq!(ln(1.0), 0.0);
    }
}
