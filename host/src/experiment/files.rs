//! Files that are whole or not there.

use super::RunError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The ending of a file that is not whole yet.
const PARTIAL: &str = "partial";

/// Write a file so that a crash at any instant leaves the old content or the new one, on disk.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let partial = path.with_extension(PARTIAL);
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let failed = |source| RunError::File { action: "write", path: path.to_owned(), source };
    written.and_then(|()| fs::rename(&partial, path)).and_then(|()| sync_parent(path)).map_err(failed)
}

/// A new name is on disk once its folder is.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match File::open(parent) {
        // Names may be made in a folder that may not be read; whether they are on disk cannot be asked then.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        folder => folder?.sync_all(),
    }
}

/// Create a folder and the ones above it; they are on disk when this returns.
pub fn create_folder(path: &Path) -> Result<(), RunError> {
    let failed = |source| RunError::File { action: "create", path: path.to_owned(), source };
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(path).map_err(failed)?;
    missing.into_iter().try_for_each(sync_parent).map_err(failed)
}

/// Remove a folder with all that is in it; one that is not there is as good.
pub fn remove_folder(folder: &Path) -> Result<(), RunError> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(RunError::File { action: "remove", path: folder.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Remove what [`write_atomically`] left in a folder when it was killed.
pub fn remove_partial_files(folder: &Path) -> Result<(), RunError> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|ending| ending == PARTIAL) && path.is_file() {
            fs::remove_file(&path).map_err(|source| RunError::File { action: "remove", path, source })?;
        }
    }
    Ok(())
}

/// See to it that a folder and the files in it, which others have written, are on disk.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(folder)?.sync_all()?;
    sync_parent(folder)
}

/// Copy a folder with all that is in it, each file as [`write_atomically`] writes; one that is not there has nothing in it.
pub fn copy_folder(from: &Path, to: &Path) -> Result<(), RunError> {
    let failed = |source| RunError::File { action: "read", path: from.to_owned(), source };
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
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
