//! Tests of what is read of a file of features.

use super::*;
use crate::data::npz::of_half;
use crate::data::{Shape, Split};
use ::safetensors::Dtype;
use ::safetensors::tensor::TensorView;

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
        given: None,
    }
}

fn of_pool(path: &Path, data: &Dataset) -> Result<Features, DataError> {
    read_features(&FeatureFile::of(path), data, Part::Pool)
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
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    ::safetensors::serialize(views, &None).unwrap()
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
        let features = of_pool(file.path(), &data).unwrap();
        assert_eq!((features.n_cols, numbers(&features)), (2, vec![1.0, 2.0, 3.0, 4.0, 7.0, 8.0]), "{ending}");
    }
}

/// As pyarrow and polars write them: a column of lists, or a column for each number.
#[test]
fn parquet_gives_lists_and_columns() {
    use ::parquet::data_type::{FloatType, Int64Type};
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
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
        let columns: &[&str] = if i == 0 { &[] } else { &["a", "b"] };
        let columns = columns.iter().map(|name| name.to_string()).collect();
        let file = FeatureFile { columns, ..FeatureFile::of(file.path()) };
        let features = read_features(&file, &data(&[0, 1], 2), Part::Pool).unwrap();
        assert_eq!((features.n_cols, numbers(&features)), (2, vec![1.0, 2.0, 3.0, 4.0]));
        let unnamed = read_features(&FeatureFile::of(&file.path), &data(&[0, 1], 2), Part::Pool);
        assert_eq!(unnamed.is_ok(), i == 0, "columns of numbers are features where they are named");
    }
}

/// Names in place of numbers: two images of the pool, one of the test part.
fn named(pool: &[&str], test: &[&str]) -> Dataset {
    let part = |files: &[&str]| {
        let files: Vec<String> = files.iter().map(|file| file.to_string()).collect();
        Split { files: files.clone(), ..Split::numbered(vec![0; files.len()], vec![0; files.len()]) }
    };
    Dataset { pool: part(pool), test: part(test), has_own_test: true, n_train: pool.len(), ..data(&[0], 1) }
}

#[test]
fn rows_of_the_test_part_are_found_wherever_they_stand() {
    let matrix = |values: &[f32]| [header("<f4", &format!("({}, 1)", values.len())), f32s(values)].concat();
    let names = |names: &[&str]| {
        let width = names.iter().map(|name| name.len()).max().unwrap();
        let padded = names.iter().flat_map(|name| format!("{name:\0<width$}").into_bytes()).collect();
        [header(&format!("|S{width}"), &format!("({},)", names.len())), padded].concat()
    };
    let data = named(&["a.png", "b.png"], &["c.png"]);
    let whole = stored(
        ".npz",
        &npz_of(&[("features", matrix(&[3.0, 2.0, 1.0])), ("file", names(&["c.png", "b.png", "a.png"]))]),
    );
    let by_part = stored(".npz", &npz_of(&[("x_train", matrix(&[1.0, 2.0])), ("x_test", matrix(&[3.0]))]));
    let (pool, test) = (stored(".npy", &matrix(&[1.0, 2.0])), stored(".npy", &matrix(&[3.0])));
    let two_files = FeatureFile { test: Some(test.path().to_owned()), ..FeatureFile::of(pool.path()) };
    for file in [FeatureFile::of(whole.path()), FeatureFile::of(by_part.path()), two_files] {
        let read = |part| numbers(&read_features(&file, &data, part).unwrap());
        assert_eq!((read(Part::Pool), read(Part::Test)), (vec![1.0, 2.0], vec![3.0]), "{file:?}");
    }
    let error = read_features(&FeatureFile::of(pool.path()), &data, Part::Test).err().unwrap();
    assert!(error.to_string().contains("no rows of the test part"), "{error}");
    assert!(error.hint().unwrap().contains("representation.test"));
    // Names of training images beside a file of the test part are images without a row.
    let wrong = stored(".npz", &npz_of(&[("x", matrix(&[1.0])), ("file", names(&["a.png"]))]));
    let wrong = FeatureFile { test: Some(wrong.path().to_owned()), ..FeatureFile::of(pool.path()) };
    let error = read_features(&wrong, &data, Part::Test).err().unwrap().to_string();
    assert!(error.contains("has no row for 1 of 1 images of the test part, the first of them `c.png`"), "{error}");
}

#[test]
fn what_does_not_fit_the_images_is_named() {
    let npy = |shape: &str, values: &[f32]| [header("<f4", shape), f32s(values)].concat();
    let with_ids = |ids: &[i64], values: &[f32]| {
        let ids = [header("<i8", &format!("({},)", ids.len())), ids.iter().flat_map(|id| id.to_le_bytes()).collect()];
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
        (".npz", with_ids(&[0, 7], &[1.0, 2.0]), "row 1 belongs to the image 7, and the training part has 2"),
        (".npz", with_ids(&[0, -1], &[1.0, 2.0]), "whole numbers"),
        (".npz", with_ids(&[0], &[1.0, 2.0]), "names 1 ids, but holds 2 rows"),
        (".npz", npz_of(&[("a", npy("(2, 1)", &[1.0; 2])), ("b", npy("(2, 1)", &[1.0; 2]))]), "call one `features`"),
        (".safetensors", b"{".to_vec(), "not safetensors"),
        (".parquet", b"PAR1".to_vec(), "not a whole Parquet file"),
        (".csv", b"1,2".to_vec(), "features come as"),
    ];
    for (ending, bytes, expected) in rows {
        let file = stored(ending, &bytes);
        let error = of_pool(file.path(), &data(&[0, 1], 2)).err().expect(expected).to_string();
        assert!(error.contains(expected), "{error}\nexpected: {expected}");
    }
    let gone = of_pool(Path::new("/nowhere/features.npy"), &data(&[0], 1)).err().unwrap();
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
