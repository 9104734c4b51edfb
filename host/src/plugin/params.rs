//! Parameters: checked against the plugin's schema, defaults filled in, before anything is trained.

use super::error::{PluginCode, PluginError};
use super::manifest::Manifest;
use serde_json::{Map, Value};

/// The parameters with every default written out; errs with the JSON pointer of what does not fit.
pub fn with_defaults(manifest: &Manifest, params: &Map<String, Value>) -> Result<Map<String, Value>, PluginError> {
    let wrong = |message: String| PluginError::new(PluginCode::Params, &manifest.name, message);
    let validator = jsonschema::validator_for(&manifest.params)
        .map_err(|error| wrong(format!("the plugin's own schema is invalid: {error}")))?;
    let given = Value::Object(params.clone());
    if let Some(error) = validator.iter_errors(&given).next() {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { String::new() } else { format!(" at `{place}`") };
        return Err(wrong(format!("{error}{place}")).with_hint(hint(manifest, params)));
    }
    let mut params = params.clone();
    for (name, property) in properties(manifest) {
        if let (None, Some(default)) = (params.get(name), property.get("default")) {
            params.insert(name.clone(), default.clone());
        }
    }
    Ok(params)
}

fn properties(manifest: &Manifest) -> impl Iterator<Item = (&String, &Value)> {
    manifest.params.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn hint(manifest: &Manifest, params: &Map<String, Value>) -> String {
    let known: Vec<&str> = properties(manifest).map(|(name, _)| name.as_str()).collect();
    let unknown = params.keys().find(|name| !known.contains(&name.as_str()));
    match unknown {
        Some(_) if known.is_empty() => format!("`{}` takes no params", manifest.name),
        Some(name) => match crate::nearest::nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it takes: {}", known.join(", ")),
        },
        None => PluginCode::Params.hint().to_owned(),
    }
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
                "properties": {"k": {"type": "integer", "minimum": 1}, "t": {"type": "number", "default": 0.5}}
            }
        }))
        .unwrap()
    }

    #[test]
    fn defaults_are_filled_and_misfits_named() {
        for (given, expected) in [
            (json!({"k": 3}), Ok(json!({"k": 3, "t": 0.5}))),
            (json!({"k": 3, "t": 2}), Ok(json!({"k": 3, "t": 2}))),
            (json!({"k": 0}), Err("at `/k`")),
            (json!({"k": "3"}), Err("at `/k`")),
            (json!({}), Err("\"k\" is a required property")),
            (json!({"k": 1, "kk": 1}), Err("'kk'")),
        ] {
            match (with_defaults(&manifest(), given.as_object().unwrap()), expected) {
                (Ok(params), Ok(expected)) => assert_eq!(Value::Object(params), expected),
                (Err(error), Err(expected)) => assert!(error.message.contains(expected), "{}", error.message),
                (got, expected) => panic!("expected {expected:?}, got {got:?}"),
            }
        }
    }
}
