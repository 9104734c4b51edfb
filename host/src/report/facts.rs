//! What ran on what, as a page's head says it.

use std::collections::BTreeSet;

use super::run::Run;

/// What ran on what, when and with which versions, as pairs of term and description; `counts` stand in the middle.
pub(super) fn of<const N: usize>(runs: &[&Run], counts: [(&'static str, String); N]) -> Vec<(&'static str, String)> {
    let unique = |of: fn(&Run) -> String| distinct(runs, of);
    let what = [("Data", unique(dataset)), ("Model", unique(model))];
    let how = [("Started", started(runs)), ("Device", unique(device)), ("Versions", unique(versions))];
    let facts = what.into_iter().chain(counts).chain(how);
    facts.filter(|(_, text)| !text.is_empty()).collect()
}

fn model(run: &Run) -> String {
    let Some(learner) = &run.environment.learner else {
        return words(&[&network(run), learner_of(run)]);
    };
    let name = learner.path.rsplit('/').next().unwrap_or_default();
    let shut_in = match learner.confinement.as_str() {
        "none" => "a learner in Python that was not shut in".to_owned(),
        how => format!("a learner in Python (sandbox: {how})"),
    };
    let versions: Vec<String> =
        learner.versions.iter().map(|(package, version)| format!("{package} {version}")).collect();
    words(&[name, &shut_in, &versions.join(", ")])
}

/// How a config says who learns: a word, or a table of settings with its kind.
fn learner_of(run: &Run) -> &str {
    match run.config.get("training.learner.kind") {
        "" => run.config.get("training.learner"),
        kind => kind,
    }
}

/// The network that the model is, or what a probe stands on in place of one.
fn network(run: &Run) -> String {
    let backbone = run.config.get("model.backbone");
    let is_script = backbone.contains('.');
    if learner_of(run) != "linear-probe" || is_script {
        return backbone.to_owned();
    }
    match run.config.get("representation.method") {
        "" if run.config.get("dataset.kind") == "features" => "features of the data set".to_owned(),
        method @ ("handcrafted" | "pixels") => format!("{method} features"),
        "file" => "features from a file".to_owned(),
        _ => backbone.to_owned(),
    }
}

fn dataset(run: &Run) -> String {
    let data = &run.environment.dataset;
    if data.kind.is_empty() {
        return run.config.get("dataset.kind").to_owned();
    }
    let (shape, classes) = (&data.shape, data.classes.len());
    let tuning = !matches!(run.config.get("dataset.tuning"), "" | "0");
    let what = match data.features {
        Some(features) => format!("{} features each", thousands(features)),
        None => format!("{}×{}×{}", shape.height, shape.width, shape.channels),
    };
    let test = if tuning { "held out of the training part to choose settings on" } else { "test" };
    format!(
        "{}: {} to choose from, {} {test}, {} validation; {what}, {classes} classes",
        data.kind,
        thousands(data.pool),
        thousands(data.test),
        thousands(data.validation)
    )
}

fn device(run: &Run) -> String {
    let environment = &run.environment;
    let threads = if environment.threads == 0 { String::new() } else { count(environment.threads, "thread") };
    words(&[&environment.device, &threads, &environment.cpu])
}

fn versions(run: &Run) -> String {
    let named = |name: &str, version: &str| match version {
        "" => String::new(),
        _ => format!("{name} {version}"),
    };
    let e = &run.environment;
    words(&[&named("coldstart", &e.coldstart), &named("plugin API", &e.plugin_api), &named("PyTorch", &e.torch)])
}

fn started(runs: &[&Run]) -> String {
    let times: BTreeSet<&str> = runs.iter().map(|run| run.environment.started.as_str()).collect();
    match (times.iter().find(|time| !time.is_empty()), times.last()) {
        (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
        (Some(only), _) => (*only).to_owned(),
        _ => String::new(),
    }
}

/// What the runs have, each text once.
pub(super) fn distinct(runs: &[&Run], of: impl Fn(&Run) -> String) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in runs.iter().copied().map(of).filter(|text| !text.is_empty()) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.join(", ")
}

fn words(words: &[&str]) -> String {
    words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(", ")
}

/// A number and what is counted.
pub(super) fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// A number with its digits in groups of three.
pub(super) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join("\u{202f}")
}
