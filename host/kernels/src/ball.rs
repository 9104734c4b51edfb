//! Who is within reach of whom: exact, without a look at most of the numbers.
//!
//! A few directions hold most of what keeps points apart. Distances along them never exceed the true ones, so that pairs
//! already too far apart there are done with; the others are decided by [`Points::squared_distance`], or by products of whole
//! tiles where too many are left. How many directions pay is found on a sample. No answer depends on any of it.

use crate::error::Result;
use crate::pairs::{Measured, tile};
use crate::points::{Points, TILE};
use crate::whiten::Axes;
use crate::wide::wide;
use crate::{GoOn, check};
use coldstart_plugin_api::Rng;
use rayon::prelude::*;
use std::sync::atomic::{AtomicI64, Ordering};

/// The most directions of a sketch, and the numbers of them that are tried.
const WIDTHS: [usize; 4] = [16, 32, 64, 128];
/// Points that the directions are found on.
const SAMPLE: usize = 4096;
/// Of those, how many show what a width would spare: all pairs among them are looked at.
const TRIED: usize = 512;
/// What a difference of two points costs, in products of two points within a tile. Measured.
const DIFFERENCE: f64 = 8.0;

/// Points, each with a ball of one radius around it; whoever is closer than that is inside.
pub(crate) struct Balls<'a> {
    all: Measured<'a>,
    squared_radius: f32,
    sketch: Option<Sketch>,
}

impl<'a> Balls<'a> {
    /// Errs when a point is not finite.
    pub(crate) fn new(points: &Points<'a>, radius: f32) -> Result<Balls<'a>> {
        let (all, squared_radius) = (Measured::new(points)?, radius * radius);
        let sketch = Sketch::of(points, squared_radius)?;
        Ok(Balls { all, squared_radius, sketch })
    }

    /// For each of the points `targets` the sum of `shares` over everyone in its ball. `targets` are in ascending order.
    pub(crate) fn sums(&self, targets: &[usize], shares: &[i64], go_on: GoOn<'_>) -> Result<Vec<i64>> {
        if targets.len() == self.all.points.n() {
            return self.sums_of_all(shares, go_on);
        }
        let counted: Vec<usize> = (0..shares.len()).filter(|i| shares[*i] != 0).collect();
        let mut sums = vec![0; targets.len()];
        self.add_to(&counted, shares, targets, &mut sums, go_on)?;
        Ok(sums)
    }

    /// Add to the sum of each of `targets` the share of every one of `sources` in its ball.
    pub(crate) fn add_to(
        &self,
        sources: &[usize],
        shares: &[i64],
        targets: &[usize],
        sums: &mut [i64],
        go_on: GoOn<'_>,
    ) -> Result<()> {
        let reach = vec![self.squared_radius; TILE];
        sums.par_chunks_mut(TILE).zip(targets.par_chunks(TILE)).try_for_each_init(
            Room::default,
            |room, (sums, targets)| {
                check(go_on)?;
                for sources in sources.chunks(TILE) {
                    self.within(sources, &reach, targets, room, |i, j| sums[j] += shares[sources[i]])?;
                }
                Ok(())
            },
        )
    }

    /// Whether each of the points `whom` is closer to one of `centres` than the centre's own squared radius.
    pub(crate) fn reached(&self, centres: &[usize], squared_radii: &[f32], whom: &[usize]) -> Result<Vec<bool>> {
        let mut reached = vec![false; whom.len()];
        reached.par_chunks_mut(TILE).zip(whom.par_chunks(TILE)).try_for_each_init(
            Room::default,
            |room, (reached, whom)| {
                for (centres, reach) in centres.chunks(TILE).zip(squared_radii.chunks(TILE)) {
                    self.within(centres, reach, whom, room, |_, j| reached[j] = true)?;
                }
                Ok(())
            },
        )?;
        Ok(reached)
    }

    /// The squared radius that all share.
    pub(crate) fn squared_radius(&self) -> f32 {
        self.squared_radius
    }

    /// [`Balls::sums`] of everyone: who is in whose ball is mutual, so that each pair is looked at once.
    fn sums_of_all(&self, shares: &[i64], go_on: GoOn<'_>) -> Result<Vec<i64>> {
        let n = self.all.points.n();
        let positions: Vec<usize> = (0..n).collect();
        let reach = vec![self.squared_radius; TILE];
        // Whole numbers have the same sum in any order, so that threads may add as they come.
        let sums: Vec<AtomicI64> = (0..n).map(|_| AtomicI64::new(0)).collect();
        (0..n.div_ceil(TILE)).into_par_iter().try_for_each_init(Room::default, |room, band| {
            check(go_on)?;
            let mine = &positions[tile(band, n)];
            let mut my_sums = vec![0; mine.len()];
            for theirs in positions[mine[0]..].chunks(TILE) {
                let mut their_sums = vec![0; theirs.len()];
                let twice = theirs[0] > mine[0];
                self.within(mine, &reach, theirs, room, |i, j| {
                    my_sums[i] += shares[theirs[j]];
                    if twice {
                        their_sums[j] += shares[mine[i]];
                    }
                })?;
                add(&sums[theirs[0]..], &their_sums);
            }
            add(&sums[mine[0]..], &my_sums);
            Ok(())
        })?;
        Ok(sums.into_iter().map(AtomicI64::into_inner).collect())
    }

    /// Call `hit` with the places in `mine` and `theirs` of each pair closer than the root of the first one's reach.
    fn within(
        &self,
        mine: &[usize],
        reach: &[f32],
        theirs: &[usize],
        Room { products, left }: &mut Room,
        mut hit: impl FnMut(usize, usize),
    ) -> Result<()> {
        let Measured { points, squares } = &self.all;
        products.resize(mine.len() * theirs.len(), 0.0);
        if let Some(sketch) = &self.sketch {
            multiply(&sketch.points()?, mine, theirs, products)?;
            self.screen(&sketch.squares, (mine, reach), theirs, products, left);
        }
        let whole = self.sketch.is_none() || left.len() as f64 * DIFFERENCE > products.len() as f64;
        if whole {
            multiply(points, mine, theirs, products)?;
            self.screen(squares, (mine, reach), theirs, products, left);
        }
        let room = points.rounding();
        for (i, j) in left.iter().map(|(i, j)| (*i as usize, *j as usize)) {
            let (a, b) = (mine[i], theirs[j]);
            let sum = squares[a] + squares[b];
            let surely = whole && sum - 2.0 * products[i * theirs.len() + j] + room * sum < reach[i];
            if surely || points.squared_distance(a, points, b) < reach[i] {
                hit(i, j);
            }
        }
        Ok(())
    }

    /// The pairs that products do not show to be out of reach.
    fn screen(
        &self,
        squares: &[f32],
        (mine, reach): (&[usize], &[f32]),
        theirs: &[usize],
        products: &[f32],
        left: &mut Vec<(u32, u32)>,
    ) {
        // In halves: |a - b|^2 < reach + room where a.b > (|a|^2 + |b|^2 - reach - room) / 2. A sketch has the roundings of
        // the products that made it, too, hence twice the bound.
        let room = 2.0 * self.all.points.rounding();
        let half = |i: &usize| 0.5 * (squares[*i] - room * self.all.squares[*i]);
        let their_halves: Vec<f32> = theirs.iter().map(half).collect();
        left.clear();
        for (i, row) in products.chunks_exact(theirs.len()).enumerate() {
            at_least(row, half(&mine[i]) - 0.5 * reach[i], &their_halves, i as u32, left);
        }
    }
}

/// What a thread uses again for each tile: products, and the pairs that they leave open.
#[derive(Default)]
struct Room {
    products: Vec<f32>,
    left: Vec<(u32, u32)>,
}

wide! {
    /// Note the place in row `i` of each product that is at least `least` plus its half.
    fn at_least<'a>(products: &'a [f32], least: f32, halves: &'a [f32], i: u32, left: &'a mut Vec<(u32, u32)>) -> () {
        const WIDE: usize = 32;
        for (chunk, (products, halves)) in products.chunks(WIDE).zip(halves.chunks(WIDE)).enumerate() {
            let mut any = false;
            for (product, half) in products.iter().zip(halves) {
                any |= product - half >= least;
            }
            if any {
                for (place, (product, half)) in products.iter().zip(halves).enumerate() {
                    if product - half >= least {
                        left.push((i, (chunk * WIDE + place) as u32));
                    }
                }
            }
        }
    }
}

/// The products of the points at `mine` with those at `theirs`, row after row.
fn multiply(points: &Points<'_>, mine: &[usize], theirs: &[usize], into: &mut [f32]) -> Result<()> {
    let (rows, more_rows);
    let (a, mine) = match range(mine) {
        Some(range) => (*points, range),
        None => {
            rows = points.gather(mine);
            (Points::new(&rows, points.d())?, 0..mine.len())
        }
    };
    let (b, theirs) = match range(theirs) {
        Some(range) => (*points, range),
        None => {
            more_rows = points.gather(theirs);
            (Points::new(&more_rows, points.d())?, 0..theirs.len())
        }
    };
    a.dots(mine, &b, theirs, into);
    Ok(())
}

/// Ascending positions as a range, if none is left out.
fn range(positions: &[usize]) -> Option<std::ops::Range<usize>> {
    let (first, last) = (*positions.first()?, *positions.last()?);
    (last.checked_sub(first)? + 1 == positions.len()).then_some(first..last + 1)
}

fn add(sums: &[AtomicI64], parts: &[i64]) {
    for (sum, part) in sums.iter().zip(parts) {
        sum.fetch_add(*part, Ordering::Relaxed);
    }
}

/// Where points lie along their leading directions.
struct Sketch {
    rows: Vec<f32>,
    width: usize,
    squares: Vec<f32>,
}

impl Sketch {
    /// A sketch of the width that spares most; none where it would not spare much.
    fn of(points: &Points<'_>, squared_radius: f32) -> Result<Option<Sketch>> {
        let (n, d) = (points.n(), points.d());
        if n < SAMPLE || d < 2 * WIDTHS[1] {
            return Ok(None);
        }
        let even: Vec<usize> = (0..SAMPLE).map(|i| i * n / SAMPLE).collect();
        let rows = points.gather(&even);
        let sample = Points::new(&rows, d)?;
        let axes = Axes::of(&sample, WIDTHS[WIDTHS.len() - 1].min(d / 2), 2, &mut Rng::from_seed([0; 32]), &|| true)?;
        let Some(width) = best_width(&sample, &axes, squared_radius)? else { return Ok(None) };
        Sketch::along(points, &axes, width).map(Some)
    }

    fn along(points: &Points<'_>, axes: &Axes, width: usize) -> Result<Sketch> {
        let (n, directions) = (points.n(), Points::new(&axes.rows_ld[..width * points.d()], points.d())?);
        let mut rows = vec![0.0; n * width];
        rows.par_chunks_mut(TILE * width).enumerate().for_each(|(number, into)| {
            points.dots(tile(number, n), &directions, 0..width, into);
        });
        let squares = Points::new(&rows, width)?.squares();
        Ok(Sketch { rows, width, squares })
    }

    fn points(&self) -> Result<Points<'_>> {
        Points::new(&self.rows, self.width)
    }
}

/// The number of directions with the least work for a pair, by the pairs of a sample; none if products alone are as good.
fn best_width(sample: &Points<'_>, axes: &Axes, squared_radius: f32) -> Result<Option<usize>> {
    let d = sample.d();
    let widths = WIDTHS.iter().copied().filter(|width| 2 * width <= d);
    let some: Vec<usize> = (0..TRIED).map(|i| i * sample.n() / TRIED).collect();
    let some = sample.gather(&some);
    let sketch = Sketch::along(&Points::new(&some, d)?, axes, widths.clone().max().unwrap_or(0))?;
    let sketch = sketch.points()?;
    // In products of two points: those along the directions, at half the speed, and what is left.
    let work = |width: usize| {
        let apart = |i: usize, j: usize| {
            sketch.raw(i)[..width].iter().zip(&sketch.raw(j)[..width]).map(|(x, y)| (x - y) * (x - y)).sum::<f32>()
        };
        let pairs = (0..TRIED).flat_map(|i| (0..i).map(move |j| (i, j)));
        let left = pairs.filter(|(i, j)| apart(*i, *j) < squared_radius).count() as f64;
        let share = left / (TRIED * (TRIED - 1) / 2) as f64;
        (2.0 * width as f64 + 30.0) / d as f64 + (share * DIFFERENCE).min(1.0)
    };
    let best = widths.map(|width| (width, work(width))).min_by(|a, b| a.1.total_cmp(&b.1));
    Ok(best.filter(|(_, work)| *work < 0.8).map(|(width, _)| width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cloud, on, on_threads};

    /// Points that a sketch pays for, and points that it does not.
    #[test]
    fn sums_equal_a_double_loop_with_and_without_a_sketch() {
        for (n, d, blobs, radius) in
            [(300, 3, 2, 1.0), (SAMPLE + 77, 512, 40, 31.5), (SAMPLE, 64, 1, 11.5), (1, 1, 1, 1.0)]
        {
            let mut rng = Rng::from_seed([9; 32]);
            let rows = cloud(n, d, blobs, Some(2.0), &mut rng);
            let points = Points::new(&rows, d).unwrap();
            let shares: Vec<i64> = (0..n).map(|_| rng.below(3) as i64).collect();
            let balls = Balls::new(&points, radius).unwrap();
            assert_eq!(balls.sketch.is_some(), blobs == 40);
            let inside = |i, j| points.squared_distance(i, &points, j) < radius * radius;
            let slow = |i: &usize| (0..n).filter(|j| inside(*i, *j)).map(|j| shares[j]).sum::<i64>();
            let all: Vec<usize> = (0..n).collect();
            let sums = on_threads(&|| balls.sums(&all, &shares, &on).unwrap());
            assert_eq!(sums, all.iter().map(slow).collect::<Vec<_>>());
            let some: Vec<usize> = all.iter().copied().filter(|i| i % 3 == 1).collect();
            assert_eq!(balls.sums(&some, &shares, &on).unwrap(), some.iter().map(|i| sums[*i]).collect::<Vec<_>>());
        }
    }
}
