//! Any room's error, on its way to the user.

use crate::config::ConfigError;
use crate::data::DataError;
use crate::engine::EngineError;
use crate::experiment::RunError;
use crate::plugin::PluginError;
use std::path::PathBuf;
use thiserror::Error;

/// Why a session ended without a finished run.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The config is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A plugin cannot be used.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The data set cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine cannot work.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The run stopped.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The section `[representation]` cannot be used.
    #[error("`{key}` {problem}")]
    Representation {
        /// The dotted key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The file of features that the section `[representation]` names cannot be used.
    #[error("`representation.path`: {problem}")]
    FeatureFile {
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Every label so far is the same.
    #[error("`{strategy}` asks a model that tells classes apart, but all labels so far are `{class}`")]
    OneClass {
        /// The one class.
        class: String,
        /// Who asks.
        strategy: String,
    },
    /// The host could not do what a plugin could ask of it, either.
    #[error("{0}")]
    Operation(String),
    /// The data set changed between start and resumption.
    #[error("`{}` was begun on other images than the data set holds now", dir.display())]
    OtherData {
        /// The run's folder.
        dir: PathBuf,
    },
}
