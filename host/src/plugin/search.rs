//! The search path: which plugin does a name mean?

use super::elf;
use super::error::{PluginCode, PluginError};
use super::manifest::Manifest;
use crate::nearest::nearest;
use coldstart_plugin_api::manifest::SECTION;
use semver::VersionReq;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a config says: `name`, `publisher/name`, either with `@` and a version requirement.
#[derive(Debug, Clone, PartialEq)]
pub struct StrategyName {
    publisher: Option<String>,
    name: String,
    version: VersionReq,
}

impl StrategyName {
    /// Errs if the version requirement makes no sense.
    pub fn parse(text: &str) -> Result<StrategyName, PluginError> {
        let (full_name, version) = text.split_once('@').unwrap_or((text, "*"));
        let version = VersionReq::parse(version)
            .map_err(|error| PluginError::new(PluginCode::Unmet, text, format!("bad version requirement: {error}")))?;
        let (publisher, name) = match full_name.split_once('/') {
            Some((publisher, name)) => (Some(publisher.to_owned()), name.to_owned()),
            None => (None, full_name.to_owned()),
        };
        Ok(StrategyName { publisher, name, version })
    }

    fn means(&self, manifest: &Manifest) -> bool {
        manifest.name == self.name && self.publisher.as_ref().is_none_or(|publisher| *publisher == manifest.publisher)
    }

    /// Whether an unreadable file looks as if it was meant: `libcoldstart_NAME.so`, `libNAME.so`.
    fn resembles(&self, file: &Path) -> bool {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let stem = stem.strip_prefix("lib").unwrap_or(stem);
        stem.strip_prefix("coldstart_").unwrap_or(stem) == self.name.replace('-', "_")
    }
}

/// A file on the search path that is a plugin, or should be one.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where it is.
    pub file: PathBuf,
    /// What it says of itself, or why that cannot be read.
    pub manifest: Result<Manifest, PluginError>,
    /// A sound library that does not even claim to be a plugin.
    foreign: bool,
}

/// The folders that are searched, first match first.
#[derive(Debug, Clone)]
pub struct SearchPath {
    folders: Vec<PathBuf>,
}

impl SearchPath {
    /// The folders named in a config, then `COLDSTART_PLUGIN_PATH`, the user's and the system's data folders, and the
    /// folders beside the program. Never the current folder.
    pub fn new(named: &[PathBuf]) -> SearchPath {
        let mut folders = named.to_vec();
        let paths = |name: &str| std::env::var_os(name).map(|value| std::env::split_paths(&value).collect::<Vec<_>>());
        folders.extend(paths("COLDSTART_PLUGIN_PATH").unwrap_or_default());
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
        let user = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(home);
        let system = paths("XDG_DATA_DIRS").unwrap_or_else(|| vec!["/usr/local/share".into(), "/usr/share".into()]);
        folders.extend(user.into_iter().chain(system).map(|folder| folder.join("coldstart/plugins")));
        if let Some(program) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
            folders.push(program.join("../lib/coldstart/plugins"));
            folders.push(program.to_owned());
        }
        folders.retain(|folder| {
            let absolute = folder.is_absolute();
            if !absolute {
                tracing::warn!("the plugin folder `{}` is ignored: only absolute paths are searched", folder.display());
            }
            absolute
        });
        SearchPath { folders }
    }

    /// The folders in order.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Every candidate, folder by folder, sorted by file name. Reads files; runs nothing. Sound libraries that are no
    /// plugins are left out.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.folders.iter().flat_map(|folder| in_folder(folder)).filter(|candidate| !candidate.foreign).collect()
    }

    /// The plugin that a name means: the first folder with a match decides, and in it the highest version.
    ///
    /// A name that ends in `.py` is the script's own path.
    pub fn resolve(&self, name: &str, role: &str) -> Result<PathBuf, PluginError> {
        if name.ends_with(".py") {
            return script(name, role);
        }
        let wanted = StrategyName::parse(name)?;
        let mut unmet = Vec::new();
        for folder in &self.folders {
            let candidates = in_folder(folder);
            if let Some(error) = unreadable(&candidates, &wanted) {
                return Err(error);
            }
            let named: Vec<_> = candidates.iter().filter_map(|candidate| meant(candidate, &wanted)).collect();
            let (fitting, others): (Vec<_>, Vec<_>) = named.into_iter().partition(|(_, manifest)| {
                wanted.version.matches(&manifest.version) && manifest.roles.iter().any(|offered| offered == role)
            });
            unmet.extend(others.iter().map(|(file, manifest)| describe(file, manifest)));
            if let Some(found) = highest(name, fitting)? {
                return Ok(found);
            }
        }
        Err(if unmet.is_empty() { self.not_found(name, &wanted, role) } else { role_or_version(name, role, &unmet) })
    }

    fn not_found(&self, name: &str, wanted: &StrategyName, role: &str) -> PluginError {
        let known: Vec<String> = self
            .candidates()
            .into_iter()
            .filter_map(|candidate| candidate.manifest.ok())
            .filter(|manifest| manifest.roles.iter().any(|offered| offered == role))
            .map(|manifest| manifest.name)
            .collect();
        let searched: Vec<String> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        let message = format!("no plugin of that name in {}", searched.join(", "));
        let error = PluginError::new(PluginCode::NotFound, name, message);
        match nearest(&wanted.name, known.iter().map(String::as_str)) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error,
        }
    }
}

/// A script stands for itself; errs if it is not there or has another role.
fn script(file: &str, role: &str) -> Result<PathBuf, PluginError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        PluginError::new(PluginCode::NotFound, file, format!("cannot be read: {error}"))
            .with_hint("the path of a script begins at the config's folder")
    })?;
    let manifest = super::script::manifest(file, &text)?;
    match manifest.roles.iter().any(|offered| offered == role) {
        true => Ok(PathBuf::from(file)),
        false => Err(role_or_version(file, role, &[describe(Path::new(file), &manifest)])),
    }
}

fn role_or_version(name: &str, role: &str, unmet: &[String]) -> PluginError {
    let message = format!("no {role} strategy fits; there is {}", unmet.join(", "));
    PluginError::new(PluginCode::Unmet, name, message)
}

fn meant<'a>(candidate: &'a Candidate, wanted: &StrategyName) -> Option<(&'a Path, &'a Manifest)> {
    let manifest = candidate.manifest.as_ref().ok()?;
    wanted.means(manifest).then_some((candidate.file.as_path(), manifest))
}

/// A broken file of the wanted name is never reported as missing.
fn unreadable(candidates: &[Candidate], wanted: &StrategyName) -> Option<PluginError> {
    let broken =
        candidates.iter().find(|candidate| candidate.manifest.is_err() && wanted.resembles(&candidate.file))?;
    broken.manifest.as_ref().err().cloned()
}

fn describe(file: &Path, manifest: &Manifest) -> String {
    format!("`{}` {} ({}; {})", manifest.full_name(), manifest.version, manifest.roles.join(", "), file.display())
}

fn highest(name: &str, mut fitting: Vec<(&Path, &Manifest)>) -> Result<Option<PathBuf>, PluginError> {
    fitting.sort_by(|a, b| b.1.version.cmp(&a.1.version));
    let Some((file, best)) = fitting.first().copied() else { return Ok(None) };
    let rivals: Vec<_> = fitting
        .iter()
        .filter(|(_, rival)| rival.version == best.version || rival.publisher != best.publisher)
        .collect();
    if rivals.len() > 1 {
        let listed: Vec<String> = rivals.iter().map(|(file, manifest)| describe(file, manifest)).collect();
        return Err(PluginError::new(PluginCode::Ambiguous, name, format!("it could be {}", listed.join(" or "))));
    }
    Ok(Some(file.to_owned()))
}

fn in_folder(folder: &Path) -> Vec<Candidate> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    if let Err(reason) = is_safe(folder) {
        tracing::warn!("plugins in {} are ignored: {reason}", folder.display());
        return Vec::new();
    }
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "so"));
    files.sort();
    files.into_iter().map(candidate).collect()
}

/// A folder that another user can write to could swap a plugin under us.
fn is_safe(folder: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(folder).map_err(|error| error.to_string())?;
    let user = rustix::process::getuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        return Err(format!("it belongs to user {}", metadata.uid()));
    }
    if metadata.mode() & 0o002 != 0 {
        return Err("everybody can write to it".to_owned());
    }
    Ok(())
}

fn candidate(file: PathBuf) -> Candidate {
    let name = file.display().to_string();
    let bytes = std::fs::read(&file)
        .map_err(|error| PluginError::new(PluginCode::Library, &name, format!("cannot be read: {error}")));
    let foreign = bytes.as_ref().is_ok_and(|bytes| elf::lacks_section(bytes, SECTION));
    let manifest = bytes.and_then(|bytes| Ok(Manifest::read(&name, &bytes)?.0));
    Candidate { file, manifest, foreign }
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
