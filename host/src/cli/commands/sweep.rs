//! `coldstart sweep`, and the workers that it starts.

use super::report::write_report;
use super::run::options;
use crate::cli::args::{Args, Executor, Sweep, SweepWorker};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::config::{self, ConfigError};
use crate::engine;
use crate::experiment::RunError;
use crate::plugin::lock::Lock;
use crate::session::{self, Options, SessionError};
use crate::study::{self, Local, Machine, Memory, Overview, Progress, Slurm, Study};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

/// `coldstart sweep CONFIG`.
pub fn sweep(args: &Args, sweep: &Sweep, console: &Console) -> Result<(), Problem> {
    if sweep.executor == Executor::Local && (sweep.detach || !sweep.sbatch.is_empty()) {
        return Err(Problem::usage("`--sbatch` and `--detach` need `--executor slurm`", None));
    }
    let file = &sweep.experiment.config;
    let planned = config::Sweep::read(file, &sweep.experiment.set)?;
    let root = sweep.out.clone().unwrap_or_else(|| PathBuf::from(format!("studies/{}", planned.name)));
    let lock = Lock::beside(file)?;
    let options = Options { lock, ..options(args, console, &sweep.device) };
    check_strategies(file, &planned, &options)?;
    let study = Study::new(&root, &planned);
    let (before, _) = Overview::default().look(&study);
    let to_do = before.left() + if sweep.retry { before.failed } else { 0 };
    let say = |line: &str| console.say(line);
    let slurm = Slurm {
        study: &study,
        name: &planned.name,
        tasks: sweep.jobs.unwrap_or(1).min(to_do.max(1)),
        worker: words(&worker(args, &root, &sweep.device)),
        options: &sweep.sbatch,
        cancelled: console.cancelled(),
        say: &say,
    };
    if sweep.dry_run {
        match sweep.executor {
            Executor::Local => say_plan(&planned, &beginning(&root, before)),
            Executor::Slurm => {
                console.say(&beginning(&root, before));
                slurm.script().trim_end().lines().for_each(|line| outln!("{line}"));
            }
        }
        return Ok(());
    }
    let held = Study::hold(&root)?;
    study.plan(&planned)?;
    if let Some(lock) = &options.lock {
        lock.write_beside(&root.join("study.toml"))?;
    }
    if sweep.retry {
        study.forget_failures()?;
    }
    console.say(&beginning(&root, before));
    let (done, hint) = match sweep.executor {
        Executor::Slurm if sweep.detach => {
            if to_do > 0 {
                let job = slurm.submit()?;
                outln!("{}", job.id);
            }
            return Ok(());
        }
        Executor::Slurm => (slurm.run(), "the job goes on; the same command watches it again, and `scancel` ends it"),
        Executor::Local => (on_this_machine(args, sweep, &study, console)?, "the same command again goes on"),
    };
    let progress = done.map_err(|error| match error {
        SessionError::Run(RunError::Cancelled) => Problem::interrupted(hint.to_owned()),
        error => error.into(),
    })?;
    drop(held);
    console.clear();
    finish(&root, progress)
}

fn on_this_machine(
    args: &Args,
    sweep: &Sweep,
    study: &Study,
    console: &Console,
) -> Result<Result<Progress, SessionError>, Problem> {
    let machine = machine(sweep)?;
    let command = |device: Option<String>| {
        let mut command = worker(args, study.root(), device.as_deref().unwrap_or(&sweep.device));
        command.arg("--tied").arg("--threads").arg(machine.threads.to_string());
        command
    };
    let say = |line: &str| console.say(line);
    let local =
        Local { study, machine, memory: &Memory::now, command: &command, cancelled: console.cancelled(), say: &say };
    Ok(local.run())
}

/// What `coldstart sweep` starts, once for each job: does runs until none is left.
pub fn work(args: &Args, work: &SweepWorker, console: &Console) -> Result<(), Problem> {
    if work.tied {
        let cancelled = console.cancelled();
        // Whoever started this process holds the other end, and has ended when it closes.
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            cancelled.store(true, Ordering::Relaxed);
        });
    }
    let study = Study::open(&work.study)?.known_as(work.known_as.as_deref());
    let lock = Lock::beside(&work.study.join("study.toml"))?;
    let options = Options { lock, threads: work.threads, ..options(args, console, &work.device) };
    Ok(study::work(&study, &options, &mut console.clone())?)
}

/// Errs at the first strategy that cannot be used: before any work, and not when its turn comes.
fn check_strategies(file: &Path, planned: &config::Sweep, options: &Options) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    for cell in &planned.cells {
        let mut config = cell.config.clone();
        let named: Vec<String> =
            config.seats().into_iter().map(|seat| format!("{seat:?} {:?}", config.strategy(seat))).collect();
        if seen.insert(named) {
            let at_key = |key: &str, message: String| ConfigError::at_key(file, &planned.text, &[], key, message);
            session::check(config, options, &at_key)?;
        }
    }
    Ok(())
}

/// How this machine is divided.
fn machine(sweep: &Sweep) -> Result<Machine, Problem> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let gpus = if sweep.device == "auto" || sweep.device == "cuda" { engine::n_gpus() } else { 0 };
    let jobs = match sweep.jobs {
        Some(jobs) => jobs,
        None if gpus > 0 => gpus,
        None => 1,
    };
    Ok(Machine { jobs, threads: (cores / jobs).max(1), gpus })
}

/// The command of a worker: this program, with what the user said beside the config.
fn worker(args: &Args, root: &Path, device: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap_or_else(|_| "coldstart".into()));
    command.arg("sweep-worker").arg(std::path::absolute(root).unwrap_or_else(|_| root.to_owned()));
    command.arg("--device").arg(device);
    command.args(args.shared());
    command
}

fn words(command: &Command) -> Vec<OsString> {
    [command.get_program()].into_iter().chain(command.get_args()).map(OsString::from).collect()
}

fn say_plan(planned: &config::Sweep, beginning: &str) {
    for axis in &planned.axes {
        outln!("{}: {}", axis.name, axis.labels().join(", "));
    }
    outln!("{beginning}");
}

fn beginning(root: &Path, progress: Progress) -> String {
    let Progress { runs, finished, failed, begun } = progress;
    let mut said = vec![format!("{} runs in {}", runs, root.display())];
    for (count, what) in [(finished, "done before"), (begun, "begun before"), (failed, "failed before")] {
        if count > 0 {
            said.push(format!("{count} {what}"));
        }
    }
    said.join(", ")
}

fn finish(root: &Path, progress: Progress) -> Result<(), Problem> {
    write_report(&[root.to_owned()], &root.join("report.html"))?;
    match progress.failed {
        0 => Ok(()),
        failed => {
            let message = format!("{failed} of {} runs failed", progress.runs);
            Err(Problem::outcome(
                message,
                Some("`--retry` tries them again; `failures/` in the study says why".to_owned()),
            ))
        }
    }
}
