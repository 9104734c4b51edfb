//! Clusters and neighbours among points: blocks of exact distances on the device, never all of them at once.

use coldstart_kernels::Effort;
use coldstart_plugin_api::Rng;
use tch::{Kind, Tensor};

use super::device::Device;
use super::error::{EngineError, TorchResult, While};
use super::guard;
use super::predict::Matrix;

/// Rows whose distances are held at once.
const BLOCK: i64 = 4096;

/// Asked at every step of long work, which ends once it says no.
pub type GoOn<'a> = &'a dyn Fn() -> bool;

/// Points in clusters.
#[derive(Clone, Debug, PartialEq)]
pub struct Clustering {
    /// The cluster of each point.
    pub of_point: Vec<usize>,
    /// The centres.
    pub centres_kd: Matrix,
    /// The sum of squared distances to the centres.
    pub inertia: f64,
}

/// The nearest other points of each point, nearest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Their positions, n x k.
    pub positions_nk: Vec<usize>,
    /// Their Euclidean distances, n x k.
    pub distances_nk: Matrix,
}

/// Lloyd's algorithm from k-means++ starts (Arthur & Vassilvitskii 2007), as long as `effort` says.
///
/// An empty cluster takes the point that lies farthest from its centre. On the CPU the same points and generator give the
/// same clusters. Errs when there are fewer points than clusters, or no cluster, and once `go_on` says no.
pub fn kmeans(
    points_nd: &Matrix,
    k: usize,
    effort: Effort,
    rng: &mut Rng,
    device: &Device,
    go_on: GoOn<'_>,
) -> Result<Clustering, EngineError> {
    if k == 0 || k > points_nd.n_rows {
        return Err(EngineError::Input(format!("{} points do not make {k} clusters", points_nd.n_rows)));
    }
    guard::entry("clustering", || clusters(points_nd, k, effort, rng, device, go_on))
}

fn clusters(
    points_nd: &Matrix,
    k: usize,
    effort: Effort,
    rng: &mut Rng,
    device: &Device,
    go_on: GoOn<'_>,
) -> Result<Clustering, EngineError> {
    let _no_grad = tch::no_grad_guard();
    let doing = "clustering";
    let points = upload(points_nd, device).doing(doing)?;
    let variance =
        f64::try_from(points.f_var_dim([0].as_slice(), false, false).doing(doing)?.f_mean(Kind::Double).doing(doing)?)
            .doing(doing)?;
    let still = effort.tolerance * variance;
    let mut best: Option<Lloyd> = None;
    for _ in 0..effort.restarts.max(1) {
        let found = Lloyd::run(&points, k, (effort.iterations, still), rng, go_on).doing(doing)?;
        let found = found.ok_or(EngineError::Cancelled)?;
        if best.as_ref().is_none_or(|best| found.inertia < best.inertia) {
            best = Some(found);
        }
    }
    let best = best.ok_or_else(|| EngineError::Input("there was no start".to_owned()))?;
    let centres = best.centres.f_contiguous().doing(doing)?;
    Ok(Clustering {
        of_point: best.of_point.into_iter().map(|cluster| cluster as usize).collect(),
        centres_kd: Matrix { values: floats(&centres).doing(doing)?, n_rows: k, n_cols: points_nd.n_cols },
        inertia: best.inertia,
    })
}

struct Lloyd {
    of_point: Vec<i64>,
    centres: Tensor,
    inertia: f64,
}

impl Lloyd {
    /// None if it was stopped.
    fn run(
        points: &Tensor,
        k: usize,
        (iterations, still): (usize, f64),
        rng: &mut Rng,
        go_on: GoOn<'_>,
    ) -> TorchResult<Option<Lloyd>> {
        let Some(mut centres) = seeds(points, k, rng, go_on)? else { return Ok(None) };
        let (mut of_point, mut distances) = assign(points, &centres)?;
        for round in 1..=iterations {
            if !go_on() {
                return Ok(None);
            }
            let before = std::mem::replace(&mut centres, means(points, &of_point, &distances, k)?);
            let moves = centres.f_sub(&before)?.f_square_()?.f_sum(Kind::Double)?;
            let (moved, away) = assign(points, &centres)?;
            let settled = moved == of_point || f64::try_from(moves)? <= still;
            (of_point, distances) = (moved, away);
            if settled || round == iterations {
                tracing::debug!("k-means: {round} rounds");
            }
            if settled {
                break;
            }
        }
        let inertia = distances.iter().map(|distance| f64::from(*distance)).sum();
        Ok(Some(Lloyd { of_point, centres, inertia }))
    }
}

/// k-means++: each further centre is a point drawn with a chance in proportion to its squared distance to the nearest so far.
/// None if it was stopped.
fn seeds(points: &Tensor, k: usize, rng: &mut Rng, go_on: GoOn<'_>) -> TorchResult<Option<Tensor>> {
    let n = points.size()[0];
    let mut chosen = vec![rng.below(n as u64) as i64];
    // In blocks that stay in the processor's cache.
    let to_one = |i: i64| {
        let centre = points.f_narrow(0, i, 1)?;
        let squares = |block: Tensor| block.f_sub(&centre)?.f_square_()?.f_sum_dim_intlist([1].as_slice(), false, None);
        let blocks = points.f_split(BLOCK / 4, 0)?.into_iter().map(squares).collect::<TorchResult<Vec<_>>>()?;
        Tensor::f_cat(&blocks, 0)
    };
    let mut nearest = to_one(chosen[0])?;
    while chosen.len() < k {
        if !go_on() {
            return Ok(None);
        }
        let weights: Vec<f32> = floats(&nearest)?;
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let mut left = rng.uniform() * total;
        // Rounding may leave a rest behind the last point: then the last one with any weight is meant.
        let mut next = weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0);
        for (i, weight) in weights.iter().enumerate() {
            left -= f64::from(*weight);
            if left < 0.0 {
                next = i;
                break;
            }
        }
        chosen.push(next as i64);
        nearest = nearest.f_minimum(&to_one(next as i64)?)?;
    }
    points.f_index_select(0, &Tensor::f_from_slice(&chosen)?.f_to_device(points.device())?).map(Some)
}

/// The nearest centre of each point, and the squared distance to it.
fn assign(points: &Tensor, centres: &Tensor) -> TorchResult<(Vec<i64>, Vec<f32>)> {
    let (mut clusters, mut distances) = (Vec::new(), Vec::new());
    for block in points.f_split(BLOCK, 0)? {
        let (nearest, cluster) = squared_distances(&block, centres)?.f_min_dim(1, false)?;
        clusters.extend(Vec::<i64>::try_from(cluster.f_to_device(tch::Device::Cpu)?)?);
        distances.extend(floats(&nearest)?);
    }
    Ok((clusters, distances))
}

fn squared_distances(a_nd: &Tensor, b_md: &Tensor) -> TorchResult<Tensor> {
    let squares = |x: &Tensor| x.f_square()?.f_sum_dim_intlist([1].as_slice(), true, None);
    let cross = a_nd.f_mm(&b_md.f_tr()?)?.f_mul_scalar(-2)?;
    cross.f_add(&squares(a_nd)?)?.f_add(&squares(b_md)?.f_tr()?)?.f_clamp_min(0.0)
}

/// The mean of each cluster; an empty one takes the point farthest from its centre that no other empty one took.
fn means(points: &Tensor, of_point: &[i64], distances: &[f32], k: usize) -> TorchResult<Tensor> {
    let mut counts = vec![0i64; k];
    of_point.iter().for_each(|cluster| counts[*cluster as usize] += 1);
    let place = |values: &[i64]| Tensor::f_from_slice(values)?.f_to_device(points.device());
    let mut sums = Tensor::f_zeros([k as i64, points.size()[1]], (Kind::Float, points.device()))?;
    let _ = sums.f_index_add_(0, &place(of_point)?, points)?;
    let safe: Vec<i64> = counts.iter().map(|count| (*count).max(1)).collect();
    let mut centres = sums.f_div(&place(&safe)?.f_to_kind(Kind::Float)?.f_view([-1, 1])?)?;
    let empty: Vec<i64> = (0..k as i64).filter(|cluster| counts[*cluster as usize] == 0).collect();
    if !empty.is_empty() {
        let mut farthest: Vec<i64> = (0..distances.len() as i64).collect();
        farthest.sort_by(|a, b| distances[*b as usize].total_cmp(&distances[*a as usize]).then(a.cmp(b)));
        let taken = points.f_index_select(0, &place(&farthest[..empty.len()])?)?;
        let _ = centres.f_index_copy_(0, &place(&empty)?, &taken)?;
    }
    Ok(centres)
}

/// The `k` nearest other points of each point. Errs when there are not as many, and once `go_on` says no.
pub fn knn(points_nd: &Matrix, k: usize, device: &Device, go_on: GoOn<'_>) -> Result<Neighbours, EngineError> {
    let n = points_nd.n_rows;
    if k == 0 || k >= n {
        return Err(EngineError::Input(format!("{n} points do not have {k} others each")));
    }
    guard::entry("looking for neighbours", || neighbours(points_nd, k, device, go_on))
}

fn neighbours(points_nd: &Matrix, k: usize, device: &Device, go_on: GoOn<'_>) -> Result<Neighbours, EngineError> {
    let n = points_nd.n_rows;
    let _no_grad = tch::no_grad_guard();
    let doing = "looking for neighbours";
    let points = upload(points_nd, device).doing(doing)?;
    let mut positions_nk = Vec::with_capacity(n * k);
    let mut start = 0;
    for block in points.f_split(BLOCK / 4, 0).doing(doing)? {
        if !go_on() {
            return Err(EngineError::Cancelled);
        }
        let mut found = nearest_of(&points, &block, start, k).doing(doing)?;
        for (i, near) in found.chunks_mut(k).enumerate() {
            let i = start as usize + i;
            // From the difference itself: cancellation in the blocked form must not reorder close neighbours.
            let exact = |j: &i64| distance(points_nd.row(i), points_nd.row(*j as usize));
            near.sort_by(|a, b| exact(a).total_cmp(&exact(b)).then(a.cmp(b)));
            positions_nk.extend(near.iter().map(|j| *j as usize));
        }
        start += block.size()[0];
    }
    let rows = positions_nk.chunks(k).enumerate();
    let values =
        rows.flat_map(|(i, near)| near.iter().map(move |j| distance(points_nd.row(i), points_nd.row(*j)))).collect();
    Ok(Neighbours { positions_nk, distances_nk: Matrix { values, n_rows: n, n_cols: k } })
}

fn nearest_of(points: &Tensor, block: &Tensor, start: i64, k: usize) -> TorchResult<Vec<i64>> {
    let mut distances = squared_distances(block, points)?;
    let n = block.size()[0];
    let itself = Tensor::f_arange_start(start, start + n, (Kind::Int64, points.device()))?.f_view([-1, 1])?;
    let _ = distances.f_scatter_value_(1, &itself, f64::INFINITY)?;
    let (_, positions) = distances.f_topk(k as i64, 1, false, true)?;
    Vec::<i64>::try_from(positions.f_to_device(tch::Device::Cpu)?.f_contiguous()?.f_view([-1])?)
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
}

pub(super) fn upload(points: &Matrix, device: &Device) -> TorchResult<Tensor> {
    let size = [points.n_rows as i64, points.n_cols as i64];
    Tensor::f_from_slice(&points.values)?.f_view(size)?.f_to_device(device.torch())
}

fn floats(tensor: &Tensor) -> TorchResult<Vec<f32>> {
    Vec::<f32>::try_from(tensor.f_to_device(tch::Device::Cpu)?.f_contiguous()?.f_view([-1])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(values: Vec<f32>, n_cols: usize) -> Matrix {
        Matrix { n_rows: values.len() / n_cols, n_cols, values }
    }

    fn cloud(n: usize, n_cols: usize, seed: u8) -> Matrix {
        let mut rng = Rng::from_seed([seed; 32]);
        matrix((0..n * n_cols).map(|_| rng.normal() as f32).collect(), n_cols)
    }

    fn device() -> Device {
        Device::cpu_for_tests()
    }

    fn rounds(iterations: usize, restarts: usize) -> Effort {
        Effort { iterations, restarts, tolerance: 0.0 }
    }

    /// Few rounds where a large move is small enough, and the rest where none is.
    #[test]
    fn a_tolerance_ends_a_start_before_it_comes_to_rest() {
        let points = cloud(500, 2, 6);
        let with = |tolerance, iterations| {
            let effort = Effort { iterations, restarts: 1, tolerance };
            kmeans(&points, 9, effort, &mut Rng::from_seed([2; 32]), &device(), &|| true).unwrap()
        };
        assert_eq!(with(1e9, 300), with(0.0, 1));
        assert_eq!(with(1e-30, 300), with(0.0, 300));
        let between = with(1e-3, 300).inertia;
        assert!(with(0.0, 300).inertia <= between && between < with(0.0, 1).inertia);
    }

    #[test]
    fn blobs_far_apart_are_found_whatever_the_seed() {
        let mut points = cloud(60, 3, 1);
        for (i, value) in points.values.iter_mut().enumerate() {
            *value += 50.0 * (i / 3 % 3) as f32;
        }
        for seed in 0..5 {
            let found =
                kmeans(&points, 3, rounds(50, 1), &mut Rng::from_seed([seed; 32]), &device(), &|| true).unwrap();
            for i in 3..60 {
                assert_eq!(found.of_point[i], found.of_point[i % 3], "seed {seed}, point {i}");
            }
        }
    }

    /// Every point has its nearest centre, every centre is its points' mean, and the inertia is what that gives.
    #[test]
    fn the_end_is_a_fixed_point() {
        let points = cloud(200, 4, 2);
        let found = kmeans(&points, 7, rounds(200, 3), &mut Rng::from_seed([9; 32]), &device(), &|| true).unwrap();
        let mut inertia = 0.0;
        for (i, &cluster) in found.of_point.iter().enumerate() {
            let own = distance(points.row(i), found.centres_kd.row(cluster));
            inertia += f64::from(own * own);
            // The blocked form of a squared distance of order 1 to 10 is off by some 1e-6.
            assert!((0..7).all(|c| own <= distance(points.row(i), found.centres_kd.row(c)) + 1e-5), "point {i}");
        }
        assert!((found.inertia - inertia).abs() < 1e-3 * inertia, "{} {inertia}", found.inertia);
        for c in 0..7 {
            let members: Vec<usize> = (0..200).filter(|i| found.of_point[*i] == c).collect();
            for d in 0..4 {
                let mean = members.iter().map(|i| points.row(*i)[d]).sum::<f32>() / members.len() as f32;
                assert!((mean - found.centres_kd.row(c)[d]).abs() < 1e-5, "cluster {c}");
            }
        }
    }

    #[test]
    fn as_many_clusters_as_points_leave_each_alone() {
        let points = cloud(12, 2, 3);
        let found = kmeans(&points, 12, rounds(10, 1), &mut Rng::from_seed([1; 32]), &device(), &|| true).unwrap();
        let mut clusters = found.of_point.clone();
        clusters.sort_unstable();
        assert_eq!(clusters, (0..12).collect::<Vec<_>>());
        for k in [0, 13] {
            assert!(kmeans(&points, k, rounds(10, 1), &mut Rng::from_seed([1; 32]), &device(), &|| true).is_err());
        }
    }

    #[test]
    fn neighbours_equal_a_search_through_all() {
        let points = cloud(150, 5, 4);
        let found = knn(&points, 6, &device(), &|| true).unwrap();
        for i in 0..150 {
            let mut others: Vec<usize> = (0..150).filter(|j| *j != i).collect();
            let to = |j: &usize| distance(points.row(i), points.row(*j));
            others.sort_by(|a, b| to(a).total_cmp(&to(b)));
            assert_eq!(found.positions_nk[6 * i..][..6], others[..6], "point {i}");
            assert_eq!(found.distances_nk.row(i)[5], to(&others[5]));
        }
        assert!(knn(&points, 150, &device(), &|| true).is_err());
    }

    #[test]
    fn a_stop_is_heard_at_every_step() {
        use std::cell::Cell;
        let points = cloud(2000, 4, 5);
        let ask = |go_on: GoOn<'_>| {
            let clusters = kmeans(&points, 9, rounds(20, 2), &mut Rng::from_seed([2; 32]), &device(), go_on).err();
            [clusters, knn(&points, 3, &device(), go_on).err()]
        };
        let asked = Cell::new(0);
        assert!(ask(&|| asked.replace(asked.get() + 1) < usize::MAX).iter().all(Option::is_none));
        for step in [0usize, 1, 5, 12] {
            let left = Cell::new(step);
            let [clusters, neighbours] = ask(&|| left.replace(left.get().saturating_sub(1)) > 0);
            assert!(matches!(clusters, Some(EngineError::Cancelled)), "{step}");
            // It is asked once for each block.
            assert!(matches!(neighbours, Some(EngineError::Cancelled)), "{step}");
        }
        assert!(asked.get() > 20);
    }
}
