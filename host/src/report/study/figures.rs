//! The figures of a study, one of each kind for every facet.

use super::Analysed;
use super::arms::{Arm, SIZE_AXIS};
use crate::report::curve::{Measure, mean_curve};
use crate::report::figure::{Figure, Line, Mark, Panel};
use crate::report::run::Run;

/// Every figure with the stem of its files.
pub(super) fn all(analysed: &[Analysed]) -> Vec<(String, Figure)> {
    let mut figures = Vec::new();
    for facet in analysed.iter().filter(|facet| !facet.facet.arms.is_empty()) {
        figures.push((stem("curves", facet, analysed), curves(facet)));
        figures.extend(rank_flip(facet).map(|figure| (stem("rank-flip", facet, analysed), figure)));
    }
    figures
}

/// The kind, and behind it the facet's place and name where there are several.
fn stem(kind: &str, facet: &Analysed, analysed: &[Analysed]) -> String {
    if facet.facet.name.is_empty() {
        return kind.to_owned();
    }
    let place = analysed.iter().position(|other| other.facet.name == facet.facet.name).unwrap_or_default();
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    let name: String = facet.facet.name.chars().map(plain).take(40).collect();
    format!("{kind}-{}-{}", place + 1, name.trim_matches('-'))
}

/// Learning curves: a panel for each size of the initial set, a line for each arm there.
fn curves(analysed: &Analysed) -> Figure {
    let sizes: Vec<Option<usize>> =
        if analysed.sizes.is_empty() { vec![None] } else { (0..analysed.sizes.len()).map(Some).collect() };
    let panel = |size: &Option<usize>| Panel {
        title: size.map_or(String::new(), |size| format!("{SIZE_AXIS} {}", analysed.sizes[size])),
        lines: analysed.facet.arms.iter().filter(|arm| arm.size == *size).map(curve).collect(),
        categories: Vec::new(),
    };
    Figure {
        x_title: "labels bought".to_owned(),
        y_title: "accuracy".to_owned(),
        panels: sizes.iter().map(panel).collect(),
        legend: legend(analysed),
        caption: "mean with 95 % t-interval over seeds; validation labels are counted".to_owned(),
    }
}

fn curve(arm: &Arm) -> Line {
    let runs: Vec<&Run> = arm.cells.iter().filter_map(|cell| cell.run.as_ref()).collect();
    let points = mean_curve(&runs, Measure::Accuracy).into_iter();
    let mark = |point: crate::report::curve::MeanPoint| Mark {
        x: point.labels,
        mean: point.mean,
        interval: point.interval,
        best: false,
    };
    Line { style: arm.line, marks: points.map(mark).collect() }
}

/// Accuracy where arms are compared against the size of the initial set, the best at each size with a ring; none without sizes.
fn rank_flip(analysed: &Analysed) -> Option<Figure> {
    let rankings = analysed.rankings.as_ref().filter(|_| !analysed.sizes.is_empty())?;
    let mark = |size: usize, line: usize| {
        let ranking = rankings.rankings.iter().find(|ranking| ranking.size == Some(size))?;
        let (rank, place) =
            ranking.places.iter().enumerate().find(|(_, place)| analysed.facet.arms[place.arm].line == line)?;
        let interval = place.half_width.map(|half| ((place.mean - half).max(0.0), (place.mean + half).min(1.0)));
        Some(Mark { x: size as f64, mean: place.mean, interval, best: rank == 0 && ranking.places.len() > 1 })
    };
    let line = |line: usize| Line {
        style: line,
        marks: (0..analysed.sizes.len()).filter_map(|size| mark(size, line)).collect(),
    };
    let lines = (0..analysed.design.lines.len()).map(line).filter(|line| !line.marks.is_empty());
    let panel = Panel { lines: lines.collect(), categories: analysed.sizes.to_vec(), ..Panel::default() };
    let labels = analysed.facet.compare_at.map_or(String::new(), |labels| format!(" at {labels} labels"));
    Some(Figure {
        x_title: SIZE_AXIS.to_owned(),
        y_title: format!("accuracy{labels}"),
        panels: vec![panel],
        legend: legend(analysed),
        caption: format!(
            "mean with 95 % t-interval over up to {} seeds; a ring: highest mean of its size",
            rankings.seeds
        ),
    })
}

fn legend(analysed: &Analysed) -> Vec<(String, usize)> {
    let present = |line: &usize| analysed.facet.arms.iter().any(|arm| arm.line == *line);
    (0..analysed.design.lines.len()).filter(present).map(|line| (analysed.design.lines[line].clone(), line)).collect()
}
