//! One selection for a folder of images, apart from the loop: labels are those that people gave, and nothing is measured.

use super::cross_validation::{CrossValidation, probabilities};
use super::muted::Muted;
use super::strategy::Strategy;
use super::taught::Taught;
use super::{AtKey, Estimate, Options, SessionError, outside, pool_images, preflight, record, selector, services};
use crate::config::{Config, Seat};
use crate::data::Dataset;
use crate::experiment::{Ask, Failure, RunDir, RunError, Selector, seed, write_atomically};
use crate::hash::sha256;
use crate::operations::{self, Representation, Services, write_map};
use crate::plugin::lock::{Lock, LockedPlugin};
use coldstart_plugin_api::ops::{MapArgs, TRAIN_1};
use coldstart_plugin_api::{Code, Role, Selection};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Images that a training may look at, every epoch counted, where nobody says how long it takes: minutes on two cores.
const IMAGE_PASSES: u64 = 60_000;
/// Fewer epochs than these teach nothing.
const FEWEST_EPOCHS: u64 = 20;

/// What near copies are told by where the config names no features.
const NO_TRAINING: Representation = Representation::Handcrafted;

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
    /// What progress is told to.
    meter: Arc<Muted>,
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
    /// Ids of the labelled images that were drawn by chance, ascending: from those it can be told what a model is worth.
    pub drawn: &'a [u64],
    /// How many images are to be labelled next, by whomever they are chosen.
    pub more: usize,
    /// Whether the model says what all images are, and what that is worth, once labels tell two classes apart.
    pub predicts: bool,
    /// How close images must be to be told as near copies; see [`operations::near_pairs`]. None are looked for without it.
    pub near: Option<f64>,
}

/// What came of it.
pub struct Chosen {
    /// The images, the first the most wanted.
    pub selection: Selection,
    /// What the strategies want to be told the next time; empty if nothing.
    pub state: Vec<u8>,
    /// What the model says of all images, if it was asked to.
    pub predicted: Option<Predicted>,
    /// Images that are nearly the same, if they were looked for.
    pub near: Option<NearCopies>,
}

/// What a model says of the pool.
pub struct Predicted {
    /// A row of probabilities for each image in the order of the pool, n x classes.
    pub probs_nc: Vec<f32>,
    /// What that is worth; none with too few labels.
    pub estimate: Option<Estimate>,
}

/// Pairs of images that are nearly the same: ids, and how close they are as a share of what is usual.
pub type NearCopies = Vec<([u64; 2], f64)>;

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
    ///
    /// `predicts` says whether the model is asked even if no strategy asks it.
    pub fn new(
        mut config: Config,
        role: Role,
        predicts: bool,
        options: &Options,
        at_key: AtKey<'_>,
    ) -> Result<Found, SessionError> {
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
        let asked = role == Role::Query && (predicts || config.query.balance || strategies.iter().any(asks_model));
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
        let meter = Arc::new(Muted::new(options.meter.clone()));
        let options = &Options { meter: meter.clone(), ..options.clone() };
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
        Ok(Chooser { config, role, strategies, services, learner, locked_learner, meter })
    }
}

impl Chooser {
    /// The config, every default written out.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Name and hash of each strategy that chooses; the hash of one that composes others is that of all their hashes.
    pub fn strategies(&self) -> Vec<(String, String)> {
        self.strategies.iter().map(|strategy| (strategy.manifest.name.clone(), hash_of(strategy))).collect()
    }

    /// Has the images chosen, after a training of the task model where somebody asks it, and leaves in `folder` the lock of the
    /// strategies and what they put there; a map of the images in any case.
    pub fn choose(mut self, question: &Question<'_>, folder: &Path) -> Result<Chosen, SessionError> {
        let Question { round, labelled, unlabelled, state, near, .. } = *question;
        let dir = RunDir::create(folder)?;
        let mut selector = selector(self.role, &self.config, &self.strategies, &self.services, false)?;
        selector.record_in(&dir);
        let predicted = self.learn(question)?;
        let cancelled = self.services.cancelled.clone();
        let failed = |source: Failure| of_step(round, "selection", source, &cancelled);
        if !state.is_empty() {
            selector.load(state).map_err(failed)?;
        }
        let ask = Ask { round, budget: self.budget(), unlabelled, labelled, prequential: &[] };
        let selected = selector.select(&ask).map_err(failed)?;
        let state = selector.save().map_err(failed)?;
        let strategies = self.strategies.iter().flat_map(|strategy| strategy.with_components());
        let strategies = strategies.map(|strategy| strategy.locked.clone());
        let lock = Lock::new(strategies.chain(self.locked_learner.clone()).collect());
        write_atomically(&dir.path("plugins.lock"), lock.to_toml().as_bytes())?;
        self.draw_map(&dir, round, labelled)?;
        let near = near.map(|share| self.near_copies(share)).transpose()?;
        Ok(Chosen { selection: selected.selection, state, predicted, near })
    }

    /// Trains the task model if a strategy asks it, or it is to predict; then it says what all images are.
    ///
    /// What that is worth is told first, as it takes trainings of its own: the model of all labels has to be the last one.
    fn learn(&mut self, question: &Question<'_>) -> Result<Option<Predicted>, SessionError> {
        let Question { round, predicts, .. } = *question;
        if !self.has_model() || !(predicts || self.asks_model()) {
            return Ok(None);
        }
        let cancelled = self.services.cancelled.clone();
        let cancelled = &cancelled;
        let failed = |step| move |source: Failure| of_step(round, step, source, cancelled);
        let (rows, drawn) = (self.rows_of(question.labelled), self.rows_of(question.drawn));
        let estimate = match predicts {
            true => self.estimate(round, (&rows, &drawn), question.more),
            false => Ok(None),
        };
        let estimate = estimate.map_err(failed("cross-validation"))?;
        let training_seed = seed(self.config.seed, round, "training");
        let trained = self.learner.as_learner().train(round, &rows, training_seed, false);
        trained.map_err(failed("training"))?;
        if !predicts {
            return Ok(None);
        }
        let all: Vec<usize> = (0..self.services.data.pool.len()).collect();
        let probs_nc = probabilities(&self.services, &all).map_err(failed("prediction"))?;
        Ok(Some(Predicted { probs_nc, estimate }))
    }

    /// The rows of these images in the pool.
    fn rows_of(&self, ids: &[u64]) -> Vec<usize> {
        let pool = &self.services.data.pool;
        ids.iter().filter_map(|id| pool.ids.binary_search(id).ok()).collect()
    }

    /// How many images are to be chosen.
    fn budget(&self) -> usize {
        match self.role {
            Role::Initial => self.config.initial.least(self.config.query.size),
            _ => self.config.query.size,
        }
    }

    /// Whether there are classes that a model can tell apart.
    fn has_model(&self) -> bool {
        self.role == Role::Query && self.services.data.classes.len() > 1
    }

    /// Whether a strategy, or what is done around it, asks the task model.
    fn asks_model(&self) -> bool {
        self.config.query.balance || self.strategies.iter().any(|strategy| asks_model(strategy))
    }

    /// What the labels of the images at these rows, some of which were drawn, say of a model of them, and of the labels to come.
    fn estimate(
        &mut self,
        round: u32,
        (rows, drawn): (&[usize], &[usize]),
        more: usize,
    ) -> Result<Option<Estimate>, Failure> {
        let seed = self.config.seed;
        let is_fast = self.config.training.learner.is_probe();
        let (services, meter) = (self.services.clone(), self.meter.clone());
        let learner = self.learner.as_learner();
        let mut validation = CrossValidation { learner, services: &services, seed, round, is_fast, meter: &meter };
        validation.estimate(rows, drawn, more)
    }

    /// Images that are nearly the same, by the features of the config.
    fn near_copies(&self, share: f64) -> Result<NearCopies, SessionError> {
        let features = self.services.representation.as_ref().unwrap_or(&NO_TRAINING);
        let pairs = operations::near_pairs(&self.services, features, share).map_err(of_operation)?;
        let ids = &self.services.data.pool.ids;
        Ok(pairs.into_iter().map(|pair| (pair.images.map(|position| ids[position]), pair.share)).collect())
    }

    /// Draws the pool in the plane, unless a strategy has put a map of its own.
    fn draw_map(&self, dir: &RunDir, round: u32, labelled: &[u64]) -> Result<(), SessionError> {
        let folder = dir.artifacts(round);
        let drawn = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        if drawn.into_iter().any(|file| file.file_name().to_string_lossy().ends_with(".map.json")) {
            return Ok(());
        }
        // A training only for the map would be too much.
        let features = self.services.representation.as_ref();
        let features = features.filter(|features| !matches!(features, Representation::Trained(_)));
        let places = operations::plane(&self.services, features).map_err(of_operation)?;
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

/// What a step failed with; while the user is stopping the program, that is the stop.
fn of_step(round: u32, step: &'static str, source: Failure, cancelled: &AtomicBool) -> SessionError {
    match cancelled.load(Ordering::Relaxed) {
        true => SessionError::Run(RunError::Cancelled),
        false => SessionError::Run(RunError::Step { round, step, source }),
    }
}

fn of_operation(error: coldstart_plugin_api::Error) -> SessionError {
    match error.code {
        Code::CANCELLED => SessionError::Run(RunError::Cancelled),
        _ => SessionError::Operation(error.message),
    }
}

/// Whether a strategy cannot do without predictions.
fn asks_model(strategy: &Strategy) -> bool {
    strategy.with_components().any(predicts)
}

fn predicts(strategy: &Strategy) -> bool {
    strategy.manifest.needs.iter().any(|need| need.starts_with(PREDICTIONS))
}

/// What tells a strategy from any other that could not go on from its state.
fn hash_of(strategy: &Strategy) -> String {
    if strategy.components.is_empty() {
        return strategy.locked.sha256.clone();
    }
    let hashes: Vec<&str> = strategy.with_components().map(|part| part.locked.sha256.as_str()).collect();
    sha256(hashes.join(" ").as_bytes())
}

/// A single class leaves a model nothing to learn. A strategy that has its own network trained may ask that one.
fn check_classes(classes: &[String], strategies: &[Strategy]) -> Result<(), SessionError> {
    let trains = |strategy: &Strategy| strategy.manifest.needs.iter().any(|need| need == TRAIN_1.0);
    let all = || strategies.iter().flat_map(Strategy::with_components);
    let lost = all().find(|strategy| predicts(strategy) && !trains(strategy));
    match (classes, lost.filter(|strategy| strategy.seat.role == Role::Query)) {
        ([class], Some(strategy)) => {
            Err(SessionError::OneClass { class: class.clone(), strategy: strategy.manifest.name.clone() })
        }
        _ => Ok(()),
    }
}
