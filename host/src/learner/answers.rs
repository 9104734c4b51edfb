//! What a learner's numbers must be before anybody counts on them.

use super::error::{LearnerCode, LearnerError};
use crate::limits::Unit;

/// How far a row of probabilities may be from adding up to 1: sums of 32-bit floats over thousands of classes stay below.
const SUM_TOLERANCE: f64 = 1e-3;

/// An answer of a learner: rows of 32-bit floats, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// `n_rows * n_cols` numbers.
    pub values: Vec<f32>,
    /// One row for each image that was asked about.
    pub n_rows: usize,
    /// How long each row is; where there are passes, one pass after the other.
    pub n_cols: usize,
}

/// What is demanded of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand {
    /// The method that answers.
    pub method: &'static str,
    /// Rows.
    pub n: usize,
    /// Passes between rows and columns; none for an answer without.
    pub passes: Option<usize>,
    /// Columns; none where any number will do.
    pub n_cols: Option<usize>,
    /// Whether rows (of each pass) are probabilities.
    pub is_probability: bool,
    /// The most bytes.
    pub most_bytes: u64,
}

impl Demand {
    /// Rows and columns of an answer of this shape; errs with L006 where it is another than was asked for.
    pub fn shape(&self, learner: &str, shape: &[u64]) -> Result<(usize, usize), LearnerError> {
        let refuse =
            |what: String| LearnerError::new(LearnerCode::Shape, learner, format!("`{}` answered {what}", self.method));
        let (rows, passes, cols) = match (self.passes, shape) {
            (None, &[rows, cols]) => (rows, 1, cols),
            (Some(_), &[rows, passes, cols]) => (rows, passes, cols),
            _ => (u64::MAX, u64::MAX, u64::MAX),
        };
        let is = |side: u64, wanted: usize| side == wanted as u64;
        let fits = is(rows, self.n)
            && self.passes.is_none_or(|wanted| is(passes, wanted))
            && self.n_cols.map_or(cols > 0, |wanted| is(cols, wanted));
        if !fits {
            return Err(refuse(format!("an array of the shape {}, and {} is wanted", said(shape), self.wanted())));
        }
        let bytes = rows.saturating_mul(passes).saturating_mul(cols).saturating_mul(4);
        if bytes > self.most_bytes {
            let (bytes, most) = (Unit::Bytes.say(bytes), Unit::Bytes.say(self.most_bytes));
            let hint = "fewer columns, fewer images at a time, or more `plugins.memory`";
            return Err(refuse(format!("{bytes}, and {most} are taken")).with_hint(hint));
        }
        Ok((rows as usize, (passes * cols) as usize))
    }

    /// Errs with L007 at the first number that is none, and where probabilities are demanded at the first row that holds none.
    pub fn check(&self, learner: &str, numbers: &Numbers) -> Result<(), LearnerError> {
        let refuse = |row: usize, what: String| {
            let message = format!("`{}` answered {what} in row {row}", self.method);
            Err(LearnerError::new(LearnerCode::Numbers, learner, message))
        };
        let n_cols = numbers.n_cols.max(1);
        if let Some(at) = numbers.values.iter().position(|value| !value.is_finite()) {
            return refuse(at / n_cols, format!("the number {}", numbers.values[at]));
        }
        if !self.is_probability {
            return Ok(());
        }
        if let Some(at) = numbers.values.iter().position(|value| *value < 0.0) {
            return refuse(at / n_cols, format!("the probability {}", numbers.values[at]));
        }
        let n_classes = n_cols / self.passes.unwrap_or(1).max(1);
        for (i, probs_c) in numbers.values.chunks(n_classes.max(1)).enumerate() {
            let sum: f64 = probs_c.iter().map(|p| f64::from(*p)).sum();
            if (sum - 1.0).abs() > SUM_TOLERANCE {
                return refuse(i * n_classes / n_cols, format!("probabilities that add up to {sum:.4}"));
            }
        }
        Ok(())
    }

    fn wanted(&self) -> String {
        let cols = self.n_cols.map_or("d".to_owned(), |cols| cols.to_string());
        match self.passes {
            Some(passes) => format!("({}, {passes}, {cols})", self.n),
            None => format!("({}, {cols})", self.n),
        }
    }
}

fn said(shape: &[u64]) -> String {
    let sides: Vec<String> = shape.iter().map(u64::to_string).collect();
    match sides.len() {
        1 => format!("({},)", sides[0]),
        _ => format!("({})", sides.join(", ")),
    }
}

/// In how many rows two answers differ in any bit, and by how much at the most; none where they are the same.
pub fn most_different(first: &Numbers, second: &Numbers) -> Option<(usize, f32)> {
    if first.n_rows != second.n_rows || first.n_cols != second.n_cols {
        return Some((first.n_rows.max(second.n_rows), f32::INFINITY));
    }
    let rows = first.values.chunks(first.n_cols.max(1)).zip(second.values.chunks(second.n_cols.max(1)));
    let differs = |a: &f32, b: &f32| a.to_bits() != b.to_bits();
    let (mut n_rows, mut most) = (0, 0.0_f32);
    for (a, b) in rows {
        n_rows += usize::from(a.iter().zip(b).any(|(a, b)| differs(a, b)));
        most = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(most, f32::max);
    }
    (n_rows > 0).then_some((n_rows, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Demand =
        Demand { method: "predict", n: 2, passes: None, n_cols: Some(3), is_probability: true, most_bytes: 1000 };

    #[test]
    fn another_shape_is_told_with_the_one_that_is_wanted() {
        let in_passes = Demand { passes: Some(4), ..PLAIN };
        let any_width = Demand { n_cols: None, ..PLAIN };
        for (demand, shape, expected) in [
            (PLAIN, &[2, 3][..], Ok((2, 3))),
            (PLAIN, &[2, 4], Err("(2, 4), and (2, 3) is wanted")),
            (PLAIN, &[3, 3], Err("(3, 3), and (2, 3) is wanted")),
            (PLAIN, &[6], Err("(6,), and (2, 3) is wanted")),
            (PLAIN, &[], Err("(), and (2, 3) is wanted")),
            (PLAIN, &[2, 1, 3], Err("(2, 1, 3), and (2, 3) is wanted")),
            (any_width, &[2, 70], Ok((2, 70))),
            (any_width, &[2, 0], Err("(2, 0), and (2, d) is wanted")),
            (any_width, &[2, u64::MAX / 16], Err("are taken")),
            (in_passes, &[2, 4, 3], Ok((2, 12))),
            (in_passes, &[2, 3], Err("(2, 3), and (2, 4, 3) is wanted")),
        ] {
            match (demand.shape("it.py", shape), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(error), Err(expected)) => assert!(error.message.contains(expected), "{error}"),
                (found, _) => panic!("{shape:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn numbers_that_are_no_probabilities_are_told_with_their_row() {
        let numbers = |values: [f32; 6]| Numbers { values: values.into(), n_rows: 2, n_cols: 3 };
        let good = [0.2, 0.3, 0.5, 1.0, 0.0, 0.0];
        let with = |at: usize, value: f32| {
            let mut values = good;
            values[at] = value;
            numbers(values)
        };
        PLAIN.check("it.py", &numbers(good)).unwrap();
        for (given, expected) in [
            (with(4, f32::NAN), "the number NaN in row 1"),
            (with(1, f32::INFINITY), "the number inf in row 0"),
            (with(5, -0.5), "the probability -0.5 in row 1"),
            (with(0, 0.4), "add up to 1.2000 in row 0"),
        ] {
            let error = PLAIN.check("it.py", &given).unwrap_err();
            assert!(error.code == LearnerCode::Numbers && error.message.contains(expected), "{error}");
        }
        // Features may be any finite numbers.
        Demand { is_probability: false, ..PLAIN }.check("it.py", &with(0, -9.0)).unwrap();
        // Each pass is a distribution of its own.
        let in_passes = Demand { n: 1, passes: Some(2), ..PLAIN };
        in_passes.check("it.py", &Numbers { values: good.into(), n_rows: 1, n_cols: 6 }).unwrap();
        let uneven = Numbers { values: vec![0.5, 0.5, 0.5, 0.5, 0.0, 0.0], n_rows: 1, n_cols: 6 };
        assert!(in_passes.check("it.py", &uneven).unwrap_err().message.contains("in row 0"));
    }

    #[test]
    fn a_single_bit_makes_two_answers_different() {
        let of = |values: &[f32]| Numbers { values: values.to_vec(), n_rows: 2, n_cols: 2 };
        let first = of(&[0.1, 0.9, 0.5, 0.5]);
        assert_eq!(most_different(&first, &first), None);
        let next = f32::from_bits(0.5_f32.to_bits() + 1);
        let (rows, most) = most_different(&first, &of(&[0.1, 0.9, 0.5, next])).unwrap();
        assert!(rows == 1 && most > 0.0 && most < 1e-6, "{rows} {most}");
        assert_eq!(most_different(&of(&[0.0; 4]), &of(&[-0.0, 0.0, 0.0, 0.0])), Some((1, 0.0)));
    }
}
