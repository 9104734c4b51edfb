//! What a folder of the search path holds.

use crate::plugin::elf;
use crate::plugin::error::{PluginCode, PluginError};
use crate::plugin::manifest::{Manifest, is_kebab_case};
use crate::plugin::package::{EXTENSION, Unpacked, native_triple};
use coldstart_plugin_api::manifest::SECTION;
use semver::Version;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where a plugin was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The library.
    pub file: PathBuf,
    /// The folder of the unpacked package that it belongs to; none for a bare library.
    pub package: Option<PathBuf>,
}

/// A file on the search path that is a plugin, or should be one.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where it is.
    pub found: Found,
    /// What it says of itself, or why that cannot be read.
    pub manifest: Result<Manifest, PluginError>,
    /// A sound library that does not even claim to be a plugin.
    foreign: bool,
}

impl Candidate {
    /// Whether it is a sound library that does not even claim to be a plugin.
    pub fn is_foreign(&self) -> bool {
        self.foreign
    }
}

/// Something that a folder of the search path holds and that cannot be chosen as it is.
#[derive(Debug, Clone)]
pub struct Overlooked {
    /// A package's file or folder.
    pub path: PathBuf,
    /// Why it cannot.
    pub reason: String,
    /// What would help.
    pub hint: String,
}

/// What there is in a folder of the search path.
#[derive(Debug, Clone)]
pub enum Content {
    /// It is not there.
    Missing,
    /// It is there, but not to be trusted: why.
    Ignored(String),
    /// What it holds, sorted by path.
    Searched {
        /// Plugins.
        candidates: Vec<Candidate>,
        /// And what might have been one.
        overlooked: Vec<Overlooked>,
    },
}

impl Content {
    /// The plugins in it.
    pub fn candidates(&self) -> &[Candidate] {
        match self {
            Content::Searched { candidates, .. } => candidates,
            Content::Missing | Content::Ignored(_) => &[],
        }
    }

    /// What might have been a plugin.
    pub fn overlooked(&self) -> &[Overlooked] {
        match self {
            Content::Searched { overlooked, .. } => overlooked,
            Content::Missing | Content::Ignored(_) => &[],
        }
    }
}

/// Look into a folder. Reads files; runs nothing.
pub fn content(folder: &Path) -> Content {
    let Ok(entries) = std::fs::read_dir(folder) else { return Content::Missing };
    if let Err(reason) = is_safe(folder) {
        tracing::warn!("plugins in {} are ignored: {reason}", folder.display());
        return Content::Ignored(reason);
    }
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let (mut candidates, mut overlooked) = (Vec::new(), Vec::new());
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("so") => candidates.push(candidate(Found { file: path, package: None })),
            Some(extension) if extension == EXTENSION => overlooked.push(not_installed(path)),
            _ => packages_below(&path, &mut candidates, &mut overlooked),
        }
    }
    Content::Searched { candidates, overlooked }
}

/// A folder that another user can write to could swap a plugin under us.
pub fn is_safe(folder: &Path) -> Result<(), String> {
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

fn not_installed(path: PathBuf) -> Overlooked {
    let hint = format!("`coldstart plugin install {}`", path.display());
    Overlooked { path, reason: "is packed, not installed".to_owned(), hint }
}

/// Unpacked packages lie in `PUBLISHER.NAME/VERSION/TRIPLE`, or `NAME/VERSION/TRIPLE` where nobody publishes them.
fn packages_below(folder: &Path, candidates: &mut Vec<Candidate>, overlooked: &mut Vec<Overlooked>) {
    let Some(id) = file_name(folder).filter(|id| id.split('.').all(is_kebab_case)) else { return };
    for version_folder in sorted_entries(folder) {
        let Some(version) = file_name(&version_folder).and_then(|name| Version::parse(name).ok()) else { continue };
        for package in sorted_entries(&version_folder).into_iter().filter(|package| package.is_dir()) {
            match fits_machine(&package) {
                Ok(()) => candidates.push(unpacked_candidate(id, &version, package)),
                Err((reason, hint)) => overlooked.push(Overlooked { path: package, reason, hint }),
            }
        }
    }
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

fn sorted_entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Why an unpacked package is not for this machine, and what to do. What is damaged may fit: it is an error when meant.
fn fits_machine(package: &Path) -> Result<(), (String, String)> {
    let here = native_triple();
    if file_name(package) != Some(here.as_str()) {
        return Err((format!("is not for {here}"), format!("install the package for {here}")));
    }
    is_safe(package)
        .map_err(|reason| (format!("is ignored: {reason}"), "uninstall it and install it again".to_owned()))?;
    match Unpacked::read(package).map(|unpacked| unpacked.build.check_machine("")) {
        Ok(Err(error)) => Err((error.message, error.hint)),
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

fn unpacked_candidate(id: &str, version: &Version, package: PathBuf) -> Candidate {
    let name = id.rsplit('.').next().unwrap_or(id);
    let file = package.join(format!("lib/libcoldstart_{}.so", name.replace('-', "_")));
    let readable = Unpacked::read(&package).map(|_| ());
    let mut candidate = candidate(Found { file, package: Some(package) });
    candidate.foreign = false;
    candidate.manifest = readable.and(candidate.manifest).and_then(|manifest| {
        if manifest.id() == id && manifest.version == *version {
            return Ok(manifest);
        }
        let message = format!("lies in the folder of {id} {version} and is {} {}", manifest.id(), manifest.version);
        Err(PluginError::new(PluginCode::Descriptor, candidate.found.file.display().to_string(), message))
    });
    candidate
}

fn candidate(found: Found) -> Candidate {
    let name = found.file.display().to_string();
    let bytes = std::fs::read(&found.file)
        .map_err(|error| PluginError::new(PluginCode::Library, &name, format!("cannot be read: {error}")));
    let foreign = bytes.as_ref().is_ok_and(|bytes| elf::lacks_section(bytes, SECTION));
    let manifest = bytes.and_then(|bytes| Ok(Manifest::read(&name, &bytes)?.0));
    Candidate { found, manifest, foreign }
}
