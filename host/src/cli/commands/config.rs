//! `coldstart config ...`: what a config may say, and one to begin with.

use crate::cli::args::ConfigHelp;
use crate::cli::problem::Problem;
use crate::cli::stdout;
use crate::cli::typed::make_folder_of;
use crate::config::{self, Choice, Key};
use crate::experiment::RunError;
use crate::nearest::nearest;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// The commands under `config`.
pub fn config(command: &ConfigHelp) -> Result<(), Problem> {
    match command {
        ConfigHelp::Explain { markdown: true, .. } => {
            stdout::own(&markdown(&config::keys()));
            Ok(())
        }
        ConfigHelp::Explain { key: Some(key), .. } => explain(key),
        ConfigHelp::Explain { key: None, .. } => {
            list(&config::keys());
            Ok(())
        }
        ConfigHelp::Schema => {
            super::print_json(&config::schema());
            Ok(())
        }
        ConfigHelp::Init { file } => init(file),
    }
}

/// Print a key, and the keys below it.
fn explain(wanted: &str) -> Result<(), Problem> {
    let keys = config::keys();
    let found: Vec<&Key> = keys.iter().filter(|key| key.path == wanted).collect();
    if found.is_empty() {
        let near = nearest(wanted, keys.iter().map(|key| key.path.as_str()));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`coldstart config explain` lists every key".to_owned(),
        };
        return Err(Problem::usage(format!("a config has no key `{wanted}`"), Some(hint)));
    }
    found.iter().for_each(|key| details(key));
    let below = format!("{wanted}.");
    let below: Vec<Key> = keys.into_iter().filter(|key| key.path.starts_with(&below)).collect();
    if !below.is_empty() {
        outln!("");
        list(&below);
    }
    Ok(())
}

fn details(key: &Key) {
    outln!("{}{}", key.path, of_kind(key));
    outln!("  {}", key.summary);
    outln!("");
    outln!("  value    {}", key.takes);
    if let Some(range) = key.range.in_words() {
        outln!("  range    {range}");
    }
    match &key.default {
        Some(default) => outln!("  default  {default}"),
        None if key.is_needed => outln!("  default  none: a config has to say it"),
        None => outln!("  default  absent"),
    }
    outln!("  since    {}", key.since);
    for Choice { name, summary } in &key.choices {
        outln!("  {name:<16} {summary}");
    }
}

fn list(keys: &[Key]) {
    for key in keys {
        outln!("{:<44} {}", format!("{}{}", key.path, of_kind(key)), key.summary);
    }
}

fn of_kind(key: &Key) -> String {
    key.of_kind.as_ref().map(|kind| format!(" (kind = \"{kind}\")")).unwrap_or_default()
}

/// The page `docs/reference/config.md`.
fn markdown(keys: &[Key]) -> String {
    let mut page = PAGE.to_owned();
    let mut tables: BTreeMap<&str, Vec<&Key>> = BTreeMap::new();
    for key in keys {
        let table = key.path.rsplit_once('.').map_or("", |(table, _)| table);
        tables.entry(table).or_default().push(key);
    }
    for (table, keys_of_table) in tables {
        let title = if table.is_empty() { "Top level".to_owned() } else { format!("`{table}`") };
        let summary = keys.iter().find(|key| key.path == table).map_or("", |key| &key.summary);
        _ = write!(page, "\n## {title}\n\n{summary}{}", if summary.is_empty() { "" } else { "\n\n" });
        page += "| key | value | default | since | meaning |\n| --- | --- | --- | --- | --- |\n";
        keys_of_table.iter().for_each(|key| page += &row(key));
    }
    page
}

const PAGE: &str = "# Config

Every key of a config. `coldstart config explain --markdown` prints this page, `coldstart config explain KEY` one key, and
`coldstart config schema` a JSON Schema, with which editors check a config as it is written: `#:schema ./coldstart.schema.json` in its
first line. Keys without a default are absent unless a config says them.
";

fn row(key: &Key) -> String {
    let name = key.path.rsplit('.').next().unwrap_or_default();
    let of_kind = key.of_kind.as_ref().map(|kind| format!(" (`kind = \"{kind}\"`)")).unwrap_or_default();
    let range = key.range.in_words().map(|range| format!("; {range}")).unwrap_or_default();
    let default = match &key.default {
        Some(default) => format!("`{default}`"),
        None if key.is_needed => "must be there".to_owned(),
        None => String::new(),
    };
    let choices: Vec<String> = key.choices.iter().map(choice).collect();
    let choices = if choices.is_empty() { String::new() } else { format!(" {}", choices.join("; ")) };
    let meaning = format!("{}{choices}", key.summary).replace('|', "\\|");
    format!("| `{name}`{of_kind} | {}{range} | {default} | {} | {meaning} |\n", key.takes, key.since)
}

fn choice(choice: &Choice) -> String {
    let Choice { name, summary } = choice;
    let summary = summary.trim_end_matches('.');
    if summary.is_empty() { format!("`{name}`") } else { format!("`{name}`: {summary}") }
}

/// What a config begins with; `NAME` stands for its own.
const FIRST: &str = include_str!("../../config/first.toml");

/// The file that the first line of a config names for editors.
const SCHEMA: &str = "coldstart.schema.json";

/// Write a config to begin with, and the schema beside it.
fn init(file: &Path) -> Result<(), Problem> {
    make_folder_of(file)?;
    let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("experiment");
    let name: String = name.chars().map(|c| if config::is_of_a_name(c) { c } else { '-' }).collect();
    write_new(file, &FIRST.replace("NAME", &name))?;
    let schema = serde_json::to_string_pretty(&config::schema()).expect("plain data") + "\n";
    let beside = file.with_file_name(SCHEMA);
    std::fs::write(&beside, schema).map_err(|source| unwritten(&beside, source))?;
    outln!("{}", file.display());
    Ok(())
}

/// Write a file that is not there yet.
fn write_new(file: &Path, text: &str) -> Result<(), Problem> {
    let opened = OpenOptions::new().write(true).create_new(true).open(file);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let hint = "choose another name, or move the file away".to_owned();
            Err(Problem::usage(format!("`{}` is there already", file.display()), Some(hint)))
        }
        written => written.map_err(|source| unwritten(file, source).into()),
    }
}

fn unwritten(file: &Path, source: io::Error) -> RunError {
    RunError::File { action: "write", path: file.to_owned(), source }
}
