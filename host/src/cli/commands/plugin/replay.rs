//! `coldstart plugin replay`: a bug report as a file.

use super::{find, print_json};
use crate::cli::args::Args;
use crate::cli::problem::Problem;
use crate::cli::typed::{Wanted, existing};
use crate::config::Sandbox;
use crate::plugin::trust::TrustStore;
use crate::plugin::{Finding, Limits, Plugin, Recording, Verified};
use std::path::Path;

/// Put a recording to a plugin, which runs in a process of its own, and say where its answers differ.
///
/// A recording may come from anybody, and names a plugin: one that nobody vouches for needs leave, as in a run.
pub fn replay(args: &Args, recording: &Path, plugin: Option<&str>, as_json: bool) -> Result<(), Problem> {
    existing(recording, Wanted::File)?;
    let recording = Recording::read(recording)?;
    let name = recording.head.plugin.clone();
    let file = Verified::read(&find(plugin.unwrap_or(&name))?, &TrustStore::open())?;
    if !file.trust.suffices() && !args.allow_unsigned {
        return Err(file.needs_leave().into());
    }
    let limits = Limits { strict: args.sandbox == Some(Sandbox::Required), ..Limits::default() };
    let findings = recording.replay(&Plugin::load(&file, Some(&limits))?)?;
    let differing: Vec<&Finding> = findings.iter().filter(|finding| finding.difference.is_some()).collect();
    if as_json {
        print_json(&findings);
    } else {
        print(&recording, &file, &findings);
    }
    match differing.first() {
        None => Ok(()),
        Some(Finding { call, .. }) => {
            let (n, of) = (differing.len(), findings.len());
            Err(Problem::outcome(
                format!("`{name}`: {n} of {of} calls end otherwise than recorded, first {call}"),
                None,
            ))
        }
    }
}

fn print(recording: &Recording, file: &Verified, findings: &[Finding]) {
    let head = &recording.head;
    outln!("recorded: {} {}, {} ({})", head.plugin, head.version, head.sha256, head.mode);
    outln!("replayed: {} {}, {}", file.manifest.name, file.manifest.version, file.sha256);
    outln!("");
    for Finding { call, difference } in findings {
        outln!("{call:<20} {}", difference.as_deref().unwrap_or("same"));
    }
}
