//! The update rules, on one flat tensor of parameters.

use tch::{Kind, Tensor};

use super::error::TorchResult;
use super::settings::{AdamW, Optimizer, Schedule, Sgd, Training};

/// An update rule with its memory of earlier gradients.
pub(super) enum Update {
    Sgd { settings: Sgd, velocity: Tensor },
    AdamW { settings: AdamW, mean: Tensor, square: Tensor, n_steps: i32 },
}

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const ADAM_EPS: f64 = 1e-8;

impl Update {
    pub(super) fn new(optimizer: Optimizer, params: &Tensor) -> TorchResult<Self> {
        let zeros = || params.f_detach()?.f_zeros_like();
        Ok(match optimizer {
            Optimizer::Sgd(settings) => Update::Sgd { settings, velocity: zeros()? },
            Optimizer::AdamW(settings) => Update::AdamW { settings, mean: zeros()?, square: zeros()?, n_steps: 0 },
        })
    }

    /// Moves `params` against `gradient`, which is used up. Call it without gradient tracking.
    pub(super) fn step(&mut self, params: &mut Tensor, gradient: &mut Tensor, lr: f64) -> TorchResult<()> {
        match self {
            Update::Sgd { settings, velocity } => sgd_step(settings, velocity, params, gradient, lr),
            Update::AdamW { settings, mean, square, n_steps } => {
                *n_steps += 1;
                adamw_step(settings, (mean, square, *n_steps), params, gradient, lr)
            }
        }
    }
}

fn sgd_step(sgd: &Sgd, velocity: &mut Tensor, params: &mut Tensor, gradient: &mut Tensor, lr: f64) -> TorchResult<()> {
    add_scaled(gradient, params, sgd.weight_decay)?;
    let _ = velocity.f_mul_scalar_(sgd.momentum)?.f_add_(gradient)?;
    add_scaled(gradient, velocity, sgd.momentum)?;
    add_scaled(params, gradient, -lr)
}

fn adamw_step(
    adamw: &AdamW,
    (mean, square, n_steps): (&mut Tensor, &mut Tensor, i32),
    params: &mut Tensor,
    gradient: &Tensor,
    lr: f64,
) -> TorchResult<()> {
    let _ = mean.f_lerp_(gradient, 1.0 - BETA_1)?;
    let _ = square.f_lerp_(&gradient.f_square()?, 1.0 - BETA_2)?;
    let (bias_1, bias_2) = (1.0 - BETA_1.powi(n_steps), 1.0 - BETA_2.powi(n_steps));
    let root = square.f_sqrt()?.f_div_scalar_(bias_2.sqrt())?.f_add_scalar_(ADAM_EPS)?;
    let _ = params.f_mul_scalar_(1.0 - lr * adamw.weight_decay)?;
    let _ = params.f_addcdiv_(&mean.f_mul_scalar(-lr / bias_1)?, &root)?;
    Ok(())
}

/// `sum += scale * term` in one pass over memory; tch leaves out the factor of torch's own `add_`.
fn add_scaled(sum: &mut Tensor, term: &Tensor, scale: f64) -> TorchResult<()> {
    let scale = Tensor::f_full([], scale, (Kind::Float, sum.device()))?;
    sum.f_addcmul_(term, &scale).map(drop)
}

/// The learning rate of `step`, from 0, of `n_steps`.
pub(super) fn learning_rate(training: &Training, step: usize, n_steps: usize) -> f64 {
    let done = step as f64 / n_steps as f64;
    let warmup = training.warmup_epochs as f64 / training.epochs as f64;
    let peak = training.optimizer.lr();
    if done < warmup {
        return peak * (step as f64 + 1.0) / (warmup * n_steps as f64).ceil();
    }
    match training.schedule {
        Schedule::Cosine => peak * 0.5 * (1.0 + (std::f64::consts::PI * (done - warmup) / (1.0 - warmup)).cos()),
        Schedule::Step => peak * 0.1f64.powi(training.milestones.iter().filter(|&&at| at <= done).count() as i32),
        Schedule::Constant => peak,
    }
}
