#![no_main]

use coldstart::config::Config;
use std::path::Path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        _ = Config::parse(Path::new("fuzz.toml"), text, &[]);
    }
});
