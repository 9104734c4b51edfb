//! Coverings of the pool: which position an image has, how large a ball may be, which balls cover most, and what comes
//! when nothing is left to cover.

use crate::ops::{KMeansArgs, Kernel};
use crate::{Code, Coverage, Error, Host, Picks, Request, Result, Selection, Tensor};

/// How often balls are halved where larger ones cover everything.
const HALVINGS: i32 = 8;

/// The positions of a request's images in its pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Places {
    /// The ids of all images, labelled or not, ascending; an image's position is its index here.
    pub pool: Vec<u64>,
    /// Positions of the labelled images, ascending.
    pub labelled: Vec<usize>,
    /// Positions of the unlabelled images, ascending.
    pub unlabelled: Vec<usize>,
}

impl Places {
    /// The positions of this request's images.
    pub fn of(request: &Request) -> Places {
        let pool = request.pool();
        let positions = |ids: &[u64]| ids.iter().filter_map(|id| pool.binary_search(id).ok()).collect();
        Places { labelled: positions(&request.labelled), unlabelled: positions(&request.unlabelled), pool }
    }

    /// The same request as if the pool had no more than `most` images: all labelled ones, and others drawn from the stream
    /// `references`, never fewer than the budget. Time and memory of what is asked about them then end there.
    pub fn at_most(self, most: u32, request: &Request) -> Places {
        let n_drawn = (most as usize).saturating_sub(self.labelled.len()).max(request.budget);
        if n_drawn >= self.unlabelled.len() {
            return self;
        }
        let drawn = request.rng("references").sample(request.unlabelled.len(), n_drawn);
        let mut unlabelled: Vec<u64> = drawn.into_iter().map(|i| request.unlabelled[i]).collect();
        unlabelled.sort_unstable();
        Places::of(&Request { unlabelled, ..request.clone() })
    }

    /// The pool's shared representation, a row for each position, at Euclidean length 1 if `unit`. It stays in the host.
    ///
    /// Errs as [`Host::representation`] does, and if rows are missing.
    pub fn features<'h, 'a>(&self, host: &'h Host<'a>, unit: bool) -> Result<Tensor<'h, 'a>> {
        let features = self.complete(host.representation(&self.pool)?)?;
        if unit { features.unit() } else { Ok(features) }
    }

    /// The same tensor; errs if it has not a row for each position.
    pub fn complete<'h, 'a>(&self, rows: Tensor<'h, 'a>) -> Result<Tensor<'h, 'a>> {
        let (n_rows, n) = (rows.n_rows()?, self.pool.len());
        if n_rows != n {
            return Err(Error::new(Code::HOST, format!("the host gave {n_rows} rows for {n} images")));
        }
        Ok(rows)
    }

    /// The ids at these positions. Errs if there is no such position.
    pub fn ids(&self, positions: &[usize]) -> Result<Vec<u64>> {
        let missing = |i: &usize| Error::new(Code::HOST, format!("position {i} of {} images", self.pool.len()));
        positions.iter().map(|i| self.pool.get(*i).copied().ok_or_else(|| missing(i))).collect()
    }

    /// At most `most` unlabelled positions that may be picked, ascending, drawn from the stream `candidates`; never fewer
    /// than the budget, and `None` where that leaves none out.
    pub fn candidates(&self, most: u32, request: &Request) -> Option<Vec<usize>> {
        let most = request.budget.max(most as usize);
        let drawn = || {
            let drawn = request.rng("candidates").sample(self.unlabelled.len(), most);
            let mut drawn: Vec<usize> = drawn.into_iter().map(|i| self.unlabelled[i]).collect();
            drawn.sort_unstable();
            drawn
        };
        (most < self.unlabelled.len()).then(drawn)
    }

    /// These picks and their scores, filled up to the budget with images drawn from the stream `rest`, at score 0.
    ///
    /// Errs if a pick is no position of the pool.
    pub fn selection(&self, picks: &Picks, request: &Request) -> Result<Selection> {
        let n_missing = request.budget.saturating_sub(picks.positions.len());
        let mut picked = picks.positions.clone();
        picked.sort_unstable();
        let mut left = self.unlabelled.clone();
        left.retain(|i| picked.binary_search(i).is_err());
        let rest = request.rng("rest").sample(left.len(), n_missing);
        let rest: Vec<usize> = rest.into_iter().map(|l| left[l]).collect();
        let scores = [&picks.scores[..], &vec![0.0; rest.len()]].concat();
        Ok(Selection { ids: self.ids(&[&picks.positions[..], &rest].concat())?, scores })
    }
}

/// The `k` positions whose balls of this radius cover most of the pool one by one, beside the balls of the labelled; the
/// scores are the shares of the pool that they add. See [`ops::COVERAGE_1`](crate::ops::COVERAGE_1).
///
/// Where everything is covered before there are `k`, all balls are halved and it goes on, eight times at most. After that,
/// or with a radius of 0, fewer come back.
pub fn cover(
    points: &Tensor<'_, '_>,
    places: &Places,
    radius: f64,
    k: usize,
    candidates: Option<&[usize]>,
) -> Result<Picks> {
    let mut picks = Picks { positions: Vec::new(), scores: Vec::new() };
    for halvings in 0..=HALVINGS {
        if picks.positions.len() >= k || radius <= 0.0 {
            break;
        }
        let kernel = Kernel::TopHat { radius: radius / 2f64.powi(halvings) };
        let centres = [&places.labelled[..], &picks.positions].concat();
        let wanted = Coverage { centres: &centres, candidates, ..Coverage::new(k - picks.positions.len(), kernel) };
        let (more, _) = points.coverage(&wanted)?;
        picks.positions.extend(more.positions);
        picks.scores.extend(more.scores);
    }
    Ok(picks)
}

/// A rule for the radius (Yehuda et al. 2022): the largest one at which enough balls hold a single pseudo-label, which is
/// the cluster that k-means puts a point into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Purity {
    /// The share of balls that must hold a single pseudo-label.
    pub share: f64,
    /// How many pseudo-labels: the classes. At least 2 are made, since a single one bounds nothing.
    pub clusters: usize,
    /// At most so many points have their balls looked at.
    pub sample: usize,
}

impl Purity {
    /// With this share and at most so many points looked at; without a number of pseudo-labels as many as the pool has classes.
    ///
    /// Errs as [`Host::pool`] does.
    pub fn new(share: f64, clusters: Option<u32>, sample: u32, host: &Host<'_>) -> Result<Purity> {
        let clusters = match clusters {
            Some(clusters) => clusters as usize,
            None => host.pool()?.classes.len(),
        };
        Ok(Purity { share, clusters, sample: sample as usize })
    }

    /// The radius for these points, whose clusters come from the call's stream `pseudo-labels` and whose sample comes from
    /// the request's stream `purity`; 0 where all points are the same.
    ///
    /// A ball is pure as long as its radius is no more than the distance to the nearest point of another pseudo-label, so the
    /// rule is an order statistic of these distances: exact where the points are no more than the sample, and else that of
    /// the sample's distances, each exact. Asks for [`KMEANS_1`](crate::ops::KMEANS_1), [`GATHER_1`](crate::ops::GATHER_1)
    /// and [`NEAREST_1`](crate::ops::NEAREST_1).
    pub fn radius(&self, points: &Tensor<'_, '_>, request: &Request) -> Result<f64> {
        let n = points.n_rows()?;
        let clusters = self.clusters.max(2).min(n);
        if clusters < 2 {
            return Ok(0.0);
        }
        let stream = "pseudo-labels".to_owned();
        let args = KMeansArgs { clusters: clusters as u32, iterations: 50, restarts: 1, tolerance: 0.0, stream };
        let label_n = points.kmeans(&args)?.of_point;
        if label_n.len() != n {
            return Err(Error::new(Code::HOST, format!("{} of {n} points are in a cluster", label_n.len())));
        }
        let mut sample: Vec<usize> = (0..n).collect();
        if self.sample < n {
            sample = request.rng("purity").sample(n, self.sample.max(1));
            sample.sort_unstable();
        }
        let mut apart = distances_to_another_label(points, &label_n, clusters, &sample)?;
        apart.sort_unstable_by(|a, b| b.total_cmp(a));
        // A share such as 0.95 is rarely a number of its own in binary: what is meant is never a point more.
        let n_pure = (self.share * apart.len() as f64 - 1e-9).ceil() as usize;
        Ok(apart.get(n_pure.saturating_sub(1)).filter(|apart| apart.is_finite()).map_or(0.0, |apart| f64::from(*apart)))
    }
}

/// For each sampled point the distance to the nearest point of another label; infinite where there is none.
///
/// Labels differ where a digit of theirs differs, so that the passes over the points grow with the logarithm of the labels.
fn distances_to_another_label(
    points: &Tensor<'_, '_>,
    label_n: &[usize],
    n_labels: usize,
    sample: &[usize],
) -> Result<Vec<f32>> {
    const BASE: usize = 16;
    let mut apart = vec![f32::INFINITY; sample.len()];
    let mut unit = 1;
    while unit < n_labels {
        for digit in 0..BASE {
            let has = |i: usize| label_n[i] / unit % BASE == digit;
            let mine: Vec<usize> = (0..sample.len()).filter(|s| has(sample[*s])).collect();
            let others: Vec<usize> = (0..label_n.len()).filter(|i| !has(*i)).collect();
            if mine.is_empty() || others.is_empty() {
                continue;
            }
            let queries = points.gather(&mine.iter().map(|s| sample[*s]).collect::<Vec<_>>())?;
            let nearest = queries.nearest(points, 1, Some(&others))?;
            for (s, distance) in mine.iter().zip(nearest.distances_nk.elements()) {
                apart[*s] = apart[*s].min(*distance);
            }
        }
        unit *= BASE;
    }
    Ok(apart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_pool_keeps_what_is_labelled_and_enough_to_choose_from() {
        let request = Request {
            round: 1,
            budget: 4,
            seed: [3; 32],
            unlabelled: (0..30).filter(|id| id % 3 > 0).collect(),
            labelled: (0..30).step_by(3).collect(),
        };
        for (most, n) in [(0, 14), (12, 14), (17, 17), (30, 30), (99, 30)] {
            let places = Places::of(&request).at_most(most, &request);
            assert_eq!((places.pool.len(), places.labelled.len()), (n, 10), "{most}");
            assert!(places.pool.is_sorted() && places.unlabelled.len() == n - 10);
            assert_eq!(places.ids(&places.labelled).unwrap(), request.labelled);
            assert!(places.ids(&places.unlabelled).unwrap().iter().all(|id| request.unlabelled.contains(id)));
        }
    }
    use crate::testing::TestHost;
    use crate::{Matrix, Rng};

    /// A pool on a line, and its points.
    fn on_a_line<T>(line: &[f32], labelled: &[u64], ask: impl FnOnce(&Tensor, &Places, &TestHost) -> T) -> T {
        let rows: Vec<[f32; 1]> = line.iter().map(|x| [*x]).collect();
        let host = TestHost::new(line.len() as u64).representation(&rows).labelled(labelled);
        let places = Places::of(&host.request(1));
        let asked = {
            let host_seen = Host::new(host.as_host());
            ask(&places.features(&host_seen, false).unwrap(), &places, &host)
        };
        assert_eq!(host.tensors_left(), 0);
        asked
    }

    fn radius(line: &[f32], rule: Purity) -> f64 {
        on_a_line(line, &[], |points, _, host| rule.radius(points, &host.request(1)).unwrap())
    }

    /// The test host's k-means begins with the first points: its clusters are {0, 1, 2} and {10, 14}, and the distances to
    /// the other cluster 10, 8, 9, 8 and 12, all exact in f32.
    #[test]
    fn the_radius_is_the_largest_that_is_pure_enough() {
        let line = [0.0, 10.0, 1.0, 2.0, 14.0];
        for (share, expected) in [(1.0, 8.0), (0.61, 8.0), (0.6, 9.0), (0.4, 10.0), (0.2, 12.0), (0.0, 12.0)] {
            let rule = Purity { share, clusters: 2, sample: 5 };
            assert_eq!(radius(&line, rule), expected, "{share}");
        }
    }

    #[test]
    fn points_that_nothing_separates_have_no_radius() {
        for line in [&[][..], &[3.0], &[3.0; 5]] {
            let rule = Purity { share: 0.95, clusters: 1, sample: 100 };
            assert_eq!(radius(line, rule), 0.0, "{line:?}");
        }
    }

    /// Many labels, so that they have two digits; the reference looks at every pair. Both subtract the same two numbers.
    #[test]
    fn distances_equal_those_of_every_pair() {
        let mut rng = Rng::from_seed([1; 32]);
        for n_labels in [2, 15, 16, 17, 40] {
            let line: Vec<f32> = (0..80).map(|_| rng.uniform() as f32).collect();
            let label_n: Vec<usize> = (0..80).map(|_| rng.below(n_labels as u64) as usize).collect();
            let sample = rng.sample(80, 50);
            let slow = sample.iter().map(|i| {
                let others = (0..80).filter(|j| label_n[*j] != label_n[*i]);
                others.map(|j| (line[*i] - line[j]).abs()).fold(f32::INFINITY, f32::min)
            });
            let slow: Vec<f32> = slow.collect();
            let fast = on_a_line(&line, &[], |points, _, _| {
                distances_to_another_label(points, &label_n, n_labels, &sample).unwrap()
            });
            assert_eq!(fast, slow, "{n_labels}");
        }
    }

    /// Evenly spaced points in two halves: their distances to the other half are 1, 1, 2, 2 ... 100. Of a sample of 30 the
    /// rule takes the second smallest, which is 30 or more with a chance of some 4e-4; the seed is fixed.
    #[test]
    fn a_sample_stands_for_all() {
        let line: Vec<f32> = [0, 199].into_iter().chain(1..199).map(|x| x as f32).collect();
        let found = radius(&line, Purity { share: 0.95, clusters: 2, sample: 30 });
        assert!((1.0..30.0).contains(&found), "{found}");
        assert_eq!(radius(&line, Purity { share: 0.95, clusters: 2, sample: 200 }), 6.0);
    }

    /// Two balls of radius 2.5 cover the line; balls of half that leave 0 and 4, and of a quarter 1 and 11.
    #[test]
    fn balls_are_halved_where_nothing_is_left_to_cover() {
        let line = [0.0, 1.0, 2.0, 4.0, 10.0, 11.0];
        let picks = |k| on_a_line(&line, &[], |points, places, _| cover(points, places, 2.5, k, None).unwrap());
        assert_eq!(picks(2).positions, [2, 4]);
        assert_eq!(picks(9).positions, [2, 4, 0, 3, 1, 5]);
        let none = |radius| on_a_line(&line, &[], |points, places, _| cover(points, places, radius, 3, None).unwrap());
        assert!(none(0.0).positions.is_empty());
        let same = on_a_line(&[7.0; 4], &[1], |points, places, _| cover(points, places, 1.0, 2, None).unwrap());
        assert!(same.positions.is_empty());
    }

    #[test]
    fn a_selection_is_filled_up_by_chance() {
        let host = TestHost::new(6).labelled(&[1, 4]);
        let (request, picks) = (host.request(3), Picks { positions: vec![5], scores: vec![0.5] });
        let places = Places::of(&request);
        assert_eq!((&places.labelled[..], &places.unlabelled[..]), (&[1, 4][..], &[0, 2, 3, 5][..]));
        let selection = places.selection(&picks, &request).unwrap();
        assert_eq!((selection.ids[0], &selection.scores[..]), (5, &[0.5, 0.0, 0.0][..]));
        let mut rest = selection.ids[1..].to_vec();
        rest.sort_unstable();
        rest.dedup();
        assert!(rest.len() == 2 && rest.iter().all(|id| [0, 2, 3].contains(id)), "{rest:?}");
        assert!(places.selection(&Picks { positions: vec![6], scores: vec![0.0] }, &request).is_err());
        let short = Host::new(host.as_host());
        assert!(places.complete(short.points(&Matrix::new(vec![0.0; 5], 1).unwrap()).unwrap()).is_err());
    }

    #[test]
    fn candidates_are_some_of_the_unlabelled_and_no_fewer_than_the_budget() {
        let host = TestHost::new(30).labelled(&[0, 7]);
        let drawn = |most, budget| {
            let request = host.request(budget);
            Places::of(&request).candidates(most, &request)
        };
        assert_eq!((drawn(28, 1), drawn(1, 28)), (None, None));
        for (most, budget, n) in [(5, 3, 5), (5, 9, 9)] {
            let candidates = drawn(most, budget).unwrap();
            assert!(candidates.len() == n && candidates.is_sorted() && !candidates.contains(&7), "{candidates:?}");
        }
    }
}
