//! Features that were computed elsewhere, and the names of images that they are found by.

use coldstart_tests::{Lab, files_under, until};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A folder of photographs in two classes, `photos/{a,b}/00.png` to `05.png`, and an experiment on it, `photos.toml`.
fn lab_with_photos() -> Lab {
    let lab = Lab::new();
    for (class, name) in ["a", "b"].into_iter().enumerate() {
        for i in 0..6u8 {
            let grey = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * y) as u8 * 3 + 20 * i + class as u8]));
            let file = lab.path("photos").join(name).join(format!("{i:02}.png"));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            grey.save(file).unwrap();
        }
    }
    lab.write("photos.toml", PHOTOS);
    lab
}

const PHOTOS: &str = r#"
name = "photos"
threads = 1
[dataset]
kind = "folder"
path = "photos"
shape = [8, 8, 1]
[model]
backbone = "convnet"
width = 4
[training]
epochs = 2
min_steps = 4
[initial]
strategy = "random"
size = 3
[query]
strategy = "entropy"
size = 2
rounds = 2
"#;

fn table(file: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn a_selection_names_the_file_of_each_image_and_data_info_lists_them_all() {
    let lab = lab_with_photos();
    lab.coldstart(&["--data", ".", "data", "info", "photos.toml", "--files", "files.csv"]).exits(0);
    let listed = table(&lab.path("files.csv"));
    assert_eq!(listed[0], ["split", "id", "label", "class", "file"]);
    assert_eq!(listed.len(), 13);
    for row in &listed[1..] {
        // Six photographs a class, classes and files in the order of their names: ids count through both.
        let id: usize = row[1].parse().unwrap();
        let class = ["a", "b"][id / 6];
        assert_eq!(row[3..], [class.to_owned(), format!("{class}/{:02}.png", id % 6)], "{row:?}");
    }
    // A class of six gives one image to a test part that is held out.
    assert_eq!(listed.iter().filter(|row| row[0] == "test").count(), 2);

    lab.coldstart(&["--data", ".", "run", "photos.toml", "--out", "run"]).exits(0);
    let selected = table(&lab.path("run/rounds/000/selection.csv"));
    assert_eq!(selected[0], ["rank", "id", "label", "score", "file"]);
    assert_eq!(selected.len(), 4);
    for row in &selected[1..] {
        let known = listed.iter().find(|known| known[1] == row[1]).unwrap();
        assert_eq!((&row[2], &row[4]), (&known[2], &known[4]));
    }
    // Drawn images have no files, and the table no empty column.
    lab.run("drawn", &["query.rounds=0"]).exits(0);
    assert_eq!(table(&lab.path("drawn/rounds/000/selection.csv"))[0], ["rank", "id", "label", "score"]);
}

#[test]
fn a_run_of_a_version_without_file_names_is_resumed_and_reported() {
    let lab = lab_with_photos();
    let args = |out| ["--data", ".", "run", "photos.toml", "--out", out, "-s", "training.min_steps=400"];
    lab.coldstart(&args("whole")).exits(0);

    let mut child = lab.command(&args("run")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let journal = lab.path("run/journal.jsonl");
    until("the first round", || std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("round-finished")));
    child.kill().unwrap();
    child.wait().unwrap();
    let selections: Vec<PathBuf> =
        files_under(&lab.path("run/rounds")).into_iter().filter(|file| file.ends_with("selection.csv")).collect();
    assert!((1..3).contains(&selections.len()), "the run was to be killed in the middle");
    for file in selections {
        let rows = table(&file).into_iter().map(|row| row[..4].join(",") + "\n");
        std::fs::write(&file, rows.collect::<String>()).unwrap();
    }

    lab.coldstart(&["resume", "run"]).exits(0);
    let results = |run: &str| std::fs::read(lab.path(run).join("results.csv")).unwrap();
    assert_eq!(results("run"), results("whole"));
    lab.coldstart(&["report", "run"]).exits(0);
}
