//! Square matrices of f64: products, Cholesky's factor, the inverse.

/// Rows of a product that are worked on at once, so that the other matrix is read less often.
const TILE: usize = 16;

/// A square matrix, row after row.
pub struct Square {
    n: usize,
    elements: Vec<f64>,
}

impl Square {
    pub fn zeros(n: usize) -> Square {
        Square { n, elements: vec![0.0; n * n] }
    }

    pub fn n(&self) -> usize {
        self.n
    }

    pub fn row(&self, i: usize) -> &[f64] {
        &self.elements[i * self.n..][..self.n]
    }

    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.elements[i * self.n..][..self.n]
    }

    pub fn add_to_diagonal(&mut self, x: f64) {
        self.elements.iter_mut().step_by(self.n + 1).for_each(|diagonal| *diagonal += x);
    }

    /// This times the transpose of `other`.
    pub fn times_transposed(&self, other: &Square) -> Square {
        let mut product = Square::zeros(self.n);
        for tile in (0..self.n).step_by(TILE) {
            for j in 0..self.n {
                for i in tile..(tile + TILE).min(self.n) {
                    product.elements[i * self.n + j] = dot(self.row(i), other.row(j));
                }
            }
        }
        product
    }
}

/// The inverse of a symmetric matrix; none if it is not positive definite.
pub fn inverse(mut symmetric: Square) -> Option<Square> {
    let n = symmetric.n;
    if !cholesky(&mut symmetric.elements, n) {
        return None;
    }
    // Row j becomes column j of the factor's inverse.
    let mut columns = Square::zeros(n);
    for j in 0..n {
        for i in j..n {
            let factor = symmetric.row(i);
            let solved = if i == j { 1.0 } else { -dot(&factor[j..i], &columns.row(j)[j..i]) };
            columns.elements[j * n + i] = solved / factor[i];
        }
    }
    let mut inverse = symmetric;
    for tile in (0..n).step_by(TILE) {
        for j in tile..n {
            for i in tile..(tile + TILE).min(j + 1) {
                let element = dot(&columns.row(i)[j..], &columns.row(j)[j..]);
                inverse.elements[i * n + j] = element;
                inverse.elements[j * n + i] = element;
            }
        }
    }
    Some(inverse)
}

/// Puts the lower triangular factor of a symmetric matrix of `n` rows in its lower triangle; false if it has none.
pub fn cholesky(symmetric: &mut [f64], n: usize) -> bool {
    for i in 0..n {
        let (before, from_i) = symmetric.split_at_mut(i * n);
        let row = &mut from_i[..n];
        for j in 0..i {
            let factor = &before[j * n..][..j + 1];
            row[j] = (row[j] - dot(&row[..j], &factor[..j])) / factor[j];
        }
        let left = row[i] - dot(&row[..i], &row[..i]);
        if !(left > 0.0 && left.is_finite()) {
            return false;
        }
        row[i] = left.sqrt();
    }
    true
}

/// Replaces `x` by the solution of `factor solution = x`, where the factor is lower triangular with `n` rows.
pub fn solve_lower(factor: &[f64], n: usize, x: &mut [f64]) {
    for i in 0..n {
        let row = &factor[i * n..][..i + 1];
        x[i] = (x[i] - dot(&row[..i], &x[..i])) / row[i];
    }
}

/// The inner product, as eight sums side by side.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}
