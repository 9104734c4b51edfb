//! Greedy weighted coverage: the points that, together, are closest to everyone.
//!
//! With a top-hat kernel this is ProbCover (Yehuda et al. 2022), with margins mixed in DCoM (Mishal and Weinshall 2024); with
//! a smooth one MaxHerding (Bae et al. 2024), with uncertainties as weights UHerding (Bae et al. 2025).

use crate::ball::Balls;
use crate::error::{Result, bad};
use crate::kernel::apply;
use crate::pairs::{Measured, one_each, tile};
use crate::points::{Points, TILE};
use crate::sums::{Grid, Shares, excess_sums, self_excess_sums, weights_or_ones};
use crate::wide::wide;
use crate::{GoOn, Kernel, check};
use rayon::prelude::*;

/// What is covered, by whom.
#[derive(Clone, Copy, Debug)]
pub struct Coverage<'a> {
    /// How much of a point another one covers; any but [`Kernel::Power`].
    pub kernel: Kernel,
    /// How much each point counts; the same for all if absent.
    pub weights: Option<&'a [f32]>,
    /// Points that cover from the start and are not chosen.
    pub centres: &'a [usize],
    /// A radius of its own for each centre; with a top-hat kernel alone.
    pub radii: Option<&'a [f32]>,
    /// Who may be chosen; everyone if absent.
    pub candidates: Option<&'a [usize]>,
    /// A value b for each point and its share s: a candidate's score is then s minmax(b) + (1 - s) minmax(gain) instead of its
    /// gain, scaled anew over the remaining candidates at every step. With a top-hat kernel alone.
    pub bonus: Option<(&'a [f32], f64)>,
}

impl Coverage<'_> {
    /// Of all points alike, by anyone.
    pub fn by(kernel: Kernel) -> Coverage<'static> {
        Coverage { kernel, weights: None, centres: &[], radii: None, candidates: None, bonus: None }
    }
}

/// Points in the order chosen, and what they cover.
#[derive(Clone, Debug, PartialEq)]
pub struct Covered {
    /// Who was chosen.
    pub positions: Vec<usize>,
    /// How much each added to the coverage when it was chosen.
    pub gains: Vec<f32>,
    /// The weighted mean of what the centres alone cover; 0 where no point has weight.
    pub coverage_before: f64,
    /// The same of centres and chosen.
    pub coverage: f64,
}

/// Up to `k` candidates, each the one that adds most to the coverage of those before it, ties to the lowest position.
///
/// A point n is covered up to the largest k(n, s) over all centres and chosen s; the coverage is the weighted mean. Ends early
/// when nobody adds anything, unless there is a bonus. Never chooses a centre, nor a point twice. The result is that of the
/// plain greedy loop: with a top-hat every sum is exact, and who is within the radius is decided by
/// [`Points::squared_distance`]. Memory grows with the number of points alone.
///
/// Errs when sizes do not fit, positions do not exist, a weight is negative, the kernel does not go with the rest, a number is
/// not finite, or the caller stops.
pub fn coverage(points: &Points<'_>, k: usize, how: &Coverage<'_>, go_on: GoOn<'_>) -> Result<Covered> {
    how.validate(points.n())?;
    let candidates = how.eligible(points.n());
    match how.kernel {
        Kernel::TopHat { radius } => by_balls(points, k, radius, how, candidates, go_on),
        _ => lazily(points, k, how, candidates, go_on),
    }
}

impl Coverage<'_> {
    fn validate(&self, n: usize) -> Result<()> {
        self.kernel.check()?;
        let top_hat = matches!(self.kernel, Kernel::TopHat { .. });
        if matches!(self.kernel, Kernel::Power { .. }) {
            return bad("coverage needs a kernel with a largest value, and a power has none");
        }
        if !top_hat && (self.radii.is_some() || self.bonus.is_some()) {
            return bad("radii and a bonus go with a top-hat kernel alone");
        }
        let positions = self.centres.iter().chain(self.candidates.unwrap_or_default());
        if let Some(position) = positions.copied().find(|position| *position >= n) {
            return bad(format!("there is no point {position} among {n}"));
        }
        if let Some(weights) = self.weights {
            one_each(weights, n, "weights")?;
            if let Some(i) = weights.iter().position(|weight| *weight < 0.0) {
                return bad(format!("weight {i} is negative"));
            }
        }
        if let Some(radii) = self.radii {
            one_each(radii, self.centres.len(), "radii")?;
        }
        if let Some((values, share)) = self.bonus {
            one_each(values, n, "bonus values")?;
            if !(0.0..=1.0).contains(&share) {
                return bad(format!("the share of a bonus is {share}; it lies between 0 and 1"));
            }
        }
        Ok(())
    }

    /// Who may be chosen, in ascending order: candidates that are no centres.
    fn eligible(&self, n: usize) -> Vec<usize> {
        let mut eligible = vec![self.candidates.is_none(); n];
        self.candidates.unwrap_or_default().iter().for_each(|i| eligible[*i] = true);
        self.centres.iter().for_each(|i| eligible[*i] = false);
        (0..n).filter(|i| eligible[*i]).collect()
    }
}

/// Coverage by a top-hat: every gain is kept, and whoever becomes covered takes its weight from the gains around it, once.
fn by_balls(
    points: &Points<'_>,
    k: usize,
    radius: f32,
    how: &Coverage<'_>,
    candidates: Vec<usize>,
    go_on: GoOn<'_>,
) -> Result<Covered> {
    let balls = Balls::new(points, radius)?;
    let shares = Shares::new(how.weights, points.n())?;
    // The weight that nobody covers yet.
    let mut open = shares.fixed.clone();
    let total: i64 = open.iter().sum();
    let share = |fixed: i64| if total > 0 { fixed as f64 / total as f64 } else { 0.0 };

    let squared_radii: Vec<f32> = match how.radii {
        Some(radii) => radii.iter().map(|radius| radius * radius).collect(),
        None => vec![radius * radius; how.centres.len()],
    };
    cover(&balls, how.centres, &squared_radii, &mut open)?;
    let open_before: i64 = open.iter().sum();
    let mut greedy = Greedy { gains: Vec::new(), chosen: vec![false; candidates.len()], candidates };
    if k > 0 && !greedy.candidates.is_empty() {
        greedy.gains = greedy.sums(&balls, &open, go_on)?;
    }
    let (mut positions, mut gains) = (Vec::new(), Vec::new());
    while positions.len() < k {
        check(go_on)?;
        let best = match how.bonus {
            None => greedy.best_gain(),
            Some((values, share)) => greedy.best_score(values, share),
        };
        let Some(best) = best else { break };
        greedy.chosen[best] = true;
        positions.push(greedy.candidates[best]);
        gains.push(share(greedy.gains[best]) as f32);
        let newly = cover(&balls, &[greedy.candidates[best]], &[balls.squared_radius()], &mut open)?;
        if positions.len() < k {
            greedy.take(&balls, newly, points.n(), go_on)?;
        }
    }
    let open_after: i64 = open.iter().sum();
    Ok(Covered { positions, gains, coverage_before: share(total - open_before), coverage: share(total - open_after) })
}

/// Cover what the centres reach; the points that were open until now, and their weights.
fn cover(balls: &Balls<'_>, centres: &[usize], squared_radii: &[f32], open: &mut [i64]) -> Result<Vec<(usize, i64)>> {
    let candidates: Vec<usize> = (0..open.len()).filter(|i| open[*i] > 0).collect();
    let reached = balls.reached(centres, squared_radii, &candidates)?;
    let newly = candidates.into_iter().zip(reached).filter(|(_, reached)| *reached);
    Ok(newly.map(|(i, _)| (i, std::mem::take(&mut open[i]))).collect())
}

/// Candidates and what each would add.
struct Greedy {
    candidates: Vec<usize>,
    gains: Vec<i64>,
    chosen: Vec<bool>,
}

impl Greedy {
    fn sums(&self, balls: &Balls<'_>, open: &[i64], go_on: GoOn<'_>) -> Result<Vec<i64>> {
        // Each pair once is cheaper than each candidate with all, unless candidates are fewer than half.
        if 2 * self.candidates.len() < open.len() {
            return balls.sums(&self.candidates, open, go_on);
        }
        let everyone: Vec<usize> = (0..open.len()).collect();
        let sums = balls.sums(&everyone, open, go_on)?;
        Ok(self.candidates.iter().map(|i| sums[*i]).collect())
    }

    /// Take the weights of points that are covered now from the gains of the candidates that reach them.
    fn take(&mut self, balls: &Balls<'_>, newly: Vec<(usize, i64)>, n: usize, go_on: GoOn<'_>) -> Result<()> {
        let mut less = vec![0; n];
        newly.iter().for_each(|(i, weight)| less[*i] = -weight);
        let sources: Vec<usize> = newly.into_iter().map(|(i, _)| i).collect();
        balls.add_to(&sources, &less, &self.candidates, &mut self.gains, go_on)
    }

    fn remaining(&self) -> impl Iterator<Item = usize> {
        (0..self.candidates.len()).filter(|c| !self.chosen[*c])
    }

    /// The first of those with the largest gain; none if it is 0.
    fn best_gain(&self) -> Option<usize> {
        let larger = |best: Option<usize>, c: usize| match best {
            Some(b) if self.gains[b] >= self.gains[c] => best,
            _ => Some(c),
        };
        self.remaining().filter(|c| self.gains[*c] > 0).fold(None, larger)
    }

    /// The first of those with the largest score of gain and bonus.
    fn best_score(&self, values: &[f32], share: f64) -> Option<usize> {
        let value = |c: usize| f64::from(values[self.candidates[c]]);
        let gain = |c: usize| self.gains[c] as f64;
        let (scaled_value, scaled_gain) = (scale(self.remaining().map(value)), scale(self.remaining().map(gain)));
        let score = |c: usize| share * scaled_value(value(c)) + (1.0 - share) * scaled_gain(gain(c));
        let larger = |best: Option<(usize, f64)>, (c, score): (usize, f64)| match best {
            Some((_, most)) if most >= score => best,
            _ => Some((c, score)),
        };
        self.remaining().map(|c| (c, score(c))).fold(None, larger).map(|(c, _)| c)
    }
}

/// The map of these numbers onto 0 to 1; 0 for all if they are all the same.
fn scale(numbers: impl Iterator<Item = f64>) -> impl Fn(f64) -> f64 {
    let ends = (f64::INFINITY, f64::NEG_INFINITY);
    let (least, most) = numbers.fold(ends, |(least, most), x| (least.min(x), most.max(x)));
    move |x| if most > least { (x - least) / (most - least) } else { 0.0 }
}

/// Centres that one pass over the points takes.
const BLOCK: usize = 16;
/// Tiles of candidates that are brought up to date together.
const BATCH: usize = 16;
/// Points that are copied together, a few megabytes.
const COPIED: usize = 4096;

/// Coverage by a smooth kernel: a pick raises the level of ever fewer points (about n / p after p picks), and the gains of
/// candidates change by what those points lose, no more.
///
/// Gains only fall (the coverage is submodular), so that old ones are bounds, and a tile of candidates is brought up to date
/// only when one of its bounds is the largest of all (Minoux 1978).
fn lazily(
    points: &Points<'_>,
    k: usize,
    how: &Coverage<'_>,
    candidates: Vec<usize>,
    go_on: GoOn<'_>,
) -> Result<Covered> {
    let weights = weights_or_ones(how.weights, points.n())?;
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let mut levels = Levels::new(Measured::new(points)?, how.kernel, weights, total);
    for centres in how.centres.chunks(BLOCK) {
        check(go_on)?;
        levels.raise(centres)?;
    }
    levels.raised.clear();
    let mean = |sum: f64| if total > 0.0 { sum / total } else { 0.0 };
    let coverage_before = mean(levels.sum());
    let (mut positions, mut gains) = (Vec::new(), Vec::new());
    if k > 0 && !candidates.is_empty() && total > 0.0 {
        let mut stale = Stale {
            gains: levels.gains(&candidates, go_on)?,
            since: vec![0; candidates.len().div_ceil(TILE)],
            candidates,
        };
        while positions.len() < k {
            let Some((best, gain)) = stale.best(&levels, go_on)? else { break };
            positions.push(best);
            gains.push(mean(gain) as f32);
            levels.raise(&[best])?;
        }
    }
    Ok(Covered { positions, gains, coverage_before, coverage: mean(levels.sum()) })
}

/// How far each point is covered, and how that came about.
struct Levels<'a> {
    all: Measured<'a>,
    kernel: Kernel,
    weights: Vec<f32>,
    of_point: Vec<f32>,
    /// For each time that levels were raised, the points whose level it was and what they had before.
    raised: Vec<Vec<(usize, f32)>>,
    grid: Grid,
}

impl<'a> Levels<'a> {
    fn new(all: Measured<'a>, kernel: Kernel, weights: Vec<f32>, total: f64) -> Levels<'a> {
        let of_point = vec![0.0; weights.len()];
        Levels { all, kernel, weights, of_point, raised: Vec::new(), grid: Grid::of_sums_up_to(total) }
    }

    fn sum(&self) -> f64 {
        self.of_point.iter().zip(&self.weights).map(|(level, weight)| f64::from(*level) * f64::from(*weight)).sum()
    }

    /// Raise the levels to what at most [`BLOCK`] centres cover, in one pass.
    fn raise(&mut self, centres: &[usize]) -> Result<()> {
        let n = self.of_point.len();
        let (rows, (all, kernel)) = (self.all.points.gather(centres), (&self.all, &self.kernel));
        let block = Measured::new(&Points::new(&rows, self.all.points.d())?)?;
        let raise = |squared: &mut Vec<f32>, (number, levels): (usize, &mut [f32])| {
            let mine = tile(number, n);
            squared.resize(mine.len() * centres.len(), 0.0);
            all.squared_distances(mine.clone(), &block, 0..centres.len(), kernel, squared);
            apply(*kernel, squared);
            let mut raised = Vec::new();
            for ((row, level), i) in squared.chunks_exact(centres.len()).zip(levels).zip(mine) {
                let most = row.iter().fold(*level, |most, k| most.max(*k));
                if most > *level {
                    raised.push((i, std::mem::replace(level, most)));
                }
            }
            raised
        };
        let tiles = self.of_point.par_chunks_mut(TILE).enumerate();
        let raised: Vec<Vec<(usize, f32)>> = tiles.map_init(Vec::new, raise).collect();
        self.raised.push(raised.concat());
        Ok(())
    }

    /// Who was raised since, and the level that each had then.
    fn raised_since(&self, time: usize) -> Vec<(usize, f32)> {
        let mut raised = self.raised[time..].concat();
        // A stable sort: the first of a point's levels is the oldest.
        raised.sort_by_key(|(i, _)| *i);
        raised.dedup_by_key(|(i, _)| *i);
        raised.retain(|(i, _)| self.weights[*i] > 0.0);
        raised
    }

    /// What each candidate would add.
    fn gains(&self, candidates: &[usize], go_on: GoOn<'_>) -> Result<Vec<f64>> {
        let floors = Some(&self.of_point[..]);
        if 2 * candidates.len() < self.of_point.len() {
            let rows = self.all.points.gather(candidates);
            let block = Measured::new(&Points::new(&rows, self.all.points.d())?)?;
            return excess_sums(&block, &self.all, &self.weights, floors, &self.kernel, self.grid, go_on);
        }
        let sums = self_excess_sums(&self.all, &self.weights, floors, &self.kernel, self.grid, go_on)?;
        Ok(candidates.iter().map(|i| sums[*i]).collect())
    }

    /// Take from the gains of a tile of candidates what the points in `rows`, raised from these levels, add no more.
    fn lower(
        &self,
        gains: &mut [f64],
        candidates: &[usize],
        raised: &[(usize, f32)],
        rows: &Measured<'_>,
    ) -> Result<()> {
        let columns = self.all.points.gather(candidates);
        let columns = Measured::new(&Points::new(&columns, self.all.points.d())?)?;
        let mut squared = Vec::new();
        for (number, raised) in raised.chunks(TILE).enumerate() {
            let mine = tile(number, rows.points.n());
            squared.resize(mine.len() * candidates.len(), 0.0);
            rows.squared_distances(mine, &columns, 0..candidates.len(), &self.kernel, &mut squared);
            apply(self.kernel, &mut squared);
            for (row, (i, before)) in squared.chunks_exact(candidates.len()).zip(raised) {
                let (weight, now) = (self.weights[*i], self.of_point[*i]);
                add_change(row, weight, *before, now, self.grid, gains);
            }
        }
        Ok(())
    }
}

wide! {
    /// Add to each gain what a point adds now less what it added before.
    fn add_change<'a>(row: &'a [f32], weight: f32, before: f32, now: f32, grid: Grid, gains: &'a mut [f64]) -> () {
        for (gain, k) in gains.iter_mut().zip(row) {
            *gain += grid.excess(weight, *k, now) - grid.excess(weight, *k, before);
        }
    }
}

/// The gains of candidates, tile by tile as they were at some time.
struct Stale {
    candidates: Vec<usize>,
    gains: Vec<f64>,
    since: Vec<usize>,
}

impl Stale {
    /// The first candidate with the largest gain, and its gain, taken out; none if no gain is positive.
    fn best(&mut self, levels: &Levels<'_>, go_on: GoOn<'_>) -> Result<Option<(usize, f64)>> {
        let now = levels.raised.len();
        loop {
            let largest = |gains: &[f64]| gains.iter().copied().fold(0.0, f64::max);
            let tops: Vec<f64> = self.gains.chunks(TILE).map(largest).collect();
            let first = (0..tops.len()).fold(0, |best, tile| if tops[tile] > tops[best] { tile } else { best });
            if tops[first] <= 0.0 {
                return Ok(None);
            }
            // A stale tile that only ties may hold no earlier candidate: the first of equal tiles holds the lowest position.
            if self.since[first] == now {
                let place = self.gains.iter().position(|gain| *gain == tops[first]).unwrap_or(0);
                return Ok(Some((
                    self.candidates[place],
                    std::mem::replace(&mut self.gains[place], f64::NEG_INFINITY),
                )));
            }
            check(go_on)?;
            self.update(self.since[first], &tops, levels)?;
        }
    }

    /// Bring the most promising tiles of one time up to date.
    fn update(&mut self, since: usize, tops: &[f64], levels: &Levels<'_>) -> Result<()> {
        let mut chosen: Vec<usize> = (0..tops.len()).filter(|tile| self.since[*tile] == since).collect();
        chosen.sort_by(|a, b| tops[*b].total_cmp(&tops[*a]));
        chosen.truncate(BATCH);
        for tile in &chosen {
            self.since[*tile] = levels.raised.len();
        }
        for raised in levels.raised_since(since).chunks(COPIED) {
            let positions: Vec<usize> = raised.iter().map(|(i, _)| *i).collect();
            let rows = levels.all.points.gather(&positions);
            let rows = Measured::new(&Points::new(&rows, levels.all.points.d())?)?;
            let tiles = self.gains.par_chunks_mut(TILE).zip(self.candidates.par_chunks(TILE)).enumerate();
            tiles
                .filter(|(number, _)| chosen.contains(number))
                .try_for_each(|(_, (gains, candidates))| levels.lower(gains, candidates, raised, &rows))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cloud, on, on_threads};
    use coldstart_plugin_api::Rng;

    const SEVEN: [f32; 7] = [0.0, 0.2, 0.4, 1.0, 1.1, 1.3, 3.0];

    /// The plain greedy loop. Where gains tie but for roundings it may follow other picks, each as good as its own.
    fn slow(points: &Points<'_>, k: usize, how: &Coverage<'_>, follow: Option<&[usize]>) -> Covered {
        let n = points.n();
        let distance = |i: usize, j: usize| points.squared_distance(i, points, j);
        let kernel = |i, j| f64::from(how.kernel.at(distance(i, j)));
        let weight = |i: usize| how.weights.map_or(1.0, |weights| f64::from(weights[i]));
        let total: f64 = (0..n).map(weight).sum();
        let mut levels = vec![0.0f64; n];
        for (place, centre) in how.centres.iter().enumerate() {
            for (i, level) in levels.iter_mut().enumerate() {
                let radius = how.radii.map(|radii| radii[place]);
                let own = radius.map(|radius| f64::from(Kernel::TopHat { radius }.at(distance(i, *centre))));
                *level = level.max(own.unwrap_or_else(|| kernel(i, *centre)));
            }
        }
        let sum = |levels: &[f64]| (0..n).map(|i| weight(i) * levels[i]).sum::<f64>() / total;
        let coverage_before = sum(&levels);
        let mut rest = how.eligible(n);
        let (mut positions, mut gains) = (Vec::new(), Vec::new());
        while positions.len() < k && !rest.is_empty() {
            let gain =
                |j: &usize| (0..n).map(|i| weight(i) * (kernel(i, *j) - levels[i]).max(0.0)).sum::<f64>() / total;
            let all: Vec<f64> = rest.iter().map(gain).collect();
            let scores = match how.bonus {
                None => all.clone(),
                Some((values, share)) => {
                    let values: Vec<f64> = rest.iter().map(|j| f64::from(values[*j])).collect();
                    // Sums of quarters are exact, their quotients not.
                    let sums: Vec<f64> = all.iter().map(|gain| (gain * total * 4.0).round()).collect();
                    let (value, gain) = (scale(values.iter().copied()), scale(sums.iter().copied()));
                    values.iter().zip(&sums).map(|(v, g)| share * value(*v) + (1.0 - share) * gain(*g)).collect()
                }
            };
            let mut best = (0..rest.len()).fold(0, |best, c| if scores[c] > scores[best] { c } else { best });
            if let Some(pick) = follow.and_then(|picks| picks.get(positions.len())) {
                let other = rest.iter().position(|i| i == pick).unwrap();
                assert!(all[other] > all[best] - 1e-6, "{} {}", all[other], all[best]);
                best = other;
            }
            if how.bonus.is_none() && all[best] <= 0.0 {
                break;
            }
            let pick = rest.remove(best);
            (0..n).for_each(|i| levels[i] = levels[i].max(kernel(i, pick)));
            positions.push(pick);
            gains.push(all[best] as f32);
        }
        Covered { positions, gains, coverage_before, coverage: sum(&levels) }
    }

    fn assert_close(found: &Covered, exact: &Covered, room: f64) {
        assert_eq!(found.positions, exact.positions);
        let pairs = found.gains.iter().zip(&exact.gains);
        assert!(pairs.clone().all(|(x, y)| f64::from((x - y).abs()) < room), "{:?} {:?}", found.gains, exact.gains);
        assert!((found.coverage - exact.coverage).abs() < room, "{} {}", found.coverage, exact.coverage);
        assert!((found.coverage_before - exact.coverage_before).abs() < room);
    }

    #[test]
    fn published_picks_of_seven_points_come_out() {
        let points = Points::new(&SEVEN, 1).unwrap();
        for (kernel, positions, gains, total) in [
            (Kernel::TopHat { radius: 0.35 }, [1, 3, 6], [3.0 / 7.0, 3.0 / 7.0, 1.0 / 7.0], 1.0),
            (Kernel::Rbf { bandwidth: 1.0 }, [2, 4, 6], [0.652750, 0.174510, 0.138993], 0.966253),
            (Kernel::Rbf { bandwidth: 0.35 }, [4, 1, 6], [0.380392, 0.346162, 0.142857], 0.869411),
        ] {
            let found = coverage(&points, 3, &Coverage::by(kernel), &on).unwrap();
            let exact =
                Covered { positions: positions.to_vec(), gains: gains.to_vec(), coverage_before: 0.0, coverage: total };
            // The vectors have six digits.
            assert_close(&found, &exact, 1e-6);
        }
        // A fourth pick would add nothing.
        assert_eq!(
            coverage(&points, 7, &Coverage::by(Kernel::TopHat { radius: 0.35 }), &on).unwrap().positions,
            [1, 3, 6]
        );
    }

    #[test]
    fn picks_equal_the_plain_greedy_loop() {
        for (n, d, steps) in [(1, 1, None), (40, 1, Some(2.0)), (300, 4, Some(1.0)), (530, 20, None)] {
            let mut rng = Rng::from_seed([n as u8; 32]);
            let rows = cloud(n, d, 5, steps, &mut rng);
            let points = Points::new(&rows, d).unwrap();
            // Quarters sum exactly, so that ties are ties in the reference too.
            let weights: Vec<f32> = (0..n).map(|_| rng.below(5) as f32 / 4.0 + 0.25).collect();
            let values: Vec<f32> = (0..n).map(|_| rng.below(4) as f32).collect();
            let some: Vec<usize> = (0..n).filter(|i| i % 3 != 1).rev().collect();
            let few: Vec<usize> = (0..n).filter(|i| i % 4 == 0).collect();
            let (centres, radii) = (&[n / 2, n / 3][..], &[0.5, 2.5][..]);
            let radius = if d == 20 { 6.0 } else { 1.5 };
            let (hat, rbf) = (Coverage::by(Kernel::TopHat { radius }), Coverage::by(Kernel::Rbf { bandwidth: radius }));
            let laplace = Coverage::by(Kernel::Laplace { bandwidth: radius });
            for how in [
                hat,
                Coverage { weights: Some(&weights), centres, ..hat },
                Coverage { centres, radii: Some(radii), candidates: Some(&some), ..hat },
                Coverage { candidates: Some(&few), bonus: Some((&values, 0.0)), ..hat },
                Coverage { centres, bonus: Some((&values, 0.3)), ..hat },
                Coverage { weights: Some(&weights), bonus: Some((&values, 1.0)), ..hat },
                rbf,
                Coverage { weights: Some(&weights), centres, candidates: Some(&some), ..rbf },
                Coverage { candidates: Some(&few), ..laplace },
            ] {
                // The reference is slow with smooth kernels.
                let top_hat = matches!(how.kernel, Kernel::TopHat { .. });
                let ks = if n < 100 && top_hat { vec![0, 1, n - 1, n, n + 1] } else { vec![0, 1, 12.min(n)] };
                for k in ks {
                    let found = on_threads(&|| coverage(&points, k, &how, &on).unwrap());
                    let exact = slow(&points, k, &how, if top_hat { None } else { Some(&found.positions) });
                    // A top-hat's sums are exact; a smooth kernel has some roundings of 6e-8 and those of its distance.
                    assert_close(&found, &exact, if top_hat { 1e-7 } else { 1e-5 });
                }
            }
        }
    }

    #[test]
    fn doubles_tie_and_the_first_is_chosen() {
        let mut rng = Rng::from_seed([4; 32]);
        let mut rows = cloud(290, 30, 4, None, &mut rng);
        rows.extend_from_within(..);
        let points = Points::new(&rows, 30).unwrap();
        for kernel in
            [Kernel::TopHat { radius: 7.0 }, Kernel::Rbf { bandwidth: 5.0 }, Kernel::Laplace { bandwidth: 5.0 }]
        {
            let found = coverage(&points, 20, &Coverage::by(kernel), &on).unwrap();
            assert!(found.positions.iter().all(|i| *i < 290), "{kernel:?} {found:?}");
            assert!(found.gains.windows(2).all(|pair| pair[0] >= pair[1]));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let points = Points::new(&SEVEN, 1).unwrap();
        let (hat, rbf) = (Coverage::by(Kernel::TopHat { radius: 1.0 }), Coverage::by(Kernel::Rbf { bandwidth: 1.0 }));
        let numbers = &SEVEN[..];
        for how in [
            Coverage::by(Kernel::Power { alpha: 1.0, horizon: 1.0 }),
            Coverage::by(Kernel::TopHat { radius: -1.0 }),
            Coverage { centres: &[7], ..hat },
            Coverage { candidates: Some(&[9]), ..rbf },
            Coverage { weights: Some(&[1.0]), ..rbf },
            Coverage { weights: Some(&[-1.0; 7]), ..hat },
            Coverage { weights: Some(&[f32::NAN; 7]), ..hat },
            Coverage { radii: Some(&[1.0]), ..hat },
            Coverage { bonus: Some((numbers, 0.5)), ..rbf },
            Coverage { bonus: Some((numbers, 1.5)), ..hat },
            Coverage { bonus: Some((&[1.0], 0.5)), ..hat },
        ] {
            assert!(matches!(coverage(&points, 1, &how, &on), Err(crate::Error::Input(_))), "{how:?}");
        }
        for how in [hat, rbf] {
            assert_eq!(coverage(&points, 2, &how, &|| false), Err(crate::Error::Cancelled));
            let nothing = coverage(&points, 2, &Coverage { weights: Some(&[0.0; 7]), ..how }, &on).unwrap();
            assert_eq!(nothing, Covered { positions: vec![], gains: vec![], coverage_before: 0.0, coverage: 0.0 });
        }
    }
}
