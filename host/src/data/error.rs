//! The one error type of this room: what is wrong, in which file, where in it, and what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::foreign;

/// Why a data set could not be read, fetched or described.
#[derive(Debug, Error)]
pub enum DataError {
    /// A key of the `[dataset]` section is missing, out of range or does not belong to the kind.
    #[error("`dataset.{key}` {why}")]
    Key {
        /// The key, without the section.
        key: &'static str,
        /// The rest of the sentence.
        why: String,
    },
    /// A file that the kind needs is not there.
    #[error("nothing to read in `{}`: looked for {}", shown(.looked_in), .names.join(", "))]
    Missing {
        /// The folder (or file) that was searched.
        looked_in: PathBuf,
        /// Every name that would have done.
        names: Vec<String>,
        /// What to do about it.
        hint: String,
    },
    /// A folder of images whose layout is not clear, or is none.
    #[error("`{}`: {why}", shown(.folder))]
    Layout {
        /// The folder at fault.
        folder: PathBuf,
        /// The folders that were taken for classes or parts, and what is wrong with them.
        why: String,
        /// What to do about it.
        hint: String,
    },
    /// Several images cannot be read.
    #[error("{} of the {n_images} images in `{}` cannot be read:{}", .files.len(), shown(.root), listed(.files))]
    Unreadable {
        /// The folder or archive.
        root: PathBuf,
        /// Path below the root and reason of each.
        files: Vec<(String, String)>,
        /// How many images there are.
        n_images: usize,
    },
    /// The user wants to stop.
    #[error("cancelled")]
    Cancelled,
    /// The operating system refused.
    #[error("`{}`: {source}", shown(.path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is truncated, corrupt or mislabelled.
    #[error("`{}`{place}: {why}", shown(.path))]
    Malformed {
        /// The file; for a member of an archive the archive's path with the member's path after it.
        path: PathBuf,
        /// Where in the file.
        place: Place,
        /// What was expected and what is there.
        why: String,
        /// What to do about it, where there is something.
        hint: Option<String>,
    },
    /// A file that somebody works with is not the one that they began with.
    #[error("`{}` is not the file that the work began with: it was changed meanwhile", shown(.path))]
    Changed {
        /// The file or folder.
        path: PathBuf,
    },
    /// There is no room for a copy of a large file.
    #[error("there is no room for a copy of `{}` ({source})", shown(.path))]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A download did not come through.
    #[error("cannot download `{url}`: {why}")]
    Download {
        /// The address.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// A downloaded file is not the published one. The partial file has been deleted.
    #[error("`{url}` has md5 {got}, expected {expected}")]
    Checksum {
        /// The address.
        url: String,
        /// The published md5.
        expected: String,
        /// The md5 of what came.
        got: String,
    },
}

/// So many files are told one by one.
const NAMED: usize = 20;

fn listed(files: &[(String, String)]) -> String {
    let mut lines: Vec<String> = files.iter().take(NAMED).map(|(file, why)| format!("\n  {file}: {why}")).collect();
    if files.len() > NAMED {
        lines.push(format!("\n  and {} more", files.len() - NAMED));
    }
    lines.concat()
}

/// A path for people.
fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy()).replace('\n', "\\n")
}

/// A text from a file, with what a terminal would act on spelled out, and a mark where it was no text.
pub(super) fn printable(text: &str) -> String {
    foreign::lines(text).replace(char::REPLACEMENT_CHARACTER, "?")
}

/// Where in a file something is wrong. Lines and columns count from 1, bytes from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    Whole,
    /// A byte offset; in a compressed file, of the decompressed bytes.
    Byte(u64),
    /// A line.
    Line(u64),
    /// A cell of a table.
    Cell {
        /// The line.
        line: u64,
        /// The column, as a count of cells.
        column: u64,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Whole => Ok(()),
            Place::Byte(offset) => write!(f, ", byte {offset}"),
            Place::Line(line) => write!(f, ", line {line}"),
            Place::Cell { line, column } => write!(f, ", line {line}, column {column}"),
        }
    }
}

impl DataError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            DataError::Missing { hint, .. } | DataError::Layout { hint, .. } => Some(hint.clone()),
            DataError::Malformed { hint, .. } => hint.clone(),
            DataError::Unreadable { .. } => Some("bring whole files, or take these out of the data set".into()),
            DataError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("`dataset.path` is relative to `--data` or COLDSTART_DATA; see `coldstart data list`".into())
            }
            DataError::Download { .. } => {
                Some("what has arrived is kept: the same command continues from there".into())
            }
            DataError::Changed { .. } => {
                Some("bring it back as it was, and go on; or begin anew with what it is now".into())
            }
            DataError::NoRoom { .. } => Some(
                "a large file is copied, so that nobody changes it meanwhile: TMPDIR names a folder with room".into(),
            ),
            DataError::Checksum { .. } => Some("fetch it again; if the sum stays wrong, the mirror has changed".into()),
            _ => None,
        }
    }

    /// The key of the `[dataset]` section at fault, if it is one.
    pub fn key(&self) -> Option<&'static str> {
        match self {
            DataError::Key { key, .. } => Some(key),
            _ => None,
        }
    }

    pub(super) fn key_error(key: &'static str, why: impl Into<String>) -> Self {
        DataError::Key { key, why: why.into() }
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        DataError::Io { path: path.to_path_buf(), source }
    }

    pub(super) fn malformed(path: &Path, place: Place, why: impl Into<String>) -> Self {
        DataError::Malformed { path: path.to_path_buf(), place, why: printable(&why.into()), hint: None }
    }

    /// All that is wrong with the images below `root`, of which there are `n_images`.
    pub(super) fn unreadable(root: &Path, errors: &[DataError], n_images: usize) -> Self {
        let files = errors.iter().map(|error| match error {
            DataError::Malformed { path, .. } | DataError::Io { path, .. } => {
                let below = path.strip_prefix(root).unwrap_or(path);
                (shown(below), error.reason())
            }
            error => (String::new(), error.to_string()),
        });
        DataError::Unreadable { root: root.to_path_buf(), files: files.collect(), n_images }
    }

    /// What is wrong with a file, without its name.
    pub(super) fn reason(&self) -> String {
        match self {
            DataError::Malformed { place, why, .. } => format!("{why}{place}"),
            DataError::Io { source, .. } => source.to_string(),
            error => error.to_string(),
        }
    }

    pub(super) fn at_byte(path: &Path, offset: u64, why: impl Into<String>) -> Self {
        Self::malformed(path, Place::Byte(offset), why)
    }

    /// The same with what to do about it.
    pub(super) fn with_hint(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            DataError::Malformed { hint, .. } => *hint = Some(text.into()),
            DataError::Missing { hint, .. } => *hint = text.into(),
            _ => {}
        }
        self
    }
}
