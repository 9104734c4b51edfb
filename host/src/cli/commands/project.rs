//! `coldstart project`: what `select` wrote, looked at, given out again, and rid of images.

use super::print_json;
use super::select::{ESTIMATE, sentences};
use crate::cli::args::{Project as Command, ProjectExport};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::cli::stdout;
use crate::cli::typed::{Wanted, existing, make_folder_of};
use crate::foreign;
use crate::project::{Change, Picks, Project, to_csv, to_folders};
use crate::session::Estimate;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// The commands under `project`.
pub fn project(command: &Command, console: &Console) -> Result<(), Problem> {
    match command {
        Command::Status { project, json } => status(project, *json),
        Command::Export(settings) => export(settings, console),
        Command::Drop { project, images, undo } => forget(project, images, *undo, console),
    }
}

fn open(folder: &Path) -> Result<Project, Problem> {
    existing(folder, Wanted::Project)?;
    Ok(Project::open(folder)?)
}

/// `coldstart project status PROJECT`.
fn status(folder: &Path, json: bool) -> Result<(), Problem> {
    let project = open(folder)?;
    let (rounds, labels, dropped) = (project.rounds()?, project.labels()?, project.dropped()?);
    let waiting = project.waiting(&labels)?;
    let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
    labels.values().for_each(|label| *classes.entry(label).or_default() += 1);
    let estimate = estimate_of(&project)?;
    let images = rounds.last().map_or(0, |last| last.images);
    if json {
        print_json(&json!({
            "rounds": rounds.len(), "images": images, "labels": labels.len(), "classes": classes, "waiting": waiting,
            "dropped": dropped.values().collect::<Vec<_>>(), "estimate": estimate,
        }));
        return Ok(());
    }
    outln!("{images} images, {} labels, {waiting} chosen and not labelled, {} dropped", labels.len(), dropped.len());
    rounds.iter().for_each(tell_round);
    classes.iter().for_each(|(class, n)| outln!("{:<24} {n:>6}", foreign::phrase(class)));
    let lines = estimate.iter().flat_map(|estimate| sentences(Some(estimate), estimate.labels));
    lines.for_each(|line| outln!("{line}"));
    Ok(())
}

fn tell_round(picks: &Picks) {
    let strategies = picks.strategies.join(" and ");
    outln!("round {}: {} images by {}, {}", picks.round, picks.picks.len(), foreign::phrase(&strategies), picks.time);
}

/// What the predictions of the last round are worth, if it made any.
fn estimate_of(project: &Project) -> Result<Option<Estimate>, Problem> {
    let path = project.path(ESTIMATE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Problem::outcome(format!("cannot read `{}`: {error}", path.display()), None)),
    };
    let damaged = |error| Problem::outcome(format!("`{}` is damaged: {error}", path.display()), None);
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

/// `coldstart project export PROJECT`.
fn export(settings: &ProjectExport, console: &Console) -> Result<(), Problem> {
    let project = open(&settings.project)?;
    let labelled = project.labelled()?;
    if labelled.is_empty() {
        let message = format!("no image of `{}` has a label yet", settings.project.display());
        let hint = format!("coldstart ingest {} LABELS", settings.project.display());
        return Err(Problem::usage(message, Some(hint)));
    }
    if let Some(folder) = &settings.folders {
        let images = settings.images.clone().or(project.folder_of_images()?).unwrap_or_default();
        existing(&images, Wanted::Images)?;
        to_folders(&labelled, &images, folder)?;
        console.say(&format!("{} images copied", labelled.len()));
        outln!("{}", folder.display());
    }
    match settings.csv.as_deref() {
        Some(file) if file == Path::new("-") => stdout::table(&to_csv(&labelled)),
        Some(file) => {
            make_folder_of(file)?;
            let failed = |error| Problem::outcome(format!("cannot write `{}`: {error}", file.display()), None);
            std::fs::write(file, to_csv(&labelled)).map_err(failed)?;
            outln!("{}", file.display());
        }
        None => {}
    }
    Ok(())
}

/// `coldstart project drop PROJECT IMAGE...`.
fn forget(folder: &Path, images: &[String], undo: bool, console: &Console) -> Result<(), Problem> {
    let mut project = open(folder)?;
    let change = if undo { project.take_back(images)? } else { project.drop_images(images)? };
    let Change { images, labels, unchanged } = change;
    let (done, before) = if undo { ("taken back", "were not dropped") } else { ("dropped", "were dropped before") };
    images.iter().for_each(|image| outln!("{image}"));
    console.say(&format!("{} files {done}, with {labels} labels", images.len()));
    if !unchanged.is_empty() {
        console.say(&format!("{} {before}", unchanged.len()));
    }
    Ok(())
}
