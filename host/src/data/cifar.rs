//! CIFAR-10 and CIFAR-100: binary batches, pickled Python batches, or the official archive of either.
//!
//! Both forms hold an image as three planes (red, green, blue) of 32 rows of 32 bytes.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;

use super::archive::Tree;
use super::error::{DataError, Place};
use super::pickle::{Node, NodeId, Pickle};
use super::spec::Kind;
use super::{Parts, Shape, Split};

const SHAPE: Shape = Shape { height: 32, width: 32, channels: 3 };
const PLANE: usize = 32 * 32;
const IMAGE: usize = 3 * PLANE;

/// One published form of a set.
struct Form {
    folder: &'static str,
    archive: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    class_names: &'static str,
    batches: Batches,
    n_classes: u32,
}

enum Batches {
    /// Records of some label bytes, of which the last counts, and an image.
    Binary { label_bytes: usize },
    /// A dictionary of `data` (images x 3072, bytes), the labels, and much else.
    Pickled { labels: &'static str, class_names: &'static str },
}

static CIFAR10: [Form; 2] = [
    Form {
        folder: "cifar-10-batches-py",
        archive: "cifar-10-python.tar.gz",
        train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
        test: "test_batch",
        class_names: "batches.meta",
        batches: Batches::Pickled { labels: "labels", class_names: "label_names" },
        n_classes: 10,
    },
    Form {
        folder: "cifar-10-batches-bin",
        archive: "cifar-10-binary.tar.gz",
        train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
        test: "test_batch.bin",
        class_names: "batches.meta.txt",
        batches: Batches::Binary { label_bytes: 1 },
        n_classes: 10,
    },
];

static CIFAR100: [Form; 2] = [
    Form {
        folder: "cifar-100-python",
        archive: "cifar-100-python.tar.gz",
        train: &["train"],
        test: "test",
        class_names: "meta",
        batches: Batches::Pickled { labels: "fine_labels", class_names: "fine_label_names" },
        n_classes: 100,
    },
    Form {
        folder: "cifar-100-binary",
        archive: "cifar-100-binary.tar.gz",
        train: &["train.bin"],
        test: "test.bin",
        class_names: "fine_label_names.txt",
        batches: Batches::Binary { label_bytes: 2 },
        n_classes: 100,
    },
];

/// Reads the set at `path`: the folder of the batches, the official archive, or the folder that holds either.
pub(super) fn read(path: &Path, kind: Kind, cancelled: &AtomicBool) -> Result<Parts, DataError> {
    let (form, tree) = find(path, kind, cancelled)?;
    let mut train = (Vec::new(), Vec::new());
    for name in form.train {
        let (mut pixels_nhwc, mut labels) = form.read_batch(&tree, name)?;
        train.0.append(&mut pixels_nhwc);
        train.1.append(&mut labels);
    }
    let test = form.read_batch(&tree, form.test)?;
    Ok(Parts {
        shape: SHAPE,
        classes: form.class_names(&tree)?,
        train: Split::numbered(train.0, train.1),
        test: Some(Split::numbered(test.0, test.1)),
    })
}

fn find(path: &Path, kind: Kind, cancelled: &AtomicBool) -> Result<(&'static Form, Tree), DataError> {
    let forms = if kind == Kind::Cifar10 { &CIFAR10 } else { &CIFAR100 };
    for form in forms {
        for folder in [path.to_path_buf(), path.join(form.folder)] {
            if folder.join(form.train[0]).is_file() {
                return Ok((form, Tree::open(&folder, cancelled)?.unwrapped()));
            }
        }
    }
    for form in forms {
        let archive = path.join(form.archive);
        if archive.is_file() {
            return Ok((form, Tree::open(&archive, cancelled)?.unwrapped()));
        }
    }
    if path.is_file() {
        let tree = Tree::open(path, cancelled)?.unwrapped();
        if let Some(form) = forms.iter().find(|form| tree.contains(form.train[0])) {
            return Ok((form, tree));
        }
    }
    let names = forms.iter().flat_map(|form| [format!("{}/{}", form.folder, form.train[0]), form.archive.into()]);
    Err(DataError::Missing {
        looked_in: path.to_path_buf(),
        names: names.collect(),
        hint: format!("`coldstart data fetch {}` downloads it", kind.name()),
    })
}

impl Form {
    /// Pixels (n, height, width, channels) and labels of one file.
    fn read_batch(&self, tree: &Tree, name: &str) -> Result<(Vec<u8>, Vec<u32>), DataError> {
        let path = tree.full_path(name);
        let bytes = tree.read(name)?;
        match self.batches {
            Batches::Binary { label_bytes } => self.read_binary(&bytes, label_bytes, &path),
            Batches::Pickled { labels, .. } => self.read_pickle(&bytes, labels, &path),
        }
    }

    fn read_binary(&self, bytes: &[u8], label_bytes: usize, path: &Path) -> Result<(Vec<u8>, Vec<u32>), DataError> {
        let record = label_bytes + IMAGE;
        let whole = bytes.len() / record * record;
        if whole != bytes.len() || bytes.is_empty() {
            let why = format!("the file ends, but a record of {record} bytes from byte {whole} on was expected");
            return Err(DataError::at_byte(path, bytes.len() as u64, why));
        }
        let labels: Vec<u32> = bytes.chunks_exact(record).map(|record| record[label_bytes - 1].into()).collect();
        if let Some(i) = labels.iter().position(|&label| label >= self.n_classes) {
            let offset = i * record + label_bytes - 1;
            return Err(DataError::at_byte(path, offset as u64, self.out_of_range(labels[i].into())));
        }
        let planes = bytes.par_chunks_exact(record).map(|record| &record[label_bytes..]);
        Ok((interleaved(planes), labels))
    }

    fn read_pickle(&self, bytes: &[u8], labels: &str, path: &Path) -> Result<(Vec<u8>, Vec<u32>), DataError> {
        let malformed = |why: String| DataError::malformed(path, Place::Whole, why);
        let batch = unpickle(bytes, path)?;
        let data = batch.get("data").and_then(|data| pixels_of(&batch, data));
        let data = data.ok_or_else(|| malformed("`data` is not an array of bytes, images x 3072".into()))?;
        let Some(Node::List(labels)) = batch.get(labels) else {
            return Err(malformed(format!("has no list `{labels}`")));
        };
        if labels.len() * IMAGE != data.len() {
            return Err(malformed(format!("holds {} labels, but {} images", labels.len(), data.len() / IMAGE)));
        }
        let label_of = |(i, label): (usize, &NodeId)| {
            self.label(batch.node(*label)).map_err(|why| malformed(format!("image {i}: {why}")))
        };
        let labels: Result<Vec<u32>, DataError> = labels.iter().enumerate().map(label_of).collect();
        Ok((interleaved(data.par_chunks_exact(IMAGE)), labels?))
    }

    /// A pickled label, or what is wrong with it.
    fn label(&self, label: &Node<'_>) -> Result<u32, String> {
        match label {
            Node::Integer(label) if (0..i64::from(self.n_classes)).contains(label) => Ok(*label as u32),
            Node::Integer(label) => Err(self.out_of_range(*label)),
            _ => Err("the label is not a whole number".to_owned()),
        }
    }

    fn out_of_range(&self, label: i64) -> String {
        format!("label {label} is outside 0 to {}", self.n_classes - 1)
    }

    /// Names from the file of names, or the labels themselves where there is none.
    fn class_names(&self, tree: &Tree) -> Result<Vec<String>, DataError> {
        if !tree.contains(self.class_names) {
            return Ok((0..self.n_classes).map(|label| label.to_string()).collect());
        }
        let path = tree.full_path(self.class_names);
        let bytes = tree.read(self.class_names)?;
        let names: Vec<String> = match self.batches {
            Batches::Binary { .. } => String::from_utf8_lossy(&bytes).split_whitespace().map(String::from).collect(),
            Batches::Pickled { class_names, .. } => texts_of(&unpickle(&bytes, &path)?, class_names),
        };
        if names.len() != self.n_classes as usize {
            let why = format!("names {} classes, expected {}", names.len(), self.n_classes);
            return Err(DataError::malformed(&path, Place::Whole, why));
        }
        Ok(names)
    }
}

/// Planes (n, channels, height, width) to pixels (n, height, width, channels).
fn interleaved<'a>(planes: impl IndexedParallelIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut pixels_nhwc = vec![0; planes.len() * IMAGE];
    pixels_nhwc.par_chunks_exact_mut(IMAGE).zip(planes).for_each(|(pixels_hwc, planes)| {
        let (red, rest) = planes.split_at(PLANE);
        let (green, blue) = rest.split_at(PLANE);
        for (((pixel, &r), &g), &b) in pixels_hwc.as_chunks_mut::<3>().0.iter_mut().zip(red).zip(green).zip(blue) {
            *pixel = [r, g, b];
        }
    });
    pixels_nhwc
}

fn unpickle<'a>(bytes: &'a [u8], path: &Path) -> Result<Pickle<'a>, DataError> {
    let malformed = |why: String| DataError::malformed(path, Place::Whole, why);
    let pickle = Pickle::read(bytes).map_err(|error| malformed(format!("not a whole pickle ({error})")))?;
    match pickle.root() {
        Node::Dict(_) => Ok(pickle),
        _ => Err(malformed("the pickle does not hold a dictionary".to_owned())),
    }
}

/// The bytes of a pickled NumPy array of images.
fn pixels_of<'a>(batch: &Pickle<'a>, data: &Node<'a>) -> Option<&'a [u8]> {
    let array = batch.array(data)?;
    let Node::Bytes(bytes) = array.data else { return None };
    let n_images = bytes.len() / IMAGE;
    (n_images > 0 && n_images * IMAGE == bytes.len() && array.axes == [n_images, IMAGE]).then_some(*bytes)
}

/// The texts in a list of the dictionary; none if there is no such list.
fn texts_of(batch: &Pickle<'_>, key: &str) -> Vec<String> {
    let Some(Node::List(items)) = batch.get(key) else { return Vec::new() };
    items.iter().filter_map(|item| batch.node(*item).as_text().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    /// A binary record: label bytes, then planes filled with 1, 2 and 3 times `value`.
    fn record(labels: &[u8], value: u8) -> Vec<u8> {
        let mut bytes = labels.to_vec();
        for channel in 1..=3 {
            bytes.extend([value * channel; PLANE]);
        }
        bytes
    }

    /// A protocol-2 pickle as Python 2 and NumPy wrote it: `{'data': array, KEY: [labels]}`, memo entries included.
    fn pickle(images: &[u8], labels_key: &str, labels: &[u8]) -> Vec<u8> {
        let n_images = (images.len() / IMAGE) as u8;
        let mut bytes = b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03".to_vec();
        bytes.extend(b"cnumpy\nndarray\nq\x04K\x00\x85q\x05U\x01bq\x06\x87q\x07Rq\x08");
        bytes.extend([b"(K\x01K".as_slice(), &[n_images], b"M\x00\x0c\x86q\x09"].concat());
        bytes.extend(b"cnumpy\ndtype\nq\x0aU\x02u1q\x0bK\x00K\x01\x87q\x0cRq\x0d");
        bytes.extend(b"(K\x03U\x01|q\x0eNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0fb\x89T");
        bytes.extend((images.len() as u32).to_le_bytes());
        bytes.extend(images);
        bytes.extend(b"q\x10tq\x11b");
        bytes.extend([b"U".as_slice(), &[labels_key.len() as u8], labels_key.as_bytes(), b"q\x12]q\x13("].concat());
        labels.iter().for_each(|&label| bytes.extend([b'K', label]));
        bytes.extend(b"eu.");
        bytes
    }

    /// Planes of one image, as [`record`] without labels.
    fn planes(value: u8) -> Vec<u8> {
        record(&[], value)
    }

    fn name_list(key: &str, names: &[&str]) -> Vec<u8> {
        let text = |text: &str| [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
        let names: Vec<u8> = names.iter().flat_map(|name| text(name)).collect();
        [b"\x80\x03}".to_vec(), text(key), b"](".to_vec(), names, b"es.".to_vec()].concat()
    }

    fn cifar10_binary() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("cifar-10-batches-bin");
        fs::create_dir(&inner).unwrap();
        for (i, name) in CIFAR10[1].train.iter().enumerate() {
            fs::write(inner.join(name), record(&[9 - i as u8], 10 + i as u8)).unwrap();
        }
        fs::write(inner.join("test_batch.bin"), [record(&[3], 1), record(&[4], 2)].concat()).unwrap();
        fs::write(inner.join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
        folder
    }

    fn cifar100_pickled() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let train = pickle(&[planes(1), planes(2)].concat(), "fine_labels", &[99, 0]);
        fs::write(folder.path().join("train"), train).unwrap();
        fs::write(folder.path().join("test"), pickle(&planes(3), "fine_labels", &[7])).unwrap();
        folder
    }

    fn interleaved_image(value: u8) -> Vec<u8> {
        [value, 2 * value, 3 * value].repeat(PLANE)
    }

    #[test]
    fn reads_binary_batches_from_the_folder_or_its_parent() {
        let folder = cifar10_binary();
        for path in [folder.path().to_path_buf(), folder.path().join("cifar-10-batches-bin")] {
            let parts = read(&path, Kind::Cifar10, &GO_ON).unwrap();
            assert_eq!(parts.train.labels, [9, 8, 7, 6, 5]);
            assert_eq!(parts.train.pixels_nhwc[IMAGE..2 * IMAGE], interleaved_image(11));
            assert_eq!(parts.test.unwrap().labels, [3, 4]);
            assert_eq!(parts.classes[9], "j");
        }
    }

    #[test]
    fn reads_the_official_archive_itself() {
        let folder = cifar10_binary();
        let archive = tempfile::tempdir().unwrap();
        let file = fs::File::create(archive.path().join("cifar-10-binary.tar.gz")).unwrap();
        let gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        let mut builder = tar::Builder::new(gz);
        builder.append_dir_all(".", folder.path()).unwrap();
        builder.into_inner().unwrap().finish().unwrap();
        for path in [archive.path().to_path_buf(), archive.path().join("cifar-10-binary.tar.gz")] {
            assert_eq!(read(&path, Kind::Cifar10, &GO_ON).unwrap().train.labels, [9, 8, 7, 6, 5]);
        }
    }

    #[test]
    fn reads_pickled_batches_with_fine_labels() {
        let folder = cifar100_pickled();
        let parts = read(folder.path(), Kind::Cifar100, &GO_ON).unwrap();
        assert_eq!(parts.train.labels, [99, 0]);
        assert_eq!(parts.train.pixels_nhwc[IMAGE..], interleaved_image(2));
        assert_eq!(parts.test.unwrap().pixels_nhwc, interleaved_image(3));
        assert_eq!(parts.classes[42], "42");
        let names: Vec<String> = (0..100).map(|i| format!("class {i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        fs::write(folder.path().join("meta"), name_list("fine_label_names", &names)).unwrap();
        assert_eq!(read(folder.path(), Kind::Cifar100, &GO_ON).unwrap().classes[42], "class 42");
    }

    #[test]
    fn every_corruption_of_a_binary_batch_names_file_and_byte() {
        let rows: [(&str, Vec<u8>, &str); 4] = [
            ("data_batch_3.bin", record(&[1], 1)[..3000].to_vec(), "byte 3000: the file ends, but a record of 3073"),
            ("data_batch_3.bin", vec![], "byte 0: the file ends"),
            ("test_batch.bin", [record(&[1], 1), record(&[10], 1)].concat(), "byte 3073: label 10 is outside 0 to 9"),
            ("batches.meta.txt", b"a b c".to_vec(), "names 3 classes, expected 10"),
        ];
        for (name, bytes, expected) in rows {
            let folder = cifar10_binary();
            fs::write(folder.path().join("cifar-10-batches-bin").join(name), bytes).unwrap();
            let message = read(folder.path(), Kind::Cifar10, &GO_ON).err().expect(expected).to_string();
            assert!(message.contains(expected) && message.contains(name), "{message}\nexpected: {expected}");
        }
        let folder = cifar10_binary();
        fs::remove_file(folder.path().join("cifar-10-batches-bin/data_batch_4.bin")).unwrap();
        assert!(read(folder.path(), Kind::Cifar10, &GO_ON).err().unwrap().to_string().contains("data_batch_4.bin"));
    }

    #[test]
    fn every_corruption_of_a_pickled_batch_names_the_file() {
        let whole = pickle(&planes(1), "fine_labels", &[7]);
        let rows: [(Vec<u8>, &str); 6] = [
            (whole[..1000].to_vec(), "not a whole pickle"),
            (b"not a pickle".to_vec(), "not a whole pickle"),
            (pickle(&planes(1), "labels", &[7]), "has no list `fine_labels`"),
            (pickle(&planes(1), "fine_labels", &[7, 8]), "holds 2 labels, but 1 images"),
            (pickle(&planes(1), "fine_labels", &[100]), "image 0: label 100 is outside 0 to 99"),
            (name_list("data", &[]), "`data` is not an array of bytes"),
        ];
        for (bytes, expected) in rows {
            let folder = cifar100_pickled();
            fs::write(folder.path().join("test"), bytes).unwrap();
            let message = read(folder.path(), Kind::Cifar100, &GO_ON).err().expect(expected).to_string();
            assert!(message.contains(expected) && message.contains("/test`"), "{message}\nexpected: {expected}");
        }
    }
}
