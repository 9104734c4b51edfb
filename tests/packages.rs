//! Packages through the real program: packed, signed, handed over, installed, run, locked; and what must be refused, without
//! a trace anywhere.

use coldstart_tests::{Lab, Ran, TINY, files_under, library, repository};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What stands behind the compressed part: a frame to be skipped, with the hash of what is before it.
const HASH_FRAME: [u8; 8] = [0x50, 0x2a, 0x4d, 0x18, 32, 0, 0, 0];

fn sealed(frame: Vec<u8>) -> Vec<u8> {
    let hash = Sha256::digest(&frame);
    [frame.as_slice(), &HASH_FRAME, &hash].concat()
}

fn packed(tar: &[u8]) -> Vec<u8> {
    sealed(zstd::bulk::compress(tar, 3).unwrap())
}

/// The tar in a package.
fn tar_of(package: &Path) -> Vec<u8> {
    let bytes = std::fs::read(package).unwrap();
    zstd::bulk::decompress(&bytes[..bytes.len() - 40], 64 << 20).unwrap()
}

/// The files of a package.
fn content(package: &Path) -> BTreeMap<String, Vec<u8>> {
    let tar = tar_of(package);
    let mut archive = tar::Archive::new(tar.as_slice());
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let (mut entry, mut bytes) = (entry.unwrap(), Vec::new());
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    };
    archive.entries().unwrap().map(read).collect()
}

/// `margin` with another version written into it; what it says once loaded changes with its manifest.
fn margin(version: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(library("margin")).unwrap();
    let (from, to) = ("\"version\":\"0.2.0\"", format!("\"version\":\"{version}\""));
    assert_eq!(from.len(), to.len());
    let places: Vec<_> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at..][..to.len()].copy_from_slice(to.as_bytes()));
    bytes
}

/// Relocations that mean the same, as x86-64 and AArch64 call them: an address, an import's, a function's, a place, and thread-local ones.
const RELOCATIONS: [(u32, u32); 7] = [(1, 257), (6, 1025), (7, 1026), (8, 1027), (16, 1028), (17, 1029), (18, 1030)];

/// Has a library's relocations called as the other machine calls them.
fn rename_relocations(bytes: &mut [u8]) {
    const SHT_RELA: u32 = 4;
    const RELA_BYTES: usize = 24;
    let u64_at = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..][..8].try_into().unwrap()) as usize;
    let u32_at = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..][..4].try_into().unwrap());
    let (headers, n_headers) = (u64_at(bytes, 0x28), bytes[0x3c] as usize);
    let is_x86 = RELOCATIONS.map(|(x86, _)| x86);
    for header in (0..n_headers).map(|i| headers + 64 * i) {
        if u32_at(bytes, header + 4) != SHT_RELA {
            continue;
        }
        let (offset, size) = (u64_at(bytes, header + 0x18), u64_at(bytes, header + 0x20));
        for entry in (offset..offset + size).step_by(RELA_BYTES) {
            let kind = u32_at(bytes, entry + 8);
            let named = RELOCATIONS.iter().find(|(x86, arm)| [*x86, *arm].contains(&kind));
            let (x86, arm) = *named.expect("a relocation that is known");
            let other = if is_x86.contains(&kind) { arm } else { x86 };
            bytes[entry + 8..][..4].copy_from_slice(&other.to_le_bytes());
        }
    }
}

/// Pack a version of `margin` into the lab's folder `out`.
fn pack(lab: &Lab, version: &str) -> PathBuf {
    let library = lab.write(&format!("built/{version}/libcoldstart_margin.so"), margin(version));
    pack_file(lab, &library)
}

fn pack_file(lab: &Lab, library: &Path) -> PathBuf {
    let license = repository().join("LICENSE-MIT");
    let readme = repository().join("README.md");
    std::fs::create_dir_all(lab.path("out")).unwrap();
    let args = ["plugin", "pack", text(library), "--license", text(&license), "--readme", text(&readme), "-o", "out"];
    lab.path(lab.coldstart(&args).exits(0).stdout.trim())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A key pair in the lab, without a password.
fn keys(lab: &Lab, name: &str) {
    lab.coldstart(&["plugin", "keys", "new", &format!("{name}.key"), "--no-password"]).exits(0);
}

fn sign(lab: &Lab, package: &Path, key: &str) {
    lab.coldstart(&["plugin", "sign", text(package), "--key", &format!("{key}.key")]).exits(0);
}

fn trust(lab: &Lab, name: &str, key: &str, rest: &[&str]) {
    let key = format!("{key}.pub");
    let add = ["plugin", "trust", "add", name, "--key", key.as_str(), "--names"];
    lab.coldstart(&[&add[..], rest].concat()).exits(0);
}

fn install(lab: &Lab, package: &Path) -> Ran {
    let mut command = lab.command(&["plugin", "install", text(package)]);
    Ran::of(command.env_remove("COLDSTART_ALLOW_UNSIGNED").output().unwrap())
}

/// Every file and folder of the lab, links not followed.
fn snapshot(lab: &Lab) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![lab.path("")];
    while let Some(folder) = waiting.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                waiting.push(path.clone());
            }
            let bytes = kind.is_file().then(|| std::fs::read(&path).unwrap());
            all.insert(path, bytes);
        }
    }
    all
}

/// Refused by all that reads packages, with one of these codes, and nothing on disk is other than before.
#[track_caller]
fn refused(lab: &Lab, package: &Path, codes: &[&str], sentence: &str) {
    let before = snapshot(lab);
    for args in [
        &["plugin", "install", text(package), "--allow-unsigned"][..],
        &["plugin", "verify", text(package), "--key", "lab.pub"],
        &["plugin", "info", text(package)],
    ] {
        let ran = lab.coldstart(args);
        ran.exits(3).says_one_problem().says(sentence).says("help:");
        assert!(codes.iter().any(|code| ran.stderr.contains(code)), "expected {codes:?} in\n{}", ran.stderr);
    }
    assert!(snapshot(lab) == before, "something was written");
}

#[test]
fn packing_the_same_library_twice_gives_the_same_bytes() {
    let lab = Lab::new();
    let first = std::fs::read(pack(&lab, "0.2.0")).unwrap();
    let elsewhere = lab.write("other/place/libmargin.so", margin("0.2.0"));
    let second = pack_file(&lab, &elsewhere);
    assert_eq!(std::fs::read(&second).unwrap(), first);
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    assert!(second.ends_with(format!("margin-0.2.0-{triple}.csp")), "{}", second.display());
    let content = content(&second);
    let names: Vec<&str> = content.keys().map(String::as_str).collect();
    let expected =
        ["CHECKSUMS", "LICENSE-MIT", "README.md", "lib/libcoldstart_margin.so", "manifest.toml", "schema/margin.json"];
    assert_eq!(names, expected);
    let manifest = String::from_utf8_lossy(&content["manifest.toml"]).into_owned();
    for line in ["publisher = \"coldstart\"", "glibc = \"2.", &format!("triple = \"{triple}\"")] {
        assert!(manifest.contains(line), "{manifest}");
    }
    let bare = lab.coldstart(&["plugin", "pack", text(&elsewhere)]);
    bare.exits(0).says("the package holds no licence");
}

#[test]
fn readme_and_licences_are_found_in_the_crate() {
    let lab = Lab::new();
    lab.write("crate/Cargo.toml", "[package]\nname = \"some-margin\"\n");
    lab.write("crate/README.md", "# Margin\n");
    lab.write("crate/LICENSE-MIT", "MIT\n");
    let library = lab.write("libcoldstart_margin.so", margin("0.2.0"));
    let here = lab.command(&["plugin", "pack", text(&library)]).current_dir(lab.path("crate")).output().unwrap();
    let here = Ran::of(here);
    assert!(!here.exits(0).stderr.contains("no licence"), "{}", here.stderr);
    let file = lab.path("crate").join(here.stdout.trim());
    assert!(content(&file).contains_key("LICENSE-MIT") && content(&file).contains_key("README.md"));
    let named = lab.coldstart(&["plugin", "pack", text(&library), "--crate", "crate"]);
    assert_eq!(std::fs::read(lab.path(named.exits(0).stdout.trim())).unwrap(), std::fs::read(file).unwrap());
    // The crate of another plugin has another readme.
    lab.write("crate/Cargo.toml", "[package]\nname = \"entropy\"\n");
    let here = lab.command(&["plugin", "pack", text(&library)]).current_dir(lab.path("crate")).output().unwrap();
    Ran::of(here).exits(0).says("the package holds no licence");
}

#[test]
fn any_tar_unpacks_a_package_and_sha256sum_checks_it() {
    let lab = Lab::new();
    let package = pack(&lab, "0.2.0");
    std::fs::create_dir(lab.path("unpacked")).unwrap();
    let zstd = Command::new("zstd").arg("-dc").arg(&package).output();
    let Ok(zstd) = zstd else {
        eprintln!("skipped: zstd is not installed");
        return;
    };
    assert!(zstd.status.success(), "{}", String::from_utf8_lossy(&zstd.stderr));
    lab.write("package.tar", zstd.stdout);
    let in_folder = |program: &str, args: &[&str]| {
        let done = Command::new(program).args(args).current_dir(lab.path("unpacked")).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    in_folder("tar", &["xf", "../package.tar"]);
    in_folder("sha256sum", &["-c", "CHECKSUMS"]);
}

/// From the author's desk to a run on a machine that knows nothing but the lab's public key.
#[test]
fn a_signed_package_is_installed_run_and_removed() {
    let lab = Lab::new();
    keys(&lab, "lab");
    let package = pack(&lab, "0.3.0");
    install(&lab, &package).exits(3).says_one_problem().says("P005").says("is not signed").says("--allow-unsigned");
    sign(&lab, &package, "lab");
    install(&lab, &package).exits(3).says("P005").says("not in the trust store").says("plugin trust add LAB");
    lab.coldstart(&["plugin", "verify", text(&package)]).exits(3).says("P005");
    lab.coldstart(&["plugin", "verify", text(&package), "--key", "lab.pub"]).exits(0);
    trust(&lab, "some-lab", "lab", &["coldstart/*"]);
    let verified = lab.coldstart(&["plugin", "verify", text(&package)]);
    assert!(verified.exits(0).stdout.contains("signed by some-lab"), "{}", verified.stdout);

    let installed = install(&lab, &package);
    installed.exits(0).says("coldstart/margin 0.3.0, signed by some-lab: installed");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let folder = lab.path("home/data/coldstart/plugins/coldstart.margin/0.3.0").join(triple);
    assert_eq!(PathBuf::from(installed.stdout.trim()), folder);
    let before = snapshot(&lab);
    install(&lab, &package).exits(0).says("was there");
    assert!(snapshot(&lab) == before);

    let listed = lab.coldstart(&["plugin", "list", "--json"]).json();
    let row = listed.as_array().unwrap().iter().find(|row| row["manifest"]["version"] == "0.3.0").unwrap();
    assert_eq!((row["trust"]["lab"].as_str(), row["package"].as_str()), (Some("some-lab"), folder.to_str()));
    let shown = lab.coldstart(&["plugin", "info", text(&package)]);
    for part in ["signed by some-lab", "2.", "sha256:", "coldstart/margin 0.3.0"] {
        assert!(shown.exits(0).stdout.contains(part), "{}", shown.stdout);
    }
    lab.run("run", &["query.strategy=coldstart/margin", "query.rounds=1"]).exits(0);
    let lock = std::fs::read_to_string(lab.path("run/plugins.lock")).unwrap();
    assert!(lock.contains(text(&folder)) && lock.contains("signer = \"minisign:"), "{lock}");

    // The signature is held against the trust store at each start.
    lab.coldstart(&["plugin", "trust", "remove", "some-lab"]).exits(0);
    lab.run("distrusted", &["query.strategy=margin"]).exits(3).says_one_problem().says("P005");
    lab.coldstart(&["plugin", "uninstall", "margin@=0.3.0"]).exits(0);
    // A lock is never removed: somebody may wait for it.
    assert_eq!(files_under(&lab.path("home/data")), [lab.path("home/data/coldstart/plugins/.install.lock")]);
    lab.run("shipped", &["query.strategy=margin", "query.rounds=1"]).exits(0);
    lab.coldstart(&["plugin", "uninstall", "margin"]).exits(3).says("P001");
}

#[test]
fn one_flipped_bit_anywhere_is_found() {
    let lab = Lab::new();
    keys(&lab, "lab");
    let package = pack(&lab, "0.2.0");
    sign(&lab, &package, "lab");
    let good = std::fs::read(&package).unwrap();
    let bits = 8 * good.len();
    let places = [0, 7, 33, 40, 64, bits / 2, bits - 1, bits - 300, bits - 330].into_iter();
    for bit in places.chain((100..bits).step_by(bits / 40)) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let damaged = lab.write("damaged.csp", flipped);
        let before = snapshot(&lab);
        let ran = lab.coldstart(&["plugin", "install", text(&damaged), "--allow-unsigned"]);
        ran.exits(3).says_one_problem();
        assert!(["P006", "P009"].iter().any(|code| ran.stderr.contains(code)), "bit {bit}: {}", ran.stderr);
        assert!(snapshot(&lab) == before, "bit {bit}");
    }
}

/// An installed file is held against its package each time it is used.
#[test]
fn a_flipped_bit_in_an_installed_package_is_found() {
    let lab = Lab::new();
    keys(&lab, "lab");
    trust(&lab, "some-lab", "lab", &["*/*"]);
    let package = pack(&lab, "0.3.0");
    sign(&lab, &package, "lab");
    let folder = PathBuf::from(install(&lab, &package).exits(0).stdout.trim());
    for (file, code) in [("lib/libcoldstart_margin.so", "P006"), ("manifest.toml", "P006"), ("CHECKSUMS", "P005")] {
        let path = folder.join(file);
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        // In the README's line of the checksums; anywhere in the others.
        let at = good.windows(9).position(|part| part == b"README.md").map_or(good.len() - 2, |at| at - 10);
        flipped[at] = if flipped[at] == b'0' { b'1' } else { b'0' };
        std::fs::write(&path, &flipped).unwrap();
        lab.run("run", &["query.strategy=margin"]).exits(3).says_one_problem().says(code);
        assert!(!lab.path("run").exists(), "{file}");
        std::fs::write(&path, good).unwrap();
    }
    lab.run("run", &["query.strategy=margin", "query.rounds=1"]).exits(0);
}

/// A header that the tar crate would not write by itself.
fn header(path: &[u8], kind: tar::EntryType, size: u64, link: &str) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path);
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    [tar::Header::set_mtime, tar::Header::set_uid, tar::Header::set_gid].iter().for_each(|set| set(&mut header, 0));
    header.set_cksum();
    header
}

/// A good tar with one more entry at its end.
fn with_entry(tar: &[u8], header: &tar::Header, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(tar[..tar.len() - 1024].to_vec());
    builder.append(header, content).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn an_archive_that_plays_tricks_is_refused_and_nothing_is_written() {
    use tar::EntryType::{Block, Char, Directory, Fifo, GNULongName, GNUSparse, Link, Regular, Symlink, XHeader};
    let lab = Lab::new();
    keys(&lab, "lab");
    let good = tar_of(&pack(&lab, "0.2.0"));
    let escaped = lab.path("escaped").display().to_string();
    for (path, kind, link, sentence) in [
        ("../escaped", Regular, "", "the path `../escaped`"),
        ("lib/../../escaped", Regular, "", "the path `lib/../../escaped`"),
        (escaped.as_str(), Regular, "", "which is not allowed"),
        ("./README.md", Regular, "", "the path `./README.md`"),
        ("LICENSE\\..\\x", Regular, "", "which is not allowed"),
        ("LICENSE", Symlink, "/etc/passwd", "no regular file"),
        ("lib/libcoldstart_x.so", Symlink, "../../../escaped", "no regular file"),
        ("LICENSE", Link, "README.md", "no regular file"),
        ("LICENSE", Char, "", "no regular file"),
        ("LICENSE", Block, "", "no regular file"),
        ("LICENSE", Fifo, "", "no regular file"),
        ("lib", Directory, "", "no regular file"),
        ("LICENSE", GNULongName, "", "no regular file"),
        ("LICENSE", GNUSparse, "", "no regular file"),
        ("LICENSE", XHeader, "", "no regular file"),
        ("README.md", Regular, "", "holds `README.md` twice"),
        ("LICENSE", Regular, "", "is not in the one form"),
    ] {
        let tar = with_entry(&good, &header(path.as_bytes(), kind, 0, link), b"");
        refused(&lab, &lab.write("bad.csp", packed(&tar)), &["P009"], sentence);
        assert!(!lab.path("escaped").exists() && !lab.path("../escaped").exists());
    }
    let huge = with_entry(&good, &header(b"LICENSE", Regular, 1 << 32, ""), b"");
    refused(&lab, &lab.write("bad.csp", packed(&huge)), &["P009"], "claims 4294967296 bytes");
    let bomb = with_entry(&good, &header(b"LICENSE", Regular, 60 << 20, ""), &vec![0; 60 << 20]);
    refused(&lab, &lab.write("bad.csp", packed(&bomb)), &["P009"], "claims");
    let many = (0..40)
        .fold(good.clone(), |tar, i| with_entry(&tar, &header(format!("LICENSE-{i}").as_bytes(), Regular, 0, ""), b""));
    refused(&lab, &lab.write("bad.csp", packed(&many)), &["P009"], "more than 32 files");
    let frame = zstd::bulk::compress(&good, 3).unwrap();
    let whole = packed(&good);
    for (what, bytes, codes) in [
        ("empty", Vec::new(), ["P009"]),
        ("text", b"not a package, but longer than the hash that stands at a package's end".to_vec(), ["P009"]),
        ("cut off", whole[..whole.len() / 2].to_vec(), ["P009"]),
        ("one byte less", whole[..whole.len() - 1].to_vec(), ["P009"]),
        ("a cut frame", sealed(frame[..frame.len() / 2].to_vec()), ["P009"]),
        ("a cut tar", packed(&good[..good.len() / 2]), ["P009"]),
        ("two frames", sealed(frame.repeat(2)), ["P009"]),
        ("garbage behind", [whole.as_slice(), b"garbage"].concat(), ["P009"]),
        ("garbage in the tar", packed(&[good.as_slice(), &[7; 512]].concat()), ["P009"]),
        ("a bare library", margin("0.2.0"), ["P009"]),
    ] {
        let file = lab.write("bad.csp", bytes);
        refused(&lab, &file, &codes, "bad.csp");
        assert!(file.exists(), "{what}");
    }
}

/// A good package, but one file of it is another one. A signature covers them all.
#[test]
fn a_package_whose_files_were_exchanged_is_refused() {
    let lab = Lab::new();
    keys(&lab, "lab");
    trust(&lab, "some-lab", "lab", &["*/*"]);
    let package = pack(&lab, "0.2.0");
    sign(&lab, &package, "lab");
    let files = content(&package);
    let repack = |files: &BTreeMap<String, Vec<u8>>| {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let header = header(path.as_bytes(), tar::EntryType::Regular, content.len() as u64, "");
            builder.append(&header, content.as_slice()).unwrap();
        }
        lab.write("changed.csp", packed(&builder.into_inner().unwrap()))
    };
    lab.coldstart(&["plugin", "verify", text(&repack(&files))]).exits(0);
    for path in files.keys().filter(|path| !path.starts_with("CHECKSUMS")) {
        let mut changed = files.clone();
        changed.get_mut(path).unwrap().push(b'\n');
        refused(&lab, &repack(&changed), &["P006"], path);
        // With checksums that fit, the signature no longer does.
        let lines = changed.iter().filter(|(path, _)| !path.starts_with("CHECKSUMS")).map(|(path, content)| {
            let hash: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hash}  {path}\n")
        });
        let lines: String = lines.collect();
        changed.insert("CHECKSUMS".to_owned(), lines.into_bytes());
        let ran = lab.coldstart(&["plugin", "install", text(&repack(&changed)), "--allow-unsigned"]);
        assert!(["P005", "P012", "P009"].iter().any(|code| ran.exits(3).stderr.contains(code)), "{}", ran.stderr);
    }
    assert_eq!(files_under(&lab.path("home/data")), Vec::<PathBuf>::new());
}

#[test]
fn only_a_signature_that_counts_lets_a_package_in() {
    let lab = Lab::new();
    ["lab", "other"].iter().for_each(|name| keys(&lab, name));
    let package = pack(&lab, "0.2.0");
    sign(&lab, &package, "lab");
    let hash = lab.coldstart(&["plugin", "info", text(&package), "--json"]).json()["build"]["sha256"].clone();
    let revoked = format!("revoked = [{hash}]\n");
    for (key, rest, more, sentence) in [
        ("other", &["coldstart/*"][..], "", "not in the trust store"),
        ("lab", &["coldstart/margin", "--expires", "2020-02-29"], "", "expired on 2020-02-29"),
        ("lab", &["other/*", "coldstart/entropy"], "", "may sign other/*, coldstart/entropy, not `coldstart/margin`"),
        ("lab", &["margin"], "", "may sign margin, not `coldstart/margin`"),
        ("other", &["x/*"], revoked.as_str(), "revokes this library"),
        ("lab", &["coldstart/*"], "expired = 1\n", "is no trust file"),
    ] {
        trust(&lab, "some-lab", key, rest);
        let file = lab.path("home/config/coldstart/trust/some-lab.toml");
        let written = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, written + more).unwrap();
        let before = snapshot(&lab);
        for args in [&["install", text(&package), "--allow-unsigned"][..], &["verify", text(&package)]] {
            let ran = lab.coldstart(&[&["plugin"], args].concat());
            ran.exits(3).says_one_problem().says("P005").says(sentence).says("help:");
        }
        assert!(snapshot(&lab) == before, "{sentence}");
        std::fs::remove_file(file).unwrap();
    }
    lab.coldstart(&["plugin", "verify", text(&package), "--key", "other.pub"]).exits(3).says("P005").says("not with");
    // Two keys of one lab: the old one has run out, the new one counts.
    trust(&lab, "some-lab", "other", &["coldstart/*", "--expires", "2020-02-29"]);
    trust(&lab, "some-lab", "lab", &["coldstart/*", "--expires", "2999-01-01"]);
    let listed = lab.coldstart(&["plugin", "trust", "list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    install(&lab, &package).exits(0).says("signed by some-lab");
    lab.coldstart(&["plugin", "trust", "add", "b", "--key", "lab.key", "--names", "x"]).exits(3).says("P005");
    lab.coldstart(&["plugin", "trust", "add", "b", "--key", "lab.pub", "--names", "x", "--expires", "soon"]).exits(3);
    lab.coldstart(&["plugin", "keys", "new", "lab.key"]).exits(1).says("lab.key");
}

#[test]
fn a_package_for_another_machine_is_not_installed_but_can_be_locked() {
    const E_MACHINE: usize = 18;
    let (foreign, triple) = match cfg!(target_arch = "aarch64") {
        true => (62, "x86_64-unknown-linux-gnu"),
        false => (183, "aarch64-unknown-linux-gnu"),
    };
    let lab = Lab::new();
    let mut bytes = margin("0.2.0");
    bytes[E_MACHINE] = foreign;
    rename_relocations(&mut bytes);
    let package = pack_file(&lab, &lab.write("foreign/libcoldstart_margin.so", bytes));
    assert!(package.display().to_string().contains(triple));
    let before = snapshot(&lab);
    let ran = lab.coldstart(&["plugin", "install", text(&package), "--allow-unsigned"]);
    ran.exits(3).says_one_problem().says("P007").says(triple);
    assert!(snapshot(&lab) == before);
    let own = pack(&lab, "0.2.0");
    // A folder of packages: the ones for this machine.
    let ran = lab.coldstart(&["plugin", "install", "out", "--allow-unsigned"]);
    assert_eq!(ran.exits(0).stdout.lines().count(), 1);
    lab.write("tiny.toml", TINY.replace("\"entropy\"", "\"margin\""));
    let lock = ["plugin", "lock", "tiny.toml", "--package"];
    lab.coldstart(&[&lock[..], &[text(&package)]].concat()).exits(0);
    let text_of_lock = std::fs::read_to_string(lab.path("coldstart-plugins.lock")).unwrap();
    assert_eq!(text_of_lock.matches(triple).count(), 1, "{text_of_lock}");
    lab.coldstart(&[&lock[..], &[text(&own)]].concat()).exits(0);
    lab.coldstart(&["run", "tiny.toml", "--locked", "-s", "query.rounds=1"]).exits(0);
    let newer = pack(&lab, "0.3.0");
    lab.coldstart(&[&lock[..], &[text(&newer)]].concat()).exits(3).says("P004").says("0.3.0");
}

#[test]
fn a_lock_decides_which_plugins_run() {
    let lab = Lab::new();
    let config = TINY.replace("\"entropy\"", "\"margin\"").replace("rounds = 3", "rounds = 1");
    lab.write("tiny.toml", config);
    let install = |version: &str| {
        let package = pack(&lab, version);
        lab.coldstart(&["plugin", "install", text(&package), "--allow-unsigned"]).exits(0);
    };
    let ran_version = |run: &str| {
        let lock = std::fs::read_to_string(lab.path(run).join("plugins.lock")).unwrap();
        lock.split("name = \"margin\"").nth(1).unwrap().split("version = \"").nth(1).unwrap()[..5].to_owned()
    };
    let locked = |out: &str| lab.coldstart(&["run", "tiny.toml", "--locked", "--out", out]);
    install("0.3.0");
    locked("none")
        .exits(3)
        .says_one_problem()
        .says("P004")
        .says("there is no lock")
        .says("coldstart plugin lock tiny.toml");
    lab.coldstart(&["plugin", "lock", "tiny.toml"]).exits(0);
    locked("first").exits(0);
    install("0.4.0");
    // The lock counts, asked for or not; a higher version beside the locked one does not matter.
    locked("second").exits(0);
    lab.run("third", &[]).exits(0);
    assert_eq!([ran_version("second"), ran_version("third")], ["0.3.0", "0.3.0"]);
    for (overrides, sentence) in [
        (&["query.strategy=entropy"][..], "is not in coldstart-plugins.lock as query strategy"),
        (&["query.strategy=margin@^0.4"], "the config wants ^0.4"),
        (&["initial.strategy=margin"], "is not in coldstart-plugins.lock as initial strategy"),
    ] {
        lab.run("other", overrides).exits(3).says_one_problem().says("P004").says(sentence).says("plugin lock CONFIG");
        assert!(!lab.path("other").exists());
    }
    let file = lab.path("coldstart-plugins.lock");
    let good = std::fs::read_to_string(&file).unwrap();
    let (before, after) = good.rsplit_once("sha256:").unwrap();
    for (text, sentence) in [
        (format!("{before}sha256:{}{}", if after.starts_with('0') { '1' } else { '0' }, &after[1..]), "its hash is"),
        (good.replace("signer = \"\"", "signer = \"minisign:0123456789ABCDEF\""), "its signer is"),
        (good.replace("-linux-gnu", "-linux-musl"), "has no hash for"),
        (good.replace("0.3.0", "0.3.1"), "is locked, but not to be had"),
        (good.replace("version = 1", "version = 2"), "is no lock"),
        ("= 1".to_owned(), "is no lock"),
    ] {
        std::fs::write(&file, text).unwrap();
        // Each strategy that the lock does not fit is told.
        locked("other").exits(3).says("P004").says(sentence);
        assert!(!lab.path("other").exists(), "{sentence}");
    }
    std::fs::remove_file(&file).unwrap();
    lab.run("free", &[]).exits(0);
    assert_eq!(ran_version("free"), "0.4.0");
    // A run's own lock has the same form.
    std::fs::copy(lab.path("free/plugins.lock"), &file).unwrap();
    locked("again").exits(0);
}

#[test]
fn the_doctor_says_why() {
    let lab = Lab::new();
    let package = pack(&lab, "0.3.0");
    lab.coldstart(&["plugin", "install", text(&package), "--allow-unsigned"]).exits(0);
    let older = pack(&lab, "0.2.5");
    lab.coldstart(&["plugin", "install", text(&older), "--allow-unsigned"]).exits(0);
    std::fs::copy(&older, lab.path("plugins/margin-0.2.5.csp")).unwrap();
    lab.write("plugins/libcoldstart_margin.so", "torn");
    let damaged = lab.coldstart(&["plugin", "doctor", "margin"]);
    assert!(damaged.exits(0).stdout.contains("P009") && !damaged.stdout.contains("chosen as"), "{}", damaged.stdout);
    std::fs::remove_file(lab.path("plugins/libcoldstart_margin.so")).unwrap();
    std::fs::create_dir_all(lab.path("system/coldstart/plugins")).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(lab.path("system/coldstart/plugins"), open).unwrap();

    for (name, parts) in [
        (
            "margin",
            &[
                "is packed, not installed",
                "has a higher version",
                "is searched first",
                "everybody can write to it",
                ": missing",
                "chosen as query strategy",
            ][..],
        ),
        ("margin@=0.2.5", &["its version 0.3.0 is not =0.2.5", "chosen as query strategy"]),
        ("other/margin", &["its publisher is `coldstart`", "P001"]),
        ("marginn", &["P001", "did you mean `margin`?"]),
    ] {
        let said = lab.coldstart(&["plugin", "doctor", name]);
        for part in parts {
            assert!(said.exits(0).stdout.contains(part), "{name}: expected `{part}` in\n{}", said.stdout);
        }
    }
    let all = lab.coldstart(&["plugin", "doctor", "--json"]).json();
    let chosen = &all["coldstart/margin"]["choices"][0];
    assert!(chosen["role"] == "query" && chosen["file"].as_str().unwrap().contains("0.3.0"), "{all}");
    lab.coldstart(&["plugin", "doctor"]).exits(0);
    lab.coldstart(&["plugin", "doctor", "margin@new"]).exits(3).says("P003");
    // What is there for the taking is said where it is missed.
    lab.coldstart(&["plugin", "uninstall", "margin"]).exits(0);
    lab.write("tiny.toml", TINY.replace("\"entropy\"", "\"margin@^0.2.5\""));
    lab.run("run", &[]).exits(2).says("P003").says("is packed, not installed").says("plugin install");
}

/// Answers requests with these bytes, one after the other.
fn serve(answers: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            let _ = stream.write_all(&answer);
        }
    });
    format!("http://{address}/margin.csp")
}

#[test]
fn a_package_is_installed_from_its_address() {
    let lab = Lab::new();
    let package = std::fs::read(pack(&lab, "0.3.0")).unwrap();
    let ok = |body: &[u8], length: usize| {
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").as_bytes(), body].concat()
    };
    let url = serve(vec![
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        ok(&package[..1000], package.len()),
        ok(b"<html>", 6),
        ok(&package, package.len()),
    ]);
    let before = snapshot(&lab);
    let install = || lab.coldstart(&["plugin", "install", &url, "--allow-unsigned"]);
    install().exits(1).says_one_problem().says("404");
    install().exits(1).says_one_problem().says("cannot fetch");
    install().exits(3).says_one_problem().says("P009").says(&url);
    assert!(snapshot(&lab) == before);
    install().exits(0).says("coldstart/margin 0.3.0");
}

/// Keys and signatures go both ways between this program and minisign.
#[test]
fn minisign_understands_us_and_we_understand_it() {
    if Command::new("minisign").arg("-v").output().is_err() {
        eprintln!("skipped: minisign is not installed");
        return;
    }
    let lab = Lab::new();
    let minisign = |args: &[&str], input: &str| {
        let mut command = Command::new("minisign");
        command
            .args(args)
            .current_dir(lab.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let package = pack(&lab, "0.2.0");
    let take_out = |name: &str| drop(lab.write(name, &content(&package)[name]));
    // Our key, our signature; minisign checks it.
    keys(&lab, "ours");
    sign(&lab, &package, "ours");
    ["CHECKSUMS", "CHECKSUMS.minisig"].iter().for_each(|name| take_out(name));
    let said = minisign(&["-V", "-p", "ours.pub", "-m", "CHECKSUMS"], "");
    assert!(said.contains("plugin:coldstart/margin") && said.contains("version:0.2.0"), "{said}");
    // Our key with a password; minisign signs with it.
    let mut protected = lab.command(&["plugin", "keys", "new", "secret.key"]);
    assert!(protected.env("COLDSTART_KEY_PASSWORD", "hunter2").status().unwrap().success());
    minisign(&["-S", "-s", "secret.key", "-m", "CHECKSUMS"], "hunter2\n");
    minisign(&["-V", "-p", "secret.pub", "-m", "CHECKSUMS"], "");
    let with_password = |password: &str| {
        let mut command = lab.command(&["plugin", "sign", text(&package), "--key", "secret.key"]);
        Ran::of(command.env("COLDSTART_KEY_PASSWORD", password).output().unwrap())
    };
    with_password("hunter3").exits(3).says("P005");
    with_password("hunter2").exits(0);
    lab.coldstart(&["plugin", "verify", text(&package), "--key", "secret.pub"]).exits(0);
    // Their key; we sign with it, both check it.
    minisign(&["-G", "-W", "-p", "theirs.pub", "-s", "theirs.key"], "");
    sign(&lab, &package, "theirs");
    lab.coldstart(&["plugin", "verify", text(&package), "--key", "theirs.pub"]).exits(0);
    take_out("CHECKSUMS.minisig");
    minisign(&["-V", "-p", "theirs.pub", "-m", "CHECKSUMS"], "");
    let trusted = ["plugin", "trust", "add", "theirs", "--key", "theirs.pub", "--names", "*/margin"];
    lab.coldstart(&trusted).exits(0);
    let verified: Value = lab.coldstart(&["plugin", "info", text(&package), "--json"]).json();
    assert_eq!(verified["trust"]["lab"], "theirs");
}
