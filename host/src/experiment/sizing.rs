//! How large the initial set becomes, where a sizer says it; and what other sizers would have said.
//!
//! A sizer is asked before every round until it is content. The one that is followed decides: as long as it wants more images
//! than are labelled, the initial strategy chooses the next round too. Advisers only speak for the record.

use super::{Ask, Effort, Failure};
use coldstart_plugin_api::{Bounds, Sizing, wire};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;

/// What says how large the initial set should be.
pub trait Sizer {
    /// Its name.
    fn name(&self) -> &str;

    /// How many images the initial strategy should have chosen in all; `ask.budget` is how many a round labels.
    fn size(&mut self, ask: &Ask<'_>, bounds: Bounds) -> Result<(Sizing, Effort), Failure>;

    /// State to store after the round; empty if there is none.
    fn save(&mut self) -> Result<Vec<u8>, Failure>;

    /// Take up stored state.
    fn load(&mut self, state: &[u8]) -> Result<(), Failure>;
}

/// The sizers of a run.
#[derive(Default)]
pub struct Sizers<'a> {
    seats: Vec<Seat<'a>>,
}

struct Seat<'a> {
    /// Its name; with a number if others bear it too and are told of the same query strategy.
    label: String,
    sizer: &'a mut dyn Sizer,
    terms: SizerTerms,
    content: bool,
}

/// On what terms a sizer is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizerTerms {
    /// The sizes that it may say.
    pub bounds: Bounds,
    /// Whether the run acts on what it says; the others are advisers.
    pub followed: bool,
    /// The query strategy that it is told of instead of the run's.
    pub query: Option<String>,
}

/// What was said before a round: `sizing.json` in its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sizings {
    /// Images labelled before the round.
    pub labels: usize,
    /// In round 0, where a sizer is followed: the size of the initial set.
    pub initial: Option<usize>,
    /// Whether the initial strategy chooses this round.
    pub initial_chooses: bool,
    /// What each sizer said that was not content yet.
    pub said: Vec<Said>,
}

/// What one sizer said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// Its name; the second of the same name that is told of the same query strategy is `NAME 2`.
    pub sizer: String,
    /// The query strategy that it is told of, if that is not the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Whether the run acts on it.
    pub followed: bool,
    /// Images that the initial strategy should have chosen in all.
    pub wanted: usize,
    /// The nearest size that it is allowed to say.
    pub size: usize,
    /// Whether what it wants is no more than there are, or the largest initial set is reached: it is not asked again.
    pub content: bool,
    /// Its reason.
    pub reason: String,
    /// The numbers that it rests on.
    pub measures: BTreeMap<String, f64>,
}

impl<'a> Sizers<'a> {
    /// Add one; the first that is followed decides.
    pub fn push(&mut self, sizer: &'a mut dyn Sizer, terms: SizerTerms) {
        let is_alike = |seat: &&Seat<'_>| seat.sizer.name() == sizer.name() && seat.terms.query == terms.query;
        let label = match self.seats.iter().filter(is_alike).count() {
            0 => sizer.name().to_owned(),
            others => format!("{} {}", sizer.name(), others + 1),
        };
        self.seats.push(Seat { label, sizer, terms, content: false });
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Whether the initial strategy chooses in this round, after what was said last.
    pub fn initial_chooses(&self, round: u32) -> bool {
        round == 0 || self.seats.iter().any(|seat| seat.terms.followed && !seat.content)
    }

    /// Whether somebody will be asked again.
    pub fn is_open(&self) -> bool {
        self.seats.iter().any(|seat| !seat.content)
    }

    /// Ask everyone who is not content; no initial set may have more than `most` images.
    pub fn ask(&mut self, ask: &Ask<'_>, most: usize) -> Result<(Sizings, Effort), Failure> {
        let (mut said, mut initial, mut effort) = (Vec::new(), None, Effort::default());
        let labels = ask.labelled.len();
        for seat in self.seats.iter_mut().filter(|seat| !seat.content) {
            let SizerTerms { bounds, followed, query } = seat.terms.clone();
            let most = bounds.most.min(most).max(1);
            let bounds = Bounds { least: bounds.least.min(most), most };
            let (Sizing { wanted, reason, measures }, more) = seat.sizer.size(ask, bounds)?;
            effort.add(more);
            let size = wanted.clamp(bounds.least.max(1), bounds.most);
            if ask.round == 0 && followed {
                initial = Some(size);
            }
            seat.content = ask.round > 0 && (wanted <= labels || labels >= bounds.most);
            let (sizer, content) = (seat.label.clone(), seat.content);
            said.push(Said { sizer, query, followed, wanted, size, content, reason, measures });
        }
        let initial_chooses = self.initial_chooses(ask.round);
        Ok((Sizings { labels, initial, initial_chooses, said }, effort))
    }

    /// Remember who was content in an earlier round.
    pub fn recall(&mut self, earlier: &Sizings) {
        let asked = self.seats.iter_mut().filter(|seat| !seat.content);
        asked.zip(&earlier.said).for_each(|(seat, said)| seat.content = said.content);
    }

    /// The states of all.
    pub fn save(&mut self) -> Result<Vec<u8>, Failure> {
        let states = self.seats.iter_mut().map(|seat| Ok(ByteBuf::from(seat.sizer.save()?)));
        Ok(wire::encode(&states.collect::<Result<Vec<ByteBuf>, Failure>>()?))
    }

    /// Take up the states of all.
    pub fn load(&mut self, states: &[u8]) -> Result<(), Failure> {
        let states: Vec<ByteBuf> = wire::decode(states).map_err(|error| error.message)?;
        if states.len() != self.seats.len() {
            let problem = format!("{} states for {} sizers", states.len(), self.seats.len());
            return Err(problem.into());
        }
        self.seats.iter_mut().zip(states).try_for_each(|(seat, state)| seat.sizer.load(&state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wants these sizes, one after the other, and remembers how far it has come.
    struct Script(&'static [usize], u8);

    impl Sizer for Script {
        fn name(&self) -> &str {
            "script"
        }

        fn size(&mut self, _: &Ask<'_>, _: Bounds) -> Result<(Sizing, Effort), Failure> {
            self.1 += 1;
            Ok((Sizing::of(self.0[self.1 as usize - 1], "so it is written"), Effort::default()))
        }

        fn save(&mut self) -> Result<Vec<u8>, Failure> {
            Ok(vec![self.1])
        }

        fn load(&mut self, state: &[u8]) -> Result<(), Failure> {
            self.1 = state[0];
            Ok(())
        }
    }

    const BOUNDS: Bounds = Bounds { least: 5, most: 40 };

    fn terms(followed: bool, query: Option<&str>) -> SizerTerms {
        SizerTerms { bounds: BOUNDS, followed, query: query.map(str::to_owned) }
    }

    /// Rounds of 10 after an initial set of what the first said; who chose them, and who spoke.
    fn walk(sizers: &mut Sizers<'_>, rounds: u32) -> Vec<(usize, bool, Vec<usize>)> {
        let mut labelled: Vec<u64> = Vec::new();
        let mut walked = Vec::new();
        for round in 0..rounds {
            let ask = Ask { round, budget: 10, unlabelled: &[], labelled: &labelled, prequential: &[] };
            let (sizings, _) = sizers.ask(&ask, 100).unwrap();
            let n = sizings.initial.unwrap_or(10) as u64;
            walked.push((n as usize, sizings.initial_chooses, sizings.said.iter().map(|said| said.wanted).collect()));
            labelled.extend(labelled.len() as u64..labelled.len() as u64 + n);
        }
        walked
    }

    #[test]
    fn the_initial_strategy_goes_on_until_the_sizer_is_content() {
        for (wants, expected) in [
            // Once content, it is not asked again.
            (&[20, 20][..], vec![(20, true, vec![20]), (10, false, vec![20]), (10, false, vec![])]),
            (&[0, 99, 15], vec![(5, true, vec![0]), (10, true, vec![99]), (10, false, vec![15])]),
            // The largest initial set is reached whatever it wants.
            (&[99, 99], vec![(40, true, vec![99]), (10, false, vec![99]), (10, false, vec![])]),
        ] {
            let mut script = Script(wants, 0);
            let mut sizers = Sizers::default();
            sizers.push(&mut script, terms(true, None));
            assert_eq!(walk(&mut sizers, 3), expected, "{wants:?}");
        }
    }

    #[test]
    fn sizers_of_one_name_are_told_apart_by_what_they_are_told() {
        let mut scripts: Vec<Script> = (0..4).map(|_| Script(&[9], 0)).collect();
        let mut sizers = Sizers::default();
        for (script, query) in scripts.iter_mut().zip([None, Some("a"), Some("a"), Some("b")]) {
            sizers.push(script, terms(false, query));
        }
        let labels: Vec<&str> = sizers.seats.iter().map(|seat| seat.label.as_str()).collect();
        assert_eq!(labels, ["script", "script", "script 2", "script"]);
    }

    #[test]
    fn advisers_decide_nothing_and_all_is_remembered() {
        let (mut first, mut second) = (Script(&[9, 9], 0), Script(&[30, 30, 30], 0));
        let mut sizers = Sizers::default();
        sizers.push(&mut first, terms(false, None));
        sizers.push(&mut second, terms(false, None));
        let walked = walk(&mut sizers, 3);
        assert_eq!(walked, [(10, true, vec![9, 30]), (10, false, vec![9, 30]), (10, false, vec![30])]);
        assert_eq!([&sizers.seats[0].label, &sizers.seats[1].label], ["script", "script 2"]);
        let state = sizers.save().unwrap();

        let (mut first, mut second) = (Script(&[], 0), Script(&[], 0));
        let mut resumed = Sizers::default();
        resumed.push(&mut first, terms(false, None));
        resumed.push(&mut second, terms(false, None));
        resumed.load(&state).unwrap();
        assert!(resumed.load(&wire::encode(&Vec::<ByteBuf>::new())).is_err());
        assert_eq!((first.1, second.1), (2, 3));
    }
}
