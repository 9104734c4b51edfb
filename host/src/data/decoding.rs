//! The images of a data set, decoded side by side: what they lost, which cannot be read, and what is white in grey of 16 bits.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;

use super::depth::{Depth, FULL};
use super::error::DataError;
use super::images::{Seen, Target, decode_into};
use super::listing::stop_if;
use super::losses::Losses;
use super::{Shape, unpacked};

/// Image files by their places in a part, or in a piece of one.
pub(super) trait Encoded: Sync {
    /// How many there are.
    fn len(&self) -> usize;
    /// The bytes of a file. May be called from many threads.
    fn bytes(&self, place: usize) -> Result<Cow<'_, [u8]>, DataError>;
    /// The file as remarks name it.
    fn name(&self, place: usize) -> Cow<'_, str>;
    /// The file as errors name it.
    fn path(&self, place: usize) -> PathBuf;
}

/// The pixels of a part, of which the first images are decoded.
pub(super) struct Pixels {
    pub nhwc: Vec<u8>,
    n_decoded: usize,
    /// Places of grey images of 16 bits, ascending.
    deep: Vec<usize>,
}

impl Pixels {
    /// Whether grey images of 16 bits are among them.
    pub(super) fn are_deep(&self) -> bool {
        !self.deep.is_empty()
    }
}

/// What decoding found beside pixels, over all parts of a set.
pub(super) struct Decoding<'a> {
    shape: Shape,
    cancelled: &'a AtomicBool,
    /// In the order of the images, so that the same broken set always gives the same message.
    failures: Vec<DataError>,
    losses: Losses,
    depth: Depth,
}

impl<'a> Decoding<'a> {
    pub(super) fn new(shape: Shape, cancelled: &'a AtomicBool) -> Self {
        Decoding { shape, cancelled, failures: Vec::new(), losses: Losses::default(), depth: Depth::default() }
    }

    /// Room for the images of a part.
    ///
    /// # Errors
    /// If they take more than the memory that is free.
    pub(super) fn room_for(&self, n_images: usize) -> Result<Pixels, DataError> {
        Ok(Pixels { nhwc: unpacked::room_for(n_images, self.shape)?, n_decoded: 0, deep: Vec::new() })
    }

    /// Decodes the next images of a part. One that cannot be read is remembered, and stays black.
    ///
    /// # Errors
    /// [`DataError::Cancelled`].
    ///
    /// # Panics
    /// If the part has no room for them.
    pub(super) fn decode(&mut self, pixels: &mut Pixels, images: &dyn Encoded) -> Result<(), DataError> {
        let size = self.shape.bytes();
        let first = pixels.n_decoded;
        let room = &mut pixels.nhwc[first * size..(first + images.len()) * size];
        let target = Target { shape: self.shape, white: FULL };
        let decode = |(place, pixels_hwc): (usize, &mut [u8])| self.decode_one(pixels_hwc, images, place, target);
        let results: Vec<Result<Seen, DataError>> = room.par_chunks_exact_mut(size).enumerate().map(decode).collect();
        for (place, result) in results.into_iter().enumerate() {
            match result {
                Ok(seen) => {
                    self.losses.add(seen.lost, &images.name(place));
                    if let Some(brightest) = seen.deep {
                        self.depth.add(brightest, &images.name(place));
                        pixels.deep.push(first + place);
                    }
                }
                Err(DataError::Cancelled) => return Err(DataError::Cancelled),
                Err(error) => self.failures.push(error),
            }
        }
        pixels.n_decoded += images.len();
        Ok(())
    }

    /// Decodes all images of a part.
    ///
    /// # Errors
    /// Those of [`room_for`](Self::room_for) and [`decode`](Self::decode).
    pub(super) fn decode_part(&mut self, images: &dyn Encoded) -> Result<Pixels, DataError> {
        let mut pixels = self.room_for(images.len())?;
        self.decode(&mut pixels, images)?;
        Ok(pixels)
    }

    /// Whether grey images of 16 bits are to be decoded again, since the set uses fewer bits: once all parts are decoded.
    pub(super) fn is_scaled(&self) -> bool {
        self.failures.is_empty() && self.depth.white() < FULL
    }

    /// Decodes again those of a part's images from `first` on that are grey of 16 bits, with what is white in the whole set; nothing
    /// where it uses all bits.
    ///
    /// # Errors
    /// If an image cannot be read any more; [`DataError::Cancelled`].
    pub(super) fn scale(&self, pixels: &mut Pixels, images: &dyn Encoded, first: usize) -> Result<(), DataError> {
        if !self.is_scaled() || !pixels.are_deep() {
            return Ok(());
        }
        let size = self.shape.bytes();
        let target = Target { shape: self.shape, white: self.depth.white() };
        let deep = &pixels.deep;
        let again = |(place, pixels_hwc): (usize, &mut [u8])| match deep.binary_search(&(first + place)) {
            Ok(_) => self.decode_one(pixels_hwc, images, place, target).map(drop),
            Err(_) => Ok(()),
        };
        let room = &mut pixels.nhwc[first * size..(first + images.len()) * size];
        room.par_chunks_exact_mut(size).enumerate().try_for_each(again)
    }

    fn decode_one(
        &self,
        pixels_hwc: &mut [u8],
        images: &dyn Encoded,
        place: usize,
        target: Target,
    ) -> Result<Seen, DataError> {
        stop_if(self.cancelled)?;
        decode_into(pixels_hwc, &images.bytes(place)?, target, &images.path(place))
    }

    /// Sentences about what the images of a set lost, and what was white in them.
    ///
    /// # Errors
    /// With all images at once that could not be read, of `n_images` below `root`.
    pub(super) fn finish(mut self, root: &Path, n_images: usize) -> Result<Vec<String>, DataError> {
        match self.failures.len() {
            0 => Ok([self.losses.sentences(), self.depth.sentences()].concat()),
            1 => Err(self.failures.swap_remove(0)),
            _ => Err(DataError::unreadable(root, &self.failures, n_images)),
        }
    }
}
