//! Studies under a real Slurm, which `make test-slurm` starts: without one these tests are skipped.

use coldstart_tests::{Lab, Ran, outcome, plan, study_lab, sweep, sweep_with_a_worker_killed, until};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Command, Stdio};

/// Long enough to be met in the middle.
const CROSSED: &str = r#"
[sweep]
"query.rounds" = [30]
"query.strategy" = ["random", "entropy"]
seed = [1, 2, 3]
baseline = { "query.strategy" = "random" }
"#;

const SLURM: &[&str] = &["--executor", "slurm", "--jobs", "2"];

/// Whether there is a Slurm to test with.
fn there_is_slurm() -> bool {
    let there = std::env::var_os("SLURM_CONF").is_some();
    if !there {
        eprintln!("skipped: SLURM_CONF is not set; `make test-slurm` starts a Slurm");
    }
    there
}

fn slurm(lab: &Lab, more: &[&str]) -> Ran {
    sweep(lab, &[SLURM, more].concat())
}

/// What this machine makes of the study by itself.
fn undisturbed() -> std::collections::BTreeMap<String, Vec<u8>> {
    let lab = study_lab(CROSSED);
    sweep(&lab, &["--jobs", "2"]).exits(0);
    outcome(&lab)
}

fn submitted(lab: &Lab) -> String {
    let job: serde_json::Value =
        serde_json::from_slice(&std::fs::read(lab.path("study/slurm/job.json")).unwrap()).unwrap();
    job["id"].as_str().unwrap().to_owned()
}

/// Rounds that count, in all runs.
fn rounds(lab: &Lab) -> usize {
    let journal = |run: &str| std::fs::read_to_string(lab.path("study/runs").join(run).join("journal.jsonl"));
    let runs = std::fs::read_dir(lab.path("study/runs")).into_iter().flatten().flatten();
    let names = runs.filter_map(|run| run.file_name().into_string().ok());
    names.map(|run| journal(&run).unwrap_or_default().matches("round-finished").count()).sum()
}

#[test]
fn under_slurm_the_numbers_are_those_of_this_machine() {
    if !there_is_slurm() {
        return;
    }
    let lab = study_lab(CROSSED);
    let ran = slurm(&lab, &["--sbatch", "--time=10"]);
    ran.exits(0).says("an array of 2").says("6 of 6 runs are done");
    assert_eq!(ran.stdout.trim(), "study/report.html");
    assert_eq!(outcome(&lab), undisturbed());
    // Everything is done: nothing is submitted.
    let job = submitted(&lab);
    slurm(&lab, &[]).exits(0);
    assert_eq!(submitted(&lab), job);
}

#[test]
fn a_job_that_is_cancelled_in_the_middle_is_gone_on_with() {
    if !there_is_slurm() {
        return;
    }
    let lab = study_lab(CROSSED);
    let job = slurm(&lab, &["--detach"]).exits(0).stdout.trim().to_owned();
    assert_eq!(job, submitted(&lab));
    // While it is at work the same command attaches to it.
    let watching = lab.command(&[&["sweep", "sweep.toml", "--out", "study"], SLURM].concat());
    let watching = { watching }.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the first rounds", || rounds(&lab) >= 5);
    assert!(Command::new("scancel").arg(&job).status().unwrap().success());
    let watched = Ran::of(watching.wait_with_output().unwrap());
    watched.exits(1).says("is at work on it already").says("was cancelled; the same command again goes on");
    assert!(rounds(&lab) < 6 * 31, "it was over before it was cancelled");
    slurm(&lab, &[]).exits(0);
    assert_ne!(submitted(&lab), job);
    assert_eq!(outcome(&lab), undisturbed());
}

#[test]
fn a_worker_that_is_killed_takes_one_run_along_and_no_more() {
    if !there_is_slurm() {
        return;
    }
    let lab = study_lab(CROSSED);
    let ran = sweep_with_a_worker_killed(&lab, SLURM);
    ran.exits(1).says("failed: the process that worked on it was killed (signal 9)").says("1 of 6 runs failed");
    slurm(&lab, &["--retry"]).exits(0);
    assert_eq!(outcome(&lab), undisturbed());
}

#[test]
fn ctrl_c_leaves_the_job_at_work() {
    if !there_is_slurm() {
        return;
    }
    let lab = study_lab(CROSSED);
    let watching = lab.command(&[&["sweep", "sweep.toml", "--out", "study"], SLURM].concat());
    let watching = { watching }.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the first rounds", || rounds(&lab) >= 2);
    kill_process(Pid::from_child(&watching), Signal::INT).unwrap();
    let ran = Ran::of(watching.wait_with_output().unwrap());
    ran.exits(130).says("the job goes on");
    slurm(&lab, &[]).exits(0).says("is at work on it already");
    assert_eq!(plan(&lab).len(), 6);
}

#[test]
fn what_slurm_refuses_is_told_and_a_dry_run_submits_nothing() {
    if !there_is_slurm() {
        return;
    }
    let lab = study_lab(CROSSED);
    let dry = slurm(&lab, &["--dry-run", "--sbatch", "--partition=main"]);
    dry.exits(0).says("6 runs in study");
    assert!(dry.stdout.starts_with("#!/bin/bash") && dry.stdout.contains("#SBATCH --partition=main"), "{}", dry.stdout);
    assert!(!lab.path("study").exists());
    slurm(&lab, &["--sbatch", "--partition=nowhere"]).exits(1).says("sbatch refuses the job").says("invalid partition");
    // Without the programs of Slurm.
    let mut command = lab.command(&[&["sweep", "sweep.toml", "--out", "study"], SLURM].concat());
    Ran::of(command.env("PATH", "/nowhere").output().unwrap()).exits(1).says("`sbatch` is not found");
    sweep(&lab, &["--sbatch", "--time=1"]).exits(2).says("need `--executor slurm`");
}
