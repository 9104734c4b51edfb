//! Strategies in Python: the kit's own tests, the guide, and a script in the real program.
//!
//! They need `python3` with msgpack and numpy on the path, and say so where it is missing.

use coldstart_plugin_api::training::{PRESETS, Setting, TrainSpec};
use coldstart_plugin_api::wire;
use coldstart_tests::{
    Lab, Ran, interpreter_with_kit, path_with, python, python_libraries, repository, results, run_with,
};
use std::path::Path;
use std::process::Command;

/// The same draws as the strategy `random`, under its name and so from its seeds.
const RANDOM: &str = r#"
# /// coldstart
# name = "random"
# params = {}
# ///
def select(request, host):
    drawn = request.rng("draw").sample(len(request.unlabelled), request.budget)
    return request.unlabelled[drawn]
"#;

fn example(name: &str) -> String {
    std::fs::read_to_string(repository().join("python/examples").join(name)).unwrap()
}

#[test]
fn the_kits_own_tests_pass() {
    if python_libraries().is_none() {
        return;
    }
    let mut tests = Command::new("python3");
    tests.args(["-m", "unittest", "discover", "-s", "tests", "-t", "."]).current_dir(repository().join("python"));
    let output = tests.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_presets_are_those_of_rust() {
    let text = std::fs::read_to_string(repository().join("python/coldstart_strategy/presets.json")).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&text).unwrap();
    let of = |setting: Setting| {
        let spec = |name| serde_json::to_value(TrainSpec::preset(name, setting).unwrap()).unwrap();
        serde_json::Value::Object(PRESETS.into_iter().map(|name| (name.to_owned(), spec(name))).collect())
    };
    let expected = serde_json::json!({"cifar": of(Setting::Cifar), "imagenet": of(Setting::ImageNet)});
    assert!(stored == expected, "store this instead:\n{expected}");
}

#[test]
fn a_spec_from_python_is_read_as_the_same_training() {
    if python_libraries().is_none() {
        return;
    }
    for name in PRESETS {
        let program = format!(
            "import sys; sys.path.insert(0, {:?}); import msgpack; from coldstart_strategy import training\n\
             print(msgpack.packb(training.preset('{name}')).hex())",
            repository().join("python")
        );
        let hex = python(Path::new("python3"), &program).unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let spec: TrainSpec = wire::decode(&bytes).unwrap();
        assert_eq!(spec, TrainSpec::preset(name, Setting::Cifar).unwrap());
    }
}

#[test]
fn the_guide_shows_the_example() {
    let guide = std::fs::read_to_string(repository().join("docs/tutorials/first-strategy-in-python.md")).unwrap();
    let code = guide.split("```python\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(code.unwrap(), example("my_idea.py"));
}

/// A script runs in the worker that every script runs in; what is about libraries is skipped.
#[test]
fn a_script_passes_the_check() {
    let Some(libraries) = python_libraries() else { return };
    let lab = Lab::new();
    let interpreter = interpreter_with_kit(&lab, &libraries);
    let escapes = "\
# /// coldstart
# params = {}
# ///
import os

def select(request, host):
    os.kill(os.getppid(), 15)
";
    for (name, script, exit) in [("my_idea.py", example("my_idea.py"), 0), ("escapes.py", escapes.to_owned(), 3)] {
        let file = lab.write(name, script);
        let args = ["plugin", "check", file.to_str().unwrap(), "--json", "--timeout", "600"];
        let mut command = lab.command(&args);
        command.env("PATH", path_with(&interpreter));
        let report = Ran::of(command.output().unwrap()).exits(exit).json();
        assert_eq!(report["confinement"], "full", "{report}");
        let rows = report["cases"].as_array().unwrap();
        let of = |case: &str| rows.iter().find(|row| row["case"] == case).unwrap().clone();
        let valid = of("selection-valid");
        match exit {
            0 => assert_eq!(valid["result"], "success", "{valid}"),
            _ => assert!(valid["detail"].as_str().unwrap().contains("Operation not permitted"), "{valid}"),
        }
        assert_eq!(of("elf-rules")["result"], "skipped");
        assert_eq!(of("loads")["result"], "success");
    }
}

#[test]
fn a_script_runs_in_the_program_as_it_is() {
    let Some(libraries) = python_libraries() else { return };
    let lab = Lab::new();
    let interpreter = interpreter_with_kit(&lab, &libraries);
    lab.write("my_idea.py", example("my_idea.py"));
    lab.write("far_apart.py", example("far_apart.py"));
    let scripts = ["initial.strategy=far_apart.py", "query.strategy=my_idea.py", "query.params.temperature=2.5"];
    run_with(&lab, &interpreter, "first", &scripts)
        .exits(0)
        .says("`far-apart` chose 10 images")
        .says("`my-idea` chose");
    run_with(&lab, &interpreter, "again", &scripts).exits(0);
    assert_eq!(results(&lab.path("first")), results(&lab.path("again")));
    let config = std::fs::read_to_string(lab.path("first/config.toml")).unwrap();
    assert!(config.contains("my_idea.py") && config.contains("temperature = 2.5"), "{config}");
    for temperature in ["0", "\"hot\""] {
        let wrong = format!("query.params.temperature={temperature}");
        run_with(&lab, &interpreter, "none", &[&scripts[..2], &[&wrong]].concat())
            .exits(2)
            .says_one_problem()
            .says("P013")
            .says("`temperature` must be");
    }
}

#[test]
fn a_port_to_rust_draws_the_same() {
    let Some(libraries) = python_libraries() else { return };
    let lab = Lab::new();
    let interpreter = interpreter_with_kit(&lab, &libraries);
    lab.write("drawn.py", RANDOM);
    for (out, strategy) in [("script", "drawn.py"), ("library", "random")] {
        let (initial, query) = (format!("initial.strategy={strategy}"), format!("query.strategy={strategy}"));
        run_with(&lab, &interpreter, out, &[&initial, &query]).exits(0);
    }
    assert_eq!(results(&lab.path("script")), results(&lab.path("library")));
}

#[test]
fn a_script_that_fails_ends_as_a_named_error() {
    let Some(libraries) = python_libraries() else { return };
    let lab = Lab::new();
    let interpreter = interpreter_with_kit(&lab, &libraries);
    for (body, code, words) in [
        ("return [][3]", "P016", "IndexError: list index out of range"),
        ("from coldstart_strategy import Error; raise Error('too hot')", "P015", "too hot"),
        ("return request.unlabelled", "P018", "10 were asked for"),
        ("return host.predict(request.unlabelled).logits()", "P010", "model.predict/1"),
        ("import os; os._exit(0)", "P020", ""),
        ("open('/etc/passwd').read()", "P016", "PermissionError"),
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "P016", "PermissionError"),
    ] {
        lab.write("wrong.py", format!("def select(request, host):\n    {body}\n"));
        let ran = run_with(&lab, &interpreter, code, &["initial.strategy=wrong.py"]);
        ran.exits(3).says_one_problem().says(code).says(words);
        _ = std::fs::remove_dir_all(lab.path(code));
    }
    lab.write("wrong.py", "# /// coldstart\n# nmae = 'x'\n# ///\n");
    let ran = run_with(&lab, &interpreter, "none", &["initial.strategy=wrong.py"]);
    ran.says_one_problem().says("P012").says("line 2").says("did you mean `name`?");
}

/// Classes that the model is asked for before their labels come: what a sizer is told, what lies in the run's folder, and what a run
/// that goes on is told are the same.
#[test]
fn what_the_model_said_before_labels_came_is_kept() {
    let Some(libraries) = python_libraries() else { return };
    let lab = Lab::new();
    let interpreter = interpreter_with_kit(&lab, &libraries);
    let run = |out: &str, rounds: &str| {
        let sizer = "initial.sizer={ strategy = \"listens.py\", least = 10, most = 100 }";
        run_with(&lab, &interpreter, out, &["initial.size=auto", sizer, rounds]).exits(0);
    };
    lab.write(
        "listens.py",
        "# /// coldstart\n# roles = [\"sizer\"]\n# needs = [\"prequential.get/1\", \"run.info/1\"]\n# ///\n\
         from coldstart_strategy import Sizing\n\
         def size(request, bounds, host):\n\
         \x20   told, last = host.prequential(), host.prequential(1)\n\
         \x20   run = host.run()\n\
         \x20   reason = f'{run.query.name} {run.query.criterion} {run.learner.name} {run.learner.frozen} {run.query_size}'\n\
         \x20   return Sizing.go_on(request, reason).also(told=len(told.ids), right=int(told.right().sum()),\n\
         \x20       last=len(last.ids), ids=int(told.ids.sum()), of=int(last.rounds.max(initial=0)))\n",
    );
    run("run", "query.rounds=5");
    let rows = |run: &str, round: usize| -> Vec<[u64; 3]> {
        let Ok(table) = std::fs::read_to_string(lab.path(&format!("{run}/rounds/{round:03}/prequential.csv"))) else {
            return Vec::new();
        };
        let row = |row: &str| -> [u64; 3] {
            row.split(',').map(|cell| cell.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap()
        };
        table.lines().skip(1).map(row).collect()
    };
    assert!(rows("run", 0).is_empty() && rows("run", 1).len() == 5);
    let mut so_far: Vec<[u64; 3]> = Vec::new();
    for round in 0..6 {
        let sizing = std::fs::read(lab.path(&format!("run/rounds/{round:03}/sizing.json"))).unwrap();
        let sizing: serde_json::Value = serde_json::from_slice(&sizing).unwrap();
        let said = &sizing["said"][0];
        let right = so_far.iter().filter(|[_, predicted, label]| predicted == label).count();
        let ids: u64 = so_far.iter().map(|[id, ..]| id).sum();
        let measure = |name: &str| said["measures"][name].as_f64().unwrap();
        assert_eq!(measure("told"), so_far.len() as f64, "round {round}");
        assert_eq!((measure("right"), measure("ids")), (right as f64, ids as f64), "round {round}");
        let (last, of) = if round < 2 { (0.0, 0.0) } else { (5.0, round as f64 - 1.0) };
        assert_eq!((measure("last"), measure("of")), (last, of), "round {round}");
        assert_eq!(said["reason"], "entropy uncertainty supervised False 5");
        so_far.extend(rows("run", round));
    }
    run("cut", "query.rounds=2");
    let mut resume = lab.command(&["resume", "cut", "--allow-unsigned", "--rounds", "5"]);
    Ran::of(resume.env("PATH", path_with(&interpreter)).output().unwrap()).exits(0);
    assert_eq!(results(&lab.path("cut")), results(&lab.path("run")));
}

/// A script may say in its manifest what it goes by, and sizers hear of it.
#[test]
fn a_scripts_criterion_reaches_the_sizer() {
    let Some(libraries) = python_libraries() else { return };
    let lab = Lab::new();
    let interpreter = interpreter_with_kit(&lab, &libraries);
    let script = "def select(request, host):\n    return request.unlabelled[: request.budget]\n";
    lab.write("plain.py", script);
    lab.write("flat.py", format!("# /// coldstart\n# criterion = \"uncertainty\"\n# ///\n{script}"));
    for (query, wanted) in [("plain", 20), ("flat", 60)] {
        let settings =
            [&format!("query.strategy={query}.py"), "initial.advisers=[{ strategy = \"images-per-class\" }]"];
        run_with(&lab, &interpreter, query, &settings)
            .exits(0)
            .says(&format!("`images-per-class` wants {wanted} images"));
    }
    lab.write("wrong.py", "# /// coldstart\n# criterion = \"Flat doubt\"\n# ///\n");
    run_with(&lab, &interpreter, "none", &["query.strategy=wrong.py"]).exits(3).says("P012").says("`criterion`");
    lab.write("both.py", "# /// coldstart\n# roles = [\"sizer\", \"query\"]\n# ///\n");
    run_with(&lab, &interpreter, "none", &["query.strategy=both.py"]).exits(3).says("`sizer` beside another role");
}
