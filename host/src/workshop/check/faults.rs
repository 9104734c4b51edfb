//! Hosts that fail, and what a plugin makes of it.

use super::outcome::{Tried, Verdict, demand, failed, skipped, warning};
use super::subject::{BUDGET, Probe, Subject};
use super::{Case, Level};
use crate::plugin::{Instance, PluginCode, PluginError};
use coldstart_plugin_api::ops::{self, Op, Output};
use coldstart_plugin_api::testing::TestHost;
use coldstart_plugin_api::{Code, Error};
use std::collections::BTreeSet;

/// What the pretended host says when it fails.
const CAUSE: &str = "the disk is full";
/// Calls at which a cancellation is tried; of more, these many, evenly spread.
const MOST_CANCELLED: usize = 40;
/// What every host offers.
const EVERYWHERE: [Op; 5] =
    [ops::POOL_INFO_1, ops::POOL_PIXELS_1, ops::LABELS_GET_1, ops::ENV_INFO_1, ops::ARTIFACT_PUT_1];

pub const CASES: [Case; 7] = [
    Case {
        name: "nan-from-model",
        level: Level::Conform,
        about: "A NaN in what the model answers ends the call with an error. It never becomes a selection, which would look \
                like any other.",
        gate: false,
        run: nan_from_model,
    },
    Case {
        name: "optional-absent",
        level: Level::Conform,
        about: "With what every host offers and what its manifest says that it needs, and nothing else, it chooses. An \
                operation that it cannot do without belongs into the manifest.",
        gate: false,
        run: optional_absent,
    },
    Case {
        name: "failing-operation",
        level: Level::Conform,
        about: "When an operation that it needs fails, the call ends with an error that tells the host's cause. Whether it can \
                do without any other operation is its own affair.",
        gate: false,
        run: failing_operation,
    },
    Case {
        name: "cancelled-anywhere",
        level: Level::Conform,
        about: "Cancelled during any of the operations that it asks for, it ends with an error that says so, and asks for \
                nothing more.",
        gate: false,
        run: cancelled_anywhere,
    },
    Case {
        name: "select-after-fault",
        level: Level::Conform,
        about: "An instance whose call ended with an error of the host can be asked again, and chooses.",
        gate: false,
        run: select_after_fault,
    },
    Case {
        name: "panic-becomes-error",
        level: Level::Conform,
        about: "Answers that lack a row, as only a faulty host would give them, end with an error. If that error is a panic, \
                the instance refuses every later call, because nobody knows its state.",
        gate: false,
        run: panic_becomes_error,
    },
    Case {
        name: "drop-after-panic",
        level: Level::Conform,
        about: "An instance that panicked can be dropped, and a new one made beside it chooses as if nothing had happened.",
        gate: false,
        run: drop_after_panic,
    },
];

fn asks_model(host: &TestHost) -> bool {
    host.calls().iter().any(|op| op.starts_with("model.predict/"))
}

fn nan_from_model(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let (mut asked, mut refused) = (false, 0);
    for output in [Output::Probabilities, Output::Logits, Output::Embeddings] {
        for host in subject.hosts_with(|host| host.nan_in(output))? {
            refused += u32::from(probe.ask_leniently(&host, BUDGET)?.is_none());
            asked |= asks_model(&host);
        }
    }
    match (asked, refused) {
        (false, _) => Err(skipped("it does not ask the model")),
        (true, 0) => Err(failed("it chooses as if nothing were wrong")),
        (true, _) => Ok(String::new()),
    }
}

fn optional_absent(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let needs = &probe.manifest.needs;
    let offered = ops::ALL.into_iter().filter(|op| EVERYWHERE.contains(op) || needs.iter().any(|need| need == op.0));
    let offered: Vec<Op> = offered.collect();
    for host in subject.hosts_with(|host| host.offering(&offered))? {
        probe.ask_new(&host, BUDGET)?;
    }
    Ok(needs.join(", "))
}

/// The operations that it asks for in its roles.
fn asked_for(subject: &Subject, probe: &Probe) -> Result<BTreeSet<String>, Verdict> {
    let mut asked = BTreeSet::new();
    for host in subject.hosts()? {
        probe.ask_new(&host, BUDGET)?;
        asked.extend(host.calls());
    }
    if asked.is_empty() { Err(skipped("it asks the host for nothing")) } else { Ok(asked) }
}

fn failing_operation(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let asked = asked_for(subject, &probe)?;
    for op in ops::ALL.into_iter().filter(|op| asked.contains(op.0)) {
        let needed = probe.manifest.needs.iter().any(|need| need == op.0);
        for host in subject.hosts_with(|host| host.failing(op, Error::new(Code::HOST, CAUSE)))? {
            let answer = probe.ask_new(&host, BUDGET);
            let met = host.calls().iter().any(|call| call == op.0);
            match answer {
                Err(error) if error.code == PluginCode::Panicked => return Err(error.into()),
                Err(error) if needed && !error.message.contains(CAUSE) => {
                    return Err(failed(format!("`{}` fails because {CAUSE}, but it says: {}", op.0, error.message)));
                }
                Ok(_) if needed && met => return Err(failed(format!("`{}` fails, but it chooses", op.0))),
                _ => {}
            }
        }
    }
    Ok(asked.into_iter().collect::<Vec<_>>().join(", "))
}

fn cancelled_anywhere(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    asked_for(subject, &probe)?;
    let mut n_tried = 0;
    for (role, host) in subject.hosts()?.into_iter().enumerate() {
        probe.ask_new(&host, BUDGET)?;
        let n_calls = host.calls().len();
        for call in (0..n_calls).step_by(n_calls.div_ceil(MOST_CANCELLED).max(1)) {
            let host = subject.hosts_with(|host| host.cancelled_at(call))?.swap_remove(role);
            ends_cancelled(&probe, &host, call)?;
            n_tried += 1;
        }
    }
    Ok(format!("at {n_tried} calls"))
}

fn ends_cancelled(probe: &Probe, host: &TestHost, call: usize) -> Result<(), Verdict> {
    match probe.ask_new(host, BUDGET) {
        Ok(_) => return Err(failed(format!("cancelled during call {call}, it chooses all the same"))),
        Err(error) if !error.message.contains("cancelled") => {
            return Err(failed(format!("cancelled during call {call}, it says: {error}")));
        }
        Err(_) => {}
    }
    let more = host.calls().len() - call - 1;
    demand(more == 0, || format!("cancelled during call {call}, it asks {more} times more"))
}

fn select_after_fault(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    asked_for(subject, &probe)?;
    for (role, host) in subject.hosts()?.into_iter().enumerate() {
        // Made by a host that is well, asked by one that fails, then by the first again.
        let fault = |host: TestHost| {
            ops::ALL.into_iter().fold(host, |host, op| host.failing(op, Error::new(Code::HOST, CAUSE)))
        };
        let failing = subject.hosts_with(fault)?.swap_remove(role);
        let mut instance = probe.create(&host)?;
        if let Err(error) = probe.ask(&mut instance, &failing, BUDGET) {
            demand(error.code != PluginCode::Panicked, || error.to_string())?;
        }
        probe.ask(&mut instance, &host, BUDGET).map_err(|error| failed(format!("asked again: {error}")))?;
    }
    Ok(String::new())
}

/// An instance that was asked by a host whose answers lack a row, and what came of it; and a host that is well.
struct Misled {
    instance: Instance,
    answer: Result<(), PluginError>,
    well: TestHost,
}

/// One for each role that asks for something that has rows.
fn misled(subject: &Subject, probe: &Probe) -> Result<Vec<Misled>, Verdict> {
    let mut misled = Vec::new();
    for (role, well) in subject.hosts()?.into_iter().enumerate() {
        let short = subject.hosts_with(TestHost::short_answers)?.swap_remove(role);
        let mut instance = probe.create(&short)?;
        let answer = probe.ask(&mut instance, &short, BUDGET).map(|_| ());
        let rows = ["model.predict/1", "model.predict/2", "train/1", "represent/1"];
        if short.calls().iter().any(|call| rows.contains(&call.as_str())) {
            misled.push(Misled { instance, answer, well });
        }
    }
    if misled.is_empty() { Err(skipped("it asks for nothing that could lack a row")) } else { Ok(misled) }
}

fn panic_becomes_error(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let mut told = "the answer is refused";
    for Misled { mut instance, answer, well } in misled(subject, &probe)? {
        match answer {
            Ok(()) => return Err(warning("it does not notice that a row is missing")),
            Err(error) if error.code == PluginCode::Panicked => {
                told = "the panic is caught, and the instance refuses later calls";
                let later = [probe.ask(&mut instance, &well, BUDGET).err(), instance.save().err()];
                let refused =
                    |error: &Option<PluginError>| error.as_ref().is_some_and(|e| e.code == PluginCode::Poisoned);
                demand(later.iter().all(refused), || "after a panic the instance goes on".to_owned())?;
            }
            Err(error) => drop(error),
        }
    }
    Ok(told.to_owned())
}

fn drop_after_panic(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    for Misled { instance, well, .. } in misled(subject, &probe)? {
        let before = probe.ask_new(&well, BUDGET)?;
        drop(instance);
        let after = probe.ask_new(&well, BUDGET)?;
        demand(before == after, || "a new instance chooses differently".to_owned())?;
    }
    Ok(String::new())
}
