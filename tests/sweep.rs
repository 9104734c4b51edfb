//! Studies from outside: every combination once, work shared without a trace in the numbers, whatever is killed.

use coldstart_plugin_api::Rng;
use coldstart_tests::{Lab, Ran, events, files_under, outcome, plan, results, study_lab as lab, sweep};
use coldstart_tests::{sweep_with_a_worker_killed, until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const CROSSED: &str = r#"
[sweep]
"initial.size" = [8, 10]
"query.strategy" = ["random", "entropy"]
seed = [1, 2]
baseline = { "query.strategy" = "random" }
"#;

fn journal(lab: &Lab, run: &str) -> Vec<u8> {
    std::fs::read(lab.path("study/runs").join(run).join("journal.jsonl")).unwrap()
}

#[test]
fn every_combination_is_run_and_shared_work_leaves_no_trace_in_the_numbers() {
    let lab = lab(CROSSED);
    let ran = sweep(&lab, &["--jobs", "2"]);
    ran.exits(0).says("8 of 8 runs are done");
    assert_eq!(ran.stdout.trim(), "study/report.html");
    let rows = plan(&lab);
    assert_eq!(rows.len(), 8);
    assert_eq!(files_under(&lab.path("study/round0")).iter().filter(|file| file.ends_with("journal.jsonl")).count(), 4);
    for (i, (run, labels)) in rows.iter().enumerate() {
        let [size, strategy, seed] = labels.as_slice() else { panic!("{labels:?}") };
        let set = [format!("initial.size={size}"), format!("query.strategy={strategy}"), format!("seed={seed}")];
        let alone = format!("alone-{i}");
        lab.run(&alone, &set.each_ref().map(String::as_str)).exits(0);
        let run = lab.path("study/runs").join(run);
        assert_eq!(events(&run)[1], "round0-taken");
        assert_eq!(results(&run), results(&lab.path(&alone)), "{labels:?}");
    }
}

/// Whoever hears advisers does round 0 for itself, for what they say is kept there, and has the initial set of the others.
#[test]
fn advisers_make_no_other_initial_set() {
    let lab = lab(r#"
[sweep]
arm = [
  { "query.strategy" = "random", "initial.advisers" = [{ strategy = "coverage-floor" }], as = "advised" },
  { "query.strategy" = "random", as = "alone" },
  { "query.strategy" = "entropy" },
]
seed = [1]
baseline = { arm = "alone" }
"#);
    sweep(&lab, &["--jobs", "2"]).exits(0);
    let run = |arm: &str| {
        let rows = plan(&lab);
        let (run, _) = rows.iter().find(|(_, labels)| labels[0] == arm).unwrap();
        lab.path("study/runs").join(run)
    };
    let [advised, alone, entropy] = ["advised", "alone", "entropy"].map(run);
    assert!(advised.join("rounds/000/sizing.json").is_file() && !alone.join("rounds/000/sizing.json").exists());
    assert_eq!([&advised, &alone, &entropy].map(|run| events(run)[1] == "round0-taken"), [false, true, true]);
    let mut told = results(&advised);
    told.retain(|file, _| !file.ends_with("sizing.json"));
    assert_eq!(told, results(&alone));
    let sets = std::fs::read_to_string(lab.path("study/tables/initial-sets.csv")).unwrap();
    assert_eq!(sets.lines().count(), 2, "{sets}");
}

#[test]
fn what_is_done_stays_and_a_longer_list_adds_to_it() {
    let lab = lab(CROSSED);
    sweep(&lab, &[]).exits(0);
    let before: Vec<_> = plan(&lab).iter().map(|(run, _)| (run.clone(), journal(&lab, run))).collect();
    sweep(&lab, &[]).exits(0).says("8 done before");
    sweep(&lab, &["-s", "sweep.seed=[1, 2, 3]"]).exits(0).says("12 runs").says("8 done before");
    assert_eq!(plan(&lab).len(), 12);
    for (run, old) in before {
        assert_eq!(journal(&lab, &run), old);
    }
}

#[test]
fn a_killed_study_ends_as_if_nothing_had_happened() {
    let reference = lab(CROSSED);
    let start = Instant::now();
    sweep(&reference, &["--jobs", "2"]).exits(0);
    let usual = start.elapsed();
    let expected = outcome(&reference);
    assert!(expected.keys().any(|file| file.starts_with("tables/")), "{:?}", expected.keys());
    let lab = lab(CROSSED);
    let mut rng = Rng::from_seed([11; 32]);
    for _ in 0..10 {
        let mut command = lab.command(&["sweep", "sweep.toml", "--out", "study", "--jobs", "2"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300) + usual.mul_f64(0.4 * rng.uniform()));
        // Workers belong to the group of the process that began them.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        child.wait().unwrap();
    }
    sweep(&lab, &["--jobs", "2"]).exits(0);
    assert_eq!(outcome(&lab), expected);
}

#[test]
fn a_worker_that_is_killed_takes_one_run_along_and_no_more() {
    let long = format!("{CROSSED}\"query.rounds\" = [30]\n");
    let [lab, undisturbed] = [(); 2].map(|()| lab(&long));
    let ran = sweep_with_a_worker_killed(&lab, &["--jobs", "2"]);
    ran.exits(1).says("failed: the process that worked on it was killed (signal 9)").says("1 of 8 runs failed");
    sweep(&lab, &["--retry"]).exits(0);
    sweep(&undisturbed, &["--jobs", "2"]).exits(0);
    assert_eq!(outcome(&lab), outcome(&undisturbed));
}

#[test]
fn ctrl_c_stops_and_says_how_to_go_on() {
    let lab = lab(&CROSSED.replace("[1, 2]", "[1, 2, 3, 4, 5]"));
    let mut command = lab.command(&["sweep", "sweep.toml", "--out", "study"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the first run", || lab.path("study/runs").exists());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    ran.exits(130).says("the same command again goes on");
    sweep(&lab, &[]).exits(0).says("20 of 20 runs are done");
}

#[test]
fn a_second_sweep_in_the_same_folder_is_refused() {
    let lab = lab(CROSSED);
    let mut command = lab.command(&["sweep", "sweep.toml", "--out", "study"]);
    let first = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the first run", || lab.path("study/runs").exists());
    sweep(&lab, &[]).exits(2).says_one_problem().says("another sweep works in this folder");
    Ran::of(first.wait_with_output().unwrap()).exits(0);
    assert!(
        plan(&lab).iter().all(|(run, _)| events(&lab.path("study/runs").join(run)).last().unwrap() == "run-finished")
    );
}

/// A file system in memory at a folder, gone with this value.
struct Mounted(PathBuf);

impl Mounted {
    /// None where this user may not mount anything.
    fn at(folder: PathBuf, options: &str) -> Option<Mounted> {
        std::fs::create_dir_all(&folder).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&folder).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Mounted(folder));
        }
        eprintln!("skipped: nothing can be mounted here");
        None
    }

    fn remount(&self, options: &str) {
        let remount = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &remount]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_and_a_read_only_folder_end_a_study_and_it_goes_on_afterwards() {
    let lab = lab(CROSSED);
    let Some(disk) = Mounted::at(lab.path("study"), "size=600k") else { return };
    let ran = sweep(&lab, &["--jobs", "2"]);
    ran.exits(1).says("No space left on device");
    assert!(ran.stderr.contains("cannot write") || ran.stderr.contains("is the disk full?"), "{}", ran.stderr);
    let runs: Vec<PathBuf> =
        std::fs::read_dir(lab.path("study/runs")).unwrap().map(|run| run.unwrap().path()).collect();
    let finished = |run: &PathBuf| match run.join("journal.jsonl").exists() {
        true => events(run).iter().filter(|event| *event == "round-finished").count(),
        // The disk was full before the first line of this run's journal.
        false => 0,
    };
    assert!(runs.iter().map(finished).sum::<usize>() > 0, "the disk was full before anything was done");
    let before: Vec<_> = runs.iter().filter(|run| finished(run) > 0).map(|run| selections_of_round_0(run)).collect();

    disk.remount("ro");
    sweep(&lab, &[]).exits(1).says("plan.lock").says("Read-only file system");
    disk.remount("rw,size=60m");
    sweep(&lab, &[]).exits(0).says("8 of 8 runs are done");
    let after: Vec<_> = runs.iter().map(|run| selections_of_round_0(run)).collect();
    assert!(before.iter().all(|selection| after.contains(selection)));
    let undisturbed = self::lab(CROSSED);
    sweep(&undisturbed, &[]).exits(0);
    assert_eq!(outcome(&lab), outcome(&undisturbed));
}

fn selections_of_round_0(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("rounds/000/selection.csv")).unwrap()
}

/// What a strategy ranks it ranks once: of one seed the small initial set is the beginning of the large one.
#[test]
fn initial_sets_are_nested_where_the_strategy_ranks() {
    let lab = lab(r#"
[sweep]
"initial.size" = [4, 9, 20]
"initial.strategy" = ["random", "coreset", "max-herding", "first-choice"]
seed = [1, 2]
"#);
    let settings = ["representation.method=pixels", "query.rounds=0", "initial.params={}"];
    let settings: Vec<&str> = settings.iter().flat_map(|set| ["-s", *set]).collect();
    sweep(&lab, &settings).exits(0);
    let mut of: BTreeMap<Vec<String>, Vec<Vec<String>>> = BTreeMap::new();
    for (run, labels) in plan(&lab) {
        let text = String::from_utf8(selections_of_round_0(&lab.path("study/runs").join(run))).unwrap();
        let ids = text.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().to_owned()).collect();
        of.entry(labels[1..].to_vec()).or_default().push(ids);
    }
    assert_eq!(of.len(), 8);
    for (arm, mut sets) in of {
        sets.sort_by_key(Vec::len);
        assert_eq!(sets.iter().map(Vec::len).collect::<Vec<_>>(), [4, 9, 20]);
        assert!(sets[1].starts_with(&sets[0]) && sets[2].starts_with(&sets[1]), "{arm:?}: {sets:?}");
    }
}

#[test]
fn a_failed_run_is_recorded_and_the_others_go_on() {
    let lab = lab(r#"
[sweep]
query = [{ strategy = "random" }, { strategy = "hostile", params = { behaviour = "fail", from_round = 2 }, as = "bad" }]
seed = [1, 2]
"#);
    sweep(&lab, &[]).exits(1).says("2 of 4 runs failed").says("--retry");
    let ended = |label: &str| -> Vec<String> {
        let rows = plan(&lab).into_iter().filter(|(_, labels)| labels[0] == label);
        rows.map(|(run, _)| events(&lab.path("study/runs").join(run)).pop().unwrap()).collect()
    };
    assert_eq!((ended("bad"), ended("random")), (vec!["run-failed".to_owned(); 2], vec!["run-finished".to_owned(); 2]));
    let failures = files_under(&lab.path("study/failures"));
    assert_eq!(failures.len(), 2);
    assert!(std::fs::read_to_string(&failures[0]).unwrap().contains("round 2"));
    let (bad, _) = plan(&lab).into_iter().find(|(_, labels)| labels[0] == "bad").unwrap();
    let before = journal(&lab, &bad);
    sweep(&lab, &[]).exits(1).says("2 failed before");
    assert_eq!(journal(&lab, &bad), before);
    sweep(&lab, &["--retry"]).exits(1);
    assert!(journal(&lab, &bad).len() > before.len());
}

#[test]
fn a_damaged_run_fails_alone_and_goes_on_once_it_is_mended() {
    let lab = lab(CROSSED);
    sweep(&lab, &[]).exits(0);
    let expected = outcome(&lab);
    let (run, _) = &plan(&lab)[0];
    let file = lab.path("study/runs").join(run).join("journal.jsonl");
    let whole = journal(&lab, run);
    std::fs::write(&file, [b"nonsense\n", whole.as_slice()].concat()).unwrap();
    sweep(&lab, &[]).exits(1).says("1 of 8 runs failed").says("is damaged: line 1");
    // As if the process had been killed just before its last word.
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    std::fs::write(&file, &whole[..=last]).unwrap();
    sweep(&lab, &["--retry"]).exits(0);
    assert_eq!(outcome(&lab), expected);
}

/// The images of round 0, and how the last round ended.
fn first_and_last(lab: &Lab, run: &str, seeds: &[&str]) -> (Vec<u8>, String) {
    let until = [seeds, &["query.strategy=random"]].concat();
    lab.run(run, &until).exits(0);
    let results = results(&lab.path(run));
    let table = String::from_utf8(results["results.csv"].clone()).unwrap();
    (results["rounds/000/selection.csv"].clone(), table)
}

#[test]
fn seeds_of_the_initial_set_and_of_training_are_set_apart() {
    let lab = Lab::new();
    let (images, table) = first_and_last(&lab, "both", &["seed=1"]);
    let (same_images, other_table) = first_and_last(&lab, "initial", &["seed=2", "initial.seed=1"]);
    assert_eq!(images, same_images);
    assert_ne!(table, other_table);
    let (same_images, other_table) = first_and_last(&lab, "training", &["seed=1", "training.seed=2"]);
    assert_eq!(images, same_images);
    assert_ne!(table, other_table);
    let (other_images, _) = first_and_last(&lab, "neither", &["seed=2"]);
    assert_ne!(images, other_images);
}

#[test]
fn a_study_can_be_locked_and_runs_by_its_lock() {
    let lab = lab(CROSSED);
    lab.coldstart(&["plugin", "lock", "sweep.toml"]).exits(0);
    let lock = std::fs::read_to_string(lab.path("coldstart-plugins.lock")).unwrap();
    assert!(lock.contains("\"random\"") && lock.contains("\"entropy\""), "{lock}");
    sweep(&lab, &[]).exits(0);
    assert!(lab.path("study/coldstart-plugins.lock").is_file());
    sweep(&lab, &["-s", "sweep.query.strategy=[\"random\", \"margin\"]"]).exits(3).says_one_problem().says("margin");
}

#[test]
fn mistakes_are_found_before_any_work() {
    for (table, says) in [
        ("", "`sweep` is missing"),
        ("[sweep]\n\"query.strategy\" = [\"random\", \"entropi\"]", "entropi"),
        ("[sweep]\n\"query.size\" = [5, 0]", "`query.size` must be at least 1"),
        ("[sweep]\nseed = 3", "`sweep.seed` must be a list"),
    ] {
        let lab = lab(table);
        sweep(&lab, &[]).exits(2).says_one_problem().says(says);
        assert!(!lab.path("study").exists(), "{table}");
    }
    let lab = lab(CROSSED);
    lab.write("study/thesis.tex", "precious");
    sweep(&lab, &[]).exits(2).says_one_problem().says("holds no study");
    let ran = sweep(&lab, &["--dry-run"]);
    assert!(ran.exits(0).stdout.contains("8 runs in study"), "{}", ran.stdout);
}
