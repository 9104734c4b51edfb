//! A task model: a backbone, a classifier, and their weights.

use std::fs;
use std::path::Path;

use coldstart_plugin_api::Rng;
use tch::{Kind, Tensor};

use super::backbones::{self, Backbone};
use super::device::Device;
use super::error::{EngineError, TorchResult, While};
use super::images::{ImageShape, Images};
use super::layers::{self, Linear, Pass, Plan, Slot};
use super::settings::ModelSettings;

/// A classifier of images of one shape.
pub struct Model {
    plan: Plan,
    backbone: Box<dyn Backbone>,
    classifier: Linear,
    shape: ImageShape,
    n_classes: usize,
    device: Device,
    pub(super) params: Tensor,
    pub(super) stats: Tensor,
}

/// What a network says of a batch.
pub(super) struct Answer {
    pub(super) embeds_nd: Tensor,
    pub(super) logits_nc: Tensor,
}

/// All the weights of a model at one moment, on its device.
pub(super) struct Snapshot {
    params: Tensor,
    stats: Tensor,
}

impl Model {
    /// A new model with random weights drawn from `rng`, on `device`.
    ///
    /// The same settings, shape and generator state give the same weights on every platform. Errs when the settings do
    /// not [`validate`](ModelSettings::validate) or there are fewer than 2 classes.
    pub fn new(
        settings: &ModelSettings,
        shape: ImageShape,
        n_classes: usize,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let width = settings.resolved_width()?;
        if n_classes < 2 {
            return Err(EngineError::Input(format!("a model needs at least 2 classes, not {n_classes}")));
        }
        let mut plan = Plan::default();
        let backbone = backbones::find(&settings.backbone)?.build(&mut plan, shape.channels, width);
        let classifier = plan.linear("fc", backbone.n_features(), n_classes);
        let doing = "starting the weights";
        let mut params = layers::start(&plan.params, rng, device.torch()).doing(doing)?;
        let params = params.f_requires_grad_(true).doing(doing)?;
        let stats = layers::start(&plan.stats, rng, device.torch()).doing(doing)?;
        Ok(Self { plan, backbone, classifier, shape, n_classes, device: device.clone(), params, stats })
    }

    /// How many values training changes; the running statistics of batch-norm are not counted.
    pub fn n_parameters(&self) -> usize {
        self.params.numel()
    }

    /// How many classes it tells apart.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// The device it lives on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The width of its embeddings.
    pub fn n_features(&self) -> usize {
        self.backbone.n_features()
    }

    /// Writes the weights as safetensors, under the names and shapes that torchvision's ResNets use.
    ///
    /// The file appears complete or not at all. Errs when it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), EngineError> {
        let failed = |problem: String| EngineError::Weights { path: path.to_owned(), problem };
        let tensors = self.named_tensors().doing("copying the weights")?;
        let partial = path.with_extension("partial");
        Tensor::write_safetensors(&tensors, &partial).map_err(|error| failed(error.to_string()))?;
        let synced = fs::File::open(&partial).and_then(|file| file.sync_all());
        synced.and_then(|()| fs::rename(&partial, path)).map_err(|error| failed(error.to_string()))
    }

    /// Replaces the weights with those that [`Model::save`] wrote for a model of the same settings and shapes.
    ///
    /// Errs, and changes nothing, when the file cannot be read or a tensor is missing, left over or of another shape.
    pub fn load(&mut self, path: &Path) -> Result<(), EngineError> {
        let failed = |problem: String| EngineError::Weights { path: path.to_owned(), problem };
        let mut tensors = Tensor::read_safetensors(path).map_err(|error| failed(error.to_string()))?;
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let mut expected = self.named_tensors().doing("listing the weights")?;
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        let summary = |tensors: &[(String, Tensor)]| -> Vec<_> {
            tensors.iter().map(|(name, tensor)| format!("{name} {:?}", tensor.size())).collect()
        };
        let (found, wanted) = (summary(&tensors), summary(&expected));
        if let Some(lack) = wanted.iter().find(|tensor| !found.contains(tensor)) {
            return Err(failed(format!("this model needs a tensor {lack}")));
        }
        if let Some(extra) = found.iter().find(|tensor| !wanted.contains(tensor)) {
            return Err(failed(format!("this model has no tensor {extra}")));
        }
        self.replace(&tensors).doing("loading the weights")
    }

    fn named_tensors(&self) -> TorchResult<Vec<(String, Tensor)>> {
        let _no_grad = tch::no_grad_guard();
        let named = |flat: &Tensor, slots: &[Slot]| -> TorchResult<Vec<(String, Tensor)>> {
            let named = layers::views(flat, slots)?
                .into_iter()
                .zip(slots)
                .map(|(view, slot)| Ok((slot.name.clone(), view.f_to_device(tch::Device::Cpu)?.f_contiguous()?)));
            named.collect()
        };
        let mut tensors = named(&self.params, &self.plan.params)?;
        tensors.extend(named(&self.stats, &self.plan.stats)?);
        Ok(tensors)
    }

    fn replace(&mut self, sorted: &[(String, Tensor)]) -> TorchResult<()> {
        let _no_grad = tch::no_grad_guard();
        for (flat, slots) in [(&self.params, &self.plan.params), (&self.stats, &self.plan.stats)] {
            for (mut view, slot) in layers::views(flat, slots)?.into_iter().zip(slots) {
                if let Ok(at) = sorted.binary_search_by(|(name, _)| name.cmp(&slot.name)) {
                    view.f_copy_(&sorted[at].1)?;
                }
            }
        }
        Ok(())
    }

    /// Errs unless `images` have the shape and the device of this model.
    pub(super) fn check_images(&self, images: &Images) -> Result<(), EngineError> {
        if images.shape() != self.shape {
            let (got, expected) = (images.shape(), self.shape);
            return Err(EngineError::Input(format!("the model takes images of {expected:?}, not {got:?}")));
        }
        if images.device() != self.params.device() {
            return Err(EngineError::Input("the model and the images are on different devices".to_owned()));
        }
        Ok(())
    }

    pub(super) fn training_pass(&self, kind: Kind) -> TorchResult<Pass> {
        Pass::training(&self.plan, &self.params, &self.stats, kind)
    }

    pub(super) fn inference_pass(&self) -> TorchResult<Pass> {
        Pass::folded(&self.plan, &self.params, &self.stats)
    }

    #[cfg(test)]
    pub(super) fn unfolded_pass(&self) -> TorchResult<Pass> {
        Pass::unfolded(&self.plan, &self.params, &self.stats)
    }

    /// Runs the network on a normalised batch, n x channels x height x width.
    pub(super) fn forward(&self, pass: &Pass, x_nchw: &Tensor) -> TorchResult<Answer> {
        let embeds_nd = self.backbone.forward(pass, x_nchw)?;
        let logits_nc = pass.linear(&self.classifier, &embeds_nd)?;
        Ok(Answer { embeds_nd, logits_nc })
    }

    pub(super) fn snapshot(&self) -> TorchResult<Snapshot> {
        let _no_grad = tch::no_grad_guard();
        let copy = |flat: &Tensor| flat.f_to_dtype(Kind::Float, false, true);
        Ok(Snapshot { params: copy(&self.params)?, stats: copy(&self.stats)? })
    }

    pub(super) fn restore(&mut self, snapshot: &Snapshot) -> TorchResult<()> {
        let _no_grad = tch::no_grad_guard();
        self.params.f_copy_(&snapshot.params)?;
        self.stats.f_copy_(&snapshot.stats)
    }
}
