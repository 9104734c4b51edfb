//! What the dynamic loader reads of a library: program headers, and the dynamic section that they point to.
//!
//! The loader never looks at section headers, so neither does this. What the loader would take without a look (an
//! address outside of the file, tables that overlap, a size that is not there) is damage here.

use object::read::ReadRef;
use object::{LittleEndian, elf, pod::Pod};
use std::ops::Range;

/// Memory is protected in pages of this size at least; on machines with larger pages linkers align further.
pub const PAGE: u64 = 4096;
/// No library of a plugin has more program headers, or is larger in memory.
const MOST_HEADERS: u16 = 64;
const MOST_MEMORY: u64 = 1 << 32;
/// Linkers align segments to 2 MiB at most.
const MOST_ALIGNED: u64 = 2 << 20;
/// Thread-local variables of a library; every thread gets a copy.
const MOST_THREAD_LOCAL: u64 = 16 << 20;

/// What is wrong with a file's structure, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage(pub String);

pub type Read<T> = Result<T, Damage>;

/// A library with this damage.
pub fn damage<T>(what: impl Into<String>) -> Read<T> {
    Err(Damage(what.into()))
}

/// Errs with these words unless it holds.
pub fn hold(holds: bool, otherwise: impl FnOnce() -> String) -> Read<()> {
    if holds { Ok(()) } else { damage(otherwise()) }
}

/// A part of the file that is mapped.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The addresses that the file's bytes are mapped to.
    pub addresses: Range<u64>,
    /// The end of its memory; what lies beyond the file's bytes is zero.
    pub memory_end: u64,
    file_offset: u64,
    pub writable: bool,
    pub executable: bool,
}

/// A row of the dynamic section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub tag: elf::DynamicTag,
    pub value: u64,
}

/// A library as the loader sees it.
pub struct Image<'a> {
    bytes: &'a [u8],
    pub machine: elf::Machine,
    segments: Vec<Segment>,
    /// The kinds of all program headers, with their flags.
    pub headers: Vec<(elf::ProgramType, elf::ProgramFlags)>,
    /// The dynamic section up to its end.
    pub rows: Vec<Row>,
    /// Where the program headers and the dynamic section are mapped.
    pub own_tables: Vec<Range<u64>>,
}

type Header = elf::ProgramHeader64<LittleEndian>;

impl<'a> Image<'a> {
    /// Read a 64-bit little-endian library; errs on anything that the loader and this reader could see differently.
    pub fn read(bytes: &'a [u8]) -> Read<Image<'a>> {
        let file: &elf::FileHeader64<LittleEndian> = at(bytes, 0, "its header")?;
        let ident = &file.e_ident;
        hold(ident.class == elf::ELFCLASS64 && ident.data == elf::ELFDATA2LSB, || {
            "it is not of 64 bits, little-endian".to_owned()
        })?;
        let version = file.e_version.get(LittleEndian);
        hold(ident.version == elf::EV_CURRENT && version == u32::from(elf::EV_CURRENT.0), || {
            format!("it is of ELF version {version}")
        })?;
        let headers = program_headers(bytes, file)?;
        let segments = segments(bytes, headers)?;
        let mut image = Image {
            bytes,
            machine: file.e_machine.get(LittleEndian),
            segments,
            headers: headers.iter().map(|header| (header.p_type.get(LittleEndian), flags(header))).collect(),
            rows: Vec::new(),
            own_tables: Vec::new(),
        };
        let offset = file.e_phoff.get(LittleEndian);
        image.own_tables.extend(image.address_of(offset, size_of_val(headers) as u64));
        image.check_places(headers, offset)?;
        image.rows = image.dynamic_rows(headers)?;
        Ok(image)
    }

    /// The file's bytes that are mapped to these addresses; none unless all of them lie in one segment.
    pub fn bytes(&self, address: u64, size: u64) -> Option<&'a [u8]> {
        let segment = self.segment(address)?;
        let end = address.checked_add(size).filter(|end| *end <= segment.addresses.end)?;
        let start = segment.file_offset + (address - segment.addresses.start);
        self.bytes.get(start as usize..(start + (end - address)) as usize)
    }

    /// The file's bytes from an address to the end of its segment.
    pub fn bytes_from(&self, address: u64) -> Option<&'a [u8]> {
        let segment = self.segment(address)?;
        self.bytes(address, segment.addresses.end - address)
    }

    /// The segment whose bytes are mapped to an address.
    pub fn segment(&self, address: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.addresses.contains(&address))
    }

    /// The segment that an address belongs to, zeroed memory included.
    pub fn memory(&self, addresses: &Range<u64>) -> Option<&Segment> {
        let holds =
            |segment: &&Segment| segment.addresses.start <= addresses.start && addresses.end <= segment.memory_end;
        self.segments.iter().find(holds)
    }

    /// A table of the dynamic section, named in `what` for messages.
    pub fn table(&self, address: u64, size: u64, what: &str) -> Read<&'a [u8]> {
        match self.bytes(address, size) {
            Some(bytes) => Ok(bytes),
            None => damage(format!("{what} lies outside of its segments")),
        }
    }

    /// The value of a tag that stands at most once.
    pub fn value(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.rows.iter().find(|row| row.tag == tag).map(|row| row.value)
    }

    /// The addresses that a range of the file is mapped to.
    fn address_of(&self, offset: u64, size: u64) -> Option<Range<u64>> {
        let holds = |segment: &&Segment| {
            let length = segment.addresses.end - segment.addresses.start;
            let within = offset.checked_sub(segment.file_offset).and_then(|start| start.checked_add(size));
            within.is_some_and(|end| end <= length)
        };
        let segment = self.segments.iter().find(holds)?;
        let start = segment.addresses.start + (offset - segment.file_offset);
        Some(start..start + size)
    }

    /// Every other header must speak of memory that is mapped, and of the same bytes by offset and by address.
    fn check_places(&self, headers: &[Header], table_offset: u64) -> Read<()> {
        for header in headers {
            let (kind, start) = (header.p_type.get(LittleEndian), header.p_vaddr.get(LittleEndian));
            let (file_size, memory) = (header.p_filesz.get(LittleEndian), header.p_memsz.get(LittleEndian));
            let offset = header.p_offset.get(LittleEndian);
            match kind {
                elf::PT_LOAD | elf::PT_GNU_STACK | elf::PT_NULL => continue,
                elf::PT_PHDR => hold(offset == table_offset, || "its program headers are in two places".to_owned())?,
                elf::PT_TLS => {
                    hold(memory <= MOST_THREAD_LOCAL && file_size <= memory, || {
                        format!("its thread-local variables take {memory} bytes")
                    })?;
                    check_alignment(header)?;
                }
                _ => {}
            }
            let what = || format!("its program header of kind {:#x} lies outside of its segments", kind.0);
            // Protection after relocation ends with the page that its segment ends in; thread-local variables that begin
            // as zeros are no part of any segment.
            let size = if kind == elf::PT_TLS || kind == elf::PT_GNU_RELRO { file_size } else { memory };
            let mapped = self.address_of(offset, file_size).is_some_and(|range| range.start == start);
            hold(size == 0 || (mapped && size <= file_size), what)?;
            let relro_end = start.checked_add(memory).and_then(|end| end.checked_next_multiple_of(PAGE));
            let segment_end = self.segment(start).map(|segment| segment.memory_end.next_multiple_of(PAGE));
            let fits = relro_end.zip(segment_end).is_some_and(|(relro_end, segment_end)| relro_end <= segment_end);
            hold(kind != elf::PT_GNU_RELRO || memory == 0 || fits, what)?;
        }
        for kind in [elf::PT_DYNAMIC, elf::PT_TLS, elf::PT_GNU_RELRO, elf::PT_GNU_STACK, elf::PT_PHDR] {
            let n_headers = headers.iter().filter(|header| header.p_type.get(LittleEndian) == kind).count();
            hold(n_headers <= 1, || format!("it has {n_headers} program headers of kind {:#x}", kind.0))?;
        }
        Ok(())
    }

    /// The dynamic section, which the loader reads up to the first row of zeros.
    fn dynamic_rows(&mut self, headers: &[Header]) -> Read<Vec<Row>> {
        let dynamic = headers.iter().find(|header| header.p_type.get(LittleEndian) == elf::PT_DYNAMIC);
        let Some(dynamic) = dynamic else { return damage("it has no dynamic section") };
        let (start, size) = (dynamic.p_vaddr.get(LittleEndian), dynamic.p_filesz.get(LittleEndian));
        let bytes = self.table(start, size, "its dynamic section")?;
        let rows: &[elf::Dyn64<LittleEndian>] = all(bytes, "its dynamic section")?;
        let end = rows.iter().position(|row| row.d_tag.get(LittleEndian) == elf::DT_NULL);
        let Some(end) = end else { return damage("its dynamic section has no end") };
        self.own_tables.push(start..start + size);
        let rows = &rows[..end];
        Ok(rows
            .iter()
            .map(|row| Row { tag: row.d_tag.get(LittleEndian), value: row.d_val.get(LittleEndian) })
            .collect())
    }
}

fn program_headers<'a>(bytes: &'a [u8], file: &elf::FileHeader64<LittleEndian>) -> Read<&'a [Header]> {
    let (count, size) = (file.e_phnum.get(LittleEndian), file.e_phentsize.get(LittleEndian));
    hold(usize::from(size) == size_of::<Header>(), || format!("its program headers have {size} bytes each"))?;
    hold((1..=MOST_HEADERS).contains(&count), || format!("it has {count} program headers"))?;
    let headers = bytes.read_slice_at(file.e_phoff.get(LittleEndian), count.into());
    headers.map_err(|()| Damage("its program headers lie outside of the file".to_owned()))
}

/// The segments, which must ascend, share no page, and lie within the file.
fn segments(bytes: &[u8], headers: &[Header]) -> Read<Vec<Segment>> {
    let mut segments: Vec<Segment> = Vec::new();
    for header in headers.iter().filter(|header| header.p_type.get(LittleEndian) == elf::PT_LOAD) {
        let segment = segment(bytes, header)?;
        let free_from = segments.last().map_or(0, |before| before.memory_end.next_multiple_of(PAGE));
        let page = segment.addresses.start - segment.addresses.start % PAGE;
        hold(segments.is_empty() || page >= free_from, || "its segments overlap or are out of order".to_owned())?;
        segments.push(segment);
    }
    hold(!segments.is_empty(), || "nothing of it is loaded".to_owned())?;
    Ok(segments)
}

fn segment(bytes: &[u8], header: &Header) -> Read<Segment> {
    let (offset, address) = (header.p_offset.get(LittleEndian), header.p_vaddr.get(LittleEndian));
    let (file_size, memory) = (header.p_filesz.get(LittleEndian), header.p_memsz.get(LittleEndian));
    let flags = flags(header);
    let writable = flags.0 & elf::PF_W.0 != 0;
    let file_end = offset.checked_add(file_size);
    hold(file_end.is_some_and(|end| end <= bytes.len() as u64), || {
        format!(
            "it is cut off: a segment ends at byte {}, the file at {}",
            offset.saturating_add(file_size),
            bytes.len()
        )
    })?;
    let memory_end = address.checked_add(memory).filter(|end| *end <= MOST_MEMORY);
    let Some(memory_end) = memory_end else { return damage("a segment ends beyond 4 GiB of memory") };
    hold(file_size == memory || (file_size < memory && writable), || {
        format!("a segment has {file_size} bytes in the file and {memory} in memory")
    })?;
    check_alignment(header)?;
    hold(address % PAGE == offset % PAGE, || "a segment's address does not fit its place in the file".to_owned())?;
    Ok(Segment {
        addresses: address..address + file_size,
        memory_end,
        file_offset: offset,
        writable,
        executable: flags.0 & elf::PF_X.0 != 0,
    })
}

fn check_alignment(header: &Header) -> Read<()> {
    let align = header.p_align.get(LittleEndian);
    let (offset, address) = (header.p_offset.get(LittleEndian), header.p_vaddr.get(LittleEndian));
    let holds = align == 0 || (align.is_power_of_two() && align <= MOST_ALIGNED && address % align == offset % align);
    hold(holds, || format!("a segment is aligned to {align} bytes, and does not fit its place in the file"))
}

fn flags(header: &Header) -> elf::ProgramFlags {
    header.p_flags.get(LittleEndian)
}

/// One item of a table.
pub fn at<'a, T: Pod>(bytes: &'a [u8], offset: u64, what: &str) -> Read<&'a T> {
    bytes.read_at(offset).map_err(|()| Damage(format!("{what} is cut off")))
}

/// A whole table.
pub fn all<'a, T: Pod>(bytes: &'a [u8], what: &str) -> Read<&'a [T]> {
    hold(bytes.len().is_multiple_of(size_of::<T>()), || format!("{what} has {} bytes", bytes.len()))?;
    let items = bytes.read_slice_at(0, bytes.len() / size_of::<T>());
    items.map_err(|()| Damage(format!("{what} is not aligned")))
}
