use super::*;
use coldstart_plugin_api::Rng;
use coldstart_plugin_api::testing::TestHost;
use proptest::prelude::*;

type Dense = Vec<Vec<f64>>;

/// What it is, and how it is made.
type Pool = (&'static str, fn() -> TestHost);

/// The Fisher information of one image, formed: the sum over classes of p times the square of the gradient.
fn fisher(probs: &[f64], embeds: &[f64]) -> Dense {
    let width = probs.len() * embeds.len();
    let mut sum = vec![vec![0.0; width]; width];
    for (class, p) in probs.iter().enumerate() {
        let residual = |c: usize| f64::from(u8::from(c == class)) - probs[c];
        let gradient: Vec<f64> = (0..width).map(|r| residual(r / embeds.len()) * embeds[r % embeds.len()]).collect();
        for (row, a) in sum.iter_mut().zip(&gradient) {
            row.iter_mut().zip(&gradient).for_each(|(x, b)| *x += p * a * b);
        }
    }
    sum
}

fn plus(a: &Dense, b: &Dense, weight: f64) -> Dense {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + weight * b).collect()).collect()
}

/// The trace of the inverse of `a` times `b`, by elimination without pivots: `a` is positive definite.
fn trace_of_inverse_times(a: &Dense, b: &Dense) -> f64 {
    let (mut a, mut b, n) = (a.clone(), b.clone(), a.len());
    for i in 0..n {
        let (pivot, by) = (a[i].clone(), b[i].clone());
        for r in (0..n).filter(|r| *r != i) {
            let factor = a[r][i] / pivot[i];
            (0..n).for_each(|c| a[r][c] -= factor * pivot[c]);
            (0..n).for_each(|c| b[r][c] -= factor * by[c]);
        }
    }
    (0..n).map(|i| b[i][i] / a[i][i]).sum()
}

/// The search as it is written: every set's trace from a matrix of its own.
fn plain(
    fishers: &[Dense],
    labelled: &[u64],
    budget: usize,
    (lambda, weight_l, weight_s): (f64, f64, f64),
) -> Selection {
    let width = fishers[0].len();
    let zeros = vec![vec![0.0; width]; width];
    let mean = fishers.iter().fold(zeros.clone(), |sum, f| plus(&sum, f, 1.0 / fishers.len() as f64));
    let trace = |chosen: &[u64]| {
        let mut known = zeros.clone();
        (0..width).for_each(|i| known[i][i] = lambda);
        known = labelled.iter().fold(known, |sum, id| plus(&sum, &fishers[*id as usize], weight_l));
        known = chosen.iter().fold(known, |sum, id| plus(&sum, &fishers[*id as usize], weight_s));
        trace_of_inverse_times(&known, &mean)
    };
    let mut left: Vec<u64> = (0..fishers.len() as u64).filter(|id| !labelled.contains(id)).collect();
    let mut picks: Vec<(u64, f64)> = Vec::new();
    let ids = |picks: &[(u64, f64)]| picks.iter().map(|(id, _)| *id).collect::<Vec<u64>>();
    let with = |picks: &[(u64, f64)], id: u64| trace(&[&ids(picks)[..], &[id]].concat());
    for _ in 0..(2 * budget).min(left.len()) {
        let best = (0..left.len()).min_by(|a, b| with(&picks, left[*a]).total_cmp(&with(&picks, left[*b]))).unwrap();
        let gain = trace(&ids(&picks)) - with(&picks, left[best]);
        picks.push((left.remove(best), gain));
    }
    while picks.len() > budget {
        let without = |at: &usize| {
            let mut picks = picks.clone();
            picks.remove(*at);
            trace(&ids(&picks))
        };
        let least = (0..picks.len()).min_by(|a, b| without(a).total_cmp(&without(b))).unwrap();
        picks.remove(least);
    }
    Selection { ids: ids(&picks), scores: picks.iter().map(|(_, gain)| *gain as f32).collect() }
}

fn normalised<const C: usize>(weights: [f32; C]) -> [f32; C] {
    weights.map(|w| w / weights.iter().sum::<f32>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Both ways of weighing, with and without labelled images. Probabilities in f32 sum to 1 within 1e-7, and the formed
    /// information, a sum over true classes, feels that; scores are f32.
    #[test]
    fn the_updates_lead_where_inverting_leads(
        images in prop::collection::vec((prop::array::uniform3(0.01f32..1.0), prop::array::uniform2(-2.0f32..2.0)), 6..12),
        n_labelled in 0u64..3,
        budget in 1usize..5,
        released in any::<bool>(),
        lambda in 0.05..2.0f64,
    ) {
        let probs: Vec<[f32; 3]> = images.iter().map(|(weights, _)| normalised(*weights)).collect();
        let embeds: Vec<[f32; 2]> = images.iter().map(|(_, embeds)| *embeds).collect();
        let labelled: Vec<u64> = (0..n_labelled).map(|i| 2 * i).collect();
        let host = TestHost::new(images.len() as u64).labelled(&labelled);
        let host = host.probabilities(&probs).output(Output::Embeddings, &embeds);
        let budget = budget.min(images.len() - labelled.len());
        let whole = (labelled.len() + budget) as f64;
        let weights = if released { (lambda, 1.0 / whole, budget as f64 / whole) } else { (lambda, 1.0, 1.0) };
        let fishers: Vec<Dense> =
            probs.iter().zip(&embeds).map(|(p, h)| fisher(&p.map(f64::from), &h.map(f64::from))).collect();
        let expected = plain(&fishers, &labelled, budget, weights);
        let weighing = if released { "released" } else { "sum" };
        let params = format!(r#"{{"lambda": {lambda}, "weighing": "{weighing}"}}"#);
        let found = host.select::<Bait>(&params, budget).unwrap();
        prop_assert_eq!(&found.ids, &expected.ids);
        for (found, expected) in found.scores.iter().zip(&expected.scores) {
            prop_assert!((found - expected).abs() <= 1e-5 * expected.abs().max(0.01), "{} {}", found, expected);
        }
    }
}

/// One image, two classes with one half each, the feature 2: F is (1, -1; -1, 1), with lambda 1 the trace falls from 2 to 2/3.
#[test]
fn the_gain_equals_the_closed_form() {
    let host = TestHost::new(1).probabilities(&[[0.5, 0.5]]).output(Output::Embeddings, &[[2.0]]);
    let scores = host.select::<Bait>("{}", 1).unwrap().scores;
    assert!((scores[0] - 4.0 / 3.0).abs() < 1e-6, "{scores:?}");
}

#[test]
fn inverse_and_fisher_in_blocks_equal_plain_ones() {
    let (n, d) = (37, 9);
    let mut rng = Rng::from_seed([3; 32]);
    let embeds = Matrix::new((0..n * d).map(|_| rng.normal() as f32).collect(), d).unwrap();
    let probs =
        Matrix::new((0..n).flat_map(|_| normalised([0; 4].map(|_| rng.uniform() as f32))).collect(), 4).unwrap();
    let mut sum = Square::zeros(4 * d);
    greedy::add_fisher(&mut sum, &probs, &embeds, 0.5);
    greedy::mirror(&mut sum, d);
    sum.add_to_diagonal(1.0);
    let rows: Dense = (0..4 * d).map(|i| sum.row(i).to_vec()).collect();
    for (i, row) in rows.iter().enumerate() {
        for (j, element) in row.iter().enumerate() {
            let wide = |row: &[f32]| row.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
            let one = |x: usize| {
                let (p, h) = (wide(probs.row(x)), wide(embeds.row(x)));
                let same = if i / d == j / d { 1.0 } else { 0.0 };
                0.5 * p[i / d] * (same - p[j / d]) * h[i % d] * h[j % d]
            };
            let expected = (0..n).map(one).sum::<f64>() + if i == j { 1.0 } else { 0.0 };
            assert!((element - expected).abs() < 1e-10, "{i} {j}: {element} {expected}");
        }
    }
    let inverse = dense::inverse(sum).unwrap();
    for (i, row) in rows.iter().enumerate() {
        for j in 0..4 * d {
            let product = dense::dot(row, inverse.row(j));
            assert!((product - if i == j { 1.0 } else { 0.0 }).abs() < 1e-10, "{i} {j}: {product}");
        }
    }
}

#[test]
fn every_budget_is_met_on_every_pool_and_ties_go_to_the_lowest_id() {
    let pools: [Pool; 5] = [
        ("plausible", || TestHost::plausible(40, 4, 1)),
        ("undecided", || TestHost::plausible(40, 4, 1).undecided()),
        ("all the same", || TestHost::plausible(40, 4, 1).undecided().all_alike()),
        ("one class", || TestHost::plausible(40, 1, 1)),
        ("sure", || TestHost::new(40).probabilities(&[[1.0, 0.0]; 40]).output(Output::Embeddings, &[[1.0, 2.0]; 40])),
    ];
    for (what, pool) in pools {
        let host = pool().labelled(&[3, 17, 39]);
        for (params, budget) in [("{}", 0), ("{}", 1), (r#"{"candidates": 5}"#, 8), ("{}", 36), ("{}", 37)] {
            let selection = host.select::<Bait>(params, budget).unwrap();
            let mut ids = selection.ids.clone();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), budget, "{what}");
            assert!(ids.iter().all(|id| ![3, 17, 39].contains(id)), "{what}");
            assert!(selection.scores.iter().all(|score| score.is_finite()), "{what}");
            assert_eq!(host.select::<Bait>(params, budget).unwrap(), selection, "{what}");
            assert_eq!(host.tensors_left(), 0);
        }
        if ["all the same", "one class", "sure"].contains(&what) {
            assert_eq!(host.select::<Bait>("{}", 4).unwrap().ids, [0, 1, 2, 4], "{what}");
        }
    }
}

#[test]
fn a_permuted_pool_gives_the_permuted_answer() {
    let host = TestHost::plausible(60, 5, 2).shuffled(3);
    let images: Vec<u64> = host.select::<Bait>("{}", 10).unwrap().ids.into_iter().map(|id| host.image_of(id)).collect();
    assert_eq!(images, TestHost::plausible(60, 5, 2).select::<Bait>("{}", 10).unwrap().ids);
}

#[test]
fn a_model_that_is_too_large_is_refused_with_its_size() {
    let host = TestHost::plausible(60, 100, 2);
    let error = host.select::<Bait>(r#"{"memory": 0.01}"#, 10).unwrap_err();
    assert!(error.message.contains("matrices of 800 x 800"), "{error:?}");
    assert!(error.details["hint"].contains("`candidates`"), "{error:?}");
    assert_eq!(host.tensors_left(), 0);
}
