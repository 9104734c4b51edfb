//! Whose folder is it? A folder that somebody else can write to could swap a plugin under us.

use super::program_folders;
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

/// Errs with the reason why nothing in a folder can be relied on: more people than its owner can write to it.
pub fn owner(folder: &Path) -> Result<Owner, String> {
    let metadata = std::fs::metadata(folder).map_err(|error| error.to_string())?;
    check_mode(metadata.uid(), metadata.mode())?;
    Ok(match is_relied_on(metadata.uid()) || is_program_s(folder, metadata.uid()) || is_let_in(folder) {
        true => Owner::Ours,
        false => Owner::Another(metadata.uid()),
    })
}

/// Errs unless a folder is ours or the system's, and only its owner or our own group can write to it.
pub fn is_safe(folder: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(folder).map_err(|error| error.to_string())?;
    if !is_relied_on(metadata.uid()) {
        return Err(format!("it belongs to user {}", metadata.uid()));
    }
    check_mode(metadata.uid(), metadata.mode())
}

/// The same for a folder below one of the search path, which may belong to whoever that belongs to.
pub fn is_safe_below(folder: &Path, searched: &Path) -> Result<(), String> {
    let (above, below) = (std::fs::metadata(searched), std::fs::metadata(folder));
    match (above, below) {
        (Ok(above), Ok(below)) if above.uid() == below.uid() => check_mode(below.uid(), below.mode()),
        _ => is_safe(folder),
    }
}

/// This user and the system's administrator can do as they like in any case.
fn is_relied_on(user: u32) -> bool {
    user == 0 || user == rustix::process::getuid().as_raw()
}

fn check_mode(user: u32, mode: u32) -> Result<(), String> {
    match mode {
        mode if mode & 0o002 != 0 => Err("everybody can write to it".to_owned()),
        mode if mode & 0o020 != 0 && !is_relied_on(user) => {
            Err(format!("it belongs to user {user}, and a whole group can write to it"))
        }
        _ => Ok(()),
    }
}

/// Whoever the program belongs to could change the program.
fn is_program_s(folder: &Path, user: u32) -> bool {
    let program = std::env::current_exe().and_then(std::fs::metadata);
    let same = |own: &Path| own.canonicalize().ok().is_some_and(|own| folder.canonicalize().is_ok_and(|it| it == own));
    program.is_ok_and(|program| program.uid() == user) && program_folders().iter().any(|own| same(own))
}

fn is_let_in(folder: &Path) -> bool {
    let Some(said) = std::env::var_os(SAFE) else { return false };
    let Ok(folder) = folder.canonicalize() else { return false };
    let named = std::env::split_paths(&said).filter(|named| named.is_absolute());
    named.filter_map(|named| named.canonicalize().ok()).any(|named| named == folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_else_can_write_to_a_folder_decides() {
        let me = rustix::process::getuid().as_raw();
        let other = me + 1234;
        for (user, mode, good) in [
            (me, 0o755, true),
            (me, 0o775, true),
            (me, 0o757, false),
            (0, 0o2775, true),
            (0, 0o777, false),
            (0, 0o1777, false),
            (other, 0o755, true),
            (other, 0o700, true),
            (other, 0o2775, false),
            (other, 0o777, false),
        ] {
            assert_eq!(check_mode(user, mode).is_ok(), good, "{user} {mode:o}");
        }
    }
}
