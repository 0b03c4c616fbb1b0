#![no_main]

#[path = "../key_export.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::key_export(data));
