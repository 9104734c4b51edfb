//! What a learner is asked: to train, to answer about images, to store itself.

use super::answers::{Demand, Numbers};
use super::error::{LearnerCode, LearnerError};
use super::frames::{FromLearner, ToLearner, packed};
use super::log::log_level;
use super::process::{Ear, Process};
use std::path::PathBuf;

/// What a learner is trained on.
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    /// Ids of the labelled images.
    pub labelled: &'a [u64],
    /// The class of each.
    pub labels: &'a [u32],
    /// Where all chance comes from.
    pub seed: u32,
    /// Whether it continues from what it has learnt before.
    pub warm: bool,
}

/// What a learner says of its training; nothing where it says nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fitted {
    /// The mean loss at the end.
    pub loss: Option<f64>,
    /// The share of labelled images told right.
    pub accuracy: Option<f64>,
}

/// What a learner is asked about images.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Ids, of one part of the data set.
    pub ids: &'a [u64],
    /// How many classes there are.
    pub n_classes: usize,
    /// The most bytes of one answer.
    pub most_bytes: u64,
    /// Where the chance of an answer under dropout comes from.
    pub seed: u32,
}

impl Process {
    /// Have it trained; errs where it raises, takes too long or dies, and on a loss or accuracy that is no number.
    pub fn fit(&mut self, fit: Fit<'_>, ear: &dyn Ear) -> Result<Fitted, LearnerError> {
        let Fit { labelled, labels, seed, warm } = fit;
        let message = ToLearner::Fit {
            labelled: packed(labelled.iter().copied()),
            labels: packed(labels.iter().map(|label| u64::from(*label))),
            seed,
            warm,
            log_level: log_level(),
        };
        match self.converse("fit", &message, None, ear)? {
            FromLearner::Fitted { loss, accuracy } => {
                let wrong = [loss, accuracy].into_iter().flatten().find(|number| !number.is_finite());
                match wrong {
                    Some(number) => {
                        let message = format!("`fit` returned a loss or accuracy of {number}");
                        Err(LearnerError::new(LearnerCode::Numbers, &self.learner, message))
                    }
                    None => Ok(Fitted { loss, accuracy }),
                }
            }
            other => Err(self.astray(&other)),
        }
    }

    /// Class probabilities (n x c).
    pub fn predict(&mut self, question: &Question<'_>, ear: &dyn Ear) -> Result<Numbers, LearnerError> {
        let n_cols = Some(question.n_classes);
        let [probs_nc] =
            self.ask(question, 0, [Demand { n_cols, is_probability: true, ..demand("predict", question) }], ear)?;
        Ok(probs_nc)
    }

    /// Class scores before the softmax (n x c).
    pub fn logits(&mut self, question: &Question<'_>, ear: &dyn Ear) -> Result<Numbers, LearnerError> {
        let n_cols = Some(question.n_classes);
        let [logits_nc] = self.ask(question, 0, [Demand { n_cols, ..demand("logits", question) }], ear)?;
        Ok(logits_nc)
    }

    /// Features of the images (n x d).
    pub fn embed(&mut self, question: &Question<'_>, ear: &dyn Ear) -> Result<Numbers, LearnerError> {
        let [embeds_nd] = self.ask(question, 0, [demand("embed", question)], ear)?;
        Ok(embeds_nd)
    }

    /// The factors of the last layer's gradient: residuals (n x c) and features (n x d).
    pub fn gradient_factors(&mut self, question: &Question<'_>, ear: &dyn Ear) -> Result<[Numbers; 2], LearnerError> {
        let features = demand("gradient_factors", question);
        let residuals = Demand { n_cols: Some(question.n_classes), ..features };
        self.ask(question, 0, [residuals, features], ear)
    }

    /// Class probabilities in passes under dropout (n x passes x c).
    pub fn predict_dropout(
        &mut self,
        question: &Question<'_>,
        passes: u32,
        ear: &dyn Ear,
    ) -> Result<Numbers, LearnerError> {
        let plain = demand("predict_dropout", question);
        let (n_cols, in_passes) = (Some(question.n_classes), Some(passes as usize));
        let demand = Demand { n_cols, passes: in_passes, is_probability: true, ..plain };
        let [probs_nkc] = self.ask(question, passes, [demand], ear)?;
        Ok(probs_nkc)
    }

    /// The bytes in which it stores itself.
    pub fn save(&mut self, ear: &dyn Ear) -> Result<Vec<u8>, LearnerError> {
        let file = self.own_file();
        let failed = self.file_error("save");
        // One that was stored before would pass for this one.
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        match self.converse("save", &ToLearner::Save { path: file.display().to_string() }, None, ear)? {
            FromLearner::Saved {} => std::fs::read(&file).map_err(failed),
            other => Err(self.astray(&other)),
        }
    }

    /// Have it take up what it has stored.
    pub fn load(&mut self, bytes: &[u8], ear: &dyn Ear) -> Result<(), LearnerError> {
        let file = self.own_file();
        std::fs::write(&file, bytes).map_err(self.file_error("load"))?;
        match self.converse("load", &ToLearner::Load { path: file.display().to_string() }, None, ear)? {
            FromLearner::Loaded {} => Ok(()),
            other => Err(self.astray(&other)),
        }
    }

    fn own_file(&self) -> PathBuf {
        self.scratch.path().join("model")
    }

    fn file_error(&self, doing: &'static str) -> impl Fn(std::io::Error) -> LearnerError + use<> {
        let (learner, file) = (self.learner.clone(), self.own_file());
        move |error| {
            let message = format!("`{doing}`: `{}`: {error}", file.display());
            LearnerError::new(LearnerCode::Died, &learner, message)
        }
    }

    /// Has `method` answer, one array for each demand.
    fn ask<const N: usize>(
        &mut self,
        question: &Question<'_>,
        passes: u32,
        demands: [Demand; N],
        ear: &dyn Ear,
    ) -> Result<[Numbers; N], LearnerError> {
        let method = demands[0].method;
        let message = ToLearner::Ask {
            ids: packed(question.ids.iter().copied()),
            method: method.to_owned(),
            passes,
            seed: question.seed,
            log_level: log_level(),
        };
        let mut heard = self.converse(method, &message, None, ear)?;
        let mut answers = Vec::new();
        for demand in demands {
            let FromLearner::Array { shape } = &heard else { return Err(self.astray(&heard)) };
            let (n_rows, n_cols) = demand.shape(&self.learner, shape)?;
            let values = self.pieces(method, n_rows * n_cols, ear)?;
            let numbers = Numbers { values, n_rows, n_cols };
            demand.check(&self.learner, &numbers)?;
            answers.push(numbers);
            heard = self.next(method, ear)?;
        }
        match heard {
            FromLearner::Answered {} => Ok(answers.try_into().expect("one for each demand")),
            other => Err(self.astray(&other)),
        }
    }

    /// So many numbers, in as many pieces as they come.
    fn pieces(&mut self, method: &str, n: usize, ear: &dyn Ear) -> Result<Vec<f32>, LearnerError> {
        let mut values = Vec::with_capacity(n);
        while values.len() < n {
            let heard = self.next(method, ear)?;
            let FromLearner::Piece { bytes } = &heard else { return Err(self.astray(&heard)) };
            let (numbers, rest) = bytes.as_chunks();
            if numbers.is_empty() || !rest.is_empty() || values.len() + numbers.len() > n {
                return Err(self.astray(&heard));
            }
            values.extend(numbers.iter().map(|number| f32::from_le_bytes(*number)));
        }
        Ok(values)
    }
}

/// Any number of columns, and any finite numbers.
fn demand(method: &'static str, question: &Question<'_>) -> Demand {
    let (n, most_bytes) = (question.ids.len(), question.most_bytes);
    Demand { method, n, passes: None, n_cols: None, is_probability: false, most_bytes }
}
