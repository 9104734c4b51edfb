//! Thrift's compact protocol, as far as Parquet's headers need it ("Thrift Compact protocol encoding" of the Thrift specification):
//! read without recursion beyond a depth, and without room for more than there are bytes.

/// Structures within structures; `parquet.thrift` itself has eight.
const DEEPEST: usize = 32;

/// Why bytes are none of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ThriftError {
    #[error("is cut or damaged")]
    Damaged,
    #[error("has more than {DEEPEST} structures within structures")]
    TooDeep,
}

/// A type of the compact protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A truth value: in the header of a field, and a byte in a list, whose kind says nothing.
    Bool(bool),
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
    fn of(code: u8) -> Result<Kind, ThriftError> {
        Ok(match code {
            1 => Kind::Bool(true),
            2 => Kind::Bool(false),
            3 => Kind::Byte,
            4..=6 => Kind::Varint,
            7 => Kind::Double,
            8 => Kind::Binary,
            9 | 10 => Kind::List,
            11 => Kind::Map,
            12 => Kind::Struct,
            _ => return Err(ThriftError::Damaged),
        })
    }
}

/// The header of a field.
pub(super) struct Field {
    pub id: i64,
    pub kind: Kind,
}

/// Bytes that are read from their beginning.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Where the next byte is.
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// The next field of a structure; none at its end.
    pub(super) fn field(&mut self, before: i64) -> Result<Option<Field>, ThriftError> {
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

    pub(super) fn skip_field(&mut self, kind: Kind, depth: usize) -> Result<(), ThriftError> {
        if matches!(kind, Kind::Bool(_)) { Ok(()) } else { self.skip(kind, depth) }
    }

    /// Passes over a value that stands by itself.
    fn skip(&mut self, kind: Kind, depth: usize) -> Result<(), ThriftError> {
        if depth > DEEPEST {
            return Err(ThriftError::TooDeep);
        }
        match kind {
            Kind::Bool(_) | Kind::Byte => self.pass(1),
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

    fn skip_map(&mut self, depth: usize) -> Result<(), ThriftError> {
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
    pub(super) fn list_header(&mut self) -> Result<(usize, Kind), ThriftError> {
        let header = self.byte()?;
        let kind = Kind::of(header & 0x0f)?;
        let length = match header >> 4 {
            15 => self.length()?,
            short => self.at_most_what_follows(short.into())?,
        };
        Ok((length, kind))
    }

    fn length(&mut self) -> Result<usize, ThriftError> {
        let length = self.varint()?;
        self.at_most_what_follows(length)
    }

    /// Every item takes a byte at least.
    fn at_most_what_follows(&self, length: u64) -> Result<usize, ThriftError> {
        let behind = self.bytes.len() - self.at;
        usize::try_from(length).ok().filter(|length| *length <= behind).ok_or(ThriftError::Damaged)
    }

    pub(super) fn signed(&mut self) -> Result<i64, ThriftError> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    fn varint(&mut self) -> Result<u64, ThriftError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ThriftError::Damaged)
    }

    fn byte(&mut self) -> Result<u8, ThriftError> {
        let byte = *self.bytes.get(self.at).ok_or(ThriftError::Damaged)?;
        self.at += 1;
        Ok(byte)
    }

    fn pass(&mut self, n: usize) -> Result<(), ThriftError> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        self.at = end.ok_or(ThriftError::Damaged)?;
        Ok(())
    }
}
