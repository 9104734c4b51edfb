//! K-means: Lloyd's rounds, of which most points sit out most.

use crate::closest::{Cloud, screen};
use crate::error::{Result, bad};
use crate::points::{Points, TILE};
use crate::seeds::{First, draw};
use crate::wide::wide;
use crate::{GoOn, check};
use coldstart_plugin_api::Rng;
use rayon::prelude::*;

/// Products of points with centres that are held at once by a thread, as long as some points fit.
const PRODUCTS: usize = 1 << 16;

/// Points in clusters.
#[derive(Clone, Debug, PartialEq)]
pub struct Clustering {
    /// The cluster of each point.
    pub of_point: Vec<usize>,
    /// The centres, k x d.
    pub centres: Vec<f32>,
    /// The sum of squared distances to the centres.
    pub inertia: f64,
}

/// How long to look for clusters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// The most rounds of a start.
    pub iterations: usize,
    /// Starts, of which the best is kept; at least one is made.
    pub restarts: usize,
    /// A start also ends once the squares of the centres' moves add up to no more than this times the mean variance of a feature.
    pub tolerance: f64,
}

/// Lloyd's algorithm from k-means++ seeds (Arthur and Vassilvitskii 2007). A start ends when no point changes its cluster, or
/// when [`Effort`] says so; points then belong to the centres where they came to rest.
///
/// Each point belongs to its nearest centre, of equally near ones to the lowest; an empty cluster takes the point that lies
/// farthest from its centre. Errs when there are fewer points than clusters, or no cluster.
pub fn kmeans(points: &Points<'_>, k: usize, effort: Effort, rng: &mut Rng, go_on: GoOn<'_>) -> Result<Clustering> {
    if k == 0 || k > points.n() {
        return bad(format!("{} points do not make {k} clusters", points.n()));
    }
    // Where only rest will do, nobody asks for the variance.
    let still = if effort.tolerance > 0.0 { effort.tolerance * mean_variance(points)? } else { 0.0 };
    let mut best = start(points, k, (effort.iterations, still), rng, go_on)?;
    for _ in 1..effort.restarts {
        let found = start(points, k, (effort.iterations, still), rng, go_on)?;
        if found.inertia < best.inertia {
            best = found;
        }
    }
    Ok(best)
}

/// The variance of a feature, on average over the features.
fn mean_variance(points: &Points<'_>) -> Result<f64> {
    let (n, d) = (points.n(), points.d());
    let mut sum_d = vec![0.0; d];
    (0..n).for_each(|i| add(&mut sum_d, points.raw(i), points.scale_of(i)));
    let mean_d: Vec<f32> = sum_d.iter().map(|sum| (sum / n as f64) as f32).collect();
    let mean = Points::new(&mean_d, d)?;
    let squares: f64 = (0..n).map(|i| f64::from(points.squared_distance(i, &mean, 0))).sum();
    Ok(squares / (n * d) as f64)
}

fn start(
    points: &Points<'_>,
    k: usize,
    (iterations, still): (usize, f64),
    rng: &mut Rng,
    go_on: GoOn<'_>,
) -> Result<Clustering> {
    let (seeds, mut closest, uncounted) = draw(&Cloud::Dense(*points), k, First::Drawn, rng, go_on)?;
    closest.add(&uncounted)?;
    let lloyd = Lloyd {
        points,
        k,
        upper_n: vec![f32::INFINITY; points.n()],
        square_n: closest.squares().to_vec(),
        lower_n: vec![0.0; points.n()],
        of_point: closest.centre_n,
        centres_kd: points.gather(&seeds),
        sums_kd: vec![0.0; k * points.d()],
        counts: vec![0; k],
    };
    lloyd.run(iterations, still, go_on)
}

/// The state of Lloyd's algorithm, with bounds that tell which points cannot change their cluster (Hamerly 2010).
///
/// A point's distance to its centre is at most `upper`, to every other one at least `lower`. When centres move, the bounds
/// move by as much; a point whose bounds keep apart is not looked at.
struct Lloyd<'a> {
    points: &'a Points<'a>,
    k: usize,
    square_n: Vec<f32>,
    of_point: Vec<u32>,
    upper_n: Vec<f32>,
    lower_n: Vec<f32>,
    centres_kd: Vec<f32>,
    /// Sums of members and their counts, kept up to date by what changes.
    sums_kd: Vec<f64>,
    counts: Vec<usize>,
}

/// A point that comes or goes.
#[derive(Clone, Copy)]
struct Change {
    point: usize,
    from: u32,
    to: u32,
}

impl Lloyd<'_> {
    fn run(mut self, iterations: usize, still: f64, go_on: GoOn<'_>) -> Result<Clustering> {
        let mut changes = Vec::new();
        for round in 0..iterations {
            check(go_on)?;
            if round == 0 {
                let all: Vec<(usize, bool, u32)> =
                    self.of_point.iter().enumerate().map(|(i, c)| (i, true, *c)).collect();
                self.sum(all);
            } else {
                let moves = changes.iter().flat_map(|c: &Change| [(c.point, false, c.from), (c.point, true, c.to)]);
                self.sum(moves.collect());
            }
            let moved_k = self.move_centres()?;
            changes = self.assign(&moved_k)?;
            let moved: f64 = moved_k.iter().map(|moved| f64::from(*moved).powi(2)).sum();
            if changes.is_empty() || moved <= still {
                break;
            }
        }
        let away_n = self.distances()?;
        let sum = |away: &[f32]| away.iter().map(|away| f64::from(*away)).sum::<f64>();
        let inertia = away_n.par_chunks(TILE).map(sum).collect::<Vec<f64>>().into_iter().sum();
        let of_point = self.of_point.into_iter().map(|cluster| cluster as usize).collect();
        Ok(Clustering { of_point, centres: self.centres_kd, inertia })
    }

    /// Count points in (or out) of clusters, each cluster in the order given.
    fn sum(&mut self, moves: Vec<(usize, bool, u32)>) {
        let mut of_cluster = vec![Vec::new(); self.k];
        moves.into_iter().for_each(|(point, comes, cluster)| of_cluster[cluster as usize].push((point, comes)));
        let sums = self.sums_kd.par_chunks_exact_mut(self.points.d()).zip(&mut self.counts).zip(of_cluster);
        sums.with_max_len(1).for_each(|((sum_d, count), moves)| {
            for (point, comes) in moves {
                let (row, sign) = (self.points.raw(point), if comes { 1.0 } else { -1.0 });
                add(sum_d, row, self.points.scale_of(point) * sign);
                if comes { *count += 1 } else { *count -= 1 }
            }
        });
    }

    /// Move each centre to the mean of its members; how far each moved, at least.
    fn move_centres(&mut self) -> Result<Vec<f32>> {
        let d = self.points.d();
        let empty: Vec<usize> = (0..self.k).filter(|cluster| self.counts[*cluster] == 0).collect();
        let farthest = if empty.is_empty() { Vec::new() } else { self.farthest(empty.len())? };
        let before = self.centres_kd.clone();
        for (cluster, centre) in self.centres_kd.chunks_exact_mut(d).enumerate() {
            if self.counts[cluster] > 0 {
                let share = 1.0 / self.counts[cluster] as f64;
                let sum_d = &self.sums_kd[cluster * d..][..d];
                centre.iter_mut().zip(sum_d).for_each(|(centre, sum)| *centre = (sum * share) as f32);
            }
        }
        for (cluster, point) in empty.iter().zip(farthest) {
            self.centres_kd[cluster * d..][..d].copy_from_slice(&self.points.point(point));
        }
        let (before, after) = (Points::new(&before, d)?, Points::new(&self.centres_kd, d)?);
        let grown = 1.0 + self.points.rounding();
        Ok((0..self.k).map(|c| before.squared_distance(c, &after, c).sqrt() * grown).collect())
    }

    /// The points that lie farthest from their centres, of equally far ones the lowest.
    fn farthest(&self, count: usize) -> Result<Vec<usize>> {
        let away_n = self.distances()?;
        let mut order: Vec<usize> = (0..away_n.len()).collect();
        order.sort_unstable_by(|a, b| away_n[*b].total_cmp(&away_n[*a]).then(a.cmp(b)));
        order.truncate(count);
        Ok(order)
    }

    /// The squared distance of each point to its centre.
    fn distances(&self) -> Result<Vec<f32>> {
        let centres = Points::new(&self.centres_kd, self.points.d())?;
        let of_point = self.of_point.par_iter().with_min_len(TILE).enumerate();
        Ok(of_point.map(|(i, cluster)| self.points.squared_distance(i, &centres, *cluster as usize)).collect())
    }

    /// Give each point to its nearest centre, now that centres moved this far; the points that change.
    fn assign(&mut self, moved_k: &[f32]) -> Result<Vec<Change>> {
        let centres = Points::new(&self.centres_kd, self.points.d())?;
        let square_k = centres.squares();
        let round = Round {
            points: self.points,
            centres,
            largest: square_k.iter().copied().fold(0.0, f32::max),
            square_k,
            moved_k,
            moves: Moves::new(moved_k),
        };
        let rows = (PRODUCTS / self.k).clamp(16, TILE);
        let clusters = self.of_point.par_chunks_mut(rows);
        let bounds = self.upper_n.par_chunks_mut(rows).zip(self.lower_n.par_chunks_mut(rows));
        let tiles = clusters.zip(bounds).zip(self.square_n.par_chunks(rows)).enumerate();
        let changes = tiles.map_init(Vec::new, |products, (tile, ((of_point, (upper, lower)), squares))| {
            round.tile(products, Tile { start: tile * rows, of_point, upper, lower, squares })
        });
        Ok(changes.collect::<Result<Vec<Vec<Change>>>>()?.into_iter().flatten().collect())
    }
}

wide! {
    fn add<'a>(sum_d: &'a mut [f64], row: &'a [f32], scale: f32) -> () {
        sum_d.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(x * scale));
    }
}

/// The longest move of a centre, whose it is, and the longest of the others.
struct Moves {
    longest: f32,
    whose: usize,
    second: f32,
}

impl Moves {
    fn new(moved_k: &[f32]) -> Moves {
        let mut moves = Moves { longest: 0.0, whose: 0, second: 0.0 };
        for (whose, moved) in moved_k.iter().enumerate() {
            if *moved > moves.longest {
                moves = Moves { longest: *moved, whose, second: moves.longest };
            } else {
                moves.second = moves.second.max(*moved);
            }
        }
        moves
    }

    fn of_others(&self, cluster: usize) -> f32 {
        if cluster == self.whose { self.second } else { self.longest }
    }
}

/// What all points need to know in a round.
struct Round<'a> {
    points: &'a Points<'a>,
    centres: Points<'a>,
    square_k: Vec<f32>,
    largest: f32,
    moved_k: &'a [f32],
    moves: Moves,
}

/// Some points in a row, and what is known of them.
struct Tile<'a> {
    start: usize,
    of_point: &'a mut [u32],
    upper: &'a mut [f32],
    lower: &'a mut [f32],
    squares: &'a [f32],
}

impl Round<'_> {
    fn tile(&self, products: &mut Vec<f32>, mut tile: Tile<'_>) -> Result<Vec<Change>> {
        let open: Vec<usize> = (0..tile.of_point.len()).filter(|at| !self.sits_out(&mut tile, *at)).collect();
        if open.is_empty() {
            return Ok(Vec::new());
        }
        products.resize(open.len() * self.square_k.len(), 0.0);
        if open.len() == tile.of_point.len() {
            self.points.dots(tile.start..tile.start + open.len(), &self.centres, 0..self.square_k.len(), products);
        } else {
            let rows = self.points.gather(&open.iter().map(|at| tile.start + at).collect::<Vec<usize>>());
            let gathered = Points::new(&rows, self.points.d())?;
            gathered.dots(0..open.len(), &self.centres, 0..self.square_k.len(), products);
        }
        let rows = open.into_iter().zip(products.chunks_exact_mut(self.square_k.len()));
        Ok(rows.filter_map(|(at, row)| self.nearest(&mut tile, at, row)).collect())
    }

    /// Whether the bounds of a point keep its own centre apart from all others.
    fn sits_out(&self, tile: &mut Tile<'_>, at: usize) -> bool {
        let cluster = tile.of_point[at] as usize;
        let room = self.room(tile, at);
        let apart = |upper: f32, lower: f32| upper * upper + 2.0 * room < lower * lower;
        let upper = (tile.upper[at] + self.moved_k[cluster]) * (1.0 + f32::EPSILON);
        let lower = ((tile.lower[at] - self.moves.of_others(cluster)) * (1.0 - f32::EPSILON)).max(0.0);
        (tile.upper[at], tile.lower[at]) = (upper, lower);
        if apart(upper, lower) {
            return true;
        }
        if lower > 0.0 {
            let away = self.points.squared_distance(tile.start + at, &self.centres, cluster);
            tile.upper[at] = (away + room).sqrt();
        }
        apart(tile.upper[at], lower)
    }

    /// Give a point to its nearest centre, from its products with all, and set its bounds.
    fn nearest(&self, tile: &mut Tile<'_>, at: usize, row: &mut [f32]) -> Option<Change> {
        let (room, square) = (self.room(tile, at), tile.squares[at]);
        let least = screen(row, &self.square_k);
        let bar = least.least + 2.0 * room;
        let contenders = row.iter().enumerate().filter(|(_, value)| **value <= bar).map(|(cluster, _)| cluster);
        let (upper, lower, cluster) = if least.second > bar {
            (least.least + square + room, least.second + square - room, contenders.min())
        } else {
            let away = |c: usize| self.points.squared_distance(tile.start + at, &self.centres, c);
            let first = contenders.map(|c| (away(c), c)).min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let upper = first.map_or(f32::INFINITY, |(away, _)| away + room);
            (upper, least.least + square - room, first.map(|(_, cluster)| cluster))
        };
        (tile.upper[at], tile.lower[at]) = (upper.max(0.0).sqrt(), lower.max(0.0).sqrt());
        let (from, to) = (tile.of_point[at], cluster? as u32);
        tile.of_point[at] = to;
        (from != to).then_some(Change { point: tile.start + at, from, to })
    }

    /// By how much a squared distance from products may be off.
    fn room(&self, tile: &Tile<'_>, at: usize) -> f32 {
        self.points.rounding() * (tile.squares[at] + self.largest) + f32::MIN_POSITIVE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::seeds::kmeans_pp;
    use crate::testing::{cloud, on, on_threads};

    /// Lloyd's algorithm with every distance, and every mean from scratch.
    fn plain(points: &Points<'_>, k: usize, iterations: usize, rng: &mut Rng) -> Clustering {
        let d = points.d();
        let mut centres = points.gather(&kmeans_pp(&Cloud::Dense(*points), k, First::Drawn, rng, &on).unwrap());
        let assign = |centres: &[f32]| -> Vec<(f32, usize)> {
            let centres = Points::new(centres, d).unwrap();
            let nearest = |i| (0..k).map(move |c| (points.squared_distance(i, &centres, c), c));
            (0..points.n()).map(|i| nearest(i).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap()).collect()
        };
        let mut assigned = assign(&centres);
        for _ in 0..iterations {
            let mut farthest: Vec<usize> = (0..points.n()).collect();
            farthest.sort_by(|a, b| assigned[*b].0.total_cmp(&assigned[*a].0));
            let mut farthest = farthest.into_iter();
            for c in 0..k {
                let members: Vec<Vec<f32>> =
                    (0..points.n()).filter(|i| assigned[*i].1 == c).map(|i| points.point(i)).collect();
                let share = 1.0 / members.len() as f64;
                let mean = |j| (members.iter().map(|x| f64::from(x[j])).sum::<f64>() * share) as f32;
                let centre = if members.is_empty() {
                    points.point(farthest.next().unwrap())
                } else {
                    (0..d).map(mean).collect()
                };
                centres[c * d..][..d].copy_from_slice(&centre);
            }
            let before = std::mem::replace(&mut assigned, assign(&centres));
            if assigned.iter().map(|x| x.1).eq(before.iter().map(|x| x.1)) {
                break;
            }
        }
        let inertia = assigned.iter().map(|(away, _)| f64::from(*away)).sum();
        Clustering { of_point: assigned.into_iter().map(|(_, cluster)| cluster).collect(), centres, inertia }
    }

    #[test]
    fn clusters_equal_those_of_plain_lloyd() {
        let mut rng = Rng::from_seed([1; 32]);
        for (n, d, k, steps, offset) in [
            (1, 1, 1, None, 0.0),
            (50, 1, 10, Some(0.5), 0.0),
            (300, 2, 40, Some(1.0), 0.0),
            (700, 40, 12, None, 0.0),
            (700, 5, 300, None, 0.0),
            (900, 3, 7, Some(2.0), 200.0),
            (40, 3, 40, None, 0.0),
        ] {
            let mut rows = cloud(n, d, 6, steps, &mut rng);
            rows.iter_mut().for_each(|x| *x += offset);
            let scale: Vec<f32> = (0..n).map(|_| 1.0 + rng.uniform() as f32).collect();
            let plain_points = Points::new(&rows, d).unwrap();
            for points in [plain_points, plain_points.scaled(&scale).unwrap()] {
                for iterations in [0, 1, 100] {
                    let seed = [rng.next_u32() as u8; 32];
                    let found = on_threads(&|| {
                        kmeans(&points, k, rounds(iterations, 1), &mut Rng::from_seed(seed), &on).unwrap()
                    });
                    let expected = plain(&points, k, iterations, &mut Rng::from_seed(seed));
                    assert_eq!(found.of_point, expected.of_point, "{n} points, {k} clusters");
                    assert_eq!(found.centres, expected.centres, "{n} points, {k} clusters");
                    // The same terms, summed in another order.
                    assert!((found.inertia - expected.inertia).abs() <= 1e-12 * expected.inertia);
                }
            }
        }
    }

    /// Until nothing changes, or so many rounds.
    fn rounds(iterations: usize, restarts: usize) -> Effort {
        Effort { iterations, restarts, tolerance: 0.0 }
    }

    /// With a tolerance a start is one of those with fewer rounds: the first after whose last round the centres moved no farther.
    #[test]
    fn a_start_with_tolerance_ends_at_the_first_small_move() {
        let mut rng = Rng::from_seed([3; 32]);
        let rows = cloud(900, 2, 3, None, &mut rng);
        let points = Points::new(&rows, 2).unwrap();
        let mean = |j: usize| rows.iter().skip(j).step_by(2).map(|x| f64::from(*x)).sum::<f64>() / 900.0;
        let spread =
            |j: usize| rows.iter().skip(j).step_by(2).map(|x| (f64::from(*x) - mean(j)).powi(2)).sum::<f64>() / 900.0;
        let variance = (spread(0) + spread(1)) / 2.0;
        let after = |iterations| kmeans(&points, 12, rounds(iterations, 1), &mut Rng::from_seed([5; 32]), &on).unwrap();
        let moved = |i| {
            let pairs = after(i).centres.into_iter().zip(after(i - 1).centres);
            pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
        };
        let mut ends = Vec::new();
        for tolerance in [1e-1, 1e-2, 1e-4] {
            let end = (2..200).find(|i| moved(*i) <= tolerance * variance).unwrap();
            let effort = Effort { iterations: 200, restarts: 1, tolerance };
            let found = on_threads(&|| kmeans(&points, 12, effort, &mut Rng::from_seed([5; 32]), &on).unwrap());
            assert_eq!(found, after(end), "{tolerance}: round {end}");
            ends.push(end);
        }
        assert!(ends[0] < ends[1] && ends[1] < ends[2], "{ends:?}");
    }

    #[test]
    fn the_best_of_several_starts_is_kept() {
        let mut rng = Rng::from_seed([2; 32]);
        let rows = cloud(200, 2, 9, None, &mut rng);
        let points = Points::new(&rows, 2).unwrap();
        let mut rng = Rng::from_seed([4; 32]);
        let singles: Vec<Clustering> =
            (0..5).map(|_| kmeans(&points, 9, rounds(50, 1), &mut rng, &on).unwrap()).collect();
        let best = singles.into_iter().min_by(|a, b| a.inertia.total_cmp(&b.inertia)).unwrap();
        assert_eq!(kmeans(&points, 9, rounds(50, 5), &mut Rng::from_seed([4; 32]), &on).unwrap(), best);
    }

    #[test]
    fn what_cannot_be_clustered_is_refused() {
        let rows = [0.0, 1.0];
        let ask = |k, go_on: GoOn<'_>| {
            kmeans(&Points::new(&rows, 1).unwrap(), k, rounds(5, 1), &mut Rng::from_seed([0; 32]), go_on)
        };
        assert!(matches!(ask(0, &on), Err(Error::Input(_))) && matches!(ask(3, &on), Err(Error::Input(_))));
        assert_eq!(ask(2, &|| false), Err(Error::Cancelled));
    }
}
