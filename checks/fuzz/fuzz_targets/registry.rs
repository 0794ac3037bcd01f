//! Fuzzes `registry`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_fuzz::registry(bytes));
