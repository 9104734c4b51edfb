//! `coverage-knee`: as many images as cover most of the pool, chosen greedily.
//!
//! Features are those of the run's representation at unit length. An image covers those nearer than a radius; the size is the smallest
//! number of greedy picks, beside the labelled images, with which `coverage` of the pool lies in a ball. 0.8 is where DCoM (Mishal and
//! Weinshall 2024) turns from coverage to uncertainty, with its own radii; nobody has published it as a size.
//!
//! The radius decides. A rule that gives the budget's balls a share to cover, as in probcover, would answer with the bounds that it is
//! given. Here balls are as large as one for each class needs to cover half of the pool (`start`), whatever the bounds: how many more
//! it takes from there to `coverage` is what the features say. Covering, with an image for each class, is where ProbCover begins
//! (Yehuda, Dekel, Hacohen and Weinshall 2022, Active Learning Through a Covering Lens). Its radius, the largest at which 95 % of all
//! balls hold a single pseudo-label, is taken where it is larger, and alone with `purity`: on features that mix the classes it is so
//! small that the answer is as many as there may be.
//!
//! A large pool is represented by `references` images. The radius is found once and kept for the run.

use coldstart_plugin_api::ops::Kernel;
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::radius::{Covering, PURITY, Places, Purity, Reach};
use coldstart_plugin_api::wire;

/// What covers, and how much of the pool.
#[derive(Params)]
struct KneeParams {
    /// The share of the pool that has to be covered.
    #[param(default = 0.8, min = 0.0, max = 1.0)]
    coverage: f64,
    /// The radius of a ball, a Euclidean distance between features. Absent, the larger of the two that `purity` and `start` say.
    #[param(min = 0.000001)]
    radius: Option<f64>,
    /// The share of the pool that as many greedy balls as classes (`clusters`) cover, at least: it says how large a ball is. Absent,
    /// 0.5; with `purity` 0, so that purity alone decides.
    #[param(min = 0.0, max = 1.0)]
    start: Option<f64>,
    /// The share of balls that must hold a single pseudo-label in the paper's rule. Absent, 0.95.
    #[param(min = 0.0, max = 1.0)]
    purity: Option<f64>,
    /// How many balls begin, and how many pseudo-labels k-means makes, at least 2; absent, as many as classes.
    #[param(min = 2)]
    clusters: Option<u32>,
    /// At most so many images, drawn from the seed, that are looked at for the radius; for `start` no fewer than
    /// 5000, nor than 20 for each ball.
    #[param(default = 2000, min = 1)]
    sample: u32,
    /// At most so many images, the labelled ones and others drawn from the seed, stand for the pool.
    #[param(default = 5000, min = 1)]
    references: u32,
}

struct CoverageKnee {
    params: KneeParams,
    /// The radius, once it was found.
    found: Option<f64>,
}

impl Sizer for CoverageKnee {
    type Params = KneeParams;

    fn new(params: KneeParams, _: &Host<'_>) -> Result<Self> {
        Ok(CoverageKnee { params, found: None })
    }

    fn size(&mut self, request: &Request, bounds: Bounds, host: &Host<'_>) -> Result<Sizing> {
        let places = Places::of(request).at_most(self.params.references, request);
        let points = places.features(host, true)?;
        // Where no radius tells the images apart a ball holds a point, and its copies.
        let radius = self.radius(&points, &places, request, host)?.max(f64::MIN_POSITIVE);
        let wanted = self.params.coverage;
        let kernel = Kernel::TopHat { radius };
        let cover = Coverage { centres: &places.labelled, ..Coverage::new(bounds.most, kernel) };
        let (picks, answer) = points.coverage(&cover)?;
        let mut covered = answer.before;
        let mut n_more = 0;
        for gain in &picks.scores {
            if covered >= wanted {
                break;
            }
            covered += f64::from(*gain);
            n_more += 1;
        }
        let reach = Reach::of(&points, &places, radius, n_more, covered)?;
        reach.tell("take larger balls (`radius`, `start`)");
        let share = |share: f64| (100.0 * share).round();
        let reason = match covered >= wanted {
            true if n_more == 0 => format!("the labelled images cover {} % of the pool", share(covered)),
            true => format!("so many images cover {} % of the pool", share(covered)),
            false => format!("even so many images cover no more than {} % of the pool", share(covered)),
        };
        let sizing = Sizing::of(places.labelled.len() + n_more, reason);
        Ok(sizing.with("radius", radius).with("covered_before", answer.before).with("covered", covered))
    }

    fn save(&self) -> Result<Vec<u8>> {
        Ok(wire::encode(&(self.found,)))
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        (self.found,) = wire::decode(state)?;
        Ok(())
    }
}

impl CoverageKnee {
    /// The radius of all balls.
    fn radius(&mut self, points: &Tensor<'_, '_>, places: &Places, request: &Request, host: &Host<'_>) -> Result<f64> {
        if let Some(radius) = self.params.radius.or(self.found) {
            return Ok(radius);
        }
        let KneeParams { start, purity, clusters, sample, .. } = self.params;
        let rule = Purity::new(purity.unwrap_or(PURITY), clusters, sample, host)?;
        let pure = rule.radius(points, request)?;
        // Whatever is labelled already, so that the radius is the same in whichever round it is first asked for.
        let before = places.before_labels();
        let n_balls = rule.clusters.max(2);
        let radius = Covering::asked(start, purity, sample).radius(points, &before, n_balls, pure, request)?;
        Ok(*self.found.insert(radius))
    }
}

export_plugin! {
    name: "coverage-knee",
    publisher: "coldstart",
    sizer: CoverageKnee,
    needs: [REPRESENT_1, NORMALIZE_1, KMEANS_1, GATHER_1, NEAREST_1, COVERAGE_1, KERNEL_SUMS_1],
    cite: "Yehuda, Dekel, Hacohen and Weinshall 2022, Active Learning Through a Covering Lens",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    const BOUNDS: Bounds = Bounds { least: 1, most: 50 };

    /// On a circle, so that unit length changes nothing: three groups of 6, 3 and 1 points, far from each other.
    fn host() -> TestHost {
        let at = |angle: f32| [angle.cos(), angle.sin()];
        let group = |middle: f32, n: usize| (0..n).map(move |i| at(middle + 0.01 * i as f32));
        let rows: Vec<[f32; 2]> = group(0.0, 6).chain(group(2.0, 3)).chain(group(4.0, 1)).collect();
        TestHost::new(10).representation(&rows).plausibly(3, 1)
    }

    fn size(host: &TestHost, coverage: f64) -> (usize, f64) {
        let params = format!(r#"{{"coverage": {coverage}, "radius": 0.5}}"#);
        let sizing = host.sizer::<CoverageKnee>(&params).unwrap().size(host, 2, BOUNDS).unwrap();
        assert_eq!(host.tensors_left(), 0);
        (sizing.wanted, (sizing.measures["covered"] * 10.0).round())
    }

    /// By hand: one ball covers a group whole.
    #[test]
    fn the_fewest_balls_that_cover_enough() {
        for (coverage, wanted) in [(0.0, (0, 0.0)), (0.5, (1, 6.0)), (0.6, (1, 6.0)), (0.8, (2, 9.0)), (1.0, (3, 10.0))]
        {
            assert_eq!(size(&host().round(0), coverage), wanted, "{coverage}");
        }
        // What is labelled covers its group, and one more ball covers the largest.
        assert_eq!(size(&host().labelled(&[7]), 0.8), (2, 9.0));
        assert_eq!(size(&host().labelled(&[0, 1, 2, 7]), 0.8), (4, 9.0));
    }

    /// Eight groups of four in a plane. Balls that two need to cover half hold two groups, and two more cover the rest: the answer is
    /// the same whatever the bounds.
    #[test]
    fn the_answer_does_not_follow_the_bounds() {
        let at = |angle: f32| [angle.cos(), angle.sin()];
        let rows: Vec<[f32; 2]> = (0..32).map(|i| at(0.785 * (i / 4) as f32 + 0.01 * (i % 4) as f32)).collect();
        let host = || TestHost::new(32).representation(&rows).plausibly(2, 1).round(0);
        let asked = |params: &str, most: usize| {
            let bounds = Bounds { least: 1, most };
            host().sizer::<CoverageKnee>(params).unwrap().size(&host(), 2, bounds).unwrap()
        };
        for most in [5, 10, 30] {
            let wanted = asked("{}", most).wanted;
            assert_eq!(wanted, asked("{}", 32).wanted, "{most}");
            assert!((3..=4).contains(&wanted), "{wanted}");
        }
        assert!(asked(r#"{"start": 0.9}"#, 32).wanted <= 2);
        assert_eq!(asked(r#"{"start": 0}"#, 32), asked(r#"{"purity": 0.95}"#, 32));
    }

    #[test]
    fn the_radius_is_found_once_and_kept_with_the_run() {
        let plausible = || TestHost::plausible(60, 3, 1);
        let mut sizer = plausible().sizer::<CoverageKnee>("{}").unwrap();
        let first = sizer.size(&plausible().round(0), 5, BOUNDS).unwrap();
        let mut resumed = plausible().sizer::<CoverageKnee>("{}").unwrap();
        resumed.load(&sizer.save().unwrap()).unwrap();
        let next = plausible().labelled(&[1, 2]);
        let second = resumed.size(&next, 5, BOUNDS).unwrap();
        assert!(!next.calls().contains(&"kmeans/1".to_owned()));
        assert_eq!((second.measures["radius"], resumed.load(&[9, 9]).is_err()), (first.measures["radius"], true));
    }
}
