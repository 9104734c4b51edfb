//! `refine`: other strategies filter the pool together, round after round, and one of them chooses of what is left (Huseljic, Herde,
//! Rauch, Hahn and Sick 2026, Cleaning the Pool: Progressive Filtering of Unlabeled Pools in Deep Active Learning, REFINE).
//!
//! In a filter round each strategy chooses batches of the size that will be labelled, each of another random subset of the pool; all images
//! that were chosen by anybody are the pool of the next round. As in the authors' code (dal-toolbox) there are 5 rounds of 100
//! batches, divided evenly and rounded down; a subset has 5000 images in the first round and then 0.4 times the pool, never fewer than a
//! batch; of more than 10 000 chosen images so many are drawn; a smaller pool is offered whole; and uncertainty herding chooses at the end.
//!
//! Departures:
//!
//! - The ensemble of the paper has nine strategies; the default here has seven of them, so that each chooses 14 batches and not 11.
//!   ALFA-Mix, which moves features towards those of other classes, is not shipped. BAIT is, and can be named: a choice of it takes seconds
//!   on a CPU even of a few hundred images, where all the others together take a fraction of one, and a selection asks each dozens of times.
//! - A strategy here may remember what it chose. One that only filters forgets it, and the one that chooses at the end goes on from its own
//!   choice; the strategies of the code do not tell the two apart.
//!
//! A pool of `first_subset` images or fewer is offered whole in the first round, as in the code. A strategy without chance then chooses the
//! same batch each time, and only later subsets differ.

use coldstart_plugin_api::ops::SelectArgs;
use coldstart_plugin_api::params::Settings;
use coldstart_plugin_api::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Who filters, how often, and who chooses at the end.
#[derive(Params)]
struct RefineParams {
    /// The strategies that filter the pool, by name.
    #[param(default = ["random", "margin", "badge", "typiclust", "drop-query", "max-herding", "u-herding"])]
    strategies: Vec<String>,
    /// The strategy that chooses what is labelled, of what is left.
    #[param(default = "u-herding")]
    r#final: String,
    /// How often the pool is filtered; 0 leaves it as it is.
    #[param(default = 5)]
    rounds: u32,
    /// Batches that are chosen in a round, by all strategies together; each has an equal share, rounded down.
    #[param(default = 100, min = 1)]
    batches: u32,
    /// Images of a random subset in the first round.
    #[param(default = 5000, min = 1)]
    first_subset: u32,
    /// The share of the pool in a random subset of any later round.
    #[param(default = 0.4, min = 0.0, max = 1.0)]
    share: f64,
    /// Images that a round leaves at the most.
    #[param(default = 10000, min = 1)]
    most: u32,
    /// Parameters of these strategies: a table for each, under the name that it has above.
    #[param(default = [])]
    components: BTreeMap<String, Settings>,
}

struct Refine {
    params: RefineParams,
}

impl Strategy for Refine {
    type Params = RefineParams;

    fn new(params: RefineParams, _: &Host<'_>) -> Result<Self> {
        let n_strategies = params.strategies.len();
        if n_strategies == 0 && params.rounds > 0 {
            return Err(wrong("strategies", "names nobody, and `rounds` is not 0".to_owned()));
        }
        let distinct: BTreeSet<&String> = params.strategies.iter().collect();
        if distinct.len() < n_strategies {
            return Err(wrong("strategies", "names a strategy twice".to_owned()));
        }
        if (params.batches as usize) < n_strategies {
            return Err(wrong("batches", format!("is {}, fewer than the {n_strategies} strategies", params.batches)));
        }
        let is_asked = |name: &&String| distinct.contains(name) || **name == params.r#final;
        if let Some(name) = params.components.keys().find(|name| !is_asked(name)) {
            return Err(wrong("components", format!("has parameters of `{name}`, which is not asked")));
        }
        Ok(Refine { params })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let mut pool = request.unlabelled.clone();
        for round in 0..self.params.rounds {
            pool = self.filtered(&pool, round, request, host)?;
        }
        let last = SelectArgs {
            strategy: self.params.r#final.clone(),
            count: request.budget as u64,
            stream: "final".to_owned(),
            keep: true,
        };
        Ok(Selection::of(host.choose_by(&last, &pool)?))
    }
}

impl Refine {
    /// What one round leaves of the pool, ascending: all that any strategy has chosen, or `most` of them.
    fn filtered(&self, pool: &[u64], round: u32, request: &Request, host: &Host<'_>) -> Result<Vec<u64>> {
        let RefineParams { strategies, rounds, batches, most, .. } = &self.params;
        let subset_size = self.subset_size(pool.len(), round, request.budget);
        let batches_each = *batches as usize / strategies.len();
        let n_batches = batches_each * strategies.len();
        let mut chosen = BTreeSet::new();
        for (s, strategy) in strategies.iter().enumerate() {
            for batch in 0..batches_each {
                let stream = format!("round {round} batch {batch}");
                let subset = drawn(pool, subset_size, &mut request.rng(&format!("subset {strategy} {stream}")));
                let args = SelectArgs { strategy: strategy.clone(), count: request.budget as u64, stream, keep: false };
                chosen.extend(host.choose_by(&args, &subset)?);
                let done = round as usize * n_batches + s * batches_each + batch + 1;
                host.progress("filtering", done as u64, u64::from(*rounds) * n_batches as u64);
            }
        }
        let chosen: Vec<u64> = chosen.into_iter().collect();
        let most = request.budget.max(*most as usize);
        Ok(drawn(&chosen, most, &mut request.rng(&format!("round {round} most"))))
    }

    /// How many images of the pool a strategy may choose from.
    fn subset_size(&self, n_pool: usize, round: u32, budget: usize) -> usize {
        let wanted = match round {
            0 => self.params.first_subset as usize,
            _ => (self.params.share * n_pool as f64) as usize,
        };
        wanted.max(budget).min(n_pool)
    }
}

/// So many of the images, ascending, drawn without replacement; all of them where there are no more.
fn drawn(images: &[u64], n: usize, rng: &mut Rng) -> Vec<u64> {
    if n >= images.len() {
        return images.to_vec();
    }
    let mut drawn: Vec<u64> = rng.sample(images.len(), n).into_iter().map(|position| images[position]).collect();
    drawn.sort_unstable();
    drawn
}

fn wrong(param: &str, rule: String) -> Error {
    Error::new(Code::BAD_PARAMS, format!("bad params: `{param}` {rule}")).with("pointer", format!("/{param}"))
}

export_plugin! {
    name: "refine",
    publisher: "coldstart",
    roles: [Query],
    strategy: Refine,
    criterion: STAGED,
    needs: [STRATEGY_SELECT_1],
    composes: ["strategies", "final"],
    cite: "Huseljic, Herde, Rauch, Hahn and Sick 2026, Cleaning the Pool: Progressive Filtering of Unlabeled Pools in Deep Active Learning",
}

#[cfg(test)]
mod tests;
