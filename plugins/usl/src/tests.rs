use super::*;
use coldstart_plugin_api::testing::TestHost;

fn ids(host: &TestHost, params: &str, budget: usize) -> Vec<u64> {
    let selection = host.select::<Usl>(params, budget).unwrap();
    assert_eq!((selection.scores.len(), host.tensors_left()), (selection.ids.len(), 0));
    assert!(selection.scores.iter().all(|score| score.is_finite()));
    selection.ids
}

/// A circle's points at these angles, in radians.
fn circle(angles: &[f32]) -> Vec<[f32; 2]> {
    angles.iter().map(|angle| [angle.cos(), angle.sin()]).collect()
}

#[test]
fn a_sample_of_references_has_as_many_neighbours_as_its_share() {
    for (k, n_references, n, expected) in
        [(400, 50_000, 50_000, 400), (400, 50_000, 1_000_000, 20), (400, 10, 10, 10), (5, 10, 1000, 2), (3, 1, 1, 1)]
    {
        assert_eq!(neighbours(k, n_references, n), expected);
    }
    for (n, expected) in [(1, 10), (60, 10), (3000, 24), (5000, 40), (50_000, 400), (60_000, 400), (1_000_000, 400)] {
        assert_eq!(share_of_neighbours(n), expected, "{n}");
    }
    let drawn = references(100, 7, Rng::from_seed([1; 32]));
    assert!(drawn.len() == 7 && drawn.is_sorted() && drawn.iter().all(|i| *i < 100));
    assert_eq!(references(7, 7, Rng::from_seed([1; 32])), [0, 1, 2, 3, 4, 5, 6]);
}

/// The method word for word, with distances of all pairs, of points at unit length and their clusters.
fn slow(points: &[[f32; 2]], cluster_n: &[usize], params: &UslParams) -> Vec<usize> {
    let squared =
        |i: usize, j: usize| f64::from(points[i].iter().zip(points[j]).map(|(a, b)| (a - b) * (a - b)).sum::<f32>());
    let n = points.len();
    let density = |i: usize| {
        let distance = |j: usize| if params.distance == Distance::Plain { squared(i, j).sqrt() } else { squared(i, j) };
        let mut all: Vec<f64> = (0..n).map(distance).collect();
        all.sort_by(f64::total_cmp);
        let k = (params.neighbours.unwrap_or(10) as usize).min(n);
        (k as f64 / all[..k].iter().sum::<f64>()).min(1e5)
    };
    let mut repulsion = vec![0.0; n];
    let mut chosen = Vec::new();
    for round in 0..params.rounds {
        for i in (0..n).filter(|_| round > 0) {
            let others = chosen.iter().filter(|j| cluster_n[**j] != cluster_n[i]);
            let near = others.map(|j| squared(i, *j)).filter(|squared| *squared < params.horizon);
            let sum: f64 = near.map(|squared| 1.0 / squared.powf(params.alpha)).sum();
            repulsion[i] = params.momentum * repulsion[i] + (1.0 - params.momentum) * sum;
        }
        let score = |i: usize| density(i) - params.weight * repulsion[i];
        let n_clusters = cluster_n.iter().max().unwrap() + 1;
        let best = |cluster: usize| {
            let members = (0..n).filter(|i| cluster_n[*i] == cluster);
            members.reduce(|best, i| if score(i) > score(best) { i } else { best }).unwrap()
        };
        chosen = (0..n_clusters).map(best).collect();
        chosen.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
    }
    chosen
}

/// Angles drawn at random have no ties that f32 and f64 could decide differently. Three clusters: the test host's k-means
/// begins at the first three points, which lie far apart.
#[test]
fn choices_equal_a_slow_reference() {
    let mut rng = Rng::from_seed([3; 32]);
    for case in 0..20 {
        let angles: Vec<f32> = (0..30).map(|i| (2.0 * f64::from(i % 3) + rng.uniform()) as f32).collect();
        let points = circle(&angles);
        let cluster_n: Vec<usize> = (0..30).map(|i| i % 3).collect();
        for json in [
            r#"{"neighbours": 5}"#,
            r#"{"neighbours": 5, "weight": 1, "alpha": 1, "horizon": 1}"#,
            r#"{"neighbours": 3, "weight": 20, "momentum": 0.5, "rounds": 4}"#,
            r#"{"weight": 0}"#,
            "{}",
            r#"{"distance": "plain", "neighbours": 7}"#,
            r#"{"rounds": 1}"#,
        ] {
            let rows: [[f32; 2]; 30] = points.clone().try_into().unwrap();
            let host = TestHost::new(30).round(0).representation(&rows);
            let expected = slow(&points, &cluster_n, &UslParams::from_json(json).unwrap());
            assert_eq!(ids(&host, json, 3), expected.iter().map(|i| *i as u64).collect::<Vec<_>>(), "{case} {json}");
        }
    }
}

/// Two neighbours and the image itself: the mean is of three.
#[test]
fn density_is_of_squared_distances_or_of_distances() {
    let usl =
        |distance: &str| Usl { params: UslParams::from_json(&format!(r#"{{"distance": "{distance}"}}"#)).unwrap() };
    for (distances, plain, squared) in
        [(&[0.1, 1.1][..], 3.0 / 1.2, 3.0 / 1.22), (&[0.5, 0.5], 3.0, 6.0), (&[0.0, 0.0], 1e5, 1e5), (&[], 1e5, 1e5)]
    {
        for (name, expected) in [("plain", plain), ("squared", squared)] {
            let found = usl(name).inverse_mean(distances.iter().copied(), 3);
            // A few roundings of f64.
            assert!((found / expected - 1.0).abs() < 1e-12, "{name}: {found} {expected}");
        }
    }
    let default = UslParams::from_json("{}").unwrap();
    assert!(default.distance == Distance::Squared && default.neighbours.is_none());
}

#[test]
fn clusters_do_not_choose_side_by_side() {
    // Two clusters meet at 1; each is densest there.
    let angles = [0.0f32, 2.0, 0.9, 0.95, 1.05, 1.1, 0.92, 1.08, 0.5, 1.5, 0.45, 1.55];
    let rows: [[f32; 2]; 12] = circle(&angles).try_into().unwrap();
    let gap = |params: &str| {
        let ids = ids(&TestHost::new(12).round(0).representation(&rows), params, 2);
        (angles[ids[0] as usize] - angles[ids[1] as usize]).abs()
    };
    assert!(gap(r#"{"neighbours": 4, "distance": "plain", "weight": 0}"#) < 0.3);
    assert!(gap(r#"{"neighbours": 4, "distance": "plain", "weight": 50}"#) > 0.8);
}

#[test]
fn every_budget_is_met_with_distinct_unlabelled_images() {
    for (host, labelled) in [
        (TestHost::plausible(30, 3, 1), &[][..]),
        (TestHost::plausible(30, 3, 1), &[0, 3, 7]),
        (TestHost::plausible(30, 1, 2), &[29]),
        (TestHost::plausible(30, 3, 3).all_alike(), &[]),
    ] {
        let host = host.labelled(labelled).round(0);
        let left = 30 - labelled.len();
        for params in ["{}", r#"{"references": 2}"#, r#"{"neighbours": 4, "alpha": 10, "weight": 100}"#] {
            for budget in [0, 1, 7, left - 1, left] {
                let mut ids = ids(&host, params, budget);
                assert!(ids.iter().all(|id| !labelled.contains(id)));
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), budget);
            }
        }
    }
    assert_eq!(ids(&TestHost::plausible(1, 1, 1).round(0), "{}", 1), [0]);
}

#[test]
fn images_that_are_all_the_same_go_to_the_lowest_id() {
    let host = TestHost::plausible(9, 2, 1).all_alike().round(0);
    assert_eq!(ids(&host, "{}", 4), [0, 1, 2, 3]);
}

#[test]
fn the_order_of_the_pool_does_not_matter() {
    let host = || TestHost::plausible(60, 4, 5).round(0);
    let shuffled = host().shuffled(9);
    let params = r#"{"neighbours": 7}"#;
    assert_eq!(ids(&host(), params, 1), [shuffled.image_of(ids(&shuffled, params, 1)[0])]);
    assert_eq!(ids(&host(), params, 12), ids(&host(), params, 12));
}
