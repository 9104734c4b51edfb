//! `coldstart plugin doctor`.

use crate::cli::commands::print_json;
use crate::cli::problem::Problem;
use crate::plugin::doctor::{Diagnosis, diagnose};
use crate::plugin::trust::TrustStore;
use crate::plugin::{SEARCHED, SearchPath};
use std::collections::{BTreeMap, BTreeSet};

/// `coldstart plugin doctor [NAME]`.
pub fn doctor(name: Option<&str>, as_json: bool) -> Result<(), Problem> {
    let (search, store) = (SearchPath::new(&[]), TrustStore::open());
    let names = match name {
        Some(name) => BTreeSet::from([name.to_owned()]),
        None => names(&search),
    };
    let diagnoses: BTreeMap<String, Diagnosis> = names
        .into_iter()
        .map(|name| Ok((name.clone(), diagnose(&search, &name, &store)?)))
        .collect::<Result<_, Problem>>()?;
    if as_json {
        print_json(&diagnoses);
        return Ok(());
    }
    match (name, diagnoses.first_key_value()) {
        (Some(_), Some((name, diagnosis))) => print_all(name, diagnosis),
        _ => {
            print_folders(&search);
            diagnoses.iter().for_each(|(name, diagnosis)| print_choices(name, diagnosis));
        }
    }
    Ok(())
}

fn names(search: &SearchPath) -> BTreeSet<String> {
    let manifests = search.candidates().into_iter().filter_map(|candidate| candidate.manifest.ok());
    manifests.map(|manifest| manifest.full_name()).collect()
}

fn print_all(name: &str, diagnosis: &Diagnosis) {
    for folder in &diagnosis.folders {
        outln!("{}: {}", folder.folder.display(), folder.state);
        for file in &folder.files {
            let what = if file.what.is_empty() { String::new() } else { format!("{}, ", file.what) };
            outln!("  {what}{}", file.file.display());
            file.chosen.iter().for_each(|role| outln!("    chosen as {role} strategy"));
            file.because.iter().for_each(|reason| outln!("    {reason}"));
        }
    }
    outln!("");
    print_choices(name, diagnosis);
}

fn print_folders(search: &SearchPath) {
    for (folder, content) in search.contents() {
        let plugins = content.candidates().iter().filter(|candidate| !candidate.is_foreign()).count();
        match (plugins, content.state()) {
            (0, state) => outln!("{}: {state}", folder.display()),
            (_, state) if state == SEARCHED => outln!("{}: {plugins} plugins", folder.display()),
            (_, state) => outln!("{}: {plugins} plugins, {state}", folder.display()),
        }
        content.overlooked().iter().for_each(|o| outln!("  {} {}: {}", o.path.display(), o.reason, o.hint));
    }
    outln!("");
}

fn print_choices(name: &str, diagnosis: &Diagnosis) {
    for choice in &diagnosis.choices {
        match (&choice.file, &choice.problem) {
            (Some(file), _) => {
                let shadows = choice.shadows.as_deref().map(|own| format!(";{}", super::instead_of(own)));
                outln!("`{name}` as {} strategy: {}{}", choice.role, file.display(), shadows.unwrap_or_default());
            }
            (None, problem) => {
                outln!("`{name}` as {} strategy: {}", choice.role, problem.as_deref().unwrap_or("none"))
            }
        }
    }
}
