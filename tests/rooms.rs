//! The architecture, held to: who may know whom, and that the maps of the country are true.

use coldstart_tests::{Lab, files_under, repository};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a strategy may be built with beside the contract: plain maths.
const PLAIN_MATHS: [&str; 6] = ["libm", "nalgebra", "ndarray", "num-traits", "ordered-float", "statrs"];

/// A room of the host and the words that its code must not hold.
const ROOMS: [(&str, &[&str]); 13] = [
    (
        "data",
        &[
            "tch",
            "libloading",
            "crate::plugin",
            "crate::engine",
            "crate::operations",
            "crate::experiment",
            "crate::cli",
        ],
    ),
    (
        "engine",
        &["libloading", "crate::plugin", "crate::config", "crate::operations", "crate::experiment", "crate::cli"],
    ),
    (
        "plugin",
        &[
            "tch",
            "crate::data",
            "crate::engine",
            "crate::operations",
            "crate::experiment",
            "crate::config",
            "crate::cli",
        ],
    ),
    (
        "learner",
        &[
            "tch",
            "libloading",
            "dlopen",
            "crate::data",
            "crate::engine",
            "crate::operations",
            "crate::experiment",
            "crate::session",
            "crate::config",
            "crate::cli",
        ],
    ),
    (
        "bench",
        &[
            "tch",
            "libloading",
            "dlopen",
            "crate::data",
            "crate::plugin",
            "crate::operations",
            "crate::experiment",
            "crate::session",
            "crate::config",
            "crate::cli",
        ],
    ),
    ("operations", &["libloading", "dlopen", "crate::plugin", "crate::experiment", "crate::session", "crate::cli"]),
    (
        "experiment",
        &[
            "tch",
            "libloading",
            "dlopen",
            "crate::plugin",
            "crate::engine",
            "crate::operations",
            "crate::session",
            "crate::cli",
        ],
    ),
    (
        "study",
        &[
            "tch",
            "libloading",
            "dlopen",
            "crate::data",
            "crate::engine",
            "crate::plugin",
            "crate::project",
            "crate::report",
            "crate::cli",
        ],
    ),
    (
        "project",
        &[
            "tch",
            "libloading",
            "dlopen",
            "crate::engine",
            "crate::plugin",
            "crate::operations",
            "crate::session",
            "crate::config",
            "crate::report",
            "crate::cli",
        ],
    ),
    (
        "report",
        &[
            "tch",
            "libloading",
            "crate::engine",
            "crate::plugin",
            "crate::experiment",
            "crate::operations",
            "crate::project",
            "crate::cli",
        ],
    ),
    ("config", &["tch", "libloading", "crate::plugin", "crate::experiment", "crate::session", "crate::cli"]),
    (
        "workshop",
        &[
            "tch",
            "libloading",
            "dlopen",
            "crate::data",
            "crate::engine",
            "crate::operations",
            "crate::experiment",
            "crate::session",
            "crate::config",
            "crate::cli",
        ],
    ),
    ("session", &["tch", "libloading", "dlopen", "crate::cli"]),
];

/// The one file that may load a library although its room does not: libtorch's CUDA part.
const EXCEPTION: (&str, &str) = ("engine/device.rs", "libloading");

fn metadata() -> Value {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["metadata", "--format-version", "1", "--offline"]).current_dir(repository());
    // Crates of other systems need not have been downloaded.
    cargo.args(["--filter-platform", &format!("{}-unknown-linux-gnu", std::env::consts::ARCH)]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn texts<'a>(values: &'a Value, key: &str) -> Vec<&'a str> {
    values.as_array().unwrap().iter().map(|value| value[key].as_str().unwrap()).collect()
}

/// Workspace members: folder below the root, and the names of what each declares to depend on, tests included.
fn members(metadata: &Value) -> BTreeMap<String, Vec<&str>> {
    let own = metadata["workspace_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter().filter(|package| own.contains(&package["id"]));
    let folder = |package: &Value| {
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        folder.strip_prefix(repository()).unwrap().display().to_string()
    };
    packages.map(|package| (folder(package), texts(&package["dependencies"], "name"))).collect()
}

/// The names of all packages below a package, itself included.
fn closure(metadata: &Value, name: &str) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeMap<&str, &str> =
        packages.iter().map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap())).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let below: BTreeMap<&str, Vec<&str>> =
        nodes.iter().map(|node| (node["id"].as_str().unwrap(), texts(&node["deps"], "pkg"))).collect();
    let mut waiting: Vec<&str> = names.iter().filter(|(_, known)| **known == name).map(|(id, _)| *id).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if seen.insert(id) {
            waiting.extend(&below[id]);
        }
    }
    seen.into_iter().map(|id| names[id].to_owned()).collect()
}

#[test]
fn the_contract_knows_no_host_no_libtorch_and_no_strategy() {
    let metadata = metadata();
    let below = closure(&metadata, "coldstart-plugin-api");
    assert!(below.contains("abi_stable") && closure(&metadata, "coldstart").contains("tch"), "the test sees the tree");
    let strategies = below.iter().filter(|name| name.starts_with("coldstart-") && !name.contains("plugin-api"));
    assert_eq!(strategies.count(), 0, "{below:?}");
    for banned in ["coldstart", "tch", "torch-sys"] {
        assert!(!below.contains(banned), "plugin-api depends on {banned}");
    }
}

#[test]
fn the_maths_of_selection_knows_the_contract_and_no_more() {
    let metadata = metadata();
    let below = closure(&metadata, "coldstart-kernels");
    let ours: Vec<&String> = below.iter().filter(|name| name.starts_with("coldstart")).collect();
    assert_eq!(ours, ["coldstart-kernels", "coldstart-plugin-api", "coldstart-plugin-api-derive"]);
    for banned in ["tch", "torch-sys", "memmap2"] {
        assert!(!below.contains(banned), "the kernels depend on {banned}");
    }
}

#[test]
fn a_strategy_depends_on_the_contract_and_plain_maths() {
    let metadata = metadata();
    let plugins: Vec<_> = members(&metadata).into_iter().filter(|(folder, _)| folder.starts_with("plugins/")).collect();
    assert!(plugins.len() >= 4, "{plugins:?}");
    for (folder, dependencies) in plugins {
        for name in dependencies {
            // What is logged with `log` reaches the host's log through the contract's glue.
            let of_the_contract = ["coldstart-plugin-api", "log", "proptest"].contains(&name);
            let allowed = of_the_contract || PLAIN_MATHS.contains(&name);
            assert!(allowed, "{folder} depends on {name}");
        }
    }
}

/// The lines of a source file that are code and not test: without comments, up to the test module.
fn code(file: &Path) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    let without_comment = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    lines.map(|(i, line)| (i + 1, without_comment(line))).collect()
}

fn host_sources(room: &str) -> Vec<PathBuf> {
    let test_only = ["tests.rs", "fixture.rs"];
    let mut files = files_under(&repository().join("host/src").join(room));
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files.retain(|file| !test_only.iter().any(|name| file.ends_with(name)));
    files
}

/// Whether a word stands alone in a line, not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.chars().next_back().is_some_and(inner) && !after.chars().next().is_some_and(inner)
    })
}

#[test]
fn a_room_does_not_know_what_it_must_not_know() {
    for (room, banned) in ROOMS {
        let files = host_sources(room);
        assert!(!files.is_empty(), "there is no room `{room}`");
        for file in files {
            for (line, text) in code(&file) {
                for word in banned.iter().filter(|word| has_word(&text, word)) {
                    let excepted = file.ends_with(EXCEPTION.0) && *word == EXCEPTION.1;
                    assert!(excepted, "{}:{line} knows `{word}`", file.display());
                }
            }
        }
    }
    let folders = std::fs::read_dir(repository().join("host/src")).unwrap().flatten();
    for folder in folders.filter(|entry| entry.path().is_dir()) {
        let name = folder.file_name().into_string().unwrap();
        assert!(name == "cli" || ROOMS.iter().any(|(room, _)| *room == name), "no rule for the room `{name}`");
    }
}

/// What a label or a plugin says must not reach the terminal as it is: the macros of `cli/stdout.rs` see to that.
#[test]
fn the_command_line_prints_through_one_place() {
    let files = host_sources("cli");
    assert!(files.iter().any(|file| file.ends_with("cli/stdout.rs")));
    for file in files.iter().filter(|file| !file.ends_with("cli/stdout.rs")) {
        for (line, text) in code(file) {
            let bare = ["println!", "eprintln!", "print!", "eprint!"].into_iter().find(|word| has_word(&text, word));
            assert!(bare.is_none(), "{}:{line}: `outln!` and `errln!` are safe for a terminal", file.display());
        }
    }
}

/// What is started otherwise could come from the current folder, inherit descriptors, or learn of keys in variables.
#[test]
fn programs_are_started_in_one_place() {
    let files = host_sources("");
    assert!(files.iter().any(|file| file.ends_with("src/programs.rs")));
    for file in files.iter().filter(|file| !file.ends_with("src/programs.rs")) {
        for (line, text) in code(file) {
            let started = ["Command::new(", "posix_spawn", "libc::exec", "libc::fork"]
                .into_iter()
                .find(|word| text.contains(word));
            assert!(started.is_none(), "{}:{line}: `crate::programs` starts programs", file.display());
        }
    }
}

/// The names that the strategies of this repository export.
fn strategies() -> Vec<String> {
    let sources = files_under(&repository().join("plugins")).into_iter().filter(|file| file.ends_with("src/lib.rs"));
    let name = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        let exported = text.split("export_plugin! {").nth(1).and_then(|export| export.split('"').nth(1));
        exported.unwrap_or_else(|| panic!("{} exports nothing", file.display())).to_owned()
    };
    sources.map(name).collect()
}

#[test]
fn the_host_names_no_strategy() {
    let strategies = strategies();
    assert!(strategies.len() >= 4 && strategies.contains(&"entropy".to_owned()), "{strategies:?}");
    for file in host_sources("") {
        for (line, text) in code(&file) {
            // A linear probe is a learner, whatever else is called a probe; and the kernel has a file of this name.
            let text = text.replace("linear probe", "").replace("kernel/random/boot_id", "");
            let literals: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
            for name in &strategies {
                assert!(!literals.iter().any(|l| has_word(l, name)), "{}:{line} names `{name}`", file.display());
            }
        }
    }
}

fn read(name: &str) -> String {
    std::fs::read_to_string(repository().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_map_names_every_room_and_no_place_that_is_gone() {
    let map = read("ARCHITECTURE.md");
    let named = |name: &str| map.contains(&format!("`{name}`")) || map.contains(&format!("{name}/"));
    let folders = std::fs::read_dir(repository().join("host/src")).unwrap().flatten();
    for folder in folders.filter(|entry| entry.path().is_dir()) {
        let name = folder.file_name().into_string().unwrap();
        assert!(named(&name), "ARCHITECTURE.md does not name the room `{name}`");
    }
    for member in members(&metadata()).keys() {
        let room = member.split('/').next().unwrap();
        assert!(named(room), "ARCHITECTURE.md does not name `{room}`");
    }
    for path in map.split('`').skip(1).step_by(2).filter(|text| is_path(text)) {
        let found =
            ["", "host", "host/src", "plugin-api/src"].iter().any(|base| repository().join(base).join(path).exists());
        assert!(found, "ARCHITECTURE.md names `{path}`, which does not exist");
    }
}

/// A path of the repository: a source, script or document, or something below a folder of the root.
fn is_path(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let sources = ["rs", "toml", "md", "py", "html", "css", "js", "yml"];
    let extension = Path::new(text).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let top = text.split('/').next().unwrap_or_default();
    let in_repository = ["host", "plugin-api", "plugins", "python", "tests", "configs"].contains(&top);
    text.contains('/') && text.chars().all(plain) && (sources.contains(&extension) || in_repository)
}

#[test]
fn the_list_of_strategies_has_a_row_for_each_and_every_code() {
    let list = read("docs/reference/strategies.md") + &read("docs/reference/sizers.md");
    for folder in std::fs::read_dir(repository().join("plugins")).unwrap().flatten() {
        let name = folder.file_name().into_string().unwrap();
        let row = list.lines().any(|line| line.starts_with('|') && has_word(line, &name));
        let is_listed = row || !folder.path().is_dir();
        assert!(is_listed, "docs/reference/strategies.md and sizers.md have no row for `{name}`");
    }
    let explained = read("docs/reference/error-codes.md");
    let codes = Lab::new().coldstart(&["plugin", "codes"]);
    let ids: Vec<&str> = codes.exits(0).stdout.lines().step_by(2).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(ids.len(), 21);
    for id in ids {
        assert!(has_word(&explained, id), "docs/reference/error-codes.md does not explain {id}");
    }
}

/// Whoever clones the repository has other folders than whoever wrote it.
#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let variables = ["LIBTORCH", "COLDSTART_DATA"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let places = variables.chain([repository()]).filter_map(|place| Some(place.parent()?.display().to_string()));
    // What every machine has stands in examples.
    let everywhere = ["/", "/tmp", "/home", "/opt", "/srv", "/data"];
    let places = places.filter(|place| !everywhere.contains(&place.as_str()));
    let places: Vec<String> = places.map(|place| format!("{place}/")).collect();
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(repository()).output();
    let Some(listed) = listed.ok().filter(|listed| listed.status.success()) else {
        eprintln!("skipped: this is no git checkout");
        return;
    };
    let files = String::from_utf8(listed.stdout).unwrap();
    assert!(files.contains("Cargo.toml"));
    for file in files.split('\0') {
        let Ok(text) = std::fs::read_to_string(repository().join(file)) else { continue };
        for place in &places {
            assert!(!text.contains(place), "{file} mentions {place}");
        }
    }
}
