//! Trained networks kept by what made them, so that the same training is done once.
//!
//! An entry is a folder named by its key, a hash. It appears whole or not at all; every file of it is checked against its
//! hash before it is used, and a damaged entry is made anew. Several processes may share a cache: one makes an entry while
//! the others wait for it. When the entries grow beyond the limit, those that were used longest ago go.
//!
//! ```text
//! CACHE/KEY/entry.json        what it is, and the hashes of the other files
//! CACHE/KEY/entry.sha256      the hash of entry.json
//! CACHE/KEY/...               whatever its maker put there
//! CACHE/KEY.making/           an entry under way
//! CACHE/KEY.lock              held while the entry is made or removed
//! CACHE/KEY.checkpoint        where an unfinished one goes on
//! ```

use crate::hash::{sha256, sha256_of};
use crate::limits;
use coldstart_plugin_api::{Code, Error, Result};
use rustix::fs::{Access, FlockOperation};
use rustix::io::Errno;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

/// How long a process that waits sleeps between two looks.
const NAP: Duration = Duration::from_millis(200);

/// How long it waits before it says for whom.
const SILENCE: Duration = Duration::from_secs(5);

/// A folder of entries.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
    limit_bytes: u64,
    /// What takes the folder's place where it cannot be written to and nobody has asked for it.
    temporary: Option<Arc<OnceLock<TempDir>>>,
}

/// An entry as it lies on disk. While it is held, nobody removes it.
#[derive(Debug)]
pub struct Entry<T> {
    /// Its folder.
    pub folder: PathBuf,
    /// What its maker said of it.
    pub about: T,
    /// Whether it was there already.
    pub cached: bool,
    /// Shared with everybody who uses the entry.
    _lock: File,
}

/// What [`Cache::shrink`] did.
#[derive(Default)]
struct Shrunk {
    removed: Vec<Listed>,
    /// The first that could not be removed, and why.
    failed: Option<(PathBuf, std::io::Error)>,
}

/// The endings of what may lie beside an entry, the lock last.
const LEFT: [&str; 4] = ["making", "checkpoint", "partial", "lock"];

/// A line of `coldstart cache list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The hash that names it.
    pub key: String,
    /// What its maker calls it.
    pub name: String,
    /// All its files together.
    pub bytes: u64,
    /// Seconds since it was used last.
    pub idle_seconds: u64,
}

#[derive(Serialize, Deserialize)]
struct Manifest<T> {
    name: String,
    about: T,
    sha256: BTreeMap<String, String>,
}

const MANIFEST: &str = "entry.json";
/// Its hash.
const MANIFEST_HASH: &str = "entry.sha256";

/// A place where there is nothing, and nobody can put anything.
const NOWHERE: &str = "/dev/null/coldstart";

impl Cache {
    /// A cache in this folder, which need not exist yet.
    pub fn new(root: PathBuf, limit_bytes: u64) -> Cache {
        Cache { root, limit_bytes, temporary: None }
    }

    /// A cache in a folder that nobody has asked for: where it cannot be written to, a temporary one takes its place, with a
    /// warning, and goes with the cache. Without a folder it is temporary from the beginning.
    pub fn by_default(root: Option<PathBuf>, limit_bytes: u64) -> Cache {
        let root = root.unwrap_or_else(|| PathBuf::from(NOWHERE));
        Cache { root, limit_bytes, temporary: Some(Arc::default()) }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        let temporary = self.temporary.as_ref().and_then(|temporary| temporary.get());
        temporary.map_or(&self.root, TempDir::path)
    }

    /// Makes its folder.
    fn prepare(&self) -> Result<()> {
        let Err(error) = make_writable(self.root()) else { return Ok(()) };
        let failed = self.failed("write to", &self.root, &error);
        let Some(temporary) = &self.temporary else { return Err(failed) };
        let folder = tempfile::Builder::new().prefix("coldstart-cache-").tempdir().map_err(|_| failed)?;
        tracing::warn!(
            "the cache `{}` cannot be written to ({error}): what is trained is kept until this command ends; name another \
             folder with `--cache` or COLDSTART_CACHE",
            self.root.display()
        );
        // Another thread may have been faster; then its folder serves, and this one goes.
        let _ = temporary.set(folder);
        Ok(())
    }

    /// The entry of `key`, made by `make` if there is none or it is damaged.
    ///
    /// `make` gets the folder to put files in, and a file to store its state in and to go on from; what it returns is kept
    /// with the entry. While another process makes the same entry, `waiting` is called now and then; its error ends the wait.
    pub fn entry<T: Serialize + DeserializeOwned>(
        &self,
        (key, name): (&str, &str),
        waiting: &dyn Fn() -> Result<()>,
        make: impl FnOnce(&Path, &Path) -> Result<T>,
    ) -> Result<Entry<T>> {
        self.prepare()?;
        let (begun, mut told) = (Instant::now(), false);
        let lock = loop {
            if let Ok(Some(entry)) = self.open(key) {
                return Ok(entry);
            }
            let lock = self.try_lock(key, FlockOperation::NonBlockingLockExclusive);
            if let Some(lock) = lock.map_err(|error| self.failed("lock", &self.beside(key, "lock"), &error))? {
                break lock;
            }
            waiting()?;
            if begun.elapsed() > limits::CACHE_ENTRY {
                return Err(self.held_too_long(key));
            }
            if begun.elapsed() > SILENCE && !std::mem::replace(&mut told, true) {
                tracing::warn!("waiting for {}, which makes the same `{name}`", self.holder(key));
            }
            std::thread::sleep(NAP);
        };
        note_holder(&lock);
        let folder = self.root().join(key);
        match self.read(key) {
            Ok(Some(about)) => return Ok(Entry { about, cached: true, _lock: self.shared(lock, key)?, folder }),
            Ok(None) => {}
            Err(problem) => tracing::warn!("the cache entry {key} is damaged ({problem}) and is made anew"),
        }
        let (making, checkpoint) = (self.beside(key, "making"), self.beside(key, "checkpoint"));
        remove(&folder).and_then(|()| remove(&making)).map_err(|error| self.failed("remove", &folder, &error))?;
        fs::create_dir_all(&making).map_err(|error| self.failed("create", &making, &error))?;
        let about = make(&making, &checkpoint)?;
        self.seal(name, &about, &making, &folder).map_err(|error| self.failed("write", &folder, &error))?;
        let _ = fs::remove_file(&checkpoint);
        let lock = self.shared(lock, key)?;
        if let Some((path, error)) = self.shrink(self.limit_bytes).failed {
            tracing::warn!("the cache is larger than it should be: cannot remove `{}`: {error}", path.display());
        }
        Ok(Entry { folder, about, cached: false, _lock: lock })
    }

    /// The entry of `key`, if it is there and nobody is making it.
    ///
    /// Errs with what is wrong with it.
    pub fn open<T: DeserializeOwned>(&self, key: &str) -> std::result::Result<Option<Entry<T>>, String> {
        let folder = self.root().join(key);
        if !folder.is_dir() {
            return Ok(None);
        }
        let lock = self.try_lock(key, FlockOperation::NonBlockingLockShared).map_err(|error| error.to_string())?;
        let Some(lock) = lock else { return Ok(None) };
        let about = self.read(key)?;
        Ok(about.map(|about| Entry { folder, about, cached: true, _lock: lock }))
    }

    /// What an entry says of itself; none if there is no such entry.
    ///
    /// Errs with what is wrong with it, and when it was made by a program that says other things.
    fn read<T: DeserializeOwned>(&self, key: &str) -> std::result::Result<Option<T>, String> {
        let folder = self.root().join(key);
        if !folder.is_dir() {
            return Ok(None);
        }
        let read = |file: &str| fs::read(folder.join(file)).map_err(|error| format!("{file}: {error}"));
        let text = read(MANIFEST)?;
        if read(MANIFEST_HASH)? != sha256(&text).as_bytes() {
            return Err(format!("{MANIFEST} is not what was stored"));
        }
        let manifest: Manifest<T> = serde_json::from_slice(&text).map_err(|error| format!("{MANIFEST}: {error}"))?;
        for (file, expected) in &manifest.sha256 {
            let found = sha256_of(&folder.join(file)).map_err(|error| format!("{file}: {error}"))?;
            if found != *expected {
                return Err(format!("{file} is not what was stored"));
            }
        }
        // The time of the manifest says when the entry was used last.
        let _ = File::open(folder.join(MANIFEST)).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(Some(manifest.about))
    }

    /// All entries, the one used last first.
    pub fn list(&self) -> Vec<Listed> {
        let mut entries: Vec<Listed> = fs::read_dir(self.root())
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| self.listed(entry.file_name().to_str()?))
            .collect();
        entries.sort_by(|a, b| a.idle_seconds.cmp(&b.idle_seconds).then(a.key.cmp(&b.key)));
        entries
    }

    /// Remove the entries used longest ago until the rest takes at most `limit_bytes`, and what unfinished ones left; those in
    /// use stay. Tells which entries went.
    ///
    /// Errs when something cannot be removed; all else is.
    pub fn clean(&self, limit_bytes: u64) -> Result<Vec<Listed>> {
        let Shrunk { removed, mut failed } = self.shrink(limit_bytes);
        let files = fs::read_dir(self.root()).into_iter().flatten().flatten();
        let names: Vec<String> = files.filter_map(|file| file.file_name().into_string().ok()).collect();
        let is_left = |ending: &str| LEFT.contains(&ending);
        let keys: BTreeSet<&str> = names
            .iter()
            .filter_map(|name| name.rsplit_once('.'))
            .filter(|(_, ending)| is_left(ending))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            let Ok(Some(_lock)) = self.try_lock(key, FlockOperation::NonBlockingLockExclusive) else { continue };
            for left in LEFT {
                let path = self.beside(key, left);
                if let Err(error) = remove(&path) {
                    failed.get_or_insert((path, error));
                }
            }
        }
        match failed {
            Some((path, error)) => Err(self.failed("remove", &path, &error)),
            None => Ok(removed),
        }
    }

    fn shrink(&self, limit_bytes: u64) -> Shrunk {
        let mut shrunk = Shrunk::default();
        let mut total: u64 = self.list().iter().map(|entry| entry.bytes).sum();
        for entry in self.list().into_iter().rev() {
            if total <= limit_bytes {
                break;
            }
            let exclusive = FlockOperation::NonBlockingLockExclusive;
            let _lock = match self.try_lock(&entry.key, exclusive) {
                Ok(Some(lock)) => lock,
                // Somebody uses it.
                Ok(None) => continue,
                Err(error) => {
                    shrunk.failed.get_or_insert((self.beside(&entry.key, "lock"), error));
                    continue;
                }
            };
            let (folder, going) = (self.root().join(&entry.key), self.beside(&entry.key, "making"));
            // Out of the way in one step: half an entry is none.
            let moved = remove(&going).and_then(|()| fs::rename(&folder, &going));
            match moved.and_then(|()| remove(&going)) {
                Ok(()) => {
                    total -= entry.bytes;
                    let _ = fs::remove_file(self.beside(&entry.key, "lock"));
                    shrunk.removed.push(entry);
                }
                Err(error) => {
                    shrunk.failed.get_or_insert((folder, error));
                }
            }
        }
        shrunk
    }

    /// Lets others use the entry too, and nobody remove it. Another process may hold it for a moment between the two.
    fn shared(&self, lock: File, key: &str) -> Result<File> {
        let begun = Instant::now();
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
                Ok(()) => return Ok(lock),
                Err(Errno::WOULDBLOCK | Errno::INTR) if begun.elapsed() < limits::CACHE_LOCK => std::thread::sleep(NAP),
                Err(Errno::WOULDBLOCK) => return Err(self.held_too_long(key)),
                Err(error) => return Err(self.failed("lock", &self.beside(key, "lock"), &error.into())),
            }
        }
    }

    /// Who holds an entry, as far as it has said so.
    fn holder(&self, key: &str) -> String {
        let said = fs::read_to_string(self.beside(key, "lock")).unwrap_or_default();
        let plain = |c: char| c.is_ascii_digit();
        match !said.is_empty() && said.len() < 20 && said.chars().all(plain) {
            true => format!("the process {said}"),
            false => "another process".to_owned(),
        }
    }

    fn held_too_long(&self, key: &str) -> Error {
        let message = format!("{} has held the cache entry {key} for too long", self.holder(key));
        Error::new(Code::HOST, message).with("hint", "end that process, or name another folder with `--cache`")
    }

    /// `KEY.ENDING`.
    fn beside(&self, key: &str, ending: &str) -> PathBuf {
        self.root().join(format!("{key}.{ending}"))
    }

    fn listed(&self, key: &str) -> Option<Listed> {
        let folder = self.root().join(key);
        let manifest = folder.join(MANIFEST);
        let text = fs::read(&manifest).ok()?;
        let about: Manifest<serde_json::Value> = serde_json::from_slice(&text).ok()?;
        let files = fs::read_dir(&folder).ok()?.flatten();
        let bytes = files.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
        let used = manifest.metadata().and_then(|metadata| metadata.modified()).ok()?;
        let idle_seconds = used.elapsed().map_or(0, |idle| idle.as_secs());
        Some(Listed { key: key.to_owned(), name: about.name, bytes, idle_seconds })
    }

    fn seal<T: Serialize>(&self, name: &str, about: &T, making: &Path, folder: &Path) -> std::io::Result<()> {
        let mut hashes = BTreeMap::new();
        for file in fs::read_dir(making)? {
            let path = file?.path();
            File::open(&path)?.sync_all()?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            hashes.insert(name, sha256_of(&path)?);
        }
        let manifest = Manifest { name: name.to_owned(), about, sha256: hashes };
        let text = serde_json::to_vec_pretty(&manifest).expect("plain data");
        store(&making.join(MANIFEST_HASH), sha256(&text).as_bytes())?;
        store(&making.join(MANIFEST), &text)?;
        File::open(making)?.sync_all()?;
        fs::rename(making, folder)?;
        File::open(self.root())?.sync_all()
    }

    /// None while another process has it in a way that does not go together. The lock goes with the process, however it ends.
    fn try_lock(&self, key: &str, how: FlockOperation) -> std::io::Result<Option<File>> {
        let path = self.beside(key, "lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        if rustix::fs::flock(&file, how).is_err() {
            return Ok(None);
        }
        // Whoever had it may have removed the file before letting go: then the lock is on a file that nobody else finds.
        use std::os::unix::fs::MetadataExt;
        let same = path.metadata().is_ok_and(|named| file.metadata().is_ok_and(|held| held.ino() == named.ino()));
        Ok(same.then_some(file))
    }

    fn failed(&self, action: &str, path: &Path, error: &std::io::Error) -> Error {
        let message = format!("cannot {action} `{}` in the cache: {error}", path.display());
        Error::new(Code::HOST, message)
            .with("hint", "name another folder with `--cache`, or make space with `coldstart cache clean`")
    }
}

/// Whoever waits is told who is at work; where it cannot be written nobody is told.
fn note_holder(mut lock: &File) {
    let _ = lock.set_len(0).and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()));
}

/// Makes a folder, and errs if nothing can be put into it.
fn make_writable(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    Ok(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Removes a folder with all that is in it, or a file; one that is not there is as good.
fn remove(path: &Path) -> std::io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes a file, which is on disk when this returns.
fn store(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn go_on() -> Result<()> {
        Ok(())
    }

    fn put(cache: &Cache, key: &str, n_bytes: usize) -> Entry<u32> {
        let make = |folder: &Path, _: &Path| {
            fs::write(folder.join("data"), vec![7; n_bytes]).unwrap();
            Ok(n_bytes as u32)
        };
        cache.entry((key, "test"), &go_on, make).unwrap()
    }

    #[test]
    fn an_entry_is_made_once_and_anew_when_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("deep/cache"), u64::MAX);
        assert!(!put(&cache, "a", 5).cached);
        let found = put(&cache, "a", 9);
        assert_eq!((&found.folder, found.about, found.cached), (&cache.root().join("a"), 5, true));
        // Whoever holds an entry keeps others from making it anew.
        drop(found);
        let damages: [fn(&Path); 4] = [
            |entry| fs::write(entry.join("data"), "other").unwrap(),
            |entry| fs::remove_file(entry.join("data")).unwrap(),
            |entry| fs::write(entry.join("entry.json"), "{").unwrap(),
            |entry| fs::remove_file(entry.join("entry.json")).unwrap(),
        ];
        for damage in damages {
            damage(&cache.root().join("a"));
            assert!(!put(&cache, "a", 5).cached);
            assert!(put(&cache, "a", 5).cached);
        }
    }

    #[test]
    fn a_maker_that_fails_leaves_no_entry_but_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned(), u64::MAX);
        let failed = cache.entry::<u32>(("a", "test"), &go_on, |_, checkpoint| {
            fs::write(checkpoint, "half").unwrap();
            Err(Error::plugin("no"))
        });
        assert!(failed.is_err() && cache.list().is_empty());
        let made = cache.entry(("a", "test"), &go_on, |_, checkpoint| Ok(fs::read_to_string(checkpoint).unwrap()));
        assert_eq!(made.unwrap().about, "half");
        assert!(!folder.path().join("a.checkpoint").exists());
    }

    #[test]
    fn one_makes_it_and_the_others_wait() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned(), u64::MAX);
        let made = AtomicUsize::new(0);
        let ask = || {
            let make = |_: &Path, _: &Path| {
                std::thread::sleep(Duration::from_millis(300));
                Ok(made.fetch_add(1, Ordering::Relaxed))
            };
            cache.entry(("a", "test"), &go_on, make).unwrap().cached
        };
        let cached = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).filter(|cached| *cached).count()
        });
        assert_eq!((cached, made.load(Ordering::Relaxed)), (3, 1));
    }

    #[test]
    fn a_wait_can_be_ended() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned(), u64::MAX);
        let _held = cache.try_lock("a", FlockOperation::NonBlockingLockExclusive).unwrap().unwrap();
        let stop = || Err(Error::new(Code::CANCELLED, "cancelled"));
        let error = cache.entry(("a", "test"), &stop, |_, _| Ok(0)).unwrap_err();
        assert_eq!(error.code, Code::CANCELLED);
    }

    #[test]
    fn the_longest_unused_go_first_and_those_in_use_stay() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned(), u64::MAX);
        for (i, key) in ["a", "b", "c"].into_iter().enumerate() {
            put(&cache, key, 10_000);
            let used = SystemTime::now() - Duration::from_secs(1000 * (3 - i as u64));
            File::open(folder.path().join(key).join(MANIFEST)).unwrap().set_modified(used).unwrap();
        }
        let keys = |entries: Vec<Listed>| entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>();
        assert_eq!(keys(cache.list()), ["c", "b", "a"]);
        let held = cache.open::<u32>("a").unwrap().unwrap();
        let also = cache.open::<u32>("a").unwrap().unwrap();
        let (_, used) = (drop(also), SystemTime::now() - Duration::from_secs(9000));
        File::open(held.folder.join(MANIFEST)).unwrap().set_modified(used).unwrap();
        assert_eq!(keys(cache.clean(25_000).unwrap()), ["b"]);
        drop(held);
        // The entry that was just made stays, however large it is, as long as it is held.
        let small = Cache::new(folder.path().to_owned(), 1);
        let made = put(&small, "d", 10_000);
        assert_eq!(keys(small.list()), ["d"]);
        drop(made);
        fs::write(folder.path().join("e.lock"), "").unwrap();
        fs::write(folder.path().join("e.checkpoint"), "half").unwrap();
        assert_eq!(keys(small.clean(0).unwrap()), ["d"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
