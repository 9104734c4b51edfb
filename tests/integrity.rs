//! Nothing is believed without a hash: what a run, a study or a project goes on from is what was written, or it is refused by its
//! name; what is missing is done again.

use coldstart_tests::{
    Lab, Ran, files_under, library, library_name, npy, outcome, plan, results, study_lab, sweep, until,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

const OVERRIDES: &[&str] =
    &["dataset.size=80", "dataset.test_size=30", "query.strategy=hostile", "initial.strategy=hostile"];

/// What is done to a file.
type Change = fn(&Path);

/// A finished run, and a copy of it as it was before its last round: `run`, and what its results are.
fn lab_with_a_run() -> Lab {
    let lab = Lab::new();
    fs::copy(library("hostile"), lab.path("plugins").join(library_name("hostile"))).unwrap();
    lab.run("run", OVERRIDES).exits(0);
    lab
}

fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// Cut off the last row of a table.
fn shorten(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let rows = text.trim_end().rfind('\n').unwrap();
    fs::write(file, &text[..=rows]).unwrap();
}

/// As if the run had been killed before its last words: it has one more round to do.
fn unfinished(lab: &Lab) {
    let fails = ["query.params={ behaviour = \"fail\", from_round = 3 }"];
    lab.run("half", &[OVERRIDES, &fails].concat()).exits(3);
}

#[test]
fn what_a_run_goes_on_from_is_refused_by_its_name_when_it_rots_and_done_again_when_it_is_gone() {
    let lab = lab_with_a_run();
    unfinished(&lab);
    let rows: &[(&str, Change)] = &[
        ("checkpoints/002/model.safetensors", flip),
        ("checkpoints/002/query.state", flip),
        ("checkpoints/002/initial.state", flip),
        ("rounds/000/selection.csv", shorten),
        ("rounds/001/selection.csv", flip),
        ("rounds/001/metrics.json", flip),
        ("environment.json", flip),
        ("plugins.lock", flip),
    ];
    for (name, rot) in rows {
        let file = lab.path("half").join(name);
        let whole = fs::read(&file).unwrap();
        rot(&file);
        let ran = lab.coldstart(&["resume", "half"]);
        ran.exits(1)
            .says_one_problem()
            .says(&format!("{name}` is damaged: it is not what was written"))
            .says("bring the file back");
        fs::write(&file, whole).unwrap();
    }
    // It is as it was, and ends as it would have.
    lab.coldstart(&["resume", "half"]).exits(3).says("no image is good enough");
}

#[test]
fn a_round_that_is_gone_is_done_again() {
    let lab = lab_with_a_run();
    let expected = results(&lab.path("run"));
    let whole = lab.path("whole");
    fs::rename(lab.path("run"), &whole).unwrap();
    for gone in [
        &["rounds/003"][..],
        &["rounds/003", "checkpoints/003"],
        &["rounds/001"],
        &["rounds", "checkpoints", "artifacts"],
        &["rounds/002/metrics.json"],
    ] {
        copy(&whole, &lab.path("run"));
        for name in gone {
            let path = lab.path("run").join(name);
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap()
            } else if path.is_file() {
                fs::remove_file(path).unwrap()
            }
        }
        lab.coldstart(&["resume", "run"]).exits(0).says("is gone: round").says("is done again");
        assert_eq!(results(&lab.path("run")), expected, "{gone:?}");
        fs::remove_dir_all(lab.path("run")).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    for file in files_under(from) {
        let ours = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(ours.parent().unwrap()).unwrap();
        fs::copy(&file, ours).unwrap();
    }
}

#[test]
fn a_checkpoint_that_is_gone_has_its_rounds_done_again() {
    let lab = lab_with_a_run();
    let expected = results(&lab.path("run"));
    let journal = lab.path("run/journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let finished = text.find("\"event\":\"run-finished\"").unwrap();
    let before = text[..finished].rfind('\n').unwrap();
    // Killed before the last round counted, and the checkpoint of the one before is gone.
    let last = text[..before].rfind('\n').unwrap();
    fs::write(&journal, &text[..=last]).unwrap();
    lab.coldstart(&["resume", "run"])
        .exits(0)
        .says("checkpoints/002` is not whole: the run goes on from an earlier round");
    assert_eq!(results(&lab.path("run")), expected);
}

#[test]
fn whoever_reads_a_finished_run_reads_what_it_wrote() {
    let lab = lab_with_a_run();
    let asked: [&[&str]; 4] = [
        &["report", "run"],
        &["export", "run", "--tensorboard", "events"],
        &["export", "run", "--mlflow", "mlflow"],
        &["resume", "run"],
    ];
    for name in
        ["rounds/001/selection.csv", "rounds/003/metrics.json", "config.toml", "environment.json", "journal.jsonl"]
    {
        let file = lab.path("run").join(name);
        let whole = fs::read(&file).unwrap();
        flip(&file);
        for args in asked {
            lab.coldstart(args).exits(1).says_one_problem().says(file.file_name().unwrap().to_str().unwrap());
        }
        if name != "journal.jsonl" {
            lab.coldstart(&["diagnose", "run"]).exits(1).says_one_problem();
        }
        fs::write(&file, whole).unwrap();
    }
    // Pictures stop nobody, and are left out by name; what only repeats the rounds is written anew.
    flip(&lab.path("run/rounds/001/picks.png"));
    lab.coldstart(&["report", "run"]).exits(0).says("rounds/001/picks.png` is left out");
    let results = fs::read(lab.path("run/results.csv")).unwrap();
    flip(&lab.path("run/results.csv"));
    lab.coldstart(&["resume", "run"]).exits(0).says("rounds/001/picks.png` is not what was written");
    assert_eq!(fs::read(lab.path("run/results.csv")).unwrap(), results);
}

#[test]
fn a_study_is_what_its_runs_wrote() {
    let lab = study_lab("[sweep]\nseed = [1, 2]\n\"query.strategy\" = [\"entropy\", \"margin\"]\n");
    sweep(&lab, &[]).exits(0);
    let expected = outcome(&lab);
    let (run, _) = &plan(&lab)[0];
    let of_run = |name: &str| format!("study/runs/{run}/{name}");
    for name in [
        of_run("rounds/000/selection.csv"),
        of_run("rounds/002/metrics.json"),
        of_run("config.toml"),
        "study/plan.csv".into(),
    ] {
        let file = lab.path(&name);
        let whole = fs::read(&file).unwrap();
        flip(&file);
        lab.coldstart(&["report", "study"])
            .exits(1)
            .says_one_problem()
            .says(file.file_name().unwrap().to_str().unwrap());
        fs::write(&file, whole).unwrap();
    }
    // The plan and the cells follow from the config: the sweep writes them anew.
    let cell = lab.path(&format!("study/cells/{run}.toml"));
    for file in [cell, lab.path("study/plan.csv"), lab.path("study/hashes.json")] {
        let whole = fs::read(&file).unwrap();
        flip(&file);
        sweep(&lab, &[]).exits(0);
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
    assert_eq!(outcome(&lab), expected);
}

/// A cell is begun with a round 0 that another one did: not with one that rotted.
#[test]
fn a_shared_round_0_that_rotted_is_taken_by_nobody() {
    let lab = study_lab("[sweep]\n\"query.strategy\" = [\"entropy\", \"margin\"]\n");
    sweep(&lab, &[]).exits(0);
    let expected = outcome(&lab);
    fs::remove_dir_all(lab.path("study/runs")).unwrap();
    let file = files_under(&lab.path("study/round0")).into_iter().find(|file| file.ends_with("selection.csv")).unwrap();
    let whole = fs::read(&file).unwrap();
    flip(&file);
    sweep(&lab, &[]).exits(1).says("2 of 2 runs failed").says("selection.csv");
    fs::write(&file, whole).unwrap();
    sweep(&lab, &["--retry"]).exits(0);
    assert_eq!(outcome(&lab), expected);
}

/// A run under way, after its first round.
fn begun(lab: &Lab, args: &[&str]) -> Child {
    let child = lab.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let journal = lab.path("run/journal.jsonl");
    until("a round", || fs::read_to_string(&journal).is_ok_and(|text| text.contains("round-finished")));
    child
}

/// Features for so many images.
fn features_of(n: usize) -> Vec<u8> {
    let numbers = (0..4 * n).flat_map(|i| (0.7 * ((i / 4) * (i % 4 + 3)) as f32).sin().to_le_bytes());
    npy("<f4", &format!("({n}, 4)"), &numbers.collect::<Vec<u8>>())
}

#[test]
fn files_that_are_changed_under_a_run_are_noticed() {
    let lab = Lab::new();
    let features = lab.write("features.npy", features_of(300));
    let row = |i: usize| format!("{}{}\n", "7,".repeat(i % 9) + &"200,".repeat(64 - i % 9), i % 4);
    let table = lab.write("images.csv", (0..120).map(row).collect::<String>());
    let by_features = [
        "representation={ method = \"file\", path = \"features.npy\" }",
        "initial.strategy=kmeans",
        "query.strategy=coreset",
    ];
    let by_table = ["dataset={ kind = \"csv\", path = \"images.csv\", shape = [8, 8, 1] }"];
    let long = ["query.rounds=8", "training.min_steps=60"];
    let changes: [(&str, Change); 3] = [
        ("overwritten in place", flip),
        ("cut short", |file| fs::write(file, &fs::read(file).unwrap()[..300]).unwrap()),
        ("gone", |file| fs::remove_file(file).unwrap()),
    ];
    for (file, overrides) in [(&features, &by_features[..]), (&table, &by_table[..])] {
        let whole = fs::read(file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let overrides = [overrides, &long].concat();
        lab.run("expected", &overrides).exits(0);
        for (what, change) in changes {
            let child = begun(&lab, &coldstart_tests::run_args("run", &overrides));
            change(file);
            let ran = Ran::of(child.wait_with_output().unwrap());
            ran.exits(1).says_one_problem().says(&format!("{name}` is not the file that the work began with"));
            fs::write(file, &whole).unwrap();
            lab.coldstart(&["resume", "run"]).exits(0);
            assert_eq!(results(&lab.path("run")), results(&lab.path("expected")), "{name} {what}");
            fs::remove_dir_all(lab.path("run")).unwrap();
        }
        fs::remove_dir_all(lab.path("expected")).unwrap();
    }
}

fn lab_with_photos() -> Lab {
    let lab = Lab::new();
    for number in 0..12u8 {
        let path = lab.write(&format!("photos/{number}.png"), "");
        image::RgbImage::from_fn(20, 20, |x, y| image::Rgb([20 * number, (9 * x) as u8, (9 * y) as u8]))
            .save(path)
            .unwrap();
    }
    lab
}

const SELECT: &[&str] = &[
    "select",
    "--images",
    "photos",
    "--out",
    "project",
    "--strategy",
    "random",
    "--size",
    "4",
    "-s",
    "threads=1",
    "-s",
    "dataset.shape=[16, 16, 3]",
];

#[test]
fn of_first_selections_at_once_one_makes_the_project() {
    let lab = lab_with_photos();
    for round in 0..5 {
        let children: Vec<Child> =
            (0..4).map(|_| lab.command(SELECT).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()).collect();
        let ran: Vec<Ran> = children.into_iter().map(|child| Ran::of(child.wait_with_output().unwrap())).collect();
        assert_eq!(ran.iter().filter(|ran| ran.code == Some(0)).count(), 1, "{ran:?}");
        for ran in ran.iter().filter(|ran| ran.code != Some(0)) {
            ran.exits(2).says_one_problem();
        }
        // It is whole, and can be gone on with.
        let picks = fs::read_to_string(lab.path("project/picks.csv")).unwrap();
        let labels: String =
            picks.lines().skip(1).map(|row| format!("{},ant\n", row.split(',').nth(1).unwrap())).collect();
        lab.write("labels.csv", format!("image,label\n{labels}"));
        lab.coldstart(&["ingest", "project", "labels.csv"]).exits(0);
        lab.coldstart(SELECT).exits(0);
        assert!(lab.path("project/rounds/001").is_dir(), "{round}");
        fs::remove_dir_all(lab.path("project")).unwrap();
    }
}

#[test]
fn a_project_is_what_was_written_or_refused_by_name() {
    let lab = lab_with_photos();
    lab.coldstart(SELECT).exits(0);
    lab.write("labels.csv", "image,label\n0.png,ant\n1.png,bee\n");
    lab.coldstart(&["ingest", "project", "labels.csv"]).exits(0);
    for name in ["images.csv", "labels.csv", "skipped.csv", "config.toml", "hashes.json", "rounds/000/picks.json"] {
        let file = lab.path("project").join(name);
        let whole = fs::read(&file).unwrap();
        flip(&file);
        for args in [SELECT, &["ingest", "project", "labels.csv"]] {
            lab.coldstart(args).exits(1).says_one_problem().says(&format!("{name}` is damaged"));
        }
        fs::write(&file, whole).unwrap();
    }
    lab.coldstart(SELECT).exits(0);
}

#[test]
fn a_half_made_project_begins_anew() {
    let lab = lab_with_photos();
    lab.write("project/project.lock", "");
    lab.write("project/rounds/unfinished/picks.csv", "half");
    lab.coldstart(SELECT).exits(0);
    assert!(lab.path("project/rounds/000/picks.json").is_file() && !lab.path("project/rounds/unfinished").exists());
}

#[test]
fn what_a_killed_installation_left_goes_with_the_next() {
    let lab = Lab::new();
    let (margin, license) = (library("margin"), coldstart_tests::repository().join("LICENSE-MIT"));
    fs::create_dir(lab.path("out")).unwrap();
    let args = ["plugin", "pack", margin.to_str().unwrap(), "--license", license.to_str().unwrap(), "-o", "out"];
    let package = lab.coldstart(&args).exits(0).stdout.trim().to_owned();
    let plugins = "home/data/coldstart/plugins";
    for left in [".install-abc123/new/lib/libx.so", ".uninstall-abc123/old/manifest.toml"] {
        lab.write(&format!("{plugins}/{left}"), "half");
    }
    lab.coldstart(&["plugin", "install", &package, "--allow-unsigned"]).exits(0);
    let left: Vec<PathBuf> = files_under(&lab.path(plugins));
    assert!(!left.iter().any(|file| file.to_string_lossy().contains("install-abc123")), "{left:?}");
}
