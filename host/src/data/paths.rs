//! Parts and forms of an image's path, which is text with `/` on every system.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// The last part of a path.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A path without the ending of its file; as it is if there is none.
pub fn stem(path: &str) -> &str {
    let name_begins = path.len() - file_name(path).len();
    match path.rfind('.') {
        Some(dot) if dot > name_begins => &path[..dot],
        _ => path,
    }
}

/// The composed form (NFC) of a path: macOS writes an umlaut as two characters, most others as one.
pub fn composed(path: &str) -> Cow<'_, str> {
    if is_nfc(path) { Cow::Borrowed(path) } else { Cow::Owned(path.nfc().collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_belongs_to_the_file() {
        for (path, expected) in [("a.b/c.png", "a.b/c"), ("a.b/c", "a.b/c"), (".png", ".png"), ("a.tar.gz", "a.tar")] {
            assert_eq!(stem(path), expected, "{path}");
        }
    }

    #[test]
    fn an_umlaut_is_one_letter() {
        for path in ["a/f\u{fc}r.png", "a/fu\u{308}r.png"] {
            assert_eq!(composed(path), "a/f\u{fc}r.png");
        }
        assert_eq!(file_name("a/b/c.png"), "c.png");
    }
}
