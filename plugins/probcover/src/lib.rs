//! `probcover`: the images whose balls cover most of the pool, one by one (Yehuda, Dekel, Hacohen and Weinshall 2022, Active
//! Learning Through a Covering Lens).
//!
//! Features are those of the run's representation at unit length. An image covers those nearer than a radius; what the
//! labelled cover is covered already, and each pick covers most of the rest. Paper and released code:
//!
//! - The radius is the largest at which 95 % of all balls hold a single pseudo-label, the paper's rule, found once and kept
//!   for the run. The released code takes it as an argument (0.75 for CIFAR-10, with its own features); so does `radius`.
//! - Where all is covered before the budget is spent, paper and code say nothing, and the code then picks the first image.
//!   Here all balls are halved, up to eight times, and what is left after that is drawn from the seed.
//! - The code builds its graph in blocks of 500 images and drops the last block if it is not full. Here none is dropped.
//!
//! Of a very large pool only some unlabelled images may be picked (`candidates`); all have to be covered in any case.

use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::radius::{Places, Purity, cover};
use coldstart_plugin_api::wire;

/// How large a ball is.
#[derive(Params)]
struct ProbCoverParams {
    /// The radius of a ball, a Euclidean distance between features. Absent, the largest at which enough balls are pure.
    #[param(min = 0.000001)]
    radius: Option<f64>,
    /// The share of balls that must hold a single pseudo-label.
    #[param(default = 0.95, min = 0.0, max = 1.0)]
    purity: f64,
    /// How many pseudo-labels k-means makes, at least 2; absent, as many as classes.
    #[param(min = 2)]
    clusters: Option<u32>,
    /// At most so many images, drawn from the seed, whose balls are looked at for the radius.
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
    /// What the rule found, once it was asked.
    found: Option<f64>,
}

impl Strategy for ProbCover {
    type Params = ProbCoverParams;

    fn new(params: ProbCoverParams, _: &Host<'_>) -> Result<Self> {
        Ok(ProbCover { params, found: None })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let places = Places::of(request);
        let points = places.features(host, self.params.unit)?;
        let radius = match self.params.radius.or(self.found) {
            Some(radius) => radius,
            None => {
                let ProbCoverParams { purity, clusters, sample, .. } = self.params;
                *self.found.insert(Purity::new(purity, clusters, sample, host)?.radius(&points, request)?)
            }
        };
        let candidates = places.candidates(self.params.candidates, request);
        let picks = cover(&points, &places, radius, request.budget, candidates.as_deref())?;
        places.selection(&picks, request)
    }

    fn save(&self) -> Result<Vec<u8>> {
        Ok(wire::encode(&(self.found,)))
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        (self.found,) = wire::decode(state)?;
        Ok(())
    }
}

export_plugin! {
    name: "probcover",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: ProbCover,
    needs: [REPRESENT_1, NORMALIZE_1, KMEANS_1, GATHER_1, NEAREST_1, COVERAGE_1],
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

    #[test]
    fn any_budget_is_met_whatever_the_points() {
        let all_params = ["{}", r#"{"radius": 9.0}"#, r#"{"candidates": 1}"#, r#"{"radius": 0.01, "unit": false}"#];
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
