//! For authors of strategies: make a crate, build it for other systems, check what came out.
//!
//! Checking runs a plugin's code, but never in the process that was asked: each case has a child process of its own, which
//! shuts itself in as a worker does, with a time limit.

mod build;
mod check;
mod error;
mod new;

pub use build::{BuildOrder, Built, build};
pub use check::{Case, Level, Order, Outcome, Report, Row, as_check, cases, check};
pub use error::WorkshopError;
pub use new::{NewCrate, create};
