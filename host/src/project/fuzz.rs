//! What reads files of labels, for fuzzers: nothing may panic, whatever comes.

use super::reading::{Columns, Read};
use super::{Known, Names};
use std::path::Path;

/// A table of labels or an export of Label Studio, for a project of three images.
pub fn labels(bytes: &[u8]) {
    let known = |image: &str| Known { image: image.to_owned(), sha256: image.to_owned() };
    let names = Names::new(&["a.png", "b/1.png", "c/1.png"].map(known), &[]);
    _ = Read::bytes(Path::new("fuzz"), bytes.to_vec(), &Columns::default(), &names);
}
