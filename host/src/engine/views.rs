//! Random views of images: the batched operations of a [`TrainSpec`](coldstart_plugin_api::training::TrainSpec).
//!
//! Everything that moves pixels along rows and columns (crops, resizing, mirroring, blur) is linear and separable: an
//! image x becomes R x C', with a row matrix R and a column matrix C of its own. So a whole batch is two batched matrix
//! products, whatever was drawn, on CPU and GPU alike. Neighbouring moves are composed before anything is computed.
//! What is random is drawn from the generator for each image, and uploaded as a few numbers for each.

mod colour;
mod crop;

use coldstart_plugin_api::Rng;
use coldstart_plugin_api::training::ViewOp;
use tch::{Kind, Tensor};

use super::error::{EngineError, TorchResult};
use super::images::{ImageShape, Images, MIN_SIDE};
use colour::adjust;
pub(super) use colour::luma;
use crop::inception_crop;

/// A place outside of every image.
const NOWHERE: f32 = -1e6;

/// Operations that fit a set of images.
pub(super) struct Views<'a> {
    images: &'a Images,
    ops: &'a [ViewOp],
}

/// Which choice each view takes at one of the operations.
#[derive(Clone, Copy)]
pub(super) struct Choices<'a> {
    pub(super) op: usize,
    pub(super) of_view: &'a [usize],
}

/// Where the numbers of a batch come from.
pub(super) enum Chance<'a> {
    /// One generator for all, in the order of the batch.
    Shared(&'a mut Rng),
    /// One for each image, and one for what is drawn once a batch: the views of an image do not depend on its neighbours.
    Apart { of_image: Vec<Rng>, batch: &'a mut Rng },
}

impl Chance<'_> {
    fn of_image(&mut self, i: usize) -> &mut Rng {
        match self {
            Chance::Shared(rng) => rng,
            Chance::Apart { of_image, .. } => &mut of_image[i],
        }
    }

    fn of_batch(&mut self) -> &mut Rng {
        match self {
            Chance::Shared(rng) => rng,
            Chance::Apart { batch, .. } => batch,
        }
    }
}

impl<'a> Views<'a> {
    /// Errs when an operation cannot be done on images of this shape.
    pub(super) fn new(images: &'a Images, ops: &'a [ViewOp]) -> Result<Self, EngineError> {
        let ImageShape { height, width, .. } = images.shape();
        let refuse = |problem: String| Err(EngineError::Input(problem));
        for op in ops {
            match op {
                ViewOp::Rotate90 {} if height != width => {
                    return refuse(format!("`rotate90` needs square images, not {height} x {width}"));
                }
                ViewOp::Jigsaw { grid, gap, .. } if tile_side(images.shape(), *grid, *gap) < MIN_SIDE as i64 => {
                    let least = format!("tiles must be at least {MIN_SIDE} pixels wide");
                    return refuse(format!("`jigsaw`: {least}; images are {height} x {width}, grid {grid}, gap {gap}"));
                }
                _ => {}
            }
        }
        Ok(Self { images, ops })
    }

    /// A random view of each of `rows`, as n x channels x height x width (of tiles: n times tiles x ...) in channels_last
    /// memory. Choices that are not given are drawn.
    pub(super) fn random(
        &self,
        rows: &[usize],
        choices: Option<Choices<'_>>,
        mut chance: Chance<'_>,
    ) -> TorchResult<Tensor> {
        let mut canvas = Canvas::new(self.images, rows)?;
        for (at, op) in self.ops.iter().enumerate() {
            let given = choices.filter(|choices| choices.op == at).map(|choices| choices.of_view);
            canvas.apply(op, given, &mut chance)?;
        }
        canvas.finish()
    }

    /// Each of `rows` without chance: of all operations only the normalisation, and the given choices.
    pub(super) fn plain(&self, rows: &[usize], choices: Option<Choices<'_>>) -> TorchResult<Tensor> {
        let mut canvas = Canvas::new(self.images, rows)?;
        for (at, op) in self.ops.iter().enumerate() {
            match (op, choices) {
                (ViewOp::Normalise {}, _) => canvas.normalise()?,
                (_, Some(choices)) if choices.op == at => canvas.choose(op, choices.of_view, None)?,
                _ => {}
            }
        }
        canvas.finish()
    }
}

fn tile_side(shape: ImageShape, grid: u32, gap: u32) -> i64 {
    shape.height.min(shape.width) as i64 / i64::from(grid) - i64::from(gap)
}

/// For each image, where every row and column of its next form lies in the present one, in pixels.
struct Moves {
    rows_nh: Vec<f32>,
    columns_nw: Vec<f32>,
}

/// A batch under way.
struct Canvas<'a> {
    images: &'a Images,
    x_nchw: Tensor,
    n: usize,
    height: usize,
    width: usize,
    moves: Option<Moves>,
}

impl<'a> Canvas<'a> {
    fn new(images: &'a Images, rows: &[usize]) -> TorchResult<Self> {
        let ImageShape { height, width, .. } = images.shape();
        let x_nchw = images.unit_batch(rows)?;
        Ok(Self { images, x_nchw, n: rows.len(), height, width, moves: None })
    }

    fn apply(&mut self, op: &ViewOp, choices: Option<&[usize]>, chance: &mut Chance<'_>) -> TorchResult<()> {
        match op {
            ViewOp::PadCrop { padding } => self.pad_crop(*padding as usize, chance),
            ViewOp::ResizedCrop { scale, ratio } => self.resized_crop(*scale, *ratio, chance),
            ViewOp::Flip { p } => self.flip(*p, chance),
            ViewOp::Normalise {} => self.normalise(),
            ViewOp::Grey { p } => {
                let hits = self.draw(chance, |rng| rng.uniform() < *p);
                self.grey(&hits)
            }
            ViewOp::ColourJitter { brightness, contrast, saturation, hue, p } => {
                self.colour_jitter([*brightness, *contrast, *saturation, *hue], *p, chance)
            }
            ViewOp::Blur { sigma, p } => {
                let sigmas = self.draw(chance, |rng| {
                    let hit = rng.uniform() < *p;
                    let drawn = between(rng, *sigma);
                    if hit { drawn as f32 } else { 0.0 }
                });
                self.blur(&sigmas)
            }
            ViewOp::Cutout { side } => {
                let (height, width) = (self.height as u64, self.width as u64);
                let centres = self.draw(chance, |rng| (rng.below(height) as i64, rng.below(width) as i64));
                let reach = i64::from(*side);
                let edges = |centre: i64| [centre - reach / 2, centre - reach / 2 + reach].map(|edge| edge as f32);
                let boxes: Vec<[[f32; 2]; 2]> = centres.iter().map(|(y, x)| [edges(*y), edges(*x)]).collect();
                self.erase(&boxes)
            }
            ViewOp::Rotate90 {} | ViewOp::Erase { .. } | ViewOp::Jigsaw { .. } => {
                let n_choices = op.n_choices().unwrap_or(1) as u64;
                let drawn = self.draw(chance, |rng| rng.below(n_choices) as usize);
                self.choose(op, choices.unwrap_or(&drawn), Some(chance))
            }
        }
    }

    /// An operation with choices; without `chance` whatever else it draws takes its middle.
    fn choose(&mut self, op: &ViewOp, choices: &[usize], chance: Option<&mut Chance<'_>>) -> TorchResult<()> {
        match op {
            ViewOp::Rotate90 {} => self.rotate(choices),
            ViewOp::Erase { regions } => {
                let edges = |from: f64, size: f64, side: usize| {
                    [from * side as f64, (from + size) * side as f64].map(|edge| edge.round() as f32)
                };
                let regions: Vec<[[f32; 2]; 2]> = regions
                    .iter()
                    .map(|r| [edges(r.top, r.height, self.height), edges(r.left, r.width, self.width)])
                    .collect();
                self.erase(&choices.iter().map(|&choice| regions[choice]).collect::<Vec<_>>())
            }
            ViewOp::Jigsaw { grid, gap, orders } => {
                let orders: Vec<&[u32]> = choices.iter().map(|&choice| orders[choice].as_slice()).collect();
                self.jigsaw(*grid, *gap, &orders, chance)
            }
            _ => Ok(()),
        }
    }

    /// One draw for each image.
    fn draw<T>(&self, chance: &mut Chance<'_>, draw: impl Fn(&mut Rng) -> T) -> Vec<T> {
        (0..self.n).map(|i| draw(chance.of_image(i))).collect()
    }

    fn finish(mut self) -> TorchResult<Tensor> {
        self.settle()?;
        self.x_nchw.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])
    }

    // Moves along rows and columns.

    fn resized_crop(&mut self, scale: [f64; 2], ratio: [f64; 2], chance: &mut Chance<'_>) -> TorchResult<()> {
        self.settle()?;
        let (height, width) = (self.height, self.width);
        let crops = self.draw(chance, |rng| inception_crop(height, width, scale, ratio, rng));
        // Half-pixel centres; beyond the crop its edge pixel goes on.
        let places = |from: usize, size: usize, side: usize| {
            (0..side).map(move |i| {
                let place = (i as f64 + 0.5) * size as f64 / side as f64 - 0.5;
                (place.clamp(0.0, (size - 1) as f64) + from as f64) as f32
            })
        };
        self.moves = Some(Moves {
            rows_nh: crops.iter().flat_map(|crop| places(crop.top, crop.height, height)).collect(),
            columns_nw: crops.iter().flat_map(|crop| places(crop.left, crop.width, width)).collect(),
        });
        Ok(())
    }

    fn pad_crop(&mut self, padding: usize, chance: &mut Chance<'_>) -> TorchResult<()> {
        let choices = 2 * padding as u64 + 1;
        let corners = self.draw(chance, |rng| (rng.below(choices) as usize, rng.below(choices) as usize));
        let (height, width) = (self.height, self.width);
        let moves = self.moves();
        // Row y of the crop is row y + top - padding of what was there, or black.
        let shifted = |line: &[f32], from: usize| -> Vec<f32> {
            (0..line.len())
                .map(|i| (i + from).checked_sub(padding).and_then(|i| line.get(i)).copied().unwrap_or(NOWHERE))
                .collect()
        };
        let shift_all = |lines: &[f32], side: usize, from: &dyn Fn(usize) -> usize| -> Vec<f32> {
            lines.chunks(side).enumerate().flat_map(|(i, line)| shifted(line, from(i))).collect()
        };
        moves.rows_nh = shift_all(&moves.rows_nh, height, &|i| corners[i].0);
        moves.columns_nw = shift_all(&moves.columns_nw, width, &|i| corners[i].1);
        Ok(())
    }

    fn flip(&mut self, p: f64, chance: &mut Chance<'_>) -> TorchResult<()> {
        let hits = self.draw(chance, |rng| rng.uniform() < p);
        let width = self.width;
        let moves = self.moves();
        for (columns, _) in moves.columns_nw.chunks_mut(width).zip(hits).filter(|(_, hit)| *hit) {
            columns.reverse();
        }
        Ok(())
    }

    /// The moves to add to: those that wait, or none yet.
    fn moves(&mut self) -> &mut Moves {
        let (n, height, width) = (self.n, self.height, self.width);
        let still = |side: usize| -> Vec<f32> { (0..n).flat_map(|_| (0..side).map(|i| i as f32)).collect() };
        self.moves.get_or_insert_with(|| Moves { rows_nh: still(height), columns_nw: still(width) })
    }

    /// Computes the moves that wait.
    fn settle(&mut self) -> TorchResult<()> {
        let Some(Moves { rows_nh, columns_nw, .. }) = self.moves.take() else { return Ok(()) };
        let rows = self.bilinear(&rows_nh, self.height)?;
        let columns = self.bilinear(&columns_nw, self.width)?;
        self.x_nchw = separable(&self.x_nchw, &rows, &columns)?;
        Ok(())
    }

    /// The weight of each old pixel for each place: n x places x side. A place takes from its two neighbours; one outside
    /// takes nothing, which is black.
    fn bilinear(&self, places: &[f32], side: usize) -> TorchResult<Tensor> {
        let places = self.upload(places)?.f_view([self.n as i64, -1, 1])?;
        let pixels = Tensor::f_arange(side as i64, (Kind::Float, self.images.device()))?;
        let distance = places.f_sub(&pixels)?.f_abs()?;
        distance.f_neg()?.f_add_scalar(1.0)?.f_clamp_min(0.0)
    }

    /// A Gaussian of its own deviation for each image; deviation 0 changes nothing.
    fn blur(&mut self, sigmas: &[f32]) -> TorchResult<()> {
        self.settle()?;
        let rows = self.gaussian(sigmas, self.height)?;
        let columns = self.gaussian(sigmas, self.width)?;
        self.x_nchw = separable(&self.x_nchw, &rows, &columns)?;
        Ok(())
    }

    fn gaussian(&self, sigmas: &[f32], side: usize) -> TorchResult<Tensor> {
        let device = (Kind::Float, self.images.device());
        let pixels = Tensor::f_arange(side as i64, device)?;
        let sigma = self.upload(sigmas)?.f_clamp_min(1e-3)?.f_view([-1, 1, 1])?;
        let weight =
            |offset: Tensor| -> TorchResult<Tensor> { offset.f_div(&sigma)?.f_square()?.f_mul_scalar(-0.5)?.f_exp() };
        let (to, from) = (pixels.f_view([1, -1, 1])?, pixels.f_view([1, 1, -1])?);
        // Pixel s is seen at s, and mirrored at -s and 2 (side - 1) - s unless it is the edge itself.
        let direct = weight(from.f_sub(&to)?)?;
        let mut low = weight(from.f_neg()?.f_sub(&to)?)?;
        let high = weight(from.f_neg()?.f_add_scalar(2 * (side as i64 - 1))?.f_sub(&to)?)?;
        let _ = low.f_narrow(2, 0, 1)?.f_zero_()?;
        let _ = high.f_narrow(2, side as i64 - 1, 1)?.f_zero_()?;
        let _ = low.f_add_(&high)?;
        let all = direct.f_add(&low)?;
        all.f_div(&all.f_sum_dim_intlist([2].as_slice(), true, None)?)
    }

    // Colours.

    fn normalise(&mut self) -> TorchResult<()> {
        self.settle()?;
        self.x_nchw = self.images.normalise_unit(&self.x_nchw)?;
        Ok(())
    }

    fn grey(&mut self, hits: &[bool]) -> TorchResult<()> {
        self.settle()?;
        let Some(luma) = luma(&self.x_nchw)? else { return Ok(()) };
        let hits = self.upload(&hits.iter().map(|&hit| f32::from(u8::from(hit))).collect::<Vec<_>>())?;
        self.x_nchw = self.x_nchw.f_lerp_tensor(&luma.f_expand_as(&self.x_nchw)?, &hits.f_view([-1, 1, 1, 1])?)?;
        Ok(())
    }

    /// Each factor and the hue's turn are drawn for each image, the order of the four for the batch.
    fn colour_jitter(&mut self, strengths: [f64; 4], p: f64, chance: &mut Chance<'_>) -> TorchResult<()> {
        self.settle()?;
        let drawn = self.draw(chance, |rng| {
            let hit = rng.uniform() < p;
            let values = strengths.map(|strength| between(rng, [-strength, strength]));
            if hit { values } else { [0.0; 4] }
        });
        let mut order = [0, 1, 2, 3];
        chance.of_batch().shuffle(&mut order);
        for what in order.into_iter().filter(|&what| strengths[what] > 0.0) {
            let change = self.upload(&drawn.iter().map(|values| values[what] as f32).collect::<Vec<_>>())?;
            let change = change.f_view([-1, 1, 1, 1])?;
            self.x_nchw = adjust(what, &self.x_nchw, &change)?;
        }
        Ok(())
    }

    // Choices and holes.

    /// Image i turned `turns[i]` times by 90 degrees against the clock.
    fn rotate(&mut self, turns: &[usize]) -> TorchResult<()> {
        self.settle()?;
        let mut order: Vec<usize> = (0..self.n).collect();
        order.sort_by_key(|&i| turns[i]);
        let sorted = if order.is_sorted() { self.x_nchw.shallow_clone() } else { self.pick(&self.x_nchw, &order)? };
        let mut parts = Vec::new();
        for turn in 0..4 {
            let n = turns.iter().filter(|&&of| of == turn).count() as i64;
            let start = turns.iter().filter(|&&of| of < turn).count() as i64;
            if n > 0 {
                parts.push(sorted.f_narrow(0, start, n)?.f_rot90(turn as i64, [2, 3])?);
            }
        }
        let turned = Tensor::f_cat(&parts, 0)?;
        let mut back = vec![0; self.n];
        order.iter().enumerate().for_each(|(place, &i)| back[i] = place);
        self.x_nchw = if order.is_sorted() { turned } else { self.pick(&turned, &back)? };
        Ok(())
    }

    /// Image i with rows `boxes[i][0]` and columns `boxes[i][1]`, from and up to, set to 0.
    fn erase(&mut self, boxes: &[[[f32; 2]; 2]]) -> TorchResult<()> {
        self.settle()?;
        let inside = |axis: usize, side: usize| -> TorchResult<Tensor> {
            let edge = |end: usize| -> TorchResult<Tensor> {
                self.upload(&boxes.iter().map(|edges| edges[axis][end]).collect::<Vec<_>>())?.f_view([-1, 1])
            };
            let pixels = Tensor::f_arange(side as i64, (Kind::Float, self.images.device()))?;
            pixels.f_ge_tensor(&edge(0)?)?.f_logical_and(&pixels.f_lt_tensor(&edge(1)?)?)
        };
        let rows = inside(0, self.height)?.f_view([-1, 1, self.height as i64, 1])?;
        let columns = inside(1, self.width)?.f_view([-1, 1, 1, self.width as i64])?;
        self.x_nchw = self.x_nchw.f_masked_fill(&rows.f_logical_and(&columns)?, 0.0)?;
        Ok(())
    }

    /// The tiles of image i in the order `orders[i]`, as n times tiles x channels x side x side.
    fn jigsaw(&mut self, grid: u32, gap: u32, orders: &[&[u32]], chance: Option<&mut Chance<'_>>) -> TorchResult<()> {
        self.settle()?;
        let (n_tiles, side) = ((grid * grid) as usize, tile_side(self.images.shape(), grid, gap));
        let (cell_height, cell_width) = (self.height / grid as usize, self.width / grid as usize);
        let slack = |cell: usize| (cell as i64 - side) as u64;
        let corners: Vec<(usize, usize)> = match chance {
            Some(chance) => (0..self.n * n_tiles)
                .map(|i| {
                    let rng = chance.of_image(i / n_tiles);
                    (rng.below(slack(cell_height) + 1) as usize, rng.below(slack(cell_width) + 1) as usize)
                })
                .collect(),
            None => vec![(slack(cell_height) as usize / 2, slack(cell_width) as usize / 2); self.n * n_tiles],
        };
        // Tile t of image i: which cell stands there, and where its corner is in the image.
        let places =
            |axis: fn((usize, usize)) -> usize, cell_side: usize, cell_of: fn(usize, usize) -> usize| -> Vec<f32> {
                let tile = |i: usize, t: usize| {
                    let cell = orders[i][t] as usize;
                    let start = cell_of(cell, grid as usize) * cell_side + axis(corners[i * n_tiles + cell]);
                    (0..side as usize).map(move |pixel| (start + pixel) as f32)
                };
                (0..self.n).flat_map(|i| (0..n_tiles).flat_map(move |t| tile(i, t)).collect::<Vec<_>>()).collect()
            };
        let rows = self.bilinear(&places(|corner| corner.0, cell_height, |cell, grid| cell / grid), self.height)?;
        let columns = self.bilinear(&places(|corner| corner.1, cell_width, |cell, grid| cell % grid), self.width)?;
        let (n, tiles) = (self.n as i64, n_tiles as i64);
        let per_tile = |matrix: Tensor, old: usize| matrix.f_view([n, tiles, side, old as i64]);
        let (rows, columns) = (per_tile(rows, self.height)?, per_tile(columns, self.width)?);
        let mut cut = Vec::new();
        for tile in 0..tiles {
            cut.push(separable(&self.x_nchw, &rows.f_select(1, tile)?, &columns.f_select(1, tile)?)?);
        }
        let tiles = Tensor::f_stack(&cut, 1)?.f_flatten(0, 1)?;
        let over = [2, 3].as_slice();
        let centred = tiles.f_sub(&tiles.f_mean_dim(over, true, None)?)?;
        let deviation = centred.f_square()?.f_mean_dim(over, true, None)?.f_sqrt()?;
        self.x_nchw = centred.f_div(&deviation.f_add_scalar(1e-5)?)?;
        Ok(())
    }

    fn pick(&self, x: &Tensor, order: &[usize]) -> TorchResult<Tensor> {
        let order: Vec<i64> = order.iter().map(|&i| i as i64).collect();
        x.f_index_select(0, &Tensor::f_from_slice(&order)?.f_to_device(self.images.device())?)
    }

    fn upload(&self, values: &[f32]) -> TorchResult<Tensor> {
        Tensor::f_from_slice(values)?.f_to_device(self.images.device())
    }
}

/// `rows` x `columns`' for each image and channel; the matrices are n x new x old.
fn separable(x_nchw: &Tensor, rows: &Tensor, columns: &Tensor) -> TorchResult<Tensor> {
    let (n, channels, height, width) = x_nchw.size4()?;
    let (new_height, new_width) = (rows.size()[1], columns.size()[1]);
    let x = x_nchw.f_reshape([n, channels * height, width])?.f_bmm(&columns.f_transpose(1, 2)?)?;
    let x = x.f_view([n, channels, height, new_width])?;
    let rows = rows.f_unsqueeze(1)?.f_expand([n, channels, new_height, height], false)?;
    rows.f_matmul(&x)
}

fn between(rng: &mut Rng, [low, high]: [f64; 2]) -> f64 {
    low + rng.uniform() * (high - low)
}

#[cfg(test)]
mod tests;
