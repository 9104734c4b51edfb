//! Locks: which plugins a run used, or a config may use.
//!
//! One format for both: a run writes `plugins.lock` into its folder, and `coldstart-plugins.lock` stands beside configs.

use super::error::{PluginCode, PluginError};
use super::load::{Verified, is_script};
use super::manifest::Manifest;
use super::package::{PackageError, native_triple, write_atomically};
use super::search::{Found, SearchPath, StrategyName};
use super::trust::Trust;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The lock beside configs.
pub const LOCK: &str = "coldstart-plugins.lock";

const VERSION: u32 = 1;

/// The plugins that may be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lock {
    /// The format; 1.
    #[serde(default = "version")]
    version: u32,
    /// One for each role that a plugin plays.
    #[serde(default)]
    plugin: Vec<LockedPlugin>,
}

fn version() -> u32 {
    VERSION
}

fn is_first(number: &u32) -> bool {
    *number == 0
}

/// A plugin in a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockedPlugin {
    /// `initial`, `query` or `sizer`.
    pub role: String,
    /// The plugin's name.
    pub name: String,
    /// Who publishes it; empty if nobody says so.
    pub publisher: String,
    /// Its version.
    pub version: Version,
    /// In a run's lock: which one in its role; 0 is the first.
    #[serde(default, skip_serializing_if = "is_first")]
    pub number: u32,
    /// In a run's lock: which one of the strategies that the one in this role and number composes; absent of that one itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<u32>,
    /// The version requirement in the config.
    #[serde(default)]
    pub requirement: String,
    /// The contract it was built against.
    pub api: Version,
    /// The key that vouches for it, as `minisign:NUMBER`; empty if none does.
    #[serde(default)]
    pub signer: String,
    /// `in-process` or `process`; empty if either will do.
    #[serde(default)]
    pub mode: String,
    /// In a run's lock: how well its worker was shut in; empty inside the program.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub confinement: String,
    /// In a run's lock: `signed`, `shipped` or `unsigned`, as the user's trust store saw it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trust: String,
    /// In a run's lock: whether it reads the labels of unlabelled images.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oracle: bool,
    /// In a run's lock: the hash of the library that ran.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// In a run's lock: where that library was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// By target triple, the hash of the library: `sha256:...`.
    #[serde(default)]
    pub hashes: BTreeMap<String, String>,
}

/// A plugin that is about to be used.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    /// `initial`, `query` or `sizer`.
    pub role: &'a str,
    /// What it says of itself.
    pub manifest: &'a Manifest,
    /// `sha256:` and the hash of its library.
    pub sha256: &'a str,
    /// What is known of it.
    pub trust: &'a Trust,
    /// `in-process` or `process`; empty if it is not known yet.
    pub mode: &'a str,
}

impl LockedPlugin {
    /// The entry for a plugin in use on this machine; `name` is what the config says.
    pub fn of(used: Use<'_>, name: &StrategyName) -> LockedPlugin {
        let Use { role, manifest, sha256, trust, mode } = used;
        LockedPlugin {
            role: role.to_owned(),
            name: manifest.name.clone(),
            publisher: manifest.publisher.clone(),
            version: manifest.version.clone(),
            number: 0,
            component: None,
            requirement: name.requirement().to_string(),
            api: manifest.api.clone(),
            signer: trust.signer(),
            mode: mode.to_owned(),
            confinement: String::new(),
            trust: String::new(),
            oracle: false,
            sha256: String::new(),
            file: None,
            hashes: BTreeMap::from([(native_triple(), sha256.to_owned())]),
        }
    }

    /// The same for a run's lock: with the file that ran, and what was known of it.
    pub fn ran(mut self, file: &Path, trust: &Trust) -> LockedPlugin {
        self.trust = trust.kind().to_owned();
        self.sha256 = self.hashes.get(&native_triple()).cloned().unwrap_or_default();
        self.file = Some(std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
        self
    }

    /// `publisher/name`, or the bare name if nobody publishes it.
    pub fn full_name(&self) -> String {
        if self.publisher.is_empty() { self.name.clone() } else { format!("{}/{}", self.publisher, self.name) }
    }

    /// Errs with P004 unless a file of the locked content is the plugin of this entry, and the one that the run's config names.
    pub fn check_same(&self, file: &Verified, name: &StrategyName) -> Result<(), PluginError> {
        let manifest = &file.manifest;
        let differs = |message: String| {
            PluginError::new(PluginCode::LockMismatch, file.file.display().to_string(), message)
                .with_hint("bring back the run's `plugins.lock` as it was, or start a new run")
        };
        if (&self.publisher, &self.name, &self.version) != (&manifest.publisher, &manifest.name, &manifest.version) {
            let (said, is) = (self.full_name(), manifest.full_name());
            let (locked, found) = (&self.version, &manifest.version);
            return Err(differs(format!("is `{said}` {locked} in the run's lock, and `{is}` {found} in the file")));
        }
        let wanted = is_script(Path::new(name.name()));
        if wanted != file.is_script() || !(wanted || name.means(manifest)) {
            return Err(differs(format!("is `{}`, the run's config names `{}`", manifest.full_name(), name.name())));
        }
        match manifest.roles.contains(&self.role) {
            true => Ok(()),
            false => Err(differs(format!("is no {} strategy, as the run's lock says", self.role))),
        }
    }

    fn is(&self, role: &str, publisher: &str, name: &str) -> bool {
        self.role == role && self.publisher == publisher && self.name == name
    }
}

impl Lock {
    /// A lock that holds these.
    pub fn new(plugin: Vec<LockedPlugin>) -> Lock {
        Lock { version: VERSION, plugin }
    }

    /// Read a lock; errs with P004 if it is none. Never panics.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Lock, PluginError> {
        let wrong = |problem: &str| {
            PluginError::new(PluginCode::LockMismatch, file, format!("is no lock: {problem}"))
                .with_hint("write it anew with `coldstart plugin lock`")
        };
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
        let lock: Lock = toml::from_str(text).map_err(|error| wrong(error.message()))?;
        match lock.version {
            VERSION => Ok(lock),
            other => Err(wrong(&format!("this program reads version {VERSION}, not {other}"))),
        }
    }

    /// The lock beside a config, if there is one.
    pub fn beside(config: &Path) -> Result<Option<Lock>, PackageError> {
        let file = config.with_file_name(LOCK);
        match std::fs::read(&file) {
            Ok(bytes) => Ok(Some(Lock::parse(&file.display().to_string(), &bytes)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(PackageError::file("read", &file)(error)),
        }
    }

    /// Its text.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("plain data")
    }

    /// Write it beside a config, whole or not at all; returns where.
    pub fn write_beside(&self, config: &Path) -> Result<PathBuf, PackageError> {
        let file = config.with_file_name(LOCK);
        write_atomically(&file, self.to_toml().as_bytes())?;
        Ok(file)
    }

    /// The plugins in it.
    pub fn plugins(&self) -> &[LockedPlugin] {
        &self.plugin
    }

    /// The plugin of a run's lock that played a role, the first or another, or a component of that one.
    pub fn of(&self, role: &str, number: u32, component: Option<u32>) -> Result<&LockedPlugin, PluginError> {
        let is_it = |plugin: &&LockedPlugin| {
            (plugin.role.as_str(), plugin.number, plugin.component) == (role, number, component)
        };
        let found = self.plugin.iter().find(is_it);
        found.ok_or_else(|| {
            let error = PluginError::new(PluginCode::LockMismatch, role, "the run's lock names no plugin for it");
            error.with_hint("bring back the run's `plugins.lock` as it was, or start a new run")
        })
    }

    /// Put a plugin in, in place of what was locked for its role and name.
    pub fn put(&mut self, plugin: LockedPlugin) {
        self.plugin.retain(|known| !known.is(&plugin.role, &plugin.publisher, &plugin.name));
        self.plugin.push(plugin);
        self.plugin.sort_by(|a, b| (&a.role, &a.name, &a.publisher).cmp(&(&b.role, &b.name, &b.publisher)));
    }

    /// Add the hash of a package for another triple to every entry that means it. Errs with P004 if there is none, or if
    /// the entry is of another version or signer.
    pub fn add_hash(
        &mut self,
        manifest: &Manifest,
        triple: &str,
        sha256: &str,
        signer: &str,
    ) -> Result<(), PluginError> {
        let name = manifest.full_name();
        let refuse = |message: String| {
            let error = PluginError::new(PluginCode::LockMismatch, &name, message);
            error.with_hint(
                "`--package` takes packages of what the config names, in the version and by the signer that are locked",
            )
        };
        let meant = self.plugin.iter_mut().filter(|known| known.full_name() == name);
        let mut found = false;
        for entry in meant {
            if entry.version != manifest.version {
                return Err(refuse(format!(
                    "is {} in the lock, its package for {triple} {}",
                    entry.version, manifest.version
                )));
            }
            if entry.signer != signer {
                let message = format!(
                    "is signed by {} in the lock, its package for {triple} by {}",
                    or_nobody(&entry.signer),
                    or_nobody(signer)
                );
                return Err(refuse(message));
            }
            entry.hashes.insert(triple.to_owned(), sha256.to_owned());
            found = true;
        }
        if found { Ok(()) } else { Err(refuse("is not among the strategies of the config".to_owned())) }
    }

    /// The plugin that a name means: of the locked version, whatever else there is. Errs with P004 where the lock and the
    /// search path do not go together, and as the search does otherwise.
    pub fn resolve(&self, search: &SearchPath, name: &StrategyName, role: &str) -> Result<Found, PluginError> {
        if is_script(Path::new(name.name())) {
            // Its path says all; the hash will be held against the lock.
            return search.resolve(name.name(), role);
        }
        let pinned = self.pin(name, role)?;
        search.resolve(&pinned, role).map_err(|error| match error.code {
            PluginCode::NotFound | PluginCode::Unmet => {
                let message = format!("is locked, but not to be had: {}", error.message);
                PluginError::new(PluginCode::LockMismatch, pinned, message).with_hint(RELOCK)
            }
            _ => error,
        })
    }

    /// The name under which to look for a strategy so that the locked version is found, not a higher one beside it. Errs
    /// with P004 if the lock knows no such strategy in that role, or only a version that the config does not want.
    fn pin(&self, name: &StrategyName, role: &str) -> Result<String, PluginError> {
        let known = self.plugin.iter().find(|known| known.role == role && name.is(&known.publisher, &known.name));
        let Some(known) = known else {
            return Err(PluginError::new(
                PluginCode::LockMismatch,
                name.name(),
                format!("is not in {LOCK} as {role} strategy"),
            )
            .with_hint(RELOCK));
        };
        if !name.requirement().matches(&known.version) {
            let message = format!("is {} in {LOCK}, the config wants {}", known.version, name.requirement());
            return Err(PluginError::new(PluginCode::LockMismatch, name.name(), message).with_hint(RELOCK));
        }
        Ok(format!("{}@={}", known.full_name(), known.version))
    }

    /// Hold a plugin against the lock, and return its entry; errs with P004 at the first difference.
    pub fn check(&self, used: Use<'_>) -> Result<&LockedPlugin, PluginError> {
        let Use { role, manifest, sha256, trust, mode } = used;
        let differs = |message: String| {
            Err(PluginError::new(PluginCode::LockMismatch, manifest.full_name(), message).with_hint(RELOCK))
        };
        let Some(known) = self.plugin.iter().find(|known| known.is(role, &manifest.publisher, &manifest.name)) else {
            return differs(format!("is not in {LOCK} as {role} strategy"));
        };
        let triple = native_triple();
        let Some(locked) = known.hashes.get(&triple) else {
            return differs(format!("has no hash for {triple} in the lock")).map_err(|error| {
                error.with_hint("add it with `coldstart plugin lock CONFIG --package FILE` where its package is")
            });
        };
        let pairs = [
            ("version", known.version.to_string(), manifest.version.to_string()),
            ("hash", locked.clone(), sha256.to_owned()),
            ("contract", known.api.to_string(), manifest.api.to_string()),
            ("signer", or_nobody(&known.signer).to_owned(), or_nobody(&trust.signer()).to_owned()),
        ];
        if let Some((what, locked, found)) = pairs.into_iter().find(|(_, locked, found)| locked != found) {
            return differs(format!("its {what} is {locked} in the lock, and {found} here"));
        }
        if !known.mode.is_empty() && !mode.is_empty() && known.mode != mode {
            return differs(format!("its mode is {} in the lock, and {mode} here", known.mode));
        }
        Ok(known)
    }
}

const RELOCK: &str =
    "bring back the plugin that was locked, or, if the new one is meant, lock it with `coldstart plugin lock CONFIG`";

fn or_nobody(signer: &str) -> &str {
    if signer.is_empty() { "nobody" } else { signer }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(publisher: &str, version: &str) -> Manifest {
        serde_json::from_value(serde_json::json!({
            "format": 1, "name": "toy", "publisher": publisher, "version": version, "api": "1.0.0", "panic": "unwind",
            "summary": "", "license": "", "authors": "", "cite": "", "roles": ["query"], "needs": [], "params": {}
        }))
        .unwrap()
    }

    fn signed(key: &str) -> Trust {
        Trust::Signed { lab: "lab".to_owned(), key: key.to_owned() }
    }

    #[test]
    fn a_lock_lets_through_what_it_was_made_of_and_nothing_else() {
        let locked = manifest("lab", "1.2.0");
        let used =
            Use { role: "query", manifest: &locked, sha256: "sha256:1", trust: &signed("A"), mode: "in-process" };
        let name = StrategyName::parse("toy@^1").unwrap();
        let lock = Lock::new(vec![LockedPlugin::of(used, &name)]);
        let lock = Lock::parse("x.lock", lock.to_toml().as_bytes()).unwrap();
        lock.check(used).unwrap();
        lock.check(Use { mode: "", ..used }).unwrap();
        assert_eq!(lock.plugins()[0].requirement, "^1");
        let (newer, foreign) = (manifest("lab", "1.2.1"), manifest("", "1.2.0"));
        for (other, expected) in [
            (Use { role: "initial", ..used }, "is not in coldstart-plugins.lock as initial strategy"),
            (Use { manifest: &foreign, ..used }, "is not in coldstart-plugins.lock as query strategy"),
            (Use { manifest: &newer, ..used }, "its version is 1.2.0 in the lock, and 1.2.1 here"),
            (Use { sha256: "sha256:2", ..used }, "its hash is sha256:1 in the lock, and sha256:2 here"),
            (Use { trust: &signed("B"), ..used }, "its signer is minisign:A in the lock, and minisign:B here"),
            (Use { trust: &Trust::Unsigned, ..used }, "its signer is minisign:A in the lock, and nobody here"),
            (Use { mode: "process", ..used }, "its mode is in-process in the lock, and process here"),
        ] {
            let error = lock.check(other).unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (PluginCode::LockMismatch, expected));
        }
        for (name, expected) in [
            ("toy", Ok("lab/toy@=1.2.0")),
            ("lab/toy@^1.1", Ok("lab/toy@=1.2.0")),
            ("toy@^2", Err("is 1.2.0 in coldstart-plugins.lock, the config wants ^2")),
            ("other/toy", Err("is not in coldstart-plugins.lock as query strategy")),
        ] {
            let pinned = lock.pin(&StrategyName::parse(name).unwrap(), "query");
            assert_eq!(pinned.as_deref().map_err(|error| error.message.as_str()), expected, "{name}");
        }
    }

    #[test]
    fn hashes_of_other_triples_join_their_plugin() {
        let locked = manifest("lab", "1.2.0");
        let used = Use { role: "query", manifest: &locked, sha256: "sha256:1", trust: &signed("A"), mode: "" };
        let name = StrategyName::parse("toy").unwrap();
        let mut lock = Lock::new(Vec::new());
        lock.put(LockedPlugin::of(used, &name));
        lock.put(LockedPlugin::of(Use { sha256: "sha256:3", ..used }, &name));
        lock.add_hash(&locked, "other-triple", "sha256:2", "minisign:A").unwrap();
        assert_eq!(lock.plugins()[0].hashes.len(), 2);
        lock.check(Use { sha256: "sha256:3", ..used }).unwrap();
        assert!(lock.check(used).is_err());
        for (other, signer) in [("1.3.0", "minisign:A"), ("1.2.0", "")] {
            assert!(lock.add_hash(&manifest("lab", other), "x", "sha256:2", signer).is_err());
        }
        assert!(lock.add_hash(&manifest("", "1.2.0"), "x", "sha256:2", "minisign:A").is_err());
    }

    #[test]
    fn the_lock_of_an_older_run_is_read_and_garbage_is_not() {
        let old = "[[plugin]]\nrole = \"query\"\nname = \"toy\"\npublisher = \"\"\nversion = \"0.1.0\"\napi = \"1.0.0\"\n\
                   mode = \"in-process\"\nsha256 = \"sha256:1\"\nfile = \"/x/libtoy.so\"\n";
        let lock = Lock::parse("plugins.lock", old.as_bytes()).unwrap();
        assert_eq!(lock.of("query", 0, None).unwrap().sha256, "sha256:1");
        assert!(lock.of("initial", 0, None).is_err() && lock.of("query", 1, None).is_err());
        assert!(lock.of("query", 0, Some(0)).is_err());
        for text in [&b"version = 2\n"[..], b"plugin = 3", b"[[plugin]]\nrole = \"query\"\n", b"\xff", b"=", b"\0"] {
            assert_eq!(Lock::parse("x.lock", text).unwrap_err().code, PluginCode::LockMismatch);
        }
    }
}
