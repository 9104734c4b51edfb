//! JPEG and PNG files to pixels of one shape.

use std::io::Cursor;
use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{ImageFormat, ImageReader};

use super::Shape;
use super::error::{DataError, Place};

/// Decodes a JPEG or PNG (told apart by content) and writes it into `pixels_hwc` in `shape`.
///
/// Colour becomes grey by luma, grey becomes colour by repetition, transparency is dropped. An image of another size
/// is resized with its aspect kept until it covers `shape`, by the bilinear filter whose support grows with the
/// reduction (that of Pillow and of torchvision with antialiasing), and what protrudes is cropped evenly.
///
/// # Errors
/// If the bytes are not a whole JPEG or PNG.
pub(super) fn decode_into(pixels_hwc: &mut [u8], bytes: &[u8], shape: Shape, path: &Path) -> Result<(), DataError> {
    let (width, height, decoded) = decode(bytes, shape.channels, path)?;
    if (width as usize, height as usize) == (shape.width, shape.height) {
        pixels_hwc.copy_from_slice(&decoded);
        return Ok(());
    }
    resize(pixels_hwc, shape, width, height, &decoded)
        .map_err(|why| DataError::malformed(path, Place::Whole, format!("cannot resize {width}x{height}: {why}")))
}

fn decode(bytes: &[u8], channels: usize, path: &Path) -> Result<(u32, u32, Vec<u8>), DataError> {
    let malformed = |place, why: String| DataError::malformed(path, place, why);
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| malformed(Place::Whole, error.to_string()))?;
    let format = match reader.format() {
        Some(format @ (ImageFormat::Jpeg | ImageFormat::Png)) => format,
        _ => return Err(malformed(Place::Byte(0), "neither a JPEG nor a PNG by its first bytes".into())),
    };
    if format == ImageFormat::Jpeg && !has_end_of_jpeg(bytes) {
        return Err(malformed(Place::Byte(bytes.len() as u64), "the JPEG is cut short".into()));
    }
    let image =
        reader.decode().map_err(|error| malformed(Place::Whole, format!("undecodable {format:?} ({error})")))?;
    let (width, height) = (image.width(), image.height());
    let pixels = if channels == 1 { image.into_luma8().into_raw() } else { image.into_rgb8().into_raw() };
    Ok((width, height, pixels))
}

/// Whether an end-of-image marker follows the last scan. The decoder itself fills what a cut file lacks with grey.
///
/// Within a scan 0xff is escaped, so these two byte pairs are markers there and nowhere else.
fn has_end_of_jpeg(bytes: &[u8]) -> bool {
    const START_OF_SCAN: [u8; 2] = [0xff, 0xda];
    const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];
    bytes.windows(2).rev().find(|pair| *pair == START_OF_SCAN || *pair == END_OF_IMAGE) == Some(&END_OF_IMAGE)
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
        decode_into(&mut pixels, bytes, shape, Path::new("x.png")).map(|()| pixels)
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
        let rows: [(&[u8], &str); 5] = [
            (&jpeg[..jpeg.len() / 2], "the JPEG is cut short"),
            (&jpeg[..jpeg.len() - 2], "the JPEG is cut short"),
            (&png[..png.len() / 2], "undecodable Png"),
            (b"GIF89a......", "neither a JPEG nor a PNG"),
            (b"", "neither a JPEG nor a PNG"),
        ];
        for (bytes, expected) in rows {
            let message = decoded(bytes, [32, 32, 3]).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("x.png"), "{message}");
        }
    }
}
