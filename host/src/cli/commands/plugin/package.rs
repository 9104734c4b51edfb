//! `coldstart plugin pack`, `sign`, `verify` and `keys`.

use crate::cli::args::{Keys, Pack};
use crate::cli::problem::Problem;
use crate::cli::typed::{Wanted, existing, make_folder};
use crate::plugin::package::{self, Extras, Key, Package, PackageError, Signer, new_keys, write_atomically};
use crate::plugin::trust::{Trust, TrustStore, check_key, judge_package};
use crate::plugin::{Manifest, PluginCode, PluginError, authority};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// `coldstart plugin pack LIBRARY`.
pub fn pack(args: &Pack) -> Result<(), Problem> {
    existing(&args.library, Wanted::File)?;
    let name = args.library.display().to_string();
    let library = read(&args.library)?;
    let manifest = Manifest::read_of_any_machine(&name, &library)?;
    let crate_folder = args.crate_folder.clone().or_else(|| is_crate_of(Path::new("."), &manifest).then(|| ".".into()));
    let readme =
        args.readme.clone().or_else(|| Some(crate_folder.as_ref()?.join("README.md")).filter(|file| file.is_file()));
    let licenses = match args.license.is_empty() {
        true => crate_folder.as_deref().map(licenses_in).unwrap_or_default(),
        false => args.license.clone(),
    };
    if licenses.is_empty() {
        errln!("warning: the package holds no licence; name one with `--license FILE`");
    }
    let licenses =
        licenses.iter().map(|file| Ok((license_name(file), read(file)?))).collect::<Result<_, PackageError>>()?;
    let extras = Extras {
        readme: readme.as_deref().map(read).transpose()?,
        licenses,
        conformance: args.conformance.as_deref().map(read).transpose()?,
        cpu: args.cpu.clone(),
    };
    let package = Package::pack(&name, library, extras)?;
    make_folder(&args.output)?;
    let file = args.output.join(package.file_name());
    write_atomically(&file, &package.to_bytes(&name)?)?;
    errln!("{}", summary(&package));
    outln!("{}", file.display());
    Ok(())
}

/// `coldstart plugin sign PACKAGE`.
pub fn sign(file: &Path, key: &Path) -> Result<(), Problem> {
    [file, key].into_iter().try_for_each(|typed| existing(typed, Wanted::File))?;
    let mut package = Package::read_file(file)?;
    let signer = Signer::read(key, || password("Password: "))?;
    package.sign(&signer)?;
    write_atomically(file, &package.to_bytes(&file.display().to_string())?)?;
    outln!("{}", file.display());
    Ok(())
}

/// `coldstart plugin verify PACKAGE`.
pub fn verify(file: &Path, key: Option<&Path>) -> Result<(), Problem> {
    existing(file, Wanted::File)?;
    let name = file.display().to_string();
    let package = Package::read_file(file)?;
    let signer = match key {
        Some(key) => {
            let key = read_key(key)?;
            check_key(&name, &package, &key)?;
            format!("signed with the key {}", key.id)
        }
        None => match judge_package(&name, &package, &TrustStore::open())? {
            Trust::Signed { lab, key } => format!("signed by {lab} with the key {key}"),
            Trust::Shipped | Trust::Unsigned => {
                let error = PluginError::new(PluginCode::Signature, &name, "is not signed");
                return Err(error.with_hint("its author signs it with `coldstart plugin sign`").into());
            }
        },
    };
    outln!("{}: {signer}", summary(&package));
    Ok(())
}

/// `coldstart plugin keys new FILE`.
pub fn keys(command: &Keys) -> Result<(), Problem> {
    let Keys::New { file, no_password } = command;
    if let Some(there) = [file.clone(), file.with_extension("pub")].into_iter().find(|file| file.exists()) {
        let error = std::io::Error::other("it is there already, and a key is never written over");
        return Err(PackageError::file("write", &there)(error).into());
    }
    let secret = if *no_password { String::new() } else { new_password(file)? };
    // Whatever the umask is: whoever could write there could exchange the key.
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        package::make_folder(folder)?;
    }
    let public = new_keys(file, &secret)?;
    errln!("keep {} to yourself, hand out {}", file.display(), public.display());
    outln!("{}", public.display());
    Ok(())
}

/// The password of a new key. A key without one is made for whoever asks for it, and not because nobody was there to answer.
fn new_password(file: &Path) -> Result<String, Problem> {
    let refuse = |error| Problem::from(PackageError::file("ask for the password of", file)(error));
    let secret = password("Password: ").map_err(refuse)?;
    if secret.is_empty() {
        let message = format!("there is no password for `{}`", file.display());
        let hint = "type one on a terminal, or set COLDSTART_KEY_PASSWORD; `--no-password` makes a key that lies open";
        return Err(Problem::usage(message, Some(hint.to_owned())));
    }
    if asks() && password("The same again: ").map_err(refuse)? != secret {
        return Err(Problem::usage("the two passwords differ", None));
    }
    Ok(secret)
}

/// A public key from its file.
pub fn read_key(file: &Path) -> Result<Key, Problem> {
    existing(file, Wanted::File)?;
    let wrong = |problem: String| PluginError::new(PluginCode::Signature, file.display().to_string(), problem);
    authority::check(file)
        .map_err(|doubt| wrong(format!("this public key cannot be relied on: {doubt}")).with_hint(doubt.hint()))?;
    let text = String::from_utf8_lossy(&read(file)?).into_owned();
    Ok(Key::parse(&text).map_err(|problem: String| wrong(problem).with_hint("it is the file that ends in `.pub`"))?)
}

fn summary(package: &Package) -> String {
    let (manifest, build) = (&package.manifest, &package.build);
    let glibc = if build.glibc.is_empty() { "no glibc".to_owned() } else { format!("glibc {}", build.glibc) };
    format!("{} {} for {} ({glibc}, {})", manifest.full_name(), manifest.version, build.triple, build.cpu)
}

fn read(file: &Path) -> Result<Vec<u8>, PackageError> {
    std::fs::read(file).map_err(PackageError::file("read", file))
}

/// Whether a folder holds the crate that a plugin seems to come from: `NAME`, or `ANYTHING-NAME`.
fn is_crate_of(folder: &Path, manifest: &Manifest) -> bool {
    let text = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    let cargo: toml::Table = toml::from_str(&text).unwrap_or_default();
    let package = cargo.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    package.is_some_and(|package| package == manifest.name || package.ends_with(&format!("-{}", manifest.name)))
}

fn licenses_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|file| file.is_file() && license_name(file) == file_name(file)).collect();
    files.sort();
    files
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Licences keep their name if it says what they are.
fn license_name(file: &Path) -> String {
    let name = file_name(file);
    if name.starts_with("LICENSE") { name } else { "LICENSE".to_owned() }
}

fn asks() -> bool {
    std::env::var_os(PASSWORD).is_none() && std::io::stdin().is_terminal()
}

const PASSWORD: &str = "COLDSTART_KEY_PASSWORD";

/// From the environment, else from the terminal, else empty.
fn password(prompt: &str) -> std::io::Result<String> {
    match std::env::var(PASSWORD) {
        Ok(password) => Ok(password),
        Err(_) if asks() => rpassword::prompt_password(prompt),
        Err(_) => Ok(String::new()),
    }
}
