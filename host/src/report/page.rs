//! Prepares what `page.html` shows, and fills it.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use base64::Engine;

use super::arms::Arm;
use super::chart::{self, charts, colour, hex};
use super::curve::{Measure, mean_curve};
use super::facts::{self, count, distinct};
use super::files::Timings;
use super::maps::{self, MapView};
use super::run::{Round, Run, SPRITE_COLUMNS, Sprite, Status};
use super::statistics::ENOUGH_SEEDS;

/// Phases in the order in which a round goes through them; others follow by name.
const PHASES: [&str; 13] = [
    "data",
    "size",
    "pretext",
    "select",
    "predict",
    "plugin",
    "augmentation",
    "forward",
    "backward",
    "optimizer",
    "train",
    "evaluate",
    "record",
];

/// The whole page as HTML.
pub(super) fn render(runs: &[Run], arms: &[Arm]) -> Result<String, askama::Error> {
    let most = maps::points_per_map(runs);
    let all: Vec<&Run> = runs.iter().collect();
    let page = Page {
        title: distinct(&all, |run| run.config.get("name").to_owned()),
        facts: facts::of(
            &all,
            [
                ("Runs", format!("{}, {}", count(runs.len(), "run"), count(arms.len(), "arm"))),
                ("Seeds", seeds(&all, arms)),
            ],
        ),
        seed_warning: seed_warning(arms),
        notes: runs.iter().flat_map(Run::notes).collect(),
        measures: &Measure::ALL,
        arms: arms.iter().enumerate().map(|(index, arm)| ArmView::new(index, arm)).collect(),
        runs: runs.iter().enumerate().map(|(index, run)| RunView::new(index, run, arms, most)).collect(),
        charts: charts(arms),
        script: chart::script(),
    };
    page.render()
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    title: String,
    facts: Vec<(&'static str, String)>,
    seed_warning: Option<String>,
    notes: Vec<String>,
    measures: &'a [Measure],
    arms: Vec<ArmView<'a>>,
    runs: Vec<RunView<'a>>,
    charts: BTreeMap<&'static str, plotly::Plot>,
    script: String,
}

impl Page<'_> {
    const KIND: &'static str = "Coldstart report";
    const CSS: &'static str = include_str!("page.css");
    const JS: &'static str = include_str!("page.js");
    const SORT_JS: &'static str = include_str!("sort.js");
    const MAPS_JS: &'static str = include_str!("maps.js");
}

fn seeds(runs: &[&Run], arms: &[Arm]) -> String {
    let per_arm: BTreeSet<usize> = arms.iter().map(Arm::seeds).collect();
    let per_arm = match (per_arm.first(), per_arm.last()) {
        (Some(low), Some(high)) if low != high => format!("{low} to {high} seeds per arm"),
        (Some(n), _) => format!("{} per arm", count(*n, "seed")),
        _ => String::new(),
    };
    format!("{per_arm} ({})", distinct(runs, |run| run.seed().to_owned()))
}

fn seed_warning(arms: &[Arm]) -> Option<String> {
    let fewest = arms.iter().map(Arm::seeds).min()?;
    let subject = match arms {
        [_] => "This rests",
        _ if arms.iter().all(|arm| arm.seeds() == fewest) => "Each arm rests",
        _ => "At least one arm rests",
    };
    let seeds = if fewest == 1 { "a single seed".to_owned() } else { format!("only {fewest} seeds") };
    (fewest < ENOUGH_SEEDS)
        .then(|| format!("{subject} on {seeds}: the curves show what happened, but no claim of a winner is supported."))
}

struct ArmView<'a> {
    arm: &'a Arm<'a>,
    colour: String,
    /// Labels bought at the end, how many runs got there, and each measure there.
    last: Option<(f64, usize, Vec<String>)>,
}

impl<'a> ArmView<'a> {
    fn new(index: usize, arm: &'a Arm<'a>) -> Self {
        let last_of = |measure: &Measure| mean_curve(&arm.runs, *measure).last().copied();
        let values = Measure::ALL.iter().map(|measure| match last_of(measure) {
            Some(point) => match point.half_width {
                Some(half) => format!("{:.3} ± {half:.3}", point.mean),
                None => format!("{:.3}", point.mean),
            },
            None => MISSING.to_owned(),
        });
        let end = Measure::ALL.iter().find_map(last_of);
        let last = end.map(|end| (end.labels, end.runs, values.collect()));
        ArmView { arm, colour: hex(colour(index)), last }
    }

    fn seed_list(&self) -> String {
        self.arm.runs.iter().map(|run| run.seed()).collect::<Vec<_>>().join(", ")
    }
}

struct RunView<'a> {
    run: &'a Run,
    name: String,
    index: usize,
    arm: usize,
    arm_name: &'a str,
    colour: String,
    /// A row per class; empty when the classes are unknown.
    heat: Vec<HeatRow>,
    phases: Vec<String>,
    timings: Vec<TimingRow>,
    maps: Vec<MapView<'a>>,
    galleries: Vec<Gallery<'a>>,
}

impl<'a> RunView<'a> {
    fn new(index: usize, run: &'a Run, arms: &'a [Arm], most_points: usize) -> Self {
        // Grouping puts every run into one arm.
        let arm = arms.iter().position(|arm| arm.indices.contains(&index)).unwrap_or_default();
        let phases = phases(run);
        RunView {
            run,
            name: run.name(),
            index,
            arm,
            arm_name: &arms[arm].name,
            colour: hex(colour(arm)),
            heat: heat(run),
            timings: timings(run, &phases),
            phases,
            maps: run.maps.iter().map(|map| MapView::new(run, map, most_points)).collect(),
            galleries: run.rounds.iter().map(|round| Gallery::new(run, round)).collect(),
        }
    }

    /// For the style of its badge.
    fn status_class(&self) -> &'static str {
        match self.run.status {
            Status::Finished => "finished",
            Status::Failed(_) => "failed",
            Status::Unfinished => "stopped",
        }
    }
}

/// One class: labelled images after each round.
struct HeatRow {
    class: String,
    cells: Vec<HeatCell>,
    /// No image of it was ever labelled.
    missed: bool,
    recall: Option<f64>,
}

struct HeatCell {
    count: u64,
    /// Share of the largest count of the run, in percent.
    shade: u64,
}

fn heat(run: &Run) -> Vec<HeatRow> {
    let counts = |round: &Round, class: usize| round.metrics.class_counts.get(class).copied().unwrap_or_default();
    let classes = run.rounds.iter().map(|round| round.metrics.class_counts.len()).max().unwrap_or_default();
    let largest = run.rounds.iter().flat_map(|round| &round.metrics.class_counts).max().copied().unwrap_or(0).max(1);
    let cell = |count: u64| HeatCell { count, shade: (100 * count).div_ceil(largest) };
    let row = |class: usize| HeatRow {
        class: run.class_name(&class.to_string()).to_owned(),
        cells: run.rounds.iter().map(|round| cell(counts(round, class))).collect(),
        missed: run.last_round().is_some_and(|round| counts(round, class) == 0),
        recall: run.last_round().and_then(|round| round.metrics.recall.get(class).copied().flatten()),
    };
    (0..classes).map(row).collect()
}

struct TimingRow {
    round: usize,
    /// Seconds and share of the run's longest round in percent, in the order of the phases.
    phases: Vec<(Option<f64>, f64)>,
    total: f64,
    peak_memory_bytes: u64,
}

fn phases(run: &Run) -> Vec<String> {
    let recorded = run.rounds.iter().filter_map(|round| round.timings.as_ref());
    // Phases that took next to nothing in every round would only make the table wide.
    let noticed = recorded.flat_map(|timings| &timings.seconds).filter(|(_, seconds)| **seconds >= 0.001);
    let names: BTreeSet<&String> = noticed.map(|(name, _)| name).collect();
    let mut names: Vec<String> = names.into_iter().cloned().collect();
    names.sort_by_key(|name| PHASES.iter().position(|phase| phase == name).unwrap_or(PHASES.len()));
    names
}

fn timings(run: &Run, phases: &[String]) -> Vec<TimingRow> {
    let recorded = || run.rounds.iter().filter_map(|round| Some((round.number, round.timings.as_ref()?)));
    let spent = |timings: &Timings| timings.seconds.values().sum::<f64>().max(timings.total);
    let longest = recorded().map(|(_, timings)| spent(timings)).fold(f64::MIN_POSITIVE, f64::max);
    let row = |(round, timings): (usize, &Timings)| TimingRow {
        round,
        phases: phases
            .iter()
            .map(|phase| timings.seconds.get(phase).copied())
            .map(|seconds| (seconds, 100.0 * seconds.unwrap_or(0.0) / longest))
            .collect(),
        total: timings.total,
        peak_memory_bytes: timings.peak_memory_bytes,
    };
    recorded().map(row).collect()
}

struct Gallery<'a> {
    round: usize,
    sheet: Option<Sheet>,
    tiles: Vec<Tile<'a>>,
}

/// How a sprite sheet is laid under the tiles.
pub(super) struct Sheet {
    pub(super) base64: String,
    /// Width by height of one tile, as CSS writes a ratio.
    pub(super) ratio: String,
    /// Height of the sheet in percent of a tile's.
    pub(super) height: usize,
}

struct Tile<'a> {
    /// Offsets of the sheet, in percent as `background-position` counts them.
    x: f64,
    y: f64,
    class: &'a str,
    id: u64,
    file: Option<&'a str>,
    score: Option<f64>,
    /// What stands for the item where there is no picture of it.
    words: Option<&'a str>,
}

impl<'a> Gallery<'a> {
    fn new(run: &'a Run, round: &'a Round) -> Self {
        let n = round.selection.len();
        let sheet = round.sprite.as_ref().map(|sprite| Sheet::new(sprite, n));
        let tiles = round.selection.iter().enumerate().map(|(place, pick)| Tile {
            x: offset(place, n)[0],
            y: offset(place, n)[1],
            class: run.class_name(&pick.label),
            id: pick.id,
            file: pick.file.as_deref(),
            score: pick.score,
            words: pick.text.as_deref().or(pick.file.as_deref()).filter(|_| round.sprite.is_none()),
        });
        Gallery { round: round.number, sheet, tiles: tiles.collect() }
    }
}

impl Sheet {
    /// The sheet of `n` images.
    pub(super) fn new(sprite: &Sprite, n: usize) -> Sheet {
        let rows = n.div_ceil(SPRITE_COLUMNS).max(1);
        Sheet {
            base64: base64::engine::general_purpose::STANDARD.encode(&sprite.png),
            ratio: format!("{} / {}", sprite.width as usize * rows, sprite.height as usize * SPRITE_COLUMNS),
            height: 100 * rows,
        }
    }
}

/// Where the sheet of `n` images is shifted to for the one at `place`, in percent as `background-position` counts them.
pub(super) fn offset(place: usize, n: usize) -> [f64; 2] {
    // Position p % puts p % of the sheet over p % of the tile, so that the last tile is at 100 %.
    let share = |place: usize, of: usize| 100.0 * place as f64 / (of - 1).max(1) as f64;
    let rows = n.div_ceil(SPRITE_COLUMNS).max(1);
    [share(place % SPRITE_COLUMNS, SPRITE_COLUMNS), share(place / SPRITE_COLUMNS, rows)]
}

const MISSING: &str = "–";

/// What templates call to write numbers.
pub(super) mod filters {
    use askama::{Result, Values, filter_fn};

    /// A measure with three decimals, or a dash.
    #[filter_fn]
    pub fn measure(value: &Option<f64>, _: &dyn Values) -> Result<String> {
        Ok(value.map_or(super::MISSING.to_owned(), |value| format!("{value:.3}")))
    }

    /// A score with its significant digits: scores have no common scale.
    #[filter_fn]
    pub fn score(value: &f64, _: &dyn Values) -> Result<String> {
        let plain = (1e-3..1e5).contains(&value.abs()) || *value == 0.0;
        Ok(if plain { format!("{value:.3}") } else { format!("{value:.2e}") })
    }

    /// A number with its digits in groups of three.
    #[filter_fn]
    pub fn grouped(n: &usize, _: &dyn Values) -> Result<String> {
        Ok(crate::report::facts::thousands(*n))
    }

    /// Seconds, minutes or hours.
    #[filter_fn]
    pub fn duration(seconds: &f64, _: &dyn Values) -> Result<String> {
        Ok(match *seconds {
            s if s < 10.0 => format!("{s:.2} s"),
            s if s < 600.0 => format!("{s:.1} s"),
            s if s < 36000.0 => format!("{:.1} min", s / 60.0),
            s => format!("{:.1} h", s / 3600.0),
        })
    }

    /// Bytes in MiB or GiB.
    #[filter_fn]
    pub fn memory(bytes: &u64, _: &dyn Values) -> Result<String> {
        let mib = *bytes as f64 / f64::from(1 << 20);
        Ok(if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.2} GiB", mib / 1024.0) })
    }
}
