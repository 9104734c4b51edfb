//! The footer of a Parquet file, looked through before the library reads it.
//!
//! The library reads the schema by recursion, and makes room for as many items as a list says that it has: a footer of some
//! kilobytes could end the process. What is checked here is that lists are no longer than the bytes that follow, and that the
//! schema is a tree of a depth and size that features can have. The form is Thrift's compact protocol ("Thrift Compact protocol
//! encoding" of the Thrift specification); the fields are those of `parquet.thrift`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// The longest footer: that of a file of some thousand columns in hundreds of row groups.
const LONGEST: u64 = 64 << 20;
/// Structures within structures; `parquet.thrift` itself has eight.
const DEEPEST: usize = 32;
/// Groups within groups of the schema. A column of lists needs three.
const DEEPEST_SCHEMA: usize = 32;

/// `FileMetaData.schema`
const SCHEMA: i64 = 2;
/// `SchemaElement.num_children`
const N_CHILDREN: i64 = 5;

/// Why a footer is not handed to the library.
#[derive(Debug, thiserror::Error)]
pub(super) enum FooterError {
    #[error("cannot be read ({0})")]
    Io(#[from] io::Error),
    #[error("it has no footer")]
    Missing,
    #[error("its footer of {0} bytes is longer than {LONGEST}")]
    TooLong(u64),
    #[error("its footer is cut or damaged")]
    Damaged,
    #[error("its footer has more than {DEEPEST} structures within structures")]
    TooDeep,
    #[error("its schema has more than {DEEPEST_SCHEMA} groups within groups")]
    SchemaTooDeep,
    #[error("its schema declares more columns than it holds")]
    SchemaTooWide,
}

/// Looks through the footer of a file.
///
/// # Errors
/// If it is missing or cut, or is longer, deeper or wider than features need.
pub(super) fn check(file: &mut File) -> Result<(), FooterError> {
    let bytes = read(file)?;
    let mut reader = Reader { bytes: &bytes, at: 0 };
    let children = reader.file_metadata()?;
    check_schema(&children)
}

/// The footer's bytes: before the last eight, which are its length and `PAR1`.
fn read(file: &mut File) -> Result<Vec<u8>, FooterError> {
    let whole = file.metadata()?.len();
    let end = whole.checked_sub(8).ok_or(FooterError::Missing)?;
    file.seek(SeekFrom::Start(end))?;
    let mut last = [0; 8];
    file.read_exact(&mut last)?;
    let [l0, l1, l2, l3, magic @ ..] = last;
    let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    let start = end.checked_sub(length).filter(|_| magic == *b"PAR1").ok_or(FooterError::Missing)?;
    if length > LONGEST {
        return Err(FooterError::TooLong(length));
    }
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Errs where the elements of a schema, in depth-first order with the number of children of each, are no flat enough tree.
fn check_schema(children: &[i64]) -> Result<(), FooterError> {
    /// A group whose children are being counted.
    struct Open {
        left: i64,
    }
    let mut open: Vec<Open> = Vec::new();
    for (i, &n) in children.iter().enumerate() {
        let behind = (children.len() - 1 - i) as i64;
        if n > behind {
            return Err(FooterError::SchemaTooWide);
        }
        if let Some(group) = open.last_mut() {
            group.left -= 1;
        }
        if n > 0 {
            open.push(Open { left: n });
        }
        while open.last().is_some_and(|group| group.left == 0) {
            open.pop();
        }
        if open.len() > DEEPEST_SCHEMA {
            return Err(FooterError::SchemaTooDeep);
        }
    }
    if open.is_empty() { Ok(()) } else { Err(FooterError::SchemaTooWide) }
}

/// A type of the compact protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Truth values: in the header of a field, a byte in a list.
    Bool,
    Byte,
    /// Integers of 16, 32 and 64 bits.
    Varint,
    Double,
    Binary,
    List,
    Map,
    Struct,
}

impl Kind {
    fn of(code: u8) -> Result<Kind, FooterError> {
        Ok(match code {
            1 | 2 => Kind::Bool,
            3 => Kind::Byte,
            4..=6 => Kind::Varint,
            7 => Kind::Double,
            8 => Kind::Binary,
            9 | 10 => Kind::List,
            11 => Kind::Map,
            12 => Kind::Struct,
            _ => return Err(FooterError::Damaged),
        })
    }
}

/// The header of a field.
struct Field {
    id: i64,
    kind: Kind,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The number of children of each element of the schema.
    fn file_metadata(&mut self) -> Result<Vec<i64>, FooterError> {
        let mut children = Vec::new();
        let mut before = 0;
        while let Some(field) = self.field(before)? {
            before = field.id;
            match field {
                Field { id: SCHEMA, kind: Kind::List } => children = self.schema()?,
                Field { kind, .. } => self.skip_field(kind, 1)?,
            }
        }
        Ok(children)
    }

    fn schema(&mut self) -> Result<Vec<i64>, FooterError> {
        let (length, kind) = self.list_header()?;
        if kind != Kind::Struct {
            return Err(FooterError::Damaged);
        }
        (0..length).map(|_| self.schema_element()).collect()
    }

    fn schema_element(&mut self) -> Result<i64, FooterError> {
        let mut n_children = 0;
        let mut before = 0;
        while let Some(field) = self.field(before)? {
            before = field.id;
            match field {
                Field { id: N_CHILDREN, kind: Kind::Varint } => n_children = self.signed()?,
                Field { kind, .. } => self.skip_field(kind, 2)?,
            }
        }
        Ok(n_children)
    }

    /// The next field of a structure; none at its end.
    fn field(&mut self, before: i64) -> Result<Option<Field>, FooterError> {
        let header = self.byte()?;
        if header == 0 {
            return Ok(None);
        }
        let kind = Kind::of(header & 0x0f)?;
        let id = match header >> 4 {
            0 => self.signed()?,
            step => before.saturating_add(step.into()),
        };
        Ok(Some(Field { id, kind }))
    }

    fn skip_field(&mut self, kind: Kind, depth: usize) -> Result<(), FooterError> {
        if kind == Kind::Bool { Ok(()) } else { self.skip(kind, depth) }
    }

    /// Passes over a value that stands by itself.
    fn skip(&mut self, kind: Kind, depth: usize) -> Result<(), FooterError> {
        if depth > DEEPEST {
            return Err(FooterError::TooDeep);
        }
        match kind {
            Kind::Bool | Kind::Byte => self.pass(1),
            Kind::Varint => self.varint().map(drop),
            Kind::Double => self.pass(8),
            Kind::Binary => {
                let length = self.length()?;
                self.pass(length)
            }
            Kind::List => {
                let (length, kind) = self.list_header()?;
                (0..length).try_for_each(|_| self.skip(kind, depth + 1))
            }
            Kind::Map => self.skip_map(depth),
            Kind::Struct => {
                let mut before = 0;
                while let Some(Field { id, kind }) = self.field(before)? {
                    before = id;
                    self.skip_field(kind, depth + 1)?;
                }
                Ok(())
            }
        }
    }

    fn skip_map(&mut self, depth: usize) -> Result<(), FooterError> {
        let length = self.length()?;
        if length == 0 {
            return Ok(());
        }
        let kinds = self.byte()?;
        let (key, value) = (Kind::of(kinds >> 4)?, Kind::of(kinds & 0x0f)?);
        for _ in 0..length {
            self.skip(key, depth + 1)?;
            self.skip(value, depth + 1)?;
        }
        Ok(())
    }

    /// How many items a list has, and of which kind.
    fn list_header(&mut self) -> Result<(usize, Kind), FooterError> {
        let header = self.byte()?;
        let kind = Kind::of(header & 0x0f)?;
        let length = match header >> 4 {
            15 => self.length()?,
            short => self.at_most_what_follows(short.into())?,
        };
        Ok((length, kind))
    }

    fn length(&mut self) -> Result<usize, FooterError> {
        let length = self.varint()?;
        self.at_most_what_follows(length)
    }

    /// Every item takes a byte at least.
    fn at_most_what_follows(&self, length: u64) -> Result<usize, FooterError> {
        let behind = self.bytes.len() - self.at;
        usize::try_from(length).ok().filter(|length| *length <= behind).ok_or(FooterError::Damaged)
    }

    fn signed(&mut self) -> Result<i64, FooterError> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    fn varint(&mut self) -> Result<u64, FooterError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(FooterError::Damaged)
    }

    fn byte(&mut self) -> Result<u8, FooterError> {
        let byte = *self.bytes.get(self.at).ok_or(FooterError::Damaged)?;
        self.at += 1;
        Ok(byte)
    }

    fn pass(&mut self, n: usize) -> Result<(), FooterError> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        self.at = end.ok_or(FooterError::Damaged)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A file whose footer is a schema of elements with these numbers of children.
    fn file_of(children: &[u32]) -> File {
        let varint = |mut value: u32| {
            let mut bytes = Vec::new();
            while value >= 0x80 {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
            bytes
        };
        // Field 2, a list of structures.
        let mut footer = vec![0x29, 0xfc];
        footer.extend(varint(children.len() as u32));
        for n in children {
            // Field 4, the name `x`; field 5, the number of children.
            footer.extend([0x48, 1, b'x', 0x15]);
            footer.extend(varint(n << 1));
            footer.push(0);
        }
        footer.push(0);
        of_footer(&footer)
    }

    fn of_footer(footer: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"PAR1").unwrap();
        file.write_all(footer).unwrap();
        file.write_all(&(footer.len() as u32).to_le_bytes()).unwrap();
        file.write_all(b"PAR1").unwrap();
        file
    }

    #[test]
    fn a_schema_is_a_tree_of_some_depth() {
        let nested = |depth: usize| [vec![1; depth], vec![0]].concat();
        let rows: [(Vec<u32>, &str); 7] = [
            (vec![2, 0, 1, 0], ""),
            (nested(DEEPEST_SCHEMA), ""),
            (nested(DEEPEST_SCHEMA + 1), "groups within groups"),
            (nested(1_000_000), "groups within groups"),
            (vec![1 << 30], "declares more columns"),
            (vec![2, 0], "declares more columns"),
            (vec![1, 1, 1, 3, 0], "declares more columns"),
        ];
        for (children, expected) in rows {
            let outcome = check(&mut file_of(&children));
            match (outcome, expected) {
                (Ok(()), "") => {}
                (Err(error), expected) if !expected.is_empty() => {
                    assert!(error.to_string().contains(expected), "{error}\nexpected: {expected}");
                }
                (outcome, expected) => panic!("{outcome:?}\nexpected: {expected}"),
            }
        }
    }

    #[test]
    fn lists_are_no_longer_than_what_follows() {
        let deep = [vec![0x1c; 100], vec![0; 101]].concat();
        let rows: [(&[u8], &str); 7] = [
            (b"", "cut or damaged"),
            // Field 4, a list of 2^28 structures.
            (&[0x49, 0xfc, 0xff, 0xff, 0xff, 0x7f, 0], "cut or damaged"),
            // Field 1, text of 2^28 bytes.
            (&[0x18, 0xff, 0xff, 0xff, 0x7f], "cut or damaged"),
            // Field 1, a map of 2^28 bytes to bytes.
            (&[0x1b, 0xff, 0xff, 0xff, 0x7f, 0x33], "cut or damaged"),
            // A number without an end.
            (&[0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "cut or damaged"),
            (&[0x1d, 0], "cut or damaged"),
            (&deep, "structures within structures"),
        ];
        for (footer, expected) in rows {
            let message = check(&mut of_footer(footer)).unwrap_err().to_string();
            assert!(message.contains(expected), "{footer:?}: {message}");
        }
        let mut short = tempfile::tempfile().unwrap();
        short.write_all(b"PAR1").unwrap();
        assert!(matches!(check(&mut short), Err(FooterError::Missing)));
    }
}
