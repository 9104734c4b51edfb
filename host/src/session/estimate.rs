//! How good a model is, told from the very labels that it learns from, and what more labels would bring.
//!
//! The labelled images are dealt into folds. Each fold is held out once: a model of the others says what its images are, and so does
//! one of half of the others. From the first come the accuracy and its interval (Wilson's, with as many trials as there are images);
//! from the difference of the two comes what a doubling of the labels brings. Accuracy grows about linearly in the logarithm of the
//! number of labels while there are few, so that `m` labels beside `n` bring `log2(1 + m / n)` of it.
//!
//! Differences of folds are no independent draws, as their models share images: their variance is multiplied as Nadeau and Bengio say
//! (Inference for the generalization error, Machine Learning 52, 2003, section 3.3), with the share of held-out to learnt images.
//!
//! An image that a strategy has chosen is not like the others: typical ones make a model look better than it is, doubtful ones worse.
//! Where enough of the labelled images were drawn by chance, the accuracy is that on those, and so that on all images; else it is that
//! on images like the labelled ones.

use coldstart_plugin_api::Rng;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Folds of a cross-validation.
pub const FOLDS: usize = 5;
/// How often images are dealt anew where a training takes no time.
pub const REPEATS: usize = 4;
/// With fewer labels nothing is estimated: an interval would be wider than half of what is possible.
pub const FEWEST: usize = 10;
/// What is not in an interval of this probability is told apart.
const CONFIDENCE: f64 = 0.95;
/// The normal quantile of that.
const Z: f64 = 1.959_963_984_540_054;

/// One fold: places in the list of labelled images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fold {
    /// Those that are held out.
    pub held: Vec<usize>,
    /// The others.
    pub learnt: Vec<usize>,
    /// Half of the others.
    pub half: Vec<usize>,
}

/// What the models of a fold said of the images that were held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// How many there are.
    pub n: usize,
    /// How many were told right by a model of the others.
    pub right: usize,
    /// How many by a model of half of the others.
    pub right_of_half: usize,
    /// How many of the images were drawn by chance.
    pub drawn: usize,
    /// How many of those were told right by a model of the others.
    pub drawn_right: usize,
}

/// A number with the interval of 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The number.
    pub value: f64,
    /// Where its interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

/// How good a model is, and what more labels would bring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The format of `estimate.json`; 1.
    pub format: u32,
    /// Labelled images.
    pub labels: usize,
    /// How many folds they were dealt into.
    pub folds: usize,
    /// How often.
    pub repeats: usize,
    /// How many labelled images were drawn by chance, if the accuracy is told from those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn: Option<usize>,
    /// Share of images whose class is told right: of all images if some were drawn by chance, else of images like the labelled ones.
    pub accuracy: Interval,
    /// Share of the labelled images that are of the most frequent class.
    pub most_frequent: f64,
    /// How many more labels `gain` is about.
    pub more: usize,
    /// By how much the accuracy is expected to change with them.
    pub gain: Interval,
}

/// Deals images into folds, with about the same share of each class in all folds, and in the half of those that are learnt from.
///
/// `labels` are classes, one for each image. There are as many folds as images, if these are fewer than [`FOLDS`].
pub fn deal(labels: &[u32], rng: &mut Rng) -> Vec<Fold> {
    let n_folds = FOLDS.min(labels.len());
    let places: Vec<usize> = (0..labels.len()).collect();
    let fold_of = dealt(&places, labels, n_folds, rng);
    let fold = |fold: usize| {
        let (held, learnt): (Vec<usize>, Vec<usize>) = places.iter().partition(|place| fold_of[**place] == fold);
        Fold { held, learnt, half: Vec::new() }
    };
    let mut folds: Vec<Fold> = (0..n_folds).map(fold).collect();
    for fold in &mut folds {
        let half_of = dealt(&fold.learnt, labels, 2, rng);
        fold.half = fold.learnt.iter().zip(half_of).filter(|(_, half)| *half == 0).map(|(place, _)| *place).collect();
    }
    folds
}

/// A number below `n_hands` for each of these places: classes one after the other, each in an order of its own.
fn dealt(places: &[usize], labels: &[u32], n_hands: usize, rng: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    rng.shuffle(&mut order);
    order.sort_by_key(|i| labels[places[*i]]);
    let mut hand_of = vec![0; places.len()];
    order.into_iter().enumerate().for_each(|(turn, i)| hand_of[i] = turn % n_hands);
    hand_of
}

/// The estimate from what was told, each repeat with all of its folds; `more` labels are to come. None of fewer than two folds.
pub fn estimate(told: &[Vec<Told>], labels: &[u32], more: usize) -> Option<Estimate> {
    let folds: Vec<Told> = told.iter().flatten().copied().collect();
    if folds.len() < 2 || labels.is_empty() {
        return None;
    }
    let sum = |count: fn(&Told) -> usize| folds.iter().map(count).sum::<usize>();
    let n_drawn = sum(|fold| fold.drawn) / told.len();
    let drawn = (n_drawn >= FEWEST).then_some(n_drawn);
    let share = match drawn {
        Some(_) => sum(|fold| fold.drawn_right) as f64 / sum(|fold| fold.drawn) as f64,
        None => sum(|fold| fold.right) as f64 / sum(|fold| fold.n) as f64,
    };
    let doubling = of_doubling(&folds);
    let part = (1.0 + more as f64 / labels.len() as f64).log2();
    Some(Estimate {
        format: 1,
        labels: labels.len(),
        folds: told[0].len(),
        repeats: told.len(),
        drawn,
        accuracy: wilson(share, drawn.unwrap_or(labels.len())),
        most_frequent: most_frequent(labels),
        more,
        gain: Interval { value: part * doubling.value, low: part * doubling.low, high: part * doubling.high },
    })
}

/// What twice as many labels bring, from models of all and of half of the images that were learnt from.
fn of_doubling(folds: &[Told]) -> Interval {
    let difference = |fold: &Told| (fold.right as f64 - fold.right_of_half as f64) / fold.n.max(1) as f64;
    let differences: Vec<f64> = folds.iter().map(difference).collect();
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|each| (each - mean).powi(2)).sum::<f64>() / (n - 1.0);
    // Held out is a fold; learnt from is half of the others.
    let shared = 1.0 / ((FOLDS - 1) as f64 / 2.0);
    let deviation = (variance * (1.0 / n + shared)).sqrt();
    let half_width = quantile(n - 1.0) * deviation;
    Interval { value: mean, low: mean - half_width, high: mean + half_width }
}

/// Student's quantile of the interval.
fn quantile(freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(Z, |t| t.inverse_cdf(0.5 + CONFIDENCE / 2.0))
}

/// Wilson's interval of a share that was seen in `n` trials (Wilson 1927).
fn wilson(share: f64, n: usize) -> Interval {
    let n = n as f64;
    let z2 = Z * Z;
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half_width = Z * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    Interval { value: share, low: (centre - half_width).max(0.0), high: (centre + half_width).min(1.0) }
}

fn most_frequent(labels: &[u32]) -> f64 {
    let count = |class: &u32| labels.iter().filter(|label| *label == class).count();
    labels.iter().map(count).max().unwrap_or(0) as f64 / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::Rng;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_image_is_held_out_once_and_never_learnt_from_then(
            labels in prop::collection::vec(0u32..4, 2..60),
            seed in any::<u8>(),
        ) {
            let folds = deal(&labels, &mut Rng::from_seed([seed; 32]));
            let mut held: Vec<usize> = folds.iter().flat_map(|fold| fold.held.clone()).collect();
            held.sort_unstable();
            prop_assert_eq!(held, (0..labels.len()).collect::<Vec<_>>());
            for fold in &folds {
                prop_assert_eq!(fold.held.len() + fold.learnt.len(), labels.len());
                prop_assert!(fold.learnt.iter().all(|place| !fold.held.contains(place)));
                prop_assert!(fold.half.iter().all(|place| fold.learnt.contains(place)));
                prop_assert_eq!(fold.half.len(), fold.learnt.len().div_ceil(2));
                for class in 0..4 {
                    let of_class = |places: &[usize]| places.iter().filter(|place| labels[**place] == class).count();
                    let all = of_class(&(0..labels.len()).collect::<Vec<_>>());
                    let fair = all / folds.len();
                    prop_assert!((fair..=fair + 1).contains(&of_class(&fold.held)));
                }
            }
        }
    }

    /// `statsmodels.stats.proportion.proportion_confint(right, n, method="wilson")`.
    #[test]
    fn intervals_are_those_of_wilson() {
        for (right, n, low, high) in
            [(8, 10, 0.490_162_47, 0.943_317_82), (0, 20, 0.0, 0.161_125_17), (45, 60, 0.627_679_30, 0.842_234_77)]
        {
            let found = wilson(f64::from(right) / n as f64, n);
            // As many digits as are given.
            assert!((found.low - low).abs() < 1e-7 && (found.high - high).abs() < 1e-7, "{right} of {n}: {found:?}");
        }
    }

    #[test]
    fn what_more_labels_bring_is_the_part_of_a_doubling() {
        let fold = |right, right_of_half| Told { n: 10, right, right_of_half, drawn: 1, drawn_right: 1 };
        let told = [vec![fold(7, 6), fold(8, 7), fold(6, 5), fold(9, 8), fold(5, 4)]];
        let labels: Vec<u32> = (0..50).map(|i| u32::from(i < 20)).collect();
        let found = estimate(&told, &labels, 50).unwrap();
        assert_eq!((found.labels, found.folds, found.repeats, found.most_frequent), (50, 5, 1, 0.6));
        // The differences are all 0.1, but for rounding.
        for (end, expected) in [(found.gain.value, 0.1), (found.gain.low, 0.1), (found.gain.high, 0.1)] {
            assert!((end - expected).abs() < 1e-9, "{found:?}");
        }
        let half = estimate(&told, &labels, 25).unwrap();
        assert!((half.gain.value - 0.1 * 1.5_f64.log2()).abs() < 1e-9, "{half:?}");
        assert!((found.accuracy.value - 0.7).abs() < 1e-9, "{found:?}");
        let uneven = [vec![fold(7, 6), fold(8, 8), fold(6, 4), fold(9, 9), fold(5, 3)]];
        let found = estimate(&uneven, &labels, 50).unwrap();
        // mean 0.1, deviation 0.1: 2.776445 * 0.1 * sqrt(1/5 + 1/2).
        assert!((found.gain.high - 0.1 - 0.232_294_6).abs() < 1e-5, "{found:?}");
        assert_eq!(estimate(&[vec![fold(7, 6)]], &labels, 50), None);
    }

    #[test]
    fn images_that_were_drawn_tell_the_accuracy_once_there_are_enough() {
        let fold = |drawn, drawn_right| Told { n: 10, right: 9, right_of_half: 8, drawn, drawn_right };
        let labels = [0; 50];
        let few = [vec![fold(2, 1), fold(2, 1), fold(2, 1), fold(2, 1), fold(1, 1)]];
        let found = estimate(&few, &labels, 50).unwrap();
        assert_eq!((found.drawn, found.accuracy.value), (None, 0.9));
        let enough = [vec![fold(2, 1), fold(2, 1), fold(2, 1), fold(2, 1), fold(2, 1)]];
        let found = estimate(&enough, &labels, 50).unwrap();
        assert_eq!((found.drawn, found.accuracy.value), (Some(10), 0.5));
        assert!(found.accuracy.high - found.accuracy.low > 0.4, "{found:?}");
    }
}
