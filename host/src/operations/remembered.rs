//! What the task model said of images during one call of a composing strategy: its components ask about the same images again and
//! again, and each image is looked at once.
//!
//! An image's answer does not depend on what is asked beside it, so that what is remembered is what would be said again.

use super::task::{Answers, found};
use crate::engine::Matrix;
use coldstart_plugin_api::Result;
use coldstart_plugin_api::ops::Output;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// Answers to plain questions, by output and by the image's row in the pool; empty when made.
#[derive(Default)]
pub struct Remembered {
    tables: Mutex<BTreeMap<&'static str, Table>>,
}

/// One output of the model.
struct Table {
    n_cols: usize,
    /// Where a row of the pool stands in `values`.
    place_of: HashMap<usize, usize>,
    values: Vec<f32>,
}

impl Remembered {
    /// The outputs for these rows of the pool, a matrix each; `ask` is asked about those of which one is not known, and no other.
    ///
    /// No more than `most_bytes` are kept: beyond it everything is forgotten first. Errs as `ask` does.
    pub fn answer(
        &self,
        rows: &[usize],
        outputs: &[Output],
        most_bytes: u64,
        ask: impl FnOnce(&[usize]) -> Result<Answers>,
    ) -> Result<Vec<Matrix>> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes_with(&tables, rows.len()) > most_bytes {
            tables.clear();
        }
        let unknown = unknown(&tables, rows, outputs);
        let is_new = |output: &Output| !tables.contains_key(output.name());
        if !unknown.is_empty() || outputs.iter().any(is_new) {
            let answers = ask(&unknown)?;
            keep(&mut tables, &unknown, outputs, answers)?;
        }
        Ok(outputs.iter().map(|output| tables[output.name()].rows(rows)).collect())
    }
}

/// The bytes that tables have when so many rows come to each.
fn bytes_with(tables: &BTreeMap<&'static str, Table>, n_more: usize) -> u64 {
    let bytes = |table: &Table| (table.values.len() + n_more * table.n_cols) as u64 * 4;
    tables.values().map(bytes).sum()
}

/// The rows of which an output is not known, each once, ascending; all where an output is not known of any.
fn unknown(tables: &BTreeMap<&'static str, Table>, rows: &[usize], outputs: &[Output]) -> Vec<usize> {
    let is_known = |row: &usize| {
        outputs.iter().all(|output| tables.get(output.name()).is_some_and(|table| table.place_of.contains_key(row)))
    };
    let mut unknown: Vec<usize> = rows.iter().copied().filter(|row| !is_known(row)).collect();
    unknown.sort_unstable();
    unknown.dedup();
    unknown
}

fn keep(
    tables: &mut BTreeMap<&'static str, Table>,
    rows: &[usize],
    outputs: &[Output],
    mut answers: Answers,
) -> Result<()> {
    for output in outputs {
        let answer_nk = found(answers.take(*output))?;
        let n_cols = answer_nk.n_cols;
        let new = || Table { n_cols, place_of: HashMap::new(), values: Vec::new() };
        tables.entry(output.name()).or_insert_with(new).put(rows, &answer_nk);
    }
    Ok(())
}

impl Table {
    /// Put in what is said of these rows; what was known of them stays.
    fn put(&mut self, rows: &[usize], answer_nk: &Matrix) {
        for (i, row) in rows.iter().enumerate() {
            let place = self.place_of.len();
            if !self.place_of.contains_key(row) {
                self.place_of.insert(*row, place);
                self.values.extend(answer_nk.row(i));
            }
        }
    }

    /// Rows that are known, in this order.
    fn rows(&self, rows: &[usize]) -> Matrix {
        let values = rows.iter().flat_map(|row| &self.values[self.place_of[row] * self.n_cols..][..self.n_cols]);
        Matrix { values: values.copied().collect(), n_rows: rows.len(), n_cols: self.n_cols }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::{Code, Error};

    /// A model that says the row's number, and twice that.
    fn said(rows: &[usize], times: f32) -> Matrix {
        let values: Vec<f32> = rows.iter().flat_map(|row| [times * *row as f32, -times * *row as f32]).collect();
        Matrix { values, n_rows: rows.len(), n_cols: 2 }
    }

    fn model(rows: &[usize]) -> Answers {
        Answers { logits: Some(said(rows, 1.0)), probabilities: Some(said(rows, 2.0)), ..Answers::default() }
    }

    #[test]
    fn each_image_is_asked_about_once() {
        let (remembered, both) = (Remembered::default(), [Output::Probabilities, Output::Logits]);
        for (rows, outputs, expected) in [
            // Of no images the model says how wide its answers are.
            (vec![], &both[1..], Some(vec![])),
            (vec![4, 2], &both[1..], Some(vec![2, 4])),
            (vec![2, 4, 2], &both[1..], None),
            (vec![2, 9], &both[1..], Some(vec![9])),
            // Of rows of which one output is known the other is asked for.
            (vec![9, 4], &both[..], Some(vec![4, 9])),
            (vec![9, 4], &both[..1], None),
            (vec![], &both[..], None),
        ] {
            let mut asked = None;
            let answers = remembered.answer(&rows, outputs, 1 << 20, |unknown| {
                asked = Some(unknown.to_vec());
                Ok(model(unknown))
            });
            assert_eq!(asked, expected, "{rows:?}");
            for (output, answer) in outputs.iter().zip(answers.unwrap()) {
                let times = if *output == Output::Logits { 1.0 } else { 2.0 };
                assert_eq!(answer.values, said(&rows, times).values, "{rows:?}");
            }
        }
    }

    #[test]
    fn what_takes_too_much_is_forgotten_and_a_failure_is_told() {
        let remembered = Remembered::default();
        let ask = |rows: &[usize], most_bytes: u64| {
            let mut n_asked = 0;
            let answers = remembered.answer(rows, &[Output::Logits], most_bytes, |unknown| {
                n_asked = unknown.len();
                Ok(model(unknown))
            });
            assert_eq!(answers.unwrap()[0].values, said(rows, 1.0).values);
            n_asked
        };
        // A row has two numbers, which are eight bytes.
        assert_eq!(ask(&[1, 2], 32), 2);
        assert_eq!(ask(&[1, 3], 32), 1);
        assert_eq!(ask(&[1, 3], 32), 2);
        let failed = |_: &[usize]| Err(Error::new(Code::CANCELLED, "cancelled"));
        assert!(remembered.answer(&[7], &[Output::Logits], 1 << 20, failed).is_err());
        let nothing = |_: &[usize]| Ok(Answers::default());
        assert!(remembered.answer(&[7], &[Output::Logits], 1 << 20, nothing).is_err());
    }
}
