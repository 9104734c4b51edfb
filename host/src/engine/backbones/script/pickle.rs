//! The structure of a network, which is a pickle: only what builds numbers, texts, lists, tensors and objects of the
//! archive's own classes.
//!
//! libtorch's reader executes a few instructions of a pickle and calls nothing of Python's. What it does know beside
//! those here are classes that are written in C++. And it takes the length of a tensor's memory as the pickle has it, so that
//! is held against the bytes that are there.

/// No network is nested deeper: what is nested is taken apart by functions that call themselves.
const DEEPEST: u32 = 200;

/// The memory of tensors by the kind of their numbers, and the bytes of each.
const STORAGES: [(&str, u64); 10] = [
    ("BFloat16Storage", 2),
    ("BoolStorage", 1),
    ("ByteStorage", 1),
    ("CharStorage", 1),
    ("DoubleStorage", 8),
    ("FloatStorage", 4),
    ("HalfStorage", 2),
    ("IntStorage", 4),
    ("LongStorage", 8),
    ("ShortStorage", 2),
];

/// Names outside of the archive that a structure may have beside those: what makes tensors and lists.
const NAMES: [(&str, &[&str]); 4] = [
    ("collections", &["OrderedDict"]),
    ("torch", &["device"]),
    ("torch._utils", &["_rebuild_parameter", "_rebuild_tensor_v2"]),
    (
        "torch.jit._pickle",
        &["build_boollist", "build_doublelist", "build_intlist", "build_tensorlist", "restore_type_tag"],
    ),
];

/// A value while the pickle is read.
#[derive(Clone, Copy)]
enum Item {
    Mark,
    /// A value by its number; one that was fetched again is not added to any more.
    Value {
        number: usize,
        fetched: bool,
    },
}

/// What a value is, as far as it has to be known.
#[derive(Clone)]
enum Content<'a> {
    Other,
    Text(&'a [u8]),
    Number(u64),
    /// A kind of memory, by the bytes of a number.
    Storage(u64),
    /// The numbers of a few values.
    Tuple(Vec<usize>),
}

/// What is known of a value.
struct Known<'a> {
    content: Content<'a>,
    depth: u32,
    /// Whether something can still be put into it, itself among others.
    is_open: bool,
}

/// Errs with what is wrong unless a pickle is only such a structure; `length` gives the bytes that are there under a tensor's key.
pub fn check(bytes: &[u8], length: &dyn Fn(&str) -> Option<u64>) -> Result<(), String> {
    let mut reader = Reader { bytes, length, at: 0, stack: Vec::new(), values: Vec::new(), memo: Vec::new() };
    while reader.step()? {}
    if reader.at == bytes.len() { Ok(()) } else { Err("has bytes behind its end".to_owned()) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    length: &'a dyn Fn(&str) -> Option<u64>,
    at: usize,
    stack: Vec<Item>,
    values: Vec<Known<'a>>,
    memo: Vec<usize>,
}

impl<'a> Reader<'a> {
    /// Follow one instruction; false at the end.
    fn step(&mut self) -> Result<bool, String> {
        let instruction = self.take(1)?[0];
        match instruction {
            0x80 => _ = self.take(1)?,
            b'.' => return Ok(false),
            b'(' => self.stack.push(Item::Mark),
            0x88 | 0x89 | b'N' | b')' => self.push(0)?,
            b']' | b'}' => self.push_open(0)?,
            b'K' => self.constant(1)?,
            b'M' => self.constant(2)?,
            b'J' => self.constant(4)?,
            b'G' => {
                self.take(8)?;
                self.push(0)?;
            }
            0x8a => {
                let length = self.take(1)?[0];
                self.constant(usize::from(length))?;
            }
            b'X' => {
                let length = self.number(4)?;
                let text = self.take(length)?;
                self.push_content(0, Content::Text(text))?;
            }
            b'c' => self.name()?,
            b'q' => self.put(1)?,
            b'r' => self.put(4)?,
            b'h' => self.get(1)?,
            b'j' => self.get(4)?,
            b't' => {
                let items = self.items_above_mark();
                let depth = self.above_mark()?;
                self.push_content(depth + 1, items)?;
            }
            0x85..=0x87 => {
                let depth = self.pop_many(usize::from(instruction - 0x84))?;
                self.push(depth + 1)?;
            }
            // A list of two, a dictionary of two, and the same of all that stands above the mark.
            b'a' => self.add(1)?,
            b's' => self.add(2)?,
            b'e' | b'u' => {
                let depth = self.above_mark()?;
                self.deepen(depth)?;
            }
            // An object, what builds a value of arguments, and the state of an object.
            0x81 | b'R' => {
                let depth = self.pop_many(2)?;
                self.push_open(depth + 1)?;
            }
            b'b' => self.add(1)?,
            b'Q' => self.storage()?,
            other => return Err(format!("has the instruction {other:#04x}, which is not on the list")),
        }
        Ok(true)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length);
        let bytes = end.and_then(|end| self.bytes.get(self.at..end)).ok_or("ends too early")?;
        self.at += length;
        Ok(bytes)
    }

    fn number(&mut self, length: usize) -> Result<usize, String> {
        let bytes = self.take(length)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("ends too early")?;
        let line = &self.take(length + 1)?[..length];
        std::str::from_utf8(line).map_err(|_| "has a name that is no text".to_owned())
    }

    /// A class, or a function that libtorch knows.
    fn name(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        if let Some((_, bytes)) = STORAGES.iter().find(|(known, _)| module == "torch" && *known == name) {
            return self.push_content(0, Content::Storage(*bytes));
        }
        let listed = NAMES.iter().any(|(known, names)| *known == module && names.contains(&name));
        let own = module == "__torch__" || module.starts_with("__torch__.");
        let foreign = format!("{module}.{name}").starts_with("__torch__.torch.classes");
        if !listed && (!own || foreign) {
            return Err(format!(
                "makes a `{}.{}`, which is not on the list",
                module.escape_default(),
                name.escape_default()
            ));
        }
        self.push(0)
    }

    fn constant(&mut self, length: usize) -> Result<(), String> {
        let bytes = self.take(length)?;
        // What is longer or below zero is no length of anything.
        let is_plain = length <= 8 && (length < 4 || bytes.last().is_some_and(|byte| *byte < 0x80));
        let number = bytes.iter().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        self.push_content(0, if is_plain { Content::Number(number) } else { Content::Other })
    }

    /// What stands above the last mark, if it is little.
    fn items_above_mark(&self) -> Content<'a> {
        let above = self.stack.iter().rev().take(8).map_while(|item| match item {
            Item::Value { number, .. } => Some(*number),
            Item::Mark => None,
        });
        let mut items: Vec<usize> = above.collect();
        items.reverse();
        if items.len() < 8 { Content::Tuple(items) } else { Content::Other }
    }

    /// The memory of a tensor: as many bytes as its numbers take must be there.
    fn storage(&mut self) -> Result<(), String> {
        let Some(Item::Value { number, .. }) = self.stack.last() else { return Err(MISSING.to_owned()) };
        let content = |number: &usize| &self.values[*number].content;
        let Content::Tuple(items) = content(number) else { return Err("has memory without a description".to_owned()) };
        let described: Vec<&Content<'a>> = items.iter().map(content).collect();
        let [
            Content::Text(b"storage"),
            Content::Storage(size),
            Content::Text(key),
            Content::Text(_),
            Content::Number(count),
        ] = described[..]
        else {
            return Err("has memory without a description".to_owned());
        };
        let key = std::str::from_utf8(key).map_err(|_| "has a name that is no text")?;
        let there = (self.length)(key).or((*count == 0).then_some(0));
        if there.is_none() || there != count.checked_mul(*size) {
            let key = key.escape_default();
            return Err(format!("has a tensor of {count} numbers, for which `{key}` does not have the bytes"));
        }
        let depth = self.pop_many(1)?;
        self.push(depth + 1)
    }

    fn push(&mut self, depth: u32) -> Result<(), String> {
        self.push_content(depth, Content::Other)
    }

    /// A list, a dictionary or an object, to which more is added.
    fn push_open(&mut self, depth: u32) -> Result<(), String> {
        self.push(depth)?;
        self.values.last_mut().into_iter().for_each(|value| value.is_open = true);
        Ok(())
    }

    fn push_content(&mut self, depth: u32, content: Content<'a>) -> Result<(), String> {
        self.values.push(Known { content, depth: shallow(depth)?, is_open: false });
        self.stack.push(Item::Value { number: self.values.len() - 1, fetched: false });
        Ok(())
    }

    /// The depth of the value on the stack, which is taken away; none for a mark.
    fn pop_item(&mut self) -> Result<Option<u32>, String> {
        match self.stack.pop() {
            Some(Item::Value { number, fetched }) => {
                self.values[number].is_open &= fetched;
                Ok(Some(self.values[number].depth))
            }
            Some(Item::Mark) => Ok(None),
            None => Err(MISSING.to_owned()),
        }
    }

    /// Take so many values; the depth of the deepest.
    fn pop_many(&mut self, count: usize) -> Result<u32, String> {
        let mut deepest = 0;
        for _ in 0..count {
            deepest = deepest.max(self.pop_item()?.ok_or(MISSING)?);
        }
        Ok(deepest)
    }

    /// Take all values above the last mark; the depth of the deepest.
    fn above_mark(&mut self) -> Result<u32, String> {
        let mut deepest = 0;
        while let Some(depth) = self.pop_item()? {
            deepest = deepest.max(depth);
        }
        Ok(deepest)
    }

    /// Put the last values into the one below them.
    fn add(&mut self, count: usize) -> Result<(), String> {
        let depth = self.pop_many(count)?;
        self.deepen(depth)
    }

    fn deepen(&mut self, inner: u32) -> Result<(), String> {
        match self.stack.last() {
            Some(Item::Value { number, fetched: false }) if self.values[*number].is_open => {
                let value = &mut self.values[*number];
                value.depth = shallow(value.depth.max(inner + 1))?;
                Ok(())
            }
            Some(Item::Value { .. }) => Err("adds to a value that was finished".to_owned()),
            _ => Err(MISSING.to_owned()),
        }
    }

    /// Keep the last value under a number; libtorch counts them from 0 on.
    fn put(&mut self, length: usize) -> Result<(), String> {
        let at = self.number(length)?;
        let Some(Item::Value { number, .. }) = self.stack.last() else { return Err(MISSING.to_owned()) };
        if at > self.memo.len() {
            return Err("keeps a value under a number that is too large".to_owned());
        }
        self.memo.splice(at..self.memo.len().min(at + 1), [*number]);
        Ok(())
    }

    fn get(&mut self, length: usize) -> Result<(), String> {
        let at = self.number(length)?;
        let number = *self.memo.get(at).ok_or(MISSING)?;
        if self.values[number].is_open {
            return Err("puts a value into itself".to_owned());
        }
        self.stack.push(Item::Value { number, fetched: true });
        Ok(())
    }
}

/// What a pickle does that takes more than it has made.
const MISSING: &str = "takes a value that is not there";

/// A depth, unless it is too large.
fn shallow(depth: u32) -> Result<u32, String> {
    if depth <= DEEPEST { Ok(depth) } else { Err(format!("is nested deeper than {DEEPEST}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pickle: &[u8]) -> Result<(), String> {
        super::check(pickle, &|key| (key == "0").then_some(8))
    }

    /// A tensor whose memory is described so.
    fn tensor(kind: &str, key: &str, count: u8) -> Vec<u8> {
        let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
        let kind = format!("ctorch\n{kind}\n");
        let description = [&text("storage"), kind.as_bytes(), &text(key), &text("cpu"), &[b'K', count]].concat();
        [b"ctorch._utils\n_rebuild_tensor_v2\n((", &description[..], b"tQK\x00K\x02\x85K\x01\x85\x89tR."].concat()
    }

    #[test]
    fn a_structure_of_numbers_lists_tensors_and_own_classes_is_accepted() {
        for pickle in [
            b"\x80\x02K\x01.".to_vec(),
            b"\x80\x02(K\x01](K\x01K\x02eq\x00tq\x01h\x00h\x01\x87.".to_vec(),
            b"\x80\x02c__torch__\nRows\nq\x00)\x81}(X\x01\x00\x00\x00aK\x01ub.".to_vec(),
            tensor("FloatStorage", "0", 2),
            tensor("DoubleStorage", "0", 1),
            tensor("FloatStorage", "none", 0),
        ] {
            check(&pickle).unwrap();
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let deep = |n: usize| [&b"\x80\x02"[..], &b"]".repeat(n), &b"a".repeat(n - 1), b"."].concat();
        check(&deep(DEEPEST as usize)).unwrap();
        // Nested as deep as may be, kept, and nested as deep once more.
        let again =
            [&deep(150)[..deep(150).len() - 1], b"q\x000", &b"]".repeat(150), b"h\x00", &b"a".repeat(150), b"."]
                .concat();
        for (what, pickle, sentence) in [
            ("a program", b"cos\nsystem\n(X\x04\x00\x00\x00truetR.".to_vec(), "makes a `os.system`"),
            ("builtins", b"cbuiltins\neval\n)R.".to_vec(), "makes a `builtins.eval`"),
            ("a class in C++", b"c__torch__.torch.classes.quantized\nLinear\n)\x81.".to_vec(), "torch.classes"),
            ("by a stack", b"X\x01\x00\x00\x00aX\x01\x00\x00\x00b\x93.".to_vec(), "instruction 0x93"),
            ("an extension", b"\x82\x01.".to_vec(), "instruction 0x82"),
            ("an old text", b"S'a'\n.".to_vec(), "instruction 0x53"),
            ("deep", deep(DEEPEST as usize + 2), "nested deeper"),
            ("deep in two steps", again, "instruction 0x30"),
            ("into itself", b"]q\x00h\x00a.".to_vec(), "into itself"),
            ("finished", b"](]q\x00eh\x00K\x01a.".to_vec(), "finished"),
            ("nothing there", b"a.".to_vec(), "not there"),
            ("kept far away", b"Nr\xff\xff\xff\x7f.".to_vec(), "too large"),
            ("behind the end", b"N.N".to_vec(), "behind its end"),
            ("no end", b"N".to_vec(), "too early"),
            ("more numbers than bytes", tensor("FloatStorage", "0", 3), "does not have the bytes"),
            ("larger numbers", tensor("DoubleStorage", "0", 2), "does not have the bytes"),
            ("no bytes", tensor("FloatStorage", "1", 2), "does not have the bytes"),
            ("unknown numbers", tensor("QUInt8Storage", "0", 8), "makes a `torch.QUInt8Storage`"),
            ("memory of nothing", b"NQ.".to_vec(), "without a description"),
            ("cut", b"X\xff\xff\xff\xffa".to_vec(), "too early"),
        ] {
            let error = check(&pickle).expect_err(what);
            assert!(error.contains(sentence), "{what}: {error}");
        }
    }
}
