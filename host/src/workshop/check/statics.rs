//! What the file alone tells.

use super::outcome::{Tried, Verdict, demand, failed, skipped, warning};
use super::subject::Subject;
use super::{Case, Level};
use crate::plugin::package::{Package, SignatureFile};
use crate::plugin::trust::{TrustStore, judge_package};
use crate::plugin::{ENTRIES, Facts, with_defaults};
use coldstart_plugin_api::Role;
use serde_json::{Map, Value};
use std::path::Path;

/// The glibc that a plugin for other labs should run on: that of RHEL 8 and Debian 10.
const FLOOR: &str = "2.28";
pub const CASES: [Case; 9] = [
    Case {
        name: "package-layout",
        level: Level::Static,
        about: "A package holds what it must and nothing else: manifest, checksums, library, schema, licence, README; no \
                links, no absolute paths, none that leave the package.",
        gate: false,
        run: package_layout,
    },
    Case {
        name: "package-checksums",
        level: Level::Static,
        about: "Every file of a package has the hash that its checksums name, and a signature, where there is one, is right.",
        gate: false,
        run: package_checksums,
    },
    Case {
        name: "package-reproducible",
        level: Level::Static,
        about: "Packed again from its own files, a package is the same byte for byte, so that anybody can make it again.",
        gate: false,
        run: package_reproducible,
    },
    Case {
        name: "manifest-valid",
        level: Level::Static,
        about: "The manifest in the library can be read, its name is kebab-case, its roles are known, its contract is one that \
                this host speaks, it unwinds, and this host has every operation that it needs. A manifest without summary, \
                licence, authors or citation is worth a warning: other labs will ask.",
        gate: true,
        run: manifest_valid,
    },
    Case {
        name: "elf-rules",
        level: Level::Static,
        about: "It asks nothing of the dynamic loader that is not on a list: no rpath, no filter or audit libraries, no text \
                relocations, no functions that choose others (IFUNC), no executable stack, no memory that is written and \
                executed, no static thread-local storage, no unique symbols, and no code at loading beyond the C runtime's \
                and Rust's own, because it would run before anything is verified.",
        gate: true,
        run: elf_rules,
    },
    Case {
        name: "libraries-allowed",
        level: Level::Static,
        about: "The library is linked to the C library and the unwinder only. Any other library could be missing on another \
                machine, or clash with one that the host has loaded.",
        gate: true,
        run: libraries_allowed,
    },
    Case {
        name: "exports-entry-only",
        level: Level::Static,
        about: "The only symbols that the library exports are the entries that a host looks up. Any other could be taken for a \
                symbol of another library.",
        gate: false,
        run: exports_entry_only,
    },
    Case {
        name: "glibc-floor",
        level: Level::Static,
        about: "The oldest glibc that the library runs on, from its table of version needs. Above 2.28, the version of RHEL 8 \
                and Debian 10, some clusters cannot load it: build with cargo-zigbuild.",
        gate: false,
        run: glibc_floor,
    },
    Case {
        name: "params-schema",
        level: Level::Static,
        about: "The parameters' schema is valid JSON Schema, and every default fits it. Parameters without a description are \
                worth a warning.",
        gate: false,
        run: params_schema,
    },
];

/// The package that the library was taken out of.
fn package(subject: &Subject) -> Result<(&Path, Package), Verdict> {
    let file = subject.order.package.as_deref().ok_or_else(|| skipped("a bare library"))?;
    Ok((file, Package::read_file(file).map_err(|error| failed(error.to_string()))?))
}

fn package_layout(subject: &Subject) -> Tried {
    let (_, package) = package(subject)?;
    let has = |name: &str| package.files().any(|(path, _)| path.starts_with(name));
    let missing: Vec<&str> = ["README", "LICENSE"].into_iter().filter(|name| !has(name)).collect();
    match missing.is_empty() {
        true => Ok(format!("{} files", package.files().count())),
        false => Err(warning(format!("there is no {}", missing.join(" and no ")))),
    }
}

fn package_checksums(subject: &Subject) -> Tried {
    let (file, package) = package(subject)?;
    let (name, store) = (file.display().to_string(), TrustStore::open());
    let Some(signature) = package.signature() else { return Err(warning("nobody has signed it")) };
    let key = SignatureFile::parse(&name, signature)?.key;
    // Whether a signature is right cannot be said without the key.
    if !store.signatories()?.iter().any(|signatory| signatory.key_of(&key).is_some()) {
        return Err(warning(format!("signed with the key {key}, which is not in your trust store")));
    }
    Ok(judge_package(&name, &package, &store)?.to_string())
}

fn package_reproducible(subject: &Subject) -> Tried {
    let (file, package) = package(subject)?;
    let again = package.to_bytes(&file.display().to_string())?;
    demand(std::fs::read(file)? == again, || "packed again it is another file".to_owned())?;
    Ok(format!("{} bytes", again.len()))
}

fn manifest_valid(subject: &Subject) -> Tried {
    let manifest = subject.manifest()?;
    manifest.check(&subject.name())?;
    let known = |role: &String| Role::ALL.iter().any(|known| known.name() == role);
    demand(!manifest.roles.is_empty(), || "it has no role".to_owned())?;
    if let Some(role) = manifest.roles.iter().find(|role| !known(role)) {
        return Err(failed(format!("its role `{role}` is not known to this host")));
    }
    let sizes = manifest.roles.iter().any(|role| role == Role::Sizer.name());
    demand(!sizes || manifest.roles.len() == 1, || "a sizer chooses nothing, and has no other role".to_owned())?;
    let told = [
        ("summary", &manifest.summary),
        ("license", &manifest.license),
        ("authors", &manifest.authors),
        ("cite", &manifest.cite),
    ];
    let empty: Vec<&str> = told.iter().filter(|(_, text)| text.is_empty()).map(|(key, _)| *key).collect();
    if empty.is_empty() {
        return Ok(format!("{} {}, contract {}", manifest.full_name(), manifest.version, manifest.api));
    }
    Err(warning(format!("it does not say: {}", empty.join(", "))))
}

/// What the library is, measured from its file; skips the case for a script.
fn facts(subject: &Subject) -> Result<Facts, Verdict> {
    if subject.is_script() {
        return Err(skipped("a script, which is no library"));
    }
    Ok(Facts::read(&subject.name(), &subject.bytes, &ENTRIES)?)
}

fn elf_rules(subject: &Subject) -> Tried {
    let facts = facts(subject)?;
    demand(facts.banned_properties.is_empty(), || format!("it {}", facts.banned_properties.join(", and ")))?;
    Ok(String::new())
}

fn libraries_allowed(subject: &Subject) -> Tried {
    let facts = facts(subject)?;
    demand(facts.banned_libraries.is_empty(), || format!("it {}", facts.banned_libraries.join(", and ")))?;
    Ok(facts.libraries.join(", "))
}

fn exports_entry_only(subject: &Subject) -> Tried {
    let facts = facts(subject)?;
    let others: Vec<&str> = facts.needless_exports(&ENTRIES).collect();
    demand(others.is_empty(), || {
        format!("it exports {} symbols more: {}", others.len(), others[..others.len().min(5)].join(", "))
    })?;
    Ok(facts.exports.join(", "))
}

fn glibc_floor(subject: &Subject) -> Tried {
    let facts = facts(subject)?;
    let floor = facts.glibc.clone().unwrap_or_else(|| "any".to_owned());
    if facts.needs_newer_glibc_than(FLOOR) {
        return Err(warning(format!("runs on glibc {floor} and newer; for {FLOOR} build it with cargo-zigbuild")));
    }
    Ok(format!("runs on glibc {floor} and newer"))
}

fn params_schema(subject: &Subject) -> Tried {
    let mut manifest = subject.manifest()?;
    let properties = manifest.params.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    // What has to be set has no default to be looked at.
    manifest.params.as_object_mut().and_then(|schema| schema.remove("required"));
    let defaults = properties.iter().filter_map(|(name, schema)| Some((name.clone(), schema.get("default")?.clone())));
    let defaults: Map<String, Value> = defaults.collect();
    let n_defaults = defaults.len();
    with_defaults(&manifest, &defaults)?;
    let described =
        |schema: &Value| schema.get("description").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let silent: Vec<&str> = properties.iter().filter(|(_, s)| !described(s)).map(|(name, _)| name.as_str()).collect();
    if silent.is_empty() {
        return Ok(format!("{} parameters, {n_defaults} with a default", properties.len()));
    }
    Err(warning(format!("no description of `{}`", silent.join("`, `"))))
}
