//! `coldstart report`.

use crate::cli::args::Report;
use crate::cli::problem::Problem;
use crate::report;
use std::path::{Path, PathBuf};

/// `coldstart report RUN...`.
pub fn report(args: &Report) -> Result<(), Problem> {
    let page = args.output.clone().unwrap_or_else(|| match args.runs.as_slice() {
        [run] => run.join("report.html"),
        _ => PathBuf::from("report.html"),
    });
    write_report(&args.runs, &page)
}

/// Write the page and say where it is, on stdout.
pub fn write_report(runs: &[PathBuf], page: &Path) -> Result<(), Problem> {
    let written = report::write(runs, page)?;
    outln!("{}", written.html.display());
    Ok(())
}
