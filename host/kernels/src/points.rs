//! Points: rows of numbers that someone else holds, maybe in a mapped file, maybe seen at unit length.

use crate::error::{Result, bad};
use crate::wide::wide;
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use rayon::prelude::*;

/// Rows of a tile: its distances to as many others stay in the second cache of a core.
pub(crate) const TILE: usize = 256;

/// `n` points of `d` numbers each, row after row; with a scale, row `i` counts as `scale[i]` times what stands there.
///
/// A scale makes rows unit length without a copy: half a gigabyte of features would become one.
#[derive(Clone, Copy, Debug)]
pub struct Points<'a> {
    rows: &'a [f32],
    n_cols: usize,
    scale: Option<&'a [f32]>,
}

impl<'a> Points<'a> {
    /// The points in `rows`, each of `n_cols` numbers. Errs when they do not fill whole rows.
    pub fn new(rows: &'a [f32], n_cols: usize) -> Result<Points<'a>> {
        if n_cols == 0 || !rows.len().is_multiple_of(n_cols) {
            return bad(format!("{} numbers do not make points of {n_cols}", rows.len()));
        }
        Ok(Points { rows, n_cols, scale: None })
    }

    /// The same points, row `i` times `scale[i]`. Errs when there is not a scale for each.
    pub fn scaled(self, scale: &'a [f32]) -> Result<Points<'a>> {
        if scale.len() != self.n() {
            return bad(format!("{} scales came with {} points", scale.len(), self.n()));
        }
        Ok(Points { scale: Some(scale), ..self })
    }

    /// How many.
    pub fn n(&self) -> usize {
        self.rows.len() / self.n_cols
    }

    /// Numbers in each.
    pub fn d(&self) -> usize {
        self.n_cols
    }

    /// Row `i` as it stands in memory, without its scale.
    pub(crate) fn raw(&self, i: usize) -> &'a [f32] {
        &self.rows[i * self.n_cols..][..self.n_cols]
    }

    pub(crate) fn scale_of(&self, i: usize) -> f32 {
        self.scale.map_or(1.0, |scale| scale[i])
    }

    /// Point `i`, its scale applied.
    pub fn point(&self, i: usize) -> Vec<f32> {
        let scale = self.scale_of(i);
        self.raw(i).iter().map(|x| x * scale).collect()
    }

    /// The points at these positions, their scales applied.
    pub fn gather(&self, positions: &[usize]) -> Vec<f32> {
        let mut rows = Vec::with_capacity(positions.len() * self.n_cols);
        for i in positions {
            let scale = self.scale_of(*i);
            rows.extend(self.raw(*i).iter().map(|x| x * scale));
        }
        rows
    }

    /// The scale that gives each row the Euclidean length 1; 0 for a row of zeros, which stays one.
    pub fn unit_scale(&self) -> Vec<f32> {
        self.squares().iter().map(|square| if *square > 0.0 { 1.0 / square.sqrt() } else { 0.0 }).collect()
    }

    /// The squared Euclidean length of each point.
    pub fn squares(&self) -> Vec<f32> {
        (0..self.n()).into_par_iter().with_min_len(TILE).map(|i| self.product(i, self, i)).collect()
    }

    /// The same, of points that lie within what distances in 32 bits can tell. Errs where one does not, or is not a number.
    pub(crate) fn finite_squares(&self) -> Result<Vec<f32>> {
        finite(self.squares())
    }

    /// The same, of the points at these positions.
    pub(crate) fn finite_squares_of(&self, positions: &[usize]) -> Result<Vec<f32>> {
        finite(positions.par_iter().with_min_len(TILE).map(|i| self.product(*i, self, *i)).collect())
    }

    /// The inner product of two points, the same number wherever it is asked.
    pub(crate) fn product(&self, i: usize, other: &Points<'_>, j: usize) -> f32 {
        dot(self.raw(i), other.raw(j)) * self.scale_of(i) * other.scale_of(j)
    }

    /// How far the squared distance of two points from their squares and their product may lie from
    /// [`Points::squared_distance`], as a share of the sum of their squares: a bound, not an estimate.
    ///
    /// A sum of `d` products is off by at most `d` half-roundings of `|a| |b|`, in any order; the difference itself and the
    /// scales add some twenty; and `(|a| + |b|)^2` is at most twice the sum of the squares.
    pub(crate) fn rounding(&self) -> f32 {
        f32::EPSILON * (1.1 * self.n_cols as f32 + 24.0)
    }

    /// The squared distance of two points, from the difference itself: exact to a few roundings of the result, so that a
    /// decision can rest on it, and 0 for equal points.
    pub fn squared_distance(&self, i: usize, other: &Points<'_>, j: usize) -> f32 {
        squared_difference((self.raw(i), self.scale_of(i)), (other.raw(j), other.scale_of(j)))
    }

    /// The inner products of the points `mine` with the points `theirs` of `others`, row after row, into `into`.
    ///
    /// On one thread: tiles are what threads share.
    pub(crate) fn dots(
        &self,
        mine: std::ops::Range<usize>,
        others: &Points<'_>,
        theirs: std::ops::Range<usize>,
        into: &mut [f32],
    ) {
        let (n, m, d) = (mine.len(), theirs.len(), self.n_cols);
        let a = MatRef::from_row_major_slice(&self.rows[mine.start * d..mine.end * d], n, d);
        let b = MatRef::from_row_major_slice(&others.rows[theirs.start * d..theirs.end * d], m, d);
        matmul(MatMut::from_row_major_slice_mut(into, n, m), Accum::Replace, a, b.transpose(), 1.0, Par::Seq);
        if self.scale.is_none() && others.scale.is_none() {
            return;
        }
        let scale_m = others.scale.map(|scale| &scale[theirs]);
        for (row, i) in into.chunks_exact_mut(m).zip(mine) {
            let scale = self.scale_of(i);
            match scale_m {
                Some(scale_m) => row.iter_mut().zip(scale_m).for_each(|(dot, other)| *dot *= scale * other),
                None => row.iter_mut().for_each(|dot| *dot *= scale),
            }
        }
    }
}

/// These squared lengths, if sums of a few of them are numbers still.
pub(crate) fn finite(square_n: Vec<f32>) -> Result<Vec<f32>> {
    match square_n.iter().position(|square| square.is_nan() || *square > f32::MAX / 16.0) {
        Some(i) => bad(format!("point {i} is not finite, or too long for distances in 32 bits")),
        None => Ok(square_n),
    }
}

/// `0..n` in tiles.
pub(crate) fn tiles(n: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..n).step_by(TILE).map(move |start| start..n.min(start + TILE))
}

wide! {
    /// The inner product, summed in an order that depends on the length alone.
    pub(crate) fn dot<'a>(a: &'a [f32], b: &'a [f32]) -> f32 {
        let mut lanes = [0.0f32; 32];
        let (a_lanes, a_rest) = a.as_chunks::<32>();
        let (b_lanes, b_rest) = b.as_chunks::<32>();
        for (a, b) in a_lanes.iter().zip(b_lanes) {
            for i in 0..32 {
                lanes[i] = a[i].mul_add(b[i], lanes[i]);
            }
        }
        let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
        lanes.iter().sum::<f32>() + rest
    }
}

wide! {
    fn squared_difference<'a>(a: (&'a [f32], f32), b: (&'a [f32], f32)) -> f32 {
        let ((a, a_scale), (b, b_scale)) = (a, b);
        let mut lanes = [0.0f32; 32];
        let (a_lanes, a_rest) = a.as_chunks::<32>();
        let (b_lanes, b_rest) = b.as_chunks::<32>();
        for (a, b) in a_lanes.iter().zip(b_lanes) {
            for i in 0..32 {
                let difference = a[i] * a_scale - b[i] * b_scale;
                lanes[i] = difference.mul_add(difference, lanes[i]);
            }
        }
        let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * a_scale - b * b_scale);
        lanes.iter().sum::<f32>() + rest.map(|difference| difference * difference).sum::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::Rng;

    #[test]
    fn products_and_distances_equal_their_definitions() {
        for (n, m, d) in [(1, 1, 1), (3, 5, 7), (40, 33, 32), (257, 300, 65)] {
            let mut rng = Rng::from_seed([3; 32]);
            let mut numbers = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
            let (a, b, scale) = (numbers(n * d), numbers(m * d), numbers(n));
            let (a, b) = (Points::new(&a, d).unwrap().scaled(&scale).unwrap(), Points::new(&b, d).unwrap());
            let mut dots = vec![0.0; n * m];
            a.dots(0..n, &b, 0..m, &mut dots);
            for i in 0..n {
                for j in 0..m {
                    let pairs = || a.point(i).into_iter().zip(b.point(j)).map(|(x, y)| (f64::from(x), f64::from(y)));
                    let product: f64 = pairs().map(|(x, y)| x * y).sum();
                    let distance: f64 = pairs().map(|(x, y)| (x - y) * (x - y)).sum();
                    // Some d roundings of 6e-8 each, of sums of order d.
                    let room = 1e-6 * d as f64;
                    assert!((f64::from(dots[i * m + j]) - product).abs() < room, "{i} {j}");
                    assert!((f64::from(a.squared_distance(i, &b, j)) - distance).abs() < 4.0 * room, "{i} {j}");
                }
            }
            assert_eq!(b.squared_distance(0, &b, 0), 0.0);
        }
    }

    #[test]
    fn unit_rows_have_length_one_and_zeros_stay() {
        let rows = [3.0, 4.0, 0.0, 0.0, -2.0, 0.0];
        let points = Points::new(&rows, 2).unwrap();
        let scale = points.unit_scale();
        let unit = points.scaled(&scale).unwrap();
        assert_eq!(unit.squares(), [1.0, 0.0, 1.0]);
        assert_eq!(unit.point(1), [0.0, 0.0]);
        assert!(Points::new(&rows, 4).is_err() && Points::new(&rows, 0).is_err() && points.scaled(&rows).is_err());
    }
}
