//! What was typed and should be there: where it is not, the nearest name is said, or what there is.

use super::problem::Problem;
use crate::nearest::nearest;
use std::path::{Path, PathBuf};

/// Entries of a folder that are looked at.
const MOST_LOOKED_AT: usize = 10_000;
/// Names that are listed where none is near.
const MOST_LISTED: usize = 5;

/// What a path should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The folder of a run.
    Run,
    /// The folder of a run, or of a study.
    RunOrStudy,
    /// The folder of a study.
    Study,
    /// The folder of a project, which `select` makes.
    Project,
    /// A folder of images for `select`.
    Images,
    /// A file.
    File,
}

/// Errs if nothing of that kind is there, as for any mistake in what was typed.
pub fn existing(path: &Path, wanted: Wanted) -> Result<(), Problem> {
    // What cannot be looked at is for the command to say.
    let Ok(exists) = path.try_exists() else { return Ok(()) };
    // A folder that holds neither run nor study is for the report's room to describe.
    if exists && (wanted.is(path) || wanted == Wanted::RunOrStudy) {
        return Ok(());
    }
    let shown = path.display();
    let message = match wanted {
        _ if exists => format!("`{shown}` is no {}: {}", wanted.name(), wanted.lacks(path)),
        Wanted::File => format!("cannot read `{shown}`: there is no such file"),
        Wanted::Run => format!("`{shown}` is no run directory: there is no such folder"),
        _ => format!("there is no {} `{shown}`", wanted.name()),
    };
    Err(Problem::usage(message, hint(path, wanted)))
}

impl Wanted {
    fn name(self) -> &'static str {
        match self {
            Wanted::Run => "run directory",
            Wanted::RunOrStudy => "run or study",
            Wanted::Study => "study",
            Wanted::Project => "project",
            Wanted::Images => "folder",
            Wanted::File => "file",
        }
    }

    fn is(self, path: &Path) -> bool {
        match self {
            Wanted::Run => is_run(path),
            Wanted::RunOrStudy => is_run(path) || is_study(path),
            Wanted::Study => is_study(path),
            Wanted::Project => path.join("images.csv").is_file(),
            Wanted::Images => path.is_dir(),
            // A pipe serves as a file, too.
            Wanted::File => !path.is_dir(),
        }
    }

    /// What is missing at a path that is there.
    fn lacks(self, path: &Path) -> &'static str {
        match self {
            Wanted::Run if is_study(path) => "it is a study, with runs in its folder `runs`",
            Wanted::Run | Wanted::RunOrStudy => "it has no `config.toml`",
            Wanted::Study if path.is_file() => "it is a file",
            Wanted::Study if is_run(path) => "it is a single run",
            Wanted::Study => "it has no `plan.csv`",
            Wanted::Project => "it has no `images.csv`",
            Wanted::Images => "it is a file",
            Wanted::File => "it is a folder",
        }
    }

    /// How one is made, for where there is none.
    fn made_by(self) -> Option<&'static str> {
        match self {
            Wanted::Run => Some("`coldstart run CONFIG` makes one, in `runs` unless it is told otherwise"),
            Wanted::RunOrStudy => Some("`coldstart run CONFIG` and `coldstart sweep CONFIG` make them"),
            Wanted::Study => Some("`coldstart sweep CONFIG --executor none --detach` plans one"),
            Wanted::Project => Some("`coldstart select` makes one"),
            Wanted::Images => Some("`--images` names a folder with images in it"),
            Wanted::File => None,
        }
    }

    /// Folders beside the path's own in which its like lies.
    fn elsewhere(self) -> &'static [&'static str] {
        match self {
            Wanted::Run => &["runs"],
            Wanted::RunOrStudy => &["runs", "studies"],
            Wanted::Study => &["studies"],
            _ => &[],
        }
    }
}

fn is_run(path: &Path) -> bool {
    path.join("config.toml").is_file() && !is_study(path)
}

fn is_study(path: &Path) -> bool {
    path.join("plan.csv").is_file()
}

/// The nearest path of the kind, or some that there are, or how one is made.
fn hint(path: &Path, wanted: Wanted) -> Option<String> {
    if let (Wanted::Run, true) = (wanted, is_study(path)) {
        return Some(format!("`coldstart sweep CONFIG --out {}` goes on with it", path.display()));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    if let Some(missing) = first_missing(folder) {
        return Some(format!("there is no folder `{}`", missing.display()));
    }
    let elsewhere = wanted.elsewhere().iter().map(|name| folder.join(name));
    let mut known: Vec<PathBuf> =
        std::iter::once(folder.to_owned()).chain(elsewhere).flat_map(|f| of(&f, wanted)).collect();
    known.sort();
    let name_of = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let names: Vec<String> = known.iter().map(|path| name_of(path)).collect();
    let near = nearest(&name_of(path), names.iter().map(String::as_str));
    if let Some(near) = near.and_then(|near| known.iter().zip(&names).find(|(_, name)| *name == near)) {
        return Some(format!("did you mean `{}`?", near.0.display()));
    }
    match (known.is_empty(), wanted) {
        (true, _) | (_, Wanted::File | Wanted::Images) => wanted.made_by().map(str::to_owned),
        _ => Some(format!("there is {}", listed(&known))),
    }
}

/// The kind's paths in a folder.
fn of(folder: &Path, wanted: Wanted) -> Vec<PathBuf> {
    let read = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(read).into_iter().flatten().flatten().take(MOST_LOOKED_AT);
    entries.map(|entry| folder.join(entry.file_name())).filter(|path| wanted.is(path)).collect()
}

fn first_missing(folder: &Path) -> Option<&Path> {
    let above: Vec<&Path> = folder.ancestors().filter(|folder| !folder.as_os_str().is_empty()).collect();
    above.into_iter().rev().find(|folder| folder.try_exists().is_ok_and(|exists| !exists))
}

fn listed(known: &[PathBuf]) -> String {
    let shown: Vec<String> = known.iter().take(MOST_LISTED).map(|path| format!("`{}`", path.display())).collect();
    let more =
        if known.len() > MOST_LISTED { format!(", and {} more", known.len() - MOST_LISTED) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// What a command is to write a file beside: the folders above it are made, here as everywhere in the program.
pub fn make_folder_of(file: &Path) -> Result<(), Problem> {
    match file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => make_folder(folder),
        None => Ok(()),
    }
}

/// A folder that a command is to write into, and those above it.
pub fn make_folder(folder: &Path) -> Result<(), Problem> {
    std::fs::create_dir_all(folder).map_err(|error| {
        let message = format!("cannot create `{}`: {error}", folder.display());
        Problem::outcome(message, Some("name a place that you can write to".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_not_there_is_told_by_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, file) in [
            ("runs/tiny-1", "config.toml"),
            ("runs/tiny-2", "config.toml"),
            ("study", "plan.csv"),
            ("project", "images.csv"),
            ("empty", "x"),
        ] {
            fs::create_dir_all(at(name)).unwrap();
            fs::write(at(name).join(file), "").unwrap();
        }
        let said = |path: &str, wanted| {
            existing(&at(path), wanted).map_or_else(|problem| format!("{problem:?}"), |()| String::new())
        };
        for (path, wanted, parts) in [
            ("runs/tiny-1", Wanted::Run, &[][..]),
            ("study", Wanted::RunOrStudy, &[]),
            ("project", Wanted::Project, &[]),
            ("study", Wanted::Run, &["is no run directory: it is a study", "coldstart sweep CONFIG --out"]),
            ("study", Wanted::Study, &[]),
            (
                "runs/tiny-1",
                Wanted::Study,
                &["is no study: it is a single run", "sweep CONFIG --executor none --detach"],
            ),
            ("stduy", Wanted::Study, &["there is no study `", "did you mean", "study`?"]),
            ("tiny1", Wanted::Run, &["is no run directory", "did you mean", "runs/tiny-1`?"]),
            ("elsewhere", Wanted::Run, &["is no run directory", "runs/tiny-1`, ", "runs/tiny-2`"]),
            ("empty", Wanted::RunOrStudy, &[]),
            ("elsewhere", Wanted::RunOrStudy, &["there is no run or study", "study`"]),
            ("projekt", Wanted::Project, &["there is no project", "project`?"]),
            ("empty/y", Wanted::File, &["there is no such file"]),
            ("nowhere/at/all.csv", Wanted::File, &["there is no such file", "there is no folder", "nowhere`"]),
            ("empty", Wanted::File, &["is no file: it is a folder"]),
            ("empty/x", Wanted::Images, &["is no folder: it is a file"]),
            ("nowhere", Wanted::Images, &["there is no folder", "`--images`"]),
        ] {
            let said = said(path, wanted);
            assert_eq!(said.is_empty(), parts.is_empty(), "{path}: {said}");
            assert!(parts.is_empty() || said.starts_with("exit 2"), "{said}");
            parts.iter().for_each(|part| assert!(said.contains(part), "expected `{part}` in {said}"));
        }
    }
}
