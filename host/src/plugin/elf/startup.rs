//! The code that the loader runs before anything is verified: only what the C runtime and Rust's own put there.
//!
//! On x86-64 that code is known byte for byte: `_init` and `_fini` of the C library, `frame_dummy` of GCC, and what keeps the
//! arguments of a program in Rust. On other machines functions are counted, and must lie in the library's code.

use super::image::Image;
use super::tables::{Tables, relative_kind};
use object::elf;

/// `_init`, which calls the profiler's start where there is one.
const INIT: &str = "48 83 ec 08 48 8b 05 slot 48 85 c0 74 02 ff d0 48 83 c4 08 c3";
/// `_fini`, which does nothing.
const FINI: &str = "48 83 ec 08 48 83 c4 08 c3";
/// `register_tm_clones`, from GCC 9 on and before.
const REGISTER_TM_CLONES: [&str; 2] = [
    "48 8d 3d any 48 8d 35 any 48 29 fe 48 89 f0 48 c1 ee 3f 48 c1 f8 03 48 01 c6 48 d1 fe 74 14 48 8b 05 slot \
     48 85 c0 74 08 ff e0 66 0f 1f 44 00 00 c3",
    "48 8d 3d any 48 8d 35 any 48 29 fe 48 c1 fe 03 48 89 f0 48 c1 e8 3f 48 01 c6 48 d1 fe 74 14 48 8b 05 slot \
     48 85 c0 74 08 ff e0 66 0f 1f 44 00 00 c3",
];
/// What a processor with indirect-branch tracking wants at the beginning of a function.
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// Instructions of the function that keeps a program's arguments; it has four.
const MOST_STORES: usize = 4;

/// What the library runs of its own when it is loaded or unloaded, in words; nothing for what its compiler put there.
pub fn own_code(image: &Image<'_>, tables: &Tables<'_>, constructors: u64) -> Vec<String> {
    let library = Library { image, tables };
    let mut found = Vec::new();
    let stubs = [(elf::DT_INIT, INIT, "DT_INIT"), (elf::DT_FINI, FINI, "DT_FINI")];
    for (tag, pattern, name) in stubs {
        let function = image.value(tag);
        if function.is_some_and(|address| !library.is_stub(address, pattern)) {
            found.push(format!("runs a function of its own ({name}) beside its constructors"));
        }
    }
    let size = image.value(elf::DT_INIT_ARRAYSZ).unwrap_or(0);
    let own = (size / 8).saturating_sub(constructors);
    let others = library.array(elf::DT_INIT_ARRAY, size).into_iter().filter(|known| !known).count();
    match own.max(others as u64) {
        0 => {}
        own => found.push(format!("runs {own} constructors of its own when it is loaded")),
    }
    let size = image.value(elf::DT_FINI_ARRAYSZ).unwrap_or(0);
    let places = library.functions(elf::DT_FINI_ARRAY, size);
    if places.len() > 1 || places.iter().any(Option::is_none) {
        found.push("runs destructors of its own when the program ends".to_owned());
    }
    found
}

struct Library<'i, 'a> {
    image: &'i Image<'a>,
    tables: &'i Tables<'a>,
}

impl Library<'_, '_> {
    /// For each function of an array whether it is known to be the runtime's.
    fn array(&self, tag: elf::DynamicTag, size: u64) -> Vec<bool> {
        let functions = self.functions(tag, size);
        functions.into_iter().map(|function| function.is_some_and(|address| self.is_runtime(address))).collect()
    }

    /// The functions of an array; none for a place that may hold anything else than code of this library.
    fn functions(&self, tag: elf::DynamicTag, size: u64) -> Vec<Option<u64>> {
        // What is larger has more functions than any library; the first few tell it.
        let n_functions = size.div_ceil(8).min(1 << 10);
        let Some(start) = self.image.value(tag) else { return vec![None; n_functions as usize] };
        (0..n_functions).map(|i| self.function(start.checked_add(8 * i)?)).collect()
    }

    /// The function that a word of data points to once the library is loaded.
    fn function(&self, word: u64) -> Option<u64> {
        let relocation = self.tables.only_relocation(word)?;
        let is_code = self.image.segment(relocation.addend).is_some_and(|segment| segment.executable);
        (relocation.kind == relative_kind(self.image.machine) && is_code).then_some(relocation.addend)
    }

    /// Whether a function is one of the runtime's.
    fn is_runtime(&self, address: u64) -> bool {
        self.image.machine != elf::EM_X86_64 || self.is_frame_dummy(address) || self.keeps_arguments(address)
    }

    fn is_stub(&self, address: u64, pattern: &str) -> bool {
        let is_code = self.image.segment(address).is_some_and(|segment| segment.executable);
        let is_known = || {
            let body = self.after_endbr64(address);
            body.is_some_and(|body| self.matches(body, pattern, "__gmon_start__"))
        };
        is_code && (self.image.machine != elf::EM_X86_64 || is_known())
    }

    /// A jump to `register_tm_clones`.
    fn is_frame_dummy(&self, address: u64) -> bool {
        let target = self.after_endbr64(address).and_then(|body| self.jump(body));
        let known = |pattern: &&str| target.is_some_and(|it| self.matches(it, pattern, "_ITM_registerTMCloneTable"));
        REGISTER_TM_CLONES.iter().any(known)
    }

    /// The target of a jump.
    fn jump(&self, address: u64) -> Option<u64> {
        match *self.code(address, 2)? {
            [0xe9, _] => {
                let distance = self.code(address + 1, 4)?.try_into().expect("four bytes were asked for");
                (address + 5).checked_add_signed(i32::from_le_bytes(distance).into())
            }
            [0xeb, distance] => (address + 2).checked_add_signed((distance as i8).into()),
            _ => None,
        }
    }

    /// A function that stores its arguments in the library's data and returns, as that of Rust's standard library does.
    fn keeps_arguments(&self, address: u64) -> bool {
        let Some(mut at) = self.after_endbr64(address) else { return false };
        for _ in 0..=MOST_STORES {
            match self.code(at, 1) {
                Some([0xc3]) => return true,
                Some(_) => {}
                None => return false,
            }
            let Some(length) = self.store(at) else { return false };
            at += length;
        }
        false
    }

    /// The length of an instruction that widens the first argument, or stores an argument at a fixed place of its data.
    fn store(&self, at: u64) -> Option<u64> {
        if self.code(at, 3)? == [0x48, 0x63, 0xc7] {
            return Some(3);
        }
        let wide = self.code(at, 1)? == [0x48];
        let opcode = at + u64::from(wide);
        let [0x89, operand] = *self.code(opcode, 2)? else { return None };
        // A register, stored at a distance from the next instruction.
        if operand & 0b1100_0111 != 0b0000_0101 {
            return None;
        }
        let place = self.place(opcode + 2)?;
        let segment = self.image.memory(&(place..place.checked_add(8)?))?;
        segment.writable.then_some(opcode + 6 - at)
    }

    fn after_endbr64(&self, address: u64) -> Option<u64> {
        let skip = if self.code(address, 4).is_some_and(|code| code == ENDBR64) { 4 } else { 0 };
        address.checked_add(skip)
    }

    fn code(&self, address: u64, size: u64) -> Option<&[u8]> {
        let segment = self.image.segment(address).filter(|segment| segment.executable)?;
        self.image.bytes(address, size).filter(|_| !segment.writable)
    }

    /// The address that four bytes of an instruction give, from its end.
    fn place(&self, displacement: u64) -> Option<u64> {
        let bytes = self.code(displacement, 4)?.try_into().expect("four bytes were asked for");
        (displacement + 4).checked_add_signed(i32::from_le_bytes(bytes).into())
    }

    /// Whether code follows a pattern: bytes, `any` for four bytes that do not matter, `slot` for the place of a symbol's
    /// address.
    fn matches(&self, address: u64, pattern: &str, symbol: &str) -> bool {
        let mut at = address;
        for word in pattern.split_whitespace() {
            let (size, holds) = match word {
                "any" => (4, self.code(at, 4).is_some()),
                "slot" => (4, self.place(at).is_some_and(|place| self.is_absent(place, symbol))),
                byte => (1, u8::from_str_radix(byte, 16).is_ok_and(|byte| self.code(at, 1) == Some(&[byte]))),
            };
            if !holds {
                return false;
            }
            at += size;
        }
        true
    }

    /// Whether a word holds the address of a symbol that this library does not define, or nothing.
    fn is_absent(&self, word: u64, symbol: &str) -> bool {
        let Some(relocation) = self.tables.only_relocation(word) else { return false };
        let kinds = [elf::R_X86_64_GLOB_DAT.0, elf::R_X86_64_JUMP_SLOT.0];
        let found = self.tables.symbols.get(relocation.symbol as usize);
        let is_that = found.is_some_and(|found| found.name == symbol.as_bytes() && !found.is_defined);
        kinds.contains(&relocation.kind) && is_that
    }
}
