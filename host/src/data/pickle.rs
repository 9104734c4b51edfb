//! Python pickles as plain data: numbers, texts, lists, tuples and dictionaries, and the arrays of NumPy.
//!
//! A pickle is a program for a small stack machine. This reader runs the instructions that build data and none that call
//! anything: where a pickle would call a function, [`Node::Object`] keeps the function's name and the state that follows.
//! Values lie in one list and name each other by position, so neither reading nor dropping a deep pickle uses the stack, and a
//! value that is used many times is stored once. Texts and bytes are borrowed from the file.
//!
//! The instructions are those of protocols 0 to 5, as `pickletools` documents them. What refers to something outside of the
//! pickle (persistent ids, the extension registry, buffers out of band) is refused.

use std::borrow::Cow;
use std::collections::HashMap;

/// Values in one pickle. The largest that data sets need are the names of some million images.
const MOST_NODES: usize = 1 << 24;
/// Digits of an integer in text. 64 bits need 20; what is longer is kept as [`Node::LargeInteger`].
const MOST_DIGITS: usize = 20;

/// The position of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(u32);

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'a> {
    None,
    Bool(bool),
    Integer(i64),
    /// An integer beyond 64 bits; its digits are not kept.
    LargeInteger,
    Float(f64),
    /// Bytes, or a string of Python 2.
    Bytes(&'a [u8]),
    Text(Cow<'a, str>),
    List(Vec<NodeId>),
    Tuple(Vec<NodeId>),
    Set(Vec<NodeId>),
    Dict(Vec<Entry>),
    /// The name of a class or function.
    Global {
        module: Cow<'a, str>,
        name: Cow<'a, str>,
    },
    /// What a call would have made.
    Object {
        /// What would have been called.
        callable: NodeId,
        /// What it would have been called with.
        arguments: NodeId,
        /// What the object would have been filled with.
        state: Option<NodeId>,
    },
}

/// A key of a dictionary with its value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Entry {
    pub key: NodeId,
    pub value: NodeId,
}

/// Why bytes are no pickle that is read here.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(super) enum PickleError {
    #[error("it ends within an instruction")]
    EndsEarly,
    #[error("byte {at}: the instruction {code:#04x} is unknown")]
    Unknown { at: usize, code: u8 },
    #[error("byte {at}: {what} would bring in something from outside of the file")]
    Outside { at: usize, what: &'static str },
    #[error("byte {at}: the instruction {code:#04x} does not find what it needs")]
    Misplaced { at: usize, code: u8 },
    #[error("byte {at}: {what} is not what its instruction says")]
    Malformed { at: usize, what: &'static str },
    #[error("it holds more than {MOST_NODES} values")]
    TooMany,
}

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    root: NodeId,
}

impl<'a> Pickle<'a> {
    /// Reads the first pickle in `bytes`; what follows its end is not looked at.
    ///
    /// Time and memory are linear in the number of bytes.
    ///
    /// # Errors
    /// If it is cut, holds an unknown or misplaced instruction, refers to something outside, or has more than 2^24 values.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Pickle<'a>, PickleError> {
        let mut machine =
            Machine { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        let root = machine.run()?;
        Ok(Pickle { nodes: machine.nodes, root })
    }

    /// The value that the pickle stands for.
    pub(super) fn root(&self) -> &Node<'a> {
        self.node(self.root)
    }

    /// The value at a position.
    pub(super) fn node(&self, id: NodeId) -> &Node<'a> {
        &self.nodes[id.0 as usize]
    }

    /// The value under a key of the root, if that is a dictionary. As in Python, the last of equal keys counts.
    pub(super) fn get(&self, key: &str) -> Option<&Node<'a>> {
        let Node::Dict(entries) = self.root() else { return None };
        let entry = entries.iter().rev().find(|entry| self.node(entry.key).is_text(key))?;
        Some(self.node(entry.value))
    }

    /// The state of a NumPy array: `(version, shape, dtype, is_fortran, data)`.
    pub(super) fn array(&self, node: &Node<'a>) -> Option<Array<'_, 'a>> {
        let Node::Object { callable, state: Some(state), .. } = node else { return None };
        let Node::Global { module, name } = self.node(*callable) else { return None };
        let is_numpy = matches!(&**module, "numpy.core.multiarray" | "numpy._core.multiarray");
        let Node::Tuple(parts) = self.node(*state) else { return None };
        let &[_version, shape, _dtype, is_fortran, data] = &parts[..] else { return None };
        let Node::Tuple(axes) = self.node(shape) else { return None };
        let axes = axes.iter().map(|axis| self.node(*axis).as_axis()).collect::<Option<Vec<usize>>>()?;
        let is_whole = is_numpy && name == "_reconstruct" && *self.node(is_fortran) == Node::Bool(false);
        is_whole.then(|| Array { axes, data: self.node(data) })
    }
}

/// A NumPy array in C order.
#[derive(Debug, PartialEq)]
pub(super) struct Array<'p, 'a> {
    pub axes: Vec<usize>,
    /// Bytes, or a list of Python objects.
    pub data: &'p Node<'a>,
}

impl Node<'_> {
    /// A text of Python 2 or 3.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Node::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    fn is_text(&self, wanted: &str) -> bool {
        self.as_text() == Some(wanted)
    }

    fn as_axis(&self) -> Option<usize> {
        match self {
            Node::Integer(length) => usize::try_from(*length).ok(),
            _ => None,
        }
    }
}

/// The stack machine.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node<'a>>,
    stack: Vec<NodeId>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u64, NodeId>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<NodeId, PickleError> {
        loop {
            let at = self.at;
            let code = self.byte()?;
            if code == b'.' {
                return self.pop(at, code);
            }
            self.instruction(at, code)?;
        }
    }

    fn instruction(&mut self, at: usize, code: u8) -> Result<(), PickleError> {
        match code {
            // PROTO and FRAME
            0x80 => self.take(1).map(drop),
            0x95 => self.take(8).map(drop),
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'I' | b'L' | b'F' => self.number_in_text(at, code),
            b'K' | b'M' | b'J' | 0x8a | 0x8b | b'G' => self.binary_number(at, code),
            b'S' | b'U' | b'T' | b'C' | b'B' | 0x8e | 0x96 => self.bytes(at, code),
            b'V' | 0x8c | b'X' | 0x8d => self.text(at, code),
            b'(' | b'0' | b'1' | b'2' => self.move_on_the_stack(at, code),
            b']' => self.push(Node::List(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            0x8f => self.push(Node::Set(Vec::new())),
            b'l' | b't' | b'd' | 0x91 => self.collect(at, code),
            0x85 => self.short_tuple(at, code, 1),
            0x86 => self.short_tuple(at, code, 2),
            0x87 => self.short_tuple(at, code, 3),
            b'a' | b'e' | b's' | b'u' | 0x90 => self.extend(at, code),
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memory(at, code),
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'b' | b'i' | b'o' => self.object(at, code),
            0x82..=0x84 => Err(PickleError::Outside { at, what: "a class of the extension registry" }),
            b'P' | b'Q' => Err(PickleError::Outside { at, what: "a persistent id" }),
            0x97 | 0x98 => Err(PickleError::Outside { at, what: "a buffer out of band" }),
            _ => Err(PickleError::Unknown { at, code }),
        }
    }

    /// INT (and the booleans of protocol 1), LONG, FLOAT: a line of text.
    fn number_in_text(&mut self, at: usize, code: u8) -> Result<(), PickleError> {
        let malformed = PickleError::Malformed { at, what: "a number" };
        let line = self.line()?;
        let line = if code == b'L' { line.strip_suffix(b"L").unwrap_or(line) } else { line };
        if code == b'F' {
            let number = std::str::from_utf8(line).ok().and_then(|text| text.trim().parse().ok());
            return self.push(Node::Float(number.ok_or(malformed)?));
        }
        match (code, line) {
            (b'I', b"00") => return self.push(Node::Bool(false)),
            (b'I', b"01") => return self.push(Node::Bool(true)),
            _ => {}
        }
        let digits = line.strip_prefix(b"-").unwrap_or(line);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(malformed);
        }
        if digits.len() > MOST_DIGITS {
            return self.push(Node::LargeInteger);
        }
        let number = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
        self.push(number.map_or(Node::LargeInteger, Node::Integer))
    }

    /// BININT1, BININT2, BININT, LONG1, LONG4, BINFLOAT.
    fn binary_number(&mut self, at: usize, code: u8) -> Result<(), PickleError> {
        let node = match code {
            b'K' => Node::Integer(self.byte()?.into()),
            b'M' => Node::Integer(u16::from_le_bytes(self.fixed()?).into()),
            b'J' => Node::Integer(i32::from_le_bytes(self.fixed()?).into()),
            0x8a => {
                let length = self.byte()?;
                integer_of(self.take(length.into())?)
            }
            0x8b => {
                let length = self.signed_length(at)?;
                integer_of(self.take(length)?)
            }
            _ => Node::Float(f64::from_be_bytes(self.fixed()?)),
        };
        self.push(node)
    }

    /// STRING, SHORT_BINSTRING, BINSTRING, SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8.
    fn bytes(&mut self, at: usize, code: u8) -> Result<(), PickleError> {
        let length = match code {
            b'S' => {
                let line = self.line()?;
                let quoted = unquoted(line).ok_or(PickleError::Malformed { at, what: "a quoted string" })?;
                return self.push(Node::Bytes(quoted));
            }
            b'U' | b'C' => self.byte()?.into(),
            b'T' => self.signed_length(at)?,
            b'B' => u32::from_le_bytes(self.fixed()?) as usize,
            _ => self.long_length()?,
        };
        let bytes = self.take(length)?;
        self.push(Node::Bytes(bytes))
    }

    /// UNICODE, SHORT_BINUNICODE, BINUNICODE, BINUNICODE8.
    fn text(&mut self, at: usize, code: u8) -> Result<(), PickleError> {
        let length = match code {
            b'V' => {
                let line = self.line()?;
                return self.push(Node::Text(unescaped(line)));
            }
            0x8c => self.byte()?.into(),
            b'X' => u32::from_le_bytes(self.fixed()?) as usize,
            _ => self.long_length()?,
        };
        let text = std::str::from_utf8(self.take(length)?);
        let text = text.map_err(|_| PickleError::Malformed { at, what: "a text in UTF-8" })?;
        self.push(Node::Text(Cow::Borrowed(text)))
    }

    /// MARK, POP, POP_MARK, DUP.
    fn move_on_the_stack(&mut self, at: usize, code: u8) -> Result<(), PickleError> {
        match code {
            b'(' => self.marks.push(self.stack.len()),
            // POP takes a mark that lies on top.
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop(at, code)?),
            b'1' => drop(self.pop_mark(at, code)?),
            _ => {
                let top = self.top(at, code)?;
                self.stack.push(top);
            }
        }
        Ok(())
    }

    /// LIST, TUPLE, DICT, FROZENSET: what lies above the mark.
    fn collect(&mut self, at: usize, code: u8) -> Result<(), PickleError> {
        let items = self.pop_mark(at, code)?;
        let node = match code {
            b'l' => Node::List(items),
            b't' => Node::Tuple(items),
            b'd' => Node::Dict(entries(&items).ok_or(PickleError::Misplaced { at, code })?),
            _ => Node::Set(items),
        };
        self.push(node)
    }

    fn short_tuple(&mut self, at: usize, code: u8, length: usize) -> Result<(), PickleError> {
        let first = self.stack.len().checked_sub(length).filter(|first| *first >= self.floor());
        let items = self.stack.split_off(first.ok_or(PickleError::Misplaced { at, code })?);
        self.push(Node::Tuple(items))
    }

    /// APPEND, APPENDS, SETITEM, SETITEMS, ADDITEMS.
    fn extend(&mut self, at: usize, code: u8) -> Result<(), PickleError> {
        let items = match code {
            b'a' => vec![self.pop(at, code)?],
            b's' => {
                let value = self.pop(at, code)?;
                vec![self.pop(at, code)?, value]
            }
            _ => self.pop_mark(at, code)?,
        };
        let misplaced = PickleError::Misplaced { at, code };
        let target = self.top(at, code)?;
        match (&mut self.nodes[target.0 as usize], code) {
            (Node::List(list), b'a' | b'e') => list.extend(items),
            (Node::Set(set), 0x90) => set.extend(items),
            (Node::Dict(dict), b's' | b'u') => dict.extend(entries(&items).ok_or(misplaced)?),
            // Objects that are lists or dictionaries beside their state: what they hold is not looked at.
            (Node::Object { .. }, _) => {}
            _ => return Err(misplaced),
        }
        Ok(())
    }

    /// PUT, BINPUT, LONG_BINPUT, MEMOIZE, GET, BINGET, LONG_BINGET.
    fn memory(&mut self, at: usize, code: u8) -> Result<(), PickleError> {
        let key = match code {
            b'p' | b'g' => {
                let text = std::str::from_utf8(self.line()?).ok().and_then(|text| text.parse().ok());
                text.ok_or(PickleError::Malformed { at, what: "a place in memory" })?
            }
            b'q' | b'h' => self.byte()?.into(),
            b'r' | b'j' => u32::from_le_bytes(self.fixed()?).into(),
            _ => self.memo.len() as u64,
        };
        if matches!(code, b'g' | b'h' | b'j') {
            let known = *self.memo.get(&key).ok_or(PickleError::Misplaced { at, code })?;
            self.stack.push(known);
        } else {
            let top = self.top(at, code)?;
            self.memo.insert(key, top);
        }
        Ok(())
    }

    /// GLOBAL, STACK_GLOBAL, REDUCE, NEWOBJ, NEWOBJ_EX, BUILD, INST, OBJ. Nothing is called.
    fn object(&mut self, at: usize, code: u8) -> Result<(), PickleError> {
        match code {
            b'c' => {
                let global = self.global()?;
                self.push(global)
            }
            0x93 => {
                let (name, module) = (self.pop(at, code)?, self.pop(at, code)?);
                let text = |id: NodeId| match &self.nodes[id.0 as usize] {
                    Node::Text(text) => Ok(text.clone()),
                    _ => Err(PickleError::Misplaced { at, code }),
                };
                let global = Node::Global { module: text(module)?, name: text(name)? };
                self.push(global)
            }
            b'R' | 0x81 => {
                let arguments = self.pop(at, code)?;
                let callable = self.pop(at, code)?;
                self.push(Node::Object { callable, arguments, state: None })
            }
            0x92 => {
                let _keywords = self.pop(at, code)?;
                let arguments = self.pop(at, code)?;
                let callable = self.pop(at, code)?;
                self.push(Node::Object { callable, arguments, state: None })
            }
            b'b' => {
                let filling = self.pop(at, code)?;
                let object = self.top(at, code)?;
                match &mut self.nodes[object.0 as usize] {
                    Node::Object { state, .. } => *state = Some(filling),
                    _ => return Err(PickleError::Misplaced { at, code }),
                }
                Ok(())
            }
            b'i' => {
                let global = self.global()?;
                let items = self.pop_mark(at, code)?;
                let callable = self.store(global)?;
                self.object_of(callable, items)
            }
            _ => {
                let mut items = self.pop_mark(at, code)?;
                if items.is_empty() {
                    return Err(PickleError::Misplaced { at, code });
                }
                let callable = items.remove(0);
                self.object_of(callable, items)
            }
        }
    }

    fn object_of(&mut self, callable: NodeId, arguments: Vec<NodeId>) -> Result<(), PickleError> {
        let arguments = self.store(Node::Tuple(arguments))?;
        self.push(Node::Object { callable, arguments, state: None })
    }

    /// Two lines: a module and a name in it.
    fn global(&mut self) -> Result<Node<'a>, PickleError> {
        let module = String::from_utf8_lossy(self.line()?);
        let name = String::from_utf8_lossy(self.line()?);
        Ok(Node::Global { module, name })
    }

    fn store(&mut self, node: Node<'a>) -> Result<NodeId, PickleError> {
        if self.nodes.len() >= MOST_NODES {
            return Err(PickleError::TooMany);
        }
        self.nodes.push(node);
        Ok(NodeId((self.nodes.len() - 1) as u32))
    }

    fn push(&mut self, node: Node<'a>) -> Result<(), PickleError> {
        let id = self.store(node)?;
        self.stack.push(id);
        Ok(())
    }

    /// Below this height nothing may be taken from the stack.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self, at: usize, code: u8) -> Result<NodeId, PickleError> {
        match self.stack.last() {
            Some(top) if self.stack.len() > self.floor() => Ok(*top),
            _ => Err(PickleError::Misplaced { at, code }),
        }
    }

    fn pop(&mut self, at: usize, code: u8) -> Result<NodeId, PickleError> {
        let top = self.top(at, code)?;
        self.stack.pop();
        Ok(top)
    }

    /// What lies above the last mark, and the mark.
    fn pop_mark(&mut self, at: usize, code: u8) -> Result<Vec<NodeId>, PickleError> {
        let mark = self.marks.pop().ok_or(PickleError::Misplaced { at, code })?;
        Ok(self.stack.split_off(mark))
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        self.fixed().map(|[byte]| byte)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let bytes = self.bytes[self.at..].first_chunk().ok_or(PickleError::EndsEarly)?;
        self.at += N;
        Ok(*bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], PickleError> {
        let bytes = self.bytes[self.at..].get(..length).ok_or(PickleError::EndsEarly)?;
        self.at += length;
        Ok(bytes)
    }

    /// Up to the next line feed, which is passed over.
    fn line(&mut self) -> Result<&'a [u8], PickleError> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or(PickleError::EndsEarly)?;
        self.at += length + 1;
        Ok(&rest[..length])
    }

    fn signed_length(&mut self, at: usize) -> Result<usize, PickleError> {
        let length = i32::from_le_bytes(self.fixed()?);
        usize::try_from(length).map_err(|_| PickleError::Malformed { at, what: "a length" })
    }

    fn long_length(&mut self) -> Result<usize, PickleError> {
        // A length beyond the address space is beyond the file.
        usize::try_from(u64::from_le_bytes(self.fixed()?)).map_err(|_| PickleError::EndsEarly)
    }
}

/// Pairs of keys and values; none if one is left over.
fn entries(items: &[NodeId]) -> Option<Vec<Entry>> {
    let (pairs, rest) = items.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[key, value]| Entry { key: *key, value: *value }).collect())
}

/// A little-endian integer in two's complement.
fn integer_of(bytes: &[u8]) -> Node<'static> {
    let is_negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
    let filling = if is_negative { 0xff } else { 0 };
    let (low, high) = bytes.split_at(bytes.len().min(8));
    let mut wide = [filling; 8];
    wide[..low.len()].copy_from_slice(low);
    let integer = i64::from_le_bytes(wide);
    // Bytes beyond the eighth may only repeat the sign.
    let fits = high.iter().all(|byte| *byte == filling) && (integer < 0) == is_negative;
    if fits { Node::Integer(integer) } else { Node::LargeInteger }
}

/// The content of a quoted string. What is escaped in it stays as it is: keys and names of data sets are plain.
fn unquoted(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii_end();
    match line {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => Some(inner),
        _ => None,
    }
}

/// A text of protocol 0: Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
fn unescaped(line: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(line)
        && text.is_ascii()
        && !text.contains('\\')
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::new();
    let mut rest = line;
    while let [first, ..] = rest {
        let next = escape(rest).unwrap_or(Character { value: char::from(*first), length: 1 });
        text.push(next.value);
        rest = &rest[next.length..];
    }
    Cow::Owned(text)
}

/// A character and how many bytes stand for it.
struct Character {
    value: char,
    length: usize,
}

/// The character at the beginning of a text, if it is escaped.
fn escape(text: &[u8]) -> Option<Character> {
    let length = match text {
        [b'\\', b'u', ..] => 6,
        [b'\\', b'U', ..] => 10,
        _ => return None,
    };
    let digits = std::str::from_utf8(text.get(2..length)?).ok()?;
    let code = u32::from_str_radix(digits, 16).ok()?;
    Some(Character { value: char::from_u32(code)?, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node<'a>(pickle: &'a Pickle<'a>, position: usize) -> &'a Node<'a> {
        match pickle.root() {
            Node::List(items) | Node::Tuple(items) => pickle.node(items[position]),
            other => panic!("{other:?} holds nothing"),
        }
    }

    /// `pickle.dumps(VALUE, PROTOCOL)` of Python 3.11 for `{"a": [1, -2, 300, 70000, 2**40, 2**70, 1.5, None, True]}`.
    #[test]
    fn every_protocol_of_python_gives_the_same_values() {
        let rows: [&[u8]; 4] = [
            b"(dp0\nVa\np1\n(lp2\nI1\naI-2\naI300\naI70000\naL1099511627776L\naL1180591620717411303424L\naF1.5\naNaI01\nas.",
            b"}q\x00X\x01\0\0\0aq\x01]q\x02(K\x01J\xfe\xff\xff\xffM\x2c\x01J\x70\x11\x01\0L1099511627776L\n\
              L1180591620717411303424L\nG?\xf8\0\0\0\0\0\0NI01\nes.",
            b"\x80\x02}q\x00X\x01\0\0\0aq\x01]q\x02(K\x01J\xfe\xff\xff\xffM\x2c\x01J\x70\x11\x01\0\x8a\x06\0\0\0\0\0\x01\
              \x8a\x09\0\0\0\0\0\0\0\0\x40G?\xf8\0\0\0\0\0\0N\x88es.",
            b"\x80\x05\x95\x31\0\0\0\0\0\0\0}\x94\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\xffM\x2c\x01J\x70\x11\x01\0\
              \x8a\x06\0\0\0\0\0\x01\x8a\x09\0\0\0\0\0\0\0\0\x40G?\xf8\0\0\0\0\0\0N\x88es.",
        ];
        let expected = [
            Node::Integer(1),
            Node::Integer(-2),
            Node::Integer(300),
            Node::Integer(70_000),
            Node::Integer(1 << 40),
            Node::LargeInteger,
            Node::Float(1.5),
            Node::None,
            Node::Bool(true),
        ];
        for bytes in rows {
            let pickle = Pickle::read(bytes).unwrap();
            let Some(Node::List(items)) = pickle.get("a") else { panic!("{pickle:?}") };
            let items: Vec<&Node> = items.iter().map(|id| pickle.node(*id)).collect();
            assert_eq!(items, expected.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn texts_of_every_form_are_read() {
        let rows: [(&[u8], &str); 7] = [
            (b"(S'ab'\nl.", "ab"),
            (b"(S\"ab\"\nl.", "ab"),
            (b"(U\x02abl.", "ab"),
            (b"(T\x02\0\0\0abl.", "ab"),
            (b"(V\\u00e4\\U0001f600\\x\xe4\nl.", "\u{e4}\u{1f600}\\x\u{e4}"),
            (b"(\x8c\x02\xc3\xa4l.", "\u{e4}"),
            (b"\x80\x04(\x8d\x02\0\0\0\0\0\0\0abl.", "ab"),
        ];
        for (bytes, expected) in rows {
            let pickle = Pickle::read(bytes).unwrap();
            assert_eq!(node(&pickle, 0).as_text(), Some(expected));
        }
    }

    #[test]
    fn a_call_is_kept_and_not_made() {
        let pickle = Pickle::read(b"cos\nsystem\n(S'touch ran'\ntR.").unwrap();
        let Node::Object { callable, state: None, .. } = pickle.root() else { panic!("{pickle:?}") };
        assert_eq!(*pickle.node(*callable), Node::Global { module: "os".into(), name: "system".into() });
        // The state of an object that is no array of NumPy's is no array.
        let bytes = b"cevil\n_reconstruct\n)R(K\x01K\x02\x85NI00\n]tb.";
        let pickle = Pickle::read(bytes).unwrap();
        assert_eq!(pickle.array(pickle.root()), None);
        let bytes = b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x02\x85NI00\n]tb.";
        let pickle = Pickle::read(bytes).unwrap();
        assert_eq!(pickle.array(pickle.root()).map(|array| array.axes), Some(vec![2]));
    }

    #[test]
    fn depth_and_repetition_cost_no_more_than_their_bytes() {
        const DEEP: usize = 1_000_000;
        let nested = |open: &[u8], close: &[u8]| [open.repeat(DEEP), close.repeat(DEEP - 1), b".".to_vec()].concat();
        let mut laughs = b"]q\x00K\x01a".to_vec();
        for level in 1..=12u8 {
            laughs.extend([b"]q", [level].as_slice(), b"(", &[b'h', level - 1].repeat(10), b"e"].concat());
        }
        laughs.push(b'.');
        let rows = [
            nested(b"]", b"a"),
            [b"K\x01".to_vec(), b"\x85".repeat(DEEP), b".".to_vec()].concat(),
            [b"}K\x01".repeat(DEEP), b"}".to_vec(), b"s".repeat(DEEP), b".".to_vec()].concat(),
            [b"(".repeat(DEEP), b"l".repeat(DEEP), b".".to_vec()].concat(),
            laughs,
            b"]q\x00h\x00a.".to_vec(),
            [b"L".to_vec(), b"9".repeat(3 * DEEP), b"L\n.".to_vec()].concat(),
        ];
        for bytes in rows {
            let pickle = Pickle::read(&bytes).unwrap();
            assert!(pickle.nodes.len() <= bytes.len());
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_place() {
        let rows: [(&[u8], &str); 14] = [
            (b"", "ends within"),
            (b"]", "ends within"),
            (b"U\x09abc.", "ends within"),
            (b"\x8b\xff\xff\xff\x7f.", "ends within"),
            (b"\x8d\0\0\0\0\0\0\0\x10.", "ends within"),
            (b"T\xff\xff\xff\xff.", "byte 0: a length"),
            (b"not a pickle", "0x6e is unknown"),
            (b"Iabc\n.", "byte 0: a number"),
            (b"X\x01\0\0\0\xff.", "a text in UTF-8"),
            (b".", "byte 0: the instruction 0x2e does not find"),
            (b"K\x01(0a.", "does not find"),
            (b"h\x07.", "byte 0: the instruction 0x68 does not find"),
            (b"Pfile\n.", "a persistent id would bring in something"),
            (b"\x82\x01.", "the extension registry"),
        ];
        for (bytes, expected) in rows {
            let message = Pickle::read(bytes).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}\nexpected: {expected}");
        }
        let many = vec![b'N'; MOST_NODES + 1];
        assert_eq!(Pickle::read(&many).unwrap_err(), PickleError::TooMany);
    }
}
