//! Images by the names that a file of features gives them.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Part;
use crate::data::Dataset;
use crate::data::paths::{composed, file_name, stem};

/// The images of a data set whose files have names.
pub(super) struct Images<'a> {
    known: Vec<Known<'a>>,
    /// Those whose path, composed, ends in this name.
    by_name: HashMap<String, Vec<usize>>,
    /// The same without the ending, such as `.png`.
    by_stem: HashMap<String, Vec<usize>>,
    /// Whether a name that fits images of both parts means one of the test part.
    prefers_test: bool,
}

struct Known<'a> {
    file: &'a str,
    /// The file's path with composed characters, by which it is compared.
    composed: Cow<'a, str>,
    /// Where it is in the part.
    position: Option<usize>,
    /// Whether it is of a test part that the files have.
    is_test: bool,
}

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// The image at this position of the part.
    Here(usize),
    /// An image that is not in the part: of another one, or one that `imbalance` has removed.
    Elsewhere,
    /// One of several images, of which two are these.
    Several(&'a str, &'a str),
    /// None of the images.
    Unknown,
}

impl<'a> Images<'a> {
    /// The images of every part, to find those of one; `None` where that has no files.
    ///
    /// Where a name fits images of the training part and of the test part, those of the training part are meant, unless
    /// `prefers_test` says otherwise.
    pub(super) fn of(data: &'a Dataset, part: Part, prefers_test: bool) -> Option<Images<'a>> {
        let has_files = match part {
            Part::Pool => !data.pool.files.is_empty(),
            Part::Test => !data.test.files.is_empty(),
        };
        if !has_files {
            return None;
        }
        let place = |of: Part, i: usize| (of == part).then_some(i);
        let in_pool = data.pool.files.iter().enumerate().map(|(i, file)| (file, place(Part::Pool, i), false));
        let held_out = data.validation.files.iter().chain(&data.removed_files).map(|file| (file, None, false));
        let in_test = data.test.files.iter().enumerate();
        let in_test = in_test.map(|(i, file)| (file, place(Part::Test, i), data.has_own_test));
        let all = in_pool.chain(held_out).chain(in_test);
        let mut images = Images { known: Vec::new(), by_name: HashMap::new(), by_stem: HashMap::new(), prefers_test };
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
    pub(super) fn find(&self, name: &str) -> Meaning<'a> {
        let name = composed(name.trim()).replace('\\', "/");
        let name = name.trim_start_matches("./");
        let whole = self.matching(&self.by_name, name, |file| file);
        let found = if whole.is_empty() { self.matching(&self.by_stem, name, stem) } else { whole };
        let preferred = found.iter().filter(|known| known.is_test == self.prefers_test).copied();
        let preferred: Vec<&Known> = preferred.collect();
        let meant = if preferred.is_empty() { found } else { preferred };
        match meant[..] {
            [] => Meaning::Unknown,
            [Known { position, .. }] => position.map_or(Meaning::Elsewhere, Meaning::Here),
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
    use super::*;
    use crate::data::{Shape, Split};

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
            given: None,
        }
    }

    #[test]
    fn a_name_means_the_one_image_that_it_fits() {
        let pool = ["a/00.png", "b/00.png", "b/x/00.png", "b/one.jpg", "a/f\u{fc}r.png", "b/u\u{308}ber.png"];
        let data = data(&pool, &["a/01.png"], false);
        let images = Images::of(&data, Part::Pool, false).unwrap();
        let rows = [
            ("a/00.png", Meaning::Here(0)),
            ("b/x/00.png", Meaning::Here(2)),
            ("x/00.png", Meaning::Here(2)),
            ("/home/me/set/b/x/00.png", Meaning::Here(2)),
            ("set\\a\\00.png", Meaning::Here(0)),
            ("./b/00.png", Meaning::Here(1)),
            ("one.jpg", Meaning::Here(3)),
            ("one", Meaning::Here(3)),
            ("set/b/one", Meaning::Here(3)),
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
            ("a/fu\u{308}r.png", Meaning::Here(4)),
            ("f\u{fc}r", Meaning::Here(4)),
            ("set/b/\u{fc}ber.png", Meaning::Here(5)),
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
            let images = Images::of(&data, Part::Pool, false).unwrap();
            match images.find("a/0.png") {
                Meaning::Here(position) => Some(position),
                _ => None,
            }
        };
        assert_eq!((of(true), of(false)), (Some(0), None));
    }
}
