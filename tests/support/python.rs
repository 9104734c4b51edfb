//! Interpreters that have the kit for Python.

use crate::{Lab, Ran, repository, run_args};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The output of a little Python program; none where it fails.
pub fn python(interpreter: &Path, program: &str) -> Option<String> {
    let output = Command::new(interpreter).args(["-c", program]).current_dir("/").output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned())
}

/// The folders that msgpack and numpy are imported from, a line each; none, said aloud, where they are missing.
pub fn python_libraries() -> Option<String> {
    let program = "import msgpack, numpy, os\n\
                   for m in msgpack, numpy: print(os.path.dirname(os.path.dirname(m.__file__)))";
    let found = python(Path::new("python3"), program);
    if found.is_none() {
        eprintln!("skipped: there is no python3 with msgpack and numpy (python3 -m pip install msgpack numpy)");
    }
    found
}

/// A folder with a `python3` that has the kit installed as pip would, without pip and without the network.
pub fn interpreter_with_kit(lab: &Lab, libraries: &str) -> PathBuf {
    let venv = lab.path("venv");
    let made = Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(&venv).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let packages = python(&venv.join("bin/python3"), "import sysconfig; print(sysconfig.get_path('purelib'))");
    let packages = PathBuf::from(packages.unwrap());
    std::fs::write(packages.join("libraries.pth"), libraries).unwrap();
    let kit = packages.join("coldstart_strategy");
    std::fs::create_dir(&kit).unwrap();
    for file in std::fs::read_dir(repository().join("python/coldstart_strategy")).unwrap().flatten() {
        if file.path().is_file() {
            std::fs::copy(file.path(), kit.join(file.file_name())).unwrap();
        }
    }
    venv.join("bin")
}

/// Run the tiny experiment with that interpreter first on the path.
pub fn run_with(lab: &Lab, interpreter: &Path, out: &str, overrides: &[&str]) -> Ran {
    let args = run_args(out, overrides);
    let mut command = lab.command(&[&args[..], &["--allow-unsigned"]].concat());
    Ran::of(command.env("PATH", path_with(interpreter)).output().expect("the program starts"))
}

/// The user's `PATH` with a folder before all others.
pub fn path_with(folder: &Path) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [folder.to_owned()].into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(folders).expect("folders without colons")
}
