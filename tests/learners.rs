//! The learners through the real program: from a representation, from unlabelled images, and what happens when one diverges.

use coldstart_tests::{Lab, pretexts, results, run_args};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// A representation that takes a second.
const REPRESENTATION: &[&str] = &["representation.method=rotation", "representation.epochs=1"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [REPRESENTATION, more].concat()
}

fn timings(run: &Path, round: u32) -> Value {
    let file = run.join(format!("rounds/{round:03}/timings.json"));
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[test]
fn every_learner_runs_and_gives_the_same_twice() {
    let lab = Lab::new();
    let rows: [(&str, Vec<&str>); 5] = [
        ("probe", with(&["training.learner=linear-probe", "query.strategy=margin"])),
        ("warm", with(&["model.init=representation", "query.strategy=consistency"])),
        ("fixmatch", vec!["training.learner={ kind = \"fixmatch\", unlabelled = 2 }", "training.batch_size=32"]),
        ("mixmatch", vec!["training.learner=mixmatch", "training.batch_size=32"]),
        ("options", vec!["training.augmentation=rand-augment", "training.ema=0.9", "training.class_balance=true"]),
    ];
    for (name, settings) in rows {
        lab.run(name, &settings).exits(0);
        let again = format!("{name}-again");
        lab.run(&again, &settings).exits(0);
        assert_eq!(results(&lab.path(name)), results(&lab.path(&again)), "{name}");
    }
}

#[test]
fn a_representation_is_trained_once_and_the_journal_says_so() {
    let lab = Lab::new();
    lab.run("probe", &with(&["training.learner=linear-probe"])).exits(0).says("fitted a linear probe to 10 images");
    lab.run("warm", &with(&["model.init=representation"])).exits(0).says("found `rotation`");
    let of = |run: &str| {
        let pretexts = pretexts(&lab.path(run));
        pretexts.iter().map(|p| (p["plugin"].as_str().unwrap().to_owned(), p["cached"] == true)).collect::<Vec<_>>()
    };
    assert_eq!(of("probe"), [("linear-probe".to_owned(), false)]);
    assert_eq!(of("warm"), [("supervised".to_owned(), true)]);
}

#[test]
fn a_probe_goes_on_where_it_was_killed() {
    let lab = Lab::new();
    let settings = with(&["training.learner=linear-probe", "query.rounds=40"]);
    lab.run("whole", &settings).exits(0);
    let part = lab.path("part");
    let args = run_args("part", &settings);
    let mut run = lab.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let finished = || {
        let journal = std::fs::read_to_string(part.join("journal.jsonl")).unwrap_or_default();
        journal.matches("round-finished").count()
    };
    while finished() < 3 {
        std::thread::sleep(Duration::from_millis(2));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(finished() < 41, "it was over before it was killed");
    lab.coldstart(&["resume", "part"]).exits(0);
    assert_eq!(results(&part), results(&lab.path("whole")));
}

#[test]
fn a_round_says_where_its_time_went() {
    let lab = Lab::new();
    lab.run("run", &[]).exits(0);
    let first = timings(&lab.path("run"), 0);
    let second = timings(&lab.path("run"), 1);
    for phase in ["augmentation", "forward", "backward", "optimizer", "evaluate", "plugin", "record"] {
        assert!(second["seconds"][phase].as_f64().unwrap() >= 0.0, "{phase}: {second}");
    }
    assert!(first["seconds"]["data"].as_f64().unwrap() > 0.0 && second["seconds"].get("data").is_none());
    let sum: f64 = second["seconds"].as_object().unwrap().values().map(|s| s.as_f64().unwrap()).sum();
    // The phases are parts of the round; what is between them is not timed.
    assert!(sum <= second["total"].as_f64().unwrap() + 1e-6, "{second}");
}

#[test]
fn a_training_that_diverges_is_done_once_more_and_then_fails() {
    let lab = Lab::new();
    let lr =
        |lr: &str| format!("training.optimizer={{ kind = \"sgd\", lr = {lr}, weight_decay = 0.0, momentum = 0.0 }}");
    // Steps of this size overflow f32 somewhere, and a tenth of them does not.
    lab.run("saved", &[&lr("1e15")]).exits(0).says("training once more with a learning rate of 100000000000000");
    let journal = std::fs::read_to_string(lab.path("saved").join("journal.jsonl")).unwrap();
    assert!(journal.contains("\"event\":\"trained-again\",\"round\":0"), "{journal}");
    // Steps of this size overflow whatever is done once more.
    lab.run("hopeless", &[&lr("1e36")]).exits(1).says("training diverged").says("lower the learning rate");
    let journal = std::fs::read_to_string(lab.path("hopeless").join("journal.jsonl")).unwrap();
    assert!(journal.contains("run-failed"), "{journal}");
}

#[test]
fn what_a_learner_stands_on_must_be_there() {
    let lab = Lab::new();
    let rows: [(&[&str], &[&str]); 6] = [
        (&["model={ backbone = \"torchscript:absent.pt\" }"], &["model.backbone", "linear-probe"]),
        (&["model.backbone=torchscript:absent.pt", "training.learner=linear-probe"], &["model.width", "TorchScript"]),
        (&["training.learner=linear-probe"], &["training.learner", "[representation]"]),
        (&["model.init=representation"], &["model.init", "[representation]"]),
        (
            &["model.init=representation", "representation.method=rotation", "representation.width=8"],
            &["representation", "the network of `[model]`"],
        ),
        (&["training.learner=fixmach"], &["training.learner", "fixmatch"]),
    ];
    for (settings, expected) in rows {
        let ran = lab.run("refused", settings);
        ran.exits(2);
        for part in expected {
            ran.says(part);
        }
    }
    let file = "model.init={ file = { path = \"absent.safetensors\" } }";
    lab.run("absent", &[file]).exits(2).says("absent.safetensors");
}

/// A file of weights whose tensors are called otherwise: a safetensors file is a length, names in JSON, and numbers.
fn renamed(weights: &[u8], name: impl Fn(&str) -> String) -> Vec<u8> {
    let header = 8 + u64::from_le_bytes(*weights.first_chunk().unwrap()) as usize;
    let tensors: serde_json::Map<String, Value> = serde_json::from_slice(&weights[8..header]).unwrap();
    let tensors: serde_json::Map<String, Value> = tensors.into_iter().map(|(old, of)| (name(&old), of)).collect();
    let text = serde_json::to_vec(&tensors).unwrap();
    [&(text.len() as u64).to_le_bytes(), &text[..], &weights[header..]].concat()
}

/// Weights that others wrote are taken, or refused before the run has a folder, with what they are and what to do.
#[test]
fn weights_from_elsewhere_are_taken_or_called_by_their_name() {
    let lab = Lab::new();
    lab.run("source", &["query.rounds=0"]).exits(0);
    let weights = std::fs::read(lab.path("source/checkpoints/000/model.safetensors")).unwrap();
    let mut broken = weights.clone();
    let end = broken.len();
    // The last number of the backbone or of the head becomes NaN; so all of them do.
    let header = 8 + u64::from_le_bytes(*weights.first_chunk().unwrap()) as usize;
    broken[header..end].chunks_exact_mut(4).for_each(|number| number.copy_from_slice(&f32::NAN.to_le_bytes()));
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 26264\n";
    let from = |file: &str, more: &str| format!("model.init={{ file = {{ path = \"{file}\"{more} }} }}");
    let prefix = |name: &str| format!("backbone.{name}");
    lab.write("prefixed.safetensors", renamed(&weights, prefix));
    lab.write("weights.safetensors", &weights);
    let rename = ", rename = { \"backbone.\" = \"\" }";
    for (out, init) in [("plain", from("weights.safetensors", "")), ("named", from("prefixed.safetensors", rename))] {
        lab.run(out, &[&init, "query.rounds=0"]).exits(0);
    }
    assert_eq!(results(&lab.path("plain")), results(&lab.path("named")));
    let rows: [(&str, &[u8], &[&str]); 7] = [
        ("weights.pth", b"PK\x03\x04\x00\x00\x08\x08weights/data.pkl", &["zip archive", "torch.save", "save_file"]),
        ("old.pth", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", &["pickle", "save_file"]),
        ("pointer.safetensors", lfs.as_bytes(), &["pointer of Git LFS", "git lfs pull"]),
        ("page.safetensors", b"<!DOCTYPE html><html><body>Sign in</body></html>", &["web page"]),
        ("cut.safetensors", &weights[..end - 100], &["cut short", "again"]),
        ("nan.safetensors", &broken, &["not finite"]),
        ("prefixed.safetensors", &renamed(&weights, prefix), &["needs a tensor", "rename = { \"backbone.\" = \"\" }"]),
    ];
    for (file, bytes, expected) in rows {
        lab.write(file, bytes);
        let ran = lab.run("refused", &[&from(file, "")]);
        ran.exits(2).says_one_problem().says(file);
        for words in expected {
            ran.says(words);
        }
        assert!(!lab.path("refused").exists(), "{file}");
    }
    let wider = ["model={ backbone = \"convnet\", width = 8 }", &from("weights.safetensors", "")];
    lab.run("refused", &wider).exits(2).says("the file has it with").says("model.width");
}

/// A network that was exported is no file of weights, and the other way round.
#[test]
fn an_exported_network_is_told_from_its_pointer() {
    let lab = Lab::new();
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 20497049\n";
    let pointer = lab.write("network.pt", lfs);
    let model = format!("model={{ backbone = \"torchscript:{}\" }}", pointer.display());
    let ran = lab.run("refused", &[&model, "training.learner=linear-probe"]);
    ran.exits(2).says_one_problem().says("pointer of Git LFS").says("git lfs pull");
}

/// What a linear probe's features are divided by is one number, unless the config says so; the run says which.
#[test]
fn a_probe_has_one_scale_unless_it_is_told() {
    let lab = Lab::new();
    let probe = |scale: &str| format!("training.learner={{ kind = \"linear-probe\", scale = \"{scale}\" }}");
    for (out, learner) in [
        ("default", "training.learner=linear-probe".to_owned()),
        ("shared", probe("shared")),
        ("columns", probe("columns")),
    ] {
        lab.run(out, &with(&[&learner])).exits(0);
    }
    let config = |run: &str| std::fs::read_to_string(lab.path(run).join("config.toml")).unwrap();
    assert!(config("default").contains("scale = \"shared\"") && config("columns").contains("scale = \"columns\""));
    assert_eq!(results(&lab.path("default")), results(&lab.path("shared")));
    let of_measures =
        |run: &str| results(&lab.path(run)).into_iter().filter(|(file, _)| file.ends_with("metrics.json"));
    assert!(of_measures("default").ne(of_measures("columns")), "the scale changes nothing");
    lab.run("refused", &with(&[&probe("rows")])).exits(2).says("scale").says("columns");
}

/// Networks as PyTorch exports them, from `weights/torchscript`.
#[test]
fn traced_scripted_and_frozen_networks_are_let_in() {
    let lab = Lab::new();
    for name in ["traced", "scripted", "frozen"] {
        let model = format!("model={{ backbone = \"torchscript:{}\" }}", exported(name).display());
        let settings = [&model, "training.learner=linear-probe"];
        lab.run(name, &settings).exits(0).says("fitted a linear probe");
    }
}

/// A network from a file is a program, and a stranger's: what it may call stands on a list.
#[test]
fn a_network_that_does_more_than_compute_is_refused_before_it_is_loaded() {
    let lab = Lab::new();
    let (victim, secret) = (lab.write("victim.txt", "o".repeat(64)), lab.write("secret.txt", "s".repeat(64)));
    for (name, operator) in [
        ("evil-reads", "calls `torch.from_file`"),
        ("evil-at-load", "calls `torch.from_file`"),
        ("evil-saves", "calls `torch.save`"),
        ("evil-prints", "has the text"),
        ("evil-forks", "is not on the list"),
    ] {
        let model = format!("model={{ backbone = \"torchscript:{}\" }}", exported(name).display());
        let ran = lab.run("refused", &[&model, "training.learner=linear-probe"]);
        ran.exits(2).says_one_problem().says(operator).says("torch.jit.trace");
        assert!(!ran.stderr.contains("\u{1b}[2J"), "{name}: {}", ran.stderr);
        assert!(!lab.path("refused").exists(), "{name}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "o".repeat(64), "{name}");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "s".repeat(64), "{name}");
    }
}

/// A file that `weights/torchscript/make.py` has made.
fn exported(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("weights/torchscript/{name}.pt"))
}

/// `weights/rows.pt` answers with the mean of each row of pixels. Made by
/// `torch.jit.script(Rows()).save("rows.pt")`, where `Rows.forward(self, x)` is `return x.mean(3).flatten(1)`.
#[test]
fn an_exported_network_stands_under_a_probe() {
    let lab = Lab::new();
    let file = lab.path("rows.pt");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/rows.pt"), &file).unwrap();
    let model = format!("model={{ backbone = \"torchscript:{}\" }}", file.display());
    let settings = [&model, "training.learner=linear-probe", "query.strategy=margin"];
    lab.run("probe", &settings).exits(0).says("fitted a linear probe");
    lab.run("again", &settings).exits(0);
    assert_eq!(results(&lab.path("probe")), results(&lab.path("again")));
    let environment = std::fs::read_to_string(lab.path("probe").join("environment.json")).unwrap();
    assert!(environment.contains("rows.pt") && environment.contains("sha256"), "{environment}");
    // A run whose weights have changed since is not gone on with, and one whose weights are none has no folder.
    std::fs::write(&file, "another").unwrap();
    lab.run("none", &settings).exits(2).says("no TorchScript module");
    assert!(!lab.path("none").exists());
    lab.coldstart(&["resume", "probe"]).exits(1).says("it is not the file that the run began with");
}
