//! What the model said of images before they were labelled: `prequential.csv` in a round's folder.
//!
//! Predict first, then learn (Dawid 1984, Statistical Theory: The Prequential Approach): such predictions are right as often as the
//! model is on images like those, and cost no label.

use super::RunError;
use coldstart_plugin_api::Prequential;
use std::path::Path;

const HEADER: [&str; 3] = ["id", "predicted", "label"];

/// The table of a round: a row for each image, in the order in which they were chosen.
pub fn to_csv(rows: &[Prequential]) -> String {
    let row = |row: &Prequential| format!("{},{},{}\n", row.id, row.predicted, row.label);
    let header = format!("{}\n", HEADER.join(","));
    std::iter::once(header).chain(rows.iter().map(row)).collect()
}

/// What a table says of the images of a round; `path` names it in errors.
pub fn of_csv(text: &str, round: u32, path: &Path) -> Result<Vec<Prequential>, RunError> {
    let damaged = |problem: String| RunError::Damaged { path: path.to_owned(), problem };
    let mut lines = text.lines();
    let expected = HEADER.join(",");
    if lines.next() != Some(expected.as_str()) {
        return Err(damaged(format!("its first line is not `{expected}`")));
    }
    let row = |(i, line): (usize, &str)| {
        let cells: Option<Vec<u64>> = line.split(',').map(|cell| cell.parse().ok()).collect();
        match cells.as_deref() {
            Some([id, predicted, label]) => Ok(Prequential { id: *id, round, predicted: *predicted, label: *label }),
            _ => Err(damaged(format!("row {}: not three whole numbers", i + 1))),
        }
    };
    lines.enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let row = |id, predicted, label| Prequential { id, round: 3, predicted, label };
        let file = Path::new("prequential.csv");
        for rows in [vec![], vec![row(7, 0, 2), row(u64::MAX, 1, 1)]] {
            assert_eq!(of_csv(&to_csv(&rows), 3, file).unwrap(), rows);
        }
        for (text, problem) in [
            ("", "first line"),
            ("id,label\n", "first line"),
            ("id,predicted,label\n1,2\n", "row 1"),
            ("id,predicted,label\n1,2,3\n1,-2,3\n", "row 2"),
        ] {
            assert!(of_csv(text, 3, file).unwrap_err().to_string().contains(problem), "{text:?}");
        }
    }
}
