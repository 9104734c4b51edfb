//! `coldstart select`: which images of a folder to label next.

mod images;
mod round;
mod worth;

pub use round::ESTIMATE;
pub use worth::sentences;

use super::print_json;
use super::run::options;
use crate::cli::args::{Args, Select};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::cli::stdout;
use crate::cli::typed::{Wanted, existing, make_folder_of};
use crate::config::{Choosing, DefaultStrategy, Settings};
use crate::experiment::{now, seed};
use crate::project::{Picks, Pool, Project};
use crate::report::write_picks;
use crate::session::{Chosen, Found, NearCopies, Options, Predicted, Question};
use coldstart_plugin_api::{Rng, Role};
use images::{partly_labelled, read, say_what_is_left, say_what_is_there, say_where_else, shape};
use round::{Round, ranked, state_before};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// One of so many images is drawn by chance where nobody says who chooses.
const SHARE_DRAWN: usize = 5;

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
    let strategy = strategy_of(select, &project, &rounds, role, console)?;
    let wanted = Wish { select, strategy: &strategy, role };
    let prepared = wanted.prepare(Sizes::of(select, select.size), &project, &options)?;

    let shape = shape(&prepared.settings.config);
    let (found, decoded) = read(&project, select, shape, &rounds, console)?;
    let labels = found.renamed(project.labels()?);
    let dropped = project.dropped()?;
    let pool = Pool::new(&found, &labels, &rounds, &dropped)?;
    say_what_is_there(&select.images, &found, &pool, &decoded.skipped, console);
    if rounds.is_empty() && select.out.is_none() {
        say_where_else(&project, &found, console);
    }
    let size = pool.check(select.size)?;
    let sizes = Sizes::of(select, size);
    let prepared = match size < select.size {
        true => wanted.prepare(sizes, &project, &options)?,
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
    if !dropped.is_empty() {
        console.say(&format!("{} images were dropped, and are left out", dropped.len()));
    }
    console.say(&format!("round {round}: {} labels, {size} of {} images", labelled.len(), unlabelled.len()));
    if sizes.drawn > 0 {
        let n = sizes.drawn;
        console.say(&format!("{n} of the {size} are drawn by chance, to tell what a model is worth for all images"));
    }
    let drawn = draw(unlabelled, sizes.drawn, config.seed, round);
    let offered: Vec<u64> = unlabelled.iter().copied().filter(|id| !drawn.contains(id)).collect();
    let question = Question {
        round,
        labelled,
        unlabelled: &offered,
        state: &state,
        drawn: &drawn_before(&rounds, labelled),
        more: size,
        predicts: !select.no_predictions,
        near: select.near_duplicates,
    };
    let Chosen { selection, state, predicted, near } = chooser.choose(&question, &folder)?;
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
        picks: ranked(&selection, &drawn, &pool, &found.images),
    };
    let (predicted, near) = (predicted.as_ref(), near.as_ref());
    let left =
        Round { config: &config, picks: &picks, pool: &pool, found: &found, state: &state, predicted, near, white };
    left.write(select, &folder)?;
    let earlier: Vec<PathBuf> = (0..round).map(|round| project.round(round)).collect();
    let images: Vec<String> = found.images.iter().map(|known| known.image.clone()).collect();
    write_picks(&folder, &earlier, &images)?;
    project.finish(round, &found, &labels, &skipped)?;
    console.clear();
    say_what_was_found(predicted, near, labelled.len(), console);
    tell(select, &project, &picks)
}

/// Says what the predictions are worth, and how many images are nearly the same.
fn say_what_was_found(predicted: Option<&Predicted>, near: Option<&NearCopies>, n_labelled: usize, console: &Console) {
    if let Some(near) = near {
        console.say(&format!("{} pairs of images are nearly the same: near-copies.csv", near.len()));
    }
    if let Some(predicted) = predicted {
        let lines = sentences(predicted.estimate.as_ref(), n_labelled);
        lines.iter().for_each(|line| console.say(line));
    }
}

/// What is asked for.
struct Wish<'a> {
    select: &'a Select,
    strategy: &'a str,
    role: Role,
}

/// The settings of a selection, and the strategies that they name.
struct Prepared {
    settings: Settings,
    strategies: Found,
}

impl Wish<'_> {
    /// Reads the settings and finds the strategies, before any image is read.
    fn prepare(&self, sizes: Sizes, project: &Project, options: &Options) -> Result<Prepared, Problem> {
        let settings = self.settings(sizes.chosen, project)?;
        let at_key = |key: &str, message: String| settings.at_key(key, message);
        let predicts = !self.select.no_predictions;
        let strategies = Found::new(settings.config.clone(), self.role, predicts, options, &at_key)?;
        Ok(Prepared { settings, strategies })
    }

    fn settings(&self, size: usize, project: &Project) -> Result<Settings, Problem> {
        let select = self.select;
        let images = std::path::absolute(&select.images).unwrap_or_else(|_| select.images.clone());
        let choosing = Choosing {
            role: self.role,
            strategy: self.strategy,
            size,
            images: &images,
            representation: select.representation.as_deref(),
        };
        let file = project.path("config.toml");
        let before = std::fs::read_to_string(&file).ok();
        Ok(choosing.config(&file, before.as_deref(), &select.overrides())?)
    }
}

/// How many images the strategy chooses, and how many are drawn by chance beside them.
#[derive(Clone, Copy)]
struct Sizes {
    chosen: usize,
    drawn: usize,
}

impl Sizes {
    /// Those of a round of `size` images. Never all of them are drawn, so that somebody chooses.
    fn of(select: &Select, size: usize) -> Sizes {
        let by_default = if select.strategy.is_some() { 0 } else { size / SHARE_DRAWN };
        let drawn = select.draw.unwrap_or(by_default).min(size.saturating_sub(1));
        Sizes { chosen: size - drawn, drawn }
    }
}

/// Images drawn by chance, in the order of the draw.
fn draw(unlabelled: &[u64], n: usize, run_seed: u64, round: u32) -> Vec<u64> {
    let mut rng = Rng::for_stream(seed(run_seed, round, "drawn"), "images");
    rng.sample(unlabelled.len(), n).into_iter().map(|place| unlabelled[place]).collect()
}

/// The labelled images that were drawn by chance in rounds before, ascending.
fn drawn_before(rounds: &[Picks], labelled: &[u64]) -> Vec<u64> {
    let picks = rounds.iter().flat_map(|round| &round.picks);
    let drawn: BTreeSet<u64> = picks.filter(|pick| pick.drawn).map(|pick| pick.id).collect();
    labelled.iter().copied().filter(|id| drawn.contains(id)).collect()
}

/// The strategy that is asked for, the one that chose in this role before, or the default, which is said with its reason.
fn strategy_of(
    select: &Select,
    project: &Project,
    rounds: &[Picks],
    role: Role,
    console: &Console,
) -> Result<String, Problem> {
    if let Some(strategy) = &select.strategy {
        return Ok(strategy.clone());
    }
    let has_chosen = rounds.iter().any(|picks| picks.role == role.name());
    let config = std::fs::read_to_string(project.path("config.toml")).unwrap_or_default();
    if let Some(strategy) = DefaultStrategy::named_in(&config, role).filter(|_| has_chosen) {
        console.say(&format!("`{strategy}` chooses, as before"));
        return Ok(strategy);
    }
    let labels = project.labels()?;
    let classes: BTreeSet<&String> = labels.values().collect();
    // With one class there is nothing to ask a model.
    let role = if classes.len() < 2 { Role::Initial } else { role };
    let DefaultStrategy { strategy, why } = DefaultStrategy::of(role);
    console.say(&format!("`{strategy}` chooses, for nobody said who: {why}"));
    Ok(strategy)
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
    project.files_to_show().iter().for_each(|file| outln!("{}", file.display()));
    Ok(())
}
