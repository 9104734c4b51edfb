//! What Label Studio 1.x exports as JSON (a list of tasks with annotations) and JSON-MIN (a row for each annotation, the task's
//! data beside the answer); records of tables and JSON lines are read in the same way.

use super::ProjectError;
use super::label_studio::IMAGE;
use super::reading::{By, Reader, label_column, quoted};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Results of these kinds are labels of an image.
const CHOICES: [&str; 2] = ["choices", "taxonomy"];
/// A value that is shown in a message is cut here.
const SHOWN: usize = 80;

/// Reads the labels of a JSON text.
pub fn read(reader: &mut Reader<'_>, text: &str) -> Result<(), ProjectError> {
    let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
    let mut values = values.map_err(|error| reader.wrong(error))?;
    let tasks = match (values.len(), values.first_mut()) {
        (1, Some(Value::Array(tasks))) => std::mem::take(tasks),
        (1, Some(Value::Object(object))) if !is_task(object) => return Err(foreign(reader, object)),
        _ => values,
    };
    let mut controls = BTreeSet::new();
    for (i, task) in tasks.iter().enumerate() {
        let place = match task.get("id") {
            Some(id) => format!("task {id}"),
            None => format!("entry {}", i + 1),
        };
        let Value::Object(task) = task else { return Err(reader.wrong(format!("{place} is no object"))) };
        match task.get("data") {
            Some(Value::Object(data)) => of_task(reader, task, data, &place, &mut controls)?,
            Some(_) => return Err(reader.wrong(format!("{place}: its data is no object"))),
            None => of_row(reader, task, &place)?,
        }
    }
    check_field(reader, &controls)
}

/// Whether an object by itself can be a task or a row.
fn is_task(object: &Map<String, Value>) -> bool {
    ["data", IMAGE, "image"].iter().any(|key| object.contains_key(*key))
}

/// The error about an object that holds labels in another way.
fn foreign(reader: &Reader<'_>, object: &Map<String, Value>) -> ProjectError {
    if ["images", "annotations"].iter().all(|key| object.contains_key(*key)) {
        return reader.wrong("it is in the format of COCO, which gives labels to parts of images");
    }
    let keys = quoted(object.keys().map(String::as_str));
    reader.wrong(format!("it is one object with the keys {keys}, and no list of tasks"))
}

/// Errs if no answer at all has the name that was asked for.
fn check_field(reader: &Reader<'_>, controls: &BTreeSet<String>) -> Result<(), ProjectError> {
    match &reader.columns.label {
        Some(field) if !controls.is_empty() && !controls.contains(field) => {
            let seen = quoted(controls.iter().map(String::as_str));
            Err(reader.wrong_because(format!("no answer is called `{field}`, but {seen}"), "name one with `--field`"))
        }
        _ => Ok(()),
    }
}

/// A task with annotations; `controls` takes the names of all answers.
fn of_task(
    reader: &mut Reader<'_>,
    task: &Map<String, Value>,
    data: &Map<String, Value>,
    place: &str,
    controls: &mut BTreeSet<String>,
) -> Result<(), ProjectError> {
    let (image, _) = image_of(reader, data, place)?;
    let annotations = match (task.get("annotations"), task.get("completions")) {
        (Some(Value::Array(annotations)), _) => annotations,
        (None, Some(_)) => {
            let problem = format!("{place}: its `completions` are those of a Label Studio before 1.0");
            return Err(reader.wrong_because(problem, "export from Label Studio 1.0 or newer, as JSON"));
        }
        _ => {
            let problem = "it has no list of annotations: export as JSON, not as the list of tasks";
            return Err(reader.wrong(format!("{place}: {problem}")));
        }
    };
    let before = reader.read.given.len() + reader.read.cancelled;
    for annotation in annotations {
        if annotation["was_cancelled"] == json!(true) {
            reader.read.cancelled += 1;
            continue;
        }
        let results = annotation["result"].as_array().map_or(&[][..], Vec::as_slice);
        controls.extend(results.iter().map(|result| bare(&result["from_name"])));
        let label = answer(reader, results).map_err(|problem| reader.wrong(format!("{place}: {problem}")))?;
        if let Some(label) = label {
            let by = by(&annotation["completed_by"], annotation, "id");
            reader.take(image, label, place.to_owned(), by);
        }
    }
    reader.read.unanswered += usize::from(reader.read.given.len() + reader.read.cancelled == before);
    Ok(())
}

/// Who said it, and when.
fn by(annotator: &Value, annotation: &Value, id: &str) -> By {
    let (email, number) = (annotator.get("email"), annotator.get("id"));
    let said = |value: &Value| match value {
        Value::String(_) | Value::Number(_) => Some(bare(value)).filter(|text| !text.is_empty()),
        _ => None,
    };
    let time = ["updated_at", "created_at"].iter().find_map(|key| annotation.get(*key).and_then(said));
    By {
        annotator: said(number.or(email).unwrap_or(annotator)),
        shown: said(email.or(number).unwrap_or(annotator)),
        time: time.unwrap_or_default(),
        number: annotation.get(id).and_then(Value::as_u64).unwrap_or(0),
    }
}

/// The choice among the results of an annotation; none if it has none.
fn answer(reader: &mut Reader<'_>, results: &[Value]) -> Result<Option<String>, String> {
    let field = reader.columns.label.as_deref();
    let is_choice = |result: &&Value| result["type"].as_str().is_some_and(|kind| CHOICES.contains(&kind));
    let (choices, others): (Vec<&Value>, Vec<&Value>) = results.iter().partition(is_choice);
    let choices: Vec<&Value> =
        choices.into_iter().filter(|result| field.is_none_or(|field| result["from_name"] == json!(field))).collect();
    let controls: BTreeSet<String> = choices.iter().map(|result| bare(&result["from_name"])).collect();
    let asked = others.iter().find(|other| field.is_some_and(|field| other["from_name"] == json!(field)));
    match (choices.as_slice(), controls.len()) {
        ([], _) if asked.is_some() => {
            let kind = asked.map(|other| bare(&other["type"])).unwrap_or_default();
            Err(format!("`{}` is no choice but an answer of the kind `{kind}`", field.unwrap_or_default()))
        }
        ([], _) => {
            reader.read.other_kinds.extend(others.iter().map(|result| bare(&result["type"])));
            Ok(None)
        }
        ([result], _) => one_of(&result["value"]),
        (_, 1) => {
            Err(format!("{} has several answers: an image has one label", quoted(controls.iter().map(String::as_str))))
        }
        _ => {
            let controls: Vec<String> = controls.into_iter().collect();
            Err(format!("it has several answers ({}); `--field` says which one counts", controls.join(", ")))
        }
    }
}

/// A row of JSON-MIN, or any record with an image and a label.
fn of_row(reader: &mut Reader<'_>, row: &Map<String, Value>, place: &str) -> Result<(), ProjectError> {
    let (image, key) = image_of(reader, row, place)?;
    if row.get("was_cancelled") == Some(&json!(true)) {
        reader.read.cancelled += 1;
        return Ok(());
    }
    let names: Vec<&str> = row.keys().map(String::as_str).collect();
    let at_place = |problem: String| format!("{place}: {problem}");
    let name = label_column(&names, &key, reader.columns.label.as_deref());
    let name = name.map_err(|problem| reader.wrong(at_place(problem)))?;
    let label = name.map_or(Ok(None), |name| one_of(&row[name]));
    match label.map_err(|problem| reader.wrong(at_place(problem)))? {
        Some(label) => {
            let by = by(row.get("annotator").unwrap_or(&Value::Null), &json!(row), "annotation_id");
            reader.take(image, label, place.to_owned(), by);
        }
        None => reader.read.unanswered += 1,
    }
    Ok(())
}

/// The image of a task's data, and the key that names it: ours, `image`, or the one whose text leads to an image.
fn image_of(reader: &mut Reader<'_>, data: &Map<String, Value>, place: &str) -> Result<(usize, String), ProjectError> {
    let text = |key: &str| data.get(key).and_then(Value::as_str);
    let asked = reader.columns.image.clone();
    let keys = match &asked {
        Some(key) => vec![key.as_str()],
        None => vec![IMAGE, "image"],
    };
    if let Some((key, name)) = keys.iter().find_map(|key| Some((*key, text(key)?))) {
        return Ok((reader.image(name, place)?, key.to_owned()));
    }
    let seen = quoted(data.keys().map(String::as_str));
    if let Some(key) = asked {
        let problem = format!("{place} has no text under `{key}`; its keys are {seen}");
        return Err(reader.wrong_because(problem, "name one of them with `--image-field`"));
    }
    let texts = data.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
    let texts: Vec<(&str, &str)> = texts.collect();
    let leads = |(key, text): &(&str, &str)| Some((reader.names.find_address(text).ok()?.image, (*key).to_owned()));
    let found: Vec<(usize, String)> = texts.iter().filter_map(leads).collect();
    let images: BTreeSet<usize> = found.iter().map(|(image, _)| *image).collect();
    match (images.len(), found.into_iter().next()) {
        (1, Some(found)) => Ok(found),
        (0, _) => {
            let shown = |(key, text): &(&str, &str)| format!("`{key}` is `{}`", cut(text));
            let shown: Vec<String> = texts.iter().map(shown).collect();
            let problem = match shown.as_slice() {
                [] => format!("its keys are {}", if data.is_empty() { "none".to_owned() } else { seen }),
                shown => format!("and no other key leads to one: {}", shown.join(", ")),
            };
            Err(reader.wrong(format!("{place} names no image: neither `{IMAGE}` nor `image` is there, {problem}")))
        }
        _ => {
            let problem = format!("{place} names several images, and has no key `image`; its keys are {seen}");
            Err(reader.wrong_because(problem, "`--image-field` says which key counts"))
        }
    }
}

/// One label: a text or a whole number, or a list or table of choices with one of these; none if nothing was said.
pub fn one_of(value: &Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(label) => Ok(Some(label.trim().to_owned()).filter(|label| !label.is_empty())),
        Value::Number(number) if !number.is_f64() => Ok(Some(number.to_string())),
        Value::Array(choices) => match choices.as_slice() {
            [Value::Array(path)] => taxon(path).map(Some),
            [choice] => one_of(choice),
            _ => Err(format!("it has not one choice but {value}: an image has one label")),
        },
        Value::Object(table) => match CHOICES.iter().find_map(|key| table.get(*key)) {
            Some(choices) => one_of(choices),
            None => Err(format!("its label is no text but {value}")),
        },
        _ => Err(format!("its label is no text but {value}")),
    }
}

/// The path to a leaf of a taxonomy, with slashes.
fn taxon(path: &[Value]) -> Result<String, String> {
    let parts: Option<Vec<&str>> = path.iter().map(Value::as_str).collect();
    let parts = parts.filter(|parts| !parts.is_empty());
    parts.map(|parts| parts.join("/")).ok_or_else(|| format!("its label is no text but {}", json!(path)))
}

/// A JSON value without quotes.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::reading::tests::{label, labels_of};

    fn task(results: &[(&str, &str, Value)]) -> String {
        let result = |(kind, name, choices): &(&str, &str, Value)| json!({"type": kind, "from_name": name, "value": {*kind: choices}});
        let results: Vec<Value> = results.iter().map(result).collect();
        json!([{"id": 4, "data": {"image": "a.png"}, "annotations": [{"completed_by": {"id": 2, "email": "x@y"}, "result": results}]}])
            .to_string()
    }

    #[test]
    fn an_annotation_has_one_choice_or_says_why_not() {
        let place = "task 4, annotator x@y";
        let kind = |choices: Value| ("choices", "kind", choices);
        let light = ("choices", "light", json!(["day"]));
        let rows = [
            (task(&[kind(json!(["ant"]))]), None, Ok("ant")),
            (task(&[kind(json!([3]))]), None, Ok("3")),
            (task(&[("rating", "stars", json!(4)), kind(json!([" ant "]))]), None, Ok("ant")),
            (task(&[("taxonomy", "kind", json!([["insect", "ant"]]))]), None, Ok("insect/ant")),
            (task(&[kind(json!(["ant"])), light.clone()]), Some("light"), Ok("day")),
            (task(&[kind(json!(["ant"])), light.clone()]), None, Err("several answers (kind, light)")),
            (task(&[kind(json!(["ant"])), kind(json!(["bee"]))]), None, Err("`kind` has several answers")),
            (task(&[kind(json!(["ant"]))]), Some("knid"), Err("no answer is called `knid`, but `kind`")),
            (task(&[("rating", "stars", json!(4))]), Some("stars"), Err("an answer of the kind `rating`")),
            (task(&[kind(json!(["ant", "bee"]))]), None, Err("an image has one label")),
            (task(&[kind(json!([]))]), None, Err("an image has one label")),
            (task(&[kind(json!([1.5]))]), None, Err("no text but 1.5")),
            (task(&[]), None, Ok("")),
            (task(&[("rectanglelabels", "box", json!(["wing"]))]), None, Ok("")),
        ];
        for (text, field, expected) in rows {
            match (labels_of(&["a.png"], &text, field), expected) {
                (Ok(read), Ok("")) => assert_eq!((read.given.len(), read.unanswered), (0, 1), "{text}"),
                (Ok(read), Ok(said)) => {
                    assert_eq!(read.given.iter().map(label).collect::<Vec<_>>(), [(0, said, place)], "{text}");
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn the_key_of_an_image_is_the_one_that_leads_to_one() {
        let task = |data: Value| json!([{"id": 7, "data": data, "annotations": []}]).to_string();
        for (data, expected) in [
            (json!({"img": "/data/local-files/?d=p/a.png", "who": "a"}), Ok(())),
            (json!({"img": "a.png", "thumbnail": "s3://b/a.png", "size": 3}), Ok(())),
            (json!({"img": "a.png", "before": "b.png"}), Err("task 7 names several images")),
            (json!({"img": "c.png"}), Err("`img` is `c.png`")),
            (json!({"image": "c.png", "before": "a.png"}), Err("`c.png` (task 7) is no image")),
            (json!({"coldstart_image": "c.png", "image": "a.png"}), Err("`c.png` (task 7) is no image")),
            (json!({"size": 3}), Err("its keys are `size`")),
            (json!({}), Err("neither `coldstart_image` nor `image`")),
        ] {
            match (labels_of(&["a.png", "b.png"], &task(data.clone()), None), expected) {
                (Ok(_), Ok(())) => {}
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, expected) => panic!("{data}: {found:?} instead of {expected:?}"),
            }
        }
    }

    /// Whatever is left of an export is read or refused, without a panic.
    #[test]
    fn cut_exports_are_refused() {
        let text = task(&[("choices", "kind", json!(["ant"]))]);
        for cut in 0..text.len() {
            assert!(labels_of(&["a.png"], &text[..cut], None).is_err(), "{}", &text[..cut]);
        }
    }
}
