//! The tables about the beginning: initial sets, and what sizers say of their size.

use std::collections::BTreeMap;

use super::Analysed;
use super::compare::{self, Quantity, Test};
use super::sizers::{Regret, regrets};
use super::table::{Table, Value};
use crate::report::Metrics;
use crate::report::statistics::mean;

/// What sizers say, and what was best.
pub(super) fn sizers(analysed: &[Analysed]) -> Table {
    let columns = [
        "facet",
        "arm",
        "sizer",
        "says ±",
        "from",
        "to",
        "not content at the end",
        "best size",
        "accuracy there ±",
        "regret in points ±",
    ];
    let caption = "What each sizer says where the initial strategy goes on, over the seeds: the size that it wants before the first \
                   label, or the labels with which it is content, if these are more. Best size: the one of this study with the highest \
                   mean where arms are compared, known only in hindsight. Regret: how many points of accuracy what was said falls short \
                   of the size that is best on the other seeds, between two sizes by interpolation over the logarithm. `always N` asks \
                   nobody: a sizer is worth asking where it falls less short than these.";
    let mut table = Table::new("sizers", "What sizers say, and what was best", caption.to_owned(), &columns);
    for analysed in analysed {
        for Regret { line, sizer, said, open, best, at_best, regrets } in regrets(analysed.design, &analysed.facet) {
            let label = |place: &usize| analysed.sizes[*place].clone();
            let some: Vec<Option<f64>> = said.iter().copied().map(Some).collect();
            let points: Vec<Option<f64>> = regrets.iter().map(|regret| regret.map(|regret| 100.0 * regret)).collect();
            table.push(vec![
                Value::text(&analysed.facet.name),
                Value::text(&analysed.design.lines[line]),
                Value::Text(sizer),
                Value::mean_of(&some),
                Value::labels(said.iter().copied().fold(f64::INFINITY, f64::min)),
                Value::labels(said.iter().copied().fold(0.0, f64::max)),
                Value::Text(format!("{open} of {}", said.len())),
                Value::Text(label(&best)),
                Value::mean_of(&at_best),
                Value::mean_of(&points),
            ]);
        }
    }
    table
}

/// What round 0 chose, and what it is worth.
pub(super) fn initial_sets(analysed: &[Analysed]) -> Table {
    let columns = [
        "facet",
        "initial set",
        "sets",
        "labels",
        "validation",
        "class coverage ±",
        "fewest classes",
        "sets with every class",
        "accuracy with it ±",
        "above the baseline",
        "above the baseline, half width",
        "p, Holm",
    ];
    let caption = "What round 0 chose: every different set counts once. Class coverage: the share of classes with a labelled image. \
                   Accuracy: of the model that learns from the set alone; above the baseline: by how much more than with the \
                   baseline's set of this size, paired by seed, with Holm's correction over the sets of one size.";
    let mut table = Table::new("initial-sets", "Initial sets", caption.to_owned(), &columns);
    for analysed in analysed {
        let Analysed { facet, initial_sets, .. } = analysed;
        let against: Vec<Test> = compare::initial_sets(analysed).into_iter().flat_map(|(_, tests)| tests).collect();
        for (first, name) in initial_sets.iter().enumerate().filter(|(arm, name)| !initial_sets[..*arm].contains(name))
        {
            let arms = facet.arms.iter().zip(initial_sets).filter(|(_, own)| *own == name).map(|(arm, _)| arm);
            let started = arms
                .flat_map(|arm| &arm.cells)
                .filter_map(|cell| Some((&cell.round0, cell.run.as_ref()?.rounds.first()?)));
            // Runs with the same key began from the same round 0.
            let sets: BTreeMap<&String, &Metrics> =
                started.filter(|(_, round)| round.number == 0).map(|(key, round)| (key, &round.metrics)).collect();
            if !sets.is_empty() {
                let accuracy = Value::mean_of(&Quantity::WithInitialSet.of(facet, &facet.arms[first]));
                let test = against.iter().find(|test| initial_sets[test.first] == *name);
                let number = |of: fn(&Test) -> f64| test.map_or(Value::Missing, |test| Value::Number(of(test), 4));
                let mut row = initial_set(&facet.name, name.clone(), &sets.into_values().collect::<Vec<_>>());
                row.extend([accuracy, number(|t| t.paired.difference), number(|t| t.paired.half_width)]);
                row.push(test.map_or(Value::Missing, |test| Value::P(test.p_holm)));
                table.push(row);
            }
        }
    }
    table
}

fn initial_set(facet: &str, name: String, sets: &[&Metrics]) -> Vec<Value> {
    let mean_of = |of: fn(&Metrics) -> usize| mean(&sets.iter().map(|set| of(set) as f64).collect::<Vec<_>>());
    let coverage: Vec<Option<f64>> = sets.iter().map(|set| set.class_coverage).collect();
    vec![
        Value::text(facet),
        Value::Text(name),
        Value::Count(sets.len()),
        Value::labels(mean_of(|set| set.labels)),
        Value::labels(mean_of(|set| set.labels_validation)),
        Value::mean_of(&coverage),
        sets.iter().filter_map(|set| set.classes_seen).min().map_or(Value::Missing, Value::Count),
        Value::Count(coverage.iter().filter(|share| **share == Some(1.0)).count()),
    ]
}
