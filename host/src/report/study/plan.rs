//! Reads the folder of a study: what was planned, and what became of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::plugins;
use crate::hash;
use crate::report::ReportError;
use crate::report::files::parse_json;
use crate::report::run::{Run, Status, read_numbers};

/// What lies in the folder of every study.
const PLAN: &str = "plan.csv";
/// The config with its table `[sweep]`.
const CONFIG: &str = "study.toml";
/// What they hold, by hash.
const HASHES: &str = "hashes.json";
/// Columns of the plan that are no axes.
const LEADING: [&str; 2] = ["run", "round0"];

/// A study: the plan, and every run of it that has begun.
#[derive(Debug)]
pub(super) struct Study {
    pub(super) dir: PathBuf,
    /// What its config calls it; else the folder's name.
    pub(super) name: String,
    /// The axes of `[sweep]`, in the plan's order.
    pub(super) axes: Vec<String>,
    /// Labels at which arms are compared, if the config says so.
    pub(super) compare_at: Option<f64>,
    /// Axes and labels that say which arm the others are compared with; empty if none.
    pub(super) baseline: Vec<(String, String)>,
    /// A cell for every run of the plan, in its order.
    pub(super) cells: Vec<Cell>,
    /// What was unreadable in the study's own files.
    pub(super) problems: Vec<String>,
}

/// One planned run.
#[derive(Debug)]
pub(super) struct Cell {
    /// Name of its folder in `runs`.
    pub(super) id: String,
    /// Names the initial set: runs with the same one begin from the same round 0.
    pub(super) round0: String,
    /// Its label on each axis.
    pub(super) labels: Vec<String>,
    /// What there is of it.
    pub(super) run: Option<Run>,
    pub(super) state: State,
    /// The first thing that went wrong, in a sentence.
    pub(super) problem: Option<String>,
}

/// A run with what a study knows of it.
#[derive(Debug)]
pub(in crate::report) struct Named {
    /// What the study is called, or the run's config.
    pub(in crate::report) experiment: String,
    /// Its labels on the axes, or its folder's name.
    pub(in crate::report) name: String,
    /// Its label on each axis.
    pub(in crate::report) axes: Vec<(String, String)>,
    /// Why it failed, if it did.
    pub(in crate::report) error: Option<String>,
    pub(in crate::report) run: Run,
}

/// Every run of a study that has begun, in the plan's order.
pub(in crate::report) fn named_runs(dir: &Path) -> Result<Vec<Named>, ReportError> {
    let Study { name: experiment, axes, cells, .. } = read(dir)?;
    let named = |cell: Cell| {
        let failed = cell.state == State::Failed;
        Some(Named {
            experiment: experiment.clone(),
            name: cell.labels.join(", "),
            axes: axes.iter().cloned().zip(cell.labels).collect(),
            error: cell.problem.filter(|_| failed),
            run: cell.run?,
        })
    };
    Ok(cells.into_iter().filter_map(named).collect())
}

/// What became of a planned run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Finished,
    Unfinished,
    Failed,
    /// It has no folder, or one that holds no run.
    Missing,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Finished => "finished",
            State::Unfinished => "unfinished",
            State::Failed => "failed",
            State::Missing => "missing",
        }
    }
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

/// Whether a folder holds a study and not a run.
pub(in crate::report) fn is_study(dir: &Path) -> bool {
    dir.join(PLAN).is_file()
}

/// Reads a study. Errs when the plan is unreadable; runs that are missing or damaged are in it with what they have.
pub(super) fn read(dir: &Path) -> Result<Study, ReportError> {
    let damaged = |reason: String| ReportError::Plan { path: dir.join(PLAN), reason };
    check_files(dir)?;
    let mut reader = csv::Reader::from_path(dir.join(PLAN)).map_err(|error| damaged(error.to_string()))?;
    let header: Vec<String> =
        reader.headers().map_err(|error| damaged(error.to_string()))?.iter().map(str::to_owned).collect();
    if header.len() < 2 || header[..2] != LEADING {
        return Err(damaged("its first columns are not `run` and `round0`".to_owned()));
    }
    let mut cells = Vec::new();
    let mut seen = BTreeSet::new();
    for row in reader.records() {
        let row = row.map_err(|error| damaged(error.to_string()))?;
        let cell = cell(dir, &row)?.ok_or_else(|| damaged(format!("`{}` names no folder", &row[0])))?;
        if !seen.insert(cell.id.clone()) {
            return Err(damaged(format!("it has the run `{}` twice", cell.id)));
        }
        cells.push(cell);
    }
    let mut problems = Vec::new();
    let config = config(dir).unwrap_or_else(|problem| {
        problems.push(problem);
        toml::Table::new()
    });
    let sweep = config.get("sweep").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let folder = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let folder = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = config.get("name").and_then(toml::Value::as_str).map(str::to_owned);
    Ok(Study {
        dir: dir.to_owned(),
        name: name.or(folder).unwrap_or_default(),
        axes: header[LEADING.len()..].to_vec(),
        compare_at: sweep.get("compare_at").and_then(toml::Value::as_integer).map(|labels| labels as f64),
        baseline: baseline(&sweep),
        cells,
        problems,
    })
}

/// Errs when the plan or the config of a study is not what was written. An earlier version kept no list of what they hold.
fn check_files(dir: &Path) -> Result<(), ReportError> {
    let damaged =
        |name: &str| ReportError::Damaged { path: dir.join(name), problem: "it is not what was written".to_owned() };
    let Ok(text) = std::fs::read_to_string(dir.join(HASHES)) else { return Ok(()) };
    let list = hash::List::parse(&text).ok_or_else(|| damaged(HASHES))?;
    for name in [PLAN, CONFIG] {
        if std::fs::read(dir.join(name)).is_ok_and(|bytes| !list.allows(name, &bytes)) {
            return Err(damaged(name));
        }
    }
    Ok(())
}

fn config(dir: &Path) -> Result<toml::Table, String> {
    let text = std::fs::read_to_string(dir.join("study.toml")).map_err(|error| format!("study.toml: {error}"))?;
    text.parse().map_err(|error: toml::de::Error| format!("study.toml: {}", error.message()))
}

fn baseline(sweep: &toml::Table) -> Vec<(String, String)> {
    let pairs = sweep.get("baseline").and_then(toml::Value::as_table).into_iter().flatten();
    let plain = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    pairs.map(|(axis, label)| (axis.clone(), plain(label))).collect()
}

/// The cell of a row; none where the run's name would lead out of the study. Errs when its numbers are not what the run wrote.
fn cell(dir: &Path, row: &csv::StringRecord) -> Result<Option<Cell>, ReportError> {
    let id = row[0].to_owned();
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Ok(None);
    }
    let folder = dir.join("runs").join(&id);
    let (run, unreadable) = match folder.is_dir().then(|| read_numbers(&folder)) {
        Some(Ok(run)) => (Some(run), None),
        Some(Err(error @ ReportError::Damaged { .. })) => return Err(error),
        Some(Err(_)) => (None, Some("its folder holds no run".to_owned())),
        None => (None, None),
    };
    let failure = std::fs::read_to_string(dir.join("failures").join(format!("{id}.json"))).ok();
    let failure = failure.map(|text| match parse_json::<Failure>(&text) {
        Ok(failure) => failure.error,
        Err(error) => format!("failures/{id}.json: {error}"),
    });
    let state = state(run.as_ref(), failure.is_some());
    let problem = match (&run, state) {
        (Some(run), State::Finished) => run.problems.first().cloned(),
        (Some(run), _) => {
            let failure = failure.map(|error| format!("failed: {error}"));
            let own = (run.status != Status::Finished).then(|| run.status_line());
            let own = if state == State::Failed && run.status == Status::Unfinished { None } else { own };
            own.or(failure).or_else(|| run.problems.first().cloned())
        }
        (None, _) => failure.map(|error| format!("failed: {error}")).or(unreadable),
    };
    let problem = problem.map(|text| without_place(&text, dir));
    Ok(Some(Cell {
        id,
        round0: row[1].to_owned(),
        labels: row.iter().skip(2).map(str::to_owned).collect(),
        run,
        state,
        problem,
    }))
}

/// A run that finished after a failure has finished.
fn state(run: Option<&Run>, failed: bool) -> State {
    match run.map(|run| &run.status) {
        Some(Status::Finished) => State::Finished,
        Some(Status::Failed(_)) => State::Failed,
        _ if failed => State::Failed,
        Some(Status::Unfinished) => State::Unfinished,
        None => State::Missing,
    }
}

/// The first line of a message, with the study's folder left out: a study that was moved tells the same.
fn without_place(text: &str, dir: &Path) -> String {
    let mut line = text.lines().next().unwrap_or_default().to_owned();
    let places = [dir.canonicalize().unwrap_or_else(|_| dir.to_owned()), dir.to_owned()];
    for place in places.iter().filter_map(|place| place.to_str()).filter(|place| place.len() > 1) {
        line = line.replace(&format!("{}/", place.trim_end_matches('/')), "");
    }
    line
}

impl Study {
    /// What a reader must know before trusting the numbers: what was unreadable, oracles, runs that are not whole.
    pub(super) fn notes(&self) -> Vec<String> {
        let unfinished = self.cells.iter().filter(|cell| cell.state != State::Finished || cell.problem.is_some());
        let note = |cell: &Cell| match &cell.problem {
            Some(problem) => format!("{}: {problem}", cell.id),
            None => format!("{}: {}", cell.id, cell.state.name()),
        };
        let plugins = self.cells.iter().filter_map(|cell| cell.run.as_ref()).flat_map(|run| &run.plugins);
        let oracles: BTreeSet<&str> =
            plugins.filter(|plugin| plugin.oracle).map(|plugin| plugin.name.as_str()).collect();
        let oracle = |name| format!("the strategy `{name}` is an oracle: it reads labels that nobody has paid for");
        let plugins = oracles.into_iter().map(oracle).chain(plugins::notes(self));
        self.problems.iter().cloned().chain(plugins).chain(unfinished.map(note)).collect()
    }
}
