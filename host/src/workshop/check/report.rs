//! A whole check: the cases in order, and what came of them.

use super::child::{self, SHUT_IN, Told};
use super::outcome::{Outcome, Verdict, skipped};
use super::subject::Subject;
use super::{Case, Level, Order, cases, determinism, load, named};
use crate::plugin::Manifest;
use crate::workshop::WorkshopError;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What a check found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The library.
    pub file: PathBuf,
    /// `sha256:` and the hash of the library.
    pub sha256: String,
    /// What it says of itself, if that can be read.
    pub manifest: Option<Manifest>,
    /// How well it was shut in while its code ran: `full`, `partial` or `no-landlock`; empty if none of it ran.
    pub confinement: String,
    /// Why none of its code was run, if it could not be shut in as it should.
    pub refused: Option<String>,
    /// The seed of pretended hosts and random requests.
    pub seed: u64,
    /// The worst of all results.
    pub result: Outcome,
    /// A row for each case, in order.
    pub cases: Vec<Row>,
}

/// One case.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub case: &'static str,
    /// Its level.
    pub level: &'static str,
    /// What came of it.
    pub result: Outcome,
    /// More, or empty.
    pub detail: String,
    /// What is demanded.
    pub about: &'static str,
    /// How long it took.
    pub seconds: f64,
}

/// Check a plugin; `said` is told each row as soon as it is known.
///
/// Errs if the file cannot be read or there is no such case; what is wrong with the plugin stands in the report.
pub fn check(order: &Order, said: &(dyn Fn(&Row) + Sync)) -> Result<Report, WorkshopError> {
    let wanted: Vec<&'static Case> = match &order.case {
        Some(name) => vec![named(name)?],
        None => cases().filter(|case| case.level <= order.level).collect(),
    };
    let subject = Subject::open(order.clone(), None).map_err(|error| WorkshopError::file(&order.file, &error))?;
    let mut rows = Vec::new();
    let (mut confinement, mut weak) = (String::new(), None);
    for level in Level::ALL {
        // Nothing of it is run before it is known how well it is shut in.
        if level == Level::Load && wanted.iter().any(|case| case.level >= level) && closed_gate(&rows).is_none() {
            let Told { verdict, confinement: known } = child::run(order, SHUT_IN, None, 1);
            weak = (verdict.result != Outcome::Success).then_some(verdict);
            confinement = known;
        }
        let of_level: Vec<&'static Case> = wanted.iter().copied().filter(|case| case.level == level).collect();
        // What stands in the way is found first: the rest of its level, and every later one, would only repeat it.
        for gate in [true, false] {
            let closed = closed_gate(&rows);
            let cases: Vec<&'static Case> = of_level.iter().copied().filter(|case| case.gate == gate).collect();
            rows.extend(side_by_side(&cases, |case| match (&closed, &weak) {
                (Some(closed), _) if level > Level::Static => {
                    row(case, said, || skipped(format!("not tried, because `{closed}` does not hold")))
                }
                (None, Some(weak)) => row(case, said, || weak.clone()),
                _ => row(case, said, || tried(order, case, &subject)),
            }));
        }
    }
    rows.sort_by_key(|row| cases().position(|case| case.name == row.case));
    let digest: String = Sha256::digest(&subject.bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Report {
        file: order.file.clone(),
        sha256: format!("sha256:{digest}"),
        manifest: subject.manifest().ok(),
        refused: weak.map(|weak| weak.detail),
        confinement,
        seed: order.seed,
        result: rows.iter().map(|row| row.result).max().unwrap_or(Outcome::Success),
        cases: rows,
    })
}

/// What came of a case: in one process, or held against what others tell.
fn tried(order: &Order, case: &Case, subject: &Subject) -> Verdict {
    let beside = load::BESIDE_ANOTHER.contains(&case.name);
    let other = beside.then(|| load::another(&subject.manifest().ok()?)).flatten();
    let verdict = child::run(order, case.name, other, 1).verdict;
    let compared = determinism::COMPARED.iter().find(|(name, _)| *name == case.name);
    match compared {
        Some((_, compare)) if verdict.result == Outcome::Success => compare(order, &verdict.detail).into(),
        _ => verdict,
    }
}

/// A case without which nothing later can be tried, and that does not hold.
fn closed_gate(rows: &[Row]) -> Option<&'static str> {
    let gates: Vec<&str> = cases().filter(|case| case.gate).map(|case| case.name).collect();
    let closed = rows.iter().find(|row| row.result >= Outcome::Failed && gates.contains(&row.case));
    closed.map(|row| row.case)
}

fn row(case: &'static Case, said: &(dyn Fn(&Row) + Sync), run: impl FnOnce() -> Verdict) -> Row {
    let start = Instant::now();
    let Verdict { result, detail } = run();
    let seconds = start.elapsed().as_secs_f64();
    let row = Row { case: case.name, level: case.level.name(), result, detail, about: case.about, seconds };
    said(&row);
    row
}

/// As many cases at a time as there are cores, at most four; the rows in the order of the cases.
fn side_by_side(cases: &[&'static Case], run: impl Fn(&'static Case) -> Row + Sync) -> Vec<Row> {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..n_threads.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = run(case);
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
                }
            });
        }
    });
    rows.into_inner().unwrap_or_else(PoisonError::into_inner)
}
