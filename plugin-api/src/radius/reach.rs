//! What balls of one radius cover, in words.

use super::Places;
use crate::ops::{self, Kernel};
use crate::{Result, Tensor};
use std::fmt;

/// The target of log lines.
pub(super) const TARGET: &str = "coverage";

/// Balls that cover less than this share of the pool are worth a warning.
const LITTLE: f64 = 1.0 / 3.0;

/// At most so many balls are counted out for the median.
const COUNTED: usize = 1000;

/// How far balls of one radius reach: what a strategy that covers says of itself in every round.
///
/// A radius that is too small looks like any other: greedy picks then crowd where images lie closest, and nothing else shows
/// it (Bae, Noh and Sutherland 2024 call coverage with a radius extremely sensitive to it).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reach {
    /// The radius.
    pub radius: f64,
    /// Balls around picks.
    pub n_picked: usize,
    /// Balls around labelled images.
    pub n_labelled: usize,
    /// The share of the pool that lies in a ball.
    pub share: f64,
    /// How many images the median ball around any image of the pool holds, its own centre included; of a large pool, that of
    /// 1000 evenly spaced images. Absent where the host has no [`ops::KERNEL_SUMS_1`] or the pool is empty.
    pub median: Option<usize>,
}

impl Reach {
    /// The reach of `n_picked` balls of this radius and those of the labelled, which cover this share of the pool together.
    ///
    /// Asks for [`ops::KERNEL_SUMS_1`] where the host has it, and errs as that does.
    pub fn of(points: &Tensor<'_, '_>, places: &Places, radius: f64, n_picked: usize, share: f64) -> Result<Reach> {
        let median = match points.host.supports(ops::KERNEL_SUMS_1) {
            true => median_ball(points, radius)?,
            false => None,
        };
        Ok(Reach { radius, n_picked, n_labelled: places.labelled.len(), share, median })
    }

    /// Log it: as information, or where it is less than a third of the pool as a warning, with what one can do about it.
    pub fn tell(&self, remedy: &str) {
        if self.share < LITTLE {
            log::warn!(target: TARGET, "{self}. Picks then crowd where images lie closest: {remedy}");
        } else {
            log::info!(target: TARGET, "{self}");
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reach { radius, n_picked, n_labelled, share, median } = self;
        write!(f, "{n_picked} {} of radius ", plural(*n_picked, "ball", "balls"))?;
        match *radius >= 0.01 {
            true => write!(f, "{radius:.3}")?,
            false => write!(f, "{radius:.2e}")?,
        }
        match n_labelled {
            0 => {}
            1 => write!(f, " and that of the labelled image")?,
            n => write!(f, " and those of {n} labelled images")?,
        }
        let singular = n_picked + n_labelled == 1;
        write!(f, " {} {:.1} % of the pool", if singular { "covers" } else { "cover" }, 100.0 * share)?;
        match median {
            Some(n) => write!(f, "; the median ball holds {n} {}", plural(*n, "image", "images")),
            None => Ok(()),
        }
    }
}

fn plural<'w>(n: usize, one: &'w str, many: &'w str) -> &'w str {
    if n == 1 { one } else { many }
}

/// How many points the median ball of this radius holds, among those around at most [`COUNTED`] evenly spaced points; the lower
/// one of two medians.
fn median_ball(points: &Tensor<'_, '_>, radius: f64) -> Result<Option<usize>> {
    let n = points.n_rows()?;
    let n_counted = n.min(COUNTED);
    let even: Vec<usize> = (0..n_counted).map(|i| i * n / n_counted).collect();
    if even.is_empty() {
        return Ok(None);
    }
    let mut sizes = points.gather(&even)?.kernel_sums(points, Kernel::TopHat { radius }, None)?;
    sizes.sort_unstable_by(f32::total_cmp);
    Ok(sizes.get(sizes.len().saturating_sub(1) / 2).map(|size| size.round() as usize))
}
