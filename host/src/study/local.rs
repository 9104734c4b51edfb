//! Workers on this machine: processes, so that one that crashes takes no other along.

use super::holder::Holder;
use super::plan::Study;
use super::{INTERRUPTED, Progress, Telling};
use crate::experiment::{RunError, create_folder};
use crate::limits;
use crate::memory::{Memory, peak_bytes};
use crate::session::SessionError;
use crate::wait;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the workers are looked at.
const NAP: Duration = Duration::from_millis(200);
/// When it is looked again whether there is something for a worker to do that found nothing: others hold the rest.
const REST: Duration = Duration::from_secs(10);
/// A worker is begun when so many times the memory that the largest one has taken is free.
const ROOM: f64 = 1.25;
/// When less than this share of the memory is free, a worker has to stop.
const SCARCE: f64 = 0.05;

/// What workers run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Workers side by side.
    pub jobs: usize,
    /// CPU threads of each.
    pub threads: usize,
    /// GPUs that they are spread over; 0 where the device is named, or there are none.
    pub gpus: usize,
}

/// The executor of this machine.
pub struct Local<'a> {
    /// What there is to do.
    pub study: &'a Study,
    /// With how many workers.
    pub machine: Machine,
    /// How much memory there is, whenever it is asked.
    pub memory: &'a dyn Fn() -> Memory,
    /// The command of a worker, for a device if there are several.
    pub command: &'a dyn Fn(Option<String>) -> Command,
    /// Set when the user wants to stop.
    pub cancelled: Arc<AtomicBool>,
    /// Hears a sentence now and then.
    pub say: &'a dyn Fn(&str),
}

/// A process at work.
struct Worker {
    number: usize,
    /// What it is called where it takes hold of runs; no other worker is, on this machine or another.
    name: String,
    child: Child,
    /// Whether it was asked to stop, because memory is short.
    stopped: bool,
}

impl Local<'_> {
    /// Have every run done that is not done yet.
    ///
    /// Errs when the user stops, and when a worker cannot go on at all; a run's own failure is no error.
    pub fn run(&self) -> Result<Progress, SessionError> {
        let mut telling = Telling::new(self.study, self.say);
        let me = Holder::this_process(None);
        let (mut n_begun, mut rests_until) = (0, Instant::now());
        let (mut workers, mut idle): (Vec<Worker>, Vec<usize>) = (Vec::new(), (0..self.machine.jobs).rev().collect());
        let (mut largest, mut told) = (0, false);
        while telling.progress.left() > 0 || !workers.is_empty() {
            if self.cancelled.load(Ordering::Relaxed) {
                self.stop(workers);
                return Err(SessionError::Run(RunError::Cancelled));
            }
            largest = workers.iter().map(|worker| peak_bytes(worker.child.id())).fold(largest, u64::max);
            let memory = (self.memory)();
            let enough = memory.free as f64 > ROOM * largest as f64 || workers.is_empty();
            // No more workers than runs that nobody has begun.
            if enough
                && Instant::now() >= rests_until
                && workers.len() < telling.progress.left()
                && let Some(number) = idle.pop()
            {
                if workers.is_empty() {
                    // Those of a sweep that was killed here; of what others left, each worker finds out for itself.
                    self.study.release(|holder| holder.watched && holder.shares_kernel(&me))?;
                }
                n_begun += 1;
                workers.push(self.begin(number, format!("{}-{n_begun}", me.token()))?);
            }
            if (memory.free as f64) < SCARCE * memory.total as f64 && workers.iter().filter(|w| !w.stopped).count() > 1
            {
                let youngest = workers.iter_mut().rev().find(|worker| !worker.stopped);
                youngest.into_iter().for_each(Worker::stop);
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("memory is short: a worker stops until there is more");
                }
            }
            let mut i = 0;
            while i < workers.len() {
                match workers[i].child.try_wait() {
                    Ok(Some(status)) => {
                        let worker = workers.remove(i);
                        idle.push(worker.number);
                        if status.success() {
                            rests_until = Instant::now() + REST;
                        }
                        if let Err(error) = self.ended(&worker, status) {
                            self.stop(workers);
                            return Err(error);
                        }
                    }
                    _ => i += 1,
                }
            }
            if workers.is_empty() {
                telling.look_now()
            } else {
                telling.look()
            };
            std::thread::sleep(NAP);
        }
        Ok(telling.look_now())
    }

    fn begin(&self, number: usize, name: String) -> Result<Worker, RunError> {
        let path = self.log_of(number);
        let failed = |source| RunError::File { action: "write", path: path.clone(), source };
        create_folder(&self.study.root().join("logs"))?;
        let log = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        let device = (self.machine.gpus > 0).then(|| format!("cuda:{}", number % self.machine.gpus));
        let mut command = (self.command)(device);
        command.arg("--as").arg(&name);
        // Its standard input ends with this process: then it stops too.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn();
        let child = child.map_err(|source| RunError::File { action: "run", path: program(&command), source })?;
        Ok(Worker { number, name, child, stopped: false })
    }

    fn log_of(&self, number: usize) -> PathBuf {
        self.study.root().join(format!("logs/worker-{}.log", number + 1))
    }

    /// What a worker's end means: nothing, a run that it took along, or the end of everything.
    fn ended(&self, worker: &Worker, status: ExitStatus) -> Result<(), SessionError> {
        match status.code() {
            Some(0 | INTERRUPTED) => Ok(()),
            Some(1..=3) => Err(super::said_why(&self.log_of(worker.number))),
            _ => {
                let how = status.signal().map_or_else(|| format!("ended with {status}"), super::killed_by);
                self.study.record_lost(&worker.name, &how)
            }
        }
    }

    /// Ask all workers to stop at a safe point, and wait for them.
    fn stop(&self, mut workers: Vec<Worker>) {
        workers.iter_mut().for_each(Worker::stop);
        let deadline = Instant::now() + limits::SAFE_POINT;
        for worker in &mut workers {
            let left = deadline.saturating_duration_since(Instant::now());
            if wait::ended_within(&mut worker.child, left).is_none() {
                tracing::warn!(
                    "worker {} does not stop and is ended: its run goes on from the last round",
                    worker.number + 1
                );
                let _ = worker.child.kill();
                let _ = wait::ended_within(&mut worker.child, limits::DEATH);
            }
        }
    }
}

impl Worker {
    fn stop(&mut self) {
        self.stopped = true;
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // Gone already is as good.
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

fn program(command: &Command) -> PathBuf {
    command.get_program().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Does nothing until it is asked to stop.
    const WORKER: &str = "trap 'echo stopped >&2; exit 130' INT; echo begun >&2; while true; do sleep 0.05; done";

    /// Memory is short as soon as two are there, and plenty again when one of them has stopped.
    #[test]
    fn where_memory_is_short_the_youngest_worker_stops_until_there_is_more() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("plan.csv"), "run,round0,seed\na,a,1\nb,b,2\nc,c,3\n").unwrap();
        let study = Study::open(folder.path()).unwrap();
        let said = |number: usize| {
            let text = fs::read_to_string(folder.path().join(format!("logs/worker-{number}.log"))).unwrap_or_default();
            (text.matches("begun").count(), text.matches("stopped").count())
        };
        let (cancelled, start) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let memory = || {
            let workers = [said(1), said(2)];
            // The second one has begun again; or nothing happens any more.
            if workers[1].0 == 2 || start.elapsed() > Duration::from_secs(60) {
                cancelled.store(true, Ordering::Relaxed);
            }
            Memory { free: if workers == [(1, 0), (1, 0)] { 49 } else { 1000 } << 30, total: 1000 << 30 }
        };
        let command = |_: Option<String>| {
            // A shell cannot catch what whoever started these tests has it ignore.
            let mut command = Command::new("env");
            command.args(["--default-signal=INT", "sh", "-c", WORKER]);
            command
        };
        let machine = Machine { jobs: 2, threads: 1, gpus: 0 };
        let local = Local {
            study: &study,
            machine,
            memory: &memory,
            command: &command,
            cancelled: cancelled.clone(),
            say: &|_| {},
        };
        assert!(matches!(local.run(), Err(SessionError::Run(RunError::Cancelled))));
        assert_eq!([said(1), said(2)], [(1, 1), (2, 2)]);
    }
}
