//! Trainings as data, from the cache or from the engine, and what their networks see.

use super::cache::Entry;
use super::{Services, TaskState};
use crate::engine::{self, EngineError, Matrix, Model, ModelSettings, PretextJob, Targets};
use crate::hash::hex;
use coldstart_plugin_api::training::{Backbone, Target, TrainSpec};
use coldstart_plugin_api::{Code, Error, Result, wire};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use std::time::Instant;

const WEIGHTS: &str = "model.safetensors";

/// Which images, by pool position, and what is to be told of them.
pub struct Items {
    /// Pool positions, each once.
    pub positions: Vec<usize>,
    /// Classes that the caller or the labels give.
    pub classes: Option<(Vec<usize>, usize)>,
    /// Values that the caller gives.
    pub values: Option<Matrix>,
}

impl Items {
    /// These images; the spec knows what to tell of them.
    pub fn of(positions: Vec<usize>) -> Items {
        Items { positions, classes: None, values: None }
    }
}

/// What is known of a trained network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// How it was trained; the backbone is written out.
    pub spec: TrainSpec,
    /// The seed that was used.
    pub seed: u64,
    /// How many images it was trained on.
    pub images: usize,
    /// How many numbers its head puts out.
    pub n_outputs: usize,
    /// Length and number of rows of each record.
    pub records: Vec<(usize, usize)>,
    /// The mean loss of the last epoch.
    pub loss: f64,
    /// The share of targets told right in the last epoch.
    pub accuracy: Option<f64>,
    /// How long the training took.
    pub seconds: f64,
}

/// What a run's journal says of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// The hash that names the network.
    pub model: String,
    /// The spec's name.
    pub name: String,
    /// Whether it came from the cache.
    pub cached: bool,
    /// Epochs.
    pub epochs: u32,
    /// The mean loss of the last epoch.
    pub loss: f64,
    /// The share of targets told right.
    pub accuracy: Option<f64>,
    /// How long it took to be had.
    pub seconds: f64,
}

/// Train as `spec` says on `items`, or find it in the cache.
pub fn train(services: &Services, spec: &TrainSpec, items: &Items) -> Result<(Entry<About>, Training)> {
    let start = Instant::now();
    spec.check()?;
    check_size(services, spec, items)?;
    let (spec, model) = resolved(services, spec)?;
    let seed = spec.seed.unwrap_or(services.run_seed);
    let key = key(services, &spec, seed, items);
    let name = spec.name.clone();
    let task = services.task.lock();
    let waiting = || match services.goes_on() {
        false => Err(Error::new(Code::CANCELLED, "cancelled")),
        true => {
            services.meter.tick("waiting for another process", 0, 1);
            Ok(())
        }
    };
    let made = services.cache.entry((&key, &name), &waiting, |folder, checkpoint| {
        let job = Work { services, spec: &spec, model: &model, seed, items };
        job.done(&task, folder, checkpoint)
    });
    let entry: Entry<About> = made?;
    let About { loss, accuracy, .. } = entry.about;
    let (cached, seconds) = (entry.cached, start.elapsed().as_secs_f64());
    let how = if cached { "found" } else { "trained" };
    let right = accuracy.map(|accuracy| format!(", {:.1} % right", 100.0 * accuracy)).unwrap_or_default();
    services.meter.step(&format!("{how} `{name}` ({} epochs), loss {loss:.3}{right}", spec.epochs));
    let training = Training { model: key, name, cached, epochs: spec.epochs, loss, accuracy, seconds };
    Ok((entry, training))
}

/// Errs when what a training keeps, or what one of its steps looks at, takes more memory than tensors may.
fn check_size(services: &Services, spec: &TrainSpec, items: &Items) -> Result<()> {
    let (n, in_step) = (items.positions.len(), items.positions.len().min(spec.batch_size as usize));
    let n_kept = spec.record.len().saturating_mul(spec.epochs as usize);
    services.check_size(n, n_kept.saturating_mul(4), || format!("{n_kept} records of {n} images"))?;
    let n_choices = match spec.target {
        Target::Applied { op, every: true } => spec.views[op as usize].n_choices().unwrap_or(1),
        _ => 1,
    };
    let n_views = n_choices.saturating_mul(spec.objective.n_views());
    let bytes = n_views.saturating_mul(4 * services.data.shape.bytes());
    services.check_size(in_step, bytes, || format!("{n_views} views of each of the {in_step} images of a step"))
}

/// The numbers that a training recorded: for each record a row for each epoch, a column for each image.
pub fn records(entry: &Entry<About>) -> Result<Vec<Matrix>> {
    let read = |(i, &(n_cols, n_rows)): (usize, &(usize, usize))| {
        let path = entry.folder.join(record_file(i));
        let bytes = fs::read(&path).map_err(|error| host_error(format!("{}: {error}", path.display())))?;
        let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok(Matrix { values, n_rows, n_cols })
    };
    entry.about.records.iter().enumerate().map(read).collect()
}

/// The trained network of that name, ready to be asked.
pub fn load(services: &Services, model: &str) -> Result<Model> {
    if !model.chars().all(|c| c.is_ascii_hexdigit()) || model.len() != 64 {
        return Err(Error::new(Code::BAD_PARAMS, format!("`{model}` is no name of a trained network")));
    }
    let entry: Entry<About> = match services.cache.open(model) {
        Ok(Some(entry)) => entry,
        Ok(None) => return Err(Error::new(Code::BAD_PARAMS, format!("there is no network `{model}` in the cache"))),
        Err(problem) => return Err(host_error(format!("the network `{model}` is damaged: {problem}"))),
    };
    let about = &entry.about;
    let (_, settings) = resolved(services, &about.spec)?;
    let task = services.task.lock();
    let head = engine::head_of(&about.spec, about.n_outputs);
    let mut rng = coldstart_plugin_api::Rng::from_seed([0; 32]);
    let loaded =
        Model::with_head(&settings, task.pool.shape(), head, &mut rng, &services.device).and_then(|mut loaded| {
            loaded.load(&entry.folder.join(WEIGHTS))?;
            loaded.predict_in(services.precision);
            Ok(loaded)
        });
    loaded.map_err(from_engine)
}

/// The spec with its backbone written out, and that backbone's settings.
fn resolved(services: &Services, spec: &TrainSpec) -> Result<(TrainSpec, ModelSettings)> {
    let mut model = services.model.clone();
    if let Some(Backbone { name, width }) = &spec.backbone {
        model = ModelSettings { backbone: name.clone(), width: width.map(|width| width as usize), ..model };
    }
    let width = model.resolved_width().map_err(|error| Error::new(Code::BAD_PARAMS, error.to_string()))?;
    model.width = Some(width);
    let backbone = Some(Backbone { name: model.backbone.clone(), width: Some(width as u32) });
    Ok((TrainSpec { backbone, ..spec.clone() }, model))
}

/// The hash of everything that the outcome depends on.
fn key(services: &Services, spec: &TrainSpec, seed: u64, items: &Items) -> String {
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    part(format!("coldstart-train/{} torch {}", engine::REVISION, engine::TORCH_VERSION).as_bytes());
    part(services.data.fingerprint.as_bytes());
    // The seed stands apart, so that it does not matter whether the spec or the run said it.
    part(&wire::encode(&TrainSpec { seed: None, ..spec.clone() }));
    part(&seed.to_le_bytes());
    let positions: Vec<u8> = items.positions.iter().flat_map(|p| (*p as u64).to_le_bytes()).collect();
    part(&positions);
    let classes = items.classes.iter().flat_map(|(of, n)| of.iter().chain(std::iter::once(n)));
    part(&classes.flat_map(|class| (*class as u64).to_le_bytes()).collect::<Vec<u8>>());
    let values = items.values.iter().flat_map(|values| &values.values);
    part(&values.flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    // Another number of threads, kind of device or number format may differ in the last digits.
    let bf16 = services.precision.is_bf16_on(&services.device);
    part(format!("{} {} bf16 {bf16}", services.env.device, services.env.threads).as_bytes());
    hex(&digest.finalize())
}

/// A training that is not in the cache.
struct Work<'a> {
    services: &'a Services,
    spec: &'a TrainSpec,
    model: &'a ModelSettings,
    seed: u64,
    items: &'a Items,
}

impl Work<'_> {
    fn done(&self, task: &TaskState, folder: &Path, checkpoint: &Path) -> Result<About> {
        let start = Instant::now();
        let targets = match (&self.items.classes, &self.items.values) {
            (Some((of_image, n_classes)), _) => Targets::Classes { of_image, n_classes: *n_classes },
            (None, Some(values)) => Targets::Values(values),
            (None, None) => Targets::None,
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        let job = PretextJob {
            spec: self.spec,
            images: &task.pool,
            rows: &self.items.positions,
            targets,
            model: self.model,
            precision: self.services.precision,
            seed,
            checkpoint: Some(checkpoint),
        };
        let trained = engine::pretext(job, &self.services.device, &mut |progress| {
            self.services.meter.tick(&self.spec.name, progress.step as u64, progress.n_steps as u64);
            self.services.flow()
        });
        let (model, record) = trained.map_err(from_engine)?;
        model.save(&folder.join(WEIGHTS)).map_err(from_engine)?;
        for (i, record) in record.records.iter().enumerate() {
            let bytes: Vec<u8> = record.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let path = folder.join(record_file(i));
            fs::write(&path, bytes).map_err(|error| host_error(format!("{}: {error}", path.display())))?;
        }
        Ok(About {
            spec: self.spec.clone(),
            seed: self.seed,
            images: self.items.positions.len(),
            n_outputs: model.n_outputs(),
            records: record.records.iter().map(|record| (record.n_cols, record.n_rows)).collect(),
            loss: record.loss,
            accuracy: record.accuracy,
            seconds: start.elapsed().as_secs_f64(),
        })
    }
}

fn record_file(i: usize) -> String {
    format!("record-{i}.f32")
}

fn host_error(message: String) -> Error {
    Error::new(Code::HOST, message)
}

/// What the engine cannot do because of what it was asked is the asker's mistake.
pub fn from_engine(error: EngineError) -> Error {
    let code = match error {
        EngineError::Cancelled => Code::CANCELLED,
        EngineError::Input(_) | EngineError::Setting { .. } => Code::BAD_PARAMS,
        _ => Code::HOST,
    };
    let found = Error::new(code, error.to_string());
    match error.hint() {
        Some(hint) => found.with("hint", hint),
        None => found,
    }
}
