//! The rounds of a run.

use super::budget::{Budget, End};
use super::error::RunError;
use super::files::{create_folder, read, write_atomically};
use super::journal::{Event, Journal};
use super::metrics::{Metrics, metrics};
use super::run_dir::{JOURNAL, Record, RunDir, SIZINGS};
use super::sizing::{Sizers, Sizings};
use super::{Ask, Effort, Failure, Learner, Selected, Selector, Training, Watcher, chain, seed};
use crate::data::{Dataset, contact_sheet};
use coldstart_plugin_api::Prequential;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A run, with everything that takes part in it.
pub struct Experiment<'a> {
    /// The images.
    pub data: &'a Dataset,
    /// Trains and asks the task model.
    pub learner: &'a mut dyn Learner,
    /// Chooses in round 0, and for as long as a sizer wants more.
    pub initial: &'a mut dyn Selector,
    /// Chooses afterwards.
    pub query: &'a mut dyn Selector,
    /// Say how large the initial set should be.
    pub sizers: Sizers<'a>,
    /// How many images.
    pub budget: Budget,
    /// When the run ends, if that is later than it was known before.
    pub extended: Option<End>,
    /// The seed of training.
    pub seed: u64,
    /// Whether each round continues from the weights of the one before.
    pub warm: bool,
    /// How long it took to read the images; told with the first round that is done.
    pub reading: Duration,
    /// Where it is recorded.
    pub dir: &'a RunDir,
    /// Errs if the files of the user's that the run stands on are others by now; asked at the end.
    pub check_sources: &'a dyn Fn() -> Result<(), Failure>,
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
        let mut journal = Journal::open(&self.dir.path(JOURNAL))?;
        if let Some(end) = self.extended {
            journal.append(Event::Extended { end })?;
        }
        let record = self.dir.record()?;
        let outcome = self.rounds(&record, &mut journal);
        let last = match &outcome {
            Ok(_) => Event::RunFinished { files: self.dir.hash_results()? },
            Err(RunError::Cancelled) => Event::Interrupted,
            Err(error) => Event::RunFailed { error: chain(error) },
        };
        // A journal that cannot be written is no reason to lose the error that came first.
        journal.append(last).or_else(|error| if outcome.is_ok() { Err(error) } else { Ok(()) })?;
        outcome
    }

    fn rounds(&mut self, record: &Record, journal: &mut Journal) -> Result<Outcome, RunError> {
        let (mut round, mut state) = self.restore(record)?;
        let start = match round {
            0 => Event::RunStarted { files: self.dir.hash_beginning()? },
            round => Event::Resumed { round },
        };
        journal.append(start)?;
        self.watcher.run_started(self.dir.root());
        while round <= self.budget.last(round, state.labelled.len()) {
            self.round(round, &mut state, journal)?;
            round += 1;
        }
        (self.check_sources)().map_err(|source| match self.watcher.cancelled() {
            true => RunError::Cancelled,
            false => RunError::Sources(source),
        })?;
        Ok(Outcome { rounds: state.rounds })
    }

    /// With which round the run goes on, and what the rounds before it left: labels, measures, the model and the strategies' states.
    ///
    /// Rounds that count and are not there, or from which nothing goes on, are done again.
    fn restore(&mut self, record: &Record) -> Result<(u32, State), RunError> {
        self.dir.check_beginning(record)?;
        let there = self.dir.rounds_there(record)?;
        let (mut finished, mut state) = (there, self.recall(there)?);
        let goes_on = there <= self.budget.last(there, state.labelled.len());
        if goes_on {
            finished = self.dir.last_checkpoint(record, there)?;
        }
        if finished < there {
            state = self.recall(finished)?;
        }
        for round in 0..finished {
            if !self.sizers.is_empty() {
                self.sizers.recall(&self.dir.read_sizings(round)?);
            }
        }
        self.dir.discard_from(finished)?;
        self.dir.warn_of_changed(&record.before(finished))?;
        let Some(last) = finished.checked_sub(1) else { return Ok((0, state)) };
        if goes_on {
            self.load(last)?;
        }
        self.dir.write_results(&state.rounds)?;
        Ok((finished, state))
    }

    /// The labels and measures of the first rounds.
    fn recall(&self, rounds: u32) -> Result<State, RunError> {
        let mut state = State::default();
        for round in 0..rounds {
            state.label(self.data, &self.dir.read_selection(round)?)?;
            state.prequential.extend(self.dir.read_prequential(round)?);
            state.rounds.push(self.dir.read_metrics(round)?);
        }
        Ok(state)
    }

    /// Take up the model and the states that a round left.
    fn load(&mut self, round: u32) -> Result<(), RunError> {
        let checkpoint = self.dir.checkpoint(round);
        let failed = |source| of_step(round, "restoring", self.watcher.cancelled(), source);
        self.learner.load(&checkpoint.join(self.learner.file_name())).map_err(failed)?;
        self.initial.load(&read(&checkpoint.join("initial.state"))?).map_err(failed)?;
        self.query.load(&read(&checkpoint.join("query.state"))?).map_err(failed)?;
        if !self.sizers.is_empty() {
            self.sizers.load(&read(&checkpoint.join("sizers.state"))?).map_err(failed)?;
        }
        Ok(())
    }

    fn round(&mut self, round: u32, state: &mut State, journal: &mut Journal) -> Result<(), RunError> {
        let mut clock = Clock::start();
        match std::mem::take(&mut self.reading) {
            Duration::ZERO => {}
            reading => drop(clock.phases.insert("data", reading)),
        }
        journal.append(Event::RoundStarted { round })?;
        let unlabelled = state.unlabelled(self.data);
        let mut sizings = None;
        if !self.sizers.is_empty() {
            let (said, effort) = clock.time("size", || self.size(round, state, &unlabelled))?;
            self.note(round, ("size", "size"), &effort, &mut clock, journal)?;
            sizings = Some(said);
        }
        let budget = sizings.as_ref().and_then(|sizings: &Sizings| sizings.initial);
        let budget = budget.unwrap_or_else(|| self.budget.of(round, state.labelled.len()));
        let rounds = self.budget.last(round, state.labelled.len()).max(round);
        self.watcher.round_started(round, rounds, state.labelled.len(), budget);

        let by_initial = self.sizers.initial_chooses(round);
        let selected = clock.time("select", || self.select((round, budget, by_initial), state, &unlabelled))?;
        self.note(round, ("select", "plugin"), &selected.effort, &mut clock, journal)?;
        let before = clock.time("predict", || self.predict_before(round, &selected))?;
        clock.time("record", || self.record_selection(round, &selected, state))?;
        if let Some(predicted) = before {
            let rows = state.learn_of(round, &selected.selection.ids, &predicted, self.data);
            self.dir.write_prequential(round, &rows)?;
        }
        if let Some(sizings) = &sizings {
            self.dir.write_json(round, SIZINGS, sizings)?;
        }
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
        journal.append(Event::RoundFinished { round, files: self.dir.settle(round)? })?;
        self.dir.write_results(&state.rounds)?;
        self.dir.drop_checkpoints_before(round)?;
        self.watcher.round_finished(&state.rounds[round as usize], clock.started.elapsed());
        self.stop_if_cancelled()
    }

    /// Where the time of an answer goes, and what happened meanwhile.
    fn note(
        &self,
        round: u32,
        (phase, own): (&'static str, &'static str),
        effort: &Effort,
        clock: &mut Clock,
        journal: &mut Journal,
    ) -> Result<(), RunError> {
        clock.split(phase, own, effort.deciding);
        clock.split(phase, "predict", effort.predicting);
        clock.split(phase, "pretext", effort.training);
        for mishap in &effort.mishaps {
            journal.append(Event::AskedAgain { round, mishap: mishap.clone() })?;
        }
        for pretext in &effort.pretexts {
            journal.append(Event::PretextTrained { round, pretext: pretext.clone() })?;
        }
        Ok(())
    }

    /// What the sizers say before a round.
    fn size(&mut self, round: u32, state: &State, unlabelled: &[u64]) -> Result<(Sizings, Effort), RunError> {
        let labelled: Vec<u64> = state.labelled.keys().copied().collect();
        let prequential = &state.prequential;
        let ask = Ask { round, budget: self.budget.query, unlabelled, labelled: &labelled, prequential };
        let most = self.budget.most_initial(self.data.pool.len());
        self.sizers.ask(&ask, most).map_err(|source| self.failed(round, "sizing", source))
    }

    fn select(
        &mut self,
        (round, budget, by_initial): (u32, usize, bool),
        state: &State,
        unlabelled: &[u64],
    ) -> Result<Selected, RunError> {
        let labelled: Vec<u64> = state.labelled.keys().copied().collect();
        let ask = Ask { round, budget, unlabelled, labelled: &labelled, prequential: &state.prequential };
        let selector = if by_initial { &mut *self.initial } else { &mut *self.query };
        selector.select(&ask).map_err(|source| self.failed(round, "selection", source))
    }

    /// What the model says of the chosen images before their labels are known; only where a sizer will want to know.
    fn predict_before(&mut self, round: u32, selected: &Selected) -> Result<Option<Vec<usize>>, RunError> {
        if round == 0 || !self.sizers.is_open() {
            return Ok(None);
        }
        let pool = &self.data.pool.ids;
        let position = |id: &u64| pool.binary_search(id).ok();
        let positions: Vec<usize> = selected.selection.ids.iter().filter_map(position).collect();
        let predicted = self.learner.predict_classes(&positions);
        predicted.map(Some).map_err(|source| self.failed(round, "prediction", source))
    }

    fn record_selection(&self, round: u32, selected: &Selected, state: &mut State) -> Result<(), RunError> {
        let ids = &selected.selection.ids;
        state.label(self.data, ids)?;
        let positions: Vec<usize> = ids.iter().map(|id| state.labelled[id]).collect();
        self.dir.write_selection(round, &selected.selection, self.data, &positions)?;
        if !self.data.shape.has_pixels() {
            return Ok(());
        }
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
        let failed = |source| of_step(round, "storing", self.watcher.cancelled(), source);
        self.learner.save(&checkpoint.join(self.learner.file_name())).map_err(failed)?;
        write_atomically(&checkpoint.join("initial.state"), &self.initial.save().map_err(failed)?)?;
        write_atomically(&checkpoint.join("query.state"), &self.query.save().map_err(failed)?)?;
        match self.sizers.is_empty() {
            true => Ok(()),
            false => write_atomically(&checkpoint.join("sizers.state"), &self.sizers.save().map_err(failed)?),
        }
    }

    fn stop_if_cancelled(&self) -> Result<(), RunError> {
        if self.watcher.cancelled() { Err(RunError::Cancelled) } else { Ok(()) }
    }

    fn failed(&self, round: u32, step: &'static str, source: Failure) -> RunError {
        of_step(round, step, self.watcher.cancelled(), source)
    }
}

/// A failure while the user is cancelling is the cancellation.
fn of_step(round: u32, step: &'static str, cancelled: bool, source: Failure) -> RunError {
    if cancelled { RunError::Cancelled } else { RunError::Step { round, step, source } }
}

/// What has happened so far.
#[derive(Default)]
struct State {
    /// The labelled images: dataset id to pool position. Ascending, so that training sees one order, whatever the
    /// order of the selections.
    labelled: BTreeMap<u64, usize>,
    /// What the model said of images before they were labelled.
    prequential: Vec<Prequential>,
    rounds: Vec<Metrics>,
}

impl State {
    /// The other images of the pool, ascending.
    fn unlabelled(&self, data: &Dataset) -> Vec<u64> {
        data.pool.ids.iter().copied().filter(|id| !self.labelled.contains_key(id)).collect()
    }

    /// Keep what the model said of a round's images, now that they are labelled.
    fn learn_of(&mut self, round: u32, ids: &[u64], predicted: &[usize], data: &Dataset) -> Vec<Prequential> {
        let row = |(id, predicted): (&u64, &usize)| {
            let label = u64::from(data.pool.labels[self.labelled[id]]);
            Prequential { id: *id, round, predicted: *predicted as u64, label }
        };
        let rows: Vec<Prequential> = ids.iter().zip(predicted).map(row).collect();
        self.prequential.extend(&rows);
        rows
    }

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
