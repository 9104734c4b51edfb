//! The list of a project's images: an id is a place in it, for good. An image is what is in its file; its name may change.

use super::{Project, ProjectError, tables};
use crate::data::{Decoded, IMAGE_NAMES, Listed, Skipped};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;

/// An image that the project knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Path below the folder of images.
    pub image: String,
    /// SHA-256 of the file, in hexadecimal digits. Images with the same one are copies.
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

/// What a folder's images are to the project.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recognised {
    /// The images by id, under the names that they have now.
    pub images: Vec<Known>,
    /// For each of them, its place among those that were read; none if its file is not there.
    pub places: Vec<Option<usize>>,
    /// How many of them are new.
    pub new: usize,
    /// Images that have another name than before.
    pub moved: Vec<Moved>,
    /// Ids of images whose files have changed, which was allowed.
    pub changed: Vec<u64>,
    /// Ids of images that are left out because nothing with their content is there, which was allowed.
    pub missing: Vec<u64>,
}

/// An image under a new name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its path before.
    pub from: String,
    /// Its path now.
    pub to: String,
}

/// Which changes of a folder are taken as they are.
#[derive(Debug, Default)]
pub struct Allowed {
    /// Any: an image that was changed keeps its id and its label, one that is gone is left out.
    pub all: bool,
    /// Ids of images that were gone before, and were allowed to be.
    pub missing: BTreeSet<u64>,
    /// Ids of images that may not change: they were chosen, or have a label. Of the others nothing is lost.
    pub needed: BTreeSet<u64>,
}

impl Project {
    /// The order in which a folder's images are to be read: those that the project knows by id, then new ones by path.
    pub fn order(&self, listed: &Listed) -> Result<Vec<String>, ProjectError> {
        let known = self.images()?;
        let there: BTreeSet<&str> = listed.images.iter().map(String::as_str).collect();
        let old: BTreeSet<&str> = known.iter().map(|known| known.image.as_str()).collect();
        let new = listed.images.iter().map(String::as_str).filter(|image| !old.contains(image));
        // A name that two images have had is read once.
        let mut read = BTreeSet::new();
        let old =
            known.iter().map(|known| known.image.as_str()).filter(|image| there.contains(image) && read.insert(*image));
        Ok(old.chain(new).map(str::to_owned).collect())
    }

    /// The images as they were read, held against those that the project knows.
    ///
    /// An image under another name is recognised by its content. Errs if one was changed, or is nowhere, and that is not
    /// allowed; or if there is no image at all.
    pub fn recognise(&self, decoded: &Decoded, folder: &Path, allowed: &Allowed) -> Result<Recognised, ProjectError> {
        let known = self.images()?;
        let mut search = Search::of(known, decoded);
        search.by_name();
        search.by_content();
        let lost = search.lost(&decoded.skipped, &allowed.missing);
        let refused = if allowed.all { Lost::default() } else { lost.of(&allowed.needed) };
        if !refused.changed.is_empty() {
            return Err(self.changed(&search, &refused.changed, decoded, folder));
        }
        if !refused.gone.is_empty() {
            return Err(self.gone(&search, &refused.gone, folder));
        }
        search.take_changed(&lost.changed);
        if decoded.images.is_empty() {
            return Err(no_image(decoded, folder));
        }
        Ok(search.finish())
    }

    fn gone(&self, search: &Search<'_>, gone: &[usize], folder: &Path) -> ProjectError {
        let message = format!(
            "{} images that `{}` has chosen or has a label of are not in `{}`: {}",
            gone.len(),
            self.root().display(),
            folder.display(),
            named(gone.iter().map(|id| search.known[*id].image.as_str())),
        );
        let hint = "name the folder that the project began with, or bring the images back; `coldstart project drop` forgets \
                    some, `--accept-changes` goes on without any that are gone";
        ProjectError::mistake(message, hint)
    }

    fn changed(&self, search: &Search<'_>, changed: &[usize], decoded: &Decoded, folder: &Path) -> ProjectError {
        let name = |id: &usize| search.known[*id].image.as_str();
        let first = changed.first().map(name);
        let skipped = decoded.skipped.iter().find(|skipped| Some(skipped.image.as_str()) == first);
        let reason = skipped.map(|skipped| format!(" ({})", skipped.reason)).unwrap_or_default();
        let message = format!(
            "{} images in `{}` are not what they were when they were chosen from: {}{reason}",
            changed.len(),
            folder.display(),
            named(changed.iter().map(name)),
        );
        let hint =
            "bring the files back as they were; or `--accept-changes` takes them as they are now, with their labels";
        ProjectError::mistake(message, hint)
    }
}

fn no_image(decoded: &Decoded, folder: &Path) -> ProjectError {
    let message = match decoded.skipped.as_slice() {
        [] => format!("there is no image in `{}`", folder.display()),
        [first, ..] => {
            let (n, first) = (decoded.skipped.len(), format!("`{}`: {}", first.image, first.reason));
            format!("none of the {n} files in `{}` is an image; {first}", folder.display())
        }
    };
    ProjectError::mistake(message, format!("images are files named {IMAGE_NAMES}, at any depth"))
}

/// The search for known images among those that were read.
struct Search<'a> {
    known: Vec<Known>,
    places: Vec<Option<usize>>,
    read: &'a [(String, String)],
    taken: BTreeSet<usize>,
    moved: Vec<Moved>,
    changed: Vec<u64>,
}

/// Ids of images that were not found: those whose file has another content or none now, and those whose name is gone too.
#[derive(Default)]
struct Lost {
    changed: Vec<usize>,
    gone: Vec<usize>,
}

impl Lost {
    /// Those that are needed.
    fn of(&self, needed: &BTreeSet<u64>) -> Lost {
        let of = |ids: &[usize]| ids.iter().copied().filter(|id| needed.contains(&(*id as u64))).collect();
        Lost { changed: of(&self.changed), gone: of(&self.gone) }
    }
}

impl<'a> Search<'a> {
    fn of(known: Vec<Known>, decoded: &'a Decoded) -> Search<'a> {
        let places = vec![None; known.len()];
        Search { known, places, read: &decoded.images, taken: BTreeSet::new(), moved: Vec::new(), changed: Vec::new() }
    }

    fn place_of_name(&self) -> HashMap<&'a str, usize> {
        self.read.iter().enumerate().map(|(place, (image, _))| (image.as_str(), place)).collect()
    }

    /// Finds images where they were.
    fn by_name(&mut self) {
        let place_of_name = self.place_of_name();
        for (id, known) in self.known.iter().enumerate() {
            let place = place_of_name.get(known.image.as_str()).copied();
            if let Some(place) = place.filter(|place| self.read[*place].1 == known.sha256 && self.taken.insert(*place))
            {
                self.places[id] = Some(place);
            }
        }
    }

    /// Finds the others by what is in them.
    fn by_content(&mut self) {
        let mut free: HashMap<&str, VecDeque<usize>> = HashMap::new();
        for (place, (_, sha256)) in self.read.iter().enumerate().filter(|(place, _)| !self.taken.contains(place)) {
            free.entry(sha256).or_default().push_back(place);
        }
        let lost: Vec<usize> = (0..self.known.len()).filter(|id| self.places[*id].is_none()).collect();
        for id in lost {
            let known = &mut self.known[id];
            let Some(place) = free.get_mut(known.sha256.as_str()).and_then(VecDeque::pop_front) else { continue };
            let to = self.read[place].0.clone();
            self.moved.push(Moved { from: std::mem::replace(&mut known.image, to.clone()), to });
            self.taken.insert(place);
            self.places[id] = Some(place);
        }
    }

    /// Images that were not found, have no copy that was, and are not `missing` already.
    fn lost(&self, skipped: &[Skipped], missing: &BTreeSet<u64>) -> Lost {
        let contents: BTreeSet<&str> = self.read.iter().map(|(_, sha256)| sha256.as_str()).collect();
        let free = self.read.iter().enumerate().filter(|(place, _)| !self.taken.contains(place));
        let readable: BTreeSet<&str> = free.map(|(_, (image, _))| image.as_str()).collect();
        let unreadable: BTreeSet<&str> = skipped.iter().map(|skipped| skipped.image.as_str()).collect();
        let mut lost = Lost { changed: Vec::new(), gone: Vec::new() };
        for (id, known) in self.known.iter().enumerate() {
            let (image, is_missing) = (known.image.as_str(), missing.contains(&(id as u64)));
            if self.places[id].is_some() || contents.contains(known.sha256.as_str()) {
                continue;
            }
            if readable.contains(image) || !is_missing && unreadable.contains(image) {
                lost.changed.push(id);
            } else if !is_missing {
                lost.gone.push(id);
            }
        }
        lost
    }

    /// Takes files with another content for the images that had their names.
    fn take_changed(&mut self, changed: &[usize]) {
        let place_of_name = self.place_of_name();
        for &id in changed {
            let place = place_of_name.get(self.known[id].image.as_str()).copied();
            let Some(place) = place.filter(|place| self.taken.insert(*place)) else { continue };
            self.known[id].sha256.clone_from(&self.read[place].1);
            self.places[id] = Some(place);
            self.changed.push(id as u64);
        }
    }

    /// Everything that was read and is not known is new.
    fn finish(self) -> Recognised {
        let Search { known: mut images, mut places, read, taken, moved, changed } = self;
        let contents: BTreeSet<&str> = read.iter().map(|(_, sha256)| sha256.as_str()).collect();
        let is_missing = |id: &usize| places[*id].is_none() && !contents.contains(images[*id].sha256.as_str());
        let missing = (0..images.len()).filter(is_missing).map(|id| id as u64).collect();
        let before = images.len();
        for (place, (image, sha256)) in read.iter().enumerate().filter(|(place, _)| !taken.contains(place)) {
            images.push(Known { image: image.clone(), sha256: sha256.clone() });
            places.push(Some(place));
        }
        let new = images.len() - before;
        Recognised { images, places, new, moved, changed, missing }
    }
}

impl Recognised {
    /// Labels under the names that images have now.
    pub fn renamed(&self, labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let to: BTreeMap<&str, &str> =
            self.moved.iter().map(|moved| (moved.from.as_str(), moved.to.as_str())).collect();
        let renamed = |(image, label): (String, String)| match to.get(image.as_str()) {
            Some(to) => ((*to).to_owned(), label),
            None => (image, label),
        };
        labels.into_iter().map(renamed).collect()
    }

    /// What is said of images that are not as they were: a line for each kind.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(Moved { from, to }) = self.moved.first() {
            let n = self.moved.len();
            lines.push(format!("{n} images have another name, and are known by their content: `{from}` is now `{to}`"));
        }
        let names = |ids: &[u64]| named(ids.iter().map(|id| self.images[*id as usize].image.as_str()));
        if !self.changed.is_empty() {
            let n = self.changed.len();
            lines.push(format!("{n} images were changed, and are taken as they are now: {}", names(&self.changed)));
        }
        if !self.missing.is_empty() {
            lines.push(format!("{} images are gone, and left out: {}", self.missing.len(), names(&self.missing)));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(images: &[&str]) -> Vec<Known> {
        images.iter().map(|image| parts(image)).map(|(image, sha256)| Known { image, sha256 }).collect()
    }

    fn decoded(images: &[&str]) -> Decoded {
        Decoded { images: images.iter().map(|image| parts(image)).collect(), ..Decoded::default() }
    }

    /// `name:content`.
    fn parts(image: &str) -> (String, String) {
        let (name, content) = image.split_once(':').unwrap();
        (name.to_owned(), content.to_owned())
    }

    /// What becomes of known images when these are read; with all changes allowed.
    fn recognised(before: &[&str], now: &[&str]) -> (Recognised, Vec<usize>, Vec<usize>) {
        let decoded = decoded(now);
        let mut search = Search::of(known(before), &decoded);
        search.by_name();
        search.by_content();
        let Lost { changed, gone } = search.lost(&[], &BTreeSet::new());
        search.take_changed(&changed);
        (search.finish(), changed, gone)
    }

    #[test]
    fn images_are_known_by_name_and_content() {
        for (before, now, images, changed, gone) in [
            (&["a:1", "b:2"][..], &["a:1", "b:2"][..], &["a:1", "b:2"][..], &[][..], &[][..]),
            // New ones come at the end, moved ones keep their ids, two that changed places too.
            (&["a:1", "b:2"], &["b:2", "0:3", "x/a:1"], &["x/a:1", "b:2", "0:3"], &[], &[]),
            (&["a:1", "b:2"], &["a:2", "b:1"], &["b:1", "a:2"], &[], &[]),
            // Another image under the name of one that has moved.
            (&["a:1"], &["a:2", "old/a:1"], &["old/a:1", "a:2"], &[], &[]),
            (&["a:1", "b:2"], &["a:3", "b:2"], &["a:3", "b:2"], &[0], &[]),
            (&["a:1", "b:2"], &["b:2"], &["a:1", "b:2"], &[], &[0]),
            // A copy stands for one that is gone; a copy that comes is new.
            (&["a:1", "b:1"], &["b:1"], &["a:1", "b:1"], &[], &[]),
            (&["a:1"], &["a:1", "b:1"], &["a:1", "b:1"], &[], &[]),
            (&["a:1"], &["b:1", "c:1"], &["b:1", "c:1"], &[], &[]),
        ] {
            let (found, was_changed, was_gone) = recognised(before, now);
            assert_eq!(found.images, known(images), "{before:?} {now:?}");
            assert_eq!((was_changed.as_slice(), was_gone.as_slice()), (changed, gone), "{before:?} {now:?}");
            let read = decoded(now).images;
            for (known, place) in found.images.iter().zip(&found.places) {
                let Some(place) = place else { continue };
                assert_eq!(read[*place], (known.image.clone(), known.sha256.clone()), "{before:?} {now:?}");
            }
        }
    }

    #[test]
    fn labels_move_with_their_images() {
        let (found, ..) = recognised(&["a:1", "b:2", "c:3"], &["a:2", "b:1", "c:3"]);
        let labels = |of: &[(&str, &str)]| of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let before: BTreeMap<String, String> = labels(&[("a", "ant"), ("b", "bee"), ("c", "cow")]);
        assert_eq!(found.renamed(before), labels(&[("b", "ant"), ("a", "bee"), ("c", "cow")]));
    }
}
