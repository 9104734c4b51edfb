//! What a plugin says of itself, read from its file without running it.

use super::elf;
use super::error::{PluginCode, PluginError};
use coldstart_plugin_api::{API_VERSION, ops};
use serde::{Deserialize, Serialize};

/// The manifest: the JSON of the ELF section `.coldstart_manifest`. Fields that this host does not know are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The manifest's own format; 1.
    pub format: u32,
    /// The strategy's name, kebab-case.
    pub name: String,
    /// Who publishes it; empty if nobody says so.
    pub publisher: String,
    /// The plugin's version.
    pub version: semver::Version,
    /// The contract it was built against.
    pub api: semver::Version,
    /// What a panic does: `unwind`, or `none` in a language that has none; any other plugin is refused.
    pub panic: String,
    /// One sentence on what it does.
    pub summary: String,
    /// SPDX licence expression.
    pub license: String,
    /// Who wrote it, separated by colons.
    pub authors: String,
    /// The paper or source of the method.
    pub cite: String,
    /// `initial`, `query` or both; or `sizer`.
    pub roles: Vec<String>,
    /// What it goes by, in a word; empty if nobody says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub criterion: String,
    /// Operations without which it cannot work.
    pub needs: Vec<String>,
    /// What it asks of the task model that not every model can say: `embeddings`, `dropout`, `views`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<String>,
    /// JSON Schema of its parameters.
    pub params: serde_json::Value,
    /// Of a script: the modules beside it that belong to it, as relative paths. A library has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
}

impl Manifest {
    /// The manifest in a library's bytes, and its JSON text; errs if there is none or it makes no sense.
    pub fn read(file: &str, bytes: &[u8]) -> Result<(Manifest, String), PluginError> {
        let section = elf::section(file, bytes, coldstart_plugin_api::manifest::SECTION)?;
        Manifest::parse(file, section)
    }

    /// The same for a library of any machine, which need not be this one.
    pub fn read_of_any_machine(file: &str, bytes: &[u8]) -> Result<Manifest, PluginError> {
        let section = elf::section_of_any_machine(file, bytes, coldstart_plugin_api::manifest::SECTION)?;
        Ok(Manifest::parse(file, section)?.0)
    }

    /// The manifest in the bytes of the section, and its JSON text; errs if it makes no sense.
    pub fn parse(file: &str, section: &[u8]) -> Result<(Manifest, String), PluginError> {
        let lies = |message: String| PluginError::new(PluginCode::Descriptor, file, message);
        let text = std::str::from_utf8(section).map_err(|_| lies("its manifest is not UTF-8".to_owned()))?;
        // A text in C ends with a NUL, which is not part of it.
        let text = text.strip_suffix('\0').unwrap_or(text);
        let manifest: Manifest = serde_json::from_str(text).map_err(|e| lies(format!("malformed manifest: {e}")))?;
        if !is_kebab_case(&manifest.name) {
            return Err(lies(format!("its name `{}` is not kebab-case", manifest.name)));
        }
        Ok((manifest, text.to_owned()))
    }

    /// What a host must know before it loads the library: contract, panic strategy, operations.
    pub fn check(&self, file: &str) -> Result<(), PluginError> {
        let host_api: semver::Version = API_VERSION.parse().expect("a crate's version is a version");
        if self.format != 1 || self.api.major != host_api.major {
            let message = format!("built against contract {}, this host speaks {host_api}", self.api);
            return Err(PluginError::new(PluginCode::Layout, file, message));
        }
        if !["unwind", "none"].contains(&self.panic.as_str()) {
            let message = format!("a panic would `{}` the whole run", self.panic);
            return Err(PluginError::new(PluginCode::Library, file, message)
                .with_hint("build it with `panic = \"unwind\"` in its profile"));
        }
        match self.needs.iter().find(|need| ops::ALL.iter().all(|op| op.0 != need.as_str())) {
            Some(unknown) => {
                let message = format!("needs the operation `{unknown}`, which this host does not offer");
                Err(PluginError::new(PluginCode::Operation, file, message))
            }
            None => Ok(()),
        }
    }

    /// `publisher/name`, or the bare name if nobody publishes it.
    pub fn full_name(&self) -> String {
        if self.publisher.is_empty() { self.name.clone() } else { format!("{}/{}", self.publisher, self.name) }
    }

    /// `publisher.name`, or the bare name if nobody publishes it: what its folder is called where it is installed.
    pub fn id(&self) -> String {
        self.full_name().replace('/', ".")
    }
}

/// Lower-case words of letters and digits with single hyphens between them.
pub fn is_kebab_case(name: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.split('-').all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case() {
        for (name, good) in
            [("pt4al", true), ("first-choice", true), ("", false), ("Pt4al", false), ("a--b", false), ("a/b", false)]
        {
            assert_eq!(is_kebab_case(name), good, "{name}");
        }
    }
}
