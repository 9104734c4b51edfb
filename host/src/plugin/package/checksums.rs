//! `CHECKSUMS`: a line "sha256  path" for each file, sorted by path, as `sha256sum -c` reads it.

use super::archive::Files;
use crate::hash;
use std::collections::BTreeMap;

/// The file itself.
pub const CHECKSUMS: &str = "CHECKSUMS";
/// The signature over it.
pub const SIGNATURE: &str = "CHECKSUMS.minisig";

/// The text for these files; the checksums themselves and their signature do not count.
pub fn text(files: &Files) -> String {
    let counted = files.iter().filter(|(path, _)| ![CHECKSUMS, SIGNATURE].contains(&path.as_str()));
    counted.map(|(path, content)| format!("{}  {path}\n", hex(content))).collect()
}

/// Hashes by path; errs with the line that is none.
pub fn parse(text: &str) -> Result<BTreeMap<&str, &str>, String> {
    let is_hash =
        |hash: &str| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut hashes = BTreeMap::new();
    for (i, line) in text.lines().enumerate() {
        let pair = line.split_once("  ").filter(|(hash, path)| is_hash(hash) && !path.is_empty());
        let (hash, path) = pair.ok_or_else(|| format!("line {} of {CHECKSUMS} is no checksum", i + 1))?;
        if hashes.insert(path, hash).is_some() {
            return Err(format!("{CHECKSUMS} lists `{path}` twice"));
        }
    }
    Ok(hashes)
}

/// The SHA-256 of some bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    hash::sha256(bytes)
}

/// The same with the name of the hash, as locks and messages have it.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let files: Files = [("b", "2"), ("a", "1"), (CHECKSUMS, "old"), (SIGNATURE, "signed")]
            .map(|(path, content)| (path.to_owned(), content.as_bytes().to_vec()))
            .into();
        let text = text(&files);
        // printf 1 | sha256sum
        let of_1 = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
        assert!(text.starts_with(&format!("{of_1}  a\n")) && text.lines().count() == 2);
        assert_eq!(parse(&text).unwrap()["a"], of_1);
    }

    #[test]
    fn what_is_no_list_of_checksums_is_an_error() {
        let hash = "0".repeat(64);
        for text in [
            "x".to_owned(),
            format!("{hash} a"),
            format!("{hash}  "),
            format!("{}  a", &hash[1..]),
            format!("{}  a", hash.replace('0', "A")),
            format!("{hash}  a\n\n"),
            format!("{hash}  a\n{hash}  a\n"),
        ] {
            assert!(parse(&text).is_err(), "{text}");
        }
    }
}
