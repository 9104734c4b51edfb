//! The accuracy curve of plain runs as a PNG, for slides and papers.

use std::path::Path;

use super::ReportError;
use super::arms::Arm;
use super::curve::{Measure, mean_curve};
use super::figure::{Figure, Line, Mark, Panel};

/// Longer arm names are cut, so that the legend keeps two columns where it can.
const NAME: usize = 62;

/// Draws the arms and returns the encoded PNG; `path` only names the file in an error.
pub(super) fn draw(arms: &[Arm], path: &Path) -> Result<Vec<u8>, ReportError> {
    let lines = arms.iter().enumerate().map(|(style, arm)| {
        let marks = mean_curve(&arm.runs, Measure::Accuracy).into_iter();
        let mark = |point: super::curve::MeanPoint| Mark {
            x: point.labels,
            mean: point.mean,
            interval: point.interval,
            best: false,
        };
        Line { style, marks: marks.map(mark).collect() }
    });
    let figure = Figure {
        x_title: "labels bought".to_owned(),
        y_title: "accuracy".to_owned(),
        panels: vec![Panel { lines: lines.collect(), ..Panel::default() }],
        legend: arms.iter().enumerate().map(|(style, arm)| (legend_text(arm), style)).collect(),
        caption: "mean with 95 % t-interval over the runs of an arm".to_owned(),
    };
    figure.png().map_err(|error| ReportError::Draw { path: path.to_owned(), reason: error.to_string() })
}

fn legend_text(arm: &Arm) -> String {
    let runs = if arm.runs.len() == 1 { "1 run".to_owned() } else { format!("{} runs", arm.runs.len()) };
    let mut name: String = arm.name.chars().take(NAME).collect();
    if name.len() < arm.name.len() {
        name.push('…');
    }
    format!("{name} ({runs})")
}
