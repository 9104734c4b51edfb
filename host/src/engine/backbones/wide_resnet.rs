//! Wide residual networks (Zagoruyko & Komodakis: Wide Residual Networks, BMVC 2016), the networks of semi-supervised learning.

use tch::Tensor;

use super::super::error::TorchResult;
use super::super::layers::{BatchNorm, Conv, ConvBn, Pass, Plan};
use super::{Backbone, every};

/// A 3x3 stem, three stages of pre-activated blocks, and a last activation; the second and third stage halve the image.
///
/// Its activation is the paper's ReLU; FixMatch's and MixMatch's code has a leaky one of slope 0.1.
struct WideResNet {
    stem: Conv,
    blocks: Vec<Block>,
    last: BatchNorm,
    n_features: usize,
}

/// Batch-norm and ReLU before each of two 3x3 convolutions, around which the input is added to the output.
struct Block {
    before: BatchNorm,
    first: ConvBn,
    second: Conv,
    /// Where the number of channels changes: a 1x1 convolution of the activated input.
    shortcut: Option<Conv>,
    stride: i64,
}

/// Depth 28, twice as wide as a plain one: (28 - 4) / 6 = 4 blocks a stage; `width` is that of the stem, 16 as published.
pub(super) fn wrn_28_2(plan: &mut Plan, n_channels: usize, width: usize) -> Box<dyn Backbone> {
    let stem = plan.conv("conv1", (n_channels, width), 3, 1);
    let (mut blocks, mut n_in) = (Vec::new(), width);
    for (stage, widening) in [2, 4, 8].into_iter().enumerate() {
        let n_out = widening * width;
        for block in 0..4 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            blocks.push(Block::new(plan, &format!("block{}.layer.{block}", stage + 1), (n_in, n_out), stride));
            n_in = n_out;
        }
    }
    let last = plan.batch_norm("bn1", n_in);
    Box::new(WideResNet { stem, blocks, last, n_features: n_in })
}

impl Block {
    fn new(plan: &mut Plan, name: &str, io: (usize, usize), stride: i64) -> Self {
        let part = |part: &str| format!("{name}.{part}");
        let before = plan.batch_norm(&part("bn1"), io.0);
        let first = plan.conv_bn(&part("conv1"), &part("bn2"), io, 3, stride);
        let second = plan.conv(&part("conv2"), (io.1, io.1), 3, 1);
        let shortcut = (io.0 != io.1).then(|| plan.conv(&part("convShortcut"), io, 1, 1));
        Self { before, first, second, shortcut, stride }
    }

    fn forward(&self, pass: &Pass, x: &Tensor) -> TorchResult<Tensor> {
        let active = pass.batch_norm(&self.before, x)?.f_relu_()?;
        let hidden = pass.conv_bn(&self.first, &active)?.f_relu_()?;
        let mut out = pass.conv(&self.second, &hidden)?;
        match &self.shortcut {
            None => out.f_add_(x),
            Some(shortcut) => out.f_add_(&pass.conv(shortcut, &every(self.stride, &active)?)?),
        }
    }
}

impl Backbone for WideResNet {
    fn forward(&self, pass: &Pass, x_nchw: &Tensor) -> TorchResult<Tensor> {
        let mut x = pass.conv(&self.stem, x_nchw)?;
        for block in &self.blocks {
            x = block.forward(pass, &x)?;
        }
        pass.global_average(&pass.batch_norm(&self.last, &x)?.f_relu_()?)
    }

    fn n_features(&self) -> usize {
        self.n_features
    }
}
