//! The plan of a study: a row for each run, named by the hash of its config, and the folder that holds it all.

use super::claims::lock;
use crate::config::{Config, Initial, Query, Sweep};
use crate::experiment::{Journal, Record, RunError, create_folder, now, write_atomically};
use crate::hash::{self, sha256};
use crate::session::{Inputs, SessionError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Hexadecimal digits of a name.
const DIGITS: usize = 12;

/// A study's folder.
///
/// ```text
/// STUDY/study.toml          the config with its table [sweep]
/// STUDY/plan.csv            a row per run: its name, the key of its round 0, what each axis has
/// STUDY/cells/RUN.toml      its config, every path absolute
/// STUDY/runs/RUN/           the run
/// STUDY/round0/KEY/         round 0, done once for all runs that begin alike
/// STUDY/failures/RUN.json   why it failed
/// STUDY/claims/RUN/1, 2 ... who works on it, the last one, or did
/// STUDY/logs/               what workers said
/// STUDY/slurm/              the job that was submitted, and its script
/// STUDY/inputs.json         program, plugins and data that it was planned with
/// STUDY/hashes.json         what plan, config, inputs and cells hold, by hash
/// STUDY/plan.lock           locked while a sweep plans it and watches workers
/// ```
#[derive(Debug, Clone)]
pub struct Study {
    root: PathBuf,
    /// The runs, in the order in which they are done.
    pub rows: Vec<Row>,
}

/// A run of a study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is called: the hash of its config.
    pub run: String,
    /// The hash of all that matters in its round 0.
    pub round0: String,
    /// Whether other runs of the study begin alike.
    pub shared: bool,
}

/// How far a run has come, by what lies on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing is there.
    Waiting,
    /// It was begun.
    Begun,
    /// It is complete.
    Finished,
    /// It ended with this error.
    Failed(String),
}

#[derive(Serialize, Deserialize)]
struct Failure {
    time: String,
    error: String,
}

impl Study {
    /// The study that comes of a config, in a folder that may hold it already: rows that are there keep what was done.
    pub fn new(root: &Path, sweep: &Sweep) -> Study {
        let names = sweep.cells.iter().map(|cell| (name_of(&cell.config), round_0_of(&cell.config)));
        Study { rows: rows(names.collect()), ..Study::empty(root) }
    }

    /// A study without runs.
    pub(super) fn empty(root: &Path) -> Study {
        Study { root: root.to_owned(), rows: Vec::new() }
    }

    /// Write the plan of the config that the study came from, and what it was planned with; without that, what there is stays.
    ///
    /// Errs when it cannot be written. Only who [holds](Study::hold) the study may plan it.
    pub fn plan(&self, sweep: &Sweep, inputs: Option<&Inputs>) -> Result<(), RunError> {
        create_folder(&self.root.join("cells"))?;
        let mut files = BTreeMap::new();
        let axes = sweep.axes.iter().map(|axis| axis.name.as_str());
        let mut plan = csv::Writer::from_writer(Vec::new());
        let mut line = |fields: Vec<&str>| plan.write_record(fields).expect("rows of one length, in memory");
        line(["run", "round0"].into_iter().chain(axes).collect());
        for (cell, Row { run, round0, .. }) in sweep.cells.iter().zip(&self.rows) {
            files.insert(cell_name(run), cell.config.to_toml());
            line([run, round0].into_iter().chain(&cell.labels).map(String::as_str).collect());
        }
        let plan = String::from_utf8(plan.into_inner().expect("a vector takes everything")).expect("made of text");
        let mut others = vec![("study.toml", sweep.text.clone()), (PLAN, plan)];
        match inputs {
            Some(inputs) => others.push((INPUTS, serde_json::to_string_pretty(inputs).expect("plain data"))),
            None => others.extend(self.inputs_to_keep().map(|text| (INPUTS, text))),
        }
        self.store(files, others)
    }

    /// Writes the cells, then the other files, and before and after that what all of them hold.
    fn store(&self, cells: BTreeMap<String, String>, others: Vec<(&str, String)>) -> Result<(), RunError> {
        let others: Vec<(String, String)> = others.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        let texts = || cells.iter().chain(others.iter().map(|(name, text)| (name, text)));
        let new: BTreeMap<String, String> =
            texts().map(|(name, text)| (name.clone(), sha256(text.as_bytes()))).collect();
        // A list that rotted is written anew, as the files are.
        let old = hashes(&self.root).ok().flatten().unwrap_or_default();
        let list = self.root.join(HASHES);
        write_atomically(&list, hash::List { next: new.clone(), ..old }.text().as_bytes())?;
        for (name, text) in texts() {
            let file = self.root.join(name);
            // What is there of a cell was written from the same config: its name says so.
            if fs::read_to_string(&file).ok().as_ref() != Some(text) {
                write_atomically(&file, text.as_bytes())?;
            }
        }
        write_atomically(&list, hash::List { files: new, ..hash::List::default() }.text().as_bytes())
    }

    /// Open a study that was planned.
    pub fn open(root: &Path) -> Result<Study, RunError> {
        let path = root.join(PLAN);
        let bytes = read_listed(root, PLAN)?;
        let mut table = csv::Reader::from_reader(bytes.as_slice());
        let names = table.records().map(|record| {
            let record = record.map_err(|error| error.to_string())?;
            let field = |i: usize| record.get(i).map(str::to_owned).ok_or("a row is too short");
            Ok((field(0)?, field(1)?))
        });
        let names = names.collect::<Result<Vec<_>, String>>();
        let names = names.map_err(|problem| RunError::Damaged { path, problem })?;
        Ok(Study { rows: rows(names), ..Study::empty(root) })
    }

    /// What it was planned with; none where an earlier version planned it. Errs when that is not what was written.
    pub fn inputs(&self) -> Result<Option<Inputs>, RunError> {
        let Some(text) = self.inputs_text()? else { return Ok(None) };
        let path = self.root.join(INPUTS);
        let inputs = serde_json::from_str(&text);
        inputs.map(Some).map_err(|error| RunError::Damaged { path, problem: error.to_string() })
    }

    /// What it was planned with, as it is there, if it is what was written; or if the list that would tell has rotted itself.
    fn inputs_to_keep(&self) -> Option<String> {
        match hashes(&self.root) {
            Ok(_) => self.inputs_text().ok().flatten(),
            Err(_) => fs::read_to_string(self.root.join(INPUTS)).ok(),
        }
    }

    fn inputs_text(&self) -> Result<Option<String>, RunError> {
        match read_listed(&self.root, INPUTS) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(RunError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The study's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A run's folder.
    pub fn run_dir(&self, run: &str) -> PathBuf {
        self.root.join("runs").join(run)
    }

    /// The folder of a round 0 that runs begin with.
    pub fn round_0_dir(&self, key: &str) -> PathBuf {
        self.root.join("round0").join(key)
    }

    /// The file that a run's config is planned in.
    pub fn cell(&self, run: &str) -> PathBuf {
        self.root.join(cell_name(run))
    }

    /// How far a run, or a shared round 0, has come that lies in `dir`.
    pub fn state(&self, name: &str, dir: &Path) -> State {
        if let Some(error) = self.failure(name) {
            return State::Failed(error);
        }
        let events = Journal::read(&dir.join("journal.jsonl")).unwrap_or_default();
        match () {
            () if Record::of(events).is_finished => State::Finished,
            () if dir.join("config.toml").is_file() => State::Begun,
            () => State::Waiting,
        }
    }

    fn failure_file(&self, name: &str) -> PathBuf {
        self.root.join(format!("failures/{name}.json"))
    }

    /// Why a run, or a shared round 0, failed; none if it did not.
    pub fn failure(&self, name: &str) -> Option<String> {
        let bytes = fs::read(self.failure_file(name)).ok()?;
        let unreadable = "it failed, and the record of it is unreadable".to_owned();
        Some(serde_json::from_slice::<Failure>(&bytes).map_or(unreadable, |failure| failure.error))
    }

    /// Record that a run failed.
    pub fn record_failure(&self, name: &str, error: &str) -> Result<(), RunError> {
        create_folder(&self.root.join("failures"))?;
        let failure = Failure { time: now(), error: error.to_owned() };
        let text = serde_json::to_string_pretty(&failure).expect("plain data");
        write_atomically(&self.failure_file(name), text.as_bytes())
    }

    /// Forget all failures, so that these runs are tried again.
    pub fn forget_failures(&self) -> Result<(), RunError> {
        let path = self.root.join("failures");
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(RunError::File { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Take hold of the study, so that nobody else plans it or starts workers.
    ///
    /// Errs when somebody has it, and when the folder holds something else.
    pub fn hold(root: &Path) -> Result<File, RunError> {
        let foreign = fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
        if foreign && !root.join("study.toml").is_file() && !root.join("plan.lock").is_file() {
            let problem = "is not empty, and holds no study".to_owned();
            return Err(RunError::Directory { path: root.to_owned(), problem });
        }
        create_folder(root)?;
        lock(&root.join("plan.lock"))?.ok_or_else(|| {
            let problem = "is in use: another sweep works in this folder".to_owned();
            RunError::Directory { path: root.to_owned(), problem }
        })
    }

    /// Read a run's config.
    pub fn config(&self, run: &str) -> Result<Config, SessionError> {
        read_listed(&self.root, &cell_name(run))?;
        Ok(Config::read_resolved(&self.cell(run))?)
    }

    /// Read the configs of all runs that have not ended, with their names.
    pub fn open_configs(&self) -> Result<Vec<(String, Config)>, SessionError> {
        let list = hashes(&self.root)?;
        let is_open = |run: &str| matches!(self.state(run, &self.run_dir(run)), State::Waiting | State::Begun);
        let open = self.rows.iter().map(|row| &row.run).filter(|run| is_open(run));
        let config = |run: &String| {
            read_checked(&self.root, &cell_name(run), list.as_ref())?;
            Ok((run.clone(), Config::read_resolved(&self.cell(run))?))
        };
        open.map(config).collect()
    }
}

/// The plan.
const PLAN: &str = "plan.csv";
/// What it was planned with.
const INPUTS: &str = "inputs.json";
/// What the files of the plan hold.
const HASHES: &str = "hashes.json";

fn cell_name(run: &str) -> String {
    format!("cells/{run}.toml")
}

/// What the files of a study's plan hold; none where an earlier version planned it.
fn hashes(root: &Path) -> Result<Option<hash::List>, RunError> {
    let path = root.join(HASHES);
    match fs::read_to_string(&path) {
        Ok(text) => hash::List::parse(&text).map(Some).ok_or(RunError::Changed { path }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RunError::File { action: "read", path, source }),
    }
}

/// The bytes of a file of the plan. Errs when they are not what was written.
fn read_listed(root: &Path, name: &str) -> Result<Vec<u8>, RunError> {
    read_checked(root, name, hashes(root)?.as_ref())
}

/// The same for one who has read what the files hold.
fn read_checked(root: &Path, name: &str, list: Option<&hash::List>) -> Result<Vec<u8>, RunError> {
    let path = root.join(name);
    let bytes = fs::read(&path).map_err(|source| RunError::File { action: "read", path: path.clone(), source })?;
    match list.is_none_or(|list| list.allows(name, &bytes)) {
        true => Ok(bytes),
        false => Err(RunError::Changed { path }),
    }
}

fn rows(names: Vec<(String, String)>) -> Vec<Row> {
    let mut times: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (run, round0) in &names {
        times.entry(round0.clone()).or_default().insert(run.clone());
    }
    let shared = |round0: &String| times[round0].len() > 1;
    names.into_iter().map(|(run, round0)| Row { shared: shared(&round0), run, round0 }).collect()
}

/// The name of a run: a hash of its config but for the study's name.
fn name_of(config: &Config) -> String {
    hash(&Config { name: "any".to_owned(), ..config.clone() })
}

/// The key of a run's round 0: of what comes later it does not depend, nor of advisers, who change nothing. A sizer that is
/// followed is told how many images a round labels.
fn round_0_of(config: &Config) -> String {
    if config.initial.sizer.is_some() {
        return name_of(config);
    }
    let initial = Initial { advisers: Vec::new(), ..config.initial.clone() };
    let anything = Query {
        strategy: "any".to_owned(),
        size: 1,
        rounds: Some(0),
        until: None,
        subsample: None,
        stochastic: None,
        balance: false,
        params: serde_json::Map::new(),
        representation: None,
        mix: None,
    };
    hash(&Config { name: "any".to_owned(), initial, query: anything, ..config.clone() })
}

fn hash(config: &Config) -> String {
    let digest = Sha256::digest(config.to_toml().as_bytes());
    crate::operations::hex(&digest)[..DIGITS].to_owned()
}
