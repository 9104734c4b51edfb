//! Studies: many runs from one config with a table `[sweep]`, done by any number of workers.
//!
//! The folder is the truth, as it is for a run: a plan that is a file, and what each run left. Whatever is killed, the same
//! command goes on, and the numbers are those of a study that nobody disturbed.

mod local;
mod plan;
mod work;

pub use local::{Local, Machine};
pub use plan::{Row, State, Study};
pub use work::work;

use std::collections::BTreeMap;

/// How far a study has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Runs of the plan.
    pub runs: usize,
    /// Complete ones.
    pub finished: usize,
    /// Those that ended with an error.
    pub failed: usize,
    /// Those that were begun and are not complete.
    pub begun: usize,
}

impl Progress {
    /// Runs still to be done.
    pub fn left(&self) -> usize {
        self.runs - self.finished - self.failed
    }
}

/// Looks at the runs of a study again and again, and reads no finished one twice.
#[derive(Default)]
pub struct Overview {
    ended: BTreeMap<String, State>,
}

impl Overview {
    /// How far the study has come, and what has ended since the last look.
    pub fn look(&mut self, study: &Study) -> (Progress, Vec<(String, State)>) {
        let mut progress = Progress { runs: study.rows.len(), ..Progress::default() };
        let mut news = Vec::new();
        for Row { run, .. } in &study.rows {
            let state = match self.ended.get(run) {
                Some(state) => state.clone(),
                None => study.state(run, &study.run_dir(run)),
            };
            match state {
                State::Finished => progress.finished += 1,
                State::Failed(_) => progress.failed += 1,
                State::Begun => progress.begun += 1,
                State::Waiting => {}
            }
            let ended = matches!(state, State::Finished | State::Failed(_));
            if ended && !self.ended.contains_key(run) {
                news.push((run.clone(), state.clone()));
                self.ended.insert(run.clone(), state);
            }
        }
        (progress, news)
    }
}
