//! The loop's selector, played by a plugin.

use super::{SessionError, Strategy};
use crate::experiment::{Ask, Failure, Mishap, Pretext, RunDir, Selected, Selector, seed};
use crate::operations::{Asked, Call, Context, Services, Training};
use crate::plugin::{Instance, PluginError, Recorder, check_selection};
use coldstart_plugin_api::Selection;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The folder of a run's recordings.
pub const RECORDINGS: &str = "recordings";

pub struct PluginSelector {
    name: String,
    strategy: Arc<Strategy>,
    instance: Instance,
    /// The state after the last round, which a new instance would begin with.
    state: Vec<u8>,
    /// Whether the instance was made or asked since it gave that state.
    changed: bool,
    services: Arc<Services>,
    run_seed: u64,
    dir: Option<RunDir>,
    /// What it had the host do when it was made; told with its first selection.
    asked_before: Asked,
}

impl PluginSelector {
    /// Make the strategy's instance; `recorder` hears all that passes between it and the host.
    pub fn create(
        strategy: Arc<Strategy>,
        services: Arc<Services>,
        run_seed: u64,
        recorder: Option<Recorder>,
    ) -> Result<PluginSelector, SessionError> {
        let name = strategy.manifest.name.clone();
        let (instance, asked_before) = instance(&strategy, &services, run_seed, recorder)?;
        let (state, changed) = (Vec::new(), true);
        Ok(PluginSelector { name, strategy, instance, state, changed, services, run_seed, dir: None, asked_before })
    }

    /// Where artifacts go from now on, and the recording if there is one.
    pub fn record_in(&mut self, dir: &RunDir) {
        self.dir = Some(dir.clone());
        let (role, name) = (&self.strategy.locked.role, &self.name);
        // A run that was resumed has a recording for each part.
        let file = |part: u32| dir.path(&format!("{RECORDINGS}/{role}-{name}-{part}.record"));
        let free = (1..).map(file).find(|file| !file.exists());
        if let (Some(recorder), Some(file)) = (self.instance.recorder(), free) {
            recorder.store(&file);
        }
    }

    /// Ask once: the answer, checked, what the host did for it, and how long the strategy itself took.
    fn ask(&mut self, ask: &Ask<'_>) -> Result<(Selection, Asked, Duration), PluginError> {
        let context = Context {
            plugin: &self.name,
            seed: seed_of(self.run_seed, ask.round, &self.name),
            labelled: ask.labelled,
            artifacts: self.dir.as_ref().map(|dir| dir.artifacts(ask.round)),
        };
        let call = Call::new(&self.services, context);
        let request = call.request(ask.round, ask.budget, ask.unlabelled);
        let start = Instant::now();
        let selection = self.instance.select(&request, call.as_host())?;
        let (took, asked) = (start.elapsed(), call.asked());
        check_selection(&self.name, &selection, ask.unlabelled, ask.budget)?;
        let deciding = took.saturating_sub(asked.predicting + asked.training);
        Ok((selection, asked, deciding))
    }

    /// A new instance where the lost one was before the round.
    fn begin_anew(&mut self) -> Result<(), PluginError> {
        // The recording goes on with the new instance: what the lost one did is the part worth having.
        let recorder = self.instance.take_recorder();
        (self.instance, _) = instance(&self.strategy, &self.services, self.run_seed, recorder)?;
        match self.state.is_empty() {
            true => Ok(()),
            false => self.instance.load(&self.state),
        }
    }
}

fn instance(
    strategy: &Strategy,
    services: &Services,
    run_seed: u64,
    recorder: Option<Recorder>,
) -> Result<(Instance, Asked), PluginError> {
    let name = &strategy.manifest.name;
    let context = Context { plugin: name, seed: seed_of(run_seed, 0, name), labelled: &[], artifacts: None };
    let call = Call::new(services, context);
    let instance = strategy.plugin.create(name, &strategy.params_json, call.as_host(), recorder)?;
    Ok((instance, call.asked()))
}

impl Selector for PluginSelector {
    fn select(&mut self, ask: &Ask<'_>) -> Result<Selected, Failure> {
        self.changed = true;
        let mut mishaps = Vec::new();
        let (selection, asked, deciding) = loop {
            match self.ask(ask) {
                Err(error) if error.code.lost_the_worker() && mishaps.len() < self.strategy.retries as usize => {
                    tracing::warn!("{error}; asking again with a new worker");
                    mishaps.push(Mishap { plugin: self.name.clone(), error: error.to_string() });
                    self.begin_anew()?;
                }
                answer => break answer?,
            }
        };
        self.services.meter.step(&format!("`{}` chose {} images", self.name, selection.ids.len()));
        let Asked { predicting, training, trainings } = asked;
        let before = std::mem::take(&mut self.asked_before).trainings;
        let pretexts = before.into_iter().chain(trainings).map(|training| pretext(&self.name, training)).collect();
        Ok(Selected { selection, deciding, predicting, training, pretexts, mishaps })
    }

    fn save(&mut self) -> Result<Vec<u8>, Failure> {
        if self.changed {
            self.state = self.instance.save()?;
            self.changed = false;
        }
        Ok(self.state.clone())
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Failure> {
        self.instance.load(state)?;
        self.state = state.to_owned();
        self.changed = false;
        Ok(())
    }
}

/// A training in the journal's words.
pub fn pretext(plugin: &str, training: Training) -> Pretext {
    let Training { model, name, cached, epochs, loss, accuracy, seconds } = training;
    Pretext { plugin: plugin.to_owned(), name, model, cached, epochs, loss, accuracy, seconds }
}

fn seed_of(run_seed: u64, round: u32, name: &str) -> [u8; 32] {
    seed(run_seed, round, &format!("plugin/{name}"))
}
