//! Points of many dimensions laid out in a plane, neighbours near neighbours (McInnes, Healy and Melville 2018, UMAP:
//! Uniform Manifold Approximation and Projection), with the settings that its authors' program has by default.
//!
//! Departures from that program: neighbours are exact; the layout starts at the two principal components and not at the
//! graph's spectrum; every attraction comes with its five repulsions at once, where the program schedules them apart.
//! Everything is drawn from one generator, edge after edge, so that the same points give the same layout.

use coldstart_plugin_api::prelude::*;

/// The neighbours that make the graph, the point itself among them as in the authors' program.
const NEIGHBOURS: usize = 15;
/// How near points may lie in the plane.
const MIN_DIST: f64 = 0.1;
/// Over which distance the pull in the plane fades.
const SPREAD: f64 = 1.0;
/// Random points that each attraction pushes away from.
const REPULSIONS: usize = 5;
/// The most that one coordinate moves by one pull at full rate.
const LARGEST_STEP: f64 = 4.0;

type Place = [f64; 2];

/// The places of the points in the plane, n x 2; there must be at least two points.
pub fn embed(points_nd: &Matrix, host: &Host<'_>, mut rng: Rng) -> Result<Matrix> {
    let k = (NEIGHBOURS - 1).min(points_nd.n_rows() - 1);
    let neighbours = host.knn(points_nd, k as u32)?;
    let edges = fuzzy_graph(&neighbours.positions_nk, &neighbours.distances_nk);
    let start_n = start(principal_plane(points_nd, &mut rng), &mut rng);
    let places_n = layout(&edges, start_n, &mut rng, |epoch, epochs| {
        host.progress("umap", u64::from(epoch), u64::from(epochs));
        host.check()
    })?;
    Matrix::new(places_n.into_iter().flatten().map(|coordinate| coordinate as f32).collect(), 2)
}

/// That two points are neighbours, to the degree `weight`, above 0 and at most 1.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Edge {
    from: usize,
    to: usize,
    weight: f64,
}

/// The edges between neighbours, each in both directions, sorted.
///
/// A point's neighbours are its own by `exp(-(distance - nearest) / width)`; two points are neighbours if one or the other
/// says so: `a + b - a b`.
fn fuzzy_graph(positions_nk: &[usize], distances_nk: &Matrix) -> Vec<Edge> {
    let k = distances_nk.n_cols();
    let mean = mean(distances_nk.elements());
    let mut pairs = Vec::with_capacity(2 * positions_nk.len());
    for (from, (distances_k, positions_k)) in distances_nk.rows().zip(positions_nk.chunks(k)).enumerate() {
        let (nearest, width) = smooth_distances(distances_k, mean);
        for (distance, &to) in distances_k.iter().zip(positions_k) {
            let weight = membership(f64::from(*distance), nearest, width);
            pairs.push(Edge { from, to, weight });
            pairs.push(Edge { from: to, to: from, weight });
        }
    }
    pairs.sort_by_key(|edge| (edge.from, edge.to));
    let same_pair = |a: &Edge, b: &Edge| (a.from, a.to) == (b.from, b.to);
    pairs.chunk_by(same_pair).map(either).collect()
}

/// One edge of the one or two between the same points.
fn either(said: &[Edge]) -> Edge {
    let weight = said.iter().fold(0.0, |a, edge| a + edge.weight - a * edge.weight);
    Edge { weight, ..said[0] }
}

fn membership(distance: f64, nearest: f64, width: f64) -> f64 {
    if distance <= nearest { 1.0 } else { (-(distance - nearest) / width).exp() }
}

/// The distance to the nearest neighbour that lies elsewhere, and the width at which the memberships of the neighbours
/// sum to the binary logarithm of how many there are, the point itself counted.
fn smooth_distances(distances_k: &[f32], mean_of_all: f64) -> (f64, f64) {
    let nearest = distances_k.iter().copied().filter(|distance| *distance > 0.0).fold(f32::INFINITY, f32::min);
    let nearest = if nearest.is_finite() { f64::from(nearest) } else { 0.0 };
    let target = (distances_k.len() as f64 + 1.0).log2();
    let sum = |width: f64| distances_k.iter().map(|d| membership(f64::from(*d), nearest, width)).sum::<f64>();
    let (mut low, mut high, mut width) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..64 {
        let excess = sum(width) - target;
        if excess.abs() < 1e-5 {
            break;
        }
        if excess > 0.0 {
            high = width
        } else {
            low = width
        }
        width = if high.is_finite() { (low + high) / 2.0 } else { 2.0 * width };
    }
    // Many equal distances leave no width with that sum: a share of the mean keeps it from vanishing.
    let n = distances_k.len() as f64;
    let mean = if nearest > 0.0 { mean(distances_k) * n / (n + 1.0) } else { mean_of_all };
    (nearest, width.max(1e-3 * mean).max(f64::MIN_POSITIVE))
}

fn mean(numbers: &[f32]) -> f64 {
    numbers.iter().map(|number| f64::from(*number)).sum::<f64>() / numbers.len() as f64
}

/// The points on their first two principal components, by orthogonal iteration.
fn principal_plane(points_nd: &Matrix, rng: &mut Rng) -> Vec<Place> {
    let n_dims = points_nd.n_cols();
    let mut centre_d = vec![0.0; n_dims];
    for point_d in points_nd.rows() {
        add_scaled(&mut centre_d, point_d.iter().map(|x| f64::from(*x)), 1.0 / points_nd.n_rows() as f64);
    }
    let centred = |i: usize| points_nd.row(i).iter().zip(&centre_d).map(|(x, centre)| f64::from(*x) - centre);
    let on_axes = |axes: &[Vec<f64>; 2], i: usize| -> Place {
        [0, 1].map(|axis| centred(i).zip(&axes[axis]).map(|(x, a)| x * a).sum::<f64>())
    };
    let mut axes = [0, 1].map(|_| (0..n_dims).map(|_| rng.normal()).collect::<Vec<f64>>());
    // A start need not be exact: thirty rounds part any two components that look different in a plane.
    for _ in 0..30 {
        orthonormalise(&mut axes);
        let mut turned = [vec![0.0; n_dims], vec![0.0; n_dims]];
        for i in 0..points_nd.n_rows() {
            let place = on_axes(&axes, i);
            turned.iter_mut().zip(place).for_each(|(axis, along)| add_scaled(axis, centred(i), along));
        }
        axes = turned;
    }
    orthonormalise(&mut axes);
    (0..points_nd.n_rows()).map(|i| on_axes(&axes, i)).collect()
}

fn add_scaled(sum_d: &mut [f64], addend_d: impl Iterator<Item = f64>, scale: f64) {
    sum_d.iter_mut().zip(addend_d).for_each(|(sum, addend)| *sum += scale * addend);
}

/// Gram and Schmidt; an axis of which nothing is left becomes zero.
fn orthonormalise([first, second]: &mut [Vec<f64>; 2]) {
    normalise(first);
    let before = length(second);
    let along: f64 = first.iter().zip(second.iter()).map(|(a, b)| a * b).sum();
    add_scaled(second, first.iter().copied(), -along);
    if length(second) <= 1e-9 * before {
        second.fill(0.0);
    }
    normalise(second);
}

fn normalise(axis_d: &mut [f64]) {
    let length = length(axis_d);
    if length > 0.0 {
        axis_d.iter_mut().for_each(|x| *x /= length);
    }
}

fn length(axis_d: &[f64]) -> f64 {
    axis_d.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The plane stretched to 10 along both axes, with a trace of noise that parts points which coincide.
fn start(mut places_n: Vec<Place>, rng: &mut Rng) -> Vec<Place> {
    for axis in [0, 1] {
        let least = places_n.iter().map(|place| place[axis]).fold(f64::INFINITY, f64::min);
        let most = places_n.iter().map(|place| place[axis]).fold(f64::NEG_INFINITY, f64::max);
        let scale = if most > least { 10.0 / (most - least) } else { 0.0 };
        places_n.iter_mut().for_each(|place| place[axis] = (place[axis] - least) * scale + 1e-4 * rng.normal());
    }
    places_n
}

/// Stochastic descent: an edge pulls its ends together in a share of the epochs equal to its weight over the largest one,
/// and each time pushes its first end away from a few random points.
fn layout(
    edges: &[Edge],
    mut places_n: Vec<Place>,
    rng: &mut Rng,
    mut each_epoch: impl FnMut(u32, u32) -> Result<()>,
) -> Result<Vec<Place>> {
    let epochs = if places_n.len() <= 10_000 { 500 } else { 200 };
    let curve = Curve::fitted(MIN_DIST, SPREAD);
    let largest = edges.iter().map(|edge| edge.weight).fold(0.0, f64::max);
    for epoch in 0..epochs {
        each_epoch(epoch, epochs)?;
        let rate = 1.0 - f64::from(epoch) / f64::from(epochs);
        for edge in edges {
            let pulls = |until: u32| (f64::from(until) * edge.weight / largest).floor();
            if pulls(epoch + 1) > pulls(epoch) {
                pull(&mut places_n, edge, &curve, rate);
                push(&mut places_n, edge.from, &curve, rate, rng);
            }
        }
    }
    Ok(places_n)
}

fn pull(places_n: &mut [Place], edge: &Edge, curve: &Curve, rate: f64) {
    let (from, to) = (places_n[edge.from], places_n[edge.to]);
    let strength = curve.attraction(squared_distance(from, to));
    for axis in [0, 1] {
        let step = rate * (strength * (from[axis] - to[axis])).clamp(-LARGEST_STEP, LARGEST_STEP);
        places_n[edge.from][axis] += step;
        places_n[edge.to][axis] -= step;
    }
}

fn push(places_n: &mut [Place], from: usize, curve: &Curve, rate: f64, rng: &mut Rng) {
    for _ in 0..REPULSIONS {
        let other = rng.below(places_n.len() as u64) as usize;
        let (place, away_from) = (places_n[from], places_n[other]);
        let strength = curve.repulsion(squared_distance(place, away_from));
        for axis in [0, 1] {
            let step = (strength * (place[axis] - away_from[axis])).clamp(-LARGEST_STEP, LARGEST_STEP);
            places_n[from][axis] += rate * step;
        }
    }
}

fn squared_distance(a: Place, b: Place) -> f64 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
}

/// How much two places count as neighbours at distance x: `1 / (1 + a x^(2 b))`.
#[derive(Debug, Clone, Copy)]
struct Curve {
    a: f64,
    b: f64,
}

impl Curve {
    /// The least-squares fit to 1 up to `min_dist` and `exp(-(x - min_dist) / spread)` beyond, over 300 distances up to
    /// three times the spread, by Gauss and Newton with Levenberg's damping.
    fn fitted(min_dist: f64, spread: f64) -> Curve {
        let wanted = |x: f64| if x < min_dist { 1.0 } else { (-(x - min_dist) / spread).exp() };
        let samples: Vec<(f64, f64)> =
            (0..300).map(|i| 3.0 * spread * f64::from(i) / 299.0).map(|x| (x, wanted(x))).collect();
        let (mut curve, mut damping) = (Curve { a: 1.0, b: 1.0 }, 1e-3);
        for _ in 0..100 {
            let step = curve.newton_step(&samples, damping);
            let next = Curve { a: curve.a + step[0], b: curve.b + step[1] };
            if next.a > 0.0 && next.squared_error(&samples) < curve.squared_error(&samples) {
                (curve, damping) = (next, damping / 10.0);
            } else {
                damping *= 10.0;
            }
        }
        curve
    }

    fn at(&self, x: f64) -> f64 {
        1.0 / (1.0 + self.a * x.powf(2.0 * self.b))
    }

    fn squared_error(&self, samples: &[(f64, f64)]) -> f64 {
        samples.iter().map(|(x, wanted)| (wanted - self.at(*x)).powi(2)).sum()
    }

    /// The change of (a, b) that solves the damped normal equations.
    fn newton_step(&self, samples: &[(f64, f64)], damping: f64) -> [f64; 2] {
        let (mut aa, mut ab, mut bb, mut a, mut b) = (0.0, 0.0, 0.0, 0.0, 0.0);
        // At distance 0 the curve is 1 whatever a and b are.
        for (x, wanted) in samples.iter().filter(|(x, _)| *x > 0.0) {
            let value = self.at(*x);
            let by_a = -value * value * x.powf(2.0 * self.b);
            let by_b = 2.0 * self.a * x.ln() * by_a;
            aa += by_a * by_a;
            ab += by_a * by_b;
            bb += by_b * by_b;
            a += by_a * (wanted - value);
            b += by_b * (wanted - value);
        }
        let (aa, bb) = (aa * (1.0 + damping), bb * (1.0 + damping));
        let determinant = aa * bb - ab * ab;
        [(bb * a - ab * b) / determinant, (aa * b - ab * a) / determinant]
    }

    /// What the difference of two places is multiplied by to pull them together, at their squared distance.
    fn attraction(&self, squared: f64) -> f64 {
        if squared <= 0.0 {
            return 0.0;
        }
        let power = squared.powf(self.b);
        -2.0 * self.a * self.b * (power / squared) / (1.0 + self.a * power)
    }

    /// The same to push them apart; finite where they coincide.
    fn repulsion(&self, squared: f64) -> f64 {
        2.0 * self.b / ((1e-3 + squared) * (1.0 + self.a * squared.powf(self.b)))
    }
}

#[cfg(test)]
mod tests;
