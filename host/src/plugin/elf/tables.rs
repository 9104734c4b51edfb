//! The tables that the dynamic section points to: names, symbols, relocations and versions.

use super::image::{Damage, Image, Read, all, at, damage, hold};
use object::read::elf::{GnuHashTable, HashTable};
use object::{LittleEndian, elf};
use std::collections::BTreeMap;
use std::ops::Range;

type Header = elf::FileHeader64<LittleEndian>;

/// Rows of the version table that are followed; libraries need a few dozen.
const MOST_VERSIONS: usize = 4096;

/// A symbol of the dynamic symbol table.
#[derive(Debug, Clone, Copy)]
pub struct Symbol<'a> {
    pub name: &'a [u8],
    pub bind: elf::SymbolBind,
    pub kind: elf::SymbolType,
    pub is_defined: bool,
    pub size: u64,
}

impl Symbol<'_> {
    /// Whether other libraries can find it.
    pub fn is_exported(&self) -> bool {
        self.is_defined && self.bind != elf::STB_LOCAL
    }
}

/// What the loader writes before anything runs.
#[derive(Debug, Clone, Copy)]
pub struct Relocation {
    pub address: u64,
    pub kind: u32,
    pub symbol: u32,
    /// What a relative one writes, without the address that the library is loaded to.
    pub addend: u64,
}

impl Relocation {
    /// The bytes that it writes to: a word; two for the most general kind of thread-local variables.
    fn target(&self, machine: elf::Machine) -> Range<u64> {
        let is_wide = match machine {
            elf::EM_AARCH64 => self.kind == elf::R_AARCH64_TLSDESC.0,
            _ => self.kind == elf::R_X86_64_TLSDESC.0,
        };
        self.address..self.address.saturating_add(if is_wide { 16 } else { 8 })
    }
}

/// What the loader knows of a library.
pub struct Tables<'a> {
    machine: elf::Machine,
    pub symbols: Vec<Symbol<'a>>,
    relocations: BTreeMap<u64, Vec<Relocation>>,
    /// The names of the libraries that it is linked to.
    pub libraries: Vec<String>,
    /// The versions of other libraries' symbols that it is bound to, such as `GLIBC_2.28`.
    pub versions: Vec<String>,
}

impl<'a> Tables<'a> {
    /// Read every table; errs where one lies outside of the segments, has another form, or is written to by relocations.
    pub fn read(image: &Image<'a>) -> Read<Tables<'a>> {
        let mut places = Places { image, taken: image.own_tables.clone() };
        let strings = places.table(elf::DT_STRTAB, Some(elf::DT_STRSZ), "its table of names")?.unwrap_or_default();
        let relocations = relocations(&mut places)?;
        let symbols = symbols(&mut places, strings, &relocations)?;
        let needed = image.rows.iter().filter(|row| row.tag == elf::DT_NEEDED);
        let libraries = needed.map(|row| lossy(strings, row.value)).collect::<Read<Vec<String>>>()?;
        let versions = versions(&mut places, strings, symbols.len(), &libraries)?;
        check_targets(image, &places.taken, &relocations)?;
        let mut by_address: BTreeMap<u64, Vec<Relocation>> = BTreeMap::new();
        for relocation in relocations {
            by_address.entry(relocation.address).or_default().push(relocation);
        }
        Ok(Tables { machine: image.machine, symbols, relocations: by_address, libraries, versions })
    }

    /// Every relocation.
    pub fn relocations(&self) -> impl Iterator<Item = &Relocation> {
        self.relocations.values().flatten()
    }

    /// The one relocation that writes these eight bytes; none if there is none, or another touches them.
    pub fn only_relocation(&self, address: u64) -> Option<&Relocation> {
        let near = self.relocations.range(address.saturating_sub(15)..address.saturating_add(8));
        let touches = |relocation: &&Relocation| relocation.target(self.machine).end > address;
        let mut touching = near.flat_map(|(_, relocations)| relocations).filter(touches);
        let only = touching.next().filter(|relocation| relocation.address == address)?;
        touching.next().is_none().then_some(only)
    }
}

/// Where tables lie, each found by its tags.
struct Places<'i, 'a> {
    image: &'i Image<'a>,
    taken: Vec<Range<u64>>,
}

impl<'a> Places<'_, 'a> {
    /// The table at an address of the dynamic section, of the size that another row gives.
    fn table(&mut self, tag: elf::DynamicTag, size: Option<elf::DynamicTag>, what: &str) -> Read<Option<&'a [u8]>> {
        let size = size.and_then(|size| self.image.value(size));
        match (self.image.value(tag), size) {
            (None, None | Some(0)) => Ok(None),
            (Some(address), Some(size)) => self.take(address, size, what).map(Some),
            _ => damage(format!("{what} has an address without a size, or a size without an address")),
        }
    }

    fn take(&mut self, address: u64, size: u64, what: &str) -> Read<&'a [u8]> {
        let bytes = self.image.table(address, size, what)?;
        self.taken.push(address..address + size);
        Ok(bytes)
    }

    /// The bytes from a table's address on, for tables that tell their size themselves.
    fn open(&self, tag: elf::DynamicTag, what: &str) -> Read<Option<(u64, &'a [u8])>> {
        let Some(address) = self.image.value(tag) else { return Ok(None) };
        match self.image.bytes_from(address) {
            Some(bytes) => Ok(Some((address, bytes))),
            None => damage(format!("{what} lies outside of its segments")),
        }
    }

    /// The size of a table's items must be the only one that the loader knows.
    fn check_item(&self, tag: elf::DynamicTag, size: usize, what: &str) -> Read<()> {
        let said = self.image.value(tag);
        hold(said.is_none_or(|said| said == size as u64), || format!("the items of {what} have another size"))
    }
}

fn text(strings: &[u8], offset: u64) -> Read<&[u8]> {
    let rest = usize::try_from(offset).ok().and_then(|offset| strings.get(offset..));
    let end = rest.and_then(|rest| Some(&rest[..rest.iter().position(|byte| *byte == 0)?]));
    end.ok_or_else(|| Damage("a name lies outside of its table of names".to_owned()))
}

fn lossy(strings: &[u8], offset: u64) -> Read<String> {
    Ok(String::from_utf8_lossy(text(strings, offset)?).into_owned())
}

/// The relocations of all three kinds of tables.
fn relocations(places: &mut Places<'_, '_>) -> Read<Vec<Relocation>> {
    let machine = places.image.machine;
    places.check_item(elf::DT_RELAENT, size_of::<elf::Rela64<LittleEndian>>(), "its relocations")?;
    places.check_item(elf::DT_RELRENT, size_of::<u64>(), "its relative relocations")?;
    let mut relocations = Vec::new();
    let plain = places.table(elf::DT_RELA, Some(elf::DT_RELASZ), "its relocations")?;
    relocations.extend(with_addends(plain)?);
    // The loader takes so many at the beginning for relative ones, whatever they say.
    let n_relative = usize::try_from(places.image.value(elf::DT_RELACOUNT).unwrap_or(0)).unwrap_or(usize::MAX);
    let relative = Some(relative_kind(machine));
    let first = relocations.get(..n_relative);
    hold(first.is_some_and(|first| first.iter().all(|relocation| Some(relocation.kind) == relative)), || {
        format!("of its relocations {n_relative} should be relative, and are not")
    })?;
    let lazy = places.table(elf::DT_JMPREL, Some(elf::DT_PLTRELSZ), "its relocations of functions")?;
    hold(lazy.is_none() || places.image.value(elf::DT_PLTREL) == Some(elf::DT_RELA.0 as u64), || {
        "its relocations of functions have no addends".to_owned()
    })?;
    relocations.extend(with_addends(lazy)?);
    if let Some(packed) = places.table(elf::DT_RELR, Some(elf::DT_RELRSZ), "its relative relocations")? {
        relocations.extend(unpacked(places.image, packed)?);
    }
    Ok(relocations)
}

fn with_addends(table: Option<&[u8]>) -> Read<Vec<Relocation>> {
    let rows: &[elf::Rela64<LittleEndian>] = all(table.unwrap_or_default(), "a table of relocations")?;
    let relocation = |row: &elf::Rela64<LittleEndian>| {
        let info = row.r_info.get(LittleEndian);
        Relocation {
            address: row.r_offset.get(LittleEndian),
            kind: info as u32,
            symbol: (info >> 32) as u32,
            addend: row.r_addend.get(LittleEndian) as u64,
        }
    };
    Ok(rows.iter().map(relocation).collect())
}

/// A packed table: an address, then words whose bits say which of the next 63 are relocated as well.
fn unpacked(image: &Image<'_>, table: &[u8]) -> Read<Vec<Relocation>> {
    let words: &[object::U64<LittleEndian>] = all(table, "its relative relocations")?;
    let (mut relocations, mut next) = (Vec::new(), 0_u64);
    let mut relocate = |address: u64| -> Read<()> {
        let bytes = image.table(address, 8, "a relative relocation")?;
        let addend = u64::from_le_bytes(bytes.try_into().expect("eight bytes were asked for"));
        relocations.push(Relocation { address, kind: relative_kind(image.machine), symbol: 0, addend });
        Ok(())
    };
    for word in words.iter().map(|word| word.get(LittleEndian)) {
        if word & 1 == 0 {
            relocate(word)?;
            next = word.saturating_add(8);
            continue;
        }
        for bit in (1..64).filter(|bit| word >> bit & 1 == 1) {
            relocate(next.saturating_add(8 * (bit - 1)))?;
        }
        next = next.saturating_add(8 * 63);
    }
    Ok(relocations)
}

/// The kind of relocation that adds the address that the library is loaded to.
pub fn relative_kind(machine: elf::Machine) -> u32 {
    if machine == elf::EM_AARCH64 { elf::R_AARCH64_RELATIVE.0 } else { elf::R_X86_64_RELATIVE.0 }
}

/// Relocations write into the library's own data, and into no table that was read here.
fn check_targets(image: &Image<'_>, taken: &[Range<u64>], relocations: &[Relocation]) -> Read<()> {
    for relocation in relocations {
        let target = relocation.target(image.machine);
        let segment = image.memory(&target);
        hold(segment.is_some_and(|segment| segment.writable), || {
            format!("a relocation writes to {:#x}, which is none of its data", target.start)
        })?;
        let hit = taken.iter().any(|table| table.start < target.end && target.start < table.end);
        hold(!hit, || "a relocation writes into a table that the loader reads".to_owned())?;
    }
    Ok(())
}

/// All symbols that the loader can come to: by either hash table, and by relocations.
fn symbols<'a>(places: &mut Places<'_, 'a>, strings: &'a [u8], relocations: &[Relocation]) -> Read<Vec<Symbol<'a>>> {
    type Row = elf::Sym64<LittleEndian>;
    places.check_item(elf::DT_SYMENT, size_of::<Row>(), "its table of symbols")?;
    let by_relocation = relocations.iter().map(|relocation| relocation.symbol as usize + 1).max().unwrap_or(0);
    let count = by_relocation.max(hashed(places)?).max(gnu_hashed(places)?);
    let Some(address) = places.image.value(elf::DT_SYMTAB) else {
        hold(count <= 1, || "it has no table of symbols".to_owned())?;
        return Ok(Vec::new());
    };
    let size = (count as u64).saturating_mul(size_of::<Row>() as u64);
    let rows: &[Row] = all(places.take(address, size, "its table of symbols")?, "its table of symbols")?;
    let symbol = |row: &Row| {
        Ok(Symbol {
            name: text(strings, row.st_name.get(LittleEndian).into())?,
            bind: row.st_bind(),
            kind: row.st_type(),
            is_defined: row.st_shndx.get(LittleEndian) != elf::SHN_UNDEF,
            size: row.st_size.get(LittleEndian),
        })
    };
    rows.iter().map(symbol).collect()
}

/// The symbols that the older hash table knows.
fn hashed(places: &mut Places<'_, '_>) -> Read<usize> {
    let what = "its hash table";
    let Some((address, bytes)) = places.open(elf::DT_HASH, what)? else { return Ok(0) };
    let header: &elf::HashHeader<LittleEndian> = at(bytes, 0, what)?;
    let (buckets, chains) = (header.bucket_count.get(LittleEndian), header.chain_count.get(LittleEndian));
    hold(buckets > 0, || format!("{what} is empty"))?;
    let table = HashTable::<Header>::parse(LittleEndian, bytes).map_err(|_| Damage(format!("{what} is cut off")))?;
    let size = 8 + 4 * (u64::from(buckets) + u64::from(chains));
    let words: &[object::U32<LittleEndian>] = all(places.take(address, size, what)?, what)?;
    // Every bucket and every link names a symbol, and links that run in a circle would never end: they fall.
    let links = words[2..].iter().map(|word| word.get(LittleEndian));
    hold(links.clone().all(|link| link < chains.max(1)), || format!("{what} names symbols that are not there"))?;
    let chain: Vec<u32> = links.skip(buckets as usize).collect();
    hold(ends(&chain), || format!("{what} has a chain without an end"))?;
    Ok(table.symbol_table_length() as usize)
}

/// Whether every chain of links comes to 0.
fn ends(links: &[u32]) -> bool {
    let mut ending = vec![false; links.len()];
    for start in 0..links.len() {
        let (mut path, mut at) = (Vec::new(), start);
        while at != 0 && !ending[at] {
            if path.len() > links.len() {
                return false;
            }
            path.push(at);
            at = links[at] as usize;
        }
        path.into_iter().for_each(|at| ending[at] = true);
    }
    true
}

/// The symbols that GNU's hash table knows.
fn gnu_hashed(places: &mut Places<'_, '_>) -> Read<usize> {
    let what = "its GNU hash table";
    let Some((address, bytes)) = places.open(elf::DT_GNU_HASH, what)? else { return Ok(0) };
    let header: &elf::GnuHashHeader<LittleEndian> = at(bytes, 0, what)?;
    let (bloom, buckets) = (header.bloom_count.get(LittleEndian), header.bucket_count.get(LittleEndian));
    let base = header.symbol_base.get(LittleEndian);
    hold(bloom.is_power_of_two() && buckets > 0, || format!("{what} is empty"))?;
    let fixed = 16 + 8 * u64::from(bloom) + 4 * u64::from(buckets);
    let head = bytes.get(..usize::try_from(fixed).unwrap_or(usize::MAX));
    let Some(head) = head else { return damage(format!("{what} is cut off")) };
    let words: &[object::U32<LittleEndian>] = all(&head[16 + 8 * bloom as usize..], what)?;
    let used: Vec<u32> = words.iter().map(|word| word.get(LittleEndian)).filter(|bucket| *bucket != 0).collect();
    hold(used.iter().all(|bucket| *bucket >= base), || format!("{what} names symbols that are not there"))?;
    if used.is_empty() {
        places.take(address, fixed, what)?;
        return Ok(base as usize);
    }
    let table = GnuHashTable::<Header>::parse(LittleEndian, bytes).map_err(|_| Damage(format!("{what} is cut off")))?;
    let count = table.symbol_table_length(LittleEndian).ok_or_else(|| Damage(format!("{what} has no end")))?;
    places.take(address, fixed + 4 * u64::from(count - base), what)?;
    Ok(count as usize)
}

/// The versions that it is bound to, and whether every symbol's version is one of them.
fn versions(places: &mut Places<'_, '_>, strings: &[u8], n_symbols: usize, libraries: &[String]) -> Read<Vec<String>> {
    let what = "its table of versions";
    let (mut names, mut known) = (Vec::new(), vec![0, 1]);
    if let Some((start, bytes)) = places.open(elf::DT_VERNEED, what)? {
        let (mut need_at, mut end) = (0_u64, 0_u64);
        loop {
            let need: &elf::Verneed<LittleEndian> = at(bytes, need_at, what)?;
            hold(need.vn_version.get(LittleEndian) == elf::VER_NEED_CURRENT, || format!("{what} is of a later form"))?;
            let library = lossy(strings, need.vn_file.get(LittleEndian).into())?;
            hold(libraries.contains(&library), || format!("{what} names `{library}`, which it is not linked to"))?;
            let mut aux_at = need_at + u64::from(need.vn_aux.get(LittleEndian));
            loop {
                let aux: &elf::Vernaux<LittleEndian> = at(bytes, aux_at, what)?;
                names.push(lossy(strings, aux.vna_name.get(LittleEndian).into())?);
                known.push(aux.vna_other.get(LittleEndian).0 & !elf::VERSYM_HIDDEN.0);
                hold(names.len() <= MOST_VERSIONS, || format!("{what} has more than {MOST_VERSIONS} rows"))?;
                end = end.max(aux_at + size_of_val(aux) as u64);
                match aux.vna_next.get(LittleEndian) {
                    0 => break,
                    next => aux_at += u64::from(next),
                }
            }
            end = end.max(need_at + size_of_val(need) as u64);
            match need.vn_next.get(LittleEndian) {
                0 => break,
                next => need_at += u64::from(next),
            }
        }
        places.take(start, end, what)?;
    }
    if let Some(address) = places.image.value(elf::DT_VERSYM) {
        let bytes = places.take(address, 2 * n_symbols as u64, what)?;
        let indices: &[object::U16<LittleEndian>] = all(bytes, what)?;
        let indices = indices.iter().map(|index| index.get(LittleEndian) & !elf::VERSYM_HIDDEN.0);
        let unknown = indices.filter(|index| !known.contains(index)).count();
        let has_own = places.image.value(elf::DT_VERDEF).is_some();
        hold(unknown == 0 || has_own, || format!("{unknown} of its symbols have versions that are not in {what}"))?;
    }
    Ok(names)
}
