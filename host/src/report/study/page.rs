//! The page of a study.

use std::path::Path;

use askama::Template;

use super::Analysed;
use super::arms::SIZE_AXIS;
use super::data::{self, Data};
use super::plan::{State, Study};
use super::sentences::Findings;
use super::table::Table;
use crate::report::chart;
use crate::report::facts::{self, count};
use crate::report::run::Run;

/// Longer tables are cut on the page; their CSV is whole.
const MOST_ROWS: usize = 2000;
/// The table of runs is what every point is looked up in.
const OPEN: [&str; 5] = ["budgets", "ranking", "initial-sets", "runs", "plugins"];

/// The whole page as HTML; it will stand at `html`.
pub(super) fn render(
    study: &Study,
    analysed: &[Analysed],
    tables: &[Table],
    findings: &[Findings],
    html: &Path,
) -> Result<String, askama::Error> {
    let base = base(&study.dir, html);
    let page = Page {
        title: &study.name,
        facts: facts(study, analysed),
        notes: study.notes(),
        findings,
        has_sizes: analysed.iter().any(|facet| !facet.sizes.is_empty() && facet.rankings.is_some()),
        size_axis: SIZE_AXIS,
        tables,
        data: data::gather(study, analysed, base.clone()),
        base,
        script: chart::script(),
    };
    page.render()
}

#[derive(Template)]
#[template(path = "study/page.html")]
struct Page<'a> {
    title: &'a str,
    facts: Vec<(&'static str, String)>,
    notes: Vec<String>,
    findings: &'a [Findings],
    has_sizes: bool,
    size_axis: &'static str,
    tables: &'a [Table],
    base: String,
    data: Data,
    script: String,
}

impl Page<'_> {
    const KIND: &'static str = "Coldstart study";
    const CSS: &'static str = include_str!("../page.css");
    const STUDY_CSS: &'static str = include_str!("page.css");
    const SORT_JS: &'static str = include_str!("../sort.js");
    const JS: &'static str = include_str!("page.js");

    fn opens(&self, table: &&Table) -> bool {
        OPEN.contains(&table.name)
    }

    fn rows(&self, table: &&Table) -> Vec<Vec<(String, Option<f64>)>> {
        table.shown(MOST_ROWS)
    }

    fn cut(&self, table: &&Table) -> bool {
        table.len() > MOST_ROWS
    }
}

fn facts(study: &Study, analysed: &[Analysed]) -> Vec<(&'static str, String)> {
    let runs: Vec<&Run> = study.cells.iter().filter_map(|cell| cell.run.as_ref()).collect();
    let states = [State::Finished, State::Unfinished, State::Failed, State::Missing].into_iter().filter_map(|state| {
        let n = study.cells.iter().filter(|cell| cell.state == state).count();
        (n > 0).then(|| format!("{n} {}", state.name()))
    });
    let arms: usize = analysed.iter().map(|facet| facet.facet.arms.len()).sum();
    let planned = format!(
        "{}, {}: {}",
        count(study.cells.len(), "run"),
        count(arms, "arm"),
        states.collect::<Vec<_>>().join(", ")
    );
    let mut starts: Vec<&str> = study.cells.iter().map(|cell| cell.round0.as_str()).collect();
    starts.sort_unstable();
    starts.dedup();
    let labels: usize = runs.iter().filter_map(|run| run.last_round()).map(|round| round.metrics.labels_bought()).sum();
    facts::of(
        &runs,
        [
            ("Axes", axes(study)),
            ("Runs", planned),
            ("Starts", count(starts.len(), "different initial set")),
            ("Labels", format!("{} over all runs, validation labels included", facts::thousands(labels))),
        ],
    )
}

fn axes(study: &Study) -> String {
    let axis = |(place, name): (usize, &String)| {
        let mut labels: Vec<&str> = Vec::new();
        for cell in &study.cells {
            if !labels.contains(&cell.labels[place].as_str()) {
                labels.push(&cell.labels[place]);
            }
        }
        let more = if labels.len() > 12 { format!(" ... ({} in all)", labels.len()) } else { String::new() };
        labels.truncate(12);
        format!("{name}: {}{more}", labels.join(", "))
    };
    study.axes.iter().enumerate().map(axis).collect::<Vec<_>>().join("; ")
}

/// How links on the page lead to the study's folder: not at all where the page stands in it.
fn base(dir: &Path, html: &Path) -> String {
    let folder = html.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if whole(folder) == whole(dir) {
        return String::new();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let path = whole(dir).to_string_lossy().into_owned();
    let escaped =
        path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    escaped.collect::<String>() + "/"
}
