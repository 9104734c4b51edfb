//! What ran: the files that are written once, before round 0, and read when a run is resumed.

use super::{SessionError, Strategy};
use crate::config::Config;
use crate::data::{DataError, Dataset, Pinned, Pins, Shape};
use crate::engine::{self, Device};
use crate::experiment::{RunDir, RunError, now, write_atomically};
use crate::hash::sha256;
use crate::plugin::lock::{Lock, LockedPlugin};
use coldstart_plugin_api::API_VERSION;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `environment.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Environment {
    pub coldstart: String,
    pub plugin_api: String,
    pub torch: String,
    /// Where the model runs, as `--device` would say it.
    pub device: String,
    /// The device's own name.
    pub device_name: String,
    pub threads: usize,
    pub started: String,
    pub config_sha256: String,
    /// Where relative data paths began.
    pub data_root: PathBuf,
    pub dataset: DatasetRecord,
    /// The file that the backbone's weights came from, if they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<FileRecord>,
    /// The files that features came from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<FileRecord>,
    /// The learner of the user's own, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learner: Option<LearnerRecord>,
}

/// A learner of the user's own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LearnerRecord {
    /// The script.
    pub path: PathBuf,
    /// The hash of its bytes and of its modules'.
    pub sha256: String,
    /// The modules that it names.
    pub modules: Vec<String>,
    /// How well it was shut in: `none`, or a word of the sandbox.
    pub confinement: String,
    /// The interpreter's version, and those of well-known packages that it had imported.
    pub versions: BTreeMap<String, String>,
}

/// A file that a run stands on.
#[derive(Debug, Serialize, Deserialize)]
pub struct FileRecord {
    pub path: PathBuf,
    pub sha256: String,
}

impl From<&Pinned> for FileRecord {
    fn from(pinned: &Pinned) -> FileRecord {
        FileRecord { path: pinned.path.clone(), sha256: pinned.sha256.clone() }
    }
}

/// The files of weights and features that a config names, as they are now; those of weights first.
///
/// Errs when one of them cannot be read.
pub fn pin(config: &Config) -> Result<Pins, RunError> {
    let sections = [&config.representation, &config.initial.representation, &config.query.representation];
    let paths = sections.into_iter().flatten().flat_map(|section| [&section.path, &section.test]);
    let features = paths.flatten().map(PathBuf::as_path);
    Pins::of(config.model.weight_file().into_iter().chain(features)).map_err(|error| match error {
        DataError::Io { path, source } => RunError::File { action: "read", path, source },
        error => RunError::Sources(error.into()),
    })
}

/// The data set, as far as a report needs it.
#[derive(Debug, Serialize, Deserialize)]
pub struct DatasetRecord {
    pub kind: String,
    pub pool: usize,
    pub validation: usize,
    pub test: usize,
    pub shape: Shape,
    /// Numbers of an item of a data set without images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<usize>,
    pub classes: Vec<String>,
    pub fingerprint: String,
}

impl Environment {
    pub fn read(dir: &RunDir) -> Result<Environment, RunError> {
        let path = dir.path("environment.json");
        let text =
            std::fs::read(&path).map_err(|source| RunError::File { action: "read", path: path.clone(), source })?;
        serde_json::from_slice(&text).map_err(|error| RunError::Damaged { path, problem: error.to_string() })
    }

    /// Errs if the run's config was edited since: the rounds before and after would not belong together.
    pub fn check_config(&self, dir: &RunDir) -> Result<(), SessionError> {
        let path = dir.path("config.toml");
        let text =
            std::fs::read(&path).map_err(|source| RunError::File { action: "read", path: path.clone(), source })?;
        if sha256(&text) == self.config_sha256 {
            return Ok(());
        }
        Err(SessionError::OtherConfig { file: path })
    }

    /// Errs if a file of weights or features is another than the one that the run began with.
    pub fn check_files(&self, pins: &Pins) -> Result<(), RunError> {
        let then = self.weights.iter().chain(&self.features);
        match pins.files().iter().zip(then).find(|(now, then)| now.sha256 != then.sha256) {
            Some((now, _)) => {
                let problem = "it is not the file that the run began with".to_owned();
                Err(RunError::Damaged { path: now.path.clone(), problem })
            }
            None => Ok(()),
        }
    }
}

/// Read `plugins.lock`.
pub fn read_lock(dir: &RunDir) -> Result<Lock, RunError> {
    let path = dir.path("plugins.lock");
    let text = std::fs::read(&path).map_err(|source| RunError::File { action: "read", path: path.clone(), source })?;
    Lock::parse("plugins.lock", &text).map_err(|error| RunError::Damaged { path, problem: error.message })
}

/// The code of others that a run runs.
pub struct Ran<'a> {
    pub strategies: &'a [Arc<Strategy>],
    /// The learner, if it is the user's own, and its row in the lock.
    pub learner: Option<LearnerRecord>,
    pub locked_learner: Option<LockedPlugin>,
}

/// Write `config.toml`, `plugins.lock` and `environment.json`.
pub fn write(
    dir: &RunDir,
    config: &Config,
    (data, data_root): (&Dataset, &Path),
    pins: &Pins,
    device: &Device,
    ran: &Ran<'_>,
) -> Result<(), RunError> {
    let config_toml = config.to_toml();
    let (weights, features) = pins.files().split_at(usize::from(config.model.weight_file().is_some()));
    let environment = Environment {
        coldstart: env!("CARGO_PKG_VERSION").to_owned(),
        plugin_api: API_VERSION.to_owned(),
        torch: engine::TORCH_VERSION.to_owned(),
        device: device.id(),
        device_name: device.name().to_owned(),
        threads: device.threads(),
        started: now(),
        config_sha256: sha256(config_toml.as_bytes()),
        data_root: std::path::absolute(data_root).unwrap_or_else(|_| data_root.to_owned()),
        dataset: DatasetRecord {
            kind: data.kind.clone(),
            pool: data.pool.len(),
            validation: data.validation.len(),
            test: data.test.len(),
            shape: data.shape,
            features: data.given.as_ref().map(|given| given.pool.n_cols),
            classes: data.classes.clone(),
            fingerprint: data.fingerprint.clone(),
        },
        weights: weights.iter().next().map(FileRecord::from),
        features: features.iter().map(FileRecord::from).collect(),
        learner: ran.learner.clone(),
    };
    let strategies = ran.strategies.iter().flat_map(|strategy| strategy.with_components());
    let strategies = strategies.map(|strategy| strategy.locked.clone());
    let lock = Lock::new(strategies.chain(ran.locked_learner.clone()).collect()).to_toml();
    let environment = serde_json::to_string_pretty(&environment).expect("plain data");
    write_atomically(&dir.path("plugins.lock"), lock.as_bytes())?;
    write_atomically(&dir.path("environment.json"), environment.as_bytes())?;
    write_atomically(&dir.path("config.toml"), config_toml.as_bytes())
}
