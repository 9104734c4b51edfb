//! The contrastive objectives: what they compare a view with, and what they remember between steps.
//!
//! Each follows its paper line by line; embeddings are unit vectors, n images, d dimensions, k keys.

use coldstart_plugin_api::Rng;
use coldstart_plugin_api::training::Objective;
use tch::{Kind, Reduction, Tensor};

use super::error::TorchResult;
use super::model::{Model, Weights};

/// What an objective remembers.
pub(super) enum Memory {
    /// Nothing: all it needs is in the batch.
    None,
    /// The keys of earlier images, the oldest at `at`, and the copy of the network that makes them.
    Queue { network: Weights, keys_kd: Tensor, at: i64 },
    /// An entry for each image, and the constant of noise-contrastive estimation once it is known (0 before).
    Bank { entries_nd: Tensor, scale: Tensor },
}

/// A step's outcome, on the device.
pub(super) struct Compared {
    /// The objective of each image, n; differentiable.
    pub(super) loss_n: Tensor,
    /// The embeddings of both views, n x d each, where there are two.
    pub(super) pair: Option<(Tensor, Tensor)>,
    /// What the memory takes up once the gradient is known, which still needs what it held before.
    pub(super) new: Vec<Tensor>,
}

impl Memory {
    /// What `objective` remembers before the first step, for `n_images`.
    pub(super) fn new(objective: &Objective, model: &Model, n_images: usize, rng: &mut Rng) -> TorchResult<Self> {
        let device = model.device().torch();
        let dim = model.n_outputs();
        let mut directions = |n: usize| -> TorchResult<Tensor> {
            let values: Vec<f32> = (0..n * dim).map(|_| rng.normal() as f32).collect();
            unit(&Tensor::f_from_slice(&values)?.f_view([n as i64, dim as i64])?.f_to_device(device)?)
        };
        Ok(match objective {
            Objective::InfoNce { queue, .. } => {
                Memory::Queue { network: model.weights()?, keys_kd: directions(*queue as usize)?, at: 0 }
            }
            Objective::Npid { .. } => Memory::Bank {
                entries_nd: directions(n_images)?,
                scale: Tensor::f_zeros([0i64; 0].as_slice(), (Kind::Float, device))?,
            },
            _ => Memory::None,
        })
    }

    /// All of it by name, to be stored and taken up again; `at` goes apart.
    pub(super) fn tensors(&mut self) -> Vec<(&'static str, &mut Tensor)> {
        match self {
            Memory::None => vec![],
            Memory::Queue { network, keys_kd, .. } => {
                vec![("key.params", &mut network.params), ("key.stats", &mut network.stats), ("keys", keys_kd)]
            }
            Memory::Bank { entries_nd, scale } => vec![("bank", entries_nd), ("scale", scale)],
        }
    }

    /// Takes up what a step on the images at `positions` found: new keys or entries.
    pub(super) fn take_up(&mut self, new: &[Tensor], positions: &Tensor) -> TorchResult<()> {
        match self {
            Memory::None => Ok(()),
            Memory::Queue { keys_kd, at, .. } => new.iter().try_for_each(|keys| enqueue(keys_kd, at, keys)),
            Memory::Bank { entries_nd, .. } => {
                new.iter().try_for_each(|new| entries_nd.f_index_copy_(0, positions, new).map(drop))
            }
        }
    }

    /// Where the oldest key stands.
    pub(super) fn at(&mut self) -> Option<&mut i64> {
        match self {
            Memory::Queue { at, .. } => Some(at),
            _ => None,
        }
    }
}

/// How a step runs: in which number format, and with the generator for what is drawn.
pub(super) struct Step<'a> {
    pub(super) model: &'a Model,
    pub(super) kind: Kind,
    pub(super) rng: &'a mut Rng,
}

impl Step<'_> {
    /// The objective of a batch: `views` holds one view of each image, or two; `positions` says which images they are.
    pub(super) fn compare(
        &mut self,
        objective: &Objective,
        memory: &mut Memory,
        views: &[Tensor],
        positions: &Tensor,
    ) -> TorchResult<Compared> {
        match (objective, memory) {
            (
                Objective::InfoNce { temperature, momentum, groups, symmetric, .. },
                Memory::Queue { network, keys_kd, .. },
            ) => {
                {
                    let _no_grad = tch::no_grad_guard();
                    let _ = network.params.f_lerp_(&self.model.params.f_detach()?, 1.0 - momentum)?;
                }
                let n = views[0].size()[0];
                let groups = i64::from(*groups).min(n / 2).max(1) as usize;
                let (loss_n, q_nd, k_nd) =
                    self.info_nce(network, keys_kd, (&views[0], &views[1]), groups, *temperature)?;
                if !symmetric {
                    let new = vec![k_nd.shallow_clone()];
                    return Ok(Compared { loss_n, pair: Some((q_nd, k_nd)), new });
                }
                let (other_n, _, other_nd) =
                    self.info_nce(network, keys_kd, (&views[1], &views[0]), groups, *temperature)?;
                let new = vec![k_nd.shallow_clone(), other_nd];
                let loss_n = loss_n.f_add(&other_n)?.f_mul_scalar(0.5)?;
                Ok(Compared { loss_n, pair: Some((q_nd, k_nd)), new })
            }
            (Objective::NtXent { temperature }, _) => {
                let pass = self.model.training_pass(self.kind)?;
                let z_md = self.embed(&pass, &Tensor::f_cat(views, 0)?)?;
                let n = views[0].size()[0];
                let loss_n = nt_xent(&z_md, *temperature)?;
                let pair = Some((z_md.f_narrow(0, 0, n)?, z_md.f_narrow(0, n, n)?));
                Ok(Compared { loss_n, pair, new: vec![] })
            }
            (Objective::Npid { temperature, bank_momentum, negatives }, Memory::Bank { entries_nd, scale }) => {
                let pass = self.model.training_pass(self.kind)?;
                let f_nd = self.embed(&pass, &views[0])?;
                let loss_n = match negatives {
                    None => softmax_over_bank(&f_nd, entries_nd, positions, *temperature)?,
                    Some(m) => {
                        let n_images = entries_nd.size()[0] as u64;
                        let drawn: Vec<i64> = (0..*m).map(|_| self.rng.below(n_images) as i64).collect();
                        let drawn = Tensor::f_from_slice(&drawn)?.f_to_device(f_nd.device())?;
                        noise_contrast(&f_nd, entries_nd, (positions, &drawn), *temperature, scale)?
                    }
                };
                let _no_grad = tch::no_grad_guard();
                let old = entries_nd.f_index_select(0, positions)?.f_mul_scalar(*bank_momentum)?;
                let new = unit(&old.f_add(&f_nd.f_mul_scalar(1.0 - bank_momentum)?)?)?;
                Ok(Compared { loss_n, pair: None, new: vec![new] })
            }
            _ => Err(tch::TchError::Kind("this objective has no memory of its kind".to_owned())),
        }
    }

    /// Queries from the network, keys from its copy, which sees the images in another order: batch-norm's groups tell
    /// nothing about the pairs then.
    fn info_nce(
        &mut self,
        network: &Weights,
        keys_kd: &Tensor,
        (x_q, x_k): (&Tensor, &Tensor),
        groups: usize,
        temperature: f64,
    ) -> TorchResult<(Tensor, Tensor, Tensor)> {
        let q_nd = self.embed(&self.model.grouped_pass(None, self.kind, groups)?, x_q)?;
        let k_nd = {
            let _no_grad = tch::no_grad_guard();
            let (order, back) = self.shuffled(x_k.size()[0] as usize, x_k.device())?;
            let pass = self.model.grouped_pass(Some(network), self.kind, groups)?;
            self.embed(&pass, &x_k.f_index_select(0, &order)?)?.f_index_select(0, &back)?
        };
        let positive_n1 = q_nd.f_mul(&k_nd)?.f_sum_dim_intlist([1].as_slice(), true, None)?;
        let negative_nk = q_nd.f_mm(&keys_kd.f_tr()?)?;
        let logits = Tensor::f_cat(&[positive_n1, negative_nk], 1)?.f_div_scalar(temperature)?;
        let first = Tensor::f_zeros(logits.size()[0], (Kind::Int64, logits.device()))?;
        Ok((cross_entropy(&logits, &first)?, q_nd, k_nd))
    }

    /// A random order, and the one that undoes it.
    fn shuffled(&mut self, n: usize, device: tch::Device) -> TorchResult<(Tensor, Tensor)> {
        let mut order: Vec<i64> = (0..n as i64).collect();
        self.rng.shuffle(&mut order);
        let mut back = vec![0i64; n];
        order.iter().enumerate().for_each(|(place, &i)| back[i as usize] = place as i64);
        let upload = |order: &[i64]| Tensor::f_from_slice(order)?.f_to_device(device);
        Ok((upload(&order)?, upload(&back)?))
    }

    fn embed(&self, pass: &super::layers::Pass, x_nchw: &Tensor) -> TorchResult<Tensor> {
        unit(&self.model.forward(pass, x_nchw)?)
    }
}

/// Rows of length 1.
pub(super) fn unit(x_nd: &Tensor) -> TorchResult<Tensor> {
    let length = x_nd.f_norm_scalaropt_dim(2.0, [1].as_slice(), true)?;
    x_nd.f_div(&length.f_clamp_min(1e-12)?)
}

fn cross_entropy(logits: &Tensor, targets: &Tensor) -> TorchResult<Tensor> {
    logits.f_cross_entropy_loss(targets, None::<Tensor>, Reduction::None, -100, 0.0)
}

/// New keys take the place of the oldest.
fn enqueue(keys_kd: &mut Tensor, at: &mut i64, new_nd: &Tensor) -> TorchResult<()> {
    let k = keys_kd.size()[0];
    let n = new_nd.size()[0].min(k);
    let start = *at;
    let first = n.min(k - start);
    keys_kd.f_narrow(0, start, first)?.f_copy_(&new_nd.f_narrow(0, 0, first)?)?;
    if n > first {
        keys_kd.f_narrow(0, 0, n - first)?.f_copy_(&new_nd.f_narrow(0, first, n - first)?)?;
    }
    *at = (start + n) % k;
    Ok(())
}

/// The cosines between all views of a batch, 2n x 2n, first all first views; a view's own is minus infinity.
fn cosines(z_md: &Tensor, temperature: f64) -> TorchResult<Tensor> {
    let m = z_md.size()[0];
    let itself = Tensor::f_eye(m, (Kind::Bool, z_md.device()))?;
    z_md.f_mm(&z_md.f_tr()?)?.f_div_scalar(temperature)?.f_masked_fill(&itself, f64::NEG_INFINITY)
}

/// For each of 2n views, the place of the other view of its image.
fn partners(m: i64, device: tch::Device) -> TorchResult<Tensor> {
    Tensor::f_arange(m, (Kind::Int64, device))?.f_add_scalar(m / 2)?.f_remainder(m)
}

/// NT-Xent of each image: the mean over its two views.
pub(super) fn nt_xent(z_md: &Tensor, temperature: f64) -> TorchResult<Tensor> {
    let m = z_md.size()[0];
    let loss_m = cross_entropy(&cosines(z_md, temperature)?, &partners(m, z_md.device())?)?;
    loss_m.f_view([2, m / 2])?.f_mean_dim([0].as_slice(), false, None)
}

/// The probability of picking an image's other view among all other views of the batch, both directions averaged.
pub(super) fn pair_probability(pair: &(Tensor, Tensor), temperature: f64) -> TorchResult<Tensor> {
    let z_md = Tensor::f_cat(&[pair.0.f_detach()?, pair.1.f_detach()?], 0)?;
    let m = z_md.size()[0];
    let probs_mm = cosines(&z_md, temperature)?.f_softmax(1, Kind::Float)?;
    let probs_m = probs_mm.f_gather(1, &partners(m, z_md.device())?.f_view([-1, 1])?, false)?;
    probs_m.f_view([2, m / 2])?.f_mean_dim([0].as_slice(), false, None)
}

/// Cross-entropy of picking each image's own entry among all of them.
pub(super) fn softmax_over_bank(
    f_nd: &Tensor,
    bank: &Tensor,
    positions: &Tensor,
    temperature: f64,
) -> TorchResult<Tensor> {
    cross_entropy(&f_nd.f_mm(&bank.f_tr()?)?.f_div_scalar(temperature)?, positions)
}

/// Telling each image's own entry from noise (Wu et al. 2018, section 3.2). `scale`, the constant Z, is set by the first batch
/// that it sees: the mean of exp(v f / T) times the number of images.
///
/// Departure: the noise is drawn once for a batch and not once for each image.
pub(super) fn noise_contrast(
    f_nd: &Tensor,
    bank: &Tensor,
    (positions, drawn): (&Tensor, &Tensor),
    temperature: f64,
    scale: &mut Tensor,
) -> TorchResult<Tensor> {
    let n_images = bank.size()[0] as f64;
    let m = drawn.size()[0] as f64;
    let own = f_nd.f_mul(&bank.f_index_select(0, positions)?)?.f_sum_dim_intlist([1].as_slice(), false, None)?;
    let noise = f_nd.f_mm(&bank.f_index_select(0, drawn)?.f_tr()?)?;
    let (own, noise) = (own.f_div_scalar(temperature)?.f_exp()?, noise.f_div_scalar(temperature)?.f_exp()?);
    if scale.f_double_value(&[])? == 0.0 {
        let _no_grad = tch::no_grad_guard();
        scale.f_copy_(&noise.f_mean(Kind::Float)?.f_mul_scalar(n_images)?)?;
    }
    let share = m / n_images;
    let (own, noise) = (own.f_div(scale)?, noise.f_div(scale)?);
    let found = own.f_div(&own.f_add_scalar(share)?)?.f_log()?;
    let refused = noise.f_add_scalar(share)?.f_log()?.f_neg()?.f_add_scalar(share.ln())?;
    found.f_add(&refused.f_sum_dim_intlist([1].as_slice(), false, None)?)?.f_neg()
}
