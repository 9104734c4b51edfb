//! Sizers through the real program: followed and heard, inside and apart, and with mistakes in the config.

use coldstart_tests::{Lab, files_under, results};
use serde_json::Value;
use std::path::Path;

/// Features that cost nothing, for those who look at some.
const PIXELS: &str = "representation.method=pixels";
const SHIPPED: [&str; 7] =
    ["competence", "coverage-floor", "coverage-knee", "distance-elbow", "images-per-class", "marginal-veto", "probe"];

/// What was said before each round.
fn sizings(run: &Path) -> Vec<Value> {
    let files = files_under(&run.join("rounds")).into_iter().filter(|file| file.ends_with("sizing.json"));
    files.map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()).collect()
}

fn lines(run: &Path, round: u32) -> usize {
    std::fs::read_to_string(run.join(format!("rounds/{round:03}/selection.csv"))).unwrap().lines().count() - 1
}

/// Ten synthetic classes: 51 draws show them all with a probability of 0.95.
#[test]
fn the_initial_set_is_as_large_as_the_sizer_says() {
    let lab = Lab::new();
    let auto = ["initial.size=auto", "initial.sizer.strategy=coverage-floor"];
    let ran = lab.run("floor", &auto);
    ran.exits(0).says("`coverage-floor` wants 51 images: so many draws show all of 10 balanced classes");
    assert_eq!((lines(&lab.path("floor"), 0), lines(&lab.path("floor"), 1)), (51, 5));
    let lock = std::fs::read_to_string(lab.path("floor/plugins.lock")).unwrap();
    assert!(lock.contains("role = \"sizer\""), "{lock}");

    // Bounds hold, whatever it wants.
    lab.run("least", &[&auto[..], &["initial.sizer.least=70", "initial.sizer.most=90"]].concat()).exits(0);
    lab.run("most", &[&auto[..], &["initial.sizer.least=5", "initial.sizer.most=20"]].concat()).exits(0);
    assert_eq!((lines(&lab.path("least"), 0), lines(&lab.path("most"), 0)), (70, 20));
    let first = &sizings(&lab.path("most"))[0];
    assert_eq!(
        (&first["initial"], &first["said"][0]["wanted"], &first["said"][0]["size"]),
        (&20.into(), &51.into(), &20.into())
    );
}

/// No divergence is small enough for it. So the initial strategy goes on, to the largest size that is allowed.
#[test]
fn the_initial_strategy_goes_on_until_the_sizer_is_content() {
    let lab = Lab::new();
    let settings = [
        "initial.size=auto",
        "initial.sizer={ strategy = \"marginal-veto\", least = 10, most = 20, params = { divergence = 0.0 } }",
        "initial.strategy=random",
        "query.strategy=margin",
    ];
    lab.run("run", &settings).exits(0);
    let chose: Vec<bool> = sizings(&lab.path("run")).iter().map(|s| s["initial_chooses"] == true).collect();
    // Rounds 1 and 2 bring it to 20, which is the most.
    assert_eq!(chose, [true, true, true, false]);
    // As `random` does by itself.
    lab.run("random", &["query.strategy=random"]).exits(0);
    for (round, same) in [(0, true), (1, true), (2, true), (3, false)] {
        let ids = |run: &str| {
            std::fs::read_to_string(lab.path(run).join(format!("rounds/{round:03}/selection.csv"))).unwrap()
        };
        assert_eq!(ids("run") == ids("random"), same, "round {round}");
    }
}

#[test]
fn advisers_are_heard_and_change_nothing() {
    let lab = Lab::new();
    lab.run("alone", &["query.strategy=random"]).exits(0);
    let advisers =
        format!("initial.advisers=[{}]", SHIPPED.map(|name| format!("{{ strategy = \"{name}\" }}")).join(", "));
    let settings = ["query.strategy=random", PIXELS, &advisers];
    let heard = |run: &str, mode: &str| {
        lab.run(run, &[&settings[..], &[&format!("plugins.isolation={mode}")]].concat()).exits(0);
        sizings(&lab.path(run))
    };
    let inside = heard("advised", "in-process");
    let mut advised = results(&lab.path("advised"));
    // What the model said before labels came is kept for them, and changes nothing.
    advised.retain(|file, _| !file.ends_with("sizing.json") && !file.ends_with("prequential.csv"));
    assert_eq!(results(&lab.path("alone")), advised);
    let said: Vec<&str> = inside[0]["said"].as_array().unwrap().iter().map(|s| s["sizer"].as_str().unwrap()).collect();
    assert_eq!(said, SHIPPED);
    assert!(
        inside[0]["initial"].is_null()
            && inside
                .iter()
                .flat_map(|s| s["said"].as_array().unwrap())
                .all(|s| { s["followed"] == false && !s["reason"].as_str().unwrap().is_empty() })
    );
    assert_eq!(heard("apart", "process"), inside);
    lab.coldstart(&["report", "advised", "-o", "page.html"]).exits(0);
    let page = std::fs::read_to_string(lab.path("page.html")).unwrap();
    assert!(page.contains("What sizers said") && page.contains("distance-elbow"));
}

/// Ten synthetic classes: `margin` wants one image of each, the least of `competence` for `entropy` is two of each. An adviser may be
/// told of another strategy than the run's.
#[test]
fn a_sizer_knows_who_queries() {
    let lab = Lab::new();
    let said = |run: &str, settings: &[&str]| -> Vec<u64> {
        lab.run(run, &[settings, &["query.rounds=0"]].concat()).exits(0);
        let first = &sizings(&lab.path(run))[0];
        first["said"].as_array().unwrap().iter().map(|said| said["wanted"].as_u64().unwrap()).collect()
    };
    let competence = "{ strategy = \"competence\", params = { least = 2 } }";
    let table = "{ strategy = \"images-per-class\" }";
    let told = "{ strategy = \"images-per-class\", query = \"badge\" }";
    let advisers = format!("initial.advisers=[{competence}, {table}, {told}]");
    for (query, wanted) in [("margin", [10, 20, 10]), ("entropy", [20, 60, 10]), ("least-confidence", [20, 50, 10])] {
        assert_eq!(said(query, &[&format!("query.strategy={query}"), &advisers]), wanted, "{query}");
    }
}

/// No model is right about everything, so that `competence` waits to the end. Changed, what the model said is refused; put there by
/// somebody, too; gone, the round is done again.
#[test]
fn what_the_model_said_before_labels_came_is_kept_and_watched() {
    let lab = Lab::new();
    let sizer = "initial.sizer={ strategy = \"competence\", least = 10, params = { accuracy = 1.0 } }";
    let settings = ["initial.size=auto", sizer, "query.strategy=entropy"];
    let run = |out: &str, rounds: &str| {
        lab.run(out, &[&settings[..], &[rounds]].concat()).exits(0);
    };
    let resume = |end: &[&str]| lab.coldstart(&[&["resume", "cut"], end].concat());
    run("whole", "query.rounds=4");
    let waited: Vec<bool> = sizings(&lab.path("whole")).iter().map(|s| s["initial_chooses"] == true).collect();
    assert_eq!(waited, [true; 5]);
    let told = |round: u32| {
        let table = std::fs::read_to_string(lab.path("whole").join(format!("rounds/{round:03}/prequential.csv")));
        table.map(|table| table.lines().skip(1).filter(|row| right(row)).count())
    };
    assert!(told(0).is_err());
    // Of a round what the last three before it told: five images each.
    for (round, sizing) in sizings(&lab.path("whole")).iter().enumerate().skip(1) {
        let rounds = (round.saturating_sub(3).max(1)..round).map(|round| told(round as u32).unwrap());
        let (n, right) = rounds.fold((0, 0), |(n, all), right| (n + 5, all + right));
        let said = format!("the model knew {right} of the {n} images labelled last");
        assert_eq!(sizing["said"][0]["reason"], said, "round {round}");
    }

    run("cut", "query.rounds=2");
    resume(&["--rounds", "4"]).exits(0);
    assert_eq!(results(&lab.path("cut")), results(&lab.path("whole")));
    let file = |round: u32| lab.path("cut").join(format!("rounds/{round:03}/prequential.csv"));
    let table = std::fs::read_to_string(file(2)).unwrap();
    std::fs::write(file(2), table.replacen(",", ",1", 1)).unwrap();
    resume(&["--rounds", "5"]).exits(1).says("rounds/002/prequential.csv");
    std::fs::write(file(2), &table).unwrap();
    std::fs::write(file(0), &table).unwrap();
    resume(&["--rounds", "5"]).exits(1).says("rounds/000/prequential.csv");
    std::fs::remove_file(file(0)).unwrap();
    std::fs::remove_file(file(2)).unwrap();
    resume(&[]).exits(0).says("round 2 is done again");
    assert_eq!(results(&lab.path("cut")), results(&lab.path("whole")));
}

/// Whether a row of the table says what its label says.
fn right(row: &str) -> bool {
    let cells: Vec<&str> = row.split(',').collect();
    cells[1] == cells[2]
}

#[test]
fn mistakes_are_told_where_they_are() {
    let lab = Lab::new();
    for (settings, code, said) in [
        (&["initial.size=auto"][..], 2, "name who says how many in `[initial.sizer]`"),
        (&["initial.size=auto", "initial.sizer.strategy=coverage-flor"], 2, "did you mean `coverage-floor`?"),
        (&["initial.size=auto", "initial.sizer.strategy=random"], 2, "no sizer strategy fits"),
        (&["query.strategy=coverage-floor"], 2, "no query strategy fits"),
        (
            &["initial.size=auto", "initial.sizer={ strategy = \"probe\", params = { round = 3 } }"],
            2,
            "did you mean `rounds`?",
        ),
        (&["initial.size=auto", "initial.sizer.strategy=coverage-knee"], 2, "there is no section `[representation]`"),
        (
            &["initial.size=auto", "initial.sizer={ strategy = \"competence\", query = \"margin\" }"],
            2,
            "`initial.sizer.query` is for advisers",
        ),
        (
            &[
                "initial.size=auto",
                "initial.sizer={ strategy = \"images-per-class\", params = { table = { margin = 0 } } }",
            ],
            2,
            "`table.margin` must be at least 1",
        ),
        (
            &[
                "initial.size=auto",
                "initial.sizer={ strategy = \"competence\", params = { starts = { margin = \"now\" } } }",
            ],
            2,
            "`starts.margin` must be one of at-once, wait",
        ),
    ] {
        lab.run("run", settings).exits(code).says(said);
        let _ = std::fs::remove_dir_all(lab.path("run"));
    }
}
