//! The same question, the same answer.

use super::child::{self, CHOSEN};
use super::outcome::{Outcome, Tried, Verdict, demand, skipped};
use super::subject::{BUDGET, Probe, Subject, seed_bytes};
use super::{Case, Level, Order};
use crate::plugin::{Answer, Limits, Verified};
use coldstart_plugin_api::{Rng, Selection};

pub const CASES: [Case; 5] = [
    Case {
        name: "same-seed-same-answer",
        level: Level::Conform,
        about: "The same request, answers of the host and seed give the same selection: by one instance after another, and in \
                another process, where hash maps iterate in another order.",
        gate: false,
        run: chosen_twice,
    },
    Case {
        name: "threads-do-not-matter",
        level: Level::Conform,
        about: "Told that it may keep one thread busy or eight, it chooses the same.",
        gate: false,
        run: chosen,
    },
    Case {
        name: "seed-matters",
        level: Level::Conform,
        about: "Other seeds give other selections, if it draws at all: one that ignores the request's seed cannot be repeated \
                five times. Skipped where no seed changes anything.",
        gate: false,
        run: seed_matters,
    },
    Case {
        name: "order-does-not-matter",
        level: Level::Conform,
        about: "With the images shuffled among the ids, it chooses the same images. Nobody promises that, and a draw by chance \
                does not: it is skipped where the set differs.",
        gate: false,
        run: order,
    },
    Case {
        name: "apart-is-the-same",
        level: Level::Conform,
        about: "In a worker, as it runs when it is not trusted, it chooses the same as when it is loaded into the process that \
                asks, byte for byte.",
        gate: false,
        run: chosen,
    },
];

/// What goes on where a case has told what the plugin chooses: it is held against what other processes tell.
pub type Comparison = fn(&Order, &str) -> Tried;

/// The cases that are decided by what several processes tell.
pub const COMPARED: [(&str, Comparison); 3] =
    [("same-seed-same-answer", same_seed), ("threads-do-not-matter", threads), ("apart-is-the-same", apart)];

/// What it chooses, as ids and the bits of the scores, so that a child process can tell it.
pub fn chosen(subject: &Subject) -> Tried {
    let threads = std::env::var("RAYON_NUM_THREADS").ok().and_then(|threads| threads.parse().ok()).unwrap_or(1);
    let probe = subject.probe()?;
    let mut told = Vec::new();
    for host in subject.hosts_with(|host| host.threads(threads))? {
        told.push(words(&probe.ask_new(&host, BUDGET)?));
    }
    Ok(told.join("; "))
}

fn words(Answer { selection, report }: &Answer) -> String {
    let scores: Vec<u32> = selection.scores.iter().map(|score| score.to_bits()).collect();
    format!("{:?} {scores:?} {report:?}", selection.ids)
}

fn chosen_twice(subject: &Subject) -> Tried {
    let first = chosen(subject)?;
    demand(chosen(subject)? == first, || "a second instance chooses differently".to_owned())?;
    Ok(first)
}

/// What it chooses in a process of its own with this many threads.
fn chosen_elsewhere(order: &Order, threads: u32) -> Tried {
    let verdict = child::run(order, CHOSEN, None, threads).verdict;
    if verdict.result == Outcome::Success { Ok(verdict.detail) } else { Err(verdict) }
}

fn same_seed(order: &Order, first: &str) -> Tried {
    demand(chosen_elsewhere(order, 1)? == first, || "another process chooses differently".to_owned())?;
    Ok(String::new())
}

fn threads(order: &Order, one: &str) -> Tried {
    demand(chosen_elsewhere(order, 8)? == one, || "with eight threads it chooses differently".to_owned())?;
    Ok(String::new())
}

/// The plugin runs in a worker; this process only asks it.
fn apart(order: &Order, inside: &str) -> Tried {
    let subject = Subject::open(order.clone(), None)?;
    let plugin = Verified::read_unjudged(&order.file)?;
    let limits = Limits { timeout: order.timeout, strict: order.strict, ..Limits::default() };
    let params = serde_json::Value::Object(subject.params()?).to_string();
    let probe = Probe::in_worker(&plugin, &limits, params)?;
    let mut outside = Vec::new();
    for host in subject.hosts()? {
        outside.push(words(&probe.ask_new(&host, BUDGET)?));
    }
    demand(outside.join("; ") == inside, || "apart from the program it chooses differently".to_owned())?;
    Ok(String::new())
}

fn seed_matters(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let ask = |seed: u64| -> Result<Vec<Answer>, Verdict> {
        let hosts = subject.hosts_with(|host| host.seed(seed_bytes(subject.order.seed.wrapping_add(seed))))?;
        let unscored = |answer: Answer| Answer { selection: Selection::of(answer.selection.ids), ..answer };
        hosts.iter().map(|host| Ok(unscored(probe.ask_new(host, BUDGET)?))).collect()
    };
    let first = ask(0)?;
    for seed in 1..5 {
        if ask(seed)? != first {
            return Ok(String::new());
        }
    }
    Err(skipped("it does not draw: five seeds choose the same"))
}

fn order(subject: &Subject) -> Tried {
    let probe = subject.probe()?;
    let shuffle = Rng::for_stream(seed_bytes(subject.order.seed), "order").next_u64();
    for (host, shuffled) in subject.hosts()?.into_iter().zip(subject.hosts_with(|host| host.shuffled(shuffle))?) {
        let request = host.request(BUDGET);
        let labelled: Vec<u64> = host
            .request(0)
            .pool()
            .into_iter()
            .filter(|id| request.labelled.contains(&shuffled.image_of(*id)))
            .collect();
        let shuffled = shuffled.labelled(&labelled);
        let Answer { selection, report } = probe.ask_new(&host, BUDGET)?;
        let moved = probe.ask_new(&shuffled, BUDGET)?;
        let mut still = selection.ids;
        let mut images: Vec<u64> = moved.selection.ids.into_iter().map(|id| shuffled.image_of(id)).collect();
        still.sort_unstable();
        images.sort_unstable();
        if still != images || report != moved.report {
            return Err(skipped("it draws, or breaks ties by id"));
        }
    }
    Ok(String::new())
}
