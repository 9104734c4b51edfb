//! Training of the task model, on labelled images alone or on unlabelled ones too.

mod lesson;
mod steps;
mod watch;

use std::ops::ControlFlow;

use coldstart_plugin_api::Rng;
use tch::{Kind, Tensor};

use super::error::{EngineError, TorchResult, While};
use super::guard;
use super::images::Images;
use super::model::{Model, Weights};
use super::optimizer::{Average, Update, learning_rate};
use super::predict::{Outputs, predict};
use super::settings::{Learner, Training};
use lesson::{Heard, Labels, Marginals, Shares};
use steps::{Changes, Drawn, Part, Steps};
use watch::Watch;

pub(super) use lesson::class_weights;
pub use watch::{Phase, Phases};

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

/// What a model is trained on.
#[derive(Clone, Copy)]
pub struct Material<'a> {
    /// The labelled images.
    pub labelled: Labelled<'a>,
    /// Rows of the same set that a semi-supervised learner may look at without their labels.
    pub unlabelled: &'a [usize],
    /// Images that choose the best epoch.
    pub validation: Option<Labelled<'a>>,
}

impl<'a> From<Labelled<'a>> for Material<'a> {
    fn from(labelled: Labelled<'a>) -> Self {
        Material { labelled, unlabelled: &[], validation: None }
    }
}

/// What one epoch came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// The mean of the learner's loss over the epoch's steps, each as the weights stood at it.
    pub loss: f64,
    /// The fraction of the epoch's labelled images, augmented, that were classified right.
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
    /// In how many parts each of the last ones was done, so that it fitted into memory.
    pub n_parts: usize,
    /// Where their time went.
    pub phases: Phases,
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

/// Trains `model` on `material` as `settings` say, in an order and with augmentations drawn from `rng`.
///
/// With validation images the weights of the epoch with the lowest negative log-likelihood on them are kept, else those of the
/// last epoch. On the CPU the same inputs and number of threads give the same bits in every process. Nothing is read back from
/// the device between the steps of an epoch. A step that does not fit into memory is done in parts, whose gradients are added
/// up: the same mathematics, but for batch-norm, which sees each part on its own.
///
/// Errs on settings or inputs that do not fit; when the loss is no longer finite: the weights are then those that the training
/// began with; and when `observer` breaks: the weights are then those of some step.
pub fn train(
    model: &mut Model,
    settings: &Training,
    material: Material<'_>,
    rng: &mut Rng,
    observer: &mut TrainObserver<'_>,
) -> Result<TrainRecord, EngineError> {
    settings.validate()?;
    material.check(model, settings)?;
    guard::entry("training", || {
        let start = model.weights().doing("keeping the weights to begin with")?;
        let outcome = all_epochs(model, settings, material, rng, observer);
        if let Err(EngineError::Diverged { .. }) = outcome {
            model.restore(&start).doing("going back to the weights to begin with")?;
        }
        outcome
    })
}

fn all_epochs(
    model: &mut Model,
    settings: &Training,
    material: Material<'_>,
    rng: &mut Rng,
    observer: &mut TrainObserver<'_>,
) -> Result<TrainRecord, EngineError> {
    let mut run = Run::new(model, settings, material)?;
    let mut epochs = Vec::new();
    let mut best: Option<(f64, usize, Weights)> = None;
    for epoch in 1..=run.steps.n_epochs {
        let mut record = run.epoch(epoch, rng, observer)?;
        if let Some(validation) = material.validation {
            let nll = run.averaged(|model| mean_nll(model, validation))?;
            record.validation_nll = Some(nll);
            if best.as_ref().is_none_or(|(lowest, ..)| nll < *lowest) {
                let weights = run.averaged(|model| model.weights().doing("keeping the best weights"))?;
                best = Some((nll, epoch, weights));
            }
        }
        run.tell(epoch, Some(record), observer)?;
        epochs.push(record);
    }
    let (n_steps, n_parts, phases) = (run.step, run.n_parts, run.watch.phases());
    let kept_epoch = best.as_ref().map_or(epochs.len(), |(_, epoch, _)| *epoch);
    let weights = match best {
        Some((.., weights)) => weights,
        None => run.averaged(|model| model.weights().doing("taking the averaged weights"))?,
    };
    model.restore(&weights).doing("taking the weights")?;
    Ok(TrainRecord { epochs, kept_epoch, n_steps, n_parts, phases })
}

impl Material<'_> {
    fn check(&self, model: &Model, settings: &Training) -> Result<(), EngineError> {
        if settings.learner.script().is_some() {
            return Err(EngineError::Input("a learner in Python is not the engine's to train".to_owned()));
        }
        self.labelled.check(model, 2)?;
        self.labelled.images.check_rows(self.unlabelled)?;
        if settings.learner.is_semi_supervised() && self.unlabelled.len() < 2 {
            let n = self.unlabelled.len();
            return Err(EngineError::Input(format!("a semi-supervised learner needs unlabelled images, not {n}")));
        }
        self.validation.map_or(Ok(()), |validation| validation.check(model, 1))
    }
}

impl Labelled<'_> {
    pub(super) fn check(&self, model: &Model, least: usize) -> Result<(), EngineError> {
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

/// One training under way.
struct Run<'a> {
    model: &'a mut Model,
    settings: &'a Training,
    material: Material<'a>,
    labels: Labels,
    /// For a learner that aligns its guesses with the labels.
    marginals: Option<Marginals>,
    steps: Steps,
    update: Update,
    average: Option<Average>,
    kind: Kind,
    step: usize,
    /// In how many parts a step is done, so that it fits into memory.
    n_parts: usize,
    watch: Watch,
}

/// Sums over an epoch, on the device so that no step waits for them.
struct Tally {
    loss: Tensor,
    n_right: Tensor,
    n_images: usize,
}

impl<'a> Run<'a> {
    fn new(model: &'a mut Model, settings: &'a Training, material: Material<'a>) -> Result<Self, EngineError> {
        let doing = "starting a training";
        let device = model.device().torch();
        let update = Update::new(settings.optimizer, &model.params).doing(doing)?;
        let average = match settings.ema() {
            0.0 => None,
            decay => Some(Average::new(decay, &model.params).doing(doing)?),
        };
        let labels = Labels::new(settings, material.labelled.labels, model.n_outputs(), device).doing(doing)?;
        let marginals = match settings.learner {
            Learner::FixMatch(fixmatch) if fixmatch.align => {
                Some(Marginals::new(material.labelled.labels, model.n_outputs(), device).doing(doing)?)
            }
            _ => None,
        };
        let kind = settings.precision.kind_on(model.device());
        let steps = Steps::plan(settings, material.labelled.rows.len(), material.unlabelled.len());
        let watch = Watch::new(device);
        Ok(Self {
            model,
            settings,
            material,
            labels,
            marginals,
            steps,
            update,
            average,
            kind,
            step: 0,
            n_parts: 1,
            watch,
        })
    }

    fn epoch(
        &mut self,
        epoch: usize,
        rng: &mut Rng,
        observer: &mut TrainObserver<'_>,
    ) -> Result<EpochRecord, EngineError> {
        let doing = "training";
        let images = self.material.labelled.images;
        let drawn = self.steps.draw(self.settings, &self.material, rng).doing(doing)?;
        let mut tally = Tally::new(images.device()).doing(doing)?;
        let mut lr = 0.0;
        for index in 0..self.steps.per_epoch {
            let part = self.steps.part(index);
            let changes = self.steps.changes(self.settings, images, part, rng);
            lr = learning_rate(self.settings, self.step, self.steps.total());
            self.learn(&drawn, part, &changes, lr, (&mut tally, rng)).doing(doing)?;
            self.step += 1;
            if index + 1 < self.steps.per_epoch {
                self.tell(epoch, None, observer)?;
            }
        }
        let (loss, accuracy) = tally.means().doing(doing)?;
        if !loss.is_finite() {
            return Err(EngineError::Diverged { epoch, n_epochs: self.steps.n_epochs });
        }
        Ok(EpochRecord { epoch, loss, accuracy, lr, validation_nll: None })
    }

    /// One optimizer step, in as many parts as memory asks for.
    fn learn(
        &mut self,
        drawn: &Drawn,
        part: Part,
        changes: &Changes,
        lr: f64,
        (tally, rng): (&mut Tally, &mut Rng),
    ) -> TorchResult<()> {
        let (mut gradient, heard) = loop {
            // A step that is done again draws the same numbers.
            let mut drawing = rng.clone();
            match guard::calls(|| self.gradient(drawn, part, changes, &mut drawing)) {
                Ok(done) => {
                    *rng = drawing;
                    break done;
                }
                Err(error) if is_out_of_memory(&error) && part.labelled.1 / (2 * self.n_parts) >= 2 => {
                    self.n_parts *= 2;
                    let n_parts = self.n_parts;
                    tracing::warn!("a step does not fit into memory: each is now done in {n_parts} parts, one by one");
                }
                Err(error) => return Err(error),
            }
        };
        let _no_grad = tch::no_grad_guard();
        self.model.learn(&mut self.update, &mut gradient, lr)?;
        if let Some(average) = &mut self.average {
            average.follow(&self.model.params)?;
        }
        for (heard, labels_n) in &heard {
            tally.add(heard, labels_n, part.labelled.1)?;
        }
        self.watch.lap(Phase::Optimizer);
        Ok(())
    }

    /// The gradient of a step's loss, and what the network said in each of the step's parts, with the labels.
    fn gradient(
        &mut self,
        drawn: &Drawn,
        whole: Part,
        changes: &Changes,
        rng: &mut Rng,
    ) -> TorchResult<(Tensor, Vec<(Heard, Tensor)>)> {
        let (mut sum, mut all) = (None::<Tensor>, Vec::new());
        self.watch.start();
        for i in 0..self.n_parts {
            let part = whole.piece(i, self.n_parts);
            let (heard, labels_n) = self.hear(drawn, part, whole, changes, rng)?;
            self.watch.lap(Phase::Forward);
            let gradient = Tensor::f_run_backward(&[&heard.loss], &[&self.model.params], false, false)?.remove(0);
            sum = Some(match sum {
                None => gradient,
                Some(mut sum) => sum.f_add_(&gradient)?,
            });
            let heard = Heard { loss: heard.loss.f_detach()?, logits_nc: heard.logits_nc.f_detach()? };
            all.push((heard, labels_n));
            self.watch.lap(Phase::Backward);
        }
        let nothing = || tch::TchError::Kind("a step has no part".to_owned());
        Ok((sum.ok_or_else(nothing)?, all))
    }

    /// What the network says of a part of a step, and how wrong that is.
    fn hear(
        &mut self,
        drawn: &Drawn,
        part: Part,
        whole: Part,
        changes: &Changes,
        rng: &mut Rng,
    ) -> TorchResult<(Heard, Tensor)> {
        let images = self.material.labelled.images;
        let network = (&*self.model, self.kind);
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        let shares = Shares {
            labelled: share(part.labelled.1, whole.labelled.1),
            unlabelled: share(part.unlabelled.1, whole.unlabelled.1),
        };
        let (x_nchw, labels_n) = drawn.labelled(images, part, whole, changes)?;
        let heard = match self.settings.learner {
            Learner::FixMatch(fixmatch) => {
                let start = part.unlabelled.0 - whole.unlabelled.0;
                let changes = changes.unlabelled.as_ref().map(|changes| &changes[start..start + part.unlabelled.1]);
                let weak_nchw = drawn.unlabelled(images, 0, part, None)?;
                let strong_nchw = drawn.unlabelled(images, 1, part, changes)?;
                self.watch.lap(Phase::Augmentation);
                let views = (&weak_nchw, &strong_nchw);
                let settings = (&self.labels, fixmatch, self.marginals.as_mut());
                lesson::fixmatch(network, settings, (&x_nchw, &labels_n), views, shares)?
            }
            Learner::MixMatch(mixmatch) => {
                let views = [drawn.unlabelled(images, 0, part, None)?, drawn.unlabelled(images, 1, part, None)?];
                self.watch.lap(Phase::Augmentation);
                let done = self.step as f64 / self.steps.total() as f64;
                let weight = mixmatch.weight * (done / mixmatch.ramp).min(1.0);
                let settings = (&self.labels, mixmatch, weight);
                lesson::mixmatch(network, settings, (&x_nchw, &labels_n), [&views[0], &views[1]], (shares, rng))?
            }
            Learner::Supervised {} | Learner::LinearProbe(_) | Learner::Script(_) => {
                self.watch.lap(Phase::Augmentation);
                lesson::supervised(network, &self.labels, (&x_nchw, &labels_n), shares)?
            }
        };
        Ok((heard, labels_n))
    }

    /// Looks at the model with the averaged weights, if an average is kept.
    fn averaged<T>(&mut self, look: impl FnOnce(&Model) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let Some(average) = &mut self.average else { return look(self.model) };
        std::mem::swap(&mut self.model.params, &mut average.params);
        let seen = look(self.model);
        std::mem::swap(&mut self.model.params, &mut average.params);
        seen
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

/// Whether libtorch failed for want of memory, on the CPU or on a GPU, or oneDNN, which does not say why it fails.
pub(super) fn is_out_of_memory(error: &tch::TchError) -> bool {
    let text = error.to_string();
    ["out of memory", "can't allocate memory", "could not create a primitive"].iter().any(|words| text.contains(words))
}

impl Tally {
    fn new(device: tch::Device) -> TorchResult<Self> {
        let zero = || Tensor::f_zeros([0i64; 0].as_slice(), (Kind::Double, device));
        Ok(Self { loss: zero()?, n_right: zero()?, n_images: 0 })
    }

    /// Adds a part of a step of `n_step` labelled images.
    fn add(&mut self, heard: &Heard, labels_n: &Tensor, n_step: usize) -> TorchResult<()> {
        let n_right = heard.logits_nc.f_argmax(1, false)?.f_eq_tensor(labels_n)?.f_sum(Kind::Double)?;
        let _ = self.loss.f_add_(&heard.loss.f_to_kind(Kind::Double)?.f_mul_scalar(n_step as i64)?)?;
        let _ = self.n_right.f_add_(&n_right)?;
        self.n_images += labels_n.size()[0] as usize;
        Ok(())
    }

    /// Reads the mean loss and the accuracy back from the device.
    fn means(&self) -> TorchResult<(f64, f64)> {
        let n = self.n_images as f64;
        Ok((self.loss.f_double_value(&[])? / n, self.n_right.f_double_value(&[])? / n))
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

#[cfg(test)]
mod tests {
    use super::super::{Augmentation, Device, FixMatch, ImageShape, ModelSettings};
    use super::*;

    /// A step in two parts has the mean of the gradients that its halves have as steps of their own.
    #[test]
    fn parts_add_up_to_the_step() {
        let shape = ImageShape { height: 8, width: 8, channels: 1 };
        let mut rng = Rng::from_seed([6; 32]);
        let pixels: Vec<u8> = (0..24 * 64).map(|_| rng.below(256) as u8).collect();
        let device = Device::cpu_for_tests();
        let images = Images::new(&pixels, shape, &device).unwrap();
        let settings = ModelSettings { backbone: "convnet".to_owned(), width: Some(4), ..ModelSettings::default() };
        let (rows, labels) = ((0..8).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2, 0, 1]);
        let unlabelled: Vec<usize> = (0..24).collect();
        let sure = FixMatch { unlabelled: 2, threshold: 1e-3, ..FixMatch::default() };
        for learner in [Learner::Supervised {}, Learner::FixMatch(sure)] {
            let training = Training {
                learner: learner.clone(),
                batch_size: 8,
                augmentation: Augmentation::Flip,
                class_balance: true,
                ..Training::default()
            };
            let labelled = Labelled { images: &images, rows: &rows, labels: &labels };
            let material = Material { labelled, unlabelled: &unlabelled, validation: None };
            let mut model = Model::new(&settings, shape, 3, &mut rng, &device).unwrap();
            let mut run = Run::new(&mut model, &training, material).unwrap();
            let drawn = run.steps.draw(&training, &material, &mut rng).unwrap();
            let step = run.steps.part(0);
            let changes = Changes::default();
            let mut gradient =
                |run: &mut Run<'_>, part: Part| run.gradient(&drawn, part, &changes, &mut rng).unwrap().0;
            let halves = [0, 1].map(|i| gradient(&mut run, step.piece(i, 2)));
            run.n_parts = 2;
            let whole = gradient(&mut run, step);
            let difference = (whole - (&halves[0] + &halves[1]) / 2.0).abs().max().double_value(&[]);
            // The same sums but for one multiplication: f32 rounding of gradients of order 1.
            assert!(difference < 1e-6, "{learner:?}: {difference}");
        }
    }

    #[test]
    fn a_part_is_cut_without_a_gap() {
        let whole = Part { labelled: (3, 7), unlabelled: (10, 20) };
        let pieces: Vec<_> = (0..3).map(|i| whole.piece(i, 3)).collect();
        assert_eq!(pieces.iter().map(|p| p.labelled).collect::<Vec<_>>(), [(3, 2), (5, 2), (7, 3)]);
        assert_eq!(pieces.iter().map(|p| p.unlabelled.1).sum::<usize>(), 20);
    }
}
