//! The footer of a Parquet file, looked through before the library reads it.
//!
//! The library reads the schema by recursion, and makes room for as many items as a list says that it has: a footer of some
//! kilobytes could end the process. What is checked here is that lists are no longer than the bytes that follow, and that the
//! schema is a tree of a depth and size that tables can have. The form is [`thrift`](super::thrift); the fields are those of
//! `parquet.thrift`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::thrift::{Field, Kind, Reader, ThriftError};

/// The longest footer: that of a file of some thousand columns in hundreds of row groups.
const LONGEST: u64 = 64 << 20;
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
    #[error("its footer {0}")]
    Thrift(#[from] ThriftError),
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
    let children = file_metadata(&mut Reader::new(&bytes))?;
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

/// The number of children of each element of the schema.
fn file_metadata(reader: &mut Reader<'_>) -> Result<Vec<i64>, FooterError> {
    let mut children = Vec::new();
    let mut before = 0;
    while let Some(field) = reader.field(before)? {
        before = field.id;
        match field {
            Field { id: SCHEMA, kind: Kind::List } => children = schema(reader)?,
            Field { kind, .. } => reader.skip_field(kind, 1)?,
        }
    }
    Ok(children)
}

fn schema(reader: &mut Reader<'_>) -> Result<Vec<i64>, FooterError> {
    let (length, kind) = reader.list_header()?;
    if kind != Kind::Struct {
        return Err(ThriftError::Damaged.into());
    }
    (0..length).map(|_| schema_element(reader)).collect()
}

fn schema_element(reader: &mut Reader<'_>) -> Result<i64, FooterError> {
    let mut n_children = 0;
    let mut before = 0;
    while let Some(field) = reader.field(before)? {
        before = field.id;
        match field {
            Field { id: N_CHILDREN, kind: Kind::Varint } => n_children = reader.signed()?,
            Field { kind, .. } => reader.skip_field(kind, 2)?,
        }
    }
    Ok(n_children)
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
