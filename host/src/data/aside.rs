//! What is left aside where images are looked for, and how it is told: counted by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// Tables of a folder that are named one by one.
const NAMED: usize = 3;

/// Why something is not looked at. The order is the one in which kinds are told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// An image that stands outside of the class folders, or in a part that is not used.
    Elsewhere,
    /// An image that `index.csv` does not list.
    NotInIndex,
    /// An image that the table does not list.
    NotInTable,
    /// An image of a part that is not used.
    OtherPart,
    /// A file of another kind, by the end of its name: `.avif`.
    Extension(String),
    /// A file whose name has no such end.
    NoExtension,
    /// A pipe, a socket or a device: opening it could wait for ever.
    Device,
    /// A link to nothing, or to itself.
    BrokenLink,
    /// A folder or an image that cannot be looked at, and that nobody asks for.
    Unreachable,
    /// A folder that was listed already, by its own name or through another link.
    SeenFolder,
    /// A folder that `coldstart select` has written: the images in it are no photographs.
    Selection,
    /// What people write about a folder: README, LICENSE, checksums.
    Document,
    /// A file whose name begins with a dot.
    HiddenFile,
    /// A folder whose name begins with a dot.
    HiddenFolder,
    /// A file that a system leaves beside those of its user.
    SystemFile,
    /// A folder that a system leaves: thumbnails, recycle bins, what was lost and found.
    SystemFolder,
}

impl Reason {
    /// One and many of it.
    fn words(&self) -> [&str; 2] {
        match self {
            Reason::Elsewhere => ["image outside of the class folders", "images outside of the class folders"],
            Reason::NotInIndex => ["image that the index does not list", "images that the index does not list"],
            Reason::NotInTable => ["image that the table does not list", "images that the table does not list"],
            Reason::OtherPart => ["image of a part that is not used", "images of parts that are not used"],
            Reason::Extension(end) => [end, end],
            Reason::NoExtension => ["file without an extension", "files without an extension"],
            Reason::Device => ["pipe, socket or device", "pipes, sockets or devices"],
            Reason::BrokenLink => ["broken link", "broken links"],
            Reason::Unreachable => {
                ["file or folder that cannot be looked at", "files or folders that cannot be looked at"]
            }
            Reason::SeenFolder => ["folder that a link shows again", "folders that links show again"],
            Reason::Selection => ["folder of `coldstart select`", "folders of `coldstart select`"],
            Reason::Document => ["document", "documents"],
            Reason::HiddenFile => ["hidden file", "hidden files"],
            Reason::HiddenFolder => ["hidden folder", "hidden folders"],
            Reason::SystemFile => ["system file", "system files"],
            Reason::SystemFolder => ["system folder", "system folders"],
        }
    }

    /// Whether everybody has such things and nobody misses them.
    fn is_usual(&self) -> bool {
        matches!(
            self,
            Reason::Document
                | Reason::Selection
                | Reason::HiddenFile
                | Reason::HiddenFolder
                | Reason::SystemFile
                | Reason::SystemFolder
        )
    }
}

/// How much was left aside, by kind. As text: `3 .avif, 2 .txt, 1 hidden folder`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aside {
    counts: BTreeMap<Reason, usize>,
    /// Paths of tables that nobody has read.
    tables: Vec<String>,
}

impl Aside {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Whether there is anything that a user may miss: more than hidden files and what systems leave.
    pub fn is_unusual(&self) -> bool {
        self.counts.keys().any(|reason| !reason.is_usual())
    }

    /// Names the tables that were not read, or nothing.
    pub fn tables(&self) -> Option<String> {
        let more = self.tables.len().saturating_sub(NAMED);
        let named: Vec<String> = self.tables.iter().take(NAMED).map(|table| format!("`{table}`")).collect();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!named.is_empty()).then(|| format!("{}{more}", named.join(", ")))
    }

    pub(super) fn add(&mut self, reason: Reason) {
        self.add_all(reason, 1);
    }

    pub(super) fn add_all(&mut self, reason: Reason, n: usize) {
        if n > 0 {
            *self.counts.entry(reason).or_default() += n;
        }
    }

    /// Adds what was left aside elsewhere.
    pub(super) fn add_all_of(&mut self, other: &Aside) {
        other.counts.iter().for_each(|(reason, n)| self.add_all(reason.clone(), *n));
        self.tables.extend_from_slice(&other.tables);
    }

    /// Counts a file that is no image; a table is kept by name.
    pub(super) fn add_file(&mut self, path: &str) {
        self.add(other_file(path));
        if is_table(path) {
            self.tables.push(path.to_owned());
        }
    }
}

impl fmt::Display for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.counts.iter().map(|(reason, n)| format!("{n} {}", reason.words()[usize::from(*n > 1)]));
        f.write_str(&told.collect::<Vec<_>>().join(", "))
    }
}

/// A map from kind to count.
impl Serialize for Aside {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.counts.len()))?;
        for (reason, n) in &self.counts {
            map.serialize_entry(reason.words()[0], n)?;
        }
        map.end()
    }
}

/// Whether a file is named like an image that is read.
pub(super) fn is_image_name(path: &str) -> bool {
    const READ: [&str; 11] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "tif", "tiff", "gif"];
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| READ.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// What to say where no file is named so.
pub const IMAGE_NAMES: &str = ".jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .dib, .tif, .tiff or .gif";

/// Why a file of this name is left aside, whatever is in it.
pub(super) fn aside_file(name: &str) -> Option<Reason> {
    const SYSTEM: [&str; 6] = ["thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r"];
    let lower = name.to_lowercase();
    if name.starts_with('.') {
        return Some(Reason::HiddenFile);
    }
    // What Synology's indexer writes has a name of its own even where its folder was flattened.
    (SYSTEM.contains(&lower.as_str()) || lower.starts_with("synophoto_")).then_some(Reason::SystemFile)
}

/// Why a folder of this name is left aside, with everything in it.
pub(super) fn aside_folder(name: &str) -> Option<Reason> {
    const SYSTEM: [&str; 20] = [
        "__macosx",
        "network trash folder",
        "temporary items",
        "ipod photo cache",
        "@eadir",
        "@tmp",
        "@recycle",
        "@recently-snapshot",
        "@__thumb",
        "@synoresource",
        "#recycle",
        "#snapshot",
        "~snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "_vti_cnf",
        "found.000",
        "lost+found",
        "__pycache__",
    ];
    if name.starts_with('.') {
        return Some(Reason::HiddenFolder);
    }
    SYSTEM.contains(&name.to_lowercase().as_str()).then_some(Reason::SystemFolder)
}

/// The kind of a file that is no image.
fn other_file(path: &str) -> Reason {
    const DOCUMENTS: [&str; 14] = [
        "readme",
        "license",
        "licence",
        "copying",
        "notice",
        "citation",
        "authors",
        "credits",
        "attribution",
        "changelog",
        "checksums",
        "md5sums",
        "sha1sums",
        "sha256sums",
    ];
    let path = Path::new(path);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    match path.extension() {
        _ if DOCUMENTS.contains(&stem.as_str()) => Reason::Document,
        Some(extension) => Reason::Extension(format!(".{}", extension.to_string_lossy().to_lowercase())),
        None => Reason::NoExtension,
    }
}

/// Whether a file could say what is on images: a table by the end of its name, or a text that is named after labels.
fn is_table(path: &str) -> bool {
    const TABLES: [&str; 11] =
        ["csv", "tsv", "xls", "xlsx", "ods", "parquet", "feather", "json", "jsonl", "ndjson", "mat"];
    const WORDS: [&str; 3] = ["label", "annot", "metadata"];
    let path = Path::new(&path.to_lowercase()).to_owned();
    let part =
        |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default();
    let (stem, extension) = (part(path.file_stem()), part(path.extension()));
    TABLES.contains(&extension.as_str()) || extension == "txt" && WORDS.iter().any(|word| stem.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_and_tables_are_named() {
        let mut aside = Aside::default();
        let files =
            ["a.AVIF", "b.avif", "scan", "README.md", "labels.csv", "val_annotations.txt", "notes.txt", "x.jpg~"];
        files.into_iter().for_each(|file| aside.add_file(file));
        aside.add(Reason::HiddenFolder);
        aside.add_all(Reason::Elsewhere, 2);
        let expected = "2 images outside of the class folders, 2 .avif, 1 .csv, 1 .jpg~, 2 .txt, \
                        1 file without an extension, 1 document, 1 hidden folder";
        assert_eq!(aside.to_string(), expected);
        assert_eq!(aside.tables().unwrap(), "`labels.csv`, `val_annotations.txt`");
        assert!(aside.is_unusual());
        let json = serde_json::to_value(&aside).unwrap();
        assert_eq!((&json[".avif"], &json["hidden folder"]), (&2.into(), &1.into()));
    }

    #[test]
    fn names_decide_what_is_looked_at() {
        let files = [
            ("x.jpg", None),
            ("SYNOPHOTO_THUMB_M.jpg", Some(Reason::SystemFile)),
            ("._x.jpg", Some(Reason::HiddenFile)),
            ("Thumbs.DB", Some(Reason::SystemFile)),
            ("thumb.png", None),
        ];
        files.into_iter().for_each(|(name, expected)| assert_eq!(aside_file(name), expected, "{name}"));
        let folders = [
            ("@eaDir", Some(Reason::SystemFolder)),
            ("$RECYCLE.BIN", Some(Reason::SystemFolder)),
            ("lost+found", Some(Reason::SystemFolder)),
            (".git", Some(Reason::HiddenFolder)),
            ("@someone", None),
            ("lost", None),
        ];
        folders.into_iter().for_each(|(name, expected)| assert_eq!(aside_folder(name), expected, "{name}"));
        for name in ["a.JPEG", "a.jfif", "a.JPE", "a/b.png", "a.WebP", "a.bmp", "a.TIF", "a.tiff", "a.gif"] {
            assert!(is_image_name(name), "{name}");
        }
        for name in ["a.avif", "a.heic", "jpg", "a.jpg~", "a.png.txt", ".jpg"] {
            assert!(!is_image_name(name), "{name}");
        }
        let mut only_usual = Aside::default();
        only_usual.add(Reason::SystemFolder);
        only_usual.add_file("a/LICENSE.txt");
        assert!(!only_usual.is_unusual() && !only_usual.is_empty());
    }
}
