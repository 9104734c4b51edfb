//! How much a file may become in memory: small archives that unpack to more than there is are refused while they are read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Shape;
use super::error::{DataError, Place};
use crate::memory::Memory;

/// A file may unpack to this many times its size. Real sets stay below 20; tables of zeros come to 1000.
const MOST_TIMES: u64 = 100;
/// What any file may unpack to, however small it is.
const ALWAYS: u64 = 256 << 20;

/// Files up to this size are read without asking how much memory is free.
const SMALL: u64 = 64 << 20;

/// The bytes that a file's content may still take.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    left: u64,
    reason: Reason,
}

/// Why there are not more.
#[derive(Debug, Clone, Copy)]
enum Reason {
    /// The most that a file of so many bytes may unpack to.
    Ratio { packed: u64, most: u64 },
    /// The memory that is free.
    Memory { free: u64 },
}

/// What a file comes to is more than it may.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum TooLarge {
    #[error("unpacks to more than {}, which is more than {MOST_TIMES} times its {}", size(*.most), size(*.packed))]
    Ratio { packed: u64, most: u64 },
    #[error("takes more than the {} of memory that are free", size(*.free))]
    Memory { free: u64 },
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1_000),
        10_000_000..=9_999_999_999 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

impl Allowance {
    /// What an open file may come to once it is unpacked: 100 times its size and 256 MiB, and no more than the free memory.
    ///
    /// # Errors
    /// If the system does not tell the file's size.
    pub(super) fn of_file(file: &File) -> io::Result<Allowance> {
        Ok(Allowance::of(file.metadata()?.len(), Memory::now().free))
    }

    /// For a file whose parts are unpacked one after the other, and never all at once: 100 times its size and 256 MiB.
    ///
    /// # Errors
    /// If the system does not tell the file's size.
    pub(super) fn in_turn(file: &File) -> io::Result<Allowance> {
        Ok(Allowance::of(file.metadata()?.len(), 0))
    }

    /// For a file that is stored as it is read: the free memory.
    pub(super) fn of_plain() -> Allowance {
        let free = match Memory::now().free {
            // The system does not say.
            0 => u64::MAX,
            free => free,
        };
        Allowance { left: free, reason: Reason::Memory { free } }
    }

    fn of(packed: u64, free: u64) -> Allowance {
        let most = packed.saturating_mul(MOST_TIMES).saturating_add(ALWAYS);
        // Where the system does not say what is free, the ratio alone counts.
        match free {
            1.. if free < most => Allowance { left: free, reason: Reason::Memory { free } },
            _ => Allowance { left: most, reason: Reason::Ratio { packed, most } },
        }
    }

    /// Takes bytes from what is left.
    ///
    /// # Errors
    /// If there are not so many left.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), TooLarge> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.exceeded()),
        }
    }

    fn exceeded(&self) -> TooLarge {
        match self.reason {
            Reason::Ratio { packed, most } => TooLarge::Ratio { packed, most },
            Reason::Memory { free } => TooLarge::Memory { free },
        }
    }
}

/// A reader whose bytes count against an allowance, and that fails once there is none left.
pub(super) struct Bounded<'a, R> {
    inner: R,
    allowance: &'a mut Allowance,
}

impl<'a, R: Read> Bounded<'a, R> {
    pub(super) fn new(inner: R, allowance: &'a mut Allowance) -> Self {
        Bounded { inner, allowance }
    }
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.allowance.take(n as u64).map_err(|error| io::Error::new(io::ErrorKind::FileTooLarge, error))?;
        Ok(n)
    }
}

/// Errs if `unpacked` bytes are more than 100 times `packed` and 256 MiB, or than the memory that is free, which is not asked for a
/// few.
pub(super) fn check_packed(packed: u64, unpacked: u64) -> Result<(), TooLarge> {
    if unpacked <= SMALL { Ok(()) } else { Allowance::of(packed, Memory::now().free).take(unpacked) }
}

/// Errs if so many bytes are more than the memory that is free, which is not asked for a few.
pub(super) fn check_free(bytes: u64) -> Result<(), TooLarge> {
    if bytes <= SMALL { Ok(()) } else { Allowance::of_plain().take(bytes) }
}

/// All bytes of a file as they are stored.
///
/// # Errors
/// If it cannot be read, or is larger than the memory that is free.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    let io_error = |source| DataError::io(path, source);
    let mut file = File::open(path).map_err(io_error)?;
    let length = file.metadata().map_err(io_error)?.len();
    let mut bytes = Vec::new();
    if length <= SMALL {
        file.read_to_end(&mut bytes).map_err(io_error)?;
        return Ok(bytes);
    }
    let mut allowance = Allowance::of_plain();
    allowance.clone().take(length).map_err(|error| DataError::malformed(path, Place::Whole, error.to_string()))?;
    Bounded::new(file, &mut allowance).read_to_end(&mut bytes).map_err(io_error)?;
    Ok(bytes)
}

/// Room for the pixels of images, all 0.
///
/// # Errors
/// If they take more than the memory that is free.
pub(super) fn room_for(n_images: usize, shape: Shape) -> Result<Vec<u8>, DataError> {
    let bytes = n_images as u64 * shape.bytes() as u64;
    if Allowance::of_plain().take(bytes).is_err() {
        let Shape { height, width, channels } = shape;
        let (needed, free) = (size(bytes), size(Memory::now().free));
        let why = format!(
            "is too large: {n_images} images of {height}x{width}x{channels} take {needed}, and {free} are free"
        );
        return Err(DataError::key_error("shape", why));
    }
    Ok(vec![0; bytes as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_become_a_hundred_times_larger_and_no_larger_than_memory() {
        let rows = [
            (Allowance::of(10, 0), ALWAYS + 1000, "more than 268 MB, which is more than 100 times its 10 bytes"),
            (Allowance::of(10 << 20, 1 << 40), ALWAYS + (1000 << 20), "100 times its 10 MB"),
            (Allowance::of(10 << 20, 1 << 20), 1 << 20, "more than the 1048 kB of memory that are free"),
            (Allowance::of(u64::MAX, 20 << 30), 20 << 30, "more than the 21 GB of memory that are free"),
        ];
        for (mut allowance, most, expected) in rows {
            allowance.take(most).unwrap();
            let message = allowance.take(1).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}\nexpected: {expected}");
        }
    }

    #[test]
    fn a_reader_ends_with_its_allowance() {
        let mut allowance = Allowance { left: 5, reason: Reason::Memory { free: 5 } };
        let mut bytes = Vec::new();
        Bounded::new(&b"abc"[..], &mut allowance).read_to_end(&mut bytes).unwrap();
        let error = Bounded::new(&b"def"[..], &mut allowance).read_to_end(&mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("of memory that are free"), "{error}");
    }
}
