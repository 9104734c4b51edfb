//! Pools out of the ordinary.

use super::outcome::{Tried, Verdict, skipped, warning};
use super::subject::{BUDGET, N_CLASSES, Subject};
use super::{Case, Level};
use coldstart_plugin_api::testing::TestHost;
use std::time::Instant;

/// Memory above which a call on a million images is worth a warning, in GiB.
const MUCH_MEMORY: f64 = 6.0;

pub const CASES: [Case; 6] = [
    Case {
        name: "empty-pool",
        level: Level::Conform,
        about: "A pool without an unlabelled image is answered with an empty selection or an error, never with a panic.",
        gate: false,
        run: empty_pool,
    },
    Case {
        name: "duplicate-embeddings",
        level: Level::Conform,
        about: "All images look the same to the model: distances are 0, clusters are empty, and the selection is valid all the \
                same.",
        gate: false,
        run: |subject| valid_with(subject, TestHost::all_alike),
    },
    Case {
        name: "constant-probabilities",
        level: Level::Conform,
        about: "The model finds every class as probable as any other, for every image: all scores are equal, and the selection \
                is valid all the same.",
        gate: false,
        run: |subject| valid_with(subject, TestHost::undecided),
    },
    Case {
        name: "one-class",
        level: Level::Conform,
        about: "With a single class every image is certain: no logarithm of 0, no division by 0, a valid selection.",
        gate: false,
        run: |subject| {
            let probe = subject.probe()?;
            for host in subject.hosts_of((0..60).collect(), 1, |host| host)? {
                probe.ask_new(&host, BUDGET)?;
            }
            Ok(String::new())
        },
    },
    Case {
        name: "sparse-ids",
        level: Level::Conform,
        about: "Dataset ids are names, not positions: they start anywhere, have gaps, and may be as large as 64 bits allow.",
        gate: false,
        run: sparse_ids,
    },
    Case {
        name: "million-ids",
        level: Level::Conform,
        about: "A pool of a million images is answered within the time limit; above 6 GiB of memory, the pretended host's \
                share included, it is worth a warning.",
        gate: false,
        run: million_ids,
    },
];

fn empty_pool(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let mut refusal = None;
    for host in subject.hosts_of(Vec::new(), N_CLASSES, |host| host)? {
        refusal = probe.ask_leniently(&host, 0)?.is_none().then_some("with an error").or(refusal);
    }
    for host in subject.hosts_of(vec![4, 9], N_CLASSES, |host| host.labelled(&[4, 9]))? {
        refusal = probe.ask_leniently(&host, 0)?.is_none().then_some("with an error").or(refusal);
    }
    Ok(refusal.unwrap_or_default().to_owned())
}

fn valid_with(subject: &Subject, change: impl Fn(TestHost) -> TestHost) -> Tried {
    let probe = subject.probe()?;
    for host in subject.hosts_with(change)? {
        probe.ask_new(&host, BUDGET)?;
    }
    Ok(String::new())
}

fn sparse_ids(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let gapped = (0..100).map(|i| 1_000_003 + 97 * i * i);
    let ids: Vec<u64> = gapped.chain([u64::MAX - 7, u64::MAX - 1, u64::MAX]).collect();
    for host in subject.hosts_of(ids, N_CLASSES, |host| host)? {
        probe.ask_new(&host, BUDGET)?;
    }
    Ok(String::new())
}

fn million_ids(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let start = Instant::now();
    for host in subject.hosts_of((0..1_000_000).collect(), N_CLASSES, |host| host)? {
        probe.ask_new(&host, 1000)?;
    }
    let gib = peak_memory(subject)?;
    let told = format!("{:.1} s, {gib:.1} GiB at most", start.elapsed().as_secs_f64());
    if gib > MUCH_MEMORY { Err(warning(told)) } else { Ok(told) }
}

/// The most memory that this process has had, in GiB.
fn peak_memory(subject: &Subject) -> Result<f64, Verdict> {
    let said = subject.status("VmHWM")?;
    let kib: Option<u32> = said.strip_suffix("kB").and_then(|kib| kib.trim().parse().ok());
    let kib = kib.ok_or_else(|| skipped("the kernel does not say how much memory a process has had"))?;
    Ok(f64::from(kib) / f64::from(1 << 20))
}
