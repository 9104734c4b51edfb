//! Runs in the forms of other tools, read back by those tools where they are installed.

use coldstart_tests::{Lab, Ran, files_under, study_lab, sweep};
use std::path::Path;
use std::process::Command;

/// What a Python script prints; nothing where it lacks a module.
fn python(module: &str, script: &str, argument: &Path) -> Option<String> {
    let has = Command::new("python3").args(["-c", &format!("import {module}")]).output();
    if !has.is_ok_and(|has| has.status.success()) {
        eprintln!("skipped: python3 has no module `{module}`");
        return None;
    }
    let output = Command::new("python3").arg("-c").arg(script).arg(argument).output().unwrap();
    let ran = Ran::of(output);
    ran.exits(0);
    Some(ran.stdout)
}

/// Accuracy by round, as `results.csv` has it.
fn accuracies(run: &Path) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(run.join("results.csv")).unwrap();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        (fields[1].parse().unwrap(), fields[3].parse().unwrap())
    };
    text.lines().skip(1).map(row).collect()
}

/// Pairs of labels and accuracy that a script has printed, line by line.
fn printed(text: &str) -> Vec<(u64, f64)> {
    let pair = |line: &str| {
        let (labels, accuracy) = line.split_once(' ').unwrap();
        (labels.parse().unwrap(), accuracy.parse().unwrap())
    };
    text.lines().map(pair).collect()
}

#[track_caller]
fn same(read: &[(u64, f64)], written: &[(u64, f64)]) {
    assert_eq!(read.len(), written.len());
    for ((labels, accuracy), (expected_labels, expected)) in read.iter().zip(written) {
        // Event files hold f32, results.csv six digits.
        assert!(labels == expected_labels && (accuracy - expected).abs() < 1e-6, "{read:?} {written:?}");
    }
}

#[test]
fn tensorboard_reads_a_run_that_was_stopped_and_went_on() {
    let lab = Lab::new();
    lab.run("run", &[]).exits(0);
    let events = "run/tensorboard/events.out.tfevents.0.coldstart";
    let whole = std::fs::read(lab.path(events)).unwrap();
    // As a crash leaves it: the last record torn, and a round to be done again.
    std::fs::write(lab.path(events), &whole[..whole.len() - 7]).unwrap();
    lab.coldstart(&["export", "run", "--tensorboard", "board"]).exits(0).says("1 run for TensorBoard");
    let board = lab.path("board/tiny/run");
    assert_eq!(std::fs::read(board.join("events.out.tfevents.0.coldstart")).unwrap(), whole);
    let script = "import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]); events.Reload()
assert 'config/text_summary' in events.Tags()['tensors'] or 'config' in events.Tags()['tensors'], events.Tags()
for event in events.Scalars('test/accuracy'): print(event.step, event.value)";
    if let Some(text) = python("tensorboard", script, &board) {
        same(&printed(&text), &accuracies(&lab.path("run")));
    }
}

#[test]
fn mlflow_finds_the_runs_of_a_study() {
    let lab = study_lab("[sweep]\n\"query.strategy\" = [\"random\", \"entropy\"]\nseed = [1, 2]\n");
    sweep(&lab, &[]).exits(0);
    let ran = lab.coldstart(&["export", "study", "--mlflow", "store"]);
    ran.exits(0).says("4 runs for MLflow");
    assert_eq!(ran.stdout.trim(), "store");
    let before: Vec<_> = files_under(&lab.path("store"));
    lab.coldstart(&["export", "study", "--mlflow", "store"]).exits(0);
    assert_eq!(files_under(&lab.path("store")), before);
    let script = "import os, sys
os.environ['MLFLOW_ALLOW_FILE_STORE'] = 'true'
import mlflow
mlflow.set_tracking_uri('file://' + sys.argv[1])
client = mlflow.MlflowClient()
runs = [r for e in client.search_experiments(filter_string=\"name = 'tiny'\") for r in client.search_runs([e.experiment_id])]
assert len(runs) == 4 and all(r.info.status == 'FINISHED' for r in runs), runs
run = [r for r in runs if r.data.params['query.strategy'] == 'entropy' and r.data.params['seed'] == '2'][0]
assert run.info.run_name == 'entropy, 2' and run.data.tags['coldstart.axis.seed'] == '2', run
assert 'config.toml' in [a.path for a in client.list_artifacts(run.info.run_id)]
print(run.data.tags['coldstart.run'])
for m in client.get_metric_history(run.info.run_id, 'test/accuracy'): print(m.step, m.value)";
    if let Some(text) = python("mlflow", script, &lab.path("store")) {
        let (name, metrics) = text.split_once('\n').unwrap();
        same(&printed(metrics), &accuracies(&lab.path("study/runs").join(name)));
    }
}

#[test]
fn mistakes_are_told() {
    let lab = Lab::new();
    lab.run("run", &[]).exits(0);
    lab.write("full/thesis.tex", "precious");
    for (args, code, said) in [
        (&["export", "run"][..], 2, "--mlflow"),
        (&["export", "run", "--mlflow", "full"], 1, "holds `thesis.tex`"),
        (&["export", "full", "--mlflow", "store"], 1, "is not a run"),
        (&["export", "run", "--tensorboard", "full/thesis.tex"], 1, "cannot write"),
    ] {
        lab.coldstart(args).exits(code).says(said);
    }
}
