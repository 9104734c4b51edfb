//! What the runs of a study stand on beside their configs: the program, plugins, images. A machine that joins in must have the same.

use super::{Environment, Options, Preflight, SessionError};
use crate::config::Config;
use crate::engine;
use crate::experiment::RunDir;
use coldstart_plugin_api::API_VERSION;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What runs stand on, as one machine has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// The program's version.
    pub coldstart: String,
    /// The contract's.
    pub plugin_api: String,
    /// libtorch's.
    pub torch: String,
    /// Where relative data paths begin.
    pub data_root: PathBuf,
    /// The hash of each plugin, by its name and version.
    pub plugins: BTreeMap<String, String>,
    /// The fingerprint of each data set, by the name of a run that looks at it.
    pub data: BTreeMap<String, String>,
}

impl Inputs {
    /// What this machine has, without data: the plugins are those that were found so far.
    pub fn here(options: &Options, preflight: &Preflight) -> Inputs {
        let data_root = options.data_root.as_deref().unwrap_or(Path::new("."));
        Inputs {
            coldstart: env!("CARGO_PKG_VERSION").to_owned(),
            plugin_api: API_VERSION.to_owned(),
            torch: engine::TORCH_VERSION.to_owned(),
            data_root: std::path::absolute(data_root).unwrap_or_else(|_| data_root.to_owned()),
            plugins: preflight.plugins(),
            data: BTreeMap::new(),
        }
    }

    /// How the program of another machine differs; none where it does not.
    pub fn other_program(&self, here: &Inputs) -> Option<String> {
        let versions = [
            ("coldstart", &self.coldstart, &here.coldstart),
            ("the plugin contract", &self.plugin_api, &here.plugin_api),
            ("libtorch", &self.torch, &here.torch),
        ];
        let (what, then, now) = versions.into_iter().find(|(_, then, now)| then != now)?;
        Some(format!("{what} {then} planned it, and this is {what} {now}"))
    }

    /// The plugins of another machine that are not those of the plan, by name and version.
    pub fn other_plugins<'a>(&self, here: &'a Inputs) -> Vec<&'a str> {
        let differs = |(name, hash): &(&String, &String)| self.plugins.get(*name) != Some(*hash);
        here.plugins.iter().filter(differs).map(|(name, _)| name.as_str()).collect()
    }
}

/// The fingerprint of a config's data set, which stays on the shelf. Errs when it cannot be read.
pub fn fingerprint(config: &Config, options: &Options) -> Result<String, SessionError> {
    let data = options.shelf.data(config, options.data_root.as_deref(), &options.cancelled)?;
    Ok(data.fingerprint.clone())
}

/// Whether this machine has the device that the run in a folder began on: on another one nobody would go on with it.
///
/// True where there is no run, or none that says so: what is wrong with it is told by whoever goes on with it.
pub fn has_device_of(dir: &Path) -> bool {
    let Ok(environment) = RunDir::open(dir).and_then(|dir| Environment::read(&dir)) else { return true };
    let number = environment.device.strip_prefix("cuda:").and_then(|number| number.parse::<usize>().ok());
    number.is_none_or(|number| number < engine::n_gpus())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_and_other_plugins_are_named() {
        let plan = Inputs {
            coldstart: "0.2.0".to_owned(),
            torch: "2.11.0".to_owned(),
            plugins: BTreeMap::from([("a 1.0.0".to_owned(), "x".to_owned()), ("b 1.0.0".to_owned(), "y".to_owned())]),
            ..Inputs::default()
        };
        let with = |plugins: &[(&str, &str)]| {
            let plugins = plugins.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned()));
            Inputs { plugins: plugins.collect(), ..plan.clone() }
        };
        assert_eq!(plan.other_program(&plan), None);
        let newer = Inputs { coldstart: "0.3.0".to_owned(), ..plan.clone() };
        assert_eq!(plan.other_program(&newer).unwrap(), "coldstart 0.2.0 planned it, and this is coldstart 0.3.0");
        for (here, others) in [
            (with(&[("a 1.0.0", "x"), ("b 1.0.0", "y")]), &[][..]),
            // What is left to do may need fewer.
            (with(&[("a 1.0.0", "x")]), &[]),
            (with(&[("a 1.0.0", "z"), ("b 1.0.0", "y")]), &["a 1.0.0"]),
            (with(&[("a 1.0.1", "x")]), &["a 1.0.1"]),
        ] {
            assert_eq!(plan.other_plugins(&here), others);
        }
    }
}
