//! The error of this room.

use super::Failure;
use std::path::PathBuf;
use thiserror::Error;

/// Why a run stopped.
#[derive(Debug, Error)]
pub enum RunError {
    /// A file of the run could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// `read`, `write`, `create` ...
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder that should hold a run does not, or one that should not does.
    #[error("`{}` {problem}", path.display())]
    Directory {
        /// Which folder.
        path: PathBuf,
        /// What is the matter with it.
        problem: String,
    },
    /// A file of the run holds what cannot be.
    #[error("`{}` is damaged: {problem}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with the line where there is one.
        problem: String,
    },
    /// A file of the run is not what the run wrote.
    #[error("`{}` is damaged: it is not what was written", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// The strategy, the learner or the data set failed in a round.
    #[error("round {round}: {step} failed")]
    Step {
        /// In which round.
        round: u32,
        /// `selection`, `training` or `evaluation`.
        step: &'static str,
        /// Why.
        source: Failure,
    },
    /// A file of the user's that the run stands on was changed while it ran.
    #[error("the run stands on other files than it began with")]
    Sources(#[source] Failure),
    /// The configuration asks for more images than there are.
    #[error("{rounds} rounds of {budget} after {initial} initial images need {needed} images, but the pool has {pool}")]
    PoolTooSmall {
        /// Query rounds.
        rounds: u32,
        /// Images a round.
        budget: usize,
        /// Size of the initial set.
        initial: usize,
        /// What they add up to.
        needed: usize,
        /// What there is.
        pool: usize,
    },
    /// The user stopped the run.
    #[error("interrupted")]
    Cancelled,
}

/// An error with its causes, in one line. Some errors say their cause themselves, because they also stand alone: it is not said
/// twice.
pub fn chain(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    match error.source().map(chain) {
        Some(cause) if !text.ends_with(&cause) => format!("{text}: {cause}"),
        _ => text,
    }
}
