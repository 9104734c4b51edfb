//! The pages of a Parquet column, looked through before the library unpacks them.
//!
//! The library makes room for what a page's header says, and for as many entries of a dictionary: a file of some kilobytes could take
//! all memory. What is checked here is what each page unpacks to, and that a column has as many values as its row group has rows.
//! The fields are those of `parquet.thrift`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, Type as Physical};
use parquet::file::metadata::ColumnChunkMetaData;

use super::thrift::{Field, Kind, Reader, ThriftError};
use super::unpacked::{TooLarge, check_packed};

/// So many bytes of a header are read at first; statistics make few longer.
const FIRST_LOOK: u64 = 4 << 10;
/// The longest header. Its statistics hold the least and the largest value of the page.
const LONGEST_HEADER: u64 = 16 << 20;
/// What an entry of a dictionary takes in memory, beside its bytes.
const ENTRY_BYTES: u64 = 48;

/// `PageHeader.type`
const DATA: i64 = 0;
const INDEX: i64 = 1;
const DICTIONARY: i64 = 2;
const DATA_2: i64 = 3;
/// `Encoding`: for these the library makes room for as many texts as the page itself says.
const DELTA_TEXTS: [i64; 2] = [6, 7];

/// Why a column is not handed to the library.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    #[error("cannot be read ({0})")]
    Io(#[from] io::Error),
    #[error("a page's header {0}")]
    Thrift(#[from] ThriftError),
    #[error("a page's header says what cannot be")]
    Implausible,
    #[error("a page {0}")]
    TooLarge(#[from] TooLarge),
    #[error("a page unpacks to more than its header says")]
    Longer,
    #[error("holds {n_values} values, but the file says that there are {n_rows} rows")]
    Rows { n_values: u64, n_rows: u64 },
    #[error("is written in a form that is not read ({0})")]
    Form(String),
}

/// The header of a page.
#[derive(Debug, Default)]
struct Header {
    sort: i64,
    unpacked: i64,
    packed: i64,
    n_values: i64,
    encoding: i64,
    /// What stands before the values and is not packed: levels of the second version.
    levels: i64,
    /// Whether the values are packed.
    is_packed: bool,
    /// How many bytes the header takes.
    length: u64,
}

/// Looks through the pages of a column that holds one value or none in each of `n_rows` rows.
///
/// # Errors
/// If a page is cut or damaged, unpacks to more than 100 times its size and 256 MiB or than its header says, or the pages together
/// have another number of values.
pub(super) fn check(file: &File, column: &ColumnChunkMetaData, n_rows: u64) -> Result<(), PageError> {
    check_codec(column.compression())?;
    let (start, length) = column.byte_range();
    let end = start.checked_add(length).filter(|end| file.metadata().is_ok_and(|whole| *end <= whole.len()));
    let end = end.ok_or(PageError::Implausible)?;
    let (mut at, mut n_values) = (start, 0u64);
    while at < end {
        let header = header_at(file, at, end)?;
        let (packed, unpacked) = header.sizes()?;
        at += header.length;
        if at + packed > end {
            return Err(PageError::Implausible);
        }
        header.check(column, packed, unpacked)?;
        if matches!(column.compression(), Compression::GZIP(_)) && header.is_packed {
            let levels = header.levels as u64;
            check_gzip(file, at + levels, packed.saturating_sub(levels), unpacked)?;
        }
        if header.is_data() {
            n_values = n_values.saturating_add(header.n_values as u64);
        }
        at += packed;
    }
    if n_values == n_rows { Ok(()) } else { Err(PageError::Rows { n_values, n_rows }) }
}

/// Lets through what unpacks into as much room as the header says, and gzip, which is looked at.
fn check_codec(codec: Compression) -> Result<(), PageError> {
    match codec {
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::GZIP(_)
        | Compression::ZSTD(_)
        | Compression::LZ4_RAW => Ok(()),
        codec => Err(PageError::Form(codec.to_string())),
    }
}

/// Unpacks a page into nothing, no further than its header says.
fn check_gzip(file: &File, start: u64, packed: u64, unpacked: u64) -> Result<(), PageError> {
    let mut bytes = vec![0; packed as usize];
    file.read_exact_at(&mut bytes, start)?;
    let mut unpacking = MultiGzDecoder::new(&bytes[..]).take(unpacked + 1);
    match io::copy(&mut unpacking, &mut io::sink())? {
        n if n <= unpacked => Ok(()),
        _ => Err(PageError::Longer),
    }
}

/// The header that begins at a place; more of it is read until it is whole.
fn header_at(file: &File, at: u64, end: u64) -> Result<Header, PageError> {
    let longest = (end - at).min(LONGEST_HEADER);
    let mut length = FIRST_LOOK.min(longest);
    loop {
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, at)?;
        match Header::read(&bytes) {
            Err(ThriftError::Damaged) if length < longest => length = (length * 8).min(longest),
            header => return Ok(header?),
        }
    }
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Header, ThriftError> {
        let mut reader = Reader::new(bytes);
        let mut header = Header { is_packed: true, ..Header::default() };
        let mut before = 0;
        while let Some(field) = reader.field(before)? {
            before = field.id;
            match (field.id, field.kind) {
                (1, Kind::Varint) => header.sort = reader.signed()?,
                (2, Kind::Varint) => header.unpacked = reader.signed()?,
                (3, Kind::Varint) => header.packed = reader.signed()?,
                (5 | 7, Kind::Struct) => header.inner(&mut reader, [1, 2, 0, 0])?,
                (8, Kind::Struct) => header.inner(&mut reader, [1, 4, 5, 6])?,
                (_, kind) => reader.skip_field(kind, 1)?,
            }
        }
        header.length = reader.at as u64;
        Ok(header)
    }

    /// Reads the header of one sort of page, whose fields have these numbers: how many values, their encoding, the lengths of levels.
    fn inner(
        &mut self,
        reader: &mut Reader<'_>,
        [values, encoding, definition, repetition]: [i64; 4],
    ) -> Result<(), ThriftError> {
        /// `DataPageHeaderV2.is_compressed`
        const IS_COMPRESSED: i64 = 7;
        let mut before = 0;
        while let Some(Field { id, kind }) = reader.field(before)? {
            before = id;
            match kind {
                Kind::Varint if id == values => self.n_values = reader.signed()?,
                Kind::Varint if id == encoding => self.encoding = reader.signed()?,
                Kind::Varint if id == definition || id == repetition => {
                    self.levels = self.levels.saturating_add(reader.signed()?);
                }
                Kind::Bool(is_packed) if definition > 0 && id == IS_COMPRESSED => self.is_packed = is_packed,
                kind => reader.skip_field(kind, 2)?,
            }
        }
        Ok(())
    }

    fn is_data(&self) -> bool {
        [DATA, DATA_2].contains(&self.sort)
    }

    /// Bytes as stored and as unpacked.
    fn sizes(&self) -> Result<(u64, u64), PageError> {
        let sizes = u64::try_from(self.packed).ok().zip(u64::try_from(self.unpacked).ok());
        let is_known = self.is_data() || [INDEX, DICTIONARY].contains(&self.sort);
        let is_plausible = is_known && self.n_values >= 0 && (0..=self.unpacked).contains(&self.levels);
        sizes.filter(|_| is_plausible).ok_or(PageError::Implausible)
    }

    fn check(&self, column: &ColumnChunkMetaData, packed: u64, unpacked: u64) -> Result<(), PageError> {
        let entries = if self.sort == DICTIONARY { (self.n_values as u64).saturating_mul(ENTRY_BYTES) } else { 0 };
        check_packed(packed, unpacked.saturating_add(entries))?;
        let holds_texts = matches!(column.column_type(), Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY);
        if self.is_data() && holds_texts && DELTA_TEXTS.contains(&self.encoding) {
            return Err(PageError::Form("a delta encoding of texts".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    use super::*;

    /// A header of these fields: their numbers rise by one, and each is a number.
    fn fields(numbers: &[i64]) -> Vec<u8> {
        numbers.iter().flat_map(|number| [vec![0x15], varint((number << 1 ^ number >> 63) as u64)].concat()).collect()
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    /// A page of the first version: sort, sizes, then the header of its sort with a number of values and an encoding.
    fn page(sort: i64, unpacked: i64, packed: i64, n_values: i64, encoding: i64) -> Vec<u8> {
        let skip = if sort == DICTIONARY { 0x4c } else { 0x2c };
        [fields(&[sort, unpacked, packed]), vec![skip], fields(&[n_values, encoding]), vec![0, 0]].concat()
    }

    #[test]
    fn headers_say_sizes_and_numbers() {
        let rows = [(DATA, 900, 70, 12, 0), (DICTIONARY, 5, 6, 7, 8), (DATA, i64::from(i32::MAX), 1, 1 << 40, 3)];
        for (sort, unpacked, packed, n_values, encoding) in rows {
            let bytes = page(sort, unpacked, packed, n_values, encoding);
            let header = Header::read(&[&bytes[..], b"what follows"].concat()).unwrap();
            assert_eq!((header.sort, header.unpacked, header.packed), (sort, unpacked, packed));
            assert_eq!((header.n_values, header.encoding, header.length), (n_values, encoding, bytes.len() as u64));
            assert!(header.sizes().is_ok() && header.is_packed);
        }
        // The second version: values, nulls, rows, encoding, two lengths of levels, and that nothing is packed.
        let inner = [fields(&[9, 1, 9, 0, 4, 2]), vec![0x12, 0]].concat();
        let bytes = [fields(&[DATA_2, 30, 30]), vec![0x5c], inner, vec![0]].concat();
        let header = Header::read(&bytes).unwrap();
        assert_eq!((header.n_values, header.levels, header.is_packed), (9, 6, false));
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let rows = [page(7, 1, 1, 1, 0), page(DATA, -1, 1, 1, 0), page(DATA, 1, -1, 1, 0), page(DATA, 1, 1, -1, 0)];
        for bytes in rows {
            assert!(Header::read(&bytes).unwrap().sizes().is_err(), "{bytes:?}");
        }
        for bytes in [&b""[..], &page(DATA, 1, 1, 1, 0)[..9], &[0xff; 40], &[0x1c; 100]] {
            assert!(Header::read(bytes).is_err(), "{bytes:?}");
        }
    }

    /// Pages in a file, as a column of text.
    fn checked(pages: &[Vec<u8>], codec: Compression, n_rows: u64) -> Result<(), PageError> {
        let bytes = pages.concat();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let schema = parse_message_type("message schema { optional binary x (UTF8); }").unwrap();
        let schema = SchemaDescriptor::new(Arc::new(schema));
        let column = ColumnChunkMetaData::builder(schema.column(0))
            .set_data_page_offset(0)
            .set_total_compressed_size(bytes.len() as i64)
            .set_compression(codec)
            .build()
            .unwrap();
        check(&file, &column, n_rows)
    }

    /// A page with its content, which unpacks to so many bytes.
    fn filled(sort: i64, unpacked: i64, n_values: i64, encoding: i64, content: &[u8]) -> Vec<u8> {
        [page(sort, unpacked, content.len() as i64, n_values, encoding), content.to_vec()].concat()
    }

    #[test]
    fn pages_are_held_against_rows_and_memory() {
        const PLAIN: Compression = Compression::UNCOMPRESSED;
        let zipped = |n: usize| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(&vec![0; n]).unwrap();
            encoder.finish().unwrap()
        };
        let gzip = Compression::GZIP(Default::default());
        let large = i64::from(i32::MAX);
        let rows: [(Vec<Vec<u8>>, Compression, &str); 13] = [
            (vec![filled(DATA, 9, 3, 0, &[0; 9]), filled(DATA, 9, 4, 0, &[0; 9])], PLAIN, ""),
            (
                vec![
                    filled(DICTIONARY, 9, 2, 0, &[0; 9]),
                    filled(INDEX, 9, 0, 0, &[0; 9]),
                    filled(DATA, 9, 7, 8, &[0; 9]),
                ],
                PLAIN,
                "",
            ),
            (vec![filled(DATA, 90_000, 7, 0, &zipped(90_000))], gzip, ""),
            (vec![filled(DATA, 9, 6, 0, &[0; 9])], PLAIN, "holds 6 values, but the file says that there are 7 rows"),
            (vec![], PLAIN, "holds 0 values"),
            (vec![filled(DATA, large, 7, 0, &[0; 9])], Compression::SNAPPY, "a page unpacks to more than"),
            (vec![filled(DICTIONARY, 9, large, 0, &[0; 9])], PLAIN, "a page unpacks to more than"),
            (vec![filled(DATA, 9, large, 0, &[0; 9])], PLAIN, "values, but the file says"),
            (vec![filled(DATA, 50_000, 7, 0, &zipped(90_000))], gzip, "unpacks to more than its header says"),
            (vec![filled(DATA, 9, 7, 7, &[0; 9])], PLAIN, "a delta encoding of texts"),
            (vec![filled(DATA, 9, 7, 0, &[0; 9])[..18].to_vec()], PLAIN, "what cannot be"),
            (vec![vec![0x15; 9]], PLAIN, "a page's header is cut or damaged"),
            (
                vec![filled(DATA, 9, 7, 0, &[0; 9])],
                Compression::BROTLI(Default::default()),
                "a form that is not read (BROTLI",
            ),
        ];
        for (pages, codec, expected) in rows {
            match (checked(&pages, codec, 7), expected) {
                (Ok(()), "") => {}
                (Err(error), expected) if !expected.is_empty() => {
                    assert!(error.to_string().contains(expected), "{error}\nexpected: {expected}");
                }
                (outcome, expected) => panic!("{outcome:?}\nexpected: {expected}"),
            }
        }
    }
}
