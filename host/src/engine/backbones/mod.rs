//! The backbones by name: each maps images to embeddings, the features under the classifier.

mod convnet;
pub(super) mod given;
mod resnet;
pub(super) mod script;
mod wide_resnet;

use tch::Tensor;

use super::error::{EngineError, TorchResult};
use super::layers::{Pass, Plan};

/// The names that `model.backbone` may have.
pub const BACKBONES: &[&str] = &["resnet18", "resnet18-imagenet", "resnet20", "wrn-28-2", "convnet"];

/// A network without its classifier.
pub(super) trait Backbone: Send {
    /// Images, n x channels x height x width, to embeddings, n x [`n_features`](Backbone::n_features).
    fn forward(&self, pass: &Pass, x_nchw: &Tensor) -> TorchResult<Tensor>;

    /// The width of the embeddings.
    fn n_features(&self) -> usize;
}

/// How to build a backbone.
pub(super) struct Spec {
    pub(super) default_width: usize,
    build: fn(&mut Plan, n_channels: usize, width: usize) -> Box<dyn Backbone>,
}

impl Spec {
    /// Adds the layers to `plan`, for images of `n_channels` and `width` channels after the first convolution.
    pub(super) fn build(&self, plan: &mut Plan, n_channels: usize, width: usize) -> Box<dyn Backbone> {
        (self.build)(plan, n_channels, width)
    }
}

/// The backbone of that name, or an error that offers the nearest known one.
pub(super) fn find(name: &str) -> Result<Spec, EngineError> {
    match name {
        "resnet18" => Ok(Spec { default_width: 64, build: resnet::resnet18 }),
        "resnet18-imagenet" => Ok(Spec { default_width: 64, build: resnet::resnet18_imagenet }),
        "resnet20" => Ok(Spec { default_width: 16, build: resnet::resnet20 }),
        "wrn-28-2" => Ok(Spec { default_width: 16, build: wide_resnet::wrn_28_2 }),
        "convnet" => Ok(Spec { default_width: 32, build: convnet::convnet }),
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> EngineError {
    if script::script_file(name).is_some() {
        let problem = "is a TorchScript file, which cannot be trained: name a network".to_owned();
        return EngineError::Setting { key: "model.backbone", problem };
    }
    let known = [BACKBONES, &["torchscript:FILE"]].concat();
    let kind_of = |name: &str| name.split(':').next().unwrap_or_default().to_owned();
    let nearest = known.iter().min_by_key(|known| strsim::damerau_levenshtein(&kind_of(known), &kind_of(name)));
    let nearest = nearest.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
    let problem = format!("names an unknown backbone `{name}`; known are {}{nearest}", known.join(", "));
    EngineError::Setting { key: "model.backbone", problem }
}

/// Every `stride`-th pixel of every `stride`-th row.
///
/// A strided 1x1 convolution is this and then one of stride 1: below 8 channels the weight gradient of oneDNN's strided 1x1
/// convolution writes outside of its buffers (https://github.com/uxlfoundation/oneDNN/issues/6035). The mean over windows of one
/// pixel is the pixel, and unlike a slice its gradient keeps the channels_last layout.
fn every(stride: i64, x_nchw: &Tensor) -> TorchResult<Tensor> {
    if stride == 1 {
        return Ok(x_nchw.shallow_clone());
    }
    x_nchw.f_avg_pool2d(1, stride, 0, false, true, None)
}
