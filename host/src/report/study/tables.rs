//! The tables of a study.

use super::Analysed;
use super::arms::{Arm, Facet, LOW_BUDGET, SIZE_AXIS};
use super::compare::{self, Quantity, Test, all_pairs, efficiencies, family, penalties, with_baseline};
use super::plan::Study;
use super::plugins::plugins;
use super::starts::{initial_sets, sizers};
use super::table::{Table, Value};
use crate::report::Metrics;
use crate::report::statistics::{self, Reached, Resamples};

/// With more arms in a facet their pairs are no longer tested: a correction for thousands of tests finds nothing.
const MOST_PAIRED: usize = 32;

/// Every table, in the order in which a reader wants them.
pub(super) fn all(study: &Study, analysed: &[Analysed]) -> Vec<Table> {
    let mut tables = vec![
        at_budgets(analysed),
        rank_flip(analysed),
        areas(analysed),
        tests(analysed),
        label_efficiency(analysed),
        penalty_matrix(analysed),
        sizers(analysed),
        initial_sets(analysed),
        runs(study, analysed),
    ];
    tables.retain(|table| table.len() > 0);
    if analysed.iter().all(|facet| facet.facet.name.is_empty()) {
        tables.iter_mut().for_each(Table::drop_first_column);
    }
    // The files are the study's, not a facet's.
    tables.extend(Some(plugins(study)).filter(|table| table.len() > 0));
    tables
}

fn at_budgets(analysed: &[Analysed]) -> Table {
    let mut budgets: Vec<f64> = analysed.iter().flat_map(|facet| facet.facet.budgets()).collect();
    budgets.sort_by(f64::total_cmp);
    budgets.dedup();
    // Without one the table of initial sets says what there is to say.
    if budgets.is_empty() {
        return Table::new("budgets", "Accuracy at common budgets", String::new(), &[""; 0]);
    }
    let titles = budgets.iter().map(|labels| format!("{labels} labels ±"));
    let columns: Vec<String> = ["facet", "arm", "runs finished"].map(str::to_owned).into_iter().chain(titles).collect();
    let caption = "Mean accuracy ± half of the 95 % t-interval (runs), against every label bought, validation labels included. Between \
                   two rounds of a run its accuracy is interpolated; a run that does not reach a column is left out there.";
    let mut table = Table::new("budgets", "Accuracy at common budgets", caption.to_owned(), &columns);
    for (facet, arm) in arms(analysed) {
        let own = facet.budgets();
        let mean = |labels: &f64| match own.contains(labels) {
            true => Value::mean_of(&arm.values(|curve| statistics::at(curve, *labels))),
            false => Value::Missing,
        };
        let row = [Value::text(&facet.name), Value::text(&arm.name), finished(arm)];
        table.push(row.into_iter().chain(budgets.iter().map(mean)).collect());
    }
    table
}

fn rank_flip(analysed: &[Analysed]) -> Table {
    let columns =
        ["facet", SIZE_AXIS, "rank", "arm", "labels", "accuracy ±", "P(best)", "P(whole order)", "against the best"];
    let caption = format!(
        "Who is best where arms are compared, over the same seeds as far as an arm has them. P: the share of resamples of the seeds (all that there are of up \
         to {} seeds, {} drawn ones of more), the same seeds for all arms, in which this arm is best alone, or the whole order of a size is the one shown. Told apart: the \
         paired t-test over at least five seeds has p < .05 after Holm's correction over all pairs of the size. \
         Resampling few seeds is too sure of itself: claims rest on the tests.",
        Resamples::ALL,
        Resamples::N
    );
    let mut table = Table::new("ranking", "Ranking where arms are compared", caption, &columns);
    for analysed in analysed {
        let Some(rankings) = &analysed.rankings else { continue };
        for ranking in &rankings.rankings {
            let apart = ranking.not_told_apart();
            for (rank, place) in ranking.places.iter().enumerate() {
                let verdict = match (rank, apart.contains(&place.arm)) {
                    (0, _) => Value::Missing,
                    (_, true) => Value::text("not told apart"),
                    (_, false) => Value::text("below"),
                };
                table.push(vec![
                    Value::text(&analysed.facet.name),
                    ranking.size.map_or(Value::Missing, |size| Value::text(&analysed.sizes[size])),
                    Value::Count(rank + 1),
                    Value::text(&analysed.facet.arms[place.arm].name),
                    analysed.facet.compare_at.map_or(Value::Missing, Value::labels),
                    Value::Mean(place.mean, place.half_width, place.seeds),
                    Value::Number(place.p_best, 2),
                    if rank == 0 { Value::Number(ranking.p_order, 2) } else { Value::Missing },
                    verdict,
                ]);
            }
        }
    }
    table
}

fn areas(analysed: &[Analysed]) -> Table {
    let columns = [
        "facet",
        "arm",
        "from labels",
        "to labels",
        "area per label ±",
        "low budget to",
        "low-budget area per label ±",
        "area per round ±",
    ];
    let caption = format!(
        "Mean accuracy over the labels that all finished runs cover: per label (every label counts alike), its low-budget part (up \
         to {LOW_BUDGET:.0} times the largest first batch), and per round (the AUBC of Lüth et al. 2023: every round within the labels \
         counts alike). Mean ± half of the 95 % t-interval (runs)."
    );
    let mut table = Table::new("areas", "Area under the budget curve", caption, &columns);
    for (facet, arm) in arms(analysed) {
        let Some((low, high)) = facet.range else { continue };
        let area = |quantity: Quantity| Value::mean_of(&quantity.of(facet, arm));
        table.push(vec![
            Value::text(&facet.name),
            Value::text(&arm.name),
            Value::labels(low),
            Value::labels(high),
            area(Quantity::AreaPerLabel),
            facet.low_range.map_or(Value::Missing, |(_, high)| Value::labels(high)),
            area(Quantity::LowBudgetArea),
            area(Quantity::AreaPerRound),
        ]);
    }
    table
}

fn tests(analysed: &[Analysed]) -> Table {
    let columns = [
        "facet",
        "family",
        "quantity",
        "first",
        "second",
        "pairs",
        "first - second",
        "half width",
        "t",
        "p",
        "p, Holm",
        "p, sign flips",
    ];
    let caption = format!(
        "Paired by seed. p: two-sided t-test; Holm: corrected over the family, which is all rows with the same family and quantity; \
         sign flips: the exact permutation test, without correction. With five seeds its smallest p is .0625. All pairs of arms are \
         a family where there are at most {MOST_PAIRED} arms. Initial sets of all sizes: each seed's mean over the sizes."
    );
    let mut table = Table::new("tests", "Paired tests", caption, &columns);
    for analysed in analysed {
        let facet = &analysed.facet;
        let mut push = |name: &str, tests: Vec<Test>| {
            for test in tests {
                table.push(test_row(analysed, name, &test));
            }
        };
        let everyone: Vec<usize> = (0..facet.arms.len()).collect();
        for quantity in Quantity::ALL {
            push("against the baseline", family(facet, quantity, &with_baseline(&analysed.baselines)));
        }
        for quantity in Quantity::ALL.into_iter().filter(|_| everyone.len() <= MOST_PAIRED) {
            push("all pairs", family(facet, quantity, &all_pairs(&everyone)));
        }
        for (size, tests) in compare::initial_sets(analysed) {
            push(
                &size.map_or("initial sets".to_owned(), |size| format!("initial sets of {}", analysed.sizes[size])),
                tests,
            );
        }
        push("initial sets of all sizes", compare::initial_sets_over_sizes(analysed));
        for ranking in analysed.rankings.iter().flat_map(|rankings| &rankings.rankings) {
            if let Some(size) = ranking.size {
                push(&format!("{SIZE_AXIS} {}", analysed.sizes[size]), ranking.tests.clone());
            }
        }
    }
    table
}

fn test_row(analysed: &Analysed, family: &str, test: &Test) -> Vec<Value> {
    let facet = &analysed.facet;
    let name = |arm: usize| match test.quantity {
        Quantity::OverSizes => &analysed.design.lines[facet.arms[arm].line],
        _ => &facet.arms[arm].name,
    };
    let quantity = match (test.quantity, facet.compare_at) {
        (Quantity::AtLabels, Some(labels)) => format!("accuracy at {labels} labels"),
        (quantity, _) => quantity.title().to_owned(),
    };
    let paired = &test.paired;
    vec![
        Value::text(&facet.name),
        Value::text(family),
        Value::Text(quantity),
        Value::text(name(test.first)),
        Value::text(name(test.second)),
        Value::Count(paired.n),
        Value::Number(paired.difference, 4),
        Value::Number(paired.half_width, 4),
        Value::Number(paired.t, 2),
        Value::P(paired.p),
        Value::P(test.p_holm),
        paired.p_flips.map_or(Value::Missing, Value::P),
    ]
}

fn label_efficiency(analysed: &[Analysed]) -> Table {
    let columns = ["facet", "arm", "baseline", "labels", "accuracy", "baseline needs", "label efficiency", "note"];
    let caption = "How many labels the baseline needs for the same accuracy, divided by the labels used; above 1 the arm saves labels. \
                   Over the mean curves of the runs that cover the common labels, interpolated, never continued beyond its end.";
    let mut table = Table::new("label-efficiency", "Label efficiency", caption.to_owned(), &columns);
    for analysed in analysed {
        for row in efficiencies(&analysed.facet, &analysed.baselines) {
            let (needs, efficiency, note) = match row.baseline_needs {
                Reached::With(labels) => {
                    (Value::Number(labels, 1), Value::Number(labels / row.labels, 2), String::new())
                }
                Reached::Before(first) => {
                    let note = format!(
                        "the baseline is there with its first {first} labels: at most {:.2}",
                        first / row.labels
                    );
                    (Value::Missing, Value::Missing, note)
                }
                Reached::Never => {
                    let ends = row.baseline_ends;
                    let note = format!("not reached with the baseline's {ends} labels: above {:.2}", ends / row.labels);
                    (Value::Missing, Value::Missing, note)
                }
            };
            table.push(vec![
                Value::text(&analysed.facet.name),
                Value::text(&analysed.facet.arms[row.arm].name),
                Value::text(&analysed.facet.arms[row.baseline].name),
                Value::labels(row.labels),
                Value::Number(row.accuracy, 3),
                needs,
                efficiency,
                Value::Text(note),
            ]);
        }
    }
    table
}

fn penalty_matrix(analysed: &[Analysed]) -> Table {
    let mut names: Vec<&str> = Vec::new();
    for (_, arm) in arms(analysed) {
        if !names.contains(&arm.name.as_str()) {
            names.push(&arm.name);
        }
    }
    let columns: Vec<&str> = ["facet", "winner"].into_iter().chain(names.iter().copied()).collect();
    let caption = "BADGE's pairwise penalties: the share of checkpoints at which the row's arm is above the column's with p < .05 \
                   (paired t-test, not corrected, as in the paper). The last row, a column's mean, says how often an arm is beaten: \
                   lower is better.";
    let mut table = Table::new("penalties", "Pairwise penalties", caption.to_owned(), &columns);
    for analysed in analysed {
        let facet = &analysed.facet;
        let Some(penalties) = penalties(facet, &analysed.baselines).filter(|_| facet.arms.len() > 1) else { continue };
        let place = |name: &str| facet.arms.iter().position(|arm| arm.name == name);
        let mut push = |label: String, of: &dyn Fn(usize) -> Value| {
            let cells = names.iter().map(|name| place(name).map_or(Value::Missing, of));
            table.push([Value::text(&facet.name), Value::Text(label)].into_iter().chain(cells).collect());
        };
        for (winner, row) in penalties.matrix.iter().enumerate() {
            push(facet.arms[winner].name.clone(), &|loser| {
                if winner == loser { Value::Missing } else { Value::Number(row[loser], 2) }
            });
        }
        let at = penalties.checkpoints.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
        push(format!("mean, beaten (checkpoints at {at} labels)"), &|loser| {
            let column: Vec<f64> = penalties.matrix.iter().map(|row| row[loser]).collect();
            Value::Number(column.iter().sum::<f64>() / column.len() as f64, 3)
        });
    }
    table
}

fn runs(study: &Study, analysed: &[Analysed]) -> Table {
    let columns = [
        "facet",
        "run",
        "arm",
        "seed",
        "state",
        "rounds",
        "labels spent",
        "of these validation",
        "accuracy at the end",
        "first problem",
    ];
    let caption = "Every run of the plan. Labels spent include validation labels.";
    let mut table = Table::new("runs", "Runs", caption.to_owned(), &columns);
    for cell in &study.cells {
        let found = analysed.iter().find_map(|facet| Some((facet, facet.arm_of(cell)?)));
        let Some((analysed, arm)) = found else { continue };
        let last = cell.run.as_ref().and_then(|run| run.last_round()).map(|round| &round.metrics);
        let count = |of: fn(&Metrics) -> usize| last.map_or(Value::Missing, |last| Value::Count(of(last)));
        table.push(vec![
            Value::text(&analysed.facet.name),
            Value::text(&cell.id),
            Value::text(&analysed.facet.arms[arm].name),
            Value::Text(analysed.design.seed(cell)),
            Value::text(cell.state.name()),
            Value::Count(cell.run.as_ref().map_or(0, |run| run.rounds.len())),
            count(|last| last.labels_bought()),
            count(|last| last.labels_validation),
            last.and_then(|last| last.accuracy).map_or(Value::Missing, |accuracy| Value::Number(accuracy, 3)),
            cell.problem.as_ref().map_or(Value::Missing, Value::text),
        ]);
    }
    table
}

fn finished(arm: &Arm) -> Value {
    let finished = arm.cells.iter().filter(|cell| cell.state == super::plan::State::Finished).count();
    Value::Text(format!("{finished} of {}", arm.cells.len()))
}

fn arms<'a>(analysed: &'a [Analysed<'a>]) -> impl Iterator<Item = (&'a Facet<'a>, &'a Arm<'a>)> {
    analysed.iter().flat_map(|analysed| analysed.facet.arms.iter().map(|arm| (&analysed.facet, arm)))
}
