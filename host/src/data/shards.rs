//! Which Parquet files of a folder are which part of a set, told by their names.
//!
//! A part's name is a word of the file's name, or of a folder's above it: `data/train-00000-of-00002.parquet`, `test/0000.parquet`.
//! Files that name no part are left aside where others do; where none does, all are the training part.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::archive::Tree;
use super::aside::Aside;
use super::error::{DataError, Place};
use super::files::refuse_troubles;
use super::layout::{is_train, test_rank};

/// A part and its files, in the order of their names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// How the files name it.
    pub name: String,
    pub files: Vec<PathBuf>,
}

/// The parts of a set.
#[derive(Debug)]
pub(super) struct Shards {
    pub train: Part,
    /// Test parts in the order in which they are preferred.
    pub tests: Vec<Part>,
    pub aside: Aside,
    /// Sentences.
    pub remarks: Vec<String>,
}

const ONE_SET: &str = "name the folder of one set with `dataset.path`";

/// Finds the parts below a folder; a file is a training part.
///
/// # Errors
/// If there is no Parquet file, no training part, more than one set, or a file of a numbered row is missing.
pub(super) fn find(path: &Path, cancelled: &AtomicBool) -> Result<Shards, DataError> {
    let metadata = std::fs::metadata(path).map_err(|source| DataError::io(path, source))?;
    if !metadata.is_dir() {
        if !metadata.is_file() {
            return Err(DataError::malformed(path, Place::Whole, "is no regular file"));
        }
        let train = Part { name: "train".to_owned(), files: vec![path.to_owned()] };
        return Ok(Shards { train, tests: Vec::new(), aside: Aside::default(), remarks: Vec::new() });
    }
    let tree = Tree::open(path, cancelled)?;
    refuse_troubles(&tree)?;
    let (shards, others): (Vec<&str>, Vec<&str>) = tree.files().partition(|name| is_shard(name));
    let mut aside = tree.aside().clone();
    others.into_iter().for_each(|name| aside.add_file(name));
    divide(path, &shards, aside)
}

fn is_shard(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| ending.eq_ignore_ascii_case("parquet"))
}

/// Parts by the names of files, which are sorted.
fn divide(root: &Path, shards: &[&str], aside: Aside) -> Result<Shards, DataError> {
    let refused = |why: String, hint: &str| DataError::Layout { folder: root.to_owned(), why, hint: hint.to_owned() };
    if shards.is_empty() {
        return Err(refused(
            "holds no .parquet file".to_owned(),
            "kind `parquet` reads files such as data/train-00000-of-00002.parquet; `dataset.path` names the folder, or one file",
        ));
    }
    let mut parts: BTreeMap<Sort, Vec<Shard<'_>>> = BTreeMap::new();
    shards.iter().map(|path| Shard::of(path)).for_each(|shard| parts.entry(shard.sort).or_default().push(shard));
    let unnamed = parts.remove(&Sort::None).unwrap_or_default();
    let mut remarks = Vec::new();
    let train = match (parts.remove(&Sort::Train), parts.is_empty()) {
        (Some(train), _) => {
            if !unnamed.is_empty() {
                let names: Vec<&str> = unnamed.iter().map(|shard| shard.path).collect();
                remarks.push(format!("left aside, as their names name no part: {}", named(&names)));
            }
            train
        }
        (None, true) => unnamed,
        (None, false) => {
            let why = format!("no file is named after a training part: {}", named(shards));
            return Err(refused(why, "the name of a file or its folder holds the word `train`"));
        }
    };
    let used: Vec<&Shard<'_>> = train.iter().chain(parts.values().flatten()).collect();
    let bases: BTreeSet<&str> = used.iter().map(|shard| shard.base.as_str()).collect();
    if bases.len() > 1 {
        let bases: Vec<&str> = bases.iter().map(|base| if base.is_empty() { "." } else { *base }).collect();
        return Err(refused(format!("is more than one data set: {} hold files of parts each", named(&bases)), ONE_SET));
    }
    check_numbers(&used).map_err(|why| refused(why, "bring all files of the set: a data set is whole"))?;
    let part = |shards: Vec<Shard<'_>>| Part {
        name: shards[0].word.to_owned(),
        files: shards.into_iter().map(|shard| root.join(shard.path)).collect(),
    };
    let tests = parts.into_values().map(part).collect();
    Ok(Shards { train: part(train), tests, aside, remarks })
}

/// What a file's name says of its part; test parts in the order in which they are preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Train,
    Test(usize),
    None,
}

struct Shard<'a> {
    path: &'a str,
    sort: Sort,
    /// The word that names the part.
    word: &'a str,
    /// The folder of the set: without the one that names the part.
    base: String,
}

impl<'a> Shard<'a> {
    fn of(path: &'a str) -> Shard<'a> {
        let names: Vec<&str> = path.split('/').collect();
        for depth in (0..names.len()).rev() {
            let words = names[depth].split(|letter: char| !letter.is_alphanumeric());
            let found = words.filter_map(|word| Some((sort_of(word)?, word))).next();
            if let Some((sort, word)) = found {
                return Shard { path, sort, word, base: names[..depth].join("/") };
            }
        }
        let base = names[..names.len() - 1].join("/");
        Shard { path, sort: Sort::None, word: "train", base }
    }
}

fn sort_of(word: &str) -> Option<Sort> {
    if is_train(word) { Some(Sort::Train) } else { test_rank(word).map(Sort::Test) }
}

/// Errs where a row such as `-00000-of-00002` has a gap.
fn check_numbers(shards: &[&Shard<'_>]) -> Result<(), String> {
    let mut rows: BTreeMap<(&str, usize), BTreeSet<usize>> = BTreeMap::new();
    for shard in shards {
        if let Some((row, number, n)) = numbered(shard.path) {
            rows.entry((row, n)).or_default().insert(number);
        }
    }
    for ((row, n), numbers) in rows {
        if let Some(missing) = (0..n).find(|number| !numbers.contains(number)) {
            let width = 5;
            return Err(format!("the file `{row}-{missing:0width$}-of-{n:0width$}.parquet` is missing"));
        }
    }
    Ok(())
}

/// The name of a numbered file without its number, the number, and how many there are.
fn numbered(path: &str) -> Option<(&str, usize, usize)> {
    let (stem, _) = path.rsplit_once('.')?;
    let (rest, n) = stem.rsplit_once("-of-")?;
    let (row, number) = rest.rsplit_once('-')?;
    Some((row, number.parse().ok()?, n.parse().ok()?))
}

/// So many names are told one by one.
const NAMED: usize = 5;

fn named(names: &[&str]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let told: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    if more > 0 { format!("{} and {more} more", told.join(", ")) } else { told.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(names: &[&str]) -> Result<Shards, DataError> {
        divide(Path::new("set"), names, Aside::default())
    }

    fn files(part: &Part) -> Vec<&str> {
        part.files.iter().map(|file| file.strip_prefix("set").unwrap().to_str().unwrap()).collect()
    }

    /// Names of files, those of the training part, and of each test part in order.
    type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a [&'a str]]);

    #[test]
    fn names_say_which_part_a_file_is_of() {
        let rows: [Row<'_>; 7] = [
            (
                &[
                    "data/test-00000-of-00001.parquet",
                    "data/train-00000-of-00002.parquet",
                    "data/train-00001-of-00002.parquet",
                ],
                &["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
                &[&["data/test-00000-of-00001.parquet"]],
            ),
            (
                &["c/test/0.parquet", "c/train/0.parquet", "c/train/1.parquet"],
                &["c/train/0.parquet", "c/train/1.parquet"],
                &[&["c/test/0.parquet"]],
            ),
            (
                &["digits_train.parquet", "digits_validation.parquet"],
                &["digits_train.parquet"],
                &[&["digits_validation.parquet"]],
            ),
            (
                &["test.parquet", "train.parquet", "val.parquet"],
                &["train.parquet"],
                &[&["test.parquet"], &["val.parquet"]],
            ),
            (&["0000.parquet", "0001.parquet"], &["0000.parquet", "0001.parquet"], &[]),
            // The file counts for more than its folder.
            (&["train/test.parquet", "train/train.parquet"], &["train/train.parquet"], &[&["train/test.parquet"]]),
            (&["extra.parquet", "train.parquet"], &["train.parquet"], &[]),
        ];
        for (names, train, tests) in rows {
            let shards = divided(names).unwrap();
            assert_eq!(files(&shards.train), train, "{names:?}");
            assert_eq!(shards.tests.iter().map(files).collect::<Vec<_>>(), tests, "{names:?}");
        }
        let remarks = divided(&["extra.parquet", "train.parquet"]).unwrap().remarks;
        assert_eq!(remarks, ["left aside, as their names name no part: `extra.parquet`"]);
    }

    #[test]
    fn what_is_not_one_whole_set_is_refused() {
        let rows: [(&[&str], &str); 5] = [
            (&[], "holds no .parquet file"),
            (&["test.parquet", "extra.parquet"], "no file is named after a training part: `test.parquet`"),
            (&["a/train-0.parquet", "b/train-0.parquet"], "more than one data set: `a`, `b`"),
            (&["a/0.parquet", "b/0.parquet"], "more than one data set: `a`, `b`"),
            (
                &["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"],
                "`data/train-00001-of-00003.parquet` is missing",
            ),
        ];
        for (names, expected) in rows {
            let error = divided(names).expect_err(expected);
            assert!(error.to_string().contains(expected) && error.hint().is_some(), "{error}");
        }
    }
}
