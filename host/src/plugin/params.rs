//! Parameters: checked against the plugin's schema, defaults filled in, before anything is trained.

use super::error::{PluginCode, PluginError};
use super::manifest::Manifest;
use crate::nearest::nearest;
use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::types::JsonType;
use serde_json::{Map, Value};

/// The parameters with every default written out; errs with a sentence on each that does not fit.
pub fn with_defaults(manifest: &Manifest, params: &Map<String, Value>) -> Result<Map<String, Value>, PluginError> {
    let wrong = |message: String| PluginError::new(PluginCode::Params, &manifest.name, message);
    if let Some(keyword) = refers(&manifest.params) {
        return Err(wrong(format!("the plugin's own schema has `{keyword}`: a schema here stands by itself")));
    }
    let validator = jsonschema::validator_for(&manifest.params)
        .map_err(|error| wrong(format!("the plugin's own schema is invalid: {error}")))?;
    let given = Value::Object(params.clone());
    let problems: Vec<String> = validator.iter_errors(&given).map(|error| sentence(&error)).collect();
    if !problems.is_empty() {
        return Err(wrong(problems.join("; ")).with_hint(hint(manifest, params)));
    }
    let mut params = params.clone();
    for (name, property) in properties(manifest) {
        if let (None, Some(default)) = (params.get(name), property.get("default")) {
            params.insert(name.clone(), default.clone());
        }
    }
    Ok(params)
}

/// A strategy that a composing one names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// The parameter that names it first.
    pub param: String,
    /// Its name, as it stands there.
    pub name: String,
}

/// The strategies that a plugin composes with these parameters, which have every default: each once, in the order in which they are
/// named.
///
/// Errs when a parameter holds neither a name nor a list of names.
pub fn composed(manifest: &Manifest, params: &Map<String, Value>) -> Result<Vec<Composed>, PluginError> {
    let mut all: Vec<Composed> = Vec::new();
    for param in &manifest.composes {
        let names = match params.get(param) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(values)) => values.iter().map(Value::as_str).collect(),
            Some(value) => vec![value.as_str()],
        };
        for name in names {
            let Some(name) = name else {
                let message = format!("`{param}` must be the name of a strategy, or a list of names");
                return Err(PluginError::new(PluginCode::Params, &manifest.name, message));
            };
            if all.iter().all(|known| known.name != name) {
                all.push(Composed { param: param.clone(), name: name.to_owned() });
            }
        }
    }
    Ok(all)
}

/// A keyword of a schema that refers to another one. Nothing is fetched here; and a few that refer to each other can take for
/// ever.
fn refers(schema: &Value) -> Option<&'static str> {
    const REFERRING: [&str; 5] = ["$dynamicRef", "$id", "$recursiveRef", "$ref", "$schema"];
    match schema {
        Value::Object(map) => {
            let own = REFERRING.into_iter().find(|keyword| map.get(*keyword).is_some_and(Value::is_string));
            own.or_else(|| map.values().find_map(refers))
        }
        Value::Array(items) => items.iter().find_map(refers),
        _ => None,
    }
}

/// What a schema's validator found, without the words of JSON Schema.
fn sentence(error: &ValidationError<'_>) -> String {
    let (place, given) = (error.instance_path().to_string(), error.instance());
    let name = place.trim_start_matches('/').replace('/', ".");
    let rule = match error.kind() {
        Kind::AdditionalProperties { unexpected } => {
            let names: Vec<String> = unexpected.iter().map(|name| format!("`{name}`")).collect();
            let are = if names.len() == 1 { "is no parameter" } else { "are no parameters" };
            return format!("{} {are}", names.join(", "));
        }
        Kind::Required { property } => {
            return format!("`{}` is missing", property.as_str().unwrap_or_default());
        }
        Kind::Type { kind } => format!("must be {}", types(kind)),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be above {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be below {limit}"),
        Kind::Enum { options } => format!("must be one of {}", choices(options)),
        Kind::MinItems { limit } => format!("must have at least {limit} values"),
        Kind::MaxItems { limit } => format!("must have at most {limit} values"),
        _ => return format!("`{name}` is wrong: {error}"),
    };
    format!("`{name}` {rule}, not {}", shown(given))
}

fn types(kind: &TypeKind) -> String {
    let plain = |kind: JsonType| match kind {
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::Boolean => "true or false",
        JsonType::String => "a text",
        JsonType::Array => "a list",
        JsonType::Object => "a table",
        JsonType::Null => "nothing",
    };
    match kind {
        TypeKind::Single(kind) => plain(*kind).to_owned(),
        TypeKind::Multiple(kinds) => kinds.iter().map(plain).collect::<Vec<_>>().join(" or "),
    }
}

fn choices(options: &Value) -> String {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    options
        .iter()
        .map(|option| option.as_str().map_or_else(|| option.to_string(), str::to_owned))
        .collect::<Vec<_>>()
        .join(", ")
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text {text:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
        value => value.to_string(),
    }
}

fn properties(manifest: &Manifest) -> impl Iterator<Item = (&String, &Value)> {
    manifest.params.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// What to do: the name that was meant, the option that was meant, or all that there are.
fn hint(manifest: &Manifest, params: &Map<String, Value>) -> String {
    let known: Vec<&str> = properties(manifest).map(|(name, _)| name.as_str()).collect();
    let unknown = params.keys().find(|name| !known.contains(&name.as_str()));
    match unknown {
        Some(_) if known.is_empty() => format!("`{}` takes no params", manifest.name),
        Some(name) => match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it takes: {}", known.join(", ")),
        },
        None => option(manifest, params).map_or_else(
            || format!("`coldstart plugin info {}` shows the parameters", manifest.name),
            |near| format!("did you mean `{near}`?"),
        ),
    }
}

/// The option nearest to a text that is none.
fn option<'a>(manifest: &'a Manifest, params: &Map<String, Value>) -> Option<&'a str> {
    properties(manifest).find_map(|(name, property)| {
        let options: Vec<&str> = property.get("enum")?.as_array()?.iter().filter_map(Value::as_str).collect();
        let given = params.get(name)?.as_str().filter(|given| !options.contains(given))?;
        nearest(given, options)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest() -> Manifest {
        serde_json::from_value(json!({
            "format": 1, "name": "toy", "publisher": "", "version": "0.1.0", "api": "1.0.0", "panic": "unwind",
            "summary": "", "license": "", "authors": "", "cite": "", "roles": ["query"], "needs": [],
            "params": {
                "type": "object", "additionalProperties": false, "required": ["k"],
                "properties": {"k": {"type": "integer", "minimum": 1}, "t": {"type": "number", "default": 0.5, "exclusiveMaximum": 9},
                    "of": {"enum": ["model", "representation"]}, "yes": {"type": "boolean"}}
            }
        }))
        .unwrap()
    }

    #[test]
    fn a_composing_plugin_names_each_strategy_once() {
        let names = |given: Value| {
            let manifest = Manifest { composes: vec!["several".to_owned(), "one".to_owned()], ..manifest() };
            composed(&manifest, given.as_object().unwrap()).map_err(|error| error.message)
        };
        let named = |param: &str, name: &str| Composed { param: param.to_owned(), name: name.to_owned() };
        for (given, expected) in [
            (json!({}), Ok(vec![])),
            (json!({"several": [], "one": null}), Ok(vec![])),
            (json!({"one": "b", "several": ["a"]}), Ok(vec![named("several", "a"), named("one", "b")])),
            (json!({"one": "a", "several": ["a", "b", "a"]}), Ok(vec![named("several", "a"), named("several", "b")])),
            (json!({"one": 3}), Err("`one` must be the name of a strategy, or a list of names".to_owned())),
            (
                json!({"several": ["a", 3]}),
                Err("`several` must be the name of a strategy, or a list of names".to_owned()),
            ),
        ] {
            assert_eq!(names(given), expected);
        }
    }

    #[test]
    fn a_schema_refers_to_nothing() {
        let doubled = |i: usize| json!({"allOf": [{"$ref": format!("#/$defs/{i}")}, {"$ref": format!("#/$defs/{i}")}]});
        let defs: Map<String, Value> = (0..64).map(|i| (i.to_string(), doubled(i + 1))).collect();
        for schema in [
            json!({"$ref": "file:///etc/passwd"}),
            json!({"properties": {"k": {"$ref": "http://localhost/schema.json"}}}),
            json!({"allOf": [{"$dynamicRef": "#/$defs/a"}]}),
            json!({"$schema": "file:///etc/passwd"}),
            json!({"$ref": "#/$defs/0", "$defs": defs}),
        ] {
            let error = with_defaults(&Manifest { params: schema, ..manifest() }, &Map::new()).unwrap_err();
            assert!(error.message.contains("stands by itself"), "{}", error.message);
        }
    }

    #[test]
    fn defaults_are_filled_and_misfits_named() {
        for (given, expected) in [
            (json!({"k": 3}), Ok(json!({"k": 3, "t": 0.5}))),
            (json!({"k": 3, "t": 2}), Ok(json!({"k": 3, "t": 2}))),
            (json!({"k": 0}), Err("`k` must be at least 1, not 0")),
            (json!({"k": "3"}), Err("`k` must be a whole number, not the text \"3\"")),
            (json!({"k": 1.5}), Err("`k` must be a whole number, not 1.5")),
            (json!({"k": 1, "t": 9}), Err("`t` must be below 9, not 9")),
            (json!({"k": 1, "t": [1]}), Err("`t` must be a number, not a list")),
            (json!({"k": 1, "yes": "yes"}), Err("`yes` must be true or false, not the text \"yes\"")),
            (json!({"k": 1, "of": "modle"}), Err("`of` must be one of model, representation, not the text \"modle\"")),
            (json!({}), Err("`k` is missing")),
            (json!({"k": 1, "kk": 1}), Err("`kk` is no parameter")),
            (json!({"k": 0, "yes": 1}), Err("`k` must be at least 1, not 0; `yes` must be true or false, not 1")),
        ] {
            match (with_defaults(&manifest(), given.as_object().unwrap()), expected) {
                (Ok(params), Ok(expected)) => assert_eq!(Value::Object(params), expected),
                (Err(error), Err(expected)) => assert!(error.message.contains(expected), "{}", error.message),
                (got, expected) => panic!("expected {expected:?}, got {got:?}"),
            }
        }
    }
}
