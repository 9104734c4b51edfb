//! What each sizer would have said, beside the size of the initial set that was best in hindsight.
//!
//! A sizer that nobody follows is heard truly only where the initial strategy goes on whatever happens: in runs whose query strategy
//! is the initial one. Of these the run with the smallest initial set tells, for each seed. Beside them stands whoever asks nobody and
//! takes the same size every time: a sizer has to beat that.

use std::collections::BTreeSet;

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
    /// The studied sizes nearest to what it said, smallest first, as places among the design's.
    pub(super) nearest: BTreeSet<usize>,
    /// The studied size with the best mean.
    pub(super) best: usize,
    /// The accuracy there, for each seed of the facet.
    pub(super) at_best: Vec<Option<f64>>,
    /// How much less it is at the size nearest to what was said.
    pub(super) regrets: Vec<Option<f64>>,
}

/// For each line with several sizes and each sizer that was asked; nothing where arms are compared nowhere.
pub(super) fn regrets(design: &Design, facet: &Facet) -> Vec<Regret> {
    let Some(at) = facet.compare_at else { return Vec::new() };
    let asked = sizers(facet).into_iter().map(|sizer| {
        let of_seed = |seed: &String| advice(design, facet, seed, &sizer);
        let advice = facet.seeds.iter().map(of_seed).collect();
        (sizer, advice)
    });
    let mut advice: Vec<(String, Vec<Option<Advice>>)> = asked.collect();
    if !advice.is_empty() {
        let sizes = design.sizes.iter().filter_map(|size| size.parse().ok());
        advice.extend(
            sizes.map(|labels| {
                (format!("always {labels}"), vec![Some(Advice { labels, open: false }); facet.seeds.len()])
            }),
        );
    }
    let mut regrets = Vec::new();
    for line in 0..design.lines.len() {
        let sizes: Vec<Sized> = facet.arms.iter().filter_map(|arm| Sized::of(design, arm, line, at)).collect();
        let Some(best) = sizes.iter().filter(|_| sizes.len() > 1).max_by(|a, b| a.mean.total_cmp(&b.mean)) else {
            continue;
        };
        regrets.extend(advice.iter().filter_map(|(sizer, advice)| regret(line, sizer, advice, &sizes, best)));
    }
    regrets
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
    mean: f64,
    values: Vec<Option<f64>>,
}

impl Sized {
    fn of(design: &Design, arm: &Arm, line: usize, at: f64) -> Option<Sized> {
        let place = arm.size.filter(|_| arm.line == line)?;
        let labels = design.sizes[place].parse().ok()?;
        let values = arm.values(|curve| statistics::at(curve, at));
        let known: Vec<f64> = values.iter().flatten().copied().collect();
        (!known.is_empty()).then(|| Sized { place, labels, mean: mean(&known), values })
    }
}

fn regret(line: usize, sizer: &str, advice: &[Option<Advice>], sizes: &[Sized], best: &Sized) -> Option<Regret> {
    let apart = |size: &Sized, said: f64| (size.labels / said.max(1.0)).ln().abs();
    let nearest = |said: f64| sizes.iter().min_by(|a, b| apart(a, said).total_cmp(&apart(b, said)));
    let followed: Vec<Option<&Sized>> = advice.iter().map(|advice| nearest(advice.as_ref()?.labels)).collect();
    let regrets = followed.iter().enumerate().map(|(seed, size)| Some(best.values[seed]? - (*size)?.values[seed]?));
    let told: Vec<Advice> = advice.iter().flatten().copied().collect();
    (!told.is_empty()).then(|| Regret {
        line,
        sizer: sizer.to_owned(),
        said: told.iter().map(|advice| advice.labels).collect(),
        open: told.iter().filter(|advice| advice.open).count(),
        nearest: followed.iter().flatten().map(|size| size.place).collect(),
        best: best.place,
        at_best: best.values.clone(),
        regrets: regrets.collect(),
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

fn advice(design: &Design, facet: &Facet, seed: &str, sizer: &str) -> Option<Advice> {
    let goes_on = |run: &&Run| run.config.get("initial.strategy") == run.config.get("query.strategy");
    let of_seed = |cell: &&&Cell| design.seed(cell) == seed;
    let runs = facet.arms.iter().flat_map(|arm| &arm.cells).filter(of_seed).filter_map(|cell| cell.run.as_ref());
    let first = |run: &&Run| run.rounds.first().map_or(usize::MAX, |round| round.metrics.labels);
    let told = runs.filter(goes_on).filter_map(|run| Some((first(&run), of_run(run, sizer)?)));
    told.min_by_key(|(labels, _)| *labels).map(|(_, advice)| advice)
}

/// The size that it wanted before the first label, or the labels with which it was content, if these are more.
fn of_run(run: &Run, sizer: &str) -> Option<Advice> {
    let said: Vec<(usize, &Said)> = run
        .rounds
        .iter()
        .filter_map(|round| {
            let sizings = round.sizings.as_ref()?;
            Some((sizings.labels, sizings.said.iter().find(|said| said.sizer == sizer)?))
        })
        .collect();
    let (_, first) = said.first()?;
    let content = said.iter().find(|(_, said)| said.content).map(|(labels, _)| *labels);
    let end = run.last_round()?.metrics.labels;
    let labels = content.unwrap_or(end).max(first.size) as f64;
    Some(Advice { labels, open: content.is_none() && first.size <= end })
}
