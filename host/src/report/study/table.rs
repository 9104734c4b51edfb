//! A table that becomes CSV with every digit, Markdown to be pasted, and rows of a page.

use crate::foreign;

/// What a study found, in rows and columns.
#[derive(Debug)]
pub(super) struct Table {
    /// Stem of its files.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// How to read it, in a sentence or two.
    pub(super) caption: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
}

#[derive(Debug)]
struct Column {
    title: String,
    /// Three columns of a CSV: mean, half of the interval's width, runs.
    mean: bool,
}

/// A cell.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Count(usize),
    /// A number and how many decimals a reader wants.
    Number(f64, usize),
    /// A probability; small ones in powers of ten.
    P(f64),
    /// Mean, half of the width of its 95 % interval, and how many runs.
    Mean(f64, Option<f64>, usize),
    Missing,
}

const DASH: &str = "–";

impl Table {
    /// A table without rows. A title that ends in `±` is that of a mean with its interval.
    pub(super) fn new(name: &'static str, title: &'static str, caption: String, columns: &[impl AsRef<str>]) -> Self {
        let column = |title: &str| match title.strip_suffix(" ±") {
            Some(title) => Column { title: title.to_owned(), mean: true },
            None => Column { title: title.to_owned(), mean: false },
        };
        let columns = columns.iter().map(|title| column(title.as_ref())).collect();
        Table { name, title, caption, columns, rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Vec<Value>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Leaves out the first column, which would say the same in every row.
    pub(super) fn drop_first_column(&mut self) {
        self.columns.remove(0);
        for row in &mut self.rows {
            row.remove(0);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Titles, and whether the column holds numbers.
    pub(super) fn header(&self) -> Vec<(&str, bool)> {
        let numeric = |place: usize| self.rows.iter().all(|row| !matches!(row[place], Value::Text(_)));
        self.columns.iter().enumerate().map(|(place, column)| (column.title.as_str(), numeric(place))).collect()
    }

    /// The first `most` rows as a reader sees them: text, and the number to sort by.
    pub(super) fn shown(&self, most: usize) -> Vec<Vec<(String, Option<f64>)>> {
        self.rows
            .iter()
            .take(most)
            .map(|row| row.iter().map(|value| (value.rounded(), value.number())).collect())
            .collect()
    }

    /// As CSV: one row of titles, numbers with 12 significant digits, nothing for what is missing.
    pub(super) fn csv(&self) -> String {
        let mut titles = Vec::new();
        for column in &self.columns {
            titles.push(column.title.clone());
            if column.mean {
                titles.extend([format!("{}, half width", column.title), format!("{}, runs", column.title)]);
            }
        }
        let mut text = line(&titles);
        for row in &self.rows {
            let cells = self.columns.iter().zip(row).flat_map(|(column, value)| value.full(column.mean));
            text += &line(&cells.collect::<Vec<_>>());
        }
        text
    }

    /// As Markdown, rounded.
    pub(super) fn markdown(&self) -> String {
        let cell = |text: &str| in_markdown(text);
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let header = self.header();
        let rule = header.iter().map(|(_, numeric)| if *numeric { "---:" } else { "---" }.to_owned());
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.caption);
        text += &line(header.iter().map(|(title, _)| cell(title)).collect());
        text += &line(rule.collect());
        for row in &self.rows {
            text += &line(row.iter().map(|value| cell(&value.rounded())).collect());
        }
        text
    }
}

/// A cell of a table in Markdown: it ends no column and no row, and is no markup.
fn in_markdown(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in foreign::line(text).chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' => cell.extend(['\\', c]),
            '<' => cell += "&lt;",
            '&' => cell += "&amp;",
            c => cell.push(c),
        }
    }
    cell
}

fn line(cells: &[String]) -> String {
    let quoted = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    };
    cells.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n"
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    pub(super) fn labels(labels: f64) -> Value {
        Value::Number(labels, usize::from(labels.fract() != 0.0))
    }

    /// The mean of those that are there.
    pub(super) fn mean_of(values: &[Option<f64>]) -> Value {
        use crate::report::statistics::{half_width, mean};
        let values: Vec<f64> = values.iter().flatten().copied().collect();
        if values.is_empty() { Value::Missing } else { Value::Mean(mean(&values), half_width(&values), values.len()) }
    }

    fn rounded(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            Value::Count(n) => n.to_string(),
            Value::Number(number, decimals) => format!("{number:.decimals$}"),
            Value::P(p) if *p > 0.0 && *p < 0.001 => format!("{p:.0e}"),
            Value::P(p) => format!("{p:.3}"),
            Value::Mean(mean, Some(half), n) => format!("{mean:.3} ± {half:.3} ({n})"),
            Value::Mean(mean, None, n) => format!("{mean:.3} ({n})"),
            Value::Missing => DASH.to_owned(),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Value::Count(n) => Some(*n as f64),
            Value::Number(number, _) | Value::P(number) | Value::Mean(number, ..) => Some(*number),
            Value::Text(_) | Value::Missing => None,
        }
    }

    fn full(&self, mean: bool) -> Vec<String> {
        match (self, mean) {
            (Value::Mean(mean, half, n), _) => vec![digits(*mean), half.map_or(String::new(), digits), n.to_string()],
            (_, true) => vec![String::new(); 3],
            (Value::Text(text), _) => vec![text.clone()],
            (Value::Missing, _) => vec![String::new()],
            (value, _) => vec![value.number().map_or(String::new(), digits)],
        }
    }
}

/// 12 significant digits: more than any sum here loses, fewer than another system's logarithm may differ in.
fn digits(number: f64) -> String {
    let rounded: f64 = format!("{number:.11e}").parse().unwrap_or(number);
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table =
            Table::new("t", "A table", "Read it.".to_owned(), &["facet", "arm", "accuracy ±", "p", "labels"]);
        let mean = Value::Mean(0.7123456789012345, Some(0.01), 5);
        table.push(vec![Value::text("x"), Value::text("a, \"b\""), mean, Value::P(0.00012345), Value::labels(60.0)]);
        table.push(vec![Value::text("x"), Value::text("c|d"), Value::Missing, Value::Missing, Value::labels(60.5)]);
        table
    }

    #[test]
    fn csv_has_every_digit_and_markdown_is_rounded() {
        let mut table = table();
        table.drop_first_column();
        let csv = "arm,accuracy,\"accuracy, half width\",\"accuracy, runs\",p,labels\n\
                   \"a, \"\"b\"\"\",0.712345678901,0.01,5,0.00012345,60\nc|d,,,,,60.5\n";
        assert_eq!(table.csv(), csv);
        let markdown = "## A table\n\nRead it.\n\n| arm | accuracy | p | labels |\n| --- | ---: | ---: | ---: |\n\
                        | a, \"b\" | 0.712 ± 0.010 (5) | 1e-4 | 60 |\n| c\\|d | – | – | 60.5 |\n";
        assert_eq!(table.markdown(), markdown);
    }

    #[test]
    fn numbers_read_back_as_they_were_to_twelve_digits() {
        for number in [0.1 + 0.2, 1.0 / 3.0, 1e-17, 12345.678901234567, -0.5, 0.0, f64::INFINITY] {
            let back: f64 = digits(number).parse().unwrap();
            assert!(back == number || ((back - number) / number).abs() < 1e-11, "{number} {back}");
        }
        assert_eq!((digits(0.1 + 0.2).as_str(), digits(f64::INFINITY).as_str()), ("0.3", "inf"));
    }
}
