use super::*;
use crate::plugin::install::install;
use crate::plugin::package::fixture::package;
use crate::plugin::package::{Key, Signer, new_keys};
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder with a key pair for each name.
struct Keys {
    folder: TempDir,
}

impl Keys {
    fn new(names: &[&str]) -> Keys {
        let folder = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| drop(new_keys(&folder.path().join(name), "").unwrap()));
        Keys { folder }
    }

    fn public(&self, name: &str) -> Key {
        Key::parse(&std::fs::read_to_string(self.folder.path().join(name).with_extension("pub")).unwrap()).unwrap()
    }

    fn signed(&self, name: &str) -> Package {
        let mut package = package("lab", "toy", "1.0.0");
        package.sign(&Signer::read(&self.folder.path().join(name), || unreachable!()).unwrap()).unwrap();
        package
    }

    fn store(&self, entries: &[(&str, &str, &str, Option<&str>)]) -> TrustStore {
        let mut store = TrustStore::at(&self.folder.path().join("trust"));
        let known: Vec<String> = store.signatories().unwrap().iter().map(|known| known.lab.clone()).collect();
        known.iter().for_each(|lab| drop(store.remove(lab)));
        for (lab, key, pattern, expires) in entries {
            store.add(lab, self.public(key), &[(*pattern).to_owned()], *expires, false).unwrap();
        }
        store
    }
}

#[test]
fn a_signature_counts_only_if_everything_about_it_does() {
    let keys = Keys::new(&["ours", "theirs"]);
    let signed = keys.signed("ours");
    for (entries, expected) in [
        (&[("some-lab", "ours", "lab/*", None)][..], Ok("some-lab")),
        (&[("some-lab", "ours", "lab/toy", Some("2999-12-31"))], Ok("some-lab")),
        (&[("old", "ours", "lab/*", Some("2001-01-01")), ("new", "ours", "*/toy", None)], Ok("new")),
        (&[("a", "theirs", "*/*", None), ("b", "ours", "lab/toy", None)], Ok("b")),
        (&[], Err("which is not in the trust store")),
        (&[("a", "theirs", "lab/*", None)], Err("which is not in the trust store")),
        (&[("a", "ours", "lab/*", Some("2001-01-01"))], Err("of `a` expired on 2001-01-01")),
        (&[("a", "ours", "other/*", None)], Err("`a` may sign other/*, not `lab/toy`")),
        (&[("a", "ours", "toy", None)], Err("`a` may sign toy, not `lab/toy`")),
    ] {
        let trust = judge_package("toy.csp", &signed, &keys.store(entries));
        match (trust, expected) {
            (Ok(Trust::Signed { lab, key }), Ok(expected)) => {
                assert_eq!((lab.as_str(), key), (expected, keys.public("ours").id));
            }
            (Err(error), Err(expected)) => {
                assert_eq!(error.code, PluginCode::Signature);
                assert!(error.message.contains(expected), "{}", error.message);
                assert_ne!(error.hint, PluginCode::Signature.hint(), "{expected}");
            }
            (trust, expected) => panic!("expected {expected:?}, got {trust:?}"),
        }
    }
    let unsigned = package("lab", "toy", "1.0.0");
    assert_eq!(judge_package("toy.csp", &unsigned, &keys.store(&[])).unwrap(), Trust::Unsigned);
}

#[test]
fn a_revoked_library_is_refused_whoever_signed_it() {
    let keys = Keys::new(&["ours", "theirs"]);
    let store = keys.store(&[("a", "ours", "lab/*", None), ("b", "theirs", "b/*", None)]);
    let file = store.signatories().unwrap()[1].file.clone();
    let signed = keys.signed("ours");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}revoked = [\"{}\"]\n", signed.build.sha256)).unwrap();
    let store = TrustStore::at(&keys.folder.path().join("trust"));
    for package in [signed, package("lab", "toy", "1.0.0")] {
        let error = judge_package("toy.csp", &package, &store).unwrap_err();
        assert!(error.code == PluginCode::Signature && error.message.contains("trust file of `b` revokes"), "{error}");
    }
}

/// What is installed is judged again each time it is found.
#[test]
fn an_installed_package_that_was_changed_is_refused() {
    type Change = fn(&Path);
    let rows: [(&str, Option<PluginCode>, Change); 10] = [
        ("nothing", None, |_| ()),
        ("readme", None, |f| std::fs::write(f.join("README.md"), "other").unwrap()),
        ("library", Some(PluginCode::Checksum), |f| append(f.join("lib/libcoldstart_toy.so"))),
        ("manifest", Some(PluginCode::Checksum), |f| append(f.join("manifest.toml"))),
        ("checksums", Some(PluginCode::Library), |f| append(f.join("CHECKSUMS"))),
        ("checksum of the readme", Some(PluginCode::Signature), |f| {
            let text = std::fs::read_to_string(f.join("CHECKSUMS")).unwrap();
            let other: String =
                text.lines().filter(|line| !line.ends_with("README.md")).map(|line| line.to_owned() + "\n").collect();
            std::fs::write(f.join("CHECKSUMS"), other).unwrap();
        }),
        ("signature", Some(PluginCode::Signature), |f| std::fs::write(f.join("CHECKSUMS.minisig"), "x").unwrap()),
        ("signature emptied", Some(PluginCode::Signature), |f| {
            std::fs::write(f.join("CHECKSUMS.minisig"), "").unwrap()
        }),
        ("signature a folder", Some(PluginCode::Library), |f| {
            std::fs::remove_file(f.join("CHECKSUMS.minisig")).unwrap();
            std::fs::create_dir(f.join("CHECKSUMS.minisig")).unwrap();
        }),
        ("no checksums", Some(PluginCode::Library), |f| std::fs::remove_file(f.join("CHECKSUMS")).unwrap()),
    ];
    let keys = Keys::new(&["ours"]);
    let store = keys.store(&[("a", "ours", "lab/*", None)]);
    let signed = keys.signed("ours");
    for (what, expected, change) in rows {
        let home = tempfile::tempdir().unwrap();
        let folder = install("toy.csp", &signed, home.path(), &store, false).unwrap().folder;
        change(&folder);
        let found = Found { file: folder.join("lib/libcoldstart_toy.so"), package: Some(folder), of_user: None };
        let looked = look(&found, &store);
        match expected {
            None => assert!(matches!(looked.unwrap().trust, Trust::Signed { .. }), "{what}"),
            Some(code) => assert_eq!(looked.expect_err(what).code, code, "{what}"),
        }
    }
}

fn append(file: PathBuf) {
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(file, [bytes.as_slice(), b"\n"].concat()).unwrap();
}

#[test]
fn a_bare_library_is_shipped_only_beside_the_program() {
    let program = std::env::current_exe().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("libx.so");
    std::fs::write(elsewhere.path().join("liby.so"), "").unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("liby.so"), &link).unwrap();
    for (file, expected) in
        [(&program, Trust::Shipped), (&link, Trust::Unsigned), (&PathBuf::from("/none.so"), Trust::Unsigned)]
    {
        assert_eq!(unsigned(file), expected, "{}", file.display());
    }
}
