//! Residual networks for small images (He, Zhang, Ren, Sun: Deep Residual Learning, CVPR 2016).

use tch::Tensor;

use super::super::error::TorchResult;
use super::super::layers::{ConvBn, Pass, Plan};
use super::{Backbone, every};

/// A stem, then stages of basic blocks; each stage after the first halves the image.
struct ResNet {
    stem: ConvBn,
    /// Whether 3x3 max-pooling follows the stem and halves the image.
    pool: bool,
    blocks: Vec<Block>,
    n_features: usize,
}

/// Two 3x3 convolutions around which the input is added to the output.
struct Block {
    first: ConvBn,
    second: ConvBn,
    shortcut: Shortcut,
}

/// How a block's input reaches its output.
enum Shortcut {
    Identity,
    /// Every second pixel, and zeros for the new channels; the paper's option A.
    Subsample {
        n_new_channels: i64,
    },
    /// A 1x1 convolution of the same pixels as the block keeps; the paper's option B.
    Projection {
        layer: ConvBn,
        stride: i64,
    },
}

/// ResNet-18 with the 3x3 stem for small images that CIFAR papers use: 4 stages of 2 blocks, projections.
pub(super) fn resnet18(plan: &mut Plan, n_channels: usize, width: usize) -> Box<dyn Backbone> {
    let stem = plan.conv_bn("conv1", "bn1", (n_channels, width), 3, 1);
    Box::new(ResNet::new(plan, stem, false, &[width, 2 * width, 4 * width, 8 * width], 2, true))
}

/// ResNet-18 as published for ImageNet: a 7x7 stem and pooling quarter the image first. Its names are torchvision's.
pub(super) fn resnet18_imagenet(plan: &mut Plan, n_channels: usize, width: usize) -> Box<dyn Backbone> {
    let stem = plan.conv_bn("conv1", "bn1", (n_channels, width), 7, 2);
    Box::new(ResNet::new(plan, stem, true, &[width, 2 * width, 4 * width, 8 * width], 2, true))
}

/// The paper's CIFAR network with n = 3: 3 stages of 3 blocks, shortcuts without parameters.
pub(super) fn resnet20(plan: &mut Plan, n_channels: usize, width: usize) -> Box<dyn Backbone> {
    let stem = plan.conv_bn("conv1", "bn1", (n_channels, width), 3, 1);
    Box::new(ResNet::new(plan, stem, false, &[width, 2 * width, 4 * width], 3, false))
}

impl ResNet {
    fn new(plan: &mut Plan, stem: ConvBn, pool: bool, widths: &[usize], n_blocks: usize, project: bool) -> Self {
        let mut blocks = Vec::new();
        let mut n_in = widths[0];
        for (stage, &n_out) in widths.iter().enumerate() {
            for block in 0..n_blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                blocks.push(Block::new(plan, &name, (n_in, n_out), stride, project));
                n_in = n_out;
            }
        }
        Self { stem, pool, blocks, n_features: n_in }
    }
}

impl Block {
    fn new(plan: &mut Plan, name: &str, io: (usize, usize), stride: i64, project: bool) -> Self {
        let (n_in, n_out) = io;
        let part = |part: &str| format!("{name}.{part}");
        let first = plan.conv_bn(&part("conv1"), &part("bn1"), io, 3, stride);
        let second = plan.conv_bn(&part("conv2"), &part("bn2"), (n_out, n_out), 3, 1);
        let shortcut = if stride == 1 && n_in == n_out {
            Shortcut::Identity
        } else if project {
            let layer = plan.conv_bn(&part("downsample.0"), &part("downsample.1"), io, 1, 1);
            Shortcut::Projection { layer, stride }
        } else {
            Shortcut::Subsample { n_new_channels: (n_out - n_in) as i64 }
        };
        Self { first, second, shortcut }
    }

    fn forward(&self, pass: &Pass, x: &Tensor) -> TorchResult<Tensor> {
        let hidden = pass.conv_bn(&self.first, x)?.f_relu_()?;
        let mut out = pass.conv_bn(&self.second, &hidden)?;
        out.f_add_(&self.shortcut.forward(pass, x)?)?.f_relu_()
    }
}

impl Shortcut {
    fn forward(&self, pass: &Pass, x: &Tensor) -> TorchResult<Tensor> {
        match self {
            Shortcut::Identity => Ok(x.shallow_clone()),
            Shortcut::Projection { layer, stride } => pass.conv_bn(layer, &every(*stride, x)?),
            Shortcut::Subsample { n_new_channels } => every(2, x)?.f_constant_pad_nd([0, 0, 0, 0, 0, *n_new_channels]),
        }
    }
}

impl Backbone for ResNet {
    fn forward(&self, pass: &Pass, x_nchw: &Tensor) -> TorchResult<Tensor> {
        let mut x = pass.conv_bn(&self.stem, x_nchw)?.f_relu_()?;
        if self.pool {
            x = x.f_max_pool2d(3, 2, 1, 1, false)?;
        }
        for block in &self.blocks {
            x = block.forward(pass, &x)?;
        }
        pass.global_average(&x)
    }

    fn n_features(&self) -> usize {
        self.n_features
    }
}
