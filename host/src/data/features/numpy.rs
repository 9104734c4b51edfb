//! Features in `.npy` and `.npz`.

use std::path::Path;

use npyz::TypeChar;

use super::columns::{bare, is_id, is_no_feature, name_rank, the_one};
use super::rows::{InFile, Rows};
use super::table::{Ask, Names, Table, best_names, matrix_axes, no_ids, whole};
use crate::data::error::{DataError, Place};
use crate::data::npz::{Array, Stored, arrays, labels_of};
use crate::data::pinned::Private;
use crate::data::unpacked;

/// Reads one matrix.
pub(super) fn npy(path: &Path) -> Result<Table, DataError> {
    let file = Private::of(path)?;
    let bytes = file.as_ref();
    let header = Array::header(path, bytes)?;
    if header.kind == TypeChar::Object {
        return Err(no_floats(path, header.kind));
    }
    let [n_rows, n_cols] = matrix_axes(path, &header.axes)?;
    // Numbers that do not begin at a multiple of four bytes cannot be looked at in place.
    let is_aligned = header.offset.is_multiple_of(align_of::<f32>());
    if is_aligned && (header.kind, header.item_bytes, header.is_big_endian) == (TypeChar::Float, 4, false) {
        let n_bytes = size_of::<f32>() * n_rows * n_cols;
        let rows = Rows::InFile(InFile { offset: header.offset, n_bytes, file });
        return Ok(Table { ids: None, names: None, labels: None, texts: None, rows, n_rows, n_cols });
    }
    let too_large = |error: unpacked::TooLarge| DataError::malformed(path, Place::Whole, error.to_string());
    let converted = size_of::<f32>() as u64 * n_rows as u64 * n_cols as u64;
    unpacked::Allowance::of_plain().take(bytes.len() as u64 + converted).map_err(too_large)?;
    let array = Array { bytes: bytes[header.offset..].to_vec(), ..header };
    let rows = Rows::Read(floats(path, &array)?);
    Ok(Table { ids: None, names: None, labels: None, texts: None, rows, n_rows, n_cols })
}

/// Reads the labels that an `.npy` holds and nothing else.
pub(in crate::data) fn npy_labels(path: &Path) -> Result<Vec<crate::data::labels::Label>, DataError> {
    let file = Private::of(path)?;
    let header = Array::header(path, file.as_ref())?;
    let array = Array { bytes: file.as_ref()[header.offset..].to_vec(), ..header };
    let n = array.axes.first().copied().unwrap_or(0);
    labels_of(&array, path, n)
}

/// Reads an archive; none where it has no arrays of the part that is asked for.
pub(super) fn npz(path: &Path, ask: &Ask) -> Result<Option<Table>, DataError> {
    let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
    let stored = arrays(path)?;
    let all: Vec<&str> = stored.iter().map(|(name, _)| name.as_str()).collect();
    let is_chosen = ask.arrays.chosen(&all);
    let chosen: Vec<Stored> =
        stored.into_iter().zip(is_chosen).filter(|(_, is_chosen)| *is_chosen).map(|(stored, _)| stored).collect();
    if chosen.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = chosen.iter().map(|(name, _)| name.as_str()).collect();
    let labels = ask.labels.find(&names).map_err(wrong)?;
    let mut sorted = Sorted::default();
    for (at, (name, array)) in chosen.into_iter().enumerate() {
        let is_label = labels == Some(at);
        let is_text = ask.text.as_deref() == Some(name.as_str());
        sorted.take(path, &name, array, (is_label, is_text))?;
    }
    sorted.table(path, ask).map(Some)
}

/// The arrays of an archive, by what they hold.
#[derive(Default)]
struct Sorted {
    matrices: Vec<(String, Array)>,
    named: Vec<Names>,
    ids: Option<Vec<u64>>,
    labels: Option<Array>,
    texts: Option<Vec<String>>,
    unreadable: Option<DataError>,
}

impl Sorted {
    fn take(
        &mut self,
        path: &Path,
        name: &str,
        array: Result<Array, DataError>,
        (is_label, is_text): (bool, bool),
    ) -> Result<(), DataError> {
        let (plain, _) = bare(name);
        let is_needed = is_label || is_text || plain == "features" || is_id(&plain) || name_rank(&plain).is_some();
        let array = match array {
            Ok(array) => array,
            Err(error) if is_needed => return Err(error),
            Err(error) => {
                self.unreadable.get_or_insert(error);
                return Ok(());
            }
        };
        let holds_text = [TypeChar::ByteStr, TypeChar::UnicodeStr, TypeChar::Object].contains(&array.kind);
        if is_text {
            let texts = array.texts();
            let why = "holds no text";
            self.texts = Some(texts.ok_or_else(|| DataError::malformed(&path.join(name), Place::Whole, why))?);
        } else if is_label {
            self.labels = Some(array);
        } else if is_no_feature(name) {
            tracing::debug!("`{}`: array `{name}` is left aside", path.display());
        } else if holds_text {
            self.named.extend(names_of(path, name, &array)?);
        } else if is_id(&plain) {
            self.ids = Some(ids_of(path, &array)?);
        } else if array.axes.len() >= 2 && array.kind == TypeChar::Float {
            self.matrices.push((name.to_owned(), array));
        }
        Ok(())
    }

    fn table(self, path: &Path, ask: &Ask) -> Result<Table, DataError> {
        let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
        let Sorted { matrices, named, ids, labels, texts, unreadable } = self;
        if let (true, Some(error)) = (matrices.is_empty(), unreadable) {
            return Err(error);
        }
        if let Some(text) = ask.text.as_ref().filter(|_| texts.is_none()) {
            return Err(wrong(format!("has no array `{text}` of texts")));
        }
        let names: Vec<&str> = matrices.iter().map(|(name, _)| name.as_str()).collect();
        let (_, array) = &matrices[the_one(&names).map_err(wrong)?];
        let [n_rows, n_cols] = matrix_axes(path, &array.axes)?;
        let labels = labels.map(|labels| labels_of(&labels, path, n_rows)).transpose()?;
        let rows = Rows::Read(floats(path, array)?);
        Ok(Table { ids, names: best_names(named), labels, texts, rows, n_rows, n_cols })
    }
}

/// The texts of an array; `None` where it holds others than strings, and is not called like names.
fn names_of(path: &Path, name: &str, array: &Array) -> Result<Option<Names>, DataError> {
    match array.texts() {
        Some(values) => Ok(Some(Names { column: name.to_owned(), values })),
        None if name_rank(&bare(name).0).is_none() => Ok(None),
        None => {
            let why = "holds Python objects that are no strings";
            let error = DataError::malformed(&path.join(name), Place::Whole, why);
            Err(error.with_hint("store names as text: numpy.asarray(names, dtype=\"U\")"))
        }
    }
}

fn ids_of(path: &Path, array: &Array) -> Result<Vec<u64>, DataError> {
    let ids = match array.integers() {
        Some(ids) => ids.into_iter().map(|id| u64::try_from(id).ok()).collect(),
        None => array.numbers().and_then(|ids| ids.map(whole).collect()),
    };
    ids.ok_or_else(|| no_ids(path))
}

/// The elements of an array of floats.
fn floats(path: &Path, array: &Array) -> Result<Vec<f32>, DataError> {
    let numbers = array.numbers().filter(|_| array.kind == TypeChar::Float);
    let numbers = numbers.ok_or_else(|| no_floats(path, array.kind))?;
    Ok(numbers.map(|x| x as f32).collect())
}

fn no_floats(path: &Path, kind: TypeChar) -> DataError {
    let error = DataError::malformed(path, Place::Whole, "the elements are not floats of 16, 32 or 64 bits");
    error.with_hint(match kind {
        TypeChar::Object => "if these are rows of features: numpy.stack(features).astype(\"float32\")",
        _ => "if these are features: features.astype(\"float32\")",
    })
}
