//! What a learner says into the program's log.

use crate::foreign;
use crate::limits::{self, shortened};

/// What a call writes into the log, within the limits of a strategy's call.
#[derive(Default)]
pub(super) struct Log {
    lines: u64,
    left_out: u64,
}

impl Log {
    /// Write a line, or count it as left out.
    pub fn write(&mut self, learner: &str, level: u8, target: &str, message: &str) {
        if self.lines >= limits::LOG_LINES.most {
            self.left_out += 1;
            return;
        }
        self.lines += 1;
        let (target, message) = (foreign::word(target), foreign::line(message));
        let line = shortened(format!("{target}: {message}"), limits::LOG_LINE.length());
        match level {
            1 => tracing::error!(learner, "{line}"),
            2 => tracing::warn!(learner, "{line}"),
            3 => tracing::info!(learner, "{line}"),
            4 => tracing::debug!(learner, "{line}"),
            _ => tracing::trace!(learner, "{line}"),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.left_out > 0 {
            let (left_out, most) = (self.left_out, limits::LOG_LINES.figure());
            tracing::warn!("{left_out} lines of the learner's log are left out: a call writes {most} at most");
        }
    }
}

/// The most verbose level that the program listens to.
pub(super) fn log_level() -> u8 {
    use tracing::Level;
    match () {
        () if tracing::enabled!(Level::TRACE) => 5,
        () if tracing::enabled!(Level::DEBUG) => 4,
        () if tracing::enabled!(Level::INFO) => 3,
        () if tracing::enabled!(Level::WARN) => 2,
        () => 1,
    }
}
