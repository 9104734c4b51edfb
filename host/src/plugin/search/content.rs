//! What a folder of the search path holds.

use super::owner::{Owner, SAFE, is_safe_below, owner};
use crate::plugin::elf;
use crate::plugin::error::{PluginCode, PluginError};
use crate::plugin::load::unreadable;
use crate::plugin::manifest::{Manifest, is_kebab_case};
use crate::plugin::package::{EXTENSION, PACKAGE_FILES, Unpacked, is_package, native_triple};
use coldstart_plugin_api::manifest::SECTION;
use semver::Version;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where a plugin was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The library.
    pub file: PathBuf,
    /// The folder of the unpacked package that it belongs to; none for a bare library.
    pub package: Option<PathBuf>,
    /// The user in whose folder it lies, if that is another one: then a signature must vouch for it.
    pub of_user: Option<u32>,
}

impl Found {
    /// A bare library or script that was named by its path.
    pub fn named(file: &Path) -> Found {
        Found { file: file.to_owned(), package: None, of_user: None }
    }

    /// The library that a run's lock names: of the unpacked package that it lies in, if it does. Errs with P005 where somebody else
    /// could exchange it, as the search would pass it over.
    pub fn at(file: &Path) -> Result<Found, PluginError> {
        let package = file.parent().filter(|lib| lib.ends_with("lib")).and_then(Path::parent);
        let package = package.filter(|package| is_package(package)).map(Path::to_owned);
        let folder = package.as_deref().or(file.parent()).unwrap_or(file);
        let of_user = match owner(folder) {
            Ok(Owner::Ours) => None,
            Ok(Owner::Another(user)) => Some(user),
            Err(reason) => {
                let message = format!("lies in `{}`, which cannot be relied on: {reason}", folder.display());
                return Err(PluginError::new(PluginCode::Signature, file.display().to_string(), message)
                    .with_hint("mend the folder, or put the plugin into one that you alone can write to"));
            }
        };
        Ok(Found { file: file.to_owned(), package, of_user })
    }
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

/// The state of a folder of which there is nothing more to say.
pub const SEARCHED: &str = "searched";

/// What there is in a folder of the search path.
#[derive(Debug, Clone)]
pub enum Content {
    /// It is not there.
    Missing,
    /// It may be there, but it cannot be read or is not to be trusted: why.
    Ignored(String),
    /// What it holds, sorted by path.
    Searched {
        /// Plugins.
        candidates: Vec<Candidate>,
        /// And what might have been one.
        overlooked: Vec<Overlooked>,
        /// What is left aside because the folder is another user's.
        theirs: Option<Theirs>,
    },
}

/// A folder of another user: its packages count if a trusted key has signed them, and nothing else does.
#[derive(Debug, Clone)]
pub struct Theirs {
    /// The number of the user.
    pub user: u32,
    /// Libraries and unsigned packages, sorted.
    pub left_aside: Vec<PathBuf>,
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

    /// What is left aside because the folder is another user's.
    pub fn left_aside(&self) -> &[PathBuf] {
        match self {
            Content::Searched { theirs: Some(theirs), .. } => &theirs.left_aside,
            _ => &[],
        }
    }

    /// How the folder was searched, in a few words.
    pub fn state(&self) -> String {
        match self {
            Content::Missing => "missing".to_owned(),
            Content::Ignored(reason) => format!("ignored: {reason}"),
            Content::Searched { theirs: None, .. } => SEARCHED.to_owned(),
            Content::Searched { theirs: Some(Theirs { user, left_aside }), .. } => format!(
                "searched for signed packages only ({} left aside), because it belongs to user {user}; {SAFE} lets in the rest",
                left_aside.len()
            ),
        }
    }

    /// What a user must be told who relies on the folder, if anything.
    pub fn reservation(&self, folder: &Path) -> Option<String> {
        let folder = folder.display();
        match self {
            Content::Ignored(reason) => Some(format!("plugins in `{folder}` are ignored: {reason}")),
            Content::Searched { theirs: Some(Theirs { user, left_aside }), .. } if !left_aside.is_empty() => {
                let aside = match left_aside.len() {
                    1 => "1 plugin".to_owned(),
                    n => format!("{n} plugins"),
                };
                Some(format!(
                    "left aside {aside} in `{folder}`, which no key vouches for: it belongs to user {user}; if you rely on that \
                     user, set {SAFE}=\"{folder}\""
                ))
            }
            _ => None,
        }
    }
}

/// Look into a folder. Reads files; runs nothing.
pub fn content(folder: &Path) -> Content {
    if !folder.is_absolute() {
        return Content::Ignored("only absolute paths are searched".to_owned());
    }
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Content::Missing;
        }
        Err(error) => return Content::Ignored(format!("it cannot be read: {error}")),
    };
    let of_user = match owner(folder) {
        Ok(Owner::Ours) => None,
        Ok(Owner::Another(user)) => Some(user),
        Err(reason) => return Content::Ignored(reason),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut seen =
        Seen { searched: folder, of_user, candidates: Vec::new(), overlooked: Vec::new(), aside: Vec::new() };
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("so") => seen.library(path),
            Some(extension) if extension == EXTENSION => seen.overlooked.push(not_installed(path)),
            _ => seen.packages_below(&path),
        }
    }
    let Seen { candidates, overlooked, aside, .. } = seen;
    let theirs = of_user.map(|user| Theirs { user, left_aside: aside });
    Content::Searched { candidates, overlooked, theirs }
}

/// What was seen in a folder so far.
struct Seen<'a> {
    searched: &'a Path,
    of_user: Option<u32>,
    candidates: Vec<Candidate>,
    overlooked: Vec<Overlooked>,
    aside: Vec<PathBuf>,
}

impl Seen<'_> {
    fn library(&mut self, file: PathBuf) {
        match self.of_user {
            Some(_) => self.aside.push(file),
            None => self.candidates.push(candidate(Found::named(&file))),
        }
    }

    /// Unpacked packages lie in `PUBLISHER.NAME/VERSION/TRIPLE`, or `NAME/VERSION/TRIPLE` where nobody publishes them.
    fn packages_below(&mut self, folder: &Path) {
        let Some(id) = file_name(folder).filter(|id| id.split('.').all(is_kebab_case)) else { return };
        for version_folder in sorted_entries(folder) {
            let Some(version) = file_name(&version_folder).and_then(|name| Version::parse(name).ok()) else { continue };
            for package in sorted_entries(&version_folder).into_iter().filter(|package| package.is_dir()) {
                self.package(id, &version, package);
            }
        }
    }

    fn package(&mut self, id: &str, version: &Version, package: PathBuf) {
        match fits_machine(&package, self.searched) {
            Err((reason, hint)) => self.overlooked.push(Overlooked { path: package, reason, hint }),
            // Whether the signature counts is for the trust store to say.
            Ok(()) if self.of_user.is_some() && !is_signed(&package) => self.aside.push(package),
            Ok(()) => self.candidates.push(unpacked_candidate(id, version, package, self.of_user)),
        }
    }
}

fn is_signed(package: &Path) -> bool {
    Unpacked::read(package).is_ok_and(|unpacked| unpacked.signature.is_some())
}

fn not_installed(path: PathBuf) -> Overlooked {
    let hint = format!("`coldstart plugin install {}`", path.display());
    Overlooked { path, reason: "is packed, not installed".to_owned(), hint }
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
fn fits_machine(package: &Path, searched: &Path) -> Result<(), (String, String)> {
    let here = native_triple();
    if file_name(package) != Some(here.as_str()) {
        return Err((format!("is not for {here}"), format!("install the package for {here}")));
    }
    let files = files_of_package(package);
    [package.to_owned()].iter().chain(&files).try_for_each(|path| is_safe_below(path, searched)).map_err(|reason| {
        (format!("is ignored: {reason}"), "mend it, or uninstall it and install it again".to_owned())
    })?;
    match Unpacked::read(package).map(|unpacked| unpacked.build.check_machine("")) {
        Ok(Err(error)) => Err((error.message, error.hint)),
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

/// The files of an unpacked package that say what it is; those that are there.
fn files_of_package(package: &Path) -> Vec<PathBuf> {
    let libraries = sorted_entries(&package.join("lib"));
    let named = PACKAGE_FILES.map(|name| package.join(name)).into_iter();
    named.filter(|file| file.symlink_metadata().is_ok()).chain(libraries).collect()
}

fn unpacked_candidate(id: &str, version: &Version, package: PathBuf, of_user: Option<u32>) -> Candidate {
    let name = id.rsplit('.').next().unwrap_or(id);
    let file = package.join(format!("lib/libcoldstart_{}.so", name.replace('-', "_")));
    let readable = Unpacked::read(&package).map(|_| ());
    let mut candidate = candidate(Found { file, package: Some(package), of_user });
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
    // Whatever is no file, such as a pipe, could be read without end.
    let is_file = std::fs::metadata(&found.file).is_ok_and(|metadata| metadata.is_file());
    let read = if is_file { std::fs::read(&found.file) } else { Err(ErrorKind::NotFound.into()) };
    let bytes = read.map_err(|error| unreadable(&name, &error));
    let foreign = bytes.as_ref().is_ok_and(|bytes| elf::lacks_section(bytes, SECTION));
    let manifest = bytes.and_then(|bytes| Ok(Manifest::read(&name, &bytes)?.0));
    Candidate { found, manifest, foreign }
}
