//! What a network is to learn in a step: the loss of each learner.

use coldstart_plugin_api::Rng;
use tch::{Kind, Reduction, Tensor};

use super::super::error::TorchResult;
use super::super::model::Model;
use super::super::settings::{FixMatch, MixMatch, Training};

/// How much each label counts, and how sharp it is.
pub(super) struct Labels {
    pub(super) smoothing: f64,
    /// A weight for each class, with mean 1 over the labelled images.
    pub(super) weights_c: Option<Tensor>,
}

impl Labels {
    pub(super) fn new(
        settings: &Training,
        labels: &[usize],
        n_classes: usize,
        device: tch::Device,
    ) -> TorchResult<Self> {
        let weights_c = settings.class_balance.then(|| {
            let weights: Vec<f32> = class_weights(labels, n_classes);
            Tensor::f_from_slice(&weights)?.f_to_device(device)
        });
        Ok(Self { smoothing: settings.label_smoothing, weights_c: weights_c.transpose()? })
    }

    /// The mean cross-entropy of a batch.
    pub(super) fn loss(&self, logits_nc: &Tensor, labels_n: &Tensor) -> TorchResult<Tensor> {
        let of = |reduction| {
            logits_nc.f_cross_entropy_loss(labels_n, self.weights_c.as_ref(), reduction, -100, self.smoothing)
        };
        match self.weights_c {
            None => of(Reduction::Mean),
            // torch's mean divides by the weights' sum, which differs from batch to batch.
            Some(_) => of(Reduction::Sum)?.f_div_scalar(labels_n.size()[0]),
        }
    }
}

/// What each class's images count, so that all classes with images count the same and an image counts 1 in the mean.
pub(in crate::engine) fn class_weights(labels: &[usize], n_classes: usize) -> Vec<f32> {
    let mut counts = vec![0usize; n_classes];
    labels.iter().for_each(|&label| counts[label] += 1);
    let n_seen = counts.iter().filter(|&&count| count > 0).count();
    let weight = |&count: &usize| if count == 0 { 0.0 } else { labels.len() as f32 / (n_seen * count) as f32 };
    counts.iter().map(weight).collect()
}

/// The loss of a part of a step, and what the network said of the labelled images.
pub(super) struct Heard {
    pub(super) loss: Tensor,
    pub(super) logits_nc: Tensor,
}

/// How much of the step's labelled and unlabelled images a part has.
#[derive(Clone, Copy)]
pub(super) struct Shares {
    pub(super) labelled: f64,
    pub(super) unlabelled: f64,
}

pub(super) fn supervised(
    (model, kind): (&Model, Kind),
    labels: &Labels,
    (x_nchw, labels_n): (&Tensor, &Tensor),
    shares: Shares,
) -> TorchResult<Heard> {
    let pass = model.training_pass(kind)?;
    let logits_nc = model.forward(&pass, x_nchw)?;
    Ok(Heard { loss: share(labels.loss(&logits_nc, labels_n)?, shares.labelled)?, logits_nc })
}

/// How often the labels name each class, and the network lately; in shares.
pub(super) struct Marginals {
    told_c: Tensor,
    said_c: Option<Tensor>,
}

impl Marginals {
    /// Each class is counted once more than it was told: a class that chance left out of forty labels may still be guessed. The
    /// paper has enough labels to leave that out.
    pub(super) fn new(labels: &[usize], n_classes: usize, device: tch::Device) -> TorchResult<Self> {
        let mut counts = vec![1.0f32; n_classes];
        labels.iter().for_each(|&label| counts[label] += 1.0);
        let told_c = Tensor::f_from_slice(&counts)?.f_div_scalar((labels.len() + n_classes) as i64)?;
        Ok(Self { told_c: told_c.f_to_device(device)?, said_c: None })
    }

    /// The probabilities with every class raised or lowered as the labels name it more or less often than the network does, over
    /// some 128 steps.
    fn align(&mut self, probs_nc: &Tensor) -> TorchResult<Tensor> {
        let now_c = probs_nc.f_mean_dim([0].as_slice(), false, None)?;
        let said_c = match &mut self.said_c {
            Some(said_c) => said_c.f_lerp_(&now_c, 1.0 / 128.0)?,
            None => now_c,
        };
        let raised_nc = probs_nc.f_mul(&self.told_c.f_div(&said_c.f_clamp_min(1e-6)?)?)?;
        self.said_c = Some(said_c);
        raised_nc.f_div(&raised_nc.f_sum_dim_intlist([1].as_slice(), true, None)?)
    }
}

/// Cross-entropy of the labelled images, and of the strongly changed ones with what the network says of the weakly changed ones,
/// where it is sure of it.
///
/// The network looks at the weakly changed images apart from the others, as one of the forms of the method in use does: its
/// batch-norm then sees them on their own, and nothing is spent on gradients that are thrown away.
pub(super) fn fixmatch(
    (model, kind): (&Model, Kind),
    (labels, fixmatch, marginals): (&Labels, FixMatch, Option<&mut Marginals>),
    (x_nchw, labels_n): (&Tensor, &Tensor),
    (weak_nchw, strong_nchw): (&Tensor, &Tensor),
    shares: Shares,
) -> TorchResult<Heard> {
    let (sure_n, guess_n) = {
        let _no_grad = tch::no_grad_guard();
        let pass = model.training_pass(kind)?;
        let mut probs_nc = model.forward(&pass, weak_nchw)?.f_softmax(1, Kind::Float)?;
        if let Some(marginals) = marginals {
            probs_nc = marginals.align(&probs_nc)?;
        }
        let (highest_n, guess_n) = probs_nc.f_max_dim(1, false)?;
        (highest_n.f_ge(fixmatch.threshold)?.f_to_kind(Kind::Float)?, guess_n)
    };
    let n = labels_n.size()[0];
    let pass = model.training_pass(kind)?;
    let all_nc = model.forward(&pass, &Tensor::f_cat(&[x_nchw, strong_nchw], 0)?)?;
    let (logits_nc, strong_nc) = (all_nc.f_narrow(0, 0, n)?, all_nc.f_narrow(0, n, guess_n.size()[0])?);
    let guessed = strong_nc.f_cross_entropy_loss(&guess_n, None::<Tensor>, Reduction::None, -100, 0.0)?;
    let unlabelled = guessed.f_mul(&sure_n)?.f_mean(Kind::Float)?;
    let labelled = share(labels.loss(&logits_nc, labels_n)?, shares.labelled)?;
    let loss = labelled.f_add(&unlabelled.f_mul_scalar(fixmatch.weight * shares.unlabelled)?)?;
    Ok(Heard { loss, logits_nc })
}

/// Cross-entropy of mixtures that are mostly a labelled image, and squared distance from the guessed probabilities of those that
/// are mostly an unlabelled one.
///
/// The guesses come from a pass of their own, and the mixtures go through the network together; the released code keeps
/// batch-norm's running statistics to the labelled ones.
pub(super) fn mixmatch(
    (model, kind): (&Model, Kind),
    (labels, mixmatch, weight): (&Labels, MixMatch, f64),
    (x_nchw, labels_n): (&Tensor, &Tensor),
    views_nchw: [&Tensor; 2],
    (shares, rng): (Shares, &mut Rng),
) -> TorchResult<Heard> {
    let guess_nc = {
        let _no_grad = tch::no_grad_guard();
        let pass = model.training_pass(kind)?;
        let logits = model.forward(&pass, &Tensor::f_cat(&views_nchw, 0)?)?;
        let views = logits.f_softmax(1, Kind::Float)?.f_chunk(2, 0)?;
        sharpened(&views[0].f_add(&views[1])?.f_div_scalar(2.0)?, mixmatch.temperature)?
    };
    let (n, n_classes) = (labels_n.size()[0], guess_nc.size()[1]);
    let told_nc = labels_n.f_one_hot(n_classes)?.f_to_kind(Kind::Float)?;
    let told_nc = told_nc.f_mul_scalar(1.0 - labels.smoothing)?.f_add_scalar(labels.smoothing / n_classes as f64)?;
    let x_nchw = Tensor::f_cat(&[x_nchw, views_nchw[0], views_nchw[1]], 0)?;
    let targets_nc = Tensor::f_cat(&[&told_nc, &guess_nc, &guess_nc], 0)?;

    let (shares_n, partners) = mixtures(targets_nc.size()[0] as usize, mixmatch.mixing, rng);
    let partners = Tensor::f_from_slice(&partners)?.f_to_device(x_nchw.device())?;
    let shares_n = Tensor::f_from_slice(&shares_n)?.f_to_device(x_nchw.device())?;
    let mixed = |all: &Tensor, shares: &Tensor| {
        let other = all.f_index_select(0, &partners)?;
        other.f_add(&all.f_sub(&other)?.f_mul(shares)?)
    };
    let x_nchw = mixed(&x_nchw, &shares_n.f_view([-1, 1, 1, 1])?)?;
    let targets_nc = mixed(&targets_nc, &shares_n.f_view([-1, 1])?)?;

    let all_nc = model.forward(&model.training_pass(kind)?, &x_nchw)?;
    let n_guessed = targets_nc.size()[0] - n;
    let part = |all: &Tensor| -> TorchResult<(Tensor, Tensor)> {
        Ok((all.f_narrow(0, 0, n)?, all.f_narrow(0, n, n_guessed)?))
    };
    let ((logits_nc, guessed_nc), (told_nc, guess_nc)) = (part(&all_nc)?, part(&targets_nc)?);
    let mut products = logits_nc.f_log_softmax(1, Kind::Float)?.f_mul(&told_nc)?;
    if let Some(weights_c) = &labels.weights_c {
        products = products.f_mul(weights_c)?;
    }
    let labelled = products.f_sum(Kind::Float)?.f_div_scalar(-n)?;
    let distance = guessed_nc.f_softmax(1, Kind::Float)?.f_sub(&guess_nc)?.f_square()?.f_mean(Kind::Float)?;
    let loss = share(labelled, shares.labelled)?.f_add(&distance.f_mul_scalar(weight * shares.unlabelled)?)?;
    Ok(Heard { loss, logits_nc })
}

/// For each image the share that it keeps of itself, at least a half, and whom it is mixed with.
fn mixtures(n: usize, mixing: f64, rng: &mut Rng) -> (Vec<f32>, Vec<i64>) {
    let shares = (0..n).map(|_| beta(mixing, rng)).map(|share| share.max(1.0 - share) as f32).collect();
    let mut partners: Vec<i64> = (0..n as i64).collect();
    rng.shuffle(&mut partners);
    (shares, partners)
}

/// A draw from the Beta distribution with both parameters `a`, at most 1 (Jöhnk 1964).
fn beta(a: f64, rng: &mut Rng) -> f64 {
    loop {
        let (x, y) = (rng.uniform().powf(1.0 / a), rng.uniform().powf(1.0 / a));
        if x + y <= 1.0 && x + y > 0.0 {
            return x / (x + y);
        }
    }
}

fn sharpened(probs_nc: &Tensor, temperature: f64) -> TorchResult<Tensor> {
    let powers = probs_nc.f_pow_tensor_scalar(1.0 / temperature)?;
    powers.f_div(&powers.f_sum_dim_intlist([1].as_slice(), true, Kind::Float)?)
}

/// A mean over a part, as what it adds to the mean over the step.
fn share(mean: Tensor, share: f64) -> TorchResult<Tensor> {
    if share == 1.0 { Ok(mean) } else { mean.f_mul_scalar(share) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_weights_make_classes_equal_and_images_one() {
        let labels = [0, 0, 0, 2];
        let weights = class_weights(&labels, 4);
        assert_eq!(weights, [2.0 / 3.0, 0.0, 2.0, 0.0]);
        let mean: f32 = labels.iter().map(|&label| weights[label]).sum::<f32>() / 4.0;
        // Two roundings of f32.
        assert!((mean - 1.0).abs() < 1e-6);
    }

    #[test]
    fn beta_has_its_moments() {
        let mut rng = Rng::from_seed([4; 32]);
        for a in [0.2, 0.75, 1.0] {
            let draws: Vec<f64> = (0..20_000).map(|_| beta(a, &mut rng)).collect();
            let mean = draws.iter().sum::<f64>() / 2e4;
            let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 2e4;
            // Six standard errors of the mean of 20 000 draws are below 0.02; the variance is 1 / (4 (2a + 1)).
            assert!(
                (mean - 0.5).abs() < 0.02 && (variance - 0.25 / (2.0 * a + 1.0)).abs() < 0.01,
                "{a}: {mean} {variance}"
            );
        }
    }

    #[test]
    fn alignment_names_classes_as_often_as_the_labels_do() {
        let mut marginals = Marginals::new(&[0, 0, 1], 3, tch::Device::Cpu).unwrap();
        // The network has said class 0 in half of all images; the labels, counted with one more each, in 3 of 6, 2 and 1.
        let probs_nc = Tensor::from_slice(&[0.7f32, 0.2, 0.1, 0.3, 0.4, 0.3]).view([2, 3]);
        let aligned_nc = marginals.align(&probs_nc).unwrap();
        let raised = [0.7 * (0.5 / 0.5), 0.2 * (2.0 / 6.0 / 0.3), 0.1 * (1.0 / 6.0 / 0.2)];
        for (c, value) in raised.iter().enumerate() {
            let expected = value / raised.iter().sum::<f64>();
            // A handful of f32 operations on numbers below 1.
            assert!((aligned_nc.double_value(&[0, c as i64]) - expected).abs() < 1e-6);
        }
        // A second batch moves what was said by its share.
        let _ = marginals.align(&Tensor::from_slice(&[1.0f32, 0.0, 0.0]).view([1, 3])).unwrap();
        let said = marginals.said_c.unwrap().double_value(&[0]);
        assert!((said - (0.5 + 0.5 / 128.0)).abs() < 1e-6, "{said}");
    }

    #[test]
    fn sharpening_squares_at_a_half() {
        let sharp = sharpened(&Tensor::from_slice(&[0.5f32, 0.3, 0.2]).view([1, 3]), 0.5).unwrap();
        for (i, expected) in [0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38].into_iter().enumerate() {
            // A handful of f32 operations on numbers below 1.
            assert!((sharp.double_value(&[0, i as i64]) - expected).abs() < 1e-6);
        }
    }
}
