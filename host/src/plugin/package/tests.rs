use super::fixture::{library, library_for, manifest_json, package};
use super::*;
use crate::plugin::install::{install, uninstall};
use crate::plugin::trust::{Trust, TrustStore};

fn read(bytes: &[u8]) -> Result<Package, PluginError> {
    Package::read("x.csp", bytes)
}

#[test]
fn a_package_is_read_as_it_was_packed_and_packed_the_same_again() {
    for (publisher, name) in [("", "toy"), ("lab", "first-choice"), ("org.some-lab", "pt4al")] {
        let packed = package(publisher, name, "1.2.3-beta.1");
        let bytes = packed.to_bytes("x").unwrap();
        assert_eq!(bytes, package(publisher, name, "1.2.3-beta.1").to_bytes("x").unwrap());
        let again = read(&bytes).unwrap();
        assert_eq!(again, packed);
        assert_eq!(again.to_bytes("x").unwrap(), bytes);
        assert_eq!(again.file_name(), format!("{name}-1.2.3-beta.1-{}.csp", native_triple()));
        assert_eq!(again.build.cpu, build::cpu_levels(&native_triple())[0]);
        let paths: Vec<&str> = again.files().map(|(path, _)| path).collect();
        let (library, schema) = (library_path(name), schema_path(name));
        assert_eq!(paths, [CHECKSUMS, "LICENSE-MIT", README, library.as_str(), MANIFEST, schema.as_str()]);
    }
}

#[test]
fn a_package_of_another_machine_can_be_read() {
    let foreign = library_for(if cfg!(target_arch = "aarch64") { 62 } else { 183 }, &manifest_json("", "toy", "0.1.0"));
    let packed = Package::pack("toy.so", foreign, Extras::default()).unwrap();
    assert!(packed.build.triple != native_triple() && read(&packed.to_bytes("x").unwrap()).is_ok());
    assert_eq!(packed.build.check_machine("x").unwrap_err().code, PluginCode::Machine);
    let unknown = library_for(2, &manifest_json("", "toy", "0.1.0"));
    assert_eq!(Package::pack("toy.so", unknown, Extras::default()).unwrap_err().code, PluginCode::Machine);
}

#[test]
fn what_cannot_be_a_folder_or_a_level_is_not_packed() {
    for publisher in ["..", "a/b", "Lab", "a b", "lab.", "../../x"] {
        let library = library(&manifest_json(publisher, "toy", "0.1.0"));
        let error = Package::pack("toy.so", library, Extras::default()).unwrap_err();
        assert_eq!(error.code, PluginCode::Descriptor, "{publisher}");
    }
    let extras = Extras { cpu: Some("pentium".to_owned()), ..Extras::default() };
    let error = Package::pack("toy.so", library(&manifest_json("", "toy", "0.1.0")), extras).unwrap_err();
    assert_eq!(error.code, PluginCode::Machine);
}

/// Packages that are well-formed archives and lie: each change is made with or without new checksums.
#[test]
fn a_package_that_lies_is_refused() {
    type Change = fn(&mut Files);
    let replace = |files: &mut Files, path: &str, from: &str, to: &str| {
        let text = String::from_utf8(files[path].clone()).unwrap();
        assert!(text.contains(from), "{text}");
        files.insert(path.to_owned(), text.replace(from, to).into_bytes());
    };
    let rows: [(&str, PluginCode, bool, Change); 17] = [
        ("readme changed", PluginCode::Checksum, false, |f| drop(f.insert(README.into(), b"other".to_vec()))),
        ("readme gone", PluginCode::Checksum, false, |f| drop(f.remove(README))),
        ("library changed", PluginCode::Checksum, false, |f| f.get_mut(&library_path("toy")).unwrap().push(0)),
        ("file added", PluginCode::Checksum, false, |f| drop(f.insert("LICENSE-X".into(), b"x".to_vec()))),
        ("checksums gone", PluginCode::Library, false, |f| drop(f.remove(CHECKSUMS))),
        ("checksums garbled", PluginCode::Library, false, |f| drop(f.insert(CHECKSUMS.into(), b"\xff".to_vec()))),
        ("checksums empty", PluginCode::Checksum, false, |f| drop(f.insert(CHECKSUMS.into(), Vec::new()))),
        ("stray file", PluginCode::Library, true, |f| drop(f.insert("setup.sh".into(), b"x".to_vec()))),
        ("second library", PluginCode::Library, true, |f| drop(f.insert("lib/libother.so".into(), b"x".to_vec()))),
        ("manifest gone", PluginCode::Library, true, |f| drop(f.remove(MANIFEST))),
        ("manifest garbled", PluginCode::Library, true, |f| drop(f.insert(MANIFEST.into(), b"= 1".to_vec()))),
        ("no section build", PluginCode::Library, true, |f| drop(f.insert(MANIFEST.into(), b"a = 1".to_vec()))),
        ("library gone", PluginCode::Library, true, |f| drop(f.remove(&library_path("toy")))),
        ("schema gone", PluginCode::Library, true, |f| drop(f.remove(&schema_path("toy")))),
        ("schema changed", PluginCode::Descriptor, true, |f| drop(f.insert(schema_path("toy"), b"{}".to_vec()))),
        ("library no ELF", PluginCode::Library, true, |f| drop(f.insert(library_path("toy"), b"x".to_vec()))),
        ("library of another name", PluginCode::Descriptor, true, |f| {
            drop(f.insert(library_path("toy"), library(&manifest_json("lab", "other", "1.0.0"))))
        }),
    ];
    let good = package("lab", "toy", "1.0.0");
    let refused = |what: &str, code: PluginCode, anew: bool, change: &dyn Fn(&mut Files)| {
        let mut files = good.files.clone();
        change(&mut files);
        if anew {
            files.insert(CHECKSUMS.to_owned(), checksums::text(&files).into_bytes());
        }
        let error = read(&archive::encode(&files).unwrap()).expect_err(what);
        assert_eq!(error.code, code, "{what}: {error}");
    };
    for (what, code, anew, change) in rows {
        refused(what, code, anew, &change);
    }
    for (from, to, code) in [
        ("version = \"1.0.0\"", "version = \"1.0.1\"", PluginCode::Descriptor),
        ("publisher = \"lab\"", "publisher = \"lob\"", PluginCode::Descriptor),
        ("glibc = \"\"", "glibc = \"2.17\"", PluginCode::Descriptor),
        ("sha256:", "sha256:0", PluginCode::Descriptor),
        ("-unknown-linux-gnu", "-unknown-linux-musl", PluginCode::Descriptor),
        ("-v1\"", "-v9\"", PluginCode::Machine),
        ("[build]", "[build]\nextra = 1", PluginCode::Library),
    ] {
        if from == "-v1\"" && cfg!(not(target_arch = "x86_64")) {
            continue;
        }
        refused(to, code, true, &|files: &mut Files| replace(files, MANIFEST, from, to));
    }
}

#[test]
fn garbage_is_an_error_and_never_a_panic() {
    let good = package("lab", "toy", "1.0.0").to_bytes("x").unwrap();
    for length in [0, 1, 3, 4, 5, 6, 9, 20, good.len() / 2, good.len() - 1] {
        assert_eq!(read(&good[..length]).unwrap_err().code, PluginCode::Library, "{length}");
    }
    for at in (0..good.len()).step_by(7) {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        assert!(read(&flipped).is_err(), "byte {at}");
    }
}

fn store_with(folder: &Path, names: &[&str], expires: Option<&str>) -> (TrustStore, Signer) {
    let key = folder.join("lab.key");
    let public = new_keys(&key, "").unwrap();
    let public = Key::parse(&std::fs::read_to_string(public).unwrap()).unwrap();
    let mut store = TrustStore::at(&folder.join("trust"));
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    store.add("some-lab", public, &names, expires, false).unwrap();
    (store, Signer::read(&key, || unreachable!()).unwrap())
}

#[test]
fn versions_are_installed_side_by_side_and_come_off_again() {
    let home = tempfile::tempdir().unwrap();
    let into = home.path().join("plugins");
    let (store, signer) = store_with(home.path(), &["lab/*"], None);
    let mut signed = package("lab", "toy", "1.0.0");
    signed.sign(&signer).unwrap();
    let newer = package("lab", "toy", "1.1.0");
    let installed = install("x", &signed, &into, &store, false).unwrap();
    assert!(!installed.was_there && matches!(installed.trust, Trust::Signed { .. }));
    assert!(install("x", &signed, &into, &store, false).unwrap().was_there);
    // The same content without a signature takes the place of the signed one, and the other way round.
    let unsigned = package("lab", "toy", "1.0.0");
    assert!(!install("x", &unsigned, &into, &store, true).unwrap().was_there);
    assert!(!install("x", &signed, &into, &store, false).unwrap().was_there);
    let error = install("x", &newer, &into, &store, false).unwrap_err().to_string();
    assert!(error.contains("P005") && error.contains("is not signed"), "{error}");
    install("x", &newer, &into, &store, true).unwrap();
    // Another content under a version that is there.
    let extras = Extras::default();
    let other = Package::pack("x", library(&manifest_json("lab", "toy", "1.1.0")), extras).unwrap();
    let error = install("x", &other, &into, &store, true).unwrap_err().to_string();
    assert!(error.contains("P006") && error.contains("installed with another content"), "{error}");

    install("x", &package("", "toy", "1.1.0"), &into, &store, true).unwrap();
    for (name, gone) in [
        ("toy@=1.1.0", Err("P002")),
        ("other", Err("P001")),
        ("lab/toy@=1.1.0", Ok(1)),
        ("lab/toy@=1.1.0", Err("P001")),
        ("lab/toy", Ok(1)),
        ("toy", Ok(1)),
    ] {
        match (uninstall(name, &into), gone) {
            (Ok(folders), Ok(count)) => assert_eq!(folders.len(), count, "{name}"),
            (Err(error), Err(code)) => assert!(error.to_string().starts_with(code), "{error}"),
            (got, expected) => panic!("{name}: expected {expected:?}, got {got:?}"),
        }
    }
    let left: Vec<_> = std::fs::read_dir(&into).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".install.lock"], "a lock is never replaced nor removed");
}
