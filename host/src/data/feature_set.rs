//! Data sets without images: rows of features with a label each, whatever they are features of.
//!
//! Both parts stand in one archive, in arrays that are called after them (`x_train`, `y_train`, `x_test`, `y_test`, or
//! `train_features` and so on), or each in a file of its own. An `.npy` has its labels in another `.npy`.

use std::path::{Path, PathBuf};

use super::error::{DataError, Place};
use super::features::{
    Arrays, Ask, Features, LabelAsk, Matching, SharedBytes, Table, gathered, npy_labels, read_table,
};
use super::labels::{self, Label, PartLabels};
use super::{Parts, Shape, Spec, Split};

/// The features of a data set without images.
#[derive(Clone)]
pub struct Given {
    /// A row for each item of the pool.
    pub pool: Features,
    /// A row for each item of the validation part, if there is one.
    pub validation: Option<Features>,
    /// A row for each item of the test part.
    pub test: Features,
    /// What stands for each item of the pool on a page; empty where the config names no column of texts.
    pub texts: Vec<String>,
}

impl Given {
    /// The rows of every part: pool, validation, test.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Features> {
        [Some(&self.pool), self.validation.as_ref(), Some(&self.test)].into_iter().flatten()
    }
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "features of {} numbers", self.pool.n_cols)
    }
}

/// The rows of whole parts, before anything is drawn from them.
pub(super) struct WholeRows {
    path: PathBuf,
    train: SharedBytes,
    test: Option<SharedBytes>,
    n_cols: usize,
    texts: Vec<String>,
}

/// What such a set takes no part in.
pub(super) const NO_IMAGES: Shape = Shape { height: 0, width: 0, channels: 0 };

/// The files of one part.
struct Files<'a> {
    path: PathBuf,
    labels: Option<PathBuf>,
    arrays: Arrays,
    /// The key that names the file of labels.
    labels_key: &'a str,
}

/// Reads the set that the section means.
///
/// Errs when a file is none of the kinds or damaged, when a row has no label, or when parts do not fit each other.
pub(super) fn read(spec: &Spec, root: Option<&Path>) -> Result<(Parts, WholeRows), DataError> {
    let in_root = |path: &PathBuf| root.map_or(path.clone(), |root| root.join(path));
    let path = in_root(super::required(spec.path.as_ref()));
    let files = Files {
        path: path.clone(),
        labels: spec.labels.as_ref().map(in_root),
        arrays: Arrays::Train,
        labels_key: "labels",
    };
    let mut train = read_part(spec, &files)?.ok_or_else(|| no_rows(&path))?;
    let test_files = match &spec.test_path {
        Some(test) => Files {
            path: in_root(test),
            labels: spec.test_labels.as_ref().map(in_root),
            arrays: Arrays::TestOrAny,
            labels_key: "test_labels",
        },
        None => Files { arrays: Arrays::Test, labels: None, labels_key: "label", path: path.clone() },
    };
    let mut test = read_part(spec, &test_files)?;
    if let Some(other) = test.as_ref().filter(|test| test.table.n_cols != train.table.n_cols) {
        let (n, of_train) = (other.table.n_cols, train.table.n_cols);
        let why = format!("rows have {n} numbers, those of the training part {of_train}");
        return Err(DataError::malformed(&test_files.path, Place::Whole, why));
    }
    let of = |part: &mut Part| std::mem::take(&mut part.labels);
    let part = |path, labels| PartLabels { path, labels, lines: None };
    let test_labels = test.as_mut().map(|test| part(&test_files.path, of(test)));
    let numbered = labels::number(part(&path, of(&mut train)), test_labels)?;
    let train_split = split_of(&mut train, numbered.train);
    let test_split = test.as_mut().zip(numbered.test).map(|(test, labels)| split_of(test, labels));
    let parts = Parts { shape: NO_IMAGES, classes: numbered.classes, train: train_split, test: test_split };
    let texts = train.table.texts.take().unwrap_or_default();
    let n_cols = train.table.n_cols;
    let (train, test) = (train.table.rows.shared(), test.map(|test| test.table.rows.shared()));
    Ok((parts, WholeRows { path, train, test, n_cols, texts }))
}

/// Rows with their labels.
struct Part {
    table: Table,
    labels: Vec<Label>,
}

fn read_part(spec: &Spec, files: &Files<'_>) -> Result<Option<Part>, DataError> {
    let labels = match (&files.labels, &spec.label) {
        (Some(_), _) => LabelAsk::Never,
        (None, Some(name)) => LabelAsk::Named(name.clone()),
        (None, None) => LabelAsk::Known,
    };
    let columns = spec.columns.clone().unwrap_or_default();
    let ask = Ask { arrays: files.arrays, columns, labels, text: spec.text.clone() };
    let Some(mut table) = read_table(&files.path, &ask)? else { return Ok(None) };
    table.check_numbers(&files.path)?;
    let labels = match &files.labels {
        Some(path) => Some(npy_labels(path)?),
        None => table.labels.take(),
    };
    let labels = labels.ok_or_else(|| no_labels(&files.path, files.labels_key))?;
    if labels.len() != table.n_rows {
        let why = format!("holds {} labels, but there are {} rows", labels.len(), table.n_rows);
        return Err(DataError::malformed(files.labels.as_ref().unwrap_or(&files.path), Place::Whole, why));
    }
    Ok(Some(Part { table, labels }))
}

fn split_of(part: &mut Part, labels: Vec<u32>) -> Split {
    let names = part.table.take_names().filter(|names| names.len() == labels.len());
    Split { files: names.unwrap_or_default(), ..Split::numbered(Vec::new(), labels) }
}

fn no_rows(path: &Path) -> DataError {
    DataError::malformed(path, Place::Whole, "holds no rows of the training part")
        .with_hint("call the arrays `x_train`, `y_train`, `x_test` and `y_test`, or `features` and `labels`")
}

fn no_labels(path: &Path, key: &str) -> DataError {
    let error = DataError::malformed(path, Place::Whole, "has no labels beside its features");
    match path.extension().is_some_and(|ending| ending == "npy") {
        true => error.with_hint(format!("`dataset.{key}` names an .npy with the label of each row")),
        false => {
            error.with_hint("`dataset.label` names the column or array of labels, if it is not called `label` or `y`")
        }
    }
}

impl WholeRows {
    /// The rows of the parts that were drawn. What is drawn from the training part has its place there as its id.
    pub(super) fn divided(self, parts: [&Split; 3], has_own_test: bool) -> Result<Given, DataError> {
        let [pool, validation, test] = parts;
        let texts = match self.texts.is_empty() {
            true => Vec::new(),
            false => pool.ids.iter().map(|id| self.texts[*id as usize].clone()).collect(),
        };
        let validation_rows = match validation.is_empty() {
            true => None,
            false => Some(self.taken(&self.train, validation)?),
        };
        let own_test = self.test.as_ref().filter(|_| has_own_test);
        let test = self.taken(own_test.unwrap_or(&self.train), test)?;
        Ok(Given { pool: self.taken(&self.train, pool)?, validation: validation_rows, test, texts })
    }

    fn taken(&self, whole: &SharedBytes, part: &Split) -> Result<Features, DataError> {
        let bytes = (**whole).as_ref();
        let n_rows = bytes.len() / (size_of::<f32>() * self.n_cols);
        let places: Vec<usize> = part.ids.iter().map(|id| *id as usize).collect();
        let is_whole = places.len() == n_rows && places.iter().enumerate().all(|(i, place)| i == *place);
        let bytes = match is_whole {
            true => whole.clone(),
            false => gathered(bytes, self.n_cols, &places, &self.path)?,
        };
        Ok(Features { bytes, n_cols: self.n_cols, matching: Matching::Ids })
    }
}
