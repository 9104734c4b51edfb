//! Functions that are compiled for the widest vectors, and use those that the processor has.

/// Defines such a function.
///
/// Its body must be part of the function that pulp compiles for each kind of processor: a closure is one of its own as soon
/// as the compiler does not inline it, and is then compiled for the least of all processors.
macro_rules! wide {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<$life:lifetime>($($arg:ident: $kind:ty),* $(,)?) -> $out:ty $body:block) => {
        $(#[$doc])*
        $vis fn $name<$life>($($arg: $kind),*) -> $out {
            struct Body<$life>($(wide!(@of $arg $kind)),*);
            impl<$life> pulp::NullaryFnOnce for Body<$life> {
                type Output = $out;
                #[inline(always)]
                fn call(self) -> $out {
                    let Body($($arg),*) = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Body($($arg),*))
        }
    };
    (@of $arg:ident $kind:ty) => { $kind };
}

pub(crate) use wide;
