//! Features computed elsewhere: a row of numbers for each image, from `.npy`, `.npz`, `.safetensors` or `.parquet`.
//!
//! The features are the array `features` (or `embeddings` and the like), else the only matrix of floats there is; in Parquet a
//! column of lists, or the columns of numbers that `columns` names. What is called like labels is never taken for features: the
//! labels of a pool must not reach a strategy by another way.
//!
//! Which row belongs to which image is said, in this order, by
//!
//! 1. names: an array or column of text, such as `file` or `path`, where the data set has files. A name is the path below the
//!    set's root, or shares its last folders and name with the path of a single image, as `/data/set/a/1.png` does with
//!    `a/1.png`, and `1.png` where only one image is called so;
//! 2. ids: whole numbers in an array or column `ids` (`id`);
//! 3. the order: row i belongs to the image whose dataset id is i. `coldstart data list-images` lists the images by id; those
//!    of class folders are in the order of torchvision's `ImageFolder`.
//!
//! Rows of the test part stand in a file of their own, in arrays of the same file (`train` and `test`, `x_train` and `x_test`), or
//! beside those of the pool, if names tell them apart or the test part was held out of the training part.
//!
//! Rows of images that are not in the part are passed over; a name that fits none or several images is refused. A large plain
//! `.npy` of little-endian f32 in C order is copied and the copy mapped, so that a million rows take no memory of the process, and
//! whatever becomes of the file meanwhile does not matter.

mod columns;
mod matched;
mod names;
mod numpy;
mod parquet;
mod rows;
mod safetensors;
mod table;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Dataset;
use super::error::{DataError, Place};
pub use matched::Matching;
pub(super) use numpy::npy_labels;
pub(super) use rows::gathered;
pub(super) use table::{Arrays, Ask, LabelAsk, Table, read_table};

/// Bytes that others may look at too.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A row of `n_cols` f32 for each image of a part, in its order, little-endian.
#[derive(Clone)]
pub struct Features {
    /// The rows, one after the other.
    pub bytes: SharedBytes,
    /// Numbers in a row.
    pub n_cols: usize,
    /// How the rows were found.
    pub matching: Matching,
}

/// A file of features, and what a config says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureFile {
    /// The file with rows of the training part.
    pub path: PathBuf,
    /// The file with rows of the test part, if it is another.
    pub test: Option<PathBuf>,
    /// The columns of numbers that are features; `*` at the end stands for anything.
    pub columns: Vec<String>,
}

/// A part of a data set whose features are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What may be labelled.
    Pool,
    /// What is measured on.
    Test,
}

/// What a message about a file of features ends in where nothing more special is known.
const HINT: &str = "features are a row of numbers for each image, with names (`filename`) or dataset ids (`ids`) beside them, or in \
                    the order that `coldstart data list-images` lists";

impl FeatureFile {
    /// A file of which a config says nothing else.
    pub fn of(path: &Path) -> FeatureFile {
        FeatureFile { path: path.to_owned(), test: None, columns: Vec::new() }
    }

    /// All files that it means.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.path.as_path()).chain(self.test.as_deref())
    }

    /// The file with the rows of a part.
    pub fn path_of(&self, part: Part) -> &Path {
        match part {
            Part::Pool => &self.path,
            Part::Test => self.test.as_deref().unwrap_or(&self.path),
        }
    }
}

/// Reads the features of a part of `data`.
///
/// Errs when the file is none of the kinds, holds no matrix of floats or a value that is not finite, or when its rows do not
/// fit the images: another number of them without names and ids, a name or an id twice, a name that fits no image or several, or
/// none for an image of the part. Every error has a hint.
pub fn read_features(file: &FeatureFile, data: &Dataset, part: Part) -> Result<Features, DataError> {
    read_part(file, data, part).map_err(|error| match &error {
        DataError::Io { source, path } if source.kind() == ErrorKind::NotFound => {
            let error = DataError::malformed(path, Place::Whole, "there is no such file");
            error.with_hint("`representation.path` and `representation.test` are relative to the config's folder")
        }
        _ if error.hint().is_none() => error.with_hint(HINT),
        _ => error,
    })
}

fn read_part(file: &FeatureFile, data: &Dataset, part: Part) -> Result<Features, DataError> {
    let columns = file.columns.clone();
    let ask = |arrays| Ask { arrays, columns: columns.clone(), ..Ask::default() };
    let path = file.path_of(part);
    let is_of_training_part = part == Part::Pool || !data.has_own_test;
    let table = match (is_of_training_part, &file.test) {
        (true, _) => read_table(&file.path, &ask(Arrays::Train))?,
        (false, Some(test)) => read_table(test, &ask(Arrays::TestOrAny))?,
        (false, None) => match read_table(path, &ask(Arrays::Test))? {
            Some(table) => Some(table),
            // Rows of both parts one after the other, told apart by their names.
            None => return read_beside(path, data, &ask(Arrays::Train)),
        },
    };
    let is_own_file = file.test.is_some();
    table.ok_or_else(|| no_matrix(path))?.of_part(path, data, part, is_own_file)
}

/// Rows of the test part among those of the training part.
fn read_beside(path: &Path, data: &Dataset, ask: &Ask) -> Result<Features, DataError> {
    let lacking = |why: &str| {
        let error = DataError::malformed(path, Place::Whole, why);
        error.with_hint("`representation.test` names a file with a row for each image of the test part")
    };
    let table = read_table(path, ask)?.ok_or_else(|| no_matrix(path))?;
    if !table.has_names() || data.test.files.is_empty() {
        return Err(lacking("holds no rows of the test part"));
    }
    table.of_part(path, data, Part::Test, false).map_err(|error| match error.hint() {
        None => lacking(&error.reason()),
        Some(_) => error,
    })
}

fn no_matrix(path: &Path) -> DataError {
    DataError::malformed(path, Place::Whole, "holds no row of floats for each image")
}
