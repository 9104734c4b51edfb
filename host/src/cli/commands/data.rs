//! `coldstart data ...`.

use super::print_json;
use crate::cli::args::{Args, Data, Experiment};
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::cli::typed::{Wanted, existing, make_folder_of};
use crate::data::fetch::{PUBLIC_SETS, fetch};
use crate::data::{self, Dataset, Description, Kind};
use crate::experiment::RunError;
use crate::foreign;
use crate::nearest::nearest;
use crate::operations::Meter;
use crate::session;
use serde_json::json;
use std::path::Path;

/// The commands under `data`.
pub fn data(args: &Args, command: &Data, console: &Console) -> Result<(), Problem> {
    match command {
        Data::List { json } => {
            list(*json);
            Ok(())
        }
        Data::Info { experiment, json, files } => {
            let set = read_set(args, experiment, console)?;
            if let Some(file) = files {
                write_table(file, &table_of_images(&set))?;
            }
            let described = set.describe();
            if *json {
                print_json(&described)
            } else {
                print_description(&described)
            }
            Ok(())
        }
        Data::ListImages { experiment, images, out } => {
            let table = match (experiment, images) {
                (_, Some(folder)) => table_of_folder(folder, console)?,
                (Some(experiment), None) => table_of_paths(&read_set(args, experiment, console)?),
                (None, None) => {
                    let hint =
                        "coldstart data list-images CONFIG, or coldstart data list-images --images DIR".to_owned();
                    return Err(Problem::usage("neither a config nor a folder of images is named", Some(hint)));
                }
            };
            match out {
                Some(file) => write_table(file, (table.join("\n") + "\n").as_bytes()),
                None => {
                    // Row by row: a line's end within a name is shown as one, and begins no row.
                    table.iter().for_each(|row| outln!("{row}"));
                    Ok(())
                }
            }
        }
        Data::Fetch { name, mirror } => fetch_set(args, name, mirror.as_deref(), console),
    }
}

fn list(as_json: bool) {
    if as_json {
        let kinds: Vec<_> =
            Kind::ALL.iter().map(|kind| json!({"kind": kind.name(), "summary": kind.summary()})).collect();
        let sets: Vec<_> =
            PUBLIC_SETS.iter().map(|set| json!({"name": set.name, "about": set.about, "cite": set.cite})).collect();
        return print_json(&json!({"kinds": kinds, "public": sets}));
    }
    outln!("kinds of `[dataset]`");
    Kind::ALL.iter().for_each(|kind| outln!("  {:<14} {}", kind.name(), kind.summary()));
    outln!("");
    outln!("`coldstart data fetch NAME`");
    PUBLIC_SETS.iter().for_each(|set| outln!("  {:<14} {}", set.name, set.about));
}

fn print_description(set: &Description) {
    let data::Shape { height, width, channels } = set.shape;
    let what = match set.features {
        Some(features) => format!("{features} features each"),
        None => format!("{height} x {width} pixels, {channels} channels"),
    };
    outln!("{}: {what}, {} classes", set.kind, set.classes.len());
    outln!("{}", set.fingerprint);
    outln!("");
    outln!("{:<24} {:>8} {:>10} {:>8}", "CLASS", "POOL", "VALIDATION", "TEST");
    let row = |name: &str, counts: [usize; 3]| {
        outln!("{:<24} {:>8} {:>10} {:>8}", foreign::phrase(name), counts[0], counts[1], counts[2]);
    };
    set.classes.iter().for_each(|class| row(&class.name, [class.pool, class.validation, class.test]));
    let sum = |count: fn(&data::ClassCounts) -> usize| set.classes.iter().map(count).sum();
    row("all", [sum(|class| class.pool), sum(|class| class.validation), sum(|class| class.test)]);
    print_copies(&set.copies);
    print_notes(&set.notes);
}

/// Exact copies of images, if there are any.
fn print_copies(copies: &data::Copies) {
    if copies.is_empty() {
        return;
    }
    let told = [
        (copies.pool, "in the pool repeat another image there"),
        (copies.test, "in the test part repeat another image there"),
        (copies.shared, "in the test part are also in the pool"),
        (copies.other_label, "have another label than their copy"),
    ];
    outln!("");
    outln!("exact copies, by their pixels");
    told.iter().filter(|(n, _)| *n > 0).for_each(|(n, what)| outln!("{n:>8} {what}"));
}

/// Where the parts were found, and what was left aside.
fn print_notes(notes: &data::Notes) {
    let folders = [("training part", &notes.train_folder), ("test part", &notes.test_folder)];
    let found: Vec<_> = folders.iter().filter_map(|(part, folder)| Some((part, folder.as_ref()?))).collect();
    if !found.is_empty() {
        outln!("");
        found.iter().for_each(|(part, folder)| outln!("{:<24} `{folder}`", format!("{part} from")));
    }
    if !notes.left_aside.is_empty() {
        let tables = notes.left_aside.tables().map(|tables| format!("; not read: {tables}")).unwrap_or_default();
        outln!("{:<24} {}{tables}", "left aside", notes.left_aside);
    }
    notes.remarks.iter().for_each(|remark| outln!("{:<24} {remark}", "note"));
}

/// The data set of a config.
fn read_set(args: &Args, experiment: &Experiment, console: &Console) -> Result<Dataset, Problem> {
    existing(&experiment.config, Wanted::File)?;
    let read = experiment.read()?;
    let at_key = |key: &str, message: String| read.at_key(key, message);
    let (section, seed) = (&read.config.dataset, read.config.seed);
    let set = data::load_until(section, args.data.as_deref(), seed, &console.cancelled());
    Ok(set.map_err(|error| session::of_data(error, &read.config, &at_key))?)
}

fn write_table(file: &Path, table: &[u8]) -> Result<(), Problem> {
    make_folder_of(file)?;
    let failed = |source| RunError::File { action: "write", path: file.to_owned(), source };
    Ok(std::fs::write(file, table).map_err(failed)?)
}

/// Every image with its part, id and file, as rows of CSV; no labels.
fn table_of_paths(set: &Dataset) -> Vec<String> {
    let header = ["split", "id", "file"].map(str::to_owned);
    let row = |image: data::ListedImage<'_>| {
        [image.split.to_owned(), image.id.to_string(), image.file.unwrap_or_default().to_owned()]
    };
    csv_of(header, set.images().map(row))
}

/// Every image of a folder as `select` numbers them, as rows of CSV.
fn table_of_folder(folder: &Path, console: &Console) -> Result<Vec<String>, Problem> {
    existing(folder, Wanted::Images)?;
    let listed = data::list_images(folder, &console.cancelled())?;
    let rows = listed.images.into_iter().enumerate().map(|(id, image)| [id.to_string(), image]);
    Ok(csv_of(["id", "file"].map(str::to_owned), rows))
}

fn csv_of<const N: usize>(header: [String; N], rows: impl Iterator<Item = [String; N]>) -> Vec<String> {
    std::iter::once(header).chain(rows).map(csv_row).collect()
}

/// The cells as a row, without its end.
fn csv_row<const N: usize>(cells: [String; N]) -> String {
    let mut row = csv::Writer::from_writer(Vec::new());
    row.write_record(cells).expect("memory takes every row");
    let bytes = row.into_inner().expect("memory takes every row");
    String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned()
}

/// Every image with its split, id, label, class and file, as CSV.
fn table_of_images(set: &Dataset) -> Vec<u8> {
    let mut table = csv::Writer::from_writer(Vec::new());
    for image in set.images() {
        table.serialize(image).expect("memory takes every row");
    }
    table.into_inner().expect("memory takes every row")
}

fn fetch_set(args: &Args, name: &str, mirror: Option<&str>, console: &Console) -> Result<(), Problem> {
    let Some(set) = PUBLIC_SETS.iter().find(|set| set.name == name) else {
        let known = PUBLIC_SETS.iter().map(|set| set.name);
        let hint = nearest(name, known)
            .map_or("see `coldstart data list`".to_owned(), |near| format!("did you mean `{near}`?"));
        return Err(Problem::usage(format!("there is no public set `{name}`"), Some(hint)));
    };
    let Some(root) = &args.data else {
        let hint = "pass `--data DIR` or set COLDSTART_DATA".to_owned();
        return Err(Problem::usage("no data folder to put it in", Some(hint)));
    };
    console.say(set.about);
    console.say(set.cite);
    let fetched = fetch(set, root, mirror, &mut |progress| console.tick(progress.file, progress.done, progress.total))?;
    console.clear();
    fetched.downloaded.iter().for_each(|file| console.say(&format!("  {file}: downloaded")));
    fetched.kept.iter().for_each(|file| console.say(&format!("  {file}: was there")));
    outln!("{}", fetched.folder.display());
    Ok(())
}
