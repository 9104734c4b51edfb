//! A network: a backbone, a head, and their weights.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use coldstart_plugin_api::Rng;
use tch::{Kind, Tensor};

use super::backbones::given::Given;
use super::backbones::script::{load as load_script, script_file};
use super::backbones::{self, Backbone};
use super::device::Device;
use super::error::{EngineError, TorchResult, While};
use super::images::{ImageShape, Images};
use super::layers::{self, ConvBn, Linear, Pass, Plan, Slot};
use super::optimizer::Update;
use super::settings::{ModelSettings, Precision, WeightFile};
use super::weight_file;

/// A network for images of one shape: a classifier, or whatever else its head was made for.
pub struct Model {
    plan: Plan,
    backbone: Box<dyn Backbone>,
    head: Head,
    n_tiles: usize,
    shape: ImageShape,
    n_outputs: usize,
    device: Device,
    pub(super) params: Tensor,
    pub(super) stats: Tensor,
    frozen: Option<Arc<str>>,
    sees_images: bool,
    /// What convolutions compute in when it predicts.
    kind: Kind,
}

/// What stands on a backbone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadSettings {
    /// How many numbers it puts out.
    pub n_outputs: usize,
    /// Whether there is a hidden layer.
    pub hidden: Option<Hidden>,
    /// How many tiles of an image it sees side by side; 1 for whole images.
    pub n_tiles: usize,
}

/// A hidden layer with ReLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Its width; absent, as wide as what it sees.
    pub width: Option<usize>,
    /// Whether batch-norm follows it, before the ReLU.
    pub batch_norm: bool,
}

/// The layers of a head.
struct Head {
    hidden: Option<HiddenLayer>,
    last: Linear,
}

enum HiddenLayer {
    Plain(Linear),
    /// A convolution of one pixel is a linear layer.
    Normed(ConvBn),
}

impl HeadSettings {
    /// A linear classifier.
    pub fn classifier(n_classes: usize) -> Self {
        Self { n_outputs: n_classes, hidden: None, n_tiles: 1 }
    }

    fn build(&self, plan: &mut Plan, n_features: usize) -> Head {
        let n_in = n_features * self.n_tiles;
        let Some(Hidden { width, batch_norm }) = self.hidden else {
            return Head { hidden: None, last: plan.linear("fc", n_in, self.n_outputs) };
        };
        let width = width.unwrap_or(n_in);
        let hidden = match batch_norm {
            true => HiddenLayer::Normed(plan.conv_bn("head.0", "head.1", (n_in, width), 1, 1)),
            false => HiddenLayer::Plain(plan.linear("head.0", n_in, width)),
        };
        Head { hidden: Some(hidden), last: plan.linear("fc", width, self.n_outputs) }
    }
}

impl Head {
    fn forward(&self, pass: &Pass, features_nd: &Tensor) -> TorchResult<Tensor> {
        let hidden = match &self.hidden {
            None => features_nd.shallow_clone(),
            Some(HiddenLayer::Plain(layer)) => pass.linear(layer, features_nd)?.f_relu()?,
            Some(HiddenLayer::Normed(layer)) => {
                let features_ndhw = features_nd.f_unsqueeze(2)?.f_unsqueeze(3)?;
                pass.conv_bn(layer, &features_ndhw)?.f_relu()?.f_flatten(1, 3)?
            }
        };
        pass.linear(&self.last, &hidden)?.f_to_kind(Kind::Float)
    }
}

/// How the names of a head's tensors begin.
const HEAD: [&str; 2] = ["fc.", "head."];

fn is_of_head(name: &str) -> bool {
    HEAD.iter().any(|part| name.starts_with(part))
}

/// A tensor that a backbone needs and that other weights do not have like that.
struct Lack<'a> {
    name: &'a str,
    size: Vec<i64>,
    /// Its shape there, if it is there at all.
    theirs: Option<Vec<i64>>,
}

/// The name of a tensor in a file, as this program calls it.
fn renamed(name: &str, file: &WeightFile) -> String {
    let longest = file.rename.iter().filter(|(from, _)| name.starts_with(*from)).max_by_key(|(from, _)| from.len());
    longest.map_or_else(|| name.to_owned(), |(from, to)| format!("{to}{}", &name[from.len()..]))
}

/// All the weights of a model, apart from it, on its device.
pub(super) struct Weights {
    pub(super) params: Tensor,
    pub(super) stats: Tensor,
}

impl Model {
    /// A new classifier with random weights drawn from `rng`, on `device`.
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
        if n_classes < 2 {
            return Err(EngineError::Input(format!("a model needs at least 2 classes, not {n_classes}")));
        }
        Model::with_head(settings, shape, HeadSettings::classifier(n_classes), rng, device)
    }

    /// As [`Model::new`], with any head.
    pub fn with_head(
        settings: &ModelSettings,
        shape: ImageShape,
        head: HeadSettings,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let mut plan = Plan::default();
        let script = script_file(&settings.backbone);
        let backbone = match script {
            Some(file) => load_script(file, shape, device)?,
            None => {
                let width = settings.resolved_width()?;
                backbones::find(&settings.backbone)?.build(&mut plan, shape.channels, width)
            }
        };
        let mut model = Model::assembled(plan, backbone, (shape, head), rng, device)?;
        model.frozen = script.map(|_| settings.backbone.as_str().into());
        Ok(model)
    }

    /// A classifier of features of `n_features` numbers that are [given](super::give) under this name; it never looks at images of
    /// that shape.
    ///
    /// Errs when there are no features, or fewer than 2 classes.
    pub fn over_features(
        name: &str,
        n_features: usize,
        (shape, n_classes): (ImageShape, usize),
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self, EngineError> {
        if n_features == 0 || n_classes < 2 {
            let problem = format!("a model needs features and at least 2 classes, not {n_features} and {n_classes}");
            return Err(EngineError::Input(problem));
        }
        let backbone = Box::new(Given { n_features });
        let head = HeadSettings::classifier(n_classes);
        let mut model = Model::assembled(Plan::default(), backbone, (shape, head), rng, device)?;
        model.frozen = Some(name.into());
        model.sees_images = false;
        Ok(model)
    }

    /// The head on the backbone, with random weights.
    fn assembled(
        mut plan: Plan,
        backbone: Box<dyn Backbone>,
        (shape, head): (ImageShape, HeadSettings),
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let HeadSettings { n_outputs, n_tiles, .. } = head;
        let head = head.build(&mut plan, backbone.n_features());
        let doing = "starting the weights";
        let mut params = layers::start(&plan.params, rng, device.torch()).doing(doing)?;
        let params = params.f_requires_grad_(true).doing(doing)?;
        let stats = layers::start(&plan.stats, rng, device.torch()).doing(doing)?;
        Ok(Self {
            plan,
            backbone,
            head,
            n_tiles,
            shape,
            n_outputs,
            device: device.clone(),
            params,
            stats,
            frozen: None,
            sees_images: true,
            kind: Kind::Float,
        })
    }

    /// Whether it has a network that looks at images; otherwise it only knows features that were given.
    pub fn sees_images(&self) -> bool {
        self.sees_images
    }

    /// How many values training changes; the running statistics of batch-norm are not counted.
    pub fn n_parameters(&self) -> usize {
        self.params.numel()
    }

    /// How many numbers its head puts out: the classes of a classifier.
    pub fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    /// How many tiles of an image its head sees side by side: 1, unless it was trained on tiles.
    pub(super) fn n_tiles(&self) -> usize {
        self.n_tiles
    }

    /// Moves the weights against `gradient`, which is used up. Call it without gradient tracking.
    pub(super) fn learn(&mut self, update: &mut Update, gradient: &mut Tensor, lr: f64) -> TorchResult<()> {
        update.step(&self.plan.params, &mut self.params, gradient, lr)
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
        let failed = |problem: String| EngineError::weights(path, problem);
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
        let failed = |problem: String| EngineError::weights(path, problem);
        let mut tensors = weight_file::read(path)?;
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

    /// Takes over the backbone's weights of a network with the same backbone; the head stays as it is.
    ///
    /// Errs, and changes nothing, when the backbones differ.
    pub fn adopt(&mut self, other: &Model) -> Result<(), EngineError> {
        let theirs = other.named_tensors().doing("copying the weights")?;
        let theirs = self.of_backbone(theirs, |Lack { name, size, .. }| {
            EngineError::Input(format!("the network to start from has another backbone: it lacks `{name}` of {size:?}"))
        })?;
        self.replace(&theirs).doing("taking over weights")
    }

    /// Takes over the backbone's weights from a file; the head stays as it is, and what the backbone does not know is left.
    ///
    /// Errs, and changes nothing, when the file cannot be read, lacks a tensor of the backbone, or has it in another shape, as
    /// integers, or with values that are not finite.
    pub fn adopt_file(&mut self, file: &WeightFile) -> Result<(), EngineError> {
        let tensors = weight_file::read(&file.path)?;
        let mut found: Vec<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
        found.sort();
        let renamed: Vec<_> = tensors.into_iter().map(|(name, tensor)| (renamed(&name, file), tensor)).collect();
        let theirs = self.of_backbone(renamed, |lack| self.unfit(file, &found, lack))?;
        for (name, tensor) in &theirs {
            weight_file::check(&file.path, name, tensor)?;
        }
        self.replace(&theirs).doing("taking over weights")
    }

    /// What is wrong with a file of weights that lacks a tensor, and what to do about it.
    fn unfit(&self, file: &WeightFile, found: &[String], lack: Lack<'_>) -> EngineError {
        let Lack { name, size, theirs } = lack;
        let (problem, hint) = match theirs {
            Some(other) => (
                format!("the backbone needs a tensor `{name}` of {size:?}, and the file has it with {other:?}"),
                "`model.backbone` and `model.width` must be those of the file".to_owned(),
            ),
            None => {
                let first: Vec<String> = found.iter().take(3).map(|name| format!("`{name}`")).collect();
                let first = first.join(", ");
                let n_found = self.backbone_names().filter(|name| found.iter().any(|found| found == name)).count();
                let hint = match self.prefix(found) {
                    Some(prefix) => {
                        format!("leave out what its names begin with: `rename = {{ \"{prefix}\" = \"\" }}`")
                    }
                    None if n_found > 0 => {
                        let n = self.backbone_names().count();
                        format!("it has {n_found} of the backbone's {n} tensors: part of a file, or another network's")
                    }
                    None => "name what the names begin with in `rename`, if that is all that differs".to_owned(),
                };
                (format!("the backbone needs a tensor `{name}` of {size:?}; the file begins with {first}"), hint)
            }
        };
        EngineError::Weights { path: file.path.clone(), problem, hint: Some(hint) }
    }

    /// What all names of the backbone's tensors have before them in a file, if that is all that differs.
    fn prefix(&self, found: &[String]) -> Option<String> {
        let ours: Vec<&str> = self.backbone_names().collect();
        let first = ours.first()?;
        let before = found.iter().filter_map(|name| name.strip_suffix(first)).filter(|prefix| !prefix.is_empty());
        let all_have =
            |prefix: &&str| ours.iter().all(|name| found.iter().any(|f| f.strip_prefix(*prefix) == Some(name)));
        before.into_iter().find(all_have).map(str::to_owned)
    }

    /// The names of the backbone's tensors.
    fn backbone_names(&self) -> impl Iterator<Item = &str> {
        let names = self.plan.params.iter().chain(&self.plan.stats).map(|slot| slot.name.as_str());
        names.filter(|name| !is_of_head(name))
    }

    /// Those of `theirs` that the backbone has, sorted by name; errs when one is missing or has another shape.
    fn of_backbone(
        &self,
        mut theirs: Vec<(String, Tensor)>,
        lacking: impl Fn(Lack<'_>) -> EngineError,
    ) -> Result<Vec<(String, Tensor)>, EngineError> {
        theirs.sort_by(|a, b| a.0.cmp(&b.0));
        let mut taken = Vec::new();
        for (name, tensor) in self.named_tensors().doing("listing the weights")? {
            if is_of_head(&name) {
                continue;
            }
            let size = tensor.size();
            let found = theirs.binary_search_by(|(other, _)| other.cmp(&name)).ok().map(|at| &theirs[at].1);
            match found {
                Some(found) if found.size() == size => taken.push((name, found.shallow_clone())),
                other => return Err(lacking(Lack { name: &name, size, theirs: other.map(Tensor::size) })),
            }
        }
        taken.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(taken)
    }

    /// Lets its convolutions compute in `precision` when it predicts, and not in f32.
    pub fn predict_in(&mut self, precision: Precision) {
        self.kind = precision.kind_on(&self.device);
    }

    /// What its convolutions compute in when it predicts.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Says that the backbone never changes and what it is called: what it makes of a set of images may then be kept, by
    /// [`remember`](super::remember).
    pub fn freeze(&mut self, name: &str) {
        self.frozen = Some(name.into());
    }

    pub(super) fn frozen(&self) -> Option<&Arc<str>> {
        self.frozen.as_ref()
    }

    /// Puts these weights, classes x d, and biases into a head without a hidden layer.
    pub(super) fn set_classifier(&mut self, weights_cd: &Tensor, bias_c: &Tensor) -> TorchResult<()> {
        let tensors =
            [("fc.bias".to_owned(), bias_c.shallow_clone()), ("fc.weight".to_owned(), weights_cd.shallow_clone())];
        self.replace(&tensors)
    }

    /// The weights of the classifier, classes x d.
    #[cfg(test)]
    pub(super) fn classifier(&self) -> Option<Tensor> {
        let tensors = self.named_tensors().ok()?;
        tensors.into_iter().find(|(name, _)| name == "fc.weight").map(|(_, weights)| weights)
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

    /// A training pass with batch-norm over `groups` parts of the batch, through `weights` of a model of the same kind, or
    /// its own.
    pub(super) fn grouped_pass(&self, weights: Option<&Weights>, kind: Kind, groups: usize) -> TorchResult<Pass> {
        let (params, stats) = weights.map_or((&self.params, &self.stats), |weights| (&weights.params, &weights.stats));
        Pass::in_groups(&self.plan, params, stats, kind, groups)
    }

    pub(super) fn inference_pass(&self) -> TorchResult<Pass> {
        Pass::folded(&self.plan, &self.params, &self.stats, self.kind)
    }

    #[cfg(test)]
    pub(super) fn unfolded_pass(&self) -> TorchResult<Pass> {
        Pass::unfolded(&self.plan, &self.params, &self.stats)
    }

    /// Runs the network on a normalised batch, n x channels x height x width; gives the head's outputs, in f32.
    pub(super) fn forward(&self, pass: &Pass, x_nchw: &Tensor) -> TorchResult<Tensor> {
        self.outputs(pass, &self.features(pass, x_nchw)?)
    }

    /// The backbone alone, of images or of tiles.
    pub(super) fn features(&self, pass: &Pass, x_nchw: &Tensor) -> TorchResult<Tensor> {
        self.backbone.forward(pass, x_nchw)
    }

    /// The head alone, in f32: n outputs from the features of n images, or of n times [`Model::n_tiles`] tiles.
    pub(super) fn outputs(&self, pass: &Pass, features_nd: &Tensor) -> TorchResult<Tensor> {
        let n_in = (self.n_tiles * self.n_features()) as i64;
        self.head.forward(pass, &features_nd.f_reshape([-1, n_in])?)
    }

    /// A copy of all the weights.
    pub(super) fn weights(&self) -> TorchResult<Weights> {
        let _no_grad = tch::no_grad_guard();
        let copy = |flat: &Tensor| flat.f_to_dtype(Kind::Float, false, true);
        Ok(Weights { params: copy(&self.params)?, stats: copy(&self.stats)? })
    }

    pub(super) fn restore(&mut self, snapshot: &Weights) -> TorchResult<()> {
        let _no_grad = tch::no_grad_guard();
        self.params.f_copy_(&snapshot.params)?;
        self.stats.f_copy_(&snapshot.stats)
    }
}
