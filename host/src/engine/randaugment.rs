//! Strong random changes of images: RandAugment (Cubuk et al. 2020) and Cutout, with the operations and ranges of FixMatch
//! (Sohn et al. 2020, appendix on augmentation), on whole batches.
//!
//! Each image has two operations of fourteen, each as strong as is drawn for it; then a square becomes mid-grey. What moves
//! pixels interpolates linearly, where the released code takes the nearest pixel; from outside comes mid-grey, as there.

use coldstart_plugin_api::Rng;
use tch::{Kind, Tensor};

use super::error::TorchResult;
use super::views::luma;

/// Operations for each image.
const N_CHANGES: usize = 2;

/// The longest side of the square that is cut out, as a share of the image's shorter side.
const LARGEST_HOLE: f64 = 0.5;

/// What pixels from outside of an image are.
const MID_GREY: f64 = 0.5;

/// An operation; each takes a strength from its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Identity,
    AutoContrast,
    Equalise,
    Brightness,
    Colour,
    Contrast,
    Sharpness,
    Posterise,
    Solarise,
    Rotate,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
}

/// Every operation with the range of its strength: factors, bits, a threshold, degrees, shares of the image.
const OPS: [(Op, [f64; 2]); 14] = [
    (Op::Identity, [0.0, 0.0]),
    (Op::AutoContrast, [0.0, 0.0]),
    (Op::Equalise, [0.0, 0.0]),
    (Op::Brightness, [0.05, 0.95]),
    (Op::Colour, [0.05, 0.95]),
    (Op::Contrast, [0.05, 0.95]),
    (Op::Sharpness, [0.05, 0.95]),
    (Op::Posterise, [4.0, 8.0]),
    (Op::Solarise, [0.0, 1.0]),
    (Op::Rotate, [-30.0, 30.0]),
    (Op::ShearX, [-0.3, 0.3]),
    (Op::ShearY, [-0.3, 0.3]),
    (Op::TranslateX, [-0.3, 0.3]),
    (Op::TranslateY, [-0.3, 0.3]),
];

/// What is done to one image.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    ops: [(Op, f32); N_CHANGES],
    /// Top, left, bottom and right of what is cut out, in pixels.
    hole: [f32; 4],
}

/// A change for each of `n` images of `height` x `width`.
pub(super) fn draw(n: usize, (height, width): (usize, usize), rng: &mut Rng) -> Vec<Change> {
    let mut change = || {
        let ops = std::array::from_fn(|_| {
            let (op, [least, most]) = OPS[rng.below(OPS.len() as u64) as usize];
            (op, (least + (most - least) * rng.uniform()) as f32)
        });
        let side = (LARGEST_HOLE * height.min(width) as f64 * rng.uniform()).round() as f32;
        let corner = |centre: u64| centre as f32 - (side / 2.0).floor();
        let (top, left) = (corner(rng.below(height as u64)), corner(rng.below(width as u64)));
        Change { ops, hole: [top, left, top + side, left + side] }
    };
    (0..n).map(|_| change()).collect()
}

/// Changes each image of a batch from 0 to 1.
pub(super) fn apply(x_nchw: &Tensor, changes: &[Change]) -> TorchResult<Tensor> {
    let mut x_nchw = x_nchw.shallow_clone();
    for at in 0..N_CHANGES {
        x_nchw = one_each(&x_nchw, &changes.iter().map(|change| change.ops[at]).collect::<Vec<_>>())?;
    }
    cut_out(&x_nchw, changes)
}

/// What becomes of some images of a batch.
type Changing<'a> = dyn Fn(&Tensor, &[(Op, f32)]) -> TorchResult<Tensor> + 'a;

/// One operation for each image: those that move pixels together, the others by operation.
fn one_each(x_nchw: &Tensor, ops: &[(Op, f32)]) -> TorchResult<Tensor> {
    let mut changed = x_nchw.f_to_dtype(Kind::Float, false, true)?;
    let mut part = |chosen: Vec<usize>, change: &Changing<'_>| {
        if chosen.is_empty() {
            return Ok(());
        }
        let rows: Vec<i64> = chosen.iter().map(|&i| i as i64).collect();
        let rows = Tensor::f_from_slice(&rows)?.f_to_device(x_nchw.device())?;
        let ops: Vec<(Op, f32)> = chosen.iter().map(|&i| ops[i]).collect();
        changed.f_index_copy_(0, &rows, &change(&x_nchw.f_index_select(0, &rows)?, &ops)?).map(drop)
    };
    let those = |is: &dyn Fn(Op) -> bool| (0..ops.len()).filter(|&i| is(ops[i].0)).collect::<Vec<_>>();
    part(those(&moves), &moved)?;
    for (op, _) in OPS.into_iter().filter(|(op, _)| *op != Op::Identity && !moves(*op)) {
        part(those(&|other| other == op), &|x, ops| recoloured(op, x, ops))?;
    }
    Ok(changed)
}

/// Whether an operation moves pixels.
fn moves(op: Op) -> bool {
    matches!(op, Op::Rotate | Op::ShearX | Op::ShearY | Op::TranslateX | Op::TranslateY)
}

/// Where a pixel of the changed image lies in the old one, from the middle, with sides from -1 to 1: two rows of three.
fn source(op: Op, strength: f32, (height, width): (f32, f32)) -> [f32; 6] {
    match op {
        Op::Rotate => {
            let (sin, cos) = strength.to_radians().sin_cos();
            [cos, -sin * height / width, 0.0, sin * width / height, cos, 0.0]
        }
        Op::ShearX => [1.0, strength * height / width, 0.0, 0.0, 1.0, 0.0],
        Op::ShearY => [1.0, 0.0, 0.0, strength * width / height, 1.0, 0.0],
        Op::TranslateX => [1.0, 0.0, 2.0 * strength, 0.0, 1.0, 0.0],
        Op::TranslateY => [1.0, 0.0, 0.0, 0.0, 1.0, 2.0 * strength],
        _ => [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
}

fn moved(x_nchw: &Tensor, ops: &[(Op, f32)]) -> TorchResult<Tensor> {
    let size = x_nchw.size();
    let sides = (size[2] as f32, size[3] as f32);
    let sources: Vec<f32> = ops.iter().flat_map(|&(op, strength)| source(op, strength, sides)).collect();
    let theta = Tensor::f_from_slice(&sources)?.f_view([-1, 2, 3])?.f_to_device(x_nchw.device())?;
    let grid = Tensor::f_affine_grid_generator(&theta, size.as_slice(), false)?;
    // Bilinear (0), with zeros (0) from outside: mid-grey once it is added back.
    x_nchw.f_sub_scalar(MID_GREY)?.f_grid_sampler(&grid, 0, 0, false)?.f_add_scalar(MID_GREY)
}

fn recoloured(op: Op, x_nchw: &Tensor, ops: &[(Op, f32)]) -> TorchResult<Tensor> {
    let strengths: Vec<f32> = ops.iter().map(|(_, strength)| *strength).collect();
    let strength = Tensor::f_from_slice(&strengths)?.f_view([-1, 1, 1, 1])?.f_to_device(x_nchw.device())?;
    let grey = || -> TorchResult<Tensor> { Ok(luma(x_nchw)?.unwrap_or_else(|| x_nchw.shallow_clone())) };
    // The way from an image without the property to the one that is there.
    let blended = |without: &Tensor| without.f_add(&x_nchw.f_sub(without)?.f_mul(&strength)?);
    match op {
        Op::AutoContrast => {
            let low = x_nchw.f_amin([2, 3].as_slice(), true)?;
            let span = x_nchw.f_amax([2, 3].as_slice(), true)?.f_sub(&low)?;
            let stretched = x_nchw.f_sub(&low)?.f_div(&span.f_clamp_min(1e-6)?)?;
            stretched.f_where_self(&span.f_gt(0.0)?, x_nchw)
        }
        Op::Equalise => equalised(x_nchw),
        Op::Brightness => x_nchw.f_mul(&strength),
        Op::Colour => blended(&grey()?),
        Op::Contrast => blended(&grey()?.f_mean_dim([1, 2, 3].as_slice(), true, None)?),
        Op::Sharpness => blended(&smoothed(x_nchw)?),
        Op::Posterise => {
            let step = strength.f_floor()?.f_neg()?.f_add_scalar(8.0)?.f_exp2()?;
            x_nchw.f_mul_scalar(255.0)?.f_div(&step)?.f_floor()?.f_mul(&step)?.f_div_scalar(255.0)
        }
        Op::Solarise => x_nchw.f_where_self(&x_nchw.f_lt_tensor(&strength)?, &x_nchw.f_neg()?.f_add_scalar(1.0)?),
        _ => Ok(x_nchw.shallow_clone()),
    }
}

/// The image without its fine detail, as PIL smooths it; its border stays as it is.
fn smoothed(x_nchw: &Tensor) -> TorchResult<Tensor> {
    let (channels, height, width) = (x_nchw.size()[1], x_nchw.size()[2], x_nchw.size()[3]);
    let weights: Vec<f32> = (0..9).map(|i| if i == 4 { 5.0 / 13.0 } else { 1.0 / 13.0 }).collect();
    let kernel = Tensor::f_from_slice(&weights)?.f_to_device(x_nchw.device())?;
    let kernel = kernel.f_view([1, 1, 3, 3])?.f_expand([channels, 1, 3, 3], false)?;
    let inner = x_nchw.f_conv2d(&kernel, None::<Tensor>, 1, 0, 1, channels)?;
    let smooth = x_nchw.f_to_dtype(Kind::Float, false, true)?;
    smooth.f_narrow(2, 1, height - 2)?.f_narrow(3, 1, width - 2)?.f_copy_(&inner)?;
    Ok(smooth)
}

/// Levels spread so that each is as frequent as any other, for each channel of each image, as PIL does it.
fn equalised(x_nchw: &Tensor) -> TorchResult<Tensor> {
    let size = x_nchw.size();
    let levels = x_nchw.f_mul_scalar(255.0)?.f_round()?.f_to_kind(Kind::Int64)?.f_reshape([size[0] * size[1], -1])?;
    let n_rows = size[0] * size[1];
    let options = (Kind::Float, x_nchw.device());
    let mut counts = Tensor::f_zeros([n_rows, 256], options)?;
    let _ = counts.f_scatter_add_(1, &levels, &Tensor::f_ones(levels.size(), options)?)?;
    // PIL leaves the highest level that occurs out of the step from one new level to the next.
    let highest = levels.f_amax([1].as_slice(), true)?;
    let step = counts.f_gather(1, &highest, false)?.f_neg()?.f_add_scalar(levels.size()[1])?.f_div_scalar(255.0)?;
    let step = step.f_floor()?;
    let before = counts.f_cumsum(1, Kind::Float)?.f_sub(&counts)?;
    let half = step.f_div_scalar(2.0)?.f_floor()?;
    let table = before.f_add(&half)?.f_div(&step.f_clamp_min(1.0)?)?.f_floor()?.f_clamp(0.0, 255.0)?;
    let spread = table.f_gather(1, &levels, false)?.f_where_self(&step.f_gt(0.0)?, &levels.f_to_kind(Kind::Float)?)?;
    spread.f_div_scalar(255.0)?.f_reshape(size.as_slice())
}

fn cut_out(x_nchw: &Tensor, changes: &[Change]) -> TorchResult<Tensor> {
    let device = x_nchw.device();
    let inside = |side: i64, from: usize, to: usize| -> TorchResult<Tensor> {
        let edge = |at: usize| {
            let edges: Vec<f32> = changes.iter().map(|change| change.hole[at]).collect();
            Tensor::f_from_slice(&edges)?.f_view([-1, 1])?.f_to_device(device)
        };
        let places = Tensor::f_arange(side, (Kind::Float, device))?;
        places.f_ge_tensor(&edge(from)?)?.f_logical_and(&places.f_lt_tensor(&edge(to)?)?)
    };
    let rows = inside(x_nchw.size()[2], 0, 2)?.f_unsqueeze(1)?.f_unsqueeze(3)?;
    let columns = inside(x_nchw.size()[3], 1, 3)?.f_unsqueeze(1)?.f_unsqueeze(2)?;
    x_nchw.f_masked_fill(&rows.f_logical_and(&columns)?, MID_GREY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: (usize, usize) = (9, 11);

    /// An image as rows of pixels for each channel, in f64.
    type Planes = Vec<Vec<Vec<f64>>>;

    fn image(channels: usize, seed: u8) -> Planes {
        let mut rng = Rng::from_seed([seed; 32]);
        let mut row = || (0..SIDES.1).map(|_| rng.below(256) as f64 / 255.0).collect();
        let mut plane = || (0..SIDES.0).map(|_| row()).collect();
        (0..channels).map(|_| plane()).collect()
    }

    fn tensor(image: &Planes) -> Tensor {
        let values: Vec<f32> = image.iter().flatten().flatten().map(|&value| value as f32).collect();
        Tensor::from_slice(&values).view([1, image.len() as i64, SIDES.0 as i64, SIDES.1 as i64])
    }

    fn grey(image: &Planes, y: usize, x: usize) -> f64 {
        match image.len() {
            3 => 0.299 * image[0][y][x] + 0.587 * image[1][y][x] + 0.114 * image[2][y][x],
            _ => image[0][y][x],
        }
    }

    /// The changed pixel, read off the definition of the operation.
    fn reference(image: &Planes, op: Op, strength: f64, (c, y, x): (usize, usize, usize)) -> f64 {
        let plane = &image[c];
        let old = plane[y][x];
        let pixels: Vec<f64> = plane.iter().flatten().copied().collect();
        let blended = |without: f64| without + (old - without) * strength;
        match op {
            Op::Identity => old,
            Op::AutoContrast => {
                let low = pixels.iter().copied().fold(1.0, f64::min);
                let high = pixels.iter().copied().fold(0.0, f64::max);
                (old - low) / (high - low)
            }
            Op::Equalise => {
                let level = |pixel: f64| (255.0 * pixel).round() as usize;
                let highest = pixels.iter().map(|&p| level(p)).max().unwrap();
                let count = |of: &dyn Fn(usize) -> bool| pixels.iter().filter(|&&p| of(level(p))).count();
                let step = (pixels.len() - count(&|l| l == highest)) / 255;
                let place = count(&|l| l < level(old)) + step / 2;
                place.checked_div(step).map_or(old, |level| level.min(255) as f64 / 255.0)
            }
            Op::Brightness => old * strength,
            Op::Colour => blended(grey(image, y, x)),
            Op::Contrast => {
                let all = (0..SIDES.0).flat_map(|y| (0..SIDES.1).map(move |x| (y, x)));
                blended(all.map(|(y, x)| grey(image, y, x)).sum::<f64>() / (SIDES.0 * SIDES.1) as f64)
            }
            Op::Sharpness => {
                if y == 0 || x == 0 || y == SIDES.0 - 1 || x == SIDES.1 - 1 {
                    return old;
                }
                let near = (y - 1..=y + 1).flat_map(|y| (x - 1..=x + 1).map(move |x| (y, x)));
                blended((near.map(|(y, x)| plane[y][x]).sum::<f64>() + 4.0 * old) / 13.0)
            }
            Op::Posterise => {
                let step = 1u32 << (8 - strength as u32);
                f64::from((255.0 * old) as u32 / step * step) / 255.0
            }
            Op::Solarise => {
                if old < strength {
                    old
                } else {
                    1.0 - old
                }
            }
            _ => {
                // In pixels from the middle.
                let (middle_y, middle_x) = ((SIDES.0 as f64 - 1.0) / 2.0, (SIDES.1 as f64 - 1.0) / 2.0);
                let (dy, dx) = (y as f64 - middle_y, x as f64 - middle_x);
                let (sin, cos) = strength.to_radians().sin_cos();
                let (dy, dx) = match op {
                    Op::Rotate => (sin * dx + cos * dy, cos * dx - sin * dy),
                    Op::ShearX => (dy, dx + strength * dy),
                    Op::ShearY => (dy + strength * dx, dx),
                    Op::TranslateX => (dy, dx + strength * SIDES.1 as f64),
                    _ => (dy + strength * SIDES.0 as f64, dx),
                };
                let (from_y, from_x) = (middle_y + dy, middle_x + dx);
                let at = |y: f64, x: f64| {
                    let inside = y >= 0.0 && x >= 0.0 && y < SIDES.0 as f64 && x < SIDES.1 as f64;
                    if inside { plane[y as usize][x as usize] } else { MID_GREY }
                };
                let (y0, x0) = (from_y.floor(), from_x.floor());
                let (fy, fx) = (from_y - y0, from_x - x0);
                let corners = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)];
                let weight = |(dy, dx): (f64, f64)| {
                    (if dy > 0.0 { fy } else { 1.0 - fy }) * (if dx > 0.0 { fx } else { 1.0 - fx })
                };
                corners.into_iter().map(|(dy, dx)| weight((dy, dx)) * at(y0 + dy, x0 + dx)).sum()
            }
        }
    }

    #[test]
    fn every_operation_equals_its_definition() {
        for channels in [1, 3] {
            let image = image(channels, 5);
            for (op, [least, most]) in OPS {
                for strength in [least, 0.3 * least + 0.7 * most, most] {
                    let strength = if op == Op::Posterise { strength.floor() } else { strength };
                    let changed = one_each(&tensor(&image), &[(op, strength as f32)]).unwrap();
                    for (c, y, x) in
                        (0..channels).flat_map(|c| (0..SIDES.0).flat_map(move |y| (0..SIDES.1).map(move |x| (c, y, x))))
                    {
                        let got = changed.double_value(&[0, c as i64, y as i64, x as i64]);
                        let expected = reference(&image, op, strength, (c, y, x));
                        // f32 throughout, and a place in the image that is rounded before it is interpolated.
                        assert!(
                            (got - expected).abs() < 2e-5,
                            "{op:?} {strength}, channel {c}, pixel {y} {x}: {got} is not {expected}"
                        );
                    }
                }
            }
        }
    }

    /// Equalising has nothing to do in small images, whose levels are rarer than 1 in 255: here there are enough pixels.
    #[test]
    fn equalising_spreads_levels() {
        let mut rng = Rng::from_seed([1; 32]);
        let levels: Vec<usize> = (0..64 * 64).map(|_| 100 + rng.below(8) as usize).collect();
        let values: Vec<f32> = levels.iter().map(|&level| level as f32 / 255.0).collect();
        let changed = equalised(&Tensor::from_slice(&values).view([1, 1, 64, 64])).unwrap();
        let step = (levels.len() - levels.iter().filter(|&&level| level == 107).count()) / 255;
        for (i, &level) in levels.iter().enumerate() {
            let below = levels.iter().filter(|&&other| other < level).count();
            let expected = ((below + step / 2) / step).min(255) as f64 / 255.0;
            let got = changed.double_value(&[0, 0, (i / 64) as i64, (i % 64) as i64]);
            // Both are the same level of 256.
            assert!((got - expected).abs() < 1e-6, "{level}: {got} is not {expected}");
        }
    }

    #[test]
    fn each_image_has_changes_of_its_own() {
        let mut rng = Rng::from_seed([2; 32]);
        let images: Vec<Planes> = (0..60).map(|seed| image(3, seed)).collect();
        let batch: Vec<Tensor> = images.iter().map(tensor).collect();
        let changes = draw(60, SIDES, &mut rng);
        let all = apply(&Tensor::cat(&batch, 0), &changes).unwrap();
        for (i, (alone, change)) in batch.iter().zip(&changes).enumerate() {
            let alone = apply(alone, std::slice::from_ref(change)).unwrap();
            let difference = (alone - all.narrow(0, i as i64, 1)).abs().max().double_value(&[]);
            // The same operations on other batches: vector and scalar loops round apart.
            assert!(difference < 1e-5, "image {i}: {difference}");
        }
        let (low, high) = (all.min().double_value(&[]), all.max().double_value(&[]));
        assert!(low >= -1e-6 && high <= 1.0 + 1e-6, "{low} to {high}");
    }

    #[test]
    fn the_hole_is_where_it_was_drawn() {
        let change = Change { ops: [(Op::Identity, 0.0); 2], hole: [-1.0, 3.0, 2.0, 5.0] };
        let x = Tensor::ones([1, 1, SIDES.0 as i64, SIDES.1 as i64], (Kind::Float, tch::Device::Cpu));
        let changed = apply(&x, &[change]).unwrap();
        for (y, x) in (0..SIDES.0).flat_map(|y| (0..SIDES.1).map(move |x| (y, x))) {
            let expected = if y < 2 && (3..5).contains(&x) { MID_GREY } else { 1.0 };
            assert_eq!(changed.double_value(&[0, 0, y as i64, x as i64]), expected, "pixel {y} {x}");
        }
    }
}
