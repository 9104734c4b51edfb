//! A drawn data set that needs no files: ten signs, hard in the ways that tell strategies apart.
//!
//! Most members of a class are typical: one sign, in varying position, size, slant, pen and light, with noise and stray
//! strokes. A minority is rare: drawn quite differently, in a way that no typical member hints at. Another minority
//! looks alike: the sign of the class's rival with one detail added. Classes are unequally frequent. The set is a
//! constant: it does not depend on a run's seed, image i is the same at every `size`, and only exact floating-point
//! operations (no sines, no logarithms) are used, so that it is the same on every machine.

use coldstart_plugin_api::Rng;
use rayon::prelude::*;

use super::{Parts, Shape, Split};

const SIDE: usize = 24;
const SHAPE: Shape = Shape { height: SIDE, width: SIDE, channels: 1 };
/// Of 100 members of a class: so many rare ones, so many look-alikes, the others typical.
const RARE: u64 = 15;
const LOOK_ALIKE: u64 = 15;
const SEED: [u8; 32] = *b"coldstart synthetic data set, v1";

/// A line through points; the sign fills the square from -1 to 1, y pointing down.
type Line = &'static [(f64, f64)];
type Sign = &'static [Line];

const RING: Line = &[
    (0.0, -0.8),
    (0.57, -0.57),
    (0.8, 0.0),
    (0.57, 0.57),
    (0.0, 0.8),
    (-0.57, 0.57),
    (-0.8, 0.0),
    (-0.57, -0.57),
    (0.0, -0.8),
];
const SQUARE: Line = &[(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7), (-0.7, -0.7)];
const TRIANGLE: Line = &[(0.0, -0.8), (0.8, 0.65), (-0.8, 0.65), (0.0, -0.8)];
const DIAMOND: Line = &[(0.0, -0.95), (0.75, 0.0), (0.0, 0.95), (-0.75, 0.0), (0.0, -0.95)];
const UPRIGHT: Line = &[(0.0, -0.85), (0.0, 0.85)];
const LEVEL: Line = &[(-0.85, 0.0), (0.85, 0.0)];
const RISING: Line = &[(-0.7, 0.7), (0.7, -0.7)];
const FALLING: Line = &[(-0.7, -0.7), (0.7, 0.7)];
const TOP: Line = &[(-0.75, -0.8), (0.75, -0.8)];
const BOTTOM: Line = &[(-0.75, 0.8), (0.75, 0.8)];
const LEFT: Line = &[(-0.75, -0.8), (-0.75, 0.8)];
const DOT: Line = &[(0.0, -0.1), (0.0, 0.1)];
const TAIL: Line = &[(0.0, 0.65), (0.0, 1.0)];
const FOOT: Line = &[(-0.35, 0.85), (0.35, 0.85)];

struct Class {
    name: &'static str,
    /// How many of 100 images are of this class.
    percent: u64,
    typical: Sign,
    rare: Sign,
    look_alike: Sign,
}

/// Neighbours (0 and 1, 2 and 3, ...) are rivals: each one's look-alikes carry the other's sign.
static CLASSES: [Class; 10] = [
    Class {
        name: "ring",
        percent: 14,
        typical: &[RING],
        rare: &[&[(-0.4, -0.8), (-0.8, 0.0), (-0.4, 0.8)], &[(0.4, -0.8), (0.8, 0.0), (0.4, 0.8)]],
        look_alike: &[SQUARE, DOT],
    },
    Class {
        name: "square",
        percent: 8,
        typical: &[SQUARE],
        rare: &[&[(-0.8, 0.1), (-0.8, -0.8), (0.1, -0.8)], &[(0.8, -0.1), (0.8, 0.8), (-0.1, 0.8)]],
        look_alike: &[RING, DOT],
    },
    Class {
        name: "plus",
        percent: 13,
        typical: &[UPRIGHT, LEVEL],
        rare: &[
            &[(0.0, -0.9), (0.0, -0.6)],
            &[(0.0, 0.9), (0.0, 0.6)],
            &[(-0.9, 0.0), (-0.6, 0.0)],
            &[(0.9, 0.0), (0.6, 0.0)],
        ],
        look_alike: &[RISING, FALLING, TOP],
    },
    Class {
        name: "cross",
        percent: 9,
        typical: &[RISING, FALLING],
        rare: &[&[(-0.9, -0.6), (-0.3, 0.0), (-0.9, 0.6)], &[(0.9, -0.6), (0.3, 0.0), (0.9, 0.6)]],
        look_alike: &[UPRIGHT, LEVEL, TOP],
    },
    Class {
        name: "triangle",
        percent: 12,
        typical: &[TRIANGLE],
        rare: &[&[(-0.8, -0.7), (0.0, 0.8), (0.8, -0.7)], &[(0.0, -0.7), (0.0, 0.1)]],
        look_alike: &[DIAMOND, LEVEL],
    },
    Class {
        name: "diamond",
        percent: 9,
        typical: &[DIAMOND],
        rare: &[&[(-0.7, -0.3), (0.0, -0.9), (0.7, -0.3)], &[(-0.7, 0.3), (0.0, 0.9), (0.7, 0.3)]],
        look_alike: &[TRIANGLE, TAIL],
    },
    Class {
        name: "tee",
        percent: 11,
        typical: &[TOP, UPRIGHT],
        rare: &[LEFT, &[(-0.75, 0.0), (0.8, 0.0)], &[(0.8, -0.4), (0.8, 0.4)]],
        look_alike: &[LEFT, BOTTOM, &[(-0.75, 0.0), (-0.2, 0.0)]],
    },
    Class {
        name: "ell",
        percent: 7,
        typical: &[LEFT, BOTTOM],
        rare: &[&[(-0.9, -0.8), (-0.3, -0.8), (-0.3, 0.0), (0.3, 0.0), (0.3, 0.8), (0.9, 0.8)]],
        look_alike: &[TOP, UPRIGHT, FOOT],
    },
    Class {
        name: "bars",
        percent: 10,
        typical: &[TOP, BOTTOM],
        rare: &[&[(-0.8, -0.1), (-0.8, 0.1)], DOT, &[(0.8, -0.1), (0.8, 0.1)]],
        look_alike: &[TOP, &[(0.75, -0.8), (-0.75, 0.8)], BOTTOM, &[(-0.45, 0.0), (0.45, 0.0)]],
    },
    Class {
        name: "zed",
        percent: 7,
        typical: &[TOP, &[(0.75, -0.8), (-0.75, 0.8)], BOTTOM],
        rare: &[&[(0.6, -0.7), (-0.5, -0.6), (-0.5, -0.1), (0.5, 0.1), (0.5, 0.6), (-0.6, 0.7)]],
        look_alike: &[TOP, BOTTOM, &[(0.0, -0.3), (0.0, 0.3)]],
    },
];

/// Draws a pool of `size` images and a test part of `test_size`.
pub(super) fn draw(size: usize, test_size: usize) -> Parts {
    Parts {
        shape: SHAPE,
        classes: CLASSES.iter().map(|class| class.name.to_string()).collect(),
        train: draw_part("pool", size),
        test: Some(draw_part("test", test_size)),
    }
}

fn draw_part(part: &str, size: usize) -> Split {
    let mut pixels_nhwc = vec![0; size * SHAPE.bytes()];
    let images = pixels_nhwc.par_chunks_exact_mut(SHAPE.bytes()).enumerate();
    let labels = images.map(|(i, pixels_hw)| {
        let mut rng = Rng::for_stream(SEED, &format!("{part}/{i}"));
        let label = draw_label(&mut rng);
        let class = &CLASSES[label];
        let sign = match rng.below(100) {
            n if n < RARE => class.rare,
            n if n < RARE + LOOK_ALIKE => class.look_alike,
            _ => class.typical,
        };
        paint(pixels_hw, &place(sign, &mut rng), &mut rng);
        label as u32
    });
    let labels = labels.collect();
    Split::numbered(pixels_nhwc, labels)
}

fn draw_label(rng: &mut Rng) -> usize {
    let mut n = rng.below(100);
    for (label, class) in CLASSES.iter().enumerate() {
        match n.checked_sub(class.percent) {
            None => return label,
            Some(rest) => n = rest,
        }
    }
    unreachable!("the percentages of the classes add up to 100")
}

/// A straight stroke, in pixels.
struct Stroke {
    from: (f64, f64),
    to: (f64, f64),
}

impl Stroke {
    /// Squared distance from a point to the nearest point of the stroke.
    fn distance_squared(&self, (x, y): (f64, f64)) -> f64 {
        let (along_x, along_y) = (self.to.0 - self.from.0, self.to.1 - self.from.1);
        let (dx, dy) = (x - self.from.0, y - self.from.1);
        let length_squared = (along_x * along_x + along_y * along_y).max(1e-9);
        let t = ((dx * along_x + dy * along_y) / length_squared).clamp(0.0, 1.0);
        let (off_x, off_y) = (dx - t * along_x, dy - t * along_y);
        off_x * off_x + off_y * off_y
    }
}

/// Puts a sign on the canvas: turned, slanted, scaled and moved at random, with a stray stroke on every second image.
fn place(sign: Sign, rng: &mut Rng) -> Vec<Stroke> {
    // Half-angle form of a rotation by up to 17 degrees either way.
    let t = between(rng, -0.15, 0.15);
    let (cos, sin) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
    let slant = between(rng, -0.2, 0.2);
    let (scale_x, scale_y) = (between(rng, 5.5, 9.0), between(rng, 5.5, 9.0));
    let middle = SIDE as f64 / 2.0;
    let (shift_x, shift_y) = (middle + between(rng, -2.5, 2.5), middle + between(rng, -2.5, 2.5));
    let on_canvas = |&(x, y): &(f64, f64)| {
        let (x, y) = ((x + slant * y) * scale_x, y * scale_y);
        (cos * x - sin * y + shift_x, sin * x + cos * y + shift_y)
    };
    let mut strokes: Vec<Stroke> = sign
        .iter()
        .flat_map(|line| line.windows(2))
        .map(|ends| Stroke { from: on_canvas(&ends[0]), to: on_canvas(&ends[1]) })
        .collect();
    if rng.below(2) == 0 {
        let side = SIDE as f64;
        let from = (between(rng, 0.0, side), between(rng, 0.0, side));
        let to = (from.0 + between(rng, -5.0, 5.0), from.1 + between(rng, -5.0, 5.0));
        strokes.push(Stroke { from, to });
    }
    strokes
}

/// Fills the canvas: light falling from one side, the strokes, noise.
fn paint(pixels_hw: &mut [u8], strokes: &[Stroke], rng: &mut Rng) {
    let half_width = between(rng, 0.5, 1.3);
    let contrast = between(rng, 70.0, 170.0);
    let background = between(rng, 20.0, 70.0);
    let (slope_x, slope_y) = (between(rng, -1.5, 1.5), between(rng, -1.5, 1.5));
    let noise = between(rng, 10.0, 30.0);
    for (y, row) in pixels_hw.chunks_exact_mut(SIDE).enumerate() {
        for (x, pixel) in row.iter_mut().enumerate() {
            let point = (x as f64 + 0.5, y as f64 + 0.5);
            let nearest = strokes.iter().map(|stroke| stroke.distance_squared(point)).fold(f64::INFINITY, f64::min);
            let ink = (half_width + 0.5 - nearest.sqrt()).clamp(0.0, 1.0);
            let light = background + slope_x * (point.0 - 12.0) + slope_y * (point.1 - 12.0);
            *pixel = (light + contrast * ink + noise * bell(rng)).round().clamp(0.0, 255.0) as u8;
        }
    }
}

fn between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.uniform()
}

/// A nearly normal number of mean 0 and variance 1: the scaled sum of four even ones.
fn bell(rng: &mut Rng) -> f64 {
    let halves = [rng.next_u32(), rng.next_u32()];
    let sum: u32 = halves.iter().map(|half| (half >> 16) + (half & 0xffff)).sum();
    // The sum has mean 2 * 65535 and variance 4 * (65536^2 - 1) / 12.
    (f64::from(sum) - 131_070.0) / 37_837.2
}

#[cfg(test)]
mod tests {
    use super::super::split::counts;
    use super::*;

    #[test]
    fn percentages_add_up() {
        assert_eq!(CLASSES.iter().map(|class| class.percent).sum::<u64>(), 100);
    }

    #[test]
    fn a_smaller_set_is_the_beginning_of_a_larger_one() {
        let (small, large) = (draw(20, 10), draw(50, 10));
        assert_eq!(small.train.labels, large.train.labels[..20]);
        assert_eq!(small.train.pixels_nhwc, large.train.pixels_nhwc[..20 * SHAPE.bytes()]);
        assert_eq!(small.test, large.test);
        assert_ne!(small.test.unwrap().pixels_nhwc, small.train.pixels_nhwc[..10 * SHAPE.bytes()]);
    }

    #[test]
    fn classes_are_as_frequent_as_stated() {
        let n = 4000;
        for (count, class) in counts(&draw(n, 10).train.labels, 10).into_iter().zip(&CLASSES) {
            let p = class.percent as f64 / 100.0;
            // Four standard deviations of a binomial count; the set is a constant, so this cannot flicker.
            let tolerance = 4.0 * (n as f64 * p * (1.0 - p)).sqrt();
            assert!((count as f64 - n as f64 * p).abs() < tolerance, "{}: {count}", class.name);
        }
    }

    #[test]
    fn noise_has_mean_zero_and_variance_one() {
        let mut rng = Rng::for_stream(SEED, "test of noise");
        let sample: Vec<f64> = (0..100_000).map(|_| bell(&mut rng)).collect();
        let mean = sample.iter().sum::<f64>() / sample.len() as f64;
        let variance = sample.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / sample.len() as f64;
        // Five standard errors: 1 / sqrt(n) = 0.003 for the mean, below sqrt(2 / n) = 0.0045 for the variance.
        assert!(mean.abs() < 0.016 && (variance - 1.0).abs() < 0.023, "{mean} {variance}");
    }
}
