#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidewatch_fuzz::check("snappy", input));
