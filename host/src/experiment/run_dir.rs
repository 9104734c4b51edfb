//! A run on disk: which file lies where, and what each holds.
//!
//! ```text
//! RUN/config.toml  plugins.lock  environment.json      what ran
//! RUN/journal.jsonl                                    what happened
//! RUN/rounds/003/selection.csv  metrics.json  timings.json  picks.png  sizing.json
//! RUN/artifacts/003/...                                what strategies put there
//! RUN/artifacts/diagnosis/...  diagnostics.json        what `coldstart diagnose` found, if it was asked
//! RUN/checkpoints/003/...                              to resume from: the model and the strategies' states
//! RUN/results.csv                                      a row per round
//! ```

use super::error::RunError;
use super::files::{self, write_atomically};
use super::journal::{Event, Journal};
use super::metrics::Metrics;
use super::sizing::Sizings;
use crate::data::Split;
use coldstart_plugin_api::Selection;
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

/// What lies in a folder whose run was killed before it had its `config.toml`, the last file of a start.
const LEFT_BY_A_KILLED_START: [&str; 5] =
    ["plugins.lock", "environment.json", "plugins.partial", "environment.partial", "config.partial"];

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
    /// The round counts here once the journal is there, which is written last.
    pub fn take_round_0(&self, from: &RunDir, query: &[u8]) -> Result<(), RunError> {
        for (theirs, ours) in [
            (from.round(0), self.round(0)),
            (from.artifacts(0), self.artifacts(0)),
            (from.checkpoint(0), self.checkpoint(0)),
        ] {
            files::copy_folder(&theirs, &ours)?;
        }
        write_atomically(&self.checkpoint(0).join("query.state"), query)?;
        let journal = Journal::beginning_with(&from.path("journal.jsonl"), from.root())?;
        write_atomically(&self.path("journal.jsonl"), journal.as_bytes())
    }

    /// How many rounds count, from the journal.
    pub fn finished_rounds(&self) -> Result<u32, RunError> {
        let events = Journal::read(&self.path("journal.jsonl"))?;
        let finished = events.iter().filter_map(|event| match event {
            Event::RoundFinished { round } => Some(round + 1),
            _ => None,
        });
        Ok(finished.max().unwrap_or(0))
    }

    /// Forget what a killed process left of rounds that do not count: this one and later ones.
    pub fn discard_from(&self, round: u32) -> Result<(), RunError> {
        for kind in ["rounds", "artifacts", "checkpoints"] {
            for folder in fs::read_dir(self.path(kind)).into_iter().flatten().flatten() {
                let number: Option<u32> = folder.file_name().to_str().and_then(|name| name.parse().ok());
                if number.is_some_and(|number| number >= round) {
                    remove_folder(&folder.path())?;
                }
            }
        }
        Ok(())
    }

    /// Keep the checkpoints of the last round only: earlier ones are never read again.
    pub fn drop_checkpoint_before(&self, round: u32) -> Result<(), RunError> {
        match round.checked_sub(1) {
            Some(previous) => remove_folder(&self.checkpoint(previous)),
            None => Ok(()),
        }
    }

    /// Store a selection with the labels that it bought, and the file of each image where the data set has files.
    ///
    /// `positions` are the places of the chosen images in `pool`, in the order of the selection.
    pub fn write_selection(
        &self,
        round: u32,
        selection: &Selection,
        pool: &Split,
        positions: &[usize],
    ) -> Result<(), RunError> {
        let mut table = csv::Writer::from_writer(Vec::new());
        let header = ["rank", "id", "label", "score"].map(str::to_owned);
        let file_header = (!pool.files.is_empty()).then_some("file");
        push_row(&mut table, header, file_header);
        for (rank, (id, &position)) in selection.ids.iter().zip(positions).enumerate() {
            let score = selection.scores.get(rank).map(ToString::to_string).unwrap_or_default();
            let cells = [rank.to_string(), id.to_string(), pool.labels[position].to_string(), score];
            push_row(&mut table, cells, pool.file(position));
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
fn push_row(table: &mut csv::Writer<Vec<u8>>, cells: [String; 4], file: Option<&str>) {
    let row = cells.iter().map(String::as_str).chain(file);
    table.write_record(row).expect("memory takes every row");
}

fn remove_folder(folder: &Path) -> Result<(), RunError> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(RunError::File { action: "remove", path: folder.to_owned(), source })
        }
        _ => Ok(()),
    }
}
