//! What the user sees while something runs: a bar on a terminal, a line per step otherwise.

use super::args::{Args, Command};
use crate::experiment::{Metrics, Watcher};
use crate::operations::Meter;
use crate::report;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;

/// The user's screen.
#[derive(Clone)]
pub struct Console {
    quiet: bool,
    bar: Option<ProgressBar>,
    step_started: Arc<Mutex<Instant>>,
    stage: Arc<Mutex<String>>,
    cancelled: Arc<AtomicBool>,
    /// The folder of the run that is watched.
    run: Arc<Mutex<PathBuf>>,
}

impl Console {
    /// Set up messages and Ctrl-C.
    pub fn new(args: &Args) -> Console {
        let on_terminal = std::io::stderr().is_terminal() && !args.quiet;
        let bar = on_terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("a valid template"));
            bar
        });
        let console = Console {
            quiet: args.quiet,
            bar,
            step_started: Arc::new(Mutex::new(Instant::now())),
            stage: Arc::default(),
            cancelled: Arc::default(),
            run: Arc::default(),
        };
        console.log_to_stderr(args);
        console.watch_ctrl_c(matches!(args.command, Command::SweepWorker(_)));
        console
    }

    /// Set when the user wants to stop.
    pub fn cancelled(&self) -> Arc<AtomicBool> {
        self.cancelled.clone()
    }

    /// A line for the user, above the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Take the bar off the screen.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn log_to_stderr(&self, args: &Args) {
        let level = match (args.quiet, args.verbose) {
            (true, _) => "error",
            (_, 0) => "warn",
            (_, 1) => "info",
            _ => "debug",
        };
        let filter = EnvFilter::try_from_env("COLDSTART_LOG").unwrap_or_else(|_| EnvFilter::new(level));
        let bar = self.bar.clone();
        let writer = move || BesideBar { bar: bar.clone() };
        let log = tracing_subscriber::fmt().with_env_filter(filter).without_time().with_target(false);
        // A second subscriber is refused: the first one serves as well.
        let _ = log.with_writer(writer).with_ansi(self.bar.is_some()).try_init();
    }

    /// The first Ctrl-C stops at a safe point, the second at once; a worker hears one from the terminal and one from whoever
    /// started it, and is patient.
    fn watch_ctrl_c(&self, patient: bool) {
        let (cancelled, console) = (self.cancelled.clone(), self.clone());
        let installed = ctrlc::set_handler(move || {
            if cancelled.swap(true, Ordering::Relaxed) && !patient {
                std::process::exit(130);
            }
            console.say("stopping at the next safe point; press Ctrl-C again to stop at once");
        });
        if let Err(error) = installed {
            tracing::debug!("Ctrl-C will not be handled: {error}");
        }
    }
}

/// Log lines go above the bar.
struct BesideBar {
    bar: Option<ProgressBar>,
}

impl std::io::Write for BesideBar {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &self.bar {
            Some(bar) => bar.suspend(|| std::io::stderr().write(bytes)),
            None => std::io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Meter for Console {
    fn tick(&self, stage: &str, done: u64, total: u64) {
        let Some(bar) = &self.bar else { return };
        let mut current = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != stage || bar.length() != Some(total) || done < bar.position() {
            *current = stage.to_owned();
            let template = "{msg:11} {wide_bar} {human_pos}/{human_len} {per_sec:>12} {eta:>4} left";
            bar.set_style(ProgressStyle::with_template(template).expect("a valid template"));
            bar.set_message(stage.to_owned());
            bar.reset();
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    fn step(&self, message: &str) {
        let mut started = self.step_started.lock().unwrap_or_else(PoisonError::into_inner);
        self.say(&format!("  {message} ({})", seconds(started.elapsed())));
        *started = Instant::now();
    }
}

impl Watcher for Console {
    fn run_started(&mut self, dir: &Path) {
        self.say(&format!("writing to {}", dir.display()));
        dir.clone_into(&mut self.run.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn round_started(&mut self, round: u32, rounds: u32, labels: usize, budget: usize) {
        *self.step_started.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.say(&format!("round {round} of {rounds}: {labels} labels, {budget} more"));
    }

    fn round_finished(&mut self, metrics: &Metrics, took: Duration) {
        let Metrics { labels, test, classes_seen, class_counts, .. } = metrics;
        let classes = class_counts.len();
        self.say(&format!(
            "  accuracy {:.2} % with {labels} labels, {classes_seen} of {classes} classes seen ({})",
            100.0 * test.accuracy,
            seconds(took),
        ));
        // Whoever has TensorBoard open sees the round; the run itself does not need it.
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = report::export::write_events(&run) {
            tracing::warn!("{error}");
        }
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
