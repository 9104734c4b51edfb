//! `probcover`: the images whose balls cover most of the pool, one by one (Yehuda, Dekel, Hacohen and Weinshall 2022, Active
//! Learning Through a Covering Lens).
//!
//! Features are those of the run's representation at unit length. An image covers those nearer than a radius; what the
//! labelled cover is covered already, and each pick covers most of the rest. Paper and released code:
//!
//! - The paper's radius is the largest at which 95 % of all balls hold a single pseudo-label, and the released code takes it as
//!   an argument (0.75 for CIFAR-10, with its own features). On features that mix the classes that is so small that most balls
//!   hold nothing but their centre, and picks crowd where images lie closest; Bae, Noh and Sutherland 2024 call the method
//!   extremely sensitive to the radius, and say that the rule often fails. So the default is ours: the larger of the paper's
//!   radius and the smallest one with which the balls of the labelled and of this round's picks cover half of the pool
//!   (`coverage`). The first is found once and kept for the run, the second in each round. `radius` says it, and `purity` alone
//!   is the paper's rule.
//! - Where all is covered before the budget is spent, paper and code say nothing, and the code then picks the first image.
//!   Here all balls are halved, up to eight times, and what is left after that is drawn from the seed.
//! - The code builds its graph in blocks of 500 images and drops the last block if it is not full. Here none is dropped.
//!
//! Of a very large pool only some unlabelled images may be picked (`candidates`); all have to be covered in any case.

use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::radius::{Covering, PURITY, Places, Purity, cover};
use coldstart_plugin_api::wire;

/// How large a ball is.
#[derive(Params)]
struct ProbCoverParams {
    /// The radius of a ball, a Euclidean distance between features. Absent, the larger of the two that `purity` and `coverage` say.
    #[param(min = 0.000001)]
    radius: Option<f64>,
    /// The share of the pool that the balls of the labelled and of this round's picks cover, at least. Absent, 0.5; with `purity`
    /// 0, so that purity alone decides.
    #[param(min = 0.0, max = 1.0)]
    coverage: Option<f64>,
    /// The share of balls that must hold a single pseudo-label in the paper's rule. Absent, 0.95.
    #[param(min = 0.0, max = 1.0)]
    purity: Option<f64>,
    /// How many pseudo-labels k-means makes, at least 2; absent, as many as classes.
    #[param(min = 2)]
    clusters: Option<u32>,
    /// At most so many images, drawn from the seed, that are looked at for the radius; for `coverage` no fewer than
    /// 5000, nor than 20 for each pick.
    #[param(default = 2000, min = 1)]
    sample: u32,
    /// At most so many unlabelled images, drawn from the seed, that may be picked; never fewer than the budget. Time grows
    /// with this number times the pool.
    #[param(default = 50000, min = 1)]
    candidates: u32,
    /// Whether features are scaled to unit length first.
    #[param(default = true)]
    unit: bool,
}

struct ProbCover {
    params: ProbCoverParams,
    /// The radius by purity, once it was found.
    pure: Option<f64>,
}

impl Strategy for ProbCover {
    type Params = ProbCoverParams;

    fn new(params: ProbCoverParams, _: &Host<'_>) -> Result<Self> {
        Ok(ProbCover { params, pure: None })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let places = Places::of(request);
        let points = places.features(host, self.params.unit)?;
        let radius = self.radius(&points, &places, request, host)?;
        let candidates = places.candidates(self.params.candidates, request);
        let picks = cover(&points, &places, radius, request.budget, candidates.as_deref())?;
        places.selection(&picks, request)
    }

    fn save(&self) -> Result<Vec<u8>> {
        Ok(wire::encode(&(self.pure,)))
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        (self.pure,) = wire::decode(state)?;
        Ok(())
    }
}

impl ProbCover {
    /// The radius of this round's balls.
    fn radius(&mut self, points: &Tensor<'_, '_>, places: &Places, request: &Request, host: &Host<'_>) -> Result<f64> {
        let ProbCoverParams { radius, coverage, purity, clusters, sample, .. } = self.params;
        if let Some(radius) = radius {
            return Ok(radius);
        }
        let pure = match self.pure {
            Some(pure) => pure,
            None => {
                let rule = Purity::new(purity.unwrap_or(PURITY), clusters, sample, host)?;
                *self.pure.insert(rule.radius(points, request)?)
            }
        };
        Covering::asked(coverage, purity, sample).radius(points, places, request.budget, pure, request)
    }
}

export_plugin! {
    name: "probcover",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: ProbCover,
    criterion: REPRESENTATION,
    needs: [REPRESENT_1, NORMALIZE_1, KMEANS_1, GATHER_1, NEAREST_1, COVERAGE_1, KERNEL_SUMS_1],
    cite: "Yehuda, Dekel, Hacohen and Weinshall 2022, Active Learning Through a Covering Lens",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    const LINE: [f32; 7] = [0.0, 0.2, 0.4, 1.0, 1.1, 1.3, 3.0];

    fn on_a_line(line: &[f32]) -> TestHost {
        let rows: Vec<[f32; 1]> = line.iter().map(|x| [*x]).collect();
        TestHost::new(line.len() as u64).representation(&rows)
    }

    fn select(host: &TestHost, params: &str, budget: usize) -> Selection {
        let selection = host.select::<ProbCover>(params, budget).unwrap();
        assert_eq!(host.tensors_left(), 0);
        selection
    }

    /// By hand: balls of 0.35 around 0.2 and 1.0 hold three points each, the one around 3.0 holds itself.
    #[test]
    fn the_fullest_balls_come_first_and_ties_go_to_the_lowest_id() {
        for (labelled, ids, gains) in [(&[][..], [1, 3, 6], [3.0, 3.0, 1.0]), (&[0], [3, 1, 6], [3.0, 1.0, 1.0])] {
            let selection = select(&on_a_line(&LINE).labelled(labelled), r#"{"radius": 0.35, "unit": false}"#, 3);
            assert_eq!(selection.ids, ids, "{labelled:?}");
            assert_eq!(selection.scores, gains.map(|gain| gain / 7.0));
        }
    }

    /// The second round asks for no cluster, nor does a run that is resumed.
    #[test]
    fn the_radius_is_found_once_and_kept_with_the_run() {
        let host = || TestHost::plausible(50, 3, 1);
        let mut instance = host().round(0).instance::<ProbCover>("{}").unwrap();
        let first = instance.select(&host().round(0), 5).unwrap().ids;
        let asked = |instance: &mut coldstart_plugin_api::testing::TestInstance| {
            let next = host().labelled(&first);
            (instance.select(&next, 5).unwrap(), next.calls().contains(&"kmeans/1".to_owned()))
        };
        let second = asked(&mut instance);
        assert!(!second.1);
        let mut resumed = host().instance::<ProbCover>("{}").unwrap();
        resumed.load(&instance.save().unwrap()).unwrap();
        assert_eq!(asked(&mut resumed), second);
        assert!(resumed.load(&[1, 2, 3]).is_err());
    }

    /// 60 points in a row, cut into three clusters: pure balls hold a point or three, whereas those that three picks need to
    /// cover half hold 10 or more.
    #[test]
    fn balls_are_as_large_as_the_budget_needs_unless_purity_alone_is_asked_for() {
        let row: Vec<f32> = (0..60).map(|x| x as f32).collect();
        let covered = |params: &str| {
            let host = on_a_line(&row).plausibly(3, 1).round(0);
            select(&host, &format!(r#"{{"unit": false{params}}}"#), 3).scores.iter().sum::<f32>()
        };
        let around = |params: &str, least: f32, most: f32| {
            let covered = covered(params);
            assert!((least - 1e-6..=most + 1e-6).contains(&covered), "{params}: {covered}");
        };
        around("", 0.5, 0.6);
        around(r#", "coverage": 0.8"#, 0.8, 0.9);
        around(r#", "purity": 0.95"#, 0.0, 0.2);
        around(r#", "coverage": 0"#, 0.0, 0.2);
        around(r#", "purity": 0.95, "coverage": 0.5"#, 0.5, 0.6);
        // Where hardly a ball has to be pure they are larger than the coverage needs; then they are halved, and cover anew.
        around(r#", "purity": 0.1, "coverage": 0.2"#, 0.5, 3.0);
        around(r#", "radius": 2.5, "coverage": 0.5"#, 0.25, 0.25);
    }

    #[test]
    fn any_budget_is_met_whatever_the_points() {
        let all_params = [
            "{}",
            r#"{"coverage": 1}"#,
            r#"{"purity": 0.5, "coverage": 0.5, "sample": 1}"#,
            r#"{"radius": 9.0}"#,
            r#"{"candidates": 1}"#,
            r#"{"radius": 0.01, "unit": false}"#,
        ];
        for (line, params) in [&LINE[..], &[3.0; 7]].iter().flat_map(|line| all_params.map(|params| (line, params))) {
            for budget in [0, 1, 4, 5] {
                let mut ids = select(&on_a_line(line).labelled(&[1, 4]), params, budget).ids;
                ids.sort_unstable();
                ids.dedup();
                assert!(ids.len() == budget && ids.iter().all(|id| ![1, 4].contains(id)), "{params}: {ids:?}");
            }
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_one_other_images() {
        let drawn = |seed| select(&on_a_line(&[3.0; 40]).round(0).seed([seed; 32]), "{}", 5).ids;
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    /// Balls tie often, and then the id decides; how much they add is the same.
    #[test]
    fn images_that_change_places_cover_the_same() {
        let params = r#"{"radius": 0.5}"#;
        let gains = |host: TestHost| select(&host.round(0), params, 4).scores;
        let still = gains(TestHost::plausible(80, 4, 1));
        assert_eq!(gains(TestHost::plausible(80, 4, 1).shuffled(1)), still);
    }
}
