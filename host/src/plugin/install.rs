//! Install and uninstall: packages in the user's plugin folder.

use super::authority;
use super::error::{PluginCode, PluginError};
use super::package::{EXTENSION, Package, PackageError, make_folder, sync};
use super::search::{StrategyName, user_folder};
use super::trust::{Trust, TrustStore, judge_package};
use crate::limits;
use crate::wait::Source;
use rustix::fs::FlockOperation;
use semver::Version;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use ureq::Agent;

/// Bytes that are fetched at the most; a package cannot have more.
const MOST_BYTES: u64 = 128 << 20;

/// What an installation did.
#[derive(Debug)]
pub struct Installed {
    /// The plugin's full name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Where it is now.
    pub folder: PathBuf,
    /// What is known of it.
    pub trust: Trust,
    /// It was there before, as it is in the package.
    pub was_there: bool,
}

/// The folder that plugins are installed into; errs if neither `XDG_DATA_HOME` nor `HOME` says where the user's data lies.
pub fn folder() -> Result<PathBuf, PluginError> {
    user_folder().ok_or_else(|| {
        PluginError::new(PluginCode::NotFound, "install", "there is no folder for this user's plugins")
            .with_hint("set HOME or XDG_DATA_HOME to an absolute folder")
    })
}

/// The packages that an argument means: the file itself, or those for this machine in a folder.
pub fn packages_at(place: &Path, triple: &str) -> Result<Vec<PathBuf>, PackageError> {
    if !place.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    let entries = fs::read_dir(place).map_err(PackageError::file("read", place))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let suffix = format!("-{triple}.{EXTENSION}");
    files.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&suffix)));
    files.sort();
    match files.is_empty() {
        true => Err(PluginError::new(
            PluginCode::NotFound,
            place.display().to_string(),
            format!("holds no package for {triple}"),
        )
        .with_hint("name a package, whatever its file is called, to install it")
        .into()),
        false => Ok(files),
    }
}

/// Whether an argument of `install` is an address.
pub fn is_url(place: &str) -> bool {
    place.starts_with("https://") || place.starts_with("http://")
}

/// Fetch a package into a temporary file, which goes when it is dropped.
pub fn fetch(url: &str) -> Result<tempfile::NamedTempFile, PackageError> {
    let failed = |problem: String| PackageError::Download { url: url.to_owned(), problem };
    let config = Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .accept_encoding("identity")
        .user_agent(concat!("coldstart/", env!("CARGO_PKG_VERSION")));
    let response = config.build().new_agent().get(url).call().map_err(|error| failed(error.to_string()))?;
    let mut file = tempfile::NamedTempFile::new().map_err(|error| failed(error.to_string()))?;
    let mut body = Source::new(response.into_body().into_reader(), limits::SILENCE).take(MOST_BYTES + 1);
    let bytes = std::io::copy(&mut body, &mut file).map_err(|error| failed(error.to_string()))?;
    if bytes > MOST_BYTES {
        return Err(failed(format!("it has more than {MOST_BYTES} bytes")));
    }
    file.flush().map_err(|error| failed(error.to_string()))?;
    Ok(file)
}

/// Install a package below `into`, beside other versions. It is there whole or not at all.
///
/// Errs with P007 if it is for another machine, P005 if nobody whom the user trusts signed it (a package without any
/// signature is accepted if `allow_unsigned`), and P006 if the version is installed with another content.
pub fn install(
    name: &str,
    package: &Package,
    into: &Path,
    store: &TrustStore,
    allow_unsigned: bool,
) -> Result<Installed, PackageError> {
    package.build.check_machine(name)?;
    let trust = judge_package(name, package, store)?;
    if trust == Trust::Unsigned && !allow_unsigned {
        return Err(PluginError::new(PluginCode::Signature, name, "is not signed")
            .with_hint("ask its author for a signed one, or accept it with `--allow-unsigned`; it runs isolated then")
            .into());
    }
    let above = into.join(package.manifest.id()).join(package.manifest.version.to_string());
    let folder = above.join(&package.build.triple);
    let was_there = is_installed(name, package, &folder)?;
    if !was_there {
        put(package, into, &above, &folder)?;
    }
    let (name, version) = (package.manifest.full_name(), package.manifest.version.clone());
    Ok(Installed { name, version, folder, trust, was_there })
}

/// Whether the folder holds this package, with this signature. Errs if it holds another content.
fn is_installed(name: &str, package: &Package, folder: &Path) -> Result<bool, PackageError> {
    if fs::symlink_metadata(folder).is_err() {
        return Ok(false);
    }
    let same = |path: &str, content: &[u8]| fs::read(folder.join(path)).is_ok_and(|bytes| bytes == content);
    if !same("CHECKSUMS", package.checksums()) {
        let message = format!("this version is installed with another content, in {}", folder.display());
        let hint = format!(
            "if the new one is meant: `coldstart plugin uninstall {}@={}` first",
            package.manifest.full_name(),
            package.manifest.version
        );
        return Err(PluginError::new(PluginCode::Checksum, name, message).with_hint(hint).into());
    }
    let unsigned = package.signature().is_none() && !folder.join("CHECKSUMS.minisig").exists();
    Ok(package.files().all(|(path, content)| same(path, content)) && (package.signature().is_some() || unsigned))
}

/// The names of folders that an installation and a removal work in begin so; a name with a dot in front is never searched.
const AT_WORK: [&str; 2] = [".install-", ".uninstall-"];
/// Locked while somebody installs or removes.
const LOCK: &str = ".install.lock";
/// How long somebody else may take.
const PATIENCE: Duration = Duration::from_secs(60);
const NAP: Duration = Duration::from_millis(50);

/// Waits until nobody else installs or removes here, and clears away what those left who were killed. The lock goes with the file.
///
/// Errs when somebody else takes too long.
fn lock(folder: &Path) -> Result<File, PackageError> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).mode(0o644).open(&path);
    let file = file.map_err(PackageError::file("write", &path))?;
    let begun = Instant::now();
    while let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if begun.elapsed() > PATIENCE {
            return Err(PackageError::file("lock", &path)(error.into()));
        }
        std::thread::sleep(NAP);
    }
    for left in subfolders(folder) {
        let name = left.file_name().unwrap_or_default().to_string_lossy();
        if AT_WORK.iter().any(|at_work| name.starts_with(at_work)) {
            fs::remove_dir_all(&left).map_err(PackageError::file("remove", &left))?;
        }
    }
    Ok(file)
}

fn put(package: &Package, into: &Path, above: &Path, folder: &Path) -> Result<(), PackageError> {
    make_folder(into)?;
    authority::check(into).map_err(|doubt| {
        let message = format!("nothing that is installed there could be relied on: {doubt}");
        PluginError::new(PluginCode::Signature, into.display().to_string(), message).with_hint(doubt.hint())
    })?;
    let _lock = lock(into)?;
    // Beside the destination, so that a rename is enough.
    let temporary = tempfile::Builder::new().prefix(AT_WORK[0]).tempdir_in(into);
    let temporary = temporary.map_err(PackageError::file("create a folder in", into))?;
    let (new, old) = (temporary.path().join("new"), temporary.path().join("old"));
    make_folder(&new)?;
    package.unpack(&new)?;
    make_folder(above)?;
    if fs::symlink_metadata(folder).is_ok() {
        fs::rename(folder, &old).map_err(PackageError::file("replace", folder))?;
    }
    fs::rename(&new, folder).map_err(PackageError::file("write", folder))?;
    sync(above)
}

/// Remove the installed versions that a name means, for whatever machine they are. Returns the folders that went; errs if
/// there are none (P001), or if they are of several publishers and the name has none (P002).
pub fn uninstall(name: &str, from: &Path) -> Result<Vec<PathBuf>, PackageError> {
    let wanted = StrategyName::parse(name)?;
    let id_of = |folder: &Path| folder.file_name().and_then(|id| id.to_str()).map(str::to_owned);
    let mut meant: Vec<(String, PathBuf)> = Vec::new();
    for folder in subfolders(from) {
        let Some(id) = id_of(&folder) else { continue };
        let (publisher, plugin) = id.rsplit_once('.').unwrap_or(("", &id));
        if !wanted.is(publisher, plugin) {
            continue;
        }
        for version in subfolders(&folder) {
            let parsed = id_of(&version).and_then(|version| Version::parse(&version).ok());
            if parsed.is_some_and(|parsed| wanted.means_version(&parsed)) {
                meant.push((id.clone(), version));
            }
        }
    }
    let Some((first, _)) = meant.first() else {
        let error = PluginError::new(PluginCode::NotFound, name, format!("is not installed in {}", from.display()));
        return Err(error.with_hint("`coldstart plugin list` shows where each plugin lies").into());
    };
    if let Some((other, _)) = meant.iter().find(|(id, _)| id != first) {
        let message = format!("it could be {first} or {other}");
        return Err(PluginError::new(PluginCode::Ambiguous, name, message).with_hint("write `publisher/name`").into());
    }
    let _lock = lock(from)?;
    for (_, folder) in &meant {
        remove(folder, from)?;
    }
    Ok(meant.into_iter().map(|(_, folder)| folder).collect())
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Out of the search path in one step, then gone.
fn remove(folder: &Path, from: &Path) -> Result<(), PackageError> {
    let temporary = tempfile::Builder::new().prefix(AT_WORK[1]).tempdir_in(from);
    let temporary = temporary.map_err(PackageError::file("create a folder in", from))?;
    fs::rename(folder, temporary.path().join("old")).map_err(PackageError::file("remove", folder))?;
    temporary.close().map_err(PackageError::file("remove", folder))?;
    if let Some(id) = folder.parent().filter(|id| subfolders(id).is_empty()) {
        // Not empty after all, if a file of somebody else is in it: then it stays.
        let _ = fs::remove_dir(id);
    }
    Ok(())
}
