//! Bytes from files: gzipped or plain, in a folder or in a tar archive.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::error::{DataError, Place};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Deep enough for any image folder, shallow enough to end on a loop of symbolic links.
const MAX_DEPTH: usize = 8;

/// Opens a file and decompresses it on the way if its first bytes say gzip.
pub(super) fn open_plain_or_gz(path: &Path) -> Result<Box<dyn Read + Send>, DataError> {
    let io_error = |source| DataError::io(path, source);
    let mut file = File::open(path).map_err(io_error)?;
    let mut magic = Vec::new();
    file.by_ref().take(2).read_to_end(&mut magic).map_err(io_error)?;
    file.rewind().map_err(io_error)?;
    let buffered = BufReader::with_capacity(1 << 16, file);
    Ok(if magic == GZIP_MAGIC { Box::new(MultiGzDecoder::new(buffered)) } else { Box::new(buffered) })
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
    DataError::at_byte(path, offset + got as u64, why)
}

fn read_up_to(reader: &mut impl Read, limit: u64, offset: u64, path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    match reader.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let at = offset + bytes.len() as u64;
            Err(match error.kind() {
                io::ErrorKind::UnexpectedEof => DataError::at_byte(path, at, "the file ends within its gzip data"),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                    DataError::at_byte(path, at, format!("corrupt compressed data ({error})"))
                }
                _ => DataError::io(path, error),
            })
        }
    }
}

/// Files by their path below a root, which is a folder or a tar archive (gzipped or not): the two look the same.
///
/// One folder that wraps everything is left out of the paths, unless it is named like a part of a data set.
pub(super) struct Tree {
    root: PathBuf,
    wrapper: String,
    files: BTreeMap<String, Stored>,
    folders: BTreeSet<String>,
    /// The decompressed archive; empty for a folder.
    archive: Vec<u8>,
}

enum Stored {
    OnDisk(PathBuf),
    InArchive(Range<usize>),
}

impl Tree {
    /// Lists a folder or an archive. Hidden files are left out.
    ///
    /// # Errors
    /// If there is nothing at `root`, the archive is cut or corrupt, or it holds links or paths that lead outside.
    pub(super) fn open(root: &Path) -> Result<Self, DataError> {
        let mut tree = Tree {
            root: root.to_path_buf(),
            wrapper: String::new(),
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            archive: Vec::new(),
        };
        let metadata = fs::metadata(root).map_err(|source| DataError::io(root, source))?;
        if metadata.is_dir() {
            tree.list_folder(root, "", 0)?
        } else {
            tree.list_archive()?
        }
        tree.unwrap_single_folder();
        Ok(tree)
    }

    /// Paths of all files, sorted.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Paths of all folders, sorted.
    pub(super) fn folders(&self) -> impl Iterator<Item = &str> {
        self.folders.iter().map(String::as_str)
    }

    /// Whether there is a file of this path.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// The path to show to people.
    pub(super) fn full_path(&self, name: &str) -> PathBuf {
        self.root.join(&self.wrapper).join(name)
    }

    /// The content of a file.
    pub(super) fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, DataError> {
        match self.files.get(name) {
            Some(Stored::InArchive(range)) => Ok(Cow::Borrowed(&self.archive[range.clone()])),
            Some(Stored::OnDisk(path)) => fs::read(path).map(Cow::Owned).map_err(|source| DataError::io(path, source)),
            None => Err(DataError::io(&self.full_path(name), io::ErrorKind::NotFound.into())),
        }
    }

    fn list_folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), DataError> {
        let io_error = |source| DataError::io(folder, source);
        if depth > MAX_DEPTH {
            return Err(DataError::malformed(folder, Place::Whole, "too many folders within folders"));
        }
        for entry in fs::read_dir(folder).map_err(io_error)? {
            let path = entry.map_err(io_error)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(DataError::malformed(&path, Place::Whole, "the name is not UTF-8"));
            };
            if name.starts_with('.') {
                continue;
            }
            let name = format!("{prefix}{name}");
            if fs::metadata(&path).map_err(|source| DataError::io(&path, source))?.is_dir() {
                self.list_folder(&path, &format!("{name}/"), depth + 1)?;
                self.folders.insert(name);
            } else {
                self.files.insert(name, Stored::OnDisk(path));
            }
        }
        Ok(())
    }

    fn list_archive(&mut self) -> Result<(), DataError> {
        let bytes = read_whole(&self.root)?;
        let corrupt = |error: io::Error| {
            DataError::malformed(&self.root, Place::Whole, format!("not a whole tar archive ({error})"))
        };
        let mut archive = tar::Archive::new(Cursor::new(&bytes));
        for entry in archive.entries_with_seek().map_err(corrupt)? {
            let entry = entry.map_err(corrupt)?;
            let start = entry.raw_file_position();
            let Some(name) = member_name(&entry, &self.root, start)? else { continue };
            if entry.header().entry_type().is_dir() {
                self.folders.insert(name);
                continue;
            }
            let end = start.saturating_add(entry.size());
            if end > bytes.len() as u64 {
                let why = format!("the archive ends within `{name}`");
                return Err(DataError::at_byte(&self.root, bytes.len() as u64, why));
            }
            let parents = name.match_indices('/').map(|(slash, _)| name[..slash].to_string());
            self.folders.extend(parents);
            self.files.insert(name, Stored::InArchive(start as usize..end as usize));
        }
        self.archive = bytes;
        Ok(())
    }

    fn unwrap_single_folder(&mut self) {
        let Some((wrapper, _)) = self.files.keys().next().and_then(|name| name.split_once('/')) else { return };
        let prefix = format!("{wrapper}/");
        let is_part = super::folder::part_of(wrapper).is_some();
        let wraps_all = self.files.keys().all(|name| name.starts_with(&prefix));
        if is_part || !wraps_all {
            return;
        }
        let strip = |name: String| name.strip_prefix(&prefix).map(String::from);
        self.files = std::mem::take(&mut self.files).into_iter().filter_map(|(k, v)| Some((strip(k)?, v))).collect();
        self.folders = std::mem::take(&mut self.folders).into_iter().filter_map(strip).collect();
        self.wrapper = prefix;
    }
}

/// The path of an archive's member, or `None` for the root folder, hidden files and the archive's own records.
///
/// # Errors
/// If the member is a link, a device or the like, or its path is absolute, not UTF-8, or climbs with `..`.
pub(super) fn member_name<R: Read>(
    entry: &tar::Entry<'_, R>,
    archive: &Path,
    offset: u64,
) -> Result<Option<String>, DataError> {
    let kind = entry.header().entry_type();
    if kind.is_pax_global_extensions() {
        return Ok(None);
    }
    let path = entry.path().map_err(|error| DataError::at_byte(archive, offset, error.to_string()))?;
    let refused = |why: &str| DataError::at_byte(archive, offset, format!("`{}` {why}", path.display()));
    if !(kind.is_file() || kind.is_dir()) {
        return Err(refused("is neither a file nor a folder; links are not followed"));
    }
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().ok_or_else(|| refused("is not UTF-8"))?),
            Component::CurDir => {}
            _ => return Err(refused("leads outside the archive")),
        }
    }
    let is_hidden = names.last().is_none_or(|name| name.starts_with('.'));
    Ok((!is_hidden).then(|| names.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar_of(members: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in members {
            let mut header = tar::Header::new_gnu();
            // The checked setters would refuse the hostile names.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn open(bytes: &[u8]) -> Result<Tree, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        Tree::open(file.path())
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;

    #[test]
    fn a_wrapping_folder_is_left_out_but_a_part_is_not() {
        let rows = [
            (["set/train/a/1.png", "set/train/b/2.png"], ["train/a/1.png", "train/b/2.png"]),
            (["train/a/1.png", "train/b/2.png"], ["train/a/1.png", "train/b/2.png"]),
            (["a/1.png", "b/2.png"], ["a/1.png", "b/2.png"]),
        ];
        for (stored, expected) in rows {
            let tree = open(&tar_of(&stored.map(|name| (name, FILE, name.as_bytes())))).unwrap();
            assert_eq!(tree.files().collect::<Vec<_>>(), expected);
            assert_eq!(&*tree.read(expected[1]).unwrap(), stored[1].as_bytes());
        }
    }

    #[test]
    fn hostile_and_broken_archives_are_refused() {
        let whole = tar_of(&[("a/1.png", FILE, &[7; 2000])]);
        let rows = [
            (tar_of(&[("../x", FILE, b"x")]), "leads outside"),
            (tar_of(&[("/etc/x", FILE, b"x")]), "leads outside"),
            (tar_of(&[("a/x", tar::EntryType::Symlink, b"")]), "links are not followed"),
            (tar_of(&[("a/x", tar::EntryType::Link, b"")]), "links are not followed"),
            (whole[..1500].to_vec(), "byte 1500: the archive ends within `a/1.png`"),
            (whole[..300].to_vec(), "not a whole tar archive"),
            (vec![b'x'; 4096], "not a whole tar archive"),
        ];
        for (bytes, expected) in rows {
            let message = open(&bytes).err().expect(expected).to_string();
            assert!(message.contains(expected), "{message}\nexpected: {expected}");
        }
    }

    #[test]
    fn a_folder_on_disk_looks_like_an_archive() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("set/train/empty")).unwrap();
        fs::create_dir_all(folder.path().join("set/train/a")).unwrap();
        fs::write(folder.path().join("set/train/a/1.png"), b"one").unwrap();
        fs::write(folder.path().join(".DS_Store"), b"").unwrap();
        let tree = Tree::open(folder.path()).unwrap();
        assert_eq!(tree.files().collect::<Vec<_>>(), ["train/a/1.png"]);
        assert_eq!(tree.folders().collect::<Vec<_>>(), ["train", "train/a", "train/empty"]);
        assert_eq!(tree.full_path("train/a/1.png"), folder.path().join("set/train/a/1.png"));
    }
}
