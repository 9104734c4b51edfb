//! Libraries as they were built when each minor version of the contract was released; see `tests/golden/README.md`.

use super::chosen_by;
use coldstart_tests::{Lab, files_under, library_name, repository};
use std::path::{Path, PathBuf};

/// A stored library: of which strategy, against which contract.
struct Golden {
    file: PathBuf,
    strategy: String,
    contract: String,
}

/// The stored libraries that this machine can load.
fn all() -> Vec<Golden> {
    let triple = format!(".{}-unknown-linux-gnu.so.zst", std::env::consts::ARCH);
    let golden = |file: PathBuf| {
        let name = file.file_name()?.to_str()?.strip_suffix(&triple)?.to_owned();
        let (strategy, contract) = name.rsplit_once('-')?;
        Some(Golden { strategy: strategy.to_owned(), contract: contract.to_owned(), file })
    };
    files_under(&repository().join("tests/golden")).into_iter().filter_map(golden).collect()
}

fn unpack(golden: &Golden, to: &Path) {
    let packed = std::fs::read(&golden.file).unwrap();
    std::fs::write(to, zstd::decode_all(&packed[..]).unwrap()).unwrap();
}

#[test]
fn plugins_of_every_released_contract_choose_as_todays_do() {
    let all = all();
    if all.is_empty() {
        eprintln!("skipped: no library was kept for {}", std::env::consts::ARCH);
        return;
    }
    for golden in &all {
        let Golden { strategy, contract, .. } = golden;
        let lab = Lab::new();
        let file = lab.path("plugins").join(library_name(strategy));
        unpack(golden, &file);
        let said = lab.coldstart(&["plugin", "info", strategy, "--json"]).json();
        assert!(said.to_string().contains(&format!("\"api\":\"{contract}\"")), "{said}");
        let role = if strategy == "random" { "initial" } else { "query" };
        assert!(
            chosen_by(strategy, role, Some(&file)) == chosen_by(strategy, role, None),
            "`{strategy}` of contract {contract} chooses otherwise than today's"
        );
    }
}

/// Whoever releases a minor version stores its libraries.
#[test]
fn every_minor_version_but_the_newest_is_kept() {
    let now: Vec<u32> = coldstart_plugin_api::API_VERSION.split('.').map(|part| part.parse().unwrap()).collect();
    if all().is_empty() {
        eprintln!("skipped: no library was kept for {}", std::env::consts::ARCH);
        return;
    }
    for minor in 0..now[1] {
        for strategy in ["random", "margin"] {
            let kept = |golden: &Golden| {
                golden.strategy == strategy && golden.contract.starts_with(&format!("{}.{minor}.", now[0]))
            };
            assert!(all().iter().any(kept), "tests/golden has no `{strategy}` of contract {}.{minor}", now[0]);
        }
    }
}
