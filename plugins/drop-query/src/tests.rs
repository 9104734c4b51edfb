use super::*;
use coldstart_plugin_api::testing::TestHost;

fn ids(host: &TestHost, params: &str, budget: usize) -> Vec<u64> {
    let selection = host.select::<DropQuery>(params, budget).unwrap();
    assert_eq!((selection.scores.len(), host.tensors_left()), (selection.ids.len(), 0));
    assert!(selection.scores.iter().all(|score| score.is_finite()));
    selection.ids
}

/// One of two classes.
const A: [f32; 2] = [0.9, 0.1];
const B: [f32; 2] = [0.2, 0.8];
const TIE: [f32; 2] = [0.5, 0.5];

#[test]
fn changes_are_counted_against_the_clean_pass() {
    for (passes, expected) in [
        (&[A, A, A, A][..], 0),
        (&[A, B, A, B], 2),
        (&[B, A, A, A], 3),
        (&[TIE, A, TIE, B], 1),
        (&[B, TIE], 1),
        (&[A], 0),
    ] {
        assert_eq!(changes(passes.iter().map(|pass| &pass[..])), expected);
    }
}

#[test]
fn the_limit_falls_to_a_single_change_and_stops_there() {
    let changes_n = [0, 3, 1, 2, 0, 1];
    let found = |limit, wanted| {
        let Candidates { limit, positions } = Candidates::of(&changes_n, limit, wanted);
        (limit, positions)
    };
    for (wanted, limit, positions) in
        [(1, 1, &[1, 3][..]), (2, 1, &[1, 3]), (3, 0, &[1, 2, 3, 5]), (4, 0, &[1, 2, 3, 5]), (100, 0, &[1, 2, 3, 5])]
    {
        assert_eq!(found(1, wanted), (limit, positions.to_vec()), "{wanted}");
    }
    assert_eq!(found(2, 1), (2, vec![1]));
    assert!(Candidates::of(&[], 1, 0).positions.is_empty());
    assert!(Candidates::of(&[0, 0], 1, 1).positions.is_empty());
}

#[test]
fn a_thinned_list_is_ascending_and_of_the_seed() {
    let draw = |seed, most| thinned((0..40).map(|i| 2 * i).collect(), most, Rng::from_seed([seed; 32]));
    assert_eq!(draw(1, 40).len(), 40);
    assert_eq!(draw(1, 7), draw(1, 7));
    assert_ne!(draw(1, 7), draw(2, 7));
    let drawn = draw(1, 7);
    assert!(drawn.len() == 7 && drawn.is_sorted() && drawn.iter().all(|i| i % 2 == 0 && *i < 80));
}

/// Images 1, 3, 5 and 6 change twice or more. The last three lie around 98.3 degrees, 1, 3 and 6 around 71.
fn unsteady() -> TestHost {
    let passes = [
        [A, A, A, A],
        [A, B, B, A],
        [B, B, B, A],
        [A, B, B, B],
        [A, A, A, A],
        [B, A, A, B],
        [B, A, A, A],
        [B, B, B, B],
    ];
    let degrees = [50.0f32, 0.0, 52.0, 90.0, 54.0, 95.0, 110.0, 56.0];
    TestHost::new(8)
        .passes(&passes)
        .representation(&degrees.map(|at| [2.0 * at.to_radians().cos(), 2.0 * at.to_radians().sin()]))
}

#[test]
fn later_rounds_choose_the_middles_of_the_unsteady() {
    for (labelled, params, expected) in [
        (&[][..], r#"{"per_choice": 2}"#, &[1, 5][..]),
        (&[1], r#"{"per_choice": 3}"#, &[5]),
        (&[5], r#"{"per_choice": 3}"#, &[3]),
    ] {
        let mut chosen = ids(&unsteady().labelled(labelled), params, expected.len());
        chosen.sort_by_key(|id| expected.iter().position(|expected| expected == id));
        assert_eq!(chosen, expected, "{labelled:?} {params}");
    }
    // However many are wanted: 2 changes once, and 0, 4 and 7 do not. Of 1, 2, 3, 5 and 6 the middle is at 72 degrees.
    assert_eq!(ids(&unsteady(), "{}", 1), [3]);
}

/// 0, 4 and 7 never change.
#[test]
fn what_never_changes_is_drawn_only_where_the_rest_is_too_little() {
    let changing = [1, 2, 3, 5, 6];
    for budget in 1..=8 {
        for seed in 1..=5 {
            let chosen = ids(&unsteady().seed([seed; 32]), "{}", budget);
            let n_changing = chosen.iter().filter(|id| changing.contains(id)).count();
            assert_eq!((chosen.len(), n_changing), (budget, budget.min(5)), "{chosen:?}");
        }
    }
    let drawn = |seed| ids(&TestHost::plausible(40, 3, 1).undecided().seed([seed; 32]), "{}", 5);
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

#[test]
fn the_model_is_asked_for_a_clean_pass_and_for_three_without_features() {
    let asked = |host: &TestHost, op: Op| host.calls().iter().filter(|call| **call == op.0).count();
    for (round, params, expected) in [
        (0, "{}", [0, 1, 0]),
        (1, "{}", [1, 1, 0]),
        (1, r#"{"space": "model"}"#, [1, 0, 1]),
        (1, r#"{"passes": 9}"#, [1, 1, 0]),
    ] {
        let host = TestHost::plausible(300, 3, 1).round(round);
        ids(&host, params, 4);
        assert_eq!([ops::PREDICT_3, ops::REPRESENT_1, ops::PREDICT_1].map(|op| asked(&host, op)), expected, "{params}");
    }
}

#[test]
fn every_budget_is_met_with_distinct_unlabelled_images() {
    for (host, labelled) in [
        (TestHost::plausible(30, 3, 1).round(0), &[][..]),
        (TestHost::plausible(30, 3, 1).round(0).all_alike(), &[]),
        (TestHost::plausible(30, 3, 1), &[0, 3, 7]),
        (TestHost::plausible(30, 1, 2), &[29]),
        (TestHost::plausible(30, 3, 3).all_alike().undecided(), &[4, 5]),
    ] {
        let host = host.labelled(labelled);
        let left = 30 - labelled.len();
        for params in ["{}", r#"{"space": "model"}"#, r#"{"candidates": 1, "per_choice": 1}"#] {
            for budget in [0, 1, 7, left - 1, left] {
                let mut ids = ids(&host, params, budget);
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
    assert_eq!(ids(&host.round(0), "{}", 4), [0, 2, 3, 4]);
}

#[test]
fn the_order_of_the_pool_does_not_matter() {
    for round in [0, 1] {
        let host = TestHost::plausible(60, 4, 5).round(round);
        let shuffled = TestHost::plausible(60, 4, 5).round(round).shuffled(9);
        let params = r#"{"per_choice": 3}"#;
        assert_eq!(ids(&host, params, 1), [shuffled.image_of(ids(&shuffled, params, 1)[0])]);
        assert_eq!(ids(&host, params, 12), ids(&TestHost::plausible(60, 4, 5).round(round), params, 12));
    }
}
