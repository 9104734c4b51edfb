//! The active-learning loop: select, label, train, evaluate, record; and resume where a killed run stopped.
//!
//! The loop knows a data set, a [`Learner`], two [`Selector`]s and perhaps [`Sizer`]s, all by trait or as plain data: no torch, no
//! `dlopen`, and no strategy by name. Files are the truth: after every round all that matters lies in the run
//! directory, and a round counts once its `round-finished` line is in the journal.

mod budget;
mod error;
mod files;
mod hashes;
mod journal;
mod metrics;
mod prequential;
mod rounds;
mod run_dir;
mod seeds;
mod sizing;

pub use budget::{Budget, End};
pub use error::{RunError, chain};
pub use files::{create_folder, remove_partial_files, sync_parent, write_atomically};
pub use hashes::{Hashes, Kept, look, of_files, of_folder};
pub use journal::{Event, Journal, now};
pub use metrics::{Metrics, TestMetrics, metrics, most_probable};
pub use rounds::{Experiment, Outcome};
pub use run_dir::{MODELS, Record, RunDir};
pub use seeds::seed;
pub use sizing::{Said, Sizer, SizerTerms, Sizers, Sizings};

use coldstart_plugin_api::{Prequential, Selection};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// What trains the task model and asks it; rows and labels are the data set's, in the order of its parts.
pub trait Learner {
    /// Train on the images at these pool positions; their labels are bought by now.
    ///
    /// `warm` continues from the current weights. The same positions and seed give the same model.
    fn train(&mut self, round: u32, labelled: &[usize], seed: [u8; 32], warm: bool) -> Result<Training, Failure>;

    /// Class probabilities on the test part, row by row.
    fn test_probabilities(&mut self, round: u32) -> Result<Vec<f32>, Failure>;

    /// The class that the current model finds most probable, for each of these pool positions; the first of equal ones.
    fn predict_classes(&mut self, positions: &[usize]) -> Result<Vec<usize>, Failure>;

    /// What its stored model is called.
    fn file_name(&self) -> &'static str {
        MODELS[0]
    }

    /// Store the model in a file that does not exist yet.
    fn save(&self, file: &Path) -> Result<(), Failure>;

    /// Take up a stored model.
    fn load(&mut self, file: &Path) -> Result<(), Failure>;
}

/// What training says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// Mean loss of the last epoch.
    pub loss: f64,
    /// Accuracy on the labelled images in the last epoch, as augmented.
    pub accuracy: f64,
    /// What parts of it took, by name; the rest has none.
    pub phases: Vec<(&'static str, Duration)>,
    /// Networks that were trained for it.
    pub pretexts: Vec<Pretext>,
    /// Why it had to be done again, if it had to.
    pub retried: Option<Retried>,
}

/// A training went wrong and was done again in another way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retried {
    /// What had happened.
    pub error: String,
    /// The peak learning rate of the second attempt.
    pub lr: f64,
}

/// What chooses images.
pub trait Selector {
    /// Choose; the answer has been checked against the request.
    fn select(&mut self, request: &Ask<'_>) -> Result<Selected, Failure>;

    /// State to store after the round; empty if there is none.
    fn save(&mut self) -> Result<Vec<u8>, Failure>;

    /// Take up stored state.
    fn load(&mut self, state: &[u8]) -> Result<(), Failure>;
}

/// What a selector is asked.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// 0 for the initial set.
    pub round: u32,
    /// How many images to choose.
    pub budget: usize,
    /// Dataset ids to choose from, ascending.
    pub unlabelled: &'a [u64],
    /// Dataset ids of the labelled images, ascending.
    pub labelled: &'a [u64],
    /// What the model said of images before they were labelled, in the order of their labels; nothing where nobody keeps it.
    pub prequential: &'a [Prequential],
}

/// A selector's answer.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The chosen images.
    pub selection: Selection,
    /// What it took.
    pub effort: Effort,
}

/// What an answer took.
#[derive(Debug, Clone, Default)]
pub struct Effort {
    /// Time that the strategy itself took.
    pub deciding: Duration,
    /// Time that networks took to answer the strategy's questions.
    pub predicting: Duration,
    /// Time that networks took to be trained for it.
    pub training: Duration,
    /// Each of those networks.
    pub pretexts: Vec<Pretext>,
    /// Why it had to be asked again, if it had to.
    pub mishaps: Vec<Mishap>,
}

impl Effort {
    /// What another answer took comes on top.
    pub fn add(&mut self, more: Effort) {
        self.deciding += more.deciding;
        self.predicting += more.predicting;
        self.training += more.training;
        self.pretexts.extend(more.pretexts);
        self.mishaps.extend(more.mishaps);
    }
}

/// A strategy was lost while it chose, and was asked again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mishap {
    /// The strategy.
    pub plugin: String,
    /// What had happened to it.
    pub error: String,
}

/// A network that was trained for a strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pretext {
    /// The strategy; the learner's name if it was trained for the task model.
    pub plugin: String,
    /// What the training is called.
    pub name: String,
    /// The hash that names the network.
    pub model: String,
    /// Whether it had been trained before.
    pub cached: bool,
    /// Epochs.
    pub epochs: u32,
    /// The mean loss of the last epoch.
    pub loss: f64,
    /// The share of its targets told right in the last epoch, if it has classes.
    pub accuracy: Option<f64>,
    /// How long it took to be had.
    pub seconds: f64,
}

/// A failure of a learner or selector; the loop adds the round, and whoever built them knows its type.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the loop tells whoever watches.
pub trait Watcher {
    /// The run begins, or goes on, in this folder.
    fn run_started(&mut self, dir: &Path);

    /// A round begins with this many labels and will choose `budget` more.
    fn round_started(&mut self, round: u32, rounds: u32, labels: usize, budget: usize);

    /// A round has ended.
    fn round_finished(&mut self, metrics: &Metrics, took: Duration);

    /// Whether the user wants to stop; asked between the steps of a round.
    fn cancelled(&self) -> bool;
}
