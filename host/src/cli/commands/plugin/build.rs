//! `coldstart plugin build`.

use super::super::print_json;
use crate::cli::args::PluginBuild;
use crate::cli::problem::Problem;
use crate::workshop::{self, BuildOrder, Built};

/// Build a crate, and say what came out.
pub fn build(order: &PluginBuild) -> Result<(), Problem> {
    let wanted = BuildOrder {
        crate_folder: order.crate_folder.clone(),
        target: order.target.clone(),
        glibc: order.glibc.clone(),
        output: order.output.clone(),
    };
    let built = workshop::build(&wanted, |way| errln!("{way}"))?;
    if order.json {
        print_json(&built);
    } else {
        print_built(&built);
    }
    Ok(())
}

fn print_built(built: &Built) {
    let or_none = |texts: Vec<String>| if texts.is_empty() { "none".to_owned() } else { texts.join(", ") };
    let facts = &built.facts;
    outln!("{} {}", built.manifest.full_name(), built.manifest.version);
    for (name, value) in [
        ("file", built.file.display().to_string()),
        ("size", format!("{} KiB", built.bytes.div_ceil(1024))),
        ("glibc", facts.glibc.as_ref().map_or("any".to_owned(), |glibc| format!("{glibc} and newer"))),
        ("libraries", or_none(facts.libraries.clone())),
        ("exports", or_none(facts.exports.clone())),
        ("constructors", format!("{} (the runtime's own are 2 at most)", facts.constructors)),
        ("banned", or_none([&facts.banned_libraries[..], &facts.banned_properties[..]].concat())),
    ] {
        outln!("{name:<13} {value}");
    }
}
