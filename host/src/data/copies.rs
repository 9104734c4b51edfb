//! Images that a data set holds more than once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Dataset, Split};

/// How many images have exactly the pixels of another one, in the shape in which the set is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Copies {
    /// Images of pool and validation part that repeat one before them there.
    pub pool: usize,
    /// Images of the test part that repeat one before them there.
    pub test: usize,
    /// Images of the test part that are also in the pool or in the validation part.
    pub shared: usize,
    /// Images, of all parts, whose label is not that of the first image with these pixels.
    pub other_label: usize,
}

impl Copies {
    /// Compares all images of a set.
    pub(super) fn count(data: &Dataset) -> Copies {
        let mut copies = Copies::default();
        let mut labels: HashMap<[u8; 32], u32> = HashMap::new();
        let size = data.shape.bytes();
        if !data.shape.has_pixels() {
            return copies;
        }
        let training = hashes(&data.pool, size).chain(hashes(&data.validation, size));
        for (hash, label) in training {
            let before = first_label(&mut labels, hash, label);
            copies.pool += usize::from(before.is_some());
            copies.other_label += usize::from(before.is_some_and(|first| first != label));
        }
        let mut in_test: HashMap<[u8; 32], u32> = HashMap::new();
        for (hash, label) in hashes(&data.test, size) {
            let in_pool = labels.get(&hash).copied();
            let before = first_label(&mut in_test, hash, label);
            copies.shared += usize::from(in_pool.is_some());
            copies.test += usize::from(before.is_some());
            copies.other_label += usize::from(in_pool.or(before).is_some_and(|first| first != label));
        }
        copies
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Copies::default()
    }
}

/// The label of the first image with these pixels, or `None` if this is the first.
fn first_label(labels: &mut HashMap<[u8; 32], u32>, hash: [u8; 32], label: u32) -> Option<u32> {
    match labels.entry(hash) {
        Entry::Occupied(first) => Some(*first.get()),
        Entry::Vacant(place) => {
            place.insert(label);
            None
        }
    }
}

fn hashes(part: &Split, size: usize) -> impl Iterator<Item = ([u8; 32], u32)> {
    part.pixels_nhwc.chunks_exact(size).map(|pixels| Sha256::digest(pixels).into()).zip(part.labels.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::super::unlabelled::PartlyLabelled;
    use super::*;

    #[test]
    fn copies_are_counted_within_and_across_parts() {
        let shape = [1, 1, 1].into();
        let images = PartlyLabelled {
            pixels_nhwc: vec![7, 7, 7, 8, 9],
            ids: (0..5).collect(),
            files: Vec::new(),
            n_ids: 5,
            labels: [0, 0, 1, 1, 0].map(Some).to_vec(),
            classes: ["a", "b"].map(String::from).to_vec(),
        };
        // 7 three times in the pool, once with another label; once more in the validation part.
        let mut data = images.dataset(shape);
        assert_eq!(Copies::count(&data), Copies { pool: 2, other_label: 1, ..Copies::default() });
        data.validation = Split::numbered(vec![7], vec![0]);
        // 9 is in the pool with another label, and twice in the test part; 5 is twice in the test part alone.
        data.test = Split::numbered(vec![9, 9, 5, 5, 6], vec![1, 0, 0, 1, 0]);
        assert_eq!(Copies::count(&data), Copies { pool: 3, test: 2, shared: 2, other_label: 3 });
        assert!(!Copies::count(&data).is_empty());
    }
}
