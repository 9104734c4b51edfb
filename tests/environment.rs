//! Somebody else's machine: homes that cannot be read, folders of colleagues, variables that say nothing, keys and names that
//! must not change in silence.
//!
//! What concerns other users needs root, who alone can become one and give folders away; elsewhere it is said and skipped.

use coldstart_tests::{Lab, Ran, files_under, library, library_name};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

/// A user who owns nothing.
const NOBODY: u32 = 65534;
/// A user who is neither the administrator nor nobody.
const COLLEAGUE: u32 = 1234;

fn is_root() -> bool {
    let root = rustix::process::getuid().is_root();
    if !root {
        eprintln!("skipped: only root can be another user");
    }
    root
}

/// The program, as a user who can go into the lab's folder and write to `theirs` in it.
fn as_nobody(lab: &Lab, args: &[&str]) -> Command {
    let folder = lab.path("");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir_all(lab.path("theirs")).unwrap();
    chown(lab.path("theirs"), Some(NOBODY), Some(NOBODY)).unwrap();
    let plain = lab.command(args);
    let mut command = Command::new("setpriv");
    let id = NOBODY.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(plain.get_program()).args(plain.get_args());
    command.current_dir(lab.path("theirs")).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("OMP_WAIT_POLICY", "passive");
    command
}

/// Whether another user can run the program at all: a checkout below a closed home cannot be entered.
fn can_run_as_nobody(lab: &Lab) -> bool {
    let ran = as_nobody(lab, &["--version"]).output();
    let can = ran.is_ok_and(|ran| ran.status.success());
    if !can {
        eprintln!("skipped: another user cannot run the program where it is, or there is no setpriv");
    }
    can
}

fn photographs(lab: &Lab) {
    for i in 0..6u8 {
        let pixels = image::RgbImage::from_fn(16, 16, |x, y| image::Rgb([i * 40, (x * 16) as u8, (y * 16) as u8]));
        std::fs::create_dir_all(lab.path("photos")).unwrap();
        pixels.save(lab.path("photos").join(format!("{i}.png"))).unwrap();
    }
}

fn select<'a>(photos: &'a str, out: &'a str) -> [&'a str; 9] {
    ["select", "--images", photos, "--strategy", "random", "--size", "2", "--out", out]
}

#[test]
fn a_home_of_somebody_else_stops_no_strategy_of_the_program() {
    let lab = Lab::new();
    if !is_root() || !can_run_as_nobody(&lab) {
        return;
    }
    photographs(&lab);
    let closed = lab.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    let photos = lab.path("photos").display().to_string();
    for (home, out) in
        [(Some(closed.as_path()), "a"), (Some(Path::new("/nonexistent")), "b"), (None, "c"), (Some(Path::new("")), "d")]
    {
        let mut command = as_nobody(&lab, &select(&photos, out));
        home.map(|home| command.env("HOME", home));
        let ran = Ran::of(command.output().unwrap());
        ran.exits(0);
        assert_eq!(std::fs::read_to_string(lab.path("theirs").join(out).join("picks.csv")).unwrap().lines().count(), 3);
    }
    // A library of a stranger needs a decision, and the way to make one is said.
    std::fs::copy(library("margin"), lab.path("plugins").join("libcoldstart_stranger.so")).unwrap();
    let strange = lab.path("plugins").join("libcoldstart_stranger.so").display().to_string();
    let mut verify = as_nobody(&lab, &["plugin", "info", &strange, "--json"]);
    let known = Ran::of(verify.env("HOME", &closed).output().unwrap());
    assert_eq!(known.exits(0).json()["trust"]["code"], "P005");
    assert!(known.json()["trust"]["hint"].as_str().unwrap().contains("XDG_CONFIG_HOME"), "{}", known.stdout);
    // And the way that is said works.
    let mut elsewhere = as_nobody(&lab, &["plugin", "info", &strange, "--json"]);
    elsewhere.env("HOME", &closed).env("XDG_CONFIG_HOME", lab.path("theirs"));
    assert_eq!(Ran::of(elsewhere.output().unwrap()).exits(0).json()["trust"]["state"], "unsigned");
}

/// Features of a network need the cache: where it cannot be written to, a temporary folder serves.
#[test]
fn a_cache_that_nobody_asked_for_may_fail_and_one_that_was_asked_for_may_not() {
    let lab = Lab::new();
    lab.write("home/.cache", "no folder");
    let representation = "representation={ method = \"rotation\", epochs = 1 }";
    let features =
        ["run", "tiny.toml", "-s", representation, "-s", "initial.strategy=kmeans", "-s", "query.rounds=1", "--out"];
    let run = |out: &str, more: &[&str]| lab.coldstart(&[&features[..], &[out], more].concat());
    run("kept", &["--cache", "cache"]).exits(0);
    assert!(!files_under(&lab.path("cache")).is_empty());
    run("temporary", &[]).exits(0).says("cannot be written to").says("--cache");
    run("asked", &["--cache", "home/.cache"]).says_one_problem().says("in the cache").says("--cache");
}

#[test]
fn relative_folders_in_the_user_s_variables_are_ignored_aloud() {
    let lab = Lab::new();
    std::fs::create_dir_all(lab.path("home/.local/share/coldstart/plugins")).unwrap();
    let copied = lab.path("home/.local/share/coldstart/plugins").join(library_name("margin"));
    std::fs::copy(library("margin"), &copied).unwrap();
    for variable in ["XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
        let mut command = lab.command(&["plugin", "list", "--json"]);
        let listed = Ran::of(command.env(variable, "relative").env_remove("COLDSTART_PLUGIN_PATH").output().unwrap());
        let said = listed.exits(0).stderr.matches(variable).count();
        assert_eq!(said, 1, "{}", listed.stderr);
        assert!(!lab.path("relative").exists());
        let found = listed.json().as_array().unwrap().iter().any(|row| row["file"] == copied.to_str().unwrap());
        assert_eq!(found, variable == "XDG_DATA_HOME", "{variable}");
    }
    // Empty is as good as not set, and a home that is no path is none.
    for (variable, value) in [("XDG_CONFIG_HOME", ""), ("HOME", "relative")] {
        let mut command = lab.command(&["plugin", "list"]);
        Ran::of(command.env(variable, value).output().unwrap()).exits(0);
    }
    lab.coldstart(&["plugin", "keys", "new", "lab.key", "--no-password"]).exits(0);
    let mut trust = lab.command(&["plugin", "trust", "add", "a-lab", "--key", "lab.pub", "--names", "x"]);
    trust.env_remove("XDG_CONFIG_HOME").env("HOME", "relative");
    Ran::of(trust.output().unwrap()).exits(3).says("no folder to keep the key in").says("XDG_CONFIG_HOME");
}

/// The rows of `plugin list --json` that lie in a folder.
fn listed_in(ran: &Ran, folder: &Path) -> Vec<serde_json::Value> {
    let rows = ran.exits(0).json().as_array().unwrap().clone();
    rows.into_iter().filter(|row| Path::new(row["file"].as_str().unwrap()).starts_with(folder)).collect()
}

fn give_away(folder: &Path) {
    for path in [vec![folder.to_owned()], files_under(folder)].concat() {
        let above = path.ancestors().take_while(|above| above.starts_with(folder));
        above.for_each(|above| chown(above, Some(COLLEAGUE), Some(COLLEAGUE)).unwrap());
    }
}

#[test]
fn a_colleague_s_folder_serves_for_what_is_signed_and_for_the_rest_when_it_is_let_in() {
    if !is_root() {
        return;
    }
    let lab = Lab::new();
    lab.coldstart(&["plugin", "keys", "new", "lab.key", "--no-password"]).exits(0);
    let library_of = |name: &str| library(name).display().to_string();
    for (name, is_signed) in [("margin", true), ("entropy", false)] {
        let package = lab
            .coldstart(&["plugin", "pack", &library_of(name), "-o", "packages/new"])
            .exits(0)
            .stdout
            .trim()
            .to_owned();
        if is_signed {
            lab.coldstart(&["plugin", "sign", &package, "--key", "lab.key"]).exits(0);
            lab.coldstart(&["plugin", "trust", "add", "a-lab", "--key", "lab.pub", "--names", "coldstart/*"]).exits(0);
        }
        let mut install = lab.command(&["plugin", "install", &package]);
        install.env("XDG_DATA_HOME", lab.path("theirs"));
        Ran::of(install.output().unwrap()).exits(0);
    }
    let folder = lab.path("theirs/coldstart/plugins");
    std::fs::copy(library("least-confidence"), folder.join(library_name("least-confidence"))).unwrap();
    give_away(&folder);
    let run = |args: &[&str], safe: &str| {
        let mut command = lab.command(args);
        command.env("COLDSTART_PLUGIN_PATH", &folder).env("COLDSTART_SAFE_PLUGIN_PATH", safe);
        Ran::of(command.output().unwrap())
    };
    // The signature vouches for one; of the others it is said once that they are left aside, and how to let them in.
    let listed = run(&["plugin", "list", "--json"], "");
    let rows = listed_in(&listed, &folder);
    assert!(rows.len() == 1 && rows[0]["trust"]["state"] == "signed", "{rows:?}");
    for args in [&["plugin", "list"][..], &["plugin", "doctor"]] {
        let told = run(args, "");
        let both = told.exits(0).stdout.clone() + &told.stderr;
        assert_eq!(both.matches("belongs to user 1234").count(), 1, "{both}");
        assert!(both.contains("left aside") && both.contains("COLDSTART_SAFE_PLUGIN_PATH"), "{both}");
    }
    let ran = run(&["run", "tiny.toml", "-s", "query.strategy=margin", "-s", "query.rounds=1", "--out", "signed"], "");
    assert_eq!(ran.exits(0).stderr.matches("belongs to user 1234").count(), 1, "{}", ran.stderr);
    let lock = std::fs::read_to_string(lab.path("signed/plugins.lock")).unwrap();
    assert!(lock.contains("trust = \"signed\"") && lock.contains("theirs"), "{lock}");
    // Let in, it is as a folder of one's own: what nobody has signed still needs leave to run.
    let rows = listed_in(&run(&["plugin", "list", "--json"], folder.to_str().unwrap()), &folder);
    assert_eq!(rows.len(), 3, "{rows:?}");
    let args = ["run", "tiny.toml", "-s", "query.strategy=least-confidence", "-s", "query.rounds=1", "--out", "let-in"];
    let mut command = lab.command(&args);
    command.env("COLDSTART_PLUGIN_PATH", &folder).env("COLDSTART_SAFE_PLUGIN_PATH", &folder);
    command.env_remove("COLDSTART_ALLOW_UNSIGNED");
    Ran::of(command.output().unwrap()).exits(3).says("P005").says("--allow-unsigned");
    run(&args, folder.to_str().unwrap()).exits(0);
    // More people than the owner can write to it: neither a signature nor leave helps.
    for mode in [0o777, 0o2775] {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = run(&["plugin", "list", "--json"], folder.to_str().unwrap());
        assert!(listed_in(&refused, &folder).is_empty(), "{mode:o}");
    }
    // One of the administrator's that a group can write to is no better.
    chown(&folder, Some(0), Some(COLLEAGUE)).unwrap();
    assert!(listed_in(&run(&["plugin", "list", "--json"], ""), &folder).is_empty());
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o2755)).unwrap();
    assert!(!listed_in(&run(&["plugin", "list", "--json"], ""), &folder).is_empty());
}

#[test]
fn a_name_of_the_program_s_own_is_not_taken_in_silence() {
    let lab = Lab::new();
    std::fs::copy(library("margin"), lab.path("plugins").join(library_name("margin"))).unwrap();
    let words = "is found before the program's own";
    let ran = lab.run("run", &["query.strategy=margin", "query.rounds=1"]);
    assert_eq!(ran.exits(0).stderr.matches(words).count(), 1, "{}", ran.stderr);
    lab.coldstart(&["plugin", "list"]).exits(0).says("`margin` is found before the program's own");
    assert!(lab.coldstart(&["plugin", "doctor", "margin"]).exits(0).stdout.contains(words));
    assert!(lab.coldstart(&["plugin", "doctor"]).exits(0).stdout.contains(words));
    let quiet = lab.run("other", &["query.strategy=entropy", "query.rounds=1"]);
    assert!(!quiet.exits(0).stderr.contains(words), "{}", quiet.stderr);
}

#[test]
fn a_key_has_a_password_or_was_asked_for_without() {
    let lab = Lab::new();
    let made = lab.coldstart(&["plugin", "keys", "new", "silent.key"]);
    made.exits(2).says_one_problem().says("no password").says("--no-password");
    let mut empty = lab.command(&["plugin", "keys", "new", "silent.key"]);
    Ran::of(empty.env("COLDSTART_KEY_PASSWORD", "").output().unwrap()).exits(2).says("no password");
    assert!(!lab.path("silent.key").exists() && !lab.path("silent.pub").exists());
    lab.coldstart(&["plugin", "keys", "new", "some/where/open.key", "--no-password"]).exits(0);
    let mode = std::fs::metadata(lab.path("some/where/open.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn whom_a_name_means_is_not_changed_in_silence() {
    let lab = Lab::new();
    ["ours", "theirs"].iter().for_each(|name| {
        lab.coldstart(&["plugin", "keys", "new", &format!("{name}.key"), "--no-password"]).exits(0);
    });
    let key_text = |name: &str| {
        let text = std::fs::read_to_string(lab.path(&format!("{name}.pub"))).unwrap();
        text.lines().last().unwrap().to_owned()
    };
    let add = |key: &str, names: &str, more: &[&str]| {
        let args = ["plugin", "trust", "add", "a-lab", "--key", key, "--names", names];
        lab.coldstart(&[&args[..], more].concat())
    };
    let listed = || lab.coldstart(&["plugin", "trust", "list", "--json"]).json();
    add("ours.pub", "ours/*", &[]).exits(0);
    add("ours.pub", "ours/*", &[]).exits(0);
    let before = listed();
    // Another key, and other names of the same key.
    for (key, names) in [("theirs.pub", "ours/*"), ("ours.pub", "*/*")] {
        let refused = add(key, names, &[]);
        refused.exits(2).says_one_problem().says("is trusted already").says("--replace").says("--beside");
        refused.says(&key_text("ours")).says(&key_text(key.trim_end_matches(".pub"))).says("for ours/*");
        assert_eq!(listed(), before);
    }
    add("theirs.pub", "theirs/*", &["--beside"]).exits(0);
    assert_eq!(listed().as_array().unwrap().len(), 2);
    add("theirs.pub", "theirs/*", &["--replace"]).exits(0).says(&key_text("ours"));
    let after = listed();
    assert_eq!((after.as_array().unwrap().len(), after[0]["may_sign"][0].as_str()), (1, Some("theirs/*")));
}
