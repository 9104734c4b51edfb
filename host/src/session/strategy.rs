//! From the name in a config to a strategy that is loaded: found, trusted, checked, and put where it may run.

use super::{AtKey, SessionError};
use crate::config::{Config, Isolation, Plugins, Sandbox, Seat};
use crate::plugin::lock::{Lock, LockedPlugin, Use};
use crate::plugin::trust::TrustStore;
use crate::plugin::{
    Head, Limits, Manifest, Plugin, PluginCode, PluginError, SearchPath, StrategyName, Verified, with_defaults,
};
use coldstart_plugin_api::ops::ORACLE_LABELS_1;
use std::time::Duration;

type Params = serde_json::Map<String, serde_json::Value>;

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

/// What decides which strategy a name in a config means, and whether it may run.
pub struct Finder<'a> {
    pub search: &'a SearchPath,
    pub lock: Option<&'a Lock>,
    pub store: &'a TrustStore,
    pub allow_unsigned: bool,
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
        let (limits, plugins) = (limits(config, self.threads), config.plugins.clone());
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
        let apart = is_apart(&file, plugins.isolation, self.allow_unsigned)?;
        let mode = Plugin::mode_of(apart);
        let used = Use { role: role.name(), manifest: &file.manifest, sha256: &file.sha256, trust: &file.trust, mode };
        if let Some(lock) = self.lock {
            lock.check(used)?;
        }
        let plugin = Plugin::load(&file, apart.then_some(&limits))?;
        *params = with_defaults(&file.manifest, params).map_err(|error| in_config("params", error))?;
        let confinement = plugin.confinement().to_owned();
        if apart && confinement != "full" {
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

    /// The very file that the run began with, where it was or wherever the name leads now, run as it was then.
    ///
    /// Whoever began the run has allowed this very file: its trust is not asked for again.
    pub fn locked(
        search: &SearchPath,
        config: &mut Config,
        seat: Seat,
        (locked, threads): (&Lock, usize),
    ) -> Result<Strategy, SessionError> {
        let (limits, retries) = (limits(config, threads), config.plugins.retries);
        let role = seat.role.name();
        let (name, params) = config.strategy(seat);
        let entry = locked.of(role, seat.number)?.clone();
        let file = match &entry.file {
            Some(file) if file.is_file() => file.clone(),
            _ => search.resolve(name, role)?.file,
        };
        let file = Verified::read_locked(&file, &entry.sha256)?;
        let apart = entry.mode == Plugin::mode_of(true);
        let plugin = Plugin::load(&file, apart.then_some(&limits))?;
        Ok(Strategy { seat, manifest: file.manifest, plugin, params_json: as_json(params), locked: entry, retries })
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

/// Whether a plugin runs in a process of its own; errs when it may not run at all.
fn is_apart(plugin: &Verified, isolation: Isolation, allow_unsigned: bool) -> Result<bool, PluginError> {
    let trusted = plugin.trust.suffices();
    if !trusted && !allow_unsigned {
        let message = "nobody whom you trust has signed it";
        let error = PluginError::new(PluginCode::Signature, plugin.file.display().to_string(), message);
        return Err(error.with_hint("`--allow-unsigned` runs it all the same, in a process of its own"));
    }
    Ok(match isolation {
        Isolation::Auto => !trusted || plugin.is_script(),
        Isolation::InProcess => false,
        Isolation::Process => true,
    })
}

/// What a worker may take; `threads` are its where the config leaves them open.
fn limits(config: &Config, threads: usize) -> Limits {
    let Plugins { memory, timeout, sandbox, .. } = config.plugins;
    Limits {
        memory: gib(memory),
        timeout: Duration::from_secs_f64(timeout),
        strict: sandbox == Sandbox::Required,
        threads: match [config.threads, threads].into_iter().find(|threads| *threads > 0) {
            None => std::thread::available_parallelism().map_or(1, usize::from),
            Some(threads) => threads,
        },
    }
}

/// Bytes.
pub fn gib(size: f64) -> u64 {
    (size * f64::from(1 << 30)) as u64
}

fn as_json(params: &Params) -> String {
    serde_json::to_string(params).expect("JSON is JSON")
}
