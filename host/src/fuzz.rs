//! What reads bytes that a stranger wrote, a function each, for fuzzers: none may panic, whatever comes.
//!
//! `fuzz/` feeds them with libFuzzer; the test below with seeds of the same folder and mutations of them.

use crate::config::Config;
use crate::{data, engine, learner, plugin, project};
use std::path::Path;

/// A function that reads bytes.
pub type Reader = fn(&[u8]);

/// Every reader by its name, which is that of its seeds' folder and of its fuzz target.
pub fn readers() -> Vec<(&'static str, Reader)> {
    let own: [(&str, Reader); 4] = [
        ("config", config),
        ("labels", project::fuzz::labels),
        ("learner", learner::understand),
        ("torchscript", engine::understand_script),
    ];
    [&plugin::fuzz::READERS[..], &data::fuzz::READERS, &own].concat()
}

/// Feeds bytes to the reader of this name.
///
/// # Panics
/// If there is no such reader.
pub fn read(name: &str, bytes: &[u8]) {
    let readers = readers();
    let (_, reader) = readers.iter().find(|(known, _)| *known == name).expect("a reader has this name");
    reader(bytes);
}

/// A config.
fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        _ = Config::parse(Path::new("fuzz.toml"), text, &[]);
    }
}

/// A few bytes changed, cut out or doubled.
#[cfg(test)]
pub(crate) fn mutated(seed: &[u8], rng: &mut coldstart_plugin_api::Rng) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::Rng;
    use std::collections::BTreeSet;
    use std::fs;

    const MUTATIONS: u64 = 2_000;

    fn folder(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(name)
    }

    /// A short run for every day; the long ones are `fuzz/run.sh`.
    #[test]
    fn no_bytes_make_a_reader_panic() {
        for (name, reader) in readers() {
            let mut files: Vec<_> =
                fs::read_dir(folder("seeds").join(name)).unwrap().map(|file| file.unwrap().path()).collect();
            files.sort();
            assert!(!files.is_empty(), "there are no seeds for `{name}`");
            let mut rng = Rng::for_stream([7; 32], name);
            for file in files {
                let seed = fs::read(file).unwrap();
                reader(&seed);
                (0..MUTATIONS).for_each(|_| reader(&mutated(&seed, &mut rng)));
            }
        }
    }

    #[test]
    fn every_reader_has_a_target() {
        let names: BTreeSet<String> = readers().iter().map(|(name, _)| (*name).to_owned()).collect();
        let targets = fs::read_dir(folder("fuzz_targets")).unwrap();
        let stem = |path: std::path::PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
        let targets: BTreeSet<String> = targets.map(|file| stem(file.unwrap().path())).collect();
        assert_eq!(names, targets);
        let (manifest, run) =
            (fs::read_to_string(folder("Cargo.toml")).unwrap(), fs::read_to_string(folder("run.sh")).unwrap());
        let targets = run.lines().find_map(|line| line.strip_prefix("targets=(")).unwrap().trim_end_matches(')');
        assert_eq!(names, targets.split(' ').map(str::to_owned).collect());
        for name in names {
            assert!(manifest.contains(&format!("name = \"{name}\"\n")), "fuzz/Cargo.toml has no target `{name}`");
        }
    }
}
