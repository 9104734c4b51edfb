//! The images of a project as a selection finds them, and what is said of them.

use crate::cli::args::Select;
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::config::Config;
use crate::data::{Dataset, Decoded, PartlyLabelled, Reading, Shape, Skipped, decode_images, list_images};
use crate::operations::Meter;
use crate::project::{Allowed, Picks, Pool, Project, ProjectError, Recognised};
use std::path::Path;

/// How many unreadable files are named one by one.
const NAMED: usize = 5;

/// What images are resized to for the model.
pub fn shape(config: &Config) -> Shape {
    config.dataset.clone().with_defaults().shape.expect("a folder of images has a shape by default").into()
}

/// The changes of the folder that are allowed: those that were before, or all where the user says so.
fn allowed(project: &Project, select: &Select, rounds: &[Picks]) -> Result<Allowed, ProjectError> {
    let missing = rounds.last().map(|picks| picks.missing.iter().copied().collect());
    let needed = project.needed(rounds)?;
    Ok(Allowed { all: select.accept_changes, missing: missing.unwrap_or_default(), needed })
}

/// Reads the folder, and recognises the images that the project knows.
pub fn read(
    project: &Project,
    select: &Select,
    shape: Shape,
    rounds: &[Picks],
    console: &Console,
) -> Result<(Recognised, Decoded), Problem> {
    let folder = &select.images;
    let cancelled = console.cancelled();
    let listed = list_images(folder, &cancelled).map_err(ProjectError::from)?;
    if !listed.aside.is_empty() {
        console.say(&format!("left aside in {}: {}", folder.display(), listed.aside));
    }
    let order = project.order(&listed)?;
    let progress = |done: usize, all: usize| console.tick("reading", done as u64, all as u64);
    let reading = Reading { progress: &progress, cancelled: &cancelled, white: None };
    let decoded = decode_images(folder, &order, shape, &reading)?;
    decoded.remarks.iter().for_each(|remark| console.say(remark));
    let skipped: Vec<Skipped> = listed.skipped.into_iter().chain(decoded.skipped).collect();
    let decoded = Decoded { skipped, ..decoded };
    let found = project.recognise(&decoded, folder, &allowed(project, select, rounds)?)?;
    Ok((found, decoded))
}

/// Says how many images the folder has, and what is odd about it.
pub fn say_what_is_there(folder: &Path, found: &Recognised, pool: &Pool, skipped: &[Skipped], console: &Console) {
    let new = if found.new > 0 && found.images.len() > found.new {
        format!(", {} of them new", found.new)
    } else {
        String::new()
    };
    let copies = match pool.n_copies() {
        0 => String::new(),
        n => format!("; {n} more files are copies of them"),
    };
    console.say(&format!("{} images in {}{new}{copies}", pool.ids.len(), folder.display()));
    found.lines().iter().for_each(|line| console.say(line));
    if !skipped.is_empty() {
        console.say(&format!("skipped {} that cannot be read:", skipped.len()));
        skipped.iter().take(NAMED).for_each(|skipped| console.say(&format!("  {}: {}", skipped.image, skipped.reason)));
        if skipped.len() > NAMED {
            console.say(&format!("  and {} more, see skipped.csv", skipped.len() - NAMED));
        }
    }
}

/// Says what is not to be chosen: copies, and images that were chosen before.
pub fn say_what_is_left(pool: &Pool, size: usize, wanted: usize, console: &Console) {
    if size < wanted {
        let line = format!("{size} different images are left, so {size} are chosen; the other files are their copies");
        console.say(&line);
    }
    if pool.waiting > 0 {
        let line = "images of earlier rounds have no label yet, and are not offered again";
        console.say(&format!("{} {line}", pool.waiting));
    }
}

/// Says which other project knows these images: their folder may just have another name now.
pub fn say_where_else(project: &Project, found: &Recognised, console: &Console) {
    if let Some((other, n)) = project.sibling_that_knows(found) {
        let other = other.display();
        console.say(&format!("`{other}` knows {n} of these images; to go on with it: `--out {other}`"));
    }
}

/// The images of the pool as a data set: one of each content.
pub fn partly_labelled(found: &Recognised, pool: &Pool, decoded: Decoded, shape: Shape) -> Dataset {
    let place = |id: &u64| found.places[*id as usize].expect("what is in the pool was read");
    let places: Vec<usize> = pool.ids.iter().map(place).collect();
    let images = PartlyLabelled {
        pixels_nhwc: decoded.pixels_at(&places, shape),
        ids: pool.ids.clone(),
        files: pool.ids.iter().map(|id| found.images[*id as usize].image.clone()).collect(),
        n_ids: found.images.len(),
        labels: pool.labels.clone(),
        classes: pool.classes.clone(),
    };
    images.dataset(shape)
}
