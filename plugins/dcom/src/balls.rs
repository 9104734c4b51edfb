//! How large the ball of a labelled image may be.

use coldstart_plugin_api::ops::Kernel;
use coldstart_plugin_api::{Result, Tensor};
use std::collections::BTreeSet;

/// The radii that a ball can have: multiples of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    step: f64,
    n_radii: usize,
}

impl Grid {
    /// The multiples of `step` up to `largest`, at least one.
    pub fn new(step: f64, largest: f64) -> Grid {
        // 1.1 / 0.05 is a little less than 22 in binary.
        Grid { step, n_radii: ((largest / step + 1e-9) as usize).max(1) }
    }

    /// The smallest radius.
    pub fn smallest(&self) -> f64 {
        self.step
    }

    fn radii(&self) -> impl Iterator<Item = f64> {
        let step = self.step;
        (1..=self.n_radii).map(move |multiple| multiple as f64 * step)
    }

    /// For each image at `new` and each radius the share of its ball, among the references, that is seen as of its class
    /// (`class_n`, by position); 1 for a ball without any.
    pub fn purities(
        &self,
        points: &Tensor<'_, '_>,
        new: &[usize],
        labels: &[usize],
        references: &[usize],
        class_n: &[usize],
    ) -> Result<Vec<Vec<f64>>> {
        let same_br = self.same_class(points, new, labels, references, class_n)?;
        let (drawn, all) = (points.gather(references)?, points.gather(new)?);
        let mut purity_br = vec![Vec::with_capacity(self.n_radii); new.len()];
        for (r, radius) in self.radii().enumerate() {
            let size_b = all.kernel_sums(&drawn, Kernel::TopHat { radius }, None)?;
            for ((purity_r, same_r), size) in purity_br.iter_mut().zip(&same_br).zip(size_b) {
                purity_r.push(if size > 0.0 { f64::from(same_r[r]) / f64::from(size) } else { 1.0 });
            }
        }
        Ok(purity_br)
    }

    /// How many references of the image's class are in each ball.
    fn same_class(
        &self,
        points: &Tensor<'_, '_>,
        new: &[usize],
        labels: &[usize],
        references: &[usize],
        class_n: &[usize],
    ) -> Result<Vec<Vec<f32>>> {
        let mut same_br = vec![vec![0.0; self.n_radii]; new.len()];
        for class in labels.iter().collect::<BTreeSet<_>>() {
            let of_class = |i: &&usize| class_n.get(**i) == Some(class);
            let theirs: Vec<usize> = references.iter().filter(of_class).copied().collect();
            if theirs.is_empty() {
                continue;
            }
            let mine: Vec<usize> = (0..new.len()).filter(|b| labels.get(*b) == Some(class)).collect();
            let queries = points.gather(&mine.iter().map(|b| new[*b]).collect::<Vec<_>>())?;
            let theirs = points.gather(&theirs)?;
            for (r, radius) in self.radii().enumerate() {
                let count_m = queries.kernel_sums(&theirs, Kernel::TopHat { radius }, None)?;
                mine.iter().zip(count_m).for_each(|(b, count)| same_br[*b][r] = count);
            }
        }
        Ok(same_br)
    }

    /// The largest radius at which a ball is pure enough, by bisection, as if larger balls were never purer; the smallest
    /// one where none is.
    pub fn largest_pure(&self, purity_r: &[f64], level: f64) -> f64 {
        let is_pure = |multiple: usize| purity_r.get(multiple - 1).is_some_and(|purity| *purity >= level);
        let (mut pure, mut impure) = (1, self.n_radii + 1);
        while impure - pure > 1 {
            let middle = (pure + impure) / 2;
            (pure, impure) = if is_pure(middle) { (middle, impure) } else { (pure, middle) };
        }
        pure as f64 * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_holds_the_multiples_up_to_the_largest() {
        for (step, largest, n_radii) in [(0.05, 1.1, 22), (0.5, 1.2, 2), (1.0, 1.0, 1), (0.001, 2.0, 2000)] {
            assert_eq!(Grid::new(step, largest).n_radii, n_radii);
        }
    }

    #[test]
    fn bisection_finds_the_largest_pure_radius() {
        let grid = Grid::new(0.25, 2.0);
        for n_pure in 0..=8 {
            let purity_r: Vec<f64> = (0..8).map(|r| if r < n_pure { 1.0 } else { 0.5 }).collect();
            assert_eq!(grid.largest_pure(&purity_r, 0.6), 0.25 * n_pure.max(1) as f64);
            assert_eq!(grid.largest_pure(&purity_r, 0.5), 2.0);
        }
    }
}
