//! A run that is stopped, at any instant and in any way, and resumed ends byte for byte as if nothing had happened.

use coldstart_plugin_api::Rng;
use coldstart_tests::{Lab, Ran, events, library, library_name, results, run_args};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PLAIN: &[&str] = &[];
const WARM: &[&str] = &["training.restart=warm"];
/// The sizer is content in the middle, and remembers what the model said before.
const SIZED: &[&str] = &[
    "initial.size=auto",
    "initial.sizer={ strategy = \"probe\", least = 10, most = 20 }",
    "initial.advisers=[{ strategy = \"coverage-floor\" }, { strategy = \"probe\", params = { rounds = 9 } }]",
];
const STATEFUL: &[&str] = &["query.strategy=hostile", "initial.strategy=hostile"];

/// Start the program, and kill it if it lives longer than `life`. Whether it came to its end, and well.
fn survives(lab: &Lab, args: &[&str], life: Duration) -> bool {
    let mut command = lab.command(args);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(life);
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let ran = Ran::of(output);
    assert!(matches!(ran.code, None | Some(0)), "{:?}: {}", ran.code, ran.stderr);
    ran.code == Some(0)
}

/// Kill a fresh run after a part of its usual time, kill the first resumption too, then let it end.
fn kill_and_resume(lab: &Lab, out: &str, overrides: &[&str], usual: Duration, rng: &mut Rng) {
    let mut moment = |share: f64| usual.mul_f64(share * rng.uniform());
    let fresh = run_args(out, overrides);
    // A run that was killed before it had a config is no run yet: it is started again.
    let args = |lab: &Lab| match lab.path(out).join("config.toml").exists() {
        true => vec!["resume", out],
        false => fresh.clone(),
    };
    let ended = survives(lab, &fresh, moment(1.1)) || survives(lab, &args(lab), moment(0.8));
    if !ended {
        lab.coldstart(&args(lab)).exits(0);
    }
}

#[test]
fn killed_runs_end_as_if_nothing_had_happened() {
    let mut rng = Rng::from_seed([7; 32]);
    for (overrides, n_kills) in [(PLAIN, 20), (WARM, 4), (STATEFUL, 4), (SIZED, 6)] {
        let lab = Lab::new();
        let start = Instant::now();
        lab.run("reference", overrides).exits(0);
        let usual = start.elapsed();
        let reference = results(&lab.path("reference"));
        assert!(reference.len() >= 9, "{:?}", reference.keys());
        for i in 0..n_kills {
            let out = format!("killed-{i}");
            kill_and_resume(&lab, &out, overrides, usual, &mut rng);
            assert_eq!(results(&lab.path(&out)), reference, "{overrides:?}, kill {i}");
        }
    }
}

fn start(lab: &Lab, args: &[&str]) -> Child {
    lab.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Read stderr until a line begins like this.
fn wait_for(child: &mut Child, beginning: &str) -> String {
    let mut heard = String::new();
    let stderr = child.stderr.take().unwrap();
    let mut lines = BufReader::new(stderr);
    while !heard.lines().last().unwrap_or_default().starts_with(beginning) {
        assert!(lines.read_line(&mut heard).unwrap() > 0, "the program ended before `{beginning}`:\n{heard}");
    }
    child.stderr = Some(lines.into_inner());
    heard
}

#[test]
fn ctrl_c_stops_at_a_safe_point_and_says_how_to_go_on() {
    let lab = Lab::new();
    lab.run("reference", WARM).exits(0);
    let mut child = start(&lab, &run_args("run", WARM));
    wait_for(&mut child, "round 2 of 3");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    ran.exits(130).says("go on with: coldstart resume run");
    assert!(ran.stdout.is_empty(), "{}", ran.stdout);
    assert_eq!(events(&lab.path("run")).last().unwrap(), "interrupted");
    lab.coldstart(&["resume", "run"]).exits(0);
    assert_eq!(results(&lab.path("run")), results(&lab.path("reference")));
}

#[test]
fn a_finished_run_stays_as_it_is() {
    let lab = Lab::new();
    lab.run("run", PLAIN).exits(0);
    let before = results(&lab.path("run"));
    let ran = lab.coldstart(&["resume", "run"]);
    ran.exits(0).says("is already finished");
    assert!(!ran.stderr.contains("round"), "{}", ran.stderr);
    assert_eq!(results(&lab.path("run")), before);
    assert_eq!(events(&lab.path("run")).last().unwrap(), "run-finished");
}

#[test]
fn a_folder_that_holds_something_is_not_run_into() {
    let lab = Lab::new();
    lab.run("run", PLAIN).exits(0);
    let before = results(&lab.path("run"));
    lab.run("run", PLAIN).exits(2).says_one_problem().says("holds a run already").says("--out");
    assert_eq!(results(&lab.path("run")), before);
    lab.write("mine/thesis.tex", "precious");
    lab.run("mine", PLAIN).exits(2).says_one_problem().says("is not empty");
    for folder in ["mine", "nowhere"] {
        lab.coldstart(&["resume", folder]).exits(2).says_one_problem().says(folder).says("no run");
    }
}

/// A run stopped by its strategy in round 2, ready to be resumed.
fn half_run(lab: &Lab) {
    let fails = ["query.strategy=hostile", "query.params={ behaviour = \"fail\", from_round = 2 }"];
    lab.run("run", &fails).exits(3);
}

fn edit(file: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, change(text)).unwrap();
}

/// The instants between the first files of a run, which a random kill hardly ever meets.
#[test]
fn a_start_killed_between_two_files_is_no_trap() {
    let lab = Lab::new();
    lab.run("reference", PLAIN).exits(0);
    for file in ["plugins.lock", "environment.json"] {
        std::fs::create_dir_all(lab.path("started")).unwrap();
        std::fs::copy(lab.path("reference").join(file), lab.path("started").join(file)).unwrap();
    }
    lab.write("started/config.partial", "name =");
    lab.run("started", PLAIN).exits(0);
    assert_eq!(results(&lab.path("started")), results(&lab.path("reference")));

    for file in ["plugins.lock", "environment.json", "config.toml"] {
        std::fs::create_dir_all(lab.path("unjournalled")).unwrap();
        std::fs::copy(lab.path("reference").join(file), lab.path("unjournalled").join(file)).unwrap();
    }
    lab.coldstart(&["resume", "unjournalled"]).exits(0);
    assert_eq!(results(&lab.path("unjournalled")), results(&lab.path("reference")));
}

#[test]
fn a_torn_journal_is_mended_and_a_damaged_one_named() {
    let lab = Lab::new();
    half_run(&lab);
    let journal = lab.path("run/journal.jsonl");
    let whole = std::fs::read_to_string(&journal).unwrap();
    edit(&journal, |text| text + "{\"time\":\"2026-01-01T00:0");
    lab.coldstart(&["resume", "run"]).exits(3).says("no image is good enough");
    assert!(std::fs::read_to_string(&journal).unwrap().starts_with(&whole));

    for (line, damage) in [(3, "{\"time\":\"2026\"}"), (5, "\0\0\0\0"), (2, "\n#")] {
        let mut lines: Vec<&str> = whole.lines().collect();
        lines[line - 1] = damage;
        std::fs::write(&journal, lines.join("\n") + "\n").unwrap();
        let ran = lab.coldstart(&["resume", "run"]);
        let line = line + damage.matches('\n').count();
        ran.exits(1).says_one_problem().says("journal.jsonl").says(&format!("line {line}:"));
    }
}

#[test]
fn a_run_goes_on_with_the_same_plugin_data_and_config_or_not_at_all() {
    let row = |i: usize| format!("{}{}\n", "7,".repeat(i % 9) + &"200,".repeat(64 - i % 9), i % 4);
    let table: String = (0..80).map(row).collect();
    let set = "dataset={ kind = \"csv\", path = \"images.csv\", shape = [8, 8, 1] }";
    let lab = Lab::new();
    let data = lab.write("data/images.csv", &table);
    let plugin = lab.path("plugins").join(library_name("margin"));
    std::fs::copy(library("margin"), &plugin).unwrap();
    let root = lab.path("data").display().to_string();
    let args = ["--data", &root, "-s", set, "-s", "query.strategy=margin"];
    lab.coldstart(&[&["run", "tiny.toml", "--out", "run"], &args[..]].concat()).exits(0);
    let resume = ["resume", "run", "--data", &root];
    lab.coldstart(&resume).exits(0);

    // Bytes after the last section change the hash and nothing else.
    let bytes = std::fs::read(&plugin).unwrap();
    std::fs::write(&plugin, [&bytes[..], b"."].concat()).unwrap();
    lab.coldstart(&resume).exits(3).says_one_problem().says("P004").says("the run began with sha256:");
    std::fs::write(&plugin, bytes).unwrap();

    std::fs::write(&data, table.replacen("200,", "201,", 1)).unwrap();
    lab.coldstart(&resume).exits(1).says_one_problem().says("was begun on other images");
    std::fs::write(&data, table).unwrap();

    let config = lab.path("run/config.toml");
    edit(&config, |text| text.replace("epochs = 2", "epochs = 3"));
    lab.coldstart(&resume).exits(1).says_one_problem().says("is not the config that the run began with");
    edit(&config, |text| text.replace("epochs = 3", "epochs = 2"));
    lab.coldstart(&resume).exits(0);
}

/// A strategy that moved is found again by its name, because its bytes are the same.
#[test]
fn a_plugin_that_moved_is_found_again() {
    let lab = Lab::new();
    let first = lab.path("plugins").join(library_name("margin"));
    std::fs::copy(library("margin"), &first).unwrap();
    lab.run("run", &["query.strategy=margin"]).exits(0);
    std::fs::remove_file(first).unwrap();
    lab.coldstart(&["resume", "run"]).exits(0);
}
