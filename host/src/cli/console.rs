//! What the user sees while something runs: a bar on a terminal, a line per step otherwise.

use super::args::{Args, Command};
use super::signals;
use crate::experiment::{Metrics, Watcher};
use crate::foreign;
use crate::operations::Meter;
use crate::report;
use crate::wait;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

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
        console.watch_ctrl_c(matches!(&args.command, Command::Worker(worker) if worker.known_as.is_some()));
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
            Some(bar) => bar.suspend(|| errln!("{line}")),
            None => errln!("{line}"),
        }
    }

    /// Whoever has TensorBoard open sees the rounds; the run itself does not need it.
    fn show_events(&self) {
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = report::export::write_events(&run) {
            tracing::warn!("{error}");
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
        // An event that cannot be written is not said; otherwise that would be said on stderr, in a way that panics.
        let log = tracing_subscriber::fmt().log_internal_errors(false);
        let log = log.with_ansi(self.bar.is_some()).with_env_filter(filter).event_format(LogLine);
        // A second subscriber is refused: the first one serves as well.
        let _ = log.with_writer(writer).try_init();
    }

    /// The first Ctrl-C, or the terminal's end, stops at a safe point, the second at once; a worker that an executor watches hears one
    /// from the terminal and one from that, and is patient.
    fn watch_ctrl_c(&self, patient: bool) {
        let (cancelled, console) = (self.cancelled.clone(), self.clone());
        let ignores_hangup = signals::ignores_hangup();
        let installed = ctrlc::set_handler(move || {
            wait::interrupt();
            if cancelled.swap(true, Ordering::Relaxed) && !patient {
                std::process::exit(130);
            }
            console.say("stopping at the next safe point; press Ctrl-C again to stop at once");
        });
        if let Err(error) = installed {
            tracing::debug!("Ctrl-C will not be handled: {error}");
        }
        if ignores_hangup {
            signals::ignore_hangup();
        }
    }
}

/// A log line: its level, and what is said, safe for a terminal. Further lines of ours begin with a bar, so that none looks like another
/// log line.
struct LogLine;

impl<S, N> FormatEvent<S, N> for LogLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut said = String::new();
        context.format_fields(Writer::new(&mut said), event)?;
        let said = foreign::message(&said).replace('\n', "\n    | ");
        let level = event.metadata().level();
        match to.has_ansi_escapes() {
            true => writeln!(to, "\u{1b}[{}m{level:>5}\u{1b}[0m {said}", colour(level)),
            false => writeln!(to, "{level:>5} {said}"),
        }
    }
}

/// The colour of a level, as terminals number them: red, yellow, green, blue, magenta.
fn colour(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

/// Log lines go above the bar.
struct BesideBar {
    bar: Option<ProgressBar>,
}

impl std::io::Write for BesideBar {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Where nobody hears it, it is not said.
        let _ = match &self.bar {
            Some(bar) => bar.suspend(|| std::io::stderr().write_all(bytes)),
            None => std::io::stderr().write_all(bytes),
        };
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Meter for Console {
    fn device(&self, device: &str) {
        self.say(device);
    }

    fn tick(&self, stage: &str, done: u64, total: u64) {
        let Some(bar) = &self.bar else { return };
        let mut current = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != stage || bar.length() != Some(total) || done < bar.position() {
            *current = stage.to_owned();
            let template = "{msg:11} {wide_bar} {human_pos}/{human_len} {rate:>9} {eta:>4} left";
            let style = ProgressStyle::with_template(template).expect("a valid template");
            bar.set_style(style.with_key("rate", |state: &ProgressState, to: &mut dyn fmt::Write| {
                let _ = to.write_str(&rate(state.per_sec()));
            }));
            bar.set_message(foreign::word(stage).into_owned());
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
        // A run that goes on may have been stopped before its last round was shown.
        self.show_events();
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
        self.show_events();
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// How many a second, in three digits.
fn rate(per_second: f64) -> String {
    match per_second {
        rate if !rate.is_finite() || rate <= 0.0 => "-/s".to_owned(),
        rate if rate < 9.995 => format!("{rate:.2}/s"),
        rate if rate < 99.95 => format!("{rate:.1}/s"),
        rate if rate < 1e4 => format!("{rate:.0}/s"),
        rate if rate < 1e7 => format!("{:.0}k/s", rate / 1e3),
        rate => format!("{:.0}M/s", rate / 1e6),
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_three_digits_at_the_most() {
        for (per_second, shown) in [
            (165.237615538265, "165/s"),
            (0.0, "-/s"),
            (f64::NAN, "-/s"),
            (0.0421, "0.04/s"),
            (2.999, "3.00/s"),
            (9.999, "10.0/s"),
            (99.96, "100/s"),
            (9_999.0, "9999/s"),
            (123_456.0, "123k/s"),
            (12_345_678.0, "12M/s"),
        ] {
            assert_eq!(rate(per_second), shown);
        }
    }
}
