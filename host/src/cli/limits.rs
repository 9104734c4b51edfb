//! Limits that the shell has set: made as wide as they may be, or named before any work.

use super::args::Command;
use super::problem::Problem;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Address space that libtorch, its threads and a small network take.
const LEAST_ADDRESS_SPACE: u64 = 2 << 30;

/// Takes as many open files as the limit can be raised to.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, a file that cannot be opened is told of as any other error.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Errs if a command that trains networks has too little address space to begin with: it would end in the middle, without a word.
pub fn check_memory(command: &Command) -> Result<(), Problem> {
    let trains = matches!(
        command,
        Command::Run(_)
            | Command::Resume(_)
            | Command::Sweep(_)
            | Command::Worker(_)
            | Command::Select(_)
            | Command::Represent(_)
            | Command::Diagnose(_)
            | Command::Bench(_)
    );
    match getrlimit(Resource::As).current {
        Some(bytes) if trains && bytes < LEAST_ADDRESS_SPACE => {
            let (has, least) = (bytes >> 20, LEAST_ADDRESS_SPACE >> 20);
            let message =
                format!("the shell limits the address space to {has} MiB, and training takes at least {least} MiB");
            Err(Problem::outcome(message, Some("`ulimit -v` shows it, `ulimit -v unlimited` lifts it".to_owned())))
        }
        _ => Ok(()),
    }
}
