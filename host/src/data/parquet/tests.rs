//! Files as the Hub and others write them, and what is wrong with some.

use std::fs;
use std::sync::Arc;

use image::{GrayImage, ImageBuffer, ImageFormat, Luma};
use parquet::basic::Compression;
use parquet::data_type::{ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::super::images::tests::encoded;
use super::*;

const SHAPE: Shape = Shape { height: 1, width: 1, channels: 1 };
static GO_ON: AtomicBool = AtomicBool::new(false);

fn png(value: u8) -> Option<Vec<u8>> {
    Some(encoded(&GrayImage::from_pixel(1, 1, Luma([value])).into(), ImageFormat::Png))
}

/// What a column of a file to be written holds.
enum Cells {
    Bytes(Vec<Option<Vec<u8>>>),
    Numbers(Vec<Option<i64>>),
}

/// Levels of values that are there or not, and the values that are.
fn apart<T: Clone>(cells: &[Option<T>], there: i16) -> (Vec<i16>, Vec<T>) {
    let levels = cells.iter().map(|cell| if cell.is_some() { there } else { there - 1 }).collect();
    (levels, cells.iter().flatten().cloned().collect())
}

/// A file of this schema, whose columns are there from this level on; `group` rows in each row group.
fn written(schema: &str, columns: &[(i16, Cells)], said: Option<&str>, group: usize, codec: Compression) -> Vec<u8> {
    let said = said.map(|said| vec![KeyValue::new("huggingface".to_owned(), said.to_owned())]);
    let properties = WriterProperties::builder().set_key_value_metadata(said).set_compression(codec).build();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let n_rows = match &columns[0].1 {
        Cells::Bytes(cells) => cells.len(),
        Cells::Numbers(cells) => cells.len(),
    };
    for first in (0..n_rows).step_by(group) {
        let rows = first..n_rows.min(first + group);
        let mut rows_writer = writer.next_row_group().unwrap();
        for (level, cells) in columns {
            let mut column = rows_writer.next_column().unwrap().unwrap();
            match cells {
                Cells::Bytes(cells) => {
                    let (levels, there) = apart(&cells[rows.clone()], *level);
                    let there: Vec<ByteArray> = there.into_iter().map(ByteArray::from).collect();
                    column.typed::<ByteArrayType>().write_batch(&there, Some(&levels), None).unwrap();
                }
                Cells::Numbers(cells) => {
                    let (levels, there) = apart(&cells[rows.clone()], *level);
                    column.typed::<Int64Type>().write_batch(&there, Some(&levels), None).unwrap();
                }
            }
            column.close().unwrap();
        }
        rows_writer.close().unwrap();
    }
    writer.into_inner().unwrap()
}

const OF_THE_HUB: &str = "message schema { optional group image { optional binary bytes; optional binary path (UTF8); } optional int64 label; }";
const PLAIN: &str = "message schema { optional int64 id; optional binary picture; optional binary class (UTF8); }";
const CLASSES: &str = r#"{"info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["ant", "bee"], "_type": "ClassLabel"}}}}"#;

/// A file in the Hub's form: images, names and labels.
fn of_the_hub(images: &[Option<Vec<u8>>], labels: &[i64], names: Option<&str>, said: Option<&str>) -> Vec<u8> {
    let named = |i: usize| names.map(|name| format!("{name}{i}.png").into_bytes());
    let columns = [
        (2, Cells::Bytes(images.to_vec())),
        (2, Cells::Bytes((0..images.len()).map(named).collect())),
        (1, Cells::Numbers(labels.iter().copied().map(Some).collect())),
    ];
    written(OF_THE_HUB, &columns, said, 2, Compression::SNAPPY)
}

fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn read_in(folder: &tempfile::TempDir) -> Result<(Parts, Notes), DataError> {
    read(folder.path(), Keys::default(), SHAPE, &GO_ON)
}

#[test]
fn shards_of_the_hub_are_one_set() {
    let files = [
        (
            "data/train-00000-of-00002.parquet",
            of_the_hub(&[png(1), png(2), png(3)], &[1, 0, 1], Some("x"), Some(CLASSES)),
        ),
        ("data/train-00001-of-00002.parquet", of_the_hub(&[png(4)], &[0], Some("y"), Some(CLASSES))),
        ("data/test-00000-of-00001.parquet", of_the_hub(&[png(5)], &[1], Some("z"), Some(CLASSES))),
        ("README.md", b"---".to_vec()),
        ("data/more.json", b"{}".to_vec()),
    ];
    let (parts, notes) = read_in(&folder(&files)).unwrap();
    assert_eq!(parts.classes, ["ant", "bee"]);
    assert_eq!((parts.train.pixels_nhwc, parts.train.labels), (vec![1, 2, 3, 4], vec![1, 0, 1, 0]));
    assert_eq!(parts.train.files, ["x0.png", "x1.png", "x2.png", "y0.png"]);
    let test = parts.test.unwrap();
    assert_eq!((test.pixels_nhwc, test.labels, test.files), (vec![5], vec![1], vec!["z0.png".to_owned()]));
    assert_eq!((notes.left_aside.to_string(), notes.remarks), ("1 .json, 1 document".to_owned(), vec![]));
}

#[test]
fn plain_bytes_and_labels_of_text_are_read_too() {
    for codec in
        [Compression::UNCOMPRESSED, Compression::GZIP(Default::default()), Compression::ZSTD(Default::default())]
    {
        let n = 700u64;
        let of = |text: fn(u64) -> &'static str| (0..n).map(|i| Some(text(i).as_bytes().to_vec())).collect();
        let columns = [
            (1, Cells::Numbers((0..n as i64).map(Some).collect())),
            (1, Cells::Bytes((0..n).map(|i| png((i % 251) as u8)).collect())),
            (1, Cells::Bytes(of(|i| ["bee", "ant", "wasp"][(i % 3) as usize]))),
        ];
        let folder = folder(&[("0.parquet", written(PLAIN, &columns, None, 300, codec))]);
        let (parts, _) = read_in(&folder).unwrap();
        assert_eq!(parts.classes, ["ant", "bee", "wasp"]);
        let pixels: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
        assert_eq!((parts.train.pixels_nhwc, &parts.train.labels[..4]), (pixels, &[1, 0, 2, 1][..]), "{codec}");
        assert!(parts.train.files.is_empty() && parts.test.is_none());
        let alone = read(&folder.path().join("0.parquet"), Keys::default(), SHAPE, &GO_ON).unwrap().0;
        assert_eq!(alone.train.labels, parts.train.labels);
    }
}

#[test]
fn a_part_without_labels_is_not_the_test_part() {
    let of = |labels: &[i64]| of_the_hub(&vec![png(9); labels.len()], labels, None, Some(CLASSES));
    let files = [
        ("train.parquet", of(&[0, 1])),
        ("test.parquet", of(&[-1, -1])),
        ("val.parquet", of(&[1])),
        ("dev.parquet", of(&[0])),
    ];
    let (parts, notes) = read_in(&folder(&files)).unwrap();
    assert_eq!(parts.test.unwrap().labels, [1]);
    let expected =
        ["the part `test` has no labels, and was left aside", "the test part is `val`; `dev` was left aside"];
    assert_eq!(notes.remarks, expected);
}

#[test]
fn grey_of_16_bits_is_scaled_over_all_shards() {
    let grey = |value: u16| Some(encoded(&ImageBuffer::from_pixel(1, 1, Luma([value])).into(), ImageFormat::Png));
    let files = [
        ("train-0.parquet", of_the_hub(&[grey(1024), png(77), grey(2048)], &[0, 1, 1], None, None)),
        ("train-1.parquet", of_the_hub(&[grey(512)], &[0], None, None)),
        ("test.parquet", of_the_hub(&[grey(4095)], &[1], None, None)),
    ];
    let (parts, notes) = read_in(&folder(&files)).unwrap();
    assert_eq!((parts.train.pixels_nhwc, parts.test.unwrap().pixels_nhwc), (vec![64, 77, 128, 32], vec![255]));
    assert!(
        notes.remarks[0]
            .starts_with("4 images (the first is `train-0.parquet, row 0`) in grey of 16 bits, of which 12")
    );
}

/// Files with their names.
type Files<'a> = Vec<(&'a str, Vec<u8>)>;

#[test]
fn what_is_wrong_is_said_with_file_and_row() {
    let good = || of_the_hub(&[png(1), png(2)], &[0, 1], None, Some(CLASSES));
    let labelled = |label: i64| of_the_hub(&[png(1), png(2)], &[0, label], None, Some(CLASSES));
    let columns = |schema: &str, n: usize| {
        let columns: Vec<(i16, Cells)> = (0..n).map(|_| (1, Cells::Numbers(vec![Some(0), Some(1)]))).collect();
        written(schema, &columns, None, 2, Compression::UNCOMPRESSED)
    };
    let two_labels = r#"{"info": {"features": {"a": {"_type": "ClassLabel"}, "b": {"_type": "ClassLabel"}, "image": {"_type": "Image"}}}}"#;
    let two = "message schema { optional group image { optional binary bytes; optional binary path (UTF8); } optional int64 a; optional int64 b; }";
    let two = written(
        two,
        &[
            (2, Cells::Bytes(vec![png(1)])),
            (2, Cells::Bytes(vec![None])),
            (1, Cells::Numbers(vec![Some(0)])),
            (1, Cells::Numbers(vec![Some(0)])),
        ],
        Some(two_labels),
        9,
        Compression::UNCOMPRESSED,
    );
    let other = CLASSES.replace("ant", "wasp");
    let cut = good()[..40].to_vec();
    let rows: Vec<(Files<'_>, &str)> = vec![
        (vec![("a.parquet", b"PAR1PAR1".to_vec())], "a.parquet`: not a whole Parquet file"),
        (vec![("a.parquet", cut)], "not a whole Parquet file"),
        (vec![("a.parquet", b"text".to_vec())], "not a whole Parquet file"),
        (vec![("a.parquet", of_the_hub(&[], &[], None, None))], "the table has no rows"),
        (
            vec![("a.parquet", of_the_hub(&[png(1), None], &[0, 1], Some("x"), None))],
            "a.parquet, row 1`: there is no image in this row",
        ),
        (
            vec![("a.parquet", of_the_hub(&[png(1), Some(b"text".to_vec())], &[0, 1], None, None))],
            "a.parquet, row 1`, byte 0: not JPEG",
        ),
        (vec![("a.parquet", of_the_hub(&[None, None, None], &[0, 1, 1], None, None))], "3 of the 3 images in"),
        (vec![("a.parquet", labelled(2))], "image 1 of the part: the label 2 is none of its 2 classes"),
        (vec![("a.parquet", labelled(-1))], "the label -1 is none"),
        (
            vec![("a.parquet", columns("message schema { optional int64 x; optional int64 y; }", 2))],
            "no column holds encoded images",
        ),
        (vec![("a.parquet", two)], "the columns `a` and `b` could both be meant"),
        (
            vec![("a.parquet", good()), ("b.parquet", columns("message schema { optional int64 x; }", 1))],
            "b.parquet`: no column holds",
        ),
        (
            vec![("train.parquet", good()), ("test.parquet", of_the_hub(&[png(1)], &[0], None, Some(&other)))],
            "test.parquet`: says other classes",
        ),
        (
            vec![("a.parquet", good()), ("b.parquet", of_the_hub(&[png(1)], &[0], None, Some(&other)))],
            "b.parquet`: has other columns or classes",
        ),
        (vec![("a.parquet", of_the_hub(&[png(1)], &[0], None, Some("{")))], "under `huggingface`"),
        (vec![("x.csv", b"a,b".to_vec())], "holds no .parquet file"),
    ];
    for (files, expected) in rows {
        let message = read_in(&folder(&files)).err().expect(expected).to_string();
        assert!(message.contains(expected), "{message}\nexpected: {expected}");
    }
}

#[test]
fn the_config_names_columns() {
    let columns = [
        (1, Cells::Numbers(vec![Some(4), Some(2)])),
        (1, Cells::Bytes(vec![png(1), png(2)])),
        (1, Cells::Bytes(vec![Some(b"x".to_vec()), Some(b"y".to_vec())])),
    ];
    let folder = folder(&[("a.parquet", written(PLAIN, &columns, None, 2, Compression::UNCOMPRESSED))]);
    let of = |keys: Keys<'_>| read(folder.path(), keys, SHAPE, &GO_ON).map(|(parts, _)| parts.classes);
    let none = Keys::default();
    assert_eq!(of(none).unwrap(), ["x", "y"]);
    assert_eq!(of(Keys { label: Some("id"), image: Some("picture"), ..none }).unwrap(), ["2", "4"]);
    for keys in [Keys { label: Some("Class"), ..none }, Keys { image: Some("id"), ..none }] {
        let error = of(keys).unwrap_err();
        assert!(error.to_string().contains("no column is named"), "{error}");
    }
}

#[test]
fn a_cancelled_reading_ends() {
    let folder = folder(&[("a.parquet", of_the_hub(&[png(1), png(2)], &[0, 1], None, None))]);
    let cancelled = AtomicBool::new(true);
    assert!(matches!(read(folder.path(), Keys::default(), SHAPE, &cancelled), Err(DataError::Cancelled)));
}

/// Any byte of a file changed: an answer comes, and no panic.
#[test]
fn no_damage_makes_the_reader_panic() {
    let whole = of_the_hub(&[png(1), png(2), png(3)], &[0, 1, 1], Some("x"), Some(CLASSES));
    let folder = folder(&[("a.parquet", whole.clone())]);
    let path = folder.path().join("a.parquet");
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, bytes).unwrap();
        _ = read(&path, Keys::default(), SHAPE, &GO_ON);
    }
}
