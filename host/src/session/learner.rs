//! The loop's learner, played by the engine.

use super::SessionError;
use super::cross_validation::predicted_classes;
use super::selector::pretext;
use super::shelf::Parts;
use crate::config::Config;
use crate::data::{self, Split};
use crate::engine::{
    self, Device, EngineError, GivenRows, ImageShape, Images, Init, Labelled, Material, Model, ModelSettings, Outputs,
    Phases,
};
use crate::experiment::{Failure, Learner, Pretext, Retried, Training, seed};
use crate::operations::{self, Frozen, Representation, Services};
use coldstart_plugin_api::Rng;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What the learning rate is multiplied by when a training diverged and is done again.
const LOWER: f64 = 0.1;

pub struct EngineLearner {
    model: ModelSettings,
    training: engine::Training,
    seed: u64,
    services: Arc<Services>,
    device: Device,
    test: Option<Images>,
    validation: Option<Images>,
    /// The network of the shared representation with its name, once something asked for it.
    network: Option<(String, Model)>,
    /// The features that a linear probe stands on where no network makes them, once something asked for them.
    given: Option<Given>,
}

/// Features of the pool and of the test part from elsewhere.
struct Given {
    /// What they are called; other features are called otherwise.
    name: String,
    pool: GivenRows,
    test: Option<GivenRows>,
}

/// A network that was trained for the learner, and how long that took.
type Trained = Option<(Pretext, Duration)>;

impl EngineLearner {
    /// A learner without a model; `test` and `validation` are the data set's parts on the device, where it has them.
    pub fn new(
        config: &Config,
        services: Arc<Services>,
        device: Device,
        test: Option<Images>,
        validation: Option<Images>,
    ) -> Self {
        let (model, training) = (config.model.clone(), config.training.clone());
        let seed = seed_of(config);
        EngineLearner { model, training, seed, services, device, test, validation, network: None, given: None }
    }

    /// All images on the device, with the pool's; none where there is no test part.
    pub fn parts(&self, pool: Images) -> Option<Parts> {
        let validation = self.validation.as_ref().map(Images::again);
        Some(Parts { pool, test: self.test.as_ref()?.again(), validation })
    }

    /// A model with random weights.
    fn random_model(&self, round: u32) -> Result<Model, EngineError> {
        let data = &self.services.data;
        let mut rng = Rng::from_seed(seed(self.seed, round, "initialisation"));
        let (shape, n_classes) = (image_shape(data.shape), data.classes.len());
        if let Some(Given { name, pool, .. }) = &self.given {
            return Model::over_features(name, pool.n_cols, (shape, n_classes), &mut rng, &self.device);
        }
        let mut model = Model::new(&self.model, shape, n_classes, &mut rng, &self.device)?;
        model.predict_in(self.training.precision);
        Ok(model)
    }

    /// Errs when the weights come from a file that does not fit: before the run has a folder, and not in its first round.
    pub fn check_weights(&self) -> Result<(), EngineError> {
        match self.model.weight_file() {
            Some(_) => self.fresh_model(0).map(drop),
            None => Ok(()),
        }
    }

    /// A model as training begins with it.
    fn fresh_model(&self, round: u32) -> Result<Model, EngineError> {
        let mut model = self.random_model(round)?;
        match (&self.model.init, &self.network) {
            (Init::File(file), None) => {
                let adopted = self.services.pins.read(&file.path, || model.adopt_file(file));
                adopted.map_err(|error| EngineError::Weights {
                    path: file.path.clone(),
                    problem: "it is not the file that the run began with".to_owned(),
                    hint: error.hint(),
                })??;
            }
            (_, Some((_, network))) => model.adopt(network)?,
            (_, None) => {}
        }
        Ok(model)
    }

    /// Has the network of the shared representation trained, or finds it, if the model begins with it.
    fn have_network(&mut self) -> Result<Trained, Failure> {
        let wanted =
            (self.training.learner.is_probe() && !self.model.is_script()) || self.model.init == Init::Representation;
        if !wanted || self.network.is_some() {
            return Ok(None);
        }
        let start = Instant::now();
        let failed = |error: coldstart_plugin_api::Error| SessionError::Operation(error.to_string());
        let spec = match &self.services.representation {
            Some(Representation::Trained(spec)) => spec,
            Some(untrained) => {
                let network = operations::untrained_network(&self.services, untrained).map_err(failed)?;
                self.network =
                    network.map(|network| (operations::name_of_features(&self.services, untrained), network));
                return Ok(None);
            }
            None => return Err("the config has no section `[representation]`".into()),
        };
        let whole_pool = operations::Items::of((0..self.services.data.pool.len()).collect());
        let (_entry, training) = operations::train(&self.services, spec, &whole_pool).map_err(failed)?;
        let network = operations::load(&self.services, &training.model).map_err(failed)?;
        self.network = Some((training.model.clone(), network));
        Ok(Some((pretext(self.training.learner.name(), training), start.elapsed())))
    }

    /// Whether the model is a probe on features that no network makes.
    fn stands_on_given(&self) -> Option<&Representation> {
        let representation = self.services.representation.as_ref()?;
        let has_network = matches!(representation, Representation::Trained(_) | Representation::RandomNetwork { .. });
        let is_alone = self.training.learner.is_probe() && !self.model.is_script();
        (is_alone && !has_network).then_some(representation)
    }

    /// Has the features that the probe stands on, if no network makes them. Call it while nobody holds the task.
    fn have_given(&mut self) -> Result<(), Failure> {
        let Some(wanted) = self.stands_on_given().filter(|_| self.given.is_none()) else { return Ok(()) };
        let failed = |error: coldstart_plugin_api::Error| SessionError::Operation(error.to_string());
        let (pool, _) = operations::of_pool(&self.services, Some(wanted)).map_err(failed)?;
        let pool = pool.given();
        let test = match &self.test {
            Some(_) => Some(operations::of_test_part(&self.services, wanted).map_err(failed)?.given()),
            None => None,
        };
        if let Some(test) = test.as_ref().filter(|test| test.n_cols != pool.n_cols) {
            let (ours, theirs) = (pool.n_cols, test.n_cols);
            let problem = format!("features of the pool have {ours} numbers, those of the test part {theirs}");
            return Err(SessionError::Operation(problem).into());
        }
        let name = operations::name_of_features(&self.services, wanted);
        self.given = Some(Given { name, pool, test });
        Ok(())
    }

    /// Has the images keep the features that the probe stands on, if no network makes them.
    fn give(&mut self, pool: &mut Images) -> Result<(), Failure> {
        let Some(Given { name, pool: of_pool, test: of_test }) = &self.given else { return Ok(()) };
        engine::give(pool, name, of_pool)?;
        if let (Some(test), Some(of_test)) = (&mut self.test, of_test) {
            engine::give(test, name, of_test)?;
        }
        Ok(())
    }

    /// Trains `model` by steps.
    fn descend(
        &self,
        model: &mut Model,
        training: &engine::Training,
        pool: &Images,
        (rows, labels): (&[usize], &[usize]),
        seed: [u8; 32],
    ) -> Result<Training, EngineError> {
        let data = &self.services.data;
        let (all, _) = all_of(&data.pool);
        let unlabelled: &[usize] = if training.learner.is_semi_supervised() { &all } else { &[] };
        let (held, held_labels) = all_of(&data.validation);
        let validation = self.validation.as_ref();
        let validation = validation.map(|images| Labelled { images, rows: &held, labels: &held_labels });
        let material = Material { labelled: Labelled { images: pool, rows, labels }, unlabelled, validation };
        let record = engine::train(model, training, material, &mut Rng::from_seed(seed), &mut |progress| {
            self.tick("training", progress.step, progress.n_steps)
        })?;
        let kept = &record.epochs[record.kept_epoch - 1];
        let (epochs, loss) = (record.epochs.len(), kept.loss);
        self.services.meter.step(&format!("trained on {} images for {epochs} epochs, loss {loss:.3}", rows.len()));
        let Phases { augmentation, forward, backward, optimizer } = record.phases;
        let phases = vec![
            ("augmentation", augmentation),
            ("forward", forward),
            ("backward", backward),
            ("optimizer", optimizer),
        ];
        Ok(Training { loss, accuracy: kept.accuracy, phases, pretexts: vec![], retried: None })
    }

    /// What the features of the frozen network are called, and which network it is: a file by its hash, a trained one by its own.
    fn frozen(&self) -> (String, String) {
        if let Some((name, _)) = &self.network {
            return (name.clone(), name.clone());
        }
        let file = self.model.weight_file();
        let pinned = self.services.pins.files().iter().find(|pinned| Some(pinned.path.as_path()) == file);
        (self.model.backbone.clone(), pinned.map(|pinned| pinned.sha256.clone()).unwrap_or_default())
    }

    /// Fits a classifier to the features of the frozen representation; of the model of the round before nothing else stays.
    fn probe(
        &mut self,
        (round, before): (u32, Option<Model>),
        pool: &mut Images,
        (rows, labels): (&[usize], &[usize]),
    ) -> Result<(Model, Training), Failure> {
        let mut model = before.map_or_else(|| self.fresh_model(round), Ok)?;
        if let Some((name, _)) = &self.network {
            model.freeze(name);
        }
        let (meter, cancelled) = (self.services.meter.clone(), self.services.cancelled.clone());
        let mut look = |progress: engine::PredictProgress| {
            meter.tick("looking at all images once", progress.n_done as u64, progress.n_images as u64);
            if cancelled.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let start = Instant::now();
        self.give(pool)?;
        if self.given.is_none() {
            let (name, identity) = self.frozen();
            let frozen = Frozen { model: &model, name: &name, identity: &identity };
            let failed = |error: coldstart_plugin_api::Error| SessionError::Operation(error.to_string());
            operations::remember(&self.services, &frozen, pool, "pool", &mut look).map_err(failed)?;
            if let Some(test) = &mut self.test {
                operations::remember(&self.services, &frozen, test, "test", &mut look).map_err(failed)?;
            }
        }
        let looking = start.elapsed();
        let fit = engine::fit(&mut model, &self.training, Labelled { images: pool, rows, labels })?;
        self.services.meter.step(&format!("fitted a linear probe to {} images, loss {:.3}", rows.len(), fit.loss));
        let phases = vec![("predict", looking)];
        Ok((model, Training { loss: fit.loss, accuracy: fit.accuracy, phases, pretexts: vec![], retried: None }))
    }

    fn tick(&self, stage: &str, done: usize, total: usize) -> ControlFlow<()> {
        self.services.meter.tick(stage, done as u64, total as u64);
        match self.services.cancelled.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

impl Learner for EngineLearner {
    fn train(&mut self, round: u32, labelled: &[usize], seed: [u8; 32], warm: bool) -> Result<Training, Failure> {
        self.have_given()?;
        let trained = self.have_network()?;
        let services = self.services.clone();
        let mut task = services.task.lock();
        let labels: Vec<usize> = labelled.iter().map(|row| services.data.pool.labels[*row] as usize).collect();
        let labelled = (labelled, &labels[..]);
        let before = task.model.take();
        let (model, mut told) = if self.training.learner.is_probe() {
            self.probe((round, before), &mut task.pool, labelled)?
        } else {
            let mut model = before.filter(|_| warm).map_or_else(|| self.fresh_model(round), Ok)?;
            let told = match self.descend(&mut model, &self.training, &task.pool, labelled, seed) {
                Err(error @ EngineError::Diverged { .. }) => {
                    let training = self.training.with_lr(LOWER * self.training.optimizer.lr());
                    let lr = training.optimizer.lr();
                    tracing::warn!("{error}; training once more with a learning rate of {lr}");
                    let retried = Some(Retried { error: error.to_string(), lr });
                    Training { retried, ..self.descend(&mut model, &training, &task.pool, labelled, seed)? }
                }
                outcome => outcome?,
            };
            (model, told)
        };
        task.model = Some(model);
        if let Some((pretext, took)) = trained {
            told.phases.push(("pretext", took));
            told.pretexts.push(pretext);
        }
        Ok(told)
    }

    fn test_probabilities(&mut self, _: u32) -> Result<Vec<f32>, Failure> {
        let task = self.services.task.lock();
        let model = task.model.as_ref().ok_or("there is no model to evaluate")?;
        let test = self.test.as_ref().ok_or("there is no test part")?;
        let rows: Vec<usize> = (0..test.n_images()).collect();
        let outputs = Outputs { probabilities: true, ..Outputs::default() };
        let predicted = engine::predict(model, test, &rows, outputs, &mut |progress| {
            self.tick("evaluating", progress.n_done, progress.n_images)
        })?;
        Ok(predicted.probs_nc.ok_or("the engine left out the probabilities")?.values)
    }

    fn predict_classes(&mut self, positions: &[usize]) -> Result<Vec<usize>, Failure> {
        predicted_classes(&self.services, positions)
    }

    fn save(&self, file: &Path) -> Result<(), Failure> {
        let task = self.services.task.lock();
        Ok(task.model.as_ref().ok_or("there is no model to store")?.save(file)?)
    }

    fn load(&mut self, file: &Path) -> Result<(), Failure> {
        self.have_given()?;
        let mut model = self.random_model(0)?;
        model.load(file)?;
        let services = self.services.clone();
        let mut task = services.task.lock();
        // A strategy may ask the model before it is trained again.
        self.give(&mut task.pool)?;
        task.model = Some(model);
        Ok(())
    }
}

/// The seed of weights and of the order of images.
pub fn seed_of(config: &Config) -> u64 {
    config.training.seed.unwrap_or(config.seed)
}

fn all_of(split: &Split) -> (Vec<usize>, Vec<usize>) {
    ((0..split.len()).collect(), split.labels.iter().map(|label| *label as usize).collect())
}

/// The engine's word for a shape.
pub fn image_shape(shape: data::Shape) -> ImageShape {
    ImageShape { height: shape.height, width: shape.width, channels: shape.channels }
}
