//! Whatever happens to a file operation, the same command again, or `resume`, ends with the bytes of one that nobody disturbed;
//! and a bit that flips in any file is refused by name, mended, or of no consequence.
//!
//! The faults are those of `faults/inject.c`. By default there is a short sample of them; with COLDSTART_LONG_TESTS all are done that
//! the tables below ask for.

use coldstart_plugin_api::Rng;
use coldstart_tests::{Lab, Ran, TINY, files_under, library, repository};
use image::{Rgb, RgbImage};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// What may happen to an operation, as `faults/inject.c` calls it.
const MODES: [&str; 5] = ["kill-before", "kill-after", "short", "eio", "enospc"];

/// The seed of everything that is drawn here.
const SEED: u8 = 19;

fn is_long() -> bool {
    std::env::var_os("COLDSTART_LONG_TESTS").is_some()
}

/// Something that the program does, in a laboratory that is the same each time.
struct Scenario {
    name: &'static str,
    /// What is there before.
    prepare: fn(&Lab),
    /// What is done, and disturbed.
    args: &'static [&'static str],
    /// What is done afterwards, one after the other until one ends well; each list is tried if the one before did not.
    again: fn(&Lab) -> Vec<Vec<&'static str>>,
    /// What is said where it was done already when it was disturbed.
    done: Option<&'static str>,
    /// The folders whose files are compared.
    compared: &'static [&'static str],
    /// Disturbances of each mode: by default, and where tests may take long.
    points: [usize; 2],
}

const RUN: &[&str] = &[
    "run",
    "tiny.toml",
    "--out",
    "run",
    "-s",
    "dataset.size=60",
    "-s",
    "dataset.test_size=20",
    "-s",
    "query.rounds=2",
    "-s",
    "query.strategy=hostile",
];
const PRETEXT: &[&str] = &[
    "--cache",
    "cache",
    "run",
    "tiny.toml",
    "--out",
    "run",
    "-s",
    "dataset.size=60",
    "-s",
    "dataset.test_size=20",
    "-s",
    "initial.strategy=pt4al",
    "-s",
    "initial.params={ groups = 3, epochs = 2 }",
    "-s",
    "query.rounds=1",
];
const SWEEP: &[&str] = &["sweep", "sweep.toml", "--out", "study", "--jobs", "2"];
const SELECT: &[&str] = &[
    "select",
    "--images",
    "photos",
    "--out",
    "project",
    "--strategy",
    "random",
    "--size",
    "2",
    "-s",
    "threads=1",
    "-s",
    "dataset.shape=[16, 16, 3]",
    "-s",
    "model.width=4",
    "--format",
    "label-studio",
];
const INGEST: &[&str] = &["ingest", "project", "labels.csv"];
const INSTALL: &[&str] = &["plugin", "install", "margin.csp", "--allow-unsigned"];
const CACHE: &[&str] = &["--cache", "cache", "cache", "clean"];
const EXPORT: &[&str] = &["export", "run", "--tensorboard", "events", "--mlflow", "mlflow"];

const SCENARIOS: [Scenario; 9] = [
    Scenario {
        name: "run",
        prepare: nothing,
        args: RUN,
        again: run_again,
        done: None,
        compared: &["run"],
        points: [2, 60],
    },
    Scenario {
        name: "pretext",
        prepare: nothing,
        args: PRETEXT,
        again: pretext_again,
        done: None,
        compared: &["run", "cache"],
        points: [1, 30],
    },
    Scenario {
        name: "resume",
        prepare: half_a_run,
        args: &["resume", "run"],
        again: run_again,
        done: None,
        compared: &["run"],
        points: [1, 40],
    },
    Scenario {
        name: "sweep",
        prepare: a_sweep,
        args: SWEEP,
        again: sweep_again,
        done: None,
        compared: &["study"],
        points: [0, 20],
    },
    Scenario {
        name: "select",
        prepare: photographs,
        args: SELECT,
        again: |_| vec![SELECT.to_vec()],
        done: Some("has a label yet"),
        compared: &["project"],
        points: [1, 30],
    },
    Scenario {
        name: "ingest",
        prepare: a_project,
        args: INGEST,
        again: |_| vec![INGEST.to_vec()],
        done: None,
        compared: &["project"],
        points: [1, 15],
    },
    Scenario {
        name: "install",
        prepare: a_package,
        args: INSTALL,
        again: |_| vec![INSTALL.to_vec()],
        done: None,
        compared: &["home/data"],
        points: [1, 20],
    },
    Scenario {
        name: "cache",
        prepare: a_cache,
        args: CACHE,
        again: |_| vec![CACHE.to_vec()],
        done: None,
        compared: &["cache"],
        points: [1, 10],
    },
    Scenario {
        name: "export",
        prepare: a_run,
        args: EXPORT,
        again: |_| vec![EXPORT.to_vec()],
        done: None,
        compared: &["events", "mlflow"],
        points: [1, 15],
    },
];

fn nothing(_: &Lab) {}

fn a_run(lab: &Lab) {
    lab.coldstart(RUN).exits(0);
}

/// A run that its strategy stopped in the last round.
fn half_a_run(lab: &Lab) {
    a_run(lab);
    let journal = fs::read_to_string(lab.path("run/journal.jsonl")).expect("a journal");
    let cut = journal.find("\"event\":\"round-finished\",\"round\":2").expect("a last round");
    let whole = journal[..cut].rfind('\n').expect("lines before it") + 1;
    lab.write("run/journal.jsonl", &journal[..whole]);
    // Its checkpoint would be there if the run had been stopped before it.
    let (last, before) = (lab.path("run/checkpoints/002"), lab.path("run/checkpoints/001"));
    assert!(last.is_dir() && !before.exists());
    let fresh = Lab::new();
    fresh
        .coldstart(&[&RUN[..RUN.len() - 4], &["-s", "query.rounds=1", "-s", "query.strategy=hostile"]].concat())
        .exits(0);
    copy_folder(&fresh.path("run/checkpoints/001"), &before);
    fs::remove_dir_all(last).expect("a folder to remove");
}

fn a_sweep(lab: &Lab) {
    let tiny = TINY.replace("size = 300", "size = 60").replace("rounds = 3", "rounds = 1");
    lab.write("sweep.toml", format!("{tiny}[sweep]\nseed = [1, 2]\n\"query.strategy\" = [\"entropy\", \"margin\"]\n"));
}

fn photographs(lab: &Lab) {
    for number in 0..6u8 {
        let image = RgbImage::from_fn(20, 20, |x, y| Rgb([40 * number, (9 * x) as u8, (9 * y) as u8]));
        let path = lab.write(&format!("photos/{number}.png"), "");
        image.save(path).expect("a writable folder");
    }
}

fn a_project(lab: &Lab) {
    photographs(lab);
    lab.coldstart(SELECT).exits(0);
    let picks = fs::read_to_string(lab.path("project/picks.csv")).expect("picks");
    let label =
        |(i, row): (usize, &str)| format!("{},{}\n", row.split(',').nth(1).expect("an image"), ["ant", "bee"][i % 2]);
    let rows: String = picks.lines().skip(1).enumerate().map(label).collect();
    lab.write("labels.csv", format!("image,label\n{rows}"));
}

fn a_package(lab: &Lab) {
    let margin = library("margin");
    let license = repository().join("LICENSE-MIT");
    let [margin, license] = [&margin, &license].map(|path| path.to_str().expect("a plain path"));
    fs::create_dir(lab.path("packed")).expect("a folder");
    let packed = lab.coldstart(&["plugin", "pack", margin, "--license", license, "-o", "packed"]);
    let package = lab.path(packed.exits(0).stdout.trim());
    fs::rename(package, lab.path("margin.csp")).expect("a package");
}

fn a_cache(lab: &Lab) {
    lab.coldstart(PRETEXT).exits(0);
}

/// A run that has a config is gone on with; one that has not begun is begun again.
fn run_again(lab: &Lab) -> Vec<Vec<&'static str>> {
    vec![if lab.path("run/config.toml").exists() { vec!["resume", "run"] } else { RUN.to_vec() }]
}

fn pretext_again(lab: &Lab) -> Vec<Vec<&'static str>> {
    let resume = vec!["--cache", "cache", "resume", "run"];
    vec![if lab.path("run/config.toml").exists() { resume } else { PRETEXT.to_vec() }]
}

/// Runs that were under way when a worker died, or could not write, have failed: `--retry` has them tried again.
fn sweep_again(_: &Lab) -> Vec<Vec<&'static str>> {
    vec![SWEEP.to_vec(), [SWEEP, &["--retry"]].concat()]
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a writable folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (theirs, ours) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().expect("a file's type").is_dir() {
            true => copy_folder(&theirs, &ours),
            false => drop(fs::copy(&theirs, &ours).expect("a readable file")),
        }
    }
}

/// A laboratory that is brought back to where it was, at the same place: paths stand in configs.
struct Bench {
    lab: Lab,
    before: TempDir,
}

impl Bench {
    fn new(prepare: fn(&Lab)) -> Bench {
        let lab = Lab::new();
        fs::copy(library("hostile"), lab.path("plugins").join(coldstart_tests::library_name("hostile")))
            .expect("a library");
        prepare(&lab);
        let before = tempfile::tempdir().expect("a temporary folder");
        copy_folder(&lab.path(""), before.path());
        Bench { lab, before }
    }

    fn reset(&self) {
        for entry in fs::read_dir(self.lab.path("")).expect("a folder").flatten() {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.expect("a writable folder");
        }
        copy_folder(self.before.path(), &self.lab.path(""));
    }
}

/// The compiled `faults/inject.c`, and the file that its processes share.
struct Injector {
    folder: TempDir,
}

impl Injector {
    /// None where there is no compiler for C.
    fn get() -> Option<&'static Injector> {
        static INJECTOR: OnceLock<Option<Injector>> = OnceLock::new();
        INJECTOR.get_or_init(Injector::build).as_ref()
    }

    fn build() -> Option<Injector> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = repository().join("tests/faults/inject.c");
        let library = folder.path().join("inject.so");
        let cc =
            Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(library).arg(source).arg("-ldl").status();
        match cc {
            Ok(status) => assert!(status.success(), "tests/faults/inject.c does not compile"),
            Err(error) => {
                eprintln!("skipped: there is no `cc`: {error}");
                return None;
            }
        }
        Some(Injector { folder })
    }

    /// Run the program with this fault.
    fn run(&self, lab: &Lab, args: &[&str], mode: &str, at: usize) -> Faulty {
        let counter = self.folder.path().join("counter");
        fs::write(&counter, vec![0u8; 4096]).expect("a writable folder");
        let root = lab.path("").canonicalize().expect("the laboratory");
        let mut command = lab.command(args);
        command.env("LD_PRELOAD", self.folder.path().join("inject.so")).env("FAULT_ROOT", root);
        command.env("FAULT_COUNTER", &counter).env("FAULT_AT", at.to_string()).env("FAULT_MODE", mode);
        let output = command.stdin(Stdio::null()).output().expect("the program starts");
        let shared = fs::read(counter).expect("a readable file");
        let operations = i64::from_le_bytes(*shared.first_chunk().expect("a number")) as usize;
        let what = String::from_utf8_lossy(&shared[16..]).trim_end_matches('\0').to_owned();
        Faulty { output, operations, what }
    }
}

/// How a disturbed program ended.
struct Faulty {
    output: Output,
    operations: usize,
    /// The operation that was disturbed.
    what: String,
}

impl Faulty {
    /// It ended as a program does that knows what happened, or was killed as it was meant to be.
    #[track_caller]
    fn is_no_crash(&self, mode: &str, what: &str) {
        let stderr = String::from_utf8_lossy(&self.output.stderr);
        let killed = self.output.status.signal() == Some(9) && mode.starts_with("kill");
        let told = matches!(self.output.status.code(), Some(0..=3));
        assert!((killed || told) && !stderr.contains("panicked"), "{what}: {:?}\n{stderr}", self.output.status);
    }
}

/// What differs between two times without any disturbance: times, and who worked on what.
fn is_about_times(path: &str) -> bool {
    let names = [
        "journal.jsonl",
        "environment.json",
        "timings.json",
        "report.html",
        "index.html",
        "hashes.json",
        "inputs.json",
        "entry.json",
        "entry.sha256",
    ];
    // A round 0 that several runs share has the config of whichever came first.
    let of_first = path.contains("/round0/") && ["config.toml", "plugins.lock"].iter().any(|name| path.ends_with(name));
    of_first || names.iter().any(|name| path.ends_with(name)) || path.contains("/tensorboard/")
}

/// What need not be there.
fn is_beside(path: &str) -> bool {
    [".lock", "calls.txt"].iter().any(|ending| path.ends_with(ending))
        || ["/logs/", "/claims/", "/failures/"].iter().any(|folder| path.contains(folder))
}

/// `picks.json` without its times.
fn without_times(bytes: &[u8]) -> Vec<u8> {
    let mut picks: Value = serde_json::from_slice(bytes).expect("JSON");
    for key in ["time", "seconds"] {
        picks.as_object_mut().expect("an object").remove(key);
    }
    picks.to_string().into_bytes()
}

/// All files below these folders, with their bytes unless they are about times.
fn outcome(lab: &Lab, folders: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let mut outcome = BTreeMap::new();
    for file in folders.iter().flat_map(|folder| files_under(&lab.path(folder))) {
        let name = file.strip_prefix(lab.path("")).expect("a file of the laboratory").display().to_string();
        let bytes = fs::read(&file).expect("a readable file");
        let bytes = match &name {
            name if is_beside(name) => continue,
            name if is_about_times(name) => Vec::new(),
            name if name.ends_with("picks.json") => without_times(&bytes),
            _ => bytes,
        };
        outcome.insert(name, bytes);
    }
    outcome
}

fn differences(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differs = names.into_iter().filter(|name| found.get(*name) != expected.get(*name));
    differs.cloned().collect()
}

/// What came of the disturbances of a scenario.
#[derive(Debug, Default)]
struct Tally {
    points: usize,
    operations: usize,
    problems: Vec<String>,
}

fn disturb(scenario: &Scenario, injector: &Injector, points: usize) -> Tally {
    let bench = Bench::new(scenario.prepare);
    let lab = &bench.lab;
    let counted = injector.run(lab, scenario.args, "count", 0);
    assert!(counted.output.status.success(), "{}: {}", scenario.name, String::from_utf8_lossy(&counted.output.stderr));
    let expected = outcome(lab, scenario.compared);
    bench.reset();
    lab.coldstart(scenario.args).exits(0);
    let again = outcome(lab, scenario.compared);
    assert_eq!(differences(&again, &expected), Vec::<String>::new(), "{}: it differs by itself", scenario.name);

    let mut rng = Rng::for_stream([SEED; 32], scenario.name);
    let mut tally = Tally { operations: counted.operations, ..Tally::default() };
    for mode in MODES {
        for _ in 0..points {
            let at = 1 + rng.below(counted.operations as u64) as usize;
            bench.reset();
            let faulty = injector.run(lab, scenario.args, mode, at);
            let what = format!("{} {mode} {at} ({})", scenario.name, faulty.what);
            tally.points += 1;
            faulty.is_no_crash(mode, &what);
            let again = if faulty.output.status.success() { Vec::new() } else { (scenario.again)(lab) };
            let (mut is_done, mut said) = (again.is_empty(), String::new());
            for args in again {
                let Ran { code, stderr, .. } = lab.coldstart(&args);
                // It was done already when it was disturbed.
                is_done = code == Some(0) || scenario.done.is_some_and(|done| stderr.contains(done));
                said = stderr;
                if is_done {
                    break;
                }
            }
            let differing = differences(&outcome(lab, scenario.compared), &expected);
            if !is_done {
                tally.problems.push(format!("{what}: cannot be gone on with: {said}"));
            } else if !differing.is_empty() {
                tally.problems.push(format!("{what}: differs in {differing:?}\n{said}"));
            }
            if let Some(problem) = tally.problems.last().filter(|problem| problem.starts_with(&what)) {
                eprintln!("{problem}");
            }
        }
    }
    eprintln!(
        "{}: {} operations, {} disturbances, {} problems",
        scenario.name,
        tally.operations,
        tally.points,
        tally.problems.len()
    );
    tally
}

#[test]
fn whatever_a_file_operation_meets_the_result_is_the_same() {
    let Some(injector) = Injector::get() else { return };
    let only = std::env::var("COLDSTART_FAULTS").ok();
    let chosen = SCENARIOS.iter().filter(|scenario| only.as_deref().is_none_or(|only| only == scenario.name));
    let tallies: Vec<Tally> =
        chosen.map(|scenario| disturb(scenario, injector, scenario.points[usize::from(is_long())])).collect();
    let points: usize = tallies.iter().map(|tally| tally.points).sum();
    let problems: Vec<&String> = tallies.iter().flat_map(|tally| &tally.problems).collect();
    eprintln!("seed {SEED}: {points} disturbances, {} problems", problems.len());
    assert!(problems.is_empty(), "{} of {points}: {problems:#?}", problems.len());
}

/// Files that rot, and who is asked afterwards.
struct Rot {
    name: &'static str,
    prepare: fn(&Lab),
    /// The folders whose files rot.
    folders: &'static [&'static str],
    /// Who is asked: all of them, one after the other.
    asked: &'static [&'static [&'static str]],
    /// The files that are compared.
    compared: fn(&Lab) -> BTreeMap<String, Vec<u8>>,
    /// Flipped bits: by default, and where tests may take long.
    flips: [usize; 2],
}

const SELECT_AGAIN: &[&str] = &[
    "select",
    "--images",
    "photos",
    "--out",
    "project",
    "--strategy",
    "margin",
    "--size",
    "1",
    "-s",
    "threads=1",
    "-s",
    "training.min_steps=5",
];

const ROTTING: [Rot; 5] = [
    Rot {
        name: "half a run",
        prepare: half_a_run,
        folders: &["run"],
        asked: &[&["resume", "run"]],
        compared: |lab| outcome(lab, &["run"]),
        flips: [6, 80],
    },
    Rot {
        name: "a run",
        prepare: a_run,
        folders: &["run"],
        asked: &[&["report", "run"], EXPORT, &["resume", "run"]],
        compared: |lab| outcome(lab, &["events", "mlflow", "run/rounds"]),
        flips: [3, 60],
    },
    Rot {
        name: "a study",
        prepare: a_study,
        folders: &["study"],
        asked: &[&["report", "study"], SWEEP],
        compared: |lab| outcome(lab, &["study/tables", "study/plan.csv", "study/runs"]),
        flips: [0, 60],
    },
    Rot {
        name: "a project",
        prepare: a_labelled_project,
        folders: &["project"],
        asked: &[SELECT_AGAIN],
        compared: |lab| outcome(lab, &["project"]),
        flips: [3, 60],
    },
    Rot {
        name: "a cache",
        prepare: |lab| {
            a_cache(lab);
            fs::remove_dir_all(lab.path("run")).expect("a run");
        },
        folders: &["cache"],
        asked: &[PRETEXT],
        compared: |lab| outcome(lab, &["run", "cache"]),
        flips: [2, 40],
    },
];

fn a_study(lab: &Lab) {
    a_sweep(lab);
    lab.coldstart(SWEEP).exits(0);
}

fn a_labelled_project(lab: &Lab) {
    a_project(lab);
    lab.coldstart(INGEST).exits(0);
}

/// A file with a flipped bit, and what it held.
struct Flipped {
    path: PathBuf,
    name: String,
    flipped: Vec<u8>,
    bit: usize,
}

impl Flipped {
    fn draw(files: &[PathBuf], number: usize, rng: &mut Rng) -> Flipped {
        // Each file once before any is drawn again.
        let path = files[number % files.len()].clone();
        let mut flipped = fs::read(&path).expect("a readable file");
        let bit = rng.below(8 * flipped.len() as u64) as usize;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        Flipped { path, name, flipped, bit }
    }
}

#[test]
fn no_flipped_bit_changes_a_result_in_silence() {
    let only = std::env::var("COLDSTART_ROT").ok();
    let (mut n, mut refused, mut problems) = (0, 0, Vec::new());
    for rot in ROTTING.iter().filter(|rot| only.as_deref().is_none_or(|only| only == rot.name)) {
        let bench = Bench::new(rot.prepare);
        let lab = &bench.lab;
        for args in rot.asked {
            lab.coldstart(args).exits(0);
        }
        let expected = (rot.compared)(lab);
        bench.reset();
        let files = rot.folders.iter().flat_map(|folder| files_under(&lab.path(folder)));
        let files: Vec<PathBuf> = files.filter(|file| fs::metadata(file).is_ok_and(|file| file.len() > 0)).collect();
        let mut rng = Rng::for_stream([SEED; 32], rot.name);
        for number in 0..rot.flips[usize::from(is_long())] {
            bench.reset();
            let Flipped { path, name, flipped, bit } = Flipped::draw(&files, number, &mut rng);
            fs::write(&path, &flipped).expect("a writable file");
            n += 1;
            let told: Vec<Ran> = rot.asked.iter().map(|args| lab.coldstart(args)).collect();
            let what = format!("{}: bit {bit} of {}", rot.name, path.display());
            let is_named = told.iter().any(|ran| ran.stderr.contains(&name));
            let crashed = told.iter().find(|ran| !matches!(ran.code, Some(0..=3)) || ran.stderr.contains("panicked"));
            if let Some(crashed) = crashed {
                problems.push(format!("{what}: {:?} {}", crashed.code, crashed.stderr));
            } else if told.iter().any(|ran| ran.code != Some(0)) {
                refused += 1;
                if !is_named {
                    let said: Vec<&String> = told.iter().map(|ran| &ran.stderr).collect();
                    problems.push(format!("{what}: refused, but not by its name: {said:?}"));
                }
            } else {
                // The flipped file itself may be one that nothing goes on from.
                let below = path.strip_prefix(lab.path("")).expect("a file of the laboratory").display().to_string();
                let mut differing = differences(&(rot.compared)(lab), &expected);
                let stays = fs::read(&path).is_ok_and(|bytes| bytes == flipped);
                differing.retain(|file| !(stays && *file == below));
                if !differing.is_empty() {
                    problems.push(format!("{what}: differs in {differing:?}"));
                }
            }
            if let Some(problem) = problems.last().filter(|problem| problem.starts_with(&what)) {
                eprintln!("{problem}");
            }
        }
        eprintln!(
            "{}: {} files, {n} flips so far, {refused} refused, {} problems",
            rot.name,
            files.len(),
            problems.len()
        );
    }
    eprintln!("seed {SEED}: {n} flips, {refused} refused, {} problems", problems.len());
    assert!(problems.is_empty(), "{} of {n}: {problems:#?}", problems.len());
}
