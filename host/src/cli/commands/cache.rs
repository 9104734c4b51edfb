//! `coldstart cache`: the networks that were trained before.

use super::print_json;
use crate::cli::args::{self, Args};
use crate::cli::problem::Problem;
use crate::foreign;
use crate::operations::{Cache, Listed};
use crate::xdg;

const GIB: f64 = (1u64 << 30) as f64;

/// The cache that the user's arguments and environment name.
pub fn cache_of(args: &Args) -> Cache {
    let limit = (args.cache_limit.max(0.0) * GIB) as u64;
    match &args.cache {
        Some(folder) => Cache::new(folder.clone(), limit),
        None => Cache::by_default(xdg::cache_home().map(|users| users.join("coldstart/trained")), limit),
    }
}

/// `coldstart cache list` and `coldstart cache clean`.
pub fn cache(args: &Args, command: &args::Cache) -> Result<(), Problem> {
    let cache = cache_of(args);
    match command {
        args::Cache::List { json: true } => print_json(&cache.list()),
        args::Cache::List { json: false } => {
            let entries = cache.list();
            entries.iter().for_each(line);
            let bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
            errln!("{} networks, {:.3} GiB in {}", entries.len(), bytes as f64 / GIB, cache.root().display());
        }
        args::Cache::Clean { to } => {
            let removed = cache.clean((to.max(0.0) * GIB) as u64);
            let removed = removed.map_err(|error| Problem::outcome(error.message, None))?;
            removed.iter().for_each(line);
            errln!("removed {} networks", removed.len());
        }
    }
    Ok(())
}

fn line(entry: &Listed) {
    let Listed { key, name, bytes, idle_seconds } = entry;
    let hours = *idle_seconds as f64 / 3600.0;
    outln!(
        "{}  {:<12} {:>9.1} MiB  used {hours:.1} h ago",
        foreign::name(key),
        foreign::phrase(name),
        *bytes as f64 / (1u64 << 20) as f64
    );
}
