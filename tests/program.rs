//! The program as a user meets it: exit codes, messages, what goes where.

use coldstart_tests::{Lab, Ran, TINY, results};

/// Rows of overrides and what must be said about them.
#[test]
fn a_mistake_in_the_config_names_the_key() {
    for (set, sentences) in [
        ("training.epocs=3", ["`training.epocs` is not a known key", "did you mean `epochs`?"]),
        ("trainning.epochs=3", ["trainning", "did you mean `training`?"]),
        ("training.epochs=many", ["training.epochs", "must be a whole number, not the text \"many\""]),
        ("training.epochs=0", ["training.epochs", "at least"]),
        ("training.optimizer.lr=-1", ["training.optimizer.lr", "-1"]),
        ("model.backbone=resnet19", ["model.backbone", "did you mean"]),
        ("initial.size=0", ["initial.size", "at least 1"]),
        ("query.size=0", ["query.size", "at least 1"]),
        ("dataset.size=5", ["dataset.size", "outside 10 to"]),
        ("dataset.kind=mnits", ["mnits", "did you mean `mnist`?"]),
        ("dataset.path=x", ["dataset.path", "does not apply to kind `synthetic`"]),
        ("name=../up", ["name", "made of letters"]),
        ("query.rounds=100", ["100 rounds of 5 after 10 initial images need 510 images", "the pool has 300"]),
    ] {
        let lab = Lab::new();
        lab.run("run", &[set]).exits(2).says_one_problem().says(sentences[0]).says(sentences[1]);
        assert!(!lab.path("run").exists(), "{set}");
    }
}

#[test]
fn a_mistake_in_the_file_is_shown_at_its_line() {
    for (wrong, place, sentence) in [
        ("epochs = \"many\"", "tiny.toml:12:", "`training.epochs`"),
        ("epochs = 0", "tiny.toml:12:", "at least"),
        ("epocs = 2", "tiny.toml:12:", "did you mean `epochs`?"),
    ] {
        let lab = Lab::new();
        lab.write("tiny.toml", TINY.replace("epochs = 2", wrong));
        lab.run("run", &[]).exits(2).says_one_problem().says(place).says(sentence);
        assert!(!lab.path("run").exists(), "{wrong}");
    }
}

#[test]
fn what_cannot_be_read_or_written_is_named() {
    let lab = Lab::new();
    lab.write("file", "");
    lab.write("torn.toml", "name = \"torn");
    for (args, exit, sentence) in [
        (&["run", "nowhere.toml"][..], 2, "cannot read `nowhere.toml`"),
        (&["run", "torn.toml"], 2, "torn.toml:1"),
        (&["run", "tiny.toml", "--out", "file/run"], 1, "cannot create `file/run`"),
        (&["run", "tiny.toml", "--out", "/proc/run"], 1, "cannot create `/proc/run`"),
        (&["run", "tiny.toml", "-s", "dataset={ kind = \"mnist\" }"], 2, "mnist"),
        (&["data", "fetch", "fashion-minst", "--data", "."], 2, "did you mean `fashion-mnist`?"),
        (&["data", "fetch", "mnist"], 2, "COLDSTART_DATA"),
        (&["report", "nowhere"], 2, "nowhere"),
    ] {
        lab.coldstart(args).exits(exit).says_one_problem().says(sentence);
    }
}

#[test]
fn a_mistake_on_the_command_line_is_a_usage_error() {
    for args in [
        &["rum"][..],
        &["run"],
        &["run", "tiny.toml", "-s", "size"],
        &["run", "-q", "-v", "tiny.toml"],
        &["run", "tiny.toml", "--device", "tpu"],
        &[],
    ] {
        let ran = Lab::new().coldstart(args);
        ran.exits(2);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{args:?}");
    }
    Lab::new().coldstart(&["run", "tiny.toml", "--device", "tpu"]).exits(2).says("there is no such device");
}

/// Where a GPU works, there is nothing to refuse.
#[test]
fn a_gpu_that_is_not_there_is_an_honest_error() {
    let lab = Lab::new();
    let findings = lab.coldstart(&["doctor", "--json"]).json();
    let works =
        |what: &str| findings.as_array().unwrap().iter().find(|found| found["what"] == what).unwrap()["works"] == true;
    assert!(works("CPU") && works("libtorch") && works("plugins"), "{findings}");
    if works("CUDA") {
        eprintln!("skipped: this machine has a GPU");
        return;
    }
    let ran = lab.coldstart(&["run", "tiny.toml", "--out", "run", "--device", "cuda"]);
    ran.exits(2).says_one_problem().says("cannot use device `cuda`").says("--device cpu");
    assert!(!lab.path("run").exists());
}

#[test]
fn a_cause_is_said_once() {
    let lab = Lab::new();
    let ran = lab.run("run", &["dataset={ kind = \"folder\", path = \"absent\", shape = [8, 8, 3] }"]);
    ran.exits(2).says_one_problem().says("absent");
    assert_eq!(ran.stderr.matches("No such file or directory").count(), 1, "{}", ran.stderr);
}

#[test]
fn stdout_holds_data_and_nothing_else() {
    let lab = Lab::new();
    let ran = lab.run("run", &[]);
    assert_eq!(ran.exits(0).stdout, "run/report.html\n");
    assert!(!ran.stderr.contains(['█', '\r', '\u{1b}', '⠁']), "{}", ran.stderr);
    assert!(ran.stderr.lines().count() < 30, "{}", ran.stderr);
    let page = std::fs::read_to_string(lab.path("run/report.html")).unwrap();
    assert!(page.trim_end().ends_with("</html>"));

    let quiet = lab.coldstart(&["-q", "run", "tiny.toml", "--out", "quiet"]);
    assert_eq!((quiet.exits(0).stdout.as_str(), quiet.stderr.as_str()), ("quiet/report.html\n", ""));
    let both = lab.coldstart(&["report", "run", "quiet", "-o", "both.html"]);
    assert_eq!(both.exits(0).stdout, "both.html\n");
}

/// A study made by hand of two runs; a third has not begun.
#[test]
fn a_folder_with_a_plan_is_reported_as_a_study() {
    let lab = Lab::new();
    for seed in ["1", "2"] {
        lab.run(&format!("study/runs/{seed}"), &[&format!("seed={seed}")]).exits(0);
    }
    lab.write("study/plan.csv", "run,round0,seed\n1,a,1\n2,b,2\n3,c,3\n");
    lab.write(
        "study/study.toml",
        std::fs::read_to_string(lab.path("tiny.toml")).unwrap() + "[sweep]\nseed = [1, 2, 3]\n",
    );
    assert_eq!(lab.coldstart(&["report", "study"]).exits(0).stdout, "study/report.html\n");
    let runs = std::fs::read_to_string(lab.path("study/tables/runs.csv")).unwrap();
    let states: Vec<&str> = runs.lines().skip(1).map(|row| row.split(',').nth(3).unwrap()).collect();
    assert_eq!(states, ["finished", "finished", "missing"], "{runs}");
    assert!(lab.path("study/figures/curves.svg").exists());
    let mixed = lab.coldstart(&["report", "study", "study/runs/1"]);
    mixed.exits(1).says_one_problem().says("`study` is a study").says("report it alone");
}

#[test]
fn a_reader_that_stops_ends_the_program_quietly_and_a_full_disk_does_not() {
    let lab = Lab::new();
    for args in [&["plugin", "list"][..], &["plugin", "list", "--json"], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let gone = Ran::of(lab.command(args).stdout(writer).output().unwrap());
        assert_eq!(gone.exits(0).stderr, "", "{args:?}");
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        Ran::of(lab.command(args).stdout(full).output().unwrap()).exits(1).says("cannot write to stdout");
    }
}

#[test]
fn a_run_is_a_function_of_its_config() {
    let lab = Lab::new();
    for (out, overrides) in [("first", &[][..]), ("second", &[]), ("other", &["seed=2"]), ("resolved", &[])] {
        if out == "resolved" {
            // The stored config, every default written out, gives the same run again.
            std::fs::copy(lab.path("first/config.toml"), lab.path("tiny.toml")).unwrap();
        }
        lab.run(out, overrides).exits(0);
    }
    let of = |out: &str| results(&lab.path(out));
    assert_eq!(of("first"), of("second"));
    assert_eq!(of("first"), of("resolved"));
    let differing = of("first").iter().filter(|(file, bytes)| of("other")[*file] != **bytes).count();
    assert_eq!(differing, of("first").len());
}

#[test]
fn overrides_are_laid_over_the_file_in_order() {
    let lab = Lab::new();
    lab.run("run", &["query.rounds=5", "query.rounds=1", "initial.size=20"]).exits(0);
    let table = std::fs::read_to_string(lab.path("run/results.csv")).unwrap();
    let labels: Vec<&str> = table.lines().skip(1).map(|row| row.split(',').nth(1).unwrap()).collect();
    assert_eq!(labels, ["20", "25"]);
}

/// Every round buys what it says, nothing twice, and strategies differ in what they choose.
#[test]
fn every_strategy_runs() {
    let lab = Lab::new();
    let mut choices = std::collections::BTreeSet::new();
    for strategy in ["random", "entropy", "margin", "least-confidence"] {
        lab.run(strategy, &[&format!("query.strategy={strategy}")]).exits(0);
        let mut bought = Vec::new();
        for round in 0..4 {
            let file = lab.path(strategy).join(format!("rounds/{round:03}/selection.csv"));
            let table = std::fs::read_to_string(file).unwrap();
            bought.extend(table.lines().skip(1).map(|row| row.split(',').nth(1).unwrap().parse::<u64>().unwrap()));
        }
        assert_eq!(bought.len(), 10 + 3 * 5);
        choices.insert(bought.clone());
        bought.sort_unstable();
        bought.dedup();
        assert!(bought.len() == 25 && bought.iter().all(|id| *id < 300), "{strategy}: {bought:?}");
    }
    assert_eq!(choices.len(), 4);
}

#[test]
fn what_is_there_can_be_listed() {
    let lab = Lab::new();
    let kinds = lab.coldstart(&["data", "list", "--json"]).json();
    assert!(kinds["kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] == "fashion-mnist"));
    for (args, word) in [
        (&["data", "list"][..], "fashion-mnist"),
        (&["data", "info", "tiny.toml"], "24 x 24 pixels"),
        (&["completions", "bash"], "_coldstart()"),
        (&["doctor"], "libtorch"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
        (&["--help"], "resume"),
    ] {
        let ran = lab.coldstart(args);
        assert!(ran.exits(0).stdout.contains(word), "{args:?}: {}", ran.stdout);
    }
    let info = lab.coldstart(&["data", "info", "tiny.toml", "--json"]).json();
    let pool: u64 = info["classes"].as_array().unwrap().iter().map(|class| class["pool"].as_u64().unwrap()).sum();
    assert_eq!(pool, 300);
}
