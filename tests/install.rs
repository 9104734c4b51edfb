//! What `make install` and `make wheel` lay out, and results read in Python.

use coldstart_tests::{Lab, Ran, TINY, build_folder, files_under, has_tool, program, repository, study_lab, sweep};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An installation of the built program in `PREFIX`, with the libtorch that it was built with; or why there is none.
fn installed(lab: &Lab) -> Option<PathBuf> {
    if !has_tool("patchelf", &["--version"]) {
        eprintln!("skipped: patchelf is not installed");
        return None;
    }
    // Says so where the program is older than its sources.
    program();
    let prefix = lab.path("prefix");
    let mut install = Command::new(repository().join("host/setup/install.sh"));
    install.arg(&prefix).env("BUILT", build_folder());
    if std::env::var_os("LIBTORCH").is_none() {
        install.env("LIBTORCH", repository().join(".libtorch/torch"));
    }
    let ran = Ran::of(install.output().unwrap());
    assert!(ran.exits(0).stdout.starts_with("installed: "), "{}", ran.stdout);
    Some(prefix)
}

#[test]
fn an_installation_runs_from_a_folder_of_its_own() {
    let lab = Lab::new();
    let Some(prefix) = installed(&lab) else { return };
    let experiment = lab.write("tiny.toml", TINY);
    let home = lab.path("another-home");
    let mut run = Command::new(prefix.join("bin/coldstart"));
    run.args(["run", "--out", "run"]).arg(&experiment).current_dir(lab.path("")).env_clear().env("HOME", &home);
    Ran::of(run.output().unwrap()).exits(0);
    let lock = std::fs::read_to_string(lab.path("run/plugins.lock")).unwrap();
    let plugins = prefix.canonicalize().unwrap().join("lib/coldstart/plugins");
    let files: Vec<&str> = lock.lines().filter_map(|line| line.strip_prefix("file = \"")?.strip_suffix('"')).collect();
    assert_eq!(files.len(), 2, "{lock}");
    for file in files {
        let file = Path::new(file).canonicalize().unwrap();
        assert_eq!(file.parent().unwrap(), plugins, "this plugin is not the installation's");
    }
}

#[test]
fn an_installation_holds_what_comes_along_and_nothing_of_the_build() {
    let lab = Lab::new();
    let Some(prefix) = installed(&lab) else { return };
    let mut expected: Vec<String> = folders_of(&repository().join("plugins"))
        .iter()
        .map(|name| format!("libcoldstart_{}.so", name.replace('-', "_")))
        .collect();
    expected.sort();
    let mut plugins: Vec<String> =
        files_under(&prefix.join("lib/coldstart/plugins")).iter().map(|path| name(path)).collect();
    plugins.sort();
    assert_eq!(plugins, expected);

    for page in ["man/man1/coldstart.1", "bash-completion/completions/coldstart", "zsh/site-functions/_coldstart"] {
        assert!(prefix.join("share").join(page).is_file(), "{page} is missing");
    }

    let asked = Command::new("patchelf").arg("--print-rpath").arg(prefix.join("bin/coldstart")).output().unwrap();
    let rpath = String::from_utf8(asked.stdout).unwrap();
    assert!(!rpath.contains("$ORIGIN/../.."), "a folder that may be anybody's is searched for libraries: {rpath}");
}

#[test]
fn a_second_installation_replaces_the_first() {
    let lab = Lab::new();
    let Some(prefix) = installed(&lab) else { return };
    let old = prefix.join("lib/coldstart/plugins/libcoldstart_old.so");
    std::fs::write(&old, "of an older version").unwrap();
    let beside = prefix.join("bin/another-program");
    std::fs::write(&beside, "not ours").unwrap();
    installed(&lab);
    assert!(!old.exists(), "a plugin of an older version stays");
    assert!(beside.exists(), "what others installed is gone");
}

#[test]
fn the_package_has_the_version_of_the_program() {
    let project = std::fs::read_to_string(repository().join("python/program/pyproject.toml")).unwrap();
    let line = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(project.contains(&line), "python/program/pyproject.toml has no line {line}");
}

#[test]
fn results_of_a_study_are_read_in_python() {
    let lab = study_lab(
        "[sweep]\n\"initial.strategy\" = [\"random\", \"kmeans\"]\n\"initial.size\" = [10, 20]\nseed = [1, 2]\n",
    );
    lab.coldstart(&["run", "sweep.toml", "--unset", "sweep", "--out", "alone"]).exits(0);
    sweep(&lab, &["-s", "representation.method=pixels"]).exits(0);
    let script = r#"
import json, coldstart
rows = coldstart.rows("study")
print(json.dumps({"study": rows, "alone": coldstart.rows("alone"), "both": len(coldstart.rows(["study", "alone"]))}))
"#;
    let read = in_python(&lab, script).exits(0).json();
    let rows = read["study"].as_array().unwrap();
    // Eight runs of four rounds.
    assert_eq!(rows.len(), 32);
    for row in rows {
        let run = lab.path("study/runs").join(row["run"].as_str().unwrap());
        let line = line_of(&run.join("results.csv"), &row["round"]);
        let mut fields = line.split(',').skip(1);
        assert_eq!(fields.next().unwrap(), row["labels"].to_string());
        let accuracy: f64 = fields.nth(1).unwrap().parse().unwrap();
        assert_eq!(Some(accuracy), row["accuracy"].as_f64());
        assert!(row["initial.size"].is_u64() && row["seed"].is_u64() && row["initial.strategy"].is_string(), "{row}");
    }
    assert_eq!(read["alone"].as_array().unwrap().len(), 4);
    assert_eq!(read["both"], 36);
}

#[test]
fn what_is_no_run_is_refused_in_python() {
    let lab = Lab::new();
    lab.write("notes/todo.txt", "nothing");
    for (folder, kind, says) in [
        ("missing", "FileNotFoundError", "there is no folder missing"),
        ("notes", "ValueError", "neither a run nor a study"),
    ] {
        let script = format!("import coldstart; coldstart.rows({folder:?})");
        in_python(&lab, &script).exits(1).says(kind).says(says);
    }
    let script = "import coldstart; coldstart.report('notes')";
    in_python(&lab, script).exits(1).says("FileNotFoundError").says("coldstart report notes");
}

/// Run a script in the laboratory's folder, with the package as it is in the repository.
fn in_python(lab: &Lab, script: &str) -> Ran {
    let mut python = Command::new("python3");
    python.args(["-c", script]).current_dir(lab.path("")).env("PYTHONPATH", repository().join("python/program"));
    Ran::of(python.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap())
}

/// The row of a round in a CSV file whose first column is the round.
fn line_of(file: &Path, round: &serde_json::Value) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let begins = format!("{round},");
    text.lines().find(|line| line.starts_with(&begins)).unwrap().to_owned()
}

fn folders_of(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries.filter(|entry| entry.path().is_dir()).map(|entry| name(&entry.path())).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
