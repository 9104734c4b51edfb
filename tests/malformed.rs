//! Files that lie about themselves: sizes are bounded before work begins, depth is bounded, and nothing aborts or hangs.
//!
//! Every row runs the program with little address space, so that one that believes a file ends by a signal and not with its
//! message.

use coldstart_tests::{Lab, Ran, npy, npz, zip_of};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Address space for a run of the program, in KiB. The program with libtorch takes less than 2 GiB of it.
const ADDRESS_SPACE: u64 = 6 << 20;
/// No answer may take longer, on a machine that does other things as well.
const LONGEST: Duration = Duration::from_secs(60);
/// What a file of some kilobytes unpacks to in these tests; 256 MiB are always allowed.
const UNPACKED: usize = 400 << 20;

/// Runs the program with bounded memory and time.
#[track_caller]
fn bounded(lab: &Lab, args: &[&str]) -> Ran {
    let plain = lab.command(args);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {ADDRESS_SPACE}; exec \"$0\" \"$@\"")]).arg(plain.get_program()).args(args);
    shell.current_dir(lab.path(""));
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    // Threads of libraries reserve address space for their stacks and arenas.
    shell.env("MALLOC_ARENA_MAX", "1").env("OMP_NUM_THREADS", "1");
    let begun = Instant::now();
    let ran = Ran::of(shell.output().expect("a shell"));
    assert!(begun.elapsed() < LONGEST, "{args:?} took {:?}", begun.elapsed());
    ran
}

fn info(lab: &Lab, dataset: &str) -> Ran {
    bounded(lab, &["data", "info", "tiny.toml", "--data", ".", "-s", &format!("dataset={{ {dataset} }}")])
}

fn gzipped(begin: &[u8], zeros: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(begin).unwrap();
    let block = vec![b'0'; 1 << 20];
    (0..zeros >> 20).for_each(|_| encoder.write_all(&block).unwrap());
    encoder.finish().unwrap()
}

#[test]
fn pickles_of_any_depth_and_number_are_read_or_refused() {
    const DEEP: usize = 1_000_000;
    let lists = [b"\x80\x02".to_vec(), b"]".repeat(DEEP), b"a".repeat(DEEP - 1), b".".to_vec()].concat();
    let tuples = [b"\x80\x02K\x01".to_vec(), b"\x85".repeat(DEEP), b".".to_vec()].concat();
    let dicts =
        [b"\x80\x02".to_vec(), b"}K\x01".repeat(DEEP), b"}".to_vec(), b"s".repeat(DEEP), b".".to_vec()].concat();
    let value = [b"\x80\x02}U\x04data".to_vec(), b"]".repeat(DEEP), b"a".repeat(DEEP - 1), b"s.".to_vec()].concat();
    let digits = [b"\x80\x02L".to_vec(), b"9".repeat(3 * DEEP), b"L\n.".to_vec()].concat();
    let rows: [(&[u8], &str); 10] = [
        (&lists, "does not hold a dictionary"),
        (&tuples, "does not hold a dictionary"),
        (&dicts, "`data` is not an array of bytes"),
        (&value, "`data` is not an array of bytes"),
        (&digits, "does not hold a dictionary"),
        (b"\x80\x02]q\x00h\x00a.", "does not hold a dictionary"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "ends within an instruction"),
        (b"\x80\x04\x8e\0\0\0\0\0\0\0\x40.", "ends within an instruction"),
        (b"\x80\x02}U\x04datacos\nsystem\n(S'touch ran'\ntRs.", "`data` is not an array of bytes"),
        (b"\x80\x02Pelsewhere\n.", "a persistent id would bring in something from outside"),
    ];
    for (bytes, expected) in rows {
        let lab = Lab::new();
        for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
            lab.write(&format!("set/{name}"), bytes);
        }
        info(&lab, r#"kind = "cifar10", path = "set""#).exits(1).says_one_problem().says(expected);
        assert!(!lab.path("ran").exists());
    }
}

#[test]
fn small_files_that_unpack_to_large_ones_are_refused() {
    let lab = Lab::new();
    let images = UNPACKED / 576;
    let header = npy("|u1", &format!("({images}, 24, 24)"), &[]);
    lab.write(
        "bomb.npz",
        npz(&[("x_train", [header, vec![0; UNPACKED]].concat()), ("y_train", npy("|u1", "(1,)", &[0]))]),
    );
    lab.write("bomb.csv", gzipped(b"1,2,3,4,0\n", UNPACKED));
    let idx = [0x0803u32, 0x7fff_ffff, 28, 28].map(u32::to_be_bytes).concat();
    for part in ["train", "t10k"] {
        lab.write(&format!("idx/{part}-images-idx3-ubyte"), gzipped(&idx, UNPACKED));
        lab.write(&format!("idx/{part}-labels-idx1-ubyte"), [0x0801u32, 0].map(u32::to_be_bytes).concat());
    }
    lab.write("bomb.tar.gz", gzipped(b"a/1.png", UNPACKED));
    let rows = [
        r#"kind = "npz", path = "bomb.npz""#,
        r#"kind = "csv", path = "bomb.csv", shape = [2, 2, 1]"#,
        r#"kind = "mnist", path = "idx""#,
        r#"kind = "folder", path = "bomb.tar.gz", shape = [8, 8, 3]"#,
    ];
    for dataset in rows {
        info(&lab, dataset).exits(1).says_one_problem().says("which is more than 100 times its");
    }
}

/// Columns of a Parquet file: images, and as many labels, through a dictionary or not.
fn images_in_parquet(images: &[ByteArray], has_dictionary: bool) -> Vec<u8> {
    let schema = "message schema { required binary image; required int64 label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(parquet::basic::Compression::ZSTD(Default::default()))
        .set_dictionary_enabled(has_dictionary)
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(images, None, None).unwrap();
    column.close().unwrap();
    let labels: Vec<i64> = (0..images.len() as i64).map(|i| i % 2).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&labels, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn archives_and_columns_that_unpack_to_too_much_are_refused() {
    let lab = Lab::new();
    let members = [("a/1.png".to_owned(), b"x".to_vec()), ("b/1.png".to_owned(), b"x".to_vec())];
    let mut zip = zip_of(&members);
    // The size of the first file in the table of contents (APPNOTE 4.3.12).
    let table = zip.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    zip[table + 24..table + 28].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
    lab.write("set.zip", zip);
    info(&lab, r#"kind = "folder", path = "set.zip", shape = [8, 8, 3]"#)
        .exits(1)
        .says_one_problem()
        .says("which is more than 100 times its");
    let zeros = vec![ByteArray::from(vec![0; UNPACKED]), ByteArray::from(vec![0; 9])];
    lab.write("page.parquet", images_in_parquet(&zeros, false));
    drop(zeros);
    let same = vec![ByteArray::from(vec![7; 40]); 6_000_000];
    lab.write("rows.parquet", images_in_parquet(&same, true));
    for (file, expected) in
        [("page", "a page unpacks to more than"), ("rows", "a table of 6000000 rows unpacks to more than")]
    {
        let ran = info(&lab, &format!(r#"kind = "parquet", path = "{file}.parquet", shape = [1, 1, 1]"#));
        ran.exits(1).says_one_problem().says(expected);
    }
}

/// Files whose headers say that they are 60000 x 60000 pixels.
#[test]
fn images_that_say_that_they_are_huge_are_refused() {
    const SIDE: u32 = 60_000;
    let side = SIDE.to_le_bytes();
    let gif = [b"GIF89a", &side[..2], &side[..2], &[0, 0, 0, b','], &[0; 4], &side[..2], &side[..2], &[0, 2, 0, b';']]
        .concat();
    let bmp = [b"BM", &[0; 8][..], &54u32.to_le_bytes(), &40u32.to_le_bytes(), &side, &side, &[1, 0, 24, 0], &[0; 24]]
        .concat();
    // Tags of a TIFF: width, height, bits, no compression, grey, where the strip is, rows in it, its length.
    let tags = [(256u16, SIDE), (257, SIDE), (258, 8), (259, 1), (262, 1), (273, 8), (278, SIDE), (279, 9)];
    let entries: Vec<u8> = tags
        .iter()
        .flat_map(|(tag, value)| {
            [&tag.to_le_bytes()[..], &4u16.to_le_bytes(), &1u32.to_le_bytes(), &value.to_le_bytes()].concat()
        })
        .collect();
    let tiff = [&b"II*\0\x08\0\0\0"[..], &(tags.len() as u16).to_le_bytes(), &entries, &[0; 4]].concat();
    let lab = Lab::new();
    for (name, bytes) in [("gif", gif), ("bmp", bmp), ("tif", tiff)] {
        _ = std::fs::remove_dir_all(lab.path("set"));
        for class in ["a", "b"] {
            lab.write(&format!("set/{class}/1.{name}"), &bytes);
        }
        let ran = info(&lab, r#"kind = "folder", path = "set", shape = [8, 8, 1]"#);
        ran.exits(1).says("60000 x 60000 pixels take").says("one image may take 512");
    }
}

#[test]
fn tables_of_zeros_may_be_small_files() {
    let lab = Lab::new();
    // 48 MB of pixels in a file of some 50 kB: a thousand times, but far from large.
    let row = format!("{}\n", "0,".repeat(400 * 400) + "1");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    (0..150).for_each(|_| encoder.write_all(row.as_bytes()).unwrap());
    encoder.write_all(format!("{}\n", "255,".repeat(400 * 400) + "0").as_bytes()).unwrap();
    lab.write("zeros.csv.gz", encoder.finish().unwrap());
    info(&lab, r#"kind = "csv", path = "zeros.csv.gz", shape = [400, 400, 1]"#).exits(0);
}

/// An experiment on 300 synthetic images with the features of a file.
fn with_features(path: &str, out: &str) -> Vec<String> {
    let representation = format!("representation={{ method = \"file\", path = \"{path}\" }}");
    let args = [
        "run",
        "tiny.toml",
        "--out",
        out,
        "-s",
        &representation,
        "-s",
        "query.strategy=coreset",
        "-s",
        "query.rounds=1",
    ];
    args.map(str::to_owned).to_vec()
}

fn run_with_features(lab: &Lab, path: &str, out: &str) -> Ran {
    let args = with_features(path, out);
    bounded(lab, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn features_that_begin_at_any_byte_are_read() {
    let lab = Lab::new();
    let rows: Vec<u8> = (0..300 * 4).flat_map(|i| ((i * 37 % 101) as f32).to_le_bytes()).collect();
    let mut chosen = Vec::new();
    for pad in 0..4 {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (300, 4), }}{}\n", " ".repeat(pad));
        let length = (header.len() as u16).to_le_bytes();
        lab.write("rows.npy", [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes(), &rows].concat());
        let out = format!("pad-{pad}");
        run_with_features(&lab, "rows.npy", &out).exits(0);
        chosen.push(std::fs::read_to_string(lab.path(&out).join("rounds/001/selection.csv")).unwrap());
    }
    assert!(chosen.iter().all(|other| *other == chosen[0]), "the same rows, the same choice");
}

/// A Parquet file whose footer is a schema with these numbers of children.
fn parquet_of(children: &[u32]) -> Vec<u8> {
    let varint = |mut value: u32| {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    };
    let element = |n: &u32| [vec![0x48, 1, b'x', 0x15], varint(n << 1), vec![0]].concat();
    let elements: Vec<u8> = children.iter().flat_map(element).collect();
    let footer = [vec![0x15, 2, 0x19, 0xfc], varint(children.len() as u32), elements, vec![0]].concat();
    [b"PAR1".as_slice(), &footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

#[test]
fn headers_of_features_that_lie_are_refused() {
    let lab = Lab::new();
    let safetensors = |header: &str| [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    let npy_2 = |length: u32, header: &[u8]| [b"\x93NUMPY\x02\x00", &length.to_le_bytes()[..], header].concat();
    let files: [(&str, Vec<u8>, &str); 13] = [
        ("deep.npy", npy_2(9_000, &[b"(".repeat(8_999), b"\n".to_vec()].concat()), "brackets within brackets"),
        // What takes its reader minutes is refused at once.
        (
            "nested.npy",
            npy_2(100, format!("{:<99}\n", "{'descr': [ {{{{{{{{{{{").as_bytes()),
            "brackets within brackets",
        ),
        ("long.npy", npy_2(200_000, &b" ".repeat(200_000)), "is longer than 10000"),
        ("cut.npy", npy_2(0xffff_ffff, b""), "longer than 10000"),
        ("wide.npy", npy("<f4", "(18446744073709551615, 18446744073709551615)", &[]), "does not fit"),
        ("begin.npy", b"\x93NUMPY".to_vec(), "ends within its header"),
        ("length.safetensors", [&(1u64 << 62).to_le_bytes()[..], b"{}"].concat(), "not safetensors"),
        ("deep.safetensors", safetensors(&format!("{{\"x\":{}", "[".repeat(1_000_000))), "not safetensors"),
        (
            "wide.safetensors",
            safetensors(r#"{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#),
            "not safetensors",
        ),
        ("deep.parquet", parquet_of(&[vec![1; 1_000_000], vec![0]].concat()), "groups within groups"),
        ("wide.parquet", parquet_of(&[1 << 30, 0]), "declares more columns than it holds"),
        ("long.parquet", [b"PAR1", &[0u8; 100][..], &[0xff; 4], b"PAR1"].concat(), "not a whole Parquet file"),
        ("list.parquet", [&b"PAR1\x29\xfc\xff\xff\xff\x7f\0"[..], &[7, 0, 0, 0], b"PAR1"].concat(), "cut or damaged"),
    ];
    for (name, bytes, expected) in files {
        lab.write(name, bytes);
        let ran = run_with_features(&lab, name, "out");
        assert_ne!(ran.code, Some(0), "{name}");
        ran.says_one_problem().says(expected);
    }
}

#[test]
fn files_larger_than_memory_are_refused_before_they_are_read() {
    const HUGE: u64 = 1 << 40;
    let lab = Lab::new();
    let sparse = |name: &str, begin: &[u8]| {
        let mut file = File::create(lab.path(name)).unwrap();
        file.write_all(begin).unwrap();
        file.set_len(HUGE).unwrap();
    };
    sparse("table.csv", b"1,2,3,4,0\n");
    info(&lab, r#"kind = "csv", path = "table.csv", shape = [2, 2, 1]"#).exits(1).says_one_problem();
    info(&lab, r#"kind = "table", path = "table.csv""#).exits(1).says_one_problem();
    sparse("table.parquet", b"PAR1");
    info(&lab, r#"kind = "parquet", path = "table.parquet""#).exits(1).says_one_problem();
    for class in ["a", "b"] {
        std::fs::create_dir_all(lab.path("photos").join(class)).unwrap();
        sparse(&format!("photos/{class}/1.png"), b"\x89PNG");
    }
    let ran = info(&lab, r#"kind = "folder", path = "photos", shape = [8, 8, 1]"#);
    ran.exits(1).says_one_problem().says("of memory that are free");
}

#[test]
fn configs_and_tables_of_labels_have_a_size_and_a_depth() {
    let lab = Lab::new();
    bounded(&lab, &["run", "/dev/zero"]).exits(2).says_one_problem().says("longer than 4 MiB");
    let deep = 100_000;
    let rows = [
        format!("a = {}", "[".repeat(deep)),
        format!("a = {}", "{ a = ".repeat(deep)),
        format!("{}a = 1", "a.".repeat(deep)),
        format!("[{}a]", "a.".repeat(deep)),
    ];
    for text in rows {
        lab.write("deep.toml", &text);
        bounded(&lab, &["run", "deep.toml"]).exits(2).says_one_problem();
        bounded(&lab, &["run", "tiny.toml", "-s", &text[..10_000.min(text.len())]]).exits(2);
    }
}

#[test]
fn studies_have_a_number_of_runs() {
    let lab = Lab::new();
    let axes: String = (0..40).map(|i| format!("\"query.params.p{i}\" = [1, 2]\n")).collect();
    let more: String = (0..80).map(|i| format!("\"query.params.p{i}\" = [1, 2]\n")).collect();
    let long: Vec<String> = (0..200_000).map(|i| i.to_string()).collect();
    let rows = [
        (axes, "makes 1099511627776 runs; a study has at most 10000"),
        (more, "more runs than can be counted"),
        (format!("seed = [{}]\n", long.join(", ")), "has 200000 values"),
        (format!("seed = [{}]\n\"initial.size\" = [5, 6]\n", long[..6000].join(", ")), "makes 12000 runs"),
    ];
    for (sweep, expected) in rows {
        lab.write("study.toml", format!("{}[sweep]\n{sweep}", coldstart_tests::TINY));
        for args in [&["sweep", "study.toml", "--dry-run"][..], &["sweep", "study.toml", "--out", "study"]] {
            bounded(&lab, args).exits(2).says_one_problem().says(expected);
        }
        assert!(!lab.path("study").exists());
    }
}

#[test]
fn links_that_lead_back_are_followed_once() {
    let lab = Lab::new();
    for class in ["a", "b"] {
        for i in 0..6u8 {
            let file = lab.path(&format!("photos/{class}/{i}.png"));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            image::GrayImage::from_pixel(8, 8, image::Luma([i * 9])).save(file).unwrap();
        }
        for i in 0..8 {
            symlink(".", lab.path(&format!("photos/{class}/self-{i}"))).unwrap();
            symlink("../..", lab.path(&format!("photos/{class}/up-{i}"))).unwrap();
        }
    }
    info(&lab, r#"kind = "folder", path = "photos", shape = [8, 8, 1]"#).exits(0);
    let select = ["select", "--images", "photos", "--out", "project", "--strategy", "random", "--size", "3"];
    bounded(&lab, &select).exits(0);
    let images = std::fs::read_to_string(lab.path("project/images.csv")).unwrap();
    assert_eq!(images.lines().count(), 13, "{images}");
}
