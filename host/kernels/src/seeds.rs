//! Seeds drawn by squared distance: the start of k-means++, and BADGE's choice of gradients.

use crate::closest::{Closest, Cloud};
use crate::error::{Result, bad};
use crate::points::TILE;
use crate::{GoOn, check};
use coldstart_plugin_api::Rng;
use rayon::prelude::*;

/// Candidates drawn at once. More of them make fewer passes over the points, but later ones are refused more often.
const BLOCK: usize = 64;

/// The first of the points that k-means++ draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Any point, each as probable.
    Drawn,
    /// The point of the largest Euclidean length; of equal ones the lowest position.
    LargestNorm,
}

/// `k` positions drawn one by one, each with a chance in proportion to its squared distance to the nearest drawn before, in the
/// order drawn (Arthur and Vassilvitskii 2007).
///
/// None is drawn twice; where every distance is 0, any other point is as probable as the next. Errs when there are fewer
/// points, or when one is not finite.
pub fn kmeans_pp(cloud: &Cloud<'_>, k: usize, first: First, rng: &mut Rng, go_on: GoOn<'_>) -> Result<Vec<usize>> {
    cloud.check()?;
    Ok(draw(cloud, k, first, rng, go_on)?.0)
}

/// The same, with what is known of each point's closest one; the last few drawn may not be counted there yet.
///
/// A pass over the points is dear, a comparison of two points cheap. So a block of candidates is drawn from the chances
/// of now, and one after the other is accepted with the share of its chance that those accepted before it leave: distances
/// only fall, and so an accepted one has exactly the chance that drawing it after all of them would give it. The points
/// are then brought up to date with all accepted ones in one pass.
pub(crate) fn draw<'a>(
    cloud: &Cloud<'a>,
    k: usize,
    first: First,
    rng: &mut Rng,
    go_on: GoOn<'_>,
) -> Result<(Vec<usize>, Closest<'a>, Vec<usize>)> {
    let n = cloud.n();
    if k > n {
        return bad(format!("{n} points do not give {k} seeds"));
    }
    let mut closest = Closest::new(*cloud)?;
    if k == 0 {
        return Ok((Vec::new(), closest, Vec::new()));
    }
    let mut chosen = vec![match first {
        First::Drawn => rng.below(n as u64) as usize,
        First::LargestNorm => longest(closest.squares()),
    }];
    let mut fresh = chosen.clone();
    while chosen.len() < k {
        check(go_on)?;
        closest.add(&fresh)?;
        let chances = Chances::new(&closest.away_n);
        if chances.total == 0.0 {
            fresh.clear();
            chosen.extend(any_others(n, &chosen, k - chosen.len(), rng));
            break;
        }
        let candidates: Vec<usize> = (0..BLOCK).map(|_| chances.position(rng.uniform())).collect();
        fresh = accept(&closest, &candidates, k - chosen.len(), rng)?;
        chosen.extend(&fresh);
    }
    Ok((chosen, closest, fresh))
}

/// The candidates that are kept, in order; the first one always is.
fn accept(closest: &Closest<'_>, candidates: &[usize], at_most: usize, rng: &mut Rng) -> Result<Vec<usize>> {
    let gathered = closest.cloud.gather(candidates);
    let cloud = gathered.cloud()?;
    let mut accepted: Vec<usize> = Vec::new();
    for (j, i) in candidates.iter().enumerate() {
        let to_accepted = accepted.iter().map(|other| cloud.squared_distance(j, &cloud, *other));
        let before = closest.away_n[*i];
        let now = to_accepted.fold(before, f32::min);
        if rng.uniform() * f64::from(before) < f64::from(now) {
            accepted.push(j);
        }
        if accepted.len() == at_most {
            break;
        }
    }
    Ok(accepted.into_iter().map(|j| candidates[j]).collect())
}

fn longest(square_n: &[f32]) -> usize {
    let further = |best: usize, i: usize| if square_n[i] > square_n[best] { i } else { best };
    (0..square_n.len()).fold(0, further)
}

/// Some of the points that are not chosen, each as probable.
fn any_others(n: usize, chosen: &[usize], k: usize, rng: &mut Rng) -> Vec<usize> {
    let mut is_chosen = vec![false; n];
    chosen.iter().for_each(|i| is_chosen[*i] = true);
    let others: Vec<usize> = (0..n).filter(|i| !is_chosen[*i]).collect();
    rng.sample(others.len(), k).into_iter().map(|other| others[other]).collect()
}

/// Chances in proportion to weights, summed tile by tile.
struct Chances<'a> {
    weight_n: &'a [f32],
    tiles: Vec<f64>,
    total: f64,
}

impl Chances<'_> {
    fn new(weight_n: &[f32]) -> Chances<'_> {
        let sum = |weights: &[f32]| weights.iter().map(|weight| f64::from(*weight)).sum::<f64>();
        let tiles: Vec<f64> = weight_n.par_chunks(TILE).with_min_len(16).map(sum).collect();
        let total = tiles.iter().sum();
        Chances { weight_n, tiles, total }
    }

    /// The position below which a share of `at` of the total lies.
    fn position(&self, at: f64) -> usize {
        let mut left = at * self.total;
        for (tile, sum) in self.tiles.iter().enumerate() {
            if left < *sum {
                let start = tile * TILE;
                let weights = &self.weight_n[start..self.weight_n.len().min(start + TILE)];
                for (i, weight) in weights.iter().enumerate() {
                    left -= f64::from(*weight);
                    if left < 0.0 {
                        return start + i;
                    }
                }
                left = 0.0;
            } else {
                left -= sum;
            }
        }
        // Rounding may leave a rest behind the last point: then the last one with any weight is meant.
        self.weight_n.iter().rposition(|weight| *weight > 0.0).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::points::Points;
    use crate::testing::{cloud, on, on_threads};
    use std::collections::BTreeMap;

    /// The chance of each order in which `k` points can be drawn one by one.
    fn orders(cloud: &Cloud<'_>, k: usize, drawn: Vec<usize>, chance: f64, into: &mut BTreeMap<Vec<usize>, f64>) {
        if drawn.len() == k {
            into.insert(drawn, chance);
            return;
        }
        let to = |i: usize| drawn.iter().map(move |j| f64::from(cloud.squared_distance(i, cloud, *j)));
        let weights: Vec<f64> = (0..cloud.n()).map(|i| to(i).fold(f64::INFINITY, f64::min).min(1e9)).collect();
        for i in (0..cloud.n()).filter(|i| weights[*i] > 0.0) {
            let next = [&drawn[..], &[i]].concat();
            orders(cloud, k, next, chance * weights[i] / weights.iter().sum::<f64>(), into);
        }
    }

    /// Each of the orders comes as often as its chance says: the count of a binomial stays within five standard
    /// deviations, and within five where a Poisson's tail is longer than that.
    #[test]
    fn draws_have_the_chances_of_one_by_one() {
        let (line, pairs) =
            ([0.0, 1.0, 1.5, 4.0, 4.2, 9.0], [1.0, 0.0, 0.5, 1.0, -1.0, 0.3, 0.7, 0.7, 0.0, 2.0, 1.0, 1.0]);
        let (line, pairs) = (Points::new(&line, 1).unwrap(), Points::new(&pairs, 2).unwrap());
        let mut rng = Rng::from_seed([6; 32]);
        for cloud in [Cloud::Dense(line), Cloud::Outer(pairs, line), Cloud::Outer(pairs, pairs)] {
            let (mut expected, mut counts) = (BTreeMap::new(), BTreeMap::<Vec<usize>, f64>::new());
            orders(&cloud, 3, Vec::new(), 1.0, &mut expected);
            let trials = 30_000;
            for _ in 0..trials {
                *counts.entry(kmeans_pp(&cloud, 3, First::Drawn, &mut rng, &on).unwrap()).or_default() += 1.0;
            }
            assert!(counts.keys().all(|order| expected.contains_key(order)), "drawn twice, or with no chance");
            for (order, chance) in expected {
                let (mean, count) = (chance * f64::from(trials), counts.get(&order).copied().unwrap_or(0.0));
                assert!((count - mean).abs() <= 5.0 * mean.sqrt() + 5.0, "{order:?}: {count} instead of {mean}");
            }
        }
    }

    #[test]
    fn seeds_are_distinct_and_the_same_on_any_number_of_threads() {
        let mut rng = Rng::from_seed([8; 32]);
        for (n, d, steps) in [(1, 1, None), (40, 1, Some(1.0)), (600, 30, None), (700, 3, Some(1.0))] {
            let rows = cloud(n, d, 5, steps, &mut rng);
            let points = Points::new(&rows, d).unwrap();
            for (k, cloud) in [0, 1, n / 2, n - 1, n]
                .into_iter()
                .flat_map(|k| [(k, Cloud::Dense(points)), (k, Cloud::Outer(points, points))])
            {
                for first in [First::Drawn, First::LargestNorm] {
                    let mut seeds =
                        on_threads(&|| kmeans_pp(&cloud, k, first, &mut Rng::from_seed([1; 32]), &on).unwrap());
                    if let (First::LargestNorm, Some(first)) = (first, seeds.first()) {
                        let square_n = points.squares();
                        assert!(
                            square_n
                                .iter()
                                .enumerate()
                                .all(|(i, s)| (*s, *first) < (square_n[*first], i) || i == *first)
                        );
                    }
                    seeds.sort_unstable();
                    seeds.dedup();
                    assert_eq!(seeds.len(), k);
                }
            }
        }
    }

    /// All others are as probable as the next: 6000 draws of 4, a count of 2000 has a standard deviation of 37.
    #[test]
    fn equal_points_are_drawn_uniformly() {
        let (rows, zeros) = ([2.0; 4], [0.0; 4]);
        let points = Points::new(&rows, 1).unwrap();
        let mut rng = Rng::from_seed([3; 32]);
        for cloud in
            [Cloud::Dense(points), Cloud::Outer(points, points), Cloud::Outer(Points::new(&zeros, 1).unwrap(), points)]
        {
            let mut counts = [0i32; 4];
            for _ in 0..6000 {
                let seeds = kmeans_pp(&cloud, 2, First::LargestNorm, &mut rng, &on).unwrap();
                assert_eq!(seeds[0], 0);
                counts[seeds[1]] += 1;
            }
            assert!(counts[0] == 0 && counts[1..].iter().all(|count| (count - 2000).abs() < 190), "{counts:?}");
        }
    }

    /// Printed once by this very test, and kept: stored results rest on the order in which chance is asked.
    #[test]
    fn draws_never_change() {
        let rows: Vec<f32> = (0..200).map(|i| (i * i % 211) as f32).collect();
        let points = Points::new(&rows, 1).unwrap();
        let seeds = kmeans_pp(&Cloud::Dense(points), 8, First::Drawn, &mut Rng::from_seed([1; 32]), &on).unwrap();
        assert_eq!(seeds, [59, 190, 137, 176, 16, 75, 22, 138]);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let rows = [0.0, 1.0, 2.0, 3.0];
        let (points, fewer) = (Points::new(&rows, 1).unwrap(), Points::new(&rows, 2).unwrap());
        let ask = |cloud, k, go_on: GoOn<'_>| kmeans_pp(&cloud, k, First::Drawn, &mut Rng::from_seed([0; 32]), go_on);
        assert!(matches!(ask(Cloud::Dense(points), 5, &on), Err(Error::Input(_))));
        assert!(matches!(ask(Cloud::Outer(points, fewer), 1, &on), Err(Error::Input(_))));
        assert_eq!(ask(Cloud::Dense(points), 2, &|| false), Err(Error::Cancelled));
    }
}
