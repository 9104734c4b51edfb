//! The contract between Coldstart and its strategies, and the kit to write one.
//!
//! A strategy chooses which images to label. It is a dynamic library that the host loads by name: an author writes a
//! parameter struct, implements [`Strategy`], and calls [`export_plugin!`] once.
//!
//! ```
//! use coldstart_plugin_api::prelude::*;
//!
//! struct LeastConfidence;
//!
//! impl Strategy for LeastConfidence {
//!     type Params = NoParams;
//!
//!     fn new(_: NoParams, _: &Host<'_>) -> Result<Self> {
//!         Ok(LeastConfidence)
//!     }
//!
//!     fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
//!         let probs_nc = host.predict(&request.unlabelled)?.probabilities()?;
//!         let scores_n = probs_nc.rows().map(|p| 1.0 - p.iter().copied().fold(0.0, f32::max)).collect();
//!         Ok(Selection::highest(request, scores_n))
//!     }
//! }
//! ```
//!
//! What this crate does not do: it knows no host, no libtorch, no data set and no strategy. It follows semantic
//! versioning for ever within 1.x: a plugin built against 1.0 is loaded by every 1.x host, and the other way round.

mod error;
mod host;
mod log_bridge;
mod maths;
mod rng;
mod sizer;
mod strategy;

pub mod abi;
pub mod capi;
pub mod export;
pub mod manifest;
pub mod ops;
pub mod params;
pub mod radius;
pub mod recipes;
pub mod tensors;
pub mod testing;
pub mod training;
pub mod wire;

pub use error::{Code, Error, Result};
pub use host::{Host, Matrix, Predict, Prequential, Tensor, Trained};
pub use maths::{Clusters, Coverage, Neighbours, Passes, Picks};
pub use params::{NoParams, Params};
pub use rng::Rng;
pub use sizer::{Bounds, Sizer, Sizing};
pub use strategy::{Request, Role, Selection, Strategy};

/// The version of the contract, which the manifest records.
pub const API_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a strategy's source begins with: `use coldstart_plugin_api::prelude::*;`.
pub mod prelude {
    pub use crate::ops::{self, Op, Output};
    pub use crate::training::TrainSpec;
    pub use crate::{
        Bounds, Code, Coverage, Error, Host, Matrix, NoParams, Params, Prequential, Request, Result, Rng, Role,
        Selection, Sizer, Sizing, Strategy, Tensor, export_plugin,
    };
}

/// What generated code refers to; not for authors.
#[doc(hidden)]
pub mod __private {
    pub use abi_stable;
    pub use serde;
    pub use serde_json;
}
