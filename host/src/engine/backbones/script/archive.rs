//! A TorchScript archive, read strictly, and written anew from what was read.
//!
//! libtorch is handed the new archive and never sees the file: whatever two readers of zip files could see differently
//! (names that stand twice, headers that disagree, bytes between the parts) is refused, or is gone.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Read;

use flate2::Crc;
use flate2::read::DeflateDecoder;

/// No network has more parts, or more source and structure: what is packed is unpacked no further.
const MOST_PARTS: usize = 100_000;
const MOST_UNPACKED: u64 = 64 << 20;

const END: [u8; 4] = *b"PK\x05\x06";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const END_LENGTH: usize = 22;
/// The end in the form for large files, and the row that says where that is.
const LARGE_LENGTH: usize = 56 + 20;
const CENTRAL_LENGTH: usize = 46;
const LOCAL_LENGTH: usize = 30;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Names are in UTF-8; sizes follow the data. Encryption and everything else is refused.
const KNOWN_FLAGS: u16 = 1 << 11 | 1 << 3;

/// A part of an archive.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// Its path below the folder that all parts are in.
    pub name: String,
    pub bytes: Cow<'a, [u8]>,
}

/// Every part of an archive, in order; errs on what a zip file of libtorch's own never is.
pub fn read(file: &[u8]) -> Result<Vec<Part<'_>>, String> {
    let end = file.len().checked_sub(END_LENGTH).ok_or("it is cut short")?;
    let tail = Numbers { bytes: file, at: end };
    if !file[end..].starts_with(&END) || tail.u16(20)? != 0 {
        return Err("its table of contents does not end where the file does".to_owned());
    }
    let (count, start) = (usize::from(tail.u16(10)?), tail.u32(16)? as usize);
    if tail.u32(4)? != 0 || usize::from(tail.u16(8)?) != count || count >= 0xffff || count > MOST_PARTS {
        return Err("it is in several files, or larger than 4 GiB".to_owned());
    }
    let contents_end = start.checked_add(tail.u32(12)? as usize);
    // Between the two libtorch repeats the numbers of the end in the form for large files.
    let large = file.get(contents_end.unwrap_or(end)..end).unwrap_or_default();
    let repeats = large.len() == LARGE_LENGTH && repeats(large, [count, start, contents_end.unwrap_or(end)])?;
    let end = match contents_end {
        Some(contents_end) if contents_end == end || repeats => contents_end,
        _ => return Err("its table of contents is not where it should be".to_owned()),
    };
    let (mut parts, mut at, mut unpacked) = (Vec::new(), start, 0);
    for _ in 0..count {
        let (part, next) = part(file, at, start, &mut unpacked)?;
        parts.push(part);
        at = next;
    }
    if at != end {
        return Err("its table of contents names other parts than it counts".to_owned());
    }
    without_folder(parts)
}

/// Whether the form for large files has the same numbers: of parts, and where the contents begin and end.
fn repeats(large: &[u8], [count, start, end]: [usize; 3]) -> Result<bool, String> {
    let numbers = Numbers { bytes: large, at: 0 };
    let u64 = |offset: usize| -> Result<u64, String> {
        Ok(u64::from(numbers.u32(offset)?) | u64::from(numbers.u32(offset + 4)?) << 32)
    };
    let same = u64(24)? == count as u64 && u64(32)? == count as u64 && u64(48)? == start as u64;
    let ends = u64(40)? == (end - start) as u64 && u64(LARGE_LENGTH - 12)? == end as u64;
    Ok(large.starts_with(b"PK\x06\x06") && large[LARGE_LENGTH - 20..].starts_with(b"PK\x06\x07") && same && ends)
}

/// The part that a row of the table of contents names, and where the next row begins.
fn part<'a>(file: &'a [u8], row: usize, data_end: usize, unpacked: &mut u64) -> Result<(Part<'a>, usize), String> {
    let central = Numbers { bytes: file, at: row };
    central.begins_with(CENTRAL)?;
    let (flags, method) = (central.u16(8)?, central.u16(10)?);
    let (packed, size) = (central.u32(20)? as usize, central.u32(24)? as usize);
    let lengths = [central.u16(28)?, central.u16(30)?, central.u16(32)?].map(usize::from);
    let name = central.slice(CENTRAL_LENGTH, lengths[0])?;
    let shown = String::from_utf8_lossy(name).escape_default().to_string();
    let odd = |what: &str| format!("its part `{shown}` {what}");
    if !name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        return Err(odd("has a name that is no plain text"));
    }
    if flags & !KNOWN_FLAGS != 0 {
        return Err(odd("is encrypted, or packed in a way of its own"));
    }
    let place = central.u32(42)? as usize;
    let local = Numbers { bytes: file, at: place };
    local.begins_with(LOCAL).map_err(|_| odd("is not where the table of contents says"))?;
    let (local_name, extra) = (usize::from(local.u16(26)?), usize::from(local.u16(28)?));
    if local.slice(LOCAL_LENGTH, local_name)? != name || local.u16(8)? != method || local.u16(6)? != flags {
        return Err(odd("is called something else in the table of contents"));
    }
    let bytes = local.slice(LOCAL_LENGTH + local_name + extra, packed)?;
    if place + LOCAL_LENGTH + local_name + extra + packed > data_end {
        return Err(odd("reaches into the table of contents"));
    }
    let bytes = match method {
        STORED if packed == size => Cow::Borrowed(bytes),
        DEFLATED => {
            *unpacked += size as u64;
            if *unpacked > MOST_UNPACKED {
                return Err(format!("it unpacks to more than {} MiB of source", MOST_UNPACKED >> 20));
            }
            Cow::Owned(inflated(bytes, size).ok_or_else(|| odd("does not unpack to what it says"))?)
        }
        _ => return Err(odd("is packed in a way that libtorch does not write")),
    };
    let mut crc = Crc::new();
    crc.update(&bytes);
    if crc.sum() != central.u32(16)? {
        return Err(odd("is damaged"));
    }
    let name = String::from_utf8_lossy(name).into_owned();
    Ok((Part { name, bytes }, row + CENTRAL_LENGTH + lengths.iter().sum::<usize>()))
}

/// Exactly so many bytes, or nothing.
fn inflated(packed: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    DeflateDecoder::new(packed).take(size as u64 + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() == size).then_some(bytes)
}

/// Names below the one folder that all parts must be in.
fn without_folder(mut parts: Vec<Part<'_>>) -> Result<Vec<Part<'_>>, String> {
    let folder = parts.first().and_then(|part| part.name.split_once('/')).map(|(folder, _)| format!("{folder}/"));
    let folder = folder.ok_or("it is empty")?;
    let mut names = BTreeSet::new();
    for part in &mut parts {
        let name = part.name.strip_prefix(&folder).filter(|name| !name.is_empty());
        let shown = part.name.escape_default().to_string();
        let name = name.ok_or_else(|| format!("its part `{shown}` is outside of the folder of the first"))?;
        if name.split('/').any(|step| step.is_empty() || step == "." || step == "..") || name.contains('\\') {
            return Err(format!("its part `{shown}` has no plain path"));
        }
        // libtorch finds parts without regard to case.
        if !names.insert(name.to_lowercase()) {
            return Err(format!("its part `{shown}` is there twice"));
        }
        part.name = name.to_owned();
    }
    Ok(parts)
}

/// A new archive with these parts, none of them packed. Errs where it would be larger than 4 GiB.
pub fn write(parts: &[Part<'_>]) -> Result<Vec<u8>, String> {
    let large = || "it is larger than 4 GiB".to_owned();
    let total: usize = parts.iter().map(|part| part.bytes.len() + 2 * part.name.len() + 128).sum();
    let mut archive = Vec::with_capacity(total);
    let mut contents = Vec::new();
    for part in parts {
        let name = format!("network/{}", part.name);
        let place = u32::try_from(archive.len()).map_err(|_| large())?;
        let size = u32::try_from(part.bytes.len()).map_err(|_| large())?;
        let mut crc = Crc::new();
        crc.update(&part.bytes);
        // The version that is needed, no flags, stored, no date, checksum, sizes, lengths.
        let mut common = [20_u16, 0, STORED, 0, 0].map(u16::to_le_bytes).concat();
        common.extend([crc.sum(), size, size].map(u32::to_le_bytes).concat());
        common.extend([name.len() as u16, 0].map(u16::to_le_bytes).concat());
        archive.extend(LOCAL);
        archive.extend(&common);
        archive.extend(name.as_bytes());
        archive.extend(&part.bytes[..]);
        contents.extend(CENTRAL);
        contents.extend(20_u16.to_le_bytes());
        contents.extend(&common);
        contents.extend([0; 10]);
        contents.extend(place.to_le_bytes());
        contents.extend(name.as_bytes());
    }
    let count = u16::try_from(parts.len()).ok().filter(|count| *count < u16::MAX).ok_or_else(large)?;
    let place = u32::try_from(archive.len()).map_err(|_| large())?;
    archive.extend(&contents);
    archive.extend(END);
    archive.extend([0, 0, count, count].map(u16::to_le_bytes).concat());
    archive.extend([contents.len() as u32, place].map(u32::to_le_bytes).concat());
    archive.extend([0; 2]);
    Ok(archive)
}

/// Little-endian numbers behind a place.
struct Numbers<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Numbers<'a> {
    fn slice(&self, offset: usize, length: usize) -> Result<&'a [u8], String> {
        let start = self.at.checked_add(offset);
        let range = start.and_then(|start| Some(start..start.checked_add(length)?));
        range.and_then(|range| self.bytes.get(range)).ok_or_else(|| "it is cut short".to_owned())
    }

    fn u16(&self, offset: usize) -> Result<u16, String> {
        Ok(u16::from_le_bytes(self.slice(offset, 2)?.try_into().expect("two bytes were asked for")))
    }

    fn u32(&self, offset: usize) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.slice(offset, 4)?.try_into().expect("four bytes were asked for")))
    }

    fn begins_with(&self, signature: [u8; 4]) -> Result<(), String> {
        match self.slice(0, 4)? == signature {
            true => Ok(()),
            false => Err("its table of contents is damaged".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Part<'static>> {
        [("data.pkl", &b"abc"[..]), ("code/__torch__.py", b"def"), ("data/0", b"")]
            .map(|(name, bytes)| Part { name: name.to_owned(), bytes: Cow::Borrowed(bytes) })
            .into()
    }

    fn told(file: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
        Ok(read(file)?.into_iter().map(|part| (part.name, part.bytes.into_owned())).collect())
    }

    #[test]
    fn what_is_written_is_read() {
        let read = told(&write(&parts()).unwrap()).unwrap();
        let names: Vec<(&str, &[u8])> = read.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        assert_eq!(names, [("data.pkl", &b"abc"[..]), ("code/__torch__.py", b"def"), ("data/0", b"")]);
    }

    #[test]
    fn what_two_readers_could_see_differently_is_refused() {
        let good = write(&parts()).unwrap();
        let with = |name: &str| {
            let mut parts = parts();
            parts.push(Part { name: name.to_owned(), bytes: Cow::Borrowed(b"x") });
            write(&parts).unwrap()
        };
        let find = |text: &[u8]| good.windows(text.len()).position(|bytes| bytes == text).unwrap();
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let central = find(&CENTRAL);
        for (what, file, sentence) in [
            ("twice", with("data.pkl"), "there twice"),
            ("twice but for case", with("Data.PKL"), "there twice"),
            ("above", with("../data.pkl"), "no plain path"),
            ("nothing", with("code//x.py"), "no plain path"),
            ("backslash", with("code\\x.py"), "no plain path"),
            ("a zero", with("code/x.py\0"), "no plain text"),
            ("other local name", changed(LOCAL_LENGTH, b'N'), "called something else"),
            ("other folder", changed(central + CENTRAL_LENGTH, b'N'), "called something else"),
            ("damaged", changed(find(b"abc"), b'A'), "is damaged"),
            ("encrypted", changed(central + 8, 1), "encrypted"),
            ("another method", changed(central + 10, 12), "something else"),
            ("wrong size", changed(central + 20, 2), "libtorch does not write"),
            ("behind the end", [&good[..], b"x"].concat(), "does not end where the file does"),
            ("a comment", changed(good.len() - 2, 1), "does not end where the file does"),
            ("before the beginning", [b"x", &good[..]].concat(), "not where it should be"),
            ("fewer parts", changed(good.len() - 14, 2), "in several files"),
            ("cut", good[..good.len() - 30].to_vec(), "does not end"),
            ("empty", Vec::new(), "cut short"),
            ("no parts", write(&[]).unwrap(), "empty"),
        ] {
            let error = told(&file).expect_err(what);
            assert!(error.contains(sentence), "{what}: {error}");
        }
    }
}
