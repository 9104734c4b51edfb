//! A process of its own for each case: the program itself, which shuts itself in, tries one case and tells the verdict over
//! a socket.
//!
//! Everything that a case needs is opened before the process is shut in: the library as a sealed memory file, and what the
//! kernel says of the process. From then on it reads no file but the system's libraries, and reaches nothing.

use super::outcome::{Outcome, Verdict, failed, skipped};
use super::subject::Subject;
use super::{Level, Order, Tried, determinism, named};
use crate::plugin::{Confinement, confine, only_read};
use crate::programs;
use rustix::process::{Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a child does instead of a case to tell what the plugin chooses.
pub const CHOSEN: &str = "chosen";
/// What it does to tell how well it is shut in.
pub const SHUT_IN: &str = "shut-in";
/// The argument that makes this program such a process. Nobody types it.
const ARGUMENT: &str = "--check-case";

/// Memory that a plugin may take in a case beside what the program takes. Pools of a million images need some GiB.
const MEMORY: u64 = 16 << 30;
/// The last lines of a child that are kept to say why it died, and how much of each.
const LAST_LINES: usize = 6;
const LONGEST_LINE: u64 = 200;
/// The longest verdict that is read.
const LONGEST_VERDICT: u64 = 1 << 20;

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    order: Order,
    case: String,
    /// Another plugin, for the cases that load two.
    other: Option<PathBuf>,
}

/// What a child tells.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    pub verdict: Verdict,
    /// How well it was shut in; empty if it ran none of the plugin's code, or died.
    pub confinement: String,
}

/// Try a case in a child process whose maths may take so many threads.
pub fn run(order: &Order, case: &str, other: Option<PathBuf>, threads: u32) -> Told {
    let unknown = |verdict| Told { verdict, confinement: String::new() };
    let task = Task { order: order.clone(), case: case.to_owned(), other };
    let ran = || -> io::Result<Told> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = start(&task, threads, theirs)?;
        let last_lines = follow(&mut child);
        let ended = wait(&mut child, order.timeout)?;
        let said = || last_lines.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        Ok(match (ended, read(ours)) {
            (None, _) => unknown(failed(format!("took longer than {} s{}", order.timeout.as_secs(), said()))),
            (Some(status), Some(told)) if status.success() => told,
            (Some(status), _) => {
                unknown(Verdict { result: Outcome::Crashed, detail: format!("{}{}", end(status), said()) })
            }
        })
    };
    ran().unwrap_or_else(|error| unknown(failed(format!("no process could be started for it: {error}"))))
}

fn start(task: &Task, threads: u32, socket: UnixStream) -> io::Result<Child> {
    let is_script = task.order.file.extension().is_some_and(|extension| extension == "py");
    // A worker knows nothing of the user's environment. The process that has a script's worker started runs none of its code,
    // and has to find the interpreter.
    let is_shut_in = level(&task.case) > Level::Static && !is_script;
    let mut command = if is_shut_in { programs::worker() } else { programs::again() };
    command.arg(ARGUMENT).arg(serde_json::to_string(task).expect("plain data"));
    let threads = threads.to_string();
    command.env("RAYON_NUM_THREADS", &threads).env("OMP_NUM_THREADS", &threads).env("CUDA_VISIBLE_DEVICES", "");
    // A group of its own, so that what the plugin may have started goes with it.
    command.arg0("coldstart").process_group(0);
    command.stdin(OwnedFd::from(socket)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
}

/// The level that a child's task belongs to.
fn level(case: &str) -> Level {
    named(case).map_or(Level::Conform, |case| case.level)
}

/// The last lines that the child writes on stderr, once it has closed it.
fn follow(child: &mut Child) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    let Some(stderr) = child.stderr.take() else { return told };
    std::thread::spawn(move || {
        let (mut output, mut line, mut last) = (BufReader::new(stderr), Vec::new(), VecDeque::new());
        while output.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            // The child's environment is not the user's to change: the advice would mislead.
            if !text.is_empty() && !text.contains("RUST_BACKTRACE") {
                last.push_back(text);
            }
            last.drain(..last.len().saturating_sub(LAST_LINES));
            line.clear();
        }
        let lines = last.into_iter().map(|line| format!("; {line}")).collect::<String>();
        // Nobody listens any more if the child ended well.
        let _ = tell.send(lines);
    });
    told
}

/// The child's end; none if it had to be killed.
fn wait(child: &mut Child, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    let ended = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if start.elapsed() > timeout || crate::wait::interrupted() => break None,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    if let Some(group) = rustix::process::Pid::from_raw(child.id() as i32) {
        // It fails where nobody of the group is left, which is what is wanted.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    if ended.is_none() {
        child.wait()?;
    }
    Ok(ended)
}

/// What an ended child has told. Whoever else may still hold the socket is not waited for.
fn read(socket: UnixStream) -> Option<Told> {
    socket.set_nonblocking(true).ok()?;
    let mut text = Vec::new();
    // It errs where more could come, which is no part of the verdict.
    let _ = socket.take(LONGEST_VERDICT).read_to_end(&mut text);
    serde_json::from_slice(&text).ok()
}

fn end(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => {
            let name = Signal::from_named_raw(signal).map(|signal| format!("{signal:?}"));
            format!("killed by signal {signal}{}", name.map(|name| format!(" ({name})")).unwrap_or_default())
        }
        None => format!("ended with exit code {} before the case was over", status.code().unwrap_or(0)),
    }
}

/// If the process's arguments say so, try a case, tell the verdict, and say how that went.
///
/// To be called first of all: the process shuts itself in while it has only one thread.
pub fn as_check(mut arguments: impl Iterator<Item = OsString>) -> Option<io::Result<()>> {
    let asked = arguments.nth(1)? == ARGUMENT;
    let task = arguments.next().filter(|_| asked)?;
    Some(in_child(&task.to_string_lossy()))
}

fn in_child(task: &str) -> io::Result<()> {
    let task: Task = serde_json::from_str(task)?;
    let mut socket = take_stdin()?;
    prepare();
    let told = tell(task);
    socket.write_all(&serde_json::to_vec(&told).expect("plain data"))
}

/// The socket, away from standard input, where a plugin could write to it by accident.
fn take_stdin() -> io::Result<UnixStream> {
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(socket))
}

/// No core files from plugins that crash, and no child that outlives the check.
fn prepare() {
    // Where the system refuses either, the check goes on without.
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

fn tell(Task { order, case, other }: Task) -> Told {
    let without = |verdict| Told { verdict, confinement: String::new() };
    let run: fn(&Subject) -> Tried = match case.as_str() {
        SHUT_IN => |_| Ok(String::new()),
        CHOSEN => determinism::chosen,
        name => match named(name) {
            Ok(case) => case.run,
            Err(error) => return without(failed(error.to_string())),
        },
    };
    let (file, strict) = (order.file.clone(), order.strict);
    let subject = match Subject::open(order, other.as_deref()) {
        Ok(subject) => subject,
        Err(error) => return without(failed(format!("{}: {error}", file.display()))),
    };
    if level(&case) == Level::Static {
        return without(read_only(|| run(&subject)));
    }
    // A script runs in a worker, which shuts itself in; the libraries of plugins run here.
    let confined = if subject.is_script() { subject.confinement_of_script() } else { confine(MEMORY) };
    match confined {
        Err(problem) => without(skipped(format!("this system cannot shut it in: {problem}"))),
        Ok(confinement) if strict && confinement != Confinement::Full => {
            let detail = format!("this system's sandbox is only `{}`", confinement.name());
            Told { verdict: skipped(detail), confinement: confinement.name().to_owned() }
        }
        Ok(confinement) => Told { verdict: run(&subject).into(), confinement: confinement.name().to_owned() },
    }
}

/// Read files and nothing else: the parsers of packages and libraries write nowhere, whatever they are given.
fn read_only(run: impl FnOnce() -> Tried) -> Verdict {
    match only_read(Path::new("/dev/null")) {
        Ok(()) => run().into(),
        Err(problem) => skipped(format!("this system cannot shut it in: {problem}")),
    }
}
