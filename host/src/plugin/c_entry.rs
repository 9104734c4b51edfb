//! The entry in C: its tables held against the header's rules, and its instances behind the same trait as all others.
//!
//! What C code says is checked before it is used: null pointers, sizes that cannot be, texts that are not UTF-8 are
//! errors. What no check can find, such as a pointer to memory that is not there, ends the process that loaded it.

mod host;
mod raw;

use super::elf;
use super::error::{PluginCode, PluginError};
use coldstart_plugin_api::__private::abi_stable::type_level::downcasting::TD_Opaque;
use coldstart_plugin_api::abi::std_types::{RErr, ROk, RResult, RSlice, RStr, RVec};
use coldstart_plugin_api::abi::{self, Fault, HostRef, SelectorBox};
use coldstart_plugin_api::capi::{
    BytesV1, ENTRY_SYMBOL, FaultV1, Headed, OK, OwnedBytesV1, PluginV1, RequestV1, SelectionV1, SelectorV1, TextV1,
};
use coldstart_plugin_api::{Code, Error};
use host::Call;
use libloading::os::unix::Library as Object;
use raw::{LONGEST_TEXT, MOST_BYTES};

/// The entry symbol, and the one constructor that a C compiler puts into every library.
pub const ENTRY: elf::Entry = elf::Entry { symbol: ENTRY_SYMBOL, least_bytes: PluginV1::LEAST as u64, constructors: 1 };

/// The plugin behind an entry in C.
#[derive(Clone, Copy)]
pub struct CPlugin {
    table: PluginV1,
    manifest: &'static str,
}

/// The entry in C of a loaded library; errs if there is none, or it breaks the header's rules.
pub fn find(file: &str, object: &Object) -> Result<CPlugin, PluginError> {
    let refuse = |message: String| PluginError::new(PluginCode::Layout, file, message);
    // SAFETY: only the address is taken, nothing is read yet.
    let symbol = unsafe { object.get::<*const PluginV1>(ENTRY_SYMBOL.as_bytes()) };
    let symbol = symbol.map_err(|error| refuse(error.to_string()))?.as_raw_ptr();
    // SAFETY: `elf::check` found a table of at least version 1's size under this symbol.
    let table: PluginV1 = unsafe { raw::table("the plugin", symbol.cast_const().cast()) }.map_err(refuse)?;
    if table.create.is_none() {
        return Err(refuse("the plugin has no `create`".to_owned()));
    }
    // SAFETY: the header demands that the manifest is valid for ever.
    let manifest = unsafe { raw::text("the manifest", table.manifest) }.map_err(refuse)?;
    Ok(CPlugin { table, manifest })
}

impl CPlugin {
    /// The manifest's text, as the loaded code has it.
    pub fn descriptor(&self) -> &'static str {
        self.manifest
    }

    /// A new instance of the strategy `name`.
    pub fn create(&self, name: &str, params_json: &str, host: HostRef<'_>) -> RResult<SelectorBox, Fault> {
        answer(self.instance(name, params_json, host).map(|instance| SelectorBox::from_value(instance, TD_Opaque)))
    }

    fn instance(&self, name: &str, params_json: &str, host: HostRef<'_>) -> Result<Instance, Fault> {
        let create = self.table.create.ok_or_else(|| absent("create"))?;
        let call = Call::begin(host);
        let mut selector = std::ptr::null();
        let object = self.table.head.object;
        // SAFETY: the function has the header's type, and everything that it is given lives until it returns.
        let create = |fault| unsafe {
            create(object, text_v1(name), text_v1(params_json), call.table(), &raw mut selector, fault)
        };
        called(create)?;
        // SAFETY: the plugin said that it wrote an instance there; null was there before.
        let table: SelectorV1 = unsafe { raw::table("the instance", selector) }.map_err(misbehaved)?;
        if table.select.is_none() {
            return Err(misbehaved("the instance has no `select`".to_owned()));
        }
        Ok(Instance { table })
    }
}

/// One instance, with the functions that its plugin knows; those that it does not know are absent.
struct Instance {
    table: SelectorV1,
}

// SAFETY: the header asks of an instance that it can be used by any thread, one at a time.
unsafe impl Send for Instance {}

impl Drop for Instance {
    fn drop(&mut self) {
        release(&self.table);
    }
}

impl Instance {
    fn choose(&self, request: &abi::Request, host: HostRef<'_>) -> Result<abi::Selection, Fault> {
        let select = self.table.select.ok_or_else(|| absent("select"))?;
        let call = Call::begin(host);
        let asked = RequestV1 {
            budget: request.budget,
            unlabelled: request.unlabelled.0,
            labelled: request.labelled.0,
            extra: bytes_v1(&request.extra),
            seed: request.seed,
            round: request.round,
            ..RequestV1::empty()
        };
        let mut selection = Filled::<SelectionV1>::empty();
        let object = self.table.head.object;
        // SAFETY: the function has the header's type, and everything that it is given lives until it returns.
        called(|fault| unsafe { select(object, &raw const asked, call.table(), selection.room(), fault) })?;
        let chosen = selection.get()?;
        if chosen.n_ids as u64 > request.budget {
            let message = format!("chose {} images, {} were asked for", chosen.n_ids, request.budget);
            return Err(misbehaved(message));
        }
        if chosen.n_scores != 0 && chosen.n_scores != chosen.n_ids {
            return Err(misbehaved(format!("gave {} scores for {} images", chosen.n_scores, chosen.n_ids)));
        }
        // SAFETY: the header demands that the arrays are as long as they say, until they are released.
        let (ids, scores, report) = unsafe {
            (
                raw::slice("the ids", chosen.ids, chosen.n_ids, MOST_BYTES).map_err(misbehaved)?,
                raw::slice("the scores", chosen.scores, chosen.n_scores, MOST_BYTES).map_err(misbehaved)?,
                raw::slice("the report", chosen.report.ptr, chosen.report.len, MOST_BYTES).map_err(misbehaved)?,
            )
        };
        Ok(abi::Selection { ids: ids.into(), scores: scores.into(), report: report.into() })
    }

    /// Call a function that answers with bytes of its own.
    fn bytes_of(&self, call: impl FnOnce(*mut OwnedBytesV1, *mut FaultV1) -> i32) -> Result<RVec<u8>, Fault> {
        let mut bytes = Filled::<OwnedBytesV1>::empty();
        let room = bytes.room();
        called(|fault| call(room, fault))?;
        let BytesV1 { ptr, len } = bytes.get()?.bytes;
        // SAFETY: the header demands that the bytes are as many as it says, until they are released.
        Ok(unsafe { raw::slice("the answer", ptr, len, MOST_BYTES) }.map_err(misbehaved)?.into())
    }
}

impl abi::Selector for Instance {
    fn select(&mut self, request: &abi::Request, host: HostRef<'_>) -> RResult<abi::Selection, Fault> {
        answer(self.choose(request, host))
    }

    fn save(&self) -> RResult<RVec<u8>, Fault> {
        let Some(save) = self.table.save else { return ROk(RVec::new()) };
        // SAFETY: the function has the header's type, and both structs live until it returns.
        answer(self.bytes_of(|state, fault| unsafe { save(self.table.head.object, state, fault) }))
    }

    fn load(&mut self, state: RSlice<'_, u8>) -> RResult<(), Fault> {
        let Some(load) = self.table.load else {
            let kept = !state.is_empty();
            let refusal = || Error::new(Code::BAD_PARAMS, "this strategy keeps no state, but was given one").into();
            return if kept { RErr(refusal()) } else { ROk(()) };
        };
        // SAFETY: the function has the header's type, and what it is given lives until it returns.
        answer(called(|fault| unsafe { load(self.table.head.object, bytes_v1(&state), fault) }))
    }

    fn invoke(&mut self, op: RStr<'_>, args: RSlice<'_, u8>, host: HostRef<'_>) -> RResult<RVec<u8>, Fault> {
        let Some(invoke) = self.table.invoke else {
            return RErr(Error::new(Code::UNSUPPORTED, format!("this plugin has no entry `{op}`")).into());
        };
        let call = Call::begin(host);
        let (object, op, args) = (self.table.head.object, text_v1(op.as_str()), bytes_v1(&args));
        // SAFETY: the function has the header's type, and what it is given lives until it returns.
        answer(self.bytes_of(|bytes, fault| unsafe { invoke(object, op, args, call.table(), bytes, fault) }))
    }
}

/// A struct for the plugin to fill. What it allocated for that is released here, whatever became of the call.
struct Filled<T: Headed>(T);

impl<T: Headed> Filled<T> {
    fn empty() -> Filled<T> {
        Filled(T::empty())
    }

    fn room(&mut self) -> *mut T {
        &raw mut self.0
    }

    /// What stands in it; errs if the plugin wrote beyond its end, or less than version 1 has.
    fn get(&self) -> Result<&T, Fault> {
        let filled = self.0.head().struct_size as usize;
        if (T::LEAST..=size_of::<T>()).contains(&filled) {
            return Ok(&self.0);
        }
        Err(misbehaved(format!("filled {filled} bytes of an answer with room for {}", size_of::<T>())))
    }
}

impl<T: Headed> Drop for Filled<T> {
    fn drop(&mut self) {
        release(&self.0);
    }
}

fn release(whole: &impl Headed) {
    if let Some(release) = whole.head().release {
        // SAFETY: the header has the receiver call this once; a copy of the struct is dropped nowhere else.
        unsafe { release(whole.head().object) };
    }
}

/// Call a function of the plugin that says with a number how it went, and why in a fault.
fn called(call: impl FnOnce(*mut FaultV1) -> i32) -> Result<(), Fault> {
    let mut fault = Filled::<FaultV1>::empty();
    let code = call(fault.room());
    if code == OK {
        return Ok(());
    }
    let said = fault.get()?;
    // SAFETY: the header demands that both are as long as they say, until they are released.
    let (message, detail) = unsafe {
        (
            raw::slice("the fault's message", said.message.ptr.cast::<u8>(), said.message.len, LONGEST_TEXT),
            raw::slice("the fault's detail", said.detail.ptr, said.detail.len, LONGEST_TEXT),
        )
    };
    let (message, detail) = (message.map_err(misbehaved)?, detail.map_err(misbehaved)?);
    let message = match String::from_utf8_lossy(message) {
        empty if empty.is_empty() => format!("failed with the code {code}, without a word"),
        message => message.into_owned(),
    };
    Err(Fault { code, message: message.into(), detail: detail.into() })
}

/// A breach of the header's rules is the plugin's own failure.
fn misbehaved(message: String) -> Fault {
    Error::plugin(message).into()
}

fn absent(function: &str) -> Fault {
    Error::new(Code::UNSUPPORTED, format!("the plugin has no `{function}`")).into()
}

fn answer<T>(result: Result<T, Fault>) -> RResult<T, Fault> {
    result.into()
}

fn text_v1(text: &str) -> TextV1 {
    TextV1 { ptr: text.as_ptr().cast(), len: text.len() }
}

fn bytes_v1(bytes: &[u8]) -> BytesV1 {
    BytesV1 { ptr: bytes.as_ptr(), len: bytes.len() }
}

#[cfg(test)]
mod tests;
