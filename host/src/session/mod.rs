//! A session puts the rooms together: config in, a finished run directory out.
//!
//! The only place where plugins, data, engine and loop meet. Everything that can be known to be wrong is found before
//! the run directory is made and before anything is trained.

mod around;
mod choose;
mod cross_validation;
mod ensemble;
mod error;
mod estimate;
mod extend;
mod inputs;
mod judge;
mod learner;
mod mixed;
mod muted;
mod outside;
mod preflight;
mod record;
mod run_info;
mod selector;
mod shelf;
mod strategy;
mod taught;
mod threads;

pub use choose::{Chooser, Chosen, Found, NearCopies, Predicted, Question};
pub use error::SessionError;
pub use estimate::{Estimate, Interval};
pub use inputs::{Inputs, fingerprint, has_device_of};
pub use judge::{Diagnosis, Judgement, diagnose, represent};
pub use preflight::{AtKey, Preflight, of_data};
pub use shelf::Shelf;

use crate::config::{self, Config, Sandbox};
use crate::data::{Dataset, FeatureFile, Pins, Shape};
use crate::engine::{self, Device, EngineError, Images, Restart};
use crate::experiment::{
    Budget, End, Experiment, Failure, Metrics, Outcome, RunDir, RunError, Selector, SizerTerms, Sizers, Watcher,
};
use crate::limits;
use crate::operations::{self, Cache, Meter, Representation, Services, Task};
use crate::plugin::Recorder;
use crate::plugin::lock::Lock;
use coldstart_plugin_api::ops::EnvInfo;
use coldstart_plugin_api::{Bounds, Role};
use mixed::Mixed;
use record::Environment;
use run_info::{as_if, bare_name, run_info};
use selector::{Player, PluginSelector, PluginSizer, RunView};
use shelf::Parts;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strategy::{Finder, Strategy, gib};
use taught::Taught;

/// What a user says beside the config.
#[derive(Clone)]
pub struct Options {
    /// Where relative data paths begin; a run that is resumed remembers its own.
    pub data_root: Option<PathBuf>,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Set when the user wants to stop.
    pub cancelled: Arc<AtomicBool>,
    /// Hears of progress.
    pub meter: Arc<dyn Meter>,
    /// What was trained before.
    pub cache: Cache,
    /// Run plugins that nobody has signed, each in a process of its own.
    pub allow_unsigned: bool,
    /// Run a learner in Python that the user has given no leave for good.
    pub allow_learner: bool,
    /// How well plugins that run apart must be shut in at the least; a config can only demand more.
    pub sandbox: Sandbox,
    /// Record what passes between the host and each strategy.
    pub record: bool,
    /// The only plugins that a new run may use; a run that is resumed has a lock of its own.
    pub lock: Option<Lock>,
    /// The most CPU threads where the config leaves them open; 0 for as many as there are cores.
    pub threads: usize,
    /// What runs of this process leave for the next.
    pub shelf: Arc<Shelf>,
}

impl Options {
    /// Opens the device for work on images of this shape, and says so.
    fn open_device(&self, config: &Config, shape: Shape) -> Result<Device, EngineError> {
        let device = match config.threads {
            0 => engine::open(&self.device, self.threads)?.fitting(threads::largest_step(config, shape)),
            threads => engine::open(&self.device, threads)?,
        };
        self.meter.device(&device.to_string());
        Ok(device)
    }
}

/// Run a config into a new folder, from the beginning or from round 0 of another run.
///
/// `from` must be a finished run whose config differs from this one in nothing that matters in round 0: all but its name and
/// the section `[query]`. `at_key` only serves messages: how to point at a key in the config. Errs with everything that can be known
/// to be wrong: before the images are read, before anything is trained, before there is a folder.
pub fn start(
    mut config: Config,
    (out, from): (&Path, Option<&Path>),
    options: &Options,
    watcher: &mut dyn Watcher,
    at_key: AtKey<'_>,
) -> Result<Outcome, SessionError> {
    let strategies = preflight::before_the_images(&mut config, options, at_key).map_err(SessionError::several)?;
    // After the config's own mistakes, which another folder would not mend, and before the images are read.
    RunDir::check_free(out)?;
    let outside = outside::begin(&config, &strategies, options, at_key).map_err(SessionError::several)?;
    if let Some(begun) = &outside {
        config.training.params.clone_from(&begun.params);
    }
    let strategies = strategies.into_iter().map(Arc::new).collect();
    let pins = record::pin(&config)?;
    let start = Instant::now();
    let data = options.shelf.data(&config, options.data_root.as_deref(), &options.cancelled);
    let data = data.map_err(|error| preflight::of_session(error, &config, at_key))?;
    let reading = start.elapsed();
    let device = options.open_device(&config, data.shape)?;
    SessionError::of(preflight::of_images(&config, &data, at_key))?;
    if let Some(error) = preflight::of_model(&config, &data, &device, at_key) {
        return Err(error);
    }
    let root = options.data_root.clone();
    let session = Session { config, data, root, pins, reading, device, strategies, outside };
    session.run(Place::New { out, from }, options, watcher)
}

/// How many labels a run has, if its journal says that it is finished. Errs where the folder holds no run.
pub fn finished(dir: &Path) -> Result<Option<usize>, SessionError> {
    let dir = open_run(dir)?;
    // What is wrong with its files is told by whoever goes on with it.
    let record = dir.record().unwrap_or_default();
    let last = record.rounds.len().checked_sub(1).filter(|_| record.is_finished);
    Ok(last.and_then(|last| dir.read_metrics(last as u32).ok()).map(|last| last.labels))
}

/// The measures of a finished run; none of one that is not, or of which a round is gone.
///
/// Errs when a file of it is not what the run wrote.
fn rounds_of_finished(dir: &RunDir) -> Result<Option<Vec<Metrics>>, RunError> {
    let record = dir.record()?;
    if !record.is_finished {
        return Ok(None);
    }
    dir.check_beginning(&record)?;
    let there = dir.rounds_there(&record)?;
    if (there as usize) < record.rounds.len() {
        return Ok(None);
    }
    (0..there).map(|round| dir.read_metrics(round)).collect::<Result<_, _>>().map(Some)
}

/// A run's folder; errs at one that holds a study, or nothing.
fn open_run(dir: &Path) -> Result<RunDir, SessionError> {
    if !dir.join("config.toml").is_file() && dir.join("plan.csv").is_file() {
        return Err(SessionError::Study { dir: dir.to_owned() });
    }
    Ok(RunDir::open(dir)?)
}

/// Go on with a run where it stopped; with the same threads, data and plugin files, or not at all.
///
/// `end` lets it end later than so far, which makes more rounds of a finished run, too.
pub fn resume(
    dir: &Path,
    end: Option<End>,
    options: &Options,
    watcher: &mut dyn Watcher,
) -> Result<Outcome, SessionError> {
    let dir = open_run(dir)?;
    dir.check_one_of_beginning(&dir.record()?, "environment.json")?;
    let environment = Environment::read(&dir)?;
    environment.check_config(&dir)?;
    let mut config = Config::read_resolved(&dir.path("config.toml"))?;
    extend::extend(&mut config, &dir.record()?, end, &dir)?;
    let pins = record::pin(&config)?;
    environment.check_files(&pins)?;
    dir.check_one_of_beginning(&dir.record()?, "plugins.lock")?;
    let locked = record::read_lock(&dir)?;
    let strategies = preflight::find_locked(&mut config, &locked, environment.threads, options)?;
    let script = outside::find(&config, options)?;
    outside::check_same(script.as_ref(), &environment, &dir)?;
    let start = Instant::now();
    let root = Some(options.data_root.clone().unwrap_or_else(|| environment.data_root.clone()));
    let data = options.shelf.data(&config, root.as_deref(), &options.cancelled)?;
    let reading = start.elapsed();
    if data.fingerprint != environment.dataset.fingerprint {
        return Err(SessionError::OtherData { dir: dir.root().to_owned() });
    }
    if let (None, Some(rounds)) = (end, rounds_of_finished(&dir)?) {
        dir.warn_of_changed(&dir.record()?)?;
        // It only repeats what the rounds say, and is written anew for whatever has happened to it.
        dir.write_results(&rounds)?;
        return Ok(Outcome { rounds });
    }
    let device = engine::open(&environment.device, environment.threads)?;
    options.meter.device(&device.to_string());
    let outside = script.map(|script| outside::start(script, &config, environment.threads, options)).transpose()?;
    outside.iter().for_each(|begun| begun.warn_of_versions(environment.learner.as_ref()));
    let session = Session { config, data, root, pins, reading, device, strategies, outside };
    session.run(Place::Old { dir, extended: end }, options, watcher)
}

/// A run's folder: one to be made, or one to go on in.
enum Place<'a> {
    New { out: &'a Path, from: Option<&'a Path> },
    Old { dir: RunDir, extended: Option<End> },
}

impl Place<'_> {
    /// Whether the run was recorded so far.
    fn has_recordings(&self) -> bool {
        matches!(self, Place::Old { dir, .. } if dir.path(selector::RECORDINGS).is_dir())
    }
}

/// Everything that takes part, before the run has a folder.
struct Session {
    config: Config,
    data: Arc<Dataset>,
    /// Where relative data paths begin.
    root: Option<PathBuf>,
    /// The files of weights and features.
    pins: Pins,
    reading: Duration,
    device: Device,
    /// In the order of the config's seats.
    strategies: Vec<Arc<Strategy>>,
    /// The process of a learner that is not the engine's.
    outside: Option<outside::Begun>,
}

impl Session {
    fn run(self, place: Place<'_>, options: &Options, watcher: &mut dyn Watcher) -> Result<Outcome, SessionError> {
        let Session { config, data, root, pins, reading, device, strategies, outside } = self;
        let budget = budget(&config);
        budget.check(data.pool.len())?;
        let Parts { pool, test, validation } = options.shelf.parts(&device, &config, &data)?;
        let services = Arc::new(services(&config, (data.clone(), pool), pins, &device, options)?);
        let key_of_features = operations::key_of_features(&services);
        *services.features.lock().unwrap_or_else(PoisonError::into_inner) = options.shelf.features(&key_of_features);
        let recorded = options.record || place.has_recordings();
        let mut initial_selector = selector(Role::Initial, &config, &strategies, &services, recorded)?;
        let mut query_selector = selector(Role::Query, &config, &strategies, &services, recorded)?;
        let learner_record = outside.as_ref().map(outside::Begun::record);
        let locked_learner = outside.as_ref().map(outside::Begun::locked).transpose()?;
        let mut learner = match outside {
            Some(begun) => Taught::outside(begun, &config, &services, &device, root.as_deref())?,
            None => Taught::engine(&config, &services, &device, (Some(test), validation)),
        };
        learner.check_weights()?;
        let mut sizers = sizers(&config, &strategies, &services, recorded)?;

        let (dir, extended) = match place {
            Place::Old { dir, extended } => (dir, extended),
            Place::New { out, from } => {
                let dir = RunDir::create(out)?;
                let root = root.as_deref().unwrap_or(Path::new("."));
                let from = from.map(RunDir::open).transpose()?;
                if let Some(from) = &from {
                    outside::check_round_0(learner_record.as_ref(), from)?;
                }
                let ran = record::Ran { strategies: &strategies, learner: learner_record, locked_learner };
                record::write(&dir, &config, (&data, root), &services.pins, &device, &ran)?;
                if let Some(from) = from {
                    let failed = |source| RunError::Step { round: 0, step: "storing", source };
                    dir.take_round_0(&from, &query_selector.save().map_err(failed)?)?;
                }
                (dir, None)
            }
        };
        initial_selector.record_in(&dir);
        query_selector.record_in(&dir);
        sizers.iter_mut().for_each(|sizer| sizer.player.record_in(&dir));
        let mut seats = Sizers::default();
        for (sizer, (number, settings)) in sizers.iter_mut().zip(config.initial.sizers()) {
            let least = settings.least.unwrap_or(config.query.size);
            let bounds = Bounds { least, most: settings.most };
            let query = settings.query.as_deref().map(bare_name);
            seats.push(sizer, SizerTerms { bounds, followed: number == 0, query });
        }
        let check_sources = || -> Result<(), Failure> {
            services.pins.check()?;
            Ok(options.shelf.check_data(&config, root.as_deref(), &options.cancelled)?)
        };
        let experiment = Experiment {
            data: &data,
            learner: learner.as_learner(),
            initial: &mut initial_selector,
            query: &mut query_selector,
            sizers: seats,
            budget,
            extended,
            seed: learner::seed_of(&config),
            reading,
            warm: config.training.restart == Restart::Warm,
            dir: &dir,
            check_sources: &check_sources,
            watcher,
        };
        let outcome = experiment.run();
        let made = services.features.lock().unwrap_or_else(PoisonError::into_inner);
        options.shelf.keep_features(key_of_features, &made);
        let pool = services.task.lock().pool.again();
        options.shelf.put_back(learner.parts(pool));
        Ok(outcome?)
    }
}

/// How many images the config labels.
fn budget(config: &Config) -> Budget {
    let config::Query { size, rounds, until, .. } = config.query;
    let end = until.map_or(End::Rounds(rounds.unwrap_or(0)), End::Labels);
    Budget { initial: config.initial.least(size), query: size, end }
}

/// The pool's images on the device.
fn pool_images(config: &Config, data: &Dataset, device: &Device) -> Result<Images, EngineError> {
    let shape = learner::image_shape(data.shape);
    match config.model.is_script() {
        true => Images::from_0_to_1(&data.pool.pixels_nhwc, shape, device),
        false => Images::new(&data.pool.pixels_nhwc, shape, device),
    }
}

/// The selector of a role: the strategy in its seat, and the one that is mixed in.
fn selector(
    role: Role,
    config: &Config,
    strategies: &[Arc<Strategy>],
    services: &Arc<Services>,
    recorded: bool,
) -> Result<Mixed, SessionError> {
    let (own, around, mix) = match role {
        Role::Initial => (&config.initial.representation, config.initial.around(), &config.initial.mix),
        _ => (&config.query.representation, config.query.around(), &config.query.mix),
    };
    let seed = match role {
        Role::Initial => config.initial.seed.unwrap_or(config.seed),
        _ => config.seed,
    };
    let own = representation(own.as_ref(), config, &services.data).map_err(SessionError::of_key)?;
    let features = own.or_else(|| services.representation.clone());
    let view = RunView { run_seed: seed, features, run: run_info(config, strategies) };
    let mut of_role = strategies.iter().filter(|strategy| strategy.seat.role == role).map(|strategy| {
        let recorder = recorded.then(|| Recorder::new(strategy.head()));
        let player = Player::create(strategy.clone(), services.clone(), view.clone(), recorder);
        player.map(|player| PluginSelector { player, around })
    });
    let mut next = || of_role.next().expect("each seat has its strategy");
    let first = next()?;
    let other = match mix {
        Some(mix) => Some((next()?, mix.weight)),
        None => None,
    };
    Ok(Mixed { first, other })
}

/// The sizers of a run, in the order of the config; they look at what the initial strategy looks at.
fn sizers(
    config: &Config,
    strategies: &[Arc<Strategy>],
    services: &Arc<Services>,
    recorded: bool,
) -> Result<Vec<PluginSizer>, SessionError> {
    let seed = config.initial.seed.unwrap_or(config.seed);
    let own =
        representation(config.initial.representation.as_ref(), config, &services.data).map_err(SessionError::of_key)?;
    let features = own.or_else(|| services.representation.clone());
    let run = run_info(config, strategies);
    let of_role = strategies.iter().filter(|strategy| strategy.seat.role == Role::Sizer);
    let sizer = |(strategy, (_, settings)): (&Arc<Strategy>, (u32, &config::SizerSettings))| {
        let run = settings.query.as_ref().map_or_else(|| run.clone(), |query| as_if(&run, query));
        let recorder = recorded.then(|| Recorder::new(strategy.head()));
        let view = RunView { run_seed: seed, features: features.clone(), run };
        Ok(PluginSizer { player: Player::create(strategy.clone(), services.clone(), view, recorder)? })
    };
    of_role.zip(config.initial.sizers()).map(sizer).collect()
}

/// What operations draw on, for a run of `config`.
fn services(
    config: &Config,
    (data, pool): (Arc<Dataset>, Images),
    pins: Pins,
    device: &Device,
    options: &Options,
) -> Result<Services, SessionError> {
    Ok(Services {
        representation: representation(config.representation.as_ref(), config, &data).map_err(SessionError::of_key)?,
        features: Mutex::default(),
        pins,
        oracles: config.plugins.oracles,
        data,
        task: Arc::new(Task::new(pool)),
        env: EnvInfo { threads: device.threads() as u32, device: kind_of(device) },
        device: device.clone(),
        model: config.model.clone(),
        precision: config.training.precision,
        run_seed: config.seed,
        tensor_bytes: gib(config.plugins.memory),
        host_time: Duration::from_secs_f64(config.plugins.timeout).saturating_mul(limits::HOST_TIME.most as u32 + 1),
        until: Mutex::default(),
        cache: options.cache.clone(),
        network: Mutex::default(),
        cancelled: options.cancelled.clone(),
        meter: options.meter.clone(),
    })
}

/// Where the features of a section come from, if there is one. Errs with the key, as in `[representation]`, and the sentence.
fn representation(
    section: Option<&config::Representation>,
    config: &Config,
    data: &Dataset,
) -> Result<Option<Representation>, (String, String)> {
    let Some(section) = section else { return Ok(data.given.as_ref().map(|_| Representation::Given)) };
    Ok(Some(match section.method.as_str() {
        "pixels" => Representation::Pixels { components: section.components.unwrap_or(COMPONENTS) as usize },
        "handcrafted" => Representation::Handcrafted,
        "file" => Representation::File(section.file().unwrap_or_else(|| FeatureFile::of(Path::new("")))),
        "random-network" => {
            let seed = section.seed.unwrap_or(config.seed);
            Representation::RandomNetwork { model: section.model(&config.model), seed }
        }
        _ => {
            let side = data.shape.height.min(data.shape.width);
            let spec = section.spec(side, &config.model);
            Representation::Trained(spec?)
        }
    }))
}

/// Principal components of the pixels, unless the config says how many: as few as keep nine tenths of the variance of small
/// photographs.
const COMPONENTS: u32 = 128;

/// `cpu` or `cuda`, without the number.
fn kind_of(device: &Device) -> String {
    device.id().split(':').next().unwrap_or_default().to_owned()
}
