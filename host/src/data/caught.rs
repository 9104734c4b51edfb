//! Panics of libraries that read files, as errors.
//!
//! The Parquet library asserts what a damaged page does not hold, such as that levels stay below their maximum; decoders of images
//! are many, and each trusts itself. What a library has built until it panics is dropped, and nothing else has seen it.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// What `work` answers, or the message that it panicked with; nothing is written to stderr.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    keep_quiet_inside();
    let was_inside = IS_INSIDE.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    IS_INSIDE.set(was_inside);
    outcome.map_err(|payload| message_of(&*payload))
}

/// Says nothing on stderr of a panic that becomes an error, and all else as before.
fn keep_quiet_inside() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_INSIDE.get() {
                before(info);
            }
        }));
    });
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("the reader gave up").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(caught(|| 7), Ok(7));
        let asserted = caught(|| {
            let levels: &[u8] = &[];
            assert!(!levels.is_empty(), "level {} is beyond", 3);
        });
        assert_eq!(asserted, Err("level 3 is beyond".to_owned()));
        assert_eq!(caught(|| 8), Ok(8));
    }
}
