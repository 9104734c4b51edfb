//! The host's operations: a versioned name, the message it takes and the message it answers.
//!
//! A revision's meaning never changes; a new meaning is a new revision, and the host goes on answering the old one.
//! Tensors travel beside the messages: `inputs` and `outputs` say which, in order.

use crate::training::ViewOp;
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

/// As [`PREDICT_1`], of any model that [`TRAIN_1`] or [`REPRESENT_1`] named, and over random views of the images. Input:
/// ids (u64 \[n\]). Args: [`PredictArgs2`]. Outputs: one f32 tensor \[n, ...\] for each requested output. Answer: [`Empty`].
pub const PREDICT_2: Op = Op("model.predict/2");
/// Train a network on pool images as a spec says, or find the same training in the cache. Inputs: ids (u64 \[n\]), then
/// the targets where the spec wants them handed over: classes (u64 \[n\]) or values (f32 \[n, k\]). Args: [`TrainSpec`](crate::training::TrainSpec).
/// Outputs: one f32 tensor for each of the spec's records, \[epochs, n\] or \[1, n\]. Answer: [`TrainAnswer`].
pub const TRAIN_1: Op = Op("train/1");
/// The run's shared representation, from its config's section `[representation]`. Input: ids (u64 \[n\]), from the pool.
/// Args: [`Empty`]. Output: features (f32 \[n, d\]), as they come out of the backbone. Answer: [`TrainAnswer`].
pub const REPRESENT_1: Op = Op("represent/1");
/// Cut points into clusters by Lloyd's algorithm from k-means++ seeds. Input: points (f32 \[n, d\]). Args: [`KMeansArgs`].
/// Outputs: the cluster of each point (u64 \[n\]), the centres (f32 \[k, d\]). Answer: [`KMeansAnswer`].
///
/// Distances are Euclidean; an empty cluster takes the point farthest from its centre. The same seed and points give the
/// same clusters on the CPU.
pub const KMEANS_1: Op = Op("kmeans/1");
/// The nearest other points of each point. Input: points (f32 \[n, d\]). Args: [`KnnArgs`]. Outputs: positions
/// (u64 \[n, k\]) and Euclidean distances (f32 \[n, k\]), nearest first, equal ones in the order of their positions.
/// Answer: [`Empty`].
pub const KNN_1: Op = Op("knn/1");
/// Keep a map of images with the run: a point for each image, which the report draws with the images behind the points.
/// Inputs: ids (u64 \[n\]), places (f32 \[n, 2\]), groups (u64 \[n\]). Args: [`MapArgs`]. Answer: [`Empty`].
pub const MAP_PUT_1: Op = Op("map.put/1");

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

/// What `model.predict/2` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictArgs2 {
    /// The model's name from [`TrainAnswer`]; absent, the current task model.
    pub model: Option<String>,
    /// What to compute; each at most once.
    pub outputs: Vec<Output>,
    /// Random views to look at; absent, the image as it is.
    pub views: Option<Views>,
}

/// Random views of each image, and what is made of the model's answers to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Views {
    /// What is done to each view, as in a [`TrainSpec`](crate::training::TrainSpec); no choosing operation. An image's views depend on the call's
    /// seed and its id alone.
    pub ops: Vec<ViewOp>,
    /// How many views.
    pub count: u32,
    /// Whether the image as it is counts as one view more.
    pub clean: bool,
    /// One number from many, for each number that the model puts out.
    pub reduce: Reduce,
}

/// One number from the many of an image's views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduce {
    /// Their mean.
    Mean,
    /// Their population variance: the mean squared distance from the mean.
    Variance,
}

/// What `train/1` and `represent/1` answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainAnswer {
    /// The name under which `model.predict/2` knows the network: the hash of all that made it.
    pub model: String,
    /// Whether it came from the cache.
    pub cached: bool,
    /// The mean loss of the last epoch.
    pub loss: f64,
    /// The share of images whose target class was the most probable one in the last epoch; absent without classes.
    pub accuracy: Option<f64>,
}

/// What `kmeans/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KMeansArgs {
    /// How many clusters; at most as many as points.
    pub clusters: u32,
    /// The most rounds of Lloyd's algorithm; it stops when no point changes its cluster.
    pub iterations: u32,
    /// How often to start anew; the start with the least inertia counts.
    pub restarts: u32,
    /// The stream of the call's seed that the starts are drawn from.
    pub stream: String,
}

/// What `kmeans/1` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KMeansAnswer {
    /// The sum of squared distances to the centres.
    pub inertia: f64,
}

/// What `knn/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnnArgs {
    /// How many neighbours; fewer than there are points.
    pub k: u32,
}

/// What `map.put/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapArgs {
    /// A file name without ending: letters, digits, `_` and `-`.
    pub name: String,
    /// A heading.
    pub title: String,
    /// What the first number of a place means.
    pub x_axis: String,
    /// What the second number means.
    pub y_axis: String,
    /// What a group is: `cluster`.
    pub group: String,
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
pub const ALL: [Op; 12] = [
    POOL_INFO_1,
    POOL_PIXELS_1,
    LABELS_GET_1,
    ENV_INFO_1,
    PREDICT_1,
    PREDICT_2,
    TRAIN_1,
    REPRESENT_1,
    KMEANS_1,
    KNN_1,
    ARTIFACT_PUT_1,
    MAP_PUT_1,
];

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
