//! The host's side of a worker: start it, ask it, serve it while it works, end it.

use super::frames::{Allowance, Channel, Fault, PROTOCOL, Question, ToHost, ToWorker, Trouble};
use super::line::Line;
use super::script::{self, Serving};
use super::serve::serve;
use super::watch::Watch;
use super::{Limits, WORKER};
use crate::limits::{self, Excess, shortened};
use crate::plugin::error::{PluginCode, PluginError};
use crate::plugin::instance::Answer;
use crate::plugin::load::Verified;
use crate::programs;
use crate::wait;
use coldstart_plugin_api::abi::{self, HostRef};
use coldstart_plugin_api::{API_VERSION, Selection};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

/// What to do where a worker cannot be shut in.
const WEAK: &str = "Linux 6.12 or newer has all of it; `plugins.sandbox = \"best-effort\"`, without `--sandbox required`, accepts less";

/// A plugin in a process of its own.
pub struct Worker {
    name: String,
    line: Line,
    timeout: Duration,
    memory: u64,
    /// Looks at what it takes, from its first word on.
    watch: Option<Watch>,
    /// How well it is shut in.
    pub confinement: String,
}

/// Why a conversation ended early.
enum Broken {
    /// The line broke or carried nonsense.
    Line(Trouble),
    /// The plugin took longer than allowed; what the host worked for it counts from some time on.
    Timeout { host: Duration },
    /// The plugin took more than allowed.
    Excess(Excess),
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
        let program = match plugin.is_script() {
            true => script::command(&Serving::strategy(&name, &plugin.file), limits)?,
            false => command(limits),
        };
        let line = Line::start(program).map_err(failed)?;
        let (timeout, memory, watch, confinement) = (limits::START, limits.memory, None, String::new());
        let mut worker = Worker { name, line, timeout, memory, watch, confinement };
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
        let watched = Watch::over(self.line.id(), limits.memory);
        self.watch = Some(watched.map_err(|error| self.broken(Broken::Line(error.into())))?);
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
        let budget = if let ToWorker::Select(question) = message { question.budget } else { 0 };
        let allowance = Allowance::of(budget, self.memory);
        let watched = {
            let mut talk = Talk {
                channel: &self.line.channel,
                watch: self.watch.as_ref(),
                host,
                allowance,
                clock: Clock::start(self.timeout),
            };
            let answer = talk.until_answered(message, fd);
            answer.and_then(|answer| talk.look().map(|()| answer))
        };
        watched.map_err(|broken| self.broken(broken))
    }

    /// The worker is of no use any more: end it, and say why.
    fn broken(&mut self, broken: Broken) -> PluginError {
        // Whoever watches may have ended it, so that the line broke.
        let broken = self.watch.as_ref().and_then(Watch::excess).map_or(broken, Broken::Excess);
        let (code, message) = match broken {
            Broken::Excess(excess) | Broken::Line(Trouble::Excess(excess)) => (PluginCode::Limit, excess.to_string()),
            Broken::Timeout { host } => (PluginCode::Timeout, self.too_long(host)),
            Broken::Cancelled => (PluginCode::Timeout, "did not stop when the run was cancelled".to_owned()),
            Broken::Line(Trouble::Nonsense(what)) => (PluginCode::WorkerDied, format!("its worker sent {what}")),
            Broken::Line(Trouble::Line(error)) => {
                let ended = self.ended(&error);
                (PluginCode::WorkerDied, format!("{ended}{}", self.line.last_words()))
            }
        };
        self.kill();
        PluginError::new(code, &self.name, message)
    }

    fn too_long(&self, host: Duration) -> String {
        let (allowed, free) = (self.timeout.as_secs_f64(), limits::HOST_TIME.most);
        match host > free_of(self.timeout) {
            true => format!(
                "had the program work {:.0} s for one call: what is more than {free} times {allowed} s counts as its own time",
                host.as_secs_f64()
            ),
            false => format!("did not answer within {allowed} s of its own time"),
        }
    }

    /// How the process ended, in words.
    fn ended(&mut self, error: &io::Error) -> String {
        self.stop_watching();
        self.line.how_it_ended(error)
    }

    fn stop_watching(&self) {
        self.watch.iter().for_each(Watch::stop);
    }

    fn astray(&mut self, message: &ToHost) -> PluginError {
        self.kill();
        let start = shortened(format!("{message:?}"), 60);
        PluginError::new(PluginCode::WorkerDied, &self.name, format!("its worker answered out of turn: {start}"))
    }

    /// The process and whatever it may have started, in its group.
    fn kill(&mut self) {
        self.stop_watching();
        self.line.kill();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop_watching();
        self.line.end(&ToWorker::Goodbye {});
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

/// The most verbose level that the host listens to.
fn log_level(host: &HostRef<'_>) -> u8 {
    (1..=5).rev().find(|level| host.log_enabled(*level, "plugin".into())).unwrap_or(0)
}

/// What the host may work for a call before it counts as the plugin's own time.
fn free_of(allowed: Duration) -> Duration {
    allowed.saturating_mul(limits::HOST_TIME.most as u32)
}

/// The time of a call: the plugin's own, and what the host works for it.
struct Clock {
    own: Duration,
    host: Duration,
    since: Instant,
    allowed: Duration,
    cancelled: Option<Instant>,
}

impl Clock {
    fn start(allowed: Duration) -> Clock {
        Clock { own: Duration::ZERO, host: Duration::ZERO, since: Instant::now(), allowed, cancelled: None }
    }

    /// Work for the plugin.
    fn host_works<T>(&mut self, body: impl FnOnce() -> T) -> T {
        self.own += self.since.elapsed();
        let start = Instant::now();
        let value = body();
        self.since = Instant::now();
        self.host += self.since - start;
        value
    }

    fn is_over(&self) -> bool {
        let beyond = self.host.saturating_sub(free_of(self.allowed));
        self.own + self.since.elapsed() + beyond > self.allowed
    }
}

/// One question to a worker, and everything until its answer.
struct Talk<'t, 'h> {
    channel: &'t Channel,
    watch: Option<&'t Watch>,
    host: Option<&'t HostRef<'h>>,
    allowance: Allowance,
    clock: Clock,
}

impl Talk<'_, '_> {
    /// Say something, then serve the worker until it answers.
    fn until_answered(&mut self, message: &ToWorker, fd: Option<&OwnedFd>) -> Result<ToHost, Broken> {
        self.say(message, fd)?;
        loop {
            let message = self.hear()?;
            let Some(host) = self.host else { return Ok(message) };
            match message {
                ToHost::Call { id, ask } => {
                    let (answer, fd) = self.clock.host_works(|| serve(host, ask));
                    if let (Some(watch), Some(fd)) = (self.watch, &fd) {
                        watch.hand(fd).map_err(Broken::Excess)?;
                    }
                    self.say(&ToWorker::Reply { id, answer }, fd.as_ref())?;
                    self.watch.iter().for_each(|watch| watch.sent());
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

    /// Whether the worker takes more than it may, now that it has answered.
    fn look(&self) -> Result<(), Broken> {
        self.watch.map_or(Ok(()), Watch::look).map_err(Broken::Excess)
    }

    fn say(&mut self, message: &ToWorker, fd: Option<&OwnedFd>) -> Result<(), Broken> {
        self.step(|channel, _, glance| Ok(channel.send(message, fd.map(AsFd::as_fd), glance)?))
    }

    fn hear(&mut self) -> Result<ToHost, Broken> {
        self.step(|channel, allowance, glance| channel.receive(allowance, glance).map(|(message, _)| message))
    }

    /// One step of the conversation, given up when the plugin's time is over, or when it goes on long after the user has
    /// cancelled.
    fn step<T>(
        &mut self,
        step: impl FnOnce(&Channel, &Allowance, &mut dyn FnMut() -> io::Result<()>) -> Result<T, Trouble>,
    ) -> Result<T, Broken> {
        let Talk { channel, host, allowance, clock, .. } = self;
        let mut given_up = None;
        let mut glance = || {
            given_up = why_give_up(channel, *host, clock);
            if given_up.is_some() { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
        };
        let done = step(channel, allowance, &mut glance);
        match given_up {
            Some(broken) => Err(broken),
            None => done.map_err(Broken::Line),
        }
    }
}

/// Looked at whenever the worker keeps the host waiting, for whatever reason; tells the worker when the user has cancelled.
fn why_give_up(channel: &Channel, host: Option<&HostRef<'_>>, clock: &mut Clock) -> Option<Broken> {
    if clock.is_over() {
        return Some(Broken::Timeout { host: clock.host });
    }
    if !wait::interrupted() && !host.is_some_and(|host| host.cancelled()) {
        return None;
    }
    match clock.cancelled {
        Some(since) if since.elapsed() > limits::GRACE => Some(Broken::Cancelled),
        Some(_) => None,
        None => {
            clock.cancelled = Some(Instant::now());
            // It goes out between two frames: a worker that does not read will not stop either, and the grace covers both.
            channel.send_soon(&ToWorker::Cancel {}).err().map(|error| Broken::Line(error.into()))
        }
    }
}
