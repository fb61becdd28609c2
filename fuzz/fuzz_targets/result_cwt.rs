#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::tokens::run_cwt(data));
