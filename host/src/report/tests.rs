use std::fs;
use std::path::{Path, PathBuf};

use super::browser::{browse, chromium};
use super::fixture::{CLASSES, Fixture, fail, tear};
use super::*;

/// Three arms of two seeds and six rounds; the last run of two arms is torn and failed.
fn study(parent: &Path) -> Vec<PathBuf> {
    let arms = ["random", "entropy", "margin"].into_iter();
    let runs = arms.flat_map(|strategy| [1, 2].map(|seed| Fixture { strategy, seed, rounds: 6 }));
    let dirs: Vec<PathBuf> = runs.map(|run| run.write(parent)).collect();
    tear(&dirs[3]);
    fail(&dirs[5], "P017: plugin `margin` panicked: <img src=x onerror=y()>");
    dirs
}

/// The page without plotly's script, which is not ours.
fn own_part(html: &str) -> String {
    html.replace(&chart::script(), "")
}

#[test]
fn a_page_is_complete_and_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let html = folder.path().join("out/report.html");
    let report = write(&study(folder.path()), &html).unwrap();
    assert_eq!((report.runs, report.problems.len()), (6, 3), "{:#?}", report.problems);

    let page = own_part(&fs::read_to_string(&html).unwrap());
    for forbidden in ["http:", "https:", "src=\"", "@import", "<script>x()", "<b>&\"", "<img", "\"//", "url(/"] {
        assert!(!page.contains(forbidden), "the page holds {forbidden}");
    }
    let expected = [
        "fashion-demo",
        "entropy",
        "2 seeds per arm",
        "no claim of a winner is supported",
        "Bag &#60;b&#62;&#38;&#34;&#39;",
        "stopped after round 4",
        "failed after round 5: P017",
        // Seed 1 of `random` after round 0: 0.85 - 0.45 + 2/700; both seeds after round 5: 12.706 * (2/700) / 2 around it.
        "<td class=\"n\">0.403</td>",
        "0.742 ± 0.018",
        "sha256:0123456789abcdef",
        "60\u{202f}000 to choose from",
        // The training, the diagnostics and the maps of the fixture.
        "<td>loss-sorter</td><td class=\"n\">0</td><td class=\"n\">15</td><td class=\"n\">0.438</td>",
        "<td class=\"n\">0.812</td><td>trained</td><td class=\"n\" data-value=\"12.3\">12.3 s</td>",
        "<td class=\"n\">–</td><td>cached</td>",
        "raw pixels</th><td class=\"n\">512</td><td class=\"n\">0.350</td><td class=\"n\">0.380</td>",
        "of the 200 nearest neighbours",
        "30 epochs) reaches 0.912",
        "<td class=\"n\">0.441</td><td class=\"n\">0.432 to 0.449</td><td class=\"n\">50\u{202f}000</td>",
        "PT4AL reports 0.79 on CIFAR-10; an independent attempt found 0.44",
        "Losses of &#60;i&#62;task&#60;/i&#62; <span>task, diagnosis</span> <span class=\"badge oracle\">oracle: uses",
        "650 of 650 images are drawn.",
        "class Ankle boot",
    ];
    for text in expected {
        assert!(page.contains(text), "the page lacks {text}");
    }
    assert!(page.len() < 1 << 20, "everything but plotly takes {} bytes", page.len());

    let png = image::open(&report.png).unwrap();
    assert_eq!((report.png, png.width()), (folder.path().join("out/report.png"), 1920));
}

#[test]
fn a_run_is_read_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let run = read_run(&Fixture { strategy: "entropy", seed: 7, rounds: 3 }.write(folder.path())).unwrap();
    assert_eq!((run.status.clone(), run.problems.as_slice(), run.seed()), (Status::Finished, &[][..], "7"));
    assert_eq!(run.rounds.iter().map(|round| round.number).collect::<Vec<_>>(), [0, 1, 2]);
    let round = &run.rounds[2];
    assert_eq!((round.metrics.labels_bought(), round.selection.len()), (70, 20));
    assert_eq!((round.selection[0].id, round.selection[0].score), (207, Some(1.5)));
    assert_eq!(run.class_name(&round.selection[0].label), CLASSES[4]);
    assert_eq!(round.metrics.class_counts.iter().sum::<u64>(), 60);
    assert_eq!(run.plugins.len(), 2);
    assert!(round.timings.is_some() && round.sprite.is_some());
}

#[test]
fn damage_is_noted_and_never_refused() {
    let rows: [(&str, Option<&str>, usize, &str); 15] = [
        ("environment.json", None, 3, "environment.json is missing"),
        ("environment.json", Some("{"), 3, "environment.json: EOF"),
        ("plugins.lock", Some("plugin = 3"), 3, "plugins.lock: "),
        ("config.toml", Some("name = <"), 3, "config.toml: TOML parse error"),
        ("journal.jsonl", Some("{}\n{\"event\":\"run-finished\"}\n"), 3, "journal.jsonl line 1"),
        ("rounds/001/selection.csv", Some("rank,id,label,score\n0,1"), 2, "round 1 is unfinished"),
        ("rounds/002/metrics.json", None, 2, "round 2 is unfinished and left out: rounds/002/metrics.json is missing"),
        ("rounds/002/timings.json", Some(""), 3, "rounds/002/timings.json: EOF"),
        ("rounds/002/picks.png", Some("no picture"), 3, "rounds/002/picks.png: "),
        ("diagnostics.json", Some("{}"), 3, "diagnostics.json: missing field"),
        ("journal.jsonl", Some("{\"event\":\"pretext-trained\"}\n"), 3, "journal.jsonl: an event pretext-trained is"),
        ("artifacts/000/losses.map.json", Some("{\"name\":"), 3, "artifacts/000/losses.map.json: EOF"),
        ("artifacts/000/new.map.json", Some("[]"), 3, "artifacts/000/new.map.json: "),
        ("artifacts/000/losses.map.png", Some("no picture"), 3, "artifacts/000/losses.map.png: "),
        ("artifacts/diagnosis/task.map.png", None, 3, "artifacts/diagnosis/task.map.png is missing"),
    ];
    for (file, text, rounds, expected) in rows {
        let folder = tempfile::tempdir().unwrap();
        let dir = Fixture { strategy: "random", seed: 1, rounds: 3 }.write(folder.path());
        match text {
            Some(text) => fs::write(dir.join(file), text).unwrap(),
            None => fs::remove_file(dir.join(file)).unwrap(),
        }
        let run = read_run(&dir).unwrap();
        assert_eq!(run.rounds.len(), rounds, "{file}");
        assert!(run.problems[0].starts_with(expected), "{file}: {:?}", run.problems);
        let html = folder.path().join("report.html");
        write(&[dir], &html).unwrap();
        assert!(own_part(&fs::read_to_string(html).unwrap()).contains(expected), "the page does not say: {expected}");
    }
}

#[test]
fn an_empty_run_still_makes_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let dir = Fixture { strategy: "random", seed: 1, rounds: 0 }.write(folder.path());
    let report = write(&[dir], &folder.path().join("report.html")).unwrap();
    assert!(report.png.exists());
}

#[test]
fn other_folders_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let error = read_run(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is not a run directory: it has no `config.toml`"), "{error}");
    fs::write(folder.path().join("config.toml"), "").unwrap();
    let error = read_run(folder.path()).unwrap_err().to_string();
    assert!(error.contains("it has no `journal.jsonl`, `environment.json` or `rounds/`"), "{error}");
    assert!(matches!(write(&[], Path::new("x.html")), Err(ReportError::NoRuns)));
}

#[test]
fn a_resumed_run_is_no_longer_failed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = Fixture { strategy: "random", seed: 1, rounds: 2 }.write(folder.path());
    fail(&dir, "disk full");
    assert_eq!(read_run(&dir).unwrap().status, Status::Failed("disk full".to_owned()));
    let journal = dir.join("journal.jsonl");
    let resumed = fs::read_to_string(&journal).unwrap() + "{\"event\":\"resumed\"}\n";
    fs::write(&journal, resumed).unwrap();
    assert_eq!(read_run(&dir).unwrap().status_line(), "stopped after round 1");
}

/// What a real browser makes of the page: the script runs without an error and the charts are drawn.
#[test]
fn a_browser_draws_the_charts() {
    let Some(chromium) = chromium() else {
        eprintln!("skipped: no chromium on PATH or in $CHROMIUM, so no browser has looked at the page");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let html = folder.path().join("report.html");
    write(&study(folder.path()), &html).unwrap();
    let shot = folder.path().join("page.png");
    let (dom, _) = browse(&chromium, &html, &["--dump-dom".to_owned()]);
    let (_, log) = browse(&chromium, &html, &[format!("--screenshot={}", shot.display())]);
    assert!(dom.contains("class=\"main-svg\"") && dom.contains("scatterlayer"), "no chart was drawn:\n{log}");
    assert!(!log.contains(":CONSOLE"), "the page complains:\n{log}");
    assert!(image::open(shot).unwrap().width() >= 1280);
}

/// The third trace holds the images of round 0; the first of them is image 1, the second tile of the sheet.
const POINT_AT_THE_FIRST_PICK: &str = "setTimeout(() => {
    const plot = document.querySelector('.map .plot'), { xaxis, yaxis } = plot._fullLayout, { x, y } = plot.data[2];
    const { left, top } = plot.getBoundingClientRect();
    const clientX = left + xaxis._offset + xaxis.d2p(x[0]), clientY = top + yaxis._offset + yaxis.d2p(y[0]);
    plot.querySelector('.nsewdrag').dispatchEvent(new MouseEvent('mousemove', { clientX, clientY, bubbles: true }));
}, 3000)";

/// A map is drawn where it is in sight, and pointing at an image shows it with what is known of it.
#[test]
fn a_browser_draws_the_maps() {
    let Some(chromium) = chromium() else {
        eprintln!("skipped: no chromium on PATH or in $CHROMIUM, so no browser has looked at the maps");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = Fixture { strategy: "entropy", seed: 1, rounds: 2 }.write(folder.path());
    let html = folder.path().join("report.html");
    write(&[dir], &html).unwrap();
    let pointing = format!("<script>{POINT_AT_THE_FIRST_PICK}</script></body>");
    fs::write(&html, fs::read_to_string(&html).unwrap().replace("</body>", &pointing)).unwrap();
    let (dom, log) = browse(&chromium, &html, &["--window-size=1280,6000".to_owned(), "--dump-dom".to_owned()]);
    assert!(!log.contains(":CONSOLE"), "the page complains:\n{log}");
    assert_eq!(dom.matches("class=\"gl-canvas gl-canvas-context\"").count(), 2, "not every map was drawn:\n{log}");
    let peek = dom.split("class=\"peek\"").nth(1).unwrap();
    let peek = &peek[..peek.find("</div>").unwrap()];
    for part in ["background-position: -112px 0px", "image 1<", "cluster 1<", "typicality &lt;b&gt;: ", "round 0<"] {
        assert!(peek.contains(part), "the box lacks {part}: {peek}");
    }
}
