//! `rdss`: images that represent the pool and differ from each other (Shao, Kang, Chen, Li, Xu, Cao, Liang and Wu 2024, Enhancing Semi-Supervised
//! Learning via Representative and Diverse Sample Selection).
//!
//! Generalised kernel herding without replacement: each pick is the image x with the highest `alpha mu(x) - S(x)`, where
//! `mu` is the mean similarity to the pool and `S` the mean similarity to the images chosen before. With `alpha` 1 it
//! minimises the distance of means that kernel herding does, with 0 it seeks nothing but diversity. Features are those of the
//! run's representation at unit length; the kernel is `exp(-d^2 / sigma^2)` (the paper prints the square outside the
//! exponential), and sigma the median distance of two images. As in the paper, `alpha` is 1 - 1 / sqrt(m) for m images.
//!
//! The released code has the kernel `exp(-0.5 d^2)` on CLIP's features at their own length; `bandwidth = 1.4142, unit = false` is that.
//! Departures, each for want of a word in the paper or for the sake of large pools:
//!
//! - In later rounds the labelled images count as chosen before, and m counts them too.
//! - `mu` is a mean over at most `references` images, drawn from the seed: all of them in a pool of the paper's size.
//! - The median is that of all distances between at most 1000 images, drawn from the seed; where it is 0, sigma is 1.

use coldstart_plugin_api::ops::Kernel;
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::radius::Places;

/// Of so many images all distances are looked at for their median.
const SPREAD_SAMPLE: usize = 1000;

/// How alike images are, and how much diversity counts.
#[derive(Params)]
struct RdssParams {
    /// How much it counts to represent the pool, beside being unlike the images chosen before; absent, 1 - 1 / sqrt(m) for m
    /// images, labelled ones included.
    #[param(min = 0.0, max = 1.0)]
    alpha: Option<f64>,
    /// The kernel's bandwidth sigma, a Euclidean distance between features; absent, the median distance.
    #[param(min = 0.000001)]
    bandwidth: Option<f64>,
    /// At most so many images, drawn from the seed, that stand for the pool. Time grows with this number times the pool.
    #[param(default = 50000, min = 1)]
    references: u32,
    /// Whether features are scaled to unit length first.
    #[param(default = true)]
    unit: bool,
}

struct Rdss {
    params: RdssParams,
}

impl Strategy for Rdss {
    type Params = RdssParams;

    fn new(params: RdssParams, _: &Host<'_>) -> Result<Self> {
        Ok(Rdss { params })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let places = Places::of(request);
        if request.budget == 0 {
            return Ok(Selection::of(Vec::new()));
        }
        let points = places.features(host, self.params.unit)?;
        let bandwidth = match self.params.bandwidth {
            Some(bandwidth) => bandwidth,
            None => spread(&points, request)?,
        };
        let kernel = Kernel::Rbf { bandwidth };
        let n_chosen = places.labelled.len() + request.budget;
        let alpha = self.params.alpha.unwrap_or(1.0 - 1.0 / (n_chosen as f64).sqrt());
        let wanted_n = self.means(&points, kernel, request)?.into_iter().map(|mean| alpha * mean).collect();
        let (positions, scores) = herd(&points, kernel, &places, wanted_n, request.budget, host)?;
        Ok(Selection { ids: places.ids(&positions)?, scores })
    }
}

impl Rdss {
    /// Each image's mean similarity to the pool.
    fn means(&self, points: &Tensor<'_, '_>, kernel: Kernel, request: &Request) -> Result<Vec<f64>> {
        let n = points.n_rows()?;
        let n_references = n.min(self.params.references as usize);
        let sums = if n_references < n {
            let mut references = request.rng("references").sample(n, n_references);
            references.sort_unstable();
            points.kernel_sums(&points.gather(&references)?, kernel, None)?
        } else {
            points.kernel_sums(points, kernel, None)?
        };
        Ok(sums.into_iter().map(|sum| f64::from(sum) / n_references as f64).collect())
    }
}

/// The unlabelled positions with the highest `wanted_n` minus mean similarity to all chosen before, one by one, and these
/// differences; equal ones go to the lowest position. The sums of similarities are kept, so that a pick costs one pass.
fn herd(
    points: &Tensor<'_, '_>,
    kernel: Kernel,
    places: &Places,
    wanted_n: Vec<f64>,
    k: usize,
    host: &Host<'_>,
) -> Result<(Vec<usize>, Vec<f32>)> {
    let n_labelled = places.labelled.len();
    let mut sum_n = vec![0.0; wanted_n.len()];
    let add = |sum_n: &mut [f64], chosen: &[usize]| -> Result<()> {
        let more_n = points.kernel_sums(&points.gather(chosen)?, kernel, None)?;
        sum_n.iter_mut().zip(more_n).for_each(|(sum, more)| *sum += f64::from(more));
        Ok(())
    };
    if n_labelled > 0 {
        add(&mut sum_n, &places.labelled)?;
    }
    let mut left = places.unlabelled.clone();
    let (mut picked, mut scores) = (Vec::new(), Vec::new());
    for n_picked in 0..k {
        let n_before = (n_labelled + n_picked).max(1) as f64;
        let score = |i: usize| Some(wanted_n.get(i)? - sum_n.get(i)? / n_before);
        let scored = left.iter().enumerate().filter_map(|(l, i)| Some((l, score(*i)?)));
        let Some((best, score)) = scored.reduce(|best, next| if next.1 > best.1 { next } else { best }) else {
            return Err(Error::new(Code::HOST, "the host left out the similarities of some images"));
        };
        let position = left.remove(best);
        picked.push(position);
        scores.push(score as f32);
        host.progress("herding", n_picked as u64 + 1, k as u64);
        if n_picked + 1 < k {
            add(&mut sum_n, &[position])?;
        }
    }
    Ok((picked, scores))
}

/// The median distance of two images; 1 where it is 0 or there are no two.
fn spread(points: &Tensor<'_, '_>, request: &Request) -> Result<f64> {
    let n = points.n_rows()?;
    if n < 2 {
        return Ok(1.0);
    }
    let mut sample = request.rng("spread").sample(n, SPREAD_SAMPLE);
    sample.sort_unstable();
    // Every pair stands there twice, which leaves the median where it is.
    let table = points.gather(&sample)?.knn(sample.len() as u32 - 1)?;
    let mut distances = table.distances_nk.elements().to_vec();
    distances.sort_unstable_by(f32::total_cmp);
    let at = |i: usize| distances.get(i).copied().map_or(0.0, f64::from);
    let median = (at(distances.len().saturating_sub(1) / 2) + at(distances.len() / 2)) / 2.0;
    Ok(if median > 0.0 { median } else { 1.0 })
}

export_plugin! {
    name: "rdss",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: Rdss,
    criterion: REPRESENTATION,
    needs: [REPRESENT_1, NORMALIZE_1, GATHER_1, KNN_1, KERNEL_SUMS_1],
    cite: "Shao, Kang, Chen, Li, Xu, Cao, Liang and Wu 2024, Enhancing Semi-Supervised Learning via Representative and Diverse Sample Selection",
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
        let selection = host.select::<Rdss>(params, budget).unwrap();
        assert_eq!((host.tensors_left(), selection.ids.len(), selection.scores.len()), (0, budget, budget));
        selection
    }

    /// The recurrence as the paper prints it, with sigma the median of all pairs; ids and the first score.
    fn slowly(line: &[f32], labelled: &[usize], k: usize, alpha: Option<f64>) -> (Vec<u64>, f64) {
        let n = line.len();
        let mut pairs: Vec<f64> =
            (0..n).flat_map(|i| (0..i).map(move |j| f64::from((line[i] - line[j]).abs()))).collect();
        pairs.sort_by(f64::total_cmp);
        let sigma = (pairs[(pairs.len() - 1) / 2] + pairs[pairs.len() / 2]) / 2.0;
        let alike = |i: usize, j: usize| (-(f64::from(line[i] - line[j]) / sigma).powi(2)).exp();
        let alpha = alpha.unwrap_or(1.0 - 1.0 / ((labelled.len() + k) as f64).sqrt());
        let mean = |i: usize| (0..n).map(|j| alike(i, j)).sum::<f64>() / n as f64;
        let (mut s_n, mut chosen, mut first) = (vec![0.0; n], Vec::new(), None);
        for p in 1..=labelled.len() + k {
            let left: Vec<usize> = (0..n).filter(|i| !chosen.contains(i) && !labelled.contains(i)).collect();
            let lowest = |best: usize, i: usize| {
                if s_n[i] - alpha * mean(i) < s_n[best] - alpha * mean(best) { i } else { best }
            };
            let next = labelled.get(p - 1).copied().unwrap_or_else(|| left.iter().copied().fold(left[0], lowest));
            if p > labelled.len() {
                first.get_or_insert(alpha * mean(next) - s_n[next]);
            }
            let share = 1.0 / p as f64;
            (0..n).for_each(|i| s_n[i] = (1.0 - share) * s_n[i] + share * alike(next, i));
            chosen.push(next);
        }
        (chosen[labelled.len()..].iter().map(|i| *i as u64).collect(), first.unwrap())
    }

    /// Worked out apart: the median distance is 0.9, and mu of the first pick 0.61828. Similarities are summed in f32 from
    /// f32 distances, which is right to 1e-6.
    #[test]
    fn picks_equal_the_closed_form() {
        for (params, alpha) in [(r#"{"unit": false}"#, None), (r#"{"unit": false, "alpha": 1.0}"#, Some(1.0))] {
            let selection = select(&on_a_line(&LINE), params, 3);
            assert_eq!(selection.ids, [2, 6, 5], "{params}");
            let expected = 0.61828 * alpha.unwrap_or(1.0 - 1.0 / 3f32.sqrt());
            assert!((selection.scores[0] - expected).abs() < 1e-5, "{:?}", selection.scores);
            assert_eq!(slowly(&LINE, &[], 3, alpha.map(f64::from)).0, [2, 6, 5]);
        }
    }

    #[test]
    fn labelled_images_count_as_chosen_before() {
        let line = [0.0, 0.31, 0.45, 1.0, 1.13, 1.35, 3.0, 3.4];
        for labelled in [&[0usize][..], &[2, 5], &[0, 1, 6]] {
            let ids: Vec<u64> = labelled.iter().map(|i| *i as u64).collect();
            let selection = select(&on_a_line(&line).labelled(&ids), r#"{"unit": false}"#, 4);
            let (expected, first) = slowly(&line, labelled, 4, None);
            assert_eq!(selection.ids, expected, "{labelled:?}");
            assert!((f64::from(selection.scores[0]) - first).abs() < 1e-6);
        }
    }

    #[test]
    fn any_budget_is_met_and_ties_go_to_the_lowest_id() {
        for (line, params) in [(LINE, "{}"), ([3.0; 7], "{}"), (LINE, r#"{"references": 1}"#)] {
            for budget in [0, 1, 4, 5] {
                let mut ids = select(&on_a_line(&line).labelled(&[1, 4]), params, budget).ids;
                ids.sort_unstable();
                ids.dedup();
                assert!(ids.len() == budget && ids.iter().all(|id| ![1, 4].contains(id)), "{params}: {ids:?}");
            }
        }
        assert_eq!(select(&on_a_line(&[3.0; 7]).labelled(&[1, 4]), "{}", 5).ids, [0, 2, 3, 5, 6]);
        assert_eq!(select(&on_a_line(&[3.0]).round(0), "{}", 1).ids, [0]);
    }

    #[test]
    fn references_are_drawn_from_the_seed() {
        let drawn = |seed| select(&TestHost::plausible(60, 4, 1).seed([seed; 32]), r#"{"references": 5}"#, 5);
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
