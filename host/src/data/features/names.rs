//! Images by the names that a file of features gives them.

use std::borrow::Cow;
use std::collections::HashMap;

use super::super::Dataset;
use super::super::paths::{composed, file_name, stem};

/// The images of a data set whose files have names.
pub(super) struct Images<'a> {
    known: Vec<Known<'a>>,
    /// Those whose path, composed, ends in this name.
    by_name: HashMap<String, Vec<usize>>,
    /// The same without the ending, such as `.png`.
    by_stem: HashMap<String, Vec<usize>>,
}

struct Known<'a> {
    file: &'a str,
    /// The file's path with composed characters, by which it is compared.
    composed: Cow<'a, str>,
    /// Where it is in the pool.
    position: Option<usize>,
    /// Whether it is of a test part that the files have.
    is_test: bool,
}

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// The image at this position of the pool.
    Pool(usize),
    /// An image that is not in the pool: of another part, or one that `imbalance` has removed.
    Elsewhere,
    /// One of several images, of which two are these.
    Several(&'a str, &'a str),
    /// None of the images.
    Unknown,
}

impl<'a> Images<'a> {
    /// The images of every part; `None` where they have no files.
    pub(super) fn of(data: &'a Dataset) -> Option<Images<'a>> {
        if data.pool.files.is_empty() {
            return None;
        }
        let in_pool = data.pool.files.iter().enumerate().map(|(i, file)| (file, Some(i), false));
        let held_out = data.validation.files.iter().chain(&data.removed_files).map(|file| (file, None, false));
        let in_test = data.test.files.iter().map(|file| (file, None, data.has_own_test));
        let all = in_pool.chain(held_out).chain(in_test);
        let mut images = Images { known: Vec::new(), by_name: HashMap::new(), by_stem: HashMap::new() };
        for (i, (file, position, is_test)) in all.enumerate() {
            let composed = composed(file);
            images.by_name.entry(file_name(&composed).to_owned()).or_default().push(i);
            images.by_stem.entry(file_name(stem(&composed)).to_owned()).or_default().push(i);
            images.known.push(Known { file, composed, position, is_test });
        }
        Some(images)
    }

    /// One of the files, to show how they are named.
    pub(super) fn example(&self) -> &'a str {
        self.known[0].file
    }

    /// The image that `name` means: the one with this path below the set's root, or else the only one whose path ends in the
    /// name, or whose path the name ends in. The ending of a file may be left out. An umlaut is one letter, whether it is
    /// written as one character or as two.
    ///
    /// Where a name fits images of the training part and of the test part, those of the training part are meant.
    pub(super) fn find(&self, name: &str) -> Meaning<'a> {
        let name = composed(name.trim()).replace('\\', "/");
        let name = name.trim_start_matches("./");
        let whole = self.matching(&self.by_name, name, |file| file);
        let found = if whole.is_empty() { self.matching(&self.by_stem, name, stem) } else { whole };
        let train: Vec<&Known> = found.iter().filter(|known| !known.is_test).copied().collect();
        let meant = if train.is_empty() { found } else { train };
        match meant[..] {
            [] => Meaning::Unknown,
            [Known { position, .. }] => position.map_or(Meaning::Elsewhere, Meaning::Pool),
            [first, second, ..] => Meaning::Several(first.file, second.file),
        }
    }

    /// The images that fit best: by their whole path, by the longest path that ends the name, or all whose path the name ends.
    fn matching(&self, index: &HashMap<String, Vec<usize>>, name: &str, shown: fn(&str) -> &str) -> Vec<&Known<'a>> {
        let candidates = index.get(file_name(name)).into_iter().flatten().map(|&i| &self.known[i]);
        let candidates: Vec<&Known> = candidates.collect();
        let within = candidates.iter().filter(|known| ends_in(name, shown(&known.composed)));
        match within.map(|known| known.composed.len()).max() {
            Some(longest) => {
                let fits = |known: &&Known| ends_in(name, shown(&known.composed)) && known.composed.len() == longest;
                candidates.into_iter().filter(fits).collect()
            }
            None => candidates.into_iter().filter(|known| ends_in(shown(&known.composed), name)).collect(),
        }
    }
}

/// Whether the last folders and the name of `path` are `end`.
fn ends_in(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::super::super::{Shape, Split};
    use super::*;

    fn part(files: &[&str]) -> Split {
        let files = files.iter().map(|file| file.to_string()).collect::<Vec<_>>();
        Split { files: files.clone(), ..Split::numbered(vec![0; files.len()], vec![0; files.len()]) }
    }

    fn data(pool: &[&str], test: &[&str], has_own_test: bool) -> Dataset {
        Dataset {
            kind: "folder".to_owned(),
            shape: Shape { height: 1, width: 1, channels: 1 },
            classes: vec!["0".to_owned()],
            n_train: pool.len(),
            pool: part(pool),
            validation: Split::default(),
            test: part(test),
            has_own_test,
            removed_files: vec!["a/gone.png".to_owned()],
            fingerprint: String::new(),
            notes: Default::default(),
        }
    }

    #[test]
    fn a_name_means_the_one_image_that_it_fits() {
        let pool = ["a/00.png", "b/00.png", "b/x/00.png", "b/one.jpg", "a/f\u{fc}r.png", "b/u\u{308}ber.png"];
        let data = data(&pool, &["a/01.png"], false);
        let images = Images::of(&data).unwrap();
        let rows = [
            ("a/00.png", Meaning::Pool(0)),
            ("b/x/00.png", Meaning::Pool(2)),
            ("x/00.png", Meaning::Pool(2)),
            ("/home/me/set/b/x/00.png", Meaning::Pool(2)),
            ("set\\a\\00.png", Meaning::Pool(0)),
            ("./b/00.png", Meaning::Pool(1)),
            ("one.jpg", Meaning::Pool(3)),
            ("one", Meaning::Pool(3)),
            ("set/b/one", Meaning::Pool(3)),
            ("01.png", Meaning::Elsewhere),
            ("gone.png", Meaning::Elsewhere),
            ("00.png", Meaning::Several("a/00.png", "b/00.png")),
            ("00", Meaning::Several("a/00.png", "b/00.png")),
            // Another folder's image of the same name is another image.
            ("a/one.jpg", Meaning::Unknown),
            ("c/00.png", Meaning::Unknown),
            ("xa/00.png", Meaning::Unknown),
            ("0.png", Meaning::Unknown),
            ("", Meaning::Unknown),
            // Composed and decomposed, on either side.
            ("a/fu\u{308}r.png", Meaning::Pool(4)),
            ("f\u{fc}r", Meaning::Pool(4)),
            ("set/b/\u{fc}ber.png", Meaning::Pool(5)),
            ("fur.png", Meaning::Unknown),
        ];
        for (name, meaning) in rows {
            assert_eq!(images.find(name), meaning, "{name}");
        }
    }

    #[test]
    fn names_below_a_part_are_of_the_training_part() {
        let of = |has_own_test| {
            let data = data(&["train/a/0.png", "train/b/0.png"], &["test/a/0.png", "test/b/7.png"], has_own_test);
            let images = Images::of(&data).unwrap();
            match images.find("a/0.png") {
                Meaning::Pool(position) => Some(position),
                _ => None,
            }
        };
        assert_eq!((of(true), of(false)), (Some(0), None));
    }
}
