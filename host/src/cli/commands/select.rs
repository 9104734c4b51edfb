//! `coldstart select`: which images of a folder to label next.

use super::print_json;
use super::run::options;
use crate::cli::args::{Args, Format, Select};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::cli::stdout;
use crate::config::{Choosing, Config, Settings};
use crate::data::{Decoded, Shape, Skipped, decode_images, list_images, partly_labelled, sheet};
use crate::experiment::{now, write_atomically};
use crate::operations::Meter;
use crate::project::{Known, Pick, Picks, Pool, Project, tasks, url_prefix};
use crate::report::write_picks;
use crate::session::{Chosen, Found, Question};
use coldstart_plugin_api::{Role, Selection};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Side of a tile of the contact sheet, and of one where there are many.
const TILES: [usize; 2] = [128, 64];
/// From so many images on they are shown small.
const MANY: usize = 300;
/// How many unreadable files are named one by one.
const NAMED: usize = 5;
/// What the strategies want to be told the next time.
const STATE: &str = "strategy.state";

/// `coldstart select`.
pub fn select(args: &Args, select: &Select, console: &Console) -> Result<(), Problem> {
    let start = Instant::now();
    let mut project = Project::at(&select.out.clone().unwrap_or_else(|| default_folder(&select.images)))?;
    let rounds = project.rounds()?;
    let round = rounds.len() as u32;
    let role = role(&project, &rounds)?;
    let settings = settings(select, &project, role)?;
    let at_key = |key: &str, message: String| settings.at_key(key, message);
    let options = options(args, console, &select.device);
    let found = Found::new(settings.config.clone(), role, &options, &at_key)?;

    let shape = shape(&settings.config);
    let (images, pixels_nhwc, skipped) = read(&project, &select.images, shape, console)?;
    let pool = Pool::new(&images, &project.labels()?, &rounds);
    pool.check(select.size)?;
    if pool.waiting > 0 {
        let line = "images of earlier rounds have no label yet, and are not offered again";
        console.say(&format!("{} {line}", pool.waiting));
    }
    let names: Vec<String> = images.iter().map(|known| known.image.clone()).collect();
    let data = partly_labelled(pixels_nhwc, shape, &pool.labels, pool.classes.clone(), names.clone());
    let chooser = found.with(data, &options, &at_key)?;
    let (config, strategies) = (chooser.config().clone(), chooser.strategies());
    let state = state_before(&project, &rounds, &strategies)?;

    let folder = project.begin(&images)?;
    let (labelled, unlabelled) = (&pool.labelled[..], &pool.unlabelled[..]);
    console.say(&format!("round {round}: {} labels, {} of {} images", labelled.len(), select.size, unlabelled.len()));
    let question = Question { round, labelled, unlabelled, state: &state };
    let Chosen { selection, state } = chooser.choose(&question, &folder)?;
    let picks = Picks {
        format: 1,
        round,
        role: role.name().to_owned(),
        strategies: strategies.iter().map(|(name, _)| name.clone()).collect(),
        sha256: strategies.into_iter().map(|(_, sha256)| sha256).collect(),
        seed: config.seed,
        coldstart: env!("CARGO_PKG_VERSION").to_owned(),
        time: now(),
        seconds: start.elapsed().as_secs_f64(),
        folder: select.images.display().to_string(),
        images: images.len(),
        skipped: skipped.len(),
        labels: pool.counts(),
        picks: ranked(&selection, &images),
    };
    write_round(select, &folder, &config, &picks, &state)?;
    let earlier: Vec<PathBuf> = (0..round).map(|round| project.round(round)).collect();
    write_picks(&folder, &earlier, &names)?;
    project.finish(round, &images, &skipped)?;
    console.clear();
    tell(select, &project, &picks)
}

/// `NAME-selection` for a folder called NAME.
fn default_folder(images: &Path) -> PathBuf {
    let absolute = std::path::absolute(images).unwrap_or_else(|_| images.to_owned());
    let name = absolute.file_name().map_or_else(|| "images".into(), |name| name.to_string_lossy());
    PathBuf::from(format!("{name}-selection"))
}

/// What is asked of the strategy: an initial set, or more images once some are labelled.
fn role(project: &Project, rounds: &[Picks]) -> Result<Role, Problem> {
    match rounds.last() {
        None => Ok(Role::Initial),
        Some(_) if !project.labels()?.is_empty() => Ok(Role::Query),
        Some(last) => {
            let root = project.root().display();
            let message = format!("none of the {} images that `{root}` chose has a label yet", last.picks.len());
            let hint = format!(
                "label them, then: coldstart ingest {root} LABELS; or begin another project with `--out`, with a larger \
                 `--size`"
            );
            Err(Problem::usage(message, Some(hint)))
        }
    }
}

fn settings(select: &Select, project: &Project, role: Role) -> Result<Settings, Problem> {
    let images = std::path::absolute(&select.images).unwrap_or_else(|_| select.images.clone());
    let choosing = Choosing {
        role,
        strategy: &select.strategy,
        size: select.size,
        images: &images,
        representation: select.representation.as_deref(),
    };
    let file = project.path("config.toml");
    let before = std::fs::read_to_string(&file).ok();
    Ok(choosing.config(&file, before.as_deref(), &select.overrides())?)
}

/// What images are resized to for the model.
fn shape(config: &Config) -> Shape {
    config.dataset.clone().with_defaults().shape.expect("a folder of images has a shape by default").into()
}

/// The images by id, their pixels, and what is none.
type Images = (Vec<Known>, Vec<u8>, Vec<Skipped>);

/// Reads the folder as the project knows it, and says what is in it.
fn read(project: &Project, folder: &Path, shape: Shape, console: &Console) -> Result<Images, Problem> {
    let listed = list_images(folder).map_err(crate::project::ProjectError::from)?;
    let order = project.order(&listed, folder)?;
    let progress = |done: usize, all: usize| console.tick("reading", done as u64, all as u64);
    let decoded = decode_images(folder, &order, shape, &progress);
    let skipped: Vec<Skipped> = listed.skipped.into_iter().chain(decoded.skipped).collect();
    let decoded = Decoded { skipped: skipped.clone(), ..decoded };
    let (images, new) = project.check(&decoded, folder)?;
    let new = if new > 0 && images.len() > new { format!(", {new} of them new") } else { String::new() };
    console.say(&format!("{} images in {}{new}", images.len(), folder.display()));
    if !skipped.is_empty() {
        console.say(&format!("skipped {} that cannot be read:", skipped.len()));
        skipped.iter().take(NAMED).for_each(|skipped| console.say(&format!("  {}: {}", skipped.image, skipped.reason)));
        if skipped.len() > NAMED {
            console.say(&format!("  and {} more, see skipped.csv", skipped.len() - NAMED));
        }
    }
    Ok((images, decoded.pixels_nhwc, skipped))
}

/// What the same strategies left when they chose last.
fn state_before(project: &Project, rounds: &[Picks], strategies: &[(String, String)]) -> Result<Vec<u8>, Problem> {
    let same = |picks: &&Picks| {
        picks.role == Role::Query.name() && picks.sha256.iter().eq(strategies.iter().map(|(_, sha256)| sha256))
    };
    let last = rounds.iter().rev().find(same);
    Ok(last.and_then(|picks| std::fs::read(project.round(picks.round).join(STATE)).ok()).unwrap_or_default())
}

/// The chosen images by name.
fn ranked(selection: &Selection, images: &[Known]) -> Vec<Pick> {
    let pick = |(i, id): (usize, &u64)| Pick {
        rank: i + 1,
        image: images[*id as usize].image.clone(),
        score: selection.scores.get(i).copied(),
        id: *id,
    };
    selection.ids.iter().enumerate().map(pick).collect()
}

/// Everything of a round but its page.
fn write_round(select: &Select, folder: &Path, config: &Config, picks: &Picks, state: &[u8]) -> Result<(), Problem> {
    let write = |name: &str, bytes: &[u8]| write_atomically(&folder.join(name), bytes);
    write("config.toml", config.to_toml().as_bytes())?;
    if !state.is_empty() {
        write(STATE, state)?;
    }
    let side = TILES[usize::from(picks.picks.len() >= MANY)];
    let shape = Shape { height: side, width: side, channels: 3 };
    let paths: Vec<String> = picks.picks.iter().map(|pick| pick.image.clone()).collect();
    let shown = decode_images(&select.images, &paths, shape, &|_, _| {});
    write("contact-sheet.png", &sheet(&shown.pixels_nhwc, shape))?;
    if select.format.contains(&Format::LabelStudio) {
        let images = std::path::absolute(&select.images).unwrap_or_else(|_| select.images.clone());
        let prefix = select.url_prefix.clone().unwrap_or_else(|| url_prefix(&images));
        write("label-studio.json", tasks(picks, &prefix).as_bytes())?;
    }
    write("picks.csv", picks.to_csv().as_bytes())?;
    Ok(write("picks.json", picks.to_json().as_bytes())?)
}

/// What was written, on stdout; or the picks themselves, where they are asked for.
fn tell(select: &Select, project: &Project, picks: &Picks) -> Result<(), Problem> {
    let csv = picks.to_csv();
    match &select.output {
        Some(file) if file == Path::new("-") => {
            stdout::table(&csv);
            return Ok(());
        }
        Some(file) => std::fs::write(file, csv)
            .map_err(|error| Problem::outcome(format!("cannot write `{}`: {error}", file.display()), None))?,
        None => {}
    }
    if select.json {
        print_json(picks);
        return Ok(());
    }
    for name in ["picks.csv", "picks.json", "contact-sheet.png", "label-studio.json", "index.html"] {
        let file = project.path(name);
        if file.exists() {
            outln!("{}", file.display());
        }
    }
    Ok(())
}
