//! Rows of numbers, in memory or in a file, and copies of some of them.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use super::SharedBytes;
use crate::data::error::DataError;
use crate::data::pinned::{LARGE_BYTES, Private, map_unnamed};

/// A matrix of f32, row after row, little-endian.
pub(in crate::data) enum Rows {
    /// As they lie in a file.
    InFile(InFile),
    /// In memory.
    Read(Vec<f32>),
}

/// The part of a file behind its header.
pub(in crate::data) struct InFile {
    pub(super) file: Private,
    pub(super) offset: usize,
    pub(super) n_bytes: usize,
}

impl AsRef<[u8]> for InFile {
    fn as_ref(&self) -> &[u8] {
        &self.file.as_ref()[self.offset..][..self.n_bytes]
    }
}

/// Numbers in memory, seen as bytes.
struct Numbers(Vec<f32>);

impl AsRef<[u8]> for Numbers {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl AsRef<[u8]> for Rows {
    fn as_ref(&self) -> &[u8] {
        match self {
            Rows::InFile(rows) => rows.as_ref(),
            Rows::Read(numbers) => bytemuck::cast_slice(numbers),
        }
    }
}

impl Rows {
    /// All rows, without a copy.
    pub(in crate::data) fn shared(self) -> SharedBytes {
        match self {
            Rows::InFile(rows) => Arc::new(rows),
            Rows::Read(numbers) => Arc::new(Numbers(numbers)),
        }
    }
}

/// A number as it is stored.
pub(super) fn number(bytes: &[u8; 4]) -> f32 {
    f32::from_le_bytes(*bytes)
}

/// The rows at these places, one after the other. What is large lies in a file without a name, beside `path` or in the folder for
/// temporary files, and takes no memory of the process.
///
/// Errs when there is no room for that file.
pub(in crate::data) fn gathered(
    bytes: &[u8],
    n_cols: usize,
    places: &[usize],
    path: &Path,
) -> Result<SharedBytes, DataError> {
    let row_bytes = size_of::<f32>() * n_cols;
    let row = |place: &usize| &bytes[place * row_bytes..][..row_bytes];
    if (row_bytes * places.len()) as u64 <= LARGE_BYTES {
        let numbers = places.iter().flat_map(|place| row(place).as_chunks().0).map(number).collect();
        return Ok(Arc::new(Numbers(numbers)));
    }
    let written = |file| {
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        places.iter().try_for_each(|place| writer.write_all(row(place)))?;
        writer.into_inner().map_err(|error| error.into_error())
    };
    Ok(Arc::new(Private::Copy(map_unnamed(path, written)?)))
}
