//! `coldstart select`: which images of a folder to label next.

use super::print_json;
use super::run::options;
use crate::cli::args::{Args, Format, Select};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::cli::stdout;
use crate::cli::typed::{Wanted, existing, make_folder_of};
use crate::config::{Choosing, Config, Settings};
use crate::data::{Dataset, Decoded, PartlyLabelled, Reading, Shape, Skipped, decode_images, list_images, sheet};
use crate::experiment::{now, write_atomically};
use crate::operations::Meter;
use crate::project::{Allowed, Known, Pick, Picks, Pool, Project, ProjectError, Recognised, tasks, url_prefix};
use crate::report::write_picks;
use crate::session::{Chosen, Found, Options, Question};
use coldstart_plugin_api::{Role, Selection};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
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
    existing(&select.images, Wanted::Images)?;
    let mut project = Project::at(&select.out.clone().unwrap_or_else(|| default_folder(&select.images)))?;
    let rounds = project.rounds()?;
    if let (true, Some(picks)) = (project.completed_a_selection(), rounds.last()) {
        console.say(
            "the last selection was done when it was stopped, and is shown now; the same command again makes another",
        );
        return tell(select, &project, picks);
    }
    let round = rounds.len() as u32;
    let role = role(&project, &rounds)?;
    let options = options(args, console, &select.device);
    let prepared = prepare(select, select.size, &project, role, &options)?;

    let shape = shape(&prepared.settings.config);
    let (found, decoded) = read(&project, select, shape, &rounds, console)?;
    let labels = found.renamed(project.labels()?);
    let pool = Pool::new(&found, &labels, &rounds)?;
    say_what_is_there(&select.images, &found, &pool, &decoded.skipped, console);
    if rounds.is_empty() && select.out.is_none() {
        say_where_else(&project, &found, console);
    }
    let size = pool.check(select.size)?;
    let prepared = match size < select.size {
        true => prepare(select, size, &project, role, &options)?,
        false => prepared,
    };
    say_what_is_left(&pool, size, select.size, console);

    let (skipped, white) = (decoded.skipped.clone(), decoded.white);
    let data = partly_labelled(&found, &pool, decoded, shape);
    let at_key = |key: &str, message: String| prepared.settings.at_key(key, message);
    let chooser = prepared.strategies.with(data, &options, &at_key)?;
    let (config, strategies) = (chooser.config().clone(), chooser.strategies());
    let state = state_before(&project, &rounds, &strategies)?;

    let folder = project.begin()?;
    let (labelled, unlabelled) = (&pool.labelled[..], &pool.unlabelled[..]);
    console.say(&format!("round {round}: {} labels, {size} of {} images", labelled.len(), unlabelled.len()));
    let question = Question { round, labelled, unlabelled, state: &state };
    let Chosen { selection, state } = chooser.choose(&question, &folder)?;
    let (names, hashes) = strategies.into_iter().unzip();
    let picks = Picks {
        format: 1,
        round,
        role: role.name().to_owned(),
        strategies: names,
        sha256: hashes,
        seed: config.seed,
        coldstart: env!("CARGO_PKG_VERSION").to_owned(),
        time: now(),
        seconds: start.elapsed().as_secs_f64(),
        folder: select.images.display().to_string(),
        images: pool.ids.len(),
        copies: pool.n_copies(),
        missing: found.missing.clone(),
        skipped: skipped.len(),
        labels: pool.counts(),
        picks: ranked(&selection, &pool, &found.images),
    };
    write_round(select, &folder, &config, &picks, &state, white)?;
    let earlier: Vec<PathBuf> = (0..round).map(|round| project.round(round)).collect();
    let images: Vec<String> = found.images.iter().map(|known| known.image.clone()).collect();
    write_picks(&folder, &earlier, &images)?;
    project.finish(round, &found, &labels, &skipped)?;
    console.clear();
    tell(select, &project, &picks)
}

/// The settings of a selection, and the strategies that they name.
struct Prepared {
    settings: Settings,
    strategies: Found,
}

/// Reads the settings and finds the strategies, before any image is read.
fn prepare(
    select: &Select,
    size: usize,
    project: &Project,
    role: Role,
    options: &Options,
) -> Result<Prepared, Problem> {
    let settings = settings_of(select, size, project, role)?;
    let at_key = |key: &str, message: String| settings.at_key(key, message);
    let strategies = Found::new(settings.config.clone(), role, options, &at_key)?;
    Ok(Prepared { settings, strategies })
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

fn settings_of(select: &Select, size: usize, project: &Project, role: Role) -> Result<Settings, Problem> {
    let images = std::path::absolute(&select.images).unwrap_or_else(|_| select.images.clone());
    let choosing = Choosing {
        role,
        strategy: &select.strategy,
        size,
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

/// The changes of the folder that are allowed: those that were before, or all where the user says so.
fn allowed(select: &Select, rounds: &[Picks]) -> Allowed {
    let missing = rounds.last().map(|picks| picks.missing.iter().copied().collect());
    Allowed { all: select.accept_changes, missing: missing.unwrap_or_default() }
}

/// Reads the folder, and recognises the images that the project knows.
fn read(
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
    let found = project.recognise(&decoded, folder, &allowed(select, rounds))?;
    Ok((found, decoded))
}

/// Says how many images the folder has, and what is odd about it.
fn say_what_is_there(folder: &Path, found: &Recognised, pool: &Pool, skipped: &[Skipped], console: &Console) {
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
fn say_what_is_left(pool: &Pool, size: usize, wanted: usize, console: &Console) {
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
fn say_where_else(project: &Project, found: &Recognised, console: &Console) {
    if let Some((other, n)) = project.sibling_that_knows(found) {
        let other = other.display();
        console.say(&format!("`{other}` knows {n} of these images; to go on with it: `--out {other}`"));
    }
}

/// The images of the pool as a data set: one of each content.
fn partly_labelled(found: &Recognised, pool: &Pool, decoded: Decoded, shape: Shape) -> Dataset {
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

/// What the same strategies left when they chose last.
fn state_before(project: &Project, rounds: &[Picks], strategies: &[(String, String)]) -> Result<Vec<u8>, Problem> {
    let same = |picks: &&Picks| {
        picks.role == Role::Query.name() && picks.sha256.iter().eq(strategies.iter().map(|(_, sha256)| sha256))
    };
    let last = rounds.iter().rev().find(same);
    Ok(last.and_then(|picks| std::fs::read(project.round(picks.round).join(STATE)).ok()).unwrap_or_default())
}

/// The chosen images by name.
fn ranked(selection: &Selection, pool: &Pool, images: &[Known]) -> Vec<Pick> {
    let pick = |(i, id): (usize, &u64)| Pick {
        rank: i + 1,
        image: images[*id as usize].image.clone(),
        score: selection.scores.get(i).copied(),
        id: *id,
        copies: pool.names_of_copies(*id, images),
    };
    selection.ids.iter().enumerate().map(pick).collect()
}

/// Everything of a round but its page.
///
/// `white` is what is white in grey of 16 bits, over all images.
fn write_round(
    select: &Select,
    folder: &Path,
    config: &Config,
    picks: &Picks,
    state: &[u8],
    white: u16,
) -> Result<(), Problem> {
    let write = |name: &str, bytes: &[u8]| write_atomically(&folder.join(name), bytes);
    write("config.toml", config.to_toml().as_bytes())?;
    if !state.is_empty() {
        write(STATE, state)?;
    }
    let side = TILES[usize::from(picks.picks.len() >= MANY)];
    let shape = Shape { height: side, width: side, channels: 3 };
    let paths: Vec<String> = picks.picks.iter().map(|pick| pick.image.clone()).collect();
    let reading = Reading { progress: &|_, _| {}, cancelled: &AtomicBool::new(false), white: Some(white) };
    let shown = decode_images(&select.images, &paths, shape, &reading)?;
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
        Some(file) => {
            make_folder_of(file)?;
            std::fs::write(file, csv)
                .map_err(|error| Problem::outcome(format!("cannot write `{}`: {error}", file.display()), None))?;
        }
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
