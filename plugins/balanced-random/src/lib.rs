//! `balanced-random`: an ORACLE that looks at hidden labels and draws images at random so that every class is labelled
//! equally often. No method to use, but a bar to hold others against: what balance alone is worth.
//!
//! It reads the classes of all unlabelled images, which no fair strategy can; a config has to allow oracles, and the
//! reports of the run say that one was asked. Each image in turn comes from the class that has fewest labelled and drawn
//! images and any left, uniformly among the images of that class. Classes that have equally many take turns in an order
//! that is drawn anew in each round, so that a remainder favours none.
//!
//! Class-balanced random starts are a common reference in the literature on cold starts; there is no paper to depart from.

use coldstart_plugin_api::prelude::*;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

struct BalancedRandom;

impl Strategy for BalancedRandom {
    type Params = NoParams;

    fn new(_: NoParams, _: &Host<'_>) -> Result<Self> {
        Ok(BalancedRandom)
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let mut classes: BTreeMap<u64, Class> = BTreeMap::new();
        for class in host.labels(&request.labelled)? {
            classes.entry(class).or_default().n_labelled += 1;
        }
        let class_n = host.oracle_labels(&request.unlabelled)?;
        let n = request.unlabelled.len();
        for i in request.rng("images").sample(n, n) {
            classes.entry(class_n[i]).or_default().shuffled.push(request.unlabelled[i]);
        }
        let mut classes: Vec<Class> = classes.into_values().collect();
        request.rng("classes").shuffle(&mut classes);
        Ok(Selection::of(evenly(classes).take(request.budget).collect()))
    }
}

/// What is known of a class.
#[derive(Default)]
struct Class {
    n_labelled: usize,
    /// Its unlabelled images, in the order in which they are drawn, from the end.
    shuffled: Vec<u64>,
}

/// All images one by one, each from the class with fewest before it; of equal ones from the first.
fn evenly(mut classes: Vec<Class>) -> impl Iterator<Item = u64> {
    let fewest_first = classes.iter().enumerate().map(|(at, class)| Reverse((class.n_labelled, at)));
    let mut turns: BinaryHeap<Reverse<(usize, usize)>> = fewest_first.collect();
    std::iter::from_fn(move || {
        while let Some(Reverse((count, at))) = turns.pop() {
            if let Some(id) = classes[at].shuffled.pop() {
                turns.push(Reverse((count + 1, at)));
                return Some(id);
            }
        }
        None
    })
}

export_plugin! {
    name: "balanced-random",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: BalancedRandom,
    criterion: CHANCE,
    needs: [ORACLE_LABELS_1, LABELS_GET_1],
    cite: "Uniform sampling without replacement within each class; an oracle",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;
    use proptest::prelude::*;

    /// Image i is of class `classes[i]`.
    fn host(classes: &[u64]) -> TestHost {
        let host = TestHost::new(classes.len() as u64);
        classes.iter().enumerate().fold(host, |host, (id, class)| host.label(id as u64, *class))
    }

    fn counts(classes: &[u64], ids: &[u64]) -> Vec<usize> {
        let highest = classes.iter().max().map_or(0, |class| *class as usize + 1);
        let mut counts = vec![0; highest];
        ids.iter().for_each(|id| counts[classes[*id as usize] as usize] += 1);
        counts
    }

    proptest! {
        /// No image could move from a class to another one and leave the two less unequal.
        #[test]
        fn classes_are_as_equal_as_the_budget_allows(
            classes in prop::collection::vec(0u64..5, 1..60),
            labelled in prop::collection::vec(any::<bool>(), 60),
            share in 0.0..=1.0f64,
            seed in any::<u8>(),
        ) {
            let ids: Vec<u64> = (0..classes.len() as u64).collect();
            let (labelled, left): (Vec<u64>, Vec<u64>) = ids.into_iter().partition(|id| labelled[*id as usize]);
            let budget = (share * left.len() as f64) as usize;
            let host = host(&classes).labelled(&labelled).seed([seed; 32]);
            let drawn = host.select::<BalancedRandom>("{}", budget).unwrap().ids;
            prop_assert_eq!(drawn.len(), budget);
            let mut distinct = drawn.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), budget);
            prop_assert!(drawn.iter().all(|id| left.contains(id)));
            let (before, now, whole) = (counts(&classes, &labelled), counts(&classes, &drawn), counts(&classes, &left));
            for giver in (0..now.len()).filter(|class| now[*class] > 0) {
                for taker in (0..now.len()).filter(|class| now[*class] < whole[*class]) {
                    prop_assert!(before[giver] + now[giver] <= before[taker] + now[taker] + 1);
                }
            }
            prop_assert_eq!(host.tensors_left(), 0);
        }
    }

    #[test]
    fn rare_classes_give_all_they_have_and_others_the_rest() {
        let classes = [0, 0, 0, 0, 1, 2, 2, 2, 2, 2];
        let drawn = host(&classes).round(0).select::<BalancedRandom>("{}", 7).unwrap().ids;
        assert_eq!(counts(&classes, &drawn), [3, 1, 3]);
        let drawn = host(&classes).labelled(&[5, 6]).select::<BalancedRandom>("{}", 3).unwrap().ids;
        assert_eq!(counts(&classes, &drawn), [2, 1, 0]);
    }

    /// 2000 draws of 1 from images of two classes, three and one: the classes have a half each, an image of the first a
    /// sixth. A count's standard deviation is at most 22.4, and 112 is five of them.
    #[test]
    fn classes_are_equally_likely_and_the_images_within_one() {
        let mut counts = [0.0f64; 4];
        for i in 0..2000u16 {
            let mut seed = [0; 32];
            seed[..2].copy_from_slice(&i.to_le_bytes());
            let ids = host(&[7, 7, 2, 7]).seed(seed).select::<BalancedRandom>("{}", 1).unwrap().ids;
            counts[ids[0] as usize] += 1.0 / 2000.0;
        }
        for (count, chance) in counts.iter().zip([1.0 / 6.0, 1.0 / 6.0, 0.5, 1.0 / 6.0]) {
            assert!((count - chance).abs() < 0.056, "{counts:?}");
        }
    }

    #[test]
    fn the_seed_alone_decides() {
        let draw = |seed| TestHost::plausible(500, 10, 1).seed([seed; 32]).select::<BalancedRandom>("{}", 10).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn a_host_that_allows_no_oracle_is_told_so() {
        let error = TestHost::plausible(9, 3, 1).without(ops::ORACLE_LABELS_1).select::<BalancedRandom>("{}", 1);
        assert_eq!(error.unwrap_err().code, Code::UNSUPPORTED);
    }
}
