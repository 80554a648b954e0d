//! How the values of one series are stored: as scaled integers where that is exact, else as they are.
//!
//! A sample's value is `coalesce(value, digits / scale)`. Decimal-looking values become small
//! integers whose differences are smaller still, which is most of a segment's compression.

/// Beyond this magnitude `x + ROUNDER - ROUNDER` no longer rounds to an integer.
const DIGITS_MAX: f64 = 2_251_799_813_685_248.0;
/// 1.5 * 2^52: adding it leaves no room for a fraction, so the sum is rounded to an integer.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// Multiples of 4096 (bytes of memory and disks) lose their zeros.
const PAGES: f64 = 1.0 / 4096.0;
/// All scales that are tried where there is time, the one with the smallest integers first.
const SCALES: [f64; 8] = [PAGES, 1.0 / 1024.0, 1.0, 10.0, 100.0, 1e3, 1e4, 1e6];

/// How the values of one series are stored in one segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ValueForm {
    /// As they are.
    Plain,
    /// As integers that divided by this give the same bits.
    Scaled(f64),
}

impl ValueForm {
    /// The form that is exact for all of `values` and has the smallest integers.
    pub(crate) fn of(values: &[f64]) -> Self {
        if fits(values, 1.0) {
            let is_zero = |value: &f64| value.to_bits() == 0;
            // Constant zero is exact in every scale; 1 is the one that surprises nobody.
            let pages = fits(values, PAGES) && !values.iter().all(is_zero);
            return Self::Scaled(if pages { PAGES } else { 1.0 });
        }
        match [100.0, 1000.0].into_iter().find(|scale| fits(values, *scale)) {
            Some(scale) => Self::Scaled(scale),
            None => Self::Plain,
        }
    }

    /// As [`ValueForm::of`], from more scales.
    ///
    /// A value that never changes tells little about its scale, so that it takes that of the series
    /// `before`, if it is exact: neighbours that have the same scale cost nothing.
    pub(crate) fn smallest(values: &[f64], before: Self) -> Self {
        let Some(first) = values.first() else { return before };
        let is_constant = || values.iter().all(|value| value.to_bits() == first.to_bits());
        match before {
            Self::Scaled(scale) if digits(*first, scale).is_some() && is_constant() => before,
            Self::Scaled(_) | Self::Plain => {
                let is_zero = first.to_bits() == 0 && is_constant();
                let mut scales = SCALES.iter().filter(|scale| !is_zero || **scale >= 1.0);
                scales.find(|scale| fits(values, **scale)).map_or(Self::Plain, |s| Self::Scaled(*s))
            }
        }
    }
}

/// The integer `d` with `d / scale` bit for bit equal to `value`, if there is one.
#[inline]
pub(crate) fn digits(value: f64, scale: f64) -> Option<i64> {
    let scaled = value * scale;
    if !(scaled > -DIGITS_MAX && scaled < DIGITS_MAX) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to lie within 2^51")]
    let digits = ((scaled + ROUNDER) - ROUNDER) as i64;
    (undigits(digits, scale).to_bits() == value.to_bits()).then_some(digits)
}

/// The value of these digits.
#[inline]
pub(crate) fn undigits(digits: i64, scale: f64) -> f64 {
    digits as f64 / scale
}

fn fits(values: &[f64], scale: f64) -> bool {
    values.iter().all(|value| digits(*value, scale).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_smallest_exact_scale_is_taken() {
        assert_eq!(ValueForm::of(&[1.0, -7.0, 3.0]), ValueForm::Scaled(1.0));
        assert_eq!(ValueForm::of(&[0.0, 0.0]), ValueForm::Scaled(1.0));
        assert_eq!(ValueForm::of(&[4096.0, 81920.0, 0.0]), ValueForm::Scaled(PAGES));
        assert_eq!(ValueForm::of(&[0.5, 12.25, 3.0]), ValueForm::Scaled(100.0));
        assert_eq!(ValueForm::of(&[0.001, 7.0]), ValueForm::Scaled(1000.0));
        assert_eq!(ValueForm::of(&[0.0001, 7.0]), ValueForm::Plain);
    }

    #[test]
    fn a_merge_knows_more_scales_and_takes_the_smallest_digits() {
        let smallest = |values: &[f64]| ValueForm::smallest(values, ValueForm::Plain);
        assert_eq!(smallest(&[2048.0, 7168.0]), ValueForm::Scaled(1.0 / 1024.0));
        assert_eq!(smallest(&[8192.0, 4096.0]), ValueForm::Scaled(PAGES));
        assert_eq!(smallest(&[0.5, 12.5]), ValueForm::Scaled(10.0));
        assert_eq!(smallest(&[0.5, 12.25]), ValueForm::Scaled(100.0));
        assert_eq!(smallest(&[0.0001, 7.0]), ValueForm::Scaled(1e4));
        assert_eq!(smallest(&[0.000_001, 7.0]), ValueForm::Scaled(1e6));
        assert_eq!(smallest(&[1.0 / 3.0, 7.0]), ValueForm::Plain);
        assert_eq!(smallest(&[0.0, 0.0]), ValueForm::Scaled(1.0));
    }

    #[test]
    fn a_series_of_one_value_takes_the_scale_before_it_if_that_is_exact() {
        let before = ValueForm::Scaled(100.0);
        assert_eq!(ValueForm::smallest(&[7.0, 7.0], before), before);
        assert_eq!(ValueForm::smallest(&[7.0, 8.0], before), ValueForm::Scaled(1.0));
        assert_eq!(ValueForm::smallest(&[0.001; 2], before), ValueForm::Scaled(1000.0));
        assert_eq!(ValueForm::smallest(&[-0.0; 2], before), ValueForm::Plain);
    }

    #[test]
    fn what_has_no_exact_digits_stays_as_it_is() {
        let hard = [-0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324, 1e300, 1.0 / 3.0];
        for value in hard {
            assert_eq!(ValueForm::of(&[1.0, value]), ValueForm::Plain, "{value}");
        }
    }

    proptest! {
        #[test]
        fn digits_give_the_same_bits(bits in any::<u64>(), n in -1_000_000_i64..1_000_000) {
            let decimal = n as f64 / 100.0;
            for value in [f64::from_bits(bits), decimal, n as f64 * 4096.0] {
                for scale in [1.0, 100.0, 1000.0, PAGES] {
                    if let Some(found) = digits(value, scale) {
                        prop_assert_eq!(undigits(found, scale).to_bits(), value.to_bits());
                    }
                }
            }
            prop_assert_eq!(digits(decimal, 100.0), Some(n));
        }
    }
}
