//! Runs in the forms of other tools: event files for TensorBoard, a file store for MLflow. Files alone, no service.

mod mlflow;
mod tensorboard;

use std::path::{Path, PathBuf};

use super::ReportError;
use super::curve::Measure;
use super::files::Event;
use super::run::{Round, Run, Status, read_numbers};
use super::study::{Named, is_study, named_runs};

pub use tensorboard::write as write_events;

/// Write runs, and every run of studies, as a store of MLflow's in `to`.
///
/// A run that is there already is written anew, under the same id. Errs when a folder is neither run nor study, when `to` holds
/// something else, and when a file cannot be written. Returns how many runs were written.
pub fn mlflow(dirs: &[PathBuf], to: &Path) -> Result<usize, ReportError> {
    let runs = all(dirs)?;
    mlflow::write(&runs, to)?;
    Ok(runs.len())
}

/// Write an event file for each run, and for every run of studies, in a folder of its own in `to`, as [`write_events`] does.
pub fn tensorboard(dirs: &[PathBuf], to: &Path) -> Result<usize, ReportError> {
    let runs = all(dirs)?;
    for named in &runs {
        tensorboard::write_in(&named.run, &to.join(folder(&named.experiment)).join(folder(&named.name)))?;
    }
    Ok(runs.len())
}

fn all(dirs: &[PathBuf]) -> Result<Vec<Named>, ReportError> {
    let mut runs = Vec::new();
    for dir in dirs {
        match is_study(dir) {
            true => runs.extend(named_runs(dir)?),
            false => {
                let run = read_numbers(dir)?;
                let (experiment, name) = (run.config.get("name").to_owned(), run.name());
                runs.push(Named { experiment, name, axes: Vec::new(), error: None, run });
            }
        }
    }
    Ok(runs)
}

/// A name as that of a folder.
fn folder(name: &str) -> String {
    let name: String = name.chars().map(|c| if c == '/' || c.is_control() { '-' } else { c }).collect();
    if name.trim_matches('.').is_empty() { "run".to_owned() } else { name }
}

/// Every number of a round, by a name with its group; what does not exist is left out.
fn scalars(round: &Round) -> Vec<(String, f64)> {
    let metrics = &round.metrics;
    let mut scalars: Vec<(String, f64)> = Vec::new();
    for measure in Measure::ALL {
        let group = if measure == Measure::ClassCoverage { "labels" } else { "test" };
        scalars.extend(measure.of(metrics).map(|value| (format!("{group}/{}", measure.key()), value)));
    }
    scalars.extend(metrics.min_class_recall().map(|recall| ("test/min_class_recall".to_owned(), recall)));
    scalars.extend(metrics.train_loss.map(|loss| ("train/loss".to_owned(), loss)));
    scalars.extend(metrics.train_accuracy.map(|accuracy| ("train/accuracy".to_owned(), accuracy)));
    scalars.push(("labels/round".to_owned(), round.number as f64));
    scalars.push(("labels/bought".to_owned(), metrics.labels_bought() as f64));
    scalars.extend(metrics.classes_seen.map(|seen| ("labels/classes_seen".to_owned(), seen as f64)));
    scalars.retain(|(_, value)| value.is_finite());
    scalars
}

/// The rounds that count: a run that was killed may have left files of one that does not, and does it again.
fn counted(run: &Run) -> impl Iterator<Item = &Round> {
    let finished = |round: &&Round| {
        let counts = |event: &Event| event.event == "round-finished" && event.round == Some(round.number);
        run.status == Status::Finished || run.journal.iter().any(counts)
    };
    run.rounds.iter().filter(finished)
}

/// When a round counted, in seconds since 1970; when the run began where the journal does not say.
fn finished_at(run: &Run, round: usize) -> f64 {
    let finished = run.journal.iter().find(|event| event.event == "round-finished" && event.round == Some(round));
    finished.and_then(|event| seconds(&event.time)).unwrap_or_else(|| began_at(run))
}

/// When a run began, in seconds since 1970; 0 where nobody knows.
fn began_at(run: &Run) -> f64 {
    seconds(&run.environment.started).or_else(|| seconds(&run.journal.first()?.time)).unwrap_or(0.0)
}

/// An RFC 3339 time in seconds since 1970.
fn seconds(time: &str) -> Option<f64> {
    humantime::parse_rfc3339_weak(time)
        .ok()?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs_f64())
}

#[cfg(test)]
mod tests;
