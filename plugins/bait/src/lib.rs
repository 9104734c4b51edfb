//! `bait`: the images that, once labelled, leave least of the pool's Fisher information unknown (Ash, Goel, Krishnamurthy
//! and Kakade 2021, Gone Fishing: Neural Active Learning with Fisher Embeddings).
//!
//! With F(x) the Fisher information of the last layer's weights at image x, in expectation over the model's own class
//! probabilities, a set S is wanted with the smallest trace of `inverse(sum of F over labelled images and S + lambda) F`,
//! where the last F is the mean over the pool. Images are added one by one, each time the one that lowers the trace most,
//! up to twice the budget, and then taken away, each time the one that raises it least. The score of an image is how much
//! it lowered the trace when it was added.
//!
//! F(x) has the rank of the classes, so that adding and taking away are small updates (Woodbury) of what is known of each
//! candidate. The matrices are as wide as classes times features: this is a method for small networks, and it says so
//! before it begins if they would take more than `memory`.
//!
//! Where paper and released code differ, `weighing` offers both: in the paper every image counts once; the code counts a
//! labelled one 1 / (labelled + budget) and a chosen one budget / (labelled + budget) times, against the same lambda.
//! Departures: only `candidates` images drawn from the seed may be chosen; equal images go to the lowest id, where the code
//! takes the highest.

use coldstart_plugin_api::abi::DType;
use coldstart_plugin_api::prelude::*;
use dense::Square;
use greedy::{Candidates, Fisher};

mod dense;
mod greedy;

/// Images read at once.
const BLOCK: usize = 256;

/// The objective and its bounds.
#[derive(Params)]
struct BaitParams {
    /// What is added to the diagonal before the inverse. The authors have 1, and 0.01 for CIFAR-10.
    #[param(default = 1.0, min = 0.000001)]
    lambda: f64,
    /// How much an image counts in the sum. sum: once, as in the paper. released: a labelled one 1 / (labelled + budget)
    /// and a chosen one budget / (labelled + budget) times, as in the released code.
    #[param(default = "sum")]
    weighing: Weighing,
    /// How many unlabelled images may be chosen, drawn from the seed if there are more; never fewer than the budget.
    #[param(default = 10000, min = 1)]
    candidates: u32,
    /// GiB that the matrices and what is kept of the candidates may take; beyond, nothing is begun.
    #[param(default = 0.25, min = 0.0)]
    memory: f64,
}

/// How much an image counts.
#[derive(Params, Clone, Copy)]
enum Weighing {
    Sum,
    Released,
}

struct Bait {
    params: BaitParams,
}

impl Strategy for Bait {
    type Params = BaitParams;

    fn new(params: BaitParams, _: &Host<'_>) -> Result<Self> {
        Ok(Bait { params })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let pool = request.pool();
        if request.budget == 0 {
            return Ok(Selection::of(Vec::new()));
        }
        let candidates = self.candidates(request, &pool);
        self.check_memory(candidates.len(), model_of(&pool[..1], host)?.size()?)?;

        let model = model_of(&pool, host)?;
        let (n_classes, n_features) = model.size()?;
        let (of_labelled, of_chosen) = self.weights(request);
        let labelled: Vec<usize> = request.labelled.iter().filter_map(|id| pool.binary_search(id).ok()).collect();
        let everything: Vec<usize> = (0..pool.len()).collect();
        let of_pool = model.fisher(&everything, 1.0 / pool.len() as f64, host)?;
        let mut known = model.fisher(&labelled, of_labelled, host)?;
        known.add_to_diagonal(self.params.lambda);

        let inverse = dense::inverse(known).ok_or_else(|| {
            Error::plugin("the Fisher information cannot be inverted in double precision")
                .with("hint", "raise `lambda`")
        })?;
        let mut fisher = Fisher { inverse, of_pool, n_classes, n_features };
        let mut images = Candidates::new(&fisher, of_chosen);
        for block in candidates.chunks(BLOCK) {
            host.check()?;
            let (probs_mc, embeds_md) = model.read(block)?;
            images.extend(&probs_mc, &embeds_md);
        }
        images.measure(&fisher, || host.check())?;
        let picks = greedy::choose(&mut fisher, &mut images, request.budget, |done, total| {
            host.progress("bait", done as u64, total as u64);
            host.check()
        })?;
        Ok(Selection {
            ids: picks.iter().map(|pick| pool[candidates[pick.candidate]]).collect(),
            scores: picks.iter().map(|pick| pick.gain as f32).collect(),
        })
    }
}

impl Bait {
    /// Positions in the pool of the images that may be chosen, ascending.
    fn candidates(&self, request: &Request, pool: &[u64]) -> Vec<usize> {
        let unlabelled = &request.unlabelled;
        let wanted = (self.params.candidates as usize).max(request.budget);
        let mut drawn: Vec<usize> = match wanted < unlabelled.len() {
            true => request.rng("candidates").sample(unlabelled.len(), wanted),
            false => (0..unlabelled.len()).collect(),
        };
        drawn.sort_unstable();
        drawn.into_iter().filter_map(|i| pool.binary_search(&unlabelled[i]).ok()).collect()
    }

    /// Errs if the model is too large: four square matrices are made, and two small ones for each candidate.
    fn check_memory(&self, n_candidates: usize, (n_classes, n_features): (usize, usize)) -> Result<()> {
        let width = n_classes as f64 * n_features as f64;
        let of_candidate = 2.0 * (n_classes as f64).powi(2) + n_features as f64 + n_classes as f64;
        let gib = 8.0 * (4.0 * width * width + n_candidates as f64 * of_candidate) / f64::from(1 << 30);
        if gib <= self.params.memory {
            return Ok(());
        }
        let message = format!(
            "{n_classes} classes of {n_features} features make matrices of {width} x {width}, which with what is kept of \
             {n_candidates} candidates take {gib:.2} GiB, more than the {} of `memory`",
            self.params.memory
        );
        let hint = "take a network with fewer features, lower `candidates`, or raise `memory` and wait: time grows with the \
                    square of classes times features";
        Err(Error::plugin(message).with("hint", hint))
    }

    /// How much a labelled and a chosen image count.
    fn weights(&self, request: &Request) -> (f64, f64) {
        let (budget, n_labelled) = (request.budget as f64, request.labelled.len() as f64);
        match self.params.weighing {
            Weighing::Sum => (1.0, 1.0),
            Weighing::Released => (1.0 / (n_labelled + budget), budget / (n_labelled + budget)),
        }
    }
}

/// What the model says of images; it stays in the host.
struct Model<'h, 'a> {
    probs_nc: Tensor<'h, 'a>,
    embeds_nd: Tensor<'h, 'a>,
}

fn model_of<'h, 'a>(ids: &[u64], host: &'h Host<'a>) -> Result<Model<'h, 'a>> {
    let [probs_nc, embeds_nd] = host.predict(ids)?.kept([Output::Probabilities, Output::Embeddings])?;
    Ok(Model { probs_nc, embeds_nd })
}

impl Model<'_, '_> {
    /// Classes and features.
    fn size(&self) -> Result<(usize, usize)> {
        let n_cols = |tensor: &Tensor<'_, '_>| match tensor.shape(DType::F32)?[..] {
            [_, n_cols] if n_cols > 0 => Ok(n_cols as usize),
            ref shape => Err(Error::new(Code::HOST, format!("expected a row for each image, got the shape {shape:?}"))),
        };
        Ok((n_cols(&self.probs_nc)?, n_cols(&self.embeds_nd)?))
    }

    fn read(&self, positions: &[usize]) -> Result<(Matrix, Matrix)> {
        Ok((self.probs_nc.gather(positions)?.read_matrix()?, self.embeds_nd.gather(positions)?.read_matrix()?))
    }

    /// The sum of the Fisher information of these images, each counting `weight` times.
    fn fisher(&self, positions: &[usize], weight: f64, host: &Host<'_>) -> Result<Square> {
        let (n_classes, n_features) = self.size()?;
        let mut sum = Square::zeros(n_classes * n_features);
        for (i, block) in positions.chunks(BLOCK).enumerate() {
            host.progress("Fisher information", (i * BLOCK) as u64, positions.len() as u64);
            host.check()?;
            let (probs_mc, embeds_md) = self.read(block)?;
            greedy::add_fisher(&mut sum, &probs_mc, &embeds_md, weight);
        }
        greedy::mirror(&mut sum, n_features);
        Ok(sum)
    }
}

export_plugin! {
    name: "bait",
    publisher: "coldstart",
    roles: [Query],
    strategy: Bait,
    criterion: GRADIENT,
    needs: [PREDICT_1, GATHER_1],
    asks: [Embeddings],
    cite: "Ash, Goel, Krishnamurthy and Kakade 2021, Gone Fishing: Neural Active Learning with Fisher Embeddings",
}

#[cfg(test)]
mod tests;
