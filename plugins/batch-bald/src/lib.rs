//! `batch-bald`: the images whose labels together say most about the model (Kirsch, van Amersfoort and Gal 2019,
//! BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian Active Learning).
//!
//! A set's score is the mutual information of its labels, taken together, and the model's weights, of which the passes
//! under dropout are samples: the same masks for every image. Images are added one by one, each time the one that raises
//! the score most; that rise is reported as the image's score, and the rises add up to the set's.
//!
//! As in the released code, all outcomes of the chosen images' labels are followed while there are at most `outcomes` of
//! them; from then on as many outcomes are drawn, equally many from each pass, and weighted by the mixture of all passes.
//! Departures, all to bound time and memory:
//!
//! - Only the `candidates` images with the best scores on their own take part. Nothing outside is better than the worst of
//!   them at first, but it might have become so.
//! - Beyond 100 images to be chosen, fewer outcomes are followed in proportion: time grows with one times the other.
//! - Drawn outcomes are drawn on for the next image instead of all anew.
//! - An image is asked again only when its last rise could still win, since a rise never grows as images are added; with
//!   drawn outcomes that is so up to the error of the draw.
//!
//! Dropout is before the last layer alone, and batch norm stays as in any prediction; the 50 passes at one half are those
//! of Lüth et al. 2023, who drop in the same place. The paper has 100 passes of a network with dropout inside.

use coldstart_plugin_api::ops::{Dropout, Measure};
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::recipes::reduced_passes;

mod batch;

/// Images in a batch beyond which fewer outcomes are followed, and the least that are.
const LARGE: usize = 100;
const LEAST: usize = 500;

/// The passes, and how far the search goes.
#[derive(Params)]
struct BatchBaldParams {
    /// Passes under dropout.
    #[param(default = 50, min = 2, max = 1000)]
    passes: u32,
    /// The probability that a feature is left out of a pass.
    #[param(default = 0.5, min = 0.01, max = 0.99)]
    p: f64,
    /// How many images take part: those with the best scores on their own, and never fewer than are to be chosen.
    #[param(default = 1000, min = 1)]
    candidates: u32,
    /// The most outcomes of the chosen images' labels that are followed, each a number for each pass. The released demo has
    /// 100000. Fewer in proportion where more than 100 images are chosen.
    #[param(default = 10000, min = 1, max = 10000000)]
    outcomes: u32,
}

struct BatchBald {
    params: BatchBaldParams,
}

impl Strategy for BatchBald {
    type Params = BatchBaldParams;

    fn new(params: BatchBaldParams, _: &Host<'_>) -> Result<Self> {
        Ok(BatchBald { params })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let BatchBaldParams { passes, p, candidates, outcomes } = self.params;
        let dropout = Dropout { passes, p, shared: true, clean: false };
        let candidates = best_alone(candidates as usize, request, host, dropout)?;
        if request.budget == 0 {
            return Ok(Selection::of(Vec::new()));
        }
        let probs_mkc = host.predict(&candidates)?.under(dropout).passes()?;
        let picks = batch::choose(
            &probs_mkc,
            request.budget,
            followed(outcomes, request.budget),
            &mut request.rng("outcomes"),
            |done| {
                host.progress("batch", done as u64, request.budget as u64);
                host.check()
            },
        )?;
        Ok(Selection {
            ids: picks.iter().map(|pick| candidates[pick.candidate]).collect(),
            scores: picks.iter().map(|pick| pick.rise as f32).collect(),
        })
    }
}

/// How many outcomes are followed for a batch of this size.
fn followed(outcomes: u32, budget: usize) -> usize {
    let outcomes = outcomes as usize;
    (outcomes * LARGE / budget.max(LARGE)).max(outcomes.min(LEAST))
}

/// The images with the best scores on their own, ascending.
fn best_alone(wanted: usize, request: &Request, host: &Host<'_>, dropout: Dropout) -> Result<Vec<u64>> {
    let n = request.unlabelled.len();
    let budget = wanted.max(request.budget).min(n);
    if budget == n || request.budget == 0 {
        return Ok(request.unlabelled.clone());
    }
    let bald_n = reduced_passes(host, &request.unlabelled, dropout, Measure::Bald)?;
    let mut best = Selection::highest(&Request { budget, ..request.clone() }, bald_n).ids;
    best.sort_unstable();
    Ok(best)
}

export_plugin! {
    name: "batch-bald",
    publisher: "coldstart",
    roles: [Query],
    strategy: BatchBald,
    criterion: DISAGREEMENT,
    needs: [PREDICT_3, REDUCE_1],
    asks: [Dropout],
    cite: "Kirsch, van Amersfoort and Gal 2019, BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian Active Learning",
}

#[cfg(test)]
mod tests;
