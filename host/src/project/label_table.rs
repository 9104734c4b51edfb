//! Labels in a table: a header, and rows with an image and a label, the cells between commas, semicolons or tabs.

use super::ProjectError;
use super::exports::one_of;
use super::label_studio::IMAGE;
use super::reading::{By, Reader, label_column, quoted};
use serde_json::Value;

/// What may stand between cells, the usual first, with its name.
const DELIMITERS: [(u8, &str); 3] = [(b',', "commas"), (b';', "semicolons"), (b'\t', "tabs")];

/// Where a table has what.
struct Layout {
    columns: usize,
    image: usize,
    label: usize,
    annotator: Option<usize>,
    number: Option<usize>,
    time: Option<usize>,
}

/// Reads the labels of a table; columns that are neither image nor label nor annotator are left alone.
pub fn read(reader: &mut Reader<'_>, text: &str) -> Result<(), ProjectError> {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if first.trim_start_matches('"').to_lowercase().starts_with("sep=") {
        let problem = format!("its first line is `{}`, which only Excel understands", first.trim());
        return Err(reader.wrong_because(problem, "take this line out; the header comes first"));
    }
    let (delimiter, name) = delimiter(reader, text);
    if delimiter != b',' {
        reader.read.notes.push(format!("read as a table with {name} between its cells"));
    }
    let mut table = csv::ReaderBuilder::new();
    let mut table = table.delimiter(delimiter).trim(csv::Trim::Headers).flexible(true).from_reader(text.as_bytes());
    let header = table.headers().map_err(|error| reader.wrong(error))?.clone();
    let layout = layout(reader, &header)?;
    let mut rows = 0;
    for record in table.records() {
        let record = record.map_err(|error| reader.wrong(error))?;
        if record.iter().any(|cell| !cell.trim().is_empty()) {
            rows += 1;
            of_row(reader, &layout, &record, &format!("line {}", line(text, &record)))?;
        }
    }
    if rows == 0 {
        reader.read.notes.push("the table has a header and no rows".to_owned());
    }
    Ok(())
}

/// What stands between the cells: the first with which the header names an image, or else divides it the most.
fn delimiter(reader: &Reader<'_>, text: &str) -> (u8, &'static str) {
    let header = |delimiter: u8| -> csv::StringRecord {
        let mut table = csv::ReaderBuilder::new();
        let mut table = table.delimiter(delimiter).trim(csv::Trim::Headers).from_reader(text.as_bytes());
        table.headers().cloned().unwrap_or_default()
    };
    let fits = DELIMITERS.into_iter().find(|(delimiter, _)| image_column(reader, &header(*delimiter)).is_some());
    let most = DELIMITERS.into_iter().rev().max_by_key(|(delimiter, _)| header(*delimiter).len());
    fits.or(most).expect("there are delimiters")
}

fn image_column(reader: &Reader<'_>, header: &csv::StringRecord) -> Option<usize> {
    let column = |wanted: &str| header.iter().position(|name| name == wanted);
    match &reader.columns.image {
        Some(asked) => column(asked),
        None => column(IMAGE).or(column("image")),
    }
}

/// Finds the columns that count.
fn layout(reader: &Reader<'_>, header: &csv::StringRecord) -> Result<Layout, ProjectError> {
    let names: Vec<&str> = header.iter().collect();
    let column = |wanted: &str| names.iter().position(|name| *name == wanted);
    let image = image_column(reader, header).ok_or_else(|| no_image_column(reader, &names))?;
    let label = label_column(&names, names[image], reader.columns.label.as_deref());
    let label = label.map_err(|problem| reader.wrong(problem))?;
    let Some(label) = label else {
        let problem = format!("its header has no column `label`, but {}", quoted(names.iter().copied()));
        return Err(reader.wrong(problem));
    };
    for name in [names[image], label] {
        if names.iter().filter(|other| **other == name).count() > 1 {
            return Err(reader.wrong(format!("its header has several columns `{name}`")));
        }
    }
    Ok(Layout {
        columns: names.len(),
        image,
        label: column(label).expect("one of the names"),
        annotator: column("annotator"),
        number: column("annotation_id"),
        time: column("updated_at").or(column("created_at")),
    })
}

fn no_image_column(reader: &Reader<'_>, names: &[&str]) -> ProjectError {
    let wanted = reader.columns.image.as_deref().unwrap_or("image");
    let seen = quoted(names.iter().copied());
    if names.iter().any(|name| reader.names.find_address(name).is_ok()) {
        let problem = format!("its first line is no header with a column `{wanted}`, but {seen}");
        return reader.wrong_because(problem, "put a header `image,label` before the rows");
    }
    let hint = "call a column so: `image,label`; or `--image-field NAME` says which column names the image";
    reader.wrong_because(format!("its header has no column `{wanted}`, but {seen}"), hint)
}

fn of_row(
    reader: &mut Reader<'_>,
    layout: &Layout,
    record: &csv::StringRecord,
    place: &str,
) -> Result<(), ProjectError> {
    if record.len() != layout.columns {
        let problem = format!("{place} has {} cells, and the header {}", record.len(), layout.columns);
        let hint = "each row of `image,label` has as many cells as the header; a cell with a comma stands in quotes";
        return Err(reader.wrong_because(problem, hint));
    }
    let name = &record[layout.image];
    if name.trim().is_empty() {
        return Err(reader.wrong(format!("{place} names no image")));
    }
    let label = label_of(record[layout.label].trim()).map_err(|problem| reader.wrong(format!("{place}: {problem}")))?;
    match label {
        None => reader.read.unanswered += 1,
        Some(label) => {
            let image = reader.image(name, place)?;
            let cell =
                |column: Option<usize>| column.map(|column| record[column].trim()).filter(|cell| !cell.is_empty());
            let annotator = cell(layout.annotator).map(str::to_owned);
            let by = By {
                shown: annotator.clone(),
                annotator,
                time: cell(layout.time).unwrap_or_default().to_owned(),
                number: cell(layout.number).and_then(|number| number.parse().ok()).unwrap_or(0),
            };
            reader.take(image, label, place.to_owned(), by);
        }
    }
    Ok(())
}

/// The label in a cell. Label Studio writes lists and tables of choices as JSON, and some versions escape letters.
fn label_of(cell: &str) -> Result<Option<String>, String> {
    match serde_json::from_str(cell) {
        Ok(value @ (Value::Array(_) | Value::Object(_))) => one_of(&value),
        _ => Ok(Some(unescaped(cell)).filter(|label| !label.is_empty())),
    }
}

/// `b\u00e4r` as `bär`; what is no escape stays.
fn unescaped(cell: &str) -> String {
    let unescaped = cell.contains("\\u").then(|| serde_json::from_str(&format!("\"{cell}\"")).ok());
    unescaped.flatten().unwrap_or_else(|| cell.to_owned())
}

/// The line on which a row begins: the reader counts from the empty lines before it.
fn line(text: &str, record: &csv::StringRecord) -> u64 {
    let Some(position) = record.position() else { return 0 };
    let rest = text.as_bytes()[position.byte() as usize..].iter();
    let empty = rest.take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| **byte == b'\n').count();
    position.line() + empty as u64
}

#[cfg(test)]
mod tests {
    use crate::project::reading::tests::{label, labels_of};

    #[test]
    fn tables_have_an_image_and_a_label() {
        let text = "label , image,who\nant,a.png,me\n\n,b.png,me\n\"bee, wild\",\"c\n.png\",me\n,,\nant,d.png,me\n";
        let read = labels_of(&["a.png", "b.png", "c\n.png", "d.png"], text, None).unwrap();
        let given: Vec<_> = read.given.iter().map(label).collect();
        assert_eq!(given, [(0, "ant", "line 2"), (2, "bee, wild", "line 5"), (3, "ant", "line 8")]);
        assert_eq!(read.unanswered, 1);
    }

    #[test]
    fn a_cell_is_a_label_or_says_why_not() {
        for (cell, expected) in [
            ("ant", Ok("ant")),
            ("3", Ok("3")),
            ("nan", Ok("nan")),
            (r#""[""ant""]""#, Ok("ant")),
            (r#""{""choices"": [""ant""]}""#, Ok("ant")),
            (r#""{""choices"": [""ant"", ""bee""]}""#, Err("line 2: it has not one choice")),
            (r#""[""ant"", ""bee""]""#, Err("an image has one label")),
            (r"b\u00e4r", Ok("bär")),
            (r"\user", Ok(r"\user")),
            ("[sic]", Ok("[sic]")),
        ] {
            match (labels_of(&["a.png"], &format!("image,label\na.png,{cell}\n"), None), expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read.given[0].label, expected),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, expected) => panic!("{cell}: {found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn a_table_that_cannot_be_read_names_line_and_columns() {
        for (text, expected) in [
            ("filename,label\na.png,x\n", "no column `image`, but `filename`, `label`"),
            ("Image;Label\na.png;x\n", "but `Image`, `Label`"),
            ("a.png,ant\n", "its first line is no header"),
            ("image\na.png\n", "no column `label`, but `image`"),
            ("image,label,label\na.png,x,y\n", "several columns `label`"),
            ("sep=;\nimage;label\n", "which only Excel understands"),
            ("image,label\na.png\n", "line 2 has 1 cells, and the header 2"),
            ("image,label\n\na.png,x,y\n", "line 3 has 3 cells, and the header 2"),
            ("image,label\n,ant\n", "line 2 names no image"),
        ] {
            let error = labels_of(&["a.png"], text, None).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for (text, note) in [("image;label\na.png;x\n", "semicolons"), ("label\timage\nx\ta.png\n", "tabs")] {
            let read = labels_of(&["a.png"], text, None).unwrap();
            assert_eq!(label(&read.given[0]), (0, "x", "line 2"));
            assert!(read.notes[0].contains(note), "{:?}", read.notes);
        }
        assert!(labels_of(&["a.png"], "image,label\n", None).unwrap().notes[0].contains("no rows"));
    }
}
