//! Tables with an image per row: `height * width * channels` pixel columns and a label column.
//!
//! `path` is the table of the training part, or a folder with `train.csv` (or one `*.tra`) and, for the test part,
//! `test.csv` (or one `*.tes`); `test_path` names the test table otherwise. A first line in which no pixel column is a
//! number is a header, and so is one that numbers the columns. Columns may be separated by commas, semicolons, tabs or
//! bars: the one counts that gives the columns which the shape needs. A column of row numbers in front, as pandas writes it,
//! is left aside. Tables may be gzipped.

use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, Trim};

use super::archive::read_whole;
use super::error::{DataError, Place};
use super::labels::{self, Label, PartLabels};
use super::{Parts, Shape, Split, pixels};

/// What may stand between columns, in order of preference.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// How pandas calls the column of row numbers that it writes in front, in lower case.
const INDEX_NAMES: [&str; 4] = ["", "unnamed: 0", "index", "level_0"];
/// How people call the label column, in lower case.
const LABEL_NAMES: [&str; 6] = ["label", "labels", "class", "target", "y", "digit"];

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

/// The rows of one file.
struct Rows {
    path: PathBuf,
    pixels_nhwc: Vec<u8>,
    /// The largest number of a pixel column.
    brightest: f64,
    labels: Vec<Label>,
    lines: Vec<u64>,
}

/// Which columns are what.
struct Columns {
    /// How many there are.
    n: usize,
    label: usize,
    /// The row numbers that pandas writes.
    index: Option<usize>,
}

/// Reads the tables. Classes are the labels of the training part, in numeric order if all are whole numbers, else by
/// name.
pub(super) fn read(table: &Table<'_>) -> Result<Parts, DataError> {
    let (train_path, test_path) = locate(table)?;
    let train = read_rows(&train_path, table)?;
    let test = test_path.map(|path| read_rows(&path, table)).transpose()?;
    let numbered = labels::number(train.part_labels(), test.as_ref().map(Rows::part_labels))?;
    let test = test.zip(numbered.test);
    Ok(Parts {
        shape: table.shape,
        classes: numbered.classes,
        train: Split::numbered(train.pixels_nhwc, numbered.train),
        test: test.map(|(rows, labels)| Split::numbered(rows.pixels_nhwc, labels)),
    })
}

impl Rows {
    fn part_labels(&self) -> PartLabels<'_> {
        PartLabels { path: &self.path, labels: self.labels.clone(), lines: Some(self.lines.clone()) }
    }
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
    refuse_utf_16(path, &bytes)?;
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .delimiter(delimiter_of(&bytes, table.shape))
        .from_reader(&bytes[..]);
    let mut record = StringRecord::new();
    let mut rows = Rows {
        path: path.to_path_buf(),
        pixels_nhwc: Vec::new(),
        brightest: 0.0,
        labels: Vec::new(),
        lines: Vec::new(),
    };
    let mut columns = None;
    let mut n_records = 0;
    while reader.read_record(&mut record).map_err(|error| table_error(path, error))? {
        n_records += 1;
        let line = line_of(&record, &bytes).max(n_records);
        let columns = match &columns {
            Some(columns) => columns,
            None => {
                let is_header = is_header(&record, table.label);
                let found = columns.insert(Columns::of(&record, line, is_header, table, path)?);
                if is_header {
                    tell_of_numbers(&record, found, path);
                    continue;
                }
                found
            }
        };
        rows.push(&record, line, columns, table.max_value)?;
    }
    if rows.labels.is_empty() {
        return Err(DataError::malformed(path, Place::Whole, "the table has no rows"));
    }
    pixels::check_brightest(path, rows.brightest, table.max_value)?;
    Ok(rows)
}

/// Errs if a text begins as one in UTF-16 does.
pub(super) fn refuse_utf_16(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let error = DataError::at_byte(path, 0, "the text is UTF-16");
        return Err(error.with_hint("save the table as UTF-8, for example as `CSV UTF-8`"));
    }
    Ok(())
}

/// The delimiter that gives the first line the columns that `shape` needs, with or without row numbers; else the one that gives
/// it the most columns.
fn delimiter_of(bytes: &[u8], shape: Shape) -> u8 {
    let n_columns = |delimiter: &u8| {
        let mut reader =
            ReaderBuilder::new().has_headers(false).flexible(true).delimiter(*delimiter).from_reader(bytes);
        let mut first = StringRecord::new();
        reader.read_record(&mut first).map_or(0, |_| first.len())
    };
    let expected = shape.bytes() + 1;
    let fitting = DELIMITERS.iter().find(|delimiter| [expected, expected + 1].contains(&n_columns(delimiter)));
    // Of equals the first: a comma.
    *fitting.or(DELIMITERS.iter().rev().max_by_key(|delimiter| n_columns(delimiter))).unwrap_or(&b',')
}

/// The line of a record. The reader's own position is where it began to look: before line ends that it then skips.
pub(super) fn line_of(record: &StringRecord, bytes: &[u8]) -> u64 {
    let Some(position) = record.position() else { return 0 };
    let skipped = bytes[position.byte() as usize..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + skipped.filter(|byte| **byte == b'\n').count() as u64
}

/// Whether the first line has names in place of pixels, or the numbers of the columns, as pandas names them.
fn is_header(first: &StringRecord, label: &str) -> bool {
    let label_column = match label {
        "first" => 0,
        "last" => first.len() - 1,
        _ => return true,
    };
    let pixels = first.iter().enumerate().filter(|(c, cell)| *c != label_column && !cell.is_empty());
    let numbers: Vec<Option<f64>> = pixels.map(|(_, cell)| cell.parse().ok()).collect();
    let counts_up = |pair: &[Option<f64>]| matches!(pair, [Some(a), Some(b)] if *b == a + 1.0);
    let counts_columns = numbers.len() > 2 && numbers.windows(2).all(counts_up) && numbers[0].is_some_and(|n| n <= 1.0);
    numbers.iter().all(Option::is_none) || counts_columns
}

impl Columns {
    fn of(
        first: &StringRecord,
        line: u64,
        is_header: bool,
        table: &Table<'_>,
        path: &Path,
    ) -> Result<Columns, DataError> {
        let n = first.len();
        let expected = table.shape.bytes() + 1;
        let has_index = is_header && n == expected + 1 && INDEX_NAMES.contains(&first[0].to_lowercase().as_str());
        let index = has_index.then_some(0);
        if has_index {
            tracing::warn!("`{}`: the first column numbers the rows, and is left aside", path.display());
        }
        let named = |name: &str| {
            first.iter().position(|cell| cell == name).ok_or_else(|| {
                let why = format!("no column is named `{name}`, as `dataset.label` says; there are {}", ends_of(first));
                let hint = "`dataset.label` is the name of a column, `first` or `last`; a part without labels is for \
                            neither training nor testing";
                DataError::malformed(path, Place::Line(line), why).with_hint(hint)
            })
        };
        if n - usize::from(has_index) != expected {
            return Err(wrong_width(first, line, table.shape, path));
        }
        let label = match table.label {
            "first" => usize::from(has_index),
            "last" => n - 1,
            name => named(name)?,
        };
        if is_header && !is_label_name(&first[label]) {
            check_no_other_label(first, label, table.label, path)?;
        }
        Ok(Columns { n, label, index })
    }
}

/// Says so where a header was taken for one though it holds numbers.
fn tell_of_numbers(header: &StringRecord, columns: &Columns, path: &Path) {
    let has_number = header.iter().enumerate().any(|(c, cell)| c != columns.label && cell.parse::<f64>().is_ok());
    if has_number {
        tracing::warn!("`{}`: the first line numbers the columns, and is taken for a header", path.display());
    }
}

/// Errs if another column is called like labels.
fn check_no_other_label(header: &StringRecord, label: usize, key: &str, path: &Path) -> Result<(), DataError> {
    match header.iter().find(|cell| is_label_name(cell)) {
        Some(other) if ["first", "last"].contains(&key) => {
            let why =
                format!("there is a column `{other}`, but `dataset.label` is `{key}`, column `{}`", &header[label]);
            let hint = format!("set `dataset.label = \"{other}\"`, or the name of the column that holds the labels");
            Err(DataError::malformed(path, Place::Line(1), why).with_hint(hint))
        }
        _ => Ok(()),
    }
}

fn is_label_name(name: &str) -> bool {
    LABEL_NAMES.contains(&name.to_lowercase().as_str())
}

/// The first and last names of a header, or cells of a line.
fn ends_of(record: &StringRecord) -> String {
    let quoted = |cells: &mut dyn Iterator<Item = &str>| cells.map(|cell| format!("`{cell}`")).collect::<Vec<_>>();
    let n = record.len();
    if n <= 6 {
        return quoted(&mut record.iter()).join(", ");
    }
    let (first, last) = (quoted(&mut record.iter().take(3)), quoted(&mut record.iter().skip(n - 2)));
    format!("{n} columns, {} to {}", first.join(", "), last.join(", "))
}

fn wrong_width(record: &StringRecord, line: u64, shape: Shape, path: &Path) -> DataError {
    let (n_columns, expected) = (record.len(), shape.bytes() + 1);
    let Shape { height, width, channels } = shape;
    let why = format!("{n_columns} columns, expected {expected}: {height} x {width} x {channels} pixels and a label");
    let error = DataError::malformed(path, Place::Line(line), why);
    let side = (n_columns.saturating_sub(1) as f64).sqrt();
    if n_columns == 1 {
        error.with_hint("columns are separated by commas, semicolons or tabs; this line has none")
    } else if n_columns + 1 == expected {
        error.with_hint("the labels seem to be missing: without a labelled test table, leave it out, and name the training table itself with `dataset.path`")
    } else if side >= 2.0 && side.fract() == 0.0 {
        error.with_hint(format!("`dataset.shape = [{side}, {side}, 1]` has as many columns"))
    } else {
        error.with_hint(format!("there are {}", ends_of(record)))
    }
}

impl Rows {
    fn push(&mut self, record: &StringRecord, line: u64, columns: &Columns, max_value: f64) -> Result<(), DataError> {
        if record.len() != columns.n {
            let why = format!("{} columns, but the first line has {}", record.len(), columns.n);
            return Err(DataError::malformed(&self.path, Place::Line(line), why));
        }
        for (c, cell) in record.iter().enumerate() {
            if c == columns.label {
                self.labels.push(Label::of_text(cell));
            } else if Some(c) != columns.index {
                let pixel = self.pixel(cell, max_value);
                let place = Place::Cell { line, column: c as u64 + 1 };
                pixel.map_err(|(why, hint)| DataError::malformed(&self.path, place, why).with_hint(hint))?;
            }
        }
        self.lines.push(line);
        Ok(())
    }

    /// Adds a pixel; errs with what is wrong with it and what to do.
    fn pixel(&mut self, cell: &str, max_value: f64) -> Result<(), (String, &'static str)> {
        let Ok(value) = cell.parse::<f64>() else {
            let hint = if cell.contains(',') { "numbers have a decimal point here" } else { "a pixel is a number" };
            return Err((format!("`{cell}` is not a number"), hint));
        };
        let Some(byte) = pixels::byte_of(value, max_value) else {
            let why = format!("pixel {value} is outside 0 to {max_value} (`dataset.max_value`)");
            return Err((why, "`dataset.max_value` is the value that is white; below 0 nothing is read"));
        };
        self.brightest = self.brightest.max(value);
        self.pixels_nhwc.push(byte);
        Ok(())
    }
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
            ("digit,a,b\r10,0,16\r9,8,4\r", "first"),
            ("digit;a;b\n10;0;16\n9;8;4\n", "digit"),
            ("digit\ta\tb\n10\t0\t16\n9\t8\t4\n", "digit"),
            ("\u{feff}\"digit\",\"a\",\"b\"\n\"10\",\"0\",\"16\"\n\" 9 \",8,4\n\n", "digit"),
            (",digit,a,b\n0,10,0,16\n1,9,8,4\n", "first"),
            ("Unnamed: 0,a,b,digit\n0,0,16,10.0\n1,8,4,9.0\n", "last"),
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
            ("1,2,3\n1,2\n", "d.tra`, line 2: 2 columns, but the first line has 3"),
            ("1,2\n", "d.tra`, line 1: 2 columns, expected 3: 1 x 2 x 1 pixels and a label"),
            ("1,2,3\n4,5,\n", "d.tra`, line 2: the label is empty"),
            ("0,1,3\n", "no pixel is above 1, but white is 16"),
            ("label,a,b\n3,1,2\n", "there is a column `label`, but `dataset.label` is `last`, column `b`"),
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
