use super::*;
use coldstart_plugin_api::testing::{TestChoice, TestHost};

const N_IMAGES: u64 = 200;
const BUDGET: usize = 4;

/// Two strategies that prefer low and high ids, and one that prefers even ones.
fn host() -> TestHost {
    let (low, high): (Vec<u64>, Vec<u64>) = ((0..N_IMAGES).collect(), (0..N_IMAGES).rev().collect());
    let even: Vec<u64> = (0..N_IMAGES).filter(|id| id % 2 == 0).collect();
    TestHost::new(N_IMAGES).labelled(&[0, 7]).choosing("low", &low).choosing("high", &high).choosing("even", &even)
}

/// The parameters as JSON, with these values in place of the usual ones.
fn params(changes: &[(&str, &str)]) -> String {
    let mut params = BTreeMap::from([
        ("strategies", r#"["low", "high"]"#),
        ("final", r#""even""#),
        ("rounds", "3"),
        ("batches", "7"),
        ("first_subset", "50"),
        ("share", "0.5"),
        ("most", "30"),
    ]);
    params.extend(changes.iter().copied());
    let fields: Vec<String> = params.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{{}}}", fields.join(", "))
}

/// What the paper's algorithm demands of the calls, one obvious check after the other; answers the pool of each round and of the end.
fn pools(choices: &[TestChoice], params: &RefineParams, request: &Request) -> Vec<BTreeSet<u64>> {
    let batches_each = params.batches as usize / params.strategies.len().max(1);
    let mut pool: BTreeSet<u64> = request.unlabelled.iter().copied().collect();
    let mut pools = vec![pool.clone()];
    let mut calls = choices.iter();
    for round in 0..params.rounds as usize {
        let wanted =
            if round == 0 { params.first_subset as usize } else { (params.share * pool.len() as f64) as usize };
        let mut union = BTreeSet::new();
        for strategy in &params.strategies {
            for _ in 0..batches_each {
                let call = calls.next().unwrap();
                assert_eq!(&call.args.strategy, strategy);
                assert!(!call.args.keep);
                assert_eq!(call.args.count, request.budget as u64);
                assert_eq!(call.candidates.len(), pool.len().min(request.budget.max(wanted)));
                assert!(call.candidates.is_sorted() && call.candidates.iter().all(|id| pool.contains(id)));
                union.extend(call.chosen.iter().copied());
            }
        }
        pool = union;
        // What is left of too many is drawn: only whoever asks next tells what it was.
        let most = request.budget.max(params.most as usize);
        if pool.len() > most {
            let batches = params.strategies.len() * batches_each;
            let next: BTreeSet<u64> = match round + 1 == params.rounds as usize {
                true => choices.last().unwrap().candidates.iter().copied().collect(),
                false => calls.clone().take(batches).flat_map(|call| call.candidates.iter().copied()).collect(),
            };
            assert!(next.len() <= most && next.is_subset(&pool));
            pool = next;
        }
        pools.push(pool.clone());
    }
    let last = calls.next().unwrap();
    assert_eq!((&last.args.strategy, last.args.keep, calls.next()), (&params.r#final, true, None));
    assert_eq!(last.candidates.iter().copied().collect::<BTreeSet<_>>(), pool);
    pools
}

#[test]
fn each_round_leaves_what_anybody_has_chosen() {
    for (changes, n_calls) in [
        (vec![], 3 * 6 + 1),
        (vec![("rounds", "0")], 1),
        (vec![("rounds", "0"), ("strategies", "[]")], 1),
        (vec![("rounds", "1"), ("batches", "2")], 3),
        (vec![("first_subset", "1000")], 19),
        (vec![("first_subset", "1"), ("share", "0.0")], 19),
        (vec![("share", "1.0"), ("most", "100000")], 19),
        (vec![("strategies", r#"["low", "high", "even"]"#), ("most", "5")], 19),
        (vec![("most", "1")], 19),
    ] {
        let (text, host) = (params(&changes), host());
        let selection = host.select::<Refine>(&text, BUDGET).unwrap();
        let (choices, request) = (host.choices(), host.request(BUDGET));
        assert_eq!(choices.len(), n_calls, "{changes:?}");
        let pools = pools(&choices, &RefineParams::from_json(&text).unwrap(), &request);
        assert!(pools.windows(2).all(|pair| pair[1].is_subset(&pair[0])), "{changes:?}");
        assert_eq!(selection.ids, choices.last().unwrap().chosen);
        assert_eq!(host.tensors_left(), 0);
    }
}

/// With subsets as large as the pool nothing is drawn: the lowest and the highest images are left, of which the even ones are wanted.
#[test]
fn without_subsets_the_favourites_of_all_are_left() {
    let whole = params(&[("first_subset", "1000"), ("share", "1.0"), ("most", "1000")]);
    let host = host();
    assert_eq!(host.select::<Refine>(&whole, BUDGET).unwrap().ids, [2, 4, 196, 198]);
    let last = host.choices().pop().unwrap();
    assert_eq!(last.candidates, [1, 2, 3, 4, 196, 197, 198, 199]);
}

#[test]
fn the_same_seed_chooses_the_same_and_another_one_draws_other_subsets() {
    let candidates = |seed: u8| -> Vec<Vec<u64>> {
        let host = host().seed([seed; 32]);
        host.select::<Refine>(&params(&[]), BUDGET).unwrap();
        host.choices().into_iter().map(|choice| choice.candidates).collect()
    };
    assert_eq!(candidates(1), candidates(1));
    assert_ne!(candidates(1), candidates(2));
    // Nor do two strategies, or two batches, see the same subset.
    let first = candidates(1);
    let distinct: BTreeSet<&Vec<u64>> = first[..6].iter().collect();
    assert_eq!(distinct.len(), 6);
}

#[test]
fn a_pool_of_any_size_is_enough() {
    for (n_left, budget) in [(0, 0), (1, 1), (3, 3), (3, 9), (4, 3)] {
        let labelled: Vec<u64> = (n_left..N_IMAGES).collect();
        let host = host().labelled(&labelled);
        let selection = host.select::<Refine>(&params(&[]), budget).unwrap();
        assert_eq!(selection.ids.len(), budget.min(n_left as usize), "{budget} of {n_left}");
    }
}

#[test]
fn parameters_that_do_not_go_together_are_named() {
    for (changes, expected) in [
        ([("strategies", "[]")], "`strategies` names nobody"),
        ([("strategies", r#"["low", "low"]"#)], "`strategies` names a strategy twice"),
        ([("batches", "1")], "`batches` is 1, fewer than the 2 strategies"),
        ([("components", r#"{"margin": {}}"#)], "`components` has parameters of `margin`, which is not asked"),
        ([("share", "1.5")], "`share` is 1.5, but must be at most 1.0"),
        ([("final", "3")], "invalid type"),
    ] {
        let error = host().select::<Refine>(&params(&changes), BUDGET).unwrap_err();
        assert_eq!(error.code, Code::BAD_PARAMS);
        assert!(error.message.contains(expected), "{}", error.message);
    }
    for components in [r#"{"low": {"k": 1}}"#, r#"{"even": {}}"#] {
        host().select::<Refine>(&params(&[("components", components)]), BUDGET).unwrap();
    }
}

#[test]
fn a_strategy_that_fails_ends_the_call() {
    let unknown = params(&[("final", r#""nobody""#)]);
    assert!(host().select::<Refine>(&unknown, BUDGET).unwrap_err().message.contains("`nobody`"));
    let error = host().cancelled_at(5).select::<Refine>(&params(&[]), BUDGET).unwrap_err();
    assert_eq!(error.code, Code::CANCELLED);
}
