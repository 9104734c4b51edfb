//! Nobody has to listen: a terminal that was closed, a pipe whose reader has gone and a full device end no command by a panic, and
//! change no result. And limits of the shell: it works, or the error says which.

use coldstart_tests::{Lab, TINY, results};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A command in a shell that first does something, and redirects.
fn in_shell(lab: &Lab, args: &[&str], first: &str, redirected: &str) -> Command {
    let inner = lab.command(args);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{first} exec \"$0\" \"$@\" {redirected}"));
    shell.arg(inner.get_program()).args(inner.get_args()).current_dir(lab.path("")).stdin(Stdio::null());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// The command's end, with a standard error whose reader is gone before anything is said.
fn without_a_reader(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a shell");
    drop(child.stderr.take());
    child.wait_with_output().expect("an end")
}

fn smaller(lab: &Lab) {
    let tiny = TINY.replace("size = 300", "size = 80").replace("test_size = 100", "test_size = 30");
    let tiny = tiny.replace("rounds = 3", "rounds = 1");
    lab.write("tiny.toml", &tiny);
    lab.write("sweep.toml", format!("{tiny}[sweep]\nseed = [1, 2]\n"));
}

/// Data goes to stdout as ever; it is not what is redirected here.
const COMMANDS: [&[&str]; 7] = [
    &["-v", "run", "tiny.toml", "--out", "run"],
    &["-vv", "resume", "run"],
    &["sweep", "sweep.toml", "--out", "study", "--jobs", "2"],
    &["report", "run"],
    &["plugin", "list"],
    &["data", "info", "tiny.toml"],
    &["cache", "list"],
];

#[test]
fn no_command_panics_where_nobody_reads_what_it_says() {
    let expected = Lab::new();
    smaller(&expected);
    expected.coldstart(COMMANDS[0]).exits(0);
    for how in ["2>&-", "2>/dev/full", "reader gone"] {
        let lab = Lab::new();
        smaller(&lab);
        for args in COMMANDS {
            let output = match how {
                "reader gone" => without_a_reader(in_shell(&lab, args, "", "")),
                redirected => in_shell(&lab, args, "", redirected).stderr(Stdio::null()).output().expect("a shell"),
            };
            assert_eq!(output.status.code(), Some(0), "{args:?} {how}: {}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(results(&lab.path("run")), results(&expected.path("run")), "{how}");
        // What fails says so by its code all the same.
        let wrong = in_shell(&lab, &["run", "absent.toml"], "", how.strip_prefix("reader gone").unwrap_or(how));
        assert_eq!(without_a_reader(wrong).status.code(), Some(2), "{how}");
    }
}

#[test]
fn a_stdout_that_takes_nothing_is_an_error_or_the_end_and_no_panic() {
    let lab = Lab::new();
    smaller(&lab);
    for args in [&["plugin", "list"][..], &["data", "info", "tiny.toml"], &["cache", "list", "--json"], &["--help"]] {
        let full = in_shell(&lab, args, "", ">/dev/full").output().expect("a shell");
        let said = String::from_utf8_lossy(&full.stderr);
        assert!(!said.contains("panicked") && matches!(full.status.code(), Some(0 | 1)), "{args:?}: {said}");
        let mut child = in_shell(&lab, args, "sleep 0.2;", "2>&1").stdout(Stdio::piped()).spawn().expect("a shell");
        drop(child.stdout.take());
        assert_eq!(child.wait().expect("an end").code(), Some(0), "{args:?}");
    }
}

/// A closed terminal stops a run at a safe point; one that was told to go on, as by `nohup`, goes on.
/// Whether this process, and so whatever it starts, was told to outlive its terminal, as `nohup` does.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("what the kernel says of this process");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("ignored signals");
    u64::from_str_radix(ignored.trim(), 16).expect("a set of signals") & 1 != 0
}

#[test]
fn a_run_outlives_its_terminal_if_it_was_told_to() {
    if ignores_hangup() {
        eprintln!("skipped: hangups are ignored here already, as under nohup");
        return;
    }
    let lab = Lab::new();
    let long = ["run", "tiny.toml", "--out", "run", "-s", "query.rounds=40", "-s", "dataset.size=300"];
    for (first, code) in [("", 130), ("trap '' HUP;", 0)] {
        let mut child = in_shell(&lab, &long, first, "2>/dev/full").stdout(Stdio::null()).spawn().expect("a shell");
        let journal = lab.path("run/journal.jsonl");
        coldstart_tests::until("a round", || {
            std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("round-finished"))
        });
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("a process");
        assert_eq!(child.wait().expect("an end").code(), Some(code), "{first}");
        if code == 130 {
            lab.coldstart(&["resume", "run"]).exits(0);
        }
        std::fs::remove_dir_all(lab.path("run")).expect("a run");
    }
}

fn limited(lab: &Lab, limit: &str, args: &[&str]) -> (Option<i32>, String) {
    let output = in_shell(lab, args, &format!("ulimit {limit} || exit 99;"), "").output().expect("a shell");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn limits_of_the_shell_are_worked_with_or_named() {
    let lab = Lab::new();
    smaller(&lab);
    let sweep = ["sweep", "sweep.toml", "--out", "study", "--jobs", "2"];
    assert_eq!(limited(&lab, "-n 200", &["run", "tiny.toml", "--out", "few"]).0, Some(0));
    assert_eq!(limited(&lab, "-n 200", &sweep).0, Some(0));

    // In blocks of 512 bytes: nothing fits, and the page does not.
    let (code, said) = limited(&lab, "-f 8", &["run", "tiny.toml", "--out", "nothing"]);
    assert!(code == Some(3) && said.contains("libcoldstart_random.so") && said.contains("ulimit -f"), "{said}");
    let (code, said) = limited(&lab, "-f 6000", &["run", "tiny.toml", "--out", "small"]);
    assert!(code == Some(1) && said.contains("small/report.html") && said.contains("ulimit -f"), "{said}");
    lab.coldstart(&["resume", "small"]).exits(0);
    assert_eq!(results(&lab.path("small")), results(&lab.path("few")));

    let (code, said) = limited(&lab, "-v 1800000", &["run", "tiny.toml", "--out", "tight"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ulimit -v"), "{said}");
    assert!(!Path::new(&lab.path("tight")).exists());
}
