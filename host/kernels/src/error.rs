//! What a kernel refuses.

/// Why a kernel gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The question makes no sense: sizes that do not fit each other, too few points ...
    #[error("{0}")]
    Input(String),
    /// The caller wanted to stop.
    #[error("cancelled")]
    Cancelled,
}

/// The answer of a kernel.
pub type Result<T> = std::result::Result<T, Error>;

/// An [`Error::Input`] with this sentence.
pub(crate) fn bad<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Input(message.into()))
}
