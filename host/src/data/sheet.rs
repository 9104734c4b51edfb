//! Contact sheets: chosen images side by side, for people to look at.

use super::{Shape, Split};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, Resizer};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

/// Tiles in a row of a sheet.
pub const SHEET_COLUMNS: usize = 10;
/// Larger images are shrunk to tiles of this side.
const LARGEST_TILE: usize = 64;

/// A PNG of the images at these positions: tiles in the order given, ten in a row, the last row filled up with black.
pub fn contact_sheet(split: &Split, shape: Shape, positions: &[usize]) -> Vec<u8> {
    let tile = tile_shape(shape);
    let tiles = positions.iter().flat_map(|position| {
        let pixels = &split.pixels_nhwc[position * shape.bytes()..][..shape.bytes()];
        shrink(pixels, shape, tile)
    });
    sheet(&tiles.collect::<Vec<u8>>(), tile)
}

/// The same of images that have the size of a tile.
pub fn sheet(pixels_nhwc: &[u8], tile: Shape) -> Vec<u8> {
    let rows = (pixels_nhwc.len() / tile.bytes()).div_ceil(SHEET_COLUMNS).max(1);
    let (width, height) = (SHEET_COLUMNS * tile.width, rows * tile.height);
    let mut sheet = vec![0; width * height * tile.channels];
    for (i, pixels) in pixels_nhwc.chunks_exact(tile.bytes()).enumerate() {
        let (top, left) = (i / SHEET_COLUMNS * tile.height, i % SHEET_COLUMNS * tile.width);
        for (y, line) in pixels.chunks_exact(tile.width * tile.channels).enumerate() {
            sheet[((top + y) * width + left) * tile.channels..][..line.len()].copy_from_slice(line);
        }
    }
    let color = if tile.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut png = Vec::new();
    let encoded = PngEncoder::new(&mut png).write_image(&sheet, width as u32, height as u32, color);
    encoded.expect("the buffer has the size that its dimensions say, and memory takes every byte");
    png
}

/// Height and width of a tile for images of this shape.
pub fn tile_size(shape: Shape) -> [usize; 2] {
    let tile = tile_shape(shape);
    [tile.height, tile.width]
}

fn tile_shape(shape: Shape) -> Shape {
    let longest = shape.height.max(shape.width).max(LARGEST_TILE);
    let side = |side: usize| (side * LARGEST_TILE / longest).max(1);
    Shape { height: side(shape.height), width: side(shape.width), channels: shape.channels }
}

fn shrink(pixels: &[u8], from: Shape, to: Shape) -> Vec<u8> {
    if from == to {
        return pixels.to_vec();
    }
    let pixel = if from.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let source = ImageRef::new(from.width as u32, from.height as u32, pixels, pixel).expect("a whole image");
    let mut target = Image::new(to.width as u32, to.height as u32, pixel);
    Resizer::new().resize(&source, &mut target, None).expect("both images have one pixel type");
    target.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of one byte value each: every pixel of a tile shows it, whatever the size.
    #[test]
    fn tiles_stand_in_the_order_given() {
        for (side, channels, tile) in [(8, 1, 8), (28, 3, 28), (200, 3, 64)] {
            let shape = Shape { height: side, width: side, channels };
            let pixels_nhwc = (0..12u8).flat_map(|value| vec![20 * value; shape.bytes()]).collect();
            let split = Split::numbered(pixels_nhwc, vec![0; 12]);
            let positions: Vec<usize> = (0..12).rev().collect();
            let sheet = image::load_from_memory(&contact_sheet(&split, shape, &positions)).unwrap().to_rgb8();
            assert_eq!(sheet.dimensions(), (10 * tile, 2 * tile));
            for (i, position) in positions.iter().enumerate() {
                let (x, y) = (i as u32 % 10 * tile + tile / 2, i as u32 / 10 * tile + tile / 2);
                assert_eq!(sheet.get_pixel(x, y).0[0], 20 * *position as u8);
            }
        }
    }
}
