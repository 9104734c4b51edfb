//! How good a representation is: what simple classifiers make of it. Both need the label of every training image, so they
//! judge a representation and take no part in a run.

use tch::{Kind, Reduction, Tensor};

use super::cluster::upload;
use super::contrast::unit;
use super::device::{Device, load_linalg};
use super::error::{EngineError, TorchResult, While};
use super::guard;
use super::predict::Matrix;
use super::settings::Scale;

/// Features with the class of each row.
#[derive(Clone, Copy)]
pub struct Judged<'a> {
    /// n x d.
    pub features_nd: &'a Matrix,
    /// One for each row.
    pub labels: &'a [usize],
}

/// The accuracy on `test` of the weighted vote of the `k` training rows with the highest cosine, each with weight exp(cosine /
/// `temperature`): Wu et al. 2018, with k = 200 and 0.07 or, for small images, 0.1. Fewer rows vote where there are fewer.
pub fn knn_accuracy(
    train: Judged<'_>,
    test: Judged<'_>,
    n_classes: usize,
    (k, temperature): (usize, f64),
    device: &Device,
) -> Result<f64, EngineError> {
    check(train, test, n_classes)?;
    let doing = "judging features by their neighbours";
    let _no_grad = tch::no_grad_guard();
    let votes = || -> TorchResult<f64> {
        let (train_nd, labels) = (unit(&upload(train.features_nd, device)?)?, classes(train.labels, device)?);
        let (test_nd, targets) = (unit(&upload(test.features_nd, device)?)?, classes(test.labels, device)?);
        let k = k.min(train.labels.len()) as i64;
        let mut n_right = 0.0;
        for (block, targets) in test_nd.f_split(512, 0)?.iter().zip(targets.f_split(512, 0)?) {
            let (cosines, near) = block.f_mm(&train_nd.f_tr()?)?.f_topk(k, 1, true, true)?;
            let weights = cosines.f_div_scalar(temperature)?.f_exp()?;
            let mut votes = Tensor::f_zeros([block.size()[0], n_classes as i64], (Kind::Float, block.device()))?;
            let of_near = labels.f_index_select(0, &near.f_view([-1])?)?.f_view_as(&near)?;
            let _ = votes.f_scatter_add_(1, &of_near, &weights)?;
            n_right += votes.f_argmax(1, false)?.f_eq_tensor(&targets)?.f_sum(Kind::Double)?.f_double_value(&[])?;
        }
        Ok(n_right / test.labels.len() as f64)
    };
    guard::calls(votes).doing(doing)
}

/// How many training rows the penalty is chosen on, at the most.
const MOST_TO_CHOOSE_FROM: usize = 10_000;
/// The L2 penalties that [`linear_accuracy`] chooses from, per row.
const PENALTIES: [f64; 5] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1];

/// The accuracy on `test` of a linear classifier of the features (logistic regression, the features centred and brought to a mean
/// variance of 1 with one scale for all, so that a rotation changes nothing). Its L2 penalty is the one that does best on every fifth of at most 10 000 training rows; then all train it.
pub fn linear_accuracy(
    train: Judged<'_>,
    test: Judged<'_>,
    n_classes: usize,
    device: &Device,
) -> Result<f64, EngineError> {
    check(train, test, n_classes)?;
    let doing = "judging features by a linear classifier";
    let judge = || -> TorchResult<f64> {
        let (x_nd, labels) = (upload(train.features_nd, device)?, classes(train.labels, device)?);
        let standard = Moments::of(&x_nd)?.standard(Scale::Shared)?;
        let (x_nd, test_nd) = (standard.apply(&x_nd)?, standard.apply(&upload(test.features_nd, device)?)?);
        let n = train.labels.len();
        let every = n.div_ceil(MOST_TO_CHOOSE_FROM);
        let part = |holds: fn(usize) -> bool| -> TorchResult<(Tensor, Tensor)> {
            let rows = (0..n).step_by(every).enumerate().filter(|(i, _)| holds(*i)).map(|(_, row)| row as i64);
            let rows: Vec<i64> = rows.collect();
            let rows = Tensor::f_from_slice(&rows)?.f_to_device(device.torch())?;
            Ok((x_nd.f_index_select(0, &rows)?, labels.f_index_select(0, &rows)?))
        };
        let (fit, held) = (part(|i| i % 5 != 4)?, part(|i| i % 5 == 4)?);
        let mut best = (-1.0, PENALTIES[0]);
        for penalty in PENALTIES {
            let found = logistic((&fit.0, &fit.1), n_classes, &Costs::penalty(penalty))?;
            let accuracy = accuracy(&found, &held.0, &held.1)?;
            if accuracy > best.0 {
                best = (accuracy, penalty);
            }
        }
        let weights = logistic((&x_nd, &labels), n_classes, &Costs::penalty(best.1))?;
        accuracy(&weights, &test_nd, &classes(test.labels, device)?)
    };
    guard::calls(judge).doing(doing)
}

fn accuracy((weights, bias): &(Tensor, Tensor), x_nd: &Tensor, labels: &Tensor) -> TorchResult<f64> {
    let _no_grad = tch::no_grad_guard();
    let right = x_nd.f_linear(weights, Some(bias))?.f_argmax(1, false)?.f_eq_tensor(labels)?;
    right.f_to_kind(Kind::Double)?.f_mean(Kind::Double)?.f_double_value(&[])
}

/// The mean and the standard deviation of each feature over a whole set.
#[derive(Debug)]
pub(super) struct Moments {
    mean_d: Tensor,
    std_d: Tensor,
}

impl Moments {
    pub(super) fn of(values_nd: &Tensor) -> TorchResult<Self> {
        Ok(Moments {
            mean_d: values_nd.f_mean_dim([0].as_slice(), false, None)?,
            std_d: values_nd.f_std_dim([0].as_slice(), false, false)?,
        })
    }

    /// The same moments without a copy.
    pub(super) fn again(&self) -> Self {
        Moments { mean_d: self.mean_d.shallow_clone(), std_d: self.std_d.shallow_clone() }
    }

    /// How features are brought to mean 0 and the scale that a probe wants.
    pub(super) fn standard(&self, scale: Scale) -> TorchResult<Standard> {
        let scale = match scale {
            Scale::Shared => self.std_d.f_square()?.f_mean(Kind::Float)?.f_sqrt()?,
            Scale::Columns => self.std_d.shallow_clone(),
        };
        // Of features that are all the same nothing is left, instead of nothing divided by nothing.
        let inverse_scale = scale.f_clamp_min(1e-6)?.f_reciprocal()?;
        Ok(Standard { mean_d: self.mean_d.shallow_clone(), inverse_scale })
    }
}

/// Centres features and scales them.
pub(super) struct Standard {
    mean_d: Tensor,
    /// d numbers, or one.
    pub(super) inverse_scale: Tensor,
}

impl Standard {
    pub(super) fn apply(&self, x_nd: &Tensor) -> TorchResult<Tensor> {
        x_nd.f_sub(&self.mean_d)?.f_mul(&self.inverse_scale)
    }

    /// The weights and biases that say of features as they are what these say of standard ones.
    pub(super) fn undo(&self, weights_cd: &Tensor, bias_c: &Tensor) -> TorchResult<(Tensor, Tensor)> {
        let weights_cd = weights_cd.f_mul(&self.inverse_scale)?;
        let bias_c = bias_c.f_sub(&weights_cd.f_mv(&self.mean_d)?)?;
        Ok((weights_cd, bias_c))
    }
}

/// How many steps L-BFGS remembers, and how many it takes at the most.
const MEMORY: usize = 10;
const MAX_STEPS: usize = 100;

/// What a classifier is to keep small.
pub(super) struct Costs {
    /// The L2 penalty on the weights, beside the mean loss of a row.
    pub(super) penalty: f64,
    /// What the rows of each class count; 1 in the mean over all rows.
    pub(super) weights_c: Option<Tensor>,
    /// The share of the target that is spread over all classes.
    pub(super) smoothing: f64,
}

impl Costs {
    fn penalty(penalty: f64) -> Self {
        Self { penalty, weights_c: None, smoothing: 0.0 }
    }

    /// The mean negative log-likelihood.
    pub(super) fn nll(&self, logits_nc: &Tensor, labels: &Tensor) -> TorchResult<Tensor> {
        let weights_c = self.weights_c.as_ref();
        let sum = logits_nc.f_cross_entropy_loss(labels, weights_c, Reduction::Sum, -100, self.smoothing)?;
        sum.f_div_scalar(labels.size()[0])
    }
}

/// Multinomial logistic regression by L-BFGS (Nocedal 1980) on all rows at once: weights, classes x d, and biases, which are not
/// penalised.
///
/// With a penalty the best weights are combinations of the rows. Where there are fewer rows than features, they are looked for
/// among those: in coordinates of the space that the rows span, in which lengths and products are the same.
pub(super) fn logistic(
    (x_nd, labels): (&Tensor, &Tensor),
    n_classes: usize,
    costs: &Costs,
) -> TorchResult<(Tensor, Tensor)> {
    if x_nd.size()[0] >= x_nd.size()[1] {
        return descend((x_nd, labels), n_classes, costs);
    }
    if x_nd.device().is_cuda() {
        load_linalg()?;
    }
    let x_nd = x_nd.f_to_kind(Kind::Double)?;
    let (lengths, axes) = x_nd.f_mm(&x_nd.f_tr()?)?.f_linalg_eigh("L")?;
    let kept = lengths.f_gt_tensor(&lengths.f_max()?.f_mul_scalar(1e-10)?)?.f_nonzero()?.f_view([-1])?;
    let (roots, axes) = (lengths.f_index_select(0, &kept)?.f_sqrt()?, axes.f_index_select(1, &kept)?);
    let base_rd = axes.f_div(&roots)?.f_tr()?.f_mm(&x_nd)?.f_to_kind(Kind::Float)?;
    let x_nr = axes.f_mul(&roots)?.f_to_kind(Kind::Float)?;
    let (weights_cr, bias) = descend((&x_nr, labels), n_classes, costs)?;
    Ok((weights_cr.f_mm(&base_rd)?, bias))
}

fn descend((x_nd, labels): (&Tensor, &Tensor), n_classes: usize, costs: &Costs) -> TorchResult<(Tensor, Tensor)> {
    let (d, c) = (x_nd.size()[1], n_classes as i64);
    let parts = |flat: &Tensor| -> TorchResult<(Tensor, Tensor)> {
        Ok((flat.f_narrow(0, 0, c * d)?.f_view([c, d])?, flat.f_narrow(0, c * d, c)?))
    };
    let cost = |flat: &Tensor| -> TorchResult<(f64, Tensor)> {
        let flat = flat.f_detach()?.f_requires_grad_(true)?;
        let (cost, gradient) = tch::with_grad(|| -> TorchResult<(Tensor, Tensor)> {
            let (weights, bias) = parts(&flat)?;
            let nll = costs.nll(&x_nd.f_linear(&weights, Some(&bias))?, labels)?;
            let cost = nll.f_add(&weights.f_square()?.f_sum(Kind::Float)?.f_mul_scalar(0.5 * costs.penalty)?)?;
            let gradient = Tensor::f_run_backward(&[&cost], &[&flat], false, false)?.remove(0);
            Ok((cost, gradient))
        })?;
        Ok((cost.f_double_value(&[])?, gradient.f_detach()?))
    };
    let mut at = Tensor::f_zeros(c * d + c, (Kind::Float, x_nd.device()))?;
    let (mut height, mut slope) = cost(&at)?;
    let mut history: Vec<(Tensor, Tensor, f64)> = Vec::new();
    for _ in 0..MAX_STEPS {
        let direction = descent(&slope, &history)?;
        let fall = dot(&direction, &slope)?;
        if fall > -1e-10 {
            break;
        }
        let mut length = if history.is_empty() { 1.0 / dot(&slope, &slope)?.sqrt().max(1.0) } else { 1.0 };
        let (next, (lower, flatter)) = loop {
            let next = at.f_add(&direction.f_mul_scalar(length)?)?;
            let found = cost(&next)?;
            // Armijo's condition; a step this short means that f32 sees no descent any more.
            if found.0 <= height + 1e-4 * length * fall || length < 1e-6 {
                break (next, found);
            }
            length *= 0.5;
        };
        if lower > height {
            break;
        }
        let (step, change) = (next.f_sub(&at)?, flatter.f_sub(&slope)?);
        let curvature = dot(&step, &change)?;
        if curvature > 1e-12 {
            history.push((step, change, curvature));
            if history.len() > MEMORY {
                drop(history.remove(0));
            }
        }
        let gained = height - lower;
        (at, height, slope) = (next, lower, flatter);
        if gained < 1e-7 * height.abs().max(1e-3) {
            break;
        }
    }
    parts(&at)
}

/// The two-loop recursion: minus the inverse Hessian, as far as the history knows it, times the slope.
fn descent(slope: &Tensor, history: &[(Tensor, Tensor, f64)]) -> TorchResult<Tensor> {
    let mut direction = slope.f_neg()?;
    let mut shares = Vec::new();
    for (step, change, curvature) in history.iter().rev() {
        let share = dot(step, &direction)? / curvature;
        direction = direction.f_sub(&change.f_mul_scalar(share)?)?;
        shares.push(share);
    }
    if let Some((_, change, curvature)) = history.last() {
        direction = direction.f_mul_scalar(curvature / dot(change, change)?)?;
    }
    for ((step, change, curvature), share) in history.iter().zip(shares.iter().rev()) {
        let back = dot(change, &direction)? / curvature;
        direction = direction.f_add(&step.f_mul_scalar(share - back)?)?;
    }
    Ok(direction)
}

fn dot(a: &Tensor, b: &Tensor) -> TorchResult<f64> {
    a.f_dot(b)?.f_double_value(&[])
}

fn classes(labels: &[usize], device: &Device) -> TorchResult<Tensor> {
    let labels: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
    Tensor::f_from_slice(&labels)?.f_to_device(device.torch())
}

fn check(train: Judged<'_>, test: Judged<'_>, n_classes: usize) -> Result<(), EngineError> {
    let whole = |part: Judged<'_>| {
        part.labels.len() == part.features_nd.n_rows
            && !part.labels.is_empty()
            && part.labels.iter().all(|&label| label < n_classes)
    };
    if whole(train) && whole(test) && train.features_nd.n_cols == test.features_nd.n_cols {
        return Ok(());
    }
    Err(EngineError::Input("features and labels of a judgement do not fit each other".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::Rng;

    /// Three classes at the corners of a triangle, with noise; the class is the row modulo 3.
    fn corners(n: usize, noise: f64, seed: u8) -> (Matrix, Vec<usize>) {
        let mut rng = Rng::from_seed([seed; 32]);
        let corner = [[3.0, 0.0], [0.0, 3.0], [-3.0, -3.0]];
        let labels: Vec<usize> = (0..n).map(|i| i % 3).collect();
        let values = labels.iter().flat_map(|&c| corner[c]).map(|at| (at + noise * rng.normal()) as f32).collect();
        (Matrix { values, n_rows: n, n_cols: 2 }, labels)
    }

    fn judged((features_nd, labels): &(Matrix, Vec<usize>)) -> Judged<'_> {
        Judged { features_nd, labels }
    }

    #[test]
    fn separate_classes_are_told_apart_and_noise_is_not() {
        let device = Device::cpu_for_tests();
        for (noise, least, most) in [(0.3, 0.999, 1.0), (100.0, 0.2, 0.5)] {
            let (train, test) = (corners(300, noise, 1), corners(300, noise, 2));
            let (train, test) = (judged(&train), judged(&test));
            let by_neighbours = knn_accuracy(train, test, 3, (20, 0.1), &device).unwrap();
            let by_line = linear_accuracy(train, test, 3, &device).unwrap();
            for found in [by_neighbours, by_line] {
                assert!((least..=most).contains(&found), "noise {noise}: {found}");
            }
        }
    }

    /// Gradient 0 is what defines the optimum: mean of (p - y) x^T + penalty W.
    #[test]
    fn the_logistic_fit_is_an_optimum() {
        let (x, labels) = corners(90, 3.0, 3);
        let device = Device::cpu_for_tests();
        let (x_nd, y) = (upload(&x, &device).unwrap(), classes(&labels, &device).unwrap());
        let (weights, bias) = logistic((&x_nd, &y), 3, &Costs::penalty(1e-2)).unwrap();
        let probs = x_nd.linear(&weights, Some(&bias)).softmax(1, Kind::Float);
        let error = (probs - y.one_hot(3).to_kind(Kind::Float)) / 90.0;
        let gradient = error.tr().mm(&x_nd) + weights * 1e-2;
        // L-BFGS stops where f32 sees no descent: slopes of order 1 fall to some 1e-4.
        assert!(gradient.abs().max().double_value(&[]) < 1e-3, "{gradient:?}");
        assert!(error.sum_dim_intlist([0].as_slice(), false, Kind::Float).abs().max().double_value(&[]) < 1e-3);
    }

    #[test]
    fn a_vote_counts_by_its_cosine() {
        let device = Device::cpu_for_tests();
        // Two rows of class 1 at right angles to the asked one are outvoted by one of class 0 beside it.
        let train = Matrix { values: vec![1.0, 0.1, 0.0, 1.0, 0.0, 2.0], n_rows: 3, n_cols: 2 };
        let test = Matrix { values: vec![5.0, 0.0], n_rows: 1, n_cols: 2 };
        let judge = |temperature| {
            let train = Judged { features_nd: &train, labels: &[0, 1, 1] };
            knn_accuracy(train, Judged { features_nd: &test, labels: &[0] }, 2, (200, temperature), &device).unwrap()
        };
        assert_eq!((judge(0.1), judge(1000.0)), (1.0, 0.0));
    }
}
