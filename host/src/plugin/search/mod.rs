//! The search path: which plugin does a name mean?

mod content;
mod name;
mod owner;

pub use content::{Candidate, Content, Found, Overlooked, SEARCHED};
pub use name::StrategyName;
pub use owner::SAFE;

use super::error::{PluginCode, PluginError};
use super::load::{is_script, read_manifest};
use super::manifest::Manifest;
use crate::foreign;
use crate::nearest::nearest;
use crate::xdg;
use content::content;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
        folders.extend(folders_in("COLDSTART_PLUGIN_PATH"));
        folders.extend(user_folder());
        folders.extend(xdg::data_dirs().into_iter().map(|folder| folder.join("coldstart/plugins")));
        folders.extend(program_folders());
        SearchPath { folders }
    }

    /// Warn of folders that are not searched, or not for everything.
    pub fn warn_of_reservations(&self) {
        let contents = self.contents();
        let reservations = contents.iter().filter_map(|(folder, content)| content.reservation(folder));
        reservations.for_each(warn_once);
    }

    /// Warn if a plugin is found before one of the program's own that the name means, too.
    pub fn warn_if_shadowed(&self, found: &Found, name: &StrategyName, role: &str) {
        if let Some(own) = self.shadowed(found, name, role) {
            let (name, file, own) = (name.name(), found.file.display(), own.display());
            warn_once(format!("`{name}` is `{file}`, which is found before the program's own `{own}`"));
        }
    }

    /// The file of the program's own that a plugin is found before, if the name means both in that role.
    pub fn shadowed(&self, found: &Found, name: &StrategyName, role: &str) -> Option<PathBuf> {
        let own = program_folders();
        if is_script(&found.file) || own.iter().any(|folder| found.file.starts_with(folder)) {
            return None;
        }
        let candidates = own.iter().flat_map(|folder| content(folder).candidates().to_vec());
        let meant = |candidate: Candidate| {
            let (file, manifest) = (candidate.found.file, candidate.manifest.ok()?);
            let fits = name.means(&manifest) && name.requirement().matches(&manifest.version);
            (fits && manifest.roles.iter().any(|offered| offered == role)).then_some(file)
        };
        candidates.filter_map(meant).next()
    }

    /// The folders in order.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// What each folder holds. Reads files; runs nothing.
    pub fn contents(&self) -> Vec<(PathBuf, Content)> {
        self.folders.iter().map(|folder| (folder.clone(), content(folder))).collect()
    }

    /// Every candidate, folder by folder, sorted by file name. Reads files; runs nothing. Sound libraries that are no
    /// plugins are left out.
    pub fn candidates(&self) -> Vec<Candidate> {
        let all = self.folders.iter().flat_map(|folder| content(folder).candidates().to_vec());
        all.filter(|candidate| !candidate.is_foreign()).collect()
    }

    /// The plugin that a name means: the first folder with a match decides, and in it the highest version.
    ///
    /// A name that ends in `.py` is the script's own path.
    pub fn resolve(&self, name: &str, role: &str) -> Result<Found, PluginError> {
        if is_script(Path::new(name)) {
            return script(name, role);
        }
        let wanted = StrategyName::parse(name)?;
        let (mut unmet, mut overlooked, mut reserved) = (Vec::new(), Vec::new(), Vec::new());
        for folder in &self.folders {
            let content = content(folder);
            if let Some(error) = unreadable(content.candidates(), &wanted) {
                return Err(error);
            }
            let named: Vec<_> = content.candidates().iter().filter_map(|candidate| meant(candidate, &wanted)).collect();
            let (fitting, others): (Vec<_>, Vec<_>) = named.into_iter().partition(|(_, manifest)| {
                wanted.requirement().matches(&manifest.version) && manifest.roles.iter().any(|offered| offered == role)
            });
            unmet.extend(others.iter().map(|(found, manifest)| describe(found, manifest)));
            if let Some(found) = highest(name, fitting)? {
                return Ok(found);
            }
            overlooked.extend(content.overlooked().iter().cloned());
            if content.left_aside().iter().any(|file| wanted.resembles(file) || wanted.resembles_package(file)) {
                reserved.extend(content.reservation(folder));
            }
        }
        let error =
            if unmet.is_empty() { self.not_found(name, &wanted, role) } else { role_or_version(name, role, &unmet) };
        if let Some(reservation) = reserved.into_iter().next() {
            return Err(error.with_hint(reservation));
        }
        Err(match overlooked.iter().find(|overlooked| wanted.resembles_package(&overlooked.path)) {
            Some(Overlooked { path, reason, hint }) => {
                error.with_hint(format!("`{}` {reason}: {hint}", path.display()))
            }
            None => error,
        })
    }

    fn not_found(&self, name: &str, wanted: &StrategyName, role: &str) -> PluginError {
        let known: Vec<String> = self
            .candidates()
            .into_iter()
            .filter_map(|candidate| candidate.manifest.ok())
            .filter(|manifest| manifest.roles.iter().any(|offered| offered == role))
            .map(|manifest| manifest.name)
            .collect();
        let error = PluginError::new(PluginCode::NotFound, name, "there is no plugin of that name");
        let hint = match nearest(wanted.name(), known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => PluginCode::NotFound.hint().to_owned(),
        };
        error.with_hint(format!("{hint}\n  {}", self.searched()))
    }

    /// Where was searched, in a line: folders that are not there are only counted.
    fn searched(&self) -> String {
        let contents = self.contents();
        let (missing, there): (Vec<_>, Vec<_>) =
            contents.iter().partition(|(_, content)| matches!(content, Content::Missing));
        let told = there.iter().map(|(folder, content)| match content {
            Content::Ignored(reason) => format!("not {} ({reason})", folder.display()),
            _ => folder.display().to_string(),
        });
        let missing = match missing.len() {
            0 => None,
            1 => Some("1 folder that is not there".to_owned()),
            n => Some(format!("{n} folders that are not there")),
        };
        format!("searched: {}", told.chain(missing).collect::<Vec<_>>().join(", "))
    }
}

/// The folders in a variable; it may end with a colon or hold two in a row.
fn folders_in(variable: &str) -> Vec<PathBuf> {
    let value = std::env::var_os(variable).unwrap_or_default();
    std::env::split_paths(&value).filter(|folder| !folder.as_os_str().is_empty()).collect()
}

/// Where plugins are installed for this user.
pub fn user_folder() -> Option<PathBuf> {
    Some(xdg::data_home()?.join("coldstart/plugins"))
}

/// The folders that belong to the program.
pub fn program_folders() -> Vec<PathBuf> {
    let program = std::env::current_exe().ok();
    let folder = program.as_deref().and_then(Path::parent);
    folder.map(|folder| vec![folder.join("../lib/coldstart/plugins"), folder.to_owned()]).unwrap_or_default()
}

/// A script stands for itself; errs if it is not there or has another role.
fn script(file: &str, role: &str) -> Result<Found, PluginError> {
    let bytes = std::fs::read(file).map_err(|error| {
        PluginError::new(PluginCode::NotFound, file, format!("cannot be read: {error}"))
            .with_hint("the path of a script begins at the config's folder")
    })?;
    let (manifest, _) = read_manifest(Path::new(file), &bytes)?;
    let found = Found::named(Path::new(file));
    match manifest.roles.iter().any(|offered| offered == role) {
        true => Ok(found),
        false => Err(role_or_version(file, role, &[describe(&found, &manifest)])),
    }
}

fn role_or_version(name: &str, role: &str, unmet: &[String]) -> PluginError {
    let message = format!("no {role} strategy fits; there is {}", unmet.join(", "));
    PluginError::new(PluginCode::Unmet, name, message)
}

fn meant<'a>(candidate: &'a Candidate, wanted: &StrategyName) -> Option<(&'a Found, &'a Manifest)> {
    let manifest = candidate.manifest.as_ref().ok()?;
    wanted.means(manifest).then_some((&candidate.found, manifest))
}

/// A broken file of the wanted name is never reported as missing.
fn unreadable(candidates: &[Candidate], wanted: &StrategyName) -> Option<PluginError> {
    let broken =
        candidates.iter().find(|candidate| candidate.manifest.is_err() && wanted.resembles(&candidate.found.file))?;
    broken.manifest.as_ref().err().cloned()
}

/// Each warning once in a process, however often folders are searched.
pub fn warn_once(warning: String) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(warning.clone()) {
        tracing::warn!("{}", foreign::line(&warning));
    }
}

fn describe(found: &Found, manifest: &Manifest) -> String {
    let (name, roles) = (manifest.full_name(), manifest.roles.join(", "));
    format!("`{name}` {} ({roles}; {})", manifest.version, found.file.display())
}

fn highest(name: &str, mut fitting: Vec<(&Found, &Manifest)>) -> Result<Option<Found>, PluginError> {
    fitting.sort_by(|a, b| b.1.version.cmp(&a.1.version));
    let Some((found, best)) = fitting.first().copied() else { return Ok(None) };
    let rivals: Vec<_> = fitting
        .iter()
        .filter(|(_, rival)| rival.version == best.version || rival.publisher != best.publisher)
        .collect();
    if rivals.len() > 1 {
        let listed: Vec<String> = rivals.iter().map(|(found, manifest)| describe(found, manifest)).collect();
        return Err(PluginError::new(PluginCode::Ambiguous, name, format!("it could be {}", listed.join(" or "))));
    }
    Ok(Some(found.clone()))
}
