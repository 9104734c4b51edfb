//! Folders of images that nobody has labelled: any nesting of image files, whatever the folders are called.
//!
//! Unlike a data set, such a folder need not be whole: what cannot be read is handed back with the reason, and the rest is used.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::aside::is_image_name;
use super::depth::{Depth, FULL};
use super::images::{Seen, Target, decode_into};
use super::listing::{Skipped, list_folder, stop_if};
use super::losses::Losses;
use super::{Aside, DataError, Dataset, Notes, Shape, Split, fingerprint, unpacked};
use crate::hash::hex;

/// What lies in a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Paths of files that are named like images, relative to the folder, sorted.
    pub images: Vec<String>,
    /// What is named like an image or stands in the way, and is none.
    pub skipped: Vec<Skipped>,
    /// What else there is, counted by kind.
    pub aside: Aside,
}

/// Lists the images below `root` by the rules of data sets: the same files and folders are left aside. The order is that of the
/// paths, compared by code points.
///
/// # Errors
/// If there is no such folder, or it cannot be read; [`DataError::Cancelled`] once `cancelled` is set.
pub fn list_images(root: &Path, cancelled: &AtomicBool) -> Result<Listed, DataError> {
    let listing = list_folder(root, cancelled)?;
    let mut listed = Listed { skipped: listing.troubles, aside: listing.aside, ..Listed::default() };
    for path in listing.files.into_keys() {
        match is_image_name(&path) {
            true => listed.images.push(path),
            false => listed.aside.add_file(&path),
        }
    }
    for folder in listing.folders.into_iter().filter(|folder| is_image_name(folder)) {
        let inside = format!("{folder}/");
        if !listed.images.iter().any(|image| image.starts_with(&inside)) {
            listed.skipped.push(Skipped { image: folder, reason: "a folder without images".to_owned() });
        }
    }
    listed.skipped.sort_by(|a, b| a.image.cmp(&b.image));
    Ok(listed)
}

/// Who waits for a reading.
pub struct Reading<'a> {
    /// Hears how many images are done, and of how many.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
    /// Set when nobody waits any more.
    pub cancelled: &'a AtomicBool,
    /// What is white in grey of 16 bits, where it was decided before, over more images than these.
    pub white: Option<u16>,
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
    /// Sentences about what images had that their pixels no longer show.
    pub remarks: Vec<String>,
    /// What is white in grey of 16 bits.
    pub white: u16,
}

/// Reads images below `root`, each resized to `shape` as the data kind `folder` does. Grey images of 16 bits are read again where
/// all together use fewer bits.
///
/// # Errors
/// If the images take more memory than is free, or [`DataError::Cancelled`]: an image that cannot be read is skipped.
pub fn decode_images(root: &Path, paths: &[String], shape: Shape, reading: &Reading<'_>) -> Result<Decoded, DataError> {
    let mut pixels_nhwc = unpacked::room_for(paths.len(), shape)?;
    let done = AtomicUsize::new(0);
    let size = shape.bytes();
    let target = Target { shape, white: reading.white.unwrap_or(FULL) };
    let read = |(pixels_hwc, path): (&mut [u8], &String)| {
        stop_if(reading.cancelled)?;
        let read = read_image(pixels_hwc, root, path, target);
        (reading.progress)(done.fetch_add(1, Ordering::Relaxed) + 1, paths.len());
        Ok(read)
    };
    let mut images: Vec<Read> =
        pixels_nhwc.par_chunks_exact_mut(size).zip(paths).map(read).collect::<Result<_, DataError>>()?;
    let depth = depth_of(paths, &images);
    let white = reading.white.unwrap_or(depth.white());
    if white != target.white {
        let target = Target { shape, white };
        let again = |((pixels_hwc, path), image): ((&mut [u8], &String), &mut Read)| {
            stop_if(reading.cancelled)?;
            if image.as_ref().is_ok_and(|image| image.seen.deep.is_some()) {
                *image = read_image(pixels_hwc, root, path, target);
            }
            Ok(())
        };
        pixels_nhwc.par_chunks_exact_mut(size).zip(paths).zip(&mut images).try_for_each(again)?;
    }
    let (mut decoded, mut losses) = (Decoded::default(), Losses::default());
    for (i, (path, image)) in paths.iter().zip(images).enumerate() {
        match image {
            Ok(Image { sha256, seen }) => {
                // What was read moves up to where something unreadable was.
                pixels_nhwc.copy_within(i * size..(i + 1) * size, decoded.images.len() * size);
                decoded.images.push((path.clone(), sha256));
                losses.add(seen.lost, path);
            }
            Err(error) => decoded.skipped.push(Skipped { image: path.clone(), reason: error.reason() }),
        }
    }
    pixels_nhwc.truncate(decoded.images.len() * size);
    Ok(Decoded { pixels_nhwc, remarks: [losses.sentences(), depth.sentences()].concat(), white, ..decoded })
}

/// An image, or why it cannot be read.
type Read = Result<Image, DataError>;

/// The grey images of 16 bits among those that could be read.
fn depth_of(paths: &[String], images: &[Read]) -> Depth {
    let mut depth = Depth::default();
    for (path, image) in paths.iter().zip(images) {
        if let Some(brightest) = image.as_ref().ok().and_then(|image| image.seen.deep) {
            depth.add(brightest, path);
        }
    }
    depth
}

/// What is known of an image beside its pixels.
struct Image {
    sha256: String,
    seen: Seen,
}

fn read_image(pixels_hwc: &mut [u8], root: &Path, path: &str, target: Target) -> Read {
    let file = root.join(path);
    let bytes = unpacked::read_file(&file)?;
    let seen = decode_into(pixels_hwc, &bytes, target, &file)?;
    Ok(Image { sha256: hex(&Sha256::digest(&bytes)), seen })
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
        let fingerprint = fingerprint(shape, &[], [&pool, &none, &none], None);
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
            notes: Notes::default(),
            given: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{GrayImage, ImageFormat, Luma};

    use super::super::images::tests::encoded;
    use super::*;

    const SHAPE: Shape = Shape { height: 1, width: 1, channels: 1 };
    static GO_ON: AtomicBool = AtomicBool::new(false);

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
            "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
            "scan.TIF",
            "photo.heic",
            "old.jfif",
        ]);
        std::os::unix::fs::symlink("nowhere", folder.path().join("gone.png")).unwrap();
        let listed = list_images(folder.path(), &GO_ON).unwrap();
        assert_eq!(listed.images, ["a.jpg", "b/c/d/x.jpeg", "b/z.PNG", "full.jpg/1.png", "old.jfif", "scan.TIF"]);
        let skipped: Vec<&str> = listed.skipped.iter().map(|skipped| skipped.image.as_str()).collect();
        assert_eq!(skipped, ["empty.jpg", "gone.png"]);
        let aside = "1 .heic, 1 .txt, 1 folder of `coldstart select`, 1 hidden file, 1 system folder";
        assert_eq!(listed.aside.to_string(), aside);
        assert!(list_images(&folder.path().join("nowhere"), &GO_ON).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_closes_up() {
        let folder = folder(&["0.png", "1.png", "2.png", "3.png"]);
        fs::write(folder.path().join("1.png"), "text").unwrap();
        fs::write(folder.path().join("3.png"), "").unwrap();
        let paths = list_images(folder.path(), &GO_ON).unwrap().images;
        let reading = Reading { progress: &|_, _| {}, cancelled: &GO_ON, white: None };
        let decoded = decode_images(folder.path(), &paths, SHAPE, &reading).unwrap();
        let names: Vec<&str> = decoded.images.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!((names, decoded.pixels_nhwc), (vec!["0.png", "2.png"], vec![0, 2]));
        let skipped: Vec<&str> = decoded.skipped.iter().map(|skipped| skipped.image.as_str()).collect();
        assert_eq!(skipped, ["1.png", "3.png"]);
        assert!(decoded.skipped[0].reason.starts_with("not JPEG, PNG"), "{:?}", decoded.skipped);
        let reading = Reading { progress: &|_, _| {}, cancelled: &AtomicBool::new(true), white: None };
        assert!(matches!(decode_images(folder.path(), &paths, SHAPE, &reading), Err(DataError::Cancelled)));
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
