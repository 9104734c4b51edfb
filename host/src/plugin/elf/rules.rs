//! What a plugin's library may have: every kind of header, row and relocation that is not on a list here is refused.

use super::image::{Image, Row};
use super::startup;
use super::tables::Tables;
use object::elf;

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

/// Program headers that say where things are, and what the memory is protected from.
const HEADERS: [elf::ProgramType; 10] = [
    elf::PT_NULL,
    elf::PT_LOAD,
    elf::PT_DYNAMIC,
    elf::PT_NOTE,
    elf::PT_PHDR,
    elf::PT_TLS,
    elf::PT_GNU_EH_FRAME,
    elf::PT_GNU_STACK,
    elf::PT_GNU_RELRO,
    elf::PT_GNU_PROPERTY,
];

/// Rows of the dynamic section that say where tables are; and those that are looked at below.
const ROWS: [elf::DynamicTag; 35] = [
    elf::DT_NEEDED,
    elf::DT_SONAME,
    elf::DT_HASH,
    elf::DT_GNU_HASH,
    elf::DT_STRTAB,
    elf::DT_STRSZ,
    elf::DT_SYMTAB,
    elf::DT_SYMENT,
    elf::DT_RELA,
    elf::DT_RELASZ,
    elf::DT_RELAENT,
    elf::DT_RELACOUNT,
    elf::DT_RELR,
    elf::DT_RELRSZ,
    elf::DT_RELRENT,
    elf::DT_JMPREL,
    elf::DT_PLTREL,
    elf::DT_PLTRELSZ,
    elf::DT_PLTGOT,
    elf::DT_VERSYM,
    elf::DT_VERNEED,
    elf::DT_VERNEEDNUM,
    elf::DT_INIT,
    elf::DT_FINI,
    elf::DT_INIT_ARRAY,
    elf::DT_INIT_ARRAYSZ,
    elf::DT_FINI_ARRAY,
    elf::DT_FINI_ARRAYSZ,
    elf::DT_FLAGS,
    elf::DT_FLAGS_1,
    elf::DT_BIND_NOW,
    elf::DT_SYMBOLIC,
    elf::DT_RPATH,
    elf::DT_RUNPATH,
    elf::DT_TEXTREL,
];
/// Those that only ARM has: which calls keep more registers, and how jumps are protected.
const ROWS_OF_AARCH64: [i64; 3] = [0x7000_0001, 0x7000_0003, 0x7000_0005];

/// What the rows with flags may ask for: binding at once, its own symbols first, never to be unloaded.
const FLAGS: u64 = elf::DF_SYMBOLIC.0 | elf::DF_BIND_NOW.0;
const FLAGS_1: u64 = elf::DF_1_NOW.0 | elf::DF_1_NODELETE.0;

/// Libraries that it is linked to and must not be, in words.
pub fn banned_libraries(tables: &Tables<'_>) -> Vec<String> {
    let banned = tables.libraries.iter().filter(|library| !ALLOWED_LIBRARIES.contains(&library.as_str()));
    banned.map(|library| format!("is linked to `{library}`, which could clash with the host's libraries")).collect()
}

/// What a plugin's headers and dynamic section must not ask for, in words; nothing for a clean library.
pub fn banned_requests(image: &Image<'_>) -> Vec<String> {
    let mut found = banned_rows(image);
    found.extend(banned_headers(image));
    found
}

/// What a plugin must not bring along, in words; nothing for a clean library.
pub fn banned_content(image: &Image<'_>, tables: &Tables<'_>, constructors: u64) -> Vec<String> {
    let mut found = startup::own_code(image, tables, constructors);
    let symbols = &tables.symbols;
    if symbols.iter().any(|symbol| symbol.bind == elf::STB_GNU_UNIQUE) {
        found.push("has unique symbols, which other libraries would share".to_owned());
    }
    let relocations = || tables.relocations().map(|relocation| relocation.kind);
    if symbols.iter().any(|symbol| symbol.kind == elf::STT_GNU_IFUNC) || relocations().any(|it| chooses(image, it)) {
        found.push("has functions that choose others while it is loaded (IFUNC)".to_owned());
    }
    let unknown = relocations().find(|kind| !is_plain(image, *kind) && !chooses(image, *kind));
    found.extend(unknown.map(|kind| format!("has relocations of kind {kind}, which no plugin needs")));
    found
}

fn banned_headers(image: &Image<'_>) -> Vec<String> {
    let flags = |wanted: elf::ProgramFlags| move |flags: elf::ProgramFlags| flags.0 & wanted.0 == wanted.0;
    let (writable, executable) = (flags(elf::PF_W), flags(elf::PF_X));
    let mut found = Vec::new();
    // Without a word about the stack, the loader makes it executable.
    let stack = image.headers.iter().find(|(kind, _)| *kind == elf::PT_GNU_STACK);
    if stack.is_none_or(|(_, flags)| executable(*flags)) {
        found.push("wants an executable stack".to_owned());
    }
    let loaded = |kind: elf::ProgramType| kind == elf::PT_LOAD;
    if image.headers.iter().any(|(kind, flags)| loaded(*kind) && writable(*flags) && executable(*flags)) {
        found.push("has memory that can be both written and executed".to_owned());
    }
    if image.headers.iter().any(|(kind, _)| *kind == elf::PT_INTERP) {
        found.push("is a program with an interpreter (PT_INTERP)".to_owned());
    }
    let known =
        |kind: elf::ProgramType| HEADERS.contains(&kind) || kind == elf::PT_INTERP || kind == elf::PT_GNU_SFRAME;
    let unknown = image.headers.iter().find(|(kind, _)| !known(*kind));
    found.extend(unknown.map(|(kind, _)| format!("has a program header of kind {:#x}, which no plugin needs", kind.0)));
    found
}

fn banned_rows(image: &Image<'_>) -> Vec<String> {
    let mut found: Vec<String> = image.rows.iter().filter_map(|row| banned_row(image, row)).collect();
    let repeated = |row: &&Row| {
        let same = image.rows.iter().filter(|other| other.tag == row.tag).count();
        row.tag != elf::DT_NEEDED && same > 1
    };
    if let Some(row) = image.rows.iter().find(repeated) {
        found.push(format!("says {} twice", name(row.tag)));
    }
    found
}

fn banned_row(image: &Image<'_>, row: &Row) -> Option<String> {
    let of_aarch64 = image.machine == elf::EM_AARCH64 && ROWS_OF_AARCH64.contains(&row.tag.0);
    let flags = match row.tag {
        elf::DT_RPATH | elf::DT_RUNPATH => return Some("has an rpath".to_owned()),
        elf::DT_TEXTREL => return Some("has text relocations".to_owned()),
        elf::DT_FLAGS if row.value & elf::DF_TEXTREL.0 != 0 => return Some("has text relocations".to_owned()),
        elf::DT_FLAGS if row.value & elf::DF_STATIC_TLS.0 != 0 => {
            return Some("uses static thread-local storage, of which a process has little".to_owned());
        }
        elf::DT_FLAGS => row.value & !FLAGS,
        elf::DT_FLAGS_1 => row.value & !FLAGS_1,
        tag if ROWS.contains(&tag) || of_aarch64 => return None,
        tag => return Some(format!("asks the dynamic loader for {}, which no plugin needs", name(tag))),
    };
    (flags != 0).then(|| format!("asks the dynamic loader for the flags {flags:#x} ({})", name(row.tag)))
}

/// How the tools that show such files name a row.
fn name(tag: elf::DynamicTag) -> String {
    let names = [
        (elf::DT_FILTER, "DT_FILTER"),
        (elf::DT_AUXILIARY, "DT_AUXILIARY"),
        (elf::DT_AUDIT, "DT_AUDIT"),
        (elf::DT_DEPAUDIT, "DT_DEPAUDIT"),
        (elf::DT_CONFIG, "DT_CONFIG"),
        (elf::DT_PREINIT_ARRAY, "DT_PREINIT_ARRAY"),
        (elf::DT_REL, "DT_REL"),
        (elf::DT_DEBUG, "DT_DEBUG"),
        (elf::DT_VERDEF, "DT_VERDEF"),
        (elf::DT_FLAGS, "DT_FLAGS"),
        (elf::DT_FLAGS_1, "DT_FLAGS_1"),
        (elf::DT_INIT, "DT_INIT"),
        (elf::DT_INIT_ARRAY, "DT_INIT_ARRAY"),
        (elf::DT_STRTAB, "DT_STRTAB"),
    ];
    let known = names.iter().find(|(known, _)| *known == tag);
    known.map_or_else(|| format!("the tag {:#x}", tag.0), |(_, name)| (*name).to_owned())
}

/// Relocations that run a function to learn what to write.
fn chooses(image: &Image<'_>, kind: u32) -> bool {
    match image.machine {
        elf::EM_AARCH64 => kind == elf::R_AARCH64_IRELATIVE.0,
        _ => kind == elf::R_X86_64_IRELATIVE.0,
    }
}

/// Relocations that write an address, or where thread-local variables are.
fn is_plain(image: &Image<'_>, kind: u32) -> bool {
    let plain = match image.machine {
        elf::EM_AARCH64 => [
            elf::R_AARCH64_NONE.0,
            elf::R_AARCH64_ABS64.0,
            elf::R_AARCH64_GLOB_DAT.0,
            elf::R_AARCH64_JUMP_SLOT.0,
            elf::R_AARCH64_RELATIVE.0,
            elf::R_AARCH64_TLS_DTPMOD.0,
            elf::R_AARCH64_TLS_DTPREL.0,
            elf::R_AARCH64_TLS_TPREL.0,
            elf::R_AARCH64_TLSDESC.0,
        ],
        _ => [
            elf::R_X86_64_NONE.0,
            elf::R_X86_64_64.0,
            elf::R_X86_64_GLOB_DAT.0,
            elf::R_X86_64_JUMP_SLOT.0,
            elf::R_X86_64_RELATIVE.0,
            elf::R_X86_64_DTPMOD64.0,
            elf::R_X86_64_DTPOFF64.0,
            elf::R_X86_64_TPOFF64.0,
            elf::R_X86_64_TLSDESC.0,
        ],
    };
    plain.contains(&kind)
}
