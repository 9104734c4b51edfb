//! Layouts on disk and in archives: what is found, and what is refused with which words.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::super::tarred::tests::archive_of;
use super::*;

static GO_ON: AtomicBool = AtomicBool::new(false);

/// The layout of files with these names, which hold nothing; a name that ends in `/` is an empty folder.
///
/// In place of an error its message and hint, in which the root is called ROOT.
fn found(names: &[&str]) -> Result<Layout, String> {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let path = folder.path().join(name);
        fs::create_dir_all(if name.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
        if !name.ends_with('/') {
            fs::write(path, b"").unwrap();
        }
    }
    let archive = tempfile::NamedTempFile::new().unwrap();
    fs::write(archive.path(), archive_of(&names.iter().map(|name| (*name, &b""[..])).collect::<Vec<_>>())).unwrap();
    let told = |error: DataError, root: &Path| {
        format!("{error}\n{}", error.hint().unwrap()).replace(&root.display().to_string(), "ROOT")
    };
    let layout = |root: &Path| find(&Tree::open(root, &GO_ON).unwrap()).map_err(|error| told(error, root));
    let (on_disk, in_archive) = (layout(folder.path()), layout(archive.path()));
    assert_eq!(format!("{on_disk:?}"), format!("{in_archive:?}"), "{names:?}");
    on_disk
}

fn paths(items: &[Labelled]) -> Vec<(&str, u32)> {
    items.iter().map(|item| (item.path.as_str(), item.label)).collect()
}

/// Training and test part are found under these names, below these folders.
#[test]
fn parts_are_found_in_any_spelling_and_below_any_folders() {
    let spellings = [
        ("train", "test"),
        ("Train", "Test"),
        ("TRAIN", "VAL"),
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("train_images", "validation"),
        ("TrainSet", "TestSet"),
        ("trn", "tst"),
    ];
    for (train, test) in spellings {
        for wrapper in ["", "set/", "one/two/three/"] {
            for inner in ["", "images/"] {
                let name = |part: &str, image: &str| format!("{wrapper}{part}/{inner}{image}");
                let images =
                    [name(train, "a/1.png"), name(train, "b/1.jpg"), name(test, "a/2.png"), name(test, "b/2.png")];
                let beside = ["README.md".to_owned(), format!("{wrapper}LICENSE")];
                let all: Vec<&str> = images.iter().chain(&beside).map(String::as_str).collect();
                let layout = found(&all).unwrap();
                assert_eq!(layout.classes, ["a", "b"], "{all:?}");
                assert_eq!(paths(&layout.train), [(&*images[0], 0), (&*images[1], 1)]);
                assert_eq!(paths(layout.test.as_ref().unwrap()), [(&*images[2], 0), (&*images[3], 1)]);
                assert_eq!(layout.remarks, [""; 0]);
            }
        }
    }
}

/// The order of `DatasetFolder.make_dataset` of torchvision 0.20: `sorted(os.walk(class_dir, followlinks=True))`, then
/// `sorted(files)`. The expected list is what this Python prints for these names:
/// `[os.path.relpath(os.path.join(r, f), d) for r, _, fs in sorted(os.walk(d)) for f in sorted(fs)]`.
#[test]
fn images_come_in_the_order_of_torchvision() {
    let shuffled = [
        "c/b/1.png",
        "c/z.png",
        "c/a b/1.png",
        "c/a/x/1.png",
        "c/a/1.png",
        "c/B.png",
        "c/10.png",
        "c/2.png",
        "c/\u{ff21}.png",
        "c/\u{1f600}.png",
        "c/é.png",
        "d/1.png",
    ];
    let expected = [
        "c/10.png",
        "c/2.png",
        "c/B.png",
        "c/z.png",
        "c/é.png",
        "c/\u{ff21}.png",
        "c/\u{1f600}.png",
        "c/a/1.png",
        "c/a b/1.png",
        "c/a/x/1.png",
        "c/b/1.png",
        "d/1.png",
    ];
    let layout = found(&shuffled).unwrap();
    assert_eq!(layout.train.iter().map(|item| item.path.as_str()).collect::<Vec<_>>(), expected);
}

#[test]
fn classes_without_parts_are_found_below_wrappers() {
    let rows: [(&[&str], &[&str]); 7] = [
        (&["a/1.png", "b/1.png"], &["a", "b"]),
        (&["one/two/a/1.png", "one/two/b/1.png"], &["a", "b"]),
        (&["README", "data/a/1.png", "data/b/1.png", "data/notes.txt"], &["a", "b"]),
        (&["annotations/a.xml", "images/a/1.png", "images/b/1.png"], &["a", "b"]),
        (&["__MACOSX/._x.png", ".git/x.png", "a/1.png", "b/1.png"], &["a", "b"]),
        // Vehicles: a folder called `train` among classes.
        (&["bus/1.png", "car/1.png", "train/1.png"], &["bus", "car", "train"]),
        (&["sports/training/1.png", "sports/match/1.png", "news/1.png"], &["news", "sports"]),
    ];
    for (names, classes) in rows {
        let layout = found(names).unwrap_or_else(|error| panic!("{names:?}: {error}"));
        assert_eq!(layout.classes, classes, "{names:?}");
        assert!(layout.test.is_none(), "{names:?}");
    }
}

#[test]
fn what_is_left_aside_is_counted_and_said() {
    let layout = found(&[
        "train/a/1.png",
        "train/b/1.png",
        "train/b/2.heic",
        "train/loose.png",
        "test/a/1.png",
        "test/b/",
        "val/a/1.png",
        "samples/1.png",
        "labels.csv",
    ])
    .unwrap();
    let counts = "3 images outside of the class folders, 1 .csv, 1 .heic";
    assert_eq!((layout.aside.to_string().as_str(), layout.aside.tables().as_deref()), (counts, Some("`labels.csv`")));
    let remarks = ["the test part is `test`; `val` was left aside", "the test part `test` has no image of `b`"];
    assert_eq!(layout.remarks, remarks);
    assert_eq!(layout.parts, [Some("train".to_owned()), Some("test".to_owned())]);

    let unlabelled = ["train/a/1.png", "train/b/1.png", "test/1.png", "val/a/1.png", "val/b/1.png"];
    let layout = found(&unlabelled).unwrap();
    assert_eq!(layout.parts[1].as_deref(), Some("val"));
    assert_eq!(layout.remarks, ["the test part is `val`; `test` was left aside (its images are in no class folders)"]);
    let vehicles = found(&["bus/1.png", "train/1.png"]).unwrap();
    assert!(vehicles.remarks[0].starts_with("`train` is taken for a class"), "{:?}", vehicles.remarks);
}

#[test]
fn what_is_not_clear_is_refused_with_the_folders_at_fault() {
    let rows: [(&[&str], &str); 23] = [
        (&["readme.txt"], "`ROOT`: holds no .jpg"),
        (&["1.png", "2.png"], "`ROOT`: holds 2 images and no class folders"),
        (&["a/1.png", "a/2.png"], "`ROOT`: holds one folder with images, `a`, and a data set has at least two"),
        (&["data/only/1.png", "README"], "`ROOT/data`: holds one folder with images, `only`"),
        (&["images/1.png", "labels.csv"], "`images`, and a data set has at least two classes; not read: `labels.csv`"),
        (
            &["train/1.png", "train/metadata.csv"],
            "`ROOT/train`: holds 1 image and no class folders; not read: `train/metadata.csv`",
        ),
        (
            &["train/1.png", "test/1.png", "train.csv"],
            "`ROOT/train`: holds 1 image and no class folders; not read: `train.csv`",
        ),
        (&["train/images/1.png", "test/images/2.png"], "`ROOT/train`: holds one folder with images, `images`"),
        (&["train/a/1.png", "train/b/1.png", "test/1.png"], "`ROOT/test`: is a test part without class folders"),
        (&["train/a/1.png", "train/b/1.png", "test/"], "`ROOT/test`: is a test part without an image"),
        (&["train/a/1.png", "train/b/1.png", "test/a/"], "`ROOT/test`: is a test part without an image"),
        (&["train/a/1.png", "train/b/1.png", "val/images/1.png"], "its images lie in `images`, and images is no class"),
        (&["train/a/1.png", "train/b/"], "the class folder `train/b` holds no .jpg"),
        (&["a/1.png", "b/x.heic", "c/y.txt"], "the class folders `b`, `c` hold no .jpg"),
        (&["train/a/1.png", "train/b/1.png", "test/c/1.png", "test/a/1.png"], "no classes of the training part: `c`"),
        (&["train/a/1.png", "Train/b/1.png"], "more than one training part: `Train`, `train`"),
        (&["train/a/1.png", "train/b/1.png", "test/a/1.png", "TEST/a/1.png"], "two names: `TEST`, `test`"),
        (&["x/train/a/1.png", "x/train/b/1.png", "y/train/a/1.png"], "more than one data set: `x`, `y` have"),
        (&["test/a/1.png", "val/a/1.png"], "holds `test`, `val` and no training part"),
        (&["cat/1.png", "dog/1.png", "test/1.png"], "holds `test` and no training part beside `cat`, `dog`"),
        (&["seg_train/a/1.png", "seg_test/a/1.png"], "`seg_train` and `seg_test` look like parts"),
        (
            &["a/train/1.png", "a/test/1.png", "b/train/1.png", "b/test/1.png"],
            "`a` would be a class, but has parts in it",
        ),
        (&["train/a/x/1.png"], "`ROOT/train/a`: holds one folder with images, `x`"),
    ];
    for (names, expected) in rows {
        let message = found(names).err().unwrap_or_else(|| panic!("{names:?} are taken for a data set"));
        assert!(message.contains(expected), "{names:?}: {message}\nexpected: {expected}");
    }
}
