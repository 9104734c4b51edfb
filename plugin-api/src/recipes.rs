//! Steps that several strategies share: features at unit length, clusters that give images in turn, the points nearest to
//! centres, the most typical points; and numbers from passes under dropout.
//!
//! All of them speak of positions in the pool, keep nothing longer than a vector of n, and give equal points in the order
//! of their positions.

use crate::ops::{self, KMeansArgs};
use crate::{Code, Error, Host, Neighbours, Picks, Result, Rng, Tensor};
use std::cmp::Reverse;
use std::collections::VecDeque;

/// The run's shared representation of these images, n x d, each row at length 1.
///
/// Errs as [`Host::representation`] does, and if the host answers with another number of rows.
pub fn features<'h, 'a>(host: &'h Host<'a>, ids: &[u64]) -> Result<Tensor<'h, 'a>> {
    let points = host.representation(ids)?.unit()?;
    expect_rows(points.n_rows()?, ids.len())?;
    Ok(points)
}

/// The positions of some `ids` of the `pool`; both are ascending.
pub fn positions(ids: &[u64], pool: &[u64]) -> Vec<usize> {
    let mut ids = ids.iter().peekable();
    let wanted = |(position, id): (usize, &u64)| ids.next_if_eq(&id).map(|_| position);
    pool.iter().enumerate().filter_map(wanted).collect()
}

/// The cluster of each of n points; errs if the host's answer does not fit.
pub fn clusters(points: &Tensor<'_, '_>, args: &KMeansArgs) -> Result<Vec<usize>> {
    fitting(points.kmeans(args)?.of_point, points.n_rows()?, args.clusters as usize)
}

/// Of each cluster those of `points` that belong to it, in their order.
///
/// # Panics
/// If a point has no cluster below `n_clusters`.
pub fn members(cluster_n: &[usize], points: &[usize], n_clusters: usize) -> Vec<Vec<usize>> {
    let mut members_k = vec![Vec::new(); n_clusters];
    points.iter().for_each(|i| members_k[cluster_n[*i]].push(*i));
    members_k
}

/// The `budget` points among `free` that come first when each cluster in turn gives its cheapest: all that are given in one
/// turn before any of the next, and of one turn the cheapest first.
///
/// Each of the `spent` points counts as a turn that its cluster has had. Fewer come back only where fewer are free.
///
/// # Panics
/// If `free` or `spent` hold a position without a cluster or a cost.
pub fn in_turns(cluster_n: &[usize], cost_n: &[f32], free: &[usize], spent: &[usize], budget: usize) -> Vec<usize> {
    let n_clusters = cluster_n.iter().map(|cluster| cluster + 1).max().unwrap_or(0);
    let mut turn_k: Vec<usize> = members(cluster_n, spent, n_clusters).iter().map(Vec::len).collect();
    let cheapest = |a: &usize, b: &usize| cost_n[*a].total_cmp(&cost_n[*b]).then(a.cmp(b));
    let mut order = free.to_vec();
    order.sort_unstable_by(cheapest);
    let mut given: Vec<(usize, usize)> = Vec::with_capacity(order.len());
    for i in order {
        let turn = &mut turn_k[cluster_n[i]];
        given.push((*turn, i));
        *turn += 1;
    }
    given.sort_by_key(|(turn, _)| *turn);
    given.into_iter().take(budget).map(|(_, i)| i).collect()
}

/// Of each cluster of k-means the free point nearest to its centre, with its distance; then the second nearest, and so on
/// until there are `budget`.
///
/// Each of the `spent` points counts as one that its cluster has given; see [`in_turns`]. A point belongs to the centre
/// that is nearest when k-means ends. Errs as the operations do, and if an answer does not fit.
pub fn nearest_to_centres(
    points: &Tensor<'_, '_>,
    args: &KMeansArgs,
    free: &[usize],
    spent: &[usize],
    budget: usize,
) -> Result<Picks> {
    let centres = points.host.points(&points.kmeans(args)?.centres_kd)?;
    let nearest = points.nearest(&centres, 1, None)?;
    let cluster_n = fitting(nearest.positions_nk, points.n_rows()?, centres.n_rows()?)?;
    let distance_n = nearest.distances_nk.elements();
    expect_rows(distance_n.len(), cluster_n.len())?;
    let positions = in_turns(&cluster_n, distance_n, free, spent, budget);
    let scores = positions.iter().map(|i| distance_n[*i]).collect();
    Ok(Picks { positions, scores })
}

/// How [`Typical::picks`] clusters and how it measures density.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typical {
    /// The most clusters.
    pub max_clusters: u32,
    /// The most neighbours that a density looks at; never more than half of a cluster.
    pub neighbours: usize,
    /// Whether densities are of squared distances.
    pub squared: bool,
    /// The most points of one cluster whose density is computed; of a larger cluster so many are drawn.
    pub candidates: usize,
    /// The most rounds of Lloyd's algorithm.
    pub iterations: u32,
    /// How often k-means starts anew.
    pub restarts: u32,
}

/// Clusters up to this size give nothing as long as a larger one has something to give.
const SMALL: usize = 5;

/// Added to a mean distance before it divides.
const EPSILON: f64 = 1e-5;

impl Typical {
    /// The most typical unlabelled points of clusters, with their typicality (Hacohen, Dekel and Weinshall 2022).
    ///
    /// The clusters take turns: those with the fewest labelled points first, of these the largest. The typicality of a point
    /// is the inverse of its mean distance to its nearest points in the cluster, among those neither labelled nor picked
    /// before; of a point that is alone it is 0. Exactly `budget` come back, which may not be more than are unlabelled. Errs
    /// as the operations do, and if an answer does not fit.
    pub fn picks(&self, points: &Tensor<'_, '_>, labelled: &[usize], budget: usize, mut rng: Rng) -> Result<Picks> {
        let n = points.n_rows()?;
        let n_clusters = (labelled.len() + budget).min(self.max_clusters as usize).min(n);
        let cluster_n = clusters(points, &self.kmeans(n_clusters as u32))?;
        let mut gone_n = vec![false; n];
        labelled.iter().for_each(|i| gone_n[*i] = true);
        let free: Vec<usize> = (0..n).filter(|i| !gone_n[*i]).collect();
        let free_k = members(&cluster_n, &free, n_clusters);
        let labelled_k: Vec<usize> = members(&cluster_n, labelled, n_clusters).iter().map(Vec::len).collect();

        let free_sizes_k: Vec<usize> = free_k.iter().map(Vec::len).collect();
        let givers = givers(&free_sizes_k, &labelled_k, budget);
        let mut share_k = vec![0; n_clusters];
        givers.iter().for_each(|cluster| share_k[*cluster] += 1);
        let mut given_k = Vec::with_capacity(n_clusters);
        for (free, share) in free_k.into_iter().zip(share_k) {
            given_k.push(VecDeque::from(self.most_typical(points, free, share, &mut gone_n, &mut rng)?));
        }
        let (positions, scores) = givers.iter().filter_map(|cluster| given_k[*cluster].pop_front()).unzip();
        Ok(Picks { positions, scores })
    }

    fn kmeans(&self, clusters: u32) -> KMeansArgs {
        let stream = "clusters".to_owned();
        KMeansArgs { clusters, iterations: self.iterations, restarts: self.restarts, tolerance: 0.0, stream }
    }

    /// `share` points of one cluster, each the most typical of those that are left, with their typicality.
    fn most_typical(
        &self,
        points: &Tensor<'_, '_>,
        mut left: Vec<usize>,
        share: usize,
        gone_n: &mut [bool],
        rng: &mut Rng,
    ) -> Result<Vec<(usize, f32)>> {
        let mut picks = Vec::with_capacity(share);
        while picks.len() < share {
            left.retain(|i| !gone_n[*i]);
            let candidates = self.drawn(&left, rng);
            let k = self.neighbours_in(left.len());
            let spare = k.min(share - picks.len() - 1);
            // A point is among its own nearest.
            let width = (k + spare + 1).min(left.len());
            let near = nearest_in(points, &candidates, &left, width)?;

            // The spare neighbours stand in for those picked, until one of the candidates has none left.
            let before = picks.len();
            while picks.len() < share {
                let k = self.neighbours_in(left.len() - (picks.len() - before));
                let rows = near.positions_nk.chunks_exact(width).zip(near.distances_nk.rows());
                let typicality = |(candidate, (positions, distances)): (&usize, (&[usize], &[f32]))| {
                    let others = positions.iter().zip(distances).filter(|(j, _)| *j != candidate);
                    let others = others.filter(|(j, _)| !gone_n.get(**j).is_some_and(|gone| *gone));
                    self.typicality(others.map(|(_, distance)| *distance), k)
                };
                let waiting = candidates.iter().zip(rows).filter(|(candidate, _)| !gone_n[**candidate]);
                let known: Option<Vec<(usize, f64)>> = waiting.map(|one| Some((*one.0, typicality(one)?))).collect();
                let highest = |best: (usize, f64), one: (usize, f64)| if one.1 > best.1 { one } else { best };
                let Some((best, typicality)) = known.and_then(|known| known.into_iter().reduce(highest)) else { break };
                gone_n[best] = true;
                picks.push((best, typicality as f32));
            }
            if picks.len() == before {
                return Err(misfit("neighbours that are missing, or are no points of the cluster"));
            }
        }
        Ok(picks)
    }

    fn drawn(&self, members: &[usize], rng: &mut Rng) -> Vec<usize> {
        if members.len() <= self.candidates {
            return members.to_vec();
        }
        let mut drawn = rng.sample(members.len(), self.candidates);
        drawn.sort_unstable();
        drawn.into_iter().map(|at| members[at]).collect()
    }

    fn neighbours_in(&self, n_members: usize) -> usize {
        self.neighbours.min(n_members / 2)
    }

    /// Of a point with these distances to others, ascending; none if there are fewer than `k`.
    fn typicality(&self, distances: impl Iterator<Item = f32>, k: usize) -> Option<f64> {
        let (mut sum, mut found) = (0.0, 0);
        for distance in distances.take(k).map(f64::from) {
            sum += if self.squared { distance * distance } else { distance };
            found += 1;
        }
        match found {
            0 if k == 0 => Some(0.0),
            found if found == k => Some(1.0 / (sum / k as f64 + EPSILON)),
            _ => None,
        }
    }
}

/// The nearest points of a cluster to each of the candidates in it, as positions among all points.
fn nearest_in(points: &Tensor<'_, '_>, candidates: &[usize], cluster: &[usize], width: usize) -> Result<Neighbours> {
    let queries = points.gather(candidates)?;
    let mut near = if candidates.len() == cluster.len() {
        queries.nearest(&queries, width as u32, None)?
    } else {
        queries.nearest(points, width as u32, Some(cluster))?
    };
    expect_rows(near.positions_nk.len(), candidates.len() * width)?;
    expect_rows(near.distances_nk.elements().len(), candidates.len() * width)?;
    if candidates.len() == cluster.len() {
        for position in &mut near.positions_nk {
            *position = *cluster.get(*position).ok_or_else(|| misfit("a neighbour that is no point"))?;
        }
    }
    Ok(near)
}

/// The cluster that gives each pick. Those that are too small wait until the others have nothing left.
fn givers(free_k: &[usize], labelled_k: &[usize], budget: usize) -> Vec<usize> {
    let size = |cluster: usize| free_k[cluster] + labelled_k[cluster];
    let mut order: Vec<usize> = (0..free_k.len()).collect();
    order.sort_by_key(|cluster| (labelled_k[*cluster], Reverse(size(*cluster))));
    let (large, small): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|cluster| size(*cluster) > SMALL);
    let turns_of = |order: &[usize]| order.iter().map(|cluster| free_k[*cluster]).max().unwrap_or(0);
    let in_turn = |order: Vec<usize>| {
        (0..turns_of(&order))
            .flat_map(move |turn| order.clone().into_iter().filter(move |cluster| free_k[*cluster] > turn))
    };
    in_turn(large).chain(in_turn(small)).take(budget).collect()
}

fn fitting(cluster_n: Vec<usize>, n: usize, n_clusters: usize) -> Result<Vec<usize>> {
    expect_rows(cluster_n.len(), n)?;
    match cluster_n.iter().find(|cluster| **cluster >= n_clusters) {
        Some(cluster) => Err(misfit(&format!("the cluster {cluster} of {n_clusters}"))),
        None => Ok(cluster_n),
    }
}

fn expect_rows(found: usize, expected: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(misfit(&format!("{found} rows for {expected} points"))) }
}

fn misfit(what: &str) -> Error {
    Error::new(Code::HOST, format!("the host answered with {what}"))
}

/// Images whose passes are in the host's memory at once.
const PASSES_BLOCK: usize = 4096;

/// A number for each of `ids` from the current model's passes under dropout, made in the host: the passes of a large pool are
/// never in memory together, and no image's number depends on which others are asked about.
///
/// Asks for [`PREDICT_3`](ops::PREDICT_3) and [`REDUCE_1`](ops::REDUCE_1).
pub fn reduced_passes(host: &Host<'_>, ids: &[u64], dropout: ops::Dropout, measure: ops::Measure) -> Result<Vec<f32>> {
    let mut number_n = Vec::with_capacity(ids.len());
    for block in ids.chunks(PASSES_BLOCK) {
        let [probs_nkc] = host.predict(block)?.under(dropout).kept([ops::Output::Probabilities])?;
        number_n.extend(probs_nkc.reduce(measure)?);
    }
    Ok(number_n)
}

#[cfg(test)]
mod tests;
