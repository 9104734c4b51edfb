//! Crates that know the repository only as their author would: made, built and tested outside its workspace.

use crate::{build_folder, repository};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A crate of its own: it shares no workspace with the host, only the contract.
pub struct Elsewhere {
    folder: TempDir,
    /// The toolchain, such as `nightly`; the ordinary one if empty.
    pub toolchain: &'static str,
    /// The cargo command that builds.
    pub build: &'static str,
    /// More arguments for cargo.
    pub args: Vec<String>,
    /// Flags for rustc.
    pub rustflags: &'static str,
}

impl Elsewhere {
    /// A strategy's crate, against the contract of this repository.
    pub fn new(name: &str, source: &str) -> Elsewhere {
        Elsewhere::against(&repository().join("plugin-api"), name, source)
    }

    /// A strategy's crate, against the contract in this folder.
    pub fn against(contract: &Path, name: &str, source: &str) -> Elsewhere {
        let manifest = format!(
            r#"
[package]
name = "{name}"
description = "Made elsewhere"
version = "0.3.0"
edition = "2024"
[lib]
crate-type = ["cdylib"]
[dependencies]
coldstart-plugin-api = {{ path = "{}" }}
[workspace]
[profile.release]
opt-level = 1 # somebody waits for it
"#,
            contract.display()
        );
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).expect("a file");
        std::fs::create_dir(folder.path().join("src")).expect("a folder");
        write("Cargo.toml", &manifest);
        write("src/lib.rs", source);
        // The same versions as the workspace's, so that nothing needs the network.
        std::fs::copy(repository().join("Cargo.lock"), folder.path().join("Cargo.lock")).expect("a lock file");
        Elsewhere { folder, toolchain: "", build: "build", args: Vec::new(), rustflags: "" }
    }

    /// Let it depend on these crates, in the versions of the workspace.
    pub fn with(self, crates: &[&str]) -> Elsewhere {
        let file = self.path().join("Cargo.toml");
        let manifest = std::fs::read_to_string(&file).expect("the manifest");
        let lines: String = crates.iter().map(|name| format!("{name} = \"*\"\n")).collect();
        std::fs::write(&file, manifest.replace("[workspace]", &format!("{lines}[workspace]"))).expect("a file");
        self
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Build it as its author would, and give back the folder with the library. What it depends on stays built for the
    /// next time.
    ///
    /// # Panics
    /// If it cannot be built.
    pub fn built(&self) -> PathBuf {
        let target = self.cargo(self.build);
        let triple = self.args.iter().position(|arg| arg == "--target").map(|at| &self.args[at + 1]);
        let triple = triple.map(|triple| triple.split(".2.").next().unwrap_or_default());
        triple.map_or(target.clone(), |triple| target.join(triple)).join("release")
    }

    /// Run its own tests.
    ///
    /// # Panics
    /// If one fails.
    pub fn tested(&self) {
        self.cargo("test");
    }

    fn cargo(&self, task: &str) -> PathBuf {
        // Other flags make other files of every crate: each combination has a folder.
        let folder = ["outside", self.toolchain, if self.build == "build" { "" } else { self.build }].concat();
        let target = build_folder().parent().expect("target/PROFILE").join(folder);
        let mut cargo = match self.toolchain {
            "" => Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into())),
            toolchain => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", toolchain, "cargo"]);
                // Cargo says this to what it runs; another toolchain must not hear it.
                for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
                    rustup.env_remove(name);
                }
                rustup
            }
        };
        cargo.args([task, "--release", "--offline"]).args(&self.args).current_dir(self.path());
        cargo.env("CARGO_TARGET_DIR", &target);
        if !self.rustflags.is_empty() {
            cargo.env("RUSTFLAGS", self.rustflags);
        }
        let output = cargo.output().expect("cargo starts");
        assert!(output.status.success(), "cargo {task}:\n{}", String::from_utf8_lossy(&output.stderr));
        target
    }
}

/// Whether a tool is there: a test that lacks one says so, and is skipped.
pub fn has_tool(program: &str, args: &[&str]) -> bool {
    let there = Command::new(program).args(args).output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("skipped: `{program} {}` does not work here", args.join(" "));
    }
    there
}
