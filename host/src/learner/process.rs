//! The process of a learner: started, told of the data, asked, and ended.

use super::error::{LearnerCode, LearnerError};
use super::frames::{Fault, FromLearner, PartFrame, Setting, ToLearner, packed};
use super::log::{Log, log_level};
use super::script::Script;
use crate::foreign;
use crate::limits::{self, shortened};
use crate::plugin::PluginError;
use crate::plugin::isolate::{
    Allowance, Channel, Limits, Line, PROTOCOL, Trouble, Watch, open_command, shut_in_command,
};
use crate::wait;
use coldstart_plugin_api::{API_VERSION, Code};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How a learner is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// Threads for its own maths.
    pub threads: usize,
    /// How long one call of it may take.
    pub timeout: Duration,
    /// What it may take where it is shut in; none where it runs with the user's rights.
    pub sandbox: Option<Limits>,
}

/// Who listens while a learner works.
pub trait Ear {
    /// Whether the work goes on.
    fn goes_on(&self) -> bool;

    /// A long step has come this far.
    fn progress(&self, stage: &str, done: u64, total: u64);
}

/// A part of the data set.
pub struct Part<'a> {
    /// `pool`, `test` or `validation`.
    pub name: &'static str,
    /// The ids by which the learner knows the images: ascending, and no other part has one of them.
    pub ids: Vec<u64>,
    /// Classes that the learner may know, one for each image.
    pub labels: Option<&'a [u32]>,
    /// Height, width and channels of an image; of an item of a set without images how many features it has.
    pub shape: Vec<usize>,
    /// The file of each image, or none at all.
    pub files: &'a [String],
    /// The folder that the files are in, if they lie in one.
    pub root: Option<PathBuf>,
    /// The pixels of the images (u8), or the features of the items (f32), one after the other, in memory that nobody can change.
    pub values: Arc<OwnedFd>,
}

/// A learner in its process.
pub struct Process {
    /// What messages call it.
    pub learner: String,
    /// The methods of its class, as far as they are known.
    pub methods: BTreeSet<String>,
    /// How well it is shut in: `none`, or a word of the sandbox.
    pub confinement: String,
    /// The interpreter's version, and those of well-known packages that the script has imported.
    pub versions: BTreeMap<String, String>,
    line: Line,
    timeout: Duration,
    watch: Option<Watch>,
    /// Where it stores itself, and where it is taken from.
    pub(super) scratch: TempDir,
    is_over: bool,
}

impl Process {
    /// Start the interpreter and have it run the script, which makes no instance yet.
    ///
    /// Errs with L003 where it cannot be started, and with L002 where the script holds no learner.
    pub fn start(script: &Script, start: &Start, ear: &dyn Ear) -> Result<Process, LearnerError> {
        let learner = script.name();
        let failed = |error: io::Error| {
            let message = format!("its process cannot be started: {error}");
            LearnerError::new(LearnerCode::Start, &learner, message)
        };
        let of_interpreter =
            |error: PluginError| LearnerError::new(LearnerCode::Start, &learner, error.message).with_hint(error.hint);
        let scratch = tempfile::Builder::new().prefix("coldstart-learner-").tempdir().map_err(failed)?;
        let serving = script.served_by(&script.manifest.name, start.threads, scratch.path());
        let command = match &start.sandbox {
            Some(limits) => shut_in_command(&serving, limits),
            None => open_command(&serving),
        };
        let line = Line::start(command.map_err(of_interpreter)?).map_err(failed)?;
        let mut process = Process {
            learner: learner.clone(),
            methods: BTreeSet::new(),
            confinement: String::new(),
            versions: BTreeMap::new(),
            line,
            timeout: limits::START,
            watch: None,
            scratch,
            is_over: false,
        };
        process.introduce(script, start, ear)?;
        Ok(process)
    }

    fn introduce(&mut self, script: &Script, start: &Start, ear: &dyn Ear) -> Result<(), LearnerError> {
        let hello = ToLearner::Hello { protocol: PROTOCOL, api: API_VERSION.to_owned() };
        match self.converse("hello", &hello, None, ear)? {
            FromLearner::Hello { protocol: PROTOCOL, .. } => {}
            other => return Err(self.astray(&other)),
        }
        if let Some(limits) = &start.sandbox {
            let watched = Watch::over(self.line.id(), limits.memory);
            self.watch = Some(watched.map_err(|error| self.over(Over::Line(Trouble::Line(error))))?);
        }
        self.timeout = start.timeout;
        let open = ToLearner::Open { modules: script.sources(), log_level: log_level() };
        match self.converse("the script", &open, Some(script.sealed().as_fd()), ear)? {
            FromLearner::Opened { methods, confinement, versions } => {
                self.methods = methods.into_iter().collect();
                (self.confinement, self.versions) = (confinement, versions);
                Ok(())
            }
            other => Err(self.astray(&other)),
        }
    }

    /// Tell it of the data, and have it make its instance.
    pub fn create(&mut self, parts: &[Part<'_>], setting: Setting, ear: &dyn Ear) -> Result<(), LearnerError> {
        for part in parts {
            let text = |root: &PathBuf| root.display().to_string();
            let frame = PartFrame {
                name: part.name.to_owned(),
                ids: packed(part.ids.iter().copied()),
                labels: packed(part.labels.unwrap_or_default().iter().map(|label| u64::from(*label))),
                shape: part.shape.iter().map(|side| *side as u64).collect(),
                files: part.files.to_vec(),
                root: part.root.as_ref().map(text).unwrap_or_default(),
            };
            match self.converse("the data", &ToLearner::Part(frame), Some(part.values.as_fd()), ear)? {
                FromLearner::Taken {} => {}
                other => return Err(self.astray(&other)),
            }
        }
        let setting = Setting { log_level: log_level(), ..setting };
        match self.converse("__init__", &ToLearner::Create(setting), None, ear)? {
            FromLearner::Created {} => Ok(()),
            other => Err(self.astray(&other)),
        }
    }

    /// Whether its class has such a method.
    pub fn has(&self, method: &str) -> bool {
        self.methods.contains(method)
    }

    /// Say something, listen until it is answered, and make an error of a fault; `doing` is what it is to do, for messages.
    pub(super) fn converse(
        &mut self,
        doing: &str,
        message: &ToLearner,
        fd: Option<BorrowedFd<'_>>,
        ear: &dyn Ear,
    ) -> Result<FromLearner, LearnerError> {
        if self.is_over {
            let message = "its process was ended before".to_owned();
            return Err(LearnerError::new(LearnerCode::Died, &self.learner, message));
        }
        let timeout = self.timeout;
        let mut talk = Talk::over(&mut self.line, ear, timeout);
        let said = talk.say(message, fd);
        let heard = said.and_then(|()| talk.hear(&self.learner));
        match heard {
            Ok(FromLearner::Fault(fault)) => Err(self.failed(doing, &fault)),
            Ok(answer) => Ok(answer),
            Err(over) => Err(self.over_while(doing, over)),
        }
    }

    /// The next message of an answer that has begun.
    pub(super) fn next(&mut self, doing: &str, ear: &dyn Ear) -> Result<FromLearner, LearnerError> {
        let timeout = self.timeout;
        match Talk::over(&mut self.line, ear, timeout).hear(&self.learner) {
            Ok(FromLearner::Fault(fault)) => Err(self.failed(doing, &fault)),
            Ok(message) => Ok(message),
            Err(over) => Err(self.over_while(doing, over)),
        }
    }

    /// What the script's own failure is called.
    fn failed(&self, doing: &str, fault: &Fault) -> LearnerError {
        let details = fault.details();
        let detail = |name: &str| details.get(name).map(|text| foreign::line(text).into_owned()).unwrap_or_default();
        if let Some(trace) = details.get("backtrace") {
            tracing::debug!("`{}`: {}", self.learner, shortened(trace.clone(), limits::FRAME_PLAIN.length()));
        }
        // Its end is the place: a sentence that is too long is cut before that.
        let sentence = shortened(fault.message.clone(), limits::MESSAGE.length() / 2);
        let place = match detail("place") {
            place if place.is_empty() => place,
            place => format!(", at {}", shortened(place, limits::MESSAGE.length() / 4)),
        };
        let (code, message) = match (fault.code, detail("kind").as_str()) {
            (code, _) if code == Code::CANCELLED.0 => (LearnerCode::Cancelled, "it has stopped".to_owned()),
            (_, "script") => (LearnerCode::Script, format!("{sentence}{place}")),
            (_, "shape") => (LearnerCode::Shape, format!("`{doing}`: {sentence}{place}")),
            _ => (LearnerCode::Raised, format!("`{doing}`: {sentence}{place}")),
        };
        let error = LearnerError::new(code, &self.learner, message);
        match details.get("hint") {
            Some(hint) => error.with_hint(hint.clone()),
            None => error,
        }
    }

    fn over_while(&mut self, doing: &str, over: Over) -> LearnerError {
        match over {
            Over::Timeout => {
                self.end();
                let message = format!("`{doing}` did not end within {} s", self.timeout.as_secs_f64());
                LearnerError::new(LearnerCode::Timeout, &self.learner, message)
            }
            Over::Cancelled => {
                self.end();
                LearnerError::new(LearnerCode::Cancelled, &self.learner, format!("`{doing}` did not stop by itself"))
            }
            Over::Line(trouble) => {
                let error = self.over(Over::Line(trouble));
                LearnerError { message: format!("in `{doing}`: {}", error.message), ..error }
            }
        }
    }

    /// The process is of no use any more: end it, and say why.
    fn over(&mut self, over: Over) -> LearnerError {
        // Whoever watches may have ended it, so that the line broke.
        let excess = self.watch.as_ref().and_then(Watch::excess);
        let message = match (excess, over) {
            (Some(excess), _) | (None, Over::Line(Trouble::Excess(excess))) => excess.to_string(),
            (None, Over::Line(Trouble::Nonsense(what))) => format!("its process sent {what}"),
            (None, Over::Line(Trouble::Line(error))) => {
                self.watch.iter().for_each(Watch::stop);
                format!("{}{}", self.line.how_it_ended(&error), self.line.last_words())
            }
            (None, Over::Timeout | Over::Cancelled) => "it did not end".to_owned(),
        };
        self.end();
        LearnerError::new(LearnerCode::Died, &self.learner, message)
    }

    /// It spoke out of turn: end it.
    pub(super) fn astray(&mut self, message: &FromLearner) -> LearnerError {
        self.end();
        let start = shortened(format!("{message:?}"), 60);
        LearnerError::new(LearnerCode::Died, &self.learner, format!("its process answered out of turn: {start}"))
    }

    fn end(&mut self) {
        self.watch.iter().for_each(Watch::stop);
        self.is_over = true;
        self.line.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.watch.iter().for_each(Watch::stop);
        if !self.is_over {
            self.line.end(&ToLearner::Goodbye {});
        }
    }
}

/// Why a conversation ended early.
enum Over {
    /// The line broke or carried nonsense.
    Line(Trouble),
    /// It took longer than allowed.
    Timeout,
    /// The user has stopped the program, and the script has not.
    Cancelled,
}

/// One question, and all until its answer.
struct Talk<'a> {
    channel: &'a Channel,
    child: &'a mut Child,
    ear: &'a dyn Ear,
    start: Instant,
    timeout: Duration,
    cancelled: Option<Instant>,
    log: Log,
}

impl<'a> Talk<'a> {
    fn over(line: &'a mut Line, ear: &'a dyn Ear, timeout: Duration) -> Talk<'a> {
        let (channel, child) = line.split();
        Talk { channel, child, ear, start: Instant::now(), timeout, cancelled: None, log: Log::default() }
    }

    fn say(&mut self, message: &ToLearner, fd: Option<BorrowedFd<'_>>) -> Result<(), Over> {
        self.step(|channel, glance| Ok(channel.send(message, fd, glance)?))
    }

    /// The next message that is neither progress nor a line for the log.
    fn hear(&mut self, learner: &str) -> Result<FromLearner, Over> {
        let allowance = Allowance::default();
        loop {
            let message =
                self.step(|channel, glance| channel.receive(&allowance, glance).map(|(message, _)| message))?;
            match message {
                FromLearner::Progress { stage, done, total } => self.progress(&stage, done, total),
                FromLearner::Log { level, target, message, .. } => self.log.write(learner, level, &target, &message),
                answer => return Ok(answer),
            }
        }
    }

    fn progress(&self, stage: &str, done: u64, total: u64) {
        let end = (0..=stage.len().min(limits::STAGE.length())).rev().find(|at| stage.is_char_boundary(*at));
        self.ear.progress(&stage[..end.unwrap_or(0)], done, total);
    }

    /// One step of the conversation, given up when the time is over, when the process has ended, or when it goes on long after
    /// the user has stopped the program.
    fn step<T>(
        &mut self,
        step: impl FnOnce(&Channel, &mut dyn FnMut() -> io::Result<()>) -> Result<T, Trouble>,
    ) -> Result<T, Over> {
        let Talk { channel, child, ear, start, timeout, cancelled, .. } = self;
        let mut given_up = None;
        let mut glance = || {
            // Others may hold its end of the line, such as processes that it has started: then the line does not break.
            if matches!(child.try_wait(), Ok(Some(_))) {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            given_up = why_give_up(channel, *ear, (*start, *timeout), cancelled);
            if given_up.is_some() { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
        };
        let done = step(channel, &mut glance);
        match given_up {
            Some(over) => Err(over),
            None => done.map_err(Over::Line),
        }
    }
}

/// Looked at whenever the process keeps the program waiting; tells it when the user has stopped the program.
fn why_give_up(
    channel: &Channel,
    ear: &dyn Ear,
    (start, timeout): (Instant, Duration),
    cancelled: &mut Option<Instant>,
) -> Option<Over> {
    if start.elapsed() > timeout {
        return Some(Over::Timeout);
    }
    if !wait::interrupted() && ear.goes_on() {
        return None;
    }
    match *cancelled {
        Some(since) if since.elapsed() > limits::GRACE => Some(Over::Cancelled),
        Some(_) => None,
        None => {
            *cancelled = Some(Instant::now());
            channel.send_soon(&ToLearner::Cancel {}).err().map(|error| Over::Line(error.into()))
        }
    }
}
