//! Who learns in a run: the engine, or a script of the user's own.

use super::SessionError;
use super::learner::EngineLearner;
use super::outside::{Begun, OutsideLearner};
use super::shelf::Parts;
use crate::config::Config;
use crate::engine::{Device, EngineError, Images};
use crate::experiment::Learner;
use crate::operations::Services;
use std::path::Path;
use std::sync::Arc;

/// Who learns.
pub enum Taught {
    /// The engine.
    Engine(Box<EngineLearner>),
    /// A script of the user's own.
    Outside(Box<OutsideLearner>),
}

impl Taught {
    pub fn engine(
        config: &Config,
        services: &Arc<Services>,
        device: &Device,
        (test, validation): (Option<Images>, Option<Images>),
    ) -> Taught {
        Taught::Engine(Box::new(EngineLearner::new(config, services.clone(), device.clone(), test, validation)))
    }

    pub fn outside(
        begun: Begun,
        config: &Config,
        services: &Arc<Services>,
        device: &Device,
        root: Option<&Path>,
    ) -> Result<Taught, SessionError> {
        Ok(Taught::Outside(Box::new(OutsideLearner::new(begun, config, services.clone(), device, root)?)))
    }

    /// Errs when the weights come from a file that does not fit.
    pub fn check_weights(&self) -> Result<(), EngineError> {
        match self {
            Taught::Engine(learner) => learner.check_weights(),
            Taught::Outside(_) => Ok(()),
        }
    }

    pub fn as_learner(&mut self) -> &mut dyn Learner {
        match self {
            Taught::Engine(learner) => &mut **learner,
            Taught::Outside(learner) => &mut **learner,
        }
    }

    /// All images on the device, with what the learner has kept of them, for the next run.
    pub fn parts(&self, pool: Images) -> Option<Parts> {
        match self {
            Taught::Engine(learner) => learner.parts(pool),
            Taught::Outside(_) => None,
        }
    }
}
