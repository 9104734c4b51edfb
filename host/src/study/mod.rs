//! Studies: many runs from one config with a table `[sweep]`, done by any number of workers.
//!
//! The folder is the truth, as it is for a run: a plan that is a file, and what each run left. Whatever is killed, the same
//! command goes on, and the numbers are those of a study that nobody disturbed.

mod answers;
mod claims;
mod holder;
mod local;
mod plan;
mod slurm;
mod watch;
mod work;

pub use claims::Claimant;
pub use local::{Local, Machine};
pub use plan::{Row, State, Study};
pub use slurm::{Job, Slurm, quoted};
pub use watch::watch;
pub use work::{Rest, work};

use crate::session::SessionError;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

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

/// How a worker ends that was asked to stop.
const INTERRUPTED: i32 = 130;
/// How often the runs are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looks at a study while others work on it, and says what has changed.
struct Telling<'a> {
    study: &'a Study,
    say: &'a dyn Fn(&str),
    overview: Overview,
    progress: Progress,
    looked: Instant,
    /// When it began, and how many runs had ended then.
    begun: (Instant, usize),
}

impl<'a> Telling<'a> {
    fn new(study: &'a Study, say: &'a dyn Fn(&str)) -> Telling<'a> {
        let mut overview = Overview::default();
        let (progress, _) = overview.look(study);
        let now = Instant::now();
        Telling { study, say, overview, progress, looked: now, begun: (now, progress.finished + progress.failed) }
    }

    /// How far it has come, at most a second ago.
    fn look(&mut self) -> Progress {
        if self.looked.elapsed() >= LOOK {
            self.look_now();
        }
        self.progress
    }

    fn look_now(&mut self) -> Progress {
        let (progress, news) = self.overview.look(self.study);
        for (run, state) in &news {
            if let State::Failed(error) = state {
                (self.say)(&format!("{run} failed: {error}"));
            }
        }
        if !news.is_empty() {
            let Progress { runs, finished, failed, .. } = progress;
            let ended = finished + failed - self.begun.1;
            let left = self.begun.0.elapsed().as_secs_f64() / ended.max(1) as f64 * progress.left() as f64;
            let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
            (self.say)(&format!("{finished} of {runs} runs are done{failed}; about {} left", in_words(left)));
        }
        (self.progress, self.looked) = (progress, Instant::now());
        progress
    }
}

fn in_words(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Why a worker stopped that could say it: every other one would end the same way.
fn said_why(log: &Path) -> SessionError {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let last = text.lines().rev().find(|line| line.contains('×')).unwrap_or_default();
    let problem = match last.trim_start_matches(['×', ' ']) {
        "" => "it could not say why; is the disk full?",
        problem => problem,
    };
    SessionError::Operation(format!("a worker stopped: {problem} (`{}`)", log.display()))
}

/// How a worker ended that a signal ended.
fn killed_by(signal: i32) -> String {
    match signal {
        9 => "was killed (signal 9): was there too little memory?".to_owned(),
        signal => format!("crashed (signal {signal})"),
    }
}
