//! A learner trained again and again, each time without the labels that it is then asked for.

use super::SessionError;
use super::estimate::{self, Estimate, FEWEST, Fold, REPEATS, Told};
use super::muted::Muted;
use crate::experiment::{Failure, Learner, most_probable, seed};
use crate::operations::{Answers, Question, Services};
use coldstart_plugin_api::Rng;
use coldstart_plugin_api::ops::Output;

/// A learner with all that decides what it learns.
pub struct CrossValidation<'a> {
    /// Who learns; what was learnt before is lost.
    pub learner: &'a mut dyn Learner,
    /// The images, with the labels that people gave.
    pub services: &'a Services,
    /// The seed of training, and of the folds.
    pub seed: u64,
    /// The round, which seeds are drawn for.
    pub round: u32,
    /// Whether a training takes no time, so that images can be dealt several times.
    pub is_fast: bool,
    /// What `services` tell progress to.
    pub meter: &'a Muted,
}

impl CrossValidation<'_> {
    /// How good the learner is with the labels of the images at these rows of the pool, and what `more` labels would bring. None
    /// where there are too few to tell. Those of `drawn`, ascending, were drawn by chance.
    ///
    /// Errs as a training does, or once the user stops.
    pub fn estimate(&mut self, rows: &[usize], drawn: &[usize], more: usize) -> Result<Option<Estimate>, Failure> {
        if rows.len() < FEWEST {
            return Ok(None);
        }
        let labels: Vec<u32> = rows.iter().map(|row| self.services.data.pool.labels[*row]).collect();
        let mut rng = Rng::for_stream(seed(self.seed, self.round, "cross-validation"), "folds");
        let repeats = if self.is_fast { REPEATS } else { 1 };
        let dealt: Vec<Vec<Fold>> = (0..repeats).map(|_| estimate::deal(&labels, &mut rng)).collect();
        self.meter.mute(true);
        let told = self.told(&dealt, &Labelled { rows, labels: &labels, drawn });
        self.meter.mute(false);
        Ok(estimate::estimate(&told?, &labels, more))
    }

    fn told(&mut self, dealt: &[Vec<Fold>], labelled: &Labelled<'_>) -> Result<Vec<Vec<Told>>, Failure> {
        let n_folds: usize = dealt.iter().map(Vec::len).sum();
        let (mut done, mut told) = (0, Vec::new());
        for folds in dealt {
            let mut of_folds = Vec::new();
            for fold in folds {
                self.meter.tick_of_all("cross-validation", done, n_folds as u64);
                of_folds.push(self.fold(fold, labelled)?);
                done += 1;
            }
            told.push(of_folds);
        }
        Ok(told)
    }

    fn fold(&mut self, fold: &Fold, labelled: &Labelled<'_>) -> Result<Told, Failure> {
        let right = self.right(&fold.learnt, &fold.held, labelled)?;
        let right_of_half = self.right(&fold.half, &fold.held, labelled)?;
        let is_drawn = |place: &&usize| labelled.drawn.binary_search(&labelled.rows[**place]).is_ok();
        Ok(Told {
            n: fold.held.len(),
            right: right.len(),
            right_of_half: right_of_half.len(),
            drawn: fold.held.iter().filter(is_drawn).count(),
            drawn_right: right.iter().filter(is_drawn).count(),
        })
    }

    /// Which of the images at the places `held` a model of those at `learnt` tells right.
    fn right(&mut self, learnt: &[usize], held: &[usize], labelled: &Labelled<'_>) -> Result<Vec<usize>, Failure> {
        let of = |places: &[usize]| -> Vec<usize> { places.iter().map(|place| labelled.rows[*place]).collect() };
        let training_seed = seed(self.seed, self.round, "cross-validation");
        self.learner.train(self.round, &of(learnt), training_seed, false)?;
        let probs_nc = probabilities(self.services, &of(held))?;
        let told = probs_nc.chunks(self.services.data.classes.len()).map(most_probable);
        let is_right = |(class, place): &(usize, &usize)| *class == labelled.labels[**place] as usize;
        Ok(told.zip(held).filter(is_right).map(|(_, place)| *place).collect())
    }
}

/// The labelled images.
struct Labelled<'a> {
    /// Their rows in the pool.
    rows: &'a [usize],
    /// Their classes, in the same order.
    labels: &'a [u32],
    /// The rows of those that were drawn by chance, ascending.
    drawn: &'a [usize],
}

/// What the current model says of the images at these rows of the pool, n x classes.
pub fn probabilities(services: &Services, rows: &[usize]) -> Result<Vec<f32>, Failure> {
    let task = services.task.lock();
    let ids: Vec<u64> = rows.iter().map(|row| services.data.pool.ids[*row]).collect();
    let model = task.current().ok_or("there is no model to ask")?;
    let question = Question::plain(rows, &ids, &[Output::Probabilities]);
    let Answers { probabilities, .. } = model.answer(&task.pool, &question, services).map_err(of_operation)?;
    Ok(probabilities.ok_or("the model left out the probabilities")?.values)
}

fn of_operation(error: coldstart_plugin_api::Error) -> Failure {
    SessionError::Operation(error.to_string()).into()
}

/// The class that the current model finds most probable, for each of these pool positions.
pub fn predicted_classes(services: &Services, rows: &[usize]) -> Result<Vec<usize>, Failure> {
    let probs_nc = probabilities(services, rows)?;
    Ok(probs_nc.chunks(services.data.classes.len().max(1)).map(most_probable).collect())
}
