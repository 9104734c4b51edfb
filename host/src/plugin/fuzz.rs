//! What reads bytes that a stranger wrote, a function each, for fuzzers: none may panic, whatever comes.
//!
//! [`crate::fuzz`] has them together with those of other rooms.

use super::isolate::understand;
use super::load::ENTRIES;
use super::lock::Lock;
use super::manifest::Manifest;
use super::package::{self, Package};
use super::trust::Signatory;
use super::{elf, params, record, script};
use std::path::Path;

/// A function that reads bytes.
pub type Reader = fn(&[u8]);

/// Every reader by its name, which is that of its seeds' folder and of its fuzz target.
pub const READERS: [(&str, Reader); 8] = [
    ("manifest", manifest),
    ("script", script_text),
    ("package", packed),
    ("lock", lock),
    ("trust", trust),
    ("frames", frames),
    ("recording", recording),
    ("library", library),
];

/// The manifest of a library, and of a package; parameters held against whatever schema it has.
pub fn manifest(bytes: &[u8]) {
    if let Ok((manifest, _)) = Manifest::parse("fuzz", bytes) {
        _ = manifest.check("fuzz");
        _ = params::with_defaults(&manifest, &serde_json::Map::new());
    }
    _ = package::parse_manifest_toml("fuzz", bytes);
}

/// The comment block of a script.
pub fn script_text(bytes: &[u8]) {
    _ = script::manifest("fuzz.py", &String::from_utf8_lossy(bytes));
}

/// A package, packed and as a bare tar.
pub fn packed(bytes: &[u8]) {
    _ = Package::read("fuzz", bytes);
    _ = Package::read_tar("fuzz", bytes);
}

/// A lock.
pub fn lock(bytes: &[u8]) {
    _ = Lock::parse("fuzz", bytes);
}

/// A file of the trust store, and a signature.
pub fn trust(bytes: &[u8]) {
    _ = Signatory::parse(Path::new("fuzz.toml"), bytes);
    _ = package::SignatureFile::parse("fuzz", bytes);
}

/// What a worker sends.
pub fn frames(bytes: &[u8]) {
    understand(bytes);
}

/// A recording.
pub fn recording(bytes: &[u8]) {
    _ = record::entries(bytes);
}

/// A library: everything that is learned of it before it is loaded.
pub fn library(bytes: &[u8]) {
    _ = elf::lacks_section(bytes, ".coldstart_manifest");
    _ = Manifest::read("fuzz", bytes);
    _ = elf::check("fuzz", bytes, &ENTRIES, "2.36");
}
