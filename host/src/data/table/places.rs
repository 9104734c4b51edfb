//! The file that a path in a table means: below one folder, and never outside of it.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::archive::Tree;
use super::super::aside::is_image_name;
use super::super::paths::{composed, stem};

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A file of the tree.
    File(String),
    /// Two files, as the path has no ending.
    Several(String, String),
    /// It leads out of the folder that paths begin in.
    Outside,
    /// Nothing that is there.
    Missing,
}

/// The files that paths are sought among.
pub(super) struct Places<'a> {
    tree: &'a Tree,
    /// Where in the tree relative paths begin: empty, or with a `/` at its end.
    begin: String,
    /// How absolute paths to the tree's root begin, where the user has named it.
    roots: Vec<String>,
    /// Images by their composed path, and by that without its ending.
    by_form: OnceCell<HashMap<String, Vec<&'a str>>>,
}

impl<'a> Places<'a> {
    /// The files of `tree`. `begin` is the folder of relative paths, `named` the root as the user has named it.
    pub(super) fn new(tree: &'a Tree, begin: String, named: Option<&Path>) -> Self {
        let absolute = named.and_then(|root| std::path::absolute(root).ok());
        let real = named.and_then(|root| root.canonicalize().ok());
        let text = |root: PathBuf| Some(format!("{}/", root.to_str()?.trim_end_matches('/')));
        let roots = [absolute, real].into_iter().flatten().filter_map(text).collect();
        Places { tree, begin, roots, by_form: OnceCell::new() }
    }

    /// What a path of the table means. Separators may be those of Windows, an umlaut may be one character or two, and the ending may
    /// be left out.
    pub(super) fn find(&self, path: &str) -> Meaning {
        let path = path.replace('\\', "/");
        let Some(path) = self.below(&path) else { return Meaning::Outside };
        if self.tree.contains(&path) {
            return Meaning::File(path);
        }
        match self.by_form().get(&*composed(&path)).map(Vec::as_slice) {
            Some([one]) => Meaning::File((*one).to_owned()),
            Some([first, second, ..]) => Meaning::Several((*first).to_owned(), (*second).to_owned()),
            _ => Meaning::Missing,
        }
    }

    /// The path from the tree's root; `None` if it leads outside.
    fn below(&self, path: &str) -> Option<String> {
        let has_drive = path.as_bytes().get(1) == Some(&b':');
        let (begin, rest) = match path.starts_with('/') || has_drive {
            false => (self.begin.as_str(), path),
            true => ("", self.roots.iter().find_map(|root| path.strip_prefix(root.as_str()))?),
        };
        let mut names: Vec<&str> = begin.split('/').filter(|name| !name.is_empty()).collect();
        for name in rest.split('/') {
            match name {
                "" | "." => {}
                ".." => _ = names.pop()?,
                name => names.push(name),
            }
        }
        Some(names.join("/"))
    }

    fn by_form(&self) -> &HashMap<String, Vec<&'a str>> {
        self.by_form.get_or_init(|| {
            let mut by_form: HashMap<String, Vec<&str>> = HashMap::new();
            for path in self.tree.files() {
                let whole = composed(path).into_owned();
                if is_image_name(path) {
                    by_form.entry(stem(&whole).to_owned()).or_default().push(path);
                }
                by_form.entry(whole).or_default().push(path);
            }
            by_form
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        folder
    }

    #[test]
    fn a_path_means_one_file_below_the_folder() {
        let files = ["images/1.png", "images/2.png", "images/2.jpg", "u\u{308}.png", "sub/3.png", "notes.txt"];
        let folder = folder(&files);
        let tree = Tree::open(folder.path(), &AtomicBool::new(false)).unwrap();
        let file = |path: &str| Meaning::File(path.to_owned());
        let rows = [
            ("images/1.png", file("images/1.png")),
            ("./images//1.png", file("images/1.png")),
            ("images\\1.png", file("images/1.png")),
            ("images/../sub/3.png", file("sub/3.png")),
            ("images/1", file("images/1.png")),
            ("images/2", Meaning::Several("images/2.jpg".to_owned(), "images/2.png".to_owned())),
            ("\u{fc}.png", file("u\u{308}.png")),
            ("\u{fc}", file("u\u{308}.png")),
            ("1.png", Meaning::Missing),
            ("notes", Meaning::Missing),
            ("", Meaning::Missing),
            ("../images/1.png", Meaning::Outside),
            ("images/../../x.png", Meaning::Outside),
            ("/etc/passwd", Meaning::Outside),
            ("C:\\images\\1.png", Meaning::Outside),
        ];
        let places = Places::new(&tree, String::new(), None);
        for (path, meaning) in rows {
            assert_eq!(places.find(path), meaning, "{path}");
        }
        let places = Places::new(&tree, "sub/".to_owned(), None);
        assert_eq!(places.find("3.png"), file("sub/3.png"));
        assert_eq!(places.find("../images/1.png"), file("images/1.png"));
        assert_eq!(places.find("../../x.png"), Meaning::Outside);
    }

    #[test]
    fn absolute_paths_are_for_a_root_that_the_user_names() {
        let folder = folder(&["images/1.png"]);
        let tree = Tree::open(folder.path(), &AtomicBool::new(false)).unwrap();
        let absolute = folder.path().join("images/1.png");
        let absolute = absolute.to_str().unwrap();
        let outside = format!("{}/../x.png", folder.path().display());
        let named = Places::new(&tree, String::new(), Some(folder.path()));
        assert_eq!(named.find(absolute), Meaning::File("images/1.png".to_owned()));
        assert_eq!(named.find("/etc/passwd"), Meaning::Outside);
        assert_eq!(named.find(&outside), Meaning::Outside);
        assert_eq!(Places::new(&tree, String::new(), None).find(absolute), Meaning::Outside);
    }
}
