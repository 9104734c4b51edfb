//! The rows of a table: which image, which label, which part.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, Trim};

use super::super::archive::read_whole;
use super::super::caught::caught;
use super::super::columns::{Column, Holds, Shard};
use super::super::csv::{line_of, refuse_utf_16, table_error};
use super::super::error::{DataError, Place};
use super::super::labels::{Label, PartLabels};
use super::header::{Columns, Keys, Unclear};

/// What may stand between columns, in order of preference.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// One line of a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub image: String,
    pub label: Label,
    /// Empty where the table has no column of parts.
    pub split: String,
    /// The line of a text, counted from 1, or the row of a Parquet file, counted from 0.
    pub line: u64,
}

/// A table.
#[derive(Debug)]
pub(super) struct Sheet {
    /// The file; for one in an archive the archive's path with the file's path after it.
    pub path: PathBuf,
    pub rows: Vec<Row>,
    /// The name of the column of parts.
    pub split: Option<String>,
    /// Whether rows are lines of a text.
    has_lines: bool,
}

impl Sheet {
    /// Reads the table at `path`.
    ///
    /// # Errors
    /// If it cannot be read, its columns are not clear, a row is shorter or longer than the first line, or names no image.
    pub(super) fn read(path: &Path, keys: Keys<'_>, wants_split: bool) -> Result<Sheet, DataError> {
        if !is_parquet(path)? {
            return Sheet::of_text(path, &read_whole(path)?, keys, wants_split);
        }
        caught(|| Sheet::of_parquet(path, keys, wants_split)).unwrap_or_else(|panic| {
            Err(DataError::malformed(path, Place::Whole, format!("not a whole Parquet file ({panic})")))
        })
    }

    fn of_parquet(path: &Path, keys: Keys<'_>, wants_split: bool) -> Result<Sheet, DataError> {
        let shard = Shard::open(path)?;
        let plain: Vec<&Column> = shard.columns.iter().filter(|column| column.leaf.is_empty()).collect();
        let header: Vec<String> = plain.iter().map(|column| column.root.clone()).collect();
        let columns = Columns::of(&header, keys, wants_split);
        let columns = columns.map_err(|unclear| of_columns(&shard, unclear))?;
        let images = shard.texts(plain[columns.image])?;
        let labels = shard.labels(plain[columns.label])?;
        let splits = columns.split.map(|split| shard.texts(plain[split])).transpose()?;
        let split = columns.split.map(|column| header[column].clone());
        let mut sheet = Sheet { path: path.to_owned(), rows: Vec::new(), split, has_lines: false };
        for (i, (image, label)) in images.iter().zip(labels).enumerate() {
            let split = splits.as_ref().map_or("", |splits| &splits[i]);
            sheet.push(image, label, split, i as u64)?;
        }
        sheet.not_empty()
    }

    /// The same of a text, gzipped no more.
    pub(super) fn of_text(path: &Path, bytes: &[u8], keys: Keys<'_>, wants_split: bool) -> Result<Sheet, DataError> {
        refuse_utf_16(path, bytes)?;
        let delimiter = delimiter_of(bytes, keys);
        let mut reader = reader(bytes, delimiter);
        let mut record = StringRecord::new();
        let has_header = reader.read_record(&mut record).map_err(|error| table_error(path, error))?;
        if !has_header {
            return Err(DataError::malformed(path, Place::Whole, "the table is empty"));
        }
        let header: Vec<String> = record.iter().map(str::to_owned).collect();
        let columns = Columns::of(&header, keys, wants_split);
        let columns = columns.map_err(|unclear| of_header(path, unclear))?;
        let split = columns.split.map(|column| header[column].clone());
        let mut sheet = Sheet { path: path.to_owned(), rows: Vec::new(), split, has_lines: true };
        while reader.read_record(&mut record).map_err(|error| table_error(path, error))? {
            let line = line_of(&record, bytes);
            if record.len() != header.len() {
                let why = format!("{} columns, but the first line has {}", record.len(), header.len());
                return Err(DataError::malformed(path, Place::Line(line), why));
            }
            let split = columns.split.map_or("", |column| &record[column]);
            sheet.push(&record[columns.image], Label::of_text(&record[columns.label]), split, line)?;
        }
        sheet.not_empty()
    }

    fn push(&mut self, image: &str, label: Label, split: &str, line: u64) -> Result<(), DataError> {
        let row = Row { image: image.to_owned(), label, split: split.to_owned(), line };
        if image.is_empty() {
            return Err(self.at(&row, "names no image".to_owned()));
        }
        self.rows.push(row);
        Ok(())
    }

    fn not_empty(self) -> Result<Sheet, DataError> {
        match self.rows.is_empty() {
            true => Err(DataError::malformed(&self.path, Place::Whole, "the table has no rows")),
            false => Ok(self),
        }
    }

    /// The labels of some rows.
    pub(super) fn labels(&self, rows: &[Row]) -> PartLabels<'_> {
        PartLabels {
            path: &self.path,
            labels: rows.iter().map(|row| row.label.clone()).collect(),
            lines: self.has_lines.then(|| rows.iter().map(|row| row.line).collect()),
        }
    }

    /// What rows are called.
    pub(super) fn unit(&self) -> &'static str {
        if self.has_lines { "line" } else { "row" }
    }

    /// `line 7`.
    pub(super) fn place(&self, row: &Row) -> String {
        format!("{} {}", self.unit(), row.line)
    }

    /// What is wrong with a row.
    pub(super) fn at(&self, row: &Row, why: String) -> DataError {
        match self.has_lines {
            true => DataError::malformed(&self.path, Place::Line(row.line), why),
            false => DataError::malformed(&self.path, Place::Whole, format!("row {}: {why}", row.line)),
        }
    }

    /// The error about a row whose part is none.
    pub(super) fn no_part(&self, row: &Row, column: &str) -> DataError {
        let why = format!("`{}` in `{column}` is no part of a set, such as train, test or val", row.split);
        self.at(row, why).with_hint("`dataset.split` names another column; one that holds no parts is called otherwise")
    }
}

/// Whether a file begins as one of Parquet does.
fn is_parquet(path: &Path) -> Result<bool, DataError> {
    let io_error = |source| DataError::io(path, source);
    let mut first = Vec::new();
    // A pipe could wait for ever.
    if fs::metadata(path).map_err(io_error)?.is_file() {
        File::open(path).and_then(|file| file.take(4).read_to_end(&mut first)).map_err(io_error)?;
    }
    Ok(first == b"PAR1")
}

fn of_columns(shard: &Shard, Unclear { why, hint }: Unclear) -> DataError {
    let holds_images = shard.columns.iter().any(|column| column.holds == Holds::Bytes);
    let hint =
        if holds_images { "kind `parquet` reads files that hold the images themselves".to_owned() } else { hint };
    DataError::malformed(&shard.path, Place::Whole, why).with_hint(hint)
}

fn of_header(path: &Path, Unclear { why, hint }: Unclear) -> DataError {
    DataError::malformed(path, Place::Line(1), why).with_hint(hint)
}

fn reader(bytes: &[u8], delimiter: u8) -> csv::Reader<&[u8]> {
    ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).delimiter(delimiter).from_reader(bytes)
}

/// The delimiter with which the first line has the columns; else the one that gives it the most.
fn delimiter_of(bytes: &[u8], keys: Keys<'_>) -> u8 {
    let header = |delimiter: u8| {
        let mut first = StringRecord::new();
        _ = reader(bytes, delimiter).read_record(&mut first);
        first.iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let fits = |delimiter: &&u8| Columns::of(&header(**delimiter), keys, false).is_ok();
    // Of equals the first: a comma.
    let most = || DELIMITERS.iter().rev().max_by_key(|delimiter| header(**delimiter).len());
    *DELIMITERS.iter().find(fits).or_else(most).unwrap_or(&b',')
}
