//! `coldstart run` and `coldstart resume`.

use super::cache::cache_of;
use super::report::write_report;
use crate::cli::args::{Args, Resume, Run};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::cli::typed::{Wanted, existing};
use crate::experiment::{Outcome, RunError};
use crate::plugin::lock::{LOCK, Lock};
use crate::plugin::{PluginCode, PluginError};
use crate::session::{self, Options, SessionError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `coldstart run CONFIG`.
pub fn run(args: &Args, run: &Run, console: &Console) -> Result<(), Problem> {
    existing(&run.experiment.config, Wanted::File)?;
    let read = run.experiment.read()?;
    let config = &read.config;
    let out = run.out.clone().unwrap_or_else(|| PathBuf::from(format!("runs/{}-{}", config.name, config.seed)));
    let at_key = |key: &str, message: String| read.at_key(key, message);
    let options = Options { lock: lock_of(run)?, record: run.record, ..options(args, console, &run.device) };
    let outcome = session::start(config.clone(), (&out, None), &options, &mut console.clone(), &at_key);
    finish(args, &out, outcome, console)
}

/// `coldstart resume RUN`.
pub fn resume(args: &Args, resume: &Resume, console: &Console) -> Result<(), Problem> {
    let dir = &resume.run;
    if dir.is_file() {
        let message = format!("`{}` is a file, and not the folder of a run", dir.display());
        let hint = "a config is begun with `coldstart run`, or with `coldstart sweep` if it has a table `[sweep]`";
        return Err(Problem::usage(message, Some(hint.to_owned())));
    }
    existing(dir, Wanted::Run)?;
    let finished = session::finished(dir)?;
    // The device is the run's own.
    let outcome = session::resume(dir, resume.end(), &options(args, console, "auto"), &mut console.clone());
    if let (Some(labels), Ok(_), None) = (finished, &outcome, resume.end()) {
        console.say(&format!("`{}` is already finished, with {labels} labels", dir.display()));
    }
    finish(args, dir, outcome, console)
}

/// What the user says beside the config.
pub fn options(args: &Args, console: &Console, device: &str) -> Options {
    Options {
        data_root: args.data.clone(),
        device: device.to_owned(),
        cancelled: console.cancelled(),
        meter: Arc::new(console.clone()),
        cache: cache_of(args),
        allow_unsigned: args.allow_unsigned,
        allow_learner: args.allow_learner,
        sandbox: args.sandbox.unwrap_or_default(),
        record: false,
        lock: None,
        threads: 0,
        shelf: Arc::default(),
    }
}

/// A lock that is there counts, asked for or not.
fn lock_of(run: &Run) -> Result<Option<Lock>, Problem> {
    let config = &run.experiment.config;
    match Lock::beside(config)? {
        None if run.locked => {
            let message = format!("there is no lock beside `{}`", config.display());
            let error = PluginError::new(PluginCode::LockMismatch, LOCK, message);
            Err(error.with_hint(format!("write it with: coldstart plugin lock {}", config.display())).into())
        }
        lock => Ok(lock),
    }
}

fn finish(args: &Args, dir: &Path, outcome: Result<Outcome, SessionError>, console: &Console) -> Result<(), Problem> {
    match outcome {
        Ok(_) => {
            console.clear();
            write_report(&[dir.to_owned()], &dir.join("report.html"))
        }
        Err(SessionError::Run(RunError::Cancelled)) => {
            // Leave is given anew each time.
            let leaves = [(args.allow_unsigned, " --allow-unsigned"), (args.allow_learner, " --allow-learner")];
            let given = leaves.into_iter().filter(|(given, _)| *given).map(|(_, flag)| flag).collect::<String>();
            Err(Problem::interrupted(format!("go on with: coldstart resume {}{given}", dir.display())))
        }
        Err(error) => Err(error.into()),
    }
}
