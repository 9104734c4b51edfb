//! What was promised to released plugins: layouts, and that they run for ever, built by other compilers and versions.

mod compilers;
mod golden;
mod layout;
mod skew;

use coldstart_tests::{Lab, library_name, selections};
use std::path::Path;

/// The selections of a tiny experiment in which `strategy` has the role, from the library `file` or, if there is none,
/// from today's build.
fn chosen_by(strategy: &str, role: &str, file: Option<&Path>) -> std::collections::BTreeMap<String, Vec<u8>> {
    let lab = Lab::new();
    if let Some(file) = file {
        std::fs::copy(file, lab.path("plugins").join(library_name(strategy))).unwrap();
    }
    lab.run("run", &[&format!("{role}.strategy={strategy}")]).exits(0);
    let chosen = selections(&lab.path("run"));
    assert_eq!(chosen.len(), 4, "{chosen:?}");
    chosen
}
