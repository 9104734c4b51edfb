//! Bad plugins through the real program: every failure has its code, one readable message, and leaves the run intact.

use coldstart_tests::{Lab, c_manifest, events, from_c, library, results};

/// A plugin that misbehaves from round 2 on: rounds 0 and 1 stay, and a resumed run fails in the same way.
#[test]
fn a_failure_in_a_round_leaves_the_rounds_before_it() {
    for (behaviour, code, sentence) in [
        ("panic", "P016", "out of patience"),
        ("panic-in-save", "P016", "nothing to remember"),
        ("fail", "P015", "no image is good enough"),
        ("duplicate-ids", "P018", "twice"),
        ("labelled-ids", "P018", "which is not among the unlabelled ones"),
        ("foreign-ids", "P018", "chose the image 18446744073709551615"),
        ("too-few", "P018", "chose 1 images, 5 were asked for"),
        ("too-many", "P018", "chose 285 images, 5 were asked for"),
        ("nan-scores", "P018", "gave the score NaN"),
        ("unknown-operation", "P010", "this host has no operation `x.nothing/1`"),
        ("unknown-view", "P015", "unknown variant `solarize`, expected one of `pad-crop`, `resized-crop`"),
        ("hidden-targets", "P015", "is not labelled"),
        ("reads-hidden-label", "P015", "is not labelled"),
        ("impossible-tensor", "P015", "8 bytes do not make a tensor"),
        ("bad-artifact", "P015", "../escaped.txt"),
    ] {
        let lab = Lab::new();
        let params = format!("query.params={{ behaviour = \"{behaviour}\", from_round = 2 }}");
        let ran = lab.run("run", &["query.strategy=hostile", &params]);
        ran.exits(3).says_one_problem().says(code).says(sentence).says("hostile").says("help:").says("round 2");
        assert!(ran.stdout.is_empty(), "{behaviour}: {}", ran.stdout);
        assert_eq!(events(&lab.path("run")).last().unwrap(), "run-failed", "{behaviour}");

        let whole = |lab: &Lab| {
            let mut results = results(&lab.path("run"));
            results.retain(|file, _| !file.contains("002"));
            results
        };
        let before = whole(&lab);
        assert_eq!(before.len(), 6, "{behaviour}: {:?}", before.keys());
        assert_eq!(String::from_utf8_lossy(&before["results.csv"]).lines().count(), 3, "{behaviour}");

        lab.coldstart(&["resume", "run"]).exits(3).says_one_problem().says(code).says(sentence);
        assert_eq!(whole(&lab), before, "{behaviour}");
        assert!(!lab.path("run/artifacts/escaped.txt").exists() && !lab.path("escaped.txt").exists());
    }
}

/// What is harmless to the run must not end it.
#[test]
fn a_plugin_that_only_hurts_itself_does_not_end_the_run() {
    for behaviour in ["honest", "panic-on-drop", "releases-request"] {
        let lab = Lab::new();
        let params = format!("query.params.behaviour={behaviour}");
        let ran = lab.run("run", &["query.strategy=hostile", &params]);
        ran.exits(0);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}

#[test]
fn what_a_plugin_logs_is_heard_when_asked_for() {
    let lab = Lab::new();
    let run = ["run", "tiny.toml", "--out"];
    let logs = ["-s", "query.strategy=hostile", "-s", "query.params.behaviour=logs"];
    let heard = lab.coldstart(&[&run[..], &["loud", "-v"], &logs].concat());
    heard.exits(0).says("hello through log").says("hello through tracing answer=42");
    let unheard = lab.coldstart(&[&run[..], &["quiet"], &logs].concat());
    assert!(!unheard.exits(0).stderr.contains("hello"), "{}", unheard.stderr);
}

/// What can be known before training is known before there is a run directory.
#[test]
fn a_failure_before_training_leaves_no_run() {
    for (overrides, exit, sentences) in [
        (&["query.strategy=hostile", "query.params.behaviour=panic-in-new"][..], 3, ["P016", "no wish to live"]),
        (&["query.strategy=liar"], 3, ["P012", "says something else than its manifest"]),
        (&["query.strategy=needy"], 3, ["P010", "minds.read/1"]),
        (&["query.strategy=entrpy"], 2, ["query.strategy", "did you mean `entropy`?"]),
        (&["query.strategy=qqqqqqqq"], 2, ["P001", "coldstart plugin list"]),
        (&["initial.strategy=entropy"], 2, ["initial.strategy", "P003"]),
        (&["query.strategy=entropy@^9"], 2, ["P003", "0.2.0"]),
        (&["query.strategy=entropy@new"], 2, ["P003", "bad version requirement"]),
        (&["query.strategy=elsewhere/entropy"], 2, ["query.strategy", "P001"]),
        (&["query.params.temperature=2"], 2, ["P013", "`entropy` takes no params"]),
        (&["query.strategy=hostile", "query.params.behavior=panic"], 2, ["P013", "did you mean `behaviour`?"]),
        (&["query.strategy=hostile", "query.params.from_round=-1"], 2, ["P013", "`from_round` must be"]),
        (&["query.strategy=hostile", "query.params.behaviour=kind"], 2, ["P013", "`behaviour` must be one of"]),
    ] {
        let lab = Lab::new();
        let ran = lab.run("run", overrides);
        ran.exits(exit).says_one_problem().says(sentences[0]).says(sentences[1]).says("help:");
        assert!(!lab.path("run").exists(), "{overrides:?}");
        assert!(exit == 3 || ran.stderr.contains("tiny.toml"), "{}", ran.stderr);
    }
}

#[test]
fn names_with_publisher_and_version_are_found() {
    for name in ["coldstart/margin", "margin@^0.2", "coldstart/margin@>=0.2.0"] {
        Lab::new().run("run", &["query.rounds=1", &format!("query.strategy={name}")]).exits(0);
    }
}

#[test]
fn two_files_of_one_name_and_version_are_ambiguous() {
    let lab = Lab::new();
    for copy in ["libcoldstart_margin.so", "libmargin_again.so"] {
        std::fs::copy(library("margin"), lab.path("plugins").join(copy)).unwrap();
    }
    let ran = lab.run("run", &["query.strategy=margin"]);
    ran.exits(2).says_one_problem().says("P002").says("libmargin_again.so");
}

type Damage = fn(Vec<u8>) -> Vec<u8>;

fn swap(mut bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<_> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty(), "nothing reads `{from}`");
    for at in places {
        bytes[at..][..to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

/// A damaged copy of `margin` in the first folder of the search path is refused, and never passed over for a good one.
#[test]
fn a_damaged_library_is_refused_with_its_code() {
    const EI_CLASS: usize = 4;
    const E_TYPE: usize = 16;
    const E_MACHINE: usize = 18;
    let rows: [(&str, &str, Damage); 19] = [
        ("text", "P009", |_| b"not a library at all, only text".to_vec()),
        ("empty", "P009", |_| Vec::new()),
        ("4 bytes", "P009", |b| b[..4].to_vec()),
        ("17 bytes", "P009", |b| b[..17].to_vec()),
        ("a header", "P009", |b| b[..64].to_vec()),
        ("a page", "P009", |b| b[..4096].to_vec()),
        ("a half", "P009", |b| b[..b.len() / 2].to_vec()),
        ("all but a byte", "P009", |b| b[..b.len() - 1].to_vec()),
        ("another machine", "P007", |mut b| {
            b[E_MACHINE] = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
            b
        }),
        ("32 bit", "P007", |mut b| {
            b[EI_CLASS] = 1;
            b
        }),
        ("a program", "P009", |mut b| {
            b[E_TYPE] = 2;
            b
        }),
        ("a newer glibc", "P008", |b| swap(b, "GLIBC_2.", "GLIBC_9.")),
        ("another contract", "P011", |b| swap(b, "\"api\":\"1.", "\"api\":\"2.")),
        ("another format", "P011", |b| swap(b, "{\"format\":1,", "{\"format\":2,")),
        ("a panic that aborts", "P009", |b| swap(b, "\"panic\":\"unwind\"", "\"panic\":\"aborts\"")),
        ("an unknown need", "P010", |b| swap(b, "[\"model.predict/1\"]", "[\"model.predict/9\"]")),
        ("no JSON", "P012", |b| swap(b, "{\"format\":1,", "<\"format\":1,")),
        ("no version", "P012", |b| swap(b, "\"version\":\"0.2.0\"", "\"version\":\"0.2.x\"")),
        ("no entry symbol", "P009", |b| swap(b, "_1as_0lib_1header", "_2as_0lib_1header")),
    ];
    let good = std::fs::read(library("margin")).unwrap();
    let lab = Lab::new();
    for (what, code, damage) in rows {
        lab.write("plugins/libcoldstart_margin.so", damage(good.clone()));
        let ran = lab.run("run", &["query.strategy=margin"]);
        assert!(ran.stderr.contains(code), "{what}: expected {code} in\n{}", ran.stderr);
        ran.exits(3).says_one_problem().says("libcoldstart_margin.so").says("help:");
        assert!(!lab.path("run").exists(), "{what}");
    }
}

/// Patched in place, file and loaded library agree on the wrong name; but no instance answers to it.
#[test]
fn a_library_under_a_false_name_makes_no_instance() {
    let lab = Lab::new();
    let good = std::fs::read(library("margin")).unwrap();
    lab.write("plugins/libcoldstart_morgin.so", swap(good, "\"name\":\"margin\"", "\"name\":\"morgin\""));
    let ran = lab.run("run", &["query.strategy=morgin"]);
    ran.exits(3).says_one_problem().says("P014").says("this plugin offers `margin`, not `morgin`");
    assert!(!lab.path("run").exists());
}

const SHOUT: &str = r#"
#include <stdio.h>
__attribute__((constructor)) static void first(void) { puts("constructor ran"); fflush(stdout); }
__attribute__((constructor)) static void second(void) { puts("constructor ran"); fflush(stdout); }
"#;

#[test]
fn a_library_with_a_banned_property_is_never_loaded() {
    let lab = Lab::new();
    from_c(&lab, "other", "", &[]);
    let folder = lab.path("plugins").display().to_string();
    let unique = "__asm__(\".data\\n.globl u\\n.type u,@gnu_unique_object\\n.size u,4\\nu: .long 1\\n.text\");\n";
    let (in_folder, rpath) = (format!("-L{folder}"), format!("-Wl,-rpath,{folder}"));
    for (name, source, flags, sentence) in [
        ("shouting", SHOUT.to_owned(), &[][..], "constructors of its own"),
        ("pathed", String::new(), &[rpath.as_str()], "has an rpath"),
        (
            "linked",
            String::new(),
            &["-Wl,--no-as-needed", &in_folder, "-lcoldstart_other"],
            "is linked to `libcoldstart_other.so`",
        ),
        ("stacked", String::new(), &["-Wl,-z,execstack"], "wants an executable stack"),
        ("unique", unique.to_owned(), &[], "has unique symbols"),
    ] {
        from_c(&lab, name, &format!("{}{source}", c_manifest(name)), flags);
        let ran = lab.run("run", &[&format!("query.strategy={name}")]);
        ran.exits(3).says_one_problem().says("P009").says(sentence);
        assert!(!ran.stdout.contains("constructor ran") && !lab.path("run").exists(), "{name}: {}", ran.stdout);
    }
    // Clean to look at, but with nothing behind the entry symbol.
    from_c(&lab, "hollow", &c_manifest("hollow"), &[]);
    lab.run("run", &["query.strategy=hollow"]).exits(3).says_one_problem().says("P011");
}

#[test]
fn a_library_that_is_no_plugin_is_named_when_meant_and_not_listed() {
    let lab = Lab::new();
    from_c(&lab, "broken", "int answer(void) { return 42; }", &[]);
    let ran = lab.run("run", &["query.strategy=broken"]);
    ran.exits(3).says_one_problem().says("P009").says("exports no strategy");
    let listed = lab.coldstart(&["plugin", "list"]);
    assert!(!listed.exits(0).stdout.contains("broken"), "{}", listed.stdout);
}

#[test]
fn looking_at_plugins_runs_none_of_their_code() {
    let lab = Lab::new();
    let file = from_c(&lab, "shouting", &format!("{}{SHOUT}", c_manifest("shouting")), &[]);
    lab.write("plugins/libcoldstart_torn.so", "torn");
    for args in [
        &["plugin", "list"][..],
        &["plugin", "list", "--json"],
        &["plugin", "info", "shouting"],
        &["plugin", "info", "shouting", "--json"],
        &["plugin", "info", file.to_str().unwrap()],
    ] {
        let ran = lab.coldstart(args);
        ran.exits(0);
        assert!(ran.stdout.contains("shouting") && !ran.stdout.contains("constructor ran"), "{args:?}: {}", ran.stdout);
        if args.contains(&"--json") {
            ran.json();
        }
    }
    let listed = lab.coldstart(&["plugin", "list", "--json"]).json();
    let rows = listed.as_array().unwrap();
    let of = |name: &str| rows.iter().find(|row| row["manifest"]["name"] == name);
    assert_eq!(of("entropy").unwrap()["manifest"]["roles"], serde_json::json!(["query"]));
    assert!(rows.iter().any(|row| row["code"] == "P009" && row["file"].as_str().unwrap().ends_with("torn.so")));
    lab.coldstart(&["plugin", "info", "entrpy"]).exits(3).says("did you mean `entropy`?");
}

#[test]
fn every_code_is_listed_with_a_hint() {
    let codes = Lab::new().coldstart(&["plugin", "codes"]);
    let lines: Vec<&str> = codes.exits(0).stdout.lines().collect();
    assert_eq!(lines.len(), 42);
    for (i, entry) in lines.chunks(2).enumerate() {
        assert!(entry[0].starts_with(&format!("P{:03}  ", i + 1)) && entry[1].trim().len() > 10, "{entry:?}");
    }
}
