//! `drop-query`: among the images whose predicted class changes when features are left out, those nearest to the centres of
//! clusters (Gupte, Aklilu, Nirschl and Yeung-Levy 2024, Revisiting Active Learning in the Era of Vision Foundation Models).
//!
//! In round 0 the pool is cut into budget clusters of its features, and the image nearest to each centre is chosen. Later
//! the model looks three times at each image with three of four features left out. Candidates are the images whose class
//! changed in more than one of the passes; where these are fewer than 25 times the budget the limit falls to at least one change,
//! and stops there. The candidates, however few, are clustered as the pool was in round 0. Where they are fewer than the budget
//! all are chosen, and others drawn beside them. So does the released code. How many there were is logged.
//!
//! In the paper a head sits on fixed features, and features are left out before it. Here that is the last layer of whatever
//! model the run trains; the features that are clustered are the run's representation, as in the paper, or the model's own:
//! `space`. Where a cluster gives nothing, which the released code does not foresee, the others give their second nearest.
//! More than `candidates` candidates are thinned out by a draw, which bounds memory.

use coldstart_plugin_api::ops::{Dropout, KMeansArgs};
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::recipes::{features, nearest_to_centres, positions};

/// How often features are left out, and what is clustered.
#[derive(Params)]
struct DropQueryParams {
    /// Passes with features left out.
    #[param(default = 3, min = 1, max = 1000)]
    passes: u32,
    /// The probability that a feature is left out.
    #[param(default = 0.75, min = 0.0, max = 0.999)]
    p: f64,
    /// How many candidates there should be for each image to choose; with fewer a single change of class suffices.
    #[param(default = 25, min = 1)]
    per_choice: u32,
    /// What is clustered in later rounds. representation: the run's shared features, as in the paper. model: the features
    /// of the current model.
    #[param(default = "representation")]
    space: Space,
    /// The most candidates that are clustered; of more, so many are drawn. Never fewer than the two numbers above ask for.
    #[param(default = 200000, min = 1)]
    candidates: u32,
    /// The most rounds of Lloyd's algorithm.
    #[param(default = 100, min = 1)]
    iterations: u32,
}

/// Whose features.
#[derive(Params, Clone, Copy)]
enum Space {
    Representation,
    Model,
}

struct DropQuery {
    params: DropQueryParams,
}

impl Strategy for DropQuery {
    type Params = DropQueryParams;

    fn new(params: DropQueryParams, _: &Host<'_>) -> Result<Self> {
        Ok(DropQuery { params })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        match (request.budget, request.round) {
            (0, _) => Ok(Selection::of(Vec::new())),
            (_, 0) => self.central_of_the_pool(request, host),
            _ => self.central_of_the_unsteady(request, host),
        }
    }
}

impl DropQuery {
    fn central_of_the_pool(&self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let pool = request.pool();
        let free = positions(&request.unlabelled, &pool);
        self.central(&features(host, &pool)?, &pool, &free, request.budget)
    }

    fn central_of_the_unsteady(&self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let wanted = self.params.per_choice as usize * request.budget;
        let changes_n = self.changes(&request.unlabelled, host)?;
        let found = Candidates::of(&changes_n, self.params.passes as usize / 2, wanted);
        found.tell(changes_n.len(), wanted, request.budget);
        if found.positions.len() <= request.budget {
            return Ok(all_and_drawn(&found.positions, request));
        }
        let most = wanted.max(self.params.candidates as usize);
        let unsteady = thinned(found.positions, most, request.rng("candidates"));
        let ids: Vec<u64> = unsteady.into_iter().map(|i| request.unlabelled[i]).collect();
        let points = match self.params.space {
            Space::Representation => features(host, &ids)?,
            Space::Model => {
                let [embeds_nd] = host.predict(&ids)?.kept([Output::Embeddings])?;
                embeds_nd.unit()?
            }
        };
        let all: Vec<usize> = (0..ids.len()).collect();
        self.central(&points, &ids, &all, request.budget)
    }

    /// Of each cluster of the points the free one nearest to its centre.
    fn central(&self, points: &Tensor<'_, '_>, ids: &[u64], free: &[usize], budget: usize) -> Result<Selection> {
        let (clusters, iterations) = (budget as u32, self.params.iterations);
        let args = KMeansArgs { clusters, iterations, restarts: 1, tolerance: 0.0, stream: "clusters".to_owned() };
        let picks = nearest_to_centres(points, &args, free, &[], budget)?;
        Ok(Selection { ids: picks.positions.iter().map(|i| ids[*i]).collect(), scores: picks.scores })
    }

    /// In how many passes each image's class is another one than with all features.
    fn changes(&self, ids: &[u64], host: &Host<'_>) -> Result<Vec<usize>> {
        let DropQueryParams { passes, p, .. } = self.params;
        let dropout = Dropout { passes: passes + 1, p, shared: false, clean: true };
        let mut changes_n = Vec::with_capacity(ids.len());
        for part in ids.chunks(PART) {
            let probs = host.predict(part)?.under(dropout).passes()?;
            if (probs.n_rows(), probs.n_passes()) != (part.len(), dropout.passes as usize) {
                let message = format!("the host gave {} passes of {} images", probs.n_passes(), probs.n_rows());
                return Err(Error::new(Code::HOST, message));
            }
            changes_n.extend((0..part.len()).map(|i| changes(probs.of(i))));
        }
        Ok(changes_n)
    }
}

/// Images that are asked about at a time: the answers are probabilities of all classes in all passes.
const PART: usize = 8192;

/// In how many of the later passes another class is the most probable one than in the first.
fn changes<'p>(mut passes: impl Iterator<Item = &'p [f32]>) -> usize {
    let clean = passes.next().map(most_probable);
    passes.filter(|probs_c| Some(most_probable(probs_c)) != clean).count()
}

/// The lowest of the most probable classes.
fn most_probable(probs_c: &[f32]) -> usize {
    (0..probs_c.len()).fold(0, |most, class| if probs_c[class] > probs_c[most] { class } else { most })
}

/// The target of log lines.
const TARGET: &str = "candidates";

/// Images whose class is not steady.
#[derive(Debug, PartialEq)]
struct Candidates {
    /// Their class changes more often than this.
    limit: usize,
    /// Their positions, ascending.
    positions: Vec<usize>,
}

impl Candidates {
    /// Those above the highest limit, from `limit` down, that leaves at least `wanted`; those that change at all if none does.
    fn of(changes_n: &[usize], limit: usize, wanted: usize) -> Candidates {
        let above = |limit: usize| changes_n.iter().filter(|changes| **changes > limit).count();
        let limit = (0..=limit).rev().find(|limit| above(*limit) >= wanted).unwrap_or(0);
        Candidates { limit, positions: (0..changes_n.len()).filter(|i| changes_n[*i] > limit).collect() }
    }

    /// Log how many there are of `n`; as a warning where they are fewer than the budget.
    fn tell(&self, n: usize, wanted: usize, budget: usize) {
        let (found, times) = (self.positions.len(), self.limit + 1);
        if found < budget {
            let n_drawn = budget - found;
            log::warn!(
                target: TARGET,
                "{found} of {n} images change their class with features left out: all are chosen, and {n_drawn} others drawn"
            );
        } else {
            log::info!(
                target: TARGET,
                "{found} of {n} images change their class in {times} or more passes; {wanted} were wanted"
            );
        }
    }
}

/// All candidates and, up to the budget, others that are drawn; each is a cluster of its own, at no distance from its centre.
fn all_and_drawn(candidates: &[usize], request: &Request) -> Selection {
    let mut others: Vec<usize> = (0..request.unlabelled.len()).collect();
    others.retain(|i| candidates.binary_search(i).is_err());
    let drawn = request.rng("rest").sample(others.len(), request.budget - candidates.len());
    let chosen = candidates.iter().copied().chain(drawn.into_iter().map(|at| others[at]));
    Selection { ids: chosen.map(|i| request.unlabelled[i]).collect(), scores: vec![0.0; request.budget] }
}

/// At most `most` of the positions, ascending.
fn thinned(positions: Vec<usize>, most: usize, mut rng: Rng) -> Vec<usize> {
    if positions.len() <= most {
        return positions;
    }
    let mut drawn: Vec<usize> = rng.sample(positions.len(), most).into_iter().map(|at| positions[at]).collect();
    drawn.sort_unstable();
    drawn
}

export_plugin! {
    name: "drop-query",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: DropQuery,
    criterion: STAGED,
    needs: [REPRESENT_1, NORMALIZE_1, KMEANS_1, NEAREST_1, PREDICT_1, PREDICT_3],
    asks: [Dropout, Embeddings],
    cite: "Gupte, Aklilu, Nirschl and Yeung-Levy 2024, Revisiting Active Learning in the Era of Vision Foundation Models",
}

#[cfg(test)]
mod tests;
