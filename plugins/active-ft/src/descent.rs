//! The loss, its gradient, and Adam.
//!
//! With the image's similarity s to its most similar centre k, and E the sum over all centres j of `exp(cos(j, k) / t)`, an
//! image's loss is `log(exp(s) + balance E) - s`. In E only k moves; its neighbours stand still. So with a, the share of
//! `balance E` in that sum, the gradient at the unit vector k is `a (m - f) / t`: towards the image f and away from m, the
//! mean of the centres weighted by `exp(cos(j, k) / t)`. Two operations of the host see the images: which centre is
//! nearest, and the sums of a and of a f for each centre. Everything here is as large as the centres.

use coldstart_plugin_api::prelude::*;

/// Centres compared with all others at once.
const BLOCK: usize = 64;

/// The way down from a start.
pub struct Descent {
    pub temperature: f64,
    pub balance: f64,
    pub rate: f64,
    pub iterations: u32,
}

/// A loss and where it rises, for each centre.
pub struct Slope {
    pub loss: f64,
    pub gradient_bd: Vec<f64>,
}

impl Descent {
    /// The centres at unit length after all steps; `points` are at unit length, the centres at any.
    pub fn run<'a>(&self, start_bd: &Matrix, points: &Tensor<'_, 'a>, host: &Host<'a>) -> Result<Matrix> {
        let mut centres = Centres::new(start_bd);
        let mut adam = Adam::new(centres.raw_bd.len(), self.rate);
        for iteration in 0..self.iterations {
            host.progress("centres", u64::from(iteration), u64::from(self.iterations));
            let Slope { loss, gradient_bd } = self.slope(&centres, points, host)?;
            if !loss.is_finite() {
                let message = format!("the centres were lost at step {iteration}");
                return Err(Error::plugin(message).with("hint", "lower `rate`, or raise `temperature`"));
            }
            adam.step(&mut centres.raw_bd, &gradient_bd);
        }
        Matrix::new(centres.unit(), start_bd.n_cols())
    }

    /// The mean loss over the points, and its gradient in the centres before they are brought to unit length.
    pub fn slope<'a>(&self, centres: &Centres, points: &Tensor<'_, 'a>, host: &Host<'a>) -> Result<Slope> {
        let (d, unit_bd) = (centres.n_cols, centres.unit());
        let n_centres = unit_bd.len() / d;
        let nearest = points.nearest(&host.points(&Matrix::new(unit_bd.clone(), d)?)?, 1, None)?;
        let crowd = self.crowd(&unit_bd, d, host)?;

        let (mut loss, mut weight_b) = (0.0, vec![0.0; n_centres]);
        let mut weight_n = Vec::with_capacity(nearest.positions_nk.len());
        for (centre, distance) in nearest.positions_nk.iter().zip(nearest.distances_nk.elements()) {
            let cosine = 1.0 - f64::from(*distance).powi(2) / 2.0;
            let lead = self.balance.ln() + crowd.log_sum_b[*centre] - cosine / self.temperature;
            let weight = 1.0 / (1.0 + (-lead).exp());
            loss += lead.max(0.0) + (-lead.abs()).exp().ln_1p();
            weight_b[*centre] += weight;
            weight_n.push(weight as f32);
        }
        let pull_bd = points.group_sums(&nearest.positions_nk, n_centres, &weight_n)?;

        let n = weight_n.len().max(1) as f64;
        let push = |(i, mean): (usize, &f32)| weight_b[i / d] * f64::from(*mean) - f64::from(pull_bd.elements()[i]);
        let at_unit = crowd.mean_bd.iter().enumerate().map(push).map(|push| push / (n * self.temperature));
        Ok(Slope { loss: loss / n, gradient_bd: centres.before_unit(at_unit.collect()) })
    }

    /// What the other centres are to each centre, itself among them.
    fn crowd(&self, unit_bd: &[f32], d: usize, host: &Host<'_>) -> Result<Crowd> {
        let n_centres = unit_bd.len() / d;
        let mut crowd = Crowd { log_sum_b: Vec::with_capacity(n_centres), mean_bd: vec![0.0; unit_bd.len()] };
        let mut share_b = vec![0.0f32; n_centres];
        for (i, (centre, mean_d)) in unit_bd.chunks(d).zip(crowd.mean_bd.chunks_mut(d)).enumerate() {
            if i.is_multiple_of(BLOCK) {
                host.check()?;
            }
            for (share, other) in share_b.iter_mut().zip(unit_bd.chunks(d)) {
                *share = ((dot(centre, other) - 1.0) / self.temperature as f32).exp();
            }
            let sum: f64 = share_b.iter().map(|share| f64::from(*share)).sum();
            for (share, other) in share_b.iter().zip(unit_bd.chunks(d)) {
                let share = share / sum as f32;
                mean_d.iter_mut().zip(other).for_each(|(mean, x)| *mean += share * x);
            }
            crowd.log_sum_b.push(1.0 / self.temperature + sum.ln());
        }
        Ok(crowd)
    }
}

struct Crowd {
    /// The logarithm of the sum over all centres of `exp(cosine / temperature)`.
    log_sum_b: Vec<f64>,
    /// Their mean with these weights.
    mean_bd: Vec<f32>,
}

/// Centres of any length that count at unit length.
pub struct Centres {
    pub raw_bd: Vec<f64>,
    n_cols: usize,
}

impl Centres {
    pub fn new(start_bd: &Matrix) -> Centres {
        Centres {
            raw_bd: start_bd.elements().iter().map(|x| f64::from(*x)).collect(),
            n_cols: start_bd.n_cols().max(1),
        }
    }

    fn unit(&self) -> Vec<f32> {
        let unit = |raw: &[f64]| {
            let length = length(raw);
            raw.iter().map(move |x| (x / length) as f32).collect::<Vec<f32>>()
        };
        self.raw_bd.chunks(self.n_cols).flat_map(unit).collect()
    }

    /// From the gradient at the unit vectors to that before: what lies along a vector has no effect.
    fn before_unit(&self, mut gradient_bd: Vec<f64>) -> Vec<f64> {
        for (gradient, raw) in gradient_bd.chunks_mut(self.n_cols).zip(self.raw_bd.chunks(self.n_cols)) {
            let length = length(raw);
            let along = gradient.iter().zip(raw).map(|(g, x)| g * x / length).sum::<f64>();
            gradient.iter_mut().zip(raw).for_each(|(g, x)| *g = (*g - along * x / length) / length);
        }
        gradient_bd
    }
}

/// The Euclidean length; never 0, so that one can divide by it.
fn length(row: &[f64]) -> f64 {
    row.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12)
}

/// Adam (Kingma and Ba 2015) with its usual constants.
struct Adam {
    rate: f64,
    steps: i32,
    mean: Vec<f64>,
    square: Vec<f64>,
}

impl Adam {
    fn new(n: usize, rate: f64) -> Adam {
        Adam { rate, steps: 0, mean: vec![0.0; n], square: vec![0.0; n] }
    }

    fn step(&mut self, parameters: &mut [f64], gradient: &[f64]) {
        self.steps += 1;
        let unbias = [0.9f64, 0.999].map(|decay| 1.0 - decay.powi(self.steps));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((x, g), (mean, square)) in parameters.iter_mut().zip(gradient).zip(moments) {
            *mean = 0.9 * *mean + 0.1 * g;
            *square = 0.999 * *square + 0.001 * g * g;
            *x -= self.rate * (*mean / unbias[0]) / ((*square / unbias[1]).sqrt() + 1e-8);
        }
    }
}

/// The inner product, as sixteen sums side by side.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0f32; 16];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}
