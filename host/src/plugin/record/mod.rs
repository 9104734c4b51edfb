//! Recordings: everything that passes between the host and one strategy, in a file that a replay needs nothing beside.
//!
//! A recording is a zstd stream of entries, each with its length before it, flushed one by one: after a crash it ends
//! where the strategy last spoke to the host. Tensors are stored once, by the hash of their content.

mod format;

pub use format::{Answered, Call, Entry, Head, Outcome, content_hash, entries, read};

use super::error::PluginError;
use super::instance::Answer;
use crate::limits::RECORDING;
use coldstart_plugin_api::__private::abi_stable::type_level::downcasting::TD_Opaque;
use coldstart_plugin_api::abi::std_types::{RResult, RSlice, RSliceMut, RStr, RVec};
use coldstart_plugin_api::abi::{self, DType, HostRef, RRef, TensorId, TensorInfo};
use coldstart_plugin_api::wire;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An answer, or why there is none, as an outcome.
pub fn outcome<T>(answer: &Result<T, PluginError>, put: impl FnOnce(&T) -> Outcome) -> Outcome {
    match answer {
        Ok(answer) => put(answer),
        Err(error) => Outcome::Failed { error: error.message.clone() },
    }
}

/// An answer to a request as an outcome.
pub fn selected(Answer { selection, report }: &Answer) -> Outcome {
    Outcome::Selected { ids: selection.ids.clone(), scores: selection.scores.clone(), report: report.clone() }
}

/// A recording under way.
pub struct Recorder {
    tape: Mutex<Tape>,
}

struct Tape {
    /// None once it could not be written: the run goes on without it.
    stream: Option<zstd::Encoder<'static, Sink>>,
    known: BTreeSet<String>,
    /// Bytes of all entries, before they are packed.
    n_bytes: u64,
}

/// Instances are made before a run has a folder.
enum Sink {
    Memory(Vec<u8>),
    File(File),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Memory(memory) => memory.write(bytes),
            Sink::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Memory(_) => Ok(()),
            Sink::File(file) => file.flush(),
        }
    }
}

impl Recorder {
    /// Begin a recording, in memory.
    pub fn new(head: Head) -> Recorder {
        let stream = zstd::Encoder::new(Sink::Memory(Vec::new()), 3).map_err(|error| lost(&error)).ok();
        let recorder = Recorder { tape: Mutex::new(Tape { stream, known: BTreeSet::new(), n_bytes: 0 }) };
        recorder.put(&Entry::Head(head));
        recorder
    }

    /// Go on in a new file, with what was recorded so far.
    pub fn store(&self, file: &Path) {
        let mut tape = self.tape();
        let Some(stream) = &mut tape.stream else { return };
        let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        let moved = folder.and_then(|()| File::create_new(file)).and_then(|mut file| {
            if let Sink::Memory(memory) = stream.get_ref() {
                file.write_all(memory)?;
            }
            *stream.get_mut() = Sink::File(file);
            Ok(())
        });
        if let Err(error) = moved {
            lost(&error);
            tape.stream = None;
        }
    }

    /// Note what the strategy made of a call.
    pub fn outcome(&self, outcome: Outcome) {
        self.put(&Entry::Outcome(outcome));
    }

    /// Note a call that does without the host.
    pub fn call(&self, call: Call) {
        self.put(&Entry::Call(call));
    }

    /// Listen to what passes between the strategy and `host` from now on.
    pub fn listen<'r, 'h>(&'r self, host: HostRef<'h>) -> Listener<'r, 'h> {
        Listener { recorder: self, host }
    }

    fn put(&self, entry: &Entry) {
        let mut tape = self.tape();
        let Tape { stream: Some(stream), n_bytes, .. } = &mut *tape else { return };
        let bytes = wire::encode(entry);
        *n_bytes += bytes.len() as u64;
        if let Err(excess) = RECORDING.check(*n_bytes) {
            tracing::warn!("the recording ends here: {excess}");
            tape.stream = None;
            return;
        }
        let length = (bytes.len() as u32).to_le_bytes();
        let written = stream.write_all(&length).and_then(|()| stream.write_all(&bytes)).and_then(|()| stream.flush());
        if let Err(error) = written {
            lost(&error);
            tape.stream = None;
        }
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hash of a tensor, which is stored if it is new.
    fn tensor(&self, host: &HostRef<'_>, tensor: TensorId) -> Result<String, abi::Fault> {
        let TensorInfo { dtype, shape } = host.tensor_info(tensor).into_result()?;
        let n_bytes: u64 = shape.iter().product::<u64>() * dtype.size();
        let mut bytes = vec![0; n_bytes as usize];
        host.tensor_read(tensor, 0, RSliceMut::from(bytes.as_mut_slice())).into_result()?;
        let (dtype, shape) = (dtype.0, shape.into_vec());
        let hash = content_hash(dtype, &shape, &bytes);
        if self.tape().known.insert(hash.clone()) {
            self.put(&Entry::Tensor { hash: hash.clone(), dtype, shape, bytes });
        }
        Ok(hash)
    }
}

fn lost(error: &io::Error) {
    tracing::warn!("the recording ends here: {error}");
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(stream) = self.tape().stream.take() {
            // Every entry was flushed; only the stream's end is missing if this fails.
            _ = stream.finish();
        }
    }
}

/// The host, with somebody who writes down what is said.
pub struct Listener<'r, 'h> {
    recorder: &'r Recorder,
    host: HostRef<'h>,
}

impl Listener<'_, '_> {
    /// The form in which a plugin gets it.
    pub fn as_host(&self) -> HostRef<'_> {
        HostRef::from_ptr(RRef::new(self), TD_Opaque)
    }

    /// Note a request before it is made.
    pub fn request(&self, request: &abi::Request) {
        let tensor = |tensor| self.recorder.tensor(&self.host, tensor).unwrap_or_default();
        let call = Call::Select {
            round: request.round,
            budget: request.budget,
            seed: request.seed.to_vec(),
            unlabelled: tensor(request.unlabelled),
            labelled: tensor(request.labelled),
            extra: request.extra.to_vec(),
        };
        self.recorder.call(call);
    }

    fn note(&self, op: &str, args: &[u8], inputs: &[TensorId], outcome: Result<(&[u8], &[TensorId]), &abi::Fault>) {
        let hashes = |tensors: &[TensorId]| {
            tensors.iter().map(|tensor| self.recorder.tensor(&self.host, *tensor)).collect::<Result<Vec<_>, _>>()
        };
        let outcome = match outcome {
            Ok((answer, outputs)) => hashes(outputs).map(|outputs| Answered::Done { answer: answer.to_vec(), outputs }),
            Err(fault) => Ok(Answered::Fault(fault.clone().into())),
        };
        if let (Ok(inputs), Ok(outcome)) = (hashes(inputs), outcome) {
            self.recorder.put(&Entry::Invoked { op: op.to_owned(), args: args.to_vec(), inputs, outcome });
        }
    }
}

impl abi::Host for Listener<'_, '_> {
    fn supports(&self, op: RStr<'_>) -> bool {
        let yes = self.host.supports(op);
        self.recorder.put(&Entry::Supports { op: op.to_string(), yes });
        yes
    }

    fn invoke(
        &self,
        op: RStr<'_>,
        args: RSlice<'_, u8>,
        inputs: RSlice<'_, TensorId>,
        outputs: &mut RVec<TensorId>,
    ) -> RResult<RVec<u8>, abi::Fault> {
        let before = outputs.len();
        let answer = self.host.invoke(op, args, inputs, outputs).into_result();
        let outcome = answer.as_ref().map(|answer| (answer.as_slice(), &outputs[before..]));
        self.note(op.as_str(), args.as_slice(), inputs.as_slice(), outcome);
        answer.into()
    }

    fn tensor_info(&self, tensor: TensorId) -> RResult<TensorInfo, abi::Fault> {
        self.host.tensor_info(tensor)
    }

    fn tensor_read(&self, tensor: TensorId, byte_offset: u64, into: RSliceMut<'_, u8>) -> RResult<u64, abi::Fault> {
        self.host.tensor_read(tensor, byte_offset, into)
    }

    fn tensor_put(&self, dtype: DType, shape: RSlice<'_, u64>, bytes: RSlice<'_, u8>) -> RResult<TensorId, abi::Fault> {
        self.host.tensor_put(dtype, shape, bytes)
    }

    fn tensor_release(&self, tensor: TensorId) {
        self.host.tensor_release(tensor);
    }

    fn log_enabled(&self, level: u8, target: RStr<'_>) -> bool {
        self.host.log_enabled(level, target)
    }

    fn log(&self, level: u8, target: RStr<'_>, message: RStr<'_>, fields: RSlice<'_, u8>) {
        self.host.log(level, target, message, fields);
    }

    fn progress(&self, stage: RStr<'_>, done: u64, total: u64) {
        self.host.progress(stage, done, total);
    }

    fn cancelled(&self) -> bool {
        self.host.cancelled()
    }

    fn rng_fill(&self, stream: RStr<'_>, into: RSliceMut<'_, u8>) {
        // Nothing to note: the bytes follow from the request's seed.
        self.host.rng_fill(stream, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let text = || "x".to_owned();
        Head { format: 1, coldstart: text(), plugin: text(), version: text(), sha256: text(), mode: text() }
    }

    #[test]
    fn a_recording_is_read_as_far_as_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/x.record");
        let recorder = Recorder::new(head());
        recorder.call(Call::Save {});
        recorder.store(&file);
        recorder.outcome(Outcome::Saved { state: vec![7; 1000] });
        let whole =
            [Entry::Head(head()), Entry::Call(Call::Save {}), Entry::Outcome(Outcome::Saved { state: vec![7; 1000] })];
        // The process dies here: nothing is closed.
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(read(&file).unwrap(), whole);
        for cut in 0..bytes.len() {
            match entries(&bytes[..cut]) {
                Ok(entries) => assert_eq!(entries, whole[..entries.len()], "{cut}"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{cut}: {error}"),
            }
        }
        drop(recorder);
        assert_eq!(read(&file).unwrap(), whole);
    }

    #[test]
    fn what_is_no_recording_is_an_error() {
        let packed = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let entry = |entry: &Entry| {
            let bytes = wire::encode(entry);
            packed(&[&(bytes.len() as u32).to_le_bytes()[..], &bytes].concat())
        };
        for bytes in [
            vec![],
            b"text".to_vec(),
            packed(b""),
            packed(&[0xff; 9]),
            packed(&[1, 0, 0, 0, 0xc1]),
            entry(&Entry::Call(Call::Save {})),
            entry(&Entry::Head(Head { format: 2, ..head() })),
        ] {
            assert!(entries(&bytes[..]).is_err(), "{bytes:?}");
        }
    }
}
