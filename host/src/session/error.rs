//! Any room's error, on its way to the user.

use crate::config::ConfigError;
use crate::data::DataError;
use crate::engine::EngineError;
use crate::experiment::RunError;
use crate::learner::LearnerError;
use crate::plugin::PluginError;
use crate::wait;
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
    /// The learner of the user's own cannot be used.
    #[error(transparent)]
    Learner(LearnerError),
    /// The data set cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine cannot work.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The run stopped.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A key that only other images or another version make wrong.
    #[error("`{key}` {problem}")]
    Key {
        /// The dotted key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// Several things are wrong, each told apart; never fewer than two.
    #[error("{}", in_lines(.0))]
    Several(Vec<SessionError>),
    /// What is wrong with some runs of a study, and not with the others.
    #[error("{runs}: {source}")]
    InRuns {
        /// Which runs.
        runs: String,
        /// What is wrong with them.
        source: Box<SessionError>,
    },
    /// Slurm does not do what it is asked.
    #[error("{problem}")]
    Slurm {
        /// What it said.
        problem: String,
        /// What to do about it.
        hint: String,
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
    /// The folder holds a study, and not a run.
    #[error("`{}` is a study of several runs", dir.display())]
    Study {
        /// The folder.
        dir: PathBuf,
    },
    /// The run's config was edited since it began: the rounds before and after would not belong together.
    #[error("`{}` is not the config that the run began with", file.display())]
    OtherConfig {
        /// The run's config.
        file: PathBuf,
    },
    /// The data set changed between start and resumption.
    #[error("`{}` was begun on other images than the data set holds now", dir.display())]
    OtherData {
        /// The run's folder.
        dir: PathBuf,
    },
}

impl SessionError {
    /// What a plugin failed with; while the user is stopping the program, that is the stop.
    pub fn of_plugin(error: PluginError) -> SessionError {
        match wait::interrupted() {
            true => SessionError::Run(RunError::Cancelled),
            false => SessionError::Plugin(error),
        }
    }

    /// A key and the rest of the sentence.
    pub(super) fn of_key((key, problem): (String, String)) -> SessionError {
        SessionError::Key { key, problem }
    }

    /// All of these as one error; none if there is none.
    pub fn of(errors: Vec<SessionError>) -> Result<(), SessionError> {
        if errors.is_empty() { Ok(()) } else { Err(SessionError::several(errors)) }
    }

    /// All of these, which are not none, as one error.
    pub(super) fn several(mut errors: Vec<SessionError>) -> SessionError {
        if errors.len() == 1 { errors.remove(0) } else { SessionError::Several(errors) }
    }
}

fn in_lines(errors: &[SessionError]) -> String {
    errors.iter().map(SessionError::to_string).collect::<Vec<_>>().join("\n")
}
