//! What a file of features holds, before it is held against the images.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::columns::{NamedPart, bare, label_rank, looks_like_a_file, name_rank};
use super::rows::Rows;
use super::{numpy, parquet, safetensors};
use crate::data::error::{DataError, Place};
use crate::data::labels::Label;

/// A row of numbers for each image or item, and what names them.
pub(in crate::data) struct Table {
    pub(super) ids: Option<Vec<u64>>,
    pub(super) names: Option<Names>,
    /// The label of each row, where labels were asked for and are there.
    pub(in crate::data) labels: Option<Vec<Label>>,
    /// The text of each row, where a column of it was asked for.
    pub(in crate::data) texts: Option<Vec<String>>,
    pub(in crate::data) rows: Rows,
    pub(in crate::data) n_rows: usize,
    pub(in crate::data) n_cols: usize,
}

/// The texts that name the image of each row.
pub(super) struct Names {
    /// The column or array.
    pub(super) column: String,
    pub(super) values: Vec<String>,
}

/// What is looked for in a file.
#[derive(Debug, Clone, Default)]
pub(in crate::data) struct Ask {
    /// Which arrays, where they are called after parts.
    pub(in crate::data) arrays: Arrays,
    /// Columns of numbers that are features, in Parquet.
    pub(in crate::data) columns: Vec<String>,
    /// Which labels.
    pub(in crate::data) labels: LabelAsk,
    /// The column of texts that stand for the items.
    pub(in crate::data) text: Option<String>,
}

/// Of arrays that are called after parts, those that are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::data) enum Arrays {
    /// Those of the training part, and those that are called after none.
    #[default]
    Train,
    /// Those of the test part alone.
    Test,
    /// Those of the test part, else those that are there: the file is of that part.
    TestOrAny,
}

/// Which labels are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::data) enum LabelAsk {
    /// None: a pool's labels must not be read where features are.
    #[default]
    Never,
    /// Those in the column or array of a known name, if there is one.
    Known,
    /// Those in this column or array.
    Named(String),
}

impl Arrays {
    /// Of these names, those that are read.
    pub(super) fn chosen(self, names: &[&str]) -> Vec<bool> {
        let parts: Vec<Option<NamedPart>> = names.iter().map(|name| bare(name).1).collect();
        let has_test = parts.contains(&Some(NamedPart::Test));
        let has_train = parts.contains(&Some(NamedPart::Train));
        let is_chosen = |part: &Option<NamedPart>| match (self, part) {
            (Arrays::Train, part) => matches!(part, Some(NamedPart::Train) | None),
            (Arrays::Test, part) => *part == Some(NamedPart::Test),
            (Arrays::TestOrAny, Some(part)) if has_test => *part == NamedPart::Test,
            (Arrays::TestOrAny, Some(part)) => has_train && *part == NamedPart::Train,
            (Arrays::TestOrAny, None) => !has_test,
        };
        parts.iter().map(is_chosen).collect()
    }
}

impl LabelAsk {
    /// The place of the column or array of labels among these; none where there is none of a known name.
    ///
    /// Errs with the sentence where one is named and not there.
    pub(super) fn find(&self, names: &[&str]) -> Result<Option<usize>, String> {
        match self {
            LabelAsk::Never => Ok(None),
            LabelAsk::Known => {
                let known = (0..names.len()).filter_map(|at| Some((label_rank(names[at])?, at)));
                Ok(known.min().map(|(_, at)| at))
            }
            LabelAsk::Named(wanted) => {
                let is_wanted = |name: &&str| *name == wanted || bare(name).0 == wanted.to_lowercase();
                let at = names.iter().position(is_wanted);
                at.map(Some)
                    .ok_or_else(|| format!("has no `{wanted}` with the label of each row; it has {}", names.join(", ")))
            }
        }
    }
}

impl Table {
    /// Whether there are names of images.
    pub(super) fn has_names(&self) -> bool {
        self.names.is_some()
    }

    /// The names of the rows, whatever they are called.
    pub(in crate::data) fn take_names(&mut self) -> Option<Vec<String>> {
        self.names.take().map(|names| names.values)
    }
}

impl Names {
    pub(super) fn look_like_files(&self) -> bool {
        self.values.iter().any(|text| looks_like_a_file(text))
    }
}

/// Of several columns of text the one that names the images: the first by the order of known names, else one whose texts look
/// like files, else the only one.
pub(super) fn best_names(mut named: Vec<Names>) -> Option<Names> {
    let rank = |names: &Names| name_rank(&bare(&names.column).0);
    let known = (0..named.len()).filter_map(|i| Some((rank(&named[i])?, i))).min();
    let like_files = || named.iter().position(Names::look_like_files);
    let alone = (named.len() == 1).then_some(0);
    let best = known.map(|(_, i)| i).or_else(like_files).or(alone)?;
    Some(named.swap_remove(best))
}

/// What a file holds; none where it has no arrays of the part that is asked for.
///
/// Errs when it is none of the kinds, or is damaged.
pub(in crate::data) fn read_table(path: &Path, ask: &Ask) -> Result<Option<Table>, DataError> {
    if begins_with(path, b"version https://git-lfs") {
        let error = DataError::malformed(path, Place::Whole, "a pointer of Git LFS in place of the file");
        return Err(error.with_hint("`git lfs pull` brings the file itself"));
    }
    let kind = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
    if !ask.columns.is_empty() && kind != "parquet" {
        let why = "`columns` names columns of numbers, which only Parquet has";
        return Err(DataError::malformed(path, Place::Whole, why).with_hint("leave `columns` out"));
    }
    match kind.as_str() {
        // One array, and one part.
        "npy" if ask.arrays == Arrays::Test => Ok(None),
        "npy" => numpy::npy(path).map(Some),
        "npz" => numpy::npz(path, ask),
        "safetensors" => safetensors::read(path, ask),
        // One table, and one part.
        "parquet" if ask.arrays == Arrays::Test => Ok(None),
        "parquet" => parquet::read(path, ask).map(Some),
        _ => Err(of_another_kind(path, &kind)),
    }
}

fn of_another_kind(path: &Path, kind: &str) -> DataError {
    let error = DataError::malformed(path, Place::Whole, "features come as .npy, .npz, .safetensors or .parquet");
    let in_python = match kind {
        "pt" | "pth" | "bin" => "numpy.save(\"features.npy\", torch.load(FILE).float().cpu().numpy())",
        "csv" | "tsv" | "txt" => "pandas.read_csv(FILE).to_parquet(\"features.parquet\")",
        "feather" | "arrow" => "pandas.read_feather(FILE).to_parquet(\"features.parquet\")",
        "pkl" | "pickle" | "h5" | "hdf5" | "mat" => "numpy.save(\"features.npy\", features)",
        _ => return error,
    };
    error.with_hint(format!("in Python: {in_python}"))
}

/// Whether the file begins with these bytes; `false` if it cannot be read.
pub(super) fn begins_with(path: &Path, bytes: &[u8]) -> bool {
    let mut first = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes.len() as u64).read_to_end(&mut first));
    read.is_ok() && first == bytes
}

/// Rows and columns; axes of length 1 behind the first count for nothing.
pub(super) fn matrix_axes(path: &Path, axes: &[usize]) -> Result<[usize; 2], DataError> {
    let wrong =
        || DataError::malformed(path, Place::Whole, format!("shape {axes:?} is not a row of numbers for each image"));
    let [n_rows, rest @ ..] = axes else { return Err(wrong()) };
    let lengths: Vec<usize> = rest.iter().copied().filter(|axis| *axis != 1).collect();
    match lengths[..] {
        _ if rest.is_empty() => Err(wrong().with_hint("make rows of it: features.reshape(n_images, -1)")),
        [] => Ok([*n_rows, 1]),
        [n_cols] => Ok([*n_rows, n_cols]),
        _ => {
            Err(wrong()
                .with_hint("make one row of each image: features.mean(axis=1), or features.reshape(n_images, -1)"))
        }
    }
}

pub(super) fn no_ids(path: &Path) -> DataError {
    DataError::malformed(path, Place::Whole, "`ids` holds something else than whole numbers from 0 on")
}

/// A float as the whole number that it is.
pub(super) fn whole(number: f64) -> Option<u64> {
    // Beyond 2^53 neighbouring whole numbers are one.
    let is_whole = (0.0..(1u64 << 53) as f64).contains(&number) && number.fract() == 0.0;
    is_whole.then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_a_part_are_those_that_are_called_after_it() {
        let names = ["x_train", "x_test", "ids", "val_x"];
        let rows = [
            (Arrays::Train, [true, false, true, false]),
            (Arrays::Test, [false, true, false, false]),
            (Arrays::TestOrAny, [false, true, false, false]),
        ];
        for (arrays, expected) in rows {
            assert_eq!(arrays.chosen(&names), expected, "{arrays:?}");
        }
        assert_eq!(Arrays::TestOrAny.chosen(&["x_train", "ids"]), [true, true]);
        assert_eq!(Arrays::Test.chosen(&["features", "ids"]), [false, false]);
    }

    #[test]
    fn labels_are_found_by_name_and_only_where_they_are_asked_for() {
        let names = ["y_train", "features", "label"];
        assert_eq!(LabelAsk::Never.find(&names), Ok(None));
        assert_eq!(LabelAsk::Known.find(&names), Ok(Some(2)));
        assert_eq!(LabelAsk::Known.find(&names[..2]), Ok(Some(0)));
        assert_eq!(LabelAsk::Known.find(&names[1..2]), Ok(None));
        assert_eq!(LabelAsk::Named("y".to_owned()).find(&names), Ok(Some(0)));
        assert!(LabelAsk::Named("diagnosis".to_owned()).find(&names).is_err());
    }
}
