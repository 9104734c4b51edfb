//! `coldstart plugin ...`: what this file does reads files and runs no plugin code.

mod build;
mod check;
mod doctor;
mod install;
mod new;
mod package;
mod replay;
mod trust;

use super::print_json;
use crate::cli::args::{Args, Plugin};
use crate::cli::problem::Problem;
use crate::config::Range;
use crate::foreign;
use crate::plugin::package::{Build, EXTENSION, Package};
use crate::plugin::trust::{Trust, TrustStore, judge, judge_package, look};
use crate::plugin::{CODES, Candidate, Found, Manifest, PluginCode, PluginError, SearchPath, StrategyName};
use coldstart_plugin_api::Role;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The commands under `plugin`.
pub fn plugin(args: &Args, command: &Plugin) -> Result<(), Problem> {
    match command {
        Plugin::List { json } => {
            list(*json);
            Ok(())
        }
        Plugin::Info { plugin, json } => info(plugin, *json),
        Plugin::Replay { recording, plugin, json } => replay::replay(args, recording, plugin.as_deref(), *json),
        Plugin::Codes => {
            for (_, id, title, hint) in CODES {
                outln!("{id}  {title}");
                outln!("      {hint}");
            }
            Ok(())
        }
        Plugin::Doctor { plugin, json } => doctor::doctor(plugin.as_deref(), *json),
        Plugin::Pack(args) => package::pack(args),
        Plugin::Sign { package, key } => package::sign(package, key),
        Plugin::Verify { package, key } => package::verify(package, key.as_deref()),
        Plugin::Keys(command) => package::keys(command),
        Plugin::Trust(command) => trust::trust(command),
        Plugin::Install { place } => install::install(place, args.allow_unsigned),
        Plugin::Uninstall { plugin } => install::uninstall(plugin),
        Plugin::Lock { configs, package } => install::lock(configs, package),
        Plugin::New(wanted) => new::new(wanted),
        Plugin::Build(order) => build::build(order),
        Plugin::Check(order) => check::check(order, args.sandbox),
    }
}

fn list(as_json: bool) {
    let search = SearchPath::new(&[]);
    let candidates = search.candidates();
    let store = TrustStore::open();
    let trust_of = |candidate: &Candidate| Ok(look(&candidate.found, &store)?.trust);
    if as_json {
        let rows = candidates.iter().map(|candidate| {
            let mut row = candidate_json(candidate, trust_of(candidate));
            row["shadows"] = shadowed_by(&search, candidate).map(|(_, own)| own).into();
            row
        });
        return print_json(&rows.collect::<Vec<_>>());
    }
    let row = |name: &str, version: &str, roles: &[String], trust: &str, rest: &str| {
        let roles = roles.iter().map(|role| foreign::name(role)).collect::<Vec<_>>().join(", ");
        let (name, version, trust) = (foreign::name(name), foreign::name(version), foreign::phrase(trust));
        outln!("{name:<28} {version:<9} {roles:<15} {trust:<20} {}", foreign::phrase(rest));
    };
    row("NAME", "VERSION", &["ROLES".to_owned()], "TRUST", "SUMMARY");
    for candidate in &candidates {
        let trust = trust_of(candidate).map_or_else(|error| error.code.id().to_owned(), |trust| trust.to_string());
        match &candidate.manifest {
            Ok(m) => row(&m.full_name(), &m.version.to_string(), &m.roles, &trust, &m.summary),
            Err(error) => {
                let file = candidate.found.file.display();
                outln!("- {} {} ({file})", error.code.id(), error.message);
            }
        }
    }
    if candidates.is_empty() {
        errln!("no plugins in {}", shown(search.folders()));
    }
    for (name, own) in candidates.iter().filter_map(|candidate| shadowed_by(&search, candidate)) {
        errln!("`{name}`{}", instead_of(Path::new(&own)));
    }
    for (folder, content) in search.contents() {
        content.reservation(&folder).iter().for_each(|reservation| errln!("{reservation}"));
        content.overlooked().iter().for_each(|o| errln!("{} {}: {}", o.path.display(), o.reason, o.hint));
    }
}

/// The name that means a candidate instead of a file of the program's own, and that file.
fn shadowed_by(search: &SearchPath, candidate: &Candidate) -> Option<(String, String)> {
    let manifest = candidate.manifest.as_ref().ok()?;
    let name = StrategyName::parse(&manifest.name).ok()?;
    let shadowed = |role: &String| {
        let own = search.shadowed(&candidate.found, &name, role)?;
        search.resolve(name.name(), role).is_ok_and(|found| found == candidate.found).then_some(own)
    };
    let own = manifest.roles.iter().find_map(shadowed)?;
    Some((manifest.name.clone(), own.display().to_string()))
}

/// For the end of a sentence about a plugin that is found before one of the program's own.
fn instead_of(own: &Path) -> String {
    format!(" is found before the program's own {}", own.display())
}

fn shown(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn candidate_json(candidate: &Candidate, trust: Result<Trust, PluginError>) -> Value {
    let Found { file, package, .. } = &candidate.found;
    match &candidate.manifest {
        Ok(manifest) => json!({"file": file, "package": package, "manifest": manifest, "trust": trust_json(trust)}),
        Err(error) => json!({"file": file, "error": error.to_string(), "code": error.code.id(), "hint": error.hint}),
    }
}

/// What is known of a file; a signature that does not count is said, and not hidden.
fn trust_json(trust: Result<Trust, PluginError>) -> Value {
    match trust {
        Ok(Trust::Signed { lab, key }) => json!({"state": "signed", "lab": lab, "key": key}),
        Ok(trust) => json!({"state": trust.to_string()}),
        Err(error) => {
            json!({"state": "refused", "error": error.to_string(), "code": error.code.id(), "hint": error.hint})
        }
    }
}

/// What there is to show of a library or a package.
struct Shown {
    file: PathBuf,
    manifest: Manifest,
    build: Build,
    trust: Result<Trust, PluginError>,
}

fn info(plugin: &str, as_json: bool) -> Result<(), Problem> {
    let path = Path::new(plugin);
    let packed = path.is_file() && path.extension().is_some_and(|extension| extension == EXTENSION);
    let shown = if packed { shown_package(path)? } else { shown_library(find(plugin)?)? };
    if as_json {
        let Shown { file, manifest, build, trust } = shown;
        print_json(&json!({"file": file, "manifest": manifest, "build": build, "trust": trust_json(trust)}));
    } else {
        print_info(&shown);
    }
    Ok(())
}

fn shown_package(file: &Path) -> Result<Shown, Problem> {
    let package = Package::read_file(file)?;
    let trust = judge_package(&file.display().to_string(), &package, &TrustStore::open());
    Ok(Shown { file: file.to_owned(), manifest: package.manifest, build: package.build, trust })
}

fn shown_library(found: Found) -> Result<Shown, Problem> {
    let name = found.file.display().to_string();
    let bytes = std::fs::read(&found.file).map_err(|error| {
        let error = PluginError::new(PluginCode::Library, &name, format!("cannot be read: {error}"));
        error.with_hint("is it a file, and may you read it?")
    })?;
    let (manifest, _) = Manifest::read(&name, &bytes)?;
    let build = Build::measure(&name, &bytes, None)?;
    let trust = judge(&found, &manifest, &build.sha256, &TrustStore::open());
    Ok(Shown { file: found.file, manifest, build, trust })
}

/// A file where there is one, else what the name means in any role.
fn find(plugin: &str) -> Result<Found, PluginError> {
    let file = Path::new(plugin);
    if file.is_file() {
        return Ok(Found::named(file));
    }
    let search = SearchPath::new(&[]);
    let in_role = |role: Role| search.resolve(plugin, role.name());
    in_role(Role::Query).or_else(|error| match error.code {
        PluginCode::Unmet | PluginCode::NotFound => {
            [Role::Initial, Role::Sizer].into_iter().find_map(|role| in_role(role).ok()).ok_or(error)
        }
        _ => Err(error),
    })
}

fn print_info(Shown { file, manifest, build, trust }: &Shown) {
    let or_none = |texts: &[String]| if texts.is_empty() { "none".to_owned() } else { texts.join(", ") };
    outln!("{} {}", foreign::name(&manifest.full_name()), manifest.version);
    outln!("");
    let trust = match trust {
        Ok(Trust::Signed { lab, key }) => format!("signed by {lab} with the key {key}"),
        Ok(trust) => trust.to_string(),
        Err(error) => format!("{} {} ({})", error.code.id(), error.message, error.hint),
    };
    for (name, value) in [
        ("summary", manifest.summary.clone()),
        ("roles", or_none(&manifest.roles)),
        ("needs", or_none(&manifest.needs)),
        ("asks", or_none(&manifest.asks)),
        ("composes", or_none(&manifest.composes)),
        ("cite", manifest.cite.clone()),
        ("authors", manifest.authors.replace(':', ", ")),
        ("licence", manifest.license.clone()),
        ("contract", manifest.api.to_string()),
        ("file", file.display().to_string()),
        ("machine", build.triple.clone()),
        ("glibc", if build.glibc.is_empty() { "any".to_owned() } else { format!("{} or newer", build.glibc) }),
        ("content", build.sha256.clone()),
        ("trust", trust),
    ] {
        outln!("{name:<9} {value}");
    }
    let params = manifest.params.get("properties").and_then(Value::as_object);
    outln!("");
    match params.filter(|params| !params.is_empty()) {
        None => outln!("no parameters"),
        Some(params) => {
            outln!("parameters");
            params.iter().for_each(|(name, schema)| print_param(name, schema));
        }
    }
}

fn print_param(name: &str, schema: &Value) {
    let text = |key: &str| schema.get(key).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
    let kind = text("type").or_else(|| text("enum")).unwrap_or_default();
    let default = text("default").map(|default| format!(", default {default}")).unwrap_or_default();
    let range = Range::of(schema).in_words().map(|range| format!(", {range}")).unwrap_or_default();
    outln!("  {}: {}{default}{range}", foreign::name(name), foreign::phrase(&kind));
    if let Some(description) = text("description").filter(|description| !description.is_empty()) {
        outln!("      {description}");
    }
}
