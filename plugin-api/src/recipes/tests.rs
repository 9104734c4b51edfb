use super::*;
use crate::Matrix;
use crate::testing::TestHost;

/// Points whose coordinates are tenths, so that many distances are equal.
fn quantised(n: usize, d: usize, rng: &mut Rng) -> Matrix {
    Matrix::new((0..n * d).map(|_| rng.below(12) as f32 / 10.0).collect(), d).unwrap()
}

fn kmeans(clusters: u32) -> KMeansArgs {
    KMeansArgs { clusters, iterations: 50, restarts: 1, tolerance: 0.0, stream: "clusters".to_owned() }
}

fn typical(max_clusters: u32, neighbours: usize, squared: bool) -> Typical {
    Typical { max_clusters, neighbours, squared, candidates: 1000, iterations: 50, restarts: 1 }
}

/// As the kit's test host and the kernels say: the root of the f32 sum of squared differences.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
}

#[test]
fn ids_have_their_positions_in_the_pool() {
    for (ids, expected) in [(&[3, 5, 9][..], &[0, 1, 3][..]), (&[], &[]), (&[7], &[2]), (&[3, 5, 7, 9], &[0, 1, 2, 3])]
    {
        assert_eq!(positions(ids, &[3, 5, 7, 9]), expected);
    }
}

#[test]
fn clusters_give_their_cheapest_in_turn() {
    let cluster_n = [0, 0, 0, 1, 1, 3, 3];
    let cost_n = [3.0, 1.0, 2.0, 0.5, 0.5, 9.0, 0.5];
    for (free, spent, expected) in [
        (&[0, 1, 2, 3, 4, 5, 6][..], &[][..], &[3, 6, 1, 4, 2, 5, 0][..]),
        (&[0, 1, 2, 4, 5, 6], &[3], &[6, 1, 4, 2, 5, 0]),
        (&[0, 1, 2, 5, 6], &[3, 4], &[6, 1, 2, 5, 0]),
        (&[2, 5], &[0, 1], &[5, 2]),
        (&[], &[0], &[]),
    ] {
        for budget in 0..=free.len() + 1 {
            assert_eq!(in_turns(&cluster_n, &cost_n, free, spent, budget), expected[..budget.min(expected.len())]);
        }
    }
}

/// Three groups on a line; their centres are 1, 11 and 30.5, all of them exact in f32.
#[test]
fn centres_give_the_free_points_nearest_to_them() {
    let host = TestHost::new(0);
    let host = Host::new(host.as_host());
    let points = host.points(&Matrix::new(vec![0.0, 10.0, 30.0, 1.25, 11.5, 31.0, 1.75, 11.5], 1).unwrap()).unwrap();
    let all: Vec<usize> = (0..8).collect();
    for (free, spent, expected) in [
        (&all[..], &[][..], &[3, 2, 4, 5, 7, 6, 0, 1][..]),
        (&[0, 1, 2, 6, 7], &[3, 4, 5], &[2, 7, 6, 0, 1]),
        (&[0, 1, 2, 5, 6], &[3, 4, 7], &[2, 5, 6, 0, 1]),
    ] {
        for budget in 0..=free.len() {
            let picks = nearest_to_centres(&points, &kmeans(3), free, spent, budget).unwrap();
            assert_eq!(picks.positions, expected[..budget]);
        }
    }
    let picks = nearest_to_centres(&points, &kmeans(3), &all, &[], 3).unwrap();
    assert_eq!(picks.scores, [0.25, 0.5, 0.5]);
}

/// Computed from the definition; six digits are given.
#[test]
fn typicality_equals_the_closed_form() {
    let line = [0.0, 1.0, 1.5, 2.0, 6.0, 7.0].map(|x| [x, 0.0]);
    let plane = [[3.4, 3.1], [0.2, 2.6], [1.2, 1.9], [3.7, 2.9], [2.4, 0.2], [3.6, 3.7], [2.6, 2.9], [2.1, 0.2f32]];
    for (points, k, squared, expected) in [
        (&line[..], 3, false, &[0.666662, 1.199986, 1.199986, 0.857136, 0.315788, 0.260869][..]),
        (&line, 3, true, &[0.413791, 1.333316, 1.090897, 0.571425, 0.080537, 0.053333]),
        (&plane, 4, false, &[0.9251, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8121]),
        (&plane, 4, true, &[0.5340, 0.0, 0.0, 0.0, 0.0, 0.0, 0.6163]),
    ] {
        for (i, expected) in expected.iter().enumerate().filter(|(_, expected)| **expected > 0.0) {
            let mut distances: Vec<f32> = points.iter().map(|point| distance(point, &points[i])).collect();
            distances.remove(i);
            distances.sort_by(f32::total_cmp);
            let found = typical(1, k, squared).typicality(distances.into_iter(), k).unwrap();
            let half_a_digit = if k == 3 { 1e-6 } else { 6e-5 };
            assert!((found - expected).abs() < half_a_digit, "{i}: {found} {expected}");
        }
        let host = TestHost::new(0);
        let host = Host::new(host.as_host());
        let points = host.points(&Matrix::new(points.concat(), 2).unwrap()).unwrap();
        let picks = typical(1, k, squared).picks(&points, &[], 1, Rng::from_seed([0; 32])).unwrap();
        let first = (0..expected.len()).fold(0, |best, i| if expected[i] > expected[best] { i } else { best });
        assert_eq!(picks.positions, [first]);
    }
}

/// The method word for word: a turn for each pick, every distance made anew.
fn slow(points: &Matrix, cluster_n: &[usize], labelled: &[usize], budget: usize, args: &Typical) -> Vec<usize> {
    let n_clusters = cluster_n.iter().max().unwrap() + 1;
    let all = |cluster: usize| (0..cluster_n.len()).filter(move |i| cluster_n[*i] == cluster);
    let mut order: Vec<usize> = (0..n_clusters).collect();
    let n_labelled = |cluster: usize| all(cluster).filter(|i| labelled.contains(i)).count();
    order.sort_by_key(|cluster| (n_labelled(*cluster), Reverse(all(*cluster).count())));
    let (large, small): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|cluster| all(*cluster).count() > 5);
    let mut picked: Vec<usize> = Vec::new();
    for order in [large, small] {
        for cluster in order.iter().cycle().take(order.len() * cluster_n.len()) {
            let left: Vec<usize> = all(*cluster).filter(|i| !labelled.contains(i) && !picked.contains(i)).collect();
            if left.is_empty() || picked.len() == budget {
                continue;
            }
            let k = args.neighbours.min(left.len() / 2);
            let typicality = |i: usize| {
                let others = left.iter().filter(|j| **j != i);
                let mut near: Vec<f64> = others.map(|j| f64::from(distance(points.row(i), points.row(*j)))).collect();
                near.sort_by(f64::total_cmp);
                let sum: f64 = near[..k].iter().map(|d| if args.squared { d * d } else { *d }).sum();
                if k == 0 { 0.0 } else { 1.0 / (sum / k as f64 + 1e-5) }
            };
            let best = |best: usize, i: usize| if typicality(i) > typicality(best) { i } else { best };
            picked.extend(left.iter().copied().reduce(best));
        }
    }
    picked
}

#[test]
fn picks_equal_a_slow_reference() {
    let mut rng = Rng::from_seed([1; 32]);
    let test_host = TestHost::new(0);
    let host = Host::new(test_host.as_host());
    for case in 0..60 {
        let n = 1 + rng.below(60) as usize;
        let points = quantised(n, 1 + case % 3, &mut rng);
        let mut labelled = rng.sample(n, case % 4 * n / 4);
        labelled.sort_unstable();
        let budget = rng.below((n - labelled.len()) as u64 + 1) as usize;
        let args = typical(1 + case as u32 % 7, 1 + case % 5, case % 2 == 1);
        let n_clusters = (labelled.len() + budget).min(args.max_clusters as usize).min(n);
        if n_clusters == 0 {
            continue;
        }
        let tensor = host.points(&points).unwrap();
        let cluster_n = clusters(&tensor, &kmeans(n_clusters as u32)).unwrap();
        let picks = args.picks(&tensor, &labelled, budget, rng.clone()).unwrap();
        assert_eq!(picks.positions, slow(&points, &cluster_n, &labelled, budget, &args), "case {case}");
        assert_eq!(picks.scores.len(), budget);
    }
}

#[test]
fn of_a_large_cluster_only_some_points_are_candidates() {
    let mut rng = Rng::from_seed([2; 32]);
    let test_host = TestHost::new(0);
    let host = Host::new(test_host.as_host());
    let points = host.points(&quantised(50, 2, &mut rng)).unwrap();
    let picks = |candidates, seed| {
        let args = Typical { candidates, ..typical(2, 4, false) };
        args.picks(&points, &[0, 7], 48, Rng::from_seed([seed; 32])).unwrap().positions
    };
    for candidates in [1, 3, 50] {
        let mut all = picks(candidates, 1);
        assert_eq!(all, picks(candidates, 1));
        assert_eq!(all == picks(candidates, 2), candidates == 50);
        all.sort_unstable();
        assert_eq!(all, (0..50).filter(|i| ![0, 7].contains(i)).collect::<Vec<_>>());
    }
}
