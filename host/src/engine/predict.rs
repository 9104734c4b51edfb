//! One pass over chosen images: probabilities, logits and embeddings.

use std::ops::ControlFlow;

use coldstart_plugin_api::Rng;
use coldstart_plugin_api::ops::Reduce;
use coldstart_plugin_api::training::ViewOp;
use tch::{Kind, Tensor};

use super::error::{EngineError, TorchResult, While};
use super::frozen::predict_kept;
use super::guard;
use super::images::Images;
use super::layers::Pass;
use super::model::Model;
use super::train::is_out_of_memory;
use super::views::{Chance, Views};

/// How many images a network looks at at once, at the least.
pub const PREDICTED_AT_ONCE: usize = 64;

/// Images per block. Each block is full, the last one by repeating its last image: then every image is computed by the same
/// kernels in the same way, whatever is asked for beside it. On the CPU a block's activations should stay in the cache.
pub(super) fn block_size(model: &Model) -> usize {
    match (model.device().torch(), model.kind()) {
        (tch::Device::Cpu, Kind::Float) => PREDICTED_AT_ONCE,
        (tch::Device::Cpu, _) => 128,
        _ => 1024,
    }
}

/// What to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// The softmax of the logits.
    pub probabilities: bool,
    /// The classifier's outputs.
    pub logits: bool,
    /// The features under the classifier.
    pub embeddings: bool,
}

/// A dense matrix of f32, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// `n_rows * n_cols` values.
    pub values: Vec<f32>,
    /// How many rows there are.
    pub n_rows: usize,
    /// How long each row is.
    pub n_cols: usize,
}

impl Matrix {
    /// The values of row `i`; panics when there is none.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.n_cols..][..self.n_cols]
    }
}

/// What was asked for, one row per asked image, in the order asked; n images, c classes, d features.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// Class probabilities; each row sums to 1 within f32 rounding.
    pub probs_nc: Option<Matrix>,
    /// The logits.
    pub logits_nc: Option<Matrix>,
    /// The embeddings.
    pub embeds_nd: Option<Matrix>,
}

/// Where a prediction is, told after every block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PredictProgress {
    /// Images done.
    pub n_done: usize,
    /// Images asked for.
    pub n_images: usize,
}

/// Hears of every block; `Break` cancels the prediction.
pub type PredictObserver<'a> = dyn FnMut(PredictProgress) -> ControlFlow<()> + 'a;

/// Random views of each image, and what becomes of the answers to them.
#[derive(Clone, Copy)]
pub struct Glances<'a> {
    /// What is done to a view.
    pub ops: &'a [ViewOp],
    /// How many views.
    pub count: usize,
    /// Whether the image as it is counts as one more.
    pub clean: bool,
    /// One number from many.
    pub reduce: Reduce,
    /// Where all chance comes from.
    pub seed: [u8; 32],
    /// The id of each row asked for: with the seed it decides its views.
    pub ids: &'a [u64],
}

/// Looks at random views of the images `rows`; otherwise as [`predict`]. Never more than a block's answers are kept, and
/// `observer` is told before every view.
///
/// Errs also when an operation does not fit the images, or there is no view at all.
pub fn predict_views(
    model: &Model,
    images: &Images,
    rows: &[usize],
    outputs: Outputs,
    glances: Glances<'_>,
    observer: &mut PredictObserver<'_>,
) -> Result<Predictions, EngineError> {
    if glances.count + usize::from(glances.clean) == 0 {
        return Err(EngineError::Input("there must be at least one view".to_owned()));
    }
    let views = Views::new(images, glances.ops)?;
    let block = block_size(model);
    in_blocks(model, images, rows, outputs, block, observer, &|pass, start, rows, go_on| {
        let doing = "predicting over views";
        let mut moments = Moments::default();
        if glances.clean {
            let x_nchw = images.batch(&images.unchanged(rows).doing(doing)?, 0, rows.len()).doing(doing)?;
            moments.add(Answers::of(model, pass, &x_nchw, outputs).doing(doing)?).doing(doing)?;
        }
        for view in 0..glances.count {
            go_on()?;
            let stream = |i: usize| {
                let id = glances.ids[(start + i).min(glances.ids.len() - 1)];
                Rng::for_stream(glances.seed, &format!("view/{view}/{id}"))
            };
            let mut batch = Rng::for_stream(glances.seed, &format!("view/{view}"));
            let chance = Chance::Apart { of_image: (0..rows.len()).map(stream).collect(), batch: &mut batch };
            let x_nchw = views.random(rows, None, chance).doing(doing)?;
            moments.add(Answers::of(model, pass, &x_nchw, outputs).doing(doing)?).doing(doing)?;
        }
        moments.reduce(glances.reduce).doing(doing)
    })
}

/// Looks at the images `rows` once, without augmentation, with batch-norm folded into the convolutions, which compute in f32 or
/// as the model [was told to](Model::predict_in); of a frozen network whose features are [kept](super::remember), at the
/// features.
///
/// On the CPU the answer for an image is the same, bit for bit, whichever other rows are asked for.
/// Errs when the images do not fit the model, when a row is not in the set, and when `observer` breaks.
pub fn predict(
    model: &Model,
    images: &Images,
    rows: &[usize],
    outputs: Outputs,
    observer: &mut PredictObserver<'_>,
) -> Result<Predictions, EngineError> {
    if let Some(features) = model.frozen().and_then(|name| images.features(name)) {
        model.check_images(images)?;
        images.check_rows(rows)?;
        return predict_kept(model, features, rows, outputs, observer);
    }
    predict_in_blocks(model, images, rows, outputs, block_size(model), observer)
}

/// [`predict`] with `block` images at a time.
pub(super) fn predict_in_blocks(
    model: &Model,
    images: &Images,
    rows: &[usize],
    outputs: Outputs,
    block: usize,
    observer: &mut PredictObserver<'_>,
) -> Result<Predictions, EngineError> {
    in_blocks(model, images, rows, outputs, block, observer, &|pass, _, rows, _| {
        let x_nchw =
            images.batch(&images.unchanged(rows).doing("predicting")?, 0, rows.len()).doing("cutting a block")?;
        Answers::of(model, pass, &x_nchw, outputs).doing("predicting")
    })
}

/// Answers to a full block of rows, of which the first is the one at a place in all that were asked for. What takes long asks
/// now and then whether it is to go on, and ends with that error.
type Look<'a> = dyn Fn(&Pass, usize, &[usize], GoOn<'_>) -> Result<Answers, EngineError> + 'a;

/// Errs when the prediction is cancelled.
type GoOn<'a> = &'a mut dyn FnMut() -> Result<(), EngineError>;

fn told(observer: &mut PredictObserver<'_>, n_done: usize, n_images: usize) -> Result<(), EngineError> {
    match observer(PredictProgress { n_done, n_images }) {
        ControlFlow::Break(()) => Err(EngineError::Cancelled),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn in_blocks(
    model: &Model,
    images: &Images,
    rows: &[usize],
    outputs: Outputs,
    block: usize,
    observer: &mut PredictObserver<'_>,
    look: &Look<'_>,
) -> Result<Predictions, EngineError> {
    model.check_images(images)?;
    images.check_rows(rows)?;
    if !model.sees_images() {
        let problem = "the model stands on features that were given, and cannot look at images itself";
        return Err(EngineError::Input(problem.to_owned()));
    }
    if model.n_tiles() > 1 && (outputs.probabilities || outputs.logits) {
        let problem = "a network that was trained on tiles has only embeddings of whole images";
        return Err(EngineError::Input(problem.to_owned()));
    }
    let mut block = block;
    loop {
        match guard::entry("predicting", || blockwise(model, rows, outputs, block, observer, look)) {
            Err(EngineError::Torch { source, .. }) if block > 1 && is_out_of_memory(&source) => {
                block /= 2;
                tracing::warn!("a block does not fit into memory: predicting {block} images at a time");
            }
            other => return other,
        }
    }
}

fn blockwise(
    model: &Model,
    rows: &[usize],
    outputs: Outputs,
    block: usize,
    observer: &mut PredictObserver<'_>,
    look: &Look<'_>,
) -> Result<Predictions, EngineError> {
    let _no_grad = tch::no_grad_guard();
    let (n_images, n_blocks) = (rows.len(), rows.len().div_ceil(block));
    let mut padded = rows.to_vec();
    padded.resize(n_blocks * block, rows.last().copied().unwrap_or(0));
    let pass = model.inference_pass().doing("folding batch-norm")?;
    let mut collected = Collected::new(model, outputs, padded.len()).doing("making space for predictions")?;
    for start in (0..n_images).step_by(block) {
        let answers = look(&pass, start, &padded[start..start + block], &mut || told(observer, start, n_images))?;
        collected.put(&answers, start).doing("keeping predictions")?;
        told(observer, n_images.min(start + block), n_images)?;
    }
    collected.take(n_images).doing("reading predictions back")
}

/// The asked outputs of a block, on the device; in the order probabilities, logits, embeddings.
#[derive(Default)]
pub(super) struct Answers(pub(super) [Option<Tensor>; 3]);

impl Answers {
    fn of(model: &Model, pass: &Pass, x_nchw: &Tensor, outputs: Outputs) -> TorchResult<Self> {
        let embeds_nd = model.features(pass, x_nchw)?;
        let wants_logits = outputs.logits || outputs.probabilities;
        let logits_nc = wants_logits.then(|| model.outputs(pass, &embeds_nd)).transpose()?;
        let probs_nc = logits_nc.as_ref().filter(|_| outputs.probabilities).map(|l| l.f_softmax(1, Kind::Float));
        Ok(Answers([
            probs_nc.transpose()?,
            logits_nc.filter(|_| outputs.logits),
            Some(embeds_nd).filter(|_| outputs.embeddings),
        ]))
    }
}

/// Mean and sum of squared distances from it, over the views so far (Welford 1962: no difference of large sums).
#[derive(Default)]
pub(super) struct Moments {
    n: i64,
    mean: Answers,
    spread: Answers,
}

impl Moments {
    pub(super) fn add(&mut self, answers: Answers) -> TorchResult<()> {
        self.n += 1;
        for ((answer, mean), spread) in answers.0.into_iter().zip(&mut self.mean.0).zip(&mut self.spread.0) {
            let Some(answer) = answer else { continue };
            let (Some(mean), Some(spread)) = (mean.as_mut(), spread.as_mut()) else {
                *spread = Some(answer.f_zeros_like()?);
                *mean = Some(answer);
                continue;
            };
            let before = answer.f_sub(mean)?;
            let _ = mean.f_add_(&before.f_div_scalar(self.n)?)?;
            let _ = spread.f_addcmul_(&before, &answer.f_sub(mean)?)?;
        }
        Ok(())
    }

    pub(super) fn reduce(self, reduce: Reduce) -> TorchResult<Answers> {
        match reduce {
            Reduce::Mean => Ok(self.mean),
            Reduce::Variance => {
                let [a, b, c] =
                    self.spread.0.map(|spread| spread.map(|spread| spread.f_div_scalar(self.n)).transpose());
                Ok(Answers([a?, b?, c?]))
            }
        }
    }
}

/// The asked outputs of all rows.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) probs_nc: Option<Space>,
    pub(super) logits_nc: Option<Space>,
    pub(super) embeds_nd: Option<Space>,
}

/// Where an output of all rows is collected.
pub(super) enum Space {
    /// On the device until the end, so that no block waits for a copy.
    OnDevice(Tensor),
    /// On the CPU where it is wanted in the end: a million rows are not held twice.
    Here(Matrix),
}

impl Space {
    fn new(n: usize, n_cols: usize, device: tch::Device) -> TorchResult<Space> {
        match device {
            tch::Device::Cpu => Ok(Space::Here(Matrix { values: vec![0.0; n * n_cols], n_rows: n, n_cols })),
            _ => Ok(Space::OnDevice(Tensor::f_empty([n as i64, n_cols as i64], (Kind::Float, device))?)),
        }
    }

    fn put(&mut self, block: &Tensor, start: usize) -> TorchResult<()> {
        match self {
            Space::OnDevice(space) => space.f_narrow(0, start as i64, block.size()[0])?.f_copy_(block),
            Space::Here(space) => {
                let n_values = block.numel();
                let into = &mut space.values[start * space.n_cols..][..n_values];
                block.f_contiguous()?.f_to_kind(Kind::Float)?.f_copy_data(into, n_values)
            }
        }
    }

    fn take(self, n_rows: usize) -> TorchResult<Matrix> {
        match self {
            Space::OnDevice(space) => matrix(&space, n_rows),
            Space::Here(mut space) => {
                space.values.truncate(n_rows * space.n_cols);
                Ok(Matrix { n_rows, ..space })
            }
        }
    }
}

impl Collected {
    fn new(model: &Model, outputs: Outputs, n: usize) -> TorchResult<Self> {
        let device = model.device().torch();
        let space = |wanted: bool, n_cols: usize| wanted.then(|| Space::new(n, n_cols, device)).transpose();
        Ok(Self {
            probs_nc: space(outputs.probabilities, model.n_outputs())?,
            logits_nc: space(outputs.logits, model.n_outputs())?,
            embeds_nd: space(outputs.embeddings, model.n_features())?,
        })
    }

    fn put(&mut self, answers: &Answers, start: usize) -> TorchResult<()> {
        let spaces = [&mut self.probs_nc, &mut self.logits_nc, &mut self.embeds_nd];
        for (space, block) in spaces.into_iter().zip(&answers.0) {
            if let (Some(space), Some(block)) = (space, block) {
                space.put(block, start)?;
            }
        }
        Ok(())
    }

    pub(super) fn take(self, n_rows: usize) -> TorchResult<Predictions> {
        let take = |space: Option<Space>| space.map(|space| space.take(n_rows)).transpose();
        Ok(Predictions {
            probs_nc: take(self.probs_nc)?,
            logits_nc: take(self.logits_nc)?,
            embeds_nd: take(self.embeds_nd)?,
        })
    }
}

fn matrix(tensor: &Tensor, n_rows: usize) -> TorchResult<Matrix> {
    let n_cols = tensor.size()[1] as usize;
    let tensor = tensor.f_narrow(0, 0, n_rows as i64)?.f_to_device(tch::Device::Cpu)?;
    let mut values = vec![0.0; n_rows * n_cols];
    let n_values = values.len();
    tensor.f_copy_data(&mut values, n_values)?;
    Ok(Matrix { values, n_rows, n_cols })
}
