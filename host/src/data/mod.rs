//! Files in, labelled images in memory out.
//!
//! [`load`] reads one of the layouts of [`Kind`], applies the long tail, the tuning and the validation part that a
//! [`Spec`] asks for, and hands over a [`Dataset`]. [`fetch`] downloads the public sets. This room knows nothing about
//! models, plugins or the loop; it decodes, checks and counts. A file that is wrong anywhere ends the load with
//! one [`DataError`], so a `Dataset` is always whole.

mod archive;
mod aside;
mod caught;
mod cifar;
mod columns;
mod copies;
mod csv;
mod decoding;
mod depth;
mod error;
mod feature_set;
mod features;
pub mod fetch;
mod files;
mod folder;
mod footer;
mod formats;
mod forms;
pub mod fuzz;
mod hub;
mod idx;
mod images;
mod jpeg;
mod labels;
mod layout;
mod listing;
mod losses;
mod npz;
mod pages;
mod parquet;
mod paths;
mod pickle;
mod pinned;
mod pixels;
mod shards;
mod sheet;
mod spec;
mod split;
mod synthetic;
mod table;
mod tarred;
#[cfg(test)]
mod tests;
mod thrift;
mod unlabelled;
mod unpacked;
mod zipped;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use aside::{Aside, IMAGE_NAMES};
pub use copies::Copies;
pub use error::{DataError, Place};
pub use feature_set::Given;
pub use features::{FeatureFile, Features, Matching, Part, SharedBytes, read_features};
pub use listing::Skipped;
pub use paths::{composed, file_name, stem};
pub use pinned::{Pinned, Pins};
pub use sheet::{SHEET_COLUMNS, contact_sheet, sheet, tile_size};
pub use spec::{Kind, Spec};
pub use unlabelled::{Decoded, Listed, PartlyLabelled, Reading, decode_images, list_images};

/// Height, width and channels of every image of a set; all 0 where there are no images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Bytes per pixel: 1 grey, 3 red-green-blue.
    pub channels: usize,
}

impl Shape {
    /// Whether this is the shape of images, and not that of a set without them.
    pub fn has_pixels(self) -> bool {
        self.bytes() > 0
    }

    /// Bytes of one image.
    pub fn bytes(self) -> usize {
        self.height * self.width * self.channels
    }
}

impl From<[usize; 3]> for Shape {
    fn from([height, width, channels]: [usize; 3]) -> Self {
        Shape { height, width, channels }
    }
}

/// One part of a data set, in ascending order of id.
///
/// `pixels_nhwc.len() == ids.len() * shape.bytes()`, `labels.len() == ids.len()`, every label is below the number of
/// classes, and `files` has a file for each image or none at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// The dataset id of each image; unique within a set's pool and validation parts together.
    pub ids: Vec<u64>,
    /// The images, one after the other.
    pub pixels_nhwc: Vec<u8>,
    /// The class of each image.
    pub labels: Vec<u32>,
    /// The file of each image, relative to the set's root with `/` between folders; empty where the kind has none.
    pub files: Vec<String>,
}

impl Split {
    /// How many images the part has.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether the part has no images.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The part whose ids are the positions of its images.
    fn numbered(pixels_nhwc: Vec<u8>, labels: Vec<u32>) -> Self {
        Split { ids: (0..labels.len() as u64).collect(), pixels_nhwc, labels, files: Vec::new() }
    }

    /// The file of the image at a position, if the kind has files.
    pub fn file(&self, position: usize) -> Option<&str> {
        self.files.get(position).map(String::as_str)
    }
}

/// A data set in memory.
#[derive(Debug)]
pub struct Dataset {
    /// The kind that it was read as, in a config's spelling.
    pub kind: String,
    /// The shape of every image.
    pub shape: Shape,
    /// The name of each class, by label.
    pub classes: Vec<String>,
    /// Images of the training part, before anything was drawn from it: ids are below this number.
    pub n_train: usize,
    /// What may be labelled. An image's id is its position in the official (else sorted) order of the training part,
    /// whatever `imbalance` and `validation` have removed around it.
    pub pool: Split,
    /// Labelled images held out of the pool; they keep their ids.
    pub validation: Split,
    /// The test part, whose ids are positions in it; or, with `tuning`, the images of the training part that stand in
    /// for it, which keep their ids.
    pub test: Split,
    /// Whether the files have the test part; otherwise it was held out of the training part, or `tuning` stands in for it.
    pub has_own_test: bool,
    /// Files of the training images that `imbalance` has removed.
    pub removed_files: Vec<String>,
    /// `sha256:` and the hex digest of shape, classes, ids, labels and pixels of all parts.
    pub fingerprint: String,
    /// What a person should know of the files.
    pub notes: Notes,
    /// The features that a set without images consists of.
    pub given: Option<Given>,
}

/// What was noticed while a data set was read, and is no reason to refuse it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Notes {
    /// What was not looked at.
    pub left_aside: Aside,
    /// Sentences.
    pub remarks: Vec<String>,
    /// The folder with the classes of the training part, relative to the set's root.
    pub train_folder: Option<String>,
    /// The folder with the classes of the test part.
    pub test_folder: Option<String>,
}

impl Notes {
    /// Writes to the log what a user should see.
    fn log(&self, root: &Path) {
        let (root, aside) = (root.display(), &self.left_aside);
        let tables = aside.tables().map(|tables| format!("; not read: {tables} ({})", layout::UNDERSTOOD));
        match (aside.is_unusual(), tables.unwrap_or_default()) {
            (true, tables) => tracing::warn!("left aside in `{root}`: {aside}{tables}"),
            (false, _) if !aside.is_empty() => tracing::info!("left aside in `{root}`: {aside}"),
            (false, _) => {}
        }
        self.remarks.iter().for_each(|remark| tracing::warn!("in `{root}`: {remark}"));
    }
}

/// What a reader hands over: whole parts in official order, before anything is drawn from them.
struct Parts {
    shape: Shape,
    classes: Vec<String>,
    train: Split,
    /// `None` where the files have no test part.
    test: Option<Split>,
}

/// Reads the data set that `spec` describes.
///
/// `spec.path` is taken relative to `root`, or to the working directory without one. `seed` draws the members of a
/// long tail, wrong labels and the validation images; nothing else depends on it ([`Spec::is_drawn_by_seed`]).
///
/// # Errors
/// The first thing wrong with the section ([`DataError::Key`]) or with the files.
pub fn load(spec: &Spec, root: Option<&Path>, seed: u64) -> Result<Dataset, DataError> {
    load_until(spec, root, seed, &AtomicBool::new(false))
}

/// The same, until somebody sets `cancelled`.
///
/// # Errors
/// Those of [`load`]; [`DataError::Cancelled`].
pub fn load_until(spec: &Spec, root: Option<&Path>, seed: u64, cancelled: &AtomicBool) -> Result<Dataset, DataError> {
    spec.validate()?;
    let spec = spec.clone().with_defaults();
    let path = path_of(&spec, root);
    let Whole { mut parts, mut notes, rows } = read(&spec, root, cancelled)?;
    if spec.kind != Kind::Synthetic {
        notes.remarks.extend(labels::drop_empty_classes(&mut parts, &path)?);
    }
    let Parts { shape, classes, mut train, test } = parts;
    if classes.len() < 2 {
        let why = format!("holds one class, `{}`, and a data set has at least two", classes.join(""));
        return Err(too_few(&path, why));
    }
    let n_train = train.len();
    let has_own_test = test.is_some() && spec.tuning == 0;
    let mut test = match test {
        Some(test) => test,
        None => {
            let test = split::hold_out_test(&mut train, shape, classes.len(), required(spec.test_fraction));
            notes.remarks.extend(split::without_test_images(&classes, &test));
            test
        }
    };
    if test.is_empty() {
        let why = "has no test part, and none can be drawn from the training part: no class has two images";
        return Err(too_few(&path, why.to_owned()));
    }
    notes.log(&path);
    if spec.tuning > 0 {
        test = split::hold_out_tuning(&mut train, shape, spec.tuning)?;
    }
    let removed = split::long_tail(&mut train, shape, classes.len(), spec.imbalance, seed);
    split::add_label_noise(&mut train.labels, classes.len(), spec.label_noise, seed);
    let validation = split::hold_out_validation(&mut train, shape, spec.validation, seed)?;
    let given = rows.map(|rows| rows.divided([&train, &validation, &test], has_own_test)).transpose()?;
    let fingerprint = fingerprint(shape, &classes, [&train, &validation, &test], given.as_ref());
    let kind = spec.kind.name().into();
    let removed_files = removed.files;
    Ok(Dataset {
        kind,
        shape,
        classes,
        n_train,
        pool: train,
        validation,
        test,
        has_own_test,
        removed_files,
        fingerprint,
        notes,
        given,
    })
}

fn too_few(path: &Path, why: String) -> DataError {
    let hint = "a study needs two classes, each with images to label and images to measure on".into();
    DataError::Layout { folder: path.to_owned(), why, hint }
}

/// What the file system says of the files of a set, as one text: while it stays the same, so does what [`load`] reads.
pub fn stamp(spec: &Spec, root: Option<&Path>) -> String {
    let in_root = |path: &PathBuf| root.map_or(path.clone(), |root| root.join(path));
    if let (Kind::Table, Some(path)) = (spec.kind, &spec.path) {
        return table::stamp(&table_of(spec, in_root(path), root));
    }
    let files = [&spec.path, &spec.test_path, &spec.labels, &spec.test_labels].into_iter().flatten();
    files.map(|path| pinned::stamp_below(&in_root(path))).collect()
}

/// The error about a set whose files are others than those that were read.
pub fn changed(spec: &Spec, root: Option<&Path>) -> DataError {
    DataError::Changed { path: path_of(spec, root) }
}

/// Where the files of a set are; the name of the kind for one that needs none.
fn path_of(spec: &Spec, root: Option<&Path>) -> PathBuf {
    match &spec.path {
        Some(path) => root.map_or(path.clone(), |root| root.join(path)),
        None => spec.kind.name().into(),
    }
}

/// What the files of a set hold.
struct Whole {
    parts: Parts,
    notes: Notes,
    /// The rows of a set without images.
    rows: Option<feature_set::WholeRows>,
}

fn read(spec: &Spec, root: Option<&Path>, cancelled: &AtomicBool) -> Result<Whole, DataError> {
    if spec.kind == Kind::Features {
        let (parts, rows) = feature_set::read(spec, root)?;
        return Ok(Whole { parts, notes: Notes::default(), rows: Some(rows) });
    }
    let (parts, notes) = read_images(spec, root, cancelled)?;
    Ok(Whole { parts, notes, rows: None })
}

fn read_images(spec: &Spec, root: Option<&Path>, cancelled: &AtomicBool) -> Result<(Parts, Notes), DataError> {
    let in_root = |path: &PathBuf| root.map_or(path.clone(), |root| root.join(path));
    let path = || in_root(required(spec.path.as_ref()));
    let parts = match spec.kind {
        Kind::Folder => return folder::read(&path(), required(spec.shape).into(), cancelled),
        Kind::Features => unreachable!("a set without images has none to read"),
        Kind::Table => return table::read(&table_of(spec, path(), root), cancelled),
        Kind::Parquet => return parquet::read(&path(), spec.column_keys(), required(spec.shape).into(), cancelled),
        Kind::Synthetic => synthetic::draw(required(spec.size), required(spec.test_size)),
        Kind::Mnist | Kind::FashionMnist => idx::read(&path(), spec.kind)?,
        Kind::Cifar10 | Kind::Cifar100 => cifar::read(&path(), spec.kind, cancelled)?,
        Kind::Npz => {
            let (parts, remarks) = npz::read(&path(), spec.max_value)?;
            return Ok((parts, Notes { remarks, ..Notes::default() }));
        }
        Kind::Csv => csv::read(&csv::Table {
            train: path(),
            test: spec.test_path.as_ref().map(in_root),
            shape: required(spec.shape).into(),
            label: required(spec.label.as_deref()),
            max_value: required(spec.max_value),
        })?,
    };
    Ok((parts, Notes::default()))
}

/// The table at `path` that a section describes.
fn table_of<'a>(spec: &'a Spec, path: PathBuf, root: Option<&Path>) -> table::Table<'a> {
    let in_root = |path: &PathBuf| root.map_or(path.clone(), |root| root.join(path));
    table::Table {
        path,
        test_path: spec.test_path.as_ref().map(in_root),
        root: spec.root.as_ref().map(in_root),
        keys: spec.column_keys(),
        shape: spec.shape.unwrap_or(spec::FILE_SHAPE).into(),
    }
}

/// A key that the kind has: [`Spec::validate`] and [`Spec::with_defaults`] leave none of them out.
fn required<T>(key: Option<T>) -> T {
    key.expect("a validated section with its defaults has every key of its kind")
}

/// Digest of everything in a data set but the names of its files; lengths go first, so that no two different sets feed it the same bytes.
fn fingerprint(shape: Shape, classes: &[String], parts: [&Split; 3], given: Option<&Given>) -> String {
    let mut digest = Sha256::new();
    let number = |digest: &mut Sha256, n: usize| digest.update((n as u64).to_le_bytes());
    for n in [shape.height, shape.width, shape.channels, classes.len()] {
        number(&mut digest, n);
    }
    for class in classes {
        number(&mut digest, class.len());
        digest.update(class);
    }
    for part in parts {
        number(&mut digest, part.len());
        digest.update(part.ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>());
        digest.update(part.labels.iter().flat_map(|label| label.to_le_bytes()).collect::<Vec<u8>>());
        digest.update(&part.pixels_nhwc);
    }
    for features in given.into_iter().flat_map(Given::parts) {
        number(&mut digest, features.n_cols);
        digest.update((*features.bytes).as_ref());
    }
    let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// What `data info` says about a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The kind, in a config's spelling.
    pub kind: String,
    /// The shape of every image.
    pub shape: Shape,
    /// Numbers of an item of a set without images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<usize>,
    /// How many images of each class each part has, by label.
    pub classes: Vec<ClassCounts>,
    /// The set's fingerprint.
    pub fingerprint: String,
    /// Images that are there more than once.
    pub copies: Copies,
    /// What was noticed while the files were read.
    #[serde(flatten)]
    pub notes: Notes,
}

/// One image of a set, as `data info --files` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedImage<'a> {
    /// `pool`, `validation` or `test`.
    pub split: &'static str,
    /// The dataset id.
    pub id: u64,
    /// The class, as a number.
    pub label: u32,
    /// The class, by name.
    pub class: &'a str,
    /// The file, where the kind has files.
    pub file: Option<&'a str>,
}

/// How many images of one class each part has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCounts {
    /// The class.
    pub name: String,
    /// Images in the pool.
    pub pool: usize,
    /// Images held out for validation.
    pub validation: usize,
    /// Images in the test part.
    pub test: usize,
}

impl Dataset {
    /// Every image of every part: pool, validation, test, each in ascending order of id.
    pub fn images(&self) -> impl Iterator<Item = ListedImage<'_>> {
        let parts = [("pool", &self.pool), ("validation", &self.validation), ("test", &self.test)];
        parts.into_iter().flat_map(move |(split, part)| {
            (0..part.len()).map(move |position| {
                let label = part.labels[position];
                let class = self.classes[label as usize].as_str();
                ListedImage { split, id: part.ids[position], label, class, file: part.file(position) }
            })
        })
    }

    /// Counts the images of every class in every part.
    pub fn describe(&self) -> Description {
        let [pool, validation, test] =
            [&self.pool, &self.validation, &self.test].map(|part| split::counts(&part.labels, self.classes.len()));
        let classes = self.classes.iter().enumerate().map(|(c, name)| ClassCounts {
            name: name.clone(),
            pool: pool[c],
            validation: validation[c],
            test: test[c],
        });
        Description {
            kind: self.kind.clone(),
            shape: self.shape,
            features: self.given.as_ref().map(|given| given.pool.n_cols),
            classes: classes.collect(),
            fingerprint: self.fingerprint.clone(),
            copies: Copies::count(self),
            notes: self.notes.clone(),
        }
    }
}
