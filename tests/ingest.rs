//! Files of labels as people write them: each is read, or refused with a sentence that helps.

use Outcome::{Labels, Refused};
use coldstart_tests::{Lab, Ran, files_under};
use flate2::Compression;
use flate2::write::GzEncoder;
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use std::io::{Cursor, Write};

/// The project's images. One is in composed form (NFC), one has a comma, two share their file's name, one is an upload's.
const IMAGES: [&str; 10] = [
    "00.png",
    "01.png",
    "02.png",
    "03.png",
    "IMG_0041.jpg",
    "b\u{e4}r.png",
    "day 1/04.png",
    "day2/04.png",
    "x,y.png",
    "deep/er/5.png",
];

/// What `ingest` makes of a file.
enum Outcome {
    /// These images are labelled, and this is said.
    Labels(&'static [(&'static str, &'static str)], &'static str),
    /// Nothing is read; the error says both.
    Refused(&'static str, &'static str),
}

fn photograph(number: u8, name: &str) -> Vec<u8> {
    let format = if name.ends_with("png") { ImageFormat::Png } else { ImageFormat::Jpeg };
    let mut bytes = Cursor::new(Vec::new());
    let pixel = |x: u32, y: u32| Rgb([number * 20, (x * 9) as u8, (y * 9) as u8]);
    RgbImage::from_fn(16, 16, pixel).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A lab whose project has chosen every image.
fn lab() -> Lab {
    let lab = Lab::new();
    for (number, name) in IMAGES.iter().enumerate() {
        lab.write(&format!("photos/{name}"), photograph(number as u8, name));
    }
    let size = IMAGES.len().to_string();
    let args = ["select", "--images", "photos", "--strategy", "random", "--size", &size, "--out", "project"];
    lab.coldstart(&[&args[..], &["-s", "threads=1", "-s", "dataset.shape=[16, 16, 3]"]].concat()).exits(0);
    copy_files(&lab, "project", "unlabelled");
    lab
}

/// Copies the files of a folder to another place.
fn copy_files(lab: &Lab, from: &str, to: &str) {
    for file in files_under(&lab.path(from)) {
        let below = file.strip_prefix(lab.path(from)).unwrap().to_owned();
        lab.write(&format!("{to}/{}", below.display()), std::fs::read(file).unwrap());
    }
}

/// Reads a file into the project, which has no labels before.
fn ingest(lab: &Lab, file: &str, content: &[u8], more: &[&str]) -> Ran {
    lab.write(file, content);
    std::fs::remove_dir_all(lab.path("project")).unwrap();
    copy_files(lab, "unlabelled", "project");
    lab.coldstart(&[&["ingest", "project", file][..], more].concat())
}

#[track_caller]
fn check(lab: &Lab, file: &str, content: &[u8], more: &[&str], outcome: &Outcome) {
    let ran = ingest(lab, file, content, more);
    let shown = String::from_utf8_lossy(content);
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains('\u{1b}'), "{shown}: {:?}", ran.stdout);
    match outcome {
        Labels(expected, says) => {
            ran.exits(0).says(says);
            let mut table = csv::Writer::from_writer(Vec::new());
            let mut rows: Vec<[&str; 2]> = expected.iter().map(|(image, label)| [*image, *label]).collect();
            rows.sort_unstable();
            table.write_record(["image", "label"]).unwrap();
            rows.iter().for_each(|row| table.write_record(row).unwrap());
            let expected = String::from_utf8(table.into_inner().unwrap()).unwrap();
            let found = std::fs::read_to_string(lab.path("project/labels.csv")).unwrap();
            assert_eq!(found, expected, "{shown}");
        }
        Refused(sentence, hint) => {
            ran.exits(2).says_one_problem().says(sentence).says(hint);
            assert!(!lab.path("project/labels.csv").exists(), "{shown}");
        }
    }
}

#[test]
fn tables_are_read_or_refused() {
    let lab = lab();
    let ant = |says| Labels(&[("00.png", "ant")], says);
    let two = |says| Labels(&[("00.png", "ant"), ("01.png", "bee")], says);
    for (content, outcome) in [
        ("image,label\n00.png,ant\n01.png,bee\n", two("2 new labels")),
        ("\u{feff}image,label\r\n00.png,ant\r\n01.png,bee\r\n", two("2 new labels")),
        ("image;label\n00.png;ant\n", ant("semicolons")),
        ("image\tlabel\n00.png\tant\n", ant("tabs")),
        ("label;who;image\nant;me, myself;00.png\n", ant("semicolons")),
        ("sep=;\nimage;label\n00.png;ant\n", Refused("which only Excel understands", "take this line out")),
        ("image,class\n00.png,ant\n", ant("1 new")),
        (",image,label\n0,00.png,ant\n1,01.png,bee\n", two("2 new")),
        ("image,label,confidence\n00.png,ant,0.9\n", ant("1 new")),
        ("filename,label\n00.png,ant\n", Refused("no column `image`, but `filename`, `label`", "--image-field")),
        ("Image,Label\n00.png,ant\n", Refused("but `Image`, `Label`", "--image-field")),
        ("photo;kind\n00.png;ant\n", Refused("but `photo`, `kind`", "--image-field")),
        ("image,who,kind\n00.png,x,y\n", Refused("in any of who, kind", "--field")),
        ("00.png,ant\n01.png,bee\n", Refused("its first line is no header", "put a header `image,label`")),
        ("", Refused("it is empty", "image,label")),
        ("\n \n", Refused("it is empty", "image,label")),
        ("image,label\n", Labels(&[], "a header and no rows")),
        ("image,label\n00.png\n01.png,bee\n", Refused("line 2 has 1 cells, and the header 2", "image,label")),
        (
            "image,label\n00.png,ant\n\nx,y.png,ant\n",
            Refused("line 4 has 3 cells", "a cell with a comma stands in quotes"),
        ),
        ("image,label\n\"x,y.png\",ant\n", Labels(&[("x,y.png", "ant")], "1 new")),
        ("image,label\n00.png,ant\n00.png,ant\n", ant("1 new")),
        ("image,label\n00.png,ant\n00.png,bee\n", Refused("`ant` (line 2) and `bee` (line 3)", "--disagreement")),
        ("image,label\n00.png,\n01.png,bee\n", Labels(&[("01.png", "bee")], "1 tasks or rows have no label")),
        // Names.
        ("image,label\nba\u{308}r.png,bear\n", Labels(&[("b\u{e4}r.png", "bear")], "1 new")),
        ("image,label\nday2\\04.png,ant\n", Labels(&[("day2/04.png", "ant")], "1 new")),
        ("image,label\nC:\\photos\\00.png,ant\n", ant("1 new")),
        ("image,label\n/home/me/photos/day 1/04.png,ant\n", Labels(&[("day 1/04.png", "ant")], "1 new")),
        ("image,label\n5.png,ant\n", Labels(&[("deep/er/5.png", "ant")], "1 new")),
        ("image,label\n00,ant\n", ant("1 new")),
        ("image,label\n04.png,ant\n", Refused("2 have this name, `day 1/04.png`, `day2/04.png`", "by their path")),
        ("image,label\n04,ant\n", Refused("2 have this name", "by their path")),
        ("image,label\nwasps/5.png,ant\n", Refused("no image of `project`", "did you mean `deep/er/5.png`?")),
        ("image,label\nIMG_0041.JPG,ant\n", Refused("no image of `project`", "did you mean `IMG_0041.jpg`?")),
        (
            "image,label\nIMG_0042.jpg,ant\n",
            Refused("`IMG_0042.jpg` (line 2) is no image", "named by their path below"),
        ),
        ("image,label\n1a2b3c4d-00.png,ant\n", Refused("no image of `project`", "did you mean `00.png`?")),
        // Labels.
        ("image,label\n00.png,ant\n01.png,Ant\n", Labels(&[("00.png", "ant"), ("01.png", "Ant")], "`Ant`, `ant`")),
        (
            "image,label\n00.png,polar bear\n01.png,polar  bear\n02.png,polar\u{a0} bear\n",
            Labels(
                &[("00.png", "polar bear"), ("01.png", "polar  bear"), ("02.png", "polar\u{a0} bear")],
                "capital letters, spaces or the form of a number",
            ),
        ),
        ("image,label\n00.png,1.0\n01.png,1\n", Labels(&[("00.png", "1.0"), ("01.png", "1")], "`1`, `1.0`")),
        (
            "image,label\n00.png,nan\n01.png,NA\n02.png,null\n03.png,ant\n",
            Labels(
                &[("00.png", "nan"), ("01.png", "NA"), ("02.png", "null"), ("03.png", "ant")],
                "stand for a missing value, taken as classes here: `NA`, `nan`, `null`",
            ),
        ),
        ("image,label\n00.png,\u{1b}[31mred\u{1b}[0m\n", Labels(&[("00.png", "\u{1b}[31mred\u{1b}[0m")], "1 new")),
        ("image,label\n00.png,\"a\u{1b}[2J\"\n00.png,b\n", Refused(r"`a\u{1b}[2J` (line 2)", "--disagreement")),
    ] {
        check(&lab, "labels.csv", content.as_bytes(), &[], &outcome);
    }
    for (content, more, outcome) in [
        ("file,kind\n00.png,ant\n", &["--image-field", "file"][..], ant("1 new")),
        ("file;kind;who\n00.png;ant;me\n", &["--image-field", "file", "--field", "kind"], ant("1 new")),
        ("image,a,b\n00.png,ant,bee\n", &["--field", "a"], ant("1 new")),
        (
            "image,a,b\n00.png,ant,bee\n",
            &["--field", "c"],
            Refused("no column `c`, but `image`, `a`, `b`", "image,label"),
        ),
    ] {
        check(&lab, "labels.csv", content.as_bytes(), more, &outcome);
    }
}

#[test]
fn bytes_of_any_kind_are_text_or_named() {
    let lab = lab();
    let utf16 = |text: &str| -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    let packed = |text: &str| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let table = "image,label\n00.png,b\u{e4}r\n";
    let bear = || Labels(&[("00.png", "b\u{e4}r")], "1 new");
    for (content, outcome) in [
        (utf16(table), bear()),
        (packed(table), bear()),
        (packed(r#"[{"image": "00.png", "label": "bär"}]"#), bear()),
        (packed(table)[..20].to_vec(), Refused("its gzip is damaged", "image,label")),
        (b"image,label\n00.png,ant\n01.png,b\xe4r\n".to_vec(), Refused("line 3 is not UTF-8 (byte e4)", "image,label")),
        (b"PK\x03\x04rest".to_vec(), Refused("a workbook or a zip archive", "image,label")),
        (b"i\0m\0".to_vec(), Refused("no text in UTF-8", "image,label")),
    ] {
        check(&lab, "labels.csv", &content, &[], &outcome);
    }
}

/// A task with answers by annotators, as Label Studio exports it.
fn task(id: u64, data: Value, answers: &[(u64, &[&str])]) -> Value {
    let annotation = |(i, (who, choices)): (usize, &(u64, &[&str]))| {
        let result = json!([{"from_name": "kind", "type": "choices", "value": {"choices": choices}}]);
        json!({"id": id * 10 + i as u64, "completed_by": who, "was_cancelled": false, "result": result})
    };
    let annotations: Vec<Value> = answers.iter().enumerate().map(annotation).collect();
    json!({"id": id, "data": data, "annotations": annotations})
}

/// The address of a task leads to its image, however Label Studio has put it.
#[test]
fn addresses_of_label_studio_lead_to_images() {
    let lab = lab();
    // printf s3://bucket/photos/00.png | base64
    let resolved = "/tasks/1/resolve/?fileuri=czM6Ly9idWNrZXQvcGhvdG9zLzAwLnBuZw==";
    let signed = "https://bucket.s3.amazonaws.com/photos/00.png?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=60#x";
    let ant = || Labels(&[("00.png", "ant")], "1 new");
    for (address, outcome) in [
        ("/data/upload/3/1a2b3c4d-00.png", ant()),
        ("/data/upload/3/5e6f7a8b-xy.png", Labels(&[("x,y.png", "ant")], "1 new")),
        ("/data/upload/3/1a2b3c4d-5.png", Labels(&[("deep/er/5.png", "ant")], "1 new")),
        ("/data/upload/3/1a2b3c4d-04.png", Refused("2 have this name", "by their path")),
        ("/data/upload/3/1a2b3c4d-09.png", Refused("is no image of `project`", "named by their path below")),
        (resolved, ant()),
        (signed, ant()),
        ("s3://bucket/photos/day%201/04.png", Labels(&[("day 1/04.png", "ant")], "1 new")),
        ("gs://bucket/day2/04.png", Labels(&[("day2/04.png", "ant")], "1 new")),
        ("azure-blob://container/photos/00.png", ant()),
        ("https://storage.googleapis.com/v0/b/bucket/o/photos%2F00.png?alt=media", ant()),
        ("http://localhost:8081/00.png", ant()),
        ("/data/local-files/?d=photos/b%C3%A4r.png", Labels(&[("b\u{e4}r.png", "ant")], "1 new")),
        ("/data/local-files/?d=photos/ba%CC%88r.png", Labels(&[("b\u{e4}r.png", "ant")], "1 new")),
        ("/data/local-files/?d=photos/IMG_0042.jpg", Refused("is no image of `project`", "named by their path below")),
    ] {
        let tasks = json!([task(1, json!({"image": address}), &[(1, &["ant"])])]);
        check(&lab, "tasks.json", tasks.to_string().as_bytes(), &[], &outcome);
        let rows = json!([{"id": 1, "image": address, "kind": "ant", "annotator": 1}]);
        check(&lab, "rows.json", rows.to_string().as_bytes(), &[], &outcome);
    }
}

#[test]
fn exports_are_read_or_refused() {
    let lab = lab();
    let ant = || Labels(&[("00.png", "ant")], "1 new");
    let image = || json!({"image": "00.png"});
    let answers = |choices: &[&str]| json!([task(1, image(), &[(1, choices)])]).to_string();
    let rated = json!([{"id": 1, "data": image(), "annotations": [
        {"completed_by": 1, "result": [{"from_name": "box", "type": "rectanglelabels", "value": {}}]}
    ]}]);
    let number = json!([{"id": 1, "data": image(), "annotations": [
        {"completed_by": 1, "result": [{"from_name": "kind", "type": "choices", "value": {"choices": [3]}}]}
    ]}]);
    let keyed = |data: Value| json!([task(1, data, &[(1, &["ant"])])]).to_string();
    let old = json!([{"id": 1, "data": image(), "completions": []}]);
    let coco = json!({"images": [], "annotations": [], "categories": []});
    for (content, outcome) in [
        (answers(&["ant"]), ant()),
        (answers(&["ant", "bee"]), Refused("an image has one label", "Label Studio")),
        (number.to_string(), Labels(&[("00.png", "3")], "1 new")),
        (rated.to_string(), Labels(&[], "no labels of images: rectanglelabels")),
        (old.to_string(), Refused("a Label Studio before 1.0", "1.0 or newer")),
        // Keys of the data.
        (keyed(json!({"img": "/data/local-files/?d=photos/00.png"})), ant()),
        (keyed(json!({"image_url": "00.png", "note": "by day"})), ant()),
        (keyed(json!({"img": "00.png", "other": "01.png"})), Refused("its keys are `img`, `other`", "--image-field")),
        (keyed(json!({"img": "99.png"})), Refused("`img` is `99.png`", "Label Studio")),
        (
            keyed(json!({"image": "99.png", "thumb": "00.png"})),
            Refused("`99.png` (task 1) is no image", "by their path"),
        ),
        // Rows and records.
        (r#"[{"image": "00.png", "label": 3}]"#.to_owned(), Labels(&[("00.png", "3")], "1 new")),
        (r#"[{"image": "00.png", "label": 1.5}]"#.to_owned(), Refused("its label is no text but 1.5", "Label Studio")),
        (r#"[{"image": "00.png", "label": null}]"#.to_owned(), Labels(&[], "1 tasks or rows have no label")),
        (r#"[{"image": "00.png", "kind": ["ant"], "annotator": 1}]"#.to_owned(), ant()),
        (r#"[{"img": "s3://b/00.png", "kind": "ant", "id": 4}]"#.to_owned(), ant()),
        (r#"[{"image": "00.png", "kind": "ant", "stars": 4}]"#.to_owned(), Refused("any of kind, stars", "--field")),
        (
            "{\"image\": \"00.png\", \"label\": \"ant\"}\n{\"image\": \"01.png\", \"label\": \"bee\"}\n".to_owned(),
            Labels(&[("00.png", "ant"), ("01.png", "bee")], "2 new"),
        ),
        (r#"{"00.png": "ant", "01.png": "bee"}"#.to_owned(), Refused("keys `00.png`, `01.png`", "Label Studio")),
        (coco.to_string(), Refused("the format of COCO", "image,label")),
    ] {
        check(&lab, "labels.json", content.as_bytes(), &[], &outcome);
    }
    let keys = keyed(json!({"img": "00.png", "other": "01.png"}));
    check(&lab, "labels.json", keys.as_bytes(), &["--image-field", "other"], &Labels(&[("01.png", "ant")], "1 new"));
    check(
        &lab,
        "labels.json",
        keys.as_bytes(),
        &["--image-field", "it"],
        &Refused("its keys are `img`, `other`", "--image-field"),
    );
    check(&lab, "labels.json", answers(&["ant"]).as_bytes(), &["--field", "knid"], &Refused("but `kind`", "--field"));

    let header = "annotation_id,annotator,kind,coldstart_image,id,image,lead_time\n";
    for (cell, outcome) in [
        ("ant", ant()),
        (r#""[""ant""]""#, ant()),
        (r#""{""choices"": [""ant""]}""#, ant()),
        (r#""{""choices"": [""ant"", ""bee""]}""#, Refused("line 2: it has not one choice", "image,label")),
        (r#""[""ant"", ""bee""]""#, Refused("an image has one label", "image,label")),
        (r"b\u00e4r", Labels(&[("00.png", "b\u{e4}r")], "1 new")),
        ("", Labels(&[], "1 tasks or rows have no label")),
    ] {
        let table = format!("{header}1,1,{cell},00.png,1,/data/x,1.2\n");
        check(&lab, "labels.csv", table.as_bytes(), &[], &outcome);
    }
}

/// Annotators have a vote each, whatever they submitted and however often a task was imported.
#[test]
fn annotators_have_one_vote_each() {
    let lab = lab();
    let one = |answers: &[(u64, &[&str])]| json!([task(1, json!({"image": "00.png"}), answers)]);
    let twice = json!([
        task(1, json!({"image": "00.png"}), &[(1, &["ant"]), (2, &["bee"])]),
        task(9, json!({"image": "photos/00.png"}), &[(2, &["bee"])]),
    ]);
    let mut nameless = one(&[(1, &["ant"]), (1, &["ant"]), (2, &["bee"])]);
    for annotation in nameless[0]["annotations"].as_array_mut().unwrap() {
        annotation["completed_by"] = Value::Null;
    }
    let tie = || Labels(&[], "1 images stay without a label");
    for (tasks, refuse, majority) in [
        (one(&[(1, &["ant"]), (2, &["ant"])]), Labels(&[("00.png", "ant")], ""), Labels(&[("00.png", "ant")], "")),
        (one(&[(1, &["ant"]), (2, &["bee"])]), Refused("annotator 1", "--disagreement"), tie()),
        (one(&[(1, &["ant"]), (1, &["ant"]), (2, &["bee"])]), Refused("annotator 2", "--disagreement"), tie()),
        (twice, Refused("annotator 2", "--disagreement"), tie()),
        (
            one(&[(1, &["ant"]), (1, &["bee"])]),
            Refused("`00.png` has two labels by one annotator", "--disagreement"),
            Labels(&[], "1 images stay without a label"),
        ),
        (
            one(&[(1, &["ant"]), (2, &["bee"]), (1, &["bee"])]),
            Refused("`00.png` has two labels", "--disagreement"),
            Labels(&[("00.png", "bee")], "two labels by one annotator"),
        ),
        (
            one(&[(1, &["ant"]), (2, &["bee"]), (3, &["bee"])]),
            Refused("`ant` (task 1, annotator 1) and `bee`", "--disagreement"),
            Labels(&[("00.png", "bee")], "1 new"),
        ),
        (
            nameless,
            Refused("two labels", "--disagreement"),
            Labels(&[("00.png", "ant")], "3 labels of images in dispute name no annotator"),
        ),
    ] {
        let text = tasks.to_string();
        check(&lab, "tasks.json", text.as_bytes(), &[], &refuse);
        check(&lab, "tasks.json", text.as_bytes(), &["--disagreement", "majority"], &majority);
    }
    // The later submission counts, in whatever order they were written.
    let rows = "image,label,annotator,updated_at\n00.png,new,1,2026-02-01T00:00:00Z\n00.png,old,1,2026-01-01T00:00:00Z\n\
                00.png,new,2,2026-01-01T00:00:00Z\n";
    let majority = ["--disagreement", "majority"];
    check(&lab, "labels.csv", rows.as_bytes(), &majority, &Labels(&[("00.png", "new")], "two labels by one annotator"));
}
