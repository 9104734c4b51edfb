//! Sums over points: of a kernel around each query, and of the members of groups.

use crate::ball::Balls;
use crate::error::{Result, bad};
use crate::kernel::apply;
use crate::pairs::{Measured, one_each, tile};
use crate::points::{Points, TILE};
use crate::wide::wide;
use crate::{GoOn, Kernel, check};
use rayon::prelude::*;

/// For each query the sum over all points of weight times kernel: a density, a degree, a mean similarity.
///
/// Every weight is 1 if there are none. Sums are taken in double precision in a fixed order. Errs when sizes do not fit, a
/// number is not finite or the caller stops.
pub fn kernel_sums(
    queries: &Points<'_>,
    points: &Points<'_>,
    weights: Option<&[f32]>,
    kernel: Kernel,
    go_on: GoOn<'_>,
) -> Result<Vec<f32>> {
    kernel.check()?;
    let weights = weights_or_ones(weights, points.n())?;
    let sums =
        excess_sums(&Measured::new(queries)?, &Measured::new(points)?, &weights, None, &kernel, Grid::NONE, go_on)?;
    Ok(sums.into_iter().map(|sum| sum as f32).collect())
}

/// [`kernel_sums`] of the points with themselves, each pair looked at once.
///
/// A point counts in its own sum. Errs as [`kernel_sums`] does.
pub fn self_kernel_sums(
    points: &Points<'_>,
    weights: Option<&[f32]>,
    kernel: Kernel,
    go_on: GoOn<'_>,
) -> Result<Vec<f32>> {
    kernel.check()?;
    let n = points.n();
    if let Kernel::TopHat { radius } = kernel {
        let shares = Shares::new(weights, n)?;
        let balls = Balls::new(points, radius)?;
        let all: Vec<usize> = (0..n).collect();
        let sums = balls.sums(&all, &shares.fixed, go_on)?;
        return Ok(sums.into_iter().map(|sum| shares.number(sum) as f32).collect());
    }
    let sums =
        self_excess_sums(&Measured::new(points)?, &weights_or_ones(weights, n)?, None, &kernel, Grid::NONE, go_on)?;
    Ok(sums.into_iter().map(|sum| sum as f32).collect())
}

/// The sum of the members of each group, n_groups x d; `groups` holds the group of each point.
///
/// With weights, each point counts so often. Sums are taken in double precision in the order of positions. Errs when sizes do
/// not fit, a group is unknown or a weight is not finite.
pub fn group_sums(points: &Points<'_>, groups: &[usize], n_groups: usize, weights: Option<&[f32]>) -> Result<Vec<f32>> {
    /// Members that are added one after another; more of them are added in parts.
    const PART: usize = 4096;
    let (n, d) = (points.n(), points.d());
    if groups.len() != n {
        return bad(format!("{} groups came with {n} points", groups.len()));
    }
    if let Some(i) = groups.iter().position(|group| *group >= n_groups) {
        return bad(format!("point {i} is in group {}, and there are {n_groups}", groups[i]));
    }
    if let Some(weights) = weights {
        one_each(weights, n, "weights")?;
    }
    let (members, starts) = members(groups, n_groups);
    let part_sum = |part: &[usize]| {
        let mut sum_d = vec![0.0f64; d];
        for i in part {
            let scale = points.scale_of(*i) * weights.map_or(1.0, |weights| weights[*i]);
            add_row(points.raw(*i), scale, &mut sum_d);
        }
        sum_d
    };
    let mut sums_gd = vec![0.0; n_groups * d];
    sums_gd.par_chunks_exact_mut(d).enumerate().for_each(|(group, sum_d)| {
        let parts: Vec<Vec<f64>> = members[starts[group]..starts[group + 1]].par_chunks(PART).map(part_sum).collect();
        for (column, sum) in sum_d.iter_mut().enumerate() {
            *sum = parts.iter().map(|part| part[column]).sum::<f64>() as f32;
        }
    });
    Ok(sums_gd)
}

/// For each query the sum over points of weight times what the kernel exceeds the point's floor by.
pub(crate) fn excess_sums(
    queries: &Measured<'_>,
    points: &Measured<'_>,
    weights: &[f32],
    floors: Option<&[f32]>,
    kernel: &Kernel,
    grid: Grid,
    go_on: GoOn<'_>,
) -> Result<Vec<f64>> {
    let (m, n) = (queries.points.n(), points.points.n());
    let zeros = vec![0.0; if floors.is_some() { 0 } else { n }];
    let floors = floors.unwrap_or(&zeros);
    if queries.points.d() != points.points.d() {
        return bad(format!("queries of {} numbers do not fit points of {}", queries.points.d(), points.points.d()));
    }
    let mut sums = vec![0.0; m];
    sums.par_chunks_mut(TILE).enumerate().try_for_each(|(query_tile, sums)| {
        check(go_on)?;
        let mine = tile(query_tile, m);
        let part = |squared: &mut Vec<f32>, other: usize| {
            let theirs = tile(other, n);
            squared.resize(mine.len() * theirs.len(), 0.0);
            queries.squared_distances(mine.clone(), points, theirs.clone(), kernel, squared);
            let mut row_sums = vec![0.0; mine.len()];
            let (weights, floors) = (&weights[theirs.clone()], &floors[theirs.clone()]);
            apply(*kernel, squared);
            for (row, sum) in squared.chunks_exact(theirs.len()).zip(&mut row_sums) {
                *sum = row_sum(row, weights, floors, grid);
            }
            row_sums
        };
        let parts: Vec<Vec<f64>> = (0..n.div_ceil(TILE)).into_par_iter().map_init(Vec::new, part).collect();
        parts.iter().for_each(|part| add(sums, part));
        Ok(())
    })?;
    Ok(sums)
}

/// [`excess_sums`] of the points with themselves; each pair of tiles is multiplied once.
pub(crate) fn self_excess_sums(
    points: &Measured<'_>,
    weights: &[f32],
    floors: Option<&[f32]>,
    kernel: &Kernel,
    grid: Grid,
    go_on: GoOn<'_>,
) -> Result<Vec<f64>> {
    let n = points.points.n();
    let zeros = vec![0.0; if floors.is_some() { 0 } else { n }];
    let floors = floors.unwrap_or(&zeros);
    let mut sums = vec![0.0; n];
    for band in 0..n.div_ceil(TILE) {
        check(go_on)?;
        let mine = tile(band, n);
        // A tile's columns add to the sums of their own points alone, a band after the other: the order is fixed.
        let part = |squared: &mut Vec<f32>, (other, their_sums): (usize, &mut [f64])| {
            let theirs = tile(band + other, n);
            squared.resize(mine.len() * theirs.len(), 0.0);
            points.squared_distances(mine.clone(), points, theirs.clone(), kernel, squared);
            let mut row_sums = vec![0.0; mine.len()];
            apply(*kernel, squared);
            let (their_weights, their_floors) = (&weights[theirs.clone()], &floors[theirs.clone()]);
            for ((row, sum), i) in squared.chunks_exact(theirs.len()).zip(&mut row_sums).zip(mine.clone()) {
                *sum = row_sum(row, their_weights, their_floors, grid);
                if other > 0 {
                    add_excess(row, weights[i], floors[i], grid, their_sums);
                }
            }
            row_sums
        };
        let tiles = sums[mine.start..].par_chunks_mut(TILE).enumerate();
        let parts: Vec<Vec<f64>> = tiles.map_init(Vec::new, part).collect();
        parts.iter().for_each(|part| add(&mut sums[mine.clone()], part));
    }
    Ok(sums)
}

/// Numbers rounded to multiples of a power of two so large that sums of them are exact, in any order.
#[derive(Clone, Copy)]
pub(crate) struct Grid(f64);

impl Grid {
    /// Numbers as they are.
    pub(crate) const NONE: Grid = Grid(0.0);

    /// The finest grid on which sums of up to this size have all their bits: 2^-51 of it.
    pub(crate) fn of_sums_up_to(total: f64) -> Grid {
        // What is added to a number and taken off again leaves the multiples of its own last bit.
        Grid(if total > 0.0 { 3.0 * total.log2().ceil().exp2() } else { 0.0 })
    }

    /// The weight times what `k` exceeds the floor by.
    #[inline(always)]
    pub(crate) fn excess(self, weight: f32, k: f32, floor: f32) -> f64 {
        f64::from(weight * (k - floor).max(0.0)) + self.0 - self.0
    }
}

/// Weights as whole numbers, so that their sums do not depend on the order they are taken in.
pub(crate) struct Shares {
    pub(crate) fixed: Vec<i64>,
    unit: f64,
}

impl Shares {
    /// Ones, or weights to 2^-60 of their absolute sum, in units of a power of two: weights that are close to each other in
    /// size keep all their bits. Errs when there is not a finite one for each of `n` points.
    pub(crate) fn new(weights: Option<&[f32]>, n: usize) -> Result<Shares> {
        let Some(weights) = weights else {
            return Ok(Shares { fixed: vec![1; n], unit: 1.0 });
        };
        one_each(weights, n, "weights")?;
        let total: f64 = weights.iter().map(|weight| f64::from(weight.abs())).sum();
        let unit = if total > 0.0 { (total.log2().ceil() - 61.0).exp2() } else { 1.0 };
        Ok(Shares { fixed: weights.iter().map(|weight| (f64::from(*weight) / unit).round() as i64).collect(), unit })
    }

    /// The sum of weights that a sum of whole numbers stands for.
    pub(crate) fn number(&self, fixed: i64) -> f64 {
        fixed as f64 * self.unit
    }
}

/// A weight for each of `n` points: 1 unless there are some.
pub(crate) fn weights_or_ones(weights: Option<&[f32]>, n: usize) -> Result<Vec<f32>> {
    let Some(weights) = weights else { return Ok(vec![1.0; n]) };
    one_each(weights, n, "weights")?;
    Ok(weights.to_vec())
}

wide! {
    /// The sum of weight times what each number exceeds its floor by, in an order that depends on the length alone.
    fn row_sum<'a>(row: &'a [f32], weights: &'a [f32], floors: &'a [f32], grid: Grid) -> f64 {
        let mut lanes = [0.0f64; 16];
        let ((row, rest), (weights, rest_weights), (floors, rest_floors)) =
            (row.as_chunks::<16>(), weights.as_chunks::<16>(), floors.as_chunks::<16>());
        for ((row, weights), floors) in row.iter().zip(weights).zip(floors) {
            for i in 0..16 {
                lanes[i] += grid.excess(weights[i], row[i], floors[i]);
            }
        }
        let mut sum = lanes.iter().sum::<f64>();
        for ((k, weight), floor) in rest.iter().zip(rest_weights).zip(rest_floors) {
            sum += grid.excess(*weight, *k, *floor);
        }
        sum
    }
}

wide! {
    /// Add to each sum the weight times what its number exceeds the floor by.
    fn add_excess<'a>(row: &'a [f32], weight: f32, floor: f32, grid: Grid, sums: &'a mut [f64]) -> () {
        for (sum, k) in sums.iter_mut().zip(row) {
            *sum += grid.excess(weight, *k, floor);
        }
    }
}

wide! {
    fn add_row<'a>(row_d: &'a [f32], scale: f32, sum_d: &'a mut [f64]) -> () {
        for (sum, x) in sum_d.iter_mut().zip(row_d) {
            *sum += f64::from(x * scale);
        }
    }
}

fn add(sums: &mut [f64], parts: &[f64]) {
    sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
}

/// The points group after group, each in the order of positions, and where each group starts.
fn members(groups: &[usize], n_groups: usize) -> (Vec<usize>, Vec<usize>) {
    let mut starts = vec![0; n_groups + 1];
    groups.iter().for_each(|group| starts[group + 1] += 1);
    (1..=n_groups).for_each(|group| starts[group] += starts[group - 1]);
    let (mut next, mut members) = (starts.clone(), vec![0; groups.len()]);
    for (i, group) in groups.iter().enumerate() {
        members[next[*group]] = i;
        next[*group] += 1;
    }
    (members, starts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cloud, on, on_threads, squared};
    use coldstart_plugin_api::Rng;

    const KERNELS: [Kernel; 4] = [
        Kernel::TopHat { radius: 2.0 },
        Kernel::Rbf { bandwidth: 3.0 },
        Kernel::Laplace { bandwidth: 3.0 },
        Kernel::Power { alpha: 0.5, horizon: 9.0 },
    ];

    fn slow(queries: &Points<'_>, points: &Points<'_>, weights: &[f32], kernel: Kernel) -> Vec<f64> {
        let term = |q, i| f64::from(weights[i]) * f64::from(kernel.at(squared(queries, q, points, i) as f32));
        (0..queries.n()).map(|q| (0..points.n()).map(|i| term(q, i)).sum()).collect()
    }

    #[test]
    fn kernel_sums_equal_a_double_loop() {
        for (m, n, d, steps) in [(1, 1, 1, None), (3, 600, 1, Some(2.0)), (257, 300, 5, Some(1.0)), (40, 520, 33, None)]
        {
            let mut rng = Rng::from_seed([5; 32]);
            let (queries, rows) = (cloud(m, d, 3, steps, &mut rng), cloud(n, d, 3, steps, &mut rng));
            let (queries, points) = (Points::new(&queries, d).unwrap(), Points::new(&rows, d).unwrap());
            let weights: Vec<f32> = (0..n).map(|_| rng.uniform() as f32).collect();
            for kernel in KERNELS {
                let compare = |found: Vec<f32>, exact: Vec<f64>| {
                    for (i, (found, exact)) in found.into_iter().zip(exact).enumerate() {
                        // Each kernel is off by less than 1e-5 of itself: its distance has a rounding of 64 x 2e-7.
                        assert!(
                            (f64::from(found) - exact).abs() <= 1e-5 * exact + 1e-6,
                            "{kernel:?} {i}: {found} {exact}"
                        );
                    }
                };
                let some = Some(&weights[..]);
                compare(
                    on_threads(&|| kernel_sums(&queries, &points, some, kernel, &on).unwrap()),
                    slow(&queries, &points, &weights, kernel),
                );
                compare(
                    on_threads(&|| self_kernel_sums(&points, some, kernel, &on).unwrap()),
                    slow(&points, &points, &weights, kernel),
                );
                compare(
                    self_kernel_sums(&points, None, kernel, &on).unwrap(),
                    slow(&points, &points, &vec![1.0; n], kernel),
                );
            }
        }
    }

    #[test]
    fn equal_points_have_equal_sums_wherever_they_stand() {
        let mut rng = Rng::from_seed([6; 32]);
        let mut rows = cloud(400, 24, 3, None, &mut rng);
        rows.extend_from_within(..);
        let points = Points::new(&rows, 24).unwrap();
        for kernel in KERNELS {
            let sums = self_kernel_sums(&points, None, kernel, &on).unwrap();
            assert_eq!(sums[..400], sums[400..], "{kernel:?}");
        }
    }

    #[test]
    fn the_kernel_mean_of_seven_points_is_the_published_one() {
        let rows = [0.0, 0.2, 0.4, 1.0, 1.1, 1.3, 3.0];
        let points = Points::new(&rows, 1).unwrap();
        let sums = self_kernel_sums(&points, None, Kernel::Rbf { bandwidth: 0.9 }, &on).unwrap();
        for (sum, mean) in sums.iter().zip([0.48746, 0.56427, 0.61828, 0.61081, 0.58424, 0.51306, 0.14961]) {
            // The vector has five digits.
            assert!((sum / 7.0 - mean).abs() < 6e-6, "{sums:?}");
        }
    }

    #[test]
    fn group_sums_equal_a_loop_over_points() {
        for (n, d, n_groups) in [(1, 1, 1), (100, 3, 7), (9000, 5, 2), (20, 40, 30)] {
            let mut rng = Rng::from_seed([7; 32]);
            let rows = cloud(n, d, 2, None, &mut rng);
            let scale: Vec<f32> = (0..n).map(|_| rng.uniform() as f32).collect();
            let points = Points::new(&rows, d).unwrap().scaled(&scale).unwrap();
            let groups: Vec<usize> = (0..n).map(|_| rng.below(n_groups as u64) as usize).collect();
            for weights in [None, Some(&scale[..])] {
                let mut exact = vec![0.0f64; n_groups * d];
                for i in 0..n {
                    let weight = weights.map_or(1.0, |weights| weights[i]);
                    for (column, x) in points.point(i).into_iter().enumerate() {
                        exact[groups[i] * d + column] += f64::from(weight) * f64::from(x);
                    }
                }
                let found = on_threads(&|| group_sums(&points, &groups, n_groups, weights).unwrap());
                for (found, exact) in found.into_iter().zip(exact) {
                    // Each term has two roundings of 6e-8 of itself, and there are up to 9000 terms below 10.
                    assert!((f64::from(found) - exact).abs() < 1e-6 * (n as f64).sqrt() * 10.0);
                }
            }
        }
        let points = Points::new(&[1.0, 2.0], 1).unwrap();
        assert!(group_sums(&points, &[0], 1, None).is_err() && group_sums(&points, &[0, 1], 1, None).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (rows, rbf) = ([1.0, 2.0, f32::NAN, 4.0], Kernel::Rbf { bandwidth: 1.0 });
        let points = Points::new(&rows[..2], 1).unwrap();
        assert!(
            self_kernel_sums(&Points::new(&rows, 1).unwrap(), None, rbf, &on)
                .unwrap_err()
                .to_string()
                .contains("point 2")
        );
        assert!(kernel_sums(&points, &Points::new(&rows[..2], 2).unwrap(), None, rbf, &on).is_err());
        assert!(self_kernel_sums(&points, Some(&rows), rbf, &on).is_err());
        assert!(self_kernel_sums(&points, None, Kernel::Rbf { bandwidth: 0.0 }, &on).is_err());
        for kernel in KERNELS {
            assert_eq!(self_kernel_sums(&points, None, kernel, &|| false), Err(crate::Error::Cancelled));
        }
    }
}
