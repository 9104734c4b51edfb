//! The archive of a package: a tar in one zstd frame, the same bytes for the same files, and behind it the frame's hash.
//!
//! The hash stands in a frame that zstd skips, so any tar can unpack a package. It finds a flipped bit even where the
//! content would come out the same. Reading trusts nothing: sizes are held against limits before anything of that size is
//! made, only regular files with plain relative names are accepted, and in the end the tar must be what [`encode`] makes
//! of the files in it: no second spelling, no hidden field, no byte more.

use crate::plugin::error::{PluginCode, PluginError};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use tar::{EntryType, Header};
use zstd::zstd_safe;

/// Files by their path in the package, sorted.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What a package may hold.
pub mod limits {
    /// Files.
    pub const FILES: usize = 32;
    /// Bytes of a path; more do not fit a plain tar header.
    pub const PATH: usize = 100;
    /// Bytes of all files together, and of the package itself.
    pub const TOTAL: u64 = 128 << 20;
    /// Bytes of a file that is not the library.
    pub const TEXT: u64 = 4 << 20;
    /// How many times larger than the package its content may be, beyond the first [`SLACK`] bytes.
    pub const RATIO: u64 = 100;
    /// Content that is accepted whatever the ratio.
    pub const SLACK: u64 = 1 << 20;
}

const LEVEL: i32 = 19;
/// What the frame with the hash begins with: zstd's number for a frame to be skipped, and its length.
const HASH_FRAME: [u8; 8] = [0x50, 0x2a, 0x4d, 0x18, 32, 0, 0, 0];

/// The archive of these files.
///
/// Errs if zstd does, or if a path does not fit into a tar header.
pub fn encode(files: &Files) -> std::io::Result<Vec<u8>> {
    Ok(with_hash(zstd::bulk::compress(&to_tar(files)?, LEVEL)?))
}

fn with_hash(mut frame: Vec<u8>) -> Vec<u8> {
    let hash = Sha256::digest(&frame);
    frame.extend(HASH_FRAME);
    frame.extend(hash);
    frame
}

/// The files of an archive. Errs with P009 if it is not what [`encode`] makes of them, and with P006 if a bit of it changed.
/// Never panics.
pub fn decode(name: &str, bytes: &[u8]) -> Result<Files, PluginError> {
    let frame = checked_frame(name, bytes)?;
    decode_tar(name, &decompress(frame).map_err(|problem| malformed(name, problem))?)
}

/// The same for the tar inside.
pub fn decode_tar(name: &str, tar: &[u8]) -> Result<Files, PluginError> {
    let files = from_tar(tar).map_err(|problem| malformed(name, problem))?;
    match to_tar(&files) {
        Ok(canonical) if canonical == tar => Ok(files),
        _ => Err(malformed(name, "is not in the one form that packages have".to_owned())),
    }
}

/// The compressed part, if it is the one that was packed.
fn checked_frame<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a [u8], PluginError> {
    if bytes.len() as u64 > limits::TOTAL {
        let message = format!("has {} bytes, a package has {} at the most", bytes.len(), limits::TOTAL);
        return Err(malformed(name, message));
    }
    let hash_at = bytes.len().checked_sub(HASH_FRAME.len() + 32).unwrap_or(bytes.len());
    let (frame, tail) = bytes.split_at(hash_at);
    match tail.strip_prefix(&HASH_FRAME) {
        Some(hash) if hash == Sha256::digest(frame).as_slice() => Ok(frame),
        Some(_) => Err(PluginError::new(PluginCode::Checksum, name, "is not as it was packed: a part of it changed")
            .with_hint("get the package again from its author")),
        None => Err(malformed(name, "is no package, or cut off".to_owned())),
    }
}

/// A package that is none, or not whole.
pub(super) fn malformed(name: &str, problem: String) -> PluginError {
    PluginError::new(PluginCode::Library, name, problem)
        .with_hint("get the package again, or pack it with `plugin pack`")
}

fn to_tar(files: &Files) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = Header::new_ustar();
        header.set_path(path)?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_slice())?;
    }
    builder.into_inner()
}

fn decompress(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let size = match zstd_safe::get_frame_content_size(bytes) {
        Ok(Some(size)) => size,
        Ok(None) => return Err("does not say how large its content is".to_owned()),
        Err(_) => return Err("is no package: it does not begin as a zstd frame".to_owned()),
    };
    let most = limits::TOTAL.min(limits::SLACK + limits::RATIO * bytes.len() as u64);
    if size > most {
        return Err(format!("claims {size} bytes of content, {most} are the most for a package of its size"));
    }
    let frame = zstd_safe::find_frame_compressed_size(bytes).map_err(|_| "is cut off or damaged".to_owned())?;
    if frame != bytes.len() {
        return Err(format!("has {} bytes behind its end", bytes.len().saturating_sub(frame)));
    }
    zstd::bulk::decompress(bytes, size as usize).map_err(|error| format!("is damaged: {error}"))
}

fn from_tar(tar: &[u8]) -> Result<Files, String> {
    let mut archive = tar::Archive::new(tar);
    let mut files = Files::new();
    // Raw: a long name or an extended header is an entry of its own then, and no regular file.
    let entries = archive.entries().map_err(|error| error.to_string())?.raw(true);
    for entry in entries {
        let (path, content) = read_entry(entry.map_err(|error| format!("is damaged: {error}"))?, tar.len() as u64)?;
        if files.contains_key(&path) {
            return Err(format!("holds `{path}` twice"));
        }
        files.insert(path, content);
        if files.len() > limits::FILES {
            return Err(format!("holds more than {} files", limits::FILES));
        }
    }
    Ok(files)
}

fn read_entry(mut entry: tar::Entry<'_, &[u8]>, tar_bytes: u64) -> Result<(String, Vec<u8>), String> {
    let path = checked_path(&entry.header().path_bytes())?;
    let kind = entry.header().entry_type();
    if kind != EntryType::Regular {
        return Err(format!("holds `{path}`, which is no regular file but {kind:?}"));
    }
    let size = entry.header().entry_size().map_err(|error| format!("is damaged at `{path}`: {error}"))?;
    let most = if path.starts_with("lib/") { limits::TOTAL } else { limits::TEXT };
    if size > most.min(tar_bytes) {
        return Err(format!("claims {size} bytes for `{path}`"));
    }
    let mut content = Vec::with_capacity(size as usize);
    entry.read_to_end(&mut content).map_err(|error| format!("is damaged at `{path}`: {error}"))?;
    match content.len() as u64 == size {
        true => Ok((path, content)),
        false => Err(format!("is cut off in `{path}`")),
    }
}

/// A path that stays below any folder that it is put into.
fn checked_path(bytes: &[u8]) -> Result<String, String> {
    let shown: String = String::from_utf8_lossy(bytes).chars().take(limits::PATH).collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let stays = |path: &str| !path.split('/').any(|part| part.is_empty() || part == "." || part == "..");
    match std::str::from_utf8(bytes) {
        Ok(path) if path.len() <= limits::PATH && path.chars().all(plain) && stays(path) => Ok(path.to_owned()),
        _ => Err(format!("holds the path `{}`, which is not allowed", shown.escape_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> Files {
        paths.iter().map(|path| ((*path).to_owned(), path.repeat(100).into_bytes())).collect()
    }

    #[test]
    fn files_come_back_and_the_bytes_depend_on_them_alone() {
        for given in [files(&[]), files(&["README.md"]), files(&["lib/libx.so", "CHECKSUMS", "schema/x.json"])] {
            let bytes = encode(&given).unwrap();
            assert_eq!(bytes, encode(&given).unwrap());
            assert_eq!(decode("x.csp", &bytes).unwrap(), given);
        }
    }

    #[test]
    fn every_prefix_and_every_flipped_bit_is_refused() {
        let bytes = encode(&files(&["README.md", "lib/libx.so"])).unwrap();
        for end in 0..bytes.len() {
            assert_eq!(decode("x.csp", &bytes[..end]).unwrap_err().code, PluginCode::Library, "{end} bytes");
        }
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode("x.csp", &flipped).is_err(), "bit {bit}");
        }
        for longer in [[bytes.as_slice(), b"\0"].concat(), [b"\0", bytes.as_slice()].concat(), bytes.repeat(2)] {
            assert!(decode("x.csp", &longer).is_err());
        }
    }

    /// With a hash that fits, as an attacker would make it.
    fn refused(frame: Vec<u8>, expected: &str) {
        let error = decode("x.csp", &with_hash(frame)).unwrap_err();
        assert_eq!(error.code, PluginCode::Library);
        assert!(error.message.contains(expected), "{}", error.message);
    }

    #[test]
    fn a_path_stays_in_its_folder() {
        for (path, allowed) in [
            ("lib/libcoldstart_x.so", true),
            ("LICENSE-MIT", true),
            ("..a", true),
            ("", false),
            ("/etc/passwd", false),
            ("..", false),
            ("../x", false),
            ("lib/../../x", false),
            ("lib//x", false),
            ("lib/", false),
            ("./x", false),
            ("a\\b", false),
            ("a b", false),
            ("x\0y", false),
            ("\u{fc}", false),
        ] {
            assert_eq!(checked_path(path.as_bytes()).is_ok(), allowed, "{path}");
        }
        assert!(checked_path(&[0xff]).is_err() && checked_path(&[b'a'; 101]).is_err());
    }

    #[test]
    fn a_size_is_believed_only_within_limits() {
        let compress = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).unwrap();
        refused(compress(&vec![0; 64 << 20]), "claims 67108864 bytes of content");
        let mut header = Header::new_ustar();
        header.set_path("lib/libx.so").unwrap();
        header.set_entry_type(EntryType::Regular);
        header.set_size(1 << 32);
        header.set_cksum();
        refused(
            compress(&[header.as_bytes().as_slice(), &[0; 1024]].concat()),
            "claims 4294967296 bytes for `lib/libx.so`",
        );
    }

    #[test]
    fn what_is_no_single_frame_of_a_canonical_tar_is_refused() {
        let tar = to_tar(&files(&["README.md"])).unwrap();
        let frame = zstd::bulk::compress(&tar, 3).unwrap();
        refused(Vec::new(), "does not begin as a zstd frame");
        refused(b"PK\x03\x04 and so on".to_vec(), "does not begin as a zstd frame");
        refused(frame.repeat(2), "bytes behind its end");
        refused(frame[..frame.len() - 1].to_vec(), "is cut off or damaged");
        let mut sizeless = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        sizeless.include_contentsize(false).and_then(|()| std::io::copy(&mut tar.as_slice(), &mut sizeless)).unwrap();
        refused(sizeless.finish().unwrap(), "does not say how large its content is");
        for longer in [[tar.as_slice(), &[0; 512]].concat(), [tar.as_slice(), b"more"].concat(), tar.repeat(2)] {
            refused(zstd::bulk::compress(&longer, 3).unwrap(), "is not in the one form");
        }
        refused(zstd::bulk::compress(&tar[..tar.len() - 1024], 3).unwrap(), "is not in the one form");
    }
}
