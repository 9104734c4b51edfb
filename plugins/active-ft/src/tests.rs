use super::descent::{Centres, Slope};
use super::*;
use coldstart_plugin_api::testing::TestHost;

/// What it is, and how it is made.
type Pool = (&'static str, fn() -> TestHost);

/// Points on the unit circle at these angles.
fn circle<const N: usize>(degrees: [f32; N]) -> TestHost {
    TestHost::new(N as u64).round(0).representation(&degrees.map(|angle| {
        let angle = angle.to_radians();
        [2.0 * angle.cos(), 2.0 * angle.sin()]
    }))
}

/// The loss as it is written, in which only the centre of each point moves; `still` stand for the others.
fn plain_loss(points: &[Vec<f64>], moving: &[Vec<f64>], still: &[Vec<f64>], temperature: f64, balance: f64) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let unit = |rows: &[Vec<f64>]| -> Vec<Vec<f64>> {
        rows.iter().map(|row| row.iter().map(|x| x / dot(row, row).sqrt()).collect()).collect()
    };
    let (points, moving, still) = (unit(points), unit(moving), unit(still));
    let loss = |point: &Vec<f64>| {
        let nearest =
            (0..still.len()).fold(0, |k, j| if dot(point, &still[j]) > dot(point, &still[k]) { j } else { k });
        let own = dot(point, &moving[nearest]) / temperature;
        let crowd: f64 = still.iter().map(|other| (dot(other, &moving[nearest]) / temperature).exp()).sum();
        (own.exp() + balance * crowd).ln() - own
    };
    points.iter().map(loss).sum::<f64>() / points.len() as f64
}

/// Checks loss and gradient against the plain loss and its central differences.
struct Check;

impl Strategy for Check {
    type Params = ActiveFtParams;

    fn new(_: ActiveFtParams, _: &Host<'_>) -> Result<Self> {
        Ok(Check)
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let strategy = ActiveFt { params: ActiveFtParams::from_json(r#"{"temperature": 0.2, "balance": 1.5}"#)? };
        let descent = strategy.descent();
        let points = host.representation(&request.pool())?.unit()?;
        let points_nd = points.read_matrix()?;
        let rows = |elements: &[f64]| elements.chunks(points_nd.n_cols()).map(<[f64]>::to_vec).collect::<Vec<_>>();
        let wide = |matrix: &Matrix| matrix.elements().iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let mut centres = Centres::new(&strategy.start(&points, request)?);
        // Away from the images, and not at unit length.
        let mut rng = request.rng("noise");
        centres.raw_bd.iter_mut().for_each(|x| *x = 1.3 * *x + 0.1 * rng.normal());
        let Slope { loss, gradient_bd } = descent.slope(&centres, &points, host)?;
        let (points, still) = (rows(&wide(&points_nd)), rows(&centres.raw_bd));
        let plain = |raw_bd: &[f64]| plain_loss(&points, &rows(raw_bd), &still, 0.2, 1.5);
        // A distance in f32 is off by about 1e-7, and cosines are divided by the temperature.
        assert!((loss - plain(&centres.raw_bd)).abs() < 1e-5);
        for i in 0..gradient_bd.len() {
            let at = |step: f64| {
                let mut raw_bd = centres.raw_bd.clone();
                raw_bd[i] += step;
                plain(&raw_bd)
            };
            // The differences themselves are off by about the square of their step.
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((gradient_bd[i] - difference).abs() < 1e-5, "{i}: {} {difference}", gradient_bd[i]);
        }
        Ok(Selection::of(request.unlabelled[..request.budget].to_vec()))
    }
}

#[test]
fn loss_and_gradient_equal_plain_ones_and_differences() {
    for seed in 0..5 {
        TestHost::plausible(60, 4, seed).round(0).select::<Check>("{}", 7).unwrap();
    }
}

/// Checks that the way down leads down.
struct Falls;

impl Strategy for Falls {
    type Params = ActiveFtParams;

    fn new(_: ActiveFtParams, _: &Host<'_>) -> Result<Self> {
        Ok(Falls)
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let points = host.representation(&request.pool())?.unit()?;
        let losses = [0, 20, 100, 300].map(|iterations| {
            let strategy =
                ActiveFt { params: ActiveFtParams::from_json(&format!(r#"{{"iterations": {iterations}}}"#))? };
            let start_bd = strategy.start(&points, request)?;
            let descent = strategy.descent();
            let centres = Centres::new(&descent.run(&start_bd, &points, host)?);
            Ok(descent.slope(&centres, &points, host)?.loss)
        });
        let losses = losses.into_iter().collect::<Result<Vec<f64>>>()?;
        assert!(losses.is_sorted_by(|before, after| after < before), "{losses:?}");
        Ok(Selection::of(request.unlabelled[..request.budget].to_vec()))
    }
}

#[test]
fn the_loss_falls() {
    for seed in 0..3 {
        TestHost::plausible(200, 5, seed).round(0).select::<Falls>("{}", 10).unwrap();
    }
}

/// Two clusters far apart on the circle, and a centre for each: it ends in the middle of its cluster.
#[test]
fn centres_go_to_the_middle_of_their_cluster() {
    let host = circle([0.0, 8.0, 16.0, 180.0, 188.0, 196.0]);
    let mut ids = host.select::<ActiveFt>(r#"{"start": "farthest"}"#, 2).unwrap().ids;
    ids.sort_unstable();
    assert_eq!(ids, [1, 4]);
}

#[test]
fn without_a_step_the_start_is_the_answer() {
    let host = TestHost::plausible(50, 4, 1).round(0);
    let drawn = host.request(9).rng("centres").sample(50, 9);
    let ids = host.select::<ActiveFt>(r#"{"iterations": 0}"#, 9).unwrap().ids;
    assert_eq!(ids, drawn.iter().map(|i| *i as u64).collect::<Vec<u64>>());
}

#[test]
fn ties_go_to_the_lowest_id_and_a_taken_image_to_nobody_else() {
    let same = TestHost::new(40).round(0).representation(&[[1.0, 2.0]; 40]);
    for budget in [1, 15, 16, 17, 39, 40] {
        let ids = same.select::<ActiveFt>(r#"{"iterations": 2}"#, budget).unwrap().ids;
        assert_eq!(ids, (0..budget as u64).collect::<Vec<u64>>());
    }
}

#[test]
fn every_budget_is_met_on_every_pool() {
    let pools: [Pool; 3] = [
        ("plausible", || TestHost::plausible(40, 4, 1)),
        ("all the same", || TestHost::plausible(40, 4, 1).all_alike()),
        ("nothing but zeros", || TestHost::new(40).representation(&[[0.0; 3]; 40])),
    ];
    for (what, pool) in pools {
        for labelled in [&[][..], &[3, 17, 39]] {
            let (n, host) = (40 - labelled.len(), pool().round(0).labelled(labelled));
            for (params, budget) in [("{}", 0), ("{}", 1), (r#"{"points": 5}"#, 8), ("{}", n - 1), ("{}", n)] {
                let selection = host.select::<ActiveFt>(params, budget).unwrap();
                let mut ids = selection.ids.clone();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), budget, "{what}");
                assert!(ids.iter().all(|id| !labelled.contains(id)), "{what}");
                assert!(selection.scores.iter().all(|score| score.is_finite()), "{what}");
                assert_eq!(host.select::<ActiveFt>(params, budget).unwrap(), selection, "{what}");
                assert_eq!(host.tensors_left(), 0);
            }
        }
    }
}
