//! NumPy archives: MedMNIST's array names or those of Keras.
//!
//! Images have shape (n, h, w), (n, h, w, c) or (n, c, h, w), in the order of C or of Fortran, and are unsigned bytes, or any numbers
//! if `max_value` says which of them is white; floating-point numbers from 0 to 1 need not be told, see [`forms`]. Labels are whole
//! numbers or text of shape (n) or (n, 1), or one-hot rows. How an array was read that is not as most are is said. Other arrays, such
//! as MedMNIST's `val_images`, are left aside.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use npyz::npz::NpzArchive;
use npyz::{DType, Endianness, NpyFile, Order, TypeChar};

use super::error::{DataError, Place};
use super::forms::{self, Axes, how_read};
use super::labels::{self, Label, PartLabels};
use super::pickle::{Node, Pickle};
use super::unpacked::{Allowance, Bounded};
use super::{Parts, Shape, Split, pixels};

/// Names of the images and labels of the training part, then of the test part.
const LAYOUTS: [[&str; 4]; 2] =
    [["train_images", "train_labels", "test_images", "test_labels"], ["x_train", "y_train", "x_test", "y_test"]];
/// The longest header of an array, which is the longest that NumPy itself reads.
const LONGEST_HEADER: usize = 10_000;
/// Brackets within brackets in a header: the dictionary, and a structured array's fields with their shapes. Its reader tries several
/// readings of each bracket, so that its time grows by a factor with each one within another.
const DEEPEST_HEADER: usize = 4;
/// So many arrays that are left aside are named.
const NAMED: usize = 6;

/// An open archive, and how many bytes its arrays may still come to.
struct Archive {
    zip: NpzArchive<BufReader<File>>,
    allowance: Allowance,
}

/// Reads the archive at `path`. Classes are the labels of the training part, in numeric order if all are whole numbers, else by
/// name. `max_value` is the number that is white, where images are no bytes. Sentences say how arrays were read, and what was left
/// aside.
pub(super) fn read(path: &Path, max_value: Option<f64>) -> Result<(Parts, Vec<String>), DataError> {
    let mut archive = open(path)?;
    let mut names: Vec<String> = archive.zip.array_names().map(String::from).collect();
    names.sort();
    let is_there = |name: &str| names.iter().any(|known| known == name);
    let Some(layout) = LAYOUTS.iter().find(|layout| is_there(layout[0])) else {
        return Err(missing(path, &LAYOUTS.map(|layout| layout[0]), &names));
    };
    let mut remarks: Vec<String> = left_aside(&names, layout).into_iter().collect();
    let has_test = is_there(layout[2]) || is_there(layout[3]);
    let needed = if has_test { &layout[..] } else { &layout[..2] };
    if let Some(name) = needed.iter().find(|name| !is_there(name)) {
        return Err(missing(path, &[name], &names));
    }
    let mut reading = Reading { path, white: max_value, decides_white: max_value.is_none(), remarks: &mut remarks };
    let train = Part::read(&mut archive, &mut reading, layout[0], layout[1])?;
    // The training part has decided.
    reading.decides_white = false;
    let test = has_test.then(|| Part::read(&mut archive, &mut reading, layout[2], layout[3])).transpose()?;
    if let Some(test) = test.as_ref().filter(|test| test.shape != train.shape) {
        let why = format!("images have shape {:?}, those of `{}` {:?}", test.shape, layout[0], train.shape);
        return Err(DataError::malformed(&path.join(layout[2]), Place::Whole, why));
    }
    let (train_path, test_path) = (path.join(layout[1]), path.join(layout[3]));
    let part = |path, labels| PartLabels { path, labels, lines: None };
    let (test_pixels, test_labels) = test.map(|test| (test.pixels_nhwc, part(&test_path, test.labels))).unzip();
    let numbered = labels::number(part(&train_path, train.labels), test_labels)?;
    let parts = Parts {
        shape: train.shape,
        classes: numbered.classes,
        train: Split::numbered(train.pixels_nhwc, numbered.train),
        test: test_pixels.zip(numbered.test).map(|(pixels_nhwc, labels)| Split::numbered(pixels_nhwc, labels)),
    };
    Ok((parts, remarks))
}

/// A sentence about the arrays that are none of the layout.
fn left_aside(names: &[String], layout: &[&str]) -> Option<String> {
    let others: Vec<String> =
        names.iter().filter(|name| !layout.contains(&name.as_str())).map(|name| format!("`{name}`")).collect();
    let more = others.len().saturating_sub(NAMED);
    let named = others[..others.len() - more].join(", ");
    let named = if more > 0 { format!("{named} and {more} more") } else { named };
    (!others.is_empty()).then(|| format!("{} of the {} arrays left aside: {named}", others.len(), names.len()))
}

/// What is known while the parts of an archive are read.
struct Reading<'a> {
    path: &'a Path,
    /// The number that is white, where images are no bytes.
    white: Option<f64>,
    /// Whether the next images decide what is white.
    decides_white: bool,
    remarks: &'a mut Vec<String>,
}

/// None of the arrays `wanted` is in the archive.
fn missing(path: &Path, wanted: &[&str], there: &[String]) -> DataError {
    DataError::Missing {
        looked_in: path.to_path_buf(),
        names: wanted.iter().map(|name| name.to_string()).collect(),
        hint: format!("the archive holds {}", there.join(", ")),
    }
}

/// The images and labels of a part.
struct Part {
    shape: Shape,
    pixels_nhwc: Vec<u8>,
    labels: Vec<Label>,
}

impl Part {
    fn read(
        archive: &mut Archive,
        reading: &mut Reading<'_>,
        images_name: &str,
        labels_name: &str,
    ) -> Result<Part, DataError> {
        let path = reading.path.join(images_name);
        let wrong = |why: String| DataError::malformed(&path, Place::Whole, why);
        let images = Array::read(archive, reading.path, images_name)?;
        let axes = Axes::of(&images.axes).map_err(|(why, hint)| match hint {
            Some(hint) => wrong(why).with_hint(hint),
            None => wrong(why),
        })?;
        if images.bytes.is_empty() {
            return Err(wrong("holds no pixels".to_owned()));
        }
        let plain_white = if reading.decides_white { forms::plain_white(&images) } else { None };
        reading.white = reading.white.or(plain_white);
        let ways = [
            (images.was_fortran, "in Fortran order"),
            (axes.channels_first, "channels first, (n, c, h, w)"),
            (plain_white.is_some(), "numbers from 0 to 1, where 1 is white"),
        ];
        reading.remarks.extend(how_read(images_name, &ways));
        let labels = read_labels(archive, reading, labels_name, axes.n)?;
        let shape = Shape { height: axes.height, width: axes.width, channels: axes.channels };
        let pixels = bytes_of(images, shape, reading.white, &path)?;
        Ok(Part { shape, pixels_nhwc: axes.channels_last(pixels), labels })
    }
}

/// Pixels as bytes, in the order in which they lie in the array.
fn bytes_of(images: Array, shape: Shape, max_value: Option<f64>, path: &Path) -> Result<Vec<u8>, DataError> {
    if (images.kind, images.item_bytes) == (TypeChar::Uint, 1) && max_value.is_none_or(|white| white == 255.0) {
        pixels::check_brightest(path, pixels::brightest(&images.bytes), 255.0)?;
        return Ok(images.bytes);
    }
    let Some(numbers) = images.numbers() else {
        return Err(DataError::malformed(path, Place::Whole, "the elements are no numbers"));
    };
    let Some(max_value) = max_value else { return Err(no_bytes(numbers, images.kind, path)) };
    let mut brightest = 0f64;
    let byte = |(i, value): (usize, f64)| {
        brightest = brightest.max(value);
        pixels::byte_of(value, max_value).ok_or_else(|| {
            let why =
                format!("image {}: pixel {value} is outside 0 to {max_value} (`dataset.max_value`)", i / shape.bytes());
            DataError::malformed(path, Place::Whole, why)
        })
    };
    let pixels = numbers.enumerate().map(byte).collect::<Result<_, _>>()?;
    pixels::check_brightest(path, brightest, max_value)?;
    Ok(pixels)
}

/// Pixels are numbers of which nobody has said what is white.
fn no_bytes(numbers: impl Iterator<Item = f64>, kind: TypeChar, path: &Path) -> DataError {
    let (mut low, mut high, mut is_finite) = (f64::INFINITY, f64::NEG_INFINITY, true);
    for number in numbers {
        (low, high, is_finite) = (low.min(number), high.max(number), is_finite && number.is_finite());
    }
    let what = if kind == TypeChar::Float { "floating-point numbers" } else { "integers" };
    let why = format!("the elements are not unsigned bytes, but {what} from {low} to {high}");
    let error = DataError::malformed(path, Place::Whole, why);
    let white = [1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0].into_iter().find(|white| high <= *white);
    match white {
        Some(white) if low >= 0.0 && is_finite => {
            error.with_hint(format!("`dataset.max_value` says which number is white, such as {white}"))
        }
        _ => error.with_hint("bring the pixels back to 0 to 255, and store them with .astype('uint8')"),
    }
}

fn read_labels(
    archive: &mut Archive,
    reading: &mut Reading<'_>,
    name: &str,
    n_images: usize,
) -> Result<Vec<Label>, DataError> {
    let array = Array::read(archive, reading.path, name)?;
    if is_one_hot(&array) {
        let ways =
            [(array.was_fortran, "in Fortran order"), (true, "one-hot: a label is the place of the 1 in its row")];
        reading.remarks.extend(how_read(name, &ways));
    }
    labels_of(&array, &reading.path.join(name), n_images)
}

/// Whether labels are rows of numbers.
fn is_one_hot(array: &Array) -> bool {
    matches!(array.axes[..], [_, n_classes] if n_classes > 1) && array.numbers().is_some()
}

/// The labels of `n_images` images that an array holds, as numbers, text or one-hot rows.
pub(super) fn labels_of(array: &Array, path: &Path, n_images: usize) -> Result<Vec<Label>, DataError> {
    let malformed = |why: String| DataError::malformed(path, Place::Whole, why);
    let (&n, rest) = array.axes.split_first().unwrap_or((&0, &[]));
    if n != n_images {
        return Err(malformed(format!("holds {n} labels, but there are {n_images} images")));
    }
    if let (&[n_classes], Some(numbers)) = (rest, array.numbers())
        && n_classes > 1
    {
        let numbers: Vec<f64> = numbers.collect();
        return of_one_hot(&numbers, n_classes).map_err(malformed);
    }
    if !matches!(rest, [] | [1]) {
        return Err(malformed(format!("shape {:?} is not (n) or (n, 1)", array.axes)));
    }
    if (array.kind, array.item_bytes) == (TypeChar::Bool, 1) {
        let name = |byte: &u8| Label::Name(if *byte == 0 { "False" } else { "True" }.to_owned());
        return Ok(array.bytes.iter().map(name).collect());
    }
    if let Some(integers) = array.integers() {
        return Ok(integers.into_iter().map(Label::Number).collect());
    }
    if let Some(numbers) = array.numbers() {
        return Ok(numbers.map(Label::of_number).collect());
    }
    match array.texts() {
        Some(texts) => Ok(texts.iter().map(|text| Label::of_text(text)).collect()),
        None => Err(malformed("the elements are neither integers nor text".to_owned())),
    }
}

/// The class of each row that has a one and nothing else; errs at the first other row.
fn of_one_hot(rows: &[f64], n_classes: usize) -> Result<Vec<Label>, String> {
    let class = |(i, row): (usize, &[f64])| {
        let ones = row.iter().filter(|x| **x == 1.0).count();
        let zeros = row.iter().filter(|x| **x == 0.0).count();
        match row.iter().position(|x| *x == 1.0) {
            Some(class) if ones == 1 && zeros + 1 == n_classes => Ok(Label::Number(class as i64)),
            _ => Err(format!("row {i} of {n_classes} numbers is not one-hot: an image has one class, a 1 among zeros")),
        }
    };
    rows.chunks_exact(n_classes).enumerate().map(class).collect()
}

/// An array's name, and the array or what is wrong with it.
pub(super) type Stored = (String, Result<Array, DataError>);

/// Every array of the archive at `path` with its name, or what is wrong with it.
pub(super) fn arrays(path: &Path) -> Result<Vec<Stored>, DataError> {
    let mut archive = open(path)?;
    let mut names: Vec<String> = archive.zip.array_names().map(String::from).collect();
    // The archive lists them in another order each time.
    names.sort();
    Ok(names.into_iter().map(|name| (name.clone(), Array::read(&mut archive, path, &name))).collect())
}

fn open(path: &Path) -> Result<Archive, DataError> {
    let file = File::open(path).map_err(|source| DataError::io(path, source))?;
    let allowance = Allowance::of_file(&file).map_err(|source| DataError::io(path, source))?;
    let zip = NpzArchive::new(BufReader::new(file))
        .map_err(|error| DataError::malformed(path, Place::Whole, format!("not a whole npz archive ({error})")))?;
    Ok(Archive { zip, allowance })
}

/// An array in C order as it is stored.
pub(super) struct Array {
    pub(super) axes: Vec<usize>,
    /// [`TypeChar::Object`] for Python objects, which are pickled.
    pub(super) kind: TypeChar,
    pub(super) item_bytes: usize,
    pub(super) is_big_endian: bool,
    /// Where the elements begin in the bytes of the file.
    pub(super) offset: usize,
    /// Whether the first axis ran fastest in the file.
    pub(super) was_fortran: bool,
    /// The elements; none yet where only the header was read.
    pub(super) bytes: Vec<u8>,
}

impl Array {
    fn read(archive: &mut Archive, path: &Path, name: &str) -> Result<Self, DataError> {
        let path = &path.join(name);
        let malformed = |why: String| DataError::malformed(path, Place::Whole, why);
        let mut bytes = Vec::new();
        let Archive { zip, allowance } = archive;
        let entry = zip.zip_archive().by_name(&npyz::npz::file_name_from_array_name(name));
        let entry = entry.map_err(|error| malformed(format!("cannot be read ({error})")))?;
        Bounded::new(entry, allowance)
            .read_to_end(&mut bytes)
            .map_err(|error| malformed(format!("corrupt ({error})")))?;
        let header = Array::any_header(path, &bytes)?;
        bytes.drain(..header.offset);
        if header.was_fortran && header.kind != TypeChar::Object {
            allowance.take(bytes.len() as u64).map_err(|error| malformed(error.to_string()))?;
            bytes = forms::in_c_order(&bytes, &header.axes, header.item_bytes);
        }
        Ok(Array { bytes, ..header })
    }

    /// What the first bytes of a `.npy` file say, held against how many there are; errs if the elements are not in C order.
    pub(super) fn header(path: &Path, bytes: &[u8]) -> Result<Self, DataError> {
        let header = Array::any_header(path, bytes)?;
        if header.was_fortran {
            let error = DataError::malformed(path, Place::Whole, "stored in Fortran order");
            return Err(error.with_hint("save it with numpy.save(file, numpy.ascontiguousarray(array))"));
        }
        Ok(header)
    }

    /// The same for elements in either order.
    fn any_header(path: &Path, bytes: &[u8]) -> Result<Self, DataError> {
        let corrupt = |error: std::io::Error| DataError::malformed(path, Place::Whole, format!("corrupt ({error})"));
        check_header(bytes).map_err(|why| DataError::malformed(path, Place::Whole, why))?;
        let npy = NpyFile::new(bytes).map_err(corrupt)?;
        let unusable = |why: &str| DataError::malformed(path, Place::Whole, why);
        let DType::Plain(dtype) = npy.dtype() else { return Err(unusable("a structured array")) };
        let is_pickled = dtype.uses_pickled_array();
        let item_bytes = if is_pickled { Some(0) } else { dtype.num_bytes() };
        let item_bytes = item_bytes.ok_or_else(|| unusable("elements without a fixed size"))?;
        let shape = npy.shape().to_vec();
        let is_fortran = npy.order() != Order::C;
        let offset = bytes.len() - npy.into_inner().len();
        let declared = shape.iter().try_fold(item_bytes as u64, |product, &axis| product.checked_mul(axis));
        let there = (bytes.len() - offset) as u64;
        if declared != Some(there) && !is_pickled {
            let why = format!("shape {shape:?} does not fit the {there} bytes that follow the header");
            return Err(DataError::at_byte(path, offset as u64, why));
        }
        let axes: Vec<usize> = shape.into_iter().map(|axis| axis as usize).collect();
        Ok(Array {
            was_fortran: is_fortran && forms::has_two_orders(&axes),
            axes,
            kind: dtype.type_char(),
            item_bytes,
            is_big_endian: dtype.endianness() == Endianness::Big,
            offset,
            bytes: Vec::new(),
        })
    }

    /// The elements, if they are integers; those beyond i64 come out negative.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        let is_signed = match self.kind {
            TypeChar::Int => true,
            TypeChar::Uint => false,
            _ => return None,
        };
        let widen = |item: &[u8]| {
            let item = self.little_endian(item);
            let is_negative = is_signed && item[self.item_bytes - 1] >= 0x80;
            let mut bytes = [if is_negative { 0xff } else { 0 }; 8];
            bytes[..self.item_bytes].copy_from_slice(&item[..self.item_bytes]);
            i64::from_le_bytes(bytes)
        };
        (1..=8).contains(&self.item_bytes).then(|| self.bytes.chunks_exact(self.item_bytes).map(widen).collect())
    }

    /// The elements, if they are numbers or truth values; whole numbers beyond 2^53 lose their last digits.
    pub(super) fn numbers(&self) -> Option<Box<dyn Iterator<Item = f64> + '_>> {
        if let (TypeChar::Bool | TypeChar::Uint, 1) = (self.kind, self.item_bytes) {
            return Some(Box::new(self.bytes.iter().map(|byte| f64::from(*byte))));
        }
        if let Some(integers) = self.integers() {
            return Some(Box::new(integers.into_iter().map(|integer| integer as f64)));
        }
        let widen: fn([u8; 8]) -> f64 = match (self.kind, self.item_bytes) {
            (TypeChar::Float, 2) => |item| f64::from(of_half(u16::from_le_bytes([item[0], item[1]]))),
            (TypeChar::Float, 4) => |item| f64::from(f32::from_le_bytes([item[0], item[1], item[2], item[3]])),
            (TypeChar::Float, 8) => f64::from_le_bytes,
            _ => return None,
        };
        Some(Box::new(self.bytes.chunks_exact(self.item_bytes).map(move |item| widen(self.little_endian(item)))))
    }

    /// The elements, if they are text: of a fixed width, padded with zeros, or pickled strings.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let text: fn(&Array, &[u8]) -> Option<String> = match self.kind {
            TypeChar::ByteStr => |_, item| String::from_utf8(without_padding(item).to_vec()).ok(),
            TypeChar::UnicodeStr => Array::utf32,
            TypeChar::Object => return self.pickled_texts(),
            _ => return None,
        };
        if self.item_bytes == 0 {
            return None;
        }
        self.bytes.chunks_exact(self.item_bytes).map(|item| text(self, item)).collect()
    }

    /// An element of an array of text: 4 bytes for each character.
    fn utf32(&self, item: &[u8]) -> Option<String> {
        let characters = item.as_chunks::<4>().0.iter().map(|&bytes| match self.is_big_endian {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        });
        characters.take_while(|character| *character != 0).map(char::from_u32).collect()
    }

    /// The strings of an array of Python objects, whose pickled state ends in the list of its elements.
    fn pickled_texts(&self) -> Option<Vec<String>> {
        let pickle = Pickle::read(&self.bytes).ok()?;
        let array = pickle.array(pickle.root())?;
        let Node::List(elements) = array.data else { return None };
        let declared = self.axes.iter().try_fold(1usize, |product, axis| product.checked_mul(*axis));
        if declared != Some(elements.len()) {
            return None;
        }
        elements.iter().map(|element| text_of(pickle.node(*element))).collect()
    }

    /// Up to eight bytes of an element, the lowest first.
    fn little_endian(&self, item: &[u8]) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..item.len()].copy_from_slice(item);
        if self.is_big_endian {
            bytes[..item.len()].reverse();
        }
        bytes
    }
}

/// The text that a pickled element stands for. A missing string is written as None or NaN, and is empty.
fn text_of(element: &Node<'_>) -> Option<String> {
    match element {
        Node::Text(text) => Some(text.clone().into_owned()),
        Node::None | Node::Float(_) => Some(String::new()),
        Node::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Errs where the header of a `.npy` file is longer or nested deeper than any array needs: its text is read by recursion.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    let ends = || "corrupt (it ends within its header)".to_owned();
    let version = bytes.get(6).ok_or_else(ends)?;
    let (start, length) = match version {
        1 => (10, bytes.get(8..).and_then(<[u8]>::first_chunk).map(|length| usize::from(u16::from_le_bytes(*length)))),
        _ => (12, bytes.get(8..).and_then(<[u8]>::first_chunk).map(|length| u32::from_le_bytes(*length) as usize)),
    };
    let length = length.ok_or_else(ends)?;
    if length > LONGEST_HEADER {
        return Err(format!("its header of {length} bytes is longer than {LONGEST_HEADER}, which no array needs"));
    }
    let header = bytes.get(start..start + length).ok_or_else(ends)?;
    let mut depth = 0usize;
    for byte in header {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST_HEADER {
            return Err(format!("its header has more than {DEEPEST_HEADER} brackets within brackets"));
        }
    }
    check_numbers(header)
}

/// Errs where the numbers in a header, which are the lengths of axes, have a product that no 64 bits hold, or are not plain: npyz
/// multiplies them unchecked.
fn check_numbers(header: &[u8]) -> Result<(), String> {
    let words = header.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    let mut elements = 1u64;
    for word in words.filter(|word| word.first().is_some_and(u8::is_ascii_digit)) {
        let word = String::from_utf8_lossy(word);
        let number = word.parse::<u64>();
        let number = number.map_err(|_| format!("its header has `{word}` where the length of an axis should be"))?;
        let product = elements.checked_mul(number.max(1));
        elements = product.ok_or("its shape has more elements than any file")?;
    }
    Ok(())
}

fn without_padding(item: &[u8]) -> &[u8] {
    let end = item.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &item[..end]
}

/// IEEE 754 binary16: a sign, 5 bits of exponent, 10 of fraction.
pub(super) fn of_half(half: u16) -> f32 {
    let (exponent, fraction) = (i32::from(half >> 10 & 31), f32::from(half & 1023));
    let size = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    };
    if half >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use npyz::npz::NpzWriter;

    use super::*;

    /// An `.npy` file with a hand-written header.
    fn npy(descr: &str, shape: &str, is_fortran: bool, data: &[u8]) -> Vec<u8> {
        let order = if is_fortran { "True" } else { "False" };
        let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut writer = NpzWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in arrays {
            writer.zip_writer().start_file(format!("{name}.npy"), Default::default()).unwrap();
            writer.zip_writer().write_all(bytes).unwrap();
        }
        writer.zip_writer().finish().unwrap().into_inner()
    }

    fn read_bytes(bytes: &[u8]) -> Result<Parts, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path(), None).map(|(parts, _)| parts)
    }

    fn medmnist() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("train_images", npy("|u1", "(2, 1, 2, 3)", false, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])),
            ("train_labels", npy("|u1", "(2, 1)", false, &[2, 0])),
            ("val_images", npy("|u1", "(1,)", false, &[0])),
            ("test_images", npy("|u1", "(1, 1, 2, 3)", false, &[9, 8, 7, 6, 5, 4])),
            ("test_labels", npy("<i8", "(1,)", false, &2i64.to_le_bytes())),
        ]
    }

    #[test]
    fn reads_the_medmnist_layout() {
        let parts = read_bytes(&npz(&medmnist())).unwrap();
        assert_eq!(parts.shape, Shape { height: 1, width: 2, channels: 3 });
        assert_eq!(parts.classes, ["0", "2"]);
        assert_eq!(parts.train, Split::numbered((1..=12).collect(), vec![1, 0]));
        assert_eq!(parts.test.unwrap(), Split::numbered(vec![9, 8, 7, 6, 5, 4], vec![1]));
    }

    #[test]
    fn reads_the_keras_layout_and_every_integer_type() {
        let big_endian: Vec<u8> = [1i16, 0].iter().flat_map(|n| n.to_be_bytes()).collect();
        let rows = [
            ("<i4", vec![1, 0, 0, 0, 0, 0, 0, 0]),
            (">i2", big_endian),
            ("<u8", [1u64, 0].map(u64::to_le_bytes).concat()),
        ];
        for (descr, labels) in rows {
            let arrays =
                [("x_train", npy("|u1", "(2, 1, 1)", false, &[5, 6])), ("y_train", npy(descr, "(2,)", false, &labels))];
            let parts = read_bytes(&npz(&arrays)).unwrap();
            assert_eq!(parts.train.labels, [1, 0], "{descr}");
            assert!(parts.test.is_none());
        }
    }

    /// A header of version 1 with this text.
    fn with_header(text: &str) -> Vec<u8> {
        [&b"\x93NUMPY\x01\x00"[..], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
    }

    /// A dozen brackets within each other take the reader of headers minutes.
    #[test]
    fn a_header_is_as_deep_and_as_long_as_an_array_needs() {
        let path = Path::new("x.npy");
        let nested = |depth: usize| with_header(&format!("{{'descr': '<f4', 'shape': {}", "{".repeat(depth - 1)));
        let error = Array::header(path, &nested(12)).err().unwrap().to_string();
        assert!(error.contains("brackets within brackets"), "{error}");
        // The worst that is let through comes to an end.
        for (before, filling) in
            [("{'a': [(", "'b',"), ("{'a': [(", "(1,),"), ("{[(", "{2: 3},"), ("{{{", "[],"), ("[[[", "[1],")]
        {
            let worst = format!("{before}{}", filling.repeat((LONGEST_HEADER - before.len()) / filling.len()));
            assert!(Array::header(path, &with_header(&worst)).is_err(), "{before}{filling}");
        }
        assert!(Array::header(path, &with_header(&" ".repeat(LONGEST_HEADER + 1))).is_err());
    }

    #[test]
    fn every_corruption_names_the_array() {
        let rows: [(&str, Vec<u8>, &str); 15] = [
            ("train_images", npy("|u1", "(2, 1, 2, 3)", false, &[0; 11]), "does not fit the 11 bytes"),
            ("train_images", npy("|u1", "(99999999999, 99999999999)", false, &[]), "more elements than any file"),
            ("train_images", npy("|u1", "(0, 99999999999, 99999999999)", false, &[]), "more elements than any file"),
            ("train_images", npy("|u1", "(0000011406509395579415209, 3)", false, &[]), "more elements than any file"),
            ("train_images", npy("|u1", "(99999999999999999999, 1)", false, &[]), "the length of an axis"),
            ("train_images", npy("|u1", "(0xffffffff, 0xffffffffff)", false, &[]), "the length of an axis"),
            ("train_images", npy("|u1", "(4_294_967_296, 4_294_967_296)", false, &[]), "the length of an axis"),
            ("train_images", npy("<f4", "(2, 1, 2, 3)", false, &[0; 48]), "not unsigned bytes"),
            ("train_images", npy("|u1", "(2, 6)", false, &[0; 12]), "is not (n, h, w)"),
            ("train_images", b"\x93NUMPY".to_vec(), "corrupt"),
            ("train_labels", npy("|u1", "(3, 1)", false, &[0; 3]), "holds 3 labels, but there are 2 images"),
            ("train_labels", npy("|i1", "(2, 1)", false, &[0, 255]), "image 1: the label -1 is below 0"),
            ("train_labels", npy("|u1", "(2, 3)", false, &[0; 6]), "row 0 of 3 numbers is not one-hot"),
            ("train_labels", npy("|u1", "(2, 1, 1)", false, &[0; 2]), "is not (n) or (n, 1)"),
            ("test_labels", npy("|u1", "(1,)", false, &[3]), "image 0: the training part has no label `3`"),
        ];
        for (name, bytes, expected) in rows {
            let arrays = medmnist().into_iter().map(|(n, whole)| (n, if n == name { bytes.clone() } else { whole }));
            let message = read_bytes(&npz(&arrays.collect::<Vec<_>>())).err().expect(expected).to_string();
            assert!(message.contains(expected) && message.contains(name), "{message}\nexpected: {expected}");
        }
    }

    #[test]
    fn broken_archives_are_refused() {
        let whole = npz(&medmnist());
        assert!(read_bytes(&whole[..whole.len() / 2]).is_err());
        let mut flipped = whole.clone();
        flipped[130] ^= 0x40;
        assert!(read_bytes(&flipped).is_err());
        let error = read_bytes(&npz(&medmnist()[2..3])).err().unwrap();
        assert!(error.to_string().contains("train_images, x_train"), "{error}");
        assert!(error.hint().unwrap().contains("val_images"));
    }
}
