//! The script of a learner: read once, with the modules that it names, and known by one hash.

use super::error::{LearnerCode, LearnerError};
use super::leave::Leaves;
use crate::plugin::isolate::Serving;
use crate::plugin::script::{self as source, Module};
use crate::plugin::{Manifest, in_sealed_memory};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The longest script.
const MOST_BYTES: u64 = 8 << 20;

/// A learner's script. Nothing of it has run.
///
/// The bytes that were hashed are kept in a sealed memory file: what runs later is what the user's leave was for.
#[derive(Clone)]
pub struct Script {
    /// Where it was read from, absolute.
    pub file: PathBuf,
    /// What its block of comments says.
    pub manifest: Manifest,
    /// `sha256:` and the hash of the bytes, those of its modules among them.
    pub sha256: String,
    sealed: Arc<OwnedFd>,
    modules: Arc<[Module]>,
}

impl Script {
    /// Read a script and the modules that it names; errs with L002.
    pub fn read(file: &Path) -> Result<Script, LearnerError> {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let name = file.display().to_string();
        let refuse = |message: String| LearnerError::new(LearnerCode::Script, &name, message);
        let unreadable = |error: io::Error| {
            refuse(format!("cannot be read: {error}")).with_hint("is it a file, and may you read it?")
        };
        // Whatever is no file, such as a pipe, could be read without end.
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(refuse("is no file".to_owned()));
        }
        let mut bytes = Vec::new();
        File::open(&file).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(refuse(format!("is no script: it has more than {MOST_BYTES} bytes")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| refuse(format!("is no text in UTF-8: {error}")))?;
        let of_source = |error: crate::plugin::PluginError| refuse(error.message).with_hint(error.hint);
        let manifest = source::learner_manifest(&name, text).map_err(of_source)?;
        let modules = source::read_modules(&file, &manifest.modules).map_err(of_source)?;
        let sha256 = source::hash(&bytes, &modules);
        let sealed = in_sealed_memory("coldstart-learner", &bytes)
            .map_err(|error| refuse(format!("cannot be copied to memory: {error}")))?;
        Ok(Script { file, manifest, sha256, sealed: Arc::new(sealed), modules: modules.into() })
    }

    /// Errs with L001 unless the user has given leave to run these bytes: once and for all, or `for_this_call`.
    pub fn check_leave(&self, for_this_call: bool) -> Result<(), LearnerError> {
        if for_this_call || Leaves::open().has(&self.sha256)? {
            return Ok(());
        }
        let message =
            format!("it would run with your rights, and you have given no leave to run these bytes ({})", self.sha256);
        let file = quoted(&self.file);
        let hint = format!(
            "look at it; then `coldstart learner allow {file}` gives leave to it as it is now, and `--allow-learner` for one call"
        );
        Err(LearnerError::new(LearnerCode::NoLeave, self.name(), message).with_hint(hint))
    }

    /// Errs with L011 unless it is the script with this hash, with which a run began.
    pub fn check_same(&self, sha256: &str) -> Result<(), LearnerError> {
        if self.sha256 == sha256 {
            return Ok(());
        }
        let message = format!(
            "the run began with {sha256}, and the file, with the modules that it names, is {} now",
            self.sha256
        );
        Err(LearnerError::new(LearnerCode::Changed, self.name(), message))
    }

    /// What messages call it: the file's name.
    pub fn name(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The paths of its modules, below its folder.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.modules.iter().map(|module| module.path.as_str())
    }

    pub(super) fn sources(&self) -> Vec<Module> {
        self.modules.to_vec()
    }

    pub(super) fn sealed(&self) -> &OwnedFd {
        &self.sealed
    }

    pub(super) fn served_by<'a>(&'a self, name: &'a str, threads: usize, scratch: &'a Path) -> Serving<'a> {
        Serving::learner(name, &self.file, threads, scratch)
    }
}

/// A path as a shell takes it for one word.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn a_script_is_known_by_its_bytes_and_those_of_its_modules() {
        let folder = tempfile::tempdir().unwrap();
        let block = "# /// coldstart\n# modules = [\"net.py\"]\n# ///\n";
        let file = written(folder.path(), "my_learner.py", block);
        written(folder.path(), "net.py", "x = 1\n");
        let first = Script::read(&file).unwrap();
        assert_eq!((first.name().as_str(), first.manifest.name.as_str()), ("my_learner.py", "my-learner"));
        first.check_same(&Script::read(&file).unwrap().sha256).unwrap();
        written(folder.path(), "net.py", "x = 2\n");
        let second = Script::read(&file).unwrap();
        assert_eq!(second.check_same(&first.sha256).unwrap_err().code, LearnerCode::Changed);
    }

    #[test]
    fn what_is_no_script_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for (text, expected) in [
            ("# /// coldstart\n# roles = [\"query\"]\n# ///\n", "`roles` is no key"),
            ("# /// coldstart\n# needs = []\n# ///\n", "`needs` is no key"),
            ("# /// coldstart\n# modules = [\"gone.py\"]\n# ///\n", "its module `gone.py`"),
            ("# /// coldstart\n", "the block is not closed"),
            ("\0", "zero byte"),
        ] {
            let file = written(folder.path(), "it.py", text);
            let error = Script::read(&file).err().unwrap();
            assert!(error.code == LearnerCode::Script && error.message.contains(expected), "{text:?}: {error}");
        }
        for path in [folder.path(), &folder.path().join("gone.py")] {
            assert_eq!(Script::read(path).err().unwrap().code, LearnerCode::Script);
        }
    }

    #[test]
    fn a_hint_can_be_typed_as_it_stands() {
        for (path, expected) in [("/a/b_c.py", "/a/b_c.py"), ("/a b.py", "'/a b.py'"), ("/it's.py", "'/it'\\''s.py'")] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
    }
}
