//! A package: one file that hands a plugin to another lab.
//!
//! `NAME-VERSION-TRIPLE.csp` is a tar in one zstd frame, the same bytes whenever the same files are packed. It holds what
//! the plugin says of itself and what was measured of its library (`manifest.toml`), the library, the schema of its
//! parameters, readme and licences, and a hash of each file (`CHECKSUMS`), over which a signature may stand.

mod archive;
mod build;
mod checksums;
#[cfg(test)]
pub mod fixture;
mod folder;
mod signature;

pub use build::{Build, native_triple};
pub use checksums::sha256;
pub use folder::{Unpacked, is_package, make_folder, sync, write_atomically};
pub use signature::{Key, SignatureFile, Signer, new_keys};

use super::error::{PluginCode, PluginError};
use super::manifest::{Manifest, is_kebab_case};
use archive::{Files, limits, malformed};
use checksums::{CHECKSUMS, SIGNATURE};
use serde_json::{Map, Value};
use std::io::Read;
use std::path::{Path, PathBuf};
use thiserror::Error;

const MANIFEST: &str = "manifest.toml";
const README: &str = "README.md";
const CONFORMANCE: &str = "conformance.json";
/// The files of an unpacked package that its library is held against.
pub const PACKAGE_FILES: [&str; 3] = [CHECKSUMS, SIGNATURE, MANIFEST];
/// What the name of a package's file ends with.
pub const EXTENSION: &str = "csp";

/// Something about a package went wrong: with the plugin, or with a file of this machine.
#[derive(Debug, Error)]
pub enum PackageError {
    /// The plugin or its package cannot be used.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A file cannot be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it did not work.
        source: std::io::Error,
    },
    /// A package cannot be fetched.
    #[error("cannot fetch `{url}`: {problem}")]
    Download {
        /// Where it should come from.
        url: String,
        /// What the server or the network says.
        problem: String,
    },
}

impl PackageError {
    /// For `map_err`: the file, and what was tried with it.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> PackageError {
        let path = path.to_owned();
        move |source| PackageError::File { action, path, source }
    }
}

/// What goes into a package beside the library.
#[derive(Debug, Default)]
pub struct Extras {
    /// The readme.
    pub readme: Option<Vec<u8>>,
    /// Licences: file name, which begins with `LICENSE`, and text.
    pub licenses: Vec<(String, Vec<u8>)>,
    /// What a check of the plugin found. It is carried along and shown, and never relied on.
    pub conformance: Option<Vec<u8>>,
    /// The processor that the library needs, such as `x86-64-v3`; the oldest of its kind unless stated.
    pub cpu: Option<String>,
}

/// A package that is whole: every file is what its checksum says, and the manifest is the library's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Package {
    /// What the plugin says of itself.
    pub manifest: Manifest,
    /// What was measured of the library.
    pub build: Build,
    files: Files,
}

impl Package {
    /// Pack a library.
    ///
    /// Errs if it is no plugin, or if a file is larger than a package may hold.
    pub fn pack(file: &str, library: Vec<u8>, extras: Extras) -> Result<Package, PluginError> {
        let manifest = Manifest::read_of_any_machine(file, &library)?;
        check_names(file, &manifest)?;
        let build = Build::measure(file, &library, extras.cpu.as_deref())?;
        let schema = serde_json::to_vec_pretty(&manifest.params).expect("JSON is JSON");
        let mut files = Files::from([
            (MANIFEST.to_owned(), manifest_toml(&manifest, &build).into_bytes()),
            (schema_path(&manifest.name), schema),
            (library_path(&manifest.name), library),
        ]);
        files.extend(extras.readme.map(|readme| (README.to_owned(), readme)));
        files.extend(extras.conformance.map(|conformance| (CONFORMANCE.to_owned(), conformance)));
        files.extend(extras.licenses);
        files.insert(CHECKSUMS.to_owned(), checksums::text(&files).into_bytes());
        let package = Package { manifest, build, files };
        // What nobody could read again must not be written.
        Package::read(file, &package.to_bytes(file)?)
    }

    /// Read a package from its bytes.
    ///
    /// Errs with P009 if they are no package, P006 if a file differs from its checksum, P012 if the manifest is not the
    /// library's own. Never panics, and writes nothing. The signature is not looked at: see [`super::trust`].
    pub fn read(name: &str, bytes: &[u8]) -> Result<Package, PluginError> {
        Package::of(name, archive::decode(name, bytes)?)
    }

    /// The same for the tar inside, which a test can change without knowing its hash.
    pub fn read_tar(name: &str, tar: &[u8]) -> Result<Package, PluginError> {
        Package::of(name, archive::decode_tar(name, tar)?)
    }

    fn of(name: &str, files: Files) -> Result<Package, PluginError> {
        check_checksums(name, &files)?;
        let incomplete = |path: &str| malformed(name, format!("holds no `{path}`"));
        let text = files.get(MANIFEST).ok_or_else(|| incomplete(MANIFEST))?;
        let (said, build) = parse_manifest_toml(name, text)?;
        let plugin = said.get("name").and_then(Value::as_str).unwrap_or_default();
        let path = library_path(plugin);
        let library = files.get(&path).ok_or_else(|| incomplete(&path))?;
        let schema = files.get(&schema_path(plugin)).ok_or_else(|| incomplete(&schema_path(plugin)))?;
        let manifest = Manifest::read_of_any_machine(name, library)?;
        check_names(name, &manifest)?;
        let lies = |message: &str| Err(PluginError::new(PluginCode::Descriptor, name, message));
        if said != author_part(&manifest) {
            return lies("its manifest.toml says something else than its library");
        }
        if serde_json::from_slice(schema).ok().as_ref() != Some(&manifest.params) {
            return lies("its schema is not the library's");
        }
        build.check(name, library)?;
        match files.keys().find(|path| !belongs(path, plugin)) {
            Some(stray) => Err(malformed(name, format!("holds a stray file `{stray}`"))),
            None => Ok(Package { manifest, build, files }),
        }
    }

    /// Read a package from a file, of which no more is read than a package may have.
    pub fn read_file(file: &Path) -> Result<Package, PackageError> {
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(file).map_err(PackageError::file("read", file))?;
        opened.take(limits::TOTAL + 1).read_to_end(&mut bytes).map_err(PackageError::file("read", file))?;
        Ok(Package::read(&file.display().to_string(), &bytes)?)
    }

    /// The package's bytes.
    pub fn to_bytes(&self, name: &str) -> Result<Vec<u8>, PluginError> {
        archive::encode(&self.files)
            .map_err(|error| PluginError::new(PluginCode::Library, name, format!("cannot be packed: {error}")))
    }

    /// `NAME-VERSION-TRIPLE.csp`.
    pub fn file_name(&self) -> String {
        format!("{}-{}-{}.{EXTENSION}", self.manifest.name, self.manifest.version, self.build.triple)
    }

    /// Put a signature over the checksums in, in place of any that there was.
    pub fn sign(&mut self, signer: &Signer) -> Result<(), PluginError> {
        let (manifest, triple) = (&self.manifest, &self.build.triple);
        let comment = format!("plugin:{}\tversion:{}\ttriple:{triple}", manifest.full_name(), manifest.version);
        let signature = signer.sign(self.checksums(), &comment)?;
        self.files.insert(SIGNATURE.to_owned(), signature);
        Ok(())
    }

    /// The bytes that a signature is over.
    pub fn checksums(&self) -> &[u8] {
        self.files.get(CHECKSUMS).map_or(&[], Vec::as_slice)
    }

    /// The signature, if it is signed.
    pub fn signature(&self) -> Option<&[u8]> {
        self.files.get(SIGNATURE).map(Vec::as_slice)
    }

    /// Paths of all files, and their contents.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, content)| (path.as_str(), content.as_slice()))
    }
}

fn library_path(name: &str) -> String {
    format!("lib/libcoldstart_{}.so", name.replace('-', "_"))
}

fn schema_path(name: &str) -> String {
    format!("schema/{name}.json")
}

fn belongs(path: &str, plugin: &str) -> bool {
    let fixed = [MANIFEST, CHECKSUMS, SIGNATURE, README, CONFORMANCE];
    let license = path.starts_with("LICENSE") && !path.contains('/');
    fixed.contains(&path) || license || path == library_path(plugin) || path == schema_path(plugin)
}

/// Name and publisher become the names of folders.
fn check_names(file: &str, manifest: &Manifest) -> Result<(), PluginError> {
    let publisher = &manifest.publisher;
    if publisher.is_empty() || publisher.split('.').all(is_kebab_case) {
        return Ok(());
    }
    let message = format!("its publisher `{publisher}` cannot be part of a file's name");
    Err(PluginError::new(PluginCode::Descriptor, file, message)
        .with_hint("a publisher consists of lower-case words with hyphens or dots between them"))
}

fn check_checksums(name: &str, files: &Files) -> Result<(), PluginError> {
    let malformed = |message: String| malformed(name, message);
    let listed = files.get(CHECKSUMS).ok_or_else(|| malformed(format!("holds no `{CHECKSUMS}`")))?;
    let listed = std::str::from_utf8(listed).map_err(|_| malformed(format!("its {CHECKSUMS} are not UTF-8")))?;
    let true_text = checksums::text(files);
    if listed == true_text {
        return Ok(());
    }
    let said = checksums::parse(listed).map_err(malformed)?;
    let is = checksums::parse(&true_text).map_err(malformed)?;
    let differs = is.keys().chain(said.keys()).find(|path| said.get(*path) != is.get(*path));
    let message = match differs {
        Some(path) => format!("`{path}` is not the file that {CHECKSUMS} announces"),
        None => format!("its {CHECKSUMS} are not sorted"),
    };
    Err(PluginError::new(PluginCode::Checksum, name, message).with_hint("get the package again from its author"))
}

/// What the library says of itself, but for the parameters' schema, which has a file of its own.
fn author_part(manifest: &Manifest) -> Map<String, Value> {
    let Ok(Value::Object(mut said)) = serde_json::to_value(manifest) else { return Map::new() };
    said.remove("params");
    // TOML has no null.
    said.retain(|_, value| !value.is_null());
    said.insert("schema".to_owned(), schema_path(&manifest.name).into());
    said
}

fn manifest_toml(manifest: &Manifest, build: &Build) -> String {
    let mut said = author_part(manifest);
    said.insert("build".to_owned(), serde_json::to_value(build).expect("plain data"));
    toml::to_string(&said).expect("plain data")
}

/// What a `manifest.toml` says: the author part and the build part. Errs with P009 if it is malformed. Never panics.
pub fn parse_manifest_toml(name: &str, text: &[u8]) -> Result<(Map<String, Value>, Build), PluginError> {
    let malformed = |problem: &str| malformed(name, format!("its {MANIFEST} {problem}"));
    let text = std::str::from_utf8(text).map_err(|_| malformed("is not UTF-8"))?;
    let mut said: Map<String, Value> = toml::from_str(text).map_err(|error| malformed(error.message()))?;
    let build = said.remove("build").ok_or_else(|| malformed("has no section `build`"))?;
    let build = serde_json::from_value(build).map_err(|error| malformed(&error.to_string()))?;
    Ok((said, build))
}

#[cfg(test)]
mod tests;
