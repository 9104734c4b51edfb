//! What the library `datasets` of Hugging Face writes into a Parquet file about its columns: JSON under the key `huggingface`.

use std::collections::BTreeMap;

use serde_json::Value;

/// The longest text; the names of some ten thousand classes take less.
const LONGEST: usize = 4 << 20;

/// What a writer says of its columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Features {
    /// Columns of images.
    pub images: Vec<String>,
    /// The names of the classes, by the column of labels.
    pub classes: BTreeMap<String, Vec<String>>,
}

impl Features {
    /// Reads the text under the key, if there is one.
    ///
    /// # Errors
    /// With a sentence, if it is longer than any, or no JSON.
    pub(super) fn of(text: Option<&str>) -> Result<Features, String> {
        let Some(text) = text else { return Ok(Features::default()) };
        if text.len() > LONGEST {
            return Err(format!("the text under `huggingface` is longer than {LONGEST} bytes"));
        }
        let said: Value =
            serde_json::from_str(text).map_err(|error| format!("the text under `huggingface`: {error}"))?;
        let mut features = Features::default();
        for (column, feature) in said["info"]["features"].as_object().into_iter().flatten() {
            match feature["_type"].as_str() {
                Some("Image") => features.images.push(column.clone()),
                Some("ClassLabel") => _ = features.classes.insert(column.clone(), names(&feature["names"])),
                _ => {}
            }
        }
        Ok(features)
    }
}

/// Names in order; those of numbers that are no text are their numbers.
fn names(names: &Value) -> Vec<String> {
    let name = |(i, name): (usize, &Value)| name.as_str().map_or_else(|| i.to_string(), str::to_owned);
    names.as_array().into_iter().flatten().enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_classes_are_found() {
        let text = r#"{"info": {"features": {"img": {"_type": "Image"}, "coarse": {"names": ["x", 7], "_type": "ClassLabel"},
                       "fine": {"_type": "ClassLabel"}, "n": {"dtype": "int64", "_type": "Value"}, "odd": [1], "none": null}}}"#;
        let features = Features::of(Some(text)).unwrap();
        assert_eq!(features.images, ["img"]);
        let classes = [("coarse", vec!["x", "1"]), ("fine", vec![])];
        let classes =
            classes.map(|(column, names)| (column.to_owned(), names.into_iter().map(str::to_owned).collect()));
        assert_eq!(features.classes, BTreeMap::from(classes));
        for text in [None, Some("{}"), Some("[1, 2]"), Some("null")] {
            assert_eq!(Features::of(text), Ok(Features::default()));
        }
        for text in ["", "{", &"[".repeat(100_000), &" ".repeat(LONGEST + 1)] {
            assert!(Features::of(Some(text)).is_err());
        }
    }
}
