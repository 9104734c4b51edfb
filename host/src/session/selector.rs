//! The loop's selector, played by a plugin.

use super::around;
use super::{SessionError, Strategy};
use crate::config::Around;
use crate::engine::{self, EngineError, Outputs};
use crate::experiment::{Ask, Failure, Mishap, Pretext, RunDir, Selected, Selector, seed};
use crate::operations::{Asked, Call, Context, Representation, Services, Training};
use crate::plugin::{Instance, PluginCode, PluginError, Recorder, check_selection};
use coldstart_plugin_api::{Rng, Selection};
use std::ops::ControlFlow;
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
    /// Where features of the pool come from, for this strategy.
    features: Option<Representation>,
    /// What is done around the strategy.
    around: Around,
    dir: Option<RunDir>,
    /// What it had the host do when it was made; told with its first selection.
    asked_before: Asked,
}

impl PluginSelector {
    /// Make the strategy's instance; `recorder` hears all that passes between it and the host.
    pub fn create(
        strategy: Arc<Strategy>,
        services: Arc<Services>,
        (run_seed, around, features): (u64, Around, Option<Representation>),
        recorder: Option<Recorder>,
    ) -> Result<PluginSelector, SessionError> {
        let name = strategy.manifest.name.clone();
        let (instance, asked_before) = instance(&strategy, &services, run_seed, features.as_ref(), recorder)?;
        let (state, changed, dir) = (Vec::new(), true, None);
        Ok(PluginSelector {
            name,
            strategy,
            instance,
            state,
            changed,
            services,
            run_seed,
            features,
            around,
            dir,
            asked_before,
        })
    }

    /// Where artifacts go from now on, and the recording if there is one.
    pub fn record_in(&mut self, dir: &RunDir) {
        self.dir = Some(dir.clone());
        let (section, name) = (self.strategy.seat.section(), &self.name);
        // A run that was resumed has a recording for each part.
        let file = |part: u32| dir.path(&format!("{RECORDINGS}/{section}-{name}-{part}.record"));
        let free = (1..).map(file).find(|file| !file.exists());
        if let (Some(recorder), Some(file)) = (self.instance.recorder(), free) {
            recorder.store(&file);
        }
    }

    /// Ask once: the answer, checked, what the host did for it, and how long the strategy itself took.
    fn ask(&mut self, asked: &Ask<'_>) -> Result<(Selection, Asked, Duration), PluginError> {
        let seed = |purpose: &str| Rng::from_seed(seed(self.run_seed, asked.round, purpose));
        let offered = around::offered(self.around, asked.unlabelled, &mut seed("subsample"));
        let budget = if self.around.wants_all() { offered.len() } else { asked.budget };
        let ask = &Ask { unlabelled: &offered, budget, ..*asked };
        let context = Context {
            plugin: &self.name,
            seed: seed_of(self.run_seed, ask.round, &self.name),
            labelled: ask.labelled,
            features: self.features.as_ref(),
            artifacts: self.dir.as_ref().map(|dir| dir.artifacts(ask.round)),
        };
        let call = Call::new(&self.services, context);
        let request = call.request(ask.round, ask.budget, ask.unlabelled);
        let start = Instant::now();
        let selection = self.instance.select(&request, call.as_host())?;
        let (took, done) = (start.elapsed(), call.asked());
        check_selection(&self.name, &selection, ask.unlabelled, ask.budget)?;
        let deciding = took.saturating_sub(done.predicting + done.training);
        let selection = self.chosen(selection, asked.budget, &mut seed("stochastic"))?;
        Ok((selection, done, deciding))
    }

    /// What the config makes of a ranking.
    fn chosen(&self, ranking: Selection, budget: usize, rng: &mut Rng) -> Result<Selection, PluginError> {
        let failed = |code, message: String| PluginError::new(code, self.name.as_str(), message);
        if let Some(how) = self.around.stochastic {
            let drawn = around::drawn(ranking, how, budget, rng);
            return drawn
                .map_err(|problem| failed(PluginCode::Selection, format!("`stochastic` cannot draw: {problem}")));
        }
        if self.around.balance {
            let classes = self.predicted_classes(&ranking.ids);
            let classes = classes.map_err(|error| failed(PluginCode::Select, error.to_string()))?;
            return Ok(around::balanced(&ranking, &classes, budget));
        }
        Ok(ranking)
    }

    /// The class that the current model finds most probable, for each of these images.
    fn predicted_classes(&self, ids: &[u64]) -> Result<Vec<usize>, EngineError> {
        let known = &self.services.data.pool.ids;
        let rows: Vec<usize> = ids.iter().filter_map(|id| known.binary_search(id).ok()).collect();
        let task = self.services.task.lock();
        let Some(model) = &task.model else { return Ok(vec![0; ids.len()]) };
        let logits = Outputs { logits: true, ..Outputs::default() };
        let predicted = engine::predict(model, &task.pool, &rows, logits, &mut |_| ControlFlow::Continue(()))?;
        let highest = |row: &[f32]| (0..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        Ok(predicted
            .logits_nc
            .map_or_else(Vec::new, |logits_nc| (0..logits_nc.n_rows).map(|i| highest(logits_nc.row(i))).collect()))
    }

    /// A new instance where the lost one was before the round.
    fn begin_anew(&mut self) -> Result<(), PluginError> {
        // The recording goes on with the new instance: what the lost one did is the part worth having.
        let recorder = self.instance.take_recorder();
        let features = self.features.as_ref();
        (self.instance, _) = instance(&self.strategy, &self.services, self.run_seed, features, recorder)?;
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
    features: Option<&Representation>,
    recorder: Option<Recorder>,
) -> Result<(Instance, Asked), PluginError> {
    let name = &strategy.manifest.name;
    let context = Context { plugin: name, seed: seed_of(run_seed, 0, name), labelled: &[], features, artifacts: None };
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
