//! From the name in a config to a strategy that is loaded: found, trusted, checked, and put where it may run.

use super::{AtKey, SessionError};
use crate::config::{Config, Isolation, Plugins, Sandbox, Seat};
use crate::plugin::lock::{Lock, LockedPlugin, Use};
use crate::plugin::trust::TrustStore;
use crate::plugin::{
    Composed, Found, Head, Limits, Manifest, Plugin, PluginCode, PluginError, SearchPath, StrategyName, Verified,
    composed, is_script, warn_once, with_defaults,
};
use coldstart_plugin_api::Role;
use coldstart_plugin_api::manifest::COMPONENTS;
use coldstart_plugin_api::ops::ORACLE_LABELS_1;
use std::path::Path;
use std::time::Duration;

type Params = serde_json::Map<String, serde_json::Value>;

/// How a worker is shut in that is shut in completely, in records.
const FULL: &str = "full";

/// A strategy that is loaded, here or in a worker, but has no instance yet.
pub struct Strategy {
    /// Where the config names it, or the one that composes it.
    pub seat: Seat,
    /// The key of the config that names it.
    pub key: String,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Makes its instances.
    pub plugin: Plugin,
    /// Its parameters, with every default.
    pub params_json: String,
    /// What the run's lock says of it.
    pub locked: LockedPlugin,
    /// How often a round is tried again after its worker was lost.
    pub retries: u32,
    /// The strategies that it composes, in the order in which its parameters name them.
    pub components: Vec<Component>,
}

/// A strategy that another one composes.
pub struct Component {
    /// Its name, as the other one's parameters have it.
    pub name: String,
    /// The strategy; it composes none itself.
    pub strategy: Strategy,
}

/// What names a strategy: a seat of the config, or a parameter of the strategy in that seat.
struct Place {
    seat: Seat,
    /// The key with the name.
    key: String,
    /// The key with the parameters.
    params_key: String,
    /// Which component of the strategy in the seat; none for that strategy itself.
    component: Option<u32>,
}

impl Place {
    fn of(seat: Seat) -> Place {
        let section = seat.section();
        Place { seat, key: format!("{section}.strategy"), params_key: format!("{section}.params"), component: None }
    }

    fn of_component(seat: Seat, number: u32, Composed { param, name }: &Composed) -> Place {
        let section = seat.section();
        Place {
            seat,
            key: format!("{section}.params.{param}"),
            params_key: format!("{section}.params.{COMPONENTS}.{name}"),
            component: Some(number),
        }
    }

    fn role(&self) -> Role {
        self.seat.role
    }

    /// The strategy that stands here.
    fn strategy(
        &self,
        manifest: Manifest,
        plugin: Plugin,
        params: &Params,
        locked: LockedPlugin,
        terms: &Terms,
    ) -> Strategy {
        Strategy {
            seat: self.seat,
            key: self.key.clone(),
            manifest,
            plugin,
            params_json: as_json(params),
            locked,
            retries: terms.plugins.retries,
            components: Vec::new(),
        }
    }
}

/// What a config says of plugins as such.
struct Terms {
    limits: Limits,
    plugins: Plugins,
}

/// What decides which strategy a name in a config means, and whether and where it may run.
///
/// The trust store, `allow_unsigned` and `sandbox` are the user's. Whatever a config or a lock says can only be stricter.
pub struct Finder<'a> {
    pub search: &'a SearchPath,
    pub lock: Option<&'a Lock>,
    pub store: &'a TrustStore,
    pub allow_unsigned: bool,
    /// The weakest sandbox that the user accepts.
    pub sandbox: Sandbox,
    /// CPU threads where the config leaves them open; 0 takes all cores.
    pub threads: usize,
    pub at_key: AtKey<'a>,
}

impl Finder<'_> {
    /// Find, check and load by the name in the config, with what it composes; what a config can get wrong points at its key.
    pub fn find(&self, config: &mut Config, seat: Seat) -> Result<Strategy, SessionError> {
        let terms = self.terms(config);
        let (name, params) = config.strategy(seat);
        let mut strategy = self.found(&Place::of(seat), name, params, &terms)?;
        self.add_components(&mut strategy, params, |place, name, own| self.found(place, name, own, &terms))?;
        Ok(strategy)
    }

    /// The very files that a run began with, where they were or wherever the names lead now.
    ///
    /// The run's lock says which bytes, and may say that they run apart. Whether they may run at all is judged now, as for a new
    /// run: a key may have been withdrawn since, a library revoked, and the lock be written by anybody.
    pub fn locked(&self, config: &mut Config, seat: Seat, lock: &Lock) -> Result<Strategy, SessionError> {
        let terms = self.terms(config);
        let (name, params) = config.strategy(seat);
        let mut strategy = self.found_locked(&Place::of(seat), name, params, &terms, lock)?;
        self.add_components(&mut strategy, params, |place, name, own| {
            self.found_locked(place, name, own, &terms, lock)
        })?;
        Ok(strategy)
    }

    /// Have the strategies found that `composer` names in its parameters, and their own parameters filled in among these.
    ///
    /// Errs as the search for a strategy of the same role does, at the key that names it, and where one composes others itself.
    fn add_components(
        &self,
        composer: &mut Strategy,
        params: &mut Params,
        find: impl Fn(&Place, &str, &mut Params) -> Result<Strategy, SessionError>,
    ) -> Result<(), SessionError> {
        let named = composed(&composer.manifest, params).map_err(|error| {
            SessionError::Config((self.at_key)(&Place::of(composer.seat).params_key, error.to_string()))
        })?;
        for (number, component) in named.into_iter().enumerate() {
            let place = Place::of_component(composer.seat, number as u32, &component);
            let mut own = params_of(&component.name, params);
            let strategy = find(&place, &component.name, &mut own)
                .map_err(|error| of_component(error, &composer.manifest.name))?;
            store_params(&component.name, own, &composer.manifest, params);
            composer.components.push(Component { name: component.name, strategy });
        }
        composer.params_json = as_json(params);
        Ok(())
    }

    /// The strategy that a name at a place of the config means.
    fn found(&self, at: &Place, name: &str, params: &mut Params, terms: &Terms) -> Result<Strategy, SessionError> {
        let role = at.role();
        let in_config = |key: &str, error: PluginError| {
            let misnamed = [PluginCode::NotFound, PluginCode::Ambiguous, PluginCode::Unmet, PluginCode::Params];
            match misnamed.contains(&error.code) {
                true => SessionError::Config((self.at_key)(key, error.to_string()).with_hint(error.hint)),
                false => SessionError::Plugin(error),
            }
        };
        let wanted = StrategyName::parse(name).map_err(|error| in_config(&at.key, error))?;
        let found = match self.lock {
            Some(lock) => lock.resolve(self.search, &wanted, role.name()),
            None => self.search.resolve(name, role.name()),
        };
        let found = found.map_err(|error| in_config(&at.key, error))?;
        self.search.warn_if_shadowed(&found, &wanted, role.name());
        let file = Verified::read(&found, self.store)?;
        self.check_depth(at, &file.manifest)?;
        let oracle = file.manifest.needs.iter().any(|need| need == ORACLE_LABELS_1.0);
        if oracle && !terms.plugins.oracles {
            let message = format!("`{}` is an oracle: it reads the labels of unlabelled images", file.manifest.name);
            let hint = "set `plugins.oracles = true` to use it as a bound; every report of the run will say so";
            return Err(SessionError::Config((self.at_key)(&at.key, message).with_hint(hint.to_owned())));
        }
        let apart = self.is_apart(&file, terms.plugins.isolation, "`plugins.isolation`")?;
        let mode = Plugin::mode_of(apart);
        let used = Use { role: role.name(), manifest: &file.manifest, sha256: &file.sha256, trust: &file.trust, mode };
        let mut limits = terms.limits.clone();
        if let Some(lock) = self.lock {
            limits.strict |= lock.check(used)?.confinement == FULL;
        }
        let plugin = Plugin::load(&file, apart.then_some(&limits)).map_err(SessionError::of_plugin)?;
        *params = with_defaults(&file.manifest, params).map_err(|error| in_config(&at.params_key, error))?;
        let confinement = plugin.confinement().to_owned();
        if apart && confinement != FULL {
            tracing::warn!("this system cannot shut `{}` in completely: {confinement}", file.manifest.name);
        }
        let locked = LockedPlugin {
            number: at.seat.number,
            component: at.component,
            confinement,
            oracle,
            ..LockedPlugin::of(used, &wanted).ran(&file.file, &file.trust)
        };
        Ok(at.strategy(file.manifest, plugin, params, locked, terms))
    }

    /// The file that a run's lock has for a place.
    fn found_locked(
        &self,
        at: &Place,
        name: &str,
        params: &Params,
        terms: &Terms,
        lock: &Lock,
    ) -> Result<Strategy, SessionError> {
        let role = at.role().name();
        let entry = lock.of(role, at.seat.number, at.component)?.clone();
        let found = match &entry.file {
            // The path of a script stands in the config.
            Some(file) if file.is_file() && !is_script(Path::new(name)) => Found::at(file)?,
            _ => self.search.resolve(name, role)?,
        };
        let file = Verified::read_locked(&found, &entry.sha256, self.store)?;
        entry.check_same(&file, &StrategyName::parse(name)?)?;
        self.check_depth(at, &file.manifest)?;
        let isolation = match entry.mode == Plugin::mode_of(false) {
            true => Isolation::InProcess,
            false => Isolation::Process,
        };
        let apart = self.is_apart(&file, isolation, "the run's lock")?;
        let mut limits = terms.limits.clone();
        limits.strict |= entry.confinement == FULL;
        let plugin = Plugin::load(&file, apart.then_some(&limits)).map_err(SessionError::of_plugin)?;
        Ok(at.strategy(file.manifest, plugin, params, entry, terms))
    }

    /// Errs at a component that composes others itself.
    fn check_depth(&self, at: &Place, manifest: &Manifest) -> Result<(), SessionError> {
        if at.component.is_none() || !manifest.is_composing() {
            return Ok(());
        }
        let rule = format!("names `{}`, which composes other strategies itself", manifest.name);
        let hint = "a composed strategy asks no others: name those that it composes in its place";
        Err(SessionError::Config((self.at_key)(&at.key, rule).with_hint(hint.to_owned())))
    }

    /// What the config says of plugins as such.
    fn terms(&self, config: &Config) -> Terms {
        Terms { limits: self.limits(config), plugins: config.plugins.clone() }
    }

    /// Whether a plugin runs in a process of its own; errs when it may not run at all. What nobody vouches for never runs in the
    /// program, whatever `said` wishes.
    fn is_apart(&self, plugin: &Verified, wished: Isolation, said: &str) -> Result<bool, PluginError> {
        let trusted = plugin.trust.suffices();
        if !trusted && !self.allow_unsigned {
            return Err(plugin.needs_leave());
        }
        let must = !trusted || plugin.is_script();
        if must && wished == Isolation::InProcess {
            let reason = if trusted { "it is a script" } else { "nobody whom you trust has signed it" };
            let name = &plugin.manifest.name;
            warn_once(format!("`{name}` runs in a process of its own, whatever {said} says: {reason}"));
        }
        Ok(must || wished == Isolation::Process)
    }

    /// What a worker may take, and how well it must be shut in.
    fn limits(&self, config: &Config) -> Limits {
        let Plugins { memory, timeout, sandbox, .. } = config.plugins;
        Limits {
            memory: gib(memory),
            timeout: Duration::from_secs_f64(timeout),
            strict: [sandbox, self.sandbox].contains(&Sandbox::Required),
            threads: match [config.threads, self.threads].into_iter().find(|threads| *threads > 0) {
                None => std::thread::available_parallelism().map_or(1, usize::from),
                Some(threads) => threads,
            },
        }
    }
}

/// The parameters that a composing strategy's parameters have for a component; none where they say nothing of it.
fn params_of(component: &str, params: &Params) -> Params {
    let own = params.get(COMPONENTS).and_then(|components| components.get(component));
    own.and_then(serde_json::Value::as_object).cloned().unwrap_or_default()
}

/// Put a component's parameters among those of the strategy that composes it, where that one has a place for them.
fn store_params(component: &str, own: Params, composer: &Manifest, params: &mut Params) {
    let has_place = composer.params.get("properties").is_some_and(|properties| properties.get(COMPONENTS).is_some());
    if !has_place {
        return;
    }
    let components = params.entry(COMPONENTS).or_insert_with(|| serde_json::Value::Object(Params::new()));
    if let Some(components) = components.as_object_mut() {
        components.insert(component.to_owned(), own.into());
    }
}

/// What is wrong with a component, told with the strategy that composes it.
fn of_component(error: SessionError, composer: &str) -> SessionError {
    match error {
        SessionError::Plugin(mut error) => {
            error.message = format!("{}; `{composer}` composes it", error.message);
            SessionError::Plugin(error)
        }
        error => error,
    }
}

impl Strategy {
    /// It and the strategies that it composes.
    pub fn with_components(&self) -> impl Iterator<Item = &Strategy> {
        std::iter::once(self).chain(self.components.iter().map(|component| &component.strategy))
    }

    /// Has the strategy's own training take at most so many epochs, where its parameters name them and the config says nothing.
    ///
    /// The parameter is called `epochs`, by custom. Tells how many there would have been.
    pub fn shorten(&mut self, config: &mut Config, most: u64) -> Option<u64> {
        let (_, params) = config.strategy(self.seat);
        let published = params.get("epochs")?.as_u64().filter(|epochs| *epochs > most)?;
        params.insert("epochs".to_owned(), most.into());
        self.params_json = as_json(params);
        Some(published)
    }

    /// Whose features it looks at, if a parameter `space` says so, as it does by custom.
    pub fn space(&self) -> Option<String> {
        let params: Params = serde_json::from_str(&self.params_json).ok()?;
        Some(params.get("space")?.as_str()?.to_owned())
    }

    /// How a recording of it begins.
    pub fn head(&self) -> Head {
        Head {
            format: 1,
            coldstart: env!("CARGO_PKG_VERSION").to_owned(),
            plugin: self.manifest.name.clone(),
            version: self.manifest.version.to_string(),
            sha256: self.locked.sha256.clone(),
            mode: self.locked.mode.clone(),
        }
    }
}

/// Bytes.
pub fn gib(size: f64) -> u64 {
    (size * f64::from(1 << 30)) as u64
}

fn as_json(params: &Params) -> String {
    serde_json::to_string(params).expect("JSON is JSON")
}
