//! Who works on what: a file for each run and each shared round 0, locked while a process works on it.
//!
//! A lock goes with its process; the file says who had it, and whether they were done with it. A run whose worker died in the
//! middle is left alone until whoever watches the workers has said what becomes of it: else it would take one after the other along.

use super::plan::{Row, State, Study};
use crate::experiment::{RunError, create_folder};
use crate::session::SessionError;
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What stands in a claim before the name of whoever works on it, or died of it.
const HELD: &str = "held by ";
/// What stands in a claim before the name of whoever was done with it.
const RELEASED: &str = "released by ";

/// Hold of a run, or of a shared round 0: until it is dropped, or its process ends.
pub struct Claim {
    file: File,
    who: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Without it the run waits for the next sweep, and is gone on with there.
        let _ = say(&self.file, &format!("{RELEASED}{}", self.who));
    }
}

impl Study {
    /// Take hold of a run; none if another process has it, or died of it.
    pub fn claim(&self, run: &str) -> Result<Option<Claim>, RunError> {
        self.take(run, |said| said.strip_prefix(HELD).is_none_or(|who| who == self.who))
    }

    /// Take hold of a shared round 0; none if another process has it.
    pub fn claim_round_0(&self, key: &str) -> Result<Option<Claim>, RunError> {
        self.take(key, |_| true)
    }

    /// Record that the run failed which a worker had taken hold of when it died, and `how`.
    ///
    /// Errs when it never took hold of any: the next worker would end the same way.
    pub fn record_lost(&self, who: &str, how: &str) -> Result<(), SessionError> {
        let (held, released) = (format!("{HELD}{who}"), format!("{RELEASED}{who}"));
        let claims = self.claims();
        if !claims.values().any(|said| *said == held || *said == released) {
            return Err(SessionError::Operation(format!("a worker {how} before it had begun a run")));
        }
        let is_open = |run: &str| matches!(self.state(run, &self.run_dir(run)), State::Begun | State::Waiting);
        for Row { run, .. } in &self.rows {
            if claims.get(run) == Some(&held) && is_open(run) {
                self.record_failure(run, &format!("the process that worked on it {how}"))?;
            }
        }
        Ok(self.release(Some(who))?)
    }

    /// Let go of what a worker held that is no more, or all those that are no more: others may go on with it.
    pub fn release(&self, who: Option<&str>) -> Result<(), RunError> {
        for (name, said) in self.claims() {
            let Some(holder) = said.strip_prefix(HELD) else { continue };
            if who.is_none_or(|who| who == holder) {
                // Those that are at work have the lock.
                drop(self.take(&name, |now| now == said)?);
            }
        }
        Ok(())
    }

    fn take(&self, name: &str, may: impl Fn(&str) -> bool) -> Result<Option<Claim>, RunError> {
        let path = self.claims_dir().join(name);
        let failed = |action, source| RunError::File { action, path: path.clone(), source };
        create_folder(&self.claims_dir())?;
        let Some(mut file) = lock(&path)? else { return Ok(None) };
        let mut said = Vec::new();
        file.read_to_end(&mut said).map_err(|source| failed("read", source))?;
        if !may(&text(said)) {
            return Ok(None);
        }
        let who = self.who.clone();
        say(&file, &format!("{HELD}{who}")).map_err(|source| failed("write", source))?;
        Ok(Some(Claim { file, who }))
    }

    /// What each claim says.
    fn claims(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.claims_dir()).into_iter().flatten().flatten();
        let said = entries
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, text(fs::read(entry.path()).ok()?))));
        said.collect()
    }

    fn claims_dir(&self) -> PathBuf {
        self.root().join("claims")
    }
}

/// Opens a file and locks it. None while another process has the lock.
pub(super) fn lock(path: &Path) -> Result<Option<File>, RunError> {
    let failed = |action, source| RunError::File { action, path: path.to_owned(), source };
    let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
    let file = open.map_err(|source| failed("write", source))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        // A file system without locks is no place for a study.
        Err(errno) => Err(failed("lock", errno.into())),
    }
}

/// What a file says, whatever has been written there.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Replace what a locked file says.
fn say(file: &File, text: &str) -> std::io::Result<()> {
    file.set_len(0)?;
    file.write_all_at(text.as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A study of two runs, with claims that say this.
    fn study(claims: &[(&str, &str)]) -> (TempDir, Study) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("plan.csv"), "run,round0,seed\na,x,1\nb,x,2\n").unwrap();
        fs::create_dir(folder.path().join("claims")).unwrap();
        for (name, said) in claims {
            fs::write(folder.path().join("claims").join(name), said).unwrap();
        }
        let study = Study::open(folder.path()).unwrap().known_as(Some("2"));
        (folder, study)
    }

    #[test]
    fn a_run_whose_worker_died_is_left_alone_until_it_is_released() {
        let (_folder, study) = study(&[("a", "held by 1"), ("x", "held by 1"), ("b", "released by 1")]);
        let free = |study: &Study, run| study.claim(run).unwrap().is_some();
        assert!(!free(&study, "a") && free(&study, "b"));
        // Whoever waits for round 0 does it anew; a task that Slurm starts again goes on.
        assert!(study.claim_round_0("x").unwrap().is_some());
        study.release(Some("3")).unwrap();
        assert!(!free(&study, "a"));
        assert!(free(&study.clone().known_as(Some("1")), "a"));

        // One who is at work keeps it, whoever lets go of what.
        let held = study.claim("a").unwrap();
        study.release(None).unwrap();
        assert!(!free(&study, "a"));
        drop(held);
        assert_eq!(study.claims()["a"], "released by 2");

        fs::write(study.claims_dir().join("a"), "held by 1").unwrap();
        study.release(Some("1")).unwrap();
        assert!(free(&study, "a"));

        // A damaged claim stops nobody for ever.
        fs::write(study.claims_dir().join("a"), b"held by \xff").unwrap();
        fs::write(study.claims_dir().join("b"), b"\xff").unwrap();
        assert!(!free(&study, "a") && free(&study, "b"));
        study.release(None).unwrap();
        assert!(free(&study, "a"));
    }

    #[test]
    fn a_worker_takes_at_most_the_run_along_that_it_held() {
        type Row = (&'static [(&'static str, &'static str)], Result<&'static [&'static str], ()>);
        let rows: &[Row] = &[
            (&[("a", "held by 7"), ("b", "held by 2")], Ok(&["a"])),
            (&[("a", "held by 7"), ("x", "held by 7")], Ok(&["a"])),
            // Between two runs.
            (&[("a", "released by 7"), ("b", "held by 2")], Ok(&[])),
            // It had not come so far: no other would.
            (&[("a", "held by 2"), ("b", "released by 70")], Err(())),
            (&[("a", "")], Err(())),
            (&[], Err(())),
        ];
        for (claims, lost) in rows {
            let (_folder, study) = study(claims);
            let told = study.record_lost("7", "was killed");
            assert_eq!(told.is_ok(), lost.is_ok(), "{claims:?}: {told:?}");
            let failed: Vec<_> = ["a", "b", "x"].into_iter().filter(|run| study.failure(run).is_some()).collect();
            assert_eq!(failed, lost.unwrap_or_default(), "{claims:?}");
            assert!(!study.claims().values().any(|said| said == "held by 7"), "{claims:?}");
        }
    }
}
