#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coldstart::fuzz::read("learner", bytes));
