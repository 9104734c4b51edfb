//! Small tables: a header and rows of text.

use super::ProjectError;
use std::path::Path;

/// A table as CSV.
pub fn text<'a, const N: usize>(header: [&str; N], rows: impl Iterator<Item = [&'a str; N]>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written =
        writer.write_record(header).and_then(|()| rows.into_iter().try_for_each(|row| writer.write_record(row)));
    written.expect("memory takes every row");
    String::from_utf8(writer.into_inner().expect("memory takes every row")).expect("made of text")
}

/// The rows of a table with this header.
pub fn rows<const N: usize>(path: &Path, header: [&str; N]) -> Result<Vec<[String; N]>, ProjectError> {
    let damaged = |problem: String| ProjectError::damaged(path, problem);
    let mut reader = csv::Reader::from_path(path).map_err(|error| damaged(error.to_string()))?;
    let found = reader.headers().map_err(|error| damaged(error.to_string()))?;
    if found != header[..] {
        return Err(damaged(format!("its header is not `{}`", header.join(","))));
    }
    let row = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.map_err(|error| damaged(error.to_string()))?;
        Ok(std::array::from_fn(|i| record[i].to_owned()))
    };
    reader.records().map(row).collect()
}

/// The same for two columns.
pub fn pairs(path: &Path, header: [&str; 2]) -> Result<Vec<(String, String)>, ProjectError> {
    Ok(rows(path, header)?.into_iter().map(|[first, second]| (first, second)).collect())
}
