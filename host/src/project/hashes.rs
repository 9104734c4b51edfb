//! What a project's files hold, by hash: whoever goes on from them tells whether they are what was written.
//!
//! Before files are replaced, the hashes of the new ones are written down beside those of the old ones, so that a project that
//! was stopped in between is as sound as any other. The list is one line with a hash of itself.

use super::{Project, ProjectError};
use crate::experiment::{Hashes, Kept, look, write_atomically};
use crate::hash;
use serde::{Deserialize, Serialize};
use std::fs;

/// The list.
const HASHES: &str = "hashes.json";

/// The round of a file such as `rounds/003/picks.json`.
fn round_of(name: &str) -> Option<u32> {
    name.strip_prefix(super::ROUNDS)?.split('/').nth(1)?.parse().ok()
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// What each file holds.
    files: Hashes,
    /// What files hold that are being written.
    #[serde(default)]
    next: Hashes,
    /// The round whose files are being copied to the front.
    #[serde(default)]
    pub(super) showing: Option<u32>,
}

impl Project {
    /// Holds the project's files against the list, and takes up what was being written when it was stopped.
    ///
    /// A project of an earlier version has no list, and begins one. Errs when a file is not what was written.
    pub(super) fn check_files(&mut self) -> Result<(), ProjectError> {
        let path = self.path(HASHES);
        if !path.exists() {
            self.stored.files = self.hashes_of_earlier_version()?;
            return Ok(());
        }
        let text = fs::read_to_string(&path).map_err(|error| ProjectError::read(&path, error))?;
        let hash::Line::Whole(text) = hash::read_line(text.trim_end()) else {
            return Err(ProjectError::damaged(&path, "it is not what was written"));
        };
        let mut stored: Stored = serde_json::from_str(&text).map_err(|error| ProjectError::damaged(&path, error))?;
        for (name, hash) in std::mem::take(&mut stored.next) {
            if look(&self.root, &name, &hash)? == Kept::Whole {
                // The round that was being made has its name: all of it is there, but for the copies at the front.
                stored.showing = round_of(&name).or(stored.showing);
                stored.files.insert(name, hash);
            }
        }
        for (name, hash) in &stored.files {
            let problem = match look(&self.root, name, hash)? {
                Kept::Whole => continue,
                // What is copied to the front is copied again.
                Kept::Missing | Kept::Changed if stored.showing.is_some() && name == super::CONFIG => continue,
                Kept::Missing => "it is gone",
                Kept::Changed => "it is not what was written",
            };
            return Err(ProjectError::damaged(&self.path(name), problem));
        }
        self.stored = stored;
        Ok(())
    }

    fn hashes_of_earlier_version(&self) -> Result<Hashes, ProjectError> {
        let mut names = super::TABLES.map(str::to_owned).to_vec();
        names.push(super::CONFIG.to_owned());
        let rounds = (0..).map(|round| self.round(round)).take_while(|folder| folder.is_dir()).count();
        for round in 0..rounds {
            names.extend(super::KEPT.map(|name| format!("{}/{round:03}/{name}", super::ROUNDS)));
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Ok(crate::experiment::of_files(&self.root, &names)?)
    }

    /// Writes down what files will hold, before they are written.
    pub(super) fn will_store(&mut self, next: Hashes) -> Result<(), ProjectError> {
        self.stored.next = next;
        self.write_hashes()
    }

    /// Writes down that these files are there now; those of a round that is to be copied to the front are copied next.
    pub(super) fn has_stored(&mut self, showing: Option<u32>) -> Result<(), ProjectError> {
        let next = std::mem::take(&mut self.stored.next);
        self.stored.files.extend(next);
        self.stored.showing = showing;
        self.write_hashes()
    }

    fn write_hashes(&self) -> Result<(), ProjectError> {
        let text = hash::checked_line(&serde_json::to_string(&self.stored).expect("plain data")) + "\n";
        Ok(write_atomically(&self.path(HASHES), text.as_bytes())?)
    }
}
