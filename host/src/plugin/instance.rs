//! Instances of a strategy, in this process or apart, and what the host demands of their answers.

use super::error::{PluginCode, PluginError};
use super::isolate::{Limits, Worker};
use super::load::{Library, Verified};
use super::record::{self, Recorder};
use crate::foreign;
use crate::limits::{self, shortened};
use coldstart_plugin_api::abi::std_types::{RSlice, RVec};
use coldstart_plugin_api::abi::{self, HostRef, SelectorBox};
use coldstart_plugin_api::ops::SizeAnswer;
use coldstart_plugin_api::{Code, Error, Selection, Sizing, wire};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// A plugin that instances can be made of.
pub enum Plugin {
    /// Loaded into this process.
    InProcess(Box<Library>),
    /// Each instance in a worker of its own; the first one waits already.
    Apart(Box<Apart>),
}

/// A plugin that runs apart from the host.
pub struct Apart {
    plugin: Verified,
    limits: Limits,
    confinement: String,
    waiting: Mutex<Option<Worker>>,
}

impl Plugin {
    /// Load a plugin, here or (given limits) in a worker.
    pub fn load(plugin: &Verified, apart: Option<&Limits>) -> Result<Plugin, PluginError> {
        let Some(limits) = apart else {
            if plugin.is_script() {
                let message = "is a script, which cannot run inside the program";
                let error = PluginError::new(PluginCode::Library, &plugin.manifest.name, message);
                return Err(error.with_hint("set `plugins.isolation` to `auto` or `process`"));
            }
            // Whoever asked: code that nobody vouches for does not run with the user's rights.
            if !plugin.trust.suffices() {
                return Err(plugin.needs_leave());
            }
            return Ok(Plugin::InProcess(Box::new(Library::load(plugin)?)));
        };
        let worker = Worker::start(plugin, limits)?;
        let (confinement, waiting) = (worker.confinement.clone(), Mutex::new(Some(worker)));
        Ok(Plugin::Apart(Box::new(Apart { plugin: plugin.clone(), limits: limits.clone(), confinement, waiting })))
    }

    /// Load a library into this process, whoever made it: for a process that has shut itself in, and for no other.
    pub fn load_shut_in(plugin: &Verified) -> Result<Plugin, PluginError> {
        Ok(Plugin::InProcess(Box::new(Library::load(plugin)?)))
    }

    /// How well its workers are shut in: `full`, `partial` or `no-landlock`; empty inside the host.
    pub fn confinement(&self) -> &str {
        match self {
            Plugin::InProcess(_) => "",
            Plugin::Apart(apart) => &apart.confinement,
        }
    }

    /// Where a plugin runs, in a word for records.
    pub fn mode_of(apart: bool) -> &'static str {
        if apart { "process" } else { "in-process" }
    }

    /// Make an instance with these parameters (JSON), and perhaps record all that passes between it and the host.
    pub fn create(
        &self,
        name: &str,
        params_json: &str,
        host: HostRef<'_>,
        recorder: Option<Recorder>,
    ) -> Result<Instance, PluginError> {
        let is_script = matches!(self, Plugin::Apart(apart) if apart.plugin.is_script());
        let instance = |body: Result<Body, PluginError>, recorder| {
            let body = body.map_err(|error| hinted(is_script, error))?;
            Ok(Instance { name: name.to_owned(), body, recorder, is_script })
        };
        let Some(recorder) = recorder else { return instance(self.body(name, params_json, host), None) };
        recorder.call(record::Call::Create { params: params_json.to_owned() });
        let body = self.body(name, params_json, recorder.listen(host).as_host());
        recorder.outcome(record::outcome(&body, |_| record::Outcome::Done {}));
        instance(body, Some(recorder))
    }

    fn body(&self, name: &str, params_json: &str, host: HostRef<'_>) -> Result<Body, PluginError> {
        let failed = |fault| failed(name, fault, PluginCode::Create);
        match self {
            Plugin::InProcess(library) => {
                library.create(name, params_json, host).into_result().map(Body::InProcess).map_err(failed)
            }
            Plugin::Apart(apart) => {
                let mut worker = apart.worker()?;
                worker.create(params_json, &host)?.map_err(|fault| failed(fault.into()))?;
                Ok(Body::Apart(Box::new(worker)))
            }
        }
    }
}

impl Apart {
    fn worker(&self) -> Result<Worker, PluginError> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        waiting.map_or_else(|| Worker::start(&self.plugin, &self.limits), Ok)
    }
}

/// A strategy that can be asked.
pub struct Instance {
    name: String,
    body: Body,
    recorder: Option<Recorder>,
    /// Whether its author can look into it here and now.
    is_script: bool,
}

/// What came of a request: images, or from a sizer a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The images.
    pub selection: Selection,
    /// The report, MessagePack; empty from strategies.
    pub report: Vec<u8>,
}

enum Body {
    InProcess(SelectorBox),
    Apart(Box<Worker>),
}

impl Instance {
    /// Make an instance of a library in this process, with these parameters (JSON).
    pub fn create(library: &Library, params_json: &str, host: HostRef<'_>) -> Result<Instance, PluginError> {
        let name = library.verified().manifest.name.clone();
        Plugin::InProcess(Box::new(library.clone())).create(&name, params_json, host, None)
    }

    /// Ask for a selection. The answer is not checked yet: see [`check_selection`].
    pub fn select(&mut self, request: &abi::Request, host: HostRef<'_>) -> Result<Selection, PluginError> {
        self.ask(request, host).map(|answer| answer.selection)
    }

    /// Ask a sizer how large the initial set should be; the request's `extra` has the bounds.
    ///
    /// Errs when it answers anything else than a size, a reason and finite numbers.
    pub fn size(&mut self, request: &abi::Request, host: HostRef<'_>) -> Result<Sizing, PluginError> {
        let answer = self.ask(request, host)?;
        check_sizing(&self.name, &answer)
    }

    /// Put a request, and hand over the answer as it came.
    pub fn ask(&mut self, request: &abi::Request, host: HostRef<'_>) -> Result<Answer, PluginError> {
        let Instance { name, body, recorder, is_script } = self;
        let hinted = |error| hinted(*is_script, error);
        let Some(recorder) = recorder else { return body.ask(name, request, host).map_err(hinted) };
        let listener = recorder.listen(host);
        listener.request(request);
        let answer = body.ask(name, request, listener.as_host());
        recorder.outcome(record::outcome(&answer, record::selected));
        answer.map_err(hinted)
    }

    /// The recording, if there is one.
    pub fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// The recording, for an instance that takes this one's place.
    pub fn take_recorder(&mut self) -> Option<Recorder> {
        self.recorder.take()
    }

    /// The state to store after a round.
    pub fn save(&mut self) -> Result<Vec<u8>, PluginError> {
        self.recorded(record::Call::Save {}, Body::save, |state| record::Outcome::Saved { state: state.clone() })
    }

    /// Take up a stored state.
    pub fn load(&mut self, state: &[u8]) -> Result<(), PluginError> {
        let call = record::Call::Load { state: state.to_owned() };
        self.recorded(call, |body, name| body.load(name, state), |()| record::Outcome::Done {})
    }

    /// Do something that takes no host, and record it if there is a recording.
    fn recorded<T>(
        &mut self,
        call: record::Call,
        act: impl FnOnce(&mut Body, &str) -> Result<T, PluginError>,
        outcome: impl FnOnce(&T) -> record::Outcome,
    ) -> Result<T, PluginError> {
        let Instance { name, body, recorder, is_script } = self;
        let hinted = |error| hinted(*is_script, error);
        let Some(recorder) = recorder else { return act(body, name).map_err(hinted) };
        recorder.call(call);
        let answer = act(body, name);
        recorder.outcome(record::outcome(&answer, outcome));
        answer.map_err(hinted)
    }
}

impl Body {
    fn ask(&mut self, name: &str, request: &abi::Request, host: HostRef<'_>) -> Result<Answer, PluginError> {
        let answer = match self {
            Body::InProcess(selector) => selector.select(request, host).into_result().map(|chosen| Answer {
                selection: Selection { ids: chosen.ids.into_vec(), scores: chosen.scores.into_vec() },
                report: chosen.report.into_vec(),
            }),
            Body::Apart(worker) => worker.ask_strategy(request, &host)?.map_err(abi::Fault::from),
        };
        let answer = answer.map_err(|fault| failed(name, fault, PluginCode::Select))?;
        let limit = limits::FRAME_SELECTION;
        limit.check(answer.report.len() as u64).map_err(|excess| PluginError::limit(name, excess))?;
        Ok(answer)
    }

    fn save(&mut self, name: &str) -> Result<Vec<u8>, PluginError> {
        let state = match self {
            Body::InProcess(selector) => selector.save().into_result().map(RVec::into_vec),
            Body::Apart(worker) => worker.save()?.map_err(abi::Fault::from),
        };
        let state = state.map_err(|fault| failed(name, fault, PluginCode::Select))?;
        limits::STATE.check(state.len() as u64).map_err(|excess| PluginError::limit(name, excess))?;
        Ok(state)
    }

    fn load(&mut self, name: &str, state: &[u8]) -> Result<(), PluginError> {
        let loaded = match self {
            Body::InProcess(selector) => selector.load(RSlice::from(state)).into_result(),
            Body::Apart(worker) => worker.load(state)?.map_err(abi::Fault::from),
        };
        loaded.map_err(|fault| match failed(name, fault, PluginCode::Create) {
            // It is the stored state that does not fit, not what a user wrote.
            PluginError { code: PluginCode::Params, message, .. } => {
                PluginError::new(PluginCode::Create, name, format!("refuses its stored state: {message}"))
            }
            error => error,
        })
    }
}

/// A fault in the host's words; `otherwise` is the code for a failure of the strategy's own.
fn failed(name: &str, fault: abi::Fault, otherwise: PluginCode) -> PluginError {
    let error = Error::from(fault);
    let code = match error.code {
        Code::PANICKED => PluginCode::Panicked,
        Code::POISONED => PluginCode::Poisoned,
        Code::UNSUPPORTED => PluginCode::Operation,
        Code::BAD_PARAMS if otherwise == PluginCode::Create => PluginCode::Params,
        _ => otherwise,
    };
    if let Some(backtrace) = error.details.get("backtrace") {
        tracing::debug!("`{name}` panicked {}", shortened(backtrace.clone(), limits::FRAME_PLAIN.length()));
    }
    let place = error.details.get("backtrace").and_then(|backtrace| backtrace.lines().next()).unwrap_or_default();
    // Its end is the place: a sentence that is too long is cut before that.
    let sentence = shortened(error.message, limits::MESSAGE.length() / 2);
    let place = shortened(place.to_owned(), limits::MESSAGE.length() / 4);
    let found = PluginError::new(code, name, format!("{sentence} {place}").trim());
    match error.details.get("hint") {
        Some(hint) => found.with_hint(shortened(foreign::line(hint).into_owned(), limits::MESSAGE.length())),
        None => found,
    }
}

/// Whoever runs a script can mend it: nobody has to ask its author.
fn hinted(is_script: bool, error: PluginError) -> PluginError {
    let own = [PluginCode::Create, PluginCode::Select, PluginCode::Panicked].contains(&error.code);
    match is_script && own && error.hint == error.code.hint() {
        true => error.with_hint("mend the script; `-v -v` shows the whole traceback where Python left one"),
        false => error,
    }
}

/// What every answer must fulfil: as many ids as asked for, from the unlabelled ones, none twice, scores for all or
/// none, and finite. Errs at the first violation; nothing is repaired.
///
/// `unlabelled` is ascending.
pub fn check_selection(
    name: &str,
    selection: &Selection,
    unlabelled: &[u64],
    budget: usize,
) -> Result<(), PluginError> {
    let invalid = |message: String| Err(PluginError::new(PluginCode::Selection, name, message));
    let (ids, scores) = (&selection.ids, &selection.scores);
    let asked = budget.min(unlabelled.len());
    if ids.len() != asked {
        return invalid(format!("chose {} images, {asked} were asked for", ids.len()));
    }
    if let Some(id) = ids.iter().find(|id| unlabelled.binary_search(id).is_err()) {
        return invalid(format!("chose the image {id}, which is not among the unlabelled ones"));
    }
    let mut seen = BTreeSet::new();
    if let Some(id) = ids.iter().find(|id| !seen.insert(**id)) {
        return invalid(format!("chose the image {id} twice"));
    }
    if !scores.is_empty() && scores.len() != ids.len() {
        return invalid(format!("gave {} scores for {} images", scores.len(), ids.len()));
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(at) => invalid(format!("gave the score {} to the image {}", scores[at], ids[at])),
        None => Ok(()),
    }
}

/// What a sizer's answer must be: no image, but a size, a reason and finite numbers.
pub fn check_sizing(name: &str, Answer { selection, report }: &Answer) -> Result<Sizing, PluginError> {
    let invalid = |message: String| PluginError::new(PluginCode::Selection, name, message);
    if !selection.ids.is_empty() {
        return Err(invalid("chose images, where a size was asked for".to_owned()));
    }
    let answer = wire::decode::<SizeAnswer>(report);
    let mut sizing = Sizing::from(answer.map_err(|error| invalid(format!("gave no size: {}", error.message)))?);
    sizing.reason = shortened(sizing.reason, limits::MESSAGE.length());
    limits::MEASURES.check(sizing.measures.len() as u64).map_err(|excess| invalid(format!("gave {excess}")))?;
    if let Some(name) = sizing.measures.keys().find(|name| name.len() > limits::STAGE.length()) {
        return Err(invalid(format!("gave a number a name of {} bytes", name.len())));
    }
    match sizing.measures.iter().find(|(_, value)| !value.is_finite()) {
        Some((measure, value)) => Err(invalid(format!("gave the number {value} as `{measure}`"))),
        None => Ok(sizing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_selection_is_named() {
        let unlabelled = [2, 3, 5, 7];
        for (ids, scores, budget, expected) in [
            (vec![5, 2], vec![], 2, None),
            (vec![5, 2], vec![0.5, 0.1], 2, None),
            (vec![7, 5, 3, 2], vec![], 9, None),
            (vec![], vec![], 0, None),
            (vec![5], vec![], 2, Some("chose 1 images, 2 were asked for")),
            (vec![5, 2, 3], vec![], 2, Some("chose 3 images")),
            (vec![5, 4], vec![], 2, Some("the image 4, which is not among")),
            (vec![5, 5], vec![], 2, Some("the image 5 twice")),
            (vec![5, 2], vec![0.5], 2, Some("1 scores for 2 images")),
            (vec![5, 2], vec![0.5, f32::NAN], 2, Some("the score NaN to the image 2")),
            (vec![5, 2], vec![f32::INFINITY, 0.0], 2, Some("the score inf to the image 5")),
        ] {
            let checked = check_selection("toy", &Selection { ids, scores }, &unlabelled, budget);
            match (checked, expected) {
                (Ok(()), None) => {}
                (Err(error), Some(expected)) => {
                    assert_eq!(error.code, PluginCode::Selection);
                    assert!(error.message.contains(expected), "{}", error.message);
                }
                (checked, expected) => panic!("expected {expected:?}, got {checked:?}"),
            }
        }
    }
}
