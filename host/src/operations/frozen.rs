//! What a frozen network makes of the images, kept in the cache: another run with the same network and images looks at none.

use super::train::from_engine;
use super::{Entry, Services, hex};
use crate::engine::{self, EngineError, GivenRows, Images, Model, Outputs, PredictObserver};
use coldstart_plugin_api::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// The file of an entry: n x d f32, little-endian, row after row.
const FEATURES: &str = "features.f32";

/// What an entry says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct About {
    n_rows: usize,
    n_cols: usize,
}

/// A network that does not change, and what it is: another one is another text.
pub struct Frozen<'a> {
    /// The network.
    pub model: &'a Model,
    /// What its features are called where they are kept with images.
    pub name: &'a str,
    /// The hash of its file, or of the training that made it.
    pub identity: &'a str,
}

/// Has `images`, which are that part of the data set, keep their features: from the cache, or by a look at each of them.
///
/// Errs when a feature is not finite, when the cache cannot be used, and when the observer breaks.
pub fn remember(
    services: &Services,
    frozen: &Frozen<'_>,
    images: &mut Images,
    part: &str,
    observer: &mut PredictObserver<'_>,
) -> Result<()> {
    if images.keeps(frozen.name) {
        return Ok(());
    }
    let waiting = || match services.goes_on() {
        true => Ok(()),
        false => Err(Error::new(Code::CANCELLED, "cancelled")),
    };
    let key = key(services, frozen, part);
    let name = format!("features of {}", frozen.name);
    let looked_at: &Images = images;
    let make = |folder: &Path, _: &Path| look(frozen, looked_at, folder, observer);
    let entry: Entry<About> = services.cache.entry((&key, &name), &waiting, make)?;
    let rows = read(&entry)?;
    engine::give(images, frozen.name, &rows).map_err(from_engine)
}

fn look(frozen: &Frozen<'_>, images: &Images, folder: &Path, observer: &mut PredictObserver<'_>) -> Result<About> {
    let rows: Vec<usize> = (0..images.n_images()).collect();
    let outputs = Outputs { embeddings: true, ..Outputs::default() };
    let predicted = engine::predict(frozen.model, images, &rows, outputs, observer).map_err(from_engine)?;
    let embeds_nd = predicted.embeds_nd.ok_or_else(|| Error::new(Code::HOST, "the engine left out the features"))?;
    if let Some(at) = embeds_nd.values.iter().position(|value| !value.is_finite()) {
        let (row, column, value) = (at / embeds_nd.n_cols, at % embeds_nd.n_cols, embeds_nd.values[at]);
        let problem = format!("the network `{}` makes {value} of image {row}, in feature {column}", frozen.name);
        return Err(from_engine(EngineError::Input(problem)));
    }
    let path = folder.join(FEATURES);
    let bytes: Vec<u8> = embeds_nd.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(&path, bytes).map_err(|error| Error::new(Code::HOST, format!("{}: {error}", path.display())))?;
    Ok(About { n_rows: embeds_nd.n_rows, n_cols: embeds_nd.n_cols })
}

fn read(entry: &Entry<About>) -> Result<GivenRows> {
    let path = entry.folder.join(FEATURES);
    let bytes = fs::read(&path).map_err(|error| Error::new(Code::HOST, format!("{}: {error}", path.display())))?;
    let values: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let About { n_rows, n_cols } = entry.about;
    if values.len() != n_rows * n_cols {
        return Err(Error::new(Code::HOST, format!("`{}` is not whole", path.display())));
    }
    Ok(GivenRows { bytes: Arc::new(Numbers(values)), n_cols })
}

struct Numbers(Vec<f32>);

impl AsRef<[u8]> for Numbers {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// The hash of everything that the features depend on.
fn key(services: &Services, frozen: &Frozen<'_>, part: &str) -> String {
    let env = &services.env;
    // Another number of threads, kind of device or number format may differ in the last digits.
    let bf16 = services.precision.is_bf16_on(&services.device);
    let how = format!("{} {} bf16 {bf16}", env.device, env.threads);
    let torch = engine::TORCH_VERSION;
    let parts = ["coldstart-features/1", torch, frozen.identity, &services.data.fingerprint, part, &how];
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize())
}
