//! The layers that backbones are made of, and the two flat buffers that hold everything a network learns.
//!
//! All trainable parameters lie in one flat f32 tensor, all running statistics of batch-norm in another. Each
//! forward pass takes views of them (one `split`, whose gradient is one `cat`), so an optimizer step, a change of
//! number format or a copy of the best epoch is a few operations on one tensor instead of on sixty.
//! Convolution weights lie as output x kernel x kernel x input, which is the channels_last layout.

use coldstart_plugin_api::Rng;
use tch::{Device, Kind, Tensor};

use super::error::TorchResult;

const BATCH_NORM_EPS: f64 = 1e-5;
const BATCH_NORM_MOMENTUM: f64 = 0.1;

/// How a parameter or statistic starts.
#[derive(Clone, Copy)]
enum Start {
    Zeros,
    Ones,
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform from minus to plus this bound.
    Uniform(f64),
}

/// One named tensor of a network: its shape in memory and how it starts.
pub(super) struct Slot {
    pub(super) name: String,
    shape: Vec<i64>,
    start: Start,
}

impl Slot {
    fn n_values(&self) -> i64 {
        self.shape.iter().product()
    }

    /// Whether it is a weight matrix or a bank of filters, and not a bias or a part of batch-norm.
    pub(super) fn is_weight(&self) -> bool {
        self.shape.len() > 1
    }
}

/// The parameters and statistics of a network, in the order in which its layers asked for them.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) params: Vec<Slot>,
    pub(super) stats: Vec<Slot>,
    conv_bns: Vec<ConvBn>,
}

/// A convolution without bias.
#[derive(Clone, Copy)]
pub(super) struct Conv {
    weight: usize,
    stride: i64,
    padding: i64,
}

/// Batch-norm; gamma is followed by beta, and the running mean by its variance.
#[derive(Clone, Copy)]
pub(super) struct BatchNorm {
    gamma: usize,
    mean: usize,
}

/// A convolution followed by batch-norm, which inference folds into it.
#[derive(Clone, Copy)]
pub(super) struct ConvBn {
    /// Its place in [`Plan::conv_bns`].
    index: usize,
    conv: Conv,
    norm: BatchNorm,
}

/// A linear layer with bias, on n x d.
pub(super) struct Linear {
    weight: usize,
}

impl Plan {
    /// Adds a `kernel` x `kernel` convolution.
    ///
    /// Weights start Kaiming normal over the outputs (He et al., 2015, and torchvision's ResNets).
    pub(super) fn conv(&mut self, name: &str, (n_in, n_out): (usize, usize), kernel: usize, stride: i64) -> Conv {
        let gain = Start::Normal((2.0 / (n_out * kernel * kernel) as f64).sqrt());
        let weight = add(&mut self.params, format!("{name}.weight"), &[n_out, kernel, kernel, n_in], gain);
        Conv { weight, stride, padding: kernel as i64 / 2 }
    }

    /// Adds a batch-norm of `n` channels.
    pub(super) fn batch_norm(&mut self, name: &str, n: usize) -> BatchNorm {
        let gamma = add(&mut self.params, format!("{name}.weight"), &[n], Start::Ones);
        add(&mut self.params, format!("{name}.bias"), &[n], Start::Zeros);
        let mean = add(&mut self.stats, format!("{name}.running_mean"), &[n], Start::Zeros);
        add(&mut self.stats, format!("{name}.running_var"), &[n], Start::Ones);
        BatchNorm { gamma, mean }
    }

    /// Adds a convolution named `conv` with its batch-norm named `bn`.
    pub(super) fn conv_bn(&mut self, conv: &str, bn: &str, io: (usize, usize), kernel: usize, stride: i64) -> ConvBn {
        let conv = self.conv(conv, io, kernel, stride);
        let norm = self.batch_norm(bn, io.1);
        let layer = ConvBn { index: self.conv_bns.len(), conv, norm };
        self.conv_bns.push(layer);
        layer
    }

    /// Adds a linear layer with bias, started uniformly within 1 / sqrt(`n_in`), as PyTorch does.
    pub(super) fn linear(&mut self, name: &str, n_in: usize, n_out: usize) -> Linear {
        let bound = Start::Uniform(1.0 / (n_in as f64).sqrt());
        let weight = add(&mut self.params, format!("{name}.weight"), &[n_out, n_in], bound);
        add(&mut self.params, format!("{name}.bias"), &[n_out], bound);
        Linear { weight }
    }
}

fn add(slots: &mut Vec<Slot>, name: String, shape: &[usize], start: Start) -> usize {
    let shape = shape.iter().map(|&size| size as i64).collect();
    slots.push(Slot { name, shape, start });
    slots.len() - 1
}

/// A new flat buffer for `slots`, drawn value by value in their order, so the same on every platform.
pub(super) fn start(slots: &[Slot], rng: &mut Rng, device: Device) -> TorchResult<Tensor> {
    let n_values: i64 = slots.iter().map(Slot::n_values).sum();
    let mut values = Vec::with_capacity(n_values as usize);
    for slot in slots {
        values.extend((0..slot.n_values()).map(|_| match slot.start {
            Start::Zeros => 0.0,
            Start::Ones => 1.0,
            Start::Normal(std) => (rng.normal() * std) as f32,
            Start::Uniform(bound) => ((2.0 * rng.uniform() - 1.0) * bound) as f32,
        }));
    }
    Tensor::f_from_slice(&values)?.f_to_device(device)
}

/// The parts of a flat buffer, one per slot, each still flat; writing to one writes to the buffer.
pub(super) fn pieces(flat: &Tensor, slots: &[Slot]) -> TorchResult<Vec<Tensor>> {
    let mut start = 0;
    let piece = slots.iter().map(|slot| {
        start += slot.n_values();
        flat.f_narrow(0, start - slot.n_values(), slot.n_values())
    });
    piece.collect()
}

/// The tensors of a flat buffer, one per slot; convolution weights as output x input x kernel x kernel.
pub(super) fn views(flat: &Tensor, slots: &[Slot]) -> TorchResult<Vec<Tensor>> {
    let sizes: Vec<i64> = slots.iter().map(Slot::n_values).collect();
    let pieces = flat.f_split_with_sizes(sizes, 0)?;
    let shaped = pieces.iter().zip(slots).map(|(piece, slot)| {
        let view = piece.f_view(slot.shape.as_slice())?;
        if slot.shape.len() == 4 { view.f_permute([0, 3, 1, 2]) } else { Ok(view) }
    });
    shaped.collect()
}

/// One way through a network: the views of its weights, what convolutions compute in, and what batch-norm does.
pub(super) struct Pass {
    params: Vec<Tensor>,
    kind: Kind,
    norm: Norm,
}

/// What stands for batch-norm.
enum Norm {
    /// Normalises by each of `groups` parts of the batch on its own, and moves the running statistics towards each in turn
    /// (MoCo's demo moves them once, towards their mean).
    Batch { affine: Vec<Tensor>, stats: Vec<Tensor>, groups: i64 },
    /// Is already folded into these weights and biases, one pair per [`ConvBn`]; a [`BatchNorm`] of its own normalises by the
    /// running statistics.
    Folded { folded: Vec<(Tensor, Tensor)>, stats: Vec<Tensor> },
    /// Normalises by the running statistics, unfolded: the reference for folding.
    #[cfg(test)]
    Running { stats: Vec<Tensor> },
}

impl Pass {
    /// A training pass over flat buffers; convolutions and the classifier compute in `kind`.
    pub(super) fn training(plan: &Plan, params: &Tensor, stats: &Tensor, kind: Kind) -> TorchResult<Self> {
        Pass::in_groups(plan, params, stats, kind, 1)
    }

    /// As [`Pass::training`], with batch-norm over `groups` consecutive parts of the batch, each on its own.
    pub(super) fn in_groups(
        plan: &Plan,
        params: &Tensor,
        stats: &Tensor,
        kind: Kind,
        groups: usize,
    ) -> TorchResult<Self> {
        let affine = views(params, &plan.params)?;
        let stats = views(stats, &plan.stats)?;
        let params = views(&params.f_to_kind(kind)?, &plan.params)?;
        Ok(Self { params, kind, norm: Norm::Batch { affine, stats, groups: groups as i64 } })
    }

    /// An inference pass with every batch-norm folded, in f32, into the convolution before it. Convolutions compute in `kind`,
    /// averages and linear layers in f32: a classifier that rounds its answers makes ties of them.
    pub(super) fn folded(plan: &Plan, params: &Tensor, stats: &Tensor, kind: Kind) -> TorchResult<Self> {
        let params = views(params, &plan.params)?;
        let stats = views(stats, &plan.stats)?;
        let fold = |layer: &ConvBn| {
            let (weight, bias) = layer.fold(&params, &stats)?;
            Ok((weight.f_to_kind(kind)?, bias.f_to_kind(kind)?))
        };
        let folded = plan.conv_bns.iter().map(fold).collect::<TorchResult<_>>()?;
        let is_folded = |slot: usize| plan.conv_bns.iter().any(|layer| layer.conv.weight == slot);
        let params = params.iter().enumerate().map(|(slot, view)| match view.dim() == 4 && !is_folded(slot) {
            true => view.f_to_kind(kind),
            false => Ok(view.shallow_clone()),
        });
        Ok(Self { params: params.collect::<TorchResult<_>>()?, kind, norm: Norm::Folded { folded, stats } })
    }

    /// An inference pass that applies batch-norm as its own step.
    #[cfg(test)]
    pub(super) fn unfolded(plan: &Plan, params: &Tensor, stats: &Tensor) -> TorchResult<Self> {
        let stats = views(stats, &plan.stats)?;
        Ok(Self { params: views(params, &plan.params)?, kind: Kind::Float, norm: Norm::Running { stats } })
    }

    /// Applies `layer` to `x_nchw`.
    pub(super) fn conv(&self, layer: &Conv, x_nchw: &Tensor) -> TorchResult<Tensor> {
        layer.apply(&x_nchw.f_to_kind(self.kind)?, &self.params[layer.weight], None)
    }

    /// Applies `layer` to `x_nchw`.
    pub(super) fn batch_norm(&self, layer: &BatchNorm, x_nchw: &Tensor) -> TorchResult<Tensor> {
        match &self.norm {
            Norm::Batch { affine, stats, groups: 1 } => layer.apply(x_nchw, affine, stats, true),
            Norm::Batch { affine, stats, groups } => {
                let parts = x_nchw.f_chunk(*groups, 0)?;
                let parts = parts.iter().map(|part| layer.apply(part, affine, stats, true));
                Tensor::f_cat(&parts.collect::<TorchResult<Vec<_>>>()?, 0)
            }
            Norm::Folded { stats, .. } => layer.apply(x_nchw, &self.params, stats, false),
            #[cfg(test)]
            Norm::Running { stats } => layer.apply(x_nchw, &self.params, stats, false),
        }
    }

    /// Applies `layer` to `x_nchw`.
    pub(super) fn conv_bn(&self, layer: &ConvBn, x_nchw: &Tensor) -> TorchResult<Tensor> {
        match &self.norm {
            Norm::Folded { folded, .. } => {
                let (weight, bias) = &folded[layer.index];
                layer.conv.apply(&x_nchw.f_to_kind(self.kind)?, weight, Some(bias))
            }
            _ => self.batch_norm(&layer.norm, &self.conv(&layer.conv, x_nchw)?),
        }
    }

    /// Applies `layer` to `x_nd`.
    pub(super) fn linear(&self, layer: &Linear, x_nd: &Tensor) -> TorchResult<Tensor> {
        let (weight, bias) = (&self.params[layer.weight], &self.params[layer.weight + 1]);
        x_nd.f_to_kind(weight.kind())?.f_linear(weight, Some(bias))
    }

    /// The mean over height and width: n x c x h x w to n x c; at inference in f32.
    pub(super) fn global_average(&self, x_nchw: &Tensor) -> TorchResult<Tensor> {
        let kind = if let Norm::Batch { .. } = self.norm { None } else { Some(Kind::Float) };
        x_nchw.f_mean_dim([2, 3].as_slice(), false, kind)
    }
}

impl Conv {
    fn apply(&self, x_nchw: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> TorchResult<Tensor> {
        x_nchw.f_conv2d(weight, bias, self.stride, self.padding, 1, 1)
    }
}

impl BatchNorm {
    fn apply(&self, x: &Tensor, affine: &[Tensor], stats: &[Tensor], training: bool) -> TorchResult<Tensor> {
        let (gamma, beta) = (&affine[self.gamma], &affine[self.gamma + 1]);
        let (mean, var) = (&stats[self.mean], &stats[self.mean + 1]);
        let cudnn = x.device().is_cuda();
        let (momentum, eps) = (BATCH_NORM_MOMENTUM, BATCH_NORM_EPS);
        x.f_batch_norm(Some(gamma), Some(beta), Some(mean), Some(var), training, momentum, eps, cudnn)
    }
}

impl ConvBn {
    /// The weight and bias of the one convolution that does what this layer does at inference.
    fn fold(&self, params: &[Tensor], stats: &[Tensor]) -> TorchResult<(Tensor, Tensor)> {
        let BatchNorm { gamma, mean } = self.norm;
        let (gamma, beta) = (&params[gamma], &params[gamma + 1]);
        let (mean, var) = (&stats[mean], &stats[mean + 1]);
        let scale = gamma.f_mul(&var.f_add_scalar(BATCH_NORM_EPS)?.f_rsqrt()?)?;
        let weight = params[self.conv.weight].f_mul(&scale.f_view([-1, 1, 1, 1])?)?;
        let bias = beta.f_sub(&mean.f_mul(&scale)?)?;
        Ok((weight, bias))
    }
}
