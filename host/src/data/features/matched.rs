//! Rows of a file held against the images of a part.

use std::collections::HashMap;
use std::path::Path;

use super::columns::name_rank;
use super::names::{Images, Meaning};
use super::rows::{gathered, number};
use super::table::{Names, Table};
use super::{Features, Part};
use crate::data::error::{DataError, Place};
use crate::data::{Dataset, Split};

/// How the rows of a file found their images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matching {
    /// By the names in this column or array.
    Names(String),
    /// By their dataset ids.
    Ids,
    /// By the order alone.
    Order,
}

/// The images of a part, and what a row without a name can be.
struct Wanted<'a> {
    part: Part,
    split: &'a Split,
    /// Rows of a file in which each has its place, and the ids below it.
    n_whole: usize,
    /// How the whole is called.
    whole: &'static str,
}

impl<'a> Wanted<'a> {
    fn of(part: Part, data: &'a Dataset) -> Wanted<'a> {
        match part {
            Part::Pool => Wanted { part, split: &data.pool, n_whole: data.n_train, whole: "training part" },
            Part::Test if data.has_own_test => {
                Wanted { part, split: &data.test, n_whole: data.test.len(), whole: "test part" }
            }
            // The test part was held out of the training part, and keeps its ids.
            Part::Test => Wanted { part, split: &data.test, n_whole: data.n_train, whole: "training part" },
        }
    }
}

/// Which row each image has, and how that was found.
struct Found {
    rows: Vec<usize>,
    matching: Matching,
}

impl Table {
    /// The features of a part of a set; `is_own_file`, if the file is of that part alone.
    pub(super) fn of_part(
        self,
        path: &Path,
        data: &Dataset,
        part: Part,
        is_own_file: bool,
    ) -> Result<Features, DataError> {
        let n_cols = self.n_cols;
        self.check_numbers(path)?;
        let wanted = Wanted::of(part, data);
        let Found { rows, matching } = self.row_of_each(path, data, &wanted, is_own_file)?;
        let in_order = rows.len() == self.n_rows && rows.iter().enumerate().all(|(i, row)| i == *row);
        let bytes = match in_order {
            true => self.rows.shared(),
            false => gathered(self.rows.as_ref(), n_cols, &rows, path)?,
        };
        Ok(Features { bytes, n_cols, matching })
    }

    /// Errs where there is nothing, or a number that is none.
    pub(in crate::data) fn check_numbers(&self, path: &Path) -> Result<(), DataError> {
        let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
        let n_cols = self.n_cols;
        if n_cols == 0 || self.n_rows == 0 {
            return Err(wrong(format!("holds {} rows of {n_cols} numbers", self.n_rows)));
        }
        let (numbers, _) = self.rows.as_ref().as_chunks();
        match numbers.iter().position(|bytes| !number(bytes).is_finite()) {
            None => Ok(()),
            Some(at) => {
                let value = number(&numbers[at]);
                Err(wrong(format!("row {}, column {} is {value}", at / n_cols, at % n_cols)))
            }
        }
    }

    /// The file's row of each image: by names, by ids, or by the order.
    fn row_of_each(
        &self,
        path: &Path,
        data: &Dataset,
        wanted: &Wanted<'_>,
        is_own_file: bool,
    ) -> Result<Found, DataError> {
        let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
        if let Some(names) = &self.names {
            let (n, column) = (names.values.len(), &names.column);
            if n != self.n_rows {
                return Err(wrong(format!("`{column}` names {n} images, but there are {} rows", self.n_rows)));
            }
            let meant = Meant { data, wanted, is_own_file, has_ids: self.ids.is_some() };
            if let Some(rows) = names.row_of_each(path, &meant)? {
                return Ok(Found { rows, matching: Matching::Names(column.clone()) });
            }
        }
        if let Some(ids) = &self.ids {
            let rows = self.row_of_each_id(ids, wanted).map_err(wrong)?;
            return Ok(Found { rows, matching: Matching::Ids });
        }
        let rows = self.row_by_order(wanted).map_err(wrong)?;
        Ok(Found { rows, matching: Matching::Order })
    }

    fn row_by_order(&self, wanted: &Wanted<'_>) -> Result<Vec<usize>, String> {
        let Wanted { split, n_whole, whole, .. } = wanted;
        if self.n_rows != *n_whole {
            return Err(format!(
                "holds {} rows, but the {whole} has {n_whole} images; name the image of each row in `filename` or `ids`",
                self.n_rows
            ));
        }
        match split.ids.last().filter(|id| **id >= *n_whole as u64) {
            Some(id) => Err(format!(
                "holds a row for each of {} images, but their ids run to {id}; name the image of each row in `filename` or `ids`",
                self.n_rows
            )),
            None => Ok(split.ids.iter().map(|id| *id as usize).collect()),
        }
    }

    fn row_of_each_id(&self, ids: &[u64], wanted: &Wanted<'_>) -> Result<Vec<usize>, String> {
        if ids.len() != self.n_rows {
            return Err(format!("names {} ids, but holds {} rows", ids.len(), self.n_rows));
        }
        let mut row_of = HashMap::with_capacity(ids.len());
        for (row, id) in ids.iter().enumerate() {
            if let Some(before) = row_of.insert(*id, row) {
                return Err(format!("rows {before} and {row} both belong to the image {id}"));
            }
        }
        if let Some((row, id)) = ids.iter().enumerate().find(|(_, id)| **id >= wanted.n_whole as u64) {
            let (n, whole) = (wanted.n_whole, wanted.whole);
            let n_unknown = ids.iter().filter(|id| **id >= n as u64).count();
            return Err(format!(
                "row {row} belongs to the image {id}, and the {whole} has {n}; {n_unknown} rows have no image"
            ));
        }
        let wanted = &wanted.split.ids;
        let rows: Vec<usize> = wanted.iter().filter_map(|id| row_of.get(id).copied()).collect();
        match wanted.iter().find(|id| !row_of.contains_key(id)) {
            None => Ok(rows),
            Some(id) => {
                let n = wanted.len();
                Err(format!("has no row for {} of {n} images, the first of them {id}", n - rows.len()))
            }
        }
    }
}

/// Which images names can mean.
struct Meant<'a> {
    data: &'a Dataset,
    wanted: &'a Wanted<'a>,
    is_own_file: bool,
    has_ids: bool,
}

impl Names {
    /// The file's row of each image; `None` where the texts name no images at all.
    fn row_of_each(&self, path: &Path, meant: &Meant<'_>) -> Result<Option<Vec<usize>>, DataError> {
        let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
        let column = &self.column;
        let are_meant = name_rank(column).is_some() || self.look_like_files();
        let prefers_test = meant.is_own_file && meant.wanted.part == Part::Test;
        let Some(images) = Images::of(meant.data, meant.wanted.part, prefers_test) else {
            if !are_meant || meant.has_ids {
                return Ok(None);
            }
            let why = format!("`{column}` names images, but those of kind `{}` have no names", meant.data.kind);
            return Err(wrong(why).with_hint("name them by their dataset ids, in `ids`"));
        };
        let meanings: Vec<Meaning> = self.values.iter().map(|name| images.find(name)).collect();
        if !are_meant && meanings.iter().all(|meaning| *meaning == Meaning::Unknown) {
            tracing::warn!("`{}`: the texts in `{column}` name no images, and are left aside", path.display());
            return Ok(None);
        }
        self.check_meanings(&meanings, &images).map_err(|(why, hint)| wrong(why).with_hint(hint))?;
        let files = &meant.wanted.split.files;
        let mut row_of: Vec<Option<usize>> = vec![None; files.len()];
        for (row, meaning) in meanings.iter().enumerate() {
            let Meaning::Here(position) = *meaning else { continue };
            if let Some(before) = row_of[position].replace(row) {
                let file = &files[position];
                return Err(wrong(format!("rows {before} and {row} both belong to the image `{file}`")));
            }
        }
        match row_of.iter().position(Option::is_none) {
            None => Ok(Some(row_of.into_iter().flatten().collect())),
            Some(first) => {
                let (n, file) = (row_of.len(), &files[first]);
                let missing = row_of.iter().filter(|row| row.is_none()).count();
                let part = if meant.wanted.part == Part::Test { " of the test part" } else { "" };
                Err(wrong(format!("has no row for {missing} of {n} images{part}, the first of them `{file}`")))
            }
        }
    }

    /// Errs with a sentence and a hint at a name that fits none or several of the images.
    fn check_meanings(&self, meanings: &[Meaning<'_>], images: &Images<'_>) -> Result<(), (String, String)> {
        let column = &self.column;
        let are_numbers = self.values.iter().all(|text| text.trim().parse::<u64>().is_ok());
        let hint = match are_numbers {
            true => "dataset ids are stored as whole numbers, not as text: ids.astype(\"int64\")".to_owned(),
            false => {
                let example = images.example();
                format!("an image is named by its path below the folder of the data set, such as `{example}`")
            }
        };
        let n_unknown = meanings.iter().filter(|meaning| **meaning == Meaning::Unknown).count();
        for (row, meaning) in meanings.iter().enumerate() {
            let name = &self.values[row];
            match meaning {
                Meaning::Here(_) | Meaning::Elsewhere => {}
                Meaning::Several(first, second) => {
                    return Err((format!("row {row}: `{name}` in `{column}` may be `{first}` or `{second}`"), hint));
                }
                Meaning::Unknown => {
                    let more =
                        if n_unknown > 1 { format!(", as in {} more rows", n_unknown - 1) } else { String::new() };
                    return Err((format!("row {row}: `{name}` in `{column}` is no image of the data set{more}"), hint));
                }
            }
        }
        Ok(())
    }
}
