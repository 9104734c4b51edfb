//! Images that a project forgets: they are neither offered nor learnt from, whatever they are called and however many copies there
//! are, until they are taken back.

use super::{DROPPED, LABELS, Project, ProjectError, tables, text_of_labels};
use crate::experiment::{Hashes, write_atomically};
use crate::hash::sha256;
use std::collections::BTreeMap;

const HEADER: [&str; 2] = ["sha256", "image"];

/// What a call of `drop` has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Paths of the images, copies among them.
    pub images: Vec<String>,
    /// How many of them lost a label.
    pub labels: usize,
    /// Images that were so before.
    pub unchanged: Vec<String>,
}

impl Project {
    /// The images to be forgotten: a path for each content.
    pub fn dropped(&self) -> Result<BTreeMap<String, String>, ProjectError> {
        match self.path(DROPPED).exists() {
            true => Ok(tables::pairs(&self.path(DROPPED), HEADER)?.into_iter().collect()),
            false => Ok(BTreeMap::new()),
        }
    }

    /// Forgets these images and all of their copies, with their labels.
    ///
    /// Errs at the first name that is none of an image, before anything is changed.
    pub fn drop_images(&mut self, names: &[String]) -> Result<Change, ProjectError> {
        let contents = self.contents(names)?;
        let (mut dropped, mut labels) = (self.dropped()?, self.labels()?);
        let (mut change, n_labels) = (Change::default(), labels.len());
        for (content, image) in contents {
            let copies = self.images_of(&content)?;
            copies.iter().for_each(|copy| drop(labels.remove(copy)));
            match dropped.insert(content, image.clone()) {
                Some(_) => change.unchanged.push(image),
                None => change.images.extend(copies),
            }
        }
        change.labels = n_labels - labels.len();
        self.store_dropped(&dropped, &labels)?;
        Ok(change)
    }

    /// Takes images back that were forgotten. Their labels do not come back.
    pub fn take_back(&mut self, names: &[String]) -> Result<Change, ProjectError> {
        let contents = self.contents(names)?;
        let (mut dropped, labels) = (self.dropped()?, self.labels()?);
        let mut change = Change::default();
        for (content, image) in contents {
            match dropped.remove(&content) {
                Some(_) => change.images.extend(self.images_of(&content)?),
                None => change.unchanged.push(image),
            }
        }
        self.store_dropped(&dropped, &labels)?;
        Ok(change)
    }

    /// What is in the files of these images, each with a path.
    fn contents(&self, names: &[String]) -> Result<BTreeMap<String, String>, ProjectError> {
        let (known, images) = (self.names()?, self.images()?);
        let content = |name: &String| {
            let found = known.find(name).map_err(|lost| known.explain(name, "as typed", lost))?;
            let image = &images[found.image];
            Ok((image.sha256.clone(), image.image.clone()))
        };
        names.iter().map(content).collect()
    }

    /// All images with this content.
    fn images_of(&self, content: &str) -> Result<Vec<String>, ProjectError> {
        let images = self.images()?.into_iter().filter(|known| known.sha256 == content);
        Ok(images.map(|known| known.image).collect())
    }

    fn store_dropped(
        &mut self,
        dropped: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), ProjectError> {
        let rows = dropped.iter().map(|(content, image)| [content.as_str(), image.as_str()]);
        let mut files = vec![(DROPPED, tables::text(HEADER, rows))];
        if self.path(LABELS).exists() {
            files.push((LABELS, text_of_labels(labels)));
        }
        let next: Hashes = files.iter().map(|(name, text)| ((*name).to_owned(), sha256(text.as_bytes()))).collect();
        self.will_store(next)?;
        for (name, text) in &files {
            write_atomically(&self.path(name), text.as_bytes())?;
        }
        self.has_stored(None)
    }
}
