//! `pt4al`: through the pool by the loss of a pretext task, a group of images a round (Yi, Seo, Park and Choi 2022,
//! PT4AL: Using Self-Supervised Pretext Tasks for Active Learning).
//!
//! A network learns by which of four angles an image was turned; an image's loss is the mean over the four. The pool is
//! sorted by it, hard images first, and cut into groups. The initial set is spread evenly over the first group; round r
//! takes the images of group r of whose class the model is least sure.
//!
//! The paper and its released code differ. The defaults follow the paper; the parameters `order`, `confidence`, `start`
//! and `balance` have the code's ways. What neither says:
//!
//! - The cuts are at `floor(i n / groups)`, so that no image is left out.
//! - Evenly spread means the positions `floor(j size / budget)` of the group.
//! - A group with too few unlabelled images gives them all. The rest comes from the groups after it, after the last one
//!   from the first on, each asked in the same way for what is still missing.
//! - There may be more rounds than groups: after the last group the first one is next, for what was left there.
//!
//! Departures: the pretext is learnt on the labelled images too, so that every round sees the same groups, and its last
//! epoch counts instead of its best. The released code goes on training the task model from the last round's best
//! weights; that is the config's to say (`training.restart`).

use coldstart_plugin_api::prelude::*;
use std::fmt::Write;

mod order;
mod query;

pub use order::{group_range, numeric_order, text_order};

/// How the pool is ordered and how a group is asked.
#[derive(Params)]
struct Pt4alParams {
    /// Into how many groups of the same size the pool is cut.
    #[param(default = 10, min = 1)]
    groups: u32,
    /// Passes of the rotation training over the pool. The learning rate is divided by ten after 30, 60 and 90.
    #[param(default = 15, min = 1)]
    epochs: u32,
    /// numeric: highest loss first, as in the paper. text: as in the released code, which sorts the printed numbers as
    /// text, so that losses below 0.0001 come first. random: no order at all, to see what the order is worth; the same
    /// one in all rounds of a run.
    #[param(default = "numeric")]
    order: Order,
    /// What the model's confidence in its answer is. softmax: the highest probability. normalised-logits: as in the
    /// released code, the highest of the softmax of the logits divided by their length.
    #[param(default = "softmax")]
    confidence: query::Confidence,
    /// Which group the initial set is spread over. hardest: the first. middle: the one in the middle of the order, as in
    /// the released script for a cold start.
    #[param(default = "hardest")]
    start: Start,
    /// Whether each class that the model predicts gets the same share of a round, as far as the group has such images,
    /// after a sampler in the released code. What is missing goes to the least confident of the others.
    #[param(default = false)]
    balance: bool,
    /// The seed of the rotation training and of the random order; absent, the run's.
    seed: Option<u64>,
}

/// What the pool is sorted by.
#[derive(Params, Clone, Copy)]
enum Order {
    Numeric,
    Text,
    Random,
}

/// The group that the initial set comes from.
#[derive(Params, Clone, Copy)]
enum Start {
    Hardest,
    Middle,
}

struct Pt4al {
    params: Pt4alParams,
    /// All ids of the pool in the order of the groups; empty before the first round. It is not part of the saved state:
    /// the host remembers the training that it comes from.
    order: Vec<u64>,
}

impl Strategy for Pt4al {
    type Params = Pt4alParams;

    fn new(params: Pt4alParams, _: &Host<'_>) -> Result<Self> {
        Ok(Pt4al { params, order: Vec::new() })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        if self.order.is_empty() {
            self.order = self.order_pool(request, host)?;
        }
        let mut selection = Selection::of(Vec::with_capacity(request.budget));
        for group in self.groups_from(self.first_group(request.round)) {
            let missing = request.budget - selection.ids.len();
            let candidates: Vec<u64> = group.iter().copied().filter(|id| is_unlabelled(request, *id)).collect();
            if missing == 0 || candidates.is_empty() {
                continue;
            }
            if request.round == 0 {
                selection.ids.extend(spread(&candidates, missing));
            } else {
                let (ids, confidences) = self.query(&candidates, missing, host)?;
                selection.ids.extend(ids);
                selection.scores.extend(confidences);
            }
        }
        Ok(selection)
    }
}

impl Pt4al {
    /// Have the pretext learnt, sort the pool by its losses, and keep both with the run.
    fn order_pool(&self, request: &Request, host: &Host<'_>) -> Result<Vec<u64>> {
        let pool = request.pool();
        let trained = host.train(&self.pretext(), &pool)?;
        let losses_n = match &trained.records[..] {
            [record] if record.elements().len() == pool.len() => record.elements(),
            _ => return Err(Error::new(Code::HOST, "the rotation training did not leave one loss for each image")),
        };
        let order = match self.params.order {
            Order::Numeric => numeric_order(losses_n),
            Order::Text => text_order(losses_n),
            Order::Random => random_order(pool.len(), &trained.model),
        };
        host.put_artifact("pretext-losses.csv", self.table(&pool, losses_n, &order).into_bytes())?;
        Ok(order.into_iter().map(|i| pool[i]).collect())
    }

    fn pretext(&self) -> TrainSpec {
        TrainSpec { epochs: self.params.epochs, seed: self.params.seed, ..TrainSpec::pt4al_rotation() }
    }

    /// A line for each image, in the order of the groups.
    fn table(&self, pool: &[u64], losses_n: &[f32], order: &[usize]) -> String {
        let mut table = String::from("id,loss,group\n");
        for group in 0..self.n_groups() {
            for &i in &order[group_range(order.len(), self.n_groups(), group)] {
                writeln!(table, "{},{},{group}", pool[i], losses_n[i]).expect("a string takes any text");
            }
        }
        table
    }

    fn n_groups(&self) -> usize {
        self.params.groups as usize
    }

    fn first_group(&self, round: u32) -> usize {
        match (round, self.params.start) {
            (0, Start::Middle) => self.n_groups() / 2,
            _ => round as usize % self.n_groups(),
        }
    }

    /// All groups once, from `first` on; after the last one comes group 0.
    fn groups_from(&self, first: usize) -> impl Iterator<Item = &[u64]> {
        let n_groups = self.n_groups();
        (first..n_groups).chain(0..first).map(move |group| &self.order[group_range(self.order.len(), n_groups, group)])
    }

    /// Up to `wanted` of the candidates, least confident first, with the confidences.
    fn query(&self, candidates: &[u64], wanted: usize, host: &Host<'_>) -> Result<(Vec<u64>, Vec<f32>)> {
        let mut answers = query::least_confident_first(candidates, self.params.confidence, host)?;
        if self.params.balance {
            answers = query::balanced(answers, wanted / host.pool()?.classes.len().max(1));
        }
        Ok(answers.into_iter().take(wanted).map(|answer| (answer.id, answer.confidence)).unzip())
    }
}

fn is_unlabelled(request: &Request, id: u64) -> bool {
    request.unlabelled.binary_search(&id).is_ok()
}

/// Up to `wanted` of the candidates at even distances, the first one among them.
fn spread(candidates: &[u64], wanted: usize) -> impl Iterator<Item = u64> {
    let wanted = wanted.min(candidates.len());
    (0..wanted).map(move |j| candidates[(j as u128 * candidates.len() as u128 / wanted as u128) as usize])
}

/// All positions, shuffled by the name of the trained network.
///
/// A request's seed differs from round to round and between the initial and the query strategy of a run, but all of them
/// have to see the same groups. They share the network, whose name is a hash of all that made it, the seed included.
fn random_order(n: usize, model: &str) -> Vec<usize> {
    Rng::for_stream([0; 32], model).sample(n, n)
}

export_plugin! {
    name: "pt4al",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: Pt4al,
    criterion: PRETEXT,
    needs: [TRAIN_1, PREDICT_1, POOL_INFO_1, ARTIFACT_PUT_1],
    cite: "Yi, Seo, Park and Choi 2022, PT4AL: Using Self-Supervised Pretext Tasks for Active Learning",
}

#[cfg(test)]
mod tests;
