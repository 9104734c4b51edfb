//! A learner of the user's own: a script in Python that trains the task model in a process of its own.
//!
//! The script is read once, and held against the user's leave by its hash; the bytes that were judged are the bytes that run.
//! The process speaks frames over a socket as strategies in Python do. It is not shut in unless the config asks for that: the
//! code is the user's, and has the user's files and the GPU.
//!
//! This room knows no torch, no data set and no loop: images come as bytes, answers are checked numbers.

mod answers;
mod ask;
mod error;
mod frames;
mod leave;
mod log;
mod process;
mod script;

pub use answers::{Numbers, most_different};
pub use ask::{Fit, Fitted, Question};
pub use error::{CODES, LearnerCode, LearnerError};
pub use frames::{Setting, understand};
pub use leave::{Leave, Leaves};
pub use process::{Ear, Part, Process, Start};
pub use script::Script;
