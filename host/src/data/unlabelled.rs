//! Folders of images that nobody has labelled: any nesting of JPEG and PNG files, whatever the folders are called.
//!
//! Unlike a data set, such a folder need not be whole: what cannot be read is handed back with the reason, and the rest is used.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::folder::is_image_name;
use super::images::decode_into;
use super::{DataError, Dataset, Shape, Split, fingerprint};

/// Deep enough for any folder of photographs, shallow enough to end on a loop of symbolic links.
const MAX_DEPTH: usize = 32;
/// What marks a folder that `select` has written: the images in it are no photographs.
const OF_A_PROJECT: [&str; 2] = ["images.csv", "rounds"];

/// What lies in a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Paths of files that are named like images, relative to the folder, sorted.
    pub images: Vec<String>,
    /// What is named like an image or stands in the way, and is none.
    pub skipped: Vec<Skipped>,
    /// How many other files there are.
    pub others: usize,
}

/// Something that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The path, relative to the folder.
    pub image: String,
    /// One sentence.
    pub reason: String,
}

/// Lists the images below `root`. Hidden files, and folders that `select` itself has written, are left out.
///
/// # Errors
/// If there is no such folder, or it cannot be read.
pub fn list_images(root: &Path) -> Result<Listed, DataError> {
    fs::read_dir(root).map_err(|source| DataError::io(root, source))?;
    let mut listed = Listed::default();
    list_into(&mut listed, root, "", 0);
    listed.images.sort();
    listed.skipped.sort_by(|a, b| a.image.cmp(&b.image));
    Ok(listed)
}

fn list_into(listed: &mut Listed, folder: &Path, prefix: &str, depth: usize) {
    let entries = match fs::read_dir(folder) {
        _ if depth > MAX_DEPTH => return skip(listed, prefix, "too many folders within folders"),
        Err(error) => return skip(listed, prefix, error),
        Ok(entries) => entries,
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(plain) = name.to_str() else {
            skip(listed, &format!("{prefix}{}", name.to_string_lossy()), "the name is not UTF-8");
            continue;
        };
        if plain.starts_with('.') {
            continue;
        }
        let path = format!("{prefix}{plain}");
        match fs::metadata(entry.path()) {
            Err(error) if is_image_name(&path) => skip(listed, &path, error),
            Ok(metadata) if metadata.is_dir() => list_folder(listed, &entry.path(), &path, depth),
            Ok(metadata) if is_image_name(&path) && !metadata.is_file() => skip(listed, &path, "not a file"),
            Ok(_) if is_image_name(&path) => listed.images.push(path),
            _ => listed.others += 1,
        }
    }
}

fn list_folder(listed: &mut Listed, folder: &Path, path: &str, depth: usize) {
    if OF_A_PROJECT.iter().all(|name| folder.join(name).exists()) {
        return;
    }
    let before = listed.images.len();
    list_into(listed, folder, &format!("{path}/"), depth + 1);
    if is_image_name(path) && listed.images.len() == before {
        skip(listed, path, "a folder without images");
    }
}

fn skip(listed: &mut Listed, path: &str, reason: impl ToString) {
    listed.skipped.push(Skipped { image: path.trim_end_matches('/').to_owned(), reason: reason.to_string() });
}

/// Images in memory, and what could not be read.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The images that could be read, in the order given: path and SHA-256 of the file in hexadecimal digits.
    pub images: Vec<(String, String)>,
    /// Their pixels in one shape, one after the other.
    pub pixels_nhwc: Vec<u8>,
    /// The others.
    pub skipped: Vec<Skipped>,
}

/// Reads images below `root`, each resized to `shape` as the data kind `folder` does; `progress` hears how many are done.
pub fn decode_images(root: &Path, paths: &[String], shape: Shape, progress: &(dyn Fn(usize, usize) + Sync)) -> Decoded {
    let mut pixels_nhwc = vec![0; paths.len() * shape.bytes()];
    let done = AtomicUsize::new(0);
    let read = |(pixels_hwc, path): (&mut [u8], &String)| {
        let file = root.join(path);
        let hash = fs::read(&file).map_err(|error| error.to_string()).and_then(|bytes| {
            decode_into(pixels_hwc, &bytes, shape, &file).map_err(reason)?;
            Ok(hex(&Sha256::digest(&bytes)))
        });
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, paths.len());
        hash
    };
    let hashes: Vec<Result<String, String>> =
        pixels_nhwc.par_chunks_exact_mut(shape.bytes()).zip(paths).map(read).collect();
    let mut decoded = Decoded::default();
    for (i, (path, hash)) in paths.iter().zip(hashes).enumerate() {
        match hash {
            Ok(hash) => {
                // What was read moves up to where something unreadable was.
                let (from, to) = (i * shape.bytes(), decoded.images.len() * shape.bytes());
                pixels_nhwc.copy_within(from..from + shape.bytes(), to);
                decoded.images.push((path.clone(), hash));
            }
            Err(reason) => decoded.skipped.push(Skipped { image: path.clone(), reason }),
        }
    }
    pixels_nhwc.truncate(decoded.images.len() * shape.bytes());
    Decoded { pixels_nhwc, ..decoded }
}

/// What is wrong with a file, without its name.
fn reason(error: DataError) -> String {
    match error {
        DataError::Malformed { place, why, .. } => format!("{why}{place}"),
        error => error.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Decoded {
    /// The pixels of the images at these places, in this order.
    pub fn pixels_at(self, places: &[usize], shape: Shape) -> Vec<u8> {
        if places.iter().copied().eq(0..self.images.len()) {
            return self.pixels_nhwc;
        }
        let image = |place: &usize| &self.pixels_nhwc[place * shape.bytes()..][..shape.bytes()];
        places.iter().flat_map(image).copied().collect()
    }
}

/// The images of a folder of which some have a label.
#[derive(Debug, Default)]
pub struct PartlyLabelled {
    /// Pixels, one image after the other.
    pub pixels_nhwc: Vec<u8>,
    /// The id of each image, ascending.
    pub ids: Vec<u64>,
    /// The file of each image, relative to the folder.
    pub files: Vec<String>,
    /// Ids are below this number.
    pub n_ids: usize,
    /// The label of each image that has one, below the number of classes.
    pub labels: Vec<Option<u32>>,
    /// The name of each class, by label.
    pub classes: Vec<String>,
}

impl PartlyLabelled {
    /// A data set of these images: all in the pool, and no test part.
    ///
    /// An image without a label has a 0 in its place, which nothing may read. The fingerprint is that of the images alone: what
    /// was trained without labels stays good when labels come.
    pub fn dataset(self, shape: Shape) -> Dataset {
        let PartlyLabelled { pixels_nhwc, ids, files, n_ids, labels, classes } = self;
        let mut pool = Split { labels: vec![0; ids.len()], ids, pixels_nhwc, files };
        let none = Split::default();
        let fingerprint = fingerprint(shape, &[], [&pool, &none, &none]);
        pool.labels = labels.iter().map(|label| label.unwrap_or(0)).collect();
        Dataset {
            kind: "images".to_owned(),
            shape,
            classes,
            n_train: n_ids,
            pool,
            validation: Split::default(),
            test: Split::default(),
            has_own_test: false,
            removed_files: Vec::new(),
            fingerprint,
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageFormat, Luma};

    use super::super::images::tests::encoded;
    use super::*;

    const SHAPE: Shape = Shape { height: 1, width: 1, channels: 1 };

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (value, name) in files.iter().enumerate() {
            let path = folder.path().join(name);
            fs::create_dir_all(if name.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
            if !name.ends_with('/') {
                let png = encoded(&GrayImage::from_pixel(1, 1, Luma([value as u8])).into(), ImageFormat::Png);
                fs::write(path, png).unwrap();
            }
        }
        folder
    }

    #[test]
    fn images_are_found_at_any_depth_and_all_else_is_named_or_counted() {
        let folder = folder(&[
            "b/z.PNG",
            "a.jpg",
            "b/c/d/x.jpeg",
            "notes.txt",
            ".hidden.png",
            "empty.jpg/",
            "full.jpg/1.png",
            "photos-selection/images.csv",
            "photos-selection/rounds/000/contact-sheet.png",
            "photos-selection/contact-sheet.png",
        ]);
        std::os::unix::fs::symlink("nowhere", folder.path().join("gone.png")).unwrap();
        let listed = list_images(folder.path()).unwrap();
        assert_eq!(listed.images, ["a.jpg", "b/c/d/x.jpeg", "b/z.PNG", "full.jpg/1.png"]);
        let skipped: Vec<&str> = listed.skipped.iter().map(|skipped| skipped.image.as_str()).collect();
        assert_eq!((skipped, listed.others), (vec!["empty.jpg", "gone.png"], 1));
        assert!(list_images(&folder.path().join("nowhere")).is_err());
    }

    #[test]
    fn a_loop_of_links_ends() {
        let folder = folder(&["a/1.png"]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("a/again")).unwrap();
        let listed = list_images(folder.path()).unwrap();
        assert!(listed.images.contains(&"a/1.png".to_owned()));
        assert!(listed.skipped.iter().any(|skipped| skipped.reason.contains("too many")), "{:?}", listed.skipped);
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_closes_up() {
        let folder = folder(&["0.png", "1.png", "2.png", "3.png"]);
        fs::write(folder.path().join("1.png"), "text").unwrap();
        fs::write(folder.path().join("3.png"), "").unwrap();
        let paths = list_images(folder.path()).unwrap().images;
        let decoded = decode_images(folder.path(), &paths, SHAPE, &|_, _| {});
        let names: Vec<&str> = decoded.images.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!((names, decoded.pixels_nhwc), (vec!["0.png", "2.png"], vec![0, 2]));
        let skipped: Vec<&str> = decoded.skipped.iter().map(|skipped| skipped.image.as_str()).collect();
        assert_eq!(skipped, ["1.png", "3.png"]);
        assert!(decoded.skipped[0].reason.starts_with("neither a JPEG nor a PNG"), "{:?}", decoded.skipped);
    }

    #[test]
    fn labels_do_not_change_what_was_trained_without_them() {
        let of = |labels: [Option<u32>; 2]| {
            let (pixels_nhwc, ids, n_ids) = (vec![1, 2], vec![0, 1], 2);
            let files = ["1.png", "2.png"].map(String::from).to_vec();
            let (labels, classes) = (labels.to_vec(), vec!["a".to_owned()]);
            PartlyLabelled { pixels_nhwc, ids, files, n_ids, labels, classes }.dataset(SHAPE).fingerprint
        };
        assert_eq!(of([None, None]), of([None, Some(0)]));
    }

    #[test]
    fn pixels_are_taken_in_any_order() {
        let decoded = || Decoded {
            images: ["a", "b", "c"].map(|image| (image.to_owned(), String::new())).to_vec(),
            pixels_nhwc: vec![1, 2, 3],
            ..Decoded::default()
        };
        for (places, expected) in [(&[0, 1, 2][..], &[1, 2, 3][..]), (&[2, 0], &[3, 1]), (&[], &[])] {
            assert_eq!(decoded().pixels_at(places, SHAPE), expected);
        }
    }
}
