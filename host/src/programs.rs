//! The programs that this one starts: found in one way, and started in one way.
//!
//! A name is looked for in the absolute folders of `PATH` that nobody else can write to, never in the current folder. What is
//! started gets a short list of the user's variables, begins in `/`, and inherits no descriptor but its standard ones. A test
//! holds every other file of the program to that.

use rustix::fs::{Mode, OFlags, RawDir};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every program may know of the user.
const USER: [&str; 9] = ["HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TERM", "TMPDIR"];

/// Where certificates lie and how the network is reached, for programs that fetch.
pub const NETWORK: [&str; 10] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// What cargo, rustc and the linkers below them are told by; a name that ends in `_` stands for all that begin so.
pub const CARGO: [&str; 12] = [
    "CARGO_",
    "RUSTUP_",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "CC",
    "CXX",
    "AR",
    "CFLAGS",
    "CXXFLAGS",
    "PKG_CONFIG_PATH",
];

/// Where git finds the user's settings.
pub const GIT: [&str; 4] = ["XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"];

/// What picks an interpreter where `python3` is a script that looks for one, and where its user's packages lie.
const PYTHON: [&str; 7] = [
    "PYENV_ROOT",
    "PYENV_VERSION",
    "ASDF_DIR",
    "ASDF_DATA_DIR",
    "ASDF_PYTHON_VERSION",
    "MISE_DATA_DIR",
    "PYTHONUSERBASE",
];

/// Where a system without `PATH` has its programs.
const USUAL: &str = "/usr/local/bin:/usr/bin:/bin";

/// Takes the current folder out of an interpreter's search, and puts the folders that it was given last.
const SEARCHES_SAFELY: &str = "\
import sys
sys.path[:] = [folder for folder in sys.path if folder[:1] == '/']
sys.path += [folder for folder in sys.argv.pop(1).split(':') if folder and folder not in sys.path]
";

/// The first program of that name in the folders of `PATH` that count.
///
/// A folder counts if it is absolute and nobody but its owner can write to it; where that is this user or root, a group may,
/// too. Errs with `NotFound` if there is none; the message says which folders were left aside.
pub fn find(name: &str) -> io::Result<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return Err(io::Error::new(ErrorKind::InvalidInput, format!("`{name}` is no name of a program")));
    }
    let (folders, aside) = folders_of("PATH", USUAL);
    let found = folders.iter().map(|folder| folder.join(name)).find(|file| is_program(file));
    found.ok_or_else(|| {
        let aside: Vec<String> = aside.iter().map(|(folder, why)| format!("`{}`: {why}", folder.display())).collect();
        let aside =
            if aside.is_empty() { String::new() } else { format!(" (left aside of PATH: {})", aside.join(", ")) };
        io::Error::new(ErrorKind::NotFound, format!("`{name}` is not found{aside}"))
    })
}

/// A program of `PATH` by its name; errs as [`find`] does.
pub fn command(name: &str) -> io::Result<Command> {
    Ok(at(&find(name)?))
}

/// The program in this file.
pub fn at(file: &Path) -> Command {
    let mut command = bare(file);
    command.env("PATH", path());
    pass(&mut command, &USER);
    command
}

/// Tell a program more of the user's variables; a name that ends in `_` stands for all that begin so.
pub fn pass(command: &mut Command, names: &[&str]) {
    let named = |variable: &OsStr| {
        let prefixes = names.iter().filter(|name| name.ends_with('_'));
        names.iter().any(|name| variable == *name)
            || prefixes.into_iter().any(|prefix| variable.as_bytes().starts_with(prefix.as_bytes()))
    };
    command.envs(std::env::vars_os().filter(|(variable, _)| named(variable)));
}

/// A program of `PATH` that hands the user's whole environment on, and begins where the user is: those of a cluster do that
/// with the jobs that they take. Errs as [`find`] does.
pub fn with_environment(name: &str) -> io::Result<Command> {
    Ok(with_all(&find(name)?))
}

/// This program again, for more of the user's own work: with the user's environment, in the user's folder.
pub fn again() -> Command {
    with_all(&std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into()))
}

/// This program again, knowing nothing of the user: the worker of a plugin.
pub fn worker() -> Command {
    let mut command = bare(Path::new("/proc/self/exe"));
    command.arg0("coldstart");
    command
}

/// A program that runs code of the user's own: with the user's whole environment, in a folder, and no longer than this process.
///
/// Folders that hold a libtorch are left out of where it finds libraries: that is this program's, and the code may bring another.
pub fn of_the_users_own(file: &Path, folder: &Path) -> Command {
    let mut command = with_all(file);
    let mut libraries = library_path();
    libraries.retain(|folder| !folder.join("libtorch.so").exists());
    match libraries.is_empty() {
        true => command.env_remove("LD_LIBRARY_PATH"),
        false => command.env("LD_LIBRARY_PATH", joined(&libraries)),
    };
    command.current_dir(folder);
    // SAFETY: between fork and exec it makes one system call, and allocates nothing.
    unsafe { command.pre_exec(end_with_parent) };
    command
}

/// Have the kernel end this process when the thread that started it has ended.
fn end_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?)
}

/// A program that takes the place of this process by `exec`, with the environment that this process has.
pub fn in_place(file: &Path) -> Command {
    let mut command = Command::new(file);
    keep_descriptors(&mut command);
    command
}

/// The `python3` of `PATH` with a little program, which finds modules in its own folders and then in `folders`, and never in
/// the current one. `sys.argv` holds what is added to the command. Errs as [`find`] does.
pub fn python(program: &str, folders: &[PathBuf]) -> io::Result<Command> {
    let mut command = command("python3")?;
    pass(&mut command, &PYTHON);
    // Python 3.11 and newer leave the current folder out from the very beginning; it is `/` in any case.
    command.env("PYTHONSAFEPATH", "1").env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg("-c").arg(format!("{SEARCHES_SAFELY}{program}")).arg(joined(folders));
    Ok(command)
}

/// The folders of the user's `PYTHONPATH` that count, as those of `PATH` do.
pub fn python_path() -> Vec<PathBuf> {
    folders_of("PYTHONPATH", "").0
}

/// The folders of the user's `LD_LIBRARY_PATH` that are absolute.
pub fn library_path() -> Vec<PathBuf> {
    let said = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    std::env::split_paths(&said).filter(|folder| folder.is_absolute()).collect()
}

/// Let no program that this one starts have the descriptors that it was started with, but for the standard ones.
///
/// To be called first of all, before there are others.
pub fn hide_inherited_descriptors() {
    // Where neither way is open, each start of a program tries again and says so.
    _ = close_on_exec();
}

/// No variables, the folder `/`, the standard descriptors.
fn bare(file: &Path) -> Command {
    let mut command = Command::new(file);
    command.env_clear().current_dir("/");
    tell_libraries(&mut command);
    keep_descriptors(&mut command);
    command
}

fn with_all(file: &Path) -> Command {
    let mut command = Command::new(file);
    command.env("PATH", path());
    tell_libraries(&mut command);
    keep_descriptors(&mut command);
    command
}

/// The folders of `PATH` that count, for whatever the program starts itself.
fn path() -> OsString {
    joined(&folders_of("PATH", USUAL).0)
}

/// Where this program and others find their libraries; an empty entry would be the current folder.
fn tell_libraries(command: &mut Command) {
    match library_path() {
        folders if folders.is_empty() => command.env_remove("LD_LIBRARY_PATH"),
        folders => command.env("LD_LIBRARY_PATH", joined(&folders)),
    };
}

fn joined(folders: &[PathBuf]) -> OsString {
    std::env::join_paths(folders).expect("they were split at the colons")
}

/// A folder that does not count, and why.
type Aside = (PathBuf, String);

/// The folders in a variable that count, in order, and those that do not.
fn folders_of(variable: &str, otherwise: &str) -> (Vec<PathBuf>, Vec<Aside>) {
    let said = std::env::var_os(variable).filter(|said| !said.is_empty()).unwrap_or_else(|| otherwise.into());
    sorted_out(std::env::split_paths(&said).collect())
}

fn sorted_out(said: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<Aside>) {
    let (mut folders, mut aside) = (Vec::new(), Vec::new());
    for folder in said {
        match in_whose_hands(&folder) {
            Ok(()) => folders.push(folder),
            Err(why) => aside.push((folder, why)),
        }
    }
    (folders, aside)
}

/// Errs with the reason why somebody else could put a program into a folder, or exchange the folder. One that is not there
/// holds nothing.
fn in_whose_hands(folder: &Path) -> Result<(), String> {
    if !folder.is_absolute() {
        return Err("it is not absolute".to_owned());
    }
    let Ok(real) = folder.canonicalize() else { return Ok(()) };
    let metadata = std::fs::metadata(&real).map_err(|error| error.to_string())?;
    check_mode(metadata.uid(), metadata.mode())?;
    let above = folder.ancestors().skip(1).chain(real.ancestors().skip(1));
    for above in above {
        // In a folder with the sticky bit nobody can exchange what belongs to others.
        let mode = std::fs::metadata(above).map_err(|error| error.to_string())?.mode();
        if mode & 0o002 != 0 && mode & 0o1000 == 0 {
            return Err(format!("everybody can write to `{}`", above.display()));
        }
    }
    Ok(())
}

/// A group of this user's or root's folder is one that they have chosen; that of another user is not.
fn check_mode(user: u32, mode: u32) -> Result<(), String> {
    let is_relied_on = user == 0 || user == rustix::process::getuid().as_raw();
    match mode {
        mode if mode & 0o002 != 0 => Err("everybody can write to it".to_owned()),
        mode if mode & 0o020 != 0 && !is_relied_on => {
            Err(format!("it belongs to user {user}, and a whole group can write to it"))
        }
        _ => Ok(()),
    }
}

/// A file that can be executed, and that only its owner can change.
fn is_program(file: &Path) -> bool {
    let Ok(metadata) = std::fs::metadata(file) else { return false };
    let executable = rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok();
    metadata.is_file() && executable && check_mode(metadata.uid(), metadata.mode()).is_ok()
}

/// Have a program begin with the standard descriptors alone, whichever a library has left open meanwhile.
fn keep_descriptors(command: &mut Command) {
    // SAFETY: between fork and exec `close_on_exec` makes system calls alone, and allocates nothing.
    unsafe { command.pre_exec(close_on_exec) };
}

/// Mark every descriptor but the standard ones to be closed by exec. Allocates nothing.
fn close_on_exec() -> io::Result<()> {
    // SAFETY: the call takes three numbers and touches no memory; it only sets a flag, no descriptor is closed under anybody.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    // Before Linux 5.11 there is no such flag.
    if done == 0 { Ok(()) } else { close_each_on_exec(Path::new("/proc/self/fd")) }
}

/// The same, one by one.
fn close_each_on_exec(listing: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(listing, flags, Mode::empty())?;
    let mut space = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&folder, &mut space);
    while let Some(entry) = entries.next() {
        let number = entry?.file_name().to_str().ok().and_then(|name| name.parse::<RawFd>().ok());
        let Some(number) = number.filter(|number| *number > 2 && *number != folder.as_raw_fd()) else { continue };
        // SAFETY: sets a flag of a descriptor of this process; one that is gone meanwhile is an error that does not matter.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::FromRawFd;
    use std::os::unix::fs::PermissionsExt;

    fn with_mode(path: &Path, mode: u32) -> &Path {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn only_absolute_folders_that_nobody_else_can_write_to_count() {
        let lab = tempfile::tempdir().unwrap();
        let made = |name: &str, mode| {
            let folder = lab.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            with_mode(&folder, mode).to_owned()
        };
        let (own, groups, open) = (made("own", 0o755), made("group", 0o775), made("open", 0o777));
        let (below, sticky) = (made("open/below", 0o755), made("sticky", 0o1777));
        let kept = made("sticky/kept", 0o755);
        let link = lab.path().join("link");
        std::os::unix::fs::symlink(&open, &link).unwrap();
        let missing = lab.path().join("missing");
        for (folder, why) in [
            (own.as_path(), None),
            (&groups, None),
            (&kept, None),
            (&missing, None),
            (&open, Some("everybody can write to it")),
            (&sticky, Some("everybody can write to it")),
            (&link, Some("everybody can write to it")),
            (&below, Some("everybody can write to `")),
            (Path::new(""), Some("not absolute")),
            (Path::new("."), Some("not absolute")),
            (Path::new("bin"), Some("not absolute")),
            (Path::new("../bin"), Some("not absolute")),
        ] {
            let (folders, aside) = sorted_out(vec![folder.to_owned()]);
            match why {
                None => assert_eq!(folders, [folder]),
                Some(why) => assert!(aside[0].1.contains(why), "{}: {aside:?}", folder.display()),
            }
        }
    }

    #[test]
    fn who_else_can_write_to_a_file_decides() {
        let me = rustix::process::getuid().as_raw();
        for (user, mode, good) in [
            (me, 0o755, true),
            (me, 0o775, true),
            (0, 0o775, true),
            (me, 0o757, false),
            (0, 0o777, false),
            (me + 1234, 0o755, true),
            (me + 1234, 0o775, false),
        ] {
            assert_eq!(check_mode(user, mode).is_ok(), good, "{user} {mode:o}");
        }
    }

    #[test]
    fn a_name_is_looked_for_and_a_path_is_none() {
        assert!(find("sh").unwrap().is_absolute());
        for (name, kind) in [
            ("", ErrorKind::InvalidInput),
            ("./sh", ErrorKind::InvalidInput),
            ("/bin/sh", ErrorKind::InvalidInput),
            ("no-such-program", ErrorKind::NotFound),
        ] {
            assert_eq!(find(name).unwrap_err().kind(), kind, "{name}");
        }
    }

    /// What a little shell script prints that is started so.
    fn says(mut command: Command, script: &str) -> String {
        let output = command.args(["-c", script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_program_begins_in_the_root_with_named_variables() {
        let sh = find("sh").unwrap();
        assert_eq!(says(at(&sh), "pwd"), "/\n");
        let names = says(at(&sh), "env | sed 's/=.*//'");
        // The shell's own.
        let own = ["PWD", "OLDPWD", "SHLVL", "_", "PATH", "LD_LIBRARY_PATH"];
        for name in names.lines() {
            assert!(own.contains(&name) || USER.contains(&name), "{name}");
        }
        let mut told = at(&sh);
        pass(&mut told, &["CARGO_"]);
        assert!(says(told, "env").contains("CARGO_MANIFEST_DIR="));
        assert_eq!(says(bare(&sh), "echo $HOME"), "\n");
    }

    /// A descriptor that every child would inherit.
    fn inheritable() -> fs::File {
        let file = tempfile::tempfile().unwrap();
        // SAFETY: duplicates a descriptor that is open, and the new one has no other owner.
        unsafe { fs::File::from_raw_fd(libc::dup(file.as_raw_fd())) }
    }

    #[test]
    fn no_descriptor_is_inherited() {
        let sh = find("sh").unwrap();
        let kept = inheritable();
        let look = format!("test -e /proc/self/fd/{} && echo inherited || echo closed", kept.as_raw_fd());
        for command in [at(&sh), bare(&sh), with_all(&sh), in_place(&sh)] {
            assert_eq!(says(command, &look), "closed\n");
        }
        // One by one, as on an old kernel.
        let (one, other) = (inheritable(), inheritable());
        close_each_on_exec(Path::new("/proc/self/fd")).unwrap();
        for file in [one, other] {
            let flags = rustix::io::fcntl_getfd(&file).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
    }
}
