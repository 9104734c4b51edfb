//! Strategies, features and what is done around strategies, through the real program and its maths.

use coldstart_tests::{Lab, repository, results, run_args, selections};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

/// Features that cost nothing.
const PIXELS: &str = "representation={ method = \"pixels\", components = 8 }";

/// The names of the strategies in `plugins`, with what each says of itself.
fn strategies() -> BTreeMap<String, Value> {
    let folders = std::fs::read_dir(repository().join("plugins")).unwrap().flatten();
    let names = folders.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
    let lab = Lab::new();
    names.map(|name| (name.clone(), lab.coldstart(&["plugin", "info", &name, "--json"]).json())).collect()
}

fn manifest(info: &Value) -> &Value {
    info.get("manifest").unwrap_or(info)
}

/// The ids that a run chose in a round.
fn chosen(run: &Path, round: u32) -> Vec<u64> {
    let table = std::fs::read_to_string(run.join(format!("rounds/{round:03}/selection.csv"))).unwrap();
    let header: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    let column = header.iter().position(|name| *name == "id").unwrap();
    table.lines().skip(1).map(|line| line.split(',').nth(column).unwrap().parse().unwrap()).collect()
}

/// Settings that keep a pretext short, where a strategy trains one.
fn quickly(name: &str) -> &'static [&'static str] {
    match name {
        "pt4al" | "first-choice" => &["epochs = 1"],
        "refine" => &["rounds = 2, batches = 14"],
        _ => &[],
    }
}

/// Each in each of its roles, inside the program and in a process of its own: as many images as were asked for, none twice, and
/// the same both ways.
#[test]
fn every_strategy_chooses_with_the_programs_own_maths() {
    let waiting = Mutex::new(strategies());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let next = || waiting.lock().unwrap().pop_first();
                while let Some((name, info)) = next() {
                    let roles = manifest(&info)["roles"].as_array().unwrap().iter().map(|role| role.as_str().unwrap());
                    // Sizers choose nothing; `sizers.rs` asks them.
                    roles.filter(|role| *role != "sizer").for_each(|role| chooses(&name, role));
                }
            });
        }
    });
}

fn chooses(name: &str, role: &str) {
    let lab = Lab::new();
    let strategy = format!("{role}.strategy={name}");
    let params: Vec<String> = quickly(name).iter().map(|param| format!("{role}.params={{ {param} }}")).collect();
    let mut settings = vec![PIXELS, &strategy, "plugins.oracles=true", "query.rounds=2"];
    settings.extend(params.iter().map(String::as_str));
    for (run, isolation) in [("inside", "plugins.isolation=in-process"), ("apart", "plugins.isolation=process")] {
        lab.run(run, &[&settings[..], &[isolation]].concat()).exits(0);
    }
    let (inside, apart) = (lab.path("inside"), lab.path("apart"));
    assert_eq!(selections(&inside), selections(&apart), "{name} as {role}");
    let mut all: Vec<u64> = Vec::new();
    for (round, size) in [(0, 10), (1, 5), (2, 5)] {
        let ids = chosen(&inside, round);
        assert_eq!(ids.len(), size, "{name} as {role}, round {round}");
        all.extend(ids);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 20, "{name} as {role} chose an image twice");
}

/// How many per cent of the pool balls cover, as the program's lines say it round after round.
fn covered(said: &str) -> Vec<f64> {
    let share = |line: &str| line.split_once(" % of the pool")?.0.rsplit(' ').next()?.parse().ok();
    said.lines().filter(|line| line.contains("coverage: ")).filter_map(share).collect()
}

/// Whoever asks hears how much balls cover; where it is less than a third everybody does. Balls that the budget needs to cover half
/// do so, those of purity alone hold next to nothing of drawn images.
#[test]
fn a_strategy_that_covers_says_how_much() {
    let lab = Lab::new();
    for strategy in ["probcover", "dcom"] {
        let asked = |out: &str, params: &str, verbose: &[&str]| {
            let (strategy, params) = (format!("initial.strategy={strategy}"), format!("initial.params={params}"));
            let settings = [PIXELS, &strategy, &params, "query.rounds=0"];
            let ran = lab.coldstart(&[run_args(out, &settings), verbose.to_vec()].concat());
            ran.exits(0);
            ran.stderr
        };
        let told = asked(&format!("{strategy}-told"), "{}", &["-v"]);
        assert!(told.contains("10 balls of radius") && told.contains("the median ball holds"), "{told}");
        let shares = covered(&told);
        assert!(shares.len() == 1 && shares[0] >= 50.0, "{told}");
        assert_eq!(covered(&asked(&format!("{strategy}-quiet"), "{}", &[])), Vec::<f64>::new());
        for params in ["{ radius = 0.05 }", "{ purity = 1.0 }"] {
            let warned = asked(&format!("{strategy}-{}", params.len()), params, &[]);
            let shares = covered(&warned);
            assert!(warned.contains("WARN") && shares.len() == 1 && shares[0] < 33.4, "{params}: {warned}");
        }
    }
}

#[test]
fn features_come_without_training_and_are_the_same_twice() {
    let lab = Lab::new();
    let mut seen = Vec::new();
    for method in ["pixels", "random-network", "handcrafted"] {
        let representation = format!("representation.method={method}");
        let settings = [representation.as_str(), "initial.strategy=kmeans", "query.strategy=coreset", "query.rounds=1"];
        lab.run(method, &settings).exits(0);
        let again = format!("{method}-again");
        lab.run(&again, &settings).exits(0);
        assert_eq!(results(&lab.path(method)), results(&lab.path(&again)), "{method}");
        seen.push(chosen(&lab.path(method), 0));
    }
    assert!(seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2], "three kinds of features, one choice");
}

/// A strategy's own features come before those of `[representation]`, and only for it.
#[test]
fn a_strategy_may_have_features_of_its_own() {
    let lab = Lab::new();
    let kmeans = ["initial.strategy=kmeans", "query.strategy=random", "query.rounds=0"];
    let shared = |method: &'static str| [&[method][..], &kmeans].concat();
    lab.run("pixels", &shared("representation.method=pixels")).exits(0);
    lab.run("crafted", &shared("representation.method=handcrafted")).exits(0);
    let own = ["representation.method=pixels", "initial.representation.method=handcrafted"];
    lab.run("own", &[&own[..], &kmeans].concat()).exits(0);
    assert_eq!(chosen(&lab.path("own"), 0), chosen(&lab.path("crafted"), 0));
    assert_ne!(chosen(&lab.path("own"), 0), chosen(&lab.path("pixels"), 0));
}

/// A `.npy` file of f32.
fn npy(rows: &[[f32; 2]]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 2), }}", rows.len());
    header += &" ".repeat(117 - header.len());
    header += "\n";
    let numbers = rows.as_flattened().iter().flat_map(|x| x.to_le_bytes());
    [
        b"\x93NUMPY\x01\x00".to_vec(),
        (header.len() as u16).to_le_bytes().to_vec(),
        header.into_bytes(),
        numbers.collect(),
    ]
    .concat()
}

#[test]
fn features_from_a_file_decide_and_belong_to_the_run() {
    let lab = Lab::new();
    // Ten heaps far apart on a circle, image i in heap i mod 10: the ten centres of k-means lie in one each.
    let angle = |i: usize| 0.6 * (i % 10) as f32 + 0.001 * (i / 10) as f32;
    let heap = |i: usize| [angle(i).cos(), angle(i).sin()];
    let rows: Vec<[f32; 2]> = (0..300).map(heap).collect();
    lab.write("features.npy", npy(&rows));
    let file = "representation={ method = \"file\", path = \"features.npy\" }";
    let settings = [file, "initial.strategy=kmeans", "query.rounds=1"];
    lab.run("run", &settings).exits(0);
    let mut heaps: Vec<u64> = chosen(&lab.path("run"), 0).iter().map(|id| id % 10).collect();
    heaps.sort_unstable();
    assert_eq!(heaps, (0..10).collect::<Vec<_>>());

    lab.write("features.npy", npy(&rows[1..]));
    lab.run("short", &settings)
        .exits(2)
        .says("holds 299 rows, but the training part has 300 images")
        .says_one_problem();
    let journal = lab.path("run/journal.jsonl");
    let begun: String =
        std::fs::read_to_string(&journal).unwrap().lines().take(3).map(|line| format!("{line}\n")).collect();
    std::fs::write(&journal, begun).unwrap();
    lab.coldstart(&["resume", "run"]).exits(1).says("it is not the file that the run began with");
    let gone = "representation={ method = \"file\", path = \"no.npy\" }";
    lab.run("gone", &[gone, "initial.strategy=kmeans"]).exits(2).says("no.npy");
    assert!(!lab.path("short").exists() && !lab.path("gone").exists());
}

#[test]
fn what_does_not_belong_together_is_an_error_at_its_key() {
    let lab = Lab::new();
    for (settings, key, sentence) in [
        (&["representation.method=pixel"][..], "`representation.method`", "did you mean `pixels`?"),
        (
            &["representation={ method = \"pixels\", epochs = 3 }"],
            "`representation.epochs`",
            "does not belong to `pixels`",
        ),
        (
            &["representation={ method = \"moco-v2\", components = 3 }"],
            "`representation.components`",
            "does not belong",
        ),
        (&["representation={ method = \"pixels\", components = 0 }"], "`representation.components`", "at least 1"),
        (&["representation.method=file"], "`representation.path`", "is missing"),
        (&["query.representation.method=file"], "`query.representation.path`", "is missing"),
        (&["model.init=representation", PIXELS], "`model.init`", "needs a `[representation]` with a network"),
        (&["query.subsample=4"], "`query.subsample`", "at least `query.size`, which is 5"),
        (&["query.stochastic={ kind = \"power\", beta = 0 }"], "`query.stochastic.beta`", "above 0"),
        (&["query.stochastic.kind=dice"], "query.stochastic", "softrank"),
        (&["query.stochastic.kind=power", "query.balance=true"], "`query.balance`", "does not go with `stochastic`"),
        (&["initial.balance=true"], "`initial.balance`", "is not a known key"),
    ] {
        lab.run("run", settings).exits(2).says(key).says(sentence).says_one_problem();
    }
    assert!(!lab.path("run").exists());
}

#[test]
fn a_subsample_chance_and_balance_go_around_any_strategy() {
    let lab = Lab::new();
    let mut seen = BTreeMap::new();
    for (name, setting) in [
        ("plain", "query.subsample=290"),
        ("few", "query.subsample=40"),
        ("power", "query.stochastic.kind=power"),
        ("softmax", "query.stochastic={ kind = \"softmax\", beta = 2 }"),
        ("softrank", "query.stochastic.kind=softrank"),
        ("balance", "query.balance=true"),
    ] {
        let settings = [setting, "query.size=40", "query.rounds=1"];
        lab.run(name, &settings).exits(0);
        let again = format!("{name}-again");
        lab.run(&again, &settings).exits(0);
        assert_eq!(results(&lab.path(name)), results(&lab.path(&again)), "{name}");
        let ids = chosen(&lab.path(name), 1);
        assert_eq!(ids.len(), 40, "{name}");
        seen.insert(name, ids);
    }
    let different: std::collections::BTreeSet<_> = seen.values().collect();
    assert_eq!(different.len(), 6, "each chooses in its own way: {seen:?}");
    let drawn = lab.run("random", &["query.strategy=random", "query.stochastic.kind=power"]);
    drawn.exits(3).says("`stochastic` cannot draw").says("softrank");
}

/// The first strategy has its share as it would alone, the other chooses among the rest.
#[test]
fn two_strategies_share_a_choice() {
    let lab = Lab::new();
    let settings = |mix: &'static [&str]| [&["query.strategy=margin", "query.size=20", "query.rounds=2"], mix].concat();
    lab.run("alone", &settings(&[])).exits(0);
    let mix =
        ["query.mix.strategy=entropy", "query.mix.weight=0.3", "initial.mix={ strategy = \"random\", weight = 0.5 }"];
    // The same initial set in both: what `random` draws for itself depends on how many are asked for.
    let query_only = &mix[..2];
    for name in ["mixed", "again"] {
        lab.run(name, &[&settings(&[])[..], query_only].concat()).exits(0);
    }
    assert_eq!(results(&lab.path("mixed")), results(&lab.path("again")));
    let (alone, mixed) = (chosen(&lab.path("alone"), 1), chosen(&lab.path("mixed"), 1));
    assert_eq!(alone[..14], mixed[..14]);
    assert_ne!(alone, mixed);
    let mut all: Vec<u64> = (0..3).flat_map(|round| chosen(&lab.path("mixed"), round)).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 50, "an image was chosen twice");

    lab.run("initial", &[&settings(&[])[..], &mix].concat()).exits(0);
    assert_eq!(chosen(&lab.path("initial"), 0).len(), 10);
    let lock = std::fs::read_to_string(lab.path("initial/plugins.lock")).unwrap();
    assert_eq!(lock.matches("number = 1").count(), 2, "{lock}");
    // A run goes on only with all four strategies of its lock.
    lab.coldstart(&["resume", lab.path("initial").to_str().unwrap()]).exits(0);

    for (wrong, said) in [
        ("query.mix={ strategy = \"entrpy\", weight = 0.5 }", "entropy"),
        ("query.mix={ strategy = \"entropy\", weight = 1.0 }", "above 0 and below 1"),
        ("query.mix={ strategy = \"entropy\", weight = 0.5, params = { no = 1 } }", "query.mix.params"),
    ] {
        lab.run("wrong", &[wrong]).exits(2).says(said);
    }
}

#[test]
fn an_oracle_is_let_in_by_name_only_and_every_report_says_so() {
    let lab = Lab::new();
    let oracle = ["initial.strategy=balanced-random", "query.rounds=0"];
    lab.run("refused", &oracle).exits(2).says("reads the labels of unlabelled images").says("plugins.oracles = true");
    assert!(!lab.path("refused").exists());
    lab.run("run", &[&oracle[..], &["plugins.oracles=true"]].concat()).exits(0);
    let page = std::fs::read_to_string(lab.path("run/report.html")).unwrap();
    assert!(page.contains("is an oracle: it reads labels that nobody has paid for"));
    let other = lab.coldstart(&run_args("honest", &["query.rounds=0"]));
    other.exits(0);
    assert!(!std::fs::read_to_string(lab.path("honest/report.html")).unwrap().contains("is an oracle"));
}
