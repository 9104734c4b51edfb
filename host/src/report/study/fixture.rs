//! Writes synthetic studies: the contract of a study's folder as an example.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

/// Classes of the synthetic data.
const CLASSES: usize = 4;

/// A study to be written: data sets x sizes x strategies x seeds, 20 labels bought in every round up to 80.
pub(in crate::report) struct StudyFixture {
    pub(in crate::report) datasets: &'static [&'static str],
    pub(in crate::report) sizes: &'static [usize],
    pub(in crate::report) strategies: &'static [&'static str],
    /// The axis that the strategies are on.
    pub(in crate::report) axis: &'static str,
    pub(in crate::report) seeds: u64,
    /// Lines for `[sweep]` beside the axes.
    pub(in crate::report) sweep: &'static str,
    /// Accuracy by data set, strategy, size, seed and labels.
    pub(in crate::report) accuracy: fn(&str, &str, usize, u64, usize) -> f64,
}

/// Sizes 20 and 40 with five seeds: `entropy` is behind from 20 and ahead from 40; `margin` is near `random` everywhere.
pub(in crate::report) const FLIP: StudyFixture = StudyFixture {
    datasets: &[],
    sizes: &[20, 40],
    strategies: &["random", "entropy", "margin"],
    axis: "query.strategy",
    seeds: 5,
    sweep: "compare_at = 70\nbaseline = { \"query.strategy\" = \"random\" }",
    accuracy: flipping,
};

pub(in crate::report) fn flipping(_: &str, strategy: &str, size: usize, seed: u64, labels: usize) -> f64 {
    let (effect, step) = match (strategy, size) {
        ("entropy", 20) => (-0.05, 3),
        ("entropy", _) => (0.06, 3),
        ("margin", _) => (0.004, 5),
        _ => (0.0, 0),
    };
    let seed = seed as usize;
    let wobble = (seed * seed * 5 + step * seed * 3 + size / 20 * 2 + labels / 20 * seed) % 7;
    0.4 + labels as f64 / 400.0 + effect + wobble as f64 / 200.0
}

impl StudyFixture {
    /// Writes the study below `parent`, every run finished, and returns its folder.
    pub(in crate::report) fn write(&self, parent: &Path) -> PathBuf {
        let dir = parent.join("study");
        let axis = |name: &str| if self.datasets.is_empty() { String::new() } else { format!("{name},") };
        let mut plan = format!("run,round0,{}initial.size,{},seed\n", axis("dataset"), self.axis);
        let datasets = if self.datasets.is_empty() { &[""] } else { self.datasets };
        for seed in 1..=self.seeds {
            for strategy in self.strategies {
                for size in self.sizes {
                    for dataset in datasets {
                        let id = id(dataset, strategy, *size, seed);
                        let cell = if self.datasets.is_empty() { String::new() } else { format!("{dataset},") };
                        // Runs that differ in their queries alone begin alike.
                        let chooser = if self.axis.starts_with("query") { "any" } else { strategy };
                        plan += &format!("{id},{chooser}{size:04}{seed:04},{cell}{size},\"{strategy}\",{seed}\n");
                        self.write_run(&dir.join("runs").join(&id), dataset, strategy, *size, seed);
                    }
                }
            }
        }
        write(&dir, "plan.csv", &plan);
        write(&dir, "study.toml", &format!("name = \"flip <b>\"\n[sweep]\n{}\n", self.sweep));
        dir
    }

    fn write_run(&self, dir: &Path, dataset: &str, strategy: &str, size: usize, seed: u64) {
        write(
            dir,
            "config.toml",
            &format!(
                "name = \"flip\"\nseed = {seed}\n[initial]\nstrategy = \"random\"\nsize = {size}\n[query]\nstrategy = \"{strategy}\"\n"
            ),
        );
        let environment = json!({
            "coldstart": "0.2.0", "device": "cpu", "started": format!("2026-11-23T22:10:{seed:02}Z"),
            "dataset": {"kind": "synthetic", "pool": 300, "test": 100, "classes": ["a", "b", "c", "d"]},
        });
        write(dir, "environment.json", &environment.to_string());
        write(dir, "plugins.lock", &lock(strategy));
        write(dir, "journal.jsonl", "{\"event\":\"run-started\"}\n{\"event\":\"run-finished\"}\n");
        for (round, labels) in (size..=80).step_by(20).enumerate() {
            let seen = if round == 0 && size == 20 && seed == 1 { CLASSES - 1 } else { CLASSES };
            let metrics = json!({
                "labels": labels, "labels_validation": 0, "accuracy": (self.accuracy)(dataset, strategy, size, seed, labels),
                "class_coverage": seen as f64 / CLASSES as f64, "classes_seen": seen,
            });
            let folder = format!("rounds/{round:03}");
            write(dir, &format!("{folder}/metrics.json"), &metrics.to_string());
            write(dir, &format!("{folder}/selection.csv"), "rank,id,label,score\n0,7,1,\n");
            if strategy == "random" {
                let before = if round == 0 { 0 } else { labels - 20 };
                write(dir, &format!("{folder}/sizing.json"), &sizings(before, seed).to_string());
            }
        }
        let shade = (size + seed as usize) as u8;
        image::GrayImage::from_pixel(280, 28, image::Luma([shade])).save(dir.join("rounds/000/picks.png")).unwrap();
    }
}

/// `random` came with the program, nobody vouches for `entropy`, a key does for the others.
fn lock(strategy: &str) -> String {
    let plugin = |role: &str, name: &str, more: &str| {
        format!(
            "[[plugin]]\nrole = \"{role}\"\nname = \"{name}\"\npublisher = \"lab\"\nversion = \"1.0.0\"\napi = \"1.0.0\"\n\
             sha256 = \"sha256:beef\"\n{more}"
        )
    };
    let initial = plugin("initial", "random", "trust = \"shipped\"\n");
    match strategy {
        "random" => initial + &plugin("query", "random", "trust = \"shipped\"\n"),
        "entropy" => initial + &plugin("query", "entropy", "trust = \"unsigned\"\n"),
        other => initial + &plugin("query", other, "trust = \"signed\"\nsigner = \"minisign:E7620F1842B4E81F\"\n"),
    }
}

/// What advisers say: one is content with 20 labels at once, one with 60 if the seed is odd and never otherwise, one wants 40
/// before the first label; a fifth wants 28 when it is told of `entropy`, and 20 otherwise.
fn sizings(labels: usize, seed: u64) -> serde_json::Value {
    let said = |sizer: &str, size: usize, enough: usize| {
        json!({"sizer": sizer, "followed": false, "wanted": size, "size": size, "content": labels >= enough, "reason": "",
            "measures": {}})
    };
    let patient = if seed % 2 == 1 { 60 } else { 1000 };
    let mut told = said("told", 28, 20);
    told["query"] = json!("entropy");
    let said =
        [said("early", 20, 20), said("patient", 20, patient), said("at-once", 40, 20), said("told", 20, 20), told];
    json!({"labels": labels, "initial": null, "initial_chooses": labels == 0, "said": said})
}

/// Name of a run's folder: it says what it is, for tests to find it.
pub(in crate::report) fn id(dataset: &str, strategy: &str, size: usize, seed: u64) -> String {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    format!("{}{}-{size}-{seed}", plain(dataset), plain(strategy))
}

/// A finished run that stopped after so many rounds.
pub(in crate::report) fn stop_after(run: &Path, rounds: usize) {
    for round in rounds.. {
        if fs::remove_dir_all(run.join(format!("rounds/{round:03}"))).is_err() {
            break;
        }
    }
    write(run, "journal.jsonl", "{\"event\":\"run-started\"}\n");
}

pub(in crate::report) fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
