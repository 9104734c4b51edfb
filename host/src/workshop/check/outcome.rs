//! What came of a case.

use crate::plugin::PluginError;
use serde::{Deserialize, Serialize};

/// What came of a case, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It holds.
    Success,
    /// It could not be tried; the detail says why.
    Skipped,
    /// It holds, but something should be looked at.
    Warning,
    /// It does not hold, or took too long.
    Failed,
    /// The process died.
    Crashed,
}

impl Outcome {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Skipped => "skipped",
            Outcome::Warning => "warning",
            Outcome::Failed => "failed",
            Outcome::Crashed => "crashed",
        }
    }
}

/// A finding: what came of a case, in a sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub result: Outcome,
    pub detail: String,
}

/// A case's own end: a detail (or nothing to say) where it holds, else the verdict.
pub type Tried = Result<String, Verdict>;

/// It does not hold.
pub fn failed(detail: impl Into<String>) -> Verdict {
    Verdict { result: Outcome::Failed, detail: detail.into() }
}

/// It could not be tried.
pub fn skipped(detail: impl Into<String>) -> Verdict {
    Verdict { result: Outcome::Skipped, detail: detail.into() }
}

/// It holds, but.
pub fn warning(detail: impl Into<String>) -> Verdict {
    Verdict { result: Outcome::Warning, detail: detail.into() }
}

/// Fail with this sentence unless it holds.
pub fn demand(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Verdict> {
    if holds { Ok(()) } else { Err(failed(otherwise())) }
}

impl From<PluginError> for Verdict {
    fn from(error: PluginError) -> Verdict {
        failed(error.to_string())
    }
}

impl From<std::io::Error> for Verdict {
    fn from(error: std::io::Error) -> Verdict {
        skipped(format!("this system does not let it be tried: {error}"))
    }
}

impl From<Tried> for Verdict {
    fn from(tried: Tried) -> Verdict {
        tried.map_or_else(|verdict| verdict, |detail| Verdict { result: Outcome::Success, detail })
    }
}
