use super::*;
use coldstart_plugin_api::ops::KNN_1;
use coldstart_plugin_api::testing::TestHost;
use std::collections::BTreeSet;

/// Where the features of image i lie: three groups far apart, of the sizes 6, 4 and 2.
const GROUP: [usize; 12] = [0, 1, 2, 0, 0, 1, 0, 1, 2, 0, 1, 0];

/// Twelve images with odd ids, two epochs. The confidence of image i falls with i, but for 2 and 8, which are alike; its
/// variability rises with i.
fn host() -> TestHost {
    let confidence = |i: usize| 0.9 - 0.05 * (if i == 8 { 2 } else { i }) as f32;
    let epochs = [1.0, -1.0].map(|sign| (0..12).map(|i| confidence(i) + sign * 0.002 * i as f32).collect());
    let features: Vec<[f32; 2]> = (0..12).map(|i| [100.0 * GROUP[i] as f32, 0.1 * i as f32]).collect();
    TestHost::with_ids((0..12).map(|i| 2 * i + 1).collect())
        .round(0)
        .trained("moco-v2", vec![epochs.to_vec()])
        .trained_output("moco-v2", Output::Embeddings, &features)
}

fn positions(host: &TestHost, params: &str, budget: usize) -> Vec<usize> {
    let selection = host.select::<FirstChoice>(params, budget).unwrap();
    assert_eq!((host.tensors_left(), selection.ids.len()), (0, budget));
    selection.ids.iter().map(|id| (id / 2) as usize).collect()
}

/// The images of one group, in the order in which they were picked.
fn of_group(picks: &[usize], group: usize) -> Vec<usize> {
    picks.iter().copied().filter(|i| GROUP[*i] == group).collect()
}

#[test]
fn every_cluster_gives_its_first_images_in_turn() {
    for (end, expected) in [
        ("hard", [vec![11, 9, 6, 4, 3, 0], vec![10, 7, 5, 1], vec![2, 8]]),
        ("easy", [vec![0, 3, 4, 6, 9, 11], vec![1, 5, 7, 10], vec![2, 8]]),
        ("ambiguous", [vec![11, 9, 6, 4, 3, 0], vec![10, 7, 5, 1], vec![8, 2]]),
    ] {
        let params = format!(r#"{{"clusters": 3, "end": "{end}"}}"#);
        let picks = positions(&host(), &params, 12);
        assert_eq!([0, 1, 2].map(|group| of_group(&picks, group)), expected, "{end}");
        // Twice one of each, twice one of the two that have more, then what the largest has left.
        for (turn, groups) in [(0..3, 3), (3..6, 3), (6..8, 2), (8..10, 2), (10..12, 1)] {
            let distinct: BTreeSet<usize> = picks[turn].iter().map(|i| GROUP[*i]).collect();
            assert_eq!(distinct.len(), groups, "{end}: {picks:?}");
        }
        assert_eq!(positions(&host(), &params, 5), picks[..5], "a smaller budget is the beginning of a larger one");
    }
}

#[test]
fn the_seed_orders_the_clusters_and_nothing_else() {
    let picks = |seed| positions(&host().seed([seed; 32]), r#"{"clusters": 3}"#, 12);
    assert_eq!(picks(1), picks(1));
    assert!((2..12).any(|seed| picks(seed) != picks(1)));
    assert!((2..12).all(|seed| (0..3).all(|group| of_group(&picks(seed), group) == of_group(&picks(1), group))));
}

#[test]
fn few_images_are_a_cluster_each() {
    let mut picks = positions(&host(), "{}", 12);
    picks.sort_unstable();
    assert_eq!(picks, (0..12).collect::<Vec<usize>>());
    let host = host();
    positions(&host, "{}", 3);
    assert_eq!(host.maps()[0].groups, (0..12).collect::<Vec<u64>>());
}

#[test]
fn a_layout_in_the_plane_keeps_the_groups() {
    // 3 x 20 images in eight dimensions; the test host's k-means begins at the first three, one of each group.
    let features: Vec<[f32; 8]> = (0..60)
        .map(|i| std::array::from_fn(|d| if d == i % 3 { 50.0 } else { ((i * 37 + d * 11) % 17) as f32 / 17.0 }))
        .collect();
    let confidences: Vec<f32> = (0..60).map(|i| i as f32 / 60.0).collect();
    let host = TestHost::new(60).round(0).trained("moco-v2", vec![vec![confidences]]).trained_output(
        "moco-v2",
        Output::Embeddings,
        &features,
    );
    let params = r#"{"clusters": 3, "space": "umap"}"#;
    let ids = host.select::<FirstChoice>(params, 6).unwrap().ids;
    assert_eq!(host.tensors_left(), 0);
    let groups: BTreeSet<u64> = ids[..3].iter().map(|id| id % 3).collect();
    assert_eq!((groups.len(), ids[..3].iter().max(), ids[3..].iter().min()), (3, Some(&2), Some(&3)));
    assert_eq!(ids, host.select::<FirstChoice>(params, 6).unwrap().ids);
    assert!(host.logged().iter().any(|line| line.starts_with("progress umap")));
    let error = host.without(KNN_1).select::<FirstChoice>(params, 6).unwrap_err();
    assert_eq!(error.code, Code::UNSUPPORTED);
}

#[test]
fn labelled_images_are_on_the_map_and_never_chosen() {
    let host = host().labelled(&[23, 21]);
    let picks = positions(&host, r#"{"clusters": 3}"#, 10);
    assert!(picks.iter().all(|i| *i < 10));
    assert_eq!(host.maps()[0].ids.len(), 12);
}

#[test]
fn the_map_of_the_whole_pool_is_kept() {
    let host = host();
    positions(&host, r#"{"clusters": 3}"#, 1);
    let map = &host.maps()[0];
    assert_eq!((&map.args.x_axis[..], &map.args.y_axis[..]), ("variability", "confidence"));
    assert_eq!(map.groups, GROUP.map(|group| group as u64));
    // Image 4: .7 + .008 and .7 - .008; f32 rounds them by less than 1e-7.
    assert!((map.places[8] - 0.008).abs() < 1e-7 && (map.places[9] - 0.7).abs() < 1e-7);

    let table = String::from_utf8(host.artifacts()["dataset-map.csv"].clone()).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((lines[0], lines.len()), ("id,confidence,variability,cluster", 13));
    let cells: Vec<f64> = lines[5].split(',').map(|cell| cell.parse().unwrap()).collect();
    assert_eq!((cells[0], cells[3]), (9.0, 0.0));
    assert!((cells[1] - 0.7).abs() < 1e-7 && (cells[2] - 0.008).abs() < 1e-7);
}

#[test]
fn scores_are_the_measure_that_was_looked_at() {
    for (end, first) in [("hard", 0.35), ("easy", 0.9), ("ambiguous", 0.022)] {
        let params = format!(r#"{{"clusters": 1, "end": "{end}"}}"#);
        let score = host().select::<FirstChoice>(&params, 1).unwrap().scores[0];
        assert!((score - first).abs() < 1e-6, "{end}: {score}");
    }
}

#[test]
fn the_pretext_has_the_published_settings() {
    let host = host();
    positions(&host, "{}", 1);
    positions(&host, r#"{"epochs": 40, "temperature": 0.001, "seed": 3}"#, 1);
    let [usual, changed] = &host.specs()[..] else { panic!("two trainings") };
    let pair = |temperature| Record { measure: Measure::PairProbability { temperature }, pass: Pass::Training };
    assert_eq!((usual.epochs, usual.warmup_epochs, usual.batch_size, usual.seed), (200, 5, 512, None));
    assert_eq!(usual.record, [pair(0.05)]);
    assert_eq!((changed.epochs, changed.warmup_epochs, changed.seed), (40, 1, Some(3)));
    assert_eq!(changed.record, [pair(0.001)]);
    let demo = TrainSpec::moco_v2(Setting::Cifar);
    assert_eq!((&usual.optimizer, &usual.views, &usual.schedule), (&demo.optimizer, &demo.views, &demo.schedule));
    let Objective::InfoNce { temperature, queue, momentum, .. } = usual.objective else { panic!("InfoNCE") };
    assert_eq!((temperature, queue, momentum), (0.1, 4096, 0.999));
}

#[test]
fn params_that_make_no_sense_are_refused() {
    for params in [r#"{"clusters": 0}"#, r#"{"temperature": 0}"#, r#"{"end": "hardest"}"#, r#"{"space": "pixels"}"#] {
        assert_eq!(host().select::<FirstChoice>(params, 1).unwrap_err().code, Code::BAD_PARAMS);
    }
}
