//! A learner of the user's own as the task model that strategies ask.
//!
//! What it has no method for is made of what it has where that means the same: logits are the logarithms of probabilities, whose
//! softmax they are; residuals are made of probabilities; features are the second of the gradient's factors. Passes under
//! dropout are the learner's own: a strategy's chance of a feature to be left out, and whether passes share it, are not asked.

use super::super::SessionError;
use crate::engine::{Images, Matrix};
use crate::learner::{Ear, LearnerCode, LearnerError, Numbers, Process, Question as Asking};
use crate::operations::{Answers, Question, Services, TaskModel, residuals};
use coldstart_plugin_api::manifest::Asked;
use coldstart_plugin_api::ops::{Dropout, Output};
use coldstart_plugin_api::{Code, Error, Result};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The process of a learner, which the loop and the operations share.
pub struct OutsideModel {
    process: Mutex<Process>,
    pub n_classes: usize,
}

/// Whether a learner can answer what a manifest's `asks` says.
pub fn can_answer(process: &Process, asked: &str) -> bool {
    match asked {
        word if word == Asked::Embeddings.name() => process.has("embed") || process.has("gradient_factors"),
        word if word == Asked::Dropout.name() => process.has("predict_dropout"),
        _ => false,
    }
}

impl OutsideModel {
    pub fn new(process: Process, n_classes: usize) -> OutsideModel {
        OutsideModel { process: Mutex::new(process), n_classes }
    }

    /// Wait for the process and hold it.
    pub fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Class probabilities of these images.
    pub fn probabilities(&self, ids: &[u64], ear: &dyn Ear) -> std::result::Result<Numbers, LearnerError> {
        let most_bytes = (ids.len() as u64).saturating_mul(self.n_classes as u64).saturating_mul(4);
        self.process().predict(&Asking { ids, n_classes: self.n_classes, most_bytes, seed: 0 }, ear)
    }
}

impl TaskModel for OutsideModel {
    fn width(&self, output: Output) -> Option<usize> {
        (output != Output::Embeddings).then_some(self.n_classes)
    }

    fn answer(&self, _: &Images, question: &Question<'_>, services: &Services) -> Result<Answers> {
        let mut process = self.process();
        if question.views.is_some() {
            return Err(unsupported(&process, "shows no changed views of images"));
        }
        let [a, b, c, d, ..] = question.seed;
        let asking = Asking {
            ids: question.ids,
            n_classes: self.n_classes,
            most_bytes: services.tensor_bytes,
            seed: u32::from_le_bytes([a, b, c, d]),
        };
        let mut asked = Conversation { process: &mut process, asking, services };
        asked.answer(question).map_err(|failure| failure.into_error(&process))
    }
}

/// Why there is no answer.
enum Failure {
    Learner(LearnerError),
    /// It has no method for it; the rest of the sentence.
    Lacks(&'static str),
}

impl From<LearnerError> for Failure {
    fn from(error: LearnerError) -> Failure {
        Failure::Learner(error)
    }
}

impl Failure {
    fn into_error(self, process: &Process) -> Error {
        match self {
            Failure::Lacks(what) => unsupported(process, what),
            Failure::Learner(error) => {
                let code = if error.code == LearnerCode::Cancelled { Code::CANCELLED } else { Code::HOST };
                Error::new(code, error.to_string()).with("hint", error.hint)
            }
        }
    }
}

fn unsupported(process: &Process, what: &str) -> Error {
    let (learner, hint) = (&process.learner, LearnerCode::Lacks.hint());
    Error::new(Code::UNSUPPORTED, format!("{}: the learner `{learner}` {what}", LearnerCode::Lacks.id()))
        .with("hint", hint)
}

/// One question of a strategy's, put to the learner method by method.
struct Conversation<'a> {
    process: &'a mut Process,
    asking: Asking<'a>,
    services: &'a Services,
}

impl Conversation<'_> {
    fn answer(&mut self, question: &Question<'_>) -> std::result::Result<Answers, Failure> {
        let wants = |output| question.wants(output);
        let mut answers = Answers::default();
        let both = wants(Output::Residuals) && wants(Output::Embeddings);
        if both && self.process.has("gradient_factors") {
            let [factors_nc, features_nd] = self.process.gradient_factors(&self.asking, self.services)?;
            (answers.residuals, answers.embeddings) = (Some(matrix(factors_nc)), Some(matrix(features_nd)));
        }
        if wants(Output::Embeddings) && answers.embeddings.is_none() {
            answers.embeddings = Some(self.embeddings()?);
        }
        let own_logits = self.process.has("logits") && question.dropout.is_none();
        let says_plain = wants(Output::Probabilities) || (wants(Output::Logits) && !own_logits);
        let needs_residuals = wants(Output::Residuals) && answers.residuals.is_none();
        let plain = match needs_residuals || (says_plain && question.dropout.is_none()) {
            true => Some(matrix(self.process.predict(&self.asking, self.services)?)),
            false => None,
        };
        if needs_residuals {
            answers.residuals = plain.as_ref().map(residuals);
        }
        let probabilities = match question.dropout {
            Some(dropout) if says_plain => Some(self.passes(dropout)?),
            _ => plain,
        };
        if wants(Output::Logits) {
            answers.logits = match own_logits {
                true => Some(matrix(self.process.logits(&self.asking, self.services)?)),
                false => probabilities.as_ref().map(logarithms),
            };
        }
        Ok(Answers { probabilities, ..answers })
    }

    fn embeddings(&mut self) -> std::result::Result<Matrix, Failure> {
        if self.process.has("embed") {
            return Ok(matrix(self.process.embed(&self.asking, self.services)?));
        }
        if !self.process.has("gradient_factors") {
            return Err(Failure::Lacks("has neither `embed` nor `gradient_factors`"));
        }
        let [_, features_nd] = self.process.gradient_factors(&self.asking, self.services)?;
        Ok(matrix(features_nd))
    }

    /// Rows of passes, one after the other; a clean one is an ordinary prediction.
    fn passes(&mut self, dropout: Dropout) -> std::result::Result<Matrix, Failure> {
        if !self.process.has("predict_dropout") {
            return Err(Failure::Lacks("has no `predict_dropout`"));
        }
        let drawn = dropout.passes - u32::from(dropout.clean && dropout.passes > 0);
        let clean = match dropout.clean {
            true => Some(matrix(self.process.predict(&self.asking, self.services)?)),
            false => None,
        };
        let drawn = match drawn {
            0 => None,
            passes => Some(matrix(self.process.predict_dropout(&self.asking, passes, self.services)?)),
        };
        Ok(match (clean, drawn) {
            (Some(clean), Some(drawn)) => beside(&clean, &drawn),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => Matrix { values: Vec::new(), n_rows: self.asking.ids.len(), n_cols: 0 },
        })
    }
}

fn matrix(numbers: Numbers) -> Matrix {
    let Numbers { values, n_rows, n_cols } = numbers;
    Matrix { values, n_rows, n_cols }
}

/// The rows of two matrices, each row of the second behind that of the first.
fn beside(first: &Matrix, second: &Matrix) -> Matrix {
    let rows = (0..first.n_rows).flat_map(|i| [first.row(i), second.row(i)]);
    let values = rows.flatten().copied().collect();
    Matrix { values, n_rows: first.n_rows, n_cols: first.n_cols + second.n_cols }
}

/// Natural logarithms; of what is too small for one, that of the smallest normal number.
fn logarithms(probabilities: &Matrix) -> Matrix {
    let logarithm = |p: &f32| p.max(f32::MIN_POSITIVE).ln();
    Matrix { values: probabilities.values.iter().map(logarithm).collect(), ..*probabilities }
}

impl From<LearnerError> for SessionError {
    fn from(error: LearnerError) -> SessionError {
        match error.code {
            LearnerCode::Cancelled => SessionError::Run(crate::experiment::RunError::Cancelled),
            _ => SessionError::Learner(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_have_the_probabilities_as_their_softmax_and_are_finite() {
        let probs_nc = Matrix { values: vec![0.25, 0.75, 0.0, 1.0], n_rows: 2, n_cols: 2 };
        let logits_nc = logarithms(&probs_nc);
        assert!(logits_nc.values.iter().all(|value| value.is_finite()));
        for i in 0..2 {
            let exps: Vec<f32> = logits_nc.row(i).iter().map(|logit| logit.exp()).collect();
            let sum: f32 = exps.iter().sum();
            for (exp, p) in exps.iter().zip(probs_nc.row(i)) {
                // Two roundings of 32 bits each.
                assert!((exp / sum - p).abs() < 1e-6, "{exp} {p}");
            }
        }
    }

    #[test]
    fn the_clean_pass_is_the_first_of_each_row() {
        let of = |values: &[f32], n_cols| Matrix { values: values.to_vec(), n_rows: 2, n_cols };
        let joined = beside(&of(&[1.0, 2.0], 1), &of(&[3.0, 4.0, 5.0, 6.0], 2));
        assert_eq!(joined, of(&[1.0, 3.0, 4.0, 2.0, 5.0, 6.0], 3));
    }
}
