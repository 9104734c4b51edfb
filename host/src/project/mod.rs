//! A practitioner's project on disk: which images there are, what people said of them, and what was chosen when.
//!
//! ```text
//! PROJECT/config.toml                  the settings of the last selection, every default written out
//! PROJECT/images.csv  skipped.csv      the images by id, with their hashes; files that are no images, with the reasons
//! PROJECT/labels.csv                   what people have labelled so far; of copies the first is named
//! PROJECT/rounds/000/...               each selection, whole or not there
//! PROJECT/picks.csv  picks.json  ...   copies of the last selection's files
//! ```
//!
//! Files are the truth, as in a run. This room knows no plugin, no model and no loop.

mod addresses;
mod error;
mod exports;
pub mod fuzz;
mod images;
mod label_studio;
mod label_table;
mod labels;
mod names;
mod picks;
mod pool;
mod reading;
mod siblings;
mod tables;

pub use error::ProjectError;
pub use images::{Allowed, Known, Recognised};
pub use label_studio::{tasks, url_prefix};
pub use labels::{Disagreement, Merged};
pub use names::Names;
pub use picks::{Pick, Picks};
pub use pool::Pool;
pub use reading::{Columns, Read};

use crate::data::Skipped;
use crate::experiment::write_atomically;
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const IMAGES: &str = "images.csv";
const LABELS: &str = "labels.csv";
const SKIPPED: &str = "skipped.csv";
const ROUNDS: &str = "rounds";
/// What begins as this is a round that was not finished.
const UNFINISHED: &str = "unfinished";

/// A project's folder, locked against other processes.
pub struct Project {
    root: PathBuf,
    _lock: Option<File>,
}

impl Project {
    /// The project of a folder, or the one that a folder which is not there, or empty, will be.
    ///
    /// Errs if the folder holds anything else, or if another process works on it.
    pub fn at(root: &Path) -> Result<Project, ProjectError> {
        let mut project = Project { root: root.to_owned(), _lock: None };
        let is_empty = fs::read_dir(root).map_or(!root.exists(), |mut entries| entries.next().is_none());
        if is_empty {
            return Ok(project);
        }
        if !project.path(IMAGES).is_file() {
            return Err(ProjectError::Occupied(root.to_owned()));
        }
        project.lock()?;
        Ok(project)
    }

    /// The project of a folder; errs if there is none.
    pub fn open(root: &Path) -> Result<Project, ProjectError> {
        match root.join(IMAGES).is_file() {
            true => Project::at(root),
            false => Err(ProjectError::NoProject(root.to_owned())),
        }
    }

    fn lock(&mut self) -> Result<(), ProjectError> {
        let lock = File::open(self.path(IMAGES)).map_err(|error| ProjectError::read(&self.path(IMAGES), error))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(ProjectError::InUse(self.root.clone()));
        }
        self._lock = Some(lock);
        Ok(())
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file of the project.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The images in the order of their ids; empty before the first selection has come to its end.
    pub fn images(&self) -> Result<Vec<Known>, ProjectError> {
        match self.round(0).is_dir() {
            true => images::read(&self.path(IMAGES)),
            false => Ok(Vec::new()),
        }
    }

    /// The label of each labelled image, by path.
    pub fn labels(&self) -> Result<BTreeMap<String, String>, ProjectError> {
        match self.path(LABELS).exists() {
            true => Ok(tables::pairs(&self.path(LABELS), ["image", "label"])?.into_iter().collect()),
            false => Ok(BTreeMap::new()),
        }
    }

    /// Paths of the files that were no images at the last selection, with the reasons.
    pub fn skipped(&self) -> Result<BTreeMap<String, String>, ProjectError> {
        match self.path(SKIPPED).exists() {
            true => Ok(tables::pairs(&self.path(SKIPPED), ["image", "reason"])?.into_iter().collect()),
            false => Ok(BTreeMap::new()),
        }
    }

    /// Every selection so far, in order.
    pub fn rounds(&self) -> Result<Vec<Picks>, ProjectError> {
        let folders = (0..).map(|round| self.round(round)).take_while(|folder| folder.is_dir());
        folders.map(|folder| Picks::read(&folder.join("picks.json"))).collect()
    }

    /// The folder of a round.
    pub fn round(&self, round: u32) -> PathBuf {
        self.path(&format!("{ROUNDS}/{round:03}"))
    }

    /// Makes the project's folder and a place in it for the round under way; what an interrupted one left is removed.
    pub fn begin(&mut self, images: &[Known]) -> Result<PathBuf, ProjectError> {
        let unfinished = self.path(&format!("{ROUNDS}/{UNFINISHED}"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(|error| ProjectError::write(&unfinished, error))?;
        }
        fs::create_dir_all(&unfinished).map_err(|error| ProjectError::write(&unfinished, error))?;
        if self.images()?.is_empty() {
            write_atomically(&self.path(IMAGES), images::text(images).as_bytes())?;
            self.lock()?;
        }
        Ok(unfinished)
    }

    /// Makes the round count whose files lie in the place that [`Project::begin`] gave, and copies them to the front.
    ///
    /// `labels` are stored where images have other names than before.
    pub fn finish(
        &self,
        round: u32,
        found: &Recognised,
        labels: &BTreeMap<String, String>,
        skipped: &[Skipped],
    ) -> Result<(), ProjectError> {
        let (unfinished, folder) = (self.path(&format!("{ROUNDS}/{UNFINISHED}")), self.round(round));
        // Labels first: images whose names are the old ones will be recognised again, and find their labels.
        if !found.moved.is_empty() && !labels.is_empty() {
            self.store_labels(labels)?;
        }
        write_atomically(&self.path(IMAGES), images::text(&found.images).as_bytes())?;
        let rows = skipped.iter().map(|skipped| [skipped.image.as_str(), skipped.reason.as_str()]);
        write_atomically(&self.path(SKIPPED), tables::text(["image", "reason"], rows).as_bytes())?;
        fs::rename(&unfinished, &folder).map_err(|error| ProjectError::write(&folder, error))?;
        self.show(round)
    }

    /// Copies a round's files to the front; what an earlier round had there and this one has not goes away.
    fn show(&self, round: u32) -> Result<(), ProjectError> {
        for name in FRONT {
            let (from, to) = (self.round(round).join(name), self.path(name));
            if from.exists() {
                let bytes = fs::read(&from).map_err(|error| ProjectError::read(&from, error))?;
                write_atomically(&to, &bytes)?;
            } else if to.exists() {
                fs::remove_file(&to).map_err(|error| ProjectError::write(&to, error))?;
            }
        }
        Ok(())
    }

    /// Stores the labels: what was there before is replaced as a whole.
    pub fn store_labels(&self, labels: &BTreeMap<String, String>) -> Result<(), ProjectError> {
        let rows = labels.iter().map(|(image, label)| [image.as_str(), label.as_str()]);
        Ok(write_atomically(&self.path(LABELS), tables::text(["image", "label"], rows).as_bytes())?)
    }
}

/// The files of a round that also lie in the project's folder.
const FRONT: [&str; 6] =
    ["config.toml", "picks.csv", "picks.json", "contact-sheet.png", "label-studio.json", "index.html"];
