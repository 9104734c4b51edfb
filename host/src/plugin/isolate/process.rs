//! The host's side of a worker: start it, ask it, serve it while it works, end it.

use super::frames::{Channel, Fault, PROTOCOL, Question, ToHost, ToWorker};
use super::script;
use super::serve::serve;
use super::{Limits, WORKER};
use crate::plugin::error::{PluginCode, PluginError};
use crate::plugin::instance::Answer;
use crate::plugin::load::Verified;
use crate::programs;
use coldstart_plugin_api::abi::{self, HostRef};
use coldstart_plugin_api::{API_VERSION, Selection};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a worker may take to come up; loading this program takes a while on a busy machine.
const START: Duration = Duration::from_secs(60);

/// How long a call may go on after the user has cancelled.
const GRACE: Duration = Duration::from_secs(5);

/// What to do where a worker cannot be shut in.
const WEAK: &str = "Linux 6.12 or newer has all of it; `plugins.sandbox = \"best-effort\"`, without `--sandbox required`, accepts less";

/// What a worker printed last is kept for the message about its death.
const LAST_LINES: usize = 5;
const LONGEST_LINE: u64 = 500;

/// A plugin in a process of its own.
pub struct Worker {
    name: String,
    child: Child,
    channel: Channel,
    timeout: Duration,
    printed: Arc<Mutex<VecDeque<String>>>,
    /// How well it is shut in.
    pub confinement: String,
}

/// Why a conversation ended early.
enum Broken {
    /// The line broke or carried nonsense.
    Line(io::Error),
    /// The plugin took longer than allowed.
    Timeout,
    /// The user has cancelled, and the plugin did not stop.
    Cancelled,
}

impl Worker {
    /// Start a worker and have it load the plugin; errs as loading it here would.
    pub fn start(plugin: &Verified, limits: &Limits) -> Result<Worker, PluginError> {
        let name = plugin.manifest.name.clone();
        let failed = |error: io::Error| {
            let message = format!("its worker process cannot be started: {error}");
            PluginError::new(PluginCode::WorkerDied, &name, message)
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let program = match plugin.is_script() {
            true => script::command(&name, &plugin.file, limits)?,
            false => command(limits),
        };
        let mut child = on_line(program, theirs.into()).spawn().map_err(failed)?;
        let printed = listen(child.stderr.take());
        let (channel, timeout) = (Channel::new(ours), START);
        let mut worker = Worker { name, child, channel, timeout, printed, confinement: String::new() };
        worker.introduce(plugin, limits)?;
        worker.timeout = limits.timeout;
        Ok(worker)
    }

    fn introduce(&mut self, plugin: &Verified, limits: &Limits) -> Result<(), PluginError> {
        let hello = ToWorker::Hello { protocol: PROTOCOL, api: API_VERSION.to_owned() };
        match self.ask(&hello, None, None)? {
            ToHost::Hello { protocol: PROTOCOL, .. } => {}
            other => return Err(self.astray(&other)),
        }
        let open = ToWorker::Open {
            descriptor: plugin.text().to_owned(),
            memory: limits.memory,
            strict: limits.strict,
            modules: plugin.modules().to_vec(),
        };
        match self.ask(&open, Some(plugin.sealed()), None)? {
            ToHost::Opened { descriptor, confinement } if descriptor == plugin.text() => {
                self.confinement = confinement;
                Ok(())
            }
            ToHost::Opened { .. } => {
                let message = "says something else than its manifest";
                Err(PluginError::new(PluginCode::Descriptor, &self.name, message))
            }
            ToHost::Refused { code, message } => {
                let code = PluginCode::of(&code).unwrap_or(PluginCode::WorkerDied);
                let refused = PluginError::new(code, &self.name, message);
                Err(match code {
                    PluginCode::WorkerDied => refused.with_hint(WEAK),
                    PluginCode::Library if plugin.is_script() => refused.with_hint("mend the script at that line"),
                    _ => refused,
                })
            }
            other => Err(self.astray(&other)),
        }
    }

    /// Make the instance.
    pub fn create(&mut self, params_json: &str, host: &HostRef<'_>) -> Result<Result<(), Fault>, PluginError> {
        let create =
            ToWorker::Create { name: self.name.clone(), params: params_json.to_owned(), log_level: log_level(host) };
        match self.ask(&create, None, Some(host))? {
            ToHost::Created {} => Ok(Ok(())),
            ToHost::Fault(fault) => Ok(Err(fault)),
            other => Err(self.astray(&other)),
        }
    }

    /// Put a request.
    pub fn ask_strategy(
        &mut self,
        request: &abi::Request,
        host: &HostRef<'_>,
    ) -> Result<Result<Answer, Fault>, PluginError> {
        let question = ToWorker::Select(Question {
            round: request.round,
            budget: request.budget,
            seed: request.seed.to_vec(),
            unlabelled: request.unlabelled.0,
            labelled: request.labelled.0,
            extra: request.extra.to_vec(),
            log_level: log_level(host),
        });
        match self.ask(&question, None, Some(host))? {
            ToHost::Selected { ids, scores, report } => {
                let ids = ids.as_chunks().0.iter().map(|id| u64::from_le_bytes(*id)).collect();
                let scores = scores.as_chunks().0.iter().map(|score| f32::from_le_bytes(*score)).collect();
                Ok(Ok(Answer { selection: Selection { ids, scores }, report }))
            }
            ToHost::Fault(fault) => Ok(Err(fault)),
            other => Err(self.astray(&other)),
        }
    }

    /// The state to store.
    pub fn save(&mut self) -> Result<Result<Vec<u8>, Fault>, PluginError> {
        match self.ask(&ToWorker::Save {}, None, None)? {
            ToHost::Saved { state } => Ok(Ok(state)),
            ToHost::Fault(fault) => Ok(Err(fault)),
            other => Err(self.astray(&other)),
        }
    }

    /// Take up a stored state.
    pub fn load(&mut self, state: &[u8]) -> Result<Result<(), Fault>, PluginError> {
        match self.ask(&ToWorker::Load { state: state.to_vec() }, None, None)? {
            ToHost::Loaded {} => Ok(Ok(())),
            ToHost::Fault(fault) => Ok(Err(fault)),
            other => Err(self.astray(&other)),
        }
    }

    /// Say something and serve the worker until it answers.
    fn ask(
        &mut self,
        message: &ToWorker,
        fd: Option<&OwnedFd>,
        host: Option<&HostRef<'_>>,
    ) -> Result<ToHost, PluginError> {
        let mut clock = Clock::start(self.timeout);
        converse(&self.channel, message, fd, host, &mut clock).map_err(|broken| self.broken(broken))
    }

    /// The worker is of no use any more: end it, and say why.
    fn broken(&mut self, broken: Broken) -> PluginError {
        let died = |message: String| PluginError::new(PluginCode::WorkerDied, &self.name, message);
        match broken {
            Broken::Timeout => {
                self.kill();
                let message = format!("did not answer within {} s of its own time", self.timeout.as_secs_f64());
                PluginError::new(PluginCode::Timeout, &self.name, message)
            }
            Broken::Cancelled => {
                self.kill();
                PluginError::new(PluginCode::Timeout, &self.name, "did not stop when the run was cancelled")
            }
            Broken::Line(error) if error.kind() == ErrorKind::InvalidData => {
                let error = died(format!("its worker sent {error}"));
                self.kill();
                error
            }
            Broken::Line(error) => {
                let ended = self.ended(error);
                PluginError::new(PluginCode::WorkerDied, &self.name, format!("{ended}{}", self.last_words()))
            }
        }
    }

    /// How the process ended, in words.
    fn ended(&mut self, error: io::Error) -> String {
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return how(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        format!("its worker process broke the line ({error})")
    }

    fn last_words(&self) -> String {
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        match printed.is_empty() {
            true => String::new(),
            false => format!("; it printed: {}", printed.iter().cloned().collect::<Vec<_>>().join(" | ")),
        }
    }

    fn astray(&mut self, message: &ToHost) -> PluginError {
        self.kill();
        let text = format!("{message:?}");
        let start: String = text.chars().take(60).collect();
        PluginError::new(PluginCode::WorkerDied, &self.name, format!("its worker answered out of turn: {start}"))
    }

    /// The process and whatever it may have started, in its group.
    fn kill(&mut self) {
        if let Some(group) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A few looks are enough for a line that is free; one that is blocked is not waited for.
        let mut looks = 0;
        let mut briefly = || {
            looks += 1;
            if looks > 3 { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
        };
        _ = self.channel.send(&ToWorker::Goodbye {}, None, &mut briefly);
        let deadline = Instant::now() + Duration::from_millis(500);
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.kill();
    }
}

/// This program again, with nothing of the user's environment but where its libraries are.
fn command(limits: &Limits) -> Command {
    let mut command = programs::worker();
    command.arg(WORKER);
    let threads = limits.threads.to_string();
    command.env("RAYON_NUM_THREADS", &threads).env("OMP_NUM_THREADS", &threads).env("CUDA_VISIBLE_DEVICES", "");
    command
}

/// The socket is its standard input; Ctrl-C at the terminal is not meant for it.
fn on_line(mut command: Command, socket: OwnedFd) -> Command {
    command.process_group(0);
    command.stdin(socket).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Keep the last lines that a worker prints; what it prints is nobody's data.
fn listen(output: Option<ChildStderr>) -> Arc<Mutex<VecDeque<String>>> {
    let printed = Arc::new(Mutex::new(VecDeque::new()));
    let (Some(output), heard) = (output, printed.clone()) else { return printed };
    std::thread::spawn(move || {
        let (mut output, mut line) = (BufReader::new(output), Vec::new());
        while output.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            // The worker's environment is not the user's to change: the advice would mislead.
            if !text.is_empty() && !text.contains("RUST_BACKTRACE") {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push_back(text);
                if heard.len() > LAST_LINES {
                    heard.pop_front();
                }
            }
            line.clear();
        }
    });
    printed
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("its worker process exited with code {code} in the middle of a call"),
        (None, Some(signal)) => format!("its worker process was ended by {}", name_of(signal)),
        (None, None) => "its worker process is gone".to_owned(),
    }
}

fn name_of(signal: i32) -> String {
    let names = [
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGSYS, "SIGSYS"),
        (libc::SIGTERM, "SIGTERM"),
    ];
    let name = names.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name);
    name.map_or_else(|| format!("signal {signal}"), |name| format!("signal {signal} ({name})"))
}

/// The most verbose level that the host listens to.
fn log_level(host: &HostRef<'_>) -> u8 {
    (1..=5).rev().find(|level| host.log_enabled(*level, "plugin".into())).unwrap_or(0)
}

/// The plugin's own time: what the host takes for an operation does not count.
struct Clock {
    spent: Duration,
    since: Instant,
    allowed: Duration,
    cancelled: Option<Instant>,
}

impl Clock {
    fn start(allowed: Duration) -> Clock {
        Clock { spent: Duration::ZERO, since: Instant::now(), allowed, cancelled: None }
    }

    /// Do something that is not the plugin's to answer for.
    fn pause<T>(&mut self, body: impl FnOnce() -> T) -> T {
        self.spent += self.since.elapsed();
        let value = body();
        self.since = Instant::now();
        value
    }

    fn is_over(&self) -> bool {
        self.spent + self.since.elapsed() > self.allowed
    }
}

/// Say something, then serve the worker until it answers.
fn converse(
    channel: &Channel,
    message: &ToWorker,
    fd: Option<&OwnedFd>,
    host: Option<&HostRef<'_>>,
    clock: &mut Clock,
) -> Result<ToHost, Broken> {
    exchange(clock, host, channel, |glance| channel.send(message, fd.map(AsFd::as_fd), glance))?;
    loop {
        let (message, _) = exchange(clock, host, channel, |glance| channel.receive::<ToHost>(glance))?;
        let Some(host) = host else { return Ok(message) };
        match message {
            ToHost::Call { id, ask } => {
                let (answer, fd) = clock.pause(|| serve(host, ask));
                let reply = ToWorker::Reply { id, answer };
                exchange(clock, Some(host), channel, |glance| {
                    channel.send(&reply, fd.as_ref().map(AsFd::as_fd), glance)
                })?;
            }
            ToHost::Log { level, target, message, fields } => {
                host.log(level, target.as_str().into(), message.as_str().into(), fields.as_slice().into());
            }
            ToHost::Progress { stage, done, total } => host.progress(stage.as_str().into(), done, total),
            ToHost::Release { tensor } => host.tensor_release(abi::TensorId(tensor)),
            answer => return Ok(answer),
        }
    }
}

/// One step of a conversation, given up when the plugin's time is over, or when it goes on long after the user has
/// cancelled.
fn exchange<T>(
    clock: &mut Clock,
    host: Option<&HostRef<'_>>,
    channel: &Channel,
    step: impl FnOnce(&mut dyn FnMut() -> io::Result<()>) -> io::Result<T>,
) -> Result<T, Broken> {
    let mut given_up = None;
    let mut glance = || {
        if clock.is_over() {
            given_up = Some(Broken::Timeout);
        } else if host.is_some_and(|host| host.cancelled()) {
            match clock.cancelled {
                None => {
                    clock.cancelled = Some(Instant::now());
                    // A worker that does not read will not stop either: the grace covers both.
                    _ = channel.send(&ToWorker::Cancel {}, None, &mut || Ok(()));
                }
                Some(since) if since.elapsed() > GRACE => given_up = Some(Broken::Cancelled),
                Some(_) => {}
            }
        }
        if given_up.is_some() { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
    };
    let done = step(&mut glance);
    match given_up {
        Some(broken) => Err(broken),
        None => done.map_err(Broken::Line),
    }
}
