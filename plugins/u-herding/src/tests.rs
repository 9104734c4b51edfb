use super::*;
use coldstart_plugin_api::testing::TestHost;

/// Directions in the plane, by their angles.
fn in_a_circle(angles: &[f32]) -> TestHost {
    let rows: Vec<[f32; 2]> = angles.iter().map(|angle| [angle.cos(), angle.sin()]).collect();
    TestHost::new(angles.len() as u64).representation(&rows)
}

const ANGLES: [f32; 7] = [0.0, 0.1, 0.2, 0.8, 1.0, 1.7, 3.0];

fn select(host: &TestHost, params: &str, budget: usize) -> Selection {
    let selection = host.select::<UHerding>(params, budget).unwrap();
    assert_eq!((host.tensors_left(), selection.ids.len(), selection.scores.len()), (0, budget, budget));
    selection
}

/// The definition, with every gain made anew; f64 throughout, from f32 points.
fn slowly(angles: &[f32], weight_n: &[f64], labelled: &[usize], h: f64, k: usize) -> Vec<u64> {
    let alike = |i: usize, j: usize| {
        let (dx, dy) = (angles[i].cos() - angles[j].cos(), angles[i].sin() - angles[j].sin());
        (-f64::from(dx * dx + dy * dy) / (h * h)).exp()
    };
    let mut centres = labelled.to_vec();
    for _ in 0..k {
        let covered = |n: usize| centres.iter().map(|s| alike(n, *s)).fold(0.0, f64::max);
        let gain = |i: usize| (0..angles.len()).map(|n| weight_n[n] * (alike(n, i) - covered(n)).max(0.0)).sum::<f64>();
        let left: Vec<usize> = (0..angles.len()).filter(|i| !centres.contains(i)).collect();
        centres.push(left.iter().copied().fold(left[0], |best, i| if gain(i) > gain(best) { i } else { best }));
    }
    centres[labelled.len()..].iter().map(|i| *i as u64).collect()
}

#[test]
fn without_labels_it_is_max_herding() {
    assert_eq!(select(&in_a_circle(&ANGLES).round(0), "{}", 4).ids, slowly(&ANGLES, &[1.0; 7], &[], 1.0, 4));
}

/// Scores (l, 0) mean a margin of tanh(l / 2). The labelled 1 and 6 are nearest to each other, and weigh nothing.
#[test]
fn uncertainty_is_what_is_covered() {
    let scores = [0.1, 9.0, 0.2, 3.0, 0.0, 4.0, 9.0];
    let host = || in_a_circle(&ANGLES).labelled(&[1, 6]).output(Output::Logits, &scores.map(|l| [l, 0.0]));
    for temperature in [1.0, 4.0] {
        let mut weight_n = scores.map(|l| 1.0 - (f64::from(l) / temperature / 2.0).tanh());
        (weight_n[1], weight_n[6]) = (0.0, 0.0);
        let h = 2.0 * (2.9f64 / 2.0).sin();
        let params = format!(r#"{{"temperature": {temperature}}}"#);
        assert_eq!(select(&host(), &params, 5).ids, slowly(&ANGLES, &weight_n, &[1, 6], h, 5));
    }
    // A kernel that is narrow enough leaves the uncertainty alone.
    assert_eq!(select(&host(), r#"{"bandwidth": 0.001}"#, 5).ids, [4, 0, 2, 3, 5]);
}

/// Answers with the bandwidth as the score of the first image.
struct Bandwidth;

impl Strategy for Bandwidth {
    type Params = NoParams;

    fn new(_: NoParams, _: &Host<'_>) -> Result<Self> {
        Ok(Bandwidth)
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let places = Places::of(request);
        let bandwidth = smallest_distance(&places.features(host, true)?, &places.labelled)?;
        Ok(Selection { ids: vec![places.pool[places.unlabelled[0]]], scores: vec![bandwidth as f32] })
    }
}

/// A chord of two angles; cosines and sines in f32 are right to 1e-7.
#[test]
fn the_bandwidth_is_the_smallest_distance_that_is_not_0() {
    for (angles, labelled, expected) in [
        (&[0.0, 0.5, 0.2, 2.0][..], &[0, 1, 3][..], Some(0.5)),
        (&[0.0, 0.5, 0.0, 0.5, 3.0], &[0, 1, 2, 3], Some(0.5)),
        (&[0.0, 0.0, 0.0, 1.0], &[0, 1, 2], None),
        (&[0.0, 0.5], &[1], None),
        (&[0.0, 0.5], &[], None),
    ] {
        let found = in_a_circle(angles).labelled(labelled).select::<Bandwidth>("{}", 1).unwrap().scores[0];
        let expected = expected.map_or(1.0, |angle: f32| 2.0 * (angle / 2.0).sin());
        assert!((found - expected).abs() < 1e-6, "{angles:?}: {found}");
    }
}

#[test]
fn a_model_that_is_sure_of_everything_leaves_max_herding() {
    let sure = in_a_circle(&ANGLES).labelled(&[5, 6]).output(Output::Logits, &[[1e4, 0.0]; 7]);
    let h = 2.0 * (1.3f64 / 2.0).sin();
    assert_eq!(select(&sure, "{}", 5).ids, slowly(&ANGLES, &[1.0; 7], &[5, 6], h, 5));
}

#[test]
fn any_budget_is_met_whatever_the_model() {
    for host in [
        || in_a_circle(&ANGLES).labelled(&[1, 4]).output(Output::Logits, &[[0.0; 3]; 7]),
        || in_a_circle(&ANGLES).labelled(&[1, 4]).output(Output::Logits, &[[2.0]; 7]),
        || in_a_circle(&[1.0; 7]).labelled(&[1, 4]).output(Output::Logits, &[[3.0, 1.0]; 7]),
    ] {
        for (budget, params) in [0, 1, 4, 5].into_iter().flat_map(|k| [(k, "{}"), (k, r#"{"candidates": 1}"#)]) {
            let host = host().label(1, 0).label(4, 1);
            let mut ids = select(&host, params, budget).ids;
            ids.sort_unstable();
            ids.dedup();
            assert!(ids.len() == budget && ids.iter().all(|id| ![1, 4].contains(id)), "{params}: {ids:?}");
        }
    }
}

/// What was said of the last images chosen decides the temperature of the next round, in the same run or a resumed one.
#[test]
fn the_images_chosen_last_calibrate_the_model() {
    let host = || TestHost::plausible(60, 3, 1);
    let mut instance = host().instance::<UHerding>("{}").unwrap();
    let first = instance.select(&host().labelled(&[0, 1]), 20).unwrap().ids;
    let labelled = [&[0, 1], &first[..]].concat();
    let state = instance.save().unwrap();
    let calibrated = instance.select(&host().labelled(&labelled), 10).unwrap();
    let mut resumed = host().instance::<UHerding>("{}").unwrap();
    resumed.load(&state).unwrap();
    assert_eq!(resumed.select(&host().labelled(&labelled), 10).unwrap(), calibrated);
    let uncalibrated = select(&host().labelled(&labelled), "{}", 10);
    assert_ne!(uncalibrated.scores, calibrated.scores);
    assert!(resumed.load(&[1, 2, 3]).is_err());
}

#[test]
fn the_same_seed_draws_the_same_and_another_one_other_images() {
    let drawn = |seed| select(&in_a_circle(&[1.0; 40]).round(0).seed([seed; 32]), "{}", 5).ids;
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

#[test]
fn images_that_change_places_are_chosen_all_the_same() {
    let labelled = [2, 3, 5, 7];
    let still = select(&TestHost::plausible(60, 4, 1).labelled(&labelled), "{}", 10).ids;
    let moved = TestHost::plausible(60, 4, 1).shuffled(1);
    let labelled: Vec<u64> = (0..60).filter(|id| labelled.contains(&moved.image_of(*id))).collect();
    let moved = moved.labelled(&labelled);
    let images: Vec<u64> = select(&moved, "{}", 10).ids.iter().map(|id| moved.image_of(*id)).collect();
    assert_eq!(images, still);
}
