//! Label Studio: tasks to import there, and labels from what it exports.
//!
//! A task carries the image's path below its folder under a key of our own, which every export repeats: however the address
//! looks, the label finds its image. Formats are those of Label Studio 1.x: JSON (a list of tasks with annotations), JSON-MIN
//! and CSV (a row for each annotation, the task's data beside the answer).

use super::Picks;
use super::labels::{Given, Read};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Under this key, and in this column, stands the path of the image.
pub const IMAGE: &str = "coldstart_image";
/// What begins so in a task's data is ours.
const OURS: &str = "coldstart_";
/// What rows of JSON-MIN and CSV hold beside the data and the answers.
const OF_ROWS: [&str; 9] = [
    "id",
    "image",
    "annotator",
    "annotation_id",
    "created_at",
    "updated_at",
    "lead_time",
    "agreement",
    "was_cancelled",
];

/// Where images are when Label Studio serves files of its own machine: with the folder above `images` as its document root.
pub fn url_prefix(images: &Path) -> String {
    let name = images.file_name().unwrap_or_default().to_string_lossy();
    format!("/data/local-files/?d={}/", encoded(&name))
}

/// The tasks of a selection, to be imported.
pub fn tasks(picks: &Picks, url_prefix: &str) -> String {
    let task = |pick: &super::Pick| {
        json!({
            "data": {
                "image": format!("{url_prefix}{}", encoded(&pick.image)),
                IMAGE: pick.image,
                "coldstart_rank": pick.rank,
                "coldstart_score": pick.score,
                "coldstart_round": picks.round,
            },
            "meta": {"strategies": picks.strategies},
        })
    };
    let tasks: Vec<Value> = picks.picks.iter().map(task).collect();
    serde_json::to_string_pretty(&tasks).expect("plain data") + "\n"
}

/// Percent-encodes all but letters, digits, `-._~` and slashes.
fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Undoes the encoding of an address; what is no encoding stays.
pub fn decoded(url: &str) -> String {
    let (bytes, mut decoded) = (url.as_bytes(), Vec::new());
    let mut i = 0;
    while i < bytes.len() {
        let digits = bytes.get(i + 1..i + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if bytes[i] == b'%' => {
                decoded.push(byte);
                i += 3;
            }
            _ => {
                decoded.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The labels of an export, JSON or JSON-MIN; `field` is the control whose answer counts, if it is not the only one.
///
/// Errs with the sentence, which names the task.
pub fn parse(text: &str, field: Option<&str>) -> Result<Read, String> {
    let tasks: Vec<Value> = match serde_json::from_str(text).map_err(|error| error.to_string())? {
        Value::Array(tasks) => tasks,
        task @ Value::Object(_) => vec![task],
        _ => return Err("it is neither a list of tasks nor a task".to_owned()),
    };
    let mut read = Read::default();
    for (i, task) in tasks.iter().enumerate() {
        let place = match task.get("id") {
            Some(id) => format!("task {id}"),
            None => format!("entry {}", i + 1),
        };
        let Value::Object(task) = task else { return Err(format!("{place} is no object")) };
        let parsed = match task.get("data") {
            Some(data) => of_task(task, data, field, &place, &mut read),
            None => of_row(task, field, &place, &mut read),
        };
        parsed.map_err(|problem| format!("{place}: {problem}"))?;
    }
    Ok(read)
}

/// A task with annotations.
fn of_task(
    task: &Map<String, Value>,
    data: &Value,
    field: Option<&str>,
    place: &str,
    read: &mut Read,
) -> Result<(), String> {
    let image = image_of(data.as_object().ok_or("its data is no object")?)?;
    let Some(Value::Array(annotations)) = task.get("annotations") else {
        return Err("it has no list of annotations: export as JSON, not as the list of tasks".to_owned());
    };
    let before = read.given.len() + read.cancelled;
    for annotation in annotations {
        if annotation["was_cancelled"] == json!(true) {
            read.cancelled += 1;
            continue;
        }
        if let Some(label) = answer(annotation, field)? {
            let by = &annotation["completed_by"];
            let by = by.get("email").or(by.get("id")).unwrap_or(by);
            read.given.push(Given { image: image.clone(), label, place: format!("{place}, annotator {}", bare(by)) });
        }
    }
    read.unanswered += usize::from(read.given.len() + read.cancelled == before);
    Ok(())
}

/// The choice in an annotation; none if it has none.
fn answer(annotation: &Value, field: Option<&str>) -> Result<Option<String>, String> {
    let results = annotation["result"].as_array().map_or(&[][..], Vec::as_slice);
    let choices = results.iter().filter(|result| {
        result["type"] == json!("choices") && field.is_none_or(|field| result["from_name"] == json!(field))
    });
    let choices: Vec<&Value> = choices.collect();
    match choices.as_slice() {
        [] => Ok(None),
        [result] => one_of(&result["value"]["choices"]).map(Some),
        several => {
            let names: Vec<String> = several.iter().map(|result| bare(&result["from_name"])).collect();
            Err(format!("it has several answers ({}); `--field` says which one counts", names.join(", ")))
        }
    }
}

/// A row of JSON-MIN.
fn of_row(row: &Map<String, Value>, field: Option<&str>, place: &str, read: &mut Read) -> Result<(), String> {
    let image = image_of(row)?;
    let names: Vec<&str> = row.keys().map(String::as_str).collect();
    let Some(name) = label_column(&names, field)? else {
        read.unanswered += 1;
        return Ok(());
    };
    match one_of(&row[name])? {
        label if label.is_empty() => read.unanswered += 1,
        label => {
            let by = row.get("annotator").map(|by| format!(", annotator {}", bare(by))).unwrap_or_default();
            read.given.push(Given { image, label, place: format!("{place}{by}") });
        }
    }
    Ok(())
}

/// The one column of these that holds the answer; none if there is none but data.
///
/// Errs if it could be one of several, or if there is none of the name `field`.
pub fn label_column<'a>(names: &[&'a str], field: Option<&str>) -> Result<Option<&'a str>, String> {
    if let Some(field) = field {
        let column = names.iter().find(|name| **name == field).copied();
        return column.map(Some).ok_or_else(|| format!("it has no column `{field}`, but {}", names.join(", ")));
    }
    if let Some(plain) = names.iter().find(|name| **name == "label") {
        return Ok(Some(plain));
    }
    let answers: Vec<&str> =
        names.iter().copied().filter(|name| !OF_ROWS.contains(name) && !name.starts_with(OURS)).collect();
    match answers.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => Err(format!("the label could be in any of {}; `--field` says where", several.join(", "))),
    }
}

fn image_of(data: &Map<String, Value>) -> Result<String, String> {
    let named = data.get(IMAGE).or(data.get("image")).and_then(Value::as_str);
    named.map(str::to_owned).ok_or_else(|| format!("it names no image: neither `{IMAGE}` nor `image` is there"))
}

/// One label: a text, or a list or table of choices with one text.
fn one_of(value: &Value) -> Result<String, String> {
    match value {
        Value::String(label) => Ok(label.trim().to_owned()),
        Value::Array(choices) if choices.len() == 1 => one_of(&choices[0]),
        Value::Object(table) if table.contains_key("choices") => one_of(&table["choices"]),
        Value::Array(_) => Err(format!("it has not one choice but {value}: an image has one label")),
        _ => Err(format!("its label is no text but {value}")),
    }
}

/// A JSON value without quotes.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(results: &[(&str, &str, &[&str])]) -> String {
        let result = |(kind, name, choices): &(&str, &str, &[&str])| json!({"type": kind, "from_name": name, "value": {"choices": choices}});
        let results: Vec<Value> = results.iter().map(result).collect();
        json!([{"id": 4, "data": {"image": "a.png"}, "annotations": [{"completed_by": {"id": 2, "email": "x@y"}, "result": results}]}])
            .to_string()
    }

    #[test]
    fn an_annotation_has_one_choice_or_says_why_not() {
        let given = |label: &str| {
            vec![Given { image: "a.png".into(), label: label.into(), place: "task 4, annotator x@y".into() }]
        };
        let rows = [
            (task(&[("choices", "kind", &["ant"])]), None, Ok(given("ant"))),
            (task(&[("rating", "stars", &[]), ("choices", "kind", &[" ant "])]), None, Ok(given("ant"))),
            (task(&[("choices", "kind", &["ant"]), ("choices", "light", &["day"])]), Some("light"), Ok(given("day"))),
            (
                task(&[("choices", "kind", &["ant"]), ("choices", "light", &["day"])]),
                None,
                Err("several answers (kind, light)"),
            ),
            (task(&[("choices", "kind", &["ant", "bee"])]), None, Err("an image has one label")),
            (task(&[("choices", "kind", &[])]), None, Err("an image has one label")),
            (task(&[]), None, Ok(vec![])),
        ];
        for (text, field, expected) in rows {
            match (parse(&text, field), expected) {
                (Ok(read), Ok(given)) => {
                    assert_eq!((&read.given, read.unanswered), (&given, usize::from(given.is_empty())), "{text}");
                }
                (Err(error), Err(part)) => assert!(error.contains("task 4") && error.contains(part), "{error}"),
                (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn the_answer_of_a_row_is_what_is_neither_data_nor_bookkeeping() {
        type Row<'a> = (&'a [&'a str], Option<&'a str>, Result<Option<&'a str>, &'a str>);
        let rows: [Row<'_>; 6] = [
            (&["image", "label", "notes"], None, Ok(Some("label"))),
            (
                &["annotation_id", "annotator", "kind", "coldstart_image", "coldstart_rank", "id", "image"],
                None,
                Ok(Some("kind")),
            ),
            (&["id", "image"], None, Ok(None)),
            (&["image", "kind", "light"], None, Err("any of kind, light")),
            (&["image", "kind", "light"], Some("light"), Ok(Some("light"))),
            (&["image", "label"], Some("kind"), Err("no column `kind`")),
        ];
        for (names, field, expected) in rows {
            match (label_column(names, field), expected) {
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, expected) => assert_eq!(found.ok(), expected.ok(), "{names:?}"),
            }
        }
    }

    /// Python's urllib.parse.quote says the same of the first two.
    #[test]
    fn addresses_are_encoded_and_back() {
        for (path, address) in [
            ("a b/ü.png", "a%20b/%C3%BC.png"),
            ("50%+&?#.jpg", "50%25%2B%26%3F%23.jpg"),
            ("plain-._~/1", "plain-._~/1"),
        ] {
            assert_eq!(encoded(path), address);
            assert_eq!(decoded(address), path);
        }
        for odd in ["%", "%2", "%zz", "100%"] {
            assert_eq!(decoded(odd), odd);
        }
    }

    /// Whatever is left of an export is read or refused, without a panic.
    #[test]
    fn cut_exports_are_refused() {
        let text = task(&[("choices", "kind", &["ant"])]);
        for cut in 0..text.len() {
            assert!(parse(&text[..cut], None).is_err(), "{}", &text[..cut]);
        }
    }
}
