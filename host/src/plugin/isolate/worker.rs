//! Inside the worker: one plugin, one instance, and a host at the other end of a socket.

use super::frames::{Allowance, Answer, Ask, Channel, Fault, PROTOCOL, Question, ToHost, ToWorker};
use super::sandbox;
use crate::limits::{self, shortened};
use crate::plugin::{Library, PluginCode, PluginError, Verified};
use coldstart_plugin_api::__private::abi_stable::type_level::downcasting::TD_Opaque;
use coldstart_plugin_api::abi::std_types::{RResult, RSlice, RSliceMut, RStr, RVec};
use coldstart_plugin_api::abi::{self, DType, HostRef, RRef, SelectorBox, TensorId, TensorInfo};
use coldstart_plugin_api::{API_VERSION, Code, Error};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tensors that stay open in case they are read in pieces.
const OPEN_TENSORS: usize = 8;

/// Serve the host at the other end of standard input until it says goodbye or is gone.
///
/// Errs when the host does not speak this protocol or the line breaks.
pub fn serve() -> io::Result<()> {
    // A worker must not outlive its host, whatever the plugin is doing.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let line = Line::new(take_stdin()?);
    let ToWorker::Hello { protocol, api } = line.next()?.0 else { return Err(unexpected("a hello")) };
    line.say(&ToHost::Hello { protocol: PROTOCOL, api: API_VERSION.to_owned(), language: "rust".to_owned() })?;
    if protocol != PROTOCOL {
        return Err(unexpected(&format!("protocol {PROTOCOL}, not {protocol} (contract {api})")));
    }
    let (ToWorker::Open { memory, strict, .. }, Some(library)) = line.next()? else {
        return Err(unexpected("a library"));
    };
    let library = match open(library, memory, strict) {
        Ok((library, confinement)) => {
            let descriptor = library.verified().text().to_owned();
            line.say(&ToHost::Opened { descriptor, confinement: confinement.to_owned() })?;
            library
        }
        Err(PluginError { code, message, .. }) => {
            return line.say(&ToHost::Refused { code: code.id().to_owned(), message });
        }
    };
    answer_requests(&line, &library)
}

/// The socket, away from standard input, where a plugin could read it by accident.
fn take_stdin() -> io::Result<UnixStream> {
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(socket))
}

fn open(library: OwnedFd, memory: u64, strict: bool) -> Result<(Library, &'static str), PluginError> {
    let refuse = |message: String| PluginError::new(PluginCode::WorkerDied, "worker", message);
    let confinement = sandbox::confine(memory).map_err(refuse)?;
    if strict && confinement != sandbox::Confinement::Full {
        return Err(refuse(sandbox::too_weak(confinement)));
    }
    Ok((Library::load(&Verified::from_sealed(library)?)?, confinement.name()))
}

fn answer_requests(line: &Line, library: &Library) -> io::Result<()> {
    let mut instance: Option<SelectorBox> = None;
    loop {
        let answer = match line.next()?.0 {
            ToWorker::Create { name, params, log_level } => {
                line.level.store(log_level, Ordering::Relaxed);
                match library.create(&name, &params, line.as_host()).into_result() {
                    Ok(selector) => {
                        instance = Some(selector);
                        sandbox::seal_code().map_err(io::Error::other)?;
                        ToHost::Created {}
                    }
                    Err(fault) => ToHost::Fault(fault.into()),
                }
            }
            ToWorker::Select(question) => answer(&mut instance, |instance| select(instance, &question, line)),
            ToWorker::Save {} => answer(&mut instance, |instance| {
                instance.save().into_result().map(|state| ToHost::Saved { state: state.into_vec() })
            }),
            ToWorker::Load { state } => answer(&mut instance, |instance| {
                instance.load(RSlice::from(&state[..])).into_result().map(|()| ToHost::Loaded {})
            }),
            ToWorker::Cancel {} => {
                line.cancelled.store(true, Ordering::Relaxed);
                continue;
            }
            ToWorker::Goodbye {} => return Ok(()),
            ToWorker::Hello { .. } | ToWorker::Open { .. } | ToWorker::Reply { .. } => {
                return Err(unexpected("a request"));
            }
        };
        line.say(&answer)?;
    }
}

fn answer(
    instance: &mut Option<SelectorBox>,
    ask: impl FnOnce(&mut SelectorBox) -> Result<ToHost, abi::Fault>,
) -> ToHost {
    let missing = || Error::new(Code::BAD_PARAMS, "there is no instance yet").into();
    instance.as_mut().ok_or_else(missing).and_then(ask).unwrap_or_else(|fault| ToHost::Fault(fault.into()))
}

fn select(instance: &mut SelectorBox, question: &Question, line: &Line) -> Result<ToHost, abi::Fault> {
    let seed = question.seed.as_slice().try_into();
    let request = abi::Request {
        round: question.round,
        budget: question.budget,
        seed: seed.map_err(|_| Error::new(Code::BAD_PARAMS, "a seed has 32 bytes"))?,
        unlabelled: TensorId(question.unlabelled),
        labelled: TensorId(question.labelled),
        extra: question.extra.clone().into(),
    };
    line.level.store(question.log_level, Ordering::Relaxed);
    let selection = instance.select(&request, line.as_host()).into_result();
    line.tensors().clear();
    let abi::Selection { ids, scores, report } = selection?;
    let ids = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let scores = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
    Ok(ToHost::Selected { ids, scores, report: report.into_vec() })
}

fn unexpected(wanted: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("expected {wanted}"))
}

/// The host, as the plugin sees it: every call becomes a message.
struct Line {
    channel: Mutex<(Channel, u64)>,
    tensors: Mutex<VecDeque<(TensorId, File)>>,
    level: AtomicU8,
    cancelled: AtomicBool,
}

impl Line {
    fn new(socket: UnixStream) -> Line {
        Line {
            channel: Mutex::new((Channel::new(socket), 0)),
            tensors: Mutex::default(),
            level: AtomicU8::new(0),
            cancelled: AtomicBool::new(false),
        }
    }

    fn as_host(&self) -> HostRef<'_> {
        HostRef::from_ptr(RRef::new(self), TD_Opaque)
    }

    /// One thread speaks at a time; whoever asks holds the line until the answer is there.
    fn channel(&self) -> MutexGuard<'_, (Channel, u64)> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tensors(&self) -> MutexGuard<'_, VecDeque<(TensorId, File)>> {
        self.tensors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> io::Result<(ToWorker, Option<OwnedFd>)> {
        Ok(self.channel().0.receive(&Allowance::default(), &mut patience)?)
    }

    fn say(&self, message: &ToHost) -> io::Result<()> {
        self.channel().0.send(message, None, &mut patience)
    }

    /// Ask, and wait for the answer. A line that is broken is a failure of the host's.
    fn ask(&self, ask: Ask) -> Result<(Answer, Option<OwnedFd>), abi::Fault> {
        let mut held = self.channel();
        let (channel, last) = &mut *held;
        *last += 1;
        let broken = |error: io::Error| Error::new(Code::HOST, format!("the host does not answer: {error}"));
        channel.send(&ToHost::Call { id: *last, ask }, None, &mut patience).map_err(broken)?;
        loop {
            let received = channel.receive(&Allowance::default(), &mut patience).map_err(io::Error::from);
            match received.map_err(broken)? {
                (ToWorker::Reply { id, answer: Answer::Fault(fault) }, _) if id == *last => return Err(fault.into()),
                (ToWorker::Reply { id, answer }, fd) if id == *last => return Ok((answer, fd)),
                (ToWorker::Cancel {}, _) => self.cancelled.store(true, Ordering::Relaxed),
                _ => return Err(broken(unexpected("a reply")).into()),
            }
        }
    }

    /// The bytes of a tensor, as a file.
    fn read(&self, tensor: TensorId, offset: u64, into: &mut [u8]) -> Result<u64, abi::Fault> {
        let mut tensors = self.tensors();
        if !tensors.iter().any(|(known, _)| *known == tensor) {
            let (_, fd) = self.ask(Ask::TensorRead { tensor: tensor.0 })?;
            let fd = fd.ok_or_else(|| surprising("a tensor without bytes"))?;
            // A closed file costs nobody memory: one that is read through is closed below.
            tensors.push_back((tensor, File::from(fd)));
            if tensors.len() > OPEN_TENSORS {
                tensors.pop_front();
            }
        }
        let file = tensors.iter().find(|(known, _)| *known == tensor).map(|(_, file)| file);
        let file = file.ok_or_else(|| surprising("no tensor"))?;
        let mut count = 0;
        while count < into.len() {
            match file.read_at(&mut into[count..], offset + count as u64) {
                Ok(0) => break,
                Ok(read) => count += read,
                Err(error) => return Err(Error::new(Code::HOST, error.to_string()).into()),
            }
        }
        let end = offset + count as u64;
        if file.metadata().is_ok_and(|metadata| metadata.len() <= end) {
            tensors.retain(|(known, _)| *known != tensor);
        }
        Ok(count as u64)
    }
}

fn patience() -> io::Result<()> {
    Ok(())
}

fn surprising(what: &str) -> abi::Fault {
    Error::new(Code::HOST, format!("the host answered with {what}")).into()
}

impl abi::Host for Line {
    fn supports(&self, op: RStr<'_>) -> bool {
        matches!(self.ask(Ask::Supports { op: op.to_string() }), Ok((Answer::Supported { yes: true }, _)))
    }

    fn invoke(
        &self,
        op: RStr<'_>,
        args: RSlice<'_, u8>,
        inputs: RSlice<'_, TensorId>,
        outputs: &mut RVec<TensorId>,
    ) -> RResult<RVec<u8>, abi::Fault> {
        let inputs = inputs.iter().map(|tensor| tensor.0).collect();
        RResult::from(match self.ask(Ask::Invoke { op: op.to_string(), args: args.to_vec(), inputs }) {
            Ok((Answer::Invoked { answer, outputs: tensors }, _)) => {
                outputs.extend(tensors.into_iter().map(TensorId));
                Ok(answer.into())
            }
            Ok(_) => Err(surprising("something else")),
            Err(fault) => Err(fault),
        })
    }

    fn tensor_info(&self, tensor: TensorId) -> RResult<TensorInfo, abi::Fault> {
        RResult::from(match self.ask(Ask::TensorInfo { tensor: tensor.0 }) {
            Ok((Answer::Tensor { dtype, shape }, _)) => Ok(TensorInfo { dtype: DType(dtype), shape: shape.into() }),
            Ok(_) => Err(surprising("something else")),
            Err(fault) => Err(fault),
        })
    }

    fn tensor_read(&self, tensor: TensorId, byte_offset: u64, mut into: RSliceMut<'_, u8>) -> RResult<u64, abi::Fault> {
        RResult::from(self.read(tensor, byte_offset, into.as_mut_slice()))
    }

    fn tensor_put(&self, dtype: DType, shape: RSlice<'_, u64>, bytes: RSlice<'_, u8>) -> RResult<TensorId, abi::Fault> {
        let ask = Ask::TensorPut { dtype: dtype.0, shape: shape.to_vec(), bytes: bytes.to_vec() };
        RResult::from(match self.ask(ask) {
            Ok((Answer::Kept { tensor }, _)) => Ok(TensorId(tensor)),
            Ok(_) => Err(surprising("something else")),
            Err(fault) => Err(fault),
        })
    }

    fn tensor_release(&self, tensor: TensorId) {
        self.tensors().retain(|(known, _)| *known != tensor);
        // A line that is broken shows at the next question.
        _ = self.say(&ToHost::Release { tensor: tensor.0 });
    }

    fn log_enabled(&self, level: u8, _: RStr<'_>) -> bool {
        level <= self.level.load(Ordering::Relaxed)
    }

    fn log(&self, level: u8, target: RStr<'_>, message: RStr<'_>, fields: RSlice<'_, u8>) {
        let target = shortened(target.to_string(), limits::STAGE.length());
        let message = shortened(message.to_string(), limits::LOG_LINE.length());
        // Fields that are too long for a line are left out: the sentence is enough.
        let fields = if fields.len() > limits::LOG_LINE.length() { vec![] } else { fields.to_vec() };
        _ = self.say(&ToHost::Log { level, target, message, fields });
    }

    fn progress(&self, stage: RStr<'_>, done: u64, total: u64) {
        let stage = shortened(stage.to_string(), limits::STAGE.length());
        _ = self.say(&ToHost::Progress { stage, done, total });
    }

    fn cancelled(&self) -> bool {
        // Between questions the host says nothing else than that.
        if let Ok(held) = self.channel.try_lock()
            && held.0.is_readable()
            && let Ok((ToWorker::Cancel {}, _)) = held.0.receive(&Allowance::default(), &mut patience)
        {
            self.cancelled.store(true, Ordering::Relaxed);
        }
        self.cancelled.load(Ordering::Relaxed)
    }

    fn rng_fill(&self, stream: RStr<'_>, mut into: RSliceMut<'_, u8>) {
        let ask = Ask::Random { stream: stream.to_string(), count: into.len() as u64 };
        if let Ok((Answer::Random { bytes }, _)) = self.ask(ask)
            && bytes.len() == into.len()
        {
            into.as_mut_slice().copy_from_slice(&bytes);
        }
    }
}

impl From<Fault> for abi::Fault {
    fn from(fault: Fault) -> abi::Fault {
        abi::Fault { code: fault.code, message: fault.message.into(), detail: fault.detail.into() }
    }
}

impl From<abi::Fault> for Fault {
    fn from(fault: abi::Fault) -> Fault {
        // A longer one would not be heard out.
        let most = limits::FRAME_FAULT.length() / 4;
        let message = shortened(fault.message.into_string(), most);
        let detail = if fault.detail.len() > most { vec![] } else { fault.detail.into_vec() };
        Fault { code: fault.code, message, detail }
    }
}
