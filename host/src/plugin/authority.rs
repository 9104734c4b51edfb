//! One rule for every file that the program takes authority from: the trust store, keys, folders of plugins.
//!
//! It is the rule that OpenSSH calls StrictModes. What is relied on belongs to the user or to the system's administrator, and
//! neither a group nor everybody can write to it; the same holds for each folder and each link on the way to it, from the user's
//! home on, or from the root. A folder with the sticky bit, such as `/tmp`, may lie on the way: nobody can exchange in it what is
//! not theirs.

use crate::xdg;
use std::ffi::OsString;
use std::fmt;
use std::fs::Metadata;
use std::io::Error;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Links that are followed on the way to one file, as Linux has it.
const MOST_LINKS: usize = 40;

const BY_EVERYBODY: u32 = 0o002;
const BY_GROUP: u32 = 0o020;
const STICKY: u32 = 0o1000;
/// What a group and everybody could do with a file.
const BY_OTHERS: u32 = 0o077;

/// Why a file cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The file or folder that somebody else could change: the one that was asked for, or one on the way to it.
    path: PathBuf,
    /// Whether it is the one that was asked for.
    is_asked: bool,
    problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    BelongsTo(u32),
    WritableByGroup,
    WritableByEverybody,
    ReadableByOthers,
    Unseen(String),
}

impl Doubt {
    /// What to do about it, with the path.
    pub fn hint(&self) -> String {
        let path = self.path.display();
        match &self.problem {
            Problem::BelongsTo(_) => "put what you rely on into a folder of your own".to_owned(),
            Problem::WritableByGroup | Problem::WritableByEverybody => format!("chmod go-w {path}"),
            Problem::ReadableByOthers => format!("chmod 600 {path}"),
            Problem::Unseen(_) => format!("may you look at {path}?"),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.is_asked {
            true => "it".to_owned(),
            false => format!("`{}`", self.path.display()),
        };
        match &self.problem {
            Problem::BelongsTo(user) => write!(f, "{name} belongs to user {user}"),
            Problem::WritableByGroup => write!(f, "a whole group can write to {name}"),
            Problem::WritableByEverybody => write!(f, "everybody can write to {name}"),
            Problem::ReadableByOthers => write!(f, "others can read {name}"),
            Problem::Unseen(error) => write!(f, "{name} cannot be looked at: {error}"),
        }
    }
}

/// Errs with whatever on the way to a file or folder somebody else could change.
pub fn check(path: &Path) -> Result<(), Doubt> {
    check_below(path, xdg::home().as_deref(), None)
}

/// The same where another user is relied on, too.
pub fn check_with(path: &Path, user: u32) -> Result<(), Doubt> {
    check_below(path, xdg::home().as_deref(), Some(user))
}

/// The same for what lies below `top`, which is as good as it is.
pub fn check_below(path: &Path, top: Option<&Path>, also: Option<u32>) -> Result<(), Doubt> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // A home may be a link itself.
    let top = top.filter(|top| path.starts_with(top));
    let tops: Vec<PathBuf> =
        top.into_iter().flat_map(|top| [Some(top.to_owned()), top.canonicalize().ok()]).flatten().collect();
    let is_above = |step: &Path| tops.iter().any(|top| top != step && top.starts_with(step));
    let steps = steps(&path).map_err(|error| Doubt {
        path: path.clone(),
        is_asked: true,
        problem: Problem::Unseen(error.to_string()),
    })?;
    let last = steps.len() - 1;
    for (i, Step { path: at, metadata }) in steps.into_iter().enumerate() {
        if let Some(problem) = problem_of(&metadata, i == last, also).filter(|_| !is_above(&at)) {
            return Err(Doubt { is_asked: at == path, path: at, problem });
        }
    }
    Ok(())
}

/// Errs where anybody but its owner could read or change a file.
pub fn check_secret(path: &Path) -> Result<(), Doubt> {
    check(path)?;
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.mode());
    match mode & BY_OTHERS {
        0 => Ok(()),
        _ => Err(Doubt { path: path.to_owned(), is_asked: true, problem: Problem::ReadableByOthers }),
    }
}

/// This user and the system's administrator can do as they like in any case.
pub fn is_relied_on(user: u32) -> bool {
    user == 0 || user == rustix::process::getuid().as_raw()
}

fn problem_of(metadata: &Metadata, is_last: bool, also: Option<u32>) -> Option<Problem> {
    let (user, mode) = (metadata.uid(), metadata.mode());
    if !is_relied_on(user) && also != Some(user) {
        return Some(Problem::BelongsTo(user));
    }
    // A link has no mode of its own, and what is not one's own stays as it is in a folder with the sticky bit.
    if metadata.is_symlink() || (metadata.is_dir() && mode & STICKY != 0 && !is_last) {
        return None;
    }
    match mode {
        mode if mode & BY_EVERYBODY != 0 => Some(Problem::WritableByEverybody),
        mode if mode & BY_GROUP != 0 => Some(Problem::WritableByGroup),
        _ => None,
    }
}

/// A file, a folder or a link on the way to a path.
struct Step {
    path: PathBuf,
    metadata: Metadata,
}

/// All that is looked at on the way to an absolute path, from the root on, with the folders that links lead through.
fn steps(path: &Path) -> Result<Vec<Step>, Error> {
    let step = |path: PathBuf| std::fs::symlink_metadata(&path).map(|metadata| Step { path, metadata });
    let mut steps = vec![step(PathBuf::from("/"))?];
    let (mut at, mut waiting, mut links) = (PathBuf::from("/"), parts_reversed(path), 0);
    while let Some(part) = waiting.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = step(at.join(&part))?;
        if next.metadata.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(rustix::io::Errno::LOOP.into());
            }
            let target = std::fs::read_link(&next.path)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            waiting.extend(parts_reversed(&target));
        } else {
            at.clone_from(&next.path);
        }
        steps.push(next);
    }
    Ok(steps)
}

fn parts_reversed(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut parts: Vec<OsString> = parts.collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn whatever_on_the_way_others_can_write_to_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (outer, inner) = (root.join("outer"), root.join("outer/inner"));
        let file = inner.join("file");
        fs::create_dir_all(&inner).unwrap();
        fs::write(&file, "x").unwrap();
        for (outer_mode, inner_mode, file_mode, expected) in [
            (0o755, 0o755, 0o644, None),
            (0o700, 0o700, 0o600, None),
            (0o1777, 0o755, 0o644, None),
            (0o755, 0o1777, 0o644, None),
            (0o755, 0o755, 0o664, Some((&file, "a whole group can write to it"))),
            (0o755, 0o755, 0o646, Some((&file, "everybody can write to it"))),
            (0o755, 0o775, 0o644, Some((&inner, "a whole group can write to `"))),
            (0o777, 0o755, 0o644, Some((&outer, "everybody can write to `"))),
            (0o2775, 0o755, 0o644, Some((&outer, "a whole group can write to `"))),
        ] {
            set(&outer, outer_mode);
            set(&inner, inner_mode);
            set(&file, file_mode);
            let modes = format!("{outer_mode:o} {inner_mode:o} {file_mode:o}");
            match (check_below(&file, Some(&root), None), expected) {
                (Ok(()), None) => {}
                (Err(doubt), Some((path, sentence))) => {
                    assert!(doubt.to_string().starts_with(sentence), "{modes}: {doubt}");
                    assert_eq!(doubt.hint(), format!("chmod go-w {}", path.display()), "{modes}");
                }
                (checked, _) => panic!("{modes}: {checked:?}"),
            }
        }
        // As what is asked for itself, a folder with the sticky bit is no better than one without.
        set(&outer, 0o1777);
        assert!(check_below(&outer, Some(&root), None).is_err());
    }

    #[test]
    fn a_link_is_followed_and_the_way_behind_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["open", "closed", "own"] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("file"), "x").unwrap();
        }
        set(&root.join("open"), 0o777);
        for (link, target) in [
            ("own/good", "../closed/file"),
            ("own/bad", "../open/file"),
            ("own/through", "bad"),
            ("own/folder", "../open"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        symlink("loop", root.join("own/loop")).unwrap();
        for (asked, good) in [
            ("own/good", true),
            ("own/bad", false),
            ("own/through", false),
            ("own/folder/file", false),
            ("own/loop", false),
            ("own/missing", false),
        ] {
            let checked = check_below(&root.join(asked), Some(&root), None);
            assert_eq!(checked.is_ok(), good, "{asked}: {checked:?}");
        }
    }

    #[test]
    fn a_secret_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lab.key");
        fs::write(&file, "secret").unwrap();
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            set(&file, mode);
            assert_eq!(check_secret(&file).is_ok(), good, "{mode:o}");
        }
    }
}
