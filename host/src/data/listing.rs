//! What lies in a folder, with the rules that archives share: [`tarred`](super::tarred) and [`zipped`](super::zipped) list those.
//!
//! Hidden files and folders, what systems leave, pipes and devices are left aside at any depth, and counted. A folder that was
//! listed (same device and inode) is not listed again: real folders come first, then what links lead to, by path, so that
//! links that lead up end at once and names do not depend on the order that a file system gives. Nothing is opened.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, DirEntry};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::aside::{Aside, Reason, aside_file, aside_folder, is_image_name};
use super::error::{DataError, printable};
use super::zipped::Packed;

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
    Packed(Packed),
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

/// What a member of an archive says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    File,
    Folder,
    /// A pipe or a device.
    Device,
    /// A link, or something unknown.
    Else,
}

/// What becomes of a member of an archive.
pub(super) enum Member {
    /// The root folder, or a record of the archive itself.
    Nothing,
    /// What is left aside; with the path of the folder, if it is for a folder that the member lies in, or is.
    Aside(Reason, Option<String>),
    Folder(String),
    File(String),
}

impl Member {
    /// The member whose path has these parts, by the rules of folders; errs with the end of a sentence.
    pub(super) fn of(names: &[&str], sort: Sort) -> Result<Member, &'static str> {
        let Some((last, above)) = names.split_last() else { return Ok(Member::Nothing) };
        for (depth, name) in above.iter().enumerate() {
            if let Some(reason) = aside_folder(name) {
                return Ok(Member::Aside(reason, Some(names[..=depth].join("/"))));
            }
        }
        if sort == Sort::Folder {
            return Ok(match aside_folder(last) {
                Some(reason) => Member::Aside(reason, Some(names.join("/"))),
                None => Member::Folder(names.join("/")),
            });
        }
        if let Some(reason) = aside_file(last) {
            return Ok(Member::Aside(reason, None));
        }
        match sort {
            Sort::File => Ok(Member::File(names.join("/"))),
            Sort::Device => Ok(Member::Aside(Reason::Device, None)),
            _ => Err("is neither a file nor a folder; links are not followed"),
        }
    }
}

/// The members of an archive on their way into a listing.
#[derive(Default)]
pub(super) struct Members {
    listing: Listing,
    /// Folders that were counted as left aside.
    folders_aside: BTreeSet<String>,
}

impl Members {
    /// Adds a member; a file that the archive has twice is the later one.
    pub(super) fn add(&mut self, member: Member, stored: impl FnOnce() -> Stored) {
        match member {
            Member::Nothing => {}
            Member::Aside(reason, None) => self.listing.aside.add(reason),
            Member::Aside(reason, Some(folder)) => {
                if self.folders_aside.insert(folder) {
                    self.listing.aside.add(reason);
                }
            }
            Member::Folder(name) => add_folders(&mut self.listing, &format!("{name}/")),
            Member::File(name) => {
                add_folders(&mut self.listing, &name);
                self.listing.files.insert(name, stored());
            }
        }
    }

    /// All of them, without the folders that `select` has written.
    pub(super) fn listing(mut self) -> Listing {
        leave_selections_aside(&mut self.listing);
        self.listing
    }
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

#[cfg(test)]
pub(super) mod tests {
    use super::super::tarred::{self, tests::archive_of};
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    static GO_ON: AtomicBool = AtomicBool::new(false);

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

    pub(crate) const NAMES: [&str; 14] = [
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
        let in_archive = tarred::list(&bytes, Path::new("x.tar"), &GO_ON).unwrap();
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
        assert!(matches!(tarred::list(&bytes, Path::new("x"), &cancelled), Err(DataError::Cancelled)));
    }
}
