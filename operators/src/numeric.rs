//! Float steps whose result is the same on every machine.

/// Magnitudes beyond this are held there: squares and sums of such floats stay finite.
const NARROW_MAX: f64 = 1e30;

/// `value` as `f32`, held within ±1e30. A NaN, which no caller has, becomes 0.
#[expect(clippy::cast_possible_truncation, reason = "the value is within the range of f32")]
pub(crate) fn narrow(value: f64) -> f32 {
    if value.is_nan() { 0.0 } else { value.clamp(-NARROW_MAX, NARROW_MAX) as f32 }
}

/// The larger by comparison; where they are equal, `a`, so that the sign of zero is defined.
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// The smaller by comparison; where they are equal, `a`.
pub(crate) fn smaller(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}
