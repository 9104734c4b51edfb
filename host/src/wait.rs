//! Waits for other processes: none without a deadline, and none goes on after the user has stopped the program.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{self, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::limits;

/// How often a process is looked at.
const NAP: Duration = Duration::from_millis(2);
/// What a program says is kept up to so many bytes; the rest is read and forgotten.
const MOST_SAID: u64 = 64 << 20;
/// How long it may take until all that an ended program has said is read.
const REST: Duration = Duration::from_secs(2);

/// Bytes that a source is read in at once, and how many such pieces wait.
const PIECE: usize = 1 << 16;
const PIECES: usize = 4;
/// How often a wait for bytes looks up.
const GLANCE: Duration = Duration::from_millis(100);

/// A signal belongs to the process, and so does this.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The user has stopped the program: every wait ends.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Whether the user has stopped the program.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// The end of a process, if it comes in time.
pub fn ended_within(child: &mut Child, most: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            _ if start.elapsed() >= most => return None,
            _ => std::thread::sleep(NAP),
        }
    }
}

/// End a process and all that it has started in its group, which is its own. One that the system cannot end is left behind,
/// with a warning.
pub fn kill_group(child: &mut Child) {
    if let Ok(Some(_)) = child.try_wait() {
        // Its number may mean another process by now.
        return;
    }
    if let Some(group) = Pid::from_raw(child.id() as i32) {
        // It fails where nobody is left, which is what is wanted.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    if ended_within(child, limits::DEATH).is_none() {
        tracing::warn!("the process {} was killed and does not end", child.id());
    }
}

/// Run a program to its end, at most so long, in a process group of its own; what it says is kept where the command pipes it.
///
/// Errs with [`ErrorKind::TimedOut`] when it takes longer and with [`ErrorKind::Interrupted`] when the user stops; it is
/// ended then.
pub fn output(command: &mut Command, most: Duration) -> io::Result<Output> {
    let mut child = command.process_group(0).spawn()?;
    let (stdout, stderr) = (said(child.stdout.take()), said(child.stderr.take()));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let problem = match interrupted() {
            true => Some(io::Error::new(ErrorKind::Interrupted, "interrupted")),
            false => (start.elapsed() >= most).then(|| too_late(most)),
        };
        if let Some(problem) = problem {
            kill_group(&mut child);
            return Err(problem);
        }
        std::thread::sleep(NAP);
    };
    let rest = |said: Receiver<Vec<u8>>| said.recv_timeout(REST).unwrap_or_default();
    Ok(Output { status, stdout: rest(stdout), stderr: rest(stderr) })
}

fn too_late(most: Duration) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, format!("timed out after {} s", most.as_secs_f64()))
}

/// Reads to the end; whatever is beyond the most is read, too, so that the program does not wait for a reader.
fn said(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (tell, told) = mpsc::channel();
    let Some(mut pipe) = pipe else { return told };
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        // A pipe that breaks ends what is said.
        let _ = pipe.by_ref().take(MOST_SAID).read_to_end(&mut kept);
        // Nobody listens any more where the program took too long.
        let _ = tell.send(kept);
        let _ = io::copy(&mut pipe, &mut io::sink());
    });
    told
}

/// A source that others fill, such as a server: read elsewhere, so that one that falls silent ends the reading.
pub struct Source {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
    silence: Duration,
}

impl Source {
    /// Read so that no wait for a byte is longer than `silence`, and none goes on after the user has stopped the program.
    pub fn new(mut source: impl Read + Send + 'static, silence: Duration) -> Source {
        let (tell, pieces) = mpsc::sync_channel(PIECES);
        std::thread::spawn(move || {
            loop {
                let mut piece = vec![0; PIECE];
                let read = source.read(&mut piece);
                let ends = !matches!(read, Ok(1..));
                let told = tell.send(read.map(|count| {
                    piece.truncate(count);
                    piece
                }));
                // Nobody listens any more where the reading was given up.
                if ends || told.is_err() {
                    return;
                }
            }
        });
        Source { pieces, piece: io::Cursor::default(), silence }
    }

    /// The next piece; empty at the end.
    fn next(&self) -> io::Result<Vec<u8>> {
        let start = Instant::now();
        loop {
            match self.pieces.recv_timeout(GLANCE) {
                Ok(piece) => return piece,
                Err(RecvTimeoutError::Disconnected) => return Ok(Vec::new()),
                // Not the kind `Interrupted`: whoever copies would try again.
                Err(_) if interrupted() => return Err(io::Error::new(ErrorKind::ConnectionAborted, "interrupted")),
                Err(_) if start.elapsed() >= self.silence => return Err(too_late(self.silence)),
                Err(_) => {}
            }
        }
    }
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.position() == self.piece.get_ref().len() as u64 {
            self.piece = io::Cursor::new(self.next()?);
        }
        self.piece.read(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    #[test]
    fn what_a_program_says_is_heard() {
        let output = output(&mut shell("echo out; echo err >&2; exit 3"), Duration::from_secs(60)).unwrap();
        assert_eq!((output.status.code(), &*output.stdout, &*output.stderr), (Some(3), &b"out\n"[..], &b"err\n"[..]));
    }

    /// Neither one that sleeps, nor one that a grandchild keeps the pipes of, nor one that never stops to speak.
    #[test]
    fn a_program_that_does_not_end_is_ended() {
        for (script, in_time) in
            [("sleep 600", false), ("sleep 600 & wait", false), ("yes", false), ("sleep 600 & echo said", true)]
        {
            let start = Instant::now();
            let ran = output(&mut shell(script), Duration::from_millis(300));
            assert!(start.elapsed() < Duration::from_secs(20), "{script}");
            match ran {
                Ok(output) => assert!(in_time && output.status.success(), "{script}"),
                Err(error) => assert_eq!((error.kind(), in_time), (ErrorKind::TimedOut, false), "{script}: {error}"),
            }
        }
    }

    #[test]
    fn a_source_that_falls_silent_ends_the_reading_and_any_other_is_read_through() {
        let bytes: Vec<u8> = (0..300_000).map(|i| i as u8).collect();
        let mut read = Vec::new();
        let count = Source::new(io::Cursor::new(bytes.clone()), Duration::from_secs(60)).read_to_end(&mut read);
        assert_eq!((count.unwrap(), read == bytes), (300_000, true));
        let (silent, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        io::Write::write_all(&mut other, b"begun").unwrap();
        let mut read = Vec::new();
        let error = Source::new(silent, Duration::from_millis(300)).read_to_end(&mut read).unwrap_err();
        assert_eq!((error.kind(), &read[..]), (ErrorKind::TimedOut, &b"begun"[..]));
    }

    #[test]
    fn a_process_is_waited_for_so_long_and_no_longer() {
        let mut child = shell("sleep 600").process_group(0).spawn().unwrap();
        assert!(ended_within(&mut child, Duration::from_millis(50)).is_none());
        kill_group(&mut child);
        assert!(ended_within(&mut child, Duration::ZERO).is_some());
        // Once more does nothing.
        kill_group(&mut child);
    }
}
