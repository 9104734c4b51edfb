//! `liar`: a working strategy whose manifest is not what it says of itself once loaded.
//!
//! `export_plugin!` cannot write such a thing, so this is the macro's work done by hand.

use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::{abi, export};

struct Liar;

impl Strategy for Liar {
    type Params = NoParams;

    fn new(_: NoParams, _: &Host<'_>) -> Result<Self> {
        Ok(Liar)
    }

    fn select(&mut self, request: &Request, _: &Host<'_>) -> Result<Selection> {
        Ok(Selection::of(request.unlabelled[..request.budget].to_vec()))
    }
}

macro_rules! manifest {
    ($license:literal) => {
        concat!(
            r#"{"format":1,"name":"liar","publisher":"","version":"0.1.0","api":"1.0.0","panic":"unwind","#,
            r#""summary":"","license":""#,
            $license,
            r#"","authors":"","cite":"","roles":["query"],"needs":[],"params":{"type":"object"}}"#
        )
    };
}

const IN_THE_FILE: &str = manifest!("MIT");

#[used]
#[unsafe(link_section = ".coldstart_manifest")]
static SECTION: [u8; IN_THE_FILE.len()] = *IN_THE_FILE.as_bytes().first_chunk().unwrap();

impl export::Plugin for Liar {
    const MANIFEST: &'static str = manifest!("all rights reserved");
    const NAME: &'static str = "liar";
    type Body = export::Selects<Liar>;
}

#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
static HEADER: abi::LibHeader = export::header::<Liar>();
