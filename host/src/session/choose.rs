//! One selection for a folder of images, apart from the loop: labels are those that people gave, and nothing is measured.

use super::strategy::Strategy;
use super::taught::Taught;
use super::{AtKey, Options, SessionError, outside, pool_images, preflight, record, selector, services};
use crate::config::{Config, Seat};
use crate::data::Dataset;
use crate::experiment::{Ask, Failure, RunDir, RunError, Selector, seed, write_atomically};
use crate::operations::{self, Representation, Services, write_map};
use crate::plugin::lock::{Lock, LockedPlugin};
use coldstart_plugin_api::ops::{MapArgs, TRAIN_1};
use coldstart_plugin_api::{Code, Role, Selection};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Images that a training may look at, every epoch counted, where nobody says how long it takes: minutes on two cores.
const IMAGE_PASSES: u64 = 60_000;
/// Fewer epochs than these teach nothing.
const FEWEST_EPOCHS: u64 = 20;

/// The operations that a trained task model answers begin so.
const PREDICTIONS: &str = "model.predict/";

/// Everything that takes part in a selection, found and checked, before anything is written.
pub struct Chooser {
    config: Config,
    role: Role,
    strategies: Vec<Arc<Strategy>>,
    services: Arc<Services>,
    learner: Taught,
    /// What the lock says of a learner that is not the engine's.
    locked_learner: Option<LockedPlugin>,
}

/// What a selection was asked.
pub struct Question<'a> {
    /// How many selections there were before.
    pub round: u32,
    /// Ids of the labelled images, ascending.
    pub labelled: &'a [u64],
    /// Ids of the images to choose from, ascending.
    pub unlabelled: &'a [u64],
    /// State of the same strategies after they chose before; empty if there is none.
    pub state: &'a [u8],
}

/// What came of it.
pub struct Chosen {
    /// The images, the first the most wanted.
    pub selection: Selection,
    /// What the strategies want to be told the next time; empty if nothing.
    pub state: Vec<u8>,
}

/// The strategies of a selection, found and checked before the images are read.
pub struct Found {
    config: Config,
    role: Role,
    strategies: Vec<Strategy>,
    /// For each whether the config says for how many epochs it learns.
    say_epochs: Vec<bool>,
    /// The process of a learner that is not the engine's.
    outside: Option<outside::Begun>,
}

impl Found {
    /// Finds and loads the strategies of `role`. Errs with whatever can be known to be wrong without the images.
    pub fn new(mut config: Config, role: Role, options: &Options, at_key: AtKey<'_>) -> Result<Found, SessionError> {
        if config.plugins.oracles {
            let message = "lets in strategies that read every label, and here nobody has them".to_owned();
            return Err(SessionError::Config(at_key("plugins.oracles", message)));
        }
        let seats: Vec<Seat> = config.seats().into_iter().filter(|seat| seat.role == role).collect();
        let say_epochs = seats.into_iter().map(|seat| config.strategy(seat).1.contains_key("epochs")).collect();
        let strategies = preflight::find(&mut config, Some(role), options, at_key).map_err(SessionError::several)?;
        let device = preflight::check_device(options);
        let settings = preflight::of_settings(&config, &strategies, at_key);
        SessionError::of(device.into_iter().chain(settings).collect())?;
        // Where nobody asks the model, nothing of the user's own has to run.
        let asked = role == Role::Query && (config.query.balance || strategies.iter().any(asks_model));
        let outside = match asked {
            true => outside::begin(&config, &strategies, options, at_key).map_err(SessionError::several)?,
            false => None,
        };
        if let Some(begun) = &outside {
            config.training.params.clone_from(&begun.params);
        }
        Ok(Found { config, role, strategies, say_epochs, outside })
    }

    /// Puts the images on the device. Of pretexts whose length the config leaves open, the epochs are cut to what takes minutes.
    ///
    /// `data` has the labels that people gave. Errs with whatever can be known to be wrong before anything is trained.
    pub fn with(self, data: Dataset, options: &Options, at_key: AtKey<'_>) -> Result<Chooser, SessionError> {
        let Found { mut config, role, mut strategies, say_epochs, outside } = self;
        let epochs = FEWEST_EPOCHS.max(IMAGE_PASSES / data.pool.len().max(1) as u64);
        for (strategy, _) in strategies.iter_mut().zip(say_epochs).filter(|(_, said)| !said) {
            if let Some(published) = strategy.shorten(&mut config, epochs) {
                let name = &strategy.manifest.name;
                let line = format!("`{name}` learns for {epochs} epochs instead of {published}: `-s params.epochs=N`");
                options.meter.step(&line);
            }
        }
        check_classes(&data.classes, &strategies)?;
        if let Some(representation) = config.representation.as_mut().filter(|section| section.is_trained()) {
            representation.epochs.get_or_insert(epochs as u32);
        }
        let data = Arc::new(data);
        SessionError::of(preflight::of_features(&config, &data, at_key))?;
        let device = options.open_device(&config, data.shape)?;
        if let Some(error) = preflight::of_model(&config, &data, &device, at_key) {
            return Err(error);
        }
        let pool = pool_images(&config, &data, &device)?;
        let pins = record::pin(&config)?;
        let services = Arc::new(services(&config, (data, pool), pins, &device, options)?);
        let locked_learner = outside.as_ref().map(outside::Begun::locked).transpose()?;
        let learner = match outside {
            // The images are where `--images` says.
            Some(begun) => Taught::outside(begun, &config, &services, &device, None)?,
            None => Taught::engine(&config, &services, &device, (None, None)),
        };
        let strategies = strategies.into_iter().map(Arc::new).collect();
        Ok(Chooser { config, role, strategies, services, learner, locked_learner })
    }
}

impl Chooser {
    /// The config, every default written out.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Name and hash of each strategy that chooses.
    pub fn strategies(&self) -> Vec<(String, String)> {
        let strategies = self.strategies.iter();
        strategies.map(|strategy| (strategy.manifest.name.clone(), strategy.locked.sha256.clone())).collect()
    }

    /// Trains the task model if a strategy asks it, has the images chosen, and leaves in `folder` the lock of the strategies and
    /// what they put there; a map of the images in any case.
    pub fn choose(mut self, question: &Question<'_>, folder: &Path) -> Result<Chosen, SessionError> {
        let Question { round, labelled, unlabelled, state } = *question;
        let dir = RunDir::create(folder)?;
        let mut selector = selector(self.role, &self.config, &self.strategies, &self.services, false)?;
        selector.record_in(&dir);
        let cancelled = self.services.cancelled.clone();
        let failed = |step: &'static str, source: Failure| match cancelled.load(Ordering::Relaxed) {
            true => SessionError::Run(RunError::Cancelled),
            false => SessionError::Run(RunError::Step { round, step, source }),
        };
        if self.asks_model() {
            let data = &self.services.data;
            let positions: Vec<usize> = labelled.iter().filter_map(|id| data.pool.ids.binary_search(id).ok()).collect();
            let trained =
                self.learner.as_learner().train(round, &positions, seed(self.config.seed, round, "training"), false);
            trained.map_err(|source| failed("training", source))?;
        }
        if !state.is_empty() {
            selector.load(state).map_err(|source| failed("selection", source))?;
        }
        let budget = match self.role {
            Role::Initial => self.config.initial.least(self.config.query.size),
            _ => self.config.query.size,
        };
        let ask = Ask { round, budget, unlabelled, labelled };
        let selected = selector.select(&ask).map_err(|source| failed("selection", source))?;
        let state = selector.save().map_err(|source| failed("selection", source))?;
        let strategies = self.strategies.iter().map(|strategy| strategy.locked.clone());
        let lock = Lock::new(strategies.chain(self.locked_learner.clone()).collect());
        write_atomically(&dir.path("plugins.lock"), lock.to_toml().as_bytes())?;
        self.draw_map(&dir, round, labelled)?;
        Ok(Chosen { selection: selected.selection, state })
    }

    /// Whether a strategy, or what is done around it, asks the task model, and there are classes to tell apart.
    fn asks_model(&self) -> bool {
        let asked = self.config.query.balance || self.strategies.iter().any(|strategy| asks_model(strategy));
        self.role == Role::Query && asked && self.services.data.classes.len() > 1
    }

    /// Draws the pool in the plane, unless a strategy has put a map of its own.
    fn draw_map(&self, dir: &RunDir, round: u32, labelled: &[u64]) -> Result<(), SessionError> {
        let folder = dir.artifacts(round);
        let drawn = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        if drawn.into_iter().any(|file| file.file_name().to_string_lossy().ends_with(".map.json")) {
            return Ok(());
        }
        let failed = |error: coldstart_plugin_api::Error| match error.code {
            Code::CANCELLED => SessionError::Run(RunError::Cancelled),
            _ => SessionError::Operation(error.message),
        };
        // A training only for the map would be too much.
        let features = self.services.representation.as_ref();
        let features = features.filter(|features| !matches!(features, Representation::Trained(_)));
        let places = operations::plane(&self.services, features).map_err(failed)?;
        let of = if features.is_some() { "features" } else { "pixels" };
        let args = MapArgs {
            name: "pool".to_owned(),
            title: format!("All images, by what differs most in their {of}"),
            x_axis: "first principal component".to_owned(),
            y_axis: "second principal component".to_owned(),
            group: "label".to_owned(),
        };
        let pool = &self.services.data.pool;
        let is_labelled = |id: &u64| labelled.binary_search(id).is_ok();
        let group = |(id, label): (&u64, &u32)| if is_labelled(id) { u64::from(*label) + 1 } else { 0 };
        let groups: Vec<u64> = pool.ids.iter().zip(&pool.labels).map(group).collect();
        let positions: Vec<usize> = (0..pool.len()).collect();
        write_map(&folder, &args, &self.services.data, &positions, &places, &groups, false)
            .map_err(|error| SessionError::Operation(format!("the map of the pool: {error}")))
    }
}

/// Whether a strategy cannot do without predictions.
fn asks_model(strategy: &Strategy) -> bool {
    strategy.manifest.needs.iter().any(|need| need.starts_with(PREDICTIONS))
}

/// A single class leaves a model nothing to learn. A strategy that has its own network trained may ask that one.
fn check_classes(classes: &[String], strategies: &[Strategy]) -> Result<(), SessionError> {
    let trains = |strategy: &Strategy| strategy.manifest.needs.iter().any(|need| need == TRAIN_1.0);
    let lost = strategies.iter().find(|strategy| asks_model(strategy) && !trains(strategy));
    match (classes, lost.filter(|strategy| strategy.seat.role == Role::Query)) {
        ([class], Some(strategy)) => {
            Err(SessionError::OneClass { class: class.clone(), strategy: strategy.manifest.name.clone() })
        }
        _ => Ok(()),
    }
}
