//! The host's services as a table of C functions, for the length of one call.
//!
//! What C code gets as `object` is a number, not a pointer: a wrong one, or one that was kept after its call, is an
//! error.

use super::raw::{self, MOST_BYTES};
use coldstart_plugin_api::abi::std_types::{RSlice, RSliceMut, RVec};
use coldstart_plugin_api::abi::{DType, Fault, HostRef, TensorId};
use coldstart_plugin_api::capi::{
    AnswerV1, BytesV1, FaultV1, HOST_FAILED, HeadV1, Headed, HostV1, OK, TensorInfoV1, TextV1,
};
use coldstart_plugin_api::{Code, Error};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// A host, as long as its call lasts.
type Live = RwLock<Option<HostRef<'static>>>;

/// The calls under way, by the number that the plugin has of them.
static CALLS: Mutex<BTreeMap<usize, Arc<Live>>> = Mutex::new(BTreeMap::new());

/// One call into a plugin. Its end waits for the plugin's threads that are inside an operation, and no more get in.
pub struct Call<'a> {
    number: usize,
    live: Arc<Live>,
    table: HostV1,
    host: PhantomData<HostRef<'a>>,
}

impl<'a> Call<'a> {
    /// A call that may use this host.
    pub fn begin(host: HostRef<'a>) -> Call<'a> {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: only the lifetime is another one. `drop` takes the host away before `'a` ends, after the last use.
        let host = unsafe { std::mem::transmute::<HostRef<'a>, HostRef<'static>>(host) };
        let live = Arc::new(RwLock::new(Some(host)));
        CALLS.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&live));
        Call { number, live, table: table(number), host: PhantomData }
    }

    /// The table for the plugin, valid as long as the call is.
    pub fn table(&self) -> *const HostV1 {
        &raw const self.table
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        CALLS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn table(number: usize) -> HostV1 {
    HostV1 {
        head: HeadV1 { object: std::ptr::without_provenance_mut(number), ..HeadV1::of::<HostV1>() },
        supports: Some(supports),
        invoke: Some(invoke),
        tensor_info: Some(tensor_info),
        tensor_read: Some(tensor_read),
        tensor_put: Some(tensor_put),
        tensor_release: Some(tensor_release),
        log_enabled: Some(log_enabled),
        log: Some(log),
        progress: Some(progress),
        cancelled: Some(cancelled),
        rng_fill: Some(rng_fill),
    }
}

/// Do something with the host of a call; `None` if there is no such call, or the host panics, which must not unwind
/// into C.
fn with<R>(object: *mut c_void, body: impl FnOnce(&HostRef<'static>) -> R) -> Option<R> {
    let live = CALLS.lock().unwrap_or_else(PoisonError::into_inner).get(&object.addr()).cloned()?;
    let host = live.read().unwrap_or_else(PoisonError::into_inner);
    let host = host.as_ref()?;
    catch_unwind(AssertUnwindSafe(|| body(host))).ok()
}

/// As [`with`], for what can fail: the number for the plugin, and the words in its fault.
///
/// # Safety
/// `fault` is null or points to a struct that says how large it is.
unsafe fn tried(
    object: *mut c_void,
    fault: *mut FaultV1,
    body: impl FnOnce(&HostRef<'static>) -> Result<(), Fault>,
) -> i32 {
    let gone = || Err(Error::new(Code(HOST_FAILED), "there is no such call: a host is not to be kept").into());
    let Err(Fault { code, message, detail }) = with(object, body).unwrap_or_else(gone) else { return OK };
    // SAFETY: the caller's promise. A fault that is too small to be filled goes unsaid; the number remains.
    if let Ok(Some(room)) = unsafe { Room::of("the fault", fault) } {
        let kept = Box::new((message, detail));
        let text = TextV1 { ptr: kept.0.as_ptr().cast(), len: kept.0.len() };
        let detail = bytes_v1(&kept.1);
        room.fill(FaultV1 { head: owner::<FaultV1, _>(kept), message: text, detail });
    }
    // A fault without a number of its own must not look like success.
    if code == OK { HOST_FAILED } else { code }
}

/// A struct of the plugin's, to be filled.
struct Room<T> {
    ptr: *mut T,
    bytes: usize,
}

impl<T: Headed> Room<T> {
    /// Errs if the struct is smaller than in version 1; `None` if nobody wants the answer.
    ///
    /// # Safety
    /// `ptr` is null or points to a struct that says how large it is, and lives as long as the room.
    unsafe fn of(what: &str, ptr: *mut T) -> Result<Option<Room<T>>, Fault> {
        if ptr.is_null() {
            return Ok(None);
        }
        if !ptr.is_aligned() {
            return Err(bad(format!("{what}: a misaligned pointer")));
        }
        // SAFETY: the size comes first, and its caller has written it.
        let said = unsafe { ptr.cast::<u32>().read() } as usize;
        if said < T::LEAST {
            return Err(bad(format!("{what}: a struct of {said} bytes, {} are needed", T::LEAST)));
        }
        Ok(Some(Room { ptr, bytes: said.min(size_of::<T>()) }))
    }

    fn fill(self, value: T) {
        // SAFETY: so many bytes are there; a head begins a `T`, and tells how many were filled.
        unsafe {
            std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), self.ptr.cast::<u8>(), self.bytes);
            (*self.ptr.cast::<HeadV1>()).struct_size = self.bytes as u32;
        }
    }
}

/// The head of a `T` that points into what is `kept`, until it is released.
fn owner<T: Headed, K>(kept: Box<K>) -> HeadV1 {
    unsafe extern "C" fn release<K>(object: *mut c_void) {
        // SAFETY: the box below; the header has the receiver release it once.
        drop(unsafe { Box::from_raw(object.cast::<K>()) });
    }
    HeadV1 { release: Some(release::<K>), object: Box::into_raw(kept).cast(), ..HeadV1::of::<T>() }
}

fn bad(message: String) -> Fault {
    Error::new(Code::BAD_PARAMS, message).into()
}

/// # Safety
/// As for [`raw::slice`]; and for those below.
unsafe fn bytes<'a>(what: &str, bytes: BytesV1) -> Result<RSlice<'a, u8>, Fault> {
    // SAFETY: the caller's promise.
    unsafe { raw::slice(what, bytes.ptr, bytes.len, MOST_BYTES) }.map(RSlice::from).map_err(bad)
}

/// A text where nothing can be refused: what is not UTF-8 is replaced, what cannot be read is empty.
unsafe fn lossy(text: TextV1) -> String {
    // SAFETY: the caller's promise.
    let bytes = unsafe { raw::slice("a text", text.ptr.cast::<u8>(), text.len, raw::LONGEST_TEXT) };
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

unsafe fn into<'a>(ptr: *mut u8, len: usize) -> Result<&'a mut [u8], Fault> {
    // SAFETY: the caller's promise.
    unsafe { raw::slice("the place to write to", ptr.cast_const(), len, MOST_BYTES) }.map_err(bad)?;
    // SAFETY: what could be read can be written, by the header's rule, and nobody else looks at it during the call.
    Ok(if len == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(ptr, len) } })
}

fn bytes_v1(bytes: &[u8]) -> BytesV1 {
    BytesV1 { ptr: bytes.as_ptr(), len: bytes.len() }
}

unsafe extern "C" fn supports(object: *mut c_void, op: TextV1) -> bool {
    // SAFETY: the header's rules for texts, here and in the functions below.
    let op = unsafe { raw::text("the operation", op) };
    op.is_ok_and(|op| with(object, |host| host.supports(op.into())).unwrap_or(false))
}

unsafe extern "C" fn invoke(
    object: *mut c_void,
    op: TextV1,
    args: BytesV1,
    inputs: *const u64,
    n_inputs: usize,
    answer: *mut AnswerV1,
    fault: *mut FaultV1,
) -> i32 {
    let body = |host: &HostRef<'static>| {
        // SAFETY: the header's rules for texts, bytes and structs to fill. A tensor id is a `u64`.
        let (op, args, inputs, room) = unsafe {
            (
                raw::text("the operation", op).map_err(bad)?,
                bytes("the arguments", args)?,
                raw::slice("the inputs", inputs.cast::<TensorId>(), n_inputs, MOST_BYTES).map_err(bad)?,
                Room::of("the answer", answer)?,
            )
        };
        let mut tensors = RVec::new();
        let message = host.invoke(op.into(), args, inputs.into(), &mut tensors).into_result()?;
        match room {
            Some(room) => {
                let kept = Box::new((message, tensors));
                let (message, tensors, n_tensors) = (bytes_v1(&kept.0), kept.1.as_ptr().cast(), kept.1.len());
                room.fill(AnswerV1 { head: owner::<AnswerV1, _>(kept), message, tensors, n_tensors });
            }
            None => tensors.iter().for_each(|tensor| host.tensor_release(*tensor)),
        }
        Ok(())
    };
    // SAFETY: the header's rules for a fault, here and in the functions below.
    unsafe { tried(object, fault, body) }
}

unsafe extern "C" fn tensor_info(
    object: *mut c_void,
    tensor: u64,
    info: *mut TensorInfoV1,
    fault: *mut FaultV1,
) -> i32 {
    let body = |host: &HostRef<'static>| {
        // SAFETY: the header's rules for structs to fill.
        let room = unsafe { Room::of("the info", info) }?;
        let known = host.tensor_info(TensorId(tensor)).into_result()?;
        if let Some(room) = room {
            let (dtype, kept) = (known.dtype.0, Box::new(known.shape));
            let (shape, n_axes) = (kept.as_ptr(), kept.len());
            let head = owner::<TensorInfoV1, _>(kept);
            room.fill(TensorInfoV1 { head, shape, n_axes, dtype });
        }
        Ok(())
    };
    // SAFETY: as above.
    unsafe { tried(object, fault, body) }
}

unsafe extern "C" fn tensor_read(
    object: *mut c_void,
    tensor: u64,
    byte_offset: u64,
    to: *mut u8,
    len: usize,
    n_read: *mut u64,
    fault: *mut FaultV1,
) -> i32 {
    let body = |host: &HostRef<'static>| {
        // SAFETY: the header's rules for a place to write to.
        let to = RSliceMut::from_mut_slice(unsafe { into(to, len) }?);
        let read = host.tensor_read(TensorId(tensor), byte_offset, to).into_result()?;
        if !n_read.is_null() {
            // SAFETY: not null; its alignment is not relied on.
            unsafe { n_read.write_unaligned(read) };
        }
        Ok(())
    };
    // SAFETY: as above.
    unsafe { tried(object, fault, body) }
}

unsafe extern "C" fn tensor_put(
    object: *mut c_void,
    dtype: u8,
    shape: *const u64,
    n_axes: usize,
    content: BytesV1,
    tensor: *mut u64,
    fault: *mut FaultV1,
) -> i32 {
    let body = |host: &HostRef<'static>| {
        // SAFETY: the header's rules for arrays and bytes.
        let (shape, content) = unsafe {
            (raw::slice("the shape", shape, n_axes, MOST_BYTES).map_err(bad)?, bytes("the tensor's bytes", content)?)
        };
        if tensor.is_null() {
            return Err(bad("the tensor's id: a null pointer".to_owned()));
        }
        let id = host.tensor_put(DType(dtype), shape.into(), content).into_result()?;
        // SAFETY: not null; its alignment is not relied on.
        unsafe { tensor.write_unaligned(id.0) };
        Ok(())
    };
    // SAFETY: as above.
    unsafe { tried(object, fault, body) }
}

unsafe extern "C" fn tensor_release(object: *mut c_void, tensor: u64) {
    with(object, |host| host.tensor_release(TensorId(tensor)));
}

unsafe extern "C" fn log_enabled(object: *mut c_void, level: u8, target: TextV1) -> bool {
    // SAFETY: the header's rules for texts.
    let target = unsafe { lossy(target) };
    with(object, |host| host.log_enabled(level, target.as_str().into())).unwrap_or(false)
}

unsafe extern "C" fn log(object: *mut c_void, level: u8, target: TextV1, message: TextV1, fields: BytesV1) {
    // SAFETY: the header's rules for texts and bytes.
    let (target, message, fields) = unsafe { (lossy(target), lossy(message), bytes("the fields", fields)) };
    let fields = fields.unwrap_or_default();
    with(object, |host| host.log(level, target.as_str().into(), message.as_str().into(), fields));
}

unsafe extern "C" fn progress(object: *mut c_void, stage: TextV1, done: u64, total: u64) {
    // SAFETY: the header's rules for texts.
    let stage = unsafe { lossy(stage) };
    with(object, |host| host.progress(stage.as_str().into(), done, total));
}

unsafe extern "C" fn cancelled(object: *mut c_void) -> bool {
    // Without a host there is nothing left to do.
    with(object, |host| host.cancelled()).unwrap_or(true)
}

unsafe extern "C" fn rng_fill(object: *mut c_void, stream: TextV1, to: *mut u8, len: usize) {
    // SAFETY: the header's rules for texts and for a place to write to.
    let (stream, to) = unsafe { (lossy(stream), into(to, len)) };
    if let Ok(to) = to {
        with(object, |host| host.rng_fill(stream.as_str().into(), RSliceMut::from_mut_slice(to)));
    }
}
