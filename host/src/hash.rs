//! SHA-256 of files and bytes, in hexadecimal digits; and JSON objects on a line that carry a hash of themselves.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// The hash of a file's content.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut digest = HashWriter(Sha256::new());
    io::copy(&mut File::open(path)?, &mut digest)?;
    Ok(hex(&digest.0.finalize()))
}

/// The hash of bytes.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in lowercase hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct HashWriter(Sha256);

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What stands before the hash at the end of a line, and behind it.
const CHECK: (&str, &str) = (",\"check\":\"", "\"}");
/// Digits of that hash.
const CHECK_DIGITS: usize = 16;

/// What a line says that may carry a hash of itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// It is what was written; without its hash.
    Whole(String),
    /// It is not what was written.
    Changed,
    /// It carries no hash.
    Unchecked,
}

/// A JSON object on one line, with a hash of itself as its last field.
///
/// # Panics
/// Where the text is no object, or an empty one.
pub fn checked_line(object: &str) -> String {
    let open = object.strip_suffix('}').expect("an object");
    format!("{open}{}{}{}", CHECK.0, check_of(object), CHECK.1)
}

/// Holds a line against the hash that [`checked_line`] gave it.
pub fn read_line(line: &str) -> Line {
    let Some((open, check)) = line.strip_suffix(CHECK.1).and_then(|line| line.rsplit_once(CHECK.0)) else {
        return Line::Unchecked;
    };
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if check.len() != CHECK_DIGITS || !check.bytes().all(is_digit) {
        return Line::Unchecked;
    }
    let whole = format!("{open}}}");
    if check == check_of(&whole) { Line::Whole(whole) } else { Line::Changed }
}

fn check_of(line: &str) -> String {
    sha256(line.as_bytes())[..CHECK_DIGITS].to_owned()
}

/// What files hold, by their paths below a folder, with `/` between the parts; as text it is a line with a hash of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// What each file holds.
    pub files: BTreeMap<String, String>,
    /// What files hold that are being written: until it is done, either is right.
    #[serde(default)]
    pub next: BTreeMap<String, String>,
}

impl List {
    /// Reads a list; none where it is not what was written.
    pub fn parse(text: &str) -> Option<List> {
        match read_line(text.trim_end()) {
            Line::Whole(text) => serde_json::from_str(&text).ok(),
            Line::Changed | Line::Unchecked => None,
        }
    }

    /// The list as text.
    pub fn text(&self) -> String {
        checked_line(&serde_json::to_string(self).expect("plain data")) + "\n"
    }

    /// Whether a file holds what it should; one that is not listed may hold anything.
    pub fn allows(&self, name: &str, bytes: &[u8]) -> bool {
        let (now, next) = (self.files.get(name), self.next.get(name));
        let found = sha256(bytes);
        (now.is_none() && next.is_none()) || [now, next].into_iter().flatten().any(|hash| *hash == found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_knows_what_it_was() {
        let object = "{\"a\":1,\"b\":\"x\"}";
        let line = checked_line(object);
        assert_eq!(read_line(&line), Line::Whole(object.to_owned()));
        assert_eq!(read_line(&line.replace("1", "2")), Line::Changed);
        assert_eq!(read_line(object), Line::Unchecked);
        let list = List { files: BTreeMap::from([("a".to_owned(), sha256(b"x"))]), ..List::default() };
        let list = List { next: BTreeMap::from([("a".to_owned(), sha256(b"y"))]), ..list };
        assert_eq!(List::parse(&list.text()).as_ref(), Some(&list));
        assert_eq!(List::parse(&list.text().replace("\"a\"", "\"b\"")), None);
        let allowed =
            [("a", "x"), ("a", "y"), ("a", "z"), ("b", "z")].map(|(name, text)| list.allows(name, text.as_bytes()));
        assert_eq!(allowed, [true, true, false, true]);
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
