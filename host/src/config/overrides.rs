//! `-s key=value`: dotted keys laid over a config file.

use super::{Config, ConfigError};
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use toml::{Table, Value};

/// One override: `initial.size=100`. The value is TOML, or else plain text.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    key: String,
    value: Value,
    /// Whether it is from the table `[sweep]`, and not from the command line.
    in_sweep: bool,
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Override, String> {
        let (key, value) = text.split_once('=').ok_or("expected key=value, such as initial.size=100")?;
        let (key, value) = (key.trim(), value.trim());
        if key.split('.').any(str::is_empty) {
            return Err(format!("`{key}` is no dotted key"));
        }
        let parsed = format!("value = {value}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
        Ok(Override {
            key: key.to_owned(),
            value: parsed.unwrap_or_else(|| Value::String(value.to_owned())),
            in_sweep: false,
        })
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.in_sweep {
            true => write!(f, "`{} = {}` of `[sweep]`", self.key, self.value),
            false => write!(f, "the override `-s {}={}`", self.key, self.value),
        }
    }
}

impl Override {
    /// What one point of an axis sets.
    pub(super) fn in_sweep(key: &str, value: Value) -> Override {
        Override { key: key.to_owned(), value, in_sweep: true }
    }

    /// The dotted key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// What it is set to.
    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// Whether it sets this key or a table around it.
    pub(super) fn covers(&self, key: &str) -> bool {
        key == self.key || key.strip_prefix(&self.key).is_some_and(|rest| rest.starts_with('.'))
    }

    /// This key with a plain text.
    pub(super) fn of(key: &str, value: &str) -> Override {
        Override { key: key.to_owned(), value: Value::String(value.to_owned()), in_sweep: false }
    }

    /// The same key within a section, if it begins with one of these names.
    pub(super) fn within(mut self, section: &str, names: &[&str]) -> Override {
        let first = self.key.split('.').next().unwrap_or_default();
        if names.contains(&first) {
            self.key = format!("{section}.{}", self.key);
        }
        self
    }

    pub(super) fn apply(&self, config: &mut Table) -> Result<(), String> {
        let (parents, last) = match self.key.rsplit_once('.') {
            Some((parents, last)) => (parents.split('.').collect(), last),
            None => (Vec::new(), self.key.as_str()),
        };
        let mut table = config;
        for parent in parents {
            let inner = table.entry(parent).or_insert_with(|| Value::Table(Table::new()));
            table = inner.as_table_mut().ok_or_else(|| format!("`{parent}` is a value, not a section"))?;
        }
        table.insert(last.to_owned(), self.value.clone());
        Ok(())
    }
}

/// The config of a file with overrides. An error in the file is shown at its place; one that an override brings in names the
/// override.
pub(super) fn parse(file: &Path, text: &str, overrides: &[Override]) -> Result<Config, ConfigError> {
    let in_text = |error| ConfigError::in_text(file, text, &error);
    let alone = toml::from_str::<Config>(text);
    if overrides.is_empty() {
        return alone.map_err(in_text);
    }
    let mut table: Table = toml::from_str(text).map_err(in_text)?;
    for set in overrides {
        set.apply(&mut table).map_err(|error| ConfigError::in_override(file, set, &error))?;
    }
    // What one override breaks, or the file, another may have put right: only what is left is wrong.
    let error = match table.try_into::<Config>() {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    let (sentence, key) = (error.message().lines().collect::<Vec<_>>().join(", "), key_of(&error));
    let meets = |set: &&Override| !key.is_empty() && (set.covers(&key) || set.key.starts_with(&format!("{key}.")));
    let culprit = overrides.iter().rev().find(meets);
    match (alone, culprit) {
        (Err(same), _) if same.message() == error.message() => Err(in_text(same)),
        (_, Some(set)) => Err(ConfigError::in_override(file, set, &sentence)),
        (Err(_), None) => Err(ConfigError::at_place(file, text, &key, &sentence)),
        (Ok(_), None) => Err(ConfigError::in_override(file, &overrides[overrides.len() - 1], &sentence)),
    }
}

/// The dotted key that an error is about, as far as it says: an unknown field with its own name.
fn key_of(error: &toml::de::Error) -> String {
    let shown = error.to_string();
    let path = shown.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`')).unwrap_or_default();
    let unknown = error.message().strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let parts: Vec<&str> = [path].into_iter().chain(unknown).filter(|part| !part.is_empty()).collect();
    parts.join(".")
}
