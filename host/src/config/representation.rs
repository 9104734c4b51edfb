//! The section `[representation]`, and the training that it means.

use super::of_section;
use crate::data::FeatureFile;
use crate::engine;
use crate::nearest::nearest;
use coldstart_plugin_api::training::{Backbone, Objective, PRESETS, Schedule, Setting, TrainSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The section `[representation]`: features of the pool, from self-supervised training, from what needs no training, or from a
/// file; also what `[initial]` and `[query]` may have of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Representation {
    /// A preset of training (rotation, jigsaw, npid, moco-v1, moco-v2, simclr), or pixels, random-network, handcrafted, file.
    pub method: String,
    /// For which images a preset's settings are: `cifar` or `imagenet`; absent, by the size of the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<Published>,
    /// Passes over the pool; absent, as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u32>,
    /// Images a step; absent, as published. The learning rate goes along in proportion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u32>,
    /// The network; absent, the backbone of `[model]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<String>,
    /// Its channels after the first convolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// The seed; absent, the run's. One seed for all runs of a comparison trains one network for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The head over the network while it is trained; absent, as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<TrainedHead>,
    /// How the two views of an image are made; absent, as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<Augmentation>,
    /// How the learning rate falls; absent, as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Decay>,
    /// Principal components of the pixels; absent, 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub components: Option<u32>,
    /// The file of features, relative to the config's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The file of features of the test part, where they are in another file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// The columns of numbers that are features, in Parquet; `*` at the end of a name stands for anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
}

/// Methods of [`Representation`] beside the presets of training, each with the keys that belong to it.
pub const UNTRAINED: [(&str, &[&str]); 4] = [
    ("pixels", &["components"]),
    ("random-network", &["backbone", "width", "seed"]),
    ("handcrafted", &[]),
    ("file", &["path", "test", "columns"]),
];

/// For which size of images published settings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Published {
    /// About 32 x 32.
    Cifar,
    /// About 224 x 224.
    ImageNet,
}

/// The heads of MoCo, which Chen, Fan, Girshick and He 2020 (table 1) tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrainedHead {
    /// A linear layer, as in MoCo v1.
    Linear,
    /// Two layers with a ReLU between, as in MoCo v2.
    Mlp,
}

/// The augmentations that the same table tells apart, as both papers have them for ImageNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TrainedAugmentation")]
pub enum Augmentation {
    /// Crops, grey, jitter of all colours, flips.
    #[serde(rename = "moco-v1")]
    MocoV1,
    /// The same with a weaker jitter of the hue and with blur: the table's "aug+".
    #[serde(rename = "moco-v2")]
    MocoV2,
}

/// The schedules that it tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// A tenth after 60 and again after 80 % of the epochs.
    Step,
    /// Half a cosine.
    Cosine,
}

/// The methods whose parts can be set.
const CONTRASTIVE: &str = "`moco-v1`, `moco-v2` and `simclr`";

/// From this side on images are like ImageNet's.
const LARGE_SIDE: usize = 96;

impl Representation {
    /// Whether a preset of training is meant.
    pub fn is_trained(&self) -> bool {
        UNTRAINED.iter().all(|(method, _)| *method != self.method)
    }

    /// Whether a network looks at the images.
    pub fn has_network(&self) -> bool {
        self.is_trained() || self.method == "random-network"
    }

    /// Whether every key that is there belongs to the method, and all that it needs is there; as `section`.
    pub(super) fn check(&self, section: &str, model: &engine::ModelSettings) -> Result<(), (String, String)> {
        let at = |(key, rule): (String, String)| (key.replacen("representation", section, 1), rule);
        let Some((_, own)) = UNTRAINED.iter().find(|(method, _)| *method == self.method) else {
            let of_others = self.untrained_keys().into_iter().find(|(_, is_there)| *is_there);
            if let Some((key, _)) = of_others {
                return Err((format!("{section}.{key}"), format!("does not belong to `{}`", self.method)));
            }
            return self.spec(0, model).map(drop).map_err(at);
        };
        let trained_keys = [
            ("setting", self.setting.is_some()),
            ("epochs", self.epochs.is_some()),
            ("batch_size", self.batch_size.is_some()),
            ("backbone", self.backbone.is_some()),
            ("width", self.width.is_some()),
            ("seed", self.seed.is_some()),
            ("head", self.head.is_some()),
            ("augmentation", self.augmentation.is_some()),
            ("schedule", self.schedule.is_some()),
        ];
        let mut keys = trained_keys.into_iter().chain(self.untrained_keys());
        if let Some((key, _)) = keys.find(|(key, is_there)| *is_there && !own.contains(key)) {
            return Err((format!("{section}.{key}"), format!("does not belong to `{}`", self.method)));
        }
        if self.components == Some(0) {
            return Err((format!("{section}.components"), "must be at least 1".to_owned()));
        }
        if self.method == "file" && self.path.is_none() {
            let rule = "is missing: the file of features, .npy, .npz, .safetensors or .parquet";
            return Err((format!("{section}.path"), rule.to_owned()));
        }
        match self.has_network() {
            true => self.network(model).map(drop).map_err(at),
            false => Ok(()),
        }
    }

    /// The keys that only methods without a training have, and whether each is there.
    fn untrained_keys(&self) -> [(&'static str, bool); 4] {
        [
            ("components", self.components.is_some()),
            ("path", self.path.is_some()),
            ("test", self.test.is_some()),
            ("columns", self.columns.is_some()),
        ]
    }

    /// The file of features, where the method is `file`.
    pub fn file(&self) -> Option<FeatureFile> {
        let path = self.path.clone().filter(|_| self.method == "file")?;
        Some(FeatureFile { path, test: self.test.clone(), columns: self.columns.clone().unwrap_or_default() })
    }

    /// The training, for images whose shorter side has `side` pixels, beside this task model.
    ///
    /// Errs with the key and the sentence.
    pub fn spec(&self, side: usize, model: &engine::ModelSettings) -> Result<TrainSpec, (String, String)> {
        let setting = match self.setting {
            Some(Published::ImageNet) => Setting::ImageNet,
            None if side >= LARGE_SIDE => Setting::ImageNet,
            _ => Setting::Cifar,
        };
        let at = |key: &str, message: String| (format!("representation.{key}"), message);
        let mut spec = TrainSpec::preset(&self.method, setting).map_err(|_| {
            let known: Vec<&str> = PRESETS.into_iter().chain(UNTRAINED.map(|(method, _)| method)).collect();
            let hint = nearest(&self.method, known.iter().copied());
            let hint = hint.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            at("method", format!("must be one of {}{hint}", known.join(", ")))
        })?;
        self.set_parts(&mut spec)
            .map_err(|key| at(key, format!("belongs to {CONTRASTIVE}, not to `{}`", self.method)))?;
        if let Some(batch_size) = self.batch_size {
            spec = spec.with_batch_size(batch_size);
        }
        if let Some(epochs) = self.epochs {
            spec = spec.with_epochs(epochs);
        }
        spec.backbone = Some(self.network(model)?);
        spec.seed = self.seed;
        spec.check().map_err(|error| ("representation".to_owned(), error.message))?;
        Ok(spec)
    }

    /// Put the parts that this section names in place of the published ones. Errs with the key of one that does not fit the method.
    fn set_parts(&self, spec: &mut TrainSpec) -> Result<(), &'static str> {
        let parts = [
            ("head", self.head.is_some()),
            ("augmentation", self.augmentation.is_some()),
            ("schedule", self.schedule.is_some()),
        ];
        let is_contrastive = matches!(spec.objective, Objective::InfoNce { .. } | Objective::NtXent { .. });
        if let Some((key, _)) = parts.into_iter().find(|(_, is_there)| *is_there && !is_contrastive) {
            return Err(key);
        }
        if let Some(head) = self.head {
            spec.head = match head {
                TrainedHead::Linear => TrainSpec::moco_v1(Setting::Cifar).head,
                TrainedHead::Mlp => TrainSpec::moco_v2(Setting::Cifar).head,
            };
        }
        if let Some(augmentation) = self.augmentation {
            spec.views = match augmentation {
                Augmentation::MocoV1 => TrainSpec::moco_v1(Setting::ImageNet).views,
                Augmentation::MocoV2 => TrainSpec::moco_v2(Setting::ImageNet).views,
            };
        }
        if let Some(schedule) = self.schedule {
            spec.schedule = match schedule {
                Decay::Step => Schedule::Step { epochs: drops_of(spec.epochs), factor: 0.1 },
                Decay::Cosine => Schedule::Cosine {},
            };
        }
        Ok(())
    }

    /// The network under the head: that of the task, as far as this section says nothing else.
    pub(super) fn network(&self, model: &engine::ModelSettings) -> Result<Backbone, (String, String)> {
        let in_section = |(key, rule): (String, String)| (key.replace("model.", "representation."), rule);
        network_of(&self.model(model)).map_err(in_section)
    }

    /// The settings of that network.
    pub fn model(&self, model: &engine::ModelSettings) -> engine::ModelSettings {
        let mut network = model.clone();
        if let Some(backbone) = &self.backbone {
            (network.backbone, network.width) = (backbone.clone(), None);
        }
        network.width = self.width.map(|width| width as usize).or(network.width);
        network
    }
}

/// The epochs after which the rate drops: MoCo v1's 120 and 160 of 200.
fn drops_of(epochs: u32) -> Vec<u32> {
    vec![epochs * 3 / 5, epochs * 4 / 5]
}

/// The network of these settings.
pub(super) fn network_of(model: &engine::ModelSettings) -> Result<Backbone, (String, String)> {
    let width = model.resolved_width().map_err(of_section)?;
    Ok(Backbone { name: model.backbone.clone(), width: Some(width as u32) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::training::{Head, ViewOp};

    fn spec(section: &str) -> Result<TrainSpec, (String, String)> {
        let representation: Representation = toml::from_str(section).unwrap();
        let model = engine::ModelSettings { backbone: "convnet".to_owned(), ..Default::default() };
        representation.spec(32, &model)
    }

    /// The rows of the table of MoCo v2's paper, as far as the parts go.
    #[test]
    fn parts_take_the_place_of_the_published_ones() {
        let linear = Head::Linear { dim: Some(128) };
        let mlp = Head::Mlp { hidden: None, dim: Some(128), batch_norm: false };
        let step = Schedule::Step { epochs: vec![30, 40], factor: 0.1 };
        for (parts, head, has_blur, schedule) in [
            ("head = \"linear\"\naugmentation = \"moco-v1\"\nschedule = \"step\"", &linear, false, &step),
            ("head = \"mlp\"\naugmentation = \"moco-v1\"\nschedule = \"step\"", &mlp, false, &step),
            ("head = \"linear\"\naugmentation = \"moco-v2\"\nschedule = \"step\"", &linear, true, &step),
            ("head = \"mlp\"\naugmentation = \"moco-v2\"\nschedule = \"cosine\"", &mlp, true, &Schedule::Cosine {}),
            ("", &linear, false, &Schedule::Cosine {}),
        ] {
            let spec = spec(&format!("method = \"moco-v1\"\nepochs = 50\n{parts}")).unwrap();
            assert_eq!((&spec.head, &spec.schedule), (head, schedule), "{parts}");
            let blurs = spec.views.iter().any(|view| matches!(view, ViewOp::Blur { .. }));
            assert_eq!(blurs, has_blur, "{parts}");
        }
    }

    #[test]
    fn parts_belong_to_methods_that_contrast() {
        for method in ["rotation", "jigsaw", "npid"] {
            for part in ["head = \"mlp\"", "augmentation = \"moco-v2\"", "schedule = \"step\""] {
                let (key, rule) = spec(&format!("method = \"{method}\"\n{part}")).unwrap_err();
                let name = part.split(' ').next().unwrap();
                assert_eq!(key, format!("representation.{name}"));
                assert_eq!(rule, format!("belongs to {CONTRASTIVE}, not to `{method}`"));
            }
        }
    }
}
