//! Studies in a laboratory.

use crate::{Lab, Ran, TINY, files_under, results};
use std::collections::BTreeMap;

/// A laboratory with `sweep.toml`: the smallest experiment, and this table.
pub fn study_lab(sweep: &str) -> Lab {
    let lab = Lab::new();
    lab.write("sweep.toml", format!("{TINY}{sweep}"));
    lab
}

/// `coldstart sweep sweep.toml --out study ...`.
pub fn sweep(lab: &Lab, args: &[&str]) -> Ran {
    lab.coldstart(&[&["sweep", "sweep.toml", "--out", "study"], args].concat())
}

/// The rows of the plan: the run's name, and what the axes have.
pub fn plan(lab: &Lab) -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(lab.path("study/plan.csv")).unwrap();
    let row = |line: &str| {
        let mut fields = line.split(',').map(str::to_owned);
        let run = fields.next().unwrap();
        (run, fields.skip(1).collect())
    };
    text.lines().skip(1).map(row).collect()
}

/// What must not depend on how the study came about: the tables, and the numbers of every run.
pub fn outcome(lab: &Lab) -> BTreeMap<String, Vec<u8>> {
    let study = lab.path("study");
    let tables = files_under(&study.join("tables")).into_iter();
    let mut all: BTreeMap<String, Vec<u8>> = tables
        .map(|file| (file.strip_prefix(&study).unwrap().display().to_string(), std::fs::read(&file).unwrap()))
        .collect();
    for (run, _) in plan(lab) {
        all.extend(
            results(&study.join("runs").join(&run)).into_iter().map(|(file, bytes)| (format!("{run}/{file}"), bytes)),
        );
    }
    all
}
