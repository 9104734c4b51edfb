//! Words of strangers: whatever a manifest, a strategy, a label, a file's name, a config or a stored file says, no command passes a
//! character of it on that a terminal would obey, and none of it begins a line that looks like one of the program's.

use coldstart_tests::{Lab, Ran, TINY, files_under, from_c, repository, run_args};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// What a terminal would obey (a cleared screen, a title, a link, a cursor that goes up), what turns the direction of reading, line
/// ends of every kind; and behind them a row that a table of plugins could have.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;title\u{7}\u{1b}]8;;http://x\u{1b}\\\u{9b}1A\u{202e}cod\u{2066}\u{2028}\u{2029}\u{85}\r\u{b}\nforged-row   1.0.0     initial         signed by lab";
/// The row alone.
const ROW: &str = "forged-row";
/// The same where a slash has no place, as in the name of a file.
fn file_name() -> String {
    HOSTILE.replace('/', ":")
}

/// Whether a terminal obeys a character, or shows the rest otherwise because of it.
fn is_obeyed(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Demand that nothing of what a command printed is obeyed, and that no line is forged, not even behind a frame's bar.
#[track_caller]
fn passes_nothing_on(what: &str, ran: &Ran) {
    for said in [&ran.stdout, &ran.stderr] {
        assert!(!said.contains(is_obeyed), "{what}: {said:?}");
        let begins = |line: &str| line.trim_start_matches([' ', '│', '|', '×', '╰', '─', '▶']).starts_with(ROW);
        assert!(!said.lines().any(begins), "{what} shows a forged line:\n{said}");
    }
    assert!(ran.code.is_some(), "{what} was ended by a signal");
    assert!(!ran.stderr.contains("panicked"), "{what}: {}", ran.stderr);
}

/// All of a walk: each command with what it must say of the foreign words, so that none passes because it says nothing.
#[track_caller]
fn walk(lab: &Lab, rows: &[(&[&str], &str)]) {
    for (args, sentence) in rows {
        let ran = lab.coldstart(args);
        passes_nothing_on(&args.join(" "), &ran);
        let said = ran.stdout.clone() + &ran.stderr;
        assert!(said.contains(sentence), "`{sentence}` in {args:?}:\n{said}");
    }
}

/// As the text of a string in C.
fn in_c(text: &str) -> String {
    text.bytes().map(|byte| format!("\\{byte:03o}")).collect()
}

/// A strategy in C that says this, in its manifest, in a log line, and as its error when it is to choose.
fn talking(lab: &Lab, name: &str, publisher: &str, said: &str) -> PathBuf {
    let manifest = json!({
        "format": 1, "name": name, "publisher": publisher, "version": "0.1.0", "api": "1.0.0", "panic": "none", "summary": said,
        "license": said, "authors": said, "cite": said, "roles": ["initial", "query", said], "needs": [],
        "params": {"type": "object", "properties": {(said): {"type": "string", "description": said, "default": said}}},
    });
    let source = format!(
        r#"#include "coldstart_plugin.h"
COLDSTART_MANIFEST("{manifest}");
static const char words[] = "{said}";
static int32_t create(void *o, coldstart_text_v1 n, coldstart_text_v1 j, const coldstart_host_v1 *h,
                      const coldstart_selector_v1 **s, coldstart_fault_v1 *f) {{
  coldstart_text_v1 said = COLDSTART_TEXT_V1(words);
  coldstart_bytes_v1 none = {{0}};
  h->log(h->head.object, 2, said, said, none);
  f->message = said;
  return COLDSTART_PLUGIN_FAILED;
}}
const coldstart_plugin_v1 coldstart_plugin_entry_v1 = {{COLDSTART_HEAD_V1(coldstart_plugin_v1), COLDSTART_TEXT_V1(coldstart_manifest), create}};
"#,
        manifest = in_c(&manifest.to_string()),
        said = in_c(said),
    );
    from_c(lab, name, &source, &["-I", repository().join("plugin-api/include").to_str().unwrap()])
}

#[test]
fn what_a_plugin_says_of_itself_and_when_it_fails() {
    let lab = Lab::new();
    let library = talking(&lab, "strange", HOSTILE, HOSTILE).display().to_string();
    // One with a publisher that packages take, for what is done with those.
    let packed = talking(&lab, "packed", "lab", HOSTILE).display().to_string();
    lab.coldstart(&["plugin", "keys", "new", "lab.key", "--no-password"]).exits(0);
    let package = lab.coldstart(&["plugin", "pack", &packed]).exits(0).stdout.trim().to_owned();
    lab.coldstart(&["plugin", "sign", &package, "--key", "lab.key"]).exits(0);
    lab.coldstart(&["plugin", "trust", "add", "a-lab", "--key", "lab.pub", "--names", "lab/*"]).exits(0);
    lab.write("study.toml", TINY.replace("\"entropy\"", "\"strange\"") + "[sweep]\nseed = [1, 2]\n");
    let run = |out| run_args(out, &["query.strategy=strange", "query.rounds=1"]);
    walk(
        &lab,
        &[
            (&["plugin", "list"], "cod"),
            (&["plugin", "list", "--json"], "cod"),
            (&["plugin", "info", &library], "cod"),
            (&["plugin", "info", &library, "--json"], "cod"),
            (&["plugin", "info", "strange"], "cod"),
            (&["plugin", "doctor"], "cod"),
            (&["plugin", "doctor", "strange"], "strange"),
            (&["plugin", "doctor", "--json"], "cod"),
            (&["plugin", "check", &library, "--level", "static"], "cod"),
            (&["plugin", "check", &library, "--json"], "cod"),
            (&["plugin", "check", &library], "cod"),
            (&["plugin", "pack", &library], "cod"),
            (&["plugin", "verify", &package], "lab/packed"),
            (&["plugin", "info", &package], "cod"),
            (&["plugin", "install", &package], "lab/packed"),
            (&["plugin", "list"], "signed by a-lab"),
            (&["plugin", "trust", "list"], "a-lab"),
            (&["doctor"], "plugins"),
            (&["-vv", "doctor"], "plugins"),
            (&run("run"), "cod"),
            (&[&["-vv"][..], &run("loud")].concat(), "cod"),
            (&[&["-q"][..], &run("quiet")].concat(), "cod"),
            (&["sweep", "study.toml", "--out", "study", "--dry-run"], "2 runs"),
            (&["sweep", "study.toml", "--out", "study"], "runs failed"),
            (&["sweep", "study.toml", "--out", "study", "--retry"], "runs failed"),
            (&["report", "study"], "report.html"),
            (&["plugin", "lock", "study.toml"], "coldstart-plugins.lock"),
            (&["run", "tiny.toml", "--locked", "-s", "query.strategy=strange", "--out", "locked"], "cod"),
            (&["plugin", "uninstall", "lab/packed"], "lab.packed"),
        ],
    );
    // In its own row, and in its own column.
    let listed = lab.coldstart(&["plugin", "list"]).stdout.clone();
    let row = listed.lines().find(|line| line.contains("/strange")).unwrap();
    let (before, _) = row.split_once("unsigned").unwrap();
    assert_eq!(before.split_whitespace().count(), 5, "name, version and three roles: {row}");
    no_markup(&lab.path("study/report.html"), "strange");
}

/// Demand that a page holds no markup of anybody's but the program's.
#[track_caller]
fn no_markup(page: &Path, expected: &str) {
    let html = fs::read_to_string(page).unwrap();
    assert!(html.contains(expected), "{} does not show `{expected}`", page.display());
    for live in ["<b id=forged", "<img src=forged", "</script><forged", "<a href=\"javascript:forged"] {
        assert!(!html.contains(live), "{} holds `{live}`", page.display());
    }
}

/// Markup that would be live in a page that takes it as it is.
const MARKUP: &str = "<b id=forged><img src=forged onerror=forged()><a href=\"javascript:forged\">'\"&";

fn photographs(lab: &Lab, folder: &str, names: &[String]) {
    for (i, name) in names.iter().enumerate() {
        let pixels = image::RgbImage::from_fn(12, 12, |x, y| {
            image::Rgb([(i * 30) as u8, (x * 11 + y * 3) as u8 ^ (i * 17) as u8, (y * 9) as u8])
        });
        let file = lab.path(folder).join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        pixels.save(file).unwrap();
    }
}

#[test]
fn names_of_classes_and_files_of_a_data_set() {
    let lab = Lab::new();
    for class in [file_name(), MARKUP.replace('/', ":"), "cat".to_owned()] {
        for part in ["train", "test"] {
            let names: Vec<String> = (0..8).map(|i| format!("{part}/{class}/{i}{}.png", file_name())).collect();
            photographs(&lab, "set", &names);
        }
    }
    let set = "dataset={ kind = \"folder\", path = \"set\", shape = [12, 12, 3] }";
    let small = ["-s", set, "-s", "initial.size=6", "-s", "query.size=3", "-s", "query.rounds=1"];
    let with = |args: &[&'static str]| [args, &small].concat();
    let features = ["-s", "representation.method=handcrafted"];
    walk(
        &lab,
        &[
            (&with(&["data", "info", "tiny.toml"]), "cod"),
            (&with(&["data", "info", "tiny.toml", "--json"]), "cod"),
            (&with(&["-vv", "data", "info", "tiny.toml", "--files", "table.csv"]), "cod"),
            (&with(&["run", "tiny.toml", "--out", "run"]), "report.html"),
            (&with(&["-vv", "run", "tiny.toml", "--out", "loud"]), "report.html"),
            (&[&with(&["represent", "tiny.toml"])[..], &features].concat(), "handcrafted"),
            (&["diagnose", "run", "--epochs", "1"], "accuracy"),
            (&["report", "run", "loud", "-o", "both.html"], "both.html"),
            (&["export", "run", "--mlflow", "mlflow", "--tensorboard", "events"], "mlflow"),
        ],
    );
    for page in ["run/report.html", "both.html"] {
        no_markup(&lab.path(page), "&#60;b id=forged");
    }
    // What is wrong with a file is said with its name; and with that of a folder.
    fs::write(lab.path("set/train/cat").join(file_name() + ".png"), "no image").unwrap();
    walk(
        &lab,
        &[(&with(&["data", "info", "tiny.toml"]), "cod"), (&with(&["run", "tiny.toml", "--out", "broken"]), "cod")],
    );
    let folder = file_name();
    let missing = format!("dataset={{ kind = \"folder\", path = '''{}''' }}", HOSTILE.replace(is_unfit_for_toml, "?"));
    walk(
        &lab,
        &[
            (&["data", "info", "tiny.toml", "-s", &missing], "cod"),
            (&["report", &folder], "cod"),
            (&["resume", &folder], "cod"),
            (&["diagnose", &folder], "cod"),
            (&["export", &folder, "--mlflow", "x"], "cod"),
            (&["ingest", &folder, &folder], "cod"),
            (&["run", &folder], "cod"),
            (&["sweep", &folder, "--dry-run"], "cod"),
            (&["plugin", "info", &folder], "cod"),
            (&["plugin", "doctor", &folder], "cod"),
            (&["plugin", "verify", &folder], "cod"),
            (&["plugin", "install", &folder], "cod"),
            (&["plugin", "uninstall", &folder], "cod"),
            (&["plugin", "pack", &folder], "cod"),
            (&["plugin", "sign", &folder, "--key", &folder], "cod"),
            (&["plugin", "replay", &folder], "cod"),
            (&["plugin", "lock", &folder], "cod"),
            (&["plugin", "build", &folder], "cod"),
            (&["plugin", "check", &folder], "cod"),
            (&["plugin", "new", &folder], "cod"),
            (&["plugin", "keys", "new", &folder, "--no-password"], "cod"),
            (&["plugin", "trust", "add", &folder, "--key", &folder, "--names", "x"], "cod"),
            (&["plugin", "trust", "remove", &folder], "cod"),
            (&["select", "--images", &folder, "--strategy", "random", "--size", "2"], "cod"),
            (&["data", "fetch", &folder], "cod"),
            (&["bench", &folder], "no case"),
            (&["run", "tiny.toml", "-s", &folder], "cod"),
            (&["run", "tiny.toml", "--device", &folder], "cod"),
            (&[&folder], "cod"),
            (&["run", &format!("--{folder}")], "cod"),
        ],
    );
}

/// TOML's own literal strings take no control character but a tab and line ends.
fn is_unfit_for_toml(c: char) -> bool {
    c.is_control() && c != '\n' && !('\u{80}'..='\u{9f}').contains(&c)
}

#[test]
fn names_of_images_and_labels_that_come_back() {
    let lab = Lab::new();
    let mut names: Vec<String> = (0..8).map(|i| format!("{i}{}.png", file_name())).collect();
    names.push(format!("{}/deep.png", file_name()));
    names.push(format!("{}.png", MARKUP.replace('/', ":")));
    photographs(&lab, "photos", &names);
    fs::write(lab.path("photos").join(file_name() + ".jpg"), "no image").unwrap();
    let select = ["select", "--images", "photos", "--strategy", "random", "--size", "5", "--out", "project"];
    let small = ["-s", "threads=1", "-s", "dataset.shape=[12, 12, 3]", "-s", "model.width=4"];
    let select = [&select[..], &small].concat();
    passes_nothing_on("select", lab.coldstart(&select).exits(0));
    no_markup(&lab.path("project/index.html"), "&#60;b id=forged");
    // Every label is hostile, too; so are the names of columns and the annotators.
    let mut picks = csv::Reader::from_path(lab.path("project/picks.csv")).unwrap();
    let column = picks.headers().unwrap().iter().position(|name| name == "image").unwrap();
    let images: Vec<String> = picks.records().map(|record| record.unwrap()[column].to_owned()).collect();
    let table = |columns: &[&str], rows: &[Vec<&str>]| {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(columns).unwrap();
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        writer.into_inner().unwrap()
    };
    let label_of = |i: usize| [HOSTILE, MARKUP][i % 2];
    let rows: Vec<Vec<&str>> = images.iter().enumerate().map(|(i, image)| vec![image.as_str(), label_of(i)]).collect();
    lab.write("labels.csv", table(&["image", "label"], &rows));
    lab.write("unknown.csv", table(&["image", "label"], &[vec![HOSTILE, HOSTILE]]));
    lab.write("columns.csv", table(&[HOSTILE, MARKUP], &rows));
    lab.write("torn.csv", format!("image,label\n\"{HOSTILE}"));
    let annotated: Vec<Vec<&str>> =
        rows.iter().flat_map(|row| [vec![row[0], HOSTILE, "a"], vec![row[0], "other", HOSTILE]]).collect();
    lab.write("annotators.csv", table(&["image", "label", "annotator"], &annotated));
    let answer = |image: &String| {
        let choice =
            json!({"type": "choices", "from_name": HOSTILE, "to_name": "image", "value": {"choices": [HOSTILE]}});
        json!({"data": {"image": image}, "annotations": [{"result": [choice], "completed_by": HOSTILE}]})
    };
    lab.write("studio.json", Value::from(images.iter().map(answer).collect::<Vec<_>>()).to_string());
    lab.write("broken.json", format!("[{{\"data\": \"{}\"", HOSTILE.escape_default()));
    walk(
        &lab,
        &[
            (&["ingest", "project", "unknown.csv"], "cod"),
            (&["ingest", "project", "columns.csv"], "cod"),
            (&["ingest", "project", "torn.csv"], "torn.csv"),
            (&["ingest", "project", "annotators.csv"], "cod"),
            (&["ingest", "project", "studio.json", "--json"], "cod"),
            (&["ingest", "project", "broken.json"], "broken.json"),
            (&["ingest", "project", "labels.csv"], "cod"),
            (&["ingest", "project", "labels.csv", "--json"], "cod"),
        ],
    );
    for more in [&["--json"][..], &["-vv"]] {
        let again = lab.coldstart(&[&select[..], more].concat());
        passes_nothing_on("select again", &again);
    }
}

#[test]
fn values_of_a_config_and_of_stored_files() {
    let lab = Lab::new();
    // TOML's escapes bring in every character.
    let quoted = format!("\"{}\"", HOSTILE.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect::<String>());
    for (i, config) in [
        TINY.replace("\"tiny\"", &quoted),
        TINY.replace("\"entropy\"", &quoted),
        TINY.replace("\"synthetic\"", &quoted),
        TINY.replace("\"convnet\"", &quoted),
        TINY.replace("[query]", &format!("[query]\nparams = {{ {quoted} = {quoted} }}")),
        format!("{quoted} = 1\n{TINY}"),
        format!("{TINY}[sweep]\n{quoted} = [1, 2]\n"),
        format!("{TINY}[plugins]\npath = [{quoted}]\nisolation = {quoted}\n"),
        format!("{TINY}[representation]\nmethod = \"file\"\npath = {quoted}\n"),
        format!("{TINY}[{quoted}.{quoted}]\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = format!("{i}.toml");
        lab.write(&file, config);
        for args in [&["run", &file, "--out", "never"][..], &["sweep", &file, "--dry-run"], &["data", "info", &file]] {
            let ran = lab.coldstart(args);
            passes_nothing_on(&format!("{args:?}"), &ran);
        }
        let ran = lab.coldstart(&["run", &file, "--out", "never"]);
        let sweeps = [0, 6].contains(&i);
        assert!(sweeps || ran.stderr.contains("cod"), "{i}: {}", ran.stderr);
    }
    // A study whose arms are called so; only what a strategy takes may stand there, so the name is a parameter's value.
    lab.write(
        "arms.toml",
        format!("{TINY}[sweep]\nquery = [{{ strategy = \"margin\" }}, {{ strategy = {quoted} }}]\nseed = [1, 2]\n"),
    );
    walk(&lab, &[(&["sweep", "arms.toml", "--dry-run"], "cod"), (&["sweep", "arms.toml", "--out", "arms"], "cod")]);
    // Files that the program wrote, in another's hands since.
    lab.run("run", &["query.rounds=1"]).exits(0);
    for (file, key) in [("environment.json", "device_name"), ("rounds/000/metrics.json", HOSTILE)] {
        let path = lab.path("run").join(file);
        let good = fs::read(&path).unwrap();
        let mut value: Value = serde_json::from_slice(&good).unwrap();
        value[key] = HOSTILE.into();
        fs::write(&path, value.to_string()).unwrap();
        for args in [&["resume", "run"][..], &["report", "run"], &["diagnose", "run", "--epochs", "1"]] {
            passes_nothing_on(&format!("{args:?} with a changed {file}"), &lab.coldstart(args));
        }
        fs::write(&path, good).unwrap();
    }
    for (file, text) in [
        ("journal.jsonl", format!("{{\"{}\"\n", HOSTILE.escape_default())),
        ("plugins.lock", format!("[[plugin]]\nrole = {quoted}\nname = {quoted}\n")),
        ("environment.json", HOSTILE.to_owned()),
        ("config.toml", format!("name = {quoted}\n")),
    ] {
        let path = lab.path("run").join(file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, text).unwrap();
        for args in [&["resume", "run"][..], &["report", "run"], &["export", "run", "--tensorboard", "events"]] {
            passes_nothing_on(&format!("{args:?} with another {file}"), &lab.coldstart(args));
        }
        fs::write(&path, good).unwrap();
    }
    // An entry of the cache, a file of the trust store, a folder of the search path.
    let entry = json!({"name": HOSTILE, "about": {}, "sha256": {}});
    lab.write(&format!("cache/{}/entry.json", file_name()), entry.to_string());
    lab.write("cache/0123/entry.json", entry.to_string());
    let key = {
        lab.coldstart(&["plugin", "keys", "new", "lab.key", "--no-password"]).exits(0);
        fs::read_to_string(lab.path("lab.pub")).unwrap().lines().last().unwrap().to_owned()
    };
    let trusted = format!("key = \"{key}\"\nmay_sign = [\"*\"]\n");
    lab.write(&format!("home/config/coldstart/trust/{}.toml", file_name().replace('.', "")), trusted);
    fs::create_dir_all(lab.path("plugins").join(file_name()).join("1.0.0/any")).unwrap();
    fs::write(lab.path("plugins").join(format!("lib{}.so", file_name())), "torn").unwrap();
    fs::write(lab.path("plugins").join(format!("{}.csp", file_name())), "torn").unwrap();
    walk(
        &lab,
        &[
            (&["cache", "list", "--cache", "cache"], "cod"),
            (&["cache", "list", "--cache", "cache", "--json"], "cod"),
            (&["cache", "clean", "--cache", "cache"], "removed"),
            (&["plugin", "trust", "list"], "cod"),
            (&["plugin", "trust", "list", "--json"], "cod"),
            (&["plugin", "list"], "cod"),
            (&["plugin", "list", "--json"], "cod"),
            (&["plugin", "doctor"], "cod"),
            (&["run", "tiny.toml", "-s", "query.strategy=nobody", "--out", "never"], "P001"),
        ],
    );
    let broken = format!("key = {quoted}\nmay_sign = [{quoted}]\n");
    for file in files_under(&lab.path("home/config/coldstart/trust")) {
        fs::write(file, &broken).unwrap();
    }
    walk(&lab, &[(&["plugin", "trust", "list"], "cod"), (&["plugin", "list"], "is no trust file")]);
}
