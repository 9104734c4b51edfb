//! The files of a run directory, as types. Whoever writes runs and this room agree on nothing else.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::hash;

/// `config.toml`: the resolved config, every default written out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// The file as it stands.
    pub text: String,
    /// Every value under its dotted key, such as `query.strategy`; empty when the file is not valid TOML.
    pub keys: BTreeMap<String, String>,
}

impl Config {
    /// Parses the text of a config; errs when it is not TOML.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let mut keys = BTreeMap::new();
        flatten("", &toml::Value::Table(text.parse()?), &mut keys);
        Ok(Config { text: text.to_owned(), keys })
    }

    /// The value under a dotted key, or an empty string.
    pub fn get(&self, key: &str) -> &str {
        self.keys.get(key).map_or("", String::as_str)
    }
}

fn flatten(key: &str, value: &toml::Value, keys: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(&key, value, keys);
            }
        }
        toml::Value::String(text) => drop(keys.insert(key.to_owned(), text.clone())),
        other => drop(keys.insert(key.to_owned(), other.to_string())),
    }
}

/// `environment.json`: where and with what the run was made.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Version of the program.
    pub coldstart: String,
    /// Version of the plugin contract.
    pub plugin_api: String,
    /// Version of PyTorch.
    pub torch: String,
    /// Such as `cpu` or `cuda:0`.
    pub device: String,
    /// CPU threads used.
    pub threads: usize,
    /// Name of the processor.
    pub cpu: String,
    /// When the run began, in RFC 3339.
    pub started: String,
    /// The images.
    pub dataset: DatasetInfo,
    /// The learner, if it was not the program's own.
    pub learner: Option<LearnerInfo>,
}

/// A learner in Python.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LearnerInfo {
    /// The script.
    pub path: String,
    /// How well it was shut in.
    pub confinement: String,
    /// Versions of the interpreter and of packages.
    pub versions: BTreeMap<String, String>,
}

/// The data set that a run drew from.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DatasetInfo {
    /// Such as `fashion-mnist`.
    pub kind: String,
    /// Images that could be labelled.
    pub pool: usize,
    /// Test images.
    pub test: usize,
    /// Labelled images held out for validation.
    pub validation: usize,
    /// Size of one image; all 0 where there are none.
    pub shape: Shape,
    /// Numbers of an item of a data set without images.
    pub features: Option<usize>,
    /// Class names, in the order of their labels.
    pub classes: Vec<String>,
    /// Hash of the contents.
    pub fingerprint: String,
}

/// Size of one image in pixels.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 for grey, 3 for colour.
    pub channels: usize,
}

/// One `[[plugin]]` of `plugins.lock`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LockedPlugin {
    /// Name in kebab-case.
    pub name: String,
    /// Version of the plugin.
    pub version: String,
    /// Who publishes it; empty if nobody says so.
    pub publisher: Option<String>,
    /// Hash of the library.
    pub sha256: String,
    /// Version of the contract it was built for.
    pub api: String,
    /// `initial` or `query`.
    pub role: String,
    /// `in-process` or `process`.
    pub mode: String,
    /// How well its process was shut in.
    pub confinement: String,
    /// `signed`, `shipped` or `unsigned`.
    pub trust: String,
    /// Whether it reads the labels of unlabelled images.
    pub oracle: bool,
    /// The key that signed it.
    pub signer: String,
    /// Path of the library.
    pub file: String,
}

impl LockedPlugin {
    /// `publisher/name`, or the bare name if nobody publishes it.
    pub fn full_name(&self) -> String {
        match self.publisher.as_deref() {
            None | Some("") => self.name.clone(),
            Some(publisher) => format!("{publisher}/{}", self.name),
        }
    }

    /// Who vouched for it where the run was made.
    pub fn vouched(&self) -> String {
        match (self.trust.as_str(), self.signer.trim_start_matches("minisign:")) {
            ("shipped", _) => "unsigned, came with the program".to_owned(),
            (_, "") => "unsigned".to_owned(),
            (_, key) => format!("signed with the key {key}"),
        }
    }
}

/// Parses a JSON file into one of the types above.
pub(super) fn parse_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text)
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    plugin: Vec<LockedPlugin>,
}

/// Parses `plugins.lock`; errs when it is not TOML of that form.
pub(super) fn parse_lock(text: &str) -> Result<Vec<LockedPlugin>, toml::de::Error> {
    Ok(toml::from_str::<Lock>(text)?.plugin)
}

/// One line of `journal.jsonl`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// When, in RFC 3339.
    #[serde(default)]
    pub time: String,
    /// What happened, such as `round-finished`.
    pub event: String,
    /// The round it belongs to.
    pub round: Option<usize>,
    /// Hashes of the files that the run had written by then and goes on from, by their paths in the run's folder.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Everything else on the line.
    #[serde(flatten)]
    pub details: serde_json::Map<String, serde_json::Value>,
}

impl Event {
    /// The text of the field `error`, for `run-failed`.
    pub fn error(&self) -> String {
        match self.details.get("error") {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "the journal names no error".to_owned(),
        }
    }

    /// The details as `key value` pairs on one line.
    pub fn details_line(&self) -> String {
        let pairs = self.details.iter().map(|(key, value)| match value {
            serde_json::Value::String(text) => format!("{key} {text}"),
            other => format!("{key} {other}"),
        });
        pairs.collect::<Vec<_>>().join(", ")
    }
}

/// What stands in `journal.jsonl`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Journal {
    /// What happened, in order.
    pub(super) events: Vec<Event>,
    /// A sentence for each line that is unreadable.
    pub(super) problems: Vec<String>,
    /// Why the file is not what the run wrote, if it is known not to be.
    pub(super) damage: Option<String>,
}

impl Journal {
    /// Parses the text. The last line is what a killed process may have torn: unreadable, it is left out without a word.
    pub(super) fn parse(text: &str) -> Journal {
        let mut journal = Journal::default();
        let (last, mut checked) = (text.lines().count(), false);
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let (parsed, is_changed) = match hash::read_line(line) {
                hash::Line::Whole(line) => {
                    checked = true;
                    (serde_json::from_str(&line), false)
                }
                hash::Line::Changed => (serde_json::from_str(line), true),
                // Where lines before it have hashes, one that has none was torn if it is the last, or else changed.
                hash::Line::Unchecked => (serde_json::from_str(line), checked && number < last),
            };
            if is_changed && journal.damage.is_none() {
                journal.damage = Some(format!("line {number} is not what was written"));
            }
            match parsed {
                Ok(event) => journal.events.push(event),
                Err(_) if number == last => {}
                Err(error) => journal.problems.push(format!("journal.jsonl line {number} is unreadable: {error}")),
            }
        }
        journal
    }

    /// The hashes of the files that the run stands on: of rounds that were done again, those of the last time.
    pub(super) fn stored(&self) -> BTreeMap<String, String> {
        let mut stored: BTreeMap<String, String> = BTreeMap::new();
        for event in &self.events {
            match (event.event.as_str(), event.round) {
                ("run-started", _) => stored.clear(),
                ("resumed" | "round-finished", Some(round)) => stored.retain(|file, _| round_of(file) < Some(round)),
                _ => {}
            }
            // Written anew after each round; its hash is known once the run has finished.
            stored.remove("results.csv");
            stored.extend(event.files.clone());
        }
        stored
    }
}

/// The round that a file such as `rounds/003/metrics.json` is of.
fn round_of(file: &str) -> Option<usize> {
    file.split('/').nth(1)?.parse().ok()
}

/// `metrics.json` of one round. A measure that does not exist (no test image, one class) is absent or null.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Metrics {
    /// Labelled training images.
    pub labels: usize,
    /// Labelled images held out for validation, paid for like the others.
    #[serde(default)]
    pub labels_validation: usize,
    /// Share of test images classified rightly.
    pub accuracy: Option<f64>,
    /// Mean recall over the classes.
    pub balanced_accuracy: Option<f64>,
    /// One-versus-rest area under the ROC curve, averaged over the classes.
    pub macro_auc: Option<f64>,
    /// Negative log-likelihood per test image, in nats.
    pub nll: Option<f64>,
    /// Expected calibration error.
    pub ece: Option<f64>,
    /// Recall of each class.
    #[serde(default)]
    pub recall: Vec<Option<f64>>,
    /// Labelled training images of each class.
    #[serde(default)]
    pub class_counts: Vec<u64>,
    /// Classes with at least one labelled image.
    pub classes_seen: Option<usize>,
    /// The same as a share of all classes.
    pub class_coverage: Option<f64>,
    /// Loss of the last training epoch.
    pub train_loss: Option<f64>,
    /// Accuracy of the last training epoch.
    pub train_accuracy: Option<f64>,
}

impl Metrics {
    /// Every label that was paid for: training and validation.
    pub fn labels_bought(&self) -> usize {
        self.labels + self.labels_validation
    }

    /// The recall of the worst class that has test images.
    pub fn min_class_recall(&self) -> Option<f64> {
        self.recall.iter().flatten().copied().min_by(f64::total_cmp)
    }
}

/// `sizing.json` of one round: what sizers said before it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Sizings {
    /// Labelled images before the round.
    pub labels: usize,
    /// Whether the initial strategy chose in this round.
    pub initial_chooses: bool,
    /// What each sizer said.
    pub said: Vec<Said>,
}

/// What one sizer said.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Said {
    /// Its name.
    pub sizer: String,
    /// The query strategy that it was told of, if that is not the run's.
    #[serde(default)]
    pub query: Option<String>,
    /// Whether the run acts on it.
    pub followed: bool,
    /// How large it wants the initial set to be.
    pub wanted: usize,
    /// The nearest size that it is allowed to say.
    pub size: usize,
    /// Whether it has enough.
    pub content: bool,
    /// Why.
    pub reason: String,
}

/// `timings.json` of one round.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// Seconds of each phase.
    pub seconds: BTreeMap<String, f64>,
    /// Seconds of the whole round.
    pub total: f64,
    /// Largest resident memory so far, in bytes.
    pub peak_memory_bytes: u64,
}

/// One row of `selection.csv`: an image that the round chose.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Pick {
    /// Place in the order chosen.
    pub rank: usize,
    /// Dataset id.
    pub id: u64,
    /// Label bought, as an index into the class names.
    pub label: String,
    /// What the strategy gave the image, where it scores.
    pub score: Option<f64>,
    /// The image's file; none where the data set has no files, and in runs of earlier versions.
    #[serde(default)]
    pub file: Option<String>,
    /// The text that stands for it, where the data set has such texts.
    #[serde(default)]
    pub text: Option<String>,
}

/// Parses `selection.csv`; errs at the first row that is not whole.
pub(super) fn parse_selection(text: &str) -> Result<Vec<Pick>, csv::Error> {
    csv::Reader::from_reader(text.as_bytes()).deserialize().collect()
}
