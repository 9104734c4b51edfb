//! `coldstart worker`: does runs of a study, as one of any number of workers.
//!
//! An executor has checked everything before it starts workers. Whoever starts one by hand may do so on any machine, so that this one
//! looks first: a machine that lacks something must not record one run after the other as failed.

use super::run::options;
use crate::cli::args::{Args, Worker};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::cli::typed::{Wanted, existing};
use crate::config::{Config, ConfigError};
use crate::engine;
use crate::experiment::RunError;
use crate::plugin::lock::Lock;
use crate::session::{self, Inputs, Options, Preflight, SessionError};
use crate::study::{self, Claimant, Overview, Rest, Study};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// `coldstart worker STUDY`.
pub fn worker(args: &Args, worker: &Worker, console: &Console) -> Result<(), Problem> {
    existing(&worker.study, Wanted::Study)?;
    if worker.tied {
        stop_with_standard_input(console);
    }
    let study = Study::open(&worker.study)?;
    let lock = Lock::beside(&worker.study.join("study.toml"))?;
    let options = Options { lock, threads: worker.threads, ..options(args, console, &worker.device) };
    let claimant = Claimant::new(worker.known_as.as_deref(), console.cancelled());
    let mut work = Work { study, options, claimant, wait: worker.wait };
    match worker.known_as {
        Some(_) => Ok(work.go(console).map(drop)?),
        None => work.by_hand(args, console),
    }
}

/// Whoever started this process holds the other end, and has ended when it closes.
fn stop_with_standard_input(console: &Console) {
    let cancelled = console.cancelled();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        cancelled.store(true, Ordering::Relaxed);
    });
}

/// What a worker works with.
struct Work {
    study: Study,
    options: Options,
    claimant: Claimant,
    wait: bool,
}

impl Work {
    fn go(&mut self, console: &Console) -> Result<Rest, SessionError> {
        study::work(&self.study, &mut self.claimant, self.wait, &self.options, &mut console.clone())
    }

    fn by_hand(&mut self, args: &Args, console: &Console) -> Result<(), Problem> {
        let root = self.study.root().display().to_string();
        let inputs = self.study.inputs()?.ok_or_else(|| {
            let message = format!("an earlier version planned `{root}`, and did not say with which plugins and data");
            let hint = format!("`coldstart sweep CONFIG --out {root}` plans it anew and keeps what was done");
            Problem::usage(message, Some(hint))
        })?;
        let theirs = Some(inputs.data_root.clone()).filter(|folder| folder.is_dir());
        self.options.data_root = args.data.clone().or(theirs);
        let (before, _) = Overview::default().look(&self.study);
        let threads = if self.options.threads == 0 { engine::cores() } else { self.options.threads };
        console.say(&format!(
            "worker {}: {} of {} runs in {root} are not done; {threads} threads a run where its config leaves them open",
            self.claimant.name(),
            before.left(),
            before.runs
        ));
        if before.left() > 0 {
            self.check(&inputs, args.data.is_none())?;
        }
        let rest = self.go(console).map_err(|error| match error {
            SessionError::Run(RunError::Cancelled) => {
                let hint = "another worker goes on with what it did, or the same command again";
                Problem::interrupted(hint.to_owned())
            }
            error => error.into(),
        })?;
        console.clear();
        console.say(&self.end(rest));
        Ok(())
    }

    /// Errs where this machine would do the runs that are left in another way than the one that planned them, or not at all.
    fn check(&self, inputs: &Inputs, is_data_unsaid: bool) -> Result<(), Problem> {
        let Work { study, options, .. } = self;
        let mut preflight = Preflight::new(options, true);
        if let Some(how) = inputs.other_program(&Inputs::here(options, &preflight)) {
            let message = format!("`{}` is another version's study: {how}", study.root().display());
            let hint = "start the version that planned it; or plan it anew with this one, by `coldstart sweep`";
            return Err(Problem::outcome(message, Some(hint.to_owned())));
        }
        let open = study.open_configs()?;
        if is_data_unsaid && !inputs.data_root.is_dir() && open.iter().any(|(_, config)| has_relative_data(config)) {
            let message = format!(
                "the plan finds its data below `{}`, and there is no such folder on this machine",
                inputs.data_root.display()
            );
            let hint = "`--data DIR`, or COLDSTART_DATA, names the folder in which they lie here";
            return Err(Problem::usage(message, Some(hint.to_owned())));
        }
        check_settings(study, &open, &mut preflight)?;
        let here = Inputs::here(options, &preflight);
        let others = inputs.other_plugins(&here);
        if !others.is_empty() {
            let message = format!("the study was planned with other files of these plugins: {}", others.join(", "));
            let hint = "install the same packages here; or plan it anew from here, by `coldstart sweep`";
            return Err(Problem::plugin(message, Some(hint.to_owned())));
        }
        self.check_data(inputs, &open)
    }

    fn check_data(&self, inputs: &Inputs, open: &[(String, Config)]) -> Result<(), Problem> {
        let set_of = |config: &Config| format!("{:?}", config.dataset);
        let needed: BTreeSet<String> = open.iter().map(|(_, config)| set_of(config)).collect();
        for (run, fingerprint) in &inputs.data {
            // Of a run that an earlier plan had nothing is needed.
            let Ok(config) = self.study.config(run) else { continue };
            if needed.contains(&set_of(&config)) && session::fingerprint(&config, &self.options)? != *fingerprint {
                let kind = config.dataset.kind.name();
                let message = format!("the data set `{kind}` holds other images here than where the study was planned");
                let hint = "copy the same files here; `--data DIR`, or COLDSTART_DATA, names their folder";
                return Err(Problem::outcome(message, Some(hint.to_owned())));
            }
        }
        Ok(())
    }

    /// How things stand when there is nothing left for this worker.
    fn end(&self, rest: Rest) -> String {
        let (now, _) = Overview::default().look(&self.study);
        let mut said = vec![format!("nothing is left to take: {} of {} runs are done", now.finished, now.runs)];
        for (count, what) in [
            (now.failed, "failed, which `coldstart sweep CONFIG --retry` tries again"),
            (rest.held, "in the hands of other workers"),
            (rest.elsewhere, "begun on a GPU that is not here"),
        ] {
            if count > 0 {
                said.push(format!("{count} {what}"));
            }
        }
        said.join(", ")
    }
}

/// Errs with all that is wrong with the configs of runs on this machine, each mistake once.
fn check_settings(study: &Study, open: &[(String, Config)], preflight: &mut Preflight) -> Result<(), Problem> {
    let (mut looked_at, mut mistakes) = (BTreeSet::new(), Vec::new());
    for (run, config) in open {
        let mut seedless = config.clone();
        (seedless.seed, seedless.initial.seed, seedless.training.seed) = (0, None, None);
        if !looked_at.insert(seedless.to_toml()) {
            continue;
        }
        let cell = study.cell(run);
        let at_key = |key: &str, message: String| ConfigError::at_key(&cell, "", &[], key, message);
        mistakes.extend(preflight.settings(config, &at_key));
    }
    let mut told = BTreeSet::new();
    mistakes.retain(|mistake| told.insert(mistake.to_string()));
    let of_this_machine = |source: SessionError| {
        let runs = "this machine cannot do the study's runs".to_owned();
        SessionError::InRuns { runs, source: Box::new(source) }
    };
    SessionError::of(mistakes).map_err(|error| of_this_machine(error).into())
}

fn has_relative_data(config: &Config) -> bool {
    let path: Option<PathBuf> = config.dataset.clone().with_defaults().path;
    path.is_some_and(|path| path.is_relative())
}
