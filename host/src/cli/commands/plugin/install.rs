//! `coldstart plugin install`, `uninstall` and `lock`.

use crate::cli::problem::Problem;
use crate::cli::typed::{Wanted, existing};
use crate::config;
use crate::plugin::install::{self, Installed};
use crate::plugin::lock::{LOCK, Lock, LockedPlugin, Use};
use crate::plugin::package::{Package, PackageError, native_triple};
use crate::plugin::trust::{TrustStore, judge_package, look};
use crate::plugin::{Manifest, SearchPath, StrategyName, composed, with_defaults};
use std::path::{Path, PathBuf};

/// `coldstart plugin install FILE|URL|DIR`.
pub fn install(place: &str, allow_unsigned: bool) -> Result<(), Problem> {
    let (store, into) = (TrustStore::open(), install::folder()?);
    if install::is_url(place) {
        let file = install::fetch(place)?;
        let package = Package::read_file(file.path()).map_err(|error| named(error, place))?;
        say(&install::install(place, &package, &into, &store, allow_unsigned).map_err(not_installed)?);
        return Ok(());
    }
    // A folder of packages serves, too.
    if !Path::new(place).is_dir() {
        existing(Path::new(place), Wanted::File)?;
    }
    for file in install::packages_at(Path::new(place), &native_triple())? {
        let package = Package::read_file(&file)?;
        let installed = install::install(&file.display().to_string(), &package, &into, &store, allow_unsigned);
        say(&installed.map_err(not_installed)?);
    }
    Ok(())
}

/// What the user's folder cannot take may go elsewhere.
fn not_installed(error: PackageError) -> Problem {
    match &error {
        PackageError::File { .. } => {
            let hint = "set XDG_DATA_HOME to a folder that you can write to, in later commands, too";
            Problem::failed(&error, Some(hint.to_owned()))
        }
        _ => error.into(),
    }
}

/// Nobody knows the temporary file.
fn named(error: PackageError, place: &str) -> PackageError {
    match error {
        PackageError::Plugin(mut error) => {
            error.plugin = place.to_owned();
            PackageError::Plugin(error)
        }
        error => error,
    }
}

fn say(installed: &Installed) {
    let Installed { name, version, folder, trust, was_there } = installed;
    errln!("{name} {version}, {trust}: {}", if *was_there { "was there" } else { "installed" });
    outln!("{}", folder.display());
}

/// `coldstart plugin uninstall NAME`.
pub fn uninstall(name: &str) -> Result<(), Problem> {
    let gone = install::uninstall(name, &install::folder()?)?;
    gone.iter().for_each(|folder| outln!("{}", folder.display()));
    Ok(())
}

/// What a name means, and its row in a lock.
fn entry_of(
    name: &str,
    role: &str,
    search: &SearchPath,
    store: &TrustStore,
) -> Result<(Manifest, LockedPlugin), Problem> {
    let found = search.resolve(name, role)?;
    let looked = look(&found, store)?;
    // Either mode gives the same answers, so that a lock need not demand one.
    let used = Use { role, manifest: &looked.manifest, sha256: &looked.sha256, trust: &looked.trust, mode: "" };
    let entry = LockedPlugin::of(used, &StrategyName::parse(name)?);
    Ok((looked.manifest, entry))
}

/// `coldstart plugin lock CONFIG...`.
pub fn lock(configs: &[PathBuf], packages: &[PathBuf]) -> Result<(), Problem> {
    configs.iter().chain(packages).try_for_each(|file| existing(file, Wanted::File))?;
    let folder = |config: &Path| config.parent().map(Path::to_owned).unwrap_or_default();
    let Some(first) = configs.first() else { return Ok(()) };
    if let Some(other) = configs.iter().find(|config| folder(config) != folder(first)) {
        let message = format!("`{}` and `{}` lie in different folders", first.display(), other.display());
        return Err(Problem::usage(message, Some(format!("each folder has a {LOCK} of its own"))));
    }
    let store = TrustStore::open();
    let mut lock = Lock::beside(first)?.unwrap_or_else(|| Lock::new(Vec::new()));
    let mut all = Vec::new();
    for file in configs {
        all.extend(config::configs(file)?);
    }
    for mut config in all {
        let search = SearchPath::new(&config.plugins.path);
        for seat in config.seats() {
            let (role, (name, params)) = (seat.role.name(), config.strategy(seat));
            let (manifest, entry) = entry_of(name, role, &search, &store)?;
            lock.put(entry);
            if !manifest.is_composing() {
                continue;
            }
            let params = with_defaults(&manifest, params)?;
            for component in composed(&manifest, &params)? {
                lock.put(entry_of(&component.name, role, &search, &store)?.1);
            }
        }
    }
    for file in packages {
        let (name, package) = (file.display().to_string(), Package::read_file(file)?);
        let trust = judge_package(&name, &package, &store)?;
        lock.add_hash(&package.manifest, &package.build.triple, &package.build.sha256, &trust.signer())?;
    }
    outln!("{}", lock.write_beside(first)?.display());
    Ok(())
}
