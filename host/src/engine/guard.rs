//! Panics of tch, turned back into the errors of libtorch that they swallowed.
//!
//! tch's `f_` methods return libtorch's error. A method that takes a [`Scalar`](tch::Scalar) drops it before it looks for that
//! error, and `Scalar::drop` (tch 0.24, `wrappers/scalar.rs`) takes the error and unwraps it: the call panics where it should have
//! returned an error, such as one of memory. [`tch::Cuda::synchronize`] unwraps too. So each way into the engine is guarded, and
//! within the engine each place that can go on after an error.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use tch::TchError;

use super::error::{EngineError, TorchResult};

/// A way into the engine: where tch panics with an error of libtorch, it is returned as what happened while `doing`.
///
/// Any other panic goes on.
pub(super) fn entry<T>(doing: &'static str, work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    caught(work).unwrap_or_else(|source| Err(EngineError::torch(doing, source)))
}

/// The same for calls of libtorch.
pub(super) fn calls<T>(work: impl FnOnce() -> TorchResult<T>) -> TorchResult<T> {
    caught(work).unwrap_or_else(Err)
}

/// What `work` answers, or the error of libtorch that tch panicked with.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, TchError> {
    keep_quiet_inside();
    let guarded = || {
        let _inside = Inside::enter();
        work()
    };
    panic::catch_unwind(AssertUnwindSafe(guarded)).or_else(|payload| match error_of_libtorch(&*payload) {
        Some(text) => Err(TchError::Torch(text)),
        None => panic::resume_unwind(payload),
    })
}

thread_local! {
    /// How many guards this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Counts a guard while it lives.
struct Inside;

impl Inside {
    fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Says nothing on stderr of a panic that becomes an error, and all else as before.
fn keep_quiet_inside() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        let hook = move |info: &PanicHookInfo<'_>| {
            if DEPTH.get() == 0 || error_of_libtorch(info.payload()).is_none() {
                before(info);
            }
        };
        panic::set_hook(Box::new(hook));
    });
}

/// libtorch's own words, if that is what a panic was about.
fn error_of_libtorch(payload: &(dyn Any + Send)) -> Option<String> {
    let message = payload.downcast_ref::<String>()?;
    let quoted = message.strip_prefix("called `Result::unwrap()` on an `Err` value: Torch(\"")?.strip_suffix("\")")?;
    Some(unescaped(quoted))
}

/// A text as it was before `{:?}`; what else than line ends, tabs, quotes and backslashes was escaped stays so.
fn unescaped(quoted: &str) -> String {
    let mut text = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(other @ ('"' | '\'' | '\\')) => text.push(other),
                Some(other) => text.extend(['\\', other]),
                None => text.push('\\'),
            },
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::super::Device;
    use super::super::train::is_out_of_memory;
    use super::*;

    /// 4 EiB, which no machine has.
    const TOO_MANY: i64 = 1 << 60;

    type Call = fn() -> TorchResult<Tensor>;

    /// Calls with a scalar that libtorch refuses, and some of its words.
    const REFUSED: &[(&str, Call, &str)] = &[
        ("no memory", || Tensor::f_full(TOO_MANY, 1.0, (Kind::Float, tch::Device::Cpu)), "can't allocate memory"),
        ("two scalars", || Tensor::f_arange_start(0.0, -1.0, (Kind::Float, tch::Device::Cpu)), "inconsistent"),
        ("a wrong type", || Tensor::f_zeros([2], (Kind::Bool, tch::Device::Cpu))?.f_sub_scalar(1.0), "bool"),
    ];

    #[test]
    fn a_refused_call_with_a_scalar_is_an_error_with_libtorchs_words() {
        Device::cpu_for_tests();
        for (what, call, words) in REFUSED {
            // Without the guard it is a panic; else this file could go.
            assert!(panic::catch_unwind(call).is_err(), "{what}: tch returns the error itself");
            let error = calls(call).unwrap_err();
            assert!(error.to_string().contains(words) && !error.to_string().contains("unwrap"), "{what}: {error}");
            let error = entry("trying", || call().map_err(|source| EngineError::torch("inside", source))).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("libtorch failed while trying") && text.contains(words), "{what}: {text}");
            assert!(!text.contains("Exception raised from") && !text.contains("frame #"), "{what}: {text}");
        }
        assert!(is_out_of_memory(&calls(REFUSED[0].1).unwrap_err()));
    }

    #[test]
    fn other_panics_go_on_and_answers_pass() {
        let other = panic::catch_unwind(|| calls::<()>(|| panic!("of another kind"))).unwrap_err();
        assert_eq!(other.downcast_ref::<&str>(), Some(&"of another kind"));
        assert_eq!(calls(|| Ok(3)).unwrap(), 3);
        assert_eq!(DEPTH.get(), 0);
    }

    #[test]
    fn words_are_as_libtorch_wrote_them() {
        for text in ["one line", "two\nlines\tand \"quotes\" of C:\\a", "ends with \\"] {
            let payload: Box<dyn Any + Send> = Box::new(format!(
                "called `Result::unwrap()` on an `Err` value: {:?}",
                TchError::Torch(text.to_owned())
            ));
            assert_eq!(error_of_libtorch(&*payload).as_deref(), Some(text));
        }
        let payload: Box<dyn Any + Send> = Box::new("called `Option::unwrap()` on a `None` value".to_owned());
        assert_eq!(error_of_libtorch(&*payload), None);
    }
}
