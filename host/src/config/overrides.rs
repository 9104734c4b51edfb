//! `-s key=value` and `--unset key`: what is laid over a config file.

use super::{Config, ConfigError};
use crate::plain::Complaint;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use toml::{Table, Value};

/// One change to a config: `initial.size=100`, or a key that is taken out.
///
/// The key is a TOML key, dotted or quoted; the value is TOML, or else plain text.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    path: Vec<String>,
    key: String,
    change: Change,
    source: Source,
}

#[derive(Debug, Clone, PartialEq)]
enum Change {
    To(Value),
    Unset,
}

/// Who wants it.
#[derive(Debug, Clone, PartialEq)]
enum Source {
    CommandLine,
    /// This axis of the table `[sweep]`.
    Axis(String),
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Override, String> {
        if let Some(key) = text.strip_prefix(['!', '~']) {
            return Err(format!("expected key=value; `--unset {key}` takes a key out"));
        }
        let at = equals_sign(text).ok_or("expected key=value, such as initial.size=100")?;
        let (key, value) = (text[..at].trim(), text[at + 1..].trim());
        let path = parts(key)?;
        if value.is_empty() {
            return Err(format!(
                "`{key}` has no value: `--unset {key}` takes it out, and `{key}=\"\"` is an empty text"
            ));
        }
        let parsed = format!("value = {value}").parse::<Table>().ok().filter(|table| table.len() == 1);
        let value = parsed.and_then(|mut table| table.remove("value"));
        let value = value.unwrap_or_else(|| Value::String(text[at + 1..].trim().to_owned()));
        Ok(Override { key: path.join("."), path, change: Change::To(value), source: Source::CommandLine })
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, &self.change) {
            (Source::Axis(_), Change::To(value)) => write!(f, "`{} = {value}` of `[sweep]`", self.key),
            (_, Change::To(value)) => write!(f, "the override `-s {}={value}`", self.typed()),
            (_, Change::Unset) => write!(f, "the override `--unset {}`", self.typed()),
        }
    }
}

impl Override {
    /// A key that is taken out: `query.rounds`.
    pub fn unset(key: &str) -> Result<Override, String> {
        if equals_sign(key).is_some() {
            return Err("expected a key alone, such as query.rounds".to_owned());
        }
        let path = parts(key.trim())?;
        Ok(Override { key: path.join("."), path, change: Change::Unset, source: Source::CommandLine })
    }

    /// What one point of an axis sets.
    pub(super) fn in_sweep(axis: &str, key: &str, value: Value) -> Override {
        let path = key.split('.').map(str::to_owned).collect();
        Override { path, key: key.to_owned(), change: Change::To(value), source: Source::Axis(axis.to_owned()) }
    }

    /// This key with a plain text.
    pub(super) fn of(key: &str, value: &str) -> Override {
        let path = key.split('.').map(str::to_owned).collect();
        let change = Change::To(Value::String(value.to_owned()));
        Override { path, key: key.to_owned(), change, source: Source::CommandLine }
    }

    /// The dotted key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The parts of the key.
    pub(super) fn path(&self) -> &[String] {
        &self.path
    }

    /// What it is set to; none if it is taken out.
    pub(super) fn value(&self) -> Option<&Value> {
        match &self.change {
            Change::To(value) => Some(value),
            Change::Unset => None,
        }
    }

    /// The axis of `[sweep]` that it is of.
    pub(super) fn axis(&self) -> Option<&str> {
        match &self.source {
            Source::Axis(name) => Some(name),
            Source::CommandLine => None,
        }
    }

    /// Whether it sets this key or a table around it.
    pub(super) fn covers(&self, key: &str) -> bool {
        key == self.key || is_below(key, &self.key)
    }

    /// The same key within a section, if it begins with one of these names.
    pub(super) fn within(mut self, section: &str, names: &[&str]) -> Override {
        if names.contains(&self.path[0].as_str()) {
            self.path.insert(0, section.to_owned());
            self.key = self.path.join(".");
        }
        self
    }

    /// Changes the config. Errs with the sentence when a part of the key is no section, or there is nothing to take out.
    pub(super) fn apply(&self, config: &mut Table) -> Result<(), String> {
        let (last, parents) = self.path.split_last().expect("a key has a part");
        let mut table = config;
        for parent in parents {
            if self.value().is_none() && !table.contains_key(parent) {
                return Err(self.nothing());
            }
            let inner = table.entry(parent).or_insert_with(|| Value::Table(Table::new()));
            table = inner.as_table_mut().ok_or_else(|| format!("`{parent}` is a value, not a section"))?;
        }
        match &self.change {
            Change::To(value) => drop(table.insert(last.clone(), value.clone())),
            Change::Unset => drop(table.remove(last).ok_or_else(|| self.nothing())?),
        }
        Ok(())
    }

    pub(super) fn nothing(&self) -> String {
        format!("there is no `{}` to take out", self.key)
    }

    /// The key as one types it.
    fn typed(&self) -> String {
        let is_bare = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        let typed = |part: &String| if is_bare(part) { part.clone() } else { format!("{part:?}") };
        self.path.iter().map(typed).collect::<Vec<_>>().join(".")
    }
}

/// Whether a dotted key lies below another.
pub(super) fn is_below(key: &str, above: &str) -> bool {
    key.strip_prefix(above).is_some_and(|rest| rest.starts_with('.'))
}

/// Where the sign between key and value stands: the first that is not in quotes.
fn equals_sign(text: &str) -> Option<usize> {
    let mut quote = None;
    text.char_indices().find_map(|(at, c)| {
        match (quote, c) {
            (None, '=') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        None
    })
}

/// The parts of a TOML key.
fn parts(key: &str) -> Result<Vec<String>, String> {
    let no_key = || format!("`{key}` is no dotted key, such as initial.size");
    if key.contains(['\n', '#', '[']) {
        return Err(no_key());
    }
    let mut table: Table = format!("{key} = true").parse().map_err(|_| no_key())?;
    let mut parts = Vec::new();
    loop {
        let (name, value) = table.into_iter().next().ok_or_else(no_key)?;
        parts.push(name);
        match value {
            Value::Table(below) => table = below,
            _ => return Ok(parts),
        }
    }
}

/// The table of a file with overrides laid over it.
pub(super) fn layered(file: &Path, text: &str, overrides: &[Override]) -> Result<Table, ConfigError> {
    let mut table: Table = toml::from_str(text).map_err(|error| ConfigError::no_toml(file, text, &error))?;
    for set in overrides {
        set.apply(&mut table).map_err(|error| ConfigError::in_override(file, text, set, &error))?;
    }
    Ok(table)
}

/// The config of a file with overrides. An error in the file is shown at its place; one that an override brings in names the
/// override.
pub(super) fn parse(file: &Path, text: &str, overrides: &[Override]) -> Result<Config, ConfigError> {
    let table = layered(file, text, overrides)?;
    // What one override breaks, or the file, another may have put right: only what is left is wrong.
    let error = match table.clone().try_into::<Config>() {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    let message = one_line(&error);
    let complaint = Complaint::of(&message);
    let place = narrowed(&table, place_of(&error), &complaint);
    let key = [place.as_str()].into_iter().chain(complaint.key()).filter(|part| !part.is_empty());
    let key = key.collect::<Vec<_>>().join(".");
    let rule = complaint.rule();
    let error = match culprit(text, overrides, &place, &key) {
        Some(set) => ConfigError::in_override(file, text, set, &format!("`{key}` {rule}")),
        None => ConfigError::in_file(file, text, &key, &rule),
    };
    Err(match complaint.hint() {
        Some(hint) => error.with_hint(hint),
        None => error,
    })
}

/// The override that an error comes from, if it is not the file's own.
fn culprit<'a>(text: &str, overrides: &'a [Override], place: &str, key: &str) -> Option<&'a Override> {
    let set = |set: &&Override| set.covers(key) || is_below(set.key(), key);
    let of_key = overrides.iter().rev().find(set);
    // What is missing in a section that the file does not have is missing in what made the section.
    let alone: Table = text.parse().unwrap_or_default();
    let is_new = !place.is_empty() && super::error::value_of(&alone, place).is_none();
    let of_section = || overrides.iter().rev().find(|set| is_new && is_below(set.key(), place));
    of_key.or_else(of_section)
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().lines().collect::<Vec<_>>().join(", ")
}

/// The dotted key that an error is about, as far as it says.
fn place_of(error: &toml::de::Error) -> String {
    let shown = error.to_string();
    let place = shown.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    place.unwrap_or_default().to_owned()
}

/// Below a table with a `kind` an error says the table's key alone: the value that was given tells which key of it is meant, if it
/// stands there once.
fn narrowed(table: &Table, place: String, complaint: &Complaint<'_>) -> String {
    let Complaint::Unfit { given, .. } = complaint else { return place };
    let given = match given.split_once(' ') {
        Some((_, value)) => value.trim_start_matches("point ").trim_matches('`'),
        None => return place,
    };
    let Some(Value::Table(inner)) = super::error::value_of(table, &place) else { return place };
    let mut same = inner.iter().filter(|(_, value)| value.to_string() == given);
    match (same.next(), same.next()) {
        (Some((key, _)), None) => format!("{place}.{key}"),
        _ => place,
    }
}
