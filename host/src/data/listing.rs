//! What lies in a folder or in a tar archive: one lister with one set of rules for both.
//!
//! Hidden files and folders, what systems leave, pipes and devices are left aside at any depth, and counted. A folder that was
//! listed (same device and inode) is not listed again: real folders come first, then what links lead to, by path, so that
//! links that lead up end at once and names do not depend on the order that a file system gives. Nothing is opened.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, DirEntry};
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::aside::{Aside, Reason, aside_file, aside_folder, is_image_name};
use super::error::{DataError, Place, printable};

/// Deep enough for any folder of photographs.
const MAX_DEPTH: usize = 32;
/// What marks a folder that `select` has written.
const OF_A_SELECTION: [&str; 2] = ["images.csv", "rounds"];

/// Something that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The path, relative to the folder.
    pub image: String,
    /// One sentence.
    pub reason: String,
}

/// Where the bytes of a file are.
#[derive(Debug)]
pub(super) enum Stored {
    OnDisk(PathBuf),
    InArchive(Range<usize>),
}

/// What was found. Paths are relative to the root, with `/` between names.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub files: BTreeMap<String, Stored>,
    pub folders: BTreeSet<String>,
    /// What nobody looks at, counted.
    pub aside: Aside,
    /// Folders, and files that are named like images, that could not be looked at.
    pub troubles: Vec<Skipped>,
}

impl Listing {
    fn trouble(&mut self, path: &str, reason: impl ToString) {
        let image = path.trim_end_matches('/').to_owned();
        self.troubles.push(Skipped { image, reason: printable(&reason.to_string()) });
    }
}

/// Ends a reading that nobody waits for any more.
pub(super) fn stop_if(cancelled: &AtomicBool) -> Result<(), DataError> {
    if cancelled.load(Ordering::Relaxed) { Err(DataError::Cancelled) } else { Ok(()) }
}

/// Lists a folder.
///
/// # Errors
/// If there is no such folder, or it cannot be read; [`DataError::Cancelled`] once `cancelled` is set.
pub(super) fn list_folder(root: &Path, cancelled: &AtomicBool) -> Result<Listing, DataError> {
    let io_error = |source| DataError::io(root, source);
    let metadata = fs::metadata(root).map_err(io_error)?;
    fs::read_dir(root).map_err(io_error)?;
    let mut walk = Walk { listing: Listing::default(), seen: HashSet::new(), links: BTreeMap::new(), cancelled };
    walk.seen.insert((metadata.dev(), metadata.ino()));
    walk.list(root, "")?;
    while let Some((path, on_disk)) = walk.links.pop_first() {
        walk.enter(&on_disk, path)?;
    }
    walk.listing.troubles.sort_by(|a, b| a.image.cmp(&b.image));
    Ok(walk.listing)
}

struct Walk<'a> {
    listing: Listing,
    /// Device and inode of every folder that was listed.
    seen: HashSet<(u64, u64)>,
    /// Links to folders that are still to be followed, by path.
    links: BTreeMap<String, PathBuf>,
    cancelled: &'a AtomicBool,
}

impl Walk<'_> {
    /// Lists a folder below the root, unless it was listed already.
    fn enter(&mut self, on_disk: &Path, path: String) -> Result<(), DataError> {
        let metadata = match fs::metadata(on_disk) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.listing.trouble(&path, error);
                return Ok(());
            }
        };
        if OF_A_SELECTION.iter().all(|name| on_disk.join(name).exists()) {
            self.listing.aside.add(Reason::Selection);
        } else if !self.seen.insert((metadata.dev(), metadata.ino())) {
            self.listing.aside.add(Reason::SeenFolder);
        } else if path.matches('/').count() >= MAX_DEPTH {
            self.listing.trouble(&path, format!("more than {MAX_DEPTH} folders within folders"));
        } else {
            self.list(on_disk, &format!("{path}/"))?;
            self.listing.folders.insert(path);
        }
        Ok(())
    }

    fn list(&mut self, folder: &Path, prefix: &str) -> Result<(), DataError> {
        stop_if(self.cancelled)?;
        let entries = match fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>()) {
            Ok(entries) => entries,
            Err(error) => {
                self.listing.trouble(prefix, error);
                return Ok(());
            }
        };
        let mut entries: Vec<(String, DirEntry)> =
            entries.into_iter().map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry)).collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, entry) in entries {
            self.entry(&name, &entry, prefix)?;
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, entry: &DirEntry, prefix: &str) -> Result<(), DataError> {
        let (path, on_disk) = (format!("{prefix}{name}"), entry.path());
        let metadata = match fs::metadata(&on_disk) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.unreachable(name, &path, &error);
                return Ok(());
            }
        };
        let aside = if metadata.is_dir() { aside_folder(name) } else { aside_file(name) };
        let is_utf8 = entry.file_name().to_str().is_some();
        if let Some(reason) = aside {
            self.listing.aside.add(reason);
        } else if !is_utf8 && (metadata.is_dir() || is_image_name(name)) {
            self.listing.trouble(&path, "the name is not UTF-8");
        } else if metadata.is_file() {
            self.listing.files.insert(path, Stored::OnDisk(on_disk));
        } else if !metadata.is_dir() {
            self.listing.aside.add(Reason::Device);
        } else if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            self.links.insert(path, on_disk);
        } else {
            self.enter(&on_disk, path)?;
        }
        Ok(())
    }

    /// A link to nothing, or something that went away.
    fn unreachable(&mut self, name: &str, path: &str, error: &io::Error) {
        match aside_file(name) {
            Some(reason) => self.listing.aside.add(reason),
            None if is_image_name(name) => self.listing.trouble(path, error),
            None => self.listing.aside.add(Reason::BrokenLink),
        }
    }
}

/// Lists the tar archive `bytes`, which was read from `path`.
///
/// # Errors
/// If the archive is cut or corrupt, or holds links or paths that lead outside; [`DataError::Cancelled`].
pub(super) fn list_archive(bytes: &[u8], path: &Path, cancelled: &AtomicBool) -> Result<Listing, DataError> {
    let corrupt = |error: io::Error| not_a_tar(path, bytes, &error);
    let mut listing = Listing::default();
    let mut folders_aside = BTreeSet::new();
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    for entry in archive.entries_with_seek().map_err(corrupt)? {
        stop_if(cancelled)?;
        let entry = entry.map_err(corrupt)?;
        let start = entry.raw_file_position();
        match member(&entry, path, start)? {
            Member::Nothing => {}
            Member::Aside(reason, None) => listing.aside.add(reason),
            Member::Aside(reason, Some(folder)) => {
                if folders_aside.insert(folder) {
                    listing.aside.add(reason);
                }
            }
            Member::Folder(name) => add_folders(&mut listing, &format!("{name}/")),
            Member::File(name) => {
                let end = start.saturating_add(entry.size());
                if end > bytes.len() as u64 {
                    let why = format!("the archive ends within `{name}`");
                    return Err(DataError::at_byte(path, bytes.len() as u64, why));
                }
                add_folders(&mut listing, &name);
                listing.files.insert(name, Stored::InArchive(start as usize..end as usize));
            }
        }
    }
    leave_selections_aside(&mut listing);
    Ok(listing)
}

/// Adds every folder that a path goes through.
fn add_folders(listing: &mut Listing, path: &str) {
    listing.folders.extend(path.match_indices('/').map(|(slash, _)| path[..slash].to_string()));
}

/// Takes out the folders that `select` has written, as the lister of folders does before it enters them.
fn leave_selections_aside(listing: &mut Listing) {
    let [images, rounds] = OF_A_SELECTION;
    let is_selection = |folder: &&String| {
        listing.files.contains_key(&format!("{folder}/{images}"))
            && listing.folders.contains(&format!("{folder}/{rounds}"))
    };
    let selections: Vec<String> = listing.folders.iter().filter(is_selection).cloned().collect();
    for folder in &selections {
        let inside = format!("{folder}/");
        listing.files.retain(|path, _| !path.starts_with(&inside));
        listing.folders.retain(|path| path != folder && !path.starts_with(&inside));
        listing.aside.add(Reason::Selection);
    }
}

/// What a member of an archive is.
enum Member {
    /// The root folder, or a record of the archive itself.
    Nothing,
    /// What is left aside; with the path of the folder, if it is for a folder that the member lies in, or is.
    Aside(Reason, Option<String>),
    Folder(String),
    File(String),
}

fn member<R: Read>(entry: &tar::Entry<'_, R>, archive: &Path, offset: u64) -> Result<Member, DataError> {
    let kind = entry.header().entry_type();
    if kind.is_pax_global_extensions() {
        return Ok(Member::Nothing);
    }
    let path = entry.path().map_err(|error| DataError::at_byte(archive, offset, error.to_string()))?;
    let refused = |why: &str| DataError::at_byte(archive, offset, format!("`{}` {why}", path.display()));
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().ok_or_else(|| refused("is not UTF-8"))?),
            Component::CurDir => {}
            _ => return Err(refused("leads outside the archive")),
        }
    }
    let Some((last, above)) = names.split_last() else { return Ok(Member::Nothing) };
    for (depth, name) in above.iter().enumerate() {
        if let Some(reason) = aside_folder(name) {
            return Ok(Member::Aside(reason, Some(names[..=depth].join("/"))));
        }
    }
    if kind.is_dir() {
        return Ok(match aside_folder(last) {
            Some(reason) => Member::Aside(reason, Some(names.join("/"))),
            None => Member::Folder(names.join("/")),
        });
    }
    if let Some(reason) = aside_file(last) {
        return Ok(Member::Aside(reason, None));
    }
    match kind {
        kind if kind.is_file() => Ok(Member::File(names.join("/"))),
        kind if kind.is_fifo() || kind.is_character_special() || kind.is_block_special() => {
            Ok(Member::Aside(Reason::Device, None))
        }
        _ => Err(refused("is neither a file nor a folder; links are not followed")),
    }
}

/// The path of an archive's member, or `None` for the root folder, what is left aside, and the archive's own records.
///
/// # Errors
/// If the member is a link, or its path is absolute, not UTF-8, or climbs with `..`.
pub(super) fn member_name<R: Read>(
    entry: &tar::Entry<'_, R>,
    archive: &Path,
    offset: u64,
) -> Result<Option<String>, DataError> {
    Ok(match member(entry, archive, offset)? {
        Member::Nothing | Member::Aside(..) => None,
        Member::Folder(name) | Member::File(name) => Some(name),
    })
}

/// Why bytes are no tar archive: what else they are, or what the reader of archives says.
fn not_a_tar(path: &Path, bytes: &[u8], error: &io::Error) -> DataError {
    const OTHERS: [(&[u8], &str); 7] = [
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\xfd7zXZ\x00", "compressed with xz"),
        (b"BZh", "compressed with bzip2"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!", "a RAR archive"),
        (b"version https://git-lfs", "a pointer of git-lfs (`git lfs pull` brings the file)"),
    ];
    match OTHERS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        None => DataError::malformed(path, Place::Whole, format!("not a whole tar archive ({error})")),
        Some((_, what)) => {
            DataError::malformed(path, Place::Whole, format!("is {what}, and no tar archive, gzipped or not"))
                .with_hint("unpack it, and name the folder instead")
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    /// A tar archive of these members; a name that ends in `/` is a folder.
    pub(crate) fn archive_of(members: &[(&str, &[u8])]) -> Vec<u8> {
        let members: Vec<_> = members
            .iter()
            .map(|(name, content)| match name.ends_with('/') {
                true => (*name, tar::EntryType::Directory, *content),
                false => (*name, tar::EntryType::Regular, *content),
            })
            .collect();
        tar_of(&members)
    }

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

    /// A folder with these files in it; a name that ends in `/` makes an empty folder.
    fn folder_of(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(if name.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
            if !name.ends_with('/') {
                fs::write(path, name).unwrap();
            }
        }
        folder
    }

    fn files(listing: &Listing) -> Vec<&str> {
        listing.files.keys().map(String::as_str).collect()
    }

    const NAMES: [&str; 14] = [
        "a/1.png",
        "a/deep/er/2.png",
        "b/",
        "a/.git/objects/3.png",
        "a/.ipynb_checkpoints/1-checkpoint.png",
        "a/.ipynb_checkpoints/2-checkpoint.png",
        "__MACOSX/a/._1.png",
        "a/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg",
        "a/._1.png",
        ".DS_Store",
        "Thumbs.db",
        "readme.txt",
        "sel/images.csv",
        "sel/rounds/000/contact-sheet.png",
    ];

    #[test]
    fn a_folder_and_its_archive_are_one() {
        let on_disk = list_folder(folder_of(&NAMES).path(), &GO_ON).unwrap();
        let bytes = archive_of(&NAMES.map(|name| (name, name.as_bytes())));
        let in_archive = list_archive(&bytes, Path::new("x.tar"), &GO_ON).unwrap();
        for listing in [&on_disk, &in_archive] {
            assert_eq!(files(listing), ["a/1.png", "a/deep/er/2.png", "readme.txt"]);
            assert_eq!(listing.folders.iter().collect::<Vec<_>>(), ["a", "a/deep", "a/deep/er", "b"]);
            let expected =
                "1 folder of `coldstart select`, 2 hidden files, 2 hidden folders, 1 system file, 2 system folders";
            assert_eq!(listing.aside.to_string(), expected);
            assert_eq!(listing.troubles, []);
        }
    }

    #[test]
    fn links_are_followed_once_and_end() {
        let folder = folder_of(&["z/1.png", "z/2.png", "x.png"]);
        let elsewhere = folder_of(&["y.png", "deep/y.png"]);
        let link = |to: &Path, name: &str| symlink(to, folder.path().join(name)).unwrap();
        link(Path::new("."), "a");
        link(Path::new("."), "z/b");
        link(Path::new("z"), "b");
        link(elsewhere.path(), "other");
        link(&elsewhere.path().join("y.png"), "one.png");
        link(Path::new("nowhere"), "gone");
        link(Path::new("itself.png"), "itself.png");
        let listing = list_folder(folder.path(), &GO_ON).unwrap();
        // Folders have the names that they really have, although links stand before them in the alphabet.
        assert_eq!(files(&listing), ["one.png", "other/deep/y.png", "other/y.png", "x.png", "z/1.png", "z/2.png"]);
        assert_eq!(listing.aside.to_string(), "1 broken link, 3 folders that links show again");
        let troubles: Vec<&str> = listing.troubles.iter().map(|trouble| trouble.image.as_str()).collect();
        assert_eq!(troubles, ["itself.png"]);
    }

    #[test]
    fn what_could_wait_for_ever_is_counted_and_not_opened() {
        let folder = folder_of(&["x.png"]);
        let socket = UnixListener::bind(folder.path().join("socket.jpg")).unwrap();
        let (pipe, mode) = (folder.path().join("pipe.jpg"), Mode::from_raw_mode(0o644));
        mknodat(CWD, pipe, FileType::Fifo, mode, 0).unwrap();
        symlink("/dev/zero", folder.path().join("zero.png")).unwrap();
        let listing = list_folder(folder.path(), &GO_ON).unwrap();
        assert_eq!((files(&listing), listing.aside.to_string()), (vec!["x.png"], "3 pipes, sockets or devices".into()));
        drop(socket);
    }

    #[test]
    fn too_many_folders_are_told_and_a_cancelled_reading_ends() {
        let deep = format!("{}x.png", "d/".repeat(MAX_DEPTH + 2));
        let folder = folder_of(&[&deep, "y.png"]);
        let listing = list_folder(folder.path(), &GO_ON).unwrap();
        assert_eq!(files(&listing), ["y.png"]);
        assert!(listing.troubles[0].reason.contains("32 folders within folders"), "{:?}", listing.troubles);
        let cancelled = AtomicBool::new(true);
        assert!(matches!(list_folder(folder.path(), &cancelled), Err(DataError::Cancelled)));
        let bytes = archive_of(&[("a/1.png", b"x")]);
        assert!(matches!(list_archive(&bytes, Path::new("x"), &cancelled), Err(DataError::Cancelled)));
    }

    #[test]
    fn hostile_and_broken_archives_are_refused() {
        const FILE: tar::EntryType = tar::EntryType::Regular;
        let whole = tar_of(&[("a/1.png", FILE, &[7; 2000])]);
        let mut bad_number = whole.clone();
        bad_number[124..136].fill(0x07);
        let rows = [
            (tar_of(&[("../x", FILE, b"x")]), "leads outside"),
            (tar_of(&[("/etc/x", FILE, b"x")]), "leads outside"),
            (tar_of(&[("a/x", tar::EntryType::Symlink, b"")]), "links are not followed"),
            (tar_of(&[("a/x", tar::EntryType::Link, b"")]), "links are not followed"),
            (tar_of(&[("a/\x1b[31m\x07", tar::EntryType::Link, b"")]), "`a/\\u{1b}[31m\\u{7}` is neither"),
            (whole[..1500].to_vec(), "byte 1500: the archive ends within `a/1.png`"),
            (whole[..300].to_vec(), "not a whole tar archive"),
            (vec![b'x'; 4096], "not a whole tar archive"),
            (bad_number, "not a whole tar archive"),
            ((0..4096).map(|i| (i * 37 % 256) as u8).collect(), "not a whole tar archive"),
            (b"PK\x03\x04 and more".repeat(90), "is a ZIP archive"),
        ];
        for (bytes, expected) in rows {
            let error = list_archive(&bytes, Path::new("x.tar"), &GO_ON).expect_err(expected);
            let message = error.to_string();
            assert!(message.contains(expected), "{message}\nexpected: {expected}");
            assert!(!message.contains(|c: char| c.is_control() || c == '\u{fffd}'), "{message:?}");
        }
        let pipe = tar_of(&[("a/1.png", FILE, b"x"), ("a/pipe.png", tar::EntryType::Fifo, b"")]);
        assert_eq!(list_archive(&pipe, Path::new("x"), &GO_ON).unwrap().aside.to_string(), "1 pipe, socket or device");
        let hidden_link = tar_of(&[("a/1.png", FILE, b"x"), (".venv/bin/python", tar::EntryType::Symlink, b"")]);
        assert_eq!(list_archive(&hidden_link, Path::new("x"), &GO_ON).unwrap().aside.to_string(), "1 hidden folder");
    }
}
