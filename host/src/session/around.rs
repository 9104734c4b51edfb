//! What is done around a strategy, whichever it is: fewer images to choose from, chance instead of the best scores, the same
//! share for every predicted class. The strategy is asked as always; where it takes a choice among its answers, it is asked to
//! rank all that it is offered.

use crate::config::{Around, Stochastic};
use coldstart_plugin_api::{Rng, Selection};

impl Around {
    /// Whether the strategy has to rank all images, because the choice is made here.
    pub fn wants_all(self) -> bool {
        self.balance || self.stochastic.is_some()
    }
}

/// The images that the strategy may choose from, ascending.
pub fn offered(around: Around, unlabelled: &[u64], rng: &mut Rng) -> Vec<u64> {
    let mut offered = unlabelled.to_vec();
    if let Some(subsample) = around.subsample.filter(|subsample| *subsample < offered.len()) {
        rng.shuffle(&mut offered);
        offered.truncate(subsample);
        offered.sort_unstable();
    }
    offered
}

/// `budget` of a ranking, drawn without replacement: the keys of [`drawing_keys`], the highest first.
///
/// Errs with the sentence when the scores do not allow it.
pub fn drawn(ranking: Selection, how: Stochastic, budget: usize, rng: &mut Rng) -> Result<Selection, String> {
    let keys = drawing_keys(&ranking, how, rng)?;
    let mut order: Vec<usize> = (0..keys.len()).collect();
    // Of equal keys the higher rank comes first.
    order.sort_by(|a, b| keys[*b].total_cmp(&keys[*a]));
    order.truncate(budget);
    Ok(picked(&ranking, &order))
}

/// The logarithm of each image's weight plus Gumbel noise: the largest of them are a draw without replacement in proportion to
/// the weights (Kool, van Hoof and Welling 2019).
fn drawing_keys(ranking: &Selection, how: Stochastic, rng: &mut Rng) -> Result<Vec<f64>, String> {
    let scores = &ranking.scores;
    let of_rank = |i: usize| ((i + 1) as f64).ln();
    let log_weight: Vec<f64> = match how {
        Stochastic::Softrank { beta } => (0..ranking.ids.len()).map(|i| -beta * of_rank(i)).collect(),
        _ if scores.len() != ranking.ids.len() => {
            return Err("it gives no scores to draw by; try `softrank`".to_owned());
        }
        _ if scores.windows(2).any(|pair| pair[0] < pair[1]) => {
            return Err("its scores do not fall from the first image to the last; try `softrank`".to_owned());
        }
        Stochastic::Softmax { beta } => scores.iter().map(|score| beta * f64::from(*score)).collect(),
        Stochastic::Power { beta } => scores.iter().map(|score| beta * f64::from(score.max(0.0)).ln()).collect(),
    };
    Ok(log_weight.into_iter().map(|log_weight| log_weight + gumbel(rng)).collect())
}

/// Finite, so that what has no weight still comes in the order of the ranking.
fn gumbel(rng: &mut Rng) -> f64 {
    -(-(1.0 - rng.uniform()).ln()).max(f64::MIN_POSITIVE).ln()
}

/// `budget` of a ranking, an image of each class in turn and the best of each first; `class_of` the rank. A class that has no
/// more is passed over. Classes begin in the order in which the ranking names them.
pub fn balanced(ranking: &Selection, class_of: &[usize], budget: usize) -> Selection {
    let mut classes: Vec<(usize, Vec<usize>)> = Vec::new();
    for (i, class) in class_of.iter().enumerate() {
        match classes.iter_mut().find(|(known, _)| known == class) {
            Some((_, ranks)) => ranks.push(i),
            None => classes.push((*class, vec![i])),
        }
    }
    let longest = classes.iter().map(|(_, ranks)| ranks.len()).max().unwrap_or(0);
    let turns = (0..longest).flat_map(|turn| classes.iter().filter_map(move |(_, ranks)| ranks.get(turn).copied()));
    picked(ranking, &turns.take(budget).collect::<Vec<_>>())
}

fn picked(ranking: &Selection, order: &[usize]) -> Selection {
    Selection {
        ids: order.iter().map(|i| ranking.ids[*i]).collect(),
        scores: if ranking.scores.is_empty() { vec![] } else { order.iter().map(|i| ranking.scores[*i]).collect() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng(seed: u8) -> Rng {
        Rng::from_seed([seed; 32])
    }

    fn ranking(scores: &[f32]) -> Selection {
        Selection { ids: (0..scores.len() as u64).map(|i| 10 * i).collect(), scores: scores.to_vec() }
    }

    #[test]
    fn a_subsample_is_ascending_and_of_its_size() {
        let unlabelled: Vec<u64> = (0..100).map(|i| 3 * i).collect();
        for (subsample, expected) in [(None, 100), (Some(7), 7), (Some(100), 100), (Some(900), 100)] {
            let offered = offered(Around { subsample, ..Around::default() }, &unlabelled, &mut rng(1));
            assert_eq!(offered.len(), expected);
            assert!(offered.is_sorted() && offered.iter().all(|id| unlabelled.contains(id)));
        }
    }

    /// The first of three draws falls on each image in proportion to its weight. Of 4000 draws a share is off by less than five
    /// standard errors, which are at most 0.04.
    #[test]
    fn the_first_draw_follows_the_weights() {
        let (e, beta) = (std::f64::consts::E, 1.0);
        for (how, weights) in [
            (Stochastic::Power { beta }, [3.0, 2.0, 1.0]),
            (Stochastic::Power { beta: 2.0 }, [9.0, 4.0, 1.0]),
            (Stochastic::Softmax { beta }, [e * e * e, e * e, e]),
            (Stochastic::Softrank { beta }, [1.0, 0.5, 1.0 / 3.0]),
        ] {
            let (mut rng, mut counts) = (rng(2), [0.0; 3]);
            for _ in 0..4000 {
                let drawn = drawn(ranking(&[3.0, 2.0, 1.0]), how, 3, &mut rng).unwrap();
                counts[drawn.ids[0] as usize / 10] += 1.0 / 4000.0;
                let mut all = drawn.ids;
                all.sort_unstable();
                assert_eq!(all, [0, 10, 20]);
            }
            let total: f64 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(weights) {
                assert!((count - weight / total).abs() < 0.04, "{how:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn what_has_no_weight_comes_last_and_scores_that_do_not_rank_are_refused() {
        let power = Stochastic::Power { beta: 1.0 };
        for seed in 0..20 {
            let drawn = drawn(ranking(&[0.5, 0.0, -1.0]), power, 3, &mut rng(seed)).unwrap();
            assert_eq!(drawn.ids, [0, 10, 20]);
        }
        for scores in [&[1.0, 2.0][..], &[]] {
            let ranking = Selection { ids: vec![0, 10], scores: scores.to_vec() };
            assert!(drawn(ranking.clone(), power, 1, &mut rng(0)).unwrap_err().contains("softrank"));
            assert!(drawn(ranking, Stochastic::Softrank { beta: 1.0 }, 1, &mut rng(0)).is_ok());
        }
    }

    #[test]
    fn classes_take_turns_until_they_have_no_more() {
        let ranking = ranking(&[0.9, 0.8, 0.7, 0.6, 0.5]);
        for (class_of, budget, expected) in [
            (vec![2, 2, 2, 1, 1], 4, vec![0, 30, 10, 40]),
            (vec![0, 0, 0, 0, 1], 5, vec![0, 40, 10, 20, 30]),
            (vec![0, 0, 0, 0, 0], 3, vec![0, 10, 20]),
            (vec![4, 3, 2, 1, 0], 0, vec![]),
        ] {
            let found = balanced(&ranking, &class_of, budget);
            assert_eq!(found.ids, expected);
            let scores: Vec<f32> = expected.iter().map(|id| ranking.scores[*id as usize / 10]).collect();
            assert_eq!(found.scores, scores);
        }
    }
}
