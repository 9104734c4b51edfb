//! `coldstart plugin ...`: what this file does reads files and runs no plugin code.

mod build;
mod check;
mod new;

use super::print_json;
use crate::cli::args::Plugin;
use crate::cli::problem::Problem;
use crate::plugin::{CODES, Candidate, Manifest, PluginCode, PluginError, SearchPath};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The commands under `plugin`.
pub fn plugin(command: &Plugin) -> Result<(), Problem> {
    match command {
        Plugin::List { json } => {
            list(*json);
            Ok(())
        }
        Plugin::Info { plugin, json } => info(plugin, *json),
        Plugin::Codes => {
            for (_, id, title, hint) in CODES {
                println!("{id}  {title}\n      {hint}");
            }
            Ok(())
        }
        Plugin::New(wanted) => new::new(wanted),
        Plugin::Build(order) => build::build(order),
        Plugin::Check(order) => check::check(order),
        Plugin::CheckCase(case) => check::case(case),
    }
}

fn list(as_json: bool) {
    let search = SearchPath::new(&[]);
    let candidates = search.candidates();
    if as_json {
        return print_json(&candidates.iter().map(candidate_json).collect::<Vec<_>>());
    }
    let row =
        |name: &str, version: &str, roles: &str, rest: &str| println!("{name:<28} {version:<9} {roles:<15} {rest}");
    row("NAME", "VERSION", "ROLES", "SUMMARY");
    for Candidate { file, manifest, .. } in &candidates {
        match manifest {
            Ok(m) => row(&m.full_name(), &m.version.to_string(), &m.roles.join(", "), &m.summary),
            Err(error) => row("-", "-", "-", &format!("{} {} ({})", error.code.id(), error.message, file.display())),
        }
    }
    if candidates.is_empty() {
        eprintln!("no plugins in {}", shown(search.folders()));
    }
}

fn shown(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn candidate_json(candidate: &Candidate) -> Value {
    match &candidate.manifest {
        Ok(manifest) => json!({"file": candidate.file, "manifest": manifest}),
        Err(error) => {
            json!({"file": candidate.file, "error": error.to_string(), "code": error.code.id(), "hint": error.hint})
        }
    }
}

fn info(plugin: &str, as_json: bool) -> Result<(), Problem> {
    let file = find(plugin)?;
    let bytes = std::fs::read(&file)
        .map_err(|error| PluginError::new(PluginCode::Library, plugin, format!("cannot be read: {error}")))?;
    let (manifest, _) = Manifest::read(&file.display().to_string(), &bytes)?;
    if as_json {
        print_json(&json!({"file": file, "manifest": manifest}));
    } else {
        print_info(&file, &manifest);
    }
    Ok(())
}

/// A file where there is one, else what the name means in any role.
fn find(plugin: &str) -> Result<PathBuf, PluginError> {
    let file = Path::new(plugin);
    if file.is_file() {
        return Ok(file.to_owned());
    }
    let search = SearchPath::new(&[]);
    search.resolve(plugin, "query").or_else(|error| match error.code {
        PluginCode::Unmet | PluginCode::NotFound => search.resolve(plugin, "initial").map_err(|_| error),
        _ => Err(error),
    })
}

fn print_info(file: &Path, manifest: &Manifest) {
    let or_none = |texts: &[String]| if texts.is_empty() { "none".to_owned() } else { texts.join(", ") };
    println!("{} {}", manifest.full_name(), manifest.version);
    println!("{}\n", manifest.summary);
    for (name, value) in [
        ("roles", or_none(&manifest.roles)),
        ("needs", or_none(&manifest.needs)),
        ("cite", manifest.cite.clone()),
        ("authors", manifest.authors.replace(':', ", ")),
        ("licence", manifest.license.clone()),
        ("contract", manifest.api.to_string()),
        ("file", file.display().to_string()),
    ] {
        println!("{name:<9} {value}");
    }
    let params = manifest.params.get("properties").and_then(Value::as_object);
    match params.filter(|params| !params.is_empty()) {
        None => println!("\nno parameters"),
        Some(params) => {
            println!("\nparameters");
            params.iter().for_each(|(name, schema)| print_param(name, schema));
        }
    }
}

fn print_param(name: &str, schema: &Value) {
    let text = |key: &str| schema.get(key).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
    let kind = text("type").or_else(|| text("enum")).unwrap_or_default();
    let facts = [("default", "default"), ("minimum", "at least"), ("maximum", "at most")];
    let facts = facts.into_iter().filter_map(|(key, word)| Some(format!(", {word} {}", text(key)?)));
    println!("  {name}: {kind}{}", facts.collect::<String>());
    if let Some(description) = text("description").filter(|description| !description.is_empty()) {
        println!("      {description}");
    }
}
