//! How a config names a plugin.

use crate::plugin::error::{PluginCode, PluginError};
use crate::plugin::load::is_script;
use crate::plugin::manifest::Manifest;
use semver::{Version, VersionReq};
use std::path::Path;

/// What a config says: `name`, `publisher/name`, either with `@` and a version requirement; or the path of a script.
#[derive(Debug, Clone, PartialEq)]
pub struct StrategyName {
    publisher: Option<String>,
    name: String,
    version: VersionReq,
}

impl StrategyName {
    /// Errs if the version requirement makes no sense.
    pub fn parse(text: &str) -> Result<StrategyName, PluginError> {
        if is_script(Path::new(text)) {
            return Ok(StrategyName { publisher: None, name: text.to_owned(), version: VersionReq::STAR });
        }
        let (full_name, version) = text.split_once('@').unwrap_or((text, "*"));
        let version = VersionReq::parse(version)
            .map_err(|error| PluginError::new(PluginCode::Unmet, text, format!("bad version requirement: {error}")))?;
        let (publisher, name) = match full_name.split_once('/') {
            Some((publisher, name)) => (Some(publisher.to_owned()), name.to_owned()),
            None => (None, full_name.to_owned()),
        };
        Ok(StrategyName { publisher, name, version })
    }

    /// The version requirement.
    pub fn requirement(&self) -> &VersionReq {
        &self.version
    }

    /// The name without publisher and version.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The publisher, if the name has one.
    pub fn publisher(&self) -> Option<&str> {
        self.publisher.as_deref()
    }

    /// Whether a plugin is meant, whatever its version.
    pub fn means(&self, manifest: &Manifest) -> bool {
        self.is(&manifest.publisher, &manifest.name)
    }

    /// Whether a version is one that the requirement allows; without a requirement every one is.
    pub fn means_version(&self, version: &Version) -> bool {
        self.version == VersionReq::STAR || self.version.matches(version)
    }

    /// Whether it is a name of the plugin with that publisher and name.
    pub fn is(&self, publisher: &str, name: &str) -> bool {
        self.name == name && self.publisher.as_ref().is_none_or(|wanted| wanted == publisher)
    }

    /// Whether a packed or unpacked package of this file or folder name may be the one: `NAME-...`, `NAME`, `PUBLISHER.NAME`.
    pub fn resembles_package(&self, path: &Path) -> bool {
        let packed = |file: &str| file.strip_prefix(self.name.as_str()).is_some_and(|rest| rest.starts_with('-'));
        let unpacked = |id: &str| id == self.name || id.ends_with(&format!(".{}", self.name));
        let mut parts = path.iter().rev().filter_map(|part| part.to_str());
        parts.next().is_some_and(packed) || parts.nth(1).is_some_and(unpacked)
    }

    /// Whether an unreadable file looks as if it was meant: `libcoldstart_NAME.so`, `libNAME.so`.
    pub fn resembles(&self, file: &Path) -> bool {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let stem = stem.strip_prefix("lib").unwrap_or(stem);
        stem.strip_prefix("coldstart_").unwrap_or(stem) == self.name.replace('-', "_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_publisher_and_version() {
        for (text, publisher, name, version) in [
            ("entropy", None, "entropy", "*"),
            ("lab/entropy", Some("lab"), "entropy", "*"),
            ("entropy@^1.2", None, "entropy", "^1.2"),
            ("lab/first-choice@=0.3.1", Some("lab"), "first-choice", "=0.3.1"),
        ] {
            let parsed = StrategyName::parse(text).unwrap();
            assert_eq!((parsed.publisher.as_deref(), parsed.name.as_str()), (publisher, name));
            assert_eq!(parsed.version, VersionReq::parse(version).unwrap());
        }
        assert_eq!(StrategyName::parse("entropy@one").unwrap_err().code, PluginCode::Unmet);
    }

    #[test]
    fn a_broken_file_is_recognised_by_its_name() {
        let wanted = StrategyName::parse("first-choice").unwrap();
        for (file, meant) in [
            ("/x/libcoldstart_first_choice.so", true),
            ("/x/libfirst_choice.so", true),
            ("/x/libcoldstart_choice.so", false),
        ] {
            assert_eq!(wanted.resembles(Path::new(file)), meant);
        }
    }
}
