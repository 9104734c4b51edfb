//! Workers in Python: the interpreter is found outside of the sandbox, and started inside of it.
//!
//! What it is asked outside runs no line of the script's folder: it starts in `/`, and its modules come from its own folders
//! and then from the absolute ones of the user's `PYTHONPATH`. Inside it reads those folders, and neither the script's nor
//! any that holds it or the user's home.
//!
//! A learner of the user's own may be started outside of any sandbox, with the user's environment. Its modules come from
//! memory as those of a strategy do: its folder is no place to import from.

use super::sandbox::{self, Confinement};
use super::{Limits, SCRIPT_WORKER};
use crate::limits;
use crate::plugin::error::{PluginCode, PluginError};
use crate::programs;
use crate::wait;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The package that serves a script.
const KIT: &str = "coldstart_strategy";

/// What an interpreter is asked outside of the sandbox.
const QUESTION: &str = include_str!("interpreter.py");

/// How it starts: with the folders that it was given, and the kit from its own place.
const START: &str = "\
import sys
place, entry, script, *sys.path = sys.argv[1:]
from importlib import util
spec = util.spec_from_file_location('coldstart_strategy', place + '/__init__.py', submodule_search_locations=[place])
kit = sys.modules[spec.name] = util.module_from_spec(spec)
spec.loader.exec_module(kit)
from coldstart_strategy import __main__
getattr(__main__, entry)(script)
";

/// The same numbers on every machine: no order of sets that is drawn at random. And no module from the current folder, even
/// before the first line runs.
const FIXED: [(&str, &str); 3] = [("PYTHONHASHSEED", "0"), ("PYTHONSAFEPATH", "1"), ("PYTHONDONTWRITEBYTECODE", "1")];

/// What libraries read that split their sums among threads.
const THREADS: [&str; 3] = ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"];

/// How well a script is shut in that is not.
const NOT_SHUT_IN: &str = "none";

/// What is served by an interpreter.
pub struct Serving<'a> {
    /// What it is called in messages.
    name: &'a str,
    script: &'a Path,
    /// The function of the kit that serves it.
    entry: &'static str,
    threads: usize,
    /// The one folder that a worker may write to, if there is one.
    scratch: Option<&'a Path>,
}

impl<'a> Serving<'a> {
    /// A strategy: its sums are never split among threads, and it writes nowhere.
    pub fn strategy(name: &'a str, script: &'a Path) -> Serving<'a> {
        Serving { name, script, entry: "serve", threads: 1, scratch: None }
    }

    /// A learner, with so many threads, and a folder for what it stores.
    pub fn learner(name: &'a str, script: &'a Path, threads: usize, scratch: &'a Path) -> Serving<'a> {
        Serving { name, script, entry: "serve_learner", threads, scratch: Some(scratch) }
    }

    fn tell(&self, command: &mut Command) {
        let threads = self.threads.to_string();
        command.envs(FIXED).envs(THREADS.map(|name| (name, &threads)));
    }
}

/// An interpreter, in its own words.
#[derive(Debug, Clone, Deserialize)]
struct Interpreter {
    /// The program; what is found on the path may be a shell script that looks for it.
    python: PathBuf,
    /// The folder of the kit, if it is installed.
    kit: Option<PathBuf>,
    /// Whether the kit is of this program's time.
    current: bool,
    /// Packages that the kit needs and that are not installed.
    missing: Vec<String>,
    /// Where it looks for modules, in order.
    path: Vec<PathBuf>,
    /// Files and folders that it reads, links followed.
    read: Vec<PathBuf>,
    /// The user's homes, links followed.
    homes: Vec<PathBuf>,
    /// Where `pip install --user` puts packages, if they count.
    user_base: Option<String>,
}

/// What the process has to know that becomes the interpreter.
#[derive(Debug, Serialize, Deserialize)]
struct Shell {
    python: PathBuf,
    kit: PathBuf,
    entry: String,
    path: Vec<PathBuf>,
    script: PathBuf,
    read: Vec<PathBuf>,
    scratch: Option<PathBuf>,
    memory: u64,
    strict: bool,
}

impl Interpreter {
    /// Ask the first `python3` on the path.
    fn find(plugin: &str) -> Result<Interpreter, PluginError> {
        let missing = |message: String| {
            let error = PluginError::new(PluginCode::Library, plugin, message);
            error.with_hint("a script needs python3 with the package: python3 -m pip install ./python")
        };
        let python = programs::python(QUESTION, &programs::python_path());
        let asked = python.and_then(|mut python| {
            python.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            wait::output(&mut python, limits::PYTHON)
        });
        let asked = asked.map_err(|error| missing(format!("python3 cannot be started: {error}")))?;
        if !asked.status.success() {
            let words = String::from_utf8_lossy(&asked.stderr);
            return Err(missing(format!("python3 cannot be asked: {}", words.lines().last().unwrap_or_default())));
        }
        let said: Interpreter = serde_json::from_slice(&asked.stdout)
            .map_err(|error| missing(format!("python3 answers what makes no sense: {error}")))?;
        match said.missing.first() {
            Some(package) => Err(missing(format!("{} has no {package}", said.python.display()))),
            None if !said.current => Err(missing(format!("the {KIT} of {} is too old", said.python.display()))),
            None => Ok(said),
        }
    }

    /// What it may read for this script, and where it looks for modules: nothing that holds the script or a home.
    fn narrowed(mut self, script: &Path) -> Interpreter {
        let homes = std::mem::take(&mut self.homes);
        let open = |folder: &PathBuf| {
            let folder = real(folder);
            folder.parent().is_some() && !holds(&folder, script) && !homes.iter().any(|home| home.starts_with(&folder))
        };
        self.path.retain(open);
        self.read.retain(open);
        self
    }
}

/// Whether a script lies in a folder, at any depth.
fn holds(folder: &Path, script: &Path) -> bool {
    script.parent().is_some_and(|own| own.starts_with(folder))
}

/// With links followed, as far as it is there.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The program that becomes the interpreter of a script and shuts itself in before, without its socket.
pub fn command(serving: &Serving<'_>, limits: &Limits) -> Result<Command, PluginError> {
    let (script, place) = places(serving.script);
    let Interpreter { python, kit, path, mut read, user_base, .. } = Interpreter::find(serving.name)?.narrowed(&place);
    let kit = kit.unwrap_or_default();
    read.push(kit.clone());
    read.extend(programs::library_path());
    let (entry, scratch) = (serving.entry.to_owned(), serving.scratch.map(Path::to_owned));
    let shell = Shell { python, kit, entry, path, script, read, scratch, memory: limits.memory, strict: limits.strict };
    let mut command = programs::worker();
    command.arg(SCRIPT_WORKER).arg(serde_json::to_string(&shell).expect("plain data"));
    serving.tell(&mut command);
    match user_base {
        Some(folder) => command.env("PYTHONUSERBASE", folder),
        None => command.env("PYTHONNOUSERSITE", "1"),
    };
    Ok(command)
}

/// The interpreter of a script of the user's own, which is not shut in: with the user's environment, in the script's folder.
pub fn open_command(serving: &Serving<'_>) -> Result<Command, PluginError> {
    let (script, place) = places(serving.script);
    let Interpreter { python, kit, path, .. } = Interpreter::find(serving.name)?;
    let folder = place.parent().unwrap_or(Path::new("/"));
    let path = path.into_iter().filter(|entry| real(entry) != folder);
    let mut command = programs::of_the_users_own(&python, folder);
    serving.tell(&mut command);
    // With it the sums of cuBLAS come out the same each time; one that the user has set stays.
    if std::env::var_os(CUBLAS).is_none() {
        command.env(CUBLAS, ":4096:8");
    }
    command.env("COLDSTART_CONFINEMENT", NOT_SHUT_IN);
    command.arg("-c").arg(START).arg(kit.unwrap_or_default()).arg(serving.entry).arg(script).args(path);
    Ok(command)
}

/// What cuBLAS reads.
const CUBLAS: &str = "CUBLAS_WORKSPACE_CONFIG";

/// Where a script is, as it is named, and with the links to its folder followed.
fn places(script: &Path) -> (PathBuf, PathBuf) {
    let script = std::path::absolute(script).unwrap_or_else(|_| script.to_owned());
    let place = real(script.parent().unwrap_or(Path::new("/"))).join(script.file_name().unwrap_or_default());
    (script, place)
}

/// Shut this process in and become the interpreter; comes back only with an error.
pub fn become_interpreter(shell: &str) -> io::Error {
    let shut_in = serde_json::from_str::<Shell>(shell).map_err(|error| error.to_string()).and_then(|shell| {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(|error| error.to_string())?;
        let confinement = sandbox::confine_interpreter(shell.memory, &shell.read, shell.scratch.as_deref())?;
        if shell.strict && confinement != Confinement::Full {
            return Err(sandbox::too_weak(confinement));
        }
        Ok((shell, confinement))
    });
    match shut_in {
        Ok((shell, confinement)) => {
            let mut command = programs::in_place(&shell.python);
            command.env("COLDSTART_CONFINEMENT", confinement.name());
            command.arg("-c").arg(START).arg(&shell.kit).arg(&shell.entry).arg(&shell.script).args(&shell.path).exec()
        }
        Err(problem) => io::Error::other(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreter(folders: &[&str]) -> Interpreter {
        let folders: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
        Interpreter {
            python: "/opt/py/bin/python3".into(),
            kit: None,
            current: true,
            missing: Vec::new(),
            path: folders.clone(),
            read: folders,
            homes: vec!["/nowhere/ada".into(), "/elsewhere/ada".into()],
            user_base: None,
        }
    }

    #[test]
    fn no_folder_is_open_that_holds_the_script_or_a_home() {
        for (folder, open) in [
            ("/", false),
            ("/nowhere", false),
            ("/nowhere/ada", false),
            ("/elsewhere/ada", false),
            ("/nowhere/ada/papers", false),
            ("/nowhere/ada/papers/ideas", false),
            ("/nowhere/ada/papers/ideas/.venv/lib", true),
            ("/nowhere/ada/.local/lib/python3.12/site-packages", true),
            ("/nowhere/bob", true),
            ("/usr/lib/python3.12", true),
        ] {
            let narrowed = interpreter(&[folder]).narrowed(Path::new("/nowhere/ada/papers/ideas/my_idea.py"));
            assert_eq!((narrowed.path.len(), narrowed.read.len()), (usize::from(open), usize::from(open)), "{folder}");
        }
    }
}
