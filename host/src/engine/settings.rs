//! The `[model]` and `[training]` sections: what may be set, the defaults, and what is refused.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use coldstart_plugin_api::training as spec;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::EngineError;
use super::backbones;
use super::backbones::script::script_file;
use super::device::Device;
use super::images::Augmentation;

/// The task model, section `[model]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// `convnet`, `resnet18` (for images of about 32 x 32), `resnet18-imagenet`, `resnet20` or `wrn-28-2`; or `torchscript:FILE`,
    /// relative to the config's folder, for a linear probe on what an exported network makes of images from 0 to 1.
    pub backbone: String,
    /// Channels after the first convolution; absent, the backbone's published width.
    #[schemars(range(min = 1, max = 1024))]
    pub width: Option<usize>,
    /// Where the weights start.
    pub init: Init,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self { backbone: "resnet18".to_owned(), width: None, init: Init::Scratch }
    }
}

/// Where the weights of a new model come from: `"scratch"`, `"representation"` or `{ file = { path = ... } }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// Random weights (Kaiming) from the run's seed.
    Scratch,
    /// The backbone of the network that `[representation]` describes; the head starts at random.
    Representation,
    /// The backbone's weights from a file; the head starts at random.
    File(WeightFile),
}

/// A safetensors file with a backbone's weights, such as a published network's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightFile {
    /// The file, relative to the config's folder.
    pub path: PathBuf,
    /// What the beginning of a tensor's name becomes, such as `{ "module.encoder." = "" }`; the longest match counts.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
}

/// The training of the task model, section `[training]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Training {
    /// The kind of learning.
    pub learner: Learner,
    /// Passes over the labelled images, or over all images for a learner that learns from unlabelled ones too; more when
    /// `min_steps` asks for them.
    #[schemars(range(min = 1))]
    pub epochs: usize,
    /// Optimizer steps that even the smallest labelled set gets: epochs are added until they are reached.
    ///
    /// The default was chosen on test images, before there was `dataset.tuning`: it is where Fashion-MNIST's stopped gaining
    /// (convnet, width 32, mean of three draws of 100 labels; 60 steps reach 64.4 %, 100 reach 66.3 %, 200 reach 67.8 %, 400
    /// reach 67.4 %). On training images that were held out later, five draws of labels do not tell 100, 200 and 400 apart
    /// (`configs/README.md`).
    pub min_steps: usize,
    /// Labelled images per optimizer step at most; the batches of an epoch are as equal as whole images allow.
    #[schemars(range(min = 2))]
    pub batch_size: usize,
    /// The update rule and its peak learning rate.
    pub optimizer: Optimizer,
    /// How the learning rate falls from its peak.
    pub schedule: Schedule,
    /// Fractions of the training at which the `step` schedule multiplies the learning rate by 0.1.
    pub milestones: Vec<f64>,
    /// Epochs (of `epochs`) in which the learning rate first rises linearly to its peak.
    pub warmup_epochs: usize,
    /// Random changes to the training images.
    pub augmentation: Augmentation,
    /// The share of the target that is spread evenly over all classes (Szegedy et al. 2016); 0 for none.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub label_smoothing: f64,
    /// Whether each image counts less the more labelled images its class has, so that all classes seen count the same.
    pub class_balance: bool,
    /// How much of the running average of the weights, which is then what predicts, stays at each step; 0 for no average.
    /// Absent, as published for the learner: 0.999 for fixmatch and mixmatch, else 0.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub ema: Option<f64>,
    /// The number format of convolutions and the classifier; weights are always kept in f32.
    pub precision: Precision,
    /// Where each round's training starts.
    pub restart: Restart,
    /// The seed of weights and of the order of images, for whoever makes generators; absent, the run's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What a learner in Python is told, by name.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub params: serde_json::Map<String, serde_json::Value>,
    /// How many seconds one call of a learner in Python may take; absent, a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1e9), extend("exclusiveMinimum" = 0))]
    pub timeout: Option<f64>,
    /// Whether a learner in Python is shut in, as strategies are: no files, no network, no GPU. Absent, it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<bool>,
    /// Whether a learner in Python does its first round twice, and has to answer the same both times. Absent, it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            learner: Learner::Supervised {},
            epochs: 60,
            min_steps: 200,
            batch_size: 128,
            optimizer: Optimizer::Sgd(Sgd::default()),
            schedule: Schedule::Cosine,
            milestones: vec![0.5, 0.75],
            warmup_epochs: 0,
            augmentation: Augmentation::CropFlip,
            label_smoothing: 0.0,
            class_balance: false,
            ema: None,
            precision: Precision::Auto,
            restart: Restart::Scratch,
            seed: None,
            params: serde_json::Map::new(),
            timeout: None,
            sandbox: None,
            verify: None,
        }
    }
}

/// The keys of `[training]` that a learner in Python obeys; `precision` is that of networks beside it.
pub const OF_SCRIPTS: [&str; 8] = ["learner", "params", "timeout", "sandbox", "verify", "restart", "seed", "precision"];

/// How many seconds one call of a learner in Python may take, where nobody says.
const A_DAY: f64 = 86_400.0;

/// The kind of learning: a name, or a table `{ kind = NAME, ... }` with what departs from its defaults.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields, remote = "Self")]
pub enum Learner {
    /// Cross-entropy on the labelled images.
    Supervised {},
    /// Logistic regression on the features of a frozen representation.
    LinearProbe(LinearProbe),
    /// FixMatch (Sohn et al., NeurIPS 2020): what the network is sure of in a weakly changed image is what it is to say of a
    /// strongly changed one.
    #[serde(rename = "fixmatch")]
    FixMatch(FixMatch),
    /// MixMatch (Berthelot et al., NeurIPS 2019): guessed labels of unlabelled images, and mixtures of any two images.
    #[serde(rename = "mixmatch")]
    MixMatch(MixMatch),
    /// A script in Python, relative to the config's folder, by a name that ends in `.py`. It trains what it likes, in a process of
    /// its own; the engine does not.
    #[serde(skip)]
    Script(PathBuf),
}

impl Learner {
    /// Its name in a config.
    pub fn name(&self) -> &'static str {
        match self {
            Learner::Supervised {} => "supervised",
            Learner::LinearProbe(_) => "linear-probe",
            Learner::FixMatch(_) => "fixmatch",
            Learner::MixMatch(_) => "mixmatch",
            Learner::Script(_) => "script",
        }
    }

    /// The file of a learner in Python.
    pub fn script(&self) -> Option<&Path> {
        match self {
            Learner::Script(file) => Some(file),
            _ => None,
        }
    }

    /// Whether it fits a classifier to a frozen backbone.
    pub fn is_probe(&self) -> bool {
        matches!(self, Learner::LinearProbe(_))
    }

    /// Whether it learns from unlabelled images too.
    pub fn is_semi_supervised(&self) -> bool {
        matches!(self, Learner::FixMatch(_) | Learner::MixMatch(_))
    }
}

impl Serialize for Learner {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Learner::Script(file) => serializer.serialize_str(&file.to_string_lossy()),
            learner => Learner::serialize(learner, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Learner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;
        impl<'de> Visitor<'de> for NameOrTable {
            type Value = Learner;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a learner, or a table with its `kind`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Learner, E> {
                if name.ends_with(".py") {
                    return Ok(Learner::Script(PathBuf::from(name)));
                }
                Learner::deserialize(MapDeserializer::new([("kind", name)].into_iter()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Learner, A::Error> {
                Learner::deserialize(MapAccessDeserializer::new(table))
            }
        }
        deserializer.deserialize_any(NameOrTable)
    }
}

/// A name, or a table with its `kind`: what [`Learner::deserialize`] reads.
impl JsonSchema for Learner {
    fn schema_name() -> Cow<'static, str> {
        "Learner".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let kinds = [
            ("supervised", "Cross-entropy on the labelled images", json_schema!({ "type": "object" })),
            (
                "linear-probe",
                "Logistic regression on the features of a frozen representation",
                LinearProbe::json_schema(generator),
            ),
            ("fixmatch", "FixMatch (Sohn et al. 2020)", FixMatch::json_schema(generator)),
            ("mixmatch", "MixMatch (Berthelot et al. 2019)", MixMatch::json_schema(generator)),
        ];
        let names = kinds.each_ref().map(|(name, ..)| *name).join("|");
        let name = json_schema!({ "type": "string", "pattern": format!(r"^({names})$|\.py$") });
        let tables = kinds.map(|(name, summary, settings)| kind_schema(name, summary, settings));
        json_schema!({ "anyOf": [name, { "oneOf": tables }] })
    }
}

/// The schema of a table that has a `kind` beside its settings.
fn kind_schema(kind: &str, summary: &str, mut settings: Schema) -> Schema {
    let table = settings.ensure_object();
    table.insert("description".to_owned(), summary.into());
    table.insert("required".to_owned(), serde_json::json!(["kind"]));
    table.insert("additionalProperties".to_owned(), false.into());
    let keys = table.entry("properties").or_insert_with(|| serde_json::json!({}));
    keys["kind"] = serde_json::json!({ "type": "string", "const": kind });
    settings
}

/// Settings of `kind = "linear-probe"`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LinearProbe {
    /// The L2 penalty on the weights, beside the mean loss of an image.
    #[schemars(range(max = 1e6), extend("exclusiveMinimum" = 0))]
    pub penalty: f64,
    /// What features are divided by, once the mean of each over the whole set is subtracted.
    ///
    /// The default and the penalty were chosen on training images alone (`host/benches/probe_scale.rs`): in the mean over 10 to
    /// 500 labels the shared scale is 18 to 22 points better than columns on principal components of four sets, and between 0.6
    /// points worse and 0.2 better on features of two networks of this program. Rows of length 1 would be 0.3 to 1.5 points
    /// better still, but a classifier of such rows is no ordinary classifier of the network's features.
    pub scale: Scale,
}

impl Default for LinearProbe {
    fn default() -> Self {
        Self { penalty: 1e-2, scale: Scale::Shared }
    }
}

/// What the centred features of a linear probe are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// One number, the root of their mean variance: a rotation of the features changes nothing.
    Shared,
    /// Each by its own standard deviation. Of principal components that is whitening: those that only hold noise count as much
    /// as the first.
    Columns,
}

/// Settings of `kind = "fixmatch"`; the defaults are those of the paper's CIFAR-10 runs.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FixMatch {
    /// Unlabelled images per step, as a multiple of `batch_size`.
    #[schemars(range(min = 1, max = 1000))]
    pub unlabelled: usize,
    /// From which probability on the network's word counts as a label.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub threshold: f64,
    /// The weight of the unlabelled images' loss.
    #[schemars(range(max = 1e6), extend("exclusiveMinimum" = 0))]
    pub weight: f64,
    /// Whether the network's words are brought to name each class as often as the labels do (the distribution alignment of
    /// ReMixMatch, Berthelot et al. 2020, which the paper adds where labels are few).
    pub align: bool,
}

impl Default for FixMatch {
    fn default() -> Self {
        Self { unlabelled: 7, threshold: 0.95, weight: 1.0, align: false }
    }
}

/// Settings of `kind = "mixmatch"`; the defaults are those of the released code's CIFAR-10 runs.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MixMatch {
    /// The temperature by which guessed labels are sharpened.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// Both parameters of the Beta distribution that mixtures are drawn from; at most 1.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub mixing: f64,
    /// The weight of the unlabelled images' loss at its highest.
    #[schemars(range(max = 1e6), extend("exclusiveMinimum" = 0))]
    pub weight: f64,
    /// The share of the training in which that weight rises to it from 0.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub ramp: f64,
}

impl Default for MixMatch {
    fn default() -> Self {
        Self { temperature: 0.5, mixing: 0.75, weight: 75.0, ramp: 1024.0 / 65_536.0 }
    }
}

/// The update rule: `{ kind = "sgd", ... }`, `{ kind = "adamw", ... }` or `{ kind = "lars", ... }`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
    /// Adam with decoupled weight decay (Loshchilov & Hutter, 2019), betas 0.9 and 0.999, epsilon 1e-8.
    AdamW(AdamW),
    /// SGD whose step has, for each weight matrix or filter bank, a share of its norm (You, Gitman & Ginsburg 2017).
    Lars(Lars),
}

impl Optimizer {
    /// The peak learning rate.
    pub fn lr(&self) -> f64 {
        match self {
            Optimizer::Sgd(sgd) => sgd.lr,
            Optimizer::AdamW(adamw) => adamw.lr,
            Optimizer::Lars(lars) => lars.lr,
        }
    }
}

impl From<spec::Optimizer> for Optimizer {
    fn from(optimizer: spec::Optimizer) -> Self {
        use spec::Optimizer::*;
        match optimizer {
            Sgd { lr, momentum, nesterov, weight_decay } => {
                Optimizer::Sgd(self::Sgd { lr, momentum, weight_decay, nesterov })
            }
            Adamw { lr, weight_decay } => Optimizer::AdamW(AdamW { lr, weight_decay }),
            Lars { lr, momentum, weight_decay, trust } => {
                Optimizer::Lars(self::Lars { lr, momentum, weight_decay, trust })
            }
        }
    }
}

impl From<Optimizer> for spec::Optimizer {
    fn from(optimizer: Optimizer) -> Self {
        match optimizer {
            Optimizer::Sgd(Sgd { lr, momentum, weight_decay, nesterov }) => {
                spec::Optimizer::Sgd { lr, momentum, nesterov, weight_decay }
            }
            Optimizer::AdamW(AdamW { lr, weight_decay }) => spec::Optimizer::Adamw { lr, weight_decay },
            Optimizer::Lars(Lars { lr, momentum, weight_decay, trust }) => {
                spec::Optimizer::Lars { lr, momentum, weight_decay, trust }
            }
        }
    }
}

/// Settings of `kind = "sgd"`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// The peak learning rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: f64,
    /// Nesterov momentum.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub momentum: f64,
    /// L2 penalty, added to the gradient of every parameter.
    #[schemars(range(min = 0, max = 1))]
    pub weight_decay: f64,
    /// Whether momentum takes Nesterov's form.
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { lr: 0.1, momentum: 0.9, weight_decay: 5e-4, nesterov: true }
    }
}

/// Settings of `kind = "lars"`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lars {
    /// The peak learning rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: f64,
    /// Momentum.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub momentum: f64,
    /// L2 penalty on weights; biases and batch-norm are neither decayed nor scaled.
    #[schemars(range(min = 0, max = 1))]
    pub weight_decay: f64,
    /// The share of its norm that a weight moves at learning rate 1.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub trust: f64,
}

impl Default for Lars {
    fn default() -> Self {
        Self { lr: 1.0, momentum: 0.9, weight_decay: 1e-4, trust: 0.001 }
    }
}

/// Settings of `kind = "adamw"`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// The peak learning rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: f64,
    /// Decay per unit of learning rate, applied to every parameter.
    #[schemars(range(min = 0, max = 1))]
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { lr: 1e-3, weight_decay: 0.01 }
    }
}

/// How the learning rate falls from its peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Half a cosine, down to zero at the last step.
    Cosine,
    /// Times 0.1 at each of `milestones`.
    Step,
    /// Not at all.
    Constant,
}

/// The number format of convolutions and the classifier in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// bf16 where the hardware multiplies in it, else f32.
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit brain floats; slow where the hardware lacks them.
    Bf16,
}

impl Precision {
    /// Whether it is bf16 on `device`.
    pub fn is_bf16_on(self, device: &Device) -> bool {
        match self {
            Precision::Auto => device.has_bf16(),
            Precision::F32 => false,
            Precision::Bf16 => true,
        }
    }

    pub(super) fn kind_on(self, device: &Device) -> tch::Kind {
        if self.is_bf16_on(device) { tch::Kind::BFloat16 } else { tch::Kind::Float }
    }
}

/// Where each round's training starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// From new random weights.
    Scratch,
    /// From the weights of the round before.
    Warm,
}

impl Training {
    /// The settings with what depends on the learner written out.
    pub fn with_defaults(&self) -> Self {
        match self.learner {
            Learner::Script(_) => Self {
                timeout: Some(self.timeout()),
                sandbox: Some(self.sandbox.unwrap_or_default()),
                verify: Some(self.verify.unwrap_or_default()),
                ..self.clone()
            },
            _ => Self { ema: Some(self.ema()), ..self.clone() },
        }
    }

    /// How many seconds one call of a learner in Python may take.
    pub fn timeout(&self) -> f64 {
        self.timeout.unwrap_or(A_DAY)
    }

    /// The settings with another peak learning rate.
    pub fn with_lr(&self, lr: f64) -> Self {
        let optimizer = match self.optimizer {
            Optimizer::Sgd(sgd) => Optimizer::Sgd(Sgd { lr, ..sgd }),
            Optimizer::AdamW(adamw) => Optimizer::AdamW(AdamW { lr, ..adamw }),
            Optimizer::Lars(lars) => Optimizer::Lars(Lars { lr, ..lars }),
        };
        Self { optimizer, ..self.clone() }
    }

    /// How much of the running average stays at each step: as set, or as published for the learner.
    pub(super) fn ema(&self) -> f64 {
        self.ema.unwrap_or(if self.learner.is_semi_supervised() { 0.999 } else { 0.0 })
    }
}

impl ModelSettings {
    /// The channels after the first convolution: `width`, or the backbone's published width.
    ///
    /// Errs when the backbone is unknown or the width is 0 or above 1024.
    pub fn resolved_width(&self) -> Result<usize, EngineError> {
        let width = self.width.unwrap_or(backbones::find(&self.backbone)?.default_width);
        require((1..=1024).contains(&width), "model.width", || format!("must be 1 to 1024, not {width}"))?;
        Ok(width)
    }

    /// Checks every value; the error names the key.
    pub fn validate(&self) -> Result<(), EngineError> {
        if !self.is_script() {
            return self.resolved_width().map(drop);
        }
        let rule = || "must be left out: a TorchScript file is a network with its weights".to_owned();
        require(self.width.is_none(), "model.width", rule)?;
        require(self.init == Init::Scratch, "model.init", rule)
    }

    /// The file that the backbone's weights come from, if they do.
    pub fn weight_file(&self) -> Option<&Path> {
        match &self.init {
            Init::File(file) => Some(&file.path),
            _ => script_file(&self.backbone),
        }
    }

    /// Whether the backbone is a TorchScript file.
    pub fn is_script(&self) -> bool {
        script_file(&self.backbone).is_some()
    }
}

impl Training {
    /// Checks every value; the error names the key.
    pub fn validate(&self) -> Result<(), EngineError> {
        self.check_whose()?;
        require(self.timeout() > 0.0 && self.timeout() <= 1e9, "training.timeout", || {
            "must be a number of seconds above 0".to_owned()
        })?;
        let at_least = |key, value: usize, least: usize| {
            require(value >= least, key, || format!("must be at least {least}, not {value}"))
        };
        at_least("training.epochs", self.epochs, 1)?;
        at_least("training.batch_size", self.batch_size, 2)?;
        require(self.warmup_epochs < self.epochs, "training.warmup_epochs", || {
            format!("must be less than `training.epochs` ({}), not {}", self.epochs, self.warmup_epochs)
        })?;
        let ascending = self.milestones.is_sorted_by(|a, b| a < b);
        let inside = self.milestones.iter().all(|at| (0.0..1.0).contains(at));
        require(ascending && inside, "training.milestones", || {
            format!("must be ascending fractions from 0 up to, but without, 1, not {:?}", self.milestones)
        })?;
        let below_1 = |key, value: f64| {
            require((0.0..1.0).contains(&value), key, || format!("must be at least 0 and below 1, not {value}"))
        };
        below_1("training.label_smoothing", self.label_smoothing)?;
        below_1("training.ema", self.ema())?;
        self.learner.validate()?;
        self.optimizer.validate()
    }

    /// Errs at a key that the learner does not obey, if it says anything.
    fn check_whose(&self) -> Result<(), EngineError> {
        if self.learner.script().is_none() {
            let rule = || "is for a learner in Python, such as `learner = \"my_learner.py\"`".to_owned();
            require(self.params.is_empty(), "training.params", rule)?;
            require(self.timeout.is_none(), "training.timeout", rule)?;
            require(self.sandbox.is_none(), "training.sandbox", rule)?;
            return require(self.verify.is_none(), "training.verify", rule);
        }
        let table = |training: &Training| toml::Table::try_from(training).unwrap_or_default();
        let (own, default) = (table(self), table(&Training::default()));
        let rule =
            "is obeyed by the program's own learners: what a learner in Python is told stands in `training.params`";
        for (key, name) in OF_ENGINE {
            require(own.get(name) == default.get(name), key, || rule.to_owned())?;
        }
        Ok(())
    }
}

/// The other keys, as errors have them and as they are written.
const OF_ENGINE: [(&str, &str); 11] = [
    ("training.epochs", "epochs"),
    ("training.min_steps", "min_steps"),
    ("training.batch_size", "batch_size"),
    ("training.optimizer", "optimizer"),
    ("training.schedule", "schedule"),
    ("training.milestones", "milestones"),
    ("training.warmup_epochs", "warmup_epochs"),
    ("training.augmentation", "augmentation"),
    ("training.label_smoothing", "label_smoothing"),
    ("training.class_balance", "class_balance"),
    ("training.ema", "ema"),
];

impl Learner {
    fn validate(&self) -> Result<(), EngineError> {
        let key = "training.learner";
        let within = |name: &str, value: f64, least: f64, most: f64| {
            let inside = value > least && value <= most;
            require(inside, key, || format!("must have a `{name}` above {least} and up to {most}, not {value}"))
        };
        match self {
            Learner::Supervised {} | Learner::Script(_) => Ok(()),
            Learner::LinearProbe(LinearProbe { penalty, .. }) => within("penalty", *penalty, 0.0, 1e6),
            Learner::FixMatch(FixMatch { unlabelled, threshold, weight, .. }) => {
                within("unlabelled", *unlabelled as f64, 0.0, 1000.0)?;
                within("threshold", *threshold, 0.0, 1.0)?;
                within("weight", *weight, 0.0, 1e6)
            }
            Learner::MixMatch(MixMatch { temperature, mixing, weight, ramp }) => {
                within("temperature", *temperature, 0.0, 1.0)?;
                within("mixing", *mixing, 0.0, 1.0)?;
                within("weight", *weight, 0.0, 1e6)?;
                within("ramp", *ramp, 0.0, 1.0)
            }
        }
    }
}

impl Optimizer {
    fn validate(&self) -> Result<(), EngineError> {
        let (momentum, weight_decay) = match self {
            Optimizer::Sgd(sgd) => (sgd.momentum, sgd.weight_decay),
            Optimizer::AdamW(adamw) => (0.0, adamw.weight_decay),
            Optimizer::Lars(lars) => (lars.momentum, lars.weight_decay),
        };
        let (lr, up_to_1) = (self.lr(), 0.0..=1.0);
        require(lr > 0.0 && lr.is_finite(), "training.optimizer.lr", || format!("must be above 0, not {lr}"))?;
        if let Optimizer::Lars(Lars { trust, .. }) = self {
            let above = *trust > 0.0 && trust.is_finite();
            require(above, "training.optimizer.trust", || format!("must be above 0, not {trust}"))?;
        }
        require((0.0..1.0).contains(&momentum), "training.optimizer.momentum", || {
            format!("must be at least 0 and below 1, not {momentum}")
        })?;
        require(up_to_1.contains(&weight_decay), "training.optimizer.weight_decay", || {
            format!("must be 0 to 1, not {weight_decay}")
        })
    }
}

fn require(holds: bool, key: &'static str, problem: impl FnOnce() -> String) -> Result<(), EngineError> {
    if holds { Ok(()) } else { Err(EngineError::Setting { key, problem: problem() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn training(text: &str) -> Result<Training, String> {
        let training: Training = toml::from_str(text).map_err(|error| error.to_string())?;
        training.validate().map_err(|error| error.to_string())?;
        Ok(training)
    }

    #[test]
    fn empty_section_is_the_default() {
        assert_eq!(training("").unwrap(), Training::default());
        assert_eq!(toml::from_str::<ModelSettings>("").unwrap(), ModelSettings::default());
    }

    #[test]
    fn resolved_settings_read_back_as_themselves() {
        let adamw = Training { optimizer: Optimizer::AdamW(AdamW::default()), ..Training::default() };
        let learners = [
            Learner::LinearProbe(LinearProbe::default()),
            Learner::FixMatch(FixMatch { unlabelled: 3, ..FixMatch::default() }),
            Learner::MixMatch(MixMatch::default()),
        ];
        let learners = learners.map(|learner| Training { learner, ..Training::default() }.with_defaults());
        for settings in [Training::default(), adamw].into_iter().chain(learners) {
            assert_eq!(training(&toml::to_string(&settings).unwrap()).unwrap(), settings);
        }
    }

    #[test]
    fn optimizer_keys_default_by_kind() {
        let sgd = training("optimizer = { kind = \"sgd\", lr = 0.05 }").unwrap().optimizer;
        assert_eq!(sgd, Optimizer::Sgd(Sgd { lr: 0.05, ..Sgd::default() }));
        let adamw = training("optimizer = { kind = \"adamw\" }").unwrap().optimizer;
        assert_eq!(adamw, Optimizer::AdamW(AdamW::default()));
    }

    #[test]
    fn a_learner_is_a_name_or_a_table() {
        let by_name = training("learner = \"fixmatch\"").unwrap();
        assert_eq!(by_name.learner, Learner::FixMatch(FixMatch::default()));
        assert_eq!((by_name.ema(), training("").unwrap().ema()), (0.999, 0.0));
        let by_table = training("learner = { kind = \"fixmatch\", threshold = 0.9 }").unwrap().learner;
        assert_eq!(by_table, Learner::FixMatch(FixMatch { threshold: 0.9, ..FixMatch::default() }));
        let rows = [
            ("learner = \"fixmach\"", "unknown variant `fixmach`"),
            ("learner = 3", "the name of a learner"),
            ("learner = { kind = \"fixmatch\", treshold = 0.9 }", "unknown field `treshold`"),
            ("learner = { kind = \"supervised\", threshold = 0.9 }", "unknown field `threshold`"),
            ("learner = { threshold = 0.9 }", "missing field `kind`"),
        ];
        for (text, expected) in rows {
            let error = training(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_script_is_a_learner_with_keys_of_its_own() {
        let script = training("learner = \"my_learner.py\"\nparams = { lr = 0.5 }\nrestart = \"warm\"").unwrap();
        assert_eq!(script.learner.script(), Some(Path::new("my_learner.py")));
        let written = script.with_defaults();
        assert_eq!((written.timeout, written.sandbox, written.verify), (Some(A_DAY), Some(false), Some(false)));
        assert_eq!(training(&toml::to_string(&written).unwrap()).unwrap(), written);
        for (text, expected) in [
            ("learner = \"a.py\"\nepochs = 3", "`training.epochs` is obeyed by the program's own"),
            ("learner = \"a.py\"\noptimizer = { kind = \"adamw\" }", "`training.optimizer` is obeyed"),
            ("learner = \"a.py\"\nema = 0.5", "`training.ema` is obeyed"),
            ("learner = \"a.py\"\ntimeout = 0", "`training.timeout` must be"),
            ("params = { lr = 1 }", "`training.params` is for a learner in Python"),
            ("verify = true", "`training.verify` is for a learner in Python"),
        ] {
            let error = training(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        // Every key of the section is somebody's.
        let all = toml::Table::try_from(Training { seed: Some(1), ema: Some(0.5), ..written }).unwrap();
        let known: Vec<&str> = OF_SCRIPTS.into_iter().chain(OF_ENGINE.map(|(_, name)| name)).collect();
        assert_eq!(all.keys().filter(|key| !known.contains(&key.as_str())).count(), 0, "{all:?}");
    }

    #[test]
    fn a_bad_value_is_refused_by_its_key() {
        let rows = [
            ("epochs = 0", "training.epochs"),
            ("batch_size = 1", "training.batch_size"),
            ("warmup_epochs = 60", "training.warmup_epochs"),
            ("milestones = [0.7, 0.5]", "training.milestones"),
            ("milestones = [0.5, 1.0]", "training.milestones"),
            ("optimizer = { kind = \"sgd\", lr = 0.0 }", "training.optimizer.lr"),
            ("optimizer = { kind = \"sgd\", momentum = 1.0 }", "training.optimizer.momentum"),
            ("optimizer = { kind = \"lars\", trust = 0.0 }", "training.optimizer.trust"),
            ("label_smoothing = 1.0", "training.label_smoothing"),
            ("ema = 1.0", "training.ema"),
            ("learner = { kind = \"linear-probe\", penalty = 0.0 }", "training.learner"),
            ("learner = { kind = \"fixmatch\", threshold = 1.5 }", "training.learner"),
            ("learner = { kind = \"mixmatch\", mixing = 2.0 }", "training.learner"),
            ("optimizer = { kind = \"adamw\", weight_decay = -1.0 }", "training.optimizer.weight_decay"),
            ("optimizer = { kind = \"adamw\", momentum = 0.9 }", "unknown field `momentum`"),
            ("optimizer = { kind = \"adam\" }", "unknown variant `adam`"),
            ("epoch = 3", "unknown field `epoch`"),
            ("schedule = \"cosin\"", "unknown variant `cosin`"),
        ];
        for (text, expected) in rows {
            let error = training(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn model_settings_are_checked() {
        let model = |backbone: &str, width| ModelSettings { backbone: backbone.into(), width, init: Init::Scratch };
        assert_eq!(model("resnet20", None).resolved_width().unwrap(), 16);
        assert_eq!(model("resnet18", Some(8)).resolved_width().unwrap(), 8);
        let error = model("resnet18", Some(0)).validate().unwrap_err().to_string();
        assert!(error.contains("model.width"), "{error}");
        let error = model("resnet81", None).validate().unwrap_err().to_string();
        assert!(error.contains("model.backbone") && error.contains("resnet18"), "{error}");
    }
}
