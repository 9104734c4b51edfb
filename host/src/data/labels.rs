//! Labels as files spell them, and the classes that they make.
//!
//! Only what stands in the files is a class: a missing label is refused with its place, and a number that no image has makes no
//! class.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::error::{DataError, Place};
use super::{Parts, split};

/// How files write that there is no label, in lower case: what pandas reads as missing, and what people write by hand.
const MISSING: [&str; 19] = [
    "",
    "nan",
    "-nan",
    "na",
    "n/a",
    "<na>",
    "#na",
    "#n/a",
    "none",
    "null",
    "nil",
    "nat",
    "?",
    "??",
    "-",
    "--",
    ".",
    "unlabeled",
    "unlabelled",
];
/// Numbers that stand for "no label" where they follow a gap: the largest of the unsigned types that labels are stored in.
const NO_LABEL: [i64; 3] = [u8::MAX as i64, u16::MAX as i64, u32::MAX as i64];
/// From so many classes on, a class for every second image looks like a column of pixels.
const MANY_CLASSES: usize = 10;

/// The label of one image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Label {
    /// A whole number, however it is spelled: `3`, `03`, `3.0`.
    Number(i64),
    /// Any other text.
    Name(String),
    /// None, as it is spelled.
    Missing(String),
    /// A number that is not whole, as it is spelled.
    Fraction(String),
}

/// The labels of one part.
pub(super) struct PartLabels<'a> {
    /// The file; for an array of an archive the archive's path with the array's name after it.
    pub path: &'a Path,
    /// The label of each image.
    pub labels: Vec<Label>,
    /// The line of each label, where the file has lines.
    pub lines: Option<Vec<u64>>,
}

/// Labels as numbers.
#[derive(Debug)]
pub(super) struct Numbered {
    /// The name of each class.
    pub classes: Vec<String>,
    /// The class of each training image.
    pub train: Vec<u32>,
    /// The class of each test image.
    pub test: Option<Vec<u32>>,
}

impl Label {
    /// The label that a cell of text means.
    pub(super) fn of_text(cell: &str) -> Label {
        let cell = cell.trim();
        if MISSING.contains(&cell.to_lowercase().as_str()) {
            return Label::Missing(cell.to_owned());
        }
        if let Ok(number) = cell.parse() {
            return Label::Number(number);
        }
        let is_numeric = cell.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        match cell.parse::<f64>() {
            Ok(number) if is_numeric => Label::of_number(number),
            _ => Label::Name(cell.to_owned()),
        }
    }

    /// The label that a floating-point number means.
    pub(super) fn of_number(number: f64) -> Label {
        // Beyond 2^53 neighbouring whole numbers are one.
        let is_exact = number.abs() < (1u64 << 53) as f64;
        if number.is_nan() {
            Label::Missing("NaN".to_owned())
        } else if is_exact && number.fract() == 0.0 {
            Label::Number(number as i64)
        } else {
            Label::Fraction(number.to_string())
        }
    }

    fn as_number(&self) -> Option<i64> {
        match self {
            Label::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn name(&self) -> String {
        match self {
            Label::Number(number) => number.to_string(),
            Label::Name(name) | Label::Missing(name) | Label::Fraction(name) => name.clone(),
        }
    }
}

/// The classes of the training part, in numeric order if all are whole numbers, else by name; and the labels of both parts as
/// numbers of classes.
///
/// # Errors
/// If a label is missing, is no class, or a test label is none of the training part's.
pub(super) fn number(train: PartLabels<'_>, test: Option<PartLabels<'_>>) -> Result<Numbered, DataError> {
    let are_signs = train.are_signs();
    for part in [Some(&train), test.as_ref()].into_iter().flatten() {
        part.check_each()?;
        if !are_signs {
            part.check_negative()?;
        }
        part.check_markers()?;
    }
    let classes = train.classes();
    let by_label: HashMap<&Label, u32> = classes.iter().zip(0..).collect();
    let numbered = Numbered {
        train: train.numbers(&by_label)?,
        test: test.map(|part| part.numbers(&by_label)).transpose()?,
        classes: classes.iter().map(Label::name).collect(),
    };
    tell_of_gaps(&classes, train.path);
    tell_of_many(classes.len(), &train);
    Ok(numbered)
}

impl PartLabels<'_> {
    fn error(&self, image: usize, why: &str) -> DataError {
        match &self.lines {
            Some(lines) => DataError::malformed(self.path, Place::Line(lines[image]), why),
            None => DataError::malformed(self.path, Place::Whole, format!("image {image}: {why}")),
        }
    }

    /// The first label that `is_wrong`, if there is one, and how many there are beside it.
    fn first(&self, is_wrong: impl Fn(&Label) -> bool) -> Option<(usize, String)> {
        let image = self.labels.iter().position(&is_wrong)?;
        let others = self.labels[image + 1..].iter().filter(|label| is_wrong(label)).count();
        let more = if others > 0 { format!(", and {others} more like it") } else { String::new() };
        Some((image, more))
    }

    fn check_each(&self) -> Result<(), DataError> {
        if let Some((image, more)) = self.first(|label| matches!(label, Label::Missing(_))) {
            let spelled = self.labels[image].name();
            let (what, or) = match spelled.as_str() {
                "" => ("the label is empty".to_owned(), String::new()),
                _ => {
                    let or = format!("; if `{spelled}` is a class, spell it otherwise, such as `class-{spelled}`");
                    (format!("`{spelled}` stands for a missing label"), or)
                }
            };
            let hint = format!("fill in the missing labels, or take these images out{or}");
            return Err(self.error(image, &format!("{what}{more}")).with_hint(hint));
        }
        if let Some((image, more)) = self.first(|label| matches!(label, Label::Fraction(_))) {
            let why = format!("the label {} is no whole number{more}", self.labels[image].name());
            let hint = "classes are whole numbers or names: is this the label column, or a quantity to be predicted?";
            return Err(self.error(image, &why).with_hint(hint));
        }
        Ok(())
    }

    /// Whether the labels are -1 and 1, as two classes are numbered too.
    fn are_signs(&self) -> bool {
        self.classes() == [Label::Number(-1), Label::Number(1)]
    }

    fn check_negative(&self) -> Result<(), DataError> {
        let Some((image, more)) = self.first(|label| matches!(label, Label::Number(number) if *number < 0)) else {
            return Ok(());
        };
        let number = self.labels[image].name();
        let hint = format!(
            "{number} often stands for `no label`: take these images out; if it is a class, number the classes from 0"
        );
        Err(self.error(image, &format!("the label {number} is below 0{more}")).with_hint(hint))
    }

    /// 255 beside 0 to 9 is no eleventh class; 0 and 255 alone are two.
    fn check_markers(&self) -> Result<(), DataError> {
        let classes = self.classes();
        let [Label::Number(first), .., Label::Number(below), Label::Number(last)] = classes[..] else { return Ok(()) };
        if !NO_LABEL.contains(&last) || below + 1 == last {
            return Ok(());
        }
        let Some((image, more)) = self.first(|label| *label == Label::Number(last)) else { return Ok(()) };
        let why = format!("the label {last} stands beside {first} to {below}, as `no label` is written{more}");
        let hint = format!("take these images out; if {last} is a class, number it {}", below + 1);
        Err(self.error(image, &why).with_hint(hint))
    }

    /// The labels that are there, each once.
    fn classes(&self) -> Vec<Label> {
        let distinct: BTreeSet<&Label> = self.labels.iter().collect();
        let mut classes: Vec<Label> = distinct.into_iter().cloned().collect();
        if classes.iter().any(|label| matches!(label, Label::Name(_))) {
            classes.sort_by_key(Label::name);
        }
        classes
    }

    fn numbers(&self, by_label: &HashMap<&Label, u32>) -> Result<Vec<u32>, DataError> {
        if let Some((image, more)) = self.first(|label| !by_label.contains_key(label)) {
            let why = format!("the training part has no label `{}`{more}", self.labels[image].name());
            let hint = "nothing can learn a class without training images: take these test images out, or add images \
                        of the class";
            return Err(self.error(image, &why).with_hint(hint));
        }
        Ok(self.labels.iter().map(|label| by_label[label]).collect())
    }
}

/// Says which numbers up to the largest are no classes.
fn tell_of_gaps(classes: &[Label], path: &Path) {
    let numbers: Vec<i64> = classes.iter().filter_map(Label::as_number).collect();
    let (Some(&first), Some(&last)) = (numbers.first(), numbers.last()) else { return };
    // The largest label may be the largest number that there is.
    let n_gaps = last.saturating_add(1) - numbers.len() as i64;
    let is_one_class = classes.len() < 2;
    if is_one_class || numbers.len() < classes.len() || first < 0 || n_gaps == 0 {
        return;
    }
    let gaps: Vec<String> =
        (0..=last).filter(|number| numbers.binary_search(number).is_err()).take(5).map(|n| n.to_string()).collect();
    let more = if n_gaps > 5 { ", ..." } else { "" };
    tracing::warn!(
        "`{}`: no image has the label {}{more}: there are {} classes, from `{first}` to `{last}`",
        path.display(),
        gaps.join(", "),
        numbers.len()
    );
}

/// Says so where there are nearly as many classes as images.
fn tell_of_many(n_classes: usize, part: &PartLabels<'_>) {
    let n_images = part.labels.len();
    if n_classes > MANY_CLASSES && 2 * n_classes > n_images {
        tracing::warn!("`{}`: {n_images} images have {n_classes} classes: are these the labels?", part.path.display());
    }
}

/// Drops the classes that have no image in any part; returns a sentence about them, if there are any.
///
/// # Errors
/// If a class has test images but none to train on.
pub(super) fn drop_empty_classes(parts: &mut Parts, set: &Path) -> Result<Option<String>, DataError> {
    let n_classes = parts.classes.len();
    let train = split::counts(&parts.train.labels, n_classes);
    let test = parts.test.as_ref().map_or(vec![0; n_classes], |test| split::counts(&test.labels, n_classes));
    if let Some(class) = (0..n_classes).find(|&class| train[class] == 0 && test[class] > 0) {
        let why = format!("the class `{}` has {} test images, but none to train on", parts.classes[class], test[class]);
        let hint = "nothing can learn a class without training images: is the training part whole?";
        return Err(DataError::malformed(set, Place::Whole, why).with_hint(hint));
    }
    let (kept, dropped): (Vec<usize>, Vec<usize>) = (0..n_classes).partition(|&class| train[class] > 0);
    if dropped.is_empty() {
        return Ok(None);
    }
    for part in [Some(&mut parts.train), parts.test.as_mut()].into_iter().flatten() {
        for label in &mut part.labels {
            *label = kept.partition_point(|class| *class < *label as usize) as u32;
        }
    }
    let names: Vec<String> = dropped.into_iter().map(|class| format!("`{}`", parts.classes[class])).collect();
    parts.classes = kept.into_iter().map(|class| std::mem::take(&mut parts.classes[class])).collect();
    Ok(Some(format!("no image is of class {}: left out", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::super::{Shape, Split};
    use super::*;

    fn numbered(train: &[&str], test: &[&str]) -> Result<Numbered, DataError> {
        let part = |cells: &[&str]| PartLabels {
            path: Path::new("labels"),
            labels: cells.iter().map(|cell| Label::of_text(cell)).collect(),
            lines: Some((2..).take(cells.len()).collect()),
        };
        number(part(train), (!test.is_empty()).then(|| part(test)))
    }

    #[test]
    fn classes_are_the_labels_that_are_there() {
        let rows: [(&[&str], &[&str]); 9] = [
            (&["2", "10", "1"], &["1", "2", "10"]),
            (&["3.0", "3", "03", "1e0"], &["1", "3"]),
            (&["b", "a", "10", "2"], &["10", "2", "a", "b"]),
            (&[" a ", "a", "b"], &["a", "b"]),
            (&["-1", "1", "-1"], &["-1", "1"]),
            (&["0", "255", "0"], &["0", "255"]),
            (&["253", "254", "255"], &["253", "254", "255"]),
            (&["True", "False"], &["False", "True"]),
            (&["unknown", "e", "1-2", "inf"], &["1-2", "e", "inf", "unknown"]),
        ];
        for (cells, classes) in rows {
            assert_eq!(numbered(cells, &[]).unwrap().classes, classes, "{cells:?}");
        }
        let Numbered { train, test, .. } = numbered(&["2", "10", "1"], &["10.0", "1"]).unwrap();
        assert_eq!((train, test), (vec![1, 2, 0], Some(vec![2, 0])));
    }

    #[test]
    fn what_is_no_class_is_refused_with_its_place_and_what_to_do() {
        let rows: [(&[&str], &[&str], &str, &str); 14] = [
            (&["a", "", ""], &[], "line 3: the label is empty, and 1 more", "fill in"),
            (&["1", "NaN"], &[], "line 3: `NaN` stands for a missing label", "`class-NaN`"),
            (&["a", "None"], &[], "`None` stands for a missing label", "spell it otherwise"),
            (&["a", "<NA>"], &[], "`<NA>` stands", "take these images out"),
            (&["a", "?"], &[], "`?` stands", "take these images out"),
            (&["1", "2", "0.5"], &[], "line 4: the label 0.5 is no whole number", "quantity"),
            (&["1", "1e400"], &[], "is no whole number", "quantity"),
            (&["0", "1", "-1"], &[], "line 4: the label -1 is below 0", "no label"),
            (&["0", "1", "-100"], &[], "the label -100 is below 0", "no label"),
            (&["0", "1", "2", "255"], &[], "line 5: the label 255 stands beside 0 to 2", "number it 3"),
            (&["0", "7", "65535"], &[], "the label 65535 stands beside 0 to 7", "number it 8"),
            (&["-1", "1"], &["-1", "0"], "line 3: the training part has no label `0`", "test images"),
            (&["0", "1"], &["1", "nan"], "line 3: `nan` stands", "fill in"),
            (&["0", "1"], &["1", "2", "2"], "line 3: the training part has no label `2`, and 1 more", "test images"),
        ];
        for (train, test, expected, hint) in rows {
            let error = numbered(train, test).expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}\nexpected: {expected}");
            assert!(error.hint().unwrap().contains(hint), "{:?}\nexpected: {hint}", error.hint());
        }
    }

    #[test]
    fn classes_without_images_are_left_out() {
        let dropped = |train: &[u32], test: &[u32]| {
            let mut parts = Parts {
                shape: Shape { height: 1, width: 1, channels: 1 },
                classes: ["a", "b", "c", "d"].map(String::from).to_vec(),
                train: Split::numbered(vec![0; train.len()], train.to_vec()),
                test: Some(Split::numbered(vec![0; test.len()], test.to_vec())),
            };
            drop_empty_classes(&mut parts, Path::new("set")).map(|remark| (parts, remark))
        };
        let (kept, remark) = dropped(&[3, 1, 1], &[3]).unwrap();
        assert_eq!(kept.classes, ["b", "d"]);
        assert_eq!((kept.train.labels, kept.test.unwrap().labels), (vec![1, 0, 0], vec![1]));
        assert_eq!(remark.unwrap(), "no image is of class `a`, `c`: left out");
        let (whole, remark) = dropped(&[3, 0, 1, 2], &[]).unwrap();
        assert_eq!((whole.classes.len(), whole.train.labels, remark), (4, vec![3, 0, 1, 2], None));
        let untaught = dropped(&[0, 1], &[2, 2]).err().unwrap().to_string();
        assert!(untaught.contains("the class `c` has 2 test images, but none to train on"), "{untaught}");
    }
}
