use super::*;
use proptest::prelude::*;
use std::process::Command;

const ENTRY: Entry = Entry { symbol: "entry", least_bytes: 8, constructors: 1 };
const RUST: Entry = Entry { symbol: "_1as_0lib_1header_0root_bmodule_bloader", least_bytes: 8, constructors: 2 };
const SOURCE: &str = "long entry = 7; extern char **environ; char ***where = &environ; static int x; int *own = &x;
    int answer(void) { return *own; }\n";

/// A library in C.
fn built(source: &str, flags: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("a.c"), folder.path().join("a.so"));
    std::fs::write(&from, format!("{SOURCE}{source}")).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-Wl,-z,lazy", "-o"]).arg(&to).arg(from).args(flags);
    let ran = compiler.output().unwrap();
    assert!(ran.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&ran.stderr));
    std::fs::read(to).unwrap()
}

fn judged(bytes: &[u8]) -> Result<(), PluginError> {
    check("x.so", bytes, &[ENTRY, RUST], "99.0")
}

/// A library whose headers and tables are changed.
struct Forgery(Vec<u8>);

impl Forgery {
    fn of(bytes: &[u8]) -> Forgery {
        Forgery(bytes.to_vec())
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    fn put(mut self, at: usize, value: u64) -> Forgery {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// Where program headers of a kind begin.
    fn headers(&self, kind: elf::ProgramType) -> Vec<usize> {
        let (start, count) = (self.word(32) as usize, u16::from_le_bytes([self.0[56], self.0[57]]));
        let all = (0..usize::from(count)).map(|i| start + 56 * i);
        all.filter(|at| self.word(*at) as u32 == kind.0).collect()
    }

    /// Another kind and flags for the first header of a kind.
    fn header(self, kind: elf::ProgramType, to: elf::ProgramType, flags: u32) -> Forgery {
        let at = self.headers(kind)[0];
        self.put(at, u64::from(to.0) | u64::from(flags) << 32)
    }

    /// Another number in the first header of a kind: 8 is the offset, 16 the address, 32 and 40 the sizes, 48 the alignment.
    fn field(self, kind: elf::ProgramType, field: usize, value: u64) -> Forgery {
        let at = self.headers(kind)[0] + field;
        self.put(at, value)
    }

    /// Where a row of the dynamic section begins.
    fn row_at(&self, tag: elf::DynamicTag) -> usize {
        let start = self.word(self.headers(elf::PT_DYNAMIC)[0] + 8) as usize;
        (start..).step_by(16).find(|at| self.word(*at) == tag.0 as u64).unwrap()
    }

    /// Another tag and value for a row.
    fn row(self, tag: elf::DynamicTag, to: elf::DynamicTag, value: u64) -> Forgery {
        let at = self.row_at(tag);
        self.put(at, to.0 as u64).put(at + 8, value)
    }

    /// The value of a row, which is the place in the file for tables before the first gap.
    fn value(&self, tag: elf::DynamicTag) -> usize {
        self.word(self.row_at(tag) + 8) as usize
    }

    fn without_sections(self) -> Forgery {
        // The table's place; then the size, the number and the names of its items.
        let mut bare = self.put(40, 0);
        bare.0[58..64].fill(0);
        bare
    }

    /// Section headers that show the dynamic section without its last row before the end.
    fn with_false_sections(mut self) -> Forgery {
        let header = self.headers(elf::PT_DYNAMIC)[0];
        let (start, size) = (self.word(header + 8) as usize, self.word(header + 32) as usize);
        let copy = self.0[start..start + size].to_vec();
        let place = self.0.len().next_multiple_of(16);
        self.0.resize(place, 0);
        self.0.extend(copy);
        let asked = [elf::DT_AUDIT.0 as u64, elf::DT_FILTER.0 as u64];
        for at in (place..place + size).step_by(16) {
            if asked.contains(&self.word(at)) {
                self = self.put(at, elf::DT_SONAME.0 as u64);
            }
        }
        let (sections, count) = (self.word(40) as usize, u16::from_le_bytes([self.0[60], self.0[61]]));
        let dynamic = (0..usize::from(count)).map(|i| sections + 64 * i);
        let is_dynamic = |at: &usize| (self.word(*at) >> 32) as u32 == elf::SHT_DYNAMIC.0;
        let dynamic = dynamic.into_iter().find(is_dynamic).unwrap();
        self.put(dynamic + 24, place as u64)
    }
}

/// Whatever compilers and linkers make of a clean library.
#[test]
fn what_compilers_make_is_accepted() {
    for flags in [
        &[][..],
        &["-O2"],
        &["-O2", "-g"],
        &["-Wl,-z,now"],
        &["-Wl,-z,relro,-z,noseparate-code"],
        &["-Wl,--hash-style=sysv"],
        &["-Wl,--hash-style=both"],
        &["-Wl,-z,pack-relative-relocs"],
        &["-Wl,-soname,a.so"],
        &["-Wl,-Bsymbolic"],
        &["-Wl,-z,nodelete"],
        &["-fcf-protection=full"],
        &["-fno-plt"],
        &["-nostartfiles"],
        &["-Wl,-s"],
        &["-lm"],
    ] {
        judged(&built("", flags)).unwrap_or_else(|error| panic!("{flags:?}: {error}"));
    }
    judged(&built("static _Thread_local int t[9]; int *other(void) { return t; }", &["-O2"])).unwrap();
}

#[test]
fn libraries_of_every_released_contract_are_accepted() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let mut n_libraries = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let is_native = file.to_string_lossy().contains(&format!(".{}-", std::env::consts::ARCH));
        if is_native && file.extension().is_some_and(|extension| extension == "zst") {
            let bytes = zstd::decode_all(&std::fs::read(&file).unwrap()[..]).unwrap();
            judged(&bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            n_libraries += 1;
        }
    }
    assert!(n_libraries > 0 || !cfg!(target_arch = "x86_64"));
}

/// What a linker makes when it is asked to.
#[test]
fn a_library_that_makes_the_loader_do_more_is_refused() {
    let own = "#include <stdio.h>\nvoid shout(void) { puts(\"ran\"); }\n";
    let chooses = "static int a(void) { return 1; } static void *choose(void) { return a; }\n";
    let exported = format!("{chooses}int b(void) __attribute__((ifunc(\"choose\")));\n");
    let hidden =
        format!("{chooses}static int b(void) __attribute__((ifunc(\"choose\"))); int c(void) {{ return b(); }}\n");
    let (starts, ends) =
        ("__attribute__((constructor)) void a(void) {}\n", "__attribute__((destructor)) void a(void) {}\n");
    for (source, flags, sentence) in [
        (own, &["-Wl,-init,shout"][..], "runs a function of its own (DT_INIT)"),
        (own, &["-Wl,-fini,shout"], "runs a function of its own (DT_FINI)"),
        (own, &["-nostartfiles", "-Wl,-init,shout"], "runs a function of its own (DT_INIT)"),
        (starts, &[], "1 constructors of its own"),
        (starts, &["-nostartfiles"], "1 constructors of its own"),
        (ends, &[], "destructors of its own"),
        ("void __gmon_start__(void) {}\n", &[], "runs a function of its own (DT_INIT)"),
        ("void _ITM_registerTMCloneTable(void *a, long b) {}\n", &[], "1 constructors of its own"),
        (&exported, &[], "IFUNC"),
        (&hidden, &[], "IFUNC"),
        (&hidden, &["-Wl,-z,now", "-Wl,-s"], "IFUNC"),
        ("", &["-Wl,--filter=libc.so.6"], "DT_FILTER"),
        ("", &["-Wl,--auxiliary=libc.so.6"], "DT_AUXILIARY"),
        ("", &["-Wl,--audit=/tmp/a.so"], "DT_AUDIT"),
        ("", &["-Wl,--depaudit=/tmp/a.so"], "DT_DEPAUDIT"),
        ("", &["-Wl,-rpath,/tmp"], "rpath"),
        ("", &["-Wl,-rpath,/tmp,--disable-new-dtags"], "rpath"),
        ("", &["-Wl,-z,global"], "flags 0x2"),
        ("", &["-Wl,-z,initfirst"], "flags 0x20"),
        ("", &["-Wl,-z,interpose"], "flags 0x400"),
        ("", &["-Wl,-z,origin"], "flags 0x"),
        ("", &["-Wl,-z,nodefaultlib"], "flags 0x800"),
        ("", &["-Wl,-z,execstack"], "executable stack"),
        ("_Thread_local int t; int *f(void) { return &t; }", &["-ftls-model=initial-exec"], "static thread-local"),
        ("", &["-Wl,--default-symver"], "DT_VERDEF"),
        ("", &["-Wl,--no-as-needed", "-lstdc++"], "is linked to `libstdc++"),
    ] {
        let error = judged(&built(source, flags)).expect_err(&format!("{flags:?}"));
        assert!(error.to_string().contains(sentence), "{flags:?}: {error}");
    }
}

/// What no linker makes, with section headers as they should be, without any, and with false ones.
#[test]
fn a_forged_library_is_refused_whatever_its_sections_say() {
    let plain = Forgery::of(&built("", &[]));
    let sysv = Forgery::of(&built("", &["-Wl,--hash-style=sysv"]));
    let named = Forgery::of(&built("", &["-Wl,-soname,libc.so.6"]));
    let relocations = plain.value(elf::DT_RELA);
    let dynamic = plain.word(plain.headers(elf::PT_DYNAMIC)[0] + 16);
    let (buckets, chains) = (sysv.word(sysv.value(elf::DT_HASH)) as u32, sysv.value(elf::DT_HASH) + 8);
    let chains = chains + 4 * buckets as usize;
    let name = named.value(elf::DT_SONAME) as u64;
    let rows: Vec<(&str, Forgery, &str)> = vec![
        ("filter", Forgery::of(&named.0).row(elf::DT_SONAME, elf::DT_FILTER, name), "DT_FILTER"),
        ("audit", Forgery::of(&named.0).row(elf::DT_SONAME, elf::DT_AUDIT, name), "DT_AUDIT"),
        ("config", Forgery::of(&named.0).row(elf::DT_SONAME, elf::DT_CONFIG, name), "DT_CONFIG"),
        ("rpath", Forgery::of(&named.0).row(elf::DT_SONAME, elf::DT_RPATH, name), "rpath"),
        ("text", Forgery::of(&named.0).row(elf::DT_SONAME, elf::DT_TEXTREL, 0), "text relocations"),
        ("text flag", Forgery::of(&named.0).row(elf::DT_SONAME, elf::DT_FLAGS, 4), "text relocations"),
        ("preinit", Forgery::of(&named.0).row(elf::DT_SONAME, elf::DT_PREINIT_ARRAY, name), "DT_PREINIT_ARRAY"),
        ("unknown", Forgery::of(&named.0).row(elf::DT_SONAME, elf::DynamicTag(0x6123_4567), 0), "the tag 0x61234567"),
        ("two names", Forgery::of(&named.0).row(elf::DT_SONAME, elf::DT_STRTAB, name), "says DT_STRTAB twice"),
        ("no names", Forgery::of(&plain.0).row(elf::DT_STRSZ, elf::DT_STRSZ, 1), "outside of its table of names"),
        ("init", Forgery::of(&plain.0).row(elf::DT_INIT, elf::DT_INIT, name), "(DT_INIT)"),
        ("init outside", Forgery::of(&plain.0).row(elf::DT_INIT, elf::DT_INIT, u64::MAX - 7), "(DT_INIT)"),
        ("array moved", Forgery::of(&plain.0).row(elf::DT_INIT_ARRAY, elf::DT_INIT_ARRAY, dynamic), "constructors"),
        ("array of more", Forgery::of(&plain.0).row(elf::DT_INIT_ARRAYSZ, elf::DT_INIT_ARRAYSZ, 16), "constructors"),
        ("huge array", Forgery::of(&plain.0).row(elf::DT_INIT_ARRAYSZ, elf::DT_INIT_ARRAYSZ, u64::MAX), "constructors"),
        ("into the table", Forgery::of(&plain.0).put(relocations, dynamic + 8), "into a table"),
        ("into code", Forgery::of(&plain.0).put(relocations, 0x1000), "none of its data"),
        ("outside", Forgery::of(&plain.0).put(relocations, u64::MAX - 3), "none of its data"),
        ("copies", Forgery::of(&plain.0).put(relocations + 8, 5), "should be relative"),
        ("all relative", Forgery::of(&plain.0).row(elf::DT_RELACOUNT, elf::DT_RELACOUNT, 5), "should be relative"),
        ("no end", Forgery::of(&plain.0).field(elf::PT_DYNAMIC, 32, 32).field(elf::PT_DYNAMIC, 40, 32), "has no end"),
        ("two places", Forgery::of(&plain.0).field(elf::PT_DYNAMIC, 8, 0), "lies outside"),
        ("two sections", Forgery::of(&plain.0).header(elf::PT_NOTE, elf::PT_DYNAMIC, 6), "2 program headers of kind"),
        ("stack", Forgery::of(&plain.0).header(elf::PT_GNU_STACK, elf::PT_GNU_STACK, 7), "executable stack"),
        ("no stack", Forgery::of(&plain.0).header(elf::PT_GNU_STACK, elf::PT_NULL, 0), "executable stack"),
        ("interpreter", Forgery::of(&plain.0).header(elf::PT_NOTE, elf::PT_INTERP, 4), "PT_INTERP"),
        ("strange", Forgery::of(&plain.0).header(elf::PT_NOTE, elf::ProgramType(0x6abc_def0), 4), "kind 0x6abcdef0"),
        ("both", Forgery::of(&plain.0).header(elf::PT_LOAD, elf::PT_LOAD, 7), "written and executed"),
        (
            "overlap",
            Forgery::of(&plain.0).field(elf::PT_LOAD, 40, 0x1001).header(elf::PT_LOAD, elf::PT_LOAD, 6),
            "overlap",
        ),
        ("beyond", Forgery::of(&plain.0).field(elf::PT_LOAD, 32, 1 << 40), "cut off"),
        ("protected beyond", Forgery::of(&plain.0).field(elf::PT_GNU_RELRO, 40, u64::MAX - 0x3000), "lies outside"),
        ("protected beyond all", Forgery::of(&plain.0).field(elf::PT_GNU_RELRO, 40, u64::MAX), "lies outside"),
        ("no headers", Forgery::of(&plain.0).put(56, plain.word(56) >> 16 << 16), "program headers"),
        ("circle", Forgery::of(&sysv.0).put(chains + 4, 1), "a chain without an end"),
        ("no buckets", Forgery::of(&sysv.0).put(chains - 4 * buckets as usize - 8, 0), "empty"),
    ];
    for (what, forged, sentence) in rows {
        let bare = Forgery::of(&forged.0).without_sections();
        let audited = what == "audit" || what == "filter";
        let others = audited.then(|| Forgery::of(&forged.0).with_false_sections());
        for forged in [forged, bare].into_iter().chain(others) {
            let error = judged(&forged.0).expect_err(what);
            assert!(error.to_string().contains(sentence), "{what}: {error}");
        }
    }
    judged(&plain.without_sections().0).unwrap();
}

/// The bytes of a section are those that are loaded, or none.
#[test]
fn a_manifest_is_part_of_what_is_loaded() {
    let source = "__attribute__((section(\".words\"), used)) const char words[] = \"loaded\";\n";
    let mut library = Forgery::of(&built(source, &[]));
    assert_eq!(section("x.so", &library.0, ".words").unwrap(), b"loaded\0");
    let (sections, count) = (library.word(40) as usize, u16::from_le_bytes([library.0[60], library.0[61]]));
    let loaded = library.0.windows(6).position(|bytes| bytes == b"loaded").unwrap() as u64;
    let header = (0..usize::from(count)).map(|i| sections + 64 * i);
    let header = header.into_iter().find(|at| library.word(*at + 24) == loaded).unwrap();
    let end = library.0.len() as u64;
    library.0.extend(b"forged\0");
    let error = section("x.so", &library.put(header + 24, end).0, ".words").unwrap_err();
    assert!(error.to_string().contains("no part of what is loaded"), "{error}");
}

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
fn no_headers_or_tables_make_a_reader_panic() {
    let libraries = [
        built("", &[]),
        built("", &["-Wl,--hash-style=both", "-Wl,-z,pack-relative-relocs"]),
        built("", &["-nostartfiles", "-Wl,--hash-style=sysv"]),
    ];
    let number = prop_oneof![Just(0), Just(u64::MAX), any::<u8>().prop_map(u64::from), any::<u64>()];
    // The first page has the headers and nearly all tables; the dynamic section begins in the last.
    let place = prop_oneof![0_usize..0x700, 0x2e00_usize..0x3000];
    let changes = prop::collection::vec((place, number, 1_usize..9), 1..5);
    proptest!(|(which in 0..libraries.len(), changes in changes)| {
        let mut bytes = libraries[which].clone();
        for (at, value, size) in changes {
            if let Some(place) = bytes.get_mut(at..at + size) {
                place.copy_from_slice(&value.to_le_bytes()[..size]);
            }
        }
        _ = judged(&bytes);
        _ = Facts::read("x.so", &bytes, &[ENTRY]);
        _ = glibc_floor("x.so", &bytes);
    });
}

#[test]
fn glibc_versions_compare_as_numbers() {
    assert!(version("2.4") < version("2.28") && version("2.28") < version("2.28.1"));
}
