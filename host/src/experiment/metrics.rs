//! Measures of a round, from the model's probabilities on the test part and the classes of the labelled images.

use serde::{Deserialize, Serialize};

/// Bins of the expected calibration error (Guo et al. 2017, section 3).
const CALIBRATION_BINS: usize = 15;
/// No probability counts as less than this in the log likelihood, so that one certain mistake is not infinite.
const LEAST_PROBABILITY: f64 = 1e-12;

/// What `metrics.json` of a round holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The round.
    pub round: u32,
    /// Labelled images of the pool after this round's selection.
    pub labels: usize,
    /// Labelled images held out for validation: they were paid for too.
    pub labels_validation: usize,
    /// What the test part says.
    #[serde(flatten)]
    pub test: TestMetrics,
    /// Labelled pool images of each class.
    pub class_counts: Vec<usize>,
    /// Classes with at least one labelled image.
    pub classes_seen: usize,
    /// The same as a share of all classes.
    pub class_coverage: f64,
    /// Mean loss of the last training epoch.
    pub train_loss: f64,
    /// Accuracy on the labelled images in the last training epoch.
    pub train_accuracy: f64,
}

impl Metrics {
    /// The lowest recall of any class.
    pub fn min_class_recall(&self) -> f64 {
        self.test.recall.iter().flatten().copied().fold(1.0, f64::min)
    }
}

/// The part of [`Metrics`] that the test part decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestMetrics {
    /// Share of test images whose most probable class is the right one.
    pub accuracy: f64,
    /// Mean recall over the classes that the test part has.
    pub balanced_accuracy: f64,
    /// Area under the ROC curve of each class against the rest, mean over the classes for which it is defined.
    pub macro_auc: f64,
    /// Mean negative log likelihood of the right class in nats.
    pub nll: f64,
    /// Expected calibration error, 15 equal bins of confidence.
    pub ece: f64,
    /// Recall of each class; none for a class without test images.
    pub recall: Vec<Option<f64>>,
}

/// Measure probabilities (`probs_nc`: a row of `n_classes` for each label) against the labels.
///
/// An empty test part gives zeros. Ties for the most probable class go to the lowest one.
pub fn metrics(probs_nc: &[f32], labels: &[u32], n_classes: usize) -> TestMetrics {
    let rows: Vec<&[f32]> = probs_nc.chunks_exact(n_classes.max(1)).collect();
    let predicted: Vec<usize> = rows.iter().map(|row| most_probable(row)).collect();
    let correct: Vec<bool> = predicted.iter().zip(labels).map(|(guess, label)| *guess == *label as usize).collect();
    let recall = recall(&correct, labels, n_classes);
    let log_likelihood =
        rows.iter().zip(labels).map(|(row, label)| f64::from(row[*label as usize]).max(LEAST_PROBABILITY).ln());
    TestMetrics {
        accuracy: mean(correct.iter().map(|hit| f64::from(u8::from(*hit)))),
        balanced_accuracy: mean(recall.iter().flatten().copied()),
        macro_auc: mean((0..n_classes).filter_map(|class| one_vs_rest_auc(&rows, labels, class))),
        nll: -mean(log_likelihood),
        ece: calibration_error(&rows, &predicted, &correct),
        recall,
    }
}

/// The place of the largest number, the first of equal ones; 0 of none.
pub fn most_probable(row: &[f32]) -> usize {
    (0..row.len()).rev().max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

fn recall(correct: &[bool], labels: &[u32], n_classes: usize) -> Vec<Option<f64>> {
    let mut hits = vec![0u32; n_classes];
    let mut totals = vec![0u32; n_classes];
    for (hit, label) in correct.iter().zip(labels) {
        hits[*label as usize] += u32::from(*hit);
        totals[*label as usize] += 1;
    }
    let share = |(hits, total): (u32, u32)| (total > 0).then(|| f64::from(hits) / f64::from(total));
    hits.into_iter().zip(totals).map(share).collect()
}

/// The probability that a member's score is above a non-member's, ties counting one half: the rank-sum form of the
/// area. None without members or without non-members.
fn one_vs_rest_auc(rows: &[&[f32]], labels: &[u32], class: usize) -> Option<f64> {
    let mut scored: Vec<(f32, bool)> =
        rows.iter().zip(labels).map(|(row, label)| (row[class], *label as usize == class)).collect();
    scored.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let n_members = scored.iter().filter(|(_, member)| *member).count() as f64;
    let n_others = scored.len() as f64 - n_members;
    if n_members == 0.0 || n_others == 0.0 {
        return None;
    }
    let mut members_rank_sum = 0.0;
    let mut below = 0.0;
    for tied in scored.chunk_by(|a, b| a.0 == b.0) {
        let mean_rank = below + (tied.len() as f64 + 1.0) / 2.0;
        members_rank_sum += mean_rank * tied.iter().filter(|(_, member)| *member).count() as f64;
        below += tied.len() as f64;
    }
    Some((members_rank_sum - n_members * (n_members + 1.0) / 2.0) / (n_members * n_others))
}

fn calibration_error(rows: &[&[f32]], predicted: &[usize], correct: &[bool]) -> f64 {
    let mut bins = [(0.0, 0.0); CALIBRATION_BINS];
    for ((row, guess), hit) in rows.iter().zip(predicted).zip(correct) {
        let confidence = f64::from(row[*guess]);
        let bin = ((confidence * CALIBRATION_BINS as f64).ceil() as usize).clamp(1, CALIBRATION_BINS) - 1;
        bins[bin].0 += confidence;
        bins[bin].1 += f64::from(u8::from(*hit));
    }
    let gaps: f64 = bins.iter().map(|(confidence, hits)| (confidence - hits).abs()).sum();
    if rows.is_empty() { 0.0 } else { gaps / rows.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LABELS: [u32; 6] = [0, 0, 1, 1, 2, 2];
    const PROBS: [f32; 18] = [
        0.8, 0.1, 0.1, //
        0.4, 0.5, 0.1, //
        0.2, 0.7, 0.1, //
        0.3, 0.4, 0.3, //
        0.1, 0.2, 0.7, //
        0.6, 0.2, 0.2, //
    ];

    /// The area: mean over classes of the share of (member, other) pairs in the right order, counted in Python; the
    /// likelihood: `-sum(math.log(p[l]) for p, l in zip(P, L)) / 6`; the calibration error by hand: the confidences
    /// .8 .5 .7 .4 .7 .6 lie in five bins, the two .7 in one: (.2 + .5 + .6 + .6 + .6) / 6. Inputs are f32: 1e-6.
    #[test]
    fn measures_equal_the_reference() {
        let got = metrics(&PROBS, &LABELS, 3);
        for (got, expected) in [
            (got.accuracy, 4.0 / 6.0),
            (got.balanced_accuracy, 4.0 / 6.0),
            (got.macro_auc, AUC),
            (got.nll, NLL),
            (got.ece, 2.5 / 6.0),
        ] {
            assert!((got - expected).abs() < 1e-6, "{got} {expected}");
        }
        assert_eq!(got.recall, [Some(0.5), Some(1.0), Some(0.5)]);
    }
    const AUC: f64 = 0.875;
    const NLL: f64 = 0.729_752_135_895_680_9;

    #[test]
    fn a_class_without_test_images_is_left_out() {
        let got = metrics(&[0.6, 0.3, 0.1, 0.2, 0.7, 0.1], &[0, 1], 3);
        assert_eq!(got.recall, [Some(1.0), Some(1.0), None]);
        assert_eq!((got.balanced_accuracy, got.macro_auc), (1.0, 1.0));
    }

    #[test]
    fn nothing_to_measure_is_zero_and_certain_mistakes_are_finite() {
        assert_eq!(metrics(&[], &[], 3).accuracy, 0.0);
        assert!(metrics(&[1.0, 0.0], &[1], 2).nll.is_finite());
    }

    proptest! {
        /// Against the definition: the share of pairs (member, other) in the right order, ties one half. Both are
        /// sums of at most 30 x 30 halves, exact in f64, divided once.
        #[test]
        fn auc_equals_the_pair_count(scored in prop::collection::vec((0u8..5, prop::bool::ANY), 1..30)) {
            let probs: Vec<f32> = scored.iter().flat_map(|(p, _)| [f32::from(*p), 0.0]).collect();
            let rows: Vec<&[f32]> = probs.chunks(2).collect();
            let labels: Vec<u32> = scored.iter().map(|(_, member)| u32::from(!member)).collect();
            let of = |wanted: bool| scored.iter().filter(move |(_, member)| *member == wanted).map(|(p, _)| *p);
            let pairs = of(true).flat_map(|m| of(false).map(move |o| match m.cmp(&o) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            }));
            let (sum, count) = pairs.fold((0.0, 0), |(sum, count), pair: f64| (sum + pair, count + 1));
            let expected = (count > 0).then(|| sum / f64::from(count));
            match (one_vs_rest_auc(&rows, &labels, 0), expected) {
                (Some(got), Some(expected)) => prop_assert!((got - expected).abs() < 1e-12),
                (got, expected) => prop_assert_eq!(got, expected),
            }
        }
    }
}
