//! `coldstart plugin trust ...`.

use super::package::read_key;
use crate::cli::args::Trust;
use crate::cli::commands::print_json;
use crate::cli::problem::Problem;
use crate::foreign;
use crate::plugin::package::{Key, PackageError};
use crate::plugin::trust::{Signatory, TrustStore};
use serde_json::{Value, json};

/// The commands under `plugin trust`.
pub fn trust(command: &Trust) -> Result<(), Problem> {
    let mut store = TrustStore::open();
    match command {
        Trust::Add { lab, key, names, expires, replace, beside } => {
            let key = read_key(key)?;
            if !replace && !beside {
                check_new(&store, lab, &key, names, expires.as_deref())?;
            }
            if *replace {
                say_replaced(&store, lab, &key)?;
            }
            let file = store.add(lab, key, names, expires.as_deref(), *replace).map_err(not_kept)?;
            outln!("{}", file.display());
        }
        Trust::List { json } => list(store.signatories()?, *json),
        Trust::Remove { lab } => store.remove(lab)?.iter().for_each(|file| outln!("{}", file.display())),
    }
    Ok(())
}

/// What the user's folder cannot take may go elsewhere.
fn not_kept(error: PackageError) -> Problem {
    match &error {
        PackageError::File { .. } => {
            let hint = "set XDG_CONFIG_HOME to a folder that you can write to, in later commands, too";
            Problem::failed(&error, Some(hint.to_owned()))
        }
        _ => error.into(),
    }
}

/// Errs if the lab is known for something else: who it is must not change by the way. A key that has run out may be followed by
/// another.
fn check_new(store: &TrustStore, lab: &str, key: &Key, names: &[String], expires: Option<&str>) -> Result<(), Problem> {
    let known = store.lab(lab)?;
    let is_same = |known: &&&Signatory| {
        known.keys == [key.clone()] && known.may_sign == names && known.expires.as_deref() == expires
    };
    let counts = |known: &&&Signatory| !known.has_expired() || known.keys.contains(key);
    if known.iter().find(is_same).is_some() {
        return Ok(());
    }
    let Some(other) = known.iter().find(counts) else { return Ok(()) };
    let message =
        format!("`{lab}` is trusted already\n  with {}\n  and not with {}", described(other), shown(key, names));
    let hint =
        "`--replace` takes the new key and names in place of the old ones, `--beside` takes the key beside the old one";
    Err(Problem::usage(message, Some(hint.to_owned())))
}

/// What a lab was trusted with until now.
fn say_replaced(store: &TrustStore, lab: &str, key: &Key) -> Result<(), Problem> {
    for known in store.lab(lab)? {
        errln!("`{lab}` was trusted with {}", described(known));
        errln!("`{lab}` is now trusted with the key {} ({})", key.id, key.text);
    }
    Ok(())
}

fn described(known: &Signatory) -> String {
    let keys: Vec<String> = known.keys.iter().map(|key| format!("the key {} ({})", key.id, key.text)).collect();
    format!("{} for {}", keys.join(" and "), known.may_sign.join(" "))
}

fn shown(key: &Key, names: &[String]) -> String {
    format!("the key {} ({}) for {}", key.id, key.text, names.join(" "))
}

fn list(signatories: &[Signatory], as_json: bool) {
    if as_json {
        return print_json(&signatories.iter().map(signatory_json).collect::<Vec<_>>());
    }
    outln!("{:<20} {:<17} {:<11} MAY SIGN", "LAB", "KEY", "EXPIRES");
    for known in signatories {
        let expires = match (&known.expires, known.has_expired()) {
            (Some(_), true) => "expired",
            (expires, _) => expires.as_deref().unwrap_or("never"),
        };
        for key in &known.keys {
            outln!("{:<20} {:<17} {expires:<11} {}", foreign::name(&known.lab), key.id, known.may_sign.join(" "));
        }
    }
}

fn signatory_json(known: &Signatory) -> Value {
    let keys: Vec<_> = known.keys.iter().map(|key| json!({"id": key.id, "key": key.text})).collect();
    json!({
        "lab": known.lab, "file": known.file, "keys": keys, "may_sign": known.may_sign, "expires": known.expires,
        "expired": known.has_expired(), "revoked": known.revoked
    })
}
