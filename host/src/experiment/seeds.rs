//! Seeds: one for each run, round and purpose, so that no two draws share numbers and none depends on another.

use sha2::{Digest, Sha256};

/// SHA-256 of `coldstart-seed/1`, the run's seed, the round and the purpose, separated by zero bytes; integers are
/// little-endian.
///
/// Purposes are `initialisation`, `training`, `plugin/NAME`. Runs with the same seed draw the same numbers for the same
/// purpose, whatever else their configs say: arms of a study are paired.
pub fn seed(run_seed: u64, round: u32, purpose: &str) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(b"coldstart-seed/1\0");
    sha.update(run_seed.to_le_bytes());
    sha.update(b"\0");
    sha.update(round.to_le_bytes());
    sha.update(b"\0");
    sha.update(purpose.as_bytes());
    sha.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with: python3 -c "import hashlib,struct; print(hashlib.sha256(b'coldstart-seed/1\0'+struct.pack('<Q',7)
    /// +b'\0'+struct.pack('<I',3)+b'\0'+b'plugin/random').hexdigest()[:16])"
    #[test]
    fn seeds_never_change() {
        let hex: String = seed(7, 3, "plugin/random")[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "c5aa19bb3b116f04");
    }
}
