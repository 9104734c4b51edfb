//! The `coldstart` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    coldstart::cli::main()
}
