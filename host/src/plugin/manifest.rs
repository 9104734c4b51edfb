//! What a plugin says of itself, read from its file without running it.

use super::elf;
use super::error::{PluginCode, PluginError};
use coldstart_plugin_api::{API_VERSION, Role, ops};
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
    /// The parameters that name the strategies that it composes; empty if it composes none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub composes: Vec<String>,
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
        self.check_composes(file)?;
        match self.needs.iter().find(|need| ops::ALL.iter().all(|op| op.0 != need.as_str())) {
            Some(unknown) => {
                let message = format!("needs the operation `{unknown}`, which this host does not offer");
                Err(PluginError::new(PluginCode::Operation, file, message))
            }
            None => Ok(()),
        }
    }

    /// Whether it asks other strategies.
    pub fn is_composing(&self) -> bool {
        !self.composes.is_empty()
    }

    /// Whoever asks other strategies says in which parameters they are named, and is a strategy itself.
    fn check_composes(&self, file: &str) -> Result<(), PluginError> {
        let lies = |message: String| Err(PluginError::new(PluginCode::Descriptor, file, message));
        let asks_others = self.needs.iter().any(|need| need == ops::STRATEGY_SELECT_1.0);
        if asks_others && !self.is_composing() {
            return lies(format!("needs `{}`, and its `composes` names no parameter", ops::STRATEGY_SELECT_1.0));
        }
        if self.is_composing() && self.roles.iter().any(|role| role == Role::Sizer.name()) {
            return lies("is a sizer, and a sizer composes no strategies".to_owned());
        }
        let properties = self.params.get("properties");
        let is_param = |name: &String| properties.is_some_and(|properties| properties.get(name).is_some());
        match self.composes.iter().find(|name| !is_param(name)) {
            Some(unknown) => lies(format!("composes what `{unknown}` names, which is none of its parameters")),
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
    fn whoever_composes_says_in_which_parameters() {
        let manifest = |role: &str, needs: &str, composes: &[&str]| Manifest {
            format: 1,
            name: "toy".to_owned(),
            publisher: String::new(),
            version: semver::Version::new(1, 0, 0),
            api: API_VERSION.parse().unwrap(),
            panic: "unwind".to_owned(),
            summary: String::new(),
            license: String::new(),
            authors: String::new(),
            cite: String::new(),
            roles: vec![role.to_owned()],
            criterion: String::new(),
            needs: vec![needs.to_owned()],
            asks: Vec::new(),
            composes: composes.iter().map(|name| (*name).to_owned()).collect(),
            params: serde_json::json!({"type": "object", "properties": {"of": {"type": "string"}}}),
            modules: Vec::new(),
        };
        let (select, predict) = (ops::STRATEGY_SELECT_1.0, ops::PREDICT_1.0);
        for (role, needs, composes, expected) in [
            ("query", predict, &[][..], None),
            ("query", select, &["of"], None),
            ("query", select, &[], Some("names no parameter")),
            ("query", select, &["of", "more"], Some("`more` names")),
            ("sizer", select, &["of"], Some("a sizer composes no strategies")),
        ] {
            let checked = manifest(role, needs, composes).check("toy.so").map_err(|error| error.message);
            match expected {
                None => assert_eq!(checked, Ok(())),
                Some(expected) => assert!(checked.clone().unwrap_err().contains(expected), "{checked:?}"),
            }
        }
    }

    #[test]
    fn names_are_kebab_case() {
        for (name, good) in
            [("pt4al", true), ("first-choice", true), ("", false), ("Pt4al", false), ("a--b", false), ("a/b", false)]
        {
            assert_eq!(is_kebab_case(name), good, "{name}");
        }
    }
}
