//! The file store of MLflow: an experiment a folder, a run a folder in it, a file for each parameter, metric and tag.
//!
//! Ids follow from what is exported, so that the same run exported again takes its own place. Times are those of the run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{began_at, counted, finished_at, scalars};
use crate::report::run::{Run, Status};
use crate::report::study::Named;
use crate::report::{ReportError, write_whole};

/// MLflow refuses longer values.
const LONGEST_PARAM: usize = 6000;
const LONGEST_TAG: usize = 8000;
/// Numbers of `RunStatus` and `SourceType`.
const RUNNING: u8 = 1;
const FINISHED: u8 = 3;
const FAILED: u8 = 4;
const LOCAL: u8 = 4;
/// What of a run's folder goes along; `report.html` if there is one.
const ARTIFACTS: [&str; 6] =
    ["config.toml", "plugins.lock", "environment.json", "journal.jsonl", "results.csv", "report.html"];

pub(super) fn write(runs: &[Named], to: &Path) -> Result<(), ReportError> {
    check_is_ours(to)?;
    let root = std::path::absolute(to).map_err(|source| ReportError::Write { path: to.to_owned(), source })?;
    let mut experiments: BTreeMap<&str, Vec<&Named>> = BTreeMap::new();
    for named in runs {
        experiments.entry(&named.experiment).or_default().push(named);
    }
    for (name, runs) in experiments {
        let id = experiment_id(name);
        let folder = root.join(&id);
        let times = || runs.iter().map(|named| milliseconds(began_at(&named.run)));
        let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        let meta = format!(
            "artifact_location: {}\ncreation_time: {first}\nexperiment_id: '{id}'\nlast_update_time: {last}\n\
             lifecycle_stage: active\nname: {}\n",
            yaml(&address(&folder)),
            yaml(name),
        );
        write_whole(&folder.join("meta.yaml"), meta.as_bytes())?;
        for named in runs {
            write_run(named, &id, &folder)?;
        }
    }
    Ok(())
}

/// A folder is ours, or may become it, if all that it holds are experiments.
fn check_is_ours(to: &Path) -> Result<(), ReportError> {
    let foreign = std::fs::read_dir(to).into_iter().flatten().flatten().find(|entry| {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        !hidden && entry.file_name() != "models" && !is_experiment(&entry.path())
    });
    match foreign {
        Some(entry) => {
            let name = entry.file_name().to_string_lossy().into_owned();
            Err(ReportError::ForeignStore { dir: to.to_owned(), name })
        }
        None => Ok(()),
    }
}

/// Whether a folder is an experiment, or one that was stopped before it had said so.
fn is_experiment(folder: &Path) -> bool {
    let has_id = folder.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let is_begun = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(".meta.yaml.");
    let holds_nothing_else = || std::fs::read_dir(folder).is_ok_and(|entries| entries.flatten().all(is_begun));
    folder.join("meta.yaml").is_file() || has_id && holds_nothing_else()
}

fn write_run(named: &Named, experiment: &str, folder: &Path) -> Result<(), ReportError> {
    let run = &named.run;
    let id = run_id(run);
    let folder = folder.join(&id);
    // What an earlier export left, a tag or a round that is gone, must not stay.
    let removed = std::fs::remove_dir_all(&folder);
    if let Err(source) = removed
        && source.kind() != std::io::ErrorKind::NotFound
    {
        return Err(ReportError::Write { path: folder, source });
    }
    let last = counted(run).last().map_or_else(|| began_at(run), |round| finished_at(run, round.number));
    let (status, end) = match (&run.status, &named.error) {
        (Status::Finished, _) => (FINISHED, milliseconds(last).to_string()),
        (Status::Failed(_), _) | (_, Some(_)) => (FAILED, milliseconds(last).to_string()),
        (Status::Unfinished, None) => (RUNNING, "null".to_owned()),
    };
    let meta = format!(
        "artifact_uri: {}\nend_time: {end}\nentry_point_name: ''\nexperiment_id: '{experiment}'\nlifecycle_stage: active\n\
         run_id: {id}\nrun_name: {}\nrun_uuid: {id}\nsource_name: ''\nsource_type: {LOCAL}\nsource_version: ''\n\
         start_time: {}\nstatus: {status}\ntags: []\nuser_id: ''\n",
        yaml(&address(&folder.join("artifacts"))),
        yaml(&named.name),
        milliseconds(began_at(run)),
    );
    for (key, value) in &run.config.keys {
        write_text(&folder.join("params"), key, &shortened(&value.replace(['\n', '\r'], " "), LONGEST_PARAM))?;
    }
    for (key, lines) in metrics(run) {
        write_text(&folder.join("metrics"), &key, &lines)?;
    }
    for (key, value) in tags(named) {
        write_text(&folder.join("tags"), &key, &shortened(&value, LONGEST_TAG))?;
    }
    copy_artifacts(run, &folder.join("artifacts"))?;
    // Last: a run counts once this is there.
    write_whole(&folder.join("meta.yaml"), meta.as_bytes())
}

/// For each metric a line a round: time in milliseconds, value, labels.
fn metrics(run: &Run) -> BTreeMap<String, String> {
    let mut metrics: BTreeMap<String, String> = BTreeMap::new();
    for round in counted(run) {
        let (time, step) = (milliseconds(finished_at(run, round.number)), round.metrics.labels_bought());
        for (name, value) in scalars(round) {
            metrics.entry(name).or_default().push_str(&format!("{time} {value} {step}\n"));
        }
    }
    metrics
}

fn tags(named: &Named) -> BTreeMap<String, String> {
    let run = &named.run;
    let environment = &run.environment;
    let mut tags = BTreeMap::from([
        ("mlflow.runName".to_owned(), named.name.clone()),
        ("mlflow.source.name".to_owned(), format!("coldstart {}", environment.coldstart)),
        ("mlflow.source.type".to_owned(), "LOCAL".to_owned()),
        ("coldstart.run".to_owned(), run.name()),
        ("coldstart.status".to_owned(), run.status_line()),
        ("coldstart.device".to_owned(), environment.device.clone()),
        ("coldstart.torch".to_owned(), environment.torch.clone()),
        ("coldstart.dataset.fingerprint".to_owned(), environment.dataset.fingerprint.clone()),
    ]);
    for (axis, label) in &named.axes {
        tags.insert(format!("coldstart.axis.{axis}"), label.clone());
    }
    for (place, plugin) in run.plugins.iter().enumerate() {
        let told = format!("{} {} {} {}", plugin.role, plugin.name, plugin.version, plugin.sha256);
        tags.insert(format!("coldstart.plugin.{place}"), told);
    }
    if let Some(error) = &named.error {
        tags.insert("coldstart.error".to_owned(), error.clone());
    }
    tags.retain(|_, value| !value.is_empty());
    tags
}

fn copy_artifacts(run: &Run, to: &Path) -> Result<(), ReportError> {
    let selections = counted(run).map(|round| format!("rounds/{:03}/selection.csv", round.number));
    for name in ARTIFACTS.iter().map(|name| (*name).to_owned()).chain(selections) {
        // One that is not there is no loss.
        if let Some(bytes) = run.file(&name)? {
            write_whole(&to.join(&name), &bytes)?;
        }
    }
    std::fs::create_dir_all(to).map_err(|source| ReportError::Write { path: to.to_owned(), source })
}

/// Writes a file named by a key, as far as MLflow takes it.
fn write_text(folder: &Path, key: &str, text: &str) -> Result<(), ReportError> {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_-. :/".contains(c) { c } else { '_' };
    let key: PathBuf = key.chars().map(allowed).collect::<String>().into();
    write_whole(&folder.join(key), text.as_bytes())
}

fn shortened(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// The id of an experiment: a number of 18 digits, as MLflow draws them, here from the name.
fn experiment_id(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let number = u64::from_be_bytes(std::array::from_fn(|i| digest[i]));
    (100_000_000_000_000_000 + number % 900_000_000_000_000_000).to_string()
}

/// The id of a run: 32 hexadecimal digits from its config, its start and its folder's name.
fn run_id(run: &Run) -> String {
    let identity = format!("{}\0{}\0{}", run.config.text, run.environment.started, run.name());
    Sha256::digest(identity.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

/// A text in YAML: JSON's strings are YAML's.
fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A folder as an address.
fn address(folder: &Path) -> String {
    let escaped = folder.display().to_string().replace('%', "%25").replace(' ', "%20").replace('#', "%23");
    format!("file://{escaped}")
}
