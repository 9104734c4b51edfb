use super::*;

const MINIMAL: &str = r#"
name = "toy"

[dataset]
kind = "synthetic"

[training]
epochs = 3

[initial]
strategy = "random"
size = 10

[query]
strategy = "entropy"
size = 5
rounds = 2
"#;

fn read(text: &str, overrides: &[&str]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("toy.toml");
    std::fs::write(&file, text).unwrap();
    let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().unwrap()).collect();
    Config::read(&file, &overrides).map_err(|error| {
        let mut shown = String::new();
        miette::NarratableReportHandler::new().render_report(&mut shown, &error).unwrap();
        shown
    })
}

#[test]
fn what_is_not_said_has_defaults_and_is_written_out() {
    let config = read(MINIMAL, &[]).unwrap();
    assert_eq!((config.seed, config.training.epochs, config.training.batch_size), (1, 3, 128));
    let written = config.to_toml();
    assert!(written.contains("batch_size = 128") && written.contains("isolation = \"auto\""), "{written}");
    assert_eq!(read(&written, &[]).unwrap().to_toml(), written);
}

/// A run that version 0.2.0 began is gone on with as it was begun: that version wrote no scale, and had one for each column.
#[test]
fn a_stored_probe_without_a_scale_keeps_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let scale = |text: &str| {
        std::fs::write(&file, text).unwrap();
        match Config::read_resolved(&file).unwrap().training.learner {
            engine::Learner::LinearProbe(probe) => Some(probe.scale),
            _ => None,
        }
    };
    let probe = ["training.learner=linear-probe", "representation.method=rotation"];
    let now = read(MINIMAL, &probe).unwrap().to_toml();
    let line = "scale = \"shared\"\n";
    assert_eq!((scale(&now), now.matches(line).count()), (Some(engine::Scale::Shared), 1));
    assert_eq!(scale(&now.replace(line, "")), Some(engine::Scale::Columns));
    assert_eq!(scale(&now.replace("shared", "columns")), Some(engine::Scale::Columns));
    assert_eq!(scale(&read(MINIMAL, &[]).unwrap().to_toml()), None);
}

#[test]
fn overrides_are_dotted_and_typed() {
    let config = read(
        MINIMAL,
        &[
            "initial.size=100",
            "query.strategy=margin",
            "training.optimizer={ kind = \"adamw\", lr = 0.01 }",
            "seed = 7",
        ],
    )
    .unwrap();
    assert_eq!((config.initial.size, config.query.strategy.as_str(), config.seed), (Size::Of(100), "margin", 7));
    assert_eq!(config.training.optimizer.lr(), 0.01);
}

#[test]
fn mistakes_name_the_file_the_key_and_the_nearest_name() {
    for (find, replace, expected) in [
        ("epochs = 3", "epocs = 3", vec!["`training.epocs` is not a known key", "did you mean `epochs`?", "line 8"]),
        (
            "epochs = 3",
            "epochs = \"three\"",
            vec!["`training.epochs` must be a whole number, not the text \"three\"", "line 8"],
        ),
        ("epochs = 3", "epochs = 0", vec!["`training.epochs`", "line 8"]),
        ("kind = \"synthetic\"", "kind = \"sythetic\"", vec!["dataset.kind", "did you mean `synthetic`?"]),
        ("size = 10", "size = 0", vec!["`initial.size` must be at least 1"]),
        ("epochs = 3", "learner = \"fixmach\"", vec!["training.learner", "did you mean `fixmatch`?", "line 8"]),
        ("epochs = 3", "learner = \"linear-probe\"", vec!["`training.learner`", "`[representation]`", "line 8"]),
        ("name = \"toy\"", "name = \"../toy\"", vec!["`name` must be made of"]),
        ("rounds = 2", "", vec!["`query.rounds` is missing", "query"]),
        ("[query]", "[query", vec!["line 14"]),
    ] {
        let error = read(&MINIMAL.replacen(find, replace, 1), &[]).unwrap_err();
        assert!(error.contains("toy.toml"), "{error}");
        for part in expected {
            assert!(error.contains(part), "{part} not in: {error}");
        }
    }
}

#[test]
fn a_bad_override_is_the_one_named() {
    for (given, culprit, expected) in [
        (vec!["seed=2", "training.epocs=3"], "training.epocs=3", "did you mean `epochs`?"),
        (vec!["initial.size=many", "seed=2"], "initial.size=\"many\"", "must be a number of images, or \"auto\""),
        (vec!["initial.size=0"], "initial.size=0", "must be at least 1"),
        (vec!["name.first=x"], "name.first=\"x\"", "not a section"),
    ] {
        let error = read(MINIMAL, &given).unwrap_err();
        assert!(error.contains(&format!("-s {culprit}")) && error.contains(expected), "{error}");
    }
    assert!("seed".parse::<Override>().is_err() && ".a=1".parse::<Override>().is_err());
}

#[test]
fn an_override_can_supply_what_the_file_lacks() {
    let file = MINIMAL.replacen("rounds = 2", "", 1);
    assert_eq!(read(&file, &["seed=3", "query.rounds=4"]).unwrap().query.rounds, Some(4));
}

#[test]
fn a_sizer_may_say_the_size() {
    let auto = ["initial.size=auto", "initial.sizer.strategy=floor"];
    let with = |more: &str| read(MINIMAL, &[&auto[..], &[more]].concat());
    let config = with("initial.advisers=[{ strategy = \"knee\", most = 70 }, { strategy = \"veto\" }]").unwrap();
    let sections: Vec<String> = config.seats().into_iter().map(Seat::section).collect();
    assert_eq!(sections, ["initial", "query", "initial.sizer", "initial.advisers", "initial.advisers"]);
    assert_eq!((config.initial.size, config.initial.least(5), config.initial.advisers[0].most), (Size::Auto, 5, 70));
    let again = read(&config.to_toml(), &[]).unwrap();
    assert_eq!(again.initial, config.initial);
    for (given, expected) in [
        (&auto[..1], "name who says how many in `[initial.sizer]`"),
        (&auto[1..], "`initial.sizer` needs `initial.size = \"auto\"`"),
        (&[auto[0], auto[1], "initial.sizer.least=0"], "`initial.sizer.least` must be at least 1"),
        (&[auto[0], auto[1], "initial.sizer.most=2", "initial.sizer.least=3"], "must be at least `least`, which is 3"),
    ] {
        let error = read(MINIMAL, given).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn two_overrides_may_make_a_section_together() {
    let mix = read(MINIMAL, &["query.mix.strategy=margin", "query.mix.weight=0.5"]).unwrap().query.mix.unwrap();
    assert_eq!((mix.strategy.as_str(), mix.weight), ("margin", 0.5));
    let error = read(MINIMAL, &["query.mix.strategy=margin", "seed=2"]).unwrap_err();
    assert!(error.contains("-s query.mix.strategy=\"margin\"") && error.contains("weight"), "{error}");
    for weight in ["0", "1", "-0.5", "nan"] {
        let error = read(MINIMAL, &["query.mix.strategy=margin", &format!("query.mix.weight={weight}")]).unwrap_err();
        assert!(error.contains("above 0 and below 1"), "{error}");
    }
}

/// Where a key can be set, and has an effect: what a config says beside it.
fn beside(key: &Key) -> Vec<String> {
    let table = key.path.rsplit_once('.').map_or("", |(table, _)| table);
    let settings: &[&str] = match (table, key.path.as_str()) {
        (_, "dataset.max_value") => &["dataset={ kind = \"csv\", path = \"x\", shape = [8, 8, 1] }"],
        (_, "dataset.test_fraction") => &["dataset={ kind = \"folder\", path = \"x\" }"],
        (_, "training.timeout") => &["training.learner=learner.py"],
        ("training.learner", _) => &["representation.method=pixels"],
        ("initial.sizer", _) => &["initial.size=auto", "initial.sizer.strategy=x", "query.size=1"],
        ("initial.advisers", _) => &["query.size=1"],
        ("initial.mix", _) => &["initial.mix.strategy=x"],
        ("query.mix", _) => &["query.mix.strategy=x"],
        ("representation", _) => &["representation.method=pixels"],
        _ => &[],
    };
    let kind = key.of_kind.iter().map(|kind| format!("{table}.kind={kind}"));
    settings.iter().map(|text| text.to_string()).chain(kind).collect()
}

/// A config with one key set to a number.
fn with_number(key: &Key, number: f64) -> Result<Config, String> {
    let mut settings = beside(key);
    settings.push(match key.path.strip_prefix("initial.advisers.") {
        Some(name) => format!("initial.advisers=[{{ strategy = \"x\", {name} = {number} }}]"),
        None => format!("{}={number}", key.path),
    });
    let text = MINIMAL.replace("[training]\nepochs = 3\n", "");
    read(&text, &settings.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The printed ranges are those that configs are held to: a number at the edge is taken, and one beyond it refused.
#[test]
fn ranges_are_those_that_are_checked() {
    let (mut n_bounds, mut wrong) = (0, Vec::new());
    for key in keys() {
        let Range { least, above, most, below } = key.range;
        // A whole number that is large enough for keys that others depend on.
        let step = if key.takes.contains("whole") { 1.0 } else { 1e-3 };
        let inside = [least, above.map(|n| n + step), most, below.map(|n| n - step)];
        let outside = [least.map(|n| n - step), above, most.map(|n| n + step.max(n * 1e-3)), below];
        for number in inside.into_iter().flatten() {
            wrong.extend(with_number(&key, number).err().map(|error| format!("{} = {number}: {error}", key.path)));
        }
        for number in outside.into_iter().flatten() {
            n_bounds += 1;
            let name = key.path.rsplit('.').next().unwrap();
            match with_number(&key, number) {
                Ok(_) => wrong.push(format!("{} = {number} is taken", key.path)),
                Err(error) if !error.contains(name) => wrong.push(format!("{} = {number}: {error}", key.path)),
                Err(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_bounds > 40, "{n_bounds}");
}

/// The printed defaults are those that a config gets.
#[test]
fn defaults_are_those_of_a_config_that_says_nothing() {
    let written: toml::Table = read(MINIMAL, &[]).unwrap().to_toml().parse().unwrap();
    let mut n_defaults = 0;
    for key in keys().iter().filter(|key| key.of_kind.is_none() && key.path != "training.epochs") {
        let found =
            key.path.split('.').try_fold(&toml::Value::Table(written.clone()), |value, name| value.get(name)).cloned();
        let (Some(found), Some(default)) = (found, &key.default) else { continue };
        n_defaults += 1;
        let default: toml::Table = format!("value = {default}").parse().unwrap();
        match (found.get("kind"), default["value"].get("kind")) {
            (Some(found), Some(default)) => assert_eq!(found, default, "{}", key.path),
            _ => assert_eq!(found, default["value"], "{}", key.path),
        }
    }
    assert!(n_defaults > 20, "{n_defaults}");
}

/// A release keeps its keys, but for those that a changelog says are gone.
#[test]
fn keys_of_earlier_releases_are_still_there() {
    let of_first = keys().iter().filter(|key| key.since == "0.1").count();
    assert_eq!(of_first, include_str!("keys/0.1.txt").lines().count());
}

#[test]
fn the_schema_takes_every_config_that_is_shipped_and_no_other() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let json = |text: &str| serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let files = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let configs: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    assert!(configs.len() > 20);
    for file in configs {
        let config = json(&std::fs::read_to_string(&file).unwrap());
        let errors: Vec<String> = validator.iter_errors(&config).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", file.display());
    }
    assert!(validator.is_valid(&json(MINIMAL)));
    let wrong = [
        ("epochs = 3", "epoch = 3"),
        ("epochs = 3", "epochs = 0"),
        ("epochs = 3", "epochs = \"three\""),
        ("epochs = 3", "learner = \"fixmach\""),
        ("epochs = 3", "learner = { kind = \"fixmatch\", treshold = 0.9 }"),
        ("epochs = 3", "optimizer = { kind = \"sgd\", trust = 0.1 }"),
        ("kind = \"synthetic\"", "kind = \"cifar11\""),
        ("kind = \"synthetic\"", "kind = \"synthetic\"\nimbalence = 2"),
        ("size = 10", "size = \"some\""),
        ("name = \"toy\"", ""),
    ];
    for (from, to) in wrong {
        assert!(!validator.is_valid(&json(&MINIMAL.replacen(from, to, 1))), "{to}");
    }
}
