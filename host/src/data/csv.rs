//! Tables with an image per row: `height * width * channels` pixel columns and a label column.
//!
//! `path` is the table of the training part, or a folder with `train.csv` (or one `*.tra`) and, for the test part,
//! `test.csv` (or one `*.tes`); `test_path` names the test table otherwise. A first line in which no pixel column is a
//! number is a header. Tables may be gzipped.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, Trim};

use super::archive::read_whole;
use super::error::{DataError, Place};
use super::{Parts, Shape, Split};

/// What a config says about a table.
pub(super) struct Table<'a> {
    /// The training table, or a folder.
    pub train: PathBuf,
    /// The test table.
    pub test: Option<PathBuf>,
    /// How the pixel columns are read.
    pub shape: Shape,
    /// `first`, `last` or a name from the header.
    pub label: &'a str,
    /// The value that becomes 255.
    pub max_value: f64,
}

/// The rows of one file, labels as they are spelled.
#[derive(Default)]
struct Rows {
    pixels_nhwc: Vec<u8>,
    labels: Vec<String>,
    lines: Vec<u64>,
}

/// Reads the tables. Classes are the labels of the training part, in numeric order if all are whole numbers, else by
/// name.
pub(super) fn read(table: &Table<'_>) -> Result<Parts, DataError> {
    let (train_path, test_path) = locate(table)?;
    let train = read_rows(&train_path, table)?;
    let classes = classes_of(&train.labels);
    let test = match test_path {
        None => None,
        Some(path) => Some(numbered(read_rows(&path, table)?, &classes, &path)?),
    };
    Ok(Parts { shape: table.shape, train: numbered(train, &classes, &train_path)?, test, classes })
}

fn locate(table: &Table<'_>) -> Result<(PathBuf, Option<PathBuf>), DataError> {
    if !table.train.is_dir() {
        return Ok((table.train.clone(), table.test.clone()));
    }
    let train = one_in(&table.train, "train.csv", "tra")?.ok_or_else(|| DataError::Missing {
        looked_in: table.train.clone(),
        names: vec!["train.csv".into(), "one *.tra".into()],
        hint: "`dataset.path` may also name the table itself".into(),
    })?;
    let test = match &table.test {
        Some(test) => Some(test.clone()),
        None => one_in(&table.train, "test.csv", "tes")?,
    };
    Ok((train, test))
}

/// The file `name` in `folder`, or the only one there with this extension.
fn one_in(folder: &Path, name: &str, extension: &str) -> Result<Option<PathBuf>, DataError> {
    if folder.join(name).is_file() {
        return Ok(Some(folder.join(name)));
    }
    let io_error = |source| DataError::io(folder, source);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io_error)? {
        let path = entry.map_err(io_error)?.path();
        if path.extension().is_some_and(|known| known == extension) {
            found.push(path);
        }
    }
    if found.len() > 1 {
        let why = format!("holds {} files *.{extension}; name one with `dataset.path`", found.len());
        return Err(DataError::malformed(folder, Place::Whole, why));
    }
    Ok(found.pop())
}

fn read_rows(path: &Path, table: &Table<'_>) -> Result<Rows, DataError> {
    let bytes = read_whole(path)?;
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(&bytes[..]);
    let mut record = StringRecord::new();
    let mut rows = Rows::default();
    let mut label_column = None;
    while reader.read_record(&mut record).map_err(|error| table_error(path, error))? {
        let line = line_of(&record, &bytes);
        check_width(&record, line, table.shape, path)?;
        let column = match label_column {
            Some(column) => column,
            None => {
                let (column, is_header) = label_column_of(&record, table.label, path)?;
                label_column = Some(column);
                if is_header {
                    continue;
                }
                column
            }
        };
        push_row(&mut rows, &record, line, column, table.max_value, path)?;
    }
    if rows.labels.is_empty() {
        return Err(DataError::malformed(path, Place::Whole, "the table has no rows"));
    }
    Ok(rows)
}

/// The line of a record. The reader's own position is where it began to look: before line ends that it then skips.
fn line_of(record: &StringRecord, bytes: &[u8]) -> u64 {
    let Some(position) = record.position() else { return 0 };
    let skipped = bytes[position.byte() as usize..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + skipped.filter(|byte| **byte == b'\n').count() as u64
}

fn check_width(record: &StringRecord, line: u64, shape: Shape, path: &Path) -> Result<(), DataError> {
    let (n_columns, expected) = (record.len(), shape.bytes() + 1);
    if n_columns == expected {
        return Ok(());
    }
    let Shape { height, width, channels } = shape;
    let why = format!("{n_columns} columns, expected {expected}: {height} x {width} x {channels} pixels and a label");
    Err(DataError::malformed(path, Place::Line(line), why))
}

/// The label column, and whether the first line is a header.
fn label_column_of(first: &StringRecord, label: &str, path: &Path) -> Result<(usize, bool), DataError> {
    let column = match label {
        "first" => 0,
        "last" => first.len() - 1,
        name => match first.iter().position(|cell| cell == name) {
            Some(column) => return Ok((column, true)),
            None => {
                let why = format!("no column is named `{name}`, as `dataset.label` says");
                return Err(DataError::malformed(path, Place::Line(1), why));
            }
        },
    };
    let has_number = first.iter().enumerate().any(|(c, cell)| c != column && cell.parse::<f64>().is_ok());
    Ok((column, !has_number))
}

fn push_row(
    rows: &mut Rows,
    record: &StringRecord,
    line: u64,
    label_column: usize,
    max_value: f64,
    path: &Path,
) -> Result<(), DataError> {
    for (c, cell) in record.iter().enumerate() {
        if c == label_column {
            rows.labels.push(cell.to_string());
            continue;
        }
        let wrong = |why| Err(DataError::malformed(path, Place::Cell { line, column: c as u64 + 1 }, why));
        match cell.parse::<f64>() {
            Ok(value) if (0.0..=max_value).contains(&value) => {
                rows.pixels_nhwc.push((value * 255.0 / max_value).round() as u8);
            }
            Ok(value) => return wrong(format!("pixel {value} is outside 0 to {max_value} (`dataset.max_value`)")),
            Err(_) => return wrong(format!("`{cell}` is not a number")),
        }
    }
    rows.lines.push(line);
    Ok(())
}

fn classes_of(labels: &[String]) -> Vec<String> {
    let mut classes = labels.to_vec();
    classes.sort();
    classes.dedup();
    let mut numbers: Vec<(i64, String)> =
        classes.iter().filter_map(|class| Some((class.parse().ok()?, class.clone()))).collect();
    if numbers.len() < classes.len() {
        return classes;
    }
    numbers.sort();
    numbers.into_iter().map(|(_, class)| class).collect()
}

fn numbered(rows: Rows, classes: &[String], path: &Path) -> Result<Split, DataError> {
    let by_name: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let labels = rows.labels.iter().zip(&rows.lines).map(|(label, &line)| {
        by_name.get(label.as_str()).copied().ok_or_else(|| {
            DataError::malformed(path, Place::Line(line), format!("the training part has no label `{label}`"))
        })
    });
    let labels = labels.collect::<Result<_, _>>()?;
    Ok(Split::numbered(rows.pixels_nhwc, labels))
}

/// An error of the table reader as one of ours.
pub(super) fn table_error(path: &Path, error: csv::Error) -> DataError {
    let place = error.position().map_or(Place::Whole, |position| Place::Line(position.line()));
    let why = match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.kind().to_string(),
        _ => error.to_string(),
    };
    DataError::malformed(path, place, why)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SHAPE: Shape = Shape { height: 1, width: 2, channels: 1 };

    fn read_text(train: &str, test: Option<&str>, label: &str) -> Result<Parts, DataError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("d.tra"), train).unwrap();
        if let Some(test) = test {
            fs::write(folder.path().join("d.tes"), test).unwrap();
        }
        read(&Table { train: folder.path().into(), test: None, shape: SHAPE, label, max_value: 16.0 })
    }

    #[test]
    fn reads_labels_first_last_and_by_name() {
        let rows = [
            ("0,16,10\n8, 4,9\n", "last"),
            ("10,0,16\n9,8,4\n", "first"),
            ("a,digit,b\n0,10,16\n8,9,4", "digit"),
            ("digit,a,b\r\n10,0,16\r\n9,8,4\r\n", "first"),
        ];
        for (text, label) in rows {
            let parts = read_text(text, None, label).unwrap();
            assert_eq!(parts.classes, ["9", "10"], "{text}");
            // 8 of 16 is 127.5, rounded away from zero; 4 of 16 is 63.75.
            assert_eq!(parts.train, Split::numbered(vec![0, 255, 128, 64], vec![1, 0]), "{text}");
            assert!(parts.test.is_none());
        }
    }

    #[test]
    fn named_classes_are_sorted_and_shared_with_the_test_part() {
        let parts = read_text("1,2,cat\n3,4,ant\n", Some("5,6,cat\n"), "last").unwrap();
        assert_eq!(parts.classes, ["ant", "cat"]);
        assert_eq!((parts.train.labels, parts.test.unwrap().labels), (vec![1, 0], vec![1]));
    }

    #[test]
    fn every_corruption_names_line_and_column() {
        let rows = [
            ("1,2,3\n1,x,3\n", "d.tra`, line 2, column 2: `x` is not a number"),
            ("1,2,3\n1,17,3\n", "d.tra`, line 2, column 2: pixel 17 is outside 0 to 16"),
            ("1,2,3\n\n1,NaN,3\n", "d.tra`, line 3, column 2: pixel NaN is outside"),
            ("1,2,3\r\n1,x,3\r\n", "d.tra`, line 2, column 2: `x` is not a number"),
            ("1,2,3\n1,2\n", "d.tra`, line 2: 2 columns, expected 3: 1 x 2 x 1 pixels and a label"),
            ("a,b,c\n", "the table has no rows"),
            ("", "the table has no rows"),
        ];
        for (text, expected) in rows {
            let message = read_text(text, None, "last").err().expect(expected).to_string();
            assert!(message.contains(expected), "{message}\nexpected: {expected}");
        }
        let unknown_label = read_text("1,2,3\n", Some("1,2,3\n1,2,4\n"), "last").err().unwrap().to_string();
        assert!(unknown_label.contains("d.tes`, line 2: the training part has no label `4`"), "{unknown_label}");
        let unnamed = read_text("1,2,3\n", None, "digit").err().unwrap().to_string();
        assert!(unnamed.contains("no column is named `digit`"), "{unnamed}");
    }
}
