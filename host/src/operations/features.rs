//! Features of the pool: from a trained network, from one that learnt nothing, from the pixels, or from a file.

use super::maths::of_kernel;
use super::train::{self, Items, Training, from_engine};
use super::{Services, load};
use crate::data::{self, DataError, SharedBytes};
use crate::engine::{self, HeadSettings, Model, ModelSettings, Outputs};
use coldstart_kernels::{self as kernels, Points};
use coldstart_plugin_api::abi::DType;
use coldstart_plugin_api::ops::TrainAnswer;
use coldstart_plugin_api::tensors::{Bytes, HostTensor};
use coldstart_plugin_api::training::TrainSpec;
use coldstart_plugin_api::{Code, Error, Result, Rng};
use std::path::PathBuf;
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
    File(PathBuf),
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
        Representation::Handcrafted => (handcrafted(services)?, None),
        Representation::File(path) => {
            let read = services.pins.read(path, || data::read_features(path, &services.data));
            let data::Features { bytes, n_cols } = read.and_then(|features| features).map_err(of_file)?;
            (Features { bytes, n_cols, model: String::new() }, None)
        }
    };
    let features = Arc::new(features);
    made.push(Made { of: wanted.clone(), features: features.clone(), training: training.clone(), told: true, file });
    Ok((features, training))
}

/// The hash of the file that features come from; empty, if none.
fn pinned_hash(services: &Services, wanted: &Representation) -> String {
    let Representation::File(path) = wanted else { return String::new() };
    let pinned = services.pins.files().iter().find(|pinned| pinned.path == *path);
    pinned.map(|pinned| pinned.sha256.clone()).unwrap_or_default()
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
    let data = &services.data;
    let values: Vec<f32> = data.pool.pixels_nhwc.iter().map(|byte| f32::from(*byte) / 255.0).collect();
    let points = Points::new(&values, data.shape.bytes()).map_err(of_kernel)?;
    let n_cols = components.min(points.d()).min(points.n());
    let go_on = || services.goes_on();
    // Drawn without the run's seed: the same images have the same components in every run.
    let mut rng = Rng::for_stream(key(0), "principal components");
    let components = kernels::principal(&points, n_cols, true, &mut rng, &go_on).map_err(of_kernel)?;
    Ok(held(components, n_cols, ""))
}

/// A place in the plane for each image of the pool, two numbers each: the first principal components of the features if they are
/// given, else of the pixels.
pub fn plane(services: &Services, features: Option<&Representation>) -> Result<Vec<f32>> {
    let features = match features {
        Some(_) => of_pool(services, features)?.0,
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

fn handcrafted(services: &Services) -> Result<Features> {
    let (pool, shape) = (&services.data.pool, services.data.shape);
    let found = kernels::handcrafted(&pool.pixels_nhwc, shape.height, shape.width, shape.channels);
    let (values, n_cols) = found.map_err(of_kernel)?;
    Ok(held(values, n_cols, ""))
}

fn key(seed: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key
}
