//! `log` and `tracing` inside a plugin, carried to the host.
//!
//! Both crates keep their sink in a static, and every dynamic library has statics of its own: without a bridge a
//! plugin logs to nowhere. The bridge collects records from any of the plugin's threads and hands them over whenever
//! the plugin talks to the host, and at the end of the call.

use crate::abi::HostRef;
use crate::abi::std_types::{RSlice, RStr};
use crate::wire;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Levels on the wire: 1 error, 2 warn, 3 info, 4 debug, 5 trace.
const LEVELS: [u8; 5] = [1, 2, 3, 4, 5];

/// The most verbose level that the host listens to; 0 before the first call.
static LISTENING: AtomicU8 = AtomicU8::new(0);
static WAITING: Mutex<Vec<Record>> = Mutex::new(Vec::new());
/// Records beyond this many are dropped until the next flush, so that a flood costs bounded memory.
const MOST_WAITING: usize = 10_000;

struct Record {
    level: u8,
    target: String,
    message: String,
    fields: BTreeMap<String, String>,
}

/// Install the bridge, once, and take over the host's level.
pub(crate) fn start(host: &HostRef<'_>) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        // Either fails only where the process has a logger already: a test of the plugin as a plain library.
        if log::set_logger(&Bridge).is_ok() {
            log::set_max_level(log::LevelFilter::Trace);
        }
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Bridge));
    });
    let listening = LEVELS.into_iter().rev().find(|level| host.log_enabled(*level, RStr::from("")));
    LISTENING.store(listening.unwrap_or(0), Ordering::Relaxed);
}

/// Hand over what has been logged since the last time.
pub(crate) fn flush(host: &HostRef<'_>) {
    let records = std::mem::take(&mut *WAITING.lock().unwrap_or_else(PoisonError::into_inner));
    for record in records {
        let fields = if record.fields.is_empty() { Vec::new() } else { wire::encode(&record.fields) };
        host.log(
            record.level,
            RStr::from(record.target.as_str()),
            RStr::from(record.message.as_str()),
            RSlice::from(fields.as_slice()),
        );
    }
}

fn push(record: Record) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    if waiting.len() < MOST_WAITING {
        waiting.push(record);
    }
}

struct Bridge;

impl log::Log for Bridge {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() as u8 <= LISTENING.load(Ordering::Relaxed)
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let (level, target) = (record.level() as u8, record.target().to_owned());
            push(Record { level, target, message: record.args().to_string(), fields: BTreeMap::new() });
        }
    }

    fn flush(&self) {}
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Bridge {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        level(metadata.level()) <= LISTENING.load(Ordering::Relaxed)
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut record = Record {
            level: level(metadata.level()),
            target: metadata.target().to_owned(),
            message: String::new(),
            fields: BTreeMap::new(),
        };
        event.record(&mut record);
        push(record);
    }
}

fn level(level: &tracing::Level) -> u8 {
    match *level {
        tracing::Level::ERROR => 1,
        tracing::Level::WARN => 2,
        tracing::Level::INFO => 3,
        tracing::Level::DEBUG => 4,
        tracing::Level::TRACE => 5,
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}"); // writing to a String cannot fail
        } else {
            self.fields.insert(field.name().to_owned(), format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().to_owned(), value.to_owned());
    }
}
