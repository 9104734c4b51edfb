//! `coldstart run` and `coldstart resume`.

use super::cache::cache_of;
use super::report::write_report;
use crate::cli::args::{Args, Experiment, Resume, Run};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::config::{Config, ConfigError};
use crate::experiment::{Outcome, RunError};
use crate::plugin::lock::{LOCK, Lock};
use crate::plugin::{PluginCode, PluginError};
use crate::session::{self, Options, SessionError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `coldstart run CONFIG`.
pub fn run(args: &Args, run: &Run, console: &Console) -> Result<(), Problem> {
    let Experiment { config: file, set } = &run.experiment;
    let config = Config::read(file, set)?;
    let out = run.out.clone().unwrap_or_else(|| PathBuf::from(format!("runs/{}-{}", config.name, config.seed)));
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let at_key = |key: &str, message: String| ConfigError::at_key(file, &text, set, key, message);
    let options = Options { lock: lock_of(run)?, record: run.record, ..options(args, console, &run.device) };
    let outcome = session::start(config, (&out, None), &options, &mut console.clone(), &at_key);
    finish(&out, outcome, console)
}

/// `coldstart resume RUN`.
pub fn resume(args: &Args, resume: &Resume, console: &Console) -> Result<(), Problem> {
    // The device is the run's own.
    let outcome = session::resume(&resume.run, &options(args, console, "auto"), &mut console.clone());
    finish(&resume.run, outcome, console)
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

fn finish(dir: &Path, outcome: Result<Outcome, SessionError>, console: &Console) -> Result<(), Problem> {
    match outcome {
        Ok(_) => {
            console.clear();
            write_report(&[dir.to_owned()], &dir.join("report.html"))
        }
        Err(SessionError::Run(RunError::Cancelled)) => {
            Err(Problem::interrupted(format!("go on with: coldstart resume {}", dir.display())))
        }
        Err(error) => Err(error.into()),
    }
}
