//! Labels and pixels in tables and arrays: what is a class, what is none, and how bright white is.

use coldstart_tests::{Lab, Ran, npy, npy_of_texts, npz};

/// Images of 4 x 4 pixels in a training part.
const TRAIN: usize = 40;
/// The same in the test part.
const TEST: usize = 20;

fn info(lab: &Lab, dataset: &str) -> Ran {
    lab.coldstart(&["data", "info", "tiny.toml", "--json", "--data", ".", "-s", &format!("dataset={{ {dataset} }}")])
}

fn classes(ran: &Ran) -> Vec<String> {
    let info = ran.exits(0).json();
    info["classes"].as_array().unwrap().iter().map(|class| class["name"].as_str().unwrap().to_owned()).collect()
}

/// What is expected of a set: its classes, or exit 1 with these words.
enum Expected {
    Classes(&'static [&'static str]),
    Refused(&'static [&'static str]),
}
use Expected::{Classes, Refused};

fn check(ran: &Ran, expected: &Expected, what: &str) {
    match expected {
        Classes(names) => assert_eq!(classes(ran), *names, "{what}: {}", ran.stderr),
        Refused(words) => {
            let ran = ran.exits(1).says_one_problem();
            for word in *words {
                ran.says(word);
            }
        }
    }
}

fn pixels(n: usize) -> Vec<u8> {
    (0..16 * n).map(|i| (i * 37 % 251) as u8).collect()
}

/// An archive with these labels in a cycle, of a type such as `<i8`, and images of bytes.
fn archive(train_labels: Vec<u8>, test_labels: Vec<u8>) -> Vec<u8> {
    npz(&[
        ("x_train", npy("|u1", &format!("({TRAIN}, 4, 4)"), &pixels(TRAIN))),
        ("y_train", train_labels),
        ("x_test", npy("|u1", &format!("({TEST}, 4, 4)"), &pixels(TEST))),
        ("y_test", test_labels),
    ])
}

/// `n` labels in a cycle, as 64-bit integers.
fn integers(cycle: &[i64], n: usize) -> Vec<u8> {
    let elements: Vec<u8> = cycle.iter().cycle().take(n).flat_map(|label| label.to_le_bytes()).collect();
    npy("<i8", &format!("({n},)"), &elements)
}

fn floats(cycle: &[f64], n: usize) -> Vec<u8> {
    let elements: Vec<u8> = cycle.iter().cycle().take(n).flat_map(|label| label.to_le_bytes()).collect();
    npy("<f8", &format!("({n},)"), &elements)
}

fn texts(cycle: &[&str], n: usize) -> Vec<u8> {
    npy_of_texts(&cycle.iter().copied().cycle().take(n).collect::<Vec<_>>())
}

#[test]
fn labels_of_arrays_are_the_classes_that_are_there_or_refused() {
    let lab = Lab::new();
    let both = |cycle: &[i64]| archive(integers(cycle, TRAIN), integers(cycle, TEST));
    let float = |cycle: &[f64]| archive(floats(cycle, TRAIN), floats(&[0.0], TEST));
    let text = |cycle: &[&str]| archive(texts(cycle, TRAIN), texts(&cycle[..1], TEST));
    let one_hot = |rows: &[u8], n: usize| {
        let elements: Vec<u8> = rows.iter().cycle().take(3 * n).flat_map(|x| f32::from(*x).to_le_bytes()).collect();
        npy("<f4", &format!("({n}, 3)"), &elements)
    };
    let bools = |n: usize| npy("|b1", &format!("({n},)"), &[0, 1].repeat(n / 2));
    let rows: Vec<(&str, Vec<u8>, Expected)> = vec![
        ("from 1", both(&[1, 2, 3]), Classes(&["1", "2", "3"])),
        ("with a gap", both(&[0, 2, 5]), Classes(&["0", "2", "5"])),
        ("0 and 255", both(&[0, 255]), Classes(&["0", "255"])),
        ("as large as numbers go", both(&[0, i64::MAX]), Classes(&["0", "9223372036854775807"])),
        ("signs", both(&[-1, 1]), Classes(&["-1", "1"])),
        ("unlabelled 255", both(&[0, 1, 2, 255]), Refused(&["y_train", "image 3", "255", "number it 3"])),
        ("unlabelled -1", both(&[0, 1, -1]), Refused(&["y_train", "image 2", "label -1 is below 0", "no label"])),
        ("unlabelled -100", both(&[0, 1, -100]), Refused(&["label -100 is below 0"])),
        (
            "a class to test only",
            archive(integers(&[0, 1], TRAIN), integers(&[0, 1, 2], TEST)),
            Refused(&["y_test", "image 2", "no label `2`"]),
        ),
        ("whole floats", float(&[0.0, 1.0, 7.0]), Classes(&["0", "1", "7"])),
        ("a fraction", float(&[0.0, 0.5]), Refused(&["image 1", "0.5 is no whole number"])),
        ("NaN", float(&[0.0, 1.0, f64::NAN]), Refused(&["image 2", "missing label"])),
        ("text", text(&["ant", "bee", "wasp"]), Classes(&["ant", "bee", "wasp"])),
        ("text with none", text(&["ant", "bee", "None"]), Refused(&["image 2", "`None`", "spell it otherwise"])),
        ("bools", archive(bools(TRAIN), bools(TEST)), Classes(&["False", "True"])),
        ("one-hot", archive(one_hot(&[1, 0, 0, 0, 0, 1], TRAIN), one_hot(&[0, 0, 1], TEST)), Classes(&["0", "2"])),
        (
            "two classes at once",
            archive(one_hot(&[1, 0, 0, 0, 1, 1], TRAIN), one_hot(&[1, 0, 0], TEST)),
            Refused(&["row 1 of 3 numbers is not one-hot"]),
        ),
        (
            "Python objects that are no pickle",
            archive(npy("|O", &format!("({TRAIN},)"), &[0; 9]), integers(&[0, 1], TEST)),
            Refused(&["y_train", "neither integers nor text"]),
        ),
        (
            "no column at all",
            archive(npy("<i8", &format!("({TRAIN}, 0)"), &[]), integers(&[0], TEST)),
            Refused(&["(n, 1)"]),
        ),
    ];
    let info_of = |bytes: Vec<u8>| {
        lab.write("set.npz", bytes);
        info(&lab, "kind = \"npz\", path = \"set.npz\"")
    };
    for (what, bytes, expected) in rows {
        check(&info_of(bytes), &expected, what);
    }
    // No file is wrong here: the config names a set that no study can use.
    let ran = info_of(both(&[4]));
    ran.exits(2).says_one_problem().says("holds one class, `4`");
    assert!(!ran.stderr.contains("no image has the label"), "{}", ran.stderr);
}

#[test]
fn classes_that_no_image_has_are_told_of() {
    let lab = Lab::new();
    let cycle: Vec<i64> = (1..=10).collect();
    lab.write("set.npz", archive(integers(&cycle, TRAIN), integers(&cycle, TEST)));
    let ran = info(&lab, "kind = \"npz\", path = \"set.npz\"");
    assert_eq!(classes(&ran).len(), 10);
    ran.says("no image has the label 0: there are 10 classes, from `1` to `10`");
}

#[test]
fn pixels_are_bytes_or_say_what_is_white() {
    let lab = Lab::new();
    let values = |scale: f64| (0..16 * TRAIN).map(move |i| (i % 17) as f64 / 16.0 * scale);
    let floats = |scale: f64| {
        npy(
            "<f4",
            &format!("({TRAIN}, 4, 4)"),
            &values(scale).flat_map(|x| (x as f32).to_le_bytes()).collect::<Vec<_>>(),
        )
    };
    let words = |scale: f64| {
        npy(
            "<u2",
            &format!("({TRAIN}, 4, 4)"),
            &values(scale).flat_map(|x| (x as u16).to_le_bytes()).collect::<Vec<_>>(),
        )
    };
    let bytes =
        |scale: f64| npy("|u1", &format!("({TRAIN}, 4, 4)"), &values(scale).map(|x| x as u8).collect::<Vec<_>>());
    let rows = [
        ("unit floats", floats(1.0), "", Classes(&["0", "1"])),
        (
            "dark unit floats",
            floats(0.2),
            "",
            Refused(&["x_train", "from 0 to 0.2", "`dataset.max_value`", "such as 1"]),
        ),
        ("unit floats", floats(1.0), ", max_value = 1", Classes(&["0", "1"])),
        ("12 bits", words(4095.0), "", Refused(&["integers from 0 to 4095", "such as 4095"])),
        ("12 bits", words(4095.0), ", max_value = 4095", Classes(&["0", "1"])),
        ("above white", words(4095.0), ", max_value = 1023", Refused(&["image 0: pixel", "outside 0 to 1023"])),
        ("zeros and ones", bytes(1.0), "", Refused(&["no pixel is above 1", "`dataset.max_value = 1`"])),
        ("zeros and ones", bytes(1.0), ", max_value = 1", Classes(&["0", "1"])),
        ("below zero", floats(-1.0), "", Refused(&["from -1 to", "0 to 255"])),
        ("below zero", floats(-1.0), ", max_value = 1", Refused(&["outside 0 to 1"])),
        ("black", bytes(0.0), "", Refused(&["no pixel is above 0", "black"])),
        ("digits", bytes(16.0), ", max_value = 16", Classes(&["0", "1"])),
    ];
    for (what, images, key, expected) in rows {
        lab.write("set.npz", npz(&[("x_train", images), ("y_train", integers(&[0, 1], TRAIN))]));
        check(&info(&lab, &format!("kind = \"npz\", path = \"set.npz\"{key}")), &expected, what);
    }
    // What max_value means, whatever the type: the same images, pixel for pixel.
    let fingerprint = |images: Vec<u8>, key: &str| {
        lab.write("set.npz", npz(&[("x_train", images), ("y_train", integers(&[0, 1], TRAIN))]));
        let ran = info(&lab, &format!("kind = \"npz\", path = \"set.npz\"{key}"));
        ran.exits(0).json()["fingerprint"].as_str().unwrap().to_owned()
    };
    let of_floats = fingerprint(floats(1.0), ", max_value = 1");
    assert_eq!(fingerprint(bytes(16.0), ", max_value = 16"), of_floats);
    assert_eq!(fingerprint(floats(1.0), ""), of_floats);
    assert_ne!(fingerprint(bytes(16.0), ""), of_floats);
}

/// The same images however an array holds them, and one line that says how it was read.
#[test]
fn arrays_of_every_layout_are_the_same_set() {
    let lab = Lab::new();
    const SIDE: usize = 4;
    let pixel = |n: usize, y: usize, x: usize, c: usize| ((n * 31 + y * 57 + x * 11 + c * 91) % 256) as u8;
    // Sizes of axes, and the pixel at a place along them, first axis outermost.
    let elements = |sizes: [usize; 4], at: &dyn Fn([usize; 4]) -> u8| -> Vec<u8> {
        let [a, b, c, d] = sizes;
        let places = (0..a * b * c * d).map(|i| [i / (b * c * d), i / (c * d) % b, i / d % c, i % d]);
        places.map(at).collect()
    };
    let array = |descr: &str, shape: &str, is_fortran: bool, bytes: &[u8]| {
        let plain = npy(descr, shape, bytes);
        let (from, to) = (b"'fortran_order': False", b"'fortran_order': True ");
        let at = plain.windows(from.len()).position(|window| window == from).unwrap();
        let order = if is_fortran { to } else { from };
        [&plain[..at], order, &plain[at + from.len()..]].concat()
    };
    let last = elements([TRAIN, SIDE, SIDE, 3], &|[n, y, x, c]| pixel(n, y, x, c));
    let first = elements([TRAIN, 3, SIDE, SIDE], &|[n, c, y, x]| pixel(n, y, x, c));
    let fortran = elements([3, SIDE, SIDE, TRAIN], &|[c, x, y, n]| pixel(n, y, x, c));
    let unit: Vec<u8> = first.iter().flat_map(|byte| (f32::from(*byte) / 255.0).to_le_bytes()).collect();
    let one_hot: Vec<u8> = (0..TRAIN).flat_map(|i| [i % 2 == 0, i % 2 == 1]).map(u8::from).collect();
    let (nhwc, nchw) = (format!("({TRAIN}, {SIDE}, {SIDE}, 3)"), format!("({TRAIN}, 3, {SIDE}, {SIDE})"));
    let labels = integers(&[0, 1], TRAIN);
    let info_of = |images: Vec<u8>, labels: Vec<u8>| {
        lab.write("set.npz", npz(&[("x_train", images), ("y_train", labels), ("extra", integers(&[0], 3))]));
        info(&lab, "kind = \"npz\", path = \"set.npz\"")
    };
    let expected = info_of(array("|u1", &nhwc, false, &last), labels.clone());
    expected.exits(0).says("1 of the 3 arrays left aside: `extra`");
    assert!(!expected.stderr.contains("was read"), "{}", expected.stderr);
    let rows = [
        ("how `x_train` was read: channels first, (n, c, h, w)", array("|u1", &nchw, false, &first), labels.clone()),
        ("how `x_train` was read: in Fortran order", array("|u1", &nhwc, true, &fortran), labels.clone()),
        (
            "how `x_train` was read: channels first, (n, c, h, w); numbers from 0 to 1, where 1 is white",
            array("<f4", &nchw, false, &unit),
            labels,
        ),
        (
            "how `y_train` was read: one-hot",
            array("|u1", &nhwc, false, &last),
            npy("|u1", &format!("({TRAIN}, 2)"), &one_hot),
        ),
    ];
    for (said, images, labels) in rows {
        let ran = info_of(images, labels);
        assert_eq!(ran.exits(0).json()["fingerprint"], expected.json()["fingerprint"], "{said}");
        ran.says(said);
    }
    info_of(array("|u1", &format!("({TRAIN}, {SIDE}, 3, 4)"), false, &last), integers(&[0, 1], TRAIN))
        .exits(1)
        .says_one_problem()
        .says("is not (n, h, w)");
}

/// A table of `TRAIN` images of 2 x 2 pixels: the header, then what `row` makes of a label and four pixels.
fn csv(header: &str, row: impl Fn(usize, [usize; 4]) -> String) -> String {
    let rows = (0..TRAIN).map(|i| row(i, [i * 7 % 250, i * 3 % 250, (i * 11 + 90) % 250, 200]) + "\n");
    format!("{header}\n{}", rows.collect::<String>())
}

fn join(cells: &[usize], delimiter: &str) -> String {
    cells.iter().map(usize::to_string).collect::<Vec<_>>().join(delimiter)
}

#[test]
fn tables_of_every_dialect_are_the_same_set() {
    let lab = Lab::new();
    let plain = csv("label,a,b,c,d", |i, p| format!("{},{}", i % 3, join(&p, ",")));
    let written = |text: &str| {
        lab.write("set.csv", text);
        let ran = info(&lab, "kind = \"csv\", path = \"set.csv\", shape = [2, 2, 1], label = \"label\"");
        ran.exits(0).json()["fingerprint"].as_str().unwrap().to_owned()
    };
    let expected = written(&plain);
    let rows = [
        ("byte order mark", format!("\u{feff}{plain}")),
        ("line ends of Windows", plain.replace('\n', "\r\n")),
        ("old line ends of Macs", plain.replace('\n', "\r")),
        ("an empty line at the end", format!("{plain}\n")),
        ("semicolons", plain.replace(',', ";")),
        ("tabs", plain.replace(',', "\t")),
        ("bars", plain.replace(',', "|")),
        ("spaces around cells", plain.replace(',', " , ")),
        ("row numbers", csv(",label,a,b,c,d", |i, p| format!("{i},{},{}", i % 3, join(&p, ",")))),
        ("named row numbers", csv("Unnamed: 0,label,a,b,c,d", |i, p| format!("{i},{},{}", i % 3, join(&p, ",")))),
        ("labels as floats", csv("label,a,b,c,d", |i, p| format!("{}.0,{}", i % 3, join(&p, ",")))),
        (
            "both spellings",
            csv("label,a,b,c,d", |i, p| {
                let spelled = [format!("{}", i % 3), format!("{}.0", i % 3), format!(" 0{} ", i % 3)];
                format!("{},{}", spelled[i % 7 % 3], join(&p, ","))
            }),
        ),
        ("quotes", csv("\"label\",\"a\",\"b\",\"c\",\"d\"", |i, p| format!("\"{}\",\"{}\"", i % 3, join(&p, "\",\"")))),
        ("the label last", csv("a,b,c,d,label", |i, p| format!("{},{}", join(&p, ","), i % 3))),
    ];
    for (what, text) in rows {
        assert_eq!(written(&text), expected, "{what}");
    }
}

#[test]
fn what_is_wrong_with_a_table_is_said_with_its_line() {
    let lab = Lab::new();
    let labelled = |label: &'static str| {
        csv("label,a,b,c,d", move |i, p| {
            format!("{},{}", if i == 4 { label.to_owned() } else { (i % 3).to_string() }, join(&p, ","))
        })
    };
    let plain = labelled("1");
    let by_name = ", label = \"label\"";
    let rows = [
        (labelled(""), by_name, Refused(&["line 6", "the label is empty", "fill in"])),
        (labelled("NaN"), by_name, Refused(&["line 6", "`NaN` stands for a missing label"])),
        (labelled("none"), by_name, Refused(&["line 6", "`none`", "`class-none`"])),
        (labelled("?"), by_name, Refused(&["line 6", "`?`"])),
        (labelled("0.25"), by_name, Refused(&["line 6", "no whole number"])),
        (labelled("-1"), by_name, Refused(&["line 6", "below 0"])),
        (labelled("255"), by_name, Refused(&["line 6", "255", "number it 3"])),
        (labelled("x"), by_name, Classes(&["0", "1", "2", "x"])),
        (plain.clone(), ", label = \"digit\"", Refused(&["no column is named `digit`", "`label`", "`d`"])),
        // The default is the last column, and the header says otherwise.
        (plain.clone(), "", Refused(&["there is a column `label`", "`dataset.label = \"label\"`"])),
        (plain.replace(',', " "), by_name, Refused(&["1 columns, expected 5", "commas, semicolons or tabs"])),
        (
            csv("label,a,b,c,d", |i, p| format!("{},{}", i % 3, join(&p.map(|x| x % 2), ","))),
            by_name,
            Refused(&["no pixel is above 1", "`dataset.max_value = 1`"]),
        ),
        (
            csv("label,a,b,c,d", |i, p| format!("{},{}", i % 3, join(&p.map(|x| x % 2), ","))),
            ", label = \"label\", max_value = 1",
            Classes(&["0", "1", "2"]),
        ),
        (
            csv("label;a;b;c;d", |i, p| format!("{};{}", i % 3, join(&p, ",5;"))),
            by_name,
            Refused(&["is not a number", "decimal point"]),
        ),
        (csv("a,b,c,d", |_, p| join(&p, ",")), by_name, Refused(&["4 columns, expected 5", "labels"])),
        (csv("label", |i, p| format!("{},{},9,9,9,9,9", i % 3, join(&p, ","))), by_name, Refused(&["1 columns"])),
    ];
    for (i, (text, keys, expected)) in rows.iter().enumerate() {
        lab.write("set.csv", text);
        let ran = info(&lab, &format!("kind = \"csv\", path = \"set.csv\", shape = [2, 2, 1]{keys}"));
        check(&ran, expected, &format!("row {i}"));
    }
    // pandas names columns by their numbers where nobody else does.
    let numbered = csv("0,1,2,3,label", |i, p| format!("{},{}", join(&p, ","), i % 3));
    lab.write("set.csv", numbered);
    let ran = info(&lab, "kind = \"csv\", path = \"set.csv\", shape = [2, 2, 1]");
    assert_eq!(classes(&ran), ["0", "1", "2"]);
    ran.says("the first line numbers the columns");
}

#[test]
fn a_test_table_without_labels_is_told_from_one_of_another_shape() {
    let lab = Lab::new();
    lab.write("set/train.csv", csv("label,a,b,c,d", |i, p| format!("{},{}", i % 3, join(&p, ","))));
    lab.write("set/test.csv", csv("a,b,c,d", |_, p| join(&p, ",")));
    let of =
        |path: &str| info(&lab, &format!("kind = \"csv\", path = \"{path}\", shape = [2, 2, 1], label = \"label\""));
    of("set").exits(1).says("test.csv").says("the labels seem to be missing");
    // As the hint says.
    of("set/train.csv").exits(0);
    lab.write("set/test.csv", csv("label,a,b,c,d", |i, p| format!("{},{}", i % 5, join(&p, ","))));
    of("set").exits(1).says("test.csv").says("line 5").says("no label `3`");
}
