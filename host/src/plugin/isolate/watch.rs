//! What a worker takes of the machine, looked at while it lives. One that takes more than it may is ended.
//!
//! The kernel limits the address space of a worker. What that does not count is looked at here: threads, descriptors, and
//! memory files that it keeps open or mapped after the host has forgotten them. A thread looks five times a second,
//! also between calls and while the host works for the plugin.

use crate::limits::{self, Excess, Limit};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the thread looks.
const PERIOD: Duration = Duration::from_millis(200);

/// A memory file is forgotten when it was not found so often in a row: once it may have moved while it was looked for.
const OFTEN: u8 = 2;

/// Memory files that are kept in mind before it is looked which of them are gone.
const MANY: usize = 256;

/// Looks at a worker until it is told that the worker ends.
pub struct Watch {
    shared: Arc<Shared>,
}

struct Shared {
    pid: Pid,
    memory: Limit,
    threads: Limit,
    /// Bytes of its own that the worker had before it loaded anything.
    idle: u64,
    handed: Mutex<Vec<Handed>>,
    end: Mutex<End>,
    ended: Condvar,
}

/// A memory file that the worker was given.
struct Handed {
    inode: u64,
    bytes: u64,
    /// Whether it has left this process.
    is_sent: bool,
    /// How often in a row it was not found.
    missed: u8,
}

#[derive(Default)]
struct End {
    /// The worker ends or has ended: its number may soon mean another process.
    is_near: bool,
    /// Why the worker was ended.
    excess: Option<Excess>,
}

impl Watch {
    /// Watch a worker that has loaded nothing yet; `memory` bytes are left to it beside what it has.
    ///
    /// Errs when no thread can be started.
    pub fn over(pid: u32, memory: u64) -> io::Result<Watch> {
        let shared = Arc::new(Shared::new(pid, memory)?);
        let watched = shared.clone();
        std::thread::Builder::new().name("watch".to_owned()).spawn(move || watched.look_until_the_end())?;
        Ok(Watch { shared })
    }

    /// Charge a memory file that the worker is about to get; errs when it would keep too much.
    pub fn hand(&self, file: impl AsFd) -> Result<(), Excess> {
        let Ok(stat) = rustix::fs::fstat(file) else { return Ok(()) };
        let handed = Handed { inode: stat.st_ino, bytes: stat.st_size as u64, is_sent: false, missed: 0 };
        if self.shared.handed().len() >= MANY {
            self.shared.forget_what_is_gone();
        }
        let own_bytes = Status::read(self.shared.pid).map_or(0, |status| status.own_bytes);
        self.shared.check_memory(own_bytes.saturating_add(handed.bytes))?;
        self.shared.handed().push(handed);
        Ok(())
    }

    /// All that was handed is on its way.
    pub fn sent(&self) {
        self.shared.handed().iter_mut().for_each(|handed| handed.is_sent = true);
    }

    /// Look now; errs when it takes more than it may.
    pub fn look(&self) -> Result<(), Excess> {
        self.shared.look()
    }

    /// Why it was ended, if it was ended for taking too much.
    pub fn excess(&self) -> Option<Excess> {
        self.shared.end().excess
    }

    /// Look no more: the worker ends, or was ended by somebody else.
    pub fn stop(&self) {
        self.shared.end().is_near = true;
        self.shared.ended.notify_all();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn new(pid: u32, memory: u64) -> io::Result<Shared> {
        let pid = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::NotFound)?;
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        Ok(Shared {
            pid,
            memory: limits::MEMORY.at(memory.saturating_add(limits::MEMORY.most)),
            threads: limits::THREADS.at(limits::THREADS.most + limits::THREADS_OF_A_CORE * cores),
            idle: Status::read(pid).map_or(0, |status| status.own_bytes),
            handed: Mutex::default(),
            end: Mutex::default(),
            ended: Condvar::new(),
        })
    }

    fn handed(&self) -> MutexGuard<'_, Vec<Handed>> {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_until_the_end(&self) {
        while !self.ends_within(PERIOD) {
            if let Err(excess) = self.look() {
                return self.put_an_end(excess);
            }
        }
    }

    fn ends_within(&self, period: Duration) -> bool {
        let waited = self.ended.wait_timeout_while(self.end(), period, |end| !end.is_near);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_near
    }

    /// End the worker and whatever it may have started; whoever waits for it finds the line closed.
    fn put_an_end(&self, excess: Excess) {
        let mut end = self.end();
        if !end.is_near {
            *end = End { is_near: true, excess: Some(excess) };
            // It fails where the worker has ended by itself, which is as good.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// What cannot be read is not judged: the process is gone, or hidden from this one.
    fn look(&self) -> Result<(), Excess> {
        let Some(Status { threads, own_bytes }) = Status::read(self.pid) else { return Ok(()) };
        self.threads.check(threads)?;
        let n_open = std::fs::read_dir(self.place("fd")).map_or(0, Iterator::count);
        limits::DESCRIPTORS.check(n_open as u64)?;
        self.check_memory(own_bytes)
    }

    /// Its own bytes and those of the memory files that it keeps, against the limit.
    fn check_memory(&self, own_bytes: u64) -> Result<(), Excess> {
        let own = own_bytes.saturating_sub(self.idle);
        let all = || own.saturating_add(self.handed().iter().map(|handed| handed.bytes).sum());
        // Most are gone by now; only where they would be too many it is worth a look.
        for _ in 0..OFTEN {
            if all() <= self.memory.most {
                return Ok(());
            }
            self.forget_what_is_gone();
        }
        self.memory.check(all())
    }

    fn forget_what_is_gone(&self) {
        let n_sent = self.handed().iter().filter(|handed| handed.is_sent).count();
        // What is on its way becomes a descriptor, and that a mapping, but never the other way round: looked for in this
        // order, none is missed.
        if self.on_their_way() > 0 {
            return;
        }
        let mut kept = self.open_inodes();
        kept.extend(self.mapped_inodes());
        let mut left = n_sent;
        self.handed().retain_mut(|handed| {
            let is_old = handed.is_sent && left > 0;
            left -= usize::from(is_old);
            handed.missed = if kept.contains(&handed.inode) || !is_old { 0 } else { handed.missed + 1 };
            handed.missed < OFTEN
        });
    }

    /// Descriptors that were sent to it and that it has not received.
    fn on_their_way(&self) -> u64 {
        let files = std::fs::read_dir(self.place("fdinfo")).into_iter().flatten().flatten();
        let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        let waiting = |text: String| {
            let line = text.lines().find_map(|line| line.strip_prefix("scm_fds:")?.trim().parse::<u64>().ok());
            line.unwrap_or(0)
        };
        texts.map(waiting).sum()
    }

    fn open_inodes(&self) -> BTreeSet<u64> {
        let files = std::fs::read_dir(self.place("fd")).into_iter().flatten().flatten();
        files.filter_map(|file| Some(std::fs::metadata(file.path()).ok()?.ino())).collect()
    }

    fn mapped_inodes(&self) -> BTreeSet<u64> {
        let maps = std::fs::read_to_string(self.place("maps")).unwrap_or_default();
        let inode = |line: &str| line.split_ascii_whitespace().nth(4)?.parse().ok();
        maps.lines().filter(|line| line.contains("/memfd:")).filter_map(inode).collect()
    }

    fn place(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid.as_raw_nonzero()))
    }
}

/// What the kernel says of a process.
struct Status {
    threads: u64,
    /// Anonymous memory, in the machine's memory or swapped out.
    own_bytes: u64,
}

impl Status {
    fn read(pid: Pid) -> Option<Status> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0)
        };
        Some(Status { threads: number("Threads"), own_bytes: (number("RssAnon") + number("VmSwap")) * 1024 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::MemfdFlags;
    use std::fs::File;
    use std::process::{Child, Command};

    fn memory_file(bytes: u64) -> File {
        let file = File::from(rustix::fs::memfd_create("coldstart-tensor", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(bytes).unwrap();
        file
    }

    fn sleeper() -> Child {
        use std::os::unix::process::CommandExt;
        Command::new("sleep").arg("600").process_group(0).spawn().unwrap()
    }

    /// Other tests of this process have descriptors under way now and then, and nothing is forgotten while one is.
    fn soon(mut attempt: impl FnMut() -> Result<(), Excess>) {
        let begun = std::time::Instant::now();
        while let Err(excess) = attempt() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{excess}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn memory_files_count_as_long_as_they_are_kept_and_no_longer() {
        // This process stands for the worker, and nobody ends it.
        let watch = Watch { shared: Arc::new(Shared::new(std::process::id(), 100 << 30).unwrap()) };
        let kept = memory_file(40 << 30);
        watch.hand(&kept).unwrap();
        watch.sent();
        // Handed over and closed, again and again.
        for _ in 0..2 * MANY {
            let file = memory_file(50 << 30);
            soon(|| watch.hand(&file));
            watch.sent();
        }
        assert!(watch.shared.handed().len() <= MANY + 1);
        // A mapping keeps a file as a descriptor does.
        let mapped = memory_file(70 << 30);
        // SAFETY: nobody changes the file's size while it is mapped.
        let map = unsafe { memmap2::MmapOptions::new().len(4096).map(&mapped) }.unwrap();
        let copy = mapped.try_clone().unwrap();
        let excess = watch.hand(&mapped).unwrap_err();
        assert_eq!(excess.limit.name, limits::MEMORY.name);
        // It is charged whole, however little of it is mapped.
        watch.shared.handed().push(Handed {
            inode: mapped.metadata().unwrap().ino(),
            bytes: 70 << 30,
            is_sent: true,
            missed: 0,
        });
        drop((mapped, copy));
        assert!(watch.shared.check_memory(0).is_err(), "the mapping is still there");
        drop(map);
        soon(|| watch.shared.check_memory(0));
        drop(kept);
    }

    #[test]
    fn a_worker_that_takes_too_much_is_ended_and_it_is_known_why() {
        let mut worker = sleeper();
        let watch = Watch::over(worker.id(), 0).unwrap();
        watch.shared.put_an_end(limits::THREADS.check(3001).unwrap_err());
        assert!(!worker.wait().unwrap().success());
        assert_eq!(watch.excess().unwrap().figure, 3001);
    }

    #[test]
    fn a_worker_that_has_ended_is_not_ended_again() {
        let mut worker = sleeper();
        let watch = Watch::over(worker.id(), 0).unwrap();
        watch.stop();
        watch.shared.put_an_end(limits::THREADS.check(3001).unwrap_err());
        assert!(watch.excess().is_none());
        assert!(worker.try_wait().unwrap().is_none(), "it is alive");
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
}
