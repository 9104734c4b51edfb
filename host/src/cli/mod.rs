//! The program: arguments in, the library's rooms at work, messages and exit codes out.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 usage or config, 3 plugin, 130
//! interrupted.

#[macro_use]
mod stdout;

mod args;
mod commands;
mod console;
mod limits;
mod problem;
mod signals;
mod typed;

use crate::foreign;
use crate::plugin::as_worker;
use crate::programs;
use crate::workshop::as_check;
use args::{Args, Command};
use clap::Parser;
use console::Console;
use problem::Problem;
use std::io::IsTerminal;
use std::process::ExitCode;

/// Run the program with the process's arguments.
pub fn main() -> ExitCode {
    programs::hide_inherited_descriptors();
    signals::survive_large_files();
    limits::raise_open_files();
    if let Some(served) = as_worker(std::env::args_os()).or_else(|| as_check(std::env::args_os())) {
        return match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                errln!("the worker stops: {error}");
                ExitCode::FAILURE
            }
        };
    }
    miette::set_hook(Box::new(|_| Box::new(layout().build()))).expect("nobody has set a hook before");
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return unparsed(&error),
    };
    let console = Console::new(&args);
    match run(&args, &console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            console.clear();
            problem.print();
            problem.exit_code()
        }
    }
}

/// Help, or a mistake in the arguments. A shell may have put names of files there that somebody else gave: what is said of them is
/// said of the same words made safe.
fn unparsed(error: &clap::Error) -> ExitCode {
    let typed = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let safe: Vec<String> = typed.map(|word| foreign::line(&word).into_owned()).collect();
    match Args::try_parse_from(safe) {
        Err(of_safe_words) => _ = of_safe_words.print(),
        Ok(_) => errln!("{error}"),
    }
    ExitCode::from(error.exit_code() as u8)
}

/// How errors are laid out: on a terminal its lines are filled, and end between two words, for a path or a command is to be
/// copied; elsewhere they are as long as they are, for they are searched.
fn layout() -> miette::MietteHandlerOpts {
    let layout = miette::MietteHandlerOpts::new();
    match std::io::stderr().is_terminal() {
        true => layout
            .break_words(false)
            .word_separator(textwrap::WordSeparator::AsciiSpace)
            .word_splitter(textwrap::WordSplitter::NoHyphenation),
        false => layout.wrap_lines(false),
    }
}

fn run(args: &Args, console: &Console) -> Result<(), Problem> {
    limits::check_memory(&args.command)?;
    match &args.command {
        Command::Run(run) => commands::run::run(args, run, console),
        Command::Sweep(sweep) => commands::sweep::sweep(args, sweep, console),
        Command::Worker(worker) => commands::worker::worker(args, worker, console),
        Command::Resume(resume) => commands::run::resume(args, resume, console),
        Command::Report(report) => commands::report::report(report),
        Command::Export(export) => commands::report::export(export, console),
        Command::Select(select) => commands::select::select(args, select, console),
        Command::Ingest(ingest) => commands::ingest::ingest(ingest, console),
        Command::Project(project) => commands::project::project(project, console),
        Command::Represent(represent) => commands::represent::represent(args, represent, console),
        Command::Diagnose(diagnose) => commands::represent::diagnose(args, diagnose, console),
        Command::Cache(cache) => commands::cache::cache(args, cache),
        Command::Learner(command) => commands::learner::learner(command),
        Command::Plugin(plugin) => commands::plugin::plugin(args, plugin),
        Command::Data(data) => commands::data::data(args, data, console),
        Command::Config(command) => commands::config::config(command),
        Command::Bench(bench) => commands::bench::bench(bench, console),
        Command::Doctor(doctor) => commands::doctor::doctor(args, doctor),
        Command::Manual { man } => commands::manual::manual(man.as_deref()),
        Command::Completions { shell } => commands::completions(*shell),
    }
}
