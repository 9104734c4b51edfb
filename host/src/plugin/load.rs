//! Loading: from a file on disk to a root module that can be called.

use super::elf;
use super::error::{PluginCode, PluginError};
use super::manifest::Manifest;
use coldstart_plugin_api::__private::abi_stable;
use coldstart_plugin_api::abi::{LibHeader, RootRef};
use libloading::os::unix::{Library as Object, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::{MemfdFlags, SealFlags};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::library::{ROOT_MODULE_LOADER_NAME, lib_header_from_path};

/// A loaded plugin. It is never unloaded: threads and thread-locals of its own may outlive every use.
#[derive(Clone)]
pub struct Library {
    /// Where it was read from.
    pub file: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
    /// `sha256:` and the hash of the bytes that were loaded.
    pub sha256: String,
    pub(super) root: RootRef,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Library({} {}, {})", self.manifest.name, self.manifest.version, self.file.display())
    }
}

/// One load for each content: a second `dlopen` of the same bytes would have statics of its own.
static LOADED: Mutex<BTreeMap<String, Library>> = Mutex::new(BTreeMap::new());

impl Library {
    /// Read, verify and load a plugin.
    ///
    /// The bytes that are checked are the bytes that are mapped: the file is read once, and `dlopen` gets a sealed copy.
    pub fn load(file: &Path) -> Result<Library, PluginError> {
        Library::load_as(file, None)
    }

    /// The same for a file whose content is known: any other content is refused before it is looked at.
    pub fn load_locked(file: &Path, sha256: &str) -> Result<Library, PluginError> {
        Library::load_as(file, Some(sha256))
    }

    fn load_as(file: &Path, locked: Option<&str>) -> Result<Library, PluginError> {
        let name = file.display().to_string();
        let bytes = std::fs::read(file)
            .map_err(|error| PluginError::new(PluginCode::Library, &name, format!("cannot be read: {error}")))?;
        let sha256 = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        if let Some(locked) = locked.filter(|locked| *locked != sha256) {
            let message = format!("the run began with {locked}, this file is {sha256}");
            return Err(PluginError::new(PluginCode::LockMismatch, &name, message));
        }
        // A signature would be held against these bytes here, before anything else looks at them.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = loaded.get(&sha256) {
            return Ok(Library { file: file.to_owned(), ..library.clone() });
        }
        let (manifest, text) = Manifest::read(&name, &bytes)?;
        manifest.check(&name)?;
        elf::check(&name, &bytes, ROOT_MODULE_LOADER_NAME, &running_glibc())?;
        let header = open(&name, &bytes)?;
        let root = check_layout(&name, header)?;
        let said = root.descriptor()();
        if said.as_str() != text {
            return Err(PluginError::new(PluginCode::Descriptor, &name, "says something else than its manifest"));
        }
        let library = Library { file: file.to_owned(), manifest, sha256: sha256.clone(), root };
        loaded.insert(sha256, library.clone());
        Ok(library)
    }
}

/// `dlopen` a sealed copy of the bytes and find abi_stable's header in it.
fn open(name: &str, bytes: &[u8]) -> Result<&'static LibHeader, PluginError> {
    let refuse = |message: String| PluginError::new(PluginCode::Library, name, message);
    let memfd = sealed_copy(bytes).map_err(|error| refuse(format!("cannot be copied to memory: {error}")))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", memfd.as_raw_fd()));
    // SAFETY: loading runs the library's constructors. `elf::check` has refused any beyond the two of the runtime, and
    // whoever puts a file on the search path trusts it as much as a program that they start.
    let object = unsafe { Object::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
    let object = object.map_err(|error| refuse(format!("cannot be loaded: {error}")))?;
    let header = lib_header_from_path(&path).map_err(|error| layout(name, &error.to_string()))?;
    // Both live as long as the process: the code must never be unmapped, nor its descriptor number be used again.
    std::mem::forget(object);
    std::mem::forget(memfd);
    Ok(header)
}

fn sealed_copy(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know EXEC and make every memfd executable.
    let memfd = rustix::fs::memfd_create("coldstart-plugin", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("coldstart-plugin", flags))?;
    let mut file = std::fs::File::from(memfd);
    file.write_all(bytes)?;
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
