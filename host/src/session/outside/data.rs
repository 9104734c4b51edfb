//! The data set as a learner of the user's own has it: every image by one id, its pixels, or in a set without
//! images its features, in memory that both processes share.

use super::super::SessionError;
use crate::config::Config;
use crate::data::{Dataset, Features, Split};
use crate::learner::Part;
use crate::plugin::in_sealed_memory;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The parts of a data set, as they are handed to a learner's process, or to one after the other.
pub struct Shared {
    data: Arc<Dataset>,
    /// What is added to the id of a test image, so that no other image has it.
    offset: u64,
    root: Option<PathBuf>,
    /// Of pool, validation and test part.
    values: [Arc<OwnedFd>; 3],
}

impl Shared {
    /// Copies the pixels, or the features, into shared memory; `root` is where relative data paths begin.
    pub fn new(data: Arc<Dataset>, config: &Config, root: Option<&Path>) -> Result<Shared, SessionError> {
        let failed = |error: io::Error| {
            let message = format!("the data set cannot be shared with the learner: {error}");
            SessionError::Operation(message)
        };
        let [pool, validation, test] =
            bytes_of(&data).map(|bytes| in_sealed_memory("coldstart-data", bytes).map(Arc::new));
        let values = [pool.map_err(failed)?, validation.map_err(failed)?, test.map_err(failed)?];
        // Images that stand in for the test part have ids of the training part already.
        let offset = if config.dataset.tuning > 0 { 0 } else { data.n_train as u64 };
        Ok(Shared { offset, root: folder_of(config, root), values, data })
    }

    /// The ids by which the learner knows the test images.
    pub fn test_ids(&self) -> Vec<u64> {
        self.data.test.ids.iter().map(|id| id + self.offset).collect()
    }

    /// The parts that have images.
    pub fn parts(&self) -> Vec<Part<'_>> {
        let Dataset { pool, validation, test, .. } = &*self.data;
        let [of_pool, of_validation, of_test] = &self.values;
        let parts = [
            self.part("pool", pool, pool.ids.clone(), of_pool),
            Part {
                labels: Some(&validation.labels),
                ..self.part("validation", validation, validation.ids.clone(), of_validation)
            },
            self.part("test", test, self.test_ids(), of_test),
        ];
        parts.into_iter().filter(|part| !part.ids.is_empty()).collect()
    }

    fn part<'a>(&'a self, name: &'static str, split: &'a Split, ids: Vec<u64>, values: &Arc<OwnedFd>) -> Part<'a> {
        let pixels = self.data.shape;
        let shape = match &self.data.given {
            Some(given) => vec![given.pool.n_cols],
            None => vec![pixels.height, pixels.width, pixels.channels],
        };
        Part { name, ids, labels: None, shape, files: &split.files, root: self.root.clone(), values: values.clone() }
    }
}

/// What is shared of pool, validation and test part.
fn bytes_of(data: &Dataset) -> [&[u8]; 3] {
    match &data.given {
        Some(given) => [bytes_in(&given.pool), given.validation.as_ref().map_or(&[], bytes_in), bytes_in(&given.test)],
        None => [&data.pool, &data.validation, &data.test].map(|part| &part.pixels_nhwc[..]),
    }
}

fn bytes_in(features: &Features) -> &[u8] {
    (*features.bytes).as_ref()
}

/// The folder of a data set's files; none where they lie in an archive, or it has none.
fn folder_of(config: &Config, root: Option<&Path>) -> Option<PathBuf> {
    let path = config.dataset.clone().with_defaults().path?;
    let path = root.map_or(path.clone(), |root| root.join(&path));
    let path = std::path::absolute(path).ok()?;
    path.is_dir().then_some(path)
}
