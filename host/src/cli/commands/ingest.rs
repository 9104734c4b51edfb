//! `coldstart ingest`: what people said of the chosen images.

use super::print_json;
use crate::cli::args::{Ingest, OnDisagreement};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::cli::typed::{Wanted, existing};
use crate::foreign;
use crate::project::{Columns, Disagreement, Merged, Project, Read};
use serde_json::json;

/// How many disputed images are named one by one.
const NAMED: usize = 5;

/// `coldstart ingest PROJECT LABELS`.
pub fn ingest(ingest: &Ingest, console: &Console) -> Result<(), Problem> {
    existing(&ingest.project, Wanted::Project)?;
    existing(&ingest.labels, Wanted::File)?;
    let mut project = Project::open(&ingest.project)?;
    let names = project.names()?;
    let columns = Columns { label: ingest.field.clone(), image: ingest.image_field.clone() };
    let mut read = Read::file(&ingest.labels, &columns, &names)?;
    let (cancelled, unanswered) = (read.cancelled, read.unanswered);
    let (notes, other_kinds) = (std::mem::take(&mut read.notes), std::mem::take(&mut read.other_kinds));
    let policy = match ingest.disagreement {
        OnDisagreement::Refuse => Disagreement::Refuse,
        OnDisagreement::Skip => Disagreement::Skip,
        OnDisagreement::Majority => Disagreement::Majority,
    };
    let merged = project.merge(read, &names, policy, ingest.replace)?;
    project.store_labels(&merged.labels)?;
    let waiting = project.waiting(&merged.labels)?;

    notes.iter().for_each(|note| console.say(note));
    let replaced = merged.replaced.len();
    let known = merged.same;
    console.say(&format!("{} new labels, {known} known before, {replaced} replaced", merged.new));
    for (n, what) in [(cancelled, "annotations were skipped or cancelled"), (unanswered, "tasks or rows have no label")]
    {
        if n > 0 {
            console.say(&format!("{n} {what}"));
        }
    }
    if unanswered > 0 && !other_kinds.is_empty() {
        let kinds: Vec<String> = other_kinds.into_iter().collect();
        console.say(&format!("answers of these kinds are no labels of images: {}", kinds.join(", ")));
    }
    say_disagreements(&merged, console);
    say_doubts(&merged, console);
    if waiting > 0 {
        console.say(&format!("{waiting} chosen images have no label yet"));
    }
    let classes = merged.classes();
    if ingest.json {
        print_json(&json!({
            "labels": merged.labels.len(), "classes": classes, "new": merged.new, "same": merged.same,
            "replaced": merged.replaced, "disputed": merged.disputed, "revised": merged.revised, "dropped": merged.dropped,
            "cancelled": cancelled,
            "unanswered": unanswered, "waiting": waiting,
        }));
        return Ok(());
    }
    classes.iter().for_each(|(class, n)| outln!("{:<24} {n:>6}", foreign::phrase(class)));
    Ok(())
}

/// Says where annotators differ, among each other or from what they said before.
fn say_disagreements(merged: &Merged, console: &Console) {
    say_images(&merged.revised, "have two labels by one annotator, of which the later counts", console);
    say_images(&merged.dropped, "were dropped, and stay without a label", console);
    say_images(&merged.disputed, "stay without a label, because theirs differ", console);
    if merged.nameless > 0 {
        let n = merged.nameless;
        console.say(&format!("{n} labels of images in dispute name no annotator: each counted as one annotator's"));
    }
}

fn say_images(images: &[String], what: &str, console: &Console) {
    if !images.is_empty() {
        console.say(&format!("{} images {what}:", images.len()));
        images.iter().take(NAMED).for_each(|image| console.say(&format!("  {image}")));
    }
}

/// Says which labels are most likely slips.
fn say_doubts(merged: &Merged, console: &Console) {
    for group in merged.alike() {
        console.say(&format!("labels that differ only in capital letters, spaces or the form of a number: {group}"));
    }
    if let Some(missing) = merged.missing() {
        console.say(&format!("labels that often stand for a missing value, taken as classes here: {missing}"));
    }
    if let (1, Some(class)) = (merged.classes().len(), merged.classes().into_keys().next()) {
        console.say(&format!("all labels so far are `{class}`: strategies that ask a model need a second class"));
    }
}
