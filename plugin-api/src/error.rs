//! Errors as values: what an author returns and what the border carries.

use crate::{abi, wire};
use std::collections::BTreeMap;
use std::fmt;

/// The author's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed: an open set of numbers, the same on both sides of the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub i32);

impl Code {
    /// The user cancelled the run.
    pub const CANCELLED: Code = Code(1);
    /// The host does not offer the operation, or not now (no model is trained in round 0).
    pub const UNSUPPORTED: Code = Code(2);
    /// The parameters, arguments or state bytes are wrong.
    pub const BAD_PARAMS: Code = Code(3);
    /// The plugin panicked.
    pub const PANICKED: Code = Code(4);
    /// The instance panicked earlier and refuses further calls.
    pub const POISONED: Code = Code(5);
    /// Memory ran out.
    pub const OUT_OF_MEMORY: Code = Code(6);
    /// The host failed while it served an operation.
    pub const HOST: Code = Code(7);
    /// The strategy itself reports an error.
    pub const PLUGIN: Code = Code(100);
}

/// An error with a code, a sentence, and optional details (a backtrace, a JSON pointer).
///
/// Every `std::error::Error` turns into one with `?`.
#[derive(Clone)]
pub struct Error {
    /// What kind of failure.
    pub code: Code,
    /// One sentence for a person.
    pub message: String,
    /// More, by name: `backtrace`, `pointer`, `hint`.
    pub details: BTreeMap<String, String>,
}

impl Error {
    /// An error with a code and a sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), details: BTreeMap::new() }
    }

    /// The same error with one more detail.
    pub fn with(mut self, name: &str, detail: impl Into<String>) -> Error {
        self.details.insert(name.to_owned(), detail.into());
        self
    }

    /// The strategy's own error.
    pub fn plugin(message: impl Into<String>) -> Error {
        Error::new(Code::PLUGIN, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, self.code.0)
    }
}

// Error is no `std::error::Error` itself, so that this conversion from all of them can exist.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Error {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Error::plugin(message)
    }
}

impl From<Error> for abi::Fault {
    fn from(error: Error) -> abi::Fault {
        abi::Fault { code: error.code.0, message: error.message.into(), detail: wire::encode(&error.details).into() }
    }
}

impl From<abi::Fault> for Error {
    fn from(fault: abi::Fault) -> Error {
        Error {
            code: Code(fault.code),
            message: fault.message.into_string(),
            // A newer side may send what this one cannot read: the sentence is enough then.
            details: wire::decode(&fault.detail).unwrap_or_default(),
        }
    }
}
