//! `coldstart plugin check`.

use super::super::print_json;
use super::find;
use crate::cli::args::{CheckSettings, PluginCase, PluginCheck};
use crate::cli::problem::Problem;
use crate::plugin::package::{EXTENSION, Package};
use crate::workshop::{self, Level, Order, Outcome, Report, Row, cases};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Check a plugin, or list the cases.
pub fn check(wanted: &PluginCheck) -> Result<(), Problem> {
    let Some(plugin) = wanted.plugin.as_ref().filter(|_| !wanted.list) else {
        list(wanted.json);
        return Ok(());
    };
    let unpacked = tempfile::tempdir().map_err(|error| Problem::failed(&error, None))?;
    let (file, package) = library_of(plugin, unpacked.path())?;
    let order = Order { package, ..order(file, wanted.level, wanted.case.clone(), &wanted.settings) };
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

/// One case, for the process that checks.
pub fn case(case: &PluginCase) -> Result<(), Problem> {
    let order = order(case.file.clone(), Level::Fuzz, Some(case.case.clone()), &case.settings);
    let order = Order { package: case.package.clone(), ..order };
    Ok(workshop::in_child(order, &case.case, &case.verdict)?)
}

/// The library that is meant; that of a package is taken out of it, into `folder`.
fn library_of(plugin: &str, folder: &Path) -> Result<(PathBuf, Option<PathBuf>), Problem> {
    let file = Path::new(plugin);
    if !file.is_file() || file.extension().is_none_or(|extension| extension != EXTENSION) {
        return Ok((find(plugin)?.file, None));
    }
    let package = Package::read_file(file)?;
    let is_library = |(path, _): &(&str, &[u8])| path.starts_with("lib/");
    let (path, bytes) = package.files().find(is_library).expect("a package that was read has its library");
    let library = folder.join(path.trim_start_matches("lib/"));
    std::fs::write(&library, bytes).map_err(|error| Problem::failed(&error, None))?;
    Ok((library, Some(std::path::absolute(file).unwrap_or_else(|_| file.to_owned()))))
}

fn order(file: PathBuf, level: Level, case: Option<String>, settings: &CheckSettings) -> Order {
    Order {
        file,
        package: None,
        level,
        case,
        params: settings.params.clone(),
        seed: settings.seed,
        count: settings.count,
        timeout: Duration::from_secs(settings.timeout),
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
    outln!("{}; seed {}", summary(report), report.seed);
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
    let names: Vec<&str> = broken(report).map(|row| row.case).collect();
    let Some(first) = names.first() else { return Ok(()) };
    let message =
        format!("{} of {} cases do not hold for `{plugin}`: {}", names.len(), report.cases.len(), names.join(", "));
    Err(Problem::plugin(message, Some(format!("`coldstart plugin check {plugin} --case {first}` tries one again"))))
}
