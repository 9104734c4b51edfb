//! Loading it, and what a host finds afterwards.

use super::outcome::{Tried, Verdict, demand, failed, skipped, warning};
use super::subject::{BUDGET, Subject, load};
use super::{Case, Level};
use crate::plugin::{Manifest, SearchPath};
use coldstart_plugin_api::API_VERSION;
use std::collections::BTreeSet;
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
        // A load that succeeds has compared the two.
        run: |subject| Ok(load(&subject.order.file)?.verified().manifest.full_name()),
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

fn loads(subject: &Subject) -> Tried {
    let library = load(&subject.order.file)?;
    Ok(format!("contract {}, this host's is {API_VERSION}", library.verified().manifest.api))
}

fn loads_fast(subject: &Subject) -> Tried {
    let start = Instant::now();
    load(&subject.order.file)?;
    let took = start.elapsed();
    let told = format!("{:.1} ms", 1e3 * took.as_secs_f64());
    if took > FAST { Err(warning(told)) } else { Ok(told) }
}

fn with_another(subject: &Subject, before: bool) -> Tried {
    let other = another(subject)?;
    let (first, second) = if before { (&subject.order.file, &other) } else { (&other, &subject.order.file) };
    let loaded = [load(first)?, load(second)?];
    for library in &loaded {
        let said =
            Manifest::read(&library.verified().file.display().to_string(), &std::fs::read(&library.verified().file)?)?
                .0;
        demand(said == library.verified().manifest, || {
            format!("`{}` is no longer itself", library.verified().manifest.name)
        })?;
    }
    let probe = subject.probe()?;
    for host in subject.hosts()? {
        probe.ask_new(&host, BUDGET)?;
    }
    Ok(format!(
        "with `{}` {}",
        loaded[usize::from(before)].verified().manifest.name,
        if before { "after it" } else { "before it" }
    ))
}

/// Another plugin from the search path.
fn another(subject: &Subject) -> Result<PathBuf, Verdict> {
    let own = subject.manifest()?;
    let other = SearchPath::new(&[]).candidates().into_iter().find(|candidate| {
        let usable = |manifest: &Manifest| manifest.name != own.name && manifest.check("").is_ok();
        candidate.manifest.as_ref().is_ok_and(usable)
    });
    other.map(|candidate| candidate.found.file).ok_or_else(|| skipped("there is no other plugin on the search path"))
}

fn loads_twice(subject: &Subject) -> Tried {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("copy.so");
    // A byte after the end of the file changes its hash and nothing else: the copy is another library to a host.
    std::fs::write(&copy, [&subject.bytes[..], &[0]].concat())?;
    let probe = subject.probe()?;
    let mut twin = subject.probe()?;
    twin.library = load(&copy)?;
    demand(probe.library.verified().sha256 != twin.library.verified().sha256, || "the copy was not loaded".to_owned())?;
    for host in subject.hosts()? {
        let (one, other) = (probe.ask_new(&host, BUDGET)?, twin.ask_new(&host, BUDGET)?);
        demand(one == other, || "the two copies choose differently".to_owned())?;
        let again = probe.ask_new(&host, BUDGET)?;
        demand(one == again, || "the first copy chooses differently after the second was asked".to_owned())?;
    }
    Ok(String::new())
}

fn loads_quietly(subject: &Subject) -> Tried {
    let before = (count_threads()?, open_files()?, caught_signals()?);
    load(&subject.order.file)?;
    let after = (count_threads()?, open_files()?, caught_signals()?);
    demand(after.0 == before.0, || format!("it started {} threads", after.0.saturating_sub(before.0)))?;
    demand(after.2 == before.2, || "it set a signal handler".to_owned())?;
    // The host's own sealed copy stays open.
    let left: Vec<&String> = after.1.difference(&before.1).filter(|file| !file.contains("memfd:coldstart")).collect();
    match left.first() {
        Some(file) => Err(failed(format!("it left {file} open"))),
        None => Ok(String::new()),
    }
}

fn count_threads() -> std::io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

fn open_files() -> std::io::Result<BTreeSet<String>> {
    let links = std::fs::read_dir("/proc/self/fd")?.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    // The folder that is being read is among them.
    Ok(links.map(|link| link.display().to_string()).filter(|link| !link.ends_with("/fd")).collect())
}

fn caught_signals() -> std::io::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    Ok(status.lines().find(|line| line.starts_with("SigCgt")).unwrap_or_default().to_owned())
}
