//! What lies in a ZIP archive, by the rules of [`listing`](super::listing). Its files are unpacked one at a time, when they are read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, CreatorSystem, FileReader, ZipArchive, ZipArchiveEntryWayfinder, ZipFileHeaderRecord};

use super::error::{DataError, Place};
use super::listing::{Listing, Member, Members, Sort, Stored, stop_if};
use super::unpacked::{Allowance, check_free};

/// How a ZIP archive begins: with a file, or with the end of an empty archive.
const BEGINNINGS: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];
/// Types of a file in the mode that Unix gives it.
const TYPE: u32 = 0o170_000;
const PIPES_AND_DEVICES: [u32; 4] = [0o010_000, 0o020_000, 0o060_000, 0o140_000];

/// An open archive.
#[derive(Debug)]
pub(super) struct Zip {
    archive: ZipArchive<FileReader>,
}

/// Where a file lies in an archive, and how it is packed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed {
    place: ZipArchiveEntryWayfinder,
    method: u16,
    is_encrypted: bool,
}

/// Whether a file begins as a ZIP archive does.
pub(super) fn is_zip(path: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut first)?;
    Ok(BEGINNINGS.contains(&first.as_slice()))
}

/// Opens the archive at `path` and lists it; nothing is unpacked.
///
/// # Errors
/// If it is cut or corrupt, holds links or paths that lead outside, or what its table of contents says comes to more than 100 times
/// the archive and 256 MiB; [`DataError::Cancelled`].
pub(super) fn open(path: &Path, cancelled: &AtomicBool) -> Result<(Zip, Listing), DataError> {
    let io_error = |source| DataError::io(path, source);
    let broken =
        |error: rawzip::Error| DataError::malformed(path, Place::Whole, format!("not a whole ZIP archive ({error})"));
    let file = File::open(path).map_err(io_error)?;
    let mut allowance = Allowance::in_turn(&file).map_err(io_error)?;
    let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
    let archive = ZipArchive::from_file(file, &mut buffer).map_err(broken)?;
    let mut members = Members::default();
    let mut entries = archive.entries(&mut buffer);
    while let Some(entry) = entries.next_entry().map_err(broken)? {
        stop_if(cancelled)?;
        let member = member(&entry, path)?;
        if let Member::File(_) = &member {
            let too_large = |error| DataError::malformed(path, Place::Whole, format!("{error}"));
            allowance.take(entry.uncompressed_size_hint()).map_err(too_large)?;
        }
        members.add(member, || Stored::Packed(Packed::of(&entry)));
    }
    Ok((Zip { archive }, members.listing()))
}

fn member(entry: &ZipFileHeaderRecord<'_>, archive: &Path) -> Result<Member, DataError> {
    let path = entry.file_path();
    let bytes: &[u8] = path.as_ref();
    let shown = String::from_utf8_lossy(bytes);
    let refused = |why: &str| DataError::malformed(archive, Place::Whole, format!("`{shown}` {why}"));
    let path = std::str::from_utf8(bytes).map_err(|_| {
        refused("is not UTF-8").with_hint("pack it again with a program whose names are UTF-8, such as 7-Zip or `zip`")
    })?;
    // Old programs for Windows write its separator, which elsewhere is a letter like any other.
    let is_of_windows = entry.version_made_by().creator_system() == CreatorSystem::FAT;
    let path = if is_of_windows { path.replace('\\', "/") } else { path.to_owned() };
    let names: Vec<&str> = path.split('/').filter(|name| !["", "."].contains(name)).collect();
    if path.starts_with('/') || names.contains(&"..") {
        return Err(refused("leads outside the archive"));
    }
    Member::of(&names, sort_of(entry, &path)).map_err(refused)
}

fn sort_of(entry: &ZipFileHeaderRecord<'_>, path: &str) -> Sort {
    match entry.mode() {
        _ if entry.is_dir() || path.ends_with('/') => Sort::Folder,
        mode if mode.is_symlink() => Sort::Else,
        mode if PIPES_AND_DEVICES.contains(&(mode.value() & TYPE)) => Sort::Device,
        _ => Sort::File,
    }
}

impl Packed {
    fn of(entry: &ZipFileHeaderRecord<'_>) -> Packed {
        Packed {
            place: entry.wayfinder(),
            method: entry.compression_method().as_u16(),
            is_encrypted: entry.flags().is_encrypted(),
        }
    }
}

impl Zip {
    /// The content of a file, whose path is shown where something is wrong with it. May be called from many threads.
    ///
    /// # Errors
    /// If it is encrypted, packed by another method than deflate, cut or damaged, not of the size and sum that the table of contents
    /// says, or larger than the memory that is free.
    pub(super) fn read(&self, packed: Packed, path: &Path) -> Result<Vec<u8>, DataError> {
        let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
        if packed.is_encrypted {
            return Err(wrong("is encrypted".to_owned()).with_hint("unpack the archive, and name the folder instead"));
        }
        let size = packed.place.uncompressed_size_hint();
        check_free(size).map_err(|error| wrong(error.to_string()))?;
        let entry = self.archive.get_entry(packed.place).map_err(|error| wrong(format!("is cut short ({error})")))?;
        let stored = BufReader::new(entry.reader());
        let unpacked: Box<dyn Read> = match CompressionMethod::new(packed.method) {
            CompressionMethod::STORE => Box::new(stored),
            CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(stored)),
            method => {
                let what = method.name().unwrap_or("unknown");
                let why = format!("is packed by a method that is not read ({what}, {})", packed.method);
                return Err(wrong(why).with_hint("pack it again with deflate, which every program has"));
            }
        };
        let mut bytes = Vec::new();
        // Size and sum are held against the table of contents at the end, and no byte is taken beyond that size.
        let read = entry.verifying_reader(unpacked).take(size.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| wrong(format!("damaged in the archive ({error})")))?;
        Ok(bytes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use rawzip::ZipArchiveWriter;

    use super::super::listing::tests::NAMES;
    use super::*;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    /// A ZIP archive of these members; a name that ends in `/` is a folder.
    pub(crate) fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut archive = ZipArchiveWriter::new(&mut bytes);
        for (name, content) in members {
            if name.ends_with('/') {
                archive.new_dir(*name).create().unwrap();
                continue;
            }
            let (mut entry, config) = archive
                .new_file(rawzip::path::EntryPath::verbatim(name.as_bytes()))
                .compression_method(CompressionMethod::DEFLATE)
                .start()
                .unwrap();
            let deflated = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::best());
            let mut writer = config.wrap(deflated);
            writer.write_all(content).unwrap();
            let (deflated, sizes) = writer.finish().unwrap();
            deflated.finish().unwrap();
            entry.finish(sizes).unwrap();
        }
        archive.finish().unwrap();
        bytes
    }

    fn opened(bytes: &[u8]) -> Result<(Zip, Listing), DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        open(file.path(), &GO_ON)
    }

    fn content(zip: &Zip, listing: &Listing, name: &str) -> Result<Vec<u8>, DataError> {
        let Stored::Packed(packed) = &listing.files[name] else { panic!("`{name}` is not packed") };
        zip.read(*packed, Path::new(name))
    }

    #[test]
    fn an_archive_is_listed_as_its_folder_would_be() {
        let (zip, listing) = opened(&zip_of(&NAMES.map(|name| (name, name.as_bytes())))).unwrap();
        let files: Vec<&String> = listing.files.keys().collect();
        assert_eq!(files, ["a/1.png", "a/deep/er/2.png", "readme.txt"]);
        assert_eq!(listing.folders.iter().collect::<Vec<_>>(), ["a", "a/deep", "a/deep/er", "b"]);
        let expected =
            "1 folder of `coldstart select`, 2 hidden files, 2 hidden folders, 1 system file, 2 system folders";
        assert_eq!(listing.aside.to_string(), expected);
        assert_eq!(content(&zip, &listing, "a/deep/er/2.png").unwrap(), b"a/deep/er/2.png");
        assert!(matches!(open(Path::new("/nowhere"), &GO_ON).err(), Some(DataError::Io { .. })));
    }

    #[test]
    fn hostile_and_broken_archives_are_refused() {
        let whole = zip_of(&[("a/1.png", &[7; 2000])]);
        let mut renamed = whole.clone();
        let name = |bytes: &[u8]| bytes.windows(7).rposition(|window| window == b"a/1.png").unwrap();
        let at = name(&whole);
        renamed[at] = 0xff;
        let mut bomb = whole.clone();
        let table = whole.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
        // The size, in the table of contents.
        bomb[table + 24..table + 28].copy_from_slice(&(300u32 << 20).to_le_bytes());
        let rows = [
            (zip_of(&[("../x", b"x")]), "`../x` leads outside"),
            (zip_of(&[("/etc/x", b"x")]), "`/etc/x` leads outside"),
            (zip_of(&[("a/\x1b[31m/../../y", b"x")]), "\\u{1b}[31m"),
            (renamed, "is not UTF-8"),
            (whole[..whole.len() - 9].to_vec(), "not a whole ZIP archive"),
            (whole[..30].to_vec(), "not a whole ZIP archive"),
            (b"PK\x03\x04 and so on".to_vec(), "not a whole ZIP archive"),
            (bomb, "which is more than 100 times its"),
        ];
        for (bytes, expected) in rows {
            let message = opened(&bytes).expect_err(expected).to_string();
            assert!(message.contains(expected), "{message}\nexpected: {expected}");
            assert!(!message.contains(|c: char| c.is_control() || c == '\u{fffd}'), "{message:?}");
        }
        let cancelled = AtomicBool::new(true);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &whole).unwrap();
        assert!(matches!(open(file.path(), &cancelled), Err(DataError::Cancelled)));
    }

    /// Fields of the table of contents, from its signature on (APPNOTE 4.3.12): flags 8, method 10, sum 16, packed size 20, size 24.
    #[test]
    fn files_that_are_not_what_the_archive_says_are_refused() {
        let whole = zip_of(&[("a/1.png", &[7; 2000])]);
        let table = whole.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
        let rows: [(usize, &[u8], &str); 6] = [
            (8, &[1], "is encrypted"),
            (10, &[14], "a method that is not read"),
            (16, &[0xaa, 0xbb], "damaged in the archive"),
            (20, &[4, 0], "damaged in the archive"),
            (24, &[0, 1], "damaged in the archive"),
            (42, &[9, 0, 0, 0], "is cut short"),
        ];
        for (field, value, expected) in rows {
            let mut bytes = whole.clone();
            bytes[table + field..][..value.len()].copy_from_slice(value);
            let (zip, listing) = opened(&bytes).unwrap();
            let message = content(&zip, &listing, "a/1.png").expect_err(expected).to_string();
            assert!(message.contains(expected), "{message}\nexpected: {expected}");
        }
    }
}
