//! The error of this room: file, line, key, the sentence, and what to do about it.

use super::Override;
use crate::foreign;
use miette::{NamedSource, SourceSpan};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// What is wrong with a config.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error(transparent)]
#[diagnostic(transparent)]
pub struct ConfigError(Box<Mistake>);

/// Boxed, because the text of the file travels with it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{message}")]
struct Mistake {
    message: String,
    #[help]
    hint: Option<String>,
    #[source_code]
    source_code: NamedSource<String>,
    #[label("here")]
    span: Option<SourceSpan>,
}

impl ConfigError {
    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> ConfigError {
        let message = match error.kind() {
            ErrorKind::InvalidData => format!("`{}` is not text in UTF-8, as TOML is", file.display()),
            ErrorKind::FileTooLarge => format!("`{}` is longer than 4 MiB, which no config is", file.display()),
            _ => format!("cannot read `{}`: {error}", file.display()),
        };
        Mistake { message, hint: None, source_code: named(file, ""), span: None }.into()
    }

    /// An error of the TOML itself, at its place in the file.
    pub(super) fn no_toml(file: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
        let words = error.message().lines().collect::<Vec<_>>().join(", ");
        Mistake {
            message: format!("`{}` is not valid TOML: {words}", file.display()),
            hint: None,
            source_code: named(file, text),
            span: error.span().map(SourceSpan::from),
        }
        .into()
    }

    /// An error of one key in the file, at its place.
    pub(super) fn in_file(file: &Path, text: &str, key: &str, rule: &str) -> ConfigError {
        Mistake {
            message: format!("`{key}` {rule} in `{}`", file.display()),
            hint: None,
            source_code: named(file, text),
            span: span_of(text, key).map(SourceSpan::from),
        }
        .into()
    }

    /// An error that an override brings in; one of an axis is shown at its list.
    pub(super) fn in_override(file: &Path, text: &str, culprit: &Override, sentence: &str) -> ConfigError {
        let span = culprit.axis().and_then(|axis| span_of(text, &format!("sweep.{axis}")));
        Mistake {
            message: format!("{sentence} in {culprit}, for `{}`", file.display()),
            hint: None,
            source_code: named(file, if span.is_some() { text } else { "" }),
            span: span.map(SourceSpan::from),
        }
        .into()
    }

    /// An error of one key's value, wherever it was set.
    pub fn at_key(
        file: &Path,
        text: &str,
        overrides: &[Override],
        key: impl AsRef<str>,
        message: impl AsRef<str>,
    ) -> ConfigError {
        let (key, message) = (key.as_ref(), message.as_ref());
        match overrides.iter().rev().find(|set| set.covers(key)) {
            Some(culprit) => ConfigError::in_override(file, text, culprit, &format!("`{key}` {message}")),
            None => ConfigError::in_file(file, text, key, message),
        }
    }

    /// An error of something that was typed, and stands in no file.
    pub(super) fn in_argument(argument: &str, message: &str) -> ConfigError {
        let message = format!("`{argument}`: {message}");
        Mistake { message, hint: None, source_code: named(Path::new(argument), ""), span: None }.into()
    }

    /// The same error with this hint.
    pub fn with_hint(mut self, hint: String) -> ConfigError {
        self.0.hint = Some(foreign::message(&hint).into_owned());
        self
    }
}

impl From<Mistake> for ConfigError {
    fn from(Mistake { message, hint, source_code, span }: Mistake) -> ConfigError {
        let hint = hint.map(|hint| foreign::message(&hint).into_owned());
        ConfigError(Box::new(Mistake { message: foreign::message(&message).into_owned(), hint, source_code, span }))
    }
}

fn named(file: &Path, text: &str) -> NamedSource<String> {
    let name = file.display().to_string();
    NamedSource::new(foreign::line(&name), foreign::same_length(text).into_owned()).with_language("toml")
}

/// The value of a dotted key.
pub(super) fn value_of<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let (mut table, mut rest) = (table, key);
    loop {
        if let Some(value) = table.get(rest) {
            return Some(value);
        }
        let (part, below) = rest.split_once('.')?;
        (table, rest) = (table.get(part)?.as_table()?, below);
    }
}

/// Where a dotted key stands: its value, or its name and value where the table around it lies in one line; of a key that is not
/// there the section that it would stand in.
fn span_of(text: &str, key: &str) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let (mut table, mut rest, mut around) = (document.get_ref(), key, None);
    loop {
        // A key may hold dots itself, in quotes.
        let (part, below) =
            if table.contains_key(rest) { (rest, "") } else { rest.split_once('.').unwrap_or((rest, "")) };
        let Some(value) = table.get(part) else { return around };
        match value.get_ref() {
            DeValue::Table(inner) if !below.is_empty() => {
                (table, rest, around) = (inner, below, Some(value.span()));
            }
            _ => return Some(value.span()),
        }
    }
}
