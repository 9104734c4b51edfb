//! Supervised training on a labelled part of an image set.

use std::ops::ControlFlow;

use coldstart_plugin_api::Rng;
use tch::{Kind, Reduction, Tensor};

use super::error::{EngineError, TorchResult, While};
use super::images::Images;
use super::model::{Model, Weights};
use super::optimizer::{Update, learning_rate};
use super::predict::{Outputs, predict};
use super::settings::Training;

/// Some images of a set, by row, with the class of each.
#[derive(Clone, Copy)]
pub struct Labelled<'a> {
    /// The set.
    pub images: &'a Images,
    /// The rows of the images in the set.
    pub rows: &'a [usize],
    /// The class of each row, below the model's number of classes.
    pub labels: &'a [usize],
}

/// What one epoch came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// The mean cross-entropy over the epoch's images, each as the weights stood at its batch.
    pub loss: f64,
    /// The fraction of the epoch's images, augmented, that were classified right.
    pub accuracy: f64,
    /// The learning rate of the last step.
    pub lr: f64,
    /// The mean negative log-likelihood of the validation images afterwards, if there are any.
    pub validation_nll: Option<f64>,
}

/// What a training came to.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainRecord {
    /// Every epoch, in order.
    pub epochs: Vec<EpochRecord>,
    /// The epoch whose weights the model has now: the last, or the one with the lowest validation NLL.
    pub kept_epoch: usize,
    /// How many steps the optimizer took.
    pub n_steps: usize,
}

/// Where a training is, told after every step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainProgress {
    /// The current epoch, from 1.
    pub epoch: usize,
    /// How many epochs there will be.
    pub n_epochs: usize,
    /// Steps done.
    pub step: usize,
    /// How many steps there will be.
    pub n_steps: usize,
    /// The epoch's record, after its last step.
    pub record: Option<EpochRecord>,
}

/// Hears of every step; `Break` cancels the training.
pub type TrainObserver<'a> = dyn FnMut(TrainProgress) -> ControlFlow<()> + 'a;

/// Trains `model` on `labelled` as `settings` say, in an order and with augmentations drawn from `rng`.
///
/// With `validation` images the weights of the epoch with the lowest negative log-likelihood on them are kept, else those
/// of the last epoch. On the CPU the same inputs and number of threads give the same bits in every process. Nothing is
/// read back from the device between the steps of an epoch.
///
/// Errs on settings or inputs that do not fit, when the loss is no longer finite, and when `observer` breaks; the weights
/// are then those of some step.
pub fn train(
    model: &mut Model,
    settings: &Training,
    labelled: Labelled<'_>,
    validation: Option<Labelled<'_>>,
    rng: &mut Rng,
    observer: &mut TrainObserver<'_>,
) -> Result<TrainRecord, EngineError> {
    settings.validate()?;
    labelled.check(model, 2)?;
    validation.map_or(Ok(()), |validation| validation.check(model, 1))?;
    let mut run = Run::new(model, settings, labelled)?;
    let mut epochs = Vec::new();
    let mut best: Option<(f64, usize, Weights)> = None;
    for epoch in 1..=run.steps.n_epochs {
        let mut record = run.epoch(epoch, rng, observer)?;
        if let Some(validation) = validation {
            let nll = mean_nll(run.model, validation)?;
            record.validation_nll = Some(nll);
            if best.as_ref().is_none_or(|(lowest, ..)| nll < *lowest) {
                best = Some((nll, epoch, run.model.weights().doing("keeping the best weights")?));
            }
        }
        run.tell(epoch, Some(record), observer)?;
        epochs.push(record);
    }
    let n_steps = run.step;
    let kept_epoch = best.as_ref().map_or(epochs.len(), |(_, epoch, _)| *epoch);
    if let Some((.., snapshot)) = best {
        model.restore(&snapshot).doing("restoring the best weights")?;
    }
    Ok(TrainRecord { epochs, kept_epoch, n_steps })
}

impl Labelled<'_> {
    fn check(&self, model: &Model, least: usize) -> Result<(), EngineError> {
        model.check_images(self.images)?;
        self.images.check_rows(self.rows)?;
        let refuse = |problem: String| Err(EngineError::Input(problem));
        if self.rows.len() != self.labels.len() {
            return refuse(format!("{} images came with {} labels", self.rows.len(), self.labels.len()));
        }
        if self.rows.len() < least {
            return refuse(format!("training needs at least {least} labelled images, not {}", self.rows.len()));
        }
        match self.labels.iter().find(|&&label| label >= model.n_outputs()) {
            Some(label) => refuse(format!("there is no class {label} in a model of {} classes", model.n_outputs())),
            None => Ok(()),
        }
    }
}

/// How a labelled set is cut into steps.
struct Steps {
    n_images: usize,
    batch_size: usize,
    per_epoch: usize,
    n_epochs: usize,
}

impl Steps {
    fn plan(settings: &Training, n_images: usize) -> Self {
        let batch_size = settings.batch_size.min(n_images);
        // A last batch of one image is left out: batch-norm has no variance to learn from it.
        let per_epoch = n_images / batch_size + usize::from(n_images % batch_size > 1);
        let n_epochs = settings.epochs.max(settings.min_steps.div_ceil(per_epoch));
        Self { n_images, batch_size, per_epoch, n_epochs }
    }

    fn total(&self) -> usize {
        self.per_epoch * self.n_epochs
    }

    /// The first image of a batch of the epoch, and how many it has.
    fn batch(&self, index: usize) -> (usize, usize) {
        let start = index * self.batch_size;
        (start, self.batch_size.min(self.n_images - start))
    }
}

/// One training under way.
struct Run<'a> {
    model: &'a mut Model,
    settings: &'a Training,
    labelled: Labelled<'a>,
    steps: Steps,
    update: Update,
    kind: Kind,
    step: usize,
}

/// Sums over an epoch, on the device so that no step waits for them.
struct Tally {
    loss: Tensor,
    n_right: Tensor,
}

impl<'a> Run<'a> {
    fn new(model: &'a mut Model, settings: &'a Training, labelled: Labelled<'a>) -> Result<Self, EngineError> {
        let update = Update::new(settings.optimizer, &model.params).doing("starting the optimizer")?;
        let kind = settings.precision.kind_on(model.device());
        let steps = Steps::plan(settings, labelled.rows.len());
        Ok(Self { model, settings, labelled, steps, update, kind, step: 0 })
    }

    fn epoch(
        &mut self,
        epoch: usize,
        rng: &mut Rng,
        observer: &mut TrainObserver<'_>,
    ) -> Result<EpochRecord, EngineError> {
        let doing = "training";
        let mut order: Vec<usize> = (0..self.labelled.rows.len()).collect();
        rng.shuffle(&mut order);
        let rows: Vec<usize> = order.iter().map(|&i| self.labelled.rows[i]).collect();
        let labels: Vec<i64> = order.iter().map(|&i| self.labelled.labels[i] as i64).collect();
        let images = self.labelled.images;
        let draws = images.epoch(&self.settings.augmentation.draw(&rows, rng)).doing(doing)?;
        let labels_n =
            Tensor::f_from_slice(&labels).and_then(|labels| labels.f_to_device(images.device())).doing(doing)?;
        let mut tally = Tally::new(images.device()).doing(doing)?;
        let (mut n_seen, mut lr) = (0, 0.0);
        for index in 0..self.steps.per_epoch {
            let (start, n) = self.steps.batch(index);
            let x_nchw = images.batch(&draws, start, n).doing("cutting a batch")?;
            let labels_n = labels_n.f_narrow(0, start as i64, n as i64).doing(doing)?;
            lr = learning_rate(self.settings, self.step, self.steps.total());
            self.learn(&x_nchw, &labels_n, lr, &mut tally).doing(doing)?;
            n_seen += n;
            self.step += 1;
            if index + 1 < self.steps.per_epoch {
                self.tell(epoch, None, observer)?;
            }
        }
        let (loss, accuracy) = tally.means(n_seen).doing(doing)?;
        if !loss.is_finite() {
            return Err(EngineError::Diverged { epoch, n_epochs: self.steps.n_epochs });
        }
        Ok(EpochRecord { epoch, loss, accuracy, lr, validation_nll: None })
    }

    /// One optimizer step on a batch.
    fn learn(&mut self, x_nchw: &Tensor, labels_n: &Tensor, lr: f64, tally: &mut Tally) -> TorchResult<()> {
        let pass = self.model.training_pass(self.kind)?;
        let logits_nc = self.model.forward(&pass, &x_nchw.f_to_kind(self.kind)?)?;
        let loss = logits_nc.f_cross_entropy_loss(labels_n, None::<Tensor>, Reduction::Mean, -100, 0.0)?;
        let mut gradients = Tensor::f_run_backward(&[&loss], &[&self.model.params], false, false)?;
        let _no_grad = tch::no_grad_guard();
        self.model.learn(&mut self.update, &mut gradients[0], lr)?;
        tally.add(&loss, &logits_nc, labels_n)
    }

    fn tell(
        &self,
        epoch: usize,
        record: Option<EpochRecord>,
        observer: &mut TrainObserver<'_>,
    ) -> Result<(), EngineError> {
        let (n_epochs, n_steps) = (self.steps.n_epochs, self.steps.total());
        match observer(TrainProgress { epoch, n_epochs, step: self.step, n_steps, record }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EngineError::Cancelled),
        }
    }
}

impl Tally {
    fn new(device: tch::Device) -> TorchResult<Self> {
        let zero = || Tensor::f_zeros([0i64; 0].as_slice(), (Kind::Double, device));
        Ok(Self { loss: zero()?, n_right: zero()? })
    }

    fn add(&mut self, mean_loss: &Tensor, logits_nc: &Tensor, labels_n: &Tensor) -> TorchResult<()> {
        let n = labels_n.size()[0];
        let n_right = logits_nc.f_argmax(1, false)?.f_eq_tensor(labels_n)?.f_sum(Kind::Double)?;
        let _ = self.loss.f_add_(&mean_loss.f_detach()?.f_to_kind(Kind::Double)?.f_mul_scalar(n)?)?;
        let _ = self.n_right.f_add_(&n_right)?;
        Ok(())
    }

    /// Reads the mean loss and the accuracy over `n` images back from the device.
    fn means(&self, n: usize) -> TorchResult<(f64, f64)> {
        Ok((self.loss.f_double_value(&[])? / n as f64, self.n_right.f_double_value(&[])? / n as f64))
    }
}

/// The mean negative log-likelihood of the labels, in f64 from the f32 logits.
fn mean_nll(model: &Model, labelled: Labelled<'_>) -> Result<f64, EngineError> {
    let wanted = Outputs { logits: true, ..Outputs::default() };
    let predictions = predict(model, labelled.images, labelled.rows, wanted, &mut |_| ControlFlow::Continue(()))?;
    let logits_nc = predictions.logits_nc.map(|logits| logits.values).unwrap_or_default();
    let nll = |(logits_c, &label): (&[f32], &usize)| {
        let highest = logits_c.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits_c.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
        sum.ln() - f64::from(logits_c[label] - highest)
    };
    let total: f64 = logits_nc.chunks_exact(model.n_outputs()).zip(labelled.labels).map(nll).sum();
    Ok(total / labelled.rows.len() as f64)
}
