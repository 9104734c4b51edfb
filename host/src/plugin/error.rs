//! The error of this room: a stable code, a sentence, a hint.

use crate::foreign;
use crate::limits::{Excess, MESSAGE, shortened};
use std::fmt;

/// A stable code: scripts and tests match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PluginCode {
    /// No plugin of that name on the search path.
    NotFound,
    /// Several plugins answer to the name.
    Ambiguous,
    /// The name is there, but not in the version or role asked for.
    Unmet,
    /// Another file than the lock names.
    LockMismatch,
    /// The signature is missing, wrong or of an unknown signer.
    Signature,
    /// The file's bytes are not the ones announced.
    Checksum,
    /// Built for another machine.
    Machine,
    /// Needs a newer C library.
    Glibc,
    /// Not a plugin library, damaged, or with a property that a plugin must not have.
    Library,
    /// Needs an operation that this host does not offer.
    Operation,
    /// Built against another contract, or with another layout of its types.
    Layout,
    /// What it says when loaded differs from its manifest.
    Descriptor,
    /// The parameters do not fit the schema.
    Params,
    /// It could not be created.
    Create,
    /// It reported an error while choosing.
    Select,
    /// It panicked.
    Panicked,
    /// It panicked earlier and refuses further calls.
    Poisoned,
    /// It chose what it must not choose.
    Selection,
    /// It took too long.
    Timeout,
    /// Its worker process died.
    WorkerDied,
    /// It took or sent more than a limit allows.
    Limit,
}

/// Every code with its number, its meaning in a few words, and what to do about it.
pub const CODES: [(PluginCode, &str, &str, &str); 21] = [
    (PluginCode::NotFound, "P001", "not found", "`coldstart plugin list` shows the plugins on the search path"),
    (PluginCode::Ambiguous, "P002", "ambiguous name", "write `publisher/name`, or remove one of the files"),
    (
        PluginCode::Unmet,
        "P003",
        "version or role unmet",
        "ask for a version and a role that `coldstart plugin list` shows",
    ),
    (
        PluginCode::LockMismatch,
        "P004",
        "lock mismatch",
        "bring back the file that the run began with, or start a new run",
    ),
    (PluginCode::Signature, "P005", "signature missing, bad or untrusted", "get the file again from its author"),
    (
        PluginCode::Checksum,
        "P006",
        "content changed",
        "the file changed while it was in use: build or copy it again, then rerun",
    ),
    (PluginCode::Machine, "P007", "built for another machine", "build the plugin for this machine's target"),
    (
        PluginCode::Glibc,
        "P008",
        "C library too old",
        "build the plugin against an older glibc, or run on a newer system",
    ),
    (
        PluginCode::Library,
        "P009",
        "not a loadable plugin",
        "rebuild it as a `cdylib` with `export_plugin!`, against static dependencies only",
    ),
    (
        PluginCode::Operation,
        "P010",
        "unsupported operation",
        "use a newer host, or a strategy that does not need the operation in this round",
    ),
    (PluginCode::Layout, "P011", "incompatible contract", "rebuild the plugin against coldstart-plugin-api 1.x"),
    (PluginCode::Descriptor, "P012", "manifest lies", "do not use this file: it is not what it claims to be"),
    (PluginCode::Params, "P013", "bad params", "`coldstart plugin info NAME` shows the parameters"),
    (PluginCode::Create, "P014", "create failed", "check the parameters against the plugin's documentation"),
    (PluginCode::Select, "P015", "select failed", "the sentence is the plugin's own: ask its author"),
    (PluginCode::Panicked, "P016", "panicked", "this is a bug of the plugin: send its author the message"),
    (PluginCode::Poisoned, "P017", "poisoned", "resume the run: a new instance starts clean"),
    (
        PluginCode::Selection,
        "P018",
        "invalid selection",
        "this is a bug of the plugin: nothing was repaired, nothing was labelled",
    ),
    (PluginCode::Timeout, "P019", "timed out", "raise the limit, or ask the plugin's author"),
    (
        PluginCode::WorkerDied,
        "P020",
        "worker died",
        "the run can be resumed; with `run --record` its author gets a file to replay",
    ),
    (
        PluginCode::Limit,
        "P021",
        "passes its limits",
        "docs/reference/limits.md lists the limits; `plugins.memory` and `plugins.timeout` raise what depends on them",
    ),
];

impl PluginCode {
    fn row(self) -> &'static (PluginCode, &'static str, &'static str, &'static str) {
        // The table lists the codes in the order of the enum; a test holds it to that.
        &CODES[self as usize]
    }

    /// The code with this id, such as `P001`.
    pub fn of(id: &str) -> Option<PluginCode> {
        CODES.iter().find(|(_, known, ..)| *known == id).map(|(code, ..)| *code)
    }

    /// The code itself, such as `P001`.
    pub fn id(self) -> &'static str {
        self.row().1
    }

    /// What it means, in a few words.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// Whether the plugin's worker process is gone with it, so that a new one may go on. Whoever passes a limit would do so
    /// again.
    pub fn lost_the_worker(self) -> bool {
        matches!(self, PluginCode::Timeout | PluginCode::WorkerDied)
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        self.row().3
    }
}

/// A plugin that cannot be found, loaded or trusted with the run.
#[derive(Debug, Clone)]
pub struct PluginError {
    /// Which kind of failure.
    pub code: PluginCode,
    /// The plugin's name or file.
    pub plugin: String,
    /// One sentence on what happened.
    pub message: String,
    /// What to do: the code's own hint, or a better one.
    pub hint: String,
}

impl PluginError {
    /// An error with its code's hint. The sentence may be a stranger's: it is cut at [`MESSAGE`].
    pub fn new(code: PluginCode, plugin: impl Into<String>, message: impl Into<String>) -> PluginError {
        let message = shortened(message.into(), MESSAGE.length());
        PluginError { code, plugin: plugin.into(), message, hint: code.hint().to_owned() }
    }

    /// The same error with a better hint, cut as the sentence is.
    pub fn with_hint(mut self, hint: impl Into<String>) -> PluginError {
        self.hint = shortened(hint.into(), MESSAGE.length());
        self
    }

    /// A plugin that takes or sends more than a limit allows.
    pub fn limit(plugin: impl Into<String>, excess: Excess) -> PluginError {
        PluginError::new(PluginCode::Limit, plugin, excess.to_string())
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Plugins and files say both: a line feed of theirs begins no line of ours, wherever this is shown or kept.
        let (plugin, message) = (foreign::line(&self.plugin), foreign::line(&self.message));
        write!(f, "{} {}: `{plugin}`: {message}", self.code.id(), self.code.title())
    }
}

impl std::error::Error for PluginError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_says_ends_no_line() {
        let error = PluginError::new(PluginCode::Select, "x\ny", "no\n\u{1b}[2Jsigned by lab");
        assert_eq!(error.to_string(), "P015 select failed: `x\\ny`: no\\n\\u{1b}[2Jsigned by lab");
    }

    #[test]
    fn the_table_is_in_the_order_of_the_codes() {
        for (i, (code, id, title, hint)) in CODES.into_iter().enumerate() {
            assert_eq!(code as usize, i);
            assert_eq!(id, format!("P{:03}", i + 1));
            assert!(!title.is_empty() && !hint.is_empty());
        }
    }
}
