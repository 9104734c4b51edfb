//! Configs: TOML in, a checked [`Config`] out, every mistake with file, line and key.
//!
//! The sections `[dataset]`, `[model]` and `[training]` belong to the rooms that act on them; this room reads, overrides,
//! checks and writes them back with every default.

mod error;
mod overrides;
mod select;

pub use error::ConfigError;
pub use overrides::Override;
pub use select::{Choosing, Settings};

use crate::data;
use crate::engine;
use crate::nearest::nearest;
use coldstart_plugin_api::Role;
use coldstart_plugin_api::training::{Backbone, PRESETS, Setting, TrainSpec};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the run is called; also the name of its folder.
    pub name: String,
    /// Seed of everything that is drawn. Runs with the same seed are paired.
    #[serde(default = "defaults::seed")]
    pub seed: u64,
    /// CPU threads; 0 takes all cores. A result on the CPU belongs to its number of threads.
    #[serde(default)]
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
    /// Where strategies come from.
    #[serde(default)]
    pub plugins: Plugins,
}

/// The section `[representation]`: features of the pool, from self-supervised training, from what needs no training, or from a
/// file; also what `[initial]` and `[query]` may have of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Representation {
    /// A preset of training (rotation, jigsaw, npid, moco-v1, moco-v2, simclr), or pixels, random-network, handcrafted, file.
    pub method: String,
    /// For which images a preset's settings are: `cifar` or `imagenet`; absent, by the size of the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<Published>,
    /// Passes over the pool; absent, as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u32>,
    /// Images a step; absent, as published. The learning rate goes along in proportion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u32>,
    /// The network; absent, the backbone of `[model]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<String>,
    /// Its channels after the first convolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// The seed; absent, the run's. One seed for all runs of a comparison trains one network for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Principal components of the pixels; absent, 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<u32>,
    /// The file of features, relative to the config's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// Methods of [`Representation`] beside the presets of training, each with the keys that belong to it.
pub const UNTRAINED: [(&str, &[&str]); 4] = [
    ("pixels", &["components"]),
    ("random-network", &["backbone", "width", "seed"]),
    ("handcrafted", &[]),
    ("file", &["path"]),
];

/// For which size of images published settings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Published {
    /// About 32 x 32.
    Cifar,
    /// About 224 x 224.
    ImageNet,
}

/// From this side on images are like ImageNet's.
const LARGE_SIDE: usize = 96;

impl Representation {
    /// Whether a preset of training is meant.
    pub fn is_trained(&self) -> bool {
        UNTRAINED.iter().all(|(method, _)| *method != self.method)
    }

    /// Whether every key that is there belongs to the method, and all that it needs is there; as `section`.
    fn check(&self, section: &str, model: &engine::ModelSettings) -> Result<(), (String, String)> {
        let at = |(key, rule): (String, String)| (key.replacen("representation", section, 1), rule);
        let Some((_, own)) = UNTRAINED.iter().find(|(method, _)| *method == self.method) else {
            for (key, there) in [("components", self.components.is_some()), ("path", self.path.is_some())] {
                if there {
                    return Err((format!("{section}.{key}"), format!("does not belong to `{}`", self.method)));
                }
            }
            return self.spec(0, model).map(drop).map_err(at);
        };
        let keys = [
            ("setting", self.setting.is_some()),
            ("epochs", self.epochs.is_some()),
            ("batch_size", self.batch_size.is_some()),
            ("backbone", self.backbone.is_some()),
            ("width", self.width.is_some()),
            ("seed", self.seed.is_some()),
            ("components", self.components.is_some()),
            ("path", self.path.is_some()),
        ];
        if let Some((key, _)) = keys.iter().find(|(key, there)| *there && !own.contains(key)) {
            return Err((format!("{section}.{key}"), format!("does not belong to `{}`", self.method)));
        }
        if self.components == Some(0) {
            return Err((format!("{section}.components"), "must be at least 1".to_owned()));
        }
        if self.method == "file" && self.path.is_none() {
            let rule = "is missing: the file of features, .npy, .npz, .safetensors or .parquet";
            return Err((format!("{section}.path"), rule.to_owned()));
        }
        self.network(model).map(drop).map_err(at)
    }

    /// The training, for images whose shorter side has `side` pixels, beside this task model.
    ///
    /// Errs with the key and the sentence.
    pub fn spec(&self, side: usize, model: &engine::ModelSettings) -> Result<TrainSpec, (String, String)> {
        let setting = match self.setting {
            Some(Published::ImageNet) => Setting::ImageNet,
            None if side >= LARGE_SIDE => Setting::ImageNet,
            _ => Setting::Cifar,
        };
        let at = |key: &str, message: String| (format!("representation.{key}"), message);
        let mut spec = TrainSpec::preset(&self.method, setting).map_err(|_| {
            let known: Vec<&str> = PRESETS.into_iter().chain(UNTRAINED.map(|(method, _)| method)).collect();
            let hint = nearest(&self.method, known.iter().copied());
            let hint = hint.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            at("method", format!("must be one of {}{hint}", known.join(", ")))
        })?;
        if let Some(batch_size) = self.batch_size {
            spec = spec.with_batch_size(batch_size);
        }
        if let Some(epochs) = self.epochs {
            spec = spec.with_epochs(epochs);
        }
        spec.backbone = Some(self.network(model)?);
        spec.seed = self.seed;
        spec.check().map_err(|error| ("representation".to_owned(), error.message))?;
        Ok(spec)
    }

    /// The network under the head: that of the task, as far as this section says nothing else.
    fn network(&self, model: &engine::ModelSettings) -> Result<Backbone, (String, String)> {
        let in_section = |(key, rule): (String, String)| (key.replace("model.", "representation."), rule);
        network_of(&self.model(model)).map_err(in_section)
    }

    /// The settings of that network.
    pub fn model(&self, model: &engine::ModelSettings) -> engine::ModelSettings {
        let mut network = model.clone();
        if let Some(backbone) = &self.backbone {
            (network.backbone, network.width) = (backbone.clone(), None);
        }
        network.width = self.width.map(|width| width as usize).or(network.width);
        network
    }
}

/// The network of these settings.
fn network_of(model: &engine::ModelSettings) -> Result<Backbone, (String, String)> {
    let width = model.resolved_width().map_err(of_section)?;
    Ok(Backbone { name: model.backbone.clone(), width: Some(width as u32) })
}

/// The section `[initial]`: who chooses the initial set, and how many images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initial {
    /// `name`, `publisher/name`, `name@^1.2`, or a script `file.py` relative to the config's folder.
    pub strategy: String,
    /// Images in the initial set.
    pub size: usize,
    /// So many unlabelled images, drawn anew in each round, are all that the strategy may choose from; absent, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsample: Option<usize>,
    /// Chance instead of the best scores; absent, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stochastic: Option<Stochastic>,
    /// The strategy's own parameters.
    #[serde(default)]
    pub params: serde_json::Map<String, serde_json::Value>,
    /// Features of the pool for this strategy; absent, those of the section `[representation]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub representation: Option<Representation>,
    /// Another strategy that chooses a share; absent, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<Mix>,
}

/// The section `[query]`: who chooses afterwards, how many images a round, and for how many rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// `name`, `publisher/name`, `name@^1.2`, or a script `file.py` relative to the config's folder.
    pub strategy: String,
    /// Images a round.
    pub size: usize,
    /// Rounds after round 0.
    pub rounds: u32,
    /// So many unlabelled images, drawn anew in each round, are all that the strategy may choose from; absent, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsample: Option<usize>,
    /// Chance instead of the best scores; absent, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stochastic: Option<Stochastic>,
    /// Whether every class that the model predicts gets the same share of a round, the best of each first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub balance: bool,
    /// The strategy's own parameters.
    #[serde(default)]
    pub params: serde_json::Map<String, serde_json::Value>,
    /// Features of the pool for this strategy; absent, those of the section `[representation]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub representation: Option<Representation>,
    /// Another strategy that chooses a share; absent, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<Mix>,
}

/// A second strategy, which chooses a share of the images, among those that the first has left. What else the section says holds
/// for both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// Named as the first.
    pub strategy: String,
    /// Its share of each choice, between 0 and 1; rounded to whole images, a half away from 0.
    pub weight: f64,
    /// Its own parameters.
    #[serde(default)]
    pub params: serde_json::Map<String, serde_json::Value>,
}

/// Where a config names a strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// What the strategy is asked for.
    pub role: Role,
    /// Whether it is the one mixed in.
    pub mixed: bool,
}

impl Seat {
    /// The section that names it, such as `query.mix`.
    pub fn section(self) -> String {
        format!("{}{}", self.role.name(), if self.mixed { ".mix" } else { "" })
    }
}

/// What is done around a strategy, whichever it is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Around {
    /// How many unlabelled images it may choose from.
    pub subsample: Option<usize>,
    /// Whether every predicted class gets the same share.
    pub balance: bool,
    /// Chance instead of the best scores.
    pub stochastic: Option<Stochastic>,
}

impl Initial {
    /// What is done around its strategy.
    pub fn around(&self) -> Around {
        Around { subsample: self.subsample, balance: false, stochastic: self.stochastic }
    }
}

impl Query {
    /// What is done around its strategy.
    pub fn around(&self) -> Around {
        Around { subsample: self.subsample, balance: self.balance, stochastic: self.stochastic }
    }
}

/// How likely an image is to be chosen, from its score or its rank (Kirsch et al. 2023, Stochastic Batch Acquisition): drawn one
/// by one without replacement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Stochastic {
    /// In proportion to `score^beta`; a score of 0 or less comes last.
    Power {
        /// How strongly the score counts.
        #[serde(default = "defaults::beta")]
        beta: f64,
    },
    /// In proportion to `exp(beta * score)`.
    Softmax {
        /// How strongly the score counts.
        #[serde(default = "defaults::beta")]
        beta: f64,
    },
    /// In proportion to `rank^-beta`, the best at rank 1.
    Softrank {
        /// How strongly the rank counts.
        #[serde(default = "defaults::beta")]
        beta: f64,
    },
}

impl Stochastic {
    /// How strongly score or rank counts.
    pub fn beta(self) -> f64 {
        match self {
            Stochastic::Power { beta } | Stochastic::Softmax { beta } | Stochastic::Softrank { beta } => beta,
        }
    }
}

impl Around {
    fn check(&self, section: &str, size: usize) -> Result<(), (String, String)> {
        let wrong = |key: &str, rule: String| Err((format!("{section}.{key}"), rule));
        if self.subsample.is_some_and(|subsample| subsample < size) {
            return wrong("subsample", format!("must be at least `{section}.size`, which is {size}"));
        }
        if self.stochastic.is_some_and(|how| !(how.beta() > 0.0 && how.beta().is_finite())) {
            return wrong("stochastic.beta", "must be a number above 0".to_owned());
        }
        if self.balance && self.stochastic.is_some() {
            return wrong("balance", "takes the best of each class, and does not go with `stochastic`".to_owned());
        }
        Ok(())
    }
}

/// The section `[plugins]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    /// Folders searched before all others, relative to the config's folder.
    pub path: Vec<PathBuf>,
    /// Where strategies run.
    pub isolation: Isolation,
    /// How well a worker process must be shut in.
    pub sandbox: Sandbox,
    /// Seconds that a strategy may take for one call in a worker process; the host's own work does not count.
    pub timeout: f64,
    /// GiB that a worker process may take, and that the tensors of one call may.
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
}

impl Config {
    /// Read a config file and apply the overrides in order.
    pub fn read(file: &Path, overrides: &[Override]) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError::unreadable(file, &error))?;
        Config::parse(file, &text, overrides)
    }

    /// The same for the text of a file that stands, or would stand, there.
    pub fn parse(file: &Path, text: &str, overrides: &[Override]) -> Result<Config, ConfigError> {
        Config::parse_in(file.parent().unwrap_or(Path::new(".")), file, text, overrides)
    }

    /// The same with a folder of its own at which relative paths begin.
    pub fn parse_in(folder: &Path, file: &Path, text: &str, overrides: &[Override]) -> Result<Config, ConfigError> {
        let mut config = overrides::parse(file, text, overrides)?;
        config.check().map_err(|(key, message)| ConfigError::at_key(file, text, overrides, key, message))?;
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
        let own = [&mut config.initial.representation, &mut config.query.representation];
        for representation in own.into_iter().chain([&mut config.representation]).flatten() {
            if let Some(path) = &mut representation.path {
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

    /// Where it names strategies: those of the initial set first, one that is mixed in behind the one it is mixed with.
    pub fn seats(&self) -> Vec<Seat> {
        let mut seats = Vec::new();
        for (role, mix) in [(Role::Initial, &self.initial.mix), (Role::Query, &self.query.mix)] {
            seats.push(Seat { role, mixed: false });
            seats.extend(mix.iter().map(|_| Seat { role, mixed: true }));
        }
        seats
    }

    /// The name and the parameters of the strategy in a seat.
    ///
    /// # Panics
    ///
    /// If the config has no such seat.
    pub fn strategy(&mut self, seat: Seat) -> (&mut String, &mut serde_json::Map<String, serde_json::Value>) {
        let (strategy, params, mix) = match seat.role {
            Role::Initial => (&mut self.initial.strategy, &mut self.initial.params, &mut self.initial.mix),
            Role::Query => (&mut self.query.strategy, &mut self.query.params, &mut self.query.mix),
        };
        match mix {
            Some(mix) if seat.mixed => (&mut mix.strategy, &mut mix.params),
            None if seat.mixed => panic!("the config has no section `{}`", seat.section()),
            _ => (strategy, params),
        }
    }

    /// The config as it is stored with a run: every default written out.
    pub fn to_toml(&self) -> String {
        let mut resolved = self.clone();
        resolved.dataset = resolved.dataset.with_defaults();
        resolved.training = resolved.training.with_defaults();
        toml::to_string(&resolved).expect("a config is made of what TOML can express")
    }

    /// Read a config written by [`Config::to_toml`].
    pub fn read_resolved(file: &Path) -> Result<Config, ConfigError> {
        Config::read(file, &[])
    }

    /// What the types alone do not say; the error is the key and the sentence.
    fn check(&self) -> Result<(), (String, String)> {
        let fits = |key: &str, fits: bool, rule: &str| {
            if fits { Ok(()) } else { Err((key.to_owned(), format!("must be {rule}"))) }
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        fits(
            "name",
            !self.name.is_empty() && self.name.chars().all(is_name),
            "made of letters, digits, `.`, `_` and `-`",
        )?;
        fits("initial.size", self.initial.size > 0, "at least 1")?;
        fits("query.size", self.query.size > 0, "at least 1")?;
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
        self.initial.around().check("initial", self.initial.size)?;
        self.query.around().check("query", self.query.size)?;
        for (section, mix) in [("initial", &self.initial.mix), ("query", &self.query.mix)] {
            let part = mix.as_ref().is_none_or(|mix| mix.weight > 0.0 && mix.weight < 1.0);
            fits(&format!("{section}.mix.weight"), part, "above 0 and below 1")?;
        }
        self.training.validate().map_err(of_section)?;
        self.check_start()
    }

    /// Whether there is a representation where the task model begins with one, and of which network it is.
    fn check_start(&self) -> Result<(), (String, String)> {
        if self.model.is_script() {
            let rule = "is frozen: it needs `training.learner = \"linear-probe\"`".to_owned();
            return if self.training.learner.is_probe() { Ok(()) } else { Err(("model.backbone".to_owned(), rule)) };
        }
        let key = match (&self.training.learner, &self.model.init) {
            (engine::Learner::LinearProbe(_), engine::Init::File(_)) => {
                let rule = "must be left out: a linear probe stands on `[representation]`";
                return Err(("model.init".to_owned(), rule.to_owned()));
            }
            (engine::Learner::LinearProbe(_), _) => "training.learner",
            (_, engine::Init::Representation) => "model.init",
            _ => return Ok(()),
        };
        let Some(representation) = &self.representation else {
            let rule = "needs a section `[representation]`, such as `method = \"moco-v2\"`";
            return Err((key.to_owned(), rule.to_owned()));
        };
        if !representation.is_trained() {
            let rule = format!("needs a `[representation]` that is trained, and `{}` is not", representation.method);
            return Err((key.to_owned(), rule));
        }
        let (ours, theirs) = (network_of(&self.model)?, representation.network(&self.model)?);
        if ours == theirs {
            return Ok(());
        }
        let rule = "must name the network of `[model]`, which begins with it";
        Err(("representation".to_owned(), rule.to_owned()))
    }
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
