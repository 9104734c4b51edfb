//! The binary surface for C and every language that can speak it: the same waist as [`crate::abi`], as plain structs.
//!
//! `plugin-api/include/coldstart_plugin.h` is generated from this file, its documentation included: what stands here is
//! written for an author who reads the header alone. Frozen as [`crate::abi`] is: structs grow at their end only, and
//! the assertions at the bottom hold every field of version 1 where it is.

use std::ffi::{c_char, c_void};

/// The contract's major version: another one is refused.
pub const API_MAJOR: u32 = 1;
/// The contract's minor version that this header describes.
pub const API_MINOR: u32 = 3;

/// The call succeeded. Any other number is the reason of a failure; numbers that you do not know may come.
pub const OK: i32 = 0;
/// The user cancelled the run: stop, and return this.
pub const CANCELLED: i32 = 1;
/// The host does not offer the operation, or not now (no model is trained in round 0).
pub const UNSUPPORTED: i32 = 2;
/// The parameters, arguments or state bytes are wrong.
pub const BAD_PARAMS: i32 = 3;
/// Memory ran out.
pub const OUT_OF_MEMORY: i32 = 6;
/// The host failed while it served an operation.
pub const HOST_FAILED: i32 = 7;
/// The strategy itself reports an error.
pub const PLUGIN_FAILED: i32 = 100;

/// Element type: 32-bit float.
pub const F32: u8 = 0;
/// Element type: 64-bit unsigned integer.
pub const U64: u8 = 1;
/// Element type: byte.
pub const U8: u8 = 2;

/// UTF-8 text with its length; it need not end with a NUL. Valid for the call that it is passed to, unless said
/// otherwise. `ptr` may be NULL where `len` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TextV1 {
    /// The first byte.
    pub ptr: *const c_char,
    /// How many bytes.
    pub len: usize,
}

/// Bytes with their length, valid as a text is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BytesV1 {
    /// The first byte.
    pub ptr: *const u8,
    /// How many bytes.
    pub len: usize,
}

/// What every struct that may grow begins with. It never changes, not even with another major version: a stranger's
/// struct can always be measured and freed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HeadV1 {
    /// Bytes of the whole struct as its filler knows it. For a struct that a callee fills, the caller first writes how
    /// much room there is; the callee writes nothing beyond it.
    pub struct_size: u32,
    /// COLDSTART_API_MAJOR of whoever fills the struct.
    pub api_major: u32,
    /// COLDSTART_API_MINOR of whoever fills the struct.
    pub api_minor: u32,
    /// 0.
    pub flags: u32,
    /// Frees what the struct points to. Whoever received the struct calls it once, with `object`, when it needs nothing
    /// of it any more. NULL: nothing is to be freed.
    pub release: Option<unsafe extern "C" fn(object: *mut c_void)>,
    /// The first argument of every function of the struct, and of `release`. Its owner's business.
    pub object: *mut c_void,
}

/// Why a call failed, in words. The number is the call's return value. An untouched fault is a failure without words.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FaultV1 {
    /// See coldstart_head_v1.
    pub head: HeadV1,
    /// One sentence for a person. Valid until `head.release`; for ever, if that is NULL.
    pub message: TextV1,
    /// A MessagePack map with more, text to text (`hint`, `pointer`), or empty.
    pub detail: BytesV1,
}

/// Bytes that belong to whoever filled the struct, until `head.release`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OwnedBytesV1 {
    /// See coldstart_head_v1.
    pub head: HeadV1,
    /// The bytes.
    pub bytes: BytesV1,
}

/// What an operation of the host answers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AnswerV1 {
    /// See coldstart_head_v1.
    pub head: HeadV1,
    /// The answer, a MessagePack map. Valid until `head.release`.
    pub message: BytesV1,
    /// The ids of the tensors that the operation made. The array is valid until `head.release`, the tensors until the
    /// call into the plugin returns or `tensor_release`.
    pub tensors: *const u64,
    /// How many tensors.
    pub n_tensors: usize,
}

/// What a tensor is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TensorInfoV1 {
    /// See coldstart_head_v1.
    pub head: HeadV1,
    /// The length of each axis. Valid until `head.release`.
    pub shape: *const u64,
    /// How many axes.
    pub n_axes: usize,
    /// COLDSTART_F32, COLDSTART_U64 or COLDSTART_U8; more numbers may come.
    pub dtype: u8,
}

/// The services of the host, valid for the call that they are passed to and never after it. Every function may be called
/// from any thread, takes `head.object` first, and blocks until it is done. Where a function returns a number,
/// COLDSTART_OK is success. A fault and an answer may be NULL: then nobody wants to know.
///
/// Tensors are little-endian and row-major, last axis fastest, and live in the host: a plugin holds their ids, and copies
/// what it wants to see.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HostV1 {
    /// See coldstart_head_v1.
    pub head: HeadV1,
    /// Whether the host offers an operation, such as `model.predict/1`.
    pub supports: Option<unsafe extern "C" fn(object: *mut c_void, op: TextV1) -> bool>,
    /// Call an operation: a message and tensors in, a message and tensors out.
    pub invoke: Option<
        unsafe extern "C" fn(
            object: *mut c_void,
            op: TextV1,
            args: BytesV1,
            inputs: *const u64,
            n_inputs: usize,
            answer: *mut AnswerV1,
            fault: *mut FaultV1,
        ) -> i32,
    >,
    /// What a tensor is.
    pub tensor_info: Option<
        unsafe extern "C" fn(object: *mut c_void, tensor: u64, info: *mut TensorInfoV1, fault: *mut FaultV1) -> i32,
    >,
    /// Copy bytes of a tensor, from `byte_offset` on: at most `len`, and fewer at its end. `n_read` says how many.
    pub tensor_read: Option<
        unsafe extern "C" fn(
            object: *mut c_void,
            tensor: u64,
            byte_offset: u64,
            into: *mut u8,
            len: usize,
            n_read: *mut u64,
            fault: *mut FaultV1,
        ) -> i32,
    >,
    /// Give the host a tensor, for an operation to read.
    pub tensor_put: Option<
        unsafe extern "C" fn(
            object: *mut c_void,
            dtype: u8,
            shape: *const u64,
            n_axes: usize,
            bytes: BytesV1,
            tensor: *mut u64,
            fault: *mut FaultV1,
        ) -> i32,
    >,
    /// Forget a tensor. All are forgotten when the call into the plugin returns.
    pub tensor_release: Option<unsafe extern "C" fn(object: *mut c_void, tensor: u64)>,
    /// Whether anybody reads log lines of this level: 1 error, 2 warning, 3 information, 4 debugging, 5 everything.
    pub log_enabled: Option<unsafe extern "C" fn(object: *mut c_void, level: u8, target: TextV1) -> bool>,
    /// Write a log line. `fields` is a MessagePack map, text to text, or empty.
    pub log:
        Option<unsafe extern "C" fn(object: *mut c_void, level: u8, target: TextV1, message: TextV1, fields: BytesV1)>,
    /// Tell the user how far a long call has come.
    pub progress: Option<unsafe extern "C" fn(object: *mut c_void, stage: TextV1, done: u64, total: u64)>,
    /// Whether the user has cancelled. Ask in long loops, and return COLDSTART_CANCELLED.
    pub cancelled: Option<unsafe extern "C" fn(object: *mut c_void) -> bool>,
    /// Fill `into` from the random stream of that name: the same bytes on every machine for the same run, round and
    /// plugin. Draw from nothing else.
    pub rng_fill: Option<unsafe extern "C" fn(object: *mut c_void, stream: TextV1, into: *mut u8, len: usize)>,
}

/// What a strategy is asked in one round.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RequestV1 {
    /// See coldstart_head_v1.
    pub head: HeadV1,
    /// How many images to choose: as many, or all unlabelled ones if there are fewer.
    pub budget: u64,
    /// A tensor of the ids to choose from: COLDSTART_U64, ascending.
    pub unlabelled: u64,
    /// A tensor of the ids that have a label: COLDSTART_U64, ascending.
    pub labelled: u64,
    /// A MessagePack map, or empty.
    pub extra: BytesV1,
    /// The seed of this run, round and plugin; `rng_fill` draws from it.
    pub seed: [u8; 32],
    /// 0 for the initial set, then 1, 2, ...
    pub round: u32,
}

/// What a strategy chose. The arrays belong to the plugin, until `head.release`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SelectionV1 {
    /// See coldstart_head_v1.
    pub head: HeadV1,
    /// Ids in the order chosen, each from `unlabelled`, none twice.
    pub ids: *const u64,
    /// How many: `budget`, or all unlabelled ones if there are fewer.
    pub n_ids: usize,
    /// One finite score for each id, for the record; or NULL.
    pub scores: *const f32,
    /// `n_ids` or 0.
    pub n_scores: usize,
    /// A MessagePack map, or empty.
    pub report: BytesV1,
}

/// One instance of a strategy. It is used by one thread at a time, but not always by the same one. The same request,
/// answers of the host and seed must give the same selection. A function that is NULL is absent.
///
/// No exception may leave a function: catch it, and return a number.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SelectorV1 {
    /// `head.release` frees the instance, this struct included.
    pub head: HeadV1,
    /// Choose images. Required.
    pub select: Option<
        unsafe extern "C" fn(
            object: *mut c_void,
            request: *const RequestV1,
            host: *const HostV1,
            selection: *mut SelectionV1,
            fault: *mut FaultV1,
        ) -> i32,
    >,
    /// The state that the next round builds on; stored after every round. Absent: there is none.
    pub save: Option<unsafe extern "C" fn(object: *mut c_void, state: *mut OwnedBytesV1, fault: *mut FaultV1) -> i32>,
    /// Take up a state made by `save`, when a run is resumed.
    pub load: Option<unsafe extern "C" fn(object: *mut c_void, state: BytesV1, fault: *mut FaultV1) -> i32>,
    /// For later: an operation of the plugin. Absent: it has none.
    pub invoke: Option<
        unsafe extern "C" fn(
            object: *mut c_void,
            op: TextV1,
            args: BytesV1,
            host: *const HostV1,
            answer: *mut OwnedBytesV1,
            fault: *mut FaultV1,
        ) -> i32,
    >,
}

/// What a plugin exports, under the name coldstart_plugin_entry_v1. It is valid for ever, and its `head.release` is never
/// called: a plugin is never unloaded.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PluginV1 {
    /// See coldstart_head_v1.
    pub head: HeadV1,
    /// The text of COLDSTART_MANIFEST.
    pub manifest: TextV1,
    /// Make an instance of the strategy `name`. `params_json` is a JSON object that fits the manifest's schema, every
    /// default written out. Write the instance to `selector`; it must stay in its place until it is released. Required.
    pub create: Option<
        unsafe extern "C" fn(
            object: *mut c_void,
            name: TextV1,
            params_json: TextV1,
            host: *const HostV1,
            selector: *mut *const SelectorV1,
            fault: *mut FaultV1,
        ) -> i32,
    >,
}

// SAFETY: the table is read-only, and its functions may be called from any thread.
unsafe impl Send for PluginV1 {}
// SAFETY: as above.
unsafe impl Sync for PluginV1 {}

/// The symbol that a plugin exports: a constant [`PluginV1`].
pub const ENTRY_SYMBOL: &str = "coldstart_plugin_entry_v1";

/// A struct that may grow, and that one side fills and the other reads.
///
/// # Safety
/// It is `repr(C)`, begins with a [`HeadV1`], and zero bytes are a value of it.
pub unsafe trait Headed: Copy {
    /// Its size in version 1: a filled one is never smaller.
    const LEAST: usize;

    /// What it begins with.
    fn head(&self) -> &HeadV1;

    /// One for another side to fill: a head that says how much room there is, and zeros.
    fn empty() -> Self {
        let mut empty = std::mem::MaybeUninit::<Self>::zeroed();
        // SAFETY: the trait demands that a head comes first and that zeros are a value of the rest.
        unsafe {
            empty.as_mut_ptr().cast::<HeadV1>().write(HeadV1::of::<Self>());
            empty.assume_init()
        }
    }
}

impl HeadV1 {
    /// The head of a `T` of this version, with nothing to free.
    pub fn of<T: Headed>() -> HeadV1 {
        HeadV1 {
            struct_size: size_of::<T>() as u32,
            api_major: API_MAJOR,
            api_minor: API_MINOR,
            flags: 0,
            release: None,
            object: std::ptr::null_mut(),
        }
    }
}

/// Where the fields of a struct lie: its name in C, size and alignment, and name, offset, size and alignment of each.
#[doc(hidden)]
pub struct Layout {
    pub name: &'static str,
    pub size: usize,
    pub align: usize,
    pub fields: Vec<(&'static str, usize, usize, usize)>,
}

/// Assert the fields of version 1 in their places; a field of a later minor version is appended, and to its row.
macro_rules! frozen {
    ($($name:ident $c_name:literal [$($headed:literal)?] { $($field:ident: $offset:literal),* })*) => {
        $(
            const _: () = { $(assert!(std::mem::offset_of!($name, $field) == $offset);)* };
            $(
                const _: () = assert!(size_of::<$name>() >= $headed);
                // SAFETY: `repr(C)`, `head` is at 0 as asserted, and the other fields are numbers, pointers that may be
                // null, and functions that may be absent.
                unsafe impl Headed for $name {
                    const LEAST: usize = $headed;

                    fn head(&self) -> &HeadV1 {
                        &self.head
                    }
                }
            )?
        )*

        /// Every struct of the surface, for the dump that the tests compare.
        #[doc(hidden)]
        pub fn layouts() -> Vec<Layout> {
            fn field<S, F>(name: &'static str, offset: usize, _: fn(S) -> F) -> (&'static str, usize, usize, usize) {
                (name, offset, size_of::<F>(), align_of::<F>())
            }
            vec![$(Layout {
                name: $c_name,
                size: size_of::<$name>(),
                align: align_of::<$name>(),
                fields: vec![
                    $(field(stringify!($field), std::mem::offset_of!($name, $field), |whole: $name| whole.$field)),*
                ],
            }),*]
        }
    };
}

frozen! {
    TextV1 "coldstart_text_v1" [] { ptr: 0, len: 8 }
    BytesV1 "coldstart_bytes_v1" [] { ptr: 0, len: 8 }
    HeadV1 "coldstart_head_v1" [] {
        struct_size: 0, api_major: 4, api_minor: 8, flags: 12, release: 16, object: 24
    }
    FaultV1 "coldstart_fault_v1" [64] { head: 0, message: 32, detail: 48 }
    OwnedBytesV1 "coldstart_owned_bytes_v1" [48] { head: 0, bytes: 32 }
    AnswerV1 "coldstart_answer_v1" [64] { head: 0, message: 32, tensors: 48, n_tensors: 56 }
    TensorInfoV1 "coldstart_tensor_info_v1" [56] { head: 0, shape: 32, n_axes: 40, dtype: 48 }
    HostV1 "coldstart_host_v1" [120] {
        head: 0, supports: 32, invoke: 40, tensor_info: 48, tensor_read: 56, tensor_put: 64, tensor_release: 72,
        log_enabled: 80, log: 88, progress: 96, cancelled: 104, rng_fill: 112
    }
    RequestV1 "coldstart_request_v1" [112] {
        head: 0, budget: 32, unlabelled: 40, labelled: 48, extra: 56, seed: 72, round: 104
    }
    SelectionV1 "coldstart_selection_v1" [80] { head: 0, ids: 32, n_ids: 40, scores: 48, n_scores: 56, report: 64 }
    SelectorV1 "coldstart_selector_v1" [64] { head: 0, select: 32, save: 40, load: 48, invoke: 56 }
    PluginV1 "coldstart_plugin_v1" [56] { head: 0, manifest: 32, create: 48 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surface_in_c_has_the_version_of_the_contract() {
        assert!(crate::API_VERSION.starts_with(&format!("{API_MAJOR}.{API_MINOR}.")));
        for layout in layouts() {
            let end = layout.fields.iter().map(|(_, offset, size, _)| offset + size).max().unwrap();
            assert!(end.next_multiple_of(layout.align) == layout.size, "`{}` has a field without a row", layout.name);
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_contract() {
        use crate::Code;
        use crate::abi::DType;
        for (code, number) in [
            (Code::CANCELLED, CANCELLED),
            (Code::UNSUPPORTED, UNSUPPORTED),
            (Code::BAD_PARAMS, BAD_PARAMS),
            (Code::OUT_OF_MEMORY, OUT_OF_MEMORY),
            (Code::HOST, HOST_FAILED),
            (Code::PLUGIN, PLUGIN_FAILED),
        ] {
            assert_eq!(code.0, number);
        }
        assert_eq!([DType::F32, DType::U64, DType::U8], [DType(F32), DType(U64), DType(U8)]);
    }
}
