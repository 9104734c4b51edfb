//! Where a run computes: the device's line, threads, a GPU that cannot be used, and the bundle for a machine that has one.

use coldstart_tests::{Lab, Ran, repository};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn cores() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

/// Threads and device that a run's environment names.
fn environment(lab: &Lab, run: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(lab.path(&format!("{run}/environment.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[track_caller]
fn first_line(ran: &Ran) -> &str {
    ran.stderr.lines().next().unwrap_or_default()
}

#[test]
fn the_first_line_of_a_run_names_device_and_threads() {
    let lab = Lab::new();
    let ran = lab.run("one", &["query.rounds=1"]);
    ran.exits(0);
    let line = first_line(&ran);
    let core = if cores() == 1 { "1 core".to_owned() } else { format!("{} cores", cores()) };
    assert!(line.starts_with("device cpu (") && line.ends_with(&format!(", {core}), 1 thread")), "{}", ran.stderr);
    // A run that lacks its last line is gone on with.
    let journal = std::fs::read_to_string(lab.path("one/journal.jsonl")).unwrap();
    let (unfinished, _) = journal.trim_end().rsplit_once('\n').unwrap();
    lab.write("one/journal.jsonl", format!("{unfinished}\n"));
    let again = lab.coldstart(&["resume", "one"]);
    assert!(again.exits(0).stderr.contains(line), "{}", again.stderr);
    let quiet = lab.coldstart(&["run", "tiny.toml", "--quiet", "--out", "quiet", "-s", "query.rounds=0"]);
    assert_eq!(quiet.exits(0).stderr, "");
}

#[test]
fn more_threads_than_cores_are_warned_about() {
    let lab = Lab::new();
    let (all, more) = (cores(), cores() + 1);
    for (threads, warned) in [(1, false), (all, false), (more, true)] {
        let out = format!("threads-{threads}");
        let ran = lab.run(&out, &["query.rounds=0", &format!("threads={threads}")]);
        let warning = format!("{threads} threads are more than the {all} core");
        assert_eq!(ran.exits(0).stderr.contains(&warning), warned, "{}", ran.stderr);
        assert_eq!(environment(&lab, &out)["threads"], threads);
    }
    // What no machine has is a mistake in the config.
    lab.run("absurd", &["threads=100000"]).exits(2).says("threads").says("at most 1024");
}

#[test]
fn more_runs_side_by_side_than_cores_are_warned_about() {
    let lab = Lab::new();
    let jobs = (cores() + 1).to_string();
    let tiny = std::fs::read_to_string(lab.path("tiny.toml")).unwrap();
    lab.write("study.toml", format!("{tiny}[sweep]\nseed = [1, 2]\n"));
    let warning = format!("{jobs} runs side by side have {jobs} threads, more than the {} cores", cores());
    for (out, jobs, warned) in [("alone", "1", false), ("many", &jobs, true)] {
        let ran = lab.coldstart(&["sweep", "study.toml", "--out", out, "--jobs", jobs, "-s", "query.rounds=0"]);
        assert_eq!(ran.exits(0).stderr.contains(&warning), warned, "{}", ran.stderr);
    }
}

/// Pinned to one core, a process may not use more, whatever the machine has. A quota of a control group counts the same way, and
/// is not made here.
#[test]
fn an_affinity_counts_as_a_limit() {
    if Command::new("taskset").arg("--version").output().is_err() {
        eprintln!("skipped: there is no taskset");
        return;
    }
    let lab = Lab::new();
    let program = lab.command(&[]);
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "0"]).arg(program.get_program()).current_dir(lab.path("."));
    pinned.args(["run", "tiny.toml", "--out", "pinned", "-s", "threads=2", "-s", "query.rounds=0"]);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => pinned.env(name, value),
            None => pinned.env_remove(name),
        };
    }
    let ran = Ran::of(pinned.output().unwrap());
    ran.exits(0).says("2 threads are more than the 1 core that this process may use").says("1 core), 2 threads");
}

/// The number of threads that the program chose is recorded, is what the run goes on with, and gives the same numbers as asking
/// for it.
#[test]
fn a_small_training_takes_one_thread_and_a_large_one_all_cores() {
    let lab = Lab::new();
    let network = |width: usize| format!("model={{ backbone = \"convnet\", width = {width} }}");
    let few = ["query.rounds=0", "training.epochs=1", "training.min_steps=1"];
    for (width, expected) in [(4, 1), (64, cores())] {
        let (out, model) = (format!("width-{width}"), network(width));
        let sets: Vec<&str> = few.iter().copied().chain(["threads=0", &model]).collect();
        lab.run(&out, &sets).exits(0);
        assert_eq!(environment(&lab, &out)["threads"], expected, "width {width}");
    }
    let model = network(4);
    let said: Vec<&str> = few.iter().copied().chain(["threads=1", &model]).collect();
    lab.run("said", &said).exits(0);
    let results = |run: &str| std::fs::read_to_string(lab.path(&format!("{run}/results.csv"))).unwrap();
    assert_eq!(results("said"), results("width-4"));
}

/// Whoever has a GPU that cannot be used hears of it, and of what is missing; whoever asks for the CPU does not.
#[test]
fn a_gpu_that_cannot_be_used_is_said_aloud() {
    let lab = Lab::new();
    let bin = lab.path("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("nvidia-smi"), "#!/bin/sh\nexit 9\n").unwrap();
    std::fs::set_permissions(bin.join("nvidia-smi"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let run = |out: &str, device: &str, shown: Option<&str>| {
        let mut command = lab.command(&["run", "tiny.toml", "--out", out, "--device", device, "-s", "query.rounds=0"]);
        command.env("PATH", &path);
        match shown {
            Some(shown) => command.env("CUDA_VISIBLE_DEVICES", shown),
            None => command.env_remove("CUDA_VISIBLE_DEVICES"),
        };
        Ran::of(command.output().unwrap())
    };
    let aloud = run("aloud", "auto", None);
    if first_line(&aloud).contains("cuda") {
        eprintln!("skipped: there is a GPU that can be used");
        return;
    }
    aloud.exits(0).says("there seems to be a GPU").says("but the CPU is used").says("--device cpu");
    for (out, device, shown) in [("asked", "cpu", None), ("hidden", "auto", Some(""))] {
        let ran = run(out, device, shown);
        assert!(!ran.exits(0).stderr.contains("GPU"), "{}", ran.stderr);
    }
}

/// The bundle is one archive with a folder in it; a limit that it does not keep is an error, and then there is none.
#[test]
fn the_bundle_is_one_small_archive() {
    for tool in ["xz", "strip", "bash"] {
        if Command::new(tool).arg("--version").output().is_err() {
            eprintln!("skipped: there is no {tool}");
            return;
        }
    }
    let lab = Lab::new();
    // Small programs in place of the built ones: what is tested is the script.
    let built = lab.path("built");
    std::fs::create_dir(&built).unwrap();
    let mut names = vec!["coldstart".to_owned()];
    for plugin in std::fs::read_dir(repository().join("plugins")).unwrap().flatten().filter(|p| p.path().is_dir()) {
        names.push(coldstart_tests::library_name(plugin.file_name().to_str().unwrap()));
    }
    for name in &names {
        std::fs::copy("/bin/true", built.join(name)).unwrap();
    }
    lab.write("data/cifar10/cifar10_jpeg.tar.gz", "images");
    let bundle = |limit: &str| {
        let mut command = Command::new("bash");
        command.arg(repository().join("host/benches/gpu/bundle.sh")).arg(lab.path("out/bundle.tar.xz"));
        command.env("BUILT", &built).env("COLDSTART_DATA", lab.path("data")).env("LIMIT", limit);
        Ran::of(command.output().unwrap())
    };
    let refused = bundle("0");
    refused.exits(1).says("are too many");
    assert!(!lab.path("out/bundle.tar.xz").exists());
    assert!(bundle("64").exits(0).stdout.contains("bundle.tar.xz: 0 MiB"));
    let listed = Command::new("tar").arg("-tf").arg(lab.path("out/bundle.tar.xz")).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let needed = ["run.sh", "target/release/coldstart", "data/cifar10/cifar10_jpeg.tar.gz", "configs/demo.toml"];
    for name in needed.into_iter().chain(["host/benches/beside/pytorch.py", "host/benches/moco/run.sh"]) {
        assert!(listed.lines().any(|line| line == format!("gpu-bundle/{name}")), "{name} in:\n{listed}");
    }
    assert_eq!(listed.lines().filter(|line| line.ends_with(".so")).count(), names.len() - 1);
}
