//! Studies in a laboratory.

use crate::{Lab, Ran, TINY, files_under, results, until};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// A laboratory with `sweep.toml`: the smallest experiment, and this table.
pub fn study_lab(sweep: &str) -> Lab {
    let lab = Lab::new();
    lab.write("sweep.toml", format!("{TINY}{sweep}"));
    lab
}

/// `coldstart sweep sweep.toml --out study ...`.
pub fn sweep(lab: &Lab, args: &[&str]) -> Ran {
    lab.coldstart(&[&["sweep", "sweep.toml", "--out", "study"], args].concat())
}

/// The same, and one of its workers is killed in the first rounds of a run.
pub fn sweep_with_a_worker_killed(lab: &Lab, args: &[&str]) -> Ran {
    let mut command = lab.command(&[&["sweep", "sweep.toml", "--out", "study"], args].concat());
    let watching = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("a run that has just begun", || worker(lab).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok()));
    Ran::of(watching.wait_with_output().unwrap())
}

/// A process in the first rounds of a run of this laboratory's study: between two runs it takes none along.
fn worker(lab: &Lab) -> Option<Pid> {
    let study = lab.path("study");
    let begun = |run: &str| {
        let journal = fs::read_to_string(study.join("runs").join(run).join("journal.jsonl")).unwrap_or_default();
        journal.contains("round-started") && !journal.contains("\"selected\",\"round\":2")
    };
    let claims = fs::read_dir(study.join("claims")).ok()?.flatten();
    let held = claims.filter(|claim| claim.file_name().to_str().is_some_and(begun));
    let names: Vec<String> = held.filter_map(|claim| holder(&claim.path())).collect();
    // Its name is an argument.
    let is_worker = |pid: i32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = command.split('\0');
        words.any(|word| word == "worker") && words.any(|word| names.iter().any(|name| name == word))
    };
    let pids = fs::read_dir("/proc").ok()?.flatten();
    let pid = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid| is_worker(*pid));
    Pid::from_raw(pid?)
}

/// Who holds the last of these claims, if somebody does.
fn holder(claims: &Path) -> Option<String> {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let last = fs::read_dir(claims).ok()?.flatten().filter_map(number).max()?;
    let text = fs::read(claims.join(last.to_string())).ok()?;
    let said: serde_json::Value = serde_json::from_slice(&text).ok()?;
    (said["state"] == "held").then(|| said["holder"]["name"].as_str().map(str::to_owned))?
}

/// The rows of the plan: the run's name, and what the axes have.
pub fn plan(lab: &Lab) -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(lab.path("study/plan.csv")).unwrap();
    let row = |line: &str| {
        let mut fields = line.split(',').map(str::to_owned);
        let run = fields.next().unwrap();
        (run, fields.skip(1).collect())
    };
    text.lines().skip(1).map(row).collect()
}

/// What must not depend on how the study came about: the tables, and the numbers of every run.
pub fn outcome(lab: &Lab) -> BTreeMap<String, Vec<u8>> {
    let study = lab.path("study");
    let tables = files_under(&study.join("tables")).into_iter();
    let mut all: BTreeMap<String, Vec<u8>> = tables
        .map(|file| (file.strip_prefix(&study).unwrap().display().to_string(), fs::read(&file).unwrap()))
        .collect();
    for (run, _) in plan(lab) {
        all.extend(
            results(&study.join("runs").join(&run)).into_iter().map(|(file, bytes)| (format!("{run}/{file}"), bytes)),
        );
    }
    all
}
