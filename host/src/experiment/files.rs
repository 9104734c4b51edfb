//! Files that are whole or not there.

use super::RunError;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Write a file so that a crash at any instant leaves the old content or the new one, on disk.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let partial = path.with_extension("partial");
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let failed = |source| RunError::File { action: "write", path: path.to_owned(), source };
    written.and_then(|()| fs::rename(&partial, path)).and_then(|()| sync_parent(path)).map_err(failed)
}

/// A rename is on disk once its folder is.
pub fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Create a folder and the ones above it.
pub fn create_folder(path: &Path) -> Result<(), RunError> {
    fs::create_dir_all(path).map_err(|source| RunError::File { action: "create", path: path.to_owned(), source })
}

/// Copy a folder with all that is in it, each file as [`write_atomically`] writes; one that is not there has nothing in it.
pub fn copy_folder(from: &Path, to: &Path) -> Result<(), RunError> {
    let failed = |source| RunError::File { action: "read", path: from.to_owned(), source };
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    create_folder(to)?;
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let (theirs, ours) = (entry.path(), to.join(entry.file_name()));
        if theirs.is_dir() {
            copy_folder(&theirs, &ours)?;
        } else {
            write_atomically(&ours, &read(&theirs)?)?;
        }
    }
    Ok(())
}

/// The text of a file.
pub fn read(path: &Path) -> Result<Vec<u8>, RunError> {
    fs::read(path).map_err(|source| RunError::File { action: "read", path: path.to_owned(), source })
}
