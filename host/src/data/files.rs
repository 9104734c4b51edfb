//! Images of a folder or archive that a layout or a table lists, decoded into parts.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::archive::Tree;
use super::decoding::{Decoding, Encoded};
use super::error::{DataError, Place};
use super::listing::Skipped;
use super::{Shape, Split};

/// One image of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The path in the tree.
    pub path: String,
    pub id: u64,
    pub label: u32,
}

/// The parts of a listing, decoded.
pub(super) struct Decoded {
    pub train: Split,
    pub test: Option<Split>,
    /// Sentences.
    pub remarks: Vec<String>,
}

/// The images of a part, and where they lie.
pub(super) struct Listed<'a> {
    pub tree: &'a Tree,
    pub items: Vec<Item>,
}

impl Encoded for Listed<'_> {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn bytes(&self, place: usize) -> Result<Cow<'_, [u8]>, DataError> {
        self.tree.read(&self.items[place].path)
    }

    fn name(&self, place: usize) -> Cow<'_, str> {
        Cow::Borrowed(&self.items[place].path)
    }

    fn path(&self, place: usize) -> PathBuf {
        self.tree.full_path(&self.items[place].path)
    }
}

/// A data set is whole: what cannot be looked at could be a part of it.
///
/// # Errors
/// With the first thing in the tree that could not be looked at.
pub(super) fn refuse_troubles(tree: &Tree) -> Result<(), DataError> {
    let Some(Skipped { image, reason }) = tree.troubles().first() else { return Ok(()) };
    let more = tree.troubles().len() - 1;
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    Err(DataError::malformed(&tree.full_path(image), Place::Whole, format!("{reason}{more}")))
}

/// Decodes the images of a set below `root`, each resized to `shape`.
///
/// # Errors
/// With all files at once that cannot be read; [`DataError::Cancelled`].
pub(super) fn decode(
    root: &Path,
    train: Listed<'_>,
    test: Option<Listed<'_>>,
    shape: Shape,
    cancelled: &AtomicBool,
) -> Result<Decoded, DataError> {
    let n_images = train.len() + test.as_ref().map_or(0, Listed::len);
    let mut decoding = Decoding::new(shape, cancelled);
    let mut train_pixels = decoding.decode_part(&train)?;
    let mut test_pixels = test.as_ref().map(|test| decoding.decode_part(test)).transpose()?;
    decoding.scale(&mut train_pixels, &train, 0)?;
    if let (Some(pixels), Some(test)) = (&mut test_pixels, &test) {
        decoding.scale(pixels, test, 0)?;
    }
    let remarks = decoding.finish(root, n_images)?;
    let test = test.zip(test_pixels).map(|(test, pixels)| split_of(test.items, pixels.nhwc));
    Ok(Decoded { train: split_of(train.items, train_pixels.nhwc), test, remarks })
}

fn split_of(items: Vec<Item>, pixels_nhwc: Vec<u8>) -> Split {
    Split {
        ids: items.iter().map(|item| item.id).collect(),
        labels: items.iter().map(|item| item.label).collect(),
        pixels_nhwc,
        files: items.into_iter().map(|item| item.path).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{ImageBuffer, ImageFormat, Luma};

    use super::super::images::tests::encoded;
    use super::*;

    const SHAPE: Shape = Shape { height: 1, width: 1, channels: 1 };

    fn grey_16(value: u16) -> Vec<u8> {
        encoded(&ImageBuffer::from_pixel(1, 1, Luma([value])).into(), ImageFormat::Png)
    }

    fn decoded(images: &[(&str, u16)], n_train: usize) -> Decoded {
        let folder = tempfile::tempdir().unwrap();
        images.iter().for_each(|(name, value)| fs::write(folder.path().join(name), grey_16(*value)).unwrap());
        let go_on = AtomicBool::new(false);
        let tree = Tree::open(folder.path(), &go_on).unwrap();
        let items = images.iter().map(|(name, _)| Item { path: (*name).to_owned(), id: 0, label: 0 });
        let mut train: Vec<Item> = items.collect();
        let test = train.split_off(n_train);
        let [train, test] = [train, test].map(|items| Listed { tree: &tree, items });
        decode(folder.path(), train, Some(test), SHAPE, &go_on).unwrap()
    }

    #[test]
    fn what_is_white_is_decided_over_all_parts() {
        let rows = [
            ([("a.png", 2048), ("b.png", 1024), ("c.png", 4095)], [128, 64], 255, true),
            ([("a.png", 65535), ("b.png", 1024), ("c.png", 4095)], [255, 4], 16, false),
        ];
        for (images, train, test, is_scaled) in rows {
            let decoded = decoded(&images, 2);
            assert_eq!(
                (&decoded.train.pixels_nhwc[..], &decoded.test.unwrap().pixels_nhwc[..]),
                (&train[..], &[test][..])
            );
            let says =
                |remark: &String| remark.starts_with("3 images (the first is `a.png`) in grey of 16 bits, of which 12");
            assert_eq!(decoded.remarks.iter().any(says), is_scaled, "{:?}", decoded.remarks);
        }
    }
}
