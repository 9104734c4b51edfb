//! Files of strangers are data: nothing that they name is run, fetched, or written to.

use coldstart_tests::{Lab, Ran, files_under, npy, npz};
use image::{Rgb, RgbImage};
use serde_json::json;
use std::fs;
use std::net::TcpListener;

/// A pickle that makes a file called `ran` where it is believed.
const PICKLE: &[u8] = b"\x80\x02cos\nsystem\n(S'touch ran'\ntR.";

/// Features of the 300 images of the tiny data set.
fn rows() -> Vec<u8> {
    (0..300 * 4).flat_map(|i| ((i * 37 % 101) as f32).to_le_bytes()).collect()
}

fn run_with_features(lab: &Lab, file: &str, out: &str) -> Ran {
    let representation = format!("representation={{ method = \"file\", path = \"{file}\" }}");
    lab.run(out, &[&representation, "query.strategy=coreset", "query.rounds=1"])
}

#[test]
fn arrays_of_pickled_objects_are_refused() {
    let lab = Lab::new();
    let objects = npy("|O", "(1,)", PICKLE);
    lab.write("objects.npy", &objects);
    lab.write("features.npz", npz(&[("features", objects.clone())]));
    lab.write("set.npz", npz(&[("x_train", objects.clone()), ("y_train", objects)]));
    for file in ["objects.npy", "features.npz"] {
        let ran = run_with_features(&lab, file, "out");
        assert_ne!(ran.code, Some(0), "{file}");
        ran.says_one_problem().says(file);
    }
    let set = r#"dataset={ kind = "npz", path = "set.npz" }"#;
    lab.coldstart(&["data", "info", "tiny.toml", "--data", ".", "-s", set]).exits(1).says_one_problem().says("set.npz");
    assert!(!lab.path("ran").exists());
}

#[test]
fn metadata_of_safetensors_changes_nothing() {
    let lab = Lab::new();
    let header = |metadata: &str| {
        let bytes = rows().len();
        format!(r#"{{{metadata}"features":{{"dtype":"F32","shape":[300,4],"data_offsets":[0,{bytes}]}}}}"#)
    };
    let told = r#""__metadata__":{"format":"pt","loader":"os.system('touch ran')","path":"ran"},"#;
    let mut chosen = Vec::new();
    for (name, metadata) in [("plain", ""), ("told", told)] {
        let header = header(metadata);
        let file = format!("{name}.safetensors");
        lab.write(&file, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &rows()].concat());
        run_with_features(&lab, &file, name).exits(0);
        chosen.push(fs::read_to_string(lab.path(name).join("rounds/001/selection.csv")).unwrap());
    }
    assert_eq!(chosen[0], chosen[1]);
    assert!(!lab.path("ran").exists());
}

/// A store that leads elsewhere: the exporter writes below the folder that the user names, whatever lies there.
#[test]
fn a_store_of_mlflow_does_not_say_where_it_is_written() {
    let lab = Lab::new();
    lab.run("run", &["query.rounds=1"]).exits(0);
    let export = ["export", "run", "--mlflow", "store"];
    lab.coldstart(&export).exits(0);
    let metas = files_under(&lab.path("store")).into_iter().filter(|file| file.ends_with("meta.yaml"));
    let elsewhere = lab.path("elsewhere");
    for meta in metas {
        let lying = format!(
            "artifact_location: file://{0}\nartifact_uri: file://{0}\nname: !!python/object/apply:os.system ['touch ran']\n",
            elsewhere.display()
        );
        fs::write(meta, lying).unwrap();
    }
    // It may be refused as somebody else's store, or written anew.
    let ran = lab.coldstart(&export);
    assert!(matches!(ran.code, Some(0..=2)), "{ran:?}");
    assert!(!elsewhere.exists() && !lab.path("ran").exists());
}

/// An address in a task is a name that an image is looked for by.
#[test]
fn tasks_of_label_studio_are_not_fetched() {
    let lab = Lab::new();
    for number in 0..3u8 {
        let path = lab.write(&format!("photos/{number}.png"), "");
        RgbImage::from_pixel(16, 16, Rgb([80 * number, 9, 9])).save(path).unwrap();
    }
    let select = ["select", "--images", "photos", "--strategy", "random", "--size", "3", "--out", "project"];
    lab.coldstart(&[&select[..], &["-s", "threads=1", "-s", "dataset.shape=[16, 16, 3]"]].concat()).exits(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let secret = lab.write("secret.txt", "label\nsecret\n");
    let addresses = [
        format!("http://127.0.0.1:{port}/other.png"),
        format!("file://{}", secret.display()),
        secret.display().to_string(),
        "$(touch ran)".to_owned(),
        "{{ ''.__class__ }}".to_owned(),
    ];
    for address in addresses {
        let choice = json!({"type": "choices", "from_name": "label", "value": {"choices": ["ant"]}});
        let task = json!([{"id": 1, "data": {"image": address}, "annotations": [{"result": [choice]}]}]);
        lab.write("tasks.json", task.to_string());
        let ran = lab.coldstart(&["ingest", "project", "tasks.json"]);
        assert_ne!(ran.code, Some(0), "{address}: {}", ran.stderr);
        assert!(!ran.stderr.contains("secret\n"), "{}", ran.stderr);
    }
    assert!(listener.accept().is_err(), "somebody asked for an image");
    assert!(!lab.path("ran").exists());
}

/// What a template is filled with is a name, and nothing else.
#[test]
fn no_name_escapes_from_a_template() {
    let lab = Lab::new();
    for name in ["../escape", "a\"; fn main() {}", "{{name}}", "$(touch ran)", "a/b", "", "-x", "con\nfig"] {
        let ran = lab.coldstart(&["plugin", "new", "--", name]);
        assert_eq!(ran.code, Some(2), "{name:?}: {}", ran.stderr);
    }
    assert!(!lab.path("../escape").exists() && !lab.path("ran").exists());
}
