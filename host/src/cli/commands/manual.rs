//! `coldstart manual`: every command and option, as a page of the documents and as man pages.

use crate::cli::args::Args;
use crate::cli::problem::Problem;
use crate::cli::stdout;
use crate::experiment::RunError;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write;
use std::path::Path;

/// Print the page, or write the man pages into a folder.
pub fn manual(man: Option<&Path>) -> Result<(), Problem> {
    let mut program = Args::command().disable_help_subcommand(true);
    program.build();
    match man {
        Some(folder) => man_pages(program, folder),
        None => {
            stdout::own(&markdown(&program));
            Ok(())
        }
    }
}

fn man_pages(program: Command, folder: &Path) -> Result<(), Problem> {
    let unwritten = |source| RunError::File { action: "write", path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(unwritten)?;
    clap_mangen::generate_to(program, folder).map_err(unwritten)?;
    outln!("{}", folder.display());
    Ok(())
}

const PAGE: &str = "# Commands

Every command and option. `coldstart manual` prints this page, `coldstart manual --man DIR` writes man pages, and `coldstart COMMAND
--help` says the same on the terminal.
";

fn markdown(program: &Command) -> String {
    let mut page = PAGE.to_owned();
    let after = program.get_after_help().map(ToString::to_string).unwrap_or_default();
    _ = write!(page, "\n{after}.\n\n## Global options\n\nEvery command takes them.\n\n");
    page += &table(program.get_arguments().filter(|arg| arg.is_global_set()));
    commands_below(program, &mut page);
    page
}

fn commands_below(command: &Command, page: &mut String) {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        section(inner, page);
        commands_below(inner, page);
    }
}

fn section(command: &Command, page: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    _ = write!(page, "\n## `{name}`\n\n{about}\n");
    let usage = command.clone().render_usage().to_string();
    _ = write!(page, "\n```text\n{}\n", usage.trim_start_matches("Usage: ").replace("\n       ", "\n"));
    if let Some(example) = command.get_after_help() {
        _ = writeln!(page, "\n{example}");
    }
    *page += "```\n";
    let own = table(command.get_arguments().filter(|arg| !arg.is_global_set()));
    if !own.is_empty() {
        _ = write!(page, "\n{own}");
    }
}

/// A row for each argument that is shown in the help; nothing where there is none.
fn table<'a>(args: impl Iterator<Item = &'a Arg>) -> String {
    let is_shown = |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let rows: String = args.filter(is_shown).map(row).collect();
    if rows.is_empty() { rows } else { format!("| argument | meaning |\n| --- | --- |\n{rows}") }
}

fn row(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut meaning = help.replace("\n\n", " ").replace('\n', " ");
    let defaults: Vec<String> = arg.get_default_values().iter().map(|value| format!("`{}`", value.display())).collect();
    if !defaults.is_empty() && !arg.is_hide_default_value_set() && arg.get_action().takes_values() {
        _ = write!(meaning, "; default {}", defaults.join(", "));
    }
    if arg.get_action().takes_values() && !arg.get_possible_values().is_empty() {
        let words: Vec<String> =
            arg.get_possible_values().iter().map(|word| format!("`{}`", word.get_name())).collect();
        _ = write!(meaning, "; one of {}", words.join(", "));
    }
    if let Some(variable) = arg.get_env() {
        _ = write!(meaning, "; or the variable `{}`", variable.display());
    }
    format!("| `{}` | {} |\n", written(arg), meaning.replace('|', "\\|"))
}

/// An argument as it is typed.
fn written(arg: &Arg) -> String {
    let names: Vec<&str> = arg.get_value_names().into_iter().flatten().map(|name| name.as_str()).collect();
    let values = if arg.get_action().takes_values() { names.join(" ") } else { String::new() };
    let short = arg.get_short().map(|letter| format!("-{letter}"));
    let long = arg.get_long().map(|word| format!("--{word}"));
    let flags: Vec<String> = short.into_iter().chain(long).collect();
    [flags.join(", "), values].join(" ").trim().to_owned()
}
