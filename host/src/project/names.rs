//! Which image a name or an address means.

use super::addresses::{readings, upload_name, uploaded, without_digits};
use super::images::named;
use super::{Known, Picks, Project, ProjectError};
use crate::data::{composed, file_name, stem};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

/// Everything by which the images of a project can be named.
///
/// Copies are one image: the one with the lowest id stands for all of them.
#[derive(Debug, Default)]
pub struct Names {
    /// The path of each image, by id.
    images: Vec<String>,
    /// For each id, the lowest one of an image with the same content.
    originals: Vec<usize>,
    /// Ids by a path as it is, today's or one that an image had when it was chosen.
    by_path: HashMap<String, BTreeSet<usize>>,
    /// The same by the path's composed form (NFC).
    by_form: HashMap<String, BTreeSet<usize>>,
    /// Paths by the composed form of the file's name, without case.
    by_file: HashMap<String, Vec<Alias>>,
    /// Why files were no images, by path.
    skipped: BTreeMap<String, String>,
    /// Where the images were when they were last chosen from.
    folder: PathBuf,
    /// The project, as the user calls it.
    project: String,
}

/// A path of an image in composed form.
#[derive(Debug)]
struct Alias {
    path: String,
    id: usize,
}

/// An image that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The lowest id of an image with this content.
    pub image: usize,
    /// What stands before its path in the address; empty if the path stands alone.
    pub before: String,
}

/// Why no image was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Lost {
    /// The file is there, and is no image.
    Skipped(String),
    /// The file is there, and the project has not seen it yet.
    Unseen,
    /// The name is that of several images.
    Several(Vec<String>),
    /// No image is called so; the path is the only one of such a file, in another folder or in other letters.
    Unknown(Option<String>),
}

/// Ids that a name may mean.
type Hits = BTreeSet<usize>;
/// What stands before the path in a reading of an address, and the images that have this path.
type Step = fn(&Names, &str) -> (String, Hits);

/// In this order; [`Names::find`] says what they are.
const STEPS: [Step; 5] =
    [Names::exact, Names::ending_of_address, Names::ending_of_path, Names::upload, Names::without_ending];

impl Project {
    /// The names of all images, those that they had when they were chosen among them.
    pub fn names(&self) -> Result<Names, ProjectError> {
        let mut names = Names::new(&self.images()?, &self.rounds()?);
        names.skipped = self.skipped()?;
        names.project = self.root().display().to_string();
        Ok(names)
    }
}

impl Names {
    /// The names of `images`, and those that they had in `rounds`.
    pub fn new(images: &[Known], rounds: &[Picks]) -> Names {
        let mut names = Names { originals: originals(images), ..Names::default() };
        for (id, known) in images.iter().enumerate() {
            names.images.push(known.image.clone());
            names.add(&known.image, id);
        }
        for pick in rounds.iter().flat_map(|round| &round.picks).filter(|pick| (pick.id as usize) < images.len()) {
            names.add(&pick.image, pick.id as usize);
        }
        names.folder = rounds.last().map(|round| PathBuf::from(&round.folder)).unwrap_or_default();
        names
    }

    fn add(&mut self, path: &str, id: usize) {
        let form = composed(path).into_owned();
        self.by_path.entry(path.to_owned()).or_default().insert(id);
        if self.by_form.entry(form.clone()).or_default().insert(id) {
            self.by_file.entry(file_key(&form)).or_default().push(Alias { path: form, id });
        }
    }

    /// The path of an image.
    pub fn path(&self, image: usize) -> &str {
        &self.images[image]
    }

    /// The lowest id of an image with the same content as the one of this path.
    pub fn original(&self, path: &str) -> Option<usize> {
        self.by_path.get(path)?.first().map(|id| self.originals[*id])
    }

    /// The image that `name` means: a path, a part of one, or an address.
    ///
    /// Steps are tried in this order, each on every reading of the address: the path as it is; its composed form; an address
    /// that ends in a path, the longest; a path that ends in the name; an uploaded file; a path without its ending.
    pub fn find(&self, name: &str) -> Result<Found, Lost> {
        self.find_by(name, &STEPS)
    }

    /// The same for a text that may be anything: what has no ending of a file is not taken for a name.
    pub fn find_address(&self, text: &str) -> Result<Found, Lost> {
        self.find_by(text, &STEPS[..STEPS.len() - 1])
    }

    fn find_by(&self, name: &str, steps: &[Step]) -> Result<Found, Lost> {
        if let Some(hits) = self.by_path.get(name.trim_start_matches("./")) {
            return self.one(hits, String::new());
        }
        let name = name.trim();
        let readings: Vec<String> = readings(name).iter().map(|reading| composed(reading).into_owned()).collect();
        if let Some(reason) = self.skipped.get(name) {
            return Err(Lost::Skipped(reason.clone()));
        }
        let is_path = !name.is_empty() && !name.starts_with('/');
        for (i, step) in steps.iter().enumerate() {
            // A photograph that has just come may have the name of one in another folder.
            if i > 0 && is_path && !self.folder.as_os_str().is_empty() && self.folder.join(name).is_file() {
                return Err(Lost::Unseen);
            }
            // The least literal reading first: what stands before the path is then the same in all addresses of a kind.
            let found = readings.iter().rev().map(|reading| step(self, reading)).find(|(_, hits)| !hits.is_empty());
            if let Some((before, hits)) = found {
                return self.one(&hits, before);
            }
        }
        Err(Lost::Unknown(self.proposal(&readings)))
    }

    fn one(&self, hits: &Hits, before: String) -> Result<Found, Lost> {
        let images: BTreeSet<usize> = hits.iter().map(|id| self.originals[*id]).collect();
        let mut images = images.into_iter();
        match (images.next(), images.next()) {
            (Some(image), None) => Ok(Found { image, before }),
            _ => Err(Lost::Several(hits.iter().map(|id| self.images[*id].clone()).collect())),
        }
    }

    fn exact(&self, reading: &str) -> (String, Hits) {
        (String::new(), self.by_form.get(reading).cloned().unwrap_or_default())
    }

    fn ending_of_address(&self, reading: &str) -> (String, Hits) {
        let cuts = reading.match_indices('/').map(|(at, _)| at + 1);
        let mut ends = cuts.filter_map(|cut| Some((cut, self.by_form.get(&reading[cut..])?)));
        ends.next().map(|(cut, hits)| (reading[..cut].to_owned(), hits.clone())).unwrap_or_default()
    }

    fn ending_of_path(&self, reading: &str) -> (String, Hits) {
        let end = format!("/{reading}");
        (String::new(), self.of_file(reading, |path| path.ends_with(&end)))
    }

    fn upload(&self, reading: &str) -> (String, Hits) {
        let Some(name) = uploaded(reading) else { return Default::default() };
        let whole = file_name(reading);
        for called in [whole, name] {
            let hits = self.of_file(called, |path| file_name(path) == called);
            if !hits.is_empty() {
                return (String::new(), hits);
            }
        }
        let all = self.by_file.values().flatten();
        (String::new(), all.filter(|alias| upload_name(file_name(&alias.path)) == name).map(|alias| alias.id).collect())
    }

    fn without_ending(&self, reading: &str) -> (String, Hits) {
        let end = format!("/{reading}");
        let is_named = |alias: &&Alias| {
            let stem = stem(&alias.path);
            stem.len() < alias.path.len() && (stem == reading || stem.ends_with(&end))
        };
        (String::new(), self.by_file.values().flatten().filter(is_named).map(|alias| alias.id).collect())
    }

    /// Images whose file is called as the one of `reading`, in a path that fits.
    fn of_file(&self, reading: &str, fits: impl Fn(&str) -> bool) -> Hits {
        let aliases = self.by_file.get(&file_key(reading)).into_iter().flatten();
        aliases.filter(|alias| fits(&alias.path)).map(|alias| alias.id).collect()
    }

    /// The one image with a file of this name, in whatever folder and letters; never one that is only called alike.
    fn proposal(&self, readings: &[String]) -> Option<String> {
        let of = |name: &str| self.of_file(name, |_| true);
        let names = readings.iter().map(|reading| file_name(reading));
        let mut hits: Hits = names.clone().flat_map(of).collect();
        if hits.is_empty() {
            hits = names.filter_map(without_digits).flat_map(of).collect();
        }
        let found = self.one(&hits, String::new()).ok()?;
        Some(self.images[found.image].clone())
    }

    /// The sentence about a name without an image, and what can be done about it.
    pub fn explain(&self, name: &str, place: &str, lost: Lost) -> ProjectError {
        let subject = format!("`{name}` ({place})");
        match lost {
            Lost::Skipped(reason) => ProjectError::mistake(
                format!("{subject} is no image that could be read: {reason}"),
                "take its line out, or repair the file and select again",
            ),
            Lost::Unseen => ProjectError::mistake(
                format!("{subject} is no image of `{}` yet: it came after the last selection", self.project),
                "select again, then ingest its label; or take its line out",
            ),
            Lost::Several(paths) => {
                let n = paths.len();
                let paths = named(paths.iter().map(String::as_str));
                let message = format!("{subject} is no image of `{}`: {n} have this name, {paths}", self.project);
                ProjectError::mistake(
                    message,
                    "name images by their path below the folder of images, as in `picks.csv`",
                )
            }
            Lost::Unknown(proposal) => {
                let hint = match proposal {
                    Some(path) => format!("did you mean `{path}`?"),
                    None => "images are named by their path below the folder of images, as in `picks.csv`".to_owned(),
                };
                ProjectError::mistake(format!("{subject} is no image of `{}`", self.project), hint)
            }
        }
    }
}

/// For each image, the lowest id of one with the same content.
pub fn originals(images: &[Known]) -> Vec<usize> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    images.iter().enumerate().map(|(id, known)| *first.entry(known.sha256.as_str()).or_insert(id)).collect()
}

fn file_key(path: &str) -> String {
    file_name(path).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Pick;

    fn names(images: &[&str]) -> Names {
        let known = |(i, image): (usize, &&str)| Known { image: (*image).to_owned(), sha256: i.to_string() };
        Names::new(&images.iter().enumerate().map(known).collect::<Vec<_>>(), &[])
    }

    #[test]
    fn an_image_is_found_by_its_path_a_part_of_it_or_an_address() {
        let images = [
            "1.png",
            "a/1.png",
            "a/b c.png",
            "50%.png",
            "deep/er/2.png",
            "b\u{e4}r.png",
            "x/y/3.png",
            "z/3.png",
            " 4.png",
            "4.png",
        ];
        let names = names(&images);
        for (name, expected) in [
            ("a/1.png", Some("a/1.png")),
            ("./a/1.png", Some("a/1.png")),
            ("50%.png", Some("50%.png")),
            ("/home/x/photos/a/1.png", Some("a/1.png")),
            (r"C:\photos\a\1.png", Some("a/1.png")),
            (r"a\1.png", Some("a/1.png")),
            ("/data/local-files/?d=photos/a/b%20c.png", Some("a/b c.png")),
            ("/data/local-files/?d=1.png", Some("1.png")),
            ("ba\u{308}r.png", Some("b\u{e4}r.png")),
            ("s3://b/ba%CC%88r.png", Some("b\u{e4}r.png")),
            ("2.png", Some("deep/er/2.png")),
            ("er/2.png", Some("deep/er/2.png")),
            ("2", Some("deep/er/2.png")),
            ("/data/upload/1/0123abcd-2.png", Some("deep/er/2.png")),
            ("/data/upload/1/0123abcd-b_c.png", Some("a/b c.png")),
            ("x1.png", None),
            (" a/1.png ", Some("a/1.png")),
            (" 4.png", Some(" 4.png")),
            ("", None),
            (" ", None),
        ] {
            let found = names.find(name).ok().map(|found| names.path(found.image).to_owned());
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn what_could_be_several_images_is_none_and_only_the_very_name_is_proposed() {
        let names = names(&["1.png", "a/1.png", "b/2.png", "IMG_0041.jpg", "c/4.png", "d/4.png", "e/5.png", "e/5.jpg"]);
        let several = |paths: &[&str]| Lost::Several(paths.iter().map(|path| (*path).to_owned()).collect());
        let unknown = |near: Option<&str>| Lost::Unknown(near.map(str::to_owned));
        for (name, expected) in [
            ("4.png", several(&["c/4.png", "d/4.png"])),
            ("/data/upload/1/0123abcd-1.png", several(&["1.png", "a/1.png"])),
            ("e/5", several(&["e/5.png", "e/5.jpg"])),
            ("IMG_0042.jpg", unknown(None)),
            ("img_0041.JPG", unknown(Some("IMG_0041.jpg"))),
            ("wasps/2.png", unknown(Some("b/2.png"))),
            ("wasps/4.png", unknown(None)),
            ("20240101-2.png", unknown(Some("b/2.png"))),
            ("2.jpg", unknown(None)),
        ] {
            assert_eq!(names.find(name), Err(expected), "{name}");
        }
    }

    #[test]
    fn copies_and_former_names_are_the_same_image() {
        let known = |image: &str, sha256: &str| Known { image: image.to_owned(), sha256: sha256.to_owned() };
        let images = [known("a/1.png", "x"), known("b/1.png", "x"), known("new.png", "y"), known("old.png", "z")];
        let pick = |image: &str, id: u64| Pick { image: image.to_owned(), id, ..Pick::default() };
        let round = Picks { picks: vec![pick("was.png", 2), pick("old.png", 2)], ..Picks::default() };
        let names = Names::new(&images, &[round]);
        assert_eq!(names.find("1.png").unwrap().image, 0);
        assert_eq!(names.find("b/1.png").unwrap().image, 0);
        assert_eq!(names.find("was.png").unwrap().image, 2);
        // Two images have had this name: nobody knows which is meant.
        assert!(matches!(names.find("old.png"), Err(Lost::Several(_))));
    }
}
