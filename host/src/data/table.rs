//! Tables of image files and their labels: CSV and TSV, gzipped or not, and Parquet.
//!
//! A table has a column of paths, one of labels and maybe one that says which part an image belongs to. The config names them, or
//! they are called as such columns are: see [`header`]. The first line names the columns, which commas, semicolons or tabs
//! separate. Paths begin in the folder of the table, or in `root`, and never lead out of it; an absolute path is one below a `root`
//! that the user has named. The ending of a file may be left out.
//!
//! Images are in the order of the table, and their ids are their places among the rows of their part. A table is a whole set: a path
//! that leads nowhere, or that stands twice, is an error that names it.

mod header;
mod places;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::archive::Tree;
use super::aside::{Aside, Reason, is_image_name};
use super::error::{DataError, Place};
use super::files::{self, Decoded, Item, Listed};
use super::labels;
use super::layout::{is_train, test_rank};
use super::{Notes, Parts, Shape, pinned, zipped};
pub(super) use header::{Keys, LABELS, Unclear, the_one};
use places::{Meaning, Places};
use rows::{Row, Sheet};

/// What a config says about a table.
pub(super) struct Table<'a> {
    /// A table, or a folder or archive with one table in it.
    pub path: PathBuf,
    /// The same for the test part.
    pub test_path: Option<PathBuf>,
    /// Where paths begin, if it is not the folder of the table: a folder or an archive.
    pub root: Option<PathBuf>,
    pub keys: Keys<'a>,
    /// What images are resized to.
    pub shape: Shape,
}

/// Reads a table and the images that it lists, every image resized to the table's shape.
///
/// # Errors
/// If it is not clear which columns are meant, a path leads outside, nowhere or twice to the same file, or a label is none; then with
/// all images at once that cannot be read.
pub(super) fn read(table: &Table<'_>, cancelled: &AtomicBool) -> Result<(Parts, Notes), DataError> {
    let root = table.root.as_deref();
    let has_test_table = table.test_path.is_some();
    let mut source = Source::open(&table.path, root, table.keys, !has_test_table, cancelled)?;
    let of_test = |path: &PathBuf| Source::open(path, root, table.keys, false, cancelled);
    let mut test_source = table.test_path.as_ref().map(of_test).transpose()?;
    let mut divided = divide(&mut source.sheet)?;
    if let Some(test) = &mut test_source {
        divided.test = Some(std::mem::take(&mut test.sheet.rows));
    }
    let sources = [&source, test_source.as_ref().unwrap_or(&source)];
    let mut found = Found::default();
    let train_paths = found.paths(sources[0], &divided.train, root)?;
    let test_paths = divided.test.as_ref().map(|rows| found.paths(sources[1], rows, root)).transpose()?;
    let n_images = divided.train.len() + divided.test.as_ref().map_or(0, Vec::len);
    found.refuse_missing(&source, n_images)?;

    let train_labels = sources[0].sheet.labels(&divided.train);
    let test_labels = divided.test.as_ref().map(|rows| sources[1].sheet.labels(rows));
    let numbered = labels::number(train_labels, test_labels)?;
    let mut notes = Notes { remarks: divided.remarks, ..Notes::default() };
    notes.left_aside = left_aside(sources, &found.used, &divided.unused, root);
    let train = Listed { tree: &sources[0].tree, items: items(train_paths, numbered.train) };
    let test = test_paths.zip(numbered.test).map(|(paths, labels)| items(paths, labels));
    let test = test.map(|items| Listed { tree: &sources[1].tree, items });
    let Decoded { train, test, remarks } = files::decode(&source.folder(), train, test, table.shape, cancelled)?;
    notes.remarks.extend(remarks);
    Ok((Parts { shape: table.shape, classes: numbered.classes, train, test }, notes))
}

/// What the file system says of the tables, and of the folders that their images lie in: while it stays the same, so does what is
/// read. Other files in the folder of a table may come and go.
pub(super) fn stamp(table: &Table<'_>) -> String {
    let tables = [Some(&table.path), table.test_path.as_ref()];
    tables.into_iter().flatten().map(|path| stamp_of_one(path, table.root.as_deref(), table.keys)).collect()
}

fn stamp_of_one(path: &Path, root: Option<&Path>, keys: Keys<'_>) -> String {
    let own = pinned::stamp_below(path);
    let begin = root.unwrap_or(folder_of(path));
    let rows = match holds_files(path) {
        Ok(true) if root.is_none() => return own,
        Ok(false) if begin.is_dir() => Sheet::read(path, keys, false).map(|sheet| sheet.rows).unwrap_or_default(),
        // What cannot be read is told by whoever reads it.
        Err(_) => return own,
        _ => return own + &pinned::stamp_below(begin),
    };
    let files = rows.iter().map(|row| begin.join(row.image.replace('\\', "/")));
    let folders: BTreeSet<PathBuf> = files.filter_map(|file| file.parent().map(Path::to_owned)).collect();
    folders.iter().fold(own, |stamp, folder| stamp + &pinned::stamp_images_in(folder))
}

fn folder_of(table: &Path) -> &Path {
    table.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads the rows of a table alone, and not the files that it lists; how many there are.
///
/// # Errors
/// Those of [`read`], as far as they are of the table.
pub(super) fn read_alone(path: &Path) -> Result<usize, DataError> {
    let mut sheet = Sheet::read(path, Keys::default(), true)?;
    let divided = divide(&mut sheet)?;
    Ok(labels::number(sheet.labels(&divided.train), None)?.train.len())
}

fn items(paths: Vec<String>, labels: Vec<u32>) -> Vec<Item> {
    let item = |(id, (path, label))| Item { path, id, label };
    (0..).zip(paths.into_iter().zip(labels)).map(item).collect()
}

/// A table, and the files that it speaks of.
struct Source {
    tree: Tree,
    sheet: Sheet,
    /// The table's path in the tree, if it lies there.
    own_path: Option<String>,
    /// Where relative paths begin in the tree: empty, or with a `/` at its end.
    begin: String,
}

impl Source {
    fn open(
        path: &Path,
        root: Option<&Path>,
        keys: Keys<'_>,
        wants_split: bool,
        cancelled: &AtomicBool,
    ) -> Result<Source, DataError> {
        let images_of = |folder: &Path| open_images(root.unwrap_or(folder), cancelled);
        if !holds_files(path)? {
            let sheet = Sheet::read(path, keys, wants_split)?;
            let tree = images_of(folder_of(path))?;
            let own_path = below(path, &tree.full_path(""));
            return Ok(Source { tree, sheet, own_path, begin: String::new() });
        }
        let tree = open_images(path, cancelled)?;
        let name = the_table_in(&tree, path)?;
        let sheet = match path.is_dir() {
            true => Sheet::read(&tree.full_path(&name), keys, wants_split)?,
            false => Sheet::of_text(&tree.full_path(&name), &tree.read(&name)?, keys, wants_split)?,
        };
        if root.is_some() {
            return Ok(Source { tree: images_of(path)?, sheet, own_path: None, begin: String::new() });
        }
        let begin = name.rfind('/').map_or_else(String::new, |slash| name[..=slash].to_owned());
        Ok(Source { tree, sheet, own_path: Some(name), begin })
    }

    /// The folder that paths begin in.
    fn folder(&self) -> PathBuf {
        self.tree.full_path(&self.begin)
    }
}

/// The path of a table below a folder, if it lies there.
fn below(table: &Path, folder: &Path) -> Option<String> {
    let [table, folder] = [table, folder].map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    table.strip_prefix(folder).ok().and_then(Path::to_str).map(str::to_owned)
}

/// Whether there are files in what a path names: a folder or an archive.
fn holds_files(path: &Path) -> Result<bool, DataError> {
    let io_error = |source| DataError::io(path, source);
    let metadata = std::fs::metadata(path).map_err(io_error)?;
    let name = path.to_string_lossy().to_lowercase();
    let is_tar = [".tar", ".tar.gz", ".tgz"].iter().any(|ending| name.ends_with(ending));
    Ok(metadata.is_dir() || is_tar || (metadata.is_file() && zipped::is_zip(path).map_err(io_error)?))
}

fn open_images(root: &Path, cancelled: &AtomicBool) -> Result<Tree, DataError> {
    if root.canonicalize().is_ok_and(|root| root == Path::new("/")) {
        let why = "is the root of the file system: name the folder that the images lie in";
        return Err(DataError::key_error("root", why));
    }
    Tree::open(root, cancelled)
}

/// The only table among the files that lie least deep.
fn the_table_in(tree: &Tree, path: &Path) -> Result<String, DataError> {
    const ENDINGS: [&str; 5] = [".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet"];
    let is_table = |name: &&str| ENDINGS.iter().any(|ending| name.to_lowercase().ends_with(ending));
    let depth = |name: &str| name.matches('/').count();
    let tables: Vec<&str> = tree.files().filter(is_table).collect();
    let least = tables.iter().map(|name| depth(name)).min();
    let tables: Vec<&str> = tables.into_iter().filter(|name| Some(depth(name)) == least).collect();
    match tables[..] {
        [one] => Ok(one.to_owned()),
        [] => Err(DataError::Missing {
            looked_in: path.to_owned(),
            names: ENDINGS.map(|ending| format!("one *{ending}")).to_vec(),
            hint: "`dataset.path` names the table, or a folder with one table in it".to_owned(),
        }),
        [first, second, ..] => {
            let why = format!("holds more than one table: `{first}`, `{second}`");
            let hint = "name one with `dataset.path`, and that of the test part with `dataset.test_path`".to_owned();
            Err(DataError::Layout { folder: path.to_owned(), why, hint })
        }
    }
}

/// The rows of a table by the part that they belong to.
#[derive(Default)]
struct Divided {
    train: Vec<Row>,
    test: Option<Vec<Row>>,
    /// Rows of parts that are not used.
    unused: Vec<Row>,
    remarks: Vec<String>,
}

/// Divides a table by its column of parts; without one, all rows are of the training part.
fn divide(sheet: &mut Sheet) -> Result<Divided, DataError> {
    let rows = std::mem::take(&mut sheet.rows);
    let Some(column) = &sheet.split else { return Ok(Divided { train: rows, ..Divided::default() }) };
    let mut divided = Divided::default();
    let mut tests: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
    for row in rows {
        match test_rank(&row.split) {
            _ if is_train(&row.split) => divided.train.push(row),
            Some(rank) => tests.entry(rank).or_default().push(row),
            None => return Err(sheet.no_part(&row, column)),
        }
    }
    if divided.train.is_empty() {
        let why = format!("the column `{column}` says of no row that it is of the training part");
        return Err(DataError::malformed(&sheet.path, Place::Whole, why));
    }
    let used = tests.pop_first();
    for (_, rows) in tests {
        let (test, unused) = (used.as_ref().map_or("", |(_, rows)| &rows[0].split), &rows[0].split);
        let n = rows.len();
        divided.remarks.push(format!("the test part is `{test}`; `{unused}` was left aside ({n} images)"));
        divided.unused.extend(rows);
    }
    divided.test = used.map(|(_, rows)| rows);
    Ok(divided)
}

/// The files that rows mean, over all parts.
#[derive(Default)]
struct Found {
    /// Where each file was listed, by its full path.
    used: HashMap<PathBuf, u64>,
    /// Paths that lead nowhere, and their places.
    missing: Vec<(String, String)>,
}

impl Found {
    /// The path in the tree of each row; those that are missing are remembered, and empty.
    ///
    /// # Errors
    /// If a path leads outside, fits two files, or means a file that was listed before.
    fn paths(&mut self, source: &Source, rows: &[Row], root: Option<&Path>) -> Result<Vec<String>, DataError> {
        let places = Places::new(&source.tree, source.begin.clone(), root);
        rows.iter().map(|row| self.path(source, &places, row)).collect()
    }

    fn path(&mut self, source: &Source, places: &Places<'_>, row: &Row) -> Result<String, DataError> {
        let image = &row.image;
        let wrong = |why: String| source.sheet.at(row, why);
        let path = match places.find(image) {
            Meaning::File(path) => path,
            Meaning::Several(first, second) => {
                return Err(
                    wrong(format!("`{image}` may be `{first}` or `{second}`")).with_hint("write the ending, too")
                );
            }
            Meaning::Outside => {
                let folder = source.folder();
                return Err(wrong(format!("`{image}` leads out of `{}`", folder.display())).with_hint(
                    "`dataset.root` names the folder that paths begin in; an absolute path is read below it alone",
                ));
            }
            Meaning::Missing => {
                self.missing.push((image.clone(), format!("there is no such file ({})", source.sheet.place(row))));
                return Ok(String::new());
            }
        };
        match self.used.insert(source.tree.full_path(&path), row.line) {
            None => Ok(path),
            Some(before) => {
                let why = format!("`{image}` is listed twice, in {} {before} too", source.sheet.unit());
                Err(wrong(why).with_hint("an image has one label and is of one part: take the repetition out"))
            }
        }
    }

    /// Errs with all paths at once that lead nowhere.
    fn refuse_missing(&mut self, source: &Source, n_images: usize) -> Result<(), DataError> {
        let folder = source.folder();
        match self.missing.first() {
            None => Ok(()),
            Some((first, _)) if self.missing.len() == n_images => {
                let why = format!(
                    "none of the {n_images} images that it lists is in `{}`; the first is `{first}`",
                    folder.display()
                );
                let error = DataError::malformed(&source.sheet.path, Place::Whole, why);
                Err(error.with_hint("`dataset.root` names the folder that the paths begin in"))
            }
            Some(_) => {
                let files = std::mem::take(&mut self.missing);
                Err(DataError::Unreadable { root: folder, files, n_images })
            }
        }
    }
}

/// Every file beside the tables that no row of a used part means.
fn left_aside(sources: [&Source; 2], used: &HashMap<PathBuf, u64>, unused: &[Row], root: Option<&Path>) -> Aside {
    let [source, test_source] = sources;
    let places = Places::new(&source.tree, source.begin.clone(), root);
    let unused: HashSet<String> = unused
        .iter()
        .filter_map(|row| match places.find(&row.image) {
            Meaning::File(path) => Some(path),
            _ => None,
        })
        .collect();
    let mut aside = source.tree.aside().clone();
    aside.add_all(Reason::Unreachable, source.tree.troubles().len());
    let is_table = |path: &str| sources.iter().any(|source| source.own_path.as_deref() == Some(path));
    for path in source.tree.files().filter(|path| !is_table(path) && !used.contains_key(&source.tree.full_path(path))) {
        match is_image_name(path) {
            true if unused.contains(path) => aside.add(Reason::OtherPart),
            true => aside.add(Reason::NotInTable),
            false => aside.add_file(path),
        }
    }
    if test_source.tree.full_path("") != source.tree.full_path("") {
        aside.add_all_of(&left_aside([test_source, test_source], used, &[], root));
    }
    aside
}

#[cfg(test)]
mod tests;
