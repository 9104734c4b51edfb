//! The error of this room.

use crate::data::DataError;
use crate::experiment::RunError;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a project cannot be read, continued or written.
#[derive(Debug, Error)]
pub enum ProjectError {
    /// The folder holds something else.
    #[error("`{}` is not empty, and no project of `coldstart select`: it has no `images.csv`", .0.display())]
    Occupied(PathBuf),
    /// There is no project.
    #[error("`{}` is no project: it has no `images.csv`", .0.display())]
    NoProject(PathBuf),
    /// Another process works on it.
    #[error("`{}` is in use: another process works on this project", .0.display())]
    InUse(PathBuf),
    /// Another process has made it in the meantime.
    #[error("`{}` was made by another process in the meantime", .0.display())]
    MadeMeanwhile(PathBuf),
    /// The images are not those that the project knows, or labels do not fit them.
    #[error("{message}")]
    Mistake {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the project holds what cannot be.
    #[error("`{}` is damaged: {problem}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong, with the line where there is one.
        problem: String,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] RunError),
    /// The images cannot be listed.
    #[error(transparent)]
    Data(#[from] DataError),
}

impl ProjectError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            ProjectError::Occupied(_) => "name another folder with `--out`",
            ProjectError::NoProject(_) => "name the folder that `coldstart select` wrote",
            ProjectError::InUse(_) => "wait until it is done",
            ProjectError::MadeMeanwhile(_) => {
                "name another folder with `--out`, or go on with the project that is there now"
            }
            ProjectError::Mistake { hint, .. } => hint,
            ProjectError::Damaged { .. } => "bring back the file as it was, or begin a new project with `--out`",
            ProjectError::Data(_) => {
                "`--images` names a folder with image files in it: JPEG, PNG, WebP, BMP, TIFF or GIF"
            }
            ProjectError::File { .. } | ProjectError::Write(_) => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether what was typed or handed over is wrong, and not the machine.
    pub fn is_usage(&self) -> bool {
        !matches!(self, ProjectError::File { .. } | ProjectError::Write(_) | ProjectError::Damaged { .. })
    }

    pub(super) fn mistake(message: impl Into<String>, hint: impl Into<String>) -> ProjectError {
        ProjectError::Mistake { message: message.into(), hint: hint.into() }
    }

    pub(super) fn read(path: &Path, source: std::io::Error) -> ProjectError {
        ProjectError::File { action: "read", path: path.to_owned(), source }
    }

    pub(super) fn write(path: &Path, source: std::io::Error) -> ProjectError {
        ProjectError::File { action: "write", path: path.to_owned(), source }
    }

    pub(super) fn damaged(path: &Path, problem: impl ToString) -> ProjectError {
        ProjectError::Damaged { path: path.to_owned(), problem: problem.to_string() }
    }
}
