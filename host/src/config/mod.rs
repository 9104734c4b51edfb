//! Configs: TOML in, a checked [`Config`] out, every mistake with file, line and key.
//!
//! The sections `[dataset]`, `[model]` and `[training]` belong to the rooms that act on them; this room reads, overrides,
//! checks and writes them back with every default.

mod error;
mod overrides;
mod reference;
mod representation;
mod select;
mod strategies;
mod sweep;

pub use error::ConfigError;
pub use overrides::Override;
pub use reference::{Choice, Key, Range, keys, schema};
pub use representation::{Published, Representation, UNTRAINED};
pub use select::{Choosing, DefaultStrategy, Settings};
pub use strategies::{Around, Initial, Mix, Query, Seat, Size, SizerSettings, Stochastic};
pub use sweep::{Axis, Cell, Sweep, configs};

use crate::data::{self, Kind};
use crate::engine;
use coldstart_plugin_api::Role;
use representation::network_of;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// More threads than any machine has cores: a system that refuses to start them ends the process.
const MOST_THREADS: usize = 1024;

/// One experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the run and of its folder: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Seed of everything that is drawn. Runs with the same seed are paired.
    #[serde(default = "defaults::seed")]
    pub seed: u64,
    /// CPU threads. 0, the default, is one where the steps are small, and all cores that the process may use where they are not;
    /// more threads than cores are warned about. A result on the CPU belongs to its number of threads: a run's
    /// `environment.json` says which it was, and resuming takes that one.
    #[serde(default)]
    #[schemars(range(max = MOST_THREADS))]
    pub threads: usize,
    /// The images.
    pub dataset: data::Spec,
    /// The task model.
    #[serde(default)]
    pub model: engine::ModelSettings,
    /// How the task model is trained.
    #[serde(default)]
    pub training: engine::Training,
    /// Shared features of the pool, for strategies that ask for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub representation: Option<Representation>,
    /// Round 0.
    pub initial: Initial,
    /// Rounds 1 and later.
    pub query: Query,
    /// Where strategies come from and where they run.
    #[serde(default)]
    pub plugins: Plugins,
    /// What `coldstart sweep` crosses; for a single run it is not there.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub sweep: Option<toml::Table>,
}

/// The section `[plugins]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    /// Folders searched before all others, relative to the config's folder.
    pub path: Vec<PathBuf>,
    /// Where strategies run.
    pub isolation: Isolation,
    /// How well a worker process must be shut in.
    pub sandbox: Sandbox,
    /// Seconds that a strategy may take for one call in a worker process; the host's own work does not count.
    #[schemars(range(max = 1e9), extend("exclusiveMinimum" = 0))]
    pub timeout: f64,
    /// GiB that a worker process may take, and that the tensors of one call may.
    #[schemars(range(max = 1e6), extend("exclusiveMinimum" = 0))]
    pub memory: f64,
    /// How often a round is tried again with a new worker process after one died or took too long.
    pub retries: u32,
    /// Whether strategies may be used that read the labels of unlabelled images; every report of the run says so.
    pub oracles: bool,
}

impl Default for Plugins {
    fn default() -> Plugins {
        Plugins {
            path: Vec::new(),
            isolation: Isolation::default(),
            sandbox: Sandbox::default(),
            timeout: 3600.0,
            memory: 4.0,
            retries: 1,
            oracles: false,
        }
    }
}

/// Where strategies run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Trusted ones inside the program, all others in a process of their own.
    #[default]
    Auto,
    /// Inside the program.
    InProcess,
    /// Each in a process of its own.
    Process,
}

/// How well a worker process must be shut in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// As well as the system can.
    #[default]
    BestEffort,
    /// Completely, or the strategy is refused.
    Required,
}

mod defaults {
    pub fn seed() -> u64 {
        1
    }

    pub fn beta() -> f64 {
        1.0
    }

    pub fn most() -> usize {
        1000
    }
}

/// Whether the name of a run may have the character.
pub fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

/// The longest config; a study of thousands of arms stays far below.
const LONGEST: u64 = 4 << 20;

/// The text of a config file.
///
/// Errs if it cannot be read, or is longer than a config can be.
pub fn text_of(file: &Path) -> Result<String, ConfigError> {
    let unreadable = |error| ConfigError::unreadable(file, &error);
    let mut bytes = Vec::new();
    File::open(file).map_err(unreadable)?.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    String::from_utf8(bytes).map_err(|_| unreadable(io::ErrorKind::InvalidData.into()))
}

impl Config {
    /// Read the config file of one run and apply the overrides in order.
    ///
    /// Errs where it is wrong, and where it has a table `[sweep]`, which makes several runs of it.
    pub fn read(file: &Path, overrides: &[Override]) -> Result<Config, ConfigError> {
        let text = text_of(file)?;
        if overrides::layered(file, &text, overrides)?.contains_key("sweep") {
            let rule = "makes a study of several runs, and here one is asked for,";
            let hint = format!(
                "`coldstart sweep {}` does its runs; `--unset sweep`, with `-s KEY=VALUE` for what its lists set, makes it one run",
                file.display()
            );
            return Err(ConfigError::at_key(file, &text, overrides, "sweep", rule).with_hint(hint));
        }
        Config::parse(file, &text, overrides)
    }

    /// The same for the text of a file that stands, or would stand, there.
    pub fn parse(file: &Path, text: &str, overrides: &[Override]) -> Result<Config, ConfigError> {
        Config::parse_in(file.parent().unwrap_or(Path::new(".")), file, text, overrides)
    }

    /// The same with a folder of its own at which relative paths begin.
    pub fn parse_in(folder: &Path, file: &Path, text: &str, overrides: &[Override]) -> Result<Config, ConfigError> {
        let mut config = overrides::parse(file, text, overrides)?;
        if let Err((key, message)) = config.check() {
            let error = ConfigError::at_key(file, text, overrides, &key, message);
            return Err(match config.query.hint(&key, overrides) {
                Some(hint) => error.with_hint(hint),
                None => error,
            });
        }
        let from_here =
            |path: &Path| std::path::absolute(folder.join(path)).map_err(|error| ConfigError::unreadable(file, &error));
        for path in &mut config.plugins.path {
            *path = from_here(path)?;
        }
        if let engine::Init::File(file) = &mut config.model.init {
            file.path = from_here(&file.path)?;
        }
        if let Some(file) = engine::script_file(&config.model.backbone) {
            config.model.backbone = engine::script_name(&from_here(file)?);
        }
        if let engine::Learner::Script(file) = &mut config.training.learner {
            *file = from_here(file)?;
        }
        let own = [&mut config.initial.representation, &mut config.query.representation];
        for representation in own.into_iter().chain([&mut config.representation]).flatten() {
            for path in [&mut representation.path, &mut representation.test].into_iter().flatten() {
                *path = from_here(path)?;
            }
        }
        for seat in config.seats() {
            let (strategy, _) = config.strategy(seat);
            if strategy.ends_with(".py") {
                *strategy = from_here(Path::new(strategy))?.display().to_string();
            }
        }
        Ok(config)
    }

    /// Where it names strategies: those of the initial set first, one that is mixed in behind the one it is mixed with; sizers last.
    pub fn seats(&self) -> Vec<Seat> {
        let mut seats = Vec::new();
        for (role, mix) in [(Role::Initial, &self.initial.mix), (Role::Query, &self.query.mix)] {
            seats.push(Seat::first(role));
            seats.extend(mix.iter().map(|_| Seat { role, number: 1 }));
        }
        seats.extend(self.initial.sizers().map(|(number, _)| Seat { role: Role::Sizer, number }));
        seats
    }

    /// The name and the parameters of the strategy in a seat.
    ///
    /// # Panics
    ///
    /// If the config has no such seat.
    pub fn strategy(&mut self, seat: Seat) -> (&mut String, &mut serde_json::Map<String, serde_json::Value>) {
        let Config { initial, query, .. } = self;
        let found = match (seat.role, seat.number) {
            (Role::Initial, 0) => Some((&mut initial.strategy, &mut initial.params)),
            (Role::Query, 0) => Some((&mut query.strategy, &mut query.params)),
            (Role::Initial, _) => initial.mix.as_mut().map(|mix| (&mut mix.strategy, &mut mix.params)),
            (Role::Query, _) => query.mix.as_mut().map(|mix| (&mut mix.strategy, &mut mix.params)),
            (Role::Sizer, 0) => initial.sizer.as_mut().map(|sizer| (&mut sizer.strategy, &mut sizer.params)),
            (Role::Sizer, number) => {
                let adviser = initial.advisers.get_mut(number as usize - 1);
                adviser.map(|sizer| (&mut sizer.strategy, &mut sizer.params))
            }
        };
        found.unwrap_or_else(|| panic!("the config has no section `{}`", seat.section()))
    }

    /// The config as it is stored with a run: every default written out.
    pub fn to_toml(&self) -> String {
        let mut resolved = self.clone();
        resolved.dataset = resolved.dataset.with_defaults();
        resolved.training = resolved.training.with_defaults();
        let text = toml::to_string(&resolved).expect("a config is made of what TOML can express");
        if resolved.training.learner.script().is_some() { without_keys_of_the_engine(&text) } else { text }
    }

    /// Read a config written by [`Config::to_toml`], by this version or an earlier one.
    pub fn read_resolved(file: &Path) -> Result<Config, ConfigError> {
        let text = text_of(file)?;
        let mut config = Config::parse(file, &text, &[])?;
        if let engine::Learner::LinearProbe(probe) = &mut config.training.learner
            && !names_scale(&text)
        {
            // Every default is written out. Up to 0.2.0 there was no such key, and each column had a scale of its own.
            probe.scale = engine::Scale::Columns;
        }
        Ok(config)
    }

    /// What the types alone do not say; the error is the key and the sentence.
    fn check(&self) -> Result<(), (String, String)> {
        let fits = |key: &str, fits: bool, rule: &str| {
            if fits { Ok(()) } else { Err((key.to_owned(), format!("must be {rule}"))) }
        };
        fits(
            "name",
            !self.name.is_empty() && self.name.chars().all(is_of_a_name),
            "made of letters, digits, `.`, `_` and `-`",
        )?;
        let rule = format!("at most {MOST_THREADS}; 0 leaves the number to the program");
        fits("threads", self.threads <= MOST_THREADS, &rule)?;
        fits("query.size", self.query.size > 0, "at least 1")?;
        self.initial.check_size(self.query.size)?;
        let least = self.initial.least(self.query.size);
        self.query.check_end(least)?;
        let Plugins { timeout, memory, .. } = self.plugins;
        fits("plugins.timeout", timeout > 0.0 && timeout <= 1e9, "a number of seconds above 0")?;
        fits("plugins.memory", memory > 0.0 && memory <= 1e6, "a number of GiB above 0")?;
        self.dataset.validate().map_err(of_section)?;
        self.model.validate().map_err(of_section)?;
        if let Some(representation) = &self.representation {
            representation.check("representation", &self.model)?;
        }
        for (section, own) in [("initial", &self.initial.representation), ("query", &self.query.representation)] {
            if let Some(representation) = own {
                representation.check(&format!("{section}.representation"), &self.model)?;
            }
        }
        self.initial.around().check("initial", least)?;
        self.query.around().check("query", self.query.size)?;
        for (section, mix) in [("initial", &self.initial.mix), ("query", &self.query.mix)] {
            let part = mix.as_ref().is_none_or(|mix| mix.weight > 0.0 && mix.weight < 1.0);
            fits(&format!("{section}.mix.weight"), part, "above 0 and below 1")?;
        }
        self.training.validate().map_err(of_section)?;
        self.check_start()
    }

    /// Whether the task model has what it begins with, or stands on.
    fn check_start(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, rule: String| Err((key.to_owned(), rule));
        let is_probe = self.training.learner.is_probe();
        if self.dataset.kind == Kind::Features {
            return self.check_without_images();
        }
        if self.model.is_script() {
            let rule = "is frozen: it needs `training.learner = \"linear-probe\"`".to_owned();
            return if is_probe { Ok(()) } else { wrong("model.backbone", rule) };
        }
        let is_outside = self.training.learner.script().is_some();
        match &self.model.init {
            engine::Init::Scratch if is_outside => return Ok(()),
            _ if is_outside => {
                return wrong("model.init", "must be left out: a learner in Python begins as it likes".to_owned());
            }
            engine::Init::File(_) if is_probe => {
                return wrong("model.init", "must be left out: a linear probe stands on `[representation]`".to_owned());
            }
            engine::Init::Representation => {}
            _ if !is_probe => return Ok(()),
            _ => {}
        }
        let key = if is_probe { "training.learner" } else { "model.init" };
        let Some(representation) = &self.representation else {
            return wrong(key, "needs a section `[representation]`, such as `method = \"moco-v2\"`".to_owned());
        };
        if !representation.has_network() {
            let rule = format!("needs a `[representation]` with a network, and `{}` has none", representation.method);
            return if is_probe { Ok(()) } else { wrong(key, rule) };
        }
        let (ours, theirs) = (network_of(&self.model)?, representation.network(&self.model)?);
        if ours == theirs {
            return Ok(());
        }
        wrong("representation", "must name the network of `[model]`, which begins with it".to_owned())
    }

    /// What asks for images where there are none.
    fn check_without_images(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, rule: &str| Err((key.to_owned(), rule.to_owned()));
        if !self.training.learner.is_probe() && self.training.learner.script().is_none() {
            let rule = "must be `linear-probe`, or a learner in Python: a data set without images has features alone";
            return wrong("training.learner", rule);
        }
        if self.model.is_script() {
            return wrong("model.backbone", "is a network for images, and the data set has none");
        }
        if self.model.init != engine::Init::Scratch {
            return wrong("model.init", "must be left out: the data set has no images that a network could look at");
        }
        let sections = [
            ("representation", &self.representation),
            ("initial.representation", &self.initial.representation),
            ("query.representation", &self.query.representation),
        ];
        for (section, representation) in sections {
            if representation.as_ref().is_some_and(|section| section.method != "file") {
                let rule = "needs images, and the data set has none: leave the section out for its own features";
                return wrong(&format!("{section}.method"), rule);
            }
        }
        Ok(())
    }
}

/// A resolved config without the keys of `[training]` that a learner in Python does not obey.
fn without_keys_of_the_engine(text: &str) -> String {
    let mut table: toml::Table = text.parse().expect("it came from TOML");
    if let Some(training) = table.get_mut("training").and_then(toml::Value::as_table_mut) {
        training.retain(|key, _| engine::OF_SCRIPTS.contains(&key));
    }
    toml::to_string(&table).expect("it came from TOML")
}

/// Whether a resolved config says how a linear probe's features are scaled.
fn names_scale(text: &str) -> bool {
    let scale = |config: toml::Table| {
        config.get("training")?.get("learner")?.get("scale")?;
        Some(())
    };
    toml::from_str(text).ok().and_then(scale).is_some()
}

/// The sections' own errors begin with the key in backticks: `` `training.epochs` must be at least 1 ``.
fn of_section(error: impl std::fmt::Display) -> (String, String) {
    let text = error.to_string();
    match text.strip_prefix('`').and_then(|rest| rest.split_once("` ")) {
        Some((key, rule)) => (key.to_owned(), rule.to_owned()),
        None => (String::new(), text),
    }
}

#[cfg(test)]
mod tests;
