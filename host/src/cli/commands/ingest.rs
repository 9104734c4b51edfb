//! `coldstart ingest`: what people said of the chosen images.

use super::print_json;
use crate::cli::args::{Ingest, OnDisagreement};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::project::{Disagreement, Project, Read};
use serde_json::json;

/// How many disputed images are named one by one.
const NAMED: usize = 5;

/// `coldstart ingest PROJECT LABELS`.
pub fn ingest(ingest: &Ingest, console: &Console) -> Result<(), Problem> {
    let project = Project::open(&ingest.project)?;
    let read = Read::file(&ingest.labels, ingest.field.as_deref())?;
    let (cancelled, unanswered) = (read.cancelled, read.unanswered);
    let policy = match ingest.disagreement {
        OnDisagreement::Refuse => Disagreement::Refuse,
        OnDisagreement::Skip => Disagreement::Skip,
        OnDisagreement::Majority => Disagreement::Majority,
    };
    let merged = project.merge(read, policy, ingest.replace)?;
    project.store_labels(&merged.labels)?;
    let waiting = project
        .rounds()?
        .iter()
        .flat_map(|picks| &picks.picks)
        .filter(|pick| !merged.labels.contains_key(&pick.image))
        .count();

    let replaced = merged.replaced.len();
    let known = merged.same;
    console.say(&format!("{} new labels, {known} known before, {replaced} replaced", merged.new));
    for (n, what) in [(cancelled, "annotations were skipped or cancelled"), (unanswered, "tasks or rows have no label")]
    {
        if n > 0 {
            console.say(&format!("{n} {what}"));
        }
    }
    if !merged.disputed.is_empty() {
        let n = merged.disputed.len();
        console.say(&format!("{n} images stay without a label, because theirs differ:"));
        merged.disputed.iter().take(NAMED).for_each(|image| console.say(&format!("  {image}")));
    }
    if let Some(alike) = merged.alike() {
        console.say(&format!("labels that differ only in capital letters: {alike}"));
    }
    if waiting > 0 {
        console.say(&format!("{waiting} chosen images have no label yet"));
    }
    let classes = merged.classes();
    if ingest.json {
        print_json(&json!({
            "labels": merged.labels.len(), "classes": classes, "new": merged.new, "same": merged.same,
            "replaced": merged.replaced, "disputed": merged.disputed, "cancelled": cancelled,
            "unanswered": unanswered, "waiting": waiting,
        }));
        return Ok(());
    }
    classes.iter().for_each(|(class, n)| outln!("{class:<24} {n:>6}"));
    Ok(())
}
