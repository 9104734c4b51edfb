//! Reference of a config's keys, read off the types that read it: a JSON Schema for editors, and a list of keys in words.

use super::Config;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

/// A key of a config.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its dotted path, such as `training.optimizer.lr`.
    pub path: String,
    /// The `kind` of the table that it belongs to, where only one kind has it.
    pub of_kind: Option<String>,
    /// The type of its value, in words.
    pub takes: String,
    /// The numbers that it may be.
    pub range: Range,
    /// The value that it has where a config does not say it, as TOML writes it.
    pub default: Option<String>,
    /// Whether a config has to say it.
    pub is_needed: bool,
    /// The words that it may be.
    pub choices: Vec<Choice>,
    /// What it sets.
    pub summary: String,
    /// The first release that has it.
    pub since: String,
}

/// The keys of each earlier release, a line each; a key that none of them has is new in this one.
const RELEASES: [(&str, &str); 1] = [("0.1", include_str!("keys/0.1.txt"))];

/// The first release that has a key.
fn since(path: &str, of_kind: Option<&str>) -> String {
    let line = match of_kind {
        Some(kind) => format!("{path} ({kind})"),
        None => path.to_owned(),
    };
    let found = RELEASES.iter().find(|(_, keys)| keys.lines().any(|key| key == line));
    let this = env!("CARGO_PKG_VERSION").rsplit_once('.').map_or("", |(minor, _)| minor);
    found.map_or(this, |(release, _)| release).to_owned()
}

/// The numbers that a key may be set to; without bounds all of its type.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Range {
    /// The smallest number.
    pub least: Option<f64>,
    /// A number that it has to be above.
    pub above: Option<f64>,
    /// The largest number.
    pub most: Option<f64>,
    /// A number that it has to be below.
    pub below: Option<f64>,
}

impl Range {
    /// The bounds that a JSON Schema gives a number.
    pub fn of(schema: &Value) -> Range {
        let bound = |key: &str| schema[key].as_f64();
        // The schema of a number without a sign says that it is at least 0, which its type says already.
        let has_sign = schema["format"].as_str().is_none_or(|format| !format.starts_with("uint"));
        let least = bound("minimum").filter(|least| *least != 0.0 || has_sign);
        Range { least, above: bound("exclusiveMinimum"), most: bound("maximum"), below: bound("exclusiveMaximum") }
    }

    /// The range in words; none where there is no bound.
    pub fn in_words(&self) -> Option<String> {
        let from = self.least.map(|n| format!("at least {n}")).or(self.above.map(|n| format!("above {n}")));
        let to = self.most.map(|n| format!("at most {n}")).or(self.below.map(|n| format!("below {n}")));
        match (from, to) {
            (Some(from), Some(to)) => Some(format!("{from}, {to}")),
            (from, to) => from.or(to),
        }
    }
}

/// A word that a key may be set to.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The word.
    pub name: String,
    /// What it means.
    pub summary: String,
}

/// The JSON Schema of a config, draft 7, which editors with TOML support read.
///
/// It asks for no key but `name`: in a study the lists of `[sweep]` may say the others.
pub fn schema() -> Value {
    let mut schema = schema_of_a_run();
    schema["required"] = serde_json::json!(["name"]);
    for section in ["Spec", "Initial", "Query"] {
        let definition = schema["definitions"][section].as_object_mut().expect("sections are tables");
        definition.remove("required");
    }
    schema
}

/// The schema of a config that says all that one run needs.
fn schema_of_a_run() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    generator.into_root_schema_for::<Config>().to_value()
}

/// Every key of a config, by path.
pub fn keys() -> Vec<Key> {
    let schema = schema_of_a_run();
    let definitions = schema["definitions"].as_object().cloned().unwrap_or_default();
    let mut walk = Walk { definitions, expanded: BTreeMap::new(), tables: VecDeque::new(), keys: Vec::new() };
    walk.tables.push_back(Table { path: String::new(), of_kind: None, schema: schema.clone() });
    // Breadth first, so that the keys of a table that several sections share are listed where it stands highest.
    while let Some(table) = walk.tables.pop_front() {
        walk.add_keys_of(&table);
    }
    walk.keys.sort_by(|a, b| (&a.path, &a.of_kind).cmp(&(&b.path, &b.of_kind)));
    walk.keys
}

/// A table of a config whose keys are not in the list yet.
struct Table {
    path: String,
    of_kind: Option<String>,
    schema: Value,
}

struct Walk {
    definitions: Map<String, Value>,
    /// The tables that have their keys in the list, by definition, and at which path.
    expanded: BTreeMap<String, String>,
    tables: VecDeque<Table>,
    keys: Vec<Key>,
}

impl Walk {
    fn add_keys_of(&mut self, table: &Table) {
        let needed: Vec<&str> = strings(&table.schema["required"]).collect();
        for (name, property) in table.schema["properties"].as_object().into_iter().flatten() {
            if table.of_kind.is_some() && name == "kind" {
                continue;
            }
            let path = if table.path.is_empty() { name.clone() } else { format!("{}.{name}", table.path) };
            let is_needed = needed.contains(&name.as_str());
            self.add_key(path, table.of_kind.clone(), property, is_needed);
        }
    }

    fn add_key(&mut self, path: String, of_kind: Option<String>, property: &Value, is_needed: bool) {
        let definition = definition_of(property);
        let merged = self.merged(property);
        let mut summary = sentence(&merged["description"]);
        match definition.as_ref().and_then(|name| self.expanded.get(name)) {
            Some(elsewhere) => _ = write!(summary, " Keys as in `{elsewhere}`."),
            None => self.enqueue_tables(&path, &merged),
        }
        if let Some(name) = definition.filter(|_| has_keys(&merged)) {
            self.expanded.entry(name).or_insert_with(|| path.clone());
        }
        let key = Key {
            takes: self.takes(&merged),
            range: Range::of(&merged),
            default: default(&merged["default"]),
            choices: choices(&merged),
            since: since(&path, of_kind.as_deref()),
            path,
            of_kind,
            is_needed,
            summary,
        };
        self.keys.push(key);
    }

    /// Put the tables that a value may be, or hold, into the queue.
    fn enqueue_tables(&mut self, path: &str, value: &Value) {
        let items = self.merged(&value["items"]);
        for form in forms(value).into_iter().chain(forms(&items)) {
            let form = self.merged(&form);
            if form["properties"].is_object() {
                let of_kind = form["properties"]["kind"]["const"].as_str().map(str::to_owned);
                self.tables.push_back(Table { path: path.to_owned(), of_kind, schema: form });
            }
        }
    }

    /// A schema with the definition that it refers to laid under it: what it says itself comes first.
    fn merged(&self, schema: &Value) -> Value {
        let Some(own) = schema.as_object() else { return Value::Null };
        let mut merged = own.clone();
        let below = match definition_of(schema) {
            Some(name) => self.merged(self.definitions.get(&name).unwrap_or(&Value::Null)),
            None => Value::Null,
        };
        if below.is_object() {
            ["$ref", "allOf", "anyOf"].iter().for_each(|key| drop(merged.remove(*key)));
        }
        for (key, value) in below.as_object().into_iter().flatten() {
            match (merged.get_mut(key), value) {
                (Some(Value::Object(own)), Value::Object(below)) if key == "properties" => own.extend(below.clone()),
                (Some(_), _) => {}
                (None, value) => drop(merged.insert(key.clone(), value.clone())),
            }
        }
        Value::Object(merged)
    }

    /// The type of a value, in words.
    fn takes(&self, schema: &Value) -> String {
        let mut words: Vec<String> = Vec::new();
        for form in forms(schema) {
            let word = self.form_in_words(&form);
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words.join(", or ")
    }

    fn form_in_words(&self, form: &Value) -> String {
        let word = match type_of(form) {
            "array" => return self.list_in_words(form),
            "object" if form["properties"]["kind"]["const"].is_string() => "table with a `kind`",
            "object" => "table",
            "integer" => "whole number",
            "number" => "number",
            "boolean" => "`true` or `false`",
            "string" if is_choice(form) => "one of the words",
            "string" => "text",
            _ => "anything",
        };
        word.to_owned()
    }

    fn list_in_words(&self, form: &Value) -> String {
        let items = self.takes(&self.merged(&form["items"]));
        match form["minItems"].as_u64() {
            Some(count) if form["maxItems"] == form["minItems"] => format!("list of {count} {items}s"),
            _ => format!("list of {items}s"),
        }
    }
}

/// The one definition that a schema refers to, by itself or beside `null`.
fn definition_of(schema: &Value) -> Option<String> {
    let list = schema["allOf"].as_array().or(schema["anyOf"].as_array());
    let others: Vec<&Value> = list.into_iter().flatten().filter(|one| one["type"] != "null").collect();
    let reference = match others[..] {
        [one] => &one["$ref"],
        _ => &schema["$ref"],
    };
    reference.as_str()?.strip_prefix("#/definitions/").map(str::to_owned)
}

/// The forms that a value may have: those of its alternatives, or the one that it says itself.
fn forms(schema: &Value) -> Vec<Value> {
    let alternatives = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
    match alternatives {
        Some(alternatives) => alternatives.iter().flat_map(forms).collect(),
        None if schema.is_object() => vec![schema.clone()],
        None => Vec::new(),
    }
}

fn has_keys(schema: &Value) -> bool {
    forms(schema).iter().any(|form| form["properties"].is_object())
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The type that a schema names, beside `null`.
fn type_of(schema: &Value) -> &str {
    let named = schema["type"].as_str().or_else(|| strings(&schema["type"]).find(|name| *name != "null"));
    named.unwrap_or_default()
}

fn is_choice(form: &Value) -> bool {
    form["const"].is_string() || form["enum"].is_array()
}

/// The words that a value may be, and the kinds that a table may have.
fn choices(schema: &Value) -> Vec<Choice> {
    let mut found = Vec::new();
    for form in forms(schema) {
        let of_kind = form["properties"]["kind"]["const"].as_str();
        let name = form["const"].as_str().or(of_kind);
        let summary = sentence(&form["description"]);
        found.extend(name.map(|name| Choice { name: name.to_owned(), summary }));
        found.extend(strings(&form["enum"]).map(|name| Choice { name: name.to_owned(), summary: String::new() }));
    }
    found
}

/// A default as TOML writes it; none where there is nothing to write.
fn default(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Array(items) if items.is_empty() => None,
        // The defaults of a table are those of its keys, but for its kind.
        Value::Object(table) => table.get("kind").map(|kind| format!("{{ kind = {kind} }}")),
        value => Some(value.to_string()),
    }
}

/// A description as one line: the links of the code's documentation become their texts.
fn sentence(description: &Value) -> String {
    let text = description.as_str().unwrap_or_default().split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("[`") {
        let (name, behind) = after.split_once("`]").unwrap_or((after, ""));
        let is_address = behind.starts_with('(');
        let behind = if is_address { behind.split_once(')').map_or("", |(_, behind)| behind) } else { behind };
        _ = write!(plain, "{before}`{name}`");
        rest = behind;
    }
    plain + rest
}
