//! What plugins and bookkeeping cost: opening a plugin, here or in a process of its own, and the share of a round that is
//! neither training nor prediction.
//!
//! `cargo bench -p coldstart --bench overhead`. Opening is measured against a bare `dlopen` of the same file in the same
//! run; each repeat opens bytes that were never loaded before (a byte is appended), because a second load of the same
//! content is a look-up. The share is that of round 1 of `configs/fashion-mnist-entropy.toml` (60 000 images) and needs
//! COLDSTART_DATA. Each line is one tab-separated row, so that a run can be kept beside this file.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its rows")]

use coldstart::config::{Config, ConfigError, Isolation, Sandbox};
use coldstart::experiment::{Metrics, Watcher};
use coldstart::operations::{Cache, Meter};
use coldstart::plugin::trust::TrustStore;
use coldstart::plugin::{Found, Library, Limits, Plugin, PluginError, SearchPath, Verified, as_worker};
use coldstart::session::{self, Options};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const REPEATS: usize = 30;

/// The phases of a round in which a network works.
const MODEL: [&str; 7] = ["train", "augmentation", "forward", "backward", "optimizer", "predict", "evaluate"];

fn main() -> Outcome<()> {
    // A worker of this bench is this bench.
    if let Some(served) = as_worker(std::env::args_os()) {
        return Ok(served?);
    }
    let plugins = std::env::current_exe()?.ancestors().nth(2).ok_or("no target folder")?.to_owned();
    let search = SearchPath::new(std::slice::from_ref(&plugins));
    let plugin = search.resolve("entropy", "query")?;
    opening(&plugin)?;
    match std::env::var_os("COLDSTART_DATA") {
        Some(data) => shares(Path::new(&data), &plugins),
        None => {
            eprintln!("skipped: the share of a round needs COLDSTART_DATA");
            Ok(())
        }
    }
}

fn opening(plugin: &Found) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let bytes = std::fs::read(&plugin.file)?;
    let copy = |i: usize| -> Outcome<PathBuf> {
        let path = folder.path().join(format!("{i}.so"));
        std::fs::write(&path, [bytes.as_slice(), &i.to_le_bytes()].concat())?;
        Ok(path)
    };
    let copies = (0..2 * REPEATS).map(copy).collect::<Outcome<Vec<_>>>()?;
    let (checked, bare) = copies.split_at(REPEATS);
    let checked = median(checked.iter().map(|file| timed(|| Library::load(&verified(file.clone())?).map(|_| ()))))?;
    // SAFETY: our own plugin, whose constructors are the Rust runtime's.
    let bare =
        median(bare.iter().map(|file| timed(|| unsafe { libloading::Library::new(file) }.map(std::mem::forget))))?;
    let worker = verified(plugin.file.clone())?;
    let worker = median((0..REPEATS).map(|_| timed(|| Plugin::load(&worker, Some(&Limits::default())).map(drop))))?;
    println!("opening a plugin in a process of its own, and ending that (ms)\t{:.3}", 1e3 * worker.as_secs_f64());
    println!("opening and checking a plugin (ms)\t{:.3}", 1e3 * checked.as_secs_f64());
    println!("bare dlopen of the same file (ms)\t{:.3}", 1e3 * bare.as_secs_f64());
    println!("ratio\t{:.1}", checked.as_secs_f64() / bare.as_secs_f64());
    Ok(())
}

fn verified(file: PathBuf) -> Result<Verified, PluginError> {
    Verified::read(&Found::named(&file), &TrustStore::open())
}

fn timed<E>(body: impl FnOnce() -> Result<(), E>) -> Result<Duration, E> {
    let start = Instant::now();
    body()?;
    Ok(start.elapsed())
}

fn median<E>(times: impl Iterator<Item = Result<Duration, E>>) -> Result<Duration, E> {
    let mut times = times.collect::<Result<Vec<_>, E>>()?;
    times.sort();
    Ok(times[times.len() / 2])
}

/// The share with the strategies inside the program, and with each in a process of its own.
fn shares(data: &Path, plugins: &Path) -> Outcome<()> {
    let inside = round_share(data, plugins, Isolation::InProcess)?;
    let apart = round_share(data, plugins, Isolation::Process)?;
    println!("a round of fashion-mnist-entropy (s)\t{:.3}", inside.total);
    println!("of it training and prediction (s)\t{:.3}", inside.model);
    println!("of it everything else (%)\t{:.3}", inside.rest());
    println!("the same with processes of their own (%)\t{:.3}", apart.rest());
    println!("choosing, predictions left out (ms)\t{:.3}", 1e3 * inside.select);
    println!("the same with processes of their own (ms)\t{:.3}", 1e3 * apart.select);
    Ok(())
}

/// Seconds of a round.
struct Share {
    total: f64,
    model: f64,
    select: f64,
}

impl Share {
    /// What is neither training nor prediction, in per cent.
    fn rest(&self) -> f64 {
        100.0 * (self.total - self.model) / self.total
    }
}

fn round_share(data: &Path, plugins: &Path, isolation: Isolation) -> Outcome<Share> {
    let folder = tempfile::tempdir()?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/fashion-mnist-entropy.toml");
    let mut config = Config::read(&file, &["query.rounds=1".parse()?])?;
    config.plugins.path.push(plugins.to_owned());
    config.plugins.isolation = isolation;
    let options = Options {
        data_root: Some(data.to_owned()),
        device: "cpu".to_owned(),
        cancelled: Arc::new(AtomicBool::new(false)),
        meter: Arc::new(Silent),
        cache: Cache::new(folder.path().join("cache"), 0),
        allow_unsigned: true,
        allow_learner: false,
        sandbox: Sandbox::BestEffort,
        record: false,
        lock: None,
        threads: 0,
        shelf: Arc::default(),
    };
    let at_key = |key: &str, message: String| ConfigError::at_key(&file, "", &[], key, message);
    session::start(config, (&folder.path().join("run"), None), &options, &mut Silent, &at_key)?;
    let timings: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("run/rounds/001/timings.json"))?)?;
    let seconds = |phase: &str| timings["seconds"][phase].as_f64().unwrap_or(0.0);
    let total = timings["total"].as_f64().ok_or("no total")?;
    Ok(Share { total, model: MODEL.into_iter().map(seconds).sum(), select: seconds("select") + seconds("plugin") })
}

struct Silent;

impl Meter for Silent {
    fn device(&self, _: &str) {}

    fn tick(&self, _: &str, _: u64, _: u64) {}
    fn step(&self, _: &str) {}
}

impl Watcher for Silent {
    fn run_started(&mut self, _: &Path) {}
    fn round_started(&mut self, _: u32, _: u32, _: usize, _: usize) {}
    fn round_finished(&mut self, _: &Metrics, _: Duration) {}
    fn cancelled(&self) -> bool {
        false
    }
}
