//! The plugin under test, with the pretended hosts that it is asked by.

use super::Order;
use super::outcome::{Verdict, skipped};
use crate::plugin::{
    Answer, Instance, Library, Manifest, PluginCode, PluginError, Verified, check_selection, check_sizing,
    with_defaults,
};
use coldstart_plugin_api::ops::SizeArgs;
use coldstart_plugin_api::testing::TestHost;
use coldstart_plugin_api::{Role, wire};
use serde_json::{Map, Value};
use std::path::Path;

/// Images in an ordinary pretended pool, and classes.
const N_IMAGES: u64 = 120;
pub const N_CLASSES: usize = 5;
/// Images that an ordinary request asks for.
pub const BUDGET: usize = 7;
/// The largest initial set that a sizer may ask for.
const LARGEST_INITIAL_SET: u64 = 60;

/// The plugin under test.
pub struct Subject {
    pub order: Order,
    pub bytes: Vec<u8>,
}

impl Subject {
    /// Read the file; errs if it cannot be read.
    pub fn read(order: Order) -> std::io::Result<Subject> {
        Ok(Subject { bytes: std::fs::read(&order.file)?, order })
    }

    /// The file's name, for messages.
    pub fn name(&self) -> String {
        self.order.file.display().to_string()
    }

    /// What the file says of itself.
    pub fn manifest(&self) -> Result<Manifest, PluginError> {
        Ok(Manifest::read(&self.name(), &self.bytes)?.0)
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

    /// Load it, ready to be asked with its parameters.
    pub fn probe(&self) -> Result<Probe, Verdict> {
        let params = Value::Object(self.params()?).to_string();
        Ok(Probe { library: load(&self.order.file)?, params })
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

/// Load a library into this process, whoever made it.
pub fn load(file: &Path) -> Result<Library, PluginError> {
    Library::load(&Verified::read_unjudged(file)?)
}

/// A seed of the contract's length.
pub fn seed_bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

/// The loaded plugin, with its parameters.
pub struct Probe {
    pub library: Library,
    pub params: String,
}

impl Probe {
    /// A new instance.
    pub fn create(&self, host: &TestHost) -> Result<Instance, PluginError> {
        Instance::create(&self.library, &self.params, host.as_host())
    }

    /// Ask an instance, and hold its answer against the contract.
    pub fn ask(&self, instance: &mut Instance, host: &TestHost, budget: usize) -> Result<Answer, PluginError> {
        let Manifest { name, roles, .. } = &self.library.verified().manifest;
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
