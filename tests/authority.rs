//! Whose word counts: trust is the user's, at the moment at which something runs. What a config, a lock, a run's folder or a study
//! says can only be stricter; and what others could have changed is no authority.
//!
//! What concerns other users needs root, who alone can give files away; elsewhere it is said and skipped.

use coldstart_tests::{
    Lab, Ran, TINY, files_under, from_c, library, library_name, plan, repository, run_args, without_landlock,
};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A user who is neither the administrator nor nobody.
const COLLEAGUE: u32 = 1234;
/// What a strategy of nobody's leaves behind where it runs with the user's rights.
const TRACE: &str = "ran-with-the-users-rights";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn edit(file: &Path, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, change(text)).unwrap();
}

/// The program without leave to run what nobody has signed.
fn without_leave(lab: &Lab, args: &[&str]) -> Ran {
    let mut command = lab.command(args);
    Ran::of(command.env_remove("COLDSTART_ALLOW_UNSIGNED").output().unwrap())
}

/// What a manifest says of name, publisher and version.
fn identity(library: &Path) -> [String; 3] {
    let lab = Lab::new();
    let shown = lab.coldstart(&["plugin", "info", text(library), "--json"]);
    let manifest = shown.exits(0).json()["manifest"].clone();
    ["name", "publisher", "version"].map(|key| manifest[key].as_str().unwrap().to_owned())
}

/// A strategy in C that tries to write [`TRACE`] into the lab when an instance is made, and says that it has failed.
fn tracer(lab: &Lab, [name, publisher, version]: [&str; 3]) -> PathBuf {
    let json = format!(
        r#"{{\"format\":1,\"name\":\"{name}\",\"publisher\":\"{publisher}\",\"version\":\"{version}\",\"api\":\"" COLDSTART_API_VERSION "\",\"panic\":\"none\",\"summary\":\"x\",\"license\":\"MIT\",\"authors\":\"x\",\"cite\":\"x\",\"roles\":[\"initial\",\"query\"],\"needs\":[],\"params\":{{\"type\":\"object\"}}}}"#
    );
    let source = format!(
        r#"#include "coldstart_plugin.h"
#include <stdio.h>
COLDSTART_MANIFEST("{json}");
static int32_t create(void *o, coldstart_text_v1 n, coldstart_text_v1 j, const coldstart_host_v1 *h,
                      const coldstart_selector_v1 **s, coldstart_fault_v1 *f) {{
  FILE *trace = fopen("{}", "w");
  if (trace) fclose(trace);
  f->message.ptr = trace ? "it wrote" : "it could not write";
  f->message.len = trace ? 8 : 18;
  return COLDSTART_PLUGIN_FAILED;
}}
const coldstart_plugin_v1 coldstart_plugin_entry_v1 = {{COLDSTART_HEAD_V1(coldstart_plugin_v1), COLDSTART_TEXT_V1(coldstart_manifest), create}};
"#,
        lab.path(TRACE).display()
    );
    from_c(lab, name, &source, &["-I", text(&repository().join("plugin-api/include"))])
}

/// The files of trust of a lab whose key was made by [`Lab::install_signed`].
fn trust_file(lab: &Lab) -> PathBuf {
    lab.path("home/config/coldstart/trust/own.toml")
}

fn hash_of(library: &Path) -> String {
    let lab = Lab::new();
    let shown = lab.coldstart(&["plugin", "info", text(library), "--json"]);
    shown.exits(0).json()["build"]["sha256"].as_str().unwrap().to_owned()
}

/// What can happen to the trust in a library after a run was begun.
struct Withdrawal {
    what: &'static str,
    /// The trust file afterwards; none if it is gone.
    file: Option<String>,
    /// What is said of it.
    sentence: &'static str,
}

/// All of them, for a library of this hash and the trust file as it was.
fn withdrawals(hash: &str, good: &str) -> [Withdrawal; 4] {
    let withdrawal = |what, file, sentence| Withdrawal { what, file, sentence };
    let revoked = format!("{good}revoked = [\"{hash}\"]\n");
    let expired = format!("{good}expires = \"2020-01-31\"\n");
    let narrowed = good.replace("\"*/*\"", "\"other/*\"");
    [
        withdrawal("revoked", Some(revoked), "revokes this library"),
        withdrawal("expired", Some(expired), "expired on 2020-01-31"),
        withdrawal("narrowed", Some(narrowed), "may sign *, other/*, not"),
        withdrawal("withdrawn", None, "is not in the trust store"),
    ]
}

/// Leave the trust file so.
fn put_trust(lab: &Lab, file: Option<&str>) {
    match file {
        Some(text) => fs::write(trust_file(lab), text).unwrap(),
        None => fs::remove_file(trust_file(lab)).unwrap(),
    }
}

#[test]
fn a_run_is_resumed_only_with_plugins_that_are_trusted_now() {
    let lab = Lab::new();
    lab.install_signed(&library("margin"));
    lab.run("run", &["query.strategy=coldstart/margin", "query.rounds=1"]).exits(0);
    let lock = fs::read_to_string(lab.path("run/plugins.lock")).unwrap();
    assert!(lock.contains("trust = \"signed\"") && !lock.contains("mode = \"process\""), "{lock}");
    lab.coldstart(&["resume", "run"]).exits(0);
    let good = fs::read_to_string(trust_file(&lab)).unwrap();
    for Withdrawal { what, file, sentence } in withdrawals(&hash_of(&library("margin")), &good) {
        put_trust(&lab, file.as_deref());
        // Leave to run what nobody has signed is none to run what somebody has taken back.
        let ran = lab.coldstart(&["resume", "run"]);
        ran.exits(3).says_one_problem().says("P005").says(sentence).says("margin").says("help:");
        put_trust(&lab, Some(&good));
        lab.coldstart(&["resume", "run"]).exits(0);
        eprintln!("{what}: refused and let in again");
    }
    // What came with the program is revoked like all else.
    lab.run("shipped", &["query.strategy=entropy", "query.rounds=1"]).exits(0);
    edit(&trust_file(&lab), |text| text + &format!("revoked = [\"{}\"]\n", hash_of(&library("entropy"))));
    lab.coldstart(&["resume", "shipped"]).exits(3).says_one_problem().says("revokes this library").says("entropy");
    lab.coldstart(&["resume", "run"]).exits(0);
}

#[test]
fn a_lock_beside_a_config_lets_in_nothing_that_is_not_trusted_now() {
    let lab = Lab::new();
    lab.install_signed(&library("margin"));
    lab.write("tiny.toml", TINY.replace("\"entropy\"", "\"coldstart/margin\"").replace("rounds = 3", "rounds = 1"));
    lab.coldstart(&["plugin", "lock", "tiny.toml"]).exits(0);
    lab.coldstart(&["run", "tiny.toml", "--locked", "--out", "before"]).exits(0);
    let good = fs::read_to_string(trust_file(&lab)).unwrap();
    for Withdrawal { what, file, sentence } in withdrawals(&hash_of(&library("margin")), &good) {
        put_trust(&lab, file.as_deref());
        let ran = lab.coldstart(&["run", "tiny.toml", "--locked", "--out", what]);
        ran.exits(3).says_one_problem().says("P005").says(sentence);
        assert!(!lab.path(what).exists(), "{what}");
        put_trust(&lab, Some(&good));
    }
}

#[test]
fn a_study_goes_on_only_with_plugins_that_are_trusted_now() {
    let lab = Lab::new();
    lab.install_signed(&library("margin"));
    let study = TINY.replace("\"entropy\"", "\"coldstart/margin\"").replace("rounds = 3", "rounds = 1");
    lab.write("sweep.toml", study + "[sweep]\nseed = [1, 2]\n");
    let sweep = ["sweep", "sweep.toml", "--out", "study"];
    lab.coldstart(&sweep).exits(0);
    let (again, _) = plan(&lab).remove(1);
    fs::remove_dir_all(lab.path("study/runs").join(&again)).unwrap();
    let good = fs::read_to_string(trust_file(&lab)).unwrap();
    for Withdrawal { what, file, sentence } in withdrawals(&hash_of(&library("margin")), &good) {
        put_trust(&lab, file.as_deref());
        lab.coldstart(&sweep).exits(3).says("P005").says(sentence);
        lab.coldstart(&[&sweep[..], &["--dry-run"]].concat()).exits(3).says("P005").says(sentence);
        // A worker asks for itself: it may have been started long ago, or on another machine.
        lab.coldstart(&["worker", "study", "--device", "cpu", "--as", "late"]);
        let failure = fs::read_to_string(files_under(&lab.path("study/failures")).first().unwrap()).unwrap();
        assert!(failure.contains("P005") && failure.contains(sentence), "{what}: {failure}");
        assert!(!lab.path("study/runs").join(&again).join("config.toml").exists(), "{what}");
        fs::remove_dir_all(lab.path("study/failures")).unwrap();
        // One that is started by hand looks before it takes anything.
        let ran = lab.coldstart(&["worker", "study", "--device", "cpu"]);
        ran.exits(3).says("this machine cannot do the study's runs").says("P005");
        assert!(!lab.path("study/failures").exists(), "{what}");
        put_trust(&lab, Some(&good));
    }
    lab.coldstart(&sweep).exits(0);
}

/// A run that its strategy stopped in round 2, ready to be resumed; the strategy is `hostile`, which came with the program.
fn half_run(lab: &Lab) {
    let fails = ["query.strategy=hostile", "query.params={ behaviour = \"fail\", from_round = 2 }"];
    lab.run("run", &fails).exits(3);
}

/// The entry of the query strategy, as a lock has it, with some values exchanged.
fn exchanged(lock: &str, values: &[(&str, &str)]) -> String {
    let (before, entry) = lock.rsplit_once("[[plugin]]").unwrap();
    let line = |line: &str| match values.iter().find(|(key, _)| line.starts_with(&format!("{key} = "))) {
        Some((key, value)) => format!("{key} = \"{value}\"\n"),
        None => format!("{line}\n"),
    };
    format!("{before}[[plugin]]{}", entry.lines().map(line).collect::<String>())
}

/// Whoever edits a lock can take its hash out of the journal, too.
fn forget_hashes(journal: &Path) {
    let without = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        ["files", "check"].iter().for_each(|key| _ = line.as_object_mut().unwrap().remove(*key));
        format!("{line}\n")
    };
    let text = fs::read_to_string(journal).unwrap();
    fs::write(journal, text.lines().map(without).collect::<String>()).unwrap();
}

#[test]
fn an_edited_lock_gives_no_library_more_than_the_user_does() {
    let lab = Lab::new();
    half_run(&lab);
    forget_hashes(&lab.path("run/journal.jsonl"));
    let file = lab.path("run/plugins.lock");
    let good = fs::read_to_string(&file).unwrap();
    let [name, publisher, version] = identity(&library("hostile"));
    // Its double: the same name, publisher and version, by nobody.
    let double = tracer(&lab, [&name, &publisher, &version]);
    let other = tracer(&lab, ["evil", &publisher, &version]);
    let (hash, other_hash) = (hash_of(&double), hash_of(&other));
    let as_double = [("file", text(&double)), ("sha256", hash.as_str())];
    let claims = [("mode", "in-process"), ("trust", "shipped"), ("signer", "minisign:0123456789ABCDEF")];
    fs::write(&file, exchanged(&good, &[&as_double[..], &claims].concat())).unwrap();
    without_leave(&lab, &["resume", "run"]).exits(3).says_one_problem().says("P005").says("--allow-unsigned");
    let apart = lab.coldstart(&["resume", "run"]);
    apart.exits(3).says("it could not write").says("runs in a process of its own, whatever the run's lock says");
    // Shut in as that run was, or not at all. The entry of a run inside the program has no confinement: it comes in with the mode.
    let full = [&as_double[..], &[("mode", "process\"\nconfinement = \"full")]].concat();
    fs::write(&file, exchanged(&good, &full)).unwrap();
    let mut weak = lab.command(&["resume", "run"]);
    without_landlock(&mut weak);
    Ran::of(weak.output().unwrap()).exits(3).says("sandbox is only `no-landlock`");
    // Another plugin under this one's name, whoever made it.
    let entropy = library("entropy");
    let entropy_hash = hash_of(&entropy);
    for (values, sentence) in [
        ([("file", text(&other)), ("sha256", other_hash.as_str())], "in the run's lock"),
        ([("file", text(&entropy)), ("sha256", entropy_hash.as_str())], "in the run's lock"),
        ([("file", text(&double)), ("mode", "process")], "the run began with sha256:"),
        ([("file", "/dev/null"), ("sha256", "sha256:0")], "the run began with sha256:0"),
    ] {
        fs::write(&file, exchanged(&good, &values)).unwrap();
        lab.coldstart(&["resume", "run"]).exits(3).says_one_problem().says("P004").says(sentence);
    }
    let renamed = [("file", text(&entropy)), ("sha256", entropy_hash.as_str()), ("name", "entropy")];
    fs::write(&file, exchanged(&good, &[&renamed[..], &[("publisher", "coldstart")]].concat())).unwrap();
    let ran = lab.coldstart(&["resume", "run"]);
    ran.exits(3).says_one_problem().says("P004");
    assert!(!lab.path(TRACE).exists(), "it ran with the user's rights");
    fs::write(&file, good).unwrap();
    lab.coldstart(&["resume", "run"]).exits(3).says("no image is good enough");
}

/// The words by which a file, or an argument that a script could bring along, asks for the inside of the program.
const INSIDE: &str = "[plugins]\nisolation = \"in-process\"\n";

#[test]
fn what_nobody_signed_never_runs_in_the_program() {
    let lab = Lab::new();
    let (evil, hostile) = (tracer(&lab, ["evil", "", "0.1.0"]), lab.path("plugins").join(library_name("hostile")));
    fs::copy(library("hostile"), &hostile).unwrap();
    assert!(evil.exists());
    let in_rust = format!(
        "strategy = \"hostile\"\nparams = {{ behaviour = \"writes-file\", file = \"{}\" }}",
        lab.path(TRACE).display()
    );
    for (what, strategy, sentence) in
        [("c", "strategy = \"evil\"", "it could not write"), ("rust", in_rust.as_str(), "Permission denied")]
    {
        let config = TINY.replace("strategy = \"entropy\"", strategy);
        lab.write("plain.toml", &config);
        lab.write("inside.toml", format!("{config}{INSIDE}"));
        lab.write("sweep.toml", format!("{config}{INSIDE}[sweep]\nseed = [1, 2]\n"));
        let flag = ["-s", "plugins.isolation=in-process"];
        for (way, args) in [
            ("a config", vec!["run", "inside.toml", "--out", "run"]),
            ("an argument", [&["run", "plain.toml", "--out", "run"][..], &flag].concat()),
            ("a resolved config", vec!["resume", "run"]),
            ("a study", vec!["sweep", "sweep.toml", "--out", what]),
            ("an axis", [&["sweep", "sweep.toml", "--out", what, "--retry"][..], &flag].concat()),
        ] {
            let refused = without_leave(&lab, &args);
            let begun = way == "a resolved config" && !lab.path("run/config.toml").exists();
            assert!(begun || refused.code == Some(3), "{what}, {way}: {}", refused.stderr);
            let ran = lab.coldstart(&args);
            assert!(ran.code.is_some_and(|code| code != 0), "{what}, {way}: {}", ran.stderr);
            let told = ran.stderr.clone() + &failures(&lab.path(what));
            assert!(begun || told.contains(sentence), "{what}, {way}: {told}");
            assert!(!lab.path(TRACE).exists(), "{what}, {way}: it ran with the user's rights");
            if way == "a config" {
                _ = fs::remove_dir_all(lab.path("run"));
            }
        }
        _ = fs::remove_dir_all(lab.path("run"));
    }
    // An honest one is recorded as what it was.
    let honest = lab.run("honest", &["query.strategy=hostile", "query.rounds=1", "plugins.isolation=in-process"]);
    honest.exits(0).says("`hostile` runs in a process of its own, whatever `plugins.isolation` says");
    let lock = fs::read_to_string(lab.path("honest/plugins.lock")).unwrap();
    let entry = lock.rsplit_once("[[plugin]]").unwrap().1;
    assert!(entry.contains("mode = \"process\"") && entry.contains("trust = \"unsigned\""), "{lock}");
}

fn failures(study: &Path) -> String {
    let files = files_under(&study.join("failures")).into_iter();
    files.map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// Signed, the same library runs inside.
#[test]
fn what_the_user_trusts_runs_in_the_program_where_the_config_says_so() {
    let lab = Lab::new();
    lab.install_signed(&library("hostile"));
    lab.run("run", &["query.strategy=hostile", "query.rounds=1", "plugins.isolation=in-process"]).exits(0);
    let lock = fs::read_to_string(lab.path("run/plugins.lock")).unwrap();
    assert!(lock.contains("trust = \"signed\"") && !lock.contains("mode = \"process\""), "{lock}");
}

/// A recording names a plugin, and may come from anybody.
#[test]
fn a_recording_brings_no_unsigned_plugin_to_run() {
    let lab = Lab::new();
    fs::copy(library("hostile"), lab.path("plugins").join(library_name("hostile"))).unwrap();
    let recorded = [&run_args("run", &["query.strategy=hostile", "query.rounds=1"])[..], &["--record"]].concat();
    lab.coldstart(&recorded).exits(0);
    let replay = ["plugin", "replay", "run/recordings/query-hostile-1.record"];
    without_leave(&lab, &replay).exits(3).says_one_problem().says("P005").says("--allow-unsigned");
    without_leave(&lab, &[&replay[..], &["--allow-unsigned"]].concat()).exits(0);
}

#[test]
fn a_config_cannot_weaken_the_sandbox_that_the_user_requires() {
    let lab = Lab::new();
    fs::copy(library("hostile"), lab.path("plugins").join(library_name("hostile"))).unwrap();
    let config = TINY.replace("\"entropy\"", "\"hostile\"").replace("rounds = 3", "rounds = 1");
    for (file, sandbox) in [("best-effort.toml", "best-effort"), ("required.toml", "required")] {
        lab.write(file, format!("{config}[plugins]\nsandbox = \"{sandbox}\"\n"));
    }
    lab.write("sweep.toml", format!("{config}[plugins]\nsandbox = \"best-effort\"\n[sweep]\nseed = [1, 2]\n"));
    let weakly = |args: &[&str], variable: &str| {
        let mut command = lab.command(args);
        without_landlock(command.env("COLDSTART_SANDBOX", variable));
        Ran::of(command.output().unwrap())
    };
    let run = |file: &'static str, out: &'static str| ["run", file, "--out", out];
    weakly(&[&run("best-effort.toml", "begun")[..], &["--record"]].concat(), "").exits(0);
    let recording = "begun/recordings/query-hostile-1.record";
    for (args, variable) in [
        (&[&run("best-effort.toml", "run")[..], &["--sandbox", "required"]].concat()[..], ""),
        (&run("best-effort.toml", "run"), "required"),
        (&[&run("best-effort.toml", "run")[..], &["-s", "plugins.sandbox=best-effort"]].concat(), "required"),
        (&run("required.toml", "run"), ""),
        (&[&run("required.toml", "run")[..], &["--sandbox", "best-effort"]].concat(), "best-effort"),
        (&["resume", "begun", "--sandbox", "required"], ""),
        (&["sweep", "sweep.toml", "--out", "study"], "required"),
        (&["plugin", "replay", recording, "--sandbox", "required"], ""),
    ] {
        weakly(args, variable).exits(3).says("sandbox is only `no-landlock`");
        assert!(!lab.path("run").exists() && !lab.path("study").exists(), "{args:?}");
    }
    // What the user requires reaches the workers of a study, as an argument.
    let script = lab.coldstart(&[
        "sweep",
        "sweep.toml",
        "--out",
        "elsewhere",
        "--executor",
        "slurm",
        "--dry-run",
        "--sandbox",
        "required",
    ]);
    assert!(script.exits(0).stdout.contains("--sandbox required"), "{}", script.stdout);
    weakly(&run("best-effort.toml", "weak"), "best-effort").exits(0);
    weakly(&run("best-effort.toml", "never"), "strong").exits(2).says("expected `required` or `best-effort`");
}

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Each file and folder that the trust in a plugin comes from, and those that they lie in.
#[test]
fn what_others_can_write_to_is_no_authority() {
    let lab = Lab::new();
    let package = lab.install_signed(&library("margin"));
    let signed = files_under(&lab.path("packages")).remove(0);
    let store = lab.path("home/config/coldstart/trust");
    let plugins = lab.path("home/data/coldstart/plugins");
    let use_it = ["run", "tiny.toml", "--out", "run", "-s", "query.strategy=coldstart/margin", "-s", "query.rounds=1"];
    let sign = ["plugin", "sign", text(&signed), "--key", "own.key"];
    let add = ["plugin", "trust", "add", "again", "--key", "own.pub", "--names", "x"];
    let list = ["plugin", "trust", "list"];
    for (path, args) in [
        (store.clone(), &use_it[..]),
        (store.join("own.toml"), &use_it),
        (lab.path("home/config/coldstart"), &use_it),
        (lab.path("home/config"), &list),
        (lab.path("home"), &list),
        (lab.path("own.key"), &sign),
        (lab.path("own.pub"), &add),
    ] {
        let good = fs::metadata(&path).unwrap().permissions().mode();
        for more in [0o020, 0o002] {
            set(&path, good | more);
            let ran = lab.coldstart(args);
            ran.exits(3).says_one_problem().says("P005").says(&format!("chmod go-w {}", path.display()));
        }
        set(&path, good);
    }
    // What is installed there does not count, and why is said; the program's own `margin` is another one.
    for path in [
        plugins.clone(),
        lab.path("home/data/coldstart"),
        package.clone(),
        package.join("lib"),
        package.join("CHECKSUMS"),
        package.join("lib").join(library_name("margin")),
    ] {
        let good = fs::metadata(&path).unwrap().permissions().mode();
        for more in [0o020, 0o002] {
            set(&path, good | more);
            let listed = lab.coldstart(&["plugin", "list", "--json"]);
            listed.exits(0);
            let rows = listed.json();
            let inside = |row: &serde_json::Value| row["file"].as_str().unwrap().starts_with(text(&plugins));
            assert!(!rows.as_array().unwrap().iter().any(inside), "{}: {rows}", path.display());
            let told = lab.coldstart(&["plugin", "list"]);
            told.exits(0).says(&format!("chmod go-w {}", path.display()));
        }
        set(&path, good);
    }
    let secret = lab.path("own.key");
    for mode in [0o640, 0o604] {
        set(&secret, mode);
        lab.coldstart(&sign).exits(3).says_one_problem().says("others can read it").says("chmod 600");
    }
    set(&secret, 0o600);
    lab.coldstart(&sign).exits(0);
    lab.coldstart(&use_it).exits(0);
}

#[test]
fn what_belongs_to_another_user_is_no_authority() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let lab = Lab::new();
    lab.install_signed(&library("margin"));
    let signed = files_under(&lab.path("packages")).remove(0);
    let trust = trust_file(&lab);
    let list = ["plugin", "trust", "list"];
    let sign = ["plugin", "sign", text(&signed), "--key", "own.key"];
    let add = ["plugin", "trust", "add", "again", "--key", "own.pub", "--names", "x"];
    for (path, args) in [
        (trust.clone(), &list[..]),
        (lab.path("home/config/coldstart/trust"), &list),
        (lab.path("home/config/coldstart"), &list),
        (lab.path("own.key"), &sign),
        (lab.path("own.pub"), &add),
    ] {
        chown(&path, Some(COLLEAGUE), None).unwrap();
        lab.coldstart(args).exits(3).says_one_problem().says("P005").says("belongs to user 1234");
        chown(&path, Some(0), None).unwrap();
        lab.coldstart(&list).exits(0);
    }
    // A link to another's file, by way of another's folder, and another's link to one's own.
    let theirs = lab.write("theirs/own.toml", fs::read_to_string(&trust).unwrap());
    let good = lab.write("aside/own.toml", fs::read_to_string(&trust).unwrap());
    fs::remove_file(&trust).unwrap();
    let owned_by = |path: &Path, user: u32| std::os::unix::fs::lchown(path, Some(user), None).unwrap();
    for (file, folder, link, refused) in
        [(COLLEAGUE, 0, 0, true), (0, COLLEAGUE, 0, true), (0, 0, COLLEAGUE, true), (0, 0, 0, false)]
    {
        owned_by(&theirs, file);
        owned_by(theirs.parent().unwrap(), folder);
        symlink(&theirs, &trust).unwrap();
        owned_by(&trust, link);
        let ran = lab.coldstart(&list);
        match refused {
            true => _ = ran.exits(3).says_one_problem().says("belongs to user 1234"),
            false => _ = ran.exits(0),
        }
        fs::remove_file(&trust).unwrap();
    }
    symlink(&good, &trust).unwrap();
    lab.coldstart(&list).exits(0);
}

#[test]
fn what_the_program_writes_it_can_rely_on_whatever_the_umask_is() {
    let lab = Lab::new();
    fs::create_dir(lab.path("home")).unwrap();
    let with_umask = |umask: &str, args: &[&str]| {
        let plain = lab.command(args);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]).arg(plain.get_program());
        command.args(plain.get_args()).current_dir(lab.path(""));
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Ran::of(command.output().unwrap())
    };
    for (umask, lab_name) in [("000", "open"), ("002", "shared"), ("077", "closed")] {
        let key = format!("keys/{lab_name}/{lab_name}.key");
        with_umask(umask, &["plugin", "keys", "new", &key, "--no-password"]).exits(0);
        let public = key.replace(".key", ".pub");
        with_umask(umask, &["plugin", "trust", "add", lab_name, "--key", &public, "--names", "*/*"]).exits(0);
        let out = format!("packages/{lab_name}");
        let packed = with_umask(umask, &["plugin", "pack", text(&library("margin")), "-o", &out]);
        let package = packed.exits(0).stdout.trim().to_owned();
        with_umask(umask, &["plugin", "sign", &package, "--key", &key]).exits(0);
        with_umask(umask, &["plugin", "install", &package]).exits(0);
        for path in [files_under(&lab.path("home")), files_under(&lab.path("keys"))].concat() {
            let folders = path.ancestors().take_while(|above| above.starts_with(lab.path("")));
            for path in folders.filter(|above| *above != lab.path("")) {
                let mode = fs::metadata(path).unwrap().permissions().mode() & 0o7777;
                let secret = path.extension().is_some_and(|extension| extension == "key");
                let allowed: &[u32] = match (path.is_dir(), secret) {
                    (true, _) => &[0o755, 0o700],
                    (false, true) => &[0o600],
                    (false, false) => &[0o644, 0o600],
                };
                assert!(allowed.contains(&mode), "umask {umask}: {mode:o} {}", path.display());
            }
        }
        with_umask(umask, &["plugin", "uninstall", "coldstart/margin"]).exits(0);
    }
}

/// Bytes that no signature covers: behind a signature, behind a key, behind a trust file.
#[test]
fn unsigned_bytes_behind_what_is_signed_are_refused() {
    let lab = Lab::new();
    let package = lab.install_signed(&library("margin"));
    let use_it = ["run", "tiny.toml", "--out", "run", "-s", "query.strategy=coldstart/margin", "-s", "query.rounds=1"];
    let signature = package.join("CHECKSUMS.minisig");
    let good = fs::read_to_string(&signature).unwrap();
    for more in ["\n", "more", "\0", &good, "trusted comment: signed by another lab\n"] {
        fs::write(&signature, format!("{good}{more}")).unwrap();
        lab.coldstart(&use_it).exits(3).says_one_problem().says("P005").says("its signature is not one of minisign");
    }
    fs::write(&signature, &good).unwrap();
    let signed = files_under(&lab.path("packages")).remove(0);
    let bytes = fs::read(&signed).unwrap();
    for more in [&b"\0"[..], b"more", &bytes] {
        let longer = lab.write("longer.csp", [&bytes[..], more].concat());
        lab.coldstart(&["plugin", "verify", text(&longer)]).exits(3).says_one_problem();
        lab.coldstart(&["plugin", "install", text(&longer), "--allow-unsigned"]).exits(3).says_one_problem();
    }
    let public = fs::read_to_string(lab.path("own.pub")).unwrap();
    let key = public.lines().last().unwrap();
    for more in [key, "more", &public] {
        let longer = lab.write("longer.pub", format!("{public}{more}\n"));
        let add = ["plugin", "trust", "add", "b", "--key", text(&longer), "--names", "x"];
        lab.coldstart(&add).exits(3).says_one_problem().says("is no public key of minisign");
    }
    let trust = trust_file(&lab);
    let good = fs::read_to_string(&trust).unwrap();
    for more in ["\0", "more", "\u{1a}", "[more]\n"] {
        fs::write(&trust, format!("{good}{more}")).unwrap();
        lab.coldstart(&use_it).exits(3).says_one_problem().says("is no trust file");
    }
    fs::write(&trust, good).unwrap();
    lab.coldstart(&use_it).exits(0);
}

/// A key without a password is made for whoever asks for it, in so many words.
#[test]
fn a_key_pair_without_a_password_is_made_only_when_asked_for() {
    let lab = Lab::new();
    let new = |password: Option<&str>, more: &[&str]| {
        let mut command = lab.command(&[&["plugin", "keys", "new", "lab.key"], more].concat());
        password.map(|password| command.env("COLDSTART_KEY_PASSWORD", password));
        Ran::of(command.output().unwrap())
    };
    // The third and fourth character of the secret key's bytes say whether it is hidden.
    let is_hidden = || {
        let secret = fs::read_to_string(lab.path("lab.key")).unwrap();
        !secret.lines().nth(1).unwrap().starts_with("RWQAA")
    };
    for password in [None, Some("")] {
        new(password, &[]).exits(2).says_one_problem().says("--no-password");
        assert!(!lab.path("lab.key").exists() && !lab.path("lab.pub").exists());
    }
    new(Some("secret"), &[]).exits(0);
    assert!(is_hidden());
    fs::remove_file(lab.path("lab.key")).unwrap();
    fs::remove_file(lab.path("lab.pub")).unwrap();
    new(None, &["--no-password"]).exits(0);
    assert!(!is_hidden());
}
