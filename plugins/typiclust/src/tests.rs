use super::*;
use coldstart_plugin_api::testing::TestHost;

fn select(host: &TestHost, params: &str, budget: usize) -> Selection {
    let selection = host.select::<TypiClust>(params, budget).unwrap();
    assert_eq!((selection.scores.len(), host.tensors_left()), (selection.ids.len(), 0));
    selection
}

fn ids(host: &TestHost, params: &str, budget: usize) -> Vec<u64> {
    select(host, params, budget).ids
}

/// Points on the unit circle at these degrees, at any length.
fn circle<const N: usize>(degrees: [f32; N]) -> TestHost {
    let at = |degrees: f32| [5.0 * degrees.to_radians().cos(), 5.0 * degrees.to_radians().sin()];
    TestHost::new(N as u64).representation(&degrees.map(at))
}

/// Group A has the images 0 and 3..9 near 0 degrees, B 1 and 9..15 near 120, C 2, 15 and 16 near 240.
fn groups() -> TestHost {
    circle([0.0, 120.0, 240.0, 1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 121.0, 122.5, 123.0, 124.0, 125.0, 130.0, 241.0, 242.0])
}

/// The most typical of A is image 4, at 2 degrees, or 5, at 3; chords of equal angles differ in their last bits.
#[test]
fn clusters_take_turns_by_labels_then_size_and_the_small_wait() {
    let group = |id: u64| match id {
        0 | 3..9 => 'A',
        1 | 9..15 => 'B',
        _ => 'C',
    };
    let turns = |labelled: &[u64], budget| {
        ids(&groups().labelled(labelled), r#"{"max_clusters": 3}"#, budget).into_iter().map(group).collect::<String>()
    };
    assert_eq!(turns(&[], 17), "ABABABABABABABCCC");
    assert_eq!(turns(&[3], 5), "BABAB");
    assert_eq!(turns(&[3, 2], 5), "BABAB");
    assert_eq!(turns(&[3, 9, 10], 4), "ABAB");
    assert_eq!(turns(&[2, 3, 4, 9], 13), "BABABABABABCC");
}

/// In the plane's test points the densest is index 0 by distance and index 6 by squared distance; here they lie on the unit
/// sphere around (0, 0, 1), so near it that chords are the plane's distances but for a factor.
#[test]
fn squared_distances_can_choose_another_image() {
    let plane = [[3.4, 3.1], [0.2, 2.6], [1.2, 1.9], [3.7, 2.9], [2.4, 0.2], [3.6, 3.7], [2.6, 2.9], [2.1, 0.2f32]];
    let sphere = plane.map(|[x, y]| [0.01 * x, 0.01 * y, 1.0]);
    let first = |params| ids(&TestHost::new(8).representation(&sphere), params, 1)[0];
    assert_eq!(first("{}"), 0);
    assert_eq!(first(r#"{"distance": "squared"}"#), 6);
    assert_eq!(first(r#"{"neighbours": 1}"#), 4, "4 and 7 are the nearest pair");
}

#[test]
fn every_budget_is_met_with_distinct_unlabelled_images() {
    for (host, labelled) in [
        (TestHost::plausible(40, 3, 1).round(0), &[][..]),
        (TestHost::plausible(40, 3, 1), &[0, 3, 7]),
        (TestHost::plausible(40, 1, 2), &[39]),
        (TestHost::plausible(40, 3, 3).all_alike(), &[4, 5]),
    ] {
        let host = host.labelled(labelled);
        let left = 40 - labelled.len();
        for params in ["{}", r#"{"max_clusters": 4, "candidates": 3}"#] {
            for budget in [0, 1, 7, left - 1, left] {
                let selection = select(&host, params, budget);
                assert!(selection.scores.iter().all(|score| score.is_finite()));
                let mut ids = selection.ids;
                assert!(ids.iter().all(|id| !labelled.contains(id)));
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), budget);
            }
        }
    }
}

#[test]
fn images_that_are_all_the_same_go_to_the_lowest_id() {
    let host = TestHost::plausible(9, 2, 1).all_alike().labelled(&[1]);
    assert_eq!(ids(&host, "{}", 4), [0, 2, 3, 4]);
    assert_eq!(ids(&host, "{}", 8), [0, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn the_order_of_the_pool_does_not_matter() {
    let host = TestHost::plausible(60, 4, 5);
    let shuffled = TestHost::plausible(60, 4, 5).shuffled(9);
    let params = r#"{"max_clusters": 1}"#;
    let images: Vec<u64> = ids(&shuffled, params, 30).into_iter().map(|id| shuffled.image_of(id)).collect();
    assert_eq!(ids(&host, params, 30), images);
    assert_eq!(ids(&host, "{}", 12), ids(&TestHost::plausible(60, 4, 5), "{}", 12));
}

#[test]
fn the_host_is_asked_once_for_each_cluster_where_that_is_enough() {
    let host = TestHost::plausible(400, 4, 5);
    ids(&host, r#"{"max_clusters": 4}"#, 8);
    let n_asked = |op: Op| host.calls().iter().filter(|call| **call == op.0).count();
    assert_eq!((n_asked(ops::KMEANS_1), n_asked(ops::NEAREST_1)), (1, 4));
}
