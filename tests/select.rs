//! Images without labels in, ranked picks out; labels back in, more picks out.

use coldstart_tests::project::{NAMES, json, lab_with, labels, photograph, picks, read, select};
use coldstart_tests::{Lab, has_tool, repository};
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn a_folder_goes_in_and_ranked_picks_come_out() {
    for (strategy, more, map) in [
        ("random", &[][..], "pool"),
        ("typiclust", &[], "pool"),
        ("typiclust", &["--representation", "pixels", "-s", "representation.components=4"], "pool"),
        ("first-choice", &["-s", "params.epochs=2", "-s", "params.clusters=3"], "dataset-map"),
    ] {
        let lab = lab_with(&NAMES);
        let more = [more, &["--format", "label-studio"]].concat();
        let ran = select(&lab, strategy, "5", &more);
        let written = ["picks.csv", "picks.json", "contact-sheet.png", "label-studio.json", "index.html"];
        let expected: String = written.map(|name| format!("photos-selection/{name}\n")).concat();
        assert_eq!(ran.exits(0).stdout, expected);
        let images = picks(&lab, "photos-selection");
        assert_eq!(images.iter().filter(|image| NAMES.contains(&image.as_str())).collect::<BTreeSet<_>>().len(), 5);
        let table = read(&lab, "photos-selection/picks.csv");
        let column: Vec<&str> = table.lines().map(|line| line.split(',').nth(1).unwrap()).collect();
        assert_eq!((column[0], &column[1..]), ("image", &images.iter().map(String::as_str).collect::<Vec<_>>()[..]));

        let sheet = image::open(lab.path("photos-selection/contact-sheet.png")).unwrap();
        assert_eq!((sheet.width(), sheet.height()), (1280, 128));
        let page = read(&lab, "photos-selection/index.html");
        assert!(images.iter().all(|image| page.contains(image)), "{strategy}");
        // The browser itself is told to fetch nothing.
        assert!(page.contains("default-src 'none'"));
        assert!(lab.path(&format!("photos-selection/rounds/000/artifacts/000/{map}.map.json")).is_file(), "{strategy}");
        let tasks = json(&lab, "photos-selection/label-studio.json");
        assert_eq!(tasks[0]["data"]["image"], format!("/data/local-files/?d=photos/{}", images[0]));
        assert_eq!(tasks[0]["data"]["coldstart_image"], images[0]);
        // What it was chosen with is written out, defaults and all.
        let config = read(&lab, "photos-selection/config.toml");
        assert!(config.contains("shape = [16, 16, 3]") || config.contains("shape = [\n    16"), "{config}");
        assert!(
            config.contains("batch_size = 128") && config.contains(&format!("strategy = \"{strategy}\"")),
            "{config}"
        );
    }
}

/// A folder that holds the classes says nothing to a strategy: with other names in the same order the same ids are chosen.
#[test]
fn names_of_folders_do_not_matter_and_the_same_question_has_the_same_answer() {
    let other = NAMES.map(|name| name.replace("ants", "a").replace("bees", "b/c"));
    let ids = |names: &[&str]| -> Vec<Value> {
        let lab = Lab::new();
        for (number, (name, original)) in names.iter().zip(NAMES).enumerate() {
            lab.write(&format!("photos/{name}"), photograph(number, original));
        }
        let picks = select(&lab, "typiclust", "6", &["--json"]).exits(0).json();
        picks["picks"].as_array().unwrap().iter().map(|pick| pick["id"].clone()).collect()
    };
    let first = ids(&NAMES);
    assert_eq!(first, ids(&NAMES));
    assert_eq!(first, ids(&other.each_ref().map(String::as_str)));
}

#[test]
fn what_is_no_image_is_listed_and_counted() {
    let lab = lab_with(&NAMES);
    let whole = photograph(3, "x.jpg");
    lab.write("photos/cut.jpg", &whole[..whole.len() / 2]);
    lab.write("photos/text.jpg", "no picture");
    lab.write("photos/nothing.png", "");
    lab.write("photos/folder.jpg/readme.txt", "");
    lab.write("photos/notes.txt", "not named like an image, and not counted");
    select(&lab, "random", "16", &[]).exits(0).says("16 images in photos").says("skipped 4 that cannot be read");
    let skipped = read(&lab, "photos-selection/skipped.csv");
    for line in [
        "cut.jpg,\"the JPEG is cut short",
        "text.jpg,\"not JPEG, PNG",
        "nothing.png,the file is empty",
        "folder.jpg,a folder",
    ] {
        assert!(skipped.contains(line), "{line} is not in\n{skipped}");
    }
    assert_eq!((skipped.lines().count(), json(&lab, "photos-selection/picks.json")["skipped"].as_u64()), (5, Some(4)));
    lab.write("labels.csv", "image,label\ncut.jpg,ants\n");
    let ran = lab.coldstart(&["ingest", "photos-selection", "labels.csv"]);
    ran.exits(2).says_one_problem().says("`cut.jpg` (line 2) is no image that could be read: the JPEG is cut short");
}

#[test]
fn labels_come_back_and_selection_goes_on() {
    let lab = lab_with(&NAMES);
    select(&lab, "random", "6", &["--out", "project"]).exits(0);
    let first = picks(&lab, "project");
    // Without labels there is nothing to go on with.
    select(&lab, "margin", "3", &["--out", "project"]).exits(2).says_one_problem().says("coldstart ingest project");
    lab.write("labels.csv", labels(&first[..5]));
    let ran = lab.coldstart(&["ingest", "project", "labels.csv"]);
    ran.exits(0).says("5 new labels, 0 known before").says("1 chosen images have no label yet");
    // Once more changes nothing; what the project keeps can be read as it is.
    let again = lab.coldstart(&["ingest", "project", "project/labels.csv", "--json"]).exits(0).json();
    assert_eq!((&again["new"], &again["same"], &again["waiting"]), (&0.into(), &5.into(), &1.into()));

    // New images may come; ids of old ones stay.
    let before = read(&lab, "project/images.csv");
    lab.write("photos/aaa.png", photograph(40, "bees"));
    let ran = select(&lab, "margin", "4", &["--out", "project"]);
    ran.exits(0)
        .says("17 images in photos, 1 of them new")
        .says("trained on 5 images")
        .says("round 1: 5 labels, 4 of 11");
    assert_eq!(read(&lab, "project/images.csv").strip_prefix(&before).unwrap().split(',').nth(1), Some("aaa.png"));
    let second = picks(&lab, "project");
    assert!(second.iter().all(|image| !first.contains(image)), "{second:?}");
    assert_eq!(picks(&lab, "project/rounds/000"), first);
    assert_eq!(picks(&lab, "project/rounds/001"), second);
    assert_eq!(json(&lab, "project/picks.json")["role"], "query");

    // A strategy that asks no model has none trained if nothing is to be predicted; settings stay as they were.
    lab.write("labels.csv", labels(&second));
    lab.coldstart(&["ingest", "project", "labels.csv"]).exits(0);
    let args =
        ["select", "--images", "photos", "--strategy", "typiclust", "--size", "2", "--out", "project", "-o", "-"];
    let ran = lab.coldstart(&[&args[..], &["--no-predictions"]].concat());
    assert!(!ran.exits(0).stderr.contains("trained on"), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("rank,image,score,id\n1,"), "{}", ran.stdout);
    assert_eq!(ran.stdout, read(&lab, "project/picks.csv"));
    assert!(read(&lab, "project/config.toml").contains("min_steps = 10"));
}

/// The strategy `hostile` is asked for more: it finds again what it had kept, but no label that nobody gave.
#[test]
fn a_strategy_keeps_its_state_and_sees_no_label_but_those_that_came_back() {
    let lab = lab_with(&NAMES);
    select(&lab, "random", "4", &["--out", "project"]).exits(0);
    lab.write("labels.csv", labels(&picks(&lab, "project")));
    lab.coldstart(&["ingest", "project", "labels.csv"]).exits(0);
    for (round, calls) in [("001", "1"), ("002", "2")] {
        select(&lab, "hostile", "2", &["--out", "project"]).exits(0);
        assert_eq!(read(&lab, &format!("project/rounds/{round}/artifacts/{round}/calls.txt")), calls);
    }
    let before = read(&lab, "project/picks.csv");
    for (behaviour, problem) in [("reads-hidden-label", "is not labelled"), ("hidden-targets", "is not labelled")] {
        let behaviour = format!("params.behaviour={behaviour}");
        let ran = select(&lab, "hostile", "2", &["--out", "project", "-s", &behaviour]);
        ran.exits(3).says_one_problem().says(problem);
        assert!(!lab.path("project/rounds/003").exists());
        assert_eq!(read(&lab, "project/picks.csv"), before);
    }
}

/// With a single class there is nothing to tell apart: strategies that need no model go on.
#[test]
fn one_class_trains_no_model() {
    let lab = lab_with(&NAMES);
    select(&lab, "random", "3", &["--out", "project"]).exits(0);
    let same: String = picks(&lab, "project").iter().map(|image| format!("{image},ants\n")).collect();
    lab.write("labels.csv", format!("image,label\n{same}"));
    lab.coldstart(&["ingest", "project", "labels.csv"]).exits(0);
    select(&lab, "margin", "3", &["--out", "project"]).exits(2).says_one_problem().says("all labels so far are `ants`");
    select(&lab, "typiclust", "3", &["--out", "project"]).exits(0);
}

#[test]
fn a_mistake_is_one_clear_error_and_changes_nothing() {
    let lab = lab_with(&NAMES);
    lab.write("full/of.txt", "something else");
    lab.write("empty/notes.txt", "no image");
    let select = |images: &str, strategy: &str, size: &str, out: &str, more: &[&str]| {
        let args = ["select", "--images", images, "--strategy", strategy, "--size", size, "--out", out];
        lab.coldstart(&[&args[..], more].concat())
    };
    for (images, strategy, size, out, more, exit, sentences) in [
        ("nowhere", "random", "3", "new", &[][..], 2, ["there is no folder `nowhere`", "--images"]),
        ("empty", "random", "3", "new", &[], 2, ["there is no image in `empty`", "any depth"]),
        ("photos", "random", "17", "new", &[], 2, ["17 images cannot be chosen: 16 are left", "at most 16"]),
        ("photos", "random", "0", "new", &[], 2, ["at least 1 image", "--size"]),
        ("photos", "randm", "3", "new", &[], 2, ["--strategy randm", "did you mean `random`?"]),
        ("photos", "margin", "3", "new", &[], 2, ["before the first label", "plugin list"]),
        ("photos", "random", "3", "full", &[], 2, ["`full` is not empty", "--out"]),
        ("photos", "typiclust", "3", "new", &["--representation", "moco"], 2, ["representation.method", "moco-v2"]),
        ("photos", "typiclust", "3", "new", &["-s", "params.cluster=3"], 2, ["`cluster`", "it takes"]),
        ("photos", "random", "3", "new", &["-s", "trainig.epochs=3"], 2, ["trainig", "did you mean `training`?"]),
        ("photos", "random", "3", "new", &["-s", "plugins.oracles=true"], 2, ["plugins.oracles", "nobody has them"]),
        ("photos", "balanced-random", "3", "new", &[], 2, ["is an oracle", "--strategy"]),
    ] {
        let ran = select(images, strategy, size, out, more);
        ran.exits(exit).says(sentences[0]).says(sentences[1]);
        assert!(!lab.path("new").exists(), "{images} {strategy} {size}: {}", ran.stderr);
    }

    select("photos", "random", "4", "project", &[]).exits(0);
    let chosen = picks(&lab, "project");
    lab.write("good.csv", labels(&chosen));
    let ingest = |labels: &str, more: &[&str]| {
        lab.write("labels.csv", labels);
        lab.coldstart(&[&["ingest", "project", "labels.csv"][..], more].concat())
    };
    for (labels, sentences) in [
        ("image,label\nants/9.png,ants\n", ["`ants/9.png` (line 2) is no image of `project`", "as in `picks.csv`"]),
        ("image,label\nwasps/2.jpg,ants\n", ["is no image of `project`", "did you mean `ants/2.jpg`?"]),
        (
            "image,label\nants/1.png,ants\nants/1.png,bees\n",
            ["`ants/1.png` has two labels: `ants` (line 2) and `bees` (line 3)", "--disagreement"],
        ),
        ("file,label\nants/1.png,ants\n", ["has no column `image`", "image,label"]),
        ("image,a,b\nants/1.png,x,y\n", ["the label could be in any of a, b", "--field"]),
        ("image,label\nants/1.png\n", ["2", "image,label"]),
        ("image,label\n,ants\n", ["line 2 names no image", "image,label"]),
        ("[{\"id\": 7, \"data\": {}}]", ["task 7", "coldstart_image"]),
        ("[{\"id\": 7, \"data\": {\"image\": \"ants/1.png\"}}]", ["task 7", "no list of annotations"]),
        ("[1]", ["entry 1 is no object", "Label Studio"]),
        ("[{", ["EOF", "Label Studio"]),
    ] {
        ingest(labels, &[]).exits(2).says_one_problem().says(sentences[0]).says(sentences[1]);
        assert!(!lab.path("project/labels.csv").exists(), "{labels}");
    }
    lab.coldstart(&["ingest", "photos", "good.csv"]).exits(2).says_one_problem().says("`photos` is no project");
    lab.coldstart(&["ingest", "project", "lables.csv"])
        .exits(2)
        .says_one_problem()
        .says("cannot read `lables.csv`: there is no such file")
        .says("did you mean `labels.csv`?");

    lab.coldstart(&["ingest", "project", "good.csv"]).exits(0);
    let other = format!("image,label\n{},wasps\n", chosen[0]);
    ingest(&other, &[]).exits(2).says_one_problem().says("labelled").says("--replace");
    ingest(&other, &["--replace"]).exits(0).says("1 replaced");
    select("photos", "random", "13", "project", &[])
        .exits(2)
        .says_one_problem()
        .says("12 are left of 16, 4 are labelled");
    select("photos", "first-choice", "3", "project", &[])
        .exits(2)
        .says("--strategy first-choice")
        .says("now that there are labels");
    select("full", "random", "3", "project", &[])
        .exits(2)
        .says("4 images that `project` has chosen or has a label of are not in `full`");
    lab.write("photos/ants/2.jpg", photograph(99, "ants.jpg"));
    let changed = select("photos", "random", "3", "project", &[]);
    changed.exits(2).says_one_problem().says("1 images in `photos` are not what they were").says("`ants/2.jpg`");
    changed.says("--accept-changes");
    std::fs::remove_file(lab.path("photos/ants/2.jpg")).unwrap();
    let gone = select("photos", "random", "3", "project", &[]);
    gone.exits(2).says_one_problem().says("1 images that `project` has chosen or has a label of").says("`ants/2.jpg`");
}

/// What Label Studio itself exported: all three formats say the same. See `tests/golden/label-studio/README.md`.
#[test]
fn exports_of_label_studio_are_read() {
    let names = [
        "ants/1.png",
        "ants/2.png",
        "ants/grün 3.png",
        "ants/50%.png",
        "bees/1.png",
        "bees/2.png",
        "bees/a+b&c.png",
        "bees/4.png",
    ];
    for (export, cancelled, unanswered) in [("export.json", 1, 1), ("export-min.json", 0, 1), ("export.csv", 0, 1)] {
        let lab = lab_with(&names);
        select(&lab, "random", "6", &["--out", "project"]).exits(0);
        let file = repository().join("tests/golden/label-studio").join(export);
        let ingest = |more: &[&str]| lab.coldstart(&[&["ingest", "project", file.to_str().unwrap()], more].concat());
        ingest(&[]).exits(2).says_one_problem().says("`bees/a+b&c.png` has two labels");
        let read_in = ingest(&["--disagreement", "majority", "--json"]).exits(0).json();
        assert_eq!(read_in["disputed"], serde_json::json!(["bees/a+b&c.png"]), "{export}");
        assert_eq!(
            (&read_in["cancelled"], &read_in["unanswered"]),
            (&cancelled.into(), &unanswered.into()),
            "{export}"
        );
        let expected = "image,label\nants/2.png,ants\nants/grün 3.png,ants\nbees/1.png,bees\n";
        assert_eq!(read(&lab, "project/labels.csv"), expected, "{export}");
    }
}

/// An image is found by the end of an address, if all addresses of a file begin alike.
#[test]
fn labels_of_tasks_that_others_made_find_their_images() {
    let task = |url: &str, label: &str| {
        let choice =
            format!("{{\"type\": \"choices\", \"from_name\": \"kind\", \"value\": {{\"choices\": [\"{label}\"]}}}}");
        let stars = "{\"type\": \"rating\", \"from_name\": \"stars\", \"value\": {\"rating\": 3}}";
        format!(
            "{{\"id\": 1, \"data\": {{\"image\": \"{url}\"}}, \"annotations\": [{{\"result\": [{stars}, {choice}]}}]}}"
        )
    };
    let lab = lab_with(&NAMES);
    lab.write("photos/1.png", photograph(50, "ants"));
    select(&lab, "random", "3", &["--out", "project"]).exits(0);
    let ingest = |first: &str, second: &str| {
        lab.write("tasks.json", format!("[{}, {}]", task(first, "ants"), task(second, "bees")));
        lab.coldstart(&["ingest", "project", "tasks.json"])
    };
    let mixed = ingest("https://host/photos/ants/1.png", "https://host/photos/wasps/1.png");
    mixed.exits(2).says_one_problem().says("but also below `https://host/photos/wasps/`");
    ingest("s3://bucket/ants/2.jpg", "s3://bucket/bees/1.png").exits(0);
    assert_eq!(read(&lab, "project/labels.csv"), "image,label\nants/2.jpg,ants\nbees/1.png,bees\n");
}

/// A killed selection leaves a round that does not count.
#[test]
fn what_an_interrupted_selection_left_is_no_round() {
    let lab = lab_with(&NAMES);
    select(&lab, "random", "3", &["--out", "undisturbed"]).exits(0);
    lab.write("project/rounds/unfinished/picks.csv", "half");
    lab.write("project/images.csv", "id,image,sha256\n0,ants/1.png,00\n");
    select(&lab, "random", "3", &["--out", "project"]).exits(0);
    for file in ["picks.csv", "images.csv", "rounds/000/picks.csv"] {
        assert_eq!(read(&lab, &format!("project/{file}")), read(&lab, &format!("undisturbed/{file}")));
    }
    assert!(!lab.path("project/rounds/unfinished").exists());
}

/// The page in a browser: it shows every chosen image, and draws the map.
#[test]
fn a_browser_shows_images_and_map() {
    let chromium = "chromium";
    if !has_tool(chromium, &["--version"]) {
        return;
    }
    let lab = lab_with(&NAMES);
    select(&lab, "typiclust", "5", &["--out", "project"]).exits(0);
    let page = format!("file://{}", lab.path("project/index.html").display());
    let profile = format!("--user-data-dir={}", lab.path("profile").display());
    let flags =
        ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--window-size=1200,3000"];
    let ran = std::process::Command::new(chromium).args(flags).args([&profile, "--dump-dom", &page]).output().unwrap();
    let dom = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(dom.matches("background-position:").count(), 5, "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(dom.contains("class=\"main-svg\""), "the map was not drawn");
}

/// Two rounds of a project in which people move, rename, copy, re-save and delete photographs.
#[test]
fn images_are_known_by_their_content() {
    let lab = lab_with(&NAMES);
    select(&lab, "random", "6", &["--out", "project"]).exits(0);
    let first = picks(&lab, "project");
    lab.write("labels.csv", labels(&first[..4]));
    lab.coldstart(&["ingest", "project", "labels.csv"]).exits(0);

    // Everything moves one folder down; two photographs change places; the folder has another name.
    std::fs::create_dir(lab.path("moved")).unwrap();
    std::fs::rename(lab.path("photos"), lab.path("moved/all")).unwrap();
    std::fs::rename(lab.path("moved"), lab.path("photos")).unwrap();
    let place = |name: &str| lab.path(&format!("photos/all/{name}"));
    for (from, to) in [("ants/1.png", "swap.png"), ("bees/1.png", "ants/1.png"), ("swap.png", "bees/1.png")] {
        std::fs::rename(place(from), place(to)).unwrap();
    }
    let now = |image: &String| match image.as_str() {
        "ants/1.png" => "all/bees/1.png".to_owned(),
        "bees/1.png" => "all/ants/1.png".to_owned(),
        other => format!("all/{other}"),
    };
    let ran = select(&lab, "margin", "3", &["--out", "project"]);
    ran.exits(0).says("16 images in photos").says("16 images have another name, and are known by their content");
    ran.says("round 1: 4 labels, 3 of 10 images");
    let second = picks(&lab, "project");
    assert!(second.iter().all(|image| !first.iter().map(now).any(|old| old == *image)), "{first:?} {second:?}");
    let mut expected: Vec<String> = first[..4].iter().map(|old| format!("{},{}", now(old), &old[..4])).collect();
    expected.sort_unstable();
    assert_eq!(read(&lab, "project/labels.csv").lines().skip(1).collect::<Vec<_>>(), expected);

    // Labels for the first tasks still name images as they were called then.
    lab.write("labels.csv", labels(&first));
    let ran = lab.coldstart(&["ingest", "project", "labels.csv", "--json"]).exits(0).json();
    assert_eq!((&ran["new"], &ran["same"], &ran["waiting"]), (&2.into(), &4.into(), &3.into()));
}

/// A folder of another name begins another project; where the images are known, it is said.
#[test]
fn a_renamed_folder_is_told_from_a_new_one() {
    let lab = lab_with(&NAMES);
    select(&lab, "random", "3", &[]).exits(0);
    std::fs::rename(lab.path("photos"), lab.path("pictures")).unwrap();
    lab.write("others/1.png", photograph(60, "bees.png"));
    let select = |images: &str, more: &[&str]| {
        let args = ["select", "--images", images, "--strategy", "random", "--size", "1", "-s", "threads=1"];
        lab.coldstart(&[&args[..], more].concat())
    };
    let said = "`photos-selection` knows 16 of these images; to go on with it: `--out photos-selection`";
    select("pictures", &[]).exits(0).says(said);
    assert!(!select("others", &[]).exits(0).stderr.contains("of these images"));
    assert!(!select("pictures", &["--out", "mine"]).exits(0).stderr.contains("of these images"));
}

#[test]
fn changed_and_deleted_images_are_left_to_the_user() {
    let lab = lab_with(&NAMES);
    select(&lab, "random", "16", &["--out", "project"]).exits(0);
    lab.write("labels.csv", labels(&NAMES.map(str::to_owned)[2..]));
    lab.coldstart(&["ingest", "project", "labels.csv"]).exits(0);
    for number in 20..24 {
        lab.write(&format!("photos/new/{number}.png"), photograph(number, "bees"));
    }
    // One is saved anew, one deleted, one is no image any more; all have labels.
    lab.write("photos/ants/4.PNG", photograph(50, "ants.png"));
    std::fs::remove_file(lab.path("photos/bees/3.png")).unwrap();
    lab.write("photos/bees/4.png", "no image");
    let before = read(&lab, "project/images.csv");
    select(&lab, "margin", "1", &["--out", "project"])
        .exits(2)
        .says_one_problem()
        .says("2 images in `photos` are not what they were")
        .says("--accept-changes");
    assert_eq!(read(&lab, "project/images.csv"), before);
    let ran = select(&lab, "margin", "1", &["--out", "project", "--accept-changes"]);
    ran.exits(0)
        .says("1 images were changed, and are taken as they are now: `ants/4.PNG`")
        .says("2 images are gone, and left out: `bees/3.png`, `bees/4.png`")
        .says("trained on 12 images")
        .says("1 of 4 images");
    // What was said once holds; what is gone besides is another matter.
    select(&lab, "margin", "1", &["--out", "project"]).exits(0).says("trained on 12 images").says("1 of 3 images");
    std::fs::remove_file(lab.path("photos/bees/5.png")).unwrap();
    select(&lab, "margin", "1", &["--out", "project"])
        .exits(2)
        .says("1 images that `project` has chosen or has a label of are not in `photos`: `bees/5.png`");
}

#[test]
fn copies_are_one_image() {
    let lab = lab_with(&NAMES[..8]);
    for (copy, name) in [("copies/a.png", "ants/1.png"), ("copies/b.png", "ants/1.png"), ("zzz.png", "ants/3.png")] {
        std::fs::create_dir_all(lab.path("photos/copies")).unwrap();
        std::fs::copy(lab.path(&format!("photos/{name}")), lab.path(&format!("photos/{copy}"))).unwrap();
    }
    select(&lab, "random", "12", &["--out", "project"]).exits(2).says_one_problem().says("8 are left of 8");
    let ran = select(&lab, "random", "11", &["--out", "project", "--format", "label-studio"]);
    ran.exits(0).says("8 images in photos; 3 more files are copies of them").says("8 different images are left");
    assert!(read(&lab, "project/config.toml").contains("size = 8"));
    let chosen = picks(&lab, "project");
    assert_eq!(chosen.iter().map(String::as_str).collect::<BTreeSet<_>>(), NAMES[..8].iter().copied().collect());
    // Every name is told, wherever picks are.
    let page = read(&lab, "project/index.html");
    let (table, tasks) = (read(&lab, "project/picks.csv"), json(&lab, "project/label-studio.json"));
    let of = |image: &str| chosen.iter().position(|chosen| chosen == image).unwrap();
    let copies = serde_json::json!(["copies/a.png", "copies/b.png"]);
    assert_eq!(json(&lab, "project/picks.json")["picks"][of("ants/1.png")]["copies"], copies);
    assert_eq!(tasks[of("ants/1.png")]["data"]["coldstart_copies"], copies);
    assert!(table.starts_with("rank,image,score,id,copies\n"), "{table}");
    assert!(table.contains("copies/a.png | copies/b.png\n") && table.contains(",zzz.png\n"), "{table}");
    assert!(page.contains("copies/b.png") && page.contains("zzz.png"));

    // A label for any of them is one for the image; two that differ are a dispute like any other.
    let ingest = |labels: &str| {
        lab.write("labels.csv", format!("image,label\n{labels}"));
        lab.coldstart(&["ingest", "project", "labels.csv"])
    };
    ingest("ants/1.png,ant\ncopies/b.png,bee\n").exits(2).says_one_problem().says("`ants/1.png` has two labels");
    ingest("copies/b.png,ant\nzzz.png,bee\nants/2.jpg,ant\n")
        .exits(0)
        .says("3 new")
        .says("5 chosen images have no label");
    assert_eq!(read(&lab, "project/labels.csv"), "image,label\nants/1.png,ant\nants/2.jpg,ant\nants/3.png,bee\n");
    lab.write("photos/new.png", photograph(70, "bees"));
    let ran = select(&lab, "margin", "1", &["--out", "project"]);
    ran.exits(0).says("trained on 3 images").says("1 of 1 images");
    assert_eq!(picks(&lab, "project"), ["new.png"]);

    // A copy stands for its original, which is gone.
    std::fs::remove_file(lab.path("photos/ants/1.png")).unwrap();
    lab.write("photos/newer.png", photograph(71, "bees"));
    select(&lab, "margin", "1", &["--out", "project"])
        .exits(0)
        .says("trained on 3 images")
        .says("2 more files are copies");
}

/// Every strategy of the role `initial` but the oracle.
const INITIAL: &[&str] = &[
    "active-ft",
    "coreset",
    "dcom",
    "drop-query",
    "first-choice",
    "kmeans",
    "max-herding",
    "probcover",
    "pt4al",
    "random",
    "rdss",
    "tcm",
    "typiclust",
    "u-herding",
    "usl",
];

/// Pictures that are the same to the eye and to every feature, but not to the byte: each may be chosen, none twice.
#[test]
fn a_folder_of_the_same_picture_is_chosen_from_without_nonsense() {
    let lab = Lab::new();
    let same = photograph(0, "ants.png");
    for i in 0..10u8 {
        // Bytes after the end of a PNG change the file, and not the picture.
        lab.write(&format!("photos/same-{i}.png"), [&same[..], &[i]].concat());
    }
    lab.write("photos/other.png", photograph(9, "bees.png"));
    for strategy in INITIAL {
        let fast: &[&str] = if ["pt4al", "first-choice"].contains(strategy) { &["-s", "params.epochs=1"] } else { &[] };
        let out = format!("of-{strategy}");
        select(&lab, strategy, "6", &[fast, &["--out", &out]].concat()).exits(0);
        let images: BTreeSet<String> = picks(&lab, &out).into_iter().collect();
        assert_eq!(images.len(), 6, "{strategy}: {images:?}");
        let scores = json(&lab, &format!("{out}/picks.json"))["picks"].to_string();
        assert!(
            !scores.contains("NaN") && !read(&lab, &format!("{out}/picks.csv")).contains("NaN"),
            "{strategy}: {scores}"
        );
    }
}
