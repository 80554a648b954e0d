//! Bounds of buckets: where those of exponential histograms are, and how all are written.
#![deny(clippy::indexing_slicing)]

use std::fmt::Write as _;

/// Scales that OpenTelemetry's own histograms have.
pub(super) const SCALE_MIN: i64 = -10;
pub(super) const SCALE_MAX: i64 = 20;
/// Digits behind the first one that bounds of exponential histograms are rounded to: whatever the square roots below
/// round, equal bounds are written alike.
const DIGITS: usize = 11;

/// `base ^ index`, rounded, with `base = 2 ^ (2 ^ -scale)`.
///
/// ```text
/// base ^ index = 2 ^ whole * 2 ^ fraction          index / 2 ^ scale = whole + fraction
/// 2 ^ fraction = product of the square roots of 2, of that, … for each bit of the fraction
/// ```
///
/// Square roots and products are the same on every CPU, as powers are not. Source: OpenTelemetry, "Metrics data
/// model", exponential histograms. Infinite beyond the floats, 0 below them.
pub(super) fn exponential_bound(scale: i64, index: i64) -> f64 {
    let scale = scale.clamp(SCALE_MIN, SCALE_MAX);
    let index = i128::from(index);
    let (whole, bits, count) = if scale <= 0 {
        (index << scale.unsigned_abs(), 0, 0)
    } else {
        (index >> scale, index & ((1 << scale) - 1), scale)
    };
    let (mut root, mut bound) = (2.0_f64, 1.0);
    for bit in (0..count).rev() {
        root = root.sqrt();
        if bits >> bit & 1 == 1 {
            bound *= root;
        }
    }
    let Ok(whole) = i32::try_from(whole.clamp(-1_100, 1_100)) else { return f64::NAN };
    // In two steps, of which each is exact or ends at 0 or infinity.
    let half = whole / 2;
    let scaled = bound * two_to_the(half) * two_to_the(whole - half);
    format!("{scaled:.DIGITS$e}").parse().unwrap_or(scaled)
}

/// Exact for every exponent of normal floats.
fn two_to_the(exponent: i32) -> f64 {
    let biased = u64::try_from(1_023 + exponent).unwrap_or(0);
    f64::from_bits(biased << 52)
}

/// Writes a bound or a quantile as Prometheus does, but for very great and very small ones, which have an exponent.
pub(super) fn write_bound(bound: f64, out: &mut String) {
    let written = if bound == f64::INFINITY {
        write!(out, "+Inf")
    } else if bound == f64::NEG_INFINITY {
        write!(out, "-Inf")
    } else if bound != 0.0 && !(1e-6..1e21).contains(&bound.abs()) {
        write!(out, "{bound:e}")
    } else {
        write!(out, "{bound}")
    };
    written.expect("a text takes all characters");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_exponential_buckets_are_the_powers_that_they_should_be() {
        for scale in SCALE_MIN..=SCALE_MAX {
            for index in
                (-3_000..3_000).step_by(7).chain([i64::from(i32::MAX), i64::from(i32::MIN)])
            {
                let exact = (index as f64 * (-scale as f64).exp2()).exp2();
                let bound = exponential_bound(scale, index);
                let is_near = if exact.is_normal() {
                    ((bound - exact) / exact).abs() < 1e-9
                } else {
                    (bound - exact).abs() < 1e-300 || bound.to_bits() == exact.to_bits()
                };
                assert!(is_near, "{scale} {index}: {bound} {exact}");
            }
        }
        assert_eq!(exponential_bound(0, 3).to_bits(), 8.0_f64.to_bits());
        assert_eq!(exponential_bound(1, 4).to_bits(), 4.0_f64.to_bits());
        assert_eq!(exponential_bound(-1, -1).to_bits(), 0.25_f64.to_bits());
    }

    #[test]
    fn equal_bounds_of_other_scales_are_equal() {
        for index in -200..200_i64 {
            for scale in 1..=6 {
                let (one, other) =
                    (exponential_bound(0, index), exponential_bound(scale, index << scale));
                assert_eq!(one.to_bits(), other.to_bits());
                let (one, other) =
                    (exponential_bound(3, index), exponential_bound(3 + scale, index << scale));
                assert_eq!(one.to_bits(), other.to_bits(), "{scale} {index}");
            }
        }
    }

    #[test]
    fn bounds_are_written_as_prometheus_writes_them() {
        for (bound, text) in [
            (0.005, "0.005"),
            (1.0, "1"),
            (250.0, "250"),
            (0.0, "0"),
            (-2.5, "-2.5"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
            (1e300, "1e300"),
            (2e-9, "2e-9"),
        ] {
            let mut out = String::new();
            write_bound(bound, &mut out);
            assert_eq!(out, text);
        }
    }
}
