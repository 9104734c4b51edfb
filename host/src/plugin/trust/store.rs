//! The trust store: a file for each lab, or for each of its keys, in the user's config folder.

use crate::nearest::nearest;
use crate::plugin::authority;
use crate::plugin::error::{PluginCode, PluginError};
use crate::plugin::manifest::is_kebab_case;
use crate::plugin::package::{Key, PackageError, make_folder, write_atomically};
use crate::xdg;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use toml::value::{Date, Datetime};

/// Wildcards in one pattern; more make no sense, and cost time.
const MOST_STARS: usize = 4;

/// A lab and what it may sign: one file of the store.
#[derive(Debug, Clone)]
pub struct Signatory {
    /// What the user calls it: the file's name up to its first dot.
    pub lab: String,
    /// Where it stands.
    pub file: PathBuf,
    /// Its keys, any of which will do.
    pub keys: Vec<Key>,
    /// Patterns over `publisher/name`, or `name` where there is no publisher; `*` stands for anything but a slash.
    pub may_sign: Vec<String>,
    /// The last day, in UTC, on which the keys count, as `2027-01-31`.
    pub expires: Option<String>,
    /// Hashes of libraries that must not be used any more, whoever signed them.
    pub revoked: Vec<String>,
}

/// One or more, as a person would write it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// The content of a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFile {
    key: OneOrMore,
    may_sign: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revoked: Vec<String>,
}

impl Signatory {
    /// Read a file of the store; errs with P005 and says what is wrong. Never panics.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Signatory, PluginError> {
        let wrong = |problem: &str| malformed(file, problem);
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("is not UTF-8"))?;
        let read: TrustFile = toml::from_str(text).map_err(|error| wrong(error.message()))?;
        let texts = match read.key {
            OneOrMore::One(key) => vec![key],
            OneOrMore::More(keys) => keys,
        };
        let keys: Result<Vec<Key>, String> = texts.iter().map(|text| Key::parse(text)).collect();
        let keys = keys.map_err(|problem| wrong(&format!("a `key` {problem}")))?;
        if let Some(pattern) = read.may_sign.iter().find(|pattern| !is_pattern(pattern)) {
            return Err(wrong(&format!("`{pattern}` in `may_sign` is no name")));
        }
        if let Some(expires) = read.expires.as_deref().filter(|expires| last_day(expires).is_none()) {
            return Err(wrong(&format!("`expires = \"{expires}\"` is no date such as 2027-01-31")));
        }
        if let Some(hash) = read.revoked.iter().find(|hash| !is_hash(hash)) {
            return Err(wrong(&format!("`{hash}` in `revoked` is no hash such as sha256:0123...")));
        }
        let stem = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let lab = stem.split('.').next().unwrap_or_default().to_owned();
        let TrustFile { may_sign, expires, revoked, .. } = read;
        Ok(Signatory { lab, file: file.to_owned(), keys, may_sign, expires, revoked })
    }

    /// The key of that number.
    pub fn key_of(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// Whether its keys count no longer.
    pub fn has_expired(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
        self.expires.as_deref().and_then(last_day).is_some_and(|last| last < now as i64)
    }

    /// Whether it may sign a plugin of that full name.
    pub fn may_sign(&self, full_name: &str) -> bool {
        self.may_sign.iter().any(|pattern| matches(pattern, full_name))
    }

    fn text(&self) -> String {
        let key = match self.keys.as_slice() {
            [key] => OneOrMore::One(key.text.clone()),
            keys => OneOrMore::More(keys.iter().map(|key| key.text.clone()).collect()),
        };
        let Signatory { may_sign, expires, revoked, .. } = self.clone();
        toml::to_string(&TrustFile { key, may_sign, expires, revoked }).expect("plain data")
    }
}

fn malformed(file: &Path, problem: &str) -> PluginError {
    PluginError::new(PluginCode::Signature, file.display().to_string(), format!("is no trust file: {problem}"))
        .with_hint("mend the file; until then only the program's own strategies run")
}

fn is_pattern(pattern: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.*".contains(c);
    let part = |part: &str| !part.is_empty() && part.chars().all(plain);
    pattern.split('/').count() <= 2 && pattern.split('/').all(part) && pattern.matches('*').count() <= MOST_STARS
}

fn is_hash(hash: &str) -> bool {
    let digits = hash.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(head) else { return false };
    let reach = rest.find('/').unwrap_or(rest.len());
    (0..=reach).filter(|skip| rest.is_char_boundary(*skip)).any(|skip| matches(tail, &rest[skip..]))
}

/// A date as days since 1970-01-01.
fn last_day(text: &str) -> Option<i64> {
    let datetime: Datetime = text.parse().ok()?;
    let Datetime { date: Some(Date { year, month, day }), time: None, .. } = datetime else { return None };
    // Years that begin in March have their leap day last.
    let year = i64::from(year) - i64::from(month <= 2);
    let month = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    Some(365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468)
}

/// Every lab that the user trusts.
///
/// A store that cannot be looked at is no empty one, for it might revoke something: whoever asks it gets the reason as an error.
#[derive(Debug, Clone)]
pub struct TrustStore {
    folder: PathBuf,
    signatories: Result<Vec<Signatory>, PluginError>,
}

impl TrustStore {
    /// The user's store: coldstart/trust under `XDG_CONFIG_HOME`, or else under `~/.config`. It may be empty, and is where
    /// there is neither. One that cannot be read, is damaged, or that others can write to, errs when it is asked (P005).
    pub fn open() -> TrustStore {
        match xdg::config_home() {
            Some(config) => TrustStore::at(&config.join("coldstart/trust")),
            None => TrustStore { folder: PathBuf::new(), signatories: Ok(Vec::new()) },
        }
    }

    /// The store in a folder.
    pub fn at(folder: &Path) -> TrustStore {
        TrustStore { folder: folder.to_owned(), signatories: read(folder) }
    }

    /// The files, sorted by name; errs with P005 if the store cannot be relied on.
    pub fn signatories(&self) -> Result<&[Signatory], PluginError> {
        self.signatories.as_deref().map_err(PluginError::clone)
    }

    /// Whether its folder can be looked at.
    pub fn is_in_reach(&self) -> bool {
        std::fs::read_dir(&self.folder).is_ok()
    }

    /// What is known of a lab, in a file for each of its keys.
    pub fn lab(&self, lab: &str) -> Result<Vec<&Signatory>, PluginError> {
        Ok(self.signatories()?.iter().filter(|known| known.lab == lab).collect())
    }

    /// Trust a key. A key that the lab has already gets the new names and date; another key gets a file beside the first, or
    /// takes the place of all that the lab has where it is to `replace` it. What the lab revokes stays revoked.
    pub fn add(
        &mut self,
        lab: &str,
        key: Key,
        may_sign: &[String],
        expires: Option<&str>,
        replace: bool,
    ) -> Result<PathBuf, PackageError> {
        if !is_kebab_case(lab) {
            return Err(PluginError::new(PluginCode::Signature, lab, "is no name for a lab")
                .with_hint("lower-case words with hyphens between them, such as `some-lab`")
                .into());
        }
        if self.folder.as_os_str().is_empty() {
            let error = PluginError::new(PluginCode::Signature, lab, "there is no folder to keep the key in");
            return Err(error.with_hint("set HOME or XDG_CONFIG_HOME to an absolute folder").into());
        }
        let has_it = |known: &Signatory| matches!(known.keys.as_slice(), [one] if *one == key);
        let mut old = self.lab(lab)?;
        old.retain(|known| replace || has_it(known));
        let file = match old.first() {
            _ if replace => self.folder.join(format!("{lab}.toml")),
            Some(known) => known.file.clone(),
            None => self.free_file(lab),
        };
        let mut revoked: Vec<String> = old.iter().flat_map(|known| known.revoked.iter().cloned()).collect();
        revoked.sort_unstable();
        revoked.dedup();
        let gone: Vec<PathBuf> =
            old.iter().map(|known| known.file.clone()).filter(|other| replace && *other != file).collect();
        let signatory = Signatory {
            lab: lab.to_owned(),
            file: file.clone(),
            keys: vec![key],
            may_sign: may_sign.to_vec(),
            expires: expires.map(str::to_owned),
            revoked,
        };
        let text = signatory.text();
        // Read as it will be read, so that a bad name or date is found before anything is written.
        Signatory::parse(&file, text.as_bytes())?;
        make_folder(&self.folder)?;
        // A store that was not there yet may lie in a folder of many.
        *self = TrustStore::at(&self.folder);
        self.signatories()?;
        write_atomically(&file, text.as_bytes())?;
        for other in gone {
            std::fs::remove_file(&other).map_err(PackageError::file("remove", &other))?;
        }
        *self = TrustStore::at(&self.folder);
        Ok(file)
    }

    fn free_file(&self, lab: &str) -> PathBuf {
        let numbered = (2..).map(|i| format!("{lab}.{i}.toml"));
        let mut names = [format!("{lab}.toml")].into_iter().chain(numbered).map(|name| self.folder.join(name));
        names.find(|file| !file.exists()).expect("a folder has room for another name")
    }

    /// Trust no key of a lab any more: its files, which are gone. Errs if there is no such lab.
    pub fn remove(&mut self, lab: &str) -> Result<Vec<PathBuf>, PackageError> {
        let all = self.signatories()?.to_vec();
        let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|known| known.lab == lab);
        if gone.is_empty() {
            let error = PluginError::new(PluginCode::Signature, lab, "no lab of that name is trusted");
            let near = nearest(lab, kept.iter().map(|known| known.lab.as_str()));
            let hint =
                near.map_or("see `coldstart plugin trust list`".to_owned(), |near| format!("did you mean `{near}`?"));
            return Err(error.with_hint(hint).into());
        }
        for Signatory { file, .. } in &gone {
            std::fs::remove_file(file).map_err(PackageError::file("remove", file))?;
        }
        self.signatories = Ok(kept);
        Ok(gone.into_iter().map(|known| known.file).collect())
    }
}

/// Every file of a store.
fn read(folder: &Path) -> Result<Vec<Signatory>, PluginError> {
    let refuse = |problem: String, hint: &str| {
        let name = folder.display().to_string();
        PluginError::new(PluginCode::Signature, name, format!("the trust store {problem}")).with_hint(hint)
    };
    let unreadable = |error: std::io::Error| refuse(format!("cannot be read: {error}"), ELSEWHERE);
    if !folder.try_exists().map_err(unreadable)? {
        return Ok(Vec::new());
    }
    authority::check(folder).map_err(|doubt| {
        refuse(format!("cannot be relied on: {doubt}"), &format!("{}, or {ELSEWHERE}", doubt.hint()))
    })?;
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let signatory = |file: PathBuf| {
        authority::check(&file).map_err(|doubt| {
            let name = file.display().to_string();
            PluginError::new(PluginCode::Signature, name, format!("this trust file cannot be relied on: {doubt}"))
                .with_hint(format!("{}; until then only the program's own strategies run", doubt.hint()))
        })?;
        let bytes = std::fs::read(&file).map_err(|error| malformed(&file, &error.to_string()))?;
        Signatory::parse(&file, &bytes)
    };
    files.into_iter().map(signatory).collect()
}

/// What to do where the folder is somebody else's affair.
const ELSEWHERE: &str =
    "set XDG_CONFIG_HOME to a folder of your own; the strategies that come with the program need none";

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    #[test]
    fn a_pattern_means_what_it_says() {
        for (pattern, name, expected) in [
            ("lab/entropy", "lab/entropy", true),
            ("lab/entropy", "entropy", false),
            ("entropy", "lab/entropy", false),
            ("entropy", "entropy", true),
            ("lab/*", "lab/entropy", true),
            ("lab/*", "lab/", true),
            ("lab/*", "lab2/entropy", false),
            ("lab*", "lab/entropy", false),
            ("*", "entropy", true),
            ("*", "lab/entropy", false),
            ("*/*", "lab/entropy", true),
            ("org.lab/x-*-z", "org.lab/x-y-z", true),
            ("org.lab/x-*-z", "org.lab/x-z", false),
            ("lab/*-*", "lab/first-choice", true),
            ("lab/*-*", "lab/entropy", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        for (date, day) in [
            ("1970-01-01", Some(0)),
            ("1970-03-01", Some(59)),
            // date -ud DATE +%s, divided by 86400
            ("2000-02-29", Some(11_016)),
            ("2024-02-29", Some(19_782)),
            ("2026-12-31", Some(20_818)),
            ("2027-01-01", Some(20_819)),
            ("2027-13-01", None),
            ("2027-01-01T00:00:00", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(last_day(date), day, "{date}");
        }
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let hash = format!("sha256:{}", "0".repeat(64));
        let rows = [
            (format!("key = \"{KEY}\"\nmay_sign = [\"lab/*\"]\n"), None),
            (format!("key = [\"{KEY}\", \"{KEY}\"]\nmay_sign = []\nexpires = \"2027-01-31\"\n"), None),
            (format!("key = \"{KEY}\"\nmay_sign = [\"*\"]\nrevoked = [\"{hash}\"]\n"), None),
            (format!("key = \"{KEY}\"\n"), Some("may_sign")),
            ("may_sign = []\n".to_owned(), Some("key")),
            ("key = \"RWQ\"\nmay_sign = []\n".to_owned(), Some("is no public key of minisign")),
            (format!("key = \"{KEY}\"\nmay_sign = [\"a/b/c\"]\n"), Some("`a/b/c` in `may_sign`")),
            (format!("key = \"{KEY}\"\nmay_sign = [\"*****\"]\n"), Some("`*****` in `may_sign`")),
            (format!("key = \"{KEY}\"\nmay_sign = []\nexpires = \"soon\"\n"), Some("is no date")),
            (format!("key = \"{KEY}\"\nmay_sign = []\nrevoked = [\"{}\"]\n", &hash[..70]), Some("is no hash")),
            (format!("key = \"{KEY}\"\nmay_sign = []\nrevokes = []\n"), Some("unknown field `revokes`")),
            ("key = ".to_owned(), Some("is no trust file")),
        ];
        for (text, expected) in rows {
            let read = Signatory::parse(Path::new("/trust/some-lab.2.toml"), text.as_bytes());
            match (read, expected) {
                (Ok(read), None) => {
                    assert_eq!((read.lab.as_str(), read.keys[0].id.as_str()), ("some-lab", "E7620F1842B4E81F"))
                }
                (Err(error), Some(expected)) => {
                    assert_eq!(error.code, PluginCode::Signature);
                    assert!(error.message.contains(expected), "{}", error.message);
                }
                (read, expected) => panic!("expected {expected:?}, got {read:?}"),
            }
        }
    }

    #[test]
    fn labs_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = TrustStore::at(&folder.path().join("trust"));
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let key = || Key::parse(KEY).unwrap();
        let other = || Key::parse("RWRf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3").unwrap();
        assert!(store.add("lab", key(), &names(&["lab/*"]), None, false).unwrap().ends_with("lab.toml"));
        assert!(
            store.add("lab", other(), &names(&["lab/*"]), Some("2027-01-31"), false).unwrap().ends_with("lab.2.toml")
        );
        assert!(store.add("lab", key(), &names(&["lab/x"]), None, false).unwrap().ends_with("lab.toml"));
        assert_eq!(store.signatories().unwrap().len(), 2);
        assert!(store.signatories().unwrap().iter().any(|known| known.may_sign("lab/x") && !known.may_sign("lab/y")));
        for (lab, names, expires) in
            [("Lab", names(&["x"]), None), ("b", names(&["x y"]), None), ("b", names(&["x"]), Some("x"))]
        {
            assert!(store.add(lab, key(), &names, expires, false).is_err());
        }
        assert!(store.add("lab", other(), &names(&["lab/z"]), None, true).unwrap().ends_with("trust/lab.toml"));
        assert_eq!(store.signatories().unwrap().len(), 1);
        assert!(store.add("lab", key(), &names(&["lab/x"]), None, false).is_ok());
        assert!(store.remove("la").unwrap_err().to_string().contains("no lab of that name"));
        assert_eq!(store.remove("lab").unwrap().len(), 2);
        assert!(
            store.signatories().unwrap().is_empty()
                && std::fs::read_dir(folder.path().join("trust")).unwrap().next().is_none()
        );
    }
}
