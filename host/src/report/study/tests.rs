use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::fixture::{FLIP, StudyFixture, flipping, id, stop_after, write as write_file};
use crate::report::browser::{browse, chromium};
use crate::report::{Report, ReportError, chart, write};

fn report(dir: &Path) -> Report {
    write(&[dir.to_owned()], &dir.join("report.html")).unwrap()
}

/// Every table and figure by name.
fn written(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = ["tables", "figures"].iter().flat_map(|folder| fs::read_dir(dir.join(folder)).unwrap());
    files
        .map(|file| file.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
        .collect()
}

fn table(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join("tables").join(name)).unwrap()
}

/// The page without plotly's script, which is not ours.
fn page(dir: &Path) -> String {
    fs::read_to_string(dir.join("report.html")).unwrap().replace(&chart::script(), "")
}

/// The cells of the row of a CSV that begins with `start`, as numbers where they are.
fn row(csv: &str, start: &str) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_bytes());
    let rows = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>());
    let found: Vec<_> = rows.filter(|row| row.join("|").starts_with(start)).collect();
    assert_eq!(found.len(), 1, "{start} in\n{csv}");
    found[0].clone()
}

/// Made with NumPy 2.4, SciPy 1.17 and statsmodels 0.15 from the fixture's formula:
///
/// ```python
/// def acc(strategy, size, seed, labels):
///     effect, step = {"entropy": (-.05 if size == 20 else .06, 3), "margin": (.004, 5), "random": (0, 0)}[strategy]
///     wobble = (seed * seed * 5 + step * seed * 3 + size // 20 * 2 + labels // 20 * seed) % 7
///     return .4 + labels / 400 + effect + wobble / 200
/// x = range(size, 81, 20)
/// v = [numpy.interp(70, x, [acc(strategy, size, seed, l) for l in x]) for seed in range(1, 6)]    # and w of another arm
/// numpy.mean(v), stats.sem(v) * stats.t.ppf(.975, 4), stats.ttest_rel(v, w), multipletests(p, method="holm")[1]
/// ```
///
/// Tolerance: that of statrs' quantile and distribution.
#[test]
fn tables_hold_the_numbers_of_scipy() {
    let folder = tempfile::tempdir().unwrap();
    let dir = FLIP.write(folder.path());
    report(&dir);
    let rows: [(&str, &str, usize, &[f64]); 8] = [
        ("ranking.csv", "20|1|margin, initial.size 20", 4, &[0.5955, 0.007_146_312_977]),
        ("ranking.csv", "20|3|entropy, initial.size 20", 4, &[0.546, 0.007_146_312_977]),
        ("ranking.csv", "40|1|entropy, initial.size 40", 4, &[0.6485, 0.009_208_426_665]),
        ("areas.csv", "entropy, initial.size 20", 1, &[40.0, 80.0, 0.51875]),
        ("areas.csv", "entropy, initial.size 20", 10, &[0.51875]),
        (
            "tests.csv",
            "against the baseline|accuracy at 70 labels|margin, initial.size 20",
            6,
            &[0.005_970_970_970, 5.579_886_659_703, 0.005_057_588_874, 0.010_115_177_749, 0.0625],
        ),
        (
            "tests.csv",
            "initial.size 40|accuracy at 70 labels|random, initial.size 40|margin, initial.size 40",
            7,
            &[-0.365_148_371_670, 0.733_488_906_670, 0.733_488_906_670],
        ),
        (
            "label-efficiency.csv",
            "margin, initial.size 20|random, initial.size 20|60",
            3,
            &[0.563, 61.960_784_314, 1.032_679_739],
        ),
    ];
    for (name, start, first, expected) in rows {
        let cells = row(&table(&dir, name), start);
        for (cell, expected) in cells[first..].iter().zip(expected) {
            let got: f64 = cell.parse().unwrap();
            assert!((got - expected).abs() < 1e-8, "{name}, {start}: {got} {expected} in {cells:?}");
        }
    }
    let coverage = row(&table(&dir, "initial-sets.csv"), "initial.size 20");
    // One of five sets lacks one of four classes.
    assert_eq!(
        (&coverage[1..4], &coverage[4], &coverage[7..9]),
        (&["5", "20", "0"].map(String::from)[..], &"0.95".to_owned(), &["3", "4"].map(String::from)[..])
    );
}

/// Made as above; of `entropy` the mean at 70 labels is 0.546 from 20 and 0.6485 from 40:
///
/// ```python
/// def best(strategy, seed):  # on the other seeds
///     means = {size: numpy.mean([value(strategy, size, other) for other in range(1, 6) if other != seed]) for size in (20, 40)}
///     return value(strategy, max(means, key=means.get), seed)
/// def at(strategy, said, seed):
///     share = min(1, numpy.log(said / 20) / numpy.log(2))
///     return (1 - share) * value(strategy, 20, seed) + share * value(strategy, 40, seed)
/// short = [best(strategy, seed) - at(strategy, said, seed) for seed in range(1, 6)]
/// numpy.mean(short), stats.sem(short) * stats.t.ppf(.975, 4)
/// ```
#[test]
fn sizers_stand_beside_what_was_best() {
    let folder = tempfile::tempdir().unwrap();
    let dir = FLIP.write(folder.path());
    report(&dir);
    let csv = table(&dir, "sizers.csv");
    // Whoever says 20 misses the better size of entropy, which is the better one on any four seeds; beyond 40 nothing was studied.
    for (start, said, sizes, regret) in [
        ("entropy|early", [20.0, 20.0, 20.0], ["0 of 5", "40"], [0.1025, 0.015_364_808_079]),
        ("entropy|patient", [68.0, 60.0, 80.0], ["2 of 5", "40"], [0.0, 0.0]),
        ("entropy|at-once", [40.0, 40.0, 40.0], ["0 of 5", "40"], [0.0, 0.0]),
        ("entropy|told", [28.0, 28.0, 28.0], ["0 of 5", "40"], [0.052_743_750_215, 0.007_906_318_043]),
        ("margin|told", [20.0, 20.0, 20.0], ["0 of 5", "20"], [-0.0045, 0.005_100_655_355]),
        ("entropy|always 20", [20.0, 20.0, 20.0], ["0 of 5", "40"], [0.1025, 0.015_364_808_079]),
        ("entropy|always 40", [40.0, 40.0, 40.0], ["0 of 5", "40"], [0.0, 0.0]),
    ] {
        let row = row(&csv, start);
        let numbers: Vec<f64> = [2, 5, 6].iter().map(|i| row[*i].parse().unwrap()).collect();
        assert_eq!((&numbers[..], &row[7..9]), (&said[..], &sizes.map(String::from)[..]), "{row:?}");
        let got: Vec<f64> = row[12..14].iter().map(|cell| cell.parse().unwrap()).collect();
        for (got, expected) in got.iter().zip(regret) {
            // In points.
            assert!((got - 100.0 * expected).abs() < 1e-6, "{start}: {got} {expected}");
        }
    }
}

#[test]
fn arms_that_begin_from_the_same_round_0_have_one_initial_set() {
    let folder = tempfile::tempdir().unwrap();
    let dir = FLIP.write(folder.path());
    let names = |dir: &Path| {
        report(dir);
        let csv = table(dir, "initial-sets.csv");
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        reader.records().map(|row| row.unwrap()[0].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&dir), ["initial.size 20", "initial.size 40"]);
    // Where one of three begins otherwise, the other two go by the first of them.
    let plan = fs::read_to_string(dir.join("plan.csv")).unwrap();
    let margin = |line: &str| if line.contains("margin") { line.replace("any", "other") } else { line.to_owned() };
    fs::write(dir.join("plan.csv"), plan.lines().map(|line| margin(line) + "\n").collect::<String>()).unwrap();
    let of = |size| ["random", "margin"].map(|strategy| format!("initial.size {size}, {strategy}"));
    let mut found = names(&dir);
    found.sort();
    let mut expected = [of(20), of(40)].concat();
    expected.sort();
    assert_eq!(found, expected);
}

/// Made as above with SciPy 1.17, of round 0 alone:
///
/// ```python
/// v, w = ([acc(strategy, 20, seed, 20) for seed in range(1, 6)] for strategy in ("entropy", "random"))
/// numpy.mean(v), stats.ttest_rel(v, w)        # p of margin: 0.0802, so that Holm's p of entropy is twice its own
/// over = lambda strategy: [numpy.mean([acc(strategy, n, seed, n) for n in (20, 40)]) for seed in range(1, 6)]
/// d = numpy.subtract(over("entropy"), over("random"))
/// d.mean(), stats.sem(d) * stats.t.ppf(.975, 4), stats.ttest_1samp(d, 0).pvalue
/// ```
#[test]
fn initial_sets_of_one_size_are_held_against_the_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = "baseline = { \"initial.strategy\" = \"random\" }";
    let dir = StudyFixture { axis: "initial.strategy", sweep, ..FLIP }.write(folder.path());
    report(&dir);
    let sets = table(&dir, "initial-sets.csv");
    let numbers = |row: Vec<String>| row.iter().map(|cell| cell.parse().unwrap_or(f64::NAN)).collect::<Vec<f64>>();
    let entropy = numbers(row(&sets, "initial.size 20, entropy"));
    for (place, expected) in [(9, 0.408), (12, -0.055), (13, 0.015_828_172_390), (14, 0.001_291_260_366)] {
        assert!((entropy[place] - expected).abs() < 1e-9, "{place}: {entropy:?}");
    }
    assert_eq!(row(&sets, "initial.size 20, random")[12], "");
    let test = numbers(row(&table(&dir, "tests.csv"), "initial sets of 20|accuracy with the initial set|margin"));
    assert!((test[8] - 0.080_156_674_210).abs() < 1e-9 && test[4] == 5.0, "{test:?}");
    let over = row(
        &table(&dir, "tests.csv"),
        "initial sets of all sizes|accuracy with the initial set, mean over sizes|entropy",
    );
    assert_eq!(over[2..4], ["entropy", "random"]);
    let over = numbers(over);
    for (place, expected) in [(5, 0.0035), (6, 0.014_493_468_952), (8, 0.539_276_083_751)] {
        assert!((over[place] - expected).abs() < 1e-9, "{place}: {over:?}");
    }
    let said = page(&dir);
    let expected = "Initial sets of 20 by themselves, against the baseline, with p &#60; 0.05 after Holm&#39;s correction over 2 arms: \
                    above it none; below it entropy; no difference that these seeds support for 1.";
    assert!(said.contains(expected), "{said}");

    // Where the queries alone differ, there is one set of each size, and nothing to be held against it.
    let dir = FLIP.write(&folder.path().join("queries"));
    report(&dir);
    assert_eq!(row(&table(&dir, "initial-sets.csv"), "initial.size 20")[12], "");
}

#[test]
fn claims_need_seeds_and_tests() {
    let near = |_: &str, strategy: &str, size, seed, labels| {
        flipping("", if strategy == "entropy" { "margin" } else { strategy }, size, seed, labels)
    };
    let rows: [(StudyFixture, &[&str], &[&str]); 4] = [
        (
            StudyFixture { ..FLIP },
            &[
                "With initial.size 20: margin has the highest mean, 0.596 ± 0.007, random comes next with 0.584. It wins:",
                "With initial.size 40: entropy has the highest mean, 0.649 ± 0.009",
                "margin with 20, entropy with 40. Both are first where they are in 100 % of the resamples of the 5 seeds",
                "after Holm's correction over 4 arms: above it entropy, initial.size 40; margin, initial.size 20; below it \
                 entropy, initial.size 20; no difference that these seeds support for 1.",
                "30 of 30 runs have finished; a run spent up to 80 labels, none of them for validation.",
            ],
            &["no claim"],
        ),
        (
            StudyFixture { seeds: 4, ..FLIP },
            &["only 4 seeds", "no claim of a winner is supported below 5", "margin has the highest mean"],
            &["It wins", "Against the baseline, with p", "tell it apart"],
        ),
        (
            StudyFixture { sizes: &[40], strategies: &["random", "margin"], ..FLIP },
            &["margin has the highest mean", "No difference between it and any other arm that these seeds support"],
            &["It wins", "first place changes", "With initial.size"],
        ),
        (
            StudyFixture { accuracy: near, strategies: &["random", "entropy"], ..FLIP },
            &["The same arm is first with every size"],
            &["first place changes"],
        ),
    ];
    for (fixture, expected, forbidden) in rows {
        let folder = tempfile::tempdir().unwrap();
        let dir = fixture.write(folder.path());
        report(&dir);
        let page = page(&dir).replace("&#39;", "'");
        for text in expected {
            assert!(page.contains(text), "the page lacks {text}:\n{}", page.split("</section>").next().unwrap());
        }
        for text in forbidden {
            assert!(!page.contains(text), "the page holds {text}");
        }
    }
}

/// A study that was run elsewhere, in another order and at other times, has the same tables and figures.
#[test]
fn tables_depend_on_selections_and_metrics_alone() {
    let folder = tempfile::tempdir().unwrap();
    let one = FLIP.write(&folder.path().join("one"));
    let other = FLIP.write(&folder.path().join("a longer place"));
    for dir in [&one, &other] {
        let failed = dir.join("runs").join(id("", "margin", 40, 2));
        stop_after(&failed, 1);
        let error = format!("cannot write `{}/rounds/001`\nsecond line", failed.display());
        write_file(
            dir,
            &format!("failures/{}.json", id("", "margin", 40, 2)),
            &serde_json::json!({"time": "", "error": error}).to_string(),
        );
    }
    for run in fs::read_dir(other.join("runs")).unwrap().map(|run| run.unwrap().path()) {
        write_file(&run, "rounds/000/timings.json", "{");
        write_file(&run, "environment.json", "{\"started\": \"2027-01-01T00:00:00Z\"}");
        fs::remove_file(run.join("rounds/000/picks.png")).unwrap();
    }
    let problems = report(&one).problems;
    report(&other);
    assert_eq!(written(&one), written(&other));
    let problem = "margin-40-2: failed: cannot write `runs/margin-40-2/rounds/001`";
    assert_eq!(problems, [problem]);
    report(&one);
    assert_eq!(written(&one), written(&other), "a second time");
}

#[test]
fn runs_that_are_not_whole_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = StudyFixture { seeds: 6, ..FLIP }.write(folder.path());
    let run = |strategy, size, seed| dir.join("runs").join(id("", strategy, size, seed));
    fs::remove_dir_all(run("random", 20, 6)).unwrap();
    stop_after(&run("margin", 40, 6), 1);
    fs::remove_dir_all(run("entropy", 20, 6)).unwrap();
    write_file(&dir, "failures/entropy-20-6.json", "{\"time\": \"now\", \"error\": \"P017: it <i>panicked</i>\"}");
    write_file(&dir, "runs/entropy-40-6/journal.jsonl", "{\"event\":\"run-failed\",\"error\":\"disk full\"}\n");
    fs::remove_dir_all(run("margin", 20, 6)).unwrap();
    write_file(&dir, "runs/margin-20-6/stray", "");
    let report = report(&dir);
    assert_eq!((report.runs, report.problems.len()), (36, 5), "{:#?}", report.problems);
    let runs = table(&dir, "runs.csv");
    for (id, state, rounds, problem) in [
        ("random-20-6", "missing", "0", ""),
        ("margin-40-6", "unfinished", "1", "stopped after round 0"),
        ("entropy-20-6", "failed", "0", "failed: P017: it <i>panicked</i>"),
        ("entropy-40-6", "failed", "3", "failed after round 2: disk full"),
        ("margin-20-6", "missing", "0", "its folder holds no run"),
        ("random-40-6", "finished", "3", ""),
    ] {
        let row = row(&runs, &format!("{id}|"));
        assert_eq!([&row[3], &row[4], &row[8]], [state, rounds, problem], "{id}");
    }
    let page = page(&dir);
    for text in [
        "36 runs, 6 arms: 31 finished, 1 unfinished, 2 failed, 2 missing",
        // The failed run had all its rounds: it counts where it got.
        "4 of 36 runs do not reach them (or begin beyond them) and are left out",
        "P017: it &#60;i&#62;panicked",
        "resamples of the 5 seeds",
    ] {
        assert!(page.contains(text), "the page lacks {text}");
    }
}

/// Four pairs are no five: what was a winner is one no longer, though every difference is as clear as before.
#[test]
fn an_arm_that_lacks_a_seed_is_ranked_and_wins_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = FLIP.write(folder.path());
    stop_after(&dir.join("runs").join(id("", "margin", 20, 3)), 1);
    report(&dir);
    assert_eq!(row(&table(&dir, "ranking.csv"), "20|1|margin, initial.size 20")[6], "4");
    let page = page(&dir);
    for text in [
        "1 arm lacks a value for some of the 5 seeds, and its mean is over the others: margin, initial.size 20.",
        "random comes next with 0.584. No difference between it and any other arm that these seeds support",
    ] {
        assert!(page.contains(text), "the page lacks {text}");
    }
    assert_eq!(page.matches("It wins").count(), 1, "`entropy` still wins from 40");
}

/// Arms of one data set are best there and nowhere else; no row and no figure mixes the two.
#[test]
fn data_sets_are_never_mixed() {
    let accuracy = |dataset: &str, strategy: &str, size, seed, labels| {
        let other = if strategy == "random" { "margin" } else { "random" };
        flipping("", if dataset == "b/c" { other } else { strategy }, size, seed, labels)
    };
    let folder = tempfile::tempdir().unwrap();
    let fixture = StudyFixture { datasets: &["a", "b/c"], strategies: &["random", "margin"], accuracy, ..FLIP };
    let dir = fixture.write(folder.path());
    report(&dir);
    assert_eq!(row(&table(&dir, "ranking.csv"), "a|20|1")[3], "margin, initial.size 20");
    assert_eq!(row(&table(&dir, "ranking.csv"), "b/c|20|1")[3], "random, initial.size 20");
    assert_eq!(row(&table(&dir, "budgets.csv"), "a|margin, initial.size 20")[2], "5 of 5");
    let files: Vec<String> = written(&dir).into_keys().filter(|name| name.ends_with("svg")).collect();
    assert_eq!(files, ["curves-1-a.svg", "curves-2-b-c.svg", "rank-flip-1-a.svg", "rank-flip-2-b-c.svg"]);
    assert!(page(&dir).contains("<h3>b/c</h3>"));
}

#[test]
fn a_damaged_plan_is_refused_and_a_damaged_config_noted() {
    let rows = [
        ("name,seed\nx,1\n", "its first columns are not `run` and `round0`"),
        ("run,round0,seed\nx,y,1\nx,y,2\n", "it has the run `x` twice"),
        ("run,round0,seed\nx,y\n", "found record with 2 fields"),
        ("run,round0,seed\n../../etc,y,1\n", "`../../etc` names no folder"),
        ("run,round0,seed\n,y,1\n", "`` names no folder"),
    ];
    for (plan, expected) in rows {
        let folder = tempfile::tempdir().unwrap();
        write_file(folder.path(), "plan.csv", plan);
        let error = write(&[folder.path().to_owned()], &folder.path().join("x.html")).unwrap_err();
        assert!(matches!(error, ReportError::Plan { .. }) && error.to_string().contains(expected), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = FLIP.write(folder.path());
    write_file(&dir, "study.toml", "name = ");
    assert!(report(&dir).problems[0].starts_with("study.toml: "));
    let both = [dir.clone(), dir.join("runs/random-20-1")];
    assert!(matches!(write(&both, &dir.join("x.html")), Err(ReportError::StudyAmongOthers { .. })));
}

#[test]
fn a_plan_without_runs_still_makes_a_page() {
    for plan in [
        "run,round0,initial.size,query.strategy,seed\n",
        "run,round0\na,b\n",
        "run,round0,initial.size\na,b,5\nc,d,auto\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        write_file(folder.path(), "plan.csv", plan);
        write_file(folder.path(), "study.toml", "name = \"empty\"\n[sweep]\nseed = [1]\n");
        assert!(report(folder.path()).html.exists(), "{plan}");
    }
}

/// Sizes x strategies x seeds to 480 runs: the page stays small, and harmless whatever arms are called.
#[test]
fn a_page_is_bounded_and_harmless() {
    const HOSTILE: &str = "</script><img src=x onerror=alert(1)>";
    let names: [&str; 8] = ["random", HOSTILE, "entropy", "margin", "e", "f", "g", "h"];
    let folder = tempfile::tempdir().unwrap();
    let fixture = StudyFixture { sizes: &[20, 40, 60], strategies: Box::leak(Box::new(names)), seeds: 20, ..FLIP };
    let dir = fixture.write(folder.path());
    let elsewhere = folder.path().join("else where/page.html");
    write(std::slice::from_ref(&dir), &elsewhere).unwrap();
    let html = fs::read_to_string(elsewhere).unwrap().replace(&chart::script(), "");
    for forbidden in ["http:", "https:", "src=\"", "@import", "<img", "\"//", "url(/", "</script><i"] {
        assert!(!html.contains(forbidden), "the page holds {forbidden}");
    }
    assert!(html.len() < 3 << 20, "everything but plotly takes {} bytes", html.len());
    assert!(html.contains(&format!("href=\"{}/tables/runs.csv\"", dir.canonicalize().unwrap().display())));
    // One picture for each size and seed.
    assert_eq!(html.matches("iVBORw0KGgo").count(), 60);
}

/// Filters, then clicks the first run's dot, and writes what is then to be seen into the title.
const FILTER_AND_CLICK: &str = "setTimeout(() => {
    document.querySelectorAll('#lines input')[1].click();
    const plot = document.getElementById('curves'), { xaxis, yaxis } = plot._fullLayout;
    const runs = plot.data.find((trace) => trace.customdata), { left, top } = plot.getBoundingClientRect();
    const at = { clientX: left + xaxis._offset + xaxis.d2p(runs.x[0]), clientY: top + yaxis._offset + yaxis.d2p(runs.y[0]), bubbles: true };
    const layer = plot.querySelector('.nsewdrag');
    for (const event of ['mousemove', 'mousedown', 'mouseup']) layer.dispatchEvent(new MouseEvent(event, at));
}, 3000)";

#[test]
fn a_browser_shows_the_run_behind_a_point() {
    let Some(chromium) = chromium() else {
        eprintln!("skipped: no chromium on PATH or in $CHROMIUM, so no browser has looked at a study");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = FLIP.write(folder.path());
    let html = report(&dir).html;
    let clicking = format!("<script>{FILTER_AND_CLICK}</script></body>");
    fs::write(&html, fs::read_to_string(&html).unwrap().replace("</body>", &clicking)).unwrap();
    let (dom, log) = browse(&chromium, &html, &["--window-size=1280,6000".to_owned(), "--dump-dom".to_owned()]);
    assert!(!log.contains(":CONSOLE"), "the page complains:\n{log}");
    assert_eq!(dom.matches("class=\"main-svg\"").count() / 3, 2, "not every chart was drawn:\n{log}");
    let card = dom.split("id=\"run\"").nth(1).unwrap();
    let card = &card[..card.find("<section").unwrap()];
    for part in [
        "Run random-20-",
        "<a href=\"runs/random-20-",
        "Labels spent</dt><dd>80",
        "query.strategy</dt><dd>random",
        "data:image/png;base64,iVBOR",
    ] {
        assert!(card.contains(part), "the card lacks {part}: {card}");
    }
    let hidden =
        dom.split("<tr").filter(|row| row.starts_with(" hidden") && row.contains("entropy, initial.size 20")).count();
    assert!(hidden > 5, "the filter left rows of `entropy`: {hidden} hidden");
}

/// FLIP has two sizes, three strategies and five seeds: 30 runs, all of which begin with `random`.
#[test]
fn a_study_names_the_plugins_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = FLIP.write(folder.path());
    for size in [20, 40] {
        let run = dir.join("runs").join(id("", "margin", size, 4));
        let lock = fs::read_to_string(run.join("plugins.lock")).unwrap();
        let (before, after) = lock.rsplit_once("beef").unwrap();
        write_file(&run, "plugins.lock", &format!("{before}f00d{after}"));
    }
    let problems = report(&dir).problems;
    let table = table(&dir, "plugins.csv");
    let rows: Vec<&str> = table.lines().collect();
    let key = "signed with the key E7620F1842B4E81F";
    let expected = [
        "plugin,version,roles,runs,signer,sha256".to_owned(),
        "lab/entropy,1.0.0,query,10,unsigned,sha256:beef".to_owned(),
        format!("lab/margin,1.0.0,query,8,{key},sha256:beef"),
        format!("lab/margin,1.0.0,query,2,{key},sha256:f00d"),
        "lab/random,1.0.0,\"initial, query\",30,\"unsigned, came with the program\",sha256:beef".to_owned(),
    ];
    assert_eq!(rows, expected);
    let page = page(&dir);
    let note = "the plugin `lab/margin` was not the same file in all runs: there are 2";
    assert!(page.contains("sha256:f00d") && page.contains(key) && problems.contains(&note.to_owned()));
}
