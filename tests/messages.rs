//! Words on the terminal: nothing of somebody else's is obeyed by it, lines end between words, hints can be followed, and what
//! was mistyped is answered with what there is.

use coldstart_tests::{
    Lab, Ran, c_manifest, from_c, interpreter_with_kit, library, manifest_section, python_libraries, run_with,
};
use std::process::Command;

/// What a terminal would obey: a title, a cleared screen, text against the direction of reading, a bell.
const FOREIGN: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}1A\u{202e}cod";
/// The same in JSON.
const FOREIGN_JSON: &str = "\\u001b]0;owned\\u0007\\u001b[2J\\u009b1A\\u202ecod\\nP000 forged line";

#[track_caller]
fn obeys_nothing(ran: &Ran, text: &str) {
    let obeyed = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    for said in [&ran.stdout, &ran.stderr] {
        assert!(!said.contains(obeyed), "{said:?}");
        assert!(!said.lines().any(|line| line.starts_with("P000")), "{said}");
    }
    let said = ran.stdout.clone() + &ran.stderr;
    assert!(said.contains(text), "expected `{text}` in\n{said}");
}

fn hostile_manifest(name: &str) -> String {
    let json = format!(
        r#"{{"format":1,"name":"{name}","publisher":"{FOREIGN_JSON}","version":"0.1.0","api":"1.0.0","panic":"unwind",
        "summary":"{FOREIGN_JSON}","license":"{FOREIGN_JSON}","authors":"{FOREIGN_JSON}","cite":"{FOREIGN_JSON}",
        "roles":["query"],"needs":["{FOREIGN_JSON}"],"params":{{"type":"object","properties":
        {{"{FOREIGN_JSON}":{{"type":"integer","description":"{FOREIGN_JSON}"}}}}}}}}"#
    );
    format!("{}long _1as_0lib_1header_0root_bmodule_bloader[64] = {{0}};\n", manifest_section(&json))
}

#[test]
fn what_a_plugin_says_of_itself_moves_no_cursor() {
    let lab = Lab::new();
    let library = from_c(&lab, "strange", &hostile_manifest("strange"), &[]).display().to_string();
    for args in [
        &["plugin", "list"][..],
        &["plugin", "list", "--json"],
        &["plugin", "info", &library],
        &["plugin", "info", &library, "--json"],
        &["plugin", "doctor"],
        &["plugin", "check", &library, "--level", "static"],
        &["run", "tiny.toml", "-s", "query.strategy=strange"],
    ] {
        let ran = lab.coldstart(args);
        obeys_nothing(&ran, "cod");
    }
    // JSON still means what it said.
    let listed = lab.coldstart(&["plugin", "list", "--json"]).json();
    let row = listed.as_array().unwrap().iter().find(|row| row["manifest"]["name"] == "strange").unwrap().clone();
    assert!(row["manifest"]["summary"].as_str().unwrap().starts_with(FOREIGN), "{row}");
}

#[test]
fn class_labels_and_file_names_move_no_cursor() {
    let lab = Lab::new();
    for class in [FOREIGN, "cat"] {
        for i in 0..8u8 {
            let pixels = image::GrayImage::from_fn(12, 12, |x, y| image::Luma([(x * 11 + y * 3) as u8 ^ (i * 17)]));
            for part in ["train", "test"] {
                let folder = lab.path("set").join(part).join(class);
                std::fs::create_dir_all(&folder).unwrap();
                pixels.save(folder.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    let set = "dataset={ kind = \"folder\", path = \"set\", shape = [12, 12, 1] }";
    let info = lab.coldstart(&["data", "info", "tiny.toml", "-s", set]);
    obeys_nothing(info.exits(0), "owned");
    lab.write(&format!("set/train/cat/{FOREIGN}.png"), "no image");
    let broken = lab.coldstart(&["data", "info", "tiny.toml", "-s", set]);
    assert_ne!(broken.code, Some(0));
    obeys_nothing(&broken, "owned");
}

#[test]
fn a_config_with_a_control_character_is_shown_and_not_obeyed() {
    let lab = Lab::new();
    for text in [
        format!("name = \"{FOREIGN}\"\n"),
        format!("[{FOREIGN}]\n"),
        format!("name = \"x\"\n[initial]\nstrategy = '{FOREIGN}'\n"),
    ] {
        lab.write("strange.toml", &text);
        let ran = lab.coldstart(&["run", "strange.toml"]);
        obeys_nothing(ran.exits(2), "owned");
    }
}

/// Runs the program on a terminal of this width; its screen as text, or none, said aloud, without util-linux.
fn on_terminal(lab: &Lab, columns: usize, args: &[&str]) -> Option<String> {
    let plain = lab.command(args);
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap().replace('\'', "'\\''"));
    let line: Vec<String> = [plain.get_program()].into_iter().chain(plain.get_args()).map(quoted).collect();
    let shell = format!("stty cols {columns} rows 40; exec {}", line.join(" "));
    let mut command = Command::new("script");
    command.args(["-qec", &shell, "/dev/null"]).current_dir(lab.path("")).stdin(std::process::Stdio::null());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("NO_COLOR", "1");
    match command.output() {
        Ok(output) => Some(as_seen(&String::from_utf8_lossy(&output.stdout))),
        Err(error) => {
            eprintln!("skipped: no terminal to be had from `script`: {error}");
            None
        }
    }
}

/// What stays on the screen of each line: what came after it was cleared the last time.
fn as_seen(written: &str) -> String {
    let last = |line: &str| line.rsplit("\u{1b}[2K").next().unwrap_or_default().to_owned();
    written.replace('\r', "").lines().map(last).collect::<Vec<_>>().join("\n")
}

#[test]
fn errors_end_their_lines_between_words_at_any_width() {
    let lab = Lab::new();
    let path = format!("a/long-path/that-has/many-parts/{}/and-an-end.toml", "with-hyphens-and/slashes/".repeat(3));
    let args = ["run", "tiny.toml", "-s", "query.strategy=entropy", "-s", "query.rounds=100"];
    let whole = lab.coldstart(&args);
    let words: Vec<String> = whole.exits(2).stderr.split_whitespace().map(str::to_owned).collect();
    for columns in [200, 80, 40, 20] {
        let Some(screen) = on_terminal(&lab, columns, &args) else { return };
        let seen: Vec<&str> = screen.split_whitespace().filter(|word| *word != "│").collect();
        assert!(
            words.iter().filter(|word| *word != "│").all(|word| seen.contains(&word.as_str())),
            "{columns}: {screen}"
        );
        let longest = |line: &&str| {
            line.chars().count() > columns && line.trim_start_matches([' ', '│', '×']).trim().contains(' ')
        };
        let mut error = screen.lines().skip_while(|line| !line.contains('×'));
        assert!(!error.any(|line| longest(&line)), "{columns}: {screen}");
        let screen = on_terminal(&lab, columns, &["run", &path]).unwrap();
        assert!(screen.contains(&path), "{columns}: {screen}");
    }
}

#[test]
fn a_name_that_is_not_there_is_answered_with_what_there_is() {
    let lab = Lab::new();
    lab.coldstart(&["run", "tiny.toml", "-s", "query.rounds=1"]).exits(0);
    lab.write("study/plan.csv", "run,round0,seed\n");
    lab.write("project/images.csv", "id\n");
    lab.write("labels.csv", "image,label\n");
    for (args, sentences) in [
        (&["resume", "nosuch"][..], &["`nosuch` is no run directory", "there is `runs/tiny-1`"][..]),
        (&["resume", "tiny1"], &["did you mean `runs/tiny-1`?"]),
        (&["resume", "runs/tiny-11"], &["did you mean `runs/tiny-1`?"]),
        (&["resume", "study"], &["`study` is no run directory: it is a study"]),
        (&["diagnose", "runs"], &["`runs` is no run directory: it has no `config.toml`"]),
        (&["report", "nosuch"], &["there is no run or study `nosuch`", "study"]),
        (&["report", "studdy"], &["did you mean `study`?"]),
        (&["export", "nosuch", "--mlflow", "x"], &["there is no run or study `nosuch`"]),
        (&["run", "tinny.toml"], &["cannot read `tinny.toml`", "did you mean `tiny.toml`?"]),
        (&["sweep", "tinny.toml"], &["did you mean `tiny.toml`?"]),
        (&["represent", "tinny.toml"], &["did you mean `tiny.toml`?"]),
        (&["data", "info", "tinny.toml"], &["did you mean `tiny.toml`?"]),
        (&["run", "nowhere/tiny.toml"], &["there is no folder `nowhere`"]),
        (&["ingest", "projct", "labels.csv"], &["did you mean `project`?"]),
        (&["ingest", "project", "labls.csv"], &["did you mean `labels.csv`?"]),
        (&["select", "--images", "studdy", "--strategy", "random", "--size", "1"], &["did you mean `study`?"]),
        (&["plugin", "install", "nosuch.csp"], &["cannot read `nosuch.csp`"]),
        (&["plugin", "pack", "nosuch.so"], &["cannot read `nosuch.so`"]),
        (&["plugin", "replay", "nosuch.record"], &["cannot read `nosuch.record`"]),
        (&["plugin", "lock", "tinny.toml"], &["did you mean `tiny.toml`?"]),
    ] {
        let ran = lab.coldstart(args);
        ran.exits(2).says_one_problem();
        for sentence in sentences {
            ran.says(sentence);
        }
        assert!(ran.stdout.is_empty(), "{args:?}: {}", ran.stdout);
    }
    for (device, near) in
        [("gpu", "`cuda`"), ("cpuu", "`cpu`"), ("CUDA", "`cuda`"), ("cuda:", "cuda:N"), ("tpu7", "cuda:N")]
    {
        let ran = lab.coldstart(&["run", "tiny.toml", "--out", "x", "--device", device]);
        ran.exits(2).says("there is no such device").says(near);
        assert!(!lab.path("x").exists());
    }
}

#[test]
fn hints_can_be_followed() {
    let lab = Lab::new();
    lab.coldstart(&["plugin", "keys", "new", "lab.key", "--no-password"]).exits(0);
    let library = library("margin").display().to_string();
    let package = lab.coldstart(&["plugin", "pack", &library, "-o", "."]).exits(0).stdout.trim().to_owned();
    lab.write("noise", "noise");
    lab.write("full/file", "");
    lab.coldstart(&["run", "tiny.toml", "-s", "query.rounds=1", "--out", "run"]).exits(0);
    for (args, code, hint, not) in [
        // One's own key is nobody else's to hand out.
        (&["plugin", "sign", &package, "--key", "lab.pub"][..], 3, "name your secret key", "author"),
        (&["plugin", "sign", &package, "--key", "noise"], 3, "name your secret key", "author"),
        (&["plugin", "trust", "add", "x", "--key", "noise", "--names", "y"], 3, "ends in `.pub`", "author"),
        (&["plugin", "verify", &package], 3, "its author signs it", "get the file again"),
        (&["plugin", "verify", "noise"], 3, "get the package again", "cdylib"),
        (&["plugin", "replay", "noise"], 3, "run --record", "cdylib"),
        (&["plugin", "info", "entrpy"], 3, "did you mean `entropy`?", "cdylib"),
        (&["run", "tiny.toml", "--out", "run"], 2, "coldstart resume run", "sweep"),
        (&["run", "tiny.toml", "--out", "full"], 2, "name another folder with `--out`", "resume"),
        (&["run", "tiny.toml", "-s", "query.strategy=qqqqqqqq"], 2, "coldstart plugin list", "cdylib"),
    ] {
        let ran = lab.coldstart(args);
        ran.exits(code).says_one_problem().says("help:").says(hint);
        assert!(!ran.stderr.contains(not), "{args:?}: {}", ran.stderr);
    }
    // The folders come last, and only those that are there.
    let missing = lab.coldstart(&["run", "tiny.toml", "-s", "query.strategy=entrpy"]);
    let said = missing.exits(2).stderr.clone();
    let (hint, folders) = (said.find("did you mean `entropy`?").unwrap(), said.find("searched:").unwrap());
    assert!(hint < folders && said[..hint].lines().count() <= 4 && !said.contains("home/data"), "{said}");
}

#[test]
fn a_syntax_error_in_a_script_is_told_at_its_line() {
    let Some(libraries) = python_libraries() else { return };
    let lab = Lab::new();
    let interpreter = interpreter_with_kit(&lab, &libraries);
    lab.write("broken.py", "import math\n\ndef select(request, host:\n    pass\n");
    let ran = run_with(&lab, &interpreter, "run", &["query.strategy=broken.py"]);
    ran.exits(3).says_one_problem().says("SyntaxError").says("broken.py:3").says("mend the script");
    assert!(!ran.stderr.contains("cdylib"), "{}", ran.stderr);
}

/// A command that writes a file makes the folders above it; none does it otherwise.
#[test]
fn folders_above_what_is_written_are_made() {
    let lab = Lab::new();
    lab.coldstart(&["run", "tiny.toml", "-s", "query.rounds=1", "--out", "deep/er/run"]).exits(0);
    for i in 0..4u8 {
        std::fs::create_dir_all(lab.path("photos")).unwrap();
        image::GrayImage::from_pixel(8, 8, image::Luma([i * 50])).save(lab.path(&format!("photos/{i}.png"))).unwrap();
    }
    let library = library("margin").display().to_string();
    for (args, made) in [
        (&["report", "deep/er/run", "-o", "a/b/page.html"][..], "a/b/page.html"),
        (&["export", "deep/er/run", "--tensorboard", "c/d"], "c/d"),
        (&["export", "deep/er/run", "--mlflow", "e/f"], "e/f"),
        (&["plugin", "pack", &library, "-o", "g/h"], "g/h"),
        (&["plugin", "keys", "new", "i/j/lab.key", "--no-password"], "i/j/lab.pub"),
        (&["plugin", "new", "my-idea", "--dir", "k/l/my-idea"], "k/l/my-idea/Cargo.toml"),
        (
            &[
                "select",
                "--images",
                "photos",
                "--strategy",
                "random",
                "--size",
                "2",
                "--out",
                "m/n",
                "-o",
                "o/p/picks.csv",
            ],
            "o/p/picks.csv",
        ),
    ] {
        lab.coldstart(args).exits(0);
        assert!(lab.path(made).exists(), "{made}");
    }
    lab.write("file", "");
    for args in [
        &["report", "deep/er/run", "-o", "file/page.html"][..],
        &["plugin", "pack", &library, "-o", "file/x"],
        &["plugin", "keys", "new", "file/lab.key", "--no-password"],
    ] {
        lab.coldstart(args).exits(1).says_one_problem().says("file");
    }
}

#[test]
fn a_run_s_page_says_which_plugins_stand_behind_it() {
    let lab = Lab::new();
    lab.coldstart(&["plugin", "keys", "new", "lab.key", "--no-password"]).exits(0);
    let package = lab.coldstart(&["plugin", "pack", &library("margin").display().to_string(), "-o", "."]);
    let package = package.exits(0).stdout.trim().to_owned();
    lab.coldstart(&["plugin", "sign", &package, "--key", "lab.key"]).exits(0);
    lab.coldstart(&["plugin", "trust", "add", "a-lab", "--key", "lab.pub", "--names", "coldstart/*"]).exits(0);
    lab.coldstart(&["plugin", "install", &package]).exits(0);
    std::fs::copy(library("entropy"), lab.path("plugins/libentropy.so")).unwrap();
    lab.write(
        "study.toml",
        std::fs::read_to_string(lab.path("tiny.toml")).unwrap()
            + "[sweep]\nquery = [{ strategy = \"margin\" }, { strategy = \"entropy\" }]\n",
    );
    lab.coldstart(&["sweep", "study.toml", "--out", "study", "-s", "query.rounds=1"]).exits(0);
    let key =
        lab.coldstart(&["plugin", "trust", "list", "--json"]).json()[0]["keys"][0]["id"].as_str().unwrap().to_owned();
    let table = std::fs::read_to_string(lab.path("study/tables/plugins.csv")).unwrap();
    let row =
        |name: &str| table.lines().find(|line| line.starts_with(&format!("coldstart/{name},"))).unwrap().to_owned();
    assert!(row("margin").contains(&format!("signed with the key {key},sha256:")), "{table}");
    assert!(row("entropy").contains(",unsigned,sha256:") && row("random").contains("came with the program"), "{table}");
    let page = std::fs::read_to_string(lab.path("study/report.html")).unwrap();
    assert!(page.contains(&format!("signed with the key {key}")) && page.contains("coldstart/entropy"));
    let run = std::fs::read_dir(lab.path("study/runs")).unwrap().next().unwrap().unwrap().path();
    lab.coldstart(&["report", run.to_str().unwrap(), "-o", "run.html"]).exits(0);
    let page = std::fs::read_to_string(lab.path("run.html")).unwrap();
    assert!(page.contains("sha256:") && (page.contains(&key) || page.contains("unsigned")));
}

#[test]
fn a_torn_library_is_told_in_words() {
    let lab = Lab::new();
    from_c(&lab, "empty", &c_manifest("empty"), &[]);
    lab.write("plugins/libcoldstart_torn.so", FOREIGN);
    let listed = lab.coldstart(&["plugin", "list"]);
    obeys_nothing(listed.exits(0), "is not an ELF file");
}
