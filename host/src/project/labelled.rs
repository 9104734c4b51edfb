//! The labelled images of a project, given out again: as a table, or as a folder for each class.

use super::images::named;
use super::names::originals;
use super::{Project, ProjectError, tables};
use crate::experiment::{create_folder, sync_parent};
use crate::hash::sha256;
use std::fs;
use std::path::{Path, PathBuf};

/// An image with its label. Copies are one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// Path below the folder of images.
    pub image: String,
    /// What people call it.
    pub label: String,
    /// What is in its file.
    pub sha256: String,
}

impl Project {
    /// The labelled images in the order of their ids; of copies the one whose path has the label.
    pub fn labelled(&self) -> Result<Vec<Labelled>, ProjectError> {
        let (images, labels, dropped) = (self.images()?, self.labels()?, self.dropped()?);
        let originals = originals(&images);
        let mut given = vec![false; images.len()];
        let mut labelled = Vec::new();
        for (id, known) in images.iter().enumerate() {
            let Some(label) = labels.get(&known.image) else { continue };
            if dropped.contains_key(&known.sha256) || std::mem::replace(&mut given[originals[id]], true) {
                continue;
            }
            let (image, sha256) = (known.image.clone(), known.sha256.clone());
            labelled.push(Labelled { image, label: label.clone(), sha256 });
        }
        Ok(labelled)
    }

    /// Where the images were at the last selection.
    pub fn folder_of_images(&self) -> Result<Option<PathBuf>, ProjectError> {
        Ok(self.rounds()?.last().map(|round| PathBuf::from(&round.folder)))
    }
}

/// `image,label,sha256`, a row for each image.
pub fn to_csv(labelled: &[Labelled]) -> String {
    let rows = labelled.iter().map(|row| [row.image.as_str(), row.label.as_str(), row.sha256.as_str()]);
    tables::text(["image", "label", "sha256"], rows)
}

/// Copies the images from `images` to `folder/LABEL/PATH`, all of them or none.
///
/// A label that is no name of a folder is percent-encoded. Errs if `folder` holds anything, or if an image is not there or is not the
/// one that was labelled.
pub fn to_folders(labelled: &[Labelled], images: &Path, folder: &Path) -> Result<(), ProjectError> {
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        let message = format!("`{}` is not empty", folder.display());
        return Err(ProjectError::mistake(message, "name a folder that is not there yet"));
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(parent)?;
    let failed = |error| ProjectError::write(folder, error);
    let unfinished = tempfile::Builder::new().prefix(".coldstart-export-").tempdir_in(parent).map_err(failed)?;
    // The outer folder is its user's alone; the inner one has the rights of any new folder.
    let all = unfinished.path().join("all");
    fs::create_dir(&all).map_err(failed)?;
    let mut changed = Vec::new();
    for row in labelled {
        let from = images.join(&row.image);
        let bytes = fs::read(&from).map_err(|error| ProjectError::read(&from, error))?;
        if sha256(&bytes) != row.sha256 {
            changed.push(row.image.as_str());
            continue;
        }
        let to = all.join(folder_name(&row.label)).join(&row.image);
        let written = fs::create_dir_all(to.parent().unwrap_or(Path::new("."))).and_then(|()| fs::write(&to, &bytes));
        written.map_err(|error| ProjectError::write(&to, error))?;
    }
    if !changed.is_empty() {
        let message = format!("{} images are not those that were labelled: {}", changed.len(), named(changed));
        return Err(ProjectError::mistake(message, "bring the files back as they were"));
    }
    put_in_place(&all, folder).map_err(failed)
}

/// Gives a finished folder its name.
fn put_in_place(finished: &Path, folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        fs::remove_dir(folder)?;
    }
    fs::rename(finished, folder)?;
    sync_parent(folder)
}

/// The name of a label's folder: the label, with what a name of a folder cannot be in percent.
fn folder_name(label: &str) -> String {
    let is_plain = |c: char| !c.is_control() && !"/\\%:*?\"<>|".contains(c);
    let mut name = String::new();
    for (i, c) in label.chars().enumerate() {
        // Names that begin with a dot are hidden, or mean another folder.
        if is_plain(c) && !(i == 0 && c == '.') {
            name.push(c);
            continue;
        }
        let mut bytes = [0; 4];
        c.encode_utf8(&mut bytes).bytes().for_each(|byte| name.push_str(&format!("%{byte:02X}")));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_make_names_of_folders_that_lead_nowhere_else() {
        for (label, name) in [
            ("polar bear", "polar bear"),
            ("insect/ant", "insect%2Fant"),
            ("..", "%2E."),
            (".hidden", "%2Ehidden"),
            ("50%", "50%25"),
            ("b\u{e4}r", "b\u{e4}r"),
            ("a\nb", "a%0Ab"),
        ] {
            assert_eq!(folder_name(label), name);
        }
    }
}
