//! What reads bytes that a stranger wrote, a function each, for fuzzers: none may panic, whatever comes.
//!
//! `fuzz/` feeds them with libFuzzer; the test below with seeds of the same folder and mutations of them.

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

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::Rng;

    const MUTATIONS: u64 = 2_000;

    /// A short run for every day; the long ones are `fuzz/run.sh`.
    #[test]
    fn no_bytes_make_a_reader_panic() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        for (name, reader) in READERS {
            let mut files: Vec<_> =
                std::fs::read_dir(seeds.join(name)).unwrap().map(|file| file.unwrap().path()).collect();
            files.sort();
            assert!(!files.is_empty(), "there are no seeds for `{name}`");
            let mut rng = Rng::for_stream([7; 32], name);
            for file in files {
                let seed = std::fs::read(file).unwrap();
                reader(&seed);
                (0..MUTATIONS).for_each(|_| reader(&mutated(&seed, &mut rng)));
            }
        }
    }

    /// A few bytes changed, cut out or doubled.
    fn mutated(seed: &[u8], rng: &mut Rng) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..1 + rng.below(4) {
            if bytes.is_empty() {
                return bytes;
            }
            let at = rng.below(bytes.len() as u64) as usize;
            let length = 1 + rng.below(8.min((bytes.len() - at) as u64)) as usize;
            match rng.below(4) {
                0 => bytes[at] ^= 1 << rng.below(8),
                1 => bytes[at..at + length].fill(rng.below(256) as u8),
                2 => _ = bytes.drain(at..at + length),
                _ => bytes.extend_from_within(at..at + length),
            }
        }
        bytes
    }
}
