//! Data sets as people have them, through the real program: tables of paths and labels, and Parquet files of the Hub.

use coldstart_tests::{Lab, Ran, zip_of};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;
use std::io::Cursor;
use std::sync::Arc;

/// A small image; every `n` is another one.
fn png(n: usize) -> Vec<u8> {
    let image = RgbImage::from_fn(8, 8, |x, y| Rgb([(n * 37) as u8, (x * 30) as u8, (y * 20 + 9) as u8]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn info(lab: &Lab, dataset: &str, more: &[&str]) -> Ran {
    let set = format!("dataset={{ {dataset}, shape = [8, 8, 3] }}");
    lab.coldstart(&[&["data", "info", "tiny.toml", "--data", ".", "-s", &set], more].concat())
}

fn json(lab: &Lab, dataset: &str) -> Value {
    info(lab, dataset, &["--json"]).exits(0).json()
}

fn counts(info: &Value) -> Vec<(&str, u64, u64)> {
    let count = |class: &'_ Value, part: &str| class[part].as_u64().unwrap();
    let classes = info["classes"].as_array().unwrap().iter();
    classes.map(|class| (class["name"].as_str().unwrap(), count(class, "pool"), count(class, "test"))).collect()
}

/// Nine images of three classes, with their labels beside them as Kaggle and others have them.
fn kaggle() -> Lab {
    let lab = Lab::new();
    let mut names = String::from("filename,label\n");
    let mut ids = String::from("id,label\n");
    for i in 0..9 {
        let class = ["a", "b", "c"][i % 3];
        names += &format!("images/{i:02}.png,{class}\n");
        ids += &format!("{i:02},{class}\n");
        lab.write(&format!("set/images/{i:02}.png"), png(i));
        lab.write(&format!("folders/{class}/{i:02}.png"), png(i));
    }
    lab.write("set/labels.csv", names);
    lab.write("ids.csv", ids);
    lab
}

#[test]
fn a_table_is_the_set_that_its_folders_would_be() {
    let lab = kaggle();
    // In the order of class folders, so that the ids are the same.
    let sorted = |delimiter: &str| {
        let rows = (0..9)
            .map(|i| i / 3 + i % 3 * 3)
            .map(|i| format!("images/{i:02}.png{delimiter}{}\n", ["a", "b", "c"][i % 3]));
        format!("path{delimiter}class\n{}", rows.collect::<String>())
    };
    lab.write("set/labels.csv", sorted(","));
    let expected = json(&lab, r#"kind = "folder", path = "folders""#);
    for (name, delimiter) in [("labels.csv", ","), ("labels.csv", ";"), ("labels.tsv", "\t")] {
        std::fs::remove_file(lab.path("set/labels.csv")).ok();
        lab.write(&format!("set/{name}"), sorted(delimiter));
        for path in ["set".to_owned(), format!("set/{name}")] {
            let set = json(&lab, &format!(r#"kind = "table", path = "{path}""#));
            assert_eq!(set["fingerprint"], expected["fingerprint"], "{path}, {delimiter:?}");
        }
    }
}

#[test]
fn tables_of_ids_and_splits_are_read() {
    let lab = kaggle();
    let set = json(&lab, r#"kind = "table", path = "set/labels.csv""#);
    assert_eq!(counts(&set), [("a", 2, 1), ("b", 2, 1), ("c", 2, 1)]);
    let ids = json(&lab, r#"kind = "table", path = "ids.csv", root = "set/images""#);
    assert_eq!(ids["fingerprint"], set["fingerprint"]);
    let images: Vec<(String, Vec<u8>)> = (0..9).map(|i| (format!("train/{i:02}.png"), png(i))).collect();
    lab.write("images.zip", zip_of(&images));
    lab.write("zipped.csv", std::fs::read_to_string(lab.path("ids.csv")).unwrap().replace("\n0", "\ntrain/0"));
    let zipped = json(&lab, r#"kind = "table", path = "zipped.csv", root = "images.zip""#);
    assert_eq!(zipped["fingerprint"], set["fingerprint"]);
    let rows: String = (0..9)
        .map(|i| format!("{},images/{i:02}.png,{}\n", ["x", "y"][i % 2], ["train", "val", "test"][i / 3]))
        .collect();
    lab.write("set/labels.csv", format!("sort,file_name,fold\n{rows}"));
    let ran = info(&lab, r#"kind = "table", path = "set", label = "sort", split = "fold""#, &["--json"]);
    assert_eq!(counts(&ran.exits(0).json()), [("x", 2, 2), ("y", 1, 1)]);
    ran.says("the test part is `test`; `val` was left aside (3 images)").says("3 images of parts that are not used");
}

#[test]
fn what_is_wrong_with_a_table_is_told_before_anything_is_decoded() {
    let lab = kaggle();
    lab.write("set/images/00.png", "no image");
    let rows = [
        (
            "filename,label\nimages/00.png,a\nimages/77.png,b\nimages/88.png,b\n",
            "",
            1,
            &["2 of the 3 images", "images/77.png", "images/88.png", "line 4"][..],
        ),
        (
            "filename,label\n../tiny.toml,a\nimages/01.png,b\n",
            "",
            1,
            &["line 2", "`../tiny.toml` leads out of", "dataset.root"],
        ),
        ("filename,label\n/etc/hostname,a\nimages/01.png,b\n", "", 1, &["leads out of"]),
        ("filename,label\nimages/01.png,a\nimages/01.png,b\n", "", 1, &["line 3", "listed twice, in line 2"]),
        ("name,species\nimages/01.png,a\n", "", 1, &["no column is called as labels are", "`dataset.label`"]),
        (
            "name,species\nimages/01.png,a\n",
            r#", label = "Species""#,
            1,
            &["no column is named `Species`", "`name`, `species`"],
        ),
        ("filename,label\nimages/01.png,a\nimages/02.png,\n", "", 1, &["line 3", "the label is empty"]),
        ("filename,label\nimages/01.png,a\n", r#", root = "/""#, 2, &["dataset.root", "root of the file system"]),
        ("filename,label\nimages/01.png,a\n", r#", root = "gone""#, 2, &["dataset.root", "gone"]),
        (
            "filename,label\nimages/01.png,a\n",
            r#", max_value = 3"#,
            2,
            &["dataset.max_value", "does not apply to kind `table`"],
        ),
    ];
    for (text, keys, code, expected) in rows {
        lab.write("set/labels.csv", text);
        let ran = info(&lab, &format!(r#"kind = "table", path = "set/labels.csv"{keys}"#), &[]);
        ran.exits(code).says_one_problem();
        for words in expected.iter() {
            ran.says(words);
        }
    }
    // The kind that reads class folders says which kind reads a table.
    info(&lab, r#"kind = "folder", path = "set""#, &[]).exits(2).says("labels.csv").says("kind `table`");
}

#[test]
fn a_run_s_folder_may_lie_below_that_of_its_table() {
    let lab = kaggle();
    let rows: String = (0..9).map(|i| format!("set/images/{i:02}.png,{}\n", ["a", "b"][i % 2])).collect();
    lab.write("labels.csv", format!("file,label\n{rows}"));
    let dataset = r#"dataset={ kind = "table", path = "labels.csv", shape = [8, 8, 3] }"#;
    let args = ["run", "tiny.toml", "--data", ".", "--out", "runs/one", "-s", dataset, "-s", "initial.size=2"];
    lab.coldstart(&[&args[..], &["-s", "query.size=1", "-s", "query.rounds=1"]].concat()).exits(0);
    let chosen = std::fs::read_to_string(lab.path("runs/one/rounds/001/selection.csv")).unwrap();
    assert!(chosen.contains("set/images/"), "{chosen}");
}

/// A file in the form of the Hub.
fn of_the_hub(images: &[usize], n_classes: usize) -> Vec<u8> {
    const SCHEMA: &str = "message schema { optional group image { optional binary bytes; optional binary path (UTF8); } optional int64 label; }";
    let names: Vec<String> = (0..n_classes).map(|class| format!("\"class {class}\"")).collect();
    let said = format!(
        "{{\"info\": {{\"features\": {{\"image\": {{\"_type\": \"Image\"}}, \"label\": {{\"names\": [{}], \"_type\": \"ClassLabel\"}}}}}}}}",
        names.join(", ")
    );
    let said = vec![KeyValue::new("huggingface".to_owned(), said)];
    let properties = WriterProperties::builder().set_key_value_metadata(Some(said)).build();
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts: [Vec<ByteArray>; 2] = [
        images.iter().map(|n| png(*n).into()).collect(),
        images.iter().map(|n| format!("{n}.png").into_bytes().into()).collect(),
    ];
    for texts in texts {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&vec![2; images.len()]), None).unwrap();
        column.close().unwrap();
    }
    let labels: Vec<i64> = images.iter().map(|n| (n % n_classes) as i64).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&labels, Some(&vec![1; images.len()]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn files_of_the_hub_are_the_set_that_folders_would_be() {
    let lab = Lab::new();
    let parts: [(&str, &[usize]); 3] = [
        ("train-00000-of-00002", &[0, 2, 4, 6]),
        ("train-00001-of-00002", &[1, 3, 5]),
        ("test-00000-of-00001", &[8, 7, 9]),
    ];
    for (name, images) in parts {
        lab.write(&format!("hub/data/{name}.parquet"), of_the_hub(images, 2));
        for n in images {
            // Class by class, as the files have them.
            let part = &name[..name.find('-').unwrap()];
            lab.write(&format!("folders/{part}/class {}/{n}.png", n % 2), png(*n));
        }
    }
    lab.write("hub/README.md", "---");
    let hub = json(&lab, r#"kind = "parquet", path = "hub""#);
    assert_eq!(counts(&hub), [("class 0", 4, 1), ("class 1", 3, 2)]);
    // The test part of the folders is sorted by class: 8, then 7 and 9, as above.
    assert_eq!(hub["fingerprint"], json(&lab, r#"kind = "folder", path = "folders""#)["fingerprint"]);
    assert_eq!(hub["left_aside"]["document"], 1);
    let list = info(&lab, r#"kind = "parquet", path = "hub""#, &["--files", "list.csv"]);
    list.exits(0);
    let list = std::fs::read_to_string(lab.path("list.csv")).unwrap();
    assert!(list.contains("pool,4,1,class 1,1.png\n") && list.contains("test,0,0,class 0,8.png\n"), "{list}");
    let dataset = r#"dataset={ kind = "parquet", path = "hub", shape = [8, 8, 3] }"#;
    let run = [
        "run",
        "tiny.toml",
        "--data",
        ".",
        "--out",
        "run",
        "-s",
        dataset,
        "-s",
        "initial.size=2",
        "-s",
        "query.size=1",
        "-s",
        "query.rounds=1",
    ];
    lab.coldstart(&run).exits(0);
}

/// Files with their names.
type Files<'a> = &'a [(&'a str, Vec<u8>)];

#[test]
fn what_is_wrong_with_files_of_the_hub_is_said() {
    let lab = Lab::new();
    let rows: [(Files<'_>, i32, &[&str]); 4] = [
        (
            &[("train-00000-of-00002.parquet", of_the_hub(&[0, 1], 2))],
            2,
            &["`train-00001-of-00002.parquet` is missing"],
        ),
        (&[("test.parquet", of_the_hub(&[0, 1], 2))], 2, &["no file is named after a training part"]),
        (
            &[("train.parquet", of_the_hub(&[0, 1, 2, 3], 2)[..400].to_vec())],
            1,
            &["train.parquet", "not a whole Parquet file"],
        ),
        (&[("1.png", png(1))], 2, &["holds no .parquet file"]),
    ];
    for (files, code, expected) in rows {
        _ = std::fs::remove_dir_all(lab.path("hub"));
        files.iter().for_each(|(name, bytes)| drop(lab.write(&format!("hub/{name}"), bytes)));
        let ran = info(&lab, r#"kind = "parquet", path = "hub""#, &[]);
        ran.exits(code).says_one_problem();
        for words in expected.iter() {
            ran.says(words);
        }
    }
}
