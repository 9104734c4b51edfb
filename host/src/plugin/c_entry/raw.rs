//! Checked reads of what C code points to. The errors are sentences; the caller knows whose they are.

use coldstart_plugin_api::capi::{API_MAJOR, HeadV1, Headed, TextV1};
use std::mem::MaybeUninit;

/// More than any text that a strategy says.
pub const LONGEST_TEXT: usize = 1 << 20;
/// More than any array that a strategy has.
pub const MOST_BYTES: usize = 1 << 40;
/// More than any struct of this major version will ever be.
const LARGEST_STRUCT: usize = 4096;

/// The elements at `ptr`; errs at a null pointer, a misaligned one, and more bytes than `most`.
///
/// # Safety
/// If these checks pass, `len` elements are there for `'a`, and nobody writes to them.
pub unsafe fn slice<'a, T>(what: &str, ptr: *const T, len: usize, most: usize) -> Result<&'a [T], String> {
    if len == 0 {
        return Ok(&[]);
    }
    let bytes = checked(what, ptr, len, most)?;
    if ptr.addr().checked_add(bytes).is_none() {
        return Err(format!("{what} end beyond the last address"));
    }
    // SAFETY: not null, aligned, and within the address space; that the elements are there is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(ptr, len) })
}

/// How many bytes a pointer and a length stand for, if they can stand for any.
fn checked<T>(what: &str, ptr: *const T, len: usize, most: usize) -> Result<usize, String> {
    if ptr.is_null() {
        return Err(format!("{what}: {len} elements at a null pointer"));
    }
    if !ptr.is_aligned() {
        return Err(format!("{what}: a misaligned pointer"));
    }
    let bytes = len.checked_mul(size_of::<T>()).filter(|bytes| *bytes <= most);
    bytes.ok_or_else(|| format!("{what}: {len} elements cannot be"))
}

/// A text; errs as [`slice`] does, and if it is not UTF-8.
///
/// # Safety
/// As for [`slice`].
pub unsafe fn text<'a>(what: &str, text: TextV1) -> Result<&'a str, String> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice(what, text.ptr.cast::<u8>(), text.len, LONGEST_TEXT) }?;
    std::str::from_utf8(bytes).map_err(|error| format!("{what}: not UTF-8 ({error})"))
}

/// A copy of a table: as much of it as its filler knows, and absent functions for the rest.
///
/// # Safety
/// If the pointer is neither null nor misaligned, a head is there, and as many bytes as it says.
pub unsafe fn table<T: Headed>(what: &str, ptr: *const T) -> Result<T, String> {
    checked(what, ptr, 1, size_of::<T>())?;
    // SAFETY: a head is there, which any bytes are a value of.
    let head = unsafe { ptr.cast::<HeadV1>().read() };
    if head.api_major != API_MAJOR {
        return Err(format!("{what} speaks contract {}, this host speaks {API_MAJOR}", head.api_major));
    }
    let size = head.struct_size as usize;
    if !(T::LEAST..=LARGEST_STRUCT).contains(&size) {
        return Err(format!("{what}: a struct of {size} bytes, {} or more were expected", T::LEAST));
    }
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: `size` bytes are there, no more than a `T` has are copied, and zeros are a value of what is left.
    unsafe {
        std::ptr::copy_nonoverlapping(ptr.cast::<u8>(), copy.as_mut_ptr().cast(), size.min(size_of::<T>()));
        Ok(copy.assume_init())
    }
}
