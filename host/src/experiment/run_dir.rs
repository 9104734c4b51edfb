//! A run on disk: which file lies where, and what each holds.
//!
//! ```text
//! RUN/config.toml  plugins.lock  environment.json      what ran
//! RUN/journal.jsonl                                    what happened
//! RUN/rounds/003/selection.csv  metrics.json  timings.json  picks.png  sizing.json  prequential.csv
//! RUN/artifacts/003/...                                what strategies put there
//! RUN/artifacts/diagnosis/...  diagnostics.json        what `coldstart diagnose` found, if it was asked
//! RUN/checkpoints/003/...                              to resume from: the model and the strategies' states
//! RUN/results.csv                                      a row per round
//! ```

use super::budget::End;
use super::error::RunError;
use super::files::{self, remove_folder, write_atomically};
use super::hashes::{self, Hashes, Kept};
use super::journal::{Event, Journal};
use super::metrics::Metrics;
use super::prequential;
use super::sizing::Sizings;
use crate::data::Dataset;
use coldstart_plugin_api::{Prequential, Selection};
use csv::StringRecord;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::{Path, PathBuf};

/// A run's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    root: PathBuf,
}

/// What the sizers said before a round.
pub const SIZINGS: &str = "sizing.json";

/// What the model said of a round's images before they were labelled.
const PREQUENTIAL: &str = "prequential.csv";

/// What happened.
pub const JOURNAL: &str = "journal.jsonl";

/// What a stored model may be called: the engine's, and that of a learner of the user's own.
pub const MODELS: [&str; 2] = ["model.safetensors", "model.learner"];

/// The folders that have one for each round.
const KINDS: [&str; 3] = ["rounds", "artifacts", "checkpoints"];

/// What lies in a folder whose run was killed before it had its `config.toml`, the last file of a start.
const LEFT_BY_A_KILLED_START: [&str; 5] =
    ["plugins.lock", "environment.json", "plugins.partial", "environment.partial", "config.partial"];

/// The files that say what runs, written before the journal.
const BEGINNING: [&str; 3] = ["config.toml", "plugins.lock", "environment.json"];

/// What a run goes on from, of each round that counts: no picture, no time, no artifact.
const ESSENTIAL: [&str; 4] = ["selection.csv", "metrics.json", SIZINGS, PREQUENTIAL];
/// Those that a round may lack.
const OPTIONAL: [&str; 2] = [SIZINGS, PREQUENTIAL];

/// What the journal says of a run so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The files that say what runs; none where an earlier version began it.
    pub began_with: Hashes,
    /// Of each round that counts, all that it left; nothing where an earlier version did it.
    pub rounds: Vec<Hashes>,
    /// Whether the run is complete.
    pub is_finished: bool,
    /// When the run ends, where its user has given it more than its config says.
    pub extended: Option<End>,
}

impl Record {
    /// What these events say.
    pub fn of(events: Vec<Event>) -> Record {
        let mut record = Record::default();
        for event in events {
            record.is_finished = match event {
                Event::Diagnosed { .. } => record.is_finished,
                _ => matches!(event, Event::RunFinished { .. }),
            };
            match event {
                Event::RunStarted { files } => {
                    record = Record { began_with: files, extended: record.extended, ..Record::default() };
                }
                Event::Extended { end } => record.extended = Some(end),
                Event::Resumed { round } => record.rounds.truncate(round as usize),
                Event::RoundFinished { round, files } => {
                    record.rounds.truncate(round as usize);
                    record.rounds.push(files);
                }
                _ => {}
            }
        }
        record
    }

    /// What it says of the first rounds.
    pub fn before(&self, round: u32) -> Record {
        Record { rounds: self.rounds[..round as usize].to_vec(), ..self.clone() }
    }

    /// Whether a round was done by a version that kept no hashes.
    fn has_unhashed(&self) -> bool {
        self.rounds.iter().any(Hashes::is_empty)
    }
}

impl RunDir {
    /// Errs if there is anything in the folder but what a start leaves that was killed at once.
    pub fn check_free(root: &Path) -> Result<(), RunError> {
        let foreign = |entry: &fs::DirEntry| LEFT_BY_A_KILLED_START.iter().all(|left| entry.file_name() != *left);
        let occupied = fs::read_dir(root).is_ok_and(|entries| entries.flatten().any(|entry| foreign(&entry)));
        if occupied {
            let problem = if root.join("config.toml").exists() { "holds a run already" } else { "is not empty" };
            return Err(RunError::Directory { path: root.to_owned(), problem: problem.to_owned() });
        }
        Ok(())
    }

    /// Make a new run's folder, which must be [free](RunDir::check_free).
    pub fn create(root: &Path) -> Result<RunDir, RunError> {
        RunDir::check_free(root)?;
        files::create_folder(root)?;
        Ok(RunDir { root: root.to_owned() })
    }

    /// Open an existing run; errs if the folder holds none.
    pub fn open(root: &Path) -> Result<RunDir, RunError> {
        // Written last of what describes the run; a run killed right after it has no journal yet.
        if !root.join("config.toml").is_file() {
            let problem = "is no run directory: it has no `config.toml`".to_owned();
            return Err(RunError::Directory { path: root.to_owned(), problem });
        }
        Ok(RunDir { root: root.to_owned() })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or folder of the run.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The folder of a round.
    pub fn round(&self, round: u32) -> PathBuf {
        self.root.join(format!("rounds/{round:03}"))
    }

    /// Where a round's strategies put artifacts.
    pub fn artifacts(&self, round: u32) -> PathBuf {
        self.root.join(format!("artifacts/{round:03}"))
    }

    /// Where a round's model and states lie.
    pub fn checkpoint(&self, round: u32) -> PathBuf {
        self.root.join(format!("checkpoints/{round:03}"))
    }

    /// Take over round 0 of another run; `query` is the state of the query strategy before its first round.
    ///
    /// The round counts here once the journal is there, which is written last. Errs when a file of that round is not what the other
    /// run wrote.
    pub fn take_round_0(&self, from: &RunDir, query: &[u8]) -> Result<(), RunError> {
        from.check_round_0()?;
        for (theirs, ours) in [
            (from.round(0), self.round(0)),
            (from.artifacts(0), self.artifacts(0)),
            (from.checkpoint(0), self.checkpoint(0)),
        ] {
            files::copy_folder(&theirs, &ours)?;
        }
        write_atomically(&self.checkpoint(0).join("query.state"), query)?;
        let (began, round_0) = (self.hash_beginning()?, self.settle(0)?);
        let journal = Journal::beginning_with(&from.path(JOURNAL), from.root(), began, &round_0)?;
        write_atomically(&self.path(JOURNAL), journal.as_bytes())
    }

    fn check_round_0(&self) -> Result<(), RunError> {
        let record = self.record()?;
        for (name, hash) in record.rounds.first().into_iter().flatten() {
            match hashes::look(&self.root, name, hash)? {
                Kept::Whole => {}
                Kept::Missing | Kept::Changed => return Err(hashes::changed(&self.root, name)),
            }
        }
        Ok(())
    }

    /// What the journal says of the run so far; nothing where there is no journal yet.
    pub fn record(&self) -> Result<Record, RunError> {
        let path = self.path(JOURNAL);
        if path.exists() { Ok(Record::of(Journal::read(&path)?)) } else { Ok(Record::default()) }
    }

    /// The hashes of the files that say what runs.
    pub fn hash_beginning(&self) -> Result<Hashes, RunError> {
        hashes::of_files(&self.root, &BEGINNING)
    }

    /// The hash of the table of results.
    pub fn hash_results(&self) -> Result<Hashes, RunError> {
        hashes::of_files(&self.root, &["results.csv"])
    }

    /// Errs if one of the files that say what runs is not what the run began with.
    pub fn check_beginning(&self, record: &Record) -> Result<(), RunError> {
        record.began_with.keys().try_for_each(|name| self.check_one_of_beginning(record, name))
    }

    /// Errs if this file, which says what runs, is not what the run began with.
    pub fn check_one_of_beginning(&self, record: &Record, name: &str) -> Result<(), RunError> {
        let Some(hash) = record.began_with.get(name) else { return Ok(()) };
        match hashes::look(&self.root, name, hash)? {
            Kept::Whole => Ok(()),
            Kept::Missing | Kept::Changed => Err(hashes::changed(&self.root, name)),
        }
    }

    /// See to it that all that a round left is on disk, and say what it is.
    pub fn settle(&self, round: u32) -> Result<Hashes, RunError> {
        let artifacts = self.artifacts(round);
        if artifacts.is_dir() {
            let failed = |source| RunError::File { action: "write", path: artifacts.clone(), source };
            files::sync_folder(&artifacts)
                .and_then(|()| files::sync_parent(&self.path("artifacts")))
                .map_err(failed)?;
        }
        let mut hashes = Hashes::new();
        for kind in KINDS {
            hashes.extend(hashes::of_folder(&self.root, &format!("{kind}/{round:03}"))?);
        }
        Ok(hashes)
    }

    /// How many of the rounds that count are there. One of which a file is missing, as after a power loss, is to be done again, with
    /// all that follow it.
    ///
    /// Errs when a file that the run goes on from is there and was changed.
    pub fn rounds_there(&self, record: &Record) -> Result<u32, RunError> {
        if record.has_unhashed() {
            let root = self.root.display();
            tracing::warn!(
                "an earlier version did rounds of `{root}`: whether their files are what it wrote is not known"
            );
        }
        for (round, files) in record.rounds.iter().enumerate() {
            for name in ESSENTIAL.map(|name| format!("rounds/{round:03}/{name}")) {
                let kept = match files.get(&name) {
                    Some(hash) => hashes::look(&self.root, &name, hash)?,
                    None => self.unhashed(files, &name),
                };
                match kept {
                    Kept::Whole => {}
                    Kept::Changed => return Err(hashes::changed(&self.root, &name)),
                    Kept::Missing => {
                        tracing::warn!("`{}` is gone: round {round} is done again", self.path(&name).display());
                        return Ok(round as u32);
                    }
                }
            }
        }
        Ok(record.rounds.len() as u32)
    }

    /// What to think of a file of a round that the journal does not name.
    fn unhashed(&self, files: &Hashes, name: &str) -> Kept {
        let is_optional = OPTIONAL.iter().any(|file| name.ends_with(file));
        match (self.path(name).is_file(), is_optional) {
            // Somebody has put it there: the run would go on from it.
            (true, true) if !files.is_empty() => Kept::Changed,
            (true, _) | (false, true) => Kept::Whole,
            (false, false) => Kept::Missing,
        }
    }

    /// After how many rounds, at most `rounds`, the run can go on: after the last one whose model and states are there; 0 if there is
    /// none.
    ///
    /// Errs when one of them is there and was changed.
    pub fn last_checkpoint(&self, record: &Record, rounds: u32) -> Result<u32, RunError> {
        for done in (1..=rounds).rev() {
            if self.has_checkpoint(record, done - 1)? {
                return Ok(done);
            }
            let folder = self.checkpoint(done - 1);
            // Of earlier rounds it is gone because nobody needs it.
            if done == rounds {
                tracing::warn!("`{}` is not whole: the run goes on from an earlier round", folder.display());
            }
        }
        Ok(0)
    }

    fn has_checkpoint(&self, record: &Record, round: u32) -> Result<bool, RunError> {
        let folder = format!("checkpoints/{round:03}/");
        let files = &record.rounds[round as usize];
        let of_checkpoint: Vec<_> = files.iter().filter(|(name, _)| name.starts_with(&folder)).collect();
        for (name, hash) in &of_checkpoint {
            match hashes::look(&self.root, name, hash)? {
                Kept::Whole => {}
                Kept::Missing => return Ok(false),
                Kept::Changed => return Err(hashes::changed(&self.root, name)),
            }
        }
        let has_model = MODELS.iter().any(|name| self.checkpoint(round).join(name).is_file());
        Ok(has_model && (files.is_empty() || !of_checkpoint.is_empty()))
    }

    /// Names what nothing goes on from and is not what the rounds wrote: pictures, times and artifacts.
    pub fn warn_of_changed(&self, record: &Record) -> Result<(), RunError> {
        let shown =
            |name: &str| !name.starts_with("checkpoints/") && !ESSENTIAL.iter().any(|file| name.ends_with(file));
        let files = record.rounds.iter().flatten().filter(|(name, _)| shown(name));
        for (name, hash) in files {
            if hashes::look(&self.root, name, hash)? != Kept::Whole {
                tracing::warn!("`{}` is not what was written; no round goes on from it", self.path(name).display());
            }
        }
        Ok(())
    }

    /// Forget what a killed process left of rounds that do not count, this one and later ones, and whatever else it left halfway.
    pub fn discard_from(&self, round: u32) -> Result<(), RunError> {
        self.discard(&KINDS, |number| number >= round)?;
        self.discard(&["checkpoints"], |number| number + 1 < round)?;
        files::remove_partial_files(&self.root)
    }

    fn discard(&self, kinds: &[&str], is_discarded: impl Fn(u32) -> bool) -> Result<(), RunError> {
        for kind in kinds {
            for folder in fs::read_dir(self.path(kind)).into_iter().flatten().flatten() {
                let number: Option<u32> = folder.file_name().to_str().and_then(|name| name.parse().ok());
                if number.is_some_and(&is_discarded) {
                    remove_folder(&folder.path())?;
                }
            }
        }
        Ok(())
    }

    /// Keep the checkpoints of the last round only: earlier ones are never read again.
    pub fn drop_checkpoints_before(&self, round: u32) -> Result<(), RunError> {
        self.discard(&["checkpoints"], |number| number < round)
    }

    /// Store a selection with the labels that it bought, and the file of each image where the data set has files.
    ///
    /// `positions` are the places of the chosen images in `pool`, in the order of the selection.
    pub fn write_selection(
        &self,
        round: u32,
        selection: &Selection,
        data: &Dataset,
        positions: &[usize],
    ) -> Result<(), RunError> {
        let mut table = csv::Writer::from_writer(Vec::new());
        let header = ["rank", "id", "label", "score"].map(str::to_owned);
        let pool = &data.pool;
        let texts = data.given.as_ref().map(|given| &given.texts[..]).filter(|texts| !texts.is_empty());
        let file_header = (!pool.files.is_empty()).then_some("file");
        push_row(&mut table, header, [file_header, texts.map(|_| "text")]);
        for (rank, (id, &position)) in selection.ids.iter().zip(positions).enumerate() {
            let score = selection.scores.get(rank).map(ToString::to_string).unwrap_or_default();
            let cells = [rank.to_string(), id.to_string(), pool.labels[position].to_string(), score];
            let text = texts.map(|texts| texts[position].as_str());
            push_row(&mut table, cells, [pool.file(position), text]);
        }
        let bytes = table.into_inner().expect("memory takes every row");
        files::create_folder(&self.round(round))?;
        write_atomically(&self.round(round).join("selection.csv"), &bytes)
    }

    /// The ids that a finished round chose, in order.
    pub fn read_selection(&self, round: u32) -> Result<Vec<u64>, RunError> {
        let path = self.round(round).join("selection.csv");
        let bytes = files::read(&path)?;
        // A file's name may hold a line's end, so that lines are no rows.
        let mut table = csv::ReaderBuilder::new().flexible(true).from_reader(&bytes[..]);
        let id = |(i, row): (usize, Result<StringRecord, csv::Error>)| {
            let id = row.ok().and_then(|row| row.get(1)?.parse().ok());
            let problem = format!("row {}: no image id", i + 1);
            id.ok_or_else(|| RunError::Damaged { path: path.clone(), problem })
        };
        table.records().enumerate().map(id).collect()
    }

    /// Store a round's JSON file.
    pub fn write_json<T: Serialize>(&self, round: u32, name: &str, value: &T) -> Result<(), RunError> {
        let mut text = serde_json::to_string_pretty(value).expect("plain data");
        text.push('\n');
        write_atomically(&self.round(round).join(name), text.as_bytes())
    }

    /// A finished round's measures.
    pub fn read_metrics(&self, round: u32) -> Result<Metrics, RunError> {
        self.read_json(round, "metrics.json")
    }

    /// What the sizers said before a finished round.
    pub fn read_sizings(&self, round: u32) -> Result<Sizings, RunError> {
        self.read_json(round, SIZINGS)
    }

    /// Store what the model said of a round's images before they were labelled.
    pub fn write_prequential(&self, round: u32, rows: &[Prequential]) -> Result<(), RunError> {
        write_atomically(&self.round(round).join(PREQUENTIAL), prequential::to_csv(rows).as_bytes())
    }

    /// What the model said of a finished round's images before they were labelled; nothing where nobody kept it.
    pub fn read_prequential(&self, round: u32) -> Result<Vec<Prequential>, RunError> {
        let path = self.round(round).join(PREQUENTIAL);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let bytes = files::read(&path)?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|error| RunError::Damaged { path: path.clone(), problem: error.to_string() })?;
        prequential::of_csv(text, round, &path)
    }

    fn read_json<T: DeserializeOwned>(&self, round: u32, name: &str) -> Result<T, RunError> {
        let path = self.round(round).join(name);
        let bytes = files::read(&path)?;
        serde_json::from_slice(&bytes).map_err(|error| RunError::Damaged { path, problem: error.to_string() })
    }

    /// Write `results.csv` anew from the measures of all rounds so far.
    pub fn write_results(&self, rounds: &[Metrics]) -> Result<(), RunError> {
        let mut text = String::from(
            "round,labels,labels_validation,accuracy,balanced_accuracy,macro_auc,nll,ece,class_coverage,min_class_recall\n",
        );
        for m in rounds {
            let t = &m.test;
            let row =
                [t.accuracy, t.balanced_accuracy, t.macro_auc, t.nll, t.ece, m.class_coverage, m.min_class_recall()];
            let row = row.map(|measure| format!("{measure:.6}")).join(",");
            text.push_str(&format!("{},{},{},{row}\n", m.round, m.labels, m.labels_validation));
        }
        write_atomically(&self.path("results.csv"), text.as_bytes())
    }
}

/// Adds a row to a table in memory, with the image's file as its last cell if there is one.
fn push_row(table: &mut csv::Writer<Vec<u8>>, cells: [String; 4], names: [Option<&str>; 2]) {
    let row = cells.iter().map(String::as_str).chain(names.into_iter().flatten());
    table.write_record(row).expect("memory takes every row");
}
