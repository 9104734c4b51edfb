//! What the page's script draws from: every run's curve and the arms' means, in few bytes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use base64::Engine;
use serde::Serialize;

use super::Analysed;
use super::plan::{Cell, Study};
use crate::report::chart::{colour, hex};
use crate::report::curve::{Measure, mean_curve, points};
use crate::report::run::Run;
use crate::report::statistics;

/// So many bytes of pictures are put into the page; the others are shown from the runs' folders.
const MOST_PICTURES: usize = 4 << 20;

/// Everything that the script knows.
#[derive(Serialize)]
pub(super) struct Data {
    /// Key and title of each measure.
    measures: Vec<(&'static str, &'static str)>,
    facets: Vec<FacetData>,
    lines: Vec<String>,
    /// A colour for each line.
    colours: Vec<String>,
    sizes: Vec<String>,
    arms: Vec<ArmData>,
    runs: Vec<RunData>,
    /// What most runs have, for keys in which runs differ.
    common: BTreeMap<String, String>,
    /// PNGs in base64, each once.
    pictures: Vec<String>,
    /// The study's folder, as the page sees it.
    base: String,
}

#[derive(Serialize)]
struct FacetData {
    name: String,
    compare_at: Option<f64>,
    ranked: Vec<Ranked>,
}

/// An arm where arms are compared.
#[derive(Serialize)]
struct Ranked {
    arm: usize,
    mean: f64,
    low: Option<f64>,
    high: Option<f64>,
    /// Whether it is the best of its size.
    best: bool,
    seeds: usize,
}

/// Labels, mean, both ends of its interval, runs: a list in JSON, as there are many.
#[derive(Serialize)]
struct Mean(f64, f64, Option<f64>, Option<f64>, usize);

#[derive(Serialize)]
struct ArmData {
    facet: usize,
    line: usize,
    size: Option<usize>,
    name: String,
    runs: usize,
    /// For each measure its mean after each round.
    means: Vec<Vec<Mean>>,
}

#[derive(Serialize)]
struct RunData {
    id: String,
    arm: usize,
    seed: String,
    state: &'static str,
    problem: Option<String>,
    labels: Option<usize>,
    accuracy: Option<f64>,
    /// Accuracy where arms are compared.
    compared: Option<f64>,
    /// For each measure its (round, labels, value).
    curves: Vec<Vec<(usize, usize, f64)>>,
    /// Place among the pictures; none if it is to be found in the run's folder.
    picture: Option<usize>,
    /// Whether there is a picture at all.
    picks: bool,
    /// Whether the run has a page of its own.
    page: bool,
    /// Settings in which it differs from what most runs have; null for one that it lacks.
    differs: BTreeMap<String, Option<String>>,
}

/// Gathers the data; `base` leads from the page to the study's folder.
pub(super) fn gather(study: &Study, analysed: &[Analysed], base: String) -> Data {
    let mut data = Data {
        measures: Measure::ALL.map(|measure| (measure.key(), measure.title())).to_vec(),
        facets: Vec::new(),
        lines: analysed.first().map_or(Vec::new(), |facet| facet.design.lines.clone()),
        colours: Vec::new(),
        sizes: analysed.first().map_or(Vec::new(), |facet| facet.sizes.to_vec()),
        arms: Vec::new(),
        runs: Vec::new(),
        common: common(study),
        pictures: Vec::new(),
        base,
    };
    data.colours = (0..data.lines.len()).map(|line| hex(colour(line))).collect();
    let mut album = Album::default();
    for (facet, of_facet) in analysed.iter().enumerate() {
        let first_arm = data.arms.len();
        data.facets.push(facet_data(of_facet, first_arm));
        for arm in &of_facet.facet.arms {
            let runs: Vec<&Run> = arm.cells.iter().filter_map(|cell| cell.run.as_ref()).collect();
            let means = Measure::ALL.map(|measure| means(&runs, measure)).into();
            let (line, size, name) = (arm.line, arm.size, arm.name.clone());
            for cell in &arm.cells {
                let run = run_data(study, of_facet, cell, data.arms.len(), &data.common, &mut album);
                data.runs.push(run);
            }
            data.arms.push(ArmData { facet, line, size, name, runs: arm.cells.len(), means });
        }
    }
    data.pictures = album.pictures;
    data
}

fn facet_data(analysed: &Analysed, first_arm: usize) -> FacetData {
    let rankings = analysed.rankings.as_ref();
    let places = rankings.into_iter().flat_map(|rankings| &rankings.rankings).flat_map(|ranking| {
        let contested = ranking.places.len() > 1;
        ranking.places.iter().enumerate().map(move |(rank, place)| (place, rank == 0 && contested))
    });
    let ranked = places.map(|(place, best)| {
        let ends = place.half_width.map(|half| ((place.mean - half).max(0.0), (place.mean + half).min(1.0)));
        let (low, high) = ends.unzip();
        Ranked {
            arm: first_arm + place.arm,
            mean: short(place.mean),
            low: low.map(short),
            high: high.map(short),
            best,
            seeds: place.seeds,
        }
    });
    FacetData { name: analysed.facet.name.clone(), compare_at: analysed.facet.compare_at, ranked: ranked.collect() }
}

fn means(runs: &[&Run], measure: Measure) -> Vec<Mean> {
    let points = mean_curve(runs, measure).into_iter();
    let point = |point: crate::report::curve::MeanPoint| {
        let (low, high) = point.interval.unzip();
        Mean(short(point.labels), short(point.mean), low.map(short), high.map(short), point.runs)
    };
    points.map(point).collect()
}

fn run_data(
    study: &Study,
    analysed: &Analysed,
    cell: &Cell,
    arm: usize,
    common: &BTreeMap<String, String>,
    album: &mut Album,
) -> RunData {
    let folder = study.dir.join("runs").join(&cell.id);
    let picture = std::fs::read(folder.join("rounds/000/picks.png")).ok();
    let last = cell.run.as_ref().and_then(Run::last_round).map(|round| &round.metrics);
    let curve = |measure: Measure| {
        let points = cell.run.iter().flat_map(|run| points(run, measure));
        points.map(|point| (point.round, point.labels, short(point.value))).collect()
    };
    RunData {
        id: cell.id.clone(),
        arm,
        seed: analysed.design.seed(cell),
        state: cell.state.name(),
        problem: cell.problem.clone(),
        labels: last.map(|last| last.labels_bought()),
        accuracy: last.and_then(|last| last.accuracy).map(short),
        compared: compared(analysed, cell).map(short),
        curves: Measure::ALL.map(curve).to_vec(),
        picks: picture.is_some(),
        picture: picture.and_then(|png| album.place(png)),
        page: folder.join("report.html").is_file(),
        differs: cell.run.as_ref().map_or(BTreeMap::new(), |run| differs(run, common)),
    }
}

fn compared(analysed: &Analysed, cell: &Cell) -> Option<f64> {
    statistics::at(&super::arms::curve(cell)?, analysed.facet.compare_at?)
}

/// The most frequent value of every key in which runs differ; of those as frequent the first in the alphabet.
fn common(study: &Study) -> BTreeMap<String, String> {
    let runs: Vec<&Run> = study.cells.iter().filter_map(|cell| cell.run.as_ref()).collect();
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (key, value) in runs.iter().flat_map(|run| &run.config.keys) {
        *counts.entry(key).or_default().entry(value).or_default() += 1;
    }
    let differing = counts.into_iter().filter(|(_, values)| values.values().any(|count| *count < runs.len()));
    let most = differing.filter_map(|(key, values)| {
        let (value, _) = values.into_iter().rev().max_by_key(|(_, count)| *count)?;
        Some((key.to_owned(), value.to_owned()))
    });
    most.collect()
}

fn differs(run: &Run, common: &BTreeMap<String, String>) -> BTreeMap<String, Option<String>> {
    let own = common.iter().map(|(key, most)| (key, most, run.config.keys.get(key)));
    own.filter(|(_, most, own)| *own != Some(*most)).map(|(key, _, own)| (key.clone(), own.cloned())).collect()
}

/// Pictures, each once: runs that began from the same round 0 share theirs.
#[derive(Default)]
struct Album {
    pictures: Vec<String>,
    places: BTreeMap<Vec<u8>, usize>,
    bytes: usize,
}

impl Album {
    /// Where the picture is, or none where it found no room.
    fn place(&mut self, png: Vec<u8>) -> Option<usize> {
        match self.places.entry(png) {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(new) if self.bytes + new.key().len() <= MOST_PICTURES => {
                self.bytes += new.key().len();
                self.pictures.push(base64::engine::general_purpose::STANDARD.encode(new.key()));
                Some(*new.insert(self.pictures.len() - 1))
            }
            Entry::Vacant(_) => None,
        }
    }
}

/// Five digits after the point: more than a chart shows.
fn short(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}
