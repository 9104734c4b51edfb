//! The table `[sweep]`: what is crossed with what, and the configs that come of it.
//!
//! ```toml
//! [sweep]
//! "initial.size" = [50, 100]                       # an axis: one key of the config
//! initial = [{ strategy = "a" }, { strategy = "b", params = { k = 3 }, as = "b, k 3" }]    # several keys of a section
//! arm = [{ "query.strategy" = "a", "initial.size" = 5, as = "mine" }]                      # keys of any sections
//! dataset = [{ kind = "folder", path = "x", "representation.path" = "x.npy", as = "X" }]   # and what belongs to a data set
//! seed = [1, 2, 3, 4, 5]
//! compare_at = 300                                 # labels at which arms are compared
//! baseline = { "query.strategy" = "a" }            # which arm the others are compared with
//! ```

use super::overrides::is_below;
use super::{Config, ConfigError, Override};
use crate::nearest::nearest;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The table's name.
const SWEEP: &str = "sweep";
/// Which arm the others are compared with.
const BASELINE: &str = "baseline";
/// The axis whose points may set keys of any section.
const ANY_SECTION: &str = "arm";
/// The axis whose points may bring keys of other sections with them: a data set's features, or its sizes.
const DATA_SETS: &str = "dataset";
/// Sections whose keys a data set may bring.
const BROUGHT: [&str; 5] = ["model", "training", "representation", "initial", "query"];
/// What a point that is a table may be called.
const LABEL: &str = "as";
/// Runs in one study. Each has a folder, and is read and checked before the first begins.
const MOST_RUNS: usize = 10_000;

/// A config with its table `[sweep]`, taken apart.
#[derive(Debug)]
pub struct Sweep {
    /// What the study is called.
    pub name: String,
    /// The config with the overrides in it.
    pub text: String,
    /// What is crossed: seeds last.
    pub axes: Vec<Axis>,
    /// Every combination: all arms of one seed before those of the next.
    pub cells: Vec<Cell>,
    file: PathBuf,
    /// The file without the overrides, which mistakes are shown in.
    original: String,
}

/// A list in `[sweep]`.
#[derive(Debug)]
pub struct Axis {
    /// Its key.
    pub name: String,
    points: Vec<Point>,
}

/// One combination.
#[derive(Debug, Clone)]
pub struct Cell {
    /// What each axis has here, in the order of the axes.
    pub labels: Vec<String>,
    /// Its config, without `[sweep]`.
    pub config: Config,
    /// What was laid over the file for it.
    sets: Vec<Override>,
}

/// An element of an axis: its name, and the keys that it sets.
#[derive(Debug)]
struct Point {
    label: String,
    sets: Vec<Override>,
}

impl Axis {
    /// The names of its points.
    pub fn labels(&self) -> Vec<&str> {
        self.points.iter().map(|point| point.label.as_str()).collect()
    }

    /// Whether it is a seed: runs that differ in nothing else belong to one arm.
    pub fn is_seed(&self) -> bool {
        self.name == "seed" || self.name.ends_with(".seed")
    }
}

impl Sweep {
    /// Read a config with a table `[sweep]`; overrides of `sweep` and its keys change the table, all others the rest.
    ///
    /// Errs where the config or any combination is wrong.
    pub fn read(file: &Path, overrides: &[Override]) -> Result<Sweep, ConfigError> {
        let original = super::text_of(file)?;
        let text = &original;
        let at_key = |key: &str, message: String| ConfigError::at_key(file, text, overrides, key, message);
        let mut table: Table = toml::from_str(text).map_err(|error| ConfigError::no_toml(file, text, &error))?;
        let (of_sweep, base): (Vec<Override>, Vec<Override>) =
            overrides.iter().cloned().partition(|set| set.path()[0] == SWEEP);
        for set in &base {
            set.apply(&mut table).map_err(|error| ConfigError::in_override(file, text, set, &error))?;
        }
        let sweep = lists(table.remove(SWEEP), &of_sweep)
            .map_err(|(set, error)| ConfigError::in_override(file, text, set, &error))?;
        let Some(sweep) = sweep else {
            return Err(at_key(SWEEP, "is missing: a table of lists, such as `seed = [1, 2, 3, 4, 5]`,".to_owned()));
        };
        let axes = axes(&sweep).map_err(|(key, message)| at_key(&of_table(&key), message))?;
        check_apart(&axes, &base).map_err(|(key, message)| at_key(&key, message))?;
        check_baseline(&sweep, &axes).map_err(|message| at_key("sweep.baseline", message))?;
        check_number(&axes).map_err(|message| at_key(SWEEP, message))?;
        let cells = crossed(&axes).map(|points| {
            let sets = points.iter().flat_map(|point| &point.sets);
            let sets: Vec<Override> = base.iter().chain(sets).cloned().collect();
            let config = Config { sweep: None, ..Config::parse(file, text, &sets)? };
            Ok(Cell { labels: points.iter().map(|point| point.label.clone()).collect(), config, sets })
        });
        let cells = cells.collect::<Result<Vec<Cell>, ConfigError>>()?;
        check_distinct(&cells).map_err(|message| at_key(SWEEP, message))?;
        let compare_at = sweep.get("compare_at").and_then(Value::as_integer);
        table.insert(SWEEP.to_owned(), Value::Table(sweep));
        let text = if overrides.is_empty() { original.clone() } else { table.to_string() };
        let name = cells.first().map(|cell| cell.config.name.clone()).unwrap_or_default();
        let sweep = Sweep { name, text, axes, cells, file: file.to_owned(), original };
        if let Some(labels) = compare_at {
            let checked = sweep.check_compare_at(labels as usize);
            checked.map_err(|message| {
                ConfigError::at_key(file, &sweep.original, overrides, "sweep.compare_at", message)
            })?;
        }
        Ok(sweep)
    }

    /// An error of a key's value in one combination, wherever it was set.
    pub fn at_key(&self, cell: &Cell, key: &str, message: impl AsRef<str>) -> ConfigError {
        ConfigError::at_key(&self.file, &self.original, &cell.sets, key, message)
    }

    /// Which runs these are, by their positions: `query.strategy` is `a` or `b`; none if they are all.
    pub fn in_words(&self, cells: &[usize]) -> Option<String> {
        if cells.len() == self.cells.len() {
            return None;
        }
        let of_axis = |(i, axis): (usize, &Axis)| {
            let labels: BTreeSet<&str> = cells.iter().map(|cell| self.cells[*cell].labels[i].as_str()).collect();
            if labels.len() == axis.points.len() {
                return None;
            }
            let named = axis.labels().into_iter().filter(|label| labels.contains(label));
            let named: Vec<String> = named.map(|label| format!("`{label}`")).collect();
            Some(format!("`{}` is {}", axis.name, named.join(" or ")))
        };
        let said: Vec<String> = self.axes.iter().enumerate().filter_map(of_axis).collect();
        let (n, all) = (cells.len(), self.cells.len());
        let those = if n == 1 { "1 run".to_owned() } else { format!("{n} runs") };
        Some(match said.is_empty() {
            true => format!("{those} of {all}"),
            false => format!("{those} of {all}, where {}", said.join(" and ")),
        })
    }

    /// Whether the labels at which arms are compared lie within what each arm has.
    fn check_compare_at(&self, labels: usize) -> Result<(), String> {
        let ends = |cell: &Cell| {
            let Config { initial, query, .. } = &cell.config;
            query.labels_at_the_end(initial.most(query.size))
        };
        let begins = |cell: &Cell| cell.config.initial.least(cell.config.query.size);
        let short: Vec<usize> = (0..self.cells.len()).filter(|i| ends(&self.cells[*i]) < labels).collect();
        if let Some(most) = short.iter().map(|i| ends(&self.cells[*i])).max() {
            let which = self.in_words(&short).map(|words| format!(": {words}")).unwrap_or_default();
            let rule = if short.len() == self.cells.len() { "the runs end with" } else { "some runs end with at most" };
            return Err(format!("is {labels}, but {rule} {most} labels{which}"));
        }
        match self.cells.iter().map(begins).min() {
            Some(least) if least > labels => {
                Err(format!("is {labels}, but every run begins with {least} labels or more"))
            }
            _ => Ok(()),
        }
    }
}

/// The config of a file, or every config of its table `[sweep]`.
pub fn configs(file: &Path) -> Result<Vec<Config>, ConfigError> {
    let text = super::text_of(file)?;
    match text.parse::<Table>() {
        Ok(table) if table.contains_key("sweep") => {
            Ok(Sweep::read(file, &[])?.cells.into_iter().map(|cell| cell.config).collect())
        }
        _ => Ok(vec![Config::read(file, &[])?]),
    }
}

/// The table `[sweep]` of a file with the overrides of it laid over, tables within it as dotted keys; none if there is no such
/// table. The error is an override and a sentence.
fn lists(given: Option<Value>, overrides: &[Override]) -> Result<Option<Table>, (&Override, String)> {
    let mut lists = match given {
        Some(Value::Table(given)) => Some(flat(given)),
        _ => None,
    };
    for set in overrides {
        let outcome = match (set.path(), set.value()) {
            ([_], Some(Value::Table(given))) => {
                lists = Some(flat(given.clone()));
                Ok(())
            }
            ([_], Some(_)) => Err("`sweep` must be a table of lists, such as `{ seed = [1, 2, 3] }`,".to_owned()),
            ([_], None) => lists.take().map(drop).ok_or_else(|| set.nothing()),
            ([_, first, below @ ..], value) => {
                lay_over(lists.get_or_insert_default(), first, below, value).ok_or_else(|| set.nothing())
            }
            ([], _) => Ok(()),
        };
        outcome.map_err(|error| (set, error))?;
    }
    Ok(lists)
}

/// Sets a key of the flat table `[sweep]`, or takes it out; none if there is nothing to take out.
fn lay_over(lists: &mut Table, first: &str, below: &[String], value: Option<&Value>) -> Option<()> {
    if first == BASELINE && !below.is_empty() {
        let baseline = lists.entry(BASELINE).or_insert_with(|| Value::Table(Table::new())).as_table_mut()?;
        let Some(value) = value else { return baseline.remove(&below.join(".")).map(drop) };
        baseline.insert(below.join("."), value.clone());
        return Some(());
    }
    let key = [first].into_iter().chain(below.iter().map(String::as_str)).collect::<Vec<_>>().join(".");
    let n_before = lists.len();
    lists.retain(|name, _| *name != key && !is_below(name, &key));
    match value {
        Some(Value::Table(inner)) if key != BASELINE => {
            lists.extend(flat(Table::from_iter([(key, Value::Table(inner.clone()))])))
        }
        Some(value) => drop(lists.insert(key, value.clone())),
        None if lists.len() == n_before => return None,
        None => {}
    }
    Some(())
}

/// The dotted key of a key of the table, or of the table itself.
fn of_table(key: &str) -> String {
    if key.is_empty() { SWEEP.to_owned() } else { format!("{SWEEP}.{key}") }
}

/// Tables within the table as dotted keys; but for the baseline, whose keys are names of axes.
fn flat(given: Table) -> Table {
    let mut flat = Table::new();
    for (key, value) in given {
        match value {
            Value::Table(inner) if key != BASELINE => {
                flat.extend(self::flat(inner).into_iter().map(|(below, value)| (format!("{key}.{below}"), value)));
            }
            value => drop(flat.insert(key, value)),
        }
    }
    flat
}

/// The axes, data sets and then seeds last; the error is a key of the table and a sentence.
fn axes(sweep: &Table) -> Result<Vec<Axis>, (String, String)> {
    let mut axes = Vec::new();
    for (name, value) in sweep {
        let wrong = |rule: &str| Err((name.clone(), rule.to_owned()));
        match (name.as_str(), value) {
            (BASELINE, _) => {}
            ("compare_at", Value::Integer(labels)) if *labels > 0 => {}
            ("compare_at", _) => return wrong("must be a number of labels, at least 1"),
            (_, Value::Array(values)) if !values.is_empty() => axes.push(axis(name, values)?),
            _ => return wrong("must be a list with at least one value"),
        }
    }
    if axes.is_empty() {
        return Err((String::new(), "has no list: nothing is crossed".to_owned()));
    }
    // What comes last changes slowest: whoever does the runs in order keeps the images that it has read.
    axes.sort_by_key(|axis| (axis.is_seed(), axis.name.starts_with("dataset")));
    Ok(axes)
}

/// Errs where the axes make more runs than a study may have.
fn check_number(axes: &[Axis]) -> Result<(), String> {
    let n = axes.iter().fold(1usize, |n, axis| n.saturating_mul(axis.points.len()));
    if n <= MOST_RUNS {
        return Ok(());
    }
    let number = if n == usize::MAX { "more runs than can be counted".to_owned() } else { format!("{n} runs") };
    let n_axes = axes.len();
    Err(format!("crosses {n_axes} lists, which makes {number}; a study has at most {MOST_RUNS}: make several of it,"))
}

fn axis(name: &str, values: &[Value]) -> Result<Axis, (String, String)> {
    if values.len() > MOST_RUNS {
        let rule = format!("has {} values, but a study has at most {MOST_RUNS} runs", values.len());
        return Err((name.to_owned(), rule));
    }
    let mut points: Vec<Point> = Vec::new();
    let mut labels = HashSet::new();
    for value in values {
        let point = point(name, value).map_err(|rule| (name.to_owned(), rule))?;
        if !labels.insert(point.label.clone()) {
            let rule = format!("has `{}` twice; tell tables apart with `{LABEL} = \"NAME\"`", point.label);
            return Err((name.to_owned(), rule));
        }
        points.push(point);
    }
    Ok(Axis { name: name.to_owned(), points })
}

/// Whether a key of a data set's table is one of another section.
fn is_brought(key: &str) -> bool {
    key.split_once('.').is_some_and(|(section, _)| BROUGHT.contains(&section))
}

/// An element of the axis `name`. A table on a section sets keys of this section, in an axis of arms keys of any, with a data set
/// those that belong to it; on a key within a section it is the key's value.
fn point(name: &str, value: &Value) -> Result<Point, String> {
    let mut keys = match value {
        Value::Table(keys) => keys.clone(),
        _ if name == ANY_SECTION => return Err("must be a list of tables of keys".to_owned()),
        value => {
            let sets = vec![Override::in_sweep(name, name, value.clone())];
            return Ok(Point { label: plain(value), sets });
        }
    };
    let label = match keys.remove(LABEL) {
        Some(Value::String(label)) => Some(label),
        Some(_) => return Err(format!("`{LABEL}` must be a text")),
        None => None,
    };
    if name.contains('.') {
        let texts: Vec<String> = keys.values().map(plain).collect();
        let label = label.unwrap_or_else(|| texts.join(", "));
        return Ok(Point { label, sets: vec![Override::in_sweep(name, name, Value::Table(keys))] });
    }
    let mut sets = Vec::new();
    for (key, value) in &keys {
        match (name, value) {
            (ANY_SECTION, Value::Table(section)) if !key.contains('.') => {
                sets.extend(
                    section.iter().map(|(below, v)| Override::in_sweep(name, &format!("{key}.{below}"), v.clone())),
                );
            }
            (ANY_SECTION, value) => sets.push(Override::in_sweep(name, key, value.clone())),
            (DATA_SETS, value) if is_brought(key) => sets.push(Override::in_sweep(name, key, value.clone())),
            (section, value) => sets.push(Override::in_sweep(name, &format!("{section}.{key}"), value.clone())),
        }
    }
    let label = label.unwrap_or_else(|| {
        let mut texts: Vec<String> = sets.iter().filter_map(|set| set.value()).map(plain).collect();
        texts.dedup();
        texts.join(", ")
    });
    Ok(Point { label, sets })
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// No key may be set by two axes, or by an axis and an override: one of them would count for nothing.
fn check_apart(axes: &[Axis], overrides: &[Override]) -> Result<(), (String, String)> {
    let meets = |a: &Override, b: &Override| a.covers(b.key()) || b.covers(a.key());
    for (i, axis) in axes.iter().enumerate() {
        let sets = || axis.points.iter().flat_map(|point| &point.sets);
        if let Some(set) = overrides.iter().find(|set| sets().any(|own| meets(own, set))) {
            let rule = format!("is an axis of `[sweep]`; set `sweep.{}` to another list instead", axis.name);
            return Err((set.key().to_owned(), rule));
        }
        for other in &axes[i + 1..] {
            let mut theirs = other.points.iter().flat_map(|point| &point.sets);
            if let Some(set) = theirs.find(|set| sets().any(|own| meets(own, set))) {
                let rule = format!("sets `{}`, and so does the axis `{}`", set.key(), axis.name);
                return Err((format!("sweep.{}", other.name), rule));
            }
        }
    }
    Ok(())
}

/// Whether the baseline names points of axes.
fn check_baseline(sweep: &Table, axes: &[Axis]) -> Result<(), String> {
    let Some(baseline) = sweep.get(BASELINE) else { return Ok(()) };
    let form = "must be a table of axes and their values, such as { \"query.strategy\" = \"NAME\" }";
    let baseline = baseline.as_table().ok_or(form)?;
    let known = |word: &str, of: &mut dyn Iterator<Item = &str>| {
        nearest(word, of).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
    };
    for (name, value) in baseline {
        let Some(axis) = axes.iter().find(|axis| axis.name == *name) else {
            let hint = known(name, &mut axes.iter().map(|axis| axis.name.as_str()));
            return Err(format!("names `{name}`, which is no axis{hint}"));
        };
        let label = plain(value);
        if axis.points.iter().all(|point| point.label != label) {
            let hint = known(&label, &mut axis.points.iter().map(|point| point.label.as_str()));
            return Err(format!("names `{label}`, which the axis `{name}` does not have{hint}"));
        }
    }
    Ok(())
}

/// No two combinations may be the same run under two names.
fn check_distinct(cells: &[Cell]) -> Result<(), String> {
    let mut seen: BTreeMap<String, &Cell> = BTreeMap::new();
    for cell in cells {
        if let Some(other) = seen.insert(cell.config.to_toml(), cell) {
            let [first, second] = [other, cell].map(|cell| cell.labels.join(", "));
            return Err(format!("has one run twice: `{first}` and `{second}` set the same"));
        }
    }
    Ok(())
}

/// Every combination of a point of each axis; the last axis changes slowest.
fn crossed(axes: &[Axis]) -> impl Iterator<Item = Vec<&Point>> {
    let n = axes.iter().map(|axis| axis.points.len()).product();
    (0..n).map(|mut i: usize| {
        let digit = |axis: &'_ Axis| {
            let digit = i % axis.points.len();
            i /= axis.points.len();
            digit
        };
        let digits: Vec<usize> = axes.iter().map(digit).collect();
        axes.iter().zip(digits).map(|(axis, digit)| &axis.points[digit]).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Size;

    const BASE: &str = r#"
name = "toy"
[dataset]
kind = "synthetic"
[query]
strategy = "entropy"
size = 5
until = 40
[initial]
size = 10
"#;

    fn read(sweep: &str, overrides: &[&str]) -> Result<Sweep, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("toy.toml");
        std::fs::write(&file, format!("{BASE}{sweep}")).unwrap();
        let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().unwrap()).collect();
        Sweep::read(&file, &overrides).map_err(|error| error.to_string())
    }

    fn labels(sweep: &Sweep) -> Vec<String> {
        sweep.cells.iter().map(|cell| cell.labels.join("/")).collect()
    }

    #[test]
    fn lists_are_crossed_and_seeds_change_slowest() {
        let sweep =
            read("[sweep]\nseed = [1, 2]\ninitial.size = [5, 10]\n\"initial.strategy\" = [\"random\"]", &[]).unwrap();
        let names: Vec<&str> = sweep.axes.iter().map(|axis| axis.name.as_str()).collect();
        assert_eq!(names, ["initial.size", "initial.strategy", "seed"]);
        assert_eq!(labels(&sweep), ["5/random/1", "10/random/1", "5/random/2", "10/random/2"]);
        let last = &sweep.cells[3].config;
        assert_eq!((last.seed, last.initial.size, last.sweep.is_none()), (2, Size::Of(10), true));
    }

    #[test]
    fn a_point_may_set_several_keys_and_bear_a_name() {
        let sweep = read(
            r#"[sweep]
initial = [{ strategy = "random" }, { strategy = "kmeans", params = { a = 1 }, as = "mine" }]
arm = [{ query = { strategy = "margin", size = 3 } }, { "query.strategy" = "random", seed = 4 }]"#,
            &[],
        )
        .unwrap();
        assert_eq!(labels(&sweep), ["3, margin/random", "random, 4/random", "3, margin/mine", "random, 4/mine"]);
        let config = &sweep.cells[3].config;
        assert_eq!((config.query.strategy.as_str(), config.query.size, config.seed), ("random", 5, 4));
        assert_eq!((config.initial.strategy.as_str(), config.initial.size), ("kmeans", Size::Of(10)));
    }

    #[test]
    fn a_data_set_brings_what_belongs_to_it() {
        let sweep = read(
            r#"[sweep]
"initial.strategy" = ["random"]
dataset = [
  { kind = "synthetic", size = 300, "query.size" = 20, "representation.method" = "pixels", as = "drawn" },
  { kind = "fashion-mnist" },
]"#,
            &[],
        )
        .unwrap();
        assert_eq!(labels(&sweep), ["random/drawn", "random/fashion-mnist"]);
        let [drawn, photographs] = &sweep.cells[..] else { panic!("two runs") };
        assert_eq!((drawn.config.query.size, drawn.config.dataset.size), (20, Some(300)));
        assert_eq!(drawn.config.representation.as_ref().map(|section| section.method.as_str()), Some("pixels"));
        assert_eq!((photographs.config.query.size, photographs.config.representation.is_none()), (5, true));
        // Not what belongs to no data set.
        let wrong = "[sweep]\n\"initial.strategy\" = [\"random\"]\ndataset = [{ kind = \"synthetic\", \"plugins.timeout\" = 3.0 }]";
        assert!(read(wrong, &[]).unwrap_err().contains("`dataset.plugins"));
    }

    #[test]
    fn a_table_on_a_key_is_its_value() {
        let sweep = read(
            r#"[sweep]
"initial.strategy" = ["random"]
"initial.representation" = [{ method = "moco-v2", epochs = 3, as = "moco" }, { method = "pixels" }]"#,
            &[],
        )
        .unwrap();
        assert_eq!(labels(&sweep), ["moco/random", "pixels/random"]);
        let of = |i: usize| sweep.cells[i].config.initial.representation.clone().unwrap();
        assert_eq!((of(0).epochs, of(1).method.as_str(), of(1).epochs), (Some(3), "pixels", None));
    }

    #[test]
    fn overrides_change_the_table_or_the_base() {
        let sweep =
            read("[sweep]\n\"initial.strategy\" = [\"a\"]", &["sweep.seed=[3, 4]", "training.epochs=7"]).unwrap();
        assert_eq!(labels(&sweep), ["a/3", "a/4"]);
        assert!(sweep.cells.iter().all(|cell| cell.config.training.epochs == 7));
        let again: Table = sweep.text.parse().unwrap();
        assert_eq!(again["training"]["epochs"].as_integer(), Some(7));
        assert_eq!(again["sweep"]["seed"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn mistakes_are_told_with_their_key() {
        let seeds = "[sweep]\n\"initial.strategy\" = [\"random\", \"margin\"]\nseed = [1, 2]";
        let with = |line: &str| format!("{seeds}\n{line}");
        for (sweep, overrides, expected) in [
            (String::new(), vec![], "`sweep` is missing"),
            ("[sweep]".to_owned(), vec![], "has no list"),
            (with("\"query.size\" = 3"), vec![], "`sweep.query.size` must be a list"),
            (with("\"query.size\" = []"), vec![], "`sweep.query.size` must be a list"),
            (with("\"query.size\" = [3, 3]"), vec![], "has `3` twice"),
            (with("\"query.size\" = [3, 0]"), vec![], "`query.size` must be at least 1"),
            (with("\"query.sice\" = [3]"), vec![], "`query.sice` is not a known key"),
            // The file lacks a strategy, which the axis brings; what is left wrong is another key of the file.
            (format!("wrong = 1\n{seeds}"), vec![], "`initial.wrong` is not a known key"),
            (with("\"query.size\" = [\"many\"]"), vec![], "query.size"),
            (
                with("initial = [{ strategy = \"b\" }]"),
                vec![],
                "sets `initial.strategy`, and so does the axis `initial`",
            ),
            (with("arm = [3]"), vec![], "`sweep.arm` must be a list of tables"),
            (with("compare_at = 0"), vec![], "`sweep.compare_at` must be a number of labels"),
            (with("baseline = { \"initial.strategi\" = \"random\" }"), vec![], "did you mean `initial.strategy`?"),
            (with("baseline = { \"initial.strategy\" = \"margn\" }"), vec![], "did you mean `margin`?"),
            (
                with("\"query.size\" = [5, 6]\narm = [{ \"training.epochs\" = 60, as = \"a\" }, { as = \"b\" }]"),
                vec![],
                "has one run twice",
            ),
            (seeds.to_owned(), vec!["seed=3"], "`seed` is an axis of `[sweep]`"),
            (seeds.to_owned(), vec!["initial={}"], "`initial` is an axis of `[sweep]`"),
        ] {
            let error = read(&sweep, &overrides).map(|_| ()).unwrap_err();
            assert!(error.contains(expected), "{sweep} {overrides:?}: {error}");
        }
    }
}
