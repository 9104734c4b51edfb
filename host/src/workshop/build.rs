//! `plugin build`: drives cargo, then measures what came out.

use super::error::WorkshopError;
use crate::limits;
use crate::plugin::{ENTRIES, Facts, Manifest};
use crate::{programs, wait};
use serde::Serialize;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The glibc to build for where cargo-zigbuild can: that of RHEL 8 and Debian 10.
const FLOOR: &str = "2.28";

/// What to do about a build that was ended.
const LONG: &str = "the same command again goes on with what is built; `cargo build --release` has no time limit";

/// What is to be built.
#[derive(Debug)]
pub struct BuildOrder {
    /// The crate.
    pub crate_folder: PathBuf,
    /// For which machine; absent, for this one.
    pub target: Option<String>,
    /// For which glibc; absent, 2.28 where cargo-zigbuild is installed, else this system's.
    pub glibc: Option<String>,
    /// Where the library goes; absent, `dist` in the crate.
    pub output: Option<PathBuf>,
}

/// What was built.
#[derive(Debug, Serialize)]
pub struct Built {
    /// The library.
    pub file: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// What it says of itself.
    pub manifest: Manifest,
    /// What was measured of it.
    pub facts: Facts,
    /// The command that built it.
    pub command: String,
}

/// Build a crate's library; `say` is told which way and why. cargo's own messages go to stderr.
///
/// Errs if there is no crate, if cargo fails, or if what it made is no plugin.
pub fn build(order: &BuildOrder, say: impl Fn(&str)) -> Result<Built, WorkshopError> {
    let manifest = order.crate_folder.join("Cargo.toml");
    let manifest = manifest.canonicalize().map_err(|_| {
        let hint = "name the crate's folder with --crate, or make one with `coldstart plugin new`";
        WorkshopError::Usage(format!("{} is not there", manifest.display()), hint.to_owned())
    })?;
    let (arguments, why) = way(order, has_zigbuild())?;
    let command = format!("cargo {}", arguments.join(" "));
    say(&format!("{command}: {why}"));
    let library = cargo(&manifest, &arguments)?;
    let output = order.output.clone().unwrap_or_else(|| order.crate_folder.join("dist"));
    let file = output.join(library.file_name().unwrap_or_default());
    let failed = |error| WorkshopError::file(&file, &error);
    std::fs::create_dir_all(&output).map_err(failed)?;
    std::fs::copy(&library, &file).map_err(failed)?;
    let bytes = std::fs::read(&file).map_err(failed)?;
    let name = file.display().to_string();
    Ok(Built {
        bytes: bytes.len() as u64,
        manifest: Manifest::read_of_any_machine(&name, &bytes)?,
        facts: Facts::read(&name, &bytes, &ENTRIES)?,
        file,
        command,
    })
}

/// cargo's arguments, and why these.
fn way(order: &BuildOrder, has_zigbuild: bool) -> Result<(Vec<String>, String), WorkshopError> {
    let glibc = order.glibc.as_deref().unwrap_or(FLOOR);
    let (words, why) = match (has_zigbuild, &order.glibc, &order.target) {
        (true, _, target) => {
            let this = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
            let target = format!("{}.{glibc}", target.as_ref().unwrap_or(&this));
            (
                vec!["zigbuild".to_owned(), "--target".to_owned(), target],
                format!("cargo-zigbuild links for glibc {glibc}"),
            )
        }
        (false, Some(glibc), _) => {
            let hint = "cargo install cargo-zigbuild, and zig (pip install ziglang); or leave --glibc out";
            let message = format!("a build for glibc {glibc} needs cargo-zigbuild, which is not installed");
            return Err(WorkshopError::Usage(message, hint.to_owned()));
        }
        (false, None, target) => {
            let target = target.iter().flat_map(|target| ["--target".to_owned(), target.clone()]);
            let words = std::iter::once("build".to_owned()).chain(target).collect();
            (words, "cargo-zigbuild is not installed, so the library is linked for this system's glibc".to_owned())
        }
    };
    Ok(([words, vec!["--release".to_owned(), "--lib".to_owned()]].concat(), why))
}

fn has_zigbuild() -> bool {
    let Ok(mut cargo) = cargo_program() else { return false };
    cargo.args(["zigbuild", "--help"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    wait::output(&mut cargo, limits::CARGO_HELP).is_ok_and(|output| output.status.success())
}

/// cargo, which runs with what the user has set for it; the one that started this program, if it was one.
fn cargo_program() -> std::io::Result<Command> {
    let named = std::env::var_os("CARGO").map(PathBuf::from).filter(|file| file.is_absolute());
    let mut cargo = match named {
        Some(file) => programs::at(&file),
        None => programs::command("cargo")?,
    };
    programs::pass(&mut cargo, &programs::CARGO);
    programs::pass(&mut cargo, &programs::NETWORK);
    Ok(cargo)
}

/// Run cargo; the dynamic library that it made of this crate.
fn cargo(manifest: &Path, arguments: &[String]) -> Result<PathBuf, WorkshopError> {
    let hint = || "is cargo installed and on the PATH?".to_owned();
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::TimedOut => WorkshopError::Failed(format!("cargo {error}"), LONG.to_owned()),
        ErrorKind::Interrupted => WorkshopError::Failed("cargo was stopped".to_owned(), LONG.to_owned()),
        _ => WorkshopError::Failed(format!("cargo cannot be run: {error}"), hint()),
    };
    let mut command = cargo_program().map_err(failed)?;
    // Settings of cargo's own are looked for from there upwards.
    command.current_dir(manifest.parent().unwrap_or(Path::new("/")));
    command.args(arguments).args(["--message-format", "json-render-diagnostics", "--manifest-path"]).arg(manifest);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let output = wait::output(&mut command, limits::CARGO).map_err(failed)?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let library = messages.lines().rev().find_map(|line| library_of(line, manifest));
    if !output.status.success() {
        let message = format!("cargo {} failed", arguments.join(" "));
        return Err(WorkshopError::Failed(message, "cargo's own messages stand above".to_owned()));
    }
    library.ok_or_else(|| {
        let hint = "its Cargo.toml needs [lib] with crate-type = [\"cdylib\", \"lib\"]";
        WorkshopError::Failed("the crate makes no dynamic library".to_owned(), hint.to_owned())
    })
}

/// The dynamic library that a message of cargo's announces, if it is this crate's.
fn library_of(message: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let own =
        message["reason"] == "compiler-artifact" && message["manifest_path"].as_str().map(Path::new) == Some(manifest);
    let files = message["filenames"].as_array().filter(|_| own)?;
    files.iter().filter_map(Value::as_str).map(PathBuf::from).find(|file| file.extension().is_some_and(|e| e == "so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zigbuild_is_used_where_it_is_and_asked_for_where_it_must_be() {
        let this = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let arm = "aarch64-unknown-linux-gnu";
        for (zigbuild, target, glibc, expected) in [
            (true, None, None, format!("zigbuild --target {this}.2.28 --release --lib")),
            (true, None, Some("2.31"), format!("zigbuild --target {this}.2.31 --release --lib")),
            (true, Some(arm), None, format!("zigbuild --target {arm}.2.28 --release --lib")),
            (false, None, None, "build --release --lib".to_owned()),
            (false, Some(arm), None, format!("build --target {arm} --release --lib")),
            (false, None, Some("2.28"), "needs cargo-zigbuild".to_owned()),
        ] {
            let order = BuildOrder {
                crate_folder: PathBuf::new(),
                target: target.map(str::to_owned),
                glibc: glibc.map(str::to_owned),
                output: None,
            };
            match way(&order, zigbuild) {
                Ok((arguments, _)) => assert_eq!(arguments.join(" "), expected),
                Err(error) => assert!(error.to_string().contains(&expected), "{error}"),
            }
        }
    }

    #[test]
    fn only_this_crate_s_library_counts() {
        let message = |reason: &str, manifest: &str, file: &str| {
            format!(r#"{{"reason":"{reason}","manifest_path":"{manifest}","filenames":["/t/a.rlib","{file}"]}}"#)
        };
        for (message, expected) in [
            (message("compiler-artifact", "/a/Cargo.toml", "/t/a.so"), Some(PathBuf::from("/t/a.so"))),
            (message("compiler-artifact", "/b/Cargo.toml", "/t/b.so"), None),
            (message("compiler-artifact", "/a/Cargo.toml", "/t/a.rmeta"), None),
            (message("build-script-executed", "/a/Cargo.toml", "/t/a.so"), None),
            ("no JSON".to_owned(), None),
        ] {
            assert_eq!(library_of(&message, Path::new("/a/Cargo.toml")), expected);
        }
    }
}
