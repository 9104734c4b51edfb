//! What was trained and measured beside the loop: pretexts that strategies asked for, and diagnostics.

use serde::Deserialize;

use super::files::Event;

/// The event that a training is read from.
const PRETEXT_TRAINED: &str = "pretext-trained";

/// A training that a strategy asked for: an event `pretext-trained` of `journal.jsonl`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Training {
    /// The round it belongs to; taken from the event.
    #[serde(skip)]
    pub round: Option<usize>,
    /// The strategy that asked.
    pub plugin: String,
    /// What the strategy calls it, such as `rotation`.
    pub name: String,
    /// Hash of everything that the model depends on.
    pub model: String,
    /// An earlier training with the same hash was used again.
    pub cached: bool,
    /// Epochs trained.
    pub epochs: u64,
    /// Loss of the last epoch.
    pub loss: Option<f64>,
    /// Accuracy of the last epoch in the pretext itself, where it has classes.
    pub accuracy: Option<f64>,
    /// How long it took; little when cached.
    pub seconds: f64,
}

/// Picks the trainings out of a journal, and a sentence for each that is unreadable.
pub(super) fn trainings(journal: &[Event]) -> (Vec<Training>, Vec<String>) {
    let mut trainings = Vec::new();
    let mut problems = Vec::new();
    for event in journal.iter().filter(|event| event.event == PRETEXT_TRAINED) {
        match serde_json::from_value::<Training>(event.details.clone().into()) {
            Ok(training) => trainings.push(Training { round: event.round, ..training }),
            Err(error) => problems.push(format!("journal.jsonl: an event {PRETEXT_TRAINED} is unreadable: {error}")),
        }
    }
    (trainings, problems)
}

/// `diagnostics.json`: how good a run's features and pretexts are. Every label was used to find out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Diagnostics {
    /// Epochs of the task model.
    pub epochs: u64,
    /// How long everything took.
    pub seconds: f64,
    /// The model trained on every label.
    pub task: Task,
    /// Features, held against the classes.
    pub representations: Vec<Representation>,
    /// Losses in pretexts, held against the loss in the task.
    pub pretexts: Vec<Pretext>,
    /// K of the vote of the nearest neighbours.
    pub neighbours: u64,
}

/// The model that was trained on every label of the pool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Task {
    /// What it is called.
    pub name: String,
    /// Accuracy on the test part.
    pub accuracy: Option<f64>,
}

/// How well features tell the classes apart, on the test part.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Representation {
    /// What it is called, such as `moco-v2` or `raw pixels`.
    pub name: String,
    /// Hash of its model, where one was trained.
    pub model: Option<String>,
    /// Numbers for each image.
    pub features: u64,
    /// Accuracy of the weighted vote of the nearest neighbours.
    pub knn: Option<f64>,
    /// Accuracy of a linear classifier.
    pub linear: Option<f64>,
}

/// How the loss in a pretext goes with the loss in the task, over the images of the pool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Pretext {
    /// What it is called, such as `rotation`.
    pub name: String,
    /// Hash of its model.
    pub model: Option<String>,
    /// Spearman's rank correlation.
    pub spearman: Option<f64>,
    /// Lower end of its 95 % interval.
    pub low: Option<f64>,
    /// Upper end of its 95 % interval.
    pub high: Option<f64>,
    /// Images compared.
    pub images: usize,
}
