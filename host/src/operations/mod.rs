//! Operations: what the host does for plugins, answered by data and engine.
//!
//! A [`Services`] lives for a run; a [`Call`] for one call into a plugin, with its tensors and its view of the labels.
//! No answer ever holds the label of an unlabelled image. This room knows no `dlopen` and no loop.

mod cache;
mod call;
mod components;
mod features;
mod frozen;
mod map;
mod maths;
mod near;
mod remembered;
mod task;
mod train;

pub use crate::hash::{hex, sha256_of};
pub use cache::{Cache, Entry, Listed};
pub use call::{Asked, Call};
pub use components::{Choice, ComponentAsk, Components, Part};
pub use features::{
    Features, Made, Representation, key_of_features, name_of_features, of_pool, of_test_part, plane, untrained_network,
};
pub use frozen::{Frozen, remember};
pub use map::write_map;
use map::{draw_map, put};
pub use near::{NearPair, near_pairs};
pub use remembered::Remembered;
pub use task::{Answers, Question, TaskModel, residuals};
pub use train::{About, Items, Training, load, records, train};

use crate::data::{Dataset, Pins};
use crate::engine::{Device, Images, Model, ModelSettings, Precision};
use crate::limits::{self, Excess};
use coldstart_plugin_api::ops::{EnvInfo, RunInfo};
use coldstart_plugin_api::{Code, Error, Prequential, Result};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What operations draw on, for the length of a run.
pub struct Services {
    /// The images and their classes.
    pub data: Arc<Dataset>,
    /// The pool on the device and the current model.
    pub task: Arc<Task>,
    /// Threads and device.
    pub env: EnvInfo,
    /// Where networks are trained.
    pub device: Device,
    /// The task model: the backbone of a training that names none.
    pub model: ModelSettings,
    /// The number format of trainings.
    pub precision: Precision,
    /// The seed of a training that names none.
    pub run_seed: u64,
    /// Where the shared features of the pool come from, if the config says so.
    pub representation: Option<Representation>,
    /// The features that were made.
    pub features: Mutex<Vec<Made>>,
    /// The files of the user's that the run stands on, as they were when it began.
    pub pins: Pins,
    /// Whether an oracle may read the labels of unlabelled images.
    pub oracles: bool,
    /// How many bytes of tensors are kept for one call.
    pub tensor_bytes: u64,
    /// How long the operations of one call may take together.
    pub host_time: Duration,
    /// When the operation under way has to end; none where nobody asked for it in a call.
    pub until: Mutex<Option<Instant>>,
    /// What was trained before.
    pub cache: Cache,
    /// The network that was asked last, beside the task model: often it is asked again.
    pub network: Mutex<Option<(String, Model)>>,
    /// Set when the user wants to stop.
    pub cancelled: Arc<AtomicBool>,
    /// Hears how far long steps have come.
    pub meter: Arc<dyn Meter>,
}

impl Services {
    /// Whether the user wants to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Whether the work under way goes on: the user does not want to stop, and its time is not over.
    pub fn goes_on(&self) -> bool {
        let until = self.until();
        !self.is_cancelled() && until.is_none_or(|until| Instant::now() < until)
    }

    /// The same, for the engine's observers.
    pub fn flow(&self) -> ControlFlow<()> {
        if self.goes_on() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// Let the work under way take until then, or as long as it takes.
    pub fn set_until(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Errs when `n` of something take more memory than the tensors of a call may, so many bytes each.
    pub fn check_size(&self, n: usize, bytes_of_each: usize, what: impl Fn() -> String) -> Result<()> {
        let (bytes, most) = ((n as u64).saturating_mul(bytes_of_each as u64), self.tensor_bytes);
        if bytes <= most {
            return Ok(());
        }
        let (bytes, most) = (limits::Unit::Bytes.say(bytes), limits::Unit::Bytes.say(most));
        let message = format!("{} take {bytes}, and {most} are allowed", what());
        Err(Error::new(Code::OUT_OF_MEMORY, message).with("hint", "ask for fewer, or raise `plugins.memory`"))
    }
}

/// A limit that a plugin's question passes, in words for the plugin.
fn refused(excess: Excess) -> Error {
    Error::new(Code::BAD_PARAMS, excess.to_string())
}

/// Hears of progress, from any thread.
pub trait Meter: Send + Sync {
    /// What the work runs on, in words; said before it begins.
    fn device(&self, device: &str);

    /// A step has come this far.
    fn tick(&self, stage: &str, done: u64, total: u64);

    /// A step is over; one sentence about it.
    fn step(&self, message: &str);
}

/// The task model and what it looks at; shared by the learner, which trains it, and the operations, which ask it.
///
/// Tensors may move between threads but not be used by two at once: hence the lock.
pub struct Task {
    inner: Mutex<TaskState>,
}

/// What the lock of a [`Task`] guards.
pub struct TaskState {
    /// The pool's images on the device.
    pub pool: Images,
    /// The engine's model, once one is trained.
    pub model: Option<Model>,
    /// A model that is not the engine's, in its place.
    pub outside: Option<Arc<dyn TaskModel + Send + Sync>>,
}

impl TaskState {
    /// The model that strategies ask, whoever trained it; none before the initial set is labelled.
    pub fn current(&self) -> Option<&dyn TaskModel> {
        match (&self.model, &self.outside) {
            (Some(model), _) => Some(model),
            (None, Some(model)) => Some(&**model),
            (None, None) => None,
        }
    }
}

impl Task {
    /// A task without a model.
    pub fn new(pool: Images) -> Task {
        Task { inner: Mutex::new(TaskState { pool, model: None, outside: None }) }
    }

    /// Wait for the task and hold it.
    pub fn lock(&self) -> MutexGuard<'_, TaskState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which call it is.
pub struct Context<'a> {
    /// The plugin's name, for messages.
    pub plugin: &'a str,
    /// The seed of the call.
    pub seed: [u8; 32],
    /// The round that it is asked in.
    pub round: u32,
    /// Dataset ids of the labelled images, ascending.
    pub labelled: &'a [u64],
    /// What the model said of images before they were labelled, in the order of their labels.
    pub prequential: &'a [Prequential],
    /// What it is told of the run.
    pub run: &'a RunInfo,
    /// Where features of the pool come from, for this strategy.
    pub features: Option<&'a Representation>,
    /// Where artifacts go.
    pub artifacts: Artifacts,
    /// The strategies that it may ask; none where its manifest names none.
    pub components: Option<&'a dyn Components>,
    /// The call that it is a part of, where it is a component's.
    pub part: Option<Part<'a>>,
}

/// Where artifacts of a call go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Artifacts {
    /// Nowhere: the run has no folder yet.
    NoFolder,
    /// Nowhere: the answer does not count. They are taken and forgotten.
    Forgotten,
    /// Into this folder.
    In(PathBuf),
}
