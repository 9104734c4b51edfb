//! Features of the pool: from a trained network, from one that learnt nothing, from the pixels, or from a file.

use super::maths::of_kernel;
use super::train::{self, Items, Training, from_engine};
use super::{Services, load};
use crate::data::{self, DataError, FeatureFile, Matching, Part, SharedBytes, Split};
use crate::engine::{self, GivenRows, HeadSettings, Model, ModelSettings, Outputs};
use coldstart_kernels::{self as kernels, Components, Points};
use coldstart_plugin_api::abi::DType;
use coldstart_plugin_api::ops::TrainAnswer;
use coldstart_plugin_api::tensors::{Bytes, HostTensor};
use coldstart_plugin_api::training::TrainSpec;
use coldstart_plugin_api::{Code, Error, Result, Rng};
use std::sync::{Arc, PoisonError};

/// Where the features of the pool come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Representation {
    /// A network trained on the pool.
    Trained(TrainSpec),
    /// A network with the weights that it begins with, drawn from this seed.
    RandomNetwork {
        /// The network.
        model: ModelSettings,
        /// The seed.
        seed: u64,
    },
    /// Principal components of the pixels, each at unit variance.
    Pixels {
        /// How many; fewer if the images have fewer numbers, or the pool fewer images.
        components: usize,
    },
    /// Histograms of gradients and of colours.
    Handcrafted,
    /// Computed elsewhere.
    File(FeatureFile),
    /// Those that a data set without images consists of.
    Given,
}

/// Features that were made, and how.
pub struct Made {
    of: Representation,
    features: Arc<Features>,
    training: Option<Training>,
    /// Whether whoever asked first in this run was told of the training.
    told: bool,
    /// The hash of the file that they come from; empty, if none.
    file: String,
}

impl Made {
    /// The same for another run: a training behind them is one that was found.
    pub fn again(&self) -> Made {
        let found = |training: &Training| Training { cached: true, seconds: 0.0, ..training.clone() };
        let (of, features, training) = (self.of.clone(), self.features.clone(), self.training.as_ref().map(found));
        Made { of, features, training, told: false, file: self.file.clone() }
    }
}

/// The features of every pool image, held once for all who ask.
pub struct Features {
    bytes: SharedBytes,
    n_cols: usize,
    /// The network that they come from; empty, if none.
    model: String,
}

/// The features that `wanted` means, and the training behind them if there was one just now.
///
/// They are made once in a run. Errs when the config names none, when the file does not fit, or as a training does.
pub fn of_pool(services: &Services, wanted: Option<&Representation>) -> Result<(Arc<Features>, Option<Training>)> {
    let Some(wanted) = wanted else {
        let message = "the config has no section `[representation]`";
        let hint = "add `[representation]` with `method = \"moco-v2\"`, or another method";
        return Err(Error::new(Code::UNSUPPORTED, message).with("hint", hint));
    };
    let mut made = services.features.lock().unwrap_or_else(PoisonError::into_inner);
    // A file that was changed since an earlier run of this process is another one.
    let file = pinned_hash(services, wanted);
    if let Some(made) = made.iter_mut().find(|made| made.of == *wanted && made.file == file) {
        let training = made.training.clone().filter(|_| !std::mem::replace(&mut made.told, true));
        return Ok((made.features.clone(), training));
    }
    let (features, training) = match wanted {
        Representation::Trained(spec) => {
            let whole_pool = Items::of((0..services.data.pool.len()).collect());
            let (_entry, training) = train::train(services, spec, &whole_pool)?;
            let network = load(services, &training.model)?;
            (embedded(services, &network, &training.model)?, Some(training))
        }
        Representation::RandomNetwork { model, seed } => {
            (embedded(services, &random_network(services, model, *seed)?, "")?, None)
        }
        Representation::Pixels { components } => (pixels(services, *components)?, None),
        Representation::Handcrafted => (handcrafted(services, &services.data.pool)?, None),
        Representation::File(file) => (of_part_in_file(services, file, Part::Pool)?, None),
        Representation::Given => {
            let given = services.data.given.as_ref().ok_or_else(no_features)?;
            (Features::read(&given.pool), None)
        }
    };
    let features = Arc::new(features);
    made.push(Made { of: wanted.clone(), features: features.clone(), training: training.clone(), told: true, file });
    Ok((features, training))
}

/// The features of the test part that `wanted` means, where no network has to look at images.
///
/// Errs when the file does not fit, has no rows of that part, or when a network is meant.
pub fn of_test_part(services: &Services, wanted: &Representation) -> Result<Features> {
    let test = &services.data.test;
    match wanted {
        Representation::Pixels { components } => {
            let found = components_of_pool(services, *components)?;
            let values = unit_pixels(test);
            let points = points_of(services, &values)?;
            Ok(held(found.project(&points).map_err(of_kernel)?, found.len(), ""))
        }
        Representation::Handcrafted => handcrafted(services, test),
        Representation::File(file) => of_part_in_file(services, file, Part::Test),
        Representation::Given => {
            let given = services.data.given.as_ref().ok_or_else(no_features)?;
            Ok(Features::read(&given.test))
        }
        Representation::Trained(_) | Representation::RandomNetwork { .. } => {
            Err(Error::new(Code::HOST, "a network looks at the test part itself"))
        }
    }
}

/// The network of a representation that nobody trains, if it has one.
pub fn untrained_network(services: &Services, wanted: &Representation) -> Result<Option<Model>> {
    match wanted {
        Representation::RandomNetwork { model, seed } => random_network(services, model, *seed).map(Some),
        _ => Ok(None),
    }
}

fn of_part_in_file(services: &Services, file: &FeatureFile, part: Part) -> Result<Features> {
    let read = services.pins.read(file.path_of(part), || data::read_features(file, &services.data, part));
    let read = read.and_then(|features| features).map_err(of_file)?;
    let (path, d) = (file.path_of(part).display(), read.n_cols);
    let how = match &read.matching {
        Matching::Names(column) => format!("found by the names in `{column}`"),
        Matching::Ids => "found by their ids".to_owned(),
        Matching::Order => "in the order of the data set, which nothing in the file confirms".to_owned(),
    };
    let part = if part == Part::Pool { "the pool" } else { "the test part" };
    services.meter.step(&format!("features of {part} from `{path}`: {d} numbers each, {how}"));
    Ok(Features::read(&read))
}

/// The hashes of the files that features come from; empty, if none.
fn pinned_hash(services: &Services, wanted: &Representation) -> String {
    let Representation::File(file) = wanted else { return String::new() };
    let pinned = services.pins.files().iter().filter(|pinned| file.paths().any(|path| path == pinned.path));
    pinned.map(|pinned| pinned.sha256.as_str()).collect()
}

/// What features without a training are called where they are kept: others are called otherwise.
pub fn name_of_features(services: &Services, wanted: &Representation) -> String {
    format!("{wanted:?} {}", pinned_hash(services, wanted))
}

fn no_features() -> Error {
    Error::new(Code::HOST, "the data set has images, and no features of its own")
}

/// What is wrong with a file of features, with its hint.
fn of_file(error: DataError) -> Error {
    let failed = Error::new(Code::BAD_PARAMS, error.to_string());
    match error.hint() {
        Some(hint) => failed.with("hint", hint),
        None => failed,
    }
}

/// All that features depend on beside their representation.
pub fn key_of_features(services: &Services) -> String {
    let Services { data, run_seed, model, precision, env, device, .. } = services;
    format!("{} {run_seed} {model:?} {precision:?} {} {}", data.fingerprint, env.threads, device.id())
}

impl Features {
    fn read(read: &data::Features) -> Features {
        Features { bytes: read.bytes.clone(), n_cols: read.n_cols, model: String::new() }
    }

    /// The rows, as the engine takes them.
    pub fn given(&self) -> GivenRows {
        GivenRows { bytes: self.bytes.clone(), n_cols: self.n_cols }
    }

    /// What `represent/1` says of them.
    pub fn answer(&self, training: Option<&Training>) -> TrainAnswer {
        TrainAnswer {
            model: self.model.clone(),
            cached: training.is_none_or(|training| training.cached),
            loss: training.map_or(0.0, |training| training.loss),
            accuracy: training.and_then(|training| training.accuracy),
        }
    }

    /// The rows at these positions of the pool; all of them in order without a copy. Errs when a copy takes too much memory.
    pub fn rows(&self, services: &Services, positions: &[usize]) -> Result<HostTensor> {
        let all: &[u8] = (*self.bytes).as_ref();
        let row_bytes = 4 * self.n_cols;
        let shape = vec![positions.len() as u64, self.n_cols as u64];
        let whole = positions.len() * row_bytes == all.len() && positions.iter().enumerate().all(|(i, at)| i == *at);
        if whole {
            let bytes = Bytes::Shared(self.bytes.clone());
            return Ok(HostTensor { dtype: DType::F32, shape, bytes, scale: None });
        }
        services.check_size(positions.len(), row_bytes, || format!("the features of {} images", positions.len()))?;
        let mut bytes = Vec::with_capacity(positions.len() * row_bytes);
        positions.iter().for_each(|at| bytes.extend_from_slice(&all[at * row_bytes..][..row_bytes]));
        Ok(HostTensor::new(DType::F32, shape, bytes))
    }
}

/// Numbers in memory, seen as bytes.
struct Numbers(Vec<f32>);

impl AsRef<[u8]> for Numbers {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

fn held(values: Vec<f32>, n_cols: usize, model: &str) -> Features {
    Features { bytes: Arc::new(Numbers(values)), n_cols, model: model.to_owned() }
}

fn embedded(services: &Services, network: &Model, name: &str) -> Result<Features> {
    let task = services.task.lock();
    let rows: Vec<usize> = (0..services.data.pool.len()).collect();
    let embeddings = Outputs { embeddings: true, ..Outputs::default() };
    let predicted = engine::predict(network, &task.pool, &rows, embeddings, &mut |progress| {
        services.meter.tick("looking at the pool", progress.n_done as u64, progress.n_images as u64);
        services.flow()
    });
    let embeds_nd = predicted.map_err(from_engine)?.embeds_nd;
    let embeds_nd = embeds_nd.ok_or_else(|| Error::new(Code::HOST, "the engine left out the features"))?;
    Ok(held(embeds_nd.values, embeds_nd.n_cols, name))
}

fn random_network(services: &Services, model: &ModelSettings, seed: u64) -> Result<Model> {
    let mut rng = Rng::for_stream(key(seed), "untrained weights");
    let (shape, head) = (services.task.lock().pool.shape(), HeadSettings::classifier(2));
    let made = Model::with_head(model, shape, head, &mut rng, &services.device);
    let mut network = made.map_err(from_engine)?;
    network.predict_in(services.precision);
    Ok(network)
}

fn pixels(services: &Services, components: usize) -> Result<Features> {
    let found = components_of_pool(services, components)?;
    let values = unit_pixels(&services.data.pool);
    let rows = found.project(&points_of(services, &values)?).map_err(of_kernel)?;
    Ok(held(rows, found.len(), ""))
}

/// The principal components of the pool's pixels.
fn components_of_pool(services: &Services, components: usize) -> Result<Components> {
    let values = unit_pixels(&services.data.pool);
    let points = points_of(services, &values)?;
    let n_cols = components.min(points.d()).min(points.n());
    let go_on = || services.goes_on();
    // Drawn without the run's seed: the same images have the same components in every run.
    let mut rng = Rng::for_stream(key(0), "principal components");
    Components::of(&points, n_cols, true, &mut rng, &go_on).map_err(of_kernel)
}

/// Pixels from 0 to 1.
fn unit_pixels(part: &Split) -> Vec<f32> {
    part.pixels_nhwc.iter().map(|byte| f32::from(*byte) / 255.0).collect()
}

fn points_of<'a>(services: &Services, values: &'a [f32]) -> Result<Points<'a>> {
    if !services.data.shape.has_pixels() {
        return Err(Error::new(Code::UNSUPPORTED, "the data set has no images"));
    }
    Points::new(values, services.data.shape.bytes()).map_err(of_kernel)
}

/// A place in the plane for each image of the pool, two numbers each: the first principal components of the features if they are
/// given, else of the pixels.
pub fn plane(services: &Services, features: Option<&Representation>) -> Result<Vec<f32>> {
    let features = match features {
        Some(_) => of_pool(services, features)?.0,
        None if services.data.given.is_some() => of_pool(services, Some(&Representation::Given))?.0,
        None => Arc::new(pixels(services, PLANE)?),
    };
    let values: &[f32] = bytemuck::cast_slice((*features.bytes).as_ref());
    let n = services.data.pool.len();
    if n.min(features.n_cols) < PLANE {
        // Too little to span a plane: a line, or a point.
        return Ok((0..n).flat_map(|i| [values[i * features.n_cols], 0.0]).collect());
    }
    let points = Points::new(values, features.n_cols).map_err(of_kernel)?;
    let go_on = || services.goes_on();
    let mut rng = Rng::for_stream(key(0), "plane");
    kernels::principal(&points, PLANE, false, &mut rng, &go_on).map_err(of_kernel)
}

/// Numbers of a place in the plane.
const PLANE: usize = 2;

fn handcrafted(services: &Services, part: &Split) -> Result<Features> {
    let shape = services.data.shape;
    let found = kernels::handcrafted(&part.pixels_nhwc, shape.height, shape.width, shape.channels);
    let (values, n_cols) = found.map_err(of_kernel)?;
    Ok(held(values, n_cols, ""))
}

fn key(seed: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key
}
