//! Plugins in a process of their own: same file, same calls, same answers, but nothing that they do can end the run.
//!
//! The worker is this program, started anew. It shuts itself in, loads the library that it was handed as a sealed memory
//! file, and makes one instance. Every call of the strategy's comes back over a socket and is served by the object that
//! serves plugins in this process, so operations cannot tell the difference.

mod frames;
mod line;
mod process;
mod sandbox;
mod script;
mod serve;
mod watch;
mod worker;

pub use frames::{Allowance, Channel, Fault, Incoming, PROTOCOL, Trouble, name_of, understand};
pub use line::Line;
pub use process::Worker;
pub use sandbox::{Confinement, confine, only_read};
pub use script::{Serving, command as shut_in_command, open_command};
pub use watch::Watch;

use std::ffi::OsString;
use std::io;
use std::time::Duration;

/// The arguments that make this program a worker. Nobody types them.
const WORKER: &str = "--serve-plugin";
const SCRIPT_WORKER: &str = "--serve-script";

/// If the process's arguments say so, be a worker to the end, and say how it went.
///
/// To be called first of all: a worker shuts itself in while it has only one thread.
pub fn as_worker(mut arguments: impl Iterator<Item = OsString>) -> Option<io::Result<()>> {
    match arguments.nth(1)?.to_str()? {
        WORKER => Some(worker::serve()),
        SCRIPT_WORKER => Some(Err(script::become_interpreter(arguments.next()?.to_str()?))),
        _ => None,
    }
}

/// What a worker may take.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Memory beyond that of an idle worker, in bytes.
    pub memory: u64,
    /// Own time for one call; what the host takes for its operations counts beyond
    /// [`HOST_TIME`](crate::limits::HOST_TIME) times as much.
    pub timeout: Duration,
    /// Refuse to run it where the system cannot shut it in completely.
    pub strict: bool,
    /// Threads for its own maths.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory: 4 << 30, timeout: Duration::from_secs(3600), strict: false, threads: 1 }
    }
}
