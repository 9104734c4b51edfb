//! What each sizer would have said, beside the size of the initial set that was best in hindsight.
//!
//! A sizer that nobody follows is heard truly only where the initial strategy goes on whatever happens: in runs whose query strategy
//! is the initial one. Of these the run with the smallest initial set tells, for each seed. One that was told of another query
//! strategy speaks to that strategy's lines alone. Beside them stands whoever asks nobody and takes the same size every time: a sizer
//! has to beat that.
//!
//! The best size is chosen on the other seeds: the best of several means on the same seeds would owe part of its height to chance.

use super::arms::{Arm, Design, Facet};
use super::plan::Cell;
use crate::report::files::Said;
use crate::report::run::Run;
use crate::report::statistics::{self, mean};

/// What following a sizer would have cost the arms of one line.
#[derive(Debug)]
pub(super) struct Regret {
    /// The place of the line among the design's.
    pub(super) line: usize,
    /// The sizer's name, or `always N` for a fixed size.
    pub(super) sizer: String,
    /// What it said, for each seed that tells.
    pub(super) said: Vec<f64>,
    /// Seeds with which it was not content before the run ended.
    pub(super) open: usize,
    /// The studied size with the best mean, as a place among the design's.
    pub(super) best: usize,
    /// The accuracy there, for each seed of the facet.
    pub(super) at_best: Vec<Option<f64>>,
    /// How much less it is at what was said than at the size that is best on the other seeds, for each seed.
    pub(super) regrets: Vec<Option<f64>>,
}

/// For each line with several sizes and each sizer that speaks to it; nothing where arms are compared nowhere.
pub(super) fn regrets(design: &Design, facet: &Facet) -> Vec<Regret> {
    let Some(at) = facet.compare_at else { return Vec::new() };
    let asked = sizers(facet);
    if asked.is_empty() {
        return Vec::new();
    }
    let mut regrets = Vec::new();
    for line in 0..design.lines.len() {
        let mut sizes: Vec<Sized> = facet.arms.iter().filter_map(|arm| Sized::of(design, arm, line, at)).collect();
        sizes.sort_by(|a, b| a.labels.total_cmp(&b.labels));
        if sizes.len() < 2 {
            continue;
        }
        let query = query_of(facet, line);
        let said = asked.iter().map(|sizer| {
            let of_seed = |seed: &String| advice(design, facet, seed, sizer, query.as_deref());
            (sizer.clone(), facet.seeds.iter().map(of_seed).collect::<Vec<_>>())
        });
        let fixed = sizes.iter().map(|size| {
            let advice = Some(Advice { labels: size.labels, open: false });
            (format!("always {}", design.sizes[size.place]), vec![advice; facet.seeds.len()])
        });
        let of_line = said.chain(fixed);
        regrets.extend(of_line.filter_map(|(sizer, advice)| regret(line, &sizer, &advice, &sizes)));
    }
    regrets
}

/// The query strategy of a line's runs.
fn query_of(facet: &Facet, line: usize) -> Option<String> {
    let cells = facet.arms.iter().filter(|arm| arm.line == line).flat_map(|arm| &arm.cells);
    let config = cells.filter_map(|cell| cell.run.as_ref()).next().map(|run| &run.config)?;
    Some(config.get("query.strategy").to_owned())
}

/// What a sizer said with one seed.
#[derive(Debug, Clone, Copy)]
struct Advice {
    labels: f64,
    open: bool,
}

/// The arm of a line with one size.
struct Sized {
    place: usize,
    labels: f64,
    values: Vec<Option<f64>>,
}

impl Sized {
    fn of(design: &Design, arm: &Arm, line: usize, at: f64) -> Option<Sized> {
        let place = arm.size.filter(|_| arm.line == line)?;
        let labels = design.sizes[place].parse().ok()?;
        let values = arm.values(|curve| statistics::at(curve, at));
        values.iter().any(Option::is_some).then_some(Sized { place, labels, values })
    }

    /// The mean over the seeds but one.
    fn mean_without(&self, seed: Option<usize>) -> Option<f64> {
        let others = self.values.iter().enumerate().filter(|(i, _)| Some(*i) != seed);
        let known: Vec<f64> = others.filter_map(|(_, value)| *value).collect();
        (!known.is_empty()).then(|| mean(&known))
    }
}

/// The size with the highest mean over the seeds but one; the smallest of equal ones.
fn best_without(sizes: &[Sized], seed: Option<usize>) -> Option<&Sized> {
    let known = sizes.iter().filter_map(|size| Some((size, size.mean_without(seed)?)));
    known.rev().max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(size, _)| size)
}

/// The accuracy with one seed where the initial set has `labels` images: between two studied sizes on the straight line over the
/// logarithm of the size, beyond them as at the nearest.
fn accuracy_at(sizes: &[Sized], seed: usize, labels: f64) -> Option<f64> {
    let above = sizes.iter().position(|size| size.labels >= labels).unwrap_or(sizes.len() - 1);
    let (low, high) = (&sizes[above.saturating_sub(1)], &sizes[above]);
    if labels >= high.labels || labels <= low.labels {
        return if labels >= high.labels { high.values[seed] } else { low.values[seed] };
    }
    let share = (labels / low.labels).ln() / (high.labels / low.labels).ln();
    Some((1.0 - share) * low.values[seed]? + share * high.values[seed]?)
}

fn regret(line: usize, sizer: &str, advice: &[Option<Advice>], sizes: &[Sized]) -> Option<Regret> {
    let best = best_without(sizes, None)?;
    let short = |(seed, advice): (usize, &Option<Advice>)| {
        let best = best_without(sizes, Some(seed))?;
        Some(best.values[seed]? - accuracy_at(sizes, seed, advice.as_ref()?.labels)?)
    };
    let told: Vec<Advice> = advice.iter().flatten().copied().collect();
    (!told.is_empty()).then(|| Regret {
        line,
        sizer: sizer.to_owned(),
        said: told.iter().map(|advice| advice.labels).collect(),
        open: told.iter().filter(|advice| advice.open).count(),
        best: best.place,
        at_best: best.values.clone(),
        regrets: advice.iter().enumerate().map(short).collect(),
    })
}

/// Every sizer that was asked in the facet, in the order of the first run that asked it.
fn sizers(facet: &Facet) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for run in facet.arms.iter().flat_map(|arm| &arm.cells).filter_map(|cell| cell.run.as_ref()) {
        for said in run.rounds.iter().flat_map(|round| &round.sizings).flat_map(|sizings| &sizings.said) {
            if !names.contains(&said.sizer) {
                names.push(said.sizer.clone());
            }
        }
    }
    names
}

/// What a sizer says with one seed to lines with this query strategy.
fn advice(design: &Design, facet: &Facet, seed: &str, sizer: &str, query: Option<&str>) -> Option<Advice> {
    let goes_on = |run: &&Run| run.config.get("initial.strategy") == run.config.get("query.strategy");
    let of_seed = |cell: &&&Cell| design.seed(cell) == seed;
    let runs = facet.arms.iter().flat_map(|arm| &arm.cells).filter(of_seed).filter_map(|cell| cell.run.as_ref());
    let first = |run: &&Run| run.rounds.first().map_or(usize::MAX, |round| round.metrics.labels);
    let told = runs.filter(goes_on).filter_map(|run| Some((first(&run), of_run(run, sizer, query)?)));
    told.min_by_key(|(labels, _)| *labels).map(|(_, advice)| advice)
}

/// The size that it wanted before the first label, or the labels with which it was content, if these are more. What it was told of
/// this query strategy comes before what it was told of the run's own.
fn of_run(run: &Run, sizer: &str, query: Option<&str>) -> Option<Advice> {
    let of_query = |wanted: Option<&str>| -> Vec<(usize, &Said)> {
        let is_it = |said: &&Said| said.sizer == sizer && said.query.as_deref() == wanted;
        let sizings = run.rounds.iter().filter_map(|round| round.sizings.as_ref());
        sizings.filter_map(|sizings| Some((sizings.labels, sizings.said.iter().find(is_it)?))).collect()
    };
    let told = query.map(|query| of_query(Some(query))).unwrap_or_default();
    let said = if told.is_empty() { of_query(None) } else { told };
    let (_, first) = said.first()?;
    let content = said.iter().find(|(_, said)| said.content).map(|(labels, _)| *labels);
    let end = run.last_round()?.metrics.labels;
    let labels = content.unwrap_or(end).max(first.size) as f64;
    Some(Advice { labels, open: content.is_none() && first.size <= end })
}
