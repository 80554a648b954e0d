//! Which values are counted together.
//!
//! A bucket of positive values is the `f64` whose leading bit stands for `2^e` and whose next 6 bits
//! are `s`: 64 buckets of equal width in every power of two, from the smallest subnormal number to the
//! greatest finite one. Its bounds are bits of the number and not logarithms, so every processor puts a
//! value into the same bucket. Negative values have the mirrored buckets, and 0 has its own.
//!
//! ```text
//! index(x) = 1 + 64 (e + 1074) + s      for x > 0, -index(-x) for x < 0, 0 for 0 and -0
//! ```
//!
//! The order of the indices is that of the values.

/// Distance of a value from what stands for its bucket, relative to the value: half a bucket's width.
pub const RELATIVE_ERROR_MAX: f64 = 1.0 / 128.0;
/// Buckets that there are.
pub const BUCKETS_MAX: usize = 2 * (OCTAVES << SUB_BITS) + 1;

/// Bits behind the leading one that tell buckets apart.
const SUB_BITS: u32 = 6;
/// Bits of an `f64` behind the leading one.
const MANTISSA_BITS: u32 = 52;
const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
/// Powers of two that an `f64` can begin with: 2^-1074 to 2^1023.
const OCTAVES: usize = 2_098;
/// What lies behind a bucket's bits in a normal number.
const REST_BITS: u32 = MANTISSA_BITS - SUB_BITS;

const _: () = assert!(BUCKETS_MAX < i32::MAX as usize);

/// Index of a value's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bucket(i32);

impl Bucket {
    /// The bucket of a finite value.
    pub(crate) fn of(value: f64) -> Self {
        let bits = value.abs().to_bits();
        if bits == 0 {
            return Self(0);
        }
        let (exponent, mantissa) = (bits >> MANTISSA_BITS, bits & MANTISSA);
        let (octave, sub) = if exponent > 0 {
            (exponent + u64::from(MANTISSA_BITS) - 1, mantissa >> REST_BITS)
        } else {
            let octave = u64::BITS - 1 - mantissa.leading_zeros();
            let behind = mantissa ^ (1 << octave);
            let sub = (behind << SUB_BITS) >> octave;
            (u64::from(octave), sub)
        };
        let index = 1 + ((octave << SUB_BITS) | sub);
        let index = i32::try_from(index).expect("an octave takes 12 bits and its parts 6");
        Self(if value < 0.0 { -index } else { index })
    }

    /// The bucket of this index, if there is one.
    pub(crate) fn from_index(index: i64) -> Option<Self> {
        let bucket = Self(i32::try_from(index).ok()?);
        // The smallest octaves have fewer numbers than buckets would be.
        (bucket.0.unsigned_abs() as usize <= BUCKETS_MAX / 2 && Self::of(bucket.value()) == bucket)
            .then_some(bucket)
    }

    /// Its place in the order of values.
    pub(crate) fn index(self) -> i32 {
        self.0
    }

    /// The middle of the bucket, which stands for all values in it.
    pub(crate) fn value(self) -> f64 {
        let Some(place) = self.0.unsigned_abs().checked_sub(1) else { return 0.0 };
        let place = u64::from(place);
        let (octave, sub) = (place >> SUB_BITS, place & ((1 << SUB_BITS) - 1));
        let normal = (octave + 1).checked_sub(u64::from(MANTISSA_BITS)).filter(|e| *e > 0);
        let bits = if let Some(exponent) = normal {
            (exponent << MANTISSA_BITS) | (sub << REST_BITS) | (1 << (REST_BITS - 1))
        } else {
            // The middle is half a unit behind the last of the bits; small numbers are exact.
            let doubled = ((1 << SUB_BITS) | sub) * 2 + 1;
            (doubled << octave) >> (SUB_BITS + 1)
        };
        let value = f64::from_bits(bits);
        if self.0 < 0 { -value } else { value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [f64; 12] = [
        f64::MIN_POSITIVE,
        f64::MAX,
        5e-324,
        1e-323,
        3.5e-322,
        1e-310,
        2.2e-308,
        1.0,
        1.999_999,
        0.1,
        1e-9,
        1e300,
    ];

    #[test]
    fn what_stands_for_a_bucket_is_within_the_stated_error_of_all_its_values() {
        for edge in EDGES {
            for step in 0..2_000_u64 {
                let bits = edge.to_bits().saturating_sub(step * 7_919);
                let value = f64::from_bits(bits.clamp(1, f64::MAX.to_bits()));
                for value in [value, -value] {
                    let found = Bucket::of(value).value();
                    let error = (found - value).abs() / value.abs();
                    assert!(error <= RELATIVE_ERROR_MAX, "{value:e}: {found:e}");
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_buckets_is_that_of_the_values_and_none_is_beyond_the_bound() {
        let mut bits: Vec<u64> = (0..64).flat_map(|bit| [1 << bit, (1 << bit) + 1]).collect();
        bits.retain(|bits| *bits <= f64::MAX.to_bits());
        bits.extend(EDGES.map(f64::to_bits));
        bits.sort_unstable();
        let places: Vec<i32> =
            bits.iter().map(|bits| Bucket::of(f64::from_bits(*bits)).index()).collect();
        assert!(places.is_sorted() && places.first() == Some(&1));
        assert_eq!(Bucket::of(f64::MAX).index().unsigned_abs() as usize, BUCKETS_MAX / 2);
        assert_eq!(Bucket::of(-0.0), Bucket::of(0.0));
    }

    #[test]
    fn an_index_that_no_value_has_is_none() {
        let most = i64::try_from(BUCKETS_MAX / 2).unwrap();
        for index in [0, 1, -1, most, -most] {
            assert_eq!(Bucket::from_index(index).map(|b| i64::from(b.index())), Some(index));
        }
        for index in [2, -2, most + 1, -most - 1, i64::MAX, i64::MIN] {
            assert_eq!(Bucket::from_index(index), None, "{index}");
        }
    }
}
