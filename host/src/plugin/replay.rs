//! Replays: a recording's requests put to any build of the strategy, its operations answered from the recording.
//!
//! No data set, no libtorch, no GPU. What the strategy answers is compared with what it answered then.

use super::error::{PluginCode, PluginError};
use super::instance::Plugin;
use super::record::{self, Answered, Call, Entry, Head, Outcome, content_hash};
use coldstart_plugin_api::__private::abi_stable::type_level::downcasting::TD_Opaque;
use coldstart_plugin_api::abi::std_types::{RErr, ROk, RResult, RSlice, RSliceMut, RStr, RVec};
use coldstart_plugin_api::abi::{self, DType, HostRef, RRef, TensorId, TensorInfo};
use coldstart_plugin_api::tensors::{HostTensor, Tensors};
use coldstart_plugin_api::{Code, Error, Rng};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A recording, call by call.
pub struct Recording {
    /// What was recorded.
    pub head: Head,
    tensors: BTreeMap<String, (u8, Vec<u64>, Vec<u8>)>,
    calls: Vec<Recorded>,
}

/// One call, what the strategy asked meanwhile, and what came of it.
struct Recorded {
    call: Call,
    asked: Vec<Entry>,
    /// None when the recording ends within the call: the strategy took the process with it.
    outcome: Option<Outcome>,
}

/// What a replay found for one call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Which call: `create`, `select` with its round, `save`, `load`.
    pub call: String,
    /// How the answer differs from the recorded one; none if it is the same.
    pub difference: Option<String>,
}

impl Recording {
    /// Read a recording; errs when the file is none, or one of a later form.
    pub fn read(file: &Path) -> Result<Recording, PluginError> {
        let name = file.display().to_string();
        let wrong = |message: String| {
            PluginError::new(PluginCode::Library, &name, message)
                .with_hint("name a file that `coldstart run --record` has written, in the run's folder `recordings`")
        };
        let mut entries = record::read(file).map_err(|error| wrong(error.to_string()))?.into_iter();
        let Some(Entry::Head(head)) = entries.next() else { return Err(wrong("is no recording".to_owned())) };
        let mut recording = Recording { head, tensors: BTreeMap::new(), calls: Vec::new() };
        for entry in entries {
            match (entry, recording.calls.last_mut()) {
                (Entry::Tensor { hash, dtype, shape, bytes }, _) => {
                    recording.tensors.insert(hash, (dtype, shape, bytes));
                }
                (Entry::Call(call), _) => recording.calls.push(Recorded { call, asked: vec![], outcome: None }),
                (Entry::Outcome(outcome), Some(last)) => last.outcome = Some(outcome),
                (asked @ (Entry::Supports { .. } | Entry::Invoked { .. }), Some(last)) => last.asked.push(asked),
                (entry, _) => return Err(wrong(format!("is no recording: {} stands out of place", kind(&entry)))),
            }
        }
        Ok(recording)
    }

    /// Put every recorded call to a plugin, and compare.
    ///
    /// Errs when no instance can be made where one was made then.
    pub fn replay(&self, plugin: &Plugin) -> Result<Vec<Finding>, PluginError> {
        let (mut findings, mut instance) = (Vec::new(), None);
        for recorded in &self.calls {
            let stage = Stage::new(self, recorded);
            let answered = match (&recorded.call, &mut instance) {
                (Call::Create { params }, _) => {
                    plugin.create(&self.head.plugin, params, stage.as_host(), None).map(|made| {
                        instance = Some(made);
                        Outcome::Done {}
                    })
                }
                (_, None) => break,
                (Call::Select { .. }, Some(instance)) => {
                    let request = stage.request(&recorded.call)?;
                    instance.ask(&request, stage.as_host()).map(|answer| record::selected(&answer))
                }
                (Call::Save {}, Some(instance)) => instance.save().map(|state| Outcome::Saved { state }),
                (Call::Load { state }, Some(instance)) => instance.load(state).map(|()| Outcome::Done {}),
            };
            let lost = answered.as_ref().is_err_and(|error| error.code.lost_the_worker());
            let answered = answered.unwrap_or_else(|error| Outcome::Failed { error: error.message });
            let difference = stage.strayed().or_else(|| difference(recorded.outcome.as_ref(), &answered));
            findings.push(Finding { call: name(&recorded.call), difference });
            if lost {
                break;
            }
        }
        Ok(findings)
    }
}

fn kind(entry: &Entry) -> &'static str {
    match entry {
        Entry::Head(_) => "a head",
        Entry::Tensor { .. } => "a tensor",
        Entry::Call(_) => "a call",
        Entry::Supports { .. } | Entry::Invoked { .. } => "a question",
        Entry::Outcome(_) => "an outcome",
    }
}

fn name(call: &Call) -> String {
    match call {
        Call::Create { .. } => "create".to_owned(),
        Call::Select { round, .. } => format!("select, round {round}"),
        Call::Save {} => "save".to_owned(),
        Call::Load { .. } => "load".to_owned(),
    }
}

/// How two outcomes differ, in a sentence; bits count, not values.
fn difference(then: Option<&Outcome>, now: &Outcome) -> Option<String> {
    let Some(then) = then else { return Some(format!("then the recording ended here, now {}", short(now))) };
    match (then, now) {
        (
            Outcome::Selected { ids, scores, report },
            Outcome::Selected { ids: ids_now, scores: scores_now, report: report_now },
        ) => {
            if report != report_now {
                return Some("it says another size, or gives other reasons".to_owned());
            }
            if ids.len() != ids_now.len() || scores.len() != scores_now.len() {
                return Some(format!("then {}, now {}", short(then), short(now)));
            }
            if let Some(at) = ids.iter().zip(ids_now).position(|(then, now)| then != now) {
                return Some(format!("pick {at} was the image {}, now it is {}", ids[at], ids_now[at]));
            }
            let at = scores.iter().zip(scores_now).position(|(then, now)| then.to_bits() != now.to_bits())?;
            Some(format!("the score of pick {at} was {}, now it is {}", scores[at], scores_now[at]))
        }
        (then, now) if then == now => None,
        (then, now) => Some(format!("then {}, now {}", short(then), short(now))),
    }
}

fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done {} => "it went well".to_owned(),
        Outcome::Selected { report, .. } if !report.is_empty() => "a size".to_owned(),
        Outcome::Selected { ids, scores, .. } => format!("{} images with {} scores", ids.len(), scores.len()),
        Outcome::Saved { state } => format!("a state of {} bytes", state.len()),
        Outcome::Failed { error } => format!("it failed: {error}"),
    }
}

/// The host of one replayed call.
struct Stage<'a> {
    recording: &'a Recording,
    recorded: &'a Recorded,
    tensors: Tensors,
    seed: [u8; 32],
    /// The first thing that the strategy asked and had not asked then.
    strayed: Mutex<Option<String>>,
}

impl<'a> Stage<'a> {
    fn new(recording: &'a Recording, recorded: &'a Recorded) -> Stage<'a> {
        let seed = match &recorded.call {
            Call::Select { seed, .. } => seed.as_slice().try_into().unwrap_or_default(),
            _ => [0; 32],
        };
        Stage { recording, recorded, tensors: Tensors::default(), seed, strayed: Mutex::default() }
    }

    fn as_host(&self) -> HostRef<'_> {
        HostRef::from_ptr(RRef::new(self), TD_Opaque)
    }

    fn request(&self, call: &Call) -> Result<abi::Request, PluginError> {
        let Call::Select { round, budget, unlabelled, labelled, extra, .. } = call else {
            return Err(PluginError::new(PluginCode::Library, "recording", "has no request"));
        };
        let tensor = |hash: &String| {
            let missing = || PluginError::new(PluginCode::Library, "recording", format!("lacks the tensor {hash}"));
            self.tensor(hash).map(|tensor| self.tensors.insert(tensor)).ok_or_else(missing)
        };
        Ok(abi::Request {
            round: *round,
            budget: *budget,
            seed: self.seed,
            unlabelled: tensor(unlabelled)?,
            labelled: tensor(labelled)?,
            extra: extra.clone().into(),
        })
    }

    fn tensor(&self, hash: &str) -> Option<HostTensor> {
        let (dtype, shape, bytes) = self.recording.tensors.get(hash)?;
        Some(HostTensor::new(DType(*dtype), shape.clone(), bytes.clone()))
    }

    fn strayed(&self) -> Option<String> {
        self.strayed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stray(&self, what: String) -> Error {
        let error = Error::new(Code::HOST, what.clone());
        self.strayed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
        error
    }

    /// The recorded answer to the same question. Its place among the others does not count: threads may ask in any order.
    fn answer(&self, op: &str, args: &[u8], inputs: &[TensorId]) -> Result<(Vec<u8>, Vec<HostTensor>), Error> {
        let hash = |id: &TensorId| {
            self.tensors.get(*id).map(|tensor| content_hash(tensor.dtype.0, &tensor.shape, &tensor.bytes))
        };
        let inputs: Vec<String> = inputs.iter().map(hash).collect::<Result<_, _>>()?;
        let same = self.recorded.asked.iter().find_map(|entry| match entry {
            Entry::Invoked { op: then, args: with, inputs: of, outcome } => {
                (then == op && with == args && *of == inputs).then_some(outcome)
            }
            _ => None,
        });
        match same {
            Some(Answered::Done { answer, outputs }) => {
                let outputs: Option<Vec<HostTensor>> = outputs.iter().map(|hash| self.tensor(hash)).collect();
                let outputs = outputs.ok_or_else(|| self.stray(format!("the recording lacks a tensor of `{op}`")))?;
                Ok((answer.clone(), outputs))
            }
            Some(Answered::Fault(fault)) => Err(abi::Fault::from(fault.clone()).into()),
            None => Err(self.stray(format!("it asks `{op}` with arguments that it did not have then"))),
        }
    }
}

impl abi::Host for Stage<'_> {
    fn supports(&self, op: RStr<'_>) -> bool {
        self.recorded.asked.iter().any(|entry| match entry {
            Entry::Supports { op: then, yes } => *yes && then == op.as_str(),
            Entry::Invoked { op: then, .. } => then == op.as_str(),
            _ => false,
        })
    }

    fn invoke(
        &self,
        op: RStr<'_>,
        args: RSlice<'_, u8>,
        inputs: RSlice<'_, TensorId>,
        outputs: &mut RVec<TensorId>,
    ) -> RResult<RVec<u8>, abi::Fault> {
        match self.answer(op.as_str(), args.as_slice(), inputs.as_slice()) {
            Ok((answer, tensors)) => {
                outputs.extend(tensors.into_iter().map(|tensor| self.tensors.insert(tensor)));
                ROk(answer.into())
            }
            Err(error) => RErr(error.into()),
        }
    }

    fn tensor_info(&self, tensor: TensorId) -> RResult<TensorInfo, abi::Fault> {
        self.tensors.info(tensor)
    }

    fn tensor_read(&self, tensor: TensorId, byte_offset: u64, into: RSliceMut<'_, u8>) -> RResult<u64, abi::Fault> {
        self.tensors.read(tensor, byte_offset, into)
    }

    fn tensor_put(&self, dtype: DType, shape: RSlice<'_, u64>, bytes: RSlice<'_, u8>) -> RResult<TensorId, abi::Fault> {
        self.tensors.put(dtype, shape.as_slice(), bytes.as_slice())
    }

    fn tensor_release(&self, tensor: TensorId) {
        self.tensors.release(tensor);
    }

    fn log_enabled(&self, level: u8, _: RStr<'_>) -> bool {
        level <= 3
    }

    fn log(&self, _: u8, target: RStr<'_>, message: RStr<'_>, _: RSlice<'_, u8>) {
        tracing::info!("{target}: {message}");
    }

    fn progress(&self, _: RStr<'_>, _: u64, _: u64) {}

    fn cancelled(&self) -> bool {
        false
    }

    fn rng_fill(&self, stream: RStr<'_>, mut into: RSliceMut<'_, u8>) {
        Rng::for_stream(self.seed, stream.as_str()).fill(into.as_mut_slice());
    }
}
