//! What reads data files, a function each, for fuzzers: none may panic, hang or take more memory than its file may.

use super::archive::{Tree, open_plain_or_gz};
use super::csv::Table;
use super::images::{self, Target};
use super::pickle::Pickle;
use super::table::{self, Keys};
use super::{Shape, csv, depth, features, idx, npz, parquet, tarred};
use std::cell::RefCell;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tempfile::NamedTempFile;

/// A function that reads bytes.
pub type Reader = fn(&[u8]);

/// Every reader by its name, which is that of its seeds' folder and of its fuzz target.
pub const READERS: [(&str, Reader); 11] = [
    ("pickle", pickle),
    ("npy", npy),
    ("npz", npz),
    ("parquet", parquet),
    ("safetensors", safetensors),
    ("idx", idx),
    ("csv", pixels),
    ("paths", paths),
    ("image", image),
    ("tar", tar),
    ("zip", zip),
];

/// Images are read into this shape.
const SHAPE: Shape = Shape { height: 4, width: 4, channels: 3 };

/// A pickle, and the array that it may be.
pub fn pickle(bytes: &[u8]) {
    if let Ok(pickle) = Pickle::read(bytes) {
        _ = pickle.array(pickle.root());
        _ = pickle.get("data").and_then(|data| pickle.array(data));
    }
}

/// Features with labels, whatever they are called.
fn everything() -> features::Ask {
    features::Ask { labels: features::LabelAsk::Known, ..features::Ask::default() }
}

/// A `.npy` file of features.
pub fn npy(bytes: &[u8]) {
    in_a_file(".npy", bytes, |path| _ = features::read_table(path, &everything()));
}

/// A `.npz` file of features, and of images.
pub fn npz(bytes: &[u8]) {
    in_a_file(".npz", bytes, |path| {
        _ = features::read_table(path, &everything());
        _ = npz::read(path, Some(1.0));
        _ = npz::read(path, None);
    });
}

/// A Parquet file of features, and of images.
pub fn parquet(bytes: &[u8]) {
    in_a_file(".parquet", bytes, |path| {
        _ = features::read_table(path, &everything());
        _ = parquet::read(path, Keys::default(), SHAPE, &AtomicBool::new(false));
    });
}

/// A safetensors file of features.
pub fn safetensors(bytes: &[u8]) {
    in_a_file(".safetensors", bytes, |path| _ = features::read_table(path, &everything()));
}

/// An IDX file of images and of labels, gzipped or not.
pub fn idx(bytes: &[u8]) {
    in_a_file("", bytes, |path| {
        _ = idx::read_array::<3>(path);
        _ = idx::read_array::<1>(path);
    });
}

/// A table of 2 x 2 grey pixels and a label.
pub fn pixels(bytes: &[u8]) {
    let shape = Shape { height: 2, width: 2, channels: 1 };
    in_a_file(".csv", bytes, |path| {
        let table = Table { train: path.to_owned(), test: None, shape, label: "last", max_value: 255.0 };
        _ = csv::read(&table);
    });
}

/// A table of images' paths and labels, as text or in Parquet.
pub fn paths(bytes: &[u8]) {
    in_a_file(".table", bytes, |path| _ = table::read_alone(path));
}

/// A photograph.
pub fn image(bytes: &[u8]) {
    let mut pixels_hwc = vec![0; SHAPE.bytes()];
    // Grey of 16 bits is read once more where fewer bits are used.
    for white in [depth::FULL, 4095] {
        let target = Target { shape: SHAPE, white };
        _ = images::decode_into(&mut pixels_hwc, bytes, target, Path::new("fuzz.png"));
    }
}

/// An archive of photographs, gzipped or not.
pub fn tar(bytes: &[u8]) {
    in_a_file("", bytes, |path| {
        let Ok(mut opened) = open_plain_or_gz(path) else { return };
        let mut archive = Vec::new();
        if opened.read_to_end(&mut archive).is_ok() {
            _ = tarred::list(&archive, path, &AtomicBool::new(false));
        }
    });
}

/// A ZIP archive of photographs, and what they unpack to.
pub fn zip(bytes: &[u8]) {
    in_a_file(".zip", bytes, |path| {
        let Ok(tree) = Tree::open(path, &AtomicBool::new(false)) else { return };
        tree.files().for_each(|name| _ = tree.read(name));
    });
}

thread_local! {
    /// One file for each kind, written anew for each input: making files takes longer than reading them.
    static FILES: RefCell<Vec<(&'static str, NamedTempFile)>> = const { RefCell::new(Vec::new()) };
}

/// Calls a reader with the path of a file that holds these bytes.
fn in_a_file(ending: &'static str, bytes: &[u8], read: impl FnOnce(&Path)) {
    FILES.with_borrow_mut(|files| {
        let known = files.iter().position(|(known, _)| *known == ending);
        let position = known.unwrap_or_else(|| {
            files.push((ending, new_file(ending)));
            files.len() - 1
        });
        let file = &mut files[position].1;
        file.as_file().set_len(0).expect("a temporary file can be emptied");
        file.rewind().expect("a temporary file can be written from its beginning");
        file.write_all(bytes).expect("a temporary file can be written");
        read(file.path());
    });
}

fn new_file(ending: &str) -> NamedTempFile {
    let mut builder = tempfile::Builder::new();
    builder.suffix(ending);
    // In memory where there is such a folder: a fuzzer writes some ten thousand files a second.
    let file = builder.tempfile_in("/dev/shm").or_else(|_| builder.tempfile());
    file.expect("temporary files can be made")
}
