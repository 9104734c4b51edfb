//! The loop's learner, played by a script of the user's own.

use super::super::SessionError;
use super::super::cross_validation::predicted_classes;
use super::data::Shared;
use super::model::OutsideModel;
use super::{Begun, Listener};
use crate::config::Config;
use crate::engine::Device;
use crate::experiment::{Failure, Learner, MODELS, RunError, Training, write_atomically};
use crate::learner::{
    Fit, Fitted, LearnerCode, LearnerError, Numbers, Process, Script, Setting, Start, most_different,
};
use crate::operations::Services;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// The smallest probability that counts in a loss.
const LEAST: f64 = 1e-12;

/// A learner in a process of its own.
pub struct OutsideLearner {
    script: Script,
    start: Start,
    setting: Setting,
    shared: Shared,
    model: Arc<OutsideModel>,
    services: Arc<Services>,
    verify: bool,
    /// What it was trained on last.
    last: Option<Lesson>,
}

/// All that a training depends on beside the script and the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Lesson {
    /// Ids of the labelled images.
    labelled: Vec<u64>,
    labels: Vec<u32>,
    seed: u32,
    warm: bool,
}

impl Lesson {
    fn fit(&self) -> Fit<'_> {
        Fit { labelled: &self.labelled, labels: &self.labels, seed: self.seed, warm: self.warm }
    }
}

impl OutsideLearner {
    /// Tells the process of the data, and has it make its instance; `root` is where relative data paths begin.
    pub fn new(
        begun: Begun,
        config: &Config,
        services: Arc<Services>,
        device: &Device,
        root: Option<&Path>,
    ) -> Result<OutsideLearner, SessionError> {
        let Begun { script, mut process, params, start } = begun;
        let shared = Shared::new(services.data.clone(), config, root)?;
        let setting = Setting {
            params: serde_json::to_string(&params).expect("JSON is JSON"),
            classes: services.data.classes.clone(),
            device: device.id(),
            threads: device.threads() as u32,
            log_level: 0,
        };
        process.create(&shared.parts(), setting.clone(), &listener(&services))?;
        let model = Arc::new(OutsideModel::new(process, services.data.classes.len()));
        let verify = config.training.verify.unwrap_or_default();
        Ok(OutsideLearner { script, start, setting, shared, model, services, verify, last: None })
    }

    fn lesson(&self, labelled: &[usize], seed: [u8; 32], warm: bool) -> Lesson {
        let pool = &self.services.data.pool;
        let [a, b, c, d, ..] = seed;
        Lesson {
            labelled: labelled.iter().map(|row| pool.ids[*row]).collect(),
            labels: labelled.iter().map(|row| pool.labels[*row]).collect(),
            seed: u32::from_le_bytes([a, b, c, d]),
            warm,
        }
    }

    fn fit(&mut self, lesson: Lesson) -> Result<Fitted, LearnerError> {
        let fitted = self.model.process().fit(lesson.fit(), &listener(&self.services))?;
        self.last = Some(lesson);
        self.services.task.lock().outside = Some(self.model.clone());
        Ok(fitted)
    }

    /// What it says of its training, or else what its predictions for the labelled images say.
    fn told(&self, fitted: Fitted, lesson: &Lesson) -> Result<(f64, f64), LearnerError> {
        if let Fitted { loss: Some(loss), accuracy: Some(accuracy) } = fitted {
            return Ok((loss, accuracy));
        }
        let probs_nc = self.model.probabilities(&lesson.labelled, &listener(&self.services))?;
        let (loss, accuracy) = measured(&probs_nc, &lesson.labels);
        Ok((fitted.loss.unwrap_or(loss), fitted.accuracy.unwrap_or(accuracy)))
    }

    /// Does the training once more, and takes the learner up in another process: predictions must be the same, bit for bit.
    fn verify(&mut self, lesson: &Lesson) -> Result<(), LearnerError> {
        let ids = match self.shared.test_ids() {
            ids if ids.is_empty() => self.services.data.pool.ids.clone(),
            ids => ids,
        };
        let ear = listener(&self.services);
        let first = self.model.probabilities(&ids, &ear)?;
        self.fit(lesson.clone())?;
        let second = self.model.probabilities(&ids, &ear)?;
        let name = self.script.name();
        check_alike(&name, "trained twice on the same labels with the same seed", &first, &second)?;
        let (stores, mut what) = (self.model.process().has("save"), "trained twice");
        if stores {
            let bytes = self.model.process().save(&ear)?;
            let mut other = Process::start(&self.script, &self.start, &ear)?;
            other.create(&self.shared.parts(), self.setting.clone(), &ear)?;
            other.load(&bytes, &ear)?;
            let other = OutsideModel::new(other, self.model.n_classes);
            let third = other.probabilities(&ids, &ear)?;
            check_alike(&name, "stored and taken up by another process", &second, &third)?;
            what = "trained twice, and taken up by another process";
        }
        let n = ids.len();
        self.services.meter.step(&format!("{what}: the predictions for {n} images are the same, bit for bit"));
        Ok(())
    }
}

impl Learner for OutsideLearner {
    fn train(&mut self, round: u32, labelled: &[usize], seed: [u8; 32], warm: bool) -> Result<Training, Failure> {
        let lesson = self.lesson(labelled, seed, warm);
        let fitted = self.fit(lesson.clone())?;
        if self.verify && round == 0 {
            self.verify(&lesson)?;
        }
        let (loss, accuracy) = self.told(fitted, &lesson)?;
        self.services.meter.step(&format!(
            "`{}` learnt from {} images, loss {loss:.3}",
            self.script.name(),
            labelled.len()
        ));
        Ok(Training { loss, accuracy, phases: vec![], pretexts: vec![], retried: None })
    }

    fn test_probabilities(&mut self, _: u32) -> Result<Vec<f32>, Failure> {
        Ok(self.model.probabilities(&self.shared.test_ids(), &listener(&self.services))?.values)
    }

    fn predict_classes(&mut self, positions: &[usize]) -> Result<Vec<usize>, Failure> {
        predicted_classes(&self.services, positions)
    }

    fn file_name(&self) -> &'static str {
        MODELS[1]
    }

    /// What the script stores; of one that stores nothing, what it was trained on last, from which it is trained again.
    fn save(&self, file: &Path) -> Result<(), Failure> {
        let mut process = self.model.process();
        let bytes = match process.has("save") {
            true => process.save(&listener(&self.services))?,
            false => {
                let last = self.last.as_ref().ok_or("there is no model to store")?;
                serde_json::to_vec(last).expect("plain data")
            }
        };
        Ok(write_atomically(file, &bytes)?)
    }

    fn load(&mut self, file: &Path) -> Result<(), Failure> {
        let failed = |source| RunError::File { action: "read", path: file.to_owned(), source };
        let bytes = std::fs::read(file).map_err(failed)?;
        if self.model.process().has("load") {
            self.model.process().load(&bytes, &listener(&self.services))?;
            self.services.task.lock().outside = Some(self.model.clone());
            return Ok(());
        }
        let damaged =
            |error: serde_json::Error| RunError::Damaged { path: file.to_owned(), problem: error.to_string() };
        let lesson: Lesson = serde_json::from_slice(&bytes).map_err(damaged)?;
        let n = lesson.labelled.len();
        self.fit(lesson)?;
        let name = self.script.name();
        self.services.meter.step(&format!("`{name}` stores nothing of itself: it has learnt from {n} images again"));
        Ok(())
    }
}

/// Hears of progress, and of Ctrl-C alone: no operation's time counts.
fn listener(services: &Services) -> Listener {
    Listener { cancelled: services.cancelled.clone(), meter: services.meter.clone() }
}

fn check_alike(learner: &str, how: &str, first: &Numbers, second: &Numbers) -> Result<(), LearnerError> {
    let Some((n_rows, most)) = most_different(first, second) else { return Ok(()) };
    let message = format!("{how}, it answers differently for {n_rows} of {} images, by up to {most:e}", first.n_rows);
    Err(LearnerError::new(LearnerCode::Differs, learner, message))
}

/// The mean cross-entropy, and the share of images whose class is the first most probable one.
fn measured(probs_nc: &Numbers, labels: &[u32]) -> (f64, f64) {
    let (mut loss, mut right) = (0.0, 0_usize);
    for (probs_c, label) in probs_nc.values.chunks(probs_nc.n_cols.max(1)).zip(labels) {
        let label = *label as usize;
        loss -= f64::from(probs_c[label]).max(LEAST).ln();
        let most = (1..probs_c.len()).fold(0, |most, c| if probs_c[c] > probs_c[most] { c } else { most });
        right += usize::from(most == label);
    }
    let n = labels.len().max(1) as f64;
    (loss / n, right as f64 / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_and_accuracy_are_those_of_the_predictions() {
        let probs_nc = Numbers { values: vec![0.5, 0.5, 0.25, 0.75, 1.0, 0.0], n_rows: 3, n_cols: 2 };
        let (loss, accuracy) = measured(&probs_nc, &[0, 1, 1]);
        let expected = -(0.5_f64.ln() + 0.75_f64.ln() + LEAST.ln()) / 3.0;
        assert!((loss - expected).abs() < 1e-12 && (accuracy - 2.0 / 3.0).abs() < 1e-12, "{loss} {accuracy}");
    }

    #[test]
    fn a_lesson_comes_back_as_it_was() {
        let lesson = Lesson { labelled: vec![3, 1 << 40], labels: vec![0, 7], seed: u32::MAX, warm: false };
        let bytes = serde_json::to_vec(&lesson).unwrap();
        assert_eq!(serde_json::from_slice::<Lesson>(&bytes).unwrap(), lesson);
    }
}
