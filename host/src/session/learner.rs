//! The loop's learner, played by the engine.

use crate::config::Config;
use crate::data::{self, Split};
use crate::engine::{self, Device, EngineError, ImageShape, Images, Labelled, Model, ModelSettings, Outputs};
use crate::experiment::{Failure, Learner, Training, seed};
use crate::operations::Services;
use coldstart_plugin_api::Rng;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub struct EngineLearner {
    model: ModelSettings,
    training: engine::Training,
    run_seed: u64,
    services: Arc<Services>,
    device: Device,
    test: Images,
    validation: Option<Images>,
}

impl EngineLearner {
    /// A learner without a model; `test` and `validation` are the data set's parts on the device.
    pub fn new(
        config: &Config,
        services: Arc<Services>,
        device: Device,
        test: Images,
        validation: Option<Images>,
    ) -> Self {
        let (model, training) = (config.model.clone(), config.training.clone());
        EngineLearner { model, training, run_seed: config.seed, services, device, test, validation }
    }

    fn fresh_model(&self, round: u32) -> Result<Model, EngineError> {
        let data = &self.services.data;
        let mut rng = Rng::from_seed(seed(self.run_seed, round, "initialisation"));
        Model::new(&self.model, image_shape(data.shape), data.classes.len(), &mut rng, &self.device)
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
        let mut task = self.services.task.lock();
        let mut model = match task.model.take() {
            Some(model) if warm => model,
            _ => self.fresh_model(round)?,
        };
        let data = &self.services.data;
        let labels: Vec<usize> = labelled.iter().map(|row| data.pool.labels[*row] as usize).collect();
        let n = labelled.len();
        let labelled = Labelled { images: &task.pool, rows: labelled, labels: &labels };
        let (rows, labels) = all_of(&data.validation);
        let validation = self.validation.as_ref();
        let validation = validation.map(|images| Labelled { images, rows: &rows, labels: &labels });
        let record = engine::train(
            &mut model,
            &self.training,
            labelled,
            validation,
            &mut Rng::from_seed(seed),
            &mut |progress| self.tick("training", progress.step, progress.n_steps),
        )?;
        task.model = Some(model);
        let kept = &record.epochs[record.kept_epoch - 1];
        let (epochs, loss) = (record.epochs.len(), kept.loss);
        self.services.meter.step(&format!("trained on {n} images for {epochs} epochs, loss {loss:.3}"));
        Ok(Training { loss, accuracy: kept.accuracy })
    }

    fn test_probabilities(&mut self, _: u32) -> Result<Vec<f32>, Failure> {
        let task = self.services.task.lock();
        let model = task.model.as_ref().ok_or("there is no model to evaluate")?;
        let rows: Vec<usize> = (0..self.test.n_images()).collect();
        let outputs = Outputs { probabilities: true, ..Outputs::default() };
        let predicted = engine::predict(model, &self.test, &rows, outputs, &mut |progress| {
            self.tick("evaluating", progress.n_done, progress.n_images)
        })?;
        Ok(predicted.probs_nc.ok_or("the engine left out the probabilities")?.values)
    }

    fn save(&self, file: &Path) -> Result<(), Failure> {
        let task = self.services.task.lock();
        Ok(task.model.as_ref().ok_or("there is no model to store")?.save(file)?)
    }

    fn load(&mut self, file: &Path) -> Result<(), Failure> {
        let mut model = self.fresh_model(0)?;
        model.load(file)?;
        self.services.task.lock().model = Some(model);
        Ok(())
    }
}

fn all_of(split: &Split) -> (Vec<usize>, Vec<usize>) {
    ((0..split.len()).collect(), split.labels.iter().map(|label| *label as usize).collect())
}

/// The engine's word for a shape.
pub fn image_shape(shape: data::Shape) -> ImageShape {
    ImageShape { height: shape.height, width: shape.width, channels: shape.channels }
}
