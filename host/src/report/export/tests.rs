use super::*;
use crate::report::study::fixture::{FLIP, StudyFixture, id, stop_after, write as write_file};
use std::collections::BTreeMap;
use std::fs;

fn study(parent: &Path) -> PathBuf {
    StudyFixture { seeds: 1, ..FLIP }.write(parent)
}

/// Every file below a folder.
fn files(folder: &Path, below: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        match entry.path() {
            inner if inner.is_dir() => files(&inner, &format!("{name}/"), found),
            file => drop(found.insert(name, fs::read(file).unwrap())),
        }
    }
}

fn exported(dirs: &[PathBuf], to: &Path) -> BTreeMap<String, Vec<u8>> {
    mlflow(dirs, to).unwrap();
    let mut found = BTreeMap::new();
    files(to, "", &mut found);
    found
}

#[test]
fn a_run_exported_twice_is_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, to) = (study(folder.path()), folder.path().join("store"));
    let first = exported(std::slice::from_ref(&dir), &to);
    assert_eq!(exported(std::slice::from_ref(&dir), &to), first);
    let runs = first.keys().filter(|name| name.ends_with("/meta.yaml") && name.matches('/').count() == 2).count();
    assert_eq!(runs, 6);
    let text = |end: &str| {
        let found = first.iter().find(|(name, _)| name.ends_with(end)).unwrap_or_else(|| panic!("no {end}"));
        String::from_utf8(found.1.clone()).unwrap()
    };
    assert!(text("metrics/test/accuracy").lines().all(|line| line.split(' ').count() == 3));
    assert!(["random", "entropy", "margin"].contains(&text("params/query.strategy").as_str()));
    assert!(text("tags/coldstart.axis.initial.size").parse::<u32>().is_ok());
    assert!(text("artifacts/rounds/000/selection.csv").starts_with("rank,"));

    // A round that is gone leaves nothing behind, and the run is under way again.
    let run = dir.join("runs").join(id("", "margin", 20, 1));
    let before = exported(std::slice::from_ref(&run), &to.with_extension("one"));
    stop_after(&run, 2);
    // Of two rounds one counts: the other was killed.
    let journal = "{\"event\":\"run-started\"}\n{\"event\":\"round-finished\",\"round\":0}\n";
    write_file(&run, "journal.jsonl", journal);
    let after = exported(&[run], &to.with_extension("one"));
    assert!(before.keys().any(|name| name.ends_with("rounds/001/selection.csv")));
    assert!(after.keys().any(|name| name.ends_with("rounds/000/selection.csv")));
    assert!(!after.keys().any(|name| name.ends_with("rounds/001/selection.csv")));
    let status = |files: &BTreeMap<String, Vec<u8>>| {
        let meta =
            files.iter().find(|(name, _)| name.matches('/').count() == 2 && name.ends_with("meta.yaml")).unwrap();
        String::from_utf8(meta.1.clone()).unwrap().lines().find(|line| line.starts_with("status")).unwrap().to_owned()
    };
    assert_eq!((status(&before).as_str(), status(&after).as_str()), ("status: 3", "status: 1"));
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let dir = study(folder.path());
    write_file(folder.path(), "store/thesis.tex", "precious");
    let error = mlflow(&[dir], &folder.path().join("store")).unwrap_err().to_string();
    assert!(error.contains("holds `thesis.tex`"), "{error}");
    assert!(mlflow(&[folder.path().to_owned()], &folder.path().join("other")).is_err());
}

/// What is left of an export that was killed at each of its first steps: it is exported once more as if nothing had been.
#[test]
fn an_export_that_was_stopped_is_no_folder_of_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let dirs = [study(folder.path())];
    let whole = exported(&dirs, &folder.path().join("whole"));
    let experiment = whole.keys().next().unwrap().split('/').next().unwrap().to_owned();
    for (n, left) in ["", ".meta.yaml.999999999.partial"].into_iter().enumerate() {
        let store = folder.path().join(format!("store{n}"));
        fs::create_dir_all(store.join(&experiment)).unwrap();
        if !left.is_empty() {
            fs::write(store.join(&experiment).join(left), "artifact_loc").unwrap();
        }
        assert!(exported(&dirs, &store).keys().eq(whole.keys()), "{left}");
    }
    for foreign in ["thesis/.meta.yaml.1.partial", "12/notes.txt"] {
        let store = folder.path().join(format!("foreign-{}", foreign.len()));
        write_file(&store, foreign, "precious");
        assert!(mlflow(&dirs, &store).is_err(), "{foreign}");
    }
}

#[test]
fn an_event_file_only_grows_and_is_put_right() {
    let folder = tempfile::tempdir().unwrap();
    let run = study(folder.path()).join("runs").join(id("", "entropy", 20, 1));
    let file = run.join("tensorboard/events.out.tfevents.0.coldstart");
    write_events(&run).unwrap();
    let whole = fs::read(&file).unwrap();
    // As it was after two rounds.
    let second = run.with_file_name("second");
    fs::rename(&run, &second).unwrap();
    let rounds: Vec<_> = (2..4).map(|round| second.join(format!("rounds/{round:03}"))).collect();
    let aside: Vec<_> = rounds.iter().map(|round| round.with_extension("aside")).collect();
    rounds.iter().zip(&aside).for_each(|(round, aside)| fs::rename(round, aside).unwrap());
    let file = second.join("tensorboard/events.out.tfevents.0.coldstart");
    write_events(&second).unwrap();
    let part = fs::read(&file).unwrap();
    assert!(part.len() < whole.len() && whole.starts_with(&part));
    rounds.iter().zip(&aside).for_each(|(round, aside)| fs::rename(aside, round).unwrap());
    for damage in [&part[..part.len() - 3], b"torn", &[&whole[..], b"more"].concat()] {
        fs::write(&file, damage).unwrap();
        write_events(&second).unwrap();
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
    tensorboard(&[second], &folder.path().join("board")).unwrap();
    assert!(folder.path().join("board/flip/second/events.out.tfevents.0.coldstart").is_file());
}
