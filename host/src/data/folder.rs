//! Image folders: one folder per class, on disk or in an archive.
//!
//! ```text
//! train/<class>/...   and test/, val/, valid/ or validation/<class>/...     (the first of these that has class folders)
//! <class>/...                                                               (no test part)
//! ```
//!
//! [`layout`](super::layout) says how parts and classes are found, [`aside`](super::aside) what is left aside. Classes are sorted
//! by name. Their images follow class after class in the order of torchvision's `ImageFolder`: files that lie in the class folder
//! itself, by name, then each folder below, by path, with its files by name; names are compared by code points. That order gives
//! the ids, so that features that Python computed from an `ImageFolder` line up. An `index.csv` beside the folders, with the
//! columns `split,index,label,class,path`, gives order, ids and labels instead.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::Deserialize;

use super::archive::Tree;
use super::aside::{Aside, Reason, is_image_name};
use super::csv::table_error;
use super::error::{DataError, Place};
use super::files::{self, Decoded, Item, Listed, refuse_troubles};
use super::layout::{self, Labelled, Layout};
use super::{Notes, Parts, Shape};

const INDEX: &str = "index.csv";
const COLUMNS: [&str; 5] = ["split", "index", "label", "class", "path"];
const TRAIN: &str = "train";
/// Splits of an index that are its test part.
const TEST: [&str; 4] = ["test", "val", "valid", "validation"];

struct Listing {
    classes: Vec<String>,
    train: Vec<Item>,
    test: Option<Vec<Item>>,
    notes: Notes,
}

/// Reads an image folder or archive at `path`, every image resized to `shape`.
///
/// # Errors
/// If the layout is not clear, before anything is decoded; then with all files at once that cannot be read.
pub(super) fn read(path: &Path, shape: Shape, cancelled: &AtomicBool) -> Result<(Parts, Notes), DataError> {
    let tree = Tree::open(path, cancelled)?;
    refuse_troubles(&tree)?;
    let Listing { classes, train, test, mut notes } = match layout::folder_of_table(&tree, INDEX) {
        Some(folder) => list_by_index(&tree, &folder)?,
        None => list_by_folder(&tree)?,
    };
    let listed = |items| Listed { tree: &tree, items };
    let Decoded { train, test, remarks } = files::decode(path, listed(train), test.map(listed), shape, cancelled)?;
    notes.remarks.extend(remarks);
    Ok((Parts { shape, classes, train, test }, notes))
}

fn list_by_folder(tree: &Tree) -> Result<Listing, DataError> {
    let Layout { classes, train, test, aside, remarks, parts: [train_folder, test_folder] } = layout::find(tree)?;
    let notes = Notes { left_aside: aside, remarks, train_folder, test_folder };
    Ok(Listing { classes, train: numbered(train), test: test.map(numbered), notes })
}

fn numbered(images: Vec<Labelled>) -> Vec<Item> {
    images.into_iter().enumerate().map(|(id, Labelled { path, label })| Item { path, id: id as u64, label }).collect()
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

/// Reads the index in `folder`, which is empty or ends in `/`; its paths begin there.
fn list_by_index(tree: &Tree, folder: &str) -> Result<Listing, DataError> {
    let name = format!("{folder}{INDEX}");
    let file = tree.full_path(&name);
    let bytes = tree.read(&name)?;
    let mut reader = csv::Reader::from_reader(&*bytes);
    check_columns(reader.headers().map_err(|error| table_error(&file, error))?, &file)?;
    let (mut train, mut test, mut classes) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut taken = HashSet::new();
    for (n, row) in reader.deserialize().enumerate() {
        let row: IndexRow = row.map_err(|error| table_error(&file, error))?;
        let wrong = |why: String| Err(DataError::malformed(&file, Place::Line(n as u64 + 2), why));
        let is_train = row.split == TRAIN;
        if !is_train && !TEST.contains(&row.split.as_str()) {
            return wrong(format!("`{}` is not a split; known: {TRAIN}, {}", row.split, TEST.join(", ")));
        }
        let path = format!("{folder}{}", row.path);
        if !tree.contains(&path) {
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
        part.push(Item { path, id: row.index, label: row.label });
    }
    if let Some((expected, (label, _))) = classes.iter().enumerate().find(|(i, (label, _))| *i as u32 != **label) {
        let why = format!("labels must count from 0 without a gap, but {label} follows where {expected} is due");
        return Err(DataError::malformed(&file, Place::Whole, why));
    }
    if train.is_empty() {
        return Err(DataError::malformed(&file, Place::Whole, format!("lists no image of the split `{TRAIN}`")));
    }
    train.sort_by_key(|item| item.id);
    test.sort_by_key(|item| item.id);
    let notes = Notes { left_aside: left_aside_by_index(tree, &name, [&train, &test]), ..Notes::default() };
    let test = (!test.is_empty()).then_some(test);
    Ok(Listing { classes: classes.into_values().collect(), train, test, notes })
}

fn check_columns(header: &csv::StringRecord, file: &Path) -> Result<(), DataError> {
    if COLUMNS.iter().all(|column| header.iter().any(|cell| cell == *column)) {
        return Ok(());
    }
    let seen: Vec<&str> = header.iter().collect();
    let why = format!("the columns are {}, and {} are needed", seen.join(","), COLUMNS.join(","));
    Err(DataError::malformed(file, Place::Line(1), why))
}

/// Every file that is neither the index nor in it.
fn left_aside_by_index(tree: &Tree, index: &str, parts: [&[Item]; 2]) -> Aside {
    let used: HashSet<&str> = parts.into_iter().flatten().map(|item| item.path.as_str()).collect();
    let mut aside = tree.aside().clone();
    for path in tree.files().filter(|path| *path != index && !used.contains(path)) {
        match is_image_name(path) {
            true => aside.add(Reason::NotInIndex),
            false => aside.add_file(path),
        }
    }
    aside
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{GrayImage, ImageFormat, Luma};

    use super::super::Split;
    use super::super::images::tests::encoded;
    use super::*;

    const SHAPE: Shape = Shape { height: 1, width: 1, channels: 1 };
    static GO_ON: AtomicBool = AtomicBool::new(false);

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
        read(folder.path(), SHAPE, &GO_ON).err().expect("the folder is broken").to_string()
    }

    #[test]
    fn classes_and_files_are_sorted_by_name() {
        let folder = folder(&[
            ("train/b/2.PNG", 3),
            ("train/b/10.png", 2),
            ("train/a/sub/b.png", 1),
            ("train/a/z.png", 0),
            ("train/a/readme.txt", 99),
            ("valid/b/x.png", 5),
            ("val/a/x.png", 4),
        ]);
        let (parts, _) = read(folder.path(), SHAPE, &GO_ON).unwrap();
        assert_eq!(parts.classes, ["a", "b"]);
        let part = |ids: &[u64], pixels: &[u8], labels: &[u32], files: &[&str]| Split {
            ids: ids.to_vec(),
            pixels_nhwc: pixels.to_vec(),
            labels: labels.to_vec(),
            files: files.iter().map(|file| file.to_string()).collect(),
        };
        let files = ["train/a/z.png", "train/a/sub/b.png", "train/b/10.png", "train/b/2.PNG"];
        assert_eq!(parts.train, part(&[0, 1, 2, 3], &[0, 1, 2, 3], &[0, 0, 1, 1], &files));
        assert_eq!(parts.test.unwrap(), part(&[0], &[4], &[0], &["val/a/x.png"]));
    }

    #[test]
    fn class_folders_alone_have_no_test_part() {
        let folder = folder(&[("ants/1.png", 1), ("bees/1.png", 2), ("SHA256SUMS", 0)]);
        let (parts, _) = read(folder.path(), SHAPE, &GO_ON).unwrap();
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
        let (parts, notes) = read(good.path(), SHAPE, &GO_ON).unwrap();
        assert_eq!(parts.classes, ["y", "x"]);
        assert_eq!(notes.left_aside.to_string(), "1 image that the index does not list");
        let files = ["train/y/2.png", "train/x/1.png"].map(String::from).to_vec();
        assert_eq!(parts.train, Split { ids: vec![2, 7], pixels_nhwc: vec![3, 1], labels: vec![0, 1], files });
        let rows = [
            ("train,2,0", "dev,2,0", "line 3: `dev` is not a split"),
            ("train/y/2.png", "train/y/9.png", "line 3: there is no file"),
            ("train,2,", "train,7,", "line 3: index 7 of split `train` is listed twice"),
            ("0,1,x", "0,1,z", "line 4: label 1 is `z`, but was `x`"),
            ("train,2,0", "train,2,5", "labels must count from 0"),
            ("train,2,0", "train,two,0", "line 3"),
            ("split,index", "part,index", "line 1: the columns are part,index,label,class,path, and split,index,label"),
        ];
        for (old, new, expected) in rows {
            fs::write(good.path().join(INDEX), index.replacen(old, new, 1)).unwrap();
            let message = message(&good);
            assert!(message.contains(expected) && message.contains(INDEX), "{message}\nexpected: {expected}");
        }
    }

    #[test]
    fn broken_folders_are_named() {
        assert!(
            message(&folder(&[("train/a/1.png", 1), ("train/b/", 0)])).contains("the class folder `train/b` holds no")
        );
        let unknown = folder(&[("train/a/1.png", 1), ("train/b/1.png", 1), ("test/a/1.png", 1), ("test/c/1.png", 1)]);
        assert!(message(&unknown).contains("test`: has folders that are no classes of the training part: `c`"));
        assert!(message(&folder(&[("1.png", 1)])).contains("no class folders"));
        let one = folder(&[("a/1.png", 1), ("b/1.png", 2)]);
        fs::write(one.path().join("b/1.png"), b"not an image").unwrap();
        assert!(message(&one).contains("b/1.png`, byte 0: not JPEG"));
        assert!(read(Path::new("/nowhere"), SHAPE, &GO_ON).err().unwrap().hint().is_some());
    }

    #[test]
    fn all_files_that_cannot_be_read_are_told_at_once() {
        let set = folder(&[("train/a/1.png", 1), ("train/a/2.png", 1), ("train/b/1.png", 2), ("test/a/1.png", 2)]);
        for name in ["train/a/2.png", "train/b/1.png", "test/a/1.png"] {
            fs::write(set.path().join(name), &name[..6]).unwrap();
        }
        let message = message(&set);
        assert!(message.starts_with(&format!("3 of the 4 images in `{}`", set.path().display())), "{message}");
        for line in ["\n  train/a/2.png: not JPEG", "\n  train/b/1.png: ", "\n  test/a/1.png: "] {
            assert!(message.contains(line), "{message}");
        }
    }

    #[test]
    fn a_cancelled_reading_ends() {
        let set = folder(&[("a/1.png", 1), ("b/1.png", 2)]);
        let cancelled = AtomicBool::new(true);
        assert!(matches!(read(set.path(), SHAPE, &cancelled), Err(DataError::Cancelled)));
        let tree = Tree::open(set.path(), &GO_ON).unwrap();
        let items = list_by_folder(&tree).unwrap().train;
        let decoded = files::decode(set.path(), Listed { tree: &tree, items }, None, SHAPE, &cancelled);
        assert!(matches!(decoded, Err(DataError::Cancelled)));
    }

    #[test]
    fn what_images_lose_is_said() {
        let set = folder(&[("a/1.png", 1), ("b/1.png", 2)]);
        let see_through = image::RgbaImage::from_pixel(1, 1, image::Rgba([1, 2, 3, 4]));
        fs::write(set.path().join("b/1.png"), encoded(&see_through.into(), ImageFormat::Png)).unwrap();
        let (_, notes) = read(set.path(), SHAPE, &GO_ON).unwrap();
        assert!(notes.remarks[0].starts_with("1 image (the first is `b/1.png`) with transparent"), "{notes:?}");
    }
}
