//! Other projects in the same folder, which may be the one that the user means.

use super::{Project, Recognised, images};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

impl Project {
    /// The project beside this one that knows most of the images that were found, with their number; none if none knows half of
    /// them.
    ///
    /// For a project that begins because a folder of images has another name now. What cannot be read is passed over.
    pub fn sibling_that_knows(&self, found: &Recognised) -> Option<(PathBuf, usize)> {
        let folder = self.root().parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let contents: BTreeSet<&str> = found.images.iter().map(|known| known.sha256.as_str()).collect();
        let siblings = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
        let siblings = siblings.filter(|sibling| sibling.file_name() != self.root().file_name());
        let known = siblings.filter_map(|sibling| Some((n_known(&sibling, &contents)?, sibling)));
        let (n, sibling) = known.max()?;
        (2 * n > contents.len()).then(|| (sibling.strip_prefix(".").unwrap_or(&sibling).to_owned(), n))
    }
}

/// How many of these contents the project in a folder knows; none if there is no project, or none that has chosen.
fn n_known(folder: &Path, contents: &BTreeSet<&str>) -> Option<usize> {
    let list = folder.join(super::IMAGES);
    if !list.is_file() || !folder.join(super::ROUNDS).join("000").is_dir() {
        return None;
    }
    let known: BTreeSet<String> = images::read(&list).ok()?.into_iter().map(|known| known.sha256).collect();
    Some(contents.iter().filter(|content| known.contains(**content)).count())
}
