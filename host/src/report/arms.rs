//! Groups runs into arms: what a comparison compares.

use std::collections::{BTreeMap, BTreeSet};

use super::run::Run;

/// Runs whose configs differ in nothing but `seed`.
#[derive(Debug)]
pub(super) struct Arm<'a> {
    /// The settings that set it apart from the other arms.
    pub(super) name: String,
    /// Where its runs stand in the list that was grouped.
    pub(super) indices: Vec<usize>,
    /// The runs themselves, in the same order.
    pub(super) runs: Vec<&'a Run>,
}

impl Arm<'_> {
    /// How many different seeds ran.
    pub(super) fn seeds(&self) -> usize {
        self.runs.iter().map(|run| run.seed()).collect::<BTreeSet<_>>().len()
    }
}

type Keys = BTreeMap<String, String>;

/// Groups the runs, arms in the order of their first run.
pub(super) fn group(runs: &[Run]) -> Vec<Arm<'_>> {
    let mut arms: Vec<(Keys, Arm)> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let mut keys = run.config.keys.clone();
        keys.remove("seed");
        let place = arms.iter().position(|(other, _)| *other == keys).unwrap_or_else(|| {
            arms.push((keys, Arm { name: String::new(), indices: Vec::new(), runs: Vec::new() }));
            arms.len() - 1
        });
        arms[place].1.indices.push(index);
        arms[place].1.runs.push(run);
    }
    let names = names(&arms.iter().map(|(keys, _)| keys).collect::<Vec<_>>());
    arms.into_iter().zip(names).map(|((_, arm), name)| Arm { name, ..arm }).collect()
}

/// A name for each arm from the keys that differ, but for parameters that go with a strategy wherever it stands; `name` itself is
/// used only where nothing else tells them apart.
fn names(arms: &[&Keys]) -> Vec<String> {
    let mut differing = differing_keys(arms);
    differing.retain(|key| !goes_with_its_strategy(arms, key));
    if differing.len() > 1 && distinguish(arms, &without_name(&differing)) {
        differing = without_name(&differing);
    }
    if differing.is_empty() {
        return arms.iter().map(|keys| keys.get("name").cloned().unwrap_or("all runs".to_owned())).collect();
    }
    arms.iter().map(|keys| name(keys, &differing)).collect()
}

fn name(keys: &Keys, differing: &[String]) -> String {
    if let [only] = differing {
        return keys.get(only).cloned().unwrap_or_else(|| format!("no {only}"));
    }
    let set = differing.iter().filter_map(|key| Some(format!("{key} = {}", keys.get(key)?)));
    let name = set.collect::<Vec<_>>().join(", ");
    if name.is_empty() { format!("no {}", differing.join(", no ")) } else { name }
}

fn differing_keys(arms: &[&Keys]) -> Vec<String> {
    let all: BTreeSet<&String> = arms.iter().flat_map(|keys| keys.keys()).collect();
    let differs = |key: &&&String| arms.iter().any(|keys| keys.get(**key) != arms[0].get(**key));
    all.iter().filter(differs).map(|key| (*key).clone()).collect()
}

/// Whether `key` is a parameter that all arms with the same strategy set to the same value.
fn goes_with_its_strategy(arms: &[&Keys], key: &str) -> bool {
    let Some((section, _)) = key.split_once(".params.") else { return false };
    let strategy = format!("{section}.strategy");
    let of_strategy: BTreeSet<_> = arms.iter().map(|arm| arm.get(&strategy)).collect();
    let settings: BTreeSet<_> = arms.iter().map(|arm| (arm.get(&strategy), arm.get(key))).collect();
    settings.len() == of_strategy.len()
}

fn without_name(keys: &[String]) -> Vec<String> {
    keys.iter().filter(|key| *key != "name").cloned().collect()
}

fn distinguish(arms: &[&Keys], keys: &[String]) -> bool {
    let values: BTreeSet<Vec<_>> = arms.iter().map(|arm| keys.iter().map(|key| arm.get(key)).collect()).collect();
    values.len() == arms.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(configs: &[&[(&str, &str)]], expected: &[&str]) {
        let owned = |rows: &[(&str, &str)]| rows.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let keys: Vec<Keys> = configs.iter().map(|rows| owned(rows)).collect();
        assert_eq!(names(&keys.iter().collect::<Vec<_>>()), expected);
    }

    #[test]
    fn an_arm_is_named_after_what_differs() {
        check(&[&[("name", "demo"), ("size", "5")]], &["demo"]);
        check(&[&[]], &["all runs"]);
        check(&[&[("q", "entropy"), ("size", "5")], &[("q", "random"), ("size", "5")]], &["entropy", "random"]);
        check(&[&[("q", "a"), ("size", "5")], &[("q", "b"), ("size", "9")]], &["q = a, size = 5", "q = b, size = 9"]);
        check(&[&[("q", "a"), ("k", "3")], &[("q", "a")]], &["3", "no k"]);
        check(&[&[("k", "3"), ("m", "1")], &[]], &["k = 3, m = 1", "no k, no m"]);
    }

    #[test]
    fn parameters_that_go_with_a_strategy_are_left_out() {
        let [strategy, views, size] = ["query.strategy", "query.params.views", "query.size"];
        let consistency = [(strategy, "consistency"), (views, "5"), (size, "5")];
        check(&[&consistency, &[(strategy, "random"), (size, "5")]], &["consistency", "random"]);
        let more = [(strategy, "consistency"), (views, "50"), (size, "5")];
        check(
            &[&consistency, &more, &[(strategy, "random"), (size, "5")]],
            &[
                "query.params.views = 5, query.strategy = consistency",
                "query.params.views = 50, query.strategy = consistency",
                "query.strategy = random",
            ],
        );
    }

    #[test]
    fn the_config_name_is_used_only_where_nothing_else_tells() {
        check(&[&[("name", "one"), ("q", "a")], &[("name", "two"), ("q", "b")]], &["a", "b"]);
        check(&[&[("name", "one")], &[("name", "two")]], &["one", "two"]);
        let twins: [&[_]; 3] =
            [&[("name", "one"), ("q", "a")], &[("name", "two"), ("q", "a")], &[("name", "two"), ("q", "b")]];
        check(&twins, &["name = one, q = a", "name = two, q = a", "name = two, q = b"]);
    }
}
