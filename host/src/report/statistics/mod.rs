//! What numbers say and what they do not: plain maths over slices, which knows neither runs nor files.
//!
//! `mean` has means and intervals, `paired` compares two arms over the same seeds, `curve` reads values off a learning
//! curve and measures the area below it, `penalty` counts lost comparisons, `ranking` asks how sure an order is.

mod curve;
mod mean;
mod paired;
mod penalty;
mod ranking;

pub(super) use curve::{Range, Reached, area_per_label, area_per_round, at, first_reaching};
pub(super) use mean::{half_width, mean};
pub(super) use paired::{Paired, holm, paired};
pub(super) use penalty::{checkpoints, penalties};
pub(super) use ranking::{Resamples, above, order, winner};

/// Fewer seeds than this support no claim that one arm beats another.
pub(super) const ENOUGH_SEEDS: usize = 5;
/// A difference is supported where p, corrected, is below this.
pub(super) const LEVEL: f64 = 0.05;
/// Differences of accuracies below this are rounding.
const ROUNDING: f64 = 1e-12;
