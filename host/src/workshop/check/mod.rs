//! Checking a plugin: a table of cases, each in a fresh process that has shut itself in as a worker does.
//!
//! The cases are those of a host's demands, in four levels: what the file says (`static`), loading it (`load`), calling
//! it with a pretended host (`conform`), and calling it at random (`fuzz`). A level includes those before it. What a case
//! finds is reported, never repaired.

mod calls;
mod child;
mod determinism;
mod faults;
mod fuzz;
mod load;
mod outcome;
mod pools;
mod report;
mod states;
mod statics;
mod subject;

pub use child::as_check;
pub use outcome::Outcome;
pub use report::{Report, Row, check};

use crate::nearest::nearest;
use crate::workshop::WorkshopError;
use outcome::Tried;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use subject::Subject;

/// How far a check goes; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Read the file; none of its code runs.
    Static,
    /// Load it.
    Load,
    /// Call it with a pretended host.
    Conform,
    /// Call it at random.
    Fuzz,
}

impl Level {
    /// Every level, in order.
    pub const ALL: [Level; 4] = [Level::Static, Level::Load, Level::Conform, Level::Fuzz];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Level::Static => "static",
            Level::Load => "load",
            Level::Conform => "conform",
            Level::Fuzz => "fuzz",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        let names = Level::ALL.map(Level::name).join(", ");
        let found = Level::ALL.into_iter().find(|level| level.name() == text);
        found.ok_or_else(|| format!("there is no level `{text}`; the levels are {names}"))
    }
}

/// Something that a plugin must fulfil.
pub struct Case {
    /// Its name, kebab-case.
    pub name: &'static str,
    /// The level that it belongs to.
    pub level: Level,
    /// A paragraph on what is demanded, and why.
    pub about: &'static str,
    /// Without it nothing of a later level can be tried.
    gate: bool,
    run: fn(&Subject) -> Tried,
}

/// Every case, level by level.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    let tables: [&'static [Case]; 8] = [
        &statics::CASES,
        &load::CASES,
        &calls::CASES,
        &pools::CASES,
        &faults::CASES,
        &states::CASES,
        &determinism::CASES,
        &fuzz::CASES,
    ];
    tables.into_iter().flatten()
}

/// The case of this name; errs with the nearest one.
fn named(name: &str) -> Result<&'static Case, WorkshopError> {
    cases().find(|case| case.name == name).ok_or_else(|| {
        let hint = match nearest(name, cases().map(|case| case.name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`coldstart plugin check --list` shows the cases".to_owned(),
        };
        WorkshopError::Usage(format!("there is no case `{name}`"), hint)
    })
}

/// What is to be checked, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// The library or script; an absolute path.
    pub file: PathBuf,
    /// The package that it was taken out of.
    pub package: Option<PathBuf>,
    /// How far to go.
    pub level: Level,
    /// Only this case, whatever its level.
    pub case: Option<String>,
    /// Parameters; what is absent takes its default.
    pub params: Map<String, Value>,
    /// What pretended hosts and random requests are drawn from.
    pub seed: u64,
    /// How many random requests a case of the level `fuzz` makes.
    pub count: u64,
    /// How long a case may take.
    pub timeout: Duration,
    /// Run none of its code where the system cannot shut it in completely.
    pub strict: bool,
}

#[cfg(test)]
mod tests;
