//! Turns run directories into one HTML page that works offline and a PNG of the learning curve.
//!
//! Called by `coldstart report` and at the end of a run. It reads files only: no engine, no plugin, no running
//! experiment. `files`, `tables` and `maps` say what lies in a run directory, `run` reads one, `arms` and `curve` do
//! the arithmetic, `chart`, `maps`, `png` and `page` draw.

mod arms;
#[cfg(test)]
mod browser;
mod chart;
mod curve;
pub mod export;
mod facts;
mod figure;
mod files;
#[cfg(test)]
mod fixture;
mod maps;
mod page;
mod picks;
mod png;
mod run;
mod statistics;
mod study;
mod tables;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::{Path, PathBuf};

pub use files::{Config, DatasetInfo, Environment, Event, LockedPlugin, Metrics, Pick, Shape, Timings};
pub use maps::{ImageMap, MapFile, Thumbs};
pub use picks::write_picks;
pub use run::{Round, Run, Sprite, Status, read_run};
pub use tables::{Diagnostics, Pretext, Representation, Task, Training};

/// What [`write`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The page, complete in one file.
    pub html: PathBuf,
    /// The accuracy curve: beside the page and with the same stem, or the first of a study's figures.
    pub png: PathBuf,
    /// How many runs the page shows.
    pub runs: usize,
    /// What was unreadable or unfinished, one sentence each, beginning with the run's name; the page shows it too.
    pub problems: Vec<String>,
}

/// Why no report could be written. An unfinished or broken run is not an error: see [`Report::problems`].
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The list of run directories was empty.
    #[error("no run directory was given")]
    NoRuns,
    /// A folder is not a run directory.
    #[error(
        "`{dir}` is not a run directory: it has no {missing} (hint: name the folder that holds `config.toml` and \
         `rounds/`)",
        dir = dir.display()
    )]
    NotARun {
        /// The folder.
        dir: PathBuf,
        /// The files looked for and not found.
        missing: String,
    },
    /// A file of a run, a study or a project is not what was written: what it says would be told as if it were.
    #[error("`{path}` is damaged: {problem} (hint: bring it back as it was)", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file of a selection cannot be read.
    #[error("cannot read `{path}`: {problem}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A study stands among other folders.
    #[error("`{dir}` is a study, and the page of a study shows nothing else (hint: report it alone)", dir = dir.display())]
    StudyAmongOthers {
        /// The study.
        dir: PathBuf,
    },
    /// A folder for exported runs holds something else.
    #[error(
        "`{dir}` holds `{name}`, which is no experiment of MLflow's (hint: name an empty folder, or one that was exported to before)",
        dir = dir.display()
    )]
    ForeignStore {
        /// The folder.
        dir: PathBuf,
        /// What is in it.
        name: String,
    },
    /// The plan of a study is unreadable.
    #[error("cannot read `{path}`: {reason} (hint: `coldstart sweep` writes it)", path = path.display())]
    Plan {
        /// The plan.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A result could not be written.
    #[error("cannot write `{path}`: {source}", path = path.display())]
    Write {
        /// The file to be written.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The learning curve could not be drawn.
    #[error("cannot draw `{path}`: {reason}", path = path.display())]
    Draw {
        /// The PNG to be drawn.
        path: PathBuf,
        /// What the drawing library said.
        reason: String,
    },
    /// The page's template failed.
    #[error("cannot fill the page's template: {0}")]
    Page(#[from] askama::Error),
}

/// Reads every run directory and writes the page to `html` and the curve to the same path with the ending `png`; or reads one
/// study, a folder with `plan.csv`, and writes its page, tables and figures.
///
/// Every file appears whole or not at all. Errs when a folder is not a run directory or a file cannot be written;
/// unfinished and damaged runs are shown with what they have.
pub fn write(run_dirs: &[PathBuf], html: &Path) -> Result<Report, ReportError> {
    if run_dirs.is_empty() {
        return Err(ReportError::NoRuns);
    }
    match run_dirs {
        [dir] if study::is_study(dir) => return study::write(dir, html),
        _ => {
            if let Some(dir) = run_dirs.iter().find(|dir| study::is_study(dir)) {
                return Err(ReportError::StudyAmongOthers { dir: dir.clone() });
            }
        }
    }
    let runs = run_dirs.iter().map(|dir| read_run(dir)).collect::<Result<Vec<_>, _>>()?;
    let arms = arms::group(&runs);
    let png = html.with_extension("png");
    write_whole(&png, &png::draw(&arms, &png)?)?;
    write_whole(html, page::render(&runs, &arms)?.as_bytes())?;
    Ok(Report { html: html.to_owned(), png, runs: runs.len(), problems: runs.iter().flat_map(Run::notes).collect() })
}

/// Writes through a partial file in the same folder, so that a full disk leaves no half page. What others left who were killed goes.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = parent.join(format!(".{name}.{}.{PARTIAL}", std::process::id()));
    let write = || {
        std::fs::create_dir_all(parent)?;
        remove_abandoned(parent, &name)?;
        let mut file = std::fs::File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().map_err(|source| {
        let _ = std::fs::remove_file(&partial);
        ReportError::Write { path: path.to_owned(), source }
    })
}

/// The ending of a file that is not whole yet.
const PARTIAL: &str = "partial";

/// Removes partial files of this name whose processes are no more.
fn remove_abandoned(folder: &Path, name: &str) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let process =
            file.strip_prefix(&format!(".{name}.")).and_then(|file| file.strip_suffix(&format!(".{PARTIAL}")));
        let is_abandoned = |process: &str| process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists();
        if process.is_some_and(is_abandoned) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
