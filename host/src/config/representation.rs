//! The section `[representation]`, and the training that it means.

use super::of_section;
use crate::data::FeatureFile;
use crate::engine;
use crate::nearest::nearest;
use coldstart_plugin_api::training::{Backbone, PRESETS, Setting, TrainSpec};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The section `[representation]`: features of the pool, from self-supervised training, from what needs no training, or from a
/// file; also what `[initial]` and `[query]` may have of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Principal components of the pixels; absent, 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Published {
    /// About 32 x 32.
    Cifar,
    /// About 224 x 224.
    ImageNet,
}

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

/// The network of these settings.
pub(super) fn network_of(model: &engine::ModelSettings) -> Result<Backbone, (String, String)> {
    let width = model.resolved_width().map_err(of_section)?;
    Ok(Backbone { name: model.backbone.clone(), width: Some(width as u32) })
}
