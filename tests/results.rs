//! What `configs/results` says: every statistic recomputed with other tools, every table made again to the byte.

use coldstart_tests::{Ran, repository};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Whether there is a Python with the libraries that make tables; said aloud where there is none.
fn has_statistics() -> bool {
    let has = Command::new("python3").args(["-c", "import numpy, scipy, statsmodels"]).output();
    let found = has.is_ok_and(|has| has.status.success());
    if !found {
        eprintln!("skipped: there is no python3 with numpy, scipy and statsmodels");
    }
    found
}

fn results() -> PathBuf {
    repository().join("configs/results")
}

fn script(file: &str, args: &[&str]) -> Ran {
    let output = Command::new("python3").arg("-B").arg(repository().join(file)).args(args).output();
    Ran::of(output.expect("python3 was there before"))
}

/// A copy of the files of a study's results.
fn copy_of(study: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(results().join(study)).unwrap().flatten() {
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

#[test]
fn every_statistic_is_that_of_scipy_and_statsmodels() {
    if !has_statistics() {
        return;
    }
    let folders: Vec<PathBuf> = fs::read_dir(results()).unwrap().flatten().map(|entry| entry.path()).collect();
    let folders: Vec<&str> = folders.iter().filter(|path| path.is_dir()).filter_map(|path| path.to_str()).collect();
    let ran = script("tests/statistics.py", &folders);
    ran.exits(0);
    for table in ["first-query/differences.csv", "initial-size-convnet/ranking.csv", "initial-size/regrets.csv"] {
        assert!(ran.stdout.contains(table), "{}", ran.stdout);
    }
}

/// The tables that are held against others, each with a number that is changed in its last row.
#[test]
fn a_statistic_that_is_off_is_found() {
    if !has_statistics() {
        return;
    }
    for (study, table, column) in [
        ("initial-size", "regrets.csv", "regret ±"),
        ("first-query", "differences.csv", "p, Holm"),
        ("initial-size-convnet", "ranking.csv", "accuracy, half width"),
    ] {
        let copy = copy_of(study);
        change_last_row(&copy.path().join(table), column);
        script("tests/statistics.py", &[copy.path().to_str().unwrap()]).exits(1).says(&format!("`{column}` is"));
    }
}

/// Add 0.01 to a number.
fn change_last_row(file: &Path, column: &str) {
    let mut reader = csv::Reader::from_path(file).unwrap();
    let header = reader.headers().unwrap().clone();
    let at = header.iter().position(|name| name == column).unwrap();
    let mut rows: Vec<Vec<String>> =
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    let cell = &mut rows.last_mut().unwrap()[at];
    *cell = (cell.parse::<f64>().unwrap() + 0.01).to_string();
    let mut writer = csv::Writer::from_path(file).unwrap();
    writer.write_record(&header).unwrap();
    rows.iter().for_each(|row| writer.write_record(row).unwrap());
    writer.flush().unwrap();
}

/// How the tables of a study follow from what its runs reached.
struct Made {
    study: &'static str,
    script: &'static str,
    args: &'static [&'static str],
    tables: &'static [&'static str],
}

const MADE: &[Made] = &[
    Made {
        study: "initial-size",
        script: "configs/regret.py",
        args: &[],
        tables: &["regrets.csv", "by-set.csv", "regrets.svg"],
    },
    Made {
        study: "first-set",
        script: "configs/paired.py",
        args: &["--baseline", "random", "--at", "1", "2", "5", "10"],
        tables: &["differences.csv", "differences.svg"],
    },
    Made {
        study: "first-query",
        script: "configs/paired.py",
        args: &["--baseline", "random", "--at", "2", "5", "10"],
        tables: &["differences.csv", "differences.svg"],
    },
    Made {
        study: "from-scratch",
        script: "configs/paired.py",
        args: &["--baseline", "random", "--at", "1", "2", "5", "10"],
        tables: &["differences.csv", "differences.svg"],
    },
    Made {
        study: "query-strategies",
        script: "configs/paired.py",
        args: &["--baseline", "random", "--at", "2", "3", "5", "10"],
        tables: &["differences.csv", "differences.svg"],
    },
    Made {
        study: "without-pretraining",
        script: "configs/paired.py",
        args: &["--baseline", "random, then random", "--at", "1", "2", "3", "5", "10"],
        tables: &["differences.csv", "differences.svg"],
    },
];

#[test]
fn tables_are_made_again_to_the_byte() {
    if !has_statistics() {
        return;
    }
    for made in MADE {
        let copy = copy_of(made.study);
        for table in made.tables {
            fs::remove_file(copy.path().join(table)).unwrap();
        }
        script(made.script, &[made.args, &["--out", copy.path().to_str().unwrap()]].concat()).exits(0);
        for table in made.tables {
            let kept = fs::read(results().join(made.study).join(table)).unwrap();
            let again = fs::read(copy.path().join(table)).unwrap();
            assert!(kept == again, "{}: {table} is another one", made.study);
        }
    }
}

/// A study of two arms that was done with these seeds, as `sweep` leaves one.
fn a_study(seeds: &[u32]) -> TempDir {
    let study = tempfile::tempdir().unwrap();
    let mut plan = String::from("run,arm,seed\n");
    for (arm, accuracy) in [("random", 0.5), ("margin", 0.6)] {
        for seed in seeds {
            plan += &format!("{arm}-{seed},{arm},{seed}\n");
            let run = study.path().join("runs").join(format!("{arm}-{seed}"));
            fs::create_dir_all(&run).unwrap();
            let accuracy = accuracy * (1.0 + f64::from(*seed) / 100.0);
            fs::write(run.join("results.csv"), format!("labels,accuracy\n2,{accuracy}\n")).unwrap();
            fs::write(run.join("environment.json"), r#"{ "dataset": { "classes": ["ant", "bee"] } }"#).unwrap();
        }
    }
    fs::write(study.path().join("plan.csv"), plan).unwrap();
    study
}

/// The table of a study of which these parts were done, one after the other.
fn table_of_parts(parts: &[&[u32]]) -> String {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    for seeds in parts {
        let study = a_study(seeds);
        // The data set is called as the study is, so all parts need one name.
        let study = format!("ants={}", study.path().display());
        script("configs/paired.py", &[&study, "--baseline", "random", "--at", "1", "--out", folder, "--add"]).exits(0);
    }
    fs::read_to_string(out.path().join("differences.csv")).unwrap()
}

#[test]
fn a_study_done_in_parts_has_the_table_of_the_whole() {
    if !has_statistics() {
        return;
    }
    let whole = table_of_parts(&[&[1, 2, 3, 4, 5]]);
    assert!(whole.contains(",5,"), "{whole}");
    assert_eq!(table_of_parts(&[&[1, 2, 3], &[4, 5]]), whole);
    // A part that is done again replaces itself.
    assert_eq!(table_of_parts(&[&[1, 2, 3], &[4, 5], &[3, 4]]), whole);
}
