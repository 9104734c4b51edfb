//! The zoo: plugins that harm the process, the machine or the user's files, in a process of their own.
//!
//! Every one ends as a named error, the run keeps what it had and can be resumed, and nothing of the user's is touched.
//! The table of what happens is in `docs/explanation/isolation.md`.

use coldstart_tests::{Lab, Ran, c_manifest, events, from_c, library, library_name, results, until, without_landlock};
use rustix::process::Pid;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SECRET: &str = "nobody else's business";

/// The hostile plugin in a process of its own, from round 2 on.
fn apart(lab: &Lab, out: &str, behaviour: &str, more: &[&str]) -> Command {
    let file = lab.write("home/secret.txt", SECRET);
    let params =
        format!("query.params={{ behaviour = \"{behaviour}\", from_round = 2, file = \"{}\" }}", file.display());
    let fixed = [
        "query.strategy=hostile",
        &params,
        "plugins.isolation=process",
        "plugins.timeout=1",
        "plugins.memory=0.25",
        "plugins.retries=0",
    ];
    let overrides: Vec<&str> = fixed.iter().chain(more).copied().collect();
    let mut command = lab.command(&coldstart_tests::run_args(out, &overrides));
    command.env("SECRET_TOKEN", SECRET);
    command
}

fn ran_of(mut command: Command) -> Ran {
    Ran::of(command.output().unwrap())
}

const ZOO: [(&str, &str, &str); 22] = [
    ("panic", "P016", "out of patience"),
    ("aborts", "P020", "signal 6 (SIGABRT)"),
    ("segfaults", "P020", "signal 11 (SIGSEGV)"),
    ("overflows-stack", "P020", "has overflowed its stack"),
    ("exits", "P020", "exited with code 0 in the middle of a call"),
    ("loops-forever", "P019", "did not answer within 1 s of its own time"),
    ("eats-memory", "P020", "memory allocation of"),
    ("leaks-tensors", "P015", "the tensors of this call take"),
    ("selects-millions", "P020", "memory allocation of"),
    ("corrupts-reply", "P020", "its worker sent a message of more than 1 GiB"),
    ("duplicate-ids", "P018", "twice"),
    ("foreign-ids", "P018", "chose the image 18446744073709551615"),
    ("nan-scores", "P018", "gave the score NaN"),
    ("too-many", "P018", "chose 285 images"),
    ("forks", "P015", "Operation not permitted"),
    ("runs-program", "P015", "Operation not permitted"),
    ("kills-host", "P015", "Operation not permitted"),
    ("opens-socket", "P015", "Operation not permitted"),
    ("reads-file", "P015", "Permission denied"),
    ("writes-file", "P015", "Permission denied"),
    ("reads-environment", "P015", "CUDA_VISIBLE_DEVICES="),
    ("reads-hidden-label", "P015", "is not labelled"),
];

#[test]
fn every_beast_ends_as_a_named_error_and_the_run_goes_on_without_it() {
    let lab = Lab::new();
    let page = "docs/explanation/isolation.md";
    let table = std::fs::read_to_string(coldstart_tests::repository().join(page)).unwrap();
    for (behaviour, code, sentence) in ZOO {
        // A quarter of a GiB is handed over before it is too much: on a busy machine that takes more than the second of the others.
        let more: &[&str] = if behaviour == "leaks-tensors" { &["plugins.timeout=30"] } else { &[] };
        let ran = ran_of(apart(&lab, behaviour, behaviour, more));
        ran.exits(3).says_one_problem().says(code).says(sentence).says("round 2").says("help:");
        assert!(!ran.stderr.contains(SECRET), "{behaviour}: {}", ran.stderr);
        assert_eq!(std::fs::read_to_string(lab.path("home/secret.txt")).unwrap(), SECRET, "{behaviour}");
        assert_eq!(events(&lab.path(behaviour)).last().unwrap(), "run-failed", "{behaviour}");
        let kept = results(&lab.path(behaviour));
        assert!(kept.contains_key("rounds/001/metrics.json"), "{behaviour}: {:?}", kept.keys());
        assert!(table.contains(&format!("`{behaviour}`")), "{page} does not show `{behaviour}`");
    }
}

/// The files of the user are out of reach from the first instruction on, not only while it chooses.
#[test]
fn harm_at_once_is_no_easier() {
    let lab = Lab::new();
    for (behaviour, sentence) in [
        ("reads-file", "Permission denied"),
        ("writes-file", "Permission denied"),
        ("opens-socket", "Operation not permitted"),
        ("runs-program", "Operation not permitted"),
        ("forks", "Operation not permitted"),
        ("segfaults", "SIGSEGV"),
        ("exits", "exited with code 0"),
        ("loops-forever", "did not answer within 1 s"),
    ] {
        let ran = ran_of(apart(&lab, "never", behaviour, &["query.params.at_once=true"]));
        ran.exits(3).says_one_problem().says(sentence);
        assert!(!lab.path("never").exists(), "{behaviour}");
        assert_eq!(std::fs::read_to_string(lab.path("home/secret.txt")).unwrap(), SECRET, "{behaviour}");
    }
}

/// A constructor runs inside `dlopen`, before any symbol is looked up. One that stands where the compiler's own may stand is
/// told from it by its code; and what a load that fails does, it does to the worker.
#[test]
fn nothing_of_its_own_runs_while_it_is_loaded() {
    let lab = Lab::new();
    let dies = "__attribute__((constructor)) static void die(void) { *(volatile int *)8 = 1; }\n";
    let hangs = "__attribute__((constructor)) static void hang(void) { for (;;) { __asm__ volatile(\"\"); } }\n";
    for (name, source) in [("dying", dies), ("hollow", "")] {
        from_c(&lab, name, &format!("{}{source}", c_manifest(name)), &[]);
    }
    from_c(&lab, "shouting", &format!("{}{dies}{hangs}", c_manifest("shouting")), &[]);
    for (name, code, sentence) in [
        ("dying", "P009", "runs 1 constructors of its own"),
        ("hollow", "P011", ""),
        ("shouting", "P009", "constructors of its own"),
        ("liar", "P012", ""),
    ] {
        let ran = lab.run("run", &[&format!("query.strategy={name}"), "plugins.isolation=process"]);
        ran.exits(3).says_one_problem().says(code).says(sentence);
        assert!(!lab.path("run").exists(), "{name}");
    }
}

/// What was checked is what runs, whatever becomes of the file.
#[test]
fn a_file_that_changes_after_it_was_checked_changes_nothing() {
    let lab = Lab::new();
    lab.run("calm", &["query.strategy=hostile"]).exits(0);
    for isolation in ["process", "in-process"] {
        let file = lab.install_signed(&library("hostile")).join("lib").join(library_name("hostile"));
        let good = std::fs::read(&file).unwrap();
        let isolation = format!("plugins.isolation={isolation}");
        let child = start(apart(&lab, "run", "sleeps", &[&isolation, "plugins.timeout=60"]));
        wait_for_round(&lab.path("run"), 2);
        std::fs::write(&file, "something else").unwrap();
        Ran::of(child.wait_with_output().unwrap()).exits(0);
        assert_eq!(results(&lab.path("calm")), results(&lab.path("run")), "{isolation}");
        std::fs::write(&file, good).unwrap();
        std::fs::remove_dir_all(lab.path("run")).unwrap();
    }
}

/// A log of 200 000 lines is cut, and does no harm.
#[test]
fn a_flood_of_log_lines_is_cut() {
    let lab = Lab::new();
    // The kit keeps 10 000 lines until the call ends.
    let ran = ran_of(apart(&lab, "run", "floods-log", &["plugins.timeout=60"]));
    ran.exits(0).says("9000 lines of its log").says("are left out: a call writes 1000 lines and 1 MiB at most");
    let lines = ran.stderr.lines().filter(|line| line.contains("nothing in particular")).count();
    assert_eq!(lines, 2 * 1000, "two rounds");
}

/// A new worker takes over; what happened stands in the journal; the results are those of an undisturbed run.
#[test]
fn a_lost_worker_costs_a_round_another_try() {
    let lab = Lab::new();
    lab.run("calm", &["query.strategy=hostile"]).exits(0);
    let child = start(apart(&lab, "lost", "sleeps", &["plugins.retries=1", "plugins.timeout=60"]));
    wait_for_round(&lab.path("lost"), 2);
    let workers = workers(child.id());
    assert_eq!(workers.len(), 2);
    for worker in workers {
        rustix::process::kill_process(worker, rustix::process::Signal::KILL).unwrap();
    }
    let ran = Ran::of(child.wait_with_output().unwrap());
    ran.exits(0).says("signal 9 (SIGKILL)").says("asking again with a new worker");
    assert_eq!(events(&lab.path("lost")).iter().filter(|event| *event == "asked-again").count(), 1);
    // The state is how often it was asked: the new worker was given the lost one's.
    let (calm, lost) = (results(&lab.path("calm")), results(&lab.path("lost")));
    assert_eq!(calm, lost);

    // One that dies whenever it is asked ends the run after so many tries.
    let ran = ran_of(apart(&lab, "doomed", "aborts", &["plugins.retries=2"]));
    ran.exits(3).says("P020");
    assert_eq!(ran.stderr.matches("asking again").count(), 2, "{}", ran.stderr);
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The processes that a process has started.
fn workers(parent: u32) -> Vec<Pid> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parent_of = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse::<u32>().ok())
    };
    pids.filter(|pid| parent_of(pid) == Some(parent)).filter_map(Pid::from_raw).collect()
}

fn wait_for_round(run: &Path, round: usize) {
    let journal = run.join("journal.jsonl");
    let started = || std::fs::read_to_string(&journal).is_ok_and(|text| text.matches("round-started").count() > round);
    until("that round", started);
    // It has been asked by now.
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn a_beast_that_ignores_cancelling_is_put_down() {
    let lab = Lab::new();
    let child = start(apart(&lab, "run", "loops-forever", &["plugins.timeout=600"]));
    wait_for_round(&lab.path("run"), 2);
    rustix::process::kill_process(Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let interrupted = Instant::now();
    Ran::of(child.wait_with_output().unwrap()).exits(130).says("coldstart resume");
    // Five seconds of grace, then the worker is killed.
    assert!(interrupted.elapsed() < Duration::from_secs(30), "{:?}", interrupted.elapsed());
    assert_eq!(events(&lab.path("run")).last().unwrap(), "interrupted");
}

/// A worker does not outlive the program, whatever kills it.
#[test]
fn no_worker_is_left_when_the_program_is_killed() {
    let lab = Lab::new();
    let mut child = start(apart(&lab, "run", "loops-forever", &["plugins.timeout=600"]));
    wait_for_round(&lab.path("run"), 2);
    let left = workers(child.id());
    assert_eq!(left.len(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let alive = |pid: &Pid| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
        status.contains("coldstart") && !status.contains("State:\tZ")
    };
    until("the end of the workers", || !left.iter().any(alive));
}

/// Without landlock files could be read: a config may refuse that, and else the record says so.
#[test]
fn a_weak_sandbox_is_refused_or_said() {
    let lab = Lab::new();
    let run = |out: &str, sandbox: &str, weak: bool| {
        let mut command = apart(&lab, out, "honest", &[&format!("plugins.sandbox={sandbox}")]);
        if weak {
            without_landlock(&mut command);
        }
        ran_of(command)
    };
    // Each of the two strategies is told.
    run("none", "required", true).exits(3).says("sandbox is only `no-landlock`");
    assert!(!lab.path("none").exists());
    for (out, sandbox, weak, said) in
        [("weak", "best-effort", true, "no-landlock"), ("strong", "required", false, "full")]
    {
        let ran = run(out, sandbox, weak);
        ran.exits(0);
        assert_eq!(ran.stderr.contains("cannot shut `hostile` in completely: no-landlock"), weak, "{}", ran.stderr);
        let lock = std::fs::read_to_string(lab.path(out).join("plugins.lock")).unwrap();
        assert_eq!(lock.matches(&format!("confinement = \"{said}\"")).count(), 2, "{lock}");
    }
}

/// A file that nobody has signed: only when the user says so, and then apart.
#[test]
fn an_unsigned_plugin_needs_the_users_word_and_runs_apart() {
    let lab = Lab::new();
    std::fs::copy(library("margin"), lab.path("plugins").join(library_name("margin"))).unwrap();
    let args = coldstart_tests::run_args("run", &["query.strategy=margin"]);
    let strict = |args: &[&str]| {
        let mut command = lab.command(args);
        Ran::of(command.env_remove("COLDSTART_ALLOW_UNSIGNED").output().unwrap())
    };
    strict(&args).exits(3).says_one_problem().says("P005").says("--allow-unsigned");
    assert!(!lab.path("run").exists());
    strict(&[&args[..], &["--allow-unsigned"]].concat()).exits(0);
    let lock = std::fs::read_to_string(lab.path("run/plugins.lock")).unwrap();
    assert!(lock.contains("mode = \"process\"") && lock.contains("mode = \"in-process\""), "{lock}");
    let report = std::fs::read_to_string(lab.path("run/report.html")).unwrap();
    assert!(report.contains("Nobody vouches for <code>margin</code> (query)"), "the report says so");
    assert!(!report.contains("Nobody vouches for <code>random</code>"));
    // Leave is given for a command, and no file gives it: the run's lock does not.
    strict(&["resume", "run"]).exits(3).says_one_problem().says("P005").says("--allow-unsigned");
    strict(&["resume", "run", "--allow-unsigned"]).exits(0);
}

/// Every shipped strategy picks the same images with the same scores, in the program and apart from it.
#[test]
fn apart_or_not_the_selections_are_the_same_bytes() {
    let lab = Lab::new();
    let quick = ["initial.strategy=first-choice", "initial.params.clusters=5", "initial.params.epochs=1"];
    for (query, overrides) in [
        ("random", &[][..]),
        ("entropy", &[]),
        ("least-confidence", &[]),
        ("margin", &["initial.strategy=pt4al", "initial.params.epochs=1"]),
        ("pt4al", &["initial.strategy=pt4al", "initial.params.epochs=1", "query.params.epochs=1"]),
        ("consistency", &quick),
    ] {
        let strategy = format!("query.strategy={query}");
        for mode in ["in-process", "process"] {
            let isolation = format!("plugins.isolation={mode}");
            let all = [&[strategy.as_str(), isolation.as_str()], overrides].concat();
            lab.run(&format!("{query}-{mode}"), &all).exits(0);
        }
        let selections = |mode: &str| {
            let mut files = results(&lab.path(&format!("{query}-{mode}")));
            files.retain(|name, _| name.ends_with("selection.csv"));
            files
        };
        assert_eq!(selections("in-process").len(), 4);
        assert_eq!(selections("in-process"), selections("process"), "{query}");
    }
}

/// A recording is a bug report: it is replayed without the data set, against any build.
#[test]
fn a_recording_replays_without_data_and_shows_what_differs() {
    let lab = Lab::new();
    let record = |out: &str, overrides: &[&str]| {
        let args = [&coldstart_tests::run_args(out, overrides)[..], &["--record"]].concat();
        lab.coldstart(&args)
    };
    for mode in ["in-process", "process"] {
        record(mode, &["query.strategy=hostile", &format!("plugins.isolation={mode}")]).exits(0);
        let recording = format!("{mode}/recordings/query-hostile-1.record");
        let findings = lab.coldstart(&["plugin", "replay", &recording, "--json"]);
        let findings = findings.exits(0).json();
        let calls: Vec<&str> = findings.as_array().unwrap().iter().map(|row| row["call"].as_str().unwrap()).collect();
        assert_eq!(calls[..3], ["create", "save", "select, round 1"], "{calls:?}");
        assert!(findings.as_array().unwrap().iter().all(|row| row["difference"].is_null()), "{findings}");
        // Another strategy is another build, only more so.
        let margin = library("random");
        let other = lab.coldstart(&["plugin", "replay", &recording, "--plugin", margin.to_str().unwrap()]);
        assert_ne!(other.code, Some(0), "{}", other.stdout);
    }
    // A crash is on the tape up to the last word, and happens again.
    record("crash", &["query.strategy=hostile", "query.params.behaviour=aborts", "plugins.isolation=process"]).exits(3);
    let replayed = lab.coldstart(&["plugin", "replay", "crash/recordings/query-hostile-1.record"]);
    replayed.exits(0);
    assert!(replayed.stdout.contains("select, round 1      same"), "{}", replayed.stdout);
    lab.write("torn.record", "not a recording");
    lab.coldstart(&["plugin", "replay", "torn.record"]).exits(3).says_one_problem().says("is no recording");
}
