//! What can be known of a config before anything is trained, or a run has a folder: what the config says, what the manifests of its
//! strategies say, and what the images say.

use super::shelf::set_of;
use super::{Finder, Options, SessionError, Strategy, budget, learner, outside, representation};
use crate::config::{self, Config, ConfigError, Seat};
use crate::data::{DataError, Dataset, Kind, Part, read_features};
use crate::engine::{self, Device, EngineError, HeadSettings, Init, Model};
use crate::experiment::{Budget, End};
use crate::plugin::SearchPath;
use crate::plugin::lock::Lock;
use crate::plugin::trust::TrustStore;
use coldstart_plugin_api::ops::{Op, POOL_PIXELS_1, PREDICT_2, REPRESENT_1, TRAIN_1};
use coldstart_plugin_api::{Rng, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to point at a key of the config in a message.
pub type AtKey<'a> = &'a dyn Fn(&str, String) -> ConfigError;

/// A parameter by which a strategy says, by custom, whose features it looks at once there is a model.
const SPACE: &str = "space";
const REPRESENTATION: &str = "representation";

/// Checks the configs of a study, each with all its mistakes, and does nothing twice for configs that are alike in it.
pub struct Preflight {
    options: Options,
    /// Whether the runs are done on this machine: the devices of another one are not known here.
    is_here: bool,
    /// The strategies that were found, by what the config says of them.
    found: BTreeMap<String, Arc<Vec<Strategy>>>,
    /// Models that were made for the images of a set, without a mistake.
    made: BTreeSet<String>,
    /// Features that were read for the images of a set, without a mistake.
    fitting: BTreeSet<String>,
    /// Learners in Python that were begun beside these strategies, without a mistake.
    begun: BTreeSet<String>,
    /// The fingerprints of data sets that were read, by what the config says of them.
    fingerprints: BTreeMap<String, String>,
}

impl Preflight {
    /// A new one. It reads images for itself, and holds one set at a time.
    pub fn new(options: &Options, is_here: bool) -> Preflight {
        let options = Options { shelf: Arc::default(), ..options.clone() };
        Preflight {
            options,
            is_here,
            found: BTreeMap::new(),
            made: BTreeSet::new(),
            fitting: BTreeSet::new(),
            begun: BTreeSet::new(),
            fingerprints: BTreeMap::new(),
        }
    }

    /// The hashes of the plugins that were found, by their names and versions.
    pub fn plugins(&self) -> BTreeMap<String, String> {
        let plugins = self.found.values().flat_map(|found| found.iter()).flat_map(Strategy::with_components);
        let hash = |Strategy { locked, .. }: &Strategy| {
            (format!("{} {}", locked.full_name(), locked.version), locked.sha256.clone())
        };
        plugins.map(hash).collect()
    }

    /// The fingerprint of a config's data set, if that was read.
    pub fn fingerprint(&self, config: &Config) -> Option<&str> {
        self.fingerprints.get(&set_of(config)).map(String::as_str)
    }

    /// What can be told without the images: strategies and their parameters, what they need, files that are not there, the device.
    pub fn settings(&mut self, config: &Config, at_key: AtKey<'_>) -> Vec<SessionError> {
        // Whether a word names a device at all is known everywhere.
        let is_asked = self.is_here || !is_gpu(&self.options.device);
        let device = check_device(&self.options).filter(|_| is_asked);
        let mut mistakes: Vec<SessionError> = device.into_iter().collect();
        match self.strategies(config, at_key) {
            Ok(strategies) => {
                mistakes.extend(of_settings(config, &strategies, at_key));
                mistakes.extend(self.outside(config, &strategies, at_key));
            }
            Err(errors) => {
                mistakes.extend(errors);
                mistakes.extend(of_settings(config, &[], at_key));
            }
        }
        mistakes.extend(missing_set(config, &self.options, at_key));
        mistakes
    }

    /// What the images tell: whether they can be read, whether there are enough of them, what does not fit them.
    pub fn images(&mut self, config: &Config, at_key: AtKey<'_>) -> Vec<SessionError> {
        let Options { shelf, data_root, cancelled, .. } = &self.options;
        let data = match shelf.data(config, data_root.as_deref(), cancelled) {
            Ok(data) => data,
            Err(error) => return vec![of_session(error, config, at_key)],
        };
        self.fingerprints.insert(set_of(config), data.fingerprint.clone());
        let mut mistakes = of_set(config, &data, at_key);
        mistakes.extend(self.features(config, &data, at_key));
        mistakes.extend(self.model(config, &data, at_key));
        mistakes
    }

    fn features(&mut self, config: &Config, data: &Dataset, at_key: AtKey<'_>) -> Vec<SessionError> {
        let sections: Vec<_> = sections(config).collect();
        let key = format!("{} {:?} {:?} {sections:?}", data.fingerprint, config.model, config.training.learner);
        if self.fitting.contains(&key) {
            return Vec::new();
        }
        let mistakes = of_features(config, data, at_key);
        if mistakes.is_empty() {
            self.fitting.insert(key);
        }
        mistakes
    }

    fn model(&mut self, config: &Config, data: &Dataset, at_key: AtKey<'_>) -> Option<SessionError> {
        let key = format!("{} {:?} {:?}", data.fingerprint, config.model, config.representation);
        if self.made.contains(&key) {
            return None;
        }
        let device = match engine::open("cpu", 1) {
            Ok(device) => device,
            Err(error) => return Some(error.into()),
        };
        let mistake = of_model(config, data, &device, at_key);
        if mistake.is_none() {
            self.made.insert(key);
        }
        mistake
    }

    /// What is wrong with a learner in Python, which is begun for it; one that is not there is told with the other files.
    fn outside(&mut self, config: &Config, strategies: &[Strategy], at_key: AtKey<'_>) -> Vec<SessionError> {
        let Some(file) = config.training.learner.script().filter(|file| file.is_file()) else { return Vec::new() };
        let named = strategies.iter().map(|strategy| format!("{:?} {}", strategy.seat, strategy.params_json));
        let key = format!("{file:?} {:?} {:?}", config.training, named.collect::<Vec<_>>());
        if !self.begun.insert(key.clone()) {
            return Vec::new();
        }
        let mistakes = outside::begin(config, strategies, &self.options, at_key).err().unwrap_or_default();
        if !mistakes.is_empty() {
            self.begun.remove(&key);
        }
        mistakes
    }

    fn strategies(&mut self, config: &Config, at_key: AtKey<'_>) -> Result<Arc<Vec<Strategy>>, Vec<SessionError>> {
        let mut config = config.clone();
        let named: Vec<String> =
            config.seats().into_iter().map(|seat| format!("{seat:?} {:?}", config.strategy(seat))).collect();
        let key = format!("{named:?} {:?}", config.plugins);
        if let Some(found) = self.found.get(&key) {
            return Ok(found.clone());
        }
        let found = Arc::new(find(&mut config, None, &self.options, at_key)?);
        self.found.insert(key, found.clone());
        Ok(found)
    }
}

/// Finds and loads the strategies of a config, those of one role or all, in the order of its seats; errs with every one that cannot be
/// used.
pub fn find(
    config: &mut Config,
    role: Option<Role>,
    options: &Options,
    at_key: AtKey<'_>,
) -> Result<Vec<Strategy>, Vec<SessionError>> {
    let search = SearchPath::new(&config.plugins.path);
    search.warn_of_reservations();
    let store = TrustStore::open();
    let lock = options.lock.as_ref();
    let Options { allow_unsigned, sandbox, threads, .. } = *options;
    let finder = Finder { search: &search, lock, store: &store, allow_unsigned, sandbox, threads, at_key };
    let (mut strategies, mut errors) = (Vec::new(), Vec::new());
    for seat in config.seats().into_iter().filter(|seat| role.is_none_or(|role| seat.role == role)) {
        match finder.find(config, seat) {
            Ok(strategy) => strategies.push(strategy),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(strategies) } else { Err(errors) }
}

/// The strategies that a run began with, in the order of its config's seats: the bytes that its lock names, if they may run now.
pub fn find_locked(
    config: &mut Config,
    lock: &Lock,
    threads: usize,
    options: &Options,
) -> Result<Vec<Arc<Strategy>>, SessionError> {
    let search = SearchPath::new(&config.plugins.path);
    let store = TrustStore::open();
    let Options { allow_unsigned, sandbox, .. } = *options;
    let at_key = |key: &str, message: String| ConfigError::at_key(Path::new("config.toml"), "", &[], key, message);
    let finder =
        Finder { search: &search, lock: None, store: &store, allow_unsigned, sandbox, threads, at_key: &at_key };
    let seats = config.seats().into_iter();
    seats.map(|seat| Ok(Arc::new(finder.locked(config, seat, lock)?))).collect()
}

/// The strategies of a run on this machine, in the order of the config's seats; errs with all that is wrong with its config, as far as
/// it can be told without the images.
pub fn before_the_images(
    config: &mut Config,
    options: &Options,
    at_key: AtKey<'_>,
) -> Result<Vec<Strategy>, Vec<SessionError>> {
    let mut mistakes: Vec<SessionError> = check_device(options).into_iter().collect();
    let found = find(config, None, options, at_key).unwrap_or_else(|errors| {
        mistakes.extend(errors);
        Vec::new()
    });
    mistakes.extend(of_settings(config, &found, at_key));
    mistakes.extend(missing_set(config, options, at_key));
    if mistakes.is_empty() { Ok(found) } else { Err(mistakes) }
}

/// What is wrong with a config beside its strategies themselves, without a look at the images.
pub fn of_settings(config: &Config, strategies: &[Strategy], at_key: AtKey<'_>) -> Vec<SessionError> {
    let needs = strategies.iter().flat_map(Strategy::with_components).filter_map(|strategy| {
        without_features(config, strategy, at_key).or_else(|| without_images(config, strategy, at_key))
    });
    let files = named_files(config).into_iter().filter_map(|named| named.missing(at_key));
    needs.chain(files).map(SessionError::Config).collect()
}

/// What is wrong with a config for these images, beside its model.
pub fn of_images(config: &Config, data: &Dataset, at_key: AtKey<'_>) -> Vec<SessionError> {
    let mut mistakes = of_set(config, data, at_key);
    mistakes.extend(of_features(config, data, at_key));
    mistakes
}

/// What is wrong with a config for so many images and these classes.
fn of_set(config: &Config, data: &Dataset, at_key: AtKey<'_>) -> Vec<SessionError> {
    let mut mistakes: Vec<ConfigError> = Vec::new();
    if let [class] = &data.classes[..] {
        mistakes.push(at_key(
            set_key(config),
            format!("has images of one class alone, `{class}`: there is nothing to tell apart"),
        ));
    }
    mistakes.extend(too_many(config, data.pool.len(), at_key));
    mistakes.into_iter().map(SessionError::Config).collect()
}

/// What is wrong with the sections that say where features come from, for these images.
pub fn of_features(config: &Config, data: &Dataset, at_key: AtKey<'_>) -> Vec<SessionError> {
    let mut mistakes: Vec<ConfigError> = Vec::new();
    for (section, own) in sections(config) {
        let file = own.file().filter(|file| file.paths().all(Path::is_file));
        let Some(file) = file else {
            let side = representation(Some(own), config, data);
            let key = |key: &str| key.replacen(REPRESENTATION, section, 1);
            mistakes.extend(side.err().map(|(wrong, rule)| at_key(&key(&wrong), rule)));
            continue;
        };
        // A linear probe is measured on the same features of the test part.
        let is_learners = section == REPRESENTATION && config.training.learner.is_probe() && !config.model.is_script();
        let parts = if is_learners && !data.test.is_empty() { &[Part::Pool, Part::Test][..] } else { &[Part::Pool] };
        for part in parts {
            let key = if *part == Part::Test && file.test.is_some() { "test" } else { "path" };
            mistakes.extend(read_features(&file, data, *part).err().map(|error| {
                let wrong = at_key(&format!("{section}.{key}"), format!("does not fit: {error}"));
                with_hint(wrong, error.hint())
            }));
        }
    }
    mistakes.into_iter().map(SessionError::Config).collect()
}

/// What is wrong with the model of a config for these images: sizes that a network cannot take, weights that are not its own.
pub fn of_model(config: &Config, data: &Dataset, device: &Device, at_key: AtKey<'_>) -> Option<SessionError> {
    if !data.shape.has_pixels() {
        return None;
    }
    let shape = learner::image_shape(data.shape);
    let mut rng = Rng::from_seed([0; 32]);
    let mut made = Model::new(&config.model, shape, data.classes.len().max(2), &mut rng, device);
    if let Init::File(file) = &config.model.init {
        made = made.and_then(|mut model| model.adopt_file(file).map(|()| model));
    }
    if let Err(error) = made {
        return Some(of_engine(error, config, at_key));
    }
    let network = config.representation.as_ref()?;
    let needs_network = network.has_network();
    let head = HeadSettings::classifier(2);
    let made = needs_network.then(|| Model::with_head(&network.model(&config.model), shape, head, &mut rng, device));
    let error = made?.err()?;
    Some(SessionError::Config(at_key(REPRESENTATION, format!("does not fit the images: {error}"))))
}

/// Errs where the device that is asked for cannot be used. `auto` takes another one.
pub fn check_device(options: &Options) -> Option<SessionError> {
    match options.device.as_str() {
        "auto" | "cpu" => None,
        device => engine::open(device, 1).err().map(SessionError::Engine),
    }
}

/// Whether this is the name of a GPU: `cuda` or `cuda:N`.
fn is_gpu(device: &str) -> bool {
    let number = |rest: &str| rest.strip_prefix(':').is_some_and(|number| number.parse::<usize>().is_ok());
    device.strip_prefix("cuda").is_some_and(|rest| rest.is_empty() || number(rest))
}

/// An error of a data set as one of the key that names it, where another value would mend it.
pub fn of_data(error: DataError, config: &Config, at_key: AtKey<'_>) -> SessionError {
    let key = match &error {
        DataError::Key { key, why } => {
            return SessionError::Config(at_key(&format!("dataset.{key}"), why.clone()));
        }
        DataError::Missing { .. } | DataError::Layout { .. } => set_key(config),
        DataError::Io { source, path } if source.kind() == ErrorKind::NotFound => {
            let is_at = |key: &Option<PathBuf>| key.as_ref().is_some_and(|named| path.ends_with(named));
            match (is_at(&config.dataset.test_path), is_at(&config.dataset.root)) {
                (true, _) => "dataset.test_path",
                (_, true) => "dataset.root",
                _ => set_key(config),
            }
        }
        _ => return SessionError::Data(error),
    };
    SessionError::Config(with_hint(at_key(key, format!("cannot be read: {error}")), error.hint()))
}

fn with_hint(error: ConfigError, hint: Option<String>) -> ConfigError {
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The same of whatever a session says of its images.
pub fn of_session(error: SessionError, config: &Config, at_key: AtKey<'_>) -> SessionError {
    match error {
        SessionError::Data(error) => of_data(error, config, at_key),
        SessionError::Engine(error) => of_engine(error, config, at_key),
        error => error,
    }
}

/// An error of the engine as one of the key that it comes from, where there is one.
fn of_engine(error: EngineError, config: &Config, at_key: AtKey<'_>) -> SessionError {
    let hint = error.hint().map(str::to_owned);
    let (key, rule) = match error {
        EngineError::Setting { key, problem } => (key, problem),
        EngineError::Weights { .. } => match &config.model.init {
            Init::File(_) => ("model.init.file.path", format!("cannot be used: {error}")),
            _ => ("model.backbone", format!("cannot be used: {error}")),
        },
        EngineError::Input(problem) => ("model", format!("does not fit the images: {problem}")),
        error => return SessionError::Engine(error),
    };
    SessionError::Config(with_hint(at_key(key, rule), hint))
}

/// The key that says which images are meant.
fn set_key(config: &Config) -> &'static str {
    if config.dataset.path.is_some() { "dataset.path" } else { "dataset.kind" }
}

/// The sections that say where features come from, each with its name.
fn sections(config: &Config) -> impl Iterator<Item = (&'static str, &config::Representation)> {
    let sections = [
        (REPRESENTATION, &config.representation),
        ("initial.representation", &config.initial.representation),
        ("query.representation", &config.query.representation),
    ];
    sections.into_iter().filter_map(|(name, section)| Some((name, section.as_ref()?)))
}

/// The error of a strategy that looks at features of the pool where there are none.
///
/// In a query round there is a model too: a strategy that may look at either says so in its parameter `space`.
fn without_features(config: &Config, strategy: &Strategy, at_key: AtKey<'_>) -> Option<ConfigError> {
    let Seat { role, .. } = strategy.seat;
    let own = if role == Role::Query { &config.query.representation } else { &config.initial.representation };
    if own.is_some() || config.representation.is_some() || config.dataset.kind == Kind::Features {
        return None;
    }
    let params: serde_json::Value = serde_json::from_str(&strategy.params_json).unwrap_or_default();
    let space = params.get(SPACE).and_then(serde_json::Value::as_str).filter(|_| role == Role::Query);
    let needs = strategy.manifest.needs.iter().any(|need| need == REPRESENT_1.0);
    if !needs || space.is_some_and(|space| space != REPRESENTATION) {
        return None;
    }
    let rule = format!(
        "is `{}`, which looks at features of the pool, and there is no section `[representation]`",
        strategy.manifest.name
    );
    let hint = "add `[representation]`: `method = \"handcrafted\"` needs no training, \"moco-v2\" trains a network, \"file\" takes \
                features from elsewhere";
    Some(at_key(&strategy.key, rule).with_hint(hint.to_owned()))
}

/// The error of a strategy that looks at images where there are none, or where no network looks at them.
fn without_images(config: &Config, strategy: &Strategy, at_key: AtKey<'_>) -> Option<ConfigError> {
    let needs = |op: Op| strategy.manifest.needs.iter().any(|need| need == op.0);
    let name = &strategy.manifest.name;
    let key = &strategy.key;
    if config.dataset.kind == Kind::Features {
        let what = [
            (POOL_PIXELS_1, "looks at pixels"),
            (TRAIN_1, "has a network trained on images"),
            (PREDICT_2, "looks at changed images"),
        ];
        let (_, what) = what.into_iter().find(|(op, _)| needs(*op))?;
        let rule = format!("is `{name}`, which {what}, and the data set has features alone");
        let hint = "`coldstart plugin info NAME` says what a strategy needs; those without pixels, trainings and views work here";
        return Some(at_key(key, rule).with_hint(hint.to_owned()));
    }
    let stands_on_features = config.training.learner.is_probe()
        && !config.model.is_script()
        && config.representation.as_ref().is_some_and(|section| !section.has_network());
    let looks_at_views = strategy.seat.role == Role::Query && needs(PREDICT_2) && !needs(TRAIN_1);
    if !stands_on_features || !looks_at_views {
        return None;
    }
    let rule = format!("is `{name}`, which looks at changed images, and the model stands on features from elsewhere");
    let hint = "a `[representation]` with a network can look at them: moco-v2, random-network and the like";
    Some(at_key(key, rule).with_hint(hint.to_owned()))
}

/// A file that a config names.
struct Named {
    key: String,
    path: PathBuf,
}

impl Named {
    fn missing(self, at_key: AtKey<'_>) -> Option<ConfigError> {
        let Named { key, path } = self;
        if path.is_file() {
            return None;
        }
        let error = at_key(&key, format!("names `{}`, and there is no such file", path.display()));
        Some(error.with_hint("a path is relative to the config's folder".to_owned()))
    }
}

/// The files that a config names, but for its images and its strategies.
fn named_files(config: &Config) -> Vec<Named> {
    let own = |(section, own): (&str, &config::Representation)| {
        let paths = [("path", &own.path), ("test", &own.test)];
        let named = |(key, path): (&str, &Option<PathBuf>)| {
            Some(Named { key: format!("{section}.{key}"), path: path.clone()? })
        };
        paths.into_iter().filter_map(named).collect::<Vec<_>>()
    };
    let weights = config.model.weight_file().map(Path::to_owned).map(|path| {
        let key = if config.model.is_script() { "model.backbone" } else { "model.init.file.path" };
        Named { key: key.to_owned(), path }
    });
    let learner = config.training.learner.script().map(Path::to_owned);
    let learner = learner.map(|path| Named { key: "training.learner".to_owned(), path });
    sections(config).flat_map(own).chain(weights).chain(learner).collect()
}

/// The error of a data set whose folder or file is not there, which takes no time to find out.
fn missing_set(config: &Config, options: &Options, at_key: AtKey<'_>) -> Option<SessionError> {
    let path = config.dataset.clone().with_defaults().path?;
    let path = options.data_root.as_deref().map_or(path.clone(), |root| root.join(&path));
    if path.exists() {
        return None;
    }
    let read = options.shelf.data(config, options.data_root.as_deref(), &options.cancelled);
    Some(of_session(read.err()?, config, at_key))
}

/// The error of a config that labels more images than the pool has.
fn too_many(config: &Config, pool: usize, at_key: AtKey<'_>) -> Option<ConfigError> {
    let budget = budget(config);
    let problem = budget.check(pool).err()?;
    let Budget { initial, query, end } = budget;
    let images = format!("but the pool has {pool} images");
    let (key, rule) = match end {
        _ if initial > pool && matches!(config.initial.size, config::Size::Of(_)) => {
            ("initial.size", format!("is {initial}, {images}"))
        }
        _ if initial > pool => ("initial.sizer.least", format!("is {initial}, {images}")),
        End::Labels(until) => ("query.until", format!("is {until}, {images}")),
        End::Rounds(_) if initial + query > pool => {
            ("query.size", format!("is {query}, after {initial} initial images, {images}"))
        }
        End::Rounds(_) => ("query.rounds", format!("is too large: {problem}")),
    };
    let hint = "lower `query.rounds` (or `query.until`), `query.size` or `initial.size`";
    Some(at_key(key, rule).with_hint(hint.to_owned()))
}
