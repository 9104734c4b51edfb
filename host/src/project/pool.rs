//! Who is labelled, who waits for a label, and who may be chosen.

use super::{Known, Picks, ProjectError};
use std::collections::{BTreeMap, BTreeSet};

/// The images of a project, by what is known of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Pool {
    /// The names of the labels, sorted.
    pub classes: Vec<String>,
    /// The class of each image that is labelled, in the order of ids.
    pub labels: Vec<Option<u32>>,
    /// Ids of the labelled images, ascending.
    pub labelled: Vec<u64>,
    /// Ids of the images to choose from, ascending: without a label, and not chosen before.
    pub unlabelled: Vec<u64>,
    /// How many images were chosen before and have no label yet.
    pub waiting: usize,
}

impl Pool {
    /// Sorts out `images` by their labels and by the selections so far.
    pub fn new(images: &[Known], labels: &BTreeMap<String, String>, rounds: &[Picks]) -> Pool {
        let classes: BTreeSet<&String> = labels.values().collect();
        let classes: Vec<String> = classes.into_iter().cloned().collect();
        let class = |known: &Known| labels.get(&known.image).and_then(|label| classes.binary_search(label).ok());
        let labels: Vec<Option<u32>> = images.iter().map(|known| class(known).map(|class| class as u32)).collect();
        let chosen: BTreeSet<u64> = rounds.iter().flat_map(|picks| &picks.picks).map(|pick| pick.id).collect();
        let (labelled, others): (Vec<u64>, Vec<u64>) =
            (0..images.len() as u64).partition(|id| labels[*id as usize].is_some());
        let (waiting, unlabelled): (Vec<u64>, Vec<u64>) = others.into_iter().partition(|id| chosen.contains(id));
        Pool { classes, labels, labelled, unlabelled, waiting: waiting.len() }
    }

    /// Errs if `size` images cannot be chosen.
    pub fn check(&self, size: usize) -> Result<(), ProjectError> {
        let left = self.unlabelled.len();
        if size <= left {
            return Ok(());
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Pick;

    #[test]
    fn an_image_is_labelled_waiting_or_to_be_chosen() {
        let images: Vec<Known> =
            ["a", "b", "c", "d"].map(|image| Known { image: image.to_owned(), sha256: String::new() }).to_vec();
        let labels = BTreeMap::from([("d".to_owned(), "z".to_owned()), ("a".to_owned(), "y".to_owned())]);
        let pick = |id: u64| Pick { rank: 1, image: String::new(), score: None, id };
        let round = Picks { picks: vec![pick(3), pick(1)], ..Picks::default() };
        let pool = Pool::new(&images, &labels, &[round]);
        assert_eq!(pool.classes, ["y", "z"]);
        assert_eq!(pool.labels, [Some(0), None, None, Some(1)]);
        assert_eq!((&pool.labelled[..], &pool.unlabelled[..], pool.waiting), (&[0, 3][..], &[2][..], 1));
        assert_eq!(pool.counts(), BTreeMap::from([("y".to_owned(), 1), ("z".to_owned(), 1)]));
        assert!(pool.check(1).is_ok());
        let error = pool.check(2).unwrap_err().to_string();
        assert!(error.contains("1 are left of 4, 2 are labelled, 1 were chosen"), "{error}");
    }
}
