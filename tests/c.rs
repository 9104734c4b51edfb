//! Strategies in C: the header, the example, and what becomes of libraries that break the header's rules.

use coldstart_plugin_api::{API_VERSION, capi};
use coldstart_tests::{Lab, committed, library_name, repository, selections};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// The languages that the header is for: how `cc` is told, and what they call an assertion and an alignment.
const LANGUAGES: [([&str; 3], &str, &str); 2] = [
    (["-x", "c", "-std=c11"], "_Static_assert", "_Alignof"),
    (["-x", "c++", "-std=c++17"], "static_assert", "alignof"),
];

/// A whole plugin that both languages compile, the lowest ids: the code of `docs/tutorials/first-strategy-in-c.md`.
fn lowest() -> String {
    let guide = std::fs::read_to_string(repository().join("docs/tutorials/first-strategy-in-c.md")).unwrap();
    let code = guide.split("```c\n").nth(1).and_then(|rest| rest.split("```").next());
    code.expect("the guide shows its code").to_owned()
}

/// Compile a source with every warning an error, into a library of the lab.
fn compiled(lab: &Lab, language: usize, name: &str, source: &str, flags: &[&str]) {
    let source = lab.write(&format!("{name}.txt"), source);
    let mut command = Command::new("cc");
    command.args(LANGUAGES[language].0).args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fPIC", "-shared"]);
    command.args(flags).arg("-I").arg(repository().join("plugin-api/include")).arg(source);
    command.arg("-o").arg(lab.path("plugins").join(library_name(name)));
    let output = command.output().expect("a compiler, which the build needs too");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn ids(run: &Path, round: u32) -> Vec<u64> {
    let table = std::fs::read_to_string(run.join(format!("rounds/{round:03}/selection.csv"))).unwrap();
    table.lines().skip(1).map(|row| row.split(',').nth(1).unwrap().parse().unwrap()).collect()
}

#[test]
fn the_header_is_what_the_contract_makes() {
    let room = repository().join("plugin-api");
    let config = cbindgen::Config::from_file(room.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config).with_src(room.join("src/capi.rs"));
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    let header = String::from_utf8(header).unwrap();
    assert!(header.contains(&format!("#define COLDSTART_API_VERSION \"{API_VERSION}\"\n")), "see cbindgen.toml");
    committed("plugin-api/include/coldstart_plugin.h", &header, "c");
}

#[test]
fn both_languages_see_the_fields_where_they_are() {
    let lab = Lab::new();
    for (language, (_, assertion, align_of)) in LANGUAGES.iter().enumerate() {
        let mut source = lowest();
        let mut assert = |what: String, is: usize, of: &str| {
            writeln!(source, "{assertion}({what} == {is}, \"{of}\");").unwrap();
        };
        for capi::Layout { name, size, align, fields } in capi::layouts() {
            assert(format!("sizeof({name})"), size, name);
            assert(format!("{align_of}({name})"), align, name);
            for (field, offset, size, _) in fields {
                assert(format!("offsetof({name}, {field})"), offset, field);
                assert(format!("sizeof((({name} *)0)->{field})"), size, field);
            }
        }
        compiled(&lab, language, "lowest", &source, &[]);
        lab.run(&format!("run-{language}"), &["initial.strategy=lowest", "query.strategy=lowest"]).exits(0);
        let first: Vec<u64> = (0..10).collect();
        assert_eq!(ids(&lab.path(&format!("run-{language}")), 0), first);
        assert_eq!(ids(&lab.path(&format!("run-{language}")), 3), [20, 21, 22, 23, 24]);
    }
}

/// Builds an example by the Makefile beside it, into a library of the lab.
fn make_example(lab: &Lab, name: &str) {
    for part in ["include/coldstart_plugin.h", "examples/c/Makefile", &format!("examples/c/{name}.c")] {
        lab.write(&format!("kit/{part}"), std::fs::read(repository().join("plugin-api").join(part)).unwrap());
    }
    let library = format!("lib{name}.so");
    let make = Command::new("make").arg(&library).current_dir(lab.path("kit/examples/c")).output().expect("make");
    assert!(make.status.success(), "{}", String::from_utf8_lossy(&make.stderr));
    std::fs::copy(lab.path("kit/examples/c").join(&library), lab.path("plugins").join(&library)).unwrap();
}

/// Ten synthetic classes and rounds of 5: at first many of them have been seen once.
#[test]
fn a_sizer_in_c_is_followed_and_keeps_to_its_bounds() {
    let lab = Lab::new();
    make_example(&lab, "seen_twice_c");
    let settings = ["initial.size=auto", "initial.sizer={ strategy = \"seen-twice-c\", least = 10, most = 200 }"];
    let ran = lab.run("run", &[&settings[..], &["query.rounds=12"]].concat());
    ran.exits(0).says("`seen-twice-c` wants 10 images: nothing is labelled yet").says("classes have been seen once");
    let labels = |ids: &[u64]| -> Vec<String> {
        let rows = (0..=12).flat_map(|round| {
            let table = std::fs::read_to_string(lab.path(&format!("run/rounds/{round:03}/selection.csv"))).unwrap();
            table.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        });
        let cells = rows.map(|row| row.split(',').map(str::to_owned).collect::<Vec<_>>());
        cells.filter(|cells| ids.contains(&cells[1].parse().unwrap())).map(|cells| cells[2].clone()).collect()
    };
    let (mut known, mut chose_before) = (Vec::new(), true);
    for round in 0..=12 {
        let text = std::fs::read(lab.path(&format!("run/rounds/{round:03}/sizing.json"))).unwrap();
        let sizing: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let classes = labels(&known);
        let single = classes.iter().filter(|class| classes.iter().filter(|other| other == class).count() == 1).count();
        let goes_on = round == 0 || (chose_before && single > 0);
        assert_eq!(sizing["initial_chooses"], goes_on, "round {round}: {single} classes seen once");
        chose_before = goes_on;
        known.extend(ids(&lab.path("run"), round));
    }
    assert!(!chose_before, "it was never content");
    lab.run("inside", &[&settings[..], &["query.rounds=2", "plugins.isolation=process"]].concat()).exits(0);
}

#[test]
fn the_example_chooses_as_its_model_in_rust() {
    let lab = Lab::new();
    make_example(&lab, "margin_c");

    lab.run("c", &["query.strategy=coldstart/margin-c@^0.1"]).exits(0);
    lab.run("rust", &["query.strategy=margin"]).exits(0);
    let (in_c, in_rust) = (selections(&lab.path("c")), selections(&lab.path("rust")));
    assert!(in_c == in_rust && in_c.len() == 4, "{:?}", in_c.keys());

    // Without a model, and with a parameter.
    lab.run("every", &["initial.strategy=margin-c", "initial.params.every=40", "query.rounds=1"]).exits(0);
    assert_eq!(ids(&lab.path("every"), 0), [0, 40, 80, 120, 160, 200, 240, 280, 1, 41]);
    lab.run("none", &["initial.strategy=margin-c", "initial.params.every=0"])
        .exits(2)
        .says("P013")
        .says("`every` must be at least 1");
    let info = lab.coldstart(&["plugin", "info", "margin-c"]);
    for fact in ["coldstart/margin-c 0.1.0", "model.predict/1", "default 1", "at most 1000"] {
        assert!(info.exits(0).stdout.contains(fact), "{fact}: {}", info.stdout);
    }
}

#[test]
fn a_library_that_breaks_the_rules_is_an_error_with_its_code() {
    let table = "COLDSTART_HEAD_V1(coldstart_plugin_v1), COLDSTART_TEXT_V1(coldstart_manifest), create};";
    let head = |head: &str| format!("{head}, COLDSTART_TEXT_V1(coldstart_manifest), create}};");
    let text = |text: &str| format!("COLDSTART_HEAD_V1(coldstart_plugin_v1), {text}, create}};");
    let filled = "  return code;\n";
    let answer = |answer: &str| format!("  {answer}\n  return code;\n");
    let instance = "  *selector = &instance;\n  return COLDSTART_OK;";
    let rows: [(&str, String, &str, &str); 17] = [
        (table, head("{sizeof(coldstart_plugin_v1), 2, 0, 0, NULL, NULL}"), "P011", "speaks contract 2"),
        (table, head("{8, 1, 1, 0, NULL, NULL}"), "P011", "a struct of 8 bytes, 56 or more were expected"),
        (table, head("{4000000000u, 1, 1, 0, NULL, NULL}"), "P011", "a struct of 4000000000 bytes"),
        (table, table.replace("create}", "NULL}"), "P011", "the plugin has no `create`"),
        (table, text("{NULL, 10}"), "P011", "the manifest: 10 elements at a null pointer"),
        (table, text("{coldstart_manifest, (size_t)-1}"), "P011", "elements cannot be"),
        (table, text("{\"\\xff\", 1}"), "P011", "the manifest: not UTF-8"),
        (table, text("{\"{}\", 2}"), "P012", "says something else than its manifest"),
        (instance, "  return 100;".to_owned(), "P014", "failed with the code 100, without a word"),
        (instance, "  return COLDSTART_OK;".to_owned(), "P014", "at a null pointer"),
        (
            instance,
            "  static coldstart_selector_v1 other;\n  *selector = &other;\n  return COLDSTART_OK;".to_owned(),
            "P014",
            "the instance speaks contract 0",
        ),
        ("choose, NULL, NULL, NULL}", "NULL, NULL, NULL, NULL}".to_owned(), "P014", "the instance has no `select`"),
        (
            filled,
            answer("code = host->tensor_info(host->head.object, 7, NULL, fault);"),
            "P015",
            "there is no tensor 0x7",
        ),
        (filled, answer("selection->ids = NULL;"), "P015", "10 elements at a null pointer"),
        (filled, answer("selection->n_ids = (size_t)1 << 60;"), "P015", "images, 10 were asked for"),
        (filled, answer("selection->head.struct_size += 100;"), "P015", "filled 180 bytes"),
        (filled, answer("ids[0] = ids[1];"), "P018", "twice"),
    ];
    let (lab, lowest) = (Lab::new(), lowest());
    for (from, to, code, sentence) in rows {
        assert_eq!(lowest.matches(from).count(), 1, "{from}");
        compiled(&lab, 0, "lowest", &lowest.replace(from, &to), &["-Wno-unused"]);
        let ran = lab.run("run", &["initial.strategy=lowest"]);
        ran.exits(3).says_one_problem().says(code).says(sentence);
        let _ = std::fs::remove_dir_all(lab.path("run")); // some failures come before there is one
    }
}

#[test]
fn what_is_no_table_or_runs_code_is_never_loaded() {
    let (lab, lowest) = (Lab::new(), lowest());
    let function = lowest.split("static int32_t choose").next().unwrap().to_owned() + "void entry(void) {}";
    let shouting = format!("{lowest}\n__attribute__((constructor)) static void shout(void) {{ abort(); }}");
    for (source, flag, sentence) in [
        (function, "-Wl,--defsym=coldstart_plugin_entry_v1=entry", "something else than a table"),
        (shouting, "-O1", "runs 1 constructors of its own"),
    ] {
        compiled(&lab, 0, "lowest", &source, &[flag]);
        lab.run("run", &["initial.strategy=lowest"]).exits(3).says_one_problem().says("P009").says(sentence);
        assert!(!lab.path("run").exists());
    }
}
