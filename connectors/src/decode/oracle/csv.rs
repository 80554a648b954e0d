//! CSV: in pieces as in one, and without quotes as the standard library splits and reads.

use std::io::BufReader;

use crate::decode::time::parse_date_time;
use crate::decode::{CsvOptions, CsvReader, Precision, RowErrors};

const HEADER: &[u8] = b"timestamp,value\n";

/// What was read: times in nanoseconds, bits of values, the lines of refused rows, all rows.
#[derive(Debug, PartialEq)]
struct Told {
    samples: Vec<(i64, u64)>,
    refused: Vec<u64>,
    rows: usize,
}

/// Rows below a header of times and values: the pieces they come in do not matter, and what is taken is what
/// stands there.
pub(crate) fn check(rows: &[u8]) {
    let text = [HEADER, rows].concat();
    let shown = || String::from_utf8_lossy(rows).into_owned();
    let whole = by_us(&text, 8_192, 100);
    assert_eq!(whole.samples.len() + whole.refused.len(), whole.rows, "{:?}", shown());
    assert_eq!(by_us(&text, 3, 1), whole, "in pieces: {:?}", shown());
    if !rows.contains(&b'"') {
        assert_eq!(by_lines(rows), whole, "{:?}", shown());
    }
}

fn by_us(text: &[u8], piece_bytes: usize, rows_max: usize) -> Told {
    let input = BufReader::with_capacity(piece_bytes, text);
    let mut reader = CsvReader::new(input, &CsvOptions::default()).expect("the header is there");
    let (mut times, mut values, mut errors) = (Vec::new(), Vec::new(), RowErrors::default());
    let mut rows = 0;
    loop {
        let read = reader.next_batch(rows_max, &mut times, &mut values, &mut errors);
        match read.expect("bytes in memory can be read") {
            0 => break,
            read => rows += read,
        }
    }
    assert_eq!(times.len(), values.len());
    let bits = values.iter().map(|value| value.to_bits());
    let samples = times.iter().map(|time| time.nanos()).zip(bits).collect();
    let kept = errors.first().iter().map(|error| error.line_number);
    // Beyond the kept ones only their number is told.
    let unkept = usize::try_from(errors.total()).unwrap() - errors.first().len();
    let refused = kept.chain(std::iter::repeat_n(u64::MAX, unkept)).collect();
    Told { samples, refused, rows }
}

/// The same, with nothing that a quote could change.
fn by_lines(rows: &[u8]) -> Told {
    let mut told = Told { samples: Vec::new(), refused: Vec::new(), rows: 0 };
    for (line_number, line) in (2..).zip(rows.split(|byte| *byte == b'\n')) {
        if line.is_empty() || line == b"\r" {
            continue;
        }
        told.rows += 1;
        let mut fields = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let first = fields.next().zip(fields.next());
        let sample = first.filter(|_| fields.all(<[u8]>::is_empty)).and_then(|(time, value)| {
            let value: f64 = std::str::from_utf8(value).ok()?.parse().ok()?;
            Some((time_of(time)?, Some(value).filter(|value| value.is_finite())?.to_bits()))
        });
        match sample {
            Some(sample) => told.samples.push(sample),
            None if told.refused.len() < crate::decode::csv::ROW_ERRORS_KEPT_MAX => {
                told.refused.push(line_number);
            }
            None => told.refused.push(u64::MAX),
        }
    }
    told
}

fn time_of(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        let number = std::str::from_utf8(text).ok()?.parse().ok()?;
        return Precision::Auto.scale(number).map(|time| time.nanos());
    }
    parse_date_time(text).ok().map(|time| time.nanos())
}
