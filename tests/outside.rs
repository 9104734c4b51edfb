//! Why the project exists: a strategy written elsewhere, built after the host, runs by its name in the host as it is.

use coldstart_tests::{Elsewhere, Lab, pretexts, program, repository};
use sha2::{Digest, Sha256};
use std::path::Path;

const SOURCE: &str = r##"
use coldstart_plugin_api::prelude::*;

/// How far apart the chosen images are.
#[derive(Params)]
struct Stride {
    /// Distance between neighbours, in unlabelled images.
    #[param(default = 3, min = 1, max = 10)]
    step: u64,
}

struct EveryNth {
    step: usize,
}

impl Strategy for EveryNth {
    type Params = Stride;

    fn new(params: Stride, _: &Host<'_>) -> Result<Self> {
        Ok(EveryNth { step: params.step as usize })
    }

    fn select(&mut self, request: &Request, _: &Host<'_>) -> Result<Selection> {
        Ok(Selection::of(request.unlabelled.iter().step_by(self.step).take(request.budget).copied().collect()))
    }
}

export_plugin! {
    name: "every-nth",
    publisher: "elsewhere",
    roles: [Initial, Query],
    strategy: EveryNth,
    needs: [],
    cite: "None",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    #[test]
    fn every_third_of_the_unlabelled() {
        let host = TestHost::new(10).labelled(&[0, 1]);
        assert_eq!(host.select::<EveryNth>("{}", 3).unwrap().ids, [2, 5, 8]);
        assert_eq!(host.select::<EveryNth>(r#"{"step": 1}"#, 2).unwrap().ids, [2, 3]);
        assert_eq!(host.select::<EveryNth>(r#"{"step": 0}"#, 2).unwrap_err().code, Code::BAD_PARAMS);
    }
}
"##;

/// The code of `docs/tutorials/first-pretext.md`: a pretext that the host has never heard of.
fn pretext_of_the_guide() -> String {
    let guide = std::fs::read_to_string(repository().join("docs/tutorials/first-pretext.md")).unwrap();
    let code = guide.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    code.expect("the guide shows its code").to_owned()
}

fn chosen(run: &Path, round: u32) -> Vec<u64> {
    let table = std::fs::read_to_string(run.join(format!("rounds/{round:03}/selection.csv"))).unwrap();
    table.lines().skip(1).map(|row| row.split(',').nth(1).unwrap().parse().unwrap()).collect()
}

#[test]
fn a_strategy_from_elsewhere_runs_by_name_in_an_untouched_host() {
    let host =
        || (Sha256::digest(std::fs::read(program()).unwrap()), program().metadata().unwrap().modified().unwrap());
    let before = host();
    let elsewhere = Elsewhere::new("every-nth", SOURCE);
    let plugins = elsewhere.built();
    elsewhere.tested();

    let lab = Lab::new();
    let coldstart = |args: &[&str]| {
        let mut command = lab.command(args);
        coldstart_tests::Ran::of(command.env("COLDSTART_PLUGIN_PATH", &plugins).output().unwrap())
    };
    let strategies = ["-s", "initial.strategy=every-nth", "-s", "query.strategy=elsewhere/every-nth@^0.3"];
    let run =
        |out: &str, step: &str| coldstart(&[&["run", "tiny.toml", "--out", out, "-s", step], &strategies[..]].concat());

    run("run", "query.params.step=7").exits(0);
    let first: Vec<u64> = (0..10).map(|i| 3 * i).collect();
    assert_eq!(chosen(&lab.path("run"), 0), first);
    let unlabelled = (0..300).filter(|id| !first.contains(id));
    assert_eq!(chosen(&lab.path("run"), 1), unlabelled.step_by(7).take(5).collect::<Vec<u64>>());
    let config = std::fs::read_to_string(lab.path("run/config.toml")).unwrap();
    assert!(config.contains("step = 3") && config.contains("step = 7"), "{config}");

    for step in ["query.params.step=11", "query.params.step=0", "query.params.step=\"far\""] {
        run("none", step).exits(2).says_one_problem().says("P013").says("`step` must be");
    }
    let info = coldstart(&["plugin", "info", "every-nth"]);
    for fact in ["elsewhere/every-nth 0.3.0", "default 3", "at least 1", "at most 10", "Distance between neighbours"] {
        assert!(info.exits(0).stdout.contains(fact), "{fact}: {}", info.stdout);
    }
    assert!(before == host(), "the host was rebuilt");
}

#[test]
fn a_pretext_from_elsewhere_trains_and_selects_in_an_untouched_host() {
    let host = || Sha256::digest(std::fs::read(program()).unwrap());
    let before = host();
    let elsewhere = Elsewhere::new("missing-quarter", &pretext_of_the_guide());
    let plugins = elsewhere.built();
    elsewhere.tested();
    let lab = Lab::new();
    let run = |out: &str| {
        let strategy = ["-s", "initial.strategy=missing-quarter", "-s", "initial.params.epochs=6"];
        let args = [&["run", "tiny.toml", "--out", out], &strategy[..]].concat();
        let mut command = lab.command(&args);
        coldstart_tests::Ran::of(command.env("COLDSTART_PLUGIN_PATH", &plugins).output().unwrap())
    };
    run("run").exits(0).says("trained `missing-quarter` (6 epochs)");
    let trained = pretexts(&lab.path("run")).remove(0);
    assert_eq!((&trained["name"], &trained["plugin"]), (&"missing-quarter".into(), &"missing-quarter".into()));
    assert_eq!((&trained["cached"], &trained["epochs"]), (&false.into(), &6.into()));
    // Chance is 0.25; a blank quarter can be seen.
    assert!(trained["accuracy"].as_f64().unwrap() > 0.5, "{trained}");
    assert_eq!(chosen(&lab.path("run"), 0).len(), 10);

    run("again").exits(0);
    assert_eq!(pretexts(&lab.path("again")).remove(0)["cached"], true);
    assert_eq!(chosen(&lab.path("again"), 0), chosen(&lab.path("run"), 0));
    assert!(before == host(), "the host was rebuilt");
}
