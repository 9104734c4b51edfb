//! What a worker does: take the next run that nobody works on, do it or go on with it, until none is left.
//!
//! Any number of workers may share a study, on one machine or on many with a common file system: a run belongs to whoever made the last
//! [claim](super::claims) to it. What a worker needs to know it reads from disk.

use super::claims::{Claim, Claimant, Taken, Wanted};
use super::plan::{Row, State, Study};
use crate::config::{Config, ConfigError};
use crate::experiment::{RunError, Watcher, chain};
use crate::session::{self, Options, SessionError};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a worker that has to wait for another sleeps between two looks: first, and at the most.
const NAP: Duration = Duration::from_millis(200);
const LONGEST_NAP: Duration = Duration::from_secs(2);

/// What is left of a study where there is nothing for a worker to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rest {
    /// Runs that others work on.
    pub held: usize,
    /// Runs that were begun on a device that this machine has not.
    pub elsewhere: usize,
}

/// Do runs of the study until there is none left to take, and none that waits for a shared round 0; with `wait`, until none is left
/// that others work on, either.
///
/// A run's failure is recorded and the next one begun. Errs when the user stops, when another worker has taken over a run of this one,
/// and when nothing can be written any more.
pub fn work(
    study: &Study,
    claimant: &mut Claimant,
    wait: bool,
    options: &Options,
    watcher: &mut dyn Watcher,
) -> Result<Rest, SessionError> {
    let (mut ended, mut nap) = (BTreeSet::new(), NAP);
    loop {
        let (mut rest, mut did, mut waits) = (Rest::default(), false, false);
        for row in study.rows.iter().filter(|row| !ended.contains(row.run.as_str())).collect::<Vec<_>>() {
            match step(study, row, claimant, options, watcher)? {
                Step::Done => did = true,
                Step::Waits => waits = true,
                Step::Held => rest.held += 1,
                Step::Elsewhere => rest.elsewhere += 1,
                Step::Ended => _ = ended.insert(row.run.as_str()),
            }
            if options.cancelled.load(Ordering::Relaxed) {
                return Err(SessionError::Run(RunError::Cancelled));
            }
        }
        waits |= wait && rest.held > 0;
        match (did, waits) {
            (true, _) => nap = NAP,
            (false, false) => return Ok(rest),
            (false, true) => {
                std::thread::sleep(nap);
                nap = (2 * nap).min(LONGEST_NAP);
            }
        }
    }
}

enum Step {
    /// It was brought to an end, good or bad.
    Done,
    /// Its round 0 is under way elsewhere, or it is not known yet whether anybody works on it.
    Waits,
    /// Another works on it.
    Held,
    /// It was begun on a device that is not here.
    Elsewhere,
    /// It is done.
    Ended,
}

fn step(
    study: &Study,
    row: &Row,
    claimant: &mut Claimant,
    options: &Options,
    watcher: &mut dyn Watcher,
) -> Result<Step, SessionError> {
    let dir = study.run_dir(&row.run);
    let is_open = || matches!(study.state(&row.run, &dir), State::Waiting | State::Begun);
    if !is_open() {
        return Ok(Step::Ended);
    }
    let round0 = study.round_0_dir(&row.round0);
    // What sizers say in round 0 is the run's own.
    let asks = || study.config(&row.run).is_ok_and(|config| config.initial.sizers().next().is_some());
    let shares = row.shared && !asks();
    let begins = shares && study.state(&row.run, &dir) == State::Waiting;
    if begins && let Some(instead) = share_round_0(study, row, claimant, options, watcher)? {
        return Ok(instead);
    }
    if is_of_another(&dir, claimant) {
        return Ok(Step::Elsewhere);
    }
    let claim = match claimant.take(study, Wanted { name: &row.run, dir: &dir, is_run: true })? {
        Taken::Mine(claim) => claim,
        Taken::Held => return Ok(Step::Held),
        Taken::Unknown => return Ok(Step::Waits),
        Taken::Deadly(deaths) => {
            study.record_failure(&row.run, &died(deaths))?;
            return Ok(Step::Done);
        }
    };
    // Somebody may have done it between the look and the claim.
    if !is_open() {
        return Ok(Step::Ended);
    }
    if begins && let Some(error) = study.failure(&row.round0) {
        study.record_failure(&row.run, &error)?;
        return Ok(Step::Done);
    }
    let from = shares.then_some(round0.as_path());
    let went = go_on(study, (&row.run, &dir), from, study.config(&row.run), options, watcher);
    kept(&claim, &row.run, went)?;
    Ok(Step::Done)
}

/// See to it that the round 0 has ended that a run begins with; what the run does instead of beginning, if it has not.
fn share_round_0(
    study: &Study,
    row: &Row,
    claimant: &mut Claimant,
    options: &Options,
    watcher: &mut dyn Watcher,
) -> Result<Option<Step>, SessionError> {
    let (name, dir) = (&row.round0, study.round_0_dir(&row.round0));
    let is_open = || matches!(study.state(name, &dir), State::Waiting | State::Begun);
    if !is_open() {
        return Ok(None);
    }
    if is_of_another(&dir, claimant) {
        return Ok(Some(Step::Elsewhere));
    }
    let claim = match claimant.take(study, Wanted { name, dir: &dir, is_run: false })? {
        Taken::Mine(claim) => claim,
        Taken::Held | Taken::Unknown => return Ok(Some(Step::Waits)),
        Taken::Deadly(deaths) => {
            study.record_failure(name, &died(deaths))?;
            return Ok(None);
        }
    };
    if is_open() {
        let config = study.config(&row.run).map(alone);
        let went = go_on(study, (name, &dir), None, config, options, watcher);
        kept(&claim, name, went)?;
    }
    Ok(None)
}

/// Whether a run is left to machines that have the device that it began on. An executor has nobody else to leave it to.
fn is_of_another(dir: &Path, claimant: &Claimant) -> bool {
    !claimant.is_watched() && !session::has_device_of(dir)
}

/// Errs as the work on a claim did; where another has taken the claim over, with that.
fn kept(claim: &Claim, name: &str, went: Result<(), SessionError>) -> Result<(), SessionError> {
    if claim.is_lost() {
        let message = format!("{name}: another worker has taken it over, for this one was silent for too long");
        return Err(SessionError::Operation(message));
    }
    went
}

fn died(deaths: usize) -> String {
    format!("{deaths} workers died of it, one after the other, before a round was done")
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
