//! A training as data: what a strategy hands the host to have a network trained, and its presets.
//!
//! A [`TrainSpec`] says which class each image has to be told apart by, what is done to the images first, which
//! network looks at them, what is minimised and what is recorded. A pretext of your own is another combination of the
//! same parts: the host needs no change. A part that the host does not know, such as an image operation of a later
//! version, is refused before anything is trained, with the list of those that it knows.

use serde::{Deserialize, Serialize};

mod check;
mod presets;

pub use presets::{PRESETS, distant_orders};

/// A training, complete: the same spec on the same images with the same seed is the same network.
///
/// ```
/// use coldstart_plugin_api::training::*;
///
/// // Which quarter of the image was erased?
/// let quarters = [[0.0, 0.0], [0.0, 0.5], [0.5, 0.0], [0.5, 0.5]];
/// let spec = TrainSpec {
///     name: "erased-quarter".into(),
///     target: Target::Applied { op: 0, every: true },
///     views: vec![
///         ViewOp::Erase { regions: quarters.map(|[top, left]| Region { top, left, height: 0.5, width: 0.5 }).into() },
///         ViewOp::Normalise {},
///     ],
///     epochs: 10,
///     ..TrainSpec::rotation(Setting::Cifar)
/// };
/// assert!(spec.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    /// What the journal and the report call it: lowercase letters, digits and `-`.
    pub name: String,
    /// What the network has to tell of an image.
    pub target: Target,
    /// What is done to every view of an image, in order, drawn afresh each time.
    pub views: Vec<ViewOp>,
    /// The network under the head; absent, the run's own backbone and width.
    pub backbone: Option<Backbone>,
    /// What stands between the network's features and the objective.
    pub head: Head,
    /// What is minimised.
    pub objective: Objective,
    /// The update rule.
    pub optimizer: Optimizer,
    /// How the learning rate falls from its peak.
    pub schedule: Schedule,
    /// Epochs in which the learning rate first rises linearly to its peak.
    pub warmup_epochs: u32,
    /// Passes over the images.
    pub epochs: u32,
    /// Images a step, each with all its views; steps of an epoch differ by one image at the most, and none is left out.
    pub batch_size: u32,
    /// What is kept of each image.
    pub record: Vec<Record>,
    /// The seed; absent, the run's. The same seed trains the same network for every plugin and every run.
    pub seed: Option<u64>,
}

/// What the network has to tell of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Target {
    /// Its class; all the images must be labelled.
    Labels {},
    /// The class number that the caller hands over for it, below `classes`: pseudo-labels.
    Classes {
        /// How many there are.
        classes: u32,
    },
    /// The row of numbers that the caller hands over for it.
    Values {},
    /// Which of its choices the choosing operation at `views[op]` took: the angle of a rotation, the order of tiles, ...
    Applied {
        /// The position in `views`, from 0.
        op: u32,
        /// Whether a step shows each image once for every choice, instead of once with a choice drawn at random.
        every: bool,
    },
    /// Itself among all others: for the contrastive objectives.
    Instance {},
}

/// An operation on the batch of images. Before `normalise`, pixels are numbers from 0 to 1.
///
/// The places of `resized-crop`, `pad-crop`, `flip`, `erase` and `cutout` and the strengths of `colour-jitter` and `blur`
/// are drawn for each image on its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ViewOp {
    /// Black pixels around the image, then a crop of the old size at a random place.
    PadCrop {
        /// Pixels on each side.
        padding: u32,
    },
    /// A random part of the image, resized to the old size by bilinear interpolation (Inception crop, as in torchvision:
    /// ten tries for a part that fits, then the largest central part within the ratios).
    ResizedCrop {
        /// The least and the largest share of the area.
        scale: [f64; 2],
        /// The least and the largest width over height; drawn evenly in its logarithm.
        ratio: [f64; 2],
    },
    /// Mirrored left to right with probability `p`.
    Flip {
        /// A probability.
        p: f64,
    },
    /// Brightness, contrast and saturation times a factor from 1 - s to 1 + s, the hue turned by up to s of a full turn,
    /// with probability `p` (torchvision's ColorJitter). On grey images only brightness and contrast change.
    ///
    /// Departure: the order of the four is drawn once a batch instead of once an image.
    ColourJitter {
        /// Strength, 0 to 1.
        brightness: f64,
        /// Strength, 0 to 1.
        contrast: f64,
        /// Strength, 0 to 1.
        saturation: f64,
        /// Strength, 0 to 0.5.
        hue: f64,
        /// A probability.
        p: f64,
    },
    /// Without colour with probability `p`: 0.299 red + 0.587 green + 0.114 blue in all channels.
    Grey {
        /// A probability.
        p: f64,
    },
    /// Gaussian blur with probability `p`; mirrored at the edges (without repeating the edge pixel).
    Blur {
        /// The least and the largest standard deviation, in pixels; drawn evenly.
        sigma: [f64; 2],
        /// A probability.
        p: f64,
    },
    /// Turned by 0, 90, 180 or 270 degrees against the clock, exactly. A choosing operation with 4 choices; for square images.
    Rotate90 {},
    /// Cut into `grid` x `grid` cells; of each a square of the cell's side less `gap` at a random place; these tiles
    /// normalised each by its own mean and deviation, and put in one of the orders. Each tile passes through the
    /// network alone; the head sees their features side by side (Noroozi & Favaro 2016). A choosing operation with a
    /// choice for each order; the last of `views`.
    Jigsaw {
        /// Cells on a side.
        grid: u32,
        /// Pixels that a tile is smaller than its cell.
        gap: u32,
        /// The orders: `orders[k][i]` is the cell whose tile stands at place i.
        orders: Vec<Vec<u32>>,
    },
    /// One of the regions made black (grey at the pool's mean after `normalise`). A choosing operation with a choice for
    /// each region.
    Erase {
        /// The regions.
        regions: Vec<Region>,
    },
    /// A square around a random pixel made black, as far as it lies in the image (DeVries & Taylor 2017); as `erase`.
    Cutout {
        /// Its side in pixels.
        side: u32,
    },
    /// The pool's mean and standard deviation of each channel taken out.
    Normalise {},
}

/// A rectangle, in shares of the image's height and width.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// From the top edge.
    pub top: f64,
    /// From the left edge.
    pub left: f64,
    /// How high.
    pub height: f64,
    /// How wide.
    pub width: f64,
}

/// A network by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backbone {
    /// Such as `resnet18`.
    pub name: String,
    /// Channels after the first convolution; absent, the published width.
    pub width: Option<u32>,
}

/// What stands between the features and the objective; the first layer sees the features, the last one gives `dim` numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Head {
    /// One linear layer.
    Linear {
        /// Width of the embedding; absent, as many numbers as the target has classes or values.
        dim: Option<u32>,
    },
    /// A hidden layer with ReLU, then a linear one.
    Mlp {
        /// Width of the hidden layer; absent, as wide as the features.
        hidden: Option<u32>,
        /// Width of the embedding; absent, as many numbers as the target has classes or values.
        dim: Option<u32>,
        /// Whether batch-norm follows the hidden layer.
        batch_norm: bool,
    },
}

/// What is minimised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Objective {
    /// Cross-entropy of the target class.
    CrossEntropy {},
    /// The mean squared difference from the target's values.
    Regression {},
    /// Two views of an image against the keys of earlier images in a queue (He et al. 2020). The second view passes through
    /// a copy of the network that follows it slowly.
    InfoNce {
        /// Divides the cosines.
        temperature: f64,
        /// Keys in the queue; it starts with random directions.
        queue: u32,
        /// How much of the copy stays at a step.
        momentum: f64,
        /// Parts of a batch that batch-norm sees on their own, in the order of a shuffle that differs for the two views:
        /// without it the network finds the pairs by their batch statistics.
        groups: u32,
        /// Whether each view is once the query, and the two losses are averaged.
        symmetric: bool,
    },
    /// Two views of an image against all other views in the batch (Chen et al. 2020).
    NtXent {
        /// Divides the cosines.
        temperature: f64,
    },
    /// One view of an image against a bank with an entry for each image (Wu et al. 2018).
    Npid {
        /// Divides the cosines.
        temperature: f64,
        /// How much of an entry stays when its image is seen.
        bank_momentum: f64,
        /// Entries drawn at random for noise-contrastive estimation; absent, the full softmax over all images.
        negatives: Option<u32>,
    },
}

/// The update rule with its peak learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// The peak learning rate.
        lr: f64,
        /// Momentum.
        momentum: f64,
        /// Nesterov's form of it.
        nesterov: bool,
        /// L2 penalty on every parameter.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay.
    Adamw {
        /// The peak learning rate.
        lr: f64,
        /// Decay per unit of learning rate.
        weight_decay: f64,
    },
    /// SGD whose step is scaled, for each weight matrix or filter bank, to a share of its norm (You et al. 2017). Biases
    /// and batch-norm are neither scaled nor decayed.
    Lars {
        /// The peak learning rate.
        lr: f64,
        /// Momentum.
        momentum: f64,
        /// L2 penalty.
        weight_decay: f64,
        /// The trust coefficient.
        trust: f64,
    },
}

/// How the learning rate falls from its peak; set anew at every step.
///
/// Departure: MoCo's code sets it once an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// Half a cosine, down to zero.
    Cosine {},
    /// Times `factor` after each of these epochs.
    Step {
        /// Ascending, from 1.
        epochs: Vec<u32>,
        /// Such as 0.1.
        factor: f64,
    },
    /// Not at all.
    Constant {},
}

/// What is kept of each image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Which number.
    pub measure: Measure,
    /// When it is taken.
    pub pass: Pass,
}

/// A number for an image. Over several choices of an operation it is their mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Measure {
    /// The objective's value.
    Loss {},
    /// The probability of the target class.
    Confidence {},
    /// 1 where the target class is the most probable one, else 0.
    Correct {},
    /// The probability of picking the image's other view among all other views in the batch: the mean of both directions
    /// of `exp(s_ij / t) / sum over n != i of exp(s_in / t)`, s the cosine (Chen et al. 2022, section 3.2).
    PairProbability {
        /// Divides the cosines.
        temperature: f64,
    },
}

/// When a number is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// In each epoch, from the step that the image took part in: a row for each epoch.
    Training,
    /// Once, after the training, in inference mode and without random changes: one row. A choosing operation shows all
    /// its choices.
    Final,
}

/// For which size of images a preset's published settings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Small images, about 32 x 32.
    Cifar,
    /// Photographs, about 224 x 224.
    ImageNet,
}

impl ViewOp {
    /// How many choices a choosing operation has; none for any other.
    pub fn n_choices(&self) -> Option<usize> {
        match self {
            ViewOp::Rotate90 {} => Some(4),
            ViewOp::Jigsaw { orders, .. } => Some(orders.len()),
            ViewOp::Erase { regions } => Some(regions.len()),
            _ => None,
        }
    }
}

impl Objective {
    /// How many views of an image a step needs.
    pub fn n_views(&self) -> usize {
        match self {
            Objective::InfoNce { .. } | Objective::NtXent { .. } => 2,
            _ => 1,
        }
    }
}

impl TrainSpec {
    /// The same training over another number of epochs: drops and warm-up stay at the same share of it.
    pub fn with_epochs(mut self, epochs: u32) -> TrainSpec {
        let scaled = |at: u32| (f64::from(at) * f64::from(epochs) / f64::from(self.epochs.max(1))).round() as u32;
        if let Schedule::Step { epochs: drops, .. } = &mut self.schedule {
            *drops = drops.iter().map(|&at| scaled(at).max(1)).collect();
            drops.dedup();
        }
        self.warmup_epochs = scaled(self.warmup_epochs).min(epochs.saturating_sub(1));
        self.epochs = epochs;
        self
    }

    /// The same training with another number of images a step, and the learning rate in proportion (Goyal et al. 2017).
    pub fn with_batch_size(mut self, batch_size: u32) -> TrainSpec {
        let scale = f64::from(batch_size) / f64::from(self.batch_size.max(1));
        let (Optimizer::Sgd { lr, .. } | Optimizer::Adamw { lr, .. } | Optimizer::Lars { lr, .. }) =
            &mut self.optimizer;
        *lr *= scale;
        self.batch_size = batch_size;
        self
    }
}

#[cfg(test)]
mod tests;
