//! A host for tests: runs a strategy as the program does, without the program, libtorch or a GPU.
//!
//! The strategy is called through the same binary surface as in a loaded library, so panics, parameters and wrong
//! answers are met here as they would be there. A test pretends what matters to it ([`TestHost::probabilities`],
//! [`TestHost::trained`] ...), or lets everything be answered plausibly ([`TestHost::plausible`]), and may have the host
//! fail in a way that a real one can ([`TestHost::failing`], [`TestHost::cancelled_at`] ...).

use crate::abi::std_types::RVec;
use crate::abi::{self, HostRef, RRef};
use crate::manifest;
use crate::ops::{self, Op, Output};
use crate::tensors::{HostTensor, Tensors};
use crate::training::TrainSpec;
use crate::{Prequential, Request, Rng};
use abi_stable::type_level::downcasting::TD_Opaque;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

mod answers;
mod border;
mod faults;
mod instance;
mod maths;
mod plausible;

pub use instance::TestInstance;

/// A pool, a pretended model, and a record of what a strategy did with them.
///
/// ```
/// # use coldstart_plugin_api::*;
/// # use coldstart_plugin_api::testing::TestHost;
/// # struct First;
/// # impl Strategy for First {
/// #     type Params = NoParams;
/// #     fn new(_: NoParams, _: &Host<'_>) -> Result<Self> { Ok(First) }
/// #     fn select(&mut self, request: &Request, _: &Host<'_>) -> Result<Selection> {
/// #         Ok(Selection::of(request.unlabelled[..request.budget].to_vec()))
/// #     }
/// # }
/// let host = TestHost::new(10).labelled(&[0, 3]);
/// let selection = host.select::<First>("{}", 2).unwrap();
/// assert_eq!(selection.ids, [1, 2]);
/// ```
pub struct TestHost {
    ids: Vec<u64>,
    /// What each image shows, where it is not the image of its id.
    shown: Option<Vec<u64>>,
    labelled: Vec<u64>,
    labels: BTreeMap<u64, u64>,
    outputs: BTreeMap<&'static str, Rows>,
    passes: Option<(Rows, usize)>,
    trainings: BTreeMap<String, Training>,
    representation: Option<Rows>,
    run: ops::RunInfo,
    prequential: Vec<Prequential>,
    /// What each pretended strategy prefers: images, most wanted first.
    rankings: BTreeMap<String, Vec<u64>>,
    plausible: Option<plausible::Plausible>,
    missing: Vec<&'static str>,
    faults: faults::Faults,
    round: u32,
    seed: [u8; 32],
    threads: u32,
    tensors: Tensors,
    calls: Mutex<Vec<String>>,
    heard: Mutex<Vec<String>>,
    progress: Mutex<Vec<(String, u64, u64)>>,
    artifacts: Mutex<BTreeMap<String, Vec<u8>>>,
    specs: Mutex<Vec<TrainSpec>>,
    maps: Mutex<Vec<TestMap>>,
    choices: Mutex<Vec<TestChoice>>,
}

/// One row for each pool image, and how long a row is.
type Rows = (Vec<f32>, usize);

/// What a pretended training leaves behind.
#[derive(Default)]
struct Training {
    records: Vec<Vec<Vec<f32>>>,
    outputs: BTreeMap<&'static str, Rows>,
}

/// The run that a strategy is told of, unless a test says otherwise.
fn ordinary_run() -> ops::RunInfo {
    let strategy =
        |name: &str, criterion: &str| ops::StrategyInfo { name: name.to_owned(), criterion: criterion.to_owned() };
    ops::RunInfo {
        initial: strategy("random", manifest::criterion::CHANCE),
        query: strategy("entropy", manifest::criterion::UNCERTAINTY),
        learner: ops::LearnerInfo { name: "supervised".to_owned(), frozen: false },
        query_size: 1,
        until: None,
    }
}

/// A strategy may ask from several threads; one that panicked has left nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A map that a strategy put.
#[derive(Debug, Clone, PartialEq)]
pub struct TestMap {
    /// What it says of itself.
    pub args: ops::MapArgs,
    /// The images.
    pub ids: Vec<u64>,
    /// Two numbers for each image.
    pub places: Vec<f32>,
    /// A group for each image.
    pub groups: Vec<u64>,
}

/// What a strategy had another strategy choose.
#[derive(Debug, Clone, PartialEq)]
pub struct TestChoice {
    /// Who was asked for what.
    pub args: ops::SelectArgs,
    /// The images to choose from, in the order in which they came.
    pub candidates: Vec<u64>,
    /// The answer.
    pub chosen: Vec<u64>,
}

impl TestHost {
    /// A pool of `n` one-pixel images with the ids 0..n, none labelled, and no model.
    pub fn new(n: u64) -> TestHost {
        TestHost::with_ids((0..n).collect())
    }

    /// A pool with these ids, ascending.
    pub fn with_ids(ids: Vec<u64>) -> TestHost {
        TestHost {
            ids,
            shown: None,
            labelled: Vec::new(),
            labels: BTreeMap::new(),
            outputs: BTreeMap::new(),
            passes: None,
            trainings: BTreeMap::new(),
            representation: None,
            run: ordinary_run(),
            prequential: Vec::new(),
            rankings: BTreeMap::new(),
            plausible: None,
            missing: Vec::new(),
            faults: faults::Faults::default(),
            round: 1,
            seed: [0; 32],
            threads: 1,
            tensors: Tensors::default(),
            calls: Mutex::default(),
            heard: Mutex::default(),
            progress: Mutex::default(),
            artifacts: Mutex::default(),
            specs: Mutex::default(),
            maps: Mutex::default(),
            choices: Mutex::default(),
        }
    }

    /// A pool of `n` images with the ids 0..n, in which every operation is answered plausibly: a model that tells
    /// `classes` classes apart, trainings whatever their spec, a representation, labels, pixels.
    ///
    /// The same seed answers the same; an image's answer does not depend on what is asked beside it.
    pub fn plausible(n: u64, classes: usize, seed: u64) -> TestHost {
        TestHost::new(n).plausibly(classes, seed)
    }

    /// Answer everything that a test does not pretend itself plausibly; see [`TestHost::plausible`].
    pub fn plausibly(mut self, classes: usize, seed: u64) -> TestHost {
        let plausible = plausible::Plausible { n_classes: classes, seed, undecided: false, alike: false };
        self.plausible = Some(plausible);
        self
    }

    /// Let the plausible model find every class as probable as any other, for every image.
    pub fn undecided(mut self) -> TestHost {
        self.plausible.iter_mut().for_each(|plausible| plausible.undecided = true);
        self
    }

    /// Let all plausible embeddings be the same.
    pub fn all_alike(mut self) -> TestHost {
        self.plausible.iter_mut().for_each(|plausible| plausible.alike = true);
        self
    }

    /// Let the images change places: each id shows the image that another id showed before, see [`TestHost::image_of`].
    pub fn shuffled(mut self, seed: u64) -> TestHost {
        let mut shown = self.ids.clone();
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Rng::for_stream(key, "shuffled").shuffle(&mut shown);
        self.shown = Some(shown);
        self
    }

    /// The id under which a pool image was shown before the images changed places.
    ///
    /// # Panics
    /// If there is no such id in the pool.
    pub fn image_of(&self, id: u64) -> u64 {
        let position = self.ids.binary_search(&id).expect("an id of the pool");
        self.shown.as_ref().map_or(id, |shown| shown[position])
    }

    /// Make these images the labelled set.
    pub fn labelled(mut self, ids: &[u64]) -> TestHost {
        self.labelled = ids.to_vec();
        self.labelled.sort_unstable();
        self
    }

    /// Say the class of a pool image; a strategy can read it once the image is labelled.
    pub fn label(mut self, id: u64, class: u64) -> TestHost {
        self.labels.insert(id, class);
        self
    }

    /// Pretend a model that answers these class probabilities, one row for each pool image.
    pub fn probabilities<const C: usize>(self, rows: &[[f32; C]]) -> TestHost {
        self.output(Output::Probabilities, rows)
    }

    /// Pretend a model with this output, one row for each pool image.
    pub fn output<const M: usize>(mut self, output: Output, rows: &[[f32; M]]) -> TestHost {
        self.outputs.insert(output.name(), (rows.concat(), M));
        self
    }

    /// Pretend a model that answers these class probabilities under dropout: for each pool image a row for each pass.
    pub fn passes<const K: usize, const C: usize>(mut self, rows: &[[[f32; C]; K]]) -> TestHost {
        self.passes = Some(((rows.as_flattened().concat(), K * C), K));
        self
    }

    /// Pretend that a training whose spec has this name leaves these records: for each record its rows (one for each
    /// epoch, or one), for each row a number for each pool image.
    pub fn trained(mut self, name: &str, records: Vec<Vec<Vec<f32>>>) -> TestHost {
        self.trainings.entry(name.to_owned()).or_default().records = records;
        self
    }

    /// Pretend that the network of that training has this output, one row for each pool image.
    pub fn trained_output<const M: usize>(mut self, name: &str, output: Output, rows: &[[f32; M]]) -> TestHost {
        let training = self.trainings.entry(name.to_owned()).or_default();
        training.outputs.insert(output.name(), (rows.concat(), M));
        self
    }

    /// Pretend a shared representation, one row for each pool image.
    pub fn representation<const D: usize>(mut self, rows: &[[f32; D]]) -> TestHost {
        self.representation = Some((rows.concat(), D));
        self
    }

    /// The strategy that chooses after the initial set, and what its manifest says it goes by.
    pub fn querying(mut self, name: &str, criterion: &str) -> TestHost {
        self.run.query = ops::StrategyInfo { name: name.to_owned(), criterion: criterion.to_owned() };
        self
    }

    /// The learner of the run.
    pub fn learner(mut self, name: &str, frozen: bool) -> TestHost {
        self.run.learner = ops::LearnerInfo { name: name.to_owned(), frozen };
        self
    }

    /// Pretend that the model of the round before found `predicted` most probable for an image that `round` labelled; its class is the
    /// one that [`TestHost::label`] says.
    ///
    /// # Panics
    /// If the image has no class.
    pub fn predicted(mut self, id: u64, round: u32, predicted: u64) -> TestHost {
        let label = *self.labels.get(&id).expect("say the image's class first");
        self.prequential.push(Prequential { id, round, predicted, label });
        self
    }

    /// Pretend another strategy that can be composed, and prefers the images in this order; images that are not in it come last.
    pub fn choosing(mut self, strategy: &str, ranking: &[u64]) -> TestHost {
        self.rankings.insert(strategy.to_owned(), ranking.to_owned());
        self
    }

    /// Stop offering an operation.
    pub fn without(mut self, op: Op) -> TestHost {
        self.missing.push(op.0);
        self
    }

    /// Offer these operations and no others.
    pub fn offering(mut self, ops: &[Op]) -> TestHost {
        self.missing = ops::ALL.iter().filter(|op| !ops.contains(op)).map(|op| op.0).collect();
        self
    }

    fn offers(&self, op: &str) -> bool {
        !self.missing.contains(&op)
    }

    /// How many threads a strategy is told that it may keep busy (1 unless told otherwise).
    pub fn threads(mut self, threads: u32) -> TestHost {
        self.threads = threads;
        self
    }

    /// The round to ask in (1 unless told otherwise).
    pub fn round(mut self, round: u32) -> TestHost {
        self.round = round;
        self
    }

    /// The seed of the request.
    pub fn seed(mut self, seed: [u8; 32]) -> TestHost {
        self.seed = seed;
        self
    }

    /// What a request for `budget` images looks like here.
    pub fn request(&self, budget: usize) -> Request {
        let unlabelled: Vec<u64> =
            self.ids.iter().copied().filter(|id| self.labelled.binary_search(id).is_err()).collect();
        Request {
            round: self.round,
            budget: budget.min(unlabelled.len()),
            seed: self.seed,
            unlabelled,
            labelled: self.labelled.clone(),
        }
    }

    /// The same request as it crosses the border, for a selector of a loaded library; its tensors are kept until
    /// [`TestHost::release_request`].
    pub fn border_request(&self, budget: usize) -> abi::Request {
        let request = self.request(budget);
        abi::Request {
            round: request.round,
            budget: request.budget as u64,
            seed: request.seed,
            unlabelled: self.tensors.insert(HostTensor::of_u64(&request.unlabelled)),
            labelled: self.tensors.insert(HostTensor::of_u64(&request.labelled)),
            extra: RVec::new(),
        }
    }

    /// Forget a request's tensors.
    pub fn release_request(&self, request: &abi::Request) {
        self.tensors.release(request.unlabelled);
        self.tensors.release(request.labelled);
    }

    /// The host that a loaded library is given.
    pub fn as_host(&self) -> HostRef<'_> {
        HostRef::from_ptr(RRef::new(self), TD_Opaque)
    }

    /// The names of the operations that the strategy asked for, in order.
    pub fn calls(&self) -> Vec<String> {
        lock(&self.calls).clone()
    }

    /// What the strategy logged, as `level target: message`, and how far it said it was, as `progress stage: done/total`;
    /// the first 100 000 lines.
    pub fn logged(&self) -> Vec<String> {
        lock(&self.heard).clone()
    }

    /// How far the strategy said it was: stage, done, total; in order.
    pub fn progress(&self) -> Vec<(String, u64, u64)> {
        lock(&self.progress).clone()
    }

    /// The artifacts that the strategy put, by name.
    pub fn artifacts(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.artifacts).clone()
    }

    /// The specs that the strategy had trained, in order.
    pub fn specs(&self) -> Vec<TrainSpec> {
        lock(&self.specs).clone()
    }

    /// The maps that the strategy put, in order.
    pub fn maps(&self) -> Vec<TestMap> {
        lock(&self.maps).clone()
    }

    /// What the strategy had other strategies choose, in order.
    pub fn choices(&self) -> Vec<TestChoice> {
        lock(&self.choices).clone()
    }

    /// Tensors that were not released: 0 after a well-behaved call.
    pub fn tensors_left(&self) -> usize {
        self.tensors.len()
    }
}

#[cfg(test)]
mod tests;
