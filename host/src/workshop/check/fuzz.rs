//! Calls at random, each from a seed of its own that repeats it.

use super::outcome::{Tried, Verdict, failed};
use super::subject::{Probe, Subject, lenient, seed_bytes};
use super::{Case, Level};
use crate::plugin::{Answer, PluginCode, PluginError};
use coldstart_plugin_api::testing::TestHost;
use coldstart_plugin_api::{Rng, Role};
use std::io::Write;

pub const CASES: [Case; 2] = [
    Case {
        name: "random-requests",
        level: Level::Fuzz,
        about: "Random pools, ids, labels, classes, budgets, rounds and models: every answer is a valid selection or an error of \
                its own, and none a panic.",
        gate: false,
        run: |subject| at_random(subject, "random-requests", |host, _| host, lenient_request),
    },
    Case {
        name: "random-answers",
        level: Level::Fuzz,
        about: "A host whose answers are damaged by chance (cut off, of another type, with NaN in them): the call ends with a \
                valid selection or an error. A panic is an error here; a crash never is.",
        gate: false,
        run: |subject| {
            at_random(subject, "random-answers", TestHost::garbling, |answer| answer.map(|_| ()).or_else(any_error))
        },
    },
];

type Answered = Result<Answer, PluginError>;

fn lenient_request(answer: Answered) -> Result<(), PluginError> {
    lenient(answer).map(|_| ())
}

fn any_error(error: PluginError) -> Result<(), PluginError> {
    if error.code == PluginCode::Selection { Err(error) } else { Ok(()) }
}

/// Ask as often as ordered; the first answer that is not accepted fails the case, and names the seed that repeats it.
fn at_random(
    subject: &Subject,
    case: &str,
    change: fn(TestHost, u64) -> TestHost,
    accept: fn(Answered) -> Result<(), PluginError>,
) -> Tried {
    let probe = subject.probe()?;
    let (first, count) = (subject.order.seed, subject.order.count);
    for seed in (0..count).map(|i| first.wrapping_add(i)) {
        // Should the process die, the last line tells where.
        let _ = std::io::stderr().write_all(format!("seed {seed}\n").as_bytes());
        let (host, budget) = random_host(&probe, seed)?;
        let host = change(host, seed);
        accept(probe.ask_new(&host, budget)).map_err(|error| {
            let asked = format!(
                "asked in round {} for {budget} of {}",
                host.request(0).round,
                host.request(0).unlabelled.len()
            );
            failed(format!("{asked}: {error}; again with --case {case} --seed {seed} --count 1"))
        })?;
    }
    Ok(format!("{count} calls, from seed {first}"))
}

/// A random pool in one of the plugin's roles, and a budget.
fn random_host(probe: &Probe, seed: u64) -> Result<(TestHost, usize), Verdict> {
    let mut rng = Rng::for_stream(seed_bytes(seed), "request");
    let roles = &probe.manifest.roles;
    let role = &roles[rng.below(roles.len() as u64) as usize];
    let n = 1 + rng.below(200);
    let mut ids = Vec::new();
    let mut id = rng.below(1 << 40);
    for _ in 0..n {
        ids.push(id);
        let widest_gap = if rng.below(4) == 0 { 1 << 32 } else { 3 };
        id += 1 + rng.below(widest_gap);
    }
    let round = if *role == Role::Initial.name() { 0 } else { 1 + rng.below(20) as u32 };
    let labelled: Vec<u64> = ids.iter().copied().filter(|_| round > 0 && rng.below(4) == 0).collect();
    let n_unlabelled = ids.len() - labelled.len();
    let mut host = TestHost::with_ids(ids).plausibly(1 + rng.below(12) as usize, rng.next_u64()).labelled(&labelled);
    host = if rng.below(5) == 0 { host.undecided() } else { host };
    host = if rng.below(5) == 0 { host.all_alike() } else { host };
    let budget = rng.below(n_unlabelled as u64 + 1) as usize;
    Ok((host.round(round).seed(seed_bytes(seed)), budget))
}
