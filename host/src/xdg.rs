//! The user's folders, as the XDG Base Directory Specification has them: config, data and cache.
//!
//! The specification says that relative paths in its variables are invalid and to be ignored. They are, the default takes their
//! place, and it is said once in a process: a folder in another place than the user thinks would be missed for long.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// `XDG_CONFIG_HOME`, or else `~/.config`; none if there is no home either.
pub fn config_home() -> Option<PathBuf> {
    absolute("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")))
}

/// `XDG_DATA_HOME`, or else `~/.local/share`; none if there is no home either.
pub fn data_home() -> Option<PathBuf> {
    absolute("XDG_DATA_HOME").or_else(|| Some(home()?.join(".local/share")))
}

/// `XDG_CACHE_HOME`, or else `~/.cache`; none if there is no home either.
pub fn cache_home() -> Option<PathBuf> {
    absolute("XDG_CACHE_HOME").or_else(|| Some(home()?.join(".cache")))
}

/// The absolute folders of `XDG_DATA_DIRS`, or else `/usr/local/share` and `/usr/share`.
pub fn data_dirs() -> Vec<PathBuf> {
    let said = std::env::var_os("XDG_DATA_DIRS").map(|value| std::env::split_paths(&value).collect());
    let said: Vec<PathBuf> = said.unwrap_or_default();
    let (absolute, relative): (Vec<PathBuf>, Vec<PathBuf>) = said.into_iter().partition(|folder| folder.is_absolute());
    for folder in relative.iter().filter(|folder| !folder.as_os_str().is_empty()) {
        say_once("XDG_DATA_DIRS", folder);
    }
    match absolute.is_empty() {
        true => vec!["/usr/local/share".into(), "/usr/share".into()],
        false => absolute,
    }
}

/// `HOME`; where it is not set, what the system's list of users says.
pub fn home() -> Option<PathBuf> {
    match std::env::var_os("HOME") {
        Some(_) => absolute("HOME"),
        None => std::env::home_dir().filter(|home| home.is_absolute()),
    }
}

/// The absolute path in a variable; one that is empty counts as not set.
fn absolute(variable: &'static str) -> Option<PathBuf> {
    let value: OsString = std::env::var_os(variable).filter(|value| !value.is_empty())?;
    let folder = PathBuf::from(value);
    if folder.is_absolute() {
        return Some(folder);
    }
    say_once(variable, &folder);
    None
}

fn say_once(variable: &'static str, folder: &Path) {
    static SAID: Mutex<BTreeSet<(&str, PathBuf)>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert((variable, folder.to_owned())) {
        tracing::warn!("the relative path `{}` in {variable} is ignored: only absolute ones count", folder.display());
    }
}
