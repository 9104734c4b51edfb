//! What strangers' code can reach: from outside, with the real program.
//!
//! Before the sandbox: programs and modules that lie in the current folder. Into it: descriptors that a shell had open, and
//! folders around a script. Within it: threads that a plugin started before it was sealed.

use coldstart_tests::{
    Lab, Ran, TINY, files_under, interpreter_with_kit, library, library_name, path_with, python_libraries, repository,
    run_args, run_with, until,
};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const INNOCENT: &str = "def select(request, host):\n    return request.unlabelled[: request.budget]\n";
const SECRET: &str = "nobody else's business";

/// Modules that the program's own questions, the kit or a strategy import, or could.
const DECOYS: [&str; 14] = [
    "socket.py",
    "json.py",
    "site.py",
    "sitecustomize.py",
    "usercustomize.py",
    "linecache.py",
    "pwd.py",
    "sysconfig.py",
    "encodings/__init__.py",
    "importlib/__init__.py",
    "numpy/__init__.py",
    "msgpack/__init__.py",
    "torch/__init__.py",
    "coldstart_strategy/__init__.py",
];

fn executable(lab: &Lab, name: &str, script: &str) -> PathBuf {
    let file = lab.write(name, format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

/// A lab with an interpreter, and an innocent script; none, said aloud, where there is no Python for it.
fn lab_with_python() -> Option<(Lab, PathBuf)> {
    let libraries = python_libraries()?;
    let lab = Lab::new();
    let interpreter = interpreter_with_kit(&lab, &libraries);
    lab.write("my_idea.py", INNOCENT);
    Some((lab, interpreter))
}

/// In the lab's own folder, decoys of modules: each writes its name down when it runs.
fn lay_decoys(lab: &Lab, folder: &str) -> PathBuf {
    let told = lab.path("told.txt");
    for decoy in DECOYS {
        let line = format!("open({:?}, 'a').write({decoy:?} + '\\n')\n", told.display().to_string());
        lab.write(&format!("{folder}/{decoy}"), line);
    }
    told
}

#[test]
fn no_module_of_the_current_folder_runs_before_the_sandbox() {
    let Some((lab, interpreter)) = lab_with_python() else { return };
    let told = lay_decoys(&lab, ".");
    lab.write("sweep.toml", format!("{TINY}\n[sweep]\nseed = [0, 1]\n").replace("\"entropy\"", "\"my_idea.py\""));
    let here = lab.path("").display().to_string();
    let run = run_args("run", &["query.strategy=my_idea.py", "query.rounds=1"]);
    let sweep = ["sweep", "sweep.toml", "--dry-run"];
    let lock = ["plugin", "lock", "sweep.toml"];
    for (args, python_path) in [
        (&run[..], None),
        (&run, Some("")),
        (&run, Some(".")),
        (&run, Some(":")),
        (&run, Some("./:..")),
        (&run, Some(here.as_str())),
        (&sweep, None),
        (&sweep, Some(".")),
        (&lock, Some(".")),
    ] {
        let mut command = lab.command(args);
        command.env("PATH", path_with(&interpreter)).env("PYTHONSTARTUP", lab.path("json.py"));
        python_path.map(|said| command.env("PYTHONPATH", said));
        Ran::of(command.output().unwrap()).exits(0);
        assert!(!told.exists(), "{args:?} {python_path:?}: {}", fs::read_to_string(&told).unwrap());
        _ = fs::remove_dir_all(lab.path("run"));
    }
}

/// A module of the user's own path stands behind those that Python has, and counts where it stands alone.
#[test]
fn folders_of_the_users_python_path_come_last() {
    let Some((lab, interpreter)) = lab_with_python() else { return };
    lay_decoys(&lab, "own");
    lab.write("own/only_here.py", "answer = 42\n");
    lab.write("my_idea.py", format!("import json, numpy\nimport only_here\nassert only_here.answer == 42\n{INNOCENT}"));
    let mut command = lab.command(&run_args("run", &["query.strategy=my_idea.py"]));
    command.env("PATH", path_with(&interpreter)).env("PYTHONPATH", lab.path("own"));
    Ran::of(command.output().unwrap()).exits(0);
    assert!(!lab.path("told.txt").exists());
}

/// Programs that write down who called them, where, with which variables, and what they were handed.
struct Fakes<'a> {
    lab: &'a Lab,
    folder: &'static str,
}

impl Fakes<'_> {
    fn does(&self, program: &str, line: &str) {
        let log = self.lab.path(&format!("{}.log", self.folder)).display().to_string();
        let look = format!("{{ echo \"called {program}\"; pwd; env; ls -l /proc/$$/fd; }} >> '{log}'");
        executable(self.lab, &format!("{}/{program}", self.folder), &format!("{look}\n{line}"));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.lab.path(&format!("{}.log", self.folder))).unwrap_or_default()
    }

    fn forget(&self) {
        _ = fs::remove_file(self.lab.path(&format!("{}.log", self.folder)));
    }
}

/// A secret in a file, a pipe and a folder, on the descriptors 7 to 9, as a shell hands them over.
struct Handed {
    file: OwnedFd,
    pipe: OwnedFd,
    folder: OwnedFd,
}

impl Handed {
    fn new(lab: &Lab) -> Handed {
        let file = lab.write("home/.ssh/id_test", SECRET);
        let open = |path: &Path| OwnedFd::from(fs::File::open(path).unwrap());
        let (pipe, _) = std::io::pipe().unwrap();
        Handed { file: open(&file), pipe: pipe.into(), folder: open(file.parent().unwrap()) }
    }

    /// Hand them to a command.
    fn to(&self, command: &mut Command) {
        // Away from the numbers that they will have.
        let kept = [&self.file, &self.pipe, &self.folder].map(|fd| fcntl_dupfd_cloexec(fd, 20).unwrap());
        let hand_over = move || -> std::io::Result<()> {
            for (fd, number) in kept.iter().zip(7..) {
                // SAFETY: the number is this child's alone to use; the guard that would close it is forgotten.
                let mut target = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number) };
                rustix::io::dup2(fd.as_fd(), &mut target)?;
                fcntl_setfd(&target, FdFlags::empty())?;
                std::mem::forget(target);
            }
            Ok(())
        };
        // SAFETY: between fork and exec it makes system calls alone.
        unsafe { command.pre_exec(hand_over) };
    }
}

/// What a program is called for, and what must be done to call it.
fn calls<'a>() -> [(&'a str, &'a [&'a str]); 5] {
    [
        ("git", &["plugin", "new", "my-idea"]),
        ("cargo", &["plugin", "build", "--crate", "crate"]),
        ("sbatch", &["sweep", "sweep.toml", "--executor", "slurm", "--detach"]),
        ("python3", &["run", "tiny.toml", "--out", "run", "-s", "query.strategy=my_idea.py"]),
        ("python3", &["sweep", "sweep.toml", "--dry-run"]),
    ]
}

#[test]
fn programs_come_from_absolute_folders_that_nobody_else_can_write_to() {
    let Some((lab, interpreter)) = lab_with_python() else { return };
    lab.write("crate/Cargo.toml", "[package]\nname = \"crate\"\n");
    lab.write("sweep.toml", format!("{TINY}\n[sweep]\nseed = [0, 1]\n").replace("\"entropy\"", "\"my_idea.py\""));
    let (good, bad) = (Fakes { lab: &lab, folder: "good" }, ["here", "open", "open/below"]);
    for program in ["git", "cargo", "sbatch", "squeue", "python3"] {
        let real = interpreter.join("python3").display().to_string();
        let line = match program {
            "python3" => format!("exec '{real}' \"$@\""),
            "sbatch" => "echo 4711".to_owned(),
            _ => "exit 1".to_owned(),
        };
        good.does(program, &line);
        for folder in bad {
            Fakes { lab: &lab, folder }.does(program, &line);
        }
        // The current folder.
        fs::copy(lab.path(&format!("here/{program}")), lab.path(program)).unwrap();
    }
    fs::set_permissions(lab.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    // Programs of a folder that is fine, which everybody can write to themselves.
    executable(&lab, "loose/git", &format!("echo called >> '{}'", lab.path("open.log").display()));
    fs::set_permissions(lab.path("loose/git"), fs::Permissions::from_mode(0o777)).unwrap();
    let absolute = ["open", "open/below", "loose", "good"].map(|name| lab.path(name).display().to_string());
    let path = format!(":.:here:./here:{}:/usr/bin:/bin", absolute.join(":"));
    let handed = Handed::new(&lab);
    for (program, args) in calls() {
        good.forget();
        let mut command = lab.command(args);
        command.env("PATH", &path).env_remove("CARGO").env("SECRET_TOKEN", SECRET);
        handed.to(&mut command);
        let ran = Ran::of(command.output().unwrap());
        let log = good.log();
        assert!(log.contains(&format!("called {program}\n")), "{args:?}: {}\n{log}", ran.stderr);
        for other in ["here.log", "open.log", "open/below.log"] {
            assert!(!lab.path(other).exists(), "{program} of {other}: {}", ran.stderr);
        }
        for number in 7..10 {
            assert!(!log.contains(&format!(" {number} -> ")), "{program} was handed {number}:\n{log}");
        }
        // A job has the environment, and begins in the folder, of whoever submits it.
        let is_job = program == "sbatch";
        assert_eq!(log.contains(SECRET), is_job, "{program}:\n{log}");
        let place = match program {
            "sbatch" => lab.path("").canonicalize().unwrap(),
            "cargo" => lab.path("crate").canonicalize().unwrap(),
            _ => PathBuf::from("/"),
        };
        assert!(log.contains(&format!("\n{}\n", place.display())), "{log}");
    }
    // Where nothing is left, it says what was passed over.
    let mut command = lab.command(calls()[3].1);
    command.env("PATH", format!(".:{}", lab.path("open").display()));
    let ran = Ran::of(command.output().unwrap());
    ran.exits(3)
        .says_one_problem()
        .says("`python3` is not found")
        .says("`.`: it is not absolute")
        .says("everybody can write");
}

/// The processes below a process.
fn descendants(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent_of = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse::<u32>().ok())
    };
    let children: Vec<u32> = pids.filter(|pid| parent_of(pid) == Some(parent)).collect();
    let below: Vec<u32> = children.iter().flat_map(|child| descendants(*child)).collect();
    [children, below].concat()
}

/// What a process has open beyond the standard descriptors, by number.
fn open_files(process: u32) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let number = |entry: &fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
    entries.filter_map(|entry| Some((number(&entry)?, fs::read_link(entry.path()).ok()?))).collect()
}

fn start(lab: &Lab, args: &[&str], path: Option<OsString>) -> Child {
    let mut command = lab.command(args);
    path.map(|path| command.env("PATH", path));
    Handed::new(lab).to(&mut command);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Whether a run in this folder has begun, or one of a study.
fn has_begun(folder: &Path) -> bool {
    files_under(folder).iter().any(|file| file.ends_with("journal.jsonl"))
}

/// Look at all processes below one as soon as it has come so far, and so many are there; then end it.
#[track_caller]
fn none_is_handed_anything(what: &str, mut child: Child, count: usize, so_far: impl Fn() -> bool) {
    let program = child.id();
    let there = || descendants(program).len() >= count && so_far();
    until(what, || there() || child.try_wait().unwrap().is_some());
    let (own, below) = (open_files(program), descendants(program));
    assert!(below.len() >= count, "{what}: {} processes", below.len());
    for process in &below {
        let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        for (number, file) in open_files(*process) {
            let handed = own.iter().any(|(known, theirs)| (7..10).contains(known) && *theirs == file);
            assert!(!handed, "{what}: `{}` has {number} -> {}", name.trim(), file.display());
        }
    }
    assert!(own.iter().any(|(number, file)| *number == 7 && file.ends_with(".ssh/id_test")), "{own:?}");
    _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT);
    std::thread::sleep(std::time::Duration::from_millis(200));
    _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn no_process_inherits_what_a_shell_had_open() {
    let lab = Lab::new();
    in_c(&lab, "waits", "", "for (;;) sleep(1);");
    let forever = "query.params={ behaviour = \"loops-forever\", from_round = 1 }";
    let apart = ["query.strategy=hostile", forever, "plugins.isolation=process", "plugins.timeout=600"];
    none_is_handed_anything("a worker", start(&lab, &run_args("rust", &apart), None), 2, || {
        has_begun(&lab.path("rust"))
    });
    let c = ["query.strategy=waits", "plugins.timeout=600"];
    none_is_handed_anything("a worker in C", start(&lab, &run_args("c", &c), None), 1, || has_begun(&lab.path("c")));
    // The study's own worker, and the plugin's.
    let config = TINY.replace("\"entropy\"", "\"waits\"");
    lab.write("sweep.toml", format!("{config}\n[plugins]\ntimeout = 600\n[sweep]\nseed = [0, 1]\n"));
    let study = start(&lab, &["sweep", "sweep.toml", "--out", "study"], None);
    none_is_handed_anything("a study", study, 2, || has_begun(&lab.path("study")));
    let careless = library("careless").display().to_string();
    let hangs = ["plugin", "check", &careless, "--params", "{\"mistake\":\"hang\"}", "--timeout", "60"];
    none_is_handed_anything("a check", start(&lab, &hangs, None), 1, || true);
    let Some((lab, interpreter)) = lab_with_python() else { return };
    lab.write("my_idea.py", "import time\ndef select(request, host):\n    while True: time.sleep(1)\n");
    let script = run_args("python", &["query.strategy=my_idea.py", "plugins.timeout=600"]);
    let child = start(&lab, &script, Some(path_with(&interpreter)));
    none_is_handed_anything("a worker in Python", child, 1, || has_begun(&lab.path("python")));
}

/// A script that tries to open each path, and keeps what came of it as an artifact.
fn curious(paths: &[&Path]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    format!(
        "import os, sys\n\
         def tried(path):\n\
        \x20   try:\n\
        \x20       return 'open' if os.path.isdir(path) and os.listdir(path) or open(path).read() else 'empty'\n\
        \x20   except OSError as error:\n\
        \x20       return type(error).__name__\n\
         def select(request, host):\n\
        \x20   told = [tried(path) + ' ' + path for path in {paths:?}]\n\
        \x20   host.put_artifact('told.txt', '\\n'.join(told + ['path ' + p for p in sys.path]).encode())\n\
        \x20   return request.unlabelled[: request.budget]\n"
    )
}

fn told(lab: &Lab, out: &str) -> String {
    fs::read_to_string(lab.path(out).join("artifacts/001/told.txt")).unwrap()
}

#[test]
fn a_script_reads_nothing_of_its_own_folder() {
    let Some((lab, interpreter)) = lab_with_python() else { return };
    let files = ["home/.ssh/id_test", "home/notes.txt", "home/deep/er/data.csv", "beside.txt", "home/helper.py"];
    let files = files.map(|file| lab.write(file, SECRET));
    let home = lab.path("home");
    let root = lab.path("");
    let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).chain([home.as_path(), &root, Path::new("/")]).collect();
    symlink(lab.path("home"), lab.path("link")).unwrap();
    for (out, place, python_path) in [
        ("in-home", "home/escape.py", ""),
        ("by-link", "link/escape.py", ""),
        ("above-home", "escape.py", ""),
        ("deeper", "home/deep/escape.py", ""),
        ("home-on-path", "home/escape.py", home.to_str().unwrap()),
        ("above-on-path", "home/deep/escape.py", root.to_str().unwrap()),
        ("root-on-path", "home/escape.py", "/"),
        ("link-on-path", "home/escape.py", lab.path("link").to_str().unwrap()),
    ] {
        lab.write(place, curious(&paths));
        let strategy = format!("query.strategy={place}");
        let mut command = lab.command(&run_args(out, &[&strategy, "query.rounds=1"]));
        command.env("PATH", path_with(&interpreter)).env("PYTHONPATH", python_path);
        Ran::of(command.output().unwrap()).exits(0);
        let told = told(&lab, out);
        assert_eq!(told.matches("PermissionError ").count(), paths.len(), "{out}:\n{told}");
        let own = lab.path(place);
        let own = own.parent().unwrap().canonicalize().unwrap();
        for folder in told.lines().filter_map(|line| line.strip_prefix("path ")) {
            assert!(!own.starts_with(folder), "{out}: {folder}");
        }
        fs::remove_file(lab.path(place)).unwrap();
    }
}

/// An interpreter may be installed into a home itself: its own folders are open, and the rest of the home is not.
#[test]
fn a_home_that_is_a_virtual_environment_stays_closed() {
    let Some(libraries) = python_libraries() else { return };
    let lab = Lab::new();
    let interpreter = interpreter_with_kit(&lab, &libraries);
    let secret = lab.write("venv/.ssh/id_test", SECRET);
    let notes = lab.write("venv/bin/notes.txt", SECRET);
    let home = lab.path("venv");
    lab.write("elsewhere/escape.py", curious(&[&secret, &notes, &home]));
    let mut command = lab.command(&run_args("run", &["query.strategy=elsewhere/escape.py", "query.rounds=1"]));
    command.env("PATH", path_with(&interpreter)).env("HOME", &home);
    Ran::of(command.output().unwrap()).exits(0);
    assert_eq!(told(&lab, "run").matches("PermissionError ").count(), 3, "{}", told(&lab, "run"));
}

const NAMED: &str = "# /// coldstart\n# roles = [\"query\"]\n# modules = [\"helper.py\", \"tools/picks.py\"]\n# ///\n\
                     import helper\nfrom tools import picks\n\
                     def select(request, host):\n    return picks.first(helper.pool(request), request.budget)\n";

/// A lab whose script has two modules.
fn lab_with_modules() -> Option<(Lab, PathBuf)> {
    let (lab, interpreter) = lab_with_python()?;
    lab.write("my_idea.py", NAMED);
    lab.write("helper.py", "def pool(request):\n    return request.unlabelled\n");
    lab.write("tools/picks.py", "def first(ids, budget):\n    return ids[:budget]\n");
    lab.write("tiny.toml", TINY.replace("\"entropy\"", "\"my_idea.py\""));
    Some((lab, interpreter))
}

#[test]
fn the_modules_that_a_script_names_belong_to_its_hash() {
    let Some((lab, interpreter)) = lab_with_modules() else { return };
    let run = |args: &[&str]| {
        Ran::of(lab.command(args).env("PATH", path_with(&interpreter)).output().expect("the program starts"))
    };
    run(&["plugin", "lock", "tiny.toml"]).exits(0);
    run(&["run", "tiny.toml", "--locked", "--out", "first"]).exits(0);
    // As if it had been killed just before its last round.
    let journal = fs::read_to_string(lab.path("first/journal.jsonl")).unwrap();
    let cut: String =
        journal.lines().take_while(|line| !line.contains("run-finished")).map(|line| format!("{line}\n")).collect();
    fs::write(lab.path("first/journal.jsonl"), &cut).unwrap();
    for (module, other) in [
        ("helper.py", "def pool(request):\n    return request.unlabelled[::-1]\n"),
        ("tools/picks.py", "def first(ids, budget):\n    return ids[-budget:]\n"),
        ("helper.py", "def pool(request):\n    return request.unlabelled # the same\n"),
    ] {
        let honest = fs::read(lab.path(module)).unwrap();
        lab.write(module, other);
        run(&["run", "tiny.toml", "--locked", "--out", "other"])
            .exits(3)
            .says_one_problem()
            .says("P004")
            .says("its hash is");
        run(&["resume", "first"]).exits(3).says_one_problem().says("P004").says("the run began with");
        lab.write(module, honest);
    }
    // A script that names less is another one, too.
    lab.write(
        "my_idea.py",
        NAMED
            .replace("\"helper.py\", ", "")
            .replace("import helper\n", "")
            .replace("helper.pool(request)", "request.unlabelled"),
    );
    run(&["run", "tiny.toml", "--locked", "--out", "other"]).exits(3).says_one_problem().says("P004");
    lab.write("my_idea.py", NAMED);
    run(&["resume", "first"]).exits(0);
    assert!(!lab.path("other").exists());
}

#[test]
fn a_module_is_a_file_of_the_scripts_folder_and_is_named() {
    let Some((lab, interpreter)) = lab_with_modules() else { return };
    let elsewhere = Lab::new();
    elsewhere.write("secret.py", SECRET);
    symlink(elsewhere.path("secret.py"), lab.path("linked.py")).unwrap();
    symlink(elsewhere.path(""), lab.path("away")).unwrap();
    lab.write("numpy.py", "");
    lab.write("unnamed.py", "");
    let header = |modules: &str| format!("# /// coldstart\n# modules = [{modules}]\n# ///\n{INNOCENT}");
    for (script, code, words) in [
        (header("\"linked.py\""), "P009", "its module `linked.py` is a link out of the script's folder"),
        (header("\"away/secret.py\""), "P009", "its module `away/secret.py` is a link out of the script's folder"),
        (header("\"missing.py\""), "P009", "its module `missing.py` cannot be read"),
        (header("\"../secret.py\""), "P012", "names `../secret.py`, which cannot be imported"),
        (header("\"/etc/secret.py\""), "P012", "names `/etc/secret.py`"),
        (header("\"numpy.py\""), "P009", "`numpy` in its `modules` is the name of a module that Python has already"),
        (format!("import unnamed\n{INNOCENT}"), "P016", "write `modules = [\"unnamed.py\"]`"),
        (format!("from tools import picks\n{INNOCENT}"), "P016", "write `modules = [\"tools/NAME.py\"]`"),
        (format!("import nowhere\n{INNOCENT}"), "P016", "No module named 'nowhere'"),
    ] {
        lab.write("my_idea.py", script);
        run_with(&lab, &interpreter, "run", &[]).exits(3).says_one_problem().says(code).says(words);
        assert!(!lab.path("run").exists());
    }
}

/// A plugin in C: some code when it is created, and some when it is asked, whose words in `told` are its error.
fn in_c(lab: &Lab, name: &str, create: &str, select: &str) {
    let source = format!(
        r#"#define _GNU_SOURCE
#include "coldstart_plugin.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
COLDSTART_MANIFEST("{{\"format\":1,\"name\":\"{name}\",\"publisher\":\"\",\"version\":\"0.1.0\","
  "\"api\":\"" COLDSTART_API_VERSION "\",\"panic\":\"none\",\"summary\":\"\",\"license\":\"\",\"authors\":\"\","
  "\"cite\":\"\",\"roles\":[\"query\"],\"needs\":[],\"params\":{{\"type\":\"object\"}}}}");
static char told[4096];
static volatile int ready, go, done;
static void *page, *made;
static void tell(const char *what, long answer) {{
  size_t used = strlen(told);
  snprintf(told + used, sizeof told - used, "%s: %s; ", what, answer < 0 ? strerror(errno) : "works");
}}
static void opens(const char *what) {{ tell(what, open("/usr/lib", O_RDONLY | O_DIRECTORY)); }}
static void makes_code(const char *what) {{
  void *code = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  tell(what, code == MAP_FAILED ? -1 : 0);
}}
static void *early(void *unused) {{
  opens("before, open");
  ready = 1;
  while (!go) sched_yield();
  opens("after, open");
  makes_code("after, code");
  tell("after, mprotect", mprotect(page, 4096, PROT_READ | PROT_EXEC));
  done = 1;
  return unused;
}}
static void *starts_another(void *unused) {{
  pthread_t other;
  pthread_create(&other, 0, early, 0);
  for (;;) sleep(1);
  return unused;
}}
static void *filters(void *unused) {{
  struct sock_filter allow = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
  struct sock_fprog program = {{1, &allow}};
  tell("filter", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
  ready = 1;
  for (;;) sleep(1);
  return unused;
}}
static void begin(void *(*body)(void *)) {{
  pthread_t thread;
  page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pthread_create(&thread, 0, body, 0);
  while (!ready) sched_yield();
}}
static void wait_for_it(void) {{ go = 1; while (!done) sched_yield(); }}
static int32_t chosen(void *object, const coldstart_request_v1 *request, const coldstart_host_v1 *host,
                      coldstart_selection_v1 *selection, coldstart_fault_v1 *fault) {{
  (void)object, (void)request, (void)host, (void)selection;
  {select}
  fault->message.ptr = told;
  fault->message.len = strlen(told);
  return COLDSTART_PLUGIN_FAILED;
}}
static int32_t create(void *object, coldstart_text_v1 name, coldstart_text_v1 params, const coldstart_host_v1 *host,
                      const coldstart_selector_v1 **selector, coldstart_fault_v1 *fault) {{
  static coldstart_selector_v1 table;
  (void)object, (void)name, (void)params, (void)host, (void)fault;
  (void)begin, (void)wait_for_it, (void)early, (void)starts_another, (void)filters, (void)made;
  {create}
  table.head = (coldstart_head_v1)COLDSTART_HEAD_V1(coldstart_selector_v1);
  table.select = chosen;
  *selector = &table;
  return COLDSTART_OK;
}}
const coldstart_plugin_v1 coldstart_plugin_entry_v1 = {{COLDSTART_HEAD_V1(coldstart_plugin_v1), COLDSTART_TEXT_V1(coldstart_manifest), create}};
"#
    );
    let source = lab.write(&format!("{name}.c"), source);
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-pthread", "-I"]).arg(repository().join("plugin-api/include")).arg(source);
    let compiled = compiler.arg("-o").arg(lab.path("plugins").join(library_name(name))).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
}

#[test]
fn the_seal_holds_for_threads_that_were_there_before() {
    let lab = Lab::new();
    for (name, create) in [("early", "begin(early);"), ("nested", "begin(starts_another);")] {
        in_c(&lab, name, create, "wait_for_it(); opens(\"main, open\");");
        let ran = lab.run(name, &[&format!("query.strategy={name}")]);
        ran.exits(3).says_one_problem().says("before, open: works");
        for what in ["after, open", "after, code", "after, mprotect", "main, open"] {
            ran.says(&format!("{what}: Permission denied"));
        }
    }
}

/// Code that is made before the seal cannot be changed after it.
#[test]
fn memory_is_never_code_and_writable_at_once() {
    let lab = Lab::new();
    let both = "PROT_READ | PROT_WRITE | PROT_EXEC";
    let mapped = format!(
        "made = mmap(0, 4096, {both}, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); tell(\"map\", made == MAP_FAILED ? -1 : 0);"
    );
    let changed = format!(
        "made = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); tell(\"change\", mprotect(made, 4096, {both}));"
    );
    let allowed = "makes_code(\"alone\");";
    for (name, create, words) in [
        ("maps", mapped.as_str(), "map: Operation not permitted"),
        ("changes", &changed, "change: Operation not permitted"),
        ("code", allowed, "alone: works"),
    ] {
        in_c(&lab, name, create, "");
        lab.run(name, &[&format!("query.strategy={name}")]).exits(3).says_one_problem().says(words);
    }
}

/// A thread with a filter of its own cannot be brought under the seal: the plugin is refused.
#[test]
fn a_thread_that_cannot_be_sealed_ends_the_plugin() {
    let lab = Lab::new();
    in_c(&lab, "filters", "begin(filters);", "");
    let ran = lab.run("run", &["query.strategy=filters"]);
    ran.exits(3).says_one_problem().says("P020").says("seccomp");
    assert!(!lab.path("run").exists());
}
