//! Bytes from files: gzipped or plain, in a folder or in an archive.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::read::MultiGzDecoder;

use super::aside::Aside;
use super::error::{DataError, Place};
use super::listing::{Listing, Skipped, Stored, list_folder};
use super::tarred;
use super::unpacked::{self, Allowance, Bounded};
use super::zipped::{self, Zip};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Opens a file and decompresses it on the way if its first bytes say gzip.
///
/// # Errors
/// If it cannot be opened, or is no file: a pipe, a socket or a device is not opened, because that may wait for ever.
pub(super) fn open_plain_or_gz(path: &Path) -> Result<Opened, DataError> {
    let io_error = |source| DataError::io(path, source);
    if !fs::metadata(path).map_err(io_error)?.is_file() {
        return Err(DataError::malformed(path, Place::Whole, "is no regular file"));
    }
    let mut file = File::open(path).map_err(io_error)?;
    let mut magic = Vec::new();
    file.by_ref().take(2).read_to_end(&mut magic).map_err(io_error)?;
    file.rewind().map_err(io_error)?;
    if magic == GZIP_MAGIC {
        let allowance = Allowance::of_file(&file).map_err(io_error)?;
        Ok(Opened { reader: Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file))), allowance })
    } else {
        Ok(Opened { reader: Box::new(BufReader::with_capacity(1 << 16, file)), allowance: Allowance::of_plain() })
    }
}

/// An open file; reading fails where it unpacks to more than a file of its size may.
pub(super) struct Opened {
    reader: Box<dyn Read + Send>,
    allowance: Allowance,
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Bounded::new(&mut self.reader, &mut self.allowance).read(buffer)
    }
}

/// All bytes of a file, decompressed if they are gzipped.
pub(super) fn read_whole(path: &Path) -> Result<Vec<u8>, DataError> {
    read_up_to(&mut open_plain_or_gz(path)?, u64::MAX, 0, path)
}

/// The next `N` bytes of a header, the first of which is at `offset`.
pub(super) fn read_header<const N: usize>(
    reader: &mut impl Read,
    path: &Path,
    offset: u64,
) -> Result<[u8; N], DataError> {
    let bytes = read_up_to(reader, N as u64, offset, path)?;
    bytes.try_into().map_err(|bytes: Vec<u8>| ends_early(path, offset, bytes.len(), N as u64))
}

/// The last `declared` bytes of a file, which begin at `offset`.
///
/// Memory grows with what is really read, so a header that declares too much costs nothing.
///
/// # Errors
/// If the file has fewer or more bytes, or its compressed form is broken.
pub(super) fn read_declared(
    mut reader: impl Read,
    declared: u64,
    offset: u64,
    path: &Path,
) -> Result<Vec<u8>, DataError> {
    let bytes = read_up_to(&mut reader, declared.saturating_add(1), offset, path)?;
    if (bytes.len() as u64) < declared {
        return Err(ends_early(path, offset, bytes.len(), declared));
    }
    if bytes.len() as u64 > declared {
        return Err(DataError::at_byte(path, offset + declared, "data after the end that the header declares"));
    }
    Ok(bytes)
}

fn ends_early(path: &Path, offset: u64, got: usize, declared: u64) -> DataError {
    let why = format!("the file ends, but {declared} bytes from byte {offset} on were expected");
    DataError::at_byte(path, offset + got as u64, why).with_hint(BRING_IT_WHOLE)
}

/// What to do about a file that is cut off or changed.
const BRING_IT_WHOLE: &str = "copy or download the file again, as a whole";

fn read_up_to(reader: &mut impl Read, limit: u64, offset: u64, path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    match reader.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let at = offset + bytes.len() as u64;
            Err(match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    let why = format!("the file ends within its gzip data, of which {at} bytes can be unpacked");
                    DataError::malformed(path, Place::Whole, why).with_hint(BRING_IT_WHOLE)
                }
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                    let why = format!("corrupt compressed data after {at} bytes unpacked ({error})");
                    DataError::malformed(path, Place::Whole, why).with_hint(BRING_IT_WHOLE)
                }
                io::ErrorKind::FileTooLarge => DataError::malformed(path, Place::Whole, error.to_string()),
                _ => DataError::io(path, error),
            })
        }
    }
}

/// Files by their path below a root, which is a folder, a tar archive (gzipped or not) or a ZIP archive: all look the same.
pub(super) struct Tree {
    root: PathBuf,
    /// The folder that was left out of all paths: empty, or with a `/` at its end.
    wrapper: String,
    listing: Listing,
    archive: Archive,
}

/// What the files are stored in.
enum Archive {
    Folder,
    /// All bytes, decompressed.
    Tar(Vec<u8>),
    Zip(Zip),
}

impl Tree {
    /// Lists a folder or an archive, by the rules of [`listing`](super::listing).
    ///
    /// # Errors
    /// If there is nothing at `root`, it is neither a folder nor a file, or the archive is cut, corrupt or hostile;
    /// [`DataError::Cancelled`].
    pub(super) fn open(root: &Path, cancelled: &AtomicBool) -> Result<Self, DataError> {
        let io_error = |source| DataError::io(root, source);
        let metadata = fs::metadata(root).map_err(io_error)?;
        let (archive, listing) = if metadata.is_dir() {
            (Archive::Folder, list_folder(root, cancelled)?)
        } else if metadata.is_file() && zipped::is_zip(root).map_err(io_error)? {
            let (zip, listing) = zipped::open(root, cancelled)?;
            (Archive::Zip(zip), listing)
        } else {
            let bytes = read_archive(root, cancelled)?;
            let listing = tarred::list(&bytes, root, cancelled)?;
            (Archive::Tar(bytes), listing)
        };
        Ok(Tree { root: root.to_path_buf(), wrapper: String::new(), listing, archive })
    }

    /// The same without the one folder that everything lies in, if there is such a folder.
    pub(super) fn unwrapped(mut self) -> Self {
        let first = self.files().next().and_then(|name| name.split_once('/'));
        let Some(prefix) = first.map(|(wrapper, _)| format!("{wrapper}/")) else { return self };
        if !self.files().all(|name| name.starts_with(&prefix)) {
            return self;
        }
        let strip = |name: String| name.strip_prefix(&prefix).map(String::from);
        let Listing { files, folders, .. } = &mut self.listing;
        *files = std::mem::take(files).into_iter().filter_map(|(name, at)| Some((strip(name)?, at))).collect();
        *folders = std::mem::take(folders).into_iter().filter_map(strip).collect();
        self.wrapper = prefix;
        self
    }

    /// Paths of all files, sorted.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.listing.files.keys().map(String::as_str)
    }

    /// Paths of all folders, sorted.
    pub(super) fn folders(&self) -> impl Iterator<Item = &str> {
        self.listing.folders.iter().map(String::as_str)
    }

    /// What the lister left aside.
    pub(super) fn aside(&self) -> &Aside {
        &self.listing.aside
    }

    /// What the lister could not look at.
    pub(super) fn troubles(&self) -> &[Skipped] {
        &self.listing.troubles
    }

    /// Whether there is a file of this path.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.listing.files.contains_key(name)
    }

    /// The path to show to people.
    pub(super) fn full_path(&self, name: &str) -> PathBuf {
        match name {
            "" if self.wrapper.is_empty() => self.root.clone(),
            name => self.root.join(&self.wrapper).join(name),
        }
    }

    /// The content of a file.
    pub(super) fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, DataError> {
        match (self.listing.files.get(name), &self.archive) {
            (Some(Stored::OnDisk(path)), _) => unpacked::read_file(path).map(Cow::Owned),
            (Some(Stored::InArchive(range)), Archive::Tar(bytes)) => Ok(Cow::Borrowed(&bytes[range.clone()])),
            (Some(Stored::Packed(packed)), Archive::Zip(zip)) => {
                zip.read(*packed, &self.full_path(name)).map(Cow::Owned)
            }
            _ => Err(DataError::io(&self.full_path(name), io::ErrorKind::NotFound.into())),
        }
    }
}

/// The bytes of an archive, decompressed.
fn read_archive(path: &Path, cancelled: &AtomicBool) -> Result<Vec<u8>, DataError> {
    let mut watched = Watched { inner: open_plain_or_gz(path)?, cancelled };
    let read = read_up_to(&mut watched, u64::MAX, 0, path);
    // The error that the watch makes only carries the message out of the reader.
    if cancelled.load(Ordering::Relaxed) { Err(DataError::Cancelled) } else { read }
}

/// A reader that fails once nobody waits for it.
struct Watched<'a, R> {
    inner: R,
    cancelled: &'a AtomicBool,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.cancelled.load(Ordering::Relaxed) {
            true => Err(io::Error::other("cancelled")),
            false => self.inner.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tarred::tests::archive_of;
    use super::super::zipped::tests::zip_of;
    use super::*;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    #[test]
    fn a_wrapping_folder_is_left_out_on_request() {
        let rows = [
            (["set/1.bin", "set/deep/2.bin"], ["1.bin", "deep/2.bin"]),
            (["a/1.bin", "b/2.bin"], ["a/1.bin", "b/2.bin"]),
            (["set/1.bin", "x.bin"], ["set/1.bin", "x.bin"]),
        ];
        let archives = [archive_of, zip_of];
        for ((stored, expected), archive) in rows.iter().flat_map(|row| archives.map(|archive| (row, archive))) {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), archive(&stored.map(|name| (name, name.as_bytes())))).unwrap();
            let tree = Tree::open(file.path(), &GO_ON).unwrap().unwrapped();
            assert_eq!(tree.files().collect::<Vec<_>>(), *expected);
            assert_eq!(&*tree.read(expected[1]).unwrap(), stored[1].as_bytes());
            assert_eq!(tree.full_path(expected[1]), file.path().join(stored[1]));
        }
    }

    #[test]
    fn a_cancelled_reading_ends_and_a_pipe_is_not_opened() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), archive_of(&[("a/1.png", b"x")])).unwrap();
        assert!(matches!(Tree::open(file.path(), &AtomicBool::new(true)), Err(DataError::Cancelled)));
        let message = Tree::open(Path::new("/dev/null"), &GO_ON).err().unwrap().to_string();
        assert!(message.contains("`/dev/null`: is no regular file"), "{message}");
    }
}
