//! Maps of images: a point for each image, coloured by its group, with the images themselves behind some points.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use base64::Engine;
use serde::{Deserialize, Serialize};

use super::chart::{colour, hex};
use super::run::{Run, Sprite};

/// What a map shows beside places: which round chose an image, and how groups and images are called.
pub(super) struct Shown<'a> {
    /// The round that chose each image that was chosen.
    pub(super) round_of: HashMap<u64, usize>,
    /// Every round.
    pub(super) rounds: Vec<usize>,
    /// The name of a group of this kind.
    pub(super) group_name: &'a dyn Fn(&str, u64) -> String,
    /// The name of an image, where it has one beside its id.
    pub(super) image_name: &'a dyn Fn(u64) -> Option<String>,
}

/// The most points drawn of one map. Chosen images and those with a thumbnail are drawn even if they are more.
const MOST_POINTS: usize = 8_000;
/// The most points drawn of all maps of a page, which has to be sent around; each map may draw some.
const MOST_POINTS_OF_A_PAGE: usize = 160_000;
const FEWEST_POINTS: usize = 1_000;

/// With more groups than this, no reader tells their colours apart: the legend leaves them out.
const MOST_GROUPS_IN_LEGEND: usize = 12;

/// Thumbnails are enlarged by whole numbers, up to this many pixels.
const LARGEST_THUMBNAIL: usize = 128;

/// `NAME.map.json`: places of images, as a strategy or a diagnosis stored them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct MapFile {
    /// Name of the file without its ending.
    pub name: String,
    /// A heading.
    pub title: String,
    /// What the first number of a place means.
    pub x_axis: String,
    /// What the second number means.
    pub y_axis: String,
    /// What a group is, such as `cluster`.
    pub group: String,
    /// Labels that nobody bought went into it.
    #[serde(default)]
    pub oracle: bool,
    /// Dataset ids.
    pub ids: Vec<u64>,
    /// First number of each image's place.
    pub x: Vec<f32>,
    /// Second number of each image's place.
    pub y: Vec<f32>,
    /// The group of each image.
    pub groups: Vec<u64>,
    /// The sheet of thumbnails, if there is one.
    pub thumbs: Option<Thumbs>,
}

/// Where a map's thumbnails are: a PNG with equal tiles, row by row.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Thumbs {
    /// File name of the PNG, in the folder of the map.
    pub file: String,
    /// Dataset ids of the tiles, in order.
    pub ids: Vec<u64>,
    /// Tiles in a row.
    pub columns: usize,
    /// Height and width of a tile in pixels.
    pub tile: [usize; 2],
}

/// A map with its thumbnails.
#[derive(Debug, Clone)]
pub struct ImageMap {
    /// The round whose strategy stored it; none for a map of a diagnosis.
    pub round: Option<usize>,
    /// The map itself.
    pub file: MapFile,
    /// The sheet that [`MapFile::thumbs`] speaks of, if it is whole.
    pub sheet: Option<Sprite>,
}

/// Parses a map; errs with a sentence when it is not whole.
pub(super) fn parse(text: &str) -> Result<MapFile, String> {
    let map: MapFile = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let (n, lengths) = (map.ids.len(), [map.x.len(), map.y.len(), map.groups.len()]);
    if lengths != [n; 3] {
        return Err(format!("{n} ids, but x, y and groups have {lengths:?} values"));
    }
    // Whether serde_json itself refuses numbers beyond f32 hangs on a feature that other crates switch on.
    if let Some(i) = (0..n).find(|i| !(map.x[*i].is_finite() && map.y[*i].is_finite())) {
        return Err(format!("image {} has no finite place", map.ids[i]));
    }
    if let Some(thumbs) = &map.thumbs {
        check(thumbs)?;
    }
    Ok(map)
}

/// A report must not show a file from outside the run, and a sheet without columns has no tiles.
fn check(thumbs: &Thumbs) -> Result<(), String> {
    if thumbs.file.contains(['/', '\\']) || !thumbs.file.ends_with(".png") {
        return Err(format!("thumbs.file `{}` is not the name of a PNG", thumbs.file));
    }
    if thumbs.columns == 0 || thumbs.tile.contains(&0) {
        return Err("thumbs.columns and thumbs.tile have to be positive".to_owned());
    }
    Ok(())
}

impl Thumbs {
    fn rows(&self) -> usize {
        self.ids.len().div_ceil(self.columns).max(1)
    }

    /// Errs with a sentence when a sheet has not the size that the tiles take.
    pub(super) fn fit(&self, sheet: &Sprite) -> Result<(), String> {
        let [height, width] = self.tile;
        let (width, height) = (width.saturating_mul(self.columns), height.saturating_mul(self.rows()));
        if (sheet.width as usize, sheet.height as usize) == (width, height) {
            return Ok(());
        }
        Err(format!("{} × {} pixels where the tiles take {width} × {height}", sheet.width, sheet.height))
    }
}

/// How many points each map of a page may draw.
pub(super) fn points_per_map(runs: &[Run]) -> usize {
    let maps = runs.iter().map(|run| run.maps.len()).sum::<usize>().max(1);
    (MOST_POINTS_OF_A_PAGE / maps).clamp(FEWEST_POINTS, MOST_POINTS)
}

/// What the page shows of one map.
pub(super) struct MapView<'a> {
    pub(super) map: &'a ImageMap,
    pub(super) points: Points,
    pub(super) thumbnails: Option<Thumbnails>,
    /// Name and colour of each group, if they are few.
    pub(super) groups: Vec<(String, String)>,
    /// Number and colour of each round that chose an image of the map.
    pub(super) rounds: Vec<(usize, String)>,
}

/// What the script draws: parallel lists with an entry for each point.
#[derive(Serialize)]
pub(super) struct Points {
    x_axis: String,
    y_axis: String,
    group: String,
    pub(super) ids: Vec<u64>,
    x: Vec<f32>,
    y: Vec<f32>,
    /// Places in `group_names` and `group_colours`.
    groups: Vec<usize>,
    group_names: Vec<String>,
    group_colours: Vec<String>,
    /// The round that chose the image.
    rounds: Vec<Option<usize>>,
    round_colours: BTreeMap<usize, String>,
    /// Column and row of the image on the sheet.
    tiles: Vec<Option<[usize; 2]>>,
    /// What the images are called; empty if they only have ids.
    names: Vec<String>,
}

/// How a sheet of thumbnails is laid under the box that shows one.
pub(super) struct Thumbnails {
    pub(super) base64: String,
    /// Of the box, in pixels.
    pub(super) width: usize,
    pub(super) height: usize,
    /// Of the sheet, in the same pixels.
    pub(super) sheet_width: usize,
}

impl<'a> MapView<'a> {
    /// Prepares a map of `run`, thinned out to about `most` points.
    pub(super) fn new(run: &Run, map: &'a ImageMap, most: usize) -> Self {
        let picks =
            |round: &super::Round| round.selection.iter().map(|pick| (pick.id, round.number)).collect::<Vec<_>>();
        let shown = Shown {
            round_of: run.rounds.iter().flat_map(picks).collect(),
            rounds: run.rounds.iter().map(|round| round.number).collect(),
            group_name: &|kind, group| group_name(run, kind, group),
            image_name: &|_| None,
        };
        MapView::of(&shown, map, most)
    }

    /// The same for images that were not chosen by a run.
    pub(super) fn of(shown: &Shown<'_>, map: &'a ImageMap, most: usize) -> Self {
        let points = Points::new(shown, map, most);
        let named = points.group_names.iter().cloned().zip(points.group_colours.iter().cloned());
        let few = points.group_names.len() <= MOST_GROUPS_IN_LEGEND;
        let chosen: BTreeSet<usize> = points.rounds.iter().flatten().copied().collect();
        MapView {
            map,
            thumbnails: map
                .file
                .thumbs
                .as_ref()
                .zip(map.sheet.as_ref())
                .map(|(thumbs, sheet)| thumbnails(thumbs, sheet)),
            groups: if few { named.collect() } else { Vec::new() },
            rounds: chosen.into_iter().map(|round| (round, hex(colour(round)))).collect(),
            points,
        }
    }
}

impl Points {
    fn new(shown: &Shown<'_>, map: &ImageMap, most: usize) -> Self {
        let (file, rounds) = (&map.file, &shown.round_of);
        let thumbs = file.thumbs.as_ref().filter(|_| map.sheet.is_some());
        let place = |thumbs: &Thumbs, i: usize| [i % thumbs.columns, i / thumbs.columns];
        let tiles: HashMap<u64, [usize; 2]> = thumbs
            .map(|thumbs| thumbs.ids.iter().enumerate().map(|(i, id)| (*id, place(thumbs, i))).collect())
            .unwrap_or_default();
        let must = |i: &usize| rounds.contains_key(&file.ids[*i]) || tiles.contains_key(&file.ids[*i]);
        let drawn = sample(file.ids.len(), must, most);
        let groups: Vec<u64> = file.groups.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let ids: Vec<u64> = drawn.iter().map(|i| file.ids[*i]).collect();
        Points {
            x_axis: file.x_axis.clone(),
            y_axis: file.y_axis.clone(),
            group: file.group.clone(),
            x: drawn.iter().map(|i| file.x[*i]).collect(),
            y: drawn.iter().map(|i| file.y[*i]).collect(),
            // Every group of the file is in the list.
            groups: drawn.iter().map(|i| groups.binary_search(&file.groups[*i]).unwrap_or_default()).collect(),
            group_names: groups.iter().map(|group| (shown.group_name)(&file.group, *group)).collect(),
            group_colours: (0..groups.len()).map(|group| hex(colour(group))).collect(),
            rounds: ids.iter().map(|id| rounds.get(id).copied()).collect(),
            round_colours: shown.rounds.iter().map(|round| (*round, hex(colour(*round)))).collect(),
            tiles: ids.iter().map(|id| tiles.get(id).copied()).collect(),
            names: ids.iter().map_while(|id| (shown.image_name)(*id)).collect(),
            ids,
        }
    }
}

/// Groups that are classes have names.
fn group_name(run: &Run, kind: &str, group: u64) -> String {
    let number = group.to_string();
    if kind == "class" { run.class_name(&number).to_owned() } else { number }
}

/// Positions among `n` in ascending order: those that `must` be there and an even sample of the others, `most` in all.
fn sample(n: usize, must: impl Fn(&usize) -> bool, most: usize) -> Vec<usize> {
    let (kept, others): (Vec<usize>, Vec<usize>) = (0..n).partition(must);
    let room = most.saturating_sub(kept.len()).min(others.len());
    let sampled = (0..room).map(|i| others[i * others.len() / room]);
    let drawn: HashSet<usize> = kept.iter().copied().chain(sampled).collect();
    (0..n).filter(|i| drawn.contains(i)).collect()
}

fn thumbnails(thumbs: &Thumbs, sheet: &Sprite) -> Thumbnails {
    let [height, width] = thumbs.tile;
    let scale = (LARGEST_THUMBNAIL / height.max(width)).max(1);
    Thumbnails {
        base64: base64::engine::general_purpose::STANDARD.encode(&sheet.png),
        width: width * scale,
        height: height * scale,
        sheet_width: sheet.width as usize * scale,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::super::read_run;
    use super::*;

    /// Image 8 is the second pick of round 0 and the third thumbnail: picks are 1, 8, 15, .. and tenths are shown too.
    #[test]
    fn a_map_holds_every_pick_with_its_round_and_its_image() {
        let folder = tempfile::tempdir().unwrap();
        let run = read_run(&Fixture { strategy: "entropy", seed: 1, rounds: 3 }.write(folder.path())).unwrap();
        assert_eq!(
            run.maps.iter().map(|map| (map.round, map.file.oracle)).collect::<Vec<_>>(),
            [(Some(0), false), (None, true)]
        );
        for (most, drawn) in [(MOST_POINTS, 650), (200, 200), (1, 119)] {
            let view = MapView::new(&run, &run.maps[0], most);
            let points = &view.points;
            assert_eq!((points.ids.len(), points.tiles.iter().flatten().count()), (drawn, 119));
            for (round, pick) in run.rounds.iter().flat_map(|r| r.selection.iter().map(|pick| (r.number, pick))) {
                let place = points.ids.iter().position(|id| *id == pick.id).unwrap();
                assert_eq!(points.rounds[place], Some(round));
            }
            assert_eq!(points.rounds.iter().flatten().count(), 60);
            let place = points.ids.iter().position(|id| *id == 8).unwrap();
            assert_eq!((points.tiles[place], points.group_names[points.groups[place]].as_str()), (Some([2, 0]), "4"));
            assert_eq!((view.groups.len(), view.rounds.len()), (4, 3));
        }
        assert_eq!(MapView::new(&run, &run.maps[1], 1).groups[2].0, "Ankle boot");
    }

    #[test]
    fn a_sheet_has_the_size_that_its_tiles_take() {
        let thumbs = Thumbs { file: "a.png".to_owned(), ids: vec![1, 2, 3], columns: 2, tile: [4, 5] };
        for (width, height, fits) in [(10, 8, true), (10, 4, false), (8, 10, false)] {
            assert_eq!(thumbs.fit(&Sprite { png: Vec::new(), width, height }).is_ok(), fits, "{width} {height}");
        }
    }

    #[test]
    fn a_sample_is_even_and_holds_what_it_must() {
        let rows: [(usize, &[usize], usize, &[usize]); 5] = [
            (4, &[], 9, &[0, 1, 2, 3]),
            (10, &[], 5, &[0, 2, 4, 6, 8]),
            (9, &[1, 8], 4, &[0, 1, 4, 8]),
            (5, &[1, 2, 3], 2, &[1, 2, 3]),
            (0, &[], 5, &[]),
        ];
        for (n, must, most, expected) in rows {
            assert_eq!(sample(n, |i| must.contains(i), most), expected, "{n} {must:?} {most}");
        }
    }

    #[test]
    fn a_damaged_map_is_refused_with_a_reason() {
        let whole = serde_json::json!({
            "name": "a", "title": "", "x_axis": "", "y_axis": "", "group": "cluster", "ids": [5, 6], "x": [0.0, 1.0],
            "y": [0.0, 1.0], "groups": [0, 1],
            "thumbs": {"file": "a.map.png", "ids": [6], "columns": 10, "tile": [28, 28]},
        });
        assert!(parse(&whole.to_string()).is_ok_and(|map| !map.oracle));
        let rows = [
            ("/ids", serde_json::json!([5]), "1 ids, but x, y and groups have [2, 2, 2] values"),
            ("/x", serde_json::json!([0.0, 1e300]), "out of range"),
            ("/y", serde_json::json!([0.0, null]), "invalid type: null"),
            ("/thumbs/file", serde_json::json!("../../secret.png"), "is not the name of a PNG"),
            ("/thumbs/columns", serde_json::json!(0), "have to be positive"),
        ];
        for (key, value, expected) in rows {
            let mut damaged = whole.clone();
            *damaged.pointer_mut(key).unwrap() = value;
            let error = parse(&damaged.to_string()).unwrap_err();
            assert!(error.contains(expected), "{key}: {error}");
        }
    }
}
