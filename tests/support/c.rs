//! Libraries from C, for what Rust's own tools would not make.

use crate::{Lab, library_name};
use std::path::PathBuf;
use std::process::Command;

/// A library in the plugin folder of a lab, with whatever the source and the flags say.
pub fn from_c(lab: &Lab, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let source = lab.write(&format!("{name}.c"), source);
    let built = lab.path("plugins").join(library_name(name));
    let compiler = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&built).arg(source).args(flags).output();
    let compiler = compiler.expect("a C compiler, which the build needs too");
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
    built
}

/// A true-looking manifest, and an entry symbol with nothing behind it.
pub fn c_manifest(name: &str) -> String {
    let json = format!(
        r#"{{"format":1,"name":"{name}","publisher":"","version":"0.1.0","api":"1.0.0","panic":"unwind","summary":"in C","license":"","authors":"","cite":"","roles":["query"],"needs":[],"params":{{"type":"object"}}}}"#
    );
    format!("{}long _1as_0lib_1header_0root_bmodule_bloader[64] = {{0}};\n", manifest_section(&json))
}

/// The section that holds this manifest.
pub fn manifest_section(json: &str) -> String {
    let bytes: Vec<String> = json.bytes().map(|byte| byte.to_string()).collect();
    let section = "__attribute__((section(\".coldstart_manifest\"), used))";
    format!("{section} const unsigned char manifest[] = {{{}}};\n", bytes.join(","))
}
