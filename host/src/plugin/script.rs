//! The manifest of a script, read without running it: a comment block in TOML, like the inline metadata of PEP 723.
//!
//! ```text
//! # /// coldstart
//! # summary = "Entropy of a softened distribution"
//! # roles = ["query"]
//! # needs = ["model.predict/1"]
//! # params = { temperature = { type = "number", default = 1.0, minimum = 0.0 } }
//! # ///
//! ```
//!
//! Every key has a default, and a script without the block is a strategy as well: called as its file, good for both
//! roles, without needs, and with any params. Whatever stands in the block is checked to the letter.

use super::error::{PluginCode, PluginError};
use super::manifest::{Manifest, is_kebab_case};
use super::package::sha256;
use crate::nearest::nearest;
use coldstart_plugin_api::manifest::Asked;
use coldstart_plugin_api::{API_VERSION, Role};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

const OPENING: &str = "# /// coldstart";
const CLOSING: &str = "# ///";
const KEYS: [&str; 14] = [
    "name",
    "publisher",
    "version",
    "summary",
    "license",
    "authors",
    "cite",
    "roles",
    "criterion",
    "needs",
    "asks",
    "composes",
    "params",
    "modules",
];
/// What may stand in the block of a learner, which has no roles, and asks for nothing.
const LEARNER_KEYS: [&str; 9] =
    ["name", "publisher", "version", "summary", "license", "authors", "cite", "params", "modules"];
/// Modules that a script may name, and their bytes together.
const MOST_MODULES: usize = 64;
const MOST_BYTES: u64 = 8 << 20;
const PARAM_KEYS: [&str; 6] = ["type", "default", "minimum", "maximum", "enum", "description"];

/// The manifest of the script `text`; `file` names it in errors, and gives it its name where the block does not.
///
/// Errs with the line of what does not belong there.
pub fn manifest(file: &str, text: &str) -> Result<Manifest, PluginError> {
    described(file, text, &KEYS)
}

/// The same for a learner.
pub fn learner_manifest(file: &str, text: &str) -> Result<Manifest, PluginError> {
    described(file, text, &LEARNER_KEYS)
}

fn described(file: &str, text: &str, keys: &[&str]) -> Result<Manifest, PluginError> {
    if text.contains('\0') {
        return Err(PluginError::new(PluginCode::Library, file, "holds a zero byte: it is no script")
            .with_hint("a script in Python is a plain text file"));
    }
    let block = Block::find(file, text)?;
    block.known_keys(keys)?;
    let fields: Fields = toml::from_str(&block.toml).map_err(|error| block.malformed(&error))?;
    Ok(Manifest {
        format: 1,
        name: block.name(fields.name)?,
        publisher: block.publisher(fields.publisher)?,
        version: block.version(fields.version)?,
        api: API_VERSION.parse().expect("a crate's version is a version"),
        panic: "unwind".to_owned(),
        summary: fields.summary,
        license: fields.license,
        authors: fields.authors,
        cite: fields.cite,
        roles: block.roles(fields.roles)?,
        criterion: block.criterion(fields.criterion)?,
        needs: fields.needs,
        asks: block.asks(fields.asks)?,
        composes: fields.composes,
        params: block.schema(fields.params)?,
        modules: block.modules(fields.modules)?,
    })
}

/// What may stand in the block.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Fields {
    name: Option<String>,
    publisher: String,
    version: Option<String>,
    summary: String,
    license: String,
    authors: String,
    cite: String,
    roles: Option<Vec<String>>,
    criterion: String,
    needs: Vec<String>,
    asks: Vec<String>,
    composes: Vec<String>,
    params: Option<BTreeMap<String, Param>>,
    modules: Vec<String>,
}

/// One parameter.
#[derive(Deserialize)]
struct Param {
    #[serde(rename = "type")]
    kind: Kind,
    default: Option<toml::Value>,
    minimum: Option<toml::Value>,
    maximum: Option<toml::Value>,
    #[serde(rename = "enum")]
    choices: Option<Vec<toml::Value>>,
    description: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Number,
    Integer,
    Boolean,
    String,
}

/// The block of a script, uncommented; its lines keep their numbers.
struct Block<'a> {
    file: &'a str,
    toml: String,
}

impl<'a> Block<'a> {
    /// The one block, or an empty one.
    fn find(file: &'a str, text: &str) -> Result<Block<'a>, PluginError> {
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        let mut found = Block { file, toml: String::new() };
        let mut i = 0;
        while i < lines.len() {
            if lines[i] == OPENING {
                if !found.toml.is_empty() {
                    return Err(found.at_line(i + 1, "a second block; there is one for a script"));
                }
                i = found.read(&lines, i)?;
            } else if means_to_open(lines[i]) {
                let message = format!("`{}` opens no block", lines[i].trim());
                return Err(found.at_line(i + 1, message).with_hint(format!("write `{OPENING}`")));
            }
            i += 1;
        }
        Ok(found)
    }

    /// Take over the lines after `opening`; the number of the closing one.
    fn read(&mut self, lines: &[&str], opening: usize) -> Result<usize, PluginError> {
        self.toml = "\n".repeat(opening + 1);
        for (i, line) in lines.iter().enumerate().skip(opening + 1) {
            if *line == CLOSING {
                return Ok(i);
            }
            match line.strip_prefix("# ").or(line.strip_prefix('#').filter(|rest| rest.is_empty())) {
                Some(content) => self.toml.push_str(content),
                None if line.starts_with('#') => {
                    return Err(self.at_line(i + 1, "a line of the block begins with `# `"));
                }
                None => break,
            }
            self.toml.push('\n');
        }
        let hint = format!("end it with `{CLOSING}`, and begin each of its lines with `# `");
        Err(self.at_line(opening + 1, "the block is not closed").with_hint(hint))
    }

    fn at_line(&self, line: usize, message: impl std::fmt::Display) -> PluginError {
        PluginError::new(PluginCode::Descriptor, self.file, format!("line {line}: {message}"))
            .with_hint(format!("mend the block `{OPENING}` of the script"))
    }

    /// An error about the value at `path`, such as `["params", "k"]`.
    fn at(&self, path: &[&str], message: impl std::fmt::Display) -> PluginError {
        self.at_line(self.line_of(path), format!("`{}` {message}", path.join(".")))
    }

    fn malformed(&self, error: &toml::de::Error) -> PluginError {
        let at = error.span().map_or(self.toml.len(), |span| span.start);
        self.at_line(self.line_at(at), error.message().trim())
    }

    fn line_at(&self, byte: usize) -> usize {
        1 + self.toml.bytes().take(byte).filter(|byte| *byte == b'\n').count()
    }

    /// The line of the last key of `path` that can be found.
    fn line_of(&self, path: &[&str]) -> usize {
        let document: Option<toml::Spanned<toml::de::DeTable<'_>>> = toml::de::DeTable::parse(&self.toml).ok();
        let (mut table, mut at) = (document.as_ref().map(toml::Spanned::get_ref), 0);
        for name in path {
            let Some((key, value)) = table.and_then(|table| table.get_key_value(*name)) else { break };
            at = key.span().start;
            table = value.get_ref().as_table();
        }
        self.line_at(at)
    }

    /// Unknown keys are errors: a misspelt one would be a setting that nobody obeys.
    fn known_keys(&self, keys: &[&str]) -> Result<(), PluginError> {
        let table: toml::Table = toml::from_str(&self.toml).map_err(|error| self.malformed(&error))?;
        self.known(&[], &table, keys)?;
        let params = table.get("params").and_then(toml::Value::as_table).into_iter().flatten();
        for (name, param) in params {
            if let Some(param) = param.as_table() {
                self.known(&["params", name], param, &PARAM_KEYS)?;
            }
        }
        Ok(())
    }

    fn known(&self, path: &[&str], table: &toml::Table, keys: &[&str]) -> Result<(), PluginError> {
        let Some(unknown) = table.keys().find(|key| !keys.contains(&key.as_str())) else { return Ok(()) };
        let hint = match nearest(unknown, keys.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", keys.join(", ")),
        };
        Err(self.at(&[path, &[unknown]].concat(), "is no key of the block").with_hint(hint))
    }

    fn name(&self, given: Option<String>) -> Result<String, PluginError> {
        if let Some(name) = given {
            let message = format!("is `{name}`, which is not kebab-case");
            return if is_kebab_case(&name) { Ok(name) } else { Err(self.at(&["name"], message)) };
        }
        let stem = Path::new(self.file).file_stem().unwrap_or_default().to_string_lossy();
        let name = stem.to_lowercase().replace(['_', ' ', '.'], "-");
        if is_kebab_case(&name) {
            return Ok(name);
        }
        let message = format!("the file's name does not make a strategy's name: `{name}` is not kebab-case");
        Err(PluginError::new(PluginCode::Descriptor, self.file, message)
            .with_hint(format!("write `name = \"my-idea\"` in the block `{OPENING}`, or rename the file")))
    }

    fn version(&self, given: Option<String>) -> Result<semver::Version, PluginError> {
        let Some(version) = given else { return Ok(semver::Version::new(0, 0, 0)) };
        version.parse().map_err(|_| self.at(&["version"], format!("is `{version}`, which is not like 1.2.3")))
    }

    fn publisher(&self, publisher: String) -> Result<String, PluginError> {
        if publisher.is_empty() || is_kebab_case(&publisher) {
            return Ok(publisher);
        }
        Err(self.at(&["publisher"], format!("is `{publisher}`, which is not kebab-case")))
    }

    fn roles(&self, given: Option<Vec<String>>) -> Result<Vec<String>, PluginError> {
        let known = [Role::Initial, Role::Query, Role::Sizer].map(Role::name);
        let Some(roles) = given else {
            return Ok([Role::Initial, Role::Query].map(|role| role.name().to_owned()).into());
        };
        if roles.is_empty() {
            return Err(self.at(&["roles"], "is empty").with_hint("leave it out for both roles"));
        }
        for (i, role) in roles.iter().enumerate() {
            if !known.contains(&role.as_str()) {
                let hint = format!("known are {}", known.join(", "));
                return Err(self.at(&["roles"], format!("names `{role}`")).with_hint(hint));
            }
            if roles[..i].contains(role) {
                return Err(self.at(&["roles"], format!("names `{role}` twice")));
            }
        }
        if roles.len() > 1 && roles.iter().any(|role| role == Role::Sizer.name()) {
            let hint = "a sizer chooses no images: keep one of the two";
            return Err(self.at(&["roles"], "names `sizer` beside another role").with_hint(hint));
        }
        Ok(roles)
    }

    fn criterion(&self, word: String) -> Result<String, PluginError> {
        match word.is_empty() || is_kebab_case(&word) {
            true => Ok(word),
            false => Err(self.at(&["criterion"], format!("is `{word}`, and not a word in lower case"))),
        }
    }

    fn asks(&self, given: Vec<String>) -> Result<Vec<String>, PluginError> {
        let known = Asked::ALL.map(Asked::name);
        match given.iter().find(|word| !known.contains(&word.as_str())) {
            None => Ok(given),
            Some(word) => {
                let hint = format!("known are {}", known.join(", "));
                Err(self.at(&["asks"], format!("names `{word}`")).with_hint(hint))
            }
        }
    }

    /// The modules that belong to the script, each once, and each a plain path below the script's folder.
    fn modules(&self, given: Vec<String>) -> Result<Vec<String>, PluginError> {
        if given.len() > MOST_MODULES {
            return Err(self.at(&["modules"], format!("names {} files; at most {MOST_MODULES} are read", given.len())));
        }
        let mut seen = BTreeSet::new();
        for path in &given {
            let name = module_name(path).ok_or_else(|| {
                let hint = "write a path below the script's folder, such as `helper.py` or `tools/picks.py`";
                self.at(&["modules"], format!("names `{path}`, which cannot be imported")).with_hint(hint)
            })?;
            if !seen.insert(name) {
                return Err(self.at(&["modules"], format!("names the module of `{path}` twice")));
            }
        }
        Ok(given)
    }

    /// The JSON Schema of the params; without a list of them any object fits.
    fn schema(&self, params: Option<BTreeMap<String, Param>>) -> Result<Value, PluginError> {
        let Some(params) = params else { return Ok(json!({"type": "object"})) };
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for (name, param) in params {
            if param.default.is_none() {
                required.push(name.clone());
            }
            let property = self.property(&name, param)?;
            properties.insert(name, property);
        }
        Ok(json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false
        }))
    }

    fn property(&self, name: &str, param: Param) -> Result<Value, PluginError> {
        let numeric = matches!(param.kind, Kind::Number | Kind::Integer);
        let mut property = Map::from_iter([("type".to_owned(), json!(param.kind.name()))]);
        property.extend(param.description.map(|text| ("description".to_owned(), json!(text))));
        for (key, bound) in [("minimum", param.minimum), ("maximum", param.maximum)] {
            let Some(bound) = bound else { continue };
            if !numeric || !matches!(bound, toml::Value::Integer(_) | toml::Value::Float(_)) {
                return Err(self.at(&["params", name, key], "must be a number, of a number"));
            }
            property.insert(key.to_owned(), self.plain(&["params", name, key], bound)?);
        }
        if let Some(choices) = param.choices {
            if choices.is_empty() {
                return Err(self.at(&["params", name, "enum"], "is empty"));
            }
            property.insert("enum".to_owned(), self.plain(&["params", name, "enum"], choices.into())?);
        }
        if let Some(default) = param.default {
            property.insert("default".to_owned(), self.plain(&["params", name, "default"], default)?);
        }
        let property = Value::Object(property);
        self.defaults_fit(name, &property)?;
        Ok(property)
    }

    fn defaults_fit(&self, name: &str, property: &Value) -> Result<(), PluginError> {
        let validator = jsonschema::validator_for(property)
            .map_err(|error| self.at(&["params", name], format!("makes no schema: {error}")))?;
        match property.get("default").map(|default| validator.validate(default)) {
            Some(Err(error)) => Err(self.at(&["params", name, "default"], format!("does not fit: {error}"))),
            _ => Ok(()),
        }
    }

    /// A value as JSON; errs on what JSON has no word for: dates, NaN and infinities.
    fn plain(&self, path: &[&str], value: toml::Value) -> Result<Value, PluginError> {
        match value {
            toml::Value::String(text) => Ok(text.into()),
            toml::Value::Integer(number) => Ok(number.into()),
            toml::Value::Boolean(flag) => Ok(flag.into()),
            toml::Value::Float(number) if number.is_finite() => Ok(number.into()),
            toml::Value::Array(values) => values.into_iter().map(|value| self.plain(path, value)).collect(),
            _ => Err(self.at(path, "must be made of plain numbers, strings and booleans")),
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Number => "number",
            Kind::Integer => "integer",
            Kind::Boolean => "boolean",
            Kind::String => "string",
        }
    }
}

/// A module of a script: its path below the script's folder, and its source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Module {
    pub path: String,
    #[serde(with = "serde_bytes")]
    pub source: Vec<u8>,
}

/// Read the modules that a script names.
///
/// Errs with the first that is no file of the script's folder (a link that leads elsewhere is none), or that makes them larger
/// than all of them may be.
pub fn read_modules(script: &Path, named: &[String]) -> Result<Vec<Module>, PluginError> {
    let mut left = MOST_BYTES;
    let mut read = |path: &String| {
        let source = read_below(script.parent().unwrap_or(Path::new("")), path, left).map_err(|problem| {
            let message = format!("its module `{path}` {problem}");
            PluginError::new(PluginCode::Library, script.display().to_string(), message)
                .with_hint("`modules` in its block names files below the script's own folder")
        })?;
        left -= source.len() as u64;
        Ok(Module { path: path.clone(), source })
    };
    named.iter().map(&mut read).collect()
}

fn read_below(folder: &Path, path: &str, most: u64) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let file = folder.join(path).canonicalize().map_err(unreadable)?;
    if !file.starts_with(folder.canonicalize().map_err(unreadable)?) {
        return Err("is a link out of the script's folder".to_owned());
    }
    // Whatever is no file, such as a pipe, could be read without end.
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err("is no file".to_owned());
    }
    let mut source = Vec::new();
    File::open(&file).and_then(|file| file.take(most + 1).read_to_end(&mut source)).map_err(unreadable)?;
    match source.len() as u64 > most {
        true => Err(format!("is too large: all modules of a script have {MOST_BYTES} bytes at the most")),
        false => Ok(source),
    }
}

/// The hash of a script: of its bytes, and if it has modules, of a list of their hashes and its own.
pub fn hash(bytes: &[u8], modules: &[Module]) -> String {
    if modules.is_empty() {
        return sha256(bytes);
    }
    let mut lines: Vec<String> =
        modules.iter().map(|module| format!("{}  {}\n", sha256(&module.source), module.path)).collect();
    lines.sort_by(|a, b| a.split("  ").last().cmp(&b.split("  ").last()));
    sha256(format!("coldstart script with modules 1\n{}\n{}", sha256(bytes), lines.concat()).as_bytes())
}

/// What a file is imported as: its path with dots, if that consists of plain names.
fn module_name(path: &str) -> Option<String> {
    let plain = |name: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(inner)
    };
    let stem = path.strip_suffix(".py").filter(|stem| stem.len() < 200 && stem.split('/').all(plain))?;
    match stem.strip_suffix("/__init__") {
        Some(package) => Some(package.replace('/', ".")),
        None if stem == "__init__" => None,
        None => Some(stem.replace('/', ".")),
    }
}

/// Whether a line that opens no block looks as if it should: without this, a slip would mean all defaults.
fn means_to_open(line: &str) -> bool {
    let comment = line.trim_start().strip_prefix('#').map(str::trim_start);
    let Some(word) = comment.and_then(|comment| comment.strip_prefix("///")) else { return false };
    nearest(word.trim().to_lowercase().as_str(), ["coldstart"]).is_some()
}

#[cfg(test)]
mod tests;
