//! The maths of selection: clusters, neighbours, centres, coverage and scores of many points.
//!
//! Every kernel is exact, keeps no more than a few blocks of distances at a time, and gives the same answer on any number of
//! threads and at any size of its memory: work is cut into tiles of a fixed shape, sums are taken in a fixed order, and
//! equal values go to the lowest position. Chance comes from the caller's generator. This crate knows neither libtorch, nor
//! files, nor plugins: points are a slice of numbers.

mod ball;
mod centres;
mod closest;
mod coverage;
mod elementary;
mod error;
mod handcrafted;
mod kernel;
mod kmeans;
mod nearest;
mod order;
mod pairs;
mod points;
mod reduce;
mod seeds;
mod sums;
#[cfg(test)]
mod testing;
mod whiten;
mod wide;

pub use centres::{Centres, k_center};
pub use closest::Cloud;
pub use coverage::{Coverage, Covered, coverage};
pub use error::{Error, Result};
pub use handcrafted::handcrafted;
pub use kernel::Kernel;
pub use kmeans::{Clustering, Effort, kmeans};
pub use nearest::{Neighbours, knn, nearest};
pub use order::{argsort, topk};
pub use points::Points;
pub use reduce::{Measure, reduce};
pub use seeds::{First, kmeans_pp};
pub use sums::{group_sums, kernel_sums, self_kernel_sums};
pub use whiten::{Components, principal};

/// Asked between passes whether to go on; where it says no, a kernel ends with [`Error::Cancelled`].
pub type GoOn<'a> = &'a (dyn Fn() -> bool + Sync);

pub(crate) fn check(go_on: GoOn<'_>) -> Result<()> {
    if go_on() { Ok(()) } else { Err(Error::Cancelled) }
}
