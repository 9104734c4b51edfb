//! The error of this room: a stable code, a sentence, a hint.

use crate::foreign;
use crate::limits::{MESSAGE, shortened};
use std::fmt;

/// A stable code: scripts and tests match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LearnerCode {
    /// The user has given no leave to run these bytes.
    NoLeave,
    /// The script cannot be read, or holds no learner.
    Script,
    /// Its process cannot be started, or not as it is asked for.
    Start,
    /// A strategy asks what it has no method for.
    Lacks,
    /// It raised an exception.
    Raised,
    /// It answered something of another shape or kind.
    Shape,
    /// It answered numbers that are none, or that are no probabilities.
    Numbers,
    /// It took too long.
    Timeout,
    /// Its process died, or spoke nonsense.
    Died,
    /// Trained twice in the same way, it answers differently.
    Differs,
    /// It is not the script that the run began with.
    Changed,
    /// The user stopped the program.
    Cancelled,
}

/// Every code with its number, its meaning in a few words, and what to do about it.
pub const CODES: [(LearnerCode, &str, &str, &str); 12] = [
    (LearnerCode::NoLeave, "L001", "no leave", "look at the script, and give it leave if you know what it does"),
    (LearnerCode::Script, "L002", "no learner", "a learner is a class `Learner` with `fit` and `predict`"),
    (
        LearnerCode::Start,
        "L003",
        "cannot be started",
        "a learner needs python3 with the package: python3 -m pip install ./python",
    ),
    (LearnerCode::Lacks, "L004", "cannot answer", "give the class the method, or choose another strategy"),
    (
        LearnerCode::Raised,
        "L005",
        "raised",
        "mend the script, and begin a new run: a run goes on with the script that it began with",
    ),
    (
        LearnerCode::Shape,
        "L006",
        "answered another shape",
        "the answer is an array with a row for each id, in their order",
    ),
    (
        LearnerCode::Numbers,
        "L007",
        "answered no such numbers",
        "probabilities are finite, not negative, and add up to 1 in each row",
    ),
    (LearnerCode::Timeout, "L008", "timed out", "raise `training.timeout`, in seconds, if it needs longer"),
    (LearnerCode::Died, "L009", "died", "the run can be resumed"),
    (
        LearnerCode::Differs,
        "L010",
        "not the same twice",
        "draw all chance from `seed`, keep nothing from an earlier `fit` unless `warm` is set, and ask libraries for deterministic kernels; \
         without `training.verify` a run that is resumed may differ from one that was not",
    ),
    (LearnerCode::Changed, "L011", "changed", "bring back the script that the run began with, or start a new run"),
    (LearnerCode::Cancelled, "L012", "cancelled", "the run can be resumed"),
];

impl LearnerCode {
    fn row(self) -> &'static (LearnerCode, &'static str, &'static str, &'static str) {
        // The table lists the codes in the order of the enum; a test holds it to that.
        &CODES[self as usize]
    }

    /// The code itself, such as `L001`.
    pub fn id(self) -> &'static str {
        self.row().1
    }

    /// What it means, in a few words.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        self.row().3
    }
}

/// A learner that cannot be run, or does not do what it must.
#[derive(Debug, Clone)]
pub struct LearnerError {
    /// Which kind of failure.
    pub code: LearnerCode,
    /// The script, as messages name it.
    pub learner: String,
    /// One sentence on what happened.
    pub message: String,
    /// What to do: the code's own hint, or a better one.
    pub hint: String,
}

impl LearnerError {
    /// An error with its code's hint. The sentence may be the script's: it is cut at [`MESSAGE`].
    pub fn new(code: LearnerCode, learner: impl Into<String>, message: impl Into<String>) -> LearnerError {
        let message = shortened(message.into(), MESSAGE.length());
        LearnerError { code, learner: learner.into(), message, hint: code.hint().to_owned() }
    }

    /// The same error with a better hint, cut as the sentence is.
    pub fn with_hint(mut self, hint: impl Into<String>) -> LearnerError {
        self.hint = shortened(foreign::line(&hint.into()).into_owned(), MESSAGE.length());
        self
    }
}

impl fmt::Display for LearnerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line feed of the script's begins no line of ours.
        let (learner, message) = (foreign::line(&self.learner), foreign::line(&self.message));
        write!(f, "{} {}: `{learner}`: {message}", self.code.id(), self.code.title())
    }
}

impl std::error::Error for LearnerError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_codes_and_the_documents_have_it() {
        let table = include_str!("../../../docs/guides/write-a-learner.md");
        for (i, (code, id, title, hint)) in CODES.into_iter().enumerate() {
            assert_eq!((code as usize, id), (i, format!("L{:03}", i + 1).as_str()));
            assert!(!hint.is_empty());
            assert!(
                table.contains(&format!("| {id} | {title} |")),
                "docs/guides/write-a-learner.md has no row for {id} {title}"
            );
        }
    }

    #[test]
    fn what_a_script_says_ends_no_line() {
        let error = LearnerError::new(LearnerCode::Raised, "x\ny.py", "ValueError: a\nb");
        assert_eq!(error.to_string(), "L005 raised: `x\\ny.py`: ValueError: a\\nb");
    }
}
