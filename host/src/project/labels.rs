//! What people said of images: read from a file, held against the project's images, laid over what was known.

use super::images::named;
use super::label_studio::{self, IMAGE, decoded, label_column};
use super::{Known, Project, ProjectError};
use crate::nearest::nearest;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One label for one image, as a file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The image: a path, or an address that ends in it.
    pub image: String,
    /// Never empty.
    pub label: String,
    /// Where it stands, such as `line 3`.
    pub place: String,
}

/// What a file of labels holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The labels, in the order of the file.
    pub given: Vec<Given>,
    /// Annotations that were skipped or cancelled.
    pub cancelled: usize,
    /// Tasks that nobody has looked at, and rows without an answer.
    pub unanswered: usize,
}

/// What becomes of an image that got different labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disagreement {
    /// Nothing is taken from the file.
    Refuse,
    /// It stays without a label.
    Skip,
    /// It gets the label that most gave; without a label if there is a tie.
    Majority,
}

/// What a file of labels changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// All labels afterwards, by image.
    pub labels: BTreeMap<String, String>,
    /// How many images got their first label.
    pub new: usize,
    /// How many images had the same label before.
    pub same: usize,
    /// Images with another label than before.
    pub replaced: Vec<String>,
    /// Images left without a label because their labels differ.
    pub disputed: Vec<String>,
}

impl Read {
    /// Reads a CSV file with a header, or an export of Label Studio as JSON, JSON-MIN or CSV.
    ///
    /// `field` names the column or control that holds the label, where it is not the only one. Errs with file and place.
    pub fn file(path: &Path, field: Option<&str>) -> Result<Read, ProjectError> {
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ProjectError::mistake(
                format!("there is no file `{}`", path.display()),
                "labels come as CSV with the columns image and label, or as an export of Label Studio",
            ),
            _ => ProjectError::read(path, error),
        })?;
        let wrong = |problem: String| {
            let hint =
                "expected CSV with a header `image,label`, or an export of Label Studio as JSON, JSON-MIN or CSV";
            ProjectError::mistake(format!("`{}`: {problem}", path.display()), hint)
        };
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
        let text = text.trim_start_matches('\u{feff}');
        match text.trim_start().chars().next() {
            Some('[' | '{') => label_studio::parse(text, field).map_err(wrong),
            _ => of_table(text, field).map_err(wrong),
        }
    }
}

/// Rows with an image and a label; other columns are left alone.
fn of_table(text: &str, field: Option<&str>) -> Result<Read, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let names: Vec<&str> = header.iter().collect();
    let column = |wanted: &str| names.iter().position(|name| *name == wanted);
    let image = column(IMAGE).or(column("image")).ok_or("its header has no column `image`")?;
    let label = label_column(&names, field)?.and_then(column).ok_or("its header has no column `label`")?;
    let mut read = Read::default();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let place = format!("line {}", record.position().map_or(0, csv::Position::line));
        match (&record[image], &record[label]) {
            ("", _) => return Err(format!("{place} names no image")),
            (_, "") => read.unanswered += 1,
            (image, label) => {
                read.given.push(Given { image: image.to_owned(), label: label.to_owned(), place });
            }
        }
    }
    Ok(read)
}

impl Project {
    /// Lays the labels of a file over those that the project has.
    ///
    /// Errs if one is for an image that the project does not know, if an image has two labels and `policy` does not say what
    /// then, or if it had another label before and `replace` is not set.
    pub fn merge(&self, read: Read, policy: Disagreement, replace: bool) -> Result<Merged, ProjectError> {
        let images = self.images()?;
        let of_image = self.by_image(&images, read.given)?;
        let mut merged = Merged { labels: self.labels()?, ..Merged::default() };
        for (image, given) in of_image {
            let Some(label) = agreed(&image, &given, policy)? else {
                merged.disputed.push(image);
                continue;
            };
            match merged.labels.insert(image.clone(), label.clone()) {
                None => merged.new += 1,
                Some(before) if before == label => merged.same += 1,
                Some(before) if !replace => {
                    let place = &given[0].place;
                    let message = format!("`{image}` is `{label}` ({place}), but was labelled `{before}` before");
                    return Err(ProjectError::mistake(message, "`--replace` takes the new labels"));
                }
                Some(_) => merged.replaced.push(image),
            }
        }
        Ok(merged)
    }

    /// The labels of each image.
    fn by_image(&self, images: &[Known], given: Vec<Given>) -> Result<BTreeMap<String, Vec<Given>>, ProjectError> {
        let known: BTreeSet<&str> = images.iter().map(|known| known.image.as_str()).collect();
        let mut of_image: BTreeMap<String, Vec<Given>> = BTreeMap::new();
        let mut beginning: Option<(String, String)> = None;
        for given in given {
            let Some((before, image)) = found(&given.image, &known) else {
                return Err(self.unknown(&given, &known)?);
            };
            // Two addresses that begin in two ways could mean two images of the same name.
            match &beginning {
                _ if before.is_empty() => {}
                Some((other, at)) if *other != before => {
                    let message =
                        format!("images lie below `{other}` ({at}), but also below `{before}` ({})", given.place);
                    return Err(ProjectError::mistake(message, "name images by their path below the folder of images"));
                }
                _ => beginning = Some((before, given.place.clone())),
            }
            of_image.entry(image.to_owned()).or_default().push(given);
        }
        Ok(of_image)
    }

    fn unknown(&self, given: &Given, known: &BTreeSet<&str>) -> Result<ProjectError, ProjectError> {
        let Given { image, place, .. } = given;
        if let Some(reason) = self.skipped()?.get(image) {
            let message = format!("`{image}` ({place}) is no image that could be read: {reason}");
            return Ok(ProjectError::mistake(message, "take its line out, or repair the file and select again"));
        }
        let message = format!("`{image}` ({place}) is no image of `{}`", self.root().display());
        let hint = match nearest(image, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "images are named by their path below the folder of images, as in `picks.csv`".to_owned(),
        };
        Ok(ProjectError::mistake(message, hint))
    }
}

/// What stands before the image's path, and the path: the longest that the name ends in.
fn found<'a>(name: &str, known: &BTreeSet<&'a str>) -> Option<(String, &'a str)> {
    let plain = name.strip_prefix("./").unwrap_or(name);
    if let Some(image) = known.get(plain) {
        return Some((String::new(), image));
    }
    let address = decoded(name);
    let cuts = address.match_indices(['/', '=']).map(|(i, _)| i + 1);
    let mut ends = std::iter::once(0).chain(cuts).filter_map(|cut| Some((cut, *known.get(&address[cut..])?)));
    ends.next().map(|(cut, image)| (address[..cut].to_owned(), image))
}

/// The one label that an image gets; none if it is disputed and that is no error.
fn agreed(image: &str, given: &[Given], policy: Disagreement) -> Result<Option<String>, ProjectError> {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    given.iter().for_each(|given| *votes.entry(&given.label).or_default() += 1);
    let most = votes.values().copied().max().unwrap_or(0);
    let winners: Vec<&str> = votes.iter().filter(|(_, n)| **n == most).map(|(label, _)| *label).collect();
    match (policy, winners.as_slice()) {
        (_, [only]) if votes.len() == 1 => Ok(Some((*only).to_owned())),
        (Disagreement::Majority, [winner]) => Ok(Some((*winner).to_owned())),
        (Disagreement::Skip | Disagreement::Majority, _) => Ok(None),
        (Disagreement::Refuse, _) => {
            let other = given.iter().find(|other| other.label != given[0].label).unwrap_or(&given[0]);
            let message = format!(
                "`{image}` has two labels: `{}` ({}) and `{}` ({})",
                given[0].label, given[0].place, other.label, other.place
            );
            let hint = "correct the file; or leave such images out with `--disagreement skip`, or count votes with \
                        `--disagreement majority`";
            Err(ProjectError::mistake(message, hint))
        }
    }
}

impl Merged {
    /// How many images have each label.
    pub fn classes(&self) -> BTreeMap<&str, usize> {
        let mut classes = BTreeMap::new();
        self.labels.values().for_each(|label| *classes.entry(label.as_str()).or_default() += 1);
        classes
    }

    /// Labels that differ only in capital letters: most likely one of them is a slip.
    pub fn alike(&self) -> Option<String> {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for class in self.classes().into_keys() {
            if let Some(other) = seen.insert(class.to_lowercase(), class) {
                return Some(named([other, class]));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_by_its_path_or_the_end_of_an_address() {
        let known = BTreeSet::from(["1.png", "a/1.png", "a/b c.png", "50%.png"]);
        for (name, expected) in [
            ("a/1.png", Some(("", "a/1.png"))),
            ("./a/1.png", Some(("", "a/1.png"))),
            ("50%.png", Some(("", "50%.png"))),
            ("/home/x/photos/a/1.png", Some(("/home/x/photos/", "a/1.png"))),
            ("/data/local-files/?d=photos/a/b%20c.png", Some(("/data/local-files/?d=photos/", "a/b c.png"))),
            ("/data/local-files/?d=1.png", Some(("/data/local-files/?d=", "1.png"))),
            ("x1.png", None),
            ("", None),
        ] {
            let expected = expected.map(|(before, image)| (before.to_owned(), image));
            assert_eq!(found(name, &known), expected, "{name}");
        }
    }

    #[test]
    fn annotators_who_differ_are_refused_left_out_or_counted() {
        let given = |labels: &[&str]| -> Vec<Given> {
            let of =
                |label: &&str| Given { image: String::new(), label: (*label).to_owned(), place: "line 2".to_owned() };
            labels.iter().map(of).collect()
        };
        for (labels, skip, majority) in [
            (&["a"][..], Some("a"), Some("a")),
            (&["a", "a"], Some("a"), Some("a")),
            (&["a", "b"], None, None),
            (&["b", "a", "b"], None, Some("b")),
            (&["b", "a", "b", "a", "c"], None, None),
        ] {
            let given = given(labels);
            let of = |policy| agreed("x", &given, policy).ok().flatten();
            assert_eq!(of(Disagreement::Skip).as_deref(), skip, "{labels:?}");
            assert_eq!(of(Disagreement::Majority).as_deref(), majority, "{labels:?}");
            assert_eq!(agreed("x", &given, Disagreement::Refuse).is_err(), skip.is_none(), "{labels:?}");
        }
    }

    #[test]
    fn tables_have_an_image_and_a_label() {
        let given = |image: &str, label: &str, line: u64| Given {
            image: image.into(),
            label: label.into(),
            place: format!("line {line}"),
        };
        let read =
            of_table("label , image,who\nant,a.png,me\n,b.png,me\n\"bee, wild\",\"c\n.png\",me\nant,d.png,me\n", None);
        let read = read.unwrap();
        assert_eq!(read.given, [given("a.png", "ant", 2), given("c\n.png", "bee, wild", 4), given("d.png", "ant", 6)]);
        assert_eq!(read.unanswered, 1);
    }

    #[test]
    fn labels_that_differ_in_capitals_are_noticed() {
        let of = |labels: &[&str]| {
            let labels = labels.iter().enumerate().map(|(i, label)| (i.to_string(), (*label).to_owned())).collect();
            Merged { labels, ..Merged::default() }.alike()
        };
        assert_eq!(of(&["ant", "bee", "ant"]), None);
        assert_eq!(of(&["ant", "bee", "Ant"]), Some("`Ant`, `ant`".to_owned()));
    }
}
