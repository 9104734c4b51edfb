//! Features computed elsewhere: a row of numbers for each image, from `.npy`, `.npz`, `.safetensors` or `.parquet`.
//!
//! The features are the array `features` (or `embeddings` and the like), else the only matrix of floats there is; in Parquet a
//! column of lists, or a series of columns such as `f0` to `f255`. What is called like labels is never taken for features, and
//! numbers beside a column of lists are left aside: the labels of a pool must not reach a strategy by another way.
//!
//! Which row belongs to which image is said, in this order, by
//!
//! 1. names: an array or column of text, such as `file` or `path`, where the data set has files. A name is the path below the
//!    set's root, or shares its last folders and name with the path of a single image, as `/data/set/a/1.png` does with
//!    `a/1.png`, and `1.png` where only one image is called so;
//! 2. ids: whole numbers in an array or column `ids` (`id`);
//! 3. the order: row i belongs to the image whose dataset id is i. `coldstart data info --files` lists the images by id; those
//!    of class folders are in the order of torchvision's `ImageFolder`.
//!
//! Rows of images that are not in the pool are passed over; a name that fits none or several images is refused. A large plain
//! `.npy` of little-endian f32 in C order is copied and the copy mapped, so that a million rows take no memory of the process, and
//! whatever becomes of the file meanwhile does not matter.

mod columns;
mod names;
mod parquet;

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use npyz::TypeChar;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::Dataset;
use super::error::{DataError, Place};
use super::npz::{Array, arrays, of_half};
use super::pinned::Private;
use super::unpacked;
use columns::{is_id, is_no_feature, looks_like_a_file, name_rank, the_one};
use names::{Images, Meaning};

/// Bytes that others may look at too.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A row of `n_cols` f32 for each pool image, in the pool's order, little-endian.
#[derive(Clone)]
pub struct Features {
    /// The rows, one after the other.
    pub bytes: SharedBytes,
    /// Numbers in a row.
    pub n_cols: usize,
}

/// What a message about a file of features ends in where nothing more special is known.
const HINT: &str = "features are a row of numbers for each image, with names (`filename`) or dataset ids (`ids`) beside them, or in \
                    the order that `coldstart data info --files` lists";

/// Reads the features of the pool of `data`.
///
/// Errs when the file is none of the kinds, holds no matrix of floats or a value that is not finite, or when its rows do not
/// fit the images: another number of them without names and ids, a name or an id twice, a name that fits no image or several, or
/// none for an image of the pool. Every error has a hint.
pub fn read_features(path: &Path, data: &Dataset) -> Result<Features, DataError> {
    let read = read_table(path).and_then(|table| table.of_pool(path, data));
    read.map_err(|error| match &error {
        DataError::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
            let error = DataError::malformed(path, Place::Whole, "there is no such file");
            error.with_hint("`representation.path` is relative to the config's folder")
        }
        _ if error.hint().is_none() => error.with_hint(HINT),
        _ => error,
    })
}

pub(super) fn read_table(path: &Path) -> Result<Table, DataError> {
    if begins_with(path, b"version https://git-lfs") {
        let error = DataError::malformed(path, Place::Whole, "a pointer of Git LFS in place of the file");
        return Err(error.with_hint("`git lfs pull` brings the file itself"));
    }
    let kind = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
    match kind.as_str() {
        "npy" => npy(path),
        "npz" => npz(path),
        "safetensors" => safetensors(path),
        "parquet" => parquet::read(path),
        _ => Err(of_another_kind(path, &kind)),
    }
}

fn of_another_kind(path: &Path, kind: &str) -> DataError {
    let error = DataError::malformed(path, Place::Whole, "features come as .npy, .npz, .safetensors or .parquet");
    let in_python = match kind {
        "pt" | "pth" | "bin" => "numpy.save(\"features.npy\", torch.load(FILE).float().cpu().numpy())",
        "csv" | "tsv" | "txt" => "pandas.read_csv(FILE).to_parquet(\"features.parquet\")",
        "feather" | "arrow" => "pandas.read_feather(FILE).to_parquet(\"features.parquet\")",
        "pkl" | "pickle" | "h5" | "hdf5" | "mat" => "numpy.save(\"features.npy\", features)",
        _ => return error,
    };
    error.with_hint(format!("in Python: {in_python}"))
}

/// Whether the file begins with these bytes; `false` if it cannot be read.
fn begins_with(path: &Path, bytes: &[u8]) -> bool {
    let mut first = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes.len() as u64).read_to_end(&mut first));
    read.is_ok() && first == bytes
}

/// What a file holds, before it is held against the images.
pub(super) struct Table {
    ids: Option<Vec<u64>>,
    names: Option<Names>,
    rows: Rows,
    n_rows: usize,
    n_cols: usize,
}

/// The texts that name the image of each row.
struct Names {
    /// The column or array.
    column: String,
    values: Vec<String>,
}

enum Rows {
    /// As they lie in a file.
    InFile(InFile),
    Read(Vec<f32>),
}

/// The part of a file behind its header.
struct InFile {
    file: Private,
    offset: usize,
}

impl AsRef<[u8]> for InFile {
    fn as_ref(&self) -> &[u8] {
        &self.file.as_ref()[self.offset..]
    }
}

/// Numbers in memory, seen as bytes.
struct Numbers(Vec<f32>);

impl AsRef<[u8]> for Numbers {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl Table {
    fn of_pool(self, path: &Path, data: &Dataset) -> Result<Features, DataError> {
        let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
        let n_cols = self.n_cols;
        if n_cols == 0 || self.n_rows == 0 {
            return Err(wrong(format!("holds {} rows of {n_cols} numbers", self.n_rows)));
        }
        let row_of = self.row_of_each(path, data)?;
        let bytes: &[u8] = match &self.rows {
            Rows::InFile(rows) => rows.as_ref(),
            Rows::Read(numbers) => bytemuck::cast_slice(numbers),
        };
        let number = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
        if let Some(at) = bytes.as_chunks().0.iter().position(|bytes| !number(bytes).is_finite()) {
            let value = number(&bytes.as_chunks().0[at]);
            return Err(wrong(format!("row {}, column {} is {value}", at / n_cols, at % n_cols)));
        }
        let in_order = row_of.len() == self.n_rows && row_of.iter().enumerate().all(|(i, row)| i == *row);
        let bytes: SharedBytes = match self.rows {
            Rows::InFile(rows) if in_order => Arc::new(rows),
            Rows::Read(numbers) if in_order => Arc::new(Numbers(numbers)),
            _ => {
                let rows = row_of.iter().flat_map(|row| bytes[4 * n_cols * row..][..4 * n_cols].as_chunks().0);
                Arc::new(Numbers(rows.map(number).collect()))
            }
        };
        Ok(Features { bytes, n_cols })
    }

    /// The file's row of each pool image: by names, by ids, or by the order.
    fn row_of_each(&self, path: &Path, data: &Dataset) -> Result<Vec<usize>, DataError> {
        let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
        if let Some(names) = &self.names {
            if names.values.len() != self.n_rows {
                let (n, column) = (names.values.len(), &names.column);
                return Err(wrong(format!("`{column}` names {n} images, but there are {} rows", self.n_rows)));
            }
            if let Some(rows) = names.row_of_each(path, data, self.ids.is_some())? {
                return Ok(rows);
            }
        }
        if let Some(ids) = &self.ids {
            return self.row_of_each_id(ids, data).map_err(wrong);
        }
        if self.n_rows != data.n_train {
            return Err(wrong(format!(
                "holds {} rows, but the training part has {} images; name the image of each row in `filename` or `ids`",
                self.n_rows, data.n_train
            )));
        }
        match data.pool.ids.last().filter(|id| **id >= data.n_train as u64) {
            Some(id) => Err(wrong(format!(
                "holds a row for each of {} images, but their ids run to {id}; name the image of each row in `filename` or `ids`",
                self.n_rows
            ))),
            None => Ok(data.pool.ids.iter().map(|id| *id as usize).collect()),
        }
    }

    fn row_of_each_id(&self, ids: &[u64], data: &Dataset) -> Result<Vec<usize>, String> {
        if ids.len() != self.n_rows {
            return Err(format!("names {} ids, but holds {} rows", ids.len(), self.n_rows));
        }
        let mut row_of = HashMap::with_capacity(ids.len());
        for (row, id) in ids.iter().enumerate() {
            if let Some(before) = row_of.insert(*id, row) {
                return Err(format!("rows {before} and {row} both belong to the image {id}"));
            }
        }
        let rows: Vec<usize> = data.pool.ids.iter().filter_map(|id| row_of.get(id).copied()).collect();
        match data.pool.ids.iter().find(|id| !row_of.contains_key(id)) {
            None => Ok(rows),
            Some(id) => {
                let n = data.pool.ids.len();
                Err(format!("has no row for {} of {n} images, the first of them {id}", n - rows.len()))
            }
        }
    }
}

/// Of several columns of text the one that names the images: the first by the order of known names, else one whose texts look
/// like files, else the only one.
fn best_names(mut named: Vec<Names>) -> Option<Names> {
    let known = (0..named.len()).filter_map(|i| Some((name_rank(&named[i].column)?, i))).min();
    let like_files = || named.iter().position(Names::look_like_files);
    let alone = (named.len() == 1).then_some(0);
    let best = known.map(|(_, i)| i).or_else(like_files).or(alone)?;
    Some(named.swap_remove(best))
}

impl Names {
    fn look_like_files(&self) -> bool {
        self.values.iter().any(|text| looks_like_a_file(text))
    }

    /// The file's row of each pool image; `None` where the texts name no images at all.
    fn row_of_each(&self, path: &Path, data: &Dataset, has_ids: bool) -> Result<Option<Vec<usize>>, DataError> {
        let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
        let column = &self.column;
        let are_meant = name_rank(column).is_some() || self.look_like_files();
        let Some(images) = Images::of(data) else {
            if !are_meant || has_ids {
                return Ok(None);
            }
            let why = format!("`{column}` names images, but those of kind `{}` have no names", data.kind);
            return Err(wrong(why).with_hint("name them by their dataset ids, in `ids`"));
        };
        let meanings: Vec<Meaning> = self.values.iter().map(|name| images.find(name)).collect();
        if !are_meant && meanings.iter().all(|meaning| *meaning == Meaning::Unknown) {
            tracing::warn!("`{}`: the texts in `{column}` name no images, and are left aside", path.display());
            return Ok(None);
        }
        self.check_meanings(&meanings, &images).map_err(|(why, hint)| wrong(why).with_hint(hint))?;
        let mut row_of: Vec<Option<usize>> = vec![None; data.pool.len()];
        for (row, meaning) in meanings.iter().enumerate() {
            let Meaning::Pool(position) = *meaning else { continue };
            if let Some(before) = row_of[position].replace(row) {
                let file = &data.pool.files[position];
                return Err(wrong(format!("rows {before} and {row} both belong to the image `{file}`")));
            }
        }
        match row_of.iter().position(Option::is_none) {
            None => Ok(Some(row_of.into_iter().flatten().collect())),
            Some(first) => {
                let (n, file) = (row_of.len(), &data.pool.files[first]);
                let missing = row_of.iter().filter(|row| row.is_none()).count();
                Err(wrong(format!("has no row for {missing} of {n} images, the first of them `{file}`")))
            }
        }
    }

    /// Errs with a sentence and a hint at a name that fits none or several of the images.
    fn check_meanings(&self, meanings: &[Meaning<'_>], images: &Images<'_>) -> Result<(), (String, String)> {
        let column = &self.column;
        let are_numbers = self.values.iter().all(|text| text.trim().parse::<u64>().is_ok());
        let hint = match are_numbers {
            true => "dataset ids are stored as whole numbers, not as text: ids.astype(\"int64\")".to_owned(),
            false => {
                let example = images.example();
                format!("an image is named by its path below the folder of the data set, such as `{example}`")
            }
        };
        let n_unknown = meanings.iter().filter(|meaning| **meaning == Meaning::Unknown).count();
        for (row, meaning) in meanings.iter().enumerate() {
            let name = &self.values[row];
            match meaning {
                Meaning::Pool(_) | Meaning::Elsewhere => {}
                Meaning::Several(first, second) => {
                    return Err((format!("row {row}: `{name}` in `{column}` may be `{first}` or `{second}`"), hint));
                }
                Meaning::Unknown => {
                    let more =
                        if n_unknown > 1 { format!(", as in {} more rows", n_unknown - 1) } else { String::new() };
                    return Err((format!("row {row}: `{name}` in `{column}` is no image of the data set{more}"), hint));
                }
            }
        }
        Ok(())
    }
}

fn npy(path: &Path) -> Result<Table, DataError> {
    let file = Private::of(path)?;
    let bytes = file.as_ref();
    let header = Array::header(path, bytes)?;
    if header.kind == TypeChar::Object {
        return Err(no_floats(path, header.kind));
    }
    let [n_rows, n_cols] = matrix_axes(path, &header.axes)?;
    let (ids, names) = (None, None);
    // Numbers that do not begin at a multiple of four bytes cannot be looked at in place.
    let is_aligned = header.offset.is_multiple_of(align_of::<f32>());
    if is_aligned && (header.kind, header.item_bytes, header.is_big_endian) == (TypeChar::Float, 4, false) {
        let rows = Rows::InFile(InFile { offset: header.offset, file });
        return Ok(Table { ids, names, rows, n_rows, n_cols });
    }
    let too_large = |error: unpacked::TooLarge| DataError::malformed(path, Place::Whole, error.to_string());
    let converted = size_of::<f32>() as u64 * n_rows as u64 * n_cols as u64;
    unpacked::Allowance::of_plain().take(bytes.len() as u64 + converted).map_err(too_large)?;
    let array = Array { bytes: bytes[header.offset..].to_vec(), ..header };
    Ok(Table { ids, names, rows: Rows::Read(floats(path, &array)?), n_rows, n_cols })
}

fn npz(path: &Path) -> Result<Table, DataError> {
    let (mut matrices, mut named, mut ids, mut unreadable) = (Vec::new(), Vec::new(), None, None);
    for (name, array) in arrays(path)? {
        let array = match array {
            Ok(array) => array,
            Err(error) if name == "features" || is_id(&name) || name_rank(&name).is_some() => return Err(error),
            Err(error) => {
                unreadable.get_or_insert(error);
                continue;
            }
        };
        let is_text = [TypeChar::ByteStr, TypeChar::UnicodeStr, TypeChar::Object].contains(&array.kind);
        if is_no_feature(&name) {
            tracing::debug!("`{}`: array `{name}` is left aside", path.display());
        } else if is_text {
            named.extend(names_of(path, &name, &array)?);
        } else if is_id(&name) {
            ids = Some(ids_of(path, &array)?);
        } else if array.axes.len() >= 2 && array.kind == TypeChar::Float {
            matrices.push((name, array));
        }
    }
    let (_, array) = match (matrices.is_empty(), unreadable) {
        (true, Some(error)) => return Err(error),
        _ => the_one(&matrices).map_err(|why| DataError::malformed(path, Place::Whole, why))?,
    };
    let [n_rows, n_cols] = matrix_axes(path, &array.axes)?;
    Ok(Table { ids, names: best_names(named), rows: Rows::Read(floats(path, array)?), n_rows, n_cols })
}

/// The texts of an array; `None` where it holds others than strings, and is not called like names.
fn names_of(path: &Path, name: &str, array: &Array) -> Result<Option<Names>, DataError> {
    match array.texts() {
        Some(values) => Ok(Some(Names { column: name.to_owned(), values })),
        None if name_rank(name).is_none() => Ok(None),
        None => {
            let why = "holds Python objects that are no strings";
            let error = DataError::malformed(&path.join(name), Place::Whole, why);
            Err(error.with_hint("store names as text: numpy.asarray(names, dtype=\"U\")"))
        }
    }
}

fn ids_of(path: &Path, array: &Array) -> Result<Vec<u64>, DataError> {
    let ids = match array.integers() {
        Some(ids) => ids.into_iter().map(|id| u64::try_from(id).ok()).collect(),
        None => array.numbers().and_then(|ids| ids.map(whole).collect()),
    };
    ids.ok_or_else(|| no_ids(path))
}

fn no_ids(path: &Path) -> DataError {
    DataError::malformed(path, Place::Whole, "`ids` holds something else than whole numbers from 0 on")
}

/// A float as the whole number that it is.
fn whole(number: f64) -> Option<u64> {
    // Beyond 2^53 neighbouring whole numbers are one.
    let is_whole = (0.0..(1u64 << 53) as f64).contains(&number) && number.fract() == 0.0;
    is_whole.then_some(number as u64)
}

fn safetensors(path: &Path) -> Result<Table, DataError> {
    let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
    let bytes = unpacked::read_file(path)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| wrong(format!("not safetensors ({error})")))?;
    let tensors = tensors.tensors();
    let ids = tensors.iter().find(|(name, _)| is_id(name));
    let ids = ids.map(|(_, tensor)| ids_of_tensor(tensor).ok_or_else(|| no_ids(path))).transpose()?;
    let float = |dtype| matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64);
    let matrices: Vec<(String, TensorView)> = tensors
        .into_iter()
        .filter(|(name, tensor)| tensor.shape().len() >= 2 && float(tensor.dtype()) && !is_no_feature(name))
        .collect();
    let (_, tensor) = the_one(&matrices).map_err(wrong)?;
    let [n_rows, n_cols] = matrix_axes(path, tensor.shape())?;
    let halves = |widen: &dyn Fn(u16) -> f32| {
        tensor.data().as_chunks().0.iter().map(|half| widen(u16::from_le_bytes(*half))).collect()
    };
    let rows = match tensor.dtype() {
        Dtype::F64 => tensor.data().as_chunks().0.iter().map(|x| f64::from_le_bytes(*x) as f32).collect(),
        Dtype::F16 => halves(&of_half),
        Dtype::BF16 => halves(&|half| f32::from_bits(u32::from(half) << 16)),
        _ => tensor.data().as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect(),
    };
    Ok(Table { ids, names: None, rows: Rows::Read(rows), n_rows, n_cols })
}

fn ids_of_tensor(ids: &TensorView<'_>) -> Option<Vec<u64>> {
    let id = |id: i64| u64::try_from(id).ok();
    match ids.dtype() {
        Dtype::I64 | Dtype::U64 => ids.data().as_chunks().0.iter().map(|x| id(i64::from_le_bytes(*x))).collect(),
        Dtype::I32 => ids.data().as_chunks().0.iter().map(|x| id(i32::from_le_bytes(*x).into())).collect(),
        _ => None,
    }
}

/// Rows and columns; axes of length 1 behind the first count for nothing.
fn matrix_axes(path: &Path, axes: &[usize]) -> Result<[usize; 2], DataError> {
    let wrong =
        || DataError::malformed(path, Place::Whole, format!("shape {axes:?} is not a row of numbers for each image"));
    let [n_rows, rest @ ..] = axes else { return Err(wrong()) };
    let lengths: Vec<usize> = rest.iter().copied().filter(|axis| *axis != 1).collect();
    match lengths[..] {
        _ if rest.is_empty() => Err(wrong().with_hint("make rows of it: features.reshape(n_images, -1)")),
        [] => Ok([*n_rows, 1]),
        [n_cols] => Ok([*n_rows, n_cols]),
        _ => {
            Err(wrong()
                .with_hint("make one row of each image: features.mean(axis=1), or features.reshape(n_images, -1)"))
        }
    }
}

/// The elements of an array of floats.
fn floats(path: &Path, array: &Array) -> Result<Vec<f32>, DataError> {
    let numbers = array.numbers().filter(|_| array.kind == TypeChar::Float);
    let numbers = numbers.ok_or_else(|| no_floats(path, array.kind))?;
    Ok(numbers.map(|x| x as f32).collect())
}

fn no_floats(path: &Path, kind: TypeChar) -> DataError {
    let error = DataError::malformed(path, Place::Whole, "the elements are not floats of 16, 32 or 64 bits");
    error.with_hint(match kind {
        TypeChar::Object => "if these are rows of features: numpy.stack(features).astype(\"float32\")",
        _ => "if these are features: features.astype(\"float32\")",
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Shape, Split};
    use super::*;

    fn data(ids: &[u64], n_train: usize) -> Dataset {
        let pool = Split { ids: ids.to_vec(), ..Split::numbered(vec![0; ids.len()], vec![0; ids.len()]) };
        Dataset {
            kind: "npz".to_owned(),
            shape: Shape { height: 1, width: 1, channels: 1 },
            classes: vec!["0".to_owned()],
            n_train,
            pool,
            validation: Split::default(),
            test: Split::default(),
            has_own_test: false,
            removed_files: Vec::new(),
            fingerprint: String::new(),
            notes: Default::default(),
        }
    }

    fn header(descr: &str, shape: &str) -> Vec<u8> {
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        header += &" ".repeat(117usize.saturating_sub(header.len()));
        header += "\n";
        [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat()
    }

    fn stored(ending: &str, bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::Builder::new().suffix(ending).tempfile().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn numbers(features: &Features) -> Vec<f32> {
        (*features.bytes).as_ref().as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn npz_of(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
        use std::io::Write;
        let mut writer = npyz::npz::NpzWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in arrays {
            writer.zip_writer().start_file(format!("{name}.npy"), Default::default()).unwrap();
            writer.zip_writer().write_all(bytes).unwrap();
        }
        writer.zip_writer().finish().unwrap().into_inner()
    }

    fn safetensors_of(tensors: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)>) -> Vec<u8> {
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        safetensors::serialize(views, &None).unwrap()
    }

    /// Every kind with the same rows: image 2 is not in the pool, and where there are ids the rows are in another order.
    #[test]
    fn every_kind_gives_the_rows_of_the_pool() {
        let data = data(&[0, 1, 3], 4);
        let (by_id, shuffled) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [7.0, 8.0, 3.0, 4.0, 1.0, 2.0]);
        let ids: Vec<u8> = [3i64, 1, 0].iter().flat_map(|id| id.to_le_bytes()).collect();
        let doubles: Vec<u8> = by_id.iter().flat_map(|x| f64::from(*x).to_be_bytes()).collect();
        let halves: Vec<u8> = [0x3c00u16, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600, 0x4700, 0x4800]
            .iter()
            .flat_map(|half| half.to_le_bytes())
            .collect();
        let files = [
            (".npy", [header("<f4", "(4, 2)"), f32s(&by_id)].concat()),
            (".npy", [header(">f8", "(4, 2)"), doubles].concat()),
            (".npy", [header("<f2", "(4, 2)"), halves].concat()),
            (
                ".npz",
                npz_of(&[
                    ("ids", [header("<i8", "(3,)"), ids.clone()].concat()),
                    ("features", [header("<f4", "(3, 2)"), f32s(&shuffled)].concat()),
                    ("other", [header("<f4", "(1, 1)"), f32s(&[0.0])].concat()),
                ]),
            ),
            (
                ".safetensors",
                safetensors_of(vec![
                    ("ids", Dtype::I64, vec![3], ids),
                    ("embeddings", Dtype::F32, vec![3, 2], f32s(&shuffled)),
                ]),
            ),
        ];
        for (ending, bytes) in files {
            let file = stored(ending, &bytes);
            let features = read_features(file.path(), &data).unwrap();
            assert_eq!((features.n_cols, numbers(&features)), (2, vec![1.0, 2.0, 3.0, 4.0, 7.0, 8.0]), "{ending}");
        }
    }

    /// As pyarrow and polars write them: a column of lists, or a column for each number.
    #[test]
    fn parquet_gives_lists_and_columns() {
        use ::parquet::data_type::{FloatType, Int64Type};
        use ::parquet::file::writer::SerializedFileWriter;
        use ::parquet::schema::parser::parse_message_type;
        let schemas = [
            "message m { required int64 id; required group f (LIST) { repeated group list { required float element; } } }",
            "message m { required int64 id; required float a; required float b; }",
        ];
        for (i, schema) in schemas.into_iter().enumerate() {
            let file = tempfile::Builder::new().suffix(".parquet").tempfile().unwrap();
            let schema = Arc::new(parse_message_type(schema).unwrap());
            let mut writer = SerializedFileWriter::new(file.reopen().unwrap(), schema, Default::default()).unwrap();
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(&[1, 0], None, None).unwrap();
            column.close().unwrap();
            // Lists of two numbers: each is there, and every second one goes on with a list.
            let (there, goes_on) = (vec![1i16; 4], vec![0i16, 1, 0, 1]);
            let (columns, levels): (Vec<Vec<f32>>, _) = match i {
                0 => (vec![vec![3.0, 4.0, 1.0, 2.0]], Some((&there[..], &goes_on[..]))),
                _ => (vec![vec![3.0, 1.0], vec![4.0, 2.0]], None),
            };
            for values in columns {
                let mut column = group.next_column().unwrap().unwrap();
                let (there, goes_on) = levels.unzip();
                column.typed::<FloatType>().write_batch(&values, there, goes_on).unwrap();
                column.close().unwrap();
            }
            group.close().unwrap();
            writer.close().unwrap();
            let features = read_features(file.path(), &data(&[0, 1], 2)).unwrap();
            assert_eq!((features.n_cols, numbers(&features)), (2, vec![1.0, 2.0, 3.0, 4.0]));
        }
    }

    #[test]
    fn what_does_not_fit_the_images_is_named() {
        let npy = |shape: &str, values: &[f32]| [header("<f4", shape), f32s(values)].concat();
        let with_ids = |ids: &[i64], values: &[f32]| {
            let ids =
                [header("<i8", &format!("({},)", ids.len())), ids.iter().flat_map(|id| id.to_le_bytes()).collect()];
            npz_of(&[("ids", ids.concat()), ("x", npy(&format!("({}, 1)", values.len()), values))])
        };
        let rows: Vec<(&str, Vec<u8>, &str)> = vec![
            (".npy", npy("(3, 1)", &[1.0, 2.0, 3.0]), "holds 3 rows, but the training part has 2 images"),
            (".npy", npy("(2, 1)", &[1.0, f32::NAN]), "row 1, column 0 is NaN"),
            (".npy", npy("(2,)", &[1.0, 2.0]), "is not a row of numbers"),
            (".npy", npy("(2, 0)", &[]), "2 rows of 0 numbers"),
            (".npy", npy("(2, 2)", &[1.0, 2.0]), "does not fit"),
            (".npy", b"text".to_vec(), "corrupt"),
            (".npz", with_ids(&[0, 0], &[1.0, 2.0]), "rows 0 and 1 both belong to the image 0"),
            (".npz", with_ids(&[0, 7], &[1.0, 2.0]), "has no row for 1 of 2 images, the first of them 1"),
            (".npz", with_ids(&[0, -1], &[1.0, 2.0]), "whole numbers"),
            (".npz", with_ids(&[0], &[1.0, 2.0]), "names 1 ids, but holds 2 rows"),
            (
                ".npz",
                npz_of(&[("a", npy("(2, 1)", &[1.0; 2])), ("b", npy("(2, 1)", &[1.0; 2]))]),
                "call one `features`",
            ),
            (".safetensors", b"{".to_vec(), "not safetensors"),
            (".parquet", b"PAR1".to_vec(), "not a whole Parquet file"),
            (".csv", b"1,2".to_vec(), "features come as"),
        ];
        for (ending, bytes, expected) in rows {
            let file = stored(ending, &bytes);
            let error = read_features(file.path(), &data(&[0, 1], 2)).err().expect(expected).to_string();
            assert!(error.contains(expected), "{error}\nexpected: {expected}");
        }
        let gone = read_features(Path::new("/nowhere/features.npy"), &data(&[0], 1)).err().unwrap();
        assert!(gone.to_string().contains("/nowhere/features.npy"), "{gone}");
    }

    #[test]
    fn halves_are_read_as_the_standard_says() {
        for (bits, value) in
            [(0u16, 0.0f32), (0x8000, -0.0), (0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (1, 5.960_464_5e-8)]
        {
            assert_eq!(of_half(bits).to_bits(), value.to_bits(), "{bits:x}");
        }
        assert!(of_half(0x7c00).is_infinite() && of_half(0x7e00).is_nan());
    }
}
