//! The ways into a loaded plugin, behind one type.

use super::c_entry::CPlugin;
use coldstart_plugin_api::abi::std_types::{RResult, RStr};
use coldstart_plugin_api::abi::{Fault, HostRef, RootRef, SelectorBox};

/// A loaded plugin, whatever it is written in.
#[derive(Clone, Copy)]
pub enum Entry {
    /// A root module whose layout was checked.
    Rust(RootRef),
    /// A table of functions.
    C(CPlugin),
}

impl Entry {
    /// What the loaded code says of itself: the manifest's text.
    pub fn descriptor(&self) -> &'static str {
        match self {
            Entry::Rust(root) => root.descriptor()().as_str(),
            Entry::C(plugin) => plugin.descriptor(),
        }
    }

    /// A new instance of the strategy `name`.
    pub fn create(&self, name: &str, params_json: &str, host: HostRef<'_>) -> RResult<SelectorBox, Fault> {
        match self {
            Entry::Rust(root) => root.create()(RStr::from(name), RStr::from(params_json), host),
            Entry::C(plugin) => plugin.create(name, params_json, host),
        }
    }
}
