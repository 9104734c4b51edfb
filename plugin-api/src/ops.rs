//! The host's operations: a versioned name, the message it takes and the message it answers.
//!
//! A revision's meaning never changes; a new meaning is a new revision, and the host goes on answering the old one.
//! Tensors travel beside the messages: `inputs` and `outputs` say which, in order.

use serde::{Deserialize, Serialize};

/// An operation's versioned name, such as `model.predict/1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Op(pub &'static str);

/// The pool and its images. Args: [`Empty`]. Answer: [`PoolInfo`].
pub const POOL_INFO_1: Op = Op("pool.info/1");
/// Pixels. Input: ids (u64 \[n\]). Output: pixels (u8 \[n, height, width, channels\]). Args and answer: [`Empty`].
pub const POOL_PIXELS_1: Op = Op("pool.pixels/1");
/// Labels of labelled images. Input: ids (u64 \[n\]), each in the labelled set. Output: class numbers (u64 \[n\]).
/// Args and answer: [`Empty`].
pub const LABELS_GET_1: Op = Op("labels.get/1");
/// Threads and memory that the plugin may use. Args: [`Empty`]. Answer: [`EnvInfo`].
pub const ENV_INFO_1: Op = Op("env.info/1");
/// The current model on images, in one pass. Input: ids (u64 \[n\]), from the pool. Args: [`PredictArgs`]. Outputs: one
/// f32 tensor \[n, ...\] for each requested output, in the order requested. Answer: [`Empty`].
///
/// Unsupported in round 0, when no model is trained.
pub const PREDICT_1: Op = Op("model.predict/1");
/// Keep a small file with the run. Args: [`ArtifactArgs`]. Answer: [`Empty`].
pub const ARTIFACT_PUT_1: Op = Op("artifact.put/1");

/// A message without fields.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Empty {}

/// What `pool.info/1` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolInfo {
    /// Images in the pool, labelled ones included.
    pub images: u64,
    /// Pixels from top to bottom.
    pub height: u32,
    /// Pixels from left to right.
    pub width: u32,
    /// 1 for grey, 3 for colour.
    pub channels: u32,
    /// The classes' names; class c is `classes[c]`.
    pub classes: Vec<String>,
}

/// What `env.info/1` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvInfo {
    /// Threads that the plugin may keep busy.
    pub threads: u32,
    /// Where the host's kernels run: `cpu` or `cuda`.
    pub device: String,
}

/// What `model.predict/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictArgs {
    /// What to compute; each at most once.
    pub outputs: Vec<Output>,
}

/// One output of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// Class probabilities \[n, c\]: softmax of the logits, rows sum to 1.
    Probabilities,
    /// Class scores before the softmax \[n, c\].
    Logits,
    /// Features before the last layer \[n, d\].
    Embeddings,
}

/// What `artifact.put/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactArgs {
    /// A file name without folders; letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The file's bytes.
    #[serde(with = "bytes")]
    pub bytes: Vec<u8>,
}

/// MessagePack's own byte string instead of an array of numbers.
mod bytes {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Every operation that this version of the contract describes.
pub const ALL: [Op; 6] = [POOL_INFO_1, POOL_PIXELS_1, LABELS_GET_1, ENV_INFO_1, PREDICT_1, ARTIFACT_PUT_1];

impl Output {
    /// The output's name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Output::Probabilities => "probabilities",
            Output::Logits => "logits",
            Output::Embeddings => "embeddings",
        }
    }
}
