//! The plugin under test, with the pretended hosts that it is asked by.

use super::Order;
use super::outcome::{Verdict, skipped};
use crate::plugin::{
    Answer, Confinement, Instance, Library, Limits, Manifest, Plugin, PluginCode, PluginError, Verified,
    check_selection, check_sizing, read_manifest, with_defaults,
};
use coldstart_plugin_api::ops::SizeArgs;
use coldstart_plugin_api::testing::TestHost;
use coldstart_plugin_api::{Role, wire};
use rustix::fs::{Dir, Mode, OFlags};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Images in an ordinary pretended pool, and classes.
const N_IMAGES: u64 = 120;
pub const N_CLASSES: usize = 5;
/// Images that an ordinary request asks for.
pub const BUDGET: usize = 7;
/// The largest initial set that a sizer may ask for.
const LARGEST_INITIAL_SET: u64 = 60;

/// The plugin under test, with all that a case may need: once the process is shut in, nothing is opened any more.
pub struct Subject {
    pub order: Order,
    pub bytes: Vec<u8>,
    plugin: Result<Verified, PluginError>,
    twin: Result<Verified, PluginError>,
    other: Option<Result<Verified, PluginError>>,
    process: Process,
}

/// What the kernel says of this process.
struct Process {
    status: File,
    files: Mutex<Dir>,
}

impl Process {
    fn open() -> io::Result<Process> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let files = Dir::new(rustix::fs::open("/proc/self/fd", flags, Mode::empty())?)?;
        Ok(Process { status: File::open("/proc/self/status")?, files: Mutex::new(files) })
    }
}

impl Subject {
    /// Read the file, and another plugin that it may be loaded beside; errs if it cannot be read.
    ///
    /// A plugin that breaks a rule is opened all the same: the cases say what is wrong.
    pub fn open(order: Order, other: Option<&Path>) -> io::Result<Subject> {
        let bytes = std::fs::read(&order.file)?;
        let plugin = Verified::read_unjudged(&order.file);
        // A byte after the end of the file changes its hash and nothing else: the copy is another library to a host.
        let twin = Verified::of_unjudged(&order.file, &[&bytes[..], &[0]].concat());
        let other = other.map(Verified::read_unjudged);
        Ok(Subject { order, bytes, plugin, twin, other, process: Process::open()? })
    }

    /// The file's name, for messages.
    pub fn name(&self) -> String {
        self.order.file.display().to_string()
    }

    /// Whether it is a script, which is never loaded into this process.
    pub fn is_script(&self) -> bool {
        self.plugin.as_ref().is_ok_and(Verified::is_script)
    }

    /// How well the workers are shut in that scripts run in; a worker is started to learn it.
    pub fn confinement_of_script(&self) -> Result<Confinement, String> {
        let plugin = self.load().map_err(|error| error.to_string())?;
        let known = [Confinement::Full, Confinement::Partial, Confinement::NoFiles];
        let found = known.into_iter().find(|known| known.name() == plugin.confinement());
        found.ok_or_else(|| format!("its worker is shut in as `{}`", plugin.confinement()))
    }

    /// What the file says of itself.
    pub fn manifest(&self) -> Result<Manifest, PluginError> {
        Ok(read_manifest(&self.order.file, &self.bytes)?.0)
    }

    /// Parameters with every default; skips the case when one has neither default nor value.
    pub fn params(&self) -> Result<Map<String, Value>, Verdict> {
        let manifest = self.manifest()?;
        let required = manifest.params.get("required").and_then(Value::as_array).into_iter().flatten();
        let missing: Vec<&str> =
            required.filter_map(Value::as_str).filter(|name| !self.order.params.contains_key(*name)).collect();
        if !missing.is_empty() {
            let message = format!("`{}` must be set and has no default: pass --params", missing.join("`, `"));
            return Err(skipped(message));
        }
        Ok(with_defaults(&manifest, &self.order.params)?)
    }

    /// Load it: a library into this process, a script into a worker.
    pub fn load(&self) -> Result<Plugin, PluginError> {
        let plugin = self.plugin.clone()?;
        if !plugin.is_script() {
            return Plugin::load_shut_in(&plugin);
        }
        let limits = Limits { timeout: self.order.timeout, strict: self.order.strict, ..Limits::default() };
        Plugin::load(&plugin, Some(&limits))
    }

    /// Load it, ready to be asked with its parameters.
    pub fn probe(&self) -> Result<Probe, Verdict> {
        let params = Value::Object(self.params()?).to_string();
        let manifest = self.plugin.clone()?.manifest;
        Ok(Probe { plugin: self.load()?, manifest, params, is_script: self.is_script() })
    }

    /// The library, checked but not loaded; skips the case for a script.
    pub fn library(&self) -> Result<Verified, Verdict> {
        let plugin = self.plugin.clone()?;
        if plugin.is_script() { Err(skipped("a script, which is no library")) } else { Ok(plugin) }
    }

    /// A copy of the library whose hash is another.
    pub fn twin(&self) -> Result<Verified, Verdict> {
        self.library()?;
        Ok(self.twin.clone()?)
    }

    /// Another library.
    pub fn other(&self) -> Result<Verified, Verdict> {
        self.library()?;
        let other = self.other.clone().ok_or_else(|| skipped("there is no other plugin on the search path"))?;
        Ok(other?)
    }

    /// What the kernel says of this process under a name, such as `Threads`.
    pub fn status(&self, name: &str) -> io::Result<String> {
        let mut bytes = vec![0; 1 << 14];
        let length = self.process.status.read_at(&mut bytes, 0)?;
        let text = String::from_utf8_lossy(&bytes[..length]);
        let said = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
        said.map(str::to_owned).ok_or_else(|| io::Error::other(format!("the kernel says nothing of {name}")))
    }

    /// Where the descriptors of this process lead to.
    pub fn open_files(&self) -> io::Result<BTreeSet<String>> {
        let mut files = self.process.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.rewind();
        let mut names = Vec::new();
        while let Some(entry) = files.read() {
            names.push(entry?.file_name().to_owned());
        }
        let folder = files.fd()?;
        let links = names.iter().filter_map(|name| rustix::fs::readlinkat(folder, name.as_c_str(), Vec::new()).ok());
        Ok(links.map(|link| link.to_string_lossy().into_owned()).collect())
    }

    /// For each of its roles an ordinary host: in round 0 without labels, or in round 1 with some.
    pub fn hosts(&self) -> Result<Vec<TestHost>, Verdict> {
        self.hosts_with(|host| host)
    }

    /// The same hosts, each changed in the same way.
    pub fn hosts_with(&self, change: impl Fn(TestHost) -> TestHost) -> Result<Vec<TestHost>, Verdict> {
        self.hosts_of((0..N_IMAGES).collect(), N_CLASSES, change)
    }

    /// For each of its roles a host with these images.
    pub fn hosts_of(
        &self,
        ids: Vec<u64>,
        n_classes: usize,
        change: impl Fn(TestHost) -> TestHost,
    ) -> Result<Vec<TestHost>, Verdict> {
        let seed = self.order.seed;
        let rounds = self.rounds()?;
        let host = |round| {
            let host = TestHost::with_ids(ids.clone()).plausibly(n_classes, seed).seed(seed_bytes(seed)).round(round);
            let labelled: Vec<u64> = ids.iter().copied().skip(3).step_by(8).collect();
            change(if round == 0 { host } else { host.labelled(&labelled) })
        };
        Ok(rounds.into_iter().map(host).collect())
    }

    /// The rounds in which each role is tried.
    fn rounds(&self) -> Result<Vec<u32>, Verdict> {
        let roles = self.manifest()?.roles;
        let rounds_of = |role: &String| match role.as_str() {
            role if role == Role::Initial.name() => 0..1,
            // Asked before the initial set, and afterwards.
            role if role == Role::Sizer.name() => 0..2,
            _ => 1..2,
        };
        Ok(roles.iter().flat_map(rounds_of).collect())
    }
}

/// A seed of the contract's length.
pub fn seed_bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

/// The loaded plugin, with its parameters.
pub struct Probe {
    pub plugin: Plugin,
    pub manifest: Manifest,
    pub params: String,
    pub is_script: bool,
}

impl Probe {
    /// A library in this process.
    pub fn of(library: Library, params: String) -> Probe {
        let manifest = library.verified().manifest.clone();
        Probe { plugin: Plugin::InProcess(Box::new(library)), manifest, params, is_script: false }
    }

    /// A plugin in a worker.
    pub fn in_worker(plugin: &Verified, limits: &Limits, params: String) -> Result<Probe, PluginError> {
        let (manifest, is_script) = (plugin.manifest.clone(), plugin.is_script());
        Ok(Probe { plugin: Plugin::load(plugin, Some(limits))?, manifest, params, is_script })
    }

    /// A new instance.
    pub fn create(&self, host: &TestHost) -> Result<Instance, PluginError> {
        self.create_with(&self.params, host)
    }

    /// A new instance with other parameters.
    pub fn create_with(&self, params: &str, host: &TestHost) -> Result<Instance, PluginError> {
        // A script leaves its schema to the host, as in a run.
        if let (true, Ok(Value::Object(params))) = (self.is_script, serde_json::from_str(params)) {
            with_defaults(&self.manifest, &params)?;
        }
        self.plugin.create(&self.manifest.name, params, host.as_host(), None)
    }

    /// Ask an instance, and hold its answer against the contract.
    pub fn ask(&self, instance: &mut Instance, host: &TestHost, budget: usize) -> Result<Answer, PluginError> {
        let Manifest { name, roles, .. } = &self.manifest;
        let sizes = roles.iter().any(|role| role == Role::Sizer.name());
        let mut request = host.border_request(budget);
        request.budget = budget as u64;
        if sizes {
            request.extra = wire::encode(&SizeArgs { least: 1, most: LARGEST_INITIAL_SET }).into();
        }
        let answer = instance.ask(&request, host.as_host());
        host.release_request(&request);
        let answer = answer?;
        match sizes {
            true => drop(check_sizing(name, &answer)?),
            false => check_selection(name, &answer.selection, &host.request(budget).unlabelled, budget)?,
        }
        Ok(answer)
    }

    /// Ask a new instance once.
    pub fn ask_new(&self, host: &TestHost, budget: usize) -> Result<Answer, PluginError> {
        self.ask(&mut self.create(host)?, host, budget)
    }

    /// Ask a new instance once; an error of the plugin's own is an answer too, but a panic or a wrong selection is not.
    pub fn ask_leniently(&self, host: &TestHost, budget: usize) -> Result<Option<Answer>, PluginError> {
        lenient(self.ask_new(host, budget))
    }
}

/// A plugin's own error counts as an answer.
pub fn lenient(answer: Result<Answer, PluginError>) -> Result<Option<Answer>, PluginError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if matches!(error.code, PluginCode::Panicked | PluginCode::Selection) => Err(error),
        Err(_) => Ok(None),
    }
}
