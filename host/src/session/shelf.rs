//! What one run leaves for the next in the same process: the images, read and on the device, and their features.
//!
//! Runs of a study mostly look at the same images. The last set stays; whoever needs another takes its place.

use super::{Config, SessionError, pool_images};
use crate::data::{self, DataError, Dataset, Split};
use crate::engine::{Device, EngineError, Images};
use crate::operations::Made;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What tells data sets apart: what the config says of them, and the seed where it draws something.
pub fn set_of(config: &Config) -> String {
    format!("{:?} {:?}", config.dataset, config.dataset.is_drawn_by_seed().then_some(config.seed))
}

/// All that `data::load` depends on beside the files.
fn key_of(config: &Config, root: Option<&Path>) -> String {
    format!("{} {root:?}", set_of(config))
}

/// What is kept between runs; empty when made.
#[derive(Default)]
pub struct Shelf {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    data: Option<KeptData>,
    parts: Option<(String, Parts)>,
    features: (String, Vec<Made>),
}

struct KeptData {
    /// All that reading it depends on beside its files.
    key: String,
    /// What the file system said of its files when they were read.
    stamp: String,
    data: Arc<Dataset>,
}

/// A data set on the device.
pub struct Parts {
    pub pool: Images,
    pub test: Images,
    pub validation: Option<Images>,
}

impl Parts {
    /// The same images and what is kept of them, without a copy.
    fn again(&self) -> Parts {
        Parts {
            pool: self.pool.again(),
            test: self.test.again(),
            validation: self.validation.as_ref().map(Images::again),
        }
    }

    fn on(device: &Device, config: &Config, data: &Dataset) -> Result<Parts, EngineError> {
        if !data.shape.has_pixels() {
            return Parts::without_images(device, data);
        }
        let pool = pool_images(config, data, device)?;
        let test = pool.beside(&data.test.pixels_nhwc)?;
        let validation = match data.validation.is_empty() {
            true => None,
            false => Some(pool.beside(&data.validation.pixels_nhwc)?),
        };
        Ok(Parts { pool, test, validation })
    }

    fn without_images(device: &Device, data: &Dataset) -> Result<Parts, EngineError> {
        let rows = |part: &Split| Images::without_pixels(part.len(), device);
        let validation = (!data.validation.is_empty()).then(|| rows(&data.validation)).transpose()?;
        Ok(Parts { pool: rows(&data.pool)?, test: rows(&data.test)?, validation })
    }
}

impl Shelf {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The config's data set; errs once `cancelled` is set, and when its files are changed while they are read.
    pub fn data(
        &self,
        config: &Config,
        root: Option<&Path>,
        cancelled: &AtomicBool,
    ) -> Result<Arc<Dataset>, SessionError> {
        let (key, stamp) = (key_of(config, root), data::stamp(&config.dataset, root));
        let mut kept = self.kept();
        if let Some(kept) = kept.data.as_ref().filter(|kept| kept.key == key && kept.stamp == stamp) {
            return Ok(kept.data.clone());
        }
        tracing::info!("reading the data set `{}`", config.dataset.kind.name());
        let data = Arc::new(data::load_until(&config.dataset, root, config.seed, cancelled)?);
        if data::stamp(&config.dataset, root) != stamp {
            return Err(data::changed(&config.dataset, root).into());
        }
        // The same images under another seed may stay on the device.
        kept.data = Some(KeptData { key, stamp, data: data.clone() });
        Ok(data)
    }

    /// Errs when the config's data set, which was read before, is another by now.
    pub fn check_data(&self, config: &Config, root: Option<&Path>, cancelled: &AtomicBool) -> Result<(), SessionError> {
        let (key, stamp) = (key_of(config, root), data::stamp(&config.dataset, root));
        let mut kept = self.kept();
        let Some(kept) = kept.data.as_mut().filter(|kept| kept.key == key && kept.stamp != stamp) else {
            return Ok(());
        };
        // The same files may have been written anew, or others beside them.
        let now = data::load_until(&config.dataset, root, config.seed, cancelled);
        match now {
            Ok(now) if now.fingerprint == kept.data.fingerprint => kept.stamp = stamp,
            Err(error @ DataError::Cancelled) => return Err(error.into()),
            _ => return Err(data::changed(&config.dataset, root).into()),
        }
        Ok(())
    }

    /// Its parts on the device.
    pub fn parts(&self, device: &Device, config: &Config, data: &Dataset) -> Result<Parts, EngineError> {
        // Features of a script are kept by its name alone, so that what else they depend on is here.
        let (script, precision) = (config.model.is_script(), config.training.precision);
        let key = format!("{} {} {} {script} {precision:?}", data.fingerprint, device.id(), device.threads());
        let mut kept = self.kept();
        match &kept.parts {
            Some((of, parts)) if *of == key => Ok(parts.again()),
            _ => {
                let parts = Parts::on(device, config, data)?;
                kept.parts = Some((key, parts.again()));
                Ok(parts)
            }
        }
    }

    /// Take back the parts, with what has been kept of their images since.
    pub fn put_back(&self, parts: Option<Parts>) {
        if let (Some((_, kept)), Some(parts)) = (&mut self.kept().parts, parts) {
            *kept = parts;
        }
    }

    /// Features that were made before, of the same images in the same way.
    pub fn features(&self, key: &str) -> Vec<Made> {
        let kept = self.kept();
        if kept.features.0 == key { kept.features.1.iter().map(Made::again).collect() } else { Vec::new() }
    }

    /// Keep these for the next run.
    pub fn keep_features(&self, key: String, made: &[Made]) {
        self.kept().features = (key, made.iter().map(Made::again).collect());
    }
}
