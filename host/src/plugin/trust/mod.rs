//! Trust: which lab's key vouches for a plugin, and what is known of a file when none does.
//!
//! A signature counts if its key stands in the user's trust store, has not expired, and may sign plugins of that name.
//! A signature that does not count is an error, never the same as none.

mod store;

pub use store::{Signatory, TrustStore};

use super::error::{PluginCode, PluginError};
use super::load::Content;
use super::manifest::Manifest;
use super::package::{Key, Package, SignatureFile, Unpacked};
use super::search::{Found, SAFE, program_folders, warn_once};
use std::fmt;
use std::path::Path;

/// What is known of a plugin's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// A key of the trust store vouches for it.
    Signed {
        /// The lab, as the user calls it.
        lab: String,
        /// The number of the key.
        key: String,
    },
    /// It lies with the program: whoever could change it could change the program.
    Shipped,
    /// Nobody vouches for it.
    Unsigned,
}

impl Trust {
    /// Which of the three it is, in a word for records.
    pub fn kind(&self) -> &'static str {
        match self {
            Trust::Signed { .. } => "signed",
            Trust::Shipped => "shipped",
            Trust::Unsigned => "unsigned",
        }
    }

    /// Whether it may run inside the host.
    pub fn suffices(&self) -> bool {
        *self != Trust::Unsigned
    }

    /// The signer as locks name it: by its key, because every user calls labs as they like. Empty if there is none.
    pub fn signer(&self) -> String {
        match self {
            Trust::Signed { key, .. } => format!("minisign:{key}"),
            Trust::Shipped | Trust::Unsigned => String::new(),
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trust::Signed { lab, .. } => write!(f, "signed by {lab}"),
            Trust::Shipped => f.write_str("shipped"),
            Trust::Unsigned => f.write_str("unsigned"),
        }
    }
}

/// What is known of a file that was found, whose bytes have this manifest and hash.
///
/// Errs with P005 if the library is revoked, a signature does not count, or nobody vouches for what lies in another user's
/// folder; and with P006 if the library of an installed package is not the one that was packed. A trust store that cannot be
/// relied on is an error for all but the program's own plugins: whoever has changed those has changed the program.
pub fn judge(found: &Found, manifest: &Manifest, sha256: &str, store: &TrustStore) -> Result<Trust, PluginError> {
    let name = found.file.display().to_string();
    if found.package.is_none() && unsigned(&found.file) == Trust::Shipped {
        return match store.signatories() {
            Ok(_) => store.check_revoked(&name, sha256).map(|()| Trust::Shipped),
            Err(error) => {
                let warning =
                    format!("`{}`: {}; the program's own strategies need no trust store", error.plugin, error.message);
                // What cannot even be seen, in somebody else's home, is likely nothing.
                if store.is_in_reach() {
                    warn_once(warning)
                } else {
                    tracing::info!("{warning}")
                }
                Ok(Trust::Shipped)
            }
        };
    }
    let trust = judge_foreign(found, &name, manifest, sha256, store)?;
    match (found.of_user, &trust) {
        (Some(user), Trust::Unsigned) => {
            let message = format!("lies in a folder of user {user}, and no key vouches for it");
            let hint = format!("if you rely on that user, name the folder in {SAFE}");
            Err(PluginError::new(PluginCode::Signature, name, message).with_hint(hint))
        }
        _ => Ok(trust),
    }
}

/// The same for a file that did not come with the program.
fn judge_foreign(
    found: &Found,
    name: &str,
    manifest: &Manifest,
    sha256: &str,
    store: &TrustStore,
) -> Result<Trust, PluginError> {
    store.check_revoked(name, sha256)?;
    let Some(folder) = &found.package else { return Ok(Trust::Unsigned) };
    let unpacked = Unpacked::read(folder)?;
    let path = found.file.strip_prefix(folder).unwrap_or(&found.file).display().to_string();
    unpacked.check_file(name, &path, sha256.trim_start_matches("sha256:"))?;
    match &unpacked.signature {
        Some(signature) => store.vouch(&folder.display().to_string(), manifest, &unpacked.checksums, signature),
        None => Ok(Trust::Unsigned),
    }
}

/// The same for a package that is not installed.
pub fn judge_package(name: &str, package: &Package, store: &TrustStore) -> Result<Trust, PluginError> {
    store.check_revoked(name, &package.build.sha256)?;
    match package.signature() {
        Some(signature) => store.vouch(name, &package.manifest, package.checksums(), signature),
        None => Ok(Trust::Unsigned),
    }
}

/// Errs with P005 unless a package is signed with this very key, whatever else the trust store says.
pub fn check_key(name: &str, package: &Package, key: &Key) -> Result<(), PluginError> {
    let refuse = |message: String| {
        let error = PluginError::new(PluginCode::Signature, name, message);
        Err(error
            .with_hint("`--key` takes the public key of whoever signed the package: ask its author for one that fits"))
    };
    let Some(signature) = package.signature() else { return refuse("is not signed".to_owned()) };
    let signature = SignatureFile::parse(name, signature)?;
    match key.fits(&signature, package.checksums()) {
        true => Ok(()),
        false if signature.key == key.id => {
            refuse(format!("its signature with the key {} does not fit its content", key.id))
        }
        false => refuse(format!("is signed with the key {}, not with {}", signature.key, key.id)),
    }
}

/// What a look at a file finds, without running anything.
#[derive(Debug)]
pub struct Look {
    /// What it says of itself.
    pub manifest: Manifest,
    /// `sha256:` and the hash of its bytes.
    pub sha256: String,
    /// What is known of it.
    pub trust: Trust,
}

/// Read a file and judge it.
pub fn look(found: &Found, store: &TrustStore) -> Result<Look, PluginError> {
    let Content { manifest, sha256, .. } = Content::read(&found.file, None)?;
    let trust = judge(found, &manifest, &sha256, store)?;
    Ok(Look { manifest, sha256, trust })
}

/// What lies in the program's own folders came with it; a folder below them could be anybody's.
fn unsigned(file: &Path) -> Trust {
    let home = |file: &Path| Some(file.canonicalize().ok()?.parent()?.to_owned());
    let folders = program_folders().into_iter().filter_map(|folder| folder.canonicalize().ok());
    let shipped = home(file).is_some_and(|home| folders.into_iter().any(|folder| folder == home));
    if shipped { Trust::Shipped } else { Trust::Unsigned }
}

impl TrustStore {
    /// Errs with P005 if a lab says that this library must not be used any more.
    pub fn check_revoked(&self, name: &str, sha256: &str) -> Result<(), PluginError> {
        match self.signatories()?.iter().find(|signatory| signatory.revoked.iter().any(|hash| hash == sha256)) {
            Some(Signatory { lab, .. }) => {
                let message = format!("the trust file of `{lab}` revokes this library");
                Err(PluginError::new(PluginCode::Signature, name, message)
                    .with_hint("get a newer version of the plugin"))
            }
            None => Ok(()),
        }
    }

    /// Who signed these checksums; errs with P005 and says what is wrong if the signature does not count.
    fn vouch(&self, name: &str, manifest: &Manifest, checksums: &[u8], signature: &[u8]) -> Result<Trust, PluginError> {
        let signature = SignatureFile::parse(name, signature)?;
        let (id, plugin) = (&signature.key, manifest.full_name());
        let refuse =
            |message: String, hint: String| Err(PluginError::new(PluginCode::Signature, name, message).with_hint(hint));
        let known: Vec<(&Signatory, &Key)> =
            self.signatories()?.iter().filter_map(|known| Some((known, known.key_of(id)?))).collect();
        if known.is_empty() {
            let message = format!("is signed with the key {id}, which is not in the trust store");
            let names = suggested_names(manifest);
            let command = format!("coldstart plugin trust add LAB --key FILE.pub --names {names}");
            return refuse(message, format!("if you know whose key it is: `{command}`"));
        }
        let fits = |(_, key): &&(&Signatory, &Key)| key.fits(&signature, checksums);
        let fitting: Vec<&Signatory> = known.iter().filter(fits).map(|(known, _)| *known).collect();
        if let Some(known) = fitting.iter().find(|known| !known.has_expired() && known.may_sign(&plugin)) {
            return Ok(Trust::Signed { lab: known.lab.clone(), key: id.clone() });
        }
        let Some(first) = fitting.first() else {
            let message = format!("its signature with the key {id} does not fit its content");
            return refuse(message, PluginCode::Signature.hint().to_owned());
        };
        let (message, hint) = match fitting.iter().find(|known| !known.has_expired()) {
            Some(Signatory { lab, may_sign, file, .. }) => (
                format!("`{lab}` may sign {}, not `{plugin}`", may_sign.join(", ")),
                format!("if it should: add the name to `may_sign` in {}", file.display()),
            ),
            None => (
                format!("the key {id} of `{}` expired on {}", first.lab, first.expires.as_deref().unwrap_or_default()),
                format!("ask `{}` for a package signed with a newer key", first.lab),
            ),
        };
        refuse(message, hint)
    }
}

fn suggested_names(manifest: &Manifest) -> String {
    match manifest.publisher.as_str() {
        "" => manifest.name.clone(),
        publisher => format!("'{publisher}/*'"),
    }
}

#[cfg(test)]
mod tests;
