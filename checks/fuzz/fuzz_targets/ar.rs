//! Fuzzes `ar_archive`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_fuzz::ar_archive(bytes));
