//! `coldstart represent` and `coldstart diagnose`: how good representations and pretexts are.

use super::print_json;
use super::report::write_report;
use super::run::options;
use crate::cli::args::{Args, Diagnose, Represent};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::cli::typed::{Wanted, existing};
use crate::foreign;
use crate::session::{self, Diagnosis, Judgement};

/// `coldstart represent CONFIG`.
pub fn represent(args: &Args, represent: &Represent, console: &Console) -> Result<(), Problem> {
    existing(&represent.experiment.config, Wanted::File)?;
    let read = represent.experiment.read()?;
    let options = options(args, console, &represent.device);
    let at_key = |key: &str, message: String| read.at_key(key, message);
    let judgements = session::represent(&read.config, &options, represent.out.as_deref(), &at_key)?;
    console.clear();
    if represent.json {
        print_json(&judgements);
    } else {
        table(&judgements);
    }
    Ok(())
}

/// `coldstart diagnose RUN`.
pub fn diagnose(args: &Args, diagnose: &Diagnose, console: &Console) -> Result<(), Problem> {
    existing(&diagnose.run, Wanted::Run)?;
    let (options, device) = (options(args, console, "auto"), diagnose.device.as_deref());
    let diagnosis = session::diagnose(&diagnose.run, &options, device, diagnose.epochs)?;
    console.clear();
    let Diagnosis { task, epochs, representations, pretexts, .. } = &diagnosis;
    outln!("with every label, {epochs} epochs: accuracy {:.2} %", 100.0 * task.accuracy);
    table(representations);
    for pretext in pretexts {
        let (name, rho) = (&pretext.name, pretext.spearman);
        outln!("{name}: rank correlation with the task's loss {rho:.3} ({:.3} to {:.3})", pretext.low, pretext.high);
    }
    write_report(std::slice::from_ref(&diagnose.run), &diagnose.run.join("report.html"))
}

fn table(judgements: &[Judgement]) {
    outln!("{:<16} {:>8} {:>10} {:>10}", "features", "number", "kNN", "linear");
    for Judgement { name, features, knn, linear, .. } in judgements {
        outln!("{:<16} {features:>8} {:>8.2} % {:>8.2} %", foreign::phrase(name), 100.0 * knn, 100.0 * linear);
    }
}
