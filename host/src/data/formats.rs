//! Kinds of image files, told by content: those that are read, what else a file may be, and whether it holds more than one picture.

use std::io::Cursor;

use image::ImageFormat;
use image::codecs::webp::WebPDecoder;

use super::aside::is_image_name;

/// What is read, for messages.
pub(super) const READ: &str = "JPEG, PNG, WebP, BMP, TIFF or GIF";

/// The format of a file that is read.
pub(super) fn format_of(bytes: &[u8]) -> Option<ImageFormat> {
    let format = image::guess_format(bytes).ok()?;
    let is_read = matches!(
        format,
        ImageFormat::Jpeg
            | ImageFormat::Png
            | ImageFormat::WebP
            | ImageFormat::Bmp
            | ImageFormat::Tiff
            | ImageFormat::Gif
    );
    is_read.then_some(format)
}

/// Whether a file holds pictures behind the first: an animation, or a document of many pages. For a JPEG, see
/// [`Structure`](super::jpeg::Structure).
pub(super) fn has_more_pictures(bytes: &[u8], format: ImageFormat) -> bool {
    match format {
        ImageFormat::Png => is_animated_png(bytes),
        ImageFormat::WebP => WebPDecoder::new(Cursor::new(bytes)).is_ok_and(|decoder| decoder.has_animation()),
        ImageFormat::Gif => has_two_frames(bytes),
        ImageFormat::Tiff => tiff::decoder::Decoder::new(Cursor::new(bytes)).is_ok_and(|decoder| decoder.more_images()),
        _ => false,
    }
}

/// Whether a PNG has an `acTL` chunk before its pixels. A chunk is a length of four bytes, a name of four, the content, and a
/// checksum of four.
fn is_animated_png(png: &[u8]) -> bool {
    let mut at = 8;
    while let Some(&[a, b, c, d, ref name @ ..]) = png.get(at..at + 8) {
        match name {
            b"acTL" => return true,
            b"IDAT" => return false,
            _ => at += 12 + u32::from_be_bytes([a, b, c, d]) as usize,
        }
    }
    false
}

/// Whether a GIF has a second frame; no pixels are decoded.
fn has_two_frames(gif: &[u8]) -> bool {
    let mut options = gif::DecodeOptions::new();
    options.skip_frame_decoding(true);
    let Ok(mut decoder) = options.read_info(Cursor::new(gif)) else { return false };
    let mut has_frame = || matches!(decoder.next_frame_info(), Ok(Some(_)));
    has_frame() && has_frame()
}

/// What a file is that is no image of a kind that is read, as far as its first bytes say.
pub(super) fn other_content(bytes: &[u8]) -> Option<&'static str> {
    const PAGES: [&[u8]; 3] = [b"<!doctype", b"<html", b"<?xml"];
    const OTHERS: [(&[u8], &str); 8] = [
        (b"%PDF", "a PDF"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b", "gzipped data"),
        (b"version https://git-lfs", "a pointer of git-lfs: `git lfs pull` brings the file"),
        (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
        (b"8BPS", "a Photoshop file"),
    ];
    if bytes.len() >= 16 && bytes.iter().all(|byte| *byte == 0) {
        return Some("zeros alone: its content was never written");
    }
    let start = bytes[..bytes.len().min(512)].trim_ascii_start().to_ascii_lowercase();
    if PAGES.iter().any(|page| start.starts_with(page)) {
        return Some("a web page or XML");
    }
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(what);
    }
    if is_text_of_a_link(bytes) {
        return Some("the path of another image: a link that was copied as text");
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return Some(match &bytes[8..bytes.len().min(12)] {
            b"avif" | b"avis" => "AVIF",
            b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" | b"mif1" | b"msf1" => "HEIC",
            _ => "a video",
        });
    }
    match image::guess_format(bytes).ok()? {
        ImageFormat::Ico => Some("an icon"),
        ImageFormat::Pnm => Some("PNM"),
        _ => None,
    }
}

/// Whether a file holds nothing but the path of an image, as git and some copies write links where there are none.
fn is_text_of_a_link(bytes: &[u8]) -> bool {
    const LONGEST_PATH: usize = 4096;
    let path = (bytes.len() <= LONGEST_PATH).then(|| std::str::from_utf8(bytes).ok()).flatten();
    path.is_some_and(|path| path.contains('/') && !path.contains(['\n', '\0']) && is_image_name(path))
}

#[cfg(test)]
mod tests {
    use image::codecs::gif::GifEncoder;
    use image::{Delay, Frame, GrayImage, Luma, RgbaImage};

    use super::super::images::tests::encoded;
    use super::*;

    #[test]
    fn an_animation_is_seen_before_its_pixels() {
        let png = encoded(&GrayImage::from_pixel(1, 1, Luma([7])).into(), ImageFormat::Png);
        assert!(!is_animated_png(&png));
        // Behind the signature and the header: 8 and 25 bytes.
        let chunk = [&8u32.to_be_bytes()[..], b"acTL", &[0; 8], &[0; 4]].concat();
        assert!(is_animated_png(&[&png[..33], &chunk, &png[33..]].concat()));
        assert!(!is_animated_png(b"") && !is_animated_png(&png[..20]));
    }

    #[test]
    fn frames_and_pages_are_counted_up_to_two() {
        let gif = |n: u32| {
            let mut bytes = Vec::new();
            let frame = |_| Frame::from_parts(RgbaImage::new(2, 2), 0, 0, Delay::from_numer_denom_ms(10, 1));
            GifEncoder::new(&mut bytes).encode_frames((0..n).map(frame)).unwrap();
            bytes
        };
        let more = |bytes: &[u8], format| has_more_pictures(bytes, format);
        assert!(!more(&gif(1), ImageFormat::Gif) && more(&gif(3), ImageFormat::Gif));
        let tiff = encoded(&GrayImage::new(2, 2).into(), ImageFormat::Tiff);
        assert!(!more(&tiff, ImageFormat::Tiff));
        for format in [ImageFormat::Gif, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Png, ImageFormat::Bmp] {
            assert!(!more(b"", format) && !more(&gif(1)[..9], format) && !more(&tiff[..7], format));
        }
    }
}
