//! Sorts the runs of a study: what is compared with what.
//!
//! Axes named `dataset...` separate: nothing is compared or averaged across them. Axes of seeds pair runs. All others make the
//! arms. Where the size of the initial set is an axis, arms that differ in nothing else make a line.

use std::collections::BTreeSet;

use super::plan::{Cell, Study};
use crate::report::curve::{Measure, points};
use crate::report::statistics::{self, Range};

/// The axis along which the ranking of arms is drawn.
pub(super) const SIZE_AXIS: &str = "initial.size";
/// The curve's part up to so many times the first batch counts as the low budget: a cold start shows there, and no longer where
/// every start has been forgotten.
pub(super) const LOW_BUDGET: f64 = 3.0;

/// (labels bought, accuracy) after each round of one run.
pub(super) type Curve = Vec<(f64, f64)>;

/// How the axes of a study are used, and the names that come of it.
#[derive(Debug)]
pub(super) struct Design {
    arm_axes: Vec<usize>,
    facet_axes: Vec<usize>,
    seed_axes: Vec<usize>,
    /// What the arms of a line have in common, in the plan's order.
    pub(super) lines: Vec<String>,
    /// Labels of the axis of sizes, smallest first; empty without this axis.
    pub(super) sizes: Vec<String>,
}

/// Runs that may be compared: one data set, or one setting of it.
#[derive(Debug)]
pub(super) struct Facet<'a> {
    /// Its labels; empty where nothing separates the study.
    pub(super) name: String,
    pub(super) arms: Vec<Arm<'a>>,
    /// The pairing of its runs, in the plan's order.
    pub(super) seeds: Vec<String>,
    /// The numbers of labels that every finished run covers.
    pub(super) range: Option<Range>,
    /// The part of the range that counts as the low budget.
    pub(super) low_range: Option<Range>,
    /// Labels at which arms are compared.
    pub(super) compare_at: Option<f64>,
}

/// Runs that differ in nothing but seeds.
#[derive(Debug)]
pub(super) struct Arm<'a> {
    pub(super) name: String,
    /// Its place in [`Design::lines`].
    pub(super) line: usize,
    /// Its place in [`Design::sizes`].
    pub(super) size: Option<usize>,
    /// Its label on every axis that makes arms.
    pub(super) labels: Vec<&'a str>,
    pub(super) cells: Vec<&'a Cell>,
    /// One for each seed of the facet, where a run of it has a round.
    pub(super) curves: Vec<Option<Curve>>,
}

impl Design {
    pub(super) fn of(study: &Study) -> Design {
        let of = |kind| (0..study.axes.len()).filter(|place| kind_of(&study.axes[*place]) == kind).collect::<Vec<_>>();
        let (arm_axes, facet_axes, seed_axes) = (of(Kind::Arm), of(Kind::Facet), of(Kind::Seed));
        let mut design = Design { arm_axes, facet_axes, seed_axes, lines: Vec::new(), sizes: Vec::new() };
        if let Some(axis) = design.size_axis(study) {
            design.sizes = distinct(study.cells.iter().map(|cell| cell.labels[axis].clone()));
            design.sizes.sort_by(|a, b| size(a).total_cmp(&size(b)));
        }
        design.lines = distinct(study.cells.iter().map(|cell| design.line(study, cell)));
        design
    }

    /// The axis of sizes, where there is anything to be seen along it.
    fn size_axis(&self, study: &Study) -> Option<usize> {
        let varies = |axis: &usize| varying(study, *axis);
        self.arm_axes.iter().copied().find(|axis| study.axes[*axis] == SIZE_AXIS).filter(varies)
    }

    fn line(&self, study: &Study, cell: &Cell) -> String {
        let size_axis = self.size_axis(study);
        let axes: Vec<usize> = self.arm_axes.iter().copied().filter(|axis| Some(*axis) != size_axis).collect();
        let name = name(study, &axes, cell);
        if name.is_empty() { "all runs".to_owned() } else { name }
    }

    fn arm(&self, study: &Study, cell: &Cell) -> String {
        let line = self.line(study, cell);
        match self.size_axis(study) {
            Some(axis) if self.lines.len() > 1 => format!("{line}, {SIZE_AXIS} {}", cell.labels[axis]),
            Some(axis) => format!("{SIZE_AXIS} {}", cell.labels[axis]),
            None => line,
        }
    }

    /// The facets of a study, their arms and the arms' runs, all in the plan's order.
    pub(super) fn facets<'a>(&self, study: &'a Study) -> Vec<Facet<'a>> {
        let pick =
            |axes: &[usize], cell: &'a Cell| axes.iter().map(|axis| cell.labels[*axis].as_str()).collect::<Vec<_>>();
        let keys = distinct(study.cells.iter().map(|cell| pick(&self.facet_axes, cell)));
        let facet = |key: &Vec<&str>| {
            let cells: Vec<&Cell> = study.cells.iter().filter(|cell| pick(&self.facet_axes, cell) == *key).collect();
            let seeds = distinct(cells.iter().map(|cell| self.seed(cell)));
            let arms = distinct(cells.iter().map(|cell| pick(&self.arm_axes, cell)));
            let arm = |labels: Vec<&'a str>| {
                let cells: Vec<&Cell> =
                    cells.iter().copied().filter(|cell| pick(&self.arm_axes, cell) == labels).collect();
                let of_seed =
                    |seed: &String| cells.iter().find(|cell| self.seed(cell) == *seed).and_then(|cell| curve(cell));
                let size = self
                    .size_axis(study)
                    .and_then(|axis| self.sizes.iter().position(|size| *size == cells[0].labels[axis]));
                let line = self.line(study, cells[0]);
                Arm {
                    name: self.arm(study, cells[0]),
                    line: self.lines.iter().position(|name| *name == line).unwrap_or_default(),
                    size,
                    labels,
                    curves: seeds.iter().map(of_seed).collect(),
                    cells,
                }
            };
            let name = name(study, &self.facet_axes, cells[0]);
            Facet::new(name, arms.into_iter().map(arm).collect(), seeds, study.compare_at)
        };
        keys.iter().map(facet).collect()
    }

    /// What pairs a run with those of other arms.
    pub(super) fn seed(&self, cell: &Cell) -> String {
        self.seed_axes.iter().map(|axis| cell.labels[*axis].as_str()).collect::<Vec<_>>().join("/")
    }

    /// Which arm each arm of a facet is compared with, if the study has a baseline: the one with the baseline's labels, and
    /// otherwise its own. None for an arm without one; an arm may be its own.
    pub(super) fn baselines(&self, study: &Study, facet: &Facet) -> Vec<Option<usize>> {
        let label =
            |axis: usize| study.baseline.iter().find(|(name, _)| *name == study.axes[axis]).map(|(_, label)| label);
        let set: Vec<Option<&String>> = self.arm_axes.iter().map(|axis| label(*axis)).collect();
        let baseline = |arm: &Arm| {
            set.iter().any(Option::is_some).then_some(())?;
            let wanted = set.iter().zip(&arm.labels).map(|(set, own)| set.map_or(*own, String::as_str));
            let wanted: Vec<&str> = wanted.collect();
            facet.arms.iter().position(|other| other.labels == wanted)
        };
        facet.arms.iter().map(baseline).collect()
    }

    /// The name of each arm's initial set, the same for arms that begin from the same round 0: what these have in common, or the
    /// first of them where others have that in common too.
    pub(super) fn initial_sets(&self, study: &Study, facet: &Facet) -> Vec<String> {
        let alike = |arm: &Arm| facet.arms.iter().filter(|other| other.start() == arm.start()).collect::<Vec<_>>();
        let groups: Vec<Vec<&Arm>> = facet.arms.iter().map(alike).collect();
        let in_common =
            |arms: &Vec<&Arm>, place: usize| arms.iter().all(|arm| arm.labels[place] == arms[0].labels[place]);
        let same = |place: &usize| groups.iter().all(|arms| in_common(arms, *place));
        let common: Vec<usize> = (0..self.arm_axes.len()).filter(same).map(|place| self.arm_axes[place]).collect();
        let names = |axes: &[usize]| groups.iter().map(|arms| name(study, axes, arms[0].cells[0])).collect::<Vec<_>>();
        let (short, long) = (names(&common), names(&self.arm_axes));
        let named = groups.iter().zip(short.iter().zip(long)).map(|(arms, (short_name, long_name))| {
            let holders = short.iter().filter(|name| *name == short_name).count();
            let name = if holders == arms.len() { short_name.clone() } else { long_name };
            if name.is_empty() { "all runs".to_owned() } else { name }
        });
        named.collect()
    }
}

impl<'a> Facet<'a> {
    fn new(name: String, arms: Vec<Arm<'a>>, seeds: Vec<String>, compare_at: Option<f64>) -> Self {
        let finished =
            || arms.iter().flat_map(|arm| &arm.cells).filter(|cell| cell.state == super::plan::State::Finished);
        let curves: Vec<Curve> = finished().filter_map(|cell| curve(cell)).collect();
        let low = curves.iter().map(|curve| curve[0].0).reduce(f64::max);
        let high = curves.iter().filter_map(|curve| Some(curve.last()?.0)).reduce(f64::min);
        let range = low.zip(high).filter(|(low, high)| low < high);
        let first_rounds = finished().filter_map(|cell| cell.run.as_ref()?.rounds.first());
        let batch = first_rounds.map(|round| round.metrics.labels).max().unwrap_or_default() as f64;
        let low_range = range.map(|(low, high)| (low, high.min(low + (LOW_BUDGET - 1.0) * batch)));
        let low_range = low_range.filter(|(low, high)| low < high);
        Facet { name, arms, seeds, range, low_range, compare_at: compare_at.or(range.map(|(_, high)| high)) }
    }

    /// The numbers of labels at which all arms are measured: where arms are compared, the ends of the common range, and where
    /// a round of every finished run ends.
    pub(super) fn budgets(&self) -> Vec<f64> {
        let ends = self.range.iter().flat_map(|(low, high)| [*low, *high]);
        let finished =
            self.arms.iter().flat_map(|arm| &arm.cells).filter(|cell| cell.state == super::plan::State::Finished);
        let rounds =
            finished.filter_map(|cell| curve(cell)).map(|curve| curve.iter().map(|(x, _)| *x as u64).collect());
        let shared: BTreeSet<u64> = rounds.reduce(|all: BTreeSet<u64>, own| &all & &own).unwrap_or_default();
        let mut budgets: Vec<f64> =
            ends.chain(self.compare_at).chain(shared.into_iter().map(|labels| labels as f64)).collect();
        budgets.sort_by(f64::total_cmp);
        budgets.dedup();
        budgets
    }
}

impl Arm<'_> {
    /// The key of its first run's round 0: arms that share it share those of the other seeds too.
    fn start(&self) -> &str {
        &self.cells[0].round0
    }

    /// A value of each curve, by seed.
    pub(super) fn values(&self, of: impl Fn(&[(f64, f64)]) -> Option<f64>) -> Vec<Option<f64>> {
        self.curves.iter().map(|curve| of(curve.as_ref()?)).collect()
    }

    /// The mean over the runs that cover `range`, at every number of labels at which a round of one of them ends and that all
    /// of them cover.
    pub(super) fn mean_curve(&self, range: Range) -> Curve {
        let covers = |curve: &&Curve| statistics::at(curve, range.0).and(statistics::at(curve, range.1)).is_some();
        let curves: Vec<&Curve> = self.curves.iter().flatten().filter(covers).collect();
        let labels: BTreeSet<u64> = curves.iter().flat_map(|curve| curve.iter().map(|(x, _)| *x as u64)).collect();
        let point = |labels: u64| {
            let values: Option<Vec<f64>> = curves.iter().map(|curve| statistics::at(curve, labels as f64)).collect();
            Some((labels as f64, statistics::mean(&values?)))
        };
        labels.into_iter().filter_map(point).collect()
    }
}

/// The curve of a run; a round without new labels adds no point. None without a round.
pub(super) fn curve(cell: &Cell) -> Option<Curve> {
    let mut curve = Curve::new();
    for point in points(cell.run.as_ref()?, Measure::Accuracy) {
        if curve.last().is_none_or(|(labels, _)| *labels < point.labels as f64) {
            curve.push((point.labels as f64, point.value));
        }
    }
    (!curve.is_empty()).then_some(curve)
}

#[derive(PartialEq)]
enum Kind {
    Arm,
    Facet,
    Seed,
}

fn kind_of(axis: &str) -> Kind {
    match axis {
        "seed" => Kind::Seed,
        _ if axis.ends_with(".seed") => Kind::Seed,
        _ if axis.starts_with("dataset") => Kind::Facet,
        _ => Kind::Arm,
    }
}

fn varying(study: &Study, axis: usize) -> bool {
    study.cells.iter().any(|cell| cell.labels[axis] != study.cells[0].labels[axis])
}

/// The labels of the axes that vary. A label that does not say by itself which axis it is on stands behind the axis's name.
fn name(study: &Study, axes: &[usize], cell: &Cell) -> String {
    let varying: Vec<usize> = axes.iter().copied().filter(|axis| varying(study, *axis)).collect();
    let labels_on = |axis: usize| study.cells.iter().map(move |cell| cell.labels[axis].as_str());
    let speaks = |axis: usize| {
        let own: BTreeSet<&str> = labels_on(axis).collect();
        let shared = varying.iter().any(|other| *other != axis && labels_on(*other).any(|label| own.contains(label)));
        !shared && own.iter().all(|label| label.chars().any(char::is_alphabetic) && !["true", "false"].contains(label))
    };
    let part = |axis: &usize| match speaks(*axis) {
        true => cell.labels[*axis].clone(),
        false => format!("{} {}", study.axes[*axis].trim_end_matches(".strategy"), cell.labels[*axis]),
    };
    varying.iter().map(part).collect::<Vec<_>>().join(", ")
}

/// Sizes that are no numbers come last.
fn size(label: &str) -> f64 {
    label.parse().unwrap_or(f64::INFINITY)
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for item in items {
        if !distinct.contains(&item) {
            distinct.push(item);
        }
    }
    distinct
}
