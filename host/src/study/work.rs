//! What a worker does: take the next run that nobody works on, do it or go on with it, until none is left.
//!
//! Any number of workers may share a study, on one machine or on many with a common file system: a run belongs to whoever holds
//! the lock of its claim. What a worker needs to know it reads from disk.

use super::plan::{Row, State, Study};
use crate::config::{Config, ConfigError};
use crate::experiment::{RunError, Watcher, chain};
use crate::session::{self, Options, SessionError};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a worker that has to wait for another sleeps between two looks.
const NAP: Duration = Duration::from_millis(200);

/// Do runs of the study until there is none left that nobody works on, and none that waits for a shared round 0.
///
/// A run's failure is recorded and the next one begun. Errs when the user stops, and when nothing can be written any more.
pub fn work(study: &Study, options: &Options, watcher: &mut dyn Watcher) -> Result<(), SessionError> {
    loop {
        let (mut did, mut waits) = (false, false);
        for row in &study.rows {
            match step(study, row, options, watcher)? {
                Step::Done => did = true,
                Step::Waits => waits = true,
                Step::Nothing => {}
            }
            if options.cancelled.load(Ordering::Relaxed) {
                return Err(SessionError::Run(RunError::Cancelled));
            }
        }
        match (did, waits) {
            (false, false) => return Ok(()),
            (false, true) => std::thread::sleep(NAP),
            _ => {}
        }
    }
}

enum Step {
    /// It was brought to an end, good or bad.
    Done,
    /// Its round 0 is under way elsewhere.
    Waits,
    /// It is done, or under way elsewhere.
    Nothing,
}

fn step(study: &Study, row: &Row, options: &Options, watcher: &mut dyn Watcher) -> Result<Step, SessionError> {
    let dir = study.run_dir(&row.run);
    let is_open = || matches!(study.state(&row.run, &dir), State::Waiting | State::Begun);
    if !is_open() {
        return Ok(Step::Nothing);
    }
    let Some(_claim) = study.claim(&row.run)? else { return Ok(Step::Nothing) };
    // Somebody may have done it between the look and the lock.
    if !is_open() {
        return Ok(Step::Nothing);
    }
    let round0 = study.round_0_dir(&row.round0);
    // What sizers say in round 0 is the run's own.
    let asks = || study.config(&row.run).is_ok_and(|config| config.initial.sizers().next().is_some());
    let shares = row.shared && !asks();
    if shares && study.state(&row.run, &dir) == State::Waiting {
        let Some(_claim) = study.claim_round_0(&row.round0)? else { return Ok(Step::Waits) };
        if matches!(study.state(&row.round0, &round0), State::Waiting | State::Begun) {
            let config = study.config(&row.run).map(alone);
            go_on(study, (&row.round0, &round0), None, config, options, watcher)?;
        }
        if let Some(error) = study.failure(&row.round0) {
            study.record_failure(&row.run, &error)?;
            return Ok(Step::Done);
        }
    }
    let from = shares.then_some(round0.as_path());
    go_on(study, (&row.run, &dir), from, study.config(&row.run), options, watcher)?;
    Ok(Step::Done)
}

/// The config of round 0 alone.
fn alone(mut config: Config) -> Config {
    (config.query.rounds, config.query.until) = (Some(0), None);
    config
}

/// Do a run, or what is left of it.
fn go_on(
    study: &Study,
    (name, dir): (&str, &Path),
    from: Option<&Path>,
    config: Result<Config, SessionError>,
    options: &Options,
    watcher: &mut dyn Watcher,
) -> Result<(), SessionError> {
    let cell = study.cell(name);
    let at_key = |key: &str, message: String| ConfigError::at_key(&cell, "", &[], key, message);
    let outcome = match dir.join("config.toml").is_file() {
        true => session::resume(dir, None, options, watcher),
        false => config.and_then(|config| session::start(config, (dir, from), options, watcher, &at_key)),
    };
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if ends_the_work(&error) => Err(error),
        Err(error) => {
            let text = chain(&error);
            tracing::error!("{name}: {text}");
            Ok(study.record_failure(name, &text)?)
        }
    }
}

/// Whether every other run would end the same way: the user stops, or nothing can be written.
fn ends_the_work(error: &SessionError) -> bool {
    let SessionError::Run(error) = error else { return false };
    match error {
        RunError::Cancelled => true,
        RunError::File { action, source, .. } if *action != "read" => matches!(
            source.kind(),
            ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::PermissionDenied
        ),
        _ => false,
    }
}
