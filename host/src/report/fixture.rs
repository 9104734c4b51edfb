//! Writes synthetic run directories: the contract of a run directory as an example.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

/// One class is hostile to HTML, one is never chosen by the strategy `entropy`.
pub(super) const CLASSES: [&str; 6] =
    ["T-shirt/top", "Bag <b>&\"'", "Sandal", "Ankle boot", "<script>x()</script>", "Coat"];
const TILE: u32 = 28;
const COLUMNS: u32 = 10;
/// Images of a map: ids 0 .., so that it holds the picks of the first six rounds.
const MAPPED: usize = 650;

/// A run to be written: `rounds` rounds of 20 images with `strategy`.
pub(super) struct Fixture {
    pub(super) strategy: &'static str,
    pub(super) seed: u64,
    pub(super) rounds: usize,
}

impl Fixture {
    /// Writes the run below `parent`, finished, and returns its folder.
    pub(super) fn write(&self, parent: &Path) -> PathBuf {
        let dir = parent.join(format!("fashion-{}-{}", self.strategy, self.seed));
        for round in 0..self.rounds {
            self.write_round(&dir, round);
        }
        write(&dir, "config.toml", &self.config());
        write(&dir, "environment.json", &environment().to_string());
        write(&dir, "plugins.lock", &self.lock());
        let events = (0..self.rounds).map(|round| event("round-finished", json!({"round": round})));
        let trained = [("rotation", false, json!(0.8125)), ("moco-v2", true, json!(null))].map(training);
        let journal = [event("run-started", json!({}))].into_iter().chain(trained).chain(events);
        let journal = journal.chain([event("run-finished", json!({}))]).collect::<String>();
        write(&dir, "journal.jsonl", &journal);
        write(&dir, "results.csv", &self.results());
        write(&dir, "diagnostics.json", &diagnostics().to_string());
        self.write_map(&dir.join("artifacts/000"), "losses", false);
        self.write_map(&dir.join("artifacts/diagnosis"), "task", true);
        dir
    }

    fn config(&self) -> String {
        format!(
            "name = \"fashion-demo\"\nseed = {}\n\n[dataset]\nkind = \"fashion-mnist\"\nvalidation = 10\n\n[model]\n\
             backbone = \"resnet18\"\n\n[training]\nlearner = \"supervised\"\nepochs = 60\n\n[initial]\nstrategy = \
             \"random\"\nsize = 20\nparams = {{}}\n\n[query]\nstrategy = \"{}\"\nsize = 20\nrounds = 5\n",
            self.seed, self.strategy
        )
    }

    fn lock(&self) -> String {
        let plugin = |name: &str, role: &str| {
            format!(
                "[[plugin]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsha256 = \"{}\"\napi = \"1.0.0\"\nrole = \
                 \"{role}\"\nmode = \"in-process\"\ntrust = \"shipped\"\nfile = \"plugins/lib{name}.so\"\n",
                "0123456789abcdef".repeat(4)
            )
        };
        plugin("random", "initial") + &plugin(self.strategy, "query")
    }

    fn results(&self) -> String {
        let header = "round,labels,labels_validation,accuracy,balanced_accuracy,macro_auc,nll,ece,class_coverage,\
                      min_class_recall\n";
        let row = |round| format!("{round},{},10,{:.4},,,,,,\n", 20 * (round + 1), self.accuracy(round));
        (0..self.rounds).map(row).fold(header.to_owned(), |text, row| text + &row)
    }

    fn write_round(&self, dir: &Path, round: usize) {
        let folder = format!("rounds/{round:03}");
        let picks = self.picks(round);
        let rows = picks.iter().enumerate().map(|(rank, (id, label))| {
            let score = if self.strategy == "random" { String::new() } else { format!("{}", 1.5 / (rank + 1) as f64) };
            format!("{rank},{id},{label},{score}\n")
        });
        write(
            dir,
            &format!("{folder}/selection.csv"),
            &("rank,id,label,score\n".to_owned() + &rows.collect::<String>()),
        );
        write(dir, &format!("{folder}/metrics.json"), &self.metrics(round).to_string());
        write(dir, &format!("{folder}/timings.json"), &timings(round).to_string());
        let labels: Vec<usize> = picks.iter().map(|(_, label)| *label).collect();
        sprite(&labels).save(dir.join(&folder).join("picks.png")).unwrap();
    }

    /// Ids and labels of the images that a round chose.
    fn picks(&self, round: usize) -> Vec<(usize, usize)> {
        let classes = if self.strategy == "entropy" { CLASSES.len() - 1 } else { CLASSES.len() };
        let label = |rank: usize| (rank * rank + round + self.seed as usize) % classes;
        (0..20).map(|rank| (100 * round + 7 * rank + self.seed as usize, label(rank))).collect()
    }

    /// A map of blobs, one for each class, with a thumbnail of every pick and of every tenth other image.
    fn write_map(&self, folder: &Path, name: &str, oracle: bool) {
        let picks: Vec<usize> = (0..self.rounds).flat_map(|round| self.picks(round)).map(|(id, _)| id).collect();
        let shown: Vec<usize> = (0..MAPPED).filter(|id| id % 10 == 0 || picks.contains(id)).collect();
        let classes: Vec<usize> = (0..MAPPED).map(|id| id * id % CLASSES.len()).collect();
        let spread = |id: usize, step: usize| (id * step % 97) as f64 / 97.0 + (id * step % 31) as f64 / 31.0;
        let place = |id: usize, step| 2.0 * ((classes[id] * step) as f64).sin() + spread(id, step);
        write(
            folder,
            &format!("{name}.map.json"),
            &json!({
                "name": name, "title": format!("Losses of <i>{name}</i>"), "x_axis": "typicality <b>",
                "y_axis": "loss in the pretext", "group": if oracle { "class" } else { "cluster" }, "oracle": oracle,
                "ids": (0..MAPPED).collect::<Vec<_>>(), "groups": classes,
                "x": (0..MAPPED).map(|id| place(id, 53)).collect::<Vec<_>>(),
                "y": (0..MAPPED).map(|id| place(id, 29)).collect::<Vec<_>>(),
                "thumbs": {"file": format!("{name}.map.png"), "ids": shown, "columns": COLUMNS, "tile": [TILE, TILE]},
            })
            .to_string(),
        );
        let labels: Vec<usize> = shown.iter().map(|id| classes[*id]).collect();
        sprite(&labels).save(folder.join(format!("{name}.map.png"))).unwrap();
    }

    fn metrics(&self, round: usize) -> serde_json::Value {
        let mut counts = [0; CLASSES.len()];
        for (_, label) in (0..=round).flat_map(|round| self.picks(round)) {
            counts[label] += 1;
        }
        let seen = counts.iter().filter(|count| **count > 0).count();
        let accuracy = self.accuracy(round);
        let recall =
            |class: usize| if counts[class] == 0 { json!(null) } else { json!(accuracy - 0.03 * class as f64) };
        json!({
            "round": round, "labels": 20 * (round + 1), "labels_validation": 10,
            "accuracy": accuracy, "balanced_accuracy": accuracy - 0.02, "macro_auc": 0.9 + accuracy / 12.0,
            "nll": 2.0 * (1.0 - accuracy), "ece": 0.2 - accuracy / 8.0,
            "recall": (0..CLASSES.len()).map(recall).collect::<Vec<_>>(), "class_counts": counts,
            "classes_seen": seen, "class_coverage": seen as f64 / CLASSES.len() as f64,
            "train_loss": 0.02, "train_accuracy": 1.0,
        })
    }

    /// A plausible learning curve, different for each strategy and seed.
    fn accuracy(&self, round: usize) -> f64 {
        let pace = [("random", 0.28), ("entropy", 0.36), ("margin", 0.42)];
        let pace = pace.iter().find(|(name, _)| *name == self.strategy).map_or(0.3, |(_, pace)| *pace);
        let wobble = ((self.seed * 37 + round as u64 * 11) % 7) as f64 / 700.0;
        0.85 - 0.45 * (-pace * round as f64).exp() + wobble
    }
}

/// A finished run cut off in the middle of its last round.
pub(super) fn tear(dir: &Path) {
    let last = fs::read_dir(dir.join("rounds")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let metrics = fs::read_to_string(last.join("metrics.json")).unwrap();
    fs::write(last.join("metrics.json"), &metrics[..metrics.len() / 2]).unwrap();
    let journal = fs::read_to_string(dir.join("journal.jsonl")).unwrap();
    let whole = journal.rfind("{\"event\":\"run-finished\"").unwrap();
    fs::write(dir.join("journal.jsonl"), &journal[..whole + 9]).unwrap();
}

/// A finished run that instead failed with `error`.
pub(super) fn fail(dir: &Path, error: &str) {
    let journal = fs::read_to_string(dir.join("journal.jsonl")).unwrap();
    let mut lines: Vec<String> = journal.lines().map(|line| format!("{line}\n")).collect();
    lines.pop();
    lines.push(event("run-failed", json!({"round": 5, "error": error})));
    fs::write(dir.join("journal.jsonl"), lines.concat()).unwrap();
}

fn environment() -> serde_json::Value {
    json!({
        "coldstart": "0.1.0", "plugin_api": "1.0.0", "torch": "2.11.0", "device": "cpu", "threads": 2,
        "cpu": "AMD EPYC", "started": "2026-11-23T22:10:00Z",
        "dataset": {
            "kind": "fashion-mnist", "pool": 60000, "test": 10000, "validation": 10,
            "shape": {"height": 28, "width": 28, "channels": 1}, "classes": CLASSES,
            "fingerprint": "sha256:0123456789abcdef",
        },
    })
}

fn training((name, cached, accuracy): (&str, bool, serde_json::Value)) -> String {
    let model = "89abcdef".repeat(8);
    event(
        "pretext-trained",
        json!({
            "round": 0, "plugin": "loss-sorter", "name": name, "model": model, "cached": cached, "epochs": 15,
            "loss": 0.4375, "accuracy": accuracy, "seconds": 12.3,
        }),
    )
}

fn diagnostics() -> serde_json::Value {
    let representation = |name: &str, model: Option<&str>, knn: f64| {
        let linear = knn + 0.03;
        json!({"name": name, "model": model, "features": 512, "knn": knn, "linear": linear})
    };
    json!({
        "epochs": 30, "seconds": 480.0, "task": {"name": "task", "accuracy": 0.9125}, "neighbours": 200,
        "representations": [
            representation("moco-v2", Some("89abcdef"), 0.7105),
            representation("untrained weights", None, 0.4205),
            representation("raw pixels", None, 0.3505),
        ],
        "pretexts": [
            {"name": "rotation", "model": "89ab", "spearman": 0.4405, "low": 0.4325, "high": 0.4485, "images": 50000},
        ],
    })
}

fn timings(round: usize) -> serde_json::Value {
    let train = 6.0 + round as f64;
    json!({
        "seconds": {"select": 0.1, "predict": 2.1, "plugin": 0.4, "train": train, "evaluate": 0.9, "record": 0.05},
        "total": train + 3.55, "peak_memory_bytes": (900 + 40 * round as u64) << 20,
    })
}

fn event(name: &str, mut fields: serde_json::Value) -> String {
    fields["event"] = json!(name);
    fields["time"] = json!("2026-11-23T22:10:00Z");
    format!("{fields}\n")
}

/// Tiles with a shape per class, brighter towards the last.
fn sprite(labels: &[usize]) -> image::GrayImage {
    let rows = labels.len().div_ceil(COLUMNS as usize) as u32;
    image::GrayImage::from_fn(COLUMNS * TILE, rows * TILE, |x, y| {
        let place = (y / TILE * COLUMNS + x / TILE) as usize;
        let Some(label) = labels.get(place) else { return image::Luma([0]) };
        let (u, v) = ((x % TILE).abs_diff(14), (y % TILE).abs_diff(14));
        let inside = match label % 3 {
            0 => u * u + v * v < 90,
            1 => u < 4 + 2 * *label as u32 / 3 && v < 11,
            _ => u + v < 12,
        };
        image::Luma([if inside { 90 + 8 * (place % 20) as u8 } else { 12 }])
    })
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
