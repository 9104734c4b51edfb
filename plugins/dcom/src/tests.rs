use super::*;
use coldstart_plugin_api::testing::TestHost;

/// Directions in the plane, by their angles, and how probable class 0 is.
fn in_a_circle(angles: &[f32], probs: &[f32]) -> TestHost {
    let rows: Vec<[f32; 2]> = angles.iter().map(|angle| [angle.cos(), angle.sin()]).collect();
    let probs: Vec<[f32; 2]> = probs.iter().map(|p| [*p, 1.0 - *p]).collect();
    TestHost::new(angles.len() as u64).representation(&rows).probabilities(&probs)
}

fn select(host: &TestHost, params: &str, budget: usize) -> Selection {
    let selection = host.select::<Dcom>(params, budget).unwrap();
    assert_eq!((host.tensors_left(), selection.ids.len(), selection.scores.len()), (0, budget, budget));
    selection
}

/// Around 0 four images of class 0 up to the angle 0.3, then class 1 from 0.52 on. For the image at 0 and these angles chords
/// are a little shorter than angles: at the first coverage of 5/8 (a radius of 0.6 holds angles below 0.609) the level is
/// 0.525; the ball of 4 + 1 images is pure enough, and so are those with 2 and 3 of class 1, but not the one with 4.
const ANGLES: [f32; 8] = [0.0, 0.1, 0.2, 0.3, 0.52, 0.72, 0.92, 1.02];
const PROBS: [f32; 8] = [0.9, 0.8, 0.9, 0.7, 0.2, 0.1, 0.4, 0.3];

fn stored(params: &str, host: &TestHost) -> (Option<f64>, BTreeMap<u64, f64>) {
    let mut instance = host.instance::<Dcom>(params).unwrap();
    instance.select(host, 1).unwrap();
    wire::decode(&instance.save().unwrap()).unwrap()
}

#[test]
fn a_labelled_image_gets_the_largest_radius_that_is_pure_enough() {
    let host = |label| in_a_circle(&ANGLES, &PROBS).labelled(&[0]).label(0, label);
    // Radii of 0.1 to 1.2: chords to the images of class 1 are 0.513, 0.705, 0.888 and 0.976.
    let params = r#"{"radius": 0.6, "resolution": 0.1, "largest": 1.2}"#;
    let radius = |label| stored(params, &host(label)).1[&0];
    // Up to 0.9 there are 7 images, 4 of class 0: 0.571 is enough. At 1.0 and beyond it is one half.
    assert!((radius(0) - 0.9).abs() < 1e-12);
    assert_eq!(radius(1), 0.1);
}

/// Either term by hand: at a coverage of a quarter or less there is no competence, unless it turns below that.
#[test]
fn competence_decides_between_coverage_and_uncertainty() {
    let host = || in_a_circle(&ANGLES, &PROBS).labelled(&[0]).label(0, 1);
    // The only ball has the smallest radius and covers 0 and 0.1. A ball around 0.2 adds 2, and so does one around
    // 0.92 and one around 1.02; then all that are left add 1.
    let covering = select(&host(), r#"{"radius": 0.6, "resolution": 0.15, "largest": 1.2}"#, 3);
    assert_eq!(covering.ids, [2, 6, 4]);
    // A turning point below the coverage: margins are 0.4 (1), 0.2 (2), 0.6 (3), 0.4, 0.2, 0.8 and 0.6.
    let unsure = select(&host(), r#"{"radius": 0.6, "resolution": 0.05, "turning": 0.0, "steepness": 1000.0}"#, 7);
    assert_eq!(unsure.ids[0], 6);
    assert_eq!(unsure.ids[1..3].iter().sum::<u64>(), 10);
}

#[test]
fn class_and_margin_equal_the_closed_form() {
    for (probs, class, margin) in [
        (&[0.5, 0.3, 0.15, 0.05][..], 0, 0.8),
        (&[0.05, 0.15, 0.5, 0.3], 2, 0.8),
        (&[0.5, 0.5], 0, 1.0),
        (&[1.0], 0, 0.0),
    ] {
        let found = class_and_margin(probs);
        // One f32 subtraction rounds by less than 1e-7.
        assert!(found.0 == class && (found.1 - margin).abs() < 1e-7, "{found:?}");
    }
}

#[test]
fn without_a_model_it_covers() {
    let angles = [0.0, 0.2, 0.4, 1.0, 1.1, 1.3, 3.0];
    let host = in_a_circle(&angles, &[0.5; 7]).round(0);
    let selection = select(&host, r#"{"radius": 0.35}"#, 3);
    assert_eq!((&selection.ids[..], selection.scores[0]), (&[1, 3, 6][..], 3.0 / 7.0));
}

/// 60 images in a row, cut into three clusters: pure balls hold next to nothing. Three balls that cover half hold 11 each, five on
/// either side of their centre, which is a chord of half a radian. Images that others labelled had such balls, too.
#[test]
fn the_first_radius_covers_half_unless_purity_alone_is_asked_for() {
    let angles: Vec<f32> = (0..60).map(|i| 0.1 * i as f32).collect();
    let host = || in_a_circle(&angles, &[0.5; 60]).plausibly(3, 1);
    for (params, least, most) in
        [("{}", 0.5, 0.6), (r#"{"coverage": 0.9}"#, 0.9, 1.0), (r#"{"purity": 0.95}"#, 0.0, 0.3)]
    {
        let covered: f32 = select(&host().round(0), params, 3).scores.iter().sum();
        assert!((least - 1e-6..=most + 1e-6).contains(&covered), "{params}: {covered}");
    }
    let labelled = host().labelled(&[0, 20, 40]).label(0, 0).label(20, 1).label(40, 0);
    let chord = 2.0 * 0.25f64.sin();
    let first = stored("{}", &labelled).0.unwrap();
    assert!((chord..=1.011 * chord).contains(&first), "{first}");
}

#[test]
fn radii_are_kept_and_a_resumed_run_goes_on() {
    let host = || TestHost::plausible(60, 3, 1);
    let mut instance = host().round(0).instance::<Dcom>("{}").unwrap();
    let first = instance.select(&host().round(0), 6).unwrap().ids;
    let second = instance.select(&host().labelled(&first), 6).unwrap().ids;
    let state = instance.save().unwrap();
    let (first_radius, radii): (Option<f64>, BTreeMap<u64, f64>) = wire::decode(&state).unwrap();
    assert!(first_radius.is_some() && radii.keys().copied().collect::<Vec<_>>() == sorted(&first));
    let labelled = [first, second].concat();
    let third = instance.select(&host().round(2).labelled(&labelled), 6).unwrap();
    let mut resumed = host().instance::<Dcom>("{}").unwrap();
    resumed.load(&state).unwrap();
    assert_eq!(resumed.select(&host().round(2).labelled(&labelled), 6).unwrap(), third);
    assert!(resumed.load(&[1, 2, 3]).is_err());
}

fn sorted(ids: &[u64]) -> Vec<u64> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}

#[test]
fn any_budget_is_met_whatever_the_model() {
    let classes = |host: TestHost| host.label(1, 0).label(4, 1);
    for host in [
        || in_a_circle(&ANGLES, &[0.5; 8]).labelled(&[1, 4]),
        || in_a_circle(&ANGLES, &[1.0; 8]).labelled(&[1, 4]),
        || in_a_circle(&[1.0; 8], &PROBS).labelled(&[1, 4]),
        || TestHost::plausible(8, 1, 1).labelled(&[1, 4]),
        || TestHost::plausible(8, 3, 1).round(0),
        || in_a_circle(&[1.0; 8], &PROBS).round(0),
    ] {
        for (budget, params) in [0, 1, 5, 6]
            .into_iter()
            .flat_map(|k| ["{}", r#"{"candidates": 1, "references": 1, "sample": 1}"#].map(|params| (k, params)))
        {
            let host = classes(host());
            let ids = sorted(&select(&host, params, budget).ids);
            let mut distinct = ids.clone();
            distinct.dedup();
            let unlabelled = host.request(8).unlabelled;
            assert!(distinct == ids && ids.iter().all(|id| unlabelled.contains(id)), "{params}: {ids:?}");
        }
    }
}

#[test]
fn params_without_any_radius_are_refused() {
    let error = TestHost::plausible(5, 2, 1).instance::<Dcom>(r#"{"resolution": 1.5}"#).err().unwrap();
    assert!(error.message.contains("`largest`"), "{error}");
}

#[test]
fn the_same_seed_draws_the_same_and_another_one_other_images() {
    let drawn = |seed| select(&in_a_circle(&[1.0; 40], &[0.5; 40]).round(0).seed([seed; 32]), "{}", 5).ids;
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

/// Where margins decide there are no ties.
#[test]
fn images_that_change_places_are_chosen_all_the_same() {
    let (params, labelled) = (r#"{"radius": 0.5, "turning": 0.1}"#, [2, 3, 5, 7]);
    let still = select(&TestHost::plausible(60, 4, 1).labelled(&labelled), params, 10).ids;
    let moved = TestHost::plausible(60, 4, 1).shuffled(1);
    let labelled: Vec<u64> = (0..60).filter(|id| labelled.contains(&moved.image_of(*id))).collect();
    let moved = moved.labelled(&labelled);
    let images: Vec<u64> = select(&moved, params, 10).ids.iter().map(|id| moved.image_of(*id)).collect();
    assert_eq!(images, still);
}
