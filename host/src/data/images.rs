//! Image files to pixels of one shape.

use std::io::Cursor;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, ExtendedColorType, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader,
};

use super::Shape;
use super::caught::caught;
use super::depth::scaled;
use super::error::{DataError, Place};
use super::formats::{READ, format_of, has_more_pictures, other_content};
use super::jpeg::Structure;
use super::losses::Lost;

/// Bytes that one image may take when decoded: about 13000 x 13000 pixels in colour.
pub(super) const LARGEST: usize = 512 << 20;
/// Images above this are decoded one at a time, so that memory does not grow with the number of cores.
const LARGE: usize = 64 << 20;
static ONE_LARGE_IMAGE: Mutex<()> = Mutex::new(());
/// Colours of 16 bits whose samples all stay below this use less than an eighth of their range.
const DARK: u16 = 1 << 13;

/// What images are made into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// The shape of the pixels.
    pub shape: Shape,
    /// The sample that is white in grey of 16 bits, see [`depth`].
    pub white: u16,
}

/// What is known of an image that was decoded, beside its pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub lost: Lost,
    /// The brightest sample, where the image is grey of 16 bits.
    pub deep: Option<u16>,
}

/// Decodes an image (its format is told by content) and writes it into `pixels_hwc` in the target's shape.
///
/// The image is turned and mirrored as its EXIF orientation says, as viewers do. Of a file that holds more than one picture, or
/// something behind the image, the first picture is read.
///
/// Colour becomes grey by luma (Rec. 709; Pillow's weights are those of Rec. 601), grey becomes colour by repetition. Colours of
/// 16 bits become 8 by their full range, 65535 to 255, and grey of 16 bits by the target's white, whatever `sBIT` says: it counts
/// the high-order bits that are significant (PNG specification, 11.3.2.4). Transparency is dropped and the colour beneath kept.
/// CMYK becomes RGB without a profile; ICC profiles and gamma are not applied. What an image lost on this way is returned.
///
/// An image of another size is resized with its aspect kept until it covers the shape, by the bilinear filter whose support grows
/// with the reduction (that of Pillow and of torchvision with antialiasing), and what protrudes is cropped evenly.
///
/// # Errors
/// If the bytes are not a whole image of a known format, or the image is larger than memory is spent on.
pub(super) fn decode_into(pixels_hwc: &mut [u8], bytes: &[u8], target: Target, path: &Path) -> Result<Seen, DataError> {
    let decoded = caught(|| decode(bytes, target, path));
    let Decoded { width, height, pixels, seen } = decoded.unwrap_or_else(|panic| {
        Err(DataError::malformed(path, Place::Whole, format!("undecodable: the decoder gave up ({panic})")))
    })?;
    let shape = target.shape;
    if (width as usize, height as usize) == (shape.width, shape.height) {
        pixels_hwc.copy_from_slice(&pixels);
        return Ok(seen);
    }
    resize(pixels_hwc, shape, width, height, &pixels)
        .map_err(|why| DataError::malformed(path, Place::Whole, format!("cannot resize {width}x{height}: {why}")))?;
    Ok(seen)
}

/// An upright image of 8 bits.
struct Decoded {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
    seen: Seen,
}

fn decode(bytes: &[u8], target: Target, path: &Path) -> Result<Decoded, DataError> {
    let malformed = |place, why: String| DataError::malformed(path, place, why);
    if bytes.is_empty() {
        return Err(malformed(Place::Whole, "the file is empty".into()));
    }
    match format_of(bytes) {
        Some(ImageFormat::Jpeg) => {
            let structure = Structure::of(bytes);
            let cut_short = || malformed(Place::Byte(bytes.len() as u64), "the JPEG is cut short".into());
            let first = structure.whole(bytes).ok_or_else(cut_short)?;
            let lost = Lost { inks: structure.n_components == Some(4), ..Lost::default() };
            upright(&first, ImageFormat::Jpeg, target, lost, path)
        }
        Some(format) => {
            let lost = Lost { pictures: has_more_pictures(bytes, format), ..Lost::default() };
            upright(bytes, format, target, lost, path)
        }
        None => {
            let what = other_content(bytes).map(|what| format!(", but {what}")).unwrap_or_default();
            Err(malformed(Place::Byte(0), format!("not {READ} by its first bytes{what}")))
        }
    }
}

/// Decodes, turns and flattens the first picture of a file.
fn upright(bytes: &[u8], format: ImageFormat, target: Target, lost: Lost, path: &Path) -> Result<Decoded, DataError> {
    let undecodable = |error: ImageError| undecodable(error, format, path);
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(undecodable)?;
    check_size(&decoder, path)?;
    let is_large = decoder.total_bytes() > LARGE as u64;
    let _alone = is_large.then(|| ONE_LARGE_IMAGE.lock().unwrap_or_else(PoisonError::into_inner));
    // A damaged EXIF segment is no damaged image.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let is_of_inks = matches!(decoder.original_color_type(), ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16);
    let mut image = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    let lost = Lost {
        transparency: has_transparency(&image),
        brightness: is_dark(&image),
        inks: lost.inks || is_of_inks,
        pictures: lost.pictures,
    };
    let deep = brightest_grey(&image);
    if deep.is_some() {
        image = GrayImage::from_raw(image.width(), image.height(), scaled(image.into_luma16().as_raw(), target.white))
            .expect("as many samples as before")
            .into();
    }
    image.apply_orientation(orientation);
    let (width, height) = (image.width(), image.height());
    let pixels = if target.shape.channels == 1 { image.into_luma8().into_raw() } else { image.into_rgb8().into_raw() };
    Ok(Decoded { width, height, pixels, seen: Seen { lost, deep } })
}

fn undecodable(error: ImageError, format: ImageFormat, path: &Path) -> DataError {
    let is_unsupported = matches!(error, ImageError::Unsupported(_));
    let error = DataError::malformed(path, Place::Whole, format!("undecodable {format:?} ({error})"));
    match is_unsupported {
        true => error.with_hint("this form of the format is not read: save the image as PNG"),
        false => error,
    }
}

/// Errs if an image takes more memory than is spent on one, or its samples are no whole numbers.
fn check_size(decoder: &impl ImageDecoder, path: &Path) -> Result<(), DataError> {
    let ((width, height), size) = (decoder.dimensions(), decoder.total_bytes());
    if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        let error = DataError::malformed(path, Place::Whole, "the samples are floating-point numbers");
        return Err(error.with_hint("no file says which of them is white: save the image with 8 or 16 bits"));
    }
    if size > LARGEST as u64 {
        let why = format!(
            "{width} x {height} pixels take {} MiB in memory, and one image may take {}: make it smaller, or cut it into \
             tiles",
            size >> 20,
            LARGEST >> 20
        );
        return Err(DataError::malformed(path, Place::Whole, why));
    }
    Ok(())
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

/// Whether colours of 16 bits use less than an eighth of their range. An image that is black all over is no such image.
fn is_dark(image: &DynamicImage) -> bool {
    let brightest = match image {
        DynamicImage::ImageRgb16(image) => image.pixels().flat_map(|pixel| pixel.0).max(),
        DynamicImage::ImageRgba16(image) => image.pixels().flat_map(|pixel| [pixel.0[0], pixel.0[1], pixel.0[2]]).max(),
        _ => None,
    };
    brightest.is_some_and(|brightest| (1..DARK).contains(&brightest))
}

/// The brightest sample of an image that is grey of 16 bits.
fn brightest_grey(image: &DynamicImage) -> Option<u16> {
    match image {
        DynamicImage::ImageLuma16(image) => image.pixels().map(|pixel| pixel.0[0]).max(),
        DynamicImage::ImageLumaA16(image) => image.pixels().map(|pixel| pixel.0[0]).max(),
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

#[cfg(test)]
pub(super) mod tests {
    use image::{Luma, Rgb, RgbImage};

    use super::super::depth::FULL;
    use super::super::losses::Losses;
    use super::*;

    pub(crate) fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decoded(bytes: &[u8], shape: [usize; 3]) -> Result<Vec<u8>, DataError> {
        let shape = Shape::from(shape);
        let mut pixels = vec![0; shape.bytes()];
        decode_into(&mut pixels, bytes, Target { shape, white: FULL }, Path::new("x.png")).map(|_| pixels)
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
        let rows: [(&[u8], &str); 12] = [
            (b"../elsewhere/z.jpg", "but the path of another image"),
            (&jpeg[..jpeg.len() / 2], "the JPEG is cut short"),
            (&jpeg[..jpeg.len() - 9], "the JPEG is cut short"),
            (&png[..png.len() / 2], "undecodable Png"),
            (b"GIF89a......", "undecodable Gif"),
            (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "undecodable WebP"),
            (b"\x00\x00\x01\x00\x01\x00", "but an icon"),
            (b"\x00\x00\x00\x18ftypheic....", "but HEIC"),
            (b"\n<!DOCTYPE html>", "but a web page"),
            (b"text", "not JPEG, PNG, WebP, BMP, TIFF or GIF by its first bytes"),
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

    fn seen(image: &DynamicImage, format: ImageFormat, white: u16) -> (Seen, Vec<u8>) {
        let mut pixels = vec![0; 3];
        let (bytes, shape) = (encoded(image, format), Shape::from([1, 1, 3]));
        (decode_into(&mut pixels, &bytes, Target { shape, white }, Path::new("x.png")).unwrap(), pixels)
    }

    #[test]
    fn what_is_lost_is_told() {
        let nothing = Lost::default();
        let grey_16 = |value: u16| image::ImageBuffer::from_pixel(1, 1, Luma([value])).into();
        let colour_16 = |value: u16| image::ImageBuffer::from_pixel(1, 1, Rgb([value; 3])).into();
        let rgba = |alpha: u8| image::RgbaImage::from_pixel(1, 1, image::Rgba([7, 8, 9, alpha])).into();
        let dark = Lost { brightness: true, ..nothing };
        let transparent = Lost { transparency: true, ..nothing };
        let rows: [(DynamicImage, Lost, Option<u16>, [u8; 3]); 8] = [
            (grey_16(65535), nothing, Some(65535), [255; 3]),
            (grey_16(0x8080), nothing, Some(0x8080), [0x80; 3]),
            (grey_16(4095), nothing, Some(4095), [16; 3]),
            (grey_16(0), nothing, Some(0), [0; 3]),
            (colour_16(65535), nothing, None, [255; 3]),
            (colour_16(4095), dark, None, [16; 3]),
            (rgba(255), nothing, None, [7, 8, 9]),
            (rgba(3), transparent, None, [7, 8, 9]),
        ];
        let mut losses = Losses::default();
        for (i, (image, lost, deep, pixels)) in rows.iter().enumerate() {
            let expected = Seen { lost: *lost, deep: *deep };
            assert_eq!(seen(image, ImageFormat::Png, FULL), (expected, pixels.to_vec()), "row {i}");
            losses.add(*lost, &format!("{i}.png"));
        }
        let sentences = losses.sentences();
        assert!(sentences[0].starts_with("1 image (the first is `7.png`) with transparent pixels"), "{sentences:?}");
        assert!(sentences[1].starts_with("1 image (the first is `5.png`) in colours of 16 bits"), "{sentences:?}");
        assert_eq!(sentences.len(), 2);
    }

    #[test]
    fn white_is_what_the_set_says() {
        let grey_16 = |value: u16| -> DynamicImage { image::ImageBuffer::from_pixel(1, 1, Luma([value])).into() };
        for format in [ImageFormat::Png, ImageFormat::Tiff] {
            for (value, white, byte) in [(4095, 4095, 255), (2048, 4095, 128), (200, 255, 200), (4095, 16383, 64)] {
                assert_eq!(seen(&grey_16(value), format, white).1, [byte; 3], "{value} of {white}");
            }
        }
        let grey_8 = GrayImage::from_pixel(1, 1, Luma([100])).into();
        assert_eq!(seen(&grey_8, ImageFormat::Png, 4095), (Seen::default(), vec![100; 3]));
    }

    #[test]
    fn formats_without_loss_are_one_image() {
        let image: DynamicImage = RgbImage::from_fn(4, 4, |x, y| Rgb([(x * 60) as u8, (y * 60) as u8, 9])).into();
        let expected = image.to_rgb8().into_raw();
        for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff] {
            assert_eq!(decoded(&encoded(&image, format), [4, 4, 3]).unwrap(), expected, "{format:?}");
        }
        // A GIF has 256 colours, which are enough for 16 pixels.
        assert_eq!(decoded(&encoded(&image, ImageFormat::Gif), [4, 4, 3]).unwrap(), expected);
    }

    #[test]
    fn floating_point_samples_are_refused() {
        let image = image::Rgb32FImage::from_pixel(1, 1, Rgb([0.5; 3])).into();
        let message = decoded(&encoded(&image, ImageFormat::Tiff), [1, 1, 3]).unwrap_err().to_string();
        assert!(message.contains("floating-point"), "{message}");
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
}
