//! `coldstart plugin check`.

use super::super::print_json;
use super::find;
use crate::cli::args::{CheckSettings, PluginCheck};
use crate::cli::problem::Problem;
use crate::config::Sandbox;
use crate::plugin::package::{EXTENSION, Package, sha256};
use crate::plugin::trust::{Trust, TrustStore, judge, judge_package};
use crate::plugin::{Found, Manifest};
use crate::workshop::{self, Order, Outcome, Report, Row, cases};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Check a plugin, or list the cases.
pub fn check(wanted: &PluginCheck, sandbox: Option<Sandbox>) -> Result<(), Problem> {
    let Some(plugin) = wanted.plugin.as_ref().filter(|_| !wanted.list) else {
        list(wanted.json);
        return Ok(());
    };
    let unpacked = tempfile::tempdir().map_err(|error| Problem::failed(&error, None))?;
    let meant = library_of(plugin, unpacked.path())?;
    let strict = sandbox.map_or(meant.is_strangers, |sandbox| sandbox == Sandbox::Required);
    let order = order(meant, wanted, strict);
    // Draws on a terminal only.
    let progress = indicatif::ProgressBar::new_spinner();
    let report = workshop::check(&order, &|row| {
        progress.set_message(row.case);
        progress.inc(1);
    });
    progress.finish_and_clear();
    let report = report?;
    if wanted.json {
        print_json(&report);
    } else {
        print_report(&report);
    }
    verdict(plugin, &report)
}

/// What is to be checked.
struct Meant {
    /// The library or script.
    file: PathBuf,
    /// The package that it was taken out of.
    package: Option<PathBuf>,
    /// Whether it came from somebody whom the user does not trust, and is no file that the user points to.
    is_strangers: bool,
}

/// The library that is meant; that of a package is taken out of it, into `folder`.
fn library_of(plugin: &str, folder: &Path) -> Result<Meant, Problem> {
    let file = Path::new(plugin);
    let absolute = |file: &Path| std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    if !file.is_file() || file.extension().is_none_or(|extension| extension != EXTENSION) {
        let found = find(plugin)?;
        let is_strangers = !file.is_file() && !is_trusted(&found);
        return Ok(Meant { file: absolute(&found.file), package: None, is_strangers });
    }
    let package = Package::read_file(file)?;
    let trust = judge_package(plugin, &package, &TrustStore::open());
    let is_library = |(path, _): &(&str, &[u8])| path.starts_with("lib/");
    let (path, bytes) = package.files().find(is_library).expect("a package that was read has its library");
    let library = folder.join(path.trim_start_matches("lib/"));
    std::fs::write(&library, bytes).map_err(|error| Problem::failed(&error, None))?;
    let is_strangers = !matches!(trust, Ok(Trust::Signed { .. }));
    Ok(Meant { file: library, package: Some(absolute(file)), is_strangers })
}

/// Whether somebody whom the user trusts vouches for an installed plugin.
fn is_trusted(found: &Found) -> bool {
    let judged = || {
        let (bytes, name) = (std::fs::read(&found.file).ok()?, found.file.display().to_string());
        let (manifest, _) = Manifest::read(&name, &bytes).ok()?;
        judge(found, &manifest, &sha256(&bytes), &TrustStore::open()).ok()
    };
    judged().is_some_and(|trust| trust != Trust::Unsigned)
}

fn order(meant: Meant, wanted: &PluginCheck, strict: bool) -> Order {
    let CheckSettings { params, seed, count, timeout } = &wanted.settings;
    Order {
        file: meant.file,
        package: meant.package,
        level: wanted.level,
        case: wanted.case.clone(),
        params: params.clone(),
        seed: *seed,
        count: *count,
        timeout: Duration::from_secs(*timeout),
        strict,
    }
}

fn list(as_json: bool) {
    if as_json {
        let rows = cases().map(|case| json!({"case": case.name, "level": case.level.name(), "about": case.about}));
        return print_json(&rows.collect::<Vec<_>>());
    }
    for case in cases() {
        outln!("{} ({})", case.name, case.level.name());
        outln!("    {}", case.about);
    }
}

fn print_report(report: &Report) {
    outln!("{:<24} {:<8} {:<8} DETAIL", "CASE", "LEVEL", "RESULT");
    for row in &report.cases {
        outln!("{}", format!("{:<24} {:<8} {:<8} {}", row.case, row.level, row.result.name(), row.detail).trim_end());
    }
    outln!("");
    let shut_in = match report.confinement.as_str() {
        "" => "none of its code ran".to_owned(),
        confinement => format!("shut in: {confinement}"),
    };
    outln!("{}; seed {}; {shut_in}", summary(report), report.seed);
    for row in broken(report) {
        outln!("");
        outln!("{} {}: {}", row.case, row.result.name(), row.detail);
        outln!("    {}", row.about);
    }
}

fn broken(report: &Report) -> impl Iterator<Item = &Row> {
    report.cases.iter().filter(|row| row.result >= Outcome::Failed)
}

fn summary(report: &Report) -> String {
    let outcomes = [Outcome::Success, Outcome::Skipped, Outcome::Warning, Outcome::Failed, Outcome::Crashed];
    let counted =
        outcomes.map(|outcome| (report.cases.iter().filter(|row| row.result == outcome).count(), outcome.name()));
    let told = counted.into_iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}"));
    told.collect::<Vec<_>>().join(", ")
}

fn verdict(plugin: &str, report: &Report) -> Result<(), Problem> {
    if let Some(refused) = &report.refused {
        let hint = "Linux 6.12 or newer has all of the sandbox; `--sandbox best-effort` runs it with less";
        return Err(Problem::plugin(format!("the code of `{plugin}` was not run: {refused}"), Some(hint.to_owned())));
    }
    let names: Vec<&str> = broken(report).map(|row| row.case).collect();
    let Some(first) = names.first() else { return Ok(()) };
    let message =
        format!("{} of {} cases do not hold for `{plugin}`: {}", names.len(), report.cases.len(), names.join(", "));
    Err(Problem::plugin(message, Some(format!("`coldstart plugin check {plugin} --case {first}` tries one again"))))
}
