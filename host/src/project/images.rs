//! The list of a project's images: an id is a place in it, for good.

use super::{Project, ProjectError, tables};
use crate::data::{Decoded, Listed, Skipped};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// An image that the project knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Path below the folder of images.
    pub image: String,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
}

const HEADER: [&str; 3] = ["id", "image", "sha256"];

pub fn text(images: &[Known]) -> String {
    let ids: Vec<String> = (0..images.len()).map(|id| id.to_string()).collect();
    let rows = ids.iter().zip(images).map(|(id, known)| [id.as_str(), known.image.as_str(), known.sha256.as_str()]);
    tables::text(HEADER, rows)
}

pub fn read(path: &Path) -> Result<Vec<Known>, ProjectError> {
    let rows = tables::rows(path, HEADER)?;
    let known = |(i, [id, image, sha256]): (usize, [String; 3])| match id.parse() == Ok(i) {
        true => Ok(Known { image, sha256 }),
        false => Err(ProjectError::damaged(path, format!("line {}: the id `{id}` is not {i}", i + 2))),
    };
    rows.into_iter().enumerate().map(known).collect()
}

/// More than these are not named one by one.
const NAMED: usize = 3;

/// `a.jpg`, or `a.jpg`, `b.jpg` and 3 more.
pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.len() {
        n if n > NAMED + 1 => format!("{} and {} more", names[..NAMED].join(", "), n - NAMED),
        _ => names.join(", "),
    }
}

impl Project {
    /// The order in which a folder's images are to be read: those that the project knows by id, then new ones by path.
    ///
    /// Errs if one that it knows is gone.
    pub fn order(&self, listed: &Listed, folder: &Path) -> Result<Vec<String>, ProjectError> {
        let known = self.images()?;
        let there: BTreeSet<&str> = listed.images.iter().map(String::as_str).collect();
        let gone: Vec<&str> = known.iter().map(|known| known.image.as_str()).filter(|i| !there.contains(i)).collect();
        if !gone.is_empty() {
            let message = format!(
                "{} of the {} images that `{}` knows are not in `{}`: {}",
                gone.len(),
                known.len(),
                self.root().display(),
                folder.display(),
                named(gone.iter().copied()),
            );
            let hint = "name the folder that the project began with, bring the images back, or begin a new project \
                        with `--out`";
            return Err(ProjectError::mistake(message, hint));
        }
        let old: BTreeSet<&str> = known.iter().map(|known| known.image.as_str()).collect();
        let new = listed.images.iter().filter(|image| !old.contains(image.as_str())).cloned();
        Ok(known.iter().map(|known| known.image.clone()).chain(new).collect())
    }

    /// The images as they were read, with how many of them are new.
    ///
    /// Errs if one that the project knows has changed, or if there is none at all.
    pub fn check(&self, decoded: &Decoded, folder: &Path) -> Result<(Vec<Known>, usize), ProjectError> {
        let known = self.images()?;
        let skipped: BTreeMap<&str, &Skipped> = decoded.skipped.iter().map(|s| (s.image.as_str(), s)).collect();
        let found: BTreeMap<&str, &str> = decoded.images.iter().map(|(i, hash)| (i.as_str(), hash.as_str())).collect();
        let changed = |known: &&Known| found.get(known.image.as_str()) != Some(&known.sha256.as_str());
        let changed: Vec<&str> = known.iter().filter(changed).map(|known| known.image.as_str()).collect();
        if let Some(first) = changed.first() {
            let reason = skipped.get(first).map(|skipped| format!(" ({})", skipped.reason)).unwrap_or_default();
            let message = format!(
                "{} images in `{}` are not what they were when they were chosen from: {}{reason}",
                changed.len(),
                folder.display(),
                named(changed.iter().copied()),
            );
            let hint = "bring the files back as they were, or begin a new project with `--out`";
            return Err(ProjectError::mistake(message, hint));
        }
        if decoded.images.is_empty() {
            let message = match decoded.skipped.as_slice() {
                [] => format!("there is no image in `{}`", folder.display()),
                [first, ..] => {
                    let (n, first) = (decoded.skipped.len(), format!("`{}`: {}", first.image, first.reason));
                    format!("none of the {n} files in `{}` is an image; {first}", folder.display())
                }
            };
            return Err(ProjectError::mistake(message, "images are files named .jpg, .jpeg or .png, at any depth"));
        }
        let images =
            decoded.images.iter().map(|(image, sha256)| Known { image: image.clone(), sha256: sha256.clone() });
        Ok((images.collect(), decoded.images.len() - known.len()))
    }
}
