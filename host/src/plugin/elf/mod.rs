//! Look at a library without loading it.
//!
//! The manifest is found by a section's name, because nothing else names it, and must lie in what is loaded. All rules are
//! held against what the dynamic loader reads, which is no section at all.

mod image;
mod rules;
mod startup;
mod tables;

use super::error::{PluginCode, PluginError};
use image::{Damage, Image};
use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectSection, elf};
use serde::Serialize;
use tables::Tables;

type Elf<'a> = ElfFile64<'a, Endianness>;

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
    let data = section.data().map_err(|error| damaged(file, &error))?;
    let image = Image::read(elf.data()).map_err(|damage| unsound(file, &damage))?;
    if image.bytes(section.address(), data.len() as u64) != Some(data) {
        let message = format!("has a section `{name}` that is no part of what is loaded");
        return Err(PluginError::new(PluginCode::Library, file, message));
    }
    Ok(data)
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
    parse_any_machine(file, bytes)?;
    let (_, tables) = look(file, bytes)?;
    Ok(needed_glibc(&tables).unwrap_or_default())
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
    let image = Image::read(bytes).map_err(|damage| unsound(file, &damage))?;
    // What is asked of the loader first: it says how everything else is to be read.
    if let Some(request) = rules::banned_requests(&image).into_iter().next() {
        return refuse(request);
    }
    let tables = Tables::read(&image).map_err(|damage| unsound(file, &damage))?;
    let found = exported_tables(&tables, entries);
    let content = rules::banned_content(&image, &tables, allowed_constructors(&found));
    if let Some(property) = rules::banned_libraries(&tables).into_iter().chain(content).next() {
        return refuse(property);
    }
    if found.is_empty() {
        let symbols: Vec<&str> = entries.iter().map(|entry| entry.symbol).collect();
        return refuse(format!("does not export the entry symbol `{}`", symbols.join("` or `")));
    }
    if let Some((entry, _)) = found.iter().find(|(entry, bytes)| *bytes < entry.least_bytes) {
        return refuse(format!("exports something else than a table under the entry symbol `{}`", entry.symbol));
    }
    match needed_glibc(&tables) {
        Some(needed) if version(&needed) > version(running_glibc) => {
            let message = format!("needs glibc {needed}, this system has {running_glibc}");
            Err(PluginError::new(PluginCode::Glibc, file, message))
        }
        _ => Ok(()),
    }
}

/// What the loader reads of a library.
fn look<'a>(file: &str, bytes: &'a [u8]) -> Result<(Image<'a>, Tables<'a>), PluginError> {
    let looked = Image::read(bytes).and_then(|image| {
        let tables = Tables::read(&image)?;
        Ok((image, tables))
    });
    looked.map_err(|damage| unsound(file, &damage))
}

/// The entries that a library offers, and the size of the data there.
fn exported_tables<'a>(tables: &Tables<'_>, entries: &'a [Entry]) -> Vec<(&'a Entry, u64)> {
    entries.iter().filter_map(|entry| Some((entry, exported(tables, entry.symbol)?))).collect()
}

/// The constructors that a library with these entries may have.
fn allowed_constructors(found: &[(&Entry, u64)]) -> u64 {
    found.iter().map(|(entry, _)| entry.constructors).max().unwrap_or_default()
}

/// The size of the data that a library exports under a name; 0 for a function. Of two by the name, the smaller.
fn exported(tables: &Tables<'_>, name: &str) -> Option<u64> {
    let named = tables.symbols.iter().filter(|symbol| symbol.is_exported() && symbol.name == name.as_bytes());
    named.map(|symbol| if symbol.kind == elf::STT_OBJECT { symbol.size } else { 0 }).min()
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
        parse_any_machine(file, bytes)?;
        let (image, tables) = look(file, bytes)?;
        let constructors = allowed_constructors(&exported_tables(&tables, entries));
        let exported = tables.symbols.iter().filter(|symbol| symbol.is_exported());
        let mut banned_properties = rules::banned_requests(&image);
        banned_properties.extend(rules::banned_content(&image, &tables, constructors));
        Ok(Facts {
            glibc: needed_glibc(&tables),
            exports: exported.map(|symbol| String::from_utf8_lossy(symbol.name).into_owned()).collect(),
            constructors: image.value(elf::DT_INIT_ARRAYSZ).map_or(0, |size| size / 8),
            banned_libraries: rules::banned_libraries(&tables),
            banned_properties,
            libraries: tables.libraries,
        })
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

fn unsound(file: &str, Damage(what): &Damage) -> PluginError {
    PluginError::new(PluginCode::Library, file, format!("is damaged: {what}"))
        .with_hint("copy the file again from where it was whole, or build it again")
}

/// The newest `GLIBC_x.y` that the library is bound to.
fn needed_glibc(tables: &Tables<'_>) -> Option<String> {
    let needed = tables.versions.iter().filter_map(|name| name.strip_prefix("GLIBC_"));
    needed.max_by_key(|needed| version(needed)).map(str::to_owned)
}

fn version(text: &str) -> Vec<u32> {
    text.split('.').filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
