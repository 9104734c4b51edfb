//! Who is best where arms are compared, for each size of the initial set, and how sure that is.

use super::arms::{Design, Facet};
use super::compare::{self, Quantity, Test};
use crate::report::statistics::{ENOUGH_SEEDS, LEVEL, Resamples, above, half_width, mean, order, winner};

/// A seed counts where this share of the arms has a value for it: a seed that has just begun says nothing about the order.
const ENOUGH_ARMS: f64 = 0.5;

/// The rankings of a facet. An arm's mean is over those of the counting seeds that it has.
#[derive(Debug)]
pub(super) struct Rankings {
    /// The seeds that count.
    pub(super) seeds: usize,
    /// Ranked arms that lack a value for one of them.
    pub(super) incomplete: Vec<usize>,
    /// One for each size of the initial set, smallest first; one where size is no axis.
    pub(super) rankings: Vec<Ranking>,
    /// Pairs of neighbouring sizes with different winners, both of which are ranked at both.
    pub(super) flips: Vec<Flip>,
}

/// The arms with one size of the initial set.
#[derive(Debug)]
pub(super) struct Ranking {
    /// Its place among the design's sizes.
    pub(super) size: Option<usize>,
    /// The best first.
    pub(super) places: Vec<Place>,
    /// The share of resamples in which the whole order is this one, ties counted against it.
    pub(super) p_order: f64,
    /// All pairs of its arms as one family.
    pub(super) tests: Vec<Test>,
}

/// One arm in a ranking.
#[derive(Debug)]
pub(super) struct Place {
    /// Its place among the facet's arms.
    pub(super) arm: usize,
    pub(super) mean: f64,
    pub(super) half_width: Option<f64>,
    /// The seeds behind its mean.
    pub(super) seeds: usize,
    /// The share of resamples in which it is the best alone.
    pub(super) p_best: f64,
}

/// Two neighbouring sizes at which different arms are best.
#[derive(Debug)]
pub(super) struct Flip {
    /// Places among the rankings: the smaller size and the larger one.
    pub(super) rankings: (usize, usize),
    /// The share of resamples in which both are best alone where they are.
    pub(super) p: f64,
}

/// Ranks the arms of a facet; none where no seed counts.
pub(super) fn rankings(design: &Design, facet: &Facet) -> Option<Rankings> {
    let values: Vec<Vec<Option<f64>>> = facet.arms.iter().map(|arm| Quantity::AtLabels.of(facet, arm)).collect();
    let started: Vec<usize> = (0..values.len()).filter(|arm| values[*arm].iter().any(Option::is_some)).collect();
    let enough = |seed: &usize| {
        let there = started.iter().filter(|arm| values[**arm][*seed].is_some()).count();
        there as f64 >= ENOUGH_ARMS * started.len() as f64
    };
    let seeds: Vec<usize> = (0..facet.seeds.len()).filter(enough).collect();
    let of_arm = |arm: usize| seeds.iter().map(|seed| values[arm][*seed]).collect::<Vec<Option<f64>>>();
    let ranked: Vec<usize> = started.into_iter().filter(|arm| of_arm(*arm).iter().any(Option::is_some)).collect();
    if ranked.is_empty() {
        return None;
    }
    let resamples = Resamples::draw(seeds.len(), "report/ranking");
    let sizes: Vec<Option<usize>> =
        if design.sizes.is_empty() { vec![None] } else { (0..design.sizes.len()).map(Some).collect() };
    let mut rankings = Vec::new();
    let mut winners = Vec::new();
    for size in sizes {
        let arms: Vec<usize> = ranked.iter().copied().filter(|arm| facet.arms[*arm].size == size).collect();
        if arms.is_empty() {
            continue;
        }
        let of_arms: Vec<Vec<Option<f64>>> = arms.iter().map(|arm| of_arm(*arm)).collect();
        let (ranking, best) = ranking(facet, size, &arms, &of_arms, &resamples);
        rankings.push(ranking);
        winners.push(best);
    }
    let best = |ranking: usize| rankings[ranking].places[0].arm;
    let has =
        |ranking: usize, line: usize| rankings[ranking].places.iter().any(|place| facet.arms[place.arm].line == line);
    let flip = |later: usize| {
        let (a, b) = (later - 1, later);
        let p = resamples.share(|i| winners[a][i] == Some(best(a)) && winners[b][i] == Some(best(b)));
        let (first, second) = (facet.arms[best(a)].line, facet.arms[best(b)].line);
        (first != second && has(a, second) && has(b, first)).then_some(Flip { rankings: (a, b), p })
    };
    let flips = (1..rankings.len()).filter_map(flip).collect();
    let incomplete = ranked.into_iter().filter(|arm| of_arm(*arm).iter().any(Option::is_none)).collect();
    Some(Rankings { seeds: seeds.len(), incomplete, rankings, flips })
}

/// The ranking of some arms, and the best of them in each resample.
fn ranking(
    facet: &Facet,
    size: Option<usize>,
    arms: &[usize],
    values: &[Vec<Option<f64>>],
    resamples: &Resamples,
) -> (Ranking, Vec<Option<usize>>) {
    let there: Vec<Vec<f64>> = values.iter().map(|values| values.iter().flatten().copied().collect()).collect();
    let means: Vec<f64> = there.iter().map(|values| mean(values)).collect();
    let resampled = resamples.means(values);
    let best: Vec<Option<usize>> = resampled.iter().map(|means| winner(means).map(|place| arms[place])).collect();
    let observed = order(&means);
    let strictly = |i: usize| observed.windows(2).all(|next| above(resampled[i][next[0]], resampled[i][next[1]]));
    let place = |place: &usize| Place {
        arm: arms[*place],
        mean: means[*place],
        half_width: half_width(&there[*place]),
        seeds: there[*place].len(),
        p_best: resamples.share(|i| best[i] == Some(arms[*place])),
    };
    let ranking = Ranking {
        size,
        places: observed.iter().map(place).collect(),
        p_order: resamples.share(strictly),
        tests: compare::family(facet, Quantity::AtLabels, &compare::all_pairs(arms)),
    };
    (ranking, best)
}

impl Ranking {
    /// The arms that the best one is not told apart from: no corrected p below the level, or too few common seeds.
    pub(super) fn not_told_apart(&self) -> Vec<usize> {
        let best = self.places[0].arm;
        let told_apart = |other: usize| {
            self.tests.iter().any(|test| {
                [(best, other), (other, best)].contains(&(test.first, test.second))
                    && test.paired.n >= ENOUGH_SEEDS
                    && test.p_holm < LEVEL
            })
        };
        self.places[1..].iter().map(|place| place.arm).filter(|arm| !told_apart(*arm)).collect()
    }
}
