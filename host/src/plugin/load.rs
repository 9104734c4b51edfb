//! Loading: from a file on disk to a root module that can be called.

use super::c_entry;
use super::elf;
use super::entry::Entry;
use super::error::{PluginCode, PluginError};
use super::manifest::Manifest;
use super::script;
use coldstart_plugin_api::__private::abi_stable;
use coldstart_plugin_api::abi::std_types::RResult;
use coldstart_plugin_api::abi::{Fault, HostRef, LibHeader, RootRef, SelectorBox};
use libloading::os::unix::{Library as Object, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::{MemfdFlags, SealFlags};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::library::{ROOT_MODULE_LOADER_NAME, lib_header_from_path};

/// A plugin's file, read once and found sound. Nothing of it has run.
///
/// The bytes that were checked are kept in a sealed memory file: what is loaded later, here or in a worker, is what was
/// checked.
#[derive(Clone)]
pub struct Verified {
    /// Where it was read from.
    pub file: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
    /// `sha256:` and the hash of the bytes.
    pub sha256: String,
    /// Whether it may run inside the host.
    pub trusted: bool,
    text: String,
    sealed: Arc<OwnedFd>,
}

impl Verified {
    /// Read and check a plugin.
    pub fn read(file: &Path) -> Result<Verified, PluginError> {
        Verified::read_as(file, None)
    }

    /// The same for a file whose content is known: any other content is refused before it is looked at.
    pub fn read_locked(file: &Path, sha256: &str) -> Result<Verified, PluginError> {
        Verified::read_as(file, Some(sha256))
    }

    fn read_as(file: &Path, locked: Option<&str>) -> Result<Verified, PluginError> {
        let name = file.display().to_string();
        let bytes = std::fs::read(file)
            .map_err(|error| PluginError::new(PluginCode::Library, &name, format!("cannot be read: {error}")))?;
        let sha256 = hash(&bytes);
        if let Some(locked) = locked.filter(|locked| *locked != sha256) {
            let message = format!("the run began with {locked}, this file is {sha256}");
            return Err(PluginError::new(PluginCode::LockMismatch, &name, message));
        }
        // A signature would be held against these bytes here, before anything else looks at them.
        let (manifest, text) = if is_script(file) { read_script(&name, &bytes)? } else { check(&name, &bytes)? };
        let sealed = sealed_copy(&bytes).map_err(|error| {
            PluginError::new(PluginCode::Library, &name, format!("cannot be copied to memory: {error}"))
        })?;
        let trusted = is_shipped(file);
        Ok(Verified { file: file.to_owned(), manifest, sha256, trusted, text, sealed: Arc::new(sealed) })
    }

    /// A file that another process of this program has checked and sealed.
    pub fn from_sealed(sealed: OwnedFd) -> Result<Verified, PluginError> {
        let file = path_of(&sealed);
        let name = file.display().to_string();
        let bytes = std::fs::read(&file)
            .map_err(|error| PluginError::new(PluginCode::Library, &name, format!("cannot be read: {error}")))?;
        let (manifest, text) = check(&name, &bytes)?;
        Ok(Verified { file, manifest, sha256: hash(&bytes), trusted: false, text, sealed: Arc::new(sealed) })
    }

    /// The manifest's own text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is a script: it has an interpreter, and never runs inside the host.
    pub fn is_script(&self) -> bool {
        is_script(&self.file)
    }

    /// The bytes, as a memory file.
    pub fn sealed(&self) -> &OwnedFd {
        &self.sealed
    }
}

/// Whether a file lies where the program lies: whoever could change it could change the program.
fn is_shipped(file: &Path) -> bool {
    let program = std::env::current_exe().and_then(|program| program.canonicalize()).ok();
    let folder = file.canonicalize().ok().and_then(|file| Some(file.parent()?.to_owned()));
    program.and_then(|program| Some(program.parent()?.to_owned())).is_some_and(|home| Some(home) == folder)
}

fn is_script(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "py")
}

/// What a script says of itself, and the same as a manifest's text.
fn read_script(name: &str, bytes: &[u8]) -> Result<(Manifest, String), PluginError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| PluginError::new(PluginCode::Library, name, format!("is no text in UTF-8: {error}")))?;
    let manifest = script::manifest(name, text)?;
    manifest.check(name)?;
    let text = serde_json::to_string(&manifest).expect("plain data");
    Ok((manifest, text))
}

/// What can be known of a library without running it.
fn check(name: &str, bytes: &[u8]) -> Result<(Manifest, String), PluginError> {
    let (manifest, text) = Manifest::read(name, bytes)?;
    manifest.check(name)?;
    elf::check(name, bytes, &[RUST_ENTRY, c_entry::ENTRY], &running_glibc())?;
    Ok((manifest, text.to_owned()))
}

/// A loaded plugin. It is never unloaded: threads and thread-locals of its own may outlive every use.
#[derive(Clone)]
pub struct Library {
    verified: Verified,
    entry: Entry,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Verified { file, manifest, .. } = &self.verified;
        write!(f, "Library({} {}, {})", manifest.name, manifest.version, file.display())
    }
}

/// One load for each content: a second `dlopen` of the same bytes would have statics of its own.
static LOADED: Mutex<BTreeMap<String, Library>> = Mutex::new(BTreeMap::new());

impl Library {
    /// Load a plugin into this process.
    pub fn load(plugin: &Verified) -> Result<Library, PluginError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = loaded.get(&plugin.sha256) {
            return Ok(Library { verified: plugin.clone(), entry: library.entry });
        }
        let name = plugin.file.display().to_string();
        let entry = open(&name, plugin.sealed())?;
        if entry.descriptor() != plugin.text {
            return Err(PluginError::new(PluginCode::Descriptor, &name, "says something else than its manifest"));
        }
        let library = Library { verified: plugin.clone(), entry };
        loaded.insert(plugin.sha256.clone(), library.clone());
        Ok(library)
    }

    /// The manifest's own text.
    pub fn text(&self) -> &str {
        &self.verified.text
    }

    /// Make an instance with these parameters (JSON).
    pub fn create(&self, name: &str, params_json: &str, host: HostRef<'_>) -> RResult<SelectorBox, Fault> {
        self.entry.create(name, params_json, host)
    }
}

/// abi_stable's header, and the two constructors that every Rust library has.
const RUST_ENTRY: elf::Entry =
    elf::Entry { symbol: ROOT_MODULE_LOADER_NAME, least_bytes: size_of::<LibHeader>() as u64, constructors: 2 };

/// `dlopen` the sealed bytes and find a way into it: of two, the one whose types can be checked.
fn open(name: &str, sealed: &OwnedFd) -> Result<Entry, PluginError> {
    let refuse = |message: String| PluginError::new(PluginCode::Library, name, message);
    // A descriptor of its own, which stays open for good: its number must never be used again, because the dynamic
    // loader takes two files of one path for one.
    let memfd = sealed.try_clone().map_err(|error| refuse(format!("cannot be kept in memory: {error}")))?;
    let path = path_of(&memfd);
    // SAFETY: loading runs the library's constructors. `elf::check` has refused any beyond the two of the runtime, and
    // this process is either a worker that has shut itself in, or the plugin is trusted with the user's account.
    let object = unsafe { Object::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
    let object = object.map_err(|error| refuse(format!("cannot be loaded: {error}")))?;
    // SAFETY: only the symbol's existence is asked for.
    let is_rust = unsafe { object.get::<*const LibHeader>(ROOT_MODULE_LOADER_NAME.as_bytes()) }.is_ok();
    let entry = if is_rust {
        let header = lib_header_from_path(&path).map_err(|error| layout(name, &error.to_string()));
        header.and_then(|header| check_layout(name, header)).map(Entry::Rust)
    } else {
        c_entry::find(name, &object).map(Entry::C)
    };
    // Both live as long as the process: the code must never be unmapped, nor its descriptor number be used again.
    std::mem::forget(object);
    std::mem::forget(memfd);
    entry
}

fn path_of(memfd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", memfd.as_raw_fd()))
}

fn sealed_copy(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know EXEC and make every memfd executable.
    let memfd = rustix::fs::memfd_create("coldstart-plugin", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("coldstart-plugin", flags))?;
    let mut file = File::from(memfd);
    file.write_all(bytes)?;
    seal(file)
}

/// The same memory file, which nobody can change any more.
pub(super) fn seal(file: File) -> std::io::Result<OwnedFd> {
    let memfd = OwnedFd::from(file);
    rustix::fs::fcntl_add_seals(&memfd, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(memfd)
}

/// abi_stable's structural check expects the host to be the older side. A newer host is checked the other way round:
/// then everything that the plugin knows is where this host expects it, and what it lacks has defaults.
fn check_layout(name: &str, header: &'static LibHeader) -> Result<RootRef, PluginError> {
    let Some(theirs) = header.layout() else {
        return Err(layout(name, "the library carries no layout"));
    };
    let ours = RootRef::LAYOUT;
    if let Err(errors) = check_layout_compatibility(ours, theirs)
        && check_layout_compatibility(theirs, ours).is_err()
    {
        return Err(layout(name, &errors.to_string()));
    }
    // SAFETY: one of the two checks above passed, so every field that both sides know has one layout.
    unsafe { header.init_root_module_with_unchecked_layout::<RootRef>() }
        .map_err(|error| layout(name, &error.to_string()))
}

/// Only the first lines of abi_stable's report say what differs; the rest is a dump of both types.
fn layout(name: &str, report: &str) -> PluginError {
    let lines: Vec<&str> = report.lines().map(str::trim).filter(|line| !line.is_empty()).take(6).collect();
    PluginError::new(PluginCode::Layout, name, lines.join(" "))
}

fn running_glibc() -> String {
    // SAFETY: glibc exports this function with this signature; it returns a static string.
    let version = unsafe {
        Object::this()
            .get::<extern "C" fn() -> *const c_char>(b"gnu_get_libc_version\0")
            .map(|version| CStr::from_ptr(version()).to_string_lossy().into_owned())
    };
    version.unwrap_or_default()
}

fn hash(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_copy_can_be_read_and_not_written() {
        let memfd = sealed_copy(b"library").unwrap();
        let path = format!("/proc/self/fd/{}", memfd.as_raw_fd());
        assert_eq!(std::fs::read(&path).unwrap(), b"library");
        assert!(std::fs::OpenOptions::new().write(true).open(&path).and_then(|mut file| file.write_all(b"x")).is_err());
    }

    #[test]
    fn the_running_glibc_is_known() {
        assert!(running_glibc().starts_with("2."));
    }
}
