//! Loading it, and what a host finds afterwards.

use super::outcome::{Tried, Verdict, demand, failed, warning};
use super::subject::{BUDGET, Probe, Subject};
use super::{Case, Level};
use crate::plugin::{Library, Manifest, SearchPath, Verified};
use coldstart_plugin_api::API_VERSION;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A host that lists many plugins should not wait for one.
const FAST: Duration = Duration::from_millis(100);

pub const CASES: [Case; 7] = [
    Case {
        name: "loads",
        level: Level::Load,
        about: "The library can be loaded as a host loads it: from a sealed copy in memory, all symbols bound at once, none of \
                them visible to other libraries. The layout of every type that crosses the border agrees with this host's.",
        gate: true,
        run: loads,
    },
    Case {
        name: "descriptor-agrees",
        level: Level::Load,
        about: "What the loaded code says of itself equals, byte for byte, the manifest in the file, which is all that a user \
                sees before anything runs.",
        gate: true,
        run: descriptor_agrees,
    },
    Case {
        name: "loads-fast",
        level: Level::Load,
        about: "Verifying and loading take less than 100 ms: a program that has many plugins must not wait for one.",
        gate: false,
        run: loads_fast,
    },
    Case {
        name: "loads-before-another",
        level: Level::Load,
        about: "Another plugin can be loaded after it into the same process, and both are still themselves.",
        gate: false,
        run: |subject| with_another(subject, true),
    },
    Case {
        name: "loads-after-another",
        level: Level::Load,
        about: "It can be loaded into a process that has loaded another plugin before, and both are still themselves.",
        gate: false,
        run: |subject| with_another(subject, false),
    },
    Case {
        name: "loads-twice",
        level: Level::Load,
        about: "Two copies of it in one process, each with statics of its own, do not disturb each other: an author who \
                rebuilds while a session is open has both.",
        gate: false,
        run: loads_twice,
    },
    Case {
        name: "loads-quietly",
        level: Level::Load,
        about: "Loading it starts no thread, leaves no file open, and sets no signal handler.",
        gate: false,
        run: loads_quietly,
    },
];

/// The cases that load two plugins.
pub const BESIDE_ANOTHER: [&str; 2] = ["loads-before-another", "loads-after-another"];

fn loads(subject: &Subject) -> Tried {
    let probe = subject.load()?;
    drop(probe);
    Ok(format!("contract {}, this host's is {API_VERSION}", subject.manifest()?.api))
}

/// A load that succeeds has compared the two.
fn descriptor_agrees(subject: &Subject) -> Tried {
    subject.load()?;
    Ok(subject.manifest()?.full_name())
}

fn loads_fast(subject: &Subject) -> Tried {
    let sealed = subject.library()?.sealed().try_clone()?;
    let took = time_to_load(sealed)?;
    let told = format!("{:.1} ms", 1e3 * took.as_secs_f64());
    if took > FAST { Err(warning(told)) } else { Ok(told) }
}

fn time_to_load(sealed: OwnedFd) -> Result<Duration, Verdict> {
    let start = Instant::now();
    Library::load(&Verified::from_sealed(sealed)?)?;
    Ok(start.elapsed())
}

fn with_another(subject: &Subject, before: bool) -> Tried {
    let (own, other) = (subject.library()?, subject.other()?);
    let other_name = other.manifest.name.clone();
    let both = if before { [&own, &other] } else { [&other, &own] };
    for library in both {
        let loaded = Library::load(library)?;
        let said = Verified::from_sealed(loaded.verified().sealed().try_clone()?)?.manifest;
        demand(said == library.manifest, || format!("`{}` is no longer itself", library.manifest.name))?;
    }
    let probe = subject.probe()?;
    for host in subject.hosts()? {
        probe.ask_new(&host, BUDGET)?;
    }
    Ok(format!("with `{other_name}` {}", if before { "after it" } else { "before it" }))
}

/// Another plugin from the search path.
pub fn another(own: &Manifest) -> Option<PathBuf> {
    let other = SearchPath::new(&[]).candidates().into_iter().find(|candidate| {
        let usable = |manifest: &Manifest| manifest.name != own.name && manifest.check("").is_ok();
        candidate.manifest.as_ref().is_ok_and(usable)
    });
    other.map(|candidate| candidate.found.file)
}

fn loads_twice(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let twin = Probe::of(Library::load(&subject.twin()?)?, probe.params.clone());
    for host in subject.hosts()? {
        let (one, other) = (probe.ask_new(&host, BUDGET)?, twin.ask_new(&host, BUDGET)?);
        demand(one == other, || "the two copies choose differently".to_owned())?;
        let again = probe.ask_new(&host, BUDGET)?;
        demand(one == again, || "the first copy chooses differently after the second was asked".to_owned())?;
    }
    Ok(String::new())
}

fn loads_quietly(subject: &Subject) -> Tried {
    let library = subject.library()?;
    let told = |name: &str| subject.status(name);
    let before = (told("Threads")?, subject.open_files()?, told("SigCgt")?);
    Library::load(&library)?;
    let after = (told("Threads")?, subject.open_files()?, told("SigCgt")?);
    demand(after.0 == before.0, || format!("there are {} threads, where there was {}", after.0, before.0))?;
    demand(after.2 == before.2, || "it set a signal handler".to_owned())?;
    // The host's own sealed copy stays open.
    let left: Vec<&String> = after.1.difference(&before.1).filter(|file| !file.contains("memfd:coldstart")).collect();
    match left.first() {
        Some(file) => Err(failed(format!("it left {file} open"))),
        None => Ok(String::new()),
    }
}
