//! Leaves: which scripts the user lets run with all rights, by the hash of their bytes. A file for each, in the user's config
//! folder beside the trust store.
//!
//! A config may come from anybody; which code runs is the user's own word. A leave is for bytes, not for a place: whoever
//! changes a script, or a module that it names, has to ask again.

use super::error::{LearnerCode, LearnerError};
use super::script::Script;
use crate::plugin::authority;
use crate::plugin::package::{PackageError, make_folder, write_atomically};
use crate::xdg;
use humantime::format_rfc3339_seconds;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One leave: a file of the store, named after the hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// `sha256:` and the hash of the bytes that may run.
    pub sha256: String,
    /// Where the script was when leave was given.
    pub file: PathBuf,
    /// When, in RFC 3339.
    pub given: String,
}

/// All leaves that the user has given.
pub struct Leaves {
    folder: PathBuf,
}

impl Leaves {
    /// The user's store: coldstart/learners under `XDG_CONFIG_HOME`, or else under `~/.config`. Without either it is empty, and
    /// no leave can be given but for one call.
    pub fn open() -> Leaves {
        Leaves::at(&xdg::config_home().map(|config| config.join("coldstart/learners")).unwrap_or_default())
    }

    /// The store in a folder.
    pub fn at(folder: &Path) -> Leaves {
        Leaves { folder: folder.to_owned() }
    }

    /// Whether these bytes may run. Errs where the leave is there and somebody else could have written it, or it is none.
    pub fn has(&self, sha256: &str) -> Result<bool, LearnerError> {
        let Some(file) = self.file_of(sha256) else { return Ok(false) };
        match file.try_exists() {
            Ok(false) => Ok(false),
            Ok(true) => Ok(read(&file)?.sha256 == sha256),
            Err(error) => Err(doubted(&file, format!("cannot be looked at: {error}"), "may you look at it?")),
        }
    }

    /// Give leave to a script as it is now; returns where that stands.
    pub fn give(&self, script: &Script) -> Result<PathBuf, PackageError> {
        let Some(file) = self.file_of(&script.sha256) else {
            return Err(PackageError::File {
                action: "create",
                path: PathBuf::from("coldstart/learners"),
                source: std::io::Error::new(ErrorKind::NotFound, "neither HOME nor XDG_CONFIG_HOME names a folder"),
            });
        };
        let given = format_rfc3339_seconds(SystemTime::now()).to_string();
        let leave = Leave { sha256: script.sha256.clone(), file: script.file.clone(), given };
        make_folder(&self.folder)?;
        write_atomically(&file, toml::to_string(&leave).expect("plain data").as_bytes())?;
        Ok(file)
    }

    /// All of them, by path; errs at the first that cannot be relied on.
    pub fn all(&self) -> Result<Vec<Leave>, LearnerError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(doubted(&self.folder, format!("cannot be read: {error}"), "may you look at it?")),
            Ok(entries) => entries,
        };
        let files = entries.flatten().map(|entry| entry.path());
        let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "toml"));
        let mut leaves = files.map(|file| read(&file)).collect::<Result<Vec<_>, _>>()?;
        leaves.sort_by(|a, b| (&a.file, &a.given, &a.sha256).cmp(&(&b.file, &b.given, &b.sha256)));
        Ok(leaves)
    }

    /// Take back every leave for a script's path, or for a hash; how many there were.
    pub fn take_back(&self, meant: &str) -> Result<usize, PackageError> {
        let path = std::path::absolute(meant).unwrap_or_else(|_| PathBuf::from(meant));
        let leaves = self.all().map_err(|error| PackageError::File {
            action: "read",
            path: self.folder.clone(),
            source: std::io::Error::other(error.to_string()),
        })?;
        let meant: Vec<Leave> =
            leaves.into_iter().filter(|leave| leave.file == path || leave.sha256 == meant).collect();
        for leave in &meant {
            let Some(file) = self.file_of(&leave.sha256) else { continue };
            std::fs::remove_file(&file).map_err(PackageError::file("remove", &file))?;
        }
        Ok(meant.len())
    }

    /// The file of a hash; none where there is no store, or the text is no hash.
    fn file_of(&self, sha256: &str) -> Option<PathBuf> {
        let digits = sha256.strip_prefix("sha256:")?;
        let is_hash = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (is_hash && !self.folder.as_os_str().is_empty()).then(|| self.folder.join(format!("{digits}.toml")))
    }
}

fn read(file: &Path) -> Result<Leave, LearnerError> {
    let rely = |path: &Path| authority::check(path);
    rely(file).map_err(|doubt| doubted(file, format!("cannot be relied on: {doubt}"), &doubt.hint()))?;
    if let Some(folder) = file.parent() {
        rely(folder).map_err(|doubt| doubted(folder, format!("cannot be relied on: {doubt}"), &doubt.hint()))?;
    }
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| doubted(file, format!("cannot be read: {error}"), "may you read it?"))?;
    let malformed = |error: toml::de::Error| doubted(file, format!("is no leave: {}", error.message()), "remove it");
    toml::from_str(&text).map_err(malformed)
}

fn doubted(file: &Path, problem: String, hint: &str) -> LearnerError {
    LearnerError::new(LearnerCode::NoLeave, file.display().to_string(), problem).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn script(folder: &Path, text: &str) -> Script {
        let file = folder.join("it.py");
        std::fs::write(&file, text).unwrap();
        Script::read(&file).unwrap()
    }

    #[test]
    fn a_leave_is_for_bytes_and_can_be_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let leaves = Leaves::at(&folder.path().join("learners"));
        let first = script(folder.path(), "x = 1\n");
        assert!(!leaves.has(&first.sha256).unwrap() && leaves.all().unwrap().is_empty());
        leaves.give(&first).unwrap();
        leaves.give(&first).unwrap();
        assert!(leaves.has(&first.sha256).unwrap());
        let second = script(folder.path(), "x = 2\n");
        assert!(!leaves.has(&second.sha256).unwrap());
        leaves.give(&second).unwrap();
        assert_eq!(leaves.all().unwrap().len(), 2);
        assert_eq!(leaves.take_back(&first.sha256).unwrap(), 1);
        assert_eq!(leaves.take_back(&second.file.display().to_string()).unwrap(), 1);
        assert!(!leaves.has(&second.sha256).unwrap());
        for text in ["", "sha256:", "sha256:../../x", &format!("sha256:{}", "Z".repeat(64))] {
            assert!(!leaves.has(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_others_could_have_written_is_no_leave() {
        let folder = tempfile::tempdir().unwrap();
        let leaves = Leaves::at(&folder.path().join("learners"));
        let script = script(folder.path(), "x = 1\n");
        let file = leaves.give(&script).unwrap();
        for (path, mode, good) in [
            (file.as_path(), 0o644, true),
            (&file, 0o646, false),
            (&file, 0o644, true),
            (&leaves.folder, 0o777, false),
            (&leaves.folder, 0o755, true),
        ] {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            match leaves.has(&script.sha256) {
                Ok(has) => assert!(has && good, "{mode:o}"),
                Err(error) => assert!(!good && error.hint.starts_with("chmod go-w"), "{mode:o}: {error}"),
            }
        }
        std::fs::write(&file, "sha256 = \"x\"\n").unwrap();
        assert_eq!(leaves.has(&script.sha256).unwrap_err().code, LearnerCode::NoLeave);
    }
}
