//! Errors as the user sees them, and their exit codes.

use crate::config::ConfigError;
use crate::data::DataError;
use crate::engine::EngineError;
use crate::experiment::{Failure, RunError, chain};
use crate::foreign;
use crate::learner::LearnerError;
use crate::plugin::PluginError;
use crate::plugin::package::PackageError;
use crate::project::ProjectError;
use crate::report::ReportError;
use crate::session::SessionError;
use crate::workshop::WorkshopError;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const PLUGIN: u8 = 3;
const INTERRUPTED: u8 = 130;

/// What went wrong: a sentence, its causes, a hint.
pub struct Problem {
    exit: u8,
    report: miette::Report,
    /// What else went wrong.
    others: Vec<Problem>,
}

impl Problem {
    /// Print it on stderr.
    pub fn print(&self) {
        let _ = writeln!(std::io::stderr(), "{:?}", self.report);
        self.others.iter().for_each(Problem::print);
    }

    /// All of these, which are not none, with the exit code of the first.
    fn several(mut problems: Vec<Problem>) -> Problem {
        let others = problems.split_off(1);
        Problem { others, ..problems.remove(0) }
    }

    /// The same problem of something.
    fn about(self, what: String) -> Problem {
        Problem { report: self.report.wrap_err(foreign::line(&what).into_owned()), ..self }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit)
    }

    /// A mistake in what was typed.
    pub fn usage(message: impl Into<String>, hint: Option<String>) -> Problem {
        Problem::plain(USAGE, message.into(), hint)
    }

    /// A plugin that does not do what it must.
    pub fn plugin(message: impl Into<String>, hint: Option<String>) -> Problem {
        Problem::plain(PLUGIN, message.into(), hint)
    }

    /// The run was stopped on purpose; the hint is how to go on.
    pub fn interrupted(hint: String) -> Problem {
        Problem::plain(INTERRUPTED, "interrupted".to_owned(), Some(hint))
    }

    /// Any other failure.
    pub fn failed(error: &(dyn Error + 'static), hint: Option<String>) -> Problem {
        Problem::plain(FAILED, chain(error), hint)
    }

    /// What was asked for was done, and came out badly.
    pub fn outcome(message: impl Into<String>, hint: Option<String>) -> Problem {
        Problem::plain(FAILED, message.into(), hint)
    }

    fn plain(exit: u8, message: String, hint: Option<String>) -> Problem {
        let hint = of_limit(&message).map(str::to_owned).or(hint);
        let mut diagnostic = miette::MietteDiagnostic::new(foreign::message(&message));
        diagnostic.help = hint.map(|hint| foreign::message(&hint).into_owned());
        Problem { exit, report: diagnostic.into(), others: Vec::new() }
    }
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Problem {
        Problem { exit: USAGE, report: error.into(), others: Vec::new() }
    }
}

impl From<PluginError> for Problem {
    fn from(error: PluginError) -> Problem {
        Problem::plain(PLUGIN, error.to_string(), Some(error.hint))
    }
}

impl From<LearnerError> for Problem {
    fn from(error: LearnerError) -> Problem {
        Problem::plain(PLUGIN, error.to_string(), Some(error.hint))
    }
}

impl From<PackageError> for Problem {
    fn from(error: PackageError) -> Problem {
        match error {
            PackageError::Plugin(error) => error.into(),
            PackageError::File { .. } | PackageError::Download { .. } => Problem::failed(&error, None),
        }
    }
}

impl From<WorkshopError> for Problem {
    fn from(error: WorkshopError) -> Problem {
        let exit = match &error {
            WorkshopError::Usage(..) => USAGE,
            WorkshopError::Failed(..) => FAILED,
            WorkshopError::Plugin(_) => PLUGIN,
        };
        Problem::plain(exit, error.to_string(), Some(error.hint().to_owned()))
    }
}

impl From<DataError> for Problem {
    fn from(error: DataError) -> Problem {
        match error {
            DataError::Cancelled => Problem::interrupted("the same command again begins with reading".to_owned()),
            error => Problem::failed(&error, error.hint()),
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Problem {
        let exit = if matches!(error, EngineError::Device { .. }) { USAGE } else { FAILED };
        Problem::plain(exit, chain(&error), error.hint().map(str::to_owned))
    }
}

impl From<ProjectError> for Problem {
    fn from(error: ProjectError) -> Problem {
        if let ProjectError::Data(DataError::Cancelled) = error {
            return DataError::Cancelled.into();
        }
        let exit = if error.is_usage() { USAGE } else { FAILED };
        Problem::plain(exit, chain(&error), error.hint())
    }
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Problem {
        Problem::failed(&error, None)
    }
}

impl From<RunError> for Problem {
    fn from(error: RunError) -> Problem {
        // The failure that a step brought along decides: a plugin's is not the engine's.
        let (hint, exit) = match &error {
            RunError::Step { source, .. } => of_step(source),
            RunError::PoolTooSmall { .. } => {
                (Some("lower `query.rounds` (or `query.until`), `query.size` or `initial.size`".to_owned()), USAGE)
            }
            RunError::File { action: "create", .. } => {
                (Some("name a folder that you can write to, with `--out`".to_owned()), FAILED)
            }
            RunError::Directory { problem, .. } if problem.starts_with("is in use") => {
                (Some("wait until it has ended, or stop it".to_owned()), USAGE)
            }
            RunError::Directory { path, .. } => (Some(instead_of(path)), USAGE),
            RunError::Sources(source) => (source.downcast_ref().and_then(DataError::hint), FAILED),
            RunError::Changed { .. } => {
                let hint = "bring the file back as it was; what a round left may also be removed: the run then goes on from before it";
                (Some(hint.to_owned()), FAILED)
            }
            _ => (None, FAILED),
        };
        Problem::plain(exit, chain(&error), hint)
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Problem {
        match error {
            SessionError::Config(error) => error.into(),
            SessionError::Plugin(error) => error.into(),
            SessionError::Learner(error) => error.into(),
            SessionError::Data(error) => error.into(),
            // A run says how it goes on; what is not one begins anew, and finds what it had trained.
            SessionError::Engine(EngineError::Cancelled) | SessionError::Run(RunError::Cancelled) => {
                Problem::interrupted("the same command again goes on with what was trained so far".to_owned())
            }
            SessionError::Engine(error) => error.into(),
            SessionError::Run(error) => error.into(),
            SessionError::Key { .. } => Problem::usage(error.to_string(), None),
            SessionError::Several(errors) => Problem::several(errors.into_iter().map(Problem::from).collect()),
            SessionError::InRuns { runs, source } => Problem::from(*source).about(runs),
            SessionError::Slurm { problem, hint } => Problem::outcome(problem, Some(hint)),
            SessionError::Study { dir } => {
                let hint = format!("`coldstart sweep CONFIG --out {}` goes on with it", dir.display());
                Problem::usage(format!("`{}` is a study of several runs", dir.display()), Some(hint))
            }
            SessionError::OtherConfig { ref file } => {
                let hint = format!(
                    "bring it back as it was to go on, and for more rounds say `--rounds N`; a changed config makes a run of its own, \
                     `coldstart run {} --out NEW`",
                    file.display()
                );
                Problem::outcome(error.to_string(), Some(hint))
            }
            SessionError::OneClass { .. } => {
                let hint =
                    "choose more with a strategy that looks at images alone, and label until there are two classes";
                Problem::usage(error.to_string(), Some(hint.to_owned()))
            }
            SessionError::Operation(_) => Problem::failed(&error, None),
            SessionError::OtherData { .. } => {
                Problem::failed(&error, Some("bring back the data set as it was, or start a new run".to_owned()))
            }
        }
    }
}

/// The hint of the failure in a step, and the exit code.
fn of_step(source: &Failure) -> (Option<String>, u8) {
    if let Some(PluginError { hint, .. }) = source.downcast_ref() {
        return (Some(hint.clone()), PLUGIN);
    }
    if let Some(LearnerError { hint, .. }) = source.downcast_ref() {
        return (Some(hint.clone()), PLUGIN);
    }
    (source.downcast_ref().and_then(EngineError::hint).map(str::to_owned), FAILED)
}

/// What to do about a limit of the shell, or of the disk, that the system has told of.
fn of_limit(message: &str) -> Option<&'static str> {
    let told = |number: i32| message.contains(&format!("(os error {number})"));
    match () {
        () if told(libc::EFBIG) => {
            Some("the shell limits the size of files: `ulimit -f` shows it, `ulimit -f unlimited` lifts it")
        }
        () if told(libc::EMFILE) => {
            Some("the shell limits open files: `ulimit -n` shows it, `ulimit -n 1024` raises it")
        }
        () if told(libc::ENOMEM) => Some("there is too little memory, or the shell limits it: `ulimit -v` shows that"),
        () => None,
    }
}

/// What to do about a folder that cannot be a run's, by what is in it.
fn instead_of(folder: &Path) -> String {
    let (shown, has) = (folder.display(), |name: &str| folder.join(name).exists());
    if has("plan.csv") {
        return format!("`coldstart sweep CONFIG --out {shown}` goes on with it; name another folder with `--out`");
    }
    match has("config.toml") {
        true => format!("go on with: coldstart resume {shown}; or name another folder with `--out`"),
        false => "name another folder with `--out`".to_owned(),
    }
}

/// So that tests can look at the text.
impl std::fmt::Debug for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let help = self.report.help().map(|help| format!(" ({help})")).unwrap_or_default();
        write!(f, "exit {}: {}{help}", self.exit, self.report)
    }
}
