//! Each operation against a slow version read off its definition, which replays the same draws.

use coldstart_plugin_api::training::{Region, distant_orders};

use super::super::device::Device;
use super::*;

/// An image as channels x rows x columns, in f64.
#[derive(Clone, Debug)]
struct Slow {
    height: usize,
    width: usize,
    channels: Vec<Vec<f64>>,
}

impl Slow {
    /// A new image of the same number of channels from a rule for each pixel.
    fn made(&self, height: usize, width: usize, pixel: impl Fn(&[f64], usize, usize) -> f64) -> Slow {
        let channel = |old: &Vec<f64>| {
            (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).map(|(y, x)| pixel(old, y, x)).collect()
        };
        Slow { height, width, channels: self.channels.iter().map(channel).collect() }
    }

    /// Each pixel's colours changed together.
    fn recoloured(&self, colour: impl Fn(&[f64]) -> Vec<f64>) -> Slow {
        let mut new = self.clone();
        for i in 0..self.height * self.width {
            let old: Vec<f64> = self.channels.iter().map(|channel| channel[i]).collect();
            colour(&old).into_iter().enumerate().for_each(|(c, value)| new.channels[c][i] = value);
        }
        new
    }

    fn at(old: &[f64], height: usize, width: usize, y: i64, x: i64) -> f64 {
        let inside = (0..height as i64).contains(&y) && (0..width as i64).contains(&x);
        if inside { old[y as usize * width + x as usize] } else { 0.0 }
    }
}

fn luma_of(colours: &[f64]) -> f64 {
    if colours.len() == 3 { 0.299 * colours[0] + 0.587 * colours[1] + 0.114 * colours[2] } else { colours[0] }
}

/// The operation as its documentation says, on one image, with the draws in the order in which the fast version takes them.
fn slow(op: &ViewOp, image: &Slow, choice: usize, rng: &mut Rng, jitter_order: &[usize]) -> Vec<Slow> {
    let (height, width) = (image.height, image.width);
    vec![match op {
        ViewOp::PadCrop { padding } => {
            let choices = 2 * u64::from(*padding) + 1;
            let (top, left) = (rng.below(choices) as i64, rng.below(choices) as i64);
            let back = i64::from(*padding);
            image.made(height, width, |old, y, x| {
                Slow::at(old, height, width, y as i64 + top - back, x as i64 + left - back)
            })
        }
        ViewOp::Flip { p } => match rng.uniform() < *p {
            true => image.made(height, width, |old, y, x| old[y * width + width - 1 - x]),
            false => image.clone(),
        },
        ViewOp::ResizedCrop { scale, ratio } => {
            let crop = inception_crop(height, width, *scale, *ratio, rng);
            // The two neighbours in the crop and the share of the second one, for each axis.
            let neighbours = |i: usize, from: usize, size: usize, side: usize| {
                let place = ((i as f64 + 0.5) * size as f64 / side as f64 - 0.5).clamp(0.0, (size - 1) as f64);
                let low = place.floor() as usize;
                (from + low, from + (low + 1).min(size - 1), place - low as f64)
            };
            image.made(height, width, |old, y, x| {
                let (y0, y1, down) = neighbours(y, crop.top, crop.height, height);
                let (x0, x1, right) = neighbours(x, crop.left, crop.width, width);
                let line = |y: usize| old[y * width + x0] * (1.0 - right) + old[y * width + x1] * right;
                line(y0) * (1.0 - down) + line(y1) * down
            })
        }
        ViewOp::Grey { p } => match rng.uniform() < *p && image.channels.len() == 3 {
            true => image.recoloured(|colours| vec![luma_of(colours); 3]),
            false => image.clone(),
        },
        ViewOp::ColourJitter { brightness, contrast, saturation, hue, p } => {
            let hit = rng.uniform() < *p;
            let changes = [brightness, contrast, saturation, hue].map(|s| between(rng, [-s, *s]));
            if hit { slow_jitter(image, changes, jitter_order) } else { image.clone() }
        }
        ViewOp::Blur { sigma, p } => {
            let hit = rng.uniform() < *p;
            let sigma = between(rng, *sigma);
            if hit { slow_blur(image, sigma) } else { image.clone() }
        }
        ViewOp::Rotate90 {} => {
            // A turn against the clock: the top right corner becomes the top left one.
            let turn = |image: &Slow| image.made(width, height, |old, y, x| old[x * width + width - 1 - y]);
            (0..choice).fold(image.clone(), |image, _| turn(&image))
        }
        ViewOp::Erase { regions } => {
            let Region { top, left, height: h, width: w } = regions[choice];
            let inside = |at: usize, from: f64, size: f64, side: usize| {
                ((from * side as f64).round()..((from + size) * side as f64).round()).contains(&(at as f64))
            };
            image.made(height, width, |old, y, x| {
                if inside(y, top, h, height) && inside(x, left, w, width) { 0.0 } else { old[y * width + x] }
            })
        }
        ViewOp::Cutout { side } => {
            let (y0, x0) = (rng.below(height as u64) as i64, rng.below(width as u64) as i64);
            let reach = i64::from(*side);
            let inside =
                |at: usize, centre: i64| (centre - reach / 2..centre - reach / 2 + reach).contains(&(at as i64));
            image.made(height, width, |old, y, x| if inside(y, y0) && inside(x, x0) { 0.0 } else { old[y * width + x] })
        }
        ViewOp::Jigsaw { grid, gap, orders } => {
            return slow_jigsaw(image, *grid as usize, *gap as usize, &orders[choice], rng);
        }
        ViewOp::Normalise {} => unreachable!("tested on its own"),
    }]
}

fn slow_jitter(image: &Slow, [brightness, contrast, saturation, hue]: [f64; 4], order: &[usize]) -> Slow {
    let unit = |value: f64| value.clamp(0.0, 1.0);
    let mut image = image.clone();
    for &what in order {
        let n = image.height * image.width;
        let colours = |i: usize| image.channels.iter().map(|channel| channel[i]).collect::<Vec<f64>>();
        let mean = (0..n).map(|i| luma_of(&colours(i))).sum::<f64>() / n as f64;
        image = match what {
            0 => image.recoloured(|c| c.iter().map(|v| unit(v * (1.0 + brightness))).collect()),
            1 => image.recoloured(|c| c.iter().map(|v| unit(mean + (v - mean) * (1.0 + contrast))).collect()),
            2 => image
                .recoloured(|c| c.iter().map(|v| unit(luma_of(c) + (v - luma_of(c)) * (1.0 + saturation))).collect()),
            _ if image.channels.len() == 3 => image.recoloured(|c| slow_hue(c, hue)),
            _ => image,
        };
    }
    image
}

/// Through hue in degrees and the six sectors of the circle.
fn slow_hue(colours: &[f64], turn: f64) -> Vec<f64> {
    let (red, green, blue) = (colours[0], colours[1], colours[2]);
    let (high, low) = (red.max(green).max(blue), red.min(green).min(blue));
    let chroma = high - low;
    if chroma == 0.0 {
        return colours.to_vec();
    }
    let hue = if high == red {
        60.0 * ((green - blue) / chroma)
    } else if high == green {
        60.0 * ((blue - red) / chroma + 2.0)
    } else {
        60.0 * ((red - green) / chroma + 4.0)
    };
    let hue = (hue + 360.0 * turn).rem_euclid(360.0) / 60.0;
    let middle = chroma * (1.0 - (hue % 2.0 - 1.0).abs());
    let (r, g, b) = match hue as usize {
        0 => (chroma, middle, 0.0),
        1 => (middle, chroma, 0.0),
        2 => (0.0, chroma, middle),
        3 => (0.0, middle, chroma),
        4 => (middle, 0.0, chroma),
        _ => (chroma, 0.0, middle),
    };
    vec![r + low, g + low, b + low]
}

/// Each pixel as the weighted mean of all, mirrored at both edges; the weights of a row sum to 1.
fn slow_blur(image: &Slow, sigma: f64) -> Slow {
    let weights = |centre: usize, side: usize| {
        let mut weights = vec![0.0; side];
        for place in -(side as i64 - 1)..2 * side as i64 - 1 {
            let seen = if place < 0 {
                -place
            } else if place >= side as i64 {
                2 * (side as i64 - 1) - place
            } else {
                place
            };
            weights[seen as usize] += (-0.5 * ((place - centre as i64) as f64 / sigma).powi(2)).exp();
        }
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect::<Vec<f64>>()
    };
    let (height, width) = (image.height, image.width);
    image.made(height, width, |old, y, x| {
        let (down, right) = (weights(y, height), weights(x, width));
        (0..height * width).map(|i| old[i] * down[i / width] * right[i % width]).sum()
    })
}

fn slow_jigsaw(image: &Slow, grid: usize, gap: usize, order: &[u32], rng: &mut Rng) -> Vec<Slow> {
    let (cell_height, cell_width) = (image.height / grid, image.width / grid);
    let side = image.height.min(image.width) / grid - gap;
    let mut corner = |cell: usize| rng.below((cell - side + 1) as u64) as usize;
    let corners: Vec<(usize, usize)> = (0..grid * grid).map(|_| (corner(cell_height), corner(cell_width))).collect();
    let tile = |&cell: &u32| {
        let cell = cell as usize;
        let top = cell / grid * cell_height + corners[cell].0;
        let left = cell % grid * cell_width + corners[cell].1;
        let mut tile = image.made(side, side, |old, y, x| old[(top + y) * image.width + left + x]);
        for channel in &mut tile.channels {
            let mean = channel.iter().sum::<f64>() / channel.len() as f64;
            let deviation = (channel.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / channel.len() as f64).sqrt();
            channel.iter_mut().for_each(|value| *value = (*value - mean) / (deviation + 1e-5));
        }
        tile
    };
    order.iter().map(tile).collect()
}

const ROWS: [usize; 6] = [3, 0, 3, 4, 1, 2];

fn pixels(shape: ImageShape) -> Vec<u8> {
    let mut rng = Rng::from_seed([5; 32]);
    (0..5 * shape.n_bytes()).map(|_| rng.below(256) as u8).collect()
}

fn images(shape: ImageShape) -> Images {
    Images::new(&pixels(shape), shape, &Device::cpu_for_tests()).unwrap()
}

fn slow_image(shape: ImageShape, row: usize) -> Slow {
    let pixels = pixels(shape);
    let image = &pixels[row * shape.n_bytes()..][..shape.n_bytes()];
    let channel =
        |c: usize| image.iter().skip(c).step_by(shape.channels).map(|&byte| f64::from(byte) / 255.0).collect();
    Slow { height: shape.height, width: shape.width, channels: (0..shape.channels).map(channel).collect() }
}

fn seeds() -> Vec<Rng> {
    (0..ROWS.len()).map(|i| Rng::for_stream([8; 32], &format!("image {i}"))).collect()
}

/// Compares every pixel of a batch; the numbers are of order 1 and pass through a few dozen operations in f32, the hue through
/// divisions by a small chroma.
fn check(shape: ImageShape, ops: &[ViewOp], tolerance: f64) {
    let images = images(shape);
    let views = Views::new(&images, ops).unwrap();
    let choosing = ops.iter().position(|op| op.n_choices().is_some());
    let n_choices = choosing.and_then(|at| ops[at].n_choices()).unwrap_or(1);
    let of_view: Vec<usize> = (0..ROWS.len()).map(|i| (2 * i + 1) % n_choices).collect();
    let choices = choosing.map(|op| Choices { op, of_view: &of_view });
    let mut batch = Rng::from_seed([2; 32]);
    let mut order = [0, 1, 2, 3];
    batch.clone().shuffle(&mut order);
    let chance = Chance::Apart { of_image: seeds(), batch: &mut batch };
    let got = views.random(&ROWS, choices, chance).unwrap();
    let mut rngs = seeds();
    let expected: Vec<Slow> = ROWS
        .iter()
        .enumerate()
        .flat_map(|(i, &row)| {
            let start = vec![slow_image(shape, row)];
            ops.iter().fold(start, |images, op| {
                let rng = &mut rngs[i];
                // The fast version draws a choice also where one is given.
                if let Some(n) = op.n_choices() {
                    rng.below(n as u64);
                }
                slow(op, &images[0], of_view[i], rng, &order)
            })
        })
        .collect();
    let (n, _, height, width) = got.size4().unwrap();
    assert_eq!((n as usize, height as usize, width as usize), (expected.len(), expected[0].height, expected[0].width));
    for (i, image) in expected.iter().enumerate() {
        for (c, channel) in image.channels.iter().enumerate() {
            for (at, value) in channel.iter().enumerate() {
                let place = [i as i64, c as i64, (at / image.width) as i64, (at % image.width) as i64];
                let got = got.double_value(&place);
                assert!((got - value).abs() <= tolerance, "{ops:?}, image {i}, {place:?}: {got} is not {value}");
            }
        }
    }
}

const GREY_OBLONG: ImageShape = ImageShape { height: 9, width: 12, channels: 1 };
const COLOUR_OBLONG: ImageShape = ImageShape { height: 11, width: 8, channels: 3 };
const COLOUR_SQUARE: ImageShape = ImageShape { height: 10, width: 10, channels: 3 };

#[test]
fn every_operation_equals_its_slow_version() {
    let crop = ViewOp::ResizedCrop { scale: [0.1, 1.0], ratio: [0.5, 2.0] };
    let jitter = |s: f64, hue: f64, p: f64| ViewOp::ColourJitter { brightness: s, contrast: s, saturation: s, hue, p };
    let region = |top, left| Region { top, left, height: 0.5, width: 0.35 };
    let rows: [(&[ViewOp], f64); 12] = [
        (&[ViewOp::PadCrop { padding: 3 }], 1e-6),
        (&[ViewOp::Flip { p: 0.5 }], 1e-6),
        (std::slice::from_ref(&crop), 2e-6),
        (&[crop.clone(), ViewOp::Flip { p: 0.5 }, ViewOp::PadCrop { padding: 2 }, crop.clone()], 4e-6),
        (&[ViewOp::Grey { p: 0.5 }], 1e-6),
        (&[jitter(0.8, 0.0, 1.0)], 2e-6),
        (&[jitter(0.0, 0.5, 1.0)], 1e-4),
        (&[jitter(0.4, 0.1, 0.8)], 1e-4),
        (&[ViewOp::Blur { sigma: [0.1, 2.0], p: 0.7 }], 2e-6),
        (&[ViewOp::Erase { regions: vec![region(0.0, 0.0), region(0.5, 0.6), region(0.3, 0.2)] }], 1e-6),
        (&[ViewOp::Cutout { side: 4 }, ViewOp::Cutout { side: 3 }], 1e-6),
        (&[], 1e-6),
    ];
    for shape in [GREY_OBLONG, COLOUR_OBLONG, COLOUR_SQUARE] {
        for (ops, tolerance) in rows {
            check(shape, ops, tolerance);
        }
    }
    check(COLOUR_SQUARE, &[ViewOp::Rotate90 {}], 1e-7);
}

/// Tiles are normalised by a deviation of about 0.3, so differences grow by a factor of about 3.
#[test]
fn jigsaw_equals_its_slow_version() {
    let orders = distant_orders(4, 5);
    for (height, width, channels, gap) in [(24, 24, 3, 2), (20, 27, 1, 1)] {
        check(ImageShape { height, width, channels }, &[ViewOp::Jigsaw { grid: 2, gap, orders: orders.clone() }], 1e-5);
    }
}

#[test]
fn normalise_is_that_of_every_batch() {
    let images = images(COLOUR_OBLONG);
    let ops = [ViewOp::Normalise {}];
    let views = Views::new(&images, &ops).unwrap();
    let expected = images.batch(&images.unchanged(&ROWS).unwrap(), 0, ROWS.len()).unwrap();
    let random = views.random(&ROWS, None, Chance::Shared(&mut Rng::from_seed([0; 32]))).unwrap();
    for got in [random, views.plain(&ROWS, None).unwrap()] {
        assert!((got - &expected).abs().max().double_value(&[]) < 1e-5);
    }
}

#[test]
fn operations_that_do_not_fit_the_images_are_refused() {
    let orders = distant_orders(4, 2);
    for (op, word) in [(ViewOp::Rotate90 {}, "square"), (ViewOp::Jigsaw { grid: 2, gap: 0, orders }, "tiles")] {
        let error = Views::new(&images(GREY_OBLONG), &[op]).err().unwrap();
        assert!(error.to_string().contains(word), "{error}");
    }
}
