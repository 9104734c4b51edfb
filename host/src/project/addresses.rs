//! What an address may mean: the paths that it can be read as, the most literal first.
//!
//! Addresses are those of Label Studio 1.x: `/data/local-files/?d=PATH` of its own machine, `/data/upload/PROJECT/HEX-NAME` of
//! a browser's upload, `/tasks/ID/resolve/?fileuri=BASE64` of a cloud storage, `s3://`, `gs://`, `azure-blob://` and `https://`
//! themselves, signed or not. Paths of Windows are read, too.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, GeneralPurpose as Base64};

/// An address within an address is followed so far.
const MOST_WRAPPINGS: usize = 3;
/// How many hexadecimal digits Label Studio puts before the name of an uploaded file, and a dash.
const UPLOAD_DIGITS: usize = 8;

/// The paths that `name` can be read as, the most literal first: as it is, with slashes of Unix, without its percent-encoding,
/// and the same without what wraps it.
pub fn readings(name: &str) -> Vec<String> {
    let mut readings = Vec::new();
    read_into(&mut readings, name, MOST_WRAPPINGS);
    readings
}

fn read_into(readings: &mut Vec<String>, name: &str, wrappings: usize) {
    add(readings, name.to_owned());
    if name.contains('\\') {
        add(readings, name.replace('\\', "/"));
    }
    add(readings, decoded(name));
    if wrappings > 0 {
        for inner in unwrapped(name) {
            read_into(readings, &inner, wrappings - 1);
        }
    }
}

fn add(readings: &mut Vec<String>, reading: String) {
    let plain = reading.trim_start_matches("./").to_owned();
    if !plain.is_empty() && !readings.contains(&plain) {
        readings.push(plain);
    }
}

/// What an address leads to: the value of its `fileuri` or `d`, else the address without query and fragment.
fn unwrapped(address: &str) -> Vec<String> {
    if let Some(value) = parameter(address, "fileuri") {
        return base64_text(&decoded(value)).into_iter().collect();
    }
    if let Some(value) = parameter(address, "d") {
        let end = value.find(['&', '#']).unwrap_or(value.len());
        return vec![value.to_owned(), value[..end].to_owned()];
    }
    let is_address = address.starts_with('/') || address.contains("://");
    let end = address.find(['?', '#']).filter(|_| is_address);
    end.map(|end| address[..end].to_owned()).into_iter().collect()
}

/// What follows `?KEY=` or `&KEY=` in an address; `fileuri` ends where the next one begins, `d` is cut by whoever asks.
fn parameter<'a>(address: &'a str, key: &str) -> Option<&'a str> {
    let (_, query) = address.split_once('?')?;
    let begins = |at: usize| at == 0 || query.as_bytes()[at - 1] == b'&';
    let (at, found) = query.match_indices(&format!("{key}=")).find(|(at, _)| begins(*at))?;
    let value = &query[at + found.len()..];
    match key {
        "fileuri" => value.split(['&', '#']).next(),
        _ => Some(value),
    }
}

/// Text in base64 of either alphabet, padded or not.
fn base64_text(encoded: &str) -> Option<String> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decode = |engine: Base64| engine.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    [STANDARD, URL_SAFE].iter().find_map(|alphabet| decode(GeneralPurpose::new(alphabet, config)))
}

/// Undoes the percent-encoding of an address; what is no encoding stays.
pub fn decoded(url: &str) -> String {
    let (bytes, mut decoded) = (url.as_bytes(), Vec::new());
    let mut i = 0;
    while i < bytes.len() {
        let digits = bytes.get(i + 1..i + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
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

/// The name of the file that a browser uploaded, for an address such as `/data/upload/3/1a2b3c4d-NAME`.
pub fn uploaded(path: &str) -> Option<&str> {
    let mut parts = path.rsplit('/');
    let (name, project, upload) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number = !project.is_empty() && project.bytes().all(|byte| byte.is_ascii_digit());
    without_digits(name).filter(|_| upload == "upload" && is_number)
}

/// A name without the eight hexadecimal digits and the dash that an upload puts before it.
pub fn without_digits(name: &str) -> Option<&str> {
    let (digits, rest) = name.split_once('-')?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (digits.len() == UPLOAD_DIGITS && digits.bytes().all(is_hex) && !rest.is_empty()).then_some(rest)
}

/// What an upload makes of a file's name: Django's `get_valid_filename` puts `_` for spaces and keeps letters, digits, `-`, `_`
/// and `.` alone.
pub fn upload_name(name: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || "-_.".contains(*c);
    name.trim().replace(' ', "_").chars().filter(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// base64 is what `printf s3://b/a/1.png | base64` prints.
    #[test]
    fn an_address_is_read_in_each_way_that_it_can_be_meant() {
        for (name, expected) in [
            ("a/1.png", &["a/1.png"][..]),
            ("./a/1.png", &["a/1.png"]),
            (r"day2\1.png", &[r"day2\1.png", "day2/1.png"]),
            ("50%.png", &["50%.png"]),
            ("what?.png", &["what?.png"]),
            ("/data/local-files/?d=a/b%20c.png", &["/data/local-files/?d=a/b%20c.png", "a/b%20c.png", "a/b c.png"]),
            ("/data/local-files/?d=a%26b.png&x=1", &["a&b.png&x=1", "a&b.png"]),
            ("https://h/a/1.png?X-Amz-Expires=60#top", &["https://h/a/1.png"]),
            ("https://h/o/a%2F1.png?alt=media", &["https://h/o/a/1.png"]),
            ("/tasks/1/resolve/?fileuri=czM6Ly9iL2EvMS5wbmc=", &["s3://b/a/1.png"]),
            ("https://h/tasks/1/presign/?fileuri=czM6Ly9iL2EvMS5wbmc%3D&x=2", &["s3://b/a/1.png"]),
            ("/tasks/1/resolve/?fileuri=czM6Ly9iL2EvMS5wbmc", &["s3://b/a/1.png"]),
            ("/tasks/1/resolve/?fileuri=!", &["/tasks/1/resolve/?fileuri=!"]),
        ] {
            let found = readings(name);
            assert!(expected.iter().all(|path| found.iter().any(|reading| reading == path)), "{name}: {found:?}");
        }
        assert!(readings("").is_empty());
    }

    #[test]
    fn an_upload_hides_the_name_behind_digits() {
        for (path, expected) in [
            ("/data/upload/3/1a2b3c4d-00.png", Some("00.png")),
            ("upload/12/1a2b3c4d-a-b.png", Some("a-b.png")),
            ("/data/upload/3/1a2b3c4-00.png", None),
            ("/data/upload/3/1a2b3c4g-00.png", None),
            ("/data/upload/x/1a2b3c4d-00.png", None),
            ("photos/20240101-00.png", None),
            ("1a2b3c4d-00.png", None),
        ] {
            assert_eq!(uploaded(path), expected, "{path}");
        }
        assert_eq!(upload_name("x,y (1) bär.png"), "xy_1_bär.png");
    }

    /// Python's urllib.parse.unquote says the same.
    #[test]
    fn what_is_no_encoding_stays() {
        for odd in ["%", "%2", "%zz", "100%", "%+1"] {
            assert_eq!(decoded(odd), odd);
        }
        assert_eq!(decoded("a%20b/%C3%BC.png"), "a b/ü.png");
    }
}
