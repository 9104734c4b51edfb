//! Loading: from a file on disk to a root module that can be called.

use super::c_entry;
use super::elf;
use super::entry::Entry;
use super::error::{PluginCode, PluginError};
use super::manifest::Manifest;
use super::package::sha256;
use super::script::{self, Module};
use super::search::Found;
use super::trust::{Trust, TrustStore, judge};
use coldstart_plugin_api::__private::abi_stable;
use coldstart_plugin_api::abi::std_types::RResult;
use coldstart_plugin_api::abi::{Fault, HostRef, LibHeader, RootRef, SelectorBox};
use libloading::os::unix::{Library as Object, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::{MemfdFlags, SealFlags};
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
    /// `sha256:` and the hash of the bytes; of a script, its modules count.
    pub sha256: String,
    /// What is known of it.
    pub trust: Trust,
    text: String,
    sealed: Arc<OwnedFd>,
    modules: Arc<[Module]>,
}

/// What was read of a plugin: nothing is checked yet.
pub(super) struct Content {
    bytes: Vec<u8>,
    /// What it says of itself.
    pub(super) manifest: Manifest,
    text: String,
    modules: Vec<Module>,
    /// `sha256:` and the hash of the bytes; of a script, its modules count.
    pub(super) sha256: String,
}

impl Content {
    /// Read a plugin, and hold it against a hash that it must have.
    pub(super) fn read(file: &Path, locked: Option<&str>) -> Result<Content, PluginError> {
        Content::of(file, read(file)?, locked)
    }

    /// The same of bytes that stand, or could stand, in that file.
    fn of(file: &Path, bytes: Vec<u8>, locked: Option<&str>) -> Result<Content, PluginError> {
        let hold = |sha256: &str| match locked.filter(|locked| *locked != sha256) {
            None => Ok(()),
            Some(locked) => {
                let message = format!("the run began with {locked}, this file is {sha256}");
                Err(PluginError::new(PluginCode::LockMismatch, file.display().to_string(), message))
            }
        };
        let is_script = is_script(file);
        if !is_script {
            hold(&sha256(&bytes))?;
        }
        let (manifest, text) = read_manifest(file, &bytes)?;
        // The block of comments of a script says which modules count; a library has none, whatever it says.
        let modules = if is_script { script::read_modules(file, &manifest.modules)? } else { Vec::new() };
        let sha256 = script::hash(&bytes, &modules);
        hold(&sha256)?;
        Ok(Content { bytes, manifest, text, modules, sha256 })
    }
}

impl Verified {
    /// Read and check a plugin.
    pub fn read(found: &Found, store: &TrustStore) -> Result<Verified, PluginError> {
        Verified::judged(found, Content::read(&found.file, None)?, store)
    }

    fn judged(found: &Found, content: Content, store: &TrustStore) -> Result<Verified, PluginError> {
        let trust = judge(found, &content.manifest, &content.sha256, store)?;
        Ok(Verified { trust, ..Verified::of(&found.file, content, sealed_copy)? })
    }

    /// The same whoever made it: for tools that run it shut in, and nowhere else.
    pub fn read_unjudged(file: &Path) -> Result<Verified, PluginError> {
        Verified::of(file, Content::read(file, None)?, sealed_copy)
    }

    /// The same of bytes that stand, or could stand, in that file.
    pub fn of_unjudged(file: &Path, bytes: &[u8]) -> Result<Verified, PluginError> {
        Verified::of(file, Content::of(file, bytes.to_vec(), None)?, sealed_copy)
    }

    /// The same for a file whose content is known: a library of any other content is refused before it is looked at, and a
    /// script before anything but its block of comments is. Which content it is says nothing about who vouches for it: that
    /// is judged as in [`Verified::read`].
    pub fn read_locked(found: &Found, locked: &str, store: &TrustStore) -> Result<Verified, PluginError> {
        Verified::judged(found, Content::read(&found.file, Some(locked))?, store)
    }

    /// A file that another process of this program has checked and sealed.
    pub fn from_sealed(sealed: OwnedFd) -> Result<Verified, PluginError> {
        let file = path_of(&sealed);
        Verified::of(&file, Content::read(&file, None)?, |_| Ok(sealed))
    }

    /// Check what is read, and keep it; nobody vouches for it yet.
    fn of(
        file: &Path,
        content: Content,
        seal: impl FnOnce(&[u8]) -> std::io::Result<OwnedFd>,
    ) -> Result<Verified, PluginError> {
        let Content { bytes, manifest, text, modules, sha256 } = content;
        let name = file.display().to_string();
        manifest.check(&name)?;
        if !is_script(file) {
            elf::check(&name, &bytes, &ENTRIES, &running_glibc())?;
        }
        let sealed = seal(&bytes).map_err(|error| {
            PluginError::new(PluginCode::Library, &name, format!("cannot be copied to memory: {error}"))
        })?;
        let (file, trust, sealed) = (file.to_owned(), Trust::Unsigned, Arc::new(sealed));
        Ok(Verified { file, manifest, sha256, trust, text, sealed, modules: modules.into() })
    }

    /// The manifest's own text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is a script: it has an interpreter, and never runs inside the host.
    pub fn is_script(&self) -> bool {
        is_script(&self.file)
    }

    /// The error of one that nobody vouches for, where the user gives it no leave to run.
    pub fn needs_leave(&self) -> PluginError {
        let message = "nobody whom you trust has signed it";
        PluginError::new(PluginCode::Signature, self.file.display().to_string(), message)
            .with_hint("`--allow-unsigned` runs it all the same, in a process of its own")
    }

    /// The modules of a script, as they were hashed with it.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The bytes, as a memory file.
    pub fn sealed(&self) -> &OwnedFd {
        &self.sealed
    }
}

fn read(file: &Path) -> Result<Vec<u8>, PluginError> {
    std::fs::read(file).map_err(|error| unreadable(&file.display().to_string(), &error))
}

/// A file that the system does not hand over.
pub(super) fn unreadable(name: &str, error: &std::io::Error) -> PluginError {
    PluginError::new(PluginCode::Library, name, format!("cannot be read: {error}"))
        .with_hint("is it a file, and may you read it?")
}

/// Whether a file is a script in Python, by its name.
pub fn is_script(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "py")
}

/// What a library or a script says of itself, and the text that says it.
pub fn read_manifest(file: &Path, bytes: &[u8]) -> Result<(Manifest, String), PluginError> {
    let name = file.display().to_string();
    if !is_script(file) {
        return Manifest::read(&name, bytes);
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| PluginError::new(PluginCode::Library, &name, format!("is no text in UTF-8: {error}")))
        .map_err(|error| error.with_hint("save the script as UTF-8"))?;
    let manifest = script::manifest(&name, text)?;
    let text = serde_json::to_string(&manifest).expect("plain data");
    Ok((manifest, text))
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

    /// The file that was loaded.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Make an instance with these parameters (JSON).
    pub fn create(&self, name: &str, params_json: &str, host: HostRef<'_>) -> RResult<SelectorBox, Fault> {
        self.entry.create(name, params_json, host)
    }
}

/// The ways into a library that a host looks for.
pub const ENTRIES: [elf::Entry; 2] = [RUST_ENTRY, c_entry::ENTRY];

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

/// Bytes in a memory file that nobody can change; `name` is what the system's list of open files calls it.
pub fn in_sealed_memory(name: &str, bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let memfd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
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

pub(super) fn running_glibc() -> String {
    // SAFETY: glibc exports this function with this signature; it returns a static string.
    let version = unsafe {
        Object::this()
            .get::<extern "C" fn() -> *const c_char>(b"gnu_get_libc_version\0")
            .map(|version| CStr::from_ptr(version()).to_string_lossy().into_owned())
    };
    version.unwrap_or_default()
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
