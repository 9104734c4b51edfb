//! Plugins: find them, read what they say of themselves, verify them, load them, call them.
//!
//! Nothing about a plugin is learned by loading it: constructors run inside `dlopen`, before any symbol is looked up.
//! So the order is always: name (from manifests, by reading files), content hash against the lock, manifest, ELF checks,
//! sealed copy in memory, `dlopen`, layout check both ways, descriptor. Every failure has a stable code, `P001` to `P020`.
//!
//! This room knows no torch, no data set and no loop.

mod elf;
mod error;
mod instance;
mod load;
mod manifest;
mod params;
mod search;

pub use elf::Facts;
pub use error::{CODES, PluginCode, PluginError};
pub use instance::{Instance, check_selection};
pub use load::Library;
pub use manifest::Manifest;
pub use params::with_defaults;
pub use search::{Candidate, SearchPath, StrategyName};
