//! The documents: every link leads somewhere, every page can be reached from the README, every config is described.

use coldstart_tests::{Lab, files_under, repository};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// A link of a page to another place of the repository.
struct Link {
    line: usize,
    /// The file or folder, relative to the repository; the page itself where the link has only an anchor.
    target: PathBuf,
    anchor: Option<String>,
}

/// Every Markdown file of the repository, relative to it.
fn pages() -> BTreeSet<PathBuf> {
    let root = repository();
    let of_root = std::fs::read_dir(&root).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_file());
    let folders = ["configs", "docs", "host", "plugin-api", "plugins", "python", "tests"];
    let below = folders.iter().flat_map(|folder| files_under(&root.join(folder)));
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    of_root.chain(below).filter(is_page).map(|path| path.strip_prefix(&root).unwrap().to_owned()).collect()
}

/// The lines of a page that are not in a block of code, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let is_fence = line.trim_start().starts_with("```");
        if !is_fence && !is_code {
            lines.push((i + 1, line));
        }
        is_code ^= is_fence;
    }
    lines
}

fn links(page: &Path) -> Vec<Link> {
    let text = std::fs::read_to_string(repository().join(page)).unwrap();
    let mut found = Vec::new();
    for (line, text) in prose(&text) {
        for address in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !address.contains("://") && !address.starts_with("mailto:") {
                found.push(link(page, line, address));
            }
        }
    }
    found
}

fn link(page: &Path, line: usize, address: &str) -> Link {
    let (path, anchor) = match address.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (address, None),
    };
    let target = match path {
        "" => page.to_owned(),
        path => without_dots(&page.parent().unwrap().join(path)),
    };
    Link { line, target, anchor }
}

/// A path with each `..` taken out, together with the folder before it.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{} leads out of the repository", path.display()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// The anchors of a page's headings, as GitHub makes them: lower case, hyphens for spaces, no punctuation.
fn anchors(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(repository().join(page)).unwrap();
    let headings = prose(&text).into_iter().filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let is_kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    heading.to_lowercase().chars().filter(is_kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for Link { line, target, anchor } in links(&page) {
            let is_page = target.extension().is_some_and(|extension| extension == "md");
            let is_there = repository().join(&target).exists();
            let has_anchor =
                anchor.as_ref().is_none_or(|anchor| is_there && is_page && anchors(&target).contains(anchor));
            if !is_there || !has_anchor {
                let anchor = anchor.map(|anchor| format!("#{anchor}")).unwrap_or_default();
                broken.push(format!("{}:{line}: {}{anchor}", page.display(), target.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let pages = pages();
    let mut reached = BTreeSet::from([PathBuf::from("README.md")]);
    let mut to_read: Vec<PathBuf> = reached.iter().cloned().collect();
    while let Some(page) = to_read.pop() {
        for link in links(&page) {
            if pages.contains(&link.target) && reached.insert(link.target.clone()) {
                to_read.push(link.target);
            }
        }
    }
    let lost: Vec<&PathBuf> =
        pages.iter().filter(|page| page.starts_with("docs") && !reached.contains(*page)).collect();
    assert!(lost.is_empty(), "nobody finds these pages from README.md: {lost:?}");
}

/// The README is a front door: what is long has a page of its own.
#[test]
fn the_readme_is_short() {
    let lines = std::fs::read_to_string(repository().join("README.md")).unwrap().lines().count();
    assert!(lines < 150, "README.md has {lines} lines");
}

/// The first lines of a config say what to type and what to expect; a page that they name is there.
#[test]
fn every_config_says_what_it_is() {
    let configs = files_under(&repository().join("configs"));
    for config in configs.iter().filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        let text = std::fs::read_to_string(config).unwrap();
        for key in ["# Source:", "# Command:", "# Expected:", "# Time:"] {
            assert!(text.contains(key), "{} has no line `{key}`", config.display());
        }
        let settings = text.lines().filter(|line| !line.starts_with('#'));
        let needs_files = settings.filter(|line| line.contains("path = \"")).any(|line| !is_public(line));
        assert!(!needs_files || text.contains("# Data:"), "{} does not say `# Data:`", config.display());
        let expected = text.lines().find_map(|line| line.strip_prefix("# Expected:")).unwrap().trim();
        if expected.starts_with("docs/") {
            assert!(repository().join(expected).exists(), "{} expects {expected}", config.display());
        }
    }
}

/// Whether the paths of a line are those that `data fetch` fills.
fn is_public(line: &str) -> bool {
    ["mnist", "fashion-mnist", "cifar10", "cifar100"].iter().any(|name| line.contains(&format!("path = \"{name}\"")))
}

/// The page of a config's keys is what the program prints.
#[test]
fn the_reference_of_configs_is_the_program_s() {
    let printed = Lab::new().coldstart(&["config", "explain", "--markdown"]);
    let page = std::fs::read_to_string(repository().join("docs/reference/config.md")).unwrap();
    assert!(printed.exits(0).stdout == page, "`coldstart config explain --markdown > docs/reference/config.md`");
}

/// The page of commands is what the program prints, and the man pages name every command.
#[test]
fn the_reference_of_commands_is_the_program_s() {
    let lab = Lab::new();
    let page = std::fs::read_to_string(repository().join("docs/reference/commands.md")).unwrap();
    assert!(lab.coldstart(&["manual"]).exits(0).stdout == page, "`coldstart manual > docs/reference/commands.md`");
    for section in page.split("\n## `").skip(1) {
        let name = section.split('`').next().unwrap();
        assert!(section.contains(&format!("\nExample: {name}")), "the help of `{name}` has no example of it");
    }
    lab.coldstart(&["manual", "--man", "man"]).exits(0);
    for name in ["coldstart.1", "coldstart-run.1", "coldstart-plugin-install.1", "coldstart-config-explain.1"] {
        assert!(lab.path("man").join(name).exists(), "no {name}");
    }
    assert!(!lab.path("man/coldstart-help.1").exists());
}

/// A config to begin with is one that runs, and one that exists is left alone.
#[test]
fn a_first_config_is_written_and_taken() {
    let lab = Lab::new();
    lab.coldstart(&["config", "init", "first.toml"]).exits(0);
    assert!(lab.path("coldstart.schema.json").exists());
    let text = std::fs::read_to_string(lab.path("first.toml")).unwrap();
    assert!(text.contains("name = \"first\"") && text.starts_with("#:schema ./coldstart.schema.json\n"), "{text}");
    let drawn = "dataset={ kind = \"synthetic\", size = 200, test_size = 100 }";
    lab.coldstart(&["run", "first.toml", "-s", drawn, "-s", "query.rounds=1", "--out", "run"]).exits(0);
    lab.coldstart(&["config", "init", "first.toml"]).exits(2).says("is there already");
}

#[test]
fn a_key_is_explained_and_a_slip_is_set_right() {
    let lab = Lab::new();
    let explained = lab.coldstart(&["config", "explain", "training.batch_size"]);
    for words in ["at least 2", "128", "Labelled images per optimizer step"] {
        assert!(explained.exits(0).stdout.contains(words), "{}", explained.stdout);
    }
    lab.coldstart(&["config", "explain", "training.batchsize"]).exits(2).says("did you mean `training.batch_size`?");
    let table = lab.coldstart(&["config", "explain", "training.optimizer"]);
    for words in ["sgd", "adamw", "lars", "training.optimizer.lr"] {
        assert!(table.exits(0).stdout.contains(words), "{}", table.stdout);
    }
}

#[test]
fn the_citation_has_the_program_s_version() {
    let citation = std::fs::read_to_string(repository().join("CITATION.cff")).unwrap();
    let version = Lab::new().coldstart(&["--version"]);
    let version = version.exits(0).stdout.trim().trim_start_matches("coldstart ").to_owned();
    assert!(citation.contains(&format!("\nversion: {version}\n")), "{version}");
}
