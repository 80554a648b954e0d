//! Float steps whose result is the same on every machine.

/// Magnitudes beyond this are held there: squares and sums of such floats stay finite.
const NARROW_MAX: f64 = 1e30;

/// `value` as `f32`, held within ±1e30. A NaN, which no caller has, becomes the least of them.
#[expect(clippy::cast_possible_truncation, reason = "the value is within the range of f32")]
#[inline]
pub(crate) fn narrow(value: f64) -> f32 {
    let value = if value > -NARROW_MAX { value } else { -NARROW_MAX };
    (if value < NARROW_MAX { value } else { NARROW_MAX }) as f32
}

/// The larger by comparison; where they are equal, `a`, so that the sign of zero is defined.
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// The smaller by comparison; where they are equal, `a`.
pub(crate) fn smaller(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

/// Magnitudes that state may hold: a few operations on what is narrow, with room.
pub(crate) const BOUND: f32 = 1e32;

/// `value`, if it is a number that the operators can have stored.
pub(crate) fn bounded(value: f32) -> Option<f32> {
    (value.abs() <= BOUND).then_some(value)
}

/// `value`, if it is a number that the operators can have stored.
pub(crate) fn bounded_f64(value: f64) -> Option<f64> {
    (value.abs() <= f64::from(BOUND)).then_some(value)
}

/// The upper 16 bits of `value`, rounded: 8 bits of fraction. Not negative numbers compare as their bits do.
///
/// `value` is finite; what lies within one part in 512 of the greatest float becomes infinite.
pub(crate) fn coarse(value: f32) -> u16 {
    let [_, _, low, high] = (value.to_bits() + 0x8000).to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// The number that [`coarse`] kept.
pub(crate) fn from_coarse(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Seconds of so many nanoseconds.
pub(crate) fn seconds(nanos: i64) -> f64 {
    nanos_f64(nanos) * 1e-9
}

#[expect(clippy::cast_precision_loss, reason = "a part in 10^15 of a duration")]
pub(crate) fn nanos_f64(nanos: i64) -> f64 {
    nanos as f64
}

/// `2^exponent`, exactly; the exponent is below 128.
pub(crate) fn power_of_two(exponent: u8) -> f32 {
    f32::from_bits((127 + u32::from(exponent)) << 23)
}
