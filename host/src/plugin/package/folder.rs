//! A package that is unpacked into a folder.

use super::archive::limits;
use super::checksums::{self, CHECKSUMS, SIGNATURE};
use super::{Build, MANIFEST, PACKAGE_FILES, Package, PackageError, parse_manifest_toml};
use crate::plugin::error::{PluginCode, PluginError};
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

impl Package {
    /// Unpack into a folder that is there and empty. Every file is on disk when this returns.
    pub fn unpack(&self, folder: &Path) -> Result<(), PackageError> {
        for (path, content) in self.files() {
            let file = folder.join(path);
            if let Some(above) = file.parent().filter(|above| *above != folder) {
                make_folder(above)?;
            }
            let written = File::create_new(&file).and_then(|mut new| {
                new.set_permissions(Permissions::from_mode(0o644))?;
                new.write_all(content)?;
                new.sync_all()
            });
            written.map_err(PackageError::file("write", &file))?;
        }
        sync(folder)
    }
}

/// Make a folder and those above it, writable for nobody else.
pub fn make_folder(folder: &Path) -> Result<(), PackageError> {
    if folder.is_dir() {
        return Ok(());
    }
    // A relative path begins in the current folder, which has no name here.
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_folder(above)?;
    }
    let made = fs::create_dir(folder).and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o755)));
    match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(PackageError::file("create", folder)),
    }
}

/// Whether a folder is, or was, an unpacked package: what is left of one must not pass for a bare library.
pub fn is_package(folder: &Path) -> bool {
    PACKAGE_FILES.iter().any(|file| fs::symlink_metadata(folder.join(file)).is_ok())
}

/// What a folder holds is on disk once the folder is.
pub fn sync(folder: &Path) -> Result<(), PackageError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(PackageError::file("write", folder))
}

/// Write a file so that it appears whole or not at all, in place of any that there was.
pub fn write_atomically(file: &Path, bytes: &[u8]) -> Result<(), PackageError> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile_in(folder);
    let written = written.and_then(|mut new| {
        new.write_all(bytes)?;
        new.as_file().sync_all()?;
        new.persist(file).map_err(|error| error.error)
    });
    written.map(|_| ()).map_err(PackageError::file("write", file))
}

/// What an unpacked package says, as far as its library is concerned.
#[derive(Debug)]
pub struct Unpacked {
    /// What was measured of the library when it was packed.
    pub build: Build,
    /// The bytes that a signature is over.
    pub checksums: Vec<u8>,
    /// The signature, if it is signed.
    pub signature: Option<Vec<u8>>,
}

impl Unpacked {
    /// Read `CHECKSUMS`, its signature and `manifest.toml`; errs with P009 if one of them is not to be had, and with P006
    /// if the manifest is not the one that was packed.
    pub fn read(folder: &Path) -> Result<Unpacked, PluginError> {
        let name = folder.display().to_string();
        let missing = |path: &str| {
            PluginError::new(PluginCode::Library, &name, format!("holds no readable `{path}`"))
                .with_hint("uninstall the plugin and install it again")
        };
        let needed = |path: &str| bounded(&folder.join(path)).ok_or_else(|| missing(path));
        let (checksums, manifest) = (needed(CHECKSUMS)?, needed(MANIFEST)?);
        let signature = match fs::symlink_metadata(folder.join(SIGNATURE)) {
            Ok(_) => Some(needed(SIGNATURE)?),
            Err(_) => None,
        };
        check_listed(&checksums, &name, MANIFEST, &checksums::hex(&manifest))?;
        let (_, build) = parse_manifest_toml(&name, &manifest)?;
        Ok(Unpacked { build, checksums, signature })
    }

    /// Errs with P006 if the checksums have another hash (in hex) for a file, or none.
    pub fn check_file(&self, name: &str, path: &str, hash: &str) -> Result<(), PluginError> {
        check_listed(&self.checksums, name, path, hash)
    }
}

fn check_listed(checksums: &[u8], name: &str, path: &str, hash: &str) -> Result<(), PluginError> {
    let text = String::from_utf8_lossy(checksums);
    let listed = checksums::parse(&text).map_err(|problem| {
        PluginError::new(PluginCode::Library, name, problem).with_hint("uninstall the plugin and install it again")
    })?;
    if listed.get(path) == Some(&hash) {
        return Ok(());
    }
    let message = format!("`{path}` is not the file that {CHECKSUMS} announces");
    Err(PluginError::new(PluginCode::Checksum, name, message)
        .with_hint("the file changed after it was installed: uninstall the plugin and install it again"))
}

/// A regular file of sensible size.
fn bounded(file: &Path) -> Option<Vec<u8>> {
    let regular = fs::metadata(file).ok()?.is_file();
    let mut bytes = Vec::new();
    File::open(file).ok().filter(|_| regular)?.take(limits::TEXT + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= limits::TEXT).then_some(bytes)
}
