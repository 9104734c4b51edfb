//! Limits: what a plugin takes of the machine and of the user's patience, and that none of it is without an end.
//!
//! `greedy.c` takes more than it may, one way at a time, and keeps the program waiting, at each place where it waits. The
//! limits are those of the table in `docs/reference/limits.md`.

use coldstart_tests::{Lab, Ran, events, from_c, repository, until};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A lab with the greedy plugin.
fn lab() -> Lab {
    let lab = Lab::new();
    let header = repository().join("plugin-api/include");
    from_c(&lab, "greedy", include_str!("greedy.c"), &["-I", header.to_str().unwrap()]);
    lab
}

/// What the plugin does, where, and with which number.
#[derive(Clone, Copy)]
struct Deed {
    mode: &'static str,
    at: &'static str,
    n: u32,
}

impl Deed {
    fn of(mode: &'static str, n: u32) -> Deed {
        Deed { mode, at: "select", n }
    }

    /// A name for the run's folder.
    fn name(&self, more: &str) -> String {
        format!("{}-at-{}{more}", self.mode, self.at)
    }

    fn run(&self, lab: &Lab, out: &str, more: &[&str]) -> Command {
        let Deed { mode, at, n } = self;
        let params = format!("query.params={{ mode = \"{mode}\", at = \"{at}\", n = {n} }}");
        let fixed = [
            "query.strategy=greedy",
            "query.rounds=1",
            &params,
            "plugins.isolation=process",
            "plugins.timeout=60",
            "plugins.memory=0.25",
        ];
        let overrides: Vec<&str> = fixed.iter().chain(more).copied().collect();
        lab.command(&coldstart_tests::run_args(out, &overrides))
    }
}

fn ran_of(mut command: Command) -> Ran {
    Ran::of(command.output().unwrap())
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn journal(run: &Path) -> String {
    std::fs::read_to_string(run.join("journal.jsonl")).unwrap_or_default()
}

/// The most memory that a process has had, in bytes; 0 once it has ended.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[test]
fn what_a_worker_takes_beyond_its_limits_ends_it_by_the_name_of_the_limit() {
    let lab = lab();
    for (deed, limit) in [
        (Deed::of("threads", 3000), "threads of a worker"),
        (Deed::of("threads-and-answers", 3000), "threads of a worker"),
        (Deed { at: "create", ..Deed::of("threads", 3000) }, "threads of a worker"),
        (Deed { at: "save", ..Deed::of("threads", 3000) }, "threads of a worker"),
        (Deed::of("descriptors", 200), "open descriptors of a worker"),
        (Deed { at: "create", ..Deed::of("descriptors", 200) }, "open descriptors of a worker"),
        (Deed::of("keeps-tensors", 100), "memory of a worker"),
        (Deed::of("maps-tensors", 100), "memory of a worker"),
        (Deed::of("sends-a-descriptor", 0), "descriptors sent to the program"),
        (Deed::of("long-log", 900), "a log message"),
        (Deed { at: "create", ..Deed::of("long-log", 900) }, "a log message"),
        (Deed { at: "save", ..Deed::of("long-log", 900) }, "a log message"),
        (Deed::of("long-fault", 2), "an error's text"),
        (Deed::of("long-progress", 1), "a message without data"),
        (Deed::of("long-answer", 2), "its answer"),
        (Deed::of("long-tensor", 300), "a tensor handed to the program"),
        (Deed::of("long-question", 1), "a message without data"),
        (Deed::of("long-unknown", 1), "a message without data"),
    ] {
        let name = deed.name("");
        let began = Instant::now();
        let child = start(deed.run(&lab, &name, &[]));
        let (pid, mut most) = (child.id(), 0);
        let ran = std::thread::scope(|scope| {
            let ended = scope.spawn(|| Ran::of(child.wait_with_output().unwrap()));
            while !ended.is_finished() {
                most = most.max(peak(pid));
                std::thread::sleep(Duration::from_millis(5));
            }
            ended.join().unwrap()
        });
        ran.exits(3).says_one_problem().says("P021").says(limit).says("greedy").says("are allowed");
        // Asking again would not help.
        assert!(!ran.stderr.contains("asking again"), "{name}: {}", ran.stderr);
        // Without any of it the program takes about 400 MiB.
        assert!(most < 1 << 30, "{name}: the program took {} MiB", most >> 20);
        assert!(began.elapsed() < Duration::from_secs(60), "{name}: {:?}", began.elapsed());
        if deed.at == "select" {
            assert_eq!(events(&lab.path(&name)).last().unwrap(), "run-failed", "{name}");
        }
    }
}

/// As many as one may, it works.
#[test]
fn what_stays_within_the_limits_is_left_alone() {
    let lab = lab();
    for deed in [
        Deed::of("threads", 40),
        Deed::of("descriptors", 60),
        Deed::of("keeps-tensors", 8),
        Deed::of("artifacts", 100),
        Deed::of("many-artifacts", 900),
        Deed::of("large-state", 50),
    ] {
        ran_of(deed.run(&lab, &deed.name(""), &[])).exits(0);
    }
}

/// The same without C: a hostile plugin, in a process of its own or in the program.
fn hostile(lab: &Lab, out: &str, isolation: &str, (behaviour, n): (&str, usize)) -> Command {
    let params = format!("query.params={{ behaviour = \"{behaviour}\", from_round = 1, n = {n} }}");
    let isolation = format!("plugins.isolation={isolation}");
    let fixed =
        ["query.strategy=hostile", "query.rounds=1", &params, "plugins.retries=0", "plugins.memory=2", &isolation];
    lab.command(&coldstart_tests::run_args(out, &fixed))
}

/// An error of 100 MB, a state and artifacts without a sum: in a process of its own and in the program, in Rust and in C.
#[test]
fn texts_are_cut_and_files_have_a_sum() {
    let lab = lab();
    let mut runs: Vec<(String, Command, &str, &str)> = Vec::new();
    for (deed, code, sentence) in [
        (Deed::of("long-error", 1), "P015", "bytes left out"),
        (Deed { at: "create", ..Deed::of("long-error", 1) }, "P014", "bytes left out"),
        (Deed { at: "save", ..Deed::of("long-error", 1) }, "P015", "bytes left out"),
        (Deed::of("artifacts", 300), "P015", "artifacts and maps of a round"),
        (Deed::of("large-state", 300), "P021", "the state of an instance"),
    ] {
        let name = deed.name("");
        let command = deed.run(&lab, &name, &["plugins.memory=2"]);
        runs.push((name, command, code, sentence));
    }
    for isolation in ["process", "in-process"] {
        for (behaviour, n, code, sentence) in [
            ("long-error", 100_000_000, "P015", "bytes left out"),
            ("artifacts", 300, "P015", "artifacts and maps of a round"),
            ("many-artifacts", 1100, "P015", "artifacts and maps of a round, by number"),
            ("large-state", 300 << 20, "P021", "the state of an instance"),
        ] {
            let name = format!("{behaviour}-{isolation}");
            let command = hostile(&lab, &name, isolation, (behaviour, n));
            runs.push((name, command, code, sentence));
        }
    }
    for (name, command, code, sentence) in runs {
        let ran = ran_of(command);
        ran.exits(3).says_one_problem().says(code).says(sentence);
        assert!(ran.stderr.len() < 64 << 10, "{name}: {} bytes on the terminal", ran.stderr.len());
        let journal = journal(&lab.path(&name));
        assert!(journal.len() < 64 << 10, "{name}: {} bytes in the journal", journal.len());
    }
}

#[test]
fn a_flood_of_long_lines_is_cut_counted_and_told_once() {
    let lab = lab();
    for (name, command) in [
        ("c", Deed::of("long-lines", 0).run(&lab, "c", &[])),
        ("process", hostile(&lab, "process", "process", ("long-lines", 100_000))),
        ("in-process", hostile(&lab, "in-process", "in-process", ("long-lines", 100_000))),
    ] {
        let ran = ran_of(command);
        ran.exits(0);
        assert!(ran.stderr.len() < 3 << 20, "{name}: {} bytes", ran.stderr.len());
        assert_eq!(ran.stderr.matches("lines of its log").count(), 1, "{name}");
        // 1 MiB is 256 lines of 4 KiB.
        assert_eq!(ran.stderr.matches(": aaaa").count(), 256, "{name}: {}", ran.stderr.len());
        ran.says("2744 lines of its log");
    }
}

/// Where the program waits for a worker, and how that may keep it waiting.
const WAITS: [Deed; 18] = [
    Deed { mode: "stops", at: "create", n: 0 },
    Deed { mode: "stops", at: "select", n: 0 },
    Deed { mode: "stops", at: "save", n: 0 },
    Deed { mode: "stops", at: "load", n: 0 },
    Deed { mode: "sleeps", at: "create", n: 0 },
    Deed { mode: "sleeps", at: "select", n: 0 },
    Deed { mode: "sleeps", at: "save", n: 0 },
    Deed { mode: "half-a-header", at: "create", n: 0 },
    Deed { mode: "half-a-header", at: "select", n: 0 },
    Deed { mode: "half-a-body", at: "select", n: 0 },
    Deed { mode: "half-a-body", at: "save", n: 0 },
    Deed { mode: "trickles", at: "create", n: 0 },
    Deed { mode: "trickles", at: "select", n: 0 },
    Deed { mode: "never-reads", at: "create", n: 0 },
    Deed { mode: "never-reads", at: "select", n: 0 },
    Deed { mode: "reads-slowly", at: "select", n: 0 },
    Deed { mode: "endless-progress", at: "select", n: 0 },
    Deed { mode: "endless-log", at: "select", n: 0 },
];

/// The command that comes to the wait: a run, or the resumption of one.
fn waiting(lab: &Lab, deed: &Deed, out: &str, timeout: &str) -> Command {
    let timeout = format!("plugins.timeout={timeout}");
    if deed.at != "load" {
        return deed.run(lab, out, &[&timeout, "plugins.retries=0"]);
    }
    // A run that was killed after a round has something to load.
    let mut child = start(deed.run(lab, out, &[&timeout, "plugins.retries=0", "query.rounds=50"]));
    until("a round", || journal(&lab.path(out)).matches("round-finished").count() > 1);
    child.kill().unwrap();
    child.wait().unwrap();
    lab.command(&["resume", out])
}

#[test]
fn no_wait_for_a_worker_is_longer_than_the_plugins_time() {
    let lab = lab();
    for deed in WAITS {
        let name = deed.name("");
        let began = Instant::now();
        let ran = ran_of(waiting(&lab, &deed, &name, "1"));
        ran.exits(3).says_one_problem().says("P019").says("did not answer within 1 s of its own time");
        assert!(began.elapsed() < Duration::from_secs(60), "{name}: {:?}", began.elapsed());
    }
}

#[test]
fn ctrl_c_ends_every_wait_for_a_worker() {
    let lab = lab();
    // A few at once: each takes the grace of five seconds.
    for deeds in WAITS.chunks(3) {
        std::thread::scope(|scope| {
            deeds.iter().for_each(|deed| drop(scope.spawn(|| ctrl_c_ends(&lab, deed))));
        });
    }
}

fn ctrl_c_ends(lab: &Lab, deed: &Deed) {
    let name = deed.name("");
    let child = start(waiting(lab, deed, &name, "3600"));
    until("the wait", || is_waiting(lab, deed, &name, child.id()));
    std::thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let interrupted = Instant::now();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{name}: {}", ran.stderr);
    assert!(interrupted.elapsed() < Duration::from_secs(30), "{name}: {:?}", interrupted.elapsed());
}

/// Whether the program has come to where the plugin keeps it waiting.
fn is_waiting(lab: &Lab, deed: &Deed, out: &str, pid: u32) -> bool {
    match deed.at {
        // Two strategies, each in its worker, and nothing on disk yet.
        "create" | "load" => workers(pid).len() == 2,
        "save" => journal(&lab.path(out)).contains("evaluated"),
        _ => journal(&lab.path(out)).matches("round-started").count() == 2,
    }
}

/// The processes that a process has started.
fn workers(parent: u32) -> Vec<u32> {
    let children = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(children).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[test]
fn a_worker_that_closes_its_line_ends_the_wait_at_once() {
    let lab = lab();
    for at in ["create", "select", "save"] {
        let deed = Deed { at, ..Deed::of("closes", 0) };
        let began = Instant::now();
        let ran = ran_of(deed.run(&lab, &deed.name(""), &["plugins.retries=0", "plugins.timeout=3600"]));
        ran.exits(3).says_one_problem().says("P020").says("broke the line");
        assert!(began.elapsed() < Duration::from_secs(60), "{at}: {:?}", began.elapsed());
    }
}

/// A run in which the hostile plugin has the program do an operation, on all images that are left.
fn asks(lab: &Lab, out: &str, (op, args): (&str, &str), more: &[&str]) -> Command {
    let args = args.replace('\\', "\\\\").replace('"', "\\\"");
    let params = format!("query.params={{ behaviour = \"asks\", from_round = 1, op = \"{op}\", args = \"{args}\" }}");
    let fixed = ["query.strategy=hostile", "query.rounds=1", &params, "plugins.retries=0"];
    let overrides: Vec<&str> = fixed.iter().chain(more).copied().collect();
    lab.command(&coldstart_tests::run_args(out, &overrides))
}

fn views(count: u32) -> String {
    format!(
        r#"{{"model":null,"outputs":["probabilities"],"views":{{"ops":[{{"op":"normalise"}}],"count":{count},"clean":true,"reduce":"mean"}}}}"#
    )
}

fn dropout(passes: u64) -> String {
    let dropout = format!(r#"{{"passes":{passes},"p":0.5,"shared":true,"clean":false}}"#);
    format!(r#"{{"model":null,"outputs":["probabilities"],"views":null,"dropout":{dropout}}}"#)
}

/// A training with one part changed.
fn training(part: &str, value: &str) -> String {
    let spec = [
        ("name", r#""x""#),
        ("target", r#"{"kind":"applied","op":0,"every":true}"#),
        ("views", r#"[{"op":"rotate90"},{"op":"normalise"}]"#),
        ("backbone", "null"),
        ("head", r#"{"kind":"linear","dim":null}"#),
        ("objective", r#"{"kind":"cross-entropy"}"#),
        ("optimizer", r#"{"kind":"sgd","lr":0.1,"momentum":0.9,"nesterov":true,"weight_decay":0.0}"#),
        ("schedule", r#"{"kind":"constant"}"#),
        ("warmup_epochs", "0"),
        ("epochs", "1"),
        ("batch_size", "32"),
        ("record", "[]"),
        ("seed", "null"),
    ];
    let parts = spec.map(|(name, usual)| format!("\"{name}\":{}", if name == part { value } else { usual }));
    format!("{{{}}}", parts.join(","))
}

#[test]
fn operations_refuse_what_is_beyond_their_bounds_before_they_begin() {
    let lab = Lab::new();
    let long_text = "x".repeat(300);
    let padded = r#"[{"op":"pad-crop","padding":4000000000},{"op":"rotate90"}]"#;
    let records = r#"[{"measure":{"kind":"loss"},"pass":"training"}]"#;
    let rows = [
        ("model.predict/2", views(20_000), "`views` is at most 1000, not 20000"),
        ("model.predict/2", views(4_000_000_000), "`views` is at most 1000"),
        (
            "model.predict/2",
            views(1).replace("normalise\"", "pad-crop\",\"padding\":4000000000"),
            "`padding` must be at most",
        ),
        ("model.predict/2", views(1).replace("normalise\"", "blur\",\"sigma\":[1e9,1e9],\"p\":1.0"), "`sigma` must be"),
        ("model.predict/3", dropout(4_000_000_000), "`passes` is at most 1024"),
        (
            "kmeans/1",
            r#"{"clusters":4000000000,"iterations":1,"restarts":1,"stream":"x"}"#.to_owned(),
            "`clusters` is at most",
        ),
        (
            "kmeans/1",
            r#"{"clusters":1,"iterations":4000000000,"restarts":1,"stream":"x"}"#.to_owned(),
            "`iterations` is at most",
        ),
        (
            "kmeans/1",
            r#"{"clusters":1,"iterations":1,"restarts":4000000000,"stream":"x"}"#.to_owned(),
            "`restarts` is at most",
        ),
        ("kmeans_pp/1", format!(r#"{{"k":1,"first":"drawn","stream":"{long_text}"}}"#), "the length of stream"),
        ("train/1", training("epochs", "4000000000"), "`epochs` must be at most 100000"),
        ("train/1", training("batch_size", "4000000000"), "`batch_size` must be at most"),
        ("train/1", training("views", padded), "`padding` must be at most"),
        ("train/1", training("backbone", r#"{"name":"convnet","width":4000000000}"#), "`width` must be at most"),
        (
            "train/1",
            training("views", r#"[{"op":"jigsaw","grid":65536,"gap":0,"orders":[]}]"#),
            "`grid` must be 2 to 8",
        ),
        ("train/1", training("record", records).replace("\"epochs\":1,", "\"epochs\":100000,"), "are allowed"),
    ];
    for (i, (op, args, sentence)) in rows.iter().enumerate() {
        let began = Instant::now();
        let ran = ran_of(asks(&lab, &format!("run-{i}"), (op, args), &["plugins.memory=0.1"]));
        ran.exits(3).says_one_problem().says(sentence);
        assert!(began.elapsed() < Duration::from_secs(60), "{op} {args}");
    }
}

/// The largest that may be asked for is still long: it ends when the user says so, in the program and apart.
#[test]
fn ctrl_c_ends_a_long_operation() {
    let lab = Lab::new();
    for isolation in ["process", "in-process"] {
        for (name, op, args) in
            [("views", "model.predict/2", views(1000)), ("training", "train/1", training("epochs", "100000"))]
        {
            let out = format!("{name}-{isolation}");
            let more = [&format!("plugins.isolation={isolation}")[..], "plugins.timeout=3600"];
            let child = start(asks(&lab, &out, (op, &args), &more));
            until("that round", || journal(&lab.path(&out)).matches("round-started").count() == 2);
            std::thread::sleep(Duration::from_secs(1));
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            let interrupted = Instant::now();
            Ran::of(child.wait_with_output().unwrap()).exits(130);
            assert!(interrupted.elapsed() < Duration::from_secs(30), "{out}: {:?}", interrupted.elapsed());
        }
    }
}

/// 24 times `plugins.timeout` are free.
#[test]
fn what_the_program_works_for_a_call_counts_after_its_share() {
    let lab = Lab::new();
    for (isolation, code, sentence) in [
        ("process", "P019", "what is more than 24 times 0.1 s counts as its own time"),
        ("in-process", "P015", "the program has worked 2.5 s for this call"),
    ] {
        for (name, op, args) in
            [("views", "model.predict/2", views(1000)), ("training", "train/1", training("epochs", "100000"))]
        {
            let began = Instant::now();
            let more = [&format!("plugins.isolation={isolation}")[..], "plugins.timeout=0.1"];
            let ran = ran_of(asks(&lab, &format!("{name}-{isolation}"), (op, &args), &more));
            ran.exits(3).says_one_problem().says(code).says(sentence);
            assert!(began.elapsed() < Duration::from_secs(60), "{name} {isolation}: {:?}", began.elapsed());
        }
    }
}
