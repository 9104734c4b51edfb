use super::*;
use coldstart_plugin_api::testing::TestHost;
use proptest::prelude::*;

const X1: [[f32; 2]; 3] = [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]];
const X2: [[f32; 2]; 3] = [[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]];

/// The joint score of these images, by every outcome of their labels.
fn joint_score<const K: usize, const C: usize>(images: &[[[f32; C]; K]]) -> f64 {
    let entropy = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    let joint = (0..C.pow(images.len() as u32)).map(|outcome| {
        let label = |i: usize| outcome / C.pow(i as u32) % C;
        let of_pass = |k: usize| (0..images.len()).map(|i| f64::from(images[i][k][label(i)])).product::<f64>();
        entropy((0..K).map(of_pass).sum::<f64>() / K as f64)
    });
    let expected = images.iter().flatten().flatten().map(|p| entropy(f64::from(*p))).sum::<f64>() / K as f64;
    joint.sum::<f64>() - expected
}

fn select<const K: usize, const C: usize>(images: &[[[f32; C]; K]], more: &str, budget: usize) -> Selection {
    let host = TestHost::new(images.len() as u64).passes(images);
    host.select::<BatchBald>(&format!(r#"{{"passes": {K}{more}}}"#), budget).unwrap()
}

/// The vectors are given to seven digits, and scores are f32.
#[test]
fn joint_scores_equal_the_closed_form() {
    for (images, first, both) in [([X1, X2], 0.1847125, 0.2794520), ([X1, X1], 0.1366920, 0.2421465)] {
        assert!((joint_score(&images) - both).abs() < 1e-6);
        let scores = select(&images, "", 2).scores;
        assert!((f64::from(scores[0]) - first).abs() < 1e-6, "{scores:?}");
        assert!((f64::from(scores[0]) + f64::from(scores[1]) - both).abs() < 1e-6, "{scores:?}");
    }
}

#[test]
fn ties_go_to_the_lowest_id_and_a_copy_is_worth_less() {
    assert_eq!(select(&[X1, X2, X1, X2], "", 4).ids, [1, 3, 0, 2]);
    assert_eq!(select(&[X1; 5], "", 5).ids, [0, 1, 2, 3, 4]);
    // With one outcome at most nothing is followed, and drawing starts at once.
    assert_eq!(select(&[X1; 5], r#", "outcomes": 1"#, 5).ids, [0, 1, 2, 3, 4]);
}

#[test]
fn only_the_best_candidates_take_part() {
    let images = [[[0.5, 0.5]; 3], X1, X2, X1];
    assert_eq!(select(&images, r#", "candidates": 1"#, 1).ids, [2]);
    assert_eq!(select(&images, r#", "candidates": 2"#, 2).ids, [2, 1]);
    assert_eq!(select(&images, r#", "candidates": 1"#, 3).ids, [2, 1, 3]);
}

fn normalised<const C: usize>(weights: [f32; C]) -> [f32; C] {
    weights.map(|w| w / weights.iter().sum::<f32>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every rise is the highest there is, is no higher than the image's own score, and none is negative. Probabilities in
    /// f32 sum to 1 within 1e-7 or so, and the reference does not correct for it.
    #[test]
    fn the_search_is_greedy_and_the_joint_score_at_most_the_sum(
        weights in prop::collection::vec(prop::array::uniform4(prop::array::uniform3(0.01f32..1.0)), 1..8),
        budget in 1usize..6,
    ) {
        let images: Vec<[[f32; 3]; 4]> = weights.iter().map(|passes| passes.map(normalised)).collect();
        let selection = select(&images, "", budget);
        let mut chosen = Vec::new();
        for (id, rise) in selection.ids.iter().zip(&selection.scores) {
            let before = joint_score(&chosen);
            let rise_of = |image: &[[f32; 3]; 4]| joint_score(&[&chosen[..], &[*image]].concat()) - before;
            let left = (0..images.len()).filter(|i| !selection.ids[..chosen.len()].contains(&(*i as u64)));
            let highest = left.map(|i| rise_of(&images[i])).fold(f64::NEG_INFINITY, f64::max);
            let image = images[*id as usize];
            prop_assert!((rise_of(&image) - f64::from(*rise)).abs() < 1e-5);
            prop_assert!((highest - f64::from(*rise)).abs() < 1e-5);
            prop_assert!(f64::from(*rise) <= joint_score(&[image]) + 1e-6);
            prop_assert!(*rise > -1e-6);
            chosen.push(image);
        }
        prop_assert_eq!(selection.ids.len(), budget.min(images.len()));
    }
}

/// Up to 2187 outcomes are followed, then 3000 drawn. A label's entropy is between 0 and ln 3; drawn outcomes give the mean of
/// 3000 such numbers, whose error is below ln 3 / 2 / sqrt 3000 = .01, in fact well below. Five errors of that bound.
#[test]
fn drawn_outcomes_come_close_to_all_of_them() {
    let host = || TestHost::plausible(9, 3, 5);
    let rises = |outcomes: u32| {
        let params = format!(r#"{{"passes": 6, "outcomes": {outcomes}}}"#);
        host().select::<BatchBald>(&params, 9).unwrap()
    };
    let (exact, drawn, again) = (rises(10_000), rises(3000), rises(3000));
    assert_eq!(exact.ids, drawn.ids);
    assert_eq!(drawn, again);
    assert_eq!(exact.scores[..8], drawn.scores[..8]);
    assert_ne!(exact.scores[8], drawn.scores[8]);
    assert!((exact.scores[8] - drawn.scores[8]).abs() < 0.05, "{:?} {:?}", exact.scores, drawn.scores);
    // From the second image on everything is drawn: the scores of the whole set stay near.
    let total = |selection: &Selection| selection.scores.iter().sum::<f32>();
    assert!((total(&rises(2)) - total(&exact)).abs() < 0.5 * total(&exact));
}

#[test]
fn long_batches_stay_finite() {
    let host = TestHost::plausible(400, 10, 3);
    let selection = host.select::<BatchBald>(r#"{"passes": 4, "outcomes": 100}"#, 400).unwrap();
    assert!(selection.scores.iter().all(|score| score.is_finite()));
}

#[test]
fn every_budget_is_met_on_every_pool() {
    let sure = TestHost::new(40).passes(&[[[1.0, 0.0], [0.0, 1.0]]; 40]);
    for (what, passes, host) in [
        ("plausible", 5, TestHost::plausible(40, 4, 1)),
        ("undecided", 5, TestHost::plausible(40, 4, 1).undecided()),
        ("one class", 5, TestHost::plausible(40, 1, 1)),
        ("sure", 2, sure),
    ] {
        let host = host.labelled(&[3, 17, 39]);
        let params = format!(r#"{{"passes": {passes}, "candidates": 20, "outcomes": 64}}"#);
        for budget in [0, 1, 36, 37] {
            let selection = host.select::<BatchBald>(&params, budget).unwrap();
            let mut ids = selection.ids.clone();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), budget, "{what}");
            assert!(ids.iter().all(|id| ![3, 17, 39].contains(id)), "{what}");
            assert!(selection.scores.iter().all(|score| score.is_finite()), "{what}");
            assert_eq!(host.select::<BatchBald>(&params, budget).unwrap(), selection, "{what}");
            assert_eq!(host.tensors_left(), 0);
        }
    }
}

/// Four images of five classes: no outcome is drawn before the last one is chosen.
#[test]
fn a_permuted_pool_gives_the_permuted_answer() {
    let host = TestHost::plausible(60, 5, 2).shuffled(3);
    let images: Vec<u64> =
        host.select::<BatchBald>("{}", 4).unwrap().ids.into_iter().map(|id| host.image_of(id)).collect();
    assert_eq!(images, TestHost::plausible(60, 5, 2).select::<BatchBald>("{}", 4).unwrap().ids);
}

#[test]
fn a_large_batch_follows_fewer_outcomes() {
    for (outcomes, budget, expected) in [
        (10_000, 1, 10_000),
        (10_000, 100, 10_000),
        (10_000, 1000, 1000),
        (10_000, 100_000, 500),
        (7, 1000, 7),
        (600, 1000, 500),
    ] {
        assert_eq!(followed(outcomes, budget), expected, "{outcomes} {budget}");
    }
}
