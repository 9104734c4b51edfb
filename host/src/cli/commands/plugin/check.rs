//! `coldstart plugin check`.

use super::super::print_json;
use super::find;
use crate::cli::args::{CheckSettings, PluginCase, PluginCheck};
use crate::cli::problem::Problem;
use crate::workshop::{self, Level, Order, Outcome, Report, Row, cases};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// Check a plugin, or list the cases.
pub fn check(wanted: &PluginCheck) -> Result<(), Problem> {
    let Some(plugin) = wanted.plugin.as_ref().filter(|_| !wanted.list) else {
        list(wanted.json);
        return Ok(());
    };
    let order = order(find(plugin)?.file, wanted.level, wanted.case.clone(), &wanted.settings);
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
    Ok(workshop::in_child(order, &case.case, &case.verdict)?)
}

fn order(file: PathBuf, level: Level, case: Option<String>, settings: &CheckSettings) -> Order {
    Order {
        file,
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
        println!("{} ({})\n    {}", case.name, case.level.name(), case.about);
    }
}

fn print_report(report: &Report) {
    println!("{:<24} {:<8} {:<8} DETAIL", "CASE", "LEVEL", "RESULT");
    for row in &report.cases {
        println!("{}", format!("{:<24} {:<8} {:<8} {}", row.case, row.level, row.result.name(), row.detail).trim_end());
    }
    println!("\n{}; seed {}", summary(report), report.seed);
    for row in broken(report) {
        println!("\n{} {}: {}\n    {}", row.case, row.result.name(), row.detail, row.about);
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
