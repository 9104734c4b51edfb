//! Ordinary calls.

use super::outcome::{Tried, Verdict, demand, failed, skipped, warning};
use super::subject::{BUDGET, Probe, Subject};
use super::{Case, Level};
use crate::plugin::{Answer, PluginCode, PluginError};
use coldstart_plugin_api::testing::TestHost;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Log lines of one call beyond which somebody should look.
const MANY_LINES: usize = 1000;

pub const CASES: [Case; 9] = [
    Case {
        name: "selection-valid",
        level: Level::Conform,
        about: "Asked in each of its roles, it chooses as many images as it was asked for, all of them unlabelled, none twice, \
                with finite scores for all or for none; a sizer chooses none, and gives a size, a reason and finite numbers.",
        gate: true,
        run: selection_valid,
    },
    Case {
        name: "unknown-name",
        level: Level::Conform,
        about: "Asked for an instance of a strategy that it does not offer, it answers with an error.",
        gate: false,
        run: |subject| wrong_name(subject, &["no-such-strategy", ""]),
    },
    Case {
        name: "name-with-junk",
        level: Level::Conform,
        about: "Its own name with something behind it is another name, and answered with an error.",
        gate: false,
        run: |subject| {
            let name = subject.manifest()?.name;
            wrong_name(subject, &[&format!("{name} "), &format!("{name}\0junk"), &format!("{name}-2")])
        },
    },
    Case {
        name: "bad-params",
        level: Level::Conform,
        about: "Parameters of a wrong type, out of their range, unknown or missing, and what is no JSON object at all, are \
                refused when an instance is made, with the code for bad parameters.",
        gate: false,
        run: bad_params,
    },
    Case {
        name: "budget-edges",
        level: Level::Conform,
        about: "It can be asked for no image, for one, for all but one, for all.",
        gate: false,
        run: budget_edges,
    },
    Case {
        name: "tensors-released",
        level: Level::Conform,
        about: "After a call no tensor is left in the host's memory: one that is kept each round fills it in a long run.",
        gate: false,
        run: tensors_released,
    },
    Case {
        name: "progress-monotone",
        level: Level::Conform,
        about: "What it says of its progress never goes back within a stage, and never beyond the end.",
        gate: false,
        run: progress_monotone,
    },
    Case {
        name: "log-bounded",
        level: Level::Conform,
        about: "A call logs no more than 1000 lines; somebody has to find the important one.",
        gate: false,
        run: log_bounded,
    },
    Case {
        name: "instances-on-threads",
        level: Level::Conform,
        about: "Instances that are asked at the same time on several threads choose as one that is asked alone.",
        gate: false,
        run: instances_on_threads,
    },
];

fn selection_valid(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    for host in subject.hosts()? {
        probe.ask_new(&host, BUDGET)?;
    }
    Ok(format!("as {}, with {}", probe.manifest.roles.join(" and "), probe.params))
}

fn wrong_name(subject: &Subject, names: &[&str]) -> Tried {
    // A script is one strategy, which nobody asks for by a name.
    subject.library()?;
    let probe = subject.probe()?;
    for name in names {
        match probe.plugin.create(name, &probe.params, TestHost::plausible(5, 2, 0).as_host(), None) {
            Ok(_) => return Err(failed(format!("it made an instance of `{}`", name.escape_default()))),
            Err(error) if error.code == PluginCode::Panicked => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(String::new())
}

fn bad_params(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let good = subject.params()?;
    let schema = &probe.manifest.params;
    let mut bad: Vec<String> = ["", "{", "[]", "null", "7"].map(str::to_owned).into();
    let with = |name: &str, value: Value| {
        let mut params = good.clone();
        params.insert(name.to_owned(), value);
        Value::Object(params).to_string()
    };
    bad.push(with("no-such-parameter", json!(1)));
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        bad.extend(misfits(property).into_iter().map(|value| with(name, value)));
    }
    bad.extend(without_required(schema, &good));
    for params in &bad {
        refuse(&probe, params)?;
    }
    Ok(format!("{} refused", bad.len()))
}

/// Values that do not fit a property's schema.
fn misfits(property: &Value) -> Vec<Value> {
    let mut misfits = vec![json!({"no": "number"}), json!([1])];
    match property.get("type").and_then(Value::as_str) {
        Some("string") => misfits.push(json!(1)),
        Some("integer") => misfits.extend([json!("1"), json!(1.5)]),
        _ => misfits.push(json!("no such value")),
    }
    let bound = |key: &str, step: f64| Some(json!(property.get(key)?.as_f64()? + step));
    misfits.extend([bound("minimum", -1.0), bound("maximum", 1.0)].into_iter().flatten());
    misfits
}

/// The parameters without each of those that must be set.
fn without_required(schema: &Value, good: &Map<String, Value>) -> Vec<String> {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let without = |name: &str| {
        let rest: Map<String, Value> = good.clone().into_iter().filter(|(key, _)| key != name).collect();
        Value::Object(rest).to_string()
    };
    required.map(without).collect()
}

fn refuse(probe: &Probe, params: &str) -> Result<(), Verdict> {
    match probe.create_with(params, &TestHost::plausible(5, 2, 0)) {
        Ok(_) => Err(failed(format!("it accepts the params {params}"))),
        Err(error) if error.code == PluginCode::Params => Ok(()),
        Err(error) => Err(failed(format!("the params {params} should be P013, not {error}"))),
    }
}

fn budget_edges(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    for host in subject.hosts()? {
        let n = host.request(usize::MAX).unlabelled.len();
        for budget in [0, 1, n - 1, n] {
            probe.ask_new(&host, budget).map_err(|error| failed(format!("{budget} of {n}: {error}")))?;
        }
    }
    Ok(String::new())
}

fn tensors_released(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    for host in subject.hosts()? {
        probe.ask_new(&host, BUDGET)?;
        demand(host.tensors_left() == 0, || format!("{} tensors are left after a call", host.tensors_left()))?;
    }
    for host in subject.hosts_with(|host| host.cancelled_at(1))? {
        probe.ask_leniently(&host, BUDGET)?;
        demand(host.tensors_left() == 0, || {
            format!("{} tensors are left after a cancelled call", host.tensors_left())
        })?;
    }
    Ok(String::new())
}

fn progress_monotone(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let mut n_said = 0;
    for host in subject.hosts()? {
        probe.ask_new(&host, BUDGET)?;
        let mut reached: BTreeMap<String, u64> = BTreeMap::new();
        for (stage, done, total) in host.progress() {
            n_said += 1;
            demand(done <= total, || format!("`{stage}` says {done} of {total}"))?;
            let before = reached.insert(stage.clone(), done).unwrap_or(0);
            demand(before <= done, || format!("`{stage}` goes back from {before} to {done}"))?;
        }
    }
    if n_said == 0 { Err(skipped("it says nothing of its progress")) } else { Ok(format!("{n_said} times")) }
}

fn log_bounded(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let mut most = 0;
    for host in subject.hosts()? {
        probe.ask_new(&host, BUDGET)?;
        most = most.max(host.logged().len());
    }
    let told = format!("{most} lines a call");
    if most > MANY_LINES { Err(warning(told)) } else { Ok(told) }
}

fn instances_on_threads(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let ask = |probe: &Probe| -> Result<Vec<Answer>, Verdict> {
        let hosts = subject.hosts()?;
        Ok(hosts.iter().map(|host| probe.ask_new(host, BUDGET)).collect::<Result<_, PluginError>>()?)
    };
    let alone = ask(&probe)?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| ask(&probe))).collect();
        for thread in threads {
            let chosen = thread.join().map_err(|_| failed("a thread of the check panicked"))??;
            demand(chosen == alone, || "it chooses differently beside others".to_owned())?;
        }
        Ok("4 threads".to_owned())
    })
}
