//! How sure an order of arms is: the paired bootstrap over seeds.

use coldstart_plugin_api::Rng;

use super::ROUNDING;

/// The places of `means`, the highest first; the earlier one first where two are the same.
pub(in crate::report) fn order(means: &[f64]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..means.len()).collect();
    // A stable sort by what is left after rounding: sums of the same numbers in another order are the same.
    places.sort_by_key(|place| std::cmp::Reverse((means[*place] / ROUNDING).round() as i64));
    places
}

/// The place of the highest of `means`; none where two share it.
pub(in crate::report) fn winner(means: &[f64]) -> Option<usize> {
    let order = order(means);
    let alone = order.len() == 1 || above(means[*order.first()?], means[*order.get(1)?]);
    alone.then_some(order[0])
}

/// Whether the first is above the second by more than rounding.
pub(in crate::report) fn above(first: f64, second: f64) -> bool {
    first - second > ROUNDING
}

/// Resamples of the same seeds for all that are compared, as counts: how often each seed was drawn.
///
/// Of few seeds they are all that there are, each as often as it can be drawn, so that shares are exact; of more, 20 000 are drawn. Drawing
/// seeds and not runs keeps the arms paired. The generator is the contract's, seeded by the stream's name alone: the same
/// numbers give the same probabilities on every machine.
#[derive(Debug)]
pub(in crate::report) struct Resamples {
    counts: Vec<Vec<f64>>,
    /// How often each of them counts.
    times: Vec<u64>,
}

impl Resamples {
    /// How many are drawn. The standard error of a probability is at most 0.004.
    pub(in crate::report) const N: usize = 20_000;

    /// Of up to so many seeds all resamples are looked at: 46 656 of six.
    pub(in crate::report) const ALL: usize = 6;

    /// The resamples of `seeds` seeds, of which there must be at least one.
    pub(in crate::report) fn draw(seeds: usize, stream: &str) -> Self {
        if seeds <= Self::ALL { Self::all(seeds) } else { Self::drawn(seeds, stream) }
    }

    /// All resamples, those with the same counts once: n! / (c1! c2! ...) draws in a row give the counts c1, c2, ...
    fn all(seeds: usize) -> Self {
        let factorial = |n: usize| (1..=n as u64).product::<u64>();
        let times = |counts: &[usize]| factorial(seeds) / counts.iter().map(|count| factorial(*count)).product::<u64>();
        let counts = all_counts(seeds, seeds);
        Resamples {
            times: counts.iter().map(|counts| times(counts)).collect(),
            counts: counts.into_iter().map(|counts| counts.into_iter().map(|count| count as f64).collect()).collect(),
        }
    }

    fn drawn(seeds: usize, stream: &str) -> Self {
        let mut rng = Rng::for_stream([0; 32], stream);
        let draw = |_| {
            let mut counts = vec![0.0; seeds];
            for _ in 0..seeds {
                counts[rng.below(seeds as u64) as usize] += 1.0;
            }
            counts
        };
        Resamples { counts: (0..Self::N).map(draw).collect(), times: vec![1; Self::N] }
    }

    /// `values[arm][seed]` to the means of the arms in each resample, over the seeds that an arm has; below everything where it has
    /// none of those drawn.
    pub(in crate::report) fn means(&self, values: &[Vec<Option<f64>>]) -> Vec<Vec<f64>> {
        let mean = |arm: &Vec<Option<f64>>, counts: &Vec<f64>| {
            let there = || arm.iter().zip(counts).filter_map(|(value, count)| Some((value.as_ref()?, count)));
            let n: f64 = there().map(|(_, count)| count).sum();
            let sum: f64 = there().map(|(value, count)| value * count).sum();
            if n == 0.0 { f64::NEG_INFINITY } else { sum / n }
        };
        self.counts.iter().map(|counts| values.iter().map(|arm| mean(arm, counts)).collect()).collect()
    }

    /// The share of resamples for which `holds`, given the number of a resample.
    pub(in crate::report) fn share(&self, holds: impl Fn(usize) -> bool) -> f64 {
        let held: u64 = self.times.iter().enumerate().filter(|(i, _)| holds(*i)).map(|(_, times)| times).sum();
        held as f64 / self.times.iter().sum::<u64>() as f64
    }
}

/// All ways to spread `draws` over `seeds`.
fn all_counts(draws: usize, seeds: usize) -> Vec<Vec<usize>> {
    if seeds == 1 {
        return vec![vec![draws]];
    }
    let with_first = |first: usize| {
        let others = all_counts(draws - first, seeds - 1);
        others.into_iter().map(move |others| [&[first][..], &others].concat())
    };
    (0..=draws).flat_map(with_first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_means() {
        assert_eq!(order(&[0.2, 0.5, 0.2, 0.9]), [3, 1, 0, 2]);
        let winners = [&[0.2, 0.5, 0.1][..], &[0.5, 0.2, 0.5], &[0.3], &[]].map(winner);
        assert_eq!(winners, [Some(1), None, Some(0), None]);
    }

    /// Every one of the 5^5 resamples tried:
    ///
    /// ```python
    /// a, b, c = (numpy.array(v) for v in ([.71, .69, .74, .70, .66], [.68, .70, .69, .71, .65], [.69, .68, .70, .69, .70]))
    /// means = numpy.array([[v[list(i)].mean() for v in (a, b, c)] for i in itertools.product(range(5), repeat=5)])
    /// m, tie = means, 1e-12
    /// (m[:, 0] > m[:, 1:].max(1) + tie).mean(), ((m[:, 0] > m[:, 2] + tie) & (m[:, 2] > m[:, 1] + tie)).mean()
    /// ```
    ///
    /// Tolerance: all of them give the same whole numbers; drawn ones 4 standard errors of a share of 20 000.
    #[test]
    fn shares_are_those_of_all_resamples() {
        let values = [
            vec![0.71, 0.69, 0.74, 0.70, 0.66],
            vec![0.68, 0.70, 0.69, 0.71, 0.65],
            vec![0.69, 0.68, 0.70, 0.69, 0.70],
        ];
        let values = values.map(|arm| arm.into_iter().map(Some).collect::<Vec<_>>());
        for (resamples, tolerance) in [(Resamples::draw(5, "test"), 1e-12), (Resamples::drawn(5, "test"), 0.0142)] {
            let means = resamples.means(&values);
            let first = resamples.share(|i| winner(&means[i]) == Some(0));
            let whole = resamples.share(|i| above(means[i][0], means[i][2]) && above(means[i][2], means[i][1]));
            for (got, expected) in [(first, 0.707_84), (whole, 0.375_04)] {
                assert!((got - expected).abs() < tolerance, "{got} {expected}");
            }
        }
        assert_eq!(Resamples::drawn(5, "test").means(&values), Resamples::drawn(5, "test").means(&values));
    }

    /// Of n seeds there are n^n resamples, and (2n - 1 choose n) kinds of them.
    #[test]
    fn few_seeds_have_all_their_resamples() {
        for (seeds, kinds) in [(1, 1), (2, 3), (3, 10), (5, 126), (6, 462)] {
            let all = Resamples::draw(seeds, "test");
            let n = all.times.iter().sum::<u64>();
            assert_eq!((all.counts.len(), n), (kinds, (seeds as u64).pow(seeds as u32)));
            assert!(all.counts.iter().all(|counts| counts.iter().sum::<f64>() == seeds as f64));
        }
        assert_eq!(Resamples::draw(7, "test").counts.len(), Resamples::N);
    }

    /// An arm without one of two seeds: its mean is that of the other, where this was drawn at all.
    #[test]
    fn a_missing_value_weighs_nothing() {
        let resamples = Resamples::draw(2, "missing");
        let means = resamples.means(&[vec![Some(0.5), None], vec![Some(0.1), Some(0.3)]]);
        for means in means {
            let expected = if means[1] == 0.3 { f64::NEG_INFINITY } else { 0.5 };
            assert_eq!(means[0], expected, "{means:?}");
        }
    }

    #[test]
    fn one_seed_is_drawn_again_and_again() {
        let resamples = Resamples::draw(1, "one");
        assert_eq!(resamples.means(&[vec![Some(0.25)], vec![None]])[0], [0.25, f64::NEG_INFINITY]);
        assert_eq!(resamples.share(|_| true), 1.0);
    }
}
