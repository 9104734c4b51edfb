//! Plugins: find them, read what they say of themselves, verify them, load them, call them.
//!
//! Nothing about a plugin is learned by loading it: constructors run inside `dlopen`, before any symbol is looked up.
//! So the order is always: name (from manifests, by reading files), content hash against the lock, manifest, ELF checks,
//! sealed copy in memory, `dlopen`, layout check both ways, descriptor. Every failure has a stable code, `P001` to `P021`.
//!
//! This room knows no torch, no data set and no loop.

pub mod authority;
mod c_entry;
pub mod doctor;
mod elf;
mod entry;
mod error;
pub mod fuzz;
pub mod install;
mod instance;
pub(crate) mod isolate;
mod load;
pub mod lock;
mod manifest;
pub mod package;
mod params;
mod record;
mod replay;
pub(crate) mod script;
mod search;
pub mod trust;

pub use elf::Facts;
pub use error::{CODES, PluginCode, PluginError};
pub use instance::{Answer, Instance, Plugin, check_selection, check_sizing};
pub use isolate::{Confinement, Limits, as_worker, confine, only_read};
pub use load::{ENTRIES, Library, Verified, in_sealed_memory, is_script, read_manifest};
pub use manifest::Manifest;
pub use params::{Composed, composed, with_defaults};
pub use record::{Head, Recorder};
pub use replay::{Finding, Recording};
pub use search::{Candidate, Content, Found, SEARCHED, SearchPath, StrategyName, warn_once};
