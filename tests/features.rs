//! Features that were computed elsewhere, and the names of images that they are found by.

use coldstart_tests::{Lab, Ran, files_under, npy, npy_of_texts, npz, repository, until};
use parquet::data_type::{FloatType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

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
    // Nor did it keep any hashes.
    let unhashed = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        ["files", "check"].iter().for_each(|key| drop(line.as_object_mut().unwrap().remove(*key)));
        format!("{line}\n")
    };
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, text.lines().map(unhashed).collect::<String>()).unwrap();

    lab.coldstart(&["resume", "run"]).exits(0).says("an earlier version did rounds of");
    let results = |run: &str| std::fs::read(lab.path(run).join("results.csv")).unwrap();
    assert_eq!(results("run"), results("whole"));
    lab.coldstart(&["report", "run"]).exits(0);
}

const OF_FILE: &str = r#"
[representation]
method = "file"
path = "plain.npy"
"#;

/// Four numbers for each of the twelve photographs, by id; `tests/golden/features/make.py` has the same.
fn rows() -> Vec<[f32; 4]> {
    (0..12u16).map(|i| [i * 7 % 12, i * 5 % 11, i, i * i % 13].map(f32::from)).collect()
}

fn matrix(rows: &[[f32; 4]]) -> Vec<u8> {
    let elements: Vec<u8> = rows.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    npy("<f4", &format!("({}, 4)", rows.len()), &elements)
}

/// A laboratory in which `coreset` looks at features of photographs that `representation.path` names.
fn lab_with_features() -> Lab {
    let lab = lab_with_photos();
    lab.write("features.toml", PHOTOS.replace("random", "coreset") + OF_FILE);
    lab.write("plain.npy", matrix(&rows()));
    lab
}

/// Runs on a file of features.
fn with_file(lab: &Lab, file: &str, out: &str) -> Ran {
    let path = format!("representation.path={file}");
    lab.coldstart(&["--data", ".", "run", "features.toml", "--out", out, "-s", "query.rounds=0", "-s", &path])
}

/// The same with columns that are named.
fn with_columns(lab: &Lab, file: &str, columns: &str, out: &str) -> Ran {
    let representation = format!("representation={{ method = \"file\", path = \"{file}\", columns = {columns} }}");
    lab.coldstart(&["--data", ".", "run", "features.toml", "--out", out, "-s", "query.rounds=0", "-s", &representation])
}

/// What the first round chose, with scores and files.
fn picks(lab: &Lab, run: &str) -> Vec<u8> {
    std::fs::read(lab.path(run).join("rounds/000/selection.csv")).unwrap()
}

/// The order of the rows in the files of `tests/golden/features`.
fn shuffled<T: Clone>(values: &[T]) -> Vec<T> {
    (0..values.len()).map(|i| values[i * 5 % values.len()].clone()).collect()
}

fn photos() -> Vec<String> {
    (0..12).map(|i| format!("{}/{:02}.png", ["a", "b"][i / 6], i % 6)).collect()
}

fn integers(values: &[i64]) -> Vec<u8> {
    let elements: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    npy("<i8", &format!("({},)", values.len()), &elements)
}

fn doubles(values: &[f64]) -> Vec<u8> {
    let elements: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    npy("<f8", &format!("({},)", values.len()), &elements)
}

/// Arrays of an archive by name.
type Arrays = Vec<(&'static str, Vec<u8>)>;
/// What is done to the names of the photographs.
type Change<'a> = &'a dyn Fn(&mut Vec<String>);

/// Runs on an archive of these arrays.
fn with_arrays(lab: &Lab, arrays: &[(&str, Vec<u8>)], out: &str) -> Ran {
    lab.write("features.npz", npz(arrays));
    with_file(lab, "features.npz", out)
}

#[test]
fn names_and_ids_find_the_rows_whatever_their_order() {
    let lab = lab_with_features();
    with_file(&lab, "plain.npy", "plain").exits(0);
    let expected = picks(&lab, "plain");
    let mixed = matrix(&shuffled(&rows()));
    let named = |before: &str, after: &str| {
        let names = shuffled(&photos()).into_iter().map(|file| format!("{before}{file}{after}")).collect::<Vec<_>>();
        npy_of_texts(&names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let ids: Vec<i64> = shuffled(&(0..12).collect::<Vec<i64>>());
    let labels = doubles(&shuffled(&(0..12).map(|i| f64::from(i / 6)).collect::<Vec<_>>()));
    let column = |values: &[u8]| npy("<f8", "(12, 1)", &values[values.len() - 96..]);
    let cases: Vec<(&str, Arrays)> = vec![
        ("ids", vec![("features", mixed.clone()), ("ids", integers(&ids))]),
        (
            "ids as floats",
            vec![("x", mixed.clone()), ("id", doubles(&ids.iter().map(|id| *id as f64).collect::<Vec<_>>()))],
        ),
        ("paths below the root", vec![("features", mixed.clone()), ("file", named("", ""))]),
        ("whole paths", vec![("features", mixed.clone()), ("filenames", named("/data/photos/", ""))]),
        ("paths of Windows", vec![("features", mixed.clone()), ("path", named("C:\\photos\\", ""))]),
        ("an array of no known name", vec![("features", mixed.clone()), ("which", named("photos/", ""))]),
        ("names before ids", vec![("features", mixed.clone()), ("names", named("", "")), ("id", integers(&[7; 12]))]),
        ("labels beside", vec![("features", mixed.clone()), ("file", named("", "")), ("labels", labels.clone())]),
        ("a column of labels", vec![("emb", mixed.clone()), ("file", named("", "")), ("y", column(&labels))]),
        ("images that are not there", {
            // Those of a test part that was held out have rows already; a label column must not become a name.
            let classes = npy_of_texts(&["cat"; 12]);
            vec![("features", mixed.clone()), ("file", named("", "")), ("class", classes)]
        }),
    ];
    for (i, (what, arrays)) in cases.into_iter().enumerate() {
        let out = format!("run-{i}");
        with_arrays(&lab, &arrays, &out).exits(0);
        assert_eq!(picks(&lab, &out), expected, "{what}");
    }
    // The order matters, or the comparison would show nothing.
    lab.write("mixed.npy", &mixed);
    with_file(&lab, "mixed.npy", "mixed").exits(0);
    assert_ne!(picks(&lab, "mixed"), expected);
}

#[test]
fn names_that_fit_no_image_or_several_are_refused() {
    let lab = lab_with_features();
    let with_names = |change: &dyn Fn(&mut Vec<String>)| {
        let mut names = photos();
        change(&mut names);
        let names = npy_of_texts(&names.iter().map(String::as_str).collect::<Vec<_>>());
        with_arrays(&lab, &[("features", matrix(&rows())), ("file", names)], "refused")
    };
    let rows_of_names: [(Change, &[&str]); 6] = [
        (&|names| names[3] = "a/99.png".to_owned(), &["row 3: `a/99.png` in `file` is no image", "such as `a/0"]),
        (&|names| names.iter_mut().for_each(|name| *name = format!("x{name}")), &["as in 11 more rows"]),
        (
            &|names| names.iter_mut().for_each(|name| *name = name[2..].to_owned()),
            &["`00.png`", "may be `a/00.png` or `b/00.png`"],
        ),
        (&|names| names[3] = names[2].clone(), &["rows 2 and 3 both belong to the image `a/02.png`"]),
        (&|names| names[7] = String::new(), &["row 7"]),
        (&|names| drop(names.pop()), &["`file` names 11 images, but there are 12 rows"]),
    ];
    for (change, words) in rows_of_names {
        let ran = with_names(change);
        ran.exits(2).says_one_problem();
        for word in words {
            ran.says(word);
        }
        assert!(!ran.stderr.contains("moco"), "{}", ran.stderr);
    }
    let few = npy_of_texts(&photos()[..11].iter().map(String::as_str).collect::<Vec<_>>());
    let ran = with_arrays(&lab, &[("features", matrix(&rows()[..11])), ("file", few)], "refused");
    ran.exits(2).says("has no row for 1 of").says("`b/05.png`");
    // Drawn images have no names.
    let names = npy_of_texts(&photos().iter().map(String::as_str).collect::<Vec<_>>());
    lab.write("features.npz", npz(&[("features", matrix(&rows())), ("file", names)]));
    let drawn = ["representation={ method = \"file\", path = \"features.npz\" }", "initial.strategy=coreset"];
    lab.run("drawn", &drawn)
        .exits(2)
        .says("`file` names images, but those of kind `synthetic` have no names")
        .says("`ids`");
}

#[test]
fn every_compression_of_pandas_is_read_and_labels_are_no_features() {
    let lab = lab_with_features();
    with_file(&lab, "plain.npy", "plain").exits(0);
    let golden = repository().join("tests/golden/features");
    for kind in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"] {
        let file = golden.join(format!("{kind}.parquet"));
        let ran = with_file(&lab, file.to_str().unwrap(), kind);
        ran.exits(0).says("left aside: `width`, `label`");
        assert_eq!(picks(&lab, kind), picks(&lab, "plain"), "{kind}");
    }
    let wide = golden.join("wide.parquet");
    with_columns(&lab, wide.to_str().unwrap(), "[\"f*\"]", "wide").exits(0);
    assert_eq!(picks(&lab, "wide"), picks(&lab, "plain"));
    with_file(&lab, golden.join("objects.npz").to_str().unwrap(), "objects").exits(0);
    assert_eq!(picks(&lab, "objects"), picks(&lab, "plain"));
    let moved = with_columns(&lab, golden.join("moved.parquet").to_str().unwrap(), "[\"f*\"]", "moved");
    moved.exits(2).says("`__index_level_0__` numbers the rows, but is 5 here").says("reset_index");
}

/// A table with a column for each name: whole numbers where it ends in `:i`, else floats.
fn table_of_columns(columns: &[&str]) -> Vec<u8> {
    let field = |name: &&str| match name.strip_suffix(":i") {
        Some(name) => format!("required int64 {name};"),
        None => format!("required float {name};"),
    };
    let schema = format!("message table {{ {} }}", columns.iter().map(field).collect::<String>());
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (c, name) in columns.iter().enumerate() {
        let values = rows().into_iter().map(|row| row[c % 4]);
        let mut column = group.next_column().unwrap().unwrap();
        let written = match name.ends_with(":i") {
            true => column.typed::<Int64Type>().write_batch(&values.map(|x| x as i64).collect::<Vec<_>>(), None, None),
            false => column.typed::<FloatType>().write_batch(&values.collect::<Vec<_>>(), None, None),
        };
        written.unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn columns_of_single_numbers_are_features_where_they_are_named() {
    let lab = lab_with_features();
    with_file(&lab, "plain.npy", "plain").exits(0);
    let fine: [(&[&str], &str); 4] = [
        (&["f0", "f1", "f2", "f3"], r#"["f*"]"#),
        (&["a", "b", "c", "d"], r#"["a", "b", "c", "d"]"#),
        (&["pc1", "pc2:i", "pc3", "pc4"], r#"["pc*"]"#),
        (&["f0", "f1", "f2", "f3", "label:i", "width"], r#"["f*"]"#),
    ];
    for (i, (columns, named)) in fine.into_iter().enumerate() {
        lab.write("features.parquet", table_of_columns(columns));
        let out = format!("fine-{i}");
        with_columns(&lab, "features.parquet", named, &out).exits(0);
        assert_eq!(picks(&lab, &out), picks(&lab, "plain"), "{columns:?}");
    }
    let refused: [(&[&str], &str, &str); 3] = [
        (&["f0", "f1", "label", "f3"], r#"["*"]"#, "`label` is called like labels"),
        (&["f0", "f1", "f2", "y:i"], r#"["f*", "y"]"#, "`y` is called like labels"),
        (&["f0", "f1"], r#"["g*"]"#, "no column of numbers `g*`; it has `f0`, `f1`"),
    ];
    for (columns, named, words) in refused {
        lab.write("features.parquet", table_of_columns(columns));
        with_columns(&lab, "features.parquet", named, "refused").exits(2).says_one_problem().says(words);
    }
    // Nobody has named them.
    with_file(&lab, "features.parquet", "refused")
        .exits(2)
        .says_one_problem()
        .says("no column of lists")
        .says("columns");
    with_columns(&lab, "plain.npy", r#"["f*"]"#, "refused").exits(2).says_one_problem().says("only Parquet has");
}

#[test]
fn every_message_about_a_file_of_features_is_about_features() {
    let lab = lab_with_features();
    let float = |shape: &str| npy("<f4", shape, &[0; 96]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("few.npy", matrix(&rows()[..7]), "holds 7 rows, but the training part has 12 images"),
        ("tokens.npy", float("(12, 2, 1)"), ""),
        ("tokens.npy", float("(6, 2, 2)"), "is not a row of numbers"),
        ("flat.npy", float("(24,)"), "reshape"),
        ("labels.npy", integers(&[0; 12]), "is not a row of numbers"),
        ("whole.npy", npy("<i8", "(12, 1)", &[0; 96]), "astype"),
        ("objects.npy", npy("|O", "(12,)", &[0; 9]), "numpy.stack"),
        (
            "ids.npz",
            npz(&[("features", matrix(&rows())), ("ids", npy_of_texts(&["90"; 12]))]),
            "whole numbers, not as text",
        ),
        ("text.npy", b"text".to_vec(), "corrupt"),
        ("none.npz", npz(&[("labels", integers(&[0; 12]))]), "holds no row of floats"),
        ("labels.npz", npz(&[("y", npy("<f4", "(12, 2)", &[0; 96]))]), "holds no row of floats"),
        ("cut.parquet", b"PAR1PAR1".to_vec(), "not a whole Parquet file"),
        ("table.parquet", b"a,b\n1,2\n".to_vec(), "is no Parquet file"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(), "git lfs pull"),
        ("weights.pt", b"PK".to_vec(), "numpy.save"),
        ("table.csv", b"a,b\n".to_vec(), "to_parquet"),
    ];
    for (file, bytes, words) in cases {
        lab.write(file, bytes);
        let ran = with_file(&lab, file, "refused");
        if words.is_empty() {
            ran.exits(0);
            std::fs::remove_dir_all(lab.path("refused")).unwrap();
            continue;
        }
        ran.exits(2).says_one_problem().says("representation.path").says(words);
        assert!(!ran.stderr.contains("moco") && ran.stderr.contains("help:"), "{}", ran.stderr);
    }
    let gone = with_file(&lab, "nowhere.npy", "refused");
    gone.exits(2).says("there is no such file").says("a path is relative to the config's folder");
}
