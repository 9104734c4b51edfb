//! What a study supports, in sentences: no claim without enough seeds, and none without a test.

use super::Analysed;
use super::arms::{Arm, Facet, SIZE_AXIS};
use super::compare::{self, Quantity, Test, family, with_baseline};
use super::plan::{State, Study};
use super::ranking::{Flip, Ranking, Rankings};
use crate::report::statistics::{self, ENOUGH_SEEDS, LEVEL};

/// Sentences about one facet.
#[derive(Debug, PartialEq)]
pub(super) struct Findings {
    /// Its name; empty where nothing separates the study.
    pub(super) facet: String,
    /// Why nothing may be claimed, if so.
    pub(super) warning: Option<String>,
    /// What is there, and what of it is supported.
    pub(super) sentences: Vec<String>,
}

/// What each facet supports.
pub(super) fn all(study: &Study, analysed: &[Analysed]) -> Vec<Findings> {
    analysed.iter().map(|facet| findings(study, facet)).collect()
}

fn findings(study: &Study, analysed: &Analysed) -> Findings {
    let facet = &analysed.facet;
    let mut sentences = vec![spent(facet)];
    if let Some(labels) = facet.compare_at {
        let stated =
            if study.compare_at.is_some() { "as the config says" } else { "the most that every finished run has" };
        sentences.push(format!("Arms are compared at {labels} labels, validation labels included: {stated}."));
        sentences.extend(left_out(facet, labels));
    }
    let initial = initial_sets(analysed);
    let seeds = match &analysed.rankings {
        Some(rankings) => rankings.seeds,
        // Where initial sets alone are compared, the pairs of the best known one.
        None => {
            let tests = compare::initial_sets(analysed).into_iter().flat_map(|(_, tests)| tests);
            tests.map(|test| test.paired.n).max().unwrap_or(0)
        }
    };
    match &analysed.rankings {
        Some(rankings) if facet.arms.len() > 1 => {
            sentences.extend(rankings.rankings.iter().map(|ranking| best(analysed, ranking, rankings.seeds)));
            sentences.extend(flips(analysed, rankings));
            sentences.extend(incomplete(analysed, rankings));
        }
        Some(_) => {}
        None if facet.compare_at.is_none() && !initial.is_empty() => {
            sentences.push(
                "No number of labels is common to all runs: initial sets are compared with those of their size."
                    .to_owned(),
            );
        }
        None => sentences
            .push("There is no seed for which enough arms have a value there, so no ranking is shown.".to_owned()),
    }
    sentences.extend(initial);
    sentences.extend(against_baseline(analysed));
    let warning = (facet.arms.len() > 1 && seeds < ENOUGH_SEEDS).then(|| few(seeds));
    Findings { facet: facet.name.clone(), warning, sentences }
}

fn few(seeds: usize) -> String {
    let seeds = match seeds {
        0 => "no seed yet".to_owned(),
        1 => "a single seed".to_owned(),
        n => format!("only {n} seeds"),
    };
    format!(
        "The comparison rests on {seeds}: what follows describes these runs, and no claim of a winner is supported \
         below {ENOUGH_SEEDS}."
    )
}

/// What the runs cost in labels.
fn spent(facet: &Facet) -> String {
    let cells = || facet.arms.iter().flat_map(|arm| &arm.cells);
    let last = cells().filter_map(|cell| Some(&cell.run.as_ref()?.last_round()?.metrics));
    let most = last.clone().map(|last| last.labels_bought()).max().unwrap_or_default();
    let validation = last.map(|last| last.labels_validation).max().unwrap_or_default();
    let finished = cells().filter(|cell| cell.state == State::Finished).count();
    let held_out = if validation == 0 {
        "none of them for validation".to_owned()
    } else {
        format!("{validation} of them for validation")
    };
    format!("{finished} of {} runs have finished; a run spent up to {most} labels, {held_out}.", cells().count())
}

fn left_out(facet: &Facet, labels: f64) -> Option<String> {
    let without =
        |arm: &Arm| arm.cells.len() - arm.values(|curve| statistics::at(curve, labels)).iter().flatten().count();
    let n: usize = facet.arms.iter().map(without).sum();
    let all: usize = facet.arms.iter().map(|arm| arm.cells.len()).sum();
    let verb = if n == 1 {
        "does not reach them (or begins beyond them) and is"
    } else {
        "do not reach them (or begin beyond them) and are"
    };
    (n > 0).then(|| format!("{n} of {all} runs {verb} left out of the comparison."))
}

fn best(analysed: &Analysed, ranking: &Ranking, seeds: usize) -> String {
    let name = |arm: usize| {
        let arm = &analysed.facet.arms[arm];
        if ranking.size.is_some() { &analysed.design.lines[arm.line] } else { &arm.name }
    };
    let from = ranking.size.map_or(String::new(), |size| format!("With {SIZE_AXIS} {}: ", analysed.sizes[size]));
    let [first, others @ ..] = ranking.places.as_slice() else { return String::new() };
    let interval = first.half_width.map_or(String::new(), |half| format!(" ± {half:.3}"));
    let has = format!("{from}{} has the highest mean, {:.3}{interval}", name(first.arm), first.mean);
    let Some(next) = others.first() else { return format!("{has}, and nothing to be compared with.") };
    let shown = format!("{has}, {} comes next with {:.3}", name(next.arm), next.mean);
    if seeds < ENOUGH_SEEDS {
        return format!("{shown}.");
    }
    let open = ranking.not_told_apart();
    let resampled = format!("it is best in {:.0} % of the resamples", 100.0 * first.p_best);
    match open.len() {
        0 => format!(
            "{shown}. It wins: every other arm is below it with p < {LEVEL} after Holm's correction, and {resampled}."
        ),
        n if n == others.len() => {
            format!("{shown}. No difference between it and any other arm that these seeds support; {resampled}.")
        }
        n => {
            let open = few_of(&open.iter().map(|arm| name(*arm).as_str()).collect::<Vec<_>>());
            format!(
                "{shown}. These seeds tell it apart from {} of {} others, and support no difference from: {open}; {resampled}.",
                others.len() - n,
                others.len()
            )
        }
    }
}

fn incomplete(analysed: &Analysed, rankings: &Rankings) -> Option<String> {
    let arms: Vec<&str> = rankings.incomplete.iter().map(|arm| analysed.facet.arms[*arm].name.as_str()).collect();
    let (lack, means) = if arms.len() == 1 { ("arm lacks", "its mean is") } else { ("arms lack", "their means are") };
    (!arms.is_empty()).then(|| {
        let (n, seeds) = (arms.len(), rankings.seeds);
        format!("{n} {lack} a value for some of the {seeds} seeds, and {means} over the others: {}.", few_of(&arms))
    })
}

/// The first names of a list.
fn few_of(names: &[&str]) -> String {
    let more = if names.len() > 6 { format!(" and {} more", names.len() - 6) } else { String::new() };
    format!("{}{more}", names[..names.len().min(6)].join("; "))
}

fn flips(analysed: &Analysed, rankings: &Rankings) -> Vec<String> {
    let sentence = |flip: &Flip| {
        let at = |ranking: usize| {
            let ranking = &rankings.rankings[ranking];
            let line = analysed.facet.arms[ranking.places[0].arm].line;
            let size = ranking.size.map_or("", |size| &analysed.sizes[size]);
            (&analysed.design.lines[line], size)
        };
        let ((first, small), (second, large)) = (at(flip.rankings.0), at(flip.rankings.1));
        format!(
            "The first place changes with the size of the initial set: {first} with {small}, {second} with {large}. Both are first \
             where they are in {:.0} % of the resamples of the {} seeds.",
            100.0 * flip.p,
            rankings.seeds
        )
    };
    let sentences: Vec<String> = rankings.flips.iter().map(sentence).collect();
    let contested = rankings.rankings.len() > 1 && rankings.rankings.iter().all(|ranking| ranking.places.len() > 1);
    match sentences.is_empty() && contested {
        true => vec!["The same arm is first with every size of the initial set.".to_owned()],
        false => sentences,
    }
}

/// What initial sets are worth by themselves, for each size.
fn initial_sets(analysed: &Analysed) -> Vec<String> {
    let of_size = |(size, tests): (Option<usize>, Vec<Test>)| {
        (size.map_or(" by themselves".to_owned(), |size| format!(" of {} by themselves", analysed.sizes[size])), tests)
    };
    let families = compare::initial_sets(analysed).into_iter().map(of_size);
    let over_sizes = (" of all sizes, by each seed's mean".to_owned(), compare::initial_sets_over_sizes(analysed));
    let sentence = |(which, tests): (String, Vec<Test>)| {
        let held = held_against(analysed, &tests, |arm| analysed.design.lines[arm.line].clone())?;
        Some(format!("Initial sets{which}, {held}"))
    };
    families.chain([over_sizes]).filter_map(sentence).collect()
}

fn against_baseline(analysed: &Analysed) -> Option<String> {
    let tests = family(&analysed.facet, Quantity::AtLabels, &with_baseline(&analysed.baselines));
    let held = held_against(analysed, &tests, |arm| arm.name.clone())?;
    Some(held.replacen('a', "A", 1))
}

/// Which arms a family of tests against the baseline tells from it; none with too few seeds.
fn held_against(analysed: &Analysed, tests: &[Test], name: impl Fn(&Arm) -> String) -> Option<String> {
    let facet = &analysed.facet;
    let enough: Vec<_> = tests.iter().filter(|test| test.paired.n >= ENOUGH_SEEDS).collect();
    if enough.is_empty() {
        return None;
    }
    let supported = |above: bool| -> Vec<String> {
        let holds = enough.iter().filter(|test| test.p_holm < LEVEL && (test.paired.difference > 0.0) == above);
        holds.map(|test| name(&facet.arms[test.first])).collect()
    };
    let list = |arms: &[String]| match arms {
        [] => "none".to_owned(),
        arms => few_of(&arms.iter().map(String::as_str).collect::<Vec<_>>()),
    };
    let (above, below) = (supported(true), supported(false));
    let open = enough.len() - above.len() - below.len();
    let open = if open == 0 { String::new() } else { format!("; no difference that these seeds support for {open}") };
    Some(format!(
        "against the baseline, with p < {LEVEL} after Holm's correction over {} arms: above it {}; below it {}{open}.",
        enough.len(),
        list(&above),
        list(&below)
    ))
}
