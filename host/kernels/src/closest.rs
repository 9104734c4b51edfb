//! How far each point is from the closest of some centres, as centres are added: one pass over the points for many of them.

use crate::error::{Result, bad};
use crate::points::{Points, TILE, finite};
use crate::wide::wide;
use rayon::prelude::*;
use std::ops::Range;

/// Centres that one pass takes: their products with a tile stay in a core's cache.
const CENTRES: usize = 256;

/// Points as they stand, or points that are outer products of two rows each and never formed.
#[derive(Clone, Copy, Debug)]
pub enum Cloud<'a> {
    /// The points.
    Dense(Points<'a>),
    /// Point `i` is the outer product of row `i` of the one and row `i` of the other, such as the gradients of a network's last
    /// layer.
    Outer(Points<'a>, Points<'a>),
}

impl Cloud<'_> {
    /// How many points.
    pub fn n(&self) -> usize {
        match self {
            Cloud::Dense(points) | Cloud::Outer(points, _) => points.n(),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Cloud::Outer(a, b) if a.n() != b.n() => {
                bad(format!("{} and {} rows do not make outer products", a.n(), b.n()))
            }
            _ => Ok(()),
        }
    }

    fn finite_squares(&self) -> Result<Vec<f32>> {
        match self {
            Cloud::Dense(points) => points.finite_squares(),
            Cloud::Outer(a, b) => finite(a.squares().into_iter().zip(b.squares()).map(|(a, b)| a * b).collect()),
        }
    }

    /// The squared distance on which decisions rest: 0 for equal points, never below.
    ///
    /// Of outer products `|a|^2 |b|^2 + |a'|^2 |b'|^2 - 2 (a a') (b b')`, every product summed in the same order.
    pub(crate) fn squared_distance(&self, i: usize, other: &Cloud<'_>, j: usize) -> f32 {
        match (self, other) {
            (Cloud::Dense(points), Cloud::Dense(others)) => points.squared_distance(i, others, j),
            (Cloud::Outer(a, b), Cloud::Outer(a_others, b_others)) => {
                let square = a.product(i, a, i) * b.product(i, b, i);
                let other_square = a_others.product(j, a_others, j) * b_others.product(j, b_others, j);
                let product = a.product(i, a_others, j) * b.product(i, b_others, j);
                (square + other_square - 2.0 * product).max(0.0)
            }
            // No caller mixes the two: a cloud is compared with points gathered from itself.
            _ => f32::NAN,
        }
    }

    /// As [`Points::rounding`].
    fn rounding(&self) -> f32 {
        match self {
            Cloud::Dense(points) => points.rounding(),
            Cloud::Outer(a, b) => a.rounding() + b.rounding(),
        }
    }

    fn products(&self, rows: Range<usize>, others: &Cloud<'_>, theirs: Range<usize>, into: &mut [f32]) {
        match (self, others) {
            (Cloud::Dense(points), Cloud::Dense(others)) => points.dots(rows, others, theirs, into),
            (Cloud::Outer(a, b), Cloud::Outer(a_others, b_others)) => {
                a.dots(rows.clone(), a_others, theirs.clone(), into);
                let mut second = vec![0.0; into.len()];
                b.dots(rows, b_others, theirs, &mut second);
                into.iter_mut().zip(second).for_each(|(first, second)| *first *= second);
            }
            _ => into.fill(f32::NAN),
        }
    }

    /// A copy of the points at these positions.
    pub(crate) fn gather(&self, positions: &[usize]) -> Gathered {
        let copy = |points: &Points<'_>| (points.gather(positions), points.d());
        match self {
            Cloud::Dense(points) => Gathered(copy(points), None),
            Cloud::Outer(a, b) => Gathered(copy(a), Some(copy(b))),
        }
    }
}

/// Points of a cloud, copied.
pub(crate) struct Gathered((Vec<f32>, usize), Option<(Vec<f32>, usize)>);

impl Gathered {
    pub(crate) fn cloud(&self) -> Result<Cloud<'_>> {
        match self {
            Gathered(rows, None) => Ok(Cloud::Dense(Points::new(&rows.0, rows.1)?)),
            Gathered(rows, Some(second)) => {
                Ok(Cloud::Outer(Points::new(&rows.0, rows.1)?, Points::new(&second.0, second.1)?))
            }
        }
    }
}

/// Of each point of a cloud the closest centre so far, and its squared distance.
///
/// Which centre is closest, and how far it is, is decided by [`Cloud::squared_distance`] alone: products only tell which
/// centres need not be asked. So the answer is the same for any order of the work.
pub(crate) struct Closest<'a> {
    pub(crate) cloud: Cloud<'a>,
    square_n: Vec<f32>,
    /// Squared distances; infinite before the first centre.
    pub(crate) away_n: Vec<f32>,
    /// Which centre, counted in the order added; the first of equally close ones.
    pub(crate) centre_n: Vec<u32>,
    n_centres: u32,
}

impl<'a> Closest<'a> {
    /// No centre yet. Errs where distances are beyond 32 bits.
    pub(crate) fn new(cloud: Cloud<'a>) -> Result<Closest<'a>> {
        let (n, square_n) = (cloud.n(), cloud.finite_squares()?);
        Ok(Closest { cloud, square_n, away_n: vec![f32::INFINITY; n], centre_n: vec![0; n], n_centres: 0 })
    }

    /// The squared Euclidean length of each point.
    pub(crate) fn squares(&self) -> &[f32] {
        &self.square_n
    }

    /// Add the points at these positions as centres.
    pub(crate) fn add(&mut self, positions: &[usize]) -> Result<()> {
        for block in positions.chunks(CENTRES) {
            let gathered = self.cloud.gather(block);
            let square_m: Vec<f32> = block.iter().map(|i| self.square_n[*i]).collect();
            let centres = Centres { cloud: gathered.cloud()?, square_m: &square_m, first: self.n_centres };
            let (cloud, square_n) = (self.cloud, &self.square_n);
            let tiles = self.away_n.par_chunks_mut(TILE).zip(self.centre_n.par_chunks_mut(TILE)).enumerate();
            tiles.for_each_init(Vec::new, |products, (tile, (away_n, centre_n))| {
                centres.pass(cloud, tile * TILE, square_n, products, (away_n, centre_n));
            });
            self.n_centres += block.len() as u32;
        }
        Ok(())
    }
}

struct Centres<'a> {
    cloud: Cloud<'a>,
    square_m: &'a [f32],
    first: u32,
}

impl Centres<'_> {
    /// Bring the points from `start` on up to date.
    fn pass(
        &self,
        cloud: Cloud<'_>,
        start: usize,
        square_n: &[f32],
        products: &mut Vec<f32>,
        (away_n, centre_n): (&mut [f32], &mut [u32]),
    ) {
        let m = self.square_m.len();
        products.resize(away_n.len() * m, 0.0);
        cloud.products(start..start + away_n.len(), &self.cloud, 0..m, products);
        let largest = self.square_m.iter().copied().fold(0.0, f32::max);
        for (k, row) in products.chunks_exact_mut(m).enumerate() {
            let i = start + k;
            let room = cloud.rounding() * (square_n[i] + largest) + f32::MIN_POSITIVE;
            let least = screen(row, self.square_m).least;
            // Beyond this a centre is either no closer than the closest so far, or than another one of these.
            let bar = (least + 2.0 * room).min(away_n[k] - square_n[i] + room);
            if least > bar {
                continue;
            }
            for (j, _) in row.iter().enumerate().filter(|(_, value)| **value <= bar) {
                let away = cloud.squared_distance(i, &self.cloud, j);
                if away < away_n[k] {
                    (away_n[k], centre_n[k]) = (away, self.first + j as u32);
                }
            }
        }
    }
}

/// The two least of a row's values.
pub(crate) struct Least {
    pub(crate) least: f32,
    pub(crate) second: f32,
}

wide! {
    /// Turn the products of a point with others into squared distances less the point's own square, and find the two least.
    pub(crate) fn screen<'a>(row: &'a mut [f32], squares: &'a [f32]) -> Least {
        const LANES: usize = 16;
        let (mut least, mut second) = ([f32::INFINITY; LANES], [f32::INFINITY; LANES]);
        let (chunks, rest) = row.as_chunks_mut::<LANES>();
        let (square_chunks, square_rest) = squares.as_chunks::<LANES>();
        for (values, squares) in chunks.iter_mut().zip(square_chunks) {
            for lane in 0..LANES {
                let value = squares[lane] - 2.0 * values[lane];
                values[lane] = value;
                let other = if value < least[lane] { least[lane] } else { value };
                least[lane] = if value < least[lane] { value } else { least[lane] };
                second[lane] = if other < second[lane] { other } else { second[lane] };
            }
        }
        for (lane, (value, square)) in rest.iter_mut().zip(square_rest).enumerate() {
            *value = square - 2.0 * *value;
            second[lane] = second[lane].min(value.max(least[lane]));
            least[lane] = least[lane].min(*value);
        }
        let mut all = Least { least: f32::INFINITY, second: f32::INFINITY };
        for lane in 0..LANES {
            all.second = all.second.min(second[lane]).min(all.least.max(least[lane]));
            all.least = all.least.min(least[lane]);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cloud, on_threads};
    use coldstart_plugin_api::Rng;

    /// The factored distance of two gradients by hand: residuals (-.3, .2, .1) and (.3, -.6, .3), features (1, 2) and (2, -1).
    /// Sums of a few products below 10 stay within 1e-5.
    #[test]
    fn outer_products_have_the_distances_of_their_gradients() {
        let (residuals, features) = ([-0.3, 0.2, 0.1, 0.3, -0.6, 0.3], [1.0, 2.0, 2.0, -1.0]);
        let cloud = Cloud::Outer(Points::new(&residuals, 3).unwrap(), Points::new(&features, 2).unwrap());
        let squares = cloud.finite_squares().unwrap();
        assert!((squares[0] - 0.7).abs() < 1e-5 && (squares[1] - 2.7).abs() < 1e-5, "{squares:?}");
        assert!((cloud.squared_distance(0, &cloud, 1) - 3.4).abs() < 1e-5);
        assert_eq!(cloud.squared_distance(1, &cloud, 1), 0.0);
    }

    #[test]
    fn the_closest_centre_is_the_first_of_the_least_distances() {
        let mut rng = Rng::from_seed([1; 32]);
        for (n, d, steps, offset) in
            [(1, 1, None, 0.0), (300, 1, Some(2.0), 0.0), (700, 40, None, 0.0), (513, 3, Some(1.0), 500.0)]
        {
            let mut rows = cloud(n, d, 5, steps, &mut rng);
            rows.iter_mut().for_each(|x| *x += offset);
            let scale: Vec<f32> = (0..n).map(|_| 1.0 + rng.uniform() as f32).collect();
            let second = cloud(n, 4, 2, steps, &mut rng);
            let (points, second) = (Points::new(&rows, d).unwrap(), Points::new(&second, 4).unwrap());
            let centres = rng.sample(n, 300);
            for cloud in
                [Cloud::Dense(points), Cloud::Dense(points.scaled(&scale).unwrap()), Cloud::Outer(second, points)]
            {
                let (away_n, centre_n) = on_threads(&|| {
                    let mut closest = Closest::new(cloud).unwrap();
                    centres.chunks(70).for_each(|some| closest.add(some).unwrap());
                    (closest.away_n, closest.centre_n)
                });
                for i in 0..n {
                    let away = |j: &usize| cloud.squared_distance(i, &cloud, centres[*j]);
                    let least = (0..centres.len()).min_by(|a, b| away(a).total_cmp(&away(b))).unwrap();
                    assert_eq!((away_n[i], centre_n[i] as usize), (away(&least), least), "point {i} of {n}");
                }
            }
        }
    }

    #[test]
    fn points_beyond_32_bits_are_refused() {
        for value in [f32::NAN, f32::INFINITY, 1e30] {
            let rows = [0.0, value];
            assert!(Closest::new(Cloud::Dense(Points::new(&rows, 1).unwrap())).is_err());
        }
    }
}
