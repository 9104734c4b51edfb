//! Files of the user's that must not change under whoever works with them, and bytes of a file that nobody else can change.
//!
//! A file is pinned by its hash. Whether it may have changed since is told by what the file system says of it; only then it is
//! hashed again.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::aside::is_image_name;
use super::error::DataError;
use crate::hash::{hex, sha256_of};

/// How often a file is read again that was changed while it was read.
const TRIES: usize = 3;
/// Files up to this size are hashed at the end in any case: clocks of file systems are too coarse for what is read in no time.
const SMALL_BYTES: u64 = 64 << 20;

/// Files of the user's, as they were when they were pinned.
#[derive(Debug, Default)]
pub struct Pins {
    files: Vec<Pinned>,
}

/// A file of the user's.
#[derive(Debug)]
pub struct Pinned {
    /// Where it is.
    pub path: PathBuf,
    /// The hash of what is in it.
    pub sha256: String,
    /// What the file system said when it was found to have that hash.
    stamp: Mutex<Stamp>,
}

/// What the file system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn at(path: &Path) -> Result<Stamp, DataError> {
        let metadata = fs::metadata(path).map_err(|source| DataError::io(path, source))?;
        Ok(Stamp::of(&metadata))
    }
}

impl Pinned {
    /// Pins a file as it is now. Errs when it cannot be read.
    pub fn of(path: &Path) -> Result<Pinned, DataError> {
        let stamp = Stamp::at(path)?;
        let sha256 = sha256_of(path).map_err(|source| DataError::io(path, source))?;
        Ok(Pinned { path: path.to_owned(), sha256, stamp: Mutex::new(stamp) })
    }

    /// Errs when the file is gone or is another by now.
    fn check(&self, always: bool) -> Result<Stamp, DataError> {
        let mut known = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let now = fs::metadata(&self.path).map(|metadata| Stamp::of(&metadata)).map_err(|_| self.changed())?;
        if now == *known && !(always && now.bytes <= SMALL_BYTES) {
            return Ok(now);
        }
        if sha256_of(&self.path).map_err(|_| self.changed())? != self.sha256 {
            return Err(self.changed());
        }
        *known = now;
        Ok(now)
    }

    fn changed(&self) -> DataError {
        DataError::Changed { path: self.path.clone() }
    }
}

impl Pins {
    /// Pins these files.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Pins, DataError> {
        Ok(Pins { files: paths.into_iter().map(Pinned::of).collect::<Result<_, _>>()? })
    }

    /// The files.
    pub fn files(&self) -> &[Pinned] {
        &self.files
    }

    /// Has a file read: what came of it is of the bytes that were pinned. A file that was not is just read.
    ///
    /// Errs when the file is not the one that was pinned.
    pub fn read<T>(&self, path: &Path, mut read: impl FnMut() -> T) -> Result<T, DataError> {
        let Some(pinned) = self.files.iter().find(|pinned| pinned.path == path) else { return Ok(read()) };
        for _ in 0..TRIES {
            let before = pinned.check(false)?;
            let outcome = read();
            if Stamp::at(path).is_ok_and(|after| after == before) {
                return Ok(outcome);
            }
            pinned.check(true)?;
        }
        Err(pinned.changed())
    }

    /// Errs when one of the files is gone or is another by now.
    pub fn check(&self) -> Result<(), DataError> {
        self.files.iter().try_for_each(|pinned| pinned.check(true).map(drop))
    }
}

/// What the file system says of a file, or of all files below a folder, as one text: while it stays the same, so do they.
pub(super) fn stamp_below(path: &Path) -> String {
    let mut stamps = Stamps { digest: Sha256::new(), folders: HashSet::new() };
    stamps.add(path);
    hex(&stamps.digest.finalize())
}

/// The same of the images that lie directly in a folder.
pub(super) fn stamp_images_in(folder: &Path) -> String {
    let mut stamps = Stamps { digest: Sha256::new(), folders: HashSet::new() };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut images: Vec<PathBuf> = entries.filter(|path| path.to_str().is_some_and(is_image_name)).collect();
    images.sort();
    images.iter().filter(|path| !path.is_dir()).for_each(|path| stamps.add(path));
    hex(&stamps.digest.finalize())
}

struct Stamps {
    digest: Sha256,
    /// Device and inode of the folders that were looked into: links may lead back to one.
    folders: HashSet<(u64, u64)>,
}

impl Stamps {
    fn add(&mut self, path: &Path) {
        // What cannot be looked at cannot be read either, which is told by whoever reads it.
        let Ok(metadata) = fs::metadata(path) else { return };
        if !metadata.is_dir() {
            self.digest.update(format!("{} {:?}\n", path.display(), Stamp::of(&metadata)));
            return;
        }
        if self.folders.insert((metadata.dev(), metadata.ino())) {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let mut inner: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            inner.sort();
            inner.iter().for_each(|path| self.add(path));
        }
    }
}

/// The bytes of a file as they were when it was read: nobody else can change them, or cut them short.
pub(super) enum Private {
    /// In memory, at an address that suits any number.
    Memory {
        /// The bytes, and what is left over of the last word.
        words: Vec<u64>,
        /// How many bytes.
        n_bytes: usize,
    },
    /// A copy on disk without a name, mapped.
    Copy(memmap2::Mmap),
}

/// Files beyond this size are not read into memory.
pub(super) const LARGE_BYTES: u64 = 256 << 20;

impl Private {
    /// Takes the bytes of a file: small files are read, of large ones a copy is made that has no name.
    pub(super) fn of(path: &Path) -> Result<Private, DataError> {
        Private::with_limit(path, LARGE_BYTES)
    }

    fn with_limit(path: &Path, large_bytes: u64) -> Result<Private, DataError> {
        let failed = |source| DataError::io(path, source);
        let mut file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        if bytes > large_bytes {
            return copy_without_name(&mut file, path).map(Private::Copy);
        }
        let mut words = vec![0u64; bytes.div_ceil(8) as usize];
        let n_bytes =
            read_up_to(&mut file, &mut bytemuck::cast_slice_mut(&mut words)[..bytes as usize]).map_err(failed)?;
        Ok(Private::Memory { words, n_bytes })
    }
}

impl AsRef<[u8]> for Private {
    fn as_ref(&self) -> &[u8] {
        match self {
            Private::Memory { words, n_bytes } => &bytemuck::cast_slice(words)[..*n_bytes],
            Private::Copy(map) => map,
        }
    }
}

/// Reads until the file ends or the bytes are full; how many there were.
fn read_up_to(file: &mut File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < bytes.len() {
        match file.read(&mut bytes[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n)
}

/// A copy of a file beside it, where file systems can share the content, or else in the folder for temporary files.
fn copy_without_name(file: &mut File, path: &Path) -> Result<memmap2::Mmap, DataError> {
    map_unnamed(path, |mut copy| {
        io::Seek::rewind(file)?;
        io::copy(file, &mut copy)?;
        Ok(copy)
    })
}

/// What is written into a file without a name, mapped. The file is beside `path`, or else in the folder for temporary files.
///
/// `write` may be called twice, each time with an empty file. Errs when there is no room in either folder.
pub(super) fn map_unnamed(
    path: &Path,
    mut write: impl FnMut(File) -> io::Result<File>,
) -> Result<memmap2::Mmap, DataError> {
    let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = tempfile::tempfile_in(beside).and_then(&mut write);
    let written = written.or_else(|_| tempfile::tempfile().and_then(&mut write));
    let file = written.map_err(|source| DataError::NoRoom { path: path.to_owned(), source })?;
    // SAFETY: the file has no name, and this process alone has it open and does not write to it any more: nobody can change it or
    // cut it short.
    unsafe { memmap2::Mmap::map(&file) }.map_err(|source| DataError::io(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    type Read = Result<Vec<u8>, DataError>;

    fn read(path: &Path) -> Read {
        fs::read(path).map_err(|source| DataError::io(path, source))
    }

    #[test]
    fn a_pinned_file_is_the_one_that_was_pinned_or_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.npy");
        fs::write(&path, "abc").unwrap();
        let pins = Pins::of([path.as_path()]).unwrap();
        assert_eq!(pins.read(&path, || read(&path)).unwrap().unwrap(), b"abc");
        // The same content in another file is as good.
        fs::write(folder.path().join("other"), "abc").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        pins.check().unwrap();
        // Changed while it is read, and back again: it is read once more.
        let mut tries = 0;
        let content = pins.read(&path, || {
            tries += 1;
            if tries > 1 {
                return read(&path);
            }
            std::thread::sleep(Duration::from_millis(20));
            fs::write(&path, "xyz").unwrap();
            let content = read(&path);
            fs::write(&path, "abc").unwrap();
            content
        });
        assert_eq!((content.unwrap().unwrap(), tries), (b"abc".to_vec(), 2));
        for damage in ["abd", "ab", "", "abcd"] {
            fs::write(&path, damage).unwrap();
            assert!(matches!(pins.check(), Err(DataError::Changed { .. })), "{damage}");
            assert!(matches!(pins.read(&path, || read(&path)), Err(DataError::Changed { .. })), "{damage}");
        }
        fs::remove_file(&path).unwrap();
        assert!(pins.check().is_err());
    }

    #[test]
    fn bytes_of_a_file_outlive_what_is_done_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.npy");
        let content: Vec<u8> = (0..10_007).map(|i| i as u8).collect();
        for large_bytes in [0, 1 << 20] {
            fs::write(&path, &content).unwrap();
            let bytes = Private::with_limit(&path, large_bytes).unwrap();
            fs::write(&path, "").unwrap();
            assert_eq!(bytes.as_ref(), content);
            assert_eq!(bytes.as_ref().as_ptr().align_offset(8), 0);
        }
        assert!(Private::of(&folder.path().join("absent")).is_err());
    }

    #[test]
    fn a_folder_has_another_stamp_when_a_file_in_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/1"), "x").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("a/loop")).unwrap();
        let before = stamp_below(folder.path());
        assert_eq!(stamp_below(folder.path()), before);
        fs::write(folder.path().join("a/1"), "xy").unwrap();
        assert_ne!(stamp_below(folder.path()), before);
    }
}
