//! Hashes of files, by which whoever goes on from them tells whether they are what was written.

use super::error::RunError;
use crate::hash::sha256_of;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// SHA-256 of files in hexadecimal digits, by their paths below a folder, with `/` between the parts.
pub type Hashes = BTreeMap<String, String>;

/// What has become of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is what was written.
    Whole,
    /// It is gone.
    Missing,
    /// It is something else.
    Changed,
}

/// Look at a file below `root` that had this hash. Errs when it cannot be read.
pub fn look(root: &Path, name: &str, hash: &str) -> Result<Kept, RunError> {
    let path = root.join(name);
    match sha256_of(&path) {
        Ok(found) if found == hash => Ok(Kept::Whole),
        Ok(_) => Ok(Kept::Changed),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Kept::Missing),
        Err(source) => Err(RunError::File { action: "read", path, source }),
    }
}

/// The hashes of files below `root`; those that are not there are left out.
pub fn of_files(root: &Path, names: &[&str]) -> Result<Hashes, RunError> {
    let mut hashes = Hashes::new();
    for name in names.iter().filter(|name| root.join(name).is_file()) {
        let path = root.join(name);
        let hash = sha256_of(&path).map_err(|source| RunError::File { action: "read", path, source })?;
        hashes.insert((*name).to_owned(), hash);
    }
    Ok(hashes)
}

/// The hashes of all files in a folder below `root`, not of those in folders of its own; none if it is not there.
pub fn of_folder(root: &Path, folder: &str) -> Result<Hashes, RunError> {
    let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let names: Vec<String> = names.iter().map(|name| format!("{folder}/{name}")).collect();
    of_files(root, &names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The error about a file that is not what was written; whoever removes it has it made again.
pub fn changed(root: &Path, name: &str) -> RunError {
    RunError::Changed { path: root.join(name) }
}
