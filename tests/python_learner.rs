//! A learner in Python in the real program: leave, what it can and cannot answer, what goes wrong, and that a run that was stopped
//! in any way ends as if nothing had happened.
//!
//! They need `python3` with msgpack and numpy on the path, and say so where it is missing.

use coldstart_plugin_api::Rng;
use coldstart_tests::{
    Lab, Ran, events, interpreter_with_kit, npy, npz, outcome, path_with, plan, python, python_libraries, repository,
    results, until,
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CONFIG: &str = r#"
name = "own"
threads = 1
[dataset]
kind = "synthetic"
size = 300
test_size = 100
[model]
backbone = "convnet"
width = 4
[training]
learner = "it.py"
[initial]
strategy = "random"
size = 10
[query]
strategy = "entropy"
size = 5
rounds = 3
"#;

/// The nearest mean; what goes wrong where a file `bad` lies beside it comes after the first round.
const NEAREST: &str = r#"
import os, signal, time
import numpy as np
open("pid", "w").write(str(os.getpid()))

class Learner:
    def fit(self, labelled, labels, seed, warm):
        x_nd = self.pixels(labelled)
        mean = lambda c: x_nd[labels == c].mean(axis=0) if (labels == c).any() else np.full(x_nd.shape[1], 9.0)
        self.means_cd = np.stack([mean(c) for c in range(len(self.data.classes))])
        self.bad = os.path.exists("bad") and len(labelled) > 10
        if self.bad:
            IN_FIT

    def predict(self, ids):
        distances_nc = ((self.pixels(ids)[:, None] - self.means_cd) ** 2).sum(axis=2)
        p = np.exp(distances_nc.min(axis=1, keepdims=True) - distances_nc)
        p /= p.sum(axis=1, keepdims=True)
        if self.bad:
            IN_PREDICT
        return p

    def pixels(self, ids):
        return self.data.images(ids).reshape(len(ids), -1) / 255.0
"#;

/// A laboratory with an interpreter that has the kit.
struct Desk {
    lab: Lab,
    interpreter: PathBuf,
}

impl Desk {
    fn new() -> Option<Desk> {
        let libraries = python_libraries()?;
        let lab = Lab::new();
        let interpreter = interpreter_with_kit(&lab, &libraries);
        lab.write("own.toml", CONFIG);
        Some(Desk { lab, interpreter })
    }

    /// One with a script that may run.
    fn with(script: &str) -> Option<Desk> {
        let desk = Desk::new()?;
        desk.script(script);
        Some(desk)
    }

    /// Write the script, and give leave to it.
    fn script(&self, text: &str) {
        self.lab.write("it.py", text);
        self.ran(&["learner", "allow", "it.py"]).exits(0);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.lab.command(args);
        command.env("PATH", path_with(&self.interpreter));
        command
    }

    fn ran(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    fn run(&self, out: &str, overrides: &[&str]) -> Ran {
        self.ran(&run_args(out, overrides))
    }

    fn results(&self, out: &str) -> std::collections::BTreeMap<String, Vec<u8>> {
        results(&self.lab.path(out))
    }

    /// The process of the learner that was started last.
    fn learner(&self) -> Option<Pid> {
        Pid::from_raw(std::fs::read_to_string(self.lab.path("pid")).ok()?.parse().ok()?)
    }

    #[track_caller]
    fn no_learner_is_left(&self) {
        until("the end of the learner", || self.learner().is_none_or(|pid| test_kill_process(pid).is_err()));
    }
}

fn run_args<'a>(out: &'a str, overrides: &[&'a str]) -> Vec<&'a str> {
    let overrides = overrides.iter().flat_map(|set| ["-s", *set]);
    ["run", "own.toml", "--out", out].into_iter().chain(overrides).collect()
}

fn nearest(in_fit: &str, in_predict: &str) -> String {
    NEAREST.replace("IN_FIT", in_fit).replace("IN_PREDICT", in_predict)
}

fn example(name: &str) -> String {
    std::fs::read_to_string(repository().join("python/examples").join(name)).unwrap()
}

fn environment(run: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(run.join("environment.json")).unwrap()).unwrap()
}

#[test]
fn a_script_runs_by_the_users_leave_alone_and_a_change_takes_another() {
    let Some(desk) = Desk::new() else { return };
    let script = format!("# /// coldstart\n# modules = [\"half.py\"]\n# ///\nimport half\n{}", nearest("pass", "pass"));
    desk.lab.write("half.py", "x = 1\n");
    let file = desk.lab.write("it.py", &script);
    let hint = format!("coldstart learner allow {}", file.display());
    desk.run("none", &[]).exits(3).says_one_problem().says("L001").says(&hint).says("--allow-learner");
    assert!(!desk.lab.path("pid").exists() && !desk.lab.path("none").exists(), "nothing has run");
    // For one call.
    let once = [&run_args("once", &[])[..], &["--allow-learner"]].concat();
    desk.ran(&once).exits(0);
    desk.ran(&["resume", "once"]).exits(3).says_one_problem().says("L001");
    desk.ran(&["resume", "once", "--allow-learner"]).exits(0);
    // For good.
    desk.ran(&["learner", "allow", "it.py"]).exits(0).says("half.py");
    desk.run("run", &[]).exits(0);
    desk.ran(&["resume", "run"]).exits(0);
    let listed = desk.ran(&["learner", "list", "--json"]).exits(0).json();
    assert_eq!(listed[0]["file"], file.display().to_string().as_str());
    let record = environment(&desk.lab.path("run"))["learner"].clone();
    assert_eq!((&record["sha256"], &record["confinement"]), (&listed[0]["sha256"], &"none".into()));
    let lock = std::fs::read_to_string(desk.lab.path("run/plugins.lock")).unwrap();
    assert!(lock.contains(listed[0]["sha256"].as_str().unwrap()) && lock.contains("role = \"learner\""), "{lock}");
    let page = std::fs::read_to_string(desk.lab.path("run/report.html")).unwrap();
    assert!(page.contains("it.py, a learner in Python that was not shut in"), "the report says how it ran");
    for (name, text) in [("half.py", "x = 2\n".to_owned()), ("it.py", format!("{script}# changed\n"))] {
        desk.lab.write(name, text);
        desk.run("none", &[]).exits(3).says_one_problem().says("L001");
        let ran = desk.ran(&["resume", "run", "--allow-learner"]);
        ran.exits(3).says_one_problem();
        assert!(ran.stderr.contains("L011"), "{}", ran.stderr);
        desk.lab.write("half.py", "x = 1\n");
    }
    desk.lab.write("it.py", &script);
    desk.ran(&["learner", "forget", "it.py"]).exits(0).says("1 leave was taken back");
    desk.ran(&["learner", "forget", "it.py"]).exits(2).says("no leave was given");
    desk.ran(&["resume", "run"]).exits(3).says_one_problem().says("L001");
}

#[test]
fn strategies_ask_it_what_it_can_say() {
    let Some(desk) = Desk::with(&example("softmax_learner.py")) else { return };
    for strategy in ["entropy", "margin", "bald", "badge", "coreset"] {
        let set = [&format!("query.strategy={strategy}")[..], "training.params={ steps = 15 }", "query.rounds=1"];
        let [first, again] = ["first", "again"].map(|out| format!("{strategy}-{out}"));
        desk.run(&first, &set).exits(0).says(&format!("`{strategy}` chose 5 images"));
        desk.run(&again, &set).exits(0);
        assert_eq!(desk.results(&first), desk.results(&again), "{strategy}");
    }
    // Predictions decide beside a strategy, too.
    desk.run("balanced", &["query.strategy=random", "query.balance=true", "query.rounds=1"]).exits(0);
    let config = std::fs::read_to_string(desk.lab.path("balanced/config.toml")).unwrap();
    assert!(config.contains("steps = 200") && !config.contains("epochs"), "{config}");
}

#[test]
fn what_it_cannot_say_is_told_before_anything_is_trained() {
    let Some(desk) = Desk::with(&nearest("pass", "pass")) else { return };
    for (overrides, key, words) in [
        (&["query.strategy=badge"][..], "`query.strategy` is `badge`", "has neither `embed` nor `gradient_factors`"),
        (&["query.strategy=bald"], "`query.strategy` is `bald`", "has no `predict_dropout`"),
        (&["query.strategy=consistency"], "`query.strategy` is `consistency`", "which asks the model for views"),
        (&["query.strategy=coreset"], "`query.strategy` is `coreset`", "has neither `embed` nor"),
        (&["training.restart=warm"], "`training.restart` is `warm`", "has no `save` and `load`"),
        (&["training.epochs=3"], "`training.epochs`", "what a learner in Python is told stands in `training.params`"),
        (&["training.verify=maybe"], "training.verify", "maybe"),
        (&["model.init=representation"], "`model.init` must be left out", "begins as it likes"),
        (&["training.learner=gone.py"], "`training.learner` names", "there is no such file"),
        (
            &["training.learner=supervised", "training.params={ k = 1 }"],
            "`training.params` is for a learner in Python",
            "",
        ),
    ] {
        desk.run("none", overrides).exits(2).says_one_problem().says(key).says(words);
        assert!(!desk.lab.path("none").exists(), "{overrides:?}");
    }
    let elsewhere = ["query.strategy=coreset", "query.params={ space = \"representation\" }", "query.rounds=1"];
    desk.run("elsewhere", &[&elsewhere[..], &["representation={ method = \"pixels\" }"]].concat()).exits(0);
    desk.script(&example("softmax_learner.py"));
    let wrong = desk.run("none", &["training.params={ stesp = 3 }"]);
    wrong.exits(2).says_one_problem().says("`training.params` does not fit `it.py`").says("stesp");
    for (script, words) in [
        (
            "class Learner:\n    def fit(self, ids): pass\n    def predict(self, ids): pass\n",
            "cannot be called as `fit(",
        ),
        ("x = 1\n", "defines no class `Learner`"),
        ("import no_such_module\n", "No module named 'no_such_module', at it.py:1"),
        ("# /// coldstart\n# needs = []\n# ///\n", "`needs` is no key of the block"),
    ] {
        desk.lab.write("it.py", script);
        let args = [&run_args("none", &[])[..], &["--allow-learner"]].concat();
        desk.ran(&args).exits(3).says_one_problem().says("L002").says(words);
        assert!(!desk.lab.path("none").exists(), "{words}");
    }
}

/// What goes wrong in a call, and what is said of it.
struct Mishap {
    in_fit: &'static str,
    in_predict: &'static str,
    code: &'static str,
    words: &'static str,
}

const fn in_fit(in_fit: &'static str, code: &'static str, words: &'static str) -> Mishap {
    Mishap { in_fit, in_predict: "pass", code, words }
}

const fn in_predict(in_predict: &'static str, code: &'static str, words: &'static str) -> Mishap {
    Mishap { in_fit: "pass", in_predict, code, words }
}

const MISHAPS: [Mishap; 13] = [
    in_fit(
        "raise ValueError('too hot')",
        "L005",
        "`fit`: ValueError: too hot, at it.py:13, in fit: raise ValueError('too hot')",
    ),
    in_fit("{}['gone']", "L005", "KeyError: 'gone'"),
    in_fit("while True: pass", "L008", "`fit` did not end within 3 s"),
    in_fit("os._exit(3)", "L009", "exited with code 3"),
    in_fit("os.kill(os.getpid(), signal.SIGKILL)", "L009", "ended by signal 9 (SIGKILL)"),
    in_fit("return {'loss': float('nan')}", "L007", "`fit` returned a loss or accuracy of NaN"),
    in_predict("p[7, 0] = np.nan", "L007", "`predict` answered the number NaN in row 7"),
    in_predict("p = p[:, :1]", "L006", "`predict` answered an array of the shape (15, 1), and (15, 10) is wanted"),
    in_predict("p = p[1:]", "L006", "`predict` answered an array of the shape (14, 10)"),
    in_predict("p = 2 * p", "L007", "probabilities that add up to 2.0000 in row 0"),
    in_predict("return None", "L006", "`predict`: it must return an array of numbers, and returned NoneType"),
    in_predict("time.sleep(600)", "L008", "`predict` did not end within 3 s"),
    // The pool is asked by a strategy, whose failure it is then.
    in_predict("p[0, 0] = np.nan if len(ids) > 100 else p[0, 0]", "P015", "L007 answered no such numbers: `it.py`"),
];

#[test]
fn whatever_goes_wrong_has_a_name_and_the_run_goes_on_later() {
    let Some(desk) = Desk::new() else { return };
    for (i, Mishap { in_fit, in_predict, code, words }) in MISHAPS.into_iter().enumerate() {
        desk.script(&nearest(in_fit, in_predict));
        let (reference, out) = (format!("reference-{i}"), format!("run-{i}"));
        desk.run(&reference, &["training.timeout=3"]).exits(0);
        desk.lab.write("bad", "");
        let began = Instant::now();
        let ran = desk.run(&out, &["training.timeout=3"]);
        ran.exits(3).says_one_problem().says(code).says(words);
        assert!(began.elapsed() < Duration::from_secs(60), "{words}");
        assert_eq!(events(&desk.lab.path(&out)).last().unwrap(), "run-failed");
        desk.no_learner_is_left();
        std::fs::remove_file(desk.lab.path("bad")).unwrap();
        desk.ran(&["resume", &out]).exits(0);
        assert_eq!(desk.results(&out), desk.results(&reference), "{words}");
        desk.no_learner_is_left();
    }
}

fn started(desk: &Desk, args: &[&str]) -> Child {
    desk.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Wait until a run is in the fit of its second round, which does not end.
fn until_it_hangs(desk: &Desk) {
    until("a fit that hangs", || desk.lab.path("hangs").exists());
}

#[test]
fn ctrl_c_ends_a_fit_that_listens_at_once_and_any_other_soon() {
    let Some(desk) = Desk::new() else { return };
    let listens = "open('hangs', 'w').close()\n            while True: self.progress(1, 2); time.sleep(0.02)";
    let deaf = "open('hangs', 'w').close()\n            while True: pass";
    for (out, body, most) in [("listens", listens, Duration::from_secs(4)), ("deaf", deaf, Duration::from_secs(40))] {
        desk.script(&nearest(body, "pass"));
        desk.run(&format!("{out}-reference"), &[]).exits(0);
        desk.lab.write("bad", "");
        let child = started(&desk, &run_args(out, &[]));
        until_it_hangs(&desk);
        let began = Instant::now();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let ran = Ran::of(child.wait_with_output().unwrap());
        ran.exits(130).says(&format!("go on with: coldstart resume {out}"));
        assert!(began.elapsed() < most, "{out}: {:?}", began.elapsed());
        desk.no_learner_is_left();
        for file in ["bad", "hangs"] {
            std::fs::remove_file(desk.lab.path(file)).unwrap();
        }
        desk.ran(&["resume", out]).exits(0);
        assert_eq!(desk.results(out), desk.results(&format!("{out}-reference")));
    }
}

#[test]
fn a_program_that_is_killed_leaves_no_learner_behind() {
    let Some(desk) = Desk::new() else { return };
    desk.script(&nearest("open('hangs', 'w').close()\n            while True: pass", "pass"));
    desk.lab.write("bad", "");
    let mut child = started(&desk, &run_args("run", &[]));
    until_it_hangs(&desk);
    assert!(test_kill_process(desk.learner().unwrap()).is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    desk.no_learner_is_left();
}

/// One that stores itself, also over the rounds, and one that is trained again.
#[test]
fn killed_runs_end_as_if_nothing_had_happened() {
    let Some(desk) = Desk::new() else { return };
    let mut rng = Rng::from_seed([5; 32]);
    let steps = "training.params={ steps = 15 }";
    for (name, script, overrides) in [
        ("stored", example("softmax_learner.py"), &[steps][..]),
        ("warm", example("softmax_learner.py"), &[steps, "training.restart=warm"]),
        ("again", nearest("pass", "pass"), &[]),
    ] {
        desk.script(&script);
        let (start, reference) = (Instant::now(), format!("{name}-reference"));
        desk.run(&reference, overrides).exits(0);
        let usual = start.elapsed();
        for i in 0..5 {
            let out = format!("{name}-{i}");
            let mut child = started(&desk, &run_args(&out, overrides));
            std::thread::sleep(usual.mul_f64(rng.uniform()));
            child.kill().unwrap();
            child.wait().unwrap();
            let begun = desk.lab.path(&out).join("config.toml").exists();
            let ran = if begun { desk.ran(&["resume", &out]) } else { desk.run(&out, overrides) };
            ran.exits(0);
            assert_eq!(desk.results(&out), desk.results(&reference), "{name} {i}");
        }
    }
}

#[test]
fn a_training_that_is_not_the_same_twice_is_found_out() {
    let Some(desk) = Desk::new() else { return };
    let verify = &["training.verify=true", "query.rounds=1"][..];
    let softmax = example("softmax_learner.py");
    let by_chance = nearest("pass", "pass")
        .replace("self.bad = os", "self.means_cd += int.from_bytes(os.urandom(2), 'big') / 1e5\n        self.bad = os");
    let goes_on = nearest("pass", "pass").replace(
        "self.bad = os",
        "self.n = getattr(self, 'n', 0) + 1\n        self.means_cd[0] /= self.n\n        self.bad = os",
    );
    let forgets = softmax.replace("self.weights_dc = np.load(path)", "self.weights_dc = 0.5 * np.load(path)");
    assert!(by_chance.contains("urandom") && goes_on.contains("getattr") && forgets.contains("0.5 * np"));
    let alike = "the predictions for 100 images are the same, bit for bit";
    for (out, script, exit, words) in [
        ("same", nearest("pass", "pass"), 0, &["trained twice: ", alike][..]),
        ("stored", softmax, 0, &["trained twice, and taken up by another process: ", alike]),
        (
            "by-chance",
            by_chance,
            3,
            &["L010", "trained twice on the same labels with the same seed, it answers differently for"],
        ),
        ("goes-on", goes_on, 3, &["L010", "by up to"]),
        ("forgets", forgets, 3, &["L010", "stored and taken up by another process, it answers differently for"]),
    ] {
        desk.script(&script);
        let ran = desk.run(out, verify);
        ran.exits(exit);
        for words in words.iter() {
            ran.says(words);
        }
    }
}

#[test]
fn shut_in_it_sees_the_images_and_nothing_of_the_user() {
    let Some(desk) = Desk::new() else { return };
    let peeks = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')";
    for (name, in_fit) in
        [("file", "open('/etc/passwd').read()"), ("network", peeks), ("program", "os.system('true') and 1/0")]
    {
        let script = nearest("pass", "pass")
            .replace("open(\"pid\"", "0 and open(\"pid\"")
            .replace("self.bad = os", &format!("{in_fit}\n        self.bad = os"));
        desk.script(&script);
        let ran = desk.run(name, &["training.sandbox=true"]);
        ran.exits(3).says_one_problem().says("L005");
    }
    desk.script(&example("softmax_learner.py"));
    let few = "training.params={ steps = 15 }";
    desk.run("open", &[few]).exits(0);
    // It stores itself in the one folder that it may write to.
    desk.run("shut", &[few, "training.sandbox=true", "training.verify=true"]).exits(0);
    assert_eq!(desk.results("open"), desk.results("shut"));
    let confinement = environment(&desk.lab.path("shut"))["learner"]["confinement"].clone();
    assert!(["full", "partial", "no-landlock"].iter().any(|known| confinement == *known), "{confinement}");
    let page = std::fs::read_to_string(desk.lab.path("shut/report.html")).unwrap();
    assert!(page.contains("a learner in Python (sandbox: "), "the report says how it ran");
    let required = [&run_args("none", &[few])[..], &["--sandbox", "required"]].concat();
    desk.ran(&required).exits(3).says_one_problem().says("L003").says("training.sandbox = true");
}

#[test]
fn a_study_has_one_learner_for_each_run() {
    let Some(desk) = Desk::new() else { return };
    desk.lab.write("it.py", nearest("pass", "pass"));
    let sweep = "[sweep]\n\"query.strategy\" = [\"random\", \"entropy\"]\nseed = [1, 2]\n";
    desk.lab.write("sweep.toml", format!("{CONFIG}{sweep}"));
    let args = ["sweep", "sweep.toml", "--out", "study", "--jobs", "2"];
    desk.ran(&args).exits(3).says_one_problem().says("L001");
    assert!(!desk.lab.path("study").exists());
    desk.ran(&[&args[..], &["--allow-learner"]].concat()).exits(0).says("4 of 4 runs are done");
    let first = outcome(&desk.lab);
    for (run, labels) in plan(&desk.lab) {
        let [strategy, seed] = labels.as_slice() else { panic!("{labels:?}") };
        let set = [format!("query.strategy={strategy}"), format!("seed={seed}")];
        let (out, allowed) = (format!("alone-{run}"), ["--allow-learner"]);
        desk.ran(&[&run_args(&out, &set.each_ref().map(String::as_str))[..], &allowed].concat()).exits(0);
        assert_eq!(results(&desk.lab.path("study/runs").join(&run)), desk.results(&out), "{labels:?}");
    }
    desk.ran(&[&args[..], &["--allow-learner"]].concat()).exits(0);
    assert_eq!(outcome(&desk.lab), first);
}

/// Images in a folder have paths, and a selection without a loop asks a learner as well.
#[test]
fn photographs_have_paths() {
    let Some(desk) = Desk::new() else { return };
    let script = nearest("pass", "pass").replace(
        "x_nd = self.pixels(labelled)",
        "assert all(os.path.isfile(path) for path in self.data.paths(labelled))\n        x_nd = self.pixels(labelled)",
    );
    desk.script(&script);
    for (class, shade) in [("dark", 20), ("light", 230)] {
        for i in 0..6u8 {
            let mut file = std::io::Cursor::new(Vec::new());
            let image = image::GrayImage::from_pixel(8, 8, image::Luma([shade + i]));
            image.write_to(&mut file, image::ImageFormat::Png).unwrap();
            desk.lab.write(&format!("photos/{class}/{i}.png"), file.into_inner());
        }
    }
    let set = [
        "dataset={ kind = \"folder\", path = \"photos\", shape = [8, 8, 3] }",
        "initial.size=2",
        "query={ strategy = \"entropy\", size = 2, rounds = 1 }",
    ];
    desk.run("run", &set).exits(0);
    let select = ["select", "--images", "photos", "--size", "2", "-s", "threads=1", "-s", "dataset.shape=[8, 8, 3]"];
    let select = [&select[..], &["-s", "training.learner=it.py"]].concat();
    desk.ran(&[&select[..], &["--strategy", "random"]].concat()).exits(0);
    let picked = std::fs::read_to_string(desk.lab.path("photos-selection/picks.csv")).unwrap();
    let labels: String = picked
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').find(|cell| cell.contains(".png")))
        .enumerate()
        .map(|(i, file)| format!("{file},{}\n", if i == 0 { "dark" } else { "light" }))
        .collect();
    desk.lab.write("labels.csv", format!("image,label\n{labels}"));
    desk.ran(&["ingest", "photos-selection", "labels.csv"]).exits(0);
    desk.ran(&[&select[..], &["--strategy", "entropy"]].concat()).exits(0);
}

/// A data set of features: three numbers for each of 60 items, of which the first tells the class apart.
fn features_set(desk: &Desk) -> &'static str {
    let row = |i: u32| [(i % 2) as f32 + 0.01 * i as f32, (i * 7 % 11) as f32, (i * 5 % 13) as f32];
    let rows = |ids: std::ops::Range<u32>| ids.flat_map(row).flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    let classes = |ids: std::ops::Range<u32>| ids.flat_map(|i| i64::from(i % 2).to_le_bytes()).collect::<Vec<u8>>();
    let set = npz(&[
        ("x_train", npy("<f4", "(60, 3)", &rows(0..60))),
        ("y_train", npy("<i8", "(60,)", &classes(0..60))),
        ("x_test", npy("<f4", "(30, 3)", &rows(60..90))),
        ("y_test", npy("<i8", "(30,)", &classes(60..90))),
    ]);
    desk.lab.write("vectors.npz", set);
    "dataset={ kind = \"features\", path = \"vectors.npz\" }"
}

/// A set without images has features by id, in memory that nobody copies, and no pixels.
#[test]
fn on_a_set_without_images_it_has_features() {
    let Some(desk) = Desk::new() else { return };
    let script = nearest("pass", "pass").replace(
        "x_nd = self.pixels(labelled)",
        "assert self.data.shape == (3,) and not self.data.pool.vectors.flags.writeable\n        x_nd = self.pixels(labelled)",
    );
    let of_features = script.replace("self.data.images(", "self.data.features(");
    assert_ne!(script, of_features);
    let set = [features_set(&desk), "initial.size=10", "query={ strategy = \"entropy\", size = 5, rounds = 2 }"];
    desk.script(&of_features);
    desk.run("run", &set).exits(0);
    let accuracy = |run: &str| {
        let table = std::fs::read_to_string(desk.lab.path(run).join("results.csv")).unwrap();
        table.lines().last().unwrap().split(',').nth(3).unwrap().parse::<f64>().unwrap()
    };
    assert!(accuracy("run") > 0.5);
    // Whoever asks for pixels is told what there is.
    desk.script(&script.replace("self.data.shape == (3,) and ", ""));
    desk.run("pixels", &set).exits(3).says("this data set has no images: ask for `features`");
}

/// What the examples in the documents need is not everywhere.
#[test]
fn the_examples_run() {
    let Some(desk) = Desk::new() else { return };
    let images = [
        "dataset={ kind = \"synthetic\", size = 60, test_size = 30 }",
        "initial.size=10",
        "query.size=5",
        "query.rounds=1",
    ];
    let features = [features_set(&desk), images[1], images[2], images[3]];
    let resnet = "training.params={ epochs = 1, batch_size = 8 }";
    for (name, packages, data, params, strategy) in [
        ("resnet_learner.py", &["torch", "torchvision"][..], &images, resnet, "badge"),
        ("boosting_learner.py", &["sklearn"], &features, "training.params={ iterations = 3 }", "margin"),
        ("softmax_learner.py", &["numpy"], &images, "training.params={ steps = 3 }", "bald"),
    ] {
        let imports = format!("import {}, os", packages.join(", "));
        let place = format!("{imports}; print(os.path.dirname(os.path.dirname({}.__file__)))", packages[0]);
        let Some(folder) = python(Path::new("python3"), &place) else {
            eprintln!("skipped: python3 cannot import {} (python3 -m pip install it)", packages.join(" and "));
            continue;
        };
        desk.script(&example(name));
        let strategy = format!("query.strategy={strategy}");
        let set = [&data[..], &[params, &strategy, "training.verify=true"]].concat();
        let mut command = desk.command(&run_args(&name.replace(".py", ""), &set));
        Ran::of(command.env("PYTHONPATH", folder).output().unwrap()).exits(0).says("bit for bit");
    }
}

/// The documents show the examples as they are.
#[test]
fn the_guide_shows_the_examples() {
    let guide = std::fs::read_to_string(repository().join("docs/guides/write-a-learner.md")).unwrap();
    let shown: Vec<&str> = guide.split("```python\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    for name in ["softmax_learner.py", "resnet_learner.py", "boosting_learner.py"] {
        assert!(
            shown.contains(&example(name).as_str()),
            "docs/guides/write-a-learner.md does not show {name} as it is"
        );
    }
}
