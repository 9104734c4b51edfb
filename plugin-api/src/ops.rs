//! The host's operations: a versioned name, the message it takes and the message it answers.
//!
//! A revision's meaning never changes; a new meaning is a new revision, and the host goes on answering the old one.
//! Tensors travel beside the messages: `inputs` and `outputs` say which, in order.

use crate::training::ViewOp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
/// As [`PREDICT_2`], with passes under dropout and with gradient factors, all in one sweep over the images. Input: ids (u64
/// \[n\]). Args: [`PredictArgs3`]. Outputs: one f32 tensor for each requested output; probabilities and logits are
/// \[n, passes, c\] where there is dropout, everything else is \[n, ...\]. Answer: [`Empty`].
pub const PREDICT_3: Op = Op("model.predict/3");
/// Labels of any pool image, for oracles alone: strategies that cheat on purpose, to show what labels are worth. Input: ids
/// (u64 \[n\]), from the pool. Output: class numbers (u64 \[n\]). Args and answer: [`Empty`].
///
/// Offered only where the config allows oracles; every report of the run says that one was asked.
pub const ORACLE_LABELS_1: Op = Op("oracle.labels/1");
/// Rows at Euclidean length 1; a row of zeros stays one. Input: points (f32 \[n, d\]). Output: points (f32 \[n, d\]),
/// the pool's shared features without a copy in the host. Args and answer: [`Empty`].
pub const NORMALIZE_1: Op = Op("normalize/1");
/// Some rows. Inputs: a tensor (\[n, ...\]), positions (u64 \[m\]). Output: the rows at these positions (\[m, ...\]). Args
/// and answer: [`Empty`].
pub const GATHER_1: Op = Op("gather/1");
/// The largest or smallest numbers. Input: numbers (f32, n of them). Args: [`TopkArgs`]. Output: positions (u64 \[k\]), most
/// wanted first, equal numbers in the order of their positions. Answer: [`Empty`].
pub const TOPK_1: Op = Op("topk/1");
/// All numbers in order. Input: numbers (f32, n of them). Args: [`ArgsortArgs`]. Output: positions (u64 \[n\]), equal
/// numbers in the order of their positions. Answer: [`Empty`].
pub const ARGSORT_1: Op = Op("argsort/1");
/// One number for each image from its class probabilities. Input: probabilities (f32 \[n, c\], or \[n, passes, c\]). Args:
/// [`ReduceArgs`]. Output: scores (f32 \[n, 1\]). Answer: [`Empty`].
pub const REDUCE_1: Op = Op("reduce/1");
/// The nearest points of each query. Inputs: queries (f32 \[m, d\]), points (f32 \[n, d\]), and with `among` the positions
/// of the points that count (u64, ascending). Args: [`NearestArgs`]. Outputs: positions (u64 \[m, k\]) and Euclidean
/// distances (f32 \[m, k\]), nearest first, equal ones in the order of their positions. Answer: [`Empty`].
pub const NEAREST_1: Op = Op("nearest/1");
/// Points drawn one by one, each with a chance in proportion to its squared distance to the nearest drawn before (Arthur &
/// Vassilvitskii 2007). Inputs: points (f32 \[n, d\]); where there are two tensors (f32 \[n, c\] and \[n, d\]), point i is the
/// outer product of its two rows, which is never formed. Args: [`KMeansPpArgs`]. Output: positions (u64 \[k\]), in the order
/// drawn, none twice; where every distance is 0, any other point is as probable as the next. Answer: [`Empty`].
pub const KMEANS_PP_1: Op = Op("kmeans_pp/1");
/// Farthest first: each pick is the point farthest from its nearest centre, and then a centre itself (Gonzalez 1985).
/// Inputs: points (f32 \[n, d\]), positions of the first centres (u64 \[m\]). Args: [`KCenterArgs`]. Outputs: positions (u64
/// \[k\]) in the order picked, distances (f32 \[k, 1\]) to the nearest centre at that moment. Equal distances go to the lowest
/// position; no centre is picked. Without centres the first pick is drawn, at distance 0. Answer: [`Empty`].
pub const K_CENTER_1: Op = Op("k_center/1");
/// Greedy weighted coverage: each pick adds most to `sum_n w_n max_s k(x_n, x_s)`. Inputs: points (f32 \[n, d\]), positions
/// of the centres so far (u64 \[m\]), then what [`CoverageArgs`] says is there, in its order: weights (f32, n), radii (f32,
/// m), candidates (u64, ascending), bonus (f32, n). Args: [`CoverageArgs`]. Outputs: positions (u64) in the order picked, gains
/// (f32 \[picks, 1\]) as shares of the total weight. Answer: [`CoverageAnswer`].
///
/// Equal scores go to the lowest position. Without a bonus it ends early, with fewer picks, where no candidate adds anything.
pub const COVERAGE_1: Op = Op("coverage/1");
/// For each query the weighted sum of a kernel over all points. Inputs: queries (f32 \[m, d\]), points (f32 \[n, d\]), and with
/// `weights` these (f32, n). Args: [`KernelSumsArgs`]. Output: sums (f32 \[m, 1\]). Answer: [`Empty`].
pub const KERNEL_SUMS_1: Op = Op("kernel_sums/1");
/// The weighted sum of the points of each group. Inputs: points (f32 \[n, d\]), groups (u64 \[n\]), weights (f32, n). Args:
/// [`GroupSumsArgs`]. Output: sums (f32 \[groups, d\]). Answer: [`Empty`].
pub const GROUP_SUMS_1: Op = Op("group_sums/1");
/// Keep a map of images with the run: a point for each image, which the report draws with the images behind the points.
/// Inputs: ids (u64 \[n\]), places (f32 \[n, 2\]), groups (u64 \[n\]). Args: [`MapArgs`]. Answer: [`Empty`].
pub const MAP_PUT_1: Op = Op("map.put/1");
/// What the run is: who chooses first and afterwards, who learns, when it ends. Args: [`Empty`]. Answer: [`RunInfo`]. Since 1.3.
///
/// A sizer needs it: how large the initial set should be depends on the query strategy more than on anything else.
pub const RUN_INFO_1: Op = Op("run.info/1");
/// What the model said of images before they were labelled (prequential: predict first, then learn; Dawid 1984). Args:
/// [`PrequentialArgs`]. Outputs, one u64 tensor \[n\] each, in the order in which the images were labelled: ids, rounds, predicted
/// classes, labels. Answer: [`Empty`]. Since 1.3.
///
/// Images of round 0 are not among them, as no model had seen them. The record is kept over a resume. It is kept only in runs with a
/// sizer, and only until every sizer is content; a host that keeps none answers with empty tensors.
pub const PREQUENTIAL_1: Op = Op("prequential.get/1");
/// What another strategy would choose of some unlabelled images. Input: candidates (u64 \[n\]), unlabelled images of the pool, none
/// twice. Args: [`SelectArgs`]. Output: the chosen images (u64 \[count\]), most wanted first. Answer: [`Empty`]. Since 1.3.
///
/// For strategies whose manifest says that they compose others (see [`composes`](crate::manifest::COMPOSES)); the host has found, checked
/// and loaded these before anything is trained. To the other strategy the candidates are all the unlabelled images that there are; it
/// begins each time as it was after the last answer that was kept, so that answers do not depend on each other. It composes nothing
/// itself. Its choice is held to what every selection is held to.
pub const STRATEGY_SELECT_1: Op = Op("strategy.select/1");

/// The most that the arguments of an operation may ask for. A message that asks for more is refused before anything is done;
/// what an answer takes together is bounded by the memory for tensors besides.
pub mod most {
    /// Random views of an image.
    pub const VIEWS: u32 = 1000;
    /// Passes under dropout.
    pub const PASSES: u32 = 1024;
    /// Outputs of a model, in one question.
    pub const OUTPUTS: usize = 8;
    /// Clusters of k-means.
    pub const CLUSTERS: u32 = 1_000_000;
    /// Rounds of Lloyd's algorithm.
    pub const ITERATIONS: u32 = 10_000;
    /// Starts of k-means.
    pub const RESTARTS: u32 = 1000;
    /// Bytes of a name, a heading or a stream.
    pub const TEXT: usize = 256;
    /// Operations on a view.
    pub const VIEW_OPS: usize = 64;
    /// Epochs of a training.
    pub const EPOCHS: u32 = 100_000;
    /// Images in a step of a training.
    pub const BATCH_SIZE: u32 = 65_536;
    /// Classes that a training tells apart, and numbers that a head puts out.
    pub const WIDTH: u32 = 65_536;
    /// Channels after a backbone's first convolution.
    pub const BACKBONE_WIDTH: u32 = 4096;
    /// Keys in a queue, and entries that are drawn against one.
    pub const KEYS: u32 = 1 << 20;
    /// Choices of an operation on a view.
    pub const CHOICES: usize = 10_000;
    /// Pixels added on each side of an image.
    pub const PADDING: u32 = 1024;
    /// Numbers that a training keeps of each image, and drops of its learning rate.
    pub const RECORDS: usize = 1000;
}

/// A message without fields.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Empty {}

/// What comes with a request to a sizer, as its `extra`; see [`Bounds`](crate::Bounds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeArgs {
    /// The smallest initial set.
    pub least: u64,
    /// The largest.
    pub most: u64,
}

/// What a sizer answers, as the `report` of a selection without images; see [`Sizing`](crate::Sizing).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SizeAnswer {
    /// Images that the initial strategy should have chosen in all.
    pub wanted: u64,
    /// One sentence for people.
    pub reason: String,
    /// Numbers by name.
    #[serde(default)]
    pub measures: BTreeMap<String, f64>,
}

/// What `run.info/1` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The strategy that chooses the initial set.
    pub initial: StrategyInfo,
    /// The strategy that chooses afterwards; to an adviser that is told of another one, that one.
    pub query: StrategyInfo,
    /// The learner.
    pub learner: LearnerInfo,
    /// Images that a query round labels.
    pub query_size: u64,
    /// Labels at the end, if the config says so.
    pub until: Option<u64>,
}

/// A strategy of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrategyInfo {
    /// Its name.
    pub name: String,
    /// What it goes by, as its manifest says; empty where that says nothing. See [`criterion`](crate::manifest::criterion).
    #[serde(default)]
    pub criterion: String,
}

/// The learner of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnerInfo {
    /// Its name in a config, such as `linear-probe` or `supervised`; `script` for a script of the user's own.
    pub name: String,
    /// Whether it stands on features that the labels do not change.
    pub frozen: bool,
}

/// What `prequential.get/1` takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrequentialArgs {
    /// Only images that were labelled in the last so many rounds before this one; absent, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u32>,
}

/// What `strategy.select/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectArgs {
    /// The strategy, as a parameter that the manifest lists under `composes` names it.
    #[serde(deserialize_with = "bounded::name")]
    pub strategy: String,
    /// How many; at most as many as candidates.
    pub count: u64,
    /// The stream of the call's seed that the strategy's own seed is drawn from; the same stream is another one for each strategy.
    #[serde(deserialize_with = "bounded::stream")]
    pub stream: String,
    /// Whether the answer counts: the strategy then goes on from here in the next round, and what it puts with the run is kept. Of any
    /// other answer nothing is left.
    pub keep: bool,
}

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
    #[serde(deserialize_with = "bounded::outputs")]
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
    /// Probabilities minus the one-hot vector of the most probable class \[n, c\]: with the embeddings, the factors of the
    /// last layer's gradient if that class were true. Only of [`PREDICT_3`].
    Residuals,
}

/// What `model.predict/2` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictArgs2 {
    /// The model's name from [`TrainAnswer`]; absent, the current task model.
    pub model: Option<String>,
    /// What to compute; each at most once.
    #[serde(deserialize_with = "bounded::outputs")]
    pub outputs: Vec<Output>,
    /// Random views to look at; absent, the image as it is.
    pub views: Option<Views>,
}

/// What `model.predict/3` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictArgs3 {
    /// The model's name from [`TrainAnswer`]; absent, the current task model.
    pub model: Option<String>,
    /// What to compute; each at most once.
    #[serde(deserialize_with = "bounded::outputs")]
    pub outputs: Vec<Output>,
    /// Random views to look at; absent, the image as it is.
    pub views: Option<Views>,
    /// Passes under dropout; absent, none. Not beside views.
    pub dropout: Option<Dropout>,
}

/// Passes in which features are left out by chance before the last layer; batch-norm and all else stays as in any
/// prediction, so that the network runs once for all passes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    /// How many passes.
    #[serde(deserialize_with = "bounded::passes")]
    pub passes: u32,
    /// The chance of a feature to be left out; the others count 1 / (1 - p) times.
    pub p: f64,
    /// Whether a pass leaves out the same features of every image (one draw of the weights, as joint scores need) or draws
    /// anew for each image, from its id.
    pub shared: bool,
    /// Whether the first pass leaves out nothing; it is then one of `passes`.
    pub clean: bool,
}

/// Random views of each image, and what is made of the model's answers to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Views {
    /// What is done to each view, as in a [`TrainSpec`](crate::training::TrainSpec); no choosing operation. An image's views depend on the call's
    /// seed and its id alone.
    #[serde(deserialize_with = "bounded::view_ops")]
    pub ops: Vec<ViewOp>,
    /// How many views.
    #[serde(deserialize_with = "bounded::views")]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KMeansArgs {
    /// How many clusters; at most as many as points.
    #[serde(deserialize_with = "bounded::clusters")]
    pub clusters: u32,
    /// The most rounds of Lloyd's algorithm; it stops when no point changes its cluster.
    #[serde(deserialize_with = "bounded::iterations")]
    pub iterations: u32,
    /// How often to start anew; the start with the least inertia counts.
    #[serde(deserialize_with = "bounded::restarts")]
    pub restarts: u32,
    /// A start also ends once the squares of the centres' moves in a round add up to no more than this times the variance of a
    /// feature, on average over the features; scikit-learn has 1e-4. Since 1.2.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tolerance: f64,
    /// The stream of the call's seed that the starts are drawn from.
    #[serde(deserialize_with = "bounded::stream")]
    pub stream: String,
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
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

/// What `topk/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopkArgs {
    /// How many; all, if there are fewer.
    pub k: u64,
    /// The largest, or else the smallest.
    pub largest: bool,
}

/// What `argsort/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgsortArgs {
    /// From the largest, or else from the smallest.
    pub descending: bool,
}

/// What `reduce/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReduceArgs {
    /// Which number.
    pub measure: Measure,
}

/// How unsure a model is of an image: larger is less sure. Natural logarithms; 0 log 0 is 0. Where there are several passes,
/// `p` is their mean unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// `-sum p log p`.
    Entropy,
    /// `1 - max p`.
    LeastConfidence,
    /// `1 - (p1 - p2)` of the two most probable classes.
    Margin,
    /// The mean over passes of each pass's entropy.
    ExpectedEntropy,
    /// The entropy minus the expected entropy: what a label would say about the weights (Houlsby et al. 2011).
    Bald,
    /// `1 - max p`, under its name in the dropout literature.
    VariationRatio,
    /// 1 minus the share of passes that name the class that most of them name (Gal, Islam and Ghahramani 2017).
    VoteRatio,
}

/// What `nearest/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NearestArgs {
    /// How many; at most as many as there are points that count.
    pub k: u32,
    /// Whether positions of the points that count are among the inputs.
    pub among: bool,
}

/// What `kmeans_pp/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KMeansPpArgs {
    /// How many; at most as many as points.
    pub k: u64,
    /// The first one.
    pub first: First,
    /// The stream of the call's seed that the points are drawn from.
    #[serde(deserialize_with = "bounded::stream")]
    pub stream: String,
}

/// The first of the points that k-means++ draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum First {
    /// Any point, each as probable.
    Drawn,
    /// The point of the largest Euclidean length.
    LargestNorm,
}

/// What `k_center/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KCenterArgs {
    /// How many picks; at most as many as there are points that are no centre.
    pub k: u64,
    /// The stream of the call's seed that the first pick is drawn from where there is no centre.
    #[serde(deserialize_with = "bounded::stream")]
    pub stream: String,
}

/// How alike two points are, from their distance `d`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kernel {
    /// 1 where `d < radius`, else 0.
    TopHat {
        /// The radius.
        radius: f64,
    },
    /// `exp(-d^2 / bandwidth^2)`.
    Rbf {
        /// The bandwidth.
        bandwidth: f64,
    },
    /// `exp(-d / bandwidth)`.
    Laplace {
        /// The bandwidth.
        bandwidth: f64,
    },
    /// `1 / (d^2)^alpha` where `d^2 < horizon`, else 0; 0 where `d` is 0.
    Power {
        /// The exponent.
        alpha: f64,
        /// Where it ends.
        horizon: f64,
    },
}

/// What `coverage/1` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoverageArgs {
    /// The most picks.
    pub k: u64,
    /// How far a centre covers.
    pub kernel: Kernel,
    /// Whether there are weights of the points, none negative; absent, 1 each.
    pub weights: bool,
    /// Whether each centre has a radius of its own (a top-hat's); absent, the kernel's.
    pub radii: bool,
    /// Whether only some points may be picked.
    pub candidates: bool,
    /// Whether each point has a bonus, and its share: at every pick a candidate's score is `share` times its bonus plus `1 -
    /// share` times its gain, both scaled to between 0 and 1 over the candidates that are left. Then all picks are made,
    /// whatever they add.
    pub bonus: Option<f64>,
}

/// What `coverage/1` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoverageAnswer {
    /// The share of the total weight that the centres covered before the first pick.
    pub before: f64,
    /// The share that is covered after the last one.
    pub after: f64,
}

/// What `kernel_sums/1` takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelSumsArgs {
    /// What is summed.
    pub kernel: Kernel,
    /// Whether there are weights of the points; absent, 1 each.
    pub weights: bool,
}

/// What `group_sums/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSumsArgs {
    /// How many groups.
    pub groups: u64,
}

/// What `map.put/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapArgs {
    /// A file name without ending: letters, digits, `_` and `-`.
    #[serde(deserialize_with = "bounded::name")]
    pub name: String,
    /// A heading.
    #[serde(deserialize_with = "bounded::title")]
    pub title: String,
    /// What the first number of a place means.
    #[serde(deserialize_with = "bounded::x_axis")]
    pub x_axis: String,
    /// What the second number means.
    #[serde(deserialize_with = "bounded::y_axis")]
    pub y_axis: String,
    /// What a group is: `cluster`.
    #[serde(deserialize_with = "bounded::group")]
    pub group: String,
}

/// What `artifact.put/1` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactArgs {
    /// A file name without folders; letters, digits, `.`, `_` and `-`.
    #[serde(deserialize_with = "bounded::name")]
    pub name: String,
    /// The file's bytes.
    #[serde(with = "bytes")]
    pub bytes: Vec<u8>,
}

/// Fields that know their bounds: a message beyond them cannot be read.
mod bounded {
    use super::{Output, ViewOp, most};
    use serde::de::{Deserialize, Deserializer, Error};

    fn at_most<E: Error>(part: &str, number: u64, most: u64) -> Result<(), E> {
        match number > most {
            true => Err(E::custom(format!("`{part}` is at most {most}, not {number}"))),
            false => Ok(()),
        }
    }

    macro_rules! numbers {
        ($($part:ident: $most:expr;)*) => {$(
            pub fn $part<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
                let number = u32::deserialize(deserializer)?;
                at_most(stringify!($part), u64::from(number), u64::from($most))?;
                Ok(number)
            }
        )*};
    }

    macro_rules! lengths {
        ($($part:ident: $type:ty, $most:expr;)*) => {$(
            pub fn $part<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let several = <$type>::deserialize(deserializer)?;
                at_most(concat!("the length of ", stringify!($part)), several.len() as u64, $most as u64)?;
                Ok(several)
            }
        )*};
    }

    numbers! {
        views: most::VIEWS;
        passes: most::PASSES;
        clusters: most::CLUSTERS;
        iterations: most::ITERATIONS;
        restarts: most::RESTARTS;
    }

    lengths! {
        outputs: Vec<Output>, most::OUTPUTS;
        view_ops: Vec<ViewOp>, most::VIEW_OPS;
        stream: String, most::TEXT;
        name: String, most::TEXT;
        title: String, most::TEXT;
        x_axis: String, most::TEXT;
        y_axis: String, most::TEXT;
        group: String, most::TEXT;
    }
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
pub const ALL: [Op; 28] = [
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
    PREDICT_3,
    ORACLE_LABELS_1,
    NORMALIZE_1,
    GATHER_1,
    TOPK_1,
    ARGSORT_1,
    REDUCE_1,
    NEAREST_1,
    KMEANS_PP_1,
    K_CENTER_1,
    COVERAGE_1,
    KERNEL_SUMS_1,
    GROUP_SUMS_1,
    ARTIFACT_PUT_1,
    MAP_PUT_1,
    RUN_INFO_1,
    PREQUENTIAL_1,
    STRATEGY_SELECT_1,
];

impl Output {
    /// The output's name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Output::Probabilities => "probabilities",
            Output::Logits => "logits",
            Output::Embeddings => "embeddings",
            Output::Residuals => "residuals",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;
    use serde_json::json;

    fn decoded<T: serde::de::DeserializeOwned>(message: &serde_json::Value) -> Result<(), String> {
        wire::decode::<T>(&wire::encode(message)).map(|_| ()).map_err(|error| error.message)
    }

    /// At the bound a message is read, beyond it the part is named.
    #[test]
    fn a_message_beyond_its_bounds_cannot_be_read() {
        let text = |length: usize| json!("x".repeat(length));
        let views = |count: u32, n_ops: usize| {
            let ops = vec![json!({"op": "flip", "p": 0.5}); n_ops];
            json!({"ops": ops, "count": count, "clean": false, "reduce": "mean"})
        };
        let kmeans = |clusters: u32, iterations: u32, restarts: u32, stream: usize| json!({"clusters": clusters, "iterations": iterations, "restarts": restarts, "stream": text(stream)});
        let dropout = |passes: u32| json!({"passes": passes, "p": 0.5, "shared": true, "clean": false});
        let (c, i, r) = (most::CLUSTERS, most::ITERATIONS, most::RESTARTS);
        for (fits, too_much, part) in [
            (views(most::VIEWS, 1), views(most::VIEWS + 1, 1), "views"),
            (views(1, most::VIEW_OPS), views(1, most::VIEW_OPS + 1), "view_ops"),
            (views(1, 1), views(20_000, 1), "views"),
        ] {
            assert_eq!(decoded::<Views>(&fits), Ok(()));
            assert!(decoded::<Views>(&too_much).unwrap_err().contains(part), "{part}");
        }
        for (too_much, part) in [
            (kmeans(c + 1, i, r, 1), "clusters"),
            (kmeans(c, i + 1, r, 1), "iterations"),
            (kmeans(c, i, r + 1, 1), "restarts"),
            (kmeans(c, i, r, most::TEXT + 1), "stream"),
        ] {
            assert!(decoded::<KMeansArgs>(&too_much).unwrap_err().contains(part), "{part}");
        }
        assert_eq!(decoded::<KMeansArgs>(&kmeans(c, i, r, most::TEXT)), Ok(()));
        assert_eq!(decoded::<Dropout>(&dropout(most::PASSES)), Ok(()));
        assert!(decoded::<Dropout>(&dropout(u32::MAX)).unwrap_err().contains("passes"));
        assert!(decoded::<PredictArgs>(&json!({"outputs": vec!["logits"; 9]})).unwrap_err().contains("outputs"));
    }
}
