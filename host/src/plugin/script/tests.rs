use super::*;
use proptest::prelude::*;

fn script(block: &str) -> String {
    let lines: String = block.lines().map(|line| format!("# {line}\n")).collect();
    format!("\"\"\"A strategy.\"\"\"\n# /// coldstart\n{lines}# ///\nimport numpy\n")
}

fn read(text: &str) -> Result<Value, PluginError> {
    manifest("/home/ada/my_idea.py", text).map(|manifest| serde_json::to_value(manifest).unwrap())
}

#[test]
fn what_is_left_out_has_a_default() {
    let all = json!({
        "format": 1, "name": "my-idea", "publisher": "", "version": "0.0.0", "api": API_VERSION, "panic": "unwind",
        "summary": "", "license": "", "authors": "", "cite": "", "roles": ["initial", "query"], "needs": [],
        "params": {"type": "object"}
    });
    for text in ["", "print('hello')\n", "# /// script\n# dependencies = []\n# ///\n", &script("")] {
        assert_eq!(read(text).unwrap(), all, "{text}");
    }
}

#[test]
fn what_is_given_is_taken() {
    for (block, key, expected) in [
        ("name = \"other\"", "name", json!("other")),
        ("version = \"1.2.3-rc.1\"", "version", json!("1.2.3-rc.1")),
        ("publisher = \"uni-jena\"", "publisher", json!("uni-jena")),
        ("authors = \"Ada Example:Bo\"", "authors", json!("Ada Example:Bo")),
        ("summary = \"Schröder 李\"\ncite = \"None\"", "cite", json!("None")),
        ("roles = [\n  \"query\", # later\n]", "roles", json!(["query"])),
        ("roles = [\"sizer\"]", "roles", json!(["sizer"])),
        ("criterion = \"flat-doubt\"", "criterion", json!("flat-doubt")),
        ("composes = [\"first\"]", "composes", json!(["first"])),
        ("needs = [\"model.predict/1\", \"x-new/1\"]", "needs", json!(["model.predict/1", "x-new/1"])),
        ("modules = [\"a.py\", \"b/_c.py\"]", "modules", json!(["a.py", "b/_c.py"])),
    ] {
        assert_eq!(read(&script(block)).unwrap()[key], expected, "{block}");
        assert_eq!(read(&script(block).replace('\n', "\r\n")).unwrap()[key], expected, "{block}");
    }
}

#[test]
fn params_become_a_schema() {
    let object = |properties: Value, required: Value| {
        json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false
        })
    };
    for (params, expected) in [
        ("params = {}", object(json!({}), json!([]))),
        ("params = { k = { type = \"integer\" } }", object(json!({"k": {"type": "integer"}}), json!(["k"]))),
        (
            "params = { t = { type = \"number\", default = 1, minimum = 0.0, description = \"Heat\" } }",
            object(json!({"t": {"type": "number", "default": 1, "minimum": 0.0, "description": "Heat"}}), json!([])),
        ),
        (
            "[params.metric]\ntype = \"string\"\nenum = [\"cosine\", \"l2\"]\ndefault = \"l2\"",
            object(json!({"metric": {"type": "string", "enum": ["cosine", "l2"], "default": "l2"}}), json!([])),
        ),
    ] {
        assert_eq!(read(&script(params)).unwrap()["params"], expected, "{params}");
    }
}

/// The block begins on line 2 of the script, its content on line 3.
#[test]
fn a_mistake_is_named_with_its_line() {
    for (block, message, hint) in [
        ("sumary = \"x\"", "line 3: `sumary` is no key", "did you mean `summary`?"),
        ("name = \"a\"\nhomepage = \"x\"", "line 4: `homepage` is no key", "known are name, publisher"),
        ("name = \"My Idea\"", "line 3: `name` is `My Idea`, which is not kebab-case", ""),
        ("publisher = \"a/b\"", "line 3: `publisher` is `a/b`", ""),
        ("\nname = 5", "line 4: invalid type: integer `5`, expected a string", ""),
        ("version = \"1\"", "line 3: `version` is `1`, which is not like 1.2.3", ""),
        ("name = ", "line 3:", ""),
        ("name = \"a\"\nname = \"b\"", "line 4: duplicate key", ""),
        ("roles = []", "line 3: `roles` is empty", "both roles"),
        ("roles = [\"querry\"]", "line 3: `roles` names `querry`", "initial, query, sizer"),
        ("roles = [\"sizer\", \"query\"]", "line 3: `roles` names `sizer` beside another role", "chooses no images"),
        ("criterion = \"Flat doubt\"", "line 3: `criterion` is `Flat doubt`", ""),
        ("roles = [\"query\", \"query\"]", "line 3: `roles` names `query` twice", ""),
        ("roles = \"query\"", "line 3: invalid type: string \"query\", expected a sequence", ""),
        ("modules = \"a.py\"", "line 3: invalid type: string \"a.py\", expected a sequence", ""),
        (
            "modules = [\"../a.py\"]",
            "line 3: `modules` names `../a.py`, which cannot be imported",
            "below the script's",
        ),
        ("modules = [\"/etc/a.py\"]", "line 3: `modules` names `/etc/a.py`", ""),
        ("modules = [\"a/../b.py\"]", "line 3: `modules` names `a/../b.py`", ""),
        ("modules = [\"./a.py\"]", "line 3: `modules` names `./a.py`", ""),
        ("modules = [\"a//b.py\"]", "line 3: `modules` names `a//b.py`", ""),
        ("modules = [\"a.txt\"]", "line 3: `modules` names `a.txt`", ""),
        ("modules = [\".py\"]", "line 3: `modules` names `.py`", ""),
        ("modules = [\"my-idea.py\"]", "line 3: `modules` names `my-idea.py`", ""),
        ("modules = [\"__init__.py\"]", "line 3: `modules` names `__init__.py`", ""),
        ("modules = [\"a.py\", \"a.py\"]", "line 3: `modules` names the module of `a.py` twice", ""),
        ("modules = [\"a.py\", \"a/__init__.py\"]", "line 3: `modules` names the module of `a/__init__.py` twice", ""),
        ("params = 3", "line 3: invalid type", ""),
        ("params = { k = 3 }", "line 3: invalid type", ""),
        ("params = { k = {} }", "line 3: missing field `type`", ""),
        ("[params.k]\ntype = \"list\"", "line 4: unknown variant `list`", ""),
        ("[params.k]\ntype = \"number\"\nmin = 0", "line 5: `params.k.min` is no key", "minimum"),
        ("[params.k]\ntype = \"number\"\ndefault = \"1\"", "line 5: `params.k.default` does not fit", ""),
        ("[params.k]\ntype = \"integer\"\nminimum = 1\ndefault = 0", "line 6: `params.k.default` does not fit", ""),
        ("[params.k]\ntype = \"number\"\nmaximum = inf", "line 5: `params.k.maximum` must be made of", ""),
        ("[params.k]\ntype = \"string\"\nminimum = 1", "line 5: `params.k.minimum` must be a number", ""),
        ("[params.k]\ntype = \"number\"\nminimum = \"1\"", "line 5: `params.k.minimum` must be a number", ""),
        ("[params.k]\ntype = \"string\"\nenum = []", "line 5: `params.k.enum` is empty", ""),
        ("[params.k]\ntype = \"string\"\ndefault = 2026-11-25", "line 5: `params.k.default` must be made", ""),
    ] {
        let error = read(&script(block)).unwrap_err();
        assert_eq!(error.code, PluginCode::Descriptor);
        assert!(error.message.starts_with(message), "{block}: {}", error.message);
        assert!(error.hint.contains(hint), "{block}: {}", error.hint);
    }
}

#[test]
fn a_block_that_is_none_is_not_passed_over() {
    for (text, message) in [
        ("# /// coldstart\n# name = \"a\"\nimport numpy\n", "line 1: the block is not closed"),
        ("# /// coldstart", "line 1: the block is not closed"),
        ("\n# /// coldstart\n#name = \"a\"\n# ///\n", "line 3: a line of the block begins with `# `"),
        ("# /// coldstart\n# ///\n# /// coldstart\n# ///\n", "line 3: a second block"),
        ("#/// coldstart\n", "line 1: `#/// coldstart` opens no block"),
        ("  # /// Coldstart\n", "line 1: `# /// Coldstart` opens no block"),
        ("# /// coldstrat\n", "line 1: `# /// coldstrat` opens no block"),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!((error.code, error.message.starts_with(message)), (PluginCode::Descriptor, true), "{error}");
    }
    assert_eq!(read("x = '\0'").unwrap_err().code, PluginCode::Library);
}

#[test]
fn the_file_names_the_strategy() {
    for (file, expected) in [
        ("my_idea.py", Some("my-idea")),
        ("/a/b/Core Set.v2.py", Some("core-set-v2")),
        ("badge", Some("badge")),
        ("_private.py", None),
        ("größe.py", None),
        ("", None),
        ("/", None),
    ] {
        match (manifest(file, ""), expected) {
            (Ok(manifest), Some(expected)) => assert_eq!(manifest.name, expected),
            (Err(error), None) => assert!(error.hint.contains("rename the file"), "{error}"),
            (got, expected) => panic!("expected {expected:?}, got {got:?}"),
        }
    }
    assert_eq!(manifest("größe.py", &script("name = \"size\"")).unwrap().name, "size");
}

fn modules(folder: &Path, named: &[&str]) -> Result<Vec<Module>, PluginError> {
    let named: Vec<String> = named.iter().map(|path| (*path).to_owned()).collect();
    read_modules(&folder.join("my_idea.py"), &named)
}

#[test]
fn modules_are_read_from_the_script_s_own_folder_alone() {
    let lab = tempfile::tempdir().unwrap();
    let (own, elsewhere) = (lab.path().join("own"), lab.path().join("elsewhere"));
    for folder in [&own.join("tools"), &own.join("folder.py"), &elsewhere] {
        std::fs::create_dir_all(folder).unwrap();
    }
    for (file, text) in [(own.join("a.py"), "a"), (own.join("tools/b.py"), "b"), (elsewhere.join("secret.py"), "s")] {
        std::fs::write(file, text).unwrap();
    }
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, own.join(name)).unwrap();
    link("a.py", "within.py");
    link("../elsewhere/secret.py", "out.py");
    link("../elsewhere", "away");
    link("within.py/..", "loop.py");
    std::fs::write(own.join("large.py"), vec![b'#'; MOST_BYTES as usize]).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, own.join("pipe.py"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let read = modules(&own, &["a.py", "tools/b.py", "within.py"]).unwrap();
    assert_eq!(read.iter().map(|module| module.source.as_slice()).collect::<Vec<_>>(), [b"a", b"b", b"a"]);
    for (named, problem) in [
        (&["missing.py"][..], "its module `missing.py` cannot be read"),
        (&["out.py"], "its module `out.py` is a link out of the script's folder"),
        (&["away/secret.py"], "its module `away/secret.py` is a link out of the script's folder"),
        (&["folder.py"], "its module `folder.py` is no file"),
        (&["pipe.py"], "its module `pipe.py` is no file"),
        (&["loop.py"], "its module `loop.py` "),
        (&["large.py", "a.py"], "its module `a.py` is too large"),
    ] {
        let error = modules(&own, named).unwrap_err();
        assert_eq!(error.code, PluginCode::Library);
        assert!(error.message.starts_with(problem), "{named:?}: {}", error.message);
    }
}

#[test]
fn the_hash_is_the_file_s_own_or_changes_with_every_module() {
    let module = |path: &str, source: &str| Module { path: path.to_owned(), source: source.as_bytes().to_vec() };
    let (a, b) = (module("a.py", "a"), module("b.py", "b"));
    assert_eq!(hash(b"script", &[]), sha256(b"script"));
    let both = hash(b"script", &[a.clone(), b.clone()]);
    assert_eq!(hash(b"script", &[b.clone(), a.clone()]), both, "the order of names does not matter");
    let others = [
        hash(b"script", &[]),
        hash(b"other", &[a.clone(), b.clone()]),
        hash(b"script", std::slice::from_ref(&a)),
        hash(b"script", &[a.clone(), module("b.py", "c")]),
        hash(b"script", &[a.clone(), module("c.py", "b")]),
        hash(b"script", &[module("a.py", "b"), module("b.py", "a")]),
    ];
    assert!(!others.contains(&both));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*", block in r#"([a-z]{1,8}|params\.k\.[a-z]{1,9}|\[|\]|\{|\}|=|"|'|\n|\r| |,|[0-9]|é|#)*"#) {
        let _ = read(&text);
        let _ = read(&script(&block));
        let _ = read(&format!("# /// coldstart\n{block}# ///\n{text}"));
    }
}
