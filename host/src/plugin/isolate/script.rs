//! Workers in Python: the interpreter is found outside of the sandbox, and started inside of it.

use super::sandbox::{self, Confinement};
use super::{Limits, SCRIPT_WORKER};
use crate::plugin::error::{PluginCode, PluginError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The module that serves a script.
const MODULE: &str = "coldstart_strategy";

/// An interpreter that has the module, in its own words.
#[derive(Debug, Deserialize)]
struct Interpreter {
    /// The program; what is found on the path may be a shell script that looks for it.
    python: PathBuf,
    /// Folders that it reads.
    read: Vec<PathBuf>,
    /// All that it needs to know of its surroundings.
    env: BTreeMap<String, String>,
}

/// What the process has to know that becomes the interpreter.
#[derive(Debug, Serialize, Deserialize)]
struct Shell {
    python: PathBuf,
    script: PathBuf,
    read: Vec<PathBuf>,
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
        let asked = Command::new("python3").args(["-m", MODULE, "--where"]).stdin(Stdio::null()).output();
        let asked = asked.map_err(|error| missing(format!("python3 cannot be started: {error}")))?;
        if !asked.status.success() {
            let words = String::from_utf8_lossy(&asked.stderr);
            return Err(missing(format!("python3 has no {MODULE}: {}", words.lines().last().unwrap_or_default())));
        }
        serde_json::from_slice(&asked.stdout)
            .map_err(|error| missing(format!("python3 -m {MODULE} --where makes no sense: {error}")))
    }
}

/// The program that becomes the interpreter of a script, without its socket.
pub fn command(plugin: &str, script: &Path, limits: &Limits) -> Result<Command, PluginError> {
    let Interpreter { python, mut read, env } = Interpreter::find(plugin)?;
    let script = std::path::absolute(script).unwrap_or_else(|_| script.to_owned());
    read.extend(script.parent().map(Path::to_owned));
    let shell = Shell { python, script, read, memory: limits.memory, strict: limits.strict };
    let mut command = Command::new("/proc/self/exe");
    command.arg(SCRIPT_WORKER).arg(serde_json::to_string(&shell).expect("plain data")).env_clear().envs(env);
    Ok(command)
}

/// Shut this process in and become the interpreter; comes back only with an error.
pub fn become_interpreter(shell: &str) -> io::Error {
    let shut_in = serde_json::from_str::<Shell>(shell).map_err(|error| error.to_string()).and_then(|shell| {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(|error| error.to_string())?;
        let confinement = sandbox::confine_interpreter(shell.memory, &shell.read)?;
        if shell.strict && confinement != Confinement::Full {
            return Err(sandbox::too_weak(confinement));
        }
        Ok((shell, confinement))
    });
    match shut_in {
        Ok((shell, confinement)) => {
            let mut command = Command::new(&shell.python);
            command.env("COLDSTART_CONFINEMENT", confinement.name());
            command.args(["-m", MODULE]).arg(&shell.script).exec()
        }
        Err(problem) => io::Error::other(problem),
    }
}
