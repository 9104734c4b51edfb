//! The update rules, on one flat tensor of parameters.

use tch::{Kind, Tensor};

use super::error::TorchResult;
use super::layers::{Slot, pieces};
use super::settings::{AdamW, Lars, Optimizer, Schedule, Sgd, Training};

/// An update rule with its memory of earlier gradients.
pub(super) enum Update {
    Sgd { settings: Sgd, velocity: Tensor },
    AdamW { settings: AdamW, mean: Tensor, square: Tensor, n_steps: i32 },
    Lars { settings: Lars, velocity: Tensor },
}

/// A running average of the weights, which predicts better than they do at the end of a short step.
pub(super) struct Average {
    decay: f64,
    n_steps: i32,
    pub(super) params: Tensor,
}

impl Average {
    pub(super) fn new(decay: f64, params: &Tensor) -> TorchResult<Self> {
        let _no_grad = tch::no_grad_guard();
        Ok(Self { decay, n_steps: 0, params: params.f_to_dtype(Kind::Float, false, true)? })
    }

    /// Takes up the weights after a step. In the first steps less of the average stays, (1 + t) / (10 + t), or it would be made
    /// of the random start for long; TensorFlow's averages, which the published code uses, know the same rule.
    pub(super) fn follow(&mut self, params: &Tensor) -> TorchResult<()> {
        self.n_steps += 1;
        let young = f64::from(1 + self.n_steps) / f64::from(10 + self.n_steps);
        self.params.f_lerp_(&params.f_detach()?, 1.0 - self.decay.min(young)).map(drop)
    }
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
            Optimizer::Lars(settings) => Update::Lars { settings, velocity: zeros()? },
        })
    }

    /// What it remembers, by name, to be stored and taken up again; the number of steps goes apart.
    pub(super) fn memory(&mut self) -> (Vec<(&'static str, &mut Tensor)>, Option<&mut i32>) {
        match self {
            Update::Sgd { velocity, .. } | Update::Lars { velocity, .. } => (vec![("velocity", velocity)], None),
            Update::AdamW { mean, square, n_steps, .. } => (vec![("mean", mean), ("square", square)], Some(n_steps)),
        }
    }

    /// Moves `params`, which are made of `slots`, against `gradient`, which is used up. Call it without gradient tracking.
    pub(super) fn step(
        &mut self,
        slots: &[Slot],
        params: &mut Tensor,
        gradient: &mut Tensor,
        lr: f64,
    ) -> TorchResult<()> {
        match self {
            Update::Sgd { settings, velocity } => sgd_step(settings, velocity, params, gradient, lr),
            Update::AdamW { settings, mean, square, n_steps } => {
                *n_steps += 1;
                adamw_step(settings, (mean, square, *n_steps), params, gradient, lr)
            }
            Update::Lars { settings, velocity } => lars_step(settings, velocity, slots, params, gradient, lr),
        }
    }
}

fn sgd_step(sgd: &Sgd, velocity: &mut Tensor, params: &mut Tensor, gradient: &mut Tensor, lr: f64) -> TorchResult<()> {
    add_scaled(gradient, params, sgd.weight_decay)?;
    let _ = velocity.f_mul_scalar_(sgd.momentum)?.f_add_(gradient)?;
    if !sgd.nesterov {
        return add_scaled(params, velocity, -lr);
    }
    add_scaled(gradient, velocity, sgd.momentum)?;
    add_scaled(params, gradient, -lr)
}

/// The share of a weight's norm that its step may have stands in the gradient before momentum sees it, as in SimCLR's code.
fn lars_step(
    lars: &Lars,
    velocity: &mut Tensor,
    slots: &[Slot],
    params: &mut Tensor,
    gradient: &mut Tensor,
    lr: f64,
) -> TorchResult<()> {
    let (weights, gradients) = (pieces(params, slots)?, pieces(gradient, slots)?);
    for ((weight, mut gradient), _) in weights.iter().zip(gradients).zip(slots).filter(|(_, slot)| slot.is_weight()) {
        add_scaled(&mut gradient, weight, lars.weight_decay)?;
        let (size, push) = (weight.f_norm()?, gradient.f_norm()?);
        let ratio = size.f_mul_scalar(lars.trust)?.f_div(&push.f_clamp_min(1e-12)?)?;
        let moves = size.f_gt(0.0)?.f_logical_and(&push.f_gt(0.0)?)?;
        let _ = gradient.f_mul_(&ratio.f_where_self(&moves, &ratio.f_ones_like()?)?)?;
    }
    let _ = velocity.f_mul_scalar_(lars.momentum)?;
    add_scaled(velocity, gradient, lr)?;
    params.f_sub_(velocity).map(drop)
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
    let warmup = training.warmup_epochs as f64 / training.epochs as f64;
    training.optimizer.lr()
        * match training.schedule {
            Schedule::Cosine => height(step, n_steps, warmup, cosine),
            Schedule::Step => height(step, n_steps, warmup, |done, _| drops(&training.milestones, 0.1, done)),
            Schedule::Constant => height(step, n_steps, warmup, |_, _| 1.0),
        }
}

/// The share of the peak at `step`, from 0, of `n_steps`: over the share `warmup` of them it rises to 1, then `fall` says, from
/// the shares of the steps that are done and that were for warm-up.
pub(super) fn height(step: usize, n_steps: usize, warmup: f64, fall: impl Fn(f64, f64) -> f64) -> f64 {
    let done = step as f64 / n_steps as f64;
    // A share of steps that is a whole number may miss it by a rounding error.
    if done < warmup { (step + 1) as f64 / (warmup * n_steps as f64 - 1e-6).ceil() } else { fall(done, warmup) }
}

/// Half a cosine from 1 down to 0.
pub(super) fn cosine(done: f64, warmup: f64) -> f64 {
    0.5 * (1.0 + (std::f64::consts::PI * (done - warmup) / (1.0 - warmup)).cos())
}

/// Times `factor` at each share of the steps that is done.
pub(super) fn drops(at: &[f64], factor: f64, done: f64) -> f64 {
    factor.powi(at.iter().filter(|&&at| at <= done).count() as i32)
}

#[cfg(test)]
mod tests {
    use super::super::layers::Plan;
    use super::*;

    /// Three steps on two parameters whose gradient is the parameter itself, against the textbook in f64.
    fn check(optimizer: Optimizer, mut expected_step: impl FnMut(&mut f64, f64, usize, usize)) {
        let plan = Plan::default();
        let slots = &plan.params;
        let mut params = Tensor::from_slice(&[1.0f32, -2.0]);
        let mut update = Update::new(optimizer, &params).unwrap();
        let mut expected = [1.0, -2.0];
        for (step, lr) in [(1, 0.1), (2, 0.05), (3, 0.01)] {
            let mut gradient = params.copy();
            update.step(slots, &mut params, &mut gradient, lr).unwrap();
            expected.iter_mut().enumerate().for_each(|(i, param)| expected_step(param, lr, step, i));
            for (i, expected) in expected.iter().enumerate() {
                let got = params.double_value(&[i as i64]);
                // f32 arithmetic of order 1, a dozen operations.
                assert!((got - expected).abs() < 1e-6, "step {step}: {got} is not {expected}");
            }
        }
    }

    #[test]
    fn sgd_has_decay_in_the_gradient_and_momentum_of_both_kinds() {
        for nesterov in [true, false] {
            let mut velocity = [0.0; 2];
            check(Optimizer::Sgd(Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.01, nesterov }), |param, lr, _, i| {
                let gradient = *param + 0.01 * *param;
                velocity[i] = 0.9 * velocity[i] + gradient;
                *param -= lr * if nesterov { gradient + 0.9 * velocity[i] } else { velocity[i] };
            });
        }
    }

    /// A layer of two weights and a bias; the gradient is the parameter itself.
    #[test]
    fn lars_scales_weights_by_their_norm_and_leaves_biases_alone() {
        let mut plan = Plan::default();
        plan.linear("fc", 2, 1);
        let mut params = Tensor::from_slice(&[3.0f32, 4.0, 2.0]);
        let lars = Lars { lr: 1.0, momentum: 0.5, weight_decay: 0.1, trust: 0.01 };
        let mut update = Update::new(Optimizer::Lars(lars), &params).unwrap();
        let (mut expected, mut velocity) = ([3.0f64, 4.0, 2.0], [0.0; 3]);
        for lr in [1.0, 0.5] {
            let mut gradient = params.copy();
            update.step(&plan.params, &mut params, &mut gradient, lr).unwrap();
            // Gradient and decay point along the weight: its scaled step has 0.01 of its norm, whatever its size.
            let pushes = [expected[0] * 0.01, expected[1] * 0.01, expected[2]];
            for (i, push) in pushes.into_iter().enumerate() {
                velocity[i] = 0.5 * velocity[i] + lr * push;
                expected[i] -= velocity[i];
                let got = params.double_value(&[i as i64]);
                assert!((got - expected[i]).abs() < 1e-6, "{i}: {got} is not {}", expected[i]);
            }
        }
    }

    #[test]
    fn adamw_decays_apart_from_the_gradient() {
        let (mut mean, mut square) = ([0.0; 2], [0.0; 2]);
        check(Optimizer::AdamW(AdamW { lr: 0.1, weight_decay: 0.1 }), |param, lr, step, i| {
            let gradient = *param;
            mean[i] = 0.9 * mean[i] + 0.1 * gradient;
            square[i] = 0.999 * square[i] + 0.001 * gradient * gradient;
            let unbiased = |value: f64, beta: f64| value / (1.0 - beta.powi(step as i32));
            *param *= 1.0 - lr * 0.1;
            *param -= lr * unbiased(mean[i], 0.9) / (unbiased(square[i], 0.999).sqrt() + 1e-8);
        });
    }

    #[test]
    fn an_average_follows_the_weights() {
        let mut average = Average::new(0.9, &Tensor::from_slice(&[1.0f32])).unwrap();
        let mut expected = 1.0;
        for step in 1..200 {
            let weight = f64::from(step).sqrt();
            average.follow(&Tensor::from_slice(&[weight as f32])).unwrap();
            let decay = f64::min(0.9, f64::from(1 + step) / f64::from(10 + step));
            expected = decay * expected + (1.0 - decay) * weight;
            // Errors of f32 fade as the average forgets.
            assert!((average.params.double_value(&[0]) - expected).abs() < 1e-5, "step {step}");
        }
    }

    #[test]
    fn learning_rates_follow_their_schedule() {
        let training =
            |schedule, warmup_epochs| Training { schedule, warmup_epochs, epochs: 10, ..Training::default() };
        let rows = [
            (training(Schedule::Constant, 0), 50, 0.1),
            (training(Schedule::Cosine, 0), 0, 0.1),
            (training(Schedule::Cosine, 0), 50, 0.05),
            (training(Schedule::Cosine, 2), 0, 0.005),
            (training(Schedule::Cosine, 2), 19, 0.1),
            (training(Schedule::Cosine, 2), 20, 0.1),
            (training(Schedule::Cosine, 2), 60, 0.05),
            (training(Schedule::Step, 0), 49, 0.1),
            (training(Schedule::Step, 0), 50, 0.01),
            (training(Schedule::Step, 0), 99, 0.001),
        ];
        for (training, step, expected) in rows {
            let got = learning_rate(&training, step, 100);
            // Each is a handful of f64 operations.
            assert!((got - expected).abs() < 1e-12, "{:?} at step {step}: {got}", training.schedule);
        }
    }
}
