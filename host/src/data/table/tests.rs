//! Tables as people write them, and what is wrong with some.

use std::fs;

use image::{GrayImage, ImageFormat, Luma};

use super::super::images::tests::encoded;
use super::super::zipped::tests::zip_of;
use super::*;

const SHAPE: Shape = Shape { height: 1, width: 1, channels: 1 };
static GO_ON: AtomicBool = AtomicBool::new(false);

fn png(value: u8) -> Vec<u8> {
    encoded(&GrayImage::from_pixel(1, 1, Luma([value])).into(), ImageFormat::Png)
}

/// A folder of 1x1 PNGs, each of the value of its place, and of tables.
fn folder(images: &[&str], tables: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    images.iter().zip(1..).for_each(|(name, value)| write(name, &png(value)));
    tables.iter().for_each(|(name, text)| write(name, text.as_bytes()));
    folder
}

fn table<'a>(folder: &tempfile::TempDir, path: &str) -> Table<'a> {
    let path = folder.path().join(path);
    Table { path, test_path: None, root: None, keys: Keys::default(), shape: SHAPE }
}

fn read_at(folder: &tempfile::TempDir, path: &str) -> Result<(Parts, Notes), DataError> {
    read(&table(folder, path), &GO_ON)
}

#[test]
fn tables_of_every_dialect_are_one_set() {
    let rows = [
        ("t.csv", "filename,label\nimages/1.png,b\nimages/2.png,a\n"),
        ("t.csv", "\u{feff}\"filename\",\"label\"\r\n\"images/1.png\",\"b\"\r\n\"images/2.png\",\"a\"\r\n\r\n"),
        ("t.csv", "label;file_name\nb;images/1.png\na;images/2.png\n"),
        ("t.tsv", "Path\tnote\tClass\nimages/1.png\tx, y; z\tb\nimages/2.png\t\ta\n"),
        ("t.csv", "id,label\nimages\\1,b\nimages\\2,a\n"),
        ("t.csv", "image , label\n./images/1.png , b\n images/../images/2.png,a"),
        ("images/t.csv", "file,label\n1.png,b\n2.png,a\n"),
    ];
    for (name, text) in rows {
        let folder = folder(&["images/1.png", "images/2.png"], &[(name, text)]);
        for path in [name, "."] {
            let (parts, _) = read_at(&folder, path).unwrap();
            assert_eq!(parts.classes, ["a", "b"], "{text}");
            assert_eq!((&parts.train.ids[..], &parts.train.labels[..]), (&[0, 1][..], &[1, 0][..]), "{text}");
            assert_eq!(parts.train.pixels_nhwc, [1, 2], "{text}");
            assert_eq!(parts.test, None);
        }
    }
}

#[test]
fn a_column_says_which_part_an_image_is_of() {
    let images = ["1.png", "2.png", "3.png", "4.png", "5.png"];
    let text = "file,label,split\n1.png,a,Test\n2.png,b,train\n3.png,a,training\n4.png,b,val\n5.png,a,train_set\n";
    let folder = folder(&images, &[("t.csv", text)]);
    let (parts, notes) = read_at(&folder, "t.csv").unwrap();
    assert_eq!((parts.train.pixels_nhwc, parts.train.labels), (vec![2, 3, 5], vec![1, 0, 0]));
    let test = parts.test.unwrap();
    assert_eq!(
        (test.pixels_nhwc, test.ids, test.labels, test.files),
        (vec![1], vec![0], vec![0], vec!["1.png".into()])
    );
    assert_eq!(notes.remarks, ["the test part is `Test`; `val` was left aside (1 images)"]);
    assert_eq!(notes.left_aside.to_string(), "1 image of a part that is not used");
}

#[test]
fn a_test_table_has_a_folder_of_its_own() {
    let tables = [
        ("train/metadata.csv", "file_name,label\n1.png,a\n2.png,b\n"),
        ("test/metadata.csv", "file_name,label\n1.png,b\n"),
    ];
    let folder = folder(&["train/1.png", "train/2.png", "test/1.png", "test/2.png"], &tables);
    let with_test =
        Table { test_path: Some(folder.path().join("test/metadata.csv")), ..table(&folder, "train/metadata.csv") };
    let (parts, notes) = read(&with_test, &GO_ON).unwrap();
    assert_eq!((parts.train.pixels_nhwc, parts.test.unwrap().pixels_nhwc), (vec![1, 2], vec![3]));
    assert_eq!(notes.left_aside.to_string(), "1 image that the table does not list");
    let message = read_at(&folder, ".").err().unwrap().to_string();
    assert!(message.contains("more than one table: `test/metadata.csv`, `train/metadata.csv`"), "{message}");
}

#[test]
fn images_lie_below_a_root_or_in_an_archive() {
    let folder = folder(&["data/x/1.png", "data/x/2.png"], &[("t.csv", "id,label\n1,a\n2,b\n")]);
    let with_root = |root: &str| Table { root: Some(folder.path().join(root)), ..table(&folder, "t.csv") };
    assert_eq!(read(&with_root("data/x"), &GO_ON).unwrap().0.train.pixels_nhwc, [1, 2]);
    fs::write(folder.path().join("x.zip"), zip_of(&[("1.png", &png(7)), ("2.png", &png(8))])).unwrap();
    assert_eq!(read(&with_root("x.zip"), &GO_ON).unwrap().0.train.pixels_nhwc, [7, 8]);
    let all = zip_of(&[
        ("set/x/1.png", &png(7)),
        ("set/2.png", &png(8)),
        ("set/t.tsv", b"file\tlabel\nx/1.png\ta\n2.png\tb\n"),
    ]);
    fs::write(folder.path().join("all.zip"), all).unwrap();
    assert_eq!(read_at(&folder, "all.zip").unwrap().0.train.pixels_nhwc, [7, 8]);
    // Absolute paths, below the root that the user has named and below none.
    let absolute = folder.path().join("data/x").display().to_string();
    fs::write(folder.path().join("t.csv"), format!("file,label\n{absolute}/1.png,a\n{absolute}/2.png,b\n")).unwrap();
    assert_eq!(read(&with_root("data"), &GO_ON).unwrap().0.train.pixels_nhwc, [1, 2]);
    assert!(read_at(&folder, "t.csv").err().unwrap().to_string().contains("leads out of"));
    let message = read(&Table { root: Some("/".into()), ..table(&folder, "t.csv") }, &GO_ON).err().unwrap();
    assert_eq!(message.key(), Some("root"));
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let rows = [
        ("file,label\n1.png,a\n../2.png,b\n", "t.csv`, line 3: `../2.png` leads out of"),
        ("file,label\n1.png,a\n/etc/passwd,b\n", "line 3: `/etc/passwd` leads out of"),
        ("file,label\n1.png,a\n\n1.png,b\n", "line 4: `1.png` is listed twice, in line 2 too"),
        ("file,label\n1.png,a\n1,b\n", "line 3: `1` is listed twice, in line 2 too"),
        ("file,label\n1.png,a\n3,b\n", "line 3: `3` may be `3.jpg` or `3.png`"),
        ("file,label\n1.png,a\n,b\n", "line 3: names no image"),
        ("file,label\n1.png,a\n2.png\n", "line 3: 1 columns, but the first line has 2"),
        ("file,label\n1.png,a\n2.png,\n", "line 3: the label is empty"),
        ("file,label,split\n1.png,a,train\n2.png,b,fold1\n", "line 3: `fold1` in `split` is no part"),
        ("file,label,split\n1.png,a,test\n", "says of no row that it is of the training part"),
        ("file,label\n8.png,a\n9.png,b\n", "none of the 2 images that it lists is in"),
        ("file,label\n1.png,a\n8.png,b\n9.png,b\n", "2 of the 3 images in"),
        ("file,label\n", "the table has no rows"),
        ("", "the table is empty"),
        ("file label\n1.png a\n", "no column is called as images are"),
        ("\u{0}\u{1}\n", "no column is called as images are"),
    ];
    for (text, expected) in rows {
        let folder = folder(&["1.png", "2.png", "3.png", "3.jpg"], &[("t.csv", text)]);
        let error = read_at(&folder, "t.csv").err().expect(expected);
        let message = error.to_string();
        assert!(message.contains(expected), "{message}\nexpected: {expected}");
    }
    let folder = folder(&["1.png"], &[("t.csv", "file,label\n1.png,a\n8.png,b\n9.png,b\n")]);
    let message = read_at(&folder, "t.csv").err().unwrap().to_string();
    for line in ["\n  8.png: there is no such file (line 3)", "\n  9.png: there is no such file (line 4)"] {
        assert!(message.contains(line), "{message}");
    }
}

#[test]
fn a_stamp_is_of_the_table_and_of_the_images_that_it_lists() {
    let folder = folder(&["x/1.png", "x/2.png", "y/1.png"], &[("t.csv", "file,label\nx/1.png,a\nx/2.png,b\n")]);
    let table = table(&folder, "t.csv");
    let before = stamp(&table);
    for other in ["log.txt", "y/2.png", "z.png"] {
        fs::write(folder.path().join(other), "something else").unwrap();
        assert_eq!(stamp(&table), before, "{other}");
    }
    fs::write(folder.path().join("x/1.png"), png(9)).unwrap();
    let changed = stamp(&table);
    assert_ne!(changed, before);
    fs::write(folder.path().join("t.csv"), "file,label\nx/1.png,a\n").unwrap();
    assert_ne!(stamp(&table), changed);
}
