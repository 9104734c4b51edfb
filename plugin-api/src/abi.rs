//! The binary surface: the only types that cross the border between host and plugin.
//!
//! Frozen for all of 1.x. Plain structs never change; each that may have to grow carries a byte map for the growth.
//! The two traits and the root module grow only by methods with a default body, appended after `last_prefix_field`: an
//! older other side then gets the default. `plugin-api/abi-layout.txt` shows every field's place, and a test compares it.
//! Everything rich is an operation: a versioned name with MessagePack arguments (see [`crate::ops`]).
//! Neither authors nor the rest of the host see this module: authors use [`crate::Strategy`] and [`crate::Host`].

// abi_stable's generated code trips these; they are allowed in this module alone.
#![allow(
    non_local_definitions,
    unused_qualifications,
    missing_docs,
    clippy::all,
    reason = "abi_stable's generated code trips these lints"
)]

use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RBox, RResult, RSlice, RSliceMut, RStr, RString, RVec};
use abi_stable::{StableAbi, sabi_trait};

pub use abi_stable::library::{LibHeader, RootModuleResult};
pub use abi_stable::sabi_types::RRef;
pub use abi_stable::std_types;

/// Why a call failed: an open enumeration (see the constants of [`crate::Code`]).
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct Fault {
    pub code: i32,
    pub message: RString,
    /// A MessagePack map with more (backtrace, JSON pointer, hint), or empty.
    pub detail: RVec<u8>,
}

/// A tensor that the host keeps: a slot with a generation, never a pointer.
#[repr(transparent)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorId(pub u64);

/// An element type: 0 = f32, 1 = u64, 2 = u8; more numbers may come.
#[repr(transparent)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq)]
pub struct DType(pub u8);

#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct TensorInfo {
    pub dtype: DType,
    pub shape: RVec<u64>,
}

/// Host to plugin: the services of one call. Callable from any thread, blocking; never kept after the call.
#[sabi_trait]
pub trait Host: Send + Sync {
    fn supports(&self, op: RStr<'_>) -> bool;
    fn invoke(
        &self,
        op: RStr<'_>,
        args: RSlice<'_, u8>,
        inputs: RSlice<'_, TensorId>,
        outputs: &mut RVec<TensorId>,
    ) -> RResult<RVec<u8>, Fault>;
    fn tensor_info(&self, tensor: TensorId) -> RResult<TensorInfo, Fault>;
    fn tensor_read(&self, tensor: TensorId, byte_offset: u64, into: RSliceMut<'_, u8>) -> RResult<u64, Fault>;
    fn tensor_put(&self, dtype: DType, shape: RSlice<'_, u64>, bytes: RSlice<'_, u8>) -> RResult<TensorId, Fault>;
    fn tensor_release(&self, tensor: TensorId);
    fn log_enabled(&self, level: u8, target: RStr<'_>) -> bool;
    fn log(&self, level: u8, target: RStr<'_>, message: RStr<'_>, fields: RSlice<'_, u8>);
    fn progress(&self, stage: RStr<'_>, done: u64, total: u64);
    fn cancelled(&self) -> bool;
    #[sabi(last_prefix_field)]
    fn rng_fill(&self, stream: RStr<'_>, into: RSliceMut<'_, u8>);
}

/// A borrowed host, valid for one call: the type forbids keeping it.
pub type HostRef<'a> = Host_TO<'a, RRef<'a, ()>>;

/// What the plugin is asked: `unlabelled` and `labelled` are u64 tensors of ascending dataset ids.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct Request {
    pub round: u32,
    pub budget: u64,
    pub seed: [u8; 32],
    pub unlabelled: TensorId,
    pub labelled: TensorId,
    /// A MessagePack map, empty in 1.0.
    pub extra: RVec<u8>,
}

/// What the plugin answers: ids in the order chosen, with one score each or none at all.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct Selection {
    pub ids: RVec<u64>,
    pub scores: RVec<f32>,
    /// A MessagePack map, empty in 1.0.
    pub report: RVec<u8>,
}

/// Plugin to host: one instance of a strategy.
#[sabi_trait]
pub trait Selector: Send {
    fn select(&mut self, request: &Request, host: HostRef<'_>) -> RResult<Selection, Fault>;
    fn save(&self) -> RResult<RVec<u8>, Fault>;
    fn load(&mut self, state: RSlice<'_, u8>) -> RResult<(), Fault>;
    #[sabi(last_prefix_field)]
    fn invoke(&mut self, op: RStr<'_>, args: RSlice<'_, u8>, host: HostRef<'_>) -> RResult<RVec<u8>, Fault>;
}

pub type SelectorBox = Selector_TO<'static, RBox<()>>;

/// The one thing a plugin exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RootRef)))]
#[sabi(missing_field(panic))]
pub struct Root {
    /// The manifest: canonical JSON, the same bytes as the ELF section.
    pub descriptor: extern "C" fn() -> RStr<'static>,
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(name: RStr<'_>, params_json: RStr<'_>, host: HostRef<'_>) -> RResult<SelectorBox, Fault>,
}

impl RootModule for RootRef {
    abi_stable::declare_root_module_statics! {RootRef}
    const BASE_NAME: &'static str = "coldstart_plugin";
    const NAME: &'static str = "coldstart_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
