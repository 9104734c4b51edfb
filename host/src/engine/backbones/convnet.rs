//! A small network for small grey images: quick on a CPU, and strong enough for digits and clothes.

use tch::Tensor;

use super::super::error::TorchResult;
use super::super::layers::{ConvBn, Pass, Plan};
use super::Backbone;

/// Three times 3x3 convolution, batch-norm, ReLU and 2x2 max-pooling; channels double each time.
struct ConvNet {
    blocks: [ConvBn; 3],
    n_features: usize,
}

/// Builds it; any image of at least 8x8 fits.
pub(super) fn convnet(plan: &mut Plan, n_channels: usize, width: usize) -> Box<dyn Backbone> {
    let widths = [n_channels, width, 2 * width, 4 * width];
    let blocks = std::array::from_fn(|i| {
        plan.conv_bn(&format!("conv{}", i + 1), &format!("bn{}", i + 1), (widths[i], widths[i + 1]), 3, 1)
    });
    Box::new(ConvNet { blocks, n_features: widths[3] })
}

impl Backbone for ConvNet {
    fn forward(&self, pass: &Pass, x_nchw: &Tensor) -> TorchResult<Tensor> {
        let mut x = x_nchw.shallow_clone();
        for block in &self.blocks {
            x = pass.conv_bn(block, &x)?.f_relu_()?.f_max_pool2d(2, 2, 0, 1, false)?;
        }
        pass.global_average(&x)
    }

    fn n_features(&self) -> usize {
        self.n_features
    }
}
