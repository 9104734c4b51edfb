//! The error of this room.

use crate::plugin::PluginError;
use std::fmt;
use std::path::Path;

/// A crate that cannot be made, built or checked.
#[derive(Debug)]
pub enum WorkshopError {
    /// A mistake in what was asked: a sentence and a hint.
    Usage(String, String),
    /// Something failed on the way: a sentence and a hint.
    Failed(String, String),
    /// The plugin itself cannot be found or read.
    Plugin(PluginError),
}

impl WorkshopError {
    /// What to do about it.
    pub fn hint(&self) -> &str {
        match self {
            WorkshopError::Usage(_, hint) | WorkshopError::Failed(_, hint) => hint,
            WorkshopError::Plugin(error) => &error.hint,
        }
    }

    /// A file that cannot be read or written.
    pub(super) fn file(path: &Path, error: &std::io::Error) -> WorkshopError {
        WorkshopError::Failed(format!("{}: {error}", path.display()), "check the path and its permissions".to_owned())
    }
}

impl fmt::Display for WorkshopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkshopError::Usage(message, _) | WorkshopError::Failed(message, _) => f.write_str(message),
            WorkshopError::Plugin(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WorkshopError {}

impl From<PluginError> for WorkshopError {
    fn from(error: PluginError) -> WorkshopError {
        WorkshopError::Plugin(error)
    }
}
