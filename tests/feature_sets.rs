//! Data sets without images, and linear probes on features from files.

use coldstart_tests::{Lab, Ran, npy, npy_of_texts, npz};
use std::fs;

const N_TRAIN: usize = 60;
const N_TEST: usize = 30;
const N_COLS: usize = 6;

/// A number for each item and column: three classes apart, with a little that differs from item to item.
fn value(item: usize, column: usize) -> f32 {
    let class = item % 3;
    let own = ((item * 31 + column * 17) % 23) as f32 / 10.0;
    if column % 3 == class { 3.0 + own } else { own }
}

fn matrix(items: impl Iterator<Item = usize> + Clone) -> Vec<u8> {
    let n = items.clone().count();
    let numbers = items.flat_map(|item| (0..N_COLS).map(move |column| value(item, column)));
    npy("<f4", &format!("({n}, {N_COLS})"), &numbers.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())
}

fn labels(items: impl Iterator<Item = usize> + Clone) -> Vec<u8> {
    let n = items.clone().count();
    npy("<i8", &format!("({n},)"), &items.flat_map(|item| ((item % 3) as i64).to_le_bytes()).collect::<Vec<u8>>())
}

/// The items of the test part are numbered behind those of the training part.
fn test_items() -> impl Iterator<Item = usize> + Clone {
    N_TRAIN..N_TRAIN + N_TEST
}

const CONFIG: &str = r#"
name = "vectors"
threads = 1
[dataset]
kind = "features"
path = "set.npz"
[training]
learner = "linear-probe"
[initial]
strategy = "typiclust"
size = 6
[query]
strategy = "margin"
size = 5
rounds = 3
"#;

/// A laboratory with the set as an archive, and an experiment on it, `vectors.toml`.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("vectors.toml", CONFIG);
    lab.write(
        "set.npz",
        npz(&[
            ("x_train", matrix(0..N_TRAIN)),
            ("y_train", labels(0..N_TRAIN)),
            ("x_test", matrix(test_items())),
            ("y_test", labels(test_items())),
        ]),
    );
    lab
}

fn run(lab: &Lab, out: &str, more: &[&str]) -> Ran {
    let more = more.iter().flat_map(|set| ["-s", *set]);
    let args = ["--data", ".", "run", "vectors.toml", "--out", out].into_iter().chain(more);
    lab.coldstart(&args.collect::<Vec<_>>())
}

fn results(lab: &Lab, out: &str) -> String {
    fs::read_to_string(lab.path(out).join("results.csv")).unwrap()
}

/// A file of safetensors with these tensors: name, type, shape, bytes.
fn safetensors(tensors: &[(&str, &str, &str, &[u8])]) -> Vec<u8> {
    let (mut header, mut bytes) = (Vec::new(), Vec::new());
    for (name, kind, shape, content) in tensors {
        let (begin, end) = (bytes.len(), bytes.len() + content.len());
        header.push(format!(r#""{name}":{{"dtype":"{kind}","shape":{shape},"data_offsets":[{begin},{end}]}}"#));
        bytes.extend_from_slice(content);
    }
    let header = format!("{{{}}}", header.join(","));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes].concat()
}

/// The elements of an `.npy`, which follow its one line of header.
fn elements(npy: &[u8]) -> &[u8] {
    let header = u16::from_le_bytes([npy[8], npy[9]]) as usize;
    &npy[10 + header..]
}

#[test]
fn every_kind_of_file_gives_the_same_run() {
    let lab = lab();
    run(&lab, "npz", &[]).exits(0);
    let expected = results(&lab, "npz");
    assert_eq!(expected.lines().count(), 5, "a header and four rounds");
    let parts = [("x", matrix(0..N_TRAIN), labels(0..N_TRAIN)), ("t", matrix(test_items()), labels(test_items()))];
    for (name, x, y) in &parts {
        lab.write(&format!("{name}.npy"), x);
        lab.write(&format!("{name}-labels.npy"), y);
    }
    let [(_, x, y), (_, xt, yt)] = &parts;
    let shape = |n: usize| (format!("[{n},{N_COLS}]"), format!("[{n}]"));
    let ((rows, of_rows), (test_rows, of_test)) = (shape(N_TRAIN), shape(N_TEST));
    lab.write(
        "set.safetensors",
        safetensors(&[
            ("train_features", "F32", &rows, elements(x)),
            ("train_labels", "I64", &of_rows, elements(y)),
            ("test_features", "F32", &test_rows, elements(xt)),
            ("test_labels", "I64", &of_test, elements(yt)),
        ]),
    );
    let others = [
        r#"dataset={ kind = "features", path = "x.npy", labels = "x-labels.npy", test_path = "t.npy", test_labels = "t-labels.npy" }"#,
        r#"dataset={ kind = "features", path = "set.safetensors" }"#,
    ];
    for (i, dataset) in others.into_iter().enumerate() {
        let out = format!("other-{i}");
        run(&lab, &out, &[dataset]).exits(0);
        assert_eq!(results(&lab, &out), expected, "{dataset}");
    }
}

/// The same rows as a set of their own, and as a file of features of images: in order, by ids, and by arrays of both parts.
#[test]
fn a_probe_on_a_file_is_that_on_the_set() {
    let lab = lab();
    let pixels = |n: usize| npy("|u1", &format!("({n}, 8, 8)"), &vec![7; 64 * n]);
    lab.write(
        "images.npz",
        npz(&[
            ("x_train", pixels(N_TRAIN)),
            ("y_train", labels(0..N_TRAIN)),
            ("x_test", pixels(N_TEST)),
            ("y_test", labels(test_items())),
        ]),
    );
    lab.write("pool.npy", matrix(0..N_TRAIN));
    lab.write("test.npy", matrix(test_items()));
    let turned = (0..N_TRAIN).map(|i| i * 7 % N_TRAIN);
    let ids = npy(
        "<i8",
        &format!("({N_TRAIN},)"),
        &turned.clone().flat_map(|i| (i as i64).to_le_bytes()).collect::<Vec<u8>>(),
    );
    lab.write("turned.npz", npz(&[("ids", ids), ("features", matrix(turned))]));
    lab.write("both.npz", npz(&[("train", matrix(0..N_TRAIN)), ("test", matrix(test_items()))]));
    run(&lab, "set", &[]).exits(0);
    let images = r#"dataset={ kind = "npz", path = "images.npz" }"#;
    for (i, (keys, how)) in [
        (r#"path = "pool.npy", test = "test.npy""#, "in the order of the data set"),
        (r#"path = "turned.npz", test = "test.npy""#, "found by their ids"),
        (r#"path = "both.npz""#, "in the order of the data set"),
    ]
    .into_iter()
    .enumerate()
    {
        let (out, representation) = (format!("file-{i}"), format!("representation={{ method = \"file\", {keys} }}"));
        run(&lab, &out, &[images, &representation]).exits(0).says(how);
        assert_eq!(results(&lab, &out), results(&lab, "set"), "{keys}");
    }
    // What cannot be measured is known before anything is trained.
    let alone = r#"representation={ method = "file", path = "pool.npy" }"#;
    let ran = run(&lab, "refused", &[images, alone]);
    ran.exits(2).says_one_problem().says("no rows of the test part").says("representation.test");
    assert!(!lab.path("refused").exists());
    // Where no probe stands on them, nobody needs them.
    let trained = ["training.learner=supervised", "training.epochs=1", "model.backbone=convnet", "model.width=4"];
    run(&lab, "trained", &[&[images, alone, "query.rounds=0"][..], &trained].concat()).exits(0);
}

#[test]
fn a_probe_stands_on_features_that_nobody_trains() {
    let lab = Lab::new();
    let probe = ["training={ learner = \"linear-probe\" }", "model={ backbone = \"convnet\", width = 4 }"];
    for method in ["pixels", "handcrafted", "random-network"] {
        let representation = format!("representation={{ method = \"{method}\" }}");
        let args = [&probe[..], &[&representation, "query.rounds=1"]].concat();
        lab.run(method, &args).exits(0);
        let judged = ["represent", "tiny.toml", "-s", probe[1], "-s", &representation, "--json"];
        let judged = lab.coldstart(&judged).json();
        assert_eq!(judged[0]["name"], method);
        // Ten classes; by chance it is a tenth. The signs of the synthetic set are easier than that.
        assert!(judged[0]["linear"].as_f64().unwrap() > 0.2, "{judged}");
    }
}

#[test]
fn what_needs_images_is_refused_before_the_run() {
    let lab = lab();
    let rows: [(&str, &str, &str); 7] = [
        ("initial.strategy=pt4al", "`initial.strategy` is `pt4al`", "has a network trained on images"),
        ("query.strategy=consistency", "`query.strategy` is `consistency`", "looks at changed images"),
        ("representation.method=pixels", "`representation.method` needs images", "its own features"),
        ("initial.representation.method=moco-v2", "`initial.representation.method` needs images", "its own features"),
        ("training.learner=supervised", "`training.learner` must be `linear-probe`", "features alone"),
        ("model.init=representation", "`model.init` must be left out", "no images"),
        ("dataset.shape=[8, 8, 1]", "`dataset.shape` does not apply to kind `features`", "columns"),
    ];
    for (set, key, why) in rows {
        run(&lab, "refused", &[set]).exits(2).says_one_problem().says(key).says(why);
        assert!(!lab.path("refused").exists(), "{set}");
    }
}

#[test]
fn sets_that_do_not_fit_are_named() {
    let lab = lab();
    lab.write("x.npy", matrix(0..N_TRAIN));
    lab.write("few.npy", labels(0..7));
    lab.write(
        "wide.npz",
        npz(&[
            ("x_train", matrix(0..9)),
            ("y_train", labels(0..9)),
            ("x_test", npy("<f4", "(1, 2)", &[0; 8])),
            ("y_test", labels(0..1)),
        ]),
    );
    lab.write("bare.npz", npz(&[("x_train", matrix(0..9))]));
    let mut holed = matrix(0..9);
    let at = holed.len() - 4;
    holed[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    lab.write("holed.npz", npz(&[("x_train", holed), ("y_train", labels(0..9))]));
    let rows = [
        (r#"path = "x.npy""#, "has no labels beside its features"),
        (r#"path = "x.npy", labels = "few.npy""#, "holds 7 labels, but there are 60 rows"),
        (r#"path = "x.npy", test_labels = "few.npy""#, "needs `dataset.test_path`"),
        (r#"path = "wide.npz""#, "rows have 2 numbers, those of the training part 6"),
        (r#"path = "bare.npz""#, "has no labels beside its features"),
        (r#"path = "set.npz", label = "topic""#, "has no `topic` with the label of each row; it has x_train, y_train"),
        (r#"path = "set.npz", text = "words""#, "has no array `words` of texts"),
        (r#"path = "set.npz", columns = ["f*"]"#, "only Parquet has"),
        (r#"path = "holed.npz""#, "row 8, column 5 is NaN"),
        (r#"path = "nowhere.npz""#, "nowhere.npz"),
    ];
    for (keys, words) in rows {
        let ran = run(&lab, "refused", &[&format!("dataset={{ kind = \"features\", {keys} }}")]);
        assert!(matches!(ran.code, Some(1 | 2)), "{keys}: {ran:?}");
        ran.says_one_problem().says(words);
    }
}

#[test]
fn names_and_texts_stand_where_thumbnails_would() {
    let lab = lab();
    let texts: Vec<String> = (0..N_TRAIN).map(|i| format!("sentence {i} <b>")).collect();
    let names: Vec<String> = (0..N_TRAIN).map(|i| format!("item-{i:03}")).collect();
    let array = |texts: &[String]| npy_of_texts(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    lab.write(
        "told.npz",
        npz(&[
            ("features", matrix(0..N_TRAIN)),
            ("labels", labels(0..N_TRAIN)),
            ("name", array(&names)),
            ("sentence", array(&texts)),
        ]),
    );
    let dataset = r#"dataset={ kind = "features", path = "told.npz", text = "sentence" }"#;
    run(&lab, "run", &[dataset]).exits(0);
    let selection = fs::read_to_string(lab.path("run/rounds/000/selection.csv")).unwrap();
    assert!(selection.starts_with("rank,id,label,score,file,text\n"), "{selection}");
    let first: Vec<&str> = selection.lines().nth(1).unwrap().split(',').collect();
    let id: usize = first[1].parse().unwrap();
    assert_eq!(first[4..], [names[id].clone(), texts[id].clone()]);
    let page = fs::read_to_string(lab.path("run/report.html")).unwrap();
    // What a stranger wrote is text on the page, and no markup.
    assert!(page.contains(&format!("<q>sentence {id} &#60;b&#62;</q>")), "the first pick's text");
    assert!(page.contains("6 features each") && page.contains("features of the data set") && !page.contains("0×0×0"));
    assert!(!lab.path("run/rounds/000/picks.png").exists());
    lab.coldstart(&["report", "run"]).exits(0);
    let described = lab.coldstart(&["--data", ".", "data", "info", "vectors.toml", "-s", dataset]);
    assert!(described.exits(0).stdout.starts_with("features: 6 features each, 3 classes"), "{}", described.stdout);
    let listed = lab.coldstart(&["--data", ".", "data", "list-images", "vectors.toml", "-s", dataset]);
    assert!(listed.exits(0).stdout.starts_with("split,id,file\n"), "{}", listed.stdout);
    assert!(listed.stdout.contains(&format!(",{id},item-{id:03}\n")));
}

/// A run that was killed goes on to the same bytes, and another file of features is noticed.
#[test]
fn a_run_on_features_is_resumed_and_its_files_are_watched() {
    let lab = lab();
    run(&lab, "whole", &[]).exits(0);
    run(&lab, "part", &["query.rounds=1"]).exits(0);
    let journal = fs::read_to_string(lab.path("whole/journal.jsonl")).unwrap();
    let cut = journal.find("\"event\":\"round-finished\",\"round\":2").unwrap();
    let cut = journal[..cut].rfind('\n').unwrap() + 1;
    fs::write(lab.path("whole/journal.jsonl"), &journal[..cut]).unwrap();
    let expected = results(&lab, "whole");
    fs::remove_file(lab.path("whole/results.csv")).unwrap();
    lab.coldstart(&["--data", ".", "resume", "whole"]).exits(0);
    assert_eq!(results(&lab, "whole"), expected);
    // A strategy that asks the model asks it before it is trained again.
    let asks = ["query.strategy=margin", "query.rounds=1"];
    run(&lab, "more", &asks).exits(0);
    lab.coldstart(&["--data", ".", "resume", "more", "--rounds", "2"]).exits(0);
    run(&lab, "at-once", &[asks[0], "query.rounds=2"]).exits(0);
    assert_eq!(results(&lab, "more"), results(&lab, "at-once"));
    lab.write("set.npz", npz(&[("x_train", matrix(1..N_TRAIN)), ("y_train", labels(1..N_TRAIN))]));
    lab.coldstart(&["--data", ".", "resume", "part"]).exits(1).says_one_problem();
}

#[test]
fn images_of_a_folder_are_listed_as_select_numbers_them() {
    let lab = Lab::new();
    for name in ["b/2.png", "a/1.png", "a/10.png"] {
        let path = lab.write(&format!("photos/{name}"), "");
        image::GrayImage::from_pixel(8, 8, image::Luma([9])).save(path).unwrap();
    }
    let listed = lab.coldstart(&["data", "list-images", "--images", "photos"]);
    assert_eq!(listed.exits(0).stdout, "id,file\n0,a/1.png\n1,a/10.png\n2,b/2.png\n");
    lab.coldstart(&["data", "list-images"]).exits(2).says("CONFIG");
    lab.coldstart(&["data", "list-images", "tiny.toml", "--images", "photos"]).exits(2).says("cannot be used with");
}
