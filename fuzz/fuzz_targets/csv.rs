//! Any bytes: no panic, and the pieces they come in do not matter.
#![no_main]

use std::io::BufReader;

use libfuzzer_sys::fuzz_target;
use tidewatch_connectors::decode::{CsvOptions, CsvReader, RowErrors};

/// Times, values and refused rows, reading `piece` bytes at once.
fn read(bytes: &[u8], piece: usize) -> Option<(Vec<i64>, Vec<f64>, u64)> {
    let input = BufReader::with_capacity(piece, bytes);
    let mut reader = CsvReader::new(input, &CsvOptions::default()).ok()?;
    let (mut times, mut values, mut errors) = (Vec::new(), Vec::new(), RowErrors::default());
    while reader.next_batch(100, &mut times, &mut values, &mut errors).expect("memory") > 0 {}
    Some((times.iter().map(|time| time.nanos()).collect(), values, errors.total()))
}

fuzz_target!(|data: &[u8]| {
    let text = [b"timestamp,value\n", data].concat();
    let whole = read(&text, 8_192).expect("the header is there");
    assert_eq!(whole.0.len(), whole.1.len());
    assert!(whole.1.iter().all(|value| value.is_finite()));
    assert_eq!(Some(whole), read(&text, 3));
});
