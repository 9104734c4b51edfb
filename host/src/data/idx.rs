//! MNIST and Fashion-MNIST: IDX files, gzipped or not.
//!
//! An IDX file is a magic number (two zero bytes, the element type, the number of axes), the length of each axis as a
//! big-endian u32, and the elements.

use std::path::{Path, PathBuf};

use super::archive::{open_plain_or_gz, read_declared, read_header};
use super::error::DataError;
use super::spec::Kind;
use super::{Parts, Shape, Split};

const UNSIGNED_BYTE: u8 = 0x08;
const N_CLASSES: u8 = 10;
const FASHION_CLASSES: [&str; N_CLASSES as usize] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// Reads the four IDX files in `folder`.
pub(super) fn read(folder: &Path, kind: Kind) -> Result<Parts, DataError> {
    let (train, test) = rayon::join(|| read_part(folder, "train", kind), || read_part(folder, "t10k", kind));
    let ((shape, train), (test_shape, test)) = (train?, test?);
    if shape != test_shape {
        let images = find(folder, "t10k", "images", 3, kind)?;
        let why = format!(
            "declares images of {}x{}, but the training images are {}x{}",
            test_shape.height, test_shape.width, shape.height, shape.width
        );
        return Err(DataError::at_byte(&images, 8, why));
    }
    let classes = match kind {
        Kind::FashionMnist => FASHION_CLASSES.map(String::from).to_vec(),
        _ => (0..N_CLASSES).map(|digit| digit.to_string()).collect(),
    };
    Ok(Parts { shape, classes, train, test: Some(test) })
}

fn read_part(folder: &Path, part: &str, kind: Kind) -> Result<(Shape, Split), DataError> {
    let images_path = find(folder, part, "images", 3, kind)?;
    let labels_path = find(folder, part, "labels", 1, kind)?;
    let ([n_images, height, width], pixels) = read_array::<3>(&images_path)?;
    let ([n_labels], labels) = read_array::<1>(&labels_path)?;
    if n_images != n_labels {
        let why = format!("holds {n_labels} labels, but `{}` holds {n_images} images", images_path.display());
        return Err(DataError::at_byte(&labels_path, 4, why));
    }
    if pixels.is_empty() {
        return Err(DataError::at_byte(&images_path, 4, "holds no pixels"));
    }
    if let Some(i) = labels.iter().position(|&label| label >= N_CLASSES) {
        let why = format!("label {} is outside 0 to {}", labels[i], N_CLASSES - 1);
        let error = DataError::at_byte(&labels_path, 8 + i as u64, why);
        return Err(error.with_hint(format!(
            "kind `{}` has ten classes; another set in these files, such as EMNIST, can be stored as `npz`",
            kind.name()
        )));
    }
    let labels = labels.into_iter().map(u32::from).collect();
    Ok((Shape { height, width, channels: 1 }, Split::numbered(pixels, labels)))
}

/// The first of the names under which the file is published.
fn find(folder: &Path, part: &str, what: &str, n_axes: u8, kind: Kind) -> Result<PathBuf, DataError> {
    let stems = ["-", "."].map(|separator| format!("{part}-{what}{separator}idx{n_axes}-ubyte"));
    let names: Vec<String> = stems.iter().flat_map(|stem| [stem.clone(), format!("{stem}.gz")]).collect();
    match names.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => Err(DataError::Missing {
            looked_in: folder.to_path_buf(),
            names,
            hint: format!("`coldstart data fetch {}` downloads it", kind.name()),
        }),
    }
}

/// The axes and elements of an IDX file of bytes with `N` axes.
pub(super) fn read_array<const N: usize>(path: &Path) -> Result<([usize; N], Vec<u8>), DataError> {
    let mut reader = open_plain_or_gz(path)?;
    let magic: [u8; 4] = read_header(&mut reader, path, 0)?;
    let expected = [0, 0, UNSIGNED_BYTE, N as u8];
    if let Some(i) = (0..4).find(|&i| magic[i] != expected[i]) {
        let why = format!("the magic number is {magic:02x?}, expected {expected:02x?} (bytes along {N} axes)");
        return Err(DataError::at_byte(path, i as u64, why));
    }
    let mut axes = [0; N];
    for (i, axis) in axes.iter_mut().enumerate() {
        *axis = u32::from_be_bytes(read_header(&mut reader, path, 4 + 4 * i as u64)?) as usize;
    }
    let declared = axes.iter().try_fold(1u64, |product, &axis| product.checked_mul(axis as u64));
    let Some(declared) = declared else {
        return Err(DataError::at_byte(path, 4, format!("the declared size {axes:?} is beyond any file")));
    };
    let elements = read_declared(reader, declared, 4 + 4 * N as u64, path)?;
    Ok((axes, elements))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn idx(axes: &[u32], elements: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, axes.len() as u8];
        bytes.extend(axes.iter().flat_map(|axis| axis.to_be_bytes()));
        bytes.extend(elements);
        bytes
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A folder of two training images and one test image of 2x3 pixels.
    fn tiny() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: Vec<u8>| fs::write(folder.path().join(name), bytes).unwrap();
        write("train-images-idx3-ubyte", idx(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]));
        write("train-labels-idx1-ubyte.gz", gz(&idx(&[2], &[9, 0])));
        write("t10k-images.idx3-ubyte.gz", gz(&idx(&[1, 2, 3], &[6, 5, 4, 3, 2, 1])));
        write("t10k-labels.idx1-ubyte", idx(&[1], &[5]));
        folder
    }

    #[test]
    fn reads_plain_gzipped_and_dotted_names() {
        let parts = read(tiny().path(), Kind::FashionMnist).unwrap();
        assert_eq!(parts.shape, Shape { height: 2, width: 3, channels: 1 });
        assert_eq!(parts.train.labels, [9, 0]);
        assert_eq!(parts.train.pixels_nhwc, (1..=12).collect::<Vec<u8>>());
        let test = parts.test.unwrap();
        assert_eq!((test.ids, test.labels, test.pixels_nhwc), (vec![0], vec![5], vec![6, 5, 4, 3, 2, 1]));
        assert_eq!(parts.classes[9], "Ankle boot");
    }

    #[test]
    fn every_corruption_names_file_and_byte() {
        let mut bad_gz = gz(&idx(&[2], &[9, 0]));
        let crc = bad_gz.len() - 8;
        bad_gz[crc] ^= 1;
        let cut_gz = gz(&idx(&[2], &[9, 0]))[..14].to_vec();
        let (images, labels) = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz");
        let rows: [(&str, Vec<u8>, &str); 11] = [
            (images, vec![0, 0], "byte 2: the file ends"),
            (images, idx(&[2, 2, 3], &[0; 11]), "byte 27: the file ends"),
            (images, idx(&[2, 2, 3], &[0; 13]), "byte 28: data after the end"),
            (images, idx(&[u32::MAX, 28, 28], &[0; 13]), "byte 29: the file ends"),
            (images, idx(&[u32::MAX; 3], &[]), "byte 4: the declared size"),
            (images, vec![0x50, 0x4b, 3, 4], "byte 0: the magic number is [50, 4b, 03, 04]"),
            (images, idx(&[2], &[9, 0]), "byte 3: the magic number"),
            (labels, idx(&[3], &[9, 0, 1]), "byte 4: holds 3 labels"),
            (labels, idx(&[2], &[9, 10]), "byte 9: label 10 is outside 0 to 9"),
            (labels, bad_gz, "corrupt compressed data after 10 bytes unpacked"),
            (labels, cut_gz, "the file ends within its gzip data"),
        ];
        for (name, bytes, expected) in rows {
            let folder = tiny();
            fs::write(folder.path().join(name), bytes).unwrap();
            let message = read(folder.path(), Kind::Mnist).err().expect(expected).to_string();
            assert!(message.contains(expected) && message.contains(name), "{message}\nexpected: {expected}");
        }
    }

    #[test]
    fn a_missing_file_lists_the_names_and_how_to_get_it() {
        let folder = tiny();
        fs::remove_file(folder.path().join("t10k-labels.idx1-ubyte")).unwrap();
        let error = read(folder.path(), Kind::FashionMnist).err().unwrap();
        assert!(error.to_string().contains("t10k-labels-idx1-ubyte.gz, t10k-labels.idx1-ubyte"), "{error}");
        assert!(error.hint().unwrap().contains("coldstart data fetch fashion-mnist"));
    }

    #[test]
    fn test_images_of_another_size_are_refused() {
        let folder = tiny();
        fs::write(folder.path().join("t10k-images.idx3-ubyte.gz"), gz(&idx(&[1, 3, 2], &[0; 6]))).unwrap();
        let message = read(folder.path(), Kind::Mnist).err().unwrap().to_string();
        assert!(message.contains("declares images of 3x2, but the training images are 2x3"), "{message}");
    }
}
