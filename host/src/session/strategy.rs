//! From the name in a config to a strategy that is loaded: found, trusted, checked, and put where it may run.

use super::{AtKey, SessionError};
use crate::config::{Config, Isolation, Plugins, Sandbox, Seat};
use crate::plugin::lock::{Lock, LockedPlugin, Use};
use crate::plugin::trust::TrustStore;
use crate::plugin::{
    Found, Head, Limits, Manifest, Plugin, PluginCode, PluginError, SearchPath, StrategyName, Verified, is_script,
    warn_once, with_defaults,
};
use coldstart_plugin_api::ops::ORACLE_LABELS_1;
use std::path::Path;
use std::time::Duration;

type Params = serde_json::Map<String, serde_json::Value>;

/// How a worker is shut in that is shut in completely, in records.
const FULL: &str = "full";

/// A strategy that is loaded, here or in a worker, but has no instance yet.
pub struct Strategy {
    /// Where the config names it.
    pub seat: Seat,
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
    /// Find, check and load by the name in the config; what a config can get wrong points at its key.
    pub fn find(&self, config: &mut Config, seat: Seat) -> Result<Strategy, SessionError> {
        let role = seat.role;
        let in_config = |key: &str, error: PluginError| {
            let key = format!("{}.{key}", seat.section());
            let misnamed = [PluginCode::NotFound, PluginCode::Ambiguous, PluginCode::Unmet, PluginCode::Params];
            match misnamed.contains(&error.code) {
                true => SessionError::Config((self.at_key)(&key, error.to_string()).with_hint(error.hint)),
                false => SessionError::Plugin(error),
            }
        };
        let (mut limits, plugins) = (self.limits(config), config.plugins.clone());
        let (name, params) = config.strategy(seat);
        let wanted = StrategyName::parse(name).map_err(|error| in_config("strategy", error))?;
        let found = match self.lock {
            Some(lock) => lock.resolve(self.search, &wanted, role.name()),
            None => self.search.resolve(name, role.name()),
        };
        let found = found.map_err(|error| in_config("strategy", error))?;
        self.search.warn_if_shadowed(&found, &wanted, role.name());
        let file = Verified::read(&found, self.store)?;
        let oracle = file.manifest.needs.iter().any(|need| need == ORACLE_LABELS_1.0);
        if oracle && !plugins.oracles {
            let message = format!("`{}` is an oracle: it reads the labels of unlabelled images", file.manifest.name);
            let hint = "set `plugins.oracles = true` to use it as a bound; every report of the run will say so";
            let at_key = (self.at_key)(&format!("{}.strategy", seat.section()), message);
            return Err(SessionError::Config(at_key.with_hint(hint.to_owned())));
        }
        let apart = self.is_apart(&file, plugins.isolation, "`plugins.isolation`")?;
        let mode = Plugin::mode_of(apart);
        let used = Use { role: role.name(), manifest: &file.manifest, sha256: &file.sha256, trust: &file.trust, mode };
        if let Some(lock) = self.lock {
            limits.strict |= lock.check(used)?.confinement == FULL;
        }
        let plugin = Plugin::load(&file, apart.then_some(&limits)).map_err(SessionError::of_plugin)?;
        *params = with_defaults(&file.manifest, params).map_err(|error| in_config("params", error))?;
        let confinement = plugin.confinement().to_owned();
        if apart && confinement != FULL {
            tracing::warn!("this system cannot shut `{}` in completely: {confinement}", file.manifest.name);
        }
        let locked = LockedPlugin {
            number: seat.number,
            confinement,
            oracle,
            ..LockedPlugin::of(used, &wanted).ran(&file.file, &file.trust)
        };
        let params_json = as_json(params);
        Ok(Strategy { seat, manifest: file.manifest, plugin, params_json, locked, retries: plugins.retries })
    }

    /// The very file that a run began with, where it was or wherever the name leads now.
    ///
    /// The run's lock says which bytes, and may say that they run apart. Whether they may run at all is judged now, as for a new
    /// run: a key may have been withdrawn since, a library revoked, and the lock be written by anybody.
    pub fn locked(&self, config: &mut Config, seat: Seat, lock: &Lock) -> Result<Strategy, SessionError> {
        let (mut limits, retries) = (self.limits(config), config.plugins.retries);
        let role = seat.role.name();
        let (name, params) = config.strategy(seat);
        let entry = lock.of(role, seat.number)?.clone();
        let found = match &entry.file {
            // The path of a script stands in the config.
            Some(file) if file.is_file() && !is_script(Path::new(name)) => Found::at(file)?,
            _ => self.search.resolve(name, role)?,
        };
        let file = Verified::read_locked(&found, &entry.sha256, self.store)?;
        entry.check_same(&file, &StrategyName::parse(name)?)?;
        let isolation = match entry.mode == Plugin::mode_of(false) {
            true => Isolation::InProcess,
            false => Isolation::Process,
        };
        let apart = self.is_apart(&file, isolation, "the run's lock")?;
        limits.strict |= entry.confinement == FULL;
        let plugin = Plugin::load(&file, apart.then_some(&limits)).map_err(SessionError::of_plugin)?;
        Ok(Strategy { seat, manifest: file.manifest, plugin, params_json: as_json(params), locked: entry, retries })
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

impl Strategy {
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
