//! Adding and taking away images, by what each would change.
//!
//! With h the features of an image and p its probabilities, its Fisher information is the Kronecker product of
//! `diag(p) - p p'` and `h h'`. It is V V' for V = A (x) h with `A = (1 - p 1') diag(sqrt p)`, which has a column for each
//! class. Let M be the inverse that the trace is made of, F the pool's information and N = M F M. Adding the image (s = 1)
//! or taking it away (s = -1) changes M to `M - s M V inverse(1 + s V'M V) V'M`, and lowers the trace by s times the trace of
//! `inverse(1 + s V'M V) V'N V`. Both `V'M V` and `V'N V` follow from the c x c tables of `h'M h` and `h'N h`, a number for
//! each block of M and N: those are kept for each candidate and brought up to date, at c c d operations a change.

use super::dense::{Square, cholesky, dot, solve_lower};
use coldstart_plugin_api::{Matrix, Result};

/// Candidates that are measured at once against a row of a large matrix.
const TILE: usize = 64;

/// A chosen candidate.
pub struct Pick {
    pub candidate: usize,
    /// By how much it lowered the trace when it was added.
    pub gain: f64,
}

/// `budget` of the candidates: twice as many are added, and then some taken away again. Equal ones go to the lowest.
///
/// `go_on` hears how many changes of how many are made, and its error ends the search.
pub fn choose(
    fisher: &mut Fisher,
    images: &mut Candidates,
    budget: usize,
    go_on: impl Fn(usize, usize) -> Result<()>,
) -> Result<Vec<Pick>> {
    let n_added = (2 * budget).min(images.len());
    let n_changes = 2 * n_added - budget.min(n_added);
    let mut picks: Vec<Pick> = Vec::with_capacity(n_added);
    let mut left: Vec<usize> = (0..images.len()).collect();
    for change in 0..n_added {
        go_on(change, n_changes)?;
        let gains: Vec<f64> = left.iter().map(|i| images.effect(*i, 1.0)).collect();
        let best = (0..left.len()).fold(0, |best, l| if gains[l] > gains[best] { l } else { best });
        let candidate = left.remove(best);
        picks.push(Pick { candidate, gain: gains[best] });
        let change = fisher.change(images, candidate, 1.0);
        (0..images.len()).for_each(|i| images.update(i, &change));
    }
    for change in n_added..n_changes {
        go_on(change, n_changes)?;
        let losses: Vec<f64> = picks.iter().map(|pick| images.effect(pick.candidate, -1.0)).collect();
        let order = |a: &usize, b: &usize| {
            losses[*a].total_cmp(&losses[*b]).then(picks[*b].candidate.cmp(&picks[*a].candidate))
        };
        let Some(least) = (0..picks.len()).min_by(order) else { break };
        let change = fisher.change(images, picks.remove(least).candidate, -1.0);
        picks.iter().for_each(|pick| images.update(pick.candidate, &change));
    }
    Ok(picks)
}

/// Adds `weight` times the Fisher information of these images to the upper triangles of the blocks on and above the
/// diagonal; [`mirror`] fills the rest.
pub fn add_fisher(sum: &mut Square, probs_mc: &Matrix, embeds_md: &Matrix, weight: f64) {
    let (n_classes, d) = (probs_mc.n_cols(), embeds_md.n_cols());
    let wide = |matrix: &Matrix| matrix.elements().iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    let (probs_mc, mut embeds_md) = (wide(probs_mc), wide(embeds_md));
    // In fours, so that an element of the sum is read and written once for four images.
    embeds_md.resize(embeds_md.len().next_multiple_of(4 * d), 0.0);
    for (i, j) in (0..n_classes).flat_map(|i| (i..n_classes).map(move |j| (i, j))) {
        let same = if i == j { 1.0 } else { 0.0 };
        let coupling = |probs_c: &[f64]| weight * (same - probs_c[i]) * probs_c[j];
        let mut coupling_m: Vec<f64> = probs_mc.chunks(n_classes).map(coupling).collect();
        coupling_m.resize(embeds_md.len() / d, 0.0);
        for (four, coupling) in embeds_md.chunks_exact(4 * d).zip(coupling_m.as_chunks::<4>().0) {
            let [h0, h1, h2, h3] = [0, 1, 2, 3].map(|x| &four[x * d..][..d]);
            for a in 0..d {
                let [w0, w1, w2, w3] =
                    [coupling[0] * h0[a], coupling[1] * h1[a], coupling[2] * h2[a], coupling[3] * h3[a]];
                let row = &mut sum.row_mut(i * d + a)[j * d..][a..d];
                for (b, element) in row.iter_mut().enumerate() {
                    *element += w0 * h0[a + b] + w1 * h1[a + b] + w2 * h2[a + b] + w3 * h3[a + b];
                }
            }
        }
    }
}

/// Fills a Fisher matrix from the upper triangles of its upper blocks: every block is symmetric.
pub fn mirror(sum: &mut Square, d: usize) {
    for row in 0..sum.n() {
        for column in 0..sum.n() {
            let (i, a, j, b) = (row / d, row % d, column / d, column % d);
            let from = (i.min(j) * d + a.min(b), i.max(j) * d + a.max(b));
            if from != (row, column) {
                sum.row_mut(row)[column] = sum.row(from.0)[from.1];
            }
        }
    }
}

/// The two large matrices.
pub struct Fisher {
    /// M: the inverse of what is known.
    pub inverse: Square,
    /// F: the mean over the pool.
    pub of_pool: Square,
    pub n_classes: usize,
    pub n_features: usize,
}

/// A change of M to `M - s W W'`, with what it takes to change N = M F M too.
pub struct Change {
    sign: f64,
    /// W', c x (c d).
    w: Vec<f64>,
    /// (M F W)'.
    z: Vec<f64>,
    /// W'F W, c x c.
    s: Vec<f64>,
}

impl Fisher {
    /// Adds a candidate, or takes it away, and tells what that changes.
    pub fn change(&mut self, images: &Candidates, candidate: usize, sign: f64) -> Change {
        let (c, d, width) = (self.n_classes, self.n_features, self.inverse.n());
        let (probs_c, h) = (images.probs(candidate), images.embeds(candidate));
        let factor = images.inner(candidate, sign).unwrap_or_else(|| identity(c));
        let mut w = vec![0.0; c * width];
        for r in 0..width {
            let product_c: Vec<f64> = self.inverse.row(r).chunks(d).map(|block| dot(block, h)).collect();
            // Times A: less the mean over classes, then by the root of each class's probability.
            let mean = dot(&product_c, probs_c);
            let root = |(product, p): (&f64, &f64)| (product - mean) * (images.weight * p).sqrt();
            let mut x: Vec<f64> = product_c.iter().zip(probs_c).map(root).collect();
            solve_lower(&factor, c, &mut x);
            x.iter().enumerate().for_each(|(class, x)| w[class * width + r] = *x);
        }
        let rows_times = |matrix: &Square, rows: &[f64]| {
            let mut product = vec![0.0; c * width];
            for r in 0..width {
                rows.chunks(width).enumerate().for_each(|(i, row)| product[i * width + r] = dot(matrix.row(r), row));
            }
            product
        };
        let fw = rows_times(&self.of_pool, &w);
        let z = rows_times(&self.inverse, &fw);
        let s = fw.chunks(width).flat_map(|fw| w.chunks(width).map(|w| dot(fw, w)).collect::<Vec<f64>>()).collect();
        for r in 0..width {
            let row = self.inverse.row_mut(r);
            for w in w.chunks(width) {
                let scale = sign * w[r];
                row.iter_mut().zip(w).for_each(|(element, w)| *element -= scale * w);
            }
        }
        Change { sign, w, z, s }
    }
}

/// The images that may be chosen, and what they would change.
pub struct Candidates {
    n_classes: usize,
    n_features: usize,
    /// How much a chosen image counts.
    weight: f64,
    probs_mc: Vec<f64>,
    embeds_md: Vec<f64>,
    /// `h'M h` for each block of M, m x c x c.
    of_inverse: Vec<f64>,
    /// `h'M F M h`.
    of_trace: Vec<f64>,
}

impl Candidates {
    /// None yet; each will count `weight` times.
    pub fn new(fisher: &Fisher, weight: f64) -> Candidates {
        let (n_classes, n_features) = (fisher.n_classes, fisher.n_features);
        let (probs_mc, embeds_md, of_inverse, of_trace) = (vec![], vec![], vec![], vec![]);
        Candidates { n_classes, n_features, weight, probs_mc, embeds_md, of_inverse, of_trace }
    }

    /// These images more.
    pub fn extend(&mut self, probs_mc: &Matrix, embeds_md: &Matrix) {
        self.probs_mc.extend(probs_mc.elements().iter().map(|p| f64::from(*p)));
        self.embeds_md.extend(embeds_md.elements().iter().map(|x| f64::from(*x)));
    }

    /// Makes the tables of all candidates; `go_on` is asked now and then, and its error ends it.
    pub fn measure(&mut self, fisher: &Fisher, go_on: impl Fn() -> Result<()>) -> Result<()> {
        go_on()?;
        let of_trace = fisher.inverse.times_transposed(&fisher.of_pool).times_transposed(&fisher.inverse);
        self.of_inverse = self.tables(&fisher.inverse, &go_on)?;
        self.of_trace = self.tables(&of_trace, &go_on)?;
        Ok(())
    }

    /// `h'B h` for each block B on and above the diagonal, and its mirror image.
    fn tables(&self, matrix: &Square, go_on: impl Fn() -> Result<()>) -> Result<Vec<f64>> {
        let (c, d) = (self.n_classes, self.n_features);
        let mut tables = vec![0.0; self.len() * c * c];
        for (embeds_td, tables) in self.embeds_md.chunks(TILE * d).zip(tables.chunks_mut(TILE * c * c)) {
            go_on()?;
            for (i, a, j) in (0..c).flat_map(|i| (0..d).flat_map(move |a| (i..c).map(move |j| (i, a, j)))) {
                let block = &matrix.row(i * d + a)[j * d..][..d];
                for (h, table) in embeds_td.chunks(d).zip(tables.chunks_mut(c * c)) {
                    table[i * c + j] += h[a] * dot(block, h);
                }
            }
            for table in tables.chunks_mut(c * c) {
                (0..c * c).for_each(|at| table[at] = table[(at / c).min(at % c) * c + (at / c).max(at % c)]);
            }
        }
        Ok(tables)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.embeds_md.len() / self.n_features
    }

    fn probs(&self, i: usize) -> &[f64] {
        &self.probs_mc[i * self.n_classes..][..self.n_classes]
    }

    fn embeds(&self, i: usize) -> &[f64] {
        &self.embeds_md[i * self.n_features..][..self.n_features]
    }

    /// By how much adding a candidate would lower the trace, or taking it away raise it; infinite if it cannot be.
    fn effect(&self, i: usize, sign: f64) -> f64 {
        let c = self.n_classes;
        let Some(factor) = self.inner(i, sign) else { return f64::INFINITY * -sign };
        // The trace of inverse(L L') Y is that of X inverse(L)' for the X with L X = Y.
        let mut rows = self.between(i, &self.of_trace);
        let mut trace = 0.0;
        rows.chunks_mut(c).for_each(|row| solve_lower(&factor, c, row));
        for class in 0..c {
            let mut column: Vec<f64> = rows.iter().skip(class).step_by(c).copied().collect();
            solve_lower(&factor, c, &mut column);
            trace += column[class];
        }
        trace
    }

    /// Cholesky's factor of `1 + s V'M V`, in the lower triangle.
    fn inner(&self, i: usize, sign: f64) -> Option<Vec<f64>> {
        let c = self.n_classes;
        let mut inner = self.between(i, &self.of_inverse);
        inner.iter_mut().for_each(|x| *x *= sign);
        inner.iter_mut().step_by(c + 1).for_each(|diagonal| *diagonal += 1.0);
        cholesky(&mut inner, c).then_some(inner)
    }

    /// A'T A for the table T of a candidate.
    fn between(&self, i: usize, tables: &[f64]) -> Vec<f64> {
        let (c, probs_c) = (self.n_classes, self.probs(i));
        let table = &tables[i * c * c..][..c * c];
        let mean_c: Vec<f64> = table.chunks(c).map(|row| dot(row, probs_c)).collect();
        let mean = dot(&mean_c, probs_c);
        let root_c: Vec<f64> = probs_c.iter().map(|p| (self.weight * p).sqrt()).collect();
        let mut product = table.to_vec();
        for (a, row) in product.chunks_mut(c).enumerate() {
            for (b, x) in row.iter_mut().enumerate() {
                *x = (*x - mean_c[a] - mean_c[b] + mean) * root_c[a] * root_c[b];
            }
        }
        product
    }

    /// Brings a candidate's tables up to date: less s w w' and s (w z' + z w') - w S w', with w = h'W and z = h'M F W.
    fn update(&mut self, i: usize, change: &Change) {
        let (c, d) = (self.n_classes, self.n_features);
        let h = &self.embeds_md[i * d..][..d];
        let blocks = |rows: &[f64]| -> Vec<f64> { rows.chunks(d).map(|block| dot(block, h)).collect() };
        // Rows are the classes of the change, columns the blocks.
        let (w, z) = (blocks(&change.w), blocks(&change.z));
        let mut u = z;
        u.iter_mut().for_each(|u| *u *= change.sign);
        for (u, s_c) in u.chunks_mut(c).zip(change.s.chunks(c)) {
            for (s, w) in s_c.iter().zip(w.chunks(c)) {
                u.iter_mut().zip(w).for_each(|(u, w)| *u -= 0.5 * s * w);
            }
        }
        let (of_inverse, of_trace) = (&mut self.of_inverse[i * c * c..], &mut self.of_trace[i * c * c..]);
        for (w, u) in w.chunks(c).zip(u.chunks(c)) {
            for a in 0..c {
                for b in 0..c {
                    of_inverse[a * c + b] -= change.sign * w[a] * w[b];
                    of_trace[a * c + b] -= w[a] * u[b] + u[a] * w[b];
                }
            }
        }
    }
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n).map(|at| if at / n == at % n { 1.0 } else { 0.0 }).collect()
}
