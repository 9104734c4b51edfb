use super::*;
use coldstart_plugin_api::testing::TestHost;

/// Twelve images whose loss falls with their id, except that 3 and 4 have the same one.
fn pool() -> TestHost {
    let losses = vec![4.4, 2.0, 1.0, 0.5, 0.5, 0.2, 0.1, 0.0312, 0.01, 0.0005, 9.99e-05, 1.2e-06];
    TestHost::new(12).trained("rotation", vec![vec![losses]])
}

/// Twelve images with the odd ids below 24, so that a position is never taken for an id.
fn odd_pool(losses: Vec<f32>) -> TestHost {
    TestHost::with_ids((0..12).map(|i| 2 * i + 1).collect()).trained("rotation", vec![vec![losses]])
}

fn chosen(host: &TestHost, params: &str, budget: usize) -> Vec<u64> {
    let selection = host.select::<Pt4al>(params, budget).unwrap();
    assert_eq!(host.tensors_left(), 0);
    let mut distinct = selection.ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), budget, "exactly the budget, none twice");
    selection.ids
}

#[test]
fn round_0_is_spread_over_the_first_group() {
    let host = pool().round(0);
    for (params, budget, expected) in [
        (r#"{"groups": 2}"#, 3, vec![0, 2, 4]),
        (r#"{"groups": 2}"#, 4, vec![0, 1, 3, 4]),
        (r#"{"groups": 2}"#, 6, vec![0, 1, 2, 3, 4, 5]),
        (r#"{"groups": 3, "start": "middle"}"#, 2, vec![4, 6]),
        (r#"{"groups": 3, "order": "text"}"#, 4, vec![10, 0, 1, 11]),
        // Four of the first group, then the second one's second half is reached at even distances.
        (r#"{"groups": 3}"#, 6, vec![0, 1, 2, 3, 4, 6]),
        (r#"{"groups": 3, "start": "middle"}"#, 10, vec![4, 5, 6, 7, 8, 9, 10, 11, 0, 2]),
        // More groups than images: every other group is empty.
        (r#"{"groups": 24}"#, 3, vec![0, 1, 2]),
        (r#"{"groups": 1}"#, 12, (0..12).collect()),
    ] {
        assert_eq!(chosen(&host, params, budget), expected, "{params} {budget}");
    }
}

#[test]
fn the_initial_set_of_ten_groups_skips_evenly() {
    let losses = (0..50_000).map(|i| 1.0 / (1.0 + i as f32)).collect();
    let host = TestHost::new(50_000).trained("rotation", vec![vec![losses]]).round(0);
    assert_eq!(chosen(&host, "{}", 1000), (0..1000).map(|j| 5 * j).collect::<Vec<u64>>());
    let middle: Vec<u64> = (0..1000).map(|j| 25_000 + 5 * j).collect();
    assert_eq!(chosen(&host, r#"{"start": "middle"}"#, 1000), middle);
}

/// The probability of the first class, in thousandths, makes the confidence.
fn with_confidences(host: TestHost, thousandths: [u16; 12]) -> TestHost {
    host.probabilities(&thousandths.map(|share| [f32::from(share) / 1000.0, 1.0 - f32::from(share) / 1000.0]))
}

#[test]
fn round_r_takes_the_least_confident_of_group_r() {
    let confidences = [510, 510, 510, 510, 900, 700, 600, 700, 990, 980, 970, 960];
    let host = |round| with_confidences(pool(), confidences).labelled(&[0, 2]).round(round);
    for (round, budget, expected) in [
        (1, 2, vec![6, 5]),
        (1, 3, vec![6, 5, 7]),
        (2, 1, vec![11]),
        // Group 1 is used up: group 2 gives the rest, then group 0 what is unlabelled there.
        (1, 5, vec![6, 5, 7, 4, 11]),
        (1, 10, vec![6, 5, 7, 4, 11, 10, 9, 8, 1, 3]),
        // After the last group the first one is next.
        (3, 2, vec![1, 3]),
        (3, 3, vec![1, 3, 6]),
        (4, 1, vec![6]),
    ] {
        assert_eq!(chosen(&host(round), r#"{"groups": 3}"#, budget), expected, "round {round}, {budget}");
    }
    let scores = host(1).select::<Pt4al>(r#"{"groups": 3}"#, 2).unwrap().scores;
    assert_eq!(scores, [0.6, 0.7]);
}

#[test]
fn the_order_decides_over_ids_that_are_no_positions() {
    let losses: Vec<f32> = (0..12).map(|i| ((i * 7) % 12) as f32).collect();
    let host = odd_pool(losses.clone()).labelled(&[1, 3]).round(0);
    let by_hand: Vec<u64> =
        (0..12).rev().map(|loss| losses.iter().position(|l| *l == loss as f32).unwrap() as u64 * 2 + 1).collect();
    let unlabelled: Vec<u64> = by_hand.into_iter().filter(|id| ![1, 3].contains(id)).collect();
    assert_eq!(chosen(&host, r#"{"groups": 1}"#, 10), unlabelled);
    assert_eq!(host.specs()[0].target, TrainSpec::pt4al_rotation().target);
}

#[test]
fn normalised_logits_look_at_the_direction_only() {
    // Image 0 is surer than image 1 by scale, but of the same direction; image 2 points at one class alone.
    let logits = [[30.0, 20.0, 0.0], [3.0, 2.0, 0.0], [1.0, 0.0, 0.0]];
    let host = TestHost::new(3)
        .trained("rotation", vec![vec![vec![3.0, 2.0, 1.0]]])
        .output(Output::Logits, &logits)
        .probabilities(&[[0.99, 0.01, 0.0], [0.7, 0.26, 0.04], [0.58, 0.21, 0.21]]);
    assert_eq!(chosen(&host, r#"{"groups": 1}"#, 3), [2, 1, 0]);
    assert_eq!(chosen(&host, r#"{"groups": 1, "confidence": "normalised-logits"}"#, 3), [0, 1, 2]);
}

#[test]
fn balance_gives_each_predicted_class_its_share() {
    // The first six are predicted as class 0 and less confident than any of class 1.
    let confidences = [510, 520, 530, 540, 550, 560, 200, 190, 180, 170, 160, 150];
    let host = with_confidences(pool(), confidences);
    assert_eq!(chosen(&host, r#"{"groups": 1}"#, 5), [0, 1, 2, 3, 4]);
    assert_eq!(chosen(&host, r#"{"groups": 1, "balance": true}"#, 5), [0, 1, 6, 7, 2]);
    // Group 1 of 2 has no image of class 0: its half goes to class 1.
    assert_eq!(chosen(&host, r#"{"groups": 2, "balance": true}"#, 4), [6, 7, 8, 9]);
}

#[test]
fn a_random_order_is_the_same_for_every_round_and_instance() {
    let losses = vec![1.0; 40];
    let group = |round, seed| {
        let host = TestHost::new(40).trained("rotation", vec![vec![losses.clone()]]).round(round).seed([seed; 32]);
        let host = host.probabilities(&[[0.9, 0.1]; 40]);
        let mut ids = chosen(&host, r#"{"groups": 2, "order": "random"}"#, 20);
        ids.sort_unstable();
        ids
    };
    let (first, second) = (group(0, 1), group(1, 2));
    assert!(first.iter().all(|id| !second.contains(id)));
    assert_eq!(first, group(2, 3));
    assert_ne!(first, (0..20).collect::<Vec<u64>>());
    assert_ne!(random_order(40, "one network"), random_order(40, "another"));
}

#[test]
fn the_losses_are_kept_in_the_order_of_the_groups() {
    let host = TestHost::with_ids(vec![2, 3, 5]).trained("rotation", vec![vec![vec![0.25, 4.5, 1.2e-06]]]).round(0);
    chosen(&host, r#"{"groups": 2}"#, 1);
    let table = String::from_utf8(host.artifacts()["pretext-losses.csv"].clone()).unwrap();
    assert_eq!(table, "id,loss,group\n3,4.5,0\n2,0.25,1\n5,0.0000012,1\n");
}

#[test]
fn the_pretext_is_trained_on_the_whole_pool_as_the_params_say() {
    let host = pool().labelled(&[0, 5]).round(0);
    chosen(&host, "{}", 1);
    chosen(&host, r#"{"epochs": 40, "seed": 7}"#, 1);
    let published = TrainSpec::pt4al_rotation();
    assert_eq!(host.specs()[0], published);
    // The drops of the learning rate stay where the released code has them.
    assert_eq!(host.specs()[1], TrainSpec { epochs: 40, seed: Some(7), ..published });
}

#[test]
fn params_that_make_no_sense_are_refused() {
    for params in [r#"{"groups": 0}"#, r#"{"epochs": 0}"#, r#"{"order": "ascending"}"#, r#"{"start": "easiest"}"#] {
        assert_eq!(pool().round(0).select::<Pt4al>(params, 1).unwrap_err().code, Code::BAD_PARAMS);
    }
}
