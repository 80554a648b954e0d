#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidewatch_fuzz::check("otlp", input));
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    tidewatch_fuzz::message::mutate(data, size, max_size, seed)
});
