//! Images that are nearly the same, as a table.

use super::tables;

/// Two images that are nearly the same.
pub struct NearCopy<'a> {
    /// Path of one.
    pub one: &'a str,
    /// Path of the other.
    pub other: &'a str,
    /// How far apart they are, as a share of what is usual for neighbours.
    pub share: f64,
}

/// `image,near,share`, a row for each pair.
pub fn near_copies_to_csv<'a>(pairs: impl Iterator<Item = NearCopy<'a>>) -> String {
    let rows: Vec<[String; 3]> =
        pairs.map(|pair| [pair.one.to_owned(), pair.other.to_owned(), format!("{:.4}", pair.share)]).collect();
    tables::text(["image", "near", "share"], rows.iter().map(|cells| cells.each_ref().map(String::as_str)))
}
