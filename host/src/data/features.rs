//! Features computed elsewhere: a row of numbers for each image, from `.npy`, `.npz`, `.safetensors` or `.parquet`.
//!
//! Row i belongs to the image whose dataset id is i; or the file names the id of each row, in an array or column `ids` (`id`).
//! The features are the array `features`, or else the only matrix of floats there is; in Parquet a column of lists, or all
//! columns of floats side by side. A plain `.npy` of little-endian f32 in C order is mapped and not read, so that a million
//! rows take no memory of the process.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use npyz::TypeChar;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use safetensors::{Dtype, SafeTensors};

use super::Dataset;
use super::error::{DataError, Place};
use super::npz::{Array, arrays};

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

/// Reads the features of the pool of `data`.
///
/// Errs when the file is none of the kinds, holds no matrix of floats or a value that is not finite, or when its rows do not
/// fit the images: another number of them without ids, an id twice, or none for an image of the pool.
pub fn read_features(path: &Path, data: &Dataset) -> Result<Features, DataError> {
    let kind = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let table = match kind {
        "npy" => npy(path)?,
        "npz" => npz(path)?,
        "safetensors" => safetensors(path)?,
        "parquet" => parquet(path)?,
        _ => {
            let why = "features come as .npy, .npz, .safetensors or .parquet";
            return Err(DataError::malformed(path, Place::Whole, why));
        }
    };
    table.of_pool(path, data)
}

/// What a file holds, before it is held against the images.
struct Table {
    ids: Option<Vec<u64>>,
    rows: Rows,
    n_rows: usize,
    n_cols: usize,
}

enum Rows {
    /// As they lie in a file.
    Mapped(Mapped),
    Read(Vec<f32>),
}

/// The part of a mapped file behind its header.
struct Mapped {
    map: memmap2::Mmap,
    offset: usize,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map[self.offset..]
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
        let row_of = self.row_of_each(data).map_err(wrong)?;
        let bytes: &[u8] = match &self.rows {
            Rows::Mapped(mapped) => mapped.as_ref(),
            Rows::Read(numbers) => bytemuck::cast_slice(numbers),
        };
        let number = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
        if let Some(at) = bytes.as_chunks().0.iter().position(|bytes| !number(bytes).is_finite()) {
            let value = number(&bytes.as_chunks().0[at]);
            return Err(wrong(format!("row {}, column {} is {value}", at / n_cols, at % n_cols)));
        }
        let in_order = row_of.len() == self.n_rows && row_of.iter().enumerate().all(|(i, row)| i == *row);
        let bytes: SharedBytes = match self.rows {
            Rows::Mapped(mapped) if in_order => Arc::new(mapped),
            Rows::Read(numbers) if in_order => Arc::new(Numbers(numbers)),
            _ => {
                let rows = row_of.iter().flat_map(|row| bytes[4 * n_cols * row..][..4 * n_cols].as_chunks().0);
                Arc::new(Numbers(rows.map(number).collect()))
            }
        };
        Ok(Features { bytes, n_cols })
    }

    /// The file's row of each pool image.
    fn row_of_each(&self, data: &Dataset) -> Result<Vec<usize>, String> {
        let Some(ids) = &self.ids else {
            if self.n_rows != data.n_train {
                return Err(format!(
                    "holds {} rows, but the training part has {} images; name the image of each row in `ids`",
                    self.n_rows, data.n_train
                ));
            }
            return Ok(data.pool.ids.iter().map(|id| *id as usize).collect());
        };
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

fn npy(path: &Path) -> Result<Table, DataError> {
    let file = File::open(path).map_err(|source| DataError::io(path, source))?;
    // SAFETY: nothing in this process writes to the file. Another process that changes it changes numbers, which any bytes are;
    // one that cuts it short ends this process by a signal, as the guide says.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|source| DataError::io(path, source))?;
    let header = Array::header(path, &map)?;
    let [n_rows, n_cols] = matrix_axes(path, &header.axes)?;
    if (header.kind, header.item_bytes, header.is_big_endian) == (TypeChar::Float, 4, false) {
        let offset = header.offset;
        return Ok(Table { ids: None, rows: Rows::Mapped(Mapped { map, offset }), n_rows, n_cols });
    }
    let array = Array { bytes: map[header.offset..].to_vec(), ..header };
    Ok(Table { ids: None, rows: Rows::Read(floats(path, &array)?), n_rows, n_cols })
}

fn npz(path: &Path) -> Result<Table, DataError> {
    let found = arrays(path)?;
    let ids = found.iter().find(|(name, _)| name == "ids" || name == "id");
    let ids = ids.map(|(_, array)| whole_numbers(path, array.integers())).transpose()?;
    let matrices: Vec<(&String, &Array)> = found
        .iter()
        .filter(|(_, array)| array.axes.len() == 2 && array.kind == TypeChar::Float)
        .map(|(name, array)| (name, array))
        .collect();
    let array = the_one(path, &matrices)?;
    let [n_rows, n_cols] = matrix_axes(path, &array.axes)?;
    Ok(Table { ids, rows: Rows::Read(floats(path, array)?), n_rows, n_cols })
}

fn safetensors(path: &Path) -> Result<Table, DataError> {
    let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
    let bytes = std::fs::read(path).map_err(|source| DataError::io(path, source))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| wrong(format!("not safetensors ({error})")))?;
    let tensors = tensors.tensors();
    let ids = tensors.iter().find(|(name, _)| name == "ids" || name == "id").map(|(_, ids)| match ids.dtype() {
        Dtype::I64 | Dtype::U64 => Some(ids.data().as_chunks().0.iter().map(|id| i64::from_le_bytes(*id)).collect()),
        Dtype::I32 => {
            Some(ids.data().as_chunks().0.iter().map(|id| i64::from(i32::from_le_bytes(*id))).collect::<Vec<i64>>())
        }
        _ => None,
    });
    let ids = ids.map(|ids| whole_numbers(path, ids)).transpose()?;
    let float = |dtype| matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64);
    let matrices: Vec<_> = tensors
        .iter()
        .filter(|(_, tensor)| tensor.shape().len() == 2 && float(tensor.dtype()))
        .map(|(name, tensor)| (name, tensor))
        .collect();
    let tensor = the_one(path, &matrices)?;
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
    Ok(Table { ids, rows: Rows::Read(rows), n_rows, n_cols })
}

fn parquet(path: &Path) -> Result<Table, DataError> {
    let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
    let file = File::open(path).map_err(|source| DataError::io(path, source))?;
    let corrupt = |error: parquet::errors::ParquetError| wrong(format!("not a whole Parquet file ({error})"));
    let reader = SerializedFileReader::new(file).map_err(corrupt)?;
    let (mut ids, mut rows, mut n_cols) = (Vec::new(), Vec::new(), None);
    for (i, row) in reader.get_row_iter(None).map_err(corrupt)?.enumerate() {
        let before = rows.len();
        take_row(&row.map_err(corrupt)?, &mut ids, &mut rows).map_err(|why| wrong(format!("row {i}: {why}")))?;
        let n = rows.len() - before;
        if *n_cols.get_or_insert(n) != n {
            return Err(wrong(format!("row {i} has {n} numbers, those before have {}", n_cols.unwrap_or(0))));
        }
    }
    let n_cols = n_cols.unwrap_or(0);
    let n_rows = rows.len().checked_div(n_cols).unwrap_or(0);
    let ids = (!ids.is_empty()).then_some(ids);
    Ok(Table { ids, rows: Rows::Read(rows), n_rows, n_cols })
}

/// The numbers of a row, from its lists and floats, and its id, if it has one.
fn take_row(row: &Row, ids: &mut Vec<u64>, numbers: &mut Vec<f32>) -> Result<(), String> {
    for (name, field) in row.get_column_iter() {
        match (name.as_str(), field) {
            ("id" | "ids", field) => ids.push(id_of(field).ok_or_else(|| format!("`{field}` is no id"))?),
            (_, Field::ListInternal(list)) => {
                for element in list.elements() {
                    numbers.push(float_of(element).ok_or_else(|| format!("`{element}` in `{name}` is no float"))?);
                }
            }
            (_, field) => numbers.extend(float_of(field)),
        }
    }
    Ok(())
}

fn id_of(field: &Field) -> Option<u64> {
    match field {
        Field::Int(id) => u64::try_from(*id).ok(),
        Field::Long(id) => u64::try_from(*id).ok(),
        Field::UInt(id) => Some(u64::from(*id)),
        Field::ULong(id) => Some(*id),
        _ => None,
    }
}

fn float_of(field: &Field) -> Option<f32> {
    match field {
        Field::Float(x) => Some(*x),
        Field::Double(x) => Some(*x as f32),
        Field::Float16(x) => Some(x.to_f32()),
        _ => None,
    }
}

/// The matrix named `features`, or else the only one.
fn the_one<'t, T>(path: &Path, matrices: &[(&String, &'t T)]) -> Result<&'t T, DataError> {
    let named = matrices.iter().find(|(name, _)| *name == "features");
    match (named, matrices) {
        (Some((_, matrix)), _) | (None, [(_, matrix)]) => Ok(matrix),
        _ => {
            let names: Vec<&str> = matrices.iter().map(|(name, _)| name.as_str()).collect();
            let why = format!("holds {} matrices of floats ({}); call one `features`", names.len(), names.join(", "));
            Err(DataError::malformed(path, Place::Whole, why))
        }
    }
}

fn matrix_axes(path: &Path, axes: &[usize]) -> Result<[usize; 2], DataError> {
    axes.try_into().map_err(|_| {
        DataError::malformed(path, Place::Whole, format!("shape {axes:?} is not a row of numbers for each image"))
    })
}

fn whole_numbers(path: &Path, ids: Option<Vec<i64>>) -> Result<Vec<u64>, DataError> {
    let whole = ids.map(|ids| ids.into_iter().map(u64::try_from).collect::<Result<Vec<u64>, _>>());
    match whole {
        Some(Ok(ids)) => Ok(ids),
        _ => Err(DataError::malformed(path, Place::Whole, "`ids` holds something else than whole numbers from 0 on")),
    }
}

/// The elements of an array of floats.
fn floats(path: &Path, array: &Array) -> Result<Vec<f32>, DataError> {
    let ordered = |item: &[u8]| {
        let mut bytes = item.to_vec();
        if array.is_big_endian {
            bytes.reverse();
        }
        bytes
    };
    let widen = |item: &[u8]| match *ordered(item) {
        [a, b] => of_half(u16::from_le_bytes([a, b])),
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
        _ => f32::NAN,
    };
    if array.kind != TypeChar::Float || ![2, 4, 8].contains(&array.item_bytes) {
        return Err(DataError::malformed(path, Place::Whole, "the elements are not floats of 16, 32 or 64 bits"));
    }
    Ok(array.bytes.chunks_exact(array.item_bytes).map(widen).collect())
}

/// IEEE 754 binary16: a sign, 5 bits of exponent, 10 of fraction.
fn of_half(half: u16) -> f32 {
    let (exponent, fraction) = (i32::from(half >> 10 & 31), f32::from(half & 1023));
    let size = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    };
    if half >> 15 == 1 { -size } else { size }
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
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (*name, safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
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
        use parquet::data_type::{FloatType, Int64Type};
        use parquet::file::writer::SerializedFileWriter;
        use parquet::schema::parser::parse_message_type;
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
