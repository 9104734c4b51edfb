//! Positions in the order of their values.

use crate::error::{Result, bad};
use rayon::prelude::*;

/// From how many values on a sort is worth sharing among threads.
const MANY: usize = 1 << 15;

/// The positions of the `k` largest (or smallest) values, the most extreme first, ties to the lowest position; all of
/// them if there are no more than `k`. Errs when a value is NaN.
pub fn topk(values: &[f32], k: usize, largest: bool) -> Result<Vec<usize>> {
    let mut keys = keys(values, largest)?;
    if k < keys.len() {
        keys.select_nth_unstable(k);
        keys.truncate(k);
    }
    Ok(sorted(keys))
}

/// All positions, the smallest value first (the largest if `descending`), ties to the lowest position in both. Errs when a
/// value is NaN.
pub fn argsort(values: &[f32], descending: bool) -> Result<Vec<usize>> {
    Ok(sorted(keys(values, descending)?))
}

/// A number for each value, all of them different: by value, then by position.
fn keys(values: &[f32], descending: bool) -> Result<Vec<u64>> {
    if values.len() > u32::MAX as usize {
        return bad(format!("{} values are too many to sort", values.len()));
    }
    if let Some(i) = values.iter().position(|value| value.is_nan()) {
        return bad(format!("NaN at position {i} has no place in an order"));
    }
    let key =
        |(i, value): (usize, &f32)| u64::from(if descending { !rank(*value) } else { rank(*value) }) << 32 | i as u64;
    Ok(values.iter().enumerate().map(key).collect())
}

/// An integer that orders numbers as their values do; -0 equals 0.
fn rank(value: f32) -> u32 {
    // Adding 0 turns -0 into 0.
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

fn sorted(mut keys: Vec<u64>) -> Vec<usize> {
    if keys.len() < MANY {
        keys.sort_unstable()
    } else {
        keys.par_sort_unstable()
    }
    keys.into_iter().map(|key| key as u32 as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::Rng;
    use proptest::prelude::*;

    fn slow(values: &[f32], descending: bool) -> Vec<usize> {
        let mut positions: Vec<usize> = (0..values.len()).collect();
        let by_value = |i: &usize, j: &usize| values[*i].partial_cmp(&values[*j]).unwrap();
        positions.sort_by(|i, j| if descending { by_value(j, i) } else { by_value(i, j) });
        positions
    }

    proptest! {
        #[test]
        fn orders_equal_a_stable_sort(
            values in prop::collection::vec(
                prop_oneof![-3.0f32..3.0, (-2i8..3).prop_map(f32::from), Just(-0.0), Just(f32::INFINITY), Just(f32::NEG_INFINITY)],
                0..60,
            ),
            descending: bool,
        ) {
            let expected = slow(&values, descending);
            prop_assert_eq!(&argsort(&values, descending).unwrap(), &expected);
            for k in [0, 1, values.len().saturating_sub(1), values.len(), values.len() + 3] {
                prop_assert_eq!(topk(&values, k, descending).unwrap(), expected[..k.min(values.len())].to_vec());
            }
        }
    }

    #[test]
    fn many_values_are_sorted_the_same_way() {
        let mut rng = Rng::from_seed([1; 32]);
        let values: Vec<f32> = (0..2 * MANY + 7).map(|_| rng.below(1000) as f32 - 500.0).collect();
        assert_eq!(argsort(&values, true).unwrap(), slow(&values, true));
        assert_eq!(topk(&values, MANY + 1, false).unwrap(), slow(&values, false)[..MANY + 1]);
    }

    #[test]
    fn nan_is_refused_with_its_position() {
        assert!(argsort(&[1.0, f32::NAN], true).unwrap_err().to_string().contains("position 1"));
        assert!(topk(&[f32::NAN], 0, true).is_err());
    }
}
