//! Workers under Slurm: a job array whose tasks each do runs until none is left.
//!
//! What has been done is read from the study's folder, as everywhere; Slurm is only asked whether somebody is at work, and how whoever
//! ended did. `squeue` says the first, `sacct` the second, or `scontrol` where no accounting is kept. The folder must be on a file
//! system that all nodes share, and that knows locks.

use super::plan::Study;
use super::{INTERRUPTED, Progress, Telling};
use crate::experiment::{RunError, create_folder, now, write_atomically};
use crate::session::SessionError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the runs are looked at, and the user's wish to stop.
const NAP: Duration = Duration::from_millis(500);
/// How often Slurm is asked.
const POLL: Duration = Duration::from_secs(5);
/// A worker is asked to stop so many seconds before its time is up: a round should fit.
const WARNING: u32 = 120;

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

/// How a task of the array stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Task {
    state: String,
    code: i32,
    signal: i32,
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
            logs = logs.display(),
            worker = worker.join(" "),
        )
    }

    /// The job that is at work on the study, or a new one. Errs when `sbatch` does.
    pub fn submit(&self) -> Result<Job, SessionError> {
        if let Some(job) = self.submitted().filter(|job| self.alive(job).is_none_or(|alive| !alive.is_empty())) {
            (self.say)(&format!("job {} is at work on it already", job.id));
            return Ok(job);
        }
        let (folder, script) = (self.study.root().join("slurm"), self.study.root().join("slurm/job.sh"));
        create_folder(&folder)?;
        create_folder(&self.logs())?;
        write_atomically(&script, self.script().as_bytes())?;
        self.study.release(None)?;
        let answer = ask("sbatch", &["--parsable".into(), script.into()])?;
        let answer = answer.map_err(|error| SessionError::Operation(format!("sbatch refuses the job: {error}")))?;
        let (id, cluster) = match answer.trim().split_once(';') {
            Some((id, cluster)) => (id.to_owned(), Some(cluster.to_owned())),
            None => (answer.trim().to_owned(), None),
        };
        let job = Job { id, cluster, tasks: self.tasks, submitted: now() };
        let text = serde_json::to_string_pretty(&job).expect("plain data");
        write_atomically(&folder.join("job.json"), text.as_bytes())?;
        (self.say)(&format!("submitted job {}, an array of {}", job.id, job.tasks));
        Ok(job)
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
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(SessionError::Run(RunError::Cancelled));
            }
            if telling.look().left() == 0 {
                return Ok(telling.progress);
            }
            if polled.elapsed() >= POLL {
                polled = Instant::now();
                let alive = self.alive(&job);
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
                        return Err(SessionError::Operation(message));
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

    /// The job that was submitted last.
    fn submitted(&self) -> Option<Job> {
        let text = std::fs::read(self.study.root().join("slurm/job.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The tasks that wait or work; none if Slurm cannot be asked just now.
    fn alive(&self, job: &Job) -> Option<BTreeSet<String>> {
        let job_is = format!("--jobs={}", job.id);
        let args = ["--noheader", "--array", "--format=%K %T", &job_is];
        match ask("squeue", &with_cluster(job, &args)) {
            Ok(Ok(text)) => Some(text.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()),
            // So it says of a job that has been over for a while.
            Ok(Err(error)) if error.contains("Invalid job id") => Some(BTreeSet::new()),
            Ok(Err(error)) => {
                tracing::warn!("squeue: {error}");
                None
            }
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
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
            if alive.contains(&number) || is_alive(&task.state) || !over.insert(number.clone()) {
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
                    self.study.release(Some(&who))?;
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
    let kept = ["--noheader", "--parsable2", "--allocations", "--format=JobID,State,ExitCode", &of_job];
    if let Ok(Ok(text)) = ask("sacct", &with_cluster(job, &kept)) {
        return text.lines().filter_map(kept_task).collect();
    }
    match ask("scontrol", &with_cluster(job, &["show", "job", "--oneliner", &job.id])) {
        Ok(Ok(text)) => text.lines().filter_map(shown_task).collect(),
        _ => BTreeMap::new(),
    }
}

/// A line of `sacct`: `17_3|FAILED|0:9`; behind `CANCELLED` stands by whom.
fn kept_task(line: &str) -> Option<(String, Task)> {
    let mut fields = line.split('|');
    let (id, state, exit) = (fields.next()?, fields.next()?, fields.next()?);
    let state = state.split(' ').next()?.to_owned();
    let (code, signal) = exit_of(exit)?;
    Some((id.split_once('_')?.1.to_owned(), Task { state, code, signal }))
}

/// A line of `scontrol show job --oneliner`: `JobId=19 ... ArrayTaskId=3 ... JobState=FAILED ... ExitCode=0:9 ...`.
fn shown_task(line: &str) -> Option<(String, Task)> {
    let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let (code, signal) = exit_of(field("ExitCode")?)?;
    Some((field("ArrayTaskId")?.to_owned(), Task { state: field("JobState")?.to_owned(), code, signal }))
}

fn exit_of(text: &str) -> Option<(i32, i32)> {
    let (code, signal) = text.split_once(':')?;
    Some((code.parse().ok()?, signal.parse().ok()?))
}

fn is_alive(state: &str) -> bool {
    let alive = [
        "PENDING",
        "RUNNING",
        "COMPLETING",
        "CONFIGURING",
        "SUSPENDED",
        "STOPPED",
        "REQUEUED",
        "REQUEUE_HOLD",
        "RESIZING",
        "SIGNALING",
        "STAGE_OUT",
    ];
    alive.contains(&state)
}

fn with_cluster(job: &Job, args: &[&str]) -> Vec<OsString> {
    let cluster = job.cluster.iter().map(|cluster| format!("--clusters={cluster}").into());
    cluster.chain(args.iter().map(OsString::from)).collect()
}

/// What one of Slurm's programs answers, or says on its way out. Errs when there is no such program.
fn ask(program: &str, args: &[OsString]) -> Result<Result<String, String>, SessionError> {
    let output = Command::new(program).args(args).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            SessionError::Operation(format!("`{program}` is not found: is this a machine with Slurm?"))
        }
        _ => SessionError::Operation(format!("`{program}` cannot be run: {error}")),
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

/// A word for the shell.
fn quoted(word: &str) -> String {
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
        let worker = ["/opt/coldstart", "sweep-worker", "/data/my study", "--device", "auto"].map(OsString::from);
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
exec /opt/coldstart sweep-worker '/data/my study' --device auto --as "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" --threads "${SLURM_CPUS_PER_TASK:-1}"
"#;
        assert_eq!(slurm.script(), expected);
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    /// Lines of Slurm 22.05 and 23.11.
    #[test]
    fn answers_of_slurm_are_read() {
        let task = |state: &str, code, signal| Task { state: state.to_owned(), code, signal };
        for (line, expected) in [
            ("17_3|FAILED|0:9", Some(("3", task("FAILED", 0, 9)))),
            ("17_1|CANCELLED by 0|0:15", Some(("1", task("CANCELLED", 0, 15)))),
            ("17_2|COMPLETED|0:0", Some(("2", task("COMPLETED", 0, 0)))),
            // The part of an array that waits is one line.
            ("17_[4-9]|PENDING|0:0", Some(("[4-9]", task("PENDING", 0, 0)))),
            ("17|COMPLETED|0:0", None),
            ("", None),
        ] {
            assert_eq!(kept_task(line), expected.map(|(number, task)| (number.to_owned(), task)), "{line}");
        }
        let line = "JobId=19 ArrayJobId=17 ArrayTaskId=3 JobName=a UserId=root(0) JobState=TIMEOUT Reason=TimeLimit ExitCode=0:1 X=";
        assert_eq!(shown_task(line), Some(("3".to_owned(), task("TIMEOUT", 0, 1))));
        assert_eq!(shown_task("JobId=20 JobState=RUNNING ExitCode=0:0"), None);
    }
}
