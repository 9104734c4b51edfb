//! Look at a library without loading it.

use super::error::{PluginCode, PluginError};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader, VernauxIterator};
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SymbolKind, elf};
use serde::Serialize;

type Elf<'a> = ElfFile64<'a, Endianness>;

/// Libraries that a plugin may be linked to: libc and its parts, and the unwinder.
const ALLOWED_LIBRARIES: [&str; 9] = [
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libutil.so.1",
];

/// A way into a plugin.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The symbol of a table that the library exports.
    pub symbol: &'static str,
    /// The least size of that table.
    pub least_bytes: u64,
    /// The constructors that a compiler puts into such a library; one more runs foreign code inside `dlopen`.
    pub constructors: u64,
}

/// The machines that there are hosts for, by the first word of their target triple.
const MACHINES: [(elf::Machine, &str); 2] = [(elf::EM_X86_64, "x86_64"), (elf::EM_AARCH64, "aarch64")];

/// The bytes of a section; errs if the file is no library of this machine, is cut off, or has no such section.
pub fn section<'a>(file: &str, bytes: &'a [u8], name: &str) -> Result<&'a [u8], PluginError> {
    section_in(&parse(file, bytes)?, file, name)
}

/// The same for a library of any machine that there are hosts for.
pub fn section_of_any_machine<'a>(file: &str, bytes: &'a [u8], name: &str) -> Result<&'a [u8], PluginError> {
    section_in(&parse_any_machine(file, bytes)?, file, name)
}

fn section_in<'a>(elf: &Elf<'a>, file: &str, name: &str) -> Result<&'a [u8], PluginError> {
    let section = elf.section_by_name(name).ok_or_else(|| {
        PluginError::new(PluginCode::Library, file, format!("has no section `{name}`: it exports no strategy"))
    })?;
    section.data().map_err(|error| damaged(file, &error))
}

/// The target triple that a library was built for, of those that there are hosts for.
pub fn triple(file: &str, bytes: &[u8]) -> Result<String, PluginError> {
    let elf = parse_any_machine(file, bytes)?;
    let machine = elf.elf_header().e_machine(elf.endian());
    match MACHINES.iter().find(|(known, _)| *known == machine && elf.endian() == Endianness::Little) {
        Some((_, arch)) => Ok(format!("{arch}-unknown-linux-gnu")),
        None => {
            let message = format!("is for ELF machine {:#x}, which no host runs on", machine.0);
            Err(PluginError::new(PluginCode::Machine, file, message))
        }
    }
}

/// The newest glibc that a library of any machine is bound to; empty if it is bound to none.
pub fn glibc_floor(file: &str, bytes: &[u8]) -> Result<String, PluginError> {
    let elf = parse_any_machine(file, bytes)?;
    Ok(needed_glibc(&elf).map_err(|error| damaged(file, &error))?.unwrap_or_default())
}

/// Whether one glibc version is newer than another.
pub fn is_newer(glibc: &str, other: &str) -> bool {
    version(glibc) > version(other)
}

/// Whether the bytes are a sound library of this machine without that section.
pub fn lacks_section(bytes: &[u8], name: &str) -> bool {
    parse("", bytes).is_ok_and(|elf| elf.section_by_name(name).is_none())
}

/// Refuse a library that this machine cannot load or that must not be loaded into a process with libtorch in it.
///
/// It must export the table of one of the entries; the constructors that it may have are that one's.
pub fn check(file: &str, bytes: &[u8], entries: &[Entry], running_glibc: &str) -> Result<(), PluginError> {
    let elf = parse(file, bytes)?;
    let refuse = |message: String| Err(PluginError::new(PluginCode::Library, file, message));
    let header = elf.elf_header();
    if header.e_type(elf.endian()) != elf::ET_DYN {
        return refuse("is not a dynamic library".to_owned());
    }
    let found = exported_tables(&elf, entries);
    let banned = [banned_libraries(&elf), banned_properties(&elf, allowed_constructors(&found))];
    let banned: Result<Vec<_>, _> = banned.into_iter().collect();
    if let Some(property) = banned.map_err(|error| damaged(file, &error))?.into_iter().flatten().next() {
        return refuse(property);
    }
    if found.is_empty() {
        let symbols: Vec<&str> = entries.iter().map(|entry| entry.symbol).collect();
        return refuse(format!("does not export the entry symbol `{}`", symbols.join("` or `")));
    }
    if let Some((entry, _)) = found.iter().find(|(entry, bytes)| *bytes < entry.least_bytes) {
        return refuse(format!("exports something else than a table under the entry symbol `{}`", entry.symbol));
    }
    let needed = needed_glibc(&elf).map_err(|error| damaged(file, &error))?;
    match needed {
        Some(needed) if version(&needed) > version(running_glibc) => {
            let message = format!("needs glibc {needed}, this system has {running_glibc}");
            Err(PluginError::new(PluginCode::Glibc, file, message))
        }
        _ => Ok(()),
    }
}

/// The entries that a library offers, and the size of the data there.
fn exported_tables<'a>(elf: &Elf<'_>, entries: &'a [Entry]) -> Vec<(&'a Entry, u64)> {
    entries.iter().filter_map(|entry| Some((entry, exported(elf, entry.symbol)?))).collect()
}

/// The constructors that a library with these entries may have.
fn allowed_constructors(found: &[(&Entry, u64)]) -> u64 {
    found.iter().map(|(entry, _)| entry.constructors).max().unwrap_or_default()
}

/// The size of the data that a library exports under a name; 0 for a function.
fn exported(elf: &Elf<'_>, name: &str) -> Option<u64> {
    let mut symbols = elf.dynamic_symbols().filter(|symbol| symbol.is_definition() && symbol.is_global());
    let symbol = symbols.find(|symbol| symbol.name() == Ok(name))?;
    Some(if symbol.kind() == SymbolKind::Data { symbol.size() } else { 0 })
}

fn parse<'a>(file: &str, bytes: &'a [u8]) -> Result<Elf<'a>, PluginError> {
    check_header(file, bytes)?;
    // The machine first: a library for a 32-bit machine is whole, but of another class.
    let is_64_bit = bytes[4] == elf::ELFCLASS64.0;
    let machine = u16::from_le_bytes([bytes[18], bytes[19]]);
    if !is_64_bit || machine != native_machine().0 {
        let bits = if is_64_bit { 64 } else { 32 };
        let message = format!("is for {bits}-bit ELF machine {machine:#x}, this one is {}", std::env::consts::ARCH);
        return Err(PluginError::new(PluginCode::Machine, file, message));
    }
    parse_any_machine(file, bytes)
}

fn parse_any_machine<'a>(file: &str, bytes: &'a [u8]) -> Result<Elf<'a>, PluginError> {
    check_header(file, bytes)?;
    let elf = Elf::parse(bytes).map_err(|error| damaged(file, &error))?;
    let end = elf.elf_section_table().iter().map(|section| section_end(&elf, section)).max().unwrap_or(0);
    if end > bytes.len() as u64 {
        let message = format!("is cut off: {} bytes of at least {end}", bytes.len());
        return Err(PluginError::new(PluginCode::Library, file, message));
    }
    Ok(elf)
}

fn check_header(file: &str, bytes: &[u8]) -> Result<(), PluginError> {
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(PluginError::new(PluginCode::Library, file, "is not an ELF file"));
    }
    if bytes.len() < size_of::<elf::FileHeader64<Endianness>>() {
        let message = format!("is cut off after {} bytes, within its header", bytes.len());
        return Err(PluginError::new(PluginCode::Library, file, message));
    }
    Ok(())
}

/// What a library is, measured from its file.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// The newest glibc version that it is bound to: the oldest system that it runs on. None if it needs none.
    pub glibc: Option<String>,
    /// The libraries that it is linked to.
    pub libraries: Vec<String>,
    /// The symbols that it exports.
    pub exports: Vec<String>,
    /// The constructors that run when it is loaded; a Rust library has two at most.
    pub constructors: u64,
    /// The libraries among them that no plugin may be linked to, in words.
    pub banned_libraries: Vec<String>,
    /// Properties that no plugin may have, in words.
    pub banned_properties: Vec<String>,
}

impl Facts {
    /// Measure a library of any 64-bit machine; errs if it is no ELF file, cut off or damaged.
    ///
    /// `entries` are the ways in that a host looks for.
    pub fn read(file: &str, bytes: &[u8], entries: &[Entry]) -> Result<Facts, PluginError> {
        let elf = parse_any_machine(file, bytes)?;
        let measured = || -> object::read::Result<Facts> {
            let constructors = elf.elf_dynamic_table()?.iter().find(|entry| entry.tag == elf::DT_INIT_ARRAYSZ);
            let exported = elf.dynamic_symbols().filter(|symbol| symbol.is_definition() && symbol.is_global());
            Ok(Facts {
                glibc: needed_glibc(&elf)?,
                libraries: linked(&elf)?,
                exports: exported
                    .map(|symbol| symbol.name().map(str::to_owned))
                    .collect::<object::read::Result<_>>()?,
                constructors: constructors.map_or(0, |entry| entry.val / 8),
                banned_libraries: banned_libraries(&elf)?,
                banned_properties: banned_properties(&elf, allowed_constructors(&exported_tables(&elf, entries)))?,
            })
        };
        measured().map_err(|error| damaged(file, &error))
    }

    /// Exported symbols that no host looks up.
    pub fn needless_exports(&self, entries: &[Entry]) -> impl Iterator<Item = &str> {
        let looked_up = move |symbol: &&str| entries.iter().any(|entry| entry.symbol == *symbol);
        self.exports.iter().map(String::as_str).filter(move |symbol| !looked_up(symbol))
    }

    /// Whether it needs a newer glibc than this version.
    pub fn needs_newer_glibc_than(&self, other: &str) -> bool {
        self.glibc.as_deref().is_some_and(|needed| version(needed) > version(other))
    }
}

fn native_machine() -> elf::Machine {
    if cfg!(target_arch = "aarch64") { elf::EM_AARCH64 } else { elf::EM_X86_64 }
}

fn section_end(elf: &Elf<'_>, section: &elf::SectionHeader64<Endianness>) -> u64 {
    use object::read::elf::SectionHeader;
    section.file_range(elf.endian()).map_or(0, |(offset, size)| offset.saturating_add(size))
}

fn damaged(file: &str, error: &object::read::Error) -> PluginError {
    PluginError::new(PluginCode::Library, file, format!("is damaged: {error}"))
        .with_hint("copy the file again from where it was whole, or build it again")
}

/// Libraries that it is linked to and must not be, in words.
fn banned_libraries(elf: &Elf<'_>) -> object::read::Result<Vec<String>> {
    let banned = linked(elf)?.into_iter().filter(|library| !ALLOWED_LIBRARIES.contains(&library.as_str()));
    Ok(banned.map(|library| format!("is linked to `{library}`, which could clash with the host's libraries")).collect())
}

/// Libraries that it is linked to.
fn linked(elf: &Elf<'_>) -> object::read::Result<Vec<String>> {
    let table = elf.elf_dynamic_table()?;
    let needed = table.iter().filter(|entry| entry.tag == elf::DT_NEEDED);
    needed.map(|entry| Ok(String::from_utf8_lossy(table.string(entry)?).into_owned())).collect()
}

/// What a plugin must not have, in words; nothing for a clean library.
fn banned_properties(elf: &Elf<'_>, constructors: u64) -> object::read::Result<Vec<String>> {
    let property = |entry: &object::read::elf::Dynamic| match entry.tag {
        elf::DT_RPATH | elf::DT_RUNPATH => Some("has an rpath".to_owned()),
        elf::DT_TEXTREL => Some("has text relocations".to_owned()),
        elf::DT_FLAGS if entry.val & elf::DF_STATIC_TLS.0 != 0 => {
            Some("uses static thread-local storage, of which a process has little".to_owned())
        }
        elf::DT_INIT_ARRAYSZ if entry.val / 8 > constructors => {
            let own = entry.val / 8 - constructors;
            Some(format!("runs {own} constructors of its own when it is loaded"))
        }
        _ => None,
    };
    let mut properties: Vec<String> = elf.elf_dynamic_table()?.iter().filter_map(|entry| property(&entry)).collect();
    let stack = elf.elf_program_headers().iter().find(|header| header.p_type(elf.endian()) == elf::PT_GNU_STACK);
    if stack.is_some_and(|stack| stack.p_flags(elf.endian()).0 & elf::PF_X.0 != 0) {
        properties.push("wants an executable stack".to_owned());
    }
    if elf.elf_dynamic_symbol_table().iter().any(|symbol| symbol.st_info.st_bind() == elf::STB_GNU_UNIQUE) {
        properties.push("has unique symbols, which other libraries would share".to_owned());
    }
    Ok(properties)
}

/// The newest `GLIBC_x.y` that the library is bound to.
fn needed_glibc(elf: &Elf<'_>) -> object::read::Result<Option<String>> {
    use object::read::elf::SectionHeader;
    let (sections, data, endian) = (elf.elf_section_table(), elf.data(), elf.endian());
    let mut newest: Option<String> = None;
    for section in sections.iter() {
        let Some((mut needs, link)) = section.gnu_verneed(endian, data)? else { continue };
        let strings = sections.strings(endian, data, link)?;
        while let Some((_, mut versions)) = needs.next()? {
            let versions: &mut VernauxIterator<'_, _> = &mut versions;
            while let Some(version_need) = versions.next()? {
                let name = String::from_utf8_lossy(version_need.name(endian, strings)?).into_owned();
                let Some(needed) = name.strip_prefix("GLIBC_") else { continue };
                if newest.as_deref().is_none_or(|newest| version(needed) > version(newest)) {
                    newest = Some(needed.to_owned());
                }
            }
        }
    }
    Ok(newest)
}

fn version(text: &str) -> Vec<u32> {
    text.split('.').filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry = Entry { symbol: "entry", least_bytes: 8, constructors: 2 };

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        let elf = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let head = &elf[..4096];
        for length in [0, 1, 3, 4, 5, 16, 18, 19, 20, 63, 64, 65, 1000, 4096] {
            assert!(section("x.so", &head[..length], ".coldstart_manifest").is_err(), "{length}");
            assert!(check("x.so", &head[..length], &[ENTRY], "2.36").is_err(), "{length}");
        }
        for at in 0..64 {
            let mut flipped = head.to_vec();
            flipped[at] ^= 0xff;
            assert!(check("x.so", &flipped, &[ENTRY], "2.36").is_err(), "byte {at}");
        }
    }

    #[test]
    fn glibc_versions_compare_as_numbers() {
        assert!(version("2.4") < version("2.28") && version("2.28") < version("2.28.1"));
    }
}
