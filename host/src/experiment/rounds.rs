//! The rounds of a run.

use super::error::RunError;
use super::files::{create_folder, read, write_atomically};
use super::journal::{Event, Journal};
use super::metrics::{Metrics, metrics};
use super::run_dir::RunDir;
use super::{Ask, Failure, Learner, Selected, Selector, Training, Watcher, chain, seed};
use crate::data::{Dataset, contact_sheet};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many images to label, and in how many steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Size of the initial set.
    pub initial: usize,
    /// Images a query round.
    pub query: usize,
    /// When to end.
    pub end: End,
}

/// When a run has enough labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// After so many query rounds.
    Rounds(u32),
    /// With so many labels; the last round is smaller if need be.
    Labels(usize),
}

impl Budget {
    /// Errs if the pool has fewer images than the rounds need.
    pub fn check(&self, pool: usize) -> Result<(), RunError> {
        let needed = self.initial + (1..=self.rounds()).map(|round| self.of(round)).sum::<usize>();
        if needed > pool {
            let (rounds, budget, initial) = (self.rounds(), self.query, self.initial);
            return Err(RunError::PoolTooSmall { rounds, budget, initial, needed, pool });
        }
        Ok(())
    }

    /// Query rounds after the initial one.
    pub fn rounds(&self) -> u32 {
        match self.end {
            End::Rounds(rounds) => rounds,
            End::Labels(until) => until.saturating_sub(self.initial).div_ceil(self.query.max(1)) as u32,
        }
    }

    fn of(&self, round: u32) -> usize {
        match (round, self.end) {
            (0, _) => self.initial,
            (_, End::Rounds(_)) => self.query,
            (_, End::Labels(until)) => {
                let before = self.initial + self.query * (round as usize - 1);
                self.query.min(until.saturating_sub(before))
            }
        }
    }
}

/// A run, with everything that takes part in it.
pub struct Experiment<'a> {
    /// The images.
    pub data: &'a Dataset,
    /// Trains and asks the task model.
    pub learner: &'a mut dyn Learner,
    /// Chooses in round 0.
    pub initial: &'a mut dyn Selector,
    /// Chooses in rounds 1 and later.
    pub query: &'a mut dyn Selector,
    /// How many images.
    pub budget: Budget,
    /// The seed of training.
    pub seed: u64,
    /// Whether each round continues from the weights of the one before.
    pub warm: bool,
    /// How long it took to read the images; told with the first round that is done.
    pub reading: Duration,
    /// Where it is recorded.
    pub dir: &'a RunDir,
    /// Who watches.
    pub watcher: &'a mut dyn Watcher,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The measures of every round.
    pub rounds: Vec<Metrics>,
}

impl Experiment<'_> {
    /// Do what is left of the run: everything for a new one, the rounds that do not count yet for an old one.
    ///
    /// Whatever the end, the journal says so; on an error all rounds before it are whole.
    pub fn run(mut self) -> Result<Outcome, RunError> {
        let finished = match self.dir.path("journal.jsonl").exists() {
            true => self.dir.finished_rounds()?,
            false => 0,
        };
        let mut journal = Journal::open(&self.dir.path("journal.jsonl"))?;
        let outcome = self.rounds(finished, &mut journal);
        let last = match &outcome {
            Ok(_) => Event::RunFinished,
            Err(RunError::Cancelled) => Event::Interrupted,
            Err(error) => Event::RunFailed { error: chain(error) },
        };
        // A journal that cannot be written is no reason to lose the error that came first.
        journal.append(last).or_else(|error| if outcome.is_ok() { Err(error) } else { Ok(()) })?;
        outcome
    }

    fn rounds(&mut self, finished: u32, journal: &mut Journal) -> Result<Outcome, RunError> {
        let mut state = self.restore(finished)?;
        let start = if finished == 0 { Event::RunStarted } else { Event::Resumed { round: finished } };
        journal.append(start)?;
        self.watcher.run_started(self.dir.root());
        for round in finished..=self.budget.rounds() {
            self.round(round, &mut state, journal)?;
        }
        Ok(Outcome { rounds: state.rounds })
    }

    /// What the finished rounds left: labels, measures, the model and the strategies' states.
    fn restore(&mut self, finished: u32) -> Result<State, RunError> {
        let mut state = State::default();
        for round in 0..finished {
            state.label(self.data, &self.dir.read_selection(round)?)?;
            state.rounds.push(self.dir.read_metrics(round)?);
        }
        for round in finished..=self.budget.rounds() {
            self.dir.discard(round)?;
        }
        let Some(last) = finished.checked_sub(1) else { return Ok(state) };
        if finished <= self.budget.rounds() {
            let checkpoint = self.dir.checkpoint(last);
            let failed = |source| RunError::Step { round: last, step: "restoring", source };
            self.learner.load(&checkpoint.join("model.safetensors")).map_err(failed)?;
            self.initial.load(&read(&checkpoint.join("initial.state"))?).map_err(failed)?;
            self.query.load(&read(&checkpoint.join("query.state"))?).map_err(failed)?;
        }
        self.dir.write_results(&state.rounds)?;
        Ok(state)
    }

    fn round(&mut self, round: u32, state: &mut State, journal: &mut Journal) -> Result<(), RunError> {
        let mut clock = Clock::start();
        match std::mem::take(&mut self.reading) {
            Duration::ZERO => {}
            reading => drop(clock.phases.insert("data", reading)),
        }
        journal.append(Event::RoundStarted { round })?;
        self.watcher.round_started(round, self.budget.rounds(), state.labelled.len(), self.budget.of(round));

        let selected = clock.time("select", || self.select(round, state))?;
        clock.split("select", "plugin", selected.deciding);
        clock.split("select", "predict", selected.predicting);
        clock.split("select", "pretext", selected.training);
        for mishap in &selected.mishaps {
            journal.append(Event::AskedAgain { round, mishap: mishap.clone() })?;
        }
        for pretext in &selected.pretexts {
            journal.append(Event::PretextTrained { round, pretext: pretext.clone() })?;
        }
        clock.time("record", || self.record_selection(round, &selected, state))?;
        journal.append(Event::Selected { round, images: selected.selection.ids.len() })?;
        self.stop_if_cancelled()?;

        let training = clock.time("train", || self.train(round, state))?;
        for (part, took) in &training.phases {
            clock.split("train", part, *took);
        }
        for pretext in &training.pretexts {
            journal.append(Event::PretextTrained { round, pretext: pretext.clone() })?;
        }
        if let Some(retried) = &training.retried {
            journal.append(Event::TrainedAgain { round, retried: retried.clone() })?;
        }
        journal.append(Event::Trained { round })?;
        self.stop_if_cancelled()?;

        let probs_nc = clock.time("evaluate", || {
            self.learner.test_probabilities(round).map_err(|source| self.failed(round, "evaluation", source))
        })?;
        let measured = self.measure(round, state, training, &probs_nc);
        journal.append(Event::Evaluated { round, accuracy: measured.test.accuracy })?;

        clock.time("record", || self.record_round(round, &measured))?;
        self.dir.write_json(round, "timings.json", &clock.timings())?;
        state.rounds.push(measured);
        // The journal's line makes the round count; results.csv only repeats what the rounds' own files say.
        journal.append(Event::RoundFinished { round })?;
        self.dir.write_results(&state.rounds)?;
        self.dir.drop_checkpoint_before(round)?;
        self.watcher.round_finished(&state.rounds[round as usize], clock.started.elapsed());
        self.stop_if_cancelled()
    }

    fn select(&mut self, round: u32, state: &State) -> Result<Selected, RunError> {
        let labelled: Vec<u64> = state.labelled.keys().copied().collect();
        let unlabelled: Vec<u64> =
            self.data.pool.ids.iter().copied().filter(|id| !state.labelled.contains_key(id)).collect();
        let ask = Ask { round, budget: self.budget.of(round), unlabelled: &unlabelled, labelled: &labelled };
        let selector = if round == 0 { &mut *self.initial } else { &mut *self.query };
        selector.select(&ask).map_err(|source| self.failed(round, "selection", source))
    }

    fn record_selection(&self, round: u32, selected: &Selected, state: &mut State) -> Result<(), RunError> {
        let ids = &selected.selection.ids;
        state.label(self.data, ids)?;
        let labels: Vec<u32> = ids.iter().map(|id| self.data.pool.labels[state.labelled[id]]).collect();
        self.dir.write_selection(round, &selected.selection, &labels)?;
        let positions: Vec<usize> = ids.iter().map(|id| state.labelled[id]).collect();
        let picks = contact_sheet(&self.data.pool, self.data.shape, &positions);
        write_atomically(&self.dir.round(round).join("picks.png"), &picks)
    }

    fn train(&mut self, round: u32, state: &State) -> Result<Training, RunError> {
        let positions: Vec<usize> = state.labelled.values().copied().collect();
        let warm = self.warm && round > 0;
        let trained = self.learner.train(round, &positions, seed(self.seed, round, "training"), warm);
        trained.map_err(|source| self.failed(round, "training", source))
    }

    fn measure(&self, round: u32, state: &State, training: Training, probs_nc: &[f32]) -> Metrics {
        let n_classes = self.data.classes.len();
        let test = metrics(probs_nc, &self.data.test.labels, n_classes);
        let mut class_counts = vec![0; n_classes];
        for position in state.labelled.values() {
            class_counts[self.data.pool.labels[*position] as usize] += 1;
        }
        let classes_seen = class_counts.iter().filter(|count| **count > 0).count();
        Metrics {
            round,
            labels: state.labelled.len(),
            labels_validation: self.data.validation.len(),
            test,
            class_counts,
            classes_seen,
            class_coverage: classes_seen as f64 / n_classes.max(1) as f64,
            train_loss: training.loss,
            train_accuracy: training.accuracy,
        }
    }

    fn record_round(&mut self, round: u32, measured: &Metrics) -> Result<(), RunError> {
        self.dir.write_json(round, "metrics.json", measured)?;
        let checkpoint = self.dir.checkpoint(round);
        create_folder(&checkpoint)?;
        let failed = |source| RunError::Step { round, step: "storing", source };
        self.learner.save(&checkpoint.join("model.safetensors")).map_err(failed)?;
        write_atomically(&checkpoint.join("initial.state"), &self.initial.save().map_err(failed)?)?;
        write_atomically(&checkpoint.join("query.state"), &self.query.save().map_err(failed)?)
    }

    fn stop_if_cancelled(&self) -> Result<(), RunError> {
        if self.watcher.cancelled() { Err(RunError::Cancelled) } else { Ok(()) }
    }

    /// A failure while the user is cancelling is the cancellation.
    fn failed(&self, round: u32, step: &'static str, source: Failure) -> RunError {
        if self.watcher.cancelled() { RunError::Cancelled } else { RunError::Step { round, step, source } }
    }
}

/// What has happened so far.
#[derive(Default)]
struct State {
    /// The labelled images: dataset id to pool position. Ascending, so that training sees one order, whatever the
    /// order of the selections.
    labelled: BTreeMap<u64, usize>,
    rounds: Vec<Metrics>,
}

impl State {
    fn label(&mut self, data: &Dataset, ids: &[u64]) -> Result<(), RunError> {
        for id in ids {
            let position = data.pool.ids.binary_search(id).map_err(|_| RunError::Damaged {
                path: "rounds".into(),
                problem: format!("the image {id} was labelled, but is not in the pool: is this another data set?"),
            })?;
            self.labelled.insert(*id, position);
        }
        Ok(())
    }
}

/// Where a round's time goes.
struct Clock {
    started: Instant,
    phases: BTreeMap<&'static str, Duration>,
}

/// What `timings.json` holds.
#[derive(Serialize)]
struct Timings {
    seconds: BTreeMap<&'static str, f64>,
    total: f64,
    peak_memory_bytes: u64,
}

impl Clock {
    fn start() -> Clock {
        Clock { started: Instant::now(), phases: BTreeMap::new() }
    }

    fn time<T>(&mut self, phase: &'static str, body: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = body();
        *self.phases.entry(phase).or_default() += start.elapsed();
        value
    }

    /// Move a part of one phase to another.
    fn split(&mut self, phase: &'static str, part: &'static str, took: Duration) {
        let whole = self.phases.entry(phase).or_default();
        *whole = whole.saturating_sub(took);
        *self.phases.entry(part).or_default() += took;
    }

    fn timings(&self) -> Timings {
        let seconds = self.phases.iter().map(|(phase, took)| (*phase, took.as_secs_f64())).collect();
        Timings { seconds, total: self.started.elapsed().as_secs_f64(), peak_memory_bytes: peak_memory_bytes() }
    }
}

/// The most memory that this process has held at once; 0 where the system does not say.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_after_so_many_rounds_or_with_so_many_labels() {
        for (initial, query, end, sizes) in [
            (5, 10, End::Rounds(2), vec![5, 10, 10]),
            (5, 10, End::Rounds(0), vec![5]),
            (5, 10, End::Labels(25), vec![5, 10, 10]),
            (5, 10, End::Labels(27), vec![5, 10, 10, 2]),
            (5, 10, End::Labels(8), vec![5, 3]),
            (5, 10, End::Labels(5), vec![5]),
        ] {
            let budget = Budget { initial, query, end };
            let rounds: Vec<usize> = (0..=budget.rounds()).map(|round| budget.of(round)).collect();
            assert_eq!(rounds, sizes, "{budget:?}");
            let needed: usize = sizes.iter().sum();
            assert!(budget.check(needed).is_ok() && budget.check(needed - 1).is_err(), "{budget:?}");
        }
    }
}
