//! The error of this room: file, line, key, the sentence, and the nearest name.

use super::Override;
use crate::foreign;
use crate::nearest::nearest;
use miette::{NamedSource, SourceSpan};
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};

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
        let message = format!("cannot read `{}`: {error}", file.display());
        Mistake { message, hint: None, source_code: named(file, ""), span: None }.into()
    }

    /// An error of the TOML itself or of a type, at its place in the file.
    pub(super) fn in_text(file: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
        let key = error.span().and_then(|span| key_at(text, span.start)).unwrap_or_default();
        let about = if key.is_empty() { String::new() } else { format!(", key `{key}`") };
        let sentence = sentence(error);
        Mistake {
            message: format!("{sentence} in `{}`{about}", file.display()),
            hint: suggestion(&sentence),
            source_code: named(file, text),
            span: error.span().map(SourceSpan::from),
        }
        .into()
    }

    /// An error of the file that shows only with the overrides, at the place of its key.
    pub(super) fn at_place(file: &Path, text: &str, key: &str, sentence: &str) -> ConfigError {
        Mistake {
            message: format!("{sentence} in `{}`, key `{key}`", file.display()),
            hint: suggestion(sentence),
            source_code: named(file, text),
            span: span_of(text, key).map(SourceSpan::from),
        }
        .into()
    }

    /// An error that an override brings in.
    pub(super) fn in_override(file: &Path, culprit: &Override, error: &str) -> ConfigError {
        Mistake {
            message: format!("{error} in {culprit}, for `{}`", file.display()),
            hint: suggestion(error),
            source_code: named(file, ""),
            span: None,
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
        if let Some(culprit) = overrides.iter().rev().find(|set| set.covers(key)) {
            return ConfigError::in_override(file, culprit, &format!("`{key}` {message}"));
        }
        Mistake {
            message: format!("`{key}` {message} in `{}`", file.display()),
            hint: suggestion(message),
            source_code: named(file, text),
            span: span_of(text, key).map(SourceSpan::from),
        }
        .into()
    }

    /// An error of something that was typed, and stands in no file.
    pub(super) fn in_argument(argument: &str, message: &str) -> ConfigError {
        let message = format!("`{argument}`: {message}");
        Mistake { message, hint: None, source_code: named(Path::new(argument), ""), span: None }.into()
    }

    /// The same error with this hint.
    pub fn with_hint(mut self, hint: String) -> ConfigError {
        self.0.hint = Some(foreign::lines(&hint).into_owned());
        self
    }
}

impl From<Mistake> for ConfigError {
    fn from(Mistake { message, hint, source_code, span }: Mistake) -> ConfigError {
        let hint = hint.map(|hint| foreign::lines(&hint).into_owned());
        ConfigError(Box::new(Mistake { message: foreign::lines(&message).into_owned(), hint, source_code, span }))
    }
}

fn named(file: &Path, text: &str) -> NamedSource<String> {
    let name = file.display().to_string();
    NamedSource::new(foreign::line(&name), foreign::same_length(text).into_owned()).with_language("toml")
}

/// The parser's words in one line.
fn sentence(error: &toml::de::Error) -> String {
    error.message().lines().collect::<Vec<_>>().join(", ")
}

/// For "unknown field `epocs`, expected one of `epochs`, ...": the nearest of the known names.
fn suggestion(message: &str) -> Option<String> {
    let (unknown, known) = message.split_once(", expected ")?;
    let in_backticks = |text: &'_ str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let word = in_backticks(unknown).pop()?;
    let known = in_backticks(known);
    nearest(&word, known.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"))
}

/// Where the value of a dotted key stands.
fn span_of(text: &str, key: &str) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let (mut table, mut rest) = (document.get_ref(), key);
    loop {
        // A key may hold dots itself, in quotes.
        let (part, below) =
            if table.contains_key(rest) { (rest, "") } else { rest.split_once('.').unwrap_or((rest, "")) };
        let value = table.get(part)?;
        match value.get_ref() {
            DeValue::Table(inner) if !below.is_empty() => (table, rest) = (inner, below),
            _ => return Some(value.span()),
        }
    }
}

/// The dotted key whose name or value stands at a position.
fn key_at(text: &str, position: usize) -> Option<String> {
    fn find(table: &DeTable<'_>, position: usize) -> Option<String> {
        table.iter().find_map(|(key, value)| {
            let name = key.get_ref();
            let inner = match value.get_ref() {
                DeValue::Table(inner) => find(inner, position),
                _ => None,
            };
            let here = key.span().contains(&position) || value.span().contains(&position);
            inner.map(|inner| format!("{name}.{inner}")).or_else(|| here.then(|| name.to_string()))
        })
    }
    find(DeTable::parse(text).ok()?.get_ref(), position)
}
