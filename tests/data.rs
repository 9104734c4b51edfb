//! Real data sets through the program: counts and shapes as published, and damaged copies refused by name.
//!
//! They lie in `COLDSTART_DATA`; without it these tests say so and pass.

use coldstart_tests::{Lab, Ran, files_under};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn real_data() -> Option<PathBuf> {
    let root = std::env::var_os("COLDSTART_DATA").map(PathBuf::from);
    if root.is_none() {
        eprintln!("skipped: COLDSTART_DATA is not set");
    }
    root
}

fn info(lab: &Lab, root: &Path, dataset: &str) -> Ran {
    let set = format!("dataset={{ {dataset} }}");
    lab.coldstart(&["data", "info", "tiny.toml", "--json", "--data", root.to_str().unwrap(), "-s", &set])
}

fn counts(info: &Value, part: &str) -> Vec<u64> {
    info["classes"].as_array().unwrap().iter().map(|class| class[part].as_u64().unwrap()).collect()
}

/// Height, width and channels; then the images of each class in pool and test.
type Row = (&'static str, [u64; 3], Vec<u64>, Vec<u64>);

#[test]
fn every_kind_has_the_published_counts_and_shape() {
    let Some(root) = real_data() else { return };
    let rows: [Row; 6] = [
        ("kind = \"fashion-mnist\"", [28, 28, 1], vec![6000; 10], vec![1000; 10]),
        ("kind = \"folder\", path = \"cifar10/cifar10_jpeg.tar.gz\"", [32, 32, 3], vec![5000; 10], vec![1000; 10]),
        (
            "kind = \"npz\", path = \"cifar10/cifar10_lossless_subset.npz\"",
            [32, 32, 3],
            vec![810, 777, 808, 783, 856, 782, 808, 799, 835, 810],
            vec![105, 93, 100, 104, 92, 87, 114, 102, 110, 110],
        ),
        (
            "kind = \"folder\", path = \"hymenoptera-mini\", shape = [48, 64, 3]",
            [48, 64, 3],
            vec![20, 20],
            vec![10, 10],
        ),
        // No split of its own: a fifth of each class is held out.
        ("kind = \"folder\", path = \"sign-digits-600\"", [32, 32, 3], vec![48; 10], vec![12; 10]),
        (
            "kind = \"csv\", path = \"digits/optdigits.tra\", test_path = \"digits/optdigits.tes\", shape = [8, 8, 1], max_value = 16",
            [8, 8, 1],
            vec![376, 389, 380, 389, 387, 376, 377, 387, 380, 382],
            vec![178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
        ),
    ];
    let lab = Lab::new();
    for (dataset, [height, width, channels], pool, test) in rows {
        let ran = info(&lab, &root, dataset);
        let info = ran.exits(0).json();
        assert_eq!(info["shape"], json!({"height": height, "width": width, "channels": channels}), "{dataset}");
        assert_eq!((counts(&info, "pool"), counts(&info, "test")), (pool, test), "{dataset}");
    }
}

#[test]
fn validation_and_a_long_tail_come_out_of_the_pool() {
    let Some(root) = real_data() else { return };
    let dataset = "kind = \"fashion-mnist\", imbalance = 100, validation = 50";
    let info = info(&Lab::new(), &root, dataset).exits(0).json();
    let (pool, validation) = (counts(&info, "pool"), counts(&info, "validation"));
    let whole: Vec<u64> = pool.iter().zip(&validation).map(|(pool, validation)| pool + validation).collect();
    assert_eq!(validation.iter().sum::<u64>(), 50);
    assert_eq!((whole[0], whole[9]), (6000, 60));
    assert!(whole.is_sorted_by(|a, b| a > b), "{whole:?}");
    assert_eq!(counts(&info, "test"), [1000; 10]);
}

/// Copies a data set file by file, with one file changed.
fn damaged(lab: &Lab, from: &Path, victim: &str, damage: fn(Vec<u8>) -> Vec<u8>) {
    let mut met = false;
    for file in files_under(from) {
        let name = file.strip_prefix(from).unwrap().to_str().unwrap();
        let bytes = std::fs::read(&file).unwrap();
        met |= name == victim;
        lab.write(&format!("set/{name}"), if name == victim { damage(bytes) } else { bytes });
    }
    assert!(met, "there is no {victim}");
}

#[test]
fn a_damaged_file_is_refused_by_name() {
    let Some(root) = real_data() else { return };
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let photograph = files_under(&root.join("hymenoptera-mini/train/bees"))[3].clone();
    let photograph = format!("train/bees/{}", photograph.file_name().unwrap().to_str().unwrap());
    let digits = "kind = \"csv\", path = \"set/optdigits.tra\", shape = [8, 8, 1], max_value = 16";
    let photographs = "kind = \"folder\", path = \"set\"";
    let gzipped = "kind = \"fashion-mnist\", path = \"set\"";
    let again = "copy or download the file again";
    let rows: [(&str, &str, &str, &str, Damage); 6] = [
        ("hymenoptera-mini", &photograph, photographs, "", |b| b[..b.len() / 2].to_vec()),
        ("hymenoptera-mini", &photograph, photographs, "", |_| b"no picture".to_vec()),
        ("digits", "optdigits.tra", digits, "line 3", |b| {
            String::from_utf8(b).unwrap().replacen("\n0,0,8,15,", "\n0,0,eight,15,", 1).into_bytes()
        }),
        ("digits", "optdigits.tra", digits, "line", |b| b[..b.len() - 40].to_vec()),
        ("fashion-mnist", "train-labels-idx1-ubyte.gz", gzipped, again, |b| b[..b.len() / 2].to_vec()),
        ("fashion-mnist", "train-labels-idx1-ubyte.gz", gzipped, again, |mut b| {
            let middle = b.len() / 2;
            b[middle..middle + 9].fill(0xff);
            b
        }),
    ];
    for (set, victim, dataset, place, damage) in rows {
        let lab = Lab::new();
        damaged(&lab, &root.join(set), victim, damage);
        let folder = lab.path("");
        info(&lab, &folder, dataset).exits(1).says_one_problem().says(victim).says(place);
    }
}
