//! Maps of images, as the report reads them: the points as JSON, and a contact sheet of some of the images.

use crate::data::{Dataset, SHEET_COLUMNS, contact_sheet, tile_size};
use coldstart_plugin_api::ops::MapArgs;
use serde::Serialize;
use std::path::Path;

/// How many images a map shows; the others are points only.
const MOST_THUMBS: usize = 1000;

#[derive(Serialize)]
struct Map<'a> {
    name: &'a str,
    title: &'a str,
    x_axis: &'a str,
    y_axis: &'a str,
    group: &'a str,
    /// Whether labels that no strategy may see went into it.
    oracle: bool,
    ids: Vec<u64>,
    x: Vec<f32>,
    y: Vec<f32>,
    groups: &'a [u64],
    /// None where there are no images.
    thumbs: Option<Thumbs>,
}

#[derive(Serialize)]
struct Thumbs {
    file: String,
    ids: Vec<u64>,
    columns: usize,
    /// Height and width.
    tile: [usize; 2],
}

/// Write a map of the images at these pool positions into `folder`: `places` has two numbers for each, `groups` one.
///
/// If there are many, only an even sample of the images is shown.
pub fn write_map(
    folder: &Path,
    args: &MapArgs,
    data: &Dataset,
    positions: &[usize],
    places: &[f32],
    groups: &[u64],
    oracle: bool,
) -> std::io::Result<()> {
    put(folder, &draw_map(args, data, positions, places, groups, oracle)?)
}

/// Write files into a folder, which need not exist yet.
pub fn put(folder: &Path, files: &[(String, Vec<u8>)]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    files.iter().try_for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes))
}

/// The files of a map, with their names.
pub fn draw_map(
    args: &MapArgs,
    data: &Dataset,
    positions: &[usize],
    places: &[f32],
    groups: &[u64],
    oracle: bool,
) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let id = |position: &usize| data.pool.ids[*position];
    let every = positions.len().div_ceil(MOST_THUMBS).max(1);
    let shown: Vec<usize> = positions.iter().copied().step_by(every).collect();
    let file = format!("{}.map.png", args.name);
    let has_images = data.shape.has_pixels();
    let thumbs = has_images.then(|| Thumbs {
        file: file.clone(),
        ids: shown.iter().map(id).collect(),
        columns: SHEET_COLUMNS,
        tile: tile_size(data.shape),
    });
    let map = Map {
        name: &args.name,
        title: &args.title,
        x_axis: &args.x_axis,
        y_axis: &args.y_axis,
        group: &args.group,
        oracle,
        ids: positions.iter().map(id).collect(),
        x: places.iter().copied().step_by(2).collect(),
        y: places.iter().copied().skip(1).step_by(2).collect(),
        groups,
        thumbs,
    };
    let json = (format!("{}.map.json", args.name), serde_json::to_vec(&map)?);
    let sheet = has_images.then(|| (file, contact_sheet(&data.pool, data.shape, &shown)));
    Ok(sheet.into_iter().chain([json]).collect())
}
