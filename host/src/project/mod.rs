//! A practitioner's project on disk: which images there are, what people said of them, and what was chosen when.
//!
//! ```text
//! PROJECT/config.toml                  the settings of the last selection, every default written out
//! PROJECT/images.csv  skipped.csv      the images by id, with their hashes; files that are no images, with the reasons
//! PROJECT/labels.csv                   what people have labelled so far; of copies the first is named
//! PROJECT/dropped.csv                  images that are to be forgotten, by what is in their files
//! PROJECT/rounds/000/...               each selection, whole or not there
//! PROJECT/picks.csv  picks.json  ...   copies of the last selection's files
//! PROJECT/hashes.json                  what the files hold that the next selection goes on from
//! PROJECT/project.lock                 locked while a process works on the project; never replaced
//! ```
//!
//! Files are the truth, as in a run. This room knows no plugin, no model and no loop.

mod addresses;
mod dropped;
mod error;
mod exports;
pub mod fuzz;
mod hashes;
mod images;
mod label_studio;
mod label_table;
mod labelled;
mod labels;
mod names;
mod near;
mod picks;
mod pool;
mod predictions;
mod reading;
mod siblings;
mod tables;

pub use dropped::Change;
pub use error::ProjectError;
pub use images::{Allowed, Known, Recognised};
pub use label_studio::{Tasks, url_prefix};
pub use labelled::{Labelled, to_csv, to_folders};
pub use labels::{Disagreement, Merged};
pub use names::Names;
pub use near::{NearCopy, near_copies_to_csv};
pub use picks::{Pick, Picks};
pub use pool::Pool;
pub use predictions::{Guess, Predictions};
pub use reading::{Columns, Read};

use crate::data::Skipped;
use crate::experiment::{Hashes, create_folder, of_files, remove_partial_files, sync_parent, write_atomically};
use crate::hash::sha256;
use hashes::Stored;
use rustix::fs::FlockOperation;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const IMAGES: &str = "images.csv";
const LABELS: &str = "labels.csv";
const SKIPPED: &str = "skipped.csv";
const DROPPED: &str = "dropped.csv";
const CONFIG: &str = "config.toml";
const LOCK: &str = "project.lock";
const ROUNDS: &str = "rounds";
/// What begins as this is a round that was not finished.
const UNFINISHED: &str = "unfinished";
/// The tables of a project.
const TABLES: [&str; 3] = [IMAGES, LABELS, SKIPPED];
/// The files of a round that later ones go on from.
const KEPT: [&str; 3] = [CONFIG, "picks.json", "strategy.state"];

/// A project's folder, locked against other processes.
pub struct Project {
    root: PathBuf,
    lock: Option<File>,
    stored: Stored,
    /// Whether a selection was done before whose files had not all come to the front; they have now.
    completed: bool,
}

impl Project {
    /// The project of a folder, or the one that a folder which is not there, or empty, will be.
    ///
    /// A project that was stopped halfway is brought to where it was, or begins anew. Errs if the folder holds anything else, if
    /// another process works on it, or if a file of it is not what was written.
    pub fn at(root: &Path) -> Result<Project, ProjectError> {
        let mut project = Project { root: root.to_owned(), lock: None, stored: Stored::default(), completed: false };
        let is_empty = fs::read_dir(root).map_or(!root.exists(), |mut entries| entries.next().is_none());
        if is_empty {
            return Ok(project);
        }
        if !project.path(IMAGES).is_file() && !project.path(LOCK).is_file() {
            return Err(ProjectError::Occupied(root.to_owned()));
        }
        project.take_up()?;
        Ok(project)
    }

    /// The project of a folder; errs if there is none.
    pub fn open(root: &Path) -> Result<Project, ProjectError> {
        match root.join(IMAGES).is_file() {
            true => Project::at(root),
            false => Err(ProjectError::NoProject(root.to_owned())),
        }
    }

    /// Locks the project and checks what is in it.
    fn take_up(&mut self) -> Result<(), ProjectError> {
        self.lock()?;
        remove_partial_files(&self.root)?;
        self.check_files()?;
        if let Some(round) = self.stored.showing {
            self.show(round)?;
            self.has_stored(None)?;
            self.completed = true;
        }
        Ok(())
    }

    fn lock(&mut self) -> Result<(), ProjectError> {
        let path = self.path(LOCK);
        let failed = |error| ProjectError::write(&path, error);
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(ProjectError::InUse(self.root.clone()));
        }
        self.lock = Some(lock);
        Ok(())
    }

    /// Whether the last selection had been stopped when all of it was done but for the copies of its files at the front, which are
    /// there now.
    pub fn completed_a_selection(&self) -> bool {
        self.completed
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

    /// Ids of the images that were chosen or have a label, which cannot be gone without a word.
    pub fn needed(&self, rounds: &[Picks]) -> Result<BTreeSet<u64>, ProjectError> {
        let (images, labels, dropped) = (self.images()?, self.labels()?, self.dropped()?);
        let chosen = rounds.iter().flat_map(|picks| &picks.picks).map(|pick| pick.id);
        let is_labelled = |(id, known): (usize, &Known)| labels.contains_key(&known.image).then_some(id as u64);
        let labelled = images.iter().enumerate().filter_map(is_labelled);
        let is_dropped = |id: &u64| images.get(*id as usize).is_some_and(|known| dropped.contains_key(&known.sha256));
        Ok(chosen.chain(labelled).filter(|id| !is_dropped(id)).collect())
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
    ///
    /// Errs if another process has begun, or made, the same project meanwhile.
    pub fn begin(&mut self) -> Result<PathBuf, ProjectError> {
        if self.lock.is_none() {
            create_folder(&self.root)?;
            self.take_up()?;
            if self.round(0).exists() {
                return Err(ProjectError::MadeMeanwhile(self.root.clone()));
            }
        }
        let unfinished = self.path(&format!("{ROUNDS}/{UNFINISHED}"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(|error| ProjectError::write(&unfinished, error))?;
        }
        create_folder(&unfinished)?;
        Ok(unfinished)
    }

    /// Makes the round count whose files lie in the place that [`Project::begin`] gave, and copies them to the front.
    ///
    /// `labels` are stored where images have other names than before.
    pub fn finish(
        &mut self,
        round: u32,
        found: &Recognised,
        labels: &BTreeMap<String, String>,
        skipped: &[Skipped],
    ) -> Result<(), ProjectError> {
        let (unfinished, folder) = (self.path(&format!("{ROUNDS}/{UNFINISHED}")), self.round(round));
        let rows = skipped.iter().map(|skipped| [skipped.image.as_str(), skipped.reason.as_str()]);
        let mut tables =
            vec![(IMAGES, images::text(&found.images)), (SKIPPED, tables::text(["image", "reason"], rows))];
        // Labels first: images whose names are the old ones will be recognised again, and find their labels.
        if !found.moved.is_empty() && !labels.is_empty() {
            tables.insert(0, (LABELS, text_of_labels(labels)));
        }
        let failed = |error| ProjectError::write(&folder, error);
        sync_below(&unfinished).map_err(failed)?;
        let mut next = hashes_of_round(&unfinished, round)?;
        next.extend(tables.iter().map(|(name, text)| ((*name).to_owned(), sha256(text.as_bytes()))));
        self.will_store(next)?;
        for (name, text) in &tables {
            write_atomically(&self.path(name), text.as_bytes())?;
        }
        fs::rename(&unfinished, &folder).and_then(|()| sync_parent(&folder)).map_err(failed)?;
        self.has_stored(Some(round))?;
        self.show(round)?;
        self.has_stored(None)
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

    /// The last selection's files at the front that are for people, as far as they are there.
    pub fn files_to_show(&self) -> Vec<PathBuf> {
        let files = FRONT.iter().filter(|name| **name != CONFIG).map(|name| self.path(name));
        files.filter(|file| file.exists()).collect()
    }

    /// Stores the labels: what was there before is replaced as a whole.
    pub fn store_labels(&mut self, labels: &BTreeMap<String, String>) -> Result<(), ProjectError> {
        let text = text_of_labels(labels);
        self.will_store(Hashes::from([(LABELS.to_owned(), sha256(text.as_bytes()))]))?;
        write_atomically(&self.path(LABELS), text.as_bytes())?;
        self.has_stored(None)
    }
}

fn text_of_labels(labels: &BTreeMap<String, String>) -> String {
    tables::text(["image", "label"], labels.iter().map(|(image, label)| [image.as_str(), label.as_str()]))
}

/// The hashes of what later rounds go on from, under the names that it will have, at the front too.
fn hashes_of_round(unfinished: &Path, round: u32) -> Result<Hashes, ProjectError> {
    let of_round = of_files(unfinished, &KEPT)?;
    let mut hashes: Hashes =
        of_round.iter().map(|(name, hash)| (format!("{ROUNDS}/{round:03}/{name}"), hash.clone())).collect();
    hashes.extend(of_round.get(CONFIG).map(|hash| (CONFIG.to_owned(), hash.clone())));
    Ok(hashes)
}

/// See to it that all files below a folder are on disk.
fn sync_below(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => sync_below(&path)?,
            false => File::open(&path)?.sync_all()?,
        }
    }
    File::open(folder)?.sync_all()
}

/// The files of a round that also lie in the project's folder.
const FRONT: [&str; 10] = [
    "config.toml",
    "picks.csv",
    "picks.json",
    "contact-sheet.png",
    "label-studio.json",
    "label-studio.xml",
    "predictions.csv",
    "estimate.json",
    "near-copies.csv",
    "index.html",
];
