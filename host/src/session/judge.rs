//! Judgements that need the label of every image: how good a representation is, which images are hard to learn, and
//! whether a pretext knows. None of it reaches a strategy.

use super::record::{self, Environment};
use super::{AtKey, Options, SessionError, learner, preflight, services};
use crate::config::Config;
use crate::data::{Dataset, Split};
use crate::engine::{
    self, Augmentation, Device, EngineError, HeadSettings, Images, Judged, Matrix, Model, Outputs, Schedule,
};
use crate::experiment::{Event, Journal, Pretext, RunDir, RunError, of_files, of_folder, write_atomically};
use crate::operations::{self, About, Entry, Items, Representation, Services, write_map};
use coldstart_plugin_api::ops::MapArgs;
use coldstart_plugin_api::training::{self as spec, Measure, Pass, Record, Target, TrainSpec, ViewOp};
use coldstart_plugin_api::{Code, Error, Rng};
use serde::Serialize;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The rows that vote in a judgement by neighbours, and the temperature of their votes (Wu et al. 2018, on CIFAR-10).
const VOTE: (usize, f64) = (200, 0.1);

/// What simple classifiers make of some features, on the test part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// The training's name, `untrained weights` or `raw pixels`.
    pub name: String,
    /// The hash that names the network, if it is a trained one.
    pub model: Option<String>,
    /// How many features an image has.
    pub features: usize,
    /// Accuracy of the weighted vote of the nearest images.
    pub knn: f64,
    /// Accuracy of a linear classifier.
    pub linear: f64,
}

/// Whether the loss of a pretext ranks images as the loss of the task does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Correlation {
    /// The pretext's name.
    pub name: String,
    /// The hash that names its network.
    pub model: String,
    /// Spearman's rank correlation.
    pub spearman: f64,
    /// The ends of its 95 % interval (Fisher's transform with the variance of Bonett & Wright 2000).
    pub low: f64,
    /// See `low`.
    pub high: f64,
    /// How many images were ranked.
    pub images: usize,
}

/// What a diagnosis found; `diagnostics.json` of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Epochs of the training on all labels.
    pub epochs: u32,
    /// How long it all took.
    pub seconds: f64,
    /// The task with all labels.
    pub task: TaskJudgement,
    /// Every network that the run trained for a strategy, and two that nobody trained.
    pub representations: Vec<Judgement>,
    /// Every pretext whose loss was recorded for the whole pool.
    pub pretexts: Vec<Correlation>,
    /// How many neighbours vote.
    pub neighbours: usize,
}

/// The task model, trained on the whole pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskJudgement {
    /// `task`.
    pub name: String,
    /// On the test part.
    pub accuracy: f64,
}

/// Judge the representation of `config` beside untrained weights and raw pixels, where there are images; have it trained, or find it, if
/// it is one that is trained. Store its features in `out`, if given: `features.npy` and `test-features.npy`, rows in the order of
/// `ids.npy`, and `representation.json`.
///
/// Errs with whatever can be known to be wrong before anything is trained; `at_key` says how to point at a key in the config.
pub fn represent(
    config: &Config,
    options: &Options,
    out: Option<&Path>,
    at_key: AtKey<'_>,
) -> Result<Vec<Judgement>, SessionError> {
    let wrong = |rule: String| SessionError::Config(at_key("representation", rule));
    SessionError::of(
        preflight::check_device(options).into_iter().chain(preflight::of_settings(config, &[], at_key)).collect(),
    )?;
    let data = options.shelf.data(config, options.data_root.as_deref(), &options.cancelled);
    let data = data.map_err(|error| preflight::of_session(error, config, at_key))?;
    SessionError::of(preflight::of_features(config, &data, at_key))?;
    let court = Court::new(config, data, options).map_err(|error| preflight::of_session(error, config, at_key))?;
    let Some(representation) = court.services.representation.clone() else {
        return Err(wrong("is missing: this command judges it, for example with `method = \"moco-v2\"`,".to_owned()));
    };
    let Representation::Trained(spec) = representation else {
        let name = config.representation.as_ref().map_or("features", |section| &section.method);
        let features = court.without_training(&representation)?;
        let judged = court.judge(name, None, &features)?;
        if let Some(out) = out {
            store(out, &court.services.data, &features, None, &judged)?;
        }
        return Ok([Some(judged), court.raw_pixels()?].into_iter().flatten().collect());
    };
    let trained = operations::train(&court.services, &spec, &court.whole_pool());
    let (entry, training) = trained.map_err(|error| match error.code {
        // What its training asks for comes from the section.
        Code::BAD_PARAMS => wrong(format!("cannot be trained: {}", error.message)),
        _ => failed(error),
    })?;
    let network = operations::load(&court.services, &training.model).map_err(failed)?;
    let features = court.embed(&network)?;
    let judged = court.judge(&training.name, Some(&training.model), &features)?;
    if let Some(out) = out {
        store(out, &court.services.data, &features, Some(&entry.about), &judged)?;
    }
    let mut judgements = vec![judged];
    judgements.extend(court.untrained(&entry.about.spec)?);
    Ok(judgements)
}

/// Train the task of a finished run on its whole pool with all labels, and hold everything that the run trained against it.
/// Writes `diagnostics.json` and a map of the pool into the run's folder.
///
/// It is done on the device and with the threads of the run, unless `device` names another one.
pub fn diagnose(dir: &Path, options: &Options, device: Option<&str>, epochs: u32) -> Result<Diagnosis, SessionError> {
    let start = Instant::now();
    let dir = RunDir::open(dir)?;
    let record = dir.record()?;
    dir.check_beginning(&record)?;
    dir.rounds_there(&record)?;
    let mut config = Config::read_resolved(&dir.path("config.toml"))?;
    let environment = Environment::read(&dir)?;
    if config.training.learner.script().is_some() {
        let problem =
            "is a script: a diagnosis trains the program's own network on every label, and none took part in this run";
        return Err(SessionError::Key { key: "training.learner".to_owned(), problem: problem.to_owned() });
    }
    config.threads = environment.threads;
    let options = &Options { device: device.unwrap_or(&environment.device).to_owned(), ..options.clone() };
    let data_root = options.data_root.as_deref().or(Some(&environment.data_root));
    let data = options.shelf.data(&config, data_root, &options.cancelled)?;
    if data.fingerprint != environment.dataset.fingerprint {
        return Err(SessionError::OtherData { dir: dir.root().to_owned() });
    }
    if !data.shape.has_pixels() {
        let message =
            "a data set without images has no network to train: `coldstart represent CONFIG` judges its features";
        return Err(SessionError::Operation(message.to_owned()));
    }
    let court = Court::new(&config, data, options)?;
    let (task, model) = court.train_task(&config, epochs)?;
    let task_records = operations::records(&task).map_err(failed)?;
    let [confidences, losses] = &task_records[..] else {
        return Err(SessionError::Operation("the task's training left other records than asked for".to_owned()));
    };
    court.draw_map(&dir, confidences)?;

    let (mut representations, mut pretexts) = (Vec::new(), Vec::new());
    let mut spec_of_last = None;
    for pretext in trained_in(&dir)? {
        let entry: Entry<About> = match court.services.cache.open(&pretext.model) {
            Ok(Some(entry)) => entry,
            _ => {
                tracing::warn!("`{}` is not in the cache any more, and is left out", pretext.name);
                continue;
            }
        };
        let network = operations::load(&court.services, &pretext.model).map_err(failed)?;
        representations.push(court.judge(&pretext.name, Some(&pretext.model), &court.embed(&network)?)?);
        spec_of_last = Some(entry.about.spec.clone());
        pretexts.extend(correlation(&pretext, &entry, &losses.values)?);
    }
    let spec = spec_of_last.unwrap_or_else(|| task.about.spec.clone());
    representations.extend(court.untrained(&spec)?);
    let diagnosis = Diagnosis {
        epochs,
        seconds: start.elapsed().as_secs_f64(),
        task: TaskJudgement { name: "task".to_owned(), accuracy: court.accuracy(&model)? },
        representations,
        pretexts,
        neighbours: VOTE.0,
    };
    let text = serde_json::to_vec_pretty(&diagnosis).expect("plain data");
    write_atomically(&dir.path("diagnostics.json"), &text)?;
    let mut files = of_files(dir.root(), &["diagnostics.json"])?;
    files.extend(of_folder(dir.root(), "artifacts/diagnosis")?);
    Journal::open(&dir.path("journal.jsonl"))?.append(Event::Diagnosed { files })?;
    Ok(diagnosis)
}

fn failed(error: Error) -> SessionError {
    match error.code {
        Code::CANCELLED => SessionError::Run(RunError::Cancelled),
        _ => SessionError::Operation(error.message),
    }
}

/// The networks that a run's strategies had trained, each once.
fn trained_in(dir: &RunDir) -> Result<Vec<Pretext>, SessionError> {
    let mut seen = BTreeSet::new();
    let events = Journal::read(&dir.path("journal.jsonl"))?;
    let pretexts = events.into_iter().filter_map(|event| match event {
        Event::PretextTrained { pretext, .. } => Some(pretext),
        _ => None,
    });
    Ok(pretexts.filter(|pretext| seen.insert(pretext.model.clone())).collect())
}

/// Everything that a judgement needs.
struct Court {
    services: Services,
    test: Images,
    run_seed: u64,
}

/// Features of the pool and of the test part.
struct Features {
    pool: Matrix,
    test: Matrix,
}

impl Court {
    fn new(config: &Config, data: Arc<Dataset>, options: &Options) -> Result<Court, SessionError> {
        let device = options.open_device(config, data.shape)?;
        let (pool, test) = Court::images(&data, &device)?;
        let services = services(config, (data, pool), record::pin(config)?, &device, options)?;
        Ok(Court { services, test, run_seed: config.seed })
    }

    fn images(data: &Dataset, device: &Device) -> Result<(Images, Images), EngineError> {
        if !data.shape.has_pixels() {
            return Ok((
                Images::without_pixels(data.pool.len(), device)?,
                Images::without_pixels(data.test.len(), device)?,
            ));
        }
        let pool = Images::new(&data.pool.pixels_nhwc, learner::image_shape(data.shape), device)?;
        let test = pool.beside(&data.test.pixels_nhwc)?;
        Ok((pool, test))
    }

    /// The features of a representation that nobody trains.
    fn without_training(&self, representation: &Representation) -> Result<Features, SessionError> {
        let network = operations::untrained_network(&self.services, representation).map_err(failed)?;
        if let Some(network) = network {
            return self.embed(&network);
        }
        let (pool, _) = operations::of_pool(&self.services, Some(representation)).map_err(failed)?;
        let test = operations::of_test_part(&self.services, representation).map_err(failed)?;
        Ok(Features { pool: matrix_of(&pool), test: matrix_of(&test) })
    }

    fn whole_pool(&self) -> Items {
        Items::of((0..self.services.data.pool.len()).collect())
    }

    fn tick(&self, stage: &str, done: usize, total: usize) -> ControlFlow<()> {
        self.services.meter.tick(stage, done as u64, total as u64);
        match self.services.cancelled.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn look(&self, model: &Model, images: &Images, outputs: Outputs) -> Result<engine::Predictions, SessionError> {
        let rows: Vec<usize> = (0..images.n_images()).collect();
        let observer = &mut |p: engine::PredictProgress| self.tick("looking at images", p.n_done, p.n_images);
        Ok(engine::predict(model, images, &rows, outputs, observer)?)
    }

    fn embed(&self, model: &Model) -> Result<Features, SessionError> {
        let embeddings = Outputs { embeddings: true, ..Outputs::default() };
        let of = |images: &Images| {
            let found = self.look(model, images, embeddings)?.embeds_nd;
            found.ok_or_else(|| SessionError::Operation("the engine left out the embeddings".to_owned()))
        };
        Ok(Features { pool: of(&self.services.task.lock().pool)?, test: of(&self.test)? })
    }

    /// The accuracy of a classifier on the test part.
    fn accuracy(&self, model: &Model) -> Result<f64, SessionError> {
        let logits = Outputs { logits: true, ..Outputs::default() };
        let logits = self.look(model, &self.test, logits)?.logits_nc;
        let logits = logits.ok_or_else(|| SessionError::Operation("the engine left out the logits".to_owned()))?;
        let labels = labels_of(&self.services.data.test);
        let highest = |row: &[f32]| (0..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        let right = labels.iter().enumerate().filter(|(i, label)| highest(logits.row(*i)) == **label).count();
        Ok(right as f64 / labels.len() as f64)
    }

    fn judge(&self, name: &str, model: Option<&str>, features: &Features) -> Result<Judgement, SessionError> {
        let data = &self.services.data;
        let (pool, test) = (labels_of(&data.pool), labels_of(&data.test));
        let train = Judged { features_nd: &features.pool, labels: &pool };
        let test = Judged { features_nd: &features.test, labels: &test };
        let (n_classes, device) = (data.classes.len(), &self.services.device);
        let knn = engine::knn_accuracy(train, test, n_classes, VOTE, device)?;
        let linear = engine::linear_accuracy(train, test, n_classes, device)?;
        let (accuracy, by_line) = (100.0 * knn, 100.0 * linear);
        self.services
            .meter
            .step(&format!("{name}: {accuracy:.1} % by neighbours, {by_line:.1} % by a linear classifier"));
        let (model, features) = (model.map(str::to_owned), features.pool.n_cols);
        Ok(Judgement { name: name.to_owned(), model, features, knn, linear })
    }

    /// The network of `spec` as it was before any training, and the pixels themselves.
    fn untrained(&self, spec: &TrainSpec) -> Result<Vec<Judgement>, SessionError> {
        let data = &self.services.data;
        let mut settings = self.services.model.clone();
        if let Some(backbone) = &spec.backbone {
            settings.backbone.clone_from(&backbone.name);
            settings.width = backbone.width.map(|width| width as usize);
        }
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.run_seed.to_le_bytes());
        let mut rng = Rng::for_stream(seed, "untrained weights");
        let (shape, head) = (learner::image_shape(data.shape), HeadSettings::classifier(2));
        let mut network = Model::with_head(&settings, shape, head, &mut rng, &self.services.device)?;
        network.predict_in(self.services.precision);
        let raw = self.raw_pixels()?;
        let first = self.judge("untrained weights", None, &self.embed(&network)?)?;
        Ok([Some(first), raw].into_iter().flatten().collect())
    }

    /// The pixels themselves, where there are images.
    fn raw_pixels(&self) -> Result<Option<Judgement>, SessionError> {
        let data = &self.services.data;
        if !data.shape.has_pixels() {
            return Ok(None);
        }
        let pixels = |part: &Split| Matrix {
            values: part.pixels_nhwc.iter().map(|&byte| f32::from(byte) / 255.0).collect(),
            n_rows: part.len(),
            n_cols: data.shape.bytes(),
        };
        let raw = Features { pool: pixels(&data.pool), test: pixels(&data.test) };
        self.judge("raw pixels", None, &raw).map(Some)
    }

    /// The task of `config` with the label of every pool image, recording the probability of the true class in each epoch
    /// and the loss at the end.
    fn train_task(&self, config: &Config, epochs: u32) -> Result<(Entry<About>, Model), SessionError> {
        let data = &self.services.data;
        let items = Items { classes: Some((labels_of(&data.pool), data.classes.len())), ..self.whole_pool() };
        let (entry, training) =
            operations::train(&self.services, &task_spec(config, epochs), &items).map_err(failed)?;
        let model = operations::load(&self.services, &training.model).map_err(failed)?;
        Ok((entry, model))
    }

    /// Easy, hard and ambiguous to learn (Swayamdipta et al. 2020): confidence and its deviation over the epochs.
    fn draw_map(&self, dir: &RunDir, confidences: &Matrix) -> Result<(), SessionError> {
        let data = &self.services.data;
        let n_epochs = confidences.n_rows as f64;
        let place = |i: usize| {
            let over_epochs = (0..confidences.n_rows).map(|epoch| f64::from(confidences.row(epoch)[i]));
            let mean = over_epochs.clone().sum::<f64>() / n_epochs;
            let variance = over_epochs.map(|confidence| (confidence - mean).powi(2)).sum::<f64>() / n_epochs;
            [variance.sqrt() as f32, mean as f32]
        };
        let places: Vec<f32> = (0..confidences.n_cols).flat_map(place).collect();
        let positions: Vec<usize> = (0..data.pool.len()).collect();
        let classes: Vec<u64> = data.pool.labels.iter().map(|&label| u64::from(label)).collect();
        let args = MapArgs {
            name: "to-learn".to_owned(),
            title: "Easy, hard and ambiguous to learn".to_owned(),
            x_axis: "deviation of the probability of the true class over the epochs".to_owned(),
            y_axis: "mean probability of the true class".to_owned(),
            group: "class".to_owned(),
        };
        let folder = dir.path("artifacts/diagnosis");
        let written = write_map(&folder, &args, data, &positions, &places, &classes, true);
        written
            .map_err(|error| SessionError::Operation(format!("cannot write a map to `{}`: {error}", folder.display())))
    }
}

fn matrix_of(features: &operations::Features) -> Matrix {
    let rows = features.given();
    let bytes = (*rows.bytes).as_ref();
    let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Matrix { values, n_rows: rows.n_rows(), n_cols: rows.n_cols }
}

fn labels_of(part: &Split) -> Vec<usize> {
    part.labels.iter().map(|label| *label as usize).collect()
}

/// The training of a config's task as a spec; without its least number of steps, which is for few labels.
fn task_spec(config: &Config, epochs: u32) -> TrainSpec {
    let training = &config.training;
    let flip = ViewOp::Flip { p: 0.5 };
    let mut views = match training.augmentation {
        Augmentation::None => vec![],
        Augmentation::Flip => vec![flip],
        // The judge's own training takes the moves of `rand-augment` without its recolouring.
        Augmentation::CropFlip | Augmentation::RandAugment => vec![ViewOp::PadCrop { padding: 4 }, flip],
    };
    views.push(ViewOp::Normalise {});
    let drop = |at: &f64| ((at * f64::from(epochs)).round() as u32).max(1);
    let schedule = match training.schedule {
        Schedule::Cosine => spec::Schedule::Cosine {},
        Schedule::Constant => spec::Schedule::Constant {},
        Schedule::Step => {
            let mut epochs: Vec<u32> = training.milestones.iter().map(drop).collect();
            epochs.dedup();
            spec::Schedule::Step { epochs, factor: 0.1 }
        }
    };
    TrainSpec {
        name: "task".to_owned(),
        target: Target::Labels {},
        views,
        backbone: None,
        head: spec::Head::Linear { dim: None },
        objective: spec::Objective::CrossEntropy {},
        optimizer: training.optimizer.into(),
        schedule,
        warmup_epochs: (training.warmup_epochs * epochs as usize / training.epochs) as u32,
        epochs,
        batch_size: training.batch_size as u32,
        record: vec![
            Record { measure: Measure::Confidence {}, pass: Pass::Training },
            Record { measure: Measure::Loss {}, pass: Pass::Final },
        ],
        seed: None,
    }
}

/// The correlation of a pretext's loss with the task's, if it recorded one loss for each image of the pool.
fn correlation(pretext: &Pretext, entry: &Entry<About>, task: &[f32]) -> Result<Option<Correlation>, SessionError> {
    let record = Record { measure: Measure::Loss {}, pass: Pass::Final };
    let Some(at) = entry.about.spec.record.iter().position(|found| *found == record) else { return Ok(None) };
    let records = operations::records(entry).map_err(failed)?;
    let losses = &records[at].values;
    if losses.len() != task.len() {
        return Ok(None);
    }
    let (spearman, n) = (spearman(losses, task), task.len() as f64);
    let reach = 1.96 * ((1.0 + spearman * spearman / 2.0) / (n - 3.0).max(1.0)).sqrt();
    let (low, high) = ((spearman.atanh() - reach).tanh(), (spearman.atanh() + reach).tanh());
    let (name, model) = (pretext.name.clone(), pretext.model.clone());
    Ok(Some(Correlation { name, model, spearman, low, high, images: task.len() }))
}

/// Pearson's correlation of the ranks; equal values share the mean of their ranks.
fn spearman(a: &[f32], b: &[f32]) -> f64 {
    let ranks = |values: &[f32]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|i, j| values[*i].total_cmp(&values[*j]));
        let mut ranks = vec![0.0; values.len()];
        let mut start = 0;
        while start < order.len() {
            let same = order[start..].iter().take_while(|i| values[**i] == values[order[start]]).count();
            let shared = start as f64 + (same - 1) as f64 / 2.0;
            order[start..start + same].iter().for_each(|i| ranks[*i] = shared);
            start += same;
        }
        ranks
    };
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let sum = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    let spread = (sum(&a, &a) * sum(&b, &b)).sqrt();
    if spread == 0.0 { 0.0 } else { sum(&a, &b) / spread }
}

/// What `representation.json` says beside the judgement.
#[derive(Serialize)]
struct Stored<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    training: Option<&'a About>,
    judgement: &'a Judgement,
    dataset: &'a str,
}

fn store(
    out: &Path,
    data: &Dataset,
    features: &Features,
    about: Option<&About>,
    judgement: &Judgement,
) -> Result<(), SessionError> {
    let cannot = |error: std::io::Error| {
        SessionError::Operation(format!("cannot write features to `{}`: {error}", out.display()))
    };
    std::fs::create_dir_all(out).map_err(cannot)?;
    let size = |matrix: &Matrix| [matrix.n_rows as u64, matrix.n_cols as u64];
    npy(&out.join("features.npy"), &size(&features.pool), &features.pool.values).map_err(cannot)?;
    npy(&out.join("test-features.npy"), &size(&features.test), &features.test.values).map_err(cannot)?;
    npy(&out.join("ids.npy"), &[data.pool.len() as u64], &data.pool.ids).map_err(cannot)?;
    let stored = Stored { training: about, judgement, dataset: &data.fingerprint };
    let text = serde_json::to_vec_pretty(&stored).expect("plain data");
    std::fs::write(out.join("representation.json"), text).map_err(cannot)
}

fn npy<T: npyz::AutoSerialize + Copy>(path: &Path, shape: &[u64], values: &[T]) -> std::io::Result<()> {
    use npyz::WriterBuilder;
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd()?;
    writer.extend(values.iter().copied())?;
    writer.finish()?;
    std::fs::write(path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closed forms: 1 for any rising map, -1 for any falling one; with ties, Pearson of shared ranks (0, 1.5, 1.5, 3).
    #[test]
    fn rank_correlations_equal_their_closed_forms() {
        let a = [3.0, -1.0, 10.0, 4.0];
        for (b, expected) in [
            ([9.0, 1.0, 1e6, 9.5], 1.0),
            ([-3.0, 1.0, -1e6, -4.0], -1.0),
            ([5.0, 5.0, 5.0, 5.0], 0.0),
            // Ranks of a: 1, 0, 3, 2; of b: 1.5, 0, 3, 1.5: sums of products 4.5, of squares 5 and 4.5.
            ([2.0, 0.0, 7.0, 2.0], 4.5 / (5.0f64 * 4.5).sqrt()),
        ] {
            assert!((spearman(&a, &b) - expected).abs() < 1e-12, "{b:?}: {}", spearman(&a, &b));
        }
    }
}
