//! `coldstart learner ...`: which scripts may train with the user's rights. Nothing of a script runs here.

use super::print_json;
use crate::cli::args::Learner;
use crate::cli::problem::Problem;
use crate::foreign;
use crate::learner::{CODES, Leave, Leaves, Script};
use crate::plugin::package::PackageError;
use std::path::Path;

/// The commands under `learner`.
pub fn learner(command: &Learner) -> Result<(), Problem> {
    let leaves = Leaves::open();
    match command {
        Learner::Allow { file } => allow(&leaves, file),
        Learner::List { json } => {
            list(&leaves.all()?, *json);
            Ok(())
        }
        Learner::Forget { meant } => forget(&leaves, meant),
        Learner::Codes => {
            for (_, id, title, hint) in CODES {
                outln!("{id}  {title}");
                outln!("      {hint}");
            }
            Ok(())
        }
    }
}

fn allow(leaves: &Leaves, file: &Path) -> Result<(), Problem> {
    let script = Script::read(file)?;
    let kept = leaves.give(&script).map_err(not_kept)?;
    errln!("`{}` may run with your rights as it is now: {}", script.file.display(), script.sha256);
    for module in script.modules() {
        errln!("its module `{module}` belongs to it");
    }
    outln!("{}", kept.display());
    Ok(())
}

/// What the user's folder cannot take may go elsewhere.
fn not_kept(error: PackageError) -> Problem {
    let hint =
        "set XDG_CONFIG_HOME to a folder that you can write to, in later commands, too; or use `--allow-learner`";
    Problem::failed(&error, Some(hint.to_owned()))
}

fn list(leaves: &[Leave], as_json: bool) {
    if as_json {
        return print_json(&leaves);
    }
    outln!("{:<20}  {:<71}  SCRIPT", "SINCE", "HASH");
    for leave in leaves {
        let (given, file) = (foreign::name(&leave.given), leave.file.display().to_string());
        outln!("{given:<20}  {:<71}  {}", foreign::name(&leave.sha256), foreign::line(&file));
    }
}

fn forget(leaves: &Leaves, meant: &str) -> Result<(), Problem> {
    match leaves.take_back(meant).map_err(not_kept)? {
        0 => Err(Problem::usage(
            format!("no leave was given to `{meant}`"),
            Some("`coldstart learner list` shows all of them".to_owned()),
        )),
        n => {
            errln!("{n} {} taken back", if n == 1 { "leave was" } else { "leaves were" });
            Ok(())
        }
    }
}
