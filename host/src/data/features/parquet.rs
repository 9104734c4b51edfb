//! Features in Parquet: a column of lists, or a column for each number.

use std::fs::File;
use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use super::super::caught::caught;
use super::super::error::{DataError, Place};
use super::super::footer;
use super::super::unpacked::{Allowance, TooLarge};
use super::columns::{check_scalars, is_id, is_index, is_no_feature, the_one};
use super::{Names, Rows, Table, best_names};

/// What a column holds, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    List,
    Integers,
    Floats,
    Text,
    Else,
}

/// Which columns are read, by their places.
struct Plan {
    features: Vec<usize>,
    ids: Option<usize>,
    index: Option<usize>,
    texts: Vec<usize>,
}

/// What has been read of them.
struct Read {
    numbers: Vec<f32>,
    ids: Vec<u64>,
    texts: Vec<Vec<String>>,
    allowance: Allowance,
}

/// What an element of a list takes while its row is put together.
const FIELD_BYTES: u64 = size_of::<Field>() as u64;
/// What a text takes beside its bytes.
const STRING_BYTES: u64 = size_of::<String>() as u64;

/// Reads a file of features.
pub(super) fn read(path: &Path) -> Result<Table, DataError> {
    caught(|| read_whole(path)).unwrap_or_else(|panic| {
        Err(DataError::malformed(path, Place::Whole, format!("not a whole Parquet file ({panic})")))
    })
}

fn read_whole(path: &Path) -> Result<Table, DataError> {
    let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
    let mut file = File::open(path).map_err(|source| DataError::io(path, source))?;
    let allowance = Allowance::of_file(&file).map_err(|source| DataError::io(path, source))?;
    if super::begins_with(path, b"PAR1") {
        footer::check(&mut file).map_err(|error| wrong(format!("not a whole Parquet file: {error}")))?;
    }
    let reader = SerializedFileReader::new(file).map_err(|error| unreadable(path, &error))?;
    let fields = reader.metadata().file_metadata().schema().get_fields();
    let columns: Vec<(String, Holds)> = fields.iter().map(|field| (field.name().to_owned(), holds(field))).collect();
    let plan = Plan::of(&columns).map_err(|why| wrong(why).with_hint(ONE_LIST))?;
    plan.tell_of_the_rest(&columns, path);

    check_pages(&reader, allowance.clone()).map_err(|error| of_page(path, error))?;
    let mut read = Read::new(plan.texts.len(), allowance);
    let mut n_cols = None;
    let rows = reader.get_row_iter(None).map_err(|error| unreadable(path, &error))?;
    for (i, row) in rows.enumerate() {
        let before = read.numbers.len();
        let row = row.map_err(|error| unreadable(path, &error))?;
        read.take(&row, i, &plan).map_err(|why| wrong(format!("row {i}: {why}")))?;
        let n = read.numbers.len() - before;
        if *n_cols.get_or_insert(n) != n {
            return Err(wrong(format!("row {i} has {n} numbers, those before have {}", n_cols.unwrap_or(0))));
        }
    }
    let n_cols = n_cols.unwrap_or(0);
    let n_rows = read.numbers.len().checked_div(n_cols).unwrap_or(0);
    let named =
        plan.texts.iter().zip(read.texts).map(|(column, values)| Names { column: columns[*column].0.clone(), values });
    Ok(Table {
        ids: plan.ids.map(|_| read.ids),
        names: best_names(named.collect()),
        rows: Rows::Read(read.numbers),
        n_rows,
        n_cols,
    })
}

const ONE_LIST: &str = "features are one column of lists, such as `features`, or a column for each number, such as `f0`, \
                        `f1` and so on, with nothing beside them but names or ids";

/// Why a file cannot be read: it is none of this kind, or something in it is unknown.
fn unreadable(path: &Path, error: &ParquetError) -> DataError {
    let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
    let text = error.to_string();
    if let ParquetError::NYI(_) = error {
        return wrong(format!("this form of Parquet cannot be read ({text})"))
            .with_hint("write it again with pandas or polars, compression=\"zstd\"");
    }
    if !super::begins_with(path, b"PAR1") {
        return wrong("is no Parquet file: it does not begin with `PAR1`".to_owned());
    }
    wrong(format!("not a whole Parquet file ({text})"))
}

fn holds(field: &Type) -> Holds {
    let info = field.get_basic_info();
    let is_repeated = info.has_repetition() && info.repetition() == Repetition::REPEATED;
    let is_list = info.converted_type() == ConvertedType::LIST || info.logical_type_ref() == Some(&LogicalType::List);
    if is_repeated || is_list {
        return Holds::List;
    }
    if !field.is_primitive() {
        return Holds::Else;
    }
    let is_text = matches!(info.converted_type(), ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::NONE);
    let is_whole = matches!(info.logical_type_ref(), None | Some(LogicalType::Integer { .. }));
    let is_half = info.logical_type_ref() == Some(&LogicalType::Float16);
    match field.get_physical_type() {
        Physical::FLOAT | Physical::DOUBLE => Holds::Floats,
        Physical::FIXED_LEN_BYTE_ARRAY if is_half => Holds::Floats,
        Physical::INT32 | Physical::INT64 if is_whole => Holds::Integers,
        Physical::BYTE_ARRAY if is_text => Holds::Text,
        _ => Holds::Else,
    }
}

impl Plan {
    /// Sorts out the columns; errs with the sentence where it is not clear which are the features.
    fn of(columns: &[(String, Holds)]) -> Result<Plan, String> {
        let having = |wanted: &[Holds]| -> Vec<usize> {
            (0..columns.len()).filter(|i| wanted.contains(&columns[*i].1)).collect()
        };
        let name = |i: usize| columns[i].0.as_str();
        let numbers = having(&[Holds::Integers, Holds::Floats]);
        let ids = numbers.iter().copied().find(|i| is_id(name(*i)));
        let index = having(&[Holds::Integers]).into_iter().find(|i| is_index(name(*i)));
        let texts = having(&[Holds::Text]).into_iter().filter(|i| !is_no_feature(name(*i))).collect();
        let lists: Vec<(String, usize)> = having(&[Holds::List])
            .into_iter()
            .filter(|i| !is_no_feature(name(*i)))
            .map(|i| (name(i).to_owned(), i))
            .collect();
        if !lists.is_empty() {
            let features = vec![the_one(&lists)?.1];
            return Ok(Plan { features, ids, index, texts });
        }
        let features: Vec<usize> = numbers.into_iter().filter(|i| ![ids, index].contains(&Some(*i))).collect();
        let names: Vec<&str> = features.iter().map(|i| name(*i)).collect();
        check_scalars(&names)?;
        Ok(Plan { features, ids, index, texts })
    }

    /// Names the columns of numbers that are no features, since they lie beside a column of lists.
    fn tell_of_the_rest(&self, columns: &[(String, Holds)], path: &Path) {
        let is_read = |i: usize| self.features.contains(&i) || [self.ids, self.index].contains(&Some(i));
        let rest = columns
            .iter()
            .enumerate()
            .filter(|(i, (_, holds))| !is_read(*i) && matches!(holds, Holds::Integers | Holds::Floats | Holds::List));
        let rest: Vec<String> = rest.map(|(_, (name, _))| format!("`{name}`")).collect();
        if !rest.is_empty() {
            let features = &columns[self.features[0]].0;
            let rest = rest.join(", ");
            tracing::warn!("`{}`: the features are `{features}`; left aside: {rest}", path.display());
        }
    }
}

/// A page that cannot be read, or holds more than there is room for.
enum PageError {
    Unreadable(ParquetError),
    TooLarge(TooLarge),
}

fn of_page(path: &Path, error: PageError) -> DataError {
    match error {
        PageError::Unreadable(error) => unreadable(path, &error),
        PageError::TooLarge(error) => DataError::malformed(path, Place::Whole, error.to_string()),
    }
}

/// Errs where a page says that it holds more values than there is memory for: a few bytes can stand for any number of equal
/// values, and all values of a row are put together at once. Reads headers of pages alone.
fn check_pages(reader: &SerializedFileReader<File>, allowance: Allowance) -> Result<(), PageError> {
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(PageError::Unreadable)?;
        for column in 0..group.num_columns() {
            let mut pages = group.get_column_page_reader(column).map_err(PageError::Unreadable)?;
            while let Some(page) = pages.peek_next_page().map_err(PageError::Unreadable)? {
                let values = page.num_levels.or(page.num_rows).unwrap_or(0) as u64;
                allowance.clone().take(values.saturating_mul(FIELD_BYTES)).map_err(PageError::TooLarge)?;
                pages.skip_next_page().map_err(PageError::Unreadable)?;
            }
        }
    }
    Ok(())
}

impl Read {
    fn new(n_texts: usize, allowance: Allowance) -> Read {
        Read { numbers: Vec::new(), ids: Vec::new(), texts: vec![Vec::new(); n_texts], allowance }
    }

    fn charge(&mut self, bytes: u64) -> Result<(), String> {
        self.allowance.take(bytes).map_err(|error| format!("the file {error}"))
    }

    /// Takes what is needed of a row; errs with what is wrong with it.
    fn take(&mut self, row: &Row, i: usize, plan: &Plan) -> Result<(), String> {
        let fields: Vec<(&String, &Field)> = row.get_column_iter().collect();
        for &column in &plan.features {
            let (name, field) = fields[column];
            self.take_numbers(name, field)?;
        }
        if let Some(column) = plan.ids {
            let field = fields[column].1;
            self.charge(size_of::<u64>() as u64)?;
            self.ids.push(id_of(field).ok_or_else(|| format!("`{field}` is no id"))?);
        }
        if let Some(column) = plan.index {
            let (name, field) = fields[column];
            if id_of(field) != Some(i as u64) && plan.ids.is_none() {
                return Err(format!(
                    "the column `{name}` numbers the rows, but is {field} here: call it `id` if it holds the ids of the \
                     images, or leave it out (reset_index(drop=True))"
                ));
            }
        }
        for (values, column) in plan.texts.iter().enumerate() {
            let text = text_of(fields[*column].1);
            self.charge(text.len() as u64 + STRING_BYTES)?;
            self.texts[values].push(text);
        }
        Ok(())
    }

    fn take_numbers(&mut self, name: &str, field: &Field) -> Result<(), String> {
        match field {
            Field::ListInternal(list) => {
                self.charge(list.len() as u64 * size_of::<f32>() as u64)?;
                for element in list.elements() {
                    let number = number_of(element);
                    self.numbers.push(number.ok_or_else(|| format!("`{element}` in `{name}` is no number"))?);
                }
            }
            Field::Null => return Err(format!("`{name}` is empty")),
            field => self.numbers.push(number_of(field).ok_or_else(|| format!("`{field}` in `{name}` is no number"))?),
        }
        Ok(())
    }
}

/// A whole number from 0 on, also where pandas has made it a float.
fn id_of(field: &Field) -> Option<u64> {
    match field {
        Field::Double(id) => super::whole(*id),
        Field::Float(id) => super::whole(f64::from(*id)),
        field => u64::try_from(integer_of(field)?).ok(),
    }
}

fn integer_of(field: &Field) -> Option<i64> {
    match field {
        Field::Byte(x) => Some(i64::from(*x)),
        Field::Short(x) => Some(i64::from(*x)),
        Field::Int(x) => Some(i64::from(*x)),
        Field::Long(x) => Some(*x),
        Field::UByte(x) => Some(i64::from(*x)),
        Field::UShort(x) => Some(i64::from(*x)),
        Field::UInt(x) => Some(i64::from(*x)),
        Field::ULong(x) => i64::try_from(*x).ok(),
        _ => None,
    }
}

fn number_of(field: &Field) -> Option<f32> {
    match field {
        Field::Float(x) => Some(*x),
        Field::Double(x) => Some(*x as f32),
        Field::Float16(x) => Some(x.to_f32()),
        field => integer_of(field).map(|x| x as f32),
    }
}

/// Text, empty where there is none.
fn text_of(field: &Field) -> String {
    match field {
        Field::Str(text) => text.clone(),
        Field::Bytes(bytes) => bytes.as_utf8().unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}
