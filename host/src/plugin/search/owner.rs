//! Whose folder is it? A folder that somebody else can write to could swap a plugin under us.

use super::program_folders;
use crate::plugin::authority::{self, Doubt, is_relied_on};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The variable that lets in folders of other users, as git's `safe.directory` does.
pub const SAFE: &str = "COLDSTART_SAFE_PLUGIN_PATH";

/// How far a folder of the search path can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It is ours, the system's, the program's own, or let in.
    Ours,
    /// It belongs to this user, who may be a colleague: only what a trusted key has signed counts.
    Another(u32),
}

/// Errs with the reason why nothing in a folder can be relied on: more people than its owner can write to it, or to a folder on the
/// way to it.
pub fn owner(folder: &Path) -> Result<Owner, String> {
    let metadata = std::fs::metadata(folder).map_err(|error| error.to_string())?;
    let user = metadata.uid();
    if is_program_s(folder, user) {
        // Whoever may write there could change the program as well, but everybody is nobody's choice.
        return if metadata.mode() & 0o002 == 0 {
            Ok(Owner::Ours)
        } else {
            Err("everybody can write to it".to_owned())
        };
    }
    if is_relied_on(user) {
        return authority::check(folder).map(|()| Owner::Ours).map_err(in_words);
    }
    if is_let_in(folder, user) {
        return authority::check_with(folder, user).map(|()| Owner::Ours).map_err(in_words);
    }
    // What lies above it does not matter: signatures vouch for what counts.
    authority::check_below(folder, Some(folder), Some(user)).map(|()| Owner::Another(user)).map_err(in_words)
}

/// Errs with the reason why a file or folder below one of the search path cannot be relied on as that can, to whoever that
/// belongs.
pub fn is_safe_below(path: &Path, searched: &Path) -> Result<(), String> {
    let user = std::fs::metadata(searched).map_err(|error| error.to_string())?.uid();
    authority::check_below(path, Some(searched), Some(user)).map_err(in_words)
}

fn in_words(doubt: Doubt) -> String {
    format!("{doubt} ({})", doubt.hint())
}

/// Whoever the program belongs to could change the program.
fn is_program_s(folder: &Path, user: u32) -> bool {
    let program = std::env::current_exe().and_then(std::fs::metadata);
    let same = |own: &Path| own.canonicalize().ok().is_some_and(|own| folder.canonicalize().is_ok_and(|it| it == own));
    program.is_ok_and(|program| program.uid() == user) && program_folders().iter().any(|own| same(own))
}

/// Whether the user relies on a folder of another user, or on one above it that belongs to the same.
fn is_let_in(folder: &Path, user: u32) -> bool {
    let Some(said) = std::env::var_os(SAFE) else { return false };
    let Ok(folder) = folder.canonicalize() else { return false };
    let named = std::env::split_paths(&said).filter(|named| named.is_absolute());
    let is_theirs = |named: &Path| std::fs::metadata(named).is_ok_and(|metadata| metadata.uid() == user);
    named.filter_map(|named| named.canonicalize().ok()).any(|named| folder.starts_with(&named) && is_theirs(&named))
}
