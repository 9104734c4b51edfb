//! Plugins of another compiler, with the fields of every Rust type shuffled, and of an older C library.

use super::chosen_by;
use coldstart_tests::{Elsewhere, Lab, Ran, has_tool, library_name, repository, run_args};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A strategy's code in one file.
fn source(of: &str) -> String {
    let file = |name: &str| std::fs::read_to_string(repository().join(of).join("src").join(name)).unwrap();
    let code = file("lib.rs");
    match code.contains("\nmod deadly;\n") {
        true => code.replace("\nmod deadly;\n", &format!("\nmod deadly {{\n{}}}\n", file("deadly.rs"))),
        false => code,
    }
}

/// A strategy of this repository, built elsewhere by a nightly compiler that lays out types as it likes.
fn built_by_nightly(name: &str, source: &str) -> PathBuf {
    let mut elsewhere = Elsewhere::new(&format!("coldstart-{name}"), source).with(&["log", "serde_json", "tracing"]);
    elsewhere.toolchain = "nightly";
    elsewhere.rustflags = "-Zrandomize-layout -Zlayout-seed=71";
    elsewhere.built().join(library_name(name))
}

/// What Rust does not promise differs on both sides of the border; what crosses it does not. A mistake shows as memory
/// that is freed wrongly, which glibc then ends the process for.
#[test]
fn a_plugin_of_another_compiler_and_layout_runs() {
    if !has_tool("rustup", &["run", "nightly", "rustc", "--version"]) {
        return;
    }
    let library = built_by_nightly("hostile", &source("tests/hostile"));
    for (behaviour, exit, code) in [("honest", 0, ""), ("logs", 0, ""), ("panic", 3, "P016"), ("nan-scores", 3, "P018")]
    {
        let lab = Lab::new();
        // Signed, because what nobody vouches for never runs inside the program.
        lab.install_signed(&library);
        let behaviour = format!("query.params.behaviour={behaviour}");
        let inside = "plugins.isolation=in-process";
        let mut command = lab.command(&run_args("run", &["query.strategy=hostile", &behaviour, inside]));
        Ran::of(command.env("MALLOC_CHECK_", "3").output().unwrap()).exits(exit).says(code);
    }
    let library = built_by_nightly("margin", &source("plugins/margin"));
    assert!(chosen_by("margin", "query", Some(&library)) == chosen_by("margin", "query", None));
}

/// The newest glibc that a library is bound to, by the names of the versions that it needs.
fn needed_glibc(library: &Path) -> (u32, u32) {
    let listed = Command::new("objdump").arg("-T").arg(library).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let versions = listed.split("GLIBC_").skip(1).filter_map(|rest| {
        let version = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut parts = version.split('.').map_while(|part| part.parse().ok());
        Some((parts.next()?, parts.next()?))
    });
    versions.max().unwrap_or_default()
}

#[test]
fn a_plugin_for_an_old_c_library_runs() {
    if !has_tool("cargo", &["zigbuild", "--help"]) || !has_tool("objdump", &["--version"]) {
        return;
    }
    let mut elsewhere = Elsewhere::new("coldstart-margin", &source("plugins/margin"));
    elsewhere.build = "zigbuild";
    elsewhere.args = vec!["--target".to_owned(), format!("{}-unknown-linux-gnu.2.28", std::env::consts::ARCH)];
    let library = elsewhere.built().join(library_name("margin"));
    let needed = needed_glibc(&library);
    assert!((2, 0) < needed && needed <= (2, 28), "needs glibc {needed:?}");
    assert!(chosen_by("margin", "query", Some(&library)) == chosen_by("margin", "query", None));
}
