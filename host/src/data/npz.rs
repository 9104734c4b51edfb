//! NumPy archives: MedMNIST's array names or those of Keras.
//!
//! Images are unsigned bytes of shape (n, h, w) or (n, h, w, c), labels integers of shape (n) or (n, 1). Other arrays,
//! such as MedMNIST's `val_images`, are left aside.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use npyz::npz::NpzArchive;
use npyz::{DType, Endianness, NpyFile, Order, TypeChar};

use super::error::{DataError, Place};
use super::{Parts, Shape, Split};

/// Names of the images and labels of the training part, then of the test part.
const LAYOUTS: [[&str; 4]; 2] =
    [["train_images", "train_labels", "test_images", "test_labels"], ["x_train", "y_train", "x_test", "y_test"]];
const MAX_CLASSES: i64 = 65536;

type Archive = NpzArchive<BufReader<File>>;

/// Reads the archive at `path`. Classes are named by their numbers, 0 to the largest label of the training part.
pub(super) fn read(path: &Path) -> Result<Parts, DataError> {
    let mut archive = open(path)?;
    let names: Vec<String> = archive.array_names().map(String::from).collect();
    let is_there = |name: &str| names.iter().any(|known| known == name);
    let Some(layout) = LAYOUTS.iter().find(|layout| is_there(layout[0])) else {
        return Err(DataError::Missing {
            looked_in: path.to_path_buf(),
            names: LAYOUTS.iter().map(|layout| layout[0].to_string()).collect(),
            hint: format!("the archive holds {}", names.join(", ")),
        });
    };
    for name in names.iter().filter(|name| !layout.contains(&name.as_str())) {
        tracing::debug!("`{}`: array `{name}` is left aside", path.display());
    }
    let (shape, train) = read_part(&mut archive, path, layout[0], layout[1])?;
    let n_classes = train.labels.iter().max().map_or(0, |&label| label + 1);
    let has_test = is_there(layout[2]) || is_there(layout[3]);
    let test = has_test.then(|| read_part(&mut archive, path, layout[2], layout[3])).transpose()?;
    if let Some((test_shape, test)) = &test {
        check_test(test, *test_shape, shape, n_classes, path, layout)?;
    }
    let classes = (0..n_classes).map(|class| class.to_string()).collect();
    Ok(Parts { shape, classes, train, test: test.map(|(_, test)| test) })
}

fn check_test(
    test: &Split,
    test_shape: Shape,
    shape: Shape,
    n_classes: u32,
    path: &Path,
    layout: &[&str; 4],
) -> Result<(), DataError> {
    if test_shape != shape {
        let why = format!("images have shape {test_shape:?}, those of `{}` {shape:?}", layout[0]);
        return Err(DataError::malformed(&path.join(layout[2]), Place::Whole, why));
    }
    match test.labels.iter().position(|&label| label >= n_classes) {
        None => Ok(()),
        Some(i) => {
            let why = format!("image {i}: label {} is outside 0 to {}", test.labels[i], n_classes - 1);
            Err(DataError::malformed(&path.join(layout[3]), Place::Whole, why))
        }
    }
}

fn read_part(archive: &mut Archive, path: &Path, images: &str, labels: &str) -> Result<(Shape, Split), DataError> {
    let images_path = path.join(images);
    let malformed = |why: String| DataError::malformed(&images_path, Place::Whole, why);
    let images = Array::read(archive, path, images)?;
    if (images.kind, images.item_bytes) != (TypeChar::Uint, 1) {
        return Err(malformed("the elements are not unsigned bytes".into()));
    }
    let [n, height, width, channels] = match images.axes[..] {
        [n, height, width] => [n, height, width, 1],
        [n, height, width, channels @ (1 | 3)] => [n, height, width, channels],
        _ => return Err(malformed(format!("shape {:?} is not (n, h, w) or (n, h, w, 1 or 3)", images.axes))),
    };
    if images.bytes.is_empty() {
        return Err(malformed("holds no pixels".into()));
    }
    let labels = read_labels(archive, path, labels, n)?;
    let shape = Shape { height, width, channels };
    Ok((shape, Split::numbered(images.bytes, labels)))
}

fn read_labels(archive: &mut Archive, path: &Path, name: &str, n_images: usize) -> Result<Vec<u32>, DataError> {
    let labels_path = path.join(name);
    let malformed = |why: String| DataError::malformed(&labels_path, Place::Whole, why);
    let array = Array::read(archive, path, name)?;
    let (&n, rest) = array.axes.split_first().unwrap_or((&0, &[]));
    if !matches!(rest, [] | [1]) {
        return Err(malformed(format!("shape {:?} is not (n) or (n, 1)", array.axes)));
    }
    if n != n_images {
        return Err(malformed(format!("holds {n} labels, but there are {n_images} images")));
    }
    let numbers = array.integers().ok_or_else(|| malformed("the elements are not integers".into()))?;
    match numbers.iter().position(|label| !(0..MAX_CLASSES).contains(label)) {
        Some(i) => Err(malformed(format!("image {i}: label {} is outside 0 to {}", numbers[i], MAX_CLASSES - 1))),
        None => Ok(numbers.into_iter().map(|label| label as u32).collect()),
    }
}

/// Every array of the archive at `path` with its name; structured ones and those in Fortran order are refused.
pub(super) fn arrays(path: &Path) -> Result<Vec<(String, Array)>, DataError> {
    let mut archive = open(path)?;
    let names: Vec<String> = archive.array_names().map(String::from).collect();
    names.into_iter().map(|name| Array::read(&mut archive, path, &name).map(|array| (name, array))).collect()
}

fn open(path: &Path) -> Result<Archive, DataError> {
    let file = File::open(path).map_err(|source| DataError::io(path, source))?;
    NpzArchive::new(BufReader::new(file))
        .map_err(|error| DataError::malformed(path, Place::Whole, format!("not a whole npz archive ({error})")))
}

/// An array in C order as it is stored.
pub(super) struct Array {
    pub(super) axes: Vec<usize>,
    pub(super) kind: TypeChar,
    pub(super) item_bytes: usize,
    pub(super) is_big_endian: bool,
    /// Where the elements begin in the bytes of the file.
    pub(super) offset: usize,
    /// The elements; none yet where only the header was read.
    pub(super) bytes: Vec<u8>,
}

impl Array {
    fn read(archive: &mut Archive, path: &Path, name: &str) -> Result<Self, DataError> {
        let path = &path.join(name);
        let corrupt = |error: std::io::Error| DataError::malformed(path, Place::Whole, format!("corrupt ({error})"));
        let mut bytes = Vec::new();
        match archive.zip_archive().by_name(&npyz::npz::file_name_from_array_name(name)) {
            Ok(mut entry) => entry.read_to_end(&mut bytes).map_err(corrupt)?,
            Err(error) => return Err(DataError::malformed(path, Place::Whole, format!("cannot be read ({error})"))),
        };
        let header = Array::header(path, &bytes)?;
        bytes.drain(..header.offset);
        Ok(Array { bytes, ..header })
    }

    /// What the first bytes of a `.npy` file say, held against how many there are.
    pub(super) fn header(path: &Path, bytes: &[u8]) -> Result<Self, DataError> {
        let corrupt = |error: std::io::Error| DataError::malformed(path, Place::Whole, format!("corrupt ({error})"));
        let npy = NpyFile::new(bytes).map_err(corrupt)?;
        let unusable = |why: &str| DataError::malformed(path, Place::Whole, why);
        let DType::Plain(dtype) = npy.dtype() else { return Err(unusable("a structured array")) };
        let item_bytes = dtype.num_bytes().ok_or_else(|| unusable("elements without a fixed size"))?;
        if npy.order() != Order::C {
            return Err(unusable("stored in Fortran order; save it with numpy.ascontiguousarray"));
        }
        let shape = npy.shape().to_vec();
        let offset = bytes.len() - npy.into_inner().len();
        let declared = shape.iter().try_fold(item_bytes as u64, |product, &axis| product.checked_mul(axis));
        let there = (bytes.len() - offset) as u64;
        if declared != Some(there) {
            let why = format!("shape {shape:?} does not fit the {there} bytes that follow the header");
            return Err(DataError::at_byte(path, offset as u64, why));
        }
        Ok(Array {
            axes: shape.into_iter().map(|axis| axis as usize).collect(),
            kind: dtype.type_char(),
            item_bytes,
            is_big_endian: dtype.endianness() == Endianness::Big,
            offset,
            bytes: Vec::new(),
        })
    }

    /// The elements, if they are integers; those beyond i64 come out negative.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        let is_signed = match self.kind {
            TypeChar::Int => true,
            TypeChar::Uint => false,
            _ => return None,
        };
        let widen = |item: &[u8]| {
            let highest = if self.is_big_endian { item.first() } else { item.last() };
            let is_negative = is_signed && highest.is_some_and(|&byte| byte >= 0x80);
            let mut little_endian = [if is_negative { 0xff } else { 0 }; 8];
            little_endian[..item.len()].copy_from_slice(item);
            if self.is_big_endian {
                little_endian[..item.len()].reverse();
            }
            i64::from_le_bytes(little_endian)
        };
        Some(self.bytes.chunks_exact(self.item_bytes).map(widen).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use npyz::npz::NpzWriter;

    use super::*;

    /// An `.npy` file with a hand-written header.
    fn npy(descr: &str, shape: &str, is_fortran: bool, data: &[u8]) -> Vec<u8> {
        let order = if is_fortran { "True" } else { "False" };
        let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut writer = NpzWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in arrays {
            writer.zip_writer().start_file(format!("{name}.npy"), Default::default()).unwrap();
            writer.zip_writer().write_all(bytes).unwrap();
        }
        writer.zip_writer().finish().unwrap().into_inner()
    }

    fn read_bytes(bytes: &[u8]) -> Result<Parts, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path())
    }

    fn medmnist() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("train_images", npy("|u1", "(2, 1, 2, 3)", false, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])),
            ("train_labels", npy("|u1", "(2, 1)", false, &[2, 0])),
            ("val_images", npy("|u1", "(1,)", false, &[0])),
            ("test_images", npy("|u1", "(1, 1, 2, 3)", false, &[9, 8, 7, 6, 5, 4])),
            ("test_labels", npy("<i8", "(1,)", false, &1i64.to_le_bytes())),
        ]
    }

    #[test]
    fn reads_the_medmnist_layout() {
        let parts = read_bytes(&npz(&medmnist())).unwrap();
        assert_eq!(parts.shape, Shape { height: 1, width: 2, channels: 3 });
        assert_eq!(parts.classes, ["0", "1", "2"]);
        assert_eq!(parts.train, Split::numbered((1..=12).collect(), vec![2, 0]));
        assert_eq!(parts.test.unwrap(), Split::numbered(vec![9, 8, 7, 6, 5, 4], vec![1]));
    }

    #[test]
    fn reads_the_keras_layout_and_every_integer_type() {
        let big_endian: Vec<u8> = [1i16, 0].iter().flat_map(|n| n.to_be_bytes()).collect();
        let rows = [
            ("<i4", vec![1, 0, 0, 0, 0, 0, 0, 0]),
            (">i2", big_endian),
            ("<u8", [1u64, 0].map(u64::to_le_bytes).concat()),
        ];
        for (descr, labels) in rows {
            let arrays =
                [("x_train", npy("|u1", "(2, 1, 1)", false, &[5, 6])), ("y_train", npy(descr, "(2,)", false, &labels))];
            let parts = read_bytes(&npz(&arrays)).unwrap();
            assert_eq!(parts.train.labels, [1, 0], "{descr}");
            assert!(parts.test.is_none());
        }
    }

    #[test]
    fn every_corruption_names_the_array() {
        let rows: [(&str, Vec<u8>, &str); 10] = [
            ("train_images", npy("|u1", "(2, 1, 2, 3)", false, &[0; 11]), "does not fit the 11 bytes"),
            ("train_images", npy("|u1", "(99999999999, 99999999999)", false, &[]), "does not fit the 0 bytes"),
            ("train_images", npy("<f4", "(2, 1, 2, 3)", false, &[0; 48]), "not unsigned bytes"),
            ("train_images", npy("|u1", "(2, 6)", false, &[0; 12]), "is not (n, h, w)"),
            ("train_images", npy("|u1", "(2, 1, 2, 3)", true, &[0; 12]), "Fortran"),
            ("train_images", b"\x93NUMPY".to_vec(), "corrupt"),
            ("train_labels", npy("|u1", "(3, 1)", false, &[0; 3]), "holds 3 labels, but there are 2 images"),
            ("train_labels", npy("|i1", "(2, 1)", false, &[0, 255]), "image 1: label -1 is outside"),
            ("train_labels", npy("|u1", "(2, 3)", false, &[0; 6]), "is not (n) or (n, 1)"),
            ("test_labels", npy("|u1", "(1,)", false, &[3]), "image 0: label 3 is outside 0 to 2"),
        ];
        for (name, bytes, expected) in rows {
            let arrays = medmnist().into_iter().map(|(n, whole)| (n, if n == name { bytes.clone() } else { whole }));
            let message = read_bytes(&npz(&arrays.collect::<Vec<_>>())).err().expect(expected).to_string();
            assert!(message.contains(expected) && message.contains(name), "{message}\nexpected: {expected}");
        }
    }

    #[test]
    fn broken_archives_are_refused() {
        let whole = npz(&medmnist());
        assert!(read_bytes(&whole[..whole.len() / 2]).is_err());
        let mut flipped = whole.clone();
        flipped[130] ^= 0x40;
        assert!(read_bytes(&flipped).is_err());
        let error = read_bytes(&npz(&medmnist()[2..3])).err().unwrap();
        assert!(error.to_string().contains("train_images, x_train"), "{error}");
        assert!(error.hint().unwrap().contains("val_images"));
    }
}
