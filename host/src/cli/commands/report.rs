//! `coldstart report`.

use crate::cli::args::{Export, Report};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::cli::typed::{Wanted, existing};
use crate::report;
use std::path::{Path, PathBuf};

/// `coldstart report RUN...`.
pub fn report(args: &Report) -> Result<(), Problem> {
    args.runs.iter().try_for_each(|run| existing(run, Wanted::RunOrStudy))?;
    let page = args.output.clone().unwrap_or_else(|| match args.runs.as_slice() {
        [run] => run.join("report.html"),
        _ => PathBuf::from("report.html"),
    });
    write_report(&args.runs, &page)
}

/// `coldstart export RUN_OR_STUDY...`.
pub fn export(args: &Export, console: &Console) -> Result<(), Problem> {
    args.runs.iter().try_for_each(|run| existing(run, Wanted::RunOrStudy))?;
    let told = |runs: usize| if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
    if let Some(to) = &args.mlflow {
        console.say(&format!("{} for MLflow", told(report::export::mlflow(&args.runs, to)?)));
        outln!("{}", to.display());
    }
    if let Some(to) = &args.tensorboard {
        console.say(&format!("{} for TensorBoard", told(report::export::tensorboard(&args.runs, to)?)));
        outln!("{}", to.display());
    }
    Ok(())
}

/// Write the page and say where it is, on stdout.
pub fn write_report(runs: &[PathBuf], page: &Path) -> Result<(), Problem> {
    let written = report::write(runs, page)?;
    outln!("{}", written.html.display());
    Ok(())
}
