#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coldstart::plugin::fuzz::library(bytes));
