//! What the tests share: a laboratory of their own to run the program in, and words for what came out of it.

mod arrays;
mod c;
mod elsewhere;
pub mod project;
mod python;
mod study;
mod weak;

pub use arrays::{npy, npy_of_texts, npz, zip_of};
pub use c::{c_manifest, from_c, manifest_section};
pub use elsewhere::{Elsewhere, has_tool};
pub use python::{interpreter_with_kit, path_with, python, python_libraries, run_with};
pub use study::{outcome, plan, study_lab, sweep, sweep_with_a_worker_killed};
pub use weak::without_landlock;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The smallest experiment worth the name: about a second on one core.
pub const TINY: &str = r#"
name = "tiny"
threads = 1 # the tests share the cores
[dataset]
kind = "synthetic"
size = 300
test_size = 100
[model]
backbone = "convnet"
width = 4
[training]
epochs = 2
min_steps = 4
[initial]
strategy = "random"
size = 10
[query]
strategy = "entropy"
size = 5
rounds = 3
"#;

/// Wait until something is so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what} takes too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The folder of the built program; tests run in `deps` below it.
pub fn build_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    test.parent().and_then(Path::parent).expect("target/PROFILE/deps").to_owned()
}

/// Whether tests of several minutes run, as `make test-long` asks; where this one does not, that is said.
pub fn long_tests_run(test: &str) -> bool {
    let run = std::env::var_os("COLDSTART_LONG_TESTS").is_some();
    if !run {
        eprintln!("skipped: {test} takes minutes; `make test-long` runs it");
    }
    run
}

/// The built program.
///
/// # Panics
/// If it is older than its sources: `cargo test` alone does not build the programs that these tests start.
pub fn program() -> PathBuf {
    let program = build_folder().join("coldstart");
    let built = modified(&program);
    let sources = std::fs::read_to_string(program.with_extension("d")).expect("cargo writes what it built from");
    for source in sources.split_whitespace().skip(1).map(Path::new).filter(|source| source.exists()) {
        assert!(modified(source) <= built, "{} is newer: run `cargo build --release` first", source.display());
    }
    program
}

/// The library of a strategy of this workspace.
pub fn library(strategy: &str) -> PathBuf {
    build_folder().join(library_name(strategy))
}

/// A strategy's file name.
pub fn library_name(strategy: &str) -> String {
    format!("libcoldstart_{}.so", strategy.replace('-', "_"))
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the root").to_owned()
}

/// Hold a text against the committed file that was made from it; with BLESS in the environment, write the file.
///
/// # Panics
/// If they differ; it says where, and how to make the file anew.
#[track_caller]
pub fn committed(path: &str, text: &str, test: &str) {
    let file = repository().join(path);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, text).expect("a writable checkout");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = kept.lines().zip(text.lines()).find(|(kept, made)| kept != made);
    assert!(
        kept == text,
        "{path} is not what its sources make: {differs:?} ({} and {} bytes)\nIf that is meant, write it anew with: \
         BLESS=1 cargo test --release -p coldstart-tests --test {test}",
        kept.len(),
        text.len(),
    );
}

fn modified(file: &Path) -> std::time::SystemTime {
    let metadata = file
        .metadata()
        .unwrap_or_else(|error| panic!("{}: {error}: run `cargo build --release` first", file.display()));
    metadata.modified().expect("file systems here know times")
}

/// All files below a folder, sorted.
pub fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            inner if inner.is_dir() => files.extend(files_under(&inner)),
            file => files.push(file),
        }
    }
    files.sort();
    files
}

/// A folder with a home, a plugin folder and `tiny.toml`, in which the program runs as if it were alone on earth.
pub struct Lab {
    folder: TempDir,
}

impl Lab {
    /// A new one, removed when dropped.
    #[allow(clippy::new_without_default, reason = "it makes folders on disk")]
    pub fn new() -> Lab {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("plugins")).expect("a folder");
        let lab = Lab { folder };
        lab.write("tiny.toml", TINY);
        lab
    }

    /// A place in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Write a file, with the folders above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
        std::fs::write(&path, content).expect("a writable temporary folder");
        path
    }

    /// The program with these arguments, not started; it searches `plugins` first.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        let foreign = std::env::vars_os().map(|(name, _)| name);
        for name in foreign.filter(|name| name.to_string_lossy().starts_with("COLDSTART_")) {
            command.env_remove(name);
        }
        command.env("HOME", self.path("home")).env("XDG_DATA_HOME", self.path("home/data"));
        // Most tests are about something else than signatures.
        command.env("COLDSTART_ALLOW_UNSIGNED", "1");
        command
            .env("XDG_CONFIG_HOME", self.path("home/config"))
            .env("XDG_DATA_DIRS", self.path("system"))
            .env("COLDSTART_PLUGIN_PATH", self.path("plugins"));
        // With a backtrace asked of Rust in general: the program must not show one all the same.
        command.env("OMP_WAIT_POLICY", "passive").env("RUST_BACKTRACE", "1");
        command
    }

    /// Have the lab trust a key of its own for every name, and install a library that this key signs; the folder of the package.
    pub fn install_signed(&self, library: &Path) -> PathBuf {
        if !self.path("own.key").exists() {
            self.coldstart(&["plugin", "keys", "new", "own.key", "--no-password"]).exits(0);
            let trust = ["plugin", "trust", "add", "own", "--key", "own.pub", "--names", "*", "*/*"];
            self.coldstart(&trust).exits(0);
        }
        let packed = self.coldstart(&["plugin", "pack", &library.display().to_string(), "-o", "packages"]);
        let package = packed.exits(0).stdout.trim().to_owned();
        self.coldstart(&["plugin", "sign", &package, "--key", "own.key"]).exits(0);
        PathBuf::from(self.coldstart(&["plugin", "install", &package]).exits(0).stdout.trim())
    }

    /// Run the program to its end.
    pub fn coldstart(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().expect("the program starts"))
    }

    /// `coldstart run tiny.toml --out OUT -s ...`.
    pub fn run(&self, out: &str, overrides: &[&str]) -> Ran {
        self.coldstart(&run_args(out, overrides))
    }
}

/// The arguments of [`Lab::run`].
pub fn run_args<'a>(out: &'a str, overrides: &[&'a str]) -> Vec<&'a str> {
    let overrides = overrides.iter().flat_map(|set| ["-s", *set]);
    ["run", "tiny.toml", "--out", out].into_iter().chain(overrides).collect()
}

/// What a run of the program left behind.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Ran {
    /// The output of an ended process.
    pub fn of(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).expect("the program speaks UTF-8");
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Demand an exit code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Ran {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        self
    }

    /// Demand a text on stderr; spaces do not count, because some messages stand in a frame.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Ran {
        assert!(squeeze(&self.stderr).contains(&squeeze(text)), "expected `{text}` in:\n{}", self.stderr);
        self
    }

    /// Demand one readable problem: a message, no noise of a panic.
    #[track_caller]
    pub fn says_one_problem(&self) -> &Ran {
        assert_eq!(self.stderr.matches("×").count(), 1, "{}", self.stderr);
        for noise in ["panicked at", "stack backtrace", "RUST_BACKTRACE"] {
            assert!(!self.stderr.contains(noise), "{}", self.stderr);
        }
        self
    }

    /// stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }
}

fn squeeze(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '│').collect()
}

/// What must never depend on when a run was stopped: `results.csv`, and selections and measures of each round, by path.
pub fn results(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let counts = |file: &Path| {
        ["results.csv", "selection.csv", "sizing.json", "metrics.json", "calls.txt"]
            .iter()
            .any(|name| file.ends_with(name))
    };
    let read = |file: PathBuf| {
        let name = file.strip_prefix(run).expect("a file of the run").display().to_string();
        (name, std::fs::read(&file).expect("a readable file"))
    };
    files_under(run).into_iter().filter(|file| counts(file)).map(read).collect()
}

/// The bytes of a run's `selection.csv` files, by path.
pub fn selections(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut results = results(run);
    results.retain(|file, _| file.ends_with("selection.csv"));
    results
}

/// What a run's journal says of networks that were trained for its strategies, in order.
pub fn pretexts(run: &Path) -> Vec<serde_json::Value> {
    let journal = std::fs::read_to_string(run.join("journal.jsonl")).expect("a journal");
    let lines = journal.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
    lines.filter(|line: &serde_json::Value| line["event"] == "pretext-trained").collect()
}

/// The names of a journal's events.
pub fn events(run: &Path) -> Vec<String> {
    let journal = std::fs::read_to_string(run.join("journal.jsonl")).expect("a journal");
    let event = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        line["event"].as_str().expect("an event has a name").to_owned()
    };
    journal.lines().map(event).collect()
}
