//! Learning curves: measures against labels bought, with means and intervals over seeds.

use super::files::Metrics;
use super::run::Run;
use super::statistics::{half_width, mean};

/// A measure that a learning curve can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    Accuracy,
    BalancedAccuracy,
    MacroAuc,
    Nll,
    Ece,
    ClassCoverage,
}

impl Measure {
    pub(super) const ALL: [Measure; 6] = [
        Measure::Accuracy,
        Measure::BalancedAccuracy,
        Measure::MacroAuc,
        Measure::Nll,
        Measure::Ece,
        Measure::ClassCoverage,
    ];

    /// The key in `metrics.json`.
    pub(super) fn key(self) -> &'static str {
        match self {
            Measure::Accuracy => "accuracy",
            Measure::BalancedAccuracy => "balanced_accuracy",
            Measure::MacroAuc => "macro_auc",
            Measure::Nll => "nll",
            Measure::Ece => "ece",
            Measure::ClassCoverage => "class_coverage",
        }
    }

    /// What people call it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Measure::Accuracy => "Accuracy",
            Measure::BalancedAccuracy => "Balanced accuracy",
            Measure::MacroAuc => "Macro AUC",
            Measure::Nll => "NLL",
            Measure::Ece => "ECE",
            Measure::ClassCoverage => "Class coverage",
        }
    }

    pub(super) fn of(self, metrics: &Metrics) -> Option<f64> {
        let value = match self {
            Measure::Accuracy => metrics.accuracy,
            Measure::BalancedAccuracy => metrics.balanced_accuracy,
            Measure::MacroAuc => metrics.macro_auc,
            Measure::Nll => metrics.nll,
            Measure::Ece => metrics.ece,
            Measure::ClassCoverage => metrics.class_coverage,
        };
        value.filter(|value| value.is_finite())
    }

    /// The largest value it can take.
    fn upper_bound(self) -> f64 {
        if self == Measure::Nll { f64::INFINITY } else { 1.0 }
    }
}

/// One run's value after one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) round: usize,
    pub(super) labels: usize,
    pub(super) value: f64,
}

/// The mean over an arm's runs after one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MeanPoint {
    pub(super) round: usize,
    /// Mean over the runs, as a sizer may give each seed its own number.
    pub(super) labels: f64,
    pub(super) mean: f64,
    /// Half the width of the 95 % interval; absent for a single run.
    pub(super) half_width: Option<f64>,
    /// The interval, cut to the values that the measure can take.
    pub(super) interval: Option<(f64, f64)>,
    /// How many runs got this far.
    pub(super) runs: usize,
}

/// One run's curve; rounds where the measure does not exist are left out.
pub(super) fn points(run: &Run, measure: Measure) -> Vec<Point> {
    let point = |round: &super::Round| {
        let value = measure.of(&round.metrics)?;
        Some(Point { round: round.number, labels: round.metrics.labels_bought(), value })
    };
    run.rounds.iter().filter_map(point).collect()
}

/// An arm's curve, round by round over the runs that got there.
pub(super) fn mean_curve(runs: &[&Run], measure: Measure) -> Vec<MeanPoint> {
    let mut points: Vec<Point> = runs.iter().flat_map(|run| points(run, measure)).collect();
    points.sort_by_key(|point| point.round);
    points.chunk_by(|a, b| a.round == b.round).map(|same_round| mean_point(same_round, measure)).collect()
}

fn mean_point(points: &[Point], measure: Measure) -> MeanPoint {
    let values: Vec<f64> = points.iter().map(|point| point.value).collect();
    let mean = mean(&values);
    let half_width = half_width(&values);
    MeanPoint {
        round: points[0].round,
        labels: points.iter().map(|point| point.labels as f64).sum::<f64>() / points.len() as f64,
        mean,
        half_width,
        interval: half_width.map(|half| ((mean - half).max(0.0), (mean + half).min(measure.upper_bound()))),
        runs: points.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_stays_within_the_measure() {
        let points = [0.9, 1.0].map(|value| Point { round: 2, labels: 40, value });
        assert_eq!(mean_point(&points, Measure::Accuracy).interval.map(|(_, high)| high), Some(1.0));
        assert!(mean_point(&points, Measure::Nll).interval.is_some_and(|(_, high)| high > 1.0));
    }
}
