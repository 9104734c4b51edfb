//! One pass over chosen images: probabilities, logits and embeddings.

use std::ops::ControlFlow;

use tch::{Kind, Tensor};

use super::error::{EngineError, TorchResult, While};
use super::images::Images;
use super::model::{Answer, Model};

/// Images per block. Each block is full, the last one by repeating its last image: then every image is computed by the same
/// kernels in the same way, whatever is asked for beside it. On the CPU a block's activations should stay in the cache.
fn block_size(device: tch::Device) -> usize {
    if device.is_cuda() { 1024 } else { 64 }
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

/// Looks at the images `rows` once, without augmentation, in f32, with batch-norm folded into the convolutions.
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
    predict_in_blocks(model, images, rows, outputs, block_size(images.device()), observer)
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
    let doing = "predicting";
    model.check_images(images)?;
    images.check_rows(rows)?;
    let _no_grad = tch::no_grad_guard();
    let (n_images, n_blocks) = (rows.len(), rows.len().div_ceil(block));
    let mut padded = rows.to_vec();
    padded.resize(n_blocks * block, rows.last().copied().unwrap_or(0));
    let pass = model.inference_pass().doing("folding batch-norm")?;
    let epoch = images.unchanged(&padded).doing(doing)?;
    let mut collected = Collected::new(model, outputs, padded.len()).doing(doing)?;
    for start in (0..n_images).step_by(block) {
        let x_nchw = images.batch(&epoch, start, block).doing("cutting a block")?;
        let answer = model.forward(&pass, &x_nchw).doing(doing)?;
        collected.put(&answer, start).doing(doing)?;
        let n_done = n_images.min(start + block);
        if observer(PredictProgress { n_done, n_images }).is_break() {
            return Err(EngineError::Cancelled);
        }
    }
    collected.take(n_images).doing("reading predictions back")
}

/// The asked outputs of all rows, on the device until the end, so that no block waits for a copy.
struct Collected {
    probs_nc: Option<Tensor>,
    logits_nc: Option<Tensor>,
    embeds_nd: Option<Tensor>,
}

impl Collected {
    fn new(model: &Model, outputs: Outputs, n: usize) -> TorchResult<Self> {
        let space = |wanted: bool, n_cols: usize| {
            let size = [n as i64, n_cols as i64];
            wanted.then(|| Tensor::f_empty(size, (Kind::Float, model.device().torch()))).transpose()
        };
        Ok(Self {
            probs_nc: space(outputs.probabilities, model.n_classes())?,
            logits_nc: space(outputs.logits, model.n_classes())?,
            embeds_nd: space(outputs.embeddings, model.n_features())?,
        })
    }

    fn put(&mut self, answer: &Answer, start: usize) -> TorchResult<()> {
        let put = |space: &Option<Tensor>, block: &Tensor| match space {
            Some(space) => space.f_narrow(0, start as i64, block.size()[0])?.f_copy_(block),
            None => Ok(()),
        };
        put(&self.embeds_nd, &answer.embeds_nd)?;
        put(&self.logits_nc, &answer.logits_nc)?;
        put(&self.probs_nc, &answer.logits_nc.f_softmax(1, Kind::Float)?)
    }

    fn take(self, n_rows: usize) -> TorchResult<Predictions> {
        let take = |space: Option<Tensor>| space.map(|space| matrix(&space, n_rows)).transpose();
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
