//! One file a command.

pub mod bench;
pub mod cache;
pub mod config;
pub mod data;
pub mod doctor;
pub mod ingest;
pub mod learner;
pub mod manual;
pub mod plugin;
pub mod project;
pub mod report;
pub mod represent;
pub mod run;
pub mod select;
pub mod sweep;
pub mod worker;

use super::args::Args;
use super::problem::Problem;
use super::stdout;
use clap::CommandFactory;
use clap_complete::Shell;
use serde::Serialize;

/// Print a completion script.
pub fn completions(shell: Shell) -> Result<(), Problem> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "coldstart", &mut script);
    stdout::own(&String::from_utf8_lossy(&script));
    Ok(())
}

/// Data for scripts, on stdout.
fn print_json<T: Serialize>(value: &T) {
    stdout::json(&serde_json::to_string_pretty(value).expect("plain data"));
}
