//! What lies in a tar archive, by the rules of [`listing`](super::listing).

use std::io::{self, Cursor, Read};
use std::path::{Component, Path};
use std::sync::atomic::AtomicBool;

use super::error::{DataError, Place};
use super::listing::{Listing, Member, Members, Sort, Stored, stop_if};

/// Lists the tar archive `bytes`, which was read from `path`.
///
/// # Errors
/// If the archive is cut or corrupt, or holds links or paths that lead outside; [`DataError::Cancelled`].
pub(super) fn list(bytes: &[u8], path: &Path, cancelled: &AtomicBool) -> Result<Listing, DataError> {
    let corrupt = |error: io::Error| not_a_tar(path, bytes, &error);
    let mut members = Members::default();
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    for entry in archive.entries_with_seek().map_err(corrupt)? {
        stop_if(cancelled)?;
        let entry = entry.map_err(corrupt)?;
        let start = entry.raw_file_position();
        let member = member(&entry, path, start)?;
        let end = start.saturating_add(entry.size());
        if let Member::File(name) = &member
            && end > bytes.len() as u64
        {
            let why = format!("the archive ends within `{name}`");
            return Err(DataError::at_byte(path, bytes.len() as u64, why));
        }
        members.add(member, || Stored::InArchive(start as usize..end as usize));
    }
    Ok(members.listing())
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
    Member::of(&names, sort_of(kind)).map_err(refused)
}

fn sort_of(kind: tar::EntryType) -> Sort {
    match kind {
        kind if kind.is_dir() => Sort::Folder,
        kind if kind.is_file() => Sort::File,
        kind if kind.is_fifo() || kind.is_character_special() || kind.is_block_special() => Sort::Device,
        _ => Sort::Else,
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
        (b"PK\x03\x04", "a ZIP archive within gzip"),
        (b"\xfd7zXZ\x00", "compressed with xz"),
        (b"BZh", "compressed with bzip2"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!", "a RAR archive"),
        (b"version https://git-lfs", "a pointer of git-lfs (`git lfs pull` brings the file)"),
    ];
    match OTHERS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        None => DataError::malformed(path, Place::Whole, format!("not a whole tar archive ({error})")),
        Some((_, what)) => DataError::malformed(
            path,
            Place::Whole,
            format!("is {what}, and neither a tar archive, gzipped or not, nor a ZIP archive"),
        )
        .with_hint("unpack it, and name the folder instead"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

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
            (b"PK\x03\x04 and more".repeat(90), "is a ZIP archive within gzip"),
        ];
        for (bytes, expected) in rows {
            let error = list(&bytes, Path::new("x.tar"), &GO_ON).expect_err(expected);
            let message = error.to_string();
            assert!(message.contains(expected), "{message}\nexpected: {expected}");
            assert!(!message.contains(|c: char| c.is_control() || c == '\u{fffd}'), "{message:?}");
        }
        let pipe = tar_of(&[("a/1.png", FILE, b"x"), ("a/pipe.png", tar::EntryType::Fifo, b"")]);
        assert_eq!(list(&pipe, Path::new("x"), &GO_ON).unwrap().aside.to_string(), "1 pipe, socket or device");
        let hidden_link = tar_of(&[("a/1.png", FILE, b"x"), (".venv/bin/python", tar::EntryType::Symlink, b"")]);
        assert_eq!(list(&hidden_link, Path::new("x"), &GO_ON).unwrap().aside.to_string(), "1 hidden folder");
    }
}
