//! A plugin that was built against a contract which does not exist yet: the host meets functions that it does not know,
//! and the plugin misses functions that it knows. The other way round is what the golden libraries are for.

use super::chosen_by;
use coldstart_tests::{Elsewhere, build_folder, files_under, library_name, repository};
use std::path::{Path, PathBuf};

/// What a later minor version may do to the contract: append a method to each trait and a field to the root module.
const GROWTH: [(&str, &str, &str); 7] = [
    ("plugin-api/Cargo.toml", "\nversion = \"", "\nversion = \"1.99.0\" # was \""),
    (
        "plugin-api/src/abi.rs",
        "    fn rng_fill(&self, stream: RStr<'_>, into: RSliceMut<'_, u8>);\n",
        "    fn rng_fill(&self, stream: RStr<'_>, into: RSliceMut<'_, u8>);\n    fn added(&self) -> u64 { 99 }\n",
    ),
    (
        "plugin-api/src/abi.rs",
        "args: RSlice<'_, u8>, host: HostRef<'_>) -> RResult<RVec<u8>, Fault>;\n",
        "args: RSlice<'_, u8>, host: HostRef<'_>) -> RResult<RVec<u8>, Fault>;\n    fn added(&self) -> u64 { 99 }\n",
    ),
    (
        "plugin-api/src/abi.rs",
        "-> RResult<SelectorBox, Fault>,\n}",
        "-> RResult<SelectorBox, Fault>,\n    pub added: extern \"C\" fn() -> u64,\n}",
    ),
    ("plugin-api/src/export.rs", "create: create::<P> }", "create: create::<P>, added }"),
    (
        "plugin-api/src/export.rs",
        "extern \"C\" fn descriptor<P",
        "extern \"C\" fn added() -> u64 { 99 }\n\nextern \"C\" fn descriptor<P",
    ),
    (
        "plugin-api/src/host.rs",
        "    /// The pool: its size",
        "    /// From the future.\n    pub fn added(&self) -> u64 { self.raw.added() }\n\n    /// The pool: its size",
    ),
];

/// `margin`, which asks the new function first: an older host leaves the plugin its own answer.
const SOURCE: &str = r#"
use coldstart_plugin_api::prelude::*;

struct Later;

impl Strategy for Later {
    type Params = NoParams;

    fn new(_: NoParams, host: &Host<'_>) -> Result<Self> {
        if host.added() == 99 { Ok(Later) } else { Err(Error::plugin("the default body did not answer")) }
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let probs_nc = host.predict(&request.unlabelled)?.probabilities()?;
        let margin = |probs_c: &[f32]| {
            let (mut first, mut second) = (0.0f32, 0.0f32);
            for p in probs_c {
                if *p > first { (first, second) = (*p, first) } else { second = second.max(*p) }
            }
            host.added() as f32 / 99.0 - (first - second)
        };
        Ok(Selection::highest(request, probs_nc.rows().map(margin).collect()))
    }
}

export_plugin! {
    name: "margin",
    roles: [Query],
    strategy: Later,
    needs: [PREDICT_1],
    cite: "None",
}
"#;

/// A copy of the contract, grown: always in the same place, so that what is built of it is not kept twice.
fn contract_of_the_future() -> PathBuf {
    let folder = build_folder().parent().unwrap().join("contract-of-the-future");
    let _ = std::fs::remove_dir_all(&folder); // there is none the first time
    for file in files_under(&repository().join("plugin-api")) {
        let copy = folder.join(file.strip_prefix(repository()).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(&file, copy).unwrap();
    }
    let root = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let members = |line: &str| line.starts_with("members = ") || line.starts_with("default-members = ");
    let root: String = root.lines().filter(|line| !members(line)).map(|line| format!("{line}\n")).collect();
    let root = root.replace("[workspace]\n", "[workspace]\nmembers = [\"plugin-api\", \"plugin-api/derive\"]\n");
    std::fs::write(folder.join("Cargo.toml"), root).unwrap();
    for (file, from, to) in GROWTH {
        replace(&folder.join(file), from, to);
    }
    folder
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{}: `{from}`", file.display());
    std::fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn a_plugin_of_a_later_contract_runs_in_this_host() {
    let contract = contract_of_the_future();
    let elsewhere = Elsewhere::against(&contract.join("plugin-api"), "coldstart-margin", SOURCE);
    let library: PathBuf = elsewhere.built().join(library_name("margin"));
    let bytes = std::fs::read(&library).unwrap();
    let said = b"\"api\":\"1.99.0\"";
    assert!(bytes.windows(said.len()).any(|part| part == said), "it was built against today's contract");
    assert!(chosen_by("margin", "query", Some(&library)) == chosen_by("margin", "query", None));
}
