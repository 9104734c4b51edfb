//! Training as a [`TrainSpec`] says: any target, views, head and objective, with a record of each image.
//!
//! The same job gives the same network, bit for bit, on the CPU with the same number of threads, whether it was done in
//! one go or went on from checkpoints: an epoch draws from a stream of its own, and a checkpoint holds all the rest.

mod job;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use coldstart_plugin_api::Rng;
use coldstart_plugin_api::training::{self as spec, Measure, Objective, Target, TrainSpec};
use tch::{Kind, Reduction, Tensor};

use super::checkpoint;
use super::contrast::{Memory, Step, pair_probability, softmax_over_bank, unit};
use super::device::Device;
use super::error::{EngineError, TorchResult, While};
use super::guard;
use super::images::Images;
use super::layers::Pass;
use super::model::Model;
use super::optimizer::Update;
use super::predict::{Matrix, block_size};
use super::settings::{ModelSettings, Precision};
use super::train::{TrainObserver, TrainProgress};
use super::views::{Chance, Choices, Views};
use job::learning_rate;

pub use job::head_of;

/// Changes whenever the same job may give other numbers than before: stored results of another revision are not used.
pub const REVISION: u32 = 2;

/// The least time between two checkpoints, and how many times as long as the writing of the last one it is.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
const CHECKPOINT_SHARE: u32 = 30;

/// A training to be done.
#[derive(Clone, Copy)]
pub struct PretextJob<'a> {
    /// What to do.
    pub spec: &'a TrainSpec,
    /// The set that the images are from.
    pub images: &'a Images,
    /// Their rows in the set; each once.
    pub rows: &'a [usize],
    /// What the network has to tell of them, where the spec does not know it by itself.
    pub targets: Targets<'a>,
    /// The network under the head.
    pub model: &'a ModelSettings,
    /// The number format of convolutions and linear layers.
    pub precision: Precision,
    /// Where all chance comes from.
    pub seed: [u8; 32],
    /// A file to store the state in now and then, and to go on from if it exists; the caller removes it.
    pub checkpoint: Option<&'a Path>,
}

/// What a network has to tell of each image, in the order of the job's rows.
#[derive(Clone, Copy)]
pub enum Targets<'a> {
    /// The spec knows.
    None,
    /// A class below `n_classes`.
    Classes {
        /// One for each image.
        of_image: &'a [usize],
        /// How many there are.
        n_classes: usize,
    },
    /// A row of numbers.
    Values(&'a Matrix),
}

/// What a training came to.
#[derive(Clone, Debug, PartialEq)]
pub struct PretextRecord {
    /// The mean loss of the last epoch.
    pub loss: f64,
    /// The share of views whose target class was the most probable one in the last epoch; none without classes.
    pub accuracy: Option<f64>,
    /// For each record of the spec: a row for each epoch, or one row; a column for each image.
    pub records: Vec<Matrix>,
}

/// Trains a network as `job` says, on `device`, where its images are.
///
/// Errs before any work when the spec is not sound or does not fit the images or targets; later when the loss is no longer
/// finite, when `observer` breaks, and when a checkpoint cannot be written. One that does not fit is not used.
pub fn pretext(
    job: PretextJob<'_>,
    device: &Device,
    observer: &mut TrainObserver<'_>,
) -> Result<(Model, PretextRecord), EngineError> {
    job.check()?;
    guard::entry("training a pretext", || all_epochs(job, device, observer))
}

fn all_epochs(
    job: PretextJob<'_>,
    device: &Device,
    observer: &mut TrainObserver<'_>,
) -> Result<(Model, PretextRecord), EngineError> {
    let mut trainer = Trainer::new(job, device)?;
    if let Some(file) = job.checkpoint.filter(|file| file.exists())
        && let Err(error) = checkpoint::restore(file, &mut trainer.state)
    {
        tracing::warn!("starting anew, because the checkpoint cannot be used: {error}");
        trainer = Trainer::new(job, device)?;
    }
    let (mut stored, mut interval) = (Instant::now(), CHECKPOINT_INTERVAL);
    while trainer.state.epoch < job.spec.epochs as usize {
        trainer.epoch(observer)?;
        match job.checkpoint {
            Some(file) if stored.elapsed() > interval => {
                let start = Instant::now();
                checkpoint::store(file, &mut trainer.state)?;
                interval = CHECKPOINT_INTERVAL.max(CHECKPOINT_SHARE * start.elapsed());
                stored = Instant::now();
            }
            _ => {}
        }
    }
    trainer.finish(observer)
}

/// Everything that changes during a training.
pub(super) struct State {
    pub(super) model: Model,
    pub(super) update: Update,
    pub(super) memory: Memory,
    /// Epochs done.
    pub(super) epoch: usize,
    /// What the last epoch came to.
    pub(super) loss: f64,
    pub(super) accuracy: Option<f64>,
    /// A row for each epoch so far, for each record of the training pass.
    pub(super) kept: Vec<Vec<f32>>,
}

struct Trainer<'a> {
    job: PretextJob<'a>,
    views: Views<'a>,
    state: State,
    kind: Kind,
    /// How many images each step has.
    steps: Vec<usize>,
    targets: Option<Tensor>,
}

/// What a step says of each of its images, on the device.
struct Marks {
    loss_n: Tensor,
    /// Probability of the target, and whether it is the highest; n each.
    guess: Option<(Tensor, Tensor)>,
    pair: Option<(Tensor, Tensor)>,
}

impl Marks {
    fn measure(&self, measure: Measure) -> TorchResult<Tensor> {
        let absent = || tch::TchError::Kind("this objective has no such measure".to_owned());
        match measure {
            Measure::Loss {} => self.loss_n.f_detach(),
            Measure::Confidence {} => Ok(self.guess.as_ref().ok_or_else(absent)?.0.shallow_clone()),
            Measure::Correct {} => Ok(self.guess.as_ref().ok_or_else(absent)?.1.shallow_clone()),
            Measure::PairProbability { temperature } => {
                pair_probability(self.pair.as_ref().ok_or_else(absent)?, temperature)
            }
        }
    }
}

impl<'a> Trainer<'a> {
    fn new(job: PretextJob<'a>, device: &Device) -> Result<Self, EngineError> {
        let doing = "starting a training";
        let views = Views::new(job.images, &job.spec.views)?;
        let mut rng = Rng::for_stream(job.seed, "weights");
        let head = head_of(job.spec, job.n_outputs());
        let mut model = Model::with_head(job.model, job.images.shape(), head, &mut rng, device)?;
        model.predict_in(job.precision);
        let update = Update::new(job.spec.optimizer.into(), &model.params).doing(doing)?;
        let n = job.rows.len();
        let memory =
            Memory::new(&job.spec.objective, &model, n, &mut Rng::for_stream(job.seed, "memory")).doing(doing)?;
        let n_kept = job.spec.record.iter().filter(|record| record.pass == spec::Pass::Training).count();
        let targets = match job.targets {
            Targets::None => Ok(None),
            Targets::Classes { of_image, .. } => {
                let classes: Vec<i64> = of_image.iter().map(|&class| class as i64).collect();
                Tensor::f_from_slice(&classes).and_then(|t| t.f_to_device(device.torch())).map(Some)
            }
            Targets::Values(values) => Tensor::f_from_slice(&values.values)
                .and_then(|t| t.f_view([n as i64, values.n_cols as i64])?.f_to_device(device.torch()))
                .map(Some),
        };
        Ok(Self {
            job,
            views,
            state: State { model, update, memory, epoch: 0, loss: 0.0, accuracy: None, kept: vec![vec![]; n_kept] },
            kind: job.precision.kind_on(device),
            steps: cut(n, job.spec.batch_size as usize),
            targets: targets.doing(doing)?,
        })
    }

    fn epoch(&mut self, observer: &mut TrainObserver<'_>) -> Result<(), EngineError> {
        let doing = "training a pretext";
        let (epoch, n, device) = (self.state.epoch, self.job.rows.len(), self.state.model.device().torch());
        let mut rng = Rng::for_stream(self.job.seed, &format!("epoch/{epoch}"));
        let mut order: Vec<usize> = (0..n).collect();
        rng.shuffle(&mut order);
        let measures: Vec<Measure> =
            self.job.spec.record.iter().filter(|r| r.pass == spec::Pass::Training).map(|r| r.measure).collect();
        let sums = || Tensor::f_zeros(n as i64, (Kind::Float, device)).doing(doing);
        let mut rows = (0..measures.len()).map(|_| sums()).collect::<Result<Vec<_>, _>>()?;
        let (mut losses, mut rights) = (sums()?, sums()?);
        let mut guesses = false;
        let mut start = 0;
        for (index, size) in self.steps.clone().into_iter().enumerate() {
            let batch = &order[start..start + size];
            let positions = upload(batch, device).doing(doing)?;
            let step = epoch * self.steps.len() + index;
            let marks = self.step(batch, &positions, step, &mut rng).doing(doing)?;
            let _no_grad = tch::no_grad_guard();
            let put =
                |row: &mut Tensor, values: &Tensor| row.f_index_copy_(0, &positions, values).map(drop).doing(doing);
            put(&mut losses, &marks.loss_n.f_detach().doing(doing)?)?;
            if let Some((_, right)) = &marks.guess {
                guesses = true;
                put(&mut rights, right)?;
            }
            for (row, measure) in rows.iter_mut().zip(&measures) {
                put(row, &marks.measure(*measure).doing(doing)?)?;
            }
            start += size;
            self.tell(step + 1, observer)?;
        }
        let mean = |sums: &Tensor| sums.f_mean(Kind::Double).and_then(|mean| mean.f_double_value(&[])).doing(doing);
        self.state.loss = mean(&losses)?;
        self.state.accuracy = if guesses { Some(mean(&rights)?) } else { None };
        let n_epochs = self.job.spec.epochs as usize;
        if !self.state.loss.is_finite() {
            return Err(EngineError::Diverged { epoch: epoch + 1, n_epochs });
        }
        for (kept, row) in self.state.kept.iter_mut().zip(&rows) {
            kept.extend(read(row).doing(doing)?);
        }
        self.state.epoch += 1;
        Ok(())
    }

    /// One optimizer step on the images at `batch`, places in the job's rows.
    fn step(&mut self, batch: &[usize], positions: &Tensor, step: usize, rng: &mut Rng) -> TorchResult<Marks> {
        let rows: Vec<usize> = batch.iter().map(|&i| self.job.rows[i]).collect();
        let mut new = Vec::new();
        let marks = match self.job.spec.objective {
            Objective::CrossEntropy {} | Objective::Regression {} => self.tell_target(&rows, positions, rng)?,
            _ => {
                let views = (0..self.job.spec.objective.n_views())
                    .map(|_| self.views.random(&rows, None, Chance::Shared(rng)))
                    .collect::<TorchResult<Vec<_>>>()?;
                let State { model, memory, .. } = &mut self.state;
                let mut step = Step { model, kind: self.kind, rng };
                let compared = step.compare(&self.job.spec.objective, memory, &views, positions)?;
                new = compared.new;
                Marks { loss_n: compared.loss_n, guess: None, pair: compared.pair }
            }
        };
        let loss = marks.loss_n.f_mean(Kind::Float)?;
        let State { model, update, memory, .. } = &mut self.state;
        let mut gradients = Tensor::f_run_backward(&[&loss], &[&model.params], false, false)?;
        let _no_grad = tch::no_grad_guard();
        model.learn(update, &mut gradients[0], learning_rate(self.job.spec, step, self.steps.len()))?;
        memory.take_up(&new, positions)?;
        Ok(marks)
    }

    /// A step of an objective with a target to tell.
    fn tell_target(&mut self, rows: &[usize], positions: &Tensor, rng: &mut Rng) -> TorchResult<Marks> {
        let (rows, choices) = self.with_choices(rows, rng);
        let chosen = self.chosen(choices.as_deref());
        let x_nchw = self.views.random(&rows, chosen, Chance::Shared(rng))?;
        let model = &self.state.model;
        let logits = model.forward(&model.training_pass(self.kind)?, &x_nchw)?;
        self.marks(&logits, choices.as_deref(), positions)
    }

    /// How many choices the operation has that is to be told; 1 if there is none.
    fn n_choices(&self) -> usize {
        let Target::Applied { op, .. } = self.job.spec.target else { return 1 };
        self.job.spec.views[op as usize].n_choices().unwrap_or(1)
    }

    /// The rows of a step's views with the choice that each takes: every choice one after the other, or one drawn for each.
    fn with_choices(&self, rows: &[usize], rng: &mut Rng) -> (Vec<usize>, Option<Vec<usize>>) {
        let Target::Applied { every, .. } = self.job.spec.target else { return (rows.to_vec(), None) };
        let n = self.n_choices();
        if !every {
            return (rows.to_vec(), Some(rows.iter().map(|_| rng.below(n as u64) as usize).collect()));
        }
        let all = (0..n).flat_map(|_| rows.iter().copied()).collect();
        (all, Some((0..n).flat_map(|choice| rows.iter().map(move |_| choice)).collect()))
    }

    fn chosen<'c>(&self, choices: Option<&'c [usize]>) -> Option<Choices<'c>> {
        match (&self.job.spec.target, choices) {
            (Target::Applied { op, .. }, Some(of_view)) => Some(Choices { op: *op as usize, of_view }),
            _ => None,
        }
    }

    /// What the outputs for the views say of each image, in the mean over its choices.
    fn marks(&self, outputs: &Tensor, choices: Option<&[usize]>, positions: &Tensor) -> TorchResult<Marks> {
        let n = positions.size()[0];
        let per_image = |of_view: Tensor| of_view.f_view([-1, n])?.f_mean_dim([0].as_slice(), false, Some(Kind::Float));
        let target = match (choices, &self.targets) {
            (Some(choices), _) => upload(choices, outputs.device())?,
            (None, Some(targets)) => targets.f_index_select(0, positions)?,
            (None, None) => return Err(tch::TchError::Kind("there is no target".to_owned())),
        };
        if matches!(self.job.spec.objective, Objective::Regression {}) {
            let loss_n = outputs.f_sub(&target)?.f_square()?.f_mean_dim([1].as_slice(), false, None)?;
            return Ok(Marks { loss_n, guess: None, pair: None });
        }
        let loss = outputs.f_cross_entropy_loss(&target, None::<Tensor>, Reduction::None, -100, 0.0)?;
        let right = outputs.f_argmax(1, false)?.f_eq_tensor(&target)?.f_to_kind(Kind::Float)?;
        let confidence = loss.f_detach()?.f_neg()?.f_exp()?;
        Ok(Marks { loss_n: per_image(loss)?, guess: Some((per_image(confidence)?, per_image(right)?)), pair: None })
    }

    fn tell(&self, step: usize, observer: &mut TrainObserver<'_>) -> Result<(), EngineError> {
        let (epoch, n_epochs) = (self.state.epoch + 1, self.job.spec.epochs as usize);
        let n_steps = n_epochs * self.steps.len();
        match observer(TrainProgress { epoch, n_epochs, step, n_steps, record: None }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EngineError::Cancelled),
        }
    }

    /// The final pass, and everything put together.
    fn finish(self, observer: &mut TrainObserver<'_>) -> Result<(Model, PretextRecord), EngineError> {
        let n = self.job.rows.len();
        let last = self.last_look(observer)?;
        let State { model, loss, accuracy, kept, .. } = self.state;
        let (mut kept, mut last) = (kept.into_iter(), last.into_iter());
        let records = self.job.spec.record.iter().map(|record| {
            let source = if record.pass == spec::Pass::Training { &mut kept } else { &mut last };
            let values = source.next().unwrap_or_default();
            Matrix { n_rows: values.len() / n, n_cols: n, values }
        });
        Ok((model, PretextRecord { loss, accuracy, records: records.collect() }))
    }

    /// The records of the final pass, in inference mode. Each block is full, so that no image depends on its neighbours.
    fn last_look(&self, observer: &mut TrainObserver<'_>) -> Result<Vec<Vec<f32>>, EngineError> {
        let doing = "looking at the images a last time";
        let measures: Vec<Measure> =
            self.job.spec.record.iter().filter(|r| r.pass == spec::Pass::Final).map(|r| r.measure).collect();
        if measures.is_empty() {
            return Ok(Vec::new());
        }
        let _no_grad = tch::no_grad_guard();
        let (n, device) = (self.job.rows.len(), self.state.model.device().torch());
        let pass = self.state.model.inference_pass().doing("folding batch-norm")?;
        let block = block_size(&self.state.model);
        let mut found = vec![Vec::with_capacity(n); measures.len()];
        for start in (0..n).step_by(block) {
            let places: Vec<usize> = (start..start + block).map(|i| i.min(n - 1)).collect();
            let positions = upload(&places, device).doing(doing)?;
            let rows: Vec<usize> = places.iter().map(|&i| self.job.rows[i]).collect();
            let measured = self.look(&pass, &rows, &positions, &measures).doing(doing)?;
            for (found, values) in found.iter_mut().zip(&measured) {
                found.extend(read(values).doing(doing)?);
                found.truncate(n);
            }
            self.tell(self.job.spec.epochs as usize * self.steps.len(), observer)?;
        }
        Ok(found)
    }

    /// The measures of each image, in the mean over all choices; one choice after the other, because there may be many.
    fn look(&self, pass: &Pass, rows: &[usize], positions: &Tensor, measures: &[Measure]) -> TorchResult<Vec<Tensor>> {
        let n_choices = self.n_choices();
        let zeros = |_: &Measure| Tensor::f_zeros(rows.len() as i64, (Kind::Float, positions.device()));
        let mut sums = measures.iter().map(zeros).collect::<TorchResult<Vec<_>>>()?;
        for choice in 0..n_choices {
            let marks = self.marks_of(pass, rows, positions, choice)?;
            for (sum, measure) in sums.iter_mut().zip(measures) {
                let _ = sum.f_add_(&marks.measure(*measure)?)?;
            }
        }
        sums.iter().map(|sum| sum.f_div_scalar(n_choices as f64)).collect()
    }

    /// What the trained network says of each image, at one of the choices.
    fn marks_of(&self, pass: &Pass, rows: &[usize], positions: &Tensor, choice: usize) -> TorchResult<Marks> {
        let of_view = vec![choice; rows.len()];
        let choices = matches!(self.job.spec.target, Target::Applied { .. }).then_some(&of_view[..]);
        let x_nchw = self.views.plain(rows, self.chosen(choices))?;
        let outputs = self.state.model.forward(pass, &x_nchw)?;
        match (&self.job.spec.objective, &self.state.memory) {
            (Objective::Npid { temperature, .. }, Memory::Bank { entries_nd, .. }) => {
                let loss_n = softmax_over_bank(&unit(&outputs)?, entries_nd, positions, *temperature)?;
                Ok(Marks { loss_n, guess: None, pair: None })
            }
            _ => self.marks(&outputs, choices, positions),
        }
    }
}

/// As few steps as `batch_size` allows; their sizes differ by one at the most, so that no last one is too small for batch-norm.
fn cut(n: usize, batch_size: usize) -> Vec<usize> {
    let n_steps = n.div_ceil(batch_size);
    (0..n_steps).map(|i| (i + 1) * n / n_steps - i * n / n_steps).collect()
}

fn upload(positions: &[usize], device: tch::Device) -> TorchResult<Tensor> {
    let positions: Vec<i64> = positions.iter().map(|&position| position as i64).collect();
    Tensor::f_from_slice(&positions)?.f_to_device(device)
}

fn read(row: &Tensor) -> TorchResult<Vec<f32>> {
    let mut values = vec![0.0f32; row.numel()];
    let n = values.len();
    row.f_to_device(tch::Device::Cpu)?.f_contiguous()?.f_copy_data(&mut values, n)?;
    Ok(values)
}

#[cfg(test)]
mod tests;
