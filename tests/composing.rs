//! A strategy that composes others, through the real program: who may be composed, what a component sees, and what is left of it.

use coldstart_tests::{Lab, Ran, library, results, run_args, selections};
use std::path::Path;

/// A probe on features that cost nothing.
const PROBE: [&str; 3] =
    ["training.learner=linear-probe", "representation.method=pixels", "representation.components=8"];
/// An ensemble that chooses in a moment, small enough that something is filtered.
const SMALL: &str =
    "query.params={ strategies = [\"random\", \"margin\", \"u-herding\"], rounds = 2, batches = 3, first_subset = 60 }";

fn settings<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&PROBE[..], &["query.strategy=refine"], more].concat()
}

fn lock(run: &Path) -> String {
    std::fs::read_to_string(run.join("plugins.lock")).unwrap()
}

fn read(lab: &Lab, file: &str) -> String {
    std::fs::read_to_string(lab.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The rows of a lock that are components, by name.
fn components(lock: &str) -> Vec<String> {
    let rows = lock.split("[[plugin]]").filter(|row| row.contains("\ncomponent = "));
    let name = |row: &str| Some(row.split_once("\nname = \"")?.1.split_once('"')?.0.to_owned());
    rows.filter_map(name).collect()
}

#[test]
fn a_composed_run_is_the_same_inside_apart_and_resumed_and_locks_its_components() {
    let lab = Lab::new();
    lab.run("inside", &settings(&[SMALL])).exits(0);
    lab.run("apart", &settings(&[SMALL, "plugins.isolation=process"])).exits(0);
    assert_eq!(selections(&lab.path("inside")), selections(&lab.path("apart")));
    for (run, mode) in [("inside", "in-process"), ("apart", "process")] {
        let lock = lock(&lab.path(run));
        assert_eq!(components(&lock), ["random", "margin", "u-herding"]);
        // The initial strategy, the composing one, and three components.
        assert_eq!(lock.matches(&format!("mode = \"{mode}\"")).count(), 5, "{lock}");
    }
    let config = read(&lab, "inside/config.toml");
    assert!(config.contains("[query.params.components.u-herding]\ncandidates = 35000"), "{config}");

    for isolation in ["in-process", "process"] {
        let cut = format!("cut-{isolation}");
        let isolation = format!("plugins.isolation={isolation}");
        lab.run(&cut, &settings(&[SMALL, "query.rounds=1", &isolation])).exits(0);
        lab.coldstart(&["resume", &cut, "--rounds", "3"]).exits(0);
        assert_eq!(selections(&lab.path(&cut)), selections(&lab.path("inside")), "{isolation}");
    }
    // A component's library that is another one than at the beginning is refused.
    let changed = lock(&lab.path("cut-process"));
    let of_margin = changed.split("[[plugin]]").find(|row| row.contains("name = \"margin\"")).unwrap();
    let hash = of_margin.split("sha256:").nth(1).unwrap()[..64].to_owned();
    lab.write("cut-process/plugins.lock", changed.replace(&hash, &"0".repeat(64)));
    lab.coldstart(&["resume", "cut-process", "--rounds", "4"]).exits(1).says("plugins.lock");
}

#[test]
fn a_lock_beside_the_config_holds_the_components() {
    let lab = Lab::new();
    let config = read(&lab, "tiny.toml").replace("\"entropy\"", "\"refine\"");
    let params = SMALL.trim_start_matches("query.");
    lab.write("tiny.toml", format!("{config}{params}\n[representation]\nmethod = \"pixels\"\n"));
    lab.coldstart(&["plugin", "lock", "tiny.toml"]).exits(0);
    let lock = read(&lab, "coldstart-plugins.lock");
    for name in ["random", "refine", "margin", "u-herding"] {
        assert!(lock.contains(&format!("name = \"{name}\"")), "{lock}");
    }
    lab.coldstart(&["run", "tiny.toml", "--locked", "--out", "locked", "-s", "query.rounds=1"]).exits(0);
    let other = "query.params.final=entropy";
    let refused = lab.coldstart(&["run", "tiny.toml", "--locked", "--out", "other", "-s", other]);
    refused.exits(3).says("P004").says("`entropy`").says("`refine` composes it");
}

#[test]
fn whoever_cannot_be_composed_is_told_before_anything_is_trained() {
    let lab = Lab::new();
    for (setting, code, said, hint) in [
        ("query.params.strategies=[\"random\", \"margn\"]", 2, "P001 not found: `margn`", "margin"),
        ("query.params.final=usl", 2, "P003", "`query.params.final`"),
        ("query.params.final=coverage-floor", 2, "P003", "`query.params.final`"),
        ("query.params.final=refine", 2, "names `refine`, which composes other strategies itself", "asks no others"),
        (
            "query.params.strategies=[\"balanced-random\"]",
            2,
            "`balanced-random` is an oracle",
            "plugins.oracles = true",
        ),
        (
            "query.params.components={ random = { k = 3 } }",
            2,
            "`k` is no parameter",
            "`query.params.components.random`",
        ),
        ("query.params.components={ entropy = {} }", 3, "P013", "`entropy`, which is not asked"),
        ("query.params.strategies=3", 2, "`strategies` must be a list", "not 3"),
        ("query.params.batches=2", 3, "P013", "fewer than the 3 strategies"),
    ] {
        let ran = lab.run("run", &settings(&[SMALL, setting]));
        ran.exits(code).says(said).says(hint);
        assert!(!lab.path("run").exists(), "{setting}");
    }
    let without_features = ["query.strategy=refine", SMALL];
    lab.run("run", &without_features).exits(2).says("`query.params.strategies`").says("`u-herding`");
    assert!(!lab.path("run").exists());
}

fn without_leave(lab: &Lab, args: &[&str]) -> Ran {
    Ran::of(lab.command(args).env_remove("COLDSTART_ALLOW_UNSIGNED").output().unwrap())
}

/// `hostile` is nobody's whom the lab trusts: as a component it needs the same leave as by itself, and runs apart.
#[test]
fn a_strangers_component_needs_the_leave_that_it_needs_alone() {
    let lab = Lab::new();
    std::fs::copy(library("hostile"), lab.path("plugins").join(coldstart_tests::library_name("hostile"))).unwrap();
    let composed = settings(&[SMALL, "query.params.final=hostile"]);
    let alone = [&PROBE[..], &["query.strategy=hostile"]].concat();
    for (run, settings, said) in
        [("alone", &alone, "nobody whom you trust"), ("composed", &composed, "`refine` composes it")]
    {
        let ran = without_leave(&lab, &run_args(run, settings));
        ran.exits(3).says("P005").says("libcoldstart_hostile.so").says(said).says("--allow-unsigned");
        assert!(!lab.path(run).exists());
        without_leave(&lab, &[&run_args(run, settings)[..], &["--allow-unsigned"]].concat()).exits(0);
        let lock = lock(&lab.path(run));
        let row = lock.split("[[plugin]]").find(|row| row.contains("name = \"hostile\"")).unwrap();
        assert!(row.contains("mode = \"process\"") && row.contains("trust = \"unsigned\""), "{row}");
        without_leave(&lab, &["resume", run, "--rounds", "4"]).exits(3).says("P005");
    }
}

/// What a component does wrong is told as its own, and a round that it spoils leaves nothing.
#[test]
fn what_a_component_does_wrong_ends_the_round_with_its_name() {
    let lab = Lab::new();
    std::fs::copy(library("hostile"), lab.path("plugins").join(coldstart_tests::library_name("hostile"))).unwrap();
    for (behaviour, isolation, said) in [
        ("panic", "auto", "P016 panicked: `hostile`"),
        ("fail", "auto", "P015 select failed: `hostile`: no image is good enough"),
        ("duplicate-ids", "auto", "P018 invalid selection: `hostile`"),
        ("labelled-ids", "auto", "P018 invalid selection: `hostile`"),
        ("too-few", "auto", "P018 invalid selection: `hostile`"),
        ("reads-hidden-label", "auto", "is not labelled"),
        ("aborts", "process", "P020 worker died: `hostile`"),
        ("loops-forever", "process", "P019 timed out: `hostile`"),
    ] {
        let component =
            format!("query.params.components={{ hostile = {{ behaviour = \"{behaviour}\", from_round = 2 }} }}");
        let isolation = format!("plugins.isolation={isolation}");
        let more =
            [SMALL, "query.params.final=hostile", &component, &isolation, "plugins.timeout=2", "plugins.retries=0"];
        let ran = lab.run(behaviour, &settings(&more));
        ran.exits(3).says(said).says("round 2");
        assert!(lab.path(behaviour).join("rounds/001/selection.csv").is_file(), "{behaviour}");
        assert!(!lab.path(behaviour).join("rounds/002/selection.csv").exists(), "{behaviour}");
    }
}

/// It sees its candidates and the labelled images, and nothing else; and it remembers what counted, and nothing else.
#[test]
fn a_component_sees_its_part_and_forgets_what_did_not_count() {
    let lab = Lab::new();
    std::fs::copy(library("hostile"), lab.path("plugins").join(coldstart_tests::library_name("hostile"))).unwrap();
    let ensemble = "query.params={ strategies = [\"random\", \"hostile\"], final = \"hostile\", rounds = 2, batches = 4, first_subset = 60, \
                    components = { hostile = { behaviour = \"looks-around\" } } }";
    for isolation in ["auto", "process"] {
        let set = format!("plugins.isolation={isolation}");
        lab.run(isolation, &settings(&[ensemble, &set])).exits(0);
        for round in 1..4 {
            // It counts its calls in its state: only one a round was kept.
            let calls = read(&lab, &format!("{isolation}/artifacts/{round:03}/calls.txt"));
            assert_eq!(calls, round.to_string(), "{isolation}");
        }
    }
    assert_eq!(results(&lab.path("auto")), results(&lab.path("process")));
}
