//! What is drawn from whole parts: a test part, a tuning part, a long tail, validation images.

use coldstart_plugin_api::Rng;

use super::error::DataError;
use super::{Shape, Split};

/// Moves `fraction` of each class (rounded, at least one image, never all) out of `train` into a test part.
///
/// The draw does not depend on a run's seed: the test part of a set is the same in every run. Images keep the ids
/// that they had in the whole.
pub(super) fn hold_out_test(train: &mut Split, shape: Shape, n_classes: usize, fraction: f64) -> Split {
    let mut rng = Rng::for_stream([0; 32], "data.test");
    let held_out = members(&train.labels, n_classes).into_iter().flat_map(|members| {
        let share = (members.len() as f64 * fraction).round() as usize;
        let size = share.max(1).min(members.len().saturating_sub(1));
        rng.sample(members.len(), size).into_iter().map(move |i| members[i])
    });
    let held_out = held_out.collect();
    train.remove(held_out, shape)
}

/// A sentence about the classes of which a drawn test part has no image.
pub(super) fn without_test_images(classes: &[String], test: &Split) -> Option<String> {
    const NAMED: usize = 5;
    let counts = counts(&test.labels, classes.len());
    let missing: Vec<String> =
        classes.iter().zip(counts).filter(|(_, n)| *n == 0).map(|(class, _)| format!("`{class}`")).collect();
    let more = missing.len().saturating_sub(NAMED);
    let named = missing[..missing.len() - more].join(", ");
    let named = if more > 0 { format!("{named} and {more} more") } else { named };
    let sentence = "a class of one image has none in the test part, and nobody measures how well it is told";
    (!missing.is_empty()).then(|| format!("{sentence}: {named}"))
}

/// Moves `size` images, drawn at random, out of `train` into a part on which settings may be chosen.
///
/// Like a test part, it is the same in every run.
///
/// # Errors
/// [`DataError::Key`] if `train` would be left empty.
pub(super) fn hold_out_tuning(train: &mut Split, shape: Shape, size: usize) -> Result<Split, DataError> {
    hold_out(train, shape, size, "tuning", &mut Rng::for_stream([0; 32], "data.tuning"))
}

/// Thins `train` to a long tail: class c of C keeps `n_max * ratio^(-c / (C - 1))` images, rounded down and at least
/// one, where `n_max` is the size of the largest class. The images that stay are drawn at random from `seed`; the others
/// are returned.
///
/// Rounding down gives the class sizes of the usual CIFAR-LT splits (Cui et al. 2019, "Class-balanced loss").
pub(super) fn long_tail(train: &mut Split, shape: Shape, n_classes: usize, ratio: f64, seed: u64) -> Split {
    if ratio == 1.0 || n_classes < 2 {
        return Split::default();
    }
    let mut rng = Rng::for_stream(seed_bytes(seed), "data.imbalance");
    let members = members(&train.labels, n_classes);
    let n_max = members.iter().map(Vec::len).max().unwrap_or(0) as f64;
    let kept = members.into_iter().enumerate().flat_map(|(class, members)| {
        let share = n_max * ratio.powf(-(class as f64) / (n_classes - 1) as f64);
        // The last share is a whole number that powf may miss by a rounding error.
        let size = ((share + 1e-6) as usize).max(1).min(members.len());
        rng.sample(members.len(), size).into_iter().map(move |i| members[i])
    });
    let kept = train.remove(kept.collect(), shape);
    std::mem::replace(train, kept)
}

/// Replaces a share of the labels by another class, each as probable (symmetric label noise). Exactly `share` of the labels, rounded
/// to a whole number; which ones is drawn from `seed`.
pub(super) fn add_label_noise(labels: &mut [u32], n_classes: usize, share: f64, seed: u64) {
    if share == 0.0 || n_classes < 2 {
        return;
    }
    let mut rng = Rng::for_stream(seed_bytes(seed), "data.label_noise");
    let n_wrong = (share * labels.len() as f64).round() as usize;
    for position in rng.sample(labels.len(), n_wrong) {
        let steps = 1 + rng.below(n_classes as u64 - 1) as u32;
        labels[position] = (labels[position] + steps) % n_classes as u32;
    }
}

/// Moves `size` images, drawn at random from `seed`, out of `pool` into a validation part.
///
/// # Errors
/// [`DataError::Key`] if the pool would be left empty.
pub(super) fn hold_out_validation(pool: &mut Split, shape: Shape, size: usize, seed: u64) -> Result<Split, DataError> {
    hold_out(pool, shape, size, "validation", &mut Rng::for_stream(seed_bytes(seed), "data.validation"))
}

/// Moves `size` images, drawn from `rng`, out of `pool`; `key` asked for them.
fn hold_out(pool: &mut Split, shape: Shape, size: usize, key: &'static str, rng: &mut Rng) -> Result<Split, DataError> {
    if size == 0 {
        return Ok(Split::default());
    }
    if size >= pool.len() {
        let why = format!("is {size}, but the pool has only {} images", pool.len());
        return Err(DataError::key_error(key, why));
    }
    let held_out = rng.sample(pool.len(), size);
    Ok(pool.remove(held_out, shape))
}

/// How many images each class has.
pub(super) fn counts(labels: &[u32], n_classes: usize) -> Vec<usize> {
    let mut counts = vec![0; n_classes];
    for &label in labels {
        counts[label as usize] += 1;
    }
    counts
}

/// The positions of each class, ascending.
fn members(labels: &[u32], n_classes: usize) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); n_classes];
    for (position, &label) in labels.iter().enumerate() {
        members[label as usize].push(position);
    }
    members
}

fn seed_bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

impl Split {
    /// Takes the images at `positions` (in any order, without repeats) out of the part; both keep the order of ids.
    fn remove(&mut self, positions: Vec<usize>, shape: Shape) -> Split {
        let mut is_removed = vec![false; self.len()];
        for position in positions {
            is_removed[position] = true;
        }
        let removed: Vec<usize> = (0..self.len()).filter(|&i| is_removed[i]).collect();
        let part = self.copy_of(&removed, shape);
        self.keep(&is_removed, shape);
        part
    }

    /// Leaves out images; those that stay move up, so that the pixels are never there twice.
    fn keep(&mut self, is_removed: &[bool], shape: Shape) {
        let size = shape.bytes();
        let mut n_kept = 0;
        for i in (0..self.len()).filter(|&i| !is_removed[i]) {
            self.pixels_nhwc.copy_within(i * size..(i + 1) * size, n_kept * size);
            n_kept += 1;
        }
        self.pixels_nhwc.truncate(n_kept * size);
        self.pixels_nhwc.shrink_to_fit();
        retain(&mut self.ids, is_removed);
        retain(&mut self.labels, is_removed);
        retain(&mut self.files, is_removed);
    }

    fn copy_of(&self, positions: &[usize], shape: Shape) -> Split {
        let mut pixels_nhwc = Vec::with_capacity(positions.len() * shape.bytes());
        for &i in positions {
            pixels_nhwc.extend_from_slice(&self.pixels_nhwc[i * shape.bytes()..][..shape.bytes()]);
        }
        Split {
            ids: positions.iter().map(|&i| self.ids[i]).collect(),
            pixels_nhwc,
            labels: positions.iter().map(|&i| self.labels[i]).collect(),
            files: positions.iter().filter_map(|&i| self.files.get(i).cloned()).collect(),
        }
    }
}

/// Leaves out what is of removed images; there may be nothing of any.
fn retain<T>(values: &mut Vec<T>, is_removed: &[bool]) {
    let mut is_removed = is_removed.iter();
    values.retain(|_| is_removed.next() == Some(&false));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { height: 1, width: 2, channels: 1 };

    /// `sizes[c]` images of class c, in turns; the pixels of an image say its id.
    fn part(sizes: &[usize]) -> Split {
        let largest = *sizes.iter().max().unwrap();
        let labels: Vec<u32> =
            (0..largest).flat_map(|i| (0..sizes.len()).filter(move |&c| i < sizes[c])).map(|c| c as u32).collect();
        let pixels = (0..labels.len()).flat_map(|i| [(i % 256) as u8, (i / 256) as u8]).collect();
        Split::numbered(pixels, labels)
    }

    fn assert_pixels_follow_ids(split: &Split) {
        assert!(split.ids.is_sorted());
        let expected: Vec<u8> = split.ids.iter().flat_map(|&id| [(id % 256) as u8, (id / 256) as u8]).collect();
        assert_eq!(split.pixels_nhwc, expected);
    }

    #[test]
    fn a_long_tail_of_100_has_the_published_class_sizes() {
        let mut train = part(&[5000; 10]);
        let whole = train.clone();
        long_tail(&mut train, SHAPE, 10, 100.0, 1);
        assert_eq!(counts(&train.labels, 10), [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]);
        assert_pixels_follow_ids(&train);
        assert!(train.ids.iter().zip(&train.labels).all(|(&id, &label)| whole.labels[id as usize] == label));
    }

    #[test]
    fn a_long_tail_keeps_every_class_and_takes_what_is_there() {
        let mut train = part(&[50, 4, 50, 9]);
        long_tail(&mut train, SHAPE, 4, 1000.0, 1);
        assert_eq!(counts(&train.labels, 4), [50, 4, 1, 1]);
    }

    /// Exactly the share, another class each, every other class about as often: 300 wrong labels over two others, 5 standard
    /// deviations of a half each way.
    #[test]
    fn label_noise_is_symmetric_and_exact() {
        let clean = part(&[500; 3]).labels;
        let mut noisy = clean.clone();
        add_label_noise(&mut noisy, 3, 0.2, 7);
        let wrong: Vec<u32> =
            clean.iter().zip(&noisy).filter(|(was, is)| was != is).map(|(was, is)| (is + 3 - was) % 3).collect();
        assert_eq!(wrong.len(), 300);
        let next = wrong.iter().filter(|step| **step == 1).count();
        assert!((107..=193).contains(&next), "{next}");
        let mut again = clean.clone();
        add_label_noise(&mut again, 3, 0.2, 7);
        assert_eq!(noisy, again);
        add_label_noise(&mut again, 3, 0.0, 8);
        assert_eq!(noisy, again);
    }

    #[test]
    fn ratio_one_changes_nothing() {
        let mut train = part(&[7, 3]);
        long_tail(&mut train, SHAPE, 2, 1.0, 1);
        assert_eq!(train, part(&[7, 3]));
    }

    #[test]
    fn validation_is_disjoint_seeded_and_smaller_than_the_pool() {
        let drawn = |seed| {
            let mut pool = part(&[30, 20]);
            let validation = hold_out_validation(&mut pool, SHAPE, 10, seed).unwrap();
            (pool, validation)
        };
        let (pool, validation) = drawn(1);
        assert_eq!((pool.len(), validation.len()), (40, 10));
        assert!(validation.ids.iter().all(|id| !pool.ids.contains(id)));
        assert_pixels_follow_ids(&pool);
        assert_pixels_follow_ids(&validation);
        assert_eq!(drawn(1).1, validation);
        assert_ne!(drawn(2).1.ids, validation.ids);
        let error = hold_out_validation(&mut part(&[5, 5]), SHAPE, 10, 1).unwrap_err();
        assert_eq!(error.key(), Some("validation"));
    }

    #[test]
    fn a_tuning_part_is_the_same_in_every_run() {
        let mut pool = part(&[30, 20]);
        let tuning = hold_out_tuning(&mut pool, SHAPE, 10).unwrap();
        assert_eq!((pool.len(), tuning.len()), (40, 10));
        assert!(tuning.ids.iter().all(|id| !pool.ids.contains(id)));
        assert_eq!(hold_out_tuning(&mut part(&[30, 20]), SHAPE, 10).unwrap(), tuning);
        assert_eq!(hold_out_tuning(&mut pool, SHAPE, 40).unwrap_err().key(), Some("tuning"));
    }

    #[test]
    fn a_test_part_takes_its_share_of_every_class() {
        let mut train = part(&[20, 10, 2, 1]);
        let test = hold_out_test(&mut train, SHAPE, 4, 0.2);
        assert_eq!(counts(&test.labels, 4), [4, 2, 1, 0]);
        assert_eq!(counts(&train.labels, 4), [16, 8, 1, 1]);
        let classes = ["a", "b", "c", "d"].map(String::from);
        assert!(without_test_images(&classes, &test).unwrap().ends_with(": `d`"));
        assert_eq!(without_test_images(&classes[..3], &test), None);
        assert_pixels_follow_ids(&test);
    }
}
