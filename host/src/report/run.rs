//! Reads one run directory, whole or broken.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use super::ReportError;
use super::files::{
    Config, Environment, Event, Journal, LockedPlugin, Metrics, Pick, Sizings, Timings, parse_json, parse_lock,
    parse_selection,
};
use super::maps::{self, ImageMap};
use super::tables::{self, Diagnostics, Training};
use crate::hash::sha256;

/// Images in one row of `picks.png`.
pub(super) const SPRITE_COLUMNS: usize = 10;

/// One run directory, with everything that could be read.
#[derive(Debug, Clone)]
pub struct Run {
    /// The folder.
    pub dir: PathBuf,
    /// The resolved config.
    pub config: Config,
    /// Where it ran.
    pub environment: Environment,
    /// The strategies it loaded.
    pub plugins: Vec<LockedPlugin>,
    /// What happened, in order.
    pub journal: Vec<Event>,
    /// The rounds that count, in order: those whose selection and metrics are both whole.
    pub rounds: Vec<Round>,
    /// What strategies had trained beside the model, in order.
    pub trainings: Vec<Training>,
    /// What was measured with every label, if anything was.
    pub diagnostics: Option<Diagnostics>,
    /// Maps of images that were stored: round by round, those of the diagnosis last.
    pub maps: Vec<ImageMap>,
    /// How it ended.
    pub status: Status,
    /// What could not be read, one sentence each.
    pub problems: Vec<String>,
    /// The hashes of its files, where its journal has them.
    pub(super) stored: BTreeMap<String, String>,
}

/// How a run ended, by its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// All rounds are there.
    Finished,
    /// It ended with this error.
    Failed(String),
    /// It was interrupted or killed, or is still under way.
    Unfinished,
}

/// One round that counts.
#[derive(Debug, Clone)]
pub struct Round {
    /// 0 chooses the initial set.
    pub number: usize,
    /// The images chosen, in that order.
    pub selection: Vec<Pick>,
    /// What the model reached afterwards.
    pub metrics: Metrics,
    /// What sizers said before it, if there were any.
    pub sizings: Option<Sizings>,
    /// What it took, if recorded.
    pub timings: Option<Timings>,
    /// Thumbnails of the selection, if there are any.
    pub sprite: Option<Sprite>,
}

/// A PNG with the chosen images as equal tiles, ten in a row, in the order of the selection.
#[derive(Debug, Clone)]
pub struct Sprite {
    /// The file.
    pub png: Vec<u8>,
    /// Width of the sheet in pixels.
    pub width: u32,
    /// Height of the sheet in pixels.
    pub height: u32,
}

/// Reads a run directory.
///
/// Errs only when `dir` is not a run directory at all, and when a file that its numbers come from is not what the run wrote.
/// Whatever else is missing or damaged is left out and named in [`Run::problems`].
pub fn read_run(dir: &Path) -> Result<Run, ReportError> {
    read(dir, Depth::Everything)
}

/// Reads what the tables of a study need: config, environment, lock, journal, selections and metrics.
///
/// Errs as [`read_run`] does. No picture, map, time or training is read, so that hundreds of runs fit into memory and a
/// damaged picture is no problem of a table.
pub(super) fn read_numbers(dir: &Path) -> Result<Run, ReportError> {
    read(dir, Depth::Numbers)
}

fn read(dir: &Path, depth: Depth) -> Result<Run, ReportError> {
    check_is_run(dir)?;
    let mut reader = Reader::new(dir, depth);
    let journal = reader.journal();
    let config = reader.note("config.toml", Config::parse).unwrap_or_else(|| reader.unparsed_config());
    let environment = reader.note("environment.json", parse_json).unwrap_or_default();
    let plugins = reader.note("plugins.lock", parse_lock).unwrap_or_default();
    let rounds = reader.rounds();
    let everything = depth == Depth::Everything;
    let trainings = if everything { reader.trainings(&journal) } else { Vec::new() };
    let diagnostics = if everything { reader.diagnostics() } else { None };
    let maps = if everything { reader.maps() } else { Vec::new() };
    reader.check()?;
    let (dir, status) = (dir.to_owned(), status(&journal));
    let Reader { problems, stored, .. } = reader;
    Ok(Run {
        dir,
        config,
        environment,
        plugins,
        journal,
        rounds,
        trainings,
        diagnostics,
        maps,
        status,
        problems,
        stored,
    })
}

impl Run {
    /// The name of its folder.
    pub fn name(&self) -> String {
        let folder = self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone());
        folder.file_name().map_or_else(|| self.dir.display().to_string(), |name| name.to_string_lossy().into_owned())
    }

    /// Its seed as text; empty when the config does not say.
    pub fn seed(&self) -> &str {
        self.config.get("seed")
    }

    /// The last round that counts.
    pub fn last_round(&self) -> Option<&Round> {
        self.rounds.last()
    }

    /// Whether anybody was asked how large the initial set should be.
    pub fn asked_sizers(&self) -> bool {
        self.rounds.iter().any(|round| round.sizings.is_some())
    }

    /// The bytes of a file that others are given as it is; none if it is not there.
    ///
    /// Errs when it is not what the run wrote.
    pub(super) fn file(&self, name: &str) -> Result<Option<Vec<u8>>, ReportError> {
        let path = self.dir.join(name);
        let Ok(bytes) = fs::read(&path) else { return Ok(None) };
        match self.stored.get(name).is_none_or(|hash| *hash == sha256(&bytes)) {
            true => Ok(Some(bytes)),
            false => Err(ReportError::Damaged { path, problem: "it is not what was written".to_owned() }),
        }
    }

    /// How it ended, in a few words.
    pub fn status_line(&self) -> String {
        let reached = match self.last_round() {
            Some(round) => format!("after round {}", round.number),
            None => "before a round was finished".to_owned(),
        };
        match &self.status {
            Status::Finished => "finished".to_owned(),
            Status::Failed(error) => format!("failed {reached}: {error}"),
            Status::Unfinished => format!("stopped {reached}"),
        }
    }

    /// What a reader must know before trusting the numbers: how it ended unless it finished, and what was unreadable.
    pub fn notes(&self) -> Vec<String> {
        let ended = (self.status != Status::Finished).then(|| self.status_line());
        let oracle = |plugin: &LockedPlugin| {
            format!(
                "the {} strategy `{}` is an oracle: it reads labels that nobody has paid for",
                plugin.role, plugin.name
            )
        };
        let oracles: Vec<String> = self.plugins.iter().filter(|plugin| plugin.oracle).map(oracle).collect();
        ended.iter().chain(&oracles).chain(&self.problems).map(|note| format!("{}: {note}", self.name())).collect()
    }

    /// The name of the class with this label, or the label itself where the names are unknown.
    pub fn class_name<'a>(&'a self, label: &'a str) -> &'a str {
        let index = label.parse::<usize>().ok();
        index.and_then(|index| self.environment.dataset.classes.get(index)).map_or(label, String::as_str)
    }
}

fn check_is_run(dir: &Path) -> Result<(), ReportError> {
    let has = |name: &str| dir.join(name).exists();
    let missing = match (has("config.toml"), has("journal.jsonl") || has("rounds") || has("environment.json")) {
        (true, true) => return Ok(()),
        (false, true) => "`config.toml`",
        (true, false) => "`journal.jsonl`, `environment.json` or `rounds/`",
        (false, false) => "`config.toml` and no `journal.jsonl`, `environment.json` or `rounds/`",
    };
    Err(ReportError::NotARun { dir: dir.to_owned(), missing: missing.to_owned() })
}

/// The last word of the journal counts: a failed run may have been resumed.
fn status(journal: &[Event]) -> Status {
    journal.iter().fold(Status::Unfinished, |status, event| match event.event.as_str() {
        "run-finished" => Status::Finished,
        "run-failed" => Status::Failed(event.error()),
        "run-started" | "resumed" | "round-started" => Status::Unfinished,
        _ => status,
    })
}

/// How much of a run is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    Everything,
    Numbers,
}

/// Reads files of one run and collects what went wrong.
pub(super) struct Reader<'a> {
    dir: &'a Path,
    depth: Depth,
    pub(super) problems: Vec<String>,
    /// The hashes of files, where the journal has them.
    stored: BTreeMap<String, String>,
    /// The first file that numbers come from and that is not what was written, and what is wrong with it.
    damaged: Option<(PathBuf, String)>,
}

/// The files that numbers come from.
const NUMBERS: [&str; 6] =
    ["config.toml", "environment.json", "plugins.lock", "selection.csv", "metrics.json", "sizing.json"];

impl<'a> Reader<'a> {
    pub(super) fn new(dir: &'a Path, depth: Depth) -> Reader<'a> {
        Reader { dir, depth, problems: Vec::new(), stored: BTreeMap::new(), damaged: None }
    }

    /// Errs if a file that numbers come from is not what was written.
    fn check(&mut self) -> Result<(), ReportError> {
        match self.damaged.take() {
            Some((path, problem)) => Err(ReportError::Damaged { path, problem }),
            None => Ok(()),
        }
    }

    /// The bytes of a file; errs, with a sentence, when it is not what was written.
    fn bytes(&mut self, name: &str) -> Result<Vec<u8>, String> {
        let bytes = fs::read(self.dir.join(name)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => format!("{name} is missing"),
            _ => format!("{name}: {error}"),
        })?;
        if self.stored.get(name).is_some_and(|hash| sha256(&bytes) != *hash) {
            let problem = "it is not what was written";
            if NUMBERS.iter().any(|file| name.ends_with(file)) {
                self.damaged.get_or_insert((self.dir.join(name), problem.to_owned()));
            } else {
                tracing::warn!("`{}` is left out: {problem}", self.dir.join(name).display());
            }
            return Err(format!("{name} is damaged: {problem}"));
        }
        Ok(bytes)
    }

    /// Reads and parses one file, or says in a sentence why not.
    fn parse<T, E: Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, String> {
        let text = String::from_utf8(self.bytes(name)?).map_err(|error| format!("{name}: {error}"))?;
        parse(&text).map_err(|error| format!("{name}: {error}"))
    }

    /// Like `parse`, with the sentence noted as a problem.
    fn note<T, E: Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.parse(name, parse).map_err(|problem| self.problems.push(problem)).ok()
    }

    fn journal(&mut self) -> Vec<Event> {
        let parse = |text: &str| Ok::<_, std::convert::Infallible>(Journal::parse(text));
        let journal = self.note("journal.jsonl", parse).unwrap_or_default();
        self.stored = journal.stored();
        self.damaged = journal.damage.map(|problem| (self.dir.join("journal.jsonl"), problem));
        self.problems.extend(journal.problems);
        journal.events
    }

    /// A config that is not valid TOML is still shown as it stands.
    fn unparsed_config(&self) -> Config {
        let text = fs::read_to_string(self.dir.join("config.toml")).unwrap_or_default();
        Config { text, ..Config::default() }
    }

    /// What a folder holds, by name; nothing if there is no such folder.
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The folders of rounds below a folder, in order.
    fn numbered(&self, folder: &str) -> Vec<(usize, String)> {
        let names = self.names(folder).into_iter();
        let mut numbered: Vec<(usize, String)> =
            names.filter_map(|name| Some((name.parse().ok()?, format!("{folder}/{name}")))).collect();
        numbered.sort();
        numbered
    }

    fn rounds(&mut self) -> Vec<Round> {
        self.numbered("rounds").into_iter().filter_map(|(number, folder)| self.round(number, &folder)).collect()
    }

    fn numbers(&mut self, folder: &str) -> Result<(Vec<Pick>, Metrics), String> {
        let selection = self.parse(&format!("{folder}/selection.csv"), parse_selection)?;
        Ok((selection, self.parse(&format!("{folder}/metrics.json"), parse_json)?))
    }

    fn round(&mut self, number: usize, folder: &str) -> Option<Round> {
        let whole = self.numbers(folder);
        let (selection, metrics) = whole
            .map_err(|problem| self.problems.push(format!("round {number} is unfinished and left out: {problem}")))
            .ok()?;
        let sizings = format!("{folder}/sizing.json");
        let sizings = self.dir.join(&sizings).exists().then(|| self.note(&sizings, parse_json)).flatten();
        if self.depth == Depth::Numbers {
            return Some(Round { number, selection, metrics, sizings, timings: None, sprite: None });
        }
        let timings = self.note(&format!("{folder}/timings.json"), parse_json);
        let sprite = self.sprite(&format!("{folder}/picks.png"));
        Some(Round { number, selection, metrics, sizings, timings, sprite })
    }

    pub(super) fn sprite(&mut self, name: &str) -> Option<Sprite> {
        if !self.dir.join(name).exists() {
            return None;
        }
        let png = self.bytes(name).map_err(|problem| self.problems.push(problem)).ok()?;
        let size = image::ImageReader::with_format(Cursor::new(&png), image::ImageFormat::Png).into_dimensions();
        match size {
            Ok((width, height)) => Some(Sprite { png, width, height }),
            Err(error) => {
                self.problems.push(format!("{name}: {error}"));
                None
            }
        }
    }

    fn trainings(&mut self, journal: &[Event]) -> Vec<Training> {
        let (trainings, problems) = tables::trainings(journal);
        self.problems.extend(problems);
        trainings
    }

    fn diagnostics(&mut self) -> Option<Diagnostics> {
        let made = self.dir.join("diagnostics.json").exists();
        made.then(|| self.note("diagnostics.json", parse_json)).flatten()
    }

    pub(super) fn maps(&mut self) -> Vec<ImageMap> {
        let rounds = self.numbered("artifacts").into_iter().map(|(round, folder)| (Some(round), folder));
        let folders = rounds.chain([(None, "artifacts/diagnosis".to_owned())]);
        folders.flat_map(|(round, folder)| self.maps_in(round, &folder)).collect()
    }

    fn maps_in(&mut self, round: Option<usize>, folder: &str) -> Vec<ImageMap> {
        let names = self.names(folder).into_iter().filter(|name| name.ends_with(".map.json"));
        names.filter_map(|name| self.map(round, folder, &name)).collect()
    }

    fn map(&mut self, round: Option<usize>, folder: &str, name: &str) -> Option<ImageMap> {
        let file = self.note(&format!("{folder}/{name}"), maps::parse)?;
        let sheet = file.thumbs.as_ref().and_then(|thumbs| {
            let png = format!("{folder}/{}", thumbs.file);
            if !self.dir.join(&png).exists() {
                self.problems.push(format!("{png} is missing"));
            }
            let sheet = self.sprite(&png)?;
            thumbs.fit(&sheet).map_err(|problem| self.problems.push(format!("{png}: {problem}"))).ok()?;
            Some(sheet)
        });
        Some(ImageMap { round, file, sheet })
    }
}
