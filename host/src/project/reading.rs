//! A file of labels, whoever wrote it: its bytes as text, and what it says as labels of the project's images.

use super::label_studio::OURS;
use super::names::Names;
use super::{ProjectError, exports, label_table};
use flate2::read::MultiGzDecoder;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

/// No file of labels is larger once it is unpacked: 1 GiB.
const MOST_BYTES: u64 = 1 << 30;
/// Files that begin so are not text; what they are instead.
const FOREIGN: [(&[u8], &str); 4] = [
    (b"PK\x03\x04", "it is a workbook or a zip archive; save the sheet as CSV, or unpack the archive"),
    (b"\xd0\xcf\x11\xe0", "it is a workbook of an old Excel; save the sheet as CSV"),
    (b"PAR1", "it is Parquet; write it as CSV"),
    (b"SQLite format 3", "it is a database; export the labels as JSON or CSV"),
];
/// What rows of JSON-MIN and CSV hold beside the data and the answers.
const OF_ROWS: [&str; 9] = [
    "id",
    "image",
    "annotator",
    "annotation_id",
    "created_at",
    "updated_at",
    "lead_time",
    "agreement",
    "was_cancelled",
];

/// One label for one image, as a file has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// The image: the lowest id of those with the same content.
    pub image: usize,
    /// Never empty.
    pub label: String,
    /// Where it stands, such as `line 3`.
    pub place: String,
    /// Who said it, and when.
    pub by: By,
}

/// Who gave a label, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct By {
    /// What tells annotators apart; none if nobody is named.
    pub annotator: Option<String>,
    /// How a message names the annotator.
    pub shown: Option<String>,
    /// The time as the file has it, in ISO 8601; empty if it has none.
    pub time: String,
    /// The number of the annotation; later ones are higher.
    pub number: u64,
}

/// What a file of labels holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The labels, in the order of the file.
    pub given: Vec<Given>,
    /// Annotations that were skipped or cancelled.
    pub cancelled: usize,
    /// Tasks that nobody has looked at, and rows without an answer.
    pub unanswered: usize,
    /// Kinds of answers that are no labels of images, such as `rectanglelabels`.
    pub other_kinds: BTreeSet<String>,
    /// Sentences about how the file was read, where that is not as usual.
    pub notes: Vec<String>,
}

/// Which columns of a table, or keys of a task, count; those of the usual names if nobody says.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// The column, or the control of Label Studio, that holds the label.
    pub label: Option<String>,
    /// The column, or the key of a task's data, that names the image.
    pub image: Option<String>,
}

impl Read {
    /// Reads a table with a header, or an export of Label Studio as JSON, JSON-MIN or CSV; packed with gzip or not, UTF-8 or
    /// UTF-16.
    ///
    /// Errs with file and place: also if an image is none of `names`.
    pub fn file(path: &Path, columns: &Columns, names: &Names) -> Result<Read, ProjectError> {
        let bytes = bytes_of(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ProjectError::mistake(
                format!("there is no file `{}`", path.display()),
                "labels come as CSV with the columns image and label, or as an export of Label Studio",
            ),
            std::io::ErrorKind::FileTooLarge => {
                let message = format!("`{}` is larger than 1 GiB, which no file of labels is", path.display());
                ProjectError::mistake(message, "take the export of the labels alone")
            }
            _ => ProjectError::read(path, error),
        })?;
        Read::bytes(path, bytes, columns, names)
    }

    /// The same of the bytes of the file `path`.
    pub(super) fn bytes(path: &Path, bytes: Vec<u8>, columns: &Columns, names: &Names) -> Result<Read, ProjectError> {
        let mut reader = Reader { path, columns, names, read: Read::default(), beginning: None };
        let text = text_of(bytes).map_err(|problem| reader.wrong(problem))?;
        reader.parse(&text)?;
        Ok(reader.read)
    }
}

/// A file of labels that is being read.
pub struct Reader<'a> {
    path: &'a Path,
    pub columns: &'a Columns,
    pub names: &'a Names,
    pub read: Read,
    /// What stands before the paths of images in addresses, and where that was first met.
    beginning: Option<(String, String)>,
}

impl Reader<'_> {
    fn parse(&mut self, text: &str) -> Result<(), ProjectError> {
        match text.trim_start().chars().next() {
            None => Err(self.wrong("it is empty")),
            Some('[' | '{') => exports::read(self, text),
            Some(_) => label_table::read(self, text),
        }
    }

    /// The error about something in this file.
    pub fn wrong(&self, problem: impl ToString) -> ProjectError {
        let hint = "expected CSV with a header `image,label`, or an export of Label Studio as JSON, JSON-MIN or CSV";
        self.wrong_because(problem, hint)
    }

    /// The same with a hint of its own.
    pub fn wrong_because(&self, problem: impl ToString, hint: impl Into<String>) -> ProjectError {
        ProjectError::mistake(format!("`{}`: {}", self.path.display(), problem.to_string()), hint)
    }

    /// The image that a path or an address means.
    ///
    /// Errs if it is none, or if it stands below another folder than those before: two addresses that begin in two ways could
    /// mean two images of the same name.
    pub fn image(&mut self, name: &str, place: &str) -> Result<usize, ProjectError> {
        let found = self.names.find(name).map_err(|lost| self.names.explain(name, place, lost))?;
        match &self.beginning {
            _ if found.before.is_empty() => {}
            Some((other, at)) if *other != found.before => {
                let message = format!("images lie below `{other}` ({at}), but also below `{}` ({place})", found.before);
                return Err(ProjectError::mistake(message, "name images by their path below the folder of images"));
            }
            Some(_) => {}
            None => self.beginning = Some((found.before, place.to_owned())),
        }
        Ok(found.image)
    }

    /// Takes a label.
    pub fn take(&mut self, image: usize, label: String, place: String, by: By) {
        let place = match &by.shown {
            Some(annotator) => format!("{place}, annotator {annotator}"),
            None => place,
        };
        self.read.given.push(Given { image, label, place, by });
    }
}

/// The one column of these that holds the answer, beside the one that names the image; none if there is none but data.
///
/// Errs if it could be one of several, or if there is none of the name `field`.
pub fn label_column<'a>(names: &[&'a str], image: &str, field: Option<&str>) -> Result<Option<&'a str>, String> {
    if let Some(field) = field {
        let column = names.iter().find(|name| **name == field).copied();
        return column
            .map(Some)
            .ok_or_else(|| format!("it has no column `{field}`, but {}", quoted(names.iter().copied())));
    }
    if let Some(plain) = names.iter().find(|name| **name == "label") {
        return Ok(Some(plain));
    }
    let is_answer =
        |name: &&str| !name.is_empty() && *name != image && !OF_ROWS.contains(name) && !name.starts_with(OURS);
    let answers: Vec<&str> = names.iter().copied().filter(is_answer).collect();
    match answers.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => Err(format!("the label could be in any of {}; `--field` says where", several.join(", "))),
    }
}

/// Words in backticks, with commas.
pub fn quoted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn bytes_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        n if n > MOST_BYTES => Err(std::io::ErrorKind::FileTooLarge.into()),
        _ => Ok(bytes),
    }
}

/// The text in a file's bytes.
fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    let bytes = match bytes.starts_with(b"\x1f\x8b") {
        true => unpacked(&bytes)?,
        false => bytes,
    };
    if let Some((_, what)) = FOREIGN.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Err((*what).to_owned());
    }
    match bytes.get(..2) {
        Some([0xff, 0xfe]) => utf16(&bytes[2..], u16::from_le_bytes),
        Some([0xfe, 0xff]) => utf16(&bytes[2..], u16::from_be_bytes),
        _ => utf8(bytes),
    }
}

fn unpacked(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = MultiGzDecoder::new(packed).take(MOST_BYTES + 1).read_to_end(&mut bytes);
    match read.map_err(|error| format!("its gzip is damaged: {error}"))? as u64 {
        n if n > MOST_BYTES => Err("unpacked it is larger than 1 GiB, which no file of labels is".to_owned()),
        _ => Ok(bytes),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, String> {
    let (pairs, rest) = bytes.as_chunks();
    let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
    match String::from_utf16(&units) {
        Ok(text) if rest.is_empty() => Ok(text),
        _ => Err("it begins as UTF-16, and is not: save it as UTF-8".to_owned()),
    }
}

fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.contains(&0) {
        return Err("it has bytes that are 0, so it is no text in UTF-8: save it as UTF-8".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8 (byte {:02x}): save the file as UTF-8", error.as_bytes()[good])
    })?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::project::Known;

    /// The labels in a text about images of these paths.
    pub fn labels_of(images: &[&str], text: &str, field: Option<&str>) -> Result<Read, String> {
        let known = |(i, image): (usize, &&str)| Known { image: (*image).to_owned(), sha256: i.to_string() };
        let names = Names::new(&images.iter().enumerate().map(known).collect::<Vec<_>>(), &[]);
        let columns = Columns { label: field.map(str::to_owned), image: None };
        let path = Path::new("labels");
        let mut reader = Reader { path, columns: &columns, names: &names, read: Read::default(), beginning: None };
        reader.parse(text).map_err(|error| error.to_string())?;
        Ok(reader.read)
    }

    /// Image, label and place.
    pub fn label(given: &Given) -> (usize, &str, &str) {
        (given.image, &given.label, &given.place)
    }

    #[test]
    fn bytes_are_text_or_it_is_said_what_they_are() {
        let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(bytes).collect()
        };
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, b"a,b").unwrap();
        let packed = packed.finish().unwrap();
        for (bytes, expected) in [
            (b"a,b".to_vec(), Ok("a,b")),
            ("\u{feff}a,b".into(), Ok("a,b")),
            (utf16("a,b\u{e4}", u16::to_le_bytes), Ok("a,b\u{e4}")),
            (utf16("a,b\u{e4}", u16::to_be_bytes), Ok("a,b\u{e4}")),
            (packed.clone(), Ok("a,b")),
            (packed[..packed.len() - 4].to_vec(), Err("its gzip is damaged")),
            (b"\xff\xfea".to_vec(), Err("begins as UTF-16")),
            (b"a\0,\0".to_vec(), Err("no text in UTF-8")),
            (b"a,b\nb\xe4r,c\n".to_vec(), Err("line 2 is not UTF-8 (byte e4)")),
            (b"PK\x03\x04".to_vec(), Err("a workbook or a zip archive")),
        ] {
            match (text_of(bytes.clone()), expected) {
                (Ok(text), Ok(expected)) => assert_eq!(text, expected),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, expected) => panic!("{bytes:?}: {found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn the_answer_of_a_row_is_what_is_neither_data_nor_bookkeeping() {
        type Row<'a> = (&'a [&'a str], Option<&'a str>, Result<Option<&'a str>, &'a str>);
        let rows: [Row<'_>; 8] = [
            (&["image", "label", "notes"], None, Ok(Some("label"))),
            (
                &["annotation_id", "annotator", "kind", "coldstart_image", "coldstart_rank", "id", "image"],
                None,
                Ok(Some("kind")),
            ),
            (&["", "image", "class"], None, Ok(Some("class"))),
            (&["image", "photo"], None, Ok(None)),
            (&["id", "image"], None, Ok(None)),
            (&["image", "kind", "light"], None, Err("any of kind, light")),
            (&["image", "kind", "light"], Some("light"), Ok(Some("light"))),
            (&["image", "label"], Some("kind"), Err("no column `kind`, but `image`, `label`")),
        ];
        for (names, field, expected) in rows {
            match (label_column(names, "photo", field), expected) {
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, expected) => assert_eq!(found.ok(), expected.ok(), "{names:?}"),
            }
        }
    }
}
