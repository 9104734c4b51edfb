//! Workers that nobody watches, started by hand: at two places, killed, stopped, with wrong clocks; nothing is lost, nothing done twice.

use coldstart_tests::{Lab, Ran, events, files_under, has_tool, npy, npz, outcome, plan, study_lab, sweep, until};
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

const CROSSED: &str = r#"
[sweep]
"initial.size" = [8, 10]
"query.strategy" = ["random", "entropy"]
seed = [1, 2]
baseline = { "query.strategy" = "random" }
"#;

/// Query rounds of a run that is long enough to be met in the middle.
const ROUNDS: usize = 12;

fn long() -> String {
    format!("{CROSSED}\"query.rounds\" = [{ROUNDS}]\n")
}

/// A laboratory with a study that was planned and has no worker yet.
fn planned(table: &str) -> Lab {
    let lab = study_lab(table);
    let ran = sweep(&lab, &["--executor", "none", "--detach"]);
    let study = lab.path("study").display().to_string();
    assert_eq!(ran.exits(0).stdout, format!("coldstart worker {study} --allow-unsigned\n"));
    lab
}

/// What `sweep` makes of the study by itself.
fn undisturbed(table: &str) -> BTreeMap<String, Vec<u8>> {
    let lab = study_lab(table);
    sweep(&lab, &["--jobs", "2"]).exits(0);
    outcome(&lab)
}

/// The same of the long study, done once for all tests.
fn undisturbed_long() -> &'static BTreeMap<String, Vec<u8>> {
    static LONG: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    LONG.get_or_init(|| undisturbed(&long()))
}

/// What workers made of it.
fn made(lab: &Lab) -> BTreeMap<String, Vec<u8>> {
    lab.coldstart(&["report", "study"]).exits(0);
    outcome(lab)
}

fn worker(lab: &Lab, study: &str) -> Child {
    begin(lab.command(&["worker", study]))
}

/// A worker that another program starts: these words, and then its own.
fn worker_by(lab: &Lab, words: &[&str], study: &str) -> Child {
    let inner = lab.command(&["worker", study]);
    let mut outer = Command::new(words[0]);
    outer.args(&words[1..]).arg(inner.get_program()).args(inner.get_args());
    let variables: Vec<_> = inner.get_envs().collect();
    variables.iter().for_each(|(name, value)| match value {
        Some(value) => _ = outer.env(name, value),
        None => _ = outer.env_remove(name),
    });
    outer.current_dir(lab.path("")).stdin(Stdio::null());
    begin(outer)
}

fn begin(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> Ran {
    Ran::of(child.wait_with_output().unwrap())
}

fn kill(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// How often the journals of all runs have this event.
fn count(lab: &Lab, event: &str) -> usize {
    let of = |run: &PathBuf| match run.join("journal.jsonl").exists() {
        true => events(run).iter().filter(|found| *found == event).count(),
        false => 0,
    };
    let runs = fs::read_dir(lab.path("study/runs")).into_iter().flatten().flatten();
    runs.map(|run| of(&run.path())).sum()
}

/// Wait until a worker has some rounds of a run behind it, and many before it.
fn in_the_middle(lab: &Lab) {
    until("the first rounds", || lab.path("study/runs").exists() && count(lab, "round-finished") >= 3);
}

/// The claims to all runs and rounds 0, with those that were taken over.
fn claims(lab: &Lab) -> Vec<PathBuf> {
    files_under(&lab.path("study/claims"))
}

/// How many claims somebody holds, or died of.
fn held(lab: &Lab) -> usize {
    let is_held = |claim: &PathBuf| fs::read_to_string(claim).is_ok_and(|said| said.contains("\"state\":\"held\""));
    claims(lab).iter().filter(|claim| is_held(claim)).count()
}

/// A place from which a worker sees the study.
struct Place {
    what: &'static str,
    /// What starts the worker there.
    words: &'static [&'static str],
    /// Whether the folder `elsewhere` is a link; else it is mounted there.
    is_link: bool,
    /// Whether the other worker is started in the same way.
    both: bool,
}

const MOUNTED: &str = "mount --bind study elsewhere && exec \"$@\"";
/// In containers both workers have the number 1.
const CONTAINED: &str = "mount -t proc proc /proc && mount --bind study elsewhere && exec \"$@\"";

const PLACES: [Place; 4] = [
    Place { what: "a link", words: &["env"], is_link: true, both: true },
    Place { what: "a mount", words: &["unshare", "--mount", "sh", "-c", MOUNTED, "sh"], is_link: false, both: false },
    Place {
        what: "a container",
        words: &["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", CONTAINED, "sh"],
        is_link: false,
        both: true,
    },
    Place {
        what: "another time since the boot",
        words: &["unshare", "--time", "--boottime", "86400", "--fork", "--kill-child"],
        is_link: true,
        both: false,
    },
];

/// One is killed in the middle, and the other goes on with its run.
fn work_at(place: &Place) {
    let lab = planned(&long());
    match place.is_link {
        true => std::os::unix::fs::symlink(lab.path("study"), lab.path("elsewhere")).unwrap(),
        false => fs::create_dir(lab.path("elsewhere")).unwrap(),
    }
    let first = worker_by(&lab, place.words, "elsewhere");
    in_the_middle(&lab);
    let second = if place.both { worker_by(&lab, place.words, "study") } else { worker(&lab, "study") };
    until("both at work", || held(&lab) >= 2);
    kill(&first, Signal::KILL);
    ended(first);
    ended(second).exits(0).says("8 of 8 runs are done");
    let what = place.what;
    assert_eq!(made(&lab), *undisturbed_long(), "{what}");
    assert_eq!(count(&lab, "run-started"), 8, "{what}");
    // Each run goes on from a shared round 0, and one from where its worker died; no round is done twice but the one under way. A
    // worker that dies before its run has taken round 0 over leaves a run that does it itself.
    let resumed = count(&lab, "resumed");
    assert!([7, 8, 9].contains(&resumed), "{what}: {resumed}");
    assert!([0, 1].contains(&(count(&lab, "round-finished") - 8 * (ROUNDS + 1))), "{what}");
    // A claim for each run and each round 0, and one more for what was taken over.
    assert!([0, 1].contains(&(claims(&lab).len() - 8 - 4)), "{what}: {:?}", claims(&lab));
}

#[test]
fn two_workers_at_two_places_do_every_run_once_and_what_one_dies_of_the_other_goes_on_with() {
    // Side by side: whoever does not know the dead one waits for a minute.
    std::thread::scope(|scope| {
        for place in &PLACES {
            let tool = place.words.iter().take_while(|word| **word != "sh").copied().chain(["true"]);
            let tool: Vec<&str> = tool.collect();
            if has_tool(tool[0], &tool[1..]) {
                scope.spawn(|| work_at(place));
            }
        }
    });
}

#[test]
fn no_clock_of_any_file_or_host_counts() {
    let lab = planned(&long());
    let skewed = ["faketime", "-f", "+5h"];
    let words = if has_tool("faketime", &["-f", "+5h", "true"]) { &skewed[..] } else { &["env"] };
    let workers = [worker_by(&lab, words, "study"), worker(&lab, "study")];
    let is_over = AtomicBool::new(false);
    let hours = Duration::from_secs(5 * 3600);
    let shift = || {
        for is_late in [false, true].into_iter().cycle().take_while(|_| !is_over.load(Ordering::Relaxed)) {
            let time = if is_late { SystemTime::now() + hours } else { SystemTime::now() - hours };
            for claim in claims(&lab) {
                File::options().write(true).open(claim).unwrap().set_modified(time).unwrap();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(shift);
        let ran = workers.map(ended);
        is_over.store(true, Ordering::Relaxed);
        ran.iter().for_each(|ran| _ = ran.exits(0).says("nothing is left to take"));
    });
    assert_eq!(made(&lab), *undisturbed_long());
    assert_eq!((count(&lab, "resumed"), claims(&lab).len()), (8, 8 + 4));
}

/// A claim of a worker on another host, as the program writes it.
fn claim_of_another_host(beat: u64) -> String {
    let object = format!(
        r#"{{"state":"held","holder":{{"name":"far-1","watched":false,"host":"far","boot":"far","namespace":"far","process":1,"started":1}},"rounds":0,"beat":{beat}}}"#
    );
    let digest: String = Sha256::digest(object.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{},\"check\":\"{}\"}}\n", object.strip_suffix('}').unwrap(), &digest[..16])
}

/// Nothing holds a run for ever but a heartbeat; and that is enough where locks are not shared.
#[test]
fn whatever_stands_in_a_claim_a_run_is_done_unless_its_worker_lives() {
    let apart = CROSSED.replace("\"query.strategy\" = [\"random\", \"entropy\"]", "\"query.strategy\" = [\"random\"]");
    let apart = apart.replace("seed = [1, 2]", "seed = [1, 2, 3, 4]");
    let expected = undisturbed(&apart);
    let lab = planned(&apart);
    let runs: Vec<String> = plan(&lab).into_iter().map(|(run, _)| run).collect();
    let claim = |i: usize| {
        let path = lab.path("study/claims").join(&runs[i]).join("1");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    fs::write(claim(0), b"\xff held by nobody").unwrap();
    assert!(Command::new("mkfifo").arg(claim(1)).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", claim(2)).unwrap();
    fs::create_dir(claim(3)).unwrap();
    File::create(claim(4)).unwrap().set_len(1 << 34).unwrap();
    fs::write(claim(5), claim_of_another_host(7)).unwrap();
    fs::write(claim(6), "").unwrap();
    let (alive, is_over) = (claim(7), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for beat in (1..).take_while(|_| !is_over.load(Ordering::Relaxed)) {
                fs::write(&alive, claim_of_another_host(beat)).unwrap();
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        let ran = ended(worker(&lab, "study"));
        is_over.store(true, Ordering::Relaxed);
        ran.exits(0).says("7 of 8 runs are done").says("1 in the hands of other workers");
    });
    assert!(!lab.path("study/runs").join(&runs[7]).exists());
    fs::remove_file(alive).unwrap();
    lab.coldstart(&["worker", "study"]).exits(0).says("8 of 8 runs are done");
    assert_eq!(made(&lab), expected);
}

#[test]
fn a_worker_that_is_asked_to_stop_leaves_its_run_to_any_other() {
    for signal in [Signal::TERM, Signal::INT] {
        let lab = planned(&long());
        let first = worker(&lab, "study");
        in_the_middle(&lab);
        kill(&first, signal);
        ended(first).exits(130).says("another worker goes on");
        lab.coldstart(&["worker", "study", "--wait"]).exits(0).says("8 of 8 runs are done");
        assert_eq!(made(&lab), *undisturbed_long());
    }
}

#[test]
fn a_study_without_an_executor_is_watched_until_its_workers_are_through() {
    let lab = study_lab(&long());
    let watch = || begin(lab.command(&["sweep", "sweep.toml", "--out", "study", "--executor", "none"]));
    let watching = watch();
    until("the plan", || lab.path("study/inputs.json").exists() && lab.path("study/hashes.json").exists());
    let first = worker(&lab, "study");
    in_the_middle(&lab);
    kill(&watching, Signal::INT);
    ended(watching).exits(130).says("start workers, here or wherever").says("the workers go on");
    let watching = watch();
    let second = worker(&lab, "study");
    [first, second].map(ended).iter().for_each(|ran| _ = ran.exits(0));
    let ran = ended(watching);
    ran.exits(0).says("8 of 8 runs are done");
    assert_eq!(ran.stdout.trim(), "study/report.html");
    assert_eq!(outcome(&lab), *undisturbed_long());
    // A worker that nothing is left for says so.
    lab.coldstart(&["worker", "study"]).exits(0).says("0 of 8 runs").says("nothing is left to take");
}

#[test]
fn an_executor_and_a_worker_started_by_hand_share_a_study() {
    let lab = planned(&long());
    let by_hand = worker(&lab, "study");
    in_the_middle(&lab);
    let swept = begin(lab.command(&["sweep", "sweep.toml", "--out", "study"]));
    until("both at work", || held(&lab) >= 2);
    kill(&by_hand, Signal::KILL);
    ended(by_hand);
    ended(swept).exits(0).says("8 of 8 runs are done");
    assert_eq!(outcome(&lab), *undisturbed_long());
}

#[test]
fn a_failed_run_is_recorded_and_a_run_of_another_device_left_alone() {
    let lab = planned(
        r#"
[sweep]
query = [{ strategy = "random" }, { strategy = "hostile", params = { behaviour = "fail", from_round = 2 }, as = "bad" }]
seed = [1, 2]
"#,
    );
    let (run, _) = plan(&lab).into_iter().find(|(_, labels)| labels[0] == "random").unwrap();
    let run = lab.path("study/runs").join(run);
    fs::create_dir_all(&run).unwrap();
    lab.run("begun", &[]).exits(0);
    fs::copy(lab.path("begun/config.toml"), run.join("config.toml")).unwrap();
    let environment = fs::read_to_string(lab.path("begun/environment.json")).unwrap();
    fs::write(run.join("environment.json"), environment.replace("\"cpu\"", "\"cuda:77\"")).unwrap();
    let ran = lab.coldstart(&["worker", "study"]);
    ran.exits(0).says("1 of 4 runs are done, 2 failed").says("1 begun on a GPU that is not here");
    assert_eq!(files_under(&lab.path("study/failures")).len(), 2);
}

/// Change a file of the plan as if the study had been planned so.
fn planned_with(lab: &Lab, from: &str, to: &str) {
    let text = fs::read_to_string(lab.path("study/inputs.json")).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(lab.path("study/inputs.json"), text.replacen(from, to, 1)).unwrap();
    // Without the list any file may hold anything.
    let _ = fs::remove_file(lab.path("study/hashes.json"));
}

fn first_hash(lab: &Lab, after: &str) -> String {
    let text = fs::read_to_string(lab.path("study/inputs.json")).unwrap();
    let (_, rest) = text.split_once(after).unwrap();
    rest.split('"').find(|word| word.len() > 30).unwrap().to_owned()
}

/// What is another on this machine than where the study was planned.
struct Difference {
    make: fn(&Lab),
    code: i32,
    says: [&'static str; 2],
    /// Whether a plan that is made here ends it.
    a_plan_helps: bool,
}

const DIFFERENCES: [Difference; 6] = [
    Difference {
        make: |lab| planned_with(lab, "\"coldstart\": \"", "\"coldstart\": \"9."),
        code: 1,
        says: ["another version's study", "coldstart 9."],
        a_plan_helps: true,
    },
    Difference {
        make: |lab| planned_with(lab, &first_hash(lab, "\"plugins\""), &"sha256:0".repeat(8)),
        code: 3,
        says: ["planned with other files of these plugins", "entropy"],
        a_plan_helps: true,
    },
    Difference {
        make: |lab| planned_with(lab, &first_hash(lab, "\"data\""), "0"),
        code: 1,
        says: ["holds other images here", "--data DIR"],
        a_plan_helps: true,
    },
    Difference {
        make: |lab| fs::remove_file(lab.path("study/inputs.json")).unwrap(),
        code: 2,
        says: ["an earlier version planned", "plans it anew"],
        a_plan_helps: true,
    },
    Difference {
        make: |lab| fs::write(lab.path("study/inputs.json"), "{}").unwrap(),
        code: 1,
        says: ["inputs.json", "not what was written"],
        a_plan_helps: true,
    },
    Difference {
        make: |lab| _ = lab.write("study/coldstart-plugins.lock", "version = 1\n"),
        code: 3,
        says: ["this machine cannot do the study's runs", "entropy"],
        a_plan_helps: false,
    },
];

#[test]
fn a_machine_that_differs_from_the_plan_is_refused_before_it_touches_a_run() {
    for Difference { make, code, says, a_plan_helps } in DIFFERENCES {
        let lab = planned(CROSSED);
        make(&lab);
        let ran = lab.coldstart(&["worker", "study"]);
        ran.exits(code);
        says.iter().for_each(|part| _ = ran.says(part));
        let touched = ["runs", "claims", "failures", "round0"].map(|name| lab.path("study").join(name).exists());
        assert_eq!(touched, [false; 4], "{says:?}");
        if a_plan_helps {
            sweep(&lab, &["--executor", "none", "--detach"]).exits(0);
            lab.coldstart(&["worker", "study"]).exits(0).says("8 of 8 runs are done");
        }
    }
}

#[test]
fn what_a_worker_cannot_work_on_is_told() {
    let lab = planned(CROSSED);
    lab.run("run", &[]).exits(0);
    fs::create_dir(lab.path("empty")).unwrap();
    let none = &["sweep", "sweep.toml", "--out", "study", "--executor", "none"];
    for (args, code, says) in [
        (&["worker", "nowhere"][..], 2, &["there is no study `nowhere`", "there is `study`"][..]),
        (&["worker", "stduy"], 2, &["did you mean `study`?"]),
        (&["worker", "empty"], 2, &["`empty` is no study: it has no `plan.csv`"]),
        (&["worker", "run"], 2, &["is no study: it is a single run"]),
        (&["worker", "sweep.toml"], 2, &["is no study: it is a file"]),
        (&["worker", "study", "--device", "cuda:77"], 2, &["this machine cannot do the study's runs", "cuda:77"]),
        (&["sweep", "sweep.toml", "--out", "study", "--detach"], 2, &["`--detach` needs", "--executor none"]),
        (&[none, &["--jobs", "2"][..]].concat(), 2, &["`--jobs` needs an executor"]),
        (&[none, &["--sbatch", "--time=1"][..]].concat(), 2, &["`--sbatch` options need `--executor slurm`"]),
    ] {
        let ran = lab.coldstart(args);
        ran.exits(code).says_one_problem();
        says.iter().for_each(|part| _ = ran.says(part));
    }
    assert!(!lab.path("study/runs").exists() && !lab.path("study/claims").exists());
    let dry = lab.coldstart(&[none, &["--dry-run"][..]].concat());
    dry.exits(0).says("each worker would be: coldstart worker");
}

/// The data lie elsewhere on another machine, and are named there as for any command.
#[test]
fn the_folder_of_the_data_may_be_another_one_on_each_machine() {
    let lab = study_lab(CROSSED);
    let config = fs::read_to_string(lab.path("sweep.toml")).unwrap();
    let of_files = "kind = \"npz\"\npath = \"set.npz\"";
    lab.write("sweep.toml", config.replace("kind = \"synthetic\"\nsize = 300\ntest_size = 100", of_files));
    let bytes = |n: usize, most: usize| (0..n).map(|i| (i * 37 % most) as u8).collect::<Vec<u8>>();
    let set = npz(&[
        ("x_train", npy("|u1", "(120, 16, 16)", &bytes(120 * 256, 251))),
        ("y_train", npy("|u1", "(120,)", &bytes(120, 2))),
        ("x_test", npy("|u1", "(40, 16, 16)", &bytes(40 * 256, 241))),
        ("y_test", npy("|u1", "(40,)", &bytes(40, 2))),
    ]);
    lab.write("data/set.npz", &set);
    sweep(&lab, &["--executor", "none", "--detach", "--data", "data"]).exits(0);
    fs::rename(lab.path("data"), lab.path("moved")).unwrap();
    let ran = lab.coldstart(&["worker", "study"]);
    ran.exits(2).says_one_problem().says("the plan finds its data below").says("COLDSTART_DATA");
    let ran = lab.coldstart(&["worker", "study", "--data", "empty"]);
    ran.exits(2).says("this machine cannot do the study's runs").says("set.npz");
    assert!(!lab.path("study/claims").exists());
    fs::rename(lab.path("moved"), lab.path("data")).unwrap();
    // Where they were, nothing has to be said.
    let first = worker(&lab, "study");
    until("a run", || lab.path("study/runs").exists() && count(&lab, "round-finished") >= 1);
    kill(&first, Signal::KILL);
    ended(first);
    // A run goes on with the same data from another folder.
    fs::rename(lab.path("data"), lab.path("other")).unwrap();
    lab.coldstart(&["worker", "study", "--data", "other"]).exits(0).says("8 of 8 runs are done");
}
