//! From class probabilities to a number for each image: how uncertain, how divided.

use crate::elementary::ln;
use crate::error::{Result, bad};
use crate::wide::wide;
use rayon::prelude::*;

/// What is measured; larger is more uncertain. Logarithms are natural, and 0 log 0 = 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The entropy of the mean over passes.
    Entropy,
    /// 1 minus the largest probability of the mean over passes.
    LeastConfidence,
    /// 1 minus the gap between the two largest probabilities of the mean; 0 with a single class.
    Margin,
    /// The mean over passes of the entropy.
    ExpectedEntropy,
    /// The entropy of the mean minus the mean entropy, at least 0: what the passes disagree about (Houlsby et al. 2011).
    Bald,
    /// 1 minus the largest probability of the mean, as [`Measure::LeastConfidence`] (the variation ratio of Lüth et al. 2023).
    VariationRatio,
    /// 1 minus the share of passes that vote for the most voted class (Gal et al. 2017); a vote goes to the largest
    /// probability, the lowest class among equals.
    VoteRatio,
}

/// The measure of each image; `probs_npc` holds n x passes x `n_classes` probabilities.
///
/// Errs when sizes do not fit or a probability is NaN or infinite, and names the image. Numbers that are not positive count
/// as 0 in an entropy.
pub fn reduce(probs_npc: &[f32], passes: usize, n_classes: usize, measure: Measure) -> Result<Vec<f32>> {
    let size = passes * n_classes;
    if size == 0 || !probs_npc.len().is_multiple_of(size) {
        return bad(format!("{} numbers do not make {passes} passes of {n_classes} probabilities", probs_npc.len()));
    }
    let measured = |scratch: &mut Scratch, probs_pc: &[f32]| one(probs_pc, scratch, measure);
    let scores: Vec<f32> = probs_npc
        .par_chunks_exact(size)
        .with_min_len(256)
        .map_init(|| Scratch { mean_c: vec![0.0; n_classes], votes_c: vec![0; n_classes] }, measured)
        .collect();
    match scores.iter().position(|score| score.is_nan()) {
        Some(i) => bad(format!("a probability at row {i} is NaN or infinite")),
        None => Ok(scores),
    }
}

/// Room that a thread uses again for each image.
struct Scratch {
    mean_c: Vec<f32>,
    votes_c: Vec<usize>,
}

wide! {
    /// The measure of one image; NaN where a probability is not finite.
    fn one<'a>(probs_pc: &'a [f32], scratch: &'a mut Scratch, measure: Measure) -> f32 {
        let Scratch { mean_c, votes_c } = scratch;
        mean(probs_pc, mean_c);
        if !sum(mean_c, |p| p * 0.0).is_finite() {
            return f32::NAN;
        }
        let passes = (probs_pc.len() / mean_c.len()) as f32;
        match measure {
            Measure::Entropy => entropy(mean_c),
            Measure::LeastConfidence | Measure::VariationRatio => 1.0 - largest_two(mean_c).0,
            Measure::Margin => match largest_two(mean_c) {
                (_, f32::NEG_INFINITY) => 0.0,
                (first, second) => 1.0 - (first - second),
            },
            Measure::ExpectedEntropy => entropy(probs_pc) / passes,
            Measure::Bald => (entropy(mean_c) - entropy(probs_pc) / passes).max(0.0),
            Measure::VoteRatio => 1.0 - most_votes(probs_pc, votes_c) as f32 / passes,
        }
    }
}

#[inline(always)]
fn mean(probs_pc: &[f32], mean_c: &mut [f32]) {
    mean_c.fill(0.0);
    for probs_c in probs_pc.chunks_exact(mean_c.len()) {
        mean_c.iter_mut().zip(probs_c).for_each(|(mean, p)| *mean += p);
    }
    let share = (probs_pc.len() / mean_c.len()) as f32;
    mean_c.iter_mut().for_each(|mean| *mean /= share);
}

/// The sum of -p ln p.
#[inline(always)]
fn entropy(probs: &[f32]) -> f32 {
    // A number below the normal ones would add less than 1e-35.
    -sum(probs, |p| if p < f32::MIN_POSITIVE { 0.0 } else { p * ln(p) })
}

/// The sum of `term` in an order that depends on the length alone.
#[inline(always)]
fn sum(numbers: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (whole, rest) = numbers.as_chunks::<16>();
    for chunk in whole {
        for i in 0..16 {
            lanes[i] += term(chunk[i]);
        }
    }
    let mut padded = [0.0f32; 16];
    padded[..rest.len()].copy_from_slice(rest);
    for i in 0..16 {
        lanes[i] += term(padded[i]);
    }
    lanes.iter().sum()
}

#[inline(always)]
fn largest_two(probs_c: &[f32]) -> (f32, f32) {
    probs_c
        .iter()
        .fold((f32::NEG_INFINITY, f32::NEG_INFINITY), |(first, second), p| (first.max(*p), second.max(first.min(*p))))
}

#[inline(always)]
fn most_votes(probs_pc: &[f32], votes_c: &mut [usize]) -> usize {
    votes_c.fill(0);
    for probs_c in probs_pc.chunks_exact(votes_c.len()) {
        let vote = (1..probs_c.len()).fold(0, |best, class| if probs_c[class] > probs_c[best] { class } else { best });
        votes_c[vote] += 1;
    }
    votes_c.iter().copied().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::on_threads;
    use coldstart_plugin_api::Rng;

    const ALL: [Measure; 7] = [
        Measure::Entropy,
        Measure::LeastConfidence,
        Measure::Margin,
        Measure::ExpectedEntropy,
        Measure::Bald,
        Measure::VariationRatio,
        Measure::VoteRatio,
    ];

    fn slow(probs_pc: &[f32], n_classes: usize, measure: Measure) -> f64 {
        let entropy = |probs: &[f64]| -probs.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>();
        let rows: Vec<Vec<f64>> =
            probs_pc.chunks(n_classes).map(|row| row.iter().map(|p| f64::from(*p)).collect()).collect();
        let passes = rows.len() as f64;
        let mean: Vec<f64> = (0..n_classes).map(|c| rows.iter().map(|row| row[c]).sum::<f64>() / passes).collect();
        let expected = rows.iter().map(|row| entropy(row)).sum::<f64>() / passes;
        let mut sorted = mean.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let vote = |row: &Vec<f64>| row.iter().position(|p| row.iter().all(|q| p >= q)).unwrap();
        let votes = |class| rows.iter().filter(|row| vote(row) == class).count();
        match measure {
            Measure::Entropy => entropy(&mean),
            Measure::LeastConfidence | Measure::VariationRatio => 1.0 - sorted[0],
            Measure::Margin => sorted.get(1).map_or(0.0, |second| 1.0 - (sorted[0] - second)),
            Measure::ExpectedEntropy => expected,
            Measure::Bald => entropy(&mean) - expected,
            Measure::VoteRatio => 1.0 - (0..n_classes).map(votes).max().unwrap() as f64 / passes,
        }
    }

    #[test]
    fn measures_equal_their_definitions_on_any_number_of_threads() {
        for (n, passes, n_classes) in [(1, 1, 1), (7, 1, 10), (5, 3, 2), (600, 20, 10), (33, 5, 37), (3, 2, 1000)] {
            let mut rng = Rng::from_seed([passes as u8; 32]);
            // Eighths tie and are sometimes 0.
            let drawn: Vec<f32> = (0..n * passes * n_classes).map(|_| rng.below(9) as f32 / 8.0).collect();
            let normed = |row: &[f32]| {
                let sum = row.iter().sum::<f32>().max(1.0);
                row.iter().map(|p| p / sum).collect::<Vec<_>>()
            };
            let probs: Vec<f32> = drawn.chunks(n_classes).flat_map(normed).collect();
            for measure in ALL {
                let scores = on_threads(&|| reduce(&probs, passes, n_classes, measure).unwrap());
                for (probs_pc, score) in probs.chunks(passes * n_classes).zip(scores) {
                    // Sums of up to 1000 classes and 20 passes, below 7 in size, in roundings of 6e-8.
                    let exact = slow(probs_pc, n_classes, measure);
                    assert!((f64::from(score) - exact).abs() < 3e-6, "{measure:?}: {score} {exact}");
                }
            }
        }
    }

    #[test]
    fn published_vectors_come_out() {
        let (one, x1, x2) = ([0.5, 0.3, 0.15, 0.05], [0.9, 0.1, 0.6, 0.4, 0.3, 0.7], [0.8, 0.2, 0.5, 0.5, 0.1, 0.9]);
        for (probs, passes, measure, expected) in [
            (&one[..], 1, Measure::Entropy, 1.142_12),
            (&one, 1, Measure::LeastConfidence, 0.5),
            (&one, 1, Measure::Margin, 0.8),
            (&x1, 3, Measure::Entropy, 0.673_011_7),
            (&x1, 3, Measure::ExpectedEntropy, 0.536_319_6),
            (&x1, 3, Measure::Bald, 0.136_692),
            (&x1, 3, Measure::VariationRatio, 0.4),
            (&x1, 3, Measure::VoteRatio, 1.0 / 3.0),
            (&x2, 3, Measure::Entropy, 0.690_923_3),
            (&x2, 3, Measure::Bald, 0.184_712_5),
            (&[0.0, 1.0, 0.0], 1, Measure::Entropy, 0.0),
        ] {
            let scores = reduce(probs, passes, probs.len() / passes, measure).unwrap();
            // A handful of roundings of 6e-8 each.
            assert!((scores[0] - expected).abs() < 5e-7, "{measure:?}: {scores:?}");
        }
    }

    #[test]
    fn what_is_no_probability_is_named() {
        let error = |probs: &[f32]| reduce(probs, 1, 2, Measure::VoteRatio).unwrap_err().to_string();
        assert!(error(&[0.5, 0.5, f32::NAN, 0.5]).contains("row 1"));
        assert!(error(&[f32::INFINITY, 0.5]).contains("row 0"));
        assert!(reduce(&[0.5; 3], 1, 2, Measure::Entropy).is_err() && reduce(&[], 0, 2, Measure::Entropy).is_err());
        assert_eq!(reduce(&[], 1, 2, Measure::Entropy).unwrap(), [0.0f32; 0]);
    }
}
