//! What an author is given: a crate that is right at once, and a check that finds what is wrong.

use coldstart_tests::{
    Lab, Ran, build_folder, files_under, from_c, library, long_tests_run, manifest_section, repository,
};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

/// The rows of a check, as JSON.
fn rows(ran: &Ran) -> Vec<Value> {
    ran.json()["cases"].as_array().expect("a report has cases").clone()
}

/// The result and the detail of one case.
fn found(rows: &[Value], case: &str) -> (String, String) {
    let row = rows.iter().find(|row| row["case"] == case).unwrap_or_else(|| panic!("no case `{case}`"));
    let text = |key: &str| row[key].as_str().expect("a text").to_owned();
    (text("result"), text("detail"))
}

/// What does not hold, with its detail.
fn broken(rows: &[Value]) -> Vec<&Value> {
    rows.iter().filter(|row| row["result"] == "failed" || row["result"] == "crashed").collect()
}

fn check(lab: &Lab, file: &Path, args: &[&str]) -> Ran {
    lab.coldstart(&[&["plugin", "check", file.to_str().unwrap(), "--json"], args].concat())
}

/// A command of cargo's, or one that starts it: with the user's own folders, offline, and one build folder for all.
fn with_cargo(command: &mut Command) -> Ran {
    let home = std::env::var_os("HOME").expect("cargo lives somewhere");
    let target = build_folder().parent().unwrap().join("outside");
    command.env("HOME", home).env("CARGO_TARGET_DIR", target).env("CARGO_NET_OFFLINE", "true");
    Ran::of(command.output().unwrap())
}

#[test]
fn a_new_crate_builds_passes_its_tests_and_the_check_at_once() {
    let lab = Lab::new();
    let contract = repository().join("plugin-api");
    for (name, roles, args) in [
        ("a-beginning", &["initial"][..], &["--role", "initial"][..]),
        ("b-question", &["query"], &["--publisher", "some-lab"]),
        ("d-size", &["sizer"], &["--role", "sizer"]),
        (
            "c-both",
            &["initial", "query"],
            &["--role", "initial", "--role", "query", "--path", contract.to_str().unwrap()],
        ),
    ] {
        let made = lab.coldstart(&[&["plugin", "new", name], args].concat());
        made.exits(0).says("coldstart plugin build");
        assert_eq!(made.stdout.trim(), name);
        // The same versions as the workspace's, so that nothing needs the network.
        std::fs::copy(repository().join("Cargo.lock"), lab.path(name).join("Cargo.lock")).unwrap();

        for task in [&["fmt", "--check"][..], &["test", "--release"]] {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
            with_cargo(cargo.args(task).current_dir(lab.path(name))).exits(0);
        }
        let built = with_cargo(&mut lab.command(&["plugin", "build", "--crate", name, "--json"]));
        let built = built.exits(0).json();
        assert_eq!(built["manifest"]["roles"], serde_json::json!(roles));
        assert_eq!(built["facts"]["banned_properties"], serde_json::json!([]));
        assert!(built["facts"]["glibc"].as_str().unwrap().starts_with("2."), "{built}");

        let file = lab.path(name).join("dist").join(format!("lib{}.so", name.replace('-', "_")));
        let checked = check(&lab, &file, &["--level", "fuzz", "--count", "100"]);
        let rows = rows(checked.exits(0));
        assert!(broken(&rows).is_empty(), "{name}: {:?}", broken(&rows));
        assert_eq!(found(&rows, "manifest-valid").0, "success");
        assert_eq!(found(&rows, "random-answers").0, "success");
    }
}

#[test]
fn what_cannot_be_made_or_built_is_said_with_a_way_out() {
    let lab = Lab::new();
    lab.write("taken/notes.txt", "precious");
    lab.write("broken/Cargo.toml", "[package\n");
    lab.write("other/Cargo.toml", "[package]\nname = \"other\"\nversion = \"1.0.0\"\n");
    for (args, exit, sentences) in [
        (&["new", "idea", "--role", "sizer", "--role", "query"][..], 2, ["a sizer chooses nothing", "make two crates"]),
        (&["new", "MyIdea"], 2, ["must be kebab-case", "such as `myidea`"]),
        (&["new", "match"], 2, ["means something else", "such as `match-strategy`"]),
        (&["new", "taken"], 2, ["taken exists already", "--dir"]),
        (&["new", "idea", "--dir", "taken"], 2, ["taken exists already", "--dir"]),
        (&["new", "idea", "--publisher", "My Lab"], 2, ["`My Lab` is no name for a publisher", "such as `my-lab`"]),
        (&["new", "idea", "--path", "nowhere"], 2, ["nowhere holds no crate", "pass --path"]),
        (&["new", "idea", "--path", "other"], 2, ["holds the crate `other`", "pass --path"]),
        (&["new", "idea", "--role", "oracle"], 2, ["invalid value 'oracle'", "initial, query"]),
        (&["build"], 2, ["Cargo.toml is not there", "coldstart plugin new"]),
        (&["build", "--crate", "broken"], 1, ["failed", "cargo's own messages stand above"]),
        (&["check", "nowhere.so"], 3, ["P001", "coldstart plugin list"]),
        (&["check", "entropy", "--case", "bad-parms"], 2, ["no case `bad-parms`", "did you mean `bad-params`?"]),
        (&["check", "entropy", "--level", "hard"], 2, ["no level `hard`", "static, load, conform, fuzz"]),
        (&["check", "entropy", "--params", "7"], 2, ["no JSON object", "--params"]),
        (&["check"], 2, ["required", "PLUGIN"]),
    ] {
        let ran = with_cargo(&mut lab.command(&[&["plugin"], args].concat()));
        ran.exits(exit).says(sentences[0]).says(sentences[1]);
        assert!(ran.stdout.is_empty() && !lab.path("idea").exists(), "{args:?}");
    }
    assert_eq!(files_under(&lab.path("taken")).len(), 1);
}

#[test]
fn every_strategy_of_this_repository_holds() {
    if !long_tests_run("every_strategy_of_this_repository_holds") {
        return;
    }
    let folders = std::fs::read_dir(repository().join("plugins")).unwrap().flatten();
    let names = folders.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
    let names: Vec<String> = names.collect();
    assert!(names.len() >= 7, "{names:?}");
    let waiting = Mutex::new(names);
    // Two at a time: each has a process for every core already. Whatever else the machine does, a case has time enough.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let next = || waiting.lock().unwrap().pop();
                while let Some(name) = next() {
                    let args = ["plugin", "check", &name, "--level", "conform", "--json", "--timeout", "900"];
                    let checked = Lab::new().coldstart(&args);
                    let rows = rows(&checked);
                    assert!(broken(&rows).is_empty(), "{name}: {:?}", broken(&rows));
                    checked.exits(0);
                }
            });
        }
    });
}

/// One promise broken at a time, and the case that finds it.
#[test]
fn each_mistake_is_found_by_its_case() {
    let lab = Lab::new();
    for (mistake, case, result, sentence) in [
        ("none", "selection-valid", "success", "as query"),
        ("abort", "selection-valid", "crashed", "signal 6"),
        ("exit", "selection-valid", "crashed", "exit code 0 before the case was over"),
        ("hang", "selection-valid", "failed", "took longer than 2 s"),
        ("recurse", "selection-valid", "crashed", "has overflowed its stack"),
        ("hash-order", "same-seed-same-answer", "failed", "chooses differently"),
        ("static-counter", "same-seed-same-answer", "failed", "a second instance chooses differently"),
        ("static-counter", "instances-on-threads", "failed", "beside others"),
        ("static-counter", "loads-twice", "failed", "chooses differently"),
        ("asks-threads", "threads-do-not-matter", "failed", "with eight threads"),
        ("swallows-errors", "failing-operation", "failed", "`model.predict/1` fails, but it chooses"),
        ("swallows-errors", "nan-from-model", "failed", "as if nothing were wrong"),
        ("swallows-errors", "cancelled-anywhere", "failed", "it chooses all the same"),
        ("hides-cause", "failing-operation", "failed", "the model did not answer"),
        ("hides-cause", "cancelled-anywhere", "failed", "the model did not answer"),
        ("keeps-tensors", "tensors-released", "failed", "1 tensors are left after a call"),
        ("goes-back", "progress-monotone", "failed", "`search` goes back from 3 to 2"),
        ("floods-log", "log-bounded", "warning", "5000 lines"),
        ("takes-any-state", "foreign-state", "failed", "foreign bytes"),
        ("forgets-state", "state-round-trip", "failed", "another state than it took up"),
        ("all-but-all", "budget-edges", "failed", "none is left"),
        ("positions-as-ids", "sparse-ids", "failed", "which is not among the unlabelled ones"),
        ("log-of-nothing", "one-class", "failed", "the score -inf"),
        ("divides-by-range", "constant-probabilities", "failed", "the score NaN"),
        ("divides-by-distance", "duplicate-embeddings", "failed", "the score NaN"),
        ("unnamed-need", "optional-absent", "failed", "represent/1"),
        ("all-pairs", "million-ids", "failed", "took longer than 2 s"),
        ("all-but-all", "random-requests", "failed", "again with --case random-requests --seed"),
        ("none", "seed-matters", "skipped", "does not draw"),
    ] {
        let params = format!("{{\"mistake\": \"{mistake}\"}}");
        let timeout = if sentence.contains("2 s") { "2" } else { "45" };
        let args = ["--case", case, "--params", &params, "--timeout", timeout, "--count", "100"];
        let ran = check(&lab, &library("careless"), &args);
        ran.exits(if ["failed", "crashed"].contains(&result) { 3 } else { 0 });
        let (got, detail) = found(&rows(&ran), case);
        assert!(got == result && detail.contains(sentence), "{mistake}, {case}: {got}, {detail}");
    }
}

/// And the plugin that means harm, as far as a process of its own can tell.
#[test]
fn each_hostility_is_found() {
    let lab = Lab::new();
    for (behaviour, case, result, sentence) in [
        ("honest", "selection-valid", "success", "as initial and query"),
        ("honest", "empty-pool", "failed", "P016"),
        ("panic", "selection-valid", "failed", "out of patience"),
        ("panic-in-new", "selection-valid", "failed", "no wish to live"),
        ("panic-in-save", "state-round-trip", "failed", "nothing to remember"),
        ("panic-on-drop", "selection-valid", "success", ""),
        ("fail", "selection-valid", "failed", "no image is good enough"),
        ("duplicate-ids", "selection-valid", "failed", "twice"),
        ("labelled-ids", "selection-valid", "failed", "index out of bounds"),
        ("foreign-ids", "selection-valid", "failed", "18446744073709551615"),
        ("too-few", "selection-valid", "failed", "chose 1 images, 7 were asked for"),
        ("too-many", "selection-valid", "failed", "chose 120 images"),
        ("nan-scores", "selection-valid", "failed", "the score NaN"),
        ("unknown-operation", "selection-valid", "failed", "no such operation"),
        ("hidden-targets", "selection-valid", "failed", "is not labelled"),
        ("reads-hidden-label", "selection-valid", "failed", "is not labelled"),
        ("impossible-tensor", "selection-valid", "failed", "8 bytes do not make a tensor"),
        ("bad-artifact", "selection-valid", "failed", "../escaped.txt"),
        ("releases-request", "selection-valid", "success", ""),
        ("logs", "log-bounded", "success", "2 lines"),
    ] {
        let params = format!("{{\"behaviour\": \"{behaviour}\"}}");
        let ran = check(&lab, &library("hostile"), &["--case", case, "--params", &params]);
        let (got, detail) = found(&rows(&ran), case);
        assert!(got == result && detail.contains(sentence), "{behaviour}, {case}: {got}, {detail}");
    }
    for (strategy, case, sentence) in
        [("liar", "descriptor-agrees", "P012"), ("liar", "loads", "P012"), ("needy", "manifest-valid", "minds.read/1")]
    {
        let ran = check(&lab, &library(strategy), &[]);
        ran.exits(3).says_one_problem().says(case);
        let rows = rows(&ran);
        let (got, detail) = found(&rows, case);
        assert!(got == "failed" && detail.contains(sentence), "{strategy}, {case}: {got}, {detail}");
        // What cannot be loaded is not called.
        assert_eq!(found(&rows, "selection-valid").0, "skipped");
    }
}

/// The section of a manifest whose parameter has a default that does not fit.
fn odd_manifest(name: &str) -> String {
    manifest_section(&format!(
        r#"{{"format":1,"name":"{name}","publisher":"","version":"0.1.0","api":"1.0.0","panic":"unwind","summary":"in C","license":"MIT","authors":"C","cite":"none","roles":["query"],"needs":[],"params":{{"type":"object","required":["k"],"properties":{{"k":{{"type":"integer","default":"three"}}}}}}}}"#
    ))
}

#[test]
fn what_the_file_tells_is_found_before_anything_runs() {
    let lab = Lab::new();
    let shout =
        "#include <stdio.h>\n__attribute__((constructor)) static void a(void) { fputs(\"constructor ran\", stderr); }
                 __attribute__((constructor)) static void b(void) { fputs(\"constructor ran\", stderr); }\n";
    for (name, source, flags, case, sentence) in [
        ("shouting", shout, &[][..], "elf-rules", "constructors of its own"),
        ("pathed", "", &["-Wl,-rpath,/tmp"], "elf-rules", "has an rpath"),
        ("linked", "", &["-Wl,--no-as-needed", "-lz"], "libraries-allowed", "is linked to `libz"),
        ("exporting", "int helper(void) { return 1; }\n", &[], "exports-entry-only", "helper"),
        ("defaulted", "", &[], "params-schema", "`k` must be a whole number, not the text"),
    ] {
        if name == "linked" && !Path::new("/usr/include/zlib.h").exists() {
            eprintln!("skipped: there is no zlib to link to");
            continue;
        }
        let file = from_c(&lab, name, &format!("{}{source}", odd_manifest(name)), flags);
        let ran = check(&lab, &file, &[]);
        ran.exits(3);
        let rows = rows(&ran);
        let (got, detail) = found(&rows, case);
        assert!(got == "failed" && detail.contains(sentence), "{name}, {case}: {got}, {detail}");
        assert!(!ran.stdout.contains("constructor ran"), "{}", ran.stdout);
    }
}

/// Damaged at any place: a report, never a panic.
#[test]
fn no_file_brings_the_check_down() {
    let lab = Lab::new();
    let good = std::fs::read(library("margin")).unwrap();
    let mut damaged: Vec<Vec<u8>> =
        vec![Vec::new(), b"text".to_vec(), good[..64].to_vec(), good[..good.len() / 2].to_vec()];
    damaged.extend((0..4).map(|i| {
        let mut bytes = good.clone();
        // Every 61st byte from the ELF header on, and of the stretch before the section table's end.
        let start = [64, bytes.len() / 8, bytes.len() - 40_000, bytes.len() - 4000][i];
        bytes[start..].iter_mut().take(40_000).step_by(61).for_each(|byte| *byte ^= 0x5a);
        bytes
    }));
    for (i, bytes) in damaged.into_iter().enumerate() {
        let file = lab.write("damaged.so", bytes);
        let ran = check(&lab, &file, &["--level", "static"]);
        assert!([Some(0), Some(3)].contains(&ran.code), "{i}: {}", ran.stderr);
        assert!(rows(&ran).iter().all(|row| row["result"] != "crashed"), "{i}: {}", ran.stdout);
    }
}

#[test]
fn a_check_reads_well_and_the_guide_lists_every_case() {
    let lab = Lab::new();
    let ran = lab.coldstart(&["plugin", "check", "random", "--level", "load"]);
    let lines: Vec<&str> = ran.exits(0).stdout.lines().collect();
    assert!(lines[0].starts_with("CASE") && lines.last().unwrap().contains("success"), "{}", ran.stdout);

    let listed = lab.coldstart(&["plugin", "check", "--list", "--json"]).json();
    let cases = listed.as_array().unwrap();
    let text = lab.coldstart(&["plugin", "check", "--list"]);
    assert_eq!(text.exits(0).stdout.lines().count(), 2 * cases.len());
    let guide = std::fs::read_to_string(repository().join("docs/tutorials/from-idea-to-package.md")).unwrap();
    let row = |case: &Value| {
        let text = |key: &str| case[key].as_str().unwrap().to_owned();
        format!("| `{}` | {} | {} |", text("case"), text("level"), text("about"))
    };
    let rows: Vec<String> = cases.iter().map(row).collect();
    assert!(guide.contains(&rows.join("\n")), "the guide's table should be:\n{}", rows.join("\n"));
}
