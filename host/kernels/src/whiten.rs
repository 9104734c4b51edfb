//! Principal components, whitened if wanted.

use crate::error::{Error, Result, bad};
use crate::pairs::tile;
use crate::points::{Points, TILE};
use crate::{GoOn, check, group_sums};
use coldstart_plugin_api::Rng;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};
use rayon::prelude::*;

/// Directions beyond the wanted ones that the iteration carries, so that the wanted ones settle sooner.
const OVERSAMPLE: usize = 10;
/// Passes over the points when the covariance is too large to be formed.
const PASSES: usize = 8;
/// A covariance of up to so many times the rows carried is formed: one pass over the points is then enough.
const FORMED: usize = 16;
/// How many numbers partial sums may take: a quarter of a gigabyte.
const PARTIAL: usize = 1 << 26;

/// The first `n_components` principal components of each point, n x n_components; with `whiten`, each has variance 1.
///
/// Errs as [`Components::of`] does.
pub fn principal(
    points: &Points<'_>,
    n_components: usize,
    whiten: bool,
    rng: &mut Rng,
    go_on: GoOn<'_>,
) -> Result<Vec<f32>> {
    Components::of(points, n_components, whiten, rng, go_on)?.project(points)
}

/// The principal directions of some points, for these points and others.
pub struct Components {
    mean_d: Vec<f32>,
    /// A direction each, with the scale of its component.
    axes_pd: Vec<f32>,
}

impl Components {
    /// The first `n_components` principal directions of the points; with `whiten`, components of these points have variance 1.
    ///
    /// Points are centred. The eigenvectors of the covariance come from its eigendecomposition where it is small, otherwise from
    /// eight rounds of randomised subspace iteration (Halko, Martinsson and Tropp 2011) that start from `rng`; the largest entry
    /// of each is positive. A component without variance is 0. Errs when there are fewer points or columns than components, a
    /// number is not finite, or the caller stops.
    pub fn of(
        points: &Points<'_>,
        n_components: usize,
        whiten: bool,
        rng: &mut Rng,
        go_on: GoOn<'_>,
    ) -> Result<Components> {
        let (n, d) = (points.n(), points.d());
        if n_components == 0 || n_components > n.min(d) {
            return bad(format!("{n} points of {d} numbers do not have {n_components} principal components"));
        }
        let axes = Axes::of(points, n_components, PASSES, rng, go_on)?;
        let mut axes_pd = axes.rows_ld;
        axes_pd.truncate(n_components * d);
        if whiten {
            // What is left of a direction without variance is rounding.
            let smallest = axes.variances_l[0] * 1e-12;
            for (axis_d, variance) in axes_pd.chunks_exact_mut(d).zip(&axes.variances_l) {
                let scale = if *variance > smallest { 1.0 / variance.sqrt() } else { 0.0 };
                axis_d.iter_mut().for_each(|x| *x *= scale as f32);
            }
        }
        Ok(Components { mean_d: axes.mean_d, axes_pd })
    }

    /// How many components there are.
    pub fn len(&self) -> usize {
        self.axes_pd.len() / self.mean_d.len()
    }

    /// Whether there are none; there always is one.
    pub fn is_empty(&self) -> bool {
        self.axes_pd.is_empty()
    }

    /// The components of any points, n x [`len`](Components::len). Errs when points have another number of columns.
    pub fn project(&self, points: &Points<'_>) -> Result<Vec<f32>> {
        let d = self.mean_d.len();
        if points.d() != d {
            return bad(format!("points of {} numbers, and the components are of {d}", points.d()));
        }
        let mut components_np = vec![0.0; points.n() * self.len()];
        components_np.par_chunks_mut(TILE * self.len()).enumerate().for_each(|(number, into)| {
            project(&centred(points, number, &self.mean_d), &self.axes_pd, d, into);
        });
        Ok(components_np)
    }
}

/// Directions of a cloud in the order of its variance along them.
pub(crate) struct Axes {
    pub(crate) mean_d: Vec<f32>,
    /// At least as many as wanted, each of unit length and orthogonal to the others.
    pub(crate) rows_ld: Vec<f32>,
    pub(crate) variances_l: Vec<f64>,
}

impl Axes {
    /// The leading directions, after `passes` rounds of subspace iteration where the covariance is not formed.
    pub(crate) fn of(
        points: &Points<'_>,
        wanted: usize,
        passes: usize,
        rng: &mut Rng,
        go_on: GoOn<'_>,
    ) -> Result<Axes> {
        let (n, d) = (points.n(), points.d());
        let sum_d = group_sums(points, &vec![0; n], 1, None)?;
        let mean_d: Vec<f32> = sum_d.iter().map(|sum| sum / n as f32).collect();
        if mean_d.iter().any(|mean| !mean.is_finite()) {
            return bad("a point is not finite");
        }
        let l = (wanted + OVERSAMPLE).min(d);
        if d <= FORMED * l {
            check(go_on)?;
            let covariance = symmetric(&scatter(points, &mean_d, None, d), d, n);
            let (rows, variances_l) = eigen(&covariance)?;
            return Ok(Axes { mean_d, rows_ld: directions(rows.as_ref()), variances_l });
        }
        let start = Mat::from_fn(d, l, |_, _| rng.normal());
        let mut basis = start.qr().compute_thin_Q();
        for pass in 1.. {
            check(go_on)?;
            let product_ld = scatter(points, &mean_d, Some(&single(basis.transpose())), l);
            let product = MatRef::from_row_major_slice(&product_ld, l, d);
            if pass < passes {
                basis = product.transpose().to_owned().qr().compute_thin_Q();
                continue;
            }
            // The eigenvectors of the covariance within the space found (Rayleigh and Ritz).
            let within = product * &basis;
            let (turn, variances_l) = eigen(&symmetric(&row_major(within.as_ref()), l, n))?;
            let rows_ld = directions((turn * basis.transpose()).as_ref());
            return Ok(Axes { mean_d, rows_ld, variances_l });
        }
        bad("a subspace iteration needs a pass")
    }
}

/// Sums over points of (basis times point) times point, `l` x d; without a basis, of point times point.
///
/// Points are centred. Partial sums cover fixed ranges of tiles and are added in their order.
fn scatter(points: &Points<'_>, mean_d: &[f32], basis_ld: Option<&[f32]>, l: usize) -> Vec<f64> {
    let (n_tiles, d) = (points.n().div_ceil(TILE), points.d());
    let parts = (PARTIAL / (l * d)).clamp(1, 32);
    let tiles: Vec<usize> = (0..n_tiles).collect();
    let part = |tiles: &[usize]| {
        let mut sum_ld = vec![0.0f32; l * d];
        for number in tiles {
            let tile_td = centred(points, *number, mean_d);
            let rows = tile_td.len() / d;
            let mut projected_tl = vec![0.0; if basis_ld.is_some() { rows * l } else { 0 }];
            if let Some(basis_ld) = basis_ld {
                project(&tile_td, basis_ld, d, &mut projected_tl);
            }
            let left = if basis_ld.is_some() { &projected_tl } else { &tile_td };
            let left = MatRef::from_row_major_slice(left, rows, l).transpose();
            let right = MatRef::from_row_major_slice(&tile_td, rows, d);
            let into = MatMut::from_row_major_slice_mut(&mut sum_ld, l, d);
            matmul(into, Accum::Add, left, right, 1.0, Par::Seq);
        }
        sum_ld
    };
    let sums: Vec<Vec<f32>> = tiles.par_chunks(n_tiles.div_ceil(parts).max(1)).map(part).collect();
    let mut total_ld = vec![0.0; l * d];
    for sum_ld in sums {
        total_ld.iter_mut().zip(sum_ld).for_each(|(total, sum)| *total += f64::from(sum));
    }
    total_ld
}

/// The points of a tile minus their mean.
fn centred(points: &Points<'_>, number: usize, mean_d: &[f32]) -> Vec<f32> {
    let rows = tile(number, points.n());
    let mut tile_td = Vec::with_capacity(rows.len() * mean_d.len());
    for i in rows {
        let scale = points.scale_of(i);
        tile_td.extend(points.raw(i).iter().zip(mean_d).map(|(x, mean)| x * scale - mean));
    }
    tile_td
}

/// The products of each row with each axis, rows x axes.
fn project(rows_td: &[f32], axes_ld: &[f32], d: usize, into: &mut [f32]) {
    let (t, l) = (rows_td.len() / d, axes_ld.len() / d);
    let rows = MatRef::from_row_major_slice(rows_td, t, d);
    let axes = MatRef::from_row_major_slice(axes_ld, l, d);
    matmul(MatMut::from_row_major_slice_mut(into, t, l), Accum::Replace, rows, axes.transpose(), 1.0, Par::Seq);
}

/// The mean of a sum over `n` points, made exactly symmetric.
fn symmetric(sum: &[f64], size: usize, n: usize) -> Mat<f64> {
    Mat::from_fn(size, size, |i, j| (sum[i * size + j] + sum[j * size + i]) / (2.0 * n as f64))
}

/// The eigenvectors in rows and the eigenvalues, largest first.
fn eigen(matrix: &Mat<f64>) -> Result<(Mat<f64>, Vec<f64>)> {
    let found = matrix.self_adjoint_eigen(Side::Lower);
    let found = found.map_err(|_| Error::Input("the covariance of the points has no eigenvectors".to_owned()))?;
    let (size, vectors, values) = (matrix.nrows(), found.U(), found.S().column_vector());
    let rows = Mat::from_fn(size, size, |i, j| vectors[(j, size - 1 - i)]);
    Ok((rows, (0..size).map(|i| values[size - 1 - i].max(0.0)).collect()))
}

/// Row after row, the largest entry of each positive.
fn directions(matrix: MatRef<'_, f64>) -> Vec<f32> {
    let mut rows = single(matrix);
    for row in rows.chunks_exact_mut(matrix.ncols()) {
        let largest = row.iter().fold(0.0f32, |largest, x| if x.abs() > largest.abs() { *x } else { largest });
        row.iter_mut().for_each(|x| *x *= largest.signum());
    }
    rows
}

fn single(matrix: MatRef<'_, f64>) -> Vec<f32> {
    row_major(matrix).into_iter().map(|x| x as f32).collect()
}

fn row_major(matrix: MatRef<'_, f64>) -> Vec<f64> {
    (0..matrix.nrows()).flat_map(|i| (0..matrix.ncols()).map(move |j| matrix[(i, j)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{on, on_threads};

    /// Points whose variance falls from column to column, in a turned frame.
    fn cloud(n: usize, d: usize, rng: &mut Rng) -> Vec<f32> {
        let frame = Mat::from_fn(d, d, |_, _| rng.normal()).qr().compute_thin_Q();
        let straight = Mat::from_fn(n, d, |_, j| rng.normal() * 3.0 * 0.7f64.powi(j as i32));
        (straight * frame).row_iter().flat_map(|row| row.iter().map(|x| *x as f32 + 2.0).collect::<Vec<_>>()).collect()
    }

    /// Components by the eigendecomposition of the covariance in double precision.
    fn slow(points: &Points<'_>, n_components: usize) -> Mat<f64> {
        let (n, d) = (points.n(), points.d());
        let all = Mat::from_fn(n, d, |i, j| f64::from(points.point(i)[j]));
        let mean: Vec<f64> = (0..d).map(|j| all.col(j).iter().sum::<f64>() / n as f64).collect();
        let all = Mat::from_fn(n, d, |i, j| all[(i, j)] - mean[j]);
        let covariance = all.transpose() * &all * faer::Scale(1.0 / n as f64);
        let found = covariance.self_adjoint_eigen(Side::Lower).unwrap();
        let axes = Mat::from_fn(d, n_components, |i, j| found.U()[(i, d - 1 - j)]);
        all * axes
    }

    #[test]
    fn components_equal_those_of_the_covariance() {
        // The last one is too wide for its covariance to be formed.
        for (n, d, p) in [(1, 1, 1), (50, 4, 4), (600, 20, 3), (700, 230, 3)] {
            let mut rng = Rng::from_seed([8; 32]);
            let rows = cloud(n, d, &mut rng);
            let scale: Vec<f32> = (0..n).map(|i| 1.0 + (i % 3) as f32).collect();
            let points = Points::new(&rows, d).unwrap().scaled(&scale).unwrap();
            let exact = slow(&points, p);
            let found = on_threads(&|| principal(&points, p, false, &mut Rng::from_seed([1; 32]), &on).unwrap());
            let white = principal(&points, p, true, &mut Rng::from_seed([1; 32]), &on).unwrap();
            for j in 0..p {
                let column = |of: &[f32]| (0..n).map(|i| f64::from(of[i * p + j])).collect::<Vec<f64>>();
                let (found, white) = (column(&found), column(&white));
                let length = exact.col(j).norm_l2();
                let dot: f64 = found.iter().zip(exact.col(j).iter()).map(|(x, y)| x * y).sum();
                for i in 0..n {
                    // The product form in single precision, and a gap of 2 between neighbouring variances.
                    let difference = found[i] * dot.signum() - exact[(i, j)];
                    assert!(difference.abs() < 1e-3 * (length / (n as f64).sqrt() + 1e-3), "{n} {j}: {difference}");
                }
                let variance = white.iter().map(|x| x * x).sum::<f64>() / n as f64;
                // Single precision in d terms; one point has no variance.
                assert!(n == 1 && variance == 0.0 || (variance - 1.0).abs() < 1e-4, "{variance}");
            }
        }
    }

    #[test]
    fn too_many_components_and_bad_numbers_are_refused() {
        let rows = [1.0, 2.0, 3.0, f32::NAN];
        let rng = &mut Rng::from_seed([1; 32]);
        let points = Points::new(&rows[..2], 1).unwrap();
        assert!(principal(&points, 0, true, rng, &on).is_err() && principal(&points, 2, true, rng, &on).is_err());
        assert!(principal(&Points::new(&rows, 1).unwrap(), 1, true, rng, &on).is_err());
        assert_eq!(principal(&points, 1, true, rng, &|| false), Err(Error::Cancelled));
        // Equal points have no direction.
        assert_eq!(principal(&Points::new(&[2.0; 6], 2).unwrap(), 2, true, rng, &on).unwrap(), [0.0; 6]);
    }
}
