//! The cases as such, and what holds of every strategy of this repository for any pool, through its loaded library.

use super::subject::{Probe, seed_bytes};
use super::*;
use crate::plugin::{Library, PluginError, Verified};
use coldstart_plugin_api::testing::TestHost;
use coldstart_plugin_api::{Role, Selection};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[test]
fn every_case_has_a_name_of_its_own_and_a_paragraph_and_its_place() {
    let names: BTreeSet<&str> = cases().map(|case| case.name).collect();
    assert_eq!(names.len(), cases().count());
    for case in cases() {
        assert!(case.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", case.name);
        assert!(case.about.len() > 60 && case.about.ends_with('.'), "{}", case.name);
    }
    assert!(cases().map(|case| case.level).is_sorted());
}

#[test]
fn a_mistyped_case_is_met_with_the_nearest() {
    assert_eq!(named("bad-parms").err().unwrap().hint(), "did you mean `bad-params`?");
}

/// The libraries of the strategies in `plugins`, by name; `None`, said aloud, where they were not built beside these tests.
fn shipped() -> Option<BTreeMap<String, Probe>> {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let built = std::env::current_exe().unwrap().parent()?.parent()?.to_owned();
    let mut probes = BTreeMap::new();
    for folder in std::fs::read_dir(folders).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let name = folder.file_name().into_string().unwrap();
        let file = built.join(format!("libcoldstart_{}.so", name.replace('-', "_")));
        if !file.is_file() {
            eprintln!("skipped: {} is not there; build the workspace first", file.display());
            return None;
        }
        let library = Library::load(&Verified::read_unjudged(&file).unwrap()).unwrap();
        probes.insert(name, Probe::of(library, "{}".to_owned()));
    }
    Some(probes)
}

/// A pool, what is labelled of it, and a question.
#[derive(Debug, Clone)]
struct Pool {
    /// From each id to the next, and whether that image is labelled in a round of queries.
    images: Vec<(u64, bool)>,
    n_classes: usize,
    round: u32,
    /// The share of the unlabelled images that is asked for.
    share: f64,
    seed: u64,
}

/// Pools of 2 to 60 images, from no image to all asked for.
fn pools() -> impl Strategy<Value = Pool> {
    let images =
        prop::collection::vec((prop_oneof![3 => 1_u64..4, 1 => 1_u64..1 << 40], prop::bool::weighted(0.25)), 2..60);
    let share = prop_oneof![4 => 0.0..1.0, 1 => Just(0.0), 1 => Just(1.0)];
    (images, 1_usize..8, 0_u32..4, share, any::<u64>()).prop_map(|(images, n_classes, round, share, seed)| Pool {
        images,
        n_classes,
        round,
        share,
        seed,
    })
}

impl Pool {
    /// The same pool in a round that the role is for.
    fn for_role(&self, role: Role) -> Pool {
        let round = if role == Role::Initial { 0 } else { self.round.max(1) };
        Pool { round, ..self.clone() }
    }

    fn host(&self) -> TestHost {
        let mut last = 0;
        let ids: Vec<(u64, bool)> = self
            .images
            .iter()
            .map(|(gap, labelled)| {
                last += gap;
                (last, *labelled && self.round > 0)
            })
            .collect();
        let labelled: Vec<u64> = ids.iter().filter(|(_, labelled)| *labelled).map(|(id, _)| *id).collect();
        TestHost::with_ids(ids.into_iter().map(|(id, _)| id).collect())
            .plausibly(self.n_classes, self.seed)
            .labelled(&labelled)
            .seed(seed_bytes(self.seed))
            .round(self.round)
    }

    fn budget(&self, host: &TestHost) -> usize {
        (host.request(0).unlabelled.len() as f64 * self.share).round() as usize
    }
}

/// Ask each of these strategies, in every role, about random pools.
fn for_all(names: &[&str], n_pools: u32, holds: impl Fn(&str, &Probe, &Pool) -> Result<(), TestCaseError>) {
    let Some(probes) = shipped() else { return };
    let known: Vec<&str> = probes.keys().map(String::as_str).collect();
    for name in if names.is_empty() { &known[..] } else { names } {
        let probe = &probes[*name];
        for role in &probe.manifest.roles {
            let role = if *role == Role::Initial.name() { Role::Initial } else { Role::Query };
            let mut runner = TestRunner::new(Config { cases: n_pools, failure_persistence: None, ..Config::default() });
            let found = runner.run(&pools(), |pool| holds(name, probe, &pool.for_role(role)));
            found.unwrap_or_else(|error| panic!("{name} as {role:?}: {error}"));
        }
    }
}

/// As many images as were asked for, of those that are not labelled, none twice: [`Probe::ask`] holds the answer against that.
/// And the same question has the same answer.
#[test]
fn every_answer_is_a_selection_and_the_same_twice() {
    for_all(&[], 24, |name, probe, pool| {
        let ask = || {
            let host = pool.host();
            probe.ask_new(&host, pool.budget(&host))
        };
        prop_assert_eq!(ask().map_err(unexpected)?, ask().map_err(unexpected)?, "{}", name);
        Ok(())
    });
}

/// Strategies that give each pick what it adds: a distance, a part of the pool that is covered, a score.
const FALLING: [&str; 8] =
    ["entropy", "least-confidence", "margin", "bald", "var-ratio", "coreset", "max-herding", "probcover"];

/// Scores never rise from a pick to the next. Sums of up to 60 numbers in f32 are off by less than 1e-5 of the largest.
#[test]
fn what_a_pick_adds_never_rises() {
    for_all(&FALLING, 48, |name, probe, pool| {
        // What is covered from the start nobody tells: without labels, that is nothing.
        let covers = name == "probcover";
        let images = pool.images.iter().map(|(gap, labelled)| (*gap, *labelled && !covers)).collect();
        let host = Pool { images, ..pool.clone() }.host();
        let mut scores = probe.ask_new(&host, pool.budget(&host)).map_err(unexpected)?.selection.scores;
        // Beside no labelled image the first pick of distances is drawn, and at no distance.
        if name == "coreset" && host.request(0).labelled.is_empty() && !scores.is_empty() {
            scores.remove(0);
        }
        // Once all is covered, balls are halved, and begin to cover anew.
        if covers {
            let mut covered = 0.0;
            let more = scores.iter().take_while(|score| {
                let before = covered;
                covered += **score;
                before < 1.0 - 1e-5
            });
            scores.truncate(more.count());
        }
        let largest = scores.iter().copied().map(f32::abs).fold(0.0, f32::max);
        prop_assert!(scores.windows(2).all(|pair| pair[1] <= pair[0] + 1e-5 * largest), "{scores:?}");
        Ok(())
    });
}

/// What depends on features and answers alone, and draws nothing.
const EQUIVARIANT: [&str; 5] = ["entropy", "least-confidence", "margin", "bald", "var-ratio"];

/// Images that change places among the ids are chosen all the same, in the same order; scores of random answers do not tie.
#[test]
fn a_permuted_pool_has_the_permuted_answer() {
    for_all(&EQUIVARIANT, 48, |_, probe, pool| {
        // One class ties them all; labels would have to change places too.
        let images = pool.images.iter().map(|(gap, _)| (*gap, false)).collect();
        let pool = Pool { images, n_classes: pool.n_classes.max(2), ..pool.clone() };
        let (host, shuffled) = (pool.host(), pool.host().shuffled(pool.seed));
        let budget = pool.budget(&host);
        let still = probe.ask_new(&host, budget).map_err(unexpected)?.selection;
        let moved = probe.ask_new(&shuffled, budget).map_err(unexpected)?.selection;
        prop_assume!(!ties(&still));
        let moved: Vec<u64> = moved.ids.into_iter().map(|id| shuffled.image_of(id)).collect();
        prop_assert_eq!(still.ids, moved);
        Ok(())
    });
}

/// Information is never negative, and images together never tell more than the sum of what each tells. Of the drawn outcomes'
/// error there is none: up to five picks of two classes are followed in all their outcomes.
#[test]
fn information_is_positive_and_together_no_more_than_its_parts() {
    for_all(&["batch-bald"], 48, |_, _, pool| {
        let host = Pool { n_classes: 2, ..pool.clone() }.host();
        let n = host.request(0).unlabelled.len();
        let passes = r#"{"passes": 16}"#.to_owned();
        let with_passes = |name: &str| {
            let probe = shipped().expect("they were there").remove(name).expect("it was there");
            Probe { params: passes.clone(), ..probe }
        };
        let (parts, together) = (with_passes("bald"), with_passes("batch-bald"));
        let alone = parts.ask_new(&host, n).map_err(unexpected)?.selection;
        prop_assert!(alone.scores.iter().all(|score| *score >= -1e-9), "{:?}", alone.scores);
        let of: BTreeMap<u64, f32> = alone.ids.iter().copied().zip(alone.scores.iter().copied()).collect();
        let chosen = together.ask_new(&host, pool.budget(&host).min(5)).map_err(unexpected)?.selection;
        let joint: f32 = chosen.scores.iter().sum();
        let sum: f32 = chosen.ids.iter().map(|id| of[id]).sum();
        prop_assert!(joint <= sum + 1e-5, "together {joint}, one by one {sum}");
        Ok(())
    });
}

fn unexpected(error: PluginError) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// Whether two picks have the same score, to the accuracy of f32.
fn ties(selection: &Selection) -> bool {
    selection.scores.windows(2).any(|pair| (pair[0] - pair[1]).abs() < 1e-6)
}
