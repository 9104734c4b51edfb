//! Why is a plugin chosen, or not? Everything that the search looks at, with the reason for what it makes of it.

use super::elf;
use super::error::{PluginCode, PluginError};
use super::load::running_glibc;
use super::search::{Candidate, Content, Found, SearchPath, StrategyName};
use super::trust::{TrustStore, look};
use coldstart_plugin_api::Role;
use serde::Serialize;
use std::path::PathBuf;

/// What there is to say about a name.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// Every folder of the search path, in order.
    pub folders: Vec<FolderFinding>,
    /// The plugin that the name means in each role, or why there is none; roles that nothing by this name plays are left out
    /// unless nothing plays any.
    pub choices: Vec<Choice>,
}

/// A folder of the search path.
#[derive(Debug, Serialize)]
pub struct FolderFinding {
    /// Where it is.
    pub folder: PathBuf,
    /// `searched`, `missing`, or why it is ignored.
    pub state: String,
    /// The files in it that could be meant.
    pub files: Vec<FileFinding>,
}

/// A file that could be meant.
#[derive(Debug, Serialize)]
pub struct FileFinding {
    /// Where it is.
    pub file: PathBuf,
    /// Name, version and roles; empty if they cannot be read.
    pub what: String,
    /// The roles in which it is the one.
    pub chosen: Vec<&'static str>,
    /// Why it is not the one, or why it will be refused.
    pub because: Vec<String>,
}

/// What a name means in a role.
#[derive(Debug, Serialize)]
pub struct Choice {
    /// `initial`, `query` or `sizer`.
    pub role: &'static str,
    /// The library.
    pub file: Option<PathBuf>,
    /// Why there is none, and what to do.
    pub problem: Option<String>,
    /// The file of the program's own that it is found before.
    pub shadows: Option<PathBuf>,
}

/// Explain what a name means. Reads files; runs nothing. Errs only if the name makes no sense.
pub fn diagnose(search: &SearchPath, name: &str, store: &TrustStore) -> Result<Diagnosis, PluginError> {
    let wanted = StrategyName::parse(name)?;
    let contents = search.contents();
    let roles = Role::ALL.map(Role::name);
    let resolved = roles.map(|role| (role, search.resolve(name, role)));
    let chosen: Vec<(&'static str, &Found)> =
        resolved.iter().filter_map(|(role, found)| Some((*role, found.as_ref().ok()?))).collect();
    let case = Case { wanted: &wanted, contents: &contents, chosen: &chosen, store };
    let folders = contents.iter().enumerate().map(|(at, _)| case.folder(at)).collect();
    let nothing = chosen.is_empty();
    let choices = resolved.iter().filter(|(_, found)| nothing || found.is_ok()).map(|(role, found)| match found {
        Ok(found) => {
            let shadows = shadowed(search, found, &wanted, role);
            Choice { role, file: Some(found.file.clone()), problem: None, shadows }
        }
        Err(error) => {
            let hint = error.hint.lines().next().unwrap_or_default();
            Choice { role, file: None, problem: Some(format!("{error} ({hint})")), shadows: None }
        }
    });
    let choices = choices.collect();
    Ok(Diagnosis { folders, choices })
}

/// The program's own file that the bare name would mean if this one were not found before it.
fn shadowed(search: &SearchPath, found: &Found, wanted: &StrategyName, role: &str) -> Option<PathBuf> {
    let bare = StrategyName::parse(wanted.name()).ok()?;
    let own = search.shadowed(found, &bare, role)?;
    search.resolve(wanted.name(), role).is_ok_and(|meant| meant == *found).then_some(own)
}

/// A name, and everything that the answer depends on.
struct Case<'a> {
    wanted: &'a StrategyName,
    contents: &'a [(PathBuf, Content)],
    chosen: &'a [(&'static str, &'a Found)],
    store: &'a TrustStore,
}

impl Case<'_> {
    fn folder(&self, at: usize) -> FolderFinding {
        let (folder, content) = &self.contents[at];
        let state = content.state();
        let candidates = content.candidates().iter().filter(|candidate| self.could_be(candidate));
        let overlooked =
            content.overlooked().iter().filter(|overlooked| self.wanted.resembles_package(&overlooked.path));
        let overlooked = overlooked.map(|overlooked| FileFinding {
            file: overlooked.path.clone(),
            what: String::new(),
            chosen: Vec::new(),
            because: vec![format!("{}: {}", overlooked.reason, overlooked.hint)],
        });
        let meant = |file: &&PathBuf| self.wanted.resembles(file) || self.wanted.resembles_package(file);
        let aside = content.left_aside().iter().filter(meant).map(|file| FileFinding {
            file: file.clone(),
            what: String::new(),
            chosen: Vec::new(),
            because: vec!["no key vouches for it".to_owned()],
        });
        let files = candidates.map(|candidate| self.candidate(at, candidate)).chain(overlooked).chain(aside).collect();
        FolderFinding { folder: folder.clone(), state, files }
    }

    /// The same name of another publisher could have been meant, too.
    fn could_be(&self, candidate: &Candidate) -> bool {
        match &candidate.manifest {
            Ok(manifest) => manifest.name == self.wanted.name(),
            Err(_) => self.wanted.resembles(&candidate.found.file),
        }
    }

    fn candidate(&self, at: usize, candidate: &Candidate) -> FileFinding {
        let file = candidate.found.file.clone();
        let manifest = match &candidate.manifest {
            Ok(manifest) => manifest,
            Err(error) => {
                let because = vec![format!("{error} ({})", error.hint)];
                return FileFinding { file, what: String::new(), chosen: Vec::new(), because };
            }
        };
        let chosen: Vec<&'static str> =
            self.chosen.iter().filter(|(_, found)| **found == candidate.found).map(|(role, _)| *role).collect();
        let mut because = Vec::new();
        if !self.wanted.means(manifest) {
            because.push(format!("its publisher is `{}`", manifest.publisher));
        } else if !self.wanted.requirement().matches(&manifest.version) {
            because.push(format!("its version {} is not {}", manifest.version, self.wanted.requirement()));
        } else if chosen.is_empty() {
            because.extend(manifest.roles.iter().filter_map(|role| self.beaten(at, role)));
        }
        because.extend(refusals(candidate, self.store).into_iter().map(|error| format!("{error} ({})", error.hint)));
        let what = format!("{} {} ({})", manifest.full_name(), manifest.version, manifest.roles.join(", "));
        FileFinding { file, what, chosen, because }
    }

    /// What was chosen instead of a file of that folder.
    fn beaten(&self, at: usize, role: &str) -> Option<String> {
        let (_, winner) = self.chosen.iter().find(|(chosen_role, _)| *chosen_role == role)?;
        let holds = |content: &Content| content.candidates().iter().any(|candidate| candidate.found == **winner);
        let earlier = self.contents.iter().position(|(_, content)| holds(content)).filter(|earlier| *earlier != at);
        Some(match earlier {
            Some(earlier) => format!("as {role} strategy: {} is searched first", self.contents[earlier].0.display()),
            None => format!("as {role} strategy: {} has a higher version", winner.file.display()),
        })
    }
}

/// What the loader would object to, as far as that can be known without loading.
fn refusals(candidate: &Candidate, store: &TrustStore) -> Vec<PluginError> {
    let name = candidate.found.file.display().to_string();
    let looked = look(&candidate.found, store).err();
    let contract = candidate.manifest.as_ref().ok().and_then(|manifest| manifest.check(&name).err());
    let floor = std::fs::read(&candidate.found.file).ok().map(|bytes| elf::glibc_floor(&name, &bytes));
    let running = running_glibc();
    let glibc = match floor {
        Some(Ok(floor)) if elf::is_newer(&floor, &running) => {
            let message = format!("needs glibc {floor}, this system has {running}");
            Some(PluginError::new(PluginCode::Glibc, &name, message))
        }
        Some(Err(error)) => Some(error),
        _ => None,
    };
    looked.into_iter().chain(contract).chain(glibc).collect()
}
