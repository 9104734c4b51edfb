//! The host of Coldstart: images, the task model, the active-learning loop, and the strategies it loads by name.
//!
//! The rooms, in the order in which data flows through them; `ARCHITECTURE.md` says who may import whom.

pub mod bench;
pub mod cli;
pub mod config;
pub mod data;
pub mod engine;
pub mod experiment;
pub mod foreign;
pub mod fuzz;
pub mod hash;
pub mod learner;
pub mod limits;
pub mod memory;
pub mod nearest;
pub mod operations;
mod plain;
pub mod plugin;
pub mod programs;
pub mod project;
pub mod report;
pub mod session;
pub mod study;
pub mod wait;
pub mod workshop;
pub mod xdg;
