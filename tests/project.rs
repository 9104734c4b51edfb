//! A practitioner's project, round after round: who chooses where nobody says it, what a model says of all images and what that is
//! worth, images that come and go, copies, and the labelled set given out again.

use coldstart_plugin_api::Rng;
use coldstart_tests::project::{NAMES, json, lab_with, labels, photograph, picks, read};
use coldstart_tests::{Lab, Ran, files_under, has_tool};
use image::{ImageFormat, Rgb, RgbImage};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;

/// `coldstart select` on `photos` into `project`, with the default of everything but the size of images.
fn select(lab: &Lab, size: &str, more: &[&str]) -> Ran {
    let args = ["select", "--images", "photos", "--size", size, "--out", "project"];
    lab.coldstart(&[&args[..], &["-s", "threads=1", "-s", "dataset.shape=[16, 16, 3]"], more].concat())
}

fn ingest(lab: &Lab, images: &[String]) -> Ran {
    lab.write("labels.csv", labels(images));
    lab.coldstart(&["ingest", "project", "labels.csv"])
}

/// Photographs of ants and bees, `n` of each.
fn many(n: usize) -> Lab {
    let names: Vec<String> = (0..n).flat_map(|i| [format!("ants/{i}.png"), format!("bees/{i}.png")]).collect();
    lab_with(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Rows of a table by their first column.
fn rows(table: &str) -> BTreeMap<String, Vec<String>> {
    let row = |line: &str| {
        let cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        (cells[0].clone(), cells)
    };
    table.lines().skip(1).map(row).collect()
}

#[test]
fn three_rounds_without_a_word_about_strategies() {
    let lab = many(20);
    let first = select(&lab, "8", &["--format", "label-studio"]);
    first.exits(0).says("chooses, for nobody said who:").says("in our studies");
    assert!(!lab.path("project/predictions.csv").exists() && !lab.path("project/label-studio.xml").exists());
    assert!(json(&lab, "project/label-studio.json")[0].get("predictions").is_none());
    ingest(&lab, &picks(&lab, "project")).exits(0);

    // Eight labels make a model, and say nothing about it.
    let second = select(&lab, "8", &["--format", "label-studio"]);
    second.exits(0).says("chooses, for nobody said who:").says("8 labels: too few to say what it is worth");
    assert!(lab.path("project/predictions.csv").exists() && !lab.path("project/estimate.json").exists());
    ingest(&lab, &picks(&lab, "project")).exits(0);

    let third = select(&lab, "8", &["--format", "label-studio"]);
    third
        .exits(0)
        .says("chooses, as before")
        .says("16 labelled ones")
        .says("`--draw N` draws some")
        .says("8 more labels are expected to change that");
    let predictions = read(&lab, "project/predictions.csv");
    assert!(predictions.starts_with("image,id,label,prediction,confidence,p:ants,p:bees\n"), "{predictions}");
    let rows = rows(&predictions);
    assert_eq!(rows.len(), 40);
    let chosen = picks(&lab, "project");
    let tasks = json(&lab, "project/label-studio.json");
    for (image, cells) in &rows {
        let probabilities: Vec<f64> = cells[5..].iter().map(|cell| cell.parse().unwrap()).collect();
        // Probabilities are f32.
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{cells:?}");
        let most = if probabilities[0] >= probabilities[1] { "ants" } else { "bees" };
        assert_eq!(cells[3], most, "{cells:?}");
        assert!(cells[2].is_empty() || image.starts_with(&cells[2]), "{cells:?}");
        // What the model takes a chosen image for is the answer that its task begins with.
        if let Some(place) = chosen.iter().position(|pick| pick == image) {
            let result = &tasks[place]["predictions"][0]["result"][0];
            assert_eq!(result["value"]["choices"][0], cells[3].as_str());
            assert_eq!((result["from_name"].as_str(), result["to_name"].as_str()), (Some("choice"), Some("image")));
        }
    }
    let n_labelled = rows.values().filter(|cells| !cells[2].is_empty()).count();
    assert_eq!(n_labelled, 16);

    let estimate = json(&lab, "project/estimate.json");
    for key in ["accuracy", "gain"] {
        let [low, value, high] = ["low", "value", "high"].map(|end| estimate[key][end].as_f64().unwrap());
        assert!(low <= value && value <= high, "{estimate}");
    }
    assert_eq!((estimate["labels"].as_u64(), estimate["more"].as_u64()), (Some(16), Some(8)));
    let status = lab.coldstart(&["project", "status", "project"]);
    status.exits(0);
    assert!(status.stdout.contains("40 images, 16 labels, 8 chosen and not labelled, 0 dropped"), "{}", status.stdout);
    assert!(status.stdout.contains("of images like the 16 labelled ones"), "{}", status.stdout);
    let status = lab.coldstart(&["project", "status", "project", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status.exits(0).stdout).unwrap();
    assert_eq!((&status["rounds"], &status["waiting"], &status["estimate"]), (&3.into(), &8.into(), &estimate));

    // Nobody is asked to predict, and what was predicted before is gone.
    ingest(&lab, &chosen).exits(0);
    let ran = select(&lab, "4", &["--no-predictions", "--strategy", "random"]);
    ran.exits(0);
    assert!(!ran.stderr.contains("fitted") && !ran.stderr.contains("cross-validation"), "{}", ran.stderr);
    assert!(!lab.path("project/predictions.csv").exists() && !lab.path("project/estimate.json").exists());
}

/// Some of the images are drawn by chance, and once ten of them have labels, it is told from them what a model is worth.
#[test]
fn what_a_model_is_worth_is_told_from_images_that_were_drawn() {
    let lab = many(30);
    let drawn = |lab: &Lab| -> BTreeSet<String> {
        let picks = json(lab, "project/picks.json");
        let picks = picks["picks"].as_array().unwrap().iter().filter(|pick| pick["drawn"] == true);
        picks.map(|pick| pick["image"].as_str().unwrap().to_owned()).collect()
    };
    for (size, more, n_drawn) in [
        ("10", &[][..], 2),
        ("6", &["--strategy", "margin"], 0),
        ("9", &["--strategy", "margin", "--draw", "8"], 8),
        ("3", &["--draw", "3"], 2),
    ] {
        let ran = select(&lab, size, more);
        let said = format!("{n_drawn} of the {size} are drawn by chance");
        assert_eq!(ran.exits(0).stderr.contains(&said), n_drawn > 0, "{}", ran.stderr);
        assert_eq!(drawn(&lab).len(), n_drawn);
        let page = read(&lab, "project/index.html");
        assert_eq!(page.matches("<span>drawn by chance</span>").count(), n_drawn);
        let chosen = picks(&lab, "project");
        assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), size.parse::<usize>().unwrap());
        ingest(&lab, &chosen).exits(0).says("0 known before");
    }
    // Ten of the first three rounds were drawn and labelled when the fourth began.
    let estimate = json(&lab, "project/estimate.json");
    assert_eq!((estimate["drawn"].as_u64(), estimate["labels"].as_u64()), (Some(10), Some(25)));
    let status = lab.coldstart(&["project", "status", "project"]);
    assert!(status.exits(0).stdout.contains("of all images the model tells about"), "{}", status.stdout);
    select(&lab, "4", &["--draw", "x"]).exits(2);
}

/// The same labels give the same predictions and the same estimate.
#[test]
fn what_is_said_of_predictions_can_be_said_again() {
    let said = || {
        let lab = many(12);
        select(&lab, "12", &["--strategy", "random"]).exits(0);
        ingest(&lab, &picks(&lab, "project")).exits(0);
        select(&lab, "4", &[]).exits(0);
        (read(&lab, "project/predictions.csv"), read(&lab, "project/estimate.json"), picks(&lab, "project"))
    };
    assert_eq!(said(), said());
}

#[test]
fn an_estimate_of_a_network_from_scratch_takes_one_deal() {
    let lab = many(8);
    let network = [
        "-s",
        "training.learner=supervised",
        "-s",
        "model.width=4",
        "-s",
        "training.min_steps=5",
        "-s",
        "training.epochs=2",
    ];
    select(&lab, "12", &network).exits(0);
    ingest(&lab, &picks(&lab, "project")).exits(0);
    select(&lab, "4", &network).exits(0).says("5-fold cross-validation");
    let estimate = json(&lab, "project/estimate.json");
    assert_eq!((estimate["folds"].as_u64(), estimate["repeats"].as_u64()), (Some(5), Some(1)));
}

#[test]
fn with_one_class_the_default_is_who_needs_no_model() {
    let lab = many(6);
    select(&lab, "4", &[]).exits(0);
    let chosen = picks(&lab, "project");
    let all_one = chosen.iter().map(|image| format!("{image},ant\n")).collect::<String>();
    lab.write("labels.csv", format!("image,label\n{all_one}"));
    lab.coldstart(&["ingest", "project", "labels.csv"]).exits(0);
    let ran = select(&lab, "2", &[]);
    ran.exits(0).says("chooses, for nobody said who:");
    assert!(!ran.stderr.contains("predictions.csv"), "{}", ran.stderr);
}

#[test]
fn a_photograph_that_nobody_chose_may_come_change_and_go() {
    let lab = many(8);
    select(&lab, "6", &[]).exits(0);
    let chosen = picks(&lab, "project");
    ingest(&lab, &chosen).exits(0);
    let all: Vec<String> = (0..8).flat_map(|i| [format!("ants/{i}.png"), format!("bees/{i}.png")]).collect();
    let free: Vec<&String> = all.iter().filter(|image| !chosen.contains(image)).collect();
    fs::remove_file(lab.path(&format!("photos/{}", free[0]))).unwrap();
    lab.write(&format!("photos/{}", free[1]), photograph(77, "bees.png"));
    lab.write(&format!("photos/{}", free[2]), "no image any more");
    fs::rename(lab.path(&format!("photos/{}", free[3])), lab.path("photos/renamed.png")).unwrap();
    let ran = select(&lab, "2", &[]);
    ran.exits(0)
        .says("2 images are gone, and left out")
        .says("1 images were changed, and are taken as they are now")
        .says("1 images have another name, and are known by their content");
    // It is still a word that is wanted of those that count.
    fs::remove_file(lab.path(&format!("photos/{}", chosen[0]))).unwrap();
    select(&lab, "2", &[]).exits(2).says_one_problem().says("has chosen or has a label of").says("project drop");
}

#[test]
fn a_dropped_image_is_forgotten_with_its_copies_and_its_label() {
    let lab = many(8);
    lab.write("photos/copy of ant.png", fs::read(lab.path("photos/ants/1.png")).unwrap());
    select(&lab, "16", &["--strategy", "random"]).exits(0);
    ingest(&lab, &picks(&lab, "project")).exits(0);
    let drop = |images: &[&str]| lab.coldstart(&[&["project", "drop", "project"], images].concat());
    let before = read(&lab, "project/labels.csv");
    drop(&["bees/1.png", "ants/99.png"]).exits(2).says_one_problem().says("`ants/99.png`");
    drop(&[]).exits(2);
    assert_eq!(read(&lab, "project/labels.csv"), before);
    let ran = drop(&["copy of ant.png", "bees/1.png"]);
    ran.exits(0).says("3 files dropped, with 2 labels");
    assert_eq!(
        ran.stdout.lines().collect::<BTreeSet<_>>(),
        BTreeSet::from(["ants/1.png", "bees/1.png", "copy of ant.png"])
    );
    let after = read(&lab, "project/labels.csv");
    assert!(!after.contains("ants/1.png") && !after.contains("bees/1.png") && after.contains("ants/2.png"), "{after}");
    drop(&["ants/1.png"]).exits(0).says("1 were dropped before");

    // A label for one of them comes too late, and its file may go.
    ingest(&lab, &["bees/1.png".to_owned()]).exits(0).says("1 images were dropped, and stay without a label");
    fs::remove_file(lab.path("photos/bees/1.png")).unwrap();
    for number in 20..24 {
        lab.write(&format!("photos/new/{number}.png"), photograph(number, "bees"));
    }
    select(&lab, "3", &[])
        .exits(0)
        .says("2 images were dropped, and are left out")
        .says("of images like the 14 labelled");
    assert!(!read(&lab, "project/predictions.csv").contains("ants/1.png,"));

    // Taken back, it is one that was chosen and has no label.
    lab.coldstart(&["project", "drop", "project", "--undo", "ants/1.png", "bees/2.png"])
        .exits(0)
        .says("1 were not dropped");
    select(&lab, "1", &[]).exits(0).says("1 images were dropped, and are left out");
    assert!(read(&lab, "project/predictions.csv").contains("ants/1.png,"));
}

#[test]
fn the_labelled_set_is_given_out_as_folders_and_as_a_table() {
    let lab = lab_with(&NAMES);
    lab.write("photos/copy.png", fs::read(lab.path("photos/ants/1.png")).unwrap());
    let export = |more: &[&str]| lab.coldstart(&[&["project", "export", "project"], more].concat());
    export(&["--csv", "-"]).exits(2);
    select(&lab, "16", &["--strategy", "random"]).exits(0);
    export(&["--csv", "-"]).exits(2).says_one_problem().says("no image of `project` has a label yet");
    let label = |image: &&str| if image.starts_with("ants") { "insect/ant" } else { "..bee" };
    let said: String = NAMES.iter().map(|image| format!("{image},{}\n", label(image))).collect();
    lab.write("labels.csv", format!("image,label\n{said}"));
    lab.coldstart(&["ingest", "project", "labels.csv"]).exits(0);

    export(&["--folders", "given/out", "--csv", "given/labels.csv"]).exits(0).says("16 images copied");
    let files = files_under(&lab.path("given/out"));
    assert_eq!(files.len(), 16);
    for image in NAMES {
        let folder = if image.starts_with("ants") { "insect%2Fant" } else { "%2E.bee" };
        let given = fs::read(lab.path(&format!("given/out/{folder}/{image}"))).unwrap();
        assert_eq!(given, fs::read(lab.path(&format!("photos/{image}"))).unwrap());
    }
    // The program reads both again, with the same classes.
    for (dataset, classes) in [
        ("dataset={ kind = \"folder\", path = \"given/out\", shape = [16, 16, 3] }", "insect%2Fant"),
        (
            "dataset={ kind = \"table\", path = \"given/labels.csv\", root = \"photos\", shape = [16, 16, 3] }",
            "insect/ant",
        ),
    ] {
        let ran = lab.coldstart(&["data", "info", "tiny.toml", "-s", dataset]);
        ran.exits(0);
        assert!(ran.stdout.contains(classes) && ran.stdout.contains("16"), "{}", ran.stdout);
    }
    let table = export(&["--csv", "-"]).exits(0).stdout.clone();
    assert_eq!(table, read(&lab, "given/labels.csv"));
    assert_eq!(table.lines().next(), Some("image,label,sha256"));

    export(&["--folders", "given/out"]).exits(2).says_one_problem().says("`given/out` is not empty");
    export(&[]).exits(2);
    lab.write("photos/bees/1.png", photograph(60, "bees"));
    export(&["--folders", "again"])
        .exits(2)
        .says_one_problem()
        .says("1 images are not those that were labelled: `bees/1.png`");
    assert!(!lab.path("again").exists());
    let left = fs::read_dir(lab.path(".")).unwrap().flatten().map(|entry| entry.file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().starts_with(".coldstart-export")).count(), 0);
    fs::rename(lab.path("photos"), lab.path("moved")).unwrap();
    lab.write("moved/bees/1.png", photograph(8, "bees/1.png"));
    export(&["--folders", "again"]).exits(2).says_one_problem();
    export(&["--folders", "again", "--images", "moved"]).exits(0);
    assert_eq!(files_under(&lab.path("again")).len(), 16);
}

/// A picture of its own for each number: squares in colours that were drawn.
fn squares(number: u8) -> RgbImage {
    let mut rng = Rng::from_seed([number; 32]);
    let colours: Vec<Rgb<u8>> = (0..16).map(|_| Rgb([0; 3].map(|_: u8| rng.below(256) as u8))).collect();
    RgbImage::from_fn(48, 48, |x, y| colours[(x / 12 + 4 * (y / 12)) as usize])
}

#[test]
fn near_copies_are_named_and_stay_two_images() {
    let lab = Lab::new();
    let write = |name: &str, picture: &RgbImage| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        lab.write(&format!("photos/{name}"), bytes.into_inner());
    };
    (0..20).for_each(|number| write(&format!("{number}.png"), &squares(number)));
    // The same picture but for a pixel: other bytes, and all but the same features.
    let mut again = squares(7);
    again.put_pixel(20, 20, Rgb([128, 128, 128]));
    write("again.png", &again);
    let shape = ["-s", "dataset.shape=[48, 48, 3]"];
    let ran = select(&lab, "21", &[&shape[..], &["--near-duplicates"]].concat());
    ran.exits(0).says("1 pairs of images are nearly the same");
    let found = read(&lab, "project/near-copies.csv");
    assert!(found.starts_with("image,near,share\n"), "{found}");
    assert!(found.contains("7.png,again.png,") || found.contains("again.png,7.png,"), "{found}");
    select(&lab, "1", &["--near-duplicates=1.5"]).exits(2).says("expected a number from 0 to 1");
}

/// Label Studio's own library takes the interface, and the answers that tasks begin with.
#[test]
fn label_studio_takes_what_a_model_says() {
    const CHECK: &str = "
import json, sys
from label_studio_sdk.label_interface import LabelInterface
interface = LabelInterface(open('project/label-studio.xml').read())
tasks = json.load(open('project/label-studio.json'))
answers = [answer for task in tasks for answer in task['predictions']]
assert len(answers) == len(tasks) > 0
assert all(interface.validate_prediction(answer) for answer in answers)
answers[0]['result'][0]['value']['choices'] = ['wasp']
assert not interface.validate_prediction(answers[0])
";
    let lab = many(8);
    if !has_tool("python3", &["-c", "import label_studio_sdk"]) {
        return;
    }
    select(&lab, "8", &[]).exits(0);
    ingest(&lab, &picks(&lab, "project")).exits(0);
    select(&lab, "4", &["--format", "label-studio"]).exits(0);
    let mut check = std::process::Command::new("python3");
    let ran = check.args(["-c", CHECK]).current_dir(lab.path(".")).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}
