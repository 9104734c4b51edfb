//! Columns of a Parquet file, read some rows at a time: a page of a column is in memory at once, and never a whole file.
//!
//! The library panics where a damaged page does not hold what it should: whoever calls this catches it, see
//! [`caught`](super::caught).

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::error::{DataError, Place};
use super::labels::Label;
use super::unpacked::Allowance;
use super::{footer, pages};

/// So many rows are read at once, where they are small.
pub(super) const ROWS: usize = 256;
/// No further row is read at once that comes behind so many bytes.
const BYTES: usize = 16 << 20;
/// What is kept of each row beside its image: a label, a name.
const ROW_BYTES: u64 = 64;

/// What the cells of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Bytes,
    Text,
    Numbers,
    Else,
}

/// A column of single values, maybe within a group.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// The name of the column in the table.
    pub root: String,
    /// The name within its group; empty for a column that is no group.
    pub leaf: String,
    pub holds: Holds,
    /// Its place among all.
    place: usize,
    /// The level that says that a value is there.
    max_level: i16,
}

/// An open file.
pub(super) struct Shard {
    pub path: PathBuf,
    file: File,
    reader: SerializedFileReader<File>,
    /// Columns that hold one value or none in each row.
    pub columns: Vec<Column>,
    pub n_rows: u64,
}

impl Shard {
    /// Opens a file, and reads what its footer says.
    ///
    /// # Errors
    /// If it is no whole Parquet file, or says that it has more rows than it may come to in memory.
    pub(super) fn open(path: &Path) -> Result<Shard, DataError> {
        let io_error = |source| DataError::io(path, source);
        let broken = |error: &dyn std::fmt::Display| {
            DataError::malformed(path, Place::Whole, format!("not a whole Parquet file ({error})"))
        };
        let mut file = File::open(path).map_err(io_error)?;
        footer::check(&mut file).map_err(|error| broken(&error))?;
        let reader = SerializedFileReader::new(file.try_clone().map_err(io_error)?).map_err(|error| broken(&error))?;
        let metadata = reader.metadata().file_metadata();
        let columns =
            metadata.schema_descr().columns().iter().enumerate().filter_map(|(i, column)| Column::of(i, column));
        let columns = columns.collect();
        let groups = reader.metadata().row_groups().iter();
        let n_rows =
            groups.map(|group| u64::try_from(group.num_rows())).try_fold(0u64, |sum, n| sum.checked_add(n.ok()?));
        let n_rows = n_rows.ok_or_else(|| broken(&"its number of rows cannot be"))?;
        let mut allowance = Allowance::of_file(&file).map_err(io_error)?;
        let too_large = |error| DataError::malformed(path, Place::Whole, format!("a table of {n_rows} rows {error}"));
        allowance.take(n_rows.saturating_mul(ROW_BYTES)).map_err(too_large)?;
        Ok(Shard { path: path.to_owned(), file, reader, columns, n_rows })
    }

    /// What its writer says under a key.
    pub(super) fn said(&self, key: &str) -> Option<&str> {
        let said = self.reader.metadata().file_metadata().key_value_metadata()?;
        said.iter().find(|said| said.key == key)?.value.as_deref()
    }

    /// The names of all columns of the table, in order.
    pub(super) fn names(&self) -> Vec<String> {
        let schema = self.reader.metadata().file_metadata().schema();
        schema.get_fields().iter().map(|field| field.name().to_owned()).collect()
    }

    /// How many bytes its images may come to.
    pub(super) fn allowance(&self) -> Result<Allowance, DataError> {
        Allowance::in_turn(&self.file).map_err(|source| DataError::io(&self.path, source))
    }

    /// The labels in a column of whole numbers or text.
    pub(super) fn labels(&self, column: &Column) -> Result<Vec<Label>, DataError> {
        self.all(column, |reader, max_level, n| match reader {
            ColumnReader::ByteArrayColumnReader(reader) => {
                let texts = values(reader, max_level, n)?.into_iter().map(|text| label_of(text.as_ref()));
                Ok(texts.collect())
            }
            ColumnReader::BoolColumnReader(reader) => {
                let name = |flag| Label::Name(if flag { "True" } else { "False" }.to_owned());
                Ok(or_missing(values(reader, max_level, n)?, name))
            }
            ColumnReader::Int32ColumnReader(reader) => {
                Ok(or_missing(values(reader, max_level, n)?, |number| Label::Number(number.into())))
            }
            ColumnReader::Int64ColumnReader(reader) => Ok(or_missing(values(reader, max_level, n)?, Label::Number)),
            ColumnReader::FloatColumnReader(reader) => {
                Ok(or_missing(values(reader, max_level, n)?, |number| Label::of_number(number.into())))
            }
            ColumnReader::DoubleColumnReader(reader) => Ok(or_missing(values(reader, max_level, n)?, Label::of_number)),
            _ => Err(ParquetError::NYI("a column of this type".to_owned())),
        })
    }

    /// The texts in a column, empty where there are none.
    pub(super) fn texts(&self, column: &Column) -> Result<Vec<String>, DataError> {
        let text = |value: Option<ByteArray>| value.map_or_else(String::new, |value| text_of(&value).to_owned());
        self.all(column, |reader, max_level, n| match reader {
            ColumnReader::ByteArrayColumnReader(reader) => {
                Ok(values(reader, max_level, n)?.into_iter().map(text).collect())
            }
            ColumnReader::Int32ColumnReader(reader) => Ok(numerals(values(reader, max_level, n)?)),
            ColumnReader::Int64ColumnReader(reader) => Ok(numerals(values(reader, max_level, n)?)),
            _ => Err(ParquetError::NYI("a column of this type".to_owned())),
        })
    }

    /// All values of a column.
    fn all<T>(
        &self,
        column: &Column,
        read: impl Fn(&mut ColumnReader, i16, usize) -> Result<Vec<T>, ParquetError>,
    ) -> Result<Vec<T>, DataError> {
        let mut all = Vec::with_capacity(self.n_rows as usize);
        for (group, n) in self.groups() {
            let mut reader = self.reader_of(group, n, column)?;
            let values = read(&mut reader, column.max_level, n).map_err(|error| self.unreadable(&error))?;
            self.check_number(values.len(), n, column)?;
            all.extend(values);
        }
        Ok(all)
    }

    /// Calls `each` with the values of a column of bytes, some rows at a time, and the place of the first of them.
    pub(super) fn stream(
        &self,
        column: &Column,
        each: &mut dyn FnMut(usize, Vec<Option<ByteArray>>) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let mut first = 0;
        for (group, n) in self.groups() {
            let mut reader = get_typed_column_reader::<ByteArrayType>(self.reader_of(group, n, column)?);
            let mut left = n;
            while left > 0 {
                let some = some_values(&mut reader, column.max_level, left);
                let some = some.map_err(|error| self.unreadable(&error))?;
                self.check_number(some.len().min(1), 1, column)?;
                let n_read = some.len();
                each(first, some)?;
                (first, left) = (first + n_read, left - n_read);
            }
        }
        Ok(())
    }

    /// Each row group with its number of rows.
    fn groups(&self) -> impl Iterator<Item = (usize, usize)> {
        self.reader.metadata().row_groups().iter().map(|group| group.num_rows() as usize).enumerate()
    }

    /// A reader of a column whose pages were looked through.
    fn reader_of(&self, group: usize, n_rows: usize, column: &Column) -> Result<ColumnReader, DataError> {
        let chunk = self.reader.metadata().row_group(group).column(column.place);
        pages::check(&self.file, chunk, n_rows as u64).map_err(|error| {
            let why = format!("the column `{}` of row group {group}: {error}", column.shown());
            let error = DataError::malformed(&self.path, Place::Whole, why);
            error.with_hint("if the file is whole, write it again with pandas or polars, compression=\"zstd\"")
        })?;
        let group = self.reader.get_row_group(group).map_err(|error| self.unreadable(&error))?;
        group.get_column_reader(column.place).map_err(|error| self.unreadable(&error))
    }

    fn check_number(&self, n: usize, expected: usize, column: &Column) -> Result<(), DataError> {
        if n == expected {
            return Ok(());
        }
        let why = format!("the column `{}` ends before its rows do", column.shown());
        Err(DataError::malformed(&self.path, Place::Whole, why))
    }

    fn unreadable(&self, error: &ParquetError) -> DataError {
        DataError::malformed(&self.path, Place::Whole, format!("not a whole Parquet file ({error})"))
    }
}

impl Column {
    fn of(place: usize, column: &ColumnDescriptor) -> Option<Column> {
        let [root, inner @ ..] = column.path().parts() else { return None };
        if column.max_rep_level() > 0 {
            return None;
        }
        let max_level = column.max_def_level();
        Some(Column { root: root.clone(), leaf: inner.join("."), holds: Holds::of(column), place, max_level })
    }

    fn shown(&self) -> String {
        if self.leaf.is_empty() { self.root.clone() } else { format!("{}.{}", self.root, self.leaf) }
    }
}

impl Holds {
    fn of(column: &ColumnDescriptor) -> Holds {
        let is_whole = matches!(column.logical_type_ref(), None | Some(LogicalType::Integer { .. }));
        match (column.physical_type(), column.converted_type()) {
            (Physical::BYTE_ARRAY, ConvertedType::UTF8 | ConvertedType::ENUM) => Holds::Text,
            (Physical::BYTE_ARRAY, ConvertedType::NONE) if column.logical_type_ref().is_none() => Holds::Bytes,
            (Physical::INT32 | Physical::INT64, _) if is_whole => Holds::Numbers,
            (Physical::BOOLEAN | Physical::FLOAT | Physical::DOUBLE, _) => Holds::Numbers,
            _ => Holds::Else,
        }
    }
}

/// The next `n` values of a column, which holds one or none in each row.
fn values<T: parquet::data_type::DataType>(
    reader: &mut ColumnReaderImpl<T>,
    max_level: i16,
    n: usize,
) -> Result<Vec<Option<T::T>>, ParquetError> {
    let (mut levels, mut there) = (Vec::new(), Vec::new());
    let (n_read, _, _) = reader.read_records(n, Some(&mut levels), None, &mut there)?;
    if max_level == 0 {
        return Ok(there.into_iter().map(Some).collect());
    }
    let mut there = there.into_iter();
    Ok(levels.into_iter().take(n_read).map(|level| if level == max_level { there.next() } else { None }).collect())
}

/// The next values, at most `most`: as many as are small enough to be in memory at once.
fn some_values(
    reader: &mut ColumnReaderImpl<ByteArrayType>,
    max_level: i16,
    most: usize,
) -> Result<Vec<Option<ByteArray>>, ParquetError> {
    let (mut some, mut bytes) = (Vec::new(), 0);
    while some.len() < most.min(ROWS) && bytes < BYTES {
        let Some(next) = values(reader, max_level, 1)?.pop() else { break };
        bytes += next.as_ref().map_or(0, ByteArray::len);
        some.push(next);
    }
    Ok(some)
}

fn or_missing<T>(values: Vec<Option<T>>, label: impl Fn(T) -> Label) -> Vec<Label> {
    values.into_iter().map(|value| value.map_or_else(|| Label::Missing(String::new()), &label)).collect()
}

fn label_of(text: Option<&ByteArray>) -> Label {
    text.map_or_else(|| Label::Missing(String::new()), |text| Label::of_text(text_of(text)))
}

/// Text, empty where the bytes are none.
fn text_of(bytes: &ByteArray) -> &str {
    std::str::from_utf8(bytes.data()).unwrap_or_default()
}

fn numerals<T: ToString>(values: Vec<Option<T>>) -> Vec<String> {
    values.into_iter().map(|value| value.map_or_else(String::new, |value| value.to_string())).collect()
}
