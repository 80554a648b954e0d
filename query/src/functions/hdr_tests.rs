use std::io::Read;

use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use tidewatch_metrics::Sketch;

use super::*;

/// Histograms of three digits as crate hdrhistogram 7.6.0 serializes them (`V2Serializer`).
const KNOWN: [(&[(u64, u64)], &str); 4] = [
    (
        &[(0, 3), (1, 1), (2_047, 2), (2_048, 5), (2_049, 1), (4_096, 7), (5_000, 1)],
        "1c8493130000000c0000000000000003000000000000000100000000000013883ff00000000000000602f91f\
         040cfd0f0ec10302",
    ),
    (
        &[(5, 1)],
        "1c849313000000020000000000000003000000000000000100000000000000053ff00000000000000902",
    ),
    (
        &[(1_000_000, 10), (123_456_789, 3), (VALUE_MAX, 1)],
        "1c8493130000000b0000000000000003000000000000000100200000000000003ff0000000000000c1ae0114\
         f16e06c7a20302",
    ),
    (
        &[(100, 300_000), (200, 5_000_000_000), (300_000, 9_223_372_036_854_775_807)],
        "1c849313000000180000000000000003000000000000000100000000000493e03ff0000000000000c701c0cf\
         24c50180c8afa025938f01feffffffffffffffff",
    ),
];

fn inflated(bytes: &[u8]) -> Vec<u8> {
    assert_eq!(bytes[..4], [0x1c, 0x84, 0x93, 0x14]);
    assert_eq!(bytes[4..8], be(u32::try_from(bytes.len() - 8).unwrap()));
    let mut plain = Vec::new();
    ZlibDecoder::new(&bytes[8..]).read_to_end(&mut plain).unwrap();
    plain
}

/// The least value and the count of every place in use, read as the format says.
fn read(plain: &[u8]) -> Vec<(u64, u64)> {
    let (mut rest, mut at, mut found) = (&plain[40..], 0_u32, Vec::new());
    while !rest.is_empty() {
        let (mut number, mut shift) = (0_u64, 0);
        loop {
            let (byte, behind) = rest.split_first().unwrap();
            rest = behind;
            let bits = if shift == 56 { u64::from(*byte) } else { u64::from(byte & 0x7f) };
            number |= bits << shift;
            shift += 7;
            if byte & 0x80 == 0 || shift == 63 {
                break;
            }
        }
        let number = (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
        if let Ok(count) = u64::try_from(number) {
            let (octave, sub) = (at / 1_024, at % 1_024);
            let value = match octave.checked_sub(1) {
                None => u64::from(sub),
                Some(octave) => u64::from(sub + 1_024) << octave,
            };
            found.push((value, count));
            at += 1;
        } else {
            at += u32::try_from(-number).unwrap();
        }
    }
    found
}

#[test]
fn the_bytes_are_those_of_another_implementation() {
    for (counts, known) in KNOWN {
        let plain = plain(counts).unwrap();
        let hex: String = plain.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, known);
        assert_eq!(inflated(&deflated(counts).unwrap()), plain);
        let read = read(&plain);
        // From 2,048 on, 2 values share a place, from 4,096 on 4.
        let least_of = |value: u64| {
            let unit = (value / 1_024).max(1).next_power_of_two();
            let unit = if unit > value / 1_024 && unit > 1 { unit / 2 } else { unit };
            value / unit * unit
        };
        for (least, count) in read {
            let there = counts.iter().filter(|(value, _)| least_of(*value) == least);
            assert_eq!(there.map(|(_, count)| count).sum::<u64>(), count, "{least}");
        }
    }
}

#[test]
fn values_of_one_place_are_counted_together_and_nothing_is_a_histogram_too() {
    let counts = [(4_096, 1), (4_097, 2), (4_099, 3), (4_100, 4)];
    assert_eq!(read(&plain(&counts).unwrap()), [(4_096, 6), (4_100, 4)]);
    assert!(read(&plain(&[]).unwrap()).is_empty());
    let too_many = [(4_096, u64::MAX / 2), (4_097, 1)];
    assert_eq!(plain(&too_many), None, "a count of 2^63");
}

/// Whole nanoseconds of these seconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some minutes")]
fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

#[test]
fn quantiles_are_those_of_the_sketch_and_of_the_values_within_the_stated_errors() {
    let mut state = 7_u64;
    let mut values: Vec<f64> = (0..9_973)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // From a microsecond to some hundred seconds.
            1e-6 * 2.0_f64.powf((state >> 40) as f64 / f64::from(1 << 24) * 28.0)
        })
        .collect();
    let mut sketch = Sketch::default();
    values.iter().for_each(|value| sketch.add(*value));
    let scaled = sketch.counts().map(|(value, count)| (nanos(value), count));
    let scaled: Vec<_> = scaled.collect();
    let plain = inflated(&deflated(&scaled).unwrap());
    let mut histogram = Histogram::<u64>::new_with_max(VALUE_MAX, 3).unwrap();
    for (value, count) in read(&plain) {
        histogram.record_n(value, count).unwrap();
    }
    assert_eq!(histogram.len(), 9_973);
    values.sort_by(f64::total_cmp);
    for q in [0.0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0] {
        let found = histogram.value_at_quantile(q) as f64 / 1e9;
        let of_sketch = sketch.quantile(q).unwrap();
        assert!((found / of_sketch - 1.0).abs() < 0.001, "{q}: {found} {of_sketch}");
        let rank = (1..=9_973).find(|rank: &u32| f64::from(*rank) >= q * 9_973.0).unwrap();
        let exact = values[usize::try_from(rank).unwrap() - 1];
        assert!((found / exact - 1.0).abs() < 1.0 / 128.0 + 0.001, "{q}: {found} {exact}");
    }
}
