//! What is told before any work: overrides, configs, studies, what Slurm answers, and runs that are gone on with.

use coldstart_tests::{Lab, Ran, TINY, results, study_lab, sweep, until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A study that trains for moments.
const CROSSED: &str = "[sweep]\n\"query.strategy\" = [\"random\", \"entropy\"]\nseed = [1, 2]\n";
/// Features without a training.
const HANDCRAFTED: &str = "representation={ method = \"handcrafted\" }";

/// Words of Rust and of serde that no message may hold.
const RUST: [&str; 9] = [
    "usize",
    "u32",
    "u64",
    "f64",
    "invalid type",
    "unknown variant",
    "unknown field",
    "missing field",
    "invalid digit",
];

#[track_caller]
fn is_plain(ran: &Ran) {
    for word in RUST {
        assert!(!ran.stderr.contains(word), "`{word}` in:\n{}", ran.stderr);
    }
}

/// A lab with photographs: two classes of four, one beside it of a single class.
fn photographs(lab: &Lab) {
    for (folder, n) in [("set/a", 8), ("set/b", 8), ("single/only", 6)] {
        for i in 0..n {
            let picture =
                image::RgbImage::from_fn(16, 16, |x, y| image::Rgb([(40 * i) as u8, (16 * x) as u8, (15 * y) as u8]));
            let file = lab.write(&format!("{folder}/{i}.png"), "");
            picture.save(file).unwrap();
        }
    }
}

/// Every mistake of a config that words or types make, with what is said of it.
#[test]
fn a_mistake_is_told_in_plain_words() {
    for (set, sentences) in [
        ("training.epochs=many", ["`training.epochs` must be a whole number, not the text \"many\"", ""]),
        ("training.epochs=\"3\"", ["must be a whole number, not the text \"3\"", "write it without quotes: 3"]),
        ("training.epochs=1.5", ["`training.epochs` must be a whole number, not 1.5", ""]),
        ("training.epochs=-1", ["`training.epochs` must be at least 0, not -1", ""]),
        ("training.epochs=[1]", ["`training.epochs` must be a whole number, not a list", ""]),
        ("training=5", ["`training` must be a table, not 5", ""]),
        ("training.class_balance=1", ["`training.class_balance` must be true or false, not 1", ""]),
        (
            "training.optimizer={ kind = \"sgd\", lr = \"high\" }",
            ["`training.optimizer.lr` must be a number, not the text \"high\"", ""],
        ),
        ("training.optimizer.lr=0.1", ["`training.optimizer.kind` is missing", ""]),
        ("training.optimizer.kind=sdg", ["must be one of sgd, adamw, lars, not `sdg`", "did you mean `sgd`?"]),
        ("training.optimizer={}", ["`training.optimizer.kind` is missing", ""]),
        ("training.schedule=3", ["`training.schedule` must be a name in quotes", ""]),
        ("training.learner.kind=fixmach", ["must be one of supervised,", "did you mean `fixmatch`?"]),
        ("dataset.kind=mnits", ["`dataset.kind` must be one of mnist,", "did you mean `mnist`?"]),
        ("dataset.szie=30", ["`dataset.szie` is not a known key", "did you mean `size`?"]),
        ("datset.size=30", ["`datset` is not a known key", "did you mean `dataset`?"]),
        ("query.zzz=30", ["`query.zzz` is not a known key", "known are: strategy, size"]),
        ("query={ size = 5, rounds = 3 }", ["`query.strategy` is missing", ""]),
        ("initial.size=some", ["`initial.size` must be a number of images, or \"auto\", not the text \"some\"", ""]),
        ("plugins.path=x", ["`plugins.path` must be a list, not the text \"x\"", ""]),
        ("plugins.isolation=proces", ["must be one of auto, in-process, process", "did you mean `process`?"]),
        ("name=3", ["`name` must be a text, not 3", ""]),
        ("query.params={ x = 1 }", ["`entropy` takes no params", ""]),
        ("initial.strategy=coreset", ["`initial.strategy` is `coreset`, which looks at features of the pool", ""]),
    ] {
        let lab = Lab::new();
        let ran = lab.run("run", &[set]);
        ran.exits(2).says_one_problem().says(sentences[0]).says(sentences[1]);
        is_plain(&ran);
        assert!(!lab.path("run").exists(), "{set}");
    }
}

#[test]
fn a_mistake_in_the_file_is_told_in_plain_words_at_its_line() {
    for (find, replace, sentence, place) in [
        ("size = 5", "size = \"5\"", "`query.size` must be a whole number, not the text \"5\"", "tiny.toml:19:"),
        ("strategy = \"entropy\"", "", "`query.strategy` is missing", "tiny.toml:17:"),
        ("epochs = 2", "epocs = 2", "`training.epocs` is not a known key", "tiny.toml:12:"),
        ("kind = \"synthetic\"", "kind = 4", "`dataset.kind` must be a name in quotes", "tiny.toml:5:"),
        ("[query]", "[query", "is not valid TOML", "tiny.toml:17:"),
        (
            "size = 5",
            "size = 500",
            "`query.size` is 500, after 10 initial images, but the pool has 300",
            "tiny.toml:19:",
        ),
        ("\nsize = 10\n", "\nsize = 301\n", "`initial.size` is 301, but the pool has 300 images", "tiny.toml:16:"),
    ] {
        let lab = Lab::new();
        lab.write("tiny.toml", TINY.replacen(find, replace, 1));
        let ran = lab.run("run", &[]);
        ran.exits(2).says_one_problem().says(sentence).says(place);
        is_plain(&ran);
        assert!(!lab.path("run").exists(), "{replace}");
    }
    let lab = Lab::new();
    lab.write("tiny.toml", b"name = \"\xff\"");
    lab.run("run", &[]).exits(2).says_one_problem().says("is not text in UTF-8");
}

#[test]
fn numbers_on_the_command_line_are_asked_for_in_plain_words() {
    for args in [
        &["bench", "--threads", "many"][..],
        &["bench", "--repeats", "0"],
        &["sweep", "tiny.toml", "--jobs", "1.5"],
        &["diagnose", "run", "--epochs", "x"],
        &["cache", "clean", "--to", "much"],
        &["select", "--images", ".", "--strategy", "random", "--size", "x"],
    ] {
        let ran = Lab::new().coldstart(args);
        ran.exits(2).says("expected a");
        is_plain(&ran);
    }
}

/// The labels of each round.
fn labels(lab: &Lab, run: &str) -> Vec<String> {
    let table = fs::read_to_string(lab.path(run).join("results.csv")).unwrap();
    table.lines().skip(1).map(|row| row.split(',').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn an_override_can_take_a_key_out() {
    let lab = Lab::new();
    let hint = "`--unset query.rounds` leaves it out for once";
    lab.run("run", &["query.until=17"]).exits(2).says_one_problem().says("does not go with").says(hint);
    let unset = |more: &[&str]| lab.coldstart(&[&["run", "tiny.toml", "--out", "run"], more].concat());
    unset(&["--unset", "query.rounds", "-s", "query.until=17"]).exits(0);
    assert_eq!(labels(&lab, "run"), ["10", "15", "17"]);

    lab.write("until.toml", TINY.replace("rounds = 3", "until = 20"));
    let ran = lab.coldstart(&["run", "until.toml", "-s", "query.rounds=1"]);
    ran.exits(2).says_one_problem().says("`--unset query.until` leaves it out for once");

    for (args, sentence) in [
        (&["--unset", "query.until"][..], "there is no `query.until` to take out"),
        (&["--unset", "qeury.rounds"], "there is no `qeury.rounds` to take out"),
        (&["--unset", "query.rounds"], "`query.rounds` is missing"),
        (&["--unset", "query.strategy"], "`query.strategy` is missing in the override `--unset query.strategy`"),
        (&["--unset", "query.rounds=3"], "expected a key alone"),
        (&["-s", "query.rounds="], "`--unset query.rounds` takes it out"),
        (&["-s", "!query.rounds"], "`--unset query.rounds` takes a key out"),
        (&["-s", "~query.rounds"], "`--unset query.rounds` takes a key out"),
        (&["-s", "query..rounds=1"], "is no dotted key"),
    ] {
        fs::remove_dir_all(lab.path("run")).ok();
        unset(args).exits(2).says(sentence);
        assert!(!lab.path("run").exists(), "{args:?}");
    }
}

/// Dotted, quoted, as a table: each works for every section, and each for `[sweep]`.
#[test]
fn every_form_of_an_override_counts() {
    let lab = Lab::new();
    for (i, set) in [
        "initial.size=12",
        "initial.\"size\"=12",
        "\"initial\".size = 12",
        "initial={ strategy = \"random\", size = 12 }",
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("run-{i}");
        lab.run(&out, &[set, "query.rounds=0"]).exits(0);
        assert_eq!(labels(&lab, &out), ["12"], "{set}");
    }
    let lab = study_lab(CROSSED);
    let strategies = "query.strategy: random, entropy\n";
    for (args, expected) in [
        (&["-s", "sweep={ seed = [1, 2, 3] }"][..], "seed: 1, 2, 3\n3 runs"),
        (&["-s", "sweep.seed=[3]"], &format!("{strategies}seed: 3\n2 runs")),
        (&["-s", "sweep.\"seed\"=[3]"], &format!("{strategies}seed: 3\n2 runs")),
        (&["-s", "sweep.\"initial.size\"=[5, 6]"], &format!("initial.size: 5, 6\n{strategies}seed: 1, 2\n8 runs")),
        (&["-s", "sweep.initial.size=[5, 6]"], &format!("initial.size: 5, 6\n{strategies}seed: 1, 2\n8 runs")),
        (&["-s", "sweep.initial={ size = [5, 6] }"], &format!("initial.size: 5, 6\n{strategies}seed: 1, 2\n8 runs")),
        (
            &["-s", "sweep={ \"initial.size\" = [5], seed = [4] }", "-s", "sweep.seed=[5]"],
            "initial.size: 5\nseed: 5\n1 runs",
        ),
        (&["-s", "sweep.query.strategy=[\"margin\"]"], "query.strategy: margin\nseed: 1, 2\n2 runs"),
        (&["-s", "sweep.baseline.\"query.strategy\"=random"], &format!("{strategies}seed: 1, 2\n4 runs")),
        (&["--unset", "sweep.seed"], "query.strategy: random, entropy\n2 runs"),
        (&["--unset", "sweep", "-s", "sweep.seed=[7]"], "seed: 7\n1 runs"),
    ] {
        let ran = sweep(&lab, &[&["--dry-run"], args].concat());
        assert!(ran.exits(0).stdout.starts_with(expected), "{args:?}: {}", ran.stdout);
    }
    for (args, sentence) in [
        (&["-s", "sweep={ nonsense = [1] }"][..], "`nonsense` is not a known key"),
        (&["-s", "sweep.nonsense=[1]"], "`nonsense` is not a known key"),
        (&["-s", "sweep.query.nonsense=[1]"], "`query.nonsense` is not a known key"),
        (&["-s", "sweep={ seed = 3 }"], "`sweep.seed` must be a list"),
        (&["-s", "sweep=3"], "`sweep` must be a table of lists"),
        (&["-s", "sweep={}"], "has no list"),
        (&["-s", "sweep.baseline.\"query.strategy\"=margni"], "names `margni`"),
        (&["--unset", "sweep"], "`sweep` is missing"),
        (&["--unset", "sweep.sede"], "there is no `sweep.sede` to take out"),
        (&["-s", "seed=3"], "`seed` is an axis of `[sweep]`"),
    ] {
        let ran = sweep(&lab, args);
        ran.exits(2).says_one_problem().says(sentence);
        is_plain(&ran);
        assert!(!lab.path("study").exists(), "{args:?}");
    }
}

#[test]
fn a_config_of_a_study_is_no_run() {
    let lab = study_lab(CROSSED);
    for command in [&["run"][..], &["represent"], &["data", "info"]] {
        let ran = lab.coldstart(&[command, &["sweep.toml"]].concat());
        ran.exits(2).says_one_problem().says("`coldstart sweep sweep.toml` does its runs").says("--unset sweep");
    }
    lab.coldstart(&["run", "tiny.toml", "-s", "sweep={ seed = [1] }"]).exits(2).says("coldstart sweep tiny.toml");
    lab.coldstart(&["run", "sweep.toml", "--unset", "sweep", "--out", "run"]).exits(0);
    lab.coldstart(&["resume", "sweep.toml"]).exits(2).says_one_problem().says("`coldstart sweep`");
    sweep(&lab, &["--unset", "sweep.seed"]).exits(0);
    lab.coldstart(&["resume", "study"]).exits(2).says_one_problem().says("coldstart sweep CONFIG --out study");
}

/// What can be known of a config is told by `run` and by `sweep`, dry or not, alike: exit 2, no folder.
#[test]
fn what_can_be_known_is_told_before_any_work() {
    let lab = Lab::new();
    photographs(&lab);
    lab.write("short.npy", npy(5, 3));
    lab.write("fits.npy", npy(300, 3));
    lab.write("weights.safetensors", "no weights");
    let folder = |path: &str| format!("dataset={{ kind = \"folder\", path = \"{path}\", shape = [16, 16, 3] }}");
    let nowhere = folder("nowhere");
    let (single, few) = (folder("single"), folder("set"));
    for (sets, sentence) in [
        (&[nowhere.as_str()][..], "`dataset.path` cannot be read"),
        (&["dataset={ kind = \"mnist\" }"], "`dataset.kind` cannot be read"),
        (&[single.as_str(), "initial.size=2", "query.size=1"], "class"),
        (&[few.as_str(), "initial.size=5", "query.rounds=4"], "`query.rounds` is too large"),
        (&["--until", "query.until=301"], "`query.until` is 301, but the pool has 300 images"),
        (&["dataset.validation=300"], "`dataset.validation`"),
        (&["dataset.tuning=4000"], "`dataset.tuning`"),
        (&["query.strategy=typiclust", "initial.strategy=random"], "typiclust"),
        (&["initial.strategy=typiclust"], "`initial.strategy` is `typiclust`, which looks at features of the pool"),
        (&["query.strategy=drop-query"], "`query.strategy` is `drop-query`, which looks at features of the pool"),
        (&["query.mix={ strategy = \"tcm\", weight = 0.5 }"], "`query.mix.strategy` is `tcm`, which looks at features"),
        (&["initial.size=auto", "initial.sizer.strategy=coverage-knee"], "`initial.sizer.strategy` is `coverage-knee`"),
        (&["initial.advisers=[{ strategy = \"distance-elbow\" }]"], "`initial.advisers.strategy` is `distance-elbow`"),
        (&["query.strategy=balanced-random"], "is an oracle"),
        (&["query.strategy=etropy"], "did you mean `entropy`?"),
        (&["query.mix={ strategy = \"magrin\", weight = 0.5 }"], "did you mean `margin`?"),
        (&["representation={ method = \"file\", path = \"gone.npy\" }"], "`representation.path` names `"),
        (
            &["query.representation={ method = \"file\", path = \"short.npy\" }"],
            "`query.representation.path` does not fit",
        ),
        (
            &["initial.representation={ method = \"file\", path = \"short.npy\" }"],
            "`initial.representation.path` does not fit",
        ),
        (&["model.init={ file = { path = \"gone.safetensors\" } }"], "`model.init.file.path` names `"),
        (&["model.init={ file = { path = \"weights.safetensors\" } }"], "`model.init.file.path` cannot be used"),
        (
            &["model={ backbone = \"torchscript:gone.pt\" }", "training.learner=linear-probe"],
            "`model.backbone` names `",
        ),
    ] {
        let until = sets.first() == Some(&"--until");
        let sets: Vec<&str> = sets.iter().copied().filter(|set| *set != "--until").collect();
        let unset: &[&str] = if until { &["--unset", "query.rounds"] } else { &[] };
        let set: Vec<&str> = sets.iter().flat_map(|set| ["-s", *set]).collect();
        for command in [
            &["run", "tiny.toml", "--out", "out"][..],
            &["sweep", "tiny.toml", "--out", "out", "--dry-run", "-s", "sweep.seed=[1, 2]"],
            &["sweep", "tiny.toml", "--out", "out", "-s", "sweep.seed=[1, 2]"],
        ] {
            let ran = lab.coldstart(&[command, unset, &set].concat());
            ran.exits(2).says_one_problem().says(sentence);
            assert!(!lab.path("out").exists(), "{command:?} {sets:?}");
            assert!(!ran.stderr.contains("trained on"), "{}", ran.stderr);
        }
    }
    // What is whole and enough is not refused: the paper's settings of `coreset` need no representation.
    for sets in [
        &["query.strategy=coreset", "query.rounds=1"][..],
        &["query.representation={ method = \"file\", path = \"fits.npy\" }", "query.strategy=kmeans", "query.rounds=1"],
        &["query.strategy=drop-query", "query.params.space=model", "initial.size=30", "query.rounds=1"],
        &["initial.strategy=typiclust", HANDCRAFTED, "query.rounds=0"],
    ] {
        fs::remove_dir_all(lab.path("out")).ok();
        lab.run("out", sets).exits(0);
    }
}

/// A NumPy file of zeros: so many rows of so many f32.
fn npy(rows: usize, columns: usize) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    header.push_str(&" ".repeat(64 - (10 + header.len() + 1) % 64));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend((0..rows * columns).flat_map(|i| (i as f32).to_le_bytes()));
    bytes
}

#[test]
fn several_mistakes_are_told_at_once() {
    let lab = Lab::new();
    let sets = ["query.strategy=etropy", "initial.strategy=radnom", "model.init={ file = { path = \"gone\" } }"];
    let ran = lab.run("run", &sets);
    ran.exits(2).says("did you mean `entropy`?").says("did you mean `random`?");
    ran.says("`model.init.file.path` names");
    assert_eq!(ran.stderr.matches('×').count(), 3, "{}", ran.stderr);
    let ran = lab.run("run", &["initial.strategy=typiclust", sets[2]]);
    ran.exits(2).says("`typiclust`").says("`model.init.file.path`");
}

/// Mistakes of some runs of a study name these runs, and the line of the list.
#[test]
fn a_mistake_of_an_arm_names_the_arm() {
    for (table, says) in [
        (
            "\"query.strategy\" = [\"random\", \"tcm\", \"margin\"]\nseed = [1, 2]",
            &["2 runs of 6, where `query.strategy` is `tcm`", "which looks at features of the pool", "sweep.toml:"][..],
        ),
        ("\"initial.size\" = [10, 290]", &["1 run of 2, where `initial.size` is `290`", "but the pool has 300"]),
        (
            "arm = [{ query = { until = 20 }, as = \"short\" }, { query = { until = 400 }, as = \"long\" }]",
            &["`arm` is `long`", "`query.until` is 400, but the pool has 300 images", "sweep.toml:"],
        ),
        (
            "dataset = [{ kind = \"synthetic\", size = 300, as = \"drawn\" }, { kind = \"npz\", path = \"gone.npz\", as = \"gone\" }]",
            &["`dataset` is `gone`", "`dataset.path` cannot be read", "gone.npz"],
        ),
        ("\"query.strategy\" = [\"random\", \"etropy\"]", &["did you mean `entropy`?", "`query.strategy` is `etropy`"]),
        (
            "seed = [1, 2]\ncompare_at = 26",
            &["`sweep.compare_at` is 26, but the runs end with 25 labels", "sweep.toml:"],
        ),
        ("seed = [1, 2]\ncompare_at = 9", &["`sweep.compare_at` is 9, but every run begins with 10 labels or more"]),
        (
            "\"query.size\" = [1, 5]\ncompare_at = 20",
            &["is 20, but some runs end with at most 13 labels: 1 run of 2, where `query.size` is `1`"],
        ),
        ("seed = [1, 2]\nbaseline = { \"query.strategy\" = \"random\" }", &["`sweep.baseline` names `query.strategy`"]),
    ] {
        let lab = study_lab(&format!("[sweep]\n{table}\n"));
        // What an axis sets may not stand in the way of it.
        let in_the_way = |line: &&str| match table.split(' ').next() {
            Some("arm") => line.starts_with("rounds"),
            Some("dataset") => line.starts_with("size = 300") || line.starts_with("test_size"),
            _ => false,
        };
        let text = fs::read_to_string(lab.path("sweep.toml")).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !in_the_way(line)).collect();
        lab.write("sweep.toml", lines.join("\n"));
        for dry in [&["--dry-run"][..], &[]] {
            let ran = sweep(&lab, dry);
            ran.exits(2).says_one_problem();
            for text in says {
                ran.says(text);
            }
            assert!(!lab.path("study").exists(), "{table}");
        }
    }
}

#[test]
fn a_gpu_is_asked_for_before_the_images_are_read() {
    let lab = study_lab(CROSSED);
    for args in [
        &["run", "tiny.toml", "--out", "out", "--device", "cuda:93"][..],
        &["sweep", "sweep.toml", "--out", "out", "--device", "cuda:93"],
        &["sweep", "sweep.toml", "--out", "out", "--device", "cuda:93", "--dry-run"],
    ] {
        let ran = lab.coldstart(&[args, &["-s", "dataset={ kind = \"mnist\", path = \"/dev/null\" }"]].concat());
        ran.exits(2).says("cuda:93");
        assert!(!lab.path("out").exists());
    }
}

#[test]
fn mistyped_strategies_are_found_before_photographs_are_read() {
    let lab = Lab::new();
    photographs(&lab);
    lab.write("set/a/note.jpg", "no picture");
    let select = |more: &[&str]| {
        lab.coldstart(&[&["select", "--images", "set", "--size", "3", "--out", "project"], more].concat())
    };
    for more in [
        &["--strategy", "typicluts"][..],
        &["--strategy", "random", "-s", "mix={ strategy = \"radnom\", weight = 0.5 }"],
    ] {
        let ran = select(more);
        ran.exits(2).says_one_problem().says("did you mean");
        assert!(!ran.stderr.contains("images in"), "{}", ran.stderr);
        assert!(!lab.path("project").exists());
    }
    let ran = select(&["--strategy", "random", "-s", "representation={ method = \"file\", path = \"gone.npy\" }"]);
    ran.exits(2).says_one_problem().says("`representation.path` names `");
    assert!(!ran.stderr.contains("images in"), "{}", ran.stderr);
}

/// Case by case what becomes of a run that is gone on with.
#[test]
fn a_run_is_gone_on_with_as_it_began_or_not_at_all() {
    let lab = Lab::new();
    photographs(&lab);
    let case = TINY.replace(
        "kind = \"synthetic\"\nsize = 300\ntest_size = 100",
        "kind = \"folder\"\npath = \"set\"\nshape = [16, 16, 3]",
    );
    lab.write("tiny.toml", case.replace("size = 10", "size = 4").replace("size = 5", "size = 2"));
    lab.run("finished", &[]).exits(0);
    let before = results(&lab.path("finished"));
    lab.coldstart(&["resume", "finished"]).exits(0).says("`finished` is already finished, with 10 labels");
    assert_eq!(results(&lab.path("finished")), before);

    // As if the process had been killed just before its last word.
    lab.run("run", &[]).exits(0);
    let journal = fs::read_to_string(lab.path("run/journal.jsonl")).unwrap();
    let rounds = journal.lines().filter(|line| !line.contains("run-finished"));
    lab.write("run/journal.jsonl", rounds.map(|line| format!("{line}\n")).collect::<String>());
    let config = fs::read_to_string(lab.path("run/config.toml")).unwrap();

    let more_rounds = config.replace("rounds = 3", "rounds = 6");
    assert_ne!(more_rounds, config);
    for edited in [config.replace("size = 2", "size = 3"), more_rounds] {
        lab.write("run/config.toml", &edited);
        let ran = lab.coldstart(&["resume", "run"]);
        ran.exits(1)
            .says_one_problem()
            .says("is not the config that the run began with")
            .says("coldstart run run/config.toml --out NEW");
    }
    lab.write("run/config.toml", &config);

    let picture = fs::read(lab.path("set/a/0.png")).unwrap();
    fs::copy(lab.path("set/b/3.png"), lab.path("set/a/0.png")).unwrap();
    lab.coldstart(&["resume", "run"]).exits(1).says_one_problem().says("was begun on other images");
    lab.write("set/a/0.png", &picture);
    lab.write("set/a/9.png", &picture);
    lab.coldstart(&["resume", "run"]).exits(1).says_one_problem().says("was begun on other images");
    fs::remove_file(lab.path("set/a/9.png")).unwrap();
    lab.coldstart(&["resume", "run"]).exits(0);
    assert_eq!(results(&lab.path("run")), results(&lab.path("finished")));
}

#[test]
fn more_rounds_are_those_of_a_run_that_had_them_from_the_beginning() {
    let lab = Lab::new();
    lab.run("five", &["query.rounds=5"]).exits(0);
    let five = results(&lab.path("five"));
    for (run, more) in [("rounds", ["--rounds", "5"]), ("until", ["--until", "35"])] {
        lab.run(run, &[]).exits(0);
        let config = fs::read(lab.path(&format!("{run}/config.toml"))).unwrap();
        lab.coldstart(&["resume", run, more[0], more[1]]).exits(0);
        assert_eq!(labels(&lab, run), ["10", "15", "20", "25", "30", "35"]);
        assert_eq!(results(&lab.path(run)), five);
        // What ran stays what ran, and the journal says what came later.
        assert_eq!(fs::read(lab.path(&format!("{run}/config.toml"))).unwrap(), config);
        lab.coldstart(&["resume", run]).exits(0).says("is already finished, with 35 labels");
    }
    for (argument, value, part) in [
        ("--rounds", "5", "`--rounds` is 5, and the run ends after 5 rounds beside the first anyway"),
        ("--rounds", "2", "`--rounds` is 2"),
        ("--until", "35", "`--until` is 35, and the run ends with 35 labels anyway"),
        ("--until", "100000", "but the pool has"),
    ] {
        lab.coldstart(&["resume", "rounds", argument, value]).exits(2).says_one_problem().says(part);
        assert_eq!(results(&lab.path("rounds")), five);
    }
    lab.coldstart(&["resume", "rounds", "--rounds", "6", "--until", "90"]).exits(2);
    lab.coldstart(&["report", "rounds"]).exits(0);
}

/// A run that is killed among the rounds that it was given goes on with them.
#[test]
fn a_run_that_was_given_more_rounds_and_killed_goes_on_with_them() {
    let lab = Lab::new();
    lab.run("five", &["query.rounds=5"]).exits(0);
    lab.run("killed", &[]).exits(0);
    let mut more = lab.command(&["resume", "killed", "--rounds", "5"]).spawn().unwrap();
    let begun = lab.path("killed/rounds/004");
    until("the fourth round", || begun.is_dir() || more.try_wait().unwrap().is_some());
    let _ = more.kill();
    more.wait().unwrap();
    lab.coldstart(&["resume", "killed"]).exits(0);
    assert_eq!(results(&lab.path("killed")), results(&lab.path("five")));
}

#[test]
fn a_run_of_a_study_has_as_many_rounds_as_the_others() {
    let lab = study_lab(CROSSED);
    sweep(&lab, &[]).exits(0);
    let run = fs::read_dir(lab.path("study/runs")).unwrap().flatten().next().unwrap().file_name();
    let run = format!("study/runs/{}", run.to_string_lossy());
    lab.coldstart(&["resume", &run, "--rounds", "90"]).exits(2).says_one_problem().says("to one run of the study");
}

#[test]
fn a_budget_may_be_the_whole_pool_and_end_unevenly() {
    let lab = Lab::new();
    lab.run("all", &["dataset.size=25"]).exits(0);
    assert_eq!(labels(&lab, "all"), ["10", "15", "20", "25"]);
    lab.run("more", &["dataset.size=24"]).exits(2).says_one_problem().says("but the pool has 24");
    assert!(!lab.path("more").exists());
    let uneven = ["run", "tiny.toml", "--unset", "query.rounds", "-s", "query.until=18", "--out", "uneven"];
    lab.coldstart(&uneven).exits(0);
    assert_eq!(labels(&lab, "uneven"), ["10", "15", "18"]);
}

/// Programs that stand in for Slurm's.
struct FakeSlurm<'a> {
    lab: &'a Lab,
}

impl FakeSlurm<'_> {
    /// Makes the programs; what each does is a line for the shell, without one it says nothing.
    fn new(lab: &Lab) -> FakeSlurm<'_> {
        let slurm = FakeSlurm { lab };
        for program in ["sbatch", "squeue", "sacct", "scontrol"] {
            slurm.does(program, "true");
        }
        slurm
    }

    fn does(&self, program: &str, line: &str) {
        let log = self.lab.path("calls.log").display().to_string();
        let text = format!("#!/bin/sh\necho \"{program} $*\" >> '{log}'\n{line}\n");
        let file = self.lab.write(&format!("bin/{program}"), text);
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `coldstart sweep` with these programs before all others.
    fn sweep(&self, out: &str, more: &[&str]) -> Ran {
        let args = [&["sweep", "sweep.toml", "--out", out, "--executor", "slurm"], more].concat();
        let path = format!("{}:/usr/bin:/bin", self.lab.path("bin").display());
        Ran::of(self.lab.command(&args).env("PATH", path).output().unwrap())
    }

    /// How often a program was called, with this among its arguments.
    fn calls(&self, program: &str, with: &str) -> usize {
        let log = fs::read_to_string(self.lab.path("calls.log")).unwrap_or_default();
        log.lines().filter(|line| line.starts_with(&format!("{program} ")) && line.contains(with)).count()
    }
}

fn job(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(folder.join("slurm/job.json")).unwrap()).unwrap()
}

#[test]
fn the_number_of_a_job_is_read_whatever_else_is_said() {
    for (answer, id, cluster) in [
        ("echo 4711", "4711", None),
        ("echo '4711;two'", "4711", Some("two")),
        (
            "printf -- '-----\\n Welcome to the Example Supercomputer\\n-----\\n\\n--> Verifying...OK\\n'; echo 4711",
            "4711",
            None,
        ),
        ("echo 4711; echo 'Your project has used 12 %% of its hours.'", "4711", None),
        ("echo 12; echo 'not that one'; echo '4711;two'; echo", "4711", Some("two")),
    ] {
        let lab = study_lab(CROSSED);
        let slurm = FakeSlurm::new(&lab);
        slurm.does("sbatch", answer);
        assert_eq!(slurm.sweep("study", &["--detach"]).exits(0).stdout, "4711\n", "{answer}");
        let written = job(&lab.path("study"));
        assert_eq!((written["id"].as_str(), written["cluster"].as_str()), (Some(id), cluster), "{answer}");
        // While it is at work nothing is submitted; the banner of `squeue` is no task.
        slurm.does("squeue", "echo 'Welcome back'; echo '1 RUNNING'");
        slurm.sweep("study", &["--detach"]).exits(0).says("job 4711 is at work on it already");
        let asked = cluster.map_or("--jobs=4711".to_owned(), |cluster| format!("--clusters={cluster}"));
        assert_eq!((slurm.calls("sbatch", ""), slurm.calls("squeue", &asked)), (1, 1));
        slurm.does("squeue", "echo 'Welcome back, 3 messages'");
        slurm.sweep("study", &["--detach"]).exits(0);
        assert_eq!(slurm.calls("sbatch", ""), 2);
    }
}

#[test]
fn an_answer_that_cannot_be_read_is_shown_and_nothing_is_submitted_again() {
    for answer in [
        "echo 'Submitted, thank you'",
        "echo 'ticket 12-B'",
        "true",
        "echo 'Socket timed out on send/recv' >&2; exit 1",
    ] {
        let lab = study_lab(CROSSED);
        let slurm = FakeSlurm::new(&lab);
        slurm.does("sbatch", answer);
        let first = slurm.sweep("study", &["--detach"]);
        first
            .exits(1)
            .says_one_problem()
            .says("a job may have been submitted")
            .says("scancel")
            .says("--name=coldstart-");
        if let Some(said) = answer.split('\'').nth(1) {
            first.says(said);
        }
        assert!(!lab.path("study/slurm/job.json").exists());
        slurm.does("sbatch", "echo 4711");
        slurm.sweep("study", &["--detach"]).exits(1).says_one_problem().says("a job may have been submitted");
        assert_eq!(slurm.calls("sbatch", ""), 1, "{answer}");
        fs::remove_file(lab.path("study/slurm/unanswered.txt")).unwrap();
        slurm.sweep("study", &["--detach"]).exits(0);
        assert_eq!(job(&lab.path("study"))["id"], "4711");
    }
}

#[test]
fn what_slurm_refuses_is_told_with_what_helps() {
    for (said, hint) in [
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", "lower `--jobs`"),
        ("sbatch: error: Batch job submission failed: Invalid job array specification", "lower `--jobs`"),
        ("sbatch: error: invalid partition specified: nowhere", "--partition"),
    ] {
        let lab = study_lab(CROSSED);
        let slurm = FakeSlurm::new(&lab);
        slurm.does("sbatch", &format!("echo '{said}' >&2; exit 1"));
        slurm.sweep("study", &["--detach"]).exits(1).says_one_problem().says(said).says(hint);
        assert!(!lab.path("study/slurm/job.json").exists() && !lab.path("study/slurm/unanswered.txt").exists());
        slurm.does("sbatch", "echo 4711");
        slurm.sweep("study", &["--detach"]).exits(0);
    }
    // Without Slurm nothing is written at all; a dry run shows the script.
    let lab = study_lab(CROSSED);
    let ran = sweep(&lab, &["--executor", "slurm", "--detach"]);
    if ran.stderr.contains("is not found") {
        ran.exits(1).says_one_problem().says("without `--executor slurm` this machine does the runs itself");
        assert!(!lab.path("study").exists());
    } else {
        eprintln!("skipped: this machine has a Slurm");
    }
}

/// A worker's log is found wherever the study lies, and what it said is told.
#[test]
fn a_study_may_lie_in_a_folder_of_any_name() {
    for out in ["50% off", "a,b", "with space", "%A_%j"] {
        let lab = study_lab(CROSSED);
        let slurm = FakeSlurm::new(&lab);
        slurm.does("sbatch", "echo 4711");
        slurm.sweep(out, &["--detach"]).exits(0);
        let script = fs::read_to_string(lab.path(out).join("slurm/job.sh")).unwrap();
        let logs = lab.path(out).join("logs").display().to_string();
        let line = format!("#SBATCH --output=\"{}/slurm-%A_%a.log\"", logs.replace('%', "%%"));
        assert!(script.lines().any(|found| found == line), "{script}");
        // The task ended with an error that it could say.
        lab.write(&format!("{out}/logs/slurm-4711_1.log"), "  × cannot write `x`: no space\n");
        slurm.does("squeue", "echo 'Welcome'; [ -e over ] && exit 0; touch over; echo '1 RUNNING'");
        slurm.does("sacct", "echo 'Welcome | 3 | 4'; echo '4711_1|FAILED|1:0'");
        slurm.sweep(out, &[]).exits(1).says("a worker stopped: cannot write `x`: no space");
    }
    let lab = study_lab(CROSSED);
    let slurm = FakeSlurm::new(&lab);
    slurm.sweep("back\\slash", &["--detach"]).exits(1).says_one_problem().says("without backslashes");
    assert!(!lab.path("back\\slash").exists());
}
