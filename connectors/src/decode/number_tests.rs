//! Numbers against the standard library.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<f64, LineReason> {
    let parsed = field_number(text.as_bytes(), 0)?;
    if parsed.end == text.len() { Ok(parsed.value) } else { Err(LineReason::InvalidValue) }
}

fn assert_as_std(text: &str) {
    // Padded too, so that both the eight-byte path and the tail path are taken.
    for padding in ["", ",abcdefghijklmnopq=1"] {
        let padded = format!("{text}{padding}");
        let parsed = field_number(padded.as_bytes(), 0);
        let expected: f64 = text.parse().expect("a number");
        if expected.is_finite() {
            let parsed = parsed.unwrap_or_else(|reason| panic!("{text}: {reason:?}"));
            assert_eq!(parsed.value.to_bits(), expected.to_bits(), "{text}");
            assert_eq!(parsed.end, text.len(), "{text}");
        } else {
            assert_eq!(parsed, Err(LineReason::NotFinite), "{text}");
        }
    }
}

#[test]
fn hard_floats_are_rounded_as_by_the_standard_library() {
    for text in [
        "0",
        "-0",
        "0.0",
        "-0.0",
        "1",
        "00001.50",
        "9007199254740992",
        "9007199254740993",
        "9007199254740992.5",
        "18446744073709551615",
        "18446744073709551616",
        "1e22",
        "1e23",
        "0.1",
        "0.30000000000000004",
        "2.2250738585072011e-308",
        "4.9e-324",
        "2.4703282292062327e-324",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "1e400",
        "-1e400",
        "1e-400",
        "123456789012345678901234567890",
        "0.000000000000000000000001",
        "1.0000000000000000000000000001",
        "0000000000000000000000000000000000001.5",
        "6.02214076E+23",
        "1E0",
        "-12.5e-3",
        "9223372036854775807.25",
        "0.12345678901234567890123",
    ] {
        assert_as_std(text);
    }
}

#[test]
fn what_is_no_number_is_refused_with_its_reason() {
    for text in
        ["", "-", ".5", "1.", "1.e5", "1e", "1e+", "+1", "1.5i", "-1u", "0x10", "1_0", "--1"]
    {
        assert_eq!(parse(text), Err(LineReason::InvalidValue), "{text}");
    }
    for text in ["NaN", "nan", "-nan", "inf", "-Inf", "+infinity"] {
        assert_eq!(parse(text), Err(LineReason::NotFinite), "{text}");
    }
    for text in [
        "9007199254740993i",
        "-9007199254740993i",
        "99999999999999999999i",
        "18446744073709551616u",
    ] {
        assert_eq!(parse(text), Err(LineReason::IntegerTooLarge), "{text}");
    }
}

#[test]
fn integers_are_exact_up_to_two_to_the_53() {
    for (text, value) in [
        ("9007199254740992i", 9_007_199_254_740_992.0_f64),
        ("-9007199254740992i", -9_007_199_254_740_992.0),
        ("9007199254740992u", 9_007_199_254_740_992.0),
        ("-0i", 0.0),
        ("0000000000000000000000000007i", 7.0),
    ] {
        assert_eq!(parse(text).map(f64::to_bits), Ok(value.to_bits()), "{text}");
    }
}

#[test]
fn times_reach_both_ends_of_the_range() {
    let value = |text: &str| signed(text.as_bytes(), 0).map(|parsed| parsed.value);
    assert_eq!(value("9223372036854775807"), Some(Some(i64::MAX)));
    assert_eq!(value("-9223372036854775808"), Some(Some(i64::MIN)));
    assert_eq!(value("9223372036854775808"), Some(None));
    assert_eq!(value("99999999999999999999999"), Some(None));
    assert_eq!(value("0000000000000000000000012"), Some(Some(12)));
    assert_eq!(value("-"), None);
    assert_eq!(value("x"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn every_float_comes_back(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        if value.is_finite() {
            assert_as_std(&format!("{value}"));
            assert_as_std(&format!("{value:e}"));
        }
    }

    #[test]
    fn every_decimal_is_read_as_by_the_standard_library(
        text in "-?[0-9]{1,24}(\\.[0-9]{1,26})?([eE][+-]?[0-9]{1,3})?"
    ) {
        assert_as_std(&text);
    }

    #[test]
    fn short_decimals_are_read_as_by_the_standard_library(text in "-?[0-9]{1,9}(\\.[0-9]{1,9})?") {
        assert_as_std(&text);
    }

    #[test]
    fn every_time_comes_back(number in any::<i64>()) {
        let text = number.to_string();
        let parsed = signed(text.as_bytes(), 0);
        prop_assert_eq!(parsed, Some(Parsed { value: Some(number), end: text.len() }));
    }
}
