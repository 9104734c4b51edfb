//! The loop's selector, played by a plugin.

use super::{SessionError, Strategy};
use crate::experiment::{Ask, Failure, Pretext, RunDir, Selected, Selector, seed};
use crate::operations::{Asked, Call, Context, Services, Training};
use crate::plugin::{Instance, check_selection};
use std::sync::Arc;

pub struct PluginSelector {
    name: String,
    instance: Instance,
    services: Arc<Services>,
    run_seed: u64,
    dir: Option<RunDir>,
    /// What it had the host do when it was made; told with its first selection.
    asked_before: Asked,
}

impl PluginSelector {
    pub fn create(strategy: &Strategy, services: Arc<Services>, run_seed: u64) -> Result<PluginSelector, SessionError> {
        let name = strategy.library.manifest.name.clone();
        let context = Context { plugin: &name, seed: seed_of(run_seed, 0, &name), labelled: &[], artifacts: None };
        let (instance, asked_before) = {
            let call = Call::new(&services, context);
            let instance = Instance::create(&strategy.library, &strategy.params_json, call.as_host())?;
            (instance, call.asked())
        };
        Ok(PluginSelector { name, instance, services, run_seed, dir: None, asked_before })
    }

    /// Where artifacts go from now on.
    pub fn record_in(&mut self, dir: &RunDir) {
        self.dir = Some(dir.clone());
    }
}

impl Selector for PluginSelector {
    fn select(&mut self, ask: &Ask<'_>) -> Result<Selected, Failure> {
        let context = Context {
            plugin: &self.name,
            seed: seed_of(self.run_seed, ask.round, &self.name),
            labelled: ask.labelled,
            artifacts: self.dir.as_ref().map(|dir| dir.artifacts(ask.round)),
        };
        let call = Call::new(&self.services, context);
        let request = call.request(ask.round, ask.budget, ask.unlabelled);
        let selection = self.instance.select(&request, call.as_host())?;
        check_selection(&self.name, &selection, ask.unlabelled, ask.budget)?;
        self.services.meter.step(&format!("`{}` chose {} images", self.name, selection.ids.len()));
        let Asked { predicting, training, trainings } = call.asked();
        let before = std::mem::take(&mut self.asked_before).trainings;
        let pretexts = before.into_iter().chain(trainings).map(|training| pretext(&self.name, training)).collect();
        Ok(Selected { selection, predicting, training, pretexts })
    }

    fn save(&self) -> Result<Vec<u8>, Failure> {
        Ok(self.instance.save()?)
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Failure> {
        Ok(self.instance.load(state)?)
    }
}

/// A training in the journal's words.
fn pretext(plugin: &str, training: Training) -> Pretext {
    let Training { model, name, cached, epochs, loss, accuracy, seconds } = training;
    Pretext { plugin: plugin.to_owned(), name, model, cached, epochs, loss, accuracy, seconds }
}

fn seed_of(run_seed: u64, round: u32, name: &str) -> [u8; 32] {
    seed(run_seed, round, &format!("plugin/{name}"))
}
