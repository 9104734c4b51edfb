//! The loop's selectors and sizers, played by plugins.

use super::around;
use super::ensemble::Ensemble;
use super::{SessionError, Strategy};
use crate::config::Around;
use crate::experiment::{
    Ask, Effort, Failure, Mishap, Pretext, RunDir, RunError, Selected, Selector, Sizer, most_probable, seed,
};
use crate::operations::{Artifacts, Asked, Call, Components, Context, Question, Representation, Services, Training};
use crate::plugin::{Instance, PluginCode, PluginError, Recorder, check_selection};
use coldstart_plugin_api::abi::{self, HostRef};
use coldstart_plugin_api::ops::{Output, RunInfo, SizeArgs};
use coldstart_plugin_api::{Bounds, Error, Rng, Selection, Sizing, wire};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The folder of a run's recordings.
pub const RECORDINGS: &str = "recordings";

/// A plugin in its seat: an instance that lives for the run, asked anew where its worker was lost.
pub struct Player {
    name: String,
    strategy: Arc<Strategy>,
    instance: Instance,
    /// The state after the last round, which a new instance would begin with.
    state: Vec<u8>,
    /// Whether the instance was made or asked since it gave that state.
    changed: bool,
    services: Arc<Services>,
    view: RunView,
    dir: Option<RunDir>,
    /// What it had the host do when it was made; told with its first answer.
    asked_before: Asked,
    /// The strategies that it composes; none if it composes none.
    ensemble: Option<Ensemble>,
}

/// The state of a strategy that composes others, with theirs.
#[derive(Serialize, Deserialize)]
struct ComposedState {
    own: ByteBuf,
    components: BTreeMap<String, ByteBuf>,
}

/// What a plugin sees of its run, whatever it is asked.
#[derive(Clone)]
pub struct RunView {
    /// The seed that its own are made from.
    pub run_seed: u64,
    /// Where features of the pool come from.
    pub features: Option<Representation>,
    /// What it is told of the run.
    pub run: RunInfo,
}

impl Player {
    /// Make the plugin's instance; `recorder` hears all that passes between it and the host.
    pub fn create(
        strategy: Arc<Strategy>,
        services: Arc<Services>,
        view: RunView,
        recorder: Option<Recorder>,
    ) -> Result<Player, SessionError> {
        let name = strategy.manifest.name.clone();
        let made = instance(&strategy, &services, &view, recorder);
        let (instance, mut asked_before) = made.map_err(SessionError::of_plugin)?;
        let mut ensemble = None;
        if !strategy.components.is_empty() {
            let made = Ensemble::create(strategy.clone(), services.clone(), view.clone(), &mut asked_before);
            ensemble = Some(made.map_err(SessionError::of_plugin)?);
        }
        let (state, changed, dir) = (Vec::new(), true, None);
        Ok(Player { name, strategy, instance, state, changed, services, view, dir, asked_before, ensemble })
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

    /// Have `answer` asked of the instance, again with a new one where its worker is lost; and what that took.
    fn ask<T>(
        &mut self,
        ask: &Ask<'_>,
        extra: &[u8],
        answer: impl Fn(&mut Instance, &abi::Request, HostRef<'_>) -> Result<T, PluginError>,
    ) -> Result<(T, Effort), Failure> {
        self.changed = true;
        let mut mishaps = Vec::new();
        let before = self.artifacts(ask.round);
        let (answered, asked, took) = loop {
            match self.ask_once(ask, extra, &answer) {
                // A component has been asked again already.
                Err(error)
                    if error.code.lost_the_worker()
                        && error.plugin == self.name
                        && mishaps.len() < self.strategy.retries as usize =>
                {
                    tracing::warn!("{error}; asking again with a new worker");
                    mishaps.push(Mishap { plugin: self.name.clone(), error: error.to_string() });
                    self.forget_artifacts(ask.round, &before)?;
                    self.begin_anew()?;
                }
                answered => break answered?,
            }
        };
        let Asked { predicting, training, trainings } = asked;
        let before = std::mem::take(&mut self.asked_before).trainings;
        let pretexts = before.into_iter().chain(trainings).map(|training| pretext(&self.name, training)).collect();
        mishaps.extend(self.ensemble.iter().flat_map(Ensemble::take_mishaps));
        let deciding = took.saturating_sub(predicting + training);
        Ok((answered, Effort { deciding, predicting, training, pretexts, mishaps }))
    }

    /// The artifacts of a round so far.
    fn artifacts(&self, round: u32) -> BTreeSet<PathBuf> {
        let folder = self.dir.as_ref().map(|dir| dir.artifacts(round));
        let entries = folder.into_iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Removes what a lost instance has put there, but for what others had put there before.
    fn forget_artifacts(&self, round: u32, before: &BTreeSet<PathBuf>) -> Result<(), RunError> {
        for path in self.artifacts(round).difference(before) {
            let path = path.clone();
            std::fs::remove_file(&path).map_err(|source| RunError::File { action: "remove", path, source })?;
        }
        Ok(())
    }

    /// Ask once: the answer, what the host did for it, and how long it took.
    fn ask_once<T>(
        &mut self,
        ask: &Ask<'_>,
        extra: &[u8],
        answer: impl Fn(&mut Instance, &abi::Request, HostRef<'_>) -> Result<T, PluginError>,
    ) -> Result<(T, Asked, Duration), PluginError> {
        let context = Context {
            plugin: &self.name,
            seed: seed_of(self.view.run_seed, ask.round, &self.name),
            round: ask.round,
            labelled: ask.labelled,
            prequential: ask.prequential,
            features: self.view.features.as_ref(),
            run: &self.view.run,
            artifacts: self.dir.as_ref().map_or(Artifacts::NoFolder, |dir| Artifacts::In(dir.artifacts(ask.round))),
            components: self.ensemble.as_ref().map(|ensemble| ensemble as &dyn Components),
            part: None,
        };
        let call = Call::new(&self.services, context);
        let request = abi::Request { extra: extra.into(), ..call.request(ask.round, ask.budget, ask.unlabelled) };
        let start = Instant::now();
        let answered = answer(&mut self.instance, &request, call.as_host());
        // A component's failure is told as its own, whatever is made of it.
        match self.ensemble.as_ref().and_then(Ensemble::take_failure) {
            Some(failure) => Err(failure),
            None => Ok((answered?, call.asked(), start.elapsed())),
        }
    }

    /// A new instance where the lost one was before the round.
    fn begin_anew(&mut self) -> Result<(), PluginError> {
        // The recording goes on with the new instance: what the lost one did is the part worth having.
        let recorder = self.instance.take_recorder();
        (self.instance, _) = instance(&self.strategy, &self.services, &self.view, recorder)?;
        match self.state.is_empty() {
            true => self.ensemble.iter().try_for_each(|ensemble| ensemble.load(BTreeMap::new())),
            false => self.take_up(&self.state.clone()),
        }
    }

    fn save(&mut self) -> Result<Vec<u8>, Failure> {
        if self.changed {
            let own = self.instance.save()?;
            self.state = match &self.ensemble {
                None => own,
                Some(ensemble) => wire::encode(&ComposedState { own: own.into(), components: ensemble.states() }),
            };
            self.changed = false;
        }
        Ok(self.state.clone())
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Failure> {
        self.take_up(state)?;
        self.state = state.to_owned();
        self.changed = false;
        Ok(())
    }

    /// Have the instance, and those of its components, go on from a stored state.
    fn take_up(&mut self, state: &[u8]) -> Result<(), PluginError> {
        let Some(ensemble) = &self.ensemble else { return self.instance.load(state) };
        let stored = wire::decode::<ComposedState>(state).map_err(|error| {
            let message = format!("its stored state, with that of its components, is damaged: {}", error.message);
            PluginError::new(PluginCode::Create, &self.name, message)
        })?;
        self.instance.load(&stored.own)?;
        ensemble.load(stored.components)
    }
}

/// A new instance of a strategy, and what it asked for while it was made; it does not ask other strategies meanwhile.
pub fn instance(
    strategy: &Strategy,
    services: &Services,
    view: &RunView,
    recorder: Option<Recorder>,
) -> Result<(Instance, Asked), PluginError> {
    let name = &strategy.manifest.name;
    let context = Context {
        plugin: name,
        seed: seed_of(view.run_seed, 0, name),
        round: 0,
        labelled: &[],
        prequential: &[],
        features: view.features.as_ref(),
        run: &view.run,
        artifacts: Artifacts::NoFolder,
        components: None,
        part: None,
    };
    let call = Call::new(services, context);
    let instance = strategy.plugin.create(name, &strategy.params_json, call.as_host(), recorder)?;
    Ok((instance, call.asked()))
}

/// The loop's selector, played by a strategy.
pub struct PluginSelector {
    pub player: Player,
    /// What is done around the strategy.
    pub around: Around,
}

impl PluginSelector {
    /// What the config makes of a ranking.
    fn chosen(&self, ranking: Selection, budget: usize, rng: &mut Rng) -> Result<Selection, PluginError> {
        let failed = |code, message: String| PluginError::new(code, self.player.name.as_str(), message);
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
    fn predicted_classes(&self, ids: &[u64]) -> Result<Vec<usize>, Error> {
        let services = &self.player.services;
        let known = &services.data.pool.ids;
        let rows: Vec<usize> = ids.iter().filter_map(|id| known.binary_search(id).ok()).collect();
        let task = services.task.lock();
        let Some(model) = task.current() else { return Ok(vec![0; ids.len()]) };
        let answers = model.answer(&task.pool, &Question::plain(&rows, ids, &[Output::Logits]), services)?;
        let Some(logits_nc) = answers.logits else { return Ok(Vec::new()) };
        Ok((0..logits_nc.n_rows).map(|i| most_probable(logits_nc.row(i))).collect())
    }
}

impl Selector for PluginSelector {
    fn select(&mut self, ask: &Ask<'_>) -> Result<Selected, Failure> {
        let run_seed = self.player.view.run_seed;
        let seed = |purpose: &str| Rng::from_seed(seed(run_seed, ask.round, purpose));
        let offered = around::offered(self.around, ask.unlabelled, &mut seed("subsample"));
        let budget = if self.around.wants_all() { offered.len() } else { ask.budget };
        let narrowed = &Ask { unlabelled: &offered, budget, ..*ask };
        let name = self.player.name.clone();
        let (selection, effort) = self.player.ask(narrowed, &[], |instance, request, host| {
            let selection = instance.select(request, host)?;
            check_selection(&name, &selection, narrowed.unlabelled, narrowed.budget)?;
            Ok(selection)
        })?;
        let selection = self.chosen(selection, ask.budget, &mut seed("stochastic"))?;
        self.player.services.meter.step(&format!("`{name}` chose {} images", selection.ids.len()));
        Ok(Selected { selection, effort })
    }

    fn save(&mut self) -> Result<Vec<u8>, Failure> {
        self.player.save()
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Failure> {
        self.player.load(state)
    }
}

/// The loop's sizer, played by a plugin.
pub struct PluginSizer {
    pub player: Player,
}

impl Sizer for PluginSizer {
    fn name(&self) -> &str {
        &self.player.name
    }

    fn size(&mut self, ask: &Ask<'_>, bounds: Bounds) -> Result<(Sizing, Effort), Failure> {
        let extra = wire::encode(&SizeArgs { least: bounds.least as u64, most: bounds.most as u64 });
        let (sizing, effort) = self.player.ask(ask, &extra, Instance::size)?;
        let Sizing { wanted, reason, .. } = &sizing;
        self.player.services.meter.step(&format!("`{}` wants {wanted} images: {reason}", self.name()));
        Ok((sizing, effort))
    }

    fn save(&mut self) -> Result<Vec<u8>, Failure> {
        self.player.save()
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Failure> {
        self.player.load(state)
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
