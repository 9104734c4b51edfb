//! What is stored between rounds.

use super::outcome::{Tried, Verdict, demand, failed};
use super::subject::{BUDGET, Probe, Subject, seed_bytes};
use super::{Case, Level};
use crate::plugin::{Instance, PluginCode};
use coldstart_plugin_api::Rng;
use coldstart_plugin_api::testing::TestHost;

pub const CASES: [Case; 2] = [
    Case {
        name: "state-round-trip",
        level: Level::Conform,
        about: "An instance that takes up the state of another chooses as that one does in the next round, and stores the same \
                state: a resumed run goes on as if it had never stopped.",
        gate: false,
        run: state_round_trip,
    },
    Case {
        name: "foreign-state",
        level: Level::Conform,
        about: "Bytes that are no state of this strategy (drawn ones, and its own state cut off) are refused with an error: a \
                run never goes on from something else without a word.",
        gate: false,
        run: foreign_state,
    },
];

/// An instance that has chosen once in this role, and the host of its next round.
fn after_a_round(probe: &Probe, host: &TestHost, next: TestHost) -> Result<(Instance, TestHost), Verdict> {
    let mut instance = probe.create(host)?;
    let request = host.request(BUDGET);
    let chosen = probe.ask(&mut instance, host, BUDGET)?.selection.ids;
    let round = request.round + u32::from(request.round > 0);
    let labelled = if request.round > 0 { [request.labelled, chosen].concat() } else { Vec::new() };
    Ok((instance, next.labelled(&labelled).round(round)))
}

fn state_round_trip(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let mut sizes = Vec::new();
    for (host, next) in subject.hosts()?.iter().zip(subject.hosts()?) {
        let (mut instance, next) = after_a_round(&probe, host, next)?;
        let state = instance.save()?;
        let mut resumed = probe.create(host)?;
        resumed.load(&state).map_err(|error| failed(format!("it refuses its own state: {error}")))?;
        demand(resumed.save()? == state, || "it stores another state than it took up".to_owned())?;
        let (on, again) = (probe.ask(&mut instance, &next, BUDGET)?, probe.ask(&mut resumed, &next, BUDGET)?);
        demand(on == again, || "resumed, it chooses differently".to_owned())?;
        sizes.push(state.len());
    }
    Ok(format!("{} bytes", sizes.into_iter().max().unwrap_or(0)))
}

fn foreign_state(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let mut rng = Rng::for_stream(seed_bytes(subject.order.seed), "foreign state");
    for (host, next) in subject.hosts()?.iter().zip(subject.hosts()?) {
        let state = after_a_round(&probe, host, next)?.0.save()?;
        let mut foreign: Vec<Vec<u8>> = [1, 7, 64, 1000].map(|length| vec![0; length]).into();
        foreign.retain(|bytes| bytes.len() != state.len());
        foreign.iter_mut().for_each(|bytes| rng.fill(bytes));
        foreign.extend((state.len() > 1).then(|| state[..state.len() - 1].to_vec()));
        for bytes in foreign {
            match probe.create(host)?.load(&bytes) {
                Ok(()) => return Err(failed(format!("it takes up {} foreign bytes", bytes.len()))),
                Err(error) => demand(error.code != PluginCode::Panicked, || error.to_string())?,
            }
        }
    }
    Ok(String::new())
}
