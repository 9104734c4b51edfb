//! The strategies that a composing one asks: an instance each, which lives as long as the other's.

use super::Strategy;
use super::selector::{RunView, instance};
use crate::experiment::Mishap;
use crate::operations::{Asked, Call, Choice, ComponentAsk, Components, Context, Services};
use crate::plugin::{Instance, PluginError, check_selection};
use crate::wait;
use coldstart_plugin_api::{Code, Error};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The components of a strategy, each in a seat of its own.
pub struct Ensemble {
    composer: Arc<Strategy>,
    services: Arc<Services>,
    view: RunView,
    /// In the order of the composer's components.
    members: Vec<Mutex<Member>>,
    /// What a component failed with in the call under way.
    failure: Mutex<Option<PluginError>>,
    /// Workers that were lost in the call under way.
    mishaps: Mutex<Vec<Mishap>>,
}

/// A component: its instance, and what it goes on from.
struct Member {
    /// None where it has to be made anew, from the state.
    instance: Option<Instance>,
    /// What it was after the last answer that was kept.
    state: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ensemble {
    /// Make an instance of each component; what they have the host do meanwhile is added to `asked`.
    ///
    /// Errs when one refuses its parameters.
    pub fn create(
        composer: Arc<Strategy>,
        services: Arc<Services>,
        view: RunView,
        asked: &mut Asked,
    ) -> Result<Ensemble, PluginError> {
        let mut members = Vec::new();
        for component in &composer.components {
            let (mut instance, asked_by_it) = instance(&component.strategy, &services, &view, None)?;
            let state = instance.save()?;
            members.push(Mutex::new(Member { instance: Some(instance), state }));
            asked.add(asked_by_it);
        }
        let (failure, mishaps) = (Mutex::default(), Mutex::default());
        Ok(Ensemble { composer, services, view, members, failure, mishaps })
    }

    /// The failure of a component since the last call of this, if there was one.
    pub fn take_failure(&self) -> Option<PluginError> {
        lock(&self.failure).take()
    }

    /// The lost workers of components since the last call of this.
    pub fn take_mishaps(&self) -> Vec<Mishap> {
        std::mem::take(&mut *lock(&self.mishaps))
    }

    /// What each component goes on from, by the name that it is composed by.
    pub fn states(&self) -> BTreeMap<String, ByteBuf> {
        let names = self.composer.components.iter().map(|component| component.name.clone());
        names.zip(&self.members).map(|(name, member)| (name, ByteBuf::from(lock(member).state.clone()))).collect()
    }

    /// Let each component go on from a state; one without a state begins where it began.
    ///
    /// Errs when one refuses its state.
    pub fn load(&self, mut states: BTreeMap<String, ByteBuf>) -> Result<(), PluginError> {
        for (component, member) in self.composer.components.iter().zip(&self.members) {
            let state = states.remove(&component.name).map(ByteBuf::into_vec).unwrap_or_default();
            let mut instance = self.begun(&component.strategy, &state)?;
            let state = if state.is_empty() { instance.save()? } else { state };
            *lock(member) = Member { instance: Some(instance), state };
        }
        Ok(())
    }

    /// A new instance in this state; where that is empty, as an instance begins.
    fn begun(&self, strategy: &Strategy, state: &[u8]) -> Result<Instance, PluginError> {
        let (mut instance, _) = instance(strategy, &self.services, &self.view, None)?;
        if !state.is_empty() {
            instance.load(state)?;
        }
        Ok(instance)
    }

    /// Ask a component, again with a new instance where its worker is lost.
    fn ask(&self, strategy: &Strategy, member: &mut Member, ask: &ComponentAsk<'_>) -> Result<Choice, PluginError> {
        let mut n_lost = 0;
        loop {
            match self.ask_once(strategy, member, ask) {
                Err(error) if error.code.lost_the_worker() && n_lost < strategy.retries => {
                    tracing::warn!("{error}; asking again with a new worker");
                    let plugin = strategy.manifest.name.clone();
                    lock(&self.mishaps).push(Mishap { plugin, error: error.to_string() });
                    n_lost += 1;
                }
                answered => return answered,
            }
        }
    }

    fn ask_once(
        &self,
        strategy: &Strategy,
        member: &mut Member,
        ask: &ComponentAsk<'_>,
    ) -> Result<Choice, PluginError> {
        // Whatever ends this early leaves no instance behind: the next one begins from the state.
        let mut instance = match member.instance.take() {
            Some(instance) => instance,
            None => self.begun(strategy, &member.state)?,
        };
        let name = &strategy.manifest.name;
        let call = Call::new(&self.services, self.context(name, ask));
        let request = call.request(ask.round, ask.count, ask.candidates);
        let selection = instance.select(&request, call.as_host())?;
        check_selection(name, &selection, ask.candidates, ask.count)?;
        let state = instance.save()?;
        let has_changed = state != member.state;
        if ask.keep {
            member.state = state;
        }
        if ask.keep || !has_changed {
            member.instance = Some(instance);
        }
        Ok(Choice { ids: selection.ids, asked: call.asked() })
    }

    fn context<'a>(&'a self, name: &'a str, ask: &ComponentAsk<'a>) -> Context<'a> {
        Context {
            plugin: name,
            seed: ask.seed,
            round: ask.round,
            labelled: ask.labelled,
            prequential: ask.prequential,
            run: &self.view.run,
            features: self.view.features.as_ref(),
            artifacts: ask.artifacts.clone(),
            components: None,
            part: Some(ask.part),
        }
    }

    /// A failure as the composing strategy hears of it; the first one of a call is kept. What ends because the user stops the run is none.
    fn failed(&self, error: PluginError) -> Error {
        if self.services.is_cancelled() || wait::interrupted() {
            return Error::new(Code::CANCELLED, "cancelled");
        }
        let told = Error::new(Code::HOST, error.to_string()).with("hint", error.hint.clone());
        lock(&self.failure).get_or_insert(error);
        told
    }

    fn unknown(&self, name: &str) -> Error {
        let names: Vec<&str> = self.composer.components.iter().map(|component| component.name.as_str()).collect();
        let message = format!("`{name}` is none of the strategies that the parameters name: {}", names.join(", "));
        Error::new(Code::BAD_PARAMS, message)
    }
}

impl Components for Ensemble {
    fn choose(&self, ask: &ComponentAsk<'_>) -> Result<Choice, Error> {
        let all = self.composer.components.iter().zip(&self.members);
        let Some((component, member)) = all.into_iter().find(|(component, _)| component.name == ask.name) else {
            return Err(self.unknown(ask.name));
        };
        let answered = self.ask(&component.strategy, &mut lock(member), ask);
        answered.map_err(|error| self.failed(error))
    }
}
