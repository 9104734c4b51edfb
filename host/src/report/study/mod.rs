//! The report of a study: many runs of one config with a table `[sweep]`.
//!
//! `plan` reads the folder, `arms` says what is compared with what, `compare` and `ranking` compare, `sentences` says what that
//! supports, `tables` has all of it in numbers, `figures` and `page` show it.

mod arms;
mod compare;
mod data;
mod figures;
#[cfg(test)]
pub(super) mod fixture;
mod page;
mod plan;
mod plugins;
mod ranking;
mod sentences;
mod sizers;
mod starts;
mod table;
mod tables;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::figure::DrawError;
use super::{Report, ReportError, write_whole};
use arms::{Design, Facet};
use plan::{Cell, Study};

pub(super) use plan::{Named, is_study, named_runs};

/// A facet with what follows from it.
#[derive(Debug)]
struct Analysed<'a> {
    design: &'a Design,
    facet: Facet<'a>,
    /// The labels of the sizes, smallest first.
    sizes: &'a [String],
    /// For each arm the one that it is compared with.
    baselines: Vec<Option<usize>>,
    /// For each arm the name of what it begins with.
    initial_sets: Vec<String>,
    rankings: Option<ranking::Rankings>,
}

impl<'a> Analysed<'a> {
    fn all(study: &'a Study, design: &'a Design) -> Vec<Self> {
        let analysed = |facet: Facet<'a>| Analysed {
            design,
            sizes: &design.sizes,
            baselines: design.baselines(study, &facet),
            initial_sets: design.initial_sets(study, &facet),
            rankings: ranking::rankings(design, &facet),
            facet,
        };
        design.facets(study).into_iter().map(analysed).collect()
    }

    /// The arm of a run, if it belongs to this facet.
    fn arm_of(&self, cell: &Cell) -> Option<usize> {
        self.facet.arms.iter().position(|arm| arm.cells.iter().any(|own| own.id == cell.id))
    }
}

/// Reads the study in `dir` and writes its page to `html`, its tables and figures into the study's own folders.
pub(super) fn write(dir: &Path, html: &Path) -> Result<Report, ReportError> {
    let study = plan::read(dir)?;
    let design = Design::of(&study);
    let analysed = Analysed::all(&study, &design);
    let tables = tables::all(&study, &analysed);
    for table in &tables {
        let path = dir.join("tables").join(table.name);
        write_whole(&path.with_extension("csv"), table.csv().as_bytes())?;
        write_whole(&path.with_extension("md"), table.markdown().as_bytes())?;
    }
    let figures = figures::all(&analysed);
    for (stem, figure) in &figures {
        let path = dir.join("figures").join(stem);
        let (png, svg) = (path.with_extension("png"), path.with_extension("svg"));
        let failed = |error: DrawError| ReportError::Draw { path: path.clone(), reason: error.to_string() };
        write_whole(&png, &figure.png().map_err(failed)?)?;
        write_whole(&svg, figure.svg().map_err(failed)?.as_bytes())?;
    }
    let findings = sentences::all(&study, &analysed);
    write_whole(html, page::render(&study, &analysed, &tables, &findings, html)?.as_bytes())?;
    let png = figures
        .first()
        .map_or_else(|| html.with_extension("png"), |(stem, _)| dir.join("figures").join(stem).with_extension("png"));
    Ok(Report { html: html.to_owned(), png, runs: study.cells.len(), problems: study.notes() })
}
