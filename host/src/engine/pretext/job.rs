//! What a job asks for, in the engine's terms: whether it fits, which head, which update rule, which rate.

use std::collections::BTreeSet;

use coldstart_plugin_api::training::{self as spec, Target, TrainSpec};

use super::super::error::EngineError;
use super::super::model::{HeadSettings, Hidden};
use super::super::optimizer::{cosine, drops, height};
use super::super::settings::Optimizer;
use super::{PretextJob, Targets};

impl PretextJob<'_> {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        let refuse = |problem: String| Err(EngineError::Input(problem));
        self.spec.check().map_err(|error| EngineError::Input(error.message))?;
        self.images.check_rows(self.rows)?;
        if self.rows.len() < 2 {
            return refuse(format!("training needs at least 2 images, not {}", self.rows.len()));
        }
        let n = self.rows.len();
        if self.rows.iter().collect::<BTreeSet<_>>().len() < n {
            return refuse("an image was given twice".to_owned());
        }
        match (&self.spec.target, self.targets) {
            (Target::Labels {} | Target::Classes { .. }, Targets::Classes { of_image, n_classes }) => {
                if of_image.len() != n {
                    return refuse(format!("{n} images came with {} classes", of_image.len()));
                }
                if let Some(class) = of_image.iter().find(|&&class| class >= n_classes) {
                    return refuse(format!("there is no class {class} among {n_classes}"));
                }
                if n_classes < 2 {
                    refuse(format!("there must be at least 2 classes, not {n_classes}"))
                } else {
                    Ok(())
                }
            }
            (Target::Values {}, Targets::Values(values)) if values.n_rows == n && values.n_cols > 0 => Ok(()),
            (Target::Values {}, Targets::Values(values)) => {
                refuse(format!("{n} images came with {} x {} values", values.n_rows, values.n_cols))
            }
            (Target::Applied { .. } | Target::Instance {}, Targets::None) => Ok(()),
            _ => refuse(
                "the target of the spec needs classes, values or nothing, and was given something else".to_owned(),
            ),
        }
    }

    /// How many numbers the head puts out.
    pub(super) fn n_outputs(&self) -> usize {
        let (spec::Head::Linear { dim } | spec::Head::Mlp { dim, .. }) = self.spec.head;
        match (dim, &self.spec.target, self.targets) {
            (Some(dim), ..) => dim as usize,
            (None, Target::Applied { op, .. }, _) => self.spec.views[*op as usize].n_choices().unwrap_or(0),
            (None, _, Targets::Classes { n_classes, .. }) => n_classes,
            (None, _, Targets::Values(values)) => values.n_cols,
            (None, ..) => 0,
        }
    }
}

/// The head of a network that `spec` trained with `n_outputs` outputs, to load its weights.
pub fn head_of(spec: &TrainSpec, n_outputs: usize) -> HeadSettings {
    let n_tiles = match spec.views.last() {
        Some(spec::ViewOp::Jigsaw { grid, .. }) => (grid * grid) as usize,
        _ => 1,
    };
    let hidden = match spec.head {
        spec::Head::Linear { .. } => None,
        spec::Head::Mlp { hidden, batch_norm, .. } => {
            Some(Hidden { width: hidden.map(|width| width as usize), batch_norm })
        }
    };
    HeadSettings { n_outputs, hidden, n_tiles }
}

/// The learning rate of `step`, from 0, where an epoch has `per_epoch` steps.
pub(super) fn learning_rate(spec: &TrainSpec, step: usize, per_epoch: usize) -> f64 {
    let n_epochs = f64::from(spec.epochs);
    let (n_steps, warmup) = (per_epoch * spec.epochs as usize, f64::from(spec.warmup_epochs) / n_epochs);
    Optimizer::from(spec.optimizer).lr()
        * match &spec.schedule {
            spec::Schedule::Cosine {} => height(step, n_steps, warmup, cosine),
            spec::Schedule::Step { epochs, factor } => {
                let at: Vec<f64> = epochs.iter().map(|&epoch| f64::from(epoch) / n_epochs).collect();
                height(step, n_steps, warmup, |done, _| drops(&at, *factor, done))
            }
            spec::Schedule::Constant {} => height(step, n_steps, warmup, |_, _| 1.0),
        }
}
