//! `distance-elbow`: the size at which more centres stop bringing the pool much nearer to them.
//!
//! Features are those of the run's representation at unit length. For sizes between the bounds, in equal ratios, k-means gives so
//! many centres, and the mean distance of an image to the nearest one falls with the size. BiLAF (Lu, Xie, Zhao, Yan and Yang
//! 2024, Boundary Matters) proposes the size where its return flattens as the point to turn from centres to boundaries, and reads
//! it off a plot. Here it is the elbow of Satopaa, Albrecht, Irwin and Raghavan (2011, Finding a "Kneedle" in a Haystack): the size
//! that lies farthest below the straight line between the ends, both axes scaled to 0 and 1. So it depends on the bounds.
//!
//! Centres are k-means', BiLAF's are ActiveFT's. A large pool is represented by `references` images. It looks at no label: one
//! answer holds for the whole run.

use coldstart_plugin_api::ops::KMeansArgs;
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::radius::Places;
use coldstart_plugin_api::wire;

/// How the distances are found.
#[derive(Params)]
struct ElbowParams {
    /// How many sizes are tried.
    #[param(default = 10, min = 3)]
    sizes: u32,
    /// The most rounds of k-means for each.
    #[param(default = 20, min = 1)]
    iterations: u32,
    /// At most so many images, drawn from the seed, stand for the pool.
    #[param(default = 5000, min = 1)]
    references: u32,
}

struct DistanceElbow {
    params: ElbowParams,
    /// The answer, once it was asked: the size, and the mean distances at it and at both ends.
    found: Option<(u64, [f64; 3])>,
}

impl Sizer for DistanceElbow {
    type Params = ElbowParams;

    fn new(params: ElbowParams, _: &Host<'_>) -> Result<Self> {
        Ok(DistanceElbow { params, found: None })
    }

    fn size(&mut self, request: &Request, bounds: Bounds, host: &Host<'_>) -> Result<Sizing> {
        let (size, [distance, at_least, at_most]) = match self.found {
            Some(found) => found,
            None => *self.found.insert(self.find(request, bounds, host)?),
        };
        let reason = format!("beyond {size} centres the mean distance of an image to the nearest falls slowly");
        let sizing = Sizing::of(size as usize, reason).with("distance", distance);
        Ok(sizing.with("distance_at_least", at_least).with("distance_at_most", at_most))
    }

    fn save(&self) -> Result<Vec<u8>> {
        Ok(wire::encode(&(self.found,)))
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        (self.found,) = wire::decode(state)?;
        Ok(())
    }
}

impl DistanceElbow {
    fn find(&self, request: &Request, bounds: Bounds, host: &Host<'_>) -> Result<(u64, [f64; 3])> {
        let places = Places::of(request).at_most(self.params.references, request);
        let points = places.features(host, true)?;
        let n = places.pool.len().max(1);
        let sizes = ratios(bounds.least.clamp(1, n), bounds.most.clamp(1, n), self.params.sizes as usize);
        let mut distances = Vec::new();
        for (i, size) in sizes.iter().enumerate() {
            host.progress("centres", i as u64, sizes.len() as u64);
            let stream = format!("{size} centres");
            let iterations = self.params.iterations;
            let args = KMeansArgs { clusters: *size as u32, iterations, restarts: 1, tolerance: 1e-4, stream };
            let centres = host.points(&points.kmeans(&args)?.centres_kd)?;
            let apart = points.nearest(&centres, 1, None)?.distances_nk;
            distances.push(apart.elements().iter().map(|distance| f64::from(*distance)).sum::<f64>() / n as f64);
        }
        let at = elbow(&sizes, &distances);
        Ok((sizes[at] as u64, [distances[at], distances[0], distances[distances.len() - 1]]))
    }
}

/// At most `count` whole numbers from `low` to `high` in about equal ratios, both among them.
fn ratios(low: usize, high: usize, count: usize) -> Vec<usize> {
    let ratio = high as f64 / low as f64;
    let step = |i: usize| (low as f64 * ratio.powf(i as f64 / (count - 1) as f64)).round() as usize;
    let mut sizes: Vec<usize> = (0..count).map(step).collect();
    sizes.dedup();
    sizes
}

/// The position of the point that lies farthest below the line between the ends; the first where there is none below.
fn elbow(sizes: &[usize], distances: &[f64]) -> usize {
    let scaled = |value: f64, from: f64, to: f64| if to == from { 0.0 } else { (value - from) / (to - from) };
    let (first, last) = (0, sizes.len() - 1);
    // Scaled, the line goes from (0, 0) to (1, 1), and what has fallen more than its share lies above.
    let above = |i: usize| {
        let fallen = scaled(distances[i], distances[first], distances[last]);
        fallen - scaled(sizes[i] as f64, sizes[first] as f64, sizes[last] as f64)
    };
    (0..=last).fold(0, |best, i| if above(i) > above(best) { i } else { best })
}

export_plugin! {
    name: "distance-elbow",
    publisher: "coldstart",
    sizer: DistanceElbow,
    needs: [REPRESENT_1, NORMALIZE_1, KMEANS_1, NEAREST_1],
    cite: "Lu, Xie, Zhao, Yan and Yang 2024, Boundary Matters: A Bi-Level Active Finetuning Method",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    #[test]
    fn sizes_grow_in_equal_ratios_from_end_to_end() {
        assert_eq!(ratios(10, 1000, 3), [10, 100, 1000]);
        assert_eq!(ratios(1, 4, 10), [1, 2, 3, 4]);
        assert_eq!(ratios(7, 7, 5), [7]);
    }

    #[test]
    fn the_elbow_lies_farthest_below_the_line() {
        for (distances, at) in [
            ([9.0, 2.0, 1.5, 1.0], 1),
            // It falls most at the second step.
            ([9.0, 8.5, 1.2, 1.0], 2),
            // A straight line has none.
            ([4.0, 3.0, 2.0, 1.0], 0),
            ([1.0; 4], 0),
        ] {
            assert_eq!(elbow(&[1, 2, 3, 4], &distances), at, "{distances:?}");
        }
    }

    /// Four groups of ten points: with four centres the points are as near as they get. The test host's k-means begins with the
    /// first points, which are one of each group.
    #[test]
    fn as_many_centres_as_groups() {
        let at = |i: usize| 1.5 * (i % 4) as f32 + 0.001 * (i / 4) as f32;
        let rows: Vec<[f32; 2]> = (0..40).map(|i| [at(i).cos(), at(i).sin()]).collect();
        let host = TestHost::new(40).representation(&rows).round(0);
        let mut sizer = host.sizer::<DistanceElbow>(r#"{"sizes": 40}"#).unwrap();
        let bounds = Bounds { least: 1, most: 12 };
        let sizing = sizer.size(&host, 5, bounds).unwrap();
        assert_eq!((sizing.wanted, host.tensors_left()), (4, 0));
        // It holds for the whole run, resumed or not.
        let later = TestHost::new(40).labelled(&[1, 2]);
        let mut resumed = later.sizer::<DistanceElbow>("{}").unwrap();
        resumed.load(&sizer.save().unwrap()).unwrap();
        assert_eq!(resumed.size(&later, 5, bounds).unwrap(), sizing);
        assert_eq!((later.calls().len(), resumed.load(&[7]).is_err()), (0, true));
    }
}
