//! The layout of an image folder: which folders are parts, which are classes, and what is neither.
//!
//! Nothing is decoded here. What is not clear is refused, with the folders that would have been taken for classes, because a
//! wrong guess trains a network without a word.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::Tree;
use super::aside::{Aside, IMAGE_NAMES, Reason, is_image_name};
use super::error::DataError;

/// Names of a training part, in any case, also with `set`, `data`, `images` and the like behind them.
const TRAIN: [&str; 3] = ["train", "training", "trn"];
/// Names of a test part in order of preference.
const TEST: [&str; 9] = ["test", "testing", "tst", "val", "valid", "validation", "dev", "eval", "evaluation"];
/// So many names are told one by one.
const NAMED: usize = 10;
/// What a table has to be that says which image is of which class.
pub(super) const UNDERSTOOD: &str = "kind `folder` reads `index.csv` with the columns split,index,label,class,path alone; kind \
                                     `table` reads tables of paths and labels";

/// An image and its class.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Labelled {
    pub path: String,
    pub label: u32,
}

/// What a folder holds.
#[derive(Debug)]
pub(super) struct Layout {
    /// Names of the classes, sorted by code points.
    pub classes: Vec<String>,
    pub train: Vec<Labelled>,
    /// `None` where there is no test part.
    pub test: Option<Vec<Labelled>>,
    /// Files that are in no class folder, or no images.
    pub aside: Aside,
    /// Sentences about what is not as it mostly is.
    pub remarks: Vec<String>,
    /// The folders of the training and the test part, relative to the root.
    pub parts: [Option<String>; 2],
}

/// A folder with what is below it.
#[derive(Debug, Default)]
struct Node {
    /// The path from the root with a `/` at its end; empty for the root.
    prefix: String,
    folders: BTreeMap<String, Node>,
    /// Paths of images that lie here.
    images: Vec<String>,
    /// Paths of other files that lie here.
    others: Vec<String>,
    /// Images here and below.
    n_images: usize,
}

impl Node {
    fn of(tree: &Tree) -> Node {
        let mut root = Node::default();
        for folder in tree.folders() {
            root.reach(&format!("{folder}/"));
        }
        for path in tree.files() {
            let folder = root.reach(path);
            match is_image_name(path) {
                true => folder.images.push(path.to_owned()),
                false => folder.others.push(path.to_owned()),
            }
        }
        root.count();
        root
    }

    /// The folder that a path lies in.
    fn reach(&mut self, path: &str) -> &mut Node {
        let mut node = self;
        for (slash, _) in path.match_indices('/') {
            let name = path[node.prefix.len()..slash].to_owned();
            let prefix = path[..=slash].to_owned();
            node = node.folders.entry(name).or_insert_with(|| Node { prefix, ..Node::default() });
        }
        node
    }

    fn count(&mut self) -> usize {
        self.n_images = self.images.len() + self.folders.values_mut().map(Node::count).sum::<usize>();
        self.n_images
    }

    /// The folders directly below that have images somewhere.
    fn bearing(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.folders.iter().filter(|(_, node)| node.n_images > 0).map(|(name, node)| (name.as_str(), node))
    }

    /// Whether images lie in folders below, as they do in a part.
    fn has_bearing(&self) -> bool {
        self.bearing().next().is_some()
    }

    /// This folder and all below.
    fn all(&self) -> Vec<&Node> {
        let mut nodes = vec![self];
        let mut at = 0;
        while at < nodes.len() {
            let node = nodes[at];
            nodes.extend(node.folders.values());
            at += 1;
        }
        nodes
    }

    /// All images here and below in the order of torchvision's `DatasetFolder.make_dataset`: folders by path, the files of a
    /// folder before those of the folders in it, files by name; both as Python compares strings, by code points.
    fn in_order(&self) -> Vec<&str> {
        let mut nodes = self.all();
        // Python sorts the folders' paths, which have no `/` at their end.
        nodes.sort_by_key(|node| node.prefix.trim_end_matches('/'));
        nodes.into_iter().flat_map(|node| node.images.iter().map(String::as_str)).collect()
    }

    /// The path without the `/` at its end, or `.`.
    fn shown(&self) -> &str {
        if self.prefix.is_empty() { "." } else { self.prefix.trim_end_matches('/') }
    }

    /// What lies here and below that is no image.
    fn aside(&self) -> Aside {
        let mut aside = Aside::default();
        self.all().into_iter().flat_map(|node| &node.others).for_each(|path| aside.add_file(path));
        aside
    }
}

/// Finds parts and classes.
///
/// Parts are sought below any number of folders, in any spelling of [`TRAIN`] and [`TEST`]; without a training part the folders
/// below the one folder that holds everything are classes.
///
/// # Errors
/// [`DataError::Layout`] if there are fewer than two classes, a class of the training part has no image, a part is empty, has no
/// class folders or is there twice, or folders look like parts and are in no place for them.
pub(super) fn find(tree: &Tree) -> Result<Layout, DataError> {
    let root = Node::of(tree);
    let finder = Finder { tree, root: &root };
    if root.n_images == 0 {
        return Err(finder.refusal(&root, format!("holds no {IMAGE_NAMES} file"), NO_IMAGES));
    }
    let base = finder.base()?;
    let trains: Vec<&Node> = base.folders.iter().filter(|(name, _)| is_train(name)).map(|(_, node)| node).collect();
    let is_class = |train: &Node| is_flat_class(base, train);
    match trains[..] {
        [] => finder.classes_alone(base),
        [train] if is_class(train) => {
            let mut layout = finder.classes_alone(base)?;
            let sentence = "is taken for a class: images lie in it, and it stands among other classes";
            layout.remarks.push(format!("`{}` {sentence}", train.shown()));
            Ok(layout)
        }
        [train] => finder.parts(base, train),
        _ => Err(finder.refusal(base, format!("holds more than one training part: {}", shown(&trains)), ONE_PART)),
    }
}

const NO_IMAGES: &str = "`dataset.path` names the folder (or tar or ZIP archive) that holds the class folders: train/<class>/*.jpg, or <class>/*.jpg";
const ONE_PART: &str = "name the folder of one set with `dataset.path`, and leave one of the parts in it";
const CLASS_FOLDERS: &str = "a folder for each class with its images in it: train/<class>/*.jpg and test/<class>/*.jpg, or \
                             <class>/*.jpg alone; `coldstart select` is for images without labels";
const NO_LABELS: &str = "move it out of the data set, and a test part is drawn from the training part \
                         (`dataset.test_fraction`); or sort its images into class folders";
const RENAME: &str = "rename the folders: `train` and `test` are parts, and whatever else is a class";
const FILL: &str = "put images into the folder, or remove it";

/// Whether a folder called like a training part is one class among others: images lie in it, and so they do beside it.
fn is_flat_class(base: &Node, train: &Node) -> bool {
    let is_other =
        |(name, node): (&str, &Node)| !is_train(name) && test_rank(name).is_none() && !node.images.is_empty();
    !train.images.is_empty() && !train.has_bearing() && base.bearing().any(is_other)
}

struct Finder<'a> {
    tree: &'a Tree,
    root: &'a Node,
}

impl<'a> Finder<'a> {
    /// The folder that holds the parts or, where there are none, the classes.
    fn base(&self) -> Result<&'a Node, DataError> {
        let is_part = |(name, node): (&str, &Node)| is_train(name) && node.has_bearing();
        let holds_part = |node: &&Node| node.bearing().any(is_part);
        // Breadth first: the least deep come first.
        let holders: Vec<&Node> = self.root.all().into_iter().filter(holds_part).collect();
        let depth = |node: &Node| node.prefix.matches('/').count();
        let first = holders.first().map(|node| depth(node));
        let holders: Vec<&Node> = holders.into_iter().filter(|node| Some(depth(node)) == first).collect();
        match holders[..] {
            [] => Ok(without_wrappers(self.root)),
            [base] => Ok(base),
            _ => {
                let why = format!("{} have a training part each", shown(&holders));
                Err(self.refusal(self.root, format!("is more than one data set: {why}"), ONE_PART))
            }
        }
    }

    /// Classes without parts.
    fn classes_alone(&self, base: &'a Node) -> Result<Layout, DataError> {
        self.refuse_parts_among_classes(base)?;
        let classes = self.classes(base)?;
        let train = labelled(base, &classes);
        let mut layout = self.layout(classes, train, None, [Some(base), None]);
        self.remark_on_wrappers(base, &mut layout);
        Ok(layout)
    }

    /// A training part, and what there is of test parts beside it.
    fn parts(&self, base: &'a Node, train: &'a Node) -> Result<Layout, DataError> {
        let train = without_wrappers_of_part(train, &BTreeSet::new());
        let classes = self.classes(train)?;
        let (test, mut remarks) = self.test_part(base)?;
        let items = labelled(train, &classes);
        let Some(test) = test else {
            let mut layout = self.layout(classes, items, None, [Some(train), None]);
            layout.remarks.append(&mut remarks);
            return Ok(layout);
        };
        let test = without_wrappers_of_part(test, &classes.iter().map(String::as_str).collect());
        self.refuse_unknown_classes(test, &classes)?;
        let test_items = labelled(test, &classes);
        let missing: Vec<String> = classes
            .iter()
            .filter(|class| test.folders.get(*class).is_none_or(|node| node.n_images == 0))
            .cloned()
            .collect();
        if !missing.is_empty() {
            remarks.push(format!("the test part `{}` has no image of {}", test.shown(), names(&missing)));
        }
        let mut layout = self.layout(classes, items, Some(test_items), [Some(train), Some(test)]);
        layout.remarks.append(&mut remarks);
        Ok(layout)
    }

    /// The first test part that has class folders with images; and a sentence about each that is not used.
    fn test_part(&self, base: &'a Node) -> Result<(Option<&'a Node>, Vec<String>), DataError> {
        let mut ranked: Vec<(usize, &Node)> =
            base.folders.iter().filter_map(|(name, node)| Some((test_rank(name)?, node))).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        if let Some(pair) = ranked.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let why = format!("holds one part under two names: {}", shown(&[pair[0].1, pair[1].1]));
            return Err(self.refusal(base, why, ONE_PART));
        }
        let Some((_, first)) = ranked.first() else { return Ok((None, Vec::new())) };
        let Some((_, used)) = ranked.iter().find(|(_, node)| node.has_bearing()) else {
            return Err(match first.n_images {
                0 => self.refusal(first, "is a test part without an image", NO_LABELS),
                n => {
                    let why = format!("is a test part without class folders: {} without a label", images(n));
                    self.refusal(first, why, NO_LABELS)
                }
            });
        };
        let others = ranked.iter().filter(|(_, node)| !std::ptr::eq(*node, *used));
        let remarks = others.map(|(_, node)| {
            let why = match (node.n_images, node.has_bearing()) {
                (0, _) => " (it holds no image)",
                (_, false) => " (its images are in no class folders)",
                _ => "",
            };
            format!("the test part is `{}`; `{}` was left aside{why}", used.shown(), node.shown())
        });
        Ok((Some(used), remarks.collect()))
    }

    /// The class folders directly below `part`: all of its folders.
    fn classes(&self, part: &Node) -> Result<Vec<String>, DataError> {
        if !part.has_bearing() {
            let why = match part.n_images {
                0 => "holds no image".to_owned(),
                n => format!("holds {} and no class folders", images(n)),
            };
            return Err(self.refusal(part, why, CLASS_FOLDERS));
        }
        let empty: Vec<&Node> = part.folders.values().filter(|node| node.n_images == 0).collect();
        if !empty.is_empty() {
            let mut found = Aside::default();
            empty
                .iter()
                .flat_map(|node| node.all())
                .flat_map(|node| &node.others)
                .for_each(|path| found.add_file(path));
            let found = if found.is_empty() { String::new() } else { format!(" (but {found})") };
            let why = match empty.len() {
                1 => format!("the class folder {} holds no {IMAGE_NAMES} file{found}", shown(&empty)),
                _ => format!("the class folders {} hold no {IMAGE_NAMES} file{found}", shown(&empty)),
            };
            return Err(self.refusal(part, why, FILL));
        }
        let classes: Vec<String> = part.folders.keys().cloned().collect();
        if let [one] = &classes[..] {
            let why = format!("holds one folder with images, `{one}`, and a data set has at least two classes");
            return Err(self.refusal(part, why, CLASS_FOLDERS));
        }
        Ok(classes)
    }

    /// Refuses folders that are no classes by their names, or by the names of what lies in them.
    fn refuse_parts_among_classes(&self, base: &Node) -> Result<(), DataError> {
        let tests: Vec<&Node> =
            base.bearing().filter(|(name, _)| test_rank(name).is_some()).map(|(_, node)| node).collect();
        if !tests.is_empty() {
            let others: Vec<&Node> =
                base.bearing().filter(|(name, _)| test_rank(name).is_none()).map(|(_, node)| node).collect();
            let others = if others.is_empty() { String::new() } else { format!(" beside {}", shown(&others)) };
            let why = format!("holds {} and no training part{others}", shown(&tests));
            return Err(self.refusal(base, why, RENAME));
        }
        if let Some([train, test]) = parts_by_another_name(base) {
            let why = format!("`{train}` and `{test}` look like parts of a set, not like classes");
            return Err(self.refusal(base, why, RENAME));
        }
        let has = |node: &Node, is: &dyn Fn(&str) -> bool| node.bearing().any(|(name, _)| is(name));
        let split =
            base.bearing().find(|(_, node)| has(node, &is_train) && has(node, &|name| test_rank(name).is_some()));
        if let Some((name, node)) = split {
            let parts: Vec<&Node> = node.folders.values().collect();
            let why = format!("the folder `{name}` would be a class, but has parts in it: {}", shown(&parts));
            return Err(self.refusal(base, why, CLASS_FOLDERS));
        }
        Ok(())
    }

    fn refuse_unknown_classes(&self, test: &Node, classes: &[String]) -> Result<(), DataError> {
        let unknown: Vec<String> =
            test.bearing().map(|(name, _)| name.to_owned()).filter(|name| !classes.contains(name)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let known = test.bearing().count() - unknown.len();
        if let (0, [one]) = (known, &unknown[..]) {
            let why = format!("is a test part without class folders: its images lie in `{one}`, and {one} is no class");
            return Err(self.refusal(test, why, NO_LABELS));
        }
        let why = format!(
            "has folders that are no classes of the training part: {}; its classes are {}",
            names(&unknown),
            names(classes)
        );
        Err(self.refusal(test, why, "parts have the same class folders, in the same spelling"))
    }

    /// Says what lies beside the folders that were gone through to the classes.
    fn remark_on_wrappers(&self, base: &Node, layout: &mut Layout) {
        let mut node = self.root;
        while !std::ptr::eq(node, base) {
            let beside: Vec<&Node> = node.folders.values().filter(|folder| folder.n_images == 0).collect();
            if !beside.is_empty() {
                let why = "there are no images in them";
                layout.remarks.push(format!("{} beside the class folders left aside: {why}", shown(&beside)));
            }
            let inner = node.bearing().next();
            node = inner.map_or(base, |(_, inner)| inner);
        }
    }

    /// Everything together; counts what is in no class folder.
    fn layout(
        &self,
        classes: Vec<String>,
        train: Vec<Labelled>,
        test: Option<Vec<Labelled>>,
        parts: [Option<&Node>; 2],
    ) -> Layout {
        let used = train.len() + test.as_ref().map_or(0, Vec::len);
        let mut aside = self.tree.aside().clone();
        aside.add_all(Reason::Elsewhere, self.root.n_images - used);
        self.root.all().into_iter().flat_map(|node| &node.others).for_each(|path| aside.add_file(path));
        let parts = parts.map(|part| part.map(|node| node.shown().to_owned()));
        Layout { classes, train, test, aside, remarks: Vec::new(), parts }
    }

    /// An error about a folder; tables that could have said what the folders do not say are named.
    fn refusal(&self, node: &Node, why: impl Into<String>, hint: &str) -> DataError {
        let mut why = why.into();
        let aside = self.root.aside();
        if let Some(tables) = aside.tables() {
            why = format!("{why}; not read: {tables} ({UNDERSTOOD})");
        }
        let folder = self.tree.full_path(node.prefix.trim_end_matches('/'));
        DataError::Layout { folder, why, hint: hint.to_owned() }
    }
}

/// The folder below which there is more than one folder with images, or images of the last folder: the others wrap it.
fn without_wrappers(root: &Node) -> &Node {
    let mut node = root;
    loop {
        let mut bearing = node.bearing();
        match (bearing.next(), bearing.next()) {
            (Some((_, inner)), None) if inner.has_bearing() => node = inner,
            _ => return node,
        }
    }
}

/// The same below a part: a folder that wraps the classes has nothing beside it, and is not called like one of them.
fn without_wrappers_of_part<'a>(part: &'a Node, classes: &BTreeSet<&str>) -> &'a Node {
    let mut node = part;
    loop {
        let mut folders = node.folders.iter();
        match (folders.next(), folders.next()) {
            (Some((name, inner)), None) if inner.has_bearing() && !classes.contains(name.as_str()) => node = inner,
            _ => return node,
        }
    }
}

/// The images of the class folders of `part`, class after class.
fn labelled(part: &Node, classes: &[String]) -> Vec<Labelled> {
    let of_class = |(label, class): (usize, &String)| {
        let images = part.folders.get(class).map(Node::in_order).unwrap_or_default();
        images.into_iter().map(move |path| Labelled { path: path.to_owned(), label: label as u32 })
    };
    classes.iter().enumerate().flat_map(of_class).collect()
}

/// The folder of the table `name`, with a `/` at its end: the root, or a folder that wraps everything.
pub(super) fn folder_of_table(tree: &Tree, name: &str) -> Option<String> {
    let root = Node::of(tree);
    let mut node = &root;
    loop {
        let mut bearing = node.bearing();
        match (bearing.next(), bearing.next()) {
            _ if tree.contains(&format!("{}{name}", node.prefix)) => return Some(node.prefix.clone()),
            (Some((_, inner)), None) => node = inner,
            _ => return None,
        }
    }
}

pub(super) fn is_train(name: &str) -> bool {
    TRAIN.contains(&part_word(name).as_str())
}

/// The place of a test part in the order of preference, or `None` for another folder.
pub(super) fn test_rank(name: &str) -> Option<usize> {
    let word = part_word(name);
    TEST.iter().position(|known| *known == word)
}

/// A folder's name in small letters, without what is often written behind the name of a part.
fn part_word(name: &str) -> String {
    let lower = name.trim().to_lowercase();
    let word =
        ["dataset", "set", "data", "images", "imgs"].iter().find_map(|end| lower.strip_suffix(end)).unwrap_or(&lower);
    match word.trim_end_matches(['_', '-', ' ']) {
        "" => lower,
        word => word.to_owned(),
    }
}

/// Two folders whose names differ in the name of a part alone, as `seg_train` and `seg_test` do.
fn parts_by_another_name(base: &Node) -> Option<[String; 2]> {
    let mut trains = BTreeMap::new();
    let mut tests = BTreeMap::new();
    for (name, _) in base.bearing() {
        let lower = name.to_lowercase();
        let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
        for (i, word) in words.iter().enumerate() {
            let rest = [&words[..i], &words[i + 1..]].concat().join(" ");
            if TRAIN.contains(word) {
                trains.insert(rest, name);
            } else if TEST.contains(word) {
                tests.insert(rest, name);
            }
        }
    }
    trains.into_iter().find_map(|(rest, train)| Some([train.to_owned(), (*tests.get(&rest)?).to_owned()]))
}

fn images(n: usize) -> String {
    if n == 1 { "1 image".to_owned() } else { format!("{n} images") }
}

fn shown(nodes: &[&Node]) -> String {
    names(&nodes.iter().map(|node| node.shown().to_owned()).collect::<Vec<_>>())
}

/// `a`, `b` and 3 more.
fn names(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let told: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    if more > 0 { format!("{} and {more} more", told.join(", ")) } else { told.join(", ") }
}

#[cfg(test)]
mod tests;
