//! Libraries and packages for tests: the smallest ELF file that holds a manifest.

use super::{Extras, Package};

/// The JSON of a manifest.
pub fn manifest_json(publisher: &str, name: &str, version: &str) -> String {
    serde_json::json!({
        "format": 1, "name": name, "publisher": publisher, "version": version, "api": "1.0.0", "panic": "unwind",
        "summary": "a toy", "license": "MIT", "authors": "A:B", "cite": "", "roles": ["query"], "needs": [],
        "params": {"type": "object", "default": null}
    })
    .to_string()
}

/// A library of this machine that says this of itself.
pub fn library(manifest: &str) -> Vec<u8> {
    library_for(if cfg!(target_arch = "aarch64") { 183 } else { 62 }, manifest)
}

/// The same for an ELF machine of that number.
pub fn library_for(machine: u16, manifest: &str) -> Vec<u8> {
    // The header, two program headers, a dynamic section without rows, the manifest, the names of sections.
    const PROGRAM_HEADERS: usize = 64;
    const DYNAMIC: usize = PROGRAM_HEADERS + 2 * 56;
    const MANIFEST: usize = DYNAMIC + 16;
    const READABLE: u32 = 4;
    let names = b"\0.coldstart_manifest\0.shstrtab\0";
    let sections_at = (MANIFEST + manifest.len() + names.len()).next_multiple_of(8);
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend(3u16.to_le_bytes());
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    [0, PROGRAM_HEADERS as u64, sections_at as u64].iter().for_each(|place| bytes.extend(place.to_le_bytes()));
    bytes.extend([0; 4]);
    // Sizes of the header, of a program header, of a section header; three sections, the last one has their names.
    [64u16, 56, 2, 64, 3, 2].iter().for_each(|size| bytes.extend(size.to_le_bytes()));
    // All of it is loaded to where it stands in the file.
    let program_headers = [(1u32, 0, sections_at, 0x1000u64), (2, DYNAMIC, 16, 8)];
    for (kind, offset, size, align) in program_headers {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(READABLE.to_le_bytes());
        let (offset, size) = (offset as u64, size as u64);
        [offset, offset, offset, size, size, align].iter().for_each(|field| bytes.extend(field.to_le_bytes()));
    }
    bytes.extend([0; 16]);
    bytes.extend(manifest.as_bytes());
    bytes.extend(names);
    bytes.resize(sections_at, 0);
    bytes.extend([0; 64]);
    let rows = [(1u32, 1u32, MANIFEST, manifest.len()), (21, 3, MANIFEST + manifest.len(), names.len())];
    for (name, kind, offset, size) in rows {
        bytes.extend(name.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        let (offset, size) = (offset as u64, size as u64);
        [0, offset, offset, size, 0, 1, 0].iter().for_each(|field| bytes.extend(field.to_le_bytes()));
    }
    bytes
}

/// A package with a readme and a licence.
pub fn package(publisher: &str, name: &str, version: &str) -> Package {
    let extras = Extras {
        readme: Some(b"# A toy\n".to_vec()),
        licenses: vec![("LICENSE-MIT".to_owned(), b"Permission is granted\n".to_vec())],
        ..Extras::default()
    };
    Package::pack("toy.so", library(&manifest_json(publisher, name, version)), extras).unwrap()
}
