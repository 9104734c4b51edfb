//! A process at the other end of a line: started with a socket as its standard input, heard, and ended.

use super::frames::Channel;
use crate::limits;
use crate::wait;
use serde::Serialize;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a process printed last is kept for the message about its death.
const LAST_LINES: usize = 5;
const LONGEST_LINE: u64 = 500;

/// A process, and this end of the line to it.
pub struct Line {
    child: Child,
    /// What is said and heard.
    pub channel: Channel,
    printed: Arc<Mutex<VecDeque<String>>>,
}

impl Line {
    /// Start a program at the other end, in a process group of its own.
    pub fn start(program: Command) -> io::Result<Line> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = on_line(program, theirs.into()).spawn()?;
        let printed = listen(child.stderr.take());
        Ok(Line { child, channel: Channel::new(ours), printed })
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// This end of the line, and the process.
    pub fn split(&mut self) -> (&Channel, &mut Child) {
        (&self.channel, &mut self.child)
    }

    /// How the process ended, in words; `error` is what the line broke with.
    pub fn how_it_ended(&mut self, error: &io::Error) -> String {
        match wait::ended_within(&mut self.child, Duration::from_secs(2)) {
            Some(status) => how(status),
            None => format!("its worker process broke the line ({error})"),
        }
    }

    /// What it printed last, as the end of a sentence; empty if it printed nothing.
    pub fn last_words(&self) -> String {
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        match printed.is_empty() {
            true => String::new(),
            false => format!("; it printed: {}", printed.iter().cloned().collect::<Vec<_>>().join(" | ")),
        }
    }

    /// End the process and whatever it may have started, in its group.
    pub fn kill(&mut self) {
        wait::kill_group(&mut self.child);
    }

    /// Say the last word, and end the process if it does not end by itself.
    pub fn end<T: Serialize>(&mut self, goodbye: &T) {
        // A few looks are enough for a line that is free; one that is blocked is not waited for.
        let mut looks = 0;
        let mut briefly = || {
            looks += 1;
            if looks > 3 { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
        };
        _ = self.channel.send(goodbye, None, &mut briefly);
        if wait::ended_within(&mut self.child, limits::GOODBYE).is_none() {
            self.kill();
        }
    }
}

/// The socket is its standard input; Ctrl-C at the terminal is not meant for it.
fn on_line(mut command: Command, socket: OwnedFd) -> Command {
    command.process_group(0);
    command.stdin(socket).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Keep the last lines that a process prints; what it prints is nobody's data.
fn listen(output: Option<ChildStderr>) -> Arc<Mutex<VecDeque<String>>> {
    let printed = Arc::new(Mutex::new(VecDeque::new()));
    let (Some(output), heard) = (output, printed.clone()) else { return printed };
    std::thread::spawn(move || {
        let (mut output, mut line) = (BufReader::new(output), Vec::new());
        while output.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            // The worker's environment is not the user's to change: the advice would mislead.
            if !text.is_empty() && !text.contains("RUST_BACKTRACE") {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push_back(text);
                if heard.len() > LAST_LINES {
                    heard.pop_front();
                }
            }
            line.clear();
        }
    });
    printed
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("its worker process exited with code {code} in the middle of a call"),
        (None, Some(signal)) => format!("its worker process was ended by {}", name_of(signal)),
        (None, None) => "its worker process is gone".to_owned(),
    }
}

fn name_of(signal: i32) -> String {
    let names = [
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGSYS, "SIGSYS"),
        (libc::SIGTERM, "SIGTERM"),
    ];
    let name = names.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name);
    name.map_or_else(|| format!("signal {signal}"), |name| format!("signal {signal} ({name})"))
}
