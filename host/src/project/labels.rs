//! Labels of a project: what a file says, laid over what was known before.

use super::images::named;
use super::names::{Names, originals};
use super::reading::{Given, Read};
use super::{Known, Project, ProjectError};
use std::collections::{BTreeMap, BTreeSet};
use unicode_normalization::UnicodeNormalization;

/// What becomes of an image that got different labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disagreement {
    /// Nothing is taken from the file.
    Refuse,
    /// It stays without a label.
    Skip,
    /// It gets the label that most annotators gave, each with their latest; none on a tie, or if the only one gave two.
    Majority,
}

/// What a file of labels changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// All labels afterwards, by image; copies are one image.
    pub labels: BTreeMap<String, String>,
    /// How many images got their first label.
    pub new: usize,
    /// How many images had the same label before.
    pub same: usize,
    /// Images with another label than before.
    pub replaced: Vec<String>,
    /// Images left without a label because their labels differ.
    pub disputed: Vec<String>,
    /// Images that one annotator labelled in two ways, where votes were counted.
    pub revised: Vec<String>,
    /// How many votes name no annotator.
    pub nameless: usize,
    /// Images with a label that are to be forgotten, and stay without one.
    pub dropped: Vec<String>,
}

impl Project {
    /// Lays the labels of a file over those that the project has.
    ///
    /// Errs if an image has two labels and `policy` does not say what then, or if it had another label before and `replace` is
    /// not set.
    pub fn merge(
        &self,
        read: Read,
        names: &Names,
        policy: Disagreement,
        replace: bool,
    ) -> Result<Merged, ProjectError> {
        let before = self.labels_of_originals(names, replace)?;
        let mut merged = Merged { labels: before, ..Merged::default() };
        let mut of_image: BTreeMap<usize, Vec<Given>> = BTreeMap::new();
        read.given.into_iter().for_each(|given| of_image.entry(given.image).or_default().push(given));
        let (images, dropped) = (self.images()?, self.dropped()?);
        for (id, given) in of_image {
            let image = names.path(id).to_owned();
            if images.get(id).is_some_and(|known| dropped.contains_key(&known.sha256)) {
                merged.dropped.push(image);
                continue;
            }
            let said = Said(&given);
            if said.differs() && policy == Disagreement::Majority {
                merged.nameless += said.votes().iter().filter(|vote| vote.by.annotator.is_none()).count();
                merged.revised.extend(said.is_revised().then(|| image.clone()));
            }
            let Some(label) = said.agreed(&image, policy)? else {
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

    /// The labels so far under the name of the image that stands for its copies.
    ///
    /// Errs if copies have different labels, unless they are about to be replaced: then the first counts.
    fn labels_of_originals(&self, names: &Names, replace: bool) -> Result<BTreeMap<String, String>, ProjectError> {
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for (path, label) in self.labels()? {
            let image = names.original(&path).map_or(path.as_str(), |image| names.path(image)).to_owned();
            match labels.get(&image) {
                Some(other) if *other != label && !replace => {
                    return Err(copies_differ([&image, other], [&path, &label]));
                }
                Some(_) => {}
                None => drop(labels.insert(image, label)),
            }
        }
        Ok(labels)
    }

    /// How many chosen images have no label yet.
    pub fn waiting(&self, labels: &BTreeMap<String, String>) -> Result<usize, ProjectError> {
        let images = self.images()?;
        let originals = originals(&images);
        let is_labelled = |id: &usize| labels.contains_key(&images[*id].image);
        let labelled: BTreeSet<usize> = (0..images.len()).filter(is_labelled).map(|id| originals[id]).collect();
        let chosen = self.rounds()?.into_iter().flat_map(|round| round.picks);
        let chosen: BTreeSet<usize> = chosen.filter_map(|pick| originals.get(pick.id as usize).copied()).collect();
        let dropped = self.dropped()?;
        let chosen: BTreeSet<usize> =
            chosen.into_iter().filter(|id| !dropped.contains_key(&images[*id].sha256)).collect();
        Ok(chosen.difference(&labelled).count())
    }
}

/// The error about copies of an image, path and label each.
pub fn copies_differ(one: [&str; 2], other: [&str; 2]) -> ProjectError {
    let [[image, label], [copy, label_of_copy]] = [one, other];
    let message = format!("`{image}` and `{copy}` are copies, but labelled `{label}` and `{label_of_copy}`");
    ProjectError::mistake(message, format!("ingest one label for `{image}` with `--replace`"))
}

/// All that was said of one image; never empty.
struct Said<'a>(&'a [Given]);

impl<'a> Said<'a> {
    /// Whether there are different labels.
    fn differs(&self) -> bool {
        self.0.iter().any(|given| given.label != self.0[0].label)
    }

    /// Whether an annotator said one thing first and another one later.
    fn is_revised(&self) -> bool {
        let votes = self.votes();
        self.0.iter().any(|given| votes.iter().any(|vote| by_the_same(vote, given) && vote.label != given.label))
    }

    /// The latest label of each annotator, and each label without an annotator.
    fn votes(&self) -> Vec<&'a Given> {
        let mut votes: Vec<&Given> = Vec::new();
        for given in self.0 {
            match votes.iter_mut().find(|vote| by_the_same(vote, given)) {
                None => votes.push(given),
                Some(vote) if when(given) >= when(vote) => *vote = given,
                Some(_) => {}
            }
        }
        votes
    }

    /// The one label that the image gets; none if it is disputed and that is no error.
    fn agreed(&self, image: &str, policy: Disagreement) -> Result<Option<String>, ProjectError> {
        match policy {
            _ if !self.differs() => Ok(Some(self.0[0].label.clone())),
            Disagreement::Refuse => Err(self.refusal(image)),
            Disagreement::Skip => Ok(None),
            Disagreement::Majority => Ok(self.majority()),
        }
    }

    /// The label with the most votes; none on a tie, or if the only annotator has said two things.
    fn majority(&self) -> Option<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let votes = self.votes();
        votes.iter().for_each(|vote| *counts.entry(&vote.label).or_default() += 1);
        let most = counts.values().copied().max()?;
        let mut winners = counts.into_iter().filter(|(_, n)| *n == most).map(|(label, _)| label);
        let winner = winners.next()?;
        (winners.next().is_none() && votes.len() > 1).then(|| winner.to_owned())
    }

    fn refusal(&self, image: &str) -> ProjectError {
        let one = &self.0[0];
        let other = self.0.iter().find(|other| other.label != one.label).unwrap_or(one);
        let who = if by_the_same(one, other) { " by one annotator" } else { "" };
        let message = format!(
            "`{image}` has two labels{who}: `{}` ({}) and `{}` ({})",
            one.label, one.place, other.label, other.place
        );
        let hint = "correct the file; or leave such images out with `--disagreement skip`, or count annotators with \
                    `--disagreement majority`";
        ProjectError::mistake(message, hint)
    }
}

/// Whether two labels are known to be by the same annotator.
fn by_the_same(one: &Given, other: &Given) -> bool {
    one.by.annotator.is_some() && one.by.annotator == other.by.annotator
}

/// What orders the labels of one annotator: the time, then the number of the annotation.
fn when(given: &Given) -> (&str, u64) {
    (&given.by.time, given.by.number)
}

/// What pandas takes for a missing value, in lower case.
const MISSING: [&str; 12] =
    ["#n/a", "#na", "-nan", "<na>", "n/a", "na", "nan", "nat", "null", "none", "nil", "#n/a n/a"];

impl Merged {
    /// How many images have each label.
    pub fn classes(&self) -> BTreeMap<&str, usize> {
        let mut classes = BTreeMap::new();
        self.labels.values().for_each(|label| *classes.entry(label.as_str()).or_default() += 1);
        classes
    }

    /// Groups of labels that differ only in capital letters, spaces or the way of writing a number: most likely slips.
    pub fn alike(&self) -> Vec<String> {
        let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        self.classes().into_keys().for_each(|class| groups.entry(essence(class)).or_default().push(class));
        groups.into_values().filter(|group| group.len() > 1).map(named).collect()
    }

    /// Labels that mostly stand for a value that is missing.
    pub fn missing(&self) -> Option<String> {
        let classes = self.classes();
        let missing: Vec<&str> =
            classes.into_keys().filter(|class| MISSING.contains(&class.to_lowercase().as_str())).collect();
        (!missing.is_empty()).then(|| named(missing))
    }
}

/// A label without what is not seen at a glance.
fn essence(label: &str) -> String {
    let is_seen = |c: &char| !matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}');
    let folded: String = label.nfkc().filter(is_seen).collect::<String>().to_lowercase();
    let words = folded.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_number = words.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    match words.parse::<f64>() {
        Ok(number) if is_number && number.is_finite() => number.to_string(),
        _ => words,
    }
}

/// The labels of images by their ids, and the name of the label in each group of copies.
///
/// Errs if copies have different labels.
pub fn label_of_each(images: &[Known], labels: &BTreeMap<String, String>) -> Result<Vec<Option<String>>, ProjectError> {
    let originals = originals(images);
    let mut of_original: BTreeMap<usize, (&str, &str)> = BTreeMap::new();
    for (id, known) in images.iter().enumerate() {
        let Some(label) = labels.get(&known.image) else { continue };
        let (image, before) = *of_original.entry(originals[id]).or_insert((&known.image, label));
        if before != label {
            return Err(copies_differ([image, before], [&known.image, label]));
        }
    }
    Ok(originals.iter().map(|original| of_original.get(original).map(|(_, label)| (*label).to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::reading::By;

    #[test]
    fn annotators_who_differ_are_refused_left_out_or_counted() {
        let given = |said: &str| -> Vec<Given> {
            let of = |said: &str| {
                let (label, who) = said.split_once(':').unwrap_or((said, ""));
                let annotator = Some(who.to_owned()).filter(|who| !who.is_empty());
                Given { label: label.to_owned(), by: By { annotator, ..By::default() }, ..Given::default() }
            };
            said.split(' ').map(of).collect()
        };
        for (said, skip, majority, revised) in [
            ("a", Some("a"), Some("a"), false),
            ("a a", Some("a"), Some("a"), false),
            ("a b", None, None, false),
            ("b a b", None, Some("b"), false),
            ("b a b a c", None, None, false),
            // One vote for each annotator, however often they vote.
            ("a:1 a:1 b:2", None, None, false),
            ("a:1 b:2 a:1 b:3", None, Some("b"), false),
            // The later one of the same annotator, who is no majority alone.
            ("a:1 b:1", None, None, true),
            ("a:1 b:1 a:2", None, None, true),
            ("a:1 b:1 b:2", None, Some("b"), true),
            ("a:1 a b:2", None, Some("a"), false),
        ] {
            let given = given(said);
            let of = |policy| Said(&given).agreed("x", policy).ok().flatten();
            assert_eq!(of(Disagreement::Skip).as_deref(), skip, "{said}");
            assert_eq!(of(Disagreement::Majority).as_deref(), majority, "{said}");
            assert_eq!(Said(&given).agreed("x", Disagreement::Refuse).is_err(), skip.is_none(), "{said}");
            assert_eq!(Said(&given).is_revised(), revised, "{said}");
        }
    }

    #[test]
    fn the_latest_label_of_an_annotator_is_told_by_time_then_number_then_place() {
        let given = |label: &str, time: &str, number: u64| Given {
            label: label.to_owned(),
            by: By { annotator: Some("1".to_owned()), time: time.to_owned(), number, shown: None },
            ..Given::default()
        };
        for (first, second, expected) in [
            (("2026-01-02", 1), ("2026-01-01", 2), "first"),
            (("2026-01-01", 9), ("2026-01-01", 2), "first"),
            (("", 0), ("", 0), "second"),
        ] {
            let both = [given("first", first.0, first.1), given("second", second.0, second.1)];
            assert_eq!(Said(&both).votes()[0].label, expected);
        }
    }

    fn merged(labels: &[&str]) -> Merged {
        let labels = labels.iter().enumerate().map(|(i, label)| (i.to_string(), (*label).to_owned())).collect();
        Merged { labels, ..Merged::default() }
    }

    #[test]
    fn labels_that_look_alike_are_noticed() {
        for (labels, expected) in [
            (&["ant", "bee", "ant"][..], &[][..]),
            (&["ant", "bee", "Ant"], &["`Ant`, `ant`"]),
            (&["polar bear", "polar  bear", "polar\u{a0}bear"], &["`polar  bear`, `polar bear`, `polar\u{a0}bear`"]),
            (&["1", "1.0", "01", "2", "x1"], &["`01`, `1`, `1.0`"]),
            (&["b\u{e4}r", "ba\u{308}r"], &["`ba\u{308}r`, `b\u{e4}r`"]),
            (&["inf", "infinity"], &[]),
        ] {
            assert_eq!(merged(labels).alike(), expected, "{labels:?}");
        }
    }

    #[test]
    fn labels_that_stand_for_nothing_are_noticed() {
        assert_eq!(merged(&["nan", "NA", "ant"]).missing(), Some("`NA`, `nan`".to_owned()));
        assert_eq!(merged(&["nana", "ant"]).missing(), None);
    }
}
