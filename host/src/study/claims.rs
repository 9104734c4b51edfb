//! Who works on what: for each run, and each shared round 0, a folder of claims, numbered from 1 on. The last one counts.
//!
//! A claim is made by creating its file, which no two processes can do (`O_EXCL`): that holds on every file system that hosts share,
//! also on those where a lock is known to one host alone (sshfs, NFS mounted with `local_lock` or `nolock`). Nobody writes into the claim
//! of another; who takes over what another has left, and an executor that lets go of it, makes the next claim. Thus it is never open
//! who has a run, whatever is read late from a cache, and whoever has lost it sees that.
//!
//! A run is taken over when its holder is dead. Any one of these says that it lives:
//!
//! - the file is locked: where hosts share locks that is the whole truth, and it holds for a process that was stopped, too;
//! - it is a process of this system, and there (see [`Holder`]);
//! - its heartbeat goes on: a counter in the file, which the observer has seen change. No clocks are compared. The observer counts the
//!   time in which the counter stands still by its own clock, and only as long as it looks: after a pause of its own it starts to count.
//!
//! A process of this system that is not there has died. Of any other one silence alone tells, which takes [`SILENCE`]. Runs whose
//! worker an executor watches are left to that: it knows why the worker died, and records it. Should it be gone too, silence tells.
//!
//! A run that takes one worker after the other along, and gets no further, is recorded as failed ([`MOST_DEATHS`]).

use super::holder::{Holder, Sight};
use super::plan::{Row, State, Study};
use crate::experiment::{RunError, create_folder};
use crate::hash::{self, Line};
use crate::session::SessionError;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a holder says that it lives.
const BEAT: Duration = Duration::from_secs(5);
/// How long a heartbeat stands still until its holder counts as dead: longer than network file systems keep what they have read.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// The most that one look adds to that: what was before it may have stopped the observer as well.
const MOST_OF_A_LOOK: Duration = BEAT;
/// So many workers may die of a run before it has got any further.
const MOST_DEATHS: usize = 3;
/// Digits of the number of a claim.
const MOST_DIGITS: usize = 6;
/// The most bytes of a claim that are read.
const MOST_BYTES: u64 = 1 << 16;
/// How often, and after what time, a holder tries to lock its own claim while others look whether it is locked.
const LOCK_TRIES: u32 = 50;
const LOCK_NAP: Duration = Duration::from_millis(20);

/// What a claim says, in one line with a hash of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    state: Stage,
    holder: Holder,
    /// Rounds that the run had when it was taken.
    rounds: usize,
    /// How often its holder has said that it lives.
    beat: u64,
}

/// What its holder does with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    /// It works on it, or died of it.
    Held,
    /// It was done with it.
    Released,
}

impl Said {
    fn parse(bytes: &[u8]) -> Option<Said> {
        match hash::read_line(std::str::from_utf8(bytes).ok()?.trim_end()) {
            Line::Whole(object) => serde_json::from_str(&object).ok(),
            Line::Changed | Line::Unchecked => None,
        }
    }

    fn line(&self) -> String {
        hash::checked_line(&serde_json::to_string(self).expect("plain data")) + "\n"
    }
}

/// Hold of a run, or of a shared round 0: until it is dropped, or its process ends.
pub struct Claim {
    file: Arc<File>,
    said: Said,
    heart: Option<Heart>,
    is_lost: Arc<AtomicBool>,
}

impl Claim {
    /// Makes a claim of this number; none where there is one.
    fn make(folder: &Path, number: u32, said: &Said, cancelled: &Arc<AtomicBool>) -> Result<Option<Claim>, RunError> {
        let path = folder.join(number.to_string());
        let failed = |action, source| RunError::File { action, path: path.clone(), source };
        create_folder(folder)?;
        let file = match OpenOptions::new().create_new(true).read(true).write(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
            file => Arc::new(file.map_err(|source| failed("write", source))?),
        };
        let locked = lock_own(&file).map_err(|errno| failed("lock", errno.into()));
        locked.and_then(|()| say(&file, said).map_err(|source| failed("write", source))).inspect_err(|_| {
            // It is ours and says nothing: without it others need not wait whether we live.
            let _ = fs::remove_file(&path);
        })?;
        let is_lost = Arc::new(AtomicBool::new(false));
        let flags = Lost { flag: is_lost.clone(), cancelled: cancelled.clone() };
        let next = folder.join((number + 1).to_string());
        let heart = Some(Heart::begin(file.clone(), said.clone(), next, flags));
        Ok(Some(Claim { file, said: said.clone(), heart, is_lost }))
    }

    /// Whether another worker has taken it over, because this one was silent for too long.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // First: afterwards nobody writes into the file any more.
        self.heart.take();
        // Without it the run waits until it is known that its holder is no more, and is gone on with then.
        let _ = say(&self.file, &Said { state: Stage::Released, ..self.said.clone() });
    }
}

/// What is set once a claim is lost.
struct Lost {
    flag: Arc<AtomicBool>,
    /// Stops the run that is under way.
    cancelled: Arc<AtomicBool>,
}

/// Says again and again that a holder lives, from a thread of its own; until it is dropped.
struct Heart {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heart {
    fn begin(file: Arc<File>, mut said: Said, next: PathBuf, lost: Lost) -> Heart {
        let (stop, stopped) = mpsc::channel::<()>();
        let beat = move || {
            while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                if next.symlink_metadata().is_ok() {
                    lost.flag.store(true, Ordering::Relaxed);
                    lost.cancelled.store(true, Ordering::Relaxed);
                    return;
                }
                said.beat += 1;
                // What fails now may succeed the next time; whoever waits for it waits longer than one beat.
                let _ = say(&file, &said);
            }
        };
        // Without a thread the lock alone says that it lives.
        let thread = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beat).ok();
        Heart { stop: Some(stop), thread }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
    }
}

/// What comes of the wish to take hold of something.
pub enum Taken {
    /// It is ours.
    Mine(Claim),
    /// One that lives has it.
    Held,
    /// Whether one that lives has it is not known yet.
    Unknown,
    /// It took one worker after the other along: how many.
    Deadly(usize),
}

/// What is to be taken hold of.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The name of a run, or the key of a shared round 0.
    pub name: &'a str,
    /// Its folder.
    pub dir: &'a Path,
    /// Whether a death over it is for the dead one's executor to record.
    pub is_run: bool,
}

/// Whether whoever has a claim is at work on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It was let go of.
    Over,
    Alive,
    Dead,
    Unknown,
}

/// A worker, where it takes hold of something: who it is, and what it has seen of others.
pub struct Claimant {
    me: Holder,
    seen: BTreeMap<String, Sighting>,
    cancelled: Arc<AtomicBool>,
}

impl Claimant {
    /// A worker of this name, which an executor watches; without a name nobody does. `cancelled` is set when a claim is lost.
    pub fn new(known_as: Option<&str>, cancelled: Arc<AtomicBool>) -> Claimant {
        Claimant { me: Holder::this_process(known_as), seen: BTreeMap::new(), cancelled }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.me.name
    }

    /// Whether an executor watches it.
    pub fn is_watched(&self) -> bool {
        self.me.watched
    }

    /// Take hold of a run, or of a shared round 0, that nobody has who lives.
    ///
    /// Errs when a claim cannot be read, written or locked: without locks at all a file system is no place for a study.
    pub fn take(&mut self, study: &Study, wanted: Wanted<'_>) -> Result<Taken, RunError> {
        let folder = study.claims_dir().join(wanted.name);
        let last = last_of(&folder)?;
        if let Some(last) = last {
            match self.judge(&folder.join(last.to_string()), wanted)? {
                Life::Over => {}
                Life::Alive => return Ok(Taken::Held),
                Life::Unknown => return Ok(Taken::Unknown),
                Life::Dead => {
                    let deaths = deaths(&folder, last, rounds_of(wanted.dir));
                    if deaths >= MOST_DEATHS {
                        release(&folder, last, &self.me)?;
                        return Ok(Taken::Deadly(deaths));
                    }
                    tracing::warn!("{}: its worker is dead, and this one takes it over", wanted.name);
                }
            }
        }
        self.seen.remove(wanted.name);
        let said = Said { state: Stage::Held, holder: self.me.clone(), rounds: rounds_of(wanted.dir), beat: 0 };
        let claim = Claim::make(&folder, following(&folder, last)?, &said, &self.cancelled)?;
        // Somebody was quicker: who that is, is for the next look.
        Ok(claim.map_or(Taken::Unknown, Taken::Mine))
    }

    fn judge(&mut self, path: &Path, wanted: Wanted<'_>) -> Result<Life, RunError> {
        let Some(Found { bytes, is_locked }) = look(path)? else { return Ok(Life::Unknown) };
        if is_locked {
            return Ok(Life::Alive);
        }
        if let Some(said) = Said::parse(&bytes) {
            // A task of Slurm that is started again has its name.
            let is_mine = self.me.watched && said.holder.watched && said.holder.name == self.me.name;
            if said.state == Stage::Released || is_mine {
                return Ok(Life::Over);
            }
            match said.holder.seen_by(&self.me) {
                Sight::Alive => return Ok(Life::Alive),
                Sight::Gone if !said.holder.watched || !wanted.is_run => return Ok(Life::Dead),
                Sight::Gone | Sight::Elsewhere => {}
            }
        }
        // A claim that says nothing is one that was just made, or damaged: silence tells.
        let now = Instant::now();
        let sighting = self.seen.entry(wanted.name.to_owned()).or_insert_with(|| Sighting::first(&bytes, now));
        Ok(sighting.again(&bytes, now))
    }
}

/// What an observer has seen of a heartbeat.
struct Sighting {
    bytes: Vec<u8>,
    /// Whether it has changed since it was first seen.
    changed: bool,
    /// For how long it stood still.
    still: Duration,
    looked: Instant,
}

impl Sighting {
    fn first(bytes: &[u8], now: Instant) -> Sighting {
        Sighting { bytes: bytes.to_owned(), changed: false, still: Duration::ZERO, looked: now }
    }

    fn again(&mut self, bytes: &[u8], now: Instant) -> Life {
        if self.bytes != bytes {
            *self = Sighting { changed: true, ..Sighting::first(bytes, now) };
            return Life::Alive;
        }
        self.still += now.saturating_duration_since(self.looked).min(MOST_OF_A_LOOK);
        self.looked = now;
        match self.still {
            still if still >= SILENCE => Life::Dead,
            _ if self.changed => Life::Alive,
            _ => Life::Unknown,
        }
    }
}

impl Study {
    /// Record that the run failed which a worker had taken hold of when it died, and `how`.
    ///
    /// Errs when it never took hold of any: the next worker would end the same way.
    pub fn record_lost(&self, who: &str, how: &str) -> Result<(), SessionError> {
        let is_who = |said: &Said| said.holder.name == who;
        let folders = self.claimed();
        if !folders.iter().any(|folder| all_of(folder).iter().any(is_who)) {
            return Err(SessionError::Operation(format!("a worker {how} before it had begun a run")));
        }
        let is_open = |run: &str| matches!(self.state(run, &self.run_dir(run)), State::Begun | State::Waiting);
        for Row { run, .. } in &self.rows {
            let said = last_said(&self.claims_dir().join(run));
            if said.is_some_and(|(_, said)| said.state == Stage::Held && is_who(&said)) && is_open(run) {
                self.record_failure(run, &format!("the process that worked on it {how}"))?;
            }
        }
        Ok(self.release(|holder| holder.name == who)?)
    }

    /// Let go of what such workers held that are no more: others may go on with it.
    pub fn release(&self, which: impl Fn(&Holder) -> bool) -> Result<(), RunError> {
        let me = Holder::this_process(None);
        for folder in self.claimed() {
            let Some((last, said)) = last_said(&folder) else { continue };
            let is_held = said.state == Stage::Held && which(&said.holder);
            // Those that are at work have the lock.
            if is_held && look(&folder.join(last.to_string()))?.is_some_and(|found| !found.is_locked) {
                release(&folder, last, &me)?;
            }
        }
        Ok(())
    }

    /// The folders of claims.
    fn claimed(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.claims_dir()).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    fn claims_dir(&self) -> PathBuf {
        self.root().join("claims")
    }
}

/// Lets go of a claim in the name of its dead holder, by one that follows it.
fn release(folder: &Path, last: u32, me: &Holder) -> Result<(), RunError> {
    let said = Said { state: Stage::Released, holder: me.clone(), rounds: 0, beat: 0 };
    let made = Claim::make(folder, following(folder, Some(last))?, &said, &Arc::default())?;
    // Where somebody else has been quicker, it is theirs.
    drop(made);
    Ok(())
}

/// The number of the last claim in a folder; none where there is none.
fn last_of(folder: &Path) -> Result<Option<u32>, RunError> {
    let failed = |source| RunError::File { action: "read", path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Err(of_earlier_version(folder)),
        entries => entries.map_err(failed)?,
    };
    let mut last = None;
    for entry in entries {
        last = last.max(entry.map_err(failed)?.file_name().to_str().and_then(number));
    }
    Ok(last)
}

/// The error about a claim as versions before this one made them: a file that is locked, which says nothing to other hosts.
fn of_earlier_version(claim: &Path) -> RunError {
    let claims = claim.parent().unwrap_or(claim).display();
    let problem =
        format!("an earlier version made it; once no worker of that is left, remove `{claims}`, and the study goes on");
    RunError::Damaged { path: claim.to_owned(), problem }
}

/// The number that the name of a claim is; none of any other name.
fn number(name: &str) -> Option<u32> {
    let is_number = name.len() <= MOST_DIGITS && !name.starts_with('0') && name.bytes().all(|b| b.is_ascii_digit());
    if is_number { name.parse().ok() } else { None }
}

/// The number of the claim that follows the last one. Errs where it would have too many digits.
fn following(folder: &Path, last: Option<u32>) -> Result<u32, RunError> {
    let next = last.unwrap_or(0) + 1;
    number(&next.to_string()).ok_or_else(|| {
        let problem = format!("there is a claim {}, and no run is taken so often", last.unwrap_or(0));
        RunError::Damaged { path: folder.to_owned(), problem }
    })
}

/// The last claim in a folder, if it says something.
fn last_said(folder: &Path) -> Option<(u32, Said)> {
    let last = last_of(folder).ok()??;
    Some((last, said_at(folder, last)?))
}

/// All claims in a folder that say something.
fn all_of(folder: &Path) -> Vec<Said> {
    let last = last_of(folder).ok().flatten().unwrap_or(0);
    (1..=last).rev().map_while(|number| said_at(folder, number)).collect()
}

fn said_at(folder: &Path, number: u32) -> Option<Said> {
    let found = look(&folder.join(number.to_string())).ok()??;
    Said::parse(&found.bytes)
}

/// How many workers in a row died over a claim, the last one included, without a round more than there are now.
fn deaths(folder: &Path, last: u32, rounds: usize) -> usize {
    let died = |said: &Said| said.state == Stage::Held && said.rounds == rounds;
    let claims = (1..=last).rev().map_while(|number| said_at(folder, number));
    claims.take_while(died).count()
}

/// Rounds that lie in the folder of a run.
fn rounds_of(dir: &Path) -> usize {
    fs::read_dir(dir.join("rounds")).map_or(0, Iterator::count)
}

/// What there is to see of a claim.
struct Found {
    bytes: Vec<u8>,
    is_locked: bool,
}

/// Looks at a claim; none where there is none any more. What is no file says nothing.
fn look(path: &Path) -> Result<Option<Found>, RunError> {
    let failed = |action, source| RunError::File { action, path: path.to_owned(), source };
    // Neither is a link followed, nor a pipe waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        // A link, or a socket.
        Err(error)
            if [Errno::LOOP, Errno::NXIO].map(|errno| Some(errno.raw_os_error())).contains(&error.raw_os_error()) =>
        {
            return Ok(Some(Found::nothing()));
        }
        Err(source) => return Err(failed("read", source)),
    };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(Some(Found::nothing()));
    }
    // A shared lock: those who look do not get in each other's way.
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {}
        // On some file systems it cannot be read either.
        Err(Errno::WOULDBLOCK) => return Ok(Some(Found { bytes: Vec::new(), is_locked: true })),
        Err(errno) => return Err(failed("lock", errno.into())),
    }
    let mut bytes = Vec::new();
    (&file).take(MOST_BYTES).read_to_end(&mut bytes).map_err(|source| failed("read", source))?;
    Ok(Some(Found { bytes, is_locked: false }))
}

impl Found {
    fn nothing() -> Found {
        Found { bytes: Vec::new(), is_locked: false }
    }
}

/// Locks the claim that this process has made. Others lock it for an instant while they look; one that does not let go of it is none of
/// ours, and the claim counts without a lock.
fn lock_own(file: &File) -> Result<(), Errno> {
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_NAP),
            locked => return locked,
        }
    }
    Ok(())
}

/// Opens a file and locks it. None while another process has the lock.
pub(super) fn lock(path: &Path) -> Result<Option<File>, RunError> {
    let failed = |action, source| RunError::File { action, path: path.to_owned(), source };
    let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
    let file = open.map_err(|source| failed("write", source))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        // A file system without locks is no place for a study.
        Err(errno) => Err(failed("lock", errno.into())),
    }
}

/// Replace what a claim of this process says; it is seen by other hosts when this returns.
///
/// The counter only grows, so that a heartbeat is one write over the old line. Whoever reads in the middle of one finds a line that is not
/// what its hash says: it has changed, which is all that counts.
fn say(file: &File, said: &Said) -> std::io::Result<()> {
    let line = said.line();
    file.write_all_at(line.as_bytes(), 0)?;
    file.set_len(line.len() as u64)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A study of two runs.
    fn study() -> (TempDir, Study) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("plan.csv"), "run,round0,seed\na,x,1\nb,x,2\n").unwrap();
        let study = Study::open(folder.path()).unwrap();
        (folder, study)
    }

    /// The next claim in a folder, by this line.
    fn claimed(study: &Study, name: &str, line: &[u8]) {
        let folder = study.claims_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let next = following(&folder, last_of(&folder).unwrap()).unwrap();
        fs::write(folder.join(next.to_string()), line).unwrap();
    }

    fn line(state: Stage, holder: &Holder) -> Vec<u8> {
        Said { state, holder: holder.clone(), rounds: 0, beat: 7 }.line().into_bytes()
    }

    fn wanted(name: &str) -> Wanted<'_> {
        Wanted { name, dir: Path::new("/nowhere"), is_run: name != "x" }
    }

    fn claimant(known_as: Option<&str>) -> Claimant {
        Claimant::new(known_as, Arc::default())
    }

    /// What comes of the wish, in a word.
    fn take(who: &mut Claimant, study: &Study, name: &str) -> &'static str {
        match who.take(study, wanted(name)).unwrap() {
            Taken::Mine(_) => "mine",
            Taken::Held => "held",
            Taken::Unknown => "unknown",
            Taken::Deadly(_) => "deadly",
        }
    }

    /// A process of this system that has ended.
    fn dead(known_as: Option<&str>) -> Holder {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        Holder { process: child.id(), ..Holder::this_process(known_as) }
    }

    #[test]
    fn what_nobody_has_who_lives_is_taken() {
        let elsewhere = Holder { boot: "another".to_owned(), ..Holder::this_process(None) };
        let (held, released) = (Stage::Held, Stage::Released);
        let whole = line(released, &elsewhere);
        for (what, name, known_as, line, expected) in [
            ("it was let go of", "a", None, whole.clone(), "mine"),
            ("its worker has died here", "a", None, line(held, &dead(None)), "mine"),
            ("its executor will say why", "a", None, line(held, &dead(Some("7_1"))), "unknown"),
            ("nobody says why of a round 0", "x", None, line(held, &dead(Some("7_1"))), "mine"),
            ("its worker lives, and has no lock", "a", None, line(held, &Holder::this_process(None)), "held"),
            ("on another host", "a", None, line(held, &elsewhere), "unknown"),
            ("a task that is started again", "a", Some("7_1"), line(held, &dead(Some("7_1"))), "mine"),
            ("another task", "a", Some("7_2"), line(held, &dead(Some("7_1"))), "unknown"),
            (
                "a name that nobody gave",
                "a",
                Some("7_1"),
                line(held, &Holder { name: "7_1".into(), ..elsewhere.clone() }),
                "unknown",
            ),
            ("it was just made", "a", None, Vec::new(), "unknown"),
            ("it is damaged", "a", None, b"held by \xff".to_vec(), "unknown"),
            ("it is cut short", "a", None, whole[..whole.len() - 9].to_vec(), "unknown"),
        ] {
            let (_folder, study) = study();
            claimed(&study, name, &line);
            assert_eq!(take(&mut claimant(known_as), &study, name), expected, "{what}");
        }
    }

    #[test]
    fn of_two_that_want_it_one_has_it_until_it_lets_go() {
        let (_folder, study) = study();
        let (mut one, mut other) = (claimant(None), claimant(None));
        let Taken::Mine(claim) = one.take(&study, wanted("a")).unwrap() else { panic!("it is free") };
        assert_eq!(take(&mut other, &study, "a"), "held");
        // Nobody is let go of who is at work, and nobody makes a claim twice.
        study.release(|_| true).unwrap();
        assert_eq!(last_of(&study.claims_dir().join("a")).unwrap(), Some(1));
        let said = claim.said.clone();
        assert!(Claim::make(&study.claims_dir().join("a"), 1, &said, &Arc::default()).unwrap().is_none());
        drop(claim);
        assert_eq!(take(&mut other, &study, "a"), "mine");
        assert_eq!(last_of(&study.claims_dir().join("a")).unwrap(), Some(2));
    }

    #[test]
    fn whoever_was_taken_over_stops() {
        let (_folder, study) = study();
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut one = Claimant::new(None, cancelled.clone());
        let Taken::Mine(claim) = one.take(&study, wanted("a")).unwrap() else { panic!("it is free") };
        claimed(&study, "a", &line(Stage::Held, &dead(None)));
        let begun = Instant::now();
        while !claim.is_lost() {
            assert!(begun.elapsed() < 10 * BEAT, "it does not see it");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(cancelled.load(Ordering::Relaxed));
    }

    /// Only what the observer saw itself counts, by its own clock.
    #[test]
    fn silence_tells_after_a_while_of_looking() {
        let begun = Instant::now();
        let mut sighting = Sighting::first(b"1", begun);
        let looks = |sighting: &mut Sighting, from: u64, to: u64, bytes: &[u8]| {
            (from..=to).map(|s| sighting.again(bytes, begun + Duration::from_secs(s))).last().unwrap()
        };
        assert_eq!(looks(&mut sighting, 1, 59, b"1"), Life::Unknown);
        assert_eq!(looks(&mut sighting, 60, 60, b"1"), Life::Dead);
        // It was heard all the same.
        assert_eq!(looks(&mut sighting, 61, 61, b"2"), Life::Alive);
        assert_eq!(looks(&mut sighting, 62, 120, b"2"), Life::Alive);
        assert_eq!(looks(&mut sighting, 121, 121, b"2"), Life::Dead);
        // An hour in which the observer itself stood still is one look; a clock that goes back is none.
        let mut sighting = Sighting::first(b"1", begun);
        assert_eq!(looks(&mut sighting, 3600, 3600, b"1"), Life::Unknown);
        assert_eq!(looks(&mut sighting, 10, 10, b"1"), Life::Unknown);
        assert_eq!(sighting.still, MOST_OF_A_LOOK);
    }

    #[test]
    fn what_is_no_claim_waits_and_stops_nobody() {
        let (_folder, study) = study();
        let folder = study.claims_dir().join("a");
        fs::create_dir_all(folder.join("3")).unwrap();
        for name in ["0", "01", "-1", "1000000", "99999999999999999999", "x", "2.partial"] {
            fs::write(folder.join(name), "").unwrap();
        }
        assert_eq!(last_of(&folder).unwrap(), Some(3));
        assert_eq!(take(&mut claimant(None), &study, "a"), "unknown");
        std::os::unix::fs::symlink("/dev/zero", folder.join("4")).unwrap();
        assert_eq!(take(&mut claimant(None), &study, "a"), "unknown");
        // Nor does it stop who lets go of things.
        study.release(|_| true).unwrap();
        fs::write(folder.join("999999"), line(Stage::Released, &dead(None))).unwrap();
        let told = claimant(None).take(&study, wanted("a")).err().unwrap();
        assert!(told.to_string().contains("no run is taken so often"), "{told}");
        fs::write(study.claims_dir().join("b"), "held by 4711").unwrap();
        let told = claimant(None).take(&study, wanted("b")).err().unwrap();
        assert!(told.to_string().contains("an earlier version made it"), "{told}");
    }

    /// Two rounds are done. Each of these workers has died, and found so many when it began.
    #[test]
    fn a_run_that_takes_workers_along_is_given_up_unless_it_gets_further() {
        for (found, deaths) in [
            (&[2][..], None),
            (&[2, 2], None),
            (&[2, 2, 2], Some(3)),
            (&[2, 2, 2, 2], Some(4)),
            (&[0, 2, 2], None),
            (&[2, 2, 2, 0], None),
            (&[0, 0, 0, 0, 1], None),
        ] {
            let (folder, study) = study();
            let dir = folder.path().join("runs/a");
            ["000", "001"].iter().for_each(|round| fs::create_dir_all(dir.join("rounds").join(round)).unwrap());
            for rounds in found {
                let said = Said { state: Stage::Held, holder: dead(None), rounds: *rounds, beat: 0 };
                claimed(&study, "a", said.line().as_bytes());
            }
            let wanted = Wanted { name: "a", dir: &dir, is_run: true };
            let taken = claimant(None).take(&study, wanted).unwrap();
            assert_eq!(matches!(taken, Taken::Mine(_)), deaths.is_none(), "{found:?}");
            if let Taken::Deadly(counted) = taken {
                assert_eq!(Some(counted), deaths, "{found:?}");
                // It was let go of: whoever tries it again begins to count.
                assert_eq!(take(&mut claimant(None), &study, "a"), "mine");
            }
        }
    }

    #[test]
    fn a_worker_takes_at_most_the_run_along_that_it_held() {
        let named =
            |name: &str| Holder { name: name.to_owned(), boot: "another".to_owned(), ..Holder::this_process(None) };
        let held = |name: &str| line(Stage::Held, &named(name));
        let released = |name: &str| line(Stage::Released, &named(name));
        type Claims = Vec<(&'static str, Vec<u8>)>;
        let rows: [(Claims, Option<&[&str]>); 7] = [
            (vec![("a", held("7")), ("b", held("2"))], Some(&["a"])),
            (vec![("a", held("7")), ("x", held("7"))], Some(&["a"])),
            // Between two runs.
            (vec![("a", released("7")), ("b", held("2"))], Some(&[])),
            // Another has taken it over before that was said.
            (vec![("a", held("7")), ("a", held("2"))], Some(&[])),
            // It had not come so far: no other would.
            (vec![("a", held("2")), ("b", released("70"))], None),
            (vec![("a", Vec::new())], None),
            (vec![], None),
        ];
        for (claims, lost) in rows {
            let (_folder, study) = study();
            claims.iter().for_each(|(name, line)| claimed(&study, name, line));
            let told = study.record_lost("7", "was killed");
            assert_eq!(told.is_ok(), lost.is_some(), "{told:?}");
            let failed: Vec<_> = ["a", "b", "x"].into_iter().filter(|run| study.failure(run).is_some()).collect();
            assert_eq!(failed, lost.unwrap_or_default());
            let holds = |name| {
                last_said(&study.claims_dir().join(name))
                    .is_some_and(|(_, said)| said.state == Stage::Held && said.holder.name == "7")
            };
            assert!(!["a", "b", "x"].into_iter().any(holds));
        }
    }
}
