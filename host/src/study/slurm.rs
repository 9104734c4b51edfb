//! Workers under Slurm: a job array whose tasks each do runs until none is left.
//!
//! What has been done is read from the study's folder, as everywhere; Slurm is only asked whether somebody is at work, and how whoever
//! ended did. `squeue` says the first, `sacct` the second, or `scontrol` where no accounting is kept. The folder must be on a file
//! system that all nodes share, and that knows locks.

use super::answers::{self, Number, Task};
use super::plan::Study;
use super::{INTERRUPTED, Progress, Telling};
use crate::experiment::{RunError, create_folder, now, write_atomically};
use crate::limits;
use crate::programs;
use crate::session::SessionError;
use crate::wait;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the runs are looked at, and the user's wish to stop.
const NAP: Duration = Duration::from_millis(500);
/// How often Slurm is asked.
const POLL: Duration = Duration::from_secs(5);
/// A worker is asked to stop so many seconds before its time is up: a round should fit.
const WARNING: u32 = 120;

/// Where a question to `sbatch` stands until its answer is kept: while it is there, nobody knows whether there is a job.
const UNANSWERED: &str = "unanswered.txt";
const WITHOUT_SLURM: &str = "without `--executor slurm` this machine does the runs itself";

/// The executor that hands workers to Slurm.
pub struct Slurm<'a> {
    /// What there is to do.
    pub study: &'a Study,
    /// What the study is called.
    pub name: &'a str,
    /// The most tasks of the array.
    pub tasks: usize,
    /// The command of a worker, but for its name and its threads, which the task knows.
    pub worker: Vec<OsString>,
    /// What the user says to `sbatch`, a line each.
    pub options: &'a [String],
    /// Set when the user wants to stop.
    pub cancelled: Arc<AtomicBool>,
    /// Hears a sentence now and then.
    pub say: &'a dyn Fn(&str),
}

/// A job that was submitted: `slurm/job.json` in the study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub id: String,
    /// Where it was submitted, if there are several clusters.
    pub cluster: Option<String>,
    /// Tasks of its array.
    pub tasks: usize,
    /// When.
    pub submitted: String,
}

impl Slurm<'_> {
    /// The script of the job.
    pub fn script(&self) -> String {
        let logs = std::path::absolute(self.logs()).unwrap_or_else(|_| self.logs());
        let worker: Vec<String> = self.worker.iter().map(|word| quoted(&word.to_string_lossy())).collect();
        let options: String = self.options.iter().map(|line| format!("#SBATCH {line}\n")).collect();
        format!(
            "#!/bin/bash\n\
             #SBATCH --job-name=\"coldstart-{name}\"\n\
             #SBATCH --array=1-{tasks}\n\
             #SBATCH --output=\"{logs}/slurm-%A_%a.log\"\n\
             #SBATCH --open-mode=append\n\
             #SBATCH --signal=B:INT@{WARNING}\n\
             {options}\
             # Each task does runs of the study until none is left, and goes on with those that were begun.\n\
             exec {worker} --as \"${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}\" --threads \"${{SLURM_CPUS_PER_TASK:-1}}\"\n",
            name = self.name,
            tasks = self.tasks.max(1),
            logs = in_directive(&logs.display().to_string()),
            worker = worker.join(" "),
        )
    }

    /// Errs where no job can be submitted from this machine, or none whose logs would be found; before anything is written.
    pub fn check(&self) -> Result<(), SessionError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join("sbatch").is_file()) {
            return Err(wrong("`sbatch` is not found: is this a machine with Slurm?".to_owned(), WITHOUT_SLURM));
        }
        let root = self.study.root();
        if root.to_string_lossy().contains(['\\', '\n', '\r']) {
            let problem = format!("sbatch cannot write logs into `{}`", root.display());
            return Err(wrong(problem, "name a folder without backslashes and line breaks with `--out`"));
        }
        self.check_answered()
    }

    /// The job that is at work on the study, or a new one.
    ///
    /// Errs when `sbatch` refuses it, and when nobody knows whether it did: then never another one, until the user has looked.
    pub fn submit(&self) -> Result<Job, SessionError> {
        if let Some(job) = self.submitted()? {
            let alive = self.alive(&job);
            if let Err(problem) = &alive {
                tracing::warn!("{problem}");
            }
            if alive.is_err() || alive.is_ok_and(|alive| !alive.is_empty()) {
                (self.say)(&format!("job {} is at work on it already", job.id));
                return Ok(job);
            }
        }
        self.check_answered()?;
        let script = self.folder().join("job.sh");
        create_folder(&self.folder())?;
        create_folder(&self.logs())?;
        write_atomically(&script, self.script().as_bytes())?;
        // Those of the job before this one: it is over.
        self.study.release(|holder| holder.watched)?;
        let Number { id, cluster } = self.ask_sbatch(script)?;
        let job = Job { id, cluster, tasks: self.tasks, submitted: now() };
        let text = serde_json::to_string_pretty(&job).expect("plain data");
        write_atomically(&self.folder().join("job.json"), text.as_bytes())?;
        self.forget_question()?;
        (self.say)(&format!("submitted job {}, an array of {}", job.id, job.tasks));
        Ok(job)
    }

    /// Hand the script to `sbatch`. The question stands in [`UNANSWERED`] until whoever asked has kept the answer.
    fn ask_sbatch(&self, script: PathBuf) -> Result<Number, SessionError> {
        let question = format!("sbatch was asked for a job at {}, and the answer was not kept", now());
        write_atomically(&self.folder().join(UNANSWERED), question.as_bytes())?;
        let unclear = |answer: &str| {
            let said =
                format!("at {} sbatch answered, without the number of a job in a line of its own:\n{answer}", now());
            write_atomically(&self.folder().join(UNANSWERED), said.as_bytes())?;
            self.check_answered()
        };
        match ask("sbatch", &["--parsable".into(), script.into()]) {
            Err(no_sbatch) => {
                self.forget_question()?;
                Err(no_sbatch)
            }
            // The controller may have taken the job, and its answer been lost.
            Ok(Err(error)) if error.to_lowercase().contains("timed out") => {
                Err(unclear(&error).err().unwrap_or_else(|| refusal(&error)))
            }
            Ok(Err(error)) => {
                self.forget_question()?;
                Err(refusal(&error))
            }
            Ok(Ok(answer)) => match answers::number(&answer) {
                Some(number) => Ok(number),
                None => Err(unclear(&answer).err().unwrap_or_else(|| refusal(&answer))),
            },
        }
    }

    /// Errs while nobody knows whether a job was submitted.
    fn check_answered(&self) -> Result<(), SessionError> {
        let file = self.folder().join(UNANSWERED);
        let Ok(said) = std::fs::read_to_string(&file) else { return Ok(()) };
        let problem = format!("a job may have been submitted whose number is not known: {said}");
        let hint = format!(
            "`squeue --me --name=coldstart-{}` shows it, and `scancel` with its number ends it; when there is none, remove `{}`, \
             and the same command submits one",
            self.name,
            file.display()
        );
        Err(wrong(problem, hint))
    }

    fn forget_question(&self) -> Result<(), RunError> {
        let path = self.folder().join(UNANSWERED);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(RunError::File { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Have every run done that is not done yet: submit, and watch until nothing is left.
    ///
    /// A job that ends before that at its time limit, or with its node, is followed by another, as long as each gets further than
    /// the one before. Errs when the user stops, when the job is cancelled, and when a worker cannot go on at all.
    pub fn run(&self) -> Result<Progress, SessionError> {
        let mut telling = Telling::new(self.study, self.say);
        if telling.progress.left() == 0 {
            return Ok(telling.progress);
        }
        let (mut job, mut reached) = (self.submit()?, self.reached());
        let (mut over, mut cancelled, mut polled) = (BTreeSet::new(), false, Instant::now());
        let mut silence = Silence::default();
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(SessionError::Run(RunError::Cancelled));
            }
            if telling.look().left() == 0 {
                return Ok(telling.progress);
            }
            if polled.elapsed() >= POLL {
                polled = Instant::now();
                let alive = self.alive(&job).map_err(|problem| silence.say(problem)).ok();
                // Tasks of one job end one after the other.
                cancelled |= self.ended(&job, alive.as_ref(), &mut over)?;
                let progress = telling.look_now();
                if alive.is_some_and(|alive| alive.is_empty()) && progress.left() > 0 {
                    let now = self.reached();
                    if cancelled {
                        let message = format!("job {} was cancelled; the same command again goes on", job.id);
                        return Err(SessionError::Operation(message));
                    }
                    if now == reached {
                        let message = format!("job {} ended before a round was done: does it need more time?", job.id);
                        return Err(wrong(
                            message,
                            "`--sbatch --time=...` asks for it; `logs/` in the study has what the job said",
                        ));
                    }
                    (job, reached) = (self.submit()?, now);
                    over.clear();
                }
            }
            std::thread::sleep(NAP);
        }
    }

    fn logs(&self) -> PathBuf {
        self.study.root().join("logs")
    }

    fn folder(&self) -> PathBuf {
        self.study.root().join("slurm")
    }

    /// The job that was submitted last, if there was one.
    fn submitted(&self) -> Result<Option<Job>, RunError> {
        let path = self.folder().join("job.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(source) if source.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RunError::File { action: "read", path, source }),
        };
        let job = serde_json::from_slice(&text);
        job.map(Some).map_err(|error| RunError::Damaged { path, problem: error.to_string() })
    }

    /// The tasks that wait or work; or why Slurm cannot be asked just now.
    fn alive(&self, job: &Job) -> Result<BTreeSet<String>, String> {
        let job_is = format!("--jobs={}", job.id);
        let args = ["--noheader", "--array", "--format=%K %T", &job_is];
        match ask("squeue", &with_cluster(job, &args)) {
            Ok(Ok(text)) => Ok(answers::alive(&text)),
            // So it says of a job that has been over for a while.
            Ok(Err(error)) if error.contains("Invalid job id") => Ok(BTreeSet::new()),
            Ok(Err(error)) => Err(format!("squeue: {error}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Look at the tasks that have ended since: runs that took their worker along have failed. Whether the job was cancelled.
    ///
    /// Errs when a worker said that it cannot go on, or ended before it had begun a run.
    fn ended(
        &self,
        job: &Job,
        alive: Option<&BTreeSet<String>>,
        over: &mut BTreeSet<String>,
    ) -> Result<bool, SessionError> {
        let Some(alive) = alive else { return Ok(false) };
        if (1..=job.tasks).all(|task| alive.contains(&task.to_string()) || over.contains(&task.to_string())) {
            return Ok(false);
        }
        let mut cancelled = false;
        for (number, task) in tasks(job) {
            if alive.contains(&number) || answers::is_alive(&task.state) || !over.insert(number.clone()) {
                continue;
            }
            let who = format!("{}_{number}", job.id);
            match (task.state.as_str(), task.code, task.signal) {
                ("CANCELLED", ..) => cancelled = true,
                ("COMPLETED", ..) | (_, INTERRUPTED, _) => {}
                ("FAILED", 1..=3, 0) => {
                    let log = self.logs().join(format!("slurm-{who}.log"));
                    return Err(super::said_why(&log));
                }
                ("FAILED" | "OUT_OF_MEMORY", code, signal) => {
                    let how = match (task.state.as_str(), code, signal) {
                        ("OUT_OF_MEMORY", ..) => "ran out of memory".to_owned(),
                        (_, _, signal) if signal > 0 => super::killed_by(signal),
                        (_, code, _) => format!("ended with exit code {code}"),
                    };
                    self.study.record_lost(&who, &how)?;
                }
                // Its time was up, or its node is gone: no fault of its run.
                (state, ..) => {
                    (self.say)(&format!("task {who} ended: {}", state.to_lowercase().replace('_', " ")));
                    self.study.release(|holder| holder.name == who)?;
                }
            }
        }
        Ok(cancelled)
    }

    /// How far the study has come, in rounds: a job that does not move it is not followed by another.
    fn reached(&self) -> usize {
        let rounds = |dir: PathBuf| std::fs::read_dir(dir.join("rounds")).map_or(0, Iterator::count);
        let rows = self.study.rows.iter();
        rows.map(|row| rounds(self.study.run_dir(&row.run)) + usize::from(self.study.failure(&row.run).is_some())).sum()
    }
}

/// How the tasks of a job ended, as far as anybody knows.
fn tasks(job: &Job) -> BTreeMap<String, Task> {
    let of_job = format!("--jobs={}", job.id);
    let args = ["--noheader", "--parsable2", "--allocations", "--format=JobID,State,ExitCode", &of_job];
    let kept = match ask("sacct", &with_cluster(job, &args)) {
        Ok(Ok(text)) => answers::kept(&text, &job.id),
        _ => BTreeMap::new(),
    };
    if !kept.is_empty() {
        return kept;
    }
    match ask("scontrol", &with_cluster(job, &["show", "job", "--oneliner", &job.id])) {
        Ok(Ok(text)) => answers::shown(&text, &job.id),
        _ => BTreeMap::new(),
    }
}

fn with_cluster(job: &Job, args: &[&str]) -> Vec<OsString> {
    let cluster = job.cluster.iter().map(|cluster| format!("--clusters={cluster}").into());
    cluster.chain(args.iter().map(OsString::from)).collect()
}

/// What one of Slurm's programs answers, or says on its way out. Errs when there is no such program.
fn ask(program: &str, args: &[OsString]) -> Result<Result<String, String>, SessionError> {
    let output = programs::with_environment(program).and_then(|mut command| {
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        wait::output(&mut command, limits::SLURM)
    });
    let output = match output {
        // The controller may have heard it all the same.
        Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(Err(format!("`{program}` {error}"))),
        output => output,
    };
    let output = output.map_err(|error| match error.kind() {
        ErrorKind::Interrupted => SessionError::Run(RunError::Cancelled),
        ErrorKind::NotFound => wrong(format!("{error}: is this a machine with Slurm?"), WITHOUT_SLURM),
        _ => SessionError::Operation(format!("`{program}` cannot be run: {error}")),
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(Ok(text(&output.stdout)));
    }
    let said = [text(&output.stderr), text(&output.stdout)].into_iter().find(|said| !said.is_empty());
    Ok(Err(said.unwrap_or_else(|| format!("it ended with {} and said nothing", output.status))))
}

/// Says why Slurm is silent, once for each reason.
#[derive(Default)]
struct Silence {
    said: String,
}

impl Silence {
    fn say(&mut self, problem: String) {
        if problem != self.said {
            tracing::warn!("{problem}; asking again");
            self.said = problem;
        }
    }
}

fn wrong(problem: String, hint: impl Into<String>) -> SessionError {
    SessionError::Slurm { problem, hint: hint.into() }
}

/// What `sbatch` said when it took no job, and what there is to do.
fn refusal(said: &str) -> SessionError {
    let is_about = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let hint = if is_about(&["QOSMax", "AssocMax", "AssocGrp", "QOSGrp", "MaxSubmit", "job array specification"]) {
        "it takes fewer tasks: lower `--jobs`; every task does one run after the other"
    } else {
        "`--sbatch` says what this cluster wants to know, such as --partition, --account or --time"
    };
    wrong(format!("sbatch refuses the job: {said}"), hint)
}

/// A path between quotes in a line of `#SBATCH`: a percent sign begins a pattern there.
fn in_directive(path: &str) -> String {
    path.replace('%', "%%").replace('"', "\\\"")
}

/// A word for the shell.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:,+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_says_it_all() {
        let study = Study::empty("/data/my study".as_ref());
        let options = ["--partition=gpu --time=4:00:00".to_owned(), "--gres=gpu:1".to_owned()];
        let worker = ["/opt/coldstart", "worker", "/data/my study", "--device", "auto"].map(OsString::from);
        let (cancelled, say) = (Arc::default(), |_: &str| {});
        let (name, worker) = ("toy", worker.to_vec());
        let slurm = Slurm { study: &study, name, tasks: 4, worker, options: &options, cancelled, say: &say };
        let expected = r#"#!/bin/bash
#SBATCH --job-name="coldstart-toy"
#SBATCH --array=1-4
#SBATCH --output="/data/my study/logs/slurm-%A_%a.log"
#SBATCH --open-mode=append
#SBATCH --signal=B:INT@120
#SBATCH --partition=gpu --time=4:00:00
#SBATCH --gres=gpu:1
# Each task does runs of the study until none is left, and goes on with those that were begun.
exec /opt/coldstart worker '/data/my study' --device auto --as "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" --threads "${SLURM_CPUS_PER_TASK:-1}"
"#;
        assert_eq!(slurm.script(), expected);
        let study = Study::empty("/data/50% \"off\", really".as_ref());
        let script = Slurm { study: &study, ..slurm }.script();
        assert!(script.contains(r#"--output="/data/50%% \"off\", really/logs/slurm-%A_%a.log""#), "{script}");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
