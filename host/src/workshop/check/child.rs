//! A process of its own for each case: the program itself, which tries one case and writes the verdict into a file.

use super::outcome::{Outcome, Verdict, failed};
use super::subject::Subject;
use super::{Order, Tried, determinism, named};
use crate::plugin::only_read;
use crate::programs;
use crate::workshop::WorkshopError;
use rustix::process::{Resource, Rlimit, Signal};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a child does instead of a case to tell what the plugin chooses.
pub const CHOSEN: &str = "chosen";
/// The last lines of a child that are kept to say why it died.
const LAST_LINES: usize = 6;

/// Try a case in a child process.
pub fn run(order: &Order, case: &str, environment: &[(&str, String)]) -> Verdict {
    let ran = || -> std::io::Result<Verdict> {
        let folder = tempfile::tempdir()?;
        let answer = folder.path().join("verdict.json");
        let mut child = start(order, case, environment, &answer)?;
        let last_lines = follow(&mut child);
        let ended = wait(&mut child, order.timeout)?;
        let said = || last_lines.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        Ok(match (ended, read(&answer)) {
            (None, _) => failed(format!("took longer than {} s{}", order.timeout.as_secs(), said())),
            (Some(status), Some(verdict)) if status.success() => verdict,
            (Some(status), _) => Verdict { result: Outcome::Crashed, detail: format!("{}{}", end(status), said()) },
        })
    };
    ran().unwrap_or_else(|error| failed(format!("no process could be started for it: {error}")))
}

fn start(order: &Order, case: &str, environment: &[(&str, String)], answer: &Path) -> std::io::Result<Child> {
    let mut command = programs::again();
    command.args(["plugin", "check-case", case]).arg(&order.file).arg("--verdict").arg(answer);
    command.args(order.package.iter().flat_map(|package| ["--package".as_ref(), package.as_os_str()]));
    command.args(["--params", &Value::Object(order.params.clone()).to_string()]);
    command.args(["--seed", &order.seed.to_string(), "--count", &order.count.to_string()]);
    command.args(["--timeout", &order.timeout.as_secs().to_string()]);
    // The one folder that it can write to.
    command.env("TMPDIR", answer.parent().unwrap_or(Path::new("/")));
    command.envs(environment.iter().map(|(name, value)| (*name, value)));
    // A group of its own, so that what the plugin may have started goes with it.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).spawn()
}

/// The last lines that the child writes on stderr, once it has closed it.
fn follow(child: &mut Child) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    let Some(stderr) = child.stderr.take() else { return told };
    std::thread::spawn(move || {
        let mut last = VecDeque::new();
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            last.push_back(String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned());
            last.drain(..last.len().saturating_sub(LAST_LINES));
        }
        let lines = last.into_iter().map(|line| format!("; {line}")).collect::<String>();
        // Nobody listens any more if the child ended well.
        let _ = tell.send(lines);
    });
    told
}

/// The child's end; none if it had to be killed.
fn wait(child: &mut Child, timeout: Duration) -> std::io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    let ended = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if start.elapsed() > timeout => break None,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    if let Some(group) = rustix::process::Pid::from_raw(child.id() as i32) {
        // It fails where nobody of the group is left, which is what is wanted.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    if ended.is_none() {
        child.wait()?;
    }
    Ok(ended)
}

fn read(answer: &Path) -> Option<Verdict> {
    serde_json::from_slice(&std::fs::read(answer).ok()?).ok()
}

fn end(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => {
            let name = Signal::from_named_raw(signal).map(|signal| format!("{signal:?}"));
            format!("killed by signal {signal}{}", name.map(|name| format!(" ({name})")).unwrap_or_default())
        }
        None => format!("ended with exit code {} before the case was over", status.code().unwrap_or(0)),
    }
}

/// The child's part: try one case and write the verdict.
///
/// Errs if there is no such case, or the verdict cannot be written.
pub fn in_child(order: Order, case: &str, answer: &Path) -> Result<(), WorkshopError> {
    prepare();
    if let Some(folder) = answer.parent() {
        only_read(folder)
            .map_err(|problem| WorkshopError::Failed(problem, "the kernel refuses to shut a test in".to_owned()))?;
    }
    let run: fn(&Subject) -> Tried = match case {
        CHOSEN => |subject| determinism::chosen(subject, threads()),
        name => named(name)?.run,
    };
    let file = order.file.clone();
    let verdict: Verdict = match Subject::read(order) {
        Ok(subject) => run(&subject).into(),
        Err(error) => failed(format!("{}: {error}", file.display())),
    };
    let text = serde_json::to_vec(&verdict).expect("plain data");
    std::fs::write(answer, text).map_err(|error| WorkshopError::file(answer, &error))
}

/// No core files from plugins that crash, and no child that outlives the check.
fn prepare() {
    // Where the system refuses either, the check goes on without.
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

fn threads() -> u32 {
    std::env::var("RAYON_NUM_THREADS").ok().and_then(|threads| threads.parse().ok()).unwrap_or(1)
}
