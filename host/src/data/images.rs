//! JPEG and PNG files to pixels of one shape.

use std::io::Cursor;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

use super::Shape;
use super::aside::is_image_name;
use super::error::{DataError, Place};
use super::jpeg::Structure;

/// Bytes that one image may take when decoded: about 13000 x 13000 pixels in colour.
pub(super) const LARGEST: usize = 512 << 20;
/// Images above this are decoded one at a time, so that memory does not grow with the number of cores.
const LARGE: usize = 64 << 20;
static ONE_LARGE_IMAGE: Mutex<()> = Mutex::new(());
/// Samples of 16 bits that all stay below this use less than an eighth of their range.
const DARK: u16 = 1 << 13;

/// What an image had that its pixels no longer show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// A pixel that is not opaque.
    transparency: bool,
    /// Samples of 16 bits that use a small part of their range, and so come out nearly black.
    brightness: bool,
    /// Inks (CMYK), converted without the profile of a press.
    inks: bool,
    /// Pictures of an animation beside the first.
    animation: bool,
}

/// How many images of a set lost something, and which is the first.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses {
    transparency: Loss,
    brightness: Loss,
    inks: Loss,
    animation: Loss,
}

#[derive(Debug, Clone, Default)]
struct Loss {
    n: usize,
    first: String,
}

impl Losses {
    /// Adds what the image at `path` lost.
    pub(super) fn add(&mut self, lost: Lost, path: &str) {
        let Lost { transparency, brightness, inks, animation } = lost;
        let each = [
            (transparency, &mut self.transparency),
            (brightness, &mut self.brightness),
            (inks, &mut self.inks),
            (animation, &mut self.animation),
        ];
        for (_, loss) in each.into_iter().filter(|(is_lost, _)| *is_lost) {
            if loss.n == 0 {
                path.clone_into(&mut loss.first);
            }
            loss.n += 1;
        }
    }

    /// A sentence for each kind of loss.
    pub(super) fn sentences(&self) -> Vec<String> {
        let told = [
            (
                &self.transparency,
                "with transparent pixels: the colours beneath are used, as Pillow's convert(\"RGB\") does",
            ),
            (
                &self.brightness,
                "of 16 bits that use less than an eighth of their range, and come out nearly black: 65535 is white \
                 whatever the sensor's bits are, so stretch them first",
            ),
            (&self.inks, "in CMYK: the colours are converted without a profile, and are approximate"),
            (&self.animation, "that are animations: the first picture is used"),
        ];
        let some = told.into_iter().filter(|(loss, _)| loss.n > 0);
        some.map(|(Loss { n, first }, what)| {
            let images = if *n == 1 { "image" } else { "images" };
            format!("{n} {images} (the first is `{first}`) {what}")
        })
        .collect()
    }
}

/// Decodes a JPEG or PNG (told apart by content) and writes it into `pixels_hwc` in `shape`.
///
/// The image is turned and mirrored as its EXIF orientation says, as viewers do. Of a file that holds more than one image, or
/// something behind the image, the first image is read.
///
/// Colour becomes grey by luma (Rec. 709; Pillow's weights are those of Rec. 601), grey becomes colour by repetition. Samples
/// of 16 bits become 8 by their full range, 65535 to 255, whatever `sBIT` says: it counts the high-order bits that are
/// significant (PNG specification, 11.3.2.4). Transparency is dropped and the colour beneath kept. CMYK becomes RGB without a
/// profile; ICC profiles and gamma are not applied. What an image lost on this way is returned.
///
/// An image of another size is resized with its aspect kept until it covers `shape`, by the bilinear filter whose support grows
/// with the reduction (that of Pillow and of torchvision with antialiasing), and what protrudes is cropped evenly.
///
/// # Errors
/// If the bytes are not a whole JPEG or PNG, or the image is larger than memory is spent on.
pub(super) fn decode_into(pixels_hwc: &mut [u8], bytes: &[u8], shape: Shape, path: &Path) -> Result<Lost, DataError> {
    let Decoded { width, height, pixels, lost } = decode(bytes, shape.channels, path)?;
    if (width as usize, height as usize) == (shape.width, shape.height) {
        pixels_hwc.copy_from_slice(&pixels);
        return Ok(lost);
    }
    resize(pixels_hwc, shape, width, height, &pixels)
        .map_err(|why| DataError::malformed(path, Place::Whole, format!("cannot resize {width}x{height}: {why}")))?;
    Ok(lost)
}

/// An upright image of 8 bits.
struct Decoded {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
    lost: Lost,
}

fn decode(bytes: &[u8], channels: usize, path: &Path) -> Result<Decoded, DataError> {
    let malformed = |place, why: String| DataError::malformed(path, place, why);
    if bytes.is_empty() {
        return Err(malformed(Place::Whole, "the file is empty".into()));
    }
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => {
            let structure = Structure::of(bytes);
            let cut_short = || malformed(Place::Byte(bytes.len() as u64), "the JPEG is cut short".into());
            let first = structure.whole(bytes).ok_or_else(cut_short)?;
            let lost = Lost { inks: structure.n_components == Some(4), ..Lost::default() };
            upright(&first, ImageFormat::Jpeg, channels, lost, path)
        }
        Ok(ImageFormat::Png) => {
            let lost = Lost { animation: is_animation(bytes), ..Lost::default() };
            upright(bytes, ImageFormat::Png, channels, lost, path)
        }
        _ => Err(match other_content(bytes) {
            Some(what) => malformed(Place::Byte(0), format!("neither a JPEG nor a PNG by its first bytes, but {what}")),
            None => malformed(Place::Byte(0), "neither a JPEG nor a PNG by its first bytes".into()),
        }),
    }
}

/// Decodes, turns and flattens the one image that `bytes` are.
fn upright(bytes: &[u8], format: ImageFormat, channels: usize, lost: Lost, path: &Path) -> Result<Decoded, DataError> {
    let undecodable =
        |error: ImageError| DataError::malformed(path, Place::Whole, format!("undecodable {format:?} ({error})"));
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(undecodable)?;
    let ((width, height), size) = (decoder.dimensions(), decoder.total_bytes());
    if size > LARGEST as u64 {
        let why = format!(
            "{width} x {height} pixels take {} MiB in memory, and one image may take {}: make it smaller, or cut it into \
             tiles",
            size >> 20,
            LARGEST >> 20
        );
        return Err(DataError::malformed(path, Place::Whole, why));
    }
    let _alone = (size > LARGE as u64).then(|| ONE_LARGE_IMAGE.lock().unwrap_or_else(PoisonError::into_inner));
    // A damaged EXIF segment is no damaged image.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    let lost = Lost { transparency: has_transparency(&image), brightness: is_dark(&image), ..lost };
    image.apply_orientation(orientation);
    let (width, height) = (image.width(), image.height());
    let pixels = if channels == 1 { image.into_luma8().into_raw() } else { image.into_rgb8().into_raw() };
    Ok(Decoded { width, height, pixels, lost })
}

/// Whether a pixel is not opaque.
fn has_transparency(image: &DynamicImage) -> bool {
    match image {
        DynamicImage::ImageLumaA8(image) => image.pixels().any(|pixel| pixel.0[1] != u8::MAX),
        DynamicImage::ImageRgba8(image) => image.pixels().any(|pixel| pixel.0[3] != u8::MAX),
        DynamicImage::ImageLumaA16(image) => image.pixels().any(|pixel| pixel.0[1] != u16::MAX),
        DynamicImage::ImageRgba16(image) => image.pixels().any(|pixel| pixel.0[3] != u16::MAX),
        _ => false,
    }
}

/// Whether samples of 16 bits use less than an eighth of their range. An image that is black all over is no such image.
fn is_dark(image: &DynamicImage) -> bool {
    let brightest = match image {
        DynamicImage::ImageLuma16(image) => image.pixels().map(|pixel| pixel.0[0]).max(),
        DynamicImage::ImageLumaA16(image) => image.pixels().map(|pixel| pixel.0[0]).max(),
        DynamicImage::ImageRgb16(image) => image.pixels().flat_map(|pixel| pixel.0).max(),
        DynamicImage::ImageRgba16(image) => image.pixels().flat_map(|pixel| [pixel.0[0], pixel.0[1], pixel.0[2]]).max(),
        _ => None,
    };
    brightest.is_some_and(|brightest| (1..DARK).contains(&brightest))
}

/// Whether a PNG has an `acTL` chunk before its pixels. A chunk is a length of four bytes, a name of four, the content, and a
/// checksum of four.
fn is_animation(png: &[u8]) -> bool {
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

/// What a file is that is neither a JPEG nor a PNG, as far as its first bytes say.
fn other_content(bytes: &[u8]) -> Option<&'static str> {
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
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Gif => Some("GIF"),
        ImageFormat::Tiff => Some("TIFF"),
        ImageFormat::Bmp => Some("BMP"),
        ImageFormat::Ico => Some("an icon"),
        ImageFormat::Pnm => Some("PNM"),
        _ => None,
    }
}

fn resize(
    pixels_hwc: &mut [u8],
    shape: Shape,
    width: u32,
    height: u32,
    decoded: &[u8],
) -> Result<(), Box<dyn std::error::Error>> {
    let pixel_type = if shape.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let source = ImageRef::new(width, height, decoded, pixel_type)?;
    let mut target = Image::from_slice_u8(shape.width as u32, shape.height as u32, pixels_hwc, pixel_type)?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .fit_into_destination(Some((0.5, 0.5)));
    Resizer::new().resize(&source, &mut target, &options)?;
    Ok(())
}

/// Whether a file holds nothing but the path of an image, as git and some copies write links where there are none.
fn is_text_of_a_link(bytes: &[u8]) -> bool {
    const LONGEST_PATH: usize = 4096;
    let path = (bytes.len() <= LONGEST_PATH).then(|| std::str::from_utf8(bytes).ok()).flatten();
    path.is_some_and(|path| path.contains('/') && !path.contains(['\n', '\0']) && is_image_name(path))
}

#[cfg(test)]
pub(super) mod tests {
    use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};

    use super::*;

    pub(crate) fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decoded(bytes: &[u8], shape: [usize; 3]) -> Result<Vec<u8>, DataError> {
        let shape = Shape::from(shape);
        let mut pixels = vec![0; shape.bytes()];
        decode_into(&mut pixels, bytes, shape, Path::new("x.png")).map(|_| pixels)
    }

    #[test]
    fn grey_and_colour_become_what_the_shape_asks() {
        let grey = encoded(&GrayImage::from_pixel(2, 1, Luma([7])).into(), ImageFormat::Png);
        let red = encoded(&RgbImage::from_pixel(2, 1, Rgb([255, 0, 0])).into(), ImageFormat::Png);
        assert_eq!(decoded(&grey, [1, 2, 1]).unwrap(), [7; 2]);
        assert_eq!(decoded(&grey, [1, 2, 3]).unwrap(), [7; 6]);
        assert_eq!(decoded(&red, [1, 2, 3]).unwrap(), [255, 0, 0, 255, 0, 0]);
        // Rec. 709 luma of pure red: 0.2126 * 255.
        assert_eq!(decoded(&red, [1, 2, 1]).unwrap(), [54; 2]);
    }

    #[test]
    fn the_middle_of_a_wide_image_is_kept() {
        // Three squares side by side: 10, 200, 30. The crop to a square shows the one in the middle.
        let strip = GrayImage::from_fn(24, 8, |x, _| Luma([[10, 200, 30][x as usize / 8]]));
        let png = encoded(&strip.into(), ImageFormat::Png);
        assert_eq!(decoded(&png, [8, 8, 1]).unwrap(), [200; 64]);
        // Enlarged, the filter mixes the neighbours into the outermost columns.
        let enlarged = decoded(&png, [16, 16, 1]).unwrap();
        assert!(enlarged.chunks_exact(16).all(|row| row[1..15] == [200; 14] && row[0] > 100));
    }

    #[test]
    fn reduction_averages() {
        // A checkerboard of 0 and 100, reduced eightfold, is an even 50; 1 for rounding.
        let board = GrayImage::from_fn(64, 64, |x, y| Luma([((x + y) % 2 * 100) as u8]));
        let small = decoded(&encoded(&board.into(), ImageFormat::Png), [8, 8, 1]).unwrap();
        assert!(small.iter().all(|&p| p.abs_diff(50) <= 1), "{small:?}");
    }

    #[test]
    fn cut_files_and_other_formats_are_refused() {
        let image: DynamicImage = RgbImage::from_fn(32, 32, |x, y| Rgb([(x * 8) as u8, (y * 8) as u8, 9])).into();
        let (jpeg, png) = (encoded(&image, ImageFormat::Jpeg), encoded(&image, ImageFormat::Png));
        assert!(decoded(&jpeg, [32, 32, 3]).is_ok());
        let mut with_trailer = jpeg.clone();
        with_trailer.extend(b"made by a camera");
        assert!(decoded(&with_trailer, [32, 32, 3]).is_ok());
        assert!(decoded(&jpeg[..jpeg.len() - 2], [32, 32, 3]).is_ok());
        let rows: [(&[u8], &str); 11] = [
            (b"../elsewhere/z.jpg", "but the path of another image"),
            (&jpeg[..jpeg.len() / 2], "the JPEG is cut short"),
            (&jpeg[..jpeg.len() - 9], "the JPEG is cut short"),
            (&png[..png.len() / 2], "undecodable Png"),
            (b"GIF89a......", "neither a JPEG nor a PNG by its first bytes, but GIF"),
            (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "but WebP"),
            (b"\x00\x00\x00\x18ftypheic....", "but HEIC"),
            (b"\n<!DOCTYPE html>", "but a web page"),
            (b"text", "neither a JPEG nor a PNG"),
            (&[0; 500], "never written"),
            (b"", "the file is empty"),
        ];
        for (bytes, expected) in rows {
            let message = decoded(bytes, [32, 32, 3]).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("x.png"), "{message}");
        }
    }

    /// A JPEG with an EXIF segment that says how it is to be turned; big-endian for odd numbers.
    fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let (order, entry): (&[u8], Vec<u8>) = match orientation % 2 {
            1 => (b"MM\x00*\x00\x00\x00\x08\x00\x01", vec![1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]),
            _ => (b"II*\x00\x08\x00\x00\x00\x01\x00", vec![0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]),
        };
        let content = [b"Exif\x00\x00", order, &entry, &[0; 4]].concat();
        let length = (content.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], b"\xff\xe1", &length, &content, &jpeg[2..]].concat()
    }

    /// Corners of what is stored, and where EXIF says they belong: row 0 is the visual side named first, column 0 the second.
    #[test]
    fn images_are_turned_as_exif_says() {
        let stored = GrayImage::from_fn(32, 16, |x, y| Luma([[[10, 80], [160, 240]][y as usize / 8][x as usize / 16]]));
        let jpeg = encoded(&stored.into(), ImageFormat::Jpeg);
        // Top left, top right, bottom left, bottom right of what is to be seen (EXIF 2.32, tag 274).
        let rows = [
            (1, [10, 80, 160, 240]),
            (2, [80, 10, 240, 160]),
            (3, [240, 160, 80, 10]),
            (4, [160, 240, 10, 80]),
            (5, [10, 160, 80, 240]),
            (6, [160, 10, 240, 80]),
            (7, [240, 80, 160, 10]),
            (8, [80, 240, 10, 160]),
            // No orientation at all.
            (9, [10, 80, 160, 240]),
        ];
        for (orientation, corners) in rows {
            let [height, width] = if (5..=8).contains(&orientation) { [32, 16] } else { [16, 32] };
            let seen = decoded(&turned(&jpeg, orientation), [height, width, 1]).unwrap();
            for (i, expected) in corners.into_iter().enumerate() {
                let (y, x) = (height / 4 + i / 2 * height / 2, width / 4 + i % 2 * width / 2);
                // 3 for the losses of JPEG.
                assert!(seen[y * width + x].abs_diff(expected) <= 3, "orientation {orientation}, corner {i}: {seen:?}");
            }
        }
    }

    fn lost(image: &DynamicImage) -> (Lost, Vec<u8>) {
        let mut pixels = vec![0; 3];
        let png = encoded(image, ImageFormat::Png);
        let shape = Shape::from([1, 1, 3]);
        (decode_into(&mut pixels, &png, shape, Path::new("x.png")).unwrap(), pixels)
    }

    #[test]
    fn what_is_lost_is_told() {
        let nothing = Lost::default();
        let grey_16 = |value: u16| image::ImageBuffer::from_pixel(1, 1, Luma([value])).into();
        let rgba = |alpha: u8| image::RgbaImage::from_pixel(1, 1, image::Rgba([7, 8, 9, alpha])).into();
        let rows: [(DynamicImage, Lost, [u8; 3]); 6] = [
            (grey_16(65535), nothing, [255; 3]),
            (grey_16(0x8080), nothing, [0x80; 3]),
            (grey_16(4095), Lost { brightness: true, ..nothing }, [16; 3]),
            (grey_16(0), nothing, [0; 3]),
            (rgba(255), nothing, [7, 8, 9]),
            (rgba(3), Lost { transparency: true, ..nothing }, [7, 8, 9]),
        ];
        let mut losses = Losses::default();
        for (i, (image, expected, pixels)) in rows.iter().enumerate() {
            assert_eq!(lost(image), (*expected, pixels.to_vec()), "row {i}");
            losses.add(*expected, &format!("{i}.png"));
        }
        let sentences = losses.sentences();
        assert!(sentences[0].starts_with("1 image (the first is `5.png`) with transparent pixels"), "{sentences:?}");
        assert!(sentences[1].starts_with("1 image (the first is `2.png`) of 16 bits"), "{sentences:?}");
        assert_eq!(sentences.len(), 2);
    }

    #[test]
    fn an_image_that_is_too_large_says_how_large_it_is() {
        let mut png = encoded(&GrayImage::from_pixel(1, 1, Luma([7])).into(), ImageFormat::Png);
        // Width and height in the header, and its checksum.
        png[16..20].copy_from_slice(&24000u32.to_be_bytes());
        png[20..24].copy_from_slice(&23000u32.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&png[12..29]);
        png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let message = decoded(&png, [8, 8, 3]).unwrap_err().to_string();
        assert!(
            message.contains("24000 x 23000 pixels take 526 MiB in memory, and one image may take 512"),
            "{message}"
        );
    }

    #[test]
    fn an_animation_is_seen_before_its_pixels() {
        let png = encoded(&GrayImage::from_pixel(1, 1, Luma([7])).into(), ImageFormat::Png);
        assert!(!is_animation(&png));
        // Behind the signature and the header: 8 and 25 bytes.
        let chunk = [&8u32.to_be_bytes()[..], b"acTL", &[0; 8], &[0; 4]].concat();
        assert!(is_animation(&[&png[..33], &chunk, &png[33..]].concat()));
        assert!(!is_animation(b"") && !is_animation(&png[..20]));
    }
}
