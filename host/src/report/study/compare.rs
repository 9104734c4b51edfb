//! The comparisons of one facet: paired tests, areas, label efficiency, penalties.

use std::collections::{BTreeMap, BTreeSet};

use super::Analysed;
use super::arms::{Arm, Curve, Facet};
use crate::report::statistics::{self, Paired, Range, Reached, mean};

/// A number that each run of a facet gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// Accuracy where arms are compared, interpolated between rounds of the run.
    AtLabels,
    /// Mean accuracy over the common range of labels.
    AreaPerLabel,
    /// The same over its low-budget part.
    LowBudgetArea,
    /// Mean accuracy over the rounds within the common range.
    AreaPerRound,
    /// Accuracy with the initial set alone.
    WithInitialSet,
    /// The same, its mean over the initial sets of all sizes.
    OverSizes,
}

impl Quantity {
    /// Those of whole curves.
    pub(super) const ALL: [Quantity; 4] =
        [Quantity::AtLabels, Quantity::AreaPerLabel, Quantity::LowBudgetArea, Quantity::AreaPerRound];

    pub(super) fn title(self) -> &'static str {
        match self {
            Quantity::AtLabels => "accuracy",
            Quantity::AreaPerLabel => "area per label",
            Quantity::LowBudgetArea => "low-budget area per label",
            Quantity::AreaPerRound => "area per round",
            Quantity::WithInitialSet => "accuracy with the initial set",
            Quantity::OverSizes => "accuracy with the initial set, mean over sizes",
        }
    }

    /// The number for each seed of an arm.
    pub(super) fn of(self, facet: &Facet, arm: &Arm) -> Vec<Option<f64>> {
        let of_curve = |curve: &[(f64, f64)]| match self {
            Quantity::AtLabels => statistics::at(curve, facet.compare_at?),
            Quantity::AreaPerLabel => statistics::area_per_label(curve, facet.range?),
            Quantity::LowBudgetArea => statistics::area_per_label(curve, facet.low_range?),
            Quantity::AreaPerRound => statistics::area_per_round(curve, facet.range?),
            Quantity::WithInitialSet | Quantity::OverSizes => curve.first().map(|(_, accuracy)| *accuracy),
        };
        if self != Quantity::OverSizes {
            return arm.values(of_curve);
        }
        let sizes = facet.arms.iter().filter(|other| other.line == arm.line);
        let of_sizes: Vec<_> = sizes.map(|other| other.values(of_curve)).collect();
        let of_seed = |seed: usize| of_sizes.iter().map(|values| values[seed]).collect::<Option<Vec<f64>>>();
        (0..facet.seeds.len()).map(|seed| Some(mean(&of_seed(seed)?))).collect()
    }
}

/// One paired comparison within a family of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Test {
    pub(super) quantity: Quantity,
    /// Places among the facet's arms.
    pub(super) first: usize,
    pub(super) second: usize,
    pub(super) paired: Paired,
    /// p of the t-test after Holm's correction over the family.
    pub(super) p_holm: f64,
}

/// The paired tests of pairs of arms as one family; pairs with fewer than two common seeds are left out.
pub(super) fn family(facet: &Facet, quantity: Quantity, pairs: &[(usize, usize)]) -> Vec<Test> {
    let values: Vec<Vec<Option<f64>>> = facet.arms.iter().map(|arm| quantity.of(facet, arm)).collect();
    let tests: Vec<(usize, usize, Paired)> = pairs
        .iter()
        .filter_map(|&(first, second)| {
            let common = values[first].iter().zip(&values[second]).filter_map(|(a, b)| a.zip(*b));
            Some((first, second, statistics::paired(&common.collect::<Vec<_>>())?))
        })
        .collect();
    let p_holm = statistics::holm(&tests.iter().map(|(_, _, paired)| paired.p).collect::<Vec<_>>());
    let test = |((first, second, paired), p_holm)| Test { quantity, first, second, paired, p_holm };
    tests.into_iter().zip(p_holm).map(test).collect()
}

/// For each size (none where size is no axis) the initial sets against the baseline's of this size, as one family: every set once,
/// however many queries follow it.
pub(super) fn initial_sets(analysed: &Analysed) -> Vec<(Option<usize>, Vec<Test>)> {
    let facet = &analysed.facet;
    let name = |arm: usize| &analysed.initial_sets[arm];
    let mut families: BTreeMap<Option<usize>, Vec<(usize, usize)>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (arm, baseline) in with_baseline(&analysed.baselines) {
        if name(arm) != name(baseline) && seen.insert(name(arm)) {
            families.entry(facet.arms[arm].size).or_default().push((arm, baseline));
        }
    }
    families.into_iter().map(|(size, pairs)| (size, family(facet, Quantity::WithInitialSet, &pairs))).collect()
}

/// The initial sets against the baseline's by each seed's mean over all sizes, as one family; none where there is one size.
pub(super) fn initial_sets_over_sizes(analysed: &Analysed) -> Vec<Test> {
    match &initial_sets(analysed)[..] {
        [(Some(_), smallest), _, ..] => {
            let pairs: Vec<(usize, usize)> = smallest.iter().map(|test| (test.first, test.second)).collect();
            family(&analysed.facet, Quantity::OverSizes, &pairs)
        }
        _ => Vec::new(),
    }
}

/// Every pair of `arms`, each once.
pub(super) fn all_pairs(arms: &[usize]) -> Vec<(usize, usize)> {
    arms.iter().enumerate().flat_map(|(i, a)| arms[i + 1..].iter().map(move |b| (*a, *b))).collect()
}

/// Every arm that has a baseline other than itself, with it.
pub(super) fn with_baseline(baselines: &[Option<usize>]) -> Vec<(usize, usize)> {
    let pair =
        |(arm, baseline): (usize, &Option<usize>)| baseline.filter(|other| *other != arm).map(|other| (arm, other));
    baselines.iter().enumerate().filter_map(pair).collect()
}

/// How many labels the baseline needs for what an arm reaches with a budget.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Efficiency {
    pub(super) arm: usize,
    pub(super) baseline: usize,
    pub(super) labels: f64,
    /// Mean accuracy of the arm with these labels.
    pub(super) accuracy: f64,
    /// Labels with which the baseline's mean curve gets there.
    pub(super) baseline_needs: Reached,
    /// Where the baseline's curve ends.
    pub(super) baseline_ends: f64,
}

/// Label efficiency at every budget, over the mean curves of the runs that cover the common range.
pub(super) fn efficiencies(facet: &Facet, baselines: &[Option<usize>]) -> Vec<Efficiency> {
    let Some(range) = facet.range else { return Vec::new() };
    let curves: Vec<Curve> = facet.arms.iter().map(|arm| arm.mean_curve(range)).collect();
    let budgets = facet.budgets();
    let rows = with_baseline(baselines).into_iter().flat_map(|(arm, baseline)| {
        let (own, other) = (&curves[arm], &curves[baseline]);
        budgets.iter().filter_map(move |&labels| {
            let accuracy = statistics::at(own, labels)?;
            let baseline_needs = statistics::first_reaching(other, accuracy);
            Some(Efficiency { arm, baseline, labels, accuracy, baseline_needs, baseline_ends: other.last()?.0 })
        })
    });
    rows.collect()
}

/// The penalty matrix and the numbers of labels at which it was made.
#[derive(Debug, PartialEq)]
pub(super) struct Penalties {
    pub(super) checkpoints: Vec<f64>,
    /// `[winner][loser]`, places of arms.
    pub(super) matrix: Vec<Vec<f64>>,
}

/// BADGE's penalties: checkpoints from the start of the common range, the distance doubled from the smallest step of any run, up
/// to where the baselines have reached 99 % of their final accuracy; to the end of the range without one.
pub(super) fn penalties(facet: &Facet, baselines: &[Option<usize>]) -> Option<Penalties> {
    let range = facet.range?;
    let curves = || facet.arms.iter().flat_map(|arm| arm.curves.iter().flatten());
    let batch = curves().flat_map(|curve| curve.windows(2).map(|ends| ends[1].0 - ends[0].0)).reduce(f64::min)?;
    let own = baselines.iter().enumerate().filter(|(arm, baseline)| **baseline == Some(*arm)).map(|(arm, _)| arm);
    let last = own.filter_map(|arm| nearly_done(&facet.arms[arm], range)).reduce(f64::max).unwrap_or(range.1);
    let checkpoints = statistics::checkpoints(range.0, batch, last);
    let values_at = |labels: &f64| -> Vec<Vec<Option<f64>>> {
        facet.arms.iter().map(|arm| arm.values(|curve| statistics::at(curve, *labels))).collect()
    };
    let matrix = statistics::penalties(&checkpoints.iter().map(values_at).collect::<Vec<_>>());
    Some(Penalties { checkpoints, matrix })
}

/// Labels with which an arm has 99 % of its accuracy at the end of the range.
fn nearly_done(arm: &Arm, range: Range) -> Option<f64> {
    let curve = arm.mean_curve(range);
    match statistics::first_reaching(&curve, 0.99 * statistics::at(&curve, range.1)?) {
        Reached::With(labels) => Some(labels.clamp(range.0, range.1)),
        Reached::Before(_) => Some(range.0),
        Reached::Never => None,
    }
}
