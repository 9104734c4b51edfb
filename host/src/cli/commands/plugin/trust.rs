//! `coldstart plugin trust ...`.

use super::package::read_key;
use crate::cli::args::Trust;
use crate::cli::commands::print_json;
use crate::cli::problem::Problem;
use crate::plugin::trust::{Signatory, TrustStore};
use serde_json::{Value, json};

/// The commands under `plugin trust`.
pub fn trust(command: &Trust) -> Result<(), Problem> {
    let mut store = TrustStore::open()?;
    match command {
        Trust::Add { lab, key, names, expires } => {
            let file = store.add(lab, read_key(key)?, names, expires.as_deref())?;
            outln!("{}", file.display());
        }
        Trust::List { json } => list(&store, *json),
        Trust::Remove { lab } => store.remove(lab)?.iter().for_each(|file| outln!("{}", file.display())),
    }
    Ok(())
}

fn list(store: &TrustStore, as_json: bool) {
    if as_json {
        return print_json(&store.signatories().iter().map(signatory_json).collect::<Vec<_>>());
    }
    outln!("{:<20} {:<17} {:<11} MAY SIGN", "LAB", "KEY", "EXPIRES");
    for known in store.signatories() {
        let expires = match (&known.expires, known.has_expired()) {
            (Some(_), true) => "expired",
            (expires, _) => expires.as_deref().unwrap_or("never"),
        };
        for key in &known.keys {
            outln!("{:<20} {:<17} {expires:<11} {}", known.lab, key.id, known.may_sign.join(" "));
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
