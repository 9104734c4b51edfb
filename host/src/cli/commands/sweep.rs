//! `coldstart sweep`: plans a study and has its runs done.

use super::report::write_report;
use super::run::options;
use crate::cli::args::{Args, Executor, Sweep};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::cli::typed::{Wanted, existing};
use crate::config::{self, Config};
use crate::engine;
use crate::experiment::RunError;
use crate::memory::Memory;
use crate::plugin::lock::Lock;
use crate::programs;
use crate::session::{AtKey, Inputs, Options, Preflight, SessionError};
use crate::study::{self, Local, Machine, Overview, Progress, Slurm, Study};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `coldstart sweep CONFIG`.
pub fn sweep(args: &Args, sweep: &Sweep, console: &Console) -> Result<(), Problem> {
    check_flags(sweep)?;
    let file = &sweep.experiment.config;
    existing(file, Wanted::File)?;
    let planned = config::Sweep::read(file, &sweep.experiment.overrides())?;
    let root = sweep.out.clone().unwrap_or_else(|| PathBuf::from(format!("studies/{}", planned.name)));
    let options = Options { lock: Lock::beside(file)?, ..options(args, console, &sweep.device) };
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
    let by_hand = worker_by_hand(args, &root, &sweep.device);
    let is_local = sweep.executor == Executor::Local;
    let mut inputs = None;
    if to_do > 0 || sweep.dry_run {
        let mut preflight = Preflight::new(&options, is_local);
        check(&planned, &mut preflight)?;
        inputs = Some(inputs_of(&study, &planned, &options, &preflight));
    }
    if sweep.dry_run {
        match sweep.executor {
            Executor::Local => say_plan(&planned, &beginning(&root, before)),
            Executor::None => {
                say_plan(&planned, &beginning(&root, before));
                console.say(&format!("each worker would be: {by_hand}"));
            }
            Executor::Slurm => {
                console.say(&beginning(&root, before));
                slurm.script().trim_end().lines().for_each(|line| outln!("{line}"));
            }
        }
        return Ok(());
    }
    if sweep.executor == Executor::Slurm && to_do > 0 {
        slurm.check()?;
    }
    let held = Study::hold(&root)?;
    study.plan(&planned, inputs.as_ref())?;
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
        Executor::None if sweep.detach => {
            if to_do > 0 {
                outln!("{by_hand}");
            }
            return Ok(());
        }
        Executor::None => {
            if to_do > 0 {
                console.say(&format!("start workers, here or wherever the folder is shared: {by_hand}"));
            }
            let watched = study::watch(&study, &console.cancelled(), &say);
            (watched, "the workers go on; the same command watches them again")
        }
        Executor::Slurm => (slurm.run(), "the job goes on; the same command watches it again, and `scancel` ends it"),
        Executor::Local => {
            (on_this_machine(args, sweep, (&study, &planned), console)?, "the same command again goes on")
        }
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
    (study, planned): (&Study, &config::Sweep),
    console: &Console,
) -> Result<Result<Progress, SessionError>, Problem> {
    let machine = machine(sweep)?;
    let threads = planned.cells.iter().map(|cell| cell.config.threads.max(1)).max().unwrap_or(1);
    warn_of_too_many(machine.jobs, threads);
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

/// Errs where a flag is of another executor.
fn check_flags(sweep: &Sweep) -> Result<(), Problem> {
    let problem = match sweep.executor {
        Executor::Local if sweep.detach => {
            "`--detach` needs workers that go on: `--executor slurm` or `--executor none`"
        }
        Executor::Local | Executor::None if !sweep.sbatch.is_empty() => "`--sbatch` options need `--executor slurm`",
        Executor::None if sweep.jobs.is_some() => "`--jobs` needs an executor: without one you start the workers",
        _ => return Ok(()),
    };
    Err(Problem::usage(problem, None))
}

/// What a study was planned with, for workers on other machines: once everything was checked.
fn inputs_of(study: &Study, planned: &config::Sweep, options: &Options, preflight: &Preflight) -> Inputs {
    let mut inputs = Inputs::here(options, preflight);
    for (row, cell) in study.rows.iter().zip(&planned.cells) {
        let Some(fingerprint) = preflight.fingerprint(&cell.config) else { continue };
        if !inputs.data.values().any(|known| known == fingerprint) {
            inputs.data.insert(row.run.clone(), fingerprint.to_owned());
        }
    }
    inputs
}

/// Errs with everything that can be known to be wrong with any run: before any work, and not when its turn comes.
fn check(planned: &config::Sweep, preflight: &mut Preflight) -> Result<(), SessionError> {
    let alike = alike(planned);
    let mut settings = Mistakes::new(planned);
    for cells in &alike {
        settings.note(cells, |config, at_key| preflight.settings(config, at_key));
    }
    settings.end()?;
    let mut images = Mistakes::new(planned);
    for cells in &alike {
        images.note(cells, |config, at_key| preflight.images(config, at_key));
    }
    images.end()
}

/// The combinations of a study that differ in seeds alone, by their positions; those of one data set stand together.
fn alike(planned: &config::Sweep) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for (i, cell) in planned.cells.iter().enumerate() {
        let mut config = cell.config.clone();
        (config.seed, config.initial.seed, config.training.seed) = (0, None, None);
        groups.entry((format!("{:?}", config.dataset), config.to_toml())).or_default().push(i);
    }
    groups.into_values().collect()
}

/// Mistakes of a study: each once, with the runs that it is found in.
struct Mistakes<'a> {
    planned: &'a config::Sweep,
    found: Vec<(SessionError, Vec<usize>)>,
}

impl<'a> Mistakes<'a> {
    fn new(planned: &'a config::Sweep) -> Mistakes<'a> {
        Mistakes { planned, found: Vec::new() }
    }

    /// Has combinations looked at that are alike.
    fn note(&mut self, cells: &[usize], look: impl FnOnce(&Config, AtKey<'_>) -> Vec<SessionError>) {
        let first = &self.planned.cells[cells[0]];
        let at_key = |key: &str, message: String| self.planned.at_key(first, key, message);
        // Seeds apart: which of them is loaded does not matter, so it is always the same one.
        let config = Config { seed: self.planned.cells[0].config.seed, ..first.config.clone() };
        for error in look(&config, &at_key) {
            let text = error.to_string();
            match self.found.iter_mut().find(|(known, _)| known.to_string() == text) {
                Some((_, of)) => of.extend(cells),
                None => self.found.push((error, cells.to_vec())),
            }
        }
    }

    fn end(self) -> Result<(), SessionError> {
        let told = self.found.into_iter().map(|(error, cells)| match self.planned.in_words(&cells) {
            Some(runs) => SessionError::InRuns { runs, source: Box::new(error) },
            None => error,
        });
        SessionError::of(told.collect())
    }
}

/// How this machine is divided.
fn machine(sweep: &Sweep) -> Result<Machine, Problem> {
    let cores = engine::cores();
    let gpus = if sweep.device == "auto" || sweep.device == "cuda" { engine::n_gpus() } else { 0 };
    let jobs = match sweep.jobs {
        Some(jobs) => jobs,
        None if gpus > 0 => gpus,
        None => 1,
    };
    Ok(Machine { jobs, threads: (cores / jobs).max(1), gpus })
}

/// Says that runs side by side have more threads than there are cores; for each alone it is said in its log.
fn warn_of_too_many(jobs: usize, threads: usize) {
    let cores = engine::cores();
    if jobs > 1 && jobs * threads > cores {
        let threads = jobs * threads;
        tracing::warn!(
            "{jobs} runs side by side have {threads} threads, more than the {cores} cores: all wait for each other"
        );
    }
}

/// The command of a worker: this program, with what the user said beside the config.
fn worker(args: &Args, root: &Path, device: &str) -> Command {
    let mut command = programs::again();
    command.arg("worker").arg(std::path::absolute(root).unwrap_or_else(|_| root.to_owned()));
    command.arg("--device").arg(device);
    command.args(args.shared());
    command
}

/// What a user types to start a worker, here or elsewhere: the plan says where the data are, and each machine has a cache of its own.
fn worker_by_hand(args: &Args, root: &Path, device: &str) -> String {
    let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let mut words: Vec<OsString> = vec!["coldstart".into(), "worker".into(), root.into()];
    if device != "auto" {
        words.extend(["--device".into(), device.into()]);
    }
    words.extend(args.permissions());
    let words: Vec<String> = words.iter().map(|word| study::quoted(&word.to_string_lossy())).collect();
    words.join(" ")
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
