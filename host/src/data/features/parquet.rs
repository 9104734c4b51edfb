//! Features in Parquet: a column of lists, or the columns of numbers that are named.

use std::fs::File;
use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use super::columns::{is_id, is_index, is_no_feature, scalars, the_one};
use super::rows::Rows;
use super::table::{Ask, Names, Table, begins_with, best_names};
use crate::data::caught::caught;
use crate::data::error::{DataError, Place};
use crate::data::footer;
use crate::data::labels::Label;
use crate::data::unpacked::{Allowance, TooLarge};

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
    names: Vec<usize>,
    label: Option<usize>,
    text: Option<usize>,
}

/// What has been read of them.
struct Read {
    numbers: Vec<f32>,
    ids: Vec<u64>,
    names: Vec<Vec<String>>,
    labels: Vec<Label>,
    texts: Vec<String>,
    allowance: Allowance,
}

/// What an element of a list takes while its row is put together.
const FIELD_BYTES: u64 = size_of::<Field>() as u64;
/// What a text takes beside its bytes.
const STRING_BYTES: u64 = size_of::<String>() as u64;

/// Reads a file of features.
pub(super) fn read(path: &Path, ask: &Ask) -> Result<Table, DataError> {
    caught(|| read_whole(path, ask)).unwrap_or_else(|panic| {
        Err(DataError::malformed(path, Place::Whole, format!("not a whole Parquet file ({panic})")))
    })
}

fn read_whole(path: &Path, ask: &Ask) -> Result<Table, DataError> {
    let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
    let mut file = File::open(path).map_err(|source| DataError::io(path, source))?;
    let allowance = Allowance::of_file(&file).map_err(|source| DataError::io(path, source))?;
    if begins_with(path, b"PAR1") {
        footer::check(&mut file).map_err(|error| wrong(format!("not a whole Parquet file: {error}")))?;
    }
    let reader = SerializedFileReader::new(file).map_err(|error| unreadable(path, &error))?;
    let fields = reader.metadata().file_metadata().schema().get_fields();
    let columns: Vec<(String, Holds)> = fields.iter().map(|field| (field.name().to_owned(), holds(field))).collect();
    let plan = Plan::of(&columns, ask).map_err(|why| wrong(why).with_hint(ONE_LIST))?;
    plan.tell_of_the_rest(&columns, path);

    check_pages(&reader, allowance.clone()).map_err(|error| of_page(path, error))?;
    let mut read = Read::new(plan.names.len(), allowance);
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
        plan.names.iter().zip(read.names).map(|(column, values)| Names { column: columns[*column].0.clone(), values });
    Ok(Table {
        ids: plan.ids.map(|_| read.ids),
        names: best_names(named.collect()),
        labels: plan.label.map(|_| read.labels),
        texts: plan.text.map(|_| read.texts),
        rows: Rows::Read(read.numbers),
        n_rows,
        n_cols,
    })
}

const ONE_LIST: &str = "features are one column of lists, such as `features`; columns of single numbers are features where \
                        `columns` names them, as in `columns = [\"f*\"]`";

/// Why a file cannot be read: it is none of this kind, or something in it is unknown.
fn unreadable(path: &Path, error: &ParquetError) -> DataError {
    let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
    let text = error.to_string();
    if let ParquetError::NYI(_) = error {
        return wrong(format!("this form of Parquet cannot be read ({text})"))
            .with_hint("write it again with pandas or polars, compression=\"zstd\"");
    }
    if !begins_with(path, b"PAR1") {
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
    fn of(columns: &[(String, Holds)], ask: &Ask) -> Result<Plan, String> {
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let label = ask.labels.find(&names)?;
        let text = ask.text.as_ref().map(|wanted| {
            let at = names.iter().position(|name| name == wanted);
            let at = at.filter(|at| columns[*at].1 == Holds::Text);
            at.ok_or_else(|| format!("has no column `{wanted}` of text; it has {}", names.join(", ")))
        });
        let text = text.transpose()?;
        let having = |wanted: &[Holds]| -> Vec<usize> {
            let is_free = |at: &usize| label != Some(*at) && wanted.contains(&columns[*at].1);
            (0..columns.len()).filter(is_free).collect()
        };
        let numbers = having(&[Holds::Integers, Holds::Floats]);
        let features = match ask.columns.is_empty() {
            true => vec![list_of_features(&having(&[Holds::List]), &names)?],
            false => {
                let of_numbers: Vec<&str> = numbers.iter().map(|at| names[*at]).collect();
                scalars(&of_numbers, &ask.columns)?.into_iter().map(|at| numbers[at]).collect()
            }
        };
        let is_free = |at: &usize| !features.contains(at);
        let ids = numbers.iter().copied().filter(is_free).find(|at| is_id(names[*at]));
        let index = having(&[Holds::Integers]).into_iter().filter(is_free).find(|at| is_index(names[*at]));
        let texts = having(&[Holds::Text]).into_iter();
        let of_names = texts.filter(|at| text != Some(*at) && !is_no_feature(names[*at])).collect();
        Ok(Plan { features, ids, index, names: of_names, label, text })
    }

    /// Names the columns of numbers that are no features, since they lie beside a column of lists.
    fn tell_of_the_rest(&self, columns: &[(String, Holds)], path: &Path) {
        let is_read = |i: usize| self.features.contains(&i) || [self.ids, self.index, self.label].contains(&Some(i));
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
    fn new(n_names: usize, allowance: Allowance) -> Read {
        let names = vec![Vec::new(); n_names];
        Read { numbers: Vec::new(), ids: Vec::new(), names, labels: Vec::new(), texts: Vec::new(), allowance }
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
        for (values, column) in plan.names.iter().enumerate() {
            let text = text_of(fields[*column].1);
            self.charge(text.len() as u64 + STRING_BYTES)?;
            self.names[values].push(text);
        }
        if let Some(column) = plan.text {
            let text = text_of(fields[column].1);
            self.charge(text.len() as u64 + STRING_BYTES)?;
            self.texts.push(text);
        }
        if let Some(column) = plan.label {
            let label = label_of(fields[column].1);
            self.charge(size_of::<Label>() as u64)?;
            self.labels.push(label.ok_or_else(|| format!("`{}` is no label", fields[column].1))?);
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

/// The only column of lists that are features.
fn list_of_features(lists: &[usize], names: &[&str]) -> Result<usize, String> {
    let lists: Vec<usize> = lists.iter().copied().filter(|at| !is_no_feature(names[*at])).collect();
    let of_lists: Vec<&str> = lists.iter().map(|at| names[*at]).collect();
    if of_lists.is_empty() {
        return Err("has no column of lists".to_owned());
    }
    the_one(&of_lists).map(|at| lists[at])
}

fn label_of(field: &Field) -> Option<Label> {
    match field {
        Field::Bool(x) => Some(Label::Name(if *x { "True" } else { "False" }.to_owned())),
        Field::Str(text) => Some(Label::of_text(text)),
        Field::Bytes(bytes) => bytes.as_utf8().ok().map(Label::of_text),
        Field::Double(x) => Some(Label::of_number(*x)),
        Field::Float(x) => Some(Label::of_number(f64::from(*x))),
        Field::Null => Some(Label::of_text("")),
        field => integer_of(field).map(Label::Number),
    }
}

/// A whole number from 0 on, also where pandas has made it a float.
fn id_of(field: &Field) -> Option<u64> {
    match field {
        Field::Double(id) => super::table::whole(*id),
        Field::Float(id) => super::table::whole(f64::from(*id)),
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
