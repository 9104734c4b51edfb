//! The glue between a [`Strategy`] or a [`Sizer`] and the binary surface: what `export_plugin!` writes into a plugin.
//!
//! No panic crosses the border: every entry runs under `catch_unwind` here, inside the plugin, because a panic in one
//! library is a foreign exception to every other.

use crate::abi::std_types::{RErr, ROk, RResult, RSlice, RStr, RVec};
use crate::abi::{self, Fault, HostRef, LibHeader, Root, RootModuleResult, RootRef, SelectorBox};
use crate::ops::{SizeAnswer, SizeArgs};
use crate::{Bounds, Code, Error, Host, Params, Request, Result, Sizer, Strategy, host, log_bridge, wire};
use abi_stable::library::CheckTypeLayout;
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::type_level::downcasting::TD_Opaque;
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

#[cfg(panic = "abort")]
compile_error!("a plugin must unwind: set `panic = \"unwind\"` in its profile, or a panic ends the whole run");

/// What `export_plugin!` says of a plugin.
pub trait Plugin: 'static {
    /// The manifest's JSON, the same bytes as the ELF section.
    const MANIFEST: &'static str;
    /// The plugin's name.
    const NAME: &'static str;
    /// What it offers: [`Selects`] or [`Sizes`].
    type Body: Body;
}

/// What stands behind the border, whatever its role.
pub trait Body: Sized + Send + 'static {
    /// Its parameters.
    type Params: Params;

    /// Make an instance.
    fn new(params: Self::Params, host: &Host<'_>) -> Result<Self>;

    /// Answer a request; `extra` is what came with it.
    fn answer(&mut self, request: &Request, extra: &[u8], host: &Host<'_>) -> Result<abi::Selection>;

    /// The state to store.
    fn save(&self) -> Result<Vec<u8>>;

    /// Take up a stored state.
    fn load(&mut self, state: &[u8]) -> Result<()>;
}

/// A strategy: it answers with images.
pub struct Selects<S>(S);

impl<S: Strategy> Body for Selects<S> {
    type Params = S::Params;

    fn new(params: S::Params, host: &Host<'_>) -> Result<Self> {
        S::new(params, host).map(Selects)
    }

    fn answer(&mut self, request: &Request, _: &[u8], host: &Host<'_>) -> Result<abi::Selection> {
        let selection = self.0.select(request, host)?;
        Ok(abi::Selection { ids: selection.ids.into(), scores: selection.scores.into(), report: RVec::new() })
    }

    fn save(&self) -> Result<Vec<u8>> {
        self.0.save()
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        self.0.load(state)
    }
}

/// A sizer: the bounds come as the request's `extra`, the answer is the selection's `report`.
pub struct Sizes<S>(S);

impl<S: Sizer> Body for Sizes<S> {
    type Params = S::Params;

    fn new(params: S::Params, host: &Host<'_>) -> Result<Self> {
        S::new(params, host).map(Sizes)
    }

    fn answer(&mut self, request: &Request, extra: &[u8], host: &Host<'_>) -> Result<abi::Selection> {
        let SizeArgs { least, most } = wire::decode(extra)?;
        let sizing = self.0.size(request, Bounds { least: least as usize, most: most as usize }, host)?;
        let report = wire::encode(&SizeAnswer::from(sizing));
        Ok(abi::Selection { ids: RVec::new(), scores: RVec::new(), report: report.into() })
    }

    fn save(&self) -> Result<Vec<u8>> {
        self.0.save()
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        self.0.load(state)
    }
}

/// The header that the plugin exports under abi_stable's symbol.
pub const fn header<P: Plugin>() -> LibHeader {
    // SAFETY: `module::<P>` returns a `RootRef` through `__call_root_module_loader`, the module type named here.
    unsafe { LibHeader::from_constructor::<RootRef>(module::<P>, CheckTypeLayout::Yes) }
}

extern "C" fn module<P: Plugin>() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(|| {
        Root { descriptor: descriptor::<P>, create: create::<P> }.leak_into_prefix()
    })
}

extern "C" fn descriptor<P: Plugin>() -> RStr<'static> {
    RStr::from(P::MANIFEST)
}

extern "C" fn create<P: Plugin>(
    name: RStr<'_>,
    params_json: RStr<'_>,
    host: HostRef<'_>,
) -> RResult<SelectorBox, Fault> {
    if name.as_str() != P::NAME {
        let message = format!("this plugin offers `{}`, not `{name}`", P::NAME);
        return RErr(Error::plugin(message).into());
    }
    answer(instance::<P::Body>(params_json.as_str(), host))
}

/// A new instance, behind the border.
pub(crate) fn instance<B: Body>(params_json: &str, host: HostRef<'_>) -> Result<SelectorBox> {
    with_log(&host, || {
        caught(|| {
            let body = B::new(B::Params::from_json(params_json)?, &Host::new(host.sabi_reborrow()))?;
            let instance = Instance { body: ManuallyDrop::new(body), poisoned: false };
            Ok(SelectorBox::from_value(instance, TD_Opaque))
        })
    })
}

/// One instance behind the border. After a panic its state is unknown: it refuses every further call.
struct Instance<B> {
    body: ManuallyDrop<B>,
    poisoned: bool,
}

impl<B> Drop for Instance<B> {
    fn drop(&mut self) {
        // SAFETY: the field is taken once, here, and nothing reads it after `drop`.
        let body = unsafe { ManuallyDrop::take(&mut self.body) };
        // One that panics while it is dropped has nobody left to tell: what it held is leaked.
        let _ = caught(|| {
            drop(body);
            Ok(())
        });
    }
}

impl<B: Body> Instance<B> {
    fn call<T>(&mut self, body: impl FnOnce(&mut B) -> Result<T>) -> Result<T> {
        if self.poisoned {
            return Err(Error::new(Code::POISONED, "this instance panicked in an earlier call"));
        }
        let result = caught(|| body(&mut self.body));
        self.poisoned = matches!(&result, Err(error) if error.code == Code::PANICKED);
        result
    }
}

impl<B: Body> abi::Selector for Instance<B> {
    fn select(&mut self, request: &abi::Request, host: HostRef<'_>) -> RResult<abi::Selection, Fault> {
        answer(with_log(&host, || {
            self.call(|body| {
                let host = Host::new(host.sabi_reborrow());
                let asked = Request {
                    round: request.round,
                    budget: request.budget as usize,
                    seed: request.seed,
                    unlabelled: host::read_request_ids(&host, request.unlabelled)?,
                    labelled: host::read_request_ids(&host, request.labelled)?,
                };
                body.answer(&asked, &request.extra, &host)
            })
        }))
    }

    fn save(&self) -> RResult<RVec<u8>, Fault> {
        if self.poisoned {
            return RErr(Error::new(Code::POISONED, "this instance panicked in an earlier call").into());
        }
        answer(caught(|| self.body.save().map(RVec::from)))
    }

    fn load(&mut self, state: RSlice<'_, u8>) -> RResult<(), Fault> {
        answer(self.call(|body| body.load(state.as_slice())))
    }

    fn invoke(&mut self, op: RStr<'_>, _: RSlice<'_, u8>, _: HostRef<'_>) -> RResult<RVec<u8>, Fault> {
        RErr(Error::new(Code::UNSUPPORTED, format!("this plugin has no entry `{op}`")).into())
    }
}

fn answer<T>(result: Result<T>) -> RResult<T, Fault> {
    match result {
        Ok(value) => ROk(value),
        Err(error) => RErr(error.into()),
    }
}

fn with_log<T>(host: &HostRef<'_>, body: impl FnOnce() -> T) -> T {
    log_bridge::start(host);
    let value = body();
    log_bridge::flush(host);
    value
}

thread_local! {
    static IN_CALL: Cell<bool> = const { Cell::new(false) };
    static BACKTRACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Run `body`; a panic becomes an error with its message, place and backtrace.
fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    install_hook();
    let outer = IN_CALL.replace(true);
    let result = catch_unwind(AssertUnwindSafe(body));
    IN_CALL.set(outer);
    result.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        // A payload may panic when it is dropped; leaking the few bytes of a broken instance is the safer end.
        std::mem::forget(payload);
        let message = format!("panicked: {}", text.unwrap_or_else(|| "(no message)".to_owned()));
        Err(Error::new(Code::PANICKED, message).with("backtrace", BACKTRACE.take()))
    })
}

/// The plugin's own panic hook: quiet during a call of the host's, which reports the panic itself.
fn install_hook() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IN_CALL.get() {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                BACKTRACE.set(format!("at {place}\n{}", std::backtrace::Backtrace::capture()));
            } else {
                previous(info);
            }
        }));
    });
}

/// Export a strategy as a plugin.
///
/// ```text
/// export_plugin! {
///     name: "entropy",
///     roles: [Query],
///     strategy: Entropy,
///     criterion: UNCERTAINTY,
///     needs: [PREDICT_1],
///     cite: "Shannon 1948, A Mathematical Theory of Communication",
/// }
/// ```
///
/// Version, description, licence and authors come from the crate's `Cargo.toml`. `needs` lists the operations without
/// which the strategy cannot work: the host checks them before anything is trained. With `REPRESENT_1` among them a config without
/// `[representation]` is refused; a strategy that may look at the model instead in later rounds has a parameter `space`, and is let in
/// for these when it says something else than `representation`. `criterion` is a constant of [`criterion`](crate::manifest::criterion),
/// and may be left out. A strategy that asks other strategies says with `composes: ["parameter"],` before `cite` which of its parameters
/// name them; see [`COMPOSES`](crate::manifest::COMPOSES). `publisher: "lab"` may follow
/// `name`, so that a config can say `lab/entropy`. A [`Sizer`] has `sizer: Floor,` in place of `roles` and `strategy`. Use it once
/// in a crate.
#[macro_export]
macro_rules! export_plugin {
    (
        name: $name:literal,
        $(publisher: $publisher:literal,)?
        roles: [$role:ident $(, $more_roles:ident)* $(,)?],
        strategy: $strategy:ty,
        $(criterion: $criterion:ident,)?
        needs: [$($need:ident $(, $more_needs:ident)* $(,)?)?],
        $(asks: [$asked:ident $(, $more_asked:ident)* $(,)?],)?
        $(composes: [$composed:literal $(, $more_composed:literal)* $(,)?],)?
        cite: $cite:literal $(,)?
    ) => {
        $crate::export_plugin! {
            @ $name, [$($publisher)?], [$role $(, $more_roles)*], $crate::export::Selects<$strategy>, [$($criterion)?],
            [$($need $(, $more_needs)*)?], [$($asked $(, $more_asked)*)?], [$($composed $(, $more_composed)*)?], $cite
        }
    };
    (
        name: $name:literal,
        $(publisher: $publisher:literal,)?
        sizer: $sizer:ty,
        needs: [$($need:ident $(, $more_needs:ident)* $(,)?)?],
        $(asks: [$asked:ident $(, $more_asked:ident)* $(,)?],)?
        cite: $cite:literal $(,)?
    ) => {
        $crate::export_plugin! {
            @ $name, [$($publisher)?], [Sizer], $crate::export::Sizes<$sizer>, [],
            [$($need $(, $more_needs)*)?], [$($asked $(, $more_asked)*)?], [], $cite
        }
    };
    (
        @ $name:literal, [$($publisher:literal)?], [$role:ident $(, $more_roles:ident)*], $body:ty,
        [$($criterion:ident)?], [$($need:ident $(, $more_needs:ident)*)?],
        [$($asked:ident $(, $more_asked:ident)*)?], [$($composed:literal $(, $more_composed:literal)*)?], $cite:literal
    ) => {
        const _: () = {
            use $crate::manifest::{Piece, Piece::Json, Piece::Text, json, json_len, role, text};
            #[allow(unused_imports, reason = "a plugin may ask for nothing of the kind")]
            use $crate::manifest::{Asked, asked};
            #[allow(unused_imports, reason = "a plugin may need no operation")]
            use $crate::ops::*;

            const PIECES: &[Piece] = &[
                Json("{\"format\":1,\"name\":"), Text($name),
                Json(",\"publisher\":"), Text(concat!($($publisher)?)),
                Json(",\"version\":"), Text(env!("CARGO_PKG_VERSION")),
                Json(",\"api\":"), Text($crate::API_VERSION),
                Json(",\"panic\":\"unwind\""),
                Json(",\"summary\":"), Text(env!("CARGO_PKG_DESCRIPTION")),
                Json(",\"license\":"), Text(env!("CARGO_PKG_LICENSE")),
                Json(",\"authors\":"), Text(env!("CARGO_PKG_AUTHORS")),
                Json(",\"cite\":"), Text($cite),
                Json(",\"roles\":["), role($crate::Role::$role) $(, Json(","), role($crate::Role::$more_roles))*,
                Json("],\"criterion\":"), Text({ const WORDS: &[&str] = &["" $(, $crate::manifest::criterion::$criterion)?]; WORDS[WORDS.len() - 1] }),
                Json(",\"needs\":["), $(Text($need.0) $(, Json(","), Text($more_needs.0))*,)?
                $(Json("],\"asks\":["), asked(Asked::$asked) $(, Json(","), asked(Asked::$more_asked))*,)?
                $(Json("],\"composes\":["), Text($composed) $(, Json(","), Text($more_composed))*,)?
                Json("],\"params\":"),
                Json(<<$body as $crate::export::Body>::Params as $crate::Params>::SCHEMA),
                Json("}"),
            ];
            const LEN: usize = json_len(PIECES);

            #[used]
            #[unsafe(link_section = ".coldstart_manifest")]
            static SECTION: [u8; LEN] = json(PIECES);

            struct Exported;
            impl $crate::export::Plugin for Exported {
                const MANIFEST: &'static str = text(&SECTION);
                const NAME: &'static str = $name;
                type Body = $body;
            }

            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static HEADER: $crate::abi::LibHeader = $crate::export::header::<Exported>();
        };
    };
}

#[cfg(test)]
mod tests {
    /// The macro needs the symbol as a literal.
    #[test]
    fn the_exported_symbol_is_the_one_that_abi_stable_looks_up() {
        assert_eq!(abi_stable::library::ROOT_MODULE_LOADER_NAME, "_1as_0lib_1header_0root_bmodule_bloader");
    }
}
