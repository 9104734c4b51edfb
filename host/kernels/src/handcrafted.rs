//! Features of images without any training: gradients by their direction, and colours.

use crate::error::{Result, bad};
use rayon::prelude::*;
use std::f32::consts::PI;

/// Directions of a gradient, without its sign: 20 degrees each.
const DIRECTIONS: usize = 9;
/// Cells of a block in each direction.
const BLOCK: usize = 2;
/// The largest entry of a block before it is scaled once more.
const CLIP: f32 = 0.2;
/// Bins of each colour channel.
const LEVELS: usize = 4;

/// Features of each image, n x d, and d. `pixels_nhwc` holds n images of `height` x `width` pixels of `channels` bytes.
///
/// First a histogram of oriented gradients (Dalal and Triggs 2005) of the grey image: from 2 x 2 cells of an image of 8 x 8 to
/// 6 x 6 of one of 24 or more, 9 directions without sign shared between the two nearest, blocks of 2 x 2 cells at each place,
/// clipped at 0.2. Unlike there, a pixel counts in its own cell alone. Then, with 3 channels, a histogram of 4 x 4 x 4 colours
/// (Swain and Ballard 1991). Each of the two has unit length, or is 0 where an image has no gradient; d is at most 964.
///
/// Errs when the numbers do not make images, a side is not between 8 and 224, or there are neither 1 nor 3 channels.
pub fn handcrafted(pixels_nhwc: &[u8], height: usize, width: usize, channels: usize) -> Result<(Vec<f32>, usize)> {
    let sides = 8..=224;
    if !sides.contains(&height) || !sides.contains(&width) {
        return bad(format!("images of {height} x {width} pixels; both sides must lie between 8 and 224"));
    }
    if channels != 1 && channels != 3 {
        return bad(format!("images of {channels} channels; there must be 1 or 3"));
    }
    let size = height * width * channels;
    if !pixels_nhwc.len().is_multiple_of(size) {
        return bad(format!("{} bytes do not make images of {size}", pixels_nhwc.len()));
    }
    let shape = Shape { height, width, channels, cells: [height, width].map(|side| (side / 4).clamp(2, 6)) };
    let d = shape.n_gradients() + shape.n_colours();
    let mut features_nd = vec![0.0; pixels_nhwc.len() / size * d];
    let images = pixels_nhwc.par_chunks_exact(size).with_min_len(16);
    images.zip(features_nd.par_chunks_exact_mut(d)).for_each(|(pixels, features_d)| {
        let (gradients, colours) = features_d.split_at_mut(shape.n_gradients());
        oriented_gradients(pixels, &shape, gradients);
        if !colours.is_empty() {
            colour_histogram(pixels, colours);
        }
    });
    Ok((features_nd, d))
}

struct Shape {
    height: usize,
    width: usize,
    channels: usize,
    /// Down and across.
    cells: [usize; 2],
}

impl Shape {
    fn n_gradients(&self) -> usize {
        (self.cells[0] + 1 - BLOCK) * (self.cells[1] + 1 - BLOCK) * BLOCK * BLOCK * DIRECTIONS
    }

    fn n_colours(&self) -> usize {
        if self.channels == 3 { LEVELS.pow(3) } else { 0 }
    }
}

fn oriented_gradients(pixels: &[u8], shape: &Shape, features: &mut [f32]) {
    let cells = cell_histograms(&grey(pixels, shape.channels), shape);
    let [down, across] = shape.cells;
    let mut blocks = features.chunks_exact_mut(BLOCK * BLOCK * DIRECTIONS);
    for y in 0..=down - BLOCK {
        for (x, block) in (0..=across - BLOCK).zip(&mut blocks) {
            for (row, part) in block.chunks_exact_mut(BLOCK * DIRECTIONS).enumerate() {
                part.copy_from_slice(&cells[((y + row) * across + x) * DIRECTIONS..][..BLOCK * DIRECTIONS]);
            }
            to_unit_length(block);
            block.iter_mut().for_each(|x| *x = x.min(CLIP));
            to_unit_length(block);
        }
    }
    to_unit_length(features);
}

/// Gradients in each cell by direction, each counted by its length and shared between the two nearest directions.
fn cell_histograms(grey_hw: &[f32], shape: &Shape) -> Vec<f32> {
    let Shape { height, width, cells: [down, across], .. } = *shape;
    let mut cells = vec![0.0; down * across * DIRECTIONS];
    for y in 0..height {
        let (above, below) = (y.saturating_sub(1) * width, (y + 1).min(height - 1) * width);
        for x in 0..width {
            let along_x = grey_hw[y * width + (x + 1).min(width - 1)] - grey_hw[y * width + x.saturating_sub(1)];
            let along_y = grey_hw[below + x] - grey_hw[above + x];
            let length = along_x.hypot(along_y);
            if length == 0.0 {
                continue;
            }
            let turn = along_y.atan2(along_x).rem_euclid(PI) / PI * DIRECTIONS as f32 - 0.5;
            let first = (turn.floor() + DIRECTIONS as f32) as usize;
            let second_share = turn - turn.floor();
            let cell = &mut cells[(y * down / height * across + x * across / width) * DIRECTIONS..][..DIRECTIONS];
            cell[first % DIRECTIONS] += length * (1.0 - second_share);
            cell[(first + 1) % DIRECTIONS] += length * second_share;
        }
    }
    cells
}

/// Luma by ITU-R BT.601.
fn grey(pixels: &[u8], channels: usize) -> Vec<f32> {
    let luma = |pixel: &[u8]| match pixel {
        [red, green, blue] => 0.299 * f32::from(*red) + 0.587 * f32::from(*green) + 0.114 * f32::from(*blue),
        other => other.iter().copied().map(f32::from).sum(),
    };
    pixels.chunks_exact(channels).map(luma).collect()
}

fn colour_histogram(pixels: &[u8], bins: &mut [f32]) {
    for pixel in pixels.as_chunks::<3>().0 {
        let bin = pixel.iter().fold(0, |bin, level| bin * LEVELS + usize::from(*level) * LEVELS / 256);
        bins[bin] += 1.0;
    }
    to_unit_length(bins);
}

fn to_unit_length(numbers: &mut [f32]) {
    let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        numbers.iter_mut().for_each(|x| *x /= length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::on_threads;
    use coldstart_plugin_api::Rng;

    fn unit(numbers: Vec<f64>) -> Vec<f64> {
        let length = numbers.iter().map(|x| x * x).sum::<f64>().sqrt();
        numbers.iter().map(|x| if length > 0.0 { x / length } else { 0.0 }).collect()
    }

    /// The definition, entry by entry, in double precision.
    fn slow(pixels: &[u8], height: usize, width: usize, channels: usize) -> Vec<f64> {
        let at = |y: usize, x: usize, c: usize| f64::from(pixels[(y * width + x) * channels + c]);
        let grey = |y: usize, x: usize| match channels {
            1 => at(y, x, 0),
            _ => 0.299 * at(y, x, 0) + 0.587 * at(y, x, 1) + 0.114 * at(y, x, 2),
        };
        let (down, across) = ((height / 4).clamp(2, 6), (width / 4).clamp(2, 6));
        let entry = |cell_y, cell_x, direction: usize| {
            let mut sum = 0.0;
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                if (y * down / height, x * across / width) == (cell_y, cell_x) {
                    let along_x = grey(y, (x + 1).min(width - 1)) - grey(y, x.max(1) - 1);
                    let along_y = grey((y + 1).min(height - 1), x) - grey(y.max(1) - 1, x);
                    let angle = along_y.atan2(along_x).to_degrees();
                    // How far the direction is from the middle of this bin, around the half circle.
                    let apart = (angle - 20.0 * direction as f64 - 10.0).rem_euclid(180.0);
                    sum += along_x.hypot(along_y) * (1.0 - apart.min(180.0 - apart) / 20.0).max(0.0);
                }
            }
            sum
        };
        let mut blocks = Vec::new();
        for (y, x) in (0..down - 1).flat_map(|y| (0..across - 1).map(move |x| (y, x))) {
            let places = [(y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)];
            let block = places.iter().flat_map(|(y, x)| (0..9).map(|d| entry(*y, *x, d)).collect::<Vec<_>>()).collect();
            blocks.extend(unit(unit(block).into_iter().map(|x| x.min(0.2)).collect()));
        }
        let mut features = unit(blocks);
        if channels == 3 {
            let bin = |p: &[u8]| (p[0] / 64 * 16 + p[1] / 64 * 4 + p[2] / 64) as usize;
            let count = |b| pixels.chunks(3).filter(|pixel| bin(pixel) == b).count() as f64;
            features.extend(unit((0..64).map(count).collect()));
        }
        features
    }

    #[test]
    fn features_equal_their_definition() {
        for (n, height, width, channels, size) in
            [(3, 8, 8, 1, 36), (2, 8, 11, 3, 36 + 64), (20, 28, 28, 1, 900), (2, 32, 32, 3, 964), (1, 61, 224, 3, 964)]
        {
            let mut rng = Rng::from_seed([height as u8; 32]);
            let mut pixels = vec![0; n * height * width * channels];
            rng.fill(&mut pixels);
            let (features, d) = on_threads(&|| handcrafted(&pixels, height, width, channels).unwrap());
            assert_eq!((d, features.len()), (size, n * size));
            for (image, found) in pixels.chunks(height * width * channels).zip(features.chunks(d)) {
                for (x, exact) in found.iter().zip(slow(image, height, width, channels)) {
                    // Single precision in sums of up to 50 000 pixels.
                    assert!((f64::from(*x) - exact).abs() < 1e-4, "{x} {exact}");
                }
            }
        }
    }

    #[test]
    fn a_flat_image_has_colour_alone_and_odd_shapes_are_refused() {
        let (features, d) = handcrafted(&[7; 8 * 8 * 3], 8, 8, 3).unwrap();
        assert!(features[..36].iter().all(|x| *x == 0.0) && features[36] == 1.0 && d == 100);
        for (len, height, width, channels) in [(64, 7, 8, 1), (64, 8, 225, 1), (128, 8, 8, 2), (65, 8, 8, 1)] {
            assert!(handcrafted(&vec![0; len], height, width, channels).is_err());
        }
        assert_eq!(handcrafted(&[], 8, 8, 1).unwrap(), (vec![], 36));
    }
}
