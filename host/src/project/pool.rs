//! Who is labelled, who waits for a label, and who may be chosen. Copies of an image are one image.

use super::labels::label_of_each;
use super::names::originals;
use super::{Known, Picks, ProjectError, Recognised};
use std::collections::{BTreeMap, BTreeSet};

/// The images of a project, by what is known of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Pool {
    /// The names of the labels, sorted.
    pub classes: Vec<String>,
    /// Ids of the images, ascending: of copies the first whose file is there.
    pub ids: Vec<u64>,
    /// The class of each of them that is labelled, in the same order.
    pub labels: Vec<Option<u32>>,
    /// Ids of the labelled images, ascending.
    pub labelled: Vec<u64>,
    /// Ids of the images to choose from, ascending: without a label, and not chosen before.
    pub unlabelled: Vec<u64>,
    /// How many images were chosen before and have no label yet.
    pub waiting: usize,
    /// Ids of the other files with the same content, by the id of the image; none for most.
    pub copies: BTreeMap<u64, Vec<u64>>,
}

impl Pool {
    /// Sorts out images by their labels and by the selections so far; those with a content in `dropped` are left out.
    ///
    /// Errs if copies of an image have different labels.
    pub fn new(
        found: &Recognised,
        labels: &BTreeMap<String, String>,
        rounds: &[Picks],
        dropped: &BTreeMap<String, String>,
    ) -> Result<Pool, ProjectError> {
        let images = &found.images;
        let originals = originals(images);
        let label_of_each = label_of_each(images, labels)?;
        let chosen = rounds.iter().flat_map(|picks| &picks.picks);
        let chosen: BTreeSet<usize> = chosen.filter_map(|pick| originals.get(pick.id as usize).copied()).collect();

        let is_there = |id: usize| found.places[id].is_some() && !dropped.contains_key(&images[id].sha256);
        let groups = groups(&originals, is_there);
        let ids: Vec<u64> = groups.keys().copied().collect();
        let names = ids.iter().filter_map(|id| label_of_each[*id as usize].as_ref());
        let classes: Vec<String> = names.collect::<BTreeSet<_>>().into_iter().cloned().collect();
        let class = |id: &u64| label_of_each[*id as usize].as_ref().and_then(|label| classes.binary_search(label).ok());
        let labels: Vec<Option<u32>> = ids.iter().map(|id| class(id).map(|class| class as u32)).collect();
        let (labelled, others): (Vec<u64>, Vec<u64>) =
            ids.iter().partition(|id| label_of_each[**id as usize].is_some());
        let was_chosen = |id: &u64| chosen.contains(&originals[*id as usize]);
        let (waiting, unlabelled): (Vec<u64>, Vec<u64>) = others.into_iter().partition(was_chosen);
        let copies = groups.into_iter().filter(|(_, copies)| !copies.is_empty()).collect();
        Ok(Pool { classes, ids, labels, labelled, unlabelled, waiting: waiting.len(), copies })
    }

    /// How many files are copies of an image that is in the pool.
    pub fn n_copies(&self) -> usize {
        self.copies.values().map(Vec::len).sum()
    }

    /// How many images are chosen where `size` are asked for: fewer only if as many files are left, and the rest are copies.
    ///
    /// Errs if so many cannot be chosen.
    pub fn check(&self, size: usize) -> Result<usize, ProjectError> {
        let left = self.unlabelled.len();
        let copies_left: usize = self.unlabelled.iter().filter_map(|id| self.copies.get(id)).map(Vec::len).sum();
        if size <= left {
            return Ok(size);
        }
        if left > 0 && size <= left + copies_left {
            return Ok(left);
        }
        let (labelled, waiting) = (self.labelled.len(), self.waiting);
        let message = format!(
            "{size} images cannot be chosen: {left} are left of {}, {labelled} are labelled, {waiting} were chosen and wait \
             for a label",
            self.labels.len()
        );
        Err(ProjectError::mistake(message, format!("ask for at most {left} with `--size`")))
    }

    /// How many images have each label.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        let labels = self.labels.iter().flatten();
        labels.for_each(|label| *counts.entry(self.classes[*label as usize].clone()).or_default() += 1);
        counts
    }

    /// The names of an image's copies.
    pub fn names_of_copies(&self, id: u64, images: &[Known]) -> Vec<String> {
        let copies = self.copies.get(&id).into_iter().flatten();
        copies.map(|copy| images[*copy as usize].image.clone()).collect()
    }
}

/// Of the images that are there: the first of each content, with the others that have the same.
fn groups(originals: &[usize], is_there: impl Fn(usize) -> bool) -> BTreeMap<u64, Vec<u64>> {
    let mut first_of: BTreeMap<usize, u64> = BTreeMap::new();
    let mut groups: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for id in (0..originals.len()).filter(|id| is_there(*id)) {
        match first_of.get(&originals[id]) {
            Some(first) => groups.entry(*first).or_default().push(id as u64),
            None => {
                first_of.insert(originals[id], id as u64);
                groups.insert(id as u64, Vec::new());
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Pick;

    /// Images by `name:content`, of which those with a `-` before them are not there.
    fn found(images: &[&str]) -> Recognised {
        let mut found = Recognised::default();
        for (id, image) in images.iter().enumerate() {
            let (name, sha256) = image.trim_start_matches('-').split_once(':').unwrap();
            found.images.push(Known { image: name.to_owned(), sha256: sha256.to_owned() });
            found.places.push((!image.starts_with('-')).then_some(id));
        }
        found
    }

    fn labels(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(image, label)| ((*image).to_owned(), (*label).to_owned())).collect()
    }

    fn round(ids: &[u64]) -> Picks {
        Picks { picks: ids.iter().map(|id| Pick { id: *id, ..Pick::default() }).collect(), ..Picks::default() }
    }

    #[test]
    fn an_image_is_labelled_waiting_or_to_be_chosen() {
        let found = found(&["a:1", "b:2", "c:3", "d:4"]);
        let pool = Pool::new(&found, &labels(&[("d", "z"), ("a", "y")]), &[round(&[3, 1])], &BTreeMap::new()).unwrap();
        assert_eq!(pool.classes, ["y", "z"]);
        assert_eq!(pool.labels, [Some(0), None, None, Some(1)]);
        assert_eq!((&pool.labelled[..], &pool.unlabelled[..], pool.waiting), (&[0, 3][..], &[2][..], 1));
        assert_eq!(pool.counts(), BTreeMap::from([("y".to_owned(), 1), ("z".to_owned(), 1)]));
        assert_eq!(pool.check(1).unwrap(), 1);
        let error = pool.check(2).unwrap_err().to_string();
        assert!(error.contains("1 are left of 4, 2 are labelled, 1 were chosen"), "{error}");
    }

    #[test]
    fn copies_are_labelled_and_chosen_as_one() {
        let found = found(&["a:1", "b:2", "c:1", "d:3", "e:2", "-f:4", "-g:5", "h:5"]);
        // `c` is a copy of `a`; of `g` the copy `h` is left, of `f` nothing.
        let pool = Pool::new(&found, &labels(&[("c", "y"), ("f", "x")]), &[round(&[4, 6])], &BTreeMap::new()).unwrap();
        assert_eq!((pool.ids, pool.classes), (vec![0, 1, 3, 7], vec!["y".to_owned()]));
        assert_eq!((pool.labelled, pool.unlabelled, pool.waiting), (vec![0], vec![3], 2));
        assert_eq!(pool.copies, BTreeMap::from([(0, vec![2]), (1, vec![4])]));
        // Two files are left of `b`, and one of `d`.
        let pool = Pool::new(&found, &labels(&[("c", "y"), ("g", "x")]), &[], &BTreeMap::new()).unwrap();
        assert_eq!([1, 2, 3].map(|size| pool.check(size).unwrap()), [1, 2, 2]);
        assert!(pool.check(4).is_err());
        let pool = Pool::new(&found, &labels(&[("d", "z")]), &[], &labels(&[("2", "b"), ("1", "a")])).unwrap();
        assert_eq!((pool.ids, pool.labelled, pool.unlabelled), (vec![3, 7], vec![3], vec![7]));
        let error =
            Pool::new(&found, &labels(&[("a", "x"), ("c", "y")]), &[], &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("`a` and `c` are copies, but labelled `x` and `y`"), "{error}");
    }
}
