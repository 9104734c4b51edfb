//! The structure of a JPEG file: where its first image ends, and whether it is whole.
//!
//! Phones put more than one thing into a file: a video behind a photograph, a second photograph, a map of depth. The end of
//! the image is therefore sought from its beginning, segment by segment (ITU-T T.81, annex B), never from the end of the file.

use std::borrow::Cow;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Ones as a scan spells them. A run of ones is no code of a Huffman table (T.81, C.2), so that a decoder that needs bits which
/// the file does not have fails here.
const ONES: [u8; 2] = [0xff, 0x00];
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];
/// So many zeros at the end were never written: the file was made in its full size before its content came.
const NEVER_WRITTEN: usize = 16;

/// What the segments of a file say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Structure {
    /// Where the first image ends, its end marker included; `None` if there is no end marker.
    end: Option<usize>,
    /// Where what belongs to the first image ends at the latest.
    limit: usize,
    /// Whether a scan has begun.
    has_scan: bool,
    /// How many colour components the image has.
    pub n_components: Option<u8>,
}

impl Structure {
    /// Walks the segments of a JPEG.
    pub(super) fn of(bytes: &[u8]) -> Structure {
        let mut structure = Structure { end: None, limit: bytes.len(), has_scan: false, n_components: None };
        // Behind the marker that begins the image.
        let mut at = 2;
        while let Some((marker, next)) = next_marker(bytes, at) {
            at = next;
            match marker {
                0xd9 => {
                    structure.end = Some(at);
                    break;
                }
                // Another image begins before this one has ended.
                0xd8 => {
                    structure.limit = at - 2;
                    break;
                }
                // Restarts within a scan, and markers that stand alone or for nothing.
                0xd0..=0xd7 | 0x01..=0xbf => {}
                _ => {
                    structure.has_scan |= marker == 0xda;
                    // Frames; the other three of the range hold tables.
                    if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
                        structure.n_components = structure.n_components.or(bytes.get(at + 7).copied());
                    }
                    at += length(bytes, at);
                }
            }
        }
        structure
    }

    /// The bytes of the first image alone, or `None` if the file is cut within it.
    ///
    /// A file whose scan is complete and whose end marker alone is missing is whole: some cameras write such files, and
    /// every viewer shows them. The marker is added.
    pub(super) fn whole<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if let Some(end) = self.end {
            return Some(Cow::Borrowed(&bytes[..end]));
        }
        if !self.has_scan {
            return None;
        }
        let scan = without_unwritten(&bytes[..self.limit.min(bytes.len())]);
        let closed = [scan, &ONES.repeat(64), &END_OF_IMAGE].concat();
        decodes_strictly(&closed).then_some(Cow::Owned(closed))
    }
}

/// The next marker at or behind `at`, and the place behind it. Bytes of a scan are stepped over: 0xff is escaped there.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0xff)?;
        at += bytes[at..].iter().position(|byte| *byte != 0xff)?;
        match bytes[at] {
            0 => at += 1,
            marker => return Some((marker, at + 1)),
        }
    }
}

/// The length of the segment whose length field is at `at`.
fn length(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at..at + 2) {
        Some(length) => usize::from(length[0]) << 8 | usize::from(length[1]),
        None => bytes.len() - at,
    }
}

fn without_unwritten(bytes: &[u8]) -> &[u8] {
    let n_zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    if n_zeros >= NEVER_WRITTEN { &bytes[..bytes.len() - n_zeros] } else { bytes }
}

/// Whether the decoder reads every block of an image without a complaint.
fn decodes_strictly(bytes: &[u8]) -> bool {
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let is_small_enough = decoder.decode_headers().is_ok()
        && decoder.dimensions().is_some_and(|(width, height)| width * height * 3 <= super::images::LARGEST);
    is_small_enough && decoder.decode().is_ok()
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

    use super::super::images::tests::encoded;
    use super::*;

    /// Grey stripes and noise: blocks of many lengths.
    fn picture(side: u32) -> DynamicImage {
        let pixel = |x: u32, y: u32| Rgb([(x * 7 + y * y) as u8, (x * y * 31 % 251) as u8, 90]);
        RgbImage::from_fn(side, side, pixel).into()
    }

    fn whole(bytes: &[u8]) -> Option<Vec<u8>> {
        Structure::of(bytes).whole(bytes).map(Cow::into_owned)
    }

    #[test]
    fn the_end_is_found_from_the_beginning() {
        let jpeg = encoded(&picture(40), ImageFormat::Jpeg);
        assert_eq!(Structure::of(&jpeg).n_components, Some(3));
        let trailers: [&[u8]; 6] =
            [b"", b"ftypmp42", b"\xff\xd9", b"video\xff\xda", b"\xff\xda\x00\x08\xff\xff", &jpeg];
        for trailer in trailers {
            assert_eq!(whole(&[&jpeg, trailer].concat()).as_deref(), Some(&jpeg[..]), "{trailer:?}");
        }
        // A thumbnail within a segment has an end marker of its own.
        let segment = [b"\xff\xe1", &(jpeg.len() as u16 + 2).to_be_bytes()[..], &jpeg].concat();
        let with_thumbnail = [&jpeg[..2], &segment, &jpeg[2..]].concat();
        assert_eq!(whole(&with_thumbnail), Some(with_thumbnail));
    }

    /// Every cut of a file: what lacks the end marker alone is whole, what lacks a piece of the scan is not.
    #[test]
    fn a_missing_end_marker_is_no_missing_scan() {
        for (side, quality) in [(8, 90), (40, 30), (64, 95)] {
            let mut jpeg = Vec::new();
            JpegEncoder::new_with_quality(&mut jpeg, quality).encode_image(&picture(side)).unwrap();
            let n = jpeg.len();
            let pixels = |bytes: &[u8]| image::load_from_memory(bytes).unwrap().into_rgb8().into_raw();
            for cut in [2, 1] {
                let closed = whole(&jpeg[..n - cut]).expect("a whole scan");
                assert_eq!(pixels(&closed), pixels(&jpeg), "{side} pixels, {cut} bytes off");
            }
            // The last byte of a scan may hold nothing but ones that fill it up.
            let accepted: Vec<usize> = (2..n - 3).filter(|cut| whole(&jpeg[..*cut]).is_some()).collect();
            assert_eq!(accepted, [0; 0], "of {n} bytes");
            // Within the scan, which is longer than that.
            let cut = &jpeg[..n - 30];
            assert_eq!(whole(&[cut, &[0; 3000]].concat()), None);
            let cut_before_another = [cut, &jpeg[..]].concat();
            assert_eq!(whole(&cut_before_another), None);
        }
    }

    #[test]
    fn no_bytes_are_too_strange() {
        let jpeg = encoded(&picture(24), ImageFormat::Jpeg);
        for at in 0..jpeg.len() {
            for value in [0x00, 0xff, 0xd8, 0xda, 0xc4] {
                let mut bytes = jpeg.clone();
                bytes[at] = value;
                bytes.truncate(jpeg.len() - at % 3);
                whole(&bytes);
            }
        }
        for bytes in [&b""[..], b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe0\x00"] {
            assert_eq!(whole(bytes), None);
        }
    }
}
