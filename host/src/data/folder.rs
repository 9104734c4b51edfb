//! Image folders: one folder per class, on disk or in a tar archive.
//!
//! ```text
//! train/<class>/...   and test/, val/, valid/ or validation/<class>/...     (the first of these that is there)
//! <class>/...                                                               (no test part)
//! ```
//!
//! Classes are sorted by name and the images of a class by path, class after class; that order gives the ids. An
//! `index.csv` beside the folders, with the columns `split,index,label,class,path`, gives order, ids and labels
//! instead. Files whose name does not end in jpg, jpeg or png (in any case) are left aside with a warning.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;

use super::archive::Tree;
use super::csv::table_error;
use super::error::{DataError, Place};
use super::images::decode_into;
use super::{Parts, Shape, Split};

const INDEX: &str = "index.csv";
const TRAIN: &str = "train";
/// In order of preference.
const TEST: [&str; 4] = ["test", "val", "valid", "validation"];

/// One image of a listing.
struct Item {
    path: String,
    id: u64,
    label: u32,
}

struct Listing {
    classes: Vec<String>,
    train: Vec<Item>,
    test: Option<Vec<Item>>,
}

/// Reads an image folder or archive at `path`, every image resized to `shape`.
pub(super) fn read(path: &Path, shape: Shape) -> Result<Parts, DataError> {
    let tree = Tree::open(path)?;
    let listing = if tree.contains(INDEX) { list_by_index(&tree)? } else { list_by_folder(&tree)? };
    if listing.train.is_empty() {
        return Err(DataError::Missing {
            looked_in: path.to_path_buf(),
            names: vec!["train/<class>/*.jpg or .png".into(), "<class>/*.jpg or .png".into()],
            hint: "`dataset.path` names the folder (or tar archive) that holds the class folders".into(),
        });
    }
    Ok(Parts {
        shape,
        train: decode_all(&tree, listing.train, shape)?,
        test: listing.test.map(|items| decode_all(&tree, items, shape)).transpose()?,
        classes: listing.classes,
    })
}

/// The name of a folder if it stands for a part of a data set.
pub(super) fn part_of(folder: &str) -> Option<&'static str> {
    [TRAIN].into_iter().chain(TEST).find(|part| *part == folder)
}

fn decode_all(tree: &Tree, items: Vec<Item>, shape: Shape) -> Result<Split, DataError> {
    let mut pixels_nhwc = vec![0; items.len() * shape.bytes()];
    // The first failure in order, so that the same broken folder always gives the same message.
    let failure = pixels_nhwc.par_chunks_exact_mut(shape.bytes()).zip(&items).find_map_first(|(pixels_hwc, item)| {
        let bytes = tree.read(&item.path);
        bytes.and_then(|bytes| decode_into(pixels_hwc, &bytes, shape, &tree.full_path(&item.path))).err()
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(Split {
            ids: items.iter().map(|item| item.id).collect(),
            labels: items.iter().map(|item| item.label).collect(),
            pixels_nhwc,
            files: items.into_iter().map(|item| item.path).collect(),
        }),
    }
}

fn list_by_folder(tree: &Tree) -> Result<Listing, DataError> {
    let has_folder = |name: &str| tree.folders().any(|folder| folder == name);
    if !has_folder(TRAIN) {
        let by_class = images_by_class(tree, "")?;
        let classes: Vec<String> = by_class.keys().cloned().collect();
        return Ok(Listing { train: items(by_class, &classes, tree, "")?, test: None, classes });
    }
    let by_class = images_by_class(tree, "train/")?;
    let classes: Vec<String> = by_class.keys().cloned().collect();
    let train = items(by_class, &classes, tree, "train/")?;
    let test = match TEST.into_iter().find(|name| has_folder(name)) {
        None => None,
        Some(name) => {
            let prefix = format!("{name}/");
            Some(items(images_by_class(tree, &prefix)?, &classes, tree, &prefix)?)
        }
    };
    Ok(Listing { classes, train, test })
}

/// The sorted image paths below each class folder of `prefix`.
///
/// # Errors
/// If a class folder holds no image.
fn images_by_class(tree: &Tree, prefix: &str) -> Result<BTreeMap<String, Vec<String>>, DataError> {
    let class_folders = tree.folders().filter_map(|folder| folder.strip_prefix(prefix));
    let mut by_class: BTreeMap<String, Vec<String>> =
        class_folders.filter(|rest| !rest.contains('/')).map(|class| (class.to_string(), Vec::new())).collect();
    let mut n_left_aside = 0;
    for path in tree.files() {
        let Some((class, _)) = path.strip_prefix(prefix).and_then(|rest| rest.split_once('/')) else { continue };
        match by_class.get_mut(class) {
            Some(images) if is_image_name(path) => images.push(path.to_string()),
            _ => n_left_aside += 1,
        }
    }
    if n_left_aside > 0 {
        let folder = tree.full_path(prefix);
        tracing::warn!("left {n_left_aside} files in `{}` aside: not named .jpg, .jpeg or .png", folder.display());
    }
    match by_class.iter().find(|(_, images)| images.is_empty()) {
        Some((class, _)) => {
            let folder = tree.full_path(&format!("{prefix}{class}"));
            Err(DataError::malformed(&folder, Place::Whole, "the class folder holds no .jpg, .jpeg or .png file"))
        }
        None => Ok(by_class),
    }
}

/// Whether a file is named like an image.
pub(super) fn is_image_name(path: &str) -> bool {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

fn items(
    by_class: BTreeMap<String, Vec<String>>,
    classes: &[String],
    tree: &Tree,
    prefix: &str,
) -> Result<Vec<Item>, DataError> {
    let mut items = Vec::new();
    for (class, paths) in by_class {
        let Ok(label) = classes.binary_search(&class) else {
            let folder = tree.full_path(&format!("{prefix}{class}"));
            return Err(DataError::malformed(&folder, Place::Whole, "the training part has no such class"));
        };
        for path in paths {
            items.push(Item { path, id: items.len() as u64, label: label as u32 });
        }
    }
    Ok(items)
}

/// A line of `index.csv`.
#[derive(Deserialize)]
struct IndexRow {
    split: String,
    index: u64,
    label: u32,
    class: String,
    path: String,
}

fn list_by_index(tree: &Tree) -> Result<Listing, DataError> {
    let file = tree.full_path(INDEX);
    let bytes = tree.read(INDEX)?;
    let mut reader = csv::Reader::from_reader(&*bytes);
    let (mut train, mut test, mut classes) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut taken = HashSet::new();
    for (n, row) in reader.deserialize().enumerate() {
        let row: IndexRow = row.map_err(|error| table_error(&file, error))?;
        let wrong = |why: String| Err(DataError::malformed(&file, Place::Line(n as u64 + 2), why));
        let is_train = row.split == TRAIN;
        if !is_train && !TEST.contains(&row.split.as_str()) {
            return wrong(format!("`{}` is not a split; known: {TRAIN}, {}", row.split, TEST.join(", ")));
        }
        if !tree.contains(&row.path) {
            return wrong(format!("there is no file `{}`", row.path));
        }
        if !taken.insert((is_train, row.index)) {
            return wrong(format!("index {} of split `{}` is listed twice", row.index, row.split));
        }
        let class = classes.entry(row.label).or_insert_with(|| row.class.clone());
        if *class != row.class {
            return wrong(format!("label {} is `{}`, but was `{class}` before", row.label, row.class));
        }
        let part = if is_train { &mut train } else { &mut test };
        part.push(Item { path: row.path, id: row.index, label: row.label });
    }
    if let Some((expected, (label, _))) = classes.iter().enumerate().find(|(i, (label, _))| *i as u32 != **label) {
        let why = format!("labels must count from 0 without a gap, but {label} follows where {expected} is due");
        return Err(DataError::malformed(&file, Place::Whole, why));
    }
    train.sort_by_key(|item| item.id);
    test.sort_by_key(|item| item.id);
    let test = (!test.is_empty()).then_some(test);
    Ok(Listing { classes: classes.into_values().collect(), train, test })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{GrayImage, ImageFormat, Luma};

    use super::super::images::tests::encoded;
    use super::*;

    const SHAPE: Shape = Shape { height: 1, width: 1, channels: 1 };

    /// A folder of 1x1 PNGs, the value of each given; a path that ends in `/` makes an empty folder.
    fn folder(files: &[(&str, u8)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(if name.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
            if !name.ends_with('/') {
                let png = encoded(&GrayImage::from_pixel(1, 1, Luma([*value])).into(), ImageFormat::Png);
                fs::write(path, png).unwrap();
            }
        }
        folder
    }

    fn message(folder: &tempfile::TempDir) -> String {
        read(folder.path(), SHAPE).err().expect("the folder is broken").to_string()
    }

    #[test]
    fn classes_and_files_are_sorted_by_name() {
        let folder = folder(&[
            ("train/b/2.PNG", 3),
            ("train/b/10.png", 2),
            ("train/a/sub/z.png", 1),
            ("train/a/readme.txt", 99),
            ("valid/b/x.png", 5),
            ("val/a/x.png", 4),
        ]);
        let parts = read(folder.path(), SHAPE).unwrap();
        assert_eq!(parts.classes, ["a", "b"]);
        let part = |ids: &[u64], pixels: &[u8], labels: &[u32], files: &[&str]| Split {
            ids: ids.to_vec(),
            pixels_nhwc: pixels.to_vec(),
            labels: labels.to_vec(),
            files: files.iter().map(|file| file.to_string()).collect(),
        };
        let files = ["train/a/sub/z.png", "train/b/10.png", "train/b/2.PNG"];
        assert_eq!(parts.train, part(&[0, 1, 2], &[1, 2, 3], &[0, 1, 1], &files));
        assert_eq!(parts.test.unwrap(), part(&[0], &[4], &[0], &["val/a/x.png"]));
    }

    #[test]
    fn class_folders_alone_have_no_test_part() {
        let folder = folder(&[("ants/1.png", 1), ("bees/1.png", 2), ("SHA256SUMS", 0)]);
        let parts = read(folder.path(), SHAPE).unwrap();
        assert_eq!((parts.classes, parts.train.pixels_nhwc), (vec!["ants".into(), "bees".into()], vec![1, 2]));
        assert!(parts.test.is_none());
    }

    #[test]
    fn an_index_gives_order_ids_and_labels() {
        let files = [("train/x/1.png", 1), ("train/y/1.png", 2), ("train/y/2.png", 3), ("test/x/1.png", 4)];
        let index = "split,index,label,class,path\ntrain,7,1,x,train/x/1.png\ntrain,2,0,y,train/y/2.png\n\
                     test,0,1,x,test/x/1.png\n";
        let good = folder(&files);
        fs::write(good.path().join(INDEX), index).unwrap();
        let parts = read(good.path(), SHAPE).unwrap();
        assert_eq!(parts.classes, ["y", "x"]);
        let files = ["train/y/2.png", "train/x/1.png"].map(String::from).to_vec();
        assert_eq!(parts.train, Split { ids: vec![2, 7], pixels_nhwc: vec![3, 1], labels: vec![0, 1], files });
        let rows = [
            ("train,2,0", "dev,2,0", "line 3: `dev` is not a split"),
            ("train/y/2.png", "train/y/9.png", "line 3: there is no file"),
            ("train,2,", "train,7,", "line 3: index 7 of split `train` is listed twice"),
            ("0,1,x", "0,1,z", "line 4: label 1 is `z`, but was `x`"),
            ("train,2,0", "train,2,5", "labels must count from 0"),
            ("train,2,0", "train,two,0", "line 3"),
            ("split,index", "part,index", "line 2: missing field `split`"),
        ];
        for (old, new, expected) in rows {
            fs::write(good.path().join(INDEX), index.replacen(old, new, 1)).unwrap();
            let message = message(&good);
            assert!(message.contains(expected) && message.contains(INDEX), "{message}\nexpected: {expected}");
        }
    }

    #[test]
    fn broken_folders_are_named() {
        assert!(message(&folder(&[("train/a/1.png", 1), ("train/b/", 0)])).contains("train/b`: the class folder"));
        assert!(message(&folder(&[("train/a/1.png", 1), ("test/c/1.png", 1)])).contains("test/c`: the training part"));
        assert!(message(&folder(&[("1.png", 1)])).contains("train/<class>"));
        let undecodable = folder(&[("a/1.png", 1), ("b/1.png", 2), ("b/2.png", 2)]);
        for name in ["b/1.png", "b/2.png"] {
            fs::write(undecodable.path().join(name), b"not an image").unwrap();
        }
        assert!(message(&undecodable).contains("b/1.png`, byte 0: neither a JPEG"));
        assert!(read(Path::new("/nowhere"), SHAPE).err().unwrap().hint().is_some());
    }
}
