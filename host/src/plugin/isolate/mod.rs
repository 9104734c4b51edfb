//! Plugins in a process of their own: same file, same calls, same answers, but nothing that they do can end the run.
//!
//! The worker is this program, started anew. It shuts itself in, loads the library that it was handed as a sealed memory
//! file, and makes one instance. Every call of the strategy's comes back over a socket and is served by the object that
//! serves plugins in this process, so operations cannot tell the difference.

mod frames;
mod process;
mod sandbox;
mod serve;
mod worker;

pub use frames::Fault;
pub use process::Worker;
pub use worker::serve as serve_host;

use std::time::Duration;

/// The argument that makes this program a worker. Nobody types it.
pub const WORKER: &str = "--serve-plugin";

/// What a worker may take.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Memory beyond that of an idle worker, in bytes.
    pub memory: u64,
    /// Own time for one call; what the host takes for its operations does not count.
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
