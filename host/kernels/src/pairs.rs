//! Tiles of pairs: what kernels over all pairs of points have in common.

use crate::Kernel;
use crate::error::{Result, bad};
use crate::points::{Points, TILE};
use crate::wide::wide;
use std::ops::Range;

/// A squared distance below this share of the two squared lengths comes from the difference of the points: what a product
/// leaves of it after cancellation would be too rough.
const NEAR: f32 = 1.0 / 64.0;

/// Points and their squared lengths.
#[derive(Clone, Debug)]
pub(crate) struct Measured<'a> {
    pub(crate) points: Points<'a>,
    pub(crate) squares: Vec<f32>,
}

impl<'a> Measured<'a> {
    /// Errs when a point is not finite.
    pub(crate) fn new(points: &Points<'a>) -> Result<Measured<'a>> {
        let squares = points.squares();
        match squares.iter().position(|square| !square.is_finite()) {
            Some(i) => bad(format!("point {i} is not finite, or so long that its square is not")),
            None => Ok(Measured { points: *points, squares }),
        }
    }

    /// The squared distances of the points `mine` to the points `theirs` of `others`, row after row, into `into`.
    ///
    /// Near zero, and near the square of a top-hat's radius, they come from the difference: the sides of a border do not
    /// depend on the tile.
    pub(crate) fn squared_distances(
        &self,
        mine: Range<usize>,
        others: &Measured<'_>,
        theirs: Range<usize>,
        kernel: &Kernel,
        into: &mut [f32],
    ) {
        self.points.dots(mine.clone(), &others.points, theirs.clone(), into);
        let border = Border::of(kernel, &self.points);
        let their_squares = &others.squares[theirs.clone()];
        for (row, i) in into.chunks_exact_mut(theirs.len()).zip(mine) {
            if from_products(row, self.squares[i], their_squares, border) {
                for (j, (squared, other)) in row.iter_mut().zip(their_squares).enumerate() {
                    if border.is_close(*squared, self.squares[i] + other) {
                        *squared = self.points.squared_distance(i, &others.points, theirs.start + j);
                    }
                }
            }
        }
    }
}

/// Where squared distances are wanted more exactly than products give them.
#[derive(Clone, Copy)]
struct Border {
    reach: f32,
    room: f32,
}

impl Border {
    fn of(kernel: &Kernel, points: &Points<'_>) -> Border {
        let reach = if let Kernel::TopHat { radius } = kernel { radius * radius } else { f32::NEG_INFINITY };
        Border { reach, room: points.rounding() }
    }

    #[inline(always)]
    fn is_close(&self, squared: f32, squares: f32) -> bool {
        squared < NEAR * squares || (squared - self.reach).abs() <= self.room * squares
    }
}

wide! {
    /// Products into squared distances; whether one of them is close to a border.
    fn from_products<'a>(row: &'a mut [f32], square: f32, their_squares: &'a [f32], border: Border) -> bool {
        let mut close = false;
        for (product, other) in row.iter_mut().zip(their_squares) {
            let squares = square + other;
            let squared = (squares - 2.0 * *product).max(0.0);
            close |= border.is_close(squared, squares);
            *product = squared;
        }
        close
    }
}

/// Tile number `tile` of `n` rows.
pub(crate) fn tile(tile: usize, n: usize) -> Range<usize> {
    tile * TILE..((tile + 1) * TILE).min(n)
}

/// Errs when there is not a finite number for each of `n` points; `what` names them.
pub(crate) fn one_each(values: &[f32], n: usize, what: &str) -> Result<()> {
    if values.len() != n {
        return bad(format!("{} {what} came with {n} points", values.len()));
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(i) => bad(format!("number {i} of the {what} is not finite")),
        None => Ok(()),
    }
}
