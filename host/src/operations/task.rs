//! The current task model as strategies ask it, whoever trained it.

use super::Services;
use super::train::from_engine;
use crate::engine::{self, Glances, Images, Matrix, Model, Outputs};
use coldstart_plugin_api::ops::{self, Dropout, Output};
use coldstart_plugin_api::{Code, Error, Result};

/// What is asked of a model about images of the pool.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Their rows in the pool.
    pub rows: &'a [usize],
    /// Their ids, which decide about chance together with the seed.
    pub ids: &'a [u64],
    /// What is to be said; each at most once.
    pub outputs: &'a [Output],
    /// Random views to look at.
    pub views: Option<&'a ops::Views>,
    /// Passes under dropout; not beside views.
    pub dropout: Option<Dropout>,
    /// Where all chance comes from.
    pub seed: [u8; 32],
}

impl Question<'_> {
    /// Whether this is to be said.
    pub fn wants(&self, output: Output) -> bool {
        self.outputs.contains(&output)
    }

    /// The images as they are, once.
    pub fn plain<'a>(rows: &'a [usize], ids: &'a [u64], outputs: &'a [Output]) -> Question<'a> {
        Question { rows, ids, outputs, views: None, dropout: None, seed: [0; 32] }
    }
}

/// What a model says, a row for each image. Under dropout a row of probabilities or logits has one pass after the other.
#[derive(Debug, Default)]
pub struct Answers {
    /// Class probabilities.
    pub probabilities: Option<Matrix>,
    /// Class scores before the softmax.
    pub logits: Option<Matrix>,
    /// Features before the last layer.
    pub embeddings: Option<Matrix>,
    /// Probabilities minus the one-hot vector of the most probable class.
    pub residuals: Option<Matrix>,
}

impl Answers {
    /// Take an answer out.
    pub fn take(&mut self, output: Output) -> Option<Matrix> {
        match output {
            Output::Probabilities => self.probabilities.take(),
            Output::Logits => self.logits.take(),
            Output::Embeddings => self.embeddings.take(),
            Output::Residuals => self.residuals.take(),
        }
    }
}

/// A model that strategies may ask.
pub trait TaskModel {
    /// How many numbers it says of an image for this output, passes apart; none where only its answer tells.
    fn width(&self, output: Output) -> Option<usize>;

    /// Answer what is asked; at least that.
    ///
    /// Errs with [`Code::UNSUPPORTED`] where it is no model for that, and with [`Code::CANCELLED`] once `services` says that the
    /// work does not go on.
    fn answer(&self, pool: &Images, question: &Question<'_>, services: &Services) -> Result<Answers>;
}

impl TaskModel for Model {
    fn width(&self, output: Output) -> Option<usize> {
        Some(match output {
            Output::Embeddings => self.n_features(),
            Output::Probabilities | Output::Logits | Output::Residuals => self.n_outputs(),
        })
    }

    fn answer(&self, pool: &Images, question: &Question<'_>, services: &Services) -> Result<Answers> {
        let asked = Outputs {
            probabilities: question.wants(Output::Probabilities),
            logits: question.wants(Output::Logits),
            embeddings: question.wants(Output::Embeddings),
        };
        let wants_residuals = question.wants(Output::Residuals);
        // Residuals are made of probabilities, and passes of embeddings: one sweep is enough for all of it.
        let swept = match question.dropout {
            Some(_) => Outputs { probabilities: wants_residuals, logits: false, embeddings: true },
            None => Outputs { probabilities: asked.probabilities || wants_residuals, ..asked },
        };
        let observer = &mut |progress: engine::PredictProgress| {
            services.meter.tick("predicting", progress.n_done as u64, progress.n_images as u64);
            services.flow()
        };
        let Question { rows, ids, views, dropout, seed, .. } = *question;
        if views.is_some() && !self.sees_images() {
            return Err(without_network());
        }
        let predicted = match views {
            Some(ops::Views { ops, count, clean, reduce }) => {
                let glances = Glances { ops, count: *count as usize, clean: *clean, reduce: *reduce, seed, ids };
                engine::predict_views(self, pool, rows, swept, glances, observer)
            }
            None => engine::predict(self, pool, rows, swept, observer),
        };
        let predicted = predicted.map_err(from_engine)?;
        let residuals = wants_residuals.then(|| predicted.probs_nc.as_ref().map(residuals)).flatten();
        let (embeddings, mut answers) = (predicted.embeds_nd, Answers { residuals, ..Answers::default() });
        match (dropout, &embeddings) {
            (Some(dropout), Some(embeds_nd)) => {
                let passes = engine::predict_passes(self, embeds_nd, asked, dropout, (seed, ids), observer);
                let passes = passes.map_err(from_engine)?;
                (answers.probabilities, answers.logits) = (passes.probs_n_kc, passes.logits_n_kc);
            }
            _ => (answers.probabilities, answers.logits) = (predicted.probs_nc, predicted.logits_nc),
        }
        Ok(Answers { embeddings, ..answers })
    }
}

/// Each row of probabilities minus the one-hot vector of its largest one, the first of equal ones.
pub fn residuals(probs_nc: &Matrix) -> Matrix {
    let mut residuals_nc = probs_nc.clone();
    for row in residuals_nc.values.chunks_mut(probs_nc.n_cols.max(1)) {
        let most = (1..row.len()).fold(0, |most, c| if row[c] > row[most] { c } else { most });
        row[most] -= 1.0;
    }
    residuals_nc
}

/// An output that a model has left out.
pub(super) fn found<T>(output: Option<T>) -> Result<T> {
    output.ok_or_else(|| Error::new(Code::HOST, "the model left out an output, or was asked for one twice"))
}

/// The error about changed images that no network can look at.
fn without_network() -> Error {
    let message = "the model stands on features that were computed elsewhere: it cannot look at changed images";
    let hint = "choose a strategy without views, or a `[representation]` with a network";
    Error::new(Code::UNSUPPORTED, message).with("hint", hint)
}
