//! Signatures over `CHECKSUMS` and their keys, in the formats of minisign.

use super::PackageError;
use crate::plugin::authority::{self, Doubt};
use crate::plugin::error::{PluginCode, PluginError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minisign::{KeyPair, SecretKey, SecretKeyBox};
use minisign_verify::{PublicKey, Signature};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of a key or a signature that nobody exceeds.
const LONGEST: usize = 8 << 10;
/// What the first line of a key and of a signature begins with.
const COMMENT: &str = "untrusted comment:";
/// Bytes of a secret key, hidden by a password or not.
const SECRET_KEY_BYTES: usize = 158;

/// A public key.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its number as minisign shows it, in upper-case hex.
    pub id: String,
    /// The key as it stands in the second line of a `.pub` file.
    pub text: String,
    key: PublicKey,
}

impl Key {
    /// A key from its text, or from the content of a `.pub` file; errs with what is wrong. A file that holds more than a comment
    /// and one key is none: which key is meant would be a guess.
    pub fn parse(text: &str) -> Result<Key, String> {
        let lines: Vec<&str> = text.trim().lines().collect();
        let text = match lines[..] {
            [key] => key,
            [comment, key] if comment.starts_with(COMMENT) => key,
            _ => return Err("is no public key of minisign: a comment and one key".to_owned()),
        };
        let key = PublicKey::from_base64(text).map_err(|_| "is no public key of minisign".to_owned())?;
        let id = key_id(text).ok_or("is no public key of minisign")?;
        Ok(Key { id, text: text.to_owned(), key })
    }

    /// Whether the signature was made with this key over these bytes.
    pub fn fits(&self, signature: &SignatureFile, bytes: &[u8]) -> bool {
        self.key.verify(bytes, &signature.signature, false).is_ok()
    }
}

/// The content of a `.minisig` file.
pub struct SignatureFile {
    /// The number of the key that it names.
    pub key: String,
    /// What its signer says in it; true only if the signature fits.
    pub comment: String,
    signature: Signature,
}

impl SignatureFile {
    /// Errs with P005 if it is no signature, or if anything stands in it beside the four lines of one. Never panics.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<SignatureFile, PluginError> {
        let refuse = || PluginError::new(PluginCode::Signature, name, "its signature is not one of minisign");
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= LONGEST).ok_or_else(refuse)?;
        let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
        let [comment, over_content, trusted, over_comment] = lines[..] else { return Err(refuse()) };
        let is_text = |line: &str| !line.contains(|c: char| c.is_control() && c != '\t');
        let comments = comment.starts_with(COMMENT) && is_text(comment) && is_text(trusted);
        if !comments || !is_canonical(over_content) || !is_canonical(over_comment) {
            return Err(refuse());
        }
        let signature = Signature::decode(text).map_err(|_| refuse())?;
        let key = key_id(over_content).ok_or_else(refuse)?;
        Ok(SignatureFile { key, comment: signature.trusted_comment().to_owned(), signature })
    }
}

/// Whether a line is base64 in the one way that its bytes are written.
fn is_canonical(line: &str) -> bool {
    STANDARD.decode(line).is_ok_and(|bytes| STANDARD.encode(bytes) == line)
}

/// Keys and signatures begin with two letters and the key's number, lowest byte first.
fn key_id(base64: &str) -> Option<String> {
    let bytes = STANDARD.decode(base64.trim()).ok()?;
    let id: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
    Some(format!("{:016X}", u64::from_le_bytes(id)))
}

/// A secret key that is ready to sign.
pub struct Signer {
    key: SecretKey,
}

impl Signer {
    /// The key in a file as minisign writes it; `password` is asked for only if the key has one.
    pub fn read(file: &Path, password: impl FnOnce() -> std::io::Result<String>) -> Result<Signer, PackageError> {
        let doubtful = |doubt: Doubt| {
            let message = format!("this secret key cannot be relied on: {doubt}");
            PluginError::new(PluginCode::Signature, file.display().to_string(), message).with_hint(doubt.hint())
        };
        authority::check(file).map_err(doubtful)?;
        let text = std::fs::read_to_string(file).map_err(PackageError::file("read", file))?;
        let refuse = |problem: &str| PluginError::new(PluginCode::Signature, file.display().to_string(), problem);
        let bytes = text.lines().nth(1).and_then(|line| STANDARD.decode(line.trim()).ok()).unwrap_or_default();
        if bytes.len() != SECRET_KEY_BYTES {
            let hint =
                "name your secret key, as `plugin keys new` or minisign wrote it, not the file that ends in `.pub`";
            return Err(refuse("is no secret key of minisign").with_hint(hint).into());
        }
        // Two letters name the signature's algorithm; the next two say how the key is hidden, zeros that it is not. Such a
        // key is taken as it is: minisign writes it without a checksum, and `sign` finds one that is damaged.
        let key = if bytes[2..4] == [0, 0] {
            // Nothing else guards it.
            authority::check_secret(file).map_err(doubtful)?;
            SecretKey::from_bytes(&bytes)
        } else {
            let password = password().map_err(PackageError::file("ask for the password of", file))?;
            SecretKeyBox::from(text).into_secret_key(Some(password))
        };
        let key = key.map_err(|error| {
            refuse(&format!("cannot be used: {error}"))
                .with_hint("is the password right? It is asked for on a terminal, or taken from COLDSTART_KEY_PASSWORD")
        })?;
        Ok(Signer { key })
    }

    /// A signature over the hash of these bytes; `comment` is signed too.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> Result<Vec<u8>, PluginError> {
        let untrusted = Some("signature of a Coldstart plugin");
        let signed = minisign::PublicKey::from_secret_key(&self.key)
            .and_then(|public| minisign::sign(Some(&public), &self.key, bytes, Some(comment), untrusted));
        signed.map(|signature| signature.to_string().into_bytes()).map_err(|error| {
            let error = PluginError::new(PluginCode::Signature, comment, format!("cannot be signed: {error}"));
            error.with_hint(
                "your secret key is damaged: bring it back as it was, or make another with `plugin keys new`",
            )
        })
    }
}

/// Make a key pair: the secret key in `file`, which only its owner can read, the public one beside it in a `.pub` file,
/// which is returned. Without a password the secret key lies open. Errs if one of the files is there already.
pub fn new_keys(file: &Path, password: &str) -> Result<PathBuf, PackageError> {
    let public = file.with_extension("pub");
    let refuse = |error: minisign::PError| {
        PluginError::new(PluginCode::Signature, file.display().to_string(), format!("no key could be made: {error}"))
            .with_hint("try again, or make the key with minisign")
    };
    let pair = match password {
        "" => KeyPair::generate_unencrypted_keypair(),
        password => KeyPair::generate_encrypted_keypair(Some(password.to_owned())),
    };
    let pair = pair.map_err(refuse)?;
    let secret_text = pair.sk.to_box(Some("secret key of minisign, for Coldstart plugins")).map_err(refuse)?;
    let public_text = pair.pk.to_box().map_err(refuse)?;
    write_new(file, 0o600, &secret_text.to_bytes())?;
    let written = write_new(&public, 0o644, &public_text.to_bytes());
    if written.is_err() {
        // Half a pair is of no use, and would stand in the way of the next attempt.
        std::fs::remove_file(file).map_err(PackageError::file("remove", file))?;
    }
    written.map(|()| public)
}

fn write_new(file: &Path, mode: u32, bytes: &[u8]) -> Result<(), PackageError> {
    let created = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    created.and_then(|mut new| new.write_all(bytes)).map_err(PackageError::file("write", file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unasked() -> std::io::Result<String> {
        panic!("this key has no password")
    }

    #[test]
    fn what_is_signed_fits_its_own_key_and_bytes_only() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("ours.key"), folder.path().join("theirs.key"));
        let public = |file: &Path, password: &str| {
            Key::parse(&std::fs::read_to_string(new_keys(file, password).unwrap()).unwrap()).unwrap()
        };
        let (our_key, their_key) = (public(&ours, ""), public(&theirs, "hunter2"));
        let signer = Signer::read(&ours, unasked).unwrap();
        let signed = signer.sign(b"content", "plugin:x").unwrap();
        let signature = SignatureFile::parse("x", &signed).unwrap();
        assert_eq!((&signature.key, signature.comment.as_str()), (&our_key.id, "plugin:x"));
        assert!(our_key.fits(&signature, b"content"));
        assert!(!our_key.fits(&signature, b"Content") && !their_key.fits(&signature, b"content"));

        assert!(Signer::read(&theirs, || Ok("hunter3".to_owned())).is_err());
        assert!(Signer::read(&theirs, || Ok("hunter2".to_owned())).is_ok());
        assert!(Signer::read(&folder.path().join("ours.pub"), unasked).is_err());
        // Neither half of a pair is written over.
        assert!(new_keys(&ours, "").is_err());
        std::fs::remove_file(&ours).unwrap();
        assert!(new_keys(&ours, "").is_err() && !ours.exists());
    }

    #[test]
    fn a_changed_signature_fits_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.key");
        let key = Key::parse(&std::fs::read_to_string(new_keys(&file, "").unwrap()).unwrap()).unwrap();
        let signed = Signer::read(&file, unasked).unwrap().sign(b"content", "x").unwrap();
        let trusted = signed.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in trusted..signed.len() {
            let mut changed = signed.clone();
            changed[at] ^= 1;
            let read = SignatureFile::parse("x", &changed);
            assert!(read.is_err() || !key.fits(&read.unwrap(), b"content"), "byte {at}");
        }
        for end in 0..signed.len() - 1 {
            let read = SignatureFile::parse("x", &signed[..end]);
            assert!(read.is_err() || !key.fits(&read.unwrap(), b"content"), "{end} bytes");
        }
    }

    #[test]
    fn nothing_that_no_signature_covers_stands_in_a_signature() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.key");
        new_keys(&file, "").unwrap();
        let signed = Signer::read(&file, unasked).unwrap().sign(b"content", "x").unwrap();
        let text = String::from_utf8(signed).unwrap();
        assert!(SignatureFile::parse("x", text.as_bytes()).is_ok());
        assert!(SignatureFile::parse("x", text.trim_end().as_bytes()).is_ok());
        let lines: Vec<&str> = text.lines().collect();
        let with_line = |i: usize, line: String| {
            let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            changed[i] = line;
            changed.join("\n") + "\n"
        };
        for more in [
            format!("{text}\n"),
            format!("{text}more"),
            format!("{text}{text}"),
            format!("{text}\0"),
            format!("\n{text}"),
            text.replace('\n', "\r\n"),
            with_line(0, "no comment".to_owned()),
            with_line(0, format!("{}\u{1b}[2J", lines[0])),
            with_line(1, format!("{} ", lines[1])),
            with_line(3, format!(" {}", lines[3])),
            with_line(3, format!("{}=", lines[3])),
        ] {
            assert!(SignatureFile::parse("x", more.as_bytes()).is_err(), "{more:?}");
        }
    }

    #[test]
    fn the_number_of_a_key_is_the_one_that_minisign_shows() {
        // The key in the documentation of minisign.
        let key = Key::parse("RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3").unwrap();
        assert_eq!(key.id, "E7620F1842B4E81F");
        for text in ["", "x", "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO", "untrusted comment: x\n"] {
            assert!(Key::parse(text).is_err(), "{text}");
        }
        let file = format!("untrusted comment: x\n{}\n", key.text);
        assert_eq!(Key::parse(&file).unwrap(), key);
        for more in [format!("{file}{}\n", key.text), format!("{}\n{}", key.text, key.text), format!("{file}more")] {
            assert!(Key::parse(&more).is_err(), "{more}");
        }
    }
}
