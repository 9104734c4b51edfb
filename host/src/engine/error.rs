//! What can go wrong in the engine, as values.

use std::path::{Path, PathBuf};

use tch::TchError;

/// Why the engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A setting that no training could use, by its config key.
    #[error("`{key}` {problem}")]
    Setting {
        /// The dotted key in the config, such as `training.epochs`.
        key: &'static str,
        /// What is wrong with its value, including the value.
        problem: String,
    },
    /// A device that cannot be opened here.
    #[error("cannot use device `{wanted}`: {problem}")]
    Device {
        /// What was asked for, such as `cuda:1`.
        wanted: String,
        /// What is missing.
        problem: String,
        /// What to do about it.
        hint: String,
    },
    /// Images, labels or rows that do not fit each other or the model.
    #[error("{0}")]
    Input(String),
    /// The loss stopped being a number.
    #[error("training diverged: the loss is not finite in epoch {epoch} of {n_epochs}")]
    Diverged {
        /// The first such epoch, from 1.
        epoch: usize,
        /// How many epochs were planned.
        n_epochs: usize,
    },
    /// The observer asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A weight file that could not be written, read or understood.
    #[error("weights in `{}`: {problem}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it, where that is known.
        hint: Option<String>,
    },
    /// libtorch refused an operation.
    #[error("libtorch failed while {doing}: {source}")]
    Torch {
        /// What the engine was doing.
        doing: &'static str,
        /// libtorch's own words.
        source: TchError,
    },
}

impl EngineError {
    /// libtorch's refusal, without the frames of its C++ code.
    pub(super) fn torch(doing: &'static str, source: TchError) -> EngineError {
        EngineError::Torch { doing, source: without_frames(source) }
    }

    /// A problem with a weight file that needs no hint.
    pub(super) fn weights(path: &Path, problem: impl Into<String>) -> EngineError {
        EngineError::Weights { path: path.to_owned(), problem: problem.into(), hint: None }
    }

    /// What to try next, where there is something better than reading the message.
    pub fn hint(&self) -> Option<&str> {
        match self {
            EngineError::Device { hint, .. } => Some(hint),
            EngineError::Weights { hint, .. } => hint.as_deref(),
            EngineError::Diverged { .. } => {
                Some("lower the learning rate (`training.optimizer.lr` for the task), or add epochs of warm-up")
            }
            _ => None,
        }
    }
}

/// A result of libtorch before the caller has said what it was doing.
pub(super) type TorchResult<T> = Result<T, TchError>;

/// Names what was being done when libtorch failed.
pub(super) trait While<T> {
    /// Wraps libtorch's error as [`EngineError::Torch`].
    fn doing(self, doing: &'static str) -> Result<T, EngineError>;
}

impl<T> While<T> for TorchResult<T> {
    fn doing(self, doing: &'static str) -> Result<T, EngineError> {
        self.map_err(|source| EngineError::torch(doing, source))
    }
}

/// The sentence of libtorch; some forty lines of frames follow it.
fn without_frames(error: TchError) -> TchError {
    match error {
        TchError::Torch(text) => {
            let end = ["Exception raised from", "frame #0:"].iter().filter_map(|words| text.find(words)).min();
            TchError::Torch(text[..end.unwrap_or(text.len())].trim_end().to_owned())
        }
        other => other,
    }
}
