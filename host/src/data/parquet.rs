//! Parquet files of images, as the Hugging Face Hub keeps them: a column of encoded images and one of labels.
//!
//! An image is a group of `bytes` and `path`, or plain bytes. A label is a whole number or text. What the writer says of its columns
//! tells which are images and labels, and how classes are called: see [`hub`](super::hub); the config may name both columns.
//! [`shards`] says which files are which part. Files are read some rows at a time, and the images of these decoded side by side: what
//! is in memory is the decoded set, and a page of a column.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use parquet::data_type::ByteArray;

use super::caught::caught;
use super::columns::{Column, Holds, Shard};
use super::decoding::{Decoding, Encoded, Pixels};
use super::error::{DataError, Place};
use super::hub::Features;
use super::labels::{self, Label, Numbered, PartLabels};
use super::shards::{self, Shards};
use super::table::{Keys, LABELS, Unclear, the_one};
use super::{Notes, Parts, Shape, Split};

/// What columns of images are called, in lower case.
const IMAGES: [&[&str]; 1] = [&["image", "images", "img", "picture", "photo", "jpg", "png"]];

/// Reads the files at `path`, every image resized to `shape`.
///
/// # Errors
/// If it is not clear which files and columns are meant, a file is damaged, or a label is none; then with all images at once that
/// cannot be read.
pub(super) fn read(
    path: &Path,
    keys: Keys<'_>,
    shape: Shape,
    cancelled: &AtomicBool,
) -> Result<(Parts, Notes), DataError> {
    caught(|| read_set(path, keys, shape, cancelled)).unwrap_or_else(|panic| {
        Err(DataError::malformed(path, Place::Whole, format!("not whole Parquet files ({panic})")))
    })
}

fn read_set(path: &Path, keys: Keys<'_>, shape: Shape, cancelled: &AtomicBool) -> Result<(Parts, Notes), DataError> {
    let Shards { train, tests, aside, mut remarks } = shards::find(path, cancelled)?;
    let train = Part::open(&train, keys)?;
    let test = test_part(&tests, keys, &mut remarks)?;
    let Numbered { classes, train: train_labels, test: test_labels } = number(&train, test.as_ref())?;
    let mut decoding = Decoding::new(shape, cancelled);
    let mut train_pixels = train.decode(&mut decoding)?;
    let mut test_pixels = test.as_ref().map(|test| test.decode(&mut decoding)).transpose()?;
    if decoding.is_scaled() {
        train.scale(&decoding, &mut train_pixels)?;
        if let (Some(test), Some(pixels)) = (&test, &mut test_pixels) {
            test.scale(&decoding, pixels)?;
        }
    }
    let n_images = train.labels.len() + test.as_ref().map_or(0, |test| test.labels.len());
    remarks.extend(decoding.finish(path, n_images)?);
    let mut names = [train.names()?, test.as_ref().map_or(Ok(Some(Vec::new())), Part::names)?];
    if names.contains(&None) {
        names = [None, None];
    }
    let [train_names, test_names] = names.map(Option::unwrap_or_default);
    let test = test_pixels.zip(test_labels);
    let test = test.map(|(pixels, labels)| Split { files: test_names, ..Split::numbered(pixels.nhwc, labels) });
    let train = Split { files: train_names, ..Split::numbered(train_pixels.nhwc, train_labels) };
    let notes = Notes { left_aside: aside, remarks, ..Notes::default() };
    Ok((Parts { shape, classes, train, test }, notes))
}

/// The first test part that has labels; and a sentence about each that is not used.
fn test_part(tests: &[shards::Part], keys: Keys<'_>, remarks: &mut Vec<String>) -> Result<Option<Part>, DataError> {
    for (i, shards) in tests.iter().enumerate() {
        let part = Part::open(shards, keys)?;
        if part.is_unlabelled() {
            remarks.push(format!("the part `{}` has no labels, and was left aside", shards.name));
            continue;
        }
        let unused = tests[i + 1..].iter();
        remarks.extend(
            unused.map(|unused| format!("the test part is `{}`; `{}` was left aside", shards.name, unused.name)),
        );
        return Ok(Some(part));
    }
    Ok(None)
}

/// The files of a part, open, and all its labels.
struct Part {
    shards: Vec<Opened>,
    labels: Vec<Label>,
    /// The names of the classes, where the writer says them.
    classes: Option<Vec<String>>,
}

/// An open file, and the columns that are read of it.
struct Opened {
    shard: Shard,
    images: Column,
    /// The column of labels, by name.
    label: String,
    /// How the images are called, if the file says it.
    names: Option<Column>,
    features: Features,
}

impl Part {
    /// Opens the files and reads the labels.
    fn open(part: &shards::Part, keys: Keys<'_>) -> Result<Part, DataError> {
        let mut shards: Vec<Opened> = Vec::new();
        let mut all = Vec::new();
        for path in &part.files {
            let (opened, labels) = Opened::open(path, keys)?;
            all.extend(labels);
            if shards.first().is_some_and(|first| !first.is_like(&opened)) {
                let why = "has other columns or classes than the files before it";
                return Err(DataError::malformed(path, Place::Whole, why));
            }
            shards.push(opened);
        }
        if all.is_empty() {
            return Err(DataError::malformed(&part.files[0], Place::Whole, "the table has no rows"));
        }
        let classes = shards[0].features.classes.get(&shards[0].label).filter(|names| !names.is_empty()).cloned();
        Ok(Part { shards, labels: all, classes })
    }

    /// Whether it is a part whose labels nobody tells: -1, or nothing, all over.
    fn is_unlabelled(&self) -> bool {
        let is_none = |label: &Label| matches!(label, Label::Missing(_) | Label::Number(-1));
        !self.labels.is_empty() && self.labels.iter().all(is_none)
    }

    /// Calls `each` with all images, some at a time, and the place of the first of them in the part.
    fn stream(&self, each: &mut dyn FnMut(usize, &Batch<'_>) -> Result<(), DataError>) -> Result<(), DataError> {
        let mut before = 0;
        for Opened { shard, images, .. } in &self.shards {
            let mut allowance = shard.allowance()?;
            shard.stream(images, &mut |first, cells| {
                let bytes: usize = cells.iter().flatten().map(ByteArray::len).sum();
                let too_large = |error| DataError::malformed(&shard.path, Place::Whole, format!("{error}"));
                allowance.take(bytes as u64).map_err(too_large)?;
                each(before + first, &Batch { file: &shard.path, first, cells })
            })?;
            before += shard.n_rows as usize;
        }
        Ok(())
    }

    fn decode(&self, decoding: &mut Decoding<'_>) -> Result<Pixels, DataError> {
        let mut pixels = decoding.room_for(self.labels.len())?;
        self.stream(&mut |_, images| decoding.decode(&mut pixels, images))?;
        Ok(pixels)
    }

    /// Decodes grey images of 16 bits again.
    fn scale(&self, decoding: &Decoding<'_>, pixels: &mut Pixels) -> Result<(), DataError> {
        if !pixels.are_deep() {
            return Ok(());
        }
        self.stream(&mut |first, images| decoding.scale(pixels, images, first))
    }

    /// How the images are called, if the files say it of each.
    fn names(&self) -> Result<Option<Vec<String>>, DataError> {
        let mut all = Vec::new();
        for Opened { shard, names, .. } in &self.shards {
            let Some(names) = names else { return Ok(None) };
            all.extend(shard.texts(names)?);
        }
        Ok((!all.iter().any(String::is_empty)).then_some(all))
    }
}

impl Opened {
    fn open(path: &Path, keys: Keys<'_>) -> Result<(Opened, Vec<Label>), DataError> {
        let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
        let shard = Shard::open(path)?;
        let features = Features::of(shard.said("huggingface")).map_err(wrong)?;
        let unclear = |Unclear { why, hint }| wrong(why).with_hint(hint);
        let images = image_column(&shard, keys.image, &features).map_err(unclear)?;
        let label = label_column(&shard, keys.label, &features).map_err(unclear)?;
        let labels = shard.labels(&label)?;
        let is_name = |column: &&Column| column.root == images.root && column.leaf == "path";
        let names = shard.columns.iter().find(is_name).cloned();
        Ok((Opened { shard, images, label: label.root, names, features }, labels))
    }

    fn is_like(&self, other: &Opened) -> bool {
        let own = (&self.images.root, &self.images.leaf, &self.label, &self.features);
        own == (&other.images.root, &other.images.leaf, &other.label, &other.features)
    }
}

/// The column of encoded images: that of the config, what the writer calls one, a well-known name, or the only one that may be.
fn image_column(shard: &Shard, key: Option<&str>, features: &Features) -> Result<Column, Unclear> {
    let is_image = |column: &&Column| column.holds == Holds::Bytes && ["", "bytes"].contains(&column.leaf.as_str());
    let columns: Vec<&Column> = shard.columns.iter().filter(is_image).collect();
    let roots: Vec<String> = columns.iter().map(|column| column.root.clone()).collect();
    let said: Vec<&str> = features.images.iter().map(String::as_str).collect();
    let column = match the_one(&roots, key, "image", &[&said[..]])? {
        Some(said) => Some(said),
        None => the_one(&roots, None, "image", &IMAGES)?.or((columns.len() == 1).then_some(0)),
    };
    column.map(|column| columns[column].clone()).ok_or_else(|| Unclear {
        why: format!(
            "no column holds encoded images: bytes, or a group of `bytes` and `path`; there are {}",
            named(&shard.names())
        ),
        hint: "`dataset.image` names the column of images; files that a table names by their paths are of kind `table`"
            .to_owned(),
    })
}

/// The column of labels: that of the config, what the writer says are classes, or a well-known name.
fn label_column(shard: &Shard, key: Option<&str>, features: &Features) -> Result<Column, Unclear> {
    let is_label = |column: &&Column| column.leaf.is_empty() && column.holds != Holds::Else;
    let columns: Vec<&Column> = shard.columns.iter().filter(is_label).collect();
    let roots: Vec<String> = columns.iter().map(|column| column.root.clone()).collect();
    let said: Vec<&str> = features.classes.keys().map(String::as_str).collect();
    let column = match the_one(&roots, key, "label", &[&said[..]])? {
        Some(said) => Some(said),
        None => the_one(&roots, None, "label", &LABELS)?,
    };
    column.map(|column| columns[column].clone()).ok_or_else(|| Unclear {
        why: format!(
            "no column is called as labels are (`label`, `class` and the like); there are {}",
            named(&shard.names())
        ),
        hint: "`dataset.label` names the column of labels".to_owned(),
    })
}

fn named(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The classes, by the names that the writer says or by the labels themselves.
fn number(train: &Part, test: Option<&Part>) -> Result<Numbered, DataError> {
    let path = |part: &Part| part.shards[0].shard.path.clone();
    let Some(classes) = &train.classes else {
        let (train_path, test_path) = (path(train), test.map(path));
        let part = |path, part: &Part| PartLabels { path, labels: part.labels.clone(), lines: None };
        let test = test.zip(test_path.as_deref()).map(|(test, path)| part(path, test));
        return labels::number(part(&train_path, train), test);
    };
    if let Some(test) = test.filter(|test| test.classes.as_ref() != Some(classes)) {
        let why = "says other classes than the training part";
        return Err(DataError::malformed(&path(test), Place::Whole, why));
    }
    let numbers = |part: &Part| -> Result<Vec<u32>, DataError> {
        let number = |(i, label): (usize, &Label)| {
            class_of(label, classes.len()).ok_or_else(|| {
                let why = format!("image {i} of the part: {} is none of its {} classes", shown(label), classes.len());
                let error = DataError::malformed(&path(part), Place::Whole, why);
                error.with_hint("-1 stands for `no label`: a part without labels is for neither training nor testing")
            })
        };
        part.labels.iter().enumerate().map(number).collect()
    };
    Ok(Numbered { classes: classes.clone(), train: numbers(train)?, test: test.map(numbers).transpose()? })
}

/// The class of a label that counts among `n_classes` names.
fn class_of(label: &Label, n_classes: usize) -> Option<u32> {
    match label {
        Label::Number(number) => u32::try_from(*number).ok().filter(|class| (*class as usize) < n_classes),
        _ => None,
    }
}

fn shown(label: &Label) -> String {
    match label {
        Label::Number(number) => format!("the label {number}"),
        Label::Missing(_) => "a missing label".to_owned(),
        Label::Name(text) | Label::Fraction(text) => format!("the label `{text}`"),
    }
}

/// Some rows of a file.
struct Batch<'a> {
    file: &'a Path,
    /// The row of the first, counted from 0.
    first: usize,
    cells: Vec<Option<ByteArray>>,
}

impl Encoded for Batch<'_> {
    fn len(&self) -> usize {
        self.cells.len()
    }

    fn bytes(&self, place: usize) -> Result<Cow<'_, [u8]>, DataError> {
        match &self.cells[place] {
            Some(bytes) => Ok(Cow::Borrowed(bytes.data())),
            None => {
                let error = DataError::malformed(&self.path(place), Place::Whole, "there is no image in this row");
                Err(error.with_hint("a file that names images by their paths alone is read by kind `table`"))
            }
        }
    }

    fn name(&self, place: usize) -> Cow<'_, str> {
        let file = self.file.file_name().unwrap_or_default().to_string_lossy();
        Cow::Owned(format!("{file}, row {}", self.first + place))
    }

    fn path(&self, place: usize) -> PathBuf {
        self.file.with_file_name(&*self.name(place))
    }
}

#[cfg(test)]
mod tests;
