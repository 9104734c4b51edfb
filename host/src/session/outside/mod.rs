//! A learner of the user's own in the loop: its script found and allowed, its process begun, held against what strategies ask.

mod data;
mod learner;
mod model;

pub use learner::OutsideLearner;

use super::record::{Environment, LearnerRecord};
use super::strategy::gib;
use super::{AtKey, Options, SessionError, Strategy};
use crate::config::{Config, ConfigError, Sandbox};
use crate::engine::{self, Restart};
use crate::experiment::{RunDir, RunError};
use crate::learner::{Ear, LearnerCode, LearnerError, Process, Script, Start};
use crate::operations::{Meter, Services};
use crate::plugin::lock::{LockedPlugin, Use};
use crate::plugin::trust::Trust;
use crate::plugin::{Limits, Plugin, StrategyName, with_defaults};
use coldstart_plugin_api::Role;
use coldstart_plugin_api::manifest::Asked;
use model::can_answer;
use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A learner whose process runs, and that has no instance yet.
pub struct Begun {
    pub script: Script,
    pub process: Process,
    /// What it is told, with every default.
    pub params: Params,
    start: Start,
}

type Params = serde_json::Map<String, serde_json::Value>;

/// The script of the config, if its learner is one, which may run: read now, and held against the leave that counts now.
pub fn find(config: &Config, options: &Options) -> Result<Option<Script>, SessionError> {
    let Some(file) = config.training.learner.script() else { return Ok(None) };
    let script = Script::read(file)?;
    script.check_leave(options.allow_learner)?;
    Ok(Some(script))
}

/// Starts the script of the config, if its learner is one, and holds it against what the config and the strategies ask of it.
///
/// Errs with all that is wrong.
pub fn begin(
    config: &Config,
    strategies: &[impl Borrow<Strategy>],
    options: &Options,
    at_key: AtKey<'_>,
) -> Result<Option<Begun>, Vec<SessionError>> {
    let alone = |error: SessionError| vec![error];
    let Some(script) = find(config, options).map_err(alone)? else { return Ok(None) };
    let params = with_defaults(&script.manifest, &config.training.params).map_err(|error| {
        let rule = format!("does not fit `{}`: {}", script.name(), error.message);
        alone(SessionError::Config(at_key("training.params", rule).with_hint(error.hint)))
    })?;
    let begun = Begun { params, ..start(script, config, threads(config, options), options).map_err(alone)? };
    let mistakes = mistakes(&begun.process, config, strategies, at_key);
    if mistakes.is_empty() { Ok(Some(begun)) } else { Err(mistakes.into_iter().map(SessionError::Config).collect()) }
}

/// The same for a run that goes on: the script must be the one that it began with.
pub fn check_same(script: Option<&Script>, environment: &Environment, dir: &RunDir) -> Result<(), SessionError> {
    let Some(script) = script else { return Ok(()) };
    match &environment.learner {
        Some(record) => Ok(script.check_same(&record.sha256)?),
        None => {
            let problem = "it does not say which learner the run began with".to_owned();
            Err(RunError::Damaged { path: dir.path("environment.json"), problem }.into())
        }
    }
}

/// Errs unless the run that round 0 is taken from had the same learner.
pub fn check_round_0(begun: Option<&LearnerRecord>, from: &RunDir) -> Result<(), SessionError> {
    let Some(record) = begun else { return Ok(()) };
    let theirs = Environment::read(from)?.learner.map(|learner| learner.sha256);
    if theirs.as_ref() == Some(&record.sha256) {
        return Ok(());
    }
    let message = format!("round 0 in `{}` was done with another script of that name", from.root().display());
    let name = record.path.display().to_string();
    Err(LearnerError::new(LearnerCode::Changed, name, message).into())
}

/// Starts a script with so many threads; its params are those of the config.
pub fn start(script: Script, config: &Config, threads: usize, options: &Options) -> Result<Begun, SessionError> {
    let strict = [config.plugins.sandbox, options.sandbox].contains(&Sandbox::Required);
    let is_shut_in = config.training.sandbox.unwrap_or_default();
    if strict && !is_shut_in {
        let message = "it would not be shut in, and the whole sandbox is required".to_owned();
        let hint =
            "`training.sandbox = true` shuts it in, without files, network and GPU; or take `--sandbox required` back";
        return Err(LearnerError::new(LearnerCode::Start, script.name(), message).with_hint(hint).into());
    }
    let timeout = Duration::from_secs_f64(config.training.timeout());
    let limits = Limits { memory: gib(config.plugins.memory), timeout, strict, threads };
    let start = Start { threads, timeout, sandbox: is_shut_in.then_some(limits) };
    let process = Process::start(&script, &start, &Listener::of(options))?;
    Ok(Begun { script, process, params: config.training.params.clone(), start })
}

/// The threads of a new run, as far as they are known before the images are.
fn threads(config: &Config, options: &Options) -> usize {
    let said = [config.threads, options.threads].into_iter().find(|threads| *threads > 0);
    said.unwrap_or_else(engine::cores)
}

impl Begun {
    /// What a run's environment says of it.
    pub fn record(&self) -> LearnerRecord {
        LearnerRecord {
            path: self.script.file.clone(),
            sha256: self.script.sha256.clone(),
            modules: self.script.modules().map(str::to_owned).collect(),
            confinement: self.process.confinement.clone(),
            versions: self.process.versions.clone(),
        }
    }

    /// Its row in a run's lock.
    pub fn locked(&self) -> Result<LockedPlugin, SessionError> {
        let Script { file, manifest, sha256, .. } = &self.script;
        let trust = &Trust::Unsigned;
        let used = Use { role: "learner", manifest, sha256, trust, mode: Plugin::mode_of(true) };
        let name = StrategyName::parse(&file.display().to_string())?;
        let confinement = self.process.confinement.clone();
        Ok(LockedPlugin { confinement, ..LockedPlugin::of(used, &name).ran(file, trust) })
    }

    /// Says aloud where a run goes on with other versions than it began with.
    pub fn warn_of_versions(&self, then: Option<&LearnerRecord>) {
        let then = then.map(|record| record.versions.clone()).unwrap_or_default();
        let now = &self.process.versions;
        for (package, version) in then.iter().filter(|(package, version)| now.get(*package) != Some(*version)) {
            let here = now.get(package).map_or("not imported", String::as_str);
            tracing::warn!("the run began with {package} {version}, and goes on with {here}: numbers may differ");
        }
    }
}

/// What the config and its strategies ask of a learner that has no method for it.
fn mistakes(
    process: &Process,
    config: &Config,
    strategies: &[impl Borrow<Strategy>],
    at_key: AtKey<'_>,
) -> Vec<ConfigError> {
    let mut mistakes = Vec::new();
    if config.training.restart == Restart::Warm && !process.has("save") {
        let rule = "is `warm`, and the learner has no `save` and `load`: a run could not go on".to_owned();
        mistakes.push(at_key("training.restart", rule));
    }
    for strategy in strategies.iter().map(Borrow::borrow).flat_map(Strategy::with_components) {
        let lacking = asked(strategy, config).find(|asked| !can_answer(process, asked));
        if let Some(asked) = lacking {
            let name = &strategy.manifest.name;
            let rule = format!("is `{name}`, which asks the model for {asked}, and {}", lacks(process, &asked));
            let hint = match asked == Asked::Views.name() {
                true => "choose a strategy that looks at each image as it is",
                false => LearnerCode::Lacks.hint(),
            };
            mistakes.push(at_key(&strategy.key, rule).with_hint(hint.to_owned()));
        }
    }
    mistakes
}

/// The words of `asks` that count for a strategy with its parameters in this config.
fn asked(strategy: &Strategy, config: &Config) -> impl Iterator<Item = String> {
    // The initial strategy meets a model only where a sizer wants more of it.
    let meets_a_model = strategy.seat.role != Role::Initial || config.initial.sizers().next().is_some();
    let looks_elsewhere = strategy.space().as_deref() == Some("representation");
    let asks = if meets_a_model { strategy.manifest.asks.clone() } else { Vec::new() };
    asks.into_iter().filter(move |word| !(looks_elsewhere && word == Asked::Embeddings.name()))
}

/// The rest of a sentence about a learner that cannot answer.
fn lacks(process: &Process, asked: &str) -> String {
    let learner = &process.learner;
    match asked {
        word if word == Asked::Embeddings.name() => {
            format!("the learner `{learner}` has neither `embed` nor `gradient_factors`")
        }
        word if word == Asked::Dropout.name() => format!("the learner `{learner}` has no `predict_dropout`"),
        _ => format!("no learner in Python, such as `{learner}`, can be asked for these"),
    }
}

/// Hears of progress before and beside the operations.
struct Listener {
    cancelled: Arc<AtomicBool>,
    meter: Arc<dyn Meter>,
}

impl Listener {
    fn of(options: &Options) -> Listener {
        Listener { cancelled: options.cancelled.clone(), meter: options.meter.clone() }
    }
}

impl Ear for Listener {
    fn goes_on(&self) -> bool {
        !self.cancelled.load(Ordering::Relaxed)
    }

    fn progress(&self, stage: &str, done: u64, total: u64) {
        self.meter.tick(stage, done, total);
    }
}

/// The same while an operation is under way, which has a time of its own.
impl Ear for Services {
    fn goes_on(&self) -> bool {
        Services::goes_on(self)
    }

    fn progress(&self, stage: &str, done: u64, total: u64) {
        self.meter.tick(stage, done, total);
    }
}
