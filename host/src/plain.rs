//! The words of parsers, said plainly: serde speaks of `usize`, variants and maps, its users of whole numbers, names and tables.

use crate::nearest::nearest;

/// What a parser complains of, taken out of its sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Complaint<'a> {
    /// A key that is not known, and those that are.
    Key { name: &'a str, known: Vec<&'a str> },
    /// A value that is none of the known names.
    Name { name: &'a str, known: Vec<&'a str> },
    /// A key that is not there.
    Missing { name: &'a str },
    /// A value that is something else than expected.
    Unfit { given: &'a str, expected: &'a str },
    /// A list of another length.
    Length { given: &'a str, expected: &'a str },
    /// Anything else, in the parser's words.
    Other { words: &'a str },
}

impl<'a> Complaint<'a> {
    /// Reads the message of a serde error.
    pub fn of(message: &'a str) -> Complaint<'a> {
        let (first, expected) = message.rsplit_once(", expected ").unwrap_or((message, ""));
        let named = |what: &str| first.strip_prefix(what)?.strip_prefix(" `")?.strip_suffix('`');
        let known = || expected.split('`').skip(1).step_by(2).collect();
        if let Some(name) = named("unknown field").or_else(|| named_alone(message, "unknown field")) {
            return Complaint::Key { name, known: known() };
        }
        if let Some(name) = named("unknown variant") {
            return Complaint::Name { name, known: known() };
        }
        if let Some(name) = named("missing field") {
            return Complaint::Missing { name };
        }
        let unfit = first.strip_prefix("invalid type: ").or_else(|| first.strip_prefix("invalid value: "));
        match (unfit, first.strip_prefix("invalid length "), expected) {
            (Some(given), _, expected) if !expected.is_empty() => Complaint::Unfit { given, expected },
            (_, Some(given), expected) if !expected.is_empty() => Complaint::Length { given, expected },
            _ => Complaint::Other { words: message },
        }
    }

    /// The key below the place of the error that it is about.
    pub fn key(&self) -> Option<&'a str> {
        match self {
            Complaint::Key { name, .. } | Complaint::Missing { name } => Some(name),
            _ => None,
        }
    }

    /// The rest of a sentence that begins with the key: `must be a whole number, not the text "many"`.
    pub fn rule(&self) -> String {
        match self {
            Complaint::Key { .. } => "is not a known key".to_owned(),
            Complaint::Name { name, known } => match known[..] {
                [only] => format!("must be `{only}`, not `{name}`"),
                _ => format!("must be one of {}, not `{name}`", known.join(", ")),
            },
            Complaint::Missing { .. } => "is missing".to_owned(),
            // So toml says of a value that should be a name, whatever it is.
            Complaint::Unfit { expected: "string only", .. } => "must be a name in quotes".to_owned(),
            Complaint::Unfit { given, expected } => {
                let given_whole = given.starts_with("integer `");
                match (is_whole(expected), given_whole, given.starts_with("integer `-")) {
                    (true, true, true) => format!("must be at least 0, not {}", value(given)),
                    (true, true, false) => format!("must be smaller than {}", value(given)),
                    _ => format!("must be {}, not {}", kind(expected), value(given)),
                }
            }
            Complaint::Length { given, expected } => format!("must be {}, not of {given}", kind(expected)),
            Complaint::Other { words } if words.starts_with("wanted exactly 1 element") => {
                "must be a table of one key".to_owned()
            }
            Complaint::Other { words: "wanted string or table" } => "must be a name in quotes, or a table".to_owned(),
            Complaint::Other { words } => format!("is wrong: {words}"),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Complaint::Key { name, known } | Complaint::Name { name, known } => {
                let near = nearest(name, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
                let is_key = matches!(self, Complaint::Key { .. }) && !known.is_empty();
                near.or_else(|| is_key.then(|| format!("known are: {}", known.join(", "))))
            }
            Complaint::Unfit { given, expected } => {
                let text = given.strip_prefix("string \"")?.strip_suffix('"')?;
                let fits = match *expected {
                    "a boolean" => text.parse::<bool>().is_ok(),
                    expected if is_whole(expected) => text.parse::<u64>().is_ok(),
                    "f32" | "f64" => text.parse::<f64>().is_ok(),
                    _ => false,
                };
                fits.then(|| format!("write it without quotes: {text}"))
            }
            _ => None,
        }
    }
}

/// `unknown field `x`, there are no fields`.
fn named_alone<'a>(message: &'a str, what: &str) -> Option<&'a str> {
    message.strip_prefix(what)?.strip_prefix(" `")?.split_once("`, there are no").map(|(name, _)| name)
}

fn is_unsigned(expected: &str) -> bool {
    ["u8", "u16", "u32", "u64", "usize"].contains(&expected)
}

fn is_whole(expected: &str) -> bool {
    is_unsigned(expected) || ["i8", "i16", "i32", "i64", "isize"].contains(&expected)
}

/// What was expected.
fn kind(expected: &str) -> String {
    let plain = match expected {
        whole if is_whole(whole) => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" | "a character" => "a text",
        "path string" => "a path",
        "a sequence" => "a list",
        "a map" => "a table",
        "newtype variant" => "a table of its settings",
        record if record.starts_with("struct ") => "a table",
        tagged if tagged.starts_with("internally tagged enum ") => "a table with its `kind`",
        choice if choice.starts_with("enum ") => "one of the known names",
        own => {
            let list = own.strip_prefix("an array of length ").or_else(|| own.strip_prefix("a tuple of size "));
            return list.map_or(own.to_owned(), |length| format!("a list of {length} values"));
        }
    };
    plain.to_owned()
}

/// What was given.
fn value(given: &str) -> String {
    match given {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        "null" | "unit value" | "Option value" => "nothing".to_owned(),
        "unit variant" => "a name alone".to_owned(),
        "newtype variant" | "struct variant" | "tuple variant" => "a table".to_owned(),
        text if text.starts_with("string ") => format!("the text {}", &text["string ".len()..]),
        number => {
            let words = ["integer `", "floating point `", "boolean `", "character `"];
            let bare = words.iter().find_map(|word| number.strip_prefix(word)?.strip_suffix('`'));
            bare.unwrap_or(number).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only their refusals are looked at")]
    struct Everything {
        #[serde(default)]
        whole: usize,
        #[serde(default)]
        signed: i32,
        #[serde(default)]
        number: f64,
        #[serde(default)]
        yes: bool,
        #[serde(default)]
        text: String,
        #[serde(default)]
        path: std::path::PathBuf,
        #[serde(default)]
        three: [usize; 3],
        #[serde(default)]
        list: Vec<u8>,
        choice: Choice,
        #[serde(default)]
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Choice {
        First,
        TheSecond,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only their refusals are looked at")]
    struct Inner {
        a: u8,
    }

    /// Whatever serde says of a TOML file, no word of Rust is left.
    #[test]
    fn no_word_of_rust_is_left() {
        for (text, rule, hint) in [
            ("whole = \"many\"", "must be a whole number, not the text \"many\"", None),
            ("whole = \"5\"", "must be a whole number, not the text \"5\"", Some("write it without quotes: 5")),
            ("whole = 1.5", "must be a whole number, not 1.5", None),
            ("whole = -3", "must be at least 0, not -3", None),
            ("whole = [1]", "must be a whole number, not a list", None),
            ("signed = true", "must be a whole number, not true", None),
            ("number = \"0.5\"", "must be a number, not the text \"0.5\"", Some("write it without quotes: 0.5")),
            ("number = \"x, expected y\"", "must be a number, not the text \"x, expected y\"", None),
            ("yes = \"true\"", "must be true or false, not the text \"true\"", Some("write it without quotes: true")),
            ("yes = 1", "must be true or false, not 1", None),
            ("text = 3", "must be a text, not 3", None),
            ("path = 3", "must be a path, not 3", None),
            ("three = [1, 2]", "must be a list of 3 values, not of 2", None),
            ("three = 3", "must be a list of 3 values, not 3", None),
            ("list = \"a\"", "must be a list, not the text \"a\"", None),
            ("list = [300]", "must be smaller than 300", None),
            ("choice = \"frist\"", "must be one of first, the-second, not `frist`", Some("did you mean `first`?")),
            ("choice = \"other\"", "must be one of first, the-second, not `other`", None),
            ("inner = 3", "must be a table, not 3", None),
            ("inner = {}", "is missing", None),
            ("inner = { b = 1 }", "is not a known key", Some("known are: a")),
            ("wohle = 1", "is not a known key", Some("did you mean `whole`?")),
            ("", "is missing", None),
        ] {
            let error = toml::from_str::<Everything>(text).unwrap_err();
            let complaint = Complaint::of(error.message());
            assert_eq!((complaint.rule().as_str(), complaint.hint().as_deref()), (rule, hint), "{text}: {error}");
        }
    }
}
