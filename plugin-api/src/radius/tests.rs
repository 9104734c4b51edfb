use super::covering::Sample;
use super::purity::distances_to_another_label;
use super::*;
use crate::testing::TestHost;
use crate::{Matrix, Rng};

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

/// Greedy balls as plainly as they can be written: the share of a line that those of the labelled and `k` more cover.
fn slowly_covered(line: &[f32], labelled: &[usize], k: usize, radius: f64) -> f64 {
    let reaches = |i: usize, j: usize| f64::from((line[i] - line[j]).abs()) < radius;
    let n = line.len();
    let mut covered_n: Vec<bool> = (0..n).map(|j| labelled.iter().any(|i| reaches(*i, j))).collect();
    for _ in 0..k {
        let gain = |i: usize| (0..n).filter(|j| !covered_n[*j] && reaches(i, *j)).count();
        let free = (0..n).filter(|i| !labelled.contains(i));
        let Some(best) = free.reduce(|best, i| if gain(i) > gain(best) { i } else { best }) else { break };
        (0..n).filter(|j| reaches(best, *j)).for_each(|j| covered_n[j] = true);
    }
    covered_n.into_iter().filter(|covered| *covered).count() as f64 / n as f64
}

/// A line of heaps, the denser the nearer to their middle.
fn heaps(n: usize, rng: &mut Rng) -> Vec<f32> {
    (0..n).map(|_| 5.0 * rng.below(4) as f32 + (rng.uniform() * rng.uniform()) as f32).collect()
}

/// What is guaranteed: enough is covered, and with a radius at most a hundredth smaller it is not. Between two distances of
/// pairs nothing changes, so that all radii in that hundredth are looked at by their distances.
#[test]
fn the_smallest_radius_that_covers_enough() {
    let mut rng = Rng::from_seed([7; 32]);
    for case in 0..24 {
        let line = heaps(20 + case, &mut rng);
        let labelled = rng.sample(line.len(), case % 4);
        let ids: Vec<u64> = labelled.iter().map(|i| *i as u64).collect();
        for (k, share) in [(1, 0.3), (2, 0.5), (3, 0.8), (4, 1.0)] {
            let rule = Covering { share, sample: 1000 };
            let find = |floor: f64| {
                on_a_line(&line, &ids, |points, places, host| {
                    rule.radius(points, places, k, floor, &host.request(k)).unwrap()
                })
            };
            let covered = |radius: f64| slowly_covered(&line, &labelled, k, radius) >= share - 1e-9;
            let found = find(0.0);
            let alone = (labelled.len() + k) as f64 >= share * line.len() as f64;
            assert_eq!(found == 0.0, alone, "{case}: {found}");
            if alone {
                continue;
            }
            let pairs = line.iter().flat_map(|a| line.iter().map(move |b| f64::from((a - b).abs())));
            let mut smaller: Vec<f64> = pairs.filter(|d| (0.99 * found..found).contains(d)).collect();
            smaller.push(0.99 * found);
            assert!(covered(found) && smaller.iter().any(|radius| !covered(*radius)), "{case}: {k} {share} {found}");
            // A floor that covers is kept, one that does not is left behind.
            for floor in [0.5 * found, 0.9 * found, found, 1.5 * found, 50.0] {
                let above = find(floor);
                let fits = if covered(floor) { above == floor } else { above > floor && covered(above) };
                assert!(fits, "{case}: {found}, not below {floor}: {above}");
            }
        }
    }
}

#[test]
fn where_there_is_nothing_to_find_the_floor_comes_back() {
    let line = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
    let find = |line: &[f32], share: f64, k: usize| {
        let rule = Covering { share, sample: 1000 };
        on_a_line(line, &[], |points, places, host| rule.radius(points, places, k, 0.25, &host.request(k)).unwrap())
    };
    assert_eq!([find(&line, 0.0, 2), find(&line, 0.5, 0), find(&line, 0.5, 4), find(&[3.0; 8], 0.5, 1)], [0.25; 4]);
    // Three balls of a little more than 1 hold three each, and one of 0.25 itself.
    let found = find(&line, 1.0, 3);
    assert!((1.0..=1.011).contains(&found), "{found}");
}

/// What ten balls cover of 1000 points with the radius that a few hundred of them found for half: greedy balls go where a sample
/// is densest by chance, hence a tenth less at most. Were the labelled to count as much as the others, which stand for four each,
/// they would be half of the sample by themselves.
#[test]
fn a_sample_stands_for_the_pool() {
    let line = heaps(1000, &mut Rng::from_seed([8; 32]));
    let mut lowest: Vec<usize> = (0..line.len()).collect();
    lowest.sort_by(|a, b| line[*a].total_cmp(&line[*b]));
    let rule = Covering { share: 0.5, sample: 1 };
    for (labelled, most) in [(&[][..], 250), (&[], 500), (&lowest[..200], 200)] {
        let ids: Vec<u64> = labelled.iter().map(|i| *i as u64).collect();
        let found = on_a_line(&line, &ids, |points, places, host| {
            let sample = Sample::of(places, most, &host.request(10));
            assert_eq!(sample.positions.len(), labelled.len() + most);
            rule.smallest(&points.gather(&sample.positions).unwrap(), &sample, 10, 0.0).unwrap()
        });
        let covered = slowly_covered(&line, labelled, 10, found);
        assert!((0.4..0.6).contains(&covered), "{}, {most}: {found} {covered}", labelled.len());
    }
}

#[test]
fn what_is_asked_for_by_two_parameters() {
    for (coverage, purity, share) in
        [(None, None, 0.5), (Some(0.8), None, 0.8), (None, Some(0.9), 0.0), (Some(0.7), Some(0.9), 0.7)]
    {
        assert_eq!(Covering::asked(coverage, purity, 9), Covering { share, sample: 9 });
    }
}

/// Balls of 1.5 on a line hold two or three of ten points that are 1 apart, and one of the two others.
#[test]
fn a_reach_is_told_in_words() {
    let line = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 50.0, 60.0];
    let reach = |labelled: &[u64], radius: f64, n_picked: usize, share: f64| {
        on_a_line(&line, labelled, |points, places, _| Reach::of(points, places, radius, n_picked, share).unwrap())
    };
    for (reach, told) in [
        (reach(&[], 1.5, 2, 0.5), "2 balls of radius 1.500 cover 50.0 % of the pool; the median ball holds 3 images"),
        (
            reach(&[], 0.5, 1, 1.0 / 12.0),
            "1 ball of radius 0.500 covers 8.3 % of the pool; the median ball holds 1 image",
        ),
        (
            reach(&[4], 1.5, 1, 0.5),
            "1 ball of radius 1.500 and that of the labelled image cover 50.0 % of the pool; the median ball holds 3 images",
        ),
        (
            reach(&[4, 9], 0.001, 0, 0.0),
            "0 balls of radius 1.00e-3 and those of 2 labelled images cover 0.0 % of the pool; the median ball holds 1 image",
        ),
    ] {
        assert_eq!(reach.to_string(), told);
    }
    let host = TestHost::new(2).representation(&[[0.0], [1.0]]).without(crate::ops::KERNEL_SUMS_1);
    let places = Places::of(&host.request(1));
    let seen = Host::new(host.as_host());
    let reach = Reach::of(&places.features(&seen, false).unwrap(), &places, 1.0, 1, 0.5).unwrap();
    assert_eq!(reach.to_string(), "1 ball of radius 1.000 covers 50.0 % of the pool");
}
