//! The plugins behind a study: which files chose, and who vouches for them.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Study;
use super::table::{Table, Value};
use crate::report::LockedPlugin;

/// A plugin's file as locks name it: name, version, hash, and who vouches for it.
type Key = (String, String, String, String);

/// In how many runs a file took part, and in which roles.
#[derive(Debug, Default)]
struct Part<'a> {
    runs: usize,
    roles: BTreeSet<&'a str>,
}

/// A row for each file that took part.
pub(super) fn plugins(study: &Study) -> Table {
    let columns = ["plugin", "version", "roles", "runs", "signer", "sha256"];
    let caption = "Every plugin file that the runs' locks name. Signer: the key that vouched for it where the run was made; what came \
                   with the program is not signed, and as good as the program.";
    let mut table = Table::new("plugins", "Plugins", caption.to_owned(), &columns);
    for ((name, version, sha256, signer), part) in parts(study) {
        let roles: Vec<&str> = part.roles.into_iter().collect();
        let texts = [name, version, roles.join(", ")].map(Value::Text);
        let row = texts.into_iter().chain([Value::Count(part.runs), Value::Text(signer), Value::Text(sha256)]);
        table.push(row.collect());
    }
    table
}

/// Plugins that were not the same file in all runs: their runs are no repetitions of each other.
pub(super) fn notes(study: &Study) -> Vec<String> {
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, _, sha256, _) in parts(study).into_keys() {
        files.entry(name).or_default().insert(sha256);
    }
    let several = files.into_iter().filter(|(_, hashes)| hashes.len() > 1);
    several
        .map(|(name, hashes)| {
            format!("the plugin `{name}` was not the same file in all runs: there are {}", hashes.len())
        })
        .collect()
}

fn parts(study: &Study) -> BTreeMap<Key, Part<'_>> {
    let mut parts: BTreeMap<Key, Part<'_>> = BTreeMap::new();
    for run in study.cells.iter().filter_map(|cell| cell.run.as_ref()) {
        let mut seen = BTreeSet::new();
        for plugin in &run.plugins {
            let part = parts.entry(key(plugin)).or_default();
            part.roles.insert(plugin.role.as_str());
            part.runs += usize::from(seen.insert(key(plugin)));
        }
    }
    parts
}

fn key(plugin: &LockedPlugin) -> Key {
    (plugin.full_name(), plugin.version.clone(), plugin.sha256.clone(), plugin.vouched())
}
