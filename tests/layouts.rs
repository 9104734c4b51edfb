//! Folders and archives as people have them, through the real program: what is read, what is left aside with which words, and
//! what is refused before anything is decoded.

use coldstart_tests::{Lab, Ran, files_under, zip_of};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::Value;
use std::io::Cursor;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

/// A small image; every `n` is another one.
fn picture(n: usize) -> DynamicImage {
    RgbImage::from_fn(16, 16, |x, y| Rgb([(x * 9 + y) as u8, (n * 37) as u8, (n / 7 * 50 + 3 * y as usize) as u8]))
        .into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(n: usize) -> Vec<u8> {
    encoded(&picture(n), ImageFormat::Png)
}

fn jpeg(n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&picture(n)).unwrap();
    bytes
}

/// Files in a folder: an image for each name that has an image's end, else a line of text; a name that ends in `/` is a folder.
fn write_all(lab: &Lab, root: &str, names: &[&str]) {
    for (n, name) in names.iter().enumerate() {
        let path = format!("{root}/{name}");
        match name.rsplit('.').next().unwrap() {
            _ if name.ends_with('/') => std::fs::create_dir_all(lab.path(&path)).unwrap(),
            "png" => drop(lab.write(&path, png(n))),
            "jpg" => drop(lab.write(&path, jpeg(n))),
            _ => drop(lab.write(&path, "some text")),
        }
    }
}

/// The folder `root` as a tar archive beside it, in which it is called `wrapper`.
fn archive(lab: &Lab, root: &str, wrapper: &str) -> String {
    let name = format!("{root}.tar");
    let mut builder = tar::Builder::new(std::fs::File::create(lab.path(&name)).unwrap());
    builder.append_dir_all(wrapper, lab.path(root)).unwrap();
    builder.finish().unwrap();
    name
}

fn info(lab: &Lab, path: &str, more: &[&str]) -> Ran {
    let dataset = format!("dataset={{ kind = \"folder\", path = \"{path}\", shape = [16, 16, 3] }}");
    lab.coldstart(&[&["data", "info", "tiny.toml", "-s", &dataset], more].concat())
}

fn classes(info: &Value) -> Vec<(&str, u64, u64)> {
    let counts = |class: &'_ Value| (class["pool"].as_u64().unwrap(), class["test"].as_u64().unwrap());
    let classes = info["classes"].as_array().unwrap();
    classes.iter().map(|class| (class["name"].as_str().unwrap(), counts(class).0, counts(class).1)).collect()
}

fn select(lab: &Lab, size: &str, more: &[&str]) -> Ran {
    let args =
        ["select", "--images", "photos", "--strategy", "random", "--size", size, "--out", "sel", "-s", "threads=1"];
    lab.coldstart(&[&args[..], &["-s", "dataset.shape=[16, 16, 3]", "-s", "model.width=4"], more].concat())
}

/// Paths in `images.csv`, in order.
fn selected_from(lab: &Lab) -> Vec<String> {
    let table = std::fs::read_to_string(lab.path("sel/images.csv")).unwrap();
    table.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn parts_are_found_in_folders_and_archives_alike() {
    for (train, test) in [("Train", "Test"), ("TRAINING", "Testing"), ("one/two/train", "one/two/val")] {
        let lab = Lab::new();
        let images = ["a/1.png", "a/2.png", "a/deep/3.png", "b/1.jpg", "b/2.png"].map(|name| format!("{train}/{name}"));
        let tests = ["a/9.png", "b/9.png"].map(|name| format!("{test}/{name}"));
        let junk = [
            "README.md",
            "notes.txt",
            "__MACOSX/a/._1.png",
            ".git/1.png",
            ".ipynb_checkpoints/c/1.png",
            "@eaDir/x.png/1.jpg",
        ];
        let all: Vec<&str> = images.iter().chain(&tests).map(String::as_str).chain(junk).collect();
        write_all(&lab, "set", &all);
        let on_disk = info(&lab, "set", &["--json"]).exits(0).json();
        assert_eq!(classes(&on_disk), [("a", 3, 1), ("b", 2, 1)]);
        assert_eq!(on_disk["train_folder"], train);
        let in_archive = info(&lab, &archive(&lab, "set", "wrapper"), &["--json"]).exits(0).json();
        assert_eq!(on_disk["fingerprint"], in_archive["fingerprint"]);
        assert_eq!(on_disk["left_aside"], in_archive["left_aside"]);
        assert_eq!(on_disk["left_aside"]["hidden folder"], 2);
        info(&lab, "set", &[])
            .exits(0)
            .says("left aside in `set`: 1 .txt, 1 document, 2 hidden folders, 2 system folders");
    }
}

/// The images are no images: what is refused is refused before anything is decoded.
#[test]
fn layouts_that_are_not_clear_are_refused_at_once() {
    let rows: [(&[&str], &[&str]); 9] = [
        (
            &["train/a/1.png", "train/b/1.png", "test/1.png", "test/2.png"],
            &["set/test`", "without class folders", "2 images"],
        ),
        (&["train/a/1.png", "train/b/1.png", "test/"], &["set/test`", "without an image", "dataset.test_fraction"]),
        (&["train/a/1.png", "train/b/1.png", "train/c/notes.txt"], &["class folder `train/c`", "1 .txt"]),
        (&["a/1.png", "a/2.png"], &["one folder with images, `a`", "at least two classes"]),
        (&["README", "data/one/1.png"], &["one folder with images, `one`"]),
        (
            &["images/1.png", "labels.csv"],
            &["`images`", "not read: `labels.csv`", "index.csv", "split,index,label,class,path", "kind `table`"],
        ),
        (&["train/1.png", "train/metadata.csv"], &["no class folders", "`train/metadata.csv`"]),
        (&["1.png", "2.png"], &["2 images and no class folders"]),
        (&["test/a/1.png", "test/b/1.png", "dog/1.png"], &["`test`", "no training part", "`dog`"]),
    ];
    for (names, expected) in rows {
        let lab = Lab::new();
        for name in names {
            match name.ends_with('/') {
                true => std::fs::create_dir_all(lab.path(&format!("set/{name}"))).unwrap(),
                false => drop(lab.write(&format!("set/{name}"), "no image")),
            }
        }
        for path in ["set".to_owned(), archive(&lab, "set", ".")] {
            let ran = info(&lab, &path, &[]);
            ran.exits(2).says_one_problem();
            // The archive has another name.
            let ran = Ran { stderr: ran.stderr.replace("set.tar", "set"), ..ran };
            for text in expected {
                ran.says(text);
            }
        }
        let dataset = "dataset={ kind = \"folder\", path = \"set\", shape = [16, 16, 3] }";
        let ran = lab.run("run", &[dataset]);
        ran.exits(2).says_one_problem();
        for text in expected {
            ran.says(text);
        }
    }
}

#[test]
fn classes_of_one_image_end_in_a_sentence_or_in_an_accuracy() {
    let lab = Lab::new();
    write_all(&lab, "ones", &["a/0.png", "b/0.png", "c/0.png"]);
    info(&lab, "ones", &[]).exits(2).says("no test part, and none can be drawn from the training part");
    write_all(&lab, "twos", &["a/0.png", "a/1.png", "b/0.png", "b/1.png", "c/0.png"]);
    info(&lab, "twos", &[]).exits(0).says("a class of one image has none in the test part").says("`c`");
    let dataset = "dataset={ kind = \"folder\", path = \"twos\", shape = [16, 16, 3] }";
    let ran = lab.run("run", &[dataset, "initial.size=2", "query.size=1", "query.rounds=1"]);
    ran.exits(0);
    let results = std::fs::read_to_string(lab.path("run/results.csv")).unwrap();
    assert!(results.lines().count() == 3 && !results.to_lowercase().contains("nan"), "{results}");
}

#[test]
fn an_empty_class_of_the_test_part_and_copies_are_told() {
    let lab = Lab::new();
    write_all(
        &lab,
        "set",
        &["train/a/1.png", "train/a/2.png", "train/b/1.png", "test/a/3.png", "test/b/", "val/a/1.png"],
    );
    for (name, n) in [("train/b/2.png", 0), ("test/a/4.png", 1), ("test/a/5.png", 1)] {
        lab.write(&format!("set/{name}"), png(n));
    }
    let ran = info(&lab, "set", &["--json"]);
    let info = ran.exits(0).json();
    assert_eq!(classes(&info), [("a", 2, 3), ("b", 2, 0)]);
    let copies = serde_json::json!({"pool": 1, "test": 1, "shared": 2, "other_label": 1});
    assert_eq!(info["copies"], copies);
    ran.says("`test` has no image of `b`").says("`val` was left aside");
    let shown = self::info(&lab, "set", &[]).stdout;
    for line in ["1 in the pool repeat another image there", "2 in the test part are also in the pool"] {
        assert!(shown.contains(line), "{shown}");
    }
}

#[test]
fn all_files_that_cannot_be_read_are_told_at_once() {
    let lab = Lab::new();
    write_all(&lab, "set", &["a/0.jpg", "a/1.jpg", "a/2.jpg", "b/0.jpg", "b/1.jpg", "b/2.jpg"]);
    lab.write("set/a/1.jpg", &jpeg(1)[..400]);
    lab.write("set/b/0.jpg", "");
    lab.write("set/b/2.jpg", "<html><body>404");
    let ran = info(&lab, "set", &[]);
    ran.exits(1).says_one_problem().says("3 of the 6 images in `set` cannot be read:");
    ran.says("a/1.jpg: the JPEG is cut short, byte 400")
        .says("b/0.jpg: the file is empty")
        .says("b/2.jpg: not JPEG, PNG, WebP, BMP, TIFF or GIF");
    ran.says("a web page");
}

#[test]
fn links_pipes_and_what_systems_leave_are_no_photographs() {
    let lab = Lab::new();
    let names = [
        "x.jpg",
        "sub/y.jpg",
        ".ipynb_checkpoints/x-checkpoint.jpg",
        "._x.jpg",
        "Thumbs.db",
        "desktop.ini",
        "__MACOSX/._x.jpg",
        "sub/@eaDir/y.jpg/SYNOPHOTO_THUMB_M.jpg",
        "#recycle/old.jpg",
        "$RECYCLE.BIN/old.jpg",
        "lost+found/old.jpg",
        ".thumbnails/t.jpg",
    ];
    write_all(&lab, "photos", &names);
    lab.write("elsewhere/z.jpg", jpeg(names.len()));
    let link = |to: &str, name: &str| symlink(to, lab.path(&format!("photos/{name}"))).unwrap();
    link(".", "a");
    link(".", "b");
    link("../sub", "sub/up");
    link("../elsewhere/z.jpg", "link.jpg");
    link("nowhere", "gone.jpg");
    link("itself.jpg", "itself.jpg");
    let _socket = UnixListener::bind(lab.path("photos/socket.jpg")).unwrap();
    assert!(Command::new("mkfifo").arg(lab.path("photos/pipe.jpg")).status().unwrap().success());
    let ran = select(&lab, "2", &[]);
    ran.exits(0).says("3 images in photos").says("skipped 2 that cannot be read").says("2 pipes, sockets or devices");
    ran.says("3 folders that links show again")
        .says("2 hidden folders")
        .says("5 system folders")
        .says("2 system files");
    assert_eq!(selected_from(&lab), ["link.jpg", "sub/y.jpg", "x.jpg"]);

    // The same folder as a class of a data set.
    std::fs::remove_file(lab.path("photos/gone.jpg")).unwrap();
    std::fs::remove_file(lab.path("photos/itself.jpg")).unwrap();
    write_all(&lab, "set", &["b/1.jpg", "b/2.jpg"]);
    std::fs::rename(lab.path("photos"), lab.path("set/a")).unwrap();
    let info = info(&lab, "set", &["--json"]).exits(1).says("a/link.jpg").code;
    assert_eq!(info, Some(1));
    std::fs::remove_file(lab.path("set/a/link.jpg")).unwrap();
    let info = self::info(&lab, "set", &["--json"]).exits(0).json();
    assert_eq!(classes(&info), [("a", 1, 1), ("b", 1, 1)]);
    assert_eq!(info["left_aside"]["pipe, socket or device"], 2);
    assert_eq!(info["left_aside"]["folder that a link shows again"], 3);
}

/// A JPEG with an EXIF segment that says how viewers turn it.
fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let content = [b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", &[orientation][..], &[0; 6]].concat();
    let length = (content.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], b"\xff\xe1", &length, &content, &jpeg[2..]].concat()
}

/// What is stored so that the orientation shows red above blue: where red lies before the image is turned (EXIF 2.32, tag 274).
#[test]
fn photographs_stand_upright_on_the_contact_sheet_and_in_data_sets() {
    let (red, blue) = (Rgb([250, 10, 10]), Rgb([10, 10, 250]));
    let lab = Lab::new();
    for orientation in 1..=8u8 {
        // Rows 3 and 4 are upside down; in 5 and 6 the visual top is at the left, in 7 and 8 at the right.
        let is_red = |x: u32, y: u32| match orientation {
            1 | 2 => y < 16,
            3 | 4 => y >= 16,
            5 | 6 => x < 16,
            _ => x >= 16,
        };
        let stored = RgbImage::from_fn(32, 32, |x, y| if is_red(x, y) { red } else { blue });
        let jpeg = turned(&encoded(&stored.into(), ImageFormat::Jpeg), orientation);
        lab.write(&format!("photos/{orientation}.jpg"), &jpeg);
        lab.write(&format!("set/{}/{orientation}.jpg", orientation % 2), &jpeg);
    }
    select(&lab, "8", &[]).exits(0).says("8 images in photos");
    let sheet = image::open(lab.path("sel/contact-sheet.png")).unwrap().to_rgb8();
    for tile in 0..8 {
        let [top, bottom] = [32, 96].map(|y| sheet.get_pixel(tile * 128 + 64, y).0);
        assert!(top[0] > 200 && top[2] < 60 && bottom[2] > 200 && bottom[0] < 60, "tile {tile}: {top:?} {bottom:?}");
    }
    // All eight are one picture, up to what JPEG loses; a set of one kind tells them apart by nothing but noise.
    let upright = info(&lab, "set", &["--json"]).exits(0).json();
    assert_eq!(classes(&upright), [("0", 3, 1), ("1", 3, 1)]);
}

#[test]
fn photographs_with_something_behind_them_are_read_and_cut_ones_are_not() {
    let lab = Lab::new();
    let whole = jpeg(3);
    let trailers: [(&str, &[u8]); 5] =
        [("a", b"ftypmp42 video"), ("b", b"video \xff\xd9"), ("c", b"video \xff\xda"), ("d", &jpeg(4)), ("e", b"")];
    for (name, trailer) in trailers {
        let image = if name == "e" { &whole[..whole.len() - 2] } else { &whole };
        lab.write(&format!("photos/{name}.jpg"), [image, trailer].concat());
    }
    lab.write("photos/half.jpg", &whole[..whole.len() / 2]);
    lab.write("photos/half-and-zeros.jpg", [&whole[..whole.len() / 2], &[0; 4000]].concat());
    let ran = select(&lab, "2", &[]);
    ran.exits(0)
        .says("5 images in photos")
        .says("half.jpg: the JPEG is cut short")
        .says("half-and-zeros.jpg: the JPEG");
    assert_eq!(selected_from(&lab), ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]);
}

#[test]
fn what_is_not_read_is_named_or_counted() {
    let lab = Lab::new();
    for (name, bytes) in [
        ("one.jfif", jpeg(1)),
        ("two.jpe", jpeg(2)),
        ("three.JPEG", jpeg(3)),
        ("png.jpg", png(4)),
        ("jpg.png", jpeg(5)),
        ("cut.webp", b"RIFF\x10\0\0\0WEBPVP8 and so on".to_vec()),
        ("heic.jpg", b"\0\0\0\x18ftypheic\0\0\0\0".to_vec()),
        ("x.avif", b"ftyp".to_vec()),
        ("y.AVIF", b"ftyp".to_vec()),
        ("x.heic", b"ftyp".to_vec()),
        ("x.jpg~", jpeg(6)),
    ] {
        lab.write(&format!("photos/{name}"), bytes);
    }
    let ran = select(&lab, "3", &[]);
    ran.exits(0).says("5 images in photos").says("left aside in photos: 2 .avif, 1 .heic, 1 .jpg~");
    ran.says("cut.webp: undecodable WebP").says("heic.jpg: not JPEG").says("but HEIC");
}

/// Every format that is read, under its own name and under that of another, as a scraper leaves them.
#[test]
fn formats_are_told_by_content_and_read_alike() {
    const FORMATS: [(&str, ImageFormat); 6] = [
        ("webp", ImageFormat::WebP),
        ("bmp", ImageFormat::Bmp),
        ("tif", ImageFormat::Tiff),
        ("TIFF", ImageFormat::Tiff),
        ("gif", ImageFormat::Gif),
        ("png", ImageFormat::Png),
    ];
    let lab = Lab::new();
    // Few enough colours for a GIF.
    let flat = |n: u8| -> DynamicImage {
        RgbImage::from_fn(16, 16, |x, y| Rgb([n * 20, (x / 4 * 60) as u8, (y / 4 * 60) as u8])).into()
    };
    for (i, (ending, format)) in (0u8..).zip(FORMATS) {
        lab.write(&format!("set/a/{ending}.{ending}"), encoded(&flat(i), format));
        lab.write(&format!("set/b/{ending}.jpg"), encoded(&flat(i), format));
        lab.write(&format!("as-png/a/{ending}.png"), encoded(&flat(i), ImageFormat::Png));
        lab.write(&format!("as-png/b/{ending}.png"), encoded(&flat(i), ImageFormat::Png));
        lab.write(&format!("photos/{ending}.{ending}"), encoded(&flat(i), format));
    }
    let of = |root: &str| info(&lab, root, &["--json"]).exits(0).json();
    let (set, as_png) = (of("set"), of("as-png"));
    assert_eq!(classes(&set), [("a", 5, 1), ("b", 5, 1)]);
    assert_eq!(set["fingerprint"], as_png["fingerprint"]);
    select(&lab, "6", &[]).exits(0).says("6 images in photos");
    assert_eq!(selected_from(&lab), ["TIFF.TIFF", "bmp.bmp", "gif.gif", "png.png", "tif.tif", "webp.webp"]);
}

#[test]
fn of_an_animation_the_first_picture_is_read_and_that_is_said() {
    let lab = Lab::new();
    let frame = |n: u8| {
        let image = RgbaImage::from_pixel(8, 8, Rgba([n, n, n, 255]));
        image::Frame::from_parts(image, 0, 0, image::Delay::from_numer_denom_ms(20, 1))
    };
    let mut moving = Vec::new();
    image::codecs::gif::GifEncoder::new(&mut moving).encode_frames([250, 10, 10].map(frame)).unwrap();
    lab.write("photos/moving.gif", moving);
    lab.write("photos/still.png", encoded(&GrayImage::from_pixel(8, 8, Luma([9])).into(), ImageFormat::Png));
    select(&lab, "2", &[])
        .exits(0)
        .says("1 image (the first is `moving.gif`) of more than one picture")
        .says("the first picture is used");
    let sheet = image::open(lab.path("sel/contact-sheet.png")).unwrap().to_rgb8();
    assert!(sheet.pixels().any(|pixel| pixel.0[0] > 240), "the first picture is bright");
}

#[test]
fn grey_of_12_bits_is_scaled_over_the_whole_set() {
    let lab = Lab::new();
    let grey = |value: u16| -> Vec<u8> {
        let image: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_pixel(16, 16, Luma([value]));
        encoded(&image.into(), ImageFormat::Png)
    };
    let byte = |value: u8| encoded(&GrayImage::from_pixel(16, 16, Luma([value])).into(), ImageFormat::Png);
    // Rounded: 255 * sample / 4095.
    for (name, sample, expected) in [
        ("train/a/1", 400, 25),
        ("train/a/2", 2048, 128),
        ("train/b/1", 3000, 187),
        ("test/a/1", 4095, 255),
        ("test/b/1", 100, 6),
    ] {
        lab.write(&format!("deep/{name}.png"), grey(sample));
        lab.write(&format!("bytes/{name}.png"), byte(expected));
    }
    let deep = info(&lab, "deep", &["--json"]);
    let fingerprint = |ran: &Ran| ran.exits(0).json()["fingerprint"].clone();
    assert_eq!(fingerprint(&deep), fingerprint(&info(&lab, "bytes", &["--json"])));
    deep.says("5 images (the first is `train/a/1.png`) in grey of 16 bits, of which 12 are used: 4095 is white");
    deep.says("2 images (the first is `train/a/1.png`) in grey of 16 bits that stay below an eighth of white");
    // One image that uses all bits says that all do.
    lab.write("deep/train/b/2.png", grey(65535));
    lab.write("bytes/train/b/2.png", byte(255));
    let whole = info(&lab, "deep", &["--json"]);
    assert_ne!(fingerprint(&whole), fingerprint(&info(&lab, "bytes", &["--json"])));
    assert!(!whole.stderr.contains("are used"), "{}", whole.stderr);
}

/// A ZIP archive of the files below `root`, in which the folder is called `wrapper`.
fn zip(lab: &Lab, root: &str, wrapper: &str) -> String {
    let name = format!("{root}.zip");
    let files = files_under(&lab.path(root));
    let members: Vec<(String, Vec<u8>)> = files
        .iter()
        .map(|file| {
            let below = file.strip_prefix(lab.path(root)).unwrap().display().to_string();
            (format!("{wrapper}/{below}"), std::fs::read(file).unwrap())
        })
        .collect();
    lab.write(&name, zip_of(&members));
    name
}

#[test]
fn a_zip_archive_is_its_folder() {
    let lab = Lab::new();
    let names = ["train/a/1.png", "train/a/deep/2.jpg", "train/b/1.png", "test/a/3.png", "test/b/3.png", "notes.txt"];
    let junk = ["__MACOSX/train/a/._1.png", ".git/1.png", "README.md"];
    write_all(&lab, "set", &[&names[..], &junk].concat());
    let on_disk = info(&lab, "set", &["--json"]).exits(0).json();
    let zipped = info(&lab, &zip(&lab, "set", "photos"), &["--json"]).exits(0).json();
    assert_eq!(on_disk["fingerprint"], zipped["fingerprint"]);
    assert_eq!(on_disk["left_aside"], zipped["left_aside"]);
    assert_eq!(zipped["train_folder"], "photos/train");
    // A file that is damaged within the archive is named.
    let mut bytes = std::fs::read(lab.path("set.zip")).unwrap();
    // Behind the name in a member's own header comes what else is said of it, and then its packed bytes.
    let name = b"photos/train/a/1.png";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    let n_extra = u16::from_le_bytes([bytes[at - 2], bytes[at - 1]]) as usize;
    bytes[at + name.len() + n_extra + 20] ^= 0x40;
    lab.write("damaged.zip", bytes);
    info(&lab, "damaged.zip", &[])
        .exits(1)
        .says_one_problem()
        .says("damaged.zip/photos/")
        .says("damaged in the archive");
}

/// A PNG whose header says how large it is; there are no pixels to that size.
fn huge(width: u32, height: u32) -> Vec<u8> {
    let mut png = encoded(&GrayImage::new(1, 1).into(), ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    png
}

/// The checksum of PNG (ISO 3309), bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1)))
    })
}

#[test]
fn pixels_that_lose_something_and_images_that_are_too_large_are_told() {
    let lab = Lab::new();
    lab.write("photos/0.png", png(0));
    lab.write("photos/huge.png", huge(24000, 23000));
    let dark: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_fn(8, 8, |x, y| Luma([(x * 8 + y) as u16 * 64]));
    lab.write("photos/sensor.png", encoded(&dark.into(), ImageFormat::Png));
    let see_through = RgbaImage::from_pixel(8, 8, Rgba([1, 2, 3, 4]));
    lab.write("photos/logo.png", encoded(&see_through.into(), ImageFormat::Png));
    let ran = select(&lab, "1", &[]);
    ran.exits(0).says("3 images in photos").says("huge.png: 24000 x 23000 pixels take 526 MiB in memory");
    ran.says("1 image (the first is `sensor.png`) in grey of 16 bits, of which 12 are used: 4095 is white");
    ran.says("1 image (the first is `logo.png`) with transparent pixels");
}

#[test]
fn archives_that_are_none_are_refused_in_readable_words() {
    let lab = Lab::new();
    let binary: Vec<u8> = (0..5000u32).map(|i| (i * i % 251) as u8).collect();
    let mut control = vec![0; 1024];
    control[..15].copy_from_slice(b"a/\x1b[31mred\x07.png");
    control[124..136].fill(0x9b);
    let rows: [(&str, &[u8]); 4] = [
        ("not a whole tar archive", &binary),
        ("not a whole tar archive", &control),
        ("not a whole ZIP archive", b"PK\x03\x04 and so on"),
        ("compressed with zstd", b"\x28\xb5\x2f\xfd and so on"),
    ];
    for (expected, bytes) in rows {
        lab.write("set.tar", bytes);
        let ran = info(&lab, "set.tar", &[]);
        ran.exits(1).says_one_problem().says(expected);
        assert!(!ran.stderr.contains(|c: char| c.is_control() && c != '\n' || c == '\u{fffd}'), "{:?}", ran.stderr);
    }
}
