//! The pairwise penalty matrix of BADGE (Ash et al. 2020, section 4.2 and their `scripts/agg_results.py`).

use super::LEVEL;
use super::paired::paired;

/// The numbers of labels at which arms are compared: `first`, then `first` + 2^k `batch` for k = 0, 1, ... up to `last`.
///
/// BADGE starts at 100. `batch` must be above 0.
pub(in crate::report) fn checkpoints(first: f64, batch: f64, last: f64) -> Vec<f64> {
    let later = (0..63).map(|k| first + (1u64 << k) as f64 * batch).take_while(|labels| *labels <= last);
    [first].into_iter().filter(|first| *first <= last).chain(later).collect()
}

/// `values[checkpoint][arm][seed]` to the matrix `[winner][loser]`: the share of checkpoints at which the winner is above the
/// loser with p < .05, paired by seed and not corrected, as in the paper.
///
/// Departure: all seeds that both arms have count, where BADGE's script takes the first five.
pub(in crate::report) fn penalties(values: &[Vec<Vec<Option<f64>>>]) -> Vec<Vec<f64>> {
    let arms = values.first().map_or(0, Vec::len);
    let wins = |winner: usize, loser: usize| {
        let beaten = |arms: &&Vec<Vec<Option<f64>>>| {
            let pairs: Vec<_> = arms[winner].iter().zip(&arms[loser]).filter_map(|(a, b)| a.zip(*b)).collect();
            paired(&pairs).is_some_and(|test| test.difference > 0.0 && test.p < LEVEL)
        };
        values.iter().filter(beaten).count() as f64 / values.len() as f64
    };
    (0..arms).map(|winner| (0..arms).map(|loser| wins(winner, loser)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_double_their_distance() {
        assert_eq!(checkpoints(100.0, 50.0, 520.0), [100.0, 150.0, 200.0, 300.0, 500.0]);
        assert_eq!(checkpoints(100.0, 50.0, 149.0), [100.0]);
        assert!(checkpoints(100.0, 50.0, 99.0).is_empty());
    }

    /// Three arms, two checkpoints, five seeds. Made with SciPy 1.17, for every checkpoint and pair of arms:
    /// `t, p = scipy.stats.ttest_1samp(a - b, 0)` and `if a.mean() > b.mean() and p < .05: m[a, b] += 1 / 2`.
    #[test]
    fn the_matrix_is_that_of_the_rule_in_numpy() {
        let wobble = |mean: f64, phase: usize| -> Vec<Option<f64>> {
            let steps = [0.0, 0.02, -0.01, 0.015, -0.02];
            (0..5).map(|seed| Some(mean + steps[(seed + phase) % 5])).collect()
        };
        let values = [
            vec![wobble(0.5, 0), wobble(0.5, 1), wobble(0.55, 2)],
            vec![wobble(0.64, 0), wobble(0.6, 1), wobble(0.66, 2)],
        ];
        let expected = [[0.0, 0.5, 0.0], [0.0, 0.0, 0.0], [0.5, 1.0, 0.0]];
        assert_eq!(penalties(&values), expected);
    }

    #[test]
    fn seeds_that_one_arm_lacks_do_not_count() {
        let values = [vec![vec![Some(0.9), Some(0.8), None], vec![Some(0.5), None, Some(0.4)]]];
        assert_eq!(penalties(&values), [[0.0, 0.0], [0.0, 0.0]]);
        assert!(penalties(&[]).is_empty());
    }
}
