//! `max-herding`: the images to which the whole pool is most alike, one by one (Bae, Noh and Sutherland 2024, Generalized
//! Coverage for More Robust Low-Budget Active Learning).
//!
//! What is maximised is the mean over the pool of each image's similarity to the labelled or picked image that is most like
//! it, with a smooth kernel in place of probcover's ball. Greedy picks reach at least 1 - 1/e of the best. Features are those
//! of the run's representation at unit length. Defaults are the released code's: the Gaussian kernel `exp(-d^2 / h^2)`, without the
//! usual factor of one half, bandwidth 1, and at most 35 000 unlabelled images, drawn from the seed, that may be picked.
//!
//! More than 100 000 images are represented by so many, where the released code measures similarity to all. Where no image adds
//! anything, as among copies, the rest is drawn from the seed; the released code takes the first images.

use coldstart_plugin_api::ops::Kernel;
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::radius::Places;

/// How alike two images are.
#[derive(Params)]
struct MaxHerdingParams {
    /// How similarity falls with the distance d. rbf: exp(-d^2 / h^2), the paper's. laplace: exp(-d / h). top-hat: 1 below
    /// the distance h, else 0, as probcover has it.
    #[param(default = "rbf")]
    kernel: Shape,
    /// The bandwidth h, a Euclidean distance between features.
    #[param(default = 1.0, min = 0.000001)]
    bandwidth: f64,
    /// At most so many unlabelled images, drawn from the seed, that may be picked; never fewer than the budget. Time grows
    /// with this number times the pool.
    #[param(default = 35000, min = 1)]
    candidates: u32,
    /// At most so many images, the labelled ones and others drawn from the seed, stand for the pool: similarity to them alone
    /// counts, and only they may be picked.
    #[param(default = 100000, min = 1)]
    references: u32,
    /// Whether features are scaled to unit length first.
    #[param(default = true)]
    unit: bool,
}

/// The shape of a kernel.
#[derive(Params, Clone, Copy)]
enum Shape {
    Rbf,
    Laplace,
    TopHat,
}

struct MaxHerding {
    params: MaxHerdingParams,
}

impl Strategy for MaxHerding {
    type Params = MaxHerdingParams;

    fn new(params: MaxHerdingParams, _: &Host<'_>) -> Result<Self> {
        Ok(MaxHerding { params })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let places = Places::of(request).at_most(self.params.references, request);
        let points = places.features(host, self.params.unit)?;
        let candidates = places.candidates(self.params.candidates, request);
        let wanted = Coverage {
            centres: &places.labelled,
            candidates: candidates.as_deref(),
            ..Coverage::new(request.budget, self.kernel())
        };
        let (picks, _) = points.coverage(&wanted)?;
        places.selection(&picks, request)
    }
}

impl MaxHerding {
    fn kernel(&self) -> Kernel {
        let bandwidth = self.params.bandwidth;
        match self.params.kernel {
            Shape::Rbf => Kernel::Rbf { bandwidth },
            Shape::Laplace => Kernel::Laplace { bandwidth },
            Shape::TopHat => Kernel::TopHat { radius: bandwidth },
        }
    }
}

export_plugin! {
    name: "max-herding",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: MaxHerding,
    criterion: REPRESENTATION,
    needs: [REPRESENT_1, NORMALIZE_1, COVERAGE_1],
    cite: "Bae, Noh and Sutherland 2024, Generalized Coverage for More Robust Low-Budget Active Learning",
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
        let selection = host.select::<MaxHerding>(params, budget).unwrap();
        assert_eq!(host.tensors_left(), 0);
        selection
    }

    /// Worked out apart, to six digits; the distances are f32, so that the last digit may differ.
    #[test]
    fn picks_and_gains_equal_the_closed_form() {
        for (params, ids, gains) in [
            (r#""bandwidth": 1.0"#, [2, 4, 6], [0.652750, 0.174510, 0.138993]),
            (r#""bandwidth": 0.35"#, [4, 1, 6], [0.380392, 0.346162, 0.142857]),
            (r#""kernel": "top-hat", "bandwidth": 0.35"#, [1, 3, 6], [3.0 / 7.0, 3.0 / 7.0, 1.0 / 7.0]),
        ] {
            let selection = select(&on_a_line(&LINE), &format!(r#"{{{params}, "unit": false}}"#), 3);
            assert_eq!(selection.ids, ids, "{params}");
            let off = selection.scores.iter().zip(gains).map(|(score, gain): (_, f32)| (score - gain).abs());
            assert!(off.fold(0.0, f32::max) < 2e-6, "{:?}", selection.scores);
        }
    }

    /// Two images beside a labelled one, and one far from it: under a smooth kernel the far one adds most, while balls of 0.4
    /// around the three hold as much. The first two are as good as each other.
    #[test]
    fn what_is_labelled_is_covered_and_ties_go_to_the_lowest_id() {
        for (kernel, expected) in [("rbf", [3, 0, 2]), ("laplace", [3, 0, 2]), ("top-hat", [0, 2, 3])] {
            let host = on_a_line(&[1.5, 1.0, 0.5, 9.0]).labelled(&[1]);
            let params = format!(r#"{{"kernel": "{kernel}", "unit": false, "bandwidth": 0.4}}"#);
            assert_eq!(select(&host, &params, 3).ids, expected, "{kernel}");
        }
    }

    #[test]
    fn any_budget_is_met_whatever_the_points() {
        for (line, params) in [(LINE, "{}"), ([3.0; 7], "{}"), (LINE, r#"{"candidates": 1, "kernel": "top-hat"}"#)] {
            for budget in [0, 1, 4, 5] {
                let mut ids = select(&on_a_line(&line).labelled(&[1, 4]), params, budget).ids;
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

    #[test]
    fn images_that_change_places_are_chosen_all_the_same() {
        let still = select(&TestHost::plausible(60, 4, 1).round(0), "{}", 10).ids;
        let moved = TestHost::plausible(60, 4, 1).round(0).shuffled(1);
        let images: Vec<u64> = select(&moved, "{}", 10).ids.iter().map(|id| moved.image_of(*id)).collect();
        assert_eq!(images, still);
    }
}
