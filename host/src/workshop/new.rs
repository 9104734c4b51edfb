//! `plugin new`: a crate that builds, passes its own tests and `plugin check`, and is then the author's.

use super::error::WorkshopError;
use crate::{limits, programs, wait};
use coldstart_plugin_api::Role;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

/// The contract's package.
const CONTRACT: &str = "coldstart-plugin-api";
/// Where the contract was when this program was built.
const BUILT_FROM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin-api");

/// Each file of a new crate, but the strategy.
const FILES: [(&str, &str); 9] = [
    ("Cargo.toml", include_str!("templates/Cargo.toml.template")),
    ("clippy.toml", include_str!("templates/clippy.toml.template")),
    ("rustfmt.toml", include_str!("templates/rustfmt.toml.template")),
    ("rust-toolchain.toml", include_str!("templates/rust-toolchain.toml.template")),
    ("README.md", include_str!("templates/README.md.template")),
    ("CHANGELOG.md", include_str!("templates/CHANGELOG.md.template")),
    ("LICENSE", include_str!("templates/LICENSE.template")),
    (".gitignore", include_str!("templates/gitignore.template")),
    (".github/workflows/check.yml", include_str!("templates/check.yml.template")),
];

/// A strategy to begin with.
struct Beginning {
    source: &'static str,
    summary: &'static str,
    roles: &'static str,
    needs: &'static str,
    params: &'static str,
}

const INITIAL: Beginning = Beginning {
    source: include_str!("templates/initial.rs.template"),
    summary: "Draws the initial set by chance, evenly over the pool",
    roles: "Initial",
    needs: "",
    params: "| `parts` | 1 | the pool is cut into this many parts, in the order of ids; each gives its share |",
};

const QUERY: Beginning = Beginning {
    source: include_str!("templates/query.rs.template"),
    summary: "Chooses the images of whose class the model is least sure",
    roles: "Query",
    needs: "PREDICT_1",
    params: "| `temperature` | 1.0 | divides the logits; above 1 the classes come closer to each other |",
};

const BOTH: Beginning = Beginning {
    source: include_str!("templates/both.rs.template"),
    summary: "Draws the initial set by chance, then chooses the images of whose class the model is least sure",
    roles: "Initial, Query",
    needs: "PREDICT_1",
    params: QUERY.params,
};

const SIZER: Beginning = Beginning {
    source: include_str!("templates/sizer.rs.template"),
    summary: "Says that each class needs a few images before a query strategy begins",
    roles: "Sizer",
    needs: "LABELS_GET_1",
    params: "| `per_class` | 2 | labelled images that the rarest class has to have |",
};

/// What kind of crate is wanted.
#[derive(Debug)]
pub struct NewCrate {
    /// The strategy's name, which is the package's too: kebab-case.
    pub name: String,
    /// What it does in an experiment; none: a query strategy.
    pub roles: Vec<Role>,
    /// Who publishes it.
    pub publisher: Option<String>,
    /// The folder of the contract's crate; absent, that of the sources this program was built from.
    pub contract: Option<PathBuf>,
    /// The folder to make; absent, one with the strategy's name, here.
    pub folder: Option<PathBuf>,
}

/// Make the crate; its folder.
///
/// Errs if the name will not do, the folder is there already, or the contract's crate is not found.
pub fn create(wanted: &NewCrate) -> Result<PathBuf, WorkshopError> {
    check_name(&wanted.name, "a strategy's name")?;
    wanted.publisher.iter().try_for_each(|publisher| check_name(publisher, "a publisher"))?;
    let (contract, version) = find_contract(wanted.contract.as_deref())?;
    let folder = wanted.folder.clone().unwrap_or_else(|| PathBuf::from(&wanted.name));
    if folder.exists() {
        let hint = "nothing is written over: choose another folder with --dir, or move it away";
        return Err(WorkshopError::Usage(format!("{} exists already", folder.display()), hint.to_owned()));
    }
    let wants = |role: Role| wanted.roles.contains(&role);
    let beginning = match (wants(Role::Initial), wants(Role::Query), wants(Role::Sizer)) {
        (false, false, true) => SIZER,
        (_, _, true) => {
            let hint = "leave out the other `--role`, or make two crates";
            return Err(WorkshopError::Usage("a sizer chooses nothing".to_owned(), hint.to_owned()));
        }
        (true, true, _) => BOTH,
        (true, false, _) => INITIAL,
        _ => QUERY,
    };
    let words = words(wanted, &beginning, &contract, &version);
    for (name, template) in FILES.iter().chain([&("src/lib.rs", beginning.source)]) {
        let file = folder.join(name);
        let failed = |error| WorkshopError::file(&file, &error);
        file.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
        std::fs::write(&file, filled(template, &words)).map_err(failed)?;
    }
    Ok(folder)
}

/// What stands for each `{{word}}` of the templates.
fn words(wanted: &NewCrate, beginning: &Beginning, contract: &Path, version: &str) -> Vec<(&'static str, String)> {
    let toml_text = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let author = author(wanted);
    let publisher = wanted.publisher.as_ref();
    vec![
        ("name", wanted.name.clone()),
        ("library", wanted.name.replace('-', "_")),
        ("type", camel_case(&wanted.name)),
        ("publisher", publisher.map(|publisher| format!("\n    publisher: \"{publisher}\",")).unwrap_or_default()),
        ("roles", beginning.roles.to_owned()),
        ("needs", beginning.needs.to_owned()),
        ("summary", beginning.summary.to_owned()),
        ("params", beginning.params.to_owned()),
        ("contract", toml_text(&contract.display().to_string())),
        ("contract-version", version.to_owned()),
        ("authors", toml_text(&author)),
        ("author", author),
        ("year", year().to_string()),
    ]
}

fn filled(template: &str, words: &[(&'static str, String)]) -> String {
    words.iter().fold(template.to_owned(), |text, (word, value)| text.replace(&format!("{{{{{word}}}}}"), value))
}

/// Kebab-case, beginning with a letter, and a name that cargo and the compiler accept.
fn check_name(name: &str, what: &str) -> Result<(), WorkshopError> {
    let refuse =
        |why: &str, hint: String| Err(WorkshopError::Usage(format!("`{name}` is no name for {what}: {why}"), hint));
    let word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !name.split('-').all(word) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        let near = kebab_case(name);
        let hint = if near.is_empty() { "such as `my-strategy`".to_owned() } else { format!("such as `{near}`") };
        return refuse("it must be kebab-case and begin with a letter", hint);
    }
    if KEYWORDS.contains(&name) || TAKEN.contains(&name) {
        return refuse("it means something else to the compiler or to cargo", format!("such as `{name}-strategy`"));
    }
    Ok(())
}

/// The nearest name that would do.
fn kebab_case(name: &str) -> String {
    let plain: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-").trim_start_matches(|c: char| !c.is_ascii_lowercase()).to_owned()
}

fn camel_case(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('-').map(capital).collect()
}

const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Names of packages that cargo refuses, or that a plugin depends on.
const TAKEN: [&str; 10] =
    ["alloc", "build", "core", "deps", "examples", "incremental", "proc-macro", "std", "test", CONTRACT];

/// The contract's crate, as an absolute path, and its version.
fn find_contract(named: Option<&Path>) -> Result<(PathBuf, String), WorkshopError> {
    let folder = named.unwrap_or(Path::new(BUILT_FROM));
    let hint = format!("pass --path with the folder `plugin-api` of a checkout of Coldstart, which holds {CONTRACT}");
    let refuse = |why: String| WorkshopError::Usage(why, hint.clone());
    let missing = || match named {
        Some(folder) => refuse(format!("{} holds no crate", folder.display())),
        None => refuse("the sources that this program was built from are gone".to_owned()),
    };
    let folder = folder.canonicalize().map_err(|_| missing())?;
    let text = std::fs::read_to_string(folder.join("Cargo.toml")).map_err(|_| missing())?;
    let manifest: toml::Table = text.parse().map_err(|_| missing())?;
    let package = |key: &str| manifest.get("package")?.get(key)?.as_str();
    match (package("name"), package("version")) {
        (Some(CONTRACT), Some(version)) => Ok((folder, version.to_owned())),
        (name, _) => Err(refuse(format!("{} holds the crate `{}`", folder.display(), name.unwrap_or("?")))),
    }
}

/// Whom git knows the user as; else the publisher; else a name to be replaced.
fn author(wanted: &NewCrate) -> String {
    let git = |key: &str| {
        let mut git = programs::command("git").ok()?;
        programs::pass(&mut git, &programs::GIT);
        git.args(["config", "--get", key]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let output = wait::output(&mut git, limits::GIT).ok().filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        Some(text).filter(|text| !text.is_empty())
    };
    match (git("user.name"), git("user.email")) {
        (Some(name), Some(email)) => format!("{name} <{email}>"),
        (Some(name), None) => name,
        _ => wanted.publisher.clone().unwrap_or_else(|| format!("The authors of {}", wanted.name)),
    }
}

/// The year of the Gregorian calendar, in UTC.
fn year() -> u64 {
    let mut days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / 86_400);
    let mut year = 1970;
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = if leap { 366 } else { 365 };
        if days < length {
            return year;
        }
        days -= length;
        year += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_will_not_do_are_refused_with_one_that_would() {
        for (name, hint) in [
            ("coreset", None),
            ("k-center-2", None),
            ("CoreSet", Some("such as `coreset`")),
            ("core_set", Some("such as `core-set`")),
            ("core--set", Some("such as `core-set`")),
            ("-core", Some("such as `core`")),
            ("2nd-try", Some("such as `nd-try`")),
            ("", Some("such as `my-strategy`")),
            ("../up", Some("such as `up`")),
            ("match", Some("such as `match-strategy`")),
            ("test", Some("such as `test-strategy`")),
            ("größe", Some("such as `gr-e`")),
        ] {
            let refused = check_name(name, "a strategy").err();
            assert_eq!(refused.as_ref().map(WorkshopError::hint), hint, "{name}");
        }
    }

    #[test]
    fn every_word_of_every_template_is_known() {
        let wanted = NewCrate {
            name: "toy-one".to_owned(),
            roles: Vec::new(),
            publisher: Some("lab".to_owned()),
            contract: None,
            folder: None,
        };
        for beginning in [INITIAL, QUERY, BOTH] {
            let words = words(&wanted, &beginning, Path::new("/x/plugin-api"), "1.1.0");
            for (file, template) in FILES.iter().chain([&("src/lib.rs", beginning.source)]) {
                let text = filled(template, &words);
                // GitHub's own expressions have a space after the braces.
                let unknown = text.match_indices("{{").find(|(at, _)| !text[at + 2..].starts_with(' '));
                assert_eq!(unknown, None, "{file}: {text}");
            }
        }
        assert!(year() >= 2024);
        assert_eq!(camel_case("toy-one2"), "ToyOne2");
    }
}
