//! The page of one selection: the chosen images and a map of all of them, from the files of a project.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use askama::Template;
use serde::Deserialize;

use super::files::parse_json;
use super::maps::{MapView, Shown};
use super::page::{Sheet, filters, offset};
use super::run::{Depth, Reader};
use super::{ReportError, chart, write_whole};

/// The most points that a map draws.
const MOST_POINTS: usize = 8_000;

/// `picks.json`, as far as the page shows it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Picks {
    round: usize,
    role: String,
    strategies: Vec<String>,
    seed: u64,
    coldstart: String,
    time: String,
    seconds: f64,
    folder: String,
    images: usize,
    copies: usize,
    skipped: usize,
    labels: BTreeMap<String, usize>,
    picks: Vec<Pick>,
}

/// One chosen image.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Pick {
    rank: usize,
    image: String,
    score: Option<f64>,
    id: u64,
    copies: Vec<String>,
    drawn: bool,
}

/// Writes the page about the selection in `folder` to `folder/index.html`: its `picks.json`, `contact-sheet.png` and maps.
///
/// `earlier` are the folders of the selections before it, in order; `names` the images by id. The page appears whole or not at
/// all, and works offline. Errs when `picks.json` cannot be read; without a sheet or a map the page goes without.
pub fn write_picks(folder: &Path, earlier: &[impl AsRef<Path>], names: &[String]) -> Result<(), ReportError> {
    let picks = read(folder)?;
    let mut round_of: HashMap<u64, usize> = HashMap::new();
    let mut rounds = Vec::new();
    for folder in earlier {
        let picks = read(folder.as_ref())?;
        round_of.extend(picks.picks.iter().map(|pick| (pick.id, picks.round)));
        rounds.push(picks.round);
    }
    round_of.extend(picks.picks.iter().map(|pick| (pick.id, picks.round)));
    rounds.push(picks.round);
    let mut reader = Reader::new(folder, Depth::Everything);
    let (maps, sheet) = (reader.maps(), reader.sprite("contact-sheet.png"));
    let classes: Vec<&String> = picks.labels.keys().collect();
    let group_name = |kind: &str, group: u64| match (kind, group) {
        ("label", 0) => "none yet".to_owned(),
        ("label", _) => classes.get(group as usize - 1).map_or_else(String::new, |class| (*class).clone()),
        _ => group.to_string(),
    };
    let image_name = |id: u64| names.get(id as usize).cloned();
    let shown = Shown { round_of, rounds, group_name: &group_name, image_name: &image_name };
    let view = View { index: 0, maps: maps.iter().map(|map| MapView::of(&shown, map, MOST_POINTS)).collect() };
    let n = picks.picks.len();
    let tiles = picks.picks.iter().enumerate().map(|(place, pick)| Tile { pick, offset: offset(place, n) }).collect();
    let page = Page {
        title: title(&picks),
        facts: facts(&picks),
        sheet: sheet.as_ref().map(|sheet| Sheet::new(sheet, n)),
        tiles,
        view,
        problems: reader.problems,
        script: chart::script(),
    };
    write_whole(&folder.join("index.html"), page.render()?.as_bytes())
}

fn read(folder: &Path) -> Result<Picks, ReportError> {
    let path = folder.join("picks.json");
    let text = fs::read_to_string(&path).map_err(|error| error.to_string());
    text.and_then(|text| parse_json(&text).map_err(|error| error.to_string()))
        .map_err(|problem| ReportError::Read { path, problem })
}

fn title(picks: &Picks) -> String {
    let n = picks.picks.len();
    format!("{n} image{} to label", if n == 1 { "" } else { "s" })
}

fn facts(picks: &Picks) -> Vec<(&'static str, String)> {
    let labels: Vec<String> = picks.labels.iter().map(|(class, n)| format!("{class} {n}")).collect();
    let skipped = match picks.skipped {
        0 => String::new(),
        n => format!("; {n} more files could not be read, see skipped.csv"),
    };
    let copies = match picks.copies {
        0 => String::new(),
        n => format!("; {n} more files are copies of them"),
    };
    let when = if picks.role == "initial" { ", before the first label" } else { "" };
    let drawn = match picks.picks.iter().filter(|pick| pick.drawn).count() {
        0 => String::new(),
        n => format!("; the last {n} were drawn by chance"),
    };
    let chosen_by = format!("{}{when}{drawn}", picks.strategies.join(" and "));
    let facts = [
        ("Folder", picks.folder.clone()),
        ("Images", format!("{}{copies}{skipped}", picks.images)),
        ("Labels", labels.join(", ")),
        ("Chosen by", chosen_by),
        ("Round", picks.round.to_string()),
        (
            "Made",
            format!("{}, in {:.1} s, seed {}, coldstart {}", picks.time, picks.seconds, picks.seed, picks.coldstart),
        ),
    ];
    facts.into_iter().filter(|(_, text)| !text.is_empty()).collect()
}

#[derive(Template)]
#[template(path = "picks.html")]
struct Page<'a> {
    title: String,
    facts: Vec<(&'static str, String)>,
    sheet: Option<Sheet>,
    tiles: Vec<Tile<'a>>,
    view: View<'a>,
    problems: Vec<String>,
    script: String,
}

impl Page<'_> {
    const KIND: &'static str = "Coldstart selection";
    const CSS: &'static str = include_str!("page.css");
    const MAPS_JS: &'static str = include_str!("maps.js");
}

/// What `maps.html` asks for.
struct View<'a> {
    index: usize,
    maps: Vec<MapView<'a>>,
}

struct Tile<'a> {
    pick: &'a Pick,
    offset: [f64; 2],
}

impl Tile<'_> {
    /// The file's name, and the folder it lies in.
    fn name(&self) -> (&str, &str) {
        let (folder, name) = self.pick.image.rsplit_once('/').unwrap_or(("", &self.pick.image));
        (name, folder)
    }
}
