//! The maths of selection: clusters, neighbours, centres, coverage and scores of many points.
//!
//! Every kernel is exact, keeps no more than a few blocks of distances at a time, and gives the same answer on any number of
//! threads and at any size of its memory: work is cut into tiles of a fixed shape, sums are taken in a fixed order, and
//! equal values go to the lowest position. Chance comes from the caller's generator. This crate knows neither libtorch, nor
//! files, nor plugins: points are a slice of numbers.

mod error;
mod points;

pub use error::{Error, Result};
pub use points::Points;
